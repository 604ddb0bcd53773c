//! What a system-call filter costs per call: none, ours, ours as one program for each restriction, and with conditions.
//!
//! `cargo bench --bench filter`, or `cargo bench --profile dev --bench filter`: what is timed is the kernel's work. Every round does each
//! contender once, in a process of its own; medians, and ratios to the process without a filter, taken within the round. Nothing
//! is asserted about time: this prints, people judge.

use rsvc::filter::{Arch, FilterPolicy, compile};
use rsvc::plan::FilterProgram;
use rsvc::sys::process::{self, Spawn, spawn};
use rsvc::sys::{RESIDENT_INIT, confine, credentials, fd, socket};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const ROUNDS: usize = 25;
const CALLS: u32 = 100_000;
/// Denied calls are slower where somebody is asked.
const DENIED: u32 = 2_000;

/// What is timed: nanoseconds per call.
const COLUMNS: [&str; 3] = ["getppid", "ioctl", "denied unshare"];

struct Contender {
    name: &'static str,
    programs: Vec<FilterProgram>,
}

fn monotonic() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// What the profile `standard` gives a service.
fn standard() -> FilterPolicy {
    FilterPolicy {
        allow: Some(names(&["@system-service", "@sandbox", "chroot"])),
        deny: names(&["@clock", "@module", "syslog", "sethostname", "setdomainname"]),
        address_families: Some(vec![1, 2, 10, 16]),
        deny_namespaces: 0x7e02_0080,
        lock_personality: true,
        restrict_realtime: true,
        restrict_suid_sgid: true,
        deny_terminal_injection: true,
        ..FilterPolicy::open()
    }
}

fn strict() -> FilterPolicy {
    let mut deny = standard().deny;
    deny.extend(names(&["@privileged", "@resources", "memfd_create"]));
    FilterPolicy { deny, address_families: Some(vec![1, 2, 10]), ..standard() }
}

fn with_conditions() -> FilterPolicy {
    let mut deny = standard().deny;
    deny.extend(names(&[
        "prctl(0 == PR_SET_MM)",
        "ioctl(1 == TIOCCONS)",
        "ioctl(1 == TIOCSETD)",
        "mmap(2 & PROT_WRITE|PROT_EXEC == PROT_WRITE|PROT_EXEC)",
        "mprotect(2 & PROT_EXEC != 0)",
        "fcntl(1 == F_SETLEASE)",
        "socket(0 == AF_INET, 1 & 0xf == SOCK_RAW)",
    ]));
    FilterPolicy { deny, ..standard() }
}

/// Each restriction as a policy of its own, the lists last.
fn one_by_one() -> Vec<FilterPolicy> {
    let open = FilterPolicy::open;
    let all = standard();
    vec![
        FilterPolicy { deny_namespaces: all.deny_namespaces, ..open() },
        FilterPolicy { address_families: all.address_families.clone(), ..open() },
        FilterPolicy { lock_personality: true, ..open() },
        FilterPolicy { restrict_realtime: true, ..open() },
        FilterPolicy { restrict_suid_sgid: true, ..open() },
        FilterPolicy { deny_terminal_injection: true, ..open() },
        FilterPolicy { deny: names(&["@clock"]), ..open() },
        FilterPolicy { deny: names(&["@module"]), ..open() },
        FilterPolicy { deny: names(&["syslog"]), ..open() },
        FilterPolicy { deny: names(&["sethostname", "setdomainname"]), ..open() },
        FilterPolicy { allow: all.allow, ..open() },
    ]
}

fn programs(policies: &[FilterPolicy]) -> Vec<FilterProgram> {
    policies.iter().flat_map(|policy| compile(policy, Arch::native()).expect("it compiles")).collect()
}

/// Times of one process under these filters.
fn once(contender: &Contender, image: &OwnedFd) -> [f64; 3] {
    let answerer = contender.programs.iter().any(FilterProgram::asks_listener).then(|| Answerer::start(image));
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe");
    let child = match process::fork().expect("fork") {
        process::Fork::Parent(child) => child,
        process::Fork::Child => {
            let values = under(&contender.programs, answerer.as_ref()).unwrap_or([f64::NAN; 3]);
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let _ = fd::write(writer.as_fd(), &bytes);
            process::exit_now(0)
        }
    };
    drop((writer, answerer));
    let mut bytes = Vec::new();
    std::fs::File::from(reader).read_to_end(&mut bytes).expect("times");
    let pidfd = process::pidfd_open(child).expect("pidfd");
    process::wait_pidfd(pidfd.as_fd(), false).expect("wait");
    std::array::from_fn(|at| f64::from_le_bytes(bytes[at * 8..at * 8 + 8].try_into().expect("eight bytes")))
}

fn under(programs: &[FilterProgram], answerer: Option<&Answerer>) -> rsvc::sys::Result<[f64; 3]> {
    credentials::no_new_privileges()?;
    for program in programs {
        let filter = confine::Filter::new(&program.0)?;
        match answerer {
            Some(answerer) => answerer.send(filter.load_for_listener(false)?, program)?,
            None => filter.load(false)?,
        }
    }
    Ok([
        per_call(CALLS, || _ = std::hint::black_box(rustix::process::getppid())),
        // A request that no filter here denies; what standard input says to it does not matter.
        per_call(CALLS, || _ = rustix::io::ioctl_fionread(std::io::stdin().as_fd())),
        per_call(DENIED, || _ = std::hint::black_box(confine::unshare(0))),
    ])
}

fn per_call(count: u32, mut call: impl FnMut()) -> f64 {
    let before = monotonic();
    for _ in 0..count {
        call();
    }
    (monotonic() - before) as f64 / f64::from(count)
}

/// Who answers denied calls, as the daemon starts it.
struct Answerer(OwnedFd);

impl Answerer {
    fn start(image: &OwnedFd) -> Answerer {
        let (ours, theirs) = socket::seqpacket_pair().expect("socket pair");
        let table = rustix::fs::memfd_create("bench-denied", rustix::fs::MemfdFlags::CLOEXEC).expect("memfd");
        rustix::io::pwrite(&table, &[0; 16384], 0).expect("table");
        let null = std::fs::File::open("/dev/null").expect("/dev/null");
        let inherit = [null.as_fd(), null.as_fd(), null.as_fd(), theirs.as_fd(), table.as_fd()];
        let inherit: Vec<(BorrowedFd<'_>, i32)> = inherit.into_iter().zip(0..).collect();
        let argv = [c"rsvc-denials", c"3", c"4", c"0"].map(ToOwned::to_owned);
        let request = Spawn {
            flags: 0,
            cgroup: None,
            program: image.as_fd(),
            argv: &argv,
            envp: &[],
            inherit: &inherit,
            raise_ambient: false,
            error: None,
        };
        spawn(&request).expect("the answerer is started");
        Answerer(ours)
    }

    fn send(&self, listener: i32, program: &FilterProgram) -> rsvc::sys::Result<()> {
        let listener = fd::adopt(listener)?;
        let bytes: Vec<u8> = program
            .0
            .iter()
            .flat_map(|&(code, yes, no, k)| {
                let ([a, b], [c, d, e, f]) = (code.to_ne_bytes(), k.to_ne_bytes());
                [a, b, yes, no, c, d, e, f]
            })
            .collect();
        let filter = fd::sealed_memfd(c"bench-filter", &bytes, false)?;
        let words: Vec<u8> = [1, program.0.len() as u32].into_iter().flat_map(u32::to_ne_bytes).collect();
        socket::send_with(self.0.as_fd(), &words, &[listener.as_fd(), filter.as_fd()], None).map(drop)
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() {
    let image = fd::sealed_memfd(c"rsvc-init", RESIDENT_INIT, true).expect("the image of the answerer");
    let notify = |policy| FilterPolicy { notify: true, ..policy };
    let contenders = [
        Contender { name: "no filter", programs: Vec::new() },
        Contender { name: "standard", programs: programs(&[standard()]) },
        Contender { name: "strict", programs: programs(&[strict()]) },
        Contender { name: "standard, seven conditions", programs: programs(&[with_conditions()]) },
        Contender { name: "standard, notify-errno", programs: programs(&[notify(standard())]) },
        Contender { name: "a program per restriction", programs: programs(&one_by_one()) },
    ];
    let mut samples: Vec<Vec<[f64; 3]>> = vec![Vec::new(); contenders.len()];
    for _ in 0..ROUNDS {
        for (contender, samples) in contenders.iter().zip(&mut samples) {
            samples.push(once(contender, &image));
        }
    }
    println!("\nns per call, median of {ROUNDS} rounds (ratio to no filter, paired)");
    println!("  {:<28} {:>12}  {}", "", "programs", COLUMNS.map(|name| format!("{name:>20}")).concat());
    for (contender, own) in contenders.iter().zip(&samples) {
        let cells = (0..COLUMNS.len()).map(|column| {
            let value = median(own.iter().map(|sample| sample[column]));
            let ratio = median(own.iter().zip(&samples[0]).map(|(sample, bare)| sample[column] / bare[column]));
            format!("{value:>11.0} (x {ratio:>4.2})")
        });
        let cells: Vec<String> = cells.map(|cell| format!("{cell:>20}")).collect();
        let length: usize = contender.programs.iter().map(|program| program.0.len()).sum();
        let size = format!("{}, {length} insn", contender.programs.len());
        println!("  {:<28} {size:>12}  {}", contender.name, cells.concat());
    }
}

//! Loads compiled filters into a child process and looks from inside at what calls answer. The kernel is the judge.
//!
//! Needs no privilege. Each probe differs from what the same call answers without a filter, which is shown by running
//! it without one: a test that passes for another reason would be noticed.

#[macro_use]
#[path = "instance/skip.rs"]
mod skip;

use rsvc::filter::{Arch, FilterMode, FilterPolicy, compile};
use rsvc::plan::FilterProgram;
use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// A call by number, and its arguments.
#[derive(Clone, Copy)]
struct Probe(libc::c_long, [libc::c_long; 6]);

fn probe<const N: usize>(number: libc::c_long, arguments: [libc::c_long; N]) -> Probe {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&arguments);
    Probe(number, all)
}

/// How a child ended.
#[derive(Debug, PartialEq)]
enum End {
    Exited(i32),
    Killed(i32),
}

/// What the child does once the filters are loaded.
enum Work<'a> {
    /// Makes the calls and reports each result, negative errno on failure.
    Calls(&'a [Probe]),
    /// The same through the entry of i386.
    #[cfg(target_arch = "x86_64")]
    CallsOfI386(&'a [Probe]),
    /// Executes a shell with this command.
    Shell(&'a str),
}

/// Exit status of a child whose filter was not accepted.
const NOT_LOADED: i32 = 99;

/// Loads the programs in a child, in order, and does the work there.
fn inside(programs: &[FilterProgram], work: &Work) -> (Vec<i64>, End) {
    let programs: Vec<Vec<libc::sock_filter>> = programs
        .iter()
        .map(|program| program.0.iter().map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect())
        .collect();
    let shell = CString::new("/bin/sh").unwrap();
    let flag = CString::new("-c").unwrap();
    let command = CString::new(if let Work::Shell(command) = work { command } else { "" }).unwrap();
    let argv = [shell.as_ptr(), flag.as_ptr(), command.as_ptr(), std::ptr::null()];
    let mut results = [0i64; 64];
    let (reader, writer) = pipe();
    // SAFETY: the child only makes system calls on memory that was allocated before, and ends with _exit or exec.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
    if child == 0 {
        // SAFETY: as above; the programs and strings live in this copy of the address space.
        unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            for program in &programs {
                let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
                if libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &program) != 0 {
                    libc::_exit(NOT_LOADED);
                }
            }
            let count = match work {
                Work::Calls(probes) => {
                    for (result, Probe(number, a)) in results.iter_mut().zip(*probes) {
                        *result = match libc::syscall(*number, a[0], a[1], a[2], a[3], a[4], a[5]) {
                            -1 => -i64::from(*libc::__errno_location()),
                            value => value,
                        };
                    }
                    probes.len()
                }
                #[cfg(target_arch = "x86_64")]
                Work::CallsOfI386(probes) => {
                    for (result, probe) in results.iter_mut().zip(*probes) {
                        *result = call_i386(probe);
                    }
                    probes.len()
                }
                Work::Shell(_) => {
                    libc::execv(argv[0], argv.as_ptr());
                    libc::_exit(98);
                }
            };
            libc::write(writer.as_raw_fd(), results.as_ptr().cast(), count * 8);
            libc::_exit(0);
        }
    }
    drop(writer);
    let mut bytes = [0u8; 512];
    // SAFETY: reads at most the size of the array; a whole report fits into one pipe write.
    let read = unsafe { libc::read(reader.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len()) };
    let mut status = 0;
    // SAFETY: waits for the child made above.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    let end = match libc::WIFSIGNALED(status) {
        true => End::Killed(libc::WTERMSIG(status)),
        false => End::Exited(libc::WEXITSTATUS(status)),
    };
    let results = bytes[..read.max(0) as usize].chunks_exact(8);
    (results.map(|word| i64::from_ne_bytes(word.try_into().unwrap())).collect(), end)
}

fn pipe() -> (OwnedFd, OwnedFd) {
    let mut ends = [0; 2];
    // SAFETY: the array has room for two descriptors, which nobody else owns.
    unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
    }
}

/// Enters by `int 0x80`, with 32-bit arguments.
///
/// # Safety
/// The arguments mean to the kernel what the call says.
#[cfg(target_arch = "x86_64")]
unsafe fn call_i386(Probe(number, a): &Probe) -> i64 {
    let mut result = *number;
    // SAFETY: rbx cannot be named as an operand, so it is exchanged around the call; r8 to r11 may be lost.
    unsafe {
        std::arch::asm!(
            "xchg {first}, rbx", "int 0x80", "xchg {first}, rbx",
            first = inout(reg) a[0] => _,
            inout("rax") result,
            in("rcx") a[1], in("rdx") a[2], in("rsi") a[3], in("rdi") a[4],
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    i64::from(result as i32)
}

/// Can this kernel filter at all?
fn can_filter() -> bool {
    let allow_all = FilterProgram(vec![(0x06, 0, 0, 0x7fff_0000)]);
    let (_, end) = inside(&[allow_all], &Work::Calls(&[]));
    if end != End::Exited(0) {
        skipped!("this kernel or container does not let a process load a seccomp filter");
    }
    end == End::Exited(0)
}

fn results(policy: &FilterPolicy, probes: &[Probe]) -> Vec<i64> {
    let programs = compile(policy, Arch::native()).unwrap();
    let (results, end) = inside(&programs, &Work::Calls(probes));
    assert_eq!(end, End::Exited(0), "with {} programs", programs.len());
    results
}

fn standard() -> FilterPolicy {
    FilterPolicy {
        allow: Some(["@system-service", "@sandbox", "chroot"].map(str::to_owned).to_vec()),
        address_families: Some(
            [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK].map(|f| f as u16).to_vec(),
        ),
        deny_namespaces: 0x7e02_0080,
        lock_personality: true,
        restrict_realtime: true,
        restrict_suid_sgid: true,
        deny_terminal_injection: true,
        ..FilterPolicy::open()
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

const fn failed(errno: i32) -> i64 {
    -(errno as i64)
}

/// Compares under the policy, after showing that without a filter each probe answers something else.
fn assert_refuses(policy: &FilterPolicy, probes: &[(&str, Probe, i32)]) {
    let calls: Vec<Probe> = probes.iter().map(|(_, probe, _)| *probe).collect();
    let (free, _) = inside(&[], &Work::Calls(&calls));
    let filtered = results(policy, &calls);
    for (index, (name, _, errno)) in probes.iter().enumerate() {
        assert_ne!(free[index], failed(*errno), "{name}: proves nothing");
        assert_eq!(filtered[index], failed(*errno), "{name}");
    }
}

#[test]
fn standard_policy_answers_from_inside_as_written() {
    if !can_filter() {
        return;
    }
    const NULL: libc::c_long = 0;
    assert_refuses(
        &standard(),
        &[
            ("unshare(0)", probe(libc::SYS_unshare, [0]), libc::EPERM),
            ("setns(-1, 0)", probe(libc::SYS_setns, [-1, 0]), libc::EPERM),
            ("personality(query)", probe(libc::SYS_personality, [0xffff_ffff]), libc::EPERM),
            ("clone3(null)", probe(libc::SYS_clone3, [NULL, 0]), libc::ENOSYS),
            ("openat2(null)", probe(libc::SYS_openat2, [-1, NULL, NULL, 0]), libc::ENOSYS),
            ("ioctl(TIOCSTI)", probe(libc::SYS_ioctl, [-1, 0x5412, NULL]), libc::EPERM),
            ("ioctl(TIOCSTI, upper half)", probe(libc::SYS_ioctl, [-1, 0x5412 | 1 << 32, NULL]), libc::EPERM),
            ("ioctl(TIOCLINUX)", probe(libc::SYS_ioctl, [-1, 0x541c, NULL]), libc::EPERM),
            ("sched_setscheduler(FIFO)", probe(libc::SYS_sched_setscheduler, [0, 1, NULL]), libc::EPERM),
            ("sched_setattr(null)", probe(libc::SYS_sched_setattr, [0, NULL, 0]), libc::EPERM),
            ("fchmod(-1, suid)", probe(libc::SYS_fchmod, [-1, 0o4755]), libc::EPERM),
            ("fchmodat(-1, sgid)", probe(libc::SYS_fchmodat, [-1, NULL, 0o2755]), libc::EPERM),
            ("mkdirat(-1, sgid)", probe(libc::SYS_mkdirat, [-1, NULL, 0o2755]), libc::EPERM),
            ("mknodat(-1, suid)", probe(libc::SYS_mknodat, [-1, NULL, 0o4755]), libc::EPERM),
            ("openat(create, suid)", probe(libc::SYS_openat, [-1, NULL, 0o100, 0o4755]), libc::EPERM),
            ("openat(tmpfile, suid)", probe(libc::SYS_openat, [-1, NULL, 0o20_200_002, 0o4755]), libc::EPERM),
        ],
    );
}

#[test]
fn what_is_allowed_stays_as_it_is() {
    if !can_filter() {
        return;
    }
    let probes = [
        probe(libc::SYS_fchmod, [-1, 0o755]),
        probe(libc::SYS_openat, [-1, 0, 0o100, 0o755]),
        probe(libc::SYS_openat, [-1, 0, 0, 0o4755]),
        probe(libc::SYS_ioctl, [-1, 0x5413, 0]),
        probe(libc::SYS_getuid, []),
        probe(libc::SYS_sched_yield, []),
        probe(libc::SYS_sched_setscheduler, [0, 3, 0]),
        probe(libc::SYS_socket, [libc::AF_UNIX as libc::c_long, 77, 0]),
        probe(libc::SYS_clone, [0x0001_0000, 0, 0, 0, 0]), // CLONE_THREAD alone is invalid.
        probe(libc::SYS_landlock_create_ruleset, [0, 0, 1]),
    ];
    let (free, _) = inside(&[], &Work::Calls(&probes));
    assert_eq!(results(&standard(), &probes), free);
}

#[test]
fn only_listed_families_can_be_opened() {
    if !can_filter() {
        return;
    }
    let only_inet = FilterPolicy { address_families: Some(vec![libc::AF_INET as u16]), ..FilterPolicy::open() };
    let probes: Vec<Probe> =
        (0..50).map(|family| probe(libc::SYS_socket, [family, libc::SOCK_STREAM as libc::c_long, 0])).collect();
    let (free, _) = inside(&[], &Work::Calls(&probes));
    assert!(free[libc::AF_UNIX as usize] >= 0, "otherwise this test proves nothing");
    for (family, result) in results(&only_inet, &probes).into_iter().enumerate() {
        if family == libc::AF_INET as usize {
            // Descriptor numbers differ, as fewer are open.
            assert_eq!(result.min(0), free[family].min(0));
        } else {
            assert_eq!(result, failed(libc::EAFNOSUPPORT), "family {family}");
        }
    }
}

#[test]
fn unknown_numbers_and_denied_calls_answer_what_was_asked() {
    if !can_filter() {
        return;
    }
    let policy = FilterPolicy {
        allow: Some(names(&["@default", "@basic-io"])),
        deny: names(&["getppid"]),
        errno: libc::ENOTBLK,
        unknown_errno: libc::EXDEV,
        ..FilterPolicy::open()
    };
    assert_refuses(
        &policy,
        &[
            ("getppid", probe(libc::SYS_getppid, []), libc::ENOTBLK),
            ("socket", probe(libc::SYS_socket, [1, 1, 0]), libc::ENOTBLK),
            ("number 420", probe(420, []), libc::EXDEV),
            ("number 600", probe(600, []), libc::EXDEV),
        ],
    );
}

#[test]
fn kill_kills_and_log_does_not() {
    if !can_filter() {
        return;
    }
    let denied = FilterPolicy { deny: names(&["getppid"]), kill: true, ..FilterPolicy::open() };
    let probes = [probe(libc::SYS_getppid, [])];
    let (_, end) = inside(&compile(&denied, Arch::native()).unwrap(), &Work::Calls(&probes));
    assert_eq!(end, End::Killed(libc::SIGSYS));
    let watched = FilterPolicy { mode: FilterMode::Log, ..denied };
    assert_eq!(results(&watched, &probes), [i64::from(std::process::id())]);
}

#[test]
fn a_dynamic_program_starts_under_the_standard_policy() {
    if !can_filter() {
        return;
    }
    let programs = compile(&standard(), Arch::native()).unwrap();
    let (_, end) = inside(&programs, &Work::Shell("x=$(echo 6 | cat) && exit 4$x"));
    assert_eq!(end, End::Exited(46));
    let nothing = FilterPolicy { allow: Some(Vec::new()), ..FilterPolicy::open() };
    let (_, end) = inside(&compile(&nothing, Arch::native()).unwrap(), &Work::Shell("exit 46"));
    assert_ne!(end, End::Exited(46), "exec is allowed, but a shell needs more");
    assert_ne!(end, End::Exited(98), "exec itself must be allowed");
}

#[test]
fn set_id_files_cannot_be_left_behind() {
    if !can_filter() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| CString::new(directory.path().join(name).as_os_str().as_bytes()).unwrap();
    let (plain, set_id, linked) = (path("plain"), path("set-id"), path("linked"));
    let cwd = libc::c_long::from(libc::AT_FDCWD);
    let at = |path: &CString| path.as_ptr() as libc::c_long;
    let policy = FilterPolicy { restrict_suid_sgid: true, ..FilterPolicy::open() };
    let probes = [
        probe(libc::SYS_openat, [cwd, at(&plain), 0o102, 0o755]),
        probe(libc::SYS_fchmodat, [cwd, at(&plain), 0o4755]),
        probe(libc::SYS_openat, [cwd, at(&set_id), 0o102, 0o6755]),
        probe(libc::SYS_mkdirat, [cwd, at(&linked), 0o2755]),
    ];
    let results = results(&policy, &probes);
    assert!(results[0] >= 0, "{results:?}");
    assert_eq!(results[1..], [failed(libc::EPERM); 3]);
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["plain"]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn entries_of_i386_and_x32_are_refused_or_judged() {
    const GETPID: libc::c_long = 20;
    const SOCKETCALL: libc::c_long = 102;
    const SOCKET: libc::c_long = 359;
    const UNSHARE: libc::c_long = 310;
    if !can_filter() {
        return;
    }
    let x32 = [probe(0x4000_0000 | libc::SYS_getpid, [])];
    assert_eq!(results(&standard(), &x32), [failed(libc::ENOSYS)]);
    let probes = [
        probe(GETPID, []),
        probe(SOCKETCALL, [1, 0]),
        probe(SOCKET, [38, 5, 0]),
        probe(SOCKET, [i64::from(libc::AF_UNIX), 77, 0]),
        probe(UNSHARE, [0]),
    ];
    let (free, end) = inside(&[], &Work::CallsOfI386(&probes));
    if end != End::Exited(0) || free[0] <= 0 {
        skipped!("this kernel has no 32-bit entry ({end:?})");
        return;
    }
    let under = |policy: &FilterPolicy| {
        let (results, end) = inside(&compile(policy, Arch::X86_64).unwrap(), &Work::CallsOfI386(&probes));
        assert_eq!(end, End::Exited(0));
        results
    };
    assert_eq!(under(&standard()), [failed(libc::ENOSYS); 5]);
    let let_in = under(&FilterPolicy { foreign: names(&["x86"]), ..standard() });
    assert!(let_in[0] > 0);
    let expected = [libc::EPERM, libc::EAFNOSUPPORT].map(failed);
    assert_eq!(let_in[1..3], expected);
    assert_eq!(let_in[3], free[3], "an allowed family with a type that does not exist");
    assert_eq!(let_in[4], failed(libc::EPERM));
}

#[test]
fn conditions_hold_in_the_kernel_by_every_entry() {
    if !can_filter() {
        return;
    }
    let rules = [
        "ioctl(1 == FIONREAD)",
        "mmap(2 & PROT_WRITE|PROT_EXEC == PROT_WRITE|PROT_EXEC)",
        "prctl(0 == PR_GET_NAME)",
        "lseek(1 != 0)",
        "socket(0 == AF_INET)",
    ];
    let deny = rules.map(str::to_owned).to_vec();
    let policy = FilterPolicy { deny, errno: 77, foreign: vec!["x86".to_owned()], ..FilterPolicy::open() };
    let programs = compile(&policy, Arch::native()).unwrap();
    let high = 1 << 32;
    let mut waiting: libc::c_int = 0;
    let (reader, _writer) = pipe();
    let (fd, place) = (reader.as_raw_fd().into(), &raw mut waiting as libc::c_long);
    let mut name = [0u8; 16];
    let (anonymous, name) = ((libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).into(), name.as_mut_ptr() as libc::c_long);
    let probes = [
        (probe(libc::SYS_ioctl, [fd, 0x541b, place]), true),
        (probe(libc::SYS_ioctl, [fd, 0x541b | high, place]), true),
        (probe(libc::SYS_ioctl, [fd, 0x5421, place]), false),
        (probe(libc::SYS_mmap, [0, 4096, 7, anonymous, -1, 0]), true),
        (probe(libc::SYS_mmap, [0, 4096, 5, anonymous, -1, 0]), false),
        (probe(libc::SYS_prctl, [16, name]), true),
        (probe(libc::SYS_prctl, [16 | high, name]), true),
        (probe(libc::SYS_prctl, [3]), false),
        (probe(libc::SYS_lseek, [fd, 0, 0]), false),
        (probe(libc::SYS_lseek, [fd, high, 0]), true),
        (probe(libc::SYS_socket, [2, 2, 0]), true),
        (probe(libc::SYS_socket, [1, 2, 0]), false),
    ];
    let calls = probes.map(|(probe, _)| probe);
    let (free, _) = inside(&[], &Work::Calls(&calls));
    let (bound, end) = inside(&programs, &Work::Calls(&calls));
    assert_eq!(end, End::Exited(0));
    for (index, (_, denied)) in probes.iter().enumerate() {
        assert_ne!(free[index], -77, "{index}");
        assert_eq!(bound[index] == -77, *denied, "{index}: {} instead of {}", bound[index], free[index]);
    }
    #[cfg(target_arch = "x86_64")]
    {
        // old mmap, socketcall, socket, mmap2, getppid by the numbers of i386.
        let calls = [probe(90, [0]), probe(102, [1, 0]), probe(359, [2, 2, 0]), probe(192, [0, 4096, 7, 0x22, -1, 0])];
        if inside(&[], &Work::CallsOfI386(&[probe(64, [0])])).0.first().is_some_and(|pid| *pid > 0) {
            let (bound, end) = inside(&programs, &Work::CallsOfI386(&calls));
            assert_eq!((bound, end), (vec![-77; 4], End::Exited(0)));
        } else {
            skipped!("this kernel has no entry for i386 programs");
        }
    }
}

//! The service of the soak: the test executable under another first word.
//!
//! `soak-worker run INDEX SEED MEAN_MS ENDINGS` holds a lock, prints numbered lines, writes into its ledger how it is
//! going to end, and ends that way. `soak-worker told` is the command after its end: it writes into the same ledger what
//! the daemon says of it. What a run has printed stands in a file of two numbers, one written before each line and one
//! after it, so that a kill between them leaves exactly one line in doubt, and the next run says which.
//!
//! It runs from `.init_array`, before the runtime of the language, which would ignore SIGPIPE and install handlers.

use super::random::Random;
use rustix::fs::{FlockOperation, flock};
use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// First argument that makes the test executable a worker.
pub const WORD: &str = "soak-worker";

/// Signals that end a process, and what rsvc calls them; those that also dump a core.
pub const FATAL: [(i32, &str, bool); 22] = [
    (1, "HUP", false),
    (2, "INT", false),
    (3, "QUIT", true),
    (4, "ILL", true),
    (5, "TRAP", true),
    (6, "ABRT", true),
    (7, "BUS", true),
    (8, "FPE", true),
    (9, "KILL", false),
    (10, "USR1", false),
    (11, "SEGV", true),
    (12, "USR2", false),
    (13, "PIPE", false),
    (14, "ALRM", false),
    (15, "TERM", false),
    (16, "STKFLT", false),
    (24, "XCPU", true),
    (25, "XFSZ", true),
    (26, "VTALRM", false),
    (27, "PROF", false),
    (30, "PWR", false),
    (31, "SYS", true),
];

/// How a worker may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endings {
    /// Statuses and signals, no core.
    All,
    /// The same, and cores are dumped.
    Cores,
    /// As pid 1 of its namespace, to which its own signals mean nothing.
    First,
}

impl Endings {
    /// As it stands on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Endings::All => "all",
            Endings::Cores => "cores",
            Endings::First => "first",
        }
    }
}

/// Status of a worker that found another copy of itself.
const DOUBLE: i32 = 99;
/// Status of a worker that cannot do its work, which its ledger tells.
const BROKEN: i32 = 98;

#[used]
// SAFETY: the linker collects pointers to functions of this type in `.init_array`, and glibc calls each once, with these
// arguments, before `main`.
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn(libc::c_int, *const *const libc::c_char) = begin;

extern "C" fn begin(count: libc::c_int, argv: *const *const libc::c_char) {
    let word = |index: libc::c_int| match index < count {
        // SAFETY: the kernel gives `count` NUL-terminated strings, which live as long as the process.
        true => unsafe { CStr::from_ptr(*argv.offset(index as isize)) }.to_string_lossy().into_owned(),
        false => String::new(),
    };
    if word(1) != WORD {
        return;
    }
    let directory = PathBuf::from(variable("STATE_DIRECTORY"));
    let status = match word(2).as_str() {
        "told" => told(&directory),
        _ => run(&directory, &word(3), &word(4), &word(5), &word(6)),
    };
    let status = status.unwrap_or_else(|error| {
        let _ = note(&directory, &format!("broken {} {error}", variable("INVOCATION_ID")));
        BROKEN
    });
    // SAFETY: ends the process; nothing of the runtime has begun.
    unsafe { libc::_exit(status) }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// One write, so that a line of the ledger is there whole or not at all.
fn note(directory: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options().create(true).append(true).open(directory.join("ledger"))?;
    file.write_all(format!("{text}\n").as_bytes())
}

/// The line with this number; whoever reads it can tell whether it is whole.
pub fn line(service: &str, number: u64) -> String {
    let padding = "abcdefghijklmnopqrstuvwxyz".repeat(4);
    let length = (number.wrapping_mul(0x9e37_79b9) >> 7) as usize % padding.len();
    // The journal takes blanks from the end of a line.
    format!("{service} {number} {}.", &padding[..length])
}

/// What a run has printed: numbers of the last line begun and of the last line done.
pub struct Printed(File);

impl Printed {
    /// Of a worker's directory.
    pub fn open(directory: &Path) -> io::Result<Printed> {
        let path = directory.join("printed");
        Ok(Printed(File::options().create(true).truncate(false).read(true).write(true).open(path)?))
    }

    /// `(begun, done)`
    pub fn numbers(&self) -> io::Result<(u64, u64)> {
        let mut bytes = [0u8; 16];
        let _ = self.0.read_at(&mut bytes, 0)?;
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
        Ok((number(0), number(8)))
    }

    fn begin(&self, number: u64) -> io::Result<()> {
        self.0.write_all_at(&number.to_le_bytes(), 0)
    }

    fn finish(&self, number: u64) -> io::Result<()> {
        self.0.write_all_at(&number.to_le_bytes(), 8)
    }
}

fn run(directory: &Path, service: &str, seed: &str, mean: &str, endings: &str) -> io::Result<i32> {
    let run = variable("INVOCATION_ID");
    let lock = File::options().create(true).truncate(false).write(true).open(directory.join("lock"))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        note(directory, &format!("double {run}"))?;
        return Ok(DOUBLE);
    }
    std::env::set_current_dir(directory)?;
    let printed = Printed::open(directory)?;
    let (mut number, done) = printed.numbers()?;
    if number != done {
        note(directory, &format!("doubt {number}"))?;
        printed.finish(number)?;
    }
    note(directory, &format!("run {run}"))?;
    let mut random = Random::new(seed.parse::<u64>().unwrap_or(0) ^ number.rotate_left(32) ^ hash(&run));
    let mut left = Duration::from_millis(random.below(2 * mean.parse::<u64>().unwrap_or(1000)));
    loop {
        for _ in 0..burst(&mut random) {
            number += 1;
            printed.begin(number)?;
            let line = line(service, number) + "\n";
            let written = rustix::io::write(io::stdout(), line.as_bytes())?;
            if written != line.len() {
                return Err(io::Error::other(format!("{written} of {} bytes of line {number}", line.len())));
            }
            printed.finish(number)?;
        }
        let pause = Duration::from_millis(random.below(2000)).min(left);
        left -= pause;
        std::thread::sleep(pause);
        if left.is_zero() {
            break;
        }
    }
    end(directory, &run, endings, &mut random)
}

/// Mostly a few lines; now and then more than a pipe holds.
fn burst(random: &mut Random) -> u64 {
    match random.below(100) {
        0 => random.below(2000),
        1..10 => random.below(100),
        _ => random.below(6),
    }
}

fn end(directory: &Path, run: &str, endings: &str, random: &mut Random) -> io::Result<i32> {
    if random.below(100) < 60 {
        let status = random.below(256);
        note(directory, &format!("ends {run} exited {status}"))?;
        return Ok(status as i32);
    }
    if endings == Endings::First.word() {
        note(directory, &format!("ends {run} killed SEGV"))?;
        // SAFETY: a fault of one's own is the only fatal signal that reaches the first process of a namespace; nothing
        // is ever read.
        unsafe { std::ptr::without_provenance::<u8>(8).read_volatile() };
        return Ok(BROKEN);
    }
    let (signal, name, dumps) = FATAL[random.below(FATAL.len() as u64) as usize];
    let cores = endings == Endings::Cores.word();
    if cores && dumps {
        // No memory in the core: its notes are enough.
        let _ = fs::write("/proc/self/coredump_filter", "0");
    }
    note(directory, &format!("ends {run} {} {name}", if cores && dumps { "cored" } else { "killed" }))?;
    // SAFETY: a signal to oneself.
    unsafe { libc::kill(libc::getpid(), signal) };
    std::thread::sleep(Duration::from_secs(10));
    Ok(BROKEN)
}

/// After the end: what the daemon says, and whether there is a core, by which the kernel says it.
fn told(directory: &Path) -> io::Result<i32> {
    let run = variable("INVOCATION_ID");
    let core = directory.join(format!("core-of-{run}"));
    let _ = fs::rename(directory.join("core"), &core);
    let (code, status) = (variable("EXIT_CODE"), variable("EXIT_STATUS"));
    let code = if code.is_empty() { "unknown" } else { &code };
    let restarts = std::env::var("RSVC_RESTARTS").unwrap_or_else(|_| "-".to_owned());
    let dumped = if core.exists() { "core" } else { "-" };
    note(directory, &format!("told {run} {restarts} {dumped} {code} {status}"))?;
    for entry in fs::read_dir(directory)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with("core-of-") && entry.path() != core {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(0)
}

fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

//! What is known of a main process that SIGSYS ended: nearly always a system-call filter did that.
//!
//! Who waits for a process is told the signal and nothing else; the call is only in the siginfo that died with it. But the
//! kernel makes an audit record of each such end (audit_seccomp), and where no auditd takes those they are in its log. There
//! the call is looked for by the pid, when somebody asks: the record is written by a thread of the kernel's, a moment later.
//! What programs write into that log is told apart by its facility.

use super::denials;
use super::snapshot::how;
use crate::filter;
use crate::supervise::Exit;
use crate::unit::{OnDeny, SyscallMode, Unit};
use std::cell::{Cell, OnceCell};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SIGSYS: u8 = 31;

/// How far a record and the end that the daemon saw may be apart: a pid comes again.
const APART: Duration = Duration::from_secs(60);

/// Reading the whole log takes a millisecond or more.
const LOOKS: u8 = 16;

/// Longest record of the kernel's log, bytes; a longer one is refused by read(2).
const RECORD: usize = 8192;

/// Inode of the first pid namespace (PROC_PID_INIT_INO): the numbers in records are its.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// A main process that was ended so.
#[derive(Debug)]
pub(super) struct KilledCall {
    pid: i32,
    ended: SystemTime,
    looks: Cell<u8>,
    found: OnceCell<Record>,
}

/// Of struct seccomp_data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    arch: u32,
    number: u32,
}

impl KilledCall {
    /// `None`: it ended in another way.
    pub fn of(exit: Exit, pid: Option<i32>) -> Option<Box<KilledCall>> {
        let (Exit::Killed(SIGSYS) | Exit::Dumped(SIGSYS)) = exit else { return None };
        #[allow(
            clippy::disallowed_methods,
            reason = "compared with the time in the kernel's record, which is the wall clock's"
        )]
        let ended = SystemTime::now();
        Some(Box::new(KilledCall { pid: pid?, ended, looks: Cell::new(0), found: OnceCell::new() }))
    }

    fn call(&self) -> Option<&'static str> {
        if self.found.get().is_none() && self.looks.get() < LOOKS {
            self.looks.set(self.looks.get() + 1);
            if let Ok(Some(record)) = look(self.pid, self.ended) {
                let _ = self.found.set(record);
            }
        }
        self.found.get().and_then(|record| filter::call_name(record.arch, record.number))
    }
}

/// The sentence about a main process (or a command, `who`) that SIGSYS ended; `None`: another end.
pub(super) fn words(who: &str, exit: Exit, unit: Option<&Unit>, killed: Option<&KilledCall>) -> Option<String> {
    let (Exit::Killed(SIGSYS) | Exit::Dumped(SIGSYS)) = exit else { return None };
    let kills = unit
        .is_none_or(|unit| unit.syscalls.on_deny == OnDeny::KillProcess && unit.syscalls.mode == SyscallMode::Enforce);
    let how = how(exit);
    let call = killed.and_then(KilledCall::call);
    let said = call.map_or_else(String::new, |call| format!(", for the system call `{call}`"));
    Some(match (kills, call, unit) {
        (false, ..) => format!(
            "{who} {how}{said}\n  hint: no filter of this unit kills (syscalls.on_deny): the program has one of its own, rsvc \
             itself runs under one, or somebody sent the signal"
        ),
        (true, Some(call), Some(unit)) => format!(
            "{who} {how}: its system-call filter (syscalls.on_deny = \"kill-process\") denied `{call}`\n  hint: {}; \
             `on_deny = \"notify-errno\"` denies without killing, and status lists all that is denied",
            denials::remedy(unit, call, 0)
        ),
        (true, ..) => format!(
            "{who} {how}: a system-call filter ended it (syscalls.on_deny = \"kill-process\"){said}\n  hint: which call it was \
             may be in the kernel's log (`dmesg | grep sig=31`, or `ausearch -m seccomp`); `on_deny = \"notify-errno\"` denies \
             without killing, and status names the calls"
        ),
    })
}

/// The record of a process in the kernel's log, the last one of about that time.
fn look(pid: i32, around: SystemTime) -> io::Result<Option<Record>> {
    if fs::read_link("/proc/self/ns/pid")?.to_str() != Some(FIRST_PID_NAMESPACE) {
        return Ok(None);
    }
    let mut log = File::options().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg")?;
    let mut buffer = [0; RECORD];
    let mut found = None;
    loop {
        match log.read(&mut buffer) {
            Ok(0) => return Ok(found),
            Ok(length) => {
                let text = String::from_utf8_lossy(&buffer[..length]);
                found = parse(&text, pid, around).or(found);
            }
            // Records were overwritten meanwhile; the next read goes on behind the gap.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(found),
            Err(error) => return Err(error),
        }
    }
}

/// `5,841,1227588457,-;audit: type=1326 audit(1796093911.985:7): ... pid=2510 ... sig=31 arch=c000003e syscall=428 ...`
fn parse(record: &str, pid: i32, around: SystemTime) -> Option<Record> {
    let (head, text) = record.split_once(';')?;
    // Facility and level: what programs write there is never of the kernel's facility, 0.
    if head.split(',').next()?.parse::<u32>().ok()? >= 8 {
        return None;
    }
    let text = text.strip_prefix("audit: type=1326 audit(")?;
    let seconds: u64 = text.split_once('.')?.0.parse().ok()?;
    let made = UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
    let apart = around.duration_since(made).unwrap_or_else(|early| early.duration());
    let field = |name: &str| text.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let is_its = field("pid")?.parse() == Ok(pid) && field("sig")? == "31" && apart <= APART;
    let (arch, number) = (field("arch")?, field("syscall")?.trim_end());
    let record = Record { arch: u32::from_str_radix(arch, 16).ok()?, number: number.parse().ok()? };
    is_its.then_some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "5,841,1227588457,-;audit: type=1326 audit(1796093911.985:7): auid=4294967295 uid=0 gid=0 ses=4294967295 \
                        pid=2510 comm=\"web\" exe=\"/usr/bin/web\" sig=31 arch=c000003e syscall=321 compat=0 ip=0x7f0 \
                        code=0x80000000\n";

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn the_record_of_the_process_and_of_that_time_is_found_and_no_other() {
        let record = parse(LINE, 2510, at(1_796_093_950)).unwrap();
        assert_eq!(filter::call_name(record.arch, record.number), Some("bpf"));
        assert_eq!(parse(LINE, 251, at(1_796_093_911)), None);
        for long_apart in [1_796_094_911, 1_796_092_911] {
            assert_eq!(parse(LINE, 2510, at(long_apart)), None);
        }
        assert_eq!(parse(&LINE.replace("sig=31", "sig=0"), 2510, at(1_796_093_911)), None);
        let of_a_program = LINE.replacen("5,", "13,", 1);
        assert_eq!(parse(&of_a_program, 2510, at(1_796_093_911)), None);
        for end in 0..LINE.len() {
            parse(&LINE[..end], 2510, at(1_796_093_911));
        }
    }

    #[test]
    fn the_words_say_which_key_killed_and_what_to_do_or_that_it_was_none() {
        let unit = |more: &str| {
            let text = format!("[service]\nexec = [\"/bin/web\"]\nuser = \"web\"\n[syscalls]\n{more}\n");
            Unit::parse("web", "web.toml", &text).unwrap().0
        };
        let exit = Exit::Killed(SIGSYS);
        let killed = KilledCall::of(exit, Some(1)).unwrap();
        killed.found.set(Record { arch: 0xc000_003e, number: 321 }).unwrap();
        let kills = unit("on_deny = \"kill-process\"");
        let said = words("the main process", exit, Some(&kills), Some(&killed)).unwrap();
        assert!(said.contains("denied `bpf`") && said.contains("syscalls.allow.append = [\"bpf\"]"), "{said}");
        let said = words("the main process", exit, Some(&kills), None).unwrap();
        assert!(said.contains("kill-process") && said.contains("notify-errno") && said.contains("dmesg"), "{said}");
        let said = words("the main process", exit, Some(&unit("")), Some(&killed)).unwrap();
        assert!(said.contains("`bpf`") && said.contains("no filter of this unit kills"), "{said}");
        assert_eq!(words("the main process", Exit::Killed(9), Some(&kills), Some(&killed)), None);
        assert!(KilledCall::of(Exit::Exited(31), Some(1)).is_none());
    }
}

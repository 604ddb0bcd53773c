//! What a number in a state means: which process, in which boot.
//!
//! A pid alone may belong to anybody by now. [`ProcessIdentity`] tells a process from all others that had or get its
//! number; what else is asked of a process that is not ours to wait for is read in its line of `/proc`. A state, and every
//! number in it, is valid in one boot ([`boot_id`]).

use super::scarcity;
use super::whole_file::read_proc;
use crate::sys::process;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

/// A process that can be recognised later: its number, and what tells it from every other that had or gets this number.
///
/// The start time is counted in ticks of 10 ms, in which all numbers of a small pid namespace can come round. Where the
/// kernel has a number that is never used twice (pidfs, since Linux 6.9), that decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Number on the host.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`: clock ticks after boot.
    pub start_time: u64,
    /// Inode number of its pidfds, unique in this boot; missing on older kernels and in states of an older rsvc.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pidfs: Option<u64>,
}

impl ProcessIdentity {
    /// Who has this number now; `None` when nobody has.
    pub fn of(pid: i32) -> Option<ProcessIdentity> {
        match scarcity::noted(process::pidfd_open(pid).map_err(io::Error::from)) {
            Ok(pidfd) => ProcessIdentity::behind(pid, pidfd.as_fd()),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) || pid <= 0 => None,
            // No descriptor to be had (EMFILE, a filter around the daemon) does not mean that there is nobody.
            Err(_) => Some(ProcessIdentity { pid, start_time: start_time_of(pid)?, pidfs: None }),
        }
    }

    /// Who is behind a pidfd that was opened for this number; `None` when it has been reaped.
    pub fn behind(pid: i32, pidfd: BorrowedFd<'_>) -> Option<ProcessIdentity> {
        ProcessIdentity::identify(pid, pidfd).ok()
    }

    /// The same for who has to say why not.
    ///
    /// # Errors
    /// ESRCH when it has been reaped; of reading its line of `/proc`.
    pub fn identify(pid: i32, pidfd: BorrowedFd<'_>) -> io::Result<ProcessIdentity> {
        let stat = read_proc(&format!("/proc/{pid}/stat"))?;
        let start_time = start_time(&stat).ok_or(io::ErrorKind::InvalidData)?;
        // Still not reaped: so it was this process whose start time was read. Others' processes may not be signalled.
        match process::pidfd_send_signal(pidfd, 0) {
            Err(error) if error.errno != libc::EPERM => Err(error.into()),
            _ => Ok(ProcessIdentity { pid, start_time, pidfs: unique_number(pidfd) }),
        }
    }

    /// Who was behind this pidfd and has been reaped: without a number that anybody could have by now. `None` where the
    /// kernel has no unique number.
    pub fn of_the_dead(pidfd: BorrowedFd<'_>) -> Option<ProcessIdentity> {
        Some(ProcessIdentity { pid: i32::MAX, start_time: 0, pidfs: Some(unique_number(pidfd)?) })
    }

    /// Is it the same process? Where one of the two lacks the unique number the start time decides.
    pub fn is_same(&self, other: &ProcessIdentity) -> bool {
        let differs = matches!((self.pidfs, other.pidfs), (Some(one), Some(another)) if one != another);
        self.pid == other.pid && self.start_time == other.start_time && !differs
    }

    /// Is it this process that a pidfd was opened for by its number? With the unique number also after its end.
    pub fn is_behind(&self, pidfd: BorrowedFd<'_>) -> bool {
        if let (Some(own), Some(found)) = (self.pidfs, unique_number(pidfd)) {
            return own == found;
        }
        ProcessIdentity::behind(self.pid, pidfd).is_some_and(|found| found.is_same(self))
    }

    /// Does the process still exist (as a zombie too)? To act on it, open a pidfd and ask [`ProcessIdentity::is_behind`].
    pub fn is_alive(&self) -> bool {
        ProcessIdentity::of(self.pid).is_some_and(|found| found.is_same(self))
    }

    /// Does it run? One that has ended, and that nobody has waited for, does not.
    pub fn is_running(&self) -> bool {
        let is_dead = |stat: Vec<u8>| fields_of(&stat).and_then(|mut fields| fields.next().map(|s| "ZX".contains(s)));
        let dead = read_proc(&format!("/proc/{}/stat", self.pid)).ok().and_then(is_dead);
        // Looked at before: what dies in between is told by its pidfd.
        dead == Some(false) && self.is_alive()
    }
}

/// Inode number of a pidfd where those are of pidfs. Older kernels have one inode for all of them.
fn unique_number(pidfd: BorrowedFd<'_>) -> Option<u64> {
    /// `PID_FS_MAGIC` of linux/magic.h.
    const PIDFS: u64 = 0x5049_4446;
    static HAS_PIDFS: OnceLock<bool> = OnceLock::new();
    let is_pidfs = || crate::sys::mount::file_system_magic(pidfd) == Ok(PIDFS);
    let number = || rustix::fs::fstat(pidfd).ok().map(|stat| stat.st_ino);
    HAS_PIDFS.get_or_init(is_pidfs).then(number).flatten()
}

fn start_time_of(pid: i32) -> Option<u64> {
    start_time(&read_proc(&format!("/proc/{pid}/stat")).ok()?)
}

/// Opens a pidfd of a saved process, if it still is that process.
pub(super) fn open_verified(saved: &ProcessIdentity) -> Option<OwnedFd> {
    let pidfd = scarcity::noted(process::pidfd_open(saved.pid).map_err(io::Error::from)).ok()?;
    saved.is_behind(pidfd.as_fd()).then_some(pidfd)
}

/// Field 22.
fn start_time(stat: &[u8]) -> Option<u64> {
    fields_of(stat)?.nth(22 - 3)?.parse().ok()
}

/// How a process ended that its parent has not waited for, as of wait(2): field 52, which is told to whoever may trace
/// the process (proc_pid_stat(5)). `None` for one that is not dead.
pub(super) fn status_of_zombie(pid: i32) -> Option<i32> {
    zombie_status(&read_proc(&format!("/proc/{pid}/stat")).ok()?)
}

/// Field 4: who forked it, or has inherited it.
pub(super) fn parent_of(pid: i32) -> Option<i32> {
    fields_of(&read_proc(&format!("/proc/{pid}/stat")).ok()?)?.nth(4 - 3)?.parse().ok()
}

fn zombie_status(stat: &[u8]) -> Option<i32> {
    let mut fields = fields_of(stat)?;
    (fields.next()? == "Z").then(|| fields.nth(52 - 4)?.parse().ok())?
}

/// From the third on: counted behind the name in parentheses, which may itself hold blanks and parentheses.
fn fields_of(stat: &[u8]) -> Option<std::str::SplitAsciiWhitespace<'_>> {
    let behind_name = stat.iter().rposition(|b| *b == b')')? + 1;
    Some(std::str::from_utf8(&stat[behind_name..]).ok()?.split_ascii_whitespace())
}

/// The kernel's id of this boot, 36 characters; empty where /proc does not tell (then no state is of another boot). In a
/// pid namespace of its own, also what identifies the first process of that: to a container a new start is a boot, and
/// the numbers in its states are those of a namespace that is gone. Read once: it is part of every state that is written.
pub fn boot_id() -> &'static str {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    BOOT_ID.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let id = text.map(|text| text.trim().to_owned()).unwrap_or_default();
        match first_process() {
            Some(first) => format!("{id}/{first}"),
            None => id,
        }
    })
}

/// A number of the first process of this pid namespace; `None` in the host's, where the boot id says the same.
fn first_process() -> Option<u64> {
    /// Target of the link in the namespace that the kernel made at its boot (PROC_PID_INIT_INO, the same everywhere).
    const HOSTS: &str = "pid:[4026531836]";
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    if namespace == Path::new(HOSTS) {
        return None;
    }
    ProcessIdentity::of(1).map(|first| first.pidfs.unwrap_or(first.start_time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_pid_is_somebody_else() {
        let own = ProcessIdentity::of(std::process::id() as i32).unwrap();
        assert!(own.is_alive());
        assert!(!ProcessIdentity { start_time: own.start_time + 1, ..own }.is_alive());
        assert!(ProcessIdentity { pidfs: None, ..own }.is_alive(), "as an older rsvc wrote it");
        assert_eq!(ProcessIdentity::of(0), None);
        assert_eq!(ProcessIdentity::of(i32::MAX), None);
    }

    #[test]
    fn a_pid_reused_within_one_tick_is_somebody_else() {
        let own = ProcessIdentity::of(std::process::id() as i32).unwrap();
        let Some(number) = own.pidfs else {
            return eprintln!("skipped: this kernel has no pidfs");
        };
        assert!(!ProcessIdentity { pidfs: Some(number + 1), ..own }.is_alive());
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let pid = child.id() as i32;
        let pidfd = process::pidfd_open(pid).unwrap();
        let identity = ProcessIdentity::behind(pid, pidfd.as_fd()).unwrap();
        assert_ne!(identity.pidfs, own.pidfs);
        assert!(identity.is_behind(pidfd.as_fd()));
        child.wait().unwrap();
        assert!(identity.is_behind(pidfd.as_fd()), "the descriptor is that of the process that was");
        assert!(!identity.is_alive(), "whoever has the number now is another one");
    }

    #[test]
    fn an_identity_without_the_unique_number_is_read_and_written() {
        let old: ProcessIdentity = serde_json::from_str("{\"pid\":7,\"start_time\":8}").unwrap();
        assert_eq!(old, ProcessIdentity { pid: 7, start_time: 8, pidfs: None });
        assert_eq!(serde_json::to_string(&old).unwrap(), "{\"pid\":7,\"start_time\":8}");
    }

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let stat = |name: &str| format!("1 ({name}) S 0 1 1 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4711 22 33\n");
        for name in ["sh", "a b", "x) S 1 2 (", ") R 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9"] {
            assert_eq!(start_time(stat(name).as_bytes()), Some(4711), "{name}");
        }
        assert_eq!(start_time(b"1 (x) S"), None);
    }

    #[test]
    fn a_zombie_tells_how_it_ended() {
        let mut child = std::process::Command::new("/bin/sh").args(["-c", "exit 42"]).spawn().unwrap();
        let pid = child.id() as i32;
        assert_eq!(status_of_zombie(std::process::id() as i32), None);
        while status_of_zombie(pid).is_none() {
            std::thread::yield_now();
        }
        // An ordinary user may not trace what is not dumpable; a shell is.
        assert_eq!(status_of_zombie(pid), Some(42 << 8));
        child.wait().unwrap();
        assert_eq!(status_of_zombie(pid), None);
        let dead = "7 (x) ) Z 1 2 3".to_owned() + &" 0".repeat(45) + " 139\n";
        assert_eq!(zombie_status(dead.as_bytes()), Some(139));
        assert_eq!(zombie_status(dead.replace('Z', "S").as_bytes()), None);
    }
}

//! Signals to the daemon, as a readable descriptor.

use signal_hook::consts::{SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::low_level::pipe;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What was caught since the last look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Caught {
    /// SIGTERM or SIGINT.
    pub end: bool,
    /// SIGHUP, unless it was ignored from the beginning (nohup(1)).
    pub hangup: bool,
    /// SIGCHLD, where this process may have children that it has not made ([`inherits_children`]).
    pub child: bool,
    /// SIGWINCH, with a terminal.
    pub resized: bool,
    /// SIGTSTP, with a terminal.
    pub suspend: bool,
    /// SIGCONT, with a terminal: whoever stopped us may have changed its modes.
    pub resumed: bool,
}

/// The readable end: a byte for each signal.
pub(super) struct Signals {
    reader: UnixStream,
    end: Arc<AtomicBool>,
    hangup: Arc<AtomicBool>,
    child: Arc<AtomicBool>,
    resized: Arc<AtomicBool>,
    suspend: Arc<AtomicBool>,
    resumed: Arc<AtomicBool>,
    writer: UnixStream,
}

impl Signals {
    /// Catches SIGTERM, SIGINT and SIGHUP. The daemon does nothing about SIGHUP, but it is not deadly. Whoever started
    /// this process may have blocked them until somebody acts on them: they are open from now on.
    pub fn new() -> io::Result<Signals> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        let end = Arc::new(AtomicBool::new(false));
        let child = Arc::new(AtomicBool::new(false));
        let hangup = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            // The flag is set before the byte is written: registration order is call order.
            signal_hook::flag::register(signal, Arc::clone(&end))?;
            pipe::register(signal, writer.try_clone()?)?;
        }
        if !is_ignored(SIGHUP) {
            signal_hook::flag::register(SIGHUP, Arc::clone(&hangup))?;
            pipe::register(SIGHUP, writer.try_clone()?)?;
        }
        crate::sys::process::unblock_signals()?;
        let [resized, suspend, resumed] = std::array::from_fn(|_| Arc::default());
        Ok(Signals { reader, end, hangup, child, resized, suspend, resumed, writer })
    }

    /// Catches SIGCHLD too, for who [`inherits_children`].
    pub fn with_children(self) -> io::Result<Signals> {
        signal_hook::flag::register(SIGCHLD, Arc::clone(&self.child))?;
        pipe::register(SIGCHLD, self.writer.try_clone()?)?;
        Ok(self)
    }

    /// Catches those too that matter to who has changed the modes of the terminal. SIGQUIT ends like SIGTERM then.
    pub fn with_terminal(self) -> io::Result<Signals> {
        let flags =
            [(SIGQUIT, &self.end), (SIGWINCH, &self.resized), (SIGTSTP, &self.suspend), (SIGCONT, &self.resumed)];
        for (signal, flag) in flags {
            signal_hook::flag::register(signal, Arc::clone(flag))?;
            pipe::register(signal, self.writer.try_clone()?)?;
        }
        Ok(self)
    }

    /// Drains the descriptor.
    pub fn take(&mut self) -> Caught {
        let mut buffer = [0u8; 64];
        while matches!(self.reader.read(&mut buffer), Ok(count) if count > 0) {}
        let caught = |flag: &AtomicBool| flag.swap(false, Ordering::SeqCst);
        Caught {
            end: caught(&self.end),
            hangup: caught(&self.hangup),
            child: caught(&self.child),
            resized: caught(&self.resized),
            suspend: caught(&self.suspend),
            resumed: caught(&self.resumed),
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

/// Was the signal ignored when this process was started? Source: "SigIgn" in proc_pid_status(5).
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// May this process have children that it has not made: as pid 1 or subreaper, or because another program was executed
/// in its place (an upgrade, a shell's `exec`)? To be asked before it has made any.
pub(super) fn inherits_children() -> bool {
    use nix::errno::Errno;
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    std::process::id() == 1
        || crate::sys::credentials::is_subreaper()
        || !matches!(waitid(Id::All, look), Err(Errno::ECHILD))
}

/// Reaps children that have ended and are not `known`. `true`: one of those is in front of the others, and will be
/// reaped by who knows it; look again then. Looking with WNOWAIT first keeps the statuses of the known ones.
pub(super) fn reap_strangers(known: &mut dyn FnMut(i32) -> bool) -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
    loop {
        match waitid(Id::All, flags | WaitPidFlag::WNOWAIT) {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => {
                if known(pid.as_raw()) {
                    return true;
                }
                let _ = waitid(Id::Pid(pid), flags);
            }
            _ => return false,
        }
    }
}

//! Signals to the daemon, as a readable descriptor.

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
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
    /// SIGCHLD, only as pid 1.
    pub child: bool,
}

/// The readable end: a byte for each signal.
pub(super) struct Signals {
    reader: UnixStream,
    end: Arc<AtomicBool>,
    child: Arc<AtomicBool>,
}

impl Signals {
    /// Catches SIGTERM, SIGINT and, as pid 1, SIGCHLD; SIGHUP does nothing but is not deadly.
    pub fn new() -> io::Result<Signals> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        let end = Arc::new(AtomicBool::new(false));
        let child = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            // The flag is set before the byte is written: registration order is call order.
            signal_hook::flag::register(signal, Arc::clone(&end))?;
            pipe::register(signal, writer.try_clone()?)?;
        }
        pipe::register(SIGHUP, writer.try_clone()?)?;
        if std::process::id() == 1 {
            signal_hook::flag::register(SIGCHLD, Arc::clone(&child))?;
            pipe::register(SIGCHLD, writer)?;
        }
        Ok(Signals { reader, end, child })
    }

    /// Drains the descriptor.
    pub fn take(&mut self) -> Caught {
        let mut buffer = [0u8; 64];
        while matches!(self.reader.read(&mut buffer), Ok(count) if count > 0) {}
        Caught { end: self.end.swap(false, Ordering::SeqCst), child: self.child.swap(false, Ordering::SeqCst) }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

/// As pid 1 the daemon inherits every orphan of its pid namespace. Those that it launched itself are reaped by their
/// pidfds; looking with WNOWAIT first keeps their statuses for that.
pub(super) fn reap_orphans(known: &dyn Fn(i32) -> bool) {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
    loop {
        match waitid(Id::All, flags | WaitPidFlag::WNOWAIT) {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) if !known(pid.as_raw()) => {
                let _ = waitid(Id::Pid(pid), flags);
            }
            // Nobody, or one of our own, whose pidfd is about to be handled; the next SIGCHLD looks again.
            _ => return,
        }
    }
}

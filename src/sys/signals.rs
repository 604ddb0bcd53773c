//! Waiting for signals and for a descriptor at once (signalfd(2)).

use super::{Named, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A signal, which is taken.
    Signal(i32),
    /// The descriptor can be read, or its other side is closed.
    Other,
    /// Nothing in time.
    Nothing,
}

/// All signals that are sent to this process. They must be blocked ([`super::process::block_signals`]).
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub fn all_blocked() -> Result<Signals> {
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&SigSet::all(), flags).map(Signals).named("signalfd")
    }

    /// Waits for a signal, for `other`, or for `limit` to pass.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn wait(&self, other: Option<BorrowedFd<'_>>, limit: Option<Duration>) -> Result<Heard> {
        let limit = limit.map_or(PollTimeout::NONE, |limit| PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX));
        loop {
            let mut sources: Vec<PollFd<'_>> = [Some(self.0.as_fd()), other]
                .into_iter()
                .flatten()
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
                .collect();
            match poll(&mut sources, limit) {
                Ok(0) => return Ok(Heard::Nothing),
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error).named("poll"),
            }
            if let Some(information) = self.0.read_signal().named("read")? {
                return Ok(Heard::Signal(information.ssi_signo as i32));
            }
            if sources.get(1).and_then(PollFd::any) == Some(true) {
                return Ok(Heard::Other);
            }
        }
    }
}

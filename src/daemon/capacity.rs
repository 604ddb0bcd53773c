//! How many services the limit of open files allows (RLIMIT_NOFILE, getrlimit(2)).
//!
//! A daemon that has run out of descriptors can neither start nor stop nor tell anything, and its successor, which needs
//! one more for each service, could not take them over. So the limit is met at launches, while there still is room for
//! both: the start that would go too far fails and says why.

use super::engine::Engine;
use super::launch::failure;
use crate::supervise::LaunchFailure;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::os::fd::BorrowedFd;

/// Descriptors that launches leave to connections, log files and commands.
const RESERVE: u64 = 512;
/// Taking one service over needs no more than so many.
const ONE_SERVICE: u64 = 32;

/// The present soft limit.
pub(super) fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Raises the soft limit to the hard one. Services have limits of their own (`resources.rlimits`).
pub(super) fn claim() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!("the limit of open files stays at {}: {error}", limit());
    }
}

/// Makes the kernel's table of open files as large as that of somebody with `more` descriptors. It grows by itself, but
/// where there are two threads each time waits for all processors (`synchronize_rcu` in expand_fdtable(), fs/file.c).
pub(super) fn make_room(any: BorrowedFd<'_>, more: usize) {
    let number = i32::try_from(more).unwrap_or(i32::MAX);
    // Beyond the limit there will be no room anyway.
    drop(rustix::io::fcntl_dupfd_cloexec(any, number));
}

/// A process of ours may have as many open as this one: the keeper of a daemon with a lower limit. It needs no more than
/// the daemon, which has open all that is kept and a pidfd for each service.
pub(super) fn claim_for(pid: i32) {
    let (soft, hard) = (limit(), getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX));
    if let Err(error) = crate::sys::confine::set_limit(pid, libc::RLIMIT_NOFILE as i32, soft, hard) {
        tracing::warn!("the limit of open files of process {pid} stays as it is: {error}");
    }
}

impl Engine {
    /// # Errors
    /// What the start of one more service fails with.
    pub(super) fn check_room_for_launch(&self) -> Result<(), LaunchFailure> {
        let running = self.exits.count() as u64;
        let spare = RESERVE.min(self.descriptors / 4) + running;
        match self.has_room(spare) {
            true => Ok(()),
            false => {
                let message = format!(
                    "failed at step FDS: the daemon may not open more than {} files, and the next daemon needs some to \
                     take {running} services over\n  hint: raise the daemon's limit: LimitNOFILE= of its systemd unit, or \
                     `ulimit -Hn`",
                    self.descriptors
                );
                Err(failure("FDS", 202, message))
            }
        }
    }

    /// `room` is for how many more there is room for certain, as was found the last time: 0 for the first.
    ///
    /// # Errors
    /// Without room for one more service nothing may be taken over by halves: this daemon does not begin.
    pub(super) fn check_room_to_adopt(&self, room: &mut u64) -> io::Result<()> {
        if *room == 0 {
            // Asking for each would cost more than some of them need at all.
            *room = self.descriptors.saturating_sub(self.open() + 1) / ONE_SERVICE;
        }
        match room.checked_sub(1) {
            Some(less) => *room = less,
            None => {
                return Err(io::Error::other(format!(
                    "the limit of {} open files is too low to take over the services that run; they go on running\n  \
                     hint: raise it: LimitNOFILE= of the daemon's systemd unit, or `ulimit -Hn`",
                    self.descriptors
                )));
            }
        }
        Ok(())
    }

    fn has_room(&self, spare: u64) -> bool {
        self.open().saturating_add(spare) < self.descriptors
    }

    /// Open files.
    fn open(&self) -> u64 {
        // Linux 6.2 and later tell the number of open files as the size of the directory; before, what is watched
        // stands for all, as that is most of it.
        let told = rustix::fs::stat("/proc/self/fd").map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0));
        told.max(self.sources.len() as u64)
    }
}

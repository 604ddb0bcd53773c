//! Dead processes that nobody waits for.
//!
//! When a daemon ends, its children become those of the first process of the machine, or of the container. One that does
//! not wait for them (a shell, `tail -f`) lets them stay as zombies. For rsvc that changes nothing: how a service ended is
//! in its record, or in the zombie's own line, and a group is empty without its dead. But it is not what anybody wants,
//! so it is said, once.

use super::engine::{Engine, Timer};
use super::identity;
use crate::sys::process;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// So long an ordinary first process may take, on a very busy machine.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is known of it so far.
#[derive(Debug, Default)]
pub(super) struct Unreaped {
    /// Somebody who is dead, and should be gone soon.
    suspect: Option<OwnedFd>,
    told: bool,
}

impl Engine {
    /// A process of an earlier daemon has ended: is it gone after a while?
    pub(super) fn expect_reaping(&mut self, pidfd: BorrowedFd<'_>) {
        if self.unreaped.told || self.unreaped.suspect.is_some() {
            return;
        }
        self.unreaped.suspect = pidfd.try_clone_to_owned().ok();
        self.after(PATIENCE, Timer::Unreaped);
    }

    /// That while is over.
    pub(super) fn look_for_unreaped(&mut self) {
        let Some((pid, parent)) = self.unreaped.suspect.take().and_then(|pidfd| unreaped(pidfd.as_fd())) else {
            return;
        };
        self.unreaped.told = true;
        let name = std::fs::read_to_string(format!("/proc/{parent}/comm")).unwrap_or_default();
        tracing::warn!(
            "process {parent} ({}) does not wait for its children: what it inherited from an earlier daemon, such as \
             process {pid}, stays as a zombie; the exit statuses of services are known all the same. `rsvc init` in its \
             place waits for them",
            name.trim().escape_debug()
        );
    }
}

/// The process and its parent, if it is dead and nobody has waited for it, and that is not for us to do.
fn unreaped(pidfd: BorrowedFd<'_>) -> Option<(i32, i32)> {
    let pid = process::pid_of_pidfd(pidfd).ok()??;
    identity::status_of_zombie(pid)?;
    let parent = identity::parent_of(pid)?;
    // Still unreaped: so the number was its own.
    process::pidfd_send_signal(pidfd, 0).ok()?;
    (parent != process::own_pid()).then_some((pid, parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_alive_or_our_own_child_is_nobodys_fault() {
        let own = process::pidfd_open(process::own_pid()).unwrap();
        assert_eq!(unreaped(own.as_fd()), None);
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let pidfd = process::pidfd_open(child.id() as i32).unwrap();
        while identity::status_of_zombie(child.id() as i32).is_none() {
            std::thread::yield_now();
        }
        assert_eq!(unreaped(pidfd.as_fd()), None, "it is waited for below");
        child.wait().unwrap();
        assert_eq!(unreaped(pidfd.as_fd()), None);
    }
}

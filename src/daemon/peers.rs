//! Whose a process is: in which unit's group, and whether it is a child that the engine reaps.

use super::engine::Engine;
use super::service::Process;
use super::state;
use crate::cgroup::Group;
use crate::control::Peer;
use crate::sys::process;
use std::os::fd::AsFd;

impl Engine {
    /// The unit in whose group a process is.
    pub(super) fn managed_unit(&self, pid: i32) -> Option<String> {
        let text = String::from_utf8(state::read_proc(&format!("/proc/{pid}/cgroup")).ok()?).ok()?;
        // Nearly every client is outside of the root group, and is let in without a look at each service.
        let root = self.tree.as_ref()?.root_path();
        let paths: Vec<&std::path::Path> = text
            .lines()
            .filter_map(|line| line.splitn(3, ':').nth(2))
            .map(std::path::Path::new)
            .filter(|path| path.starts_with(root))
            .collect();
        if paths.is_empty() {
            return None;
        }
        let inside = |group: &Group| paths.iter().any(|path| path.starts_with(group.path()));
        self.services.values().find(|s| s.group.as_ref().is_some_and(inside)).map(|s| s.name.clone())
    }

    /// May this peer call at all? Not from inside a unit that does not allow it.
    ///
    /// # Errors
    /// A sentence fragment for people.
    pub(super) fn admit(&self, peer: &Peer) -> Result<(), String> {
        match self.managed_unit(peer.pid) {
            Some(unit) if !self.may_control(&unit) => {
                Err(format!("from inside the managed unit {unit} (security.control_socket = true allows it)"))
            }
            _ => Ok(()),
        }
    }

    /// `security.control_socket`
    pub(super) fn may_control(&self, unit: &str) -> bool {
        let service = self.names.get(unit).and_then(|id| self.service(*id));
        service.and_then(|s| s.running.as_ref()).is_some_and(|unit| unit.security.control_socket)
    }

    /// Is this a process that the daemon launched and will reap by its pidfd?
    pub(super) fn is_ours(&self, pid: i32) -> bool {
        let of = |p: &Option<Process>| p.as_ref().is_some_and(|process| process.pid == pid);
        self.services.values().any(|service| of(&service.main) || of(&service.control) || of(&service.check))
            || self.retired.values().any(|fd| matches!(process::pid_of_pidfd(fd.as_fd()), Ok(Some(p)) if p == pid))
    }
}

//! Whose a process is: in which unit's group, and whether it is a child that the engine reaps.

use super::engine::Engine;
use super::service::{Process, Service};
use super::whole_file;
use crate::cgroup::Group;
use crate::control::Peer;
use crate::sys::process;
use std::os::fd::AsFd;

impl Engine {
    /// The unit in whose group a process is.
    pub(super) fn managed_unit(&self, pid: i32) -> Option<String> {
        let text = String::from_utf8(whole_file::read_proc(&format!("/proc/{pid}/cgroup")).ok()?).ok()?;
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

    /// Reaps children that have come to this process when their parents died, or from a former program; not `also`. `true`:
    /// see `signals::reap_strangers`.
    pub(super) fn reap_strangers(&mut self, also: Option<i32>) -> bool {
        super::signals::reap_strangers(&mut |pid| {
            // Nobody looks at the nursery before the next launch.
            also == Some(pid) || (!self.nursery.has_ended(pid) && self.is_ours(pid))
        })
    }

    /// Is this a process whose end is seen by its pidfd, and which is reaped then?
    fn is_ours(&self, pid: i32) -> bool {
        let of = |process: &Option<Box<Process>>| {
            let is_service = |process: &Process| process.service_pid == Some(pid) && process.exit.is_none();
            process.as_deref().is_some_and(|process| process.pid == pid || is_service(process))
        };
        let keeps = |service: &Service| service.keeper.as_ref().is_some_and(|keeper| keeper.fd.identity.pid == pid);
        let is_known =
            |service: &Service| of(&service.main) || of(&service.control) || of(&service.check) || keeps(service);
        self.services.values().any(|service| is_known(service))
            || self.is_instance_keeper(pid)
            || self.retired.values().any(|fd| matches!(process::pid_of_pidfd(fd.as_fd()), Ok(Some(p)) if p == pid))
    }
}

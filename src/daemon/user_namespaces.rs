//! User namespaces with a range of ids: who gets which range, and how a command gets into the one of a service that runs.

use super::asked::set_by;
use super::engine::{Engine, now};
use super::ids_file::{Ids, Kind};
use super::launch::failure;
use super::own_ids::{range_of, user_of};
use super::service::Service;
use crate::plan::{Container, IdMaps, LaunchPlan, MapWriter, Step};
use crate::supervise::{LaunchFailure, ServiceId};
use crate::sys::{namespace, process};
use crate::unit::{Account, Unit, UserNamespace};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

impl Engine {
    /// Sees to it that a unit which wants ids for itself has them before it is launched.
    ///
    /// # Errors
    /// With the place of the key that wants them.
    pub(super) fn give_ids(&mut self, unit: &Unit) -> Result<(), LaunchFailure> {
        let needs = crate::compile::needs(unit);
        let wanted = [(needs.range, Kind::Range, "namespaces.user"), (needs.own_user, Kind::User, "service.user")];
        for (_, kind, key) in wanted.into_iter().filter(|(wanted, ..)| *wanted) {
            // An ordinary user is refused by name.
            if !rustix::process::geteuid().is_root() {
                return Ok(());
            }
            let refused = |why: String| {
                failure("USER", 217, format!("failed at step USER: {key} = \"auto\": {why}{}", set_by(unit, key)))
            };
            let holder = self.holder(&unit.name, kind);
            if self.own_ids.wants_loading(&holder, kind) {
                self.own_ids.load(&self.ids_of_running());
            }
            let mut given = self.own_ids.give(&holder, kind, self.host.accounts(), now().0);
            if given.is_err() && kind == Kind::Range && self.take_back_ranges() {
                given = self.own_ids.give(&holder, kind, self.host.accounts(), now().0);
            }
            given.map_err(refused)?;
        }
        Ok(())
    }

    /// What services have that were taken over is known from now on, whatever becomes of them or of the file.
    pub(super) fn note_adopted_ids(&mut self) {
        let running = self.ids_of_running();
        if !running.is_empty() && rustix::process::geteuid().is_root() {
            self.own_ids.load(&running);
        }
    }

    /// In whose name a unit has its ids: a connection has a range as long as it lasts, and the user of its listener, to
    /// which belongs what it leaves.
    fn holder(&self, unit: &str, kind: Kind) -> String {
        let connection = self.names.get(unit).and_then(|id| self.service(*id)?.connection.as_ref());
        match (kind, connection) {
            (Kind::User, Some(connection)) => connection.saved.listener.clone(),
            _ => unit.to_owned(),
        }
    }

    /// What a unit has, without giving it anything.
    pub(super) fn known_ids(&self, unit: &str) -> Ids {
        let user = self.own_ids.noted(&self.holder(unit, Kind::User)).user;
        Ids { range: self.own_ids.noted(unit).range, user }
    }

    /// Of all units of which nothing runs.
    fn take_back_ranges(&mut self) -> bool {
        let (names, services) = (&self.names, &self.services);
        let idle = |unit: &str| {
            let service = names.get(unit).and_then(|id| services.get(id));
            service.is_none_or(|s| s.group.is_none() && [&s.main, &s.control, &s.check].iter().all(|p| p.is_none()))
        };
        let any = self.own_ids.take_back_ranges(idle);
        // None may be carried out any more.
        self.plans = Default::default();
        any
    }

    /// A connection is over, and its name never comes again.
    pub(super) fn forget_range(&mut self, unit: &str) {
        if self.own_ids.known(unit).range.is_some() {
            self.own_ids.take_back_ranges(|other| other == unit);
        }
    }

    /// What services that run have, by the kernel's word.
    fn ids_of_running(&self) -> Vec<(String, Ids)> {
        let of = |service: &Service| {
            let unit = service.running.as_ref()?;
            let pid = service.main.as_ref().filter(|main| main.exit.is_none())?.main_pid();
            let range = (unit.namespaces.user == UserNamespace::Auto).then(|| range_of(pid)).flatten();
            let user = (unit.service.user == Some(Account::Auto)).then(|| user_of(pid)).flatten();
            let user = user.map(|user| user.saturating_sub(range.unwrap_or(0)));
            let of_holder = |kind, ids| (self.holder(&service.name, kind), ids);
            let range = range.map(|_| of_holder(Kind::Range, Ids { range, user: None }));
            let user = user.map(|_| of_holder(Kind::User, Ids { range: None, user }));
            Some(range.into_iter().chain(user))
        };
        self.services.values().filter_map(|service| of(service)).flatten().collect()
    }

    /// First of the ids of a unit that runs in a user namespace with a range of its own.
    pub(super) fn range_in_use(&self, service: &Service) -> Option<u32> {
        let unit = service.running.as_ref()?;
        let main = service.main.as_ref().filter(|main| main.exit.is_none())?;
        (unit.namespaces.user == UserNamespace::Auto).then(|| range_of(main.main_pid())).flatten()
    }

    /// The namespace of a service that runs, for a command that joins it. Its process 1 is not in it.
    ///
    /// # Errors
    /// Nothing of it is left.
    pub(super) fn user_namespace_to_join(
        &self,
        id: ServiceId,
        plan: &LaunchPlan,
    ) -> Result<Option<OwnedFd>, LaunchFailure> {
        let joins = plan.steps.iter().any(|planned| planned.step == Step::JoinUserNamespace);
        if plan.container != Container::Joined || !joins {
            return Ok(None);
        }
        let gone = || {
            let message = "failed at step USER: no process of the unit is left in its user namespace".to_owned();
            failure("USER", 217, message)
        };
        let service = self.service(id).ok_or_else(gone)?;
        let main = service.main.as_ref().map(|main| main.main_pid());
        let members = service.group.as_ref().and_then(|group| group.pids().ok()).unwrap_or_default();
        let range = self.own_ids.known(&service.name).range;
        let mut candidates = main.into_iter().chain(members);
        let found = candidates.find_map(|pid| open(pid, range));
        found.map(Some).ok_or_else(gone)
    }
}

/// Writes the id maps of a new user namespace, of which `pid` is the only process.
///
/// # Errors
/// With the name of the file below `/proc/PID`.
pub(super) fn write_maps(maps: &IdMaps, pid: i32) -> Result<(), (&'static str, io::Error)> {
    let lines = |map: &[(u32, u32, u32)]| {
        map.iter().map(|(inside, outside, count)| format!("{inside} {outside} {count}\n")).collect::<String>()
    };
    let write = |file: &'static str, content: &str| {
        // One write: the kernel takes a map only whole (user_namespaces(7)).
        let opened = File::options().write(true).open(format!("/proc/{pid}/{file}"));
        opened.and_then(|mut open| open.write_all(content.as_bytes())).map_err(|error| (file, error))
    };
    match maps.writer {
        MapWriter::Tools => return super::subordinate::write_maps(pid, maps),
        MapWriter::DaemonAsUser => write("setgroups", "deny")?,
        MapWriter::Daemon => {}
    }
    write("gid_map", &lines(&maps.gid))?;
    write("uid_map", &lines(&maps.uid))
}

/// The user namespace of a process that has these ids.
fn open(pid: i32, range: Option<u32>) -> Option<OwnedFd> {
    let pidfd = process::pidfd_open(pid).ok()?;
    let file = File::open(format!("/proc/{pid}/ns/user")).ok()?;
    let found = range_of(pid)?;
    // Made by the set-up stage, not by the service in its own.
    let number = |file: File| file.metadata().map(|found| (found.dev(), found.ino())).ok();
    let parent = namespace::user_namespace(file.as_fd()).ok().map(File::from).and_then(number);
    if parent.is_none() || parent != File::open("/proc/self/ns/user").ok().and_then(number) {
        return None;
    }
    // Not reaped yet, so all of this was about one process.
    let same = matches!(process::pid_of_pidfd(pidfd.as_fd()), Ok(Some(number)) if number == pid);
    (same && range.is_none_or(|range| range == found)).then(|| file.into())
}

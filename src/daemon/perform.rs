//! Orders of the supervisor, carried out. Nothing here decides; every outcome returns as an event.

use super::directories::Progress;
use super::engine::{Engine, Notice, Source, Timer};
use super::killing::send;
use super::live::Live;
use super::scarcity;
use super::state::RECORDS;
use super::unwritten::Deed;
use crate::plan::{HostStep, RemoveDirectory};
use crate::supervise::{Action, CommandOutcome, Event, Note, Removal, Role, ServiceId};
use crate::sys::process;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// How often sockets and pid files are looked for at first, and at most.
const READINESS_INTERVAL: Duration = Duration::from_millis(20);
/// Between two looks at killed processes that could not be watched.
const REAP_INTERVAL: Duration = Duration::from_millis(20);
/// Between two attempts to remove directories of a host that lacks something.
const REMOVE_WANTING: Duration = Duration::from_secs(10);
/// Directory entries removed in one turn.
const REMOVE_BUDGET: usize = 1000;

impl Engine {
    pub(super) fn perform(&mut self, action: Action) {
        if let Action::Launch { id, .. } | Action::Signal { id, .. } | Action::KillCgroup { id } = action {
            self.thaw_first(id);
        }
        match action {
            Action::Launch { id, role, result, main_exit } => {
                if let Err(failure) = self.launch(id, role, result, main_exit) {
                    self.events.push_back(match role {
                        Role::Main => Event::LaunchFailed { id, failure },
                        _ => Event::CommandEnded { id, role, outcome: CommandOutcome::NotLaunched(failure.into()) },
                    });
                    self.check_empty(id);
                }
            }
            Action::Signal { id, target, signal } => self.signal(id, target, signal),
            Action::KillCgroup { id } => {
                self.kill_group(id);
                // The supervisor waits for the group to be empty, also when it was so already; but one word is enough.
                let told =
                    self.events.iter().any(|event| matches!(event, Event::CgroupEmptied { id: of } if *of == id));
                if told {
                    // Nothing is left to be killed once more; half a second later that would be the next run.
                    self.cancel(Timer::Kill(id));
                } else if let Some(service) = self.services.get_mut(&id) {
                    service.emptied = false;
                    self.check_empty(id);
                }
            }
            Action::WatchReadiness { id } => {
                if let Some(service) = self.services.get_mut(&id) {
                    service.watching_readiness = true;
                    service.ready_command_succeeded = false;
                    self.check_readiness(id);
                }
            }
            Action::UnwatchReadiness { id } => {
                if let Some(service) = self.services.get_mut(&id) {
                    service.watching_readiness = false;
                }
                self.cancel(Timer::Readiness(id));
                self.abandon_check(id);
            }
            Action::Listen { id } => self.listen(id),
            Action::Check { id, number } => self.check_health(id, number),
            Action::AbandonCheck { id } => self.abandon_check(id),
            Action::Remove { id, removal } => self.remove(id, removal),
            Action::Examine { id } => self.examine(id),
            Action::StartUnit { id, name, links } => self.start_on_behalf(id, &name, links),
            Action::Reply { request, outcome } => {
                self.conclude(request, &outcome);
                self.notices.push(Notice::Reply(request, outcome));
            }
            Action::Record { id, note } => self.record(id, note),
        }
    }

    /// What has been accepted or decided is written down before anything is done about it: a daemon that dies in between
    /// leaves one that knows what it was about.
    pub(super) fn write_down_first(&mut self, actions: &[Action]) {
        let mut promised = self.supervisor.take_promised();
        let mut has_effect = false;
        for action in actions {
            let id = match action {
                Action::Launch { id, role, .. } => {
                    let begins = self.begins_run(*id, *role);
                    if begins {
                        self.take_next_record(*id);
                    }
                    // From now on the record of the main process is not the last one.
                    if begins || matches!(role, Role::StopPost(_) | Role::Hook(_)) {
                        promised.insert(*id);
                    }
                    *id
                }
                // What is shown at rest has been decided, and what is removed names the run.
                Action::Remove { id, .. } => {
                    promised.insert(*id);
                    *id
                }
                Action::Signal { id, .. } | Action::KillCgroup { id } | Action::Listen { id } => *id,
                Action::Record { id, .. } => {
                    self.dirty.insert(*id);
                    continue;
                }
                Action::WatchReadiness { .. }
                | Action::UnwatchReadiness { .. }
                | Action::Check { .. }
                | Action::AbandonCheck { .. }
                | Action::Examine { .. }
                | Action::StartUnit { .. }
                | Action::Reply { .. } => continue,
            };
            has_effect = true;
            if self.dirty.contains(&id) {
                promised.insert(id);
            }
        }
        self.dirty.extend(promised.iter().copied());
        if has_effect {
            // The number of a set comes before what follows from it: with some of the replicas written down and the number
            // not, the next daemon would have some more than it should, and no reason to stop them.
            let sets: Vec<ServiceId> = self.dirty.iter().copied().filter(|id| self.is_replica_set(*id)).collect();
            for id in sets.into_iter().chain(promised) {
                if self.dirty.remove(&id) {
                    self.persist(id);
                }
            }
        }
    }

    /// A run begins: it has a name of its own, and its record is another file than that of the run before, which is still
    /// needed.
    fn take_next_record(&mut self, id: ServiceId) {
        // What the former run said is its own.
        self.drain_log(id);
        let invocation = super::launch::random_id();
        let Some(service) = self.services.get_mut(&id) else { return };
        service.record = (service.record + 1) % RECORDS.len();
        // Without one the launch fails, and says so.
        service.invocation = invocation.unwrap_or_default();
        let directory = super::state::directory(&self.options.runtime_dir, &service.name);
        // Of the run before that one.
        let _ = std::fs::remove_file(directory.join(RECORDS[service.record]));
    }

    fn record(&mut self, id: ServiceId, note: Note) {
        self.dirty.insert(id);
        if self.serves_connection(id) {
            self.ended_connections.insert(id);
        }
        if let Some(service) = self.services.get_mut(&id) {
            super::snapshot::log_note(service, &note);
            if let (Note::Started | Note::Adopted, Some(log)) = (&note, &mut service.log) {
                log.forget_lines(false);
            }
        }
        if self.observed
            && let Some(event) = self.event_of(id, &note)
        {
            self.notices.push(Notice::Event(Box::new(event)));
        }
        self.notices.push(Notice::Note(note));
    }

    pub(super) fn remove(&mut self, id: ServiceId, removal: Removal) {
        let running = self.service(id).and_then(|service| service.running.as_ref());
        if running.is_some_and(|unit| !crate::compile::needs(unit).paths.is_empty()) {
            self.digest(id);
        }
        let Some(service) = self.services.get_mut(&id) else { return };
        service.removing = service
            .digest
            .iter()
            .flat_map(|digest| &digest.prepare)
            .filter(|step| {
                let HostStep::Directory { remove, .. } = step;
                match (remove, removal) {
                    (RemoveDirectory::Never, _) | (RemoveDirectory::AtStop, Removal::AfterRun) => false,
                    (RemoveDirectory::AfterRun, _) | (RemoveDirectory::AtStop, Removal::AtStop) => true,
                }
            })
            .cloned()
            .collect();
        self.remove_directories(id);
        if removal == Removal::AtStop {
            self.close_activation(id);
            if let Some(service) = self.services.get_mut(&id) {
                service.live = Live::default();
            }
            self.close_sockets(id);
            self.remove_group(id);
        }
    }

    /// Removes directories, a bounded number of entries in one turn; a new start stops it.
    pub(super) fn remove_directories(&mut self, id: ServiceId) {
        let Some(service) = self.services.get_mut(&id) else { return };
        let (mut budget_used, mut wanting) = (false, false);
        service.removing.retain(|step| {
            if budget_used {
                return true;
            }
            match super::directories::remove(step, REMOVE_BUDGET) {
                Ok(Progress::Done) => false,
                Ok(Progress::More) => {
                    budget_used = true;
                    true
                }
                Err(error) if scarcity::may_pass(&error.error) => {
                    tracing::warn!(unit = service.name, "{}: {error}; tried again", service.name);
                    wanting = true;
                    true
                }
                Err(error) => {
                    tracing::warn!(unit = service.name, "{}: {error}", service.name);
                    false
                }
            }
        });
        if wanting {
            self.after(REMOVE_WANTING, Timer::RemoveDirectories(id));
        } else if budget_used {
            self.after(Duration::from_millis(1), Timer::RemoveDirectories(id));
        }
    }

    /// The sockets of a service that is down; a new start makes new ones.
    fn close_sockets(&mut self, id: ServiceId) {
        self.drain_syslog(id);
        self.close_denials(id);
        // Given up when it is written down that the unit is down.
        self.over.insert(id);
        let Some(service) = self.services.get_mut(&id) else { return };
        let notify = service.notify.take();
        let syslog = service.syslog.take();
        if let Some(socket) = notify {
            self.unwatch(&socket.fd, socket.token);
        }
        if let Some(socket) = syslog {
            self.unwatch(&socket.fd, socket.token);
        }
        self.close_log(id);
        self.remove_sockets(id);
    }

    /// Their directory, unless the service was started again meanwhile.
    pub(super) fn remove_sockets(&mut self, id: ServiceId) {
        let Some(service) = self.service(id).filter(|service| service.emptied) else {
            return;
        };
        if service.notify.is_some() || service.syslog.is_some() {
            return;
        }
        let directory = self.io_directory(&service.name);
        let removed = match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        self.done(Deed::Sockets(id), &directory, removed);
    }

    pub(super) fn check_readiness(&mut self, id: ServiceId) {
        let Some(service) = self.services.get(&id) else { return };
        if !service.watching_readiness {
            return;
        }
        if self.is_ready(id) {
            if let Some(service) = self.services.get_mut(&id) {
                service.watching_readiness = false;
            }
            self.events.push_back(Event::BecameReady { id });
        } else if self.service(id).is_some_and(|s| s.check.is_none()) && !self.is_set(Timer::Readiness(id)) {
            self.after(READINESS_INTERVAL, Timer::Readiness(id));
        }
    }

    pub(super) fn reap_retired(&mut self, token: crate::sys::poll::Token) {
        let Some(pidfd) = self.retired.get(&token) else { return };
        if matches!(process::wait_pidfd(pidfd.as_fd(), true), Ok(None)) {
            return;
        }
        if let Some(pidfd) = self.retired.remove(&token) {
            self.unwatch(&pidfd, token);
        }
    }

    /// A launched process that nobody would watch ends here: what is born is seen, or is not.
    pub(super) fn end_unwatched(&mut self, pidfd: OwnedFd) {
        send(&pidfd, libc::SIGKILL);
        self.unwatched.push(pidfd);
        self.after(REAP_INTERVAL, Timer::Reap);
    }

    pub(super) fn reap_unwatched(&mut self) {
        self.unwatched.retain(|pidfd| matches!(process::wait_pidfd(pidfd.as_fd(), true), Ok(None)));
        if !self.unwatched.is_empty() {
            self.after(REAP_INTERVAL, Timer::Reap);
        }
    }

    /// Keeps the PID 1 of a run that is over until it can be reaped.
    pub(super) fn retire(&mut self, pidfd: super::service::Watched<std::os::fd::OwnedFd>) {
        if matches!(process::wait_pidfd(pidfd.fd.as_fd(), true), Ok(None)) {
            self.sources.insert(pidfd.token, Source::Retired);
            self.retired.insert(pidfd.token, pidfd.fd);
        } else {
            self.unwatch(&pidfd.fd, pidfd.token);
        }
    }
}

//! Orders of the supervisor, carried out. Nothing here decides; every outcome returns as an event.

use super::directories::Progress;
use super::engine::{Engine, Notice, Source, Timer, to_io};
use super::live::Live;
use super::scarcity;
use super::service::{Process, Service};
use super::state::RECORDS;
use super::unwritten::Deed;
use crate::cgroup::CgroupError;
use crate::plan::{HostStep, RemoveDirectory};
use crate::supervise::{Action, CommandOutcome, Event, Note, Removal, Role, ServiceId, Target};
use crate::sys::process;
use nix::sys::inotify::{AddWatchFlags, InotifyEvent};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// How often sockets and pid files are looked for at first, and at most.
const READINESS_INTERVAL: Duration = Duration::from_millis(20);
/// A group is busy for a moment after its last process died.
const REMOVE_INTERVAL: Duration = Duration::from_millis(20);
/// The same where a launch waits for it.
const REMOVE_AGAIN: Duration = Duration::from_millis(1);
/// How long the kernel has to take a pid namespace down before `cgroup.kill` is used as well.
const KILL_AGAIN: Duration = Duration::from_millis(500);
/// Between two attempts to remove directories of a host that lacks something.
const REMOVE_WANTING: Duration = Duration::from_secs(10);
/// Directory entries removed in one turn.
const REMOVE_BUDGET: usize = 1000;
/// Only for hosts without a v2 tree.
const EMPTY_INTERVAL: Duration = Duration::from_millis(20);

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
                        _ => Event::CommandEnded { id, role, outcome: CommandOutcome::NotLaunched(failure) },
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
            for id in promised {
                self.dirty.remove(&id);
                self.persist(id);
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

    /// Sends a signal through pidfds. Failure means that the target is gone, which its own descriptor tells.
    pub(super) fn signal(&mut self, id: ServiceId, target: Target, signal: i32) {
        let Some(service) = self.services.get(&id) else { return };
        match target {
            Target::Main => {
                if let Some(main) = &service.main {
                    main_signal(main, signal);
                }
            }
            Target::Control => {
                if let Some(control) = &service.control {
                    main_signal(control, signal);
                }
            }
            Target::All => signal_all(service, signal),
        }
    }

    /// Kills everything of a unit. Where the unit has a pid namespace of its own the death of PID 1 takes all of it
    /// along; `cgroup.kill` is for the others, and for what is left after a moment.
    pub(super) fn kill_group(&mut self, id: ServiceId) {
        let Some(service) = self.services.get(&id) else { return };
        let mut contained = false;
        for process in [&service.main, &service.control].into_iter().flatten() {
            contained = process.init;
            send(process.pidfd.fd.as_fd(), libc::SIGKILL);
            if process.service_pid.is_some() {
                main_signal(process, libc::SIGKILL);
            }
        }
        // It joined the container from outside, and ends with it; this only is quicker.
        if let Some(check) = &service.check {
            end_command(check);
        }
        if contained {
            self.after(KILL_AGAIN, Timer::Kill(id));
        } else {
            self.kill_remaining(id);
        }
    }

    /// `cgroup.kill`. The group is used up by it: on 6.18 whatever clone3 bore into such a group
    /// later was killed at once (seen; the cause is not established), so it is removed before the next launch.
    pub(super) fn kill_remaining(&mut self, id: ServiceId) {
        let Some(service) = self.services.get_mut(&id) else { return };
        let Some(group) = &service.group else { return };
        // Who cannot tell whether anybody is in it kills.
        if matches!(group.populated(), Ok(false)) {
            return;
        }
        service.group_used_up = true;
        let killed = group.kill();
        self.group_trouble(id, killed.as_ref().err().map(|error| ("cannot kill the group", error)));
        if killed.is_err() {
            self.signal(id, Target::All, libc::SIGKILL);
            self.after(KILL_AGAIN, Timer::Kill(id));
        }
    }

    /// Watches the group's `populated`, once per group.
    pub(super) fn watch_group(&mut self, id: ServiceId) {
        self.unwatch_group(id);
        let Some(group) = self.services.get(&id).and_then(|s| s.group.clone()) else { return };
        let Some(file) = group.events_file() else { return };
        let watched = self.groups.add_watch(&file, AddWatchFlags::IN_MODIFY);
        if let Ok(watch) = watched {
            self.watches.insert(watch, id);
        }
        let Some(service) = self.services.get_mut(&id) else { return };
        service.group_watch = watched.ok();
        let known = std::mem::replace(&mut service.group_unwatched, watched.is_err());
        if let Err(error) = watched
            && !known
        {
            let hint = "\n  hint: raise fs.inotify.max_user_watches and fs.inotify.max_user_instances";
            tracing::error!(
                unit = service.name,
                "cannot watch {}: {error}; it is looked at again and again instead{}",
                file.display(),
                if error == nix::errno::Errno::ENOSPC { hint } else { "" }
            );
        }
    }

    /// No word comes when the group is empty: this host has none, or it could not be watched.
    fn look_at_group_later(&mut self, id: ServiceId) {
        if self.service(id).is_some_and(|service| service.group_unwatched) {
            self.watch_group(id);
        }
        let Some(service) = self.service(id) else { return };
        let silent = service.group.as_ref().is_some_and(|group| group.events_file().is_none());
        if silent || service.group_unwatched {
            self.after(EMPTY_INTERVAL, Timer::Empty(id));
        }
    }

    /// The group does not do what it is told, or does not tell; said once, until it does again.
    fn group_trouble(&mut self, id: ServiceId, trouble: Option<(&str, &CgroupError)>) {
        let Some(service) = self.services.get_mut(&id) else { return };
        let known = std::mem::replace(&mut service.group_trouble, trouble.is_some());
        if let Some((what, error)) = trouble
            && !known
        {
            let advice = scarcity::advice(&error.error);
            tracing::error!(unit = service.name, "{}: {what}: {error}; tried again{advice}", service.name);
        }
    }

    /// The watch of a group that was removed does not end by itself: the kernel keeps it, and the file's inode with it.
    fn unwatch_group(&mut self, id: ServiceId) {
        if let Some(watch) = self.services.get_mut(&id).and_then(|service| service.group_watch.take()) {
            self.watches.remove(&watch);
            // Refused where the kernel did end it.
            let _ = self.groups.rm_watch(watch);
        }
    }

    pub(super) fn groups_changed(&mut self) {
        let events: Vec<InotifyEvent> = match self.groups.read_events() {
            Ok(events) => events,
            Err(_) => return, // EAGAIN: somebody was quicker; the next event comes for certain.
        };
        let overflow = events.iter().any(|e| e.mask.contains(AddWatchFlags::IN_Q_OVERFLOW));
        let mut changed: Vec<ServiceId> = if overflow {
            self.services.keys().copied().collect()
        } else {
            events.iter().filter_map(|e| self.watches.get(&e.wd).copied()).collect()
        };
        for event in &events {
            if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                self.watches.remove(&event.wd);
            }
        }
        changed.sort();
        changed.dedup();
        for id in changed {
            self.check_empty(id);
        }
    }

    /// Tells `CgroupEmptied` when nothing is left, once per launch.
    pub(super) fn check_empty(&mut self, id: ServiceId) {
        let Some(service) = self.services.get(&id) else { return };
        // What is about to be launched is not empty.
        if service.emptied || self.pacing.holds(id) || self.held_back.iter().any(|held| held.member == id) {
            return;
        }
        let populated = match &service.group {
            Some(group) => match group.populated() {
                Ok(populated) => populated,
                // Not that it is gone, in which case nothing can be in it: nobody knows, so it counts as populated.
                Err(error) => {
                    self.group_trouble(id, Some(("cannot tell whether anything of it runs", &error)));
                    return self.after(scarcity::PAUSE, Timer::Empty(id));
                }
            },
            None => service.main.is_some() || service.control.is_some() || service.check.is_some(),
        };
        if !populated {
            if service.group_used_up && !self.replace_group(id) {
                return;
            }
            let Some(service) = self.services.get_mut(&id) else { return };
            service.emptied = true;
            service.group_trouble = false;
            self.cancel(Timer::Kill(id));
            self.events.push_back(Event::CgroupEmptied { id });
        } else {
            self.look_at_group_later(id);
        }
    }

    /// Removes a used-up group, so that the next launch makes a new one; `false`: still busy, comes back by timer.
    fn replace_group(&mut self, id: ServiceId) -> bool {
        let Some(service) = self.services.get_mut(&id) else { return true };
        let Some(group) = &service.group else { return true };
        if let Err(error) = group.remove() {
            if error.is_busy() {
                self.after(REMOVE_AGAIN, Timer::Empty(id));
                return false;
            }
            if scarcity::may_pass(&error.error) {
                self.group_trouble(id, Some(("cannot remove the group", &error)));
                self.after(scarcity::PAUSE, Timer::Empty(id));
                return false;
            }
            tracing::warn!(unit = service.name, "cannot remove the group: {error}");
        }
        service.group = None;
        service.applied = None;
        service.frozen = false;
        service.group_used_up = false;
        self.unwatch_group(id);
        true
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

    pub(super) fn remove_group(&mut self, id: ServiceId) {
        let Some(service) = self.services.get_mut(&id) else { return };
        if !service.emptied {
            return; // Started again meanwhile.
        }
        let Some(group) = service.group.clone() else { return };
        match group.remove() {
            Ok(()) => {
                service.group = None;
                service.applied = None;
                self.unwatch_group(id);
            }
            Err(error) if error.is_busy() => {
                self.after(REMOVE_INTERVAL, Timer::RemoveGroup(id));
            }
            Err(error) if scarcity::may_pass(&error.error) => {
                self.group_trouble(id, Some(("cannot remove the group", &error)));
                self.after(scarcity::PAUSE, Timer::RemoveGroup(id));
            }
            Err(error) => tracing::warn!(unit = service.name, "cannot remove the group: {error}"),
        }
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
        self.after(REMOVE_INTERVAL, Timer::Reap);
    }

    pub(super) fn reap_unwatched(&mut self) {
        self.unwatched.retain(|pidfd| matches!(process::wait_pidfd(pidfd.as_fd(), true), Ok(None)));
        if !self.unwatched.is_empty() {
            self.after(REMOVE_INTERVAL, Timer::Reap);
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

/// Ends a command that was launched beside the service, with what it started in its own process group.
pub(super) fn end_command(process: &super::service::Process) {
    // Since Linux 6.9; without it, or when there is no group any more, only the command itself is ended.
    if process.signal_group(libc::SIGKILL).is_err() {
        let _ = process.signal(libc::SIGKILL);
    }
    send(process.pidfd.fd.as_fd(), libc::SIGKILL);
}

fn send<F: AsFd>(pidfd: F, signal: i32) {
    say_unless_gone(process::pidfd_send_signal(pidfd.as_fd(), signal), signal);
}

/// To the service's own process.
fn main_signal(process: &Process, signal: i32) {
    say_unless_gone(process.signal(signal), signal);
}

fn say_unless_gone(sent: crate::sys::Result<()>, signal: i32) {
    if let Err(error) = sent {
        let error = to_io(error);
        if error.raw_os_error() != Some(libc::ESRCH) {
            tracing::warn!("cannot send signal {signal}: {error}");
        }
    }
}

/// Every process of the group but its PID 1, which would pass the signal on to the main process a second time.
///
/// The numbers are turned into pidfds first and read again afterwards: only who is still in the group is signalled.
fn signal_all(service: &Service, signal: i32) {
    let Some(group) = &service.group else {
        for process in [&service.main, &service.control].into_iter().flatten() {
            main_signal(process, signal);
        }
        return;
    };
    let inits: Vec<i32> = [&service.main, &service.control]
        .into_iter()
        .flatten()
        .filter(|p| p.init && p.service_pid.is_some())
        .map(|p| p.pid)
        .collect();
    let before = match group.pids() {
        Ok(before) if before.is_empty() => return,
        Ok(before) => before,
        Err(error) => {
            tracing::warn!(unit = service.name, "{}: only its main process is signalled: {error}", service.name);
            return [&service.main, &service.control].into_iter().flatten().for_each(|p| main_signal(p, signal));
        }
    };
    let mut opened = Vec::with_capacity(before.len());
    for pid in before.into_iter().filter(|pid| !inits.contains(pid)) {
        match process::pidfd_open(pid) {
            Ok(fd) => opened.push((pid, fd)),
            Err(error) if error.errno == libc::ESRCH => {}
            Err(error) => signal_known(service, pid, signal, &error),
        }
    }
    let after = group.pids();
    for (pid, fd) in opened {
        match &after {
            Ok(after) if after.contains(&pid) => {
                send(&fd, signal);
                if signal != libc::SIGKILL && signal != libc::SIGCONT {
                    send(&fd, libc::SIGCONT);
                }
            }
            Ok(_) => {}
            Err(error) => signal_known(service, pid, signal, error),
        }
    }
}

/// A process that cannot be told from a stranger is left alone, unless it is known otherwise.
fn signal_known(service: &Service, pid: i32, signal: i32, error: &dyn std::fmt::Display) {
    match [&service.main, &service.control].into_iter().flatten().find(|process| process.main_pid() == pid) {
        Some(process) => main_signal(process, signal),
        None => tracing::warn!(unit = service.name, "cannot send signal {signal} to process {pid}: {error}"),
    }
}

//! What a new daemon finds: services that still run are taken over, never started a second time.
//!
//! What a service is known by lives outside the daemon: its group, `services/NAME/state`, the record file that its
//! resident init writes to. A number alone is never believed: a pid counts only with its start time, a state only with
//! the boot id.

use super::engine::{Engine, Options, Source};
use super::log_output::Now;
use super::service::{Process, Watched};
use super::state::{self, ProcessIdentity, SavedState, Written};
use crate::cgroup::Group;
use crate::supervise::{ActiveState, Event, Exit, Moment, Rest, Role, ServiceId, SubState};
use crate::sys::process;
use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// The root groups that an earlier daemon of this instance recorded.
pub(super) fn recorded_root(options: &Options) -> Option<String> {
    std::fs::read_to_string(options.runtime_dir.join("cgroup-root")).ok()
}

impl Engine {
    /// Writes down where the groups are, so that the next daemon finds them wherever it is started.
    pub(super) fn record_root(&self) {
        let Some(tree) = &self.tree else { return };
        let file = self.options.runtime_dir.join("cgroup-root");
        if let Err(error) = state::write_atomically(&file, tree.record().as_bytes()) {
            tracing::error!("cannot write {}: {error}", file.display());
        }
    }

    /// True once per boot: enabled units are started by the first daemon only.
    pub(super) fn first_of_this_boot(&self) -> bool {
        let file = self.options.runtime_dir.join("booted");
        let boot = state::boot_id();
        if std::fs::read_to_string(&file).is_ok_and(|text| text == boot) {
            return false;
        }
        if let Err(error) = state::write_atomically(&file, boot.as_bytes()) {
            tracing::error!("cannot write {}: {error}", file.display());
        }
        true
    }

    /// Takes over every group that exists below the root group.
    ///
    /// # Errors
    /// There is no room for all of them. Nothing has been done to any.
    pub(super) fn adopt_all(&mut self) -> io::Result<()> {
        let Some(tree) = &self.tree else { return Ok(()) };
        let existing = match tree.existing() {
            Ok(existing) => existing,
            Err(error) => {
                tracing::error!("cannot look for services that run: {error}");
                return Ok(());
            }
        };
        for (name, group) in existing {
            self.check_room_to_adopt()?;
            self.adopt(&name, group);
        }
        let mut sets = Vec::new();
        for name in state::names(&self.options.runtime_dir) {
            match state::read(&self.options.runtime_dir, &name) {
                // After their replicas.
                Ok(SavedState { set: Some(_), .. }) => sets.push(name),
                _ if self.names.contains_key(&name) => {}
                _ => {
                    self.check_room_to_adopt()?;
                    self.remember(&name);
                }
            }
        }
        self.dismiss_doubled_keepers();
        sets.iter().for_each(|name| self.adopt_set(name));
        self.events.push_back(Event::Surveyed);
        self.settle();
        Ok(())
    }

    /// A unit without a group, which may be waiting for its next automatic start, or have failed.
    fn remember(&mut self, name: &str) {
        let saved = state::read(&self.options.runtime_dir, name).ok();
        if let Some(saved) = saved.as_ref().filter(|saved| saved.connection.is_some()) {
            return self.remember_connection(name, saved.clone());
        }
        let Some(saved) = saved.filter(is_known) else {
            return self.dismiss_stray_keeper(name);
        };
        match self.load_unit(name) {
            Ok(id) => {
                self.adopt_sockets(id);
                self.adopt_timers(id, false);
                self.count_on(id, saved.connections);
                let SavedState { rest, invocation_id, listening, .. } = saved.clone();
                let Some(rest) = rest else {
                    return match () {
                        () if listening => self.listen_on(id, invocation_id),
                        () if saved.exited => self.adopt_exited(id, saved),
                        () => self.adopt_at_end(id, saved),
                    };
                };
                if let Some(service) = self.services.get_mut(&id) {
                    service.invocation = invocation_id;
                }
                self.events.push_back(Event::Remembered { id, rest });
            }
            Err(error) => {
                tracing::warn!("{name} is not started again: {error}");
                self.dismiss_stray_keeper(name);
                state::remove(&self.options.runtime_dir, name);
            }
        }
    }

    /// A unit that accepted goes on counting.
    fn count_on(&mut self, id: ServiceId, connections: u64) {
        if connections > 0
            && let Some(service) = self.services.get_mut(&id)
        {
            service.accepting.get_or_insert_default().last = connections;
        }
    }

    /// Its connection ended with the daemon that held it, or with its processes; only its end may be left.
    fn remember_connection(&mut self, name: &str, saved: SavedState) {
        let adopted = match saved.end {
            Some(_) => self.adopt_connection(name, saved.connection.clone()),
            None => None,
        };
        match adopted {
            Some(id) => self.adopt_at_end(id, saved),
            None => self.remove_traces(name),
        }
    }

    /// A run of which only commands after its end may be left, or the pause between two of them.
    fn adopt_at_end(&mut self, id: ServiceId, saved: SavedState) {
        let Some(end) = saved.end else { return };
        if let Some(service) = self.services.get_mut(&id) {
            service.running = service.unit.clone();
            service.running_fingerprint = service.fingerprint;
            service.invocation = saved.invocation_id;
            service.oom_kills_before = saved.oom_kills_before;
        }
        self.events.push_back(Event::AdoptedAtEnd {
            id,
            stopping: saved.stop_requested || saved.restart_requested,
            end,
        });
        if saved.restart_requested {
            self.events.push_back(Event::StartRequested { id, request: None });
        }
    }

    /// A unit that stays up after its program has ended goes on doing so.
    fn adopt_exited(&mut self, id: ServiceId, saved: SavedState) {
        if let Some(service) = self.services.get_mut(&id) {
            service.running = service.unit.clone();
            service.running_fingerprint = service.fingerprint;
            service.invocation = saved.invocation_id.clone();
            service.oom_kills_before = saved.oom_kills_before;
            service.written = Written::by_others(&saved);
            service.emptied = false;
        }
        self.events.push_back(Event::AdoptedExited {
            id,
            since: Moment(saved.since),
            restarts: saved.restarts,
            stopping: saved.stop_requested || saved.restart_requested,
            main_exit: saved.main_exit,
        });
        if saved.restart_requested {
            self.events.push_back(Event::StartRequested { id, request: None });
        }
        self.check_empty(id);
    }

    /// A unit that listened goes on doing so.
    fn listen_on(&mut self, id: ServiceId, invocation_id: String) {
        if let Some(service) = self.services.get_mut(&id) {
            service.invocation = invocation_id;
            service.emptied = true;
        }
        self.events.push_back(Event::StartRequested { id, request: None });
    }

    fn adopt(&mut self, name: &str, group: Group) {
        let saved = state::read(&self.options.runtime_dir, name);
        let populated = group.populated().unwrap_or(true);
        let connection = saved.as_ref().ok().and_then(|saved| saved.connection.clone());
        let adopted = self.adopt_connection(name, connection);
        let id = match adopted.map_or_else(|| self.load_unit(name), Ok) {
            Ok(id) => id,
            Err(error) => {
                tracing::warn!(
                    "{name} has a group but no usable unit file ({error}); it can be stopped, not restarted"
                );
                self.bare_service(name)
            }
        };
        let Some(service) = self.services.get_mut(&id) else { return };
        service.group = Some(group);
        service.running = service.unit.clone();
        service.running_fingerprint = service.fingerprint;
        service.emptied = false;
        service.frozen = service.group.as_ref().is_some_and(Group::is_frozen);
        if let Ok(SavedState { live, .. }) = &saved {
            match self.live_of(live.clone()) {
                Ok(live) => {
                    if let Some(service) = self.services.get_mut(&id) {
                        service.live = live;
                    }
                }
                Err(error) => tracing::warn!("{name}: changed limits end with this run: {error}"),
            }
        }
        self.watch_group(id);
        self.adopt_sockets(id);
        self.adopt_timers(id, populated);
        match saved {
            Ok(SavedState { listening: true, invocation_id, connections, .. }) if !populated => {
                self.count_on(id, connections);
                self.listen_on(id, invocation_id);
            }
            Ok(SavedState { rest: Some(rest), invocation_id, .. }) if !populated => {
                let failed = rest.until.is_none();
                if let Some(service) = self.services.get_mut(&id) {
                    service.invocation = invocation_id;
                    service.emptied = true;
                }
                self.events.push_back(Event::Remembered { id, rest });
                if failed {
                    self.remove_group(id);
                }
            }
            Ok(saved) if saved.end.is_some() => self.adopt_at_end(id, saved),
            Ok(saved) if saved.exited => self.adopt_exited(id, saved),
            Ok(saved) => self.adopt_saved(id, &saved, populated),
            Err(error) => self.adopt_unknown(id, populated, &error.to_string()),
        }
    }

    /// A service without a file: it can be shown and stopped.
    pub(super) fn bare_service(&mut self, name: &str) -> ServiceId {
        let text = format!("[service]\nexec = [\"/nonexistent/{name}\"]\n[restart]\npolicy = \"no\"\n");
        match crate::unit::Unit::parse_bytes(name, "(no unit file)", text.as_bytes()) {
            Ok((unit, _)) => {
                let id = self.define(unit, 0);
                if let Some(service) = self.services.get_mut(&id) {
                    service.load_error = Some("the unit file is gone or unusable".to_owned());
                }
                id
            }
            Err(_) => {
                let id = self.new_id();
                self.names.insert(name.to_owned(), id);
                self.services.insert(id, super::service::Service::new(name));
                id
            }
        }
    }

    fn adopt_saved(&mut self, id: ServiceId, saved: &SavedState, populated: bool) {
        let init = saved.init.as_ref().and_then(open_verified);
        let main = saved.main.as_ref().and_then(open_verified);
        let Some(service) = self.services.get_mut(&id) else { return };
        service.invocation = saved.invocation_id.clone();
        service.oom_kills_before = saved.oom_kills_before;
        service.written = Written::by_others(saved);
        let name = service.name.clone();
        self.events.push_back(Event::Adopted {
            id,
            ready: saved.ready,
            since: Moment(saved.since),
            restarts: saved.restarts,
            stopping: saved.stop_requested || saved.restart_requested,
            watchdog: saved.watchdog_usec.map(std::time::Duration::from_micros),
        });
        if saved.restart_requested {
            self.events.push_back(Event::StartRequested { id, request: None });
        }
        match (init, main) {
            (Some(init), main) if populated => {
                self.adopt_process(id, saved, init, main);
                tracing::info!(unit = name, "{name}: taken over");
            }
            (None, Some(main)) if populated => {
                self.adopt_process(id, saved, main, None);
                tracing::info!(unit = name, "{name}: taken over");
            }
            _ => self.ended_meanwhile(id, populated),
        }
    }

    fn adopt_process(&mut self, id: ServiceId, saved: &SavedState, init: (i32, OwnedFd), main: Option<(i32, OwnedFd)>) {
        let (pid, pidfd) = init;
        let Ok(token) = self.watch(&pidfd, Source::Process(id, super::engine::Place::Main)) else { return };
        let had_main = main.is_some();
        let service_pid = main.as_ref().map(|(pid, _)| *pid);
        let service_pidfd =
            main.and_then(|(_, fd)| self.watch(&fd, Source::Main(id)).ok().map(|token| Watched { fd, token }));
        let notify_number = self.reopen_sockets(id, saved, pid);
        let Some(service) = self.services.get_mut(&id) else { return };
        let init_outside = saved.init.is_some() && super::shares::is_outside(pid);
        service.last_main_pid = service_pid.or(Some(pid));
        service.last_uid = real_uid(service_pid.unwrap_or(pid));
        service.main = Some(Process {
            role: Role::Main,
            plan: None,
            init: saved.init.is_some(),
            own_container: true,
            pid,
            pidfd: Watched { fd: pidfd, token },
            report: None,
            service_pid,
            service_identity: service_pid.and(saved.main),
            service_pidfd,
            inner_pid: saved.inner_pid,
            init_outside,
            executing: true,
            executed: true,
            failure: None,
            failure_told: false,
            exit: None,
            log_number: saved.log_pipe,
            notify_number,
            adopted: true,
            looks_for_record: 0,
            identity: Cell::new([saved.init, saved.main].into_iter().flatten().find(|known| known.pid == pid)),
        });
        if saved.main.is_some() && saved.init.is_some() && !had_main {
            // PID 1 looks after what the main process left; its record says how that one ended.
            self.adopted_main_gone(id);
        }
    }

    /// Nothing of it runs any more, or only what it left behind: its record tells how it ended, if it left one.
    fn ended_meanwhile(&mut self, id: ServiceId, populated: bool) {
        let exit = self.record_of(id).unwrap_or(Exit::Unknown);
        let oom = self
            .service(id)
            .and_then(|s| s.group.as_ref().map(|group| group.oom_kills() > s.oom_kills_before))
            .unwrap_or(false);
        self.events.push_back(Event::MainExited { id, exit, oom });
        if !populated {
            self.check_empty(id);
        }
    }

    /// A group without a usable state: what is in it cannot be identified, so it is ended and named, never doubled.
    fn adopt_unknown(&mut self, id: ServiceId, populated: bool, why: &str) {
        let name = self.service(id).map_or_else(String::new, |service| service.name.clone());
        if populated {
            tracing::warn!(
                unit = name,
                "{name}: runs, but which of its processes is the main one is not known ({why}); it is stopped first"
            );
        }
        self.events.push_back(Event::Adopted {
            id,
            ready: true,
            since: super::engine::now(),
            restarts: 0,
            stopping: false,
            watchdog: None,
        });
        self.ended_meanwhile(id, populated);
    }

    /// The pipe of a file log and the notify socket are pinned by the resident init. The answer is the number of the
    /// notify socket there; none when there is another one now.
    fn reopen_sockets(&mut self, id: ServiceId, saved: &SavedState, init: i32) -> Option<i32> {
        let unit = self.service(id).and_then(|service| service.running.clone())?;
        if let Some(number) = saved.log_pipe {
            let path = format!("/proc/{init}/fd/{number}");
            if let Err(error) = self.adopt_log(id, &unit, &path, saved) {
                tracing::warn!(unit = unit.name, "{}: its output is not read any more: {error}", unit.name);
            }
        }
        let directory = self.options.runtime_dir.join("io").join(&unit.name);
        if unit.logging.syslog_socket && (!self.host.journald() || unit.logging.is_read(self.options.foreground)) {
            match super::syslog::SyslogSocket::bind(&directory) {
                Ok(socket) => {
                    if let Ok(token) = self.watch(&socket, Source::Syslog(id))
                        && let Some(service) = self.services.get_mut(&id)
                    {
                        service.syslog = Some(Watched { fd: socket, token });
                    }
                }
                Err(error) => tracing::warn!(unit = unit.name, "{}: syslog socket: {error}", unit.name),
            }
        }
        if unit.service.notify_access == crate::unit::NotifyAccess::None {
            return None;
        }
        let pinned = pinned_notify(saved, init, &directory);
        let number = saved.notify_socket.filter(|_| pinned.is_some());
        match pinned.map_or_else(|| super::notify::NotifySocket::bind(&directory), Ok) {
            Ok(socket) => {
                if let Ok(token) = self.watch(&socket, Source::Notify(id))
                    && let Some(service) = self.services.get_mut(&id)
                {
                    service.notify = Some(Watched { fd: socket, token });
                }
            }
            Err(error) => tracing::warn!(unit = unit.name, "{}: notify socket: {error}", unit.name),
        }
        number
    }

    /// Opening a pipe through /proc gives another descriptor of the same pipe, whichever end the link names.
    fn adopt_log(&mut self, id: ServiceId, unit: &crate::unit::Unit, path: &str, saved: &SavedState) -> io::Result<()> {
        let mut output = self.log_output(id, unit, path, saved.log_relayed)?;
        output.resume(saved.log_suppressed, saved.log_untold, self.journal.client(), Now::get());
        if let Some(service) = self.services.get_mut(&id) {
            service.log = Some(output);
        }
        Ok(())
    }

    /// Writes down what the next daemon needs to know of a service.
    pub(super) fn persist(&mut self, id: ServiceId) {
        let (Some(service), Some(status)) = (self.service(id), self.supervisor.status(id)) else { return };
        if self.options.foreground {
            return;
        }
        let set = self.supervisor.set_status(id).and_then(|set| set.kept);
        if status.state == ActiveState::Inactive && service.emptied && set.is_none() {
            state::remove(&self.options.runtime_dir, &service.name);
            if let Some(service) = self.services.get_mut(&id) {
                service.written.forget();
            }
            return;
        }
        let at_rest = status.state == ActiveState::Failed || status.next_restart_at.is_some();
        let at_end = matches!(
            status.substate,
            SubState::StopPost | SubState::FinalSigkill | SubState::OnExit | SubState::OnRestart | SubState::OnGiveUp
        ) || (status.remains && status.state == ActiveState::Deactivating);
        let exited = status.remains && !at_end;
        let rest = Rest {
            restarts: status.restarts,
            until: status.next_restart_at,
            result: status.result,
            cause: status.cause.clone(),
            main_exit: status.main_exit,
            hook_failure: status.hook_failure.clone(),
            wanted: status.wanted,
            upheld: status.upheld,
        };
        let main = service.main.as_ref();
        let saved = SavedState {
            unit: service.name.clone(),
            invocation_id: service.invocation.clone(),
            init: main.filter(|p| p.init).and_then(Process::init_identity),
            main: main.filter(|p| p.executed && p.exit.is_none()).and_then(Process::main_identity),
            inner_pid: main.map_or(0, |p| p.inner_pid),
            ready: matches!(status.state, ActiveState::Active | ActiveState::Reloading),
            since: status.since.0,
            restarts: status.restarts,
            stop_requested: status.stop_requested,
            restart_requested: status.restart_requested,
            rest: at_rest.then(|| rest.clone()),
            end: at_end.then_some(rest),
            exited,
            main_exit: status.main_exit.filter(|_| exited),
            // One that waits for its turn is triggered again by what is still in its sockets.
            listening: matches!(status.substate, SubState::Listening | SubState::Waiting)
                && (service.sockets.is_some() || service.timers.is_some()),
            connections: service.accepting.as_ref().map_or(0, |accepting| accepting.last),
            connection: service.connection.as_ref().map(|connection| connection.saved.clone()),
            watchdog_usec: status.watchdog.map(|interval| u64::try_from(interval.as_micros()).unwrap_or(u64::MAX)),
            oom_kills_before: service.oom_kills_before,
            log_pipe: main.and_then(|p| p.log_number),
            log_relayed: service.log.as_ref().is_some_and(|log| log.is_relayed()),
            log_suppressed: service.log.as_ref().map_or(0, |log| log.suppressed() - log.untold()),
            log_untold: service.log.as_ref().is_some_and(|log| log.untold() > 0),
            notify_socket: main.and_then(|p| p.notify_number),
            live: service.live.values.clone(),
            set,
            ..SavedState::new()
        };
        let Some(service) = self.services.get_mut(&id) else { return };
        if let Err(error) = service.written.update(&self.options.runtime_dir, &saved) {
            tracing::error!(unit = service.name, "cannot write the state of {}: {error}", service.name);
        }
    }

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

/// The notify socket that PID 1 has kept, if that is the one whose name services know: what it holds was said while
/// nobody listened.
fn pinned_notify(saved: &SavedState, init: i32, directory: &Path) -> Option<super::notify::NotifySocket> {
    let (pidfd, number) = (process::pidfd_open(init).ok()?, saved.notify_socket?);
    // The pidfd is open: the number of the process cannot be reused while the start time is compared.
    saved.init.filter(|identity| ProcessIdentity::of(init) == Some(*identity))?;
    let descriptor = process::pidfd_getfd(pidfd.as_fd(), number).ok()?;
    let path = directory.join("notify");
    path.symlink_metadata().ok()?;
    super::service_socket::ServiceSocket::adopt(descriptor, path).ok().map(super::notify::NotifySocket::adopt)
}

/// Does the state say more than that something ran?
fn is_known(saved: &SavedState) -> bool {
    saved.rest.is_some() || saved.listening || saved.end.is_some() || saved.exited
}

fn real_uid(pid: i32) -> Option<u32> {
    let status = state::read_proc(&format!("/proc/{pid}/status")).ok()?;
    String::from_utf8_lossy(&status)
        .lines()
        .find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()?.parse().ok())
}

/// Opens a pidfd of a saved process, if it still is that process.
fn open_verified(saved: &ProcessIdentity) -> Option<(i32, OwnedFd)> {
    let pidfd = process::pidfd_open(saved.pid).ok()?;
    // The pidfd is open: the number cannot be reused while the start time is compared.
    (ProcessIdentity::of(saved.pid).as_ref() == Some(saved)).then_some((saved.pid, pidfd))
}

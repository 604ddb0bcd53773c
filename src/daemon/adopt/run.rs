//! Taking over one run: its processes, its sockets, the pipe of its output, and how it ended if it has.

use super::super::engine::{Engine, Place, Source, to_io};
use super::super::identity::{ProcessIdentity, open_verified};
use super::super::instance_keeper::process_name;
use super::super::log_file;
use super::super::log_pipe::OutputPipe;
use super::super::own_ids::user_of;
use super::super::process::exit_of_dead;
use super::super::scarcity;
use super::super::service::{Process, Watched};
use super::super::state::SavedState;
use crate::supervise::{Event, Exit, Moment, Role, ServiceId};
use crate::sys::process;
use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// SIGKILL, the same number on all architectures.
const SIGKILL: u8 = 9;

/// The processes of a run that goes on.
struct Found {
    /// What was launched: PID 1 of the container, or the main process.
    pid: i32,
    pidfd: OwnedFd,
    main: MainFound,
}

/// The main process beside its resident init.
enum MainFound {
    /// What was launched is all that is known.
    Itself,
    /// Its init tells us its end.
    Heard(i32),
    /// Its init tells somebody who is gone.
    Watched(i32, OwnedFd),
    /// It has ended.
    Gone,
}

impl Engine {
    pub(super) fn adopt_saved(&mut self, id: ServiceId, saved: &SavedState, populated: bool) {
        let Some(service) = self.services.get_mut(&id) else { return };
        service.invocation = saved.invocation_id.clone();
        service.oom_kills_before = saved.oom_kills_before;
        let stopping = saved.stop_requested || saved.restart_requested;
        let (restarts, restart_times) = (saved.restarts, saved.restart_times.clone());
        self.events.push_back(match saved.descent.clone() {
            Some(descent) => Event::AdoptedGoingDown { id, restarts, restart_times, stopping, descent },
            None => Event::Adopted {
                id,
                ready: saved.ready,
                since: Moment(saved.since),
                restarts,
                stopping,
                watchdog: saved.watchdog_usec.map(std::time::Duration::from_micros),
                said_ready: saved.said_ready,
                restart_times,
            },
        });
        self.recall_status_text(id, &saved.remembered);
        if saved.restart_requested {
            self.events.push_back(Event::StartRequested { id, request: None });
        }
        self.take_requests_over(id, saved);
        match self.find(id, saved).filter(|_| populated) {
            Some(found) => {
                self.adopt_process(id, saved, found);
            }
            None => self.ended_meanwhile(id, saved, populated),
        }
    }

    /// The processes of a state that still are there.
    fn find(&mut self, id: ServiceId, saved: &SavedState) -> Option<Found> {
        let Some(init) = &saved.init else {
            let kept = self.kept_process(id, saved);
            let (pid, pidfd) = match kept {
                Some(pidfd) => (saved.main?.pid, pidfd),
                None => open(saved.main.as_ref()?)?,
            };
            return Some(Found { pid, pidfd, main: MainFound::Itself });
        };
        let (pid, pidfd) = open(init)?;
        let main = match &saved.main {
            // If it has ended, its record says so, which is looked at once its init is believed.
            Some(main) if self.hears(saved) => MainFound::Heard(main.pid),
            Some(main) => open(main).map_or(MainFound::Gone, |(pid, pidfd)| MainFound::Watched(pid, pidfd)),
            None => MainFound::Itself,
        };
        Some(Found { pid, pidfd, main })
    }

    /// Does the resident init of this service tell us the ends of its children?
    fn hears(&self, saved: &SavedState) -> bool {
        saved.init.is_some() && saved.exits == Some(self.exits.inode())
    }

    /// The pidfd of a main process without a resident init, kept by the daemon that started it: it is that process
    /// whatever has become of its number.
    fn kept_process(&mut self, id: ServiceId, saved: &SavedState) -> Option<OwnedFd> {
        let name = process_name(&self.service(id)?.name);
        let pidfd = self.take_kept(&name)?;
        let main = saved.main?;
        let is_it = match process::pid_of_pidfd(pidfd.as_fd()) {
            _ if main.pidfs.is_some() => main.is_behind(pidfd.as_fd()),
            // One of another run would be released by now; while it lives the number tells that apart, too.
            Ok(pid) => pid.is_none_or(|pid| pid == main.pid),
            Err(_) => false,
        };
        is_it.then_some(pidfd)
    }

    fn adopt_process(&mut self, id: ServiceId, saved: &SavedState, found: Found) {
        let Found { pid, pidfd, main } = found;
        let token = match self.watch(&pidfd, Source::Process(id, Place::Main)) {
            Ok(token) => token,
            Err(error) => return scarcity::note(error),
        };
        let heard = self.hears(saved);
        let main_gone = matches!(main, MainFound::Gone);
        let (service_pid, service_pidfd) = match main {
            MainFound::Itself | MainFound::Gone => (None, None),
            MainFound::Heard(pid) => (Some(pid), None),
            MainFound::Watched(pid, fd) => {
                let watched = self.watch(&fd, Source::Main(id)).map(|token| Watched { fd, token });
                (Some(pid), watched.map_err(scarcity::note).ok())
            }
        };
        let notify_number = self.reopen_sockets(id, saved, pid);
        if heard {
            self.exits.expect(pid, id, Place::Main);
        }
        let Some(service) = self.services.get_mut(&id) else { return };
        let look = || saved.init.is_some() && super::super::shares::is_outside(pid);
        let init_outside = saved.init_outside.unwrap_or_else(look);
        // Also of one that is gone, which may have said something before.
        service.last_main_pid = service_pid.or(main_of(saved)).or(saved.init.is_none().then_some(pid));
        service.said.main_is_unknown = service.last_main_pid.is_none();
        service.last_uid = saved.uid.or_else(|| user_of(service_pid.unwrap_or(pid)));
        service.main = Some(Box::new(Process {
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
            heard,
            looks_for_record: 0,
            identity: Cell::new([saved.init, saved.main].into_iter().flatten().find(|known| known.pid == pid)),
        }));
        // It may have ended while it was being looked at, before its init was believed.
        if main_gone || (heard && service_pid.is_some() && self.record_of(id).is_some()) {
            // PID 1 looks after what the main process left; its record says how that one ended.
            self.adopted_main_gone(id);
        }
    }

    /// Nothing of it runs any more, or only what it left behind.
    fn ended_meanwhile(&mut self, id: ServiceId, saved: &SavedState, populated: bool) {
        let exit = self.end_of(id, saved);
        let oom = self
            .service(id)
            .and_then(|s| s.group.as_ref().map(|group| group.oom_kills() > s.oom_kills_before))
            .unwrap_or(false);
        self.over.insert(id);
        self.hear_last_words(id, saved);
        if let Some(dead) = saved.init.or(saved.main).and_then(|process| open_verified(&process)) {
            self.expect_reaping(dead.as_fd());
        }
        self.events.push_back(Event::MainExited { id, exit, oom });
        if !populated {
            self.check_empty(id);
        }
    }

    /// What it printed and said before its end.
    fn hear_last_words(&mut self, id: ServiceId, saved: &SavedState) {
        if let Some(service) = self.services.get_mut(&id) {
            service.last_main_pid = main_of(saved);
            service.said.main_is_unknown = service.last_main_pid.is_none();
            service.last_uid = saved.uid;
        }
        self.adopt_kept_sockets(id, false);
        self.adopt_denials(id);
        if self.adopt_kept_log(id, saved) {
            self.drain_log(id);
        }
        self.drain_syslog(id);
        self.drain_notifications(id);
    }

    /// How a main process ended that nobody saw: its record tells, or the kernel by the pidfd that was kept. A resident
    /// init that is gone and wrote none into a record file that is whole was killed itself, and everything in its pid
    /// namespace with it (pid_namespaces(7)).
    fn end_of(&mut self, id: ServiceId, saved: &SavedState) -> Exit {
        let known = saved.descent.as_ref().and_then(|descent| descent.main_exit);
        if let Some(exit) = known.or_else(|| self.record_of(id)) {
            return exit;
        }
        if self.has_begun(id) {
            return Exit::Killed(SIGKILL);
        }
        if saved.init.is_none() {
            let kept = self.kept_process(id, saved);
            return kept.and_then(|pidfd| exit_of_dead(pidfd.as_fd())).unwrap_or(Exit::Unknown);
        }
        // An init of an earlier version does not say that it has begun.
        let executed = saved.main.is_some();
        if executed && self.has_untouched_record(id) { Exit::Killed(SIGKILL) } else { Exit::Unknown }
    }

    /// A group without a usable state: what is in it cannot be identified, so it is ended and named, never doubled.
    pub(super) fn adopt_unknown(&mut self, id: ServiceId, populated: bool, why: &str) {
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
            since: super::super::engine::now(),
            restarts: 0,
            stopping: false,
            watchdog: None,
            said_ready: false,
            restart_times: Vec::new(),
        });
        self.ended_meanwhile(id, &SavedState::new(), populated);
    }

    /// The pipe of its output and its sockets are with the keeper; where an earlier daemon had none, or another version of
    /// rsvc, the resident init has pipe and notify socket. The answer is the number of the notify socket there; none when
    /// there is another one now.
    fn reopen_sockets(&mut self, id: ServiceId, saved: &SavedState, init: i32) -> Option<i32> {
        let unit = self.service(id).and_then(|service| service.running.clone())?;
        if !self.adopt_kept_log(id, saved)
            && let Some(number) = saved.log_pipe
        {
            let path = format!("/proc/{init}/fd/{number}");
            // Opening a pipe through /proc gives another descriptor of the same pipe, whichever end the link names.
            let opened = OutputPipe::reopen(&path, log_file::Source(0));
            let adopted = opened.and_then(|pipe| self.adopt_log(id, &unit, pipe, saved.log_relayed, saved));
            if let Err(error) = scarcity::noted(adopted) {
                tracing::warn!(unit = unit.name, "{}: its output is not read any more: {error}", unit.name);
            }
        }
        self.adopt_kept_sockets(id, true);
        self.adopt_denials(id);
        let directory = self.io_directory(&unit.name);
        if self.wants_syslog(&unit) && self.service(id).is_some_and(|service| service.syslog.is_none()) {
            let opened = self.open_syslog(id, &directory);
            if let Err(error) = scarcity::noted(opened) {
                tracing::warn!(unit = unit.name, "{}: syslog socket: {error}", unit.name);
            }
        }
        if self.service(id).is_some_and(|service| service.notify.is_some()) {
            return saved.notify_socket;
        }
        let pinned = pinned_notify(saved, init, &directory);
        let number = saved.notify_socket.filter(|_| pinned.is_some());
        let opened = match pinned {
            Some(socket) => self.keep_pinned_notify(id, socket),
            None if unit.service.notify_access == crate::unit::NotifyAccess::None => Ok(()),
            None => self.open_notify(id, &directory),
        };
        if let Err(error) = scarcity::noted(opened) {
            tracing::warn!(unit = unit.name, "{}: notify socket: {error}", unit.name);
        }
        number
    }
}

/// The notify socket that PID 1 has kept, if that is the one whose name services know: what it holds was said while
/// nobody listened.
fn pinned_notify(saved: &SavedState, init: i32, directory: &Path) -> Option<super::super::notify::NotifySocket> {
    let (pidfd, number) = (scarcity::noted(process::pidfd_open(init).map_err(to_io)).ok()?, saved.notify_socket?);
    saved.init.filter(|identity| identity.pid == init && identity.is_behind(pidfd.as_fd()))?;
    let descriptor = scarcity::noted(process::pidfd_getfd(pidfd.as_fd(), number).map_err(to_io)).ok()?;
    let path = directory.join("notify");
    path.symlink_metadata().ok()?;
    super::super::service_socket::ServiceSocket::adopt(descriptor, path)
        .ok()
        .map(super::super::notify::NotifySocket::adopt)
}

/// Number of the main process, where anybody has noted it or could still see it.
fn main_of(saved: &SavedState) -> Option<i32> {
    saved.main.map(|main| main.pid).filter(|pid| saved.init.is_none_or(|init| init.pid != *pid))
}

/// A saved process, if it still is there.
fn open(saved: &ProcessIdentity) -> Option<(i32, OwnedFd)> {
    open_verified(saved).map(|pidfd| (saved.pid, pidfd))
}

//! Taking over one run: its processes, its sockets, the pipe of its output, and how it ended if it has.

use super::super::engine::{Engine, Place, Source};
use super::super::log_output::Now;
use super::super::service::{Process, Watched};
use super::super::state::{self, ProcessIdentity, SavedState, Written};
use crate::supervise::{Event, Exit, Moment, Role, ServiceId};
use crate::sys::process;
use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

impl Engine {
    pub(super) fn adopt_saved(&mut self, id: ServiceId, saved: &SavedState, populated: bool) {
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
        let Ok(token) = self.watch(&pidfd, Source::Process(id, Place::Main)) else { return };
        let had_main = main.is_some();
        let service_pid = main.as_ref().map(|(pid, _)| *pid);
        let service_pidfd =
            main.and_then(|(_, fd)| self.watch(&fd, Source::Main(id)).ok().map(|token| Watched { fd, token }));
        let notify_number = self.reopen_sockets(id, saved, pid);
        let Some(service) = self.services.get_mut(&id) else { return };
        let init_outside = saved.init.is_some() && super::super::shares::is_outside(pid);
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
            match super::super::syslog::SyslogSocket::bind(&directory) {
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
        match pinned.map_or_else(|| super::super::notify::NotifySocket::bind(&directory), Ok) {
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
}

/// The notify socket that PID 1 has kept, if that is the one whose name services know: what it holds was said while
/// nobody listened.
fn pinned_notify(saved: &SavedState, init: i32, directory: &Path) -> Option<super::super::notify::NotifySocket> {
    let (pidfd, number) = (process::pidfd_open(init).ok()?, saved.notify_socket?);
    // The pidfd is open: the number of the process cannot be reused while the start time is compared.
    saved.init.filter(|identity| ProcessIdentity::of(init) == Some(*identity))?;
    let descriptor = process::pidfd_getfd(pidfd.as_fd(), number).ok()?;
    let path = directory.join("notify");
    path.symlink_metadata().ok()?;
    super::super::service_socket::ServiceSocket::adopt(descriptor, path)
        .ok()
        .map(super::super::notify::NotifySocket::adopt)
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

//! What launched processes tell: reports of the set-up stage, exit records of the resident init, pidfds.
//!
//! Three descriptors speak of one process, in any order: the report socket (set-up, exec), the exits pipe (the
//! service's own end, while its PID 1 lives on for the orphans), and the pidfd of what was cloned.

use super::engine::{Engine, Notice, Place, Source, Timer, to_io};
use super::service::{Process, Service, Watched};
use crate::plan::Degraded;
use crate::plan::hint;
use crate::plan::wire::{self, ExitRecord, RECORD_FILE_SIZE, Report, decode_report};
use crate::supervise::{CommandOutcome, Event, Exit, LaunchFailure, Role, ServiceId};
use crate::sys::process::{self, SpawnFailure};
use crate::sys::socket::{self, Credentials, Received};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Exit codes of waitid(2).
const CLD_EXITED: i32 = 1;
const CLD_DUMPED: i32 = 3;
/// An adopted main process is seen dead before its record is written.
const RECORD_DELAY: Duration = Duration::from_millis(5);
/// The delay doubles so often: somebody may have stopped the container's PID 1.
const MOST_DOUBLINGS: u32 = 8;

/// The words of waitid(2) as an [`Exit`].
pub(super) fn exit_of(code: i32, status: i32) -> Exit {
    let status = u8::try_from(status & 0xff).unwrap_or(u8::MAX);
    match code {
        CLD_EXITED => Exit::Exited(status),
        CLD_DUMPED => Exit::Dumped(status),
        _ => Exit::Killed(status),
    }
}

impl Engine {
    fn process_at(&mut self, id: ServiceId, place: Place) -> Option<&mut Process> {
        self.services.get_mut(&id)?.process(place).as_deref_mut()
    }

    /// Reads reports until there are none; end of file says how the launch went.
    pub(super) fn report_ready(&mut self, id: ServiceId, place: Place) {
        let mut buffer = [0u8; 4096];
        loop {
            let Some(process) = self.process_at(id, place) else { return };
            let Some(report) = &process.report else { return };
            match socket::receive(report.fd.as_fd(), &mut buffer) {
                Ok(Some(received)) if received.length == 0 || received.truncated => {
                    return self.report_closed(id, place);
                }
                Ok(None) => return,
                Ok(Some(Received { length, sender, descriptors, .. })) => {
                    let bytes = buffer.get(..length).unwrap_or_default();
                    if let Some(error) = SpawnFailure::parse(bytes) {
                        let message = format!("failed at step EXEC: the set-up stage cannot be executed: {error}");
                        process.failure = Some(Box::new(LaunchFailure { step: "EXEC".to_owned(), code: 203, message }));
                        continue;
                    }
                    match decode_report(bytes) {
                        Ok(Report::Terminal) => self.terminal_opened(descriptors),
                        Ok(report) => self.reported(id, place, report, sender),
                        Err(error) => tracing::error!("a set-up stage sent nonsense: {error:?}"),
                    }
                }
                // It comes again.
                Err(error) if super::scarcity::may_pass(&to_io(error)) => return,
                Err(_) => return self.report_closed(id, place),
            }
        }
    }

    fn reported(&mut self, id: ServiceId, place: Place, report: Report, sender: Option<Credentials>) {
        let Some(process) = self.process_at(id, place) else { return };
        if report == Report::Executing {
            return self.executing(id, place, sender);
        }
        let Some((plan, _)) = process.plan.as_deref().and_then(|bytes| wire::decode(bytes).ok()) else {
            return tracing::error!("a report came from a process that had executed the service: not believed");
        };
        match report {
            Report::Failed { step, errno, detail } => {
                let (word, code) =
                    plan.steps.get(usize::from(step)).map_or(("EXEC", 203), |s| (s.step.name(), s.step.code()));
                let message = hint::failure_message(&plan, usize::from(step), errno, &detail);
                process.failure = Some(Box::new(LaunchFailure { step: word.to_owned(), code, message }));
            }
            Report::Degraded { step, errno, detail } => {
                let why = if detail.is_empty() {
                    format!(
                        "{}: {}",
                        plan.steps.get(usize::from(step)).map_or_else(String::new, |s| s.step.phrase()),
                        nix::errno::Errno::from_raw(errno).desc()
                    )
                } else {
                    detail
                };
                let key = plan.origin_of(usize::from(step)).map_or_else(|| "launch".to_owned(), |o| o.key.clone());
                if place == Place::Main
                    && let Some(service) = self.services.get_mut(&id)
                {
                    std::rc::Rc::make_mut(&mut service.degraded).push(Degraded { key, why });
                }
            }
            Report::Executing | Report::Terminal => {}
        }
    }

    /// Both sides of a terminal that the set-up stage opened; somebody must have asked for it.
    fn terminal_opened(&mut self, descriptors: Vec<OwnedFd>) {
        match <[OwnedFd; 2]>::try_from(descriptors) {
            Ok([master, service]) if self.terminal.is_some() => self.notices.push(Notice::Terminal(master, service)),
            _ => tracing::error!("a set-up stage sent a terminal that nobody waits for"),
        }
    }

    fn executing(&mut self, id: ServiceId, place: Place, sender: Option<Credentials>) {
        let Some(process) = self.process_at(id, place) else { return };
        process.executing = true;
        if let Some(pid) = sender.map(|sender| sender.pid).filter(|pid| *pid != process.pid) {
            // The sender waits for nothing but its exec; if it is gone already the record tells its end.
            process.set_service(pid);
            if process.init_outside {
                process.inner_pid = super::ready::inner_pid(pid).unwrap_or(0);
            }
        }
        let main = process.main_pid();
        let Some(service) = self.services.get_mut(&id) else { return };
        if place != Place::Check {
            service.last_uid = sender.map(|sender| sender.uid);
        }
        if place == Place::Main {
            service.last_main_pid = Some(main);
        }
    }

    fn report_closed(&mut self, id: ServiceId, place: Place) {
        let Some(process) = self.process_at(id, place) else { return };
        let Some(report) = process.report.take() else { return };
        let role = process.role;
        let failure = process.failure.clone();
        if failure.is_some() {
            process.failure_told = true;
        } else if process.executing {
            process.executed = true;
            process.plan = None;
        }
        let executed = process.executed;
        self.unwatch(&report.fd, report.token);
        match failure {
            Some(failure) => self.launch_failed(id, role, *failure),
            None if executed => {
                // From now on it is known which process is the main one; a service that takes its time to get ready says
                // READY=1 perhaps to the next daemon, which has to believe it.
                self.dirty.insert(id);
                self.events.push_back(Event::Executed { id, role });
            }
            None => {} // Killed during set-up: the pidfd tells by what.
        }
    }

    fn launch_failed(&mut self, id: ServiceId, role: Role, failure: LaunchFailure) {
        self.events.push_back(match role {
            Role::Main => Event::LaunchFailed { id, failure },
            Role::Ready | Role::Health => return self.check_ended(id, role, Err(failure.message)),
            _ => Event::CommandEnded { id, role, outcome: CommandOutcome::NotLaunched(failure.into()) },
        });
    }

    /// A resident init tells the end of one of its children.
    pub(super) fn child_ended(&mut self, id: ServiceId, place: Place, record: ExitRecord) {
        // A service may end before its last report was read, and say MAINPID= just before.
        self.report_ready(id, place);
        if place == Place::Main {
            self.drain_notifications(id);
        }
        let Some(process) = self.process_at(id, place) else { return };
        if record.pid != process.recorded_pid() || process.exit.is_some() {
            return;
        }
        self.ended(id, place, exit_of(record.code, record.status));
    }

    /// The service's own process ended, and how is known.
    pub(super) fn ended(&mut self, id: ServiceId, place: Place, exit: Exit) {
        // What it said before it died comes before its end: READY=1, and its last lines.
        if place == Place::Main {
            self.drain_notifications(id);
        }
        self.log_ready(id);
        self.drain_syslog(id);
        let Some(service) = self.services.get_mut(&id) else { return };
        let oom_kills = service.group.as_ref().map_or(0, |group| group.oom_kills());
        let oom = oom_kills > service.oom_kills_before;
        if place == Place::Main
            && let Some(group) = &service.group
        {
            service.last_counters = Some(Box::new(group.totals()));
        }
        if oom && place == Place::Main {
            self.note_slice_limit(id);
        }
        let Some(service) = self.services.get_mut(&id) else { return };
        let name = service.name.clone();
        let Some(process) = service.process(place).as_mut() else { return };
        let role = process.role;
        let forked_away = role == Role::Main
            && service.running.as_ref().is_some_and(|unit| unit.service.kind == crate::unit::ServiceType::Forking);
        let process = match place {
            Place::Main => service.main.as_mut(),
            Place::Control => service.control.as_mut(),
            Place::Check => service.check.as_mut(),
        };
        let Some(process) = process else { return };
        let told = process.failure_told || process.failure.is_some();
        let watched = process.service_pidfd.take();
        if forked_away && exit == Exit::Exited(0) && process.inner_pid == first_inner(process) {
            // The first process of a forking service: another one will be found by the pid file.
            process.inner_pid = 0;
            process.service_pid = None;
        } else {
            process.exit = Some(exit);
        }
        let executed = process.executed;
        process.failure_told |= !told && !executed;
        if let Some(watched) = watched {
            self.unwatch(&watched.fd, watched.token);
        }
        if told {
            return;
        }
        if !executed {
            let message = set_up_killed(exit, oom);
            return self.launch_failed(id, role, LaunchFailure { step: "EXEC".to_owned(), code: 203, message });
        }
        tracing::debug!(unit = name, "{role:?} ended: {exit:?}");
        self.events.push_back(match role {
            Role::Main => {
                self.main_exited(id, exit, oom);
                self.dirty.insert(id);
                return;
            }
            Role::Ready | Role::Health => return self.check_ended(id, role, Ok(exit)),
            _ => Event::CommandEnded { id, role, outcome: CommandOutcome::Exited(exit) },
        });
        self.dirty.insert(id);
    }

    /// What was cloned ended: with a resident init the whole container is gone, else the service itself.
    pub(super) fn process_ended(&mut self, id: ServiceId, place: Place) {
        self.report_ready(id, place);
        self.exits_ready();
        let Some(process) = self.process_at(id, place) else { return };
        let status = match process::wait_pidfd(process.pidfd.fd.as_fd(), true) {
            Ok(None) => return,
            Ok(Some((code, status))) => exit_of(code, status),
            // Somebody else's child by now: of a daemon before this one.
            Err(_) if process.adopted => return self.adopted_init_ended(id, place),
            // Its descriptor says that it has ended; somebody else has waited for it.
            Err(_) => exit_of_dead(process.pidfd.fd.as_fd()).unwrap_or(Exit::Unknown),
        };
        if process.exit.is_none() {
            let has_init = process.init && process.own_container;
            let exit = match has_init.then(|| self.record_of(id)).flatten() {
                Some(exit) if place == Place::Main => exit,
                _ => status,
            };
            self.ended(id, place, exit);
        }
        let Some(service) = self.services.get_mut(&id) else { return };
        if let Some(process) = service.process(place).take() {
            self.drop_process(id, *process);
        }
        if place == Place::Check {
            self.check_gone(id);
        }
        self.check_empty(id);
        self.dirty.insert(id);
    }

    fn record_path(&self, service: &Service) -> std::path::PathBuf {
        super::state::directory(&self.options.runtime_dir, &service.name).join(super::state::RECORDS[service.record])
    }

    /// Is the record file there, whole, and nothing written to it?
    pub(super) fn has_untouched_record(&self, id: ServiceId) -> bool {
        self.record_bytes(id).is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0))
    }

    /// Has the resident init let the main process begin, and nothing been written about that one's end?
    pub(super) fn has_begun(&self, id: ServiceId) -> bool {
        self.record_bytes(id).is_some_and(|bytes| wire::begun(&bytes).is_some())
    }

    /// The whole record file.
    fn record_bytes(&self, id: ServiceId) -> Option<Vec<u8>> {
        let bytes = super::scarcity::noted(std::fs::read(self.record_path(self.service(id)?))).ok()?;
        (bytes.len() as u64 == RECORD_FILE_SIZE).then_some(bytes)
    }

    /// The main process's record in the file that the resident init maps.
    pub(super) fn record_of(&self, id: ServiceId) -> Option<Exit> {
        let service = self.service(id)?;
        let path = self.record_path(service);
        let mut bytes = [0; RECORD_FILE_SIZE as usize];
        let length = super::scarcity::noted(std::fs::File::open(path)).ok()?.read(&mut bytes).ok()?;
        let bytes = &bytes[..length];
        // The first record is that of the first child: the main process, unless it was replaced since.
        let first = bytes.get(..ExitRecord::SIZE).and_then(ExitRecord::from_bytes).map_or(2, |record| record.pid);
        let wanted = service.main.as_deref().map_or(first, Process::recorded_pid);
        let records = bytes.chunks_exact(32).filter_map(ExitRecord::from_bytes);
        let record = records.filter(|record| record.pid == wanted).max_by_key(|record| record.sequence)?;
        Some(exit_of(record.code, record.status))
    }

    /// The main process of an adopted service ended. Its PID 1 writes the record before it reaps it, but not at once.
    pub(super) fn adopted_main_ended(&mut self, id: ServiceId) {
        let Some(process) = self.process_at(id, Place::Main) else { return };
        if process.exit.is_some() {
            return;
        }
        // Asked in this order: who finds it reaped finds the record.
        let is_reaped = process.is_reaped();
        let looks = process.looks_for_record;
        let waits = if process.init { !is_reaped } else { looks == 0 };
        if waits && self.record_of(id).is_none() {
            return self.look_for_record_later(id, looks);
        }
        self.adopted_main_gone(id);
    }

    /// The same, and what could be written about it is written.
    pub(super) fn adopted_main_gone(&mut self, id: ServiceId) {
        if self.process_at(id, Place::Main).is_none_or(|process| process.exit.is_some()) {
            return;
        }
        let exit = self.record_of(id).or_else(|| self.exit_seen(id)).unwrap_or(Exit::Unknown);
        self.ended(id, Place::Main, exit);
        self.check_empty(id);
    }

    /// Is known, or can be, how an adopted process ended? Without a resident init only the kernel tells; where it does
    /// not yet it is asked again.
    fn is_told(&mut self, id: ServiceId, place: Place) -> bool {
        let Some(process) = self.process_at(id, place) else { return false };
        let gone = process::pidfd_send_signal(process.pidfd.fd.as_fd(), 0).is_err();
        if process.init || process.exit.is_some() || gone || exit_of_dead(process.own_pidfd()).is_some() {
            return true;
        }
        process.looks_for_record += 1;
        let (token, looks) = (process.pidfd.token, process.looks_for_record);
        // Not closed: it is what tells the status.
        if self.sources.remove(&token).is_some()
            && let Some(process) = self.services.get(&id).and_then(|service| service.main.as_ref())
        {
            let _ = self.poller.remove(&process.pidfd.fd);
        }
        self.after(RECORD_DELAY * 2u32.pow(looks.min(MOST_DOUBLINGS)), Timer::Reaped(id));
        false
    }

    fn exit_seen(&self, id: ServiceId) -> Option<Exit> {
        let process = self.service(id)?.main.as_ref()?;
        let exit = exit_of_dead(process.own_pidfd())?;
        match process.init && process.service_pidfd.is_none() {
            true => main_behind_init(exit),
            false => Some(exit),
        }
    }

    fn look_for_record_later(&mut self, id: ServiceId, looks: u32) {
        let Some(process) = self.process_at(id, Place::Main) else { return };
        process.looks_for_record += 1;
        // Not closed: without a record the descriptor tells how the process ended.
        if let Some(watched) = process.service_pidfd.take() {
            self.unwatch(&watched.fd, watched.token);
            if let Some(process) = self.process_at(id, Place::Main) {
                process.service_pidfd = Some(watched);
            }
        }
        self.after(RECORD_DELAY * 2u32.pow(looks.min(MOST_DOUBLINGS)), Timer::Record(id));
    }

    fn adopted_init_ended(&mut self, id: ServiceId, place: Place) {
        if !self.is_told(id, place) {
            return;
        }
        // PID 1 wrote what it had to write.
        self.adopted_main_gone(id);
        // What it would look at is the next run's.
        self.cancel(Timer::Record(id));
        if let Some(process) = self.services.get_mut(&id).and_then(|service| service.process(place).take()) {
            self.expect_reaping(process.pidfd.fd.as_fd());
            self.drop_process(id, *process);
        }
        self.check_empty(id);
    }

    /// Watches a main process that is not the first child of its init: found by pid file.
    pub(super) fn follow_main(&mut self, id: ServiceId, pid: i32, inner_pid: i32) -> bool {
        if super::identity::ProcessIdentity::of(pid).is_none() {
            return false;
        }
        // The resident init reaps it and tells; otherwise its pidfd does.
        let with_init = self.process_at(id, Place::Main).is_some_and(|p| p.init && p.heard);
        let mut watched = None;
        if !with_init {
            let Ok(fd) = process::pidfd_open(pid) else { return false };
            let Ok(token) = self.watch(&fd, Source::Main(id)) else { return false };
            watched = Some(Watched { fd, token });
        }
        let Some(service) = self.services.get_mut(&id) else { return false };
        service.last_main_pid = Some(pid);
        let Some(main) = service.main.as_mut() else { return false };
        main.exit = None;
        main.set_service(pid);
        main.inner_pid = inner_pid;
        if let Some(old) = std::mem::replace(&mut main.service_pidfd, watched) {
            self.unwatch(&old.fd, old.token);
        }
        true
    }
}

/// How a process ended whose record nobody wrote: what waitid(2) says of a child of ours (after an upgrade in place);
/// what the kernel keeps for the holders of a pidfd, once somebody has reaped it (since Linux 6.15); and, as long as
/// nobody has, what its own line says. `None`: not known, or not yet.
pub(super) fn exit_of_dead(pidfd: BorrowedFd<'_>) -> Option<Exit> {
    if let Ok(Some((code, status))) = process::wait_pidfd(pidfd, true) {
        return Some(exit_of(code, status));
    }
    let kept = || process::pidfd_exit_status(pidfd).ok()?;
    let status = kept().or_else(|| {
        let pid = process::pid_of_pidfd(pidfd).ok()??;
        let status = super::identity::status_of_zombie(pid)?;
        // Still the same: nobody has reaped it, so the number was its own.
        (process::pid_of_pidfd(pidfd) == Ok(Some(pid))).then_some(status).or_else(kept)
    })?;
    Some(match status & 0x7f {
        0 => Exit::Exited(u8::try_from(status >> 8 & 0xff).unwrap_or(u8::MAX)),
        signal if status & 0x80 != 0 => Exit::Dumped(u8::try_from(signal).unwrap_or(0)),
        signal => Exit::Killed(u8::try_from(signal).unwrap_or(0)),
    })
}

/// What the end of a resident init says of its main process, whose status it hands on: beyond 128 that may be a signal.
/// One that was killed took the main process along.
fn main_behind_init(init: Exit) -> Option<Exit> {
    const SIGKILL: u8 = 9;
    match init {
        Exit::Exited(status) => (status <= 128).then_some(init),
        Exit::Killed(_) | Exit::Dumped(_) => Some(Exit::Killed(SIGKILL)),
        Exit::Unknown => None,
    }
}

/// The pid in the container of the first process that its init forks.
fn first_inner(process: &Process) -> i32 {
    if process.init { 2 } else { process.pid }
}

/// Somebody killed the set-up stage: nearly always the kernel, for lack of memory.
fn set_up_killed(exit: Exit, oom: bool) -> String {
    let how = match exit {
        Exit::Killed(signal) | Exit::Dumped(signal) => format!("killed by signal {signal}"),
        Exit::Exited(status) => format!("exited with {status}"),
        Exit::Unknown => "gone".to_owned(),
    };
    if exit == Exit::Exited(crate::init::RESIDENT_FAILED_STATUS) {
        return "failed during set-up: the resident init could not give up its rights, or map its record\n  \
                asked for by namespaces.init\n  hint: a container or a system-call filter around rsvc forbids capset(2)"
            .to_owned();
    }
    let hint = if oom {
        "\n  hint: the group ran out of memory during set-up: raise `resources.memory_max` (1M is the least)"
    } else {
        ""
    };
    format!("failed during set-up: the set-up stage was {how}{hint}")
}

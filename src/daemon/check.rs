//! Looks from outside whether a service is ready (`[ready]`) or well (`[health]`): sockets, a path, a command.
//!
//! Commands run in the container of the service, one at a time beside whatever else runs, in a process group of their
//! own. When to look, and what follows, is the supervisor's; how often to look for readiness is decided here.

use super::engine::{Engine, Timer};
use super::snapshot::how;
use crate::supervise::{Event, Exit, Role, ServiceId, ServiceResult};
use crate::unit::{ListenAddress, ReadyKind};
use std::time::Duration;

/// Pause between two runs of `ready.command`.
const READY_COMMAND_INTERVAL: Duration = Duration::from_millis(250);

impl Engine {
    /// Does all of `[ready]` hold, and does the pid file of a forking service name a process of the unit? A command is
    /// started when everything else holds; its end brings us back.
    pub(super) fn is_ready(&mut self, id: ServiceId) -> bool {
        let Some(service) = self.service(id) else { return false };
        let (Some(unit), Some(main)) = (service.running.clone(), service.main.as_ref()) else { return false };
        let init = main.pid;
        let pids = self.processes_of(id);
        match unit.ready_kind() {
            ReadyKind::PidFile => {
                let Some(file) = &unit.service.pid_file else { return false };
                match super::ready::read_pid_file(init, file, &pids) {
                    Ok(process) if self.service(id).and_then(|s| s.main.as_ref()?.service_pid) == Some(process.pid) => {
                    }
                    Ok(process) if self.follow_main(id, process.pid, process.inner) => {}
                    // It may still be written; the timeout tells what was waited for.
                    Ok(_) | Err(_) => return false,
                }
            }
            ReadyKind::Checked => {}
            ReadyKind::Executed | ReadyKind::Notify | ReadyKind::Exited => return false,
        }
        let ready = &unit.ready;
        let listens = ready.listen.is_empty()
            || super::ready::missing(&ready.listen, &pids).is_ok_and(|missing| missing.is_empty());
        let exists = ready.path.as_ref().is_none_or(|path| super::ready::exists(init, path));
        listens && exists && (ready.command.is_empty() || self.ready_command(id))
    }

    fn processes_of(&self, id: ServiceId) -> Vec<i32> {
        let Some(service) = self.service(id) else { return Vec::new() };
        match &service.group {
            Some(group) => group.pids().unwrap_or_default(),
            None => service.main.iter().map(|process| process.main_pid()).collect(),
        }
    }

    /// Has `ready.command` succeeded? If not, it is started unless it runs.
    fn ready_command(&mut self, id: ServiceId) -> bool {
        let Some(service) = self.service(id) else { return false };
        if !service.ready_command_succeeded && service.check.is_none() {
            self.launch_check(id, Role::Ready);
        }
        self.service(id).is_some_and(|service| service.ready_command_succeeded)
    }

    /// `Action::Check`: sockets are looked at now, a command answers later.
    pub(super) fn check_health(&mut self, id: ServiceId, number: u32) {
        let Some(unit) = self.service(id).and_then(|service| service.running.clone()) else { return };
        let Some(health) = &unit.health else { return };
        let failure = self.deaf(id, &health.listen);
        if failure.is_some() || health.command.is_empty() {
            return self.events.push_back(Event::Checked { id, number, failure });
        }
        if let Some(service) = self.services.get_mut(&id) {
            service.check_number = Some(number);
        }
        self.launch_check(id, Role::Health);
    }

    /// Which of `health.listen` nobody listens on.
    fn deaf(&self, id: ServiceId, addresses: &[ListenAddress]) -> Option<String> {
        if addresses.is_empty() {
            return None;
        }
        match super::ready::missing(addresses, &self.processes_of(id)) {
            Ok(missing) if missing.is_empty() => None,
            Ok(missing) => {
                let names: Vec<String> = missing.into_iter().map(ToString::to_string).collect();
                Some(format!("no process of the unit listens on {}", names.join(", ")))
            }
            Err(error) => Some(format!("its sockets cannot be seen: {error}")),
        }
    }

    fn launch_check(&mut self, id: ServiceId, role: Role) {
        // One that was given up may not have been reaped yet; the new one takes its place.
        if let Err(failure) = self.launch(id, role, ServiceResult::Success, None) {
            self.check_ended(id, role, Err(failure.message));
        }
    }

    /// A command that looks has ended, or could not be started.
    pub(super) fn check_ended(&mut self, id: ServiceId, role: Role, outcome: Result<Exit, String>) {
        let Some(service) = self.services.get_mut(&id) else { return };
        let failure = match outcome {
            Ok(Exit::Exited(0)) => None,
            Ok(exit) => Some(how(exit)),
            Err(message) => Some(message),
        };
        if role == Role::Health {
            if let Some(number) = service.check_number.take() {
                let failure = failure.map(|why| format!("health.command {why}"));
                self.events.push_back(Event::Checked { id, number, failure });
            }
            return;
        }
        if !service.watching_readiness {
            return;
        }
        service.ready_command_succeeded = failure.is_none();
        service.said.not_ready = failure.map(|why| format!("ready.command {why}"));
        let pause = if service.ready_command_succeeded { Duration::ZERO } else { READY_COMMAND_INTERVAL };
        self.after(pause, Timer::Readiness(id));
    }

    /// There is room for the next one.
    pub(super) fn check_gone(&mut self, id: ServiceId) {
        let waits = self.service(id).is_some_and(|service| service.watching_readiness);
        if waits && !self.is_set(Timer::Readiness(id)) {
            self.after(READY_COMMAND_INTERVAL, Timer::Readiness(id));
        }
    }

    /// Nobody waits for the answer any more.
    pub(super) fn abandon_check(&mut self, id: ServiceId) {
        let Some(service) = self.services.get_mut(&id) else { return };
        service.check_number = None;
        if let Some(check) = &mut service.check {
            check.failure_told = true;
            super::killing::end_command(check);
        }
    }
}

//! What a daemon writes down of each service for the next one.

use super::engine::{Engine, now};
use super::identity::ProcessIdentity;
use super::service::Process;
use super::state::{self, SavedState};
use crate::supervise::{ActiveState, Rest, ServiceId, SubState};

impl Engine {
    /// Writes down what the next daemon needs to know of a service.
    pub(super) fn persist(&mut self, id: ServiceId) {
        let (Some(service), Some(status)) = (self.service(id), self.supervisor.status(id)) else { return };
        if self.options.foreground {
            return;
        }
        let set = self.supervisor.set_status(id).and_then(|set| set.kept);
        let down = status.state == ActiveState::Inactive && service.emptied && set.is_none();
        if down && service.requested.is_empty() {
            let removed = state::remove(&self.options.runtime_dir, &service.name, service.group.as_ref(), now());
            if let Some(service) = self.services.get_mut(&id) {
                service.written.forget();
            }
            return self.state_done(id, removed);
        }
        let at_rest = status.state == ActiveState::Failed || status.next_restart_at.is_some();
        let starting = status.starting;
        // Its record is its own from here on.
        let begins = matches!(status.substate, SubState::StartPre | SubState::Start);
        // What has been killed is not waited for any more; why it had to be is known by the daemon that did it.
        let killed = status.substate == SubState::StopSigkill && !starting;
        let at_end = killed
            || matches!(
                status.substate,
                SubState::StopPost
                    | SubState::FinalSigkill
                    | SubState::OnExit
                    | SubState::OnRestart
                    | SubState::OnGiveUp
            )
            || (status.remains && status.state == ActiveState::Deactivating);
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
            launched: status.launched,
            restart_times: status.restart_times.clone(),
        };
        // That of the run before is none of this one.
        let main = service.main.as_deref().filter(|main| !(starting && main.exit.is_some()));
        let groupless = service.group.is_none();
        let saved = SavedState {
            unit: service.name.clone(),
            invocation_id: service.invocation.clone(),
            init: main.filter(|p| p.init).and_then(Process::init_identity),
            // Without a group nothing else would tell of one that is about to be executed.
            main: main.filter(|p| p.executed || (groupless && !p.init)).and_then(known_main),
            inner_pid: main.map_or(0, |p| p.inner_pid),
            // Also of one whose main process has ended, or that says that it is stopping.
            ready: matches!(status.state, ActiveState::Active | ActiveState::Reloading)
                || (status.state == ActiveState::Deactivating && status.was_ready),
            since: status.since.0,
            restarts: status.restarts,
            starting,
            record: (!starting || begins).then_some(service.record),
            said_ready: status.said_ready,
            restart_times: status.restart_times.clone(),
            stop_requested: status.stop_requested,
            restart_requested: status.restart_requested,
            rest: at_rest.then(|| rest.clone()),
            end: at_end.then_some(rest),
            descent: status.descent.clone().filter(|_| !at_end && !exited),
            exited,
            main_exit: status.main_exit.filter(|_| exited),
            listening: !starting
                && matches!(status.substate, SubState::Listening | SubState::Waiting)
                && (service.sockets.is_some() || service.timers.is_some()),
            connections: service.accepting.as_ref().map_or(0, |accepting| accepting.last),
            connection: service.connection.as_ref().map(|connection| connection.saved.clone()),
            watchdog_usec: status.watchdog.map(|interval| u64::try_from(interval.as_micros()).unwrap_or(u64::MAX)),
            oom_kills_before: service.oom_kills_before,
            init_outside: main.filter(|p| p.init).map(|p| p.init_outside),
            uid: service.last_uid.filter(|_| main.is_some()),
            exits: main.filter(|p| p.heard).map(|_| self.exits.inode()),
            log_pipe: main.and_then(|p| p.log_number),
            log_relayed: service.log.as_ref().is_some_and(|log| log.is_relayed()),
            log_suppressed: service.log.as_ref().map_or(0, |log| log.suppressed() - log.untold()),
            log_untold: service.log.as_ref().is_some_and(|log| log.untold() > 0),
            log_losing: service.log.as_ref().is_some_and(|log| log.is_losing()),
            notify_socket: main.and_then(|p| p.notify_number),
            requested: service.requested.clone(),
            // Also while it goes down: what is known of it then is known by the note alone.
            groupless: groupless && (self.tree.is_none() || main.is_some()),
            down,
            live: service.live.values.clone(),
            remembered: self.to_remember(id, &status),
            set,
            ..SavedState::new()
        };
        let Some(service) = self.services.get_mut(&id) else { return };
        let written = service.written.update(&self.options.runtime_dir, saved, service.group.as_ref(), now());
        self.state_done(id, written);
    }
}

/// Also one that has ended: what its PID 1 still looks after is not taken for it.
fn known_main(process: &Process) -> Option<ProcessIdentity> {
    match (process.main_identity(), &process.exit) {
        (None, Some(_)) => Some(ProcessIdentity { start_time: 0, pidfs: None, pid: process.main_pid() }),
        (known, _) => known,
    }
}

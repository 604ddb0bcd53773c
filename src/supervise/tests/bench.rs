//! A supervisor on the bench: events go in by hand, actions come out as short lines.

use crate::supervise::{
    Action, Adopted, Command, CommandOutcome, Event, Exit, LaunchFailure, Moment, Outcome, Policy, Removal, RequestId,
    Role, ServiceId, Status, Supervisor, Target,
};
use crate::unit::{KillMode, ReadyKind, RestartPolicy, RestartSettings, ServiceType, StatusSet};
use std::time::Duration;

pub const SECOND: Duration = Duration::from_secs(1);

/// The service of tests that have only one.
pub const WEB: ServiceId = ServiceId(1);

/// A policy with the defaults of the key table but for the jitter-free `delay` of a second.
pub fn policy(name: &str) -> Policy {
    Policy {
        name: name.to_owned(),
        kind: ServiceType::Exec,
        start_pre: Vec::new(),
        start_post: Vec::new(),
        reload: Vec::new(),
        reload_signal: None,
        stop: Vec::new(),
        stop_post: Vec::new(),
        stop_signal: 15,
        kill_mode: KillMode::ControlGroup,
        timeout_start: Some(90 * SECOND),
        timeout_stop: Some(90 * SECOND),
        ready_timeout: None,
        runtime_max: None,
        watchdog: None,
        health: None,
        remains: false,
        hooks: Vec::new(),
        hook_timeout: 30 * SECOND,
        success: StatusSet::default(),
        ready: ReadyKind::Executed,
        sockets: false,
        timers: false,
        on_demand: false,
        of_connection: false,
        restart: restart_settings(RestartPolicy::OnFailure),
        after: Vec::new(),
        before: Vec::new(),
        wants: Vec::new(),
        requires: Vec::new(),
        requisite: Vec::new(),
        binds_to: Vec::new(),
        part_of: Vec::new(),
        upholds: Vec::new(),
        conflicts: Vec::new(),
        conditional: false,
        replicas: None,
        on_failure: Vec::new(),
        on_success: Vec::new(),
    }
}

/// What the next daemon finds of a service that has been ready since then, and of which there is nothing else to tell.
pub fn running_since(since: Moment) -> Adopted {
    Adopted {
        ready: true,
        since,
        restarts: 0,
        stopping: false,
        watchdog: None,
        said_ready: false,
        restart_times: Vec::new(),
    }
}

/// That this was found.
pub fn adopted(id: ServiceId, found: Adopted) -> Event {
    let Adopted { ready, since, restarts, stopping, watchdog, said_ready, restart_times } = found;
    Event::Adopted { id, ready, since, restarts, stopping, watchdog, said_ready, restart_times }
}

pub fn restart_settings(policy: RestartPolicy) -> RestartSettings {
    RestartSettings {
        policy,
        delay: SECOND,
        backoff: 2.0,
        max_delay: 30 * SECOND,
        reset_after: 60 * SECOND,
        limit_burst: 0,
        limit_interval: 600 * SECOND,
        prevent_exit_status: StatusSet::default(),
        force_exit_status: StatusSet::default(),
    }
}

pub fn statuses(list: &[u8]) -> StatusSet {
    StatusSet { statuses: list.iter().copied().collect(), ..StatusSet::default() }
}

pub fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

pub fn commands(count: usize) -> Vec<Command> {
    vec![Command { ignore_failure: false }; count]
}

pub fn launch_failure() -> LaunchFailure {
    LaunchFailure { step: "EXEC".into(), code: 203, message: "exec /bin/nothing: no such file (ENOENT)".into() }
}

/// Supervisor and clock.
pub struct Bench {
    pub supervisor: Supervisor,
    pub now: Moment,
}

impl Bench {
    /// Defines the policies as services 1, 2, 3...
    pub fn new(policies: impl IntoIterator<Item = Policy>) -> Bench {
        let mut supervisor = Supervisor::new(7);
        for (index, policy) in (1..).zip(policies) {
            supervisor.define(ServiceId(index), policy);
        }
        Bench { supervisor, now: Moment(1_000_000_000) }
    }

    /// One service that has been started and reports nothing more; its `WEB` runs.
    pub fn running(policy: Policy) -> Bench {
        let mut bench = Bench::new([policy]);
        bench.start(WEB);
        bench.executed(WEB);
        bench
    }

    pub fn step(&mut self, event: Event) -> Vec<String> {
        lines(&self.supervisor.step(self.now, event))
    }

    /// Tells that a service was found, and that it was the only one.
    pub fn adopt(&mut self, adopted: Event) -> Vec<String> {
        let mut lines = self.step(adopted);
        lines.extend(self.step(Event::Surveyed));
        lines
    }

    pub fn wait(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }

    /// Jumps to the next deadline and delivers it.
    pub fn expire(&mut self) -> Vec<String> {
        let next = self.supervisor.next_deadline().expect("a deadline is set");
        self.now = self.now.max(next);
        self.step(Event::DeadlinePassed)
    }

    /// How far the next deadline is.
    pub fn until_deadline(&self) -> Option<Duration> {
        self.supervisor.next_deadline().map(|at| at.since(self.now))
    }

    pub fn status(&self, id: ServiceId) -> Status {
        self.supervisor.status(id).expect("the service is defined")
    }

    /// "state/sub-state" in systemd's words.
    pub fn state(&self, id: ServiceId) -> String {
        let status = self.status(id);
        let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let state = serde_json::to_value(status.state).map(word).unwrap_or_default();
        let substate = serde_json::to_value(status.substate).map(word).unwrap_or_default();
        format!("{state}/{substate}")
    }

    pub fn start(&mut self, id: ServiceId) -> Vec<String> {
        self.step(Event::StartRequested { id, request: None })
    }

    pub fn start_as(&mut self, id: ServiceId, request: u64) -> Vec<String> {
        self.step(Event::StartRequested { id, request: Some(RequestId(request)) })
    }

    pub fn stop(&mut self, id: ServiceId) -> Vec<String> {
        self.step(Event::StopRequested { id, request: None })
    }

    pub fn stop_as(&mut self, id: ServiceId, request: u64) -> Vec<String> {
        self.step(Event::StopRequested { id, request: Some(RequestId(request)) })
    }

    pub fn restart_as(&mut self, id: ServiceId, request: u64) -> Vec<String> {
        self.step(Event::RestartRequested { id, request: Some(RequestId(request)) })
    }

    pub fn reload_as(&mut self, id: ServiceId, request: u64) -> Vec<String> {
        self.step(Event::ReloadRequested { id, request: Some(RequestId(request)) })
    }

    pub fn executed(&mut self, id: ServiceId) -> Vec<String> {
        self.step(Event::Executed { id, role: Role::Main })
    }

    pub fn ready(&mut self, id: ServiceId) -> Vec<String> {
        self.step(Event::BecameReady { id })
    }

    pub fn exited(&mut self, id: ServiceId, exit: Exit) -> Vec<String> {
        self.step(Event::MainExited { id, exit, oom: false })
    }

    pub fn emptied(&mut self, id: ServiceId) -> Vec<String> {
        self.step(Event::CgroupEmptied { id })
    }

    /// The main process ends and was the last of its group.
    pub fn dies(&mut self, id: ServiceId, exit: Exit) -> Vec<String> {
        let mut lines = self.exited(id, exit);
        lines.extend(self.emptied(id));
        lines
    }

    pub fn launch_failed(&mut self, id: ServiceId) -> Vec<String> {
        self.step(Event::LaunchFailed { id, failure: launch_failure() })
    }

    pub fn ended(&mut self, id: ServiceId, role: Role, exit: Exit) -> Vec<String> {
        self.step(Event::CommandEnded { id, role, outcome: CommandOutcome::Exited(exit) })
    }
}

/// Actions as lines; the service is named only where it is not `WEB`.
fn lines(actions: &[Action]) -> Vec<String> {
    actions.iter().map(line).collect()
}

fn line(action: &Action) -> String {
    let of = |id: &ServiceId| if *id == WEB { String::new() } else { format!("{}: ", id.0) };
    match action {
        Action::Launch { id, role, .. } => format!("{}launch {role:?}", of(id)),
        Action::Signal { id, target: Target::Main, signal } => format!("{}signal main {signal}", of(id)),
        Action::Signal { id, target: Target::Control, signal } => format!("{}signal control {signal}", of(id)),
        Action::Signal { id, target: Target::All, signal } => format!("{}signal all {signal}", of(id)),
        Action::KillCgroup { id } => format!("{}kill", of(id)),
        Action::WatchReadiness { id } => format!("{}watch", of(id)),
        Action::UnwatchReadiness { id } => format!("{}unwatch", of(id)),
        Action::Listen { id } => format!("{}listen", of(id)),
        Action::Check { id, number } => format!("{}check {number}", of(id)),
        Action::AbandonCheck { id } => format!("{}abandon check", of(id)),
        Action::Remove { id, removal: Removal::AfterRun } => format!("{}remove after run", of(id)),
        Action::Remove { id, removal: Removal::AtStop } => format!("{}remove at stop", of(id)),
        Action::Examine { id } => format!("{}examine", of(id)),
        Action::StartUnit { id, name, links } => format!("{}start unit {name} ({links})", of(id)),
        Action::Reply { request, outcome: Outcome::Failed(cause) } => format!("reply {} failed {cause:?}", request.0),
        Action::Reply { request, outcome } => format!("reply {} {outcome:?}", request.0),
        Action::Record { id, note } => format!("{}note {note:?}", of(id)),
    }
}

/// Without the notes, where a test is about deeds.
pub fn deeds(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().filter(|line| !line.contains("note ")).collect()
}

/// Only the answers.
pub fn replies(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().filter(|line| line.starts_with("reply ")).collect()
}

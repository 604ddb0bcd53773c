//! The part of a unit that the state machine looks at.

use crate::unit::{Activation, HealthAction, Hook, KillMode, ReadyKind, RestartSettings, ServiceType, StatusSet, Unit};
use std::time::Duration;

/// One command around the main process, as far as the machine cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// `ignore_failure = true`.
    pub ignore_failure: bool,
}

/// `[health]`, as far as the machine cares: what is looked at is the daemon's business.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthPolicy {
    /// From the end of one check to the begin of the next.
    pub interval: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// Failed checks in a row that count, at least 1.
    pub retries: u32,
    /// So long after the start failures do not count, unless it has been well before.
    pub start_period: Duration,
    /// What to do then.
    pub action: HealthAction,
}

/// How one service is to be treated. A change takes effect at the next start.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Unit name. Whoever keeps policies keeps names apart, so that units that are treated alike can share one.
    pub name: String,
    /// `service.type`.
    pub kind: ServiceType,
    /// Commands before.
    pub start_pre: Vec<Command>,
    /// Commands after readiness.
    pub start_post: Vec<Command>,
    /// Reload commands.
    pub reload: Vec<Command>,
    /// `service.reload_signal`, number.
    pub reload_signal: Option<i32>,
    /// Stop commands.
    pub stop: Vec<Command>,
    /// Commands after the end.
    pub stop_post: Vec<Command>,
    /// Number of `service.stop_signal`.
    pub stop_signal: i32,
    /// `service.kill_mode`.
    pub kill_mode: KillMode,
    /// `None` is infinity.
    pub timeout_start: Option<Duration>,
    /// One budget for the whole stop; `None` is infinity.
    pub timeout_stop: Option<Duration>,
    /// `ready.timeout`; `None`: `timeout_start` alone counts.
    pub ready_timeout: Option<Duration>,
    /// `service.runtime_max`; `None` is infinity.
    pub runtime_max: Option<Duration>,
    /// `service.watchdog`; `None`: it need not say that it lives.
    pub watchdog: Option<Duration>,
    /// `[health]`; `None`: it is not asked.
    pub health: Option<HealthPolicy>,
    /// `service.remain_after_exit`
    pub remains: bool,
    /// Those of `[hooks]` that have a command.
    pub hooks: Vec<Hook>,
    /// How long each may take.
    pub hook_timeout: Duration,
    /// Statuses and signals that count as success besides the usual.
    pub success: StatusSet,
    /// What makes it ready.
    pub ready: ReadyKind,
    /// It has `[[sockets]]`.
    pub sockets: bool,
    /// It has `[[timers]]`.
    pub timers: bool,
    /// `service.activation = "on-demand"`: a start only listens.
    pub on_demand: bool,
    /// It serves one connection, which no second run would have: a restart only stops it.
    pub of_connection: bool,
    /// All of `[restart]`.
    pub restart: RestartSettings,
    /// `unit.after`, with what `unit.default_order` adds.
    pub after: Vec<String>,
    /// `unit.before`.
    pub before: Vec<String>,
    /// `unit.wants`.
    pub wants: Vec<String>,
    /// `unit.requires`.
    pub requires: Vec<String>,
    /// `unit.requisite`.
    pub requisite: Vec<String>,
    /// `unit.binds_to`.
    pub binds_to: Vec<String>,
    /// `unit.part_of`.
    pub part_of: Vec<String>,
    /// `unit.upholds`.
    pub upholds: Vec<String>,
    /// `unit.conflicts`.
    pub conflicts: Vec<String>,
    /// It has conditions or asserts.
    pub conditional: bool,
    /// This is a set: the number of its replicas unless it is scaled. It has no process of its own, and the rest of
    /// this says nothing but `restart`, for those who keep the set up.
    pub replicas: Option<u32>,
    /// `unit.on_failure`.
    pub on_failure: Vec<String>,
    /// `unit.on_success`.
    pub on_success: Vec<String>,
}

impl Policy {
    /// The set of `number` replicas of which this is the policy of one.
    pub fn into_set(mut self, name: &str, number: u32) -> Policy {
        for list in self.relations_mut() {
            list.clear();
        }
        Policy {
            name: name.to_owned(),
            replicas: Some(number),
            kind: ServiceType::Exec,
            ready: ReadyKind::Executed,
            sockets: false,
            timers: false,
            on_demand: false,
            conditional: false,
            ..self
        }
    }

    /// Units that a start brings along.
    pub fn pulled_in(&self) -> impl Iterator<Item = &String> {
        self.requires.iter().chain(&self.binds_to).chain(&self.wants).chain(&self.upholds)
    }

    /// Units without which this one does not start.
    pub fn needed(&self) -> impl Iterator<Item = &String> {
        self.requires.iter().chain(&self.binds_to).chain(&self.requisite)
    }

    /// Units that have to exist.
    pub fn named_for_good(&self) -> impl Iterator<Item = &String> {
        self.needed().chain(&self.part_of)
    }

    /// Every list of units, so that names can be replaced.
    pub fn relations_mut(&mut self) -> [&mut Vec<String>; 11] {
        [
            &mut self.after,
            &mut self.before,
            &mut self.wants,
            &mut self.requires,
            &mut self.requisite,
            &mut self.binds_to,
            &mut self.part_of,
            &mut self.upholds,
            &mut self.conflicts,
            &mut self.on_failure,
            &mut self.on_success,
        ]
    }
}

impl From<&Unit> for Policy {
    fn from(unit: &Unit) -> Policy {
        let commands = |list: &[crate::unit::ExecCommand]| {
            list.iter().map(|c| Command { ignore_failure: c.ignore_failure }).collect::<Vec<_>>()
        };
        let service = &unit.service;
        Policy {
            name: unit.name.clone(),
            kind: service.kind,
            start_pre: commands(&service.exec_start_pre),
            start_post: commands(&service.exec_start_post),
            reload: commands(&service.exec_reload),
            reload_signal: service.reload_signal.map(|s| s.number()),
            stop: commands(&service.exec_stop),
            stop_post: commands(&service.exec_stop_post),
            stop_signal: service.stop_signal.number(),
            kill_mode: service.kill_mode,
            timeout_start: service.timeout_start,
            timeout_stop: service.timeout_stop,
            ready_timeout: unit.ready.timeout,
            runtime_max: service.runtime_max,
            watchdog: service.watchdog,
            health: unit.health.as_ref().map(|health| HealthPolicy {
                interval: health.interval,
                timeout: health.timeout,
                retries: health.retries,
                start_period: health.start_period,
                action: health.action,
            }),
            remains: service.remain_after_exit,
            hooks: unit.hooks.present().collect(),
            hook_timeout: unit.hooks.timeout,
            success: service.success_exit_status.clone(),
            ready: unit.ready_kind(),
            sockets: !unit.sockets.is_empty(),
            timers: !unit.timers.is_empty(),
            on_demand: service.activation == Activation::OnDemand,
            of_connection: unit.connection_of.is_some(),
            restart: (*unit.restart).clone(),
            after: unit.unit.effective_after(),
            before: unit.unit.before.clone(),
            wants: unit.unit.wants.clone(),
            requires: unit.unit.requires.clone(),
            requisite: unit.unit.requisite.clone(),
            binds_to: unit.unit.binds_to.clone(),
            part_of: unit.unit.part_of.clone(),
            upholds: unit.unit.upholds.clone(),
            conflicts: unit.unit.conflicts.clone(),
            conditional: !(unit.unit.condition.is_empty() && unit.unit.assert.is_empty()),
            replicas: None,
            on_failure: unit.unit.on_failure.clone(),
            on_success: unit.unit.on_success.clone(),
        }
    }
}

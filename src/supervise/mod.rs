//! What should happen next: the heart of the daemon, as a function.
//!
//! [`Supervisor::step`] is told what happened and when, and answers with what should be done. It never blocks, never
//! fails, never reads a clock, touches no kernel, and knows pids and descriptors only as labels that others hold.
#![forbid(unsafe_code)]

mod event;
mod policy;

pub use event::{
    Action, Cause, CommandOutcome, Event, Exit, LaunchFailure, Moment, Note, Outcome, Removal, RequestId, Role,
    ServiceId, ServiceResult, Target,
};
pub use policy::{Command, Policy};

mod status;
pub use status::{ActiveState, Status, SubState};

use std::collections::BTreeMap;

/// All services and their relations.
#[derive(Debug, Default)]
pub struct Supervisor {
    services: BTreeMap<ServiceId, ()>,
}

impl Supervisor {
    /// An empty supervisor; `seed` feeds the jitter of restart delays.
    pub fn new(_seed: u64) -> Supervisor {
        Supervisor::default()
    }

    /// Adds a service, or replaces its policy (which takes effect at the next start; names in `after`, `wants`... are
    /// resolved among the defined services at that time).
    pub fn define(&mut self, _id: ServiceId, _policy: Policy) {
        unimplemented!()
    }

    /// Forgets a service that is down; `false` (and nothing done) when it is not.
    pub fn forget(&mut self, _id: ServiceId) -> bool {
        unimplemented!()
    }

    /// Names that a start of `id` would pull in (`wants`, `requires`, recursively) and that are not defined yet, so
    /// that the daemon can load them before it passes `StartRequested` on.
    pub fn missing_for_start(&self, _id: ServiceId) -> Vec<String> {
        unimplemented!()
    }

    /// Advances the machine. Never blocks, never fails, never reads a clock.
    pub fn step(&mut self, _now: Moment, _event: Event) -> Vec<Action> {
        unimplemented!()
    }

    /// The earliest moment at which `DeadlinePassed` should be delivered, if any.
    pub fn next_deadline(&self) -> Option<Moment> {
        unimplemented!()
    }

    /// Snapshot of one service.
    pub fn status(&self, _id: ServiceId) -> Option<Status> {
        unimplemented!()
    }
}

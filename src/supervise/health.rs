//! `[health]`: asks a service that is up at intervals whether it is well, and acts when it is not.
//!
//! ```text
//!                 well                      `retries` failures in a row
//!   Starting ───────────▶ Healthy ◀────────────────────────┐
//!      │                     └──────────────▶ Unhealthy ───┘ well (action log)
//!      └── `retries` failures after start_period ──▶  │
//!                                                     └─ action restart, stop: the run ends in good order
//! ```
//!
//! The first question is asked as soon as the service is up. One is asked at a time, the next `interval` after the
//! answer; an answer that does not come within `timeout` is a failure. What is asked, and how, the daemon knows.

use super::run::{After, Flow, Live};
use super::{Action, Cause, Health, HealthPolicy, HealthState, Moment, Note, ServiceResult};
use crate::unit::HealthAction;

/// The questions of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checks {
    /// When the next one is asked; while one is open, when its time is over.
    pub due: Moment,
    /// One has been asked and not been answered.
    pub is_open: bool,
    /// Number of the last one.
    number: u32,
    state: HealthState,
    /// Failures in a row.
    failures: u32,
    /// Why the last one failed.
    why: Option<String>,
    /// Failures before this do not count, unless it has been well.
    counts_from: Moment,
}

impl Checks {
    /// The service has been up since then; the first question is due at once.
    pub fn begin(policy: &HealthPolicy, since: Moment, now: Moment) -> Checks {
        Checks {
            due: now,
            is_open: false,
            number: 0,
            state: HealthState::Starting,
            failures: 0,
            why: None,
            counts_from: since.after(policy.start_period),
        }
    }

    pub fn health(&self) -> Health {
        Health { state: self.state, failures: self.failures, why: self.why.clone() }
    }
}

impl Live<'_, '_> {
    /// It is time for the next question, or too late for an answer.
    pub fn check_due(&mut self) -> Flow {
        let (Some(checks), Some(policy)) = (&mut self.run.checks, &self.policy.health) else { return Flow::Goes };
        if checks.is_open {
            let why = format!("no answer within {}", crate::unit::TimeSpan(Some(policy.timeout)));
            let number = checks.number;
            self.act(Action::AbandonCheck { id: self.id });
            return self.checked(number, Some(why));
        }
        checks.is_open = true;
        checks.number = checks.number.wrapping_add(1);
        checks.due = self.turn.now.after(policy.timeout);
        let number = checks.number;
        self.act(Action::Check { id: self.id, number });
        Flow::Goes
    }

    /// An answer.
    pub fn checked(&mut self, number: u32, failure: Option<String>) -> Flow {
        let (Some(checks), Some(policy)) = (&mut self.run.checks, &self.policy.health) else { return Flow::Goes };
        if !checks.is_open || checks.number != number {
            // Too late, or to a question of an earlier run.
            return Flow::Goes;
        }
        checks.is_open = false;
        checks.due = self.turn.now.after(policy.interval);
        checks.why.clone_from(&failure);
        let Some(why) = failure else {
            checks.failures = 0;
            if checks.state != HealthState::Healthy {
                checks.state = HealthState::Healthy;
                self.record(Note::Healthy);
            }
            return Flow::Goes;
        };
        if checks.state == HealthState::Starting && self.turn.now < checks.counts_from {
            return Flow::Goes;
        }
        checks.failures = checks.failures.saturating_add(1);
        if checks.failures < policy.retries || checks.state == HealthState::Unhealthy {
            return Flow::Goes;
        }
        checks.state = HealthState::Unhealthy;
        let cause = Cause::Unhealthy { failures: checks.failures, why };
        self.record(Note::Unhealthy(cause.clone()));
        self.act_on_ill_health(policy.action, cause)
    }

    fn act_on_ill_health(&mut self, action: HealthAction, cause: Cause) -> Flow {
        self.run.after = match action {
            HealthAction::Log => return Flow::Goes,
            HealthAction::Restart => After::Restart,
            HealthAction::Stop => After::Rest,
        };
        self.fail(ServiceResult::Watchdog, cause);
        self.run.ended.get_or_insert(self.turn.now);
        self.leave()
    }
}

//! What a service is when a run is over: it starts again, listens, or rests.

use super::hooks::{Follows, Verdict};
use super::run::{After, Stop};
use super::service::{Examination, Last, Pulse, Service, State, Turn};
use super::waiters::answer;
use super::{Cause, Note, Outcome, Removal, ServiceResult};

impl Service {
    /// Leaves the run, which has no hook any more.
    pub fn finish(&mut self, turn: &mut Turn) {
        let State::Up(run) = std::mem::replace(&mut self.state, State::Down) else { return };
        let cause = run.cause.clone();
        let hook_failure = run.epilogue.failure;
        self.last = Last { result: run.result, cause: run.cause, main_exit: run.main_exit, hook_failure };
        if let (Some(unit), false) = (run.fallen_with, run.then_start) {
            self.last.result = ServiceResult::Resources;
            self.last.cause = Some(Cause::Bound { unit });
        }
        let follows = match run.epilogue.verdict.map(|verdict| *verdict) {
            Some(Verdict { follows, restarts }) => {
                self.restarts = restarts;
                follows
            }
            None => Follows::Nothing,
        };
        if run.started.is_none() {
            let outcome = cause.map_or(Outcome::Cancelled, Outcome::Failed);
            self.waiters.answer_starts(turn, outcome);
        }
        if run.then_start {
            self.remove(turn, Removal::AfterRun);
            self.record(turn, Note::Stopped);
            self.waiters.next_starts_begin();
            if !run.resumed {
                self.restarts.forget();
            }
            // Who asks for a restart wants to see it run.
            self.triggered = true;
            self.state = State::Waiting { automatic: false, examination: Examination::NotYet };
            turn.pulse(self.id, Pulse::WantsStart);
        } else {
            if run.started.is_none() {
                turn.pulse(self.id, Pulse::NotStarted);
            }
            match (run.stop, &self.last.cause) {
                (Stop::No, _) => self.restart_or_rest(turn, run.after, follows),
                (Stop::Queued | Stop::Granted, Some(Cause::Bound { .. })) => self.rest(turn, false),
                (Stop::Queued | Stop::Granted, _) => self.rest(turn, true),
            }
        }
        // After `NotStarted`: those that need this one are refused before those that only come after it go on. Before
        // `RestartDue`: a service that fails again and again at once must not keep others waiting for ever.
        turn.pulse(self.id, Pulse::Gone);
        if self.deadline().is_some_and(|until| until <= turn.now) {
            turn.pulse(self.id, Pulse::RestartDue);
        }
        answer(&mut self.waiters.stops, turn, Outcome::Done);
    }

    /// Nobody asked for this end: what was decided when it came.
    fn restart_or_rest(&mut self, turn: &mut Turn, after: After, follows: Follows) {
        match follows {
            Follows::Nothing if after == After::Rest => self.rest(turn, false),
            Follows::Nothing => self.rest_or_listen(turn),
            Follows::Limit => {
                self.last.result = ServiceResult::StartLimitHit;
                self.last.cause = Some(Cause::StartLimit);
                self.rest_or_listen(turn);
            }
            Follows::Restart(at) => {
                self.remove(turn, Removal::AfterRun);
                self.state = State::Backoff { until: at, upheld: false };
                self.record(turn, Note::RestartScheduled { at, restarts: self.restarts.count });
            }
        }
    }

    /// The run is not followed by another one of itself.
    fn rest_or_listen(&mut self, turn: &mut Turn) {
        match (self.last.result, &self.last.cause) {
            (ServiceResult::Success, _) | (_, None) if self.policy.on_demand => {}
            // A job that failed tonight is due tomorrow all the same.
            (_, Some(cause)) if self.policy.on_demand && self.policy.timers => {
                self.record(turn, Note::Failed(cause.clone()));
            }
            _ => return self.rest(turn, false),
        }
        self.listen_again(turn);
        turn.pulse(self.id, Pulse::Rested { asked: false });
    }

    /// Down for good. A failure stays visible, also when a stop was asked for.
    fn rest(&mut self, turn: &mut Turn, asked: bool) {
        self.triggered = false;
        self.remove(turn, Removal::AtStop);
        self.settle_down(turn);
        turn.pulse(self.id, Pulse::Rested { asked });
    }

    /// Rests as the last run left it.
    pub fn settle_down(&mut self, turn: &mut Turn) {
        match (self.last.result, &self.last.cause) {
            (ServiceResult::Success, _) | (_, None | Some(Cause::Condition { .. })) => {
                self.state = State::Down;
                self.record(turn, Note::Stopped);
            }
            (_, Some(cause)) => {
                self.record(turn, Note::Failed(cause.clone()));
                self.state = State::Failed { wanted: is_want_of_another(cause) };
            }
        }
    }
}

/// Did it fail for want of a unit that may still come up?
pub(super) fn is_want_of_another(cause: &Cause) -> bool {
    matches!(cause, Cause::Dependency { .. } | Cause::NotUp { .. } | Cause::Bound { .. })
}

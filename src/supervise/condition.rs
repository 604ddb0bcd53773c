//! Conditions and asserts: looked at by the daemon when the unit's turn has come, after what it needs is there.
//!
//! An unmet condition skips the start: the unit is down, nothing has failed, and those that need it go on as after a
//! start that ended well. An unmet assert fails the start; it is not tried again.

use super::service::{Examination, Last, Pulse, Service, State, Turn};
use super::{Action, Cause, Note, Outcome, Removal, ServiceResult, Unmet};

impl Service {
    /// Asks the daemon if that has not been done, and says whether its answer is still to come.
    pub fn is_yet_to_be_examined(&mut self, turn: &mut Turn) -> bool {
        // Of a unit that is started on demand each run is examined, not the listening.
        let listens = self.listens_first();
        let State::Waiting { examination, .. } = &mut self.state else { return false };
        if !self.policy.conditional || *examination == Examination::Passed || listens {
            return false;
        }
        if *examination == Examination::NotYet {
            *examination = Examination::UnderWay;
            turn.actions.push(Action::Examine { id: self.id });
        }
        true
    }

    /// The answer. Says whether the start goes on.
    pub fn examined(&mut self, turn: &mut Turn, unmet: Option<Unmet>) -> bool {
        match &mut self.state {
            State::Waiting { examination, .. } if *examination == Examination::UnderWay => match unmet {
                None => {
                    *examination = Examination::Passed;
                    true
                }
                Some(Unmet { what, assert: true }) => {
                    self.refuse(turn, Cause::Assert { what });
                    false
                }
                Some(Unmet { what, assert: false }) => {
                    self.skip(turn, what);
                    false
                }
            },
            // Stopped meanwhile; or a second answer to what was asked twice.
            State::Waiting { .. }
            | State::Down
            | State::Failed { .. }
            | State::Backoff { .. }
            | State::Listening { .. }
            | State::Keeping(_)
            | State::Up(_) => false,
        }
    }

    fn skip(&mut self, turn: &mut Turn, what: String) {
        let cause = Cause::Condition { what: what.clone() };
        self.waiters.answer_starts(turn, Outcome::Skipped(cause.clone()));
        self.last = Last { result: ServiceResult::ExecCondition, cause: Some(cause), ..Last::default() };
        self.record(turn, Note::Skipped(what));
        if self.policy.on_demand && std::mem::take(&mut self.triggered) {
            self.listen_again(turn);
        } else {
            self.triggered = false;
            self.state = State::Down;
            self.remove(turn, Removal::AtStop);
        }
        // Not `NotStarted`: whoever needs it is not to blame for a condition of its.
        turn.pulse(self.id, Pulse::Gone);
        turn.pulse(self.id, Pulse::Rested { asked: true });
    }
}

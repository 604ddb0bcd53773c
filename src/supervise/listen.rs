//! Units that are started on demand: their sockets are open, and what arrives there starts them; or the clock does.
//!
//! ```text
//!  start ──▶ Listening ── something arrives ──▶ Waiting ──▶ Up ── ended well ──▶ Listening
//!                │  ▲                                        │
//!           stop ▼  └── start, restart                       └── failed: as every unit; the sockets stay open while
//!              Down                                              it waits for its next attempt, and are closed when
//!                                                                it has failed for good
//! ```
//!
//! A unit with timers listens again after a failure, too: its next time comes whatever became of this one.
//!
//! Each start on demand counts its automatic restarts anew.
//!
//! A program that ends well and leaves the connection in the queue would be started again at once, for ever: more than
//! [`TRIGGERS`] starts within [`TRIGGER_INTERVAL`] fail the unit, and its clients are refused instead of kept waiting.

use super::run::Fact;
use super::service::{Examination, Last, Pulse, Service, State, Turn};
use super::waiters::answer;
use super::{Action, Cause, LaunchFailure, Note, Outcome, Removal, RequestId, ServiceResult, SubState};
use std::time::Duration;

/// Starts on demand within [`TRIGGER_INTERVAL`]. Source: TriggerLimitBurst= in systemd.socket(5).
pub(super) const TRIGGERS: usize = 20;
/// See [`TRIGGERS`].
pub(super) const TRIGGER_INTERVAL: Duration = Duration::from_secs(2);

impl Service {
    /// Does a start of this unit, now, only listen?
    pub fn listens_first(&self) -> bool {
        self.policy.on_demand && !self.triggered
    }

    /// systemd's words for a socket and for a timer.
    pub fn listening_word(&self) -> SubState {
        if self.policy.sockets { SubState::Listening } else { SubState::Waiting }
    }

    /// Orders the sockets to be opened and the timers to be armed; who asked for a start is answered when they are.
    pub fn listen(&mut self, turn: &mut Turn) {
        self.state = State::Listening { open: false };
        turn.actions.push(Action::Listen { id: self.id });
    }

    /// After a run that has no other one after it. The sockets are open.
    pub fn listen_again(&mut self, turn: &mut Turn) {
        self.remove(turn, Removal::AfterRun);
        self.restarts.forget();
        self.listen(turn);
    }

    /// A restart of a unit that listens: with the definition that is in force now. Says whether it is to be started
    /// like any other unit, as it is not started on demand any more.
    pub fn listen_anew(&mut self, turn: &mut Turn, request: Option<RequestId>) -> bool {
        self.waiters.starts.extend(request);
        if self.policy.on_demand {
            self.listen(turn);
            return false;
        }
        self.state = State::Waiting { automatic: false, examination: Examination::NotYet };
        true
    }

    /// Takes in a fact while it listens.
    pub fn learn_listening(&mut self, turn: &mut Turn, fact: Fact) {
        let State::Listening { open } = self.state else { return };
        match fact {
            Fact::SocketsOpened if !open => {
                self.state = State::Listening { open: true };
                self.record(turn, Note::Listening);
                self.waiters.answer_starts(turn, Outcome::Done);
                turn.pulse(self.id, Pulse::Started);
            }
            Fact::SocketsFailed(failure) => self.sockets_failed(turn, failure),
            Fact::Triggered if open => self.triggered(turn),
            // Said twice; of sockets that have been asked for anew; or a late report of the run that is over.
            Fact::SocketsOpened
            | Fact::Triggered
            | Fact::Executed(_)
            | Fact::LaunchFailed(_)
            | Fact::MainExited { .. }
            | Fact::CommandEnded { .. }
            | Fact::CgroupEmptied
            | Fact::BecameReady
            | Fact::Reloading { .. }
            | Fact::Stopping
            | Fact::StatusText(_)
            | Fact::Said(_)
            | Fact::Checked { .. }
            | Fact::LaunchWaits
            | Fact::LaunchBegins
            | Fact::DeadlinePassed => {}
        }
    }

    fn triggered(&mut self, turn: &mut Turn) {
        self.triggers.push_back(turn.now);
        self.triggers.retain(|at| turn.now.since(*at) < TRIGGER_INTERVAL);
        if self.triggers.len() > TRIGGERS {
            self.triggers.clear();
            return self.give_up_listening(turn, ServiceResult::StartLimitHit, Cause::TriggerLimit);
        }
        self.record(turn, Note::Triggered);
        self.triggered = true;
        self.state = State::Waiting { automatic: false, examination: Examination::NotYet };
        turn.pulse(self.id, Pulse::WantsStart);
    }

    fn sockets_failed(&mut self, turn: &mut Turn, failure: LaunchFailure) {
        self.give_up_listening(turn, ServiceResult::Resources, Cause::Launch(failure.into()));
    }

    fn give_up_listening(&mut self, turn: &mut Turn, result: ServiceResult, cause: Cause) {
        answer(&mut self.waiters.starts, turn, Outcome::Failed(cause.clone()));
        self.remove(turn, Removal::AtStop);
        self.last = Last { result, cause: Some(cause.clone()), ..Last::default() };
        self.state = State::Failed { wanted: false };
        self.record(turn, Note::Failed(cause));
        turn.pulse(self.id, Pulse::NotStarted);
        turn.pulse(self.id, Pulse::Rested { asked: false });
    }
}

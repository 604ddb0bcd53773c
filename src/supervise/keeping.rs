//! One set of replicas while it is not down: its phases, what it waits for, what people see. How it deals with its
//! replicas is in `replicas`.

use super::replicas::KeptSet;
use super::roll::Roll;
use super::service::{Examination, Last, Pulse, Service, State, Turn};
use super::waiters::answer;
use super::{ActiveState, Cause, Note, Outcome, RequestId, SubState};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of a set while it is not down.
#[derive(Debug)]
pub(super) struct Keeping {
    pub phase: Phase,
    /// Its start has neither succeeded as a whole nor failed in part.
    pub pending: bool,
    /// Replicas that are not started again by themselves.
    pub held: BTreeSet<u32>,
    pub jobs: Vec<Job>,
    pub roll: Option<Roll>,
    /// Requests to stop that are not answered, once they have been made. (A replica that somebody starts again meanwhile
    /// is not waited for.)
    pub leaving: Option<BTreeSet<RequestId>>,
    /// A start was wished for during the stop.
    pub then_start: bool,
    /// What people see.
    pub state: ActiveState,
    pub ready: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not all were ready yet.
    Starting,
    /// All have been ready.
    Kept,
    /// Units that are ordered after it stop first.
    StopQueued,
    /// Its replicas are being stopped.
    Dissolving,
}

/// People who wait for answers of several replicas.
#[derive(Debug, Default)]
pub(super) struct Job {
    pub requests: Vec<RequestId>,
    /// Request to a replica → its name.
    pub open: BTreeMap<RequestId, String>,
    pub failed: Vec<(String, Cause)>,
    /// The first answer of these kinds.
    pub skipped: Option<Cause>,
    pub otherwise: Option<Outcome>,
}

impl Job {
    /// What the people are told.
    pub fn outcome(self) -> (Vec<RequestId>, Outcome) {
        let outcome = match (self.failed.is_empty(), self.otherwise, self.skipped) {
            (false, ..) => Outcome::Failed(Cause::Replicas { failed: self.failed }),
            (true, Some(otherwise), _) => otherwise,
            (true, None, Some(cause)) => Outcome::Skipped(cause),
            (true, None, None) => Outcome::Done,
        };
        (self.requests, outcome)
    }
}

impl Keeping {
    pub fn new(phase: Phase) -> Keeping {
        Keeping {
            phase,
            pending: phase == Phase::Starting,
            held: BTreeSet::new(),
            jobs: Vec::new(),
            roll: None,
            leaving: None,
            then_start: false,
            state: ActiveState::Activating,
            ready: 0,
        }
    }

    /// Units that are ordered after it wait.
    pub fn is_start_pending(&self) -> bool {
        self.pending || self.then_start
    }

    /// All have been ready, one still is, and nobody has asked for the end.
    pub fn is_serving(&self) -> bool {
        self.phase == Phase::Kept && self.state == ActiveState::Active
    }

    /// Its start did not succeed as a whole, or nothing is left of it, up to now.
    pub fn has_failed(&self) -> bool {
        !self.is_serving() && !self.is_start_pending() && !self.is_stop_pending()
    }

    /// Somebody asked for its end.
    pub fn is_stop_pending(&self) -> bool {
        matches!(self.phase, Phase::StopQueued | Phase::Dissolving)
    }

    /// The same, and nothing has been done about it yet.
    pub fn is_stop_queued(&self) -> bool {
        self.phase == Phase::StopQueued
    }

    /// systemd's words.
    pub fn shown(&self) -> (ActiveState, SubState) {
        match self.state {
            ActiveState::Active => (self.state, SubState::Running),
            ActiveState::Failed => (self.state, SubState::Failed),
            ActiveState::Deactivating => (self.state, SubState::Stop),
            ActiveState::Inactive => (self.state, SubState::Dead),
            ActiveState::Activating | ActiveState::Reloading => (ActiveState::Activating, SubState::Start),
        }
    }

    /// Nobody waits for this any more.
    pub fn forget(&mut self, request: RequestId) {
        let rolls = self.roll.iter_mut().map(|roll| &mut roll.requests);
        for requests in self.jobs.iter_mut().map(|job| &mut job.requests).chain(rolls) {
            requests.retain(|waiting| *waiting != request);
        }
    }

    /// Somebody's wish for its end. Says whether it is now to be stopped when its turn comes.
    pub fn wish_stop(&mut self, turn: &mut Turn) -> bool {
        self.then_start = false;
        self.drop_roll(turn);
        for request in std::mem::take(&mut self.jobs).into_iter().flat_map(|job| job.requests) {
            turn.reply(request, Outcome::Cancelled);
        }
        let is_new = !self.is_stop_pending();
        if is_new {
            self.phase = Phase::StopQueued;
            self.state = ActiveState::Deactivating;
        }
        is_new
    }

    /// Ends the roll without a failure: whoever waits for it is overtaken.
    pub fn drop_roll(&mut self, turn: &mut Turn) {
        for request in self.roll.take().into_iter().flat_map(|roll| roll.requests) {
            turn.reply(request, Outcome::Cancelled);
        }
    }
}

impl Service {
    /// As a set that is not down.
    pub fn kept(&self) -> Option<&Keeping> {
        match &self.state {
            State::Keeping(set) => Some(set),
            _ => None,
        }
    }

    pub fn kept_mut(&mut self) -> Option<&mut Keeping> {
        match &mut self.state {
            State::Keeping(set) => Some(set),
            _ => None,
        }
    }

    /// Of a set: how many replicas are to be up.
    pub fn desired(&self) -> u32 {
        self.scaled.or(self.policy.replicas).unwrap_or(0)
    }

    pub fn begin_keeping(&mut self, turn: &mut Turn) {
        self.last = Last::default();
        self.state = State::Keeping(Box::new(Keeping::new(Phase::Starting)));
        self.record(turn, Note::Starting { restarts: self.restarts.count });
        turn.pulse(self.id, Pulse::Keep);
    }

    /// Begins the stop of a set that was wished for; `false` when this is none.
    pub fn begin_dissolving(&mut self, turn: &mut Turn) -> bool {
        let Some(set) = self.kept_mut() else { return false };
        if set.phase == Phase::StopQueued {
            set.phase = Phase::Dissolving;
            self.record(turn, Note::Stopping);
            turn.pulse(self.id, Pulse::Dissolve);
        }
        true
    }

    /// Goes on as a former daemon left it.
    pub fn remember_set(&mut self, kept: KeptSet) {
        if self.policy.replicas.is_none() || !self.is_at_rest() {
            return; // What this daemon knows by itself is newer.
        }
        let phase = if kept.ready { Phase::Kept } else { Phase::Starting };
        self.scaled = kept.scaled;
        let roll = kept.roll.map(Roll::remembered);
        self.state = State::Keeping(Box::new(Keeping { held: kept.held, roll, ..Keeping::new(phase) }));
    }

    /// All of its replicas are down.
    pub fn end_keeping(&mut self, turn: &mut Turn) {
        let then_start = self.kept().is_some_and(|set| set.then_start);
        let pending = self.kept().is_some_and(|set| set.pending);
        self.state = State::Down;
        self.record(turn, Note::Stopped);
        if then_start {
            self.waiters.next_starts_begin();
            self.state = State::Waiting { automatic: false, examination: Examination::NotYet };
            turn.pulse(self.id, Pulse::WantsStart);
        } else {
            if pending {
                turn.pulse(self.id, Pulse::NotStarted);
            }
            turn.pulse(self.id, Pulse::Rested { asked: true });
        }
        turn.pulse(self.id, Pulse::Gone);
        answer(&mut self.waiters.stops, turn, Outcome::Done);
    }
}

/// How the replicas of a set stand that are to be up.
#[derive(Debug, Default)]
pub(super) struct Count {
    /// To be up, and not held.
    pub wanted: u32,
    pub ready: u32,
    /// On their way, or to be tried again.
    pub coming: u32,
    pub failed: Vec<(String, Cause)>,
}

impl Service {
    /// Takes in how the replicas stand: what people see, and who may go on that waits for the set.
    pub fn take_count(&mut self, turn: &mut Turn, count: Count) {
        let number = self.desired();
        let Some(set) = self.kept_mut() else { return };
        if set.is_stop_pending() {
            return;
        }
        let before = (set.state, set.ready);
        let was_serving = set.is_serving();
        let mut notes = Vec::new();
        let mut pulse = None;
        let nobody_is_wanted = count.wanted == 0 && number > 0;
        if set.phase != Phase::Kept && count.ready >= count.wanted && !nobody_is_wanted {
            set.phase = Phase::Kept;
            set.pending = false;
            notes.push(Note::Started);
        } else if set.pending && (!count.failed.is_empty() || nobody_is_wanted) {
            set.pending = false;
            notes.push(Note::Incomplete(Cause::Replicas { failed: count.failed }));
            pulse = Some(Pulse::NotStarted);
        }
        set.ready = count.ready;
        set.state = match (count.ready, count.coming) {
            _ if set.phase == Phase::Kept && (count.ready > 0 || number == 0) => ActiveState::Active,
            _ if nobody_is_wanted => ActiveState::Inactive,
            (0, 0) => ActiveState::Failed,
            (ready, coming) if coming > ready || set.pending => ActiveState::Activating,
            _ => ActiveState::Active,
        };
        if set.is_serving() && !was_serving {
            pulse = Some(Pulse::Started);
        }
        if before != (set.state, set.ready) {
            notes.push(Note::Replicas { ready: count.ready, number });
        }
        notes.into_iter().for_each(|note| self.record(turn, note));
        if let Some(pulse) = pulse {
            turn.pulse(self.id, pulse);
        }
    }
}

//! One service: what it is when no run exists, what people wait for, and how it starts. What follows the end of
//! a run is in `rest`.

use super::graph::Node;
use super::keeping::Keeping;
use super::rest::is_want_of_another;
use super::restart::{Jitter, Restarts};
use super::run::{Fact, Flow, Live, Run, Stop};
use super::waiters::Waiters;
use super::{
    Action, ActiveState, Cause, Exit, Moment, Note, Outcome, Policy, Removal, RequestId, ServiceId, ServiceResult, Word,
};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

/// The state of a service. What belongs to a run exists only in `Up`.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing exists but the definition.
    Down,
    /// Gave up; the cause is kept. `wanted`: it could not start for the sake of a required unit, and will be started
    /// when that one is.
    Failed { wanted: bool },
    /// To be started once the units that it is ordered after have finished starting.
    Waiting { automatic: bool, examination: Examination },
    /// Waits before the next automatic start: the policy restarts it, or (`upheld`) a unit that is up wants it up.
    Backoff { until: Moment, upheld: bool },
    /// Its sockets are open, once that has been said; the first thing that arrives starts it.
    Listening { open: bool },
    /// A set: its replicas are kept (see `replicas`).
    Keeping(Box<Keeping>),
    /// Something of it exists.
    Up(Box<Run>),
}

/// Have the conditions of a unit that waits been looked at?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Examination {
    /// Its turn has not come.
    NotYet,
    /// The daemon has been asked.
    UnderWay,
    /// They are met.
    Passed,
}

/// What has been accepted and must come about, also if the daemon dies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Promise {
    pub start: bool,
    pub stop: bool,
    pub then_start: bool,
    pub said_ready: bool,
    pub scaled: Option<u32>,
}

/// What other units may have been waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pulse {
    /// Its start is complete.
    Started,
    /// Its start came to nothing.
    NotStarted,
    /// A run has begun to end, and not by people's wish.
    Ending,
    /// A run is over.
    Gone,
    /// It is down or has failed, and nothing more comes by itself. `asked`: people wanted it so.
    Rested { asked: bool },
    /// It has been stopped for a start that people asked for.
    WantsStart,
    /// Its wait before the next automatic start is over.
    RestartDue,
    /// A set's turn to start has come.
    Keep,
    /// A set's turn to stop has come.
    Dissolve,
}

/// What one call of `step` collects.
pub(super) struct Turn<'t> {
    pub now: Moment,
    pub actions: &'t mut Vec<Action>,
    pub pulses: &'t mut Vec<(ServiceId, Pulse)>,
    pub jitter: &'t mut Jitter,
}

impl Turn<'_> {
    pub fn reply(&mut self, request: RequestId, outcome: Outcome) {
        self.actions.push(Action::Reply { request, outcome });
    }

    pub fn pulse(&mut self, id: ServiceId, pulse: Pulse) {
        self.pulses.push((id, pulse));
    }
}

/// Of the last run, or of the start that did not come about.
#[derive(Debug, Default)]
pub(super) struct Last {
    pub result: ServiceResult,
    pub cause: Option<Cause>,
    pub main_exit: Option<Exit>,
    /// The first hook that failed after it.
    pub hook_failure: Option<Cause>,
}

/// One service.
#[derive(Debug)]
pub(super) struct Service {
    pub id: ServiceId,
    pub name: Rc<str>,
    /// In force since the last start.
    pub policy: Arc<Policy>,
    /// In force from the next start on.
    pub next_policy: Option<Arc<Policy>>,
    pub state: State,
    pub restarts: Restarts,
    pub waiters: Waiters,
    pub last: Last,
    /// How many starts on behalf of another unit's end led to the present one.
    pub links: u8,
    pub status_text: Option<String>,
    /// The active state that people saw last, and since when.
    pub shown: (ActiveState, Moment),
    /// Of a set: the number of replicas that somebody asked for, until it is stopped.
    pub scaled: Option<u32>,
    /// The next start runs the program, also of a unit that is started on demand.
    pub triggered: bool,
    /// When it was started by its sockets of late.
    pub triggers: VecDeque<Moment>,
    /// The deadline as the supervisor's index knows it.
    pub indexed: Option<Moment>,
    /// What the caller of `step` has been told of.
    pub promised: Promise,
}

impl Service {
    pub fn new(id: ServiceId, name: Rc<str>, policy: Arc<Policy>) -> Service {
        Service {
            id,
            name,
            policy,
            next_policy: None,
            state: State::Down,
            restarts: Restarts::default(),
            waiters: Waiters::default(),
            last: Last::default(),
            links: 0,
            status_text: None,
            shown: (ActiveState::Inactive, Moment(0)),
            scaled: None,
            triggered: false,
            triggers: VecDeque::new(),
            indexed: None,
            promised: Promise::default(),
        }
    }

    pub fn node(&self) -> Node<'_> {
        Node { id: self.id, name: &self.name, policy: &self.policy }
    }

    // ── what others ask ──

    pub fn deadline(&self) -> Option<Moment> {
        match &self.state {
            State::Down
            | State::Failed { .. }
            | State::Waiting { .. }
            | State::Listening { .. }
            | State::Keeping(_) => None,
            State::Backoff { until, .. } => Some(*until),
            State::Up(run) => run.next_deadline(),
        }
    }

    /// A start is under way or about to be: units that are ordered after this one wait.
    pub fn is_start_pending(&self) -> bool {
        match &self.state {
            State::Down | State::Failed { .. } | State::Backoff { .. } => false,
            State::Waiting { .. } => true,
            State::Listening { open } => !open,
            State::Keeping(set) => set.is_start_pending(),
            State::Up(run) => run.started.is_none() || run.then_start,
        }
    }

    /// Somebody asked for the end of the run, and it is not there yet: units that it is ordered after wait.
    pub fn is_stop_pending(&self) -> bool {
        match &self.state {
            State::Down
            | State::Failed { .. }
            | State::Waiting { .. }
            | State::Backoff { .. }
            | State::Listening { .. } => false,
            State::Keeping(set) => set.is_stop_pending(),
            State::Up(run) => run.stop != Stop::No,
        }
    }

    /// The same, and nothing has been done about it yet.
    pub fn is_stop_queued(&self) -> bool {
        match &self.state {
            State::Down
            | State::Failed { .. }
            | State::Waiting { .. }
            | State::Backoff { .. }
            | State::Listening { .. } => false,
            State::Keeping(set) => set.is_stop_queued(),
            State::Up(run) => run.stop == Stop::Queued,
        }
    }

    /// A stop of a unit that this one requires would have something to do here.
    pub fn is_anything_to_stop(&self) -> bool {
        match &self.state {
            State::Down => false,
            State::Failed { wanted } => *wanted,
            State::Waiting { .. }
            | State::Backoff { .. }
            | State::Listening { .. }
            | State::Keeping(_)
            | State::Up(_) => true,
        }
    }

    /// Nothing exists of it and nothing is planned or awaited.
    pub fn is_forgettable(&self) -> bool {
        match &self.state {
            State::Down | State::Failed { .. } => self.waiters.is_empty(),
            State::Waiting { .. }
            | State::Backoff { .. }
            | State::Listening { .. }
            | State::Keeping(_)
            | State::Up(_) => false,
        }
    }

    pub fn abandon(&mut self, request: RequestId) {
        self.waiters.forget(request);
        if let State::Keeping(set) = &mut self.state {
            set.forget(request);
        }
    }

    // ── facts ──

    /// Takes in a fact about this service.
    pub fn learn(&mut self, turn: &mut Turn, fact: Fact) {
        if let Fact::StatusText(text) = &fact {
            self.learn_status_text(turn, text);
        }
        if matches!((&fact, &self.state), (Fact::Said(Word::ResetRestarts), State::Up(_))) {
            self.begin_delays_anew();
            self.record(turn, Note::StatusText);
        }
        match &self.state {
            State::Up(_) => self.live(turn, |live| live.learn(fact)),
            State::Listening { .. } => self.learn_listening(turn, fact),
            State::Backoff { until, .. } => match fact {
                Fact::DeadlinePassed if *until <= turn.now => turn.pulse(self.id, Pulse::RestartDue),
                // Another service's deadline; or a report or datagram of the run that is over, read late.
                Fact::DeadlinePassed
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
                // Of sockets that were looked at before the run.
                | Fact::SocketsOpened
                | Fact::SocketsFailed(_)
                | Fact::Triggered => {}
            },
            State::Down | State::Failed { .. } | State::Waiting { .. } | State::Keeping(_) => match fact {
                // Nothing runs, of a set nothing ever does: these are late reports and datagrams of a run that is over.
                Fact::Executed(_)
                | Fact::LaunchFailed(_)
                | Fact::MainExited { .. }
                | Fact::CommandEnded { .. }
                | Fact::CgroupEmptied
                | Fact::BecameReady
                | Fact::Reloading { .. }
                | Fact::Stopping
                | Fact::StatusText(_)
                // Of sockets that are not waited for any more.
                | Fact::SocketsOpened
                | Fact::SocketsFailed(_)
                | Fact::Triggered
                | Fact::Said(_)
                | Fact::Checked { .. }
                | Fact::LaunchWaits
                | Fact::LaunchBegins
                // Nothing is waited for but other units.
                | Fact::DeadlinePassed => {}
            },
        }
    }

    fn learn_status_text(&mut self, turn: &mut Turn, text: &str) {
        if matches!(self.state, State::Up(_)) && self.status_text.as_deref() != Some(text) {
            self.status_text = Some(text.to_owned());
            self.record(turn, Note::StatusText);
        }
    }

    /// Lends the run, if there is one, and sees to what follows when it is over.
    pub fn live(&mut self, turn: &mut Turn, work: impl FnOnce(&mut Live) -> Flow) {
        let State::Up(run) = &mut self.state else { return };
        let was_heading_up = run.is_heading_up();
        let before = turn.actions.len();
        let mut live = Live { id: self.id, policy: &self.policy, run, waiters: &mut self.waiters, turn };
        let flow = work(&mut live);
        live.watch_only_while_up(before);
        if was_heading_up && (flow == Flow::Over || !run.is_heading_up()) {
            turn.pulse(self.id, Pulse::Ending);
        }
        match flow {
            Flow::Goes => {}
            Flow::Over => self.run_over(turn),
        }
    }

    pub fn record(&self, turn: &mut Turn, note: Note) {
        turn.actions.push(Action::Record { id: self.id, note });
    }

    pub fn remove(&self, turn: &mut Turn, removal: Removal) {
        turn.actions.push(Action::Remove { id: self.id, removal });
    }

    // ── starts ──

    /// The wait before an automatic start is over. Says whether that start is still wanted.
    pub fn leave_backoff(&mut self) -> bool {
        let is_waiting = matches!(self.state, State::Backoff { .. });
        if is_waiting {
            self.triggered = true;
            self.state = State::Waiting { automatic: true, examination: Examination::NotYet };
        }
        is_waiting
    }

    /// Begins a run; the caller has seen to order. Nothing happens unless the service waits for that, and has passed its
    /// examination if there is one.
    pub fn begin(&mut self, turn: &mut Turn) {
        if self.is_yet_to_be_examined(turn) {
            return;
        }
        match self.state {
            State::Waiting { .. } => {}
            State::Down
            | State::Failed { .. }
            | State::Backoff { .. }
            | State::Listening { .. }
            | State::Keeping(_)
            | State::Up(_) => {
                return;
            }
        }
        if self.listens_first() {
            return self.listen(turn);
        }
        if self.policy.replicas.is_some() {
            return self.begin_keeping(turn);
        }
        self.triggered = false;
        self.status_text = None;
        self.state = State::Up(Box::new(Run::new()));
        self.record(turn, Note::Starting { restarts: self.restarts.count });
        self.live(turn, |live| {
            live.begin();
            Flow::Goes
        });
    }

    /// Is to be started when its turn comes; by people's wish, so counters and old failures are forgotten.
    pub fn enqueue(&mut self) {
        match self.state {
            State::Down | State::Failed { .. } | State::Backoff { .. } => {
                self.restarts.forget();
                self.state = State::Waiting { automatic: false, examination: Examination::NotYet };
            }
            State::Waiting { .. } | State::Listening { .. } => {}
            State::Keeping(ref mut set) => set.then_start |= set.is_stop_pending(),
            State::Up(ref mut run) => run.then_start |= !run.is_heading_up(),
        }
    }

    /// The start cannot be: everybody who waits for it is told. A service that waits for its next attempt goes on
    /// doing so.
    pub fn refuse(&mut self, turn: &mut Turn, cause: Cause) {
        self.waiters.answer_starts(turn, Outcome::Failed(cause.clone()));
        match self.state {
            State::Backoff { .. } | State::Listening { .. } | State::Keeping(_) | State::Up(_) => {}
            State::Down | State::Failed { .. } | State::Waiting { .. } => {
                if self.policy.on_demand && self.policy.timers && self.triggered {
                    return self.refuse_this_time(turn, cause);
                }
                self.triggered = false;
                // What waited between two runs has sockets and directories, and nobody would look at them any more.
                if self.policy.sockets || matches!(self.state, State::Waiting { automatic: true, .. }) {
                    self.remove(turn, Removal::AtStop);
                }
                let wanted = is_want_of_another(&cause);
                self.last = Last { result: ServiceResult::Resources, cause: Some(cause.clone()), ..Last::default() };
                self.state = State::Failed { wanted };
                self.record(turn, Note::Failed(cause));
                turn.pulse(self.id, Pulse::NotStarted);
                turn.pulse(self.id, Pulse::Rested { asked: false });
            }
        }
    }

    /// A start by the clock that cannot be: its next time comes all the same.
    fn refuse_this_time(&mut self, turn: &mut Turn, cause: Cause) {
        self.triggered = false;
        self.last = Last { result: ServiceResult::Resources, cause: Some(cause.clone()), ..Last::default() };
        self.record(turn, Note::Failed(cause));
        self.listen_again(turn);
        turn.pulse(self.id, Pulse::NotStarted);
        turn.pulse(self.id, Pulse::Rested { asked: false });
    }
}

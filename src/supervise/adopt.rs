//! A run that a former daemon began and this one takes over.
//!
//! The daemon says what it found ([`Adopted`]); processes that have died meanwhile it reports afterwards as for any run,
//! with [`Exit::Unknown`](super::Exit::Unknown) where no record was left. Two things cannot be known and are resolved
//! towards doing too much: a start that was not complete runs `exec_start_post` (again), and a stop that had begun sends
//! the stop signal (again) with a fresh budget, without `exec_stop`. A run of which only commands after its end were left
//! is judged again: what is left of them is killed, and `exec_stop_post` and the hooks run (again).

use super::jobs::{Work, no_such_service};
use super::restart::Restarts;
use super::run::{Await, Flow, Live, Main, Phase, Run, Says, Stop};
use super::service::{Examination, Last, Pulse, Service, State, Turn};
use super::watch::Watchdog;
use super::{Descent, Moment, Note, Outcome, RequestId, Rest, ServiceId, Supervisor};
use crate::unit::{ReadyKind, ServiceType};
use std::time::Duration;

/// What was found.
#[derive(Clone, Debug)]
pub(super) struct Adopted {
    pub ready: bool,
    pub since: Moment,
    pub restarts: u32,
    pub stopping: bool,
    pub watchdog: Option<Duration>,
    pub said_ready: bool,
    pub restart_times: Vec<Moment>,
}

impl Service {
    /// A run that a former daemon began, for what was found to be filled in: without a main process, in a group that is
    /// not empty. Only a service of which this daemon knows nothing can be adopted.
    pub fn found_run(&mut self, restarts: Restarts, stopping: bool) -> Option<Box<Run>> {
        match self.state {
            State::Down | State::Failed { .. } => {}
            // What this daemon has started, or is about to, it need not adopt.
            State::Waiting { .. }
            | State::Backoff { .. }
            | State::Listening { .. }
            | State::Keeping(_)
            | State::Up(_) => return None,
        }
        self.restarts = restarts;
        self.last = Last::default();
        let mut run = Box::new(Run::new());
        // Whoever delivers this says in the next moment if nobody is there.
        run.populated = true;
        run.main = Main::Gone;
        run.stop = if stopping { Stop::Granted } else { Stop::No };
        Some(run)
    }

    /// Takes the run over.
    pub fn adopt(&mut self, turn: &mut Turn, found: Adopted) {
        let restarts = Restarts::carried_over(found.restarts, found.restart_times);
        let Some(mut run) = self.found_run(restarts, found.stopping) else { return };
        run.main = Main::Alive;
        run.epilogue.launched = true;
        run.phase = Phase::Running { says: Says::Serving };
        // A oneshot is ready when it is gone; one that is still there is not.
        let ready = found.ready && self.policy.kind != ServiceType::Oneshot;
        run.started = ready.then_some(found.since);
        self.state = State::Up(run);
        self.record(turn, Note::Adopted);
        self.live(turn, |live| match (found.stopping, ready) {
            (true, _) => live.drain(),
            (false, true) => {
                live.run.watchdog = Watchdog::carried_over(found.watchdog);
                live.watch(found.since);
                Flow::Goes
            }
            (false, false) if found.said_ready => live.ready(),
            (false, false) => live.resume_start(),
        });
        self.shown = (self.active_state().0, found.since);
    }
}

impl Service {
    /// Takes over a run on its way down: the stop signal is sent (again), what it goes down for stays.
    pub fn adopt_going_down(&mut self, turn: &mut Turn, restarts: Restarts, stopping: bool, descent: Descent) {
        let Some(mut run) = self.found_run(restarts, stopping) else { return };
        run.main = if descent.main_exit.is_some() { Main::Gone } else { Main::Alive };
        run.epilogue.launched = true;
        (run.result, run.cause, run.main_exit) = (descent.result, descent.cause, descent.main_exit);
        run.abort = descent.abort;
        self.state = State::Up(run);
        self.record(turn, Note::Adopted);
        self.live(turn, |live| live.drain());
    }

    /// Takes over the end of a run.
    pub fn adopt_at_end(&mut self, turn: &mut Turn, stopping: bool, end: Rest) {
        let restarts = Restarts::carried_over(end.restarts, end.restart_times);
        let Some(mut run) = self.found_run(restarts, stopping) else { return };
        run.epilogue.launched = end.launched || end.main_exit.is_some();
        (run.result, run.cause, run.main_exit) = (end.result, end.cause, end.main_exit);
        self.state = State::Up(run);
        self.record(turn, Note::Adopted);
        self.live(turn, |live| live.kill());
    }

    /// A start had been accepted, and nothing of its program is known: it begins anew. What a former daemon has launched
    /// for it, if anything, is ended first: a command before the start, or a set-up that this daemon has no report of.
    pub fn adopt_at_start(&mut self, turn: &mut Turn, populated: bool, restarts: Restarts) {
        let Some(mut run) = self.found_run(restarts, false) else { return };
        if !populated {
            // It had its trigger, where it needs one.
            self.triggered = true;
            self.state = State::Waiting { automatic: false, examination: Examination::NotYet };
            return turn.pulse(self.id, Pulse::WantsStart);
        }
        (run.then_start, run.resumed) = (true, true);
        self.state = State::Up(run);
        self.record(turn, Note::Adopted);
        self.live(turn, |live| live.kill());
    }

    /// Goes on waiting for the next automatic start, or shows the failure. Only a service of which this daemon knows
    /// nothing can be remembered.
    pub fn remember(&mut self, rest: Rest) {
        match self.state {
            State::Down => {}
            // What this daemon knows by itself is newer.
            State::Failed { .. }
            | State::Waiting { .. }
            | State::Backoff { .. }
            | State::Listening { .. }
            | State::Keeping(_)
            | State::Up(_) => return,
        }
        self.restarts = Restarts::carried_over(rest.restarts, rest.restart_times);
        self.last =
            Last { result: rest.result, cause: rest.cause, main_exit: rest.main_exit, hook_failure: rest.hook_failure };
        self.state = match rest.until {
            Some(until) => State::Backoff { until, upheld: rest.upheld },
            None => State::Failed { wanted: rest.wanted },
        };
    }
}

impl Supervisor {
    /// Somebody who had asked a former daemon for a start waits for what comes of it; nothing is begun for his sake.
    pub(super) fn rejoin_start(&mut self, now: Moment, work: &mut Work, id: ServiceId, request: RequestId) {
        if self.is_keeping(id) {
            return self.rejoin_set(now, work, id, request);
        }
        if self.with(now, work, id, |service, turn| service.rejoin_start(turn, request)).is_none() {
            no_such_service(work, Some(request));
        }
    }
}

impl Service {
    fn rejoin_start(&mut self, turn: &mut Turn, request: RequestId) {
        let outcome = match &self.state {
            State::Up(run) if run.then_start => return self.waiters.next_starts.push(request),
            // What came after it had come up is another matter.
            State::Up(run) if run.started.is_some() => Outcome::Done,
            State::Listening { open: true } => Outcome::Done,
            State::Up(_) | State::Waiting { .. } | State::Listening { open: false } => {
                return self.waiters.starts.push(request);
            }
            State::Failed { .. } | State::Backoff { .. } => {
                self.last.cause.clone().map_or(Outcome::Cancelled, Outcome::Failed)
            }
            // It came to its end unseen, or a stop overtook it. (Of a set: not seen to here.)
            State::Down | State::Keeping(_) => Outcome::Cancelled,
        };
        turn.reply(request, outcome);
    }
}

impl Live<'_, '_> {
    /// Waits for readiness from where the former daemon left off, with a fresh deadline.
    fn resume_start(&mut self) -> Flow {
        self.run.deadline = self.policy.timeout_start.map(|limit| self.turn.now.after(limit));
        let waiting_for = match self.policy.ready {
            ReadyKind::Executed => return self.ready(),
            ReadyKind::Notify | ReadyKind::Checked => Await::Readiness,
            ReadyKind::Exited => Await::Exit,
            ReadyKind::PidFile => {
                // Launcher or daemon: the pid file will tell.
                self.run.main = Main::Absent;
                Await::PidFile
            }
        };
        match self.policy.ready {
            ReadyKind::Checked | ReadyKind::PidFile => self.watch_readiness(),
            ReadyKind::Executed | ReadyKind::Notify | ReadyKind::Exited => {}
        }
        self.run.phase = Phase::Starting(waiting_for);
        Flow::Goes
    }
}

//! What people ask of one service, in every state. What it means for other units is seen to in `jobs`.

use super::run::{Flow, Phase, Stop};
use super::service::{Last, Pulse, Service, State, Turn};
use super::waiters::answer;
use super::{Note, Outcome, Removal, RequestId};

impl Service {
    /// Somebody's wish that this service runs, or `None` for a unit that is pulled in. Says whether the service is now
    /// to be started; otherwise the wish has been answered or noted.
    pub fn wish_start(&mut self, turn: &mut Turn, request: Option<RequestId>) -> bool {
        match &mut self.state {
            State::Up(run) if run.is_heading_up() && run.started.is_some() => {
                request.into_iter().for_each(|request| turn.reply(request, Outcome::Done));
                false
            }
            State::Up(run) if run.is_heading_up() => {
                self.waiters.starts.extend(request);
                false
            }
            State::Up(run) => {
                run.then_start = true;
                self.waiters.next_starts.extend(request);
                false
            }
            State::Waiting { automatic, .. } => {
                // An automatic start has pulled nothing in; a wish does.
                // The answer of an examination that is under way is still good, and nobody would ask a second time.
                let pulls_in = std::mem::take(automatic);
                self.waiters.starts.extend(request);
                self.restarts.forget();
                pulls_in
            }
            State::Listening { open: true } => {
                request.into_iter().for_each(|request| turn.reply(request, Outcome::Done));
                false
            }
            State::Listening { open: false } => {
                self.waiters.starts.extend(request);
                false
            }
            // Seen to in `replicas`, with the replicas at hand.
            State::Keeping(_) => false,
            State::Down | State::Failed { .. } | State::Backoff { .. } => {
                self.waiters.starts.extend(request);
                true
            }
        }
    }

    /// Somebody's wish that this service does not run. It always wins over a restart. Says whether a run is now to be
    /// stopped when its turn comes; otherwise the wish has been answered or noted.
    pub fn wish_stop(&mut self, turn: &mut Turn, request: Option<RequestId>) -> bool {
        answer(&mut self.waiters.next_starts, turn, Outcome::Cancelled);
        self.scaled = None;
        match &mut self.state {
            State::Keeping(set) => {
                self.waiters.stops.extend(request);
                return set.wish_stop(turn);
            }
            State::Up(run) => {
                self.waiters.stops.extend(request);
                if run.started.is_none() {
                    answer(&mut self.waiters.starts, turn, Outcome::Cancelled);
                }
                run.then_start = false;
                run.fallen_with = None;
                let is_new = run.stop == Stop::No;
                if is_new {
                    run.stop = Stop::Queued;
                }
                return is_new;
            }
            State::Waiting { .. } | State::Backoff { .. } | State::Listening { .. } => {
                answer(&mut self.waiters.starts, turn, Outcome::Cancelled);
                let was_waiting = matches!(self.state, State::Waiting { .. } | State::Listening { open: false });
                self.triggered = false;
                self.state = State::Down;
                self.remove(turn, Removal::AtStop);
                self.record(turn, Note::Stopped);
                if was_waiting {
                    turn.pulse(self.id, Pulse::NotStarted);
                }
                turn.pulse(self.id, Pulse::Rested { asked: true });
            }
            State::Failed { wanted } => *wanted = false,
            State::Down => {}
        }
        request.into_iter().for_each(|request| turn.reply(request, Outcome::Done));
        false
    }

    /// Somebody's wish for another run in place of the present one. Says whether a run is now to be stopped.
    pub fn wish_restart(&mut self, turn: &mut Turn, request: Option<RequestId>) -> bool {
        if self.policy.of_connection {
            return self.wish_stop(turn, request);
        }
        let State::Up(run) = &mut self.state else { return false };
        run.then_start = true;
        self.waiters.next_starts.extend(request);
        if run.is_heading_up() && run.started.is_none() {
            // They get their start, only later.
            self.waiters.starts_are_put_off();
        }
        let is_new = run.stop == Stop::No;
        if is_new {
            run.stop = Stop::Queued;
        }
        is_new
    }

    /// Begins the stop that was wished for; the caller has seen to order.
    pub fn begin_stop(&mut self, turn: &mut Turn) {
        if self.begin_dissolving(turn) {
            return;
        }
        self.live(turn, |live| {
            if live.run.stop != Stop::Queued {
                return Flow::Goes;
            }
            live.run.stop = Stop::Granted;
            live.begin_stop()
        });
    }

    pub fn wish_reload(&mut self, turn: &mut Turn, request: Option<RequestId>) {
        let State::Up(run) = &mut self.state else {
            request.into_iter().for_each(|request| turn.reply(request, Outcome::NotRunning));
            return;
        };
        if matches!(run.phase, Phase::Reload { .. } | Phase::ReloadSignal { .. }) {
            self.waiters.next_reloads.extend(request);
            return;
        }
        self.waiters.reloads.extend(request);
        self.live(turn, |live| {
            if let Some(outcome) = live.reload() {
                live.waiters.answer_reloads(live.turn, outcome);
            }
            Flow::Goes
        });
    }

    /// Forgets failure and counters. A wait before the next attempt goes on.
    pub fn reset(&mut self, turn: &mut Turn) {
        self.forget_restarts();
        match self.state {
            State::Failed { .. } => {
                self.state = State::Down;
                self.last = Last::default();
                self.record(turn, Note::Stopped);
            }
            State::Down => self.last = Last::default(),
            State::Waiting { .. }
            | State::Backoff { .. }
            | State::Listening { .. }
            | State::Keeping(_)
            | State::Up(_) => {}
        }
    }
}

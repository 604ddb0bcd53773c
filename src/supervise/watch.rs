//! What watches over a service while it is up: the watchdog, `runtime_max`, and the clock of the questions in `health`.
//!
//! All of it is armed when the start is complete and forgotten when the service goes down, by whatever door. Nothing is
//! owed before: a start has `timeout_start`. After a change of daemons each begins a new interval, but for
//! `runtime_max`, which goes on from when the service came up.

use super::health::Checks;
use super::run::{Flow, Live, Phase};
use super::{Action, Cause, Moment, Note, ServiceResult, Word};
use std::time::Duration;

/// How often the service must say that it lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Watchdog {
    /// `None`: it need not.
    pub interval: Option<Duration>,
    /// By when it must say so next.
    pub due: Option<Moment>,
    /// It has set the interval itself: the policy's does not count in this run.
    is_its_own: bool,
}

impl Watchdog {
    /// As the service had set it before the daemon changed; zero is off, `None`: it had not.
    pub fn carried_over(interval: Option<Duration>) -> Watchdog {
        let is_its_own = interval.is_some();
        Watchdog { interval: interval.filter(|interval| !interval.is_zero()), due: None, is_its_own }
    }
}

impl Live<'_, '_> {
    /// Begins to watch; the service has been up since then.
    pub fn watch(&mut self, since: Moment) {
        if !self.run.watchdog.is_its_own {
            self.run.watchdog.interval = self.policy.watchdog;
        }
        self.feed_watchdog();
        self.run.runtime_end = self.policy.runtime_max.map(|limit| since.after(limit));
        self.run.checks =
            self.policy.health.as_ref().map(|policy| Box::new(Checks::begin(policy, since, self.turn.now)));
    }

    /// Ends what looks after the service when it is not up any more. Called after each event.
    /// `before`: how many actions there were before the run went where it is now; what that leads to comes after.
    pub fn watch_only_while_up(&mut self, before: usize) {
        if !self.run.is_up() && self.run.checks.take().is_some_and(|checks| checks.is_open) {
            self.turn.actions.insert(before, Action::AbandonCheck { id: self.id });
        }
    }

    fn feed_watchdog(&mut self) {
        let watchdog = &mut self.run.watchdog;
        watchdog.due = watchdog.interval.map(|interval| self.turn.now.after(interval));
    }

    /// Something that the service says about itself.
    pub fn said(&mut self, word: Word) -> Flow {
        match word {
            Word::ExtendTimeout(by) => {
                self.extend(by);
                Flow::Goes
            }
            Word::WatchdogInterval(interval) => {
                self.run.watchdog = Watchdog::carried_over(Some(interval));
                self.feed_watchdog();
                self.record(Note::StatusText);
                Flow::Goes
            }
            // Before it is up nothing is due yet; afterwards there is nothing more to prove.
            Word::Alive | Word::Trigger if !self.run.is_up() => Flow::Goes,
            Word::Alive => {
                self.feed_watchdog();
                Flow::Goes
            }
            Word::Trigger => self.abort(Cause::WatchdogTriggered),
            // The counter is the service's own.
            Word::ResetRestarts => Flow::Goes,
        }
    }

    /// The present step may take at least so long from now on. What has no limit gets none.
    fn extend(&mut self, by: Duration) {
        let until = self.turn.now.after(by);
        let limit = match self.run.phase {
            Phase::Running { .. } if self.run.is_up() => &mut self.run.runtime_end,
            // A start, a reload, a stop, or STOPPING=1.
            Phase::StartPre { .. }
            | Phase::Launching { .. }
            | Phase::Starting(_)
            | Phase::StartPost { .. }
            | Phase::Running { .. }
            | Phase::Reload { .. }
            | Phase::ReloadSignal { .. }
            | Phase::StopCommands { .. }
            | Phase::StopSignal => &mut self.run.deadline,
            // Killed, or gone: there is nobody to give time to.
            Phase::Exited | Phase::StopAlone { .. } | Phase::StopKill | Phase::StopPost { .. } | Phase::Hook { .. } => {
                return;
            }
        };
        *limit = limit.map(|at| at.max(until));
    }

    /// Something of what watches may be due.
    pub fn watch_deadline_passed(&mut self) -> Flow {
        let now = self.turn.now;
        let is_due = |at: Option<Moment>| at.is_some_and(|at| at <= now);
        if is_due(self.run.watchdog.due) {
            let interval = self.run.watchdog.interval.unwrap_or_default();
            return self.abort(Cause::Watchdog { interval });
        }
        if is_due(self.run.runtime_end) {
            self.fail(ServiceResult::Timeout, Cause::RuntimeMax);
            self.run.ended.get_or_insert(now);
            return self.leave();
        }
        if is_due(self.run.checks.as_ref().map(|checks| checks.due)) {
            return self.check_due();
        }
        // The deadline of another service.
        Flow::Goes
    }

    /// Ends a service that hangs: it is asked to leave a core, not to leave in good order, and `exec_stop` is not run.
    fn abort(&mut self, cause: Cause) -> Flow {
        self.fail(ServiceResult::Watchdog, cause);
        self.run.abort = true;
        self.drain()
    }
}

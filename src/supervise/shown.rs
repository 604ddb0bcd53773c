//! What people see of a service.

use super::run::{Phase, Says, Step, Stop};
use super::service::{Promise, Service, State};
use super::{ActiveState, Moment, Status, SubState};
use crate::unit::Hook;

impl Service {
    /// Notes when the active state changes; called after every event that touched the service.
    pub fn look(&mut self, now: Moment) {
        let state = self.active_state().0;
        if self.shown.0 != state {
            self.shown = (state, now);
        }
    }

    pub fn status(&self) -> Status {
        let (state, substate) = self.active_state();
        let run = match &self.state {
            State::Up(run) => Some(run),
            State::Down
            | State::Failed { .. }
            | State::Waiting { .. }
            | State::Backoff { .. }
            | State::Listening { .. }
            | State::Keeping(_) => None,
        };
        Status {
            state,
            substate,
            result: run.map_or(self.last.result, |run| run.result),
            since: self.shown.1,
            restarts: self.restarts.count,
            next_restart_at: match self.state {
                State::Backoff { until, .. } => Some(until),
                State::Down
                | State::Failed { .. }
                | State::Waiting { .. }
                | State::Listening { .. }
                | State::Keeping(_)
                | State::Up(_) => None,
            },
            main_exit: run.and_then(|run| run.main_exit).or(self.last.main_exit),
            cause: run.and_then(|run| run.cause.clone()).or_else(|| self.last.cause.clone()),
            hook_failure: run.and_then(|run| run.epilogue.failure.clone()).or_else(|| self.last.hook_failure.clone()),
            remains: run.is_some_and(|run| matches!(run.phase, Phase::Exited | Phase::StopAlone { .. })),
            hook: run.and_then(|run| run.told(self.restarts.count)),
            status_text: self.status_text.clone(),
            watchdog: run.filter(|run| run.is_up()).map(|run| run.watchdog.interval.unwrap_or_default()),
            runtime_ends_at: run.filter(|run| run.is_up()).and_then(|run| run.runtime_end),
            health: run.filter(|run| run.is_up()).and_then(|run| run.checks.as_ref()).map(|checks| checks.health()),
            stop_step: run.and_then(|run| run.stop_step(&self.policy)),
            step_ends_at: run.filter(|run| run.phase != Phase::StopKill).and_then(|run| run.deadline),
            descent: run.and_then(|run| run.descent()),
            stop_requested: run.is_some_and(|run| run.stop != Stop::No && !run.then_start)
                || self.kept().is_some_and(|set| set.is_stop_pending() && !set.then_start),
            restart_requested: run.is_some_and(|run| run.then_start && !run.resumed)
                || self.kept().is_some_and(|set| set.is_stop_pending() && set.then_start),
            wanted: matches!(self.state, State::Failed { wanted: true }),
            upheld: matches!(self.state, State::Backoff { upheld: true, .. }),
            starting: self.is_starting(),
            was_ready: run.is_some_and(|run| run.started.is_some()),
            said_ready: run.is_some_and(|run| run.said_ready()),
            launched: run.is_some_and(|run| run.epilogue.launched),
            restart_times: self.restarts.times().collect(),
        }
    }

    /// A start has been accepted, and nothing of its program is known yet.
    fn is_starting(&self) -> bool {
        match &self.state {
            State::Waiting { .. } => true,
            State::Up(run) => {
                let is_new = matches!(run.phase, Phase::StartPre { .. } | Phase::Launching { .. });
                run.stop == Stop::No && (is_new || (run.then_start && run.resumed))
            }
            State::Down
            | State::Failed { .. }
            | State::Backoff { .. }
            | State::Listening { .. }
            | State::Keeping(_) => false,
        }
    }

    /// What has been accepted and is still to come about.
    pub fn promise(&self) -> Promise {
        let (stop, then_start, said_ready) = match &self.state {
            State::Up(run) => (run.stop != Stop::No, run.then_start, run.said_ready()),
            State::Keeping(set) => (set.is_stop_pending(), set.then_start, false),
            State::Down
            | State::Failed { .. }
            | State::Waiting { .. }
            | State::Backoff { .. }
            | State::Listening { .. } => (false, false, false),
        };
        Promise { start: self.is_starting(), stop, then_start, said_ready, scaled: self.scaled }
    }

    pub fn active_state(&self) -> (ActiveState, SubState) {
        match &self.state {
            State::Down => (ActiveState::Inactive, SubState::Dead),
            State::Failed { .. } => (ActiveState::Failed, SubState::Failed),
            State::Waiting { .. } => (ActiveState::Activating, SubState::Waiting),
            State::Backoff { .. } => (ActiveState::Activating, SubState::AutoRestart),
            State::Listening { open: false } => (ActiveState::Activating, self.listening_word()),
            State::Listening { open: true } => (ActiveState::Active, self.listening_word()),
            State::Keeping(set) => set.shown(),
            State::Up(run) => match run.phase {
                Phase::StartPre { .. } => (ActiveState::Activating, SubState::StartPre),
                Phase::Launching { .. } | Phase::Starting(_) => (ActiveState::Activating, SubState::Start),
                Phase::StartPost { .. } => (ActiveState::Activating, SubState::StartPost),
                Phase::Running { says: Says::Serving } => (ActiveState::Active, SubState::Running),
                Phase::Running { says: Says::Reloading } => (ActiveState::Reloading, SubState::Reload),
                Phase::Running { says: Says::Stopping } => (ActiveState::Deactivating, SubState::Stop),
                Phase::Reload { .. } => (ActiveState::Reloading, SubState::Reload),
                Phase::ReloadSignal { confirmed: false, .. } => (ActiveState::Reloading, SubState::ReloadSignal),
                Phase::ReloadSignal { confirmed: true, .. } => (ActiveState::Reloading, SubState::ReloadNotify),
                Phase::Exited => (ActiveState::Active, SubState::Exited),
                Phase::StopCommands { .. } | Phase::StopAlone { step: Step::Running, .. } => {
                    (ActiveState::Deactivating, SubState::Stop)
                }
                Phase::StopAlone { step: Step::Clearing, .. } => (ActiveState::Deactivating, SubState::StopSigkill),
                Phase::StopSignal if run.abort => (ActiveState::Deactivating, SubState::StopWatchdog),
                Phase::StopSignal => (ActiveState::Deactivating, SubState::StopSigterm),
                Phase::StopKill => (ActiveState::Deactivating, SubState::StopSigkill),
                Phase::StopPost { step: Step::Running, .. } => (ActiveState::Deactivating, SubState::StopPost),
                Phase::StopPost { step: Step::Clearing, .. } | Phase::Hook { step: Step::Clearing, .. } => {
                    (ActiveState::Deactivating, SubState::FinalSigkill)
                }
                Phase::Hook { hook: Hook::Exit, step: Step::Running } => (ActiveState::Deactivating, SubState::OnExit),
                Phase::Hook { hook: Hook::Restart, step: Step::Running } => {
                    (ActiveState::Deactivating, SubState::OnRestart)
                }
                Phase::Hook { hook: Hook::GiveUp, step: Step::Running } => {
                    (ActiveState::Deactivating, SubState::OnGiveUp)
                }
            },
        }
    }
}

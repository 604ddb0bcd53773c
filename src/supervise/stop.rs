//! The way down of a run, and reload, which is left by the same doors.
//!
//! `timeout_stop` is one budget: it begins with the first thing done to stop a service and covers `exec_stop`, the stop
//! signal and the wait. When it ends, the group is killed. `exec_stop_post` has a budget of the same length, for all of
//! its commands together. A kill that does not empty the group (a process in uninterruptible sleep) is repeated for as
//! long as it takes: nothing may be launched beside what is still there.

use super::exit::{SIGABRT, SIGKILL};
use super::run::{Await, Flow, Live, Main, Phase, Says, Step};
use super::{Action, Cause, Note, Outcome, Role, ServiceResult, Target};
use crate::unit::{KillMode, ServiceType};
use std::time::Duration;

/// Pause between two attempts to kill a group that does not become empty.
pub(super) const KILL_AGAIN_AFTER: Duration = Duration::from_secs(10);

impl Live<'_, '_> {
    /// Begins a stop that people asked for. The note comes before the first signal, so that a daemon that dies in
    /// between finds the wish in the persisted status and carries it out.
    pub fn begin_stop(&mut self) -> Flow {
        match self.run.phase {
            Phase::StartPre { step: Step::Clearing, .. } | Phase::Launching { .. } => {
                // Nothing of the service's own runs yet: there is nobody to ask.
                self.record(Note::Stopping);
                self.kill()
            }
            Phase::StartPre { step: Step::Running, .. } | Phase::Starting(_) | Phase::StartPost { .. } => {
                // exec_stop is for services that had started.
                self.record(Note::Stopping);
                self.drain()
            }
            Phase::Running { .. } | Phase::Reload { .. } | Phase::ReloadSignal { .. } => {
                self.record(Note::Stopping);
                self.waiters.answer_reloads(self.turn, Outcome::Cancelled);
                self.leave()
            }
            Phase::Exited => {
                self.record(Note::Stopping);
                self.stop_alone()
            }
            // Already on the way down; noted all the same, so that no restart follows, nor one by the next daemon.
            Phase::StopAlone { .. }
            | Phase::StopCommands { .. }
            | Phase::StopSignal
            | Phase::StopKill
            | Phase::StopPost { .. }
            | Phase::Hook { .. } => {
                self.record(Note::Stopping);
                Flow::Goes
            }
        }
    }

    /// Leaves the state of being up in good order: `exec_stop`, signal, wait, kill.
    pub fn leave(&mut self) -> Flow {
        if self.run.control.is_some() {
            self.act(Action::Signal { id: self.id, target: Target::Control, signal: SIGKILL });
        }
        self.arm_stop();
        self.run.phase = Phase::StopCommands { next: 0 };
        self.continue_stop_commands(0)
    }

    /// Gets rid of what is left of the run in order: signal, wait, kill.
    pub fn drain(&mut self) -> Flow {
        self.unwatch();
        self.run.ended.get_or_insert(self.turn.now);
        self.arm_stop();
        self.signal()
    }

    pub fn arm_stop(&mut self) {
        self.run.deadline = self.policy.timeout_stop.map(|limit| self.turn.now.after(limit));
    }

    fn unwatch(&mut self) {
        use crate::unit::ReadyKind;
        let is_watched = match self.run.phase {
            Phase::Starting(Await::PidFile) => true,
            Phase::Starting(Await::Readiness) => self.policy.ready == ReadyKind::Checked,
            _ => false,
        };
        if is_watched {
            self.act(Action::UnwatchReadiness { id: self.id });
        }
    }

    /// Takes the next step down that the present facts allow.
    pub fn go_down(&mut self) -> Flow {
        match self.run.phase {
            Phase::StopCommands { next } => self.continue_stop_commands(next),
            Phase::StopSignal => self.wait_after_signal(),
            Phase::StopKill if self.run.is_empty() => self.stop_post(),
            Phase::StopPost { index, step: Step::Clearing } if self.run.is_empty() => self.next_stop_post(index + 1),
            Phase::StopAlone { next, step: Step::Clearing } if self.run.is_empty() => self.continue_alone(next),
            Phase::Hook { step: Step::Clearing, .. } if self.run.is_empty() => Flow::Over,
            Phase::StopAlone { .. } | Phase::StopKill | Phase::StopPost { .. } | Phase::Hook { .. } => Flow::Goes,
            // Not on the way down.
            Phase::StartPre { .. }
            | Phase::Launching { .. }
            | Phase::Starting(_)
            | Phase::StartPost { .. }
            | Phase::Running { .. }
            | Phase::Exited
            | Phase::Reload { .. }
            | Phase::ReloadSignal { .. } => Flow::Goes,
        }
    }

    fn continue_stop_commands(&mut self, next: u16) -> Flow {
        if self.run.control.is_some() {
            return Flow::Goes;
        }
        // The commands join the main process's container; when that is gone (they may have seen to it themselves),
        // there is nothing to join and nothing left to ask.
        let can_join = self.run.main == Main::Alive && self.run.populated;
        if !can_join || usize::from(next) >= self.policy.stop.len() {
            return self.signal();
        }
        self.run.phase = Phase::StopCommands { next: next + 1 };
        self.launch(Role::Stop(next));
        Flow::Goes
    }

    /// Sends the stop signal to whom `kill_mode` says.
    pub fn signal(&mut self) -> Flow {
        self.run.phase = Phase::StopSignal;
        if self.run.is_empty() {
            return self.stop_post();
        }
        self.run.reminded = !self.is_anybody_known();
        match self.policy.kill_mode {
            KillMode::ControlGroup => self.signal_all(),
            KillMode::Mixed => {
                let signal = self.stop_signal();
                if self.run.main == Main::Alive {
                    self.act(Action::Signal { id: self.id, target: Target::Main, signal });
                }
                if self.run.control.is_some() {
                    self.act(Action::Signal { id: self.id, target: Target::Control, signal });
                }
            }
        }
        self.wait_after_signal()
    }

    fn signal_all(&mut self) {
        // Otherwise empty already; the report of the last process's end is on its way.
        if self.run.populated {
            self.act(Action::Signal { id: self.id, target: Target::All, signal: self.stop_signal() });
        }
    }

    fn is_anybody_known(&self) -> bool {
        self.run.main == Main::Alive || self.run.control.is_some()
    }

    /// What asks the service to end.
    pub fn stop_signal(&self) -> i32 {
        if self.run.abort { SIGABRT } else { self.policy.stop_signal }
    }

    fn wait_after_signal(&mut self) -> Flow {
        if self.run.is_empty() {
            return self.stop_post();
        }
        if self.is_anybody_known() {
            return Flow::Goes;
        }
        match self.policy.kill_mode {
            // The rest is not asked, only killed.
            KillMode::Mixed => self.kill(),
            // Who was born while the signal went round has not got it: the main process was about to fork when it came.
            KillMode::ControlGroup => {
                if !std::mem::replace(&mut self.run.reminded, true) {
                    self.signal_all();
                }
                Flow::Goes
            }
        }
    }

    /// Kills the group.
    pub fn kill(&mut self) -> Flow {
        self.unwatch();
        self.run.phase = Phase::StopKill;
        if self.run.is_empty() {
            return self.stop_post();
        }
        self.kill_group();
        Flow::Goes
    }

    pub fn kill_group(&mut self) {
        self.run.deadline = Some(self.turn.now.after(KILL_AGAIN_AFTER));
        if self.run.populated {
            self.act(Action::KillCgroup { id: self.id });
        }
    }

    pub fn stop_post(&mut self) -> Flow {
        self.arm_stop();
        self.next_stop_post(0)
    }

    fn next_stop_post(&mut self, index: u16) -> Flow {
        if usize::from(index) >= self.policy.stop_post.len() {
            self.run.deadline = None;
            return Flow::Over;
        }
        self.run.phase = Phase::StopPost { index, step: Step::Running };
        self.launch(Role::StopPost(index));
        Flow::Goes
    }

    /// A command after the end has ended itself: what it left is killed, then comes the next, unless it failed.
    pub fn stop_post_ended(&mut self, index: u16, failed: bool) -> Flow {
        let index = if failed { self.last_stop_post() } else { index };
        self.run.phase = Phase::StopPost { index, step: Step::Clearing };
        if self.run.populated {
            self.act(Action::KillCgroup { id: self.id });
        }
        self.go_down()
    }

    fn last_stop_post(&self) -> u16 {
        u16::try_from(self.policy.stop_post.len()).unwrap_or(u16::MAX).saturating_sub(1)
    }

    /// A deadline of the way down has passed.
    pub fn stop_deadline_passed(&mut self) -> Flow {
        match self.run.phase {
            Phase::StopCommands { .. } | Phase::StopSignal => {
                self.run.blame(ServiceResult::Timeout, Cause::StopTimeout);
                self.record(Note::Killing);
                self.kill()
            }
            Phase::StopPost { step: Step::Running, .. } => {
                self.run.blame(ServiceResult::Timeout, Cause::StopTimeout);
                self.record(Note::Killing);
                let flow = self.stop_post_ended(0, true);
                self.run.deadline = Some(self.turn.now.after(KILL_AGAIN_AFTER));
                flow
            }
            Phase::StopKill => {
                self.kill_group();
                Flow::Goes
            }
            Phase::StopPost { step: Step::Clearing, .. } => {
                // The budget is used up by what a command left: the rest is not run.
                self.run.phase = Phase::StopPost { index: self.last_stop_post(), step: Step::Clearing };
                self.kill_group();
                Flow::Goes
            }
            // Theirs are in `hooks` and `remain`.
            Phase::Hook { .. } | Phase::Exited | Phase::StopAlone { .. } => Flow::Goes,
            // Their deadlines are for the way up.
            Phase::StartPre { .. }
            | Phase::Launching { .. }
            | Phase::Starting(_)
            | Phase::StartPost { .. }
            | Phase::Running { .. }
            | Phase::Reload { .. }
            | Phase::ReloadSignal { .. } => Flow::Goes,
        }
    }

    /// Begins a reload of a running service, or says why not.
    pub fn reload(&mut self) -> Option<Outcome> {
        match self.run.phase {
            Phase::Running { says: Says::Serving | Says::Reloading } => {}
            Phase::Running { says: Says::Stopping }
            | Phase::StartPre { .. }
            | Phase::Launching { .. }
            | Phase::Starting(_)
            | Phase::StartPost { .. }
            | Phase::Exited
            | Phase::Reload { .. }
            | Phase::ReloadSignal { .. }
            | Phase::StopAlone { .. }
            | Phase::StopCommands { .. }
            | Phase::StopSignal
            | Phase::StopKill
            | Phase::StopPost { .. }
            | Phase::Hook { .. } => return Some(Outcome::NotRunning),
        }
        if self.run.main != Main::Alive || !self.run.populated {
            // Its end has been half reported.
            return Some(Outcome::NotRunning);
        }
        if !self.policy.reload.is_empty() {
            self.run.deadline = self.policy.timeout_start.map(|limit| self.turn.now.after(limit));
            self.record(Note::Reloading);
            self.run.phase = Phase::Reload { index: 0, expired: false };
            self.launch(Role::Reload(0));
            return None;
        }
        let Some(signal) = self.policy.reload_signal else { return Some(Outcome::NotSupported) };
        self.record(Note::Reloading);
        self.act(Action::Signal { id: self.id, target: Target::Main, signal });
        if self.policy.kind == ServiceType::NotifyReload {
            self.run.deadline = self.policy.timeout_start.map(|limit| self.turn.now.after(limit));
            self.run.phase = Phase::ReloadSignal { since: self.turn.now, confirmed: false };
            return None;
        }
        self.record(Note::Reloaded(None));
        Some(Outcome::Done)
    }

    /// A reload command ended; a failure fails the reload and nothing else.
    pub fn reload_command_ended(&mut self, index: u16, failure: Option<Cause>) -> Flow {
        if failure.is_none() && usize::from(index) + 1 < self.policy.reload.len() && self.run.populated {
            self.run.phase = Phase::Reload { index: index + 1, expired: false };
            self.launch(Role::Reload(index + 1));
            return Flow::Goes;
        }
        self.reload_over(failure)
    }

    /// The reload is done, or came to nothing; the service runs on in both.
    pub fn reload_over(&mut self, failure: Option<Cause>) -> Flow {
        self.run.phase = Phase::Running { says: Says::Serving };
        self.run.deadline = None;
        self.record(Note::Reloaded(failure.clone()));
        let outcome = failure.map_or(Outcome::Done, Outcome::Failed);
        if self.waiters.answer_current_reloads(self.turn, outcome) {
            // Somebody asked while this one ran: it may have read the files before they were changed.
            if let Some(outcome) = self.reload() {
                self.waiters.answer_reloads(self.turn, outcome);
            }
        }
        Flow::Goes
    }
}

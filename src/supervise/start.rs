//! The way up of a run, and what its reports mean in every phase.
//!
//! One function for each fact, and in each a look at every phase; what makes no sense in one is let pass with a word on
//! why it can come at all. What the service says is in `said.rs`, the way down in `stop.rs`.

use super::exit::{Circumstance, SIGKILL, failure_of_command, is_clean_launcher, result_of_main};
use super::run::{Await, Flow, Live, Main, Phase, Says, Step};
use super::service::Pulse;
use super::{Action, Cause, Command, CommandOutcome, Exit, LaunchFailure, Note, Outcome, Role, ServiceResult, Target};
use crate::unit::{ReadyKind, ServiceType};

impl Live<'_, '_> {
    /// Begins the run.
    pub fn begin(&mut self) {
        self.run.deadline = self.policy.timeout_start.map(|limit| self.turn.now.after(limit));
        if self.policy.start_pre.is_empty() {
            self.launch_main();
        } else {
            self.launch_start_pre(0);
        }
    }

    fn launch_start_pre(&mut self, index: u16) {
        self.run.phase = Phase::StartPre { index, step: Step::Running };
        self.launch(Role::StartPre(index));
    }

    fn launch_main(&mut self) {
        self.run.phase = Phase::Launching { ready: false };
        self.launch(Role::Main);
    }

    pub fn executed(&mut self, role: Role) -> Flow {
        match role {
            Role::Main => self.main_executed(),
            // Of a command only the end counts.
            Role::StartPre(_)
            | Role::StartPost(_)
            | Role::Reload(_)
            | Role::Stop(_)
            | Role::StopPost(_)
            | Role::Hook(_)
            | Role::Ready
            | Role::Health => Flow::Goes,
        }
    }

    fn main_executed(&mut self) -> Flow {
        let ended = match self.run.main {
            Main::Launching { ended } => ended,
            // Adopted while the report was still in the pipe.
            Main::Absent | Main::Alive | Main::Gone => return Flow::Goes,
        };
        self.run.main = Main::Alive;
        let flow = match self.run.phase {
            Phase::Launching { ready } => self.await_readiness(ready),
            // Stopped in the middle of the launch; exec was quicker than the kill.
            Phase::StopCommands { .. } | Phase::StopSignal | Phase::StopKill => Flow::Goes,
            // Cannot be: these come before the launch or after its report.
            Phase::StartPre { .. }
            | Phase::Starting(_)
            | Phase::StartPost { .. }
            | Phase::Running { .. }
            | Phase::Reload { .. }
            | Phase::ReloadSignal { .. }
            | Phase::Exited
            | Phase::StopAlone { .. }
            | Phase::StopPost { .. }
            | Phase::Hook { .. } => Flow::Goes,
        };
        match (flow, ended) {
            (Flow::Goes, Some((exit, oom))) => self.main_exited(exit, oom),
            (Flow::Goes, None) | (Flow::Over, _) => flow,
        }
    }

    fn await_readiness(&mut self, ready: bool) -> Flow {
        let waiting_for = match self.policy.ready {
            ReadyKind::Executed => return self.ready(),
            ReadyKind::Notify if ready => return self.ready(),
            ReadyKind::Notify | ReadyKind::Checked => Await::Readiness,
            ReadyKind::Exited => Await::Exit,
            ReadyKind::PidFile => Await::Launcher,
        };
        if self.policy.ready == ReadyKind::Checked {
            self.watch_readiness();
        }
        self.run.phase = Phase::Starting(waiting_for);
        Flow::Goes
    }

    pub fn launch_failed(&mut self, failure: LaunchFailure) -> Flow {
        match self.run.main {
            Main::Launching { .. } => self.run.main = Main::Gone,
            // A second report of the same launch.
            Main::Absent | Main::Alive | Main::Gone => return Flow::Goes,
        }
        match self.run.phase {
            Phase::Launching { .. } => {
                // As systemd has it: the step's code stands for the exit status.
                self.run.main_exit = Some(Exit::Exited(failure.code));
                self.fail(ServiceResult::ExitCode, Cause::Launch(failure.into()));
                self.kill()
            }
            // Stopped in the middle of the launch: the kill is why it failed.
            Phase::StopCommands { .. } | Phase::StopSignal | Phase::StopKill => self.go_down(),
            // Cannot be: these come before the launch or after its report.
            Phase::StartPre { .. }
            | Phase::Starting(_)
            | Phase::StartPost { .. }
            | Phase::Running { .. }
            | Phase::Reload { .. }
            | Phase::ReloadSignal { .. }
            | Phase::Exited
            | Phase::StopAlone { .. }
            | Phase::StopPost { .. }
            | Phase::Hook { .. } => Flow::Goes,
        }
    }

    pub fn main_exited(&mut self, exit: Exit, oom: bool) -> Flow {
        match self.run.main {
            Main::Alive => self.run.main = Main::Gone,
            Main::Launching { .. } => {
                self.run.main = Main::Launching { ended: Some((exit, oom)) };
                return Flow::Goes;
            }
            // The set-up stage of a launch that has been reported as failed, or a process that is no longer main.
            Main::Absent | Main::Gone => return Flow::Goes,
        }
        match self.run.phase {
            Phase::Starting(Await::Launcher) => return self.launcher_exited(exit, oom),
            // Main is not alive there.
            Phase::StartPre { .. }
            | Phase::Launching { .. }
            | Phase::Starting(Await::PidFile)
            | Phase::Exited
            | Phase::StopAlone { .. }
            | Phase::StopPost { .. }
            | Phase::Hook { .. } => {
                return Flow::Goes;
            }
            Phase::Starting(Await::Readiness | Await::Exit)
            | Phase::StartPost { .. }
            | Phase::Running { .. }
            | Phase::Reload { .. }
            | Phase::ReloadSignal { .. }
            | Phase::StopCommands { .. }
            | Phase::StopSignal
            | Phase::StopKill => {}
        }
        self.run.main_exit = Some(exit);
        let result = result_of_main(self.policy, exit, oom, self.circumstance());
        self.main_gone(exit, result)
    }

    /// In what circumstances the main process has just ended.
    fn circumstance(&self) -> Circumstance {
        match self.run.phase {
            Phase::StopCommands { .. } | Phase::StopSignal => Circumstance::SentByStop(self.stop_signal()),
            Phase::StopKill => Circumstance::SentByStop(SIGKILL),
            Phase::StartPre { .. }
            | Phase::Launching { .. }
            | Phase::Starting(_)
            | Phase::StartPost { .. }
            | Phase::Running { .. }
            | Phase::Reload { .. }
            | Phase::ReloadSignal { .. }
            | Phase::Exited
            | Phase::StopAlone { .. }
            | Phase::StopPost { .. }
            | Phase::Hook { .. } => Circumstance::Alone,
        }
    }

    /// The main process, which had been executed, is gone.
    fn main_gone(&mut self, exit: Exit, result: ServiceResult) -> Flow {
        let cause = Cause::Main { exit, result };
        match self.run.phase {
            Phase::Starting(Await::Exit) if result == ServiceResult::Success => self.ready(),
            Phase::Starting(Await::Readiness) if result == ServiceResult::Success => {
                self.fail(ServiceResult::Protocol, Cause::Protocol);
                self.drain()
            }
            // A start that was not complete cannot become so any more, even after a good end: exec_start_post joins
            // the container, which goes away with the main process.
            Phase::Starting(_)
            | Phase::StartPre { .. }
            | Phase::Launching { .. }
            | Phase::StartPost { .. }
            | Phase::Running { .. }
            | Phase::Reload { .. }
            | Phase::ReloadSignal { .. } => {
                self.fail(result, cause);
                self.drain()
            }
            Phase::StopCommands { .. }
            | Phase::StopSignal
            | Phase::StopKill
            | Phase::Exited
            | Phase::StopAlone { .. }
            | Phase::StopPost { .. }
            | Phase::Hook { .. } => {
                if result != ServiceResult::Success {
                    self.run.blame(result, cause);
                }
                self.go_down()
            }
        }
    }

    /// The first process of a forking service ended: well, if it left a daemon behind.
    fn launcher_exited(&mut self, exit: Exit, oom: bool) -> Flow {
        if !is_clean_launcher(self.policy, exit) {
            self.run.main_exit = Some(exit);
            let result = match result_of_main(self.policy, exit, oom, Circumstance::Alone) {
                // SIGTERM and its like are a clean end of a daemon, not of its launcher.
                ServiceResult::Success => ServiceResult::Signal,
                result => result,
            };
            self.fail(result, Cause::Main { exit, result });
            return self.drain();
        }
        if !self.run.populated {
            self.fail(ServiceResult::Protocol, Cause::Protocol);
            return self.drain();
        }
        self.run.main = Main::Absent;
        self.run.phase = Phase::Starting(Await::PidFile);
        self.watch_readiness();
        Flow::Goes
    }

    /// Has somebody look for what makes it ready; `ready.timeout` begins here and shortens `timeout_start`.
    pub fn watch_readiness(&mut self) {
        let limit = self.policy.ready_timeout.map(|limit| self.turn.now.after(limit));
        self.run.deadline = [self.run.deadline, limit].into_iter().flatten().min();
        self.act(Action::WatchReadiness { id: self.id });
    }

    pub fn ready(&mut self) -> Flow {
        self.continue_start_post(0)
    }

    fn continue_start_post(&mut self, index: u16) -> Flow {
        if usize::from(index) >= self.policy.start_post.len() {
            return self.started();
        }
        self.run.phase = Phase::StartPost { index };
        // An empty group with a main process that is not reported dead yet: there is nothing left to join, and the
        // report is on its way. (A oneshot's main process has ended as it should; its commands come after it.)
        if self.run.populated || self.run.main == Main::Gone {
            self.launch(Role::StartPost(index));
        }
        Flow::Goes
    }

    fn started(&mut self) -> Flow {
        self.run.started = Some(self.turn.now);
        self.run.deadline = None;
        self.run.phase = Phase::Running { says: Says::Serving };
        self.watch(self.turn.now);
        self.record(Note::Started);
        self.waiters.answer_starts(self.turn, Outcome::Done);
        self.turn.pulse(self.id, Pulse::Started);
        match self.policy.kind {
            ServiceType::Oneshot if self.policy.remains => self.remain(),
            ServiceType::Oneshot => self.drain(),
            ServiceType::Exec | ServiceType::Notify | ServiceType::NotifyReload | ServiceType::Forking => Flow::Goes,
        }
    }

    pub fn command_ended(&mut self, role: Role, outcome: CommandOutcome) -> Flow {
        if self.run.control != Some(role) {
            // A second report of the same command.
            return Flow::Goes;
        }
        self.run.control = None;
        let failure = failure_of_command(self.command(role).ignore_failure, &outcome);
        match (self.run.phase, failure) {
            (Phase::StartPre { .. }, Some(result)) => {
                self.fail(result, Cause::Command { role, outcome });
                self.kill()
            }
            (Phase::StartPre { index, .. }, None) => {
                self.run.phase = Phase::StartPre { index, step: Step::Clearing };
                self.clear_start_pre(index)
            }
            (Phase::StartPost { .. }, Some(result)) => {
                let is_launched = matches!(outcome, CommandOutcome::Exited(_));
                self.fail(result, Cause::Command { role, outcome });
                // Without a main process there is nobody whom a signal could ask to leave in order.
                if is_launched || self.run.main == Main::Alive { self.drain() } else { self.kill() }
            }
            (Phase::StartPost { index }, None) => self.continue_start_post(index + 1),
            (Phase::Reload { index, expired }, failure) => {
                let failed = expired || failure.is_some();
                self.reload_command_ended(index, failed.then_some(Cause::Command { role, outcome }))
            }
            (Phase::StopCommands { .. }, Some(result)) if matches!(role, Role::Stop(_)) => {
                self.run.blame(result, Cause::Command { role, outcome });
                self.signal()
            }
            (Phase::StopPost { index, step: Step::Running }, failure) => {
                if let Some(result) = failure {
                    self.run.blame(result, Cause::Command { role, outcome });
                }
                self.stop_post_ended(index, failure.is_some())
            }
            (Phase::Hook { hook, step: Step::Running }, _) => self.hook_ended(hook, outcome),
            (Phase::StopAlone { next, step: Step::Running }, failure) => {
                self.stop_alone_ended(next, role, outcome, failure)
            }
            // A command that the stop cut short; its outcome is our own doing.
            (Phase::StopCommands { .. } | Phase::StopSignal | Phase::StopKill, _)
            | (
                Phase::StopAlone { step: Step::Clearing, .. }
                | Phase::StopPost { step: Step::Clearing, .. }
                | Phase::Hook { step: Step::Clearing, .. },
                _,
            ) => self.go_down(),
            // Cannot be: no command is out in these phases.
            (
                Phase::Launching { .. }
                | Phase::Starting(_)
                | Phase::Running { .. }
                | Phase::Exited
                | Phase::ReloadSignal { .. },
                _,
            ) => Flow::Goes,
        }
    }

    /// The command of a role; one that the policy does not have (it was changed under an adopted run) counts as one
    /// whose failure matters.
    fn command(&self, role: Role) -> Command {
        let (list, index) = match role {
            Role::Main | Role::Ready | Role::Health | Role::Hook(_) => return Command { ignore_failure: false },
            Role::StartPre(index) => (&self.policy.start_pre, index),
            Role::StartPost(index) => (&self.policy.start_post, index),
            Role::Reload(index) => (&self.policy.reload, index),
            Role::Stop(index) => (&self.policy.stop, index),
            Role::StopPost(index) => (&self.policy.stop_post, index),
        };
        list.get(usize::from(index)).copied().unwrap_or(Command { ignore_failure: false })
    }

    /// A command before the main process has ended well: what it left is killed, then comes the next.
    fn clear_start_pre(&mut self, index: u16) -> Flow {
        if self.run.populated {
            self.act(Action::KillCgroup { id: self.id });
        } else if usize::from(index) + 1 < self.policy.start_pre.len() {
            self.launch_start_pre(index + 1);
        } else {
            self.launch_main();
        }
        Flow::Goes
    }

    pub fn cgroup_emptied(&mut self) -> Flow {
        self.run.populated = false;
        match self.run.phase {
            Phase::StartPre { index, step: Step::Clearing } => self.clear_start_pre(index),
            Phase::Starting(Await::PidFile) => {
                self.fail(ServiceResult::Protocol, Cause::Protocol);
                self.drain()
            }
            // The end of the process that was last is on its way.
            Phase::StartPre { step: Step::Running, .. }
            | Phase::Launching { .. }
            | Phase::Starting(Await::Readiness | Await::Exit | Await::Launcher)
            | Phase::StartPost { .. }
            | Phase::Running { .. }
            | Phase::Reload { .. }
            | Phase::ReloadSignal { .. }
            | Phase::StopAlone { step: Step::Running, .. }
            | Phase::StopPost { step: Step::Running, .. }
            | Phase::Hook { step: Step::Running, .. } => Flow::Goes,
            Phase::Exited => self.exited_emptied(),
            Phase::StopCommands { .. }
            | Phase::StopSignal
            | Phase::StopKill
            | Phase::StopAlone { step: Step::Clearing, .. }
            | Phase::StopPost { step: Step::Clearing, .. }
            | Phase::Hook { step: Step::Clearing, .. } => self.go_down(),
        }
    }

    pub fn deadline_passed(&mut self) -> Flow {
        if self.run.deadline.is_none_or(|deadline| deadline > self.turn.now) {
            // What watches over it, or the deadline of another service.
            return if self.run.is_up() { self.watch_deadline_passed() } else { Flow::Goes };
        }
        self.run.deadline = None;
        match self.run.phase {
            Phase::StartPre { step: Step::Clearing, .. } | Phase::Launching { .. } => {
                self.fail(ServiceResult::Timeout, Cause::StartTimeout);
                self.record(Note::Killing);
                self.kill()
            }
            Phase::StartPre { step: Step::Running, .. } | Phase::Starting(_) | Phase::StartPost { .. } => {
                self.fail(ServiceResult::Timeout, Cause::StartTimeout);
                self.drain()
            }
            Phase::Reload { index, .. } => {
                self.run.phase = Phase::Reload { index, expired: true };
                self.record(Note::Killing);
                self.act(Action::Signal { id: self.id, target: Target::Control, signal: SIGKILL });
                Flow::Goes
            }
            Phase::ReloadSignal { .. } => {
                // The reload came to nothing; the service goes on as it is.
                self.reload_over(Some(Cause::ReloadTimeout))
            }
            Phase::Running { says: Says::Stopping } => {
                self.fail(ServiceResult::Timeout, Cause::StopTimeout);
                self.record(Note::Killing);
                self.kill()
            }
            // Its limits are in `watch`.
            Phase::Running { says: Says::Serving | Says::Reloading } => Flow::Goes,
            Phase::StopCommands { .. } | Phase::StopSignal | Phase::StopKill | Phase::StopPost { .. } => {
                self.stop_deadline_passed()
            }
            Phase::Hook { hook, step } => self.hook_deadline_passed(hook, step),
            Phase::Exited => self.exited_deadline_passed(),
            Phase::StopAlone { step, .. } => self.stop_alone_deadline_passed(step),
        }
    }
}

//! One run of a service, from the first `exec_start_pre` until nothing of it is left: phases and the way up.
//!
//! The way down is in `stop.rs`. Neither knows of restarts, requests to start, or other units: they see one policy and
//! one control group, and say [`Flow::Over`] when main process, command and group are gone and `exec_stop_post` is done.

use super::exit::{Circumstance, SIGKILL, failure_of_command, is_clean_launcher, result_of_main};
use super::service::{Pulse, Turn, Waiters};
use super::{
    Action, Cause, Command, CommandOutcome, Exit, LaunchFailure, Moment, Note, Outcome, Policy, Role, ServiceId,
    ServiceResult, Target,
};
use crate::unit::{ReadyKind, ServiceType};

/// Where a run is. The diagram is in the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// `exec_start_pre[index]`.
    StartPre { index: u16, step: Step },
    /// The main process is being set up; `ready` when READY=1 was read before the report of the exec.
    Launching { ready: bool },
    /// The program runs and is not yet ready.
    Starting(Await),
    /// `exec_start_post[index]`.
    StartPost { index: u16 },
    /// Ready.
    Running { says: Says },
    /// `exec_reload[index]`; `expired` once `timeout_start` has passed and the command was killed.
    Reload { index: u16, expired: bool },
    /// `exec_stop`; `next` is the first that has not been launched.
    StopCommands { next: u16 },
    /// Waits for main process and group to go away after the stop signal.
    StopSignal,
    /// The group has been killed.
    StopKill,
    /// `exec_stop_post[index]`.
    StopPost { index: u16, step: Step },
}

/// Where a command with a container of its own is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It runs.
    Running,
    /// It has ended (or must); what it left in the group is killed before anything else is launched.
    Clearing,
}

/// What a program that runs is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Await {
    /// READY=1, or its sockets.
    Readiness,
    /// The end of a oneshot.
    Exit,
    /// The end of the first process of a forking service.
    Launcher,
    /// The pid file of a forking service.
    PidFile,
}

/// What a running service says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// Nothing, or READY=1.
    Serving,
    /// RELOADING=1.
    Reloading,
    /// STOPPING=1.
    Stopping,
}

/// The main process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Main {
    /// Not launched, or (forking) not known yet.
    Absent,
    /// No report of the exec yet. Its end may be seen first and is kept until the report comes, so that no report of
    /// this launch can be taken for one of the next.
    Launching { ended: Option<(Exit, bool)> },
    /// Executed.
    Alive,
    /// Ended, or never got as far as exec.
    Gone,
}

/// Has somebody asked for the end of this run?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Nobody.
    No,
    /// Yes, but units that are ordered after this one go first.
    Queued,
    /// Yes.
    Granted,
}

/// Does the run go on?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Flow {
    /// It does.
    Goes,
    /// Nothing of it is left.
    Over,
}

/// A fact about one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    Executed(Role),
    LaunchFailed(LaunchFailure),
    MainExited { exit: Exit, oom: bool },
    CommandEnded { role: Role, outcome: CommandOutcome },
    CgroupEmptied,
    BecameReady,
    Reloading,
    Stopping,
    StatusText(String),
    DeadlinePassed,
}

/// All that exists only while something runs.
#[derive(Debug)]
pub(super) struct Run {
    pub phase: Phase,
    /// When the present phase has lasted long enough.
    pub deadline: Option<Moment>,
    /// Something was launched into the group and it has not been reported empty since.
    pub populated: bool,
    pub main: Main,
    /// The command that was launched last and has not been reported as ended.
    pub control: Option<Role>,
    /// When the start was complete.
    pub started: Option<Moment>,
    pub stop: Stop,
    /// A start that people asked for follows.
    pub then_start: bool,
    /// First failure.
    pub result: ServiceResult,
    /// Why it ended, or will.
    pub cause: Option<Cause>,
    /// How the main process ended.
    pub main_exit: Option<Exit>,
}

impl Run {
    pub fn new() -> Run {
        Run {
            phase: Phase::Launching { ready: false },
            deadline: None,
            populated: false,
            main: Main::Absent,
            control: None,
            started: None,
            stop: Stop::No,
            then_start: false,
            result: ServiceResult::Success,
            cause: None,
            main_exit: None,
        }
    }

    /// On its way up, or up: not on its way down, whoever wanted that.
    pub fn is_heading_up(&self) -> bool {
        match self.phase {
            Phase::StartPre { .. }
            | Phase::Launching { .. }
            | Phase::Starting(_)
            | Phase::StartPost { .. }
            | Phase::Running { .. }
            | Phase::Reload { .. } => self.stop == Stop::No,
            Phase::StopCommands { .. } | Phase::StopSignal | Phase::StopKill | Phase::StopPost { .. } => false,
        }
    }

    /// Down means empty: no process of the run is known and the group has none.
    pub fn is_empty(&self) -> bool {
        matches!(self.main, Main::Absent | Main::Gone) && self.control.is_none() && !self.populated
    }

    /// The first failure of a run wins; a good end only says how it came.
    pub fn blame(&mut self, result: ServiceResult, cause: Cause) {
        if self.result == ServiceResult::Success && (result != ServiceResult::Success || self.cause.is_none()) {
            self.result = result;
            self.cause = Some(cause);
        }
    }
}

/// A run in the hands of its service, for the length of one event.
pub(super) struct Live<'a, 't> {
    pub id: ServiceId,
    pub policy: &'a Policy,
    pub run: &'a mut Run,
    pub waiters: &'a mut Waiters,
    pub turn: &'a mut Turn<'t>,
}

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

    /// Takes a fact in. Each of these looks at every phase; what makes no sense there is let pass with a word why.
    pub fn learn(&mut self, fact: Fact) -> Flow {
        match fact {
            Fact::Executed(role) => self.executed(role),
            Fact::LaunchFailed(failure) => self.launch_failed(failure),
            Fact::MainExited { exit, oom } => self.main_exited(exit, oom),
            Fact::CommandEnded { role, outcome } => self.command_ended(role, outcome),
            Fact::CgroupEmptied => self.cgroup_emptied(),
            Fact::BecameReady => self.became_ready(),
            Fact::Reloading => self.says(Says::Reloading),
            Fact::Stopping => self.says(Says::Stopping),
            Fact::DeadlinePassed => self.deadline_passed(),
            // The service keeps the text itself, as it outlives the run.
            Fact::StatusText(_) => Flow::Goes,
        }
    }

    pub fn record(&mut self, note: Note) {
        self.turn.actions.push(Action::Record { id: self.id, note });
    }

    pub fn act(&mut self, action: Action) {
        self.turn.actions.push(action);
    }

    pub fn launch(&mut self, role: Role) {
        self.run.populated = true;
        match role {
            Role::Main => self.run.main = Main::Launching { ended: None },
            Role::StartPre(_) | Role::StartPost(_) | Role::Reload(_) | Role::Stop(_) | Role::StopPost(_) => {
                self.run.control = Some(role);
            }
        }
        let (result, main_exit) = (self.run.result, self.run.main_exit);
        self.act(Action::Launch { id: self.id, role, result, main_exit });
    }

    fn launch_start_pre(&mut self, index: u16) {
        self.run.phase = Phase::StartPre { index, step: Step::Running };
        self.launch(Role::StartPre(index));
    }

    fn launch_main(&mut self) {
        self.run.phase = Phase::Launching { ready: false };
        self.launch(Role::Main);
    }

    fn executed(&mut self, role: Role) -> Flow {
        match role {
            Role::Main => self.main_executed(),
            // Of a command only the end counts.
            Role::StartPre(_) | Role::StartPost(_) | Role::Reload(_) | Role::Stop(_) | Role::StopPost(_) => Flow::Goes,
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
            | Phase::StopPost { .. } => Flow::Goes,
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
            ReadyKind::Notify | ReadyKind::Listening => Await::Readiness,
            ReadyKind::Exited => Await::Exit,
            ReadyKind::PidFile => Await::Launcher,
        };
        if self.policy.ready == ReadyKind::Listening {
            self.act(Action::WatchReadiness { id: self.id });
        }
        self.run.phase = Phase::Starting(waiting_for);
        Flow::Goes
    }

    fn launch_failed(&mut self, failure: LaunchFailure) -> Flow {
        match self.run.main {
            Main::Launching { .. } => self.run.main = Main::Gone,
            // A second report of the same launch.
            Main::Absent | Main::Alive | Main::Gone => return Flow::Goes,
        }
        match self.run.phase {
            Phase::Launching { .. } => {
                // As systemd has it: the step's code stands for the exit status.
                self.run.main_exit = Some(Exit::Exited(failure.code));
                self.fail(ServiceResult::ExitCode, Cause::Launch(failure));
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
            | Phase::StopPost { .. } => Flow::Goes,
        }
    }

    fn main_exited(&mut self, exit: Exit, oom: bool) -> Flow {
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
            | Phase::StopPost { .. } => {
                return Flow::Goes;
            }
            Phase::Starting(Await::Readiness | Await::Exit)
            | Phase::StartPost { .. }
            | Phase::Running { .. }
            | Phase::Reload { .. }
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
            Phase::StopCommands { .. } | Phase::StopSignal => Circumstance::SentByStop(self.policy.stop_signal),
            Phase::StopKill => Circumstance::SentByStop(SIGKILL),
            Phase::StartPre { .. }
            | Phase::Launching { .. }
            | Phase::Starting(_)
            | Phase::StartPost { .. }
            | Phase::Running { .. }
            | Phase::Reload { .. }
            | Phase::StopPost { .. } => Circumstance::Alone,
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
            | Phase::Reload { .. } => {
                self.fail(result, cause);
                self.drain()
            }
            Phase::StopCommands { .. } | Phase::StopSignal | Phase::StopKill | Phase::StopPost { .. } => {
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
        self.act(Action::WatchReadiness { id: self.id });
        Flow::Goes
    }

    fn became_ready(&mut self) -> Flow {
        match self.run.phase {
            Phase::Launching { .. } => {
                self.run.phase = Phase::Launching { ready: true };
                Flow::Goes
            }
            Phase::Starting(Await::Readiness) => self.ready(),
            Phase::Starting(Await::PidFile) => {
                self.run.main = Main::Alive;
                self.ready()
            }
            Phase::Running { says: Says::Reloading } => {
                self.run.phase = Phase::Running { says: Says::Serving };
                self.record(Note::Reloaded(None));
                Flow::Goes
            }
            // READY=1 that the type does not ask for, that comes twice, or that was on its way when the stop began.
            Phase::Starting(Await::Exit | Await::Launcher)
            | Phase::StartPre { .. }
            | Phase::StartPost { .. }
            | Phase::Running { says: Says::Serving | Says::Stopping }
            | Phase::Reload { .. }
            | Phase::StopCommands { .. }
            | Phase::StopSignal
            | Phase::StopKill
            | Phase::StopPost { .. } => Flow::Goes,
        }
    }

    fn says(&mut self, says: Says) -> Flow {
        match self.run.phase {
            Phase::Running { says: before } if before != says => {
                self.run.phase = Phase::Running { says };
                self.record(if says == Says::Reloading { Note::Reloading } else { Note::Stopping });
            }
            // Said twice; said by a program that is not ready yet or is being stopped anyway; or during a reload that
            // rsvc asked for and therefore shows already.
            Phase::Running { .. }
            | Phase::StartPre { .. }
            | Phase::Launching { .. }
            | Phase::Starting(_)
            | Phase::StartPost { .. }
            | Phase::Reload { .. }
            | Phase::StopCommands { .. }
            | Phase::StopSignal
            | Phase::StopKill
            | Phase::StopPost { .. } => {}
        }
        Flow::Goes
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
        self.record(Note::Started);
        self.waiters.answer_starts(self.turn, Outcome::Done);
        self.turn.pulse(self.id, Pulse::Started);
        if self.policy.kind == ServiceType::Oneshot { self.drain() } else { Flow::Goes }
    }

    /// Something went wrong, or the run ended by itself (`result` may be success).
    pub fn fail(&mut self, result: ServiceResult, cause: Cause) {
        self.run.blame(result, cause.clone());
        self.waiters.answer_reloads(self.turn, Outcome::Failed(cause.clone()));
        self.record(Note::Ended(cause));
    }

    fn command_ended(&mut self, role: Role, outcome: CommandOutcome) -> Flow {
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
            // A command that the stop cut short; its outcome is our own doing.
            (Phase::StopCommands { .. } | Phase::StopSignal | Phase::StopKill, _)
            | (Phase::StopPost { step: Step::Clearing, .. }, _) => self.go_down(),
            // Cannot be: no command is out in these phases.
            (Phase::Launching { .. } | Phase::Starting(_) | Phase::Running { .. }, _) => Flow::Goes,
        }
    }

    /// The command of a role; one that the policy does not have (it was changed under an adopted run) counts as one
    /// whose failure matters.
    fn command(&self, role: Role) -> Command {
        let (list, index) = match role {
            Role::Main => return Command { ignore_failure: false },
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

    fn cgroup_emptied(&mut self) -> Flow {
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
            | Phase::StopPost { step: Step::Running, .. } => Flow::Goes,
            Phase::StopCommands { .. }
            | Phase::StopSignal
            | Phase::StopKill
            | Phase::StopPost { step: Step::Clearing, .. } => self.go_down(),
        }
    }

    fn deadline_passed(&mut self) -> Flow {
        if self.run.deadline.is_none_or(|deadline| deadline > self.turn.now) {
            // The deadline of another service.
            return Flow::Goes;
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
            // Nothing limits the time of running.
            Phase::Running { .. } => Flow::Goes,
            Phase::StopCommands { .. } | Phase::StopSignal | Phase::StopKill | Phase::StopPost { .. } => {
                self.stop_deadline_passed()
            }
        }
    }
}

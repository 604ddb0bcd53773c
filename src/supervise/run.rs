//! One run of a service, from the first `exec_start_pre` until nothing of it is left: its phases.
//!
//! The way up is in `start.rs`, the way down in `stop.rs`. Neither knows of restarts, requests to start, or other units:
//! they see one policy and one control group, and say [`Flow::Over`] when main process, command and group are gone and
//! `exec_stop_post` is done, and again after each hook (see `hooks`).

use super::exit::SIGABRT;
use super::health::Checks;
use super::hooks::Epilogue;
use super::service::Turn;
use super::waiters::Waiters;
use super::watch::Watchdog;
use super::{
    Action, Cause, CommandOutcome, Descent, Exit, LaunchFailure, Moment, Note, Outcome, Policy, Role, ServiceId,
    ServiceResult, StopStep, Word,
};
use crate::unit::Hook;
use std::time::Duration;

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
    /// `reload_signal` was sent `since`; `confirmed` by a RELOADING=1 that is not older, so that READY=1 ends it.
    ReloadSignal { since: Moment, confirmed: bool },
    /// The work of a oneshot is done and it stays up (see `remain`).
    Exited,
    /// `exec_stop` of one that stayed up so; `next` is the first that has not been launched.
    StopAlone { next: u16, step: Step },
    /// `exec_stop`; `next` is the first that has not been launched.
    StopCommands { next: u16 },
    /// Waits for main process and group to go away after the stop signal.
    StopSignal,
    /// The group has been killed.
    StopKill,
    /// `exec_stop_post[index]`.
    StopPost { index: u16, step: Step },
    /// One of `[hooks]`.
    Hook { hook: Hook, step: Step },
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
    /// READY=1, or what `[ready]` looks for.
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

/// What follows the run, when nobody asks for its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// What the restart policy says.
    Policy,
    /// Another run.
    Restart,
    /// Nothing.
    Rest,
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
    Reloading { begun: Option<Moment> },
    Stopping,
    StatusText(String),
    SocketsOpened,
    SocketsFailed(LaunchFailure),
    Triggered,
    Said(Word),
    Checked { number: u32, failure: Option<String> },
    LaunchWaits,
    LaunchBegins,
    DeadlinePassed,
}

/// All that exists only while something runs.
#[derive(Debug)]
pub(super) struct Run {
    pub phase: Phase,
    /// When the present phase has lasted long enough.
    pub deadline: Option<Moment>,
    /// A launch waits for its turn: the time that the phase has left then.
    pub held: Option<Option<Duration>>,
    pub watchdog: Watchdog,
    /// When `runtime_max` is over.
    pub runtime_end: Option<Moment>,
    /// Questions for its health.
    pub checks: Option<Box<Checks>>,
    /// The stop signal is SIGABRT.
    pub abort: bool,
    /// The stop signal has been sent to those whom the main process left.
    pub reminded: bool,
    pub after: After,
    /// Something was launched into the group and it has not been reported empty since.
    pub populated: bool,
    pub main: Main,
    /// The command that was launched last and has not been reported as ended.
    pub control: Option<Role>,
    /// When the start was complete.
    pub started: Option<Moment>,
    /// When it began to go down.
    pub ended: Option<Moment>,
    pub stop: Stop,
    /// The stop is not people's wish: this unit, to which it is bound, has ended.
    pub fallen_with: Option<String>,
    /// A start that people asked for follows.
    pub then_start: bool,
    /// That start is the one which a former daemon had begun: the counters go on.
    pub resumed: bool,
    /// First failure.
    pub result: ServiceResult,
    /// Why it ended, or will.
    pub cause: Option<Cause>,
    /// How the main process ended.
    pub main_exit: Option<Exit>,
    /// What comes after its end.
    pub epilogue: Epilogue,
}

impl Run {
    pub fn new() -> Run {
        Run {
            phase: Phase::Launching { ready: false },
            deadline: None,
            held: None,
            watchdog: Watchdog::default(),
            runtime_end: None,
            checks: None,
            abort: false,
            reminded: false,
            after: After::Policy,
            populated: false,
            main: Main::Absent,
            control: None,
            started: None,
            ended: None,
            stop: Stop::No,
            fallen_with: None,
            then_start: false,
            resumed: false,
            result: ServiceResult::Success,
            cause: None,
            main_exit: None,
            epilogue: Epilogue::default(),
        }
    }

    /// On its way up, or up: not on its way down, whoever wanted that.
    pub fn is_heading_up(&self) -> bool {
        match self.phase {
            Phase::StartPre { .. }
            | Phase::Launching { .. }
            | Phase::Starting(_)
            | Phase::StartPost { .. }
            | Phase::Running { says: Says::Serving | Says::Reloading }
            | Phase::Exited
            | Phase::Reload { .. }
            | Phase::ReloadSignal { .. } => self.stop == Stop::No,
            Phase::Running { says: Says::Stopping }
            | Phase::StopAlone { .. }
            | Phase::StopCommands { .. }
            | Phase::StopSignal
            | Phase::StopKill
            | Phase::StopPost { .. }
            | Phase::Hook { .. } => false,
        }
    }

    /// It has become ready, and that is not all there is to its start.
    pub fn said_ready(&self) -> bool {
        matches!(self.phase, Phase::StartPost { .. } | Phase::Launching { ready: true })
    }

    /// Up, and not on its way down by its own word: the time in which it is watched.
    pub fn is_up(&self) -> bool {
        match self.phase {
            Phase::Running { says: Says::Serving | Says::Reloading }
            | Phase::Reload { .. }
            | Phase::ReloadSignal { .. } => true,
            Phase::Running { says: Says::Stopping }
            | Phase::StartPre { .. }
            | Phase::Launching { .. }
            | Phase::Starting(_)
            | Phase::StartPost { .. }
            | Phase::Exited
            | Phase::StopAlone { .. }
            | Phase::StopCommands { .. }
            | Phase::StopSignal
            | Phase::StopKill
            | Phase::StopPost { .. }
            | Phase::Hook { .. } => false,
        }
    }

    /// The earliest moment at which something is due.
    pub fn next_deadline(&self) -> Option<Moment> {
        let watched = self.is_up().then(|| {
            let check = self.checks.as_ref().map(|checks| checks.due);
            [self.watchdog.due, self.runtime_end, check].into_iter().flatten().min()
        });
        [self.deadline, watched.flatten()].into_iter().flatten().min()
    }

    /// What a run on its way down is at; `None` for one that is not.
    pub fn stop_step(&self, policy: &Policy) -> Option<StopStep> {
        match self.phase {
            Phase::StopCommands { .. }
            | Phase::StopAlone { step: Step::Running, .. }
            | Phase::StopPost { step: Step::Running, .. }
            | Phase::Hook { step: Step::Running, .. } => {
                Some(self.control.map_or(StopStep::Signal(policy.stop_signal), StopStep::Command))
            }
            Phase::StopSignal if self.abort => Some(StopStep::Signal(SIGABRT)),
            Phase::StopSignal => Some(StopStep::Signal(policy.stop_signal)),
            Phase::StopKill
            | Phase::StopAlone { step: Step::Clearing, .. }
            | Phase::StopPost { step: Step::Clearing, .. }
            | Phase::Hook { step: Step::Clearing, .. } => Some(StopStep::Kill),
            Phase::Running { says: Says::Stopping } if self.stop == Stop::No => Some(StopStep::ByItself),
            Phase::StartPre { .. }
            | Phase::Launching { .. }
            | Phase::Starting(_)
            | Phase::StartPost { .. }
            | Phase::Running { .. }
            | Phase::Exited
            | Phase::Reload { .. }
            | Phase::ReloadSignal { .. } => (self.stop == Stop::Queued).then_some(StopStep::Queued),
        }
    }

    /// What it goes down for, while that is under way.
    pub fn descent(&self) -> Option<Descent> {
        let goes_down = matches!(self.phase, Phase::StopCommands { .. } | Phase::StopSignal | Phase::StopKill);
        let Run { result, main_exit, abort, .. } = *self;
        goes_down.then(|| Descent { result, cause: self.cause.clone(), main_exit, abort })
    }

    fn stop_is_under_way(&self) -> bool {
        let alone = matches!(self.phase, Phase::StopAlone { .. });
        alone || matches!(self.phase, Phase::StopCommands { .. } | Phase::StopSignal | Phase::StopKill)
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
    /// Time that passes before it is launched is not the command's. Of a stop it is: that has one budget, whatever it
    /// is spent on.
    fn launch_waits(&mut self) -> Flow {
        if self.run.stop_is_under_way() || self.run.held.is_some() {
            return Flow::Goes;
        }
        self.run.held = Some(self.run.deadline.take().map(|deadline| deadline.since(self.turn.now)));
        Flow::Goes
    }

    fn launch_begins(&mut self) -> Flow {
        let held = self.run.held.take();
        if let Some(left) = held
            && self.run.deadline.is_none()
            && !self.run.stop_is_under_way()
        {
            self.run.deadline = left.map(|left| self.turn.now.after(left));
        }
        Flow::Goes
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
            Fact::Reloading { begun } => self.reloading(begun),
            Fact::Stopping => self.says(Says::Stopping),
            Fact::Said(word) => self.said(word),
            Fact::Checked { number, failure } => self.checked(number, failure),
            Fact::LaunchWaits => self.launch_waits(),
            Fact::LaunchBegins => self.launch_begins(),
            Fact::DeadlinePassed => self.deadline_passed(),
            // The service keeps the text itself, as it outlives the run.
            Fact::StatusText(_) => Flow::Goes,
            // Of sockets that were looked at before the run began.
            Fact::SocketsOpened | Fact::SocketsFailed(_) | Fact::Triggered => Flow::Goes,
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
            Role::Main => {
                self.run.main = Main::Launching { ended: None };
                self.run.epilogue.launched = true;
            }
            Role::StartPre(_)
            | Role::StartPost(_)
            | Role::Reload(_)
            | Role::Stop(_)
            | Role::StopPost(_)
            | Role::Hook(_) => self.run.control = Some(role),
            // The machine orders a look at readiness or health, never this command itself.
            Role::Ready | Role::Health => {}
        }
        let (result, main_exit) = (self.run.result_for(role), self.run.main_exit);
        self.act(Action::Launch { id: self.id, role, result, main_exit });
    }

    /// Something went wrong, or the run ended by itself (`result` may be success).
    pub fn fail(&mut self, result: ServiceResult, cause: Cause) {
        self.run.blame(result, cause.clone());
        self.waiters.answer_reloads(self.turn, Outcome::Failed(cause.clone()));
        self.record(Note::Ended(cause));
    }
}

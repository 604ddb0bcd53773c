//! `service.remain_after_exit`: a oneshot whose work is done stays up without a process, until it is stopped.
//!
//! ```text
//!  started ──▶ Exited ── stop ──▶ StopAlone n ──▶ StopPost n, hooks, over
//! ```
//!
//! What the program left behind is asked to end when the start is complete, and killed after `timeout_stop`: what such a
//! unit keeps is a state of the host, not processes. There is no main process whose container `exec_stop` could join, so
//! each of its commands has one of its own, and what it leaves is killed before the next. All of them together have
//! `timeout_stop`; the first that fails ends them.

use super::restart::Restarts;
use super::run::{Flow, Live, Phase, Step};
use super::service::{Service, State, Turn};
use super::stop::KILL_AGAIN_AFTER;
use super::{Action, Cause, CommandOutcome, Exit, Moment, Note, Role, ServiceResult, Target};

impl Live<'_, '_> {
    /// The start is complete and the main process has ended well.
    pub fn remain(&mut self) -> Flow {
        self.run.phase = Phase::Exited;
        if self.run.populated {
            self.arm_stop();
            let signal = self.policy.stop_signal;
            self.act(Action::Signal { id: self.id, target: Target::All, signal });
        }
        Flow::Goes
    }

    /// Nothing of the program is left.
    pub fn exited_emptied(&mut self) -> Flow {
        self.run.deadline = None;
        Flow::Goes
    }

    /// What the program left did not end when asked.
    pub fn exited_deadline_passed(&mut self) -> Flow {
        self.record(Note::Killing);
        self.kill_group();
        Flow::Goes
    }

    /// Begins the stop of a unit that remains.
    pub fn stop_alone(&mut self) -> Flow {
        self.run.ended.get_or_insert(self.turn.now);
        self.arm_stop();
        self.clear_before(0)
    }

    /// Kills what is there, then goes on with `exec_stop[next]`.
    fn clear_before(&mut self, next: u16) -> Flow {
        self.run.phase = Phase::StopAlone { next, step: Step::Clearing };
        if self.run.populated {
            self.act(Action::KillCgroup { id: self.id });
        }
        self.go_down()
    }

    /// Nothing is there: the next command, or the end.
    pub fn continue_alone(&mut self, next: u16) -> Flow {
        if usize::from(next) >= self.policy.stop.len() {
            return self.stop_post();
        }
        self.run.phase = Phase::StopAlone { next: next + 1, step: Step::Running };
        self.launch(Role::Stop(next));
        Flow::Goes
    }

    /// A command of the stop has ended; `failure`: and it mattered.
    pub fn stop_alone_ended(
        &mut self,
        next: u16,
        role: Role,
        outcome: CommandOutcome,
        failure: Option<ServiceResult>,
    ) -> Flow {
        let Some(result) = failure else { return self.clear_before(next) };
        self.run.blame(result, Cause::Command { role, outcome });
        self.clear_before(u16::MAX)
    }

    /// `timeout_stop` is over, or a kill did not do it yet.
    pub fn stop_alone_deadline_passed(&mut self, step: Step) -> Flow {
        match step {
            Step::Running => {
                self.run.blame(ServiceResult::Timeout, Cause::StopTimeout);
                self.record(Note::Killing);
                let flow = self.clear_before(u16::MAX);
                self.run.deadline = Some(self.turn.now.after(KILL_AGAIN_AFTER));
                flow
            }
            Step::Clearing => {
                self.run.phase = Phase::StopAlone { next: u16::MAX, step };
                self.kill_group();
                Flow::Goes
            }
        }
    }
}

/// What a former daemon left of a unit that remains.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remained {
    pub since: Moment,
    pub restarts: u32,
    pub stopping: bool,
    pub main_exit: Option<Exit>,
}

impl Service {
    /// Goes on remaining.
    pub fn adopt_exited(&mut self, turn: &mut Turn, found: Remained) {
        let Some(mut run) = self.found_run(Restarts::carried_over(found.restarts, Vec::new()), found.stopping) else {
            return;
        };
        run.main_exit = found.main_exit;
        run.epilogue.launched = true;
        run.started = Some(found.since);
        run.phase = Phase::Exited;
        self.state = State::Up(run);
        self.record(turn, Note::Adopted);
        self.live(turn, |live| if found.stopping { live.begin_stop() } else { live.remain() });
        self.shown = (self.active_state().0, found.since);
    }
}

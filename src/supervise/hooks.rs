//! `[hooks]`: what is told to whom when nothing is left of a run, and what has been decided about it by then.
//!
//! ```text
//!  exec_stop_post done, group empty ──▶ verdict ──▶ on_exit ──▶ on_restart | on_give_up ──▶ what the verdict says
//! ```
//!
//! The verdict (another run of itself, when; or none) is given once, at the end of the run, so that a hook can be told
//! of it and no hook has a say in it; the wait for the next start counts from there. People's wishes that come while the
//! hooks run are stronger than the verdict: a stop ends the restarts, a start comes in place of them. Either way the
//! hooks that the verdict alone called for are not begun any more.
//!
//! The counters of restarts change when the run is left, not before: a daemon that dies during a hook leaves them as
//! they were, and the next one judges anew.

use super::exit::failure_of_command;
use super::restart::{Next, Restarts, decide};
use super::run::{After, Flow, Live, Phase, Run, Step, Stop};
use super::service::{Service, State, Turn};
use super::stop::KILL_AGAIN_AFTER;
use super::{Action, Cause, CommandOutcome, Moment, Note, Policy, Role, ServiceResult};
use crate::unit::Hook;
use std::time::Duration;

/// What follows a run, if people do not wish otherwise.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub follows: Follows,
    /// The counters as this makes them.
    pub restarts: Restarts,
}

/// See [`Verdict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// Another run at this moment, which may have passed.
    Restart(Moment),
    /// Nothing, as `limit_burst` is used up.
    Limit,
    /// Nothing.
    Nothing,
}

/// What comes after the end of a run.
#[derive(Debug, Default)]
pub(super) struct Epilogue {
    /// The main process was launched, with whatever success.
    pub launched: bool,
    /// Given when nothing was left.
    pub verdict: Option<Box<Verdict>>,
    /// Hooks that have had their turn, of [`Hook::ALL`].
    turns: usize,
    /// The first hook that failed.
    pub failure: Option<Cause>,
}

/// What a hook is told besides the result of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Which.
    pub hook: Hook,
    /// Why the run ended, or why it is given up; `None`: somebody wanted it to end.
    pub cause: Option<Cause>,
    /// Automatic restarts so far; for `on_restart` with the one to come.
    pub restarts: u32,
    /// When that comes.
    pub next_start: Option<Moment>,
}

impl Run {
    /// Is this hook to be run, as things stand?
    fn calls_for(&self, hook: Hook) -> bool {
        let Some(verdict) = &self.epilogue.verdict else { return false };
        match (hook, verdict.follows) {
            (Hook::Exit, _) => self.epilogue.launched,
            (Hook::Restart, Follows::Restart(_)) => self.stop == Stop::No && !self.then_start,
            (Hook::GiveUp, Follows::Limit) => !self.then_start,
            (Hook::GiveUp, Follows::Nothing) => {
                self.result != ServiceResult::Success && !self.then_start && self.fallen_with.is_none()
            }
            (Hook::Restart, Follows::Limit | Follows::Nothing) | (Hook::GiveUp, Follows::Restart(_)) => false,
        }
    }

    /// The next hook of those that the policy has.
    fn next_hook(&mut self, policy: &Policy) -> Option<Hook> {
        while let Some(hook) = Hook::ALL.get(self.epilogue.turns) {
            self.epilogue.turns += 1;
            if policy.hooks.contains(hook) && self.calls_for(*hook) {
                return Some(*hook);
            }
        }
        None
    }

    /// SERVICE_RESULT for a command.
    pub fn result_for(&self, role: Role) -> ServiceResult {
        let limit = self.epilogue.verdict.as_ref().is_some_and(|verdict| verdict.follows == Follows::Limit);
        if limit && role == Role::Hook(Hook::GiveUp) { ServiceResult::StartLimitHit } else { self.result }
    }

    /// What the hook that runs is told; `restarts`: so far.
    pub fn told(&self, restarts: u32) -> Option<Told> {
        let Phase::Hook { hook, step: Step::Running } = self.phase else { return None };
        let verdict = self.epilogue.verdict.as_ref()?;
        let cause = self.cause.clone();
        Some(match (hook, verdict.follows) {
            (Hook::Restart, Follows::Restart(at)) => {
                Told { hook, cause, restarts: verdict.restarts.count, next_start: Some(at) }
            }
            (Hook::GiveUp, Follows::Limit) => Told { hook, cause: Some(Cause::StartLimit), restarts, next_start: None },
            (Hook::Exit | Hook::Restart | Hook::GiveUp, _) => Told { hook, cause, restarts, next_start: None },
        })
    }
}

impl Service {
    /// Nothing is left of the run, or of its last hook: the next hook, or what follows.
    pub fn run_over(&mut self, turn: &mut Turn) {
        self.judge(turn);
        let State::Up(run) = &mut self.state else { return };
        match run.next_hook(&self.policy) {
            Some(hook) => self.live(turn, |live| live.launch_hook(hook)),
            None => self.finish(turn),
        }
    }

    fn judge(&mut self, turn: &mut Turn) {
        let State::Up(run) = &mut self.state else { return };
        if run.epilogue.verdict.is_some() {
            return;
        }
        let settings = &self.policy.restart;
        let mut restarts = self.restarts.clone();
        if let Some(started) = run.started {
            // What it left behind may have taken long to go; that was no running.
            restarts.ran(settings, run.ended.unwrap_or(turn.now).since(started));
        }
        // A wish of people comes before any policy.
        let by_itself = run.stop == Stop::No && !run.then_start;
        let again = match run.after {
            After::Policy => decide(settings, self.policy.kind, run.result, run.main_exit),
            After::Restart => true,
            After::Rest => false,
        };
        let follows = if by_itself && again {
            match restarts.schedule(settings, turn.now, Duration::ZERO, turn.jitter) {
                Next::At(at) => Follows::Restart(at),
                Next::GiveUp => Follows::Limit,
            }
        } else {
            Follows::Nothing
        };
        run.epilogue.verdict = Some(Box::new(Verdict { follows, restarts }));
    }
}

impl Service {
    /// Counts anew, also where it has been decided already what follows.
    pub fn forget_restarts(&mut self) {
        self.restarts.forget();
        if let Some(verdict) = self.verdict_mut() {
            verdict.restarts.forget();
        }
    }

    /// The same for the delays alone; `limit_burst` goes on.
    pub fn begin_delays_anew(&mut self) {
        self.restarts.count = 0;
        if let Some(verdict) = self.verdict_mut() {
            verdict.restarts.count = 0;
        }
    }

    fn verdict_mut(&mut self) -> Option<&mut Verdict> {
        match &mut self.state {
            State::Up(run) => run.epilogue.verdict.as_deref_mut(),
            State::Down
            | State::Failed { .. }
            | State::Waiting { .. }
            | State::Backoff { .. }
            | State::Listening { .. }
            | State::Keeping(_) => None,
        }
    }
}

impl Live<'_, '_> {
    fn launch_hook(&mut self, hook: Hook) -> Flow {
        self.run.deadline = Some(self.turn.now.after(self.policy.hook_timeout));
        self.run.phase = Phase::Hook { hook, step: Step::Running };
        self.launch(Role::Hook(hook));
        Flow::Goes
    }

    /// The hook that ran has ended itself: what it left is killed.
    pub fn hook_ended(&mut self, hook: Hook, outcome: CommandOutcome) -> Flow {
        if failure_of_command(false, &outcome).is_some() {
            self.hook_failed(Cause::Command { role: Role::Hook(hook), outcome });
        }
        self.clear_after_hook(hook)
    }

    pub fn hook_deadline_passed(&mut self, hook: Hook, step: Step) -> Flow {
        match step {
            Step::Running => {
                self.hook_failed(Cause::HookTimeout { hook });
                self.clear_after_hook(hook)
            }
            Step::Clearing => {
                self.kill_group();
                Flow::Goes
            }
        }
    }

    /// Changes nothing but what people see.
    fn hook_failed(&mut self, cause: Cause) {
        self.run.epilogue.failure.get_or_insert(cause.clone());
        self.record(Note::HookFailed(cause));
    }

    fn clear_after_hook(&mut self, hook: Hook) -> Flow {
        self.run.phase = Phase::Hook { hook, step: Step::Clearing };
        self.run.deadline = Some(self.turn.now.after(KILL_AGAIN_AFTER));
        if self.run.populated {
            self.act(Action::KillCgroup { id: self.id });
        }
        self.go_down()
    }
}

//! The set-up stage: a fresh image of the executable that turns itself into the service.
//!
//! It reads a finished plan from a sealed memfd, runs its steps in order and executes the service's program. It
//! decides nothing, parses no configuration, looks up no names, does not log; a failing step goes back as (index,
//! errno, detail) on the report socket.
//!
//! ```text
//! daemon ── clone3, exec ──▶ stage (PID 1 of the container) ── steps ── ForkService ── exec ──▶ resident init
//!      (or a copy from the nursery)                         └─ steps ── exec ──▶ the service
//! ```
//!
//! Discipline with descriptors: every one is owned and close-on-exec from its first moment here; what must come from
//! the host (`/dev/null`, namespace files, the own OOM score) is opened before the first step, while the host's tree
//! is still the root; what leads to the host is closed by `PivotRoot`.
#![forbid(unsafe_code)]

mod credentials;
pub mod delegated;
mod denials;
mod errand;
mod execute;
pub mod first;
mod fork;
mod identity;
mod inherited;
mod label;
mod landlock;
mod mapped;
mod mounts;
mod paths;
mod run_step;
mod terminal;

pub use run_step::namespace_flags;

use self::credentials::Credentials;
use crate::plan::wire::{self, PerStart, Report};
use crate::plan::{LaunchPlan, Step};
use crate::sys::{self, SysError, fd, process, socket};
use execute::Prepared;
use inherited::{HostFiles, Inherited};
use mounts::Mounts;
use std::os::fd::{AsFd, OwnedFd};

/// First word of the command line of the set-up stage.
pub const STAGE_NAME: &str = "rsvc-stage";

/// Second word of the command line of a [`process::nursery`] for set-up stages.
pub const NURSERY_WORD: &str = "nursery";

/// First number of the descriptors that a stage gets; it is the plan's.
pub const FIRST_DESCRIPTOR: i32 = 3;

/// Exit status after a failed step; the report says which.
pub const STEP_FAILED_STATUS: i32 = 125;

/// Exit status when the plan or the descriptors that came with it are unusable. Nothing is reported: where the report
/// socket is, is written in the plan.
pub const PLAN_UNUSABLE_STATUS: i32 = 124;

/// Largest plan that is read, bytes.
const PLAN_LIMIT: usize = 16 << 20;

/// Longest detail of a report, bytes; longer ones are cut.
const DETAIL_LIMIT: usize = 1024;

/// Waits for launches, and runs the plan of each in a copy of this process that has seen nothing but it. Never returns.
pub fn nursery_main() -> ! {
    process::nursery::serve(FIRST_DESCRIPTOR);
    stage_main(FIRST_DESCRIPTOR)
}

/// Exit status of a resident init that could not give up its rights or map its record (`resident::FAILED`).
pub const RESIDENT_FAILED_STATUS: u8 = 71;

/// Runs the plan in the sealed memfd `plan_fd`. Never returns: it ends as the service, as the resident init, or with
/// one of the exit statuses of this module.
pub fn stage_main(plan_fd: i32) -> ! {
    let Ok((plan, start)) = read_plan(plan_fd) else { process::exit_now(PLAN_UNUSABLE_STATUS) };
    let Ok(mut stage) = Stage::new(&plan, start) else { process::exit_now(PLAN_UNUSABLE_STATUS) };
    for (index, planned) in plan.steps.iter().enumerate() {
        stage.index = index;
        let Err(failure) = run_step::run(&mut stage, &plan, planned) else { continue };
        if !planned.may_fail || !failure.bearable {
            stage.fail(&failure);
        }
        let Failure { errno, detail, .. } = failure;
        stage.report(&Report::Degraded { step: stage.step_number(), errno, detail });
    }
    // Every plan ends in Execute, which does not come back.
    stage.fail(&Failure::new(0, "the plan has no Execute step"))
}

fn read_plan(number: i32) -> Result<(LaunchPlan, PerStart), Unusable> {
    let memfd = fd::adopt(number)?;
    if !fd::is_sealed(memfd.as_fd())? {
        return Err(Unusable);
    }
    let bytes = fd::read_whole(memfd.as_fd(), PLAN_LIMIT)?;
    wire::decode(&bytes).map_err(|_| Unusable)
}

/// The plan or its descriptors cannot be used.
struct Unusable;

impl From<SysError> for Unusable {
    fn from(_: SysError) -> Unusable {
        Unusable
    }
}

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure {
    /// Raw errno, 0 where none applies.
    errno: i32,
    /// What the step was working on, when that is more than the step says.
    detail: String,
    /// Of a step that may fail: this is what it may fail with. Whatever else goes wrong with such a step ends the launch.
    bearable: bool,
}

impl Failure {
    fn new(errno: i32, detail: impl Into<String>) -> Failure {
        Failure { errno, detail: detail.into(), bearable: false }
    }

    fn bearable(self) -> Failure {
        Failure { bearable: true, ..self }
    }
}

impl From<SysError> for Failure {
    fn from(error: SysError) -> Failure {
        Failure::new(error.errno, "")
    }
}

/// Adds the object to a failed call.
trait Context<T> {
    /// `detail` is made only on failure.
    fn context<D: Into<String>>(self, detail: impl FnOnce() -> D) -> Result<T, Failure>;
}

impl<T> Context<T> for sys::Result<T> {
    fn context<D: Into<String>>(self, detail: impl FnOnce() -> D) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(error.errno, detail()))
    }
}

/// All that the stage holds while it runs.
struct Stage {
    /// Step that is running.
    index: usize,
    /// Environment that this start adds to the plan's.
    environment: Vec<(String, String)>,
    /// Variables that hold our own pid when we execute.
    pid_variables: Vec<String>,
    /// See [`PerStart::die_with_launcher`].
    die_with_launcher: bool,
    /// See [`PerStart::is_main`].
    is_main: bool,
    /// Texts of `SetCredential`, and what was written of the unit's credentials so far.
    credentials: Credentials,
    /// See [`PerStart::terminal`].
    terminal: wire::TerminalSettings,
    /// Descriptors from the daemon.
    inherited: Inherited,
    /// What was opened on the host.
    host: HostFiles,
    /// Mount objects.
    mounts: Mounts,
    /// The user namespace that the service joins after the mounts.
    user_namespace: Option<OwnedFd>,
    /// Tells that the resident init is ready; in the service's process, until that was awaited.
    gate: Option<OwnedFd>,
    /// The program, made ready before the first filter that only `Execute` follows.
    prepared: Option<Prepared>,
    /// File mode mask at birth, restored before exec when no step sets one: the stage itself works with 0.
    inherited_umask: u32,
    /// `SetUmask` was run.
    umask_set: bool,
    /// What `MakeRuleset` made.
    ruleset: Option<OwnedFd>,
}

impl Stage {
    fn new(plan: &LaunchPlan, start: PerStart) -> Result<Stage, Unusable> {
        let mut inherited = Inherited::adopt(&start.descriptors)?;
        let host = HostFiles::open(plan)?;
        let inherited_umask = process::umask(0);
        let mut stage = Stage {
            index: 0,
            environment: start.environment,
            pid_variables: start.pid_variables,
            die_with_launcher: start.die_with_launcher,
            is_main: start.is_main,
            credentials: Credentials::new(start.credentials),
            terminal: start.terminal,
            user_namespace: inherited.user_namespace.take(),
            inherited,
            host,
            mounts: Mounts::default(),
            gate: None,
            prepared: None,
            inherited_umask,
            umask_set: false,
            ruleset: None,
        };
        // Nobody may look into a process that still holds the host's descriptors. With a user namespace that waits
        // for its id maps: an unprivileged daemon cannot write the maps of a process that is not dumpable.
        if !plan.steps.iter().any(|planned| planned.step == Step::EnterUserNamespace) {
            sys::credentials::set_dumpable(false)?;
            if let Some(ready) = stage.inherited.maps_ready.take()
                && let Err(failure) = run_step::await_daemon(ready.as_fd())
            {
                stage.fail(&failure);
            }
        }
        Ok(stage)
    }

    /// `device:inode` of the journal's stream, if standard output or error is that.
    fn journal_stream(&self) -> Option<&str> {
        let (_, stream) = self.host.journal.as_ref()?;
        (self.inherited.stdout.is_none() || self.inherited.stderr.is_none()).then_some(stream)
    }

    fn step_number(&self) -> u16 {
        self.index as u16
    }

    /// Sends a report. That nobody listens any more (the daemon was restarted) is no reason to stop.
    fn report(&self, report: &Report) {
        if let Some(channel) = &self.inherited.report {
            let _ = socket::send(channel.as_fd(), &wire::encode_report(&cut(report.clone())));
        }
    }

    /// Reports the failure of the running step and ends the process.
    fn fail(&self, failure: &Failure) -> ! {
        let Failure { errno, detail, .. } = failure.clone();
        let report = cut(Report::Failed { step: self.step_number(), errno, detail });
        if let Some(channel) = &self.inherited.report {
            // write(2), which every filter lets through, and not sendto(2): a filter may be loaded already.
            let _ = fd::write(channel.as_fd(), &wire::encode_report(&report));
        }
        process::exit_now(STEP_FAILED_STATUS)
    }
}

/// Keeps a report below the size of a datagram whatever its detail.
fn cut(mut report: Report) -> Report {
    if let Report::Failed { detail, .. } | Report::Degraded { detail, .. } = &mut report {
        let mut end = detail.len().min(DETAIL_LIMIT);
        while !detail.is_char_boundary(end) {
            end -= 1;
        }
        detail.truncate(end);
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_detail_is_cut_at_a_character() {
        let report = Report::Failed { step: 1, errno: 2, detail: "ä".repeat(DETAIL_LIMIT) };
        let Report::Failed { detail, .. } = cut(report) else { panic!("still a failure") };
        assert_eq!(detail, "ä".repeat(DETAIL_LIMIT / 2));
    }
}

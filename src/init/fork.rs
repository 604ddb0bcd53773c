//! The fork: from here on there are two processes.
//!
//! ```text
//! own container      parent = PID 1: descriptors, OOM score, exec of the resident init
//!                    child: goes on with the steps, waits for init's byte in the gate before filters and exec
//! joined container   parent: passes signals on, ends like the child
//!                    child: in the joined pid namespace, goes on with the steps
//! ```
//!
//! Signals are blocked before the fork: one that is sent to PID 1 while it has no handler would be lost, a blocked one
//! stays pending until init asks for it. The child's `ResetSignals` step opens the mask again.

use super::inherited::protects_init;
use super::{Context, Failure, Stage};
use crate::plan::{Container, LaunchPlan};
use crate::sys::fd::{self, NonBlocking};
use crate::sys::process::{self, Fork};
use crate::sys::socket;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Last argument of a resident init that looks after a main process.
pub const MAIN_WORD: &CStr = c"main";

/// Returns in the child only.
pub(super) fn fork_service(stage: &mut Stage, plan: &LaunchPlan) -> Result<(), Failure> {
    process::block_signals()?;
    match plan.container {
        Container::Own => fork_own(stage, plan),
        Container::Joined => fork_joined(stage),
    }
}

fn fork_own(stage: &mut Stage, plan: &LaunchPlan) -> Result<(), Failure> {
    if stage.inherited.init.is_none() {
        return Err(Failure::new(0, "the daemon passed no image of the resident init"));
    }
    let (gate_read, gate_write) = fd::pipe(NonBlocking::None)?;
    if let Fork::Parent(child) = process::fork()? {
        let failure = become_init(stage, plan, child, gate_write).unwrap_or_else(|failure| failure);
        stage.fail(&failure);
    }
    drop(gate_write);
    // These belong to init alone. The payload must never see them, not even through a bug further down.
    let inherited = &mut stage.inherited;
    (inherited.exits, inherited.record, inherited.init) = (None, None, None);
    inherited.pinned.clear();
    stage.host.oom_score = None;
    stage.gate = Some(gate_read);
    process::setsid()?;
    Ok(())
}

/// Waits until the resident init is ready, once: it must be able to write the record, and be beyond the payload's reach,
/// before the payload can do anything about it. Until then both processes work side by side.
pub(super) fn await_init(stage: &mut Stage) -> Result<(), Failure> {
    let Some(gate) = stage.gate.take() else { return Ok(()) };
    match fd::read(gate.as_fd(), &mut [0; 1])? {
        1 => Ok(()),
        _ => Err(Failure::new(0, "the resident init ended before it was ready")),
    }
}

/// Becomes the resident init; comes back only with a failure.
fn become_init(stage: &mut Stage, plan: &LaunchPlan, child: i32, gate: OwnedFd) -> Result<Failure, Failure> {
    if protects_init(plan)
        && let Some(Ok(own)) = &stage.host.oom_score
    {
        // With memory.oom.group the kernel would kill init with its group, and nobody could tell how the main process
        // ended. The right to do this (CAP_SYS_RESOURCE) is a bonus.
        let _ = fd::write(own.as_fd(), b"-1000");
    }
    let inherited = &stage.inherited;
    fd::close_range_cloexec(3)?;
    let mut kept: Vec<BorrowedFd<'_>> = vec![gate.as_fd()];
    kept.extend(inherited.exits.iter().chain(&inherited.record).chain(&inherited.pinned).map(|fd| fd.as_fd()));
    for keep in kept {
        fd::set_close_on_exec(keep, false)?;
    }
    if let Some(exits) = &inherited.exits {
        // Init must never wait for a daemon that does not read.
        fd::set_nonblocking(exits.as_fd(), true)?;
    }
    let number = |fd: &Option<OwnedFd>| fd.as_ref().map_or(-1, |fd| fd.as_raw_fd());
    let numbers = [child, number(&inherited.exits), number(&inherited.record), gate.as_raw_fd()];
    let mut argv = vec![c"rsvc-init".to_owned()];
    argv.extend(numbers.map(|number| CString::new(number.to_string()).expect("digits contain no zero byte")));
    // Init passes it over; a daemon that has nothing else to go by reads it.
    argv.extend(stage.is_main.then(|| MAIN_WORD.to_owned()));
    if stage.die_with_launcher {
        die_with_launcher(stage)?;
    }
    let image = inherited.init.as_ref().ok_or(Failure::new(0, "no image of the resident init"))?;
    let error = process::execveat(image.as_fd(), &argv, &[]);
    Ok(Failure::new(error.errno, "the resident init"))
}

fn fork_joined(stage: &mut Stage) -> Result<(), Failure> {
    let Fork::Parent(child) = process::fork()? else {
        process::setsid()?;
        return Ok(());
    };
    // The end of file on the report socket, and on what the child writes to, must come from the child alone.
    let inherited = &mut stage.inherited;
    (inherited.report, inherited.container) = (None, None);
    (inherited.stdin, inherited.stdout, inherited.stderr) = (None, None, None);
    inherited.passed.clear();
    stage.user_namespace = None;
    inherited.program = None;
    stage.mounts = Default::default();
    match inherited.caller.take() {
        Some(caller) => super::errand::stand_in(child, &caller),
        None => stand_in(child),
    }
}

/// Passes signals on to the child and ends as it ends, so that whoever waits for this process sees the child's status.
fn stand_in(child: i32) -> ! {
    let Ok(pidfd) = process::pidfd_open(child) else { process::exit_now(super::STEP_FAILED_STATUS) };
    loop {
        match process::wait_pidfd(pidfd.as_fd(), true) {
            Ok(Some((process::CLD_EXITED, status))) => process::exit_now(status),
            Ok(Some((_, signal))) => process::die_by_signal(signal),
            Ok(None) => {}
            Err(_) => process::exit_now(super::STEP_FAILED_STATUS),
        }
        if let Ok(signal) = process::wait_for_signal()
            && signal != process::signal::CHLD
        {
            let _ = process::pidfd_send_signal(pidfd.as_fd(), signal);
        }
    }
}

/// A process must not outlive the one that alone is known, or cares: in a joined container its stand-in; without a
/// resident init, where that was asked for, the launcher. Comes after the last change of credentials, which would undo
/// it.
pub(super) fn tie_to_parent(stage: &Stage, plan: &LaunchPlan) -> Result<(), Failure> {
    let forks = plan.steps.iter().any(|planned| planned.step == crate::plan::Step::ForkService);
    match plan.container {
        Container::Joined if forks => process::die_with_parent(process::signal::KILL).context(|| "parent death signal"),
        // The service ends with its PID 1.
        Container::Own if forks => Ok(()),
        Container::Own | Container::Joined if stage.die_with_launcher => die_with_launcher(stage),
        Container::Own | Container::Joined => Ok(()),
    }
}

/// SIGKILL when the launcher ends. It may have done so before this was said; then its end of the report socket is
/// closed. A launcher has one thread: the signal would come at the end of the thread that cloned.
fn die_with_launcher(stage: &Stage) -> Result<(), Failure> {
    process::die_with_parent(process::signal::KILL).context(|| "parent death signal")?;
    match stage.inherited.report.as_ref().map(|report| socket::recv_report(report.as_fd(), &mut [0; 1])) {
        None | Some(Ok(None)) => Ok(()),
        Some(_) => Err(Failure::new(0, "the launching process has ended")),
    }
}

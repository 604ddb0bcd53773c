//! What an end means: from how a process ended to systemd's result word.
//!
//! A daemon-like main process ends well with status 0 or by SIGHUP, SIGINT, SIGTERM or SIGPIPE; a oneshot and the
//! commands around the main process only with status 0. `success_exit_status` adds to both, for the main process only.
//! An end that nobody saw ([`Exit::Unknown`]) is never success: it is `resources`, because supervision itself fell
//! short, and `on-failure`, `on-abnormal` and `always` restart after it.
//!
//! Source: systemd.service(5), "SuccessExitStatus=" and table 1.

use super::{CommandOutcome, Exit, Policy, ServiceResult};
use crate::unit::{ServiceType, StatusSet};

/// Signals that are a clean end of a daemon: SIGHUP, SIGINT, SIGPIPE, SIGTERM. The numbers are the same on all
/// architectures that rsvc knows (signal(7)).
const CLEAN_SIGNALS: [u8; 4] = [1, 2, 13, 15];

/// SIGABRT: what a service gets that has stopped to say that it lives.
pub(super) const SIGABRT: i32 = 6;

/// SIGKILL.
pub(super) const SIGKILL: i32 = 9;

/// In what circumstances the main process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Circumstance {
    /// By itself, as far as the machine knows.
    Alone,
    /// After this signal was sent to it by a stop: death by it is what was asked for.
    SentByStop(i32),
}

/// The result word for the end of the main process.
///
/// `oom` says that the kernel killed in this group for lack of memory. It names every end that came by itself, also a
/// clean one, since a master often leaves in good order after it lost a worker. An orderly end during a stop is success
/// even so: there the stop is the reason, and the kill may be weeks old.
pub(super) fn result_of_main(policy: &Policy, exit: Exit, oom: bool, circumstance: Circumstance) -> ServiceResult {
    let asked = match circumstance {
        Circumstance::Alone => false,
        Circumstance::SentByStop(signal) => is_end_by(exit, signal),
    };
    let clean = asked || is_clean_main(policy, exit);
    match (circumstance, oom, clean) {
        (Circumstance::SentByStop(_), _, true) | (Circumstance::Alone, false, true) => ServiceResult::Success,
        (_, true, _) => ServiceResult::OomKill,
        (_, false, false) => result_of_failure(exit),
    }
}

/// `None` when the command succeeded or its failure does not matter.
pub(super) fn failure_of_command(ignore_failure: bool, outcome: &CommandOutcome) -> Option<ServiceResult> {
    if ignore_failure {
        return None;
    }
    match outcome {
        CommandOutcome::Exited(Exit::Exited(0)) => None,
        CommandOutcome::Exited(exit) => Some(result_of_failure(*exit)),
        // systemd's word for a command that did not get as far as its program: the exit codes 200 to 245 are its own.
        CommandOutcome::NotLaunched(_) => Some(ServiceResult::ExitCode),
    }
}

/// Is this exit in the set? Signals count with and without a core dump.
pub(super) fn is_in(set: &StatusSet, exit: Exit) -> bool {
    match exit {
        Exit::Exited(status) => set.statuses.contains(&status),
        Exit::Killed(signal) | Exit::Dumped(signal) => set.signals.contains(&i32::from(signal)),
        Exit::Unknown => false,
    }
}

/// May the first process of a forking service have succeeded? Signals are never a success of a mere launcher.
pub(super) fn is_clean_launcher(policy: &Policy, exit: Exit) -> bool {
    match exit {
        Exit::Exited(status) => status == 0 || policy.success.statuses.contains(&status),
        Exit::Killed(_) | Exit::Dumped(_) | Exit::Unknown => false,
    }
}

fn is_clean_main(policy: &Policy, exit: Exit) -> bool {
    if is_in(&policy.success, exit) {
        return true;
    }
    match exit {
        Exit::Exited(status) => status == 0,
        Exit::Killed(signal) => policy.kind != ServiceType::Oneshot && CLEAN_SIGNALS.contains(&signal),
        Exit::Dumped(_) | Exit::Unknown => false,
    }
}

fn is_end_by(exit: Exit, signal: i32) -> bool {
    match exit {
        Exit::Killed(number) => i32::from(number) == signal,
        Exit::Exited(_) | Exit::Dumped(_) | Exit::Unknown => false,
    }
}

fn result_of_failure(exit: Exit) -> ServiceResult {
    match exit {
        Exit::Exited(_) => ServiceResult::ExitCode,
        Exit::Killed(_) => ServiceResult::Signal,
        Exit::Dumped(_) => ServiceResult::CoreDump,
        Exit::Unknown => ServiceResult::Resources,
    }
}

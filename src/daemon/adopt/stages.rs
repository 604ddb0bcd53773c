//! Set-up stages of a daemon that was killed in the middle of a launch.
//!
//! A stage goes on by itself and executes the program in a moment, which may be the one between a look at it and what
//! follows from the look: a program would be ended that has just begun. So it is stopped before the look. What is a
//! stage then is one until somebody continues or kills it; what is none any more goes on at once.

use crate::cgroup::Group;
use crate::daemon::whole_file::read_proc;
use crate::init::STAGE_NAME;
use crate::sys::process;
use rustix::process::Signal;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// Looks at a stage that goes on, until it has become a resident init: most take milliseconds, and one that mounts what
/// does not answer is not waited for.
const LAUNCH_LOOKS: u32 = 2000;

/// A stop takes effect when the process leaves the kernel; a mount that takes longer than all this is not waited for.
const LOOKS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(1);

/// Stops every stage in the group.
pub(super) fn hold_all(group: &Group) {
    group.pids().unwrap_or_default().into_iter().for_each(hold);
}

/// The launch is taken over: whatever was stopped for the look goes on, also what a daemon had stopped that was killed
/// before it could do this.
pub(super) fn continue_all(group: &Group) {
    let pids = group.pids().unwrap_or_default();
    pids.into_iter().filter_map(|pid| process::pidfd_open(pid).ok()).for_each(|pidfd| proceed(pidfd.as_fd()));
}

/// Is this a set-up stage, or a copy of the daemon on its way to become one?
pub(super) fn is_stage(pid: i32) -> bool {
    read_proc(&format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(STAGE_NAME.as_bytes()))
}

fn proceed(pidfd: BorrowedFd<'_>) {
    let _ = process::pidfd_send_signal(pidfd, Signal::CONT.as_raw());
}

fn hold(pid: i32) {
    await_exec(pid);
    if !is_stage(pid) {
        return;
    }
    let Ok(pidfd) = process::pidfd_open(pid) else { return };
    // The number may have been another process's at the first look.
    if !is_stage(pid) || process::pidfd_send_signal(pidfd.as_fd(), Signal::STOP.as_raw()).is_err() {
        return;
    }
    for _ in 0..LOOKS {
        if is_stopped(pid) {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    if !is_stage(pid) {
        proceed(pidfd.as_fd());
    }
}

/// Waits until what was launched, and may be a stage still, is its resident init or gone.
pub(super) fn await_init(pid: i32) {
    let is_on_its_way =
        || read_proc(&format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.is_empty()) || is_stage(pid);
    for _ in 0..LAUNCH_LOOKS {
        // A stopped one waits for somebody else; a dead one has no arguments either.
        if !is_on_its_way() || is_stopped(pid) {
            break;
        }
        std::thread::sleep(PAUSE);
    }
}

/// In the middle of execve(2) a process has no arguments: it is neither the stage any more nor yet what follows.
fn await_exec(pid: i32) {
    for _ in 0..LOOKS {
        let has_arguments = read_proc(&format!("/proc/{pid}/cmdline")).map_or(true, |line| !line.is_empty());
        if has_arguments || is_stopped(pid) {
            break;
        }
        std::thread::sleep(PAUSE);
    }
}

/// State letter of proc_pid_stat(5); one that is gone stands still, too.
fn is_stopped(pid: i32) -> bool {
    let stat = read_proc(&format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.iter().rposition(|byte| *byte == b')').and_then(|end| stat.get(end + 2));
    matches!(after_name, None | Some(b'T' | b't' | b'Z' | b'X'))
}

//! What the kernel shows of a service whose state is lost: enough to go on looking after it.
//!
//! The resident init in its group names the main process, and the descriptors that it was given, in its arguments; what
//! else it has open are the pipe of the output and the notify socket. Without one, the main process is the oldest in the
//! group whose parent is not in it. What nobody can see any more (counters, an interval of the watchdog, the invocation)
//! is as at a start.

use super::super::activation::keeper::has_our_image;
use super::super::family::children;
use super::super::identity::{ProcessIdentity, open_verified};
use super::super::ready::namespace_pids;
use super::super::state::SavedState;
use super::super::whole_file::read_proc;
use crate::cgroup::Group;
use crate::init::STAGE_NAME;
use crate::sys::process;
use std::fs;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Clock ticks of `/proc/PID/stat` in a second (USER_HZ, the same on all architectures that rsvc knows).
const TICKS: u64 = 100;

/// The state of `unit` as its group shows it; `None` when nothing of it runs.
pub(super) fn look(group: &Group, unit: &str) -> Option<SavedState> {
    let pids = group.pids().ok()?;
    let shown = match pids.iter().filter_map(|pid| resident_init(*pid)).max_by_key(|init| init.is_main) {
        Some(init) => with_init(&init, &pids)?,
        None => without_init(&pids)?,
    };
    Some(SavedState { unit: unit.to_owned(), ready: true, ..shown })
}

/// The same of a start of which only the intention is known: once its resident init is there the program has been executed,
/// or is about to be.
pub(super) fn look_at_launch(group: &Group) -> Option<SavedState> {
    let pids = group.pids().ok()?;
    let init = pids.iter().filter_map(|pid| resident_init(*pid)).find(|init| init.is_main)?;
    with_init(&init, &pids)
}

/// The same of a launch without a group, by its resident init.
pub(super) fn look_below(init: i32) -> Option<SavedState> {
    with_init(&resident_init(init).filter(|init| init.is_main)?, &children(init))
}

/// The same of a launch without a resident init, by its pidfd; `None` while it is a set-up stage, or when it is dead. One
/// that had not stood still when it was held shows a resident init a moment later; its stop takes effect before that runs.
pub(super) fn executed(pidfd: BorrowedFd<'_>) -> Option<SavedState> {
    let pid = process::pid_of_pidfd(pidfd).ok()??;
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|line| !line.is_empty())?;
    if line.starts_with(STAGE_NAME.as_bytes()) || resident_init(pid).is_some() {
        return None;
    }
    let main = ProcessIdentity::behind(pid, pidfd)?;
    Some(SavedState { main: Some(main), inner_pid: pid, since: begun(&main), ..SavedState::new() })
}

/// The first process of a launch without a resident init, of which nobody has a descriptor any more.
pub(super) fn launched_alone(group: &Group) -> Option<OwnedFd> {
    let pids = group.pids().ok()?;
    let shown = without_init(&pids)?.main.filter(|main| resident_init(main.pid).is_none())?;
    open_verified(&shown)
}

/// A resident init by its arguments: `rsvc-init MAIN EXITS RECORD GATE [main]`.
struct ResidentInit {
    identity: ProcessIdentity,
    /// Number of its first child, as it counts.
    child: i32,
    exits: i32,
    /// It does not look after a command.
    is_main: bool,
}

fn resident_init(pid: i32) -> Option<ResidentInit> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<&str> = std::str::from_utf8(&line).ok()?.split('\0').collect();
    let [name, main, exits, _, _, ref rest @ ..] = words[..] else { return None };
    if name != "rsvc-init" || !has_our_image(pid) {
        return None;
    }
    Some(ResidentInit {
        identity: ProcessIdentity::of(pid)?,
        child: main.parse().ok()?,
        exits: exits.parse().ok()?,
        is_main: rest.first() == Some(&"main"),
    })
}

fn with_init(init: &ResidentInit, pids: &[i32]) -> Option<SavedState> {
    let pid = init.identity.pid;
    // As init counts: it may stand outside of the pid namespace of its child.
    let depth = namespace_pids(pid)?.len();
    let is_main = |other: &i32| {
        parent(*other) == Some(pid) && namespace_pids(*other).is_some_and(|p| p.get(depth - 1) == Some(&init.child))
    };
    let main = pids.iter().copied().find(is_main);
    let inner_pid = main.and_then(namespace_pids).and_then(|pids| pids.last().copied());
    let main = main.and_then(ProcessIdentity::of);
    let (mut log_pipe, mut notify_socket, mut exits) = (None, None, None);
    for (number, target) in descriptors(pid) {
        let inode = |kind: &str| target.strip_prefix(kind)?.strip_suffix(']')?.parse::<u64>().ok();
        match (inode("pipe:["), inode("socket:[")) {
            (Some(_), _) => log_pipe = Some(number),
            (_, Some(inode)) if number == init.exits => exits = Some(inode),
            (_, Some(_)) => notify_socket = Some(number),
            _ => {}
        }
    }
    Some(SavedState {
        init: Some(init.identity),
        // One that is gone had a number, which nobody has now: its record tells the rest.
        main: main.or(Some(ProcessIdentity { start_time: 0, pidfs: None, ..init.identity })),
        inner_pid: inner_pid.unwrap_or(init.child),
        since: begun(&main.unwrap_or(init.identity)),
        log_pipe,
        notify_socket,
        exits,
        ..SavedState::new()
    })
}

fn without_init(pids: &[i32]) -> Option<SavedState> {
    let outside = |pid: &i32| parent(*pid).is_some_and(|parent| !pids.contains(&parent));
    let roots = pids.iter().copied().filter(outside).filter_map(ProcessIdentity::of);
    let main = roots.min_by_key(|process| process.start_time)?;
    Some(SavedState { main: Some(main), inner_pid: main.pid, since: begun(&main), ..SavedState::new() })
}

/// Microseconds of CLOCK_BOOTTIME.
fn begun(process: &ProcessIdentity) -> u64 {
    process.start_time.saturating_mul(1_000_000 / TICKS)
}

fn parent(pid: i32) -> Option<i32> {
    let status = read_proc(&format!("/proc/{pid}/status")).ok()?;
    String::from_utf8_lossy(&status).lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

/// Open files of a process, by number: `pipe:[17]`, a path.
fn descriptors(pid: i32) -> Vec<(i32, String)> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            Some((number, fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned()))
        })
        .collect()
}

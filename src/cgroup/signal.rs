//! Freeze and kill, for a unit's group only.
//!
//! v2 does both with one write. Where it cannot (v1 only), the group is frozen so that nothing can fork away, each
//! process is killed through a pidfd, and the group is thawed: SIGKILL acts on a process of the v1 freezer only then.

use super::CgroupError;
use super::file;
use super::place::{Place, is_gone};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Passes over the list of processes: with the freezer one finds all, and a second one nothing new. Without, each pass
/// must overtake a fork bomb, and the caller tries again by its timer.
const PASSES: usize = 16;
/// Pidfds held at once.
const BATCH: usize = 256;

/// See `Group::kill`.
pub(super) fn kill(place: &Place) -> Result<(), CgroupError> {
    if !place.primary().exists() {
        return Ok(());
    }
    place.check_ours()?;
    if let Some(directory) = place.unified() {
        // Since Linux 5.14; takes the groups inside with it.
        match file::write(&directory.join("cgroup.kill"), "1") {
            Err(error) if is_gone(&error.error) && directory.exists() => {}
            Err(error) if is_gone(&error.error) => return Ok(()),
            result => return result,
        }
    }
    let frozen = freeze(place, true).is_ok();
    let killed = kill_each(place);
    if frozen {
        freeze(place, false)?;
    }
    killed
}

/// See `Group::freeze`.
pub(super) fn freeze(place: &Place, frozen: bool) -> Result<(), CgroupError> {
    place.check_ours()?;
    if let Some(directory) = place.unified() {
        return file::write(&directory.join("cgroup.freeze"), if frozen { "1" } else { "0" });
    }
    let directory = place.legacy("freezer").unwrap_or_else(|| place.primary());
    file::write(&directory.join("freezer.state"), if frozen { "FROZEN" } else { "THAWED" })
}

/// See `Group::is_frozen`.
pub(super) fn is_frozen(place: &Place) -> bool {
    if let Some(directory) = place.unified() {
        return file::record(&directory.join("cgroup.events"))
            .is_ok_and(|text| file::keyed(&text, "frozen") == Some(1));
    }
    let directory = place.legacy("freezer").unwrap_or_else(|| place.primary());
    file::read(&directory.join("freezer.state")).is_some_and(|text| text.trim() == "FROZEN")
}

/// Signals until a pass finds nobody new.
fn kill_each(place: &Place) -> Result<(), CgroupError> {
    let mut signalled = BTreeSet::new();
    for _ in 0..PASSES {
        let fresh: Vec<i32> = place.pids()?.into_iter().filter(|pid| !signalled.contains(pid)).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        for batch in fresh.chunks(BATCH) {
            let handles: Vec<(i32, OwnedFd)> = batch.iter().filter_map(|pid| Some((*pid, open(*pid)?))).collect();
            // A number may have passed to a stranger between list and handle. Who is listed after the handle was
            // opened is the process of the handle, or that one has ended and the signal reaches nobody.
            let members: BTreeSet<i32> = place.pids()?.into_iter().collect();
            for (pid, handle) in handles.iter().filter(|(pid, _)| members.contains(pid)) {
                match pidfd_send_signal(handle, Signal::KILL) {
                    Ok(()) | Err(rustix::io::Errno::SRCH) => signalled.insert(*pid),
                    Err(error) => return Err(failed(place, *pid, error)),
                };
            }
        }
    }
    Ok(())
}

fn open(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

fn failed(place: &Place, pid: i32, error: rustix::io::Errno) -> CgroupError {
    let path: PathBuf = Path::new("/proc").join(pid.to_string());
    CgroupError::new(format!("kill a process of {}:", place.unit()), path, error.into())
}

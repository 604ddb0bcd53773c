//! What a `rsvc run` left behind that was killed outright (SIGKILL, out of memory): the next one removes it.
//!
//! The processes of a service with a pid namespace of its own die with the run, by the parent death signal. Its groups
//! and its runtime directory stay, and where there is no such namespace the main process's children as well. Each run
//! holds the lock of its directory, `PARENT/rsvc-run-PID`; a directory that nobody has locked, and whose number no
//! process has, belongs to nobody any more. Only a group that has the name of that run is touched.

use super::engine::now;
use crate::cgroup::{Group, RootOptions, Tree};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// The directory of a run is called this and its pid.
pub(super) const PREFIX: &str = "rsvc-run-";
/// How long a killed group may take to become empty, microseconds.
const PATIENCE: u64 = 2_000_000;

/// Removes what ended runs of this user left beside `own`, the directory that this run is going to make.
pub(super) fn remove_left_over(own: &Path) {
    let Some(parent) = own.parent() else { return };
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|pid| pid.parse().ok())
        else {
            continue;
        };
        let path = entry.path();
        if !is_abandoned(&path, pid) {
            continue;
        }
        let Ok(_lock) = super::lock::take(&path) else { continue };
        if let Err(error) = remove(&path) {
            super::foreground::tell(&format!("cannot remove what an earlier run left in {}: {error}", path.display()));
        }
    }
}

/// A directory of ours, and its number is nobody's, or our own by now.
fn is_abandoned(path: &Path, pid: u32) -> bool {
    let ours = fs::symlink_metadata(path).is_ok_and(|m| m.is_dir() && m.uid() == rustix::process::geteuid().as_raw());
    ours && (pid == std::process::id() || !Path::new(&format!("/proc/{pid}")).exists())
}

fn remove(path: &Path) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default();
    if let Ok(recorded) = fs::read_to_string(path.join("cgroup-root"))
        && recorded.lines().all(|line| Path::new(line).file_name() == Some(name))
    {
        let options = RootOptions { root: None, name: name.to_string_lossy().into_owned(), recorded: Some(recorded) };
        let tree = Tree::open(&options).map_err(io::Error::other)?;
        for (_, group) in tree.existing().map_err(io::Error::other)? {
            end(&group)?;
        }
        tree.remove_root().map_err(io::Error::other)?;
    }
    fs::remove_dir_all(path)
}

fn end(group: &Group) -> io::Result<()> {
    group.kill().map_err(io::Error::other)?;
    let until = now().0 + PATIENCE;
    loop {
        match group.remove() {
            Ok(()) => return Ok(()),
            Err(error) if error.is_busy() && now().0 < until => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

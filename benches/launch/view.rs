//! Which control groups the benchmark and its daemon see.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::path::{Path, PathBuf};
use std::process::Command;

const MOUNT: &str = "/sys/fs/cgroup";
/// Where hybrid hosts have the v2 tree.
const UNIFIED: &str = "/sys/fs/cgroup/unified";

/// A layout of `/sys/fs/cgroup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The host's own, which is v2 throughout.
    Host,
    /// Of a host with v1 controllers the v2 tree alone.
    V2Only,
    /// The same host as it is.
    V1Beside,
}

impl View {
    const ALL: [View; 3] = [View::Host, View::V2Only, View::V1Beside];

    fn word(self) -> &'static str {
        match self {
            View::Host => "host",
            View::V2Only => "v2-only",
            View::V1Beside => "v1-beside",
        }
    }

    /// The view that is called so on the command line.
    pub fn from_word(word: &str) -> Option<View> {
        View::ALL.into_iter().find(|view| view.word() == word)
    }

    /// Heading of its figures.
    pub fn title(self) -> &'static str {
        match self {
            View::Host => "control groups v2",
            View::V2Only => "the v2 tree alone (hides this host's v1 controllers)",
            View::V1Beside => "v1 controllers beside the v2 tree, as this host is (an attach costs milliseconds)",
        }
    }

    /// Makes it this process's own, in a mount namespace of its own.
    pub fn enter(self) {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
        mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).expect("private propagation");
        if self == View::V2Only {
            mount(Some(UNIFIED), MOUNT, NONE, MsFlags::MS_BIND, NONE).expect("bind of the v2 tree");
        }
    }
}

const NONE: Option<&str> = None;

/// A tmpfs, as `/run` is one; gone with the value.
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Makes the directory and mounts it there.
    pub fn on(directory: PathBuf) -> Tmpfs {
        std::fs::create_dir(&directory).expect("directory");
        mount(NONE, &directory, Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).expect("tmpfs");
        Tmpfs(directory)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// Runs this program again once for each view that this host has.
pub fn each(words: &[String]) {
    let views: &[View] =
        if Path::new(UNIFIED).join("cgroup.procs").exists() { &[View::V2Only, View::V1Beside] } else { &[View::Host] };
    let own = std::env::current_exe().expect("own path");
    for view in views {
        let status = Command::new(&own).args(&words[1..]).args(["--view", view.word()]).status().expect("runs again");
        assert!(status.success(), "{}: {status}", view.title());
    }
}

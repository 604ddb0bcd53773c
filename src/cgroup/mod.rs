//! Control groups: one root group for all services of an instance, one group per unit below it.
//!
//! v2 is the model ([`crate::plan::CgroupSettings`] has its words); v1 and hybrid hosts work with what they have. On a
//! hybrid every unit also has a group in the v2 tree, for birth (clone3), `populated`, kill and freeze.
//!
//! Safety: nothing here ever touches a group that this instance did not make. A root group, an empty or a relative
//! path is refused before the first write, whatever the caller says.
#![forbid(unsafe_code)]

use crate::control::GroupCounters;
use crate::plan::{CgroupSettings, Degraded};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Where the root group is to be.
#[derive(Clone, Debug, Default)]
pub struct RootOptions {
    /// `--cgroup-root`: path below the mount of the hierarchy, `/system.slice/rsvc-payload.service`. `None`: a group
    /// named `name` below the daemon's own.
    pub root: Option<PathBuf>,
    /// Name of the instance's group when `root` is `None`: `rsvc`, or one of its own for redirected directories.
    pub name: String,
}

/// A failed operation: what, on which file, which errno.
#[derive(Debug)]
pub struct CgroupError {
    /// `create`, `write 1048576 to`, `remove`...
    pub operation: String,
    /// File or directory.
    pub path: PathBuf,
    /// Cause.
    pub error: io::Error,
}

/// The hierarchies of this host and this instance's root group in each.
#[derive(Debug)]
pub struct Tree {}

/// The group of one unit. Holds paths, no descriptors: 5,000 services must fit into 20,000 of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {}

impl Tree {
    /// Finds the hierarchies (statfs magic, /proc/self/cgroup, mountinfo; never constants), makes the root group in
    /// each, on v2 moves this process into a leaf where the no-internal-process rule demands and enables controllers.
    ///
    /// # Errors
    /// When no group can be made at all; the caller (an ordinary user's `rsvc run`) goes on without.
    pub fn open(_options: &RootOptions) -> Result<Tree, CgroupError> {
        unimplemented!()
    }

    /// What compile needs to know.
    pub fn facts(&self) -> crate::compile::Cgroups {
        unimplemented!()
    }

    /// Path of the root group below the mount of its hierarchy, to be recorded for the next daemon.
    pub fn root_path(&self) -> &Path {
        unimplemented!()
    }

    /// Makes the unit's group (in `slice` if given) in every hierarchy; an existing one is taken over.
    pub fn create(&self, _unit: &str, _slice: Option<&str>) -> Result<Group, CgroupError> {
        unimplemented!()
    }

    /// Units whose groups exist below the root group: what an earlier daemon left.
    pub fn existing(&self) -> Result<Vec<(String, Group)>, CgroupError> {
        unimplemented!()
    }

    /// Removes the root group when nothing is left in it (`rsvc run`, `--stop-on-exit`).
    pub fn remove_root(&self) -> Result<(), CgroupError> {
        unimplemented!()
    }
}

impl Group {
    /// Path shown to people, below the mount of the hierarchy.
    pub fn path(&self) -> &Path {
        unimplemented!()
    }

    /// Writes limits, in the order the kernel demands. Returns what the host cannot do; the caller decides by the
    /// unit whether that refuses the start (compile has refused what was known to be missing already).
    pub fn apply(&self, _settings: &CgroupSettings) -> Result<Vec<Degraded>, CgroupError> {
        unimplemented!()
    }

    /// Directory descriptor for CLONE_INTO_CGROUP, in the v2 hierarchy (hybrid's too); `None` on pure v1.
    pub fn birth(&self) -> Result<Option<OwnedFd>, CgroupError> {
        unimplemented!()
    }

    /// `cgroup.procs` of the v1 groups, open for writing: the child writes `0` to each.
    pub fn attach_descriptors(&self) -> Result<Vec<OwnedFd>, CgroupError> {
        unimplemented!()
    }

    /// File to watch with inotify (IN_MODIFY) for "populated"; `None` on pure v1.
    pub fn events_file(&self) -> Option<PathBuf> {
        unimplemented!()
    }

    /// Is any process in it?
    pub fn populated(&self) -> Result<bool, CgroupError> {
        unimplemented!()
    }

    /// Host pids of its processes.
    pub fn pids(&self) -> Result<Vec<i32>, CgroupError> {
        unimplemented!()
    }

    /// All counters; a missing file is `None`, never zero.
    pub fn counters(&self) -> GroupCounters {
        unimplemented!()
    }

    /// OOM kills so far ("memory.events" oom_kill; v1 memory.oom_control), for the delta over a run.
    pub fn oom_kills(&self) -> u64 {
        unimplemented!()
    }

    /// Kills every process: cgroup.kill, else freeze, SIGKILL each by pidfd, thaw. Refuses anything but a unit's group.
    pub fn kill(&self) -> Result<(), CgroupError> {
        unimplemented!()
    }

    /// Freezes or thaws.
    pub fn freeze(&self, _frozen: bool) -> Result<(), CgroupError> {
        unimplemented!()
    }

    /// rmdir in every hierarchy. EBUSY right after a kill is normal: the caller tries again later.
    pub fn remove(&self) -> Result<(), CgroupError> {
        unimplemented!()
    }
}

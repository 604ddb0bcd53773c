//! Control groups: one root group for all services of an instance, one group per unit below it.
//!
//! v2 is the model ([`crate::plan::CgroupSettings`] has its words); v1 and hybrid hosts work with what they have. On a
//! hybrid every unit also has a group in the v2 tree, for birth (clone3), `populated`, kill and freeze.
//!
//! ```text
//! detect    which hierarchies are mounted where, and which group of each is our own
//! root      the root group in each, controllers switched on, this process out of the way
//! place     the directories of one unit           guard   what is refused before the first write
//! apply ─▶ v2, v1 ─▶ limits        counters ─▶ numbers        signal ─▶ freeze, kill        remove ─▶ rmdir
//! ```
//!
//! Limits and membership are written through the controllers of the `cgroups-rs` crate where that writes the right
//! file (`controllers`); the rest, and everything that is read, is done here. Nothing waits and no descriptor is kept.
//!
//! Safety: nothing here ever touches a group that this instance did not make. A root group, an empty or a relative
//! path is refused before the first write, whatever the caller says.
#![forbid(unsafe_code)]

mod addresses;
mod apply;
mod controllers;
mod counters;
mod detect;
mod devices;
#[cfg(test)]
mod fake;
mod file;
mod guard;
mod marks;
mod place;
mod ports;
mod programs;
mod remove;
mod root;
mod signal;
mod v1;
mod v2;

use crate::control::GroupCounters;
use crate::plan::{CgroupSettings, Degraded};
use place::{Place, Places};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the root group is to be.
#[derive(Clone, Debug, Default)]
pub struct RootOptions {
    /// `--cgroup-root`: path below the mount of the hierarchy, `/system.slice/rsvc-payload.service`. `None`: a group
    /// named `name` below the daemon's own.
    pub root: Option<PathBuf>,
    /// Name of the instance's group when `root` is `None`: `rsvc`, or one of its own for redirected directories.
    pub name: String,
    /// What [`Tree::record`] of an earlier daemon of this instance said; it wins where the groups still exist, so that
    /// the next daemon finds its services wherever it is started.
    pub recorded: Option<String>,
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

impl CgroupError {
    pub(crate) fn new(operation: impl Into<String>, path: impl Into<PathBuf>, error: io::Error) -> CgroupError {
        CgroupError { operation: operation.into(), path: path.into(), error }
    }

    /// The group is (still) in use: [`Group::remove`] right after a kill, worth another try.
    pub fn is_busy(&self) -> bool {
        self.error.kind() == io::ErrorKind::ResourceBusy
    }
}

impl fmt::Display for CgroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.operation, self.path.display(), self.error)
    }
}

impl std::error::Error for CgroupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// The hierarchies of this host and this instance's root group in each.
#[derive(Debug)]
pub struct Tree {
    places: Arc<Places>,
    /// Where this process was moved to, and how to undo that.
    leaf: Option<root::Leaf>,
}

/// The group of one unit. Holds paths, no descriptors: 5,000 services must fit into 20,000 of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    place: Place,
}

/// The group of a slice, which several units are in. It can be limited and looked at; nothing is killed by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceGroup {
    place: Place,
}

/// Can this process load device programs for groups of the v2 tree? Asked with one that is attached nowhere.
pub fn has_device_programs() -> bool {
    devices::available()
}

/// The same for programs that look at packets and ports, of groups that are in a v2 tree.
pub fn has_packet_programs() -> bool {
    addresses::available() && ports::available()
}

impl Tree {
    /// Finds the hierarchies (statfs magic, /proc/self/cgroup, mountinfo; never constants), makes the root group in
    /// each, on v2 moves this process into a leaf where the no-internal-process rule demands and enables controllers.
    ///
    /// # Errors
    /// When no group can be made at all; the caller (an ordinary user's `rsvc run`) goes on without.
    pub fn open(options: &RootOptions) -> Result<Tree, CgroupError> {
        let host = detect::Host::read()?;
        root::open(&host, options)
    }

    /// What compile needs to know.
    pub fn facts(&self) -> crate::compile::Cgroups {
        self.places.facts()
    }

    /// Path of the root group below the mount of its hierarchy, to be recorded for the next daemon.
    pub fn root_path(&self) -> &Path {
        self.places.root_path()
    }

    /// The root group of every hierarchy as text, one line each, for [`RootOptions::recorded`] of the next daemon:
    /// `v2:/rsvc`, `memory:/process_api/rsvc`. On a v1 host they differ.
    pub fn record(&self) -> String {
        self.places.record()
    }

    /// Makes the unit's group (in `slice` if given) in every hierarchy; an existing one of this unit is taken over,
    /// at the price of one system call.
    ///
    /// # Errors
    /// A name that no group can have, a group in use that this instance did not make, or what mkdir says.
    pub fn create(&self, unit: &str, slice: Option<&str>) -> Result<Group, CgroupError> {
        let place = Place::new(&self.places, unit, slice)?;
        place.create()?;
        Ok(Group { place })
    }

    /// Makes the group of the slice `name`, without units in it; `true` when it was not there before, so that it has no
    /// limit yet. The last unit that leaves removes it.
    ///
    /// # Errors
    /// A name that no slice can have, a group in use that this instance did not make, or what mkdir says.
    pub fn create_slice(&self, name: &str) -> Result<(SliceGroup, bool), CgroupError> {
        let place = Place::of_slice(&self.places, name)?;
        let fresh = place.create_as_slice()?;
        Ok((SliceGroup { place }, fresh))
    }

    /// The group of the slice `name`; `None` when it has none now.
    pub fn slice(&self, name: &str) -> Option<SliceGroup> {
        let place = Place::of_slice(&self.places, name).ok()?;
        place.check_ours().is_ok().then_some(SliceGroup { place })
    }

    /// Makes the root groups again that somebody removed, as anybody with the right may while nothing is in them.
    /// Returns whether there were any.
    pub fn restore(&self) -> Result<bool, CgroupError> {
        root::restore(&self.places)
    }

    /// Units whose groups exist below the root group: what an earlier daemon left.
    pub fn existing(&self) -> Result<Vec<(String, Group)>, CgroupError> {
        let units = Place::survey(&self.places)?.units;
        Ok(units.into_iter().map(|place| (place.unit().to_owned(), Group { place })).collect())
    }

    /// The same, and removes empty groups below the root group that belong to nobody, and slices without units: what a
    /// daemon that was killed had made or begun to remove.
    ///
    /// # Errors
    /// As [`Tree::existing`]; then nothing is removed.
    pub fn sweep(&self) -> Result<Vec<(String, Group)>, CgroupError> {
        let survey = Place::survey(&self.places)?;
        remove::sweep(&self.places, &survey.marked);
        Ok(survey.units.into_iter().map(|place| (place.unit().to_owned(), Group { place })).collect())
    }

    /// The group of the keepers of sockets, made when missing: a directory descriptor for CLONE_INTO_CGROUP. `None` on
    /// pure v1. It has no limits and is nobody's unit; whoever ends the daemon's group does not end what is in it.
    pub fn keeper_group(&self) -> Result<Option<OwnedFd>, CgroupError> {
        let Some(v2) = &self.places.v2 else { return Ok(None) };
        let directory = v2.directory.join(guard::KEEPER);
        file::make_directory(&directory)?;
        file::open_directory(&directory).map(Some)
    }

    /// Pids of those that are in that group.
    pub fn keepers(&self) -> Vec<i32> {
        let directory = self.places.v2.as_ref().map(|v2| v2.directory.join(guard::KEEPER));
        directory.and_then(|directory| file::process_ids(&directory.join("cgroup.procs")).ok()).unwrap_or_default()
    }

    /// Removes that group once nobody is in it.
    pub fn remove_keeper_group(&self) {
        if let Some(v2) = &self.places.v2 {
            // Busy while there is another keeper.
            let _ = std::fs::remove_dir(v2.directory.join(guard::KEEPER));
        }
    }

    /// Removes the root group when nothing is left in it (`rsvc run`, `--stop-on-exit`), and takes this process back
    /// to where it was. Groups of units are not touched: remove them first.
    pub fn remove_root(&self) -> Result<(), CgroupError> {
        self.remove_keeper_group();
        root::remove(&self.places, self.leaf.as_ref())
    }
}

impl SliceGroup {
    /// Path shown to people, below the mount of the hierarchy.
    pub fn path(&self) -> PathBuf {
        self.place.shown()
    }

    /// Writes the common limits; as [`Group::apply`].
    pub fn apply(&self, settings: &CgroupSettings) -> Result<Vec<Degraded>, CgroupError> {
        apply::apply(&self.place, settings)
    }

    /// Memory, tasks and processor time of all its units; a missing file is `None`.
    pub fn totals(&self) -> GroupCounters {
        counters::totals(&self.place)
    }

    /// How often the common memory limit was run into: without a way out on v2 ("memory.events.local" oom), at all on v1
    /// ("memory.failcnt"). `None` without a memory controller.
    pub fn limit_hits(&self) -> Option<u64> {
        counters::own_ooms(&self.place).or_else(|| counters::totals(&self.place).memory_events_max)
    }

    /// Removes it if no unit is left in it; a group that is gone already is a success.
    pub fn remove_if_empty(&self) {
        remove::remove_empty(&self.place);
    }
}

impl Group {
    /// The slice that it is in, without the suffix.
    pub fn slice(&self) -> Option<&str> {
        self.place.slice().map(|slice| slice.strip_suffix(guard::SLICE_SUFFIX).unwrap_or(slice))
    }

    /// Path shown to people, below the mount of the hierarchy.
    pub fn path(&self) -> PathBuf {
        self.place.shown()
    }

    /// Is it still there? Anybody with the right may remove a group without processes.
    pub fn exists(&self) -> bool {
        self.place.primary().is_dir()
    }

    /// Writes limits, in the order the kernel demands. Returns what the host cannot do; the caller decides by the
    /// unit whether that refuses the start (compile has refused what was known to be missing already).
    pub fn apply(&self, settings: &CgroupSettings) -> Result<Vec<Degraded>, CgroupError> {
        apply::apply(&self.place, settings)
    }

    /// Takes away the list of ports that an earlier configuration put on the group.
    pub fn forget_ports(&self) -> Result<(), CgroupError> {
        self.place.unified().map_or(Ok(()), |directory| ports::clear(&directory))
    }

    /// Takes away the rules about peers that an earlier configuration put on the group.
    pub fn forget_addresses(&self) -> Result<(), CgroupError> {
        self.place.unified().map_or(Ok(()), |directory| addresses::clear(&directory))
    }

    /// `resources.delegate`: hands the group in the v2 tree to a user, as the kernel's guide says under "Delegation":
    /// the directory and the files by which processes are moved and controllers enabled, never a limit.
    pub fn delegate(&self, uid: u32, gid: u32) -> Result<(), CgroupError> {
        self.place.delegate(uid, gid)
    }

    /// Directory descriptor for CLONE_INTO_CGROUP, in the v2 hierarchy (hybrid's too); `None` on pure v1.
    pub fn birth(&self) -> Result<Option<OwnedFd>, CgroupError> {
        self.place.unified().map(|directory| file::open_directory(&directory)).transpose()
    }

    /// `cgroup.procs` of the v1 groups, open for writing: the child writes `0` to each.
    ///
    /// The child, because the first attach after a quiet time takes 6 to 14 ms and the further ones within 15 ms only
    /// 0.06 ms each: so it does not hold up the daemon, and it is paid once, not per hierarchy. One exception: a
    /// process that moves itself into a `cpu` group whose quota is used up by others can be throttled inside the
    /// write, holding the lock of all control groups for seconds. So `cpu` is left out when the group has a quota, and
    /// the caller finishes the membership with [`Group::attach_late`] after the clone.
    pub fn attach_descriptors(&self) -> Result<Vec<OwnedFd>, CgroupError> {
        self.place.attach_descriptors()
    }

    /// Moves a new process into what [`Group::attach_descriptors`] left out, from outside. Call it after every clone:
    /// without v1 hierarchies, or without a CPU quota, it does nothing.
    pub fn attach_late(&self, pid: i32) -> Result<(), CgroupError> {
        self.place.attach_late(pid)
    }

    /// File to watch with inotify (IN_MODIFY) for "populated"; `None` on pure v1.
    pub fn events_file(&self) -> Option<PathBuf> {
        Some(self.place.unified()?.join("cgroup.events"))
    }

    /// Is any process in it?
    pub fn populated(&self) -> Result<bool, CgroupError> {
        self.place.populated()
    }

    /// Is any process in it, and is its freezer on?
    pub fn condition(&self) -> (Result<bool, CgroupError>, bool) {
        self.place.condition()
    }

    /// Host pids of its processes.
    pub fn pids(&self) -> Result<Vec<i32>, CgroupError> {
        self.place.pids()
    }

    /// Memory, tasks and processor time, which say how a run went; a third of the files of [`Group::counters`].
    pub fn totals(&self) -> GroupCounters {
        counters::totals(&self.place)
    }

    /// What is in use now: memory, tasks, and processor time so far. One file for each, of the twenty that
    /// [`Group::counters`] reads.
    pub fn usage(&self) -> GroupCounters {
        counters::usage(&self.place)
    }

    /// All counters; a missing file is `None`, never zero.
    pub fn counters(&self) -> GroupCounters {
        counters::read(&self.place)
    }

    /// OOM kills so far ("memory.events" oom_kill; v1 memory.oom_control), for the delta over a run.
    pub fn oom_kills(&self) -> u64 {
        counters::oom_kills(&self.place).unwrap_or(0)
    }

    /// How often the group's own limit was the cause ("memory.events.local" oom); `None` where the kernel does not
    /// say. When this stays while [`Group::oom_kills`] grows, a limit further up or the host ran out of memory.
    pub fn own_ooms(&self) -> Option<u64> {
        counters::own_ooms(&self.place)
    }

    /// Kills every process: cgroup.kill, else freeze, SIGKILL each by pidfd, thaw. Refuses anything but a unit's group.
    pub fn kill(&self) -> Result<(), CgroupError> {
        signal::kill(&self.place)
    }

    /// Freezes or thaws. Returns before the last process has stopped ("cgroup.events" says when).
    pub fn freeze(&self, frozen: bool) -> Result<(), CgroupError> {
        signal::freeze(&self.place, frozen)
    }

    /// Has the freezer stopped every process?
    pub fn is_frozen(&self) -> bool {
        signal::is_frozen(&self.place)
    }

    /// Notes something on the group, an extended attribute of its directory: readable as long as the group is there,
    /// whatever becomes of files. `false`: there is no v2 tree, which alone takes them.
    ///
    /// # Errors
    /// Of setxattr(2); E2BIG above 16 KiB.
    pub fn set_note(&self, note: &[u8]) -> Result<bool, CgroupError> {
        match self.place.unified() {
            Some(directory) => marks::set_note(&directory, note).map(|()| true),
            None => Ok(false),
        }
    }

    /// What was noted last.
    pub fn note(&self) -> Option<Vec<u8>> {
        marks::note(&self.place.unified()?)
    }

    /// rmdir in every hierarchy, groups that the service made inside first. EBUSY right after a kill is normal: the
    /// caller tries again later. A group that is gone already is a success.
    pub fn remove(&self) -> Result<(), CgroupError> {
        remove::remove(&self.place)
    }
}

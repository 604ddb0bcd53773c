//! Where a unit's group is: one directory in the v2 tree and one in each v1 hierarchy, made and found again.

use super::file;
use super::guard;
use super::marks::{Mark, Marks};
use super::{CgroupError, controllers};
use crate::compile::{Cgroups, PacketPrograms};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A resource controller in v2 words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Controller {
    Memory,
    Pids,
    Cpu,
    Cpuset,
    Io,
    Hugetlb,
    Devices,
}

impl Controller {
    /// All, in the order in which they are shown.
    pub(super) const ALL: [Controller; 7] = [
        Controller::Memory,
        Controller::Pids,
        Controller::Cpu,
        Controller::Cpuset,
        Controller::Io,
        Controller::Hugetlb,
        Controller::Devices,
    ];

    /// Word of "cgroup.controllers" (`devices` is a BPF program there, not a word).
    pub(super) fn name(self) -> &'static str {
        match self {
            Controller::Memory => "memory",
            Controller::Pids => "pids",
            Controller::Cpu => "cpu",
            Controller::Cpuset => "cpuset",
            Controller::Io => "io",
            Controller::Hugetlb => "hugetlb",
            Controller::Devices => "devices",
        }
    }

    /// Word of /proc/self/cgroup on v1.
    pub(super) fn v1_name(self) -> &'static str {
        match self {
            Controller::Io => "blkio",
            other => other.name(),
        }
    }

    /// Switched on for every unit, for its accounting; the others when the first unit asks, because each costs memory
    /// and time per group.
    pub(super) fn is_standard(self) -> bool {
        matches!(self, Controller::Memory | Controller::Pids | Controller::Cpu | Controller::Io)
    }
}

/// The root group in the v2 tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unified {
    /// Below the mount, absolute.
    pub path: PathBuf,
    pub directory: PathBuf,
    /// Switched on for groups below.
    pub controllers: Vec<Controller>,
    /// Can be switched on when needed.
    pub on_demand: Vec<Controller>,
    /// Device programs can be attached.
    pub device_programs: bool,
    /// Programs that look at packets and ports can be attached.
    pub packet_programs: bool,
    /// Controllers are there and stay off: other processes share our own group.
    pub crowded: bool,
    /// Groups whose "cgroup.subtree_control" must name a controller, topmost first; the root group is the last.
    pub chain: Vec<PathBuf>,
}

/// The root group in one v1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Legacy {
    /// Below the mount, absolute.
    pub path: PathBuf,
    pub directory: PathBuf,
    /// v1 names, several when mounted together.
    pub controllers: Vec<String>,
    /// Every unit gets a group here; else only one that has a limit of this kind.
    pub always: bool,
}

/// The root group of the instance in every hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places {
    pub v2: Option<Unified>,
    pub v1: Vec<Legacy>,
    pub marks: Marks,
}

/// Where a controller's files of one unit are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Home {
    V2(PathBuf),
    V1(PathBuf),
    Missing,
}

impl Places {
    /// The hierarchy that tells whether a unit's group exists: v2, or the v1 freezer, or any.
    pub(super) fn primary(&self) -> (&Path, &Path) {
        if let Some(v2) = &self.v2 {
            return (&v2.directory, &v2.path);
        }
        let freezer = self.v1.iter().find(|h| h.controllers.iter().any(|name| name == "freezer"));
        match freezer.or(self.v1.iter().find(|h| h.always)).or(self.v1.first()) {
            Some(legacy) => (&legacy.directory, &legacy.path),
            None => (Path::new(""), Path::new("")),
        }
    }

    pub(super) fn root_path(&self) -> &Path {
        self.primary().1
    }

    /// The v1 hierarchy of a controller under its v1 name.
    pub(super) fn legacy(&self, v1_name: &str) -> Option<&Legacy> {
        self.v1.iter().find(|legacy| legacy.controllers.iter().any(|name| name == v1_name))
    }

    /// Are device rules programs in the v2 tree? Where v1 has a device controller they are its files.
    pub(super) fn has_device_programs(&self) -> bool {
        self.v2.as_ref().is_some_and(|v2| v2.device_programs) && self.legacy(Controller::Devices.v1_name()).is_none()
    }

    pub(super) fn facts(&self) -> Cgroups {
        let in_v2 = |c: &Controller| match c {
            Controller::Devices => self.has_device_programs(),
            _ => self.v2.as_ref().is_some_and(|v2| v2.controllers.contains(c) || v2.on_demand.contains(c)),
        };
        let in_v1 = |c: &Controller| !in_v2(c) && self.legacy(c.v1_name()).is_some();
        let names = |wanted: &dyn Fn(&Controller) -> bool| -> Vec<String> {
            Controller::ALL.iter().filter(|c| wanted(c)).map(|c| c.name().to_owned()).collect()
        };
        Cgroups {
            unified: self.v2.is_some() && self.v1.is_empty(),
            controllers: names(&|c| in_v2(c) || in_v1(c)),
            v1_controllers: names(&in_v1),
            crowded: self.v2.as_ref().is_some_and(|v2| v2.crowded),
            available: true,
            packets: match &self.v2 {
                None => PacketPrograms::NoTree,
                Some(v2) if v2.packet_programs => PacketPrograms::Possible,
                Some(_) => PacketPrograms::Refused,
            },
        }
    }

    pub(super) fn record(&self) -> String {
        let v2 = self.v2.iter().map(|v2| format!("v2:{}\n", v2.path.display()));
        let v1 = self.v1.iter().map(|v1| format!("{}:{}\n", v1.controllers.join(","), v1.path.display()));
        v2.chain(v1).collect()
    }
}

/// The group of one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    places: Arc<Places>,
    /// `web`, `batch.slice/web`, or of a slice itself `batch.slice`.
    below: Box<Path>,
    is_slice: bool,
}

/// What an instance has below its root group.
#[derive(Default)]
pub(super) struct Survey {
    /// Units, also those in slices.
    pub units: Vec<Place>,
    /// All groups with a mark, below the root group.
    pub marked: HashSet<PathBuf>,
}

impl Place {
    /// Checks the names; touches nothing.
    pub(super) fn new(places: &Arc<Places>, unit: &str, slice: Option<&str>) -> Result<Place, CgroupError> {
        let directory = guard::unit_directory(unit)?;
        let slice = slice.map(guard::slice_directory).transpose()?;
        let below = slice.as_deref().map_or_else(|| PathBuf::from(&directory), |s| Path::new(s).join(&directory));
        let place = Place { places: Arc::clone(places), below: below.into(), is_slice: false };
        guard::inside(places.primary().0, &place.primary())?;
        Ok(place)
    }

    /// The group of a slice itself: checks the name; touches nothing.
    pub(super) fn of_slice(places: &Arc<Places>, slice: &str) -> Result<Place, CgroupError> {
        let directory = guard::slice_directory(slice)?;
        let place = Place { places: Arc::clone(places), below: PathBuf::from(directory).into(), is_slice: true };
        guard::inside(places.primary().0, &place.primary())?;
        Ok(place)
    }

    /// Directory of the slice that it is in: `batch.slice`.
    pub(super) fn slice(&self) -> Option<&str> {
        self.below.parent()?.to_str().filter(|slice| !slice.is_empty())
    }

    /// The unit whose group it is; of a slice's its directory.
    pub(super) fn unit(&self) -> &str {
        guard::unit_of_directory(self.below.file_name().and_then(OsStr::to_str).unwrap_or_default())
    }

    /// What the group is marked as.
    fn mark(&self) -> Mark {
        if self.is_slice { Mark::Slice } else { Mark::Unit(self.unit().to_owned()) }
    }

    /// For people: the root group and what is below it.
    pub(super) fn shown(&self) -> PathBuf {
        self.places.root_path().join(&self.below)
    }

    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    pub(super) fn below(&self) -> &Path {
        &self.below
    }

    /// Directory in the v2 tree.
    pub(super) fn unified(&self) -> Option<PathBuf> {
        Some(self.places.v2.as_ref()?.directory.join(&self.below))
    }

    /// Directory in the v1 hierarchy of a controller under its v1 name.
    pub(super) fn legacy(&self, v1_name: &str) -> Option<PathBuf> {
        Some(self.places.legacy(v1_name)?.directory.join(&self.below))
    }

    /// Directory that carries the mark.
    pub(super) fn primary(&self) -> PathBuf {
        self.places.primary().0.join(&self.below)
    }

    /// Directory of the slice, in the hierarchy whose root group is `root`.
    pub(super) fn slice_in(&self, root: &Path) -> Option<PathBuf> {
        self.slice().map(|slice| root.join(slice))
    }

    pub(super) fn home(&self, controller: Controller) -> Home {
        let programs = controller == Controller::Devices && self.places.has_device_programs();
        if let Some(v2) = &self.places.v2
            && (programs || v2.controllers.contains(&controller))
        {
            return Home::V2(v2.directory.join(&self.below));
        }
        self.legacy(controller.v1_name()).map_or(Home::Missing, Home::V1)
    }

    /// The group is marked as this unit's: everything that kills asks this first.
    pub(super) fn check_ours(&self) -> Result<(), CgroupError> {
        let directory = self.primary();
        guard::inside(self.places.primary().0, &directory)?;
        match self.places.marks.find(&directory)? {
            Some(mark) if mark == self.mark() => Ok(()),
            _ => Err(guard::refuse("act on", directory, "this group does not carry the mark of the unit or slice")),
        }
    }

    /// Makes the group where it is missing. The mark comes last: a marked group is whole.
    pub(super) fn create(&self) -> Result<(), CgroupError> {
        let primary = self.primary();
        if self.check_ours().is_ok() {
            return Ok(());
        }
        if let Some(slice) = self.slice() {
            Place::of_slice(&self.places, slice)?.create_as_slice()?;
        }
        // An empty group without a mark is taken: what a daemon left that was killed on the way to the last line.
        if !file::make_directory(&primary)? && in_use(&primary) {
            return Err(guard::refuse("take over", primary, "this group is in use and was not made by rsvc"));
        }
        for legacy in self.places.v1.iter().filter(|legacy| legacy.always) {
            file::make_directory(&legacy.directory.join(&self.below))?;
        }
        self.places.marks.set(&primary, &self.mark())
    }

    /// Makes the group of a slice where it is missing; `true` when it was. The mark comes last.
    pub(super) fn create_as_slice(&self) -> Result<bool, CgroupError> {
        let primary = self.primary();
        if self.check_ours().is_ok() {
            return Ok(false);
        }
        if !file::make_directory(&primary)? && in_use(&primary) {
            return Err(guard::refuse("take over", primary, "this group is in use and was not made by rsvc"));
        }
        for legacy in self.places.v1.iter().filter(|legacy| legacy.always) {
            file::make_directory(&legacy.directory.join(&self.below))?;
        }
        if let Some(v2) = &self.places.v2 {
            super::root::enable(&primary, &v2.controllers)?;
        }
        self.places.marks.set(&primary, &self.mark())?;
        Ok(true)
    }

    /// Makes the group in a v1 hierarchy that not every unit needs.
    pub(super) fn create_on_demand(&self, v1_name: &str) -> Result<(), CgroupError> {
        let Some(legacy) = self.places.legacy(v1_name).filter(|legacy| !legacy.always) else { return Ok(()) };
        if let Some(slice) = self.slice_in(&legacy.directory) {
            file::make_directory(&slice)?;
        }
        file::make_directory(&legacy.directory.join(&self.below)).map(|_| ())
    }

    /// Switches a v2 controller on, all the way down. `false` when the host does not allow it.
    pub(super) fn enable_on_demand(&self, controller: Controller) -> Result<bool, CgroupError> {
        let Some(v2) = self.places.v2.as_ref().filter(|v2| v2.on_demand.contains(&controller)) else {
            return Ok(false);
        };
        for group in v2.chain.iter().cloned().chain(self.slice_in(&v2.directory)) {
            super::root::enable(&group, &[controller])?;
        }
        Ok(true)
    }

    /// What is below the root group, by its marks.
    pub(super) fn survey(places: &Arc<Places>) -> Result<Survey, CgroupError> {
        let root = places.primary().0;
        let list = |path: &Path| file::children(path).map_err(|error| CgroupError::new("list", path, error));
        let mut found = Survey::default();
        for name in list(root)? {
            let directory = root.join(&name);
            match places.marks.find(&directory)? {
                Some(Mark::Unit(unit)) => found.units.extend(Place::new(places, &unit, None).ok()),
                Some(Mark::Slice) => {
                    for inner in list(&directory)? {
                        let mark = places.marks.find(&directory.join(&inner))?;
                        if let Some(Mark::Unit(unit)) = &mark {
                            found.units.extend(Place::new(places, unit, Some(&name)).ok());
                        }
                        found.marked.extend(mark.map(|_| Path::new(&name).join(inner)));
                    }
                }
                Some(Mark::Root | Mark::Leaf) => {}
                None => continue,
            }
            found.marked.insert(name.into());
        }
        Ok(found)
    }

    pub(super) fn populated(&self) -> Result<bool, CgroupError> {
        if let Some(directory) = self.unified() {
            let path = directory.join("cgroup.events");
            return match file::record(&path) {
                Ok(text) => Ok(file::keyed(&text, "populated") == Some(1)),
                Err(error) if is_gone(&error) => Ok(false),
                Err(error) => Err(CgroupError::new("read", path, error)),
            };
        }
        Ok(!self.pids()?.is_empty())
    }

    /// Is any process in it, and is its freezer on? In one look where one file says both.
    pub(super) fn condition(&self) -> (Result<bool, CgroupError>, bool) {
        match self.unified().map(|directory| file::record(&directory.join("cgroup.events"))) {
            Some(Ok(text)) => {
                let says = |key| file::keyed(&text, key) == Some(1);
                (Ok(says("populated")), says("frozen"))
            }
            _ => (self.populated(), super::signal::is_frozen(self)),
        }
    }

    /// Of the group and of all groups that the service made inside.
    pub(super) fn pids(&self) -> Result<Vec<i32>, CgroupError> {
        let top = self.primary();
        let mut pids = Vec::new();
        let mut rest = vec![top.clone()];
        while let Some(directory) = rest.pop() {
            let procs = directory.join("cgroup.procs");
            match file::process_ids(&procs) {
                Ok(found) => pids.extend(found),
                // A threaded group of the service's own (EOPNOTSUPP): its processes are listed further up.
                Err(error) if is_gone(&error) || directory != top => {}
                Err(error) => return Err(CgroupError::new("read", procs, error)),
            }
            rest.extend(file::children(&directory).unwrap_or_default().into_iter().map(|name| directory.join(name)));
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    pub(super) fn attach_descriptors(&self) -> Result<Vec<OwnedFd>, CgroupError> {
        let late = self.has_legacy_quota();
        let mut descriptors = Vec::with_capacity(self.places.v1.len());
        for legacy in &self.places.v1 {
            if late && legacy.controllers.iter().any(|name| name == "cpu") {
                continue;
            }
            let path = legacy.directory.join(&self.below).join("cgroup.procs");
            match std::fs::OpenOptions::new().write(true).open(&path) {
                Ok(file) => descriptors.push(file.into()),
                Err(error) if is_gone(&error) && !legacy.always => {}
                Err(error) => return Err(CgroupError::new("open", path, error)),
            }
        }
        Ok(descriptors)
    }

    pub(super) fn attach_late(&self, pid: i32) -> Result<(), CgroupError> {
        if self.has_legacy_quota() { controllers::attach(self, "cpu", pid) } else { Ok(()) }
    }

    /// See `Group::attach_descriptors`.
    fn has_legacy_quota(&self) -> bool {
        let limited = |group: PathBuf| {
            let quota = file::read(&group.join("cpu.cfs_quota_us"));
            quota.and_then(|text| text.trim().parse::<i64>().ok()).is_some_and(|quota| quota > 0)
        };
        let slice = self.places.legacy("cpu").and_then(|cpu| self.slice_in(&cpu.directory));
        self.legacy("cpu").into_iter().chain(slice).any(limited)
    }

    pub(super) fn delegate(&self, uid: u32, gid: u32) -> Result<(), CgroupError> {
        let Some(directory) = self.unified() else {
            return Err(guard::refuse("delegate", self.primary(), "a v1 group cannot be handed over"));
        };
        self.check_ours()?;
        let chown = |path: &Path| match std::os::unix::fs::chown(path, Some(uid), Some(gid)) {
            Err(error) if !is_gone(&error) => Err(CgroupError::new(format!("chown {uid}:{gid}"), path, error)),
            _ => Ok(()),
        };
        chown(&directory)?;
        ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control"].iter().try_for_each(|f| chown(&directory.join(f)))
    }
}

/// A group with processes or with groups inside.
pub(super) fn in_use(directory: &Path) -> bool {
    let populated = match file::read(&directory.join("cgroup.events")) {
        Some(text) => file::keyed(&text, "populated") == Some(1),
        None => file::process_ids(&directory.join("cgroup.procs")).is_ok_and(|pids| !pids.is_empty()),
    };
    populated || file::children(directory).is_ok_and(|children| !children.is_empty())
}

/// The group vanished: ENOENT from open, ENODEV from a descriptor of a removed group.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

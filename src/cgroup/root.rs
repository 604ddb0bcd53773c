//! The root group of the instance: where it is, who may use that place, and which controllers it hands down.
//!
//! Default: a group below our own. Controllers must then be switched on in our own group, which v2 refuses while it
//! has processes ("no internal processes"). So this process moves to a leaf beside the root group first, if it is alone
//! there; other people's processes are never moved, and nothing above our own group is written.
//!
//! ```text
//! own                    subtree_control: +memory +pids +cpu +io
//! ├─ NAME-supervisor     this process
//! └─ NAME                the root group; subtree_control the same
//!    ├─ web              a unit
//!    └─ batch.slice ─ etl
//! ```

use super::detect::{Hierarchy, Host, unless_hidden};
use super::file;
use super::guard;
use super::marks::{Mark, Marks};
use super::place::{Controller, Legacy, Places, Unified, in_use, is_gone};
use super::{CgroupError, RootOptions, Tree, v1};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// This process moved out of its group; kept to undo it.
#[derive(Debug)]
pub(super) struct Leaf {
    own: PathBuf,
    leaf: PathBuf,
    /// What was switched on in `own` before us: the rest, on demand included, goes off again.
    before: Vec<Controller>,
}

/// v1 controllers that are of use. `freezer` and `cpuacct` only without a v2 tree, which does both better.
const LEGACY_LIMITS: [&str; 7] = ["memory", "pids", "cpu", "cpuset", "blkio", "devices", "hugetlb"];
const LEGACY_WITHOUT_V2: [&str; 2] = ["freezer", "cpuacct"];
/// Only for units that ask: the others account, or freeze.
const LEGACY_ON_DEMAND: [&str; 3] = ["cpuset", "devices", "hugetlb"];

/// See `Tree::open`.
pub(super) fn open(host: &Host, options: &RootOptions) -> Result<Tree, CgroupError> {
    check(options)?;
    let mut first_error = None;
    let mut leaf = None;
    let mut v2 = None;
    if let Some(tree) = &host.v2 {
        match unified(tree, host.hybrid, options) {
            Ok((root, moved)) => (v2, leaf) = (Some(root), moved),
            // What runs in a tree that is passed over would not be seen, and started once more.
            Err(error) if options.root.is_some() || is_recorded(tree, true, options) => return Err(error),
            Err(error) => first_error = Some(error),
        }
    }
    let mut v1 = Vec::new();
    for hierarchy in &host.v1 {
        match legacy(hierarchy, v2.is_some(), options) {
            Ok(root) => v1.extend(root),
            Err(error) if is_recorded(hierarchy, false, options) => return Err(error),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    if v2.is_none() && v1.is_empty() {
        let none = || {
            let why = io::Error::new(io::ErrorKind::NotFound, "no control group hierarchy is mounted");
            CgroupError::new("use", "/proc/self/mountinfo", why)
        };
        return Err(first_error.unwrap_or_else(none));
    }
    Ok(Tree { places: Arc::new(Places { v2, v1, marks: Marks::Attribute }), leaf })
}

/// Refuses bad options before anything is touched.
fn check(options: &RootOptions) -> Result<(), CgroupError> {
    if let Some(root) = &options.root {
        guard::root_group(root)?;
    }
    guard::unit_directory(&options.name)?;
    records(options).try_for_each(|line| match line {
        Some((_, path)) => guard::root_group(path),
        None => Err(guard::refuse("use as root group", "", "the record is not of the form HIERARCHY:PATH")),
    })
}

/// The lines of an earlier daemon's record: hierarchy and path, or `None` for one that is neither.
fn records(options: &RootOptions) -> impl Iterator<Item = Option<(&str, &Path)>> {
    let lines = options.recorded.iter().flat_map(|text| text.lines());
    lines.map(|line| line.split_once(':').map(|(hierarchy, path)| (hierarchy, Path::new(path))))
}

/// How a record names a hierarchy.
fn key(hierarchy: &Hierarchy, v2: bool) -> String {
    if v2 { "v2".to_owned() } else { hierarchy.controllers.join(",") }
}

/// Has an earlier daemon its root group there?
fn is_recorded(hierarchy: &Hierarchy, v2: bool, options: &RootOptions) -> bool {
    let key = key(hierarchy, v2);
    records(options).flatten().any(|(name, _)| name == key)
}

/// Where the root group of a hierarchy is to be, and whether somebody vouches for it: the administrator or a record.
fn placement(hierarchy: &Hierarchy, v2: bool, options: &RootOptions) -> Result<(PathBuf, bool), CgroupError> {
    let key = key(hierarchy, v2);
    let on_disk = |path: &Path| {
        let directory = directory(hierarchy, path);
        let found = unless_hidden(fs::metadata(&directory));
        let found = found.map_err(|error| CgroupError::new("look at", directory, error))?;
        Ok::<bool, CgroupError>(found.is_some_and(|found| found.is_dir()))
    };
    for (_, path) in records(options).flatten().filter(|(name, _)| *name == key) {
        if on_disk(path)? {
            return Ok((path.to_owned(), true));
        }
    }
    let own = hierarchy.own.as_deref();
    let own = own.ok_or_else(|| guard::refuse("use", &hierarchy.mount_point, "our own group is not below this mount"));
    let (path, vouched) = match &options.root {
        // The same path in v1 hierarchies only where it can be ours: it exists, or lies below our own group.
        Some(root) if v2 || on_disk(root)? || own.as_ref().is_ok_and(|own| root.starts_with(own)) => {
            (root.clone(), true)
        }
        Some(root) => (own?.join(root.file_name().unwrap_or_default()), false),
        None => (own?.join(&options.name), false),
    };
    guard::root_group(&path)?;
    Ok((path, vouched))
}

fn directory(hierarchy: &Hierarchy, path: &Path) -> PathBuf {
    hierarchy.mount_point.join(path.strip_prefix("/").unwrap_or(path))
}

/// mkdir, and the refusal of a group that somebody else made and uses.
fn make(at: &Path, mark: &Mark, vouched: bool) -> Result<(), CgroupError> {
    let made = file::make_directory(at)?;
    if vouched || Marks::Attribute.get(at).as_ref() == Some(mark) {
        return Ok(());
    }
    if !made && in_use(at) {
        return Err(guard::refuse("take over", at, "this group is in use and was not made by rsvc"));
    }
    Marks::Attribute.set(at, mark)
}

fn unified(tree: &Hierarchy, hybrid: bool, options: &RootOptions) -> Result<(Unified, Option<Leaf>), CgroupError> {
    let (path, vouched) = placement(tree, true, options)?;
    let at = directory(tree, &path);
    make(&at, &Mark::Root, vouched)?;
    let own = tree.own.as_deref().filter(|own| path.parent() == Some(*own)).map(|own| directory(tree, own));
    // On a hybrid the tree has no controller worth a change to a group that others share.
    let own = own.filter(|_| !hybrid);
    let mut leaf = None;
    if let Some(own) = &own {
        leaf = open_own(own, &options.name)?;
    }
    let standard: Vec<Controller> = offered(&at).into_iter().filter(|controller| controller.is_standard()).collect();
    enable(&at, &standard)?;
    let controllers = named(&at.join("cgroup.subtree_control"));
    let can_enable = own.as_deref().is_some_and(is_open);
    let crowded =
        !can_enable && own.as_deref().is_some_and(|own| offered(own).iter().any(|c| !controllers.contains(c)));
    let further = own.as_deref().filter(|_| can_enable).map(offered).unwrap_or_default();
    let on_demand = Controller::ALL
        .into_iter()
        .filter(|c| !controllers.contains(c) && (offered(&at).contains(c) || further.contains(c)))
        .collect();
    let chain = own.filter(|_| can_enable).into_iter().chain([at.clone()]).collect();
    let (device_programs, packet_programs) = (super::devices::available(), super::has_packet_programs());
    let found =
        Unified { path, directory: at, controllers, on_demand, device_programs, packet_programs, crowded, chain };
    Ok((found, leaf))
}

/// Switches the standard controllers on in our own group, stepping aside first when that is needed and enough.
///
/// What cannot be switched on stays missing, and `Tree::facts` says so.
fn open_own(own: &Path, name: &str) -> Result<Option<Leaf>, CgroupError> {
    let present = named(&own.join("cgroup.subtree_control"));
    let wanted: Vec<Controller> =
        offered(own).into_iter().filter(|c| c.is_standard() && !present.contains(c)).collect();
    if wanted.is_empty() {
        return Ok(None);
    }
    if is_open(own) {
        // The root of the whole hierarchy, or a group whose processes are all in leaves.
        return enable(own, &wanted).map(|()| None);
    }
    let procs = own.join("cgroup.procs");
    let pids = fs::read_to_string(&procs).map_err(|error| CgroupError::new("read", procs, error))?;
    let me = std::process::id().to_string();
    if pids.lines().any(|pid| pid.trim() != me) {
        return Ok(None);
    }
    let leaf = own.join(format!("{name}{}", guard::LEAF_SUFFIX));
    make(&leaf, &Mark::Leaf, false)?;
    file::write(&leaf.join("cgroup.procs"), "0")?;
    let moved = Leaf { own: own.to_owned(), leaf, before: present };
    match enable_when_left(own, &wanted) {
        Ok(()) => Ok(Some(moved)),
        Err(_) => {
            // Somebody came in between, or the group is not ours to change: as if nothing had been tried.
            step_back(&moved)?;
            Ok(None)
        }
    }
}

/// A task that is about to end is not moved with its process, and counts until it is gone: a thread of ours, or a
/// child just reaped. So a busy group is asked again, giving way to that task each time, but never waited for.
fn enable_when_left(own: &Path, wanted: &[Controller]) -> Result<(), CgroupError> {
    const TIMES: usize = 100;
    for _ in 1..TIMES {
        match enable(own, wanted) {
            Err(error) if error.is_busy() => std::thread::yield_now(),
            result => return result,
        }
    }
    enable(own, wanted)
}

/// Controllers can be switched on: this is the real root (the only group without "cgroup.type"), or has no processes.
fn is_open(group: &Path) -> bool {
    !group.join("cgroup.type").exists() || file::read(&group.join("cgroup.procs")).is_some_and(|pids| pids.is_empty())
}

/// What the group above hands down.
fn offered(group: &Path) -> Vec<Controller> {
    named(&group.join("cgroup.controllers"))
}

fn named(path: &Path) -> Vec<Controller> {
    let words = file::words(path);
    let named = |controller: &Controller| words.iter().any(|word| word.trim_start_matches('+') == controller.name());
    Controller::ALL.into_iter().filter(named).collect()
}

/// Switches controllers on for the groups below, in one write; those that are on are left alone.
pub(super) fn enable(group: &Path, controllers: &[Controller]) -> Result<(), CgroupError> {
    let path = group.join("cgroup.subtree_control");
    let present = named(&path);
    let missing: Vec<String> =
        controllers.iter().filter(|c| !present.contains(c)).map(|c| format!("+{}", c.name())).collect();
    if missing.is_empty() { Ok(()) } else { file::write(&path, &missing.join(" ")) }
}

fn legacy(hierarchy: &Hierarchy, has_v2: bool, options: &RootOptions) -> Result<Option<Legacy>, CgroupError> {
    let has = |list: &[&str]| hierarchy.controllers.iter().any(|name| list.contains(&name.as_str()));
    if !has(&LEGACY_LIMITS) && (has_v2 || !has(&LEGACY_WITHOUT_V2)) {
        return Ok(None);
    }
    let (path, vouched) = placement(hierarchy, false, options)?;
    let at = directory(hierarchy, &path);
    // Extended attributes of v1 are for root only, and the mark of the v2 tree speaks for all.
    if vouched || has_v2 {
        file::make_directory(&at)?;
    } else {
        make(&at, &Mark::Root, false)?;
    }
    if has(&["cpuset"]) {
        v1::fill_cpuset(&at)?;
        file::write(&at.join("cgroup.clone_children"), "1")?;
    }
    let always = hierarchy.controllers.iter().any(|name| !LEGACY_ON_DEMAND.contains(&name.as_str()));
    Ok(Some(Legacy { path, directory: at, controllers: hierarchy.controllers.clone(), always }))
}

/// See `Tree::restore`.
pub(super) fn restore(places: &Places) -> Result<bool, CgroupError> {
    let mut any = false;
    if let Some(v2) = places.v2.as_ref().filter(|v2| !v2.directory.exists()) {
        make(&v2.directory, &Mark::Root, false)?;
        enable(&v2.directory, &v2.controllers)?;
        any = true;
    }
    for legacy in places.v1.iter().filter(|legacy| !legacy.directory.exists()) {
        match places.v2 {
            Some(_) => file::make_directory(&legacy.directory).map(drop)?,
            None => make(&legacy.directory, &Mark::Root, false)?,
        }
        if legacy.controllers.iter().any(|name| name == "cpuset") {
            v1::fill_cpuset(&legacy.directory)?;
            file::write(&legacy.directory.join("cgroup.clone_children"), "1")?;
        }
        any = true;
    }
    Ok(any)
}

/// See `Tree::remove_root`.
pub(super) fn remove(places: &Places, leaf: Option<&Leaf>) -> Result<(), CgroupError> {
    let roots = places.v1.iter().map(|v1| &v1.directory).chain(places.v2.iter().map(|v2| &v2.directory));
    for root in roots {
        for slice in file::children(root).unwrap_or_default() {
            if slice.ends_with(guard::SLICE_SUFFIX) {
                remove_directory(&root.join(slice))?;
            }
        }
        remove_directory(root)?;
    }
    leaf.map_or(Ok(()), step_back)
}

/// Undoes `open_own`, in the order that the kernel allows: controllers off, back into the group, leaf removed.
fn step_back(moved: &Leaf) -> Result<(), CgroupError> {
    let present = named(&moved.own.join("cgroup.subtree_control"));
    let off: Vec<String> =
        present.iter().filter(|c| !moved.before.contains(c)).map(|c| format!("-{}", c.name())).collect();
    if !off.is_empty() {
        file::write(&moved.own.join("cgroup.subtree_control"), &off.join(" "))?;
    }
    file::write(&moved.own.join("cgroup.procs"), "0")?;
    remove_directory(&moved.leaf)
}

fn remove_directory(path: &Path) -> Result<(), CgroupError> {
    match fs::remove_dir(path) {
        Err(error) if !is_gone(&error) => Err(CgroupError::new("remove", path, error)),
        _ => Ok(()),
    }
}

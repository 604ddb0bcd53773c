//! What is refused before the first write.
//!
//! A runtime that was given an empty group path took the root group for its own and killed everything in it. So names
//! and paths pass here first, and [`inside`] is asked again by everything that kills or removes: by then the path has
//! been through a state file, perhaps.

use super::CgroupError;
use std::io;
use std::path::{Component, Path};

/// Directory of a unit or slice: its name, with `_` before it where the name would be mistaken for an interface file
/// of the kernel (`memory.max`, `tasks`), a slice, or a group of rsvc's own.
///
/// # Errors
/// Empty, `.` and `..`, a `/`, a control character, or more than 255 bytes.
pub(super) fn unit_directory(name: &str) -> Result<String, CgroupError> {
    element(name)?;
    let own = name.ends_with(SLICE_SUFFIX) || name.ends_with(LEAF_SUFFIX) || [KEEPER, OTHERS_KEEPER].contains(&name);
    let taken = RESERVED_NAMES.contains(&name)
        || RESERVED_PREFIXES.iter().any(|prefix| name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.')));
    let escape = own || taken || name.starts_with(['_', '.']);
    let directory = if escape { format!("_{name}") } else { name.to_owned() };
    element(&directory)?;
    Ok(directory)
}

/// The unit that has this directory: [`unit_directory`] the other way round.
pub(super) fn unit_of_directory(directory: &str) -> &str {
    directory.strip_prefix('_').unwrap_or(directory)
}

/// Directory of a slice: always ends in `.slice`, so that a unit of the same name has another one.
pub(super) fn slice_directory(name: &str) -> Result<String, CgroupError> {
    element(name)?;
    let stem = name.strip_suffix(SLICE_SUFFIX).unwrap_or(name);
    element(stem)?;
    let directory = format!("{stem}{SLICE_SUFFIX}");
    element(&directory)?;
    if directory.starts_with(['_', '.']) {
        return Err(refuse("name a slice", name, "a slice may not begin with `_` or `.`"));
    }
    Ok(directory)
}

/// Ends the name of every slice's group.
pub(super) const SLICE_SUFFIX: &str = ".slice";
/// Ends the name of the group that the daemon moves itself to.
pub(super) const LEAF_SUFFIX: &str = "-supervisor";

/// The group of the keepers of sockets.
pub(super) const KEEPER: &str = "rsvc-keepers";
/// What others call the group beside it, in which the process stands that keeps a delegated root group alive.
const OTHERS_KEEPER: &str = "keeper";

/// Interface files without a controller's prefix.
const RESERVED_NAMES: [&str; 3] = ["tasks", "notify_on_release", "release_agent"];
/// `PREFIX.` begins the interface files of the kernel.
const RESERVED_PREFIXES: [&str; 16] = [
    "cgroup",
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "pids",
    "io",
    "blkio",
    "hugetlb",
    "devices",
    "freezer",
    "rdma",
    "misc",
    "net_cls",
    "net_prio",
    "perf_event",
];

/// One path element.
fn element(name: &str) -> Result<(), CgroupError> {
    let why = if name.is_empty() {
        "the name is empty"
    } else if name == "." || name == ".." {
        "this names another group"
    } else if name.contains('/') {
        "a name may not contain `/`"
    } else if name.chars().any(char::is_control) {
        "a name may not contain control characters"
    } else if name.len() > 255 {
        "the name is longer than 255 bytes"
    } else {
        return Ok(());
    };
    Err(refuse("name a control group", name, why))
}

/// The path of an instance's root group below the mount of a hierarchy: absolute, below the hierarchy's own root, and
/// without detours.
pub(super) fn root_group(path: &Path) -> Result<(), CgroupError> {
    let why = if path.as_os_str().is_empty() {
        "the path is empty"
    } else if !path.is_absolute() {
        "the path is relative"
    } else if !is_plain(path) {
        "the path contains `.` or `..`"
    } else if path.parent().is_none() {
        "this is the root group of the whole host"
    } else {
        return Ok(());
    };
    Err(refuse("use as root group", path, why))
}

/// `directory` lies below `root`, the directory of the instance's root group, and is not it.
pub(super) fn inside(root: &Path, directory: &Path) -> Result<(), CgroupError> {
    let why = if !directory.is_absolute() {
        "the path is empty or relative"
    } else if !is_plain(directory) || !is_plain(root) {
        "the path contains `.` or `..`"
    } else if root.parent().is_none() || !directory.starts_with(root) {
        "this group is not below the root group of this instance"
    } else if directory == root {
        "this is the root group of this instance"
    } else {
        return Ok(());
    };
    Err(refuse("act on", directory, why))
}

/// No `.`, no `..`. (`Path::components` swallows a `.` in the middle, so the text is asked.)
fn is_plain(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
        && path.to_str().is_some_and(|text| !text.split('/').any(|part| part == "."))
}

/// The error of a refusal: EINVAL's kind and a sentence.
pub(super) fn refuse(operation: &str, path: impl AsRef<Path>, why: &str) -> CgroupError {
    CgroupError::new(operation, path.as_ref(), io::Error::new(io::ErrorKind::InvalidInput, why.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_group_must_be_an_absolute_path_below_the_root() {
        for bad in ["", "/", "//", "rsvc", "./rsvc", "/..", "/rsvc/..", "/a/../../b", "/a/./b", ".."] {
            let error = root_group(Path::new(bad)).expect_err(bad);
            assert_eq!(error.error.kind(), io::ErrorKind::InvalidInput, "{bad:?}");
        }
        for good in ["/rsvc", "/system.slice/rsvc-payload.service"] {
            root_group(Path::new(good)).expect(good);
        }
    }

    #[test]
    fn only_what_lies_below_the_root_group_is_touched() {
        let root = Path::new("/sys/fs/cgroup/rsvc");
        for bad in [
            "",
            "web",
            "/",
            "/sys/fs/cgroup",
            "/sys/fs/cgroup/rsvc",
            "/sys/fs/cgroup/rsvc/",
            "/sys/fs/cgroup/rsvc-other/web",
            "/sys/fs/cgroup/rsvc/../web",
            "/sys/fs/cgroup/rsvc/.",
            "/sys/fs/cgroup/rsvc/a/../..",
        ] {
            inside(root, Path::new(bad)).expect_err(bad);
        }
        inside(root, Path::new("/sys/fs/cgroup/rsvc/web")).expect("a unit");
        inside(root, Path::new("/sys/fs/cgroup/rsvc/batch.slice/web")).expect("a unit in a slice");
        inside(Path::new("/"), Path::new("/web")).expect_err("an instance at the root");
    }

    #[test]
    fn names_that_leave_the_root_group_are_refused() {
        for bad in ["", ".", "..", "a/b", "/", "/etc", "../up", "a\nb", "\0"] {
            unit_directory(bad).expect_err(bad);
            slice_directory(bad).expect_err(bad);
        }
        unit_directory(&"x".repeat(256)).expect_err("too long");
        unit_directory(&format!("_{}", "x".repeat(254))).expect_err("too long once escaped");
        slice_directory(".slice").expect_err("nothing before the suffix");
    }

    #[test]
    fn names_of_interface_files_are_escaped_and_stay_different() {
        for (unit, directory) in [
            ("web", "web"),
            ("web@1.2", "web@1.2"),
            ("memory", "memory"),
            ("memory.max", "_memory.max"),
            ("cgroup.procs", "_cgroup.procs"),
            ("io.stat", "_io.stat"),
            ("iota.x", "iota.x"),
            ("tasks", "_tasks"),
            ("keeper", "_keeper"),
            ("rsvc-keepers", "_rsvc-keepers"),
            ("batch.slice", "_batch.slice"),
            ("rsvc-supervisor", "_rsvc-supervisor"),
            ("_memory.max", "__memory.max"),
            (".hidden", "_.hidden"),
        ] {
            assert_eq!(unit_directory(unit).expect(unit), directory);
            assert_eq!(unit_of_directory(directory), unit);
        }
        assert_eq!(slice_directory("batch").expect("short"), "batch.slice");
        assert_eq!(slice_directory("batch.slice").expect("long"), "batch.slice");
    }
}

//! Directories of services on the host: made before a start, removed after a run.
//!
//! A parent may belong to a service (`state = ["x", "x/y"]`), which could put a link there at any moment. So every
//! component is opened by itself with `openat2`, no symbolic link is followed, and owner and mode are set through the
//! descriptor of what was opened. Removal works the same way and never leaves the file system.

use super::asked;
use super::launch::failure;
use crate::compile::DirectoryRoots;
use crate::plan::{HostStep, LaunchPlan};
use crate::supervise::LaunchFailure;
use crate::unit::Unit;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::{CStr, CString, OsStr};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

/// What could not be done, with which path.
#[derive(Debug)]
pub struct DirectoryError {
    /// `make`, `open`, `change the owner of`, `change the mode of`, `remove`, `read`.
    pub operation: &'static str,
    /// The component at which it failed.
    pub path: PathBuf,
    /// Cause.
    pub error: io::Error,
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.operation, self.path.display())?;
        match self.error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::LOOP) => f.write_str("it is a symbolic link, which is not followed here"),
            Some(Errno::NOTDIR) => f.write_str("it exists and is not a directory"),
            Some(Errno::XDEV) => f.write_str("something is mounted there"),
            _ => write!(f, "{}", self.error),
        }
    }
}

impl std::error::Error for DirectoryError {}

fn failed(operation: &'static str, path: &Path, error: impl Into<io::Error>) -> DirectoryError {
    DirectoryError { operation, path: path.to_owned(), error: error.into() }
}

/// Makes the directories of a plan.
///
/// # Errors
/// With the key that asked for the directory, by the place where it is to be.
pub(super) fn prepare(plan: &LaunchPlan, unit: Option<&Unit>, roots: &DirectoryRoots) -> Result<(), LaunchFailure> {
    plan.prepare.iter().try_for_each(|step| {
        make(step).map_err(|error| {
            let HostStep::Directory { base, .. } = step;
            let keys = [
                (&roots.runtime, ["directories.runtime_mode", "directories.runtime"]),
                (&roots.state, ["directories.state_mode", "directories.state"]),
                (&roots.cache, ["directories.cache_mode", "directories.cache"]),
                (&roots.logs, ["directories.logs_mode", "directories.logs"]),
                (&roots.configuration, ["directories.configuration_mode", "directories.configuration"]),
            ];
            let keys = keys.iter().find(|(root, _)| *root == base).map(|(_, keys)| keys);
            let asked = keys.map_or_else(String::new, |keys| match error.operation {
                "change the mode of" => asked::asked(unit, asked::written(unit, keys)),
                _ => asked::asked(unit, keys[1]),
            });
            let message = format!("failed at step RUNTIME_DIRECTORY: {error}{asked}{}", asked::advice(&error.error));
            failure("RUNTIME_DIRECTORY", 233, message)
        })
    })
}

/// Makes the directory of a host step, or gives an existing one its owner and mode. What is inside an existing one is
/// not changed: after a change of `service.user` the administrator decides about the files.
///
/// # Errors
/// Naming the component: a symbolic link, something that is not a directory, or what the kernel refused.
pub fn make(step: &HostStep) -> Result<(), DirectoryError> {
    let HostStep::Directory { base, name, mode, uid, gid, remove: _ } = step;
    let mut path = base.clone();
    // The base belongs to the instance or the system, and may well be reached by links (/var/run).
    super::launch::make_directory(base, 0o755).map_err(|e| failed("make", base, e))?;
    let mut directory = open_base(base)?;
    let mut components = plain_components(name, base)?.into_iter().peekable();
    while let Some(component) = components.next() {
        path.push(component);
        let last = components.peek().is_none();
        // Private until the owner is set, so that nobody slips in between.
        directory = enter_or_make(&directory, component, if last { 0o700 } else { 0o755 }, &path)?;
    }
    own(&directory, &path, (*uid, *gid), *mode)
}

/// How far a removal got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is left.
    Done,
    /// The budget is used up; call again.
    More,
}

/// Removes the directory of a host step with all below, at most `budget` entries per call, so that a directory with a
/// million files does not hold up the daemon. Parents stay. Nothing there is success.
///
/// # Errors
/// Naming the entry: a symbolic link or a file in the directory's place, a mount point in it, or what the kernel
/// refused.
pub fn remove(step: &HostStep, budget: usize) -> Result<Progress, DirectoryError> {
    let HostStep::Directory { base, name, .. } = step;
    let components = plain_components(name, base)?;
    let mut path = base.clone();
    let mut directory = match open_base(base) {
        Err(e) if e.error.kind() == io::ErrorKind::NotFound => return Ok(Progress::Done),
        other => other?,
    };
    let Some((last, parents)) = components.split_last() else { return Ok(Progress::Done) };
    for component in parents {
        path.push(component);
        directory = match enter(&directory, &entry(component, &path)?, ResolveFlags::empty()) {
            Err(Errno::NOENT) => return Ok(Progress::Done),
            other => other.map_err(|e| failed("open", &path, e))?,
        };
    }
    path.push(last);
    let name = entry(last, &path)?;
    let top = match enter(&directory, &name, ResolveFlags::NO_XDEV) {
        Err(Errno::NOENT) => return Ok(Progress::Done),
        other => other.map_err(|e| failed("remove", &path, e))?,
    };
    let mut left = budget;
    if empty(&top, &top, &path, 0, &mut left)? == Progress::More {
        return Ok(Progress::More);
    }
    match rustix::fs::unlinkat(&directory, &name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(Progress::Done),
        // Deep directories were moved up after the listing had been read.
        Err(Errno::NOTEMPTY) => Ok(Progress::More),
        Err(e) => Err(failed("remove", &path, e)),
    }
}

/// Nested directories deeper than this are moved up instead of being descended into with ever more descriptors.
const DEPTH: usize = 32;

/// Empties an open directory.
fn empty(
    top: &OwnedFd,
    directory: &OwnedFd,
    path: &Path,
    depth: usize,
    left: &mut usize,
) -> Result<Progress, DirectoryError> {
    let listing = Dir::read_from(directory).map_err(|e| failed("read", path, e))?;
    for item in listing {
        let item = item.map_err(|e| failed("read", path, e))?;
        let name = item.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if *left == 0 {
            return Ok(Progress::More);
        }
        *left -= 1;
        let shown = || path.join(OsStr::new(&*name.to_string_lossy()));
        let is_directory = match item.file_type() {
            FileType::Directory => true,
            FileType::Unknown => rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Directory),
            _ => false,
        };
        if is_directory {
            if depth >= DEPTH {
                // No two have the same inode number, and nothing of that name is ours to replace.
                let moved = format!(".rsvc-removed-{}", item.ino());
                rustix::fs::renameat(directory, name, top, moved).map_err(|e| failed("move", &shown(), e))?;
                continue;
            }
            let inner = enter(directory, name, ResolveFlags::NO_XDEV).map_err(|e| failed("remove", &shown(), e))?;
            if empty(top, &inner, &shown(), depth + 1, left)? == Progress::More {
                return Ok(Progress::More);
            }
        }
        let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match rustix::fs::unlinkat(directory, name, flags) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(failed("remove", &shown(), e)),
        }
    }
    Ok(Progress::Done)
}

fn open_base(base: &Path) -> Result<OwnedFd, DirectoryError> {
    if !base.is_absolute() {
        return Err(failed("open", base, Errno::INVAL));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, base, flags, Mode::empty()).map_err(|e| failed("open", base, e))
}

/// The components of a relative path; refuses everything but plain names.
fn plain_components<'a>(name: &'a Path, base: &Path) -> Result<Vec<&'a OsStr>, DirectoryError> {
    let refused = || failed("use", &base.join(name), Errno::INVAL);
    let plain = |c| match c {
        Component::Normal(name) => Ok(name),
        _ => Err(refused()),
    };
    let components = name.components().map(plain).collect::<Result<Vec<_>, _>>()?;
    if components.is_empty() { Err(refused()) } else { Ok(components) }
}

fn entry(component: &OsStr, path: &Path) -> Result<CString, DirectoryError> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(component.as_bytes()).map_err(|_| failed("use", path, Errno::INVAL))
}

/// Opens a directory that is one component below another.
fn enter(parent: &OwnedFd, name: &CStr, more: ResolveFlags) -> Result<OwnedFd, Errno> {
    // Without O_NOFOLLOW, which would call a link "not a directory"; RESOLVE_NO_SYMLINKS names it.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | more;
    rustix::fs::openat2(parent, name, flags, Mode::empty(), resolve)
}

fn enter_or_make(parent: &OwnedFd, component: &OsStr, mode: u32, path: &Path) -> Result<OwnedFd, DirectoryError> {
    let name = entry(component, path)?;
    match enter(parent, &name, ResolveFlags::empty()) {
        Err(Errno::NOENT) => {}
        other => return other.map_err(|e| failed("open", path, e)),
    }
    match rustix::fs::mkdirat(parent, &name, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(failed("make", path, e)),
    }
    let made = enter(parent, &name, ResolveFlags::empty()).map_err(|e| failed("open", path, e))?;
    // The daemon's umask may have taken bits away.
    let stat = rustix::fs::fstat(&made).map_err(|e| failed("open", path, e))?;
    let ours = stat.st_uid == rustix::process::geteuid().as_raw();
    if ours && stat.st_mode & 0o7777 & !mode == 0 && stat.st_mode & 0o777 != mode {
        rustix::fs::fchmod(&made, Mode::from_raw_mode(mode)).map_err(|e| failed("change the mode of", path, e))?;
    }
    Ok(made)
}

/// Owner first: chown(2) clears setuid and setgid bits, so the mode comes last.
fn own(directory: &OwnedFd, path: &Path, (uid, gid): (u32, u32), mode: u32) -> Result<(), DirectoryError> {
    let stat = rustix::fs::fstat(directory).map_err(|e| failed("open", path, e))?;
    if (stat.st_uid, stat.st_gid) != (uid, gid) {
        let (user, group) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        rustix::fs::fchown(directory, Some(user), Some(group)).map_err(|e| failed("change the owner of", path, e))?;
    }
    if (stat.st_uid, stat.st_gid) != (uid, gid) || stat.st_mode & 0o7777 != mode {
        let mode = Mode::from_raw_mode(mode);
        rustix::fs::fchmod(directory, mode).map_err(|e| failed("change the mode of", path, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::RemoveDirectory;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn step(base: &Path, name: &str, mode: u32) -> HostStep {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        HostStep::Directory { base: base.into(), name: name.into(), mode, uid, gid, remove: RemoveDirectory::AfterRun }
    }

    fn with_owner(step: HostStep, owner: u32) -> HostStep {
        let HostStep::Directory { base, name, mode, remove, .. } = step;
        HostStep::Directory { base, name, mode, uid: owner, gid: owner, remove }
    }

    #[test]
    fn a_missing_directory_is_made_with_its_parents_and_an_existing_one_gets_its_mode() {
        let base = tempfile::tempdir().unwrap();
        make(&step(base.path(), "a/b/c", 0o2750)).unwrap();
        let mode = |p: &str| fs::metadata(base.path().join(p)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("a"), mode("a/b"), mode("a/b/c")), (0o755, 0o755, 0o2750));
        make(&step(base.path(), "a/b/c", 0o700)).unwrap();
        assert_eq!((mode("a/b"), mode("a/b/c")), (0o755, 0o700));
    }

    #[test]
    fn the_owner_is_set_with_the_setgid_bit_kept() {
        if !rustix::process::geteuid().is_root() {
            skipped!("only root can give a directory away");
            return;
        }
        let base = tempfile::tempdir().unwrap();
        make(&with_owner(step(base.path(), "redis", 0o2755), 65534)).unwrap();
        let meta = fs::metadata(base.path().join("redis")).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (65534, 65534, 0o2755));
    }

    #[test]
    fn links_and_files_in_the_way_are_named_and_left_alone() {
        let base = tempfile::tempdir().unwrap();
        let victim = base.path().join("victim");
        fs::create_dir(&victim).unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o700)).unwrap();
        symlink(&victim, base.path().join("link")).unwrap();
        fs::write(base.path().join("file"), "").unwrap();
        for name in ["link", "link/below"] {
            let text = make(&step(base.path(), name, 0o777)).unwrap_err().to_string();
            assert!(text.contains("link: it is a symbolic link"), "{text}");
            assert!(remove(&step(base.path(), name, 0), 100).is_err());
        }
        let text = make(&step(base.path(), "file", 0o777)).unwrap_err().to_string();
        assert!(text.contains("file: it exists and is not a directory"), "{text}");
        assert_eq!(fs::metadata(&victim).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
    }

    #[test]
    fn only_plain_relative_names_are_taken() {
        let base = tempfile::tempdir().unwrap();
        for name in ["", ".", "..", "a/../b", "/etc", "./../x"] {
            assert!(make(&step(base.path(), name, 0o755)).is_err(), "{name:?}");
            assert!(remove(&step(base.path(), name, 0o755), 10).is_err(), "{name:?}");
        }
        assert!(make(&step(Path::new("relative"), "x", 0o755)).is_err());
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }

    #[test]
    fn removal_takes_links_not_what_they_point_at() {
        let base = tempfile::tempdir().unwrap();
        let victim = base.path().join("victim");
        fs::create_dir(&victim).unwrap();
        fs::write(victim.join("canary"), "alive").unwrap();
        let own = base.path().join("run/web");
        fs::create_dir_all(own.join("sub")).unwrap();
        symlink(&victim, own.join("link")).unwrap();
        symlink(victim.join("canary"), own.join("sub/link")).unwrap();
        assert_eq!(remove(&step(base.path(), "run/web", 0), 100).unwrap(), Progress::Done);
        assert!(!own.exists());
        assert!(base.path().join("run").exists());
        assert_eq!(fs::read_to_string(victim.join("canary")).unwrap(), "alive");
        assert_eq!(remove(&step(base.path(), "run/web", 0), 100).unwrap(), Progress::Done);
        assert_eq!(remove(&step(base.path(), "gone/web", 0), 100).unwrap(), Progress::Done);
        assert_eq!(remove(&step(&base.path().join("none"), "web", 0), 100).unwrap(), Progress::Done);
    }

    #[test]
    fn a_large_directory_is_removed_in_bounded_turns() {
        let base = tempfile::tempdir().unwrap();
        for n in 0..250 {
            fs::create_dir_all(base.path().join(format!("web/{}", n % 7))).unwrap();
            fs::write(base.path().join(format!("web/{}/{n}", n % 7)), "x").unwrap();
        }
        let mut turns = 1;
        while remove(&step(base.path(), "web", 0), 50).unwrap() == Progress::More {
            turns += 1;
            assert!(turns < 20);
        }
        assert!(turns > 4 && !base.path().join("web").exists());
    }

    #[test]
    fn a_very_deep_tree_needs_few_descriptors() {
        let base = tempfile::tempdir().unwrap();
        let mut at = base.path().join("web");
        fs::create_dir(&at).unwrap();
        // Built from the inside, as the whole path would be too long.
        for _ in 0..40 {
            let inner: PathBuf = std::iter::repeat_n("d", 50).collect();
            fs::create_dir_all(at.join(&inner)).unwrap();
            let moved = base.path().join("next");
            fs::create_dir(&moved).unwrap();
            fs::rename(&at, moved.join("web")).unwrap();
            fs::rename(&moved, base.path().join("web")).unwrap();
            at = base.path().join("web");
        }
        let mut turns = 0;
        while remove(&step(base.path(), "web", 0), 500).unwrap() == Progress::More {
            turns += 1;
            assert!(turns < 200);
        }
        assert!(!base.path().join("web").exists());
    }
}

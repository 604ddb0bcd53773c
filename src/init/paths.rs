//! From paths of the plan to C strings and to descriptors below a root. No path is looked up twice.

use super::{Context, Failure};
use crate::sys::fd::{self, Open};
use crate::sys::mount::{self, Links};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

pub(super) const ENOENT: i32 = 2;
pub(super) const EEXIST: i32 = 17;
pub(super) const ENOTDIR: i32 = 20;
pub(super) const EINVAL: i32 = 22;
pub(super) const ELOOP: i32 = 40;

/// The path for a system call.
///
/// # Errors
/// EINVAL for a zero byte.
pub(super) fn c_path(path: &Path) -> Result<CString, Failure> {
    c_string(path.as_os_str().as_bytes())
}

/// Bytes for a system call.
///
/// # Errors
/// EINVAL for a zero byte.
pub(super) fn c_string(bytes: &[u8]) -> Result<CString, Failure> {
    CString::new(bytes).map_err(|_| Failure::new(EINVAL, "a string contains a zero byte"))
}

/// Is the object simply not there?
pub(super) fn is_missing(errno: i32) -> bool {
    errno == ENOENT || errno == ENOTDIR
}

/// How symbolic links on the way to a place in the new root are treated: `/proc`, `/sys` and `/dev` must be what they
/// seem, or the kernel's own files would be put where a hostile root file system wants them.
pub(super) fn links_for(at: &Path) -> Links {
    let first = at.components().find(|component| *component != Component::RootDir);
    match first {
        Some(Component::Normal(name)) if ["proc", "sys", "dev"].iter().any(|kernel| name == *kernel) => Links::Refused,
        _ => Links::InRoot,
    }
}

/// Opens (O_PATH) a place in the new root.
pub(super) fn open_in_root(root: BorrowedFd<'_>, at: &Path, links: Links) -> Result<OwnedFd, Failure> {
    mount::open_below(root, &c_path(at)?, Open::Path, links).map_err(|error| match error.errno {
        ELOOP if links == Links::Refused => {
            Failure::new(ELOOP, format!("{} or a part of it is a symbolic link in the root file system", at.display()))
        }
        errno => Failure::new(errno, String::new()),
    })
}

/// What is made where a path ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaf {
    Directory,
    File,
}

/// Opens (O_PATH) a place in the new root, and makes what is missing: directories 0755, files 0644. While anything is
/// made, no symbolic link is followed.
pub(super) fn open_or_make(root: BorrowedFd<'_>, at: &Path, links: Links, leaf: Leaf) -> Result<OwnedFd, Failure> {
    match open_in_root(root, at, links) {
        Err(failure) if failure.errno == ENOENT => make_below(root, at, leaf),
        other => other,
    }
}

fn make_below(root: BorrowedFd<'_>, at: &Path, leaf: Leaf) -> Result<OwnedFd, Failure> {
    let mut names = Vec::new();
    for component in at.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name),
            _ => return Err(Failure::new(EINVAL, "a path with .. cannot be made")),
        }
    }
    let mut here: Option<OwnedFd> = None;
    for (index, name) in names.iter().enumerate() {
        let name = c_string(name.as_bytes())?;
        let parent = here.as_ref().map_or(root, AsFd::as_fd);
        let so_far = || names[..=index].iter().map(|name| format!("/{}", name.display())).collect::<String>();
        if index + 1 == names.len() && leaf == Leaf::File {
            return make_or_open_file(parent, &name).context(so_far);
        }
        let next = match mount::open_component(parent, &name, Open::Directory) {
            Err(error) if error.errno == ENOENT => make_or_open_directory(parent, &name).context(so_far)?,
            Err(error) if error.errno == ENOTDIR || error.errno == ELOOP => {
                let detail =
                    format!("{} is no directory, and links are not followed to make what is missing", so_far());
                return Err(Failure::new(error.errno, detail));
            }
            other => other.context(so_far)?,
        };
        here = Some(next);
    }
    here.map_or_else(|| Ok(fd::duplicate(root, 3)?), Ok)
}

fn make_or_open_directory(parent: BorrowedFd<'_>, name: &std::ffi::CStr) -> crate::sys::Result<OwnedFd> {
    match mount::make_directory(parent, name, 0o755) {
        Err(error) if error.errno != EEXIST => Err(error),
        _ => mount::open_component(parent, name, Open::Directory),
    }
}

fn make_or_open_file(parent: BorrowedFd<'_>, name: &std::ffi::CStr) -> crate::sys::Result<OwnedFd> {
    match mount::make_file(parent, name, 0o644) {
        Err(error) if error.errno != EEXIST => Err(error),
        // Whatever lies there now, a symbolic link included, is opened as itself.
        _ => mount::open_component(parent, name, Open::Path),
    }
}

/// Where the last name of a path is looked up.
pub(super) enum Parent<'slot> {
    /// The root of the slot's tree.
    Slot(BorrowedFd<'slot>),
    /// A directory in it.
    Below(OwnedFd),
}

impl AsFd for Parent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Parent::Slot(slot) => *slot,
            Parent::Below(directory) => directory.as_fd(),
        }
    }
}

/// Splits a relative path of a slot into the opened parent and the last name.
pub(super) fn open_parent<'slot>(slot: BorrowedFd<'slot>, name: &Path) -> Result<(Parent<'slot>, CString), Failure> {
    let invalid = || Failure::new(EINVAL, format!("{} is no relative path of plain names", name.display()));
    if !name.components().all(|component| matches!(component, Component::Normal(_))) {
        return Err(invalid());
    }
    let last = c_string(name.file_name().ok_or_else(invalid)?.as_bytes())?;
    let parent = match name.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => Parent::Below(
            mount::open_below(slot, &c_path(parent)?, Open::Directory, Links::Refused)
                .context(|| parent.display().to_string())?,
        ),
        _ => Parent::Slot(slot),
    };
    Ok((parent, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_refused_on_the_way_to_the_kernels_own_trees() {
        for at in ["/proc", "/dev/shm", "/sys/fs/cgroup", "//dev"] {
            assert_eq!(links_for(Path::new(at)), Links::Refused, "{at}");
        }
        for at in ["/var/run", "/srv/proc", "/developer", "/"] {
            assert_eq!(links_for(Path::new(at)), Links::InRoot, "{at}");
        }
    }

    #[test]
    fn what_is_missing_is_made_but_never_through_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), directory.path().join("link")).unwrap();
        let path = CString::new(directory.path().as_os_str().as_bytes()).unwrap();
        let root = fd::open(&path, Open::Directory).unwrap();
        let make = |at: &str, leaf| open_or_make(root.as_fd(), Path::new(at), Links::InRoot, leaf);
        make("/a/b/c", Leaf::Directory).unwrap();
        make("/a/b/file", Leaf::File).unwrap();
        assert!(directory.path().join("a/b/c").is_dir() && directory.path().join("a/b/file").is_file());
        assert_eq!(make("/link/new", Leaf::Directory).unwrap_err().errno, ENOTDIR);
        assert_eq!(make("/x/../y", Leaf::Directory).unwrap_err().errno, EINVAL);
        assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }
}

//! The way to the name of a socket: every directory on it belongs to us, so that nobody can turn it aside.
//!
//! A bind(2) takes a path as text and follows links. So the way is walked first: directories must belong to root or to
//! the daemon's own user, and be writable by nobody else (or sticky); links on the way must be theirs as well. What
//! such a walk has found nobody else can change. Missing directories are made.

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

/// Links followed on one way.
const LINKS: usize = 16;
/// Write permission of group and others.
const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Why there is no way.
#[derive(Debug)]
pub struct PathError {
    /// The place.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

/// The directory of a name, and the name in it.
#[derive(Debug)]
pub struct Entry {
    directory: OwnedFd,
    name: OsString,
}

/// What stands under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Socket, FIFO, ...
    pub kind: FileType,
    /// Device and inode, by which it is known again.
    pub identity: (u64, u64),
    /// Owner.
    pub uid: u32,
}

/// May missing directories be made?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// 0755.
    Make,
    /// They are an error.
    Leave,
}

impl Entry {
    /// Walks to the last component of an absolute path.
    ///
    /// # Errors
    /// The first place that others could change, that is no directory, or that cannot be opened.
    pub fn at(path: &Path, missing: Missing) -> Result<Entry, PathError> {
        let name = path.file_name().unwrap_or_default().to_owned();
        let parent = path.parent().unwrap_or(Path::new("/"));
        let directory = walk(parent, missing)?;
        Ok(Entry { directory, name })
    }

    /// What is there now; `None`: nothing.
    pub fn find(&self) -> io::Result<Option<Found>> {
        match rustix::fs::statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
            Ok(stat) => Ok(Some(Found {
                kind: FileType::from_raw_mode(stat.st_mode),
                identity: (stat.st_dev, stat.st_ino),
                uid: stat.st_uid,
            })),
        }
    }

    /// Removes the name.
    pub fn unlink(&self) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.directory, &self.name, AtFlags::empty())?)
    }

    /// Owner first: it takes privileges away that a mode could give.
    pub fn set_owner(&self, uid: u32, gid: u32) -> io::Result<()> {
        let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        Ok(rustix::fs::chownat(&self.directory, &self.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Mode of what is there, which must be ours.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::chmodat(&self.directory, &self.name, Mode::from_raw_mode(mode), AtFlags::empty())?)
    }

    /// Makes a FIFO that nobody can open yet.
    pub fn make_fifo(&self) -> io::Result<()> {
        Ok(rustix::fs::mknodat(&self.directory, &self.name, FileType::Fifo, Mode::empty(), 0)?)
    }

    /// Opens a FIFO for reading and writing: it then never has an end of file, and nobody has to wait for us.
    pub fn open_fifo(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.directory, &self.name, flags, Mode::empty())?)
    }
}

fn walk(path: &Path, missing: Missing) -> Result<OwnedFd, PathError> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = || rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let failed = |place: &Path, why: String| PathError { path: place.to_owned(), why };
    let mut todo: VecDeque<OsString> = components(path);
    let mut place = PathBuf::from("/");
    let mut here = root().map_err(|error| failed(&place, error.to_string()))?;
    let mut links = 0;
    while let Some(name) = todo.pop_front() {
        place.push(&name);
        let opened = match rustix::fs::openat(&here, &name, flags, Mode::empty()) {
            Err(Errno::NOENT) if missing == Missing::Make => make(&here, &name),
            other => other,
        };
        let next = opened.map_err(|error| failed(&place, io::Error::from(error).to_string()))?;
        let stat = rustix::fs::fstat(&next).map_err(|error| failed(&place, error.to_string()))?;
        let is_ours = stat.st_uid == 0 || stat.st_uid == rustix::process::geteuid().as_raw();
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink if !is_ours => {
                let why = format!("a link that user {} made is not followed", stat.st_uid);
                return Err(failed(&place, why));
            }
            FileType::Symlink => {
                links += 1;
                if links > LINKS {
                    return Err(failed(&place, "too many links".to_owned()));
                }
                let target = rustix::fs::readlinkat(&here, &name, Vec::new())
                    .map_err(|error| failed(&place, error.to_string()))?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                place.pop();
                if target.is_absolute() {
                    place = PathBuf::from("/");
                    here = root().map_err(|error| failed(&place, error.to_string()))?;
                }
                for component in components(&target).into_iter().rev() {
                    todo.push_front(component);
                }
            }
            FileType::Directory => {
                if let Some(why) = weakness(is_ours, stat.st_uid, stat.st_mode) {
                    return Err(failed(&place, why));
                }
                here = next;
            }
            _ => return Err(failed(&place, "not a directory".to_owned())),
        }
    }
    Ok(here)
}

/// Who but us could change what is in a directory.
fn weakness(is_ours: bool, uid: u32, mode: u32) -> Option<String> {
    if !is_ours {
        return Some(format!("the directory belongs to user {uid}, who could put a link in the place of the socket"));
    }
    (mode & WRITABLE_BY_OTHERS != 0 && mode & STICKY == 0).then(|| {
        format!(
            "others may write to the directory (mode {:04o}) and could put a link in the place of the socket",
            mode & 0o7777
        )
    })
}

/// A directory that did not exist; the umask of the daemon has no say.
fn make(parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
        Ok(()) => rustix::fs::chmodat(parent, name, Mode::from_raw_mode(0o755), AtFlags::empty())?,
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent.as_fd(), name, flags, Mode::empty())
}

/// The names of a path, `..` included, which a directory of ours answers truly.
fn components(path: &Path) -> VecDeque<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A directory of ours below one that is sticky or ours.
    fn place() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory")
    }

    #[test]
    fn directories_are_made_and_own_links_followed() {
        let top = place();
        symlink("real", top.path().join("link")).unwrap();
        Entry::at(&top.path().join("real/deep/name"), Missing::Make).unwrap();
        assert_eq!(std::fs::metadata(top.path().join("real/deep")).unwrap().permissions().mode() & 0o777, 0o755);
        let entry = Entry::at(&top.path().join("link/deep/../name"), Missing::Leave).unwrap();
        entry.make_fifo().unwrap();
        let found = entry.find().unwrap().expect("a FIFO");
        assert_eq!(found.kind, FileType::Fifo);
        assert!(top.path().join("real/name").symlink_metadata().is_ok());
        entry.unlink().unwrap();
        assert_eq!(entry.find().unwrap(), None);
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused_by_name() {
        let top = place();
        let open = top.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = Entry::at(&open.join("name"), Missing::Make).unwrap_err();
        assert_eq!(error.path, open);
        assert!(error.to_string().contains("mode 0777"), "{error}");
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o1777)).unwrap();
        Entry::at(&open.join("name"), Missing::Make).unwrap();
    }

    #[test]
    fn a_circle_of_links_and_a_file_on_the_way_end_the_walk() {
        let top = place();
        symlink("b", top.path().join("a")).unwrap();
        symlink("a", top.path().join("b")).unwrap();
        let error = Entry::at(&top.path().join("a/name"), Missing::Make).unwrap_err();
        assert!(error.to_string().contains("too many links"), "{error}");
        std::fs::write(top.path().join("file"), "").unwrap();
        let error = Entry::at(&top.path().join("file/name"), Missing::Make).unwrap_err();
        assert!(error.to_string().contains("not a directory"), "{error}");
        let error = Entry::at(&top.path().join("none/name"), Missing::Leave).unwrap_err();
        assert_eq!(error.path, top.path().join("none"));
    }

    #[test]
    fn links_and_directories_of_others_are_not_trusted() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: needs root to make what belongs to others");
        }
        let top = place();
        symlink("real", top.path().join("link")).unwrap();
        std::fs::create_dir(top.path().join("real")).unwrap();
        std::os::unix::fs::lchown(top.path().join("link"), Some(4711), None).unwrap();
        let error = Entry::at(&top.path().join("link/name"), Missing::Make).unwrap_err();
        assert!(error.to_string().contains("user 4711"), "{error}");
        std::os::unix::fs::chown(top.path().join("real"), Some(4711), None).unwrap();
        let error = Entry::at(&top.path().join("real/name"), Missing::Make).unwrap_err();
        assert!(error.to_string().contains("belongs to user 4711"), "{error}");
    }
}

//! Which file an upgrade executes, and whether it may be believed.
//!
//! It is opened once, and what was probed is what is executed, by descriptor. Everything on the way to it must be
//! writable by root (or the daemon's own user) alone: directories, links, the file. A directory with the sticky bit may
//! be writable by others, as nobody can exchange there what belongs to somebody else.

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat};
use std::collections::VecDeque;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// Symbolic links that are followed, as many as the kernel follows.
const MOST_LINKS: usize = 40;

/// What the kernel appends to the name of an executable that was replaced meanwhile.
const DELETED: &str = " (deleted)";

/// The file that will be executed.
pub(super) struct Program {
    /// As it was asked for.
    pub path: PathBuf,
    /// O_PATH, close-on-exec.
    pub file: OwnedFd,
}

/// By what path this process was started, for a later upgrade: as it was written where that is absolute and leads to this
/// program, so that a link that a package manager turns is followed anew; else as the kernel names it.
pub(in crate::daemon) fn own_path() -> PathBuf {
    let real = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    let real = real.to_str().and_then(|path| path.strip_suffix(DELETED)).map_or(real.clone(), PathBuf::from);
    let written = std::env::args_os().next().map(PathBuf::from).filter(|path| path.is_absolute());
    match written {
        Some(path) if std::fs::canonicalize(&path).is_ok_and(|target| target == real) => path,
        _ => real,
    }
}

impl Program {
    /// Opens `path` for the daemon of user `owner`.
    ///
    /// # Errors
    /// Which part of the path cannot be believed and why, or cannot be opened, with what to do.
    pub fn open(path: &Path, owner: u32) -> Result<Program, String> {
        let file = walk(path, owner).map_err(|why| format!("{}: {why}", path.display()))?;
        Ok(Program { path: path.to_owned(), file })
    }
}

/// What is still to be walked, and where we are.
struct Walk {
    directory: OwnedFd,
    /// For people.
    at: PathBuf,
    left: VecDeque<OsString>,
    links: usize,
}

fn walk(path: &Path, owner: u32) -> Result<OwnedFd, String> {
    if !path.is_absolute() {
        return Err("not an absolute path".to_owned());
    }
    let mut walk = Walk { directory: root()?, at: PathBuf::from("/"), left: parts(path), links: 0 };
    trusted(&stat(walk.directory.as_fd())?, owner).map_err(|why| format!("/ {why}"))?;
    while let Some(name) = walk.left.pop_front() {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let here = walk.at.join(&name);
        let entry = rustix::fs::openat(&walk.directory, name.as_os_str(), flags, Mode::empty())
            .map_err(|errno| format!("cannot open {}: {}", here.display(), std::io::Error::from(errno)))?;
        let found = stat(entry.as_fd())?;
        let kind = found.st_mode & libc::S_IFMT;
        let judged = if kind == libc::S_IFLNK { owned(&found, owner) } else { trusted(&found, owner) };
        judged.map_err(|why| refusal(&here, &why))?;
        match kind {
            libc::S_IFLNK => walk.follow(&entry, &here)?,
            libc::S_IFDIR => (walk.directory, walk.at) = (entry, here),
            libc::S_IFREG if walk.left.is_empty() => return executable(&found).map(|()| entry),
            _ => return Err(format!("{} is no directory, or no regular file at the end of a path", here.display())),
        }
    }
    Err("a directory, not a program".to_owned())
}

impl Walk {
    fn follow(&mut self, link: &OwnedFd, here: &Path) -> Result<(), String> {
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(format!("too many symbolic links at {}", here.display()));
        }
        let target: CString = rustix::fs::readlinkat(link, "", Vec::new())
            .map_err(|errno| format!("cannot read the link {}: {}", here.display(), std::io::Error::from(errno)))?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        if target.is_absolute() {
            (self.directory, self.at) = (root()?, PathBuf::from("/"));
        }
        for name in parts(&target).into_iter().rev() {
            self.left.push_front(name);
        }
        Ok(())
    }
}

/// The names of a path; `..` stays, and leads through a directory that is looked at like all others.
fn parts(path: &Path) -> VecDeque<OsString> {
    let named = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsStr::from_bytes(b"..").to_owned()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(named).collect()
}

fn root() -> Result<OwnedFd, String> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, "/", flags, Mode::empty()).map_err(|errno| format!("cannot open /: {errno}"))
}

fn stat(fd: BorrowedFd<'_>) -> Result<Stat, String> {
    rustix::fs::statat(fd, "", AtFlags::EMPTY_PATH).map_err(|errno| format!("cannot look at it: {errno}"))
}

/// Belongs to root or to the daemon's user.
fn owned(found: &Stat, owner: u32) -> Result<(), String> {
    match found.st_uid {
        uid if uid == 0 || uid == owner => Ok(()),
        uid => Err(format!("belongs to uid {uid}: only a program of root's (or the daemon's own user's) is executed")),
    }
}

/// The same, and nobody else may write to it. Root's own group is as good as root.
fn trusted(found: &Stat, owner: u32) -> Result<(), String> {
    owned(found, owner)?;
    let sticky = found.st_mode & libc::S_IFMT == libc::S_IFDIR && found.st_mode & libc::S_ISVTX != 0;
    match found.st_mode & 0o022 {
        _ if sticky => Ok(()),
        0 => Ok(()),
        0o020 if found.st_gid == 0 => Ok(()),
        0o020 => Err(format!("is writable by its group {}", found.st_gid)),
        _ => Err("is writable by everybody".to_owned()),
    }
}

fn refusal(path: &Path, why: &str) -> String {
    let remedy = if why.starts_with("is writable") {
        format!("chmod go-w {}", path.display())
    } else {
        "install it where only root can write".to_owned()
    };
    format!("{} {why}\n  hint: {remedy}", path.display())
}

fn executable(found: &Stat) -> Result<(), String> {
    match found.st_mode {
        mode if mode & 0o6000 != 0 => Err("changes its user or group when it is executed (set-user-ID)".to_owned()),
        mode if mode & 0o111 == 0 => Err("not executable\n  hint: chmod 755".to_owned()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A directory on the trusted way, for the user of this test.
    fn place() -> tempfile::TempDir {
        let place = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        place
    }

    fn program(path: &Path, mode: u32) {
        fs::write(path, b"\x7fELF").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn open(path: &Path) -> Result<(), String> {
        Program::open(path, rustix::process::geteuid().as_raw()).map(|_| ())
    }

    #[test]
    fn links_and_dots_lead_to_the_program() {
        let place = place();
        let directory = place.path();
        fs::create_dir(directory.join("1.0")).unwrap();
        program(&directory.join("1.0/rsvc"), 0o755);
        symlink("1.0", directory.join("current")).unwrap();
        symlink(directory.join("current/../current/rsvc"), directory.join("rsvc")).unwrap();
        assert_eq!(open(&directory.join("rsvc")), Ok(()));
        symlink("loop", directory.join("loop")).unwrap();
        assert!(open(&directory.join("loop")).unwrap_err().contains("too many symbolic links"));
        assert!(open(&directory.join("none")).unwrap_err().contains("cannot open"));
        assert!(open(directory).unwrap_err().contains("a directory"));
        assert!(open(Path::new("rsvc")).unwrap_err().contains("not an absolute path"));
        assert!(open(Path::new("/dev/null")).is_err());
    }

    #[test]
    fn what_others_can_write_is_refused_with_its_name() {
        let place = place();
        let file = place.path().join("rsvc");
        for (mode, word) in [(0o777, "writable by everybody"), (0o644, "not executable"), (0o4755, "set-user-ID")] {
            program(&file, mode);
            let refusal = open(&file).unwrap_err();
            assert!(refusal.contains(word) && refusal.contains("rsvc"), "{refusal}");
        }
        program(&file, 0o755);
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(open(&file).unwrap_err().contains("chmod go-w"));
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        assert_eq!(open(&file), Ok(()), "sticky: nobody can exchange it");
        // Another user's.
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&file, Some(7), Some(7)).unwrap();
            assert!(open(&file).unwrap_err().contains("belongs to uid 7"));
        }
    }
}

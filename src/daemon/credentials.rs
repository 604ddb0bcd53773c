//! Files of `[credentials]`: opened here, as the daemon may read what the set-up stage of a user namespace may not, and
//! copied there. Their content never comes into the daemon.
//!
//! A symbolic link on the way is followed only where nobody but root, or who runs the daemon, can have made it or could
//! exchange it: otherwise the owner of one directory on the path would choose which file of the host a service is given.
//! A file with a second name (a hard link) in a directory of somebody else could be any file, too.

use crate::plan::{LaunchPlan, Step, hint};
use crate::supervise::LaunchFailure;
use crate::unit::MOST_CREDENTIALS;
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

/// Links that one path may lead through, as the kernel's own look-up.
const MOST_LINKS: usize = 40;

/// Not blocking on a FIFO, not acquiring a terminal: what else a name may be exchanged for.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// A name itself, whatever it is; nothing is done to it.
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// One file that becomes a credential.
pub(super) struct Opened {
    /// Name of the unit's credential.
    pub credential: String,
    /// Name of the file inside.
    pub name: String,
    pub file: OwnedFd,
}

/// Why a path gives no credential.
#[derive(Debug)]
struct Refused {
    errno: Errno,
    detail: String,
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Refused {
        Refused { errno, detail: String::new() }
    }
}

/// Opens what the plan's steps copy.
///
/// # Errors
/// The first file that cannot be had, in the words of its step.
pub(super) fn open(plan: &LaunchPlan) -> Result<Vec<Opened>, LaunchFailure> {
    let mut all = Vec::new();
    for (index, planned) in plan.steps.iter().enumerate() {
        let Step::LoadCredential { name, path, missing_ok, .. } = &planned.step else { continue };
        let found = match look_up(path) {
            Err(Refused { errno: Errno::NOENT | Errno::NOTDIR, .. }) if *missing_ok => continue,
            found => found.and_then(|found| files(name, &found)),
        };
        let found = found.and_then(|found| match all.len() + found.len() {
            0..=MOST_CREDENTIALS => Ok(found),
            _ => {
                let detail = format!("a unit has at most {MOST_CREDENTIALS} credentials from files");
                Err(Refused { errno: Errno::TOOBIG, detail })
            }
        });
        all.extend(found.map_err(|Refused { errno, detail }| LaunchFailure {
            step: planned.step.name().to_owned(),
            code: planned.step.code(),
            message: hint::failure_message(plan, index, errno.raw_os_error(), &detail),
        })?);
    }
    Ok(all)
}

/// The file, or those of the directory.
fn files(credential: &str, found: &Found) -> Result<Vec<Opened>, Refused> {
    match kind(&rustix::fs::fstat(&found.here)?) {
        FileType::RegularFile => {
            let (credential, name) = (credential.to_owned(), credential.to_owned());
            Ok(vec![Opened { credential, name, file: found.open()? }])
        }
        FileType::Directory => {
            let mut all = Vec::new();
            for name in names(found)? {
                let opened = in_directory(credential, found, &name).map_err(|Refused { errno, detail }| {
                    let detail = if detail.is_empty() { name.display().to_string() } else { detail };
                    Refused { errno, detail }
                })?;
                all.extend(opened);
            }
            Ok(all)
        }
        _ => Err(Refused { errno: Errno::INVAL, detail: "it is neither a regular file nor a directory".to_owned() }),
    }
}

/// Names in a directory, sorted; not dots, and what editors and mounted secrets hide.
fn names(directory: &Found) -> Result<Vec<OsString>, Refused> {
    let readable = rustix::fs::openat(&directory.here, c".", READ | OFlags::DIRECTORY, Mode::empty())?;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(&readable)? {
        let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
        if !name.as_bytes().starts_with(b".") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// One name of a directory; `None` for what is no file.
fn in_directory(credential: &str, directory: &Found, name: &OsStr) -> Result<Option<Opened>, Refused> {
    let start = directory.here.try_clone().map_err(|_| Errno::MFILE)?;
    let place = look_up_from(start, Path::new(name))?;
    if kind(&rustix::fs::fstat(&place.here)?) != FileType::RegularFile {
        return Ok(None);
    }
    let inner = inner_name(credential, name)?;
    Ok(Some(Opened { credential: credential.to_owned(), name: inner, file: place.open()? }))
}

/// `NAME_FILE`
fn inner_name(credential: &str, file: &OsStr) -> Result<String, Refused> {
    let name = format!("{credential}_{}", file.display());
    match file.to_str().map(|_| crate::unit::value::credential_name(&name)) {
        Some(Ok(())) => Ok(name),
        _ => {
            let detail = format!("{} cannot be part of the name of a credential", name.escape_debug());
            Err(Refused { errno: Errno::INVAL, detail })
        }
    }
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// What a path leads to: the directory that it lies in, its name there, and itself (O_PATH).
struct Found {
    parent: OwnedFd,
    name: OsString,
    here: OwnedFd,
}

impl Found {
    /// The regular file, for reading.
    fn open(&self) -> Result<OwnedFd, Refused> {
        let file = rustix::fs::openat(&self.parent, &self.name, READ | OFlags::NOFOLLOW, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        match kind(&stat) {
            FileType::RegularFile if stat.st_nlink > 1 && !is_closed(&rustix::fs::fstat(&self.parent)?) => {
                let detail =
                    "it has more names than this one, and somebody else can write the directory: it may be any file";
                Err(Refused { errno: Errno::LOOP, detail: detail.to_owned() })
            }
            FileType::RegularFile => Ok(file),
            // It was exchanged since it was looked at.
            _ => Err(Refused { errno: Errno::INVAL, detail: "it is no regular file".to_owned() }),
        }
    }
}

fn root() -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, c"/", LOOK | OFlags::DIRECTORY, Mode::empty())
}

fn look_up(path: &Path) -> Result<Found, Refused> {
    look_up_from(root()?, path)
}

/// Walks the path name by name, so that every link is seen.
fn look_up_from(start: OwnedFd, path: &Path) -> Result<Found, Refused> {
    let mut above = vec![start];
    let mut rest: VecDeque<OsString> = VecDeque::new();
    push_front(&mut rest, path, &mut above)?;
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        let parent = above.last().expect("the start stays").as_fd();
        if name == ".." {
            // Of the root it is the root.
            if above.len() > 1 {
                above.pop();
            }
            continue;
        }
        let here = open_name(parent, &name, rest.is_empty())?;
        let stat = rustix::fs::fstat(&here)?;
        if kind(&stat) == FileType::Symlink {
            links += 1;
            let shown = || name.display().to_string();
            if links > MOST_LINKS {
                return Err(Refused { errno: Errno::LOOP, detail: String::new() });
            }
            if !is_ours(parent, &stat)? {
                let detail = format!("{} is a symbolic link that somebody else could exchange", shown());
                return Err(Refused { errno: Errno::LOOP, detail });
            }
            let target = OsString::from_vec(rustix::fs::readlinkat(&here, c"", Vec::new())?.into_bytes());
            push_front(&mut rest, Path::new(&target), &mut above)?;
        } else if rest.is_empty() {
            let parent = parent.try_clone_to_owned().map_err(|_| Errno::MFILE)?;
            return Ok(Found { parent, name, here });
        } else if kind(&stat) == FileType::Directory {
            above.push(here);
        } else {
            return Err(Errno::NOTDIR.into());
        }
    }
    // `/`, or a link that ends in `..`: a directory, and no name of it is known.
    let here = above.pop().expect("the start stays");
    let parent = here.try_clone().map_err(|_| Errno::MFILE)?;
    Ok(Found { parent, name: ".".into(), here })
}

/// A name of a directory, itself (O_PATH). A directory on the way is opened as one, which also mounts what an automounter
/// has promised there.
fn open_name(parent: BorrowedFd<'_>, name: &OsStr, last: bool) -> Result<OwnedFd, Errno> {
    if !last {
        match rustix::fs::openat(parent, name, LOOK | OFlags::DIRECTORY, Mode::empty()) {
            // A link, or what nothing can be below.
            Err(Errno::NOTDIR | Errno::LOOP) => {}
            other => return other,
        }
    }
    rustix::fs::openat(parent, name, LOOK, Mode::empty())
}

/// Puts the names of a path before those that are left; an absolute one begins at the root again.
fn push_front(rest: &mut VecDeque<OsString>, path: &Path, above: &mut Vec<OwnedFd>) -> Result<(), Errno> {
    if path.is_absolute() {
        *above = vec![root()?];
    }
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => rest.push_front(name.to_owned()),
            Component::ParentDir => rest.push_front("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(())
}

/// Has nobody but root, or who runs the daemon, made this link, and can nobody else put another in its place?
fn is_ours(parent: BorrowedFd<'_>, link: &Stat) -> Result<bool, Errno> {
    Ok(is_trusted(link.st_uid) && is_closed(&rustix::fs::fstat(parent)?))
}

/// Root, or who runs the daemon.
fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

/// Can nobody else exchange what is in this directory? In a sticky one nobody renames what is another's.
fn is_closed(directory: &Stat) -> bool {
    let others_write = directory.st_mode & 0o022 != 0 && directory.st_mode & 0o1000 == 0;
    is_trusted(directory.st_uid) && !others_write
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;

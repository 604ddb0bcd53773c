//! The keeper: a process of a few KiB that has the same descriptors open, so that they outlive the daemon.
//!
//! It is the resident init's image in its other role: it holds what it was born with and does nothing. The next daemon
//! finds it by `services/NAME/sockets` and takes copies of its descriptors (pidfd_getfd(2)). Each unit with sockets or
//! stored descriptors has one; another set is another keeper, and the file names always one that is complete: the new
//! one is born, the file replaced, the old one ended. A daemon that dies between these leaves one too many, which the
//! next daemon ends, as no file names it. Keepers stand in a group of their own below the instance's, so that nobody who
//! ends the daemon's group ends them too.

use crate::daemon::engine::now;
use crate::daemon::identity::{self, ProcessIdentity};
use crate::daemon::scarcity;
use crate::daemon::state;
use crate::daemon::whole_file;
use crate::supervise::Moment;
use crate::sys::process::{self, Spawn, spawn};
use serde::{Deserialize, Serialize};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Version of the file's form.
const VERSION: u32 = 1;
/// Number of the first descriptor in the keeper.
pub(in crate::daemon) const FIRST: i32 = 3;
/// Most that is read of the file, bytes: that of all names, and 64 for each of the most descriptors.
const FILE_LIMIT: usize = 1024 * 1024;

/// A keeper of this daemon or of an earlier one.
#[derive(Debug)]
pub struct Keeper {
    /// Who it is.
    pub identity: ProcessIdentity,
    /// By which it is ended, and its end seen.
    pub pidfd: OwnedFd,
    /// When this daemon started it, or took it over.
    pub since: Moment,
}

/// What a keeper holds, in order from descriptor 3 on: the sockets, then what was stored.
#[derive(Debug, Default)]
pub struct Held<F> {
    /// `[[sockets]]`
    pub sockets: Vec<(F, Kept)>,
    /// FDSTORE=1
    pub stored: Vec<(F, KeptStored)>,
}

impl<F> Held<F> {
    /// Is there nothing to keep?
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty() && self.stored.is_empty()
    }
}

/// One line of the file: a socket in the keeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// As `sockets.listen` has it.
    pub listen: String,
    /// Device and inode of its name.
    #[serde(default)]
    pub identity: Option<(u64, u64)>,
}

/// One line of the file: a stored descriptor in the keeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptStored {
    /// FDNAME=
    pub name: String,
    /// It is dropped when it hangs up.
    pub poll: bool,
}

/// A keeper of an earlier daemon, with copies of what it holds.
#[derive(Debug)]
pub struct Found {
    /// Who.
    pub keeper: Keeper,
    /// What.
    pub held: Held<OwnedFd>,
}

/// `services/NAME/sockets`
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    v: u32,
    boot_id: String,
    keeper: ProcessIdentity,
    sockets: Vec<Kept>,
    #[serde(default)]
    stored: Vec<KeptStored>,
}

/// What a keeper is made of.
pub struct Making<'a> {
    /// The resident init's image.
    pub image: BorrowedFd<'a>,
    /// `/dev/null`
    pub null: BorrowedFd<'a>,
    /// Group to be born into.
    pub group: Option<BorrowedFd<'a>>,
}

impl Keeper {
    /// Starts a keeper of what is `held` and writes down where it is.
    ///
    /// # Errors
    /// Of the clone, or of writing the file; then there is no keeper.
    pub fn start(
        making: &Making<'_>,
        runtime_dir: &Path,
        unit: &str,
        held: &Held<BorrowedFd<'_>>,
    ) -> io::Result<Keeper> {
        let descriptors = held.sockets.iter().map(|(fd, _)| *fd).chain(held.stored.iter().map(|(fd, _)| *fd));
        let (pid, pidfd) = birth(making, &[c"rsvc-keeper".to_owned()], descriptors)?;
        let written = ProcessIdentity::identify(pid, pidfd.as_fd()).and_then(|identity| {
            let saved = Saved {
                v: VERSION,
                boot_id: identity::boot_id().to_owned(),
                keeper: identity,
                sockets: held.sockets.iter().map(|(_, kept)| kept.clone()).collect(),
                stored: held.stored.iter().map(|(_, kept)| kept.clone()).collect(),
            };
            write(runtime_dir, unit, &saved)?;
            Ok(identity)
        });
        match written {
            Ok(identity) => Ok(Keeper { identity, pidfd, since: now() }),
            Err(error) => {
                let _ = process::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
                Err(error)
            }
        }
    }

    /// The keeper that an earlier daemon left for a unit, with copies of what it holds; `None`: there is none of this
    /// boot.
    ///
    /// # Errors
    /// In words, when there should be one and what it holds cannot be had.
    pub fn find(runtime_dir: &Path, unit: &str) -> Result<Option<Found>, String> {
        let bytes = match std::fs::read(file(runtime_dir, unit)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| error.to_string())?,
        };
        if bytes.len() > FILE_LIMIT {
            return Err("the file that names its sockets is no such file".to_owned());
        }
        let saved: Saved = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        if saved.v != VERSION || saved.boot_id != identity::boot_id() {
            return Ok(None);
        }
        let pidfd = identity::open_verified(&saved.keeper).ok_or("the process that kept its sockets is gone")?;
        let mut numbers = FIRST..;
        let mut copy = || {
            let number = numbers.next().unwrap_or(i32::MAX);
            scarcity::noted(process::pidfd_getfd(pidfd.as_fd(), number).map_err(std::io::Error::from))
                .map_err(|error| error.to_string())
        };
        let mut held = Held { sockets: Vec::new(), stored: Vec::new() };
        for kept in saved.sockets {
            held.sockets.push((copy()?, kept));
        }
        for kept in saved.stored {
            held.stored.push((copy()?, kept));
        }
        Ok(Some(Found { keeper: Keeper { identity: saved.keeper, pidfd, since: now() }, held }))
    }

    /// Ends it. Its sockets stay open with whoever else has them.
    pub fn end(&self) {
        if let Err(error) = process::pidfd_send_signal(self.pidfd.as_fd(), libc::SIGKILL)
            && error.errno != libc::ESRCH
        {
            tracing::warn!("cannot end keeper {}: {error}", self.identity.pid);
        }
    }
}

/// Starts a process of the image that holds these descriptors from number [`FIRST`] on.
///
/// # Errors
/// Of the clone.
pub(in crate::daemon) fn birth<'a>(
    making: &Making<'a>,
    argv: &[CString],
    descriptors: impl Iterator<Item = BorrowedFd<'a>>,
) -> io::Result<(i32, OwnedFd)> {
    let mut inherit: Vec<(BorrowedFd<'_>, i32)> = (0..=2).map(|number| (making.null, number)).collect();
    inherit.extend(descriptors.zip(FIRST..));
    Ok(spawn(&Spawn {
        flags: 0,
        cgroup: making.group,
        program: making.image,
        argv,
        envp: &[],
        inherit: &inherit,
        raise_ambient: false,
        error: None,
    })?)
}

/// Forgets the keeper of a unit.
pub fn forget(runtime_dir: &Path, unit: &str) {
    let _ = std::fs::remove_file(file(runtime_dir, unit));
}

fn file(runtime_dir: &Path, unit: &str) -> PathBuf {
    state::directory(runtime_dir, unit).join("sockets")
}

fn write(runtime_dir: &Path, unit: &str, saved: &Saved) -> io::Result<()> {
    let path = file(runtime_dir, unit);
    if let Some(directory) = path.parent() {
        crate::daemon::launch::make_directory(directory, 0o700)?;
    }
    whole_file::write_atomically(&path, &serde_json::to_vec(saved)?)
}

/// Is this process a keeper, and not somebody else's in the same group? It has our image and our name for it.
pub(super) fn is_one(pid: i32) -> bool {
    let name = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    has_our_image(pid) && name.starts_with(b"rsvc-keeper\0")
}

/// Does the process run the resident init's image, in whatever role?
pub(in crate::daemon) fn has_our_image(pid: i32) -> bool {
    let image = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    image.as_os_str().as_encoded_bytes().starts_with(b"/memfd:rsvc-init ")
}

//! One daemon per runtime directory.

use super::scarcity::at;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Takes the lock of an instance; it is held until the descriptor is closed, also by kill -9.
///
/// # Errors
/// `AddrInUse` when another daemon has it.
pub(super) fn take(runtime_dir: &Path) -> io::Result<OwnedFd> {
    use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
    let path = runtime_dir.join("lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = open(&path, flags, Mode::RUSR | Mode::WUSR).map_err(|error| at(&path, error.into()))?;
    match rustix::io::retry_on_intr(|| flock(&file, FlockOperation::NonBlockingLockExclusive)) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("another rsvc daemon works in {} (it holds {})", runtime_dir.display(), path.display()),
        )),
        Err(error) => Err(error.into()),
    }
}

/// Goes on holding the lock that a former program of this process has taken.
///
/// # Errors
/// It is not the lock of this instance, or somebody else has it.
pub(super) fn inherit(lock: BorrowedFd<'_>, runtime_dir: &Path) -> io::Result<OwnedFd> {
    use rustix::fs::{FlockOperation, flock, fstat, stat};
    let path = runtime_dir.join("lock");
    let (held, named) = (fstat(lock)?, stat(&path)?);
    if (held.st_dev, held.st_ino) != (named.st_dev, named.st_ino) {
        return Err(io::Error::other(format!("{} is not the lock that the former program held", path.display())));
    }
    // A lock belongs to the open file: this succeeds for whoever has it.
    rustix::io::retry_on_intr(|| flock(lock, FlockOperation::NonBlockingLockExclusive))?;
    lock.as_fd().try_clone_to_owned()
}

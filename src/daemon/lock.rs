//! One daemon per runtime directory.

use super::scarcity::at;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// How often a lock that somebody has is tried again, and the pause between: two seconds in all. A process that a killed
/// daemon had just forked has its descriptors until it executes its program or closes them.
const ATTEMPTS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);

/// Takes the lock of an instance; it is held until the descriptor is closed, also by kill -9.
///
/// # Errors
/// `AddrInUse` when another daemon has it.
pub(super) fn take(runtime_dir: &Path) -> io::Result<OwnedFd> {
    use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
    let path = runtime_dir.join("lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = open(&path, flags, Mode::RUSR | Mode::WUSR).map_err(|error| at(&path, error.into()))?;
    for _ in 0..ATTEMPTS {
        match rustix::io::retry_on_intr(|| flock(&file, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(PAUSE),
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        format!("another rsvc daemon works in {} (it holds {})", runtime_dir.display(), path.display()),
    ))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_had_when_the_last_copy_of_the_former_one_is_closed_and_not_before() {
        let directory = tempfile::tempdir().unwrap();
        let first = take(directory.path()).unwrap();
        let copy = first.try_clone().unwrap();
        assert_eq!(take(directory.path()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        let child = std::thread::spawn(move || {
            std::thread::sleep(5 * PAUSE);
            drop(copy);
        });
        take(directory.path()).unwrap();
        child.join().unwrap();
    }
}

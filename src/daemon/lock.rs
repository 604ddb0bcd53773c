//! One daemon per runtime directory.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Takes the lock of an instance; it is held until the descriptor is closed, also by kill -9.
///
/// # Errors
/// `AddrInUse` when another daemon has it.
pub(super) fn take(runtime_dir: &Path) -> io::Result<OwnedFd> {
    use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
    let path = runtime_dir.join("lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = open(&path, flags, Mode::RUSR | Mode::WUSR)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("another rsvc daemon works in {} (it holds {})", runtime_dir.display(), path.display()),
        )),
        Err(error) => Err(error.into()),
    }
}

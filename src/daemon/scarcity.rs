//! Failures for want of something: space, files, memory. What fails so now may well succeed later, and says nothing
//! about whether the thing that was asked for is there.

use crate::plan::hint::scarcity_hint;
use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two attempts at what failed for want of something.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// May the same call succeed later, with nothing changed but what others use?
pub(super) fn may_pass(error: &io::Error) -> bool {
    use libc::{EAGAIN, EDQUOT, EINTR, EIO, EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC, EROFS};
    matches!(errno_of(error), Some(EAGAIN | EDQUOT | EINTR | EIO | EMFILE | ENFILE | ENOBUFS | ENOMEM | ENOSPC | EROFS))
}

thread_local! {
    static NOTED: RefCell<Option<io::Error>> = const { RefCell::new(None) };
}

/// Passes a result on, and notes a failure for want of descriptors or memory. Adoption looks at many things that may
/// well be absent, deep down and with no use for an error; but what only cannot be seen must not count as absent there.
/// So it asks afterwards ([`take_noted`]).
pub(super) fn noted<T>(result: io::Result<T>) -> io::Result<T> {
    use libc::{EMFILE, ENFILE, ENOBUFS, ENOMEM};
    if let Err(error) = &result {
        match errno_of(error) {
            Some(errno @ (EMFILE | ENFILE | ENOBUFS | ENOMEM)) => {
                NOTED.set(Some(io::Error::from_raw_os_error(errno)));
            }
            // What cannot be watched is not heard either.
            _ if is_of_watch(error) => NOTED.set(Some(no_watches())),
            _ => {}
        }
    }
    result
}

/// Notes a failure that means the same, whatever its errno.
pub(super) fn note(error: io::Error) {
    NOTED.set(Some(error));
}

/// Is anything noted?
pub(super) fn is_noted() -> bool {
    NOTED.with_borrow(Option::is_some)
}

/// What was noted since this was asked last.
pub(super) fn take_noted() -> Option<io::Error> {
    NOTED.take()
}

/// The kernel's ENOSPC for a watch: no disk is full.
pub(super) fn of_watch(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ENOSPC) => no_watches(),
        _ => error,
    }
}

fn no_watches() -> io::Error {
    let text = "No space left on device (os error 28): fs.epoll.max_user_watches is reached";
    io::Error::new(io::ErrorKind::StorageFull, NoWatches { text })
}

fn is_of_watch(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<NoWatches>())
}

#[derive(Debug)]
struct NoWatches {
    text: &'static str,
}

impl fmt::Display for NoWatches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

impl Error for NoWatches {}

/// What to do about it, as a further line of a message; empty where the errno says all.
pub fn advice(error: &io::Error) -> String {
    errno_of(error).and_then(scarcity_hint).map_or_else(String::new, |hint| format!("\n  hint: {hint}"))
}

/// The same failure with the path at which it happened.
pub(super) fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), AtPath { path: path.to_owned(), error })
}

/// The number that the kernel gave, also where a path was added.
pub(super) fn errno_of(error: &io::Error) -> Option<i32> {
    error.raw_os_error().or_else(|| error.get_ref()?.downcast_ref::<AtPath>()?.error.raw_os_error())
}

#[derive(Debug)]
struct AtPath {
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for AtPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.error)
    }
}

impl Error for AtPath {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_hides_no_errno() {
        let error = at(Path::new("/run/x"), io::Error::from_raw_os_error(libc::EMFILE));
        assert_eq!(error.to_string(), "/run/x: Too many open files (os error 24)");
        assert_eq!(errno_of(&error), Some(libc::EMFILE));
        assert!(may_pass(&error));
        assert!(advice(&error).contains("LimitNOFILE="));
        assert!(noted::<()>(Err(of_watch(io::Error::from_raw_os_error(libc::ENOSPC)))).is_err() && is_noted());
        assert!(take_noted().is_some_and(|error| error.to_string().contains("max_user_watches")));
        assert!(noted::<()>(Err(io::Error::from_raw_os_error(libc::ENOSPC))).is_err() && !is_noted(), "of a disk");
        let other = io::Error::from_raw_os_error(libc::ENOENT);
        assert!(!may_pass(&other) && advice(&other).is_empty());
    }
}

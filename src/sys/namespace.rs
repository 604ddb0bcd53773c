//! Namespaces as files: what one is, and to which user namespace it belongs. Source: ioctl_ns(2).

use super::{Result, cvt_retry};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `_IO(0xb7, 1)`
const NS_GET_USERNS: u64 = 0xb701;
/// `_IO(0xb7, 3)`
const NS_GET_NSTYPE: u64 = 0xb703;

/// The CLONE_NEW* flag of a namespace's kind.
///
/// # Errors
/// ENOTTY when the descriptor is no namespace.
pub fn kind(namespace: BorrowedFd<'_>) -> Result<u64> {
    // SAFETY: the call takes no argument and writes no memory.
    let flag =
        cvt_retry("ioctl", || unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_NSTYPE as libc::Ioctl, 0usize) })?;
    Ok(u64::try_from(flag).unwrap_or(0))
}

/// The user namespace that a namespace belongs to: whoever has a capability there has it over the namespace.
///
/// # Errors
/// EPERM when that is not the caller's own or one below; ENOTTY when the descriptor is no namespace.
pub fn user_namespace(namespace: BorrowedFd<'_>) -> Result<OwnedFd> {
    // SAFETY: the call takes no argument and writes no memory.
    let number =
        cvt_retry("ioctl", || unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS as libc::Ioctl, 0usize) })?;
    // SAFETY: a successful call has made this descriptor, close-on-exec, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number as i32) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn an_own_namespace_tells_its_kind_and_its_user_namespace() {
        let network = File::open("/proc/self/ns/net").expect("a namespace");
        assert_eq!(kind(network.as_fd()), Ok(super::super::process::clone_flags::NEWNET));
        let owner = File::from(user_namespace(network.as_fd()).expect("our own, or above"));
        assert_eq!(kind(owner.as_fd()), Ok(super::super::process::clone_flags::NEWUSER));
        assert_ne!(owner.metadata().expect("its number").ino(), 0);
    }

    #[test]
    fn an_ordinary_file_is_no_namespace() {
        let file = File::open("/proc/self/status").expect("a file");
        assert_eq!(kind(file.as_fd()).map_err(|error| error.errno), Err(libc::ENOTTY));
        assert!(user_namespace(file.as_fd()).is_err());
    }
}

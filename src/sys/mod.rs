//! The kernel: one safe function per system call, and the only `unsafe` of the crate.
//!
//! Each function makes one call and says which one failed and with what errno; policy, fallbacks and words belong to
//! the caller. Interrupted calls (EINTR) are repeated here. Descriptors come in borrowed and go out owned, and every
//! descriptor is close-on-exec from birth. Calls go through `rustix` or `nix` where they have them, through `libc`
//! where they have not.
//!
//! Never knows: units, plans, policy, logging. Imports nothing of this crate outside its own folder.

pub mod attempt;
pub mod bpf;
pub mod confine;
pub mod credentials;
pub mod fd;
pub mod landlock;
pub mod loop_device;
pub mod memory;
mod message;
pub mod mount;
pub mod namespace;
pub mod peer;
pub mod poll;
pub mod probe;
pub mod process;
mod raw;
pub mod signals;
pub mod socket;
mod spawn;
pub mod terminal;
pub mod user_namespace;

use std::fmt;

/// Program image of the resident init (`src/init/resident.rs`, compiled by the build script), for
/// [`fd::sealed_memfd`]. It stands here because it is made of system calls only and both sides of a launch need it.
pub static RESIDENT_INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/resident-init"));

/// A system call that failed: which, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SysError {
    /// Name of the call as in section 2 of the manual.
    pub call: &'static str,
    /// Raw errno, 1 to 4095.
    pub errno: i32,
}

/// What the functions of this folder return.
pub type Result<T> = std::result::Result<T, SysError>;

impl SysError {
    /// The error of `call` with a known errno.
    pub const fn new(call: &'static str, errno: i32) -> SysError {
        SysError { call, errno }
    }

    /// The error that `call` has just left in the thread's errno.
    pub fn last(call: &'static str) -> SysError {
        SysError { call, errno: std::io::Error::last_os_error().raw_os_error().unwrap_or(0) }
    }
}

impl fmt::Display for SysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.call, errno_text(self.errno), errno_name(self.errno))
    }
}

impl std::error::Error for SysError {}

impl From<SysError> for std::io::Error {
    fn from(error: SysError) -> Self {
        std::io::Error::from_raw_os_error(error.errno)
    }
}

/// `EACCES` for 13; `EUNKNOWN` for a number without a name. Source: errno(3).
pub fn errno_name(errno: i32) -> String {
    match nix::errno::Errno::from_raw(errno) {
        nix::errno::Errno::UnknownErrno => format!("errno {errno}"),
        known => format!("{known:?}"),
    }
}

/// `Permission denied` for 13. Source: strerror(3).
pub fn errno_text(errno: i32) -> &'static str {
    nix::errno::Errno::from_raw(errno).desc()
}

/// Maps the errors of both wrapper libraries.
trait Named<T> {
    /// Gives a failure the name of its call.
    fn named(self, call: &'static str) -> Result<T>;
}

impl<T> Named<T> for rustix::io::Result<T> {
    fn named(self, call: &'static str) -> Result<T> {
        self.map_err(|errno| SysError { call, errno: errno.raw_os_error() })
    }
}

impl<T> Named<T> for nix::Result<T> {
    fn named(self, call: &'static str) -> Result<T> {
        self.map_err(|errno| SysError { call, errno: errno as i32 })
    }
}

/// Turns the `-1` of a C library call into the thread's errno.
fn cvt(call: &'static str, result: impl Into<i64>) -> Result<i64> {
    match result.into() {
        -1 => Err(SysError::last(call)),
        value => Ok(value),
    }
}

/// Repeats a C library call while a signal interrupts it.
fn cvt_retry<R: Into<i64>>(call: &'static str, mut attempt: impl FnMut() -> R) -> Result<i64> {
    loop {
        match cvt(call, attempt()) {
            Err(SysError { errno: libc::EINTR, .. }) => continue,
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_call_and_both_forms_of_the_errno() {
        let error = SysError::new("mount_setattr", libc::EACCES);
        assert_eq!(error.to_string(), "mount_setattr: Permission denied (EACCES)");
        assert_eq!(errno_name(4000), "errno 4000");
    }
}

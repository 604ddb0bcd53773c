//! Landlock: rule sets that a process puts upon itself, and that nobody can take away again. Source: landlock(7).

use super::{Result, cvt};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// LANDLOCK_ACCESS_FS_*. Source: `linux/landlock.h`.
pub mod files {
    /// execve(2)
    pub const EXECUTE: u64 = 1 << 0;
    /// open(2) for writing
    pub const WRITE_FILE: u64 = 1 << 1;
    /// rmdir(2), and renaming a directory
    pub const REMOVE_DIR: u64 = 1 << 4;
    /// unlink(2), and renaming what is no directory
    pub const REMOVE_FILE: u64 = 1 << 5;
    /// MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK and MAKE_SYM
    pub const MAKE: u64 = 0x7f << 6;
    /// link(2) and rename(2) between directories (interface 2); where it is not handled the kernel refuses them all
    pub const REFER: u64 = 1 << 13;
    /// truncate(2) and its kin (interface 3)
    pub const TRUNCATE: u64 = 1 << 14;
    /// The rights that a rule on something else than a directory may have.
    pub const OF_A_FILE: u64 = EXECUTE | WRITE_FILE | TRUNCATE;
}

/// LANDLOCK_ACCESS_NET_*.
pub mod ports {
    /// bind(2) of a TCP socket (interface 4)
    pub const BIND_TCP: u64 = 1 << 0;
    /// connect(2) of a TCP socket (interface 4)
    pub const CONNECT_TCP: u64 = 1 << 1;
}

/// LANDLOCK_SCOPE_*.
pub mod scopes {
    /// Abstract Unix sockets of other domains (interface 6)
    pub const ABSTRACT_UNIX_SOCKET: u64 = 1 << 0;
    /// Signals to other domains (interface 6)
    pub const SIGNAL: u64 = 1 << 1;
}

/// What a rule set has a say in: everything of this that no rule allows is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handled {
    /// Of [`files`].
    pub files: u64,
    /// Of [`ports`].
    pub ports: u64,
    /// Of [`scopes`].
    pub scopes: u64,
}

/// `struct landlock_ruleset_attr` as of interface 6. Older kernels take it as long as what they do not know is zero.
#[repr(C)]
struct RulesetAttr {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`
#[repr(C, packed)]
struct PathBeneathAttr {
    allowed_access: u64,
    parent_fd: i32,
}

/// `struct landlock_net_port_attr`
#[repr(C)]
struct NetPortAttr {
    allowed_access: u64,
    port: u64,
}

/// landlock_create_ruleset(2).
///
/// # Errors
/// EINVAL for what this kernel's interface does not know, ENOMSG when nothing is handled, ENOSYS and EOPNOTSUPP without
/// Landlock.
pub fn create(handled: Handled) -> Result<OwnedFd> {
    let attr =
        RulesetAttr { handled_access_fs: handled.files, handled_access_net: handled.ports, scoped: handled.scopes };
    // SAFETY: the structure is live, of the size given, and only read.
    let answer =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attr, size_of::<RulesetAttr>(), 0u32) };
    let number = cvt("landlock_create_ruleset", answer)?;
    // SAFETY: the call returned a new descriptor, close-on-exec, which nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(number as i32) })
}

/// landlock_add_rule(2): `access` below a directory, or to a file. The object counts, whatever paths lead to it.
///
/// # Errors
/// EINVAL for rights that are not handled or not of a file, EBADFD for a descriptor of a file system without paths.
pub fn allow_path(ruleset: BorrowedFd<'_>, place: BorrowedFd<'_>, access: u64) -> Result<()> {
    const LANDLOCK_RULE_PATH_BENEATH: u32 = 1;
    let attr = PathBeneathAttr { allowed_access: access, parent_fd: place.as_raw_fd() };
    add_rule(ruleset, LANDLOCK_RULE_PATH_BENEATH, (&raw const attr).cast())
}

/// The same for a TCP port; 0 stands for the ports that the kernel chooses.
///
/// # Errors
/// EINVAL for rights that are not handled, ENOMEM.
pub fn allow_port(ruleset: BorrowedFd<'_>, port: u16, access: u64) -> Result<()> {
    const LANDLOCK_RULE_NET_PORT: u32 = 2;
    let attr = NetPortAttr { allowed_access: access, port: u64::from(port) };
    add_rule(ruleset, LANDLOCK_RULE_NET_PORT, (&raw const attr).cast())
}

fn add_rule(ruleset: BorrowedFd<'_>, kind: u32, attr: *const u8) -> Result<()> {
    // SAFETY: both callers pass the live structure that belongs to the kind; it is only read.
    let answer = unsafe { libc::syscall(libc::SYS_landlock_add_rule, ruleset.as_raw_fd(), kind, attr, 0u32) };
    cvt("landlock_add_rule", answer).map(drop)
}

/// landlock_restrict_self(2): from here on the rule set binds this thread and its children.
///
/// # Errors
/// EPERM without no_new_privs or CAP_SYS_ADMIN, E2BIG when sixteen are in force already.
pub fn restrict_self(ruleset: impl AsFd) -> Result<()> {
    // SAFETY: a descriptor and flags.
    let answer = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_fd().as_raw_fd(), 0u32) };
    cvt("landlock_restrict_self", answer).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_are_those_of_the_kernel() {
        assert_eq!((size_of::<RulesetAttr>(), size_of::<PathBeneathAttr>(), size_of::<NetPortAttr>()), (24, 12, 16));
    }

    #[test]
    fn the_kernel_takes_what_its_interface_knows_and_nothing_else() {
        let Some(abi) = crate::sys::probe::landlock_abi() else { return };
        let made = create(Handled { files: files::WRITE_FILE | files::MAKE, ..Handled::default() }).unwrap();
        let root = crate::sys::fd::open(c"/", crate::sys::fd::Open::Directory).unwrap();
        allow_path(made.as_fd(), root.as_fd(), files::WRITE_FILE).unwrap();
        assert_eq!(allow_path(made.as_fd(), root.as_fd(), files::REFER).unwrap_err().errno, libc::EINVAL);
        let scoped = create(Handled { scopes: scopes::SIGNAL, ..Handled::default() });
        assert_eq!(scoped.is_ok(), abi >= 6);
        assert!(create(Handled { files: 1 << 60, ..Handled::default() }).is_err());
    }
}

//! Mounts by descriptor: open_tree, fsopen, mount_setattr, move_mount, and opening below a root.
//!
//! Paths here are looked up at most once; whatever follows goes through the descriptor.

use super::fd::Open;
use super::{Named, Result, SysError, cvt};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::mount as rm;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// MOUNT_ATTR_* of mount_setattr(2).
pub mod attributes {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// Set-user-id bits and file capabilities are ignored.
    pub const NOSUID: u64 = 0x2;
    /// Device nodes cannot be opened.
    pub const NODEV: u64 = 0x4;
    /// Programs cannot be executed.
    pub const NOEXEC: u64 = 0x8;
    /// Mask of the access-time setting; must be cleared when one is set.
    pub const ATIME: u64 = 0x70;
    /// Access times are not updated.
    pub const NOATIME: u64 = 0x10;
    /// Symbolic links are not followed (since Linux 5.14).
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
    /// Ids are mapped by a user namespace (since Linux 5.12).
    pub const IDMAP: u64 = 0x10_0000;
}

/// Propagation of mount events (mount_namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// MS_PRIVATE
    Private,
    /// MS_SLAVE
    Slave,
}

/// open_tree(2): a handle on (`clone` false) or a detached copy of (`clone` true) what `path` names below `base`.
/// An empty path is `base` itself. Symbolic links in the last component are followed, automounts are not triggered.
///
/// # Errors
/// ENOENT, EACCES; EINVAL for a non-recursive clone of a tree with locked submounts (user namespaces).
pub fn open_tree(base: BorrowedFd<'_>, path: &CStr, clone: bool, recursive: bool) -> Result<OwnedFd> {
    let mut flags =
        rm::OpenTreeFlags::OPEN_TREE_CLOEXEC | rm::OpenTreeFlags::AT_NO_AUTOMOUNT | rm::OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(rm::OpenTreeFlags::OPEN_TREE_CLONE, clone);
    flags.set(rm::OpenTreeFlags::AT_RECURSIVE, clone && recursive);
    rm::open_tree(base, path, flags).named("open_tree")
}

/// move_mount(2) of a detached tree onto the file or directory behind `target`.
///
/// # Errors
/// ENOTDIR (a directory on a file or the reverse), EINVAL (the target lies in a detached tree before Linux 6.15,
/// or in another mount namespace), EPERM.
pub fn move_mount(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    let flags = rm::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | rm::MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rm::move_mount(tree, c"", target, c"", flags).named("move_mount")
}

/// move_mount(2) of a detached tree onto a path of our own mount namespace.
///
/// # Errors
/// As [`move_mount`].
pub fn move_mount_path(tree: BorrowedFd<'_>, path: &CStr) -> Result<()> {
    rm::move_mount(tree, c"", rustix::fs::CWD, path, rm::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).named("move_mount")
}

/// fsopen(2).
///
/// # Errors
/// ENODEV for an unknown file system, EPERM.
pub fn fsopen(fs_type: &CStr) -> Result<OwnedFd> {
    rm::fsopen(fs_type, rm::FsOpenFlags::FSOPEN_CLOEXEC).named("fsopen")
}

/// fsconfig(2) with a string, or with a flag when `value` is `None`.
///
/// # Errors
/// EINVAL for what the file system does not know; its words are in [`context_message`].
pub fn fsconfig(context: BorrowedFd<'_>, key: &CStr, value: Option<&CStr>) -> Result<()> {
    match value {
        Some(value) => rm::fsconfig_set_string(context, key, value),
        None => rm::fsconfig_set_flag(context, key),
    }
    .named("fsconfig")
}

/// fsconfig(2) FSCONFIG_CMD_CREATE: makes the superblock.
///
/// # Errors
/// Those of mounting: EINVAL, EPERM, ENODEV...
pub fn fsconfig_create(context: impl AsFd) -> Result<()> {
    rm::fsconfig_create(context).named("fsconfig")
}

/// fsmount(2): a detached mount with [`attributes`].
///
/// # Errors
/// EPERM when a flag of the host is locked (proc in a user namespace with parts hidden).
pub fn fsmount(context: impl AsFd, attributes: u64) -> Result<OwnedFd> {
    let attributes = rm::MountAttrFlags::from_bits_retain(attributes as u32);
    rm::fsmount(context, rm::FsMountFlags::FSMOUNT_CLOEXEC, attributes).named("fsmount")
}

/// What the file system has to say about a failed [`fsconfig`]: one message, without its `e ` prefix.
pub fn context_message(context: BorrowedFd<'_>) -> Option<String> {
    let mut buffer = [0; 256];
    let length = super::fd::read(context, &mut buffer).ok()?;
    let text = String::from_utf8_lossy(&buffer[..length]);
    let text = text.trim_end();
    Some(text.strip_prefix("e ").unwrap_or(text).to_owned())
}

/// mount_setattr(2): adds `set`, and sets the propagation if one is given. Nothing is ever cleared but the old
/// access-time setting when a new one is set.
///
/// # Errors
/// EPERM for a locked flag, EBUSY for read-only while a file is open for writing on an attached mount, EINVAL when
/// the path is no mount point.
pub fn mount_setattr(
    base: impl AsFd,
    path: &CStr,
    set: u64,
    propagation: Option<Propagation>,
    recursive: bool,
) -> Result<()> {
    let propagation = match propagation {
        None => 0,
        Some(Propagation::Private) => libc::MS_PRIVATE,
        Some(Propagation::Slave) => libc::MS_SLAVE,
    };
    let clear = if set & attributes::NOATIME != 0 { attributes::ATIME } else { 0 };
    let wanted = libc::mount_attr { attr_set: set, attr_clr: clear, propagation, userns_fd: 0 };
    set_attributes(base.as_fd(), path, &wanted, recursive)
}

/// mount_setattr(2) MOUNT_ATTR_IDMAP of one detached mount: id N of its files is what N inside of `user_namespace` is
/// outside, and the other way round for what is written.
///
/// # Errors
/// EINVAL when the file system cannot do that, or the mount was attached before; EPERM when it is mapped already.
pub fn map_ids(tree: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>) -> Result<()> {
    let userns_fd = user_namespace.as_raw_fd() as u64;
    let wanted = libc::mount_attr { attr_set: attributes::IDMAP, attr_clr: 0, propagation: 0, userns_fd };
    set_attributes(tree, c"", &wanted, false)
}

fn set_attributes(base: BorrowedFd<'_>, path: &CStr, wanted: &libc::mount_attr, recursive: bool) -> Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: path is a C string and `wanted` a live mount_attr of the size given.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            base.as_raw_fd(),
            path.as_ptr(),
            flags,
            std::ptr::from_ref(wanted),
            size_of::<libc::mount_attr>(),
        )
    };
    cvt("mount_setattr", answer).map(drop)
}

/// pivot_root(".", "."): the current directory becomes the root, the old root lies on top of it.
///
/// # Errors
/// EINVAL when the directory is no mount point or the old root is shared; EBUSY when it already is the root.
pub fn pivot_root_here() -> Result<()> {
    rustix::process::pivot_root(c".", c".").named("pivot_root")
}

/// umount2(".", MNT_DETACH): after [`pivot_root_here`] it removes the old root.
///
/// # Errors
/// EPERM, EINVAL for a locked mount.
pub fn detach_here() -> Result<()> {
    rm::unmount(c".", rm::UnmountFlags::DETACH).named("umount2")
}

/// umount2(MNT_DETACH) of a path, its last component no symbolic link.
///
/// # Errors
/// EINVAL when it is no mount point.
pub fn detach(path: &CStr) -> Result<()> {
    rm::unmount(path, rm::UnmountFlags::DETACH | rm::UnmountFlags::NOFOLLOW).named("umount2")
}

/// chdir(2).
///
/// # Errors
/// ENOENT, ENOTDIR, EACCES.
pub fn change_directory(path: &CStr) -> Result<()> {
    rustix::process::chdir(path).named("chdir")
}

/// fchdir(2).
///
/// # Errors
/// ENOTDIR, EACCES.
pub fn enter_directory(fd: BorrowedFd<'_>) -> Result<()> {
    rustix::process::fchdir(fd).named("fchdir")
}

/// getcwd(2) as the kernel says it: `(unreachable)/...` outside of the root.
///
/// # Errors
/// ENOENT when the directory was removed.
pub fn current_directory() -> Result<Vec<u8>> {
    let mut buffer = vec![0u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer is live and of the length given. The call itself, not the library's: that one hides
    // unreachable directories behind a walk of its own.
    let length = cvt("getcwd", unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) })?;
    buffer.truncate((length as usize).saturating_sub(1));
    Ok(buffer)
}

/// How a path below a root is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Symbolic links are followed but cannot leave the root (RESOLVE_IN_ROOT).
    InRoot,
    /// Any symbolic link on the way is refused with ELOOP (RESOLVE_NO_SYMLINKS).
    Refused,
}

/// openat2(2) below `root`, with RESOLVE_IN_ROOT and RESOLVE_NO_MAGICLINKS.
///
/// # Errors
/// ENOENT, ENOTDIR, EACCES; ELOOP for a refused link; EAGAIN is repeated (a rename raced with `..`).
pub fn open_below(root: BorrowedFd<'_>, path: &CStr, how: Open, links: Links) -> Result<OwnedFd> {
    let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    if links == Links::Refused {
        resolve |= ResolveFlags::NO_SYMLINKS;
    }
    for _ in 0..128 {
        match rustix::fs::openat2(root, path, how.flags(), Mode::empty(), resolve) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => continue,
            other => return other.named("openat2"),
        }
    }
    Err(SysError::new("openat2", libc::EAGAIN))
}

/// openat2(2) of a directory of the own root, symbolic links followed, magic links of procfs refused.
///
/// # Errors
/// ELOOP for a magic link; ENOENT, ENOTDIR, EACCES.
pub fn open_directory_plainly(path: &CStr) -> Result<OwnedFd> {
    let resolve = ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(rustix::fs::CWD, path, Open::Directory.flags(), Mode::empty(), resolve).named("openat2")
}

/// openat(2) of one component below a directory, O_NOFOLLOW: a symbolic link is opened as such (O_PATH) or refused.
///
/// # Errors
/// ENOENT, EACCES; ENOTDIR with [`Open::Directory`] on a link or a file.
pub fn open_component(directory: BorrowedFd<'_>, name: &CStr, how: Open) -> Result<OwnedFd> {
    rustix::fs::openat(directory, name, how.flags() | OFlags::NOFOLLOW, Mode::empty()).named("openat")
}

/// mkdirat(2) of one component, exact permission bits.
///
/// # Errors
/// EEXIST, EROFS, EACCES.
pub fn make_directory(directory: BorrowedFd<'_>, name: &CStr, mode: u32) -> Result<()> {
    rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(mode)).named("mkdirat")
}

/// An empty file, O_CREAT | O_EXCL | O_NOFOLLOW.
///
/// # Errors
/// EEXIST, EROFS, EACCES.
pub fn make_file(directory: BorrowedFd<'_>, name: &CStr, mode: u32) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(mode)).named("openat")
}

/// symlinkat(2).
///
/// # Errors
/// EEXIST, EROFS.
pub fn make_symlink(directory: BorrowedFd<'_>, name: &CStr, target: &CStr) -> Result<()> {
    rustix::fs::symlinkat(target, directory, name).named("symlinkat")
}

/// mknodat(2) of a character or block device.
///
/// # Errors
/// EPERM in a user namespace or without CAP_MKNOD.
pub fn make_node(
    directory: BorrowedFd<'_>,
    name: &CStr,
    character: bool,
    numbers: (u32, u32),
    mode: u32,
) -> Result<()> {
    let kind = if character { FileType::CharacterDevice } else { FileType::BlockDevice };
    let device = rustix::fs::makedev(numbers.0, numbers.1);
    rustix::fs::mknodat(directory, name, kind, Mode::from_raw_mode(mode), device).named("mknodat")
}

/// fchmodat of a name that we have just made ourselves: exact bits whatever the umask.
///
/// # Errors
/// EROFS, EPERM.
pub fn set_mode(directory: BorrowedFd<'_>, name: &CStr, mode: u32) -> Result<()> {
    rustix::fs::chmodat(directory, name, Mode::from_raw_mode(mode), AtFlags::empty()).named("fchmodat")
}

/// fchownat(2) of a name below a directory, a symbolic link itself; `.` is the directory.
///
/// # Errors
/// EPERM without CAP_CHOWN, EINVAL for an id that is not mapped in the user namespace, EROFS.
pub fn set_owner(directory: BorrowedFd<'_>, name: &CStr, uid: u32, gid: u32) -> Result<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    rustix::fs::chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).named("fchownat")
}

/// Is it the root of a mount (statx(2), since Linux 5.8)?
///
/// # Errors
/// Those of statx(2).
pub fn is_mount_root(fd: BorrowedFd<'_>) -> Result<bool> {
    let found = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, rustix::fs::StatxFlags::TYPE).named("statx")?;
    Ok(found.stx_attributes.contains(rustix::fs::StatxAttributes::MOUNT_ROOT))
}

/// Number of the mount that a descriptor leads into (statx(2), since Linux 5.8). A server behind the file system is not
/// asked for anything.
///
/// # Errors
/// Those of statx(2).
pub fn mount_id(fd: BorrowedFd<'_>) -> Result<u64> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let found = rustix::fs::statx(fd, c"", flags, rustix::fs::StatxFlags::MNT_ID).named("statx")?;
    Ok(found.stx_mnt_id)
}

/// Magic number of the file system (statfs(2)), such as [`PROC_MAGIC`].
///
/// # Errors
/// Those of fstatfs(2).
#[allow(clippy::unnecessary_cast)] // The width differs between architectures.
pub fn file_system_magic(fd: BorrowedFd<'_>) -> Result<u64> {
    Ok(rustix::fs::fstatfs(fd).named("fstatfs")?.f_type as u64)
}

/// PROC_SUPER_MAGIC
pub const PROC_MAGIC: u64 = 0x9fa0;

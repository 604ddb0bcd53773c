//! Descriptors: sealed memory files, pipes, numbers, opening by path.

use super::{Named, Result, SysError, cvt, cvt_retry};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The current directory as the base of a look-up; absolute paths ignore it.
pub use rustix::fs::CWD;

/// Takes ownership of an inherited descriptor by its number, and makes it close-on-exec.
///
/// # Errors
/// EBADF when no such descriptor is open; EINVAL for a number below 3, which nobody owns.
pub fn adopt(number: RawFd) -> Result<OwnedFd> {
    if number < 3 {
        return Err(SysError::new("fcntl", libc::EINVAL));
    }
    // SAFETY: fcntl on a number has no memory effects.
    cvt_retry("fcntl", || unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: the descriptor is open. Inherited numbers are named to exactly one owner by whoever passed them; the
    // callers (start of the set-up stage) run before anything else could have been given the number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Are these two descriptors of one open file (kcmp(2))? A kernel without the call (CONFIG_KCMP) never says so.
pub fn is_same_file(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    const KCMP_FILE: libc::c_int = 0;
    let own = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: the call takes five numbers and changes nothing.
    let answer = unsafe {
        libc::syscall(libc::SYS_kcmp, own, own, KCMP_FILE, one.as_raw_fd() as usize, other.as_raw_fd() as usize)
    };
    answer == 0
}

/// A second descriptor for the same open file, close-on-exec, number at least `lowest`.
///
/// # Errors
/// EMFILE.
pub fn duplicate(fd: BorrowedFd<'_>, lowest: RawFd) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, lowest).named("fcntl")
}

/// dup3(2) onto a standard stream (0, 1 or 2), which stays open across exec.
///
/// # Errors
/// EINVAL for any other number.
pub fn place_standard(fd: BorrowedFd<'_>, number: RawFd) -> Result<()> {
    if !(0..=2).contains(&number) {
        return Err(SysError::new("dup3", libc::EINVAL));
    }
    if fd.as_raw_fd() == number {
        return set_close_on_exec(fd, false);
    }
    // SAFETY: standard streams are owned by nobody, so replacing one invalidates no owner.
    cvt_retry("dup3", || unsafe { libc::dup3(fd.as_raw_fd(), number, 0) }).map(drop)
}

/// Was it opened for writing?
///
/// # Errors
/// None for an open descriptor.
pub fn is_writable(fd: BorrowedFd<'_>) -> Result<bool> {
    let mode = rustix::fs::fcntl_getfl(fd).named("fcntl")? & OFlags::RWMODE;
    Ok(mode == OFlags::WRONLY || mode == OFlags::RDWR)
}

/// Sets or clears FD_CLOEXEC.
///
/// # Errors
/// None for an open descriptor.
pub fn set_close_on_exec(fd: BorrowedFd<'_>, on: bool) -> Result<()> {
    let flags = if on { rustix::io::FdFlags::CLOEXEC } else { rustix::io::FdFlags::empty() };
    rustix::io::fcntl_setfd(fd, flags).named("fcntl")
}

/// Sets or clears O_NONBLOCK of the open file (shared by all its descriptors).
///
/// # Errors
/// None for an open descriptor.
pub fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> Result<()> {
    let mut flags = rustix::fs::fcntl_getfl(fd).named("fcntl")?;
    flags.set(OFlags::NONBLOCK, on);
    rustix::fs::fcntl_setfl(fd, flags).named("fcntl")
}

/// close_range(2) with CLOSE_RANGE_CLOEXEC: every descriptor from `first` upwards closes at the next exec.
///
/// # Errors
/// ENOSYS before Linux 5.9, EINVAL before 5.11.
pub fn close_range_cloexec(first: RawFd) -> Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: only flags of descriptors change; no owner loses anything before the exec that ends them all.
    let answer =
        unsafe { libc::syscall(libc::SYS_close_range, first as libc::c_uint, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) };
    cvt("close_range", answer).map(drop)
}

/// close_range(2) of every descriptor from 3 upwards but these: for the start of a program that knows which it was to
/// inherit.
///
/// # Errors
/// ENOSYS before Linux 5.9.
pub fn close_inherited_but(kept: &[RawFd]) -> Result<()> {
    let mut kept: Vec<RawFd> = kept.iter().copied().filter(|number| *number >= 3).collect();
    kept.sort_unstable();
    let mut first: RawFd = 3;
    for number in kept.into_iter().chain([RawFd::MAX]) {
        if first < number {
            // SAFETY: the callers (start of a program) run before anything in it owns a descriptor; what is named to an
            // owner is not in the range.
            let answer =
                unsafe { libc::syscall(libc::SYS_close_range, first as libc::c_uint, (number - 1) as libc::c_uint, 0) };
            cvt("close_range", answer)?;
        }
        first = number.saturating_add(1);
    }
    Ok(())
}

/// An anonymous file that nobody can change any more: `bytes`, mode 0555 when `executable` (0500 cannot be executed by
/// uid 0 of a mapped user namespace), sealed against writing, growing, shrinking and further seals.
///
/// An executable one asks for MFD_EXEC (needed with vm.memfd_noexec = 1, unknown before Linux 6.3) and repeats without.
/// Where executable memfds are forbidden (vm.memfd_noexec = 2) the answer is an O_PATH descriptor of a file on a
/// detached read-only tmpfs, which serves exec but has no seals.
///
/// # Errors
/// EMFILE, ENOMEM; for the last fallback those of the mount calls.
pub fn sealed_memfd(name: &CStr, bytes: &[u8], executable: bool) -> Result<OwnedFd> {
    let base = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let made = if executable {
        match rustix::fs::memfd_create(name, base | MemfdFlags::EXEC) {
            Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create(name, base),
            Err(rustix::io::Errno::ACCESS) => return file_on_read_only_tmpfs(bytes),
            other => other,
        }
    } else {
        match rustix::fs::memfd_create(name, base | MemfdFlags::NOEXEC_SEAL) {
            Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create(name, base),
            other => other,
        }
    };
    let fd = made.named("memfd_create")?;
    write_all(&fd, bytes)?;
    if executable {
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o555)).named("fchmod")?;
    }
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&fd, seals).named("fcntl")?;
    Ok(fd)
}

fn file_on_read_only_tmpfs(bytes: &[u8]) -> Result<OwnedFd> {
    use super::mount;
    let context = mount::fsopen(c"tmpfs")?;
    mount::fsconfig_create(&context)?;
    let tree = mount::fsmount(&context, mount::attributes::NOSUID | mount::attributes::NODEV)?;
    let file = rustix::fs::openat(
        &tree,
        c"image",
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o555),
    )
    .named("openat")?;
    write_all(&file, bytes)?;
    drop(file);
    mount::mount_setattr(&tree, c"", mount::attributes::RDONLY, None, false)?;
    rustix::fs::openat(&tree, c"image", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).named("openat")
}

/// Does the descriptor have all four seals of [`sealed_memfd`]?
///
/// # Errors
/// EINVAL for what cannot be sealed at all.
pub fn is_sealed(fd: BorrowedFd<'_>) -> Result<bool> {
    let seals = rustix::fs::fcntl_get_seals(fd).named("fcntl")?;
    Ok(seals.contains(SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL))
}

/// Reads a whole regular file or memfd from its beginning, without moving its offset.
///
/// # Errors
/// EFBIG when it is longer than `limit` bytes; those of fstat(2) and pread(2).
pub fn read_whole(fd: BorrowedFd<'_>, limit: usize) -> Result<Vec<u8>> {
    let size = rustix::fs::fstat(fd).named("fstat")?.st_size;
    let size = usize::try_from(size).ok().filter(|size| *size <= limit).ok_or(SysError::new("read", libc::EFBIG))?;
    let mut bytes = vec![0; size];
    let mut done = 0;
    while done < size {
        match rustix::io::pread(fd, &mut bytes[done..], done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(SysError::new("read", errno.raw_os_error())),
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

/// Writes all of `bytes`.
///
/// # Errors
/// Those of write(2), EAGAIN for a full non-blocking pipe.
pub fn write_all(fd: &impl std::os::fd::AsFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        let count = write(fd.as_fd(), bytes)?;
        bytes = &bytes[count..];
    }
    Ok(())
}

/// write(2).
///
/// # Errors
/// EAGAIN, EPIPE and the rest of write(2).
pub fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize> {
    rustix::io::retry_on_intr(|| rustix::io::write(fd, bytes)).named("write")
}

/// read(2); 0 is the end of the file.
///
/// # Errors
/// EAGAIN and the rest of read(2).
pub fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize> {
    rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut *buffer)).named("read")
}

/// Reads a short text from the beginning of a file, at most `limit` bytes, whatever its offset.
///
/// # Errors
/// Those of pread(2); EINVAL for what is not UTF-8.
pub fn read_to_string(fd: BorrowedFd<'_>, limit: usize) -> Result<String> {
    let mut bytes = vec![0; limit];
    let length = rustix::io::retry_on_intr(|| rustix::io::pread(fd, &mut bytes[..], 0)).named("pread")?;
    bytes.truncate(length);
    String::from_utf8(bytes).map_err(|_| SysError::new("pread", libc::EINVAL))
}

/// Which end of a new pipe does not block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonBlocking {
    /// Neither.
    None,
    /// The read end.
    Read,
    /// The write end.
    Write,
    /// Both.
    Both,
}

/// pipe2(2): (read end, write end), close-on-exec.
///
/// # Errors
/// EMFILE, ENFILE.
pub fn pipe(nonblocking: NonBlocking) -> Result<(OwnedFd, OwnedFd)> {
    use std::os::fd::AsFd;
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).named("pipe2")?;
    if matches!(nonblocking, NonBlocking::Read | NonBlocking::Both) {
        set_nonblocking(read.as_fd(), true)?;
    }
    if matches!(nonblocking, NonBlocking::Write | NonBlocking::Both) {
        set_nonblocking(write.as_fd(), true)?;
    }
    Ok((read, write))
}

/// Sets a pipe's capacity in bytes (rounded up by the kernel).
///
/// # Errors
/// EPERM above `/proc/sys/fs/pipe-max-size` without CAP_SYS_RESOURCE.
pub fn set_pipe_size(fd: BorrowedFd<'_>, bytes: usize) -> Result<()> {
    rustix::pipe::fcntl_setpipe_size(fd, bytes).named("fcntl").map(drop)
}

/// How [`open`] opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// O_RDONLY
    Read,
    /// O_WRONLY
    Write,
    /// O_RDWR
    ReadWrite,
    /// O_PATH
    Path,
    /// O_PATH | O_DIRECTORY
    Directory,
}

impl Open {
    pub(super) fn flags(self) -> OFlags {
        OFlags::CLOEXEC
            | match self {
                Open::Read => OFlags::RDONLY,
                Open::Write => OFlags::WRONLY,
                Open::ReadWrite => OFlags::RDWR,
                Open::Path => OFlags::PATH,
                Open::Directory => OFlags::PATH | OFlags::DIRECTORY,
            }
    }
}

/// open(2) of an existing path of the caller's own name space; symbolic links are followed, O_NOCTTY is set.
///
/// # Errors
/// Those of open(2).
pub fn open(path: &CStr, how: Open) -> Result<OwnedFd> {
    let flags = how.flags() | OFlags::NOCTTY;
    rustix::io::retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty())).named("open")
}

/// Kind, permission and identity of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// `st_mode` with the type bits.
    pub mode: u32,
    /// Device of the file system.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node.
    pub node: u64,
}

impl Stat {
    /// Is it a directory?
    pub fn is_directory(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }

    /// Is it a symbolic link?
    pub fn is_symlink(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFLNK
    }
}

/// readlink(2).
///
/// # Errors
/// EINVAL when it is no symbolic link; ENOENT, EACCES.
pub fn read_link(path: &CStr) -> Result<Vec<u8>> {
    Ok(rustix::fs::readlink(path, Vec::new()).named("readlink")?.into_bytes())
}

/// fstat(2); works on O_PATH descriptors.
///
/// # Errors
/// None for an open descriptor.
#[allow(clippy::useless_conversion, clippy::unnecessary_cast)] // The widths differ between architectures.
pub fn stat(fd: BorrowedFd<'_>) -> Result<Stat> {
    let found = rustix::fs::fstat(fd).named("fstat")?;
    Ok(Stat {
        mode: found.st_mode as u32,
        device: found.st_dev as u64,
        inode: found.st_ino as u64,
        size: found.st_size as u64,
        uid: found.st_uid,
        gid: found.st_gid,
        node: found.st_rdev as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_sealed_memfd_refuses_every_change() {
        let fd = sealed_memfd(c"test", b"content", false).unwrap();
        assert!(is_sealed(fd.as_fd()).unwrap());
        assert_eq!(write(fd.as_fd(), b"x").unwrap_err().errno, libc::EPERM);
        assert_eq!(rustix::fs::ftruncate(&fd, 0).unwrap_err(), rustix::io::Errno::PERM);
        assert_eq!(read_whole(fd.as_fd(), 100).unwrap(), b"content");
        assert_eq!(read_whole(fd.as_fd(), 3).unwrap_err().errno, libc::EFBIG);
    }

    #[test]
    fn an_executable_memfd_may_be_executed_by_everybody() {
        let fd = sealed_memfd(c"test", b"#!", true).unwrap();
        assert_eq!(stat(fd.as_fd()).unwrap().mode & 0o7777, 0o555);
    }

    #[test]
    fn standard_streams_cannot_be_adopted() {
        assert_eq!(adopt(2).unwrap_err().errno, libc::EINVAL);
    }
}

//! Which calls are made to fail, and how.
//!
//! A call is here when it changes something, or when it can fail for want of something: descriptors, memory, space,
//! processes, watches. The errnos are those of its manual page that a sound kernel may give to a correct caller; what
//! only a wrong argument brings (EFAULT, EBADF, EINVAL) says nothing about circumstances. EINTR is in the list of calls
//! that a signal may interrupt.

use crate::instance::tracer::Call;
use libc::{
    E2BIG, EACCES, EAGAIN, EBUSY, EDQUOT, EINTR, EIO, EMFILE, ENFILE, ENOBUFS, ENOLCK, ENOMEM, ENOSPC, EPERM, EROFS,
};

/// Makes a descriptor out of nothing: the table of the process, that of the host, memory.
const DESCRIPTOR: &[i32] = &[EMFILE, ENFILE, ENOMEM];
/// Changes a directory: room, quota, a read-only mount, a broken device.
const DIRECTORY: &[i32] = &[ENOSPC, EROFS, EDQUOT, ENOMEM, EIO];
/// Takes a name out of a directory: that needs no room.
const REMOVAL: &[i32] = &[EROFS, EIO, ENOMEM];
/// getsockopt(2), since Linux 6.5; the same number on all machines that the tracer knows.
const SO_PEERPIDFD: i32 = 77;
/// Of a group's directory or file: kernfs knows nothing of disks.
const GROUP: &[i32] = &[ENOMEM, EINTR];

/// What a call fails with, one after the other; none for a call that is left alone. `None`: nobody has thought of it yet.
pub fn errnos(call: &Call) -> Option<&'static [i32]> {
    let object = || call.object().unwrap_or_default();
    let argument = |index: usize| call.arguments[index] as i32;
    let in_groups = |object: &str| object.starts_with("/sys/fs/cgroup");
    let errnos: &[i32] = match call.name() {
        "open" if argument(1) & libc::O_CREAT != 0 => &[ENOSPC, EROFS, EMFILE, ENFILE, ENOMEM, EIO],
        "openat" if argument(2) & libc::O_CREAT != 0 => &[ENOSPC, EROFS, EMFILE, ENFILE, ENOMEM, EIO],
        "open" | "openat" | "openat2" => &[EMFILE, ENFILE, ENOMEM, EINTR],
        "mkdir" | "mkdirat" if in_groups(&object()) => &[ENOMEM, EAGAIN, ENOSPC],
        "mkdir" | "mkdirat" | "symlink" | "symlinkat" | "link" | "linkat" => DIRECTORY,
        "rename" | "renameat" | "renameat2" => DIRECTORY,
        "rmdir" | "unlinkat" if in_groups(&object()) => &[EBUSY, ENOMEM],
        "unlink" | "unlinkat" | "rmdir" => REMOVAL,
        "write" | "writev" | "pwrite64" => match object() {
            group if in_groups(&group) => GROUP,
            // Answers to clients; what is not taken is sent later, or the client is gone.
            socket if socket.starts_with("socket:") => &[EAGAIN, ENOBUFS, EINTR],
            // Id maps.
            proc if proc.starts_with("/proc/") => &[EPERM, ENOMEM],
            pipe if pipe.starts_with("pipe:") => &[EINTR],
            memory if memory.starts_with("/memfd:") => &[ENOMEM, ENOSPC],
            counter if counter.starts_with("anon_inode:") => &[],
            _ => &[ENOSPC, EIO, EDQUOT, EROFS, EINTR],
        },
        "read" | "pread64" => match object() {
            socket if socket.starts_with("socket:") => &[EINTR, ENOMEM],
            other if other.starts_with("anon_inode:") || other.starts_with("pipe:") => &[EINTR],
            _ => &[EIO, ENOMEM, EINTR],
        },
        "ftruncate" | "fallocate" => &[ENOSPC, EIO, EINTR],
        "fchmod" | "fchmodat" | "chmod" | "fchown" | "fchownat" | "chown" => &[EROFS, EIO, EPERM],
        "memfd_create" => DESCRIPTOR,
        "socket" | "socketpair" | "pipe2" | "pidfd_open" | "pidfd_getfd" | "epoll_create1" | "timerfd_create"
        | "inotify_init1" | "eventfd2" => DESCRIPTOR,
        "accept4" | "accept" => &[EMFILE, ENFILE, ENOMEM, ENOBUFS, EINTR],
        "dup" | "dup3" => &[EMFILE],
        "fcntl" if matches!(argument(1), libc::F_DUPFD | libc::F_DUPFD_CLOEXEC) => &[EMFILE],
        "fcntl" if argument(1) == libc::F_SETPIPE_SZ => &[EPERM, EBUSY, ENOMEM],
        "fcntl" if argument(1) == libc::F_ADD_SEALS => &[EBUSY, EPERM],
        "bind" => &[ENOMEM, ENOSPC, EROFS],
        "listen" | "setsockopt" => &[ENOMEM, ENOBUFS],
        "sendmsg" | "sendto" => &[ENOBUFS, ENOLCK, ENOMEM, EAGAIN, EINTR],
        "recvmsg" | "recvfrom" => &[ENOMEM, EINTR],
        "clone3" | "clone" | "vfork" => &[EAGAIN, ENOMEM, ENOSPC, EPERM],
        "epoll_ctl" if argument(1) == libc::EPOLL_CTL_ADD => &[ENOSPC, ENOMEM],
        "epoll_ctl" => &[],
        "epoll_wait" | "epoll_pwait" => &[EINTR],
        "inotify_add_watch" => &[ENOSPC, ENOMEM],
        "setxattr" | "fsetxattr" => &[ENOSPC, ENOMEM, EDQUOT],
        "getxattr" | "fgetxattr" => &[ENOMEM, EIO],
        "removexattr" | "fremovexattr" => &[ENOMEM],
        "statx" | "newfstatat" | "stat" | "lstat" | "fstat" => &[ENOMEM, EIO],
        "getdents64" => &[ENOMEM, EIO],
        "readlink" | "readlinkat" => &[ENOMEM],
        "waitid" => &[EINTR],
        "poll" | "ppoll" => &[EINTR, ENOMEM],
        // The allocator's: the daemon may end of it.
        "mmap" | "brk" | "mremap" => &[ENOMEM],
        "madvise" => &[EAGAIN, ENOMEM],
        "mount" | "umount2" | "open_tree" | "move_mount" | "mount_setattr" => &[ENOMEM, ENOSPC],
        "bpf" => &[ENOMEM, EPERM, E2BIG],
        "fsopen" => &[EMFILE, ENOMEM, EPERM],
        "fsconfig" | "fsmount" => &[ENOMEM, EPERM],
        "ioctl" if object().starts_with("/dev/loop") => &[EBUSY, ENOMEM, EIO],
        "execveat" | "execve" => &[ENOMEM, EMFILE, EIO, EACCES],
        "splice" => match call.file(2).unwrap_or_default() {
            file if file.starts_with('/') => &[ENOSPC, EIO, EDQUOT, EINTR, ENOMEM],
            _ => &[EINTR, ENOMEM],
        },
        "tee" => &[EINTR, ENOMEM],
        "fsync" => &[EIO, ENOSPC, EDQUOT],
        "connect" => &[ENOMEM, EAGAIN],
        "flock" => &[EINTR, ENOLCK],
        "statfs" | "fstatfs" => &[ENOMEM, EIO],
        "getsockopt" => match argument(2) {
            // A pidfd of the peer, and its groups.
            SO_PEERPIDFD => DESCRIPTOR,
            _ => &[],
        },
        // What the kernel can do: answers to such a question may want memory like any other.
        "landlock_create_ruleset" => &[ENOMEM, EPERM],
        // Information about who is behind a pidfd, and the number of a namespace.
        "ioctl" => &[ENOMEM],
        name if left_alone(name) => &[],
        _ => return None,
    };
    Some(errnos)
}

/// Calls that neither change something nor want something that may be missing, and those whose failure has no meaning: a
/// lock that is let go, a process that is not there any more, a signal handler.
fn left_alone(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "arch_prctl",
        "capget",
        "close",
        "close_range",
        "clock_nanosleep",
        "exit",
        "exit_group",
        "futex",
        "getcwd",
        "getppid",
        "nanosleep",
        "sched_yield",
        "tgkill",
        "fcntl",
        "getegid",
        "geteuid",
        "getpid",
        "getrandom",
        "getsockname",
        "gettid",
        "getuid",
        "inotify_rm_watch",
        "kill",
        "lseek",
        "mprotect",
        "munmap",
        "pidfd_send_signal",
        "prctl",
        "prlimit64",
        "restart_syscall",
        "rseq",
        "rt_sigaction",
        "rt_sigprocmask",
        "rt_sigreturn",
        "sched_getaffinity",
        "seccomp",
        "set_robust_list",
        "set_tid_address",
        "shutdown",
        "sigaltstack",
        "timerfd_settime",
        "umask",
        "wait4",
    ];
    NAMES.contains(&name)
}

/// `rename /run/x` without what differs from run to run: numbers of processes, descriptors and inodes.
pub fn key(call: &Call, directory: &str) -> String {
    let text = call.to_string().replace(directory, "");
    let mut key = String::with_capacity(text.len());
    let mut number = false;
    for c in text.chars() {
        let digit = c.is_ascii_digit();
        match (digit, number) {
            (true, false) if key.ends_with(['/', '[', ':', '.', '-', ' ']) => {
                key.push('N');
                number = true;
            }
            (true, true) => {}
            _ => {
                key.push(c);
                number = false;
            }
        }
    }
    key
}

/// Is this only one more of a kind of which others were taken? How often the loop turns and the allocator asks differs
/// from run to run.
pub fn repeats(key: &str, occurrence: usize) -> bool {
    let often = [
        "brk",
        "mmap",
        "mremap",
        "madvise",
        "epoll_wait",
        "poll",
        "read anon_inode:",
        "read pipe:",
        "recvfrom",
        "accept4",
    ];
    occurrence > if often.iter().any(|word| key.starts_with(word)) { 3 } else { 20 }
}

/// Does the allocator ask, or the C library at the beginning? Nobody may be able to say that it failed.
pub fn is_allocation(key: &str) -> bool {
    ["brk", "mmap", "mremap"].iter().any(|name| key.starts_with(name))
}

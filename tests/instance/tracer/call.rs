//! A system call of the daemon, by name, and by what it does to which object.

use std::fmt;
use std::os::unix::fs::FileExt;

/// Longest path that is read, bytes.
const PATH_LIMIT: usize = 4096;

/// A system call that the daemon makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub pid: i32,
    pub number: u64,
    pub arguments: [u64; 6],
}

/// What a call names.
#[derive(Clone, Copy)]
enum Object {
    /// Argument: a path.
    Path(usize),
    /// Arguments: a directory, and a path below it.
    At(usize, usize),
    /// Argument: an open file.
    File(usize),
}

/// Calls that change something outside of the daemon's memory, or take something away that is there once, and what
/// they name. Not among them: what only looks, waits, or reads a clock.
const EFFECTS: [(&str, Option<Object>); 84] = {
    use Object::{At, File, Path};
    [
        ("accept", Some(File(0))),
        ("accept4", Some(File(0))),
        ("bind", Some(File(0))),
        ("bpf", None),
        ("chmod", Some(Path(0))),
        ("chown", Some(Path(0))),
        ("clone", None),
        ("clone3", None),
        ("close", Some(File(0))),
        ("connect", Some(File(0))),
        ("copy_file_range", Some(File(2))),
        ("execve", Some(Path(0))),
        ("execveat", Some(File(0))),
        ("fallocate", Some(File(0))),
        ("fchmod", Some(File(0))),
        ("fchmodat", Some(At(0, 1))),
        ("fchmodat2", Some(At(0, 1))),
        ("fchown", Some(File(0))),
        ("fchownat", Some(At(0, 1))),
        ("fdatasync", Some(File(0))),
        ("flock", Some(File(0))),
        ("fremovexattr", Some(File(0))),
        ("fsconfig", Some(File(0))),
        ("fsetxattr", Some(File(0))),
        ("fsmount", Some(File(0))),
        ("fsopen", Some(Path(0))),
        ("fsync", Some(File(0))),
        ("ftruncate", Some(File(0))),
        ("inotify_add_watch", Some(Path(1))),
        ("kill", None),
        ("lchown", Some(Path(0))),
        ("link", Some(Path(1))),
        ("linkat", Some(At(2, 3))),
        ("listen", Some(File(0))),
        ("lremovexattr", Some(Path(0))),
        ("lsetxattr", Some(Path(0))),
        ("memfd_create", Some(Path(0))),
        ("mkdir", Some(Path(0))),
        ("mkdirat", Some(At(0, 1))),
        ("mknod", Some(Path(0))),
        ("mknodat", Some(At(0, 1))),
        ("mount", Some(Path(1))),
        ("mount_setattr", Some(At(0, 1))),
        ("move_mount", Some(At(2, 3))),
        ("open_tree", Some(At(0, 1))),
        ("pidfd_getfd", None),
        ("pidfd_open", None),
        ("pidfd_send_signal", Some(File(0))),
        ("pipe", None),
        ("pipe2", None),
        ("pwrite64", Some(File(0))),
        ("pwritev", Some(File(0))),
        ("recvfrom", Some(File(0))),
        ("recvmmsg", Some(File(0))),
        ("recvmsg", Some(File(0))),
        ("removexattr", Some(Path(0))),
        ("rename", Some(Path(1))),
        ("renameat", Some(At(2, 3))),
        ("renameat2", Some(At(2, 3))),
        ("rmdir", Some(Path(0))),
        ("sendfile", Some(File(0))),
        ("sendmmsg", Some(File(0))),
        ("sendmsg", Some(File(0))),
        ("sendto", Some(File(0))),
        ("setsockopt", Some(File(0))),
        ("setxattr", Some(Path(0))),
        ("shutdown", Some(File(0))),
        ("socket", None),
        ("socketpair", None),
        ("splice", Some(File(2))),
        ("symlink", Some(Path(1))),
        ("symlinkat", Some(At(1, 2))),
        ("tee", Some(File(1))),
        ("timerfd_settime", Some(File(0))),
        ("truncate", Some(Path(0))),
        ("umount2", Some(Path(0))),
        ("unlink", Some(Path(0))),
        ("unlinkat", Some(At(0, 1))),
        ("utimensat", Some(At(0, 1))),
        ("vfork", None),
        ("wait4", None),
        ("waitid", None),
        ("write", Some(File(0))),
        ("writev", Some(File(0))),
    ]
};

/// The same for calls that matter with some arguments only.
const OTHERS: [(&str, Option<Object>); 8] = {
    use Object::{At, File, Path};
    [
        ("fcntl", Some(File(0))),
        ("ioctl", Some(File(0))),
        ("open", Some(Path(0))),
        ("openat", Some(At(0, 1))),
        ("openat2", Some(At(0, 1))),
        ("read", Some(File(0))),
        ("readv", Some(File(0))),
        ("statx", Some(At(0, 1))),
    ]
};

/// Calls that look, wait, or concern the daemon's own memory and its own self only.
const LOOKS: [&str; 70] = [
    "access",
    "arch_prctl",
    "brk",
    "capget",
    "clock_gettime",
    "clock_nanosleep",
    "close_range",
    "dup",
    "dup3",
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_wait",
    "eventfd2",
    "exit",
    "exit_group",
    "faccessat2",
    "fgetxattr",
    "fstat",
    "fstatfs",
    "futex",
    "getcwd",
    "getdents64",
    "getegid",
    "geteuid",
    "getpid",
    "getppid",
    "getrandom",
    "getsockname",
    "getsockopt",
    "gettid",
    "getuid",
    "getxattr",
    "inotify_init1",
    "inotify_rm_watch",
    "landlock_create_ruleset",
    "lseek",
    "lstat",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "newfstatat",
    "poll",
    "ppoll",
    "prctl",
    "pread64",
    "prlimit64",
    "readlink",
    "readlinkat",
    "restart_syscall",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rseq",
    "sched_getaffinity",
    "sched_yield",
    "seccomp",
    "set_robust_list",
    "set_tid_address",
    "sigaltstack",
    "signalfd4",
    "stat",
    "statfs",
    "tgkill",
    "timerfd_create",
    "timerfd_gettime",
    "umask",
    "uname",
];

fn find(table: &[(&str, Option<Object>)], name: &str) -> Option<Option<Object>> {
    table.iter().find(|(other, _)| *other == name).map(|(_, object)| *object)
}

impl Call {
    /// As in section 2 of the manual.
    pub fn name(&self) -> &'static str {
        usize::try_from(self.number).ok().and_then(syscalls::Sysno::new).map_or("unknown", |call| call.name())
    }

    /// Has somebody thought of what it does? Who counts effects may not overlook one.
    pub fn is_known(&self) -> bool {
        let name = self.name();
        let listed = find(&EFFECTS, name).or_else(|| find(&OTHERS, name)).is_some();
        listed || LOOKS.contains(&name)
    }

    /// Does it change something outside of the daemon's memory? To be asked before it is made.
    pub fn is_effect(&self) -> bool {
        let flags = |argument: usize| i64::from_ne_bytes(self.arguments[argument].to_ne_bytes()) as i32;
        let makes = |flags: i32| flags & (libc::O_CREAT | libc::O_TRUNC) != 0;
        match self.name() {
            "open" => makes(flags(1)),
            "openat" => makes(flags(2)),
            // A loop device that shows a file; other requests only ask.
            "ioctl" => self.file(0).is_some_and(|file| file.starts_with("/dev/loop")),
            "fcntl" => matches!(flags(1), libc::F_SETFL | libc::F_SETPIPE_SZ | libc::F_ADD_SEALS),
            // What was read from these is gone.
            "read" | "readv" => self.file(0).is_some_and(|file| !file.starts_with('/')),
            name => find(&EFFECTS, name).is_some(),
        }
    }

    /// The file that it names, as far as it can be read; to be asked before it is made.
    pub fn object(&self) -> Option<String> {
        match find(&EFFECTS, self.name()).or_else(|| find(&OTHERS, self.name()))?? {
            Object::Path(argument) => self.text(argument),
            Object::File(argument) => self.file(argument),
            Object::At(directory, path) => {
                let path = self.text(path)?;
                match self.file(directory) {
                    Some(directory) if !path.starts_with('/') => Some(format!("{directory}/{path}")),
                    _ => Some(path),
                }
            }
        }
    }

    /// What an argument that is a descriptor refers to.
    pub fn file(&self, argument: usize) -> Option<String> {
        let number = self.arguments[argument] as i32;
        let link = std::fs::read_link(format!("/proc/{}/fd/{number}", self.pid)).ok()?;
        Some(link.to_string_lossy().into_owned())
    }

    /// A number of 64 bits in the daemon's memory, so many bytes behind where an argument points.
    pub fn number_at(&self, argument: usize, offset: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.memory()?.read_exact_at(&mut bytes, self.arguments[argument].checked_add(offset)?).ok()?;
        Some(u64::from_ne_bytes(bytes))
    }

    fn memory(&self) -> Option<std::fs::File> {
        std::fs::File::open(format!("/proc/{}/mem", self.pid)).ok()
    }

    /// A string in the daemon's memory.
    pub fn text(&self, argument: usize) -> Option<String> {
        let memory = self.memory()?;
        let mut bytes = Vec::new();
        let mut at = self.arguments[argument];
        while bytes.len() < PATH_LIMIT {
            // Up to the end of a page: the next one may not be there.
            let mut piece = vec![0; (256 - at % 256) as usize];
            memory.read_exact_at(&mut piece, at).ok()?;
            at += piece.len() as u64;
            let end = piece.iter().position(|byte| *byte == 0);
            bytes.extend_from_slice(&piece[..end.unwrap_or(piece.len())]);
            if end.is_some() {
                break;
            }
        }
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// `rename /run/rsvc/booted`
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self.object() {
            Some(object) => write!(f, " {object}"),
            None => Ok(()),
        }
    }
}

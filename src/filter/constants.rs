//! Names of numbers in argument rules, and which arguments are 32 bits wide.
//!
//! Only what is the same on all architectures that rsvc knows: the O_ and F_ constants that differ are not here.

/// Names and values. Sources: the kernel's uapi headers (socket.h, sched.h, mman.h, personality.h, stat.h, fcntl.h,
/// ioctls.h, sockios.h, prctl.h, memfd.h).
#[rustfmt::skip]
const CONSTANTS: [(&str, u64); 209] = [
    ("AF_UNSPEC", 0), ("AF_UNIX", 1), ("AF_LOCAL", 1), ("AF_INET", 2), ("AF_AX25", 3), ("AF_IPX", 4),
    ("AF_APPLETALK", 5), ("AF_NETROM", 6), ("AF_BRIDGE", 7), ("AF_ATMPVC", 8), ("AF_X25", 9), ("AF_INET6", 10),
    ("AF_ROSE", 11), ("AF_NETBEUI", 13), ("AF_SECURITY", 14), ("AF_KEY", 15), ("AF_NETLINK", 16), ("AF_PACKET", 17),
    ("AF_ASH", 18), ("AF_ECONET", 19), ("AF_ATMSVC", 20), ("AF_RDS", 21), ("AF_IRDA", 23), ("AF_PPPOX", 24),
    ("AF_WANPIPE", 25), ("AF_LLC", 26), ("AF_IB", 27), ("AF_MPLS", 28), ("AF_CAN", 29), ("AF_TIPC", 30),
    ("AF_BLUETOOTH", 31), ("AF_IUCV", 32), ("AF_RXRPC", 33), ("AF_ISDN", 34), ("AF_PHONET", 35),
    ("AF_IEEE802154", 36), ("AF_CAIF", 37), ("AF_ALG", 38), ("AF_NFC", 39), ("AF_VSOCK", 40), ("AF_KCM", 41),
    ("AF_QIPCRTR", 42), ("AF_SMC", 43), ("AF_XDP", 44), ("AF_MCTP", 45), ("SOCK_STREAM", 1), ("SOCK_DGRAM", 2),
    ("SOCK_RAW", 3), ("SOCK_RDM", 4), ("SOCK_SEQPACKET", 5), ("SOCK_PACKET", 10), ("SOCK_NONBLOCK", 0x800),
    ("SOCK_CLOEXEC", 0x80000), ("CLONE_NEWTIME", 0x80), ("CLONE_VM", 0x100), ("CLONE_FS", 0x200),
    ("CLONE_FILES", 0x400), ("CLONE_SIGHAND", 0x800), ("CLONE_PIDFD", 0x1000), ("CLONE_PTRACE", 0x2000),
    ("CLONE_VFORK", 0x4000), ("CLONE_PARENT", 0x8000), ("CLONE_THREAD", 0x10000), ("CLONE_NEWNS", 0x20000),
    ("CLONE_SYSVSEM", 0x40000), ("CLONE_SETTLS", 0x80000), ("CLONE_UNTRACED", 0x800000),
    ("CLONE_NEWCGROUP", 0x2000000), ("CLONE_NEWUTS", 0x4000000), ("CLONE_NEWIPC", 0x8000000),
    ("CLONE_NEWUSER", 0x10000000), ("CLONE_NEWPID", 0x20000000), ("CLONE_NEWNET", 0x40000000),
    ("CLONE_IO", 0x80000000), ("PROT_NONE", 0), ("PROT_READ", 1), ("PROT_WRITE", 2), ("PROT_EXEC", 4),
    ("PROT_GROWSDOWN", 0x1000000), ("PROT_GROWSUP", 0x2000000), ("MAP_SHARED", 1), ("MAP_PRIVATE", 2),
    ("MAP_SHARED_VALIDATE", 3), ("MAP_FIXED", 0x10), ("MAP_ANONYMOUS", 0x20), ("PER_LINUX", 0), ("PER_LINUX32", 8),
    ("PER_QUERY", 0xffffffff), ("ADDR_NO_RANDOMIZE", 0x40000), ("MMAP_PAGE_ZERO", 0x100000),
    ("ADDR_COMPAT_LAYOUT", 0x200000), ("READ_IMPLIES_EXEC", 0x400000), ("ADDR_LIMIT_32BIT", 0x800000),
    ("ADDR_LIMIT_3GB", 0x8000000), ("S_ISUID", 0o4000), ("S_ISGID", 0o2000), ("S_ISVTX", 0o1000),
    ("S_IFMT", 0o170000), ("S_IFIFO", 0o10000), ("S_IFCHR", 0o20000), ("S_IFBLK", 0o60000), ("S_IFREG", 0o100000),
    ("S_IFSOCK", 0o140000), ("O_ACCMODE", 3), ("O_RDONLY", 0), ("O_WRONLY", 1), ("O_RDWR", 2), ("O_CREAT", 0o100),
    ("O_EXCL", 0o200), ("O_NOCTTY", 0o400), ("O_TRUNC", 0o1000), ("O_APPEND", 0o2000), ("O_NONBLOCK", 0o4000),
    ("O_CLOEXEC", 0o2000000), ("F_DUPFD", 0), ("F_GETFD", 1), ("F_SETFD", 2), ("F_GETFL", 3), ("F_SETFL", 4),
    ("F_SETOWN", 8), ("F_GETOWN", 9), ("F_SETSIG", 10), ("F_GETSIG", 11), ("F_SETOWN_EX", 15), ("F_OFD_GETLK", 36),
    ("F_OFD_SETLK", 37), ("F_OFD_SETLKW", 38), ("F_SETLEASE", 1024), ("F_GETLEASE", 1025), ("F_NOTIFY", 1026),
    ("F_DUPFD_CLOEXEC", 1030), ("F_SETPIPE_SZ", 1031), ("F_GETPIPE_SZ", 1032), ("F_ADD_SEALS", 1033),
    ("F_GET_SEALS", 1034), ("TCGETS", 0x5401), ("TCSETS", 0x5402), ("TCSETSW", 0x5403), ("TCSETSF", 0x5404),
    ("TIOCEXCL", 0x540c), ("TIOCSCTTY", 0x540e), ("TIOCGPGRP", 0x540f), ("TIOCSPGRP", 0x5410), ("TIOCSTI", 0x5412),
    ("TIOCGWINSZ", 0x5413), ("TIOCSWINSZ", 0x5414), ("FIONREAD", 0x541b), ("TIOCLINUX", 0x541c), ("TIOCCONS", 0x541d),
    ("FIONBIO", 0x5421), ("TIOCSETD", 0x5423), ("FIOCLEX", 0x5451), ("FIOASYNC", 0x5452), ("SIOCGIFCONF", 0x8912),
    ("SIOCSIFFLAGS", 0x8914), ("SIOCSIFADDR", 0x8916), ("FS_IOC_SETFLAGS", 0x40086602), ("FICLONE", 0x40049409),
    ("TUNSETIFF", 0x400454ca), ("PR_SET_PDEATHSIG", 1), ("PR_GET_PDEATHSIG", 2), ("PR_GET_DUMPABLE", 3),
    ("PR_SET_DUMPABLE", 4), ("PR_GET_KEEPCAPS", 7), ("PR_SET_KEEPCAPS", 8), ("PR_SET_TIMING", 14),
    ("PR_SET_NAME", 15), ("PR_GET_NAME", 16), ("PR_GET_SECCOMP", 21), ("PR_SET_SECCOMP", 22), ("PR_CAPBSET_READ", 23),
    ("PR_CAPBSET_DROP", 24), ("PR_GET_TSC", 25), ("PR_SET_TSC", 26), ("PR_GET_SECUREBITS", 27),
    ("PR_SET_SECUREBITS", 28), ("PR_SET_TIMERSLACK", 29), ("PR_GET_TIMERSLACK", 30), ("PR_MCE_KILL", 33),
    ("PR_SET_MM", 35), ("PR_SET_CHILD_SUBREAPER", 36), ("PR_GET_CHILD_SUBREAPER", 37), ("PR_SET_NO_NEW_PRIVS", 38),
    ("PR_GET_NO_NEW_PRIVS", 39), ("PR_SET_THP_DISABLE", 41), ("PR_GET_THP_DISABLE", 42), ("PR_CAP_AMBIENT", 47),
    ("PR_GET_SPECULATION_CTRL", 52), ("PR_SET_SPECULATION_CTRL", 53), ("PR_SET_IO_FLUSHER", 57),
    ("PR_SET_SYSCALL_USER_DISPATCH", 59), ("PR_SCHED_CORE", 62), ("PR_SET_MDWE", 65), ("PR_GET_MDWE", 66),
    ("PR_SET_VMA", 0x53564d41), ("PR_SET_PTRACER", 0x59616d61), ("SCHED_OTHER", 0), ("SCHED_FIFO", 1),
    ("SCHED_RR", 2), ("SCHED_BATCH", 3), ("SCHED_IDLE", 5), ("SCHED_DEADLINE", 6), ("SCHED_EXT", 7),
    ("SCHED_RESET_ON_FORK", 0x40000000), ("MFD_CLOEXEC", 1), ("MFD_ALLOW_SEALING", 2), ("MFD_HUGETLB", 4),
    ("MFD_NOEXEC_SEAL", 8), ("MFD_EXEC", 0x10),
];

/// Arguments that the kernel takes as `int`, `unsigned int`, a mode or a flag word of which it looks at 32 bits. The
/// upper half of the register is not looked at. Source: SYSCALL_DEFINE of each; clone(2) takes `lower_32_bits`.
#[rustfmt::skip]
const NARROW: [(&str, &[u8]); 76] = [
    ("accept4", &[0, 3]), ("arch_prctl", &[0]), ("bpf", &[0, 2]), ("chmod", &[1]), ("clock_settime", &[0]),
    ("clone", &[0]), ("close_range", &[0, 1, 2]), ("creat", &[1]), ("dup3", &[0, 1, 2]), ("epoll_create1", &[0]),
    ("eventfd2", &[0, 1]), ("execveat", &[0, 4]), ("faccessat", &[0, 2]), ("fchmod", &[0, 1]), ("fchmodat", &[0, 2]),
    ("fchmodat2", &[0, 2, 3]), ("fcntl", &[0, 1]), ("fcntl64", &[0, 1]), ("fsopen", &[1]), ("getrandom", &[2]),
    ("getsockopt", &[0, 1, 2]), ("inotify_init1", &[0]), ("io_uring_register", &[0, 1, 3]), ("io_uring_setup", &[0]),
    ("ioctl", &[0, 1]), ("ioprio_set", &[0, 1, 2]), ("keyctl", &[0]), ("kill", &[0, 1]),
    ("landlock_restrict_self", &[0, 1]), ("listen", &[0, 1]), ("madvise", &[2]), ("memfd_create", &[1]),
    ("mkdir", &[1]), ("mkdirat", &[0, 2]), ("mknod", &[1, 2]), ("mknodat", &[0, 2, 3]), ("mlock2", &[2]),
    ("mlockall", &[0]), ("msync", &[2]), ("open", &[1, 2]), ("openat", &[0, 2, 3]), ("perf_event_open", &[1, 2, 3]),
    ("personality", &[0]), ("pidfd_getfd", &[0, 1, 2]), ("pidfd_open", &[0, 1]), ("pidfd_send_signal", &[0, 1, 3]),
    ("pipe2", &[1]), ("pkey_mprotect", &[3]), ("prctl", &[0]), ("quotactl", &[0]), ("recvfrom", &[0, 3]),
    ("recvmsg", &[0, 2]), ("renameat2", &[0, 2, 4]), ("sched_setscheduler", &[0, 1]), ("seccomp", &[0, 1]),
    ("sendmsg", &[0, 2]), ("sendto", &[0, 3]), ("setgid", &[0]), ("sethostname", &[1]), ("setns", &[0, 1]),
    ("setpriority", &[0, 1, 2]), ("setsockopt", &[0, 1, 2, 4]), ("setuid", &[0]), ("shutdown", &[0, 1]),
    ("socket", &[0, 1, 2]), ("socketpair", &[0, 1, 2]), ("syslog", &[0, 2]), ("tgkill", &[0, 1, 2]),
    ("timerfd_create", &[0, 1]), ("tkill", &[0, 1]), ("umask", &[0]), ("umount2", &[1]), ("unlinkat", &[0, 2]),
    ("unshare", &[0]), ("userfaultfd", &[0]), ("waitid", &[0, 1, 3]),
];

/// The number that `name` stands for.
pub(super) fn value(name: &str) -> Option<u64> {
    CONSTANTS.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

/// All names, for "did you mean".
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    CONSTANTS.iter().map(|(name, _)| *name)
}

/// Is the argument known to be compared by the kernel in 32 bits?
pub(super) fn is_narrow(call: &str, argument: u8) -> bool {
    NARROW.iter().any(|(known, arguments)| *known == call && arguments.contains(&argument))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_name_stands_once_and_every_call_is_one() {
        assert_eq!(names().collect::<BTreeSet<_>>().len(), CONSTANTS.len());
        assert!(NARROW.iter().all(|(call, arguments)| crate::filter::is_known_call(call) && !arguments.is_empty()));
        assert_eq!(NARROW.iter().map(|(call, _)| call).collect::<BTreeSet<_>>().len(), NARROW.len());
    }

    #[test]
    fn values_are_those_of_the_c_library() {
        let ours = [
            ("AF_ALG", libc::AF_ALG as u64),
            ("AF_VSOCK", libc::AF_VSOCK as u64),
            ("CLONE_NEWUSER", libc::CLONE_NEWUSER as u64),
            ("PROT_EXEC", libc::PROT_EXEC as u64),
            ("TIOCSTI", libc::TIOCSTI),
            ("TIOCLINUX", libc::TIOCLINUX),
            ("PR_SET_NO_NEW_PRIVS", libc::PR_SET_NO_NEW_PRIVS as u64),
            ("PR_CAP_AMBIENT", libc::PR_CAP_AMBIENT as u64),
            ("S_ISUID", u64::from(libc::S_ISUID)),
            ("F_ADD_SEALS", libc::F_ADD_SEALS as u64),
            ("O_CLOEXEC", libc::O_CLOEXEC as u64),
            ("ADDR_NO_RANDOMIZE", libc::ADDR_NO_RANDOMIZE as u64),
            ("SOCK_NONBLOCK", libc::SOCK_NONBLOCK as u64),
        ];
        for (name, expected) in ours {
            assert_eq!(value(name), Some(expected), "{name}");
        }
    }
}

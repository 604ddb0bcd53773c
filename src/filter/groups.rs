//! Named groups of system calls, as data.
//!
//! Source of the names: systemd.exec(5), SystemCallFilter=, as printed by `systemd-analyze syscall-filter` of release
//! 252, with what releases up to 261 added to a group (`@sandbox`, extended attributes by descriptor, `mseal` and
//! others). Names that none of our architectures has are left out. Two deliberate differences:
//!
//! * `@system-service` is less [`LEFT_OUT`].
//! * `open_tree` stays in `@mount` alone, where release 252 had it: it opens the mount tree, not a file.

use super::calls;
use std::collections::BTreeSet;

struct Group {
    name: &'static str,
    about: &'static str,
    /// Calls and other groups.
    members: &'static [&'static str],
    /// Calls taken away again after the other groups were put in.
    less: &'static [&'static str],
}

/// What systemd's `@system-service` has and ours has not: doors to other processes' memory, to new namespaces, to
/// operations that a filter does not see, and to bug-rich corners. None of twelve stock daemons used one of them.
/// A unit that needs one adds it by name.
const LEFT_OUT: [&str; 10] = [
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "kcmp",
    "personality",
    "process_vm_readv",
    "process_vm_writev",
    "setns",
    "unshare",
    "userfaultfd",
];

/// Every call that any architecture has; computed, see [`group`].
const KNOWN: &str = "@known";

/// Resolves a group (`@file-system`) to the calls in it, sorted, with the groups that it contains.
/// `None`: there is no such group.
pub fn group(name: &str) -> Option<Vec<&'static str>> {
    if name == KNOWN {
        return Some(calls::all_call_names().collect());
    }
    let group = find(name)?;
    let mut calls = BTreeSet::new();
    for member in group.members {
        if member.starts_with('@') {
            calls.extend(self::group(member).expect("groups contain only groups that exist"));
        } else {
            calls.insert(*member);
        }
    }
    for call in group.less {
        calls.remove(call);
    }
    Some(calls.into_iter().collect())
}

/// One line on what a group is for.
pub fn group_about(name: &str) -> Option<&'static str> {
    if name == KNOWN {
        return Some("Every call that rsvc knows, on any architecture");
    }
    find(name).map(|group| group.about)
}

/// The names of all groups, with their `@`, sorted but for the last, `@known`.
pub fn group_names() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().map(|group| group.name).chain([KNOWN])
}

fn find(name: &str) -> Option<&'static Group> {
    GROUPS.iter().find(|group| group.name == name)
}

#[rustfmt::skip]
const GROUPS: &[Group] = &[
    Group {
        name: "@aio",
        about: "Asynchronous I/O, old and io_uring",
        members: &[
            "io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_pgetevents_time64", "io_setup",
            "io_submit", "io_uring_enter", "io_uring_register", "io_uring_setup",
        ],
        less: &[],
    },
    Group {
        name: "@basic-io",
        about: "Reading, writing, seeking and duplicating descriptors",
        members: &[
            "_llseek", "close", "close_range", "dup", "dup2", "dup3", "lseek", "pread64", "preadv", "preadv2",
            "pwrite64", "pwritev", "pwritev2", "read", "readv", "write", "writev",
        ],
        less: &[],
    },
    Group {
        name: "@chown",
        about: "Changing the owner of files",
        members: &["chown", "chown32", "fchown", "fchown32", "fchownat", "lchown", "lchown32"],
        less: &[],
    },
    Group {
        name: "@clock",
        about: "Setting the system clock",
        members: &[
            "adjtimex", "clock_adjtime", "clock_adjtime64", "clock_settime", "clock_settime64", "settimeofday",
        ],
        less: &[],
    },
    Group {
        name: "@cpu-emulation",
        about: "Emulating older processor modes",
        members: &["modify_ldt", "vm86", "vm86old"],
        less: &[],
    },
    Group {
        name: "@debug",
        about: "Tracing, profiling and looking into other processes",
        members: &["lookup_dcookie", "perf_event_open", "pidfd_getfd", "ptrace"],
        less: &[],
    },
    Group {
        name: "@default",
        about: "What every program needs to start, sleep, read the clock and exit",
        members: &[
            "@sandbox", "arch_prctl", "brk", "clock_getres", "clock_getres_time64", "clock_gettime",
            "clock_gettime64", "clock_nanosleep", "clock_nanosleep_time64", "execve", "exit", "exit_group", "futex",
            "futex_time64", "futex_waitv", "get_robust_list", "get_thread_area", "getegid", "getegid32", "geteuid",
            "geteuid32", "getgid", "getgid32", "getgroups", "getgroups32", "getpgid", "getpgrp", "getpid", "getppid",
            "getrandom", "getresgid", "getresgid32", "getresuid", "getresuid32", "getrlimit", "getsid", "gettid",
            "gettimeofday", "getuid", "getuid32", "lsm_get_self_attr", "lsm_list_modules", "membarrier", "mmap",
            "mmap2", "mprotect", "mseal", "munmap", "nanosleep", "pause", "prlimit64", "restart_syscall", "rseq",
            "rt_sigreturn", "sched_getaffinity", "sched_yield", "set_robust_list", "set_thread_area",
            "set_tid_address", "sigreturn", "time", "ugetrlimit", "uretprobe",
        ],
        less: &[],
    },
    Group {
        name: "@file-system",
        about: "Opening, creating, renaming, removing and describing files",
        members: &[
            "access", "chdir", "chmod", "close", "creat", "faccessat", "faccessat2", "fallocate", "fchdir", "fchmod",
            "fchmodat", "fchmodat2", "fcntl", "fcntl64", "fgetxattr", "file_getattr", "file_setattr", "flistxattr",
            "fremovexattr", "fsetxattr", "fstat", "fstat64", "fstatat64", "fstatfs", "fstatfs64", "ftruncate",
            "ftruncate64", "futimesat", "getcwd", "getdents", "getdents64", "getxattr", "getxattrat",
            "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch", "lgetxattr", "link", "linkat",
            "listmount", "listxattr", "listxattrat", "llistxattr", "lremovexattr", "lsetxattr", "lstat", "lstat64",
            "mkdir", "mkdirat", "mknod", "mknodat", "newfstatat", "oldfstat", "oldlstat", "oldstat", "open", "openat",
            "openat2", "readlink", "readlinkat", "removexattr", "removexattrat", "rename", "renameat", "renameat2",
            "rmdir", "setxattr", "setxattrat", "stat", "stat64", "statfs", "statfs64", "statmount", "statx",
            "symlink", "symlinkat", "truncate", "truncate64", "unlink", "unlinkat", "utime", "utimensat",
            "utimensat_time64", "utimes",
        ],
        less: &[],
    },
    Group {
        name: "@io-event",
        about: "Waiting for descriptors: poll, select, epoll, eventfd",
        members: &[
            "_newselect", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait",
            "epoll_pwait2", "epoll_wait", "epoll_wait_old", "eventfd", "eventfd2", "poll", "ppoll", "ppoll_time64",
            "pselect6", "pselect6_time64", "select",
        ],
        less: &[],
    },
    Group {
        name: "@ipc",
        about: "Pipes, System V IPC, POSIX message queues, memory of other processes",
        members: &[
            "ipc", "memfd_create", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive",
            "mq_timedreceive_time64", "mq_timedsend", "mq_timedsend_time64", "mq_unlink", "msgctl", "msgget",
            "msgrcv", "msgsnd", "pipe", "pipe2", "process_madvise", "process_vm_readv", "process_vm_writev", "semctl",
            "semget", "semop", "semtimedop", "semtimedop_time64", "shmat", "shmctl", "shmdt", "shmget",
        ],
        less: &[],
    },
    Group {
        name: "@keyring",
        about: "The kernel key ring",
        members: &["add_key", "keyctl", "request_key"],
        less: &[],
    },
    Group {
        name: "@memlock",
        about: "Locking memory against being swapped",
        members: &["mlock", "mlock2", "mlockall", "munlock", "munlockall"],
        less: &[],
    },
    Group {
        name: "@module",
        about: "Loading and unloading kernel modules",
        members: &["delete_module", "finit_module", "init_module"],
        less: &[],
    },
    Group {
        name: "@mount",
        about: "Mounting and changing the root directory",
        members: &[
            "chroot", "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount", "open_tree",
            "open_tree_attr", "pivot_root", "umount", "umount2",
        ],
        less: &[],
    },
    Group {
        name: "@network-io",
        about: "Sockets",
        members: &[
            "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recvfrom",
            "recvmmsg", "recvmmsg_time64", "recvmsg", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown",
            "socket", "socketcall", "socketpair",
        ],
        less: &[],
    },
    Group {
        name: "@obsolete",
        about: "Obsolete, unusual or never implemented",
        members: &[
            "_sysctl", "afs_syscall", "bdflush", "create_module", "ftime", "get_kernel_syms", "getpmsg", "gtty",
            "idle", "lock", "mpx", "prof", "profil", "putpmsg", "query_module", "security", "sgetmask", "ssetmask",
            "stime", "stty", "sysfs", "tuxcall", "ulimit", "uselib", "ustat", "vserver",
        ],
        less: &[],
    },
    Group {
        name: "@pkey",
        about: "Memory protection keys",
        members: &["pkey_alloc", "pkey_free", "pkey_mprotect"],
        less: &[],
    },
    Group {
        name: "@privileged",
        about: "What needs privileges beyond those of an ordinary user",
        members: &[
            "@chown", "@clock", "@module", "@raw-io", "@reboot", "@swap", "_sysctl", "acct", "bpf", "capset",
            "chroot", "fanotify_init", "fanotify_mark", "nfsservctl", "open_by_handle_at", "pivot_root", "quotactl",
            "quotactl_fd", "setdomainname", "setfsuid", "setfsuid32", "setgroups", "setgroups32", "sethostname",
            "setresuid", "setresuid32", "setreuid", "setreuid32", "setuid", "setuid32", "vhangup",
        ],
        less: &[],
    },
    Group {
        name: "@process",
        about: "Making, waiting for and signalling processes; namespaces",
        members: &[
            "capget", "clone", "clone3", "execveat", "fork", "getrusage", "kill", "pidfd_open", "pidfd_send_signal",
            "prctl", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "setns", "tgkill", "times", "tkill", "unshare", "vfork",
            "wait4", "waitid", "waitpid",
        ],
        less: &[],
    },
    Group {
        name: "@raw-io",
        about: "I/O ports",
        members: &["ioperm", "iopl"],
        less: &[],
    },
    Group {
        name: "@reboot",
        about: "Rebooting and loading another kernel",
        members: &["kexec_file_load", "kexec_load", "reboot"],
        less: &[],
    },
    Group {
        name: "@resources",
        about: "Scheduling, memory placement and resource limits",
        members: &[
            "ioprio_set", "mbind", "migrate_pages", "move_pages", "nice", "sched_setaffinity", "sched_setattr",
            "sched_setparam", "sched_setscheduler", "set_mempolicy", "set_mempolicy_home_node", "setpriority",
            "setrlimit",
        ],
        less: &[],
    },
    Group {
        name: "@sandbox",
        about: "Confining oneself further: seccomp and Landlock",
        members: &["landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "seccomp"],
        less: &[],
    },
    Group {
        name: "@setuid",
        about: "Changing one's own user and group ids",
        members: &[
            "setgid", "setgid32", "setgroups", "setgroups32", "setregid", "setregid32", "setresgid", "setresgid32",
            "setresuid", "setresuid32", "setreuid", "setreuid32", "setuid", "setuid32",
        ],
        less: &[],
    },
    Group {
        name: "@signal",
        about: "Handling signals",
        members: &[
            "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigsuspend", "rt_sigtimedwait",
            "rt_sigtimedwait_time64", "sigaction", "sigaltstack", "signal", "signalfd", "signalfd4", "sigpending",
            "sigprocmask", "sigsuspend",
        ],
        less: &[],
    },
    Group {
        name: "@swap",
        about: "Swap devices",
        members: &["swapoff", "swapon"],
        less: &[],
    },
    Group {
        name: "@sync",
        about: "Writing cached data to storage",
        members: &["fdatasync", "fsync", "msync", "sync", "sync_file_range", "syncfs"],
        less: &[],
    },
    Group {
        name: "@system-service",
        about: "What ordinary daemons use",
        members: &[
            "@aio", "@basic-io", "@chown", "@default", "@file-system", "@io-event", "@ipc", "@keyring", "@memlock",
            "@network-io", "@process", "@resources", "@setuid", "@signal", "@sync", "@timer", "capget", "capset",
            "copy_file_range", "fadvise64", "fadvise64_64", "flock", "get_mempolicy", "getcpu", "getpriority",
            "ioctl", "ioprio_get", "kcmp", "madvise", "mremap", "name_to_handle_at", "oldolduname", "olduname",
            "personality", "readahead", "readdir", "remap_file_pages", "sched_get_priority_max",
            "sched_get_priority_min", "sched_getattr", "sched_getparam", "sched_getscheduler",
            "sched_rr_get_interval", "sched_rr_get_interval_time64", "sched_yield", "sendfile", "sendfile64",
            "setfsgid", "setfsgid32", "setfsuid", "setfsuid32", "setpgid", "setsid", "splice", "sysinfo", "tee",
            "umask", "uname", "userfaultfd", "vmsplice",
        ],
        less: &LEFT_OUT,
    },
    Group {
        name: "@timer",
        about: "Timers and alarms",
        members: &[
            "alarm", "getitimer", "setitimer", "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime",
            "timer_gettime64", "timer_settime", "timer_settime64", "timerfd_create", "timerfd_gettime",
            "timerfd_gettime64", "timerfd_settime", "timerfd_settime64", "times",
        ],
        less: &[],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_is_a_known_call_or_a_group_written_once_and_in_order() {
        for group in GROUPS {
            assert!(group.members.is_sorted(), "{}", group.name);
            for member in group.members {
                assert!(calls::is_known_call(member) || find(member).is_some(), "{} in {}", member, group.name);
            }
            assert!(group.about.len() < 80 && !group.about.ends_with('.'), "{}", group.name);
        }
        assert!(GROUPS.is_sorted_by(|a, b| a.name < b.name));
    }

    #[test]
    fn system_service_lacks_what_the_secure_default_drops() {
        let calls = group("@system-service").unwrap();
        for call in LEFT_OUT {
            assert!(!calls.contains(&call), "{call}");
            assert!(is_in_some_other_group(call), "{call} would not be in it anyway");
        }
        for dangerous in ["bpf", "mount", "open_tree", "perf_event_open", "ptrace", "open_by_handle_at", "kexec_load"] {
            assert!(!calls.contains(&dangerous), "{dangerous}");
        }
        for needed in ["accept4", "clone3", "execve", "futex", "setgroups", "write", "landlock_restrict_self"] {
            assert!(calls.contains(&needed), "{needed}");
        }
    }

    fn is_in_some_other_group(call: &str) -> bool {
        let own = ["kcmp", "personality", "userfaultfd"]; // Singles of systemd's @system-service itself.
        own.contains(&call) || GROUPS.iter().any(|group| group.members.contains(&call))
    }

    #[test]
    fn there_are_systemds_thirty_names() {
        assert_eq!(group_names().count(), 30);
        assert!(group_names().all(|name| group(name).is_some_and(|calls| !calls.is_empty())));
        assert!(group_names().all(|name| group_about(name).is_some()));
        assert_eq!(group("@nonsense"), None);
    }
}

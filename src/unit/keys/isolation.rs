//! Keys about what the service sees and may do.

use super::{Key, Kind, Table};

pub(super) const ROOTFS: Table = Table::new(
    "rootfs",
    "The root file system. Without this table it is the host's.",
    &[
        Key::new(
            "type",
            Kind::Word {
                words: &["host", "directory", "overlay", "tmpfs", "squashfs", "erofs"],
                later: &["oci-layout"],
            },
            "`host`: the host's tree. `directory`: the tree at `path`. `overlay`: the directories of `lower` with `upper` \
             above them. `tmpfs`: empty, filled by [[mounts]]. `squashfs`, `erofs`: the file system in the file at `path`, which \
             has all directories that something is mounted on: /dev, /proc, /sys, /run, /tmp, /var/tmp. It needs root, and \
             a loop device but for erofs since Linux 6.12.",
        )
        .default("\"host\"")
        .systemd(&["RootDirectory", "RootImage"]),
        Key::new("path", Kind::Path, "For `directory`, `squashfs` and `erofs`: where the tree, or the file, lies on the host."),
        Key::new("lower", Kind::PlainPaths, "For `overlay`: directories of the host, the top one first.").default("[]"),
        Key::new(
            "upper",
            Kind::Upper,
            "For `overlay`: where writes go. `ephemeral` is memory and gone with the run, `persistent` is kept in the state \
             directory, a path is a directory of one's own that will hold `upper` and `work`.",
        )
        .default("\"ephemeral\""),
        Key::new("size", Kind::FiniteSize, "For `tmpfs` and an ephemeral upper layer: bytes of memory it may take.")
            .default("\"256M\""),
        Key::new("reference", Kind::Text, "Image in an OCI layout.").later(),
        Key::new(
            "readonly",
            Kind::Bool,
            "Own root file systems only: nothing is writable but the writable paths, directories and mounts. `false` lets \
             protect_system decide.",
        )
        .default("true"),
    ],
);

pub(super) const FILESYSTEM: Table = Table::new(
    "filesystem",
    "What of the tree can be seen and written. Paths are absolute; a leading `-` passes over what does not exist. The \
     longest path wins.",
    &[
        Key::new(
            "protect_system",
            Kind::Word { words: &["standard", "strict", "full", "off"], later: &[] },
            "`standard`: read-only but /run, /var and the private /tmp, and what there leads out of the sandbox is closed. \
             `strict`: nothing is writable but declared directories and paths. `full`: /usr, /boot, /efi and /etc are \
             read-only. `off`: nothing is.",
        )
        .default("\"standard\"")
        .systemd(&["ProtectSystem"]),
        Key::new("read_write_paths", Kind::Paths, "Writable all the same.").default("[]").systemd(&["ReadWritePaths"]),
        Key::new("read_only_paths", Kind::Paths, "Read-only all the same.").default("[]").systemd(&["ReadOnlyPaths"]),
        Key::new("inaccessible_paths", Kind::Paths, "Neither readable nor listable.")
            .default("[]")
            .systemd(&["InaccessiblePaths"]),
        Key::new("temporary_paths", Kind::Paths, "Replaced by an empty tmpfs.")
            .default("[]")
            .systemd(&["TemporaryFileSystem"]),
        Key::new("exec_paths", Kind::Paths, "Programs may be executed here, inside `no_exec_paths`.")
            .default("[]")
            .systemd(&["ExecPaths"]),
        Key::new(
            "no_exec_paths",
            Kind::Paths,
            "No program may be executed from here. The profile `strict` lists `/`, with /usr, /bin, /sbin and /lib* as \
             exec_paths.",
        )
        .default("[]")
        .systemd(&["NoExecPaths"]),
        Key::new(
            "protect_home",
            Kind::Word { words: &["hidden", "read-only", "off"], later: &[] },
            "/home, /root and /run/user are empty, read-only, or as on the host.",
        )
        .default("\"hidden\"")
        .systemd(&["ProtectHome"]),
        Key::new("private_tmp", Kind::Bool, "An own /tmp and /var/tmp, gone with the run.")
            .default("true")
            .systemd(&["PrivateTmp"]),
        Key::new(
            "protect_proc",
            Kind::Word { words: &["invisible", "ptraceable", "off"], later: &[] },
            "Which processes of other users /proc shows. Root and group 0 see all of the unit's pid namespace.",
        )
        .default("\"invisible\"")
        .systemd(&["ProtectProc"]),
        Key::new(
            "proc_subset",
            Kind::Word { words: &["all", "pid"], later: &[] },
            "`pid` leaves only processes in /proc: no meminfo, cpuinfo, loadavg or sys, which some programs read.",
        )
        .default("\"all\"")
        .systemd(&["ProcSubset"]),
    ],
);

pub(super) const MOUNTS: Table = Table::new(
    "mounts",
    "Further mounts, in order, in the words of the OCI runtime specification.",
    &[
        Key::new("destination", Kind::Path, "Where, as the service sees it. Nothing may be mounted on / or in /proc.")
            .note("required"),
        Key::new(
            "type",
            Kind::Word {
                words: &["bind", "tmpfs", "proc", "mqueue", "sysfs", "overlay"],
                later: &["devpts", "cgroup", "cgroup2", "ramfs"],
            },
            "`bind` is a path of the host; the others are file systems of the unit's own.",
        )
        .default("\"bind\""),
        Key::new("source", Kind::Path, "For `bind`: path on the host, symbolic links followed. /dev/log is the unit's own, unless `syslog_socket` is off.")
            .systemd(&["BindPaths", "BindReadOnlyPaths"]),
        Key::new(
            "options",
            Kind::Texts,
            "`ro`, `rw`, `nosuid`, `suid`, `nodev`, `dev`, `noexec`, `exec`, `noatime`, `bind` (this directory only), \
             `rbind` (with all below, the default), `optional` (nothing to mount is no failure); for tmpfs `size=`, \
             `mode=`, `nr_inodes=`, `uid=`, `gid=`; for overlay `lowerdir=A:B`, and `upperdir=DIR/upper` with \
             `workdir=DIR/work`. nosuid and nodev hold unless `suid` and `dev` are given.",
        )
        .default("[]"),
    ],
)
.array();

pub(super) const DIRECTORIES: Table = Table::new(
    "directories",
    "Directories that are made for the service, belong to it and are writable. Names are relative; the path of the first \
     is in RUNTIME_DIRECTORY, STATE_DIRECTORY and so on, several are separated by colons.",
    &[
        Key::new("runtime", Kind::DirectoryNames, "Below /run.").default("[]").systemd(&["RuntimeDirectory"]),
        Key::new("state", Kind::DirectoryNames, "Below /var/lib.").default("[]").systemd(&["StateDirectory"]),
        Key::new("cache", Kind::DirectoryNames, "Below /var/cache.").default("[]").systemd(&["CacheDirectory"]),
        Key::new("logs", Kind::DirectoryNames, "Below /var/log.").default("[]").systemd(&["LogsDirectory"]),
        Key::new("configuration", Kind::DirectoryNames, "Below /etc.")
            .default("[]")
            .systemd(&["ConfigurationDirectory"]),
        Key::new("runtime_mode", Kind::Mode, "Mode of `runtime`.")
            .default("\"0755\"")
            .systemd(&["RuntimeDirectoryMode"]),
        Key::new("state_mode", Kind::Mode, "Mode of `state`.").default("\"0755\"").systemd(&["StateDirectoryMode"]),
        Key::new("cache_mode", Kind::Mode, "Mode of `cache`.").default("\"0755\"").systemd(&["CacheDirectoryMode"]),
        Key::new("logs_mode", Kind::Mode, "Mode of `logs`.").default("\"0755\"").systemd(&["LogsDirectoryMode"]),
        Key::new("configuration_mode", Kind::Mode, "Mode of `configuration`.")
            .default("\"0755\"")
            .systemd(&["ConfigurationDirectoryMode"]),
        Key::new(
            "runtime_preserve",
            Kind::Word { words: &["no", "restart", "yes"], later: &[] },
            "When `runtime` is removed: after each run, only at a stop, or never.",
        )
        .default("\"no\"")
        .systemd(&["RuntimeDirectoryPreserve"]),
    ],
);

pub(super) const DEVICES: Table = Table::new(
    "devices",
    "Devices. A host without a device controller still has the private /dev, and status says `degraded`; a policy that is \
     written, and a list that is all of one (`auto`), is refused there.",
    &[
        Key::new(
            "policy",
            Kind::Word { words: &["closed", "strict", "auto"], later: &[] },
            "`closed`: null, zero, full, random, urandom, tty, ptys and what `allow` lists. `strict`: only what `allow` \
             lists. `auto`: everything, unless `allow` lists something.",
        )
        .default("\"closed\"")
        .systemd(&["DevicePolicy"]),
        Key::new("private", Kind::Bool, "An own /dev with the standard nodes, /dev/log, and what `allow` lists by path.")
            .default("true")
            .systemd(&["PrivateDevices"]),
        Key::new(
            "allow",
            Kind::Devices,
            "Tables with `path` of a node in /dev, or `type` (\"char\" or \"block\"), `major` and `minor` (a number or \
             \"*\"); and `access`, some of \"rwm\", \"rw\" unless given.",
        )
        .default("[]")
        .systemd(&["DeviceAllow"]),
    ],
);

pub(super) const NAMESPACES: Table = Table::new(
    "namespaces",
    "Which namespaces the service has of its own: `private`, `host`, or an existing one by file (`path:/run/netns/x`). \
     `pid`, `ipc` and `uts` can be those of another unit (`unit:app`): see PODS.",
    &[
        Key::new("mount", Kind::Namespace, "Base of all file rules; `host` switches them off.")
            .default("\"private\"")
            .systemd(&["PrivateMounts"]),
        Key::new("pid", Kind::Namespace, "Processes. Pid files and MAINPID hold the inner numbers. In that of another unit the units see each other's processes, \
             and what is left of this one's becomes a child of that one's pid 1.")
            .default("\"private\"")
            .systemd(&["PrivatePIDs"]),
        Key::new("ipc", Kind::Namespace, "System V IPC and POSIX message queues.")
            .default("\"private\"")
            .systemd(&["PrivateIPC", "IPCNamespacePath"]),
        Key::new("uts", Kind::Namespace, "Host name.").default("\"private\"").systemd(&["PrivateUTS"]),
        Key::new("cgroup", Kind::Namespace, "View of the control groups.").default("\"private\""),
        Key::new("time", Kind::Namespace, "Monotonic and boot clocks.").default("\"host\""),
        Key::new(
            "user",
            Kind::UserNamespace,
            "`host`: none of its own. `identity`: an own one in which every id means itself; low ports of the host's \
             network cannot be bound then. `auto`: an own one whose ids 0 to 65535 are a range of the host's that no other \
             unit has, while files keep the numbers that they have on the disk (see USER NAMESPACES). `mapped`: as \
             `uid_mappings` and `gid_mappings` say, which imply it. An ordinary user's units always have one, with the own id alone, \
             or with those of subuid(5) as well (see there).",
        )
        .default("\"host\"")
        .systemd(&["PrivateUsers", "UserNamespacePath"]),
        Key::new("hostname", Kind::Hostname, "Host name in the private uts namespace.")
            .note("the host's")
            .systemd(&["ProtectHostname"]),
        Key::new(
            "uid_mappings",
            Kind::Mappings,
            "Tables of `container_id`, `host_id`, `size`: 1 to 5, without overlap, with container id 0 among them. Given \
             together with gid_mappings.",
        )
        .default("[]"),
        Key::new("gid_mappings", Kind::Mappings, "The same for groups.").default("[]"),
        Key::new(
            "init",
            Kind::Bool,
            "Keep a tiny init as pid 1 that reaps, forwards signals and records the exit. Without it the service itself is \
             pid 1, which many programs do not expect.",
        )
        .default("true"),
    ],
);

pub(super) const NETWORK: Table = Table::new(
    "network",
    "The network.",
    &[
        Key::new(
            "mode",
            Kind::Network,
            "`host`: the host's. `loopback`: an own one with only `lo`, for what talks through UNIX sockets. `path:FILE`: \
             an existing one, such as \"path:/run/netns/blue\". `unit:NAME`: that of another unit, whose 127.0.0.1 is this one's \
             as well; see PODS.",
        )
        .default("\"host\"")
        .systemd(&["PrivateNetwork", "NetworkNamespacePath", "JoinsNamespaceOf"]),
        Key::new(
            "address_families",
            Kind::Families,
            "Which sockets may be made; names of address_families(7). [\"all\"] is no restriction, [] is none at all. \
             glibc asks for addresses through AF_NETLINK.",
        )
        .default("[\"AF_UNIX\", \"AF_INET\", \"AF_INET6\", \"AF_NETLINK\"]")
        .systemd(&["RestrictAddressFamilies"]),
        Key::new(
            "bind_allow",
            Kind::Ports,
            "Ports that may be bound: \"tcp:80\", \"tcp:8000-8100\", \"udp:53\", and \"tcp:0\" or \"udp:0\" for one that the kernel \
             chooses; at most 1024. [\"all\"] is no restriction. Of TCP what a list does not name is closed, [] is none at all; \
             of UDP it is as soon as the list names a port of UDP, and \"udp:0\" alone leaves none of one's choice. Who \
             listens (TCP) or sends (UDP) without binding gets a port of the kernel's all the same. TCP needs Landlock 4 (Linux \
             6.7) and answers EACCES; Multipath TCP and io_uring, which get around it, are denied then. UDP needs what \
             `ip_deny` needs and answers EPERM; sockets count that the service makes.",
        )
        .default("[\"all\"]")
        .systemd(&["SocketBindAllow", "SocketBindDeny"]),
        Key::new(
            "connect_allow",
            Kind::Ports,
            "TCP ports, of any host, that may be connected to; written and judged in the same way. Names are mostly looked \
             up by UDP, which cannot be listed here. Fast Open by sendto(2) is denied then, too.",
        )
        .default("[\"all\"]"),
        Key::new(
            "abstract_sockets",
            Kind::Bool,
            "Abstract Unix sockets of others can be reached, too, and not only those that the service made itself. Unless \
             given, it is so where the network is that of another unit, or one by path. Needs Landlock 6 (Linux 6.12).",
        )
        .default("false"),
        Key::new("ip_allow", Kind::Peers, "Peers that may be talked to although `ip_deny` names them.")
            .default("[]")
            .systemd(&["IPAddressAllow"]),
        Key::new(
            "ip_deny",
            Kind::Peers,
            "Peers whose packets are dropped in both directions: \"192.0.2.1\", \"10.0.0.0/8\", \"2001:db8::/32\", \"any\", \
             \"localhost\", \"link-local\", \"multicast\"; at most 256 with those of `ip_allow`. A connect(2) to one gets no \
             answer. Sockets that the service makes are judged, in any network, wherever they go, by the lists \
             of their run also when they are stored; not [[sockets]] of the internet, with which it is refused. Needs a cgroup v2 tree (hybrid will do), CAP_BPF and CAP_NET_ADMIN.",
        )
        .default("[]")
        .systemd(&["IPAddressDeny"]),
        Key::new("veth", Kind::Later("table"), "A virtual cable to a bridge of the host.").later(),
        Key::new("ports", Kind::Texts, "Ports of the host that lead to the service.").later(),
    ],
);

pub(super) const CAPABILITIES: Table = Table::new(
    "capabilities",
    "Capabilities of capabilities(7), with or without `CAP_`. Lists name what the service keeps; \"all\" is every one.",
    &[
        Key::new(
            "bounding",
            Kind::Capabilities,
            "What the service can have at most; root has all of it. Unless given: none with another user and in the \
             profile `strict`, else CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, NET_BIND_SERVICE, SETGID, SETPCAP, SETUID \
             and SYS_CHROOT. What the daemon itself lacks cannot be had.",
        )
        .note("ten for root, none otherwise")
        .systemd(&["CapabilityBoundingSet"]),
        Key::new("ambient", Kind::Capabilities, "What a service of another user has; added to `bounding`.")
            .default("[]")
            .systemd(&["AmbientCapabilities"]),
    ],
);

pub(super) const SYSCALLS: Table = Table::new(
    "syscalls",
    "The system-call filter: names of syscalls(2), and groups with `@` under systemd's names.",
    &[
        Key::new(
            "mode",
            Kind::Word { words: &["enforce", "log", "off"], later: &[] },
            "`log` allows what the filter would deny and lets the kernel log it. The kernel drops most of many lines. The profiles \
             `login` and `host` have it `off`: a unit of these that has lists is refused until it says what is to be done with them.",
        )
        .default("\"enforce\""),
        Key::new("allow", Kind::Syscalls, "What may be called, some of it only with certain arguments (SYSTEM CALLS); everything else answers `errno`.")
            .default("[\"@system-service\", \"@sandbox\", \"chroot\"]")
            .systemd(&["SystemCallFilter"]),
        Key::new("deny", Kind::Syscalls, "What is taken away from `allow` again, some of it only with certain arguments.")
            .default("[]"),
        Key::new("errno", Kind::Errno, "Answer to a call that is known and not allowed.")
            .default("\"EPERM\"")
            .systemd(&["SystemCallErrorNumber"]),
        Key::new(
            "unknown_errno",
            Kind::Errno,
            "Answer to a call that this version has no name for. ENOSYS lets libraries fall back.",
        )
        .default("\"ENOSYS\""),
        Key::new(
            "on_deny",
            Kind::Word { words: &["errno", "kill-process", "notify-errno"], later: &[] },
            "Whether a denied call gets an answer or ends the service with SIGSYS. `notify-errno`: it gets the same answer, and \
             is remembered; status shows what was denied, how often, and what would allow it.",
        )
        .default("\"errno\""),
        Key::new("log", Kind::Syscalls, "Calls that are allowed and logged by the kernel.")
            .default("[]")
            .systemd(&["SystemCallLog"]),
        Key::new(
            "architectures",
            Kind::Architectures,
            "`native`, and on x86_64 also `x86` and `x32`. Calls through other ABIs answer ENOSYS.",
        )
        .default("[\"native\"]")
        .systemd(&["SystemCallArchitectures"]),
    ],
);

pub(super) const SECURITY: Table = Table::new(
    "security",
    "The profile, and single protections.",
    &[
        Key::new(
            "profile",
            Kind::Word { words: &["standard", "strict", "login", "host"], later: &[] },
            "Values of all keys that the unit does not set. `standard`: most daemons run unchanged. `strict`: nothing \
             writable but what is declared, no capabilities, no privileged calls, needs a `user`. `login`: accounting and \
             restarts only, for sshd and cron. `host`: only control group and log.",
        )
        .default("\"standard\""),
        Key::new(
            "optional",
            Kind::Keys,
            "Dotted keys, or tables, that may be missing on a host: then the service starts all the same, and status says \
             `degraded`.",
        )
        .default("[]"),
        Key::new("control_socket", Kind::Bool, "The service may talk to rsvc.").default("false"),
        Key::new("no_new_privileges", Kind::Bool, "Set-uid programs and file capabilities have no effect.")
            .default("true")
            .systemd(&["NoNewPrivileges"]),
        Key::new("lock_personality", Kind::Bool, "personality(2) is denied.").default("true").systemd(&["LockPersonality"]),
        Key::new("restrict_realtime", Kind::Bool, "Real-time scheduling is denied.")
            .default("true")
            .systemd(&["RestrictRealtime"]),
        Key::new("restrict_suid_sgid", Kind::Bool, "Files cannot be made set-uid or set-gid.")
            .default("true")
            .systemd(&["RestrictSUIDSGID"]),
        Key::new(
            "restrict_namespaces",
            Kind::NamespaceKinds,
            "Namespaces cannot be made or joined; a list names kinds that can: user, mnt, pid, net, ipc, uts, cgroup, time.",
        )
        .default("true")
        .systemd(&["RestrictNamespaces"]),
        Key::new(
            "restrict_signals",
            Kind::Bool,
            "Signals reach the service's own processes only, whatever its user and its pid namespace. Unless given, it is \
             not so where the pid namespace is shared with another unit. Needs Landlock 6 (Linux 6.12).",
        )
        .default("true"),
        Key::new(
            "landlock",
            Kind::Bool,
            "A second wall behind the mounts: where the tree is read-only, the service is bound to write only where something \
             is writable, and to execute only in exec_paths where no_exec_paths has `/`. See LANDLOCK. `false` switches \
             restrict_signals and abstract_sockets off as well, unless they are written. A kernel that can do less: `degraded`.",
        )
        .default("true"),
        Key::new(
            "memory_deny_write_execute",
            Kind::Bool,
            "No memory is writable and executable. Breaks just-in-time compilers (node, java, LuaJIT). Needs Linux 6.3: a unit that \
             sets it is refused before, and with the profile `strict` status says `degraded`.",
        )
        .default("false")
        .systemd(&["MemoryDenyWriteExecute"]),
        Key::new("protect_kernel_tunables", Kind::Bool, "/proc/sys, /sys and their kin are read-only.")
            .default("true")
            .systemd(&["ProtectKernelTunables"]),
        Key::new("protect_kernel_modules", Kind::Bool, "Modules can be neither loaded nor seen.")
            .default("true")
            .systemd(&["ProtectKernelModules"]),
        Key::new("protect_kernel_logs", Kind::Bool, "The kernel's log is out of reach.")
            .default("true")
            .systemd(&["ProtectKernelLogs"]),
        Key::new("protect_clock", Kind::Bool, "The clock cannot be set.").default("true").systemd(&["ProtectClock"]),
        Key::new("protect_hostname", Kind::Bool, "The host name cannot be changed.").default("true"),
        Key::new("protect_control_groups", Kind::Bool, "/sys/fs/cgroup is read-only.")
            .default("true")
            .systemd(&["ProtectControlGroups"]),
        Key::new(
            "keyring",
            Kind::Word { words: &["private", "inherit"], later: &[] },
            "A session keyring of its own, or the daemon's.",
        )
        .default("\"private\"")
        .systemd(&["KeyringMode"]),
        Key::new(
            "remove_ipc",
            Kind::Bool,
            "Nothing of System V IPC, message queues and shared memory stays behind at a stop. So it is anyway with an ipc \
             namespace and a /dev of the unit's own; without them `true` is refused.",
        )
        .default("false")
        .systemd(&["RemoveIPC"]),
        Key::new(
            "apparmor_profile",
            Kind::ProcessLabel,
            "AppArmor profile under which the unit's commands run; it must be loaded already. Refused where AppArmor is not at \
             work.",
        )
        .systemd(&["AppArmorProfile"]),
        Key::new(
            "selinux_context",
            Kind::ProcessLabel,
            "SELinux context in which the unit's commands run, such as \"system_u:system_r:httpd_t:s0\". Refused where SELinux \
             is not at work.",
        )
        .systemd(&["SELinuxContext"]),
    ],
);

//! The 81 checks of `systemd-analyze security` as data: name, weight, range, and how the answer is found.
//!
//! Source: systemd 252 to 261, `src/analyze/analyze-security.c` describes them, systemd-analyze(1) the method; the table
//! has not changed between these releases. The words for what is open are our own.

use super::Posture;

/// One check.
pub(super) struct Check {
    /// systemd's name of it.
    pub name: &'static str,
    pub weight: u32,
    /// The badness that is as bad as can be.
    pub range: u32,
    pub rule: Rule,
    /// What is open when it is not passed.
    pub what: &'static str,
}

/// How the badness of a check is found.
pub(super) enum Rule {
    User,
    SupplementaryGroups,
    ProtectHome,
    ProtectSystem,
    /// Passed when it holds. What to write otherwise; `true`: that needs a mount namespace of the unit's own.
    Holds(fn(&Posture<'_>) -> bool, &'static [(&'static str, &'static str)], bool),
    /// Passed when the bounding set has none of them; `*` ends a name that begins so.
    Capabilities(&'static [&'static str]),
    Umask,
    ProtectProc,
    ProcSubset,
    RemoveIpc,
    PrivateDevices,
    PrivateUsers,
    /// Passed when namespaces of this kind cannot be made.
    Namespaces(&'static str),
    /// Passed when no socket of these families can be made.
    Families(fn(&str) -> bool),
    Architectures,
    /// Passed when the filter lets no call of the group through.
    Calls(&'static str),
    Peers,
    DeviceAllow,
    AmbientCapabilities,
}

use Rule::{Calls, Capabilities, Families, Holds, Namespaces};

#[rustfmt::skip]
pub(super) const CHECKS: [Check; 81] = [
    check("User=/DynamicUser=", 2000, 10, Rule::User, "runs as root, or as an account that others share"),
    check("SupplementaryGroups=", 200, 1, Rule::SupplementaryGroups, "is a member of more groups"),
    check("PrivateDevices=", 1000, 1, Rule::PrivateDevices, "the host's devices can be reached"),
    check("PrivateMounts=", 1000, 1, Holds(|p| p.mounts, &[], true), "mounts are the host's"),
    check("PrivateNetwork=", 2500, 1, Holds(|p| p.private_network(), &[("network.mode", "\"loopback\"")], false), "the network is not its own"),
    check("PrivateTmp=", 1000, 1, Holds(|p| p.private_tmp(), &[("filesystem.private_tmp", "true")], true), "/tmp is shared"),
    check("PrivateUsers=", 1000, 1, Rule::PrivateUsers, "users are the host's"),
    check("ProtectControlGroups=", 1000, 1, Holds(|p| p.protect_control_groups(), &[("security.protect_control_groups", "true"), ("resources.delegate", "false")], true), "control groups can be written"),
    check("ProtectKernelModules=", 1000, 1, Holds(|p| p.unit.security.protect_kernel_modules, &[("security.protect_kernel_modules", "true")], false), "modules can be loaded or seen"),
    check("ProtectKernelTunables=", 1000, 1, Holds(|p| p.protect_kernel_tunables(), &[("security.protect_kernel_tunables", "true")], true), "/proc/sys and /sys can be written"),
    check("ProtectKernelLogs=", 1000, 1, Holds(|p| p.protect_kernel_logs(), &[("security.protect_kernel_logs", "true")], true), "the kernel's log can be reached"),
    check("ProtectClock=", 1000, 1, Holds(|p| p.unit.security.protect_clock, &[("security.protect_clock", "true")], false), "the clock can be set"),
    check("ProtectHome=", 1000, 10, Rule::ProtectHome, "home directories can be seen"),
    check("ProtectHostname=", 50, 1, Holds(|p| p.protect_hostname(), &[("security.protect_hostname", "true"), ("namespaces.uts", "\"private\"")], false), "the host name can be changed"),
    check("ProtectSystem=", 1000, 10, Rule::ProtectSystem, "the system's files can be written"),
    check("RootDirectory=/RootImage=", 200, 1, Holds(|p| p.own_root, &[("rootfs.type", "\"directory\""), ("rootfs.path", "\"/srv/root\"")], true), "the root file system is the host's"),
    check("LockPersonality=", 100, 1, Holds(|p| p.unit.security.lock_personality, &[("security.lock_personality", "true")], false), "the ABI personality can be changed"),
    check("MemoryDenyWriteExecute=", 100, 1, Holds(|p| p.unit.security.memory_deny_write_execute, &[("security.memory_deny_write_execute", "true")], false), "memory can be writable and executable"),
    check("NoNewPrivileges=", 1000, 1, Holds(|p| p.unit.security.no_new_privileges, &[("security.no_new_privileges", "true")], false), "set-id programs give rights"),
    check("CapabilityBoundingSet=~CAP_SYS_ADMIN", 1500, 1, Capabilities(&["SYS_ADMIN"]), "may administer the system"),
    check("CapabilityBoundingSet=~CAP_SET(UID|GID|PCAP)", 1500, 1, Capabilities(&["SETUID", "SETGID", "SETPCAP"]), "may become other users"),
    check("CapabilityBoundingSet=~CAP_SYS_PTRACE", 1500, 1, Capabilities(&["SYS_PTRACE"]), "may trace any process"),
    check("CapabilityBoundingSet=~CAP_SYS_TIME", 1000, 1, Capabilities(&["SYS_TIME"]), "may set the clock"),
    check("CapabilityBoundingSet=~CAP_NET_ADMIN", 1000, 1, Capabilities(&["NET_ADMIN"]), "may configure the network"),
    check("CapabilityBoundingSet=~CAP_SYS_RAWIO", 1000, 1, Capabilities(&["SYS_RAWIO"]), "may reach hardware"),
    check("CapabilityBoundingSet=~CAP_SYS_MODULE", 1000, 1, Capabilities(&["SYS_MODULE"]), "may load modules"),
    check("CapabilityBoundingSet=~CAP_AUDIT_*", 500, 1, Capabilities(&["AUDIT_*"]), "may use the audit system"),
    check("CapabilityBoundingSet=~CAP_SYSLOG", 500, 1, Capabilities(&["SYSLOG"]), "may read the kernel's log"),
    check("CapabilityBoundingSet=~CAP_SYS_(NICE|RESOURCE)", 500, 1, Capabilities(&["SYS_NICE", "SYS_RESOURCE"]), "may go past limits and priorities"),
    check("CapabilityBoundingSet=~CAP_MKNOD", 500, 1, Capabilities(&["MKNOD"]), "may make device nodes"),
    check("CapabilityBoundingSet=~CAP_(CHOWN|FSETID|SETFCAP)", 1000, 1, Capabilities(&["CHOWN", "FSETID", "SETFCAP"]), "may change owners and rights of files"),
    check("CapabilityBoundingSet=~CAP_(DAC_*|FOWNER|IPC_OWNER)", 1000, 1, Capabilities(&["DAC_*", "FOWNER", "IPC_OWNER"]), "may pass over permissions"),
    check("CapabilityBoundingSet=~CAP_KILL", 500, 1, Capabilities(&["KILL"]), "may signal any process it sees"),
    check("CapabilityBoundingSet=~CAP_NET_(BIND_SERVICE|BROADCAST|RAW)", 500, 1, Capabilities(&["NET_BIND_SERVICE", "NET_BROADCAST", "NET_RAW"]), "may bind low ports or send raw packets"),
    check("CapabilityBoundingSet=~CAP_SYS_BOOT", 100, 1, Capabilities(&["SYS_BOOT"]), "may reboot"),
    check("CapabilityBoundingSet=~CAP_MAC_*", 100, 1, Capabilities(&["MAC_*"]), "may change mandatory access control"),
    check("CapabilityBoundingSet=~CAP_LINUX_IMMUTABLE", 75, 1, Capabilities(&["LINUX_IMMUTABLE"]), "may make files immutable"),
    check("CapabilityBoundingSet=~CAP_IPC_LOCK", 50, 1, Capabilities(&["IPC_LOCK"]), "may lock memory"),
    check("CapabilityBoundingSet=~CAP_SYS_CHROOT", 50, 1, Capabilities(&["SYS_CHROOT"]), "may call chroot"),
    check("CapabilityBoundingSet=~CAP_BLOCK_SUSPEND", 25, 1, Capabilities(&["BLOCK_SUSPEND"]), "may block suspend"),
    check("CapabilityBoundingSet=~CAP_WAKE_ALARM", 25, 1, Capabilities(&["WAKE_ALARM"]), "may wake the machine"),
    check("CapabilityBoundingSet=~CAP_LEASE", 25, 1, Capabilities(&["LEASE"]), "may take leases of files"),
    check("CapabilityBoundingSet=~CAP_SYS_TTY_CONFIG", 25, 1, Capabilities(&["SYS_TTY_CONFIG"]), "may configure terminals"),
    check("CapabilityBoundingSet=~CAP_SYS_PACCT", 25, 1, Capabilities(&["SYS_PACCT"]), "may switch process accounting"),
    check("CapabilityBoundingSet=~CAP_BPF", 25, 1, Capabilities(&["BPF"]), "may load BPF programs"),
    check("UMask=", 100, 10, Rule::Umask, "its files can be read by others"),
    check("KeyringMode=", 1000, 1, Holds(|p| p.unit.security.private_keyring, &[("security.keyring", "\"private\"")], false), "the session keyring is shared"),
    check("ProtectProc=", 1000, 3, Rule::ProtectProc, "/proc shows processes of other users"),
    check("ProcSubset=", 10, 1, Rule::ProcSubset, "/proc shows more than processes"),
    check("NotifyAccess=", 1000, 1, Holds(|p| p.hears_main_only(), &[("service.notify_access", "\"main\"")], false), "every process of it speaks for it"),
    check("RemoveIPC=", 100, 1, Rule::RemoveIpc, "leaves IPC objects behind"),
    check("Delegate=", 100, 1, Holds(|p| !p.unit.resources.delegate, &[("resources.delegate", "false")], false), "manages control groups of its own"),
    check("RestrictRealtime=", 500, 1, Holds(|p| p.unit.security.restrict_realtime, &[("security.restrict_realtime", "true")], false), "may take real-time priority"),
    check("RestrictSUIDSGID=", 1000, 1, Holds(|p| p.unit.security.restrict_suid_sgid, &[("security.restrict_suid_sgid", "true")], false), "may make set-id files"),
    check("RestrictNamespaces=~user", 1500, 1, Namespaces("user"), "may make user namespaces"),
    check("RestrictNamespaces=~mnt", 500, 1, Namespaces("mnt"), "may make mount namespaces"),
    check("RestrictNamespaces=~ipc", 500, 1, Namespaces("ipc"), "may make ipc namespaces"),
    check("RestrictNamespaces=~pid", 500, 1, Namespaces("pid"), "may make pid namespaces"),
    check("RestrictNamespaces=~cgroup", 500, 1, Namespaces("cgroup"), "may make cgroup namespaces"),
    check("RestrictNamespaces=~net", 500, 1, Namespaces("net"), "may make network namespaces"),
    check("RestrictNamespaces=~uts", 100, 1, Namespaces("uts"), "may make uts namespaces"),
    check("RestrictAddressFamilies=~AF_(INET|INET6)", 1500, 1, Families(is_internet), "may use internet sockets"),
    check("RestrictAddressFamilies=~AF_UNIX", 25, 1, Families(|name| name == "AF_UNIX"), "may use UNIX sockets"),
    check("RestrictAddressFamilies=~AF_NETLINK", 200, 1, Families(|name| name == "AF_NETLINK"), "may use netlink sockets"),
    check("RestrictAddressFamilies=~AF_PACKET", 1000, 1, Families(|name| name == "AF_PACKET"), "may use packet sockets"),
    check("RestrictAddressFamilies=~…", 1250, 1, Families(is_exotic), "may use exotic sockets"),
    check("SystemCallArchitectures=", 1000, 10, Rule::Architectures, "calls come in by other ABIs"),
    check("SystemCallFilter=~@swap", 1000, 10, Calls("@swap"), "calls of @swap are let through"),
    check("SystemCallFilter=~@obsolete", 250, 10, Calls("@obsolete"), "calls of @obsolete are let through"),
    check("SystemCallFilter=~@clock", 1000, 10, Calls("@clock"), "calls of @clock are let through"),
    check("SystemCallFilter=~@cpu-emulation", 250, 10, Calls("@cpu-emulation"), "calls of @cpu-emulation are let through"),
    check("SystemCallFilter=~@debug", 1000, 10, Calls("@debug"), "calls of @debug are let through"),
    check("SystemCallFilter=~@mount", 1000, 10, Calls("@mount"), "calls of @mount are let through"),
    check("SystemCallFilter=~@module", 1000, 10, Calls("@module"), "calls of @module are let through"),
    check("SystemCallFilter=~@raw-io", 1000, 10, Calls("@raw-io"), "calls of @raw-io are let through"),
    check("SystemCallFilter=~@reboot", 1000, 10, Calls("@reboot"), "calls of @reboot are let through"),
    check("SystemCallFilter=~@privileged", 700, 10, Calls("@privileged"), "calls of @privileged are let through"),
    check("SystemCallFilter=~@resources", 700, 10, Calls("@resources"), "calls of @resources are let through"),
    check("IPAddressDeny=", 1000, 10, Rule::Peers, "talks to any address"),
    check("DeviceAllow=", 1000, 10, Rule::DeviceAllow, "devices besides the standard ones are allowed"),
    check("AmbientCapabilities=", 500, 1, Rule::AmbientCapabilities, "its programs start with capabilities"),
];

const fn check(name: &'static str, weight: u32, range: u32, rule: Rule, what: &'static str) -> Check {
    Check { name, weight, range, rule, what }
}

pub(super) fn is_internet(name: &str) -> bool {
    name == "AF_INET" || name == "AF_INET6"
}

/// A family that no other check names.
pub(super) fn is_exotic(name: &str) -> bool {
    !is_internet(name) && !["AF_UNIX", "AF_NETLINK", "AF_PACKET"].contains(&name)
}

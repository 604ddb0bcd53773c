//! What is asked for, and what is taken away: a row for each isolation key, more where a key has several mechanisms.

use crate::missing::{self as m, Missing};

/// A key, the unit that asks for it, and what it cannot have.
pub struct Row {
    /// Dotted.
    pub key: &'static str,
    /// Lines of the unit. All else is the profile `host`, so that nothing but this needs what is missing.
    pub asks: &'static str,
    /// `namespaces.mount = "private"` besides.
    pub own_mounts: bool,
    /// Not every host has it when nothing is taken away: then it is refused at once.
    pub is_rare: bool,
    /// Key that the message names, where this one is a part of what another asks for.
    pub named: Option<&'static str>,
    pub missing: &'static Missing,
}

const fn row(key: &'static str, asks: &'static str, missing: &'static Missing) -> Row {
    Row { key, asks, own_mounts: false, is_rare: false, named: None, missing }
}

/// With a mount namespace, in which most keys about files have their effect.
const fn mounted(key: &'static str, asks: &'static str, missing: &'static Missing) -> Row {
    Row { own_mounts: true, ..row(key, asks, missing) }
}

/// Of what not every host has.
const fn rare(key: &'static str, asks: &'static str, missing: &'static Missing) -> Row {
    Row { is_rare: true, ..row(key, asks, missing) }
}

/// As part of what another key asks for.
const fn part_of(named: &'static str, row: Row) -> Row {
    Row { named: Some(named), ..row }
}

const AUTO: &str = "namespaces.user = \"auto\"\nnamespaces.mount = \"private\"";
const MAPPED: &str = "namespaces.uid_mappings = [{ container_id = 0, host_id = 700000, size = 65536 }]\n\
     namespaces.gid_mappings = [{ container_id = 0, host_id = 700000, size = 65536 }]";
const ROOT: &str = "rootfs.type = \"directory\"\nrootfs.path = \"{place}/root\"\nrootfs.readonly = true\n\
     mounts = [{ destination = \"/usr\", source = \"/usr\" }]";
const OVERLAID: &str = "rootfs.type = \"overlay\"\nrootfs.lower = [\"{place}/root\"]\n\
     mounts = [{ destination = \"/usr\", source = \"/usr\" }]";
const IN_MEMORY: &str = "rootfs.type = \"tmpfs\"\nrootfs.size = \"10M\"\nmounts = [{ destination = \"/usr\", source = \"/usr\" }, \
     { destination = \"/bin\", source = \"/bin\" }, { destination = \"/lib\", source = \"/lib\" }, \
     { destination = \"/lib64\", source = \"/lib64\" }]";
const BOUND: &str = "mounts = [{ destination = \"/srv\", source = \"/usr\", options = [\"ro\"] }]";

/// The rows.
pub static ROWS: &[Row] = &[
    row("namespaces.mount", "namespaces.mount = \"private\"", &m::MOUNT_NAMESPACES),
    row("namespaces.pid", "namespaces.pid = \"private\"", &m::PID_NAMESPACES),
    row("namespaces.ipc", "namespaces.ipc = \"private\"", &m::IPC_NAMESPACES),
    row("namespaces.ipc", "namespaces.ipc = \"path:/proc/self/ns/ipc\"", &m::JOINING),
    row("namespaces.uts", "namespaces.uts = \"private\"", &m::UTS_NAMESPACES),
    row("namespaces.cgroup", "namespaces.cgroup = \"private\"", &m::CGROUP_NAMESPACES),
    row("namespaces.time", "namespaces.time = \"private\"\nnamespaces.pid = \"private\"", &m::TIME_NAMESPACES),
    row("namespaces.user", "namespaces.user = \"identity\"", &m::USER_NAMESPACES),
    row("namespaces.user", AUTO, &m::USER_NAMESPACES),
    row("namespaces.user", AUTO, &m::UID_MAPS),
    row("namespaces.user", AUTO, &m::JOINING),
    row("namespaces.uid_mappings", MAPPED, &m::UID_MAPS),
    row("namespaces.gid_mappings", MAPPED, &m::GID_MAPS),
    row("namespaces.hostname", "namespaces.hostname = \"inside\"\nnamespaces.uts = \"private\"", &m::HOSTNAMES),
    row("network.mode", "network.mode = \"loopback\"", &m::NET_NAMESPACES),
    row("network.mode", "network.mode = \"path:/proc/self/ns/net\"", &m::JOINING),
    // What of the tree can be seen and written.
    mounted("filesystem.protect_system", "filesystem.protect_system = \"standard\"", &m::READ_ONLY),
    mounted("filesystem.protect_system", "filesystem.protect_system = \"strict\"", &m::READ_ONLY),
    mounted("filesystem.protect_system", "filesystem.protect_system = \"full\"", &m::READ_ONLY),
    mounted("filesystem.protect_system", "filesystem.protect_system = \"strict\"", &m::TREES),
    mounted("filesystem.read_only_paths", "filesystem.read_only_paths = [\"/usr\"]", &m::READ_ONLY),
    mounted("filesystem.inaccessible_paths", "filesystem.inaccessible_paths = [\"/usr/games\"]", &m::MASKS),
    mounted("filesystem.temporary_paths", "filesystem.temporary_paths = [\"/srv\"]", &m::PLACES),
    mounted("filesystem.no_exec_paths", "filesystem.no_exec_paths = [\"/var\"]", &m::NO_EXEC),
    mounted("filesystem.protect_home", "filesystem.protect_home = \"hidden\"", &m::MASKS),
    mounted("filesystem.protect_home", "filesystem.protect_home = \"read-only\"", &m::READ_ONLY),
    mounted("filesystem.private_tmp", "filesystem.private_tmp = true", &m::PLACES),
    mounted("filesystem.protect_proc", "filesystem.protect_proc = \"invisible\"", &m::HIDEPID),
    mounted("filesystem.protect_proc", "filesystem.protect_proc = \"ptraceable\"", &m::PROC),
    mounted("filesystem.proc_subset", "filesystem.proc_subset = \"pid\"", &m::SUBSET),
    // Roots of one's own.
    mounted("rootfs.type", ROOT, &m::TREES),
    mounted("rootfs.type", OVERLAID, &m::OVERLAY),
    mounted("rootfs.type", IN_MEMORY, &m::TMPFS),
    part_of("rootfs.type", mounted("rootfs.size", IN_MEMORY, &m::TMPFS_SIZE)),
    part_of("rootfs.type", mounted("rootfs.readonly", ROOT, &m::READ_ONLY)),
    mounted("mounts.destination", BOUND, &m::PLACES),
    mounted("mounts.type", "mounts = [{ destination = \"/srv\", type = \"mqueue\" }]", &m::MQUEUE),
    mounted("mounts.source", BOUND, &m::SOURCES),
    mounted("mounts.options", BOUND, &m::READ_ONLY),
    // Directories of the service.
    row("directories.runtime", "directories.runtime = [\"closed\"]", &m::DIRECTORIES),
    row("directories.state", "directories.state = [\"closed\"]", &m::DIRECTORIES),
    row("directories.cache", "directories.cache = [\"closed\"]", &m::DIRECTORIES),
    row("directories.logs", "directories.logs = [\"closed\"]", &m::DIRECTORIES),
    row("directories.configuration", "directories.configuration = [\"closed\"]", &m::DIRECTORIES),
    row("directories.state", "directories.state = [\"given\"]\nservice.user = \"65534\"", &m::OWNERS),
    row(
        "directories.runtime_mode",
        "directories.runtime = [\"moded\"]\ndirectories.runtime_mode = \"0750\"",
        &m::MODES,
    ),
    row("directories.state_mode", "directories.state = [\"moded\"]\ndirectories.state_mode = \"0750\"", &m::MODES),
    row("directories.cache_mode", "directories.cache = [\"moded\"]\ndirectories.cache_mode = \"0750\"", &m::MODES),
    row("directories.logs_mode", "directories.logs = [\"moded\"]\ndirectories.logs_mode = \"0750\"", &m::MODES),
    row(
        "directories.configuration_mode",
        "directories.configuration = [\"moded\"]\ndirectories.configuration_mode = \"0750\"",
        &m::MODES,
    ),
    // Devices.
    row("devices.policy", "devices.policy = \"closed\"", &m::DEVICE_RULES),
    row("devices.policy", "devices.policy = \"strict\"", &m::DEVICE_RULES),
    row("devices.allow", "devices.allow = [{ path = \"/dev/null\" }]", &m::DEVICE_RULES),
    mounted("devices.private", "devices.private = true", &m::TERMINALS),
    mounted("devices.private", "devices.private = true", &m::NODES),
    // The network.
    row("network.address_families", "network.address_families = [\"AF_UNIX\"]", &m::FILTERS),
    row("network.bind_allow", "network.bind_allow = [\"tcp:80\"]", &m::LANDLOCK),
    row("network.bind_allow", "network.bind_allow = [\"tcp:80\"]", &m::LANDLOCK_RULES),
    row("network.bind_allow", "network.bind_allow = [\"tcp:80\"]", &m::LANDLOCK_DOMAINS),
    row("network.bind_allow", "network.bind_allow = [\"tcp:80\"]", &m::FILTERS),
    row("network.connect_allow", "network.connect_allow = [\"tcp:80\"]", &m::LANDLOCK),
    row("network.connect_allow", "network.connect_allow = [\"tcp:80\"]", &m::FILTERS),
    row("network.abstract_sockets", "network.abstract_sockets = false", &m::LANDLOCK),
    row("network.ip_deny", "network.ip_deny = [\"any\"]", &m::PROGRAMS),
    // Who it is and what it may.
    row("service.user", "service.user = \"65534\"", &m::USERS),
    row("service.user", "service.user = \"auto\"", &m::USERS),
    row("service.nice", "service.nice = 5", &m::PRIORITIES),
    row("service.group", "service.group = \"65534\"", &m::GROUPS),
    row("service.supplementary_groups", "service.supplementary_groups = [\"65534\"]", &m::MORE_GROUPS),
    row("capabilities.bounding", "capabilities.bounding = []", &m::BOUNDING),
    row("capabilities.bounding", "capabilities.bounding = []", &m::CAPSET),
    row("capabilities.ambient", "capabilities.ambient = [\"KILL\"]\nservice.user = \"65534\"", &m::AMBIENT),
    row("syscalls.mode", "syscalls.mode = \"enforce\"", &m::FILTERS),
    row("syscalls.mode", "syscalls.mode = \"log\"", &m::FILTERS),
    row("syscalls.allow", "syscalls.mode = \"enforce\"\nsyscalls.allow = [\"@system-service\"]", &m::FILTERS),
    row("syscalls.deny", "syscalls.mode = \"enforce\"\nsyscalls.deny = [\"@mount\"]", &m::FILTERS),
    row("syscalls.log", "syscalls.mode = \"enforce\"\nsyscalls.log = [\"chroot\"]", &m::FILTERS),
    row("syscalls.architectures", "syscalls.mode = \"enforce\"\nsyscalls.architectures = [\"native\"]", &m::FILTERS),
    row("security.no_new_privileges", "security.no_new_privileges = true", &m::NO_NEW_PRIVS),
    row("security.lock_personality", "security.lock_personality = true", &m::FILTERS),
    row("security.restrict_realtime", "security.restrict_realtime = true", &m::FILTERS),
    row("security.restrict_suid_sgid", "security.restrict_suid_sgid = true", &m::FILTERS),
    row("security.restrict_namespaces", "security.restrict_namespaces = true", &m::FILTERS),
    row("security.restrict_signals", "security.restrict_signals = true", &m::LANDLOCK),
    mounted(
        "security.landlock",
        "security.landlock = true\nfilesystem.protect_system = \"strict\"\nsecurity.restrict_namespaces = true\n\
         capabilities.bounding = []\nsecurity.no_new_privileges = true\nnamespaces.pid = \"private\"",
        &m::LANDLOCK,
    ),
    row("security.memory_deny_write_execute", "security.memory_deny_write_execute = true", &m::MDWE),
    mounted("security.protect_kernel_tunables", "security.protect_kernel_tunables = true", &m::READ_ONLY),
    mounted("security.protect_kernel_tunables", "security.protect_kernel_tunables = true", &m::MASKS),
    row("security.protect_kernel_modules", "security.protect_kernel_modules = true", &m::FILTERS),
    row("security.protect_kernel_logs", "security.protect_kernel_logs = true", &m::FILTERS),
    mounted("security.protect_kernel_logs", "security.protect_kernel_logs = true", &m::MASKS),
    row("security.protect_clock", "security.protect_clock = true", &m::FILTERS),
    row("security.protect_hostname", "security.protect_hostname = true", &m::FILTERS),
    mounted("security.protect_control_groups", "security.protect_control_groups = true", &m::READ_ONLY),
    row("security.keyring", "security.keyring = \"private\"", &m::KEYRINGS),
    // Limits.
    row("resources.memory_max", "resources.memory_max = \"100M\"", &m::MEMORY_MAX),
    rare("resources.memory_high", "resources.memory_high = \"100M\"", &m::MEMORY_HIGH),
    row("resources.memory_low", "resources.memory_low = \"10M\"", &m::MEMORY_LOW),
    rare("resources.memory_min", "resources.memory_min = \"10M\"", &m::MEMORY_MIN),
    rare(
        "resources.memory_swap_max",
        "resources.memory_swap_max = 0\nresources.memory_max = \"100M\"",
        &m::MEMORY_SWAP,
    ),
    row("resources.cpu_max", "resources.cpu_max = \"50%\"", &m::CPU_MAX),
    row("resources.cpu_weight", "resources.cpu_weight = 50", &m::CPU_WEIGHT),
    row("resources.cpuset_cpus", "resources.cpuset_cpus = \"0\"", &m::CPUS),
    row("resources.cpuset_mems", "resources.cpuset_mems = \"0\"", &m::MEMORY_NODES),
    row("resources.tasks_max", "resources.tasks_max = 100", &m::TASKS_MAX),
    rare("resources.io_weight", "resources.io_weight = 50", &m::IO_WEIGHT),
    rare("resources.io_max", "resources.io_max = [{ device = \"{disk}\", rbps = 1000000 }]", &m::IO_MAX),
    rare("resources.memory_oom_group", "resources.memory_oom_group = true", &m::OOM_GROUP),
    rare("resources.delegate", "resources.delegate = true", &m::DELEGATION),
    row("resources.slice", "resources.slice = \"closed\"", &m::TASKS_MAX),
    rare("resources.hugetlb", "resources.hugetlb = { \"2MB\" = \"64M\" }", &m::HUGE_PAGES),
    row("resources.rlimits.as", "resources.rlimits.as = \"10G\"", &m::RLIMITS),
    row("resources.rlimits.core", "resources.rlimits.core = 0", &m::RLIMITS_BY_DEFAULT),
    row("resources.rlimits.cpu", "resources.rlimits.cpu = 1000", &m::RLIMITS),
    row("resources.rlimits.data", "resources.rlimits.data = \"10G\"", &m::RLIMITS),
    row("resources.rlimits.fsize", "resources.rlimits.fsize = \"10G\"", &m::RLIMITS),
    row("resources.rlimits.locks", "resources.rlimits.locks = 1000", &m::RLIMITS),
    row("resources.rlimits.memlock", "resources.rlimits.memlock = \"64K\"", &m::RLIMITS),
    row("resources.rlimits.msgqueue", "resources.rlimits.msgqueue = \"64K\"", &m::RLIMITS),
    row("resources.rlimits.nice", "resources.rlimits.nice = 0", &m::RLIMITS),
    row("resources.rlimits.nofile", "resources.rlimits.nofile = 512", &m::RLIMITS_BY_DEFAULT),
    row("resources.rlimits.nproc", "resources.rlimits.nproc = 10000", &m::RLIMITS),
    row("resources.rlimits.rss", "resources.rlimits.rss = \"10G\"", &m::RLIMITS),
    row("resources.rlimits.rtprio", "resources.rlimits.rtprio = 0", &m::RLIMITS),
    row("resources.rlimits.rttime", "resources.rlimits.rttime = 1000000", &m::RLIMITS),
    row("resources.rlimits.sigpending", "resources.rlimits.sigpending = 100", &m::RLIMITS),
    row("resources.rlimits.stack", "resources.rlimits.stack = \"8M\"", &m::RLIMITS),
    // Secrets.
    mounted("credentials.set", "credentials.set = { key = \"value\" }", &m::RAMFS),
    mounted("credentials.load", "credentials.load = { key = \"/etc/hostname\" }", &m::RAMFS),
];

//! The profiles `standard`, `strict`, `login` and `host`: values of the same keys that a unit may set.
//!
//! `standard` is the built-in value of every key and has no list of its own. A profile gives way to the unit's own
//! lines; only a profile forced from outside (`--profile host`, to ask "is it the sandbox?") wins over them.

use super::Profile;

/// A value of a profile: table, key, TOML.
pub(super) type ProfileValue = (&'static str, &'static str, &'static str);

/// Capabilities of a root service under `standard`. Measured: with fewer, daemons that switch user or bind a low port
/// do not start.
pub(super) const ROOT_CAPABILITIES: &str = "[\"CHOWN\", \"DAC_OVERRIDE\", \"FOWNER\", \"FSETID\", \"KILL\", \
     \"NET_BIND_SERVICE\", \"SETGID\", \"SETPCAP\", \"SETUID\", \"SYS_CHROOT\"]";

/// Nothing writable but what is declared, nothing privileged.
const STRICT: &[ProfileValue] = &[
    ("service", "umask", "\"0077\""),
    ("filesystem", "protect_system", "\"strict\""),
    ("filesystem", "proc_subset", "\"pid\""),
    ("filesystem", "no_exec_paths", "[\"/\"]"),
    (
        "filesystem",
        "exec_paths",
        "[\"/usr\", \"-/bin\", \"-/sbin\", \"-/lib\", \"-/lib32\", \"-/lib64\", \"-/libx32\"]",
    ),
    ("network", "address_families", "[\"AF_UNIX\", \"AF_INET\", \"AF_INET6\"]"),
    ("capabilities", "bounding", "[]"),
    // Neither noexec mounts nor Landlock stop the execution of a memfd.
    ("syscalls", "deny", "[\"@privileged\", \"@resources\", \"memfd_create\"]"),
    ("security", "memory_deny_write_execute", "true"),
];

/// No isolation; what both `login` and `host` say.
const OPEN: &[ProfileValue] = &[
    ("filesystem", "protect_system", "\"off\""),
    ("filesystem", "read_write_paths", "[]"),
    ("filesystem", "read_only_paths", "[]"),
    ("filesystem", "inaccessible_paths", "[]"),
    ("filesystem", "temporary_paths", "[]"),
    ("filesystem", "exec_paths", "[]"),
    ("filesystem", "no_exec_paths", "[]"),
    ("filesystem", "protect_home", "\"off\""),
    ("filesystem", "private_tmp", "false"),
    ("filesystem", "protect_proc", "\"off\""),
    ("filesystem", "proc_subset", "\"all\""),
    ("devices", "policy", "\"auto\""),
    ("devices", "private", "false"),
    ("devices", "allow", "[]"),
    ("namespaces", "mount", "\"host\""),
    ("namespaces", "pid", "\"host\""),
    ("namespaces", "ipc", "\"host\""),
    ("namespaces", "uts", "\"host\""),
    ("namespaces", "cgroup", "\"host\""),
    ("namespaces", "time", "\"host\""),
    ("namespaces", "user", "\"host\""),
    ("namespaces", "uid_mappings", "[]"),
    ("namespaces", "gid_mappings", "[]"),
    ("namespaces", "init", "true"),
    ("network", "mode", "\"host\""),
    ("network", "ip_allow", "[]"),
    ("network", "ip_deny", "[]"),
    ("network", "address_families", "[\"all\"]"),
    ("network", "bind_allow", "[\"all\"]"),
    ("network", "connect_allow", "[\"all\"]"),
    ("network", "abstract_sockets", "true"),
    ("capabilities", "bounding", "[\"all\"]"),
    ("syscalls", "mode", "\"off\""),
    ("security", "remove_ipc", "false"),
    ("security", "no_new_privileges", "false"),
    ("security", "lock_personality", "false"),
    ("security", "restrict_realtime", "false"),
    ("security", "restrict_suid_sgid", "false"),
    ("security", "restrict_namespaces", "false"),
    ("security", "restrict_signals", "false"),
    ("security", "landlock", "false"),
    ("security", "memory_deny_write_execute", "false"),
    ("security", "protect_kernel_tunables", "false"),
    ("security", "protect_kernel_modules", "false"),
    ("security", "protect_kernel_logs", "false"),
    ("security", "protect_clock", "false"),
    ("security", "protect_hostname", "false"),
    ("security", "protect_control_groups", "false"),
    ("logging", "syslog_socket", "false"),
];

/// What `host` says besides: not even a keyring or a limit of tasks.
const HOST: &[ProfileValue] = &[("security", "keyring", "\"inherit\""), ("resources", "tasks_max", "\"infinity\"")];

/// The values of a profile; keys that are not listed keep their built-in value.
pub(super) fn values(profile: Profile) -> impl Iterator<Item = &'static ProfileValue> {
    let (first, second): (&[ProfileValue], &[ProfileValue]) = match profile {
        Profile::Standard => (&[], &[]),
        Profile::Strict => (STRICT, &[]),
        Profile::Login => (OPEN, &[]),
        Profile::Host => (OPEN, HOST),
    };
    first.iter().chain(second)
}

/// Does a profile that is forced from outside win over the unit's own lines? One that opens does, as nothing could be
/// learned from it otherwise.
pub(super) fn opens(profile: Profile) -> bool {
    match profile {
        Profile::Login | Profile::Host => true,
        Profile::Standard | Profile::Strict => false,
    }
}

/// By the word of `security.profile`.
pub(super) fn by_name(name: &str) -> Option<Profile> {
    [Profile::Standard, Profile::Strict, Profile::Login, Profile::Host].into_iter().find(|p| p.as_str() == name)
}

impl Profile {
    /// The word of `security.profile`.
    pub fn as_str(self) -> &'static str {
        match self {
            Profile::Standard => "standard",
            Profile::Strict => "strict",
            Profile::Login => "login",
            Profile::Host => "host",
        }
    }
}

impl std::str::FromStr for Profile {
    type Err = String;

    /// Reads the word of `security.profile`, for `--profile`.
    fn from_str(text: &str) -> Result<Profile, String> {
        by_name(text).ok_or_else(|| format!("`{text}` is not a profile: standard, strict, login or host"))
    }
}

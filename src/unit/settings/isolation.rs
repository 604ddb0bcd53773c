//! The tables that say what a service can see and do: root file system, devices, namespaces, network, capabilities,
//! system calls, security.

use crate::plan::{AddressRules, DeviceRule, PortRange};
use std::path::PathBuf;

/// `[rootfs]`
#[derive(Clone, Debug, PartialEq)]
pub enum RootfsKind {
    /// The host's tree.
    Host,
    /// A directory with a root file system.
    Directory {
        /// Host path.
        path: PathBuf,
    },
    /// Layers.
    Overlay {
        /// Top first, host paths.
        lower: Vec<PathBuf>,
        /// Writable layer.
        upper: Upper,
    },
    /// An empty tmpfs, filled by `[[mounts]]`.
    Tmpfs,
    /// A file with a read-only file system.
    Image {
        /// Host path.
        path: PathBuf,
        /// What is in it.
        format: ImageFormat,
    },
}

/// File systems that come in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ImageFormat {
    Squashfs,
    Erofs,
}

impl ImageFormat {
    /// The kernel's word, which is also that of `rootfs.type`.
    pub const fn name(self) -> &'static str {
        match self {
            ImageFormat::Squashfs => "squashfs",
            ImageFormat::Erofs => "erofs",
        }
    }
}

/// `rootfs.upper`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upper {
    /// tmpfs, gone with the run.
    Ephemeral,
    /// Below the state directory, kept.
    Persistent,
    /// An own directory.
    Path(PathBuf),
}

/// `[rootfs]`
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Rootfs {
    pub kind: RootfsKind,
    /// Bytes, for tmpfs and ephemeral upper layers.
    pub size: u64,
    /// Own roots: all but the writable paths and mounts.
    pub readonly: bool,
}

/// `filesystem.protect_system`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtectSystem {
    /// Nothing.
    Off,
    /// All read-only but /run, /var and the private /tmp; what hands out the host below them is closed.
    Standard,
    /// /usr, /boot, /efi and /etc read-only (systemd's `full`).
    Full,
    /// All read-only but the declared.
    Strict,
}

/// `filesystem.protect_home`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ProtectHome {
    Off,
    ReadOnly,
    Hidden,
}

/// `filesystem.protect_proc`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ProtectProc {
    Off,
    Invisible,
    Ptraceable,
}

/// A path of a list in `[filesystem]`; `optional` when written with a leading `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PathEntry {
    pub path: PathBuf,
    pub optional: bool,
}

/// `[filesystem]`
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Filesystem {
    pub protect_system: ProtectSystem,
    pub read_write_paths: Vec<PathEntry>,
    pub read_only_paths: Vec<PathEntry>,
    pub inaccessible_paths: Vec<PathEntry>,
    pub temporary_paths: Vec<PathEntry>,
    pub exec_paths: Vec<PathEntry>,
    pub no_exec_paths: Vec<PathEntry>,
    pub protect_home: ProtectHome,
    pub private_tmp: bool,
    pub protect_proc: ProtectProc,
    /// `proc_subset = "pid"`
    pub proc_pid_only: bool,
}

/// `[[mounts]]`, words of the OCI runtime specification.
#[derive(Clone, Debug, PartialEq)]
pub struct Mount {
    /// Absolute path inside.
    pub destination: PathBuf,
    /// What is mounted.
    pub kind: MountKind,
    /// Decoded `options`.
    pub options: MountOptions,
    /// Position in the list, for `mounts[N]` as key of origins.
    pub index: usize,
}

/// `mounts.type`
#[derive(Clone, Debug, PartialEq)]
pub enum MountKind {
    /// Host path.
    Bind {
        /// Source.
        source: PathBuf,
        /// `rbind`
        recursive: bool,
    },
    /// tmpfs with its options (`size`, `mode`, `nr_inodes`, `uid`, `gid`).
    Tmpfs,
    /// A procfs of the unit's pid namespace.
    Proc,
    /// mqueue
    Mqueue,
    /// sysfs of the unit's network namespace.
    Sysfs,
    /// `lowerdir`, `upperdir`, `workdir` among the options.
    Overlay {
        /// Top first.
        lower: Vec<PathBuf>,
        /// `None`: read-only.
        upper: Option<PathBuf>,
    },
}

/// `mounts.options`
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct MountOptions {
    pub read_only: bool,
    pub no_suid: bool,
    pub no_dev: bool,
    pub no_exec: bool,
    pub no_atime: bool,
    /// Passed to the file system: `size=10M` as ("size", "10485760").
    pub data: Vec<(String, String)>,
    /// A missing source or destination is no failure (`optional`).
    pub optional: bool,
}

/// When runtime directories go away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Preserve {
    No,
    Restart,
    Yes,
}

/// `[directories]`; names are relative, without `..`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Directories {
    pub runtime: Vec<PathBuf>,
    pub state: Vec<PathBuf>,
    pub cache: Vec<PathBuf>,
    pub logs: Vec<PathBuf>,
    pub configuration: Vec<PathBuf>,
    pub runtime_mode: u32,
    pub state_mode: u32,
    pub cache_mode: u32,
    pub logs_mode: u32,
    pub configuration_mode: u32,
    pub runtime_preserve: Preserve,
}

/// An entry of `devices.allow`.
#[derive(Clone, Debug, PartialEq)]
pub enum DeviceAllow {
    /// A node of the host; its numbers are looked up at start, and it appears in a private `/dev`.
    Path {
        /// Below `/dev`.
        path: PathBuf,
        /// r
        read: bool,
        /// w
        write: bool,
        /// m
        mknod: bool,
    },
    /// By number.
    Number(DeviceRule),
}

/// `devices.policy`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DevicePolicy {
    /// Standard nodes and `allow`.
    Closed,
    /// Only `allow`.
    Strict,
    /// No controller unless `allow` is given.
    Auto,
}

/// `[devices]`
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Devices {
    pub policy: DevicePolicy,
    pub private: bool,
    pub allow: Vec<DeviceAllow>,
}

/// One namespace of the unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// An own one.
    Private,
    /// The host's.
    Host,
    /// An existing one by file.
    Path(PathBuf),
    /// That of another unit, by its name: `pid`, `ipc` and `uts` only.
    Unit(String),
}

/// `namespaces.user`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserNamespace {
    /// The host's.
    Host,
    /// Own, every id mapped to itself.
    Identity,
    /// Own, with a range of 65536 ids of the host that no other unit has.
    Auto,
    /// Own, with `uid_mappings` and `gid_mappings`.
    Mapped {
        /// (inside, outside, count)
        uid: Vec<(u32, u32, u32)>,
        /// (inside, outside, count)
        gid: Vec<(u32, u32, u32)>,
    },
    /// An existing one by file.
    Path(PathBuf),
}

/// `[namespaces]`
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct NamespaceSettings {
    pub mount: Isolation,
    pub pid: Isolation,
    pub ipc: Isolation,
    pub uts: Isolation,
    pub cgroup: Isolation,
    pub time: Isolation,
    pub user: UserNamespace,
    pub hostname: Option<String>,
    pub init: bool,
}

/// `network.mode`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkMode {
    /// The host's.
    Host,
    /// Own namespace, only `lo`.
    Loopback,
    /// An existing one by file.
    Path(PathBuf),
    /// That of another unit, by its name.
    Unit(String),
}

/// `[network]`
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// `mode`
    pub mode: NetworkMode,
    /// `address_families`; `None` is all.
    pub address_families: Option<Vec<AddressFamily>>,
    /// `ip_allow` and `ip_deny`; `None` is everybody.
    pub peers: Option<Box<AddressRules>>,
    /// `bind_allow`; `None` is all.
    pub bind_allow: Option<Vec<PortRule>>,
    /// `connect_allow`; `None` is all.
    pub connect_allow: Option<Vec<PortRule>>,
    /// `abstract_sockets`: also those that are not its own.
    pub abstract_sockets: bool,
}

/// A transport protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Transport {
    Tcp,
    Udp,
}

/// Ports of one protocol: `tcp:80`, `tcp:8000-8100`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct PortRule {
    pub transport: Transport,
    pub ports: PortRange,
}

/// An address family: name and number of socket(2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressFamily {
    /// `AF_INET`
    pub name: String,
    /// Number.
    pub number: u16,
}

/// `[capabilities]`, final sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Capabilities {
    /// Bounding set; contains the ambient set. For a root service also permitted and effective.
    pub bounding: crate::plan::CapabilitySet,
    /// Ambient set.
    pub ambient: crate::plan::CapabilitySet,
}

/// `syscalls.mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SyscallMode {
    Enforce,
    Log,
    Off,
}

/// `syscalls.on_deny`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum OnDeny {
    Errno,
    KillProcess,
    NotifyErrno,
}

/// `[syscalls]`; names and groups as written, checked to exist.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Syscalls {
    pub mode: SyscallMode,
    pub allow: Vec<String>,
    pub deny: Vec<String>,
    /// errno number for denied known calls.
    pub errno: i32,
    /// errno number for numbers that the table does not know.
    pub unknown_errno: i32,
    pub on_deny: OnDeny,
    /// Calls that are allowed and logged.
    pub log: Vec<String>,
    /// `native` only, or with `x86` and `x32`.
    pub architectures: Vec<String>,
}

/// `security.profile`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Profile {
    Standard,
    Strict,
    Login,
    Host,
}

/// `security.restrict_namespaces`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestrictNamespaces {
    /// All may be made.
    No,
    /// None but the listed kinds: `user`, `mnt`, `pid`, `net`, `ipc`, `uts`, `cgroup`, `time`.
    Except(Vec<String>),
}

/// `[security]`
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Security {
    pub profile: Profile,
    /// Dotted keys that may be missing on a host.
    pub optional: Vec<String>,
    pub control_socket: bool,
    pub no_new_privileges: bool,
    pub lock_personality: bool,
    pub restrict_realtime: bool,
    pub restrict_suid_sgid: bool,
    pub restrict_namespaces: RestrictNamespaces,
    pub restrict_signals: bool,
    pub landlock: bool,
    pub memory_deny_write_execute: bool,
    pub protect_kernel_tunables: bool,
    pub protect_kernel_modules: bool,
    pub protect_kernel_logs: bool,
    pub protect_clock: bool,
    pub protect_hostname: bool,
    pub protect_control_groups: bool,
    /// `keyring = "private"`
    pub private_keyring: bool,
    pub remove_ipc: bool,
    pub apparmor_profile: Option<Box<str>>,
    pub selinux_context: Option<Box<str>>,
}

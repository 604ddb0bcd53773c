//! The meaning of a unit, defaults and profile filled in: sizes in bytes, times as durations, names as enums.
//!
//! One struct per table of the schema, one field per key. Names follow the schema, so the key table describes each.

use crate::plan::{CpuMax, DeviceRule, IoMax, LimitResource};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// All tables of a unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Name: the file's without `.toml`.
    pub name: String,
    /// The file, as it was named or found.
    pub file: String,
    /// `[unit]`
    pub unit: UnitTable,
    /// `[service]`
    pub service: Service,
    /// `[ready]`
    pub ready: Ready,
    /// `[restart]`
    pub restart: RestartSettings,
    /// `[rootfs]`
    pub rootfs: Rootfs,
    /// `[filesystem]`
    pub filesystem: Filesystem,
    /// `[[mounts]]`
    pub mounts: Vec<Mount>,
    /// `[directories]`
    pub directories: Directories,
    /// `[devices]`
    pub devices: Devices,
    /// `[namespaces]`
    pub namespaces: NamespaceSettings,
    /// `[network]`
    pub network: Network,
    /// `[capabilities]`, resolved against the user: a positive list always.
    pub capabilities: Capabilities,
    /// `[syscalls]`
    pub syscalls: Syscalls,
    /// `[security]`
    pub security: Security,
    /// `[resources]`
    pub resources: Resources,
    /// `[logging]`
    pub logging: Logging,
    /// `[install]`
    pub install: Install,
}

/// `[unit]`
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)] // See the key table.
pub struct UnitTable {
    pub description: Option<String>,
    pub documentation: Vec<String>,
    pub after: Vec<String>,
    pub before: Vec<String>,
    pub wants: Vec<String>,
    pub requires: Vec<String>,
}

/// `service.type`; `simple` is read as `Exec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ServiceType {
    Exec,
    Notify,
    Oneshot,
    Forking,
}

/// What makes a service ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadyKind {
    /// exec succeeded.
    Executed,
    /// READY=1.
    Notify,
    /// The main process exited successfully (oneshot).
    Exited,
    /// The first process exited 0 and the pid file names a process of the group (forking).
    PidFile,
    /// All of `ready.listen` have a listening socket of the group.
    Listening,
}

/// A signal by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SignalName(pub(super) i32);

impl SignalName {
    /// Number on this architecture.
    pub fn number(self) -> i32 {
        self.0
    }
}

/// One of the commands around the main process.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecCommand {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Its failure does not matter.
    pub ignore_failure: bool,
}

/// `service.user` and groups, before they are looked up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    /// Number.
    Id(u32),
    /// Name in the host's user data base.
    Name(String),
}

/// Exit statuses and signals (`success_exit_status`, `prevent_exit_status`, `force_exit_status`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusSet {
    /// 0 to 255.
    pub statuses: BTreeSet<u8>,
    /// Signal numbers.
    pub signals: BTreeSet<i32>,
}

/// `service.kill_mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillMode {
    /// The stop signal goes to every process.
    ControlGroup,
    /// The stop signal goes to the main process, the final SIGKILL to every process.
    Mixed,
}

/// `[service]`
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Service {
    pub kind: ServiceType,
    /// argv, never empty; argv\[0\] is absolute or a plain name to be found in PATH.
    pub exec: Vec<String>,
    pub exec_start_pre: Vec<ExecCommand>,
    pub exec_start_post: Vec<ExecCommand>,
    pub exec_reload: Vec<ExecCommand>,
    pub exec_stop: Vec<ExecCommand>,
    pub exec_stop_post: Vec<ExecCommand>,
    /// `None`: root (under `rsvc run` of an ordinary user: that user).
    pub user: Option<Account>,
    /// `None`: the user's primary group.
    pub group: Option<Account>,
    pub supplementary_groups: Vec<Account>,
    /// Permission bits.
    pub umask: u32,
    pub working_directory: PathBuf,
    pub environment: Vec<(String, String)>,
    /// Path, and whether a leading `-` makes it optional.
    pub environment_files: Vec<(PathBuf, bool)>,
    pub pid_file: Option<PathBuf>,
    pub success_exit_status: StatusSet,
    pub reload_signal: Option<SignalName>,
    pub stop_signal: SignalName,
    pub kill_mode: KillMode,
    /// `None` is infinity.
    pub timeout_start: Option<Duration>,
    /// `None` is infinity.
    pub timeout_stop: Option<Duration>,
    /// -20 to 19.
    pub nice: i32,
    /// -1000 to 1000.
    pub oom_score_adjust: i32,
}

/// One entry of `ready.listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// `tcp:ADDRESS:PORT`; the wildcard also matches a specific address and the other way round is not true.
    Tcp(std::net::SocketAddr),
    /// `udp:ADDRESS:PORT`
    Udp(std::net::SocketAddr),
    /// `unix:/path` as the service sees it.
    Unix(PathBuf),
}

/// `[ready]`
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Ready {
    pub listen: Vec<ListenAddress>,
}

/// `restart.policy`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum RestartPolicy {
    No,
    Always,
    OnSuccess,
    OnFailure,
    OnAbnormal,
    OnAbort,
    OnWatchdog,
}

/// `[restart]`
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct RestartSettings {
    pub policy: RestartPolicy,
    pub delay: Duration,
    /// Factor from one restart to the next, at least 1.
    pub backoff: f64,
    pub max_delay: Duration,
    pub reset_after: Duration,
    /// 0: never give up.
    pub limit_burst: u32,
    pub limit_interval: Duration,
    pub prevent_exit_status: StatusSet,
    pub force_exit_status: StatusSet,
}

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
}

/// `namespaces.user`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserNamespace {
    /// The host's.
    Host,
    /// Own, every id mapped to itself.
    Identity,
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
}

/// `[network]`
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// `mode`
    pub mode: NetworkMode,
    /// `address_families`; `None` is all.
    pub address_families: Option<Vec<AddressFamily>>,
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
}

/// `[resources]`
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Resources {
    pub memory_max: Option<u64>,
    pub memory_high: Option<u64>,
    pub memory_low: Option<u64>,
    pub memory_min: Option<u64>,
    pub memory_swap_max: Option<u64>,
    pub memory_oom_group: bool,
    pub cpu_max: Option<CpuMax>,
    pub cpu_weight: Option<u64>,
    pub cpuset_cpus: Option<String>,
    pub cpuset_mems: Option<String>,
    /// `None` is infinity.
    pub tasks_max: Option<u64>,
    pub io_weight: Option<u64>,
    pub io_max: Vec<IoMax>,
    pub hugetlb: Vec<(String, u64)>,
    pub delegate: bool,
    /// Group below the root group that several units share, such as `shop`.
    pub slice: Option<String>,
    /// soft, hard; `u64::MAX` is infinity.
    pub rlimits: Vec<(LimitResource, u64, u64)>,
}

/// `logging.target`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LogTarget {
    Auto,
    Journald,
    File,
    Null,
    Inherit,
}

/// `[logging]`
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Logging {
    pub target: LogTarget,
    /// SYSLOG_IDENTIFIER
    pub identifier: String,
    pub syslog_socket: bool,
    /// Bytes before rotation.
    pub file_max_size: u64,
    /// Files kept, the current one included.
    pub file_max_files: u32,
}

/// `[install]`
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Install {
    pub wanted_by: Vec<String>,
    pub alias: Vec<String>,
}

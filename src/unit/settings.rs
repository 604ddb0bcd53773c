//! The meaning of a unit, defaults and profile filled in: sizes in bytes, times as durations, names as enums.
//!
//! One struct per table of the schema, one field per key. Names follow the schema, so the key table describes each.

mod credentials;
mod hooks;
mod isolation;
mod logging;
mod sockets;
mod timers;

pub use credentials::*;
pub use hooks::*;
pub use isolation::*;
pub use logging::*;
pub use sockets::*;
pub use timers::*;

use super::Condition;
use crate::plan::{CpuMax, IoMax, LimitResource};
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// All tables of a unit. What is usually the same in many units can be shared by them (see [`Shared`](super::Shared)).
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Name: the file's without `.toml`.
    pub name: String,
    /// The file, as it was named or found.
    pub file: String,
    /// The unit that accepted the connection that this one serves.
    pub connection_of: Option<String>,
    /// `[unit]`
    pub unit: UnitTable,
    /// `[service]`
    pub service: Service,
    /// `[ready]`
    pub ready: Arc<Ready>,
    /// `[restart]`
    pub restart: Arc<RestartSettings>,
    /// `[health]`; `None`: it is not asked.
    pub health: Option<Box<HealthSettings>>,
    /// `[hooks]`
    pub hooks: Arc<HookSettings>,
    /// `[rootfs]`
    pub rootfs: Arc<Rootfs>,
    /// `[filesystem]`
    pub filesystem: Arc<Filesystem>,
    /// `[[mounts]]`
    pub mounts: Vec<Mount>,
    /// `[[sockets]]`
    pub sockets: Vec<SocketSettings>,
    /// `[[timers]]`
    pub timers: Vec<TimerSettings>,
    /// `[directories]`
    pub directories: Arc<Directories>,
    /// `[devices]`
    pub devices: Arc<Devices>,
    /// `[namespaces]`
    pub namespaces: Arc<NamespaceSettings>,
    /// `[network]`
    pub network: Arc<Network>,
    /// `[capabilities]`, resolved against the user: a positive list always.
    pub capabilities: Capabilities,
    /// `[syscalls]`
    pub syscalls: Arc<Syscalls>,
    /// `[security]`
    pub security: Arc<Security>,
    /// `[resources]`
    pub resources: Arc<Resources>,
    /// `[logging]`
    pub logging: Logging,
    /// `[credentials]`; `None`: none.
    pub credentials: Option<Box<Credentials>>,
    /// `[install]`
    pub install: Arc<Install>,
}

impl Settings {
    /// SYSLOG_IDENTIFIER
    pub fn log_identifier(&self) -> &str {
        self.logging.identifier.as_deref().unwrap_or(&self.name)
    }
}

/// The most replicas that a template may have.
pub const MOST_REPLICAS: u32 = 1000;

/// `[unit]`
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)] // See the key table.
pub struct UnitTable {
    pub description: Option<String>,
    /// The rest; read through `Deref`.
    pub relations: Arc<Relations>,
}

/// What of `[unit]` many units have in common.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)] // See the key table.
pub struct Relations {
    pub documentation: Vec<String>,
    pub after: Vec<String>,
    pub before: Vec<String>,
    pub wants: Vec<String>,
    pub requires: Vec<String>,
    pub requisite: Vec<String>,
    pub binds_to: Vec<String>,
    pub part_of: Vec<String>,
    pub upholds: Vec<String>,
    pub conflicts: Vec<String>,
    /// In a template: so many of its instances are a set.
    pub replicas: Option<u32>,
    /// What is needed to start is also ordered before.
    pub default_order: bool,
    pub on_failure: Vec<String>,
    pub on_success: Vec<String>,
    pub condition: Vec<Condition>,
    pub assert: Vec<Condition>,
}

impl Deref for UnitTable {
    type Target = Relations;

    fn deref(&self) -> &Relations {
        &self.relations
    }
}

impl Relations {
    /// `after`, with what `default_order` adds.
    pub fn effective_after(&self) -> Vec<String> {
        let mut after = self.after.clone();
        if self.default_order {
            for name in self.requires.iter().chain(&self.requisite).chain(&self.binds_to) {
                if !after.contains(name) && !self.before.contains(name) {
                    after.push(name.clone());
                }
            }
        }
        after
    }

    /// Every list of units, with its key.
    pub fn relations(&self) -> [(&'static str, &[String]); 11] {
        [
            ("after", &self.after),
            ("before", &self.before),
            ("wants", &self.wants),
            ("requires", &self.requires),
            ("requisite", &self.requisite),
            ("binds_to", &self.binds_to),
            ("part_of", &self.part_of),
            ("upholds", &self.upholds),
            ("conflicts", &self.conflicts),
            ("on_failure", &self.on_failure),
            ("on_success", &self.on_success),
        ]
    }
}

/// `service.type`; `simple` is read as `Exec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ServiceType {
    Exec,
    Notify,
    NotifyReload,
    Oneshot,
    Forking,
}

impl ServiceType {
    /// Does it say itself when it is ready?
    pub fn notifies(self) -> bool {
        matches!(self, ServiceType::Notify | ServiceType::NotifyReload)
    }
}

/// `service.notify_access`: whose datagrams are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotifyAccess {
    /// Nobody's: there is no socket.
    None,
    /// The main process's.
    Main,
    /// Those of the main process and of the commands around it.
    Exec,
    /// Those of every process of the unit's group.
    All,
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
    /// All that `[ready]` looks for is there.
    Checked,
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
    /// One that only this unit has and that no data base knows: `service.user` alone.
    Auto,
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
    /// argv, never empty; argv\[0\] is absolute or a plain name to be found in PATH.
    pub exec: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// `None`: root (under `rsvc run` of an ordinary user: that user).
    pub user: Option<Account>,
    /// The rest; read through `Deref`.
    pub conduct: Arc<Conduct>,
}

impl Deref for Service {
    type Target = Conduct;

    fn deref(&self) -> &Conduct {
        &self.conduct
    }
}

/// What of `[service]` many units have in common.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Conduct {
    pub kind: ServiceType,
    pub activation: Activation,
    pub exec_start_pre: Vec<ExecCommand>,
    pub exec_start_post: Vec<ExecCommand>,
    pub exec_reload: Vec<ExecCommand>,
    pub exec_stop: Vec<ExecCommand>,
    pub exec_stop_post: Vec<ExecCommand>,
    /// `None`: the user's primary group.
    pub group: Option<Account>,
    pub supplementary_groups: Vec<Account>,
    /// Permission bits.
    pub umask: u32,
    pub working_directory: PathBuf,
    /// Names of variables of the daemon, or of the caller of `rsvc run`.
    pub pass_environment: Vec<String>,
    /// Path, and whether a leading `-` makes it optional.
    pub environment_files: Vec<(PathBuf, bool)>,
    pub pid_file: Option<PathBuf>,
    pub remain_after_exit: bool,
    pub success_exit_status: StatusSet,
    pub reload_signal: Option<SignalName>,
    pub stop_signal: SignalName,
    pub kill_mode: KillMode,
    /// `None` is infinity.
    pub timeout_start: Option<Duration>,
    /// `None` is infinity.
    pub timeout_stop: Option<Duration>,
    /// `None` is infinity.
    pub runtime_max: Option<Duration>,
    /// `None`: no watchdog.
    pub watchdog: Option<Duration>,
    pub notify_access: NotifyAccess,
    /// Descriptors that may be kept for it, 0 to 5000.
    pub file_descriptor_store_max: u32,
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

/// As it is written in a unit.
impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => write!(f, "tcp:{address}"),
            ListenAddress::Udp(address) => write!(f, "udp:{address}"),
            ListenAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `[ready]`
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Ready {
    pub listen: Vec<ListenAddress>,
    /// As the service sees it.
    pub path: Option<PathBuf>,
    /// Empty: none.
    pub command: Vec<String>,
    /// `None`: only `service.timeout_start` limits it.
    pub timeout: Option<Duration>,
}

impl Ready {
    /// Is there anything to look for?
    pub fn is_asked(&self) -> bool {
        !self.listen.is_empty() || self.path.is_some() || !self.command.is_empty()
    }
}

/// `health.action`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum HealthAction {
    Restart,
    Log,
    Stop,
}

/// `[health]`
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct HealthSettings {
    /// Empty: none.
    pub command: Vec<String>,
    pub listen: Vec<ListenAddress>,
    pub interval: Duration,
    pub timeout: Duration,
    /// At least 1.
    pub retries: u32,
    pub start_period: Duration,
    pub action: HealthAction,
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

/// `[install]`
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Install {
    pub wanted_by: Vec<String>,
    pub alias: Vec<String>,
}

//! What will be done to start a service: plain data, complete before the first side effect.
//!
//! A [`LaunchPlan`] is compiled from a unit and the host's facts, printed by `rsvc plan`, cached by the daemon, and
//! sent to the set-up stage in a sealed memfd. Nothing here decides and nothing here touches the kernel: alternatives
//! are resolved by `compile`, effects are performed by `daemon` (the [`HostStep`]s and [`CgroupSettings`], outside the
//! container) and by `init` (the [`Step`]s, inside).
//!
//! ```text
//! sockets, timers                          daemon, at the start of the unit
//! prepare: directories on the host        daemon, before the clone
//! cgroup:  limits                          daemon, before the clone
//! clone:   namespaces made by clone3       daemon
//! steps:   ... ForkService ...  Execute    set-up stage; what follows ForkService is the service's own process
//! ```
#![forbid(unsafe_code)]

mod addresses;
mod capability;
mod cgroup;
mod filter;
pub mod hint;
mod label;
mod landlock;
mod mount;
mod outside;
mod phrase;
mod print;
mod step;
pub mod wire;

pub use addresses::{AddressRange, AddressRules, Prefix};
pub use capability::{CapabilitySet, capability_name};
pub use cgroup::{BlockDevice, CgroupSettings, CpuMax, DeviceRule, DeviceType, IoMax};
pub use filter::FilterProgram;
pub use label::SecurityModule;
pub use landlock::{FileRules, PathRule, PortRange, Ruleset};
pub use mount::{Create, MountFlags, OverlayUpper, TreeSource};
pub use outside::{PlannedSocket, PlannedTimer, SocketFile};
pub use phrase::step_code;
pub use step::{LimitResource, NamespaceKind, Namespaces, Slot, Step};

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A place in a unit file (or the profile or default) that asked for something; shown as "set by".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Dotted key, such as `filesystem.protect_system`.
    pub key: String,
    /// `Some` when a line of a file set it, `None` for the profile's or the built-in value.
    pub place: Option<Place>,
}

/// File and position, both counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The unit file as it was named or found.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// One step and who asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// The operation.
    pub step: Step,
    /// Index into [`LaunchPlan::origins`], or `None` for what every launch does.
    pub origin: Option<u16>,
    /// `true`: that the host forbids a raise, or cannot map a file system, is reported as degraded and the launch goes on.
    /// Every other failure of the step ends it as well.
    pub may_fail: bool,
}

/// Bytes of all credentials of a unit together.
pub const CREDENTIALS_SIZE: u64 = 1 << 20;

/// Ids of a user namespace of a unit's own (`namespaces.user = "auto"`): 0 to 65535.
pub const RANGE_SIZE: u32 = 65_536;

/// Something prepared on the host, outside the container, by the daemon and before the clone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostStep {
    /// Make a directory (with missing parents, 0755 root) that belongs to the service. An existing one gets owner and
    /// mode; no symbolic link below `base` is followed.
    Directory {
        /// Existing, root-owned parent such as `/run` or `/var/lib`.
        base: PathBuf,
        /// Relative path below `base`, no `..`.
        name: PathBuf,
        /// Permission bits.
        mode: u32,
        /// Owner on the host.
        uid: u32,
        /// Group on the host.
        gid: u32,
        /// Remove it, with all below, when the service has stopped for good.
        remove: RemoveDirectory,
    },
}

/// When a directory of the service goes away (`directories.runtime_preserve`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RemoveDirectory {
    /// State, cache, logs, configuration; `runtime_preserve = "yes"`.
    Never,
    /// `runtime_preserve = "restart"`: at a stop, not between restarts.
    AtStop,
    /// `runtime_preserve = "no"`: after every run.
    AfterRun,
}

/// A default of the profile (or an optional key) that this host cannot apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Degraded {
    /// Dotted key.
    pub key: String,
    /// What is missing, as a sentence fragment: "no device controller on this host".
    pub why: String,
}

/// Where the service's standard output and error go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// The set-up stage connects the journal's stream socket (`Step::ConnectJournal` is in the list).
    Journal,
    /// A pipe that the daemon reads and writes to a file. The descriptor is inherited.
    Pipe,
    /// `/dev/null`, opened by the set-up stage on the host.
    Null,
    /// The daemon's own standard output and error (`rsvc run`). The descriptors are inherited.
    Inherit,
    /// What the caller passed (`rsvc exec`), also standard input.
    Caller,
    /// A terminal of the container (`rsvc run --pty`; `Step::OpenTerminal` is in the list), also standard input.
    Terminal,
    /// A pipe that the daemon reads, to send what may pass to the journal. The descriptor is inherited.
    Relay,
}

/// How the id maps of a new user namespace are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMaps {
    /// Lines of `/proc/PID/uid_map`: (inside, outside, count).
    pub uid: Vec<(u32, u32, u32)>,
    /// Lines of `/proc/PID/gid_map`.
    pub gid: Vec<(u32, u32, u32)>,
    /// Who writes them.
    pub writer: MapWriter,
}

/// Who writes the maps of a user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MapWriter {
    /// The daemon, with the right to map any id.
    Daemon,
    /// The daemon of an ordinary user, which may map itself only, and must write `deny` to `/proc/PID/setgroups` first
    /// (user_namespaces(7)).
    DaemonAsUser,
    /// newuidmap(1) and newgidmap(1), which look into subuid(5) and subgid(5).
    Tools,
}

/// How the launched process relates to the unit's container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Container {
    /// A container of its own: the main process, `exec_start_pre`, `exec_stop_post`.
    Own,
    /// Joins the namespaces of the running main process through an inherited pidfd (`Step::JoinContainer` is in the
    /// list): `exec_start_post`, `exec_reload`, `exec_stop`.
    Joined,
}

/// Everything that one launch does, in order. Immutable once compiled; the daemon adds only [`wire::PerStart`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchPlan {
    /// Name of the unit, for messages.
    pub unit: String,
    /// What this launches, for messages: `main`, `exec_start_pre[0]`, `exec_stop[1]`...
    pub role: String,
    /// Own container or the main process's.
    pub container: Container,
    /// Who asked for what; see [`PlannedStep::origin`].
    pub origins: Vec<Origin>,
    /// Sockets that are opened at the start of the unit, in the order in which they are passed.
    pub sockets: Vec<PlannedSocket>,
    /// What starts the unit by the clock.
    pub timers: Vec<PlannedTimer>,
    /// Host directories.
    pub prepare: Vec<HostStep>,
    /// Limits of the unit's group.
    pub cgroup: CgroupSettings,
    /// Namespaces that clone3 makes.
    pub clone: Namespaces,
    /// Id maps when `clone.user` is set.
    pub id_maps: Option<IdMaps>,
    /// The resident PID 1 stays (a `Step::ForkService` is in the list).
    pub init: bool,
    /// Standard output and error.
    pub output: Output,
    /// The operations inside, in order.
    pub steps: Vec<PlannedStep>,
    /// What cannot be applied here, known before the start.
    pub degraded: Vec<Degraded>,
}

impl LaunchPlan {
    /// Does the service live in a pid namespace that existed before? Its resident init stands outside of it then.
    pub fn joins_pid_namespace(&self) -> bool {
        let joins = |planned: &PlannedStep| {
            matches!(
                planned.step,
                Step::JoinNamespace { kind: NamespaceKind::Pid, .. } | Step::JoinUnit { kind: NamespaceKind::Pid, .. }
            )
        };
        self.container == Container::Own && self.steps.iter().any(joins)
    }

    /// The file line that asked for step `index`, if one did.
    pub fn origin_of(&self, index: usize) -> Option<&Origin> {
        let origin = self.steps.get(index)?.origin?;
        self.origins.get(usize::from(origin))
    }
}

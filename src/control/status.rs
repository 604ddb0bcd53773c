//! One object per unit: what `status`, `list` and their JSON show. Stable schema, `v` counts incompatible changes.

use serde::{Deserialize, Serialize};

/// State of one unit. Sizes are bytes, durations `_usec`, times RFC 3339 UTC, unset or unlimited is `null`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UnitStatus {
    /// Schema version, 1.
    pub v: u32,
    /// Unit name.
    pub name: String,
    /// `unit.description`.
    pub description: Option<String>,
    /// The file.
    pub file: Option<String>,
    /// Drop-ins, in the order in which they apply.
    #[serde(default)]
    pub drop_ins: Vec<String>,
    /// `loaded`, `not-found`, `bad-setting`, `masked`.
    pub load_state: String,
    /// For `bad-setting`: the diagnostics as text.
    pub load_error: Option<String>,
    /// In the boot set.
    pub enabled: bool,
    /// The file on disk is not the one that runs.
    pub changed_on_disk: bool,
    /// systemd's active state.
    pub state: String,
    /// systemd's sub-state.
    pub substate: String,
    /// systemd's result word.
    pub result: String,
    /// The sentence that says why it failed or is restarting; several lines possible.
    pub cause: Option<String>,
    /// The first of `[hooks]` that failed after the last run, in a sentence.
    #[serde(default)]
    pub hook_failure: Option<String>,
    /// Since when in `state`.
    pub since: Option<String>,
    /// How readiness is known: `exec`, `notify`, `listen`, `pid-file`, `exit`.
    pub ready: Option<String>,
    /// STATUS= text.
    pub status_text: Option<String>,
    /// ERRNO= as it sent it.
    #[serde(default)]
    pub status_errno: Option<i32>,
    /// BUSERROR= or VARLINKERROR= text.
    #[serde(default)]
    pub status_error: Option<String>,
    /// How often it must send WATCHDOG=1, while it is up.
    #[serde(default)]
    pub watchdog_usec: Option<u64>,
    /// When `service.runtime_max` will be over.
    #[serde(default)]
    pub runtime_ends_at: Option<String>,
    /// `starting`, `healthy`, `unhealthy`; null unless `[health]` asks.
    #[serde(default)]
    pub health: Option<String>,
    /// Failed checks in a row.
    #[serde(default)]
    pub health_failures: Option<u32>,
    /// What the last check found, if it failed.
    #[serde(default)]
    pub health_cause: Option<String>,
    /// What its stop is at, while it goes down.
    #[serde(default)]
    pub stop: Option<StopProgress>,
    /// Which rsvc it was started by, while it runs.
    #[serde(default)]
    pub runs_on: Option<RunsOn>,
    /// The service's own pid on the host.
    pub main_pid: Option<i32>,
    /// The same in its pid namespace.
    pub main_pid_inner: Option<i32>,
    /// Exit status of the last end of the main process.
    pub exit_code: Option<i32>,
    /// Name of the signal that ended it, `SIGKILL`.
    pub exit_signal: Option<String>,
    /// Of a set: its replicas.
    #[serde(default)]
    pub replicas: Option<ReplicaSet>,
    /// Automatic restarts.
    pub restarts: u32,
    /// When the next one will be.
    pub next_restart_at: Option<String>,
    /// 32 hex digits, new for each start.
    pub invocation_id: Option<String>,
    /// Path of the control group below its mount.
    pub cgroup: Option<String>,
    /// The slice that its group is in.
    #[serde(default)]
    pub slice: Option<SliceStatus>,
    /// Ids of its user namespace, while it runs in one with a range of its own.
    #[serde(default)]
    pub user_namespace: Option<IdRange>,
    /// Profile in force.
    pub profile: Option<String>,
    /// Its processes are stopped by the freezer.
    #[serde(default)]
    pub frozen: bool,
    /// Limits changed by `rsvc set`, with what the unit says: `key = value, unit: value`.
    #[serde(default)]
    pub changed_live: Vec<String>,
    /// What could not be applied: `key: why`.
    pub degraded: Vec<String>,
    /// System calls that were denied in the present (or last) run, where `syscalls.on_deny` is `notify-errno`; in the order
    /// of their first time.
    #[serde(default)]
    pub denied: Vec<DeniedCall>,
    /// What rsvc listens on for the unit, as `sockets.listen` has it; empty while nothing is open.
    pub listen: Vec<String>,
    /// Connections that instances serve now; `null` where no socket accepts.
    #[serde(default)]
    pub connections: Option<u64>,
    /// Connections that were given to an instance, since the unit or the daemon began to listen.
    #[serde(default)]
    pub connections_accepted: Option<u64>,
    /// The same of those that were closed at once.
    #[serde(default)]
    pub connections_refused: Option<u64>,
    /// `[[timers]]`
    pub timers: Vec<TimerStatus>,
    /// Descriptors that rsvc keeps for its next run; `null` where `service.file_descriptor_store_max` is 0.
    #[serde(default)]
    pub stored_descriptors: Option<u32>,
    /// As many may be kept.
    #[serde(default)]
    pub stored_descriptors_max: Option<u32>,
    /// Where the output goes.
    pub log: Option<LogPlace>,
    /// Accounting.
    #[serde(flatten)]
    pub counters: GroupCounters,
    /// Processes of the group.
    pub processes: Vec<ProcessLine>,
}

/// A denied system call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeniedCall {
    /// Its name with the arguments that say most, in the form of `syscalls.deny`; `others`: calls of which nothing more was
    /// kept.
    pub call: String,
    /// All six arguments of the first time, hexadecimal.
    pub arguments: Vec<String>,
    /// How often.
    pub times: u64,
    /// How often besides, with other arguments that were not kept.
    pub others: u64,
    /// What it was answered, `EPERM`.
    pub errno: String,
    /// Who made it first, as the daemon counts processes.
    pub pid: i64,
    /// The name of that process.
    pub command: String,
    /// Which key would allow it.
    pub remedy: String,
}

/// The rsvc that started a run: its resident init and its sandbox stay what that one made until a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunsOn {
    /// Version; `null`: one from before this was written down, or the state was lost.
    pub version: Option<String>,
    /// Which build of it, 16 hex digits.
    pub build: Option<String>,
    /// A restart brings another one.
    pub outdated: bool,
    /// The daemon's own version.
    pub restart_brings: String,
}

/// Ids 0 and following of a user namespace, as the host numbers them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdRange {
    /// What 0 inside is outside.
    pub first: u32,
    /// How many.
    pub size: u32,
}

/// The replicas of a set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReplicaSet {
    /// So many are to be up: as the unit says, or as it was scaled to.
    pub number: u32,
    /// It was scaled: the number is not the unit's, and holds until the set is stopped.
    pub scaled: bool,
    /// So many are ready.
    pub ready: u32,
    /// The replica that a rolling restart is at.
    pub rolling: Option<String>,
    /// Each of them, by number, also those above the number that are up; none in a list of units.
    pub members: Vec<Replica>,
}

/// One replica of a set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Replica {
    /// Unit name.
    pub name: String,
    /// systemd's active state.
    pub state: String,
    /// systemd's sub-state.
    pub substate: String,
    /// It was stopped by request, or a condition is not met: it stays down until the set is started or scaled.
    pub held: bool,
    /// Since when in `state`.
    pub since: Option<String>,
    /// The service's own pid on the host.
    pub main_pid: Option<i32>,
    /// Automatic restarts.
    pub restarts: u32,
    /// Why it failed or is restarting.
    pub cause: Option<String>,
}

/// A slice, as one of its units shows it: what all of them use together, and the common limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SliceStatus {
    /// Name, without `.slice`.
    pub name: String,
    /// Path of its control group below its mount.
    pub cgroup: String,
    /// Bytes.
    pub memory_current: Option<u64>,
    /// Bytes; null is no limit.
    pub memory_max: Option<u64>,
    /// Processes and threads.
    pub tasks_current: Option<u64>,
    /// The same; null is no limit.
    pub tasks_max: Option<u64>,
}

/// One of `[[timers]]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TimerStatus {
    /// What it counts: `Mon..Fri 09:00`, `every 5min`, `2min after boot`.
    pub timer: String,
    /// When it is due; `null` while the unit is stopped, and when it never is again.
    pub next: Option<String>,
    /// When a timer of the unit started it last.
    pub last: Option<String>,
}

/// A stop under way; the processes that it waits for are in `processes`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StopProgress {
    /// The present step, in words.
    pub step: String,
    /// When what is left will be killed; null: never, or it has been.
    pub ends_at: Option<String>,
    /// How long that is from now.
    pub remaining_usec: Option<u64>,
}

/// Where output goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogPlace {
    /// `journald`, `file`, `null`, `inherit`.
    pub target: String,
    /// For `file`.
    pub path: Option<String>,
    /// For `journald`: SYSLOG_IDENTIFIER.
    pub identifier: Option<String>,
    /// Messages that `logging.rate_limit_burst` kept out of the log since the unit was started.
    #[serde(default)]
    pub suppressed: u64,
}

/// Accounting of a group; `None` where the controller is missing or nothing runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // Words of the cgroup v2 guide.
pub struct GroupCounters {
    pub memory_current: Option<u64>,
    pub memory_peak: Option<u64>,
    pub memory_max: Option<u64>,
    pub memory_high: Option<u64>,
    pub memory_swap_current: Option<u64>,
    /// "memory.events" high, max, oom.
    pub memory_events_high: Option<u64>,
    pub memory_events_max: Option<u64>,
    pub memory_events_oom: Option<u64>,
    pub oom_kills: Option<u64>,
    pub cpu_usage_usec: Option<u64>,
    pub cpu_user_usec: Option<u64>,
    pub cpu_system_usec: Option<u64>,
    pub cpu_nr_throttled: Option<u64>,
    pub cpu_throttled_usec: Option<u64>,
    pub tasks_current: Option<u64>,
    pub tasks_peak: Option<u64>,
    pub tasks_max: Option<u64>,
    /// "pids.events" max: refused forks.
    pub tasks_refused: Option<u64>,
    pub io_read_bytes: Option<u64>,
    pub io_write_bytes: Option<u64>,
    pub io_read_operations: Option<u64>,
    pub io_write_operations: Option<u64>,
    pub memory_pressure: Option<Pressure>,
    pub cpu_pressure: Option<Pressure>,
    pub io_pressure: Option<Pressure>,
}

/// One PSI file: the `some` and `full` lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Pressure {
    pub some_avg10: f64,
    pub some_total_usec: u64,
    pub full_avg10: f64,
    pub full_total_usec: u64,
}

/// One process of the group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessLine {
    /// Host pid.
    pub pid: i32,
    /// Host pid of the parent.
    pub parent: i32,
    /// Command line, or the name in brackets.
    pub command: String,
}

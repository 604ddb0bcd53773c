//! What people see of a service's state, in systemd's words.

use super::{Cause, Exit, Moment, Role, ServiceResult, Told};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// systemd's active state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum ActiveState {
    Inactive,
    Activating,
    Active,
    Reloading,
    Deactivating,
    Failed,
}

/// systemd's sub-state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum SubState {
    Dead,
    /// Waits for units it is ordered after (`activating`), or for its timers (`active`).
    Waiting,
    /// Waits for the first connection.
    Listening,
    StartPre,
    Start,
    StartPost,
    Running,
    Exited,
    Reload,
    ReloadSignal,
    ReloadNotify,
    Stop,
    StopWatchdog,
    StopSigterm,
    StopSigkill,
    StopPost,
    FinalSigterm,
    FinalSigkill,
    AutoRestart,
    Failed,
    /// rsvc's own, as the next two: `hooks.on_exit` runs.
    OnExit,
    OnRestart,
    OnGiveUp,
}

/// What a stop is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopStep {
    /// Units that are ordered after this one stop first.
    Queued,
    /// This command runs.
    Command(Role),
    /// It has said STOPPING=1 and is left to itself.
    ByItself,
    /// This signal has been sent.
    Signal(i32),
    /// The group has been killed and is not empty yet.
    Kill,
}

/// Is it well? The words of `health` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthState {
    /// Not known yet.
    Starting,
    /// The last checks did not fail `retries` times in a row.
    Healthy,
    /// They did.
    Unhealthy,
}

/// What `[health]` found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The verdict.
    pub state: HealthState,
    /// Failed checks in a row.
    pub failures: u32,
    /// What the last one found, if it failed.
    pub why: Option<String>,
}

/// Snapshot of one service; plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Active state.
    pub state: ActiveState,
    /// Sub-state.
    pub substate: SubState,
    /// Of the current or last run.
    pub result: ServiceResult,
    /// When the present active state began; the zero of the clock when the service has not done anything yet.
    pub since: Moment,
    /// Automatic restarts since the last manual start (or reset).
    pub restarts: u32,
    /// Next automatic start, while one is waiting.
    pub next_restart_at: Option<Moment>,
    /// Last end of the main process.
    pub main_exit: Option<Exit>,
    /// Why the last run ended or the last start failed.
    pub cause: Option<Cause>,
    /// The first hook that failed after the last run.
    pub hook_failure: Option<Cause>,
    /// Its program has ended and it stays up, or is on its way down from there.
    pub remains: bool,
    /// What the hook that runs is told.
    pub hook: Option<Told>,
    /// STATUS= text.
    pub status_text: Option<String>,
    /// Interval of the watchdog, while it is up; zero when there is none.
    pub watchdog: Option<Duration>,
    /// When `runtime_max` will be over.
    pub runtime_ends_at: Option<Moment>,
    /// Its health, while it is up and asked.
    pub health: Option<Health>,
    /// What its stop is at, while it goes down.
    pub stop_step: Option<StopStep>,
    /// When the time of the present step is over: of a start, a reload, a stop.
    pub step_ends_at: Option<Moment>,
    /// What it goes down for, until that is over but for what follows (kept over a restart of the daemon).
    pub descent: Option<super::Descent>,
    /// A stop has been asked for (kept over a restart of the daemon).
    pub stop_requested: bool,
    /// A stop is under way that another start follows (kept as well).
    pub restart_requested: bool,
    /// It failed for want of another unit and is started with that (kept as well).
    pub wanted: bool,
    /// It waits for a start that a unit which upholds it wants (kept as well).
    pub upheld: bool,
    /// It is to be started, or is being started, and its program has not been executed (kept as well).
    pub starting: bool,
    /// The run has become ready, whatever has become of it since (kept as well).
    pub was_ready: bool,
    /// It has said or shown that it is ready, and commands after the start are still to come (kept as well).
    pub said_ready: bool,
    /// The main process was launched, with whatever success (kept as well).
    pub launched: bool,
    /// When it was restarted automatically within `limit_interval` (kept as well).
    pub restart_times: Vec<Moment>,
}

//! What people see of a service's state, in systemd's words.

use super::{Cause, Exit, Moment, ServiceResult};
use serde::{Deserialize, Serialize};

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
    /// Waits for units it is ordered after.
    Waiting,
    StartPre,
    Start,
    StartPost,
    Running,
    Exited,
    Reload,
    ReloadSignal,
    Stop,
    StopSigterm,
    StopSigkill,
    StopPost,
    FinalSigterm,
    FinalSigkill,
    AutoRestart,
    Failed,
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
    /// STATUS= text.
    pub status_text: Option<String>,
    /// A stop has been asked for (kept over a restart of the daemon).
    pub stop_requested: bool,
    /// A stop is under way that another start follows (kept as well).
    pub restart_requested: bool,
    /// It failed for want of another unit and is started with that (kept as well).
    pub wanted: bool,
    /// It waits for a start that a unit which upholds it wants (kept as well).
    pub upheld: bool,
}

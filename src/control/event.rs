//! One entry of the stream of `Events`: what happened to a unit, and how it stands after it.

use serde::{Deserialize, Serialize};

/// The word of an entry that describes the present and no change; the first ones of a stream, where asked for.
pub const PRESENT: &str = "present";

/// The word of an entry that stands for others, which the reader was too slow for.
pub const LOST: &str = "lost";

/// What happened. Stable schema: times are RFC 3339 UTC, what is unset is `null`, `v` counts incompatible changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnitEvent {
    /// Schema version, 1.
    pub v: u32,
    /// When.
    pub time: String,
    /// To which unit; `null` for `lost`.
    pub unit: Option<String>,
    /// `starting`, `started`, `stopping`, `stopped`, `ended`, `restart-scheduled`, `failed`, `reloading`, `reloaded`,
    /// `reload-failed`, `killing`, `status`, `healthy`, `unhealthy`, `adopted`, `changed` (by `rsvc set`), `frozen`,
    /// `thawed`, of a set `scaled`, `replicas` (how they stand has changed), `incomplete`, `rolling`, `rolled`,
    /// `roll-failed`; [`PRESENT`], [`LOST`].
    pub event: String,
    /// systemd's active state, after all that happened at this moment.
    pub state: Option<String>,
    /// systemd's sub-state.
    pub substate: Option<String>,
    /// systemd's result word of the current or last run.
    pub result: Option<String>,
    /// The sentence that says why; several lines possible.
    pub cause: Option<String>,
    /// STATUS= text.
    pub status_text: Option<String>,
    /// `starting`, `healthy`, `unhealthy`; null unless `[health]` asks and the unit is up.
    pub health: Option<String>,
    /// The service's own pid on the host.
    pub main_pid: Option<i32>,
    /// Exit status of the last end of the main process.
    pub exit_code: Option<i32>,
    /// Name of the signal that ended it, `SIGKILL`.
    pub exit_signal: Option<String>,
    /// Automatic restarts.
    pub restarts: u32,
    /// When the next one will be.
    pub next_restart_at: Option<String>,
    /// 32 hex digits, new for each start.
    pub invocation_id: Option<String>,
    /// For `lost`: how many entries are missing here.
    pub lost: Option<u64>,
}

//! The language between `rsvc` and the daemon: Varlink interface `io.rsvc.Manager`. Pure: bytes in, values out.
//!
//! JSON objects, each ended by a NUL byte, over a Unix stream socket. Framing over partial reads, size limits, calls and
//! replies as closed enums, the interface description for introspection, and who may ask what. No sockets here.
#![forbid(unsafe_code)]

mod status;
pub use status::{GroupCounters, LogPlace, Pressure, ProcessLine, UnitStatus};

/// A call that the daemon answers, decoded.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // Named after the verbs of rsvc(1).
pub enum Call {
    Start {
        unit: String,
    },
    Stop {
        unit: String,
    },
    Restart {
        unit: String,
    },
    TryRestart {
        unit: String,
    },
    Reload {
        unit: String,
    },
    /// Status of one unit.
    Status {
        unit: String,
    },
    /// Status of all units that are loaded or have a file; one reply each with `more`, else in one array.
    List,
    /// Compiles what a start would do now, as text lines.
    Plan {
        unit: String,
    },
    /// Signal to the main process, or to all.
    Kill {
        unit: String,
        signal: i32,
        whole: bool,
    },
    /// `None`: all failed units.
    ResetFailed {
        unit: Option<String>,
    },
    /// Stop everything, in order.
    StopAll,
    /// Version, counts, cgroup layout, runtime directories.
    Describe,
}

/// An error reply: the Varlink error name's last word, and for people the text.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum CallError {
    /// 5: no such unit.
    UnitNotFound { unit: String },
    /// 6: invalid file or masked; all diagnostics as text.
    UnitUnusable { unit: String, message: String },
    /// 1: the job failed; the cause as shown to people, last output lines included.
    JobFailed { unit: String, message: String },
    /// 1: overtaken by another request.
    JobCancelled { unit: String },
    /// 7: reload, kill: not running.
    NotRunning { unit: String },
    /// 7: no `exec_reload` and no `reload_signal`.
    NotSupported { unit: String, message: String },
    /// 4
    PermissionDenied { message: String },
    /// 1: anything else that is the daemon's fault or the host's.
    Internal { message: String },
}

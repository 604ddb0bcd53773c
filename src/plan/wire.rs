//! The encoding of a plan for the memfd, versioned. Decoding trusts nothing.
//!
//! ```text
//! magic "rsvc-plan\0" | version u16 LE | body length u32 LE | body: postcard of (LaunchPlan, PerStart)
//! ```

use super::LaunchPlan;
use serde::{Deserialize, Serialize};

/// What differs from start to start of one compiled plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerStart {
    /// Added to the environment of `Step::Execute`, replacing entries of the same name: INVOCATION_ID, MAINPID,
    /// SERVICE_RESULT, the content of `environment_files`.
    pub environment: Vec<(String, String)>,
    /// Numbers of the inherited descriptors.
    pub descriptors: Descriptors,
}

/// Descriptors that the stage inherits besides 0 (`/dev/null`), by number. They are fixed here so that the stage
/// guesses nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptors {
    /// SOCK_SEQPACKET socket for [`crate::plan::wire::Report`]s; closed by exec.
    pub report: Option<i32>,
    /// Write end of the pipe on which the resident init tells each child's end ([`ExitRecord`]).
    pub exits: Option<i32>,
    /// Regular file of [`RECORD_FILE_SIZE`] bytes that init maps and writes the same records to.
    pub record: Option<i32>,
    /// Sealed memfd of the resident init.
    pub init: Option<i32>,
    /// Read end from which one byte comes when the id maps are written.
    pub maps_ready: Option<i32>,
    /// `cgroup.procs` of v1 groups, opened for writing by the daemon.
    pub cgroup_procs: Vec<i32>,
    /// pidfd of the container's PID 1, for `Step::JoinContainer`.
    pub container: Option<i32>,
    /// Becomes standard output.
    pub stdout: Option<i32>,
    /// Becomes standard error.
    pub stderr: Option<i32>,
    /// Kept open by init and nobody else: the read end of the log pipe and the notify socket, so that they outlive
    /// the daemon.
    pub pinned: Vec<i32>,
}

/// One datagram from the set-up stage or the service's process before its exec. The kernel adds the sender's pid
/// (SCM_CREDENTIALS), translated to the daemon's pid namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// `steps[step]` failed; nothing more will come.
    Failed {
        /// Index into the plan's steps.
        step: u16,
        /// Raw errno; 0 where none applies.
        errno: i32,
        /// What the step was working on when that is more than the step says: a component of a path, a set that
        /// differs on read-back.
        detail: String,
    },
    /// `steps[step]` was allowed to fail and did.
    Degraded {
        /// Index into the plan's steps.
        step: u16,
        /// Raw errno.
        errno: i32,
        /// What was done instead: `clamped to 20000`.
        detail: String,
    },
    /// Sent by the service's process just before exec: its credentials carry its pid. End of file afterwards means
    /// that exec succeeded; end of file without it that the process was killed during set-up.
    Executing,
}

/// Size of the record file, bytes.
pub const RECORD_FILE_SIZE: u64 = 4096;

/// Marks a written [`ExitRecord`]; stored last.
pub const RECORD_MAGIC: u32 = 0x7273_7663;

/// End of one child of the resident init; 32 bytes, native byte order, layout frozen as version 1.
///
/// The record file holds the main process's record (the first child forked) at offset 0 and a ring of the others,
/// oldest overwritten, at offsets 32, 64, ... 4064.
///
/// ```text
/// 0 magic u32 | 4 inner pid i32 | 8 code i32 (CLD_EXITED 1, CLD_KILLED 2, CLD_DUMPED 3) | 12 status i32
/// 16 CLOCK_BOOTTIME ns u64 | 24 sequence number u64
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Pid in the container.
    pub pid: i32,
    /// CLD_EXITED, CLD_KILLED or CLD_DUMPED (waitid(2)).
    pub code: i32,
    /// Exit status or signal number.
    pub status: i32,
    /// CLOCK_BOOTTIME, nanoseconds.
    pub boottime: u64,
    /// Counts up from 1.
    pub sequence: u64,
}

/// Why bytes are not a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// Shorter than the header, or than the header says.
    Truncated,
    /// Not a plan.
    Magic,
    /// Written by another version of rsvc.
    Version(u16),
    /// The body does not decode; what postcard says.
    Body(String),
}

/// Current version of the encoding.
pub const VERSION: u16 = 1;

/// Encodes a plan and what this start adds.
pub fn encode(_plan: &LaunchPlan, _start: &PerStart) -> Vec<u8> {
    unimplemented!()
}

/// Decodes what [`encode`] wrote.
///
/// # Errors
/// Every malformed input; it never panics.
pub fn decode(_bytes: &[u8]) -> Result<(LaunchPlan, PerStart), WireError> {
    unimplemented!()
}

//! From meaning to plan. Pure: everything about the host arrives as a [`HostFacts`] value.
//!
//! `compile` fixes the order of everything; each constraint is stated beside the step that needs it.
#![forbid(unsafe_code)]

mod facts;
pub use facts::{Cgroups, DeviceNumbers, DirectoryRoots, GroupFact, HostFacts, UserFact};

use crate::plan::LaunchPlan;
use crate::unit::Unit;

/// What to compile a plan for; the same roles as the supervisor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `service.exec`
    Main,
    /// `exec_start_pre[n]`, own container.
    StartPre(usize),
    /// `exec_start_post[n]`, joined container.
    StartPost(usize),
    /// `exec_reload[n]`, joined container.
    Reload(usize),
    /// `exec_stop[n]`, joined container.
    Stop(usize),
    /// `exec_stop_post[n]`, own container.
    StopPost(usize),
}

/// Why a unit cannot be started on this host, found before anything was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// Which key asked for it, and where it stands.
    pub origin: crate::plan::Origin,
    /// systemd's step name (`USER`, `CGROUP`, `NAMESPACE`, ...) and its exit code.
    pub step: &'static str,
    /// 200 to 245.
    pub code: u8,
    /// What cannot be had and why: "user `web` does not exist on this host".
    pub message: String,
    /// What to do, when something can be done.
    pub hint: Option<String>,
}

/// Compiles one launch of a unit.
///
/// # Errors
/// All reasons at once, sorted by line.
pub fn compile(_unit: &Unit, _facts: &HostFacts, _purpose: Purpose) -> Result<LaunchPlan, Vec<CompileError>> {
    unimplemented!()
}

//! A slice's part of a plan: what is written into the group that several units share.

use super::context::Context;
use super::{CompileError, HostFacts, Purpose, limits, sorted};
use crate::plan::{CgroupSettings, Degraded};
use crate::unit::Slice;

/// Compiles the common limits. Devices are each unit's own and are left alone.
///
/// # Errors
/// All limits that this host cannot hold, sorted by line.
pub fn slice_settings(slice: &Slice, facts: &HostFacts) -> Result<(CgroupSettings, Vec<Degraded>), Vec<CompileError>> {
    let mut context = Context::new(slice.as_unit(), facts, Purpose::Main);
    let settings = limits::common_settings(&mut context);
    if !context.errors.is_empty() {
        return Err(sorted(context.errors));
    }
    Ok((settings, context.degraded))
}

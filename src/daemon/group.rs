//! The control group of a unit: made for its first launch, with the limits of the plan, and made anew for others.

use super::asked::{advice, asked, set_by, written};
use super::engine::Engine;
use super::launch::failure;
use super::service::Service;
use crate::cgroup::{CgroupError, Tree};
use crate::plan::{Container, IdMaps, LaunchPlan, PlannedStep, Step};
use crate::supervise::{LaunchFailure, ServiceId};
use std::io;
use std::time::Duration;

/// Milliseconds between attempts: a group is busy for a moment after its last process died.
const GROUP_IS_BUSY: [u64; 5] = [1, 2, 4, 8, 16];

/// Removes the group of an earlier run with other limits. Where that fails the new limits are written into it.
fn remove_group_of_other_limits(service: &mut Service) {
    let Some(group) = &service.group else { return };
    let mut removed = group.remove();
    for pause in GROUP_IS_BUSY {
        match &removed {
            Err(error) if error.is_busy() => std::thread::sleep(Duration::from_millis(pause)),
            Ok(()) | Err(_) => break,
        }
        removed = group.remove();
    }
    match removed {
        Ok(()) => {
            service.group = None;
            service.applied = None;
            service.oom_kills_before = 0;
        }
        Err(error) => {
            tracing::warn!(unit = service.name, "limits of the earlier run may stay in force: {error}");
        }
    }
}

/// Makes a group below the root group, and that again when somebody removed it.
pub(super) fn below_root<T>(tree: &Tree, make: impl Fn() -> Result<T, CgroupError>) -> Result<T, CgroupError> {
    match make() {
        Err(error) if error.error.kind() == io::ErrorKind::NotFound => {
            if tree.restore()? {
                tracing::warn!(
                    "somebody removed the group of this instance, {}; it is made again",
                    tree.root_path().display()
                );
            }
            make()
        }
        made => made,
    }
}

/// The key of a unit behind a file of its group, v1 or v2.
pub(super) fn key_of(error: &CgroupError) -> Option<&'static str> {
    if error.operation.contains("block device") {
        return Some("resources.io_max");
    }
    if error.operation.contains("device program") {
        return Some("devices.policy");
    }
    if error.operation.contains("packet program") {
        return Some("network.ip_deny");
    }
    if error.operation.contains("port program") {
        return Some("network.bind_allow");
    }
    let name = error.path.file_name()?.to_str()?;
    let keys = [
        ("memory.memsw", "resources.memory_swap_max"),
        ("memory.swap", "resources.memory_swap_max"),
        ("memory.limit", "resources.memory_max"),
        ("memory.max", "resources.memory_max"),
        ("memory.high", "resources.memory_high"),
        ("memory.low", "resources.memory_low"),
        ("memory.soft_limit", "resources.memory_low"),
        ("memory.min", "resources.memory_min"),
        ("memory.oom", "resources.memory_oom_group"),
        ("pids.", "resources.tasks_max"),
        ("cpu.weight", "resources.cpu_weight"),
        ("cpu.shares", "resources.cpu_weight"),
        ("cpu.", "resources.cpu_max"),
        ("cpuset.mems", "resources.cpuset_mems"),
        ("cpuset.", "resources.cpuset_cpus"),
        ("io.max", "resources.io_max"),
        ("blkio.throttle", "resources.io_max"),
        ("io.", "resources.io_weight"),
        ("blkio.", "resources.io_weight"),
        ("hugetlb.", "resources.hugetlb"),
        ("devices.", "devices.policy"),
    ];
    keys.into_iter().find(|(file, _)| name.starts_with(file)).map(|(_, key)| key)
}

/// Who the service's processes are after the last change of ids, as the host numbers them.
fn user_on_the_host(steps: &[PlannedStep], maps: Option<&IdMaps>) -> (u32, u32) {
    let ids = steps.iter().rev().find_map(|planned| match planned.step {
        Step::SetIds { uid, gid } => Some((uid, gid)),
        _ => None,
    });
    let (uid, gid) = ids.unwrap_or((0, 0));
    let range = steps.iter().find_map(|planned| match planned.step {
        Step::MakeUserNamespace { first } => Some(first),
        _ => None,
    });
    if let Some(first) = range {
        return (first.saturating_add(uid), first.saturating_add(gid));
    }
    maps.map_or((uid, gid), |maps| (outside(&maps.uid, uid), outside(&maps.gid, gid)))
}

/// An id of the user namespace as it is outside.
fn outside(map: &[(u32, u32, u32)], id: u32) -> u32 {
    let range = map.iter().find(|(inside, _, count)| id.checked_sub(*inside).is_some_and(|at| at < *count));
    range.map_or(id, |(inside, outside, _)| outside + (id - inside))
}

impl Engine {
    /// A unit whose file names another slice than the group of its last run is in gets a group there.
    fn leave_other_slice(&mut self, id: ServiceId) -> Result<(), LaunchFailure> {
        let Some(service) = self.services.get_mut(&id) else { return Ok(()) };
        let wanted = service.running.as_ref().and_then(|unit| unit.resources.slice.as_deref());
        if service.group.as_ref().is_none_or(|group| group.slice() == wanted) {
            return Ok(());
        }
        remove_group_of_other_limits(service);
        if service.group.is_some() {
            let why = "its group cannot leave the slice that it is in: `rsvc stop` it first";
            return Err(failure("CGROUP", 219, format!("failed at step CGROUP: {why}")));
        }
        Ok(())
    }

    /// The group lives as long as the unit is up; a restart finds it made and its limits written. With other limits
    /// it gets a new one: those that the unit no longer has would stay in force otherwise.
    pub(super) fn make_group(&mut self, id: ServiceId, plan: &LaunchPlan, begins: bool) -> Result<(), LaunchFailure> {
        // The slice is there, with its limits, before anything is in it.
        if begins || self.service(id).is_some_and(|service| service.group.as_ref().is_none_or(|group| !group.exists()))
        {
            self.leave_other_slice(id)?;
            self.enter_slice(id)?;
        }
        let Some(service) = self.services.get_mut(&id) else { return Ok(()) };
        let limits = service.limits(&plan.cgroup);
        if plan.container == Container::Own && service.applied.as_deref() != Some(&limits) {
            remove_group_of_other_limits(service);
        }
        let Some(tree) = &self.tree else { return Ok(()) };
        let cgroup_failure = |error: CgroupError| failure("CGROUP", 219, format!("failed at step CGROUP: {error}"));
        if service.group.as_ref().is_some_and(|group| !group.exists()) {
            tracing::warn!(unit = service.name, "{}: somebody removed its group; a new one is made", service.name);
            (service.group, service.applied) = (None, None);
        }
        let fresh = service.group.is_none();
        if fresh {
            let slice = service.running.as_ref().and_then(|unit| unit.resources.slice.clone());
            let made = below_root(tree, || tree.create(&service.name, slice.as_deref()));
            service.group = Some(made.map_err(cgroup_failure)?);
        }
        if let Some(group) = &service.group
            && plan.container == Container::Own
            && service.applied.as_deref() != Some(&limits)
        {
            let unit = service.running.as_deref();
            // What a file said is overwritten, a program stays until it is taken away; a new group has none.
            if !fresh && limits.addresses.is_none() {
                group.forget_addresses().map_err(cgroup_failure)?;
            }
            if !fresh && limits.udp_ports.is_none() {
                group.forget_ports().map_err(cgroup_failure)?;
            }
            let missing = group.apply(&limits).map_err(|error| {
                let asked = match key_of(&error) {
                    Some("devices.policy") => asked(unit, written(unit, &["devices.allow", "devices.policy"])),
                    Some(key) => asked(unit, key),
                    None => String::new(),
                };
                let message = format!("failed at step CGROUP: {error}{asked}{}", advice(&error.error));
                failure("CGROUP", 219, message)
            })?;
            if let Some(unit) = &service.running
                && let Some(refused) = missing.iter().find(|m| unit.is_written(&m.key) && !unit.is_optional(&m.key))
            {
                let message = format!(
                    "failed at step CGROUP: {}: {}{}\n  hint: list \"{}\" in security.optional",
                    refused.key,
                    refused.why,
                    set_by(unit, &refused.key),
                    refused.key
                );
                return Err(failure("CGROUP", 219, message));
            }
            if plan.cgroup.delegate {
                let (uid, gid) = user_on_the_host(&plan.steps, plan.id_maps.as_ref());
                group.delegate(uid, gid).map_err(|error| {
                    let asked = asked(service.running.as_deref(), "resources.delegate");
                    let message = format!("failed at step CGROUP: {error}{asked}{}", advice(&error.error));
                    failure("CGROUP", 219, message)
                })?;
            }
            service.group_degraded = missing;
            service.applied = Some(Box::new(limits));
        }
        if fresh {
            self.watch_group(id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_handed_to_the_user_whom_the_host_sees() {
        let step = |step| PlannedStep { step, origin: None, may_fail: false };
        let steps = [step(Step::SetIds { uid: 0, gid: 0 }), step(Step::SetIds { uid: 33, gid: 1033 })];
        assert_eq!(user_on_the_host(&[], None), (0, 0));
        assert_eq!(user_on_the_host(&steps, None), (33, 1033));
        let map = vec![(0, 100_000, 1000), (1000, 5000, 100)];
        let maps = IdMaps { uid: map.clone(), gid: map, writer: crate::plan::MapWriter::Daemon };
        assert_eq!(user_on_the_host(&steps, Some(&maps)), (100_033, 5033));
        let [first, last] = steps;
        let steps = [step(Step::MakeUserNamespace { first: 524_288 }), first, last];
        assert_eq!(user_on_the_host(&steps, None), (524_321, 525_321));
    }

    #[test]
    fn a_file_of_the_group_leads_back_to_the_key_that_asked_for_it() {
        let key = |operation: &str, path: &str| {
            key_of(&CgroupError { operation: operation.into(), path: path.into(), error: std::io::Error::other("x") })
        };
        for (file, expected) in [
            ("cpuset/web/cpuset.cpus", Some("resources.cpuset_cpus")),
            ("cpuset/web/cpuset.mems", Some("resources.cpuset_mems")),
            ("web/cpu.max", Some("resources.cpu_max")),
            ("cpu/web/cpu.cfs_quota_us", Some("resources.cpu_max")),
            ("web/cpu.weight", Some("resources.cpu_weight")),
            ("memory/web/memory.limit_in_bytes", Some("resources.memory_max")),
            ("memory/web/memory.memsw.limit_in_bytes", Some("resources.memory_swap_max")),
            ("web/pids.max", Some("resources.tasks_max")),
            ("web/io.max", Some("resources.io_max")),
            ("web/io.weight", Some("resources.io_weight")),
            ("web/cgroup.procs", None),
            ("web", None),
        ] {
            assert_eq!(key("write 1 to", &format!("/sys/fs/cgroup/{file}")), expected, "{file}");
        }
        assert_eq!(key("find the block device of", "/srv"), Some("resources.io_max"));
        assert_eq!(key("attach a port program to", "web"), Some("network.bind_allow"));
    }
}

//! Resource limits: of the process as steps, of the group as settings that the daemon writes.
//!
//! Limits count as isolation: one that the author wrote and the host cannot hold refuses the start. Only a raise that
//! the host forbids is clamped and reported.

use super::context::{Context, Shape};
use super::dev::STANDARD_NODES;
use super::facts::PacketPrograms;
use super::landlock::BIND;
use crate::plan::{AddressRules, CgroupSettings, DeviceRule, DeviceType, LimitResource, PortRange, Step};
use crate::unit::{DeviceAllow, DevicePolicy, Transport, UserNamespace};

/// The service's OOM score. Before the fork, which hands it down: the file belongs to the process that opened it, and
/// with `memory.oom.group` the init makes itself exempt afterwards, as the witness of how the service ended.
pub(super) fn oom_score(context: &mut Context, shape: &Shape) {
    let unit = context.unit;
    let facts = context.facts;
    // An ordinary user's session may have a score above 0 that it cannot lower; nobody asked for 0 there.
    if facts.euid == 0 || unit.is_written("service.oom_score_adjust") {
        let value = unit.service.oom_score_adjust;
        let may_fail = !may_raise(context, shape);
        context.push_may_fail("service.oom_score_adjust", may_fail, Step::SetOomScoreAdjust { value });
    }
}

/// CAP_SYS_RESOURCE counts in the host's user namespace only.
fn may_raise(context: &Context, shape: &Shape) -> bool {
    context.facts.may_raise_limits && !shape.in_user_namespace()
}

/// Attributes of the service's own process: nice value, limits, umask. After the fork: none of them is the init's.
pub(super) fn process_steps(context: &mut Context, shape: &Shape) {
    let unit = context.unit;
    let facts = context.facts;
    let privileged = may_raise(context, shape);
    if unit.service.nice != 0 {
        context.push("service.nice", Step::SetNice { value: unit.service.nice });
    }
    for (resource, soft, hard) in &unit.resources.rlimits {
        let (resource, soft, mut hard) = (*resource, *soft, *hard);
        if resource == LimitResource::Nofile && !privileged && hard > facts.nofile_hard {
            hard = facts.nofile_hard;
            let why = format!("nofile is clamped to {hard}, the daemon's own hard limit (no CAP_SYS_RESOURCE)");
            context.degrade("resources.rlimits", why);
        }
        let step = Step::SetLimit { resource, soft: soft.min(hard), hard };
        context.push_may_fail("resources.rlimits", !privileged, step);
    }
    context.push("service.umask", Step::SetUmask { mask: unit.service.umask });
}

/// What the daemon writes into the unit's group.
pub(super) fn cgroup_settings(context: &mut Context) -> CgroupSettings {
    let devices = devices(context);
    let common = common_settings(context);
    let (delegate, addresses) = (delegate(context), addresses(context));
    if context.unit.resources.slice.is_some() && !context.facts.cgroups.available {
        let why = missing(context, "memory");
        context.lacking("resources.slice", "CGROUP", &why, Some(remedy(context)));
    }
    let udp_ports = udp_ports(context);
    CgroupSettings { devices, delegate, addresses, udp_ports, ..common }
}

/// The part that a slice can have as well.
pub(super) fn common_settings(context: &mut Context) -> CgroupSettings {
    let mut settings = CgroupSettings::default();
    let unit = context.unit;
    let resources = &unit.resources;
    if has(context, "memory", resources.memory_max.is_some(), "resources.memory_max") {
        settings.memory_max = resources.memory_max;
    }
    if has(context, "memory", resources.memory_low.is_some(), "resources.memory_low") {
        settings.memory_low = resources.memory_low;
    }
    if has(context, "memory", resources.memory_swap_max.is_some(), "resources.memory_swap_max") {
        settings.memory_swap_max = resources.memory_swap_max;
    }
    if has_v2(context, "memory", resources.memory_high.is_some(), "resources.memory_high") {
        settings.memory_high = resources.memory_high;
    }
    if has_v2(context, "memory", resources.memory_min.is_some(), "resources.memory_min") {
        settings.memory_min = resources.memory_min;
    }
    if has_v2(context, "memory", resources.memory_oom_group, "resources.memory_oom_group") {
        settings.memory_oom_group = Some(true);
    } else if !resources.memory_oom_group && controller(context, "memory") == Controller::V2 {
        settings.memory_oom_group = Some(false);
    }
    if has(context, "pids", resources.tasks_max.is_some(), "resources.tasks_max") {
        settings.pids_max = resources.tasks_max;
    } else if resources.tasks_max.is_none() && controller(context, "pids") != Controller::None {
        settings.pids_max = Some(u64::MAX);
    }
    if has(context, "cpu", resources.cpu_max.is_some(), "resources.cpu_max") {
        settings.cpu_max = resources.cpu_max;
    }
    if has(context, "cpu", resources.cpu_weight.is_some(), "resources.cpu_weight") {
        settings.cpu_weight = resources.cpu_weight;
    }
    if has(context, "cpuset", resources.cpuset_cpus.is_some(), "resources.cpuset_cpus") {
        settings.cpuset_cpus.clone_from(&resources.cpuset_cpus);
    }
    if has(context, "cpuset", resources.cpuset_mems.is_some(), "resources.cpuset_mems") {
        settings.cpuset_mems.clone_from(&resources.cpuset_mems);
    }
    if has(context, "io", resources.io_weight.is_some(), "resources.io_weight") {
        settings.io_weight = resources.io_weight;
    }
    if has(context, "io", !resources.io_max.is_empty(), "resources.io_max") {
        settings.io_max.clone_from(&resources.io_max);
    }
    if has(context, "hugetlb", !resources.hugetlb.is_empty(), "resources.hugetlb") {
        settings.hugetlb.clone_from(&resources.hugetlb);
    }
    settings
}

/// How a controller can be used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Controller {
    None,
    V1,
    V2,
}

fn controller(context: &Context, name: &str) -> Controller {
    let cgroups = &context.facts.cgroups;
    let listed = |list: &[String]| list.iter().any(|known| known == name);
    match (cgroups.available && listed(&cgroups.controllers), listed(&cgroups.v1_controllers)) {
        (false, _) => Controller::None,
        (true, true) => Controller::V1,
        (true, false) => Controller::V2,
    }
}

/// Can `key` be had? Complains when it is wanted and cannot.
fn has(context: &mut Context, name: &str, wanted: bool, key: &str) -> bool {
    if !wanted {
        return false;
    }
    let available = controller(context, name) != Controller::None;
    if !available {
        let why = missing(context, name);
        context.lacking(key, "CGROUP", &why, Some(remedy(context)));
    }
    available
}

/// The same for what only cgroup v2 knows.
fn has_v2(context: &mut Context, name: &str, wanted: bool, key: &str) -> bool {
    if !has(context, name, wanted, key) {
        return false;
    }
    let available = controller(context, name) == Controller::V2;
    if !available {
        let why = format!("the {name} controller of this host is cgroup v1, which does not know it");
        context.lacking(key, "CGROUP", &why, Some("boot the host with cgroup v2"));
    }
    available
}

fn missing(context: &Context, name: &str) -> String {
    let cgroups = &context.facts.cgroups;
    if !cgroups.available {
        "no control group can be made here (an ordinary user without delegation)".to_owned()
    } else if cgroups.crowded && name != "device" {
        format!("the {name} controller stays off: other processes share the control group that rsvc was started in")
    } else {
        format!("no {name} controller on this host")
    }
}

/// What brings a missing controller.
fn remedy(context: &Context) -> &'static str {
    let cgroups = &context.facts.cgroups;
    match (cgroups.available, context.facts.euid) {
        (true, _) if cgroups.crowded => {
            "start rsvc alone in a group: `systemd-run --scope -p Delegate=yes rsvc ...`, or as a service with Delegate=yes"
        }
        (false, 1..) => "have a group delegated: `systemd-run --user --scope -p Delegate=yes rsvc ...`",
        _ => "see `rsvc features`",
    }
}

fn delegate(context: &mut Context) -> bool {
    let wanted = context.unit.resources.delegate;
    let cgroups = &context.facts.cgroups;
    let possible = cgroups.available && cgroups.unified;
    if wanted && !possible {
        let why = "a group can be handed to a service on cgroup v2 only";
        context.lacking("resources.delegate", "CGROUP", why, Some("boot the host with cgroup v2"));
    }
    wanted && possible
}

/// Rules about peers; `None` leaves packets alone.
fn addresses(context: &mut Context) -> Option<Box<AddressRules>> {
    let rules = context.unit.network.peers.as_deref()?;
    judged_by_the_group(context, "network.ip_deny", "packets").then(|| Box::new(rules.clone()))
}

/// Ports that may be bound by UDP; `None` leaves them alone, as a list does that names none.
fn udp_ports(context: &mut Context) -> Option<Box<[PortRange]>> {
    let rules = context.unit.network.bind_allow.as_ref()?.iter();
    let ports: Box<[PortRange]> =
        rules.filter(|rule| rule.transport == Transport::Udp).map(|rule| rule.ports).collect();
    (!ports.is_empty() && judged_by_the_group(context, BIND, "ports")).then_some(ports)
}

/// Can the group have programs for `what`? Else the start is refused, or told as degraded.
fn judged_by_the_group(context: &mut Context, key: &str, what: &str) -> bool {
    let cgroups = &context.facts.cgroups;
    let (why, hint) = match cgroups.packets {
        _ if !cgroups.available => (missing(context, "network"), remedy(context)),
        PacketPrograms::Possible => return true,
        PacketPrograms::NoTree => {
            ("there is no cgroup v2 tree on this host".to_owned(), "mount one: boot the host with cgroup v2, or hybrid")
        }
        PacketPrograms::Refused => (
            format!("the kernel takes no BPF programs for {what} from this process"),
            "give rsvc CAP_BPF and CAP_NET_ADMIN, on a kernel with CONFIG_CGROUP_BPF",
        ),
    };
    context.lacking(key, "CGROUP", &why, Some(hint));
    false
}

/// Rules of the device controller; `None` leaves devices alone.
fn devices(context: &mut Context) -> Option<Vec<DeviceRule>> {
    let unit = context.unit;
    let allowed = allowed_devices(context);
    let wanted = match unit.devices.policy {
        DevicePolicy::Closed | DevicePolicy::Strict => true,
        DevicePolicy::Auto => !unit.devices.allow.is_empty(),
    };
    if !wanted {
        return None;
    }
    if controller(context, "devices") == Controller::None {
        let why = missing(context, "device");
        let key = if unit.devices.policy == DevicePolicy::Auto {
            // The list is all that is forbidden here.
            "devices.allow"
        } else if unit.is_written("devices.allow") && !unit.is_written("devices.policy") {
            // The nodes appear all the same; what is missing is that others are forbidden, which is the default's part.
            context.degrade("devices.policy", why);
            return None;
        } else {
            "devices.policy"
        };
        context.lacking(key, "CGROUP", &why, Some(remedy(context)));
        return None;
    }
    let mut rules = Vec::new();
    if unit.devices.policy != DevicePolicy::Strict {
        // With mknod: the set-up stage, in the group already, makes these nodes.
        rules.extend(STANDARD_NODES.iter().map(|node| rule(node.major, Some(node.minor), true)));
        // /dev/ptmx and its kin, and all terminals of a devpts.
        rules.push(rule(5, Some(2), false));
        rules.push(rule(136, None, false));
    }
    rules.extend(allowed);
    Some(rules)
}

fn rule(major: u32, minor: Option<u32>, mknod: bool) -> DeviceRule {
    DeviceRule { kind: DeviceType::Char, major: Some(major), minor, read: true, write: true, mknod }
}

/// `devices.allow` by number; a node that does not exist refuses the start.
fn allowed_devices(context: &mut Context) -> Vec<DeviceRule> {
    let unit = context.unit;
    // The set-up stage makes nodes like these; the service cannot, in its user namespace.
    let makes = unit.namespaces.user == UserNamespace::Auto;
    let mut rules = Vec::new();
    for allow in &unit.devices.allow {
        match allow {
            DeviceAllow::Number(rule) => rules.push(*rule),
            DeviceAllow::Path { path, read, write, mknod } => match context.facts.devices.get(path) {
                Some(numbers) => rules.push(DeviceRule {
                    kind: if numbers.character { DeviceType::Char } else { DeviceType::Block },
                    major: Some(numbers.major),
                    minor: Some(numbers.minor),
                    read: *read,
                    write: *write,
                    mknod: *mknod || makes,
                }),
                None => {
                    let why = format!("{} is no device node of this host", path.display());
                    context.lacking("devices.allow", "NAMESPACE", &why, Some("load the driver that makes it"));
                }
            },
        }
    }
    rules
}

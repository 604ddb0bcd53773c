//! System-call filters and W^X: what `[syscalls]`, `[security]` and `[network]` forbid, as programs.

use super::context::{Context, Shape};
use crate::filter::{self, FilterMode, FilterPolicy};
use crate::plan::{SecurityModule, Step};
use crate::unit::{Isolation, OnDeny, RestrictNamespaces, SyscallMode, Unit};

/// CLONE_NEW* bits and the words of `security.restrict_namespaces`. Source: clone(2), `linux/sched.h`.
const NAMESPACE_FLAGS: [(&str, u64); 8] = [
    ("mnt", 0x0002_0000),
    ("cgroup", 0x0200_0000),
    ("uts", 0x0400_0000),
    ("ipc", 0x0800_0000),
    ("user", 0x1000_0000),
    ("pid", 0x2000_0000),
    ("net", 0x4000_0000),
    ("time", 0x0000_0080),
];

/// Will a filter be loaded?
pub(super) fn wants_filter(unit: &Unit) -> bool {
    unit.syscalls.mode != SyscallMode::Off || has_rules(&protections(unit))
}

/// `security.memory_deny_write_execute`
pub(super) fn deny_write_execute(context: &mut Context) {
    let key = "security.memory_deny_write_execute";
    if !context.unit.security.memory_deny_write_execute {
        return;
    }
    if context.facts.mdwe {
        context.push(key, Step::DenyWriteExecute);
    } else {
        context.lacking(key, "SECCOMP", "this kernel lacks PR_SET_MDWE (Linux 6.3)", None);
    }
}

/// `security.apparmor_profile` and `security.selinux_context`
pub(super) fn labels(context: &mut Context) {
    let security = &context.unit.security;
    let asked =
        [(SecurityModule::AppArmor, &security.apparmor_profile), (SecurityModule::SeLinux, &security.selinux_context)];
    for (module, label) in asked {
        let Some(label) = label else { continue };
        let step = Step::SetExecLabel { module, label: label.to_string() };
        if context.facts.security_modules.contains(&module) {
            context.push(module.key(), step);
        } else {
            let why = format!("{} is not at work on this host", module.name());
            context.lacking(module.key(), step.name(), &why, Some("`cat /sys/kernel/security/lsm` names what is"));
        }
    }
}

/// `security.remove_ipc`: what the unit leaves is gone with namespaces and `/dev` of its own. Elsewhere nothing removes it.
pub(super) fn remove_ipc(context: &mut Context, shape: &Shape) {
    let unit = context.unit;
    let is_own = shape.namespaces.ipc == Isolation::Private && shape.mounts && unit.devices.private;
    if unit.security.remove_ipc && !is_own {
        let why = "this version removes nothing that is in the host's ipc namespace or /dev, or in another unit's";
        let hint = "leave namespaces.ipc, namespaces.mount and devices.private as they are: then nothing stays behind";
        context.lacking("security.remove_ipc", "NAMESPACE", why, Some(hint));
    }
}

/// The filters, in load order.
///
/// `mode = "log"` is for trying the lists of `[syscalls]`; what `[security]` protects stays protected meanwhile, by a
/// filter of its own.
pub(super) fn filter_steps(context: &mut Context) {
    let unit = context.unit;
    if unit.syscalls.on_deny == OnDeny::NotifyErrno && !context.facts.seccomp_listeners {
        let key = "syscalls.on_deny";
        let why = format!("{key}: this kernel has no SECCOMP_RET_USER_NOTIF (Linux 5.0)");
        context.refuse(key, "SECCOMP", why, Some("write on_deny = \"errno\""));
    }
    let protections = protections(unit);
    match unit.syscalls.mode {
        SyscallMode::Off if has_rules(&protections) => load(context, &PROTECTIONS, "syscalls.mode", &protections),
        SyscallMode::Off => {}
        SyscallMode::Enforce => {
            let deny = unit.syscalls.deny.iter().chain(&protections.deny).cloned().collect();
            let keys = [&LISTS[..], &PROTECTIONS[..]].concat();
            load(context, &keys, "syscalls.allow", &FilterPolicy { deny, ..lists(unit, protections) });
        }
        SyscallMode::Log => {
            if has_rules(&protections) {
                load(context, &PROTECTIONS, "syscalls.mode", &protections);
            }
            let deny = unit.syscalls.deny.clone();
            let nothing = FilterPolicy { mode: FilterMode::Log, deny, ..none(unit) };
            load(context, &LISTS, "syscalls.mode", &lists(unit, nothing));
        }
    }
}

/// Keys that make the lists of a filter.
const LISTS: [&str; 6] =
    ["syscalls.allow", "syscalls.deny", "syscalls.on_deny", "syscalls.log", "syscalls.architectures", "syscalls.mode"];

/// Keys of which a filter is a part, whatever `[syscalls]` says.
const PROTECTIONS: [&str; 11] = [
    "network.address_families",
    "network.bind_allow",
    "network.connect_allow",
    "security.lock_personality",
    "security.restrict_realtime",
    "security.restrict_suid_sgid",
    "security.restrict_namespaces",
    "security.protect_kernel_modules",
    "security.protect_kernel_logs",
    "security.protect_clock",
    "security.protect_hostname",
];

/// The step leads back to the first of `keys` that the author wrote, else to `default`.
fn load(context: &mut Context, keys: &[&'static str], default: &'static str, policy: &FilterPolicy) {
    let key = context.first_written(keys).unwrap_or(default);
    match filter::compile(policy, filter::Arch::native()) {
        Ok(programs) => {
            for program in programs {
                let log = policy.mode == FilterMode::Log;
                context.push(key, Step::LoadFilter { program, log, rules: rules(policy) });
            }
        }
        Err(error) => context.refuse(key, "SECCOMP", format!("no system-call filter can be made: {error}"), None),
    }
}

/// The entries with conditions, in words.
fn rules(policy: &FilterPolicy) -> Vec<String> {
    let of = |verb: &'static str, list: &[String]| {
        let rules = list.iter().filter(|entry| filter::is_rule(entry));
        rules.map(|rule| format!("{verb} {rule}")).collect::<Vec<_>>()
    };
    let allow = policy.allow.as_deref().unwrap_or_default();
    [of("allow", allow), of("deny", &policy.deny)].concat()
}

/// The lists of `[syscalls]` on top of `policy`.
fn lists(unit: &Unit, policy: FilterPolicy) -> FilterPolicy {
    let syscalls = &unit.syscalls;
    FilterPolicy {
        // An empty list allows nothing: it is not the same as no list.
        allow: Some(syscalls.allow.clone()),
        log: syscalls.log.clone(),
        kill: syscalls.on_deny == OnDeny::KillProcess,
        ..policy
    }
}

/// What holds whatever `[syscalls]` says.
fn protections(unit: &Unit) -> FilterPolicy {
    let security = &unit.security;
    let mut deny: Vec<&str> = Vec::new();
    if security.protect_clock {
        deny.push("@clock");
    }
    if security.protect_kernel_modules {
        deny.push("@module");
    }
    if security.protect_kernel_logs {
        deny.push("syslog");
    }
    if security.protect_hostname {
        deny.extend(["sethostname", "setdomainname"]);
    }
    let deny_namespaces = match &security.restrict_namespaces {
        RestrictNamespaces::No => 0,
        RestrictNamespaces::Except(allowed) => NAMESPACE_FLAGS
            .iter()
            .filter(|(name, _)| !allowed.iter().any(|allowed| allowed == name))
            .fold(0, |flags, (_, flag)| flags | flag),
    };
    let families = unit.network.address_families.as_ref();
    let policy = FilterPolicy {
        deny: deny.into_iter().map(str::to_owned).collect(),
        address_families: families.map(|families| families.iter().map(|family| family.number).collect()),
        deny_namespaces,
        lock_personality: security.lock_personality,
        restrict_realtime: security.restrict_realtime,
        restrict_suid_sgid: security.restrict_suid_sgid,
        plain_tcp: unit.network.bind_allow.is_some() || unit.network.connect_allow.is_some(),
        deny_fast_open: unit.network.connect_allow.is_some(),
        ..none(unit)
    };
    // Typing into the terminal of whoever started the daemon is nobody's need; only a unit that asks for no filter at
    // all (profile `host`) goes without.
    let deny_terminal_injection = unit.syscalls.mode != SyscallMode::Off || has_rules(&policy);
    FilterPolicy { deny_terminal_injection, ..policy }
}

/// A policy that forbids nothing.
fn none(unit: &Unit) -> FilterPolicy {
    let foreign = unit.syscalls.architectures.iter().filter(|name| *name != "native").cloned().collect();
    FilterPolicy {
        errno: unit.syscalls.errno,
        unknown_errno: unit.syscalls.unknown_errno,
        foreign,
        notify: unit.syscalls.on_deny == OnDeny::NotifyErrno,
        ..FilterPolicy::open()
    }
}

fn has_rules(policy: &FilterPolicy) -> bool {
    !policy.deny.is_empty()
        || policy.address_families.is_some()
        || policy.deny_namespaces != 0
        || policy.lock_personality
        || policy.restrict_realtime
        || policy.restrict_suid_sgid
        || policy.plain_tcp
        || policy.deny_fast_open
        || policy.deny_terminal_injection
}

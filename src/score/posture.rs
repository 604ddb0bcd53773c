//! What of a unit is in force: each protection as it comes out of several keys, asked by both scores.
//!
//! A protection counts when the unit asks for all of it. What is half there counts as open: a score that errs shall err
//! to the worse.

use crate::filter;
use crate::plan::{CapabilitySet, Prefix, capability_name};
use crate::unit::{
    Account, DevicePolicy, Isolation, NetworkMode, NotifyAccess, ProtectHome, ProtectProc, ProtectSystem,
    RestrictNamespaces, RootfsKind, SyscallMode, Unit, UserNamespace,
};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

/// Words of `security.restrict_namespaces`.
pub(super) const NAMESPACES: [&str; 8] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"];

/// Who can be talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peers {
    /// Not every address of both families is denied.
    All,
    /// Those that are listed.
    Listed,
    /// Addresses of this machine, or network, itself.
    Local,
    Nobody,
}

/// A unit, seen by the scores.
#[derive(Clone, Debug)]
pub struct Posture<'u> {
    /// The unit.
    pub unit: &'u Unit,
    /// Runs as root, perhaps of a user namespace of its own.
    pub root: bool,
    /// A mount namespace of its own, without which no file rule holds.
    pub mounts: bool,
    /// Another root file system than the host's.
    pub own_root: bool,
    /// What the protections of `[security]` leave of the bounding set.
    pub bounding: CapabilitySet,
    /// The same of the ambient set.
    pub ambient: CapabilitySet,
    /// Calls that the filter lets through; `None`: no list is enforced.
    pub allowed: Option<BTreeSet<&'static str>>,
}

impl<'u> Posture<'u> {
    /// Looks at a unit.
    pub fn of(unit: &'u Unit) -> Posture<'u> {
        let root = match &unit.service.user {
            None | Some(Account::Id(0)) => true,
            Some(Account::Id(_) | Account::Auto) => false,
            Some(Account::Name(name)) => name == "root",
        };
        let mounts = unit.namespaces.mount == Isolation::Private;
        let taken = taken(unit);
        let ambient = unit.capabilities.ambient.difference(taken);
        Posture {
            unit,
            root,
            mounts,
            own_root: mounts && unit.rootfs.kind != RootfsKind::Host,
            bounding: unit.capabilities.bounding.difference(taken).union(ambient),
            ambient,
            allowed: allowed(unit),
        }
    }

    /// Those of `names` that the bounding set has; a name may end in `*`.
    pub fn held(&self, names: &[&str]) -> CapabilitySet {
        let is_named = |bit: u32| {
            let name = capability_name(bit);
            let name = name.trim_start_matches("CAP_");
            names.iter().any(|wanted| match wanted.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => name == *wanted,
            })
        };
        let bits = (0..64).filter(|bit| self.bounding.contains(*bit) && is_named(*bit));
        bits.fold(CapabilitySet::EMPTY, CapabilitySet::with)
    }

    /// An account that others use as well.
    pub(super) fn is_nobody(&self) -> bool {
        matches!(&self.unit.service.user, Some(Account::Name(name)) if name == "nobody")
            || matches!(&self.unit.service.user, Some(Account::Id(65534)))
    }

    /// A private `/dev`, and no right to make a device node or to reach hardware around it.
    pub fn private_devices(&self) -> bool {
        self.has_own_dev() && self.held(&["MKNOD", "SYS_RAWIO"]).is_empty()
    }

    /// A private `/dev`.
    pub fn has_own_dev(&self) -> bool {
        self.mounts && self.unit.devices.private
    }

    /// Does the device policy let nothing through but what is listed?
    pub fn closes_devices(&self) -> bool {
        self.unit.devices.policy != DevicePolicy::Auto
    }

    /// An own /tmp; a root of its own always has one.
    pub fn private_tmp(&self) -> bool {
        self.mounts && (self.unit.filesystem.private_tmp || self.own_root)
    }

    /// A network without any way out.
    pub fn private_network(&self) -> bool {
        self.unit.network.mode == NetworkMode::Loopback
    }

    /// Who can be talked to, as `network.ip_deny` and `network.ip_allow` say it.
    pub(super) fn peers(&self) -> Peers {
        let Some(rules) = &self.unit.network.peers else { return Peers::All };
        let local = |prefix: &Prefix| match prefix.address {
            IpAddr::V4(address) => address.is_loopback(),
            IpAddr::V6(address) => address == Ipv6Addr::LOCALHOST && prefix.length == 128,
        };
        match &rules.allow {
            _ if ![Prefix::ALL_V4, Prefix::ALL_V6].iter().all(|all| rules.deny.contains(all)) => Peers::All,
            allow if allow.is_empty() => Peers::Nobody,
            allow if allow.iter().all(local) => Peers::Local,
            _ => Peers::Listed,
        }
    }

    /// A user namespace that is made for this unit.
    pub(super) fn private_users(&self) -> bool {
        let user = &self.unit.namespaces.user;
        matches!(user, UserNamespace::Identity | UserNamespace::Auto | UserNamespace::Mapped { .. })
    }

    /// Does root inside stand for another user outside?
    pub(super) fn is_mapped(&self) -> bool {
        match &self.unit.namespaces.user {
            UserNamespace::Auto => true,
            UserNamespace::Mapped { uid, .. } => uid.iter().all(|(_, outside, _)| *outside != 0),
            UserNamespace::Host | UserNamespace::Identity | UserNamespace::Path(_) => false,
        }
    }

    /// How much of the tree is read-only.
    pub fn protect_system(&self) -> ProtectSystem {
        match self.unit.filesystem.protect_system {
            _ if !self.mounts => ProtectSystem::Off,
            _ if self.own_root && self.unit.rootfs.readonly => ProtectSystem::Strict,
            level => level,
        }
    }

    /// Do rules of Landlock stand behind a tree that is read-only as a whole?
    pub(super) fn landlock(&self) -> bool {
        let pid = &self.unit.namespaces.pid;
        let traces = *pid == Isolation::Host && !self.held(&["SYS_PTRACE"]).is_empty();
        self.unit.security.landlock
            && matches!(self.protect_system(), ProtectSystem::Standard | ProtectSystem::Strict)
            && matches!(pid, Isolation::Private | Isolation::Host)
            && !self.may_make("mnt")
            && self.held(&["SYS_ADMIN"]).is_empty()
            && !traces
    }

    /// Home directories. In a root of one's own they are part of it, so only what was written counts.
    pub fn protect_home(&self) -> ProtectHome {
        let counts = self.mounts && (!self.own_root || self.unit.is_written("filesystem.protect_home"));
        if counts { self.unit.filesystem.protect_home } else { ProtectHome::Off }
    }

    /// A user namespace gets a /proc of its own only with a pid namespace of its own.
    fn own_proc(&self) -> bool {
        let namespaces = &self.unit.namespaces;
        // With `auto` the mounts are made outside of it.
        let hosts = matches!(namespaces.user, UserNamespace::Host | UserNamespace::Auto);
        self.mounts && (namespaces.pid != Isolation::Host || hosts)
    }

    /// Processes of other users in /proc.
    pub(super) fn protect_proc(&self) -> ProtectProc {
        if self.own_proc() { self.unit.filesystem.protect_proc } else { ProtectProc::Off }
    }

    /// Only processes in /proc.
    pub(super) fn proc_pid_only(&self) -> bool {
        self.own_proc() && self.unit.filesystem.proc_pid_only
    }

    /// Settings of the kernel, with the mounts that it takes.
    pub fn protect_kernel_tunables(&self) -> bool {
        self.mounts && self.unit.security.protect_kernel_tunables
    }

    /// The kernel's log, with the mounts that it takes.
    pub fn protect_kernel_logs(&self) -> bool {
        self.mounts && self.unit.security.protect_kernel_logs
    }

    /// The tree of control groups, unless it is delegated.
    pub fn protect_control_groups(&self) -> bool {
        self.mounts && self.unit.security.protect_control_groups && !self.unit.resources.delegate
    }

    pub(super) fn protect_hostname(&self) -> bool {
        self.unit.security.protect_hostname && self.unit.namespaces.uts != Isolation::Host
    }

    /// Is what it leaves in System V and POSIX IPC gone with it?
    pub(super) fn removes_ipc(&self) -> bool {
        self.unit.namespaces.ipc == Isolation::Private && self.has_own_dev()
    }

    /// Does nobody speak for it but the main process and the commands around it?
    pub(super) fn hears_main_only(&self) -> bool {
        self.unit.service.notify_access != NotifyAccess::All
    }

    /// May namespaces of this kind be made?
    pub fn may_make(&self, kind: &str) -> bool {
        match &self.unit.security.restrict_namespaces {
            RestrictNamespaces::No => true,
            RestrictNamespaces::Except(kinds) => kinds.iter().any(|listed| listed == kind),
        }
    }

    /// May sockets of a family be made for whose name `is` holds?
    pub fn may_speak(&self, is: impl Fn(&str) -> bool) -> bool {
        let families = self.unit.network.address_families.as_ref();
        families.is_none_or(|families| families.iter().any(|family| is(&family.name)))
    }

    /// Is a filter loaded, which then also judges by which ABI a call comes in?
    pub fn has_filter(&self) -> bool {
        let security = &self.unit.security;
        self.unit.syscalls.mode != SyscallMode::Off
            || self.unit.network.address_families.is_some()
            || NAMESPACES.iter().any(|kind| !self.may_make(kind))
            || [
                security.protect_clock,
                security.protect_kernel_modules,
                security.protect_kernel_logs,
                security.protect_hostname,
                security.lock_personality,
                security.restrict_realtime,
                security.restrict_suid_sgid,
            ]
            .contains(&true)
    }

    /// Does the filter let only the native ABI in?
    pub fn is_native(&self) -> bool {
        self.unit.syscalls.architectures.iter().all(|name| name == "native")
    }

    /// Those of the calls and groups `names` that the filter lets through; all of them without a filter.
    pub fn lets_through(&self, names: &[&str]) -> bool {
        let allows = |call: &str| self.allowed.as_ref().is_none_or(|allowed| allowed.contains(call));
        names.iter().any(|name| match filter::group(name) {
            Some(calls) => calls.into_iter().any(allows),
            None => allows(name),
        })
    }
}

/// Capabilities that the protections of `[security]` take away.
fn taken(unit: &Unit) -> CapabilitySet {
    let security = &unit.security;
    let protections: [(bool, &[u32]); 3] = [
        (security.protect_clock, &[CapabilitySet::SYS_TIME, CapabilitySet::WAKE_ALARM]),
        (security.protect_kernel_modules, &[CapabilitySet::SYS_MODULE]),
        (security.protect_kernel_logs, &[CapabilitySet::SYSLOG]),
    ];
    let taken = protections.into_iter().filter(|(on, _)| *on).flat_map(|(_, bits)| bits);
    taken.fold(CapabilitySet::EMPTY, |set, bit| set.with(*bit))
}

/// What the lists let through, less what the protections deny by name.
fn allowed(unit: &Unit) -> Option<BTreeSet<&'static str>> {
    let (syscalls, security) = (&unit.syscalls, &unit.security);
    if syscalls.mode != SyscallMode::Enforce {
        return None;
    }
    // A call that is allowed with some arguments counts as allowed, one that is denied with some does not as denied.
    let whole = |entry: &String| entry.split('(').next().unwrap_or_default().to_owned();
    let mut allowed: BTreeSet<&'static str> = resolve(syscalls.allow.iter().chain(&syscalls.log).map(whole));
    let denied = resolve(syscalls.deny.iter());
    allowed.retain(|call| !denied.contains(call));
    let protections: [(bool, &[&str]); 4] = [
        (security.protect_clock, &["@clock"]),
        (security.protect_kernel_modules, &["@module"]),
        (security.protect_kernel_logs, &["syslog"]),
        (security.protect_hostname, &["sethostname", "setdomainname"]),
    ];
    for (_, names) in protections.into_iter().filter(|(on, _)| *on) {
        let denied = resolve(names.iter());
        allowed.retain(|call| !denied.contains(call));
    }
    Some(allowed)
}

/// Calls and groups as calls. Names that no architecture has do not come out of a valid unit.
fn resolve(names: impl Iterator<Item = impl AsRef<str>>) -> BTreeSet<&'static str> {
    let known: BTreeSet<&'static str> = filter::all_call_names().collect();
    let mut calls = BTreeSet::new();
    for name in names {
        match filter::group(name.as_ref()) {
            Some(group) => calls.extend(group),
            None => calls.extend(known.get(name.as_ref())),
        }
    }
    calls
}

//! The number that systemd's method gives: what `systemd-analyze security` would say of the [equivalent unit].
//!
//! ```text
//! points   = ⌈badness · weight / range⌉ of each check that applies
//! exposure = ⌈100 · Σ points / Σ weight⌉, shown with one decimal as 0.0 to 10.0
//! ```
//!
//! Faithful also where that is unkind or blind: it passes over pid and ipc namespaces, limits, executable paths and
//! hidden sockets, it asks only eleven groups of system calls, and `ProtectClock=` itself costs half of `DeviceAllow=`.
//!
//! [equivalent unit]: super::equivalent()

use super::checks::{CHECKS, Check, Rule};
use super::fix::{without_calls, without_capabilities, without_families, without_namespaces};
use super::posture::Peers;
use super::{Fix, Posture, Row};
use crate::unit::{Isolation, NetworkMode, ProtectHome, ProtectProc, ProtectSystem};

/// What systemd's method says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compatible {
    /// In the order of systemd's table; points of `weight`.
    pub rows: Vec<Row>,
    /// For each row badness and range, as systemd's debug output has them; `None`: it does not apply.
    pub badness: Vec<Option<(u32, u32)>>,
}

impl Compatible {
    /// Sum of the open points.
    pub fn open(&self) -> u32 {
        self.rows.iter().map(|row| row.open).sum()
    }

    /// Sum of the weights of what applies.
    pub fn weight(&self) -> u32 {
        self.rows.iter().filter_map(|row| row.weight).sum()
    }

    /// Tenths: 0 to 100.
    pub fn exposure(&self) -> u32 {
        (100 * self.open()).div_ceil(self.weight())
    }

    /// Tenths that systemd shows beside a row; they are rounded up and do not add up.
    pub fn shown(&self, row: &Row) -> u32 {
        (100 * row.open).div_ceil(self.weight())
    }

    /// systemd's word for the exposure.
    pub fn word(&self) -> &'static str {
        match self.exposure() {
            100.. => "DANGEROUS",
            90.. => "UNSAFE",
            75.. => "EXPOSED",
            50.. => "MEDIUM",
            10.. => "OK",
            1.. => "SAFE",
            0 => "PERFECT",
        }
    }
}

/// Asks all checks.
pub fn compatible(posture: &Posture<'_>) -> Compatible {
    let mut score = Compatible { rows: Vec::new(), badness: Vec::new() };
    for check in &CHECKS {
        let badness = badness(check, posture);
        let open = badness.map_or(0, |badness| (badness * check.weight).div_ceil(check.range));
        score.badness.push(badness.map(|badness| (badness, check.range)));
        score.rows.push(Row {
            id: check.name,
            open,
            weight: badness.map(|_| check.weight),
            what: if open == 0 { String::new() } else { check.what.to_owned() },
            fix: if open == 0 { None } else { fix(check, posture) },
        });
    }
    score
}

/// How bad, of `check.range`; `None`: it does not apply.
fn badness(check: &Check, posture: &Posture<'_>) -> Option<u32> {
    let unit = posture.unit;
    let whole = |open: bool| u32::from(open) * check.range;
    Some(match &check.rule {
        Rule::User if posture.root => 10,
        Rule::User if posture.is_nobody() => 9,
        Rule::User => 0,
        Rule::SupplementaryGroups | Rule::RemoveIpc if posture.root => return None,
        Rule::SupplementaryGroups => whole(!unit.service.supplementary_groups.is_empty()),
        Rule::RemoveIpc => whole(!posture.removes_ipc()),
        Rule::ProtectHome => match posture.protect_home() {
            ProtectHome::Hidden => 0,
            ProtectHome::ReadOnly => 5,
            ProtectHome::Off => 10,
        },
        // `standard` is systemd's `strict` with /run and /var writable, which it does not look at.
        Rule::ProtectSystem => match posture.protect_system() {
            ProtectSystem::Strict | ProtectSystem::Standard => 0,
            ProtectSystem::Full => 3,
            ProtectSystem::Off => 10,
        },
        Rule::Holds(test, ..) => whole(!test(posture)),
        Rule::Capabilities(names) => whole(!posture.held(names).is_empty()),
        Rule::Umask => match unit.service.umask {
            mask if mask & 0o002 == 0 => 10,
            mask if mask & 0o004 == 0 => 5,
            mask if mask & 0o020 == 0 => 2,
            mask if mask & 0o040 == 0 => 1,
            _ => 0,
        },
        Rule::ProtectProc => whole(posture.protect_proc() == ProtectProc::Off),
        Rule::ProcSubset => whole(!posture.proc_pid_only()),
        Rule::PrivateDevices => whole(!posture.private_devices()),
        Rule::PrivateUsers => whole(!posture.private_users()),
        Rule::Namespaces(kind) => whole(posture.may_make(kind)),
        Rule::Families(is) => whole(posture.may_speak(is)),
        Rule::Architectures if !posture.has_filter() => 10,
        Rule::Architectures if !posture.is_native() => 8,
        Rule::Architectures => 0,
        Rule::Calls(_) if posture.allowed.is_none() => 10,
        Rule::Calls(group) if posture.lets_through(&[group]) => 9,
        Rule::Calls(_) => 0,
        Rule::Peers => match posture.peers() {
            Peers::All => 10,
            Peers::Listed => 5,
            Peers::Local => 2,
            Peers::Nobody => 0,
        },
        Rule::DeviceAllow if !posture.closes_devices() => 10,
        // systemd's ProtectClock= adds the right to read the real-time clock's device.
        Rule::DeviceAllow if !unit.devices.allow.is_empty() || unit.security.protect_clock => 5,
        Rule::DeviceAllow => 0,
        Rule::AmbientCapabilities => whole(!posture.ambient.is_empty()),
    })
}

fn fix(check: &Check, posture: &Posture<'_>) -> Option<Fix> {
    let unit = posture.unit;
    let in_mounts = |key, value: &str| Some(Fix::key(key, value).in_own_mounts(posture));
    match &check.rule {
        Rule::User => Some(own_user(posture)),
        Rule::SupplementaryGroups => Some(Fix::key("service.supplementary_groups", "[]")),
        Rule::RemoveIpc => {
            let fix = Fix::key("namespaces.ipc", "\"private\"").and("devices.private", "true");
            Some(fix.in_own_mounts(posture))
        }
        Rule::ProtectHome => in_mounts("filesystem.protect_home", "\"hidden\""),
        Rule::ProtectSystem => in_mounts("filesystem.protect_system", "\"strict\""),
        Rule::Holds(_, keys, mounts) => {
            let fix = Fix(keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect());
            Some(if *mounts { fix.in_own_mounts(posture) } else { fix })
        }
        Rule::Capabilities(names) => Some(without_capabilities(posture, posture.held(names))),
        Rule::Umask => Some(Fix::key("service.umask", "\"0077\"")),
        Rule::ProtectProc => Some(Fix::key("filesystem.protect_proc", "\"invisible\"").in_own_proc(posture)),
        Rule::ProcSubset => Some(Fix::key("filesystem.proc_subset", "\"pid\"").in_own_proc(posture)),
        Rule::PrivateDevices => Some(own_devices(posture)),
        Rule::PrivateUsers => Some(own_users(posture)),
        Rule::Namespaces(kind) => Some(without_namespaces(posture, |name| name == *kind)),
        Rule::Families(is) => Some(without_families(posture, is)),
        Rule::Architectures if posture.has_filter() => Some(Fix::key("syscalls.architectures", "[\"native\"]")),
        Rule::Architectures => {
            Some(Fix::key("syscalls.architectures", "[\"native\"]").and("syscalls.mode", "\"enforce\""))
        }
        Rule::Calls(group) => Some(without_calls(posture, &[group])),
        Rule::Peers => Some(Fix::key("network.ip_deny", "[\"any\"]").and("network.ip_allow", "[]")),
        Rule::DeviceAllow if !posture.closes_devices() => Some(Fix::key("devices.policy", "\"closed\"")),
        Rule::DeviceAllow if unit.devices.allow.is_empty() => None,
        Rule::DeviceAllow => Some(Fix::key("devices.allow", "[]")),
        Rule::AmbientCapabilities => Some(Fix::key("capabilities.ambient", "[]")),
    }
}

/// A user named like the unit, as far as user names go.
pub(super) fn own_user(posture: &Posture<'_>) -> Fix {
    let allowed = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let name: String = posture.unit.name.to_ascii_lowercase().chars().filter(allowed).take(30).collect();
    let name = if name.starts_with(|c: char| c.is_ascii_lowercase()) { name } else { format!("_{name}") };
    Fix::key("service.user", format!("\"{name}\""))
}

/// A user namespace, and nothing that does not go with one.
pub(super) fn own_users(posture: &Posture<'_>) -> Fix {
    let namespaces = &posture.unit.namespaces;
    let mut fix = Fix::key("namespaces.user", "\"identity\"");
    let admin = posture.held(&["SYS_ADMIN"]);
    if !admin.is_empty() {
        fix.0.extend(without_capabilities(posture, admin).0);
    }
    // Namespaces of another unit belong to the host's user namespace.
    let shared =
        [("namespaces.pid", &namespaces.pid), ("namespaces.ipc", &namespaces.ipc), ("namespaces.uts", &namespaces.uts)];
    for (key, _) in shared.into_iter().filter(|(_, isolation)| matches!(isolation, Isolation::Unit(_))) {
        fix = fix.and(key, "\"private\"");
    }
    if matches!(posture.unit.network.mode, NetworkMode::Unit(_)) {
        fix = fix.and("network.mode", "\"loopback\"");
    }
    fix
}

/// A private `/dev`, and none of the capabilities that lead around it.
pub(super) fn own_devices(posture: &Posture<'_>) -> Fix {
    let held = posture.held(&["MKNOD", "SYS_RAWIO"]);
    let mut fix = Fix(Vec::new());
    if !posture.has_own_dev() {
        fix = Fix::key("devices.private", "true").in_own_mounts(posture);
    }
    if !held.is_empty() {
        fix.0.extend(without_capabilities(posture, held).0);
    }
    fix
}

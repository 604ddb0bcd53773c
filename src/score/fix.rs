//! What to write into a unit so that a point is closed.

use super::Posture;
use crate::filter;
use crate::plan::CapabilitySet;
use crate::unit::{Isolation, RestrictNamespaces, SyscallMode, UserNamespace};
use std::fmt;

/// Keys with the values to write, all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix(pub Vec<(String, String)>);

impl Fix {
    /// One key and its TOML.
    pub fn key(key: &str, value: impl Into<String>) -> Fix {
        Fix(vec![(key.to_owned(), value.into())])
    }

    /// With another key.
    #[must_use]
    pub fn and(mut self, key: &str, value: impl Into<String>) -> Fix {
        self.0.push((key.to_owned(), value.into()));
        self
    }

    /// File rules hold only in a mount namespace of the unit's own.
    #[must_use]
    pub fn in_own_mounts(self, posture: &Posture<'_>) -> Fix {
        if posture.unit.namespaces.mount == Isolation::Private {
            return self;
        }
        let mount = ("namespaces.mount".to_owned(), "\"private\"".to_owned());
        Fix(std::iter::once(mount).chain(self.0).collect())
    }

    /// What /proc shows can be chosen only for one of the unit's own.
    #[must_use]
    pub fn in_own_proc(self, posture: &Posture<'_>) -> Fix {
        let fix = self.in_own_mounts(posture);
        let namespaces = &posture.unit.namespaces;
        let outside = matches!(namespaces.user, UserNamespace::Host | UserNamespace::Auto);
        let hosts = namespaces.pid == Isolation::Host && !outside;
        if hosts { fix.and("namespaces.pid", "\"private\"") } else { fix }
    }
}

/// As it is written in a unit: `network.mode = "loopback"`.
impl fmt::Display for Fix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (key, value)) in self.0.iter().enumerate() {
            write!(f, "{}{key} = {value}", if n == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// An array of texts that need no escapes.
pub(super) fn array<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| format!("\"{}\"", item.as_ref())).collect();
    format!("[{}]", items.join(", "))
}

/// The sets without `taken`. Both are written where both have it: the bounding set contains the ambient one.
pub(super) fn without_capabilities(posture: &Posture<'_>, taken: CapabilitySet) -> Fix {
    let sets = &posture.unit.capabilities;
    let short = |set: CapabilitySet| array(set.difference(taken).names().iter().map(|n| n.trim_start_matches("CAP_")));
    let mut fix = Fix(Vec::new());
    // The bounding set of the unit holds what `ambient` adds, too.
    if !sets.bounding.intersection(taken).is_empty() {
        fix = fix.and("capabilities.bounding", short(sets.bounding));
    }
    if !sets.ambient.intersection(taken).is_empty() {
        fix = fix.and("capabilities.ambient", short(sets.ambient));
    }
    fix
}

/// `restrict_namespaces` without the kinds for which `taken` holds.
pub(super) fn without_namespaces(posture: &Posture<'_>, taken: impl Fn(&str) -> bool) -> Fix {
    let left: Vec<&str> = match &posture.unit.security.restrict_namespaces {
        RestrictNamespaces::No => super::posture::NAMESPACES.into_iter().filter(|kind| !taken(kind)).collect(),
        RestrictNamespaces::Except(kinds) => kinds.iter().map(String::as_str).filter(|kind| !taken(kind)).collect(),
    };
    let value = if left.is_empty() { "true".to_owned() } else { array(left) };
    Fix::key("security.restrict_namespaces", value)
}

/// `address_families` without those for which `taken` holds. Where all are allowed the usual ones are named.
pub(super) fn without_families(posture: &Posture<'_>, taken: impl Fn(&str) -> bool) -> Fix {
    let usual = ["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"];
    let value = match &posture.unit.network.address_families {
        None => array(usual.into_iter().filter(|name| !taken(name))),
        Some(families) => array(families.iter().map(|family| family.name.as_str()).filter(|name| !taken(name))),
    };
    Fix::key("network.address_families", value)
}

/// The filter without what `names` lists, calls and groups.
pub(super) fn without_calls(posture: &Posture<'_>, names: &[&str]) -> Fix {
    let syscalls = &posture.unit.syscalls;
    let allowed = |name: &&str| {
        let allows = |call: &str| posture.allowed.as_ref().is_none_or(|allowed| allowed.contains(call));
        match filter::group(name) {
            Some(calls) => calls.into_iter().any(allows),
            None => allows(name),
        }
    };
    let new = names.iter().copied().filter(|name| !syscalls.deny.iter().any(|denied| denied == name)).filter(allowed);
    let deny: Vec<&str> = syscalls.deny.iter().map(String::as_str).chain(new).collect();
    let fix =
        if syscalls.mode == SyscallMode::Enforce { Fix(Vec::new()) } else { Fix::key("syscalls.mode", "\"enforce\"") };
    fix.and("syscalls.deny", array(deny))
}

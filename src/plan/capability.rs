//! Names of capabilities and sets of them as text.
//!
//! A table of our own and no library: the plan is read by processes that must not ask the kernel, and the numbers are
//! fixed for ever. Source: capabilities(7), `include/uapi/linux/capability.h`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Capabilities as a bit mask; bit N is capability N of capabilities(7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CapabilitySet(pub u64);

impl CapabilitySet {
    /// No capability.
    pub const EMPTY: CapabilitySet = CapabilitySet(0);

    /// Is capability number `bit` in the set?
    pub const fn contains(self, bit: u32) -> bool {
        bit < 64 && self.0 & (1 << bit) != 0
    }

    /// The set with capability number `bit` added.
    pub const fn with(self, bit: u32) -> CapabilitySet {
        CapabilitySet(self.0 | (1 << bit))
    }
}

/// Name of capability N at index N, as of Linux 5.9; none was added since.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

impl CapabilitySet {
    /// Number of CAP_NET_BIND_SERVICE.
    pub const NET_BIND_SERVICE: u32 = 10;
    /// Number of CAP_NET_ADMIN.
    pub const NET_ADMIN: u32 = 12;
    /// Number of CAP_NET_RAW.
    pub const NET_RAW: u32 = 13;
    /// Number of CAP_SYS_MODULE.
    pub const SYS_MODULE: u32 = 16;
    /// Number of CAP_SYS_PTRACE.
    pub const SYS_PTRACE: u32 = 19;
    /// Number of CAP_SYS_ADMIN.
    pub const SYS_ADMIN: u32 = 21;
    /// Number of CAP_SYS_TIME.
    pub const SYS_TIME: u32 = 25;
    /// Number of CAP_MKNOD.
    pub const MKNOD: u32 = 27;
    /// Number of CAP_SYSLOG.
    pub const SYSLOG: u32 = 34;
    /// Number of CAP_WAKE_ALARM.
    pub const WAKE_ALARM: u32 = 35;

    /// Every capability up to number `last`.
    pub const fn up_to(last: u32) -> CapabilitySet {
        if last >= 63 { CapabilitySet(u64::MAX) } else { CapabilitySet((1 << (last + 1)) - 1) }
    }

    /// In both sets.
    pub const fn intersection(self, other: CapabilitySet) -> CapabilitySet {
        CapabilitySet(self.0 & other.0)
    }

    /// In either set.
    pub const fn union(self, other: CapabilitySet) -> CapabilitySet {
        CapabilitySet(self.0 | other.0)
    }

    /// In this set and not in `other`.
    pub const fn difference(self, other: CapabilitySet) -> CapabilitySet {
        CapabilitySet(self.0 & !other.0)
    }

    /// No capability in it?
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Names in the order of their numbers; one without a name is `CAP_41`.
    pub fn names(self) -> Vec<String> {
        (0..64).filter(|bit| self.contains(*bit)).map(capability_name).collect()
    }
}

/// Name of capability number `bit`.
pub fn capability_name(bit: u32) -> String {
    match NAMES.get(bit as usize) {
        Some(name) => (*name).to_owned(),
        None => format!("CAP_{bit}"),
    }
}

/// `none`, or the names with a space between them.
impl fmt::Display for CapabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() { f.write_str("none") } else { f.write_str(&self.names().join(" ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    #[test]
    fn names_and_numbers_agree_with_the_caps_library() {
        for capability in caps::all() {
            let name = capability_name(u32::from(capability.index()));
            assert_eq!(name, capability.to_string());
            assert_eq!(caps::Capability::from_str(&name).ok(), Some(capability));
        }
        assert_eq!(caps::all().len(), NAMES.len());
    }

    #[test]
    fn a_set_reads_as_names_in_order() {
        let set = CapabilitySet::EMPTY.with(CapabilitySet::SYS_ADMIN).with(0);
        assert_eq!(set.to_string(), "CAP_CHOWN CAP_SYS_ADMIN");
        assert_eq!(CapabilitySet::EMPTY.to_string(), "none");
        assert_eq!(CapabilitySet(1 << 50).to_string(), "CAP_50");
    }

    #[test]
    fn up_to_includes_the_last_and_nothing_above() {
        assert_eq!(CapabilitySet::up_to(0), CapabilitySet(1));
        assert_eq!(CapabilitySet::up_to(40).names().len(), 41);
        assert_eq!(CapabilitySet::up_to(63), CapabilitySet(u64::MAX));
    }
}

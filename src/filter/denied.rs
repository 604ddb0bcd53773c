//! Denied calls in words, for people and in the form of the lists.

use super::calls::{self, Abi, X32_BIT};
use super::groups;
use super::program::{AUDIT_ARCH_AARCH64, AUDIT_ARCH_I386, AUDIT_ARCH_X86_64};
use std::fmt::Write;

/// The name of a call as `struct seccomp_data` has it; `None`: no table knows the number.
pub fn call_name(audit_arch: u32, number: u32) -> Option<&'static str> {
    let abi = match audit_arch {
        AUDIT_ARCH_X86_64 if number & X32_BIT != 0 => Abi::X32,
        AUDIT_ARCH_X86_64 => Abi::X86_64,
        AUDIT_ARCH_I386 => Abi::I386,
        AUDIT_ARCH_AARCH64 => Abi::Aarch64,
        _ => return None,
    };
    let table = calls::table(abi);
    let index = table.binary_search_by_key(&number, |(number, _)| *number).ok()?;
    Some(table[index].1)
}

/// The call with those of its arguments that say what it was about, as a condition of a list: `ioctl(1 == 0x5412)`.
pub fn with_arguments(call: &str, arguments: &[u64; 6]) -> String {
    let telling: &[usize] = match call {
        "socket" | "socketpair" => &[0, 1, 2],
        "clone" | "unshare" | "personality" | "bpf" | "keyctl" | "ptrace" | "io_uring_setup" | "memfd_create" => &[0],
        "prctl" | "arch_prctl" => &[0, 1],
        "ioctl" | "fcntl" | "fcntl64" | "setns" | "sched_setscheduler" | "chmod" | "fchmod" | "creat" | "mkdir"
        | "mknod" | "kill" | "tkill" | "umount2" => &[1],
        "fchmodat" | "fchmodat2" | "mkdirat" | "mknodat" | "mmap" | "mmap2" | "mprotect" | "pkey_mprotect"
        | "tgkill" => &[2],
        "open" => &[1, 2],
        "openat" => &[2, 3],
        "setsockopt" | "getsockopt" => &[1, 2],
        _ => &[],
    };
    let mut text = call.to_owned();
    for (n, index) in telling.iter().enumerate() {
        let narrow = super::constants::is_narrow(call, *index as u8);
        let value = if narrow { arguments[*index] & u64::from(u32::MAX) } else { arguments[*index] };
        let before = if n == 0 { "(" } else { ", " };
        let _ = write!(text, "{before}{index} == {value:#x}");
    }
    if !telling.is_empty() {
        text.push(')');
    }
    text
}

/// Does the entry of a list, a name or a group, have the call?
pub fn covers(entry: &str, call: &str) -> bool {
    entry == call || groups::group(entry).is_some_and(|calls| calls.contains(&call))
}

/// The smallest group with the call, unless it has nearly everything.
pub fn group_of(call: &str) -> Option<&'static str> {
    let sizes = groups::group_names().filter(|name| !matches!(*name, "@known" | "@system-service" | "@privileged"));
    let with_call = sizes.filter_map(|name| Some((groups::group(name)?, name)));
    with_call.filter(|(calls, _)| calls.contains(&call)).min_by_key(|(calls, _)| calls.len()).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_named_by_each_entry() {
        assert_eq!(call_name(AUDIT_ARCH_X86_64, 165), Some("mount"));
        assert_eq!(call_name(AUDIT_ARCH_X86_64, X32_BIT + 514), Some("ioctl"));
        assert_eq!(call_name(AUDIT_ARCH_I386, 102), Some("socketcall"));
        assert_eq!(call_name(AUDIT_ARCH_AARCH64, 40), Some("mount"));
        assert_eq!(call_name(AUDIT_ARCH_X86_64, 9999), None);
        assert_eq!(call_name(7, 1), None);
    }

    #[test]
    fn what_is_shown_can_be_written_into_a_list() {
        let shown = with_arguments("ioctl", &[0, 0xffff_ffff_0000_5412, 0, 0, 0, 0]);
        assert_eq!(shown, "ioctl(1 == 0x5412)");
        assert_eq!(super::super::Rule::parse(&shown).unwrap().to_string(), shown);
        assert_eq!(with_arguments("socket", &[38, 5, 0, 9, 9, 9]), "socket(0 == 0x26, 1 == 0x5, 2 == 0x0)");
        assert_eq!(with_arguments("mount", &[1; 6]), "mount");
        assert_eq!(group_of("mount"), Some("@mount"));
    }
}

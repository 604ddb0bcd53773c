//! Names and numbers of the system calls of each way into the kernel.
//!
//! Numbers come from the `syscalls` crate. Only those that x32 has for itself are written down here, as that crate does
//! not know x32: its other calls share the number of x86_64, and all carry bit 30.

use std::collections::BTreeSet;
use syscalls::{aarch64, x86, x86_64};

/// A table of numbers; one processor may have several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abi {
    X86_64,
    X32,
    I386,
    Aarch64,
}

/// Bit 30 of a number: the call enters by x32. Above it there are only nonsense numbers such as -1.
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// Calls whose x32 number is not the x86_64 number, without [`X32_BIT`].
/// Source: Linux, arch/x86/entry/syscalls/syscall_64.tbl, rows with ABI "x32"; closed since Linux 5.4.
#[rustfmt::skip]
const X32_OWN: [(&str, u32); 36] = [
    ("rt_sigaction", 512), ("rt_sigreturn", 513), ("ioctl", 514), ("readv", 515), ("writev", 516), ("recvfrom", 517),
    ("sendmsg", 518), ("recvmsg", 519), ("execve", 520), ("ptrace", 521), ("rt_sigpending", 522),
    ("rt_sigtimedwait", 523), ("rt_sigqueueinfo", 524), ("sigaltstack", 525), ("timer_create", 526),
    ("mq_notify", 527), ("kexec_load", 528), ("waitid", 529), ("set_robust_list", 530), ("get_robust_list", 531),
    ("vmsplice", 532), ("move_pages", 533), ("preadv", 534), ("pwritev", 535), ("rt_tgsigqueueinfo", 536),
    ("recvmmsg", 537), ("sendmmsg", 538), ("process_vm_readv", 539), ("process_vm_writev", 540),
    ("setsockopt", 541), ("getsockopt", 542), ("io_setup", 543), ("io_submit", 544), ("execveat", 545),
    ("preadv2", 546), ("pwritev2", 547),
];

/// All calls of `abi`, ascending by number; x32 with its bit set.
///
/// The crate's own iterator is not used: it leaves out the last call (0.8.1).
pub(super) fn table(abi: Abi) -> Vec<(u32, &'static str)> {
    let number = |id: i32| u32::try_from(id).expect("call numbers are not negative");
    match abi {
        Abi::X86_64 => (x86_64::Sysno::first().id()..=x86_64::Sysno::last().id())
            .filter_map(|id| x86_64::Sysno::new(id as usize).map(|call| (number(id), call.name())))
            .collect(),
        Abi::I386 => (x86::Sysno::first().id()..=x86::Sysno::last().id())
            .filter_map(|id| x86::Sysno::new(id as usize).map(|call| (number(id), call.name())))
            .collect(),
        Abi::Aarch64 => (aarch64::Sysno::first().id()..=aarch64::Sysno::last().id())
            .filter_map(|id| aarch64::Sysno::new(id as usize).map(|call| (number(id), kernel_name(call.name()))))
            .collect(),
        Abi::X32 => {
            let own: BTreeSet<&str> = X32_OWN.iter().map(|(name, _)| *name).collect();
            let shared = table(Abi::X86_64).into_iter().filter(|(_, name)| !own.contains(name));
            let own = X32_OWN.iter().map(|&(name, number)| (number, name));
            shared.chain(own).map(|(number, name)| (number | X32_BIT, name)).collect()
        }
    }
}

/// The crate takes one name from the generic headers that no kernel table and no other architecture uses.
fn kernel_name(name: &'static str) -> &'static str {
    if name == "fstatat" { "newfstatat" } else { name }
}

/// The table's own copy of `name`, if any architecture has that call.
pub(super) fn known(name: &str) -> Option<&'static str> {
    let x86_64 = name.parse::<x86_64::Sysno>().map(|call| call.name());
    let found = x86_64
        .or_else(|()| name.parse::<x86::Sysno>().map(|call| call.name()))
        .or_else(|()| name.parse::<aarch64::Sysno>().map(|call| call.name()));
    found.ok().filter(|name| kernel_name(name) == *name)
}

/// Has any architecture that rsvc knows a system call of this name?
pub fn is_known_call(name: &str) -> bool {
    known(name).is_some()
}

/// The names of all system calls of all architectures that rsvc knows, sorted; for completion and "did you mean".
pub fn all_call_names() -> impl Iterator<Item = &'static str> {
    let names: BTreeSet<_> =
        [Abi::X86_64, Abi::I386, Abi::Aarch64].into_iter().flat_map(table).map(|(_, name)| name).collect();
    names.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(abi: Abi, name: &str) -> Option<u32> {
        table(abi).into_iter().find(|(_, call)| *call == name).map(|(number, _)| number)
    }

    #[test]
    fn tables_ascend_without_gaps_in_meaning() {
        for abi in [Abi::X86_64, Abi::X32, Abi::I386, Abi::Aarch64] {
            let table = table(abi);
            assert!(table.is_sorted_by(|a, b| a.0 < b.0), "{abi:?}");
            assert!(table.iter().all(|(_, name)| is_known_call(name)), "{abi:?}");
        }
    }

    #[test]
    fn the_newest_call_of_the_crate_is_not_lost() {
        for abi in [Abi::X86_64, Abi::I386, Abi::Aarch64] {
            assert_eq!(number(abi, "file_setattr"), Some(469), "{abi:?}");
        }
    }

    #[test]
    fn x32_has_its_bit_and_its_own_numbers() {
        assert_eq!(number(Abi::X32, "read"), Some(X32_BIT));
        assert_eq!(number(Abi::X32, "ioctl"), Some(X32_BIT + 514));
        assert_eq!(number(Abi::X32, "execve"), Some(X32_BIT + 520));
        assert!(table(Abi::X32).iter().all(|(number, _)| number & X32_BIT != 0));
    }

    #[test]
    fn names_are_those_of_the_kernels_tables() {
        assert_eq!(number(Abi::Aarch64, "newfstatat"), Some(79));
        assert!(!is_known_call("fstatat"));
        assert!(all_call_names().all(|name| known(name) == Some(name)));
        assert!(is_known_call("socketcall"), "a call that only i386 has");
        assert!(!is_known_call("") && !is_known_call("@file-system") && !is_known_call("READ"));
    }
}

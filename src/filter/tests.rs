//! What people rely on, said one fact at a time. That no number and no policy was forgotten is shown in `properties`.

use super::interpreter::{self, Call, Outcome};
use super::model::{AARCH64, I386, X86_64};
use super::*;

pub(super) fn open() -> FilterPolicy {
    FilterPolicy::open()
}

/// What a unit that says nothing gets.
pub(super) fn standard() -> FilterPolicy {
    FilterPolicy {
        allow: Some(list(&["@system-service", "@sandbox", "chroot"])),
        address_families: Some(vec![1, 2, 10, 16]),
        deny_namespaces: 0x7e02_0080,
        lock_personality: true,
        restrict_realtime: true,
        restrict_suid_sgid: true,
        deny_terminal_injection: true,
        ..open()
    }
}

pub(super) fn list(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

pub(super) fn call(arch: u32, number: u32, arguments: &[u64]) -> Call {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    Call { arch, number, arguments: all }
}

/// The most severe answer of all programs, and the longest run, as the kernel stacks them.
pub(super) fn run(programs: &[crate::plan::FilterProgram], call: &Call) -> Outcome {
    let outcomes = programs.iter().map(|program| interpreter::run(&program.0, call));
    let severe = |outcome: &Outcome| (outcome.answer & 0xffff_0000) as i32;
    outcomes.min_by_key(severe).unwrap_or(Outcome { answer: 0x7fff_0000, saw_arguments: false, steps: 0 })
}

/// Every number that can mean something, and the borders between meanings.
pub(super) fn interesting_numbers() -> impl Iterator<Item = u32> {
    let ends = [1000, 0x3fff_ffff, 0x4000_0600, 0x7fff_ffff, 0x8000_0000, 0x8000_0029, u32::MAX - 1, u32::MAX];
    (0..=600).chain(0x4000_0000..=0x4000_0000 + 600).chain(ends)
}

const ALLOW: u32 = 0x7fff_0000;
const LOG: u32 = 0x7ffc_0000;
const KILL: u32 = 0x8000_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0000 | 38;
const EAFNOSUPPORT: u32 = 0x0005_0000 | 97;

/// The answer of `policy` on x86_64 to a call by name.
fn x86_64(policy: &FilterPolicy, name: &str, arguments: &[u64]) -> u32 {
    answer(policy, X86_64, calls::Abi::X86_64, name, arguments)
}

fn answer(policy: &FilterPolicy, entry: u32, abi: calls::Abi, name: &str, arguments: &[u64]) -> u32 {
    let (number, _) = calls::table(abi).into_iter().find(|(_, call)| *call == name).unwrap();
    run(&compile(policy, Arch::X86_64).unwrap(), &call(entry, number, arguments)).answer
}

#[test]
fn a_policy_without_rules_needs_no_program() {
    assert_eq!(compile(&open(), Arch::X86_64), Ok(Vec::new()));
    let only_enters = FilterPolicy { foreign: list(&["x86"]), kill: true, ..open() };
    assert_eq!(compile(&only_enters, Arch::Aarch64), Ok(Vec::new()));
}

#[test]
fn an_empty_allow_list_still_lets_a_service_start_and_end() {
    let nothing = FilterPolicy { allow: Some(Vec::new()), ..open() };
    for name in ["execve", "execveat", "exit", "exit_group", "rt_sigreturn", "write"] {
        assert_eq!(x86_64(&nothing, name, &[]), ALLOW, "{name}");
    }
    for name in ["read", "mmap", "setgroups", "seccomp"] {
        assert_eq!(x86_64(&nothing, name, &[]), EPERM, "{name}");
    }
}

#[test]
fn standard_refuses_what_opens_the_host() {
    let calls = [
        "mount",
        "fsopen",
        "fsconfig",
        "move_mount",
        "open_tree",
        "mount_setattr",
        "pivot_root",
        "bpf",
        "ptrace",
        "unshare",
        "perf_event_open",
        "userfaultfd",
        "process_vm_readv",
        "kcmp",
        "io_uring_setup",
        "kexec_load",
        "init_module",
        "setns",
        "personality",
        "open_by_handle_at",
        "quotactl",
        "swapon",
        "reboot",
    ];
    for name in calls {
        assert_eq!(x86_64(&standard(), name, &[0; 6]), EPERM, "{name}");
    }
    for name in ["accept4", "futex", "setgroups", "chroot", "landlock_restrict_self", "seccomp", "ioctl", "clone"] {
        assert_eq!(x86_64(&standard(), name, &[0; 6]), ALLOW, "{name}");
    }
}

#[test]
fn libraries_are_told_to_fall_back() {
    assert_eq!(x86_64(&standard(), "clone3", &[]), ENOSYS);
    assert_eq!(x86_64(&standard(), "openat2", &[]), ENOSYS);
    let denied = FilterPolicy { deny: list(&["clone3"]), kill: true, ..open() };
    assert_eq!(x86_64(&denied, "clone3", &[]), ENOSYS);
    let programs = compile(&standard(), Arch::X86_64).unwrap();
    for number in (337..424).chain(470..500) {
        assert_eq!(run(&programs, &call(X86_64, number, &[])).answer, ENOSYS, "{number}");
    }
}

#[test]
fn a_terminal_request_is_compared_in_32_bits() {
    let policy = FilterPolicy { deny_terminal_injection: true, ..open() };
    for upper in [0, 1 << 32, 0xffff_ffff << 32] {
        assert_eq!(x86_64(&policy, "ioctl", &[0, 0x5412 | upper, 0]), EPERM);
        assert_eq!(x86_64(&policy, "ioctl", &[0, 0x541c | upper, 0]), EPERM);
        assert_eq!(x86_64(&policy, "ioctl", &[0, 0x5413 | upper, 0]), ALLOW);
    }
}

#[test]
fn families_are_restricted_by_every_entry() {
    let policy = FilterPolicy { address_families: Some(vec![1, 2, 10, 16]), foreign: list(&["x86", "x32"]), ..open() };
    for family in 0..60 {
        let expected = if [1, 2, 10, 16].contains(&family) { ALLOW } else { EAFNOSUPPORT };
        for name in ["socket", "socketpair"] {
            assert_eq!(x86_64(&policy, name, &[family]), expected, "{name} {family}");
            assert_eq!(answer(&policy, X86_64, calls::Abi::X32, name, &[family]), expected, "x32 {name} {family}");
            assert_eq!(answer(&policy, I386, calls::Abi::I386, name, &[family]), expected, "i386 {name} {family}");
        }
    }
    assert_eq!(answer(&policy, I386, calls::Abi::I386, "socketcall", &[1, 0]), EPERM);
    let none = FilterPolicy { address_families: Some(Vec::new()), ..open() };
    assert_eq!(x86_64(&none, "socket", &[1]), EAFNOSUPPORT);
}

#[test]
fn foreign_entries_are_refused_before_any_list_is_asked() {
    let policy = FilterPolicy { deny: list(&["mount"]), ..open() };
    assert_eq!(answer(&policy, I386, calls::Abi::I386, "getpid", &[]), ENOSYS);
    assert_eq!(answer(&policy, X86_64, calls::Abi::X32, "getpid", &[]), ENOSYS);
    let programs = compile(&policy, Arch::X86_64).unwrap();
    assert_eq!(run(&programs, &call(X86_64, u32::MAX, &[])).answer, ENOSYS, "not even -1");
    assert_eq!(run(&programs, &call(AARCH64, 172, &[])).answer, ENOSYS);
    let both = FilterPolicy { foreign: list(&["x86", "x32"]), ..policy };
    assert_eq!(answer(&both, I386, calls::Abi::I386, "getpid", &[]), ALLOW);
    assert_eq!(answer(&both, I386, calls::Abi::I386, "mount", &[]), EPERM);
    assert_eq!(answer(&both, X86_64, calls::Abi::X32, "mount", &[]), EPERM);
    assert_eq!(answer(&both, X86_64, calls::Abi::X32, "execve", &[]), ALLOW);
}

#[test]
fn set_id_bits_are_found_wherever_a_mode_is() {
    let policy = FilterPolicy { restrict_suid_sgid: true, ..open() };
    const CREATE: u64 = 0o100;
    const TEMPORARY: u64 = 0o20_200_000;
    for (bits, expected) in [(0o0755, ALLOW), (0o1777, ALLOW), (0o2755, EPERM), (0o4755, EPERM), (0o6000, EPERM)] {
        for name in ["chmod", "fchmod", "creat", "mkdir", "mknod"] {
            assert_eq!(x86_64(&policy, name, &[7, bits]), expected, "{name} {bits:o}");
        }
        for name in ["fchmodat", "fchmodat2", "mkdirat", "mknodat"] {
            assert_eq!(x86_64(&policy, name, &[7, 7, bits]), expected, "{name} {bits:o}");
        }
        for flags in [CREATE, CREATE | 1, TEMPORARY, TEMPORARY | 2] {
            assert_eq!(x86_64(&policy, "open", &[7, flags, bits]), expected, "open {flags:o} {bits:o}");
            assert_eq!(x86_64(&policy, "openat", &[7, 7, flags, bits]), expected, "openat {flags:o} {bits:o}");
        }
        // Without a new file the mode is not looked at and may be anything.
        assert_eq!(x86_64(&policy, "open", &[7, 0o200_000, bits]), ALLOW, "O_DIRECTORY {bits:o}");
    }
}

#[test]
fn ways_around_rules_about_tcp_ports_are_closed() {
    const FASTOPEN: u64 = 0x2000_0000;
    let policy = FilterPolicy { plain_tcp: true, deny_fast_open: true, ..open() };
    let families = FilterPolicy { address_families: Some(vec![2, 16, 43]), ..policy.clone() };
    for policy in [&policy, &families] {
        for (protocol, expected) in [(0, ALLOW), (6, ALLOW), (17, ALLOW), (256, EAFNOSUPPORT), (262, EAFNOSUPPORT)] {
            assert_eq!(x86_64(policy, "socket", &[2, 1, protocol]), expected, "{protocol}");
        }
        for (flags, expected) in [(0, ALLOW), (0x4000, ALLOW), (FASTOPEN, EPERM), (FASTOPEN | 0x4000, EPERM)] {
            assert_eq!(x86_64(policy, "sendto", &[7, 7, 7, flags]), expected);
            assert_eq!(x86_64(policy, "sendmmsg", &[7, 7, 7, flags]), expected);
            assert_eq!(x86_64(policy, "sendmsg", &[7, 7, flags]), expected);
        }
        assert_eq!(x86_64(policy, "socket", &[43, 1, 0]), EAFNOSUPPORT, "SMC");
        assert_eq!(x86_64(policy, "io_uring_setup", &[]), ENOSYS);
    }
    assert_eq!(x86_64(&families, "socket", &[1, 1, 0]), EAFNOSUPPORT);
}

#[test]
fn namespaces_cannot_be_made_nor_joined() {
    const NEWNET: u64 = 0x4000_0000;
    const NEWTIME: u64 = 0x80;
    let policy = FilterPolicy { deny_namespaces: NEWNET | NEWTIME, ..open() };
    assert_eq!(x86_64(&policy, "clone", &[NEWNET | 17]), EPERM);
    assert_eq!(x86_64(&policy, "clone", &[NEWTIME | 17]), ALLOW, "part of the exit signal here");
    assert_eq!(x86_64(&policy, "clone", &[0x2000_0011]), ALLOW, "another kind");
    assert_eq!(x86_64(&policy, "unshare", &[NEWTIME]), EPERM);
    assert_eq!(x86_64(&policy, "unshare", &[0x0002_0000]), ALLOW);
    assert_eq!(x86_64(&policy, "setns", &[3, NEWNET]), EPERM);
    assert_eq!(x86_64(&policy, "setns", &[3, 0]), EPERM, "0 is any kind");
    assert_eq!(x86_64(&policy, "setns", &[3, 0x0002_0000]), ALLOW);
    assert_eq!(x86_64(&policy, "clone3", &[]), ENOSYS);
    let time_only = FilterPolicy { deny_namespaces: NEWTIME, ..open() };
    assert_eq!(x86_64(&time_only, "clone", &[0xff]), ALLOW);
}

#[test]
fn real_time_is_refused_with_the_flag_too() {
    let policy = FilterPolicy { restrict_realtime: true, ..open() };
    for (scheduler, expected) in [(0, ALLOW), (1, EPERM), (2, EPERM), (3, ALLOW), (5, ALLOW), (6, EPERM), (7, ALLOW)] {
        assert_eq!(x86_64(&policy, "sched_setscheduler", &[0, scheduler]), expected, "{scheduler}");
        assert_eq!(x86_64(&policy, "sched_setscheduler", &[0, scheduler | 0x4000_0000]), expected, "{scheduler}");
    }
    assert_eq!(x86_64(&policy, "sched_setattr", &[]), EPERM);
}

#[test]
fn deny_wins_log_allows_kill_kills() {
    let policy = FilterPolicy {
        allow: Some(list(&["@basic-io", "getpid", "mount", "socket"])),
        deny: list(&["mount", "uname"]),
        log: list(&["uname", "getuid", "socket"]),
        address_families: Some(vec![1]),
        errno: 13,
        unknown_errno: 22,
        ..open()
    };
    assert_eq!(x86_64(&policy, "getpid", &[]), ALLOW);
    assert_eq!(x86_64(&policy, "mount", &[]), 0x0005_0000 | 13);
    assert_eq!(x86_64(&policy, "uname", &[]), 0x0005_0000 | 13, "deny wins over log");
    assert_eq!(x86_64(&policy, "getuid", &[]), LOG, "not in the allow list, but logged calls are allowed");
    assert_eq!(x86_64(&policy, "socket", &[1]), LOG);
    assert_eq!(x86_64(&policy, "socket", &[2]), EAFNOSUPPORT);
    let programs = compile(&policy, Arch::X86_64).unwrap();
    assert_eq!(run(&programs, &call(X86_64, 400, &[])).answer, 0x0005_0000 | 22);
    let kills = FilterPolicy { kill: true, ..policy };
    assert_eq!(x86_64(&kills, "mount", &[]), KILL);
    assert_eq!(x86_64(&kills, "clone3", &[]), ENOSYS);
    assert_eq!(x86_64(&kills, "socket", &[2]), EAFNOSUPPORT, "a restriction is not a list");
}

#[test]
fn log_mode_refuses_nothing() {
    let policy = FilterPolicy { mode: FilterMode::Log, kill: true, deny: list(&["getppid"]), ..standard() };
    let programs = compile(&policy, Arch::X86_64).unwrap();
    for entry in [X86_64, I386, AARCH64] {
        for number in interesting_numbers() {
            for arguments in [[0; 6], [u64::MAX; 6], [0x5412; 6]] {
                let outcome = run(&programs, &Call { arch: entry, number, arguments });
                assert!([ALLOW, LOG].contains(&outcome.answer), "{entry:x} {number}: {:x}", outcome.answer);
            }
        }
    }
    assert_eq!(x86_64(&policy, "getppid", &[]), LOG);
    assert_eq!(x86_64(&policy, "ioctl", &[0, 0x5412]), LOG);
    assert_eq!(x86_64(&policy, "ioctl", &[0, 0x5413]), ALLOW);
}

#[test]
fn what_cannot_be_compiled_is_refused_by_name() {
    let error = |policy: FilterPolicy| compile(&policy, Arch::X86_64).unwrap_err();
    let unknown = error(FilterPolicy { allow: Some(list(&["read", "raed"])), ..open() });
    assert_eq!(unknown, FilterError::UnknownCall("raed".to_owned()));
    assert_eq!(unknown.to_string(), "unknown system call `raed`");
    let unknown = error(FilterPolicy { log: list(&["@flie-system"]), ..open() });
    assert_eq!(unknown, FilterError::UnknownGroup("@flie-system".to_owned()));
    let exec = error(FilterPolicy { deny: list(&["mount", "execve"]), ..open() });
    assert_eq!(exec.to_string(), "system call `execve` cannot be denied: the service could not be started");
    let io = error(FilterPolicy { deny: list(&["@basic-io"]), ..open() });
    assert_eq!(
        io.to_string(),
        "`@basic-io` cannot be denied: it contains `write`, without which no service can be started"
    );
    for errno in [i32::MIN, -1, 0, 4096, 65537] {
        assert_eq!(error(FilterPolicy { errno, ..standard() }), FilterError::Errno(errno));
        assert_eq!(error(FilterPolicy { unknown_errno: errno, ..standard() }), FilterError::Errno(errno));
    }
    assert_eq!(
        error(FilterPolicy { foreign: list(&["arm"]), ..open() }),
        FilterError::UnknownArchitecture("arm".into())
    );
    assert_eq!(
        error(FilterPolicy { deny_namespaces: 0x1_4000_0001, ..open() }),
        FilterError::UnknownNamespaces(0x1_0000_0001)
    );
}

#[test]
fn programs_stay_small_and_paths_short() {
    let longest_path = |programs: &[crate::plan::FilterProgram]| {
        let steps = |number| run(programs, &call(X86_64, number, &[u64::MAX; 6])).steps;
        interesting_numbers().map(steps).max().unwrap()
    };
    let programs = compile(&standard(), Arch::X86_64).unwrap();
    assert_eq!(programs.len(), 1, "each further program costs time at load");
    assert!(programs[0].0.len() <= 160, "{} instructions", programs[0].0.len());
    assert!(longest_path(&programs) <= 24, "{} steps", longest_path(&programs));
}

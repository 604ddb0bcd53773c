//! Restrictions that look at arguments, or refuse a call because its arguments cannot be seen.
//!
//! Arguments that are `int` or narrower in the kernel are compared in 32 bits: the upper half is not looked at, as the
//! kernel does not look at it either (CVE-2019-10063 was a comparison in 64 bits). Pointers are never followed: what
//! they point to can change after the look.

use super::calls::Abi;
use super::policy::{FilterError, FilterPolicy};
use super::program::Answer;

pub(super) const EPERM: u16 = 1;
pub(super) const ENOSYS: u16 = 38;
pub(super) const EAFNOSUPPORT: u16 = 97;

/// All namespace flags of clone(2) and unshare(2): NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const NAMESPACES: u64 = CLONE_NEWTIME | 0x0002_0000 | 0x7e00_0000;
/// In clone(2) this bit belongs to the exit signal.
const CLONE_NEWTIME: u64 = 0x80;
/// S_ISUID and S_ISGID.
const SET_ID_BITS: u32 = 0o6000;
/// O_CREAT, and the bit of O_TMPFILE that is its own: with either, open(2) gives the file its mode.
/// The same on x86, x86_64 and aarch64.
const CREATES: u32 = 0o100 | 0o20_000_000;
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;
/// SCHED_OTHER, SCHED_BATCH, SCHED_IDLE and SCHED_EXT.
const ORDINARY_POLICIES: [u32; 4] = [0, 3, 5, 7];
/// May be added to the policy in sched_setscheduler(2).
const SCHED_RESET_ON_FORK: u32 = 0x4000_0000;
/// IPPROTO_SMC and IPPROTO_MPTCP, which speak TCP to whoever knows no better. No other family has such numbers.
const OTHER_TCP: [u32; 2] = [256, 262];
/// The family in which SMC came first.
const AF_SMC: u16 = 43;
const MSG_FASTOPEN: u32 = 0x2000_0000;
const PER_LINUX: u32 = 0;
/// Asks personality(2) without setting.
const PER_QUERY: u32 = 0xffff_ffff;

/// A test of one argument, 0 to 5: under a mask it equals a value, or differs from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Test {
    /// Of the lower 32 bits.
    Lower { argument: u8, mask: u32, value: u32, equal: bool },
    /// Of all 64 bits.
    Whole { argument: u8, mask: u64, value: u64, equal: bool },
}

impl Test {
    fn equals(argument: u8, value: u32) -> Test {
        Test::masked(argument, u32::MAX, value)
    }

    fn differs(argument: u8, value: u32) -> Test {
        Test::Lower { argument, mask: u32::MAX, value, equal: false }
    }

    pub fn masked(argument: u8, mask: u32, value: u32) -> Test {
        Test::Lower { argument, mask, value, equal: true }
    }
}

/// All of these tests must hold.
pub(super) type Case = Vec<Test>;

/// One of the questions that a call has to pass.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Check {
    /// At least one.
    pub cases: Vec<Case>,
    /// Is the call refused when a case holds, or when none does?
    pub refused_when_met: bool,
    pub refusal: Answer,
}

/// What a restriction says of one call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Restriction {
    /// Refused with this errno, whatever the arguments.
    Always(u16),
    /// Refused with the errno unless one of the cases holds; there is at least one.
    Unless(Vec<Case>, u16),
    /// Refused with the errno when one of the cases holds.
    When(Vec<Case>, u16),
}

/// Checks what [`restriction`] takes for granted.
pub(super) fn check(policy: &FilterPolicy) -> Result<(), FilterError> {
    match policy.deny_namespaces & !NAMESPACES {
        0 => Ok(()),
        unknown => Err(FilterError::UnknownNamespaces(unknown)),
    }
}

/// What the policy, its lists aside, says of the call `name`.
pub(super) fn restriction(policy: &FilterPolicy, abi: Abi, name: &str) -> Option<Restriction> {
    let namespaces = policy.deny_namespaces != 0;
    match name {
        "socket" | "socketpair" => sockets(policy),
        // Its arguments are behind a pointer; libraries since Linux 4.3 call socket(2) itself.
        "socketcall" if abi == Abi::I386 && hides_arguments(policy) => Some(Restriction::Always(EPERM)),
        "sendto" | "sendmmsg" if policy.deny_fast_open => none_of(3, MSG_FASTOPEN),
        "sendmsg" if policy.deny_fast_open => none_of(2, MSG_FASTOPEN),
        "io_uring_setup" if policy.plain_tcp => Some(Restriction::Always(ENOSYS)),
        "clone" if namespaces => none_of(0, lower(policy.deny_namespaces & !CLONE_NEWTIME)),
        "unshare" if namespaces => none_of(0, lower(policy.deny_namespaces)),
        "setns" if namespaces => {
            let mask = lower(policy.deny_namespaces);
            Some(Restriction::Unless(vec![vec![Test::differs(1, 0), Test::masked(1, mask, 0)]], EPERM))
        }
        "clone3" if namespaces => Some(Restriction::Always(ENOSYS)),
        "personality" if policy.lock_personality => {
            Some(Restriction::Unless(vec![vec![Test::equals(0, PER_LINUX)], vec![Test::equals(0, PER_QUERY)]], EPERM))
        }
        "sched_setscheduler" if policy.restrict_realtime => {
            let ordinary = |policy: &u32| vec![Test::masked(1, !SCHED_RESET_ON_FORK, *policy)];
            Some(Restriction::Unless(ORDINARY_POLICIES.iter().map(ordinary).collect(), EPERM))
        }
        "sched_setattr" if policy.restrict_realtime => Some(Restriction::Always(EPERM)),
        "ioctl" if policy.deny_terminal_injection => {
            Some(Restriction::When(vec![vec![Test::equals(1, TIOCSTI)], vec![Test::equals(1, TIOCLINUX)]], EPERM))
        }
        _ if policy.restrict_suid_sgid => set_id(name),
        _ => None,
    }
}

fn set_id(name: &str) -> Option<Restriction> {
    let opens = |flags, mode| {
        Some(Restriction::Unless(
            vec![vec![Test::masked(flags, CREATES, 0)], vec![Test::masked(mode, SET_ID_BITS, 0)]],
            EPERM,
        ))
    };
    match name {
        "chmod" | "fchmod" | "creat" | "mkdir" | "mknod" => none_of(1, SET_ID_BITS),
        "fchmodat" | "fchmodat2" | "mkdirat" | "mknodat" => none_of(2, SET_ID_BITS),
        "open" => opens(1, 2),
        "openat" => opens(2, 3),
        "openat2" => Some(Restriction::Always(ENOSYS)),
        _ => None,
    }
}

/// Refuses the call when any bit of `mask` is set in the argument; `None` when there is no bit to ask for.
fn none_of(argument: u8, mask: u32) -> Option<Restriction> {
    (mask != 0).then(|| Restriction::Unless(vec![vec![Test::masked(argument, mask, 0)]], EPERM))
}

/// Does anything judge arguments that socketcall(2) hides?
fn hides_arguments(policy: &FilterPolicy) -> bool {
    policy.address_families.is_some() || policy.plain_tcp || policy.deny_fast_open
}

fn sockets(policy: &FilterPolicy) -> Option<Restriction> {
    let protocols: &[u32] = if policy.plain_tcp { &OTHER_TCP } else { &[] };
    let Some(families) = &policy.address_families else {
        let protocols = protocols.iter().map(|protocol| vec![Test::equals(2, *protocol)]);
        let cases: Vec<Case> = protocols.chain([vec![Test::equals(0, u32::from(AF_SMC))]]).collect();
        return policy.plain_tcp.then_some(Restriction::When(cases, EAFNOSUPPORT));
    };
    let families: Vec<u16> =
        families.iter().copied().filter(|family| !(policy.plain_tcp && *family == AF_SMC)).collect();
    if families.is_empty() {
        return Some(Restriction::Always(EAFNOSUPPORT));
    }
    let case = |family: &u16| {
        let protocols = protocols.iter().map(|protocol| Test::differs(2, *protocol));
        std::iter::once(Test::equals(0, u32::from(*family))).chain(protocols).collect()
    };
    Some(Restriction::Unless(families.iter().map(case).collect(), EAFNOSUPPORT))
}

/// Namespace flags fit into 32 bits once [`check`] has passed.
fn lower(flags: u64) -> u32 {
    u32::try_from(flags).expect("checked to be namespace flags")
}

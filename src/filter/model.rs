//! What a policy means, said in the plainest way and without the tables of `restrict`, for tests to hold programs
//! against.

use super::calls::{self, Abi};
use super::groups;
use super::interpreter::Call;
use super::policy::{Arch, FilterMode, FilterPolicy};
use super::rule::{Rule, Width};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const X86_64: u32 = 0xc000_003e;
pub(super) const I386: u32 = 0x4000_0003;
pub(super) const AARCH64: u32 = 0xc000_00b7;

const ALLOW: u32 = 0x7fff_0000;
const LOG: u32 = 0x7ffc_0000;
const KILL: u32 = 0x8000_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
const EAFNOSUPPORT: u32 = 97;

const fn errno(number: u32) -> u32 {
    0x0005_0000 | number
}

/// Names by (architecture, number), built once per test.
pub(super) struct Names(BTreeMap<(u32, u32), &'static str>);

impl Names {
    pub fn new() -> Names {
        let tables = [(X86_64, Abi::X86_64), (X86_64, Abi::X32), (I386, Abi::I386), (AARCH64, Abi::Aarch64)];
        let rows = tables.into_iter().flat_map(|(arch, abi)| calls::table(abi).into_iter().map(move |row| (arch, row)));
        Names(rows.map(|(arch, (number, name))| ((arch, number), name)).collect())
    }

    pub fn of(&self, call: &Call) -> Option<&'static str> {
        self.0.get(&(call.arch, call.number)).copied()
    }
}

fn rules(list: &[String]) -> Vec<Rule> {
    list.iter().filter(|entry| entry.contains('(')).map(|entry| Rule::parse(entry).unwrap()).collect()
}

/// Does the condition hold by either reading of the argument, or by both?
fn holds(rule: &Rule, call: &Call, by_both: bool) -> bool {
    rule.conditions.iter().all(|condition| {
        let argument = call.arguments[usize::from(condition.argument)];
        let compare = |seen: u64, mask: u64| (seen & mask == condition.value) == condition.equal;
        let lower = compare(argument & 0xffff_ffff, condition.mask & 0xffff_ffff);
        let whole = compare(argument, condition.mask);
        match condition.width {
            Width::Lower => lower,
            Width::Whole => whole,
            Width::Either if by_both => lower && whole,
            Width::Either => lower || whole,
        }
    })
}

/// The calls that are reached through this one with arguments that no filter sees.
fn hides(call: &Call, name: &str) -> &'static [&'static str] {
    match name {
        "clone3" => &["clone"],
        "openat2" => &["open", "openat"],
        "mmap" if call.arch == I386 => &["mmap"],
        "select" if call.arch == I386 => &["select"],
        "socketcall" => &[
            "socket",
            "bind",
            "connect",
            "listen",
            "accept",
            "getsockname",
            "getpeername",
            "socketpair",
            "sendto",
            "recvfrom",
            "shutdown",
            "setsockopt",
            "getsockopt",
            "sendmsg",
            "recvmsg",
            "accept4",
            "recvmmsg",
            "sendmmsg",
        ],
        "ipc" => &[
            "semop",
            "semget",
            "semctl",
            "semtimedop",
            "msgsnd",
            "msgrcv",
            "msgget",
            "msgctl",
            "shmat",
            "shmdt",
            "shmget",
            "shmctl",
        ],
        _ => &[],
    }
}

fn resolved(list: &[String]) -> BTreeSet<String> {
    let calls = |entry: &String| match groups::group(entry) {
        Some(calls) => calls.into_iter().map(str::to_owned).collect(),
        None => vec![entry.clone()],
    };
    list.iter().flat_map(calls).collect()
}

/// A policy and the machine it is for.
pub(super) struct Model<'a> {
    policy: &'a FilterPolicy,
    arch: Arch,
    allow: Option<BTreeSet<String>>,
    deny: BTreeSet<String>,
    log: BTreeSet<String>,
    allow_when: Vec<Rule>,
    deny_when: Vec<Rule>,
}

impl<'a> Model<'a> {
    /// `policy` is not empty.
    pub fn new(policy: &'a FilterPolicy, arch: Arch) -> Model<'a> {
        let allow = policy.allow.as_deref().map(resolved);
        let allow_when = policy.allow.as_deref().map(rules).unwrap_or_default();
        let deny_when = rules(&policy.deny);
        let (deny, log) = (resolved(&policy.deny), resolved(&policy.log));
        Model { policy, arch, allow, deny, log, allow_when, deny_when }
    }

    /// The answer to `call`.
    pub fn answer(&self, names: &Names, call: &Call) -> u32 {
        let policy = self.policy;
        let refused = |answer: u32| if policy.mode == FilterMode::Log { LOG } else { answer };
        let lets_in = |name: &str| policy.foreign.iter().any(|entry| entry == name);
        let enters = match (self.arch, call.arch) {
            (Arch::X86_64, X86_64) => call.number < 0x4000_0000 || lets_in("x32"),
            (Arch::X86_64, I386) => lets_in("x86"),
            (Arch::Aarch64, AARCH64) => true,
            _ => false,
        };
        if !enters {
            return refused(errno(ENOSYS));
        }
        let Some(name) = names.of(call) else {
            let free = self.allow.is_none();
            return if free { ALLOW } else { refused(errno(policy.unknown_errno as u32)) };
        };
        let about = |rule: &&Rule| {
            let also = match name {
                "mmap2" => "mmap",
                "fcntl64" => "fcntl",
                _ => name,
            };
            rule.call() == name || rule.call() == also
        };
        let needed = ["execve", "execveat", "exit", "exit_group", "rt_sigreturn", "write"].contains(&name);
        let allowed = self.allow.as_ref().is_none_or(|list| needed || list.contains(name)) || self.log.contains(name);
        let met = self.allow_when.iter().filter(about).any(|rule| holds(rule, call, true));
        let forbidden = self.deny_when.iter().filter(about).any(|rule| holds(rule, call, false));
        let hidden = self.allow_when.iter().chain(&self.deny_when).any(|rule| hides(call, name).contains(&rule.call()));
        let answer = |number: u32| if policy.notify { NOTIFY | number } else { errno(number) };
        let conditional = self.allow_when.iter().any(|rule| about(&rule));
        if !allowed && !conditional || self.deny.contains(name) || forbidden || hidden || !allowed && !met {
            return refused(match name {
                "clone3" => errno(ENOSYS),
                "openat2" if hidden && (allowed || conditional) && !self.deny.contains(name) => errno(ENOSYS),
                _ if policy.kill => KILL,
                _ => answer(policy.errno as u32),
            });
        }
        match restricted(policy, call, name) {
            Some(number) if name == "openat2" => refused(errno(number)),
            Some(number) => refused(if name == "clone3" { errno(number) } else { answer(number) }),
            None if self.log.contains(name) => LOG,
            None => ALLOW,
        }
    }
}

/// The errno with which a restriction stops an allowed call.
fn restricted(policy: &FilterPolicy, call: &Call, name: &str) -> Option<u32> {
    let argument = |index: usize| call.arguments[index] as u32;
    let ids = |mode: u32| policy.restrict_suid_sgid && mode & 0o6000 != 0;
    let creates = |flags: u32| flags & 0o100 != 0 || flags & 0o20000000 != 0;
    let namespaces = policy.deny_namespaces as u32;
    let eperm = match name {
        "socket" | "socketpair" => {
            let family = argument(0);
            let listed = |list: &Vec<u16>| list.iter().any(|entry| u32::from(*entry) == family);
            let hides = policy.plain_tcp && ([256, 262].contains(&argument(2)) || family == 43);
            return (hides || !policy.address_families.as_ref().is_none_or(listed)).then_some(EAFNOSUPPORT);
        }
        "clone3" => return (namespaces != 0).then_some(ENOSYS),
        "openat2" => return policy.restrict_suid_sgid.then_some(ENOSYS),
        "io_uring_setup" => return policy.plain_tcp.then_some(ENOSYS),
        "socketcall" => policy.address_families.is_some() || policy.plain_tcp || policy.deny_fast_open,
        "sendto" | "sendmmsg" => policy.deny_fast_open && argument(3) & 0x2000_0000 != 0,
        "sendmsg" => policy.deny_fast_open && argument(2) & 0x2000_0000 != 0,
        "clone" => argument(0) & namespaces & !0x80 != 0,
        "unshare" => argument(0) & namespaces != 0,
        "setns" => namespaces != 0 && (argument(1) == 0 || argument(1) & namespaces != 0),
        "personality" => policy.lock_personality && ![0, u32::MAX].contains(&argument(0)),
        "sched_setscheduler" => policy.restrict_realtime && ![0, 3, 5, 7].contains(&(argument(1) & 0xbfff_ffff)),
        "sched_setattr" => policy.restrict_realtime,
        "ioctl" => policy.deny_terminal_injection && [0x5412, 0x541c].contains(&argument(1)),
        "chmod" | "fchmod" | "creat" | "mkdir" | "mknod" => ids(argument(1)),
        "fchmodat" | "fchmodat2" | "mkdirat" | "mknodat" => ids(argument(2)),
        "open" => creates(argument(1)) && ids(argument(2)),
        "openat" => creates(argument(2)) && ids(argument(3)),
        _ => false,
    };
    eperm.then_some(EPERM)
}

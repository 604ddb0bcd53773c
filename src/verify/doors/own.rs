//! What the process itself has: user, capabilities, restrictions, namespaces, descriptors, limits.

use super::promises::{ALWAYS, FILTER, NEW_PRIVILEGES, NO_ROOT, OWN_NETWORK, own_namespace};
use crate::plan::LimitResource;
use crate::sys::attempt::{self, Word::Number};
use crate::sys::confine::limits;
use crate::sys::credentials;
use crate::unit::UserNamespace;
use crate::verify::Attempt::{Call, Compare, Look};
use crate::verify::{Found, Key, Probe, Side};
use std::collections::BTreeSet;

#[rustfmt::skip]
pub(super) const DOORS: &[Probe] = &[
    Probe { id: "user", about: "being root", keys: &[NO_ROOT], attempt: Look(|_| is_root()) },
    Probe { id: "become-root", about: "becoming root", keys: &[NO_ROOT], attempt: Call(libc::SYS_setuid, &[Number(0)], &[]) },
    Probe { id: "group-0", about: "being a member of group 0", keys: &[Key::Holds("service.user", |p| !p.root && p.unit.service.group.is_none() && p.unit.service.supplementary_groups.is_empty())],
        attempt: Look(|_| has_group_0()) },
    Probe { id: "capabilities", about: "having capabilities", keys: &[Key::Holds("capabilities.bounding", |p| p.bounding.0.count_ones() < 41)],
        attempt: Compare(capabilities, more_capabilities) },
    Probe { id: "inheritable", about: "having inheritable capabilities", keys: &[Key::Holds("capabilities.ambient", |_| true)],
        attempt: Compare(inheritable, more_inheritable) },
    Probe { id: "new-privileges", about: "gaining rights by executing a program", keys: &[NEW_PRIVILEGES],
        attempt: Look(|_| new_privileges()) },
    Probe { id: "no-filter", about: "calling whatever the kernel has", keys: &[FILTER],
        attempt: Look(|_| filter()) },
    Probe { id: "namespace-mount", about: "being in the host's mount namespace", keys: &[own_namespace!("namespaces.mount", mount)],
        attempt: Compare(|| namespace("mnt"), |value, side| is_hosts("mnt", value, side)) },
    Probe { id: "namespace-pid", about: "being in the host's pid namespace", keys: &[own_namespace!("namespaces.pid", pid)],
        attempt: Compare(|| namespace("pid"), |value, side| is_hosts("pid", value, side)) },
    Probe { id: "namespace-ipc", about: "being in the host's ipc namespace", keys: &[own_namespace!("namespaces.ipc", ipc)],
        attempt: Compare(|| namespace("ipc"), |value, side| is_hosts("ipc", value, side)) },
    Probe { id: "namespace-uts", about: "being in the host's uts namespace", keys: &[own_namespace!("namespaces.uts", uts)],
        attempt: Compare(|| namespace("uts"), |value, side| is_hosts("uts", value, side)) },
    Probe { id: "namespace-cgroup", about: "being in the host's cgroup namespace", keys: &[own_namespace!("namespaces.cgroup", cgroup)],
        attempt: Compare(|| namespace("cgroup"), |value, side| is_hosts("cgroup", value, side)) },
    Probe { id: "namespace-net", about: "being in the host's network namespace", keys: &[OWN_NETWORK],
        attempt: Compare(|| namespace("net"), |value, side| is_hosts("net", value, side)) },
    Probe { id: "namespace-user", about: "being in the host's user namespace", keys: &[Key::Holds("namespaces.user", |p| p.unit.namespaces.user != UserNamespace::Host)],
        attempt: Compare(|| namespace("user"), |value, side| is_hosts("user", value, side)) },
    Probe { id: "descriptors", about: "having descriptors besides the three standard ones", keys: &[ALWAYS],
        attempt: Look(|_| descriptors()) },
    Probe { id: "limits", about: "having more than the limits of the unit", keys: &[Key::Holds("resources.rlimits", |p| !p.unit.resources.rlimits.is_empty())],
        attempt: Compare(own_limits, above_limits) },
    Probe { id: "raise-limit", about: "raising a hard limit", keys: &[Key::Without("SYS_RESOURCE")],
        attempt: Look(|_| raise_limit()) },
];

fn when(open: bool, closed: &str) -> Found {
    if open { Found::Done(String::new()) } else { Found::Nothing(closed.to_owned()) }
}

fn is_root() -> Found {
    match credentials::uids() {
        Ok(ids) => when(ids.contains(&0), &format!("uid {}", ids[1])),
        Err(error) => Found::Failed(error.errno),
    }
}

fn has_group_0() -> Found {
    match (credentials::gids(), credentials::groups()) {
        (Ok(ids), Ok(groups)) => when(ids.contains(&0) || groups.contains(&0), &format!("gid {}", ids[1])),
        (Err(error), _) | (_, Err(error)) => Found::Failed(error.errno),
    }
}

/// All sets but the inheritable one, hexadecimal.
fn capabilities() -> Found {
    let sets = credentials::capabilities()
        .and_then(|sets| Ok((sets, credentials::bounding_set()?.0, credentials::ambient_set()?)));
    match sets {
        Ok((sets, bounding, ambient)) => {
            Found::Value(format!("{:x}", sets.effective | sets.permitted | bounding | ambient))
        }
        Err(error) => Found::Failed(error.errno),
    }
}

fn more_capabilities(value: &str, side: &Side<'_>) -> bool {
    u64::from_str_radix(value, 16).is_ok_and(|found| found & !side.posture.bounding.0 != 0)
}

fn inheritable() -> Found {
    match credentials::capabilities() {
        Ok(sets) => Found::Value(format!("{:x}", sets.inheritable)),
        Err(error) => Found::Failed(error.errno),
    }
}

fn more_inheritable(value: &str, side: &Side<'_>) -> bool {
    u64::from_str_radix(value, 16).is_ok_and(|found| found & !side.posture.ambient.0 != 0)
}

fn new_privileges() -> Found {
    match credentials::has_no_new_privileges() {
        Ok(has) => when(!has, "no_new_privs is set"),
        Err(error) => Found::Failed(error.errno),
    }
}

/// prctl(PR_GET_SECCOMP), which a filter may refuse itself.
fn filter() -> Found {
    match attempt::call(libc::SYS_prctl, &[Number(21), Number(0), Number(0), Number(0), Number(0)]) {
        Ok(mode) => when(mode == 0, &format!("mode {mode}")),
        Err(errno) => Found::Nothing(format!("refused: errno {errno}")),
    }
}

fn namespace(kind: &str) -> Found {
    #[allow(clippy::disallowed_methods, reason = "the probe looks at what it can see")]
    match std::fs::read_link(format!("/proc/self/ns/{kind}")) {
        Ok(link) => Found::Value(link.display().to_string()),
        Err(error) => Found::Skipped(format!("/proc does not tell: {error}")),
    }
}

fn is_hosts(kind: &str, value: &str, side: &Side<'_>) -> bool {
    side.host.get(kind).is_some_and(|host| host == value)
}

/// Numbers that are open, found without /proc.
fn descriptors() -> Found {
    const MOST: i64 = 4096;
    let is_open = |number: &i64| {
        attempt::call(libc::SYS_fcntl, &[Number(*number), Number(libc::F_GETFD.into())]) != Err(libc::EBADF)
    };
    let open: Vec<String> = (3..MOST).filter(is_open).map(|number| number.to_string()).collect();
    when(!open.is_empty(), "none")
}

const RESOURCES: [(LimitResource, i32); 16] = [
    (LimitResource::As, limits::AS),
    (LimitResource::Core, limits::CORE),
    (LimitResource::Cpu, limits::CPU),
    (LimitResource::Data, limits::DATA),
    (LimitResource::Fsize, limits::FSIZE),
    (LimitResource::Locks, limits::LOCKS),
    (LimitResource::Memlock, limits::MEMLOCK),
    (LimitResource::Msgqueue, limits::MSGQUEUE),
    (LimitResource::Nice, limits::NICE),
    (LimitResource::Nofile, limits::NOFILE),
    (LimitResource::Nproc, limits::NPROC),
    (LimitResource::Rss, limits::RSS),
    (LimitResource::Rtprio, limits::RTPRIO),
    (LimitResource::Rttime, limits::RTTIME),
    (LimitResource::Sigpending, limits::SIGPENDING),
    (LimitResource::Stack, limits::STACK),
];

/// `NUMBER=SOFT:HARD`, with blanks between.
fn own_limits() -> Found {
    let all = RESOURCES.iter().filter_map(|(_, number)| {
        let (soft, hard) = attempt::limit(*number)?;
        Some(format!("{number}={soft}:{hard}"))
    });
    Found::Value(all.collect::<Vec<_>>().join(" "))
}

fn above_limits(value: &str, side: &Side<'_>) -> bool {
    let found: BTreeSet<(i32, u64, u64)> = value
        .split(' ')
        .filter_map(|word| {
            let (number, limits) = word.split_once('=')?;
            let (soft, hard) = limits.split_once(':')?;
            Some((number.parse().ok()?, soft.parse().ok()?, hard.parse().ok()?))
        })
        .collect();
    side.unit.resources.rlimits.iter().any(|(resource, soft, hard)| {
        let number = RESOURCES.iter().find(|(one, _)| one == resource).map(|(_, number)| *number);
        found.iter().any(|(one, s, h)| Some(*one) == number && (s > soft || h > hard))
    })
}

/// Of open files, to one more than it is.
fn raise_limit() -> Found {
    let Some((soft, hard)) = attempt::limit(limits::NOFILE) else {
        return Found::Skipped("the limit cannot be read".to_owned());
    };
    match hard.checked_add(1) {
        None => Found::Skipped("there is no limit".to_owned()),
        Some(more) => {
            Found::of(crate::sys::confine::set_limit(0, limits::NOFILE, soft, more).map_err(|error| error.errno))
        }
    }
}

//! Who the service is: user, groups, id maps, capabilities.
//!
//! Names were looked up on the host before; here they become numbers, and numbers become steps. An account that does
//! not exist refuses the start: nothing ever falls back to root.

use super::context::{Context, Shape, UserMode};
use super::needs::account_key;
use super::{HostFacts, UserFact, confine, subordinate};
use crate::plan::{CapabilitySet, IdMaps, MapWriter, RANGE_SIZE, Step};
use crate::unit::Account;

/// The service's credentials, as seen in its user namespace.
pub(super) struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Exact supplementary groups, sorted, the primary one included; `None` where they cannot be set.
    pub groups: Option<Vec<u32>>,
    /// The user's entry in the data base when the unit names one: for the environment.
    pub account: Option<UserFact>,
    pub maps: Option<IdMaps>,
    mode: UserMode,
    bounding: CapabilitySet,
    ambient: CapabilitySet,
    /// Permitted and effective until exec, which computes them anew.
    permitted: CapabilitySet,
}

/// Longest name of a user, in characters.
const LONGEST_NAME: usize = 31;

/// All ids but the last, which is no id but "unchanged" to setresuid(2).
const ALL_IDS: (u32, u32, u32) = (0, 0, u32::MAX);

impl Identity {
    pub fn of(context: &mut Context, shape: &Shape) -> Identity {
        let main = account(context);
        let account = context.user.cloned().or_else(|| main.clone());
        let (uid, gid, groups) = match (context.user, &shape.user) {
            (Some(user), _) => other_user(user, shape, context.facts),
            (None, UserMode::Single) => {
                own_account_only(context, account.as_ref());
                // Uid 0 inside is the caller outside. It has no capability (see `capabilities`), so it is root by name.
                (0, 0, None)
            }
            (None, _) => {
                let uid = account.as_ref().map_or(0, |user| user.uid);
                let gid = group(context).unwrap_or_else(|| account.as_ref().map_or(0, |user| user.gid));
                let groups = supplementary(context, account.as_ref(), gid);
                as_inside((uid, gid, groups), context.facts)
            }
        };
        let maps = id_maps(context, &shape.user);
        if let (UserMode::Mapped { uid: uids, gid: gids }, Some(groups)) = (&shape.user, &groups) {
            let all: Vec<u32> = [0].iter().chain(groups).copied().collect();
            let keys = match context.facts.euid {
                0 => ("namespaces.uid_mappings", "namespaces.gid_mappings"),
                _ => ("service.user", "service.supplementary_groups"),
            };
            check_mapped(context, keys.0, uids, &[0, uid], "uid");
            check_mapped(context, keys.1, gids, &all, "gid");
        }
        if let (UserMode::Auto { .. }, Some(groups)) = (&shape.user, &groups) {
            check_in_range(context, "service.user", "uid", &[uid]);
            check_in_range(context, "service.supplementary_groups", "gid", groups);
        }
        let (mut bounding, ambient) = capabilities(context, shape);
        if context.user.is_some() && uid == 0 && main.is_some_and(|user| user.uid != 0) {
            // Root executes with the whole bounding set, of which the main process has no more than is ambient.
            bounding = ambient;
        }
        let mut permitted = if uid == 0 { bounding } else { ambient };
        // Without no_new_privs the kernel takes a filter only from a process with CAP_SYS_ADMIN. It is kept until exec,
        // which computes the permitted set anew: from the bounding set for uid 0, from the ambient set for others.
        if !context.unit.security.no_new_privileges && confine::wants_filter(context.unit) {
            permitted = permitted.with(CapabilitySet::SYS_ADMIN);
        }
        // An account without a data base entry has no home to tell of.
        let account = account.filter(|user| !user.home.is_empty());
        Identity { uid, gid, groups, account, maps, mode: shape.user.clone(), bounding, ambient, permitted }
    }

    /// Can it have capability number `bit`?
    pub fn may_have(&self, bit: u32) -> bool {
        self.bounding.contains(bit)
    }

    /// May the process be bound by filters and rule sets when its rights are set?
    pub fn may_be_confined(&self, no_new_privileges: bool) -> bool {
        no_new_privileges || self.permitted.contains(CapabilitySet::SYS_ADMIN)
    }

    /// Owner of the service's directories, as the host sees the service's user.
    pub fn on_the_host(&self, context: &mut Context) -> (u32, u32) {
        match &self.mode {
            // Where they are mapped, files have the numbers on the disk that they have inside.
            UserMode::Host | UserMode::Identity | UserMode::Auto { .. } => (self.uid, self.gid),
            UserMode::Single => (context.facts.euid, context.facts.egid),
            UserMode::Mapped { uid, gid } => (outside(uid, self.uid), outside(gid, self.gid)),
            UserMode::Path(_) => {
                if !super::directories::all(context.unit).is_empty() {
                    let message = "directories: who owns them is not known for a user namespace that others made";
                    context.refuse("namespaces.user", "USER", message, Some("make them yourself and use [[mounts]]"));
                }
                (self.uid, self.gid)
            }
        }
    }

    /// Ids of the service's user where the mounts are made.
    pub fn on_mounts(&self) -> (u32, u32) {
        match self.mode {
            UserMode::Auto { first } => (first.saturating_add(self.uid), first.saturating_add(self.gid)),
            _ => (self.uid, self.gid),
        }
    }

    /// Is `gid` a group in the user namespace where the mounts are made?
    pub fn maps_group(&self, gid: u32) -> bool {
        match &self.mode {
            UserMode::Host | UserMode::Identity | UserMode::Auto { .. } | UserMode::Path(_) => true,
            UserMode::Single => gid == 0,
            UserMode::Mapped { gid: maps, .. } => is_mapped(maps, gid),
        }
    }

    /// From root to the service's user, in the one order that works.
    pub fn credential_steps(&self, context: &mut Context) {
        // Needs CAP_SETPCAP, so before everything that takes capabilities away.
        context.push("capabilities.bounding", Step::DropBoundingSet { keep: self.bounding });
        if self.uid != 0 && !self.permitted.is_empty() {
            // setresuid(2) to another uid clears the permitted set otherwise.
            context.push("capabilities.ambient", Step::KeepCapabilities);
        }
        if let Some(groups) = &self.groups {
            // Before the uid: needs CAP_SETGID.
            context.push("service.supplementary_groups", Step::SetGroups { groups: groups.clone() });
        }
        let key = context.first_written(&["service.user", "service.group"]).unwrap_or("service.user");
        context.push(key, Step::SetIds { uid: self.uid, gid: self.gid });
        // After the ids, whose change clears the ambient set. Nothing is inheritable but what is ambient: files with
        // inheritable capabilities would raise others.
        let (permitted, ambient) = (self.permitted, self.ambient);
        let keys = ["capabilities.ambient", "capabilities.bounding"];
        let key = context.first_written(&keys).unwrap_or("capabilities.ambient");
        context.push(key, Step::SetCapabilities { permitted, inheritable: ambient, ambient });
    }

    /// What the kernel must say of the process in the end.
    pub fn verification(&self, no_new_privileges: bool) -> Step {
        Step::VerifyCredentials {
            uid: self.uid,
            gid: self.gid,
            groups: self.groups.clone(),
            bounding: self.bounding,
            permitted: self.permitted,
            inheritable: self.ambient,
            ambient: self.ambient,
            no_new_privileges,
        }
    }
}

/// Of an ordinary user's container, where the own account is 0; else nothing is changed.
fn as_inside((uid, gid, groups): (u32, u32, Vec<u32>), facts: &HostFacts) -> (u32, u32, Option<Vec<u32>>) {
    if facts.euid == 0 {
        return (uid, gid, Some(groups));
    }
    let mut groups: Vec<u32> = groups.into_iter().map(|gid| subordinate::inside(gid, facts.egid)).collect();
    groups.sort_unstable();
    groups.dedup();
    (subordinate::inside(uid, facts.euid), subordinate::inside(gid, facts.egid), Some(groups))
}

/// User, group and groups of somebody other than the unit's user, as the data base has them.
fn other_user(user: &UserFact, shape: &Shape, facts: &HostFacts) -> (u32, u32, Option<Vec<u32>>) {
    let mut groups = user.groups.clone();
    groups.push(user.gid);
    groups.sort_unstable();
    groups.dedup();
    // Where setgroups(2) is denied there is one user only, and the ids of another are refused by the kernel.
    match shape.user {
        UserMode::Single => (user.uid, user.gid, None),
        _ => as_inside((user.uid, user.gid, groups), facts),
    }
}

/// Host ids of the container's root.
pub(super) fn container_root(context: &Context, shape: &Shape) -> (u32, u32) {
    match &shape.user {
        UserMode::Host | UserMode::Identity | UserMode::Auto { .. } | UserMode::Path(_) => (0, 0),
        UserMode::Single => (context.facts.euid, context.facts.egid),
        UserMode::Mapped { uid, gid } => (outside(uid, 0), outside(gid, 0)),
    }
}

/// `service.user`, looked up. A number without an entry is a user of that number, with the group of nobody: never
/// group 0.
fn account(context: &mut Context) -> Option<UserFact> {
    let account = context.unit.service.user.as_ref()?;
    user(context, "service.user", account)
}

/// The user that `asked` names.
pub(super) fn user(context: &mut Context, asked: &str, account: &Account) -> Option<UserFact> {
    if *account == Account::Auto {
        return own_user(context);
    }
    let key = account_key(account);
    if let Some(fact) = context.facts.users.get(&key) {
        return Some(fact.clone());
    }
    match account {
        Account::Id(id) => Some(UserFact {
            name: key,
            uid: *id,
            gid: *id,
            home: String::new(),
            shell: String::new(),
            groups: Vec::new(),
        }),
        Account::Name(name) => {
            let hint = format!("check the spelling (`getent passwd {name}`), or make it: useradd --system {name}");
            context.refuse(asked, "USER", format!("user `{name}` does not exist on this host"), Some(&hint));
            None
        }
        Account::Auto => None,
    }
}

/// A user that only this unit has, in no data base. Programs that ask for its name find it in the environment.
fn own_user(context: &mut Context) -> Option<UserFact> {
    let Some(id) = context.facts.own_user.filter(|_| context.facts.euid == 0) else {
        let message = "service.user = \"auto\": only root can give a unit a user of its own";
        context.refuse("service.user", "USER", message, Some("leave `user` out, or run rsvc as root"));
        return None;
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    let mut name: String = context.unit.name.chars().map(plain).collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        name.insert(0, '_');
    }
    name.truncate(LONGEST_NAME);
    let (home, shell) = ("/".to_owned(), "/usr/sbin/nologin".to_owned());
    Some(UserFact { name, uid: id, gid: id, home, shell, groups: Vec::new() })
}

fn group(context: &mut Context) -> Option<u32> {
    let account = context.unit.service.group.as_ref()?;
    group_number(context, "service.group", account)
}

pub(super) fn group_number(context: &mut Context, key: &str, account: &Account) -> Option<u32> {
    if let Some(fact) = context.facts.groups.get(&account_key(account)) {
        return Some(fact.gid);
    }
    match account {
        Account::Id(id) => Some(*id),
        Account::Name(name) => {
            let hint = format!("check the spelling (`getent group {name}`), or make it: groupadd --system {name}");
            context.refuse(key, "GROUP", format!("group `{name}` does not exist on this host"), Some(&hint));
            None
        }
        // A group is never asked for so.
        Account::Auto => None,
    }
}

/// As initgroups(3): the user's groups of the data base, the primary one, and the unit's.
fn supplementary(context: &mut Context, account: Option<&UserFact>, gid: u32) -> Vec<u32> {
    let unit = context.unit;
    let mut groups = account.map(|user| user.groups.clone()).unwrap_or_default();
    groups.push(gid);
    for account in &unit.service.supplementary_groups {
        groups.extend(group_number(context, "service.supplementary_groups", account));
    }
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// An ordinary user can be nobody else.
fn own_account_only(context: &mut Context, account: Option<&UserFact>) {
    let unit = context.unit;
    let (euid, egid) = (context.facts.euid, context.facts.egid);
    if account.is_some_and(|user| user.uid != euid) {
        let (why, hint) = match subordinate::mode(context.facts) {
            Err((why, remedy)) if subordinate::is_wanted(unit) => {
                (format!("an ordinary user can run services only as itself: {why}"), format!("leave `user` out; {remedy}"))
            }
            _ => (
                "an ordinary user can run services only as itself on the host's root file system".to_owned(),
                "leave `user` out, set namespaces.user = \"auto\" or a root file system of the unit's own, or run rsvc as root"
                    .to_owned(),
            ),
        };
        // It cannot be optional.
        context.refuse("service.user", "USER", format!("service.user: {why}"), Some(&hint));
    }
    if group(context).is_some_and(|gid| gid != egid) {
        let why = "an ordinary user can run services only with its own group";
        context.lacking("service.group", "GROUP", why, Some("leave `group` out, or run rsvc as root"));
    }
    if !unit.service.supplementary_groups.is_empty() {
        let why = "an ordinary user cannot set supplementary groups";
        context.lacking("service.supplementary_groups", "GROUP", why, Some("run rsvc as root"));
    }
}

fn id_maps(context: &Context, mode: &UserMode) -> Option<IdMaps> {
    let facts = context.facts;
    let maps = |uid, gid, writer| IdMaps { uid, gid, writer };
    match mode {
        UserMode::Host | UserMode::Auto { .. } | UserMode::Path(_) => None,
        UserMode::Identity => Some(maps(vec![ALL_IDS], vec![ALL_IDS], MapWriter::Daemon)),
        UserMode::Mapped { uid, gid } if facts.euid == 0 => Some(maps(uid.clone(), gid.clone(), MapWriter::Daemon)),
        UserMode::Mapped { uid, gid } => Some(maps(uid.clone(), gid.clone(), MapWriter::Tools)),
        // Inner uid 0, so that the stage may mount; an unprivileged gid map needs setgroups denied.
        UserMode::Single => {
            let (uid, gid) = (vec![(0, facts.euid, 1)], vec![(0, facts.egid, 1)]);
            Some(maps(uid, gid, MapWriter::DaemonAsUser))
        }
    }
}

fn is_mapped(maps: &[(u32, u32, u32)], id: u32) -> bool {
    maps.iter().any(|(inside, _, count)| id >= *inside && id - inside < *count)
}

/// The host's number of an id that [`check_mapped`] has found mapped.
fn outside(maps: &[(u32, u32, u32)], id: u32) -> u32 {
    let map = maps.iter().find(|(inside, _, count)| id >= *inside && id - inside < *count);
    map.map_or(id, |(inside, outside, _)| outside.saturating_add(id - inside))
}

/// A range has no other ids.
fn check_in_range(context: &mut Context, key: &str, kind: &str, ids: &[u32]) {
    for id in ids.iter().filter(|id| **id >= RANGE_SIZE) {
        let message = format!("{kind} {id} is not among the ids 0 to 65535 of the unit's user namespace");
        context.refuse(key, "USER", message, Some("choose another account, or set namespaces.user to another value"));
    }
}

fn check_mapped(context: &mut Context, key: &str, maps: &[(u32, u32, u32)], ids: &[u32], kind: &str) {
    for id in ids {
        if !is_mapped(maps, *id) {
            let needed = if *id == 0 { "the container is set up as root" } else { "the service runs as" };
            let (message, hint) = match context.facts.euid {
                0 => (
                    format!("{key}: {kind} {id} is not mapped, and {needed} {kind} {id}"),
                    "widen the mapping so that it covers the id",
                ),
                _ => (
                    format!(
                        "{key}: {kind} {id} is not among the ids of /etc/subuid and /etc/subgid, and {needed} {kind} {id}"
                    ),
                    "choose another account, or have a larger range there",
                ),
            };
            context.refuse(key, "USER", message, Some(hint));
        }
    }
}

/// Bounding and ambient set on this host.
fn capabilities(context: &mut Context, shape: &Shape) -> (CapabilitySet, CapabilitySet) {
    let unit = context.unit;
    let known = CapabilitySet::up_to(context.facts.last_capability);
    let wanted = &unit.capabilities;
    let mut bounding = wanted.bounding.union(wanted.ambient);
    let mut ambient = wanted.ambient;
    if context.facts.euid != 0 && !unit.is_written("capabilities.bounding") {
        // Ten default capabilities would be void over everything outside and dangerous inside: whoever holds them can
        // undo read-only mounts and masks made for it.
        bounding = ambient;
    }
    let taken = taken_by_protections(context, bounding);
    (bounding, ambient) = (bounding.difference(taken), ambient.difference(taken));
    // A new user namespace starts with all of them; elsewhere a set can only shrink.
    let auto = shape.range().is_some();
    let has = if shape.in_user_namespace() || auto || matches!(shape.user, UserMode::Path(_)) {
        known
    } else {
        known.intersection(context.facts.capabilities)
    };
    // The bounding set contains the ambient one: each missing capability is named once.
    let (no_ambient, no_bounding) = (ambient.difference(has), bounding.difference(ambient).difference(has));
    for (key, missing) in [("capabilities.ambient", no_ambient), ("capabilities.bounding", no_bounding)] {
        if !missing.is_empty() {
            let why = format!("{missing} is not available: the daemon itself or the kernel lacks it");
            context.lacking(key, "CAPABILITIES", &why, Some("give it to the daemon"));
        }
    }
    let network = [CapabilitySet::NET_BIND_SERVICE, CapabilitySet::NET_ADMIN, CapabilitySet::NET_RAW]
        .into_iter()
        .fold(CapabilitySet::EMPTY, CapabilitySet::with);
    let void = ambient.intersection(network);
    if (auto || shape.in_user_namespace() && !shape.own_network) && !void.is_empty() {
        let whose = if auto { "its network" } else { "the host's network" };
        let why = format!("{void} is void: {whose} belongs to the host's user namespace and not to the service's");
        let hint = match auto {
            true => "set namespaces.user = \"host\"",
            false => "set namespaces.user = \"host\", or network.mode = \"loopback\"",
        };
        context.lacking("capabilities.ambient", "CAPABILITIES", &why, Some(hint));
    }
    needs_second_user_namespace(context, shape, bounding);
    let sys_admin = CapabilitySet::EMPTY.with(CapabilitySet::SYS_ADMIN);
    if !unit.security.no_new_privileges && confine::wants_filter(unit) && has.intersection(sys_admin).is_empty() {
        let message = "without no_new_privileges a system-call filter needs CAP_SYS_ADMIN, which the daemon lacks";
        let hint = "set security.no_new_privileges = true, or run the daemon with CAP_SYS_ADMIN";
        context.refuse("security.no_new_privileges", "SECCOMP", message, Some(hint));
    }
    (bounding.intersection(has), ambient.intersection(has))
}

/// What `protect_clock` and its kin take away. An author who wrote the capability as well is asked to decide.
fn taken_by_protections(context: &mut Context, bounding: CapabilitySet) -> CapabilitySet {
    let unit = context.unit;
    let security = &unit.security;
    let protections: [(bool, &str, &[u32]); 3] = [
        (security.protect_clock, "protect_clock", &[CapabilitySet::SYS_TIME, CapabilitySet::WAKE_ALARM]),
        (security.protect_kernel_modules, "protect_kernel_modules", &[CapabilitySet::SYS_MODULE]),
        (security.protect_kernel_logs, "protect_kernel_logs", &[CapabilitySet::SYSLOG]),
    ];
    let mut taken = CapabilitySet::EMPTY;
    for (on, key, numbers) in protections {
        let set = numbers.iter().fold(CapabilitySet::EMPTY, |set, number| set.with(*number)).intersection(bounding);
        if !on || set.is_empty() {
            continue;
        }
        for written in ["capabilities.ambient", "capabilities.bounding"] {
            if unit.is_written(written) {
                let message = format!("{written} has {set}, which security.{key} takes away");
                let hint = format!("set security.{key} = false, or leave the capability out");
                context.refuse(written, "CAPABILITIES", message, Some(&hint));
                break;
            }
        }
        taken = taken.union(set);
    }
    taken
}

/// Whoever holds CAP_SYS_ADMIN in the user namespace that owns the mounts clears their flags and unmounts masks.
fn needs_second_user_namespace(context: &mut Context, shape: &Shape, bounding: CapabilitySet) {
    let asks = bounding.contains(CapabilitySet::SYS_ADMIN) && shape.in_user_namespace() && shape.mounts;
    if asks && super::rootfs::protects(context.unit) {
        let message = "CAP_SYS_ADMIN in the container's user namespace would undo its read-only and hidden paths";
        let hint = "leave CAP_SYS_ADMIN out, or set filesystem.protect_system = \"off\" and protect_home = \"off\"";
        context.refuse("capabilities.bounding", "CAPABILITIES", message, Some(hint));
    }
}

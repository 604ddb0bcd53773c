//! Landlock: the table of mounts once more, as rules that no mount can undo; TCP ports; abstract sockets and signals.
//!
//! Rules only add rights, from a place downwards. So they are made where the whole tree is closed and some places are
//! open: what is closed again below an open place is the mounts' business alone. A process that is bound cannot look
//! into one that is not bound by the same rule set (ptrace(2), and much of /proc with it): so commands that join the
//! container of the main process are bound only by what was written about ports.

use super::context::{Context, PidMode, Shape};
use super::identity::Identity;
use super::mounts::{Content, Entry, Table};
use crate::plan::{CapabilitySet, FileRules, PathRule, PortRange, Ruleset, Step};
use crate::unit::{Isolation, NetworkMode, PortRule, RestrictNamespaces, Transport};
use std::path::Path;

const WALL: &str = "security.landlock";
const SIGNALS: &str = "security.restrict_signals";
const SOCKETS: &str = "network.abstract_sockets";
pub(super) const BIND: &str = "network.bind_allow";
const CONNECT: &str = "network.connect_allow";

/// systemd's step names have none for it.
const STEP: &str = "LANDLOCK";

/// What the finished tree lets be written and executed.
pub(super) fn file_rules(table: &Table, shape: &Shape) -> FileRules {
    let root = table.root.flags;
    let rules = table.entries.iter().filter_map(|(at, entry)| path_rule(at, entry, root.read_only, root.no_exec));
    let shows_queues =
        table.entries.values().any(|entry| matches!(&entry.content, Content::New { fs_type: "mqueue", .. }));
    FileRules {
        write: root.read_only,
        truncate: root.read_only,
        execute: root.no_exec,
        rules: rules.collect(),
        message_queues: root.read_only && shape.namespaces.ipc == Isolation::Private && !shows_queues,
    }
}

/// `None` for a place that has no more rights than the root. Places below others stay: a symbolic link on the way may
/// lead elsewhere.
fn path_rule(at: &Path, entry: &Entry, write: bool, execute: bool) -> Option<PathRule> {
    let (writable, holds_names) = match &entry.content {
        // A file system in a file has no place for writes.
        Content::Image { .. } => (false, true),
        Content::Credentials | Content::Mask | Content::Restrict => return None,
        // Read-only when it is complete; its nodes are as writable as ever.
        Content::Dev => (true, false),
        Content::New { fs_type: "proc" | "sysfs" | "devpts", .. } => (!entry.flags.read_only, false),
        Content::Host { .. } | Content::Own | Content::New { .. } | Content::Overlay { .. } => {
            (!entry.flags.read_only, true)
        }
    };
    let rule = PathRule {
        path: at.to_owned(),
        write: write && writable,
        make: write && writable && holds_names,
        execute: execute && holds_names && !entry.flags.no_exec,
        missing_ok: entry.missing_ok,
    };
    (rule.write || rule.make || rule.execute).then_some(rule)
}

/// The step that makes the rule set, if there is any; comes back with the key that asked for it.
pub(super) fn make(context: &mut Context, shape: &Shape, identity: &Identity) -> Option<&'static str> {
    let tree = context.tree.take();
    let mut ruleset = Ruleset {
        bind: ports(context, BIND, &context.unit.network.bind_allow),
        connect: ports(context, CONNECT, &context.unit.network.connect_allow),
        ..Ruleset::default()
    };
    if !context.purpose.joins(context.unit) {
        wall(context, shape, identity, tree, &mut ruleset);
    }
    let asked = [
        (WALL, ruleset.files.is_some()),
        (BIND, ruleset.bind.is_some()),
        (CONNECT, ruleset.connect.is_some()),
        (SIGNALS, ruleset.own_signals),
        (SOCKETS, ruleset.own_abstract_sockets),
    ];
    if !identity.may_be_confined(context.unit.security.no_new_privileges) {
        let why = "without no_new_privileges Landlock needs CAP_SYS_ADMIN, which the unit does not have";
        for (key, _) in asked.iter().filter(|(_, asked)| *asked) {
            context.lacking(key, STEP, why, Some("set security.no_new_privileges = true"));
        }
        return None;
    }
    let (key, _) = asked.into_iter().find(|(_, asked)| *asked)?;
    context.push(key, Step::MakeRuleset(Box::new(ruleset)));
    Some(key)
}

/// TCP ports of one list. Those of UDP are the group's business (`compile::limits`).
fn ports(context: &mut Context, key: &str, allowed: &Option<Vec<PortRule>>) -> Option<Vec<PortRange>> {
    let allowed = allowed.as_ref()?;
    if context.facts.landlock.is_none_or(|abi| abi < 4) {
        let why = format!("{}, and restricting ports takes interface 4 (Linux 6.7)", found(context));
        context.lacking(key, STEP, &why, None);
        return None;
    }
    Some(allowed.iter().filter(|rule| rule.transport == Transport::Tcp).map(|rule| rule.ports).collect())
}

/// What of Landlock this kernel has, as the beginning of a sentence.
fn found(context: &Context) -> String {
    match context.facts.landlock {
        None => "this kernel has no Landlock, or it is switched off".to_owned(),
        Some(abi) => format!("this kernel has interface {abi} of Landlock"),
    }
}

/// What a container of its own gets: rules about files, and who is out of reach.
fn wall(context: &mut Context, shape: &Shape, identity: &Identity, tree: Option<FileRules>, ruleset: &mut Ruleset) {
    let unit = context.unit;
    let on = unit.security.landlock;
    if on && unit.is_written(WALL) && tree.as_ref().is_some_and(|tree| !tree.write && !tree.execute) {
        let message =
            "security.landlock: the tree is writable as a whole, so there is nothing that it could keep closed";
        let hint = "set filesystem.protect_system = \"standard\", or leave security.landlock out";
        context.refuse(WALL, STEP, message, Some(hint));
    }
    let files = tree.filter(|tree| on && (tree.write || tree.execute));
    // What was shared on purpose is for being used: there only a written word closes it.
    let shared_network = matches!(shape.network, NetworkMode::Path(_) | NetworkMode::Unit(_));
    let shared_pids = shape.pid == PidMode::Foreign;
    let mut signals = unit.security.restrict_signals && (unit.is_written(SIGNALS) || (on && !shared_pids));
    let mut sockets = !unit.network.abstract_sockets && (unit.is_written(SOCKETS) || (on && !shared_network));
    if on && let Some(why) = unfit(shape, identity) {
        context.lacking(WALL, STEP, why, None);
        ruleset.own_signals = signals && unit.is_written(SIGNALS);
        ruleset.own_abstract_sockets = sockets && unit.is_written(SOCKETS);
        return;
    }
    let abi = context.facts.landlock.unwrap_or(0);
    if abi < 6 {
        for (key, asked) in [(SIGNALS, &mut signals), (SOCKETS, &mut sockets)] {
            if *asked && unit.is_written(key) {
                let why = format!("{}, and this takes interface 6 (Linux 6.12)", found(context));
                context.lacking(key, STEP, &why, None);
                *asked = false;
            }
        }
    }
    if on {
        lacks_of_the_wall(context, abi, files.as_ref(), signals || sockets);
    }
    ruleset.files = files.and_then(|files| files_here(context, identity, abi, files));
    ruleset.own_signals = signals && abi >= 6;
    ruleset.own_abstract_sockets = sockets && abi >= 6;
}

/// Says at once all that this kernel's Landlock cannot do for the unit.
fn lacks_of_the_wall(context: &mut Context, abi: u32, files: Option<&FileRules>, scopes: bool) {
    let mut missing = Vec::new();
    match files {
        // Without this right the kernel refuses every rename and link from one directory to another.
        Some(_) if abi == 1 => missing.push("rules about files (interface 2, Linux 5.19)"),
        Some(files) if abi == 2 && files.write => missing.push("truncating files (interface 3, Linux 6.2)"),
        _ => {}
    }
    if scopes && abi < 6 {
        missing.push("abstract sockets and signals (interface 6, Linux 6.12)");
    }
    let why = match abi {
        0 if files.is_some() || scopes => found(context),
        _ if missing.is_empty() => return,
        _ => format!("{}, which leaves out: {}", found(context), missing.join("; ")),
    };
    context.lacking(WALL, STEP, &why, None);
}

/// Why the unit as a whole would not work behind it.
fn unfit(shape: &Shape, identity: &Identity) -> Option<&'static str> {
    if shape.pid == PidMode::Foreign {
        return Some("it would see nothing of the processes whose pid namespace it shares");
    }
    (shape.pid == PidMode::Host && identity.may_have(CapabilitySet::SYS_PTRACE))
        .then_some("with CAP_SYS_PTRACE it looks into processes of the host, which Landlock would not let it")
}

/// The rules as this unit can have them on this kernel.
fn files_here(context: &mut Context, identity: &Identity, abi: u32, files: FileRules) -> Option<FileRules> {
    if abi < 2 {
        return None;
    }
    let may_mount = match &context.unit.security.restrict_namespaces {
        RestrictNamespaces::No => true,
        RestrictNamespaces::Except(kinds) => kinds.iter().any(|kind| kind == "mnt"),
    };
    let why = if identity.may_have(CapabilitySet::SYS_ADMIN) {
        "with CAP_SYS_ADMIN it may mount, which no rule about files would let it"
    } else if may_mount {
        "it may make mount namespaces (security.restrict_namespaces), in which no rule about files would let it mount"
    } else {
        return Some(FileRules { truncate: files.truncate && abi >= 3, ..files });
    };
    context.lacking(WALL, STEP, why, None);
    None
}

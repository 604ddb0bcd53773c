//! Namespaces of other units: which of them one launch joins, and which steps that takes.
//!
//! The daemon opens what the steps name when it launches, from the owner's live process; here only names are known.

use super::context::Context;
use super::{Purpose, Shape};
use crate::plan::{NamespaceKind, Step};
use crate::unit::{Isolation, NamespaceSettings, NetworkMode};

/// The namespaces that a launch wants, with those of other units in them.
///
/// `exec_stop_post` comes when everything else is over, and that may be because the owner ended: it gets namespaces of
/// its own in the place of the owner's, the same each time.
pub(super) fn wanted(context: &mut Context) -> (NamespaceSettings, NetworkMode) {
    let mut namespaces = (*context.unit.namespaces).clone();
    let mut network = context.unit.network.mode.clone();
    let alone = matches!(context.purpose, Purpose::StopPost(_));
    for (key, isolation) in [
        ("namespaces.ipc", &mut namespaces.ipc),
        ("namespaces.uts", &mut namespaces.uts),
        ("namespaces.pid", &mut namespaces.pid),
    ] {
        if let Isolation::Unit(name) = isolation {
            refuse_without_rights(context, key, name);
            if alone {
                *isolation = Isolation::Private;
            }
        }
    }
    if let NetworkMode::Unit(name) = &network {
        refuse_without_rights(context, "network.mode", name);
        if alone {
            network = NetworkMode::Loopback;
        }
    }
    (namespaces, network)
}

fn refuse_without_rights(context: &mut Context, key: &str, owner: &str) {
    let step = if key == "network.mode" { "NETWORK" } else { "NAMESPACE" };
    if context.facts.foreground {
        let message = format!("{key} = \"unit:{owner}\": `rsvc run` runs one unit, without others beside it");
        context.refuse(key, step, message, Some("start it with the daemon: `rsvc start`"));
    } else if context.facts.euid != 0 {
        let message = format!("{key} = \"unit:{owner}\": an ordinary user cannot join namespaces of another unit");
        context.refuse(key, step, message, Some("run the daemon as root"));
    }
}

/// The steps of a container of its own, but for the pid namespace, which comes last.
pub(super) fn join(context: &mut Context, shape: &Shape) {
    if let NetworkMode::Unit(unit) = &shape.network {
        context.push("network.mode", Step::JoinUnit { kind: NamespaceKind::Net, unit: unit.clone() });
    }
    let kinds = [
        ("namespaces.ipc", NamespaceKind::Ipc, &shape.namespaces.ipc),
        ("namespaces.uts", NamespaceKind::Uts, &shape.namespaces.uts),
    ];
    for (key, kind, isolation) in kinds {
        if let Isolation::Unit(unit) = isolation {
            context.push(key, Step::JoinUnit { kind, unit: unit.clone() });
        }
    }
    join_pid(context, shape);
}

/// Affects children only: a fork follows.
pub(super) fn join_pid(context: &mut Context, shape: &Shape) {
    if let Isolation::Unit(unit) = &shape.namespaces.pid {
        context.push("namespaces.pid", Step::JoinUnit { kind: NamespaceKind::Pid, unit: unit.clone() });
    }
}

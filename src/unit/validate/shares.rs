//! Namespaces of other units: what cannot hold together with them.

use super::super::decode::Sink;
use super::super::problem::Code;
use super::super::shares::{KEYS, owner};
use super::super::{Isolation, ServiceType, UserNamespace};
use super::Checked;

pub(super) fn all(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let own_users = matches!(c.settings.namespaces.user, UserNamespace::Identity | UserNamespace::Mapped { .. });
    for (table, key) in KEYS {
        let Some(name) = c.values.get(table, key).and_then(|entry| owner(&entry.value)) else { continue };
        let dotted = format!("{table}.{key}");
        let place = c.value_place(table, key);
        if name == c.settings.name {
            let message = format!("`{dotted}` names the unit itself");
            let help = Some("name another unit, or write \"private\" (\"loopback\" for the network)".to_owned());
            sink.add(Code::Cycle, place, &dotted, message, help);
        } else if own_users {
            let message = format!("`{dotted} = \"unit:{name}\"` needs `namespaces.user = \"host\"`");
            let help = "a process in a user namespace of its own has no rights over the namespaces of another unit: leave \
                        namespaces.user and the mappings out";
            sink.add(Code::Conflict, place, &dotted, message, Some(help.to_owned()));
        }
    }
    if let Isolation::Unit(name) = &c.settings.namespaces.pid
        && c.settings.service.kind == ServiceType::Forking
    {
        let message = format!("`type = \"forking\"` does not go with `namespaces.pid = \"unit:{name}\"`");
        let help = format!(
            "the daemon that it leaves behind would be a child of {name}'s pid 1, and nobody could tell how it ended: let \
             the program run in the foreground with type = \"exec\""
        );
        sink.add(Code::Conflict, c.value_place("service", "type"), "service.type", message, Some(help));
    }
    if matches!(c.settings.namespaces.pid, Isolation::Unit(_))
        && !c.settings.namespaces.init
        && c.is_written("namespaces", "init")
    {
        let message =
            "`init = false` does not go with the pid namespace of another unit: a process that joins one must fork";
        sink.add(Code::Conflict, c.value_place("namespaces", "init"), "namespaces.init", message, None);
    }
}

//! Users, capabilities, namespaces: who the service is and what it could undo.

use super::super::decode::{Sink, Value};
use super::super::layer;
use super::super::problem::Code;
use super::super::{Account, Isolation, NetworkMode, Profile, ProtectHome, ProtectSystem, UserNamespace};
use super::Checked;

const CAP_NET_BIND_SERVICE: u32 = 10;
const CAP_SYS_ADMIN: u32 = 21;

pub(super) fn all(sink: &mut Sink<'_>, c: &Checked<'_>) {
    user(sink, c);
    unnamed_user(sink, c);
    mappings(sink, c);
    user_namespace(sink, c);
    shared_mounts(sink, c);
    let n = &c.settings.namespaces;
    if n.hostname.is_some() && n.uts != Isolation::Private {
        let whom = if let Isolation::Unit(name) = &n.uts { format!("the unit {name}") } else { "the host".to_owned() };
        let message = format!("`hostname` needs `uts = \"private\"`: it would rename {whom}");
        sink.add(Code::Conflict, c.value_place("namespaces", "hostname"), "namespaces.hostname", message, None);
    }
    if n.pid == Isolation::Host && n.init && c.is_written("namespaces", "init") {
        let message = "`init = true` needs `pid = \"private\"`: an init is pid 1 of a namespace";
        sink.add(Code::NoEffect, c.value_place("namespaces", "init"), "namespaces.init", message, None);
    }
}

fn user(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let settings = c.settings;
    if c.is_broken("service", "user") {
        return;
    }
    let root = layer::is_root(settings.service.user.as_ref());
    let profile = settings.security.profile;
    if root && profile == Profile::Strict {
        let place = match c.is_written("service", "user") {
            true => c.value_place("service", "user"),
            false => c.value_place("security", "profile"),
        };
        let message = "the profile `strict` needs a `user` other than root";
        let help = Some("name one in [service]: user = \"...\"".to_owned());
        sink.add(Code::NeedsUser, place, "service.user", message, help);
        return;
    }
    let isolated = matches!(profile, Profile::Standard);
    if root && isolated && !c.is_written("service", "user") && c.is_written("service", "exec") {
        let place = c.values.place("service", "exec").map_or(0..0, |p| p.key.clone());
        let message = "the service runs as root";
        let help = "run it as its own user: user = \"...\", and capabilities.ambient = [\"CAP_NET_BIND_SERVICE\"] for ports \
                    below 1024; or write user = \"root\"";
        sink.add(Code::RunsAsRoot, place, "service.user", message, Some(help.to_owned()));
    }
}

/// What would let files of a user without a name be, or do, more than the unit does.
fn unnamed_user(sink: &mut Sink<'_>, c: &Checked<'_>) {
    if c.settings.service.user != Some(Account::Auto) {
        return;
    }
    let (security, filesystem) = (&c.settings.security, &c.settings.filesystem);
    let needs = [
        ("security", "no_new_privileges", security.no_new_privileges),
        ("security", "restrict_suid_sgid", security.restrict_suid_sgid),
        ("security", "remove_ipc", security.remove_ipc),
        ("filesystem", "private_tmp", filesystem.private_tmp),
        ("filesystem", "protect_system", filesystem.protect_system != ProtectSystem::Off),
    ];
    for (table, key, _) in needs.iter().filter(|(table, key, holds)| !holds && c.is_written(table, key)) {
        let message =
            format!("`{table}.{key}` does not go with `user = \"auto\"`: what such a user leaves is nobody's");
        let help = Some(format!("leave {key} out, or name a user of the host"));
        sink.add(Code::Conflict, c.value_place(table, key), &format!("{table}.{key}"), message, help);
    }
}

fn mappings(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let lists = [("uid_mappings", "gid_mappings"), ("gid_mappings", "uid_mappings")];
    for (key, other) in lists {
        let Some(Value::Mappings(maps)) = c.values.get("namespaces", key).map(|e| &e.value) else { continue };
        if c.is_broken("namespaces", key) {
            continue;
        }
        let dotted = format!("namespaces.{key}");
        if maps.is_empty() {
            let asked = matches!(c.settings.namespaces.user, UserNamespace::Mapped { .. });
            if asked {
                let place = match c.is_written("namespaces", other) {
                    true => c.value_place("namespaces", other),
                    false => c.value_place("namespaces", "user"),
                };
                let message = format!("a mapped user namespace needs `{key}`");
                sink.add(Code::Mappings, place, &dotted, message, None);
            }
            continue;
        }
        if !matches!(c.settings.namespaces.user, UserNamespace::Mapped { .. }) {
            let message = format!("`{key}` does not go with this `namespaces.user`");
            let help = Some("write user = \"mapped\", or leave it out: mappings imply it".to_owned());
            sink.add(Code::Mappings, c.value_place("namespaces", key), &dotted, message, help);
            continue;
        }
        one_list(sink, c, key, maps);
    }
}

fn one_list(sink: &mut Sink<'_>, c: &Checked<'_>, key: &'static str, maps: &[(u32, u32, u32)]) {
    let dotted = format!("namespaces.{key}");
    let whole = c.value_place("namespaces", key);
    // The kernel takes 340 lines since 4.15, 5 before; more than 5 has been a source of its bugs.
    if maps.len() > 5 {
        sink.add(Code::Mappings, whole.clone(), &dotted, format!("`{key}` has more than 5 mappings"), None);
    }
    let overlap = |a: (u32, u32), b: (u32, u32)| u64::from(a.0) < end(b) && u64::from(b.0) < end(a);
    for (n, (inside, outside, size)) in maps.iter().enumerate() {
        let clash = maps[..n].iter().find_map(|(i, o, s)| match () {
            () if overlap((*inside, *size), (*i, *s)) => Some("container"),
            () if overlap((*outside, *size), (*o, *s)) => Some("host"),
            () => None,
        });
        if let Some(side) = clash {
            let message = format!("this mapping overlaps an earlier one in its {side} ids");
            sink.add(Code::Mappings, c.item_place("namespaces", key, n), &dotted, message, None);
        }
    }
    let mapped = |id: u32| maps.iter().any(|(i, _, s)| (u64::from(*i)..end((*i, *s))).contains(&u64::from(id)));
    if !mapped(0) {
        let message = format!("`{key}` does not map container id 0, which sets the container up");
        sink.add(Code::Mappings, whole.clone(), &dotted, message, None);
    }
    let (account, name) = match key {
        "uid_mappings" => (&c.settings.service.user, "user"),
        _ => (&c.settings.service.group, "group"),
    };
    if let Some(Account::Id(id)) = account
        && !mapped(*id)
    {
        let message = format!("`{key}` does not map {id}, the {name} of the service");
        sink.add(Code::Mappings, whole, &dotted, message, None);
    }
}

/// First id after a range.
fn end((from, size): (u32, u32)) -> u64 {
    u64::from(from) + u64::from(size)
}

fn user_namespace(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let settings = c.settings;
    if settings.namespaces.user == UserNamespace::Host {
        return;
    }
    let capabilities = &settings.capabilities;
    // Network and mounts belong to the host's user namespace, whichever they are.
    let auto = settings.namespaces.user == UserNamespace::Auto;
    let host_network = auto || settings.network.mode == NetworkMode::Host;
    if auto && settings.namespaces.mount != Isolation::Private {
        let message =
            "`user = \"auto\"` needs `mount = \"private\"`: what the unit sees of the host is mapped mount by mount";
        let help = Some("write namespaces.mount = \"private\", or leave it out".to_owned());
        sink.add(Code::Conflict, c.value_place("namespaces", "user"), "namespaces.user", message, help);
    }
    if host_network && capabilities.ambient.contains(CAP_NET_BIND_SERVICE) {
        let (message, help) = match auto {
            true => (
                "CAP_NET_BIND_SERVICE of an own user namespace does not count in a network of the host's",
                "ports below 1024 cannot be bound: set namespaces.user = \"host\"",
            ),
            false => (
                "CAP_NET_BIND_SERVICE of an own user namespace does not count in the host's network",
                "ports below 1024 cannot be bound: set namespaces.user = \"host\", or an own network",
            ),
        };
        let place = c.value_place("capabilities", "ambient");
        sink.add(Code::LowPort, place, "capabilities.ambient", message, Some(help.to_owned()));
    }
    let low = settings.ready.listen.iter().position(|a| match a {
        super::super::ListenAddress::Tcp(a) | super::super::ListenAddress::Udp(a) => a.port() < 1024,
        super::super::ListenAddress::Unix(_) => false,
    });
    if let (true, Some(n), false) = (host_network, low, capabilities.ambient.contains(CAP_NET_BIND_SERVICE)) {
        let message = "a port below 1024 of the host's network cannot be bound from an own user namespace";
        let help = "set namespaces.user = \"host\", or use a higher port".to_owned();
        sink.add(Code::LowPort, c.item_place("ready", "listen", n), "ready.listen", message, Some(help));
    }
    let f = &settings.filesystem;
    let protects = f.protect_system != ProtectSystem::Off
        || f.protect_home != ProtectHome::Off
        || !f.read_only_paths.is_empty()
        || !f.inaccessible_paths.is_empty()
        || !f.no_exec_paths.is_empty();
    if capabilities.bounding.contains(CAP_SYS_ADMIN) && protects && !auto {
        let key = ["ambient", "bounding"].into_iter().find(|key| {
            c.is_written("capabilities", key)
                && matches!(c.values.get("capabilities", key).map(|e| &e.value),
                    Some(Value::Capabilities(set)) if set.contains(CAP_SYS_ADMIN))
        });
        let place = match key {
            Some(key) => c.value_place("capabilities", key),
            None => c.value_place("namespaces", "user"),
        };
        let message = "with CAP_SYS_ADMIN in its own user namespace the service could clear every read-only mount and \
                       unmount every mask";
        let help = "take CAP_SYS_ADMIN away, or set protect_system and protect_home to \"off\"".to_owned();
        sink.add(Code::Unlocked, place, "capabilities.bounding", message, Some(help));
    }
}

/// Settings that need a mount namespace of one's own, in a unit that gives it up.
fn shared_mounts(sink: &mut Sink<'_>, c: &Checked<'_>) {
    if c.settings.namespaces.mount == Isolation::Private || !c.is_written("namespaces", "mount") {
        return;
    }
    let conflict = |sink: &mut Sink<'_>, place, key: &str| {
        let message = format!("`{key}` needs a mount namespace of the unit's own");
        let help = Some("write namespaces.mount = \"private\", or leave it out".to_owned());
        sink.add(Code::Conflict, place, key, message, help);
    };
    for (table, key) in layer::written_needs(c.values) {
        conflict(sink, c.value_place(table, key), &format!("{table}.{key}"));
    }
    if c.is_written("rootfs", "type") && c.settings.rootfs.kind != super::super::RootfsKind::Host {
        conflict(sink, c.value_place("rootfs", "type"), "rootfs.type");
    }
    for mount in &c.values.mounts {
        conflict(sink, mount.span.clone(), &format!("mounts[{}]", mount.index));
    }
    if c.is_written("namespaces", "pid") && c.settings.namespaces.pid == Isolation::Private {
        conflict(sink, c.value_place("namespaces", "pid"), "namespaces.pid");
    }
    let open = matches!(c.settings.security.profile, Profile::Login | Profile::Host);
    if !open {
        let message = "without a mount namespace of its own the service sees and writes the host's tree: the defaults of \
                       [filesystem], devices.private, logging.syslog_socket and the private pid namespace are off";
        let place = c.value_place("namespaces", "mount");
        sink.add(Code::SwitchedOff, place, "namespaces.mount", message, None);
    }
}

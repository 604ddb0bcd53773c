//! A .service text that says to systemd what the score by its method was computed from: for `systemd-analyze security
//! --offline=yes`, and for the test that compares the two.
//!
//! No conversion: what the method passes over is left out, and what systemd cannot express is written as the nearest
//! weaker thing. Nobody is meant to start it.

use super::Posture;
use crate::plan::{CapabilitySet, DeviceType, Prefix};
use crate::unit::{
    Account, DeviceAllow, DevicePolicy, NotifyAccess, ProtectHome, ProtectProc, ProtectSystem, RootfsKind, Unit,
};
use std::fmt::Display;

/// Words of a line of `SystemCallFilter=`.
const CALLS_IN_LINE: usize = 8;

/// The text.
pub fn equivalent(posture: &Posture<'_>) -> String {
    let unit = posture.unit;
    let mut text =
        String::from("# What systemd's method scores of this unit, in systemd's words; not for use.\n[Unit]\n");
    text += &format!("Description={}\n\n[Service]\n", escape(unit.unit.description.as_deref().unwrap_or(&unit.name)));
    let words: Vec<String> = unit.service.exec.iter().map(|word| quote(word)).collect();
    line(&mut text, "ExecStart", words.join(" "));
    identity(&mut text, posture);
    files(&mut text, posture);
    devices(&mut text, posture);
    kernel(&mut text, posture);
    calls(&mut text, posture);
    text
}

fn line(text: &mut String, key: &str, value: impl Display) {
    *text += &format!("{key}={value}\n");
}

fn yes_no(on: bool) -> &'static str {
    if on { "yes" } else { "no" }
}

fn identity(text: &mut String, posture: &Posture<'_>) {
    let unit = posture.unit;
    let name = |account: &Account| match account {
        Account::Id(id) => id.to_string(),
        Account::Name(name) => escape(name),
        Account::Auto => String::new(),
    };
    match &unit.service.user {
        Some(Account::Auto) => line(text, "DynamicUser", "yes"),
        Some(user) => line(text, "User", name(user)),
        None => {}
    }
    if let Some(group) = &unit.service.group {
        line(text, "Group", name(group));
    }
    let groups: Vec<String> = unit.service.supplementary_groups.iter().map(name).collect();
    line(text, "SupplementaryGroups", groups.join(" "));
    line(text, "UMask", format_args!("{:04o}", unit.service.umask));
    // A unit with PrivateDevices= has neither of the two that lead around it, so the bounding set says it.
    line(text, "CapabilityBoundingSet", names(posture.bounding));
    line(text, "AmbientCapabilities", names(posture.ambient));
    line(text, "NoNewPrivileges", yes_no(unit.security.no_new_privileges));
    line(text, "KeyringMode", if unit.security.private_keyring { "private" } else { "inherit" });
    line(text, "RemoveIPC", yes_no(posture.removes_ipc()));
    let access = match unit.service.notify_access {
        NotifyAccess::None => "none",
        NotifyAccess::Main => "main",
        NotifyAccess::Exec => "exec",
        NotifyAccess::All => "all",
    };
    line(text, "NotifyAccess", access);
    line(text, "Delegate", yes_no(unit.resources.delegate));
}

fn names(set: CapabilitySet) -> String {
    set.names().join(" ")
}

fn files(text: &mut String, posture: &Posture<'_>) {
    let unit = posture.unit;
    line(text, "PrivateMounts", yes_no(posture.mounts));
    line(text, "PrivateUsers", yes_no(posture.private_users()));
    line(text, "PrivateNetwork", yes_no(posture.private_network()));
    line(text, "PrivateTmp", yes_no(posture.private_tmp()));
    if let Some(rules) = &unit.network.peers {
        let words = |list: &[Prefix]| list.iter().map(Prefix::to_string).collect::<Vec<_>>().join(" ");
        line(text, "IPAddressDeny", words(&rules.deny));
        line(text, "IPAddressAllow", words(&rules.allow));
    }
    if posture.own_root {
        // Layers and an empty root have no name in systemd that the method would look at.
        let root = match &unit.rootfs.kind {
            RootfsKind::Directory { path } => escape(&path.to_string_lossy()),
            _ => "/run/rsvc-root".to_owned(),
        };
        line(text, "RootDirectory", root);
    }
    let (system, writable) = match posture.protect_system() {
        ProtectSystem::Off => ("no", ""),
        ProtectSystem::Full => ("full", ""),
        ProtectSystem::Standard => ("strict", "/run /var"),
        ProtectSystem::Strict => ("strict", ""),
    };
    line(text, "ProtectSystem", system);
    if !writable.is_empty() {
        line(text, "ReadWritePaths", writable);
    }
    let home = match posture.protect_home() {
        ProtectHome::Off => "no",
        ProtectHome::ReadOnly => "read-only",
        ProtectHome::Hidden => "yes",
    };
    line(text, "ProtectHome", home);
    let proc = match posture.protect_proc() {
        ProtectProc::Off => "default",
        ProtectProc::Invisible => "invisible",
        ProtectProc::Ptraceable => "ptraceable",
    };
    line(text, "ProtectProc", proc);
    line(text, "ProcSubset", if posture.proc_pid_only() { "pid" } else { "all" });
}

fn devices(text: &mut String, posture: &Posture<'_>) {
    let devices = &posture.unit.devices;
    line(text, "PrivateDevices", yes_no(posture.private_devices()));
    let policy = match devices.policy {
        DevicePolicy::Auto => "auto",
        DevicePolicy::Closed => "closed",
        DevicePolicy::Strict => "strict",
    };
    line(text, "DevicePolicy", policy);
    for allow in &devices.allow {
        let access = |r: bool, w: bool, m: bool| {
            [(r, 'r'), (w, 'w'), (m, 'm')].into_iter().filter(|(on, _)| *on).map(|(_, c)| c).collect::<String>()
        };
        let value = match allow {
            DeviceAllow::Path { path, read, write, mknod } => {
                format!("{} {}", escape(&path.to_string_lossy()), access(*read, *write, *mknod))
            }
            DeviceAllow::Number(rule) => {
                let kind = if rule.kind == DeviceType::Char { "char" } else { "block" };
                let access = access(rule.read, rule.write, rule.mknod);
                match (rule.major, rule.minor) {
                    (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor} {access}"),
                    (Some(major), None) => format!("{kind}-{major} {access}"),
                    // More than was asked for, where systemd has no word for less.
                    (None, _) => format!("{kind}-* {access}"),
                }
            }
        };
        line(text, "DeviceAllow", value);
    }
}

fn kernel(text: &mut String, posture: &Posture<'_>) {
    let security = &posture.unit.security;
    for (key, on) in [
        ("ProtectKernelTunables", posture.protect_kernel_tunables()),
        ("ProtectKernelModules", security.protect_kernel_modules),
        ("ProtectKernelLogs", posture.protect_kernel_logs()),
        ("ProtectClock", security.protect_clock),
        ("ProtectHostname", posture.protect_hostname()),
        ("ProtectControlGroups", posture.protect_control_groups()),
        ("LockPersonality", security.lock_personality),
        ("MemoryDenyWriteExecute", security.memory_deny_write_execute),
        ("RestrictRealtime", security.restrict_realtime),
        ("RestrictSUIDSGID", security.restrict_suid_sgid),
    ] {
        line(text, key, yes_no(on));
    }
    // systemd has no word for time namespaces.
    let kinds: Vec<&str> =
        super::posture::NAMESPACES.into_iter().filter(|kind| *kind != "time" && posture.may_make(kind)).collect();
    match kinds.len() {
        0 => line(text, "RestrictNamespaces", "yes"),
        7 => line(text, "RestrictNamespaces", "no"),
        _ => line(text, "RestrictNamespaces", kinds.join(" ")),
    }
}

fn calls(text: &mut String, posture: &Posture<'_>) {
    let unit: &Unit = posture.unit;
    match &unit.network.address_families {
        None => {}
        Some(families) if families.is_empty() => line(text, "RestrictAddressFamilies", "none"),
        Some(families) => {
            let names: Vec<&str> = families.iter().map(|family| family.name.as_str()).collect();
            line(text, "RestrictAddressFamilies", names.join(" "));
        }
    }
    if posture.has_filter() {
        let words = unit.syscalls.architectures.iter().map(|name| match name.as_str() {
            "x86" => "x86",
            "x32" => "x32",
            _ => "native",
        });
        line(text, "SystemCallArchitectures", words.collect::<Vec<_>>().join(" "));
    }
    // By name: systemd's groups have other members than ours in places.
    let allowed: Vec<&str> = posture.allowed.iter().flatten().copied().collect();
    for calls in allowed.chunks(CALLS_IN_LINE) {
        line(text, "SystemCallFilter", calls.join(" "));
    }
    if posture.allowed.as_ref().is_some_and(|allowed| allowed.is_empty()) {
        line(text, "SystemCallFilter", "@default");
    }
}

/// A value without specifiers and line ends.
fn escape(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().replace('%', "%%")
}

/// One word of a command line.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let word = escape(word).replace('\\', "\\\\").replace('"', "\\\"").replace('$', "$$");
    format!("\"{word}\"")
}

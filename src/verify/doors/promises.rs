//! What several doors have in common: who promises that they are closed.

use crate::score::Posture;
use crate::unit::{Isolation, NetworkMode, ProtectHome, ProtectSystem};
use crate::verify::Key;
use std::path::Path;

pub(super) const NO_ADMIN: Key = Key::Without("SYS_ADMIN");
pub(super) const NO_MODULES: Key =
    Key::Holds("security.protect_kernel_modules", |p| p.unit.security.protect_kernel_modules);
pub(super) const NO_LOGS: Key = Key::Holds("security.protect_kernel_logs", |p| p.protect_kernel_logs());
/// The call alone; the files need mounts of the unit's own.
pub(super) const NO_LOG_CALL: Key = Key::Holds("security.protect_kernel_logs", |p| p.unit.security.protect_kernel_logs);
pub(super) const CLOCK: Key = Key::Holds("security.protect_clock", |p| p.unit.security.protect_clock);
pub(super) const HOSTNAME: Key = Key::Holds("security.protect_hostname", |p| p.unit.security.protect_hostname);
pub(super) const PERSONALITY: Key = Key::Holds("security.lock_personality", |p| p.unit.security.lock_personality);
pub(super) const REALTIME: Key = Key::Holds("security.restrict_realtime", |p| p.unit.security.restrict_realtime);
pub(super) const SET_ID: Key = Key::Holds("security.restrict_suid_sgid", |p| p.unit.security.restrict_suid_sgid);
pub(super) const W_X: Key =
    Key::Holds("security.memory_deny_write_execute", |p| p.unit.security.memory_deny_write_execute);
pub(super) const TUNABLES: Key = Key::Holds("security.protect_kernel_tunables", |p| p.protect_kernel_tunables());
pub(super) const GROUPS: Key = Key::Holds("security.protect_control_groups", |p| p.protect_control_groups());
pub(super) const NATIVE: Key = Key::Holds("syscalls.architectures", |p| p.has_filter() && p.is_native());
pub(super) const FILTER: Key = Key::Holds("syscalls.mode", |p| p.has_filter());
pub(super) const OWN_DEV: Key = Key::Holds("devices.private", |p| p.has_own_dev());
pub(super) const NEW_PRIVILEGES: Key = Key::Holds("security.no_new_privileges", |p| p.unit.security.no_new_privileges);
pub(super) const NO_ROOT: Key = Key::Holds("service.user", |p| !p.root);
pub(super) const NO_HOME: Key = Key::Holds("filesystem.protect_home", |p| p.protect_home() == ProtectHome::Hidden);
pub(super) const OWN_ROOT: Key = Key::Holds("rootfs.type", |p| p.own_root);
pub(super) const OWN_TMP: Key = Key::Holds("filesystem.private_tmp", |p| p.private_tmp());
/// Holds for every unit.
pub(super) const ALWAYS: Key = Key::Holds("always", |_| true);

/// No namespaces of this kind.
macro_rules! no_namespace {
    ($kind:literal) => {
        Key::Holds("security.restrict_namespaces", |p| !p.may_make($kind))
    };
}
pub(super) use no_namespace;

/// A namespace of this field is not the host's.
macro_rules! own_namespace {
    ($name:literal, $field:ident) => {
        Key::Holds($name, |p| p.unit.namespaces.$field != crate::unit::Isolation::Host)
    };
}
pub(super) use own_namespace;

pub(super) const OWN_NETWORK: Key = Key::Holds("network.mode", |p| p.unit.network.mode != NetworkMode::Host);
/// Pid 1 is the resident init, into which only CAP_SYS_PTRACE looks.
pub(super) const INIT: Key = Key::Holds("namespaces.init", |p| {
    p.unit.namespaces.pid == Isolation::Private && p.unit.namespaces.init && p.held(&["SYS_PTRACE"]).is_empty()
});

/// Is this directory read-only by `protect_system`, and does nothing that the author wrote open it?
pub(super) fn is_read_only(posture: &Posture<'_>, path: &str) -> bool {
    let path = Path::new(path);
    let covered = match posture.protect_system() {
        ProtectSystem::Off => false,
        ProtectSystem::Strict => true,
        ProtectSystem::Full => ["/usr", "/boot", "/etc"].iter().any(|one| path.starts_with(one)),
        ProtectSystem::Standard => {
            let handed_out = ["/var/spool/cron", "/var/lib/dpkg", "/var/lib/apt"];
            !path.starts_with("/var") && !path.starts_with("/run")
                || handed_out.iter().any(|one| path == Path::new(one))
        }
    };
    let opened = posture.unit.filesystem.read_write_paths.iter().any(|entry| path.starts_with(&entry.path))
        || posture.unit.filesystem.temporary_paths.iter().any(|entry| path.starts_with(&entry.path))
        || posture.unit.mounts.iter().any(|mount| path.starts_with(&mount.destination));
    covered && !opened
}

/// `protect_system` makes this directory read-only.
macro_rules! read_only {
    ($path:literal) => {
        Key::Holds("filesystem.protect_system", |p| super::promises::is_read_only(p, $path))
    };
}
pub(super) use read_only;

/// What leads to managers of the host is hidden.
pub(super) const HANDOUTS: Key = Key::Holds("filesystem.protect_system", |p| {
    let level = p.protect_system();
    p.mounts
        && matches!(level, ProtectSystem::Standard | ProtectSystem::Strict)
        && p.unit.mounts.is_empty()
        && p.unit.filesystem.read_write_paths.is_empty()
});

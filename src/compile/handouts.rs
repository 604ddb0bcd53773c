//! Places below /run and /var that lead to code or rights outside, and homes.
//!
//! Under `standard` a root service may write /run and /var; what there would hand out the host is closed. A unit opens
//! one by naming it in `filesystem.read_write_paths` or `[[mounts]]`. A read-only mount does not stop connect(2), so
//! sockets are hidden.

use super::mounts::{Content, Entry, Table};
use crate::plan::MountFlags;

/// Jobs and packages that somebody else executes as root, state that somebody else trusts.
pub(super) const READ_ONLY: [&str; 9] = [
    "/var/spool/cron",
    "/var/spool/anacron",
    "/var/lib/dpkg",
    "/var/lib/apt",
    "/var/lib/systemd",
    "/var/lib/rsvc",
    "/var/lib/rpm",
    "/var/lib/pacman",
    "/var/cache/apt",
];

/// Sockets of managers that do as they are told, and what they keep for others.
const HIDDEN: [&str; 20] = [
    "/run/rsvc",
    // Secrets that a service manager keeps for its services: those of root are root's to read.
    "/run/credentials",
    "/run/systemd",
    "/run/dbus",
    "/run/user",
    "/run/udev",
    "/run/docker.sock",
    "/run/containerd",
    "/run/crio",
    "/run/podman",
    "/run/libvirt",
    "/run/snapd.socket",
    "/run/lxd",
    "/run/lxd.socket",
    "/run/lxd-installer.socket",
    "/run/lxd_agent",
    "/run/incus",
    "/run/incus.socket",
    "/run/incus-user",
    "/run/incus_agent",
];

/// What stays reachable in the hidden /run/systemd: `notify` of a service manager around, and the resolver's files, to
/// which /etc/resolv.conf leads on many hosts. The journal's sockets are added where a journal is.
const IN_RUN_SYSTEMD: [&str; 2] = ["/run/systemd/notify", "/run/systemd/resolve"];

/// `filesystem.protect_home`
pub(super) const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];

/// Flags of directories that hold only sockets: connect(2) needs none of it.
pub(super) const SOCKET_FLAGS: MountFlags =
    MountFlags { read_only: true, no_suid: true, no_dev: true, no_exec: true, no_atime: false, no_symlinks: false };

/// Hides the sockets; a place that `protect_home` has dealt with stays as it is.
pub(super) fn hide(table: &mut Table) {
    let key = "filesystem.protect_system";
    for path in HIDDEN {
        table.entries.entry(path.into()).or_insert_with(|| Entry::built_in(key, Content::Mask).missing_ok(true));
    }
    for path in IN_RUN_SYSTEMD {
        let content = Content::Host { path: path.into(), recursive: true };
        table.put(path, Entry::built_in(key, content).flags(SOCKET_FLAGS).missing_ok(true));
    }
}

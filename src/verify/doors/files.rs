//! The host's files: what can be written, seen, and talked to.

use super::kernel::entries;
use super::promises::{HANDOUTS, NEW_PRIVILEGES, NO_HOME, OWN_ROOT, OWN_TMP, read_only};
use crate::verify::Attempt::{Compare, Look, Make, Read};
use crate::verify::{Found, Key, Probe, Side};
use rustix::fs::{AtFlags, CWD, StatVfsMountFlags, statat, statvfs};

#[rustfmt::skip]
pub(super) const DOORS: &[Probe] = &[
    Probe { id: "write-root", about: "making a file in /", keys: &[read_only!("/")], attempt: Make("/") },
    Probe { id: "write-usr", about: "making a file in /usr", keys: &[read_only!("/usr")], attempt: Make("/usr") },
    Probe { id: "write-usr-bin", about: "making a program in /usr/bin", keys: &[read_only!("/usr/bin")], attempt: Make("/usr/bin") },
    Probe { id: "write-local-bin", about: "making a program in /usr/local/bin", keys: &[read_only!("/usr/local/bin")], attempt: Make("/usr/local/bin") },
    Probe { id: "write-etc", about: "making a file in /etc", keys: &[read_only!("/etc")], attempt: Make("/etc") },
    Probe { id: "write-boot", about: "making a file in /boot", keys: &[read_only!("/boot")], attempt: Make("/boot") },
    Probe { id: "write-var", about: "making a file in /var", keys: &[read_only!("/var")], attempt: Make("/var") },
    Probe { id: "write-var-lib", about: "making a file in /var/lib", keys: &[read_only!("/var/lib")], attempt: Make("/var/lib") },
    Probe { id: "write-cron", about: "making a job that root executes", keys: &[read_only!("/var/spool/cron")], attempt: Make("/var/spool/cron") },
    Probe { id: "write-packages", about: "changing what packages are installed", keys: &[read_only!("/var/lib/dpkg")], attempt: Make("/var/lib/dpkg") },
    Probe { id: "write-home", about: "making a file in /home", keys: &[NO_HOME, read_only!("/home")], attempt: Make("/home") },
    Probe { id: "write-root-home", about: "making a file in root's home", keys: &[NO_HOME, read_only!("/root")], attempt: Make("/root") },
    Probe { id: "home", about: "looking into /home", keys: &[NO_HOME], attempt: Look(|_| entries("/home")) },
    Probe { id: "root-home", about: "looking into root's home", keys: &[NO_HOME], attempt: Look(|_| entries("/root")) },
    Probe { id: "run-user", about: "looking into what users' sessions have in /run", keys: &[NO_HOME], attempt: Look(|_| entries("/run/user")) },
    Probe { id: "host-tmp", about: "seeing the host's /tmp", keys: &[OWN_TMP], attempt: Compare(|| identity("/tmp"), same_tmp) },
    Probe { id: "host-root", about: "seeing the host's root directory", keys: &[OWN_ROOT], attempt: Compare(|| identity("/"), same_root) },
    Probe { id: "shadow", about: "reading the host's passwords", keys: &[OWN_ROOT, Key::Holds("service.user", |p| !p.root && p.held(&["DAC_OVERRIDE", "DAC_READ_SEARCH"]).is_empty())],
        attempt: Read(&["/etc/shadow"]) },
    Probe { id: "manager-sockets", about: "reaching sockets of managers of the host", keys: &[OWN_ROOT, HANDOUTS], attempt: Look(|_| sockets()) },
    Probe { id: "exec-tmp", about: "executing programs from /tmp",
        keys: &[Key::Holds("filesystem.no_exec_paths", |p| executes_not(p, "/tmp"))], attempt: Look(|_| executes("/tmp")) },
    Probe { id: "exec-var", about: "executing programs from /var",
        keys: &[Key::Holds("filesystem.no_exec_paths", |p| executes_not(p, "/var"))], attempt: Look(|_| executes("/var")) },
    Probe { id: "set-id-programs", about: "programs that change the user when they are executed", keys: &[NEW_PRIVILEGES], attempt: Look(|_| set_id_programs()) },
];

/// `DEVICE:INODE`
fn identity(path: &str) -> Found {
    match statat(CWD, path, AtFlags::empty()) {
        Ok(found) => Found::Value(format!("{}:{}", found.st_dev, found.st_ino)),
        Err(rustix::io::Errno::NOENT) => Found::Nothing("it is not there".to_owned()),
        Err(error) => Found::Failed(error.raw_os_error()),
    }
}

fn same_tmp(value: &str, side: &Side<'_>) -> bool {
    side.host.get("tmp").is_some_and(|host| host == value)
}

fn same_root(value: &str, side: &Side<'_>) -> bool {
    side.host.get("root").is_some_and(|host| host == value)
}

/// What does what it is told, over a socket.
fn sockets() -> Found {
    const SOCKETS: [&str; 13] = [
        "/run/rsvc/io.rsvc",
        "/run/docker.sock",
        "/var/run/docker.sock",
        "/run/containerd/containerd.sock",
        "/run/crio/crio.sock",
        "/run/podman/podman.sock",
        "/run/dbus/system_bus_socket",
        "/run/systemd/private",
        "/run/libvirt/libvirt-sock",
        "/run/snapd.socket",
        "/run/lxd.socket",
        "/run/incus/unix.socket",
        "/run/udev/control",
    ];
    let is_socket = |path: &&str| {
        statat(CWD, *path, AtFlags::empty())
            .is_ok_and(|found| rustix::fs::FileType::from_raw_mode(found.st_mode) == rustix::fs::FileType::Socket)
    };
    match SOCKETS.iter().find(|path| is_socket(path)) {
        Some(path) => Found::Done((*path).to_owned()),
        None => Found::Nothing("none is there".to_owned()),
    }
}

/// May programs be executed from the mount at this path?
fn executes(path: &str) -> Found {
    match statvfs(path) {
        Ok(mount) if mount.f_flag.contains(StatVfsMountFlags::NOEXEC) => Found::Nothing("noexec".to_owned()),
        Ok(_) => Found::Done(String::new()),
        Err(error) => Found::Failed(error.raw_os_error()),
    }
}

/// Does `no_exec_paths` cover this path, and nothing open it again?
fn executes_not(posture: &crate::score::Posture<'_>, path: &str) -> bool {
    let filesystem = &posture.unit.filesystem;
    let covers = |entries: &[crate::unit::PathEntry]| {
        entries.iter().any(|entry| path.starts_with(&*entry.path.to_string_lossy()))
    };
    posture.mounts
        && covers(&filesystem.no_exec_paths)
        && !covers(&filesystem.exec_paths)
        && !posture.unit.mounts.iter().any(|mount| mount.destination.starts_with(path))
}

/// Those that most systems have, and whether they would have an effect.
fn set_id_programs() -> Found {
    const PROGRAMS: [&str; 7] = [
        "/usr/bin/su",
        "/bin/su",
        "/usr/bin/passwd",
        "/usr/bin/mount",
        "/usr/bin/newgrp",
        "/usr/bin/sudo",
        "/bin/ping",
    ];
    let is_set_id = |path: &&str| statat(CWD, *path, AtFlags::empty()).is_ok_and(|found| found.st_mode & 0o6000 != 0);
    let Some(program) = PROGRAMS.iter().find(|path| is_set_id(path)) else {
        return Found::Nothing("none is there".to_owned());
    };
    if crate::sys::credentials::has_no_new_privileges().unwrap_or(false) {
        return Found::Nothing("no_new_privs makes them plain".to_owned());
    }
    match statvfs(*program) {
        Ok(mount) if mount.f_flag.contains(StatVfsMountFlags::NOSUID) => Found::Nothing("nosuid".to_owned()),
        _ => Found::Done((*program).to_owned()),
    }
}

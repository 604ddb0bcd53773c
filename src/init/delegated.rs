//! `rsvc keeper`: holds the control group in which a service manager lets all services live, so that the daemon itself can
//! be stopped, killed and exchanged there without anything happening to them.
//!
//! ```text
//! rsvc-payload.service           delegated to us; subtree_control is the daemon's to write
//! ├─ keeper                      this process, which does nothing
//! ├─ .control                    what the manager runs to stop the unit: `rsvc keeper --stop`
//! └─ web, db, …                  the services
//! ```
//!
//! It steps aside before it says that it is ready, as a group with processes cannot hand controllers down. It is nobody's
//! ancestor and holds nothing but its place. The manager ends it last: by then [`stop_everything`] has ended the services in
//! order, although the manager has stopped the daemon, which needs the group, before.

use crate::sys::process::{self, signal};
use crate::sys::{SysError, memory};
use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

/// The group that this process moves to; the daemon takes no group of this name for a unit's.
const GROUP: &str = "keeper";

/// Where the manager listens, sd_notify(3).
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// Steps aside in its own group, says so to the manager, and stays until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps it from beginning, with what to do about it.
pub fn hold(notify_socket: Option<OsString>) -> Result<(), String> {
    process::block_signals().map_err(|error| error.to_string())?;
    step_aside()?;
    if let Some(socket) = notify_socket {
        tell(&socket, b"READY=1").map_err(|error| format!("cannot tell the service manager: {error}"))?;
    }
    memory::give_back();
    loop {
        match process::wait_for_signal_within(None) {
            Ok(Some(signal::TERM | signal::INT)) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Moves this process to a group below its own, where there is a v2 tree. v1 has no rule against processes beside groups.
fn step_aside() -> Result<(), String> {
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"));
    let (Some(mount), Some(own)) =
        (mount_of_v2(&read("/proc/self/mountinfo")?), own_group(&read("/proc/self/cgroup")?))
    else {
        return Ok(());
    };
    if own == Path::new("/") {
        return Err("it has no group of its own to hold\n  hint: it is for a service manager that delegates one \
                    (Delegate=yes); without one `rsvc init` or `rsvc daemon` is enough"
            .to_owned());
    }
    let group = mount.join(own.strip_prefix("/").unwrap_or(&own)).join(GROUP);
    let failed = |what: &str, error: &std::io::Error| {
        format!("cannot {what} {}: {error}\n  hint: the unit needs Delegate=yes", group.display())
    };
    match fs::create_dir(&group) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed("make", &error)),
        _ => {}
    }
    fs::write(group.join("cgroup.procs"), "0").map_err(|error| failed("move to", &error))
}

/// Where the v2 tree is mounted, from a `mountinfo` (proc_pid_mountinfo(5)). Paths with blanks are not looked for: nobody
/// mounts this tree there.
fn mount_of_v2(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (place, rest) = line.split_once(" - ")?;
        let is_v2 = rest.split(' ').next() == Some("cgroup2") && place.split(' ').nth(3) == Some("/");
        is_v2.then(|| place.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// The own group in the v2 tree, from `/proc/self/cgroup` (cgroups(7)).
fn own_group(text: &str) -> Option<PathBuf> {
    text.lines().find_map(|line| line.strip_prefix("0::")).map(PathBuf::from)
}

/// Becomes a daemon that takes over what runs, stops it in order, and ends. `environment` says which instance. Returns only
/// when that cannot be done.
///
/// The daemon finds a SIGTERM waiting that it opens when it can act on it: no request has to find its way to it.
///
/// # Errors
/// The call that failed.
pub fn stop_everything(environment: Vec<(OsString, OsString)>) -> Result<(), String> {
    let failed = |error: SysError| error.to_string();
    process::block_only(&[signal::TERM, signal::INT, signal::HUP]).map_err(failed)?;
    let own = process::pidfd_open(process::own_pid()).map_err(failed)?;
    process::pidfd_send_signal(own.as_fd(), signal::TERM).map_err(failed)?;
    let argv = ["rsvc", "daemon", "--stop-on-exit"].map(|word| CString::new(word).unwrap_or_default());
    // The manager is told of the unit's main process only, and this is another.
    let kept = environment.into_iter().filter(|(name, _)| name != NOTIFY_SOCKET);
    let envp: Vec<CString> = kept
        .filter_map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            CString::new(name.into_vec()).ok()
        })
        .collect();
    Err(failed(process::execve(c"/proc/self/exe", &argv, &envp)))
}

fn tell(socket: &OsStr, text: &[u8]) -> std::io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(text, &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_v2_tree_is_found_on_pure_and_hybrid_hosts_and_not_on_others() {
        let pure = "24 1 0:22 / /sys rw - sysfs sysfs rw\n30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_of_v2(pure).as_deref(), Some(Path::new("/sys/fs/cgroup")));
        let hybrid = "31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n32 30 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        assert_eq!(mount_of_v2(hybrid).as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(mount_of_v2("32 30 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"), None);
        assert_eq!(mount_of_v2("33 30 0:26 /web /run/web rw - cgroup2 cgroup2 rw\n"), None, "a part of the tree");
    }

    #[test]
    fn the_own_group_is_that_of_the_v2_tree() {
        let text = "12:pids:/user\n1:name=systemd:/a\n0::/system.slice/rsvc-payload.service\n";
        assert_eq!(own_group(text).as_deref(), Some(Path::new("/system.slice/rsvc-payload.service")));
        assert_eq!(own_group("12:pids:/user\n"), None);
    }

    #[test]
    fn the_manager_is_told_by_path_and_by_abstract_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let abstract_name = format!("rsvc-keeper-test-{}", process::own_pid());
        let by_name = SocketAddr::from_abstract_name(&abstract_name).expect("a name");
        for (listener, address) in [
            (UnixDatagram::bind(&path).expect("a socket"), path.into_os_string()),
            (UnixDatagram::bind_addr(&by_name).expect("a socket"), OsString::from(format!("@{abstract_name}"))),
        ] {
            tell(&address, b"READY=1").expect("sent");
            let mut text = [0; 16];
            let count = listener.recv(&mut text).expect("received");
            assert_eq!(&text[..count], b"READY=1");
        }
    }
}

//! Our own score: a thousand points, of which a hundred make one of the exposure.
//!
//! Each check has a weight, and all weights together are 1000, whatever the unit is: so rows add up to the score, and a
//! row is worth the same in every unit. A check that is open in part counts a share of its weight, rounded up. What is
//! the host's doing (its kernel, what degraded there) is not in it.

use super::checks::is_internet;
use super::fix::{array, without_calls, without_capabilities, without_families, without_namespaces};
use super::posture::Peers;
use super::systemd::{own_devices, own_user, own_users};
use super::{Fix, Posture, Row};
use crate::plan::CapabilitySet;
use crate::unit::{DevicePolicy, Isolation, MountKind, NetworkMode, ProtectHome, ProtectProc, ProtectSystem};
use std::path::Path;

/// Our own score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// In the order of the table; points of [`Own::ALL`].
    pub rows: Vec<Row>,
}

impl Own {
    /// All points.
    pub const ALL: u32 = 1000;

    /// Open points: hundredths of the score.
    pub fn points(&self) -> u32 {
        self.rows.iter().map(|row| row.open).sum()
    }

    /// Tenths, 0 to 100, rounded up: a score is never better than its points.
    pub fn exposure(&self) -> u32 {
        self.points().div_ceil(10)
    }
}

/// What is open of a check.
struct Finding {
    /// Percent of the weight.
    share: u32,
    what: &'static str,
    fix: Option<Fix>,
}

type Judge = fn(&Posture<'_>) -> Option<Finding>;

/// Who it is, what it may, what it sees of the host, what it can ask of the kernel, how much it may take.
const CHECKS: [(&str, u32, Judge); 60] = [
    ("user", 85, user),
    ("groups", 5, groups),
    ("no-new-privileges", 30, |p| {
        open(!p.unit.security.no_new_privileges, "set-id programs give rights", || yes("no_new_privileges"))
    }),
    ("capabilities-host", 60, |p| {
        let names = ["SYS_ADMIN", "SYS_MODULE", "SYS_RAWIO", "SYS_PTRACE", "SYS_BOOT", "MKNOD", "BPF", "PERFMON"];
        capabilities(p, &names, p.private_users(), "has capabilities that amount to root on the host")
    }),
    ("capabilities-users", 30, |p| {
        let names = ["SETUID", "SETGID", "SETPCAP", "SETFCAP"];
        capabilities(p, &names, p.is_mapped(), "may become other users")
    }),
    ("capabilities-files", 25, |p| {
        let names = ["CHOWN", "DAC_*", "FOWNER", "FSETID", "IPC_OWNER", "LINUX_IMMUTABLE", "LEASE"];
        capabilities(p, &names, p.is_mapped(), "may pass over owners and permissions of files")
    }),
    ("capabilities-network", 15, |p| {
        let names = ["NET_ADMIN", "NET_RAW", "NET_BROADCAST"];
        capabilities(p, &names, p.private_users(), "may configure the network, or send raw packets")
    }),
    ("capabilities-system", 15, |p| {
        let names = [
            "SYS_TIME",
            "SYSLOG",
            "SYS_NICE",
            "SYS_RESOURCE",
            "SYS_TTY_CONFIG",
            "SYS_PACCT",
            "AUDIT_*",
            "MAC_*",
            "WAKE_ALARM",
            "BLOCK_SUSPEND",
            "CHECKPOINT_RESTORE",
        ];
        capabilities(p, &names, p.private_users(), "may set clock, limits or logs of the system")
    }),
    ("capabilities-rest", 5, |p| {
        let names = ["KILL", "NET_BIND_SERVICE", "SYS_CHROOT", "IPC_LOCK"];
        capabilities(p, &names, p.is_mapped(), "has capabilities of lesser reach")
    }),
    ("mount-namespace", 20, |p| open(!p.mounts, "mounts are the host's", || Fix(Vec::new()).in_own_mounts(p))),
    ("pid-namespace", 25, |p| namespace(&p.unit.namespaces.pid, "namespaces.pid", "processes of the host are seen")),
    ("ipc-namespace", 10, |p| namespace(&p.unit.namespaces.ipc, "namespaces.ipc", "IPC is the host's")),
    ("uts-namespace", 5, |p| namespace(&p.unit.namespaces.uts, "namespaces.uts", "the host name is the host's")),
    ("cgroup-namespace", 5, |p| {
        namespace(&p.unit.namespaces.cgroup, "namespaces.cgroup", "control groups of the host are seen")
    }),
    ("user-namespace", 15, |p| {
        open(!p.private_users(), "its user is one of the host's user namespace", || own_users(p))
    }),
    ("network", 30, network),
    ("system-files", 50, system_files),
    ("writable-paths", 15, writable_paths),
    ("home", 20, home),
    ("temporary-files", 15, |p| {
        open(!p.private_tmp(), "/tmp is shared", || Fix::key("filesystem.private_tmp", "true").in_own_mounts(p))
    }),
    ("executable-paths", 25, executable_paths),
    ("sockets-in-run", 15, sockets_in_run),
    ("processes", 15, processes),
    ("proc", 5, |p| {
        let fix = || Fix::key("filesystem.proc_subset", "\"pid\"").in_own_proc(p);
        open(!p.proc_pid_only(), "/proc tells of the machine, not only of processes", fix)
    }),
    ("root", 10, |p| {
        let fix = || {
            let root = Fix::key("rootfs.type", "\"directory\"").and("rootfs.path", "\"/srv/root\"");
            root.in_own_mounts(p)
        };
        open(!p.own_root, "the root file system is the host's", fix)
    }),
    ("landlock", 10, landlock),
    ("kernel-tunables", 20, |p| {
        let fix = || yes("protect_kernel_tunables").in_own_mounts(p);
        open(!p.protect_kernel_tunables(), "/proc/sys and /sys can be written", fix)
    }),
    ("kernel-modules", 15, |p| {
        open(!p.unit.security.protect_kernel_modules, "modules are not denied", || yes("protect_kernel_modules"))
    }),
    ("kernel-logs", 10, |p| {
        let fix = || yes("protect_kernel_logs").in_own_mounts(p);
        open(!p.protect_kernel_logs(), "the kernel's log can be reached", fix)
    }),
    ("clock", 10, |p| open(!p.unit.security.protect_clock, "the clock can be set", || yes("protect_clock"))),
    ("hostname", 5, |p| {
        let fix = || yes("protect_hostname").and("namespaces.uts", "\"private\"");
        open(!p.protect_hostname(), "the host name can be changed", fix)
    }),
    ("control-groups", 15, |p| {
        let fix = || yes("protect_control_groups").and("resources.delegate", "false").in_own_mounts(p);
        open(!p.protect_control_groups(), "control groups can be written", fix)
    }),
    ("devices", 15, |p| open(!p.private_devices(), "the host's devices can be reached", || own_devices(p))),
    ("device-policy", 10, device_policy),
    ("calls", 60, |p| {
        let fix = || Fix::key("syscalls.mode", "\"enforce\"");
        open(p.allowed.is_none(), "every system call is let through", fix)
    }),
    ("calls-debug", 10, |p| calls(p, &["@debug"], "calls that look into other processes are let through")),
    ("calls-mount", 10, |p| calls(p, &["@mount"], "calls that mount or change the root are let through")),
    ("calls-host", 15, |p| {
        let names = ["@clock", "@module", "@raw-io", "@reboot", "@swap"];
        calls(p, &names, "calls that change the machine are let through")
    }),
    ("calls-privileged", 15, |p| calls(p, &["@privileged"], "privileged calls are let through")),
    ("calls-resources", 5, |p| calls(p, &["@resources"], "calls for priorities and limits are let through")),
    ("calls-obsolete", 5, |p| calls(p, &["@obsolete", "@cpu-emulation"], "obsolete calls are let through")),
    ("calls-corners", 15, |p| {
        let names = [
            "bpf",
            "io_uring_setup",
            "kcmp",
            "open_by_handle_at",
            "process_vm_readv",
            "process_vm_writev",
            "userfaultfd",
        ];
        calls(p, &names, "calls with a long record of holes are let through")
    }),
    ("calls-memfd", 5, |p| calls(p, &["memfd_create"], "memory can be executed as a program")),
    ("architectures", 10, |p| {
        let fix = || {
            let native = Fix::key("syscalls.architectures", "[\"native\"]");
            if p.has_filter() { native } else { native.and("syscalls.mode", "\"enforce\"") }
        };
        open(!p.has_filter() || !p.is_native(), "calls come in by other ABIs", fix)
    }),
    ("families", 25, families),
    ("peers", 15, peers),
    ("new-namespaces", 25, new_namespaces),
    ("personality", 5, |p| {
        open(!p.unit.security.lock_personality, "the ABI personality can be changed", || yes("lock_personality"))
    }),
    ("realtime", 10, |p| {
        open(!p.unit.security.restrict_realtime, "may take real-time priority", || yes("restrict_realtime"))
    }),
    ("set-id-files", 15, |p| {
        open(!p.unit.security.restrict_suid_sgid, "may make set-id files", || yes("restrict_suid_sgid"))
    }),
    ("write-execute", 15, |p| {
        let fix = || yes("memory_deny_write_execute");
        open(!p.unit.security.memory_deny_write_execute, "memory can be writable and executable", fix)
    }),
    ("memory", 20, |p| {
        let fix = || Fix::key("resources.memory_max", "\"1G\"");
        open(p.unit.resources.memory_max.is_none(), "may take all memory of the host", fix)
    }),
    ("tasks", 15, |p| {
        let fix = || Fix::key("resources.tasks_max", "256");
        open(p.unit.resources.tasks_max.is_none(), "may start any number of processes", fix)
    }),
    ("cpu", 5, |p| {
        let fix = || Fix::key("resources.cpu_max", "\"100%\"");
        open(p.unit.resources.cpu_max.is_none(), "may take every processor", fix)
    }),
    ("control-socket", 10, |p| {
        let fix = || Fix::key("security.control_socket", "false");
        open(p.unit.security.control_socket, "may talk to rsvc", fix)
    }),
    ("optional", 10, |p| {
        let fix = || Fix::key("security.optional", "[]");
        open(!p.unit.security.optional.is_empty(), "starts also where protections are missing", fix)
    }),
    ("keyring", 5, |p| {
        let fix = || Fix::key("security.keyring", "\"private\"");
        open(!p.unit.security.private_keyring, "the session keyring is shared", fix)
    }),
    ("umask", 5, |p| {
        let fix = || Fix::key("service.umask", "\"0027\"");
        open(p.unit.service.umask & 0o007 != 0o007, "its files can be read by others", fix)
    }),
    ("notify-access", 5, |p| {
        let fix = || Fix::key("service.notify_access", "\"main\"");
        open(!p.hears_main_only(), "every process of it speaks for it", fix)
    }),
    ("delegation", 5, |p| {
        let fix = || Fix::key("resources.delegate", "false");
        open(p.unit.resources.delegate, "manages control groups of its own", fix)
    }),
];

/// Asks all checks.
pub fn own(posture: &Posture<'_>) -> Own {
    let rows = CHECKS.iter().map(|(id, weight, judge)| {
        let finding = judge(posture);
        Row {
            id,
            open: finding.as_ref().map_or(0, |finding| (weight * finding.share).div_ceil(100)),
            weight: Some(*weight),
            what: finding.as_ref().map(|finding| finding.what.to_owned()).unwrap_or_default(),
            fix: finding.and_then(|finding| finding.fix),
        }
    });
    Own { rows: rows.collect() }
}

/// It stands behind a tree that is read-only as a whole.
fn landlock(p: &Posture<'_>) -> Option<Finding> {
    let fix = || {
        let mut fix = yes("landlock");
        if p.protect_system() != ProtectSystem::Strict && p.protect_system() != ProtectSystem::Standard {
            fix = fix.and("filesystem.protect_system", "\"standard\"");
        }
        if matches!(p.unit.namespaces.pid, Isolation::Path(_) | Isolation::Unit(_)) {
            fix = fix.and("namespaces.pid", "\"private\"");
        }
        if p.may_make("mnt") {
            fix = fix.and("security.restrict_namespaces", "true");
        }
        if p.held(&["SYS_ADMIN", "SYS_PTRACE"]) != CapabilitySet::EMPTY {
            fix = fix.and("capabilities.bounding", "[]").and("capabilities.ambient", "[]");
        }
        fix.in_own_mounts(p)
    };
    open(!p.landlock(), "no second barrier (Landlock) behind the mounts", fix)
}

fn found(share: u32, what: &'static str, fix: Fix) -> Option<Finding> {
    Some(Finding { share, what, fix: Some(fix) })
}

fn open(is_open: bool, what: &'static str, fix: impl FnOnce() -> Fix) -> Option<Finding> {
    is_open.then(|| Finding { share: 100, what, fix: Some(fix()) })
}

fn yes(key: &str) -> Fix {
    Fix::key(&format!("security.{key}"), "true")
}

fn user(p: &Posture<'_>) -> Option<Finding> {
    let fix = own_user(p);
    match p.root {
        true if p.is_mapped() => found(40, "runs as root of its user namespace", fix),
        true => found(100, "runs as root", fix),
        false if p.is_nobody() => found(50, "runs as an account that others share", fix),
        false => None,
    }
}

fn groups(p: &Posture<'_>) -> Option<Finding> {
    let listed = !p.unit.service.supplementary_groups.is_empty();
    open(listed, "is a member of more groups", || Fix::key("service.supplementary_groups", "[]"))
}

/// In a user namespace that does not own what they are about they reach less.
fn capabilities(p: &Posture<'_>, names: &[&str], contained: bool, what: &'static str) -> Option<Finding> {
    let held = p.held(names);
    let share = if contained { 30 } else { 100 };
    if held.is_empty() { None } else { found(share, what, without_capabilities(p, held)) }
}

/// One that is shared with another unit, or exists, is half a protection.
fn namespace(isolation: &Isolation, key: &str, what: &'static str) -> Option<Finding> {
    let share = match isolation {
        Isolation::Private => return None,
        Isolation::Path(_) | Isolation::Unit(_) => 50,
        Isolation::Host => 100,
    };
    found(share, what, Fix::key(key, "\"private\""))
}

fn network(p: &Posture<'_>) -> Option<Finding> {
    let fix = Fix::key("network.mode", "\"loopback\"");
    match p.unit.network.mode {
        NetworkMode::Loopback => None,
        NetworkMode::Path(_) | NetworkMode::Unit(_) => found(40, "the network is shared with others", fix),
        NetworkMode::Host => found(100, "the network is the host's", fix),
    }
}

fn peers(p: &Posture<'_>) -> Option<Finding> {
    let fix = Fix::key("network.ip_deny", "[\"any\"]").and("network.ip_allow", "[]");
    match p.peers() {
        _ if p.private_network() || !p.may_speak(is_internet) => None,
        Peers::All => found(100, "talks to any address", fix),
        Peers::Listed => found(50, "talks to addresses of others", fix),
        Peers::Local => found(20, "talks to every service of this machine", fix),
        Peers::Nobody => None,
    }
}

fn system_files(p: &Posture<'_>) -> Option<Finding> {
    let fix = || Fix::key("filesystem.protect_system", "\"strict\"").in_own_mounts(p);
    match p.protect_system() {
        ProtectSystem::Strict => None,
        ProtectSystem::Standard => found(40, "/run and /var can be written", fix()),
        ProtectSystem::Full => found(60, "all but /usr, /boot and /etc can be written", fix()),
        ProtectSystem::Off => found(100, "the system's files can be written", fix()),
    }
}

/// Places whose files others execute or believe.
const TRUSTED: [&str; 11] =
    ["/bin", "/boot", "/efi", "/etc", "/home", "/lib", "/lib64", "/opt", "/root", "/sbin", "/usr"];

fn writable_paths(p: &Posture<'_>) -> Option<Finding> {
    let what = "files that others execute or believe can be written";
    if p.protect_system() == ProtectSystem::Off {
        return found(100, what, Fix::key("filesystem.protect_system", "\"strict\"").in_own_mounts(p));
    }
    // The whole of a top directory is as good as everything below it.
    let is_wide = |path: &Path| path.components().count() <= 2 || TRUSTED.iter().any(|top| path.starts_with(top));
    let paths = &p.unit.filesystem.read_write_paths;
    let left = paths.iter().filter(|entry| !is_wide(&entry.path));
    let left = left.map(|entry| format!("{}{}", if entry.optional { "-" } else { "" }, entry.path.display()));
    let fix = || Fix::key("filesystem.read_write_paths", array(left));
    open(!p.own_root && paths.iter().any(|entry| is_wide(&entry.path)), what, fix)
}

fn home(p: &Posture<'_>) -> Option<Finding> {
    let fix = Fix::key("filesystem.protect_home", "\"hidden\"").in_own_mounts(p);
    match p.protect_home() {
        ProtectHome::Hidden => None,
        ProtectHome::ReadOnly => found(60, "home directories can be read", fix),
        ProtectHome::Off => found(100, "home directories can be seen", fix),
    }
}

/// Files may be executed from anywhere, also those that it has written.
fn executable_paths(p: &Posture<'_>) -> Option<Finding> {
    let closed = p.mounts && p.unit.filesystem.no_exec_paths.iter().any(|entry| entry.path == Path::new("/"));
    let fix = || {
        let paths = ["/usr", "-/bin", "-/sbin", "-/lib", "-/lib32", "-/lib64", "-/libx32"];
        let none = Fix::key("filesystem.no_exec_paths", "[\"/\"]");
        none.and("filesystem.exec_paths", array(paths)).in_own_mounts(p)
    };
    open(!closed, "programs can be executed from everywhere", fix)
}

/// A read-only /run does not stop anybody from connecting to the sockets in it.
fn sockets_in_run(p: &Posture<'_>) -> Option<Finding> {
    let run = Path::new("/run");
    let filesystem = &p.unit.filesystem;
    let lists = [&filesystem.temporary_paths, &filesystem.inaccessible_paths];
    let replaced = p.own_root
        || lists.into_iter().flatten().any(|entry| entry.path == run)
        || p.unit.mounts.iter().any(|mount| mount.destination == run && mount.kind == MountKind::Tmpfs);
    let fix = || {
        let listed = filesystem.temporary_paths.iter();
        let paths = listed.map(|entry| format!("{}{}", if entry.optional { "-" } else { "" }, entry.path.display()));
        Fix::key("filesystem.temporary_paths", array(paths.chain(["/run".to_owned()]))).in_own_mounts(p)
    };
    open(!(p.mounts && replaced), "sockets of other services in /run can be reached", fix)
}

/// With a pid namespace of its own there is little to see.
fn processes(p: &Posture<'_>) -> Option<Finding> {
    if p.protect_proc() != ProtectProc::Off {
        return None;
    }
    let fix = Fix::key("filesystem.protect_proc", "\"invisible\"").in_own_proc(p);
    let share = if p.unit.namespaces.pid == Isolation::Private { 30 } else { 100 };
    found(share, "/proc shows processes of other users", fix)
}

fn device_policy(p: &Posture<'_>) -> Option<Finding> {
    match p.unit.devices.policy {
        DevicePolicy::Auto => found(100, "no device is denied", Fix::key("devices.policy", "\"closed\"")),
        _ if p.unit.devices.allow.is_empty() => None,
        _ => found(50, "devices of the host are allowed", Fix::key("devices.allow", "[]")),
    }
}

fn calls(p: &Posture<'_>, names: &[&str], what: &'static str) -> Option<Finding> {
    open(p.lets_through(names), what, || without_calls(p, names))
}

fn families(p: &Posture<'_>) -> Option<Finding> {
    let usual = |name: &str| ["AF_UNIX", "AF_INET", "AF_INET6"].contains(&name);
    let fix = || without_families(p, |name| !usual(name));
    match &p.unit.network.address_families {
        None => found(100, "sockets of every family can be made", fix()),
        Some(list) if list.iter().all(|family| usual(&family.name)) => None,
        Some(list) if list.iter().all(|family| usual(&family.name) || family.name == "AF_NETLINK") => {
            found(20, "netlink sockets can be made", fix())
        }
        Some(_) => found(80, "sockets of rare families can be made", fix()),
    }
}

fn new_namespaces(p: &Posture<'_>) -> Option<Finding> {
    let may = |kind: &&str| p.may_make(kind);
    let kinds = super::posture::NAMESPACES.iter().filter(|kind| may(kind)).count();
    let share = match kinds {
        0 => return None,
        8 => 100,
        _ if p.may_make("user") => 80,
        _ => 40,
    };
    found(share, "namespaces can be made", without_namespaces(p, |_| true))
}

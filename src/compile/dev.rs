//! The private `/dev`: a tmpfs with the standard nodes and what the unit adds, sealed when it is complete.
//!
//! It is attached first and filled then (kernels before 6.18 refuse mounts in a detached tree). Nodes stay writable on
//! a read-only file system.

use super::context::{Context, Shape};
use super::identity::Identity;
use super::mounts::{Content, Entry, Table};
use crate::plan::{CapabilitySet, Create, MountFlags, Slot, Step, TreeSource};
use crate::unit::{DeviceAllow, DevicePolicy, Isolation, NotifyAccess};
use std::path::{Path, PathBuf};

/// A device that every program may count on.
pub(super) struct StandardNode {
    pub name: &'static str,
    pub major: u32,
    pub minor: u32,
}

/// Character devices, mode 0666. Source: Documentation/admin-guide/devices.txt.
pub(super) const STANDARD_NODES: [StandardNode; 6] = [
    StandardNode { name: "null", major: 1, minor: 3 },
    StandardNode { name: "zero", major: 1, minor: 5 },
    StandardNode { name: "full", major: 1, minor: 7 },
    StandardNode { name: "random", major: 1, minor: 8 },
    StandardNode { name: "urandom", major: 1, minor: 9 },
    StandardNode { name: "tty", major: 5, minor: 0 },
];

/// Links of every `/dev`. `core` is not among them: it would lead to the hidden `/proc/kcore`.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Where the unit's own sockets appear in a private `/dev`.
const SOCKETS: &str = "/dev/rsvc";

/// Where the journal listens for syslog(3).
const JOURNAL_LOG_SOCKET: &str = "/run/systemd/journal/dev-log";

/// Group `tty` of every distribution, owner of terminals.
const TTY_GROUP: u32 = 5;

/// A node of the host that goes into the private `/dev`.
pub(super) struct Node {
    slot: Slot,
    /// Relative to `/dev`.
    name: PathBuf,
    key: &'static str,
    /// A node like it is made.
    copied: bool,
}

/// Puts `/dev` and what is mounted in it into the table.
pub(super) fn add(context: &Context, identity: &Identity, table: &mut Table) {
    let unit = context.unit;
    if !unit.devices.private {
        // The root's flags (read-only, in an own root none of the host's) are not for devices.
        table.put("/dev", Entry::built_in("devices.private", host("/dev")));
        if unit.security.protect_kernel_logs {
            let mask = Entry::built_in("security.protect_kernel_logs", Content::Mask).missing_ok(true);
            table.put("/dev/kmsg", mask);
        }
        if needs_sockets(context) {
            let place = io_directory(context);
            let flags = MountFlags { read_only: true, no_suid: true, no_exec: true, ..MountFlags::default() };
            table.put(&place, Entry::built_in("service.type", host(&place)).flags(flags));
        }
        return;
    }
    table.put("/dev", Entry::built_in("devices.private", Content::Dev));
    let closed = MountFlags { no_suid: true, no_exec: true, ..MountFlags::default() };
    let no_nodes = MountFlags { no_dev: true, ..closed };
    let mut options = vec![
        ("newinstance".to_owned(), None),
        ("ptmxmode".to_owned(), Some("0666".to_owned())),
        ("mode".to_owned(), Some("0620".to_owned())),
    ];
    // An unmapped id is refused by the kernel; terminals belong to whoever opens them then.
    if identity.maps_group(TTY_GROUP) {
        options.push(("gid".to_owned(), Some(TTY_GROUP.to_string())));
    }
    let new = |fs_type, options| Entry::built_in("devices.private", Content::New { fs_type, options });
    table.put("/dev/pts", new("devpts", options).flags(closed));
    let shm = vec![("mode".to_owned(), Some("1777".to_owned()))];
    table.put("/dev/shm", new("tmpfs", shm).flags(no_nodes));
    // Message queues belong to the ipc namespace, and only its owner may mount them.
    let queues = if unit.namespaces.ipc != Isolation::Host {
        new("mqueue", Vec::new())
    } else {
        Entry::built_in("devices.private", host("/dev/mqueue")).missing_ok(true)
    };
    table.put("/dev/mqueue", queues.flags(no_nodes));
    if needs_sockets(context) {
        let flags = MountFlags { read_only: true, ..no_nodes };
        let syslog = unit.service.notify_access == NotifyAccess::None;
        let key = if syslog { "logging.syslog_socket" } else { "service.notify_access" };
        table.put(SOCKETS, Entry::built_in(key, host(io_directory(context))).flags(flags));
    }
}

/// Where READY=1 is to be sent.
pub(super) fn notify_socket(context: &Context, shape: &Shape) -> PathBuf {
    if shape.mounts && context.unit.devices.private {
        Path::new(SOCKETS).join("notify")
    } else {
        io_directory(context).join("notify")
    }
}

/// The socket that a bind mount of `/dev/log` means: the one that the unit has as its own, for programs that look for it
/// in an empty directory of theirs. `None`: the unit has none, the host's is meant.
pub(super) fn log_socket(context: &Context) -> Option<PathBuf> {
    let own = context.unit.logging.syslog_socket && context.unit.devices.private;
    own.then(|| match context.syslog_is_journals() {
        true => JOURNAL_LOG_SOCKET.into(),
        false => io_directory(context).join("log"),
    })
}

/// Opens the host's nodes, before anything covers them; standard ones only where they cannot be made.
pub(super) fn open_nodes(context: &mut Context, shape: &Shape) -> Vec<Node> {
    let unit = context.unit;
    let mut nodes = Vec::new();
    if !makes_nodes(context, shape) {
        for node in &STANDARD_NODES {
            nodes.push(open(context, &Path::new("/dev").join(node.name), "devices.private", false));
        }
    }
    for allow in &unit.devices.allow {
        if let DeviceAllow::Path { path, .. } = allow
            && context.facts.devices.contains_key(path)
            && !STANDARD_NODES.iter().any(|node| path == &Path::new("/dev").join(node.name))
        {
            let missing_ok = unit.is_optional("devices.allow");
            let node = open(context, path, "devices.allow", missing_ok);
            nodes.push(Node { copied: shape.range().is_some(), ..node });
        }
    }
    nodes
}

fn open(context: &mut Context, path: &Path, key: &'static str, missing_ok: bool) -> Node {
    let slot = context.slot();
    let source = TreeSource::Host;
    context.push(key, Step::OpenTree { slot, source, path: path.to_owned(), recursive: false, missing_ok });
    Node { slot, name: path.strip_prefix("/dev").unwrap_or(path).to_owned(), key, copied: false }
}

/// Makes and fills the tmpfs; what is mounted in it comes next in the table, the seal at the end.
pub(super) fn steps(
    context: &mut Context,
    at: &Path,
    create: Create,
    nodes: &[Node],
    seals: &mut Vec<(Slot, MountFlags, String)>,
) {
    let key = "devices.private";
    let slot = context.slot();
    let mode = vec![("mode".to_owned(), Some("0755".to_owned()))];
    let flags = MountFlags { no_suid: true, no_exec: true, ..MountFlags::default() };
    context.push(key, Step::NewFilesystem { slot, fs_type: "tmpfs".to_owned(), options: mode, flags });
    context.push(key, Step::Attach { slot, at: at.to_owned(), create });
    // Made here when none of them was opened as the host's.
    let opened = |name: &str| nodes.iter().any(|node| node.name == Path::new(name));
    for StandardNode { name, major, minor } in STANDARD_NODES {
        if !opened(name) {
            let name = PathBuf::from(name);
            context.push(key, Step::MakeNode { slot, name, character: true, major, minor, mode: 0o666 });
        }
    }
    let mut directories: Vec<PathBuf> = Vec::new();
    for node in nodes {
        let above: Vec<&Path> = node.name.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).collect();
        for directory in above.into_iter().rev() {
            if !directories.iter().any(|made| made == directory) {
                let name = directory.to_owned();
                context.push(node.key, Step::MakeDirectory { slot, name, mode: 0o755 });
                directories.push(directory.to_owned());
            }
        }
        let name = node.name.clone();
        context.push(
            node.key,
            match node.copied {
                true => Step::CopyNode { node: node.slot, slot, name },
                false => Step::AttachNode { node: node.slot, slot, name },
            },
        );
    }
    for (name, target) in LINKS {
        context.push(key, Step::MakeSymlink { slot, name: name.into(), target: target.into() });
    }
    if context.unit.logging.syslog_socket {
        // Into a directory and not to a bound socket: a log daemon that starts anew makes a new socket.
        let own = Path::new(SOCKETS).join("log");
        let target = if context.syslog_is_journals() { JOURNAL_LOG_SOCKET.into() } else { own };
        let step = Step::MakeSymlink { slot, name: "log".into(), target };
        context.push("logging.syslog_socket", step);
    }
    seals.push((slot, MountFlags { read_only: true, ..flags }, key.to_owned()));
}

/// Can device nodes be made? Not in a user namespace, not without CAP_MKNOD, and not where the device group forbids it.
fn makes_nodes(context: &Context, shape: &Shape) -> bool {
    !shape.in_user_namespace()
        && context.facts.capabilities.contains(CapabilitySet::MKNOD)
        && context.unit.devices.policy != DevicePolicy::Strict
}

/// Does the unit use the sockets that the daemon makes for it?
fn needs_sockets(context: &Context) -> bool {
    let unit = context.unit;
    let syslog = unit.logging.syslog_socket && !context.syslog_is_journals() && unit.devices.private;
    unit.service.notify_access != NotifyAccess::None || syslog
}

/// The daemon's directory with the unit's sockets.
fn io_directory(context: &Context) -> PathBuf {
    context.facts.runtime_dir.join("io").join(&context.unit.name)
}

fn host(path: impl Into<PathBuf>) -> Content {
    Content::Host { path: path.into(), recursive: true }
}

//! What the container's tree looks like: from root, protections, paths and mounts to the table of mounts.
//!
//! Two things are decided per place: what is mounted there (`entries` of the table) and with which flags (`rules`:
//! read-only or writable, executable or not; the nearest rule above a place counts). A place whose flags differ from
//! what shows it becomes a mount of its own, a copy taken from the untouched tree: flags are only ever added.

use super::context::{Context, PidMode, Shape};
use super::dev;
use super::directories::{self, Kind};
use super::handouts;
use super::identity::Identity;
use super::mounts::{Content, Entry, Table};
use crate::plan::{MountFlags, OverlayUpper, Step};
use crate::unit::{Isolation, MountKind, PathEntry, ProtectHome, ProtectProc, ProtectSystem, RootfsKind, Unit};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Files of /proc that steer the kernel.
const TUNABLES: [&str; 10] =
    ["acpi", "asound", "bus", "fs", "irq", "latency_stats", "mtrr", "scsi", "sys", "sysrq-trigger"];

/// Files of /proc that tell of other services, of kernel addresses and of memory.
const SECRETS: [&str; 6] = ["kallsyms", "kcore", "keys", "key-users", "sched_debug", "timer_list"];

/// Directories of /sys that tell of kernel internals or give side channels.
const SYS_SECRETS: [&str; 4] =
    ["/sys/firmware", "/sys/kernel/debug", "/sys/kernel/tracing", "/sys/devices/virtual/powercap"];

/// Bytes of the in-memory layer that stands in for a directory of the host: room for mount points and small files.
const STAND_IN_SIZE: u64 = 16 << 20;

/// Read-only or writable, from here downwards.
struct Rule {
    read_only: bool,
    missing_ok: bool,
    key: String,
    authored: bool,
}

impl Rule {
    /// Does it show its place even where something hides it? What the author names, and the unit's own directories.
    fn opens(&self) -> bool {
        self.authored || self.key.starts_with("directories.")
    }
}

/// What a rule does to its place.
enum Effect {
    Nothing,
    /// The mount there becomes read-only.
    Tighten,
    /// A mount of its own.
    Mount(Content),
}

/// Everything under construction.
struct Tree {
    table: Table,
    rules: BTreeMap<PathBuf, Rule>,
}

/// The mount steps, `PivotRoot` included.
pub(super) fn mount_steps(context: &mut Context, shape: &Shape, identity: &Identity) {
    let mut tree = Tree { table: root(context), rules: BTreeMap::new() };
    tree.system_rules(context);
    tree.kernel_file_systems(context, shape);
    tree.temporary(context);
    tree.home(context);
    if !tree.table.own_root && closes_handouts(context.unit) {
        handouts::hide(&mut tree.table);
        for path in handouts::READ_ONLY {
            tree.rule(path, true, "filesystem.protect_system");
        }
    }
    dev::add(context, identity, &mut tree.table);
    tree.journal(context);
    tree.authored(context, identity);
    tree.directories(context);
    tree.apply_rules();
    tree.apply_exec_rules(context.unit);
    tree.hide_instance(context);
    tree.table.prune();
    check_program(context, &tree.table);

    // Mounts that the host makes later must not appear inside, where they would be writable.
    context.push("namespaces.mount", Step::PrivatePropagation);
    tree.table.steps(context, shape);
    context.push("namespaces.mount", Step::PivotRoot);
}

/// Does the unit close anything in its tree?
pub(super) fn protects(unit: &Unit) -> bool {
    let filesystem = &unit.filesystem;
    filesystem.protect_system != ProtectSystem::Off
        || filesystem.protect_home != ProtectHome::Off
        || !filesystem.read_only_paths.is_empty()
        || !filesystem.inaccessible_paths.is_empty()
}

/// Without a mount namespace of its own nothing of this can be had.
pub(super) fn refuse_without_mounts(context: &mut Context) {
    let unit = context.unit;
    let filesystem = &unit.filesystem;
    let asks = [
        ("filesystem.protect_system", filesystem.protect_system != ProtectSystem::Off),
        ("filesystem.protect_home", filesystem.protect_home != ProtectHome::Off),
        ("filesystem.private_tmp", filesystem.private_tmp),
        ("filesystem.protect_proc", filesystem.protect_proc != ProtectProc::Off),
        ("filesystem.proc_subset", filesystem.proc_pid_only),
        ("filesystem.read_only_paths", !filesystem.read_only_paths.is_empty()),
        ("filesystem.inaccessible_paths", !filesystem.inaccessible_paths.is_empty()),
        ("filesystem.temporary_paths", !filesystem.temporary_paths.is_empty()),
        ("filesystem.no_exec_paths", !filesystem.no_exec_paths.is_empty()),
        ("devices.private", unit.devices.private),
        ("rootfs.type", unit.rootfs.kind != RootfsKind::Host),
    ];
    let mounts = (0..unit.mounts.len()).map(|index| (format!("mounts[{index}]"), true));
    let asks: Vec<(String, bool)> = asks.into_iter().map(|(key, on)| (key.to_owned(), on)).chain(mounts).collect();
    for (key, on) in asks {
        if on && (unit.is_written(&key) || key.starts_with("mounts[")) {
            let message = format!("{key} needs a mount namespace of the unit's own");
            context.refuse(&key, "NAMESPACE", message, Some("set namespaces.mount = \"private\""));
        }
    }
}

/// The working directory must not be below what is hidden; a hidden directory itself is an empty one.
pub(super) fn check_working_directory(context: &mut Context, shape: &Shape) {
    let unit = context.unit;
    let path = &unit.service.working_directory;
    let hidden = unit.filesystem.protect_home == ProtectHome::Hidden && shape.mounts;
    let reopened = reopened(unit).any(|open| path.starts_with(open));
    let below = handouts::HOMES.iter().any(|home| path.starts_with(home) && path != Path::new(home));
    let own_root = unit.rootfs.kind != RootfsKind::Host && !unit.is_written("filesystem.protect_home");
    if hidden && below && !reopened && !own_root {
        let message = format!("the working directory {} is hidden by filesystem.protect_home", path.display());
        let hint = "set filesystem.protect_home = \"read-only\", or name the directory in filesystem.read_only_paths";
        context.refuse("service.working_directory", "CHDIR", message, Some(hint));
    }
}

/// Places that the author opens by name.
fn reopened(unit: &Unit) -> impl Iterator<Item = &Path> {
    let filesystem = &unit.filesystem;
    let lists = [
        &filesystem.read_write_paths,
        &filesystem.read_only_paths,
        &filesystem.exec_paths,
        &filesystem.temporary_paths,
    ];
    let paths = lists.into_iter().flatten().map(|entry| entry.path.as_path());
    paths.chain(unit.mounts.iter().map(|mount| mount.destination.as_path()))
}

/// Under these two nothing below /run and /var may lead out.
fn closes_handouts(unit: &Unit) -> bool {
    matches!(unit.filesystem.protect_system, ProtectSystem::Standard | ProtectSystem::Strict)
}

/// Flags that hold for every tree but devices: no set-id programs where they would be void anyway, no devices where
/// `/dev` has them all.
fn base_flags(unit: &Unit, read_only: bool) -> MountFlags {
    MountFlags {
        read_only,
        no_suid: unit.security.no_new_privileges || !read_only,
        no_dev: unit.devices.private || !read_only,
        ..MountFlags::default()
    }
}

fn root(context: &mut Context) -> Table {
    let unit = context.unit;
    let own_root = unit.rootfs.kind != RootfsKind::Host;
    let mode = ("mode".to_owned(), Some("0755".to_owned()));
    let content = match &unit.rootfs.kind {
        RootfsKind::Host => Content::Host { path: "/".into(), recursive: true },
        // What else is mounted below it on the host is not part of it: [[mounts]] can add that.
        RootfsKind::Directory { path } => Content::Host { path: path.clone(), recursive: false },
        RootfsKind::Overlay { lower, .. } => {
            let upper = match directories::overlay_upper(context) {
                Some(path) => OverlayUpper::Directory { path },
                None => OverlayUpper::Ephemeral { size: unit.rootfs.size },
            };
            Content::Overlay { lower: lower.clone(), upper }
        }
        RootfsKind::Tmpfs => {
            let size = ("size".to_owned(), Some(unit.rootfs.size.to_string()));
            Content::New { fs_type: "tmpfs", options: vec![mode, size] }
        }
    };
    let read_only = if own_root && unit.rootfs.readonly {
        true
    } else {
        matches!(unit.filesystem.protect_system, ProtectSystem::Standard | ProtectSystem::Strict)
    };
    let flags = MountFlags {
        read_only,
        no_suid: unit.security.no_new_privileges,
        no_dev: unit.devices.private,
        ..MountFlags::default()
    };
    let key = if own_root { "rootfs.type" } else { "filesystem.protect_system" };
    let root = Entry { authored: own_root, ..Entry::built_in(key, content).flags(flags) };
    Table { root, entries: BTreeMap::new(), own_root }
}

impl Tree {
    /// A built-in rule; the place may be absent.
    fn rule(&mut self, path: &str, read_only: bool, key: &str) {
        let rule = Rule { read_only, missing_ok: true, key: key.to_owned(), authored: false };
        self.rules.insert(path.into(), rule);
    }

    fn author_rules(&mut self, key: &str, paths: &[PathEntry], read_only: bool) {
        for entry in paths {
            let rule = Rule { read_only, missing_ok: entry.optional, key: key.to_owned(), authored: true };
            self.rules.insert(entry.path.clone(), rule);
        }
    }

    /// `filesystem.protect_system` and `rootfs.readonly`.
    fn system_rules(&mut self, context: &Context) {
        let unit = context.unit;
        let key = "filesystem.protect_system";
        let sealed = self.table.own_root && unit.rootfs.readonly;
        match unit.filesystem.protect_system {
            _ if sealed => {}
            ProtectSystem::Off | ProtectSystem::Strict => {}
            ProtectSystem::Standard => {
                self.rule("/run", false, key);
                self.rule("/var", false, key);
                if !unit.filesystem.private_tmp {
                    self.rule("/tmp", false, "filesystem.private_tmp");
                }
            }
            ProtectSystem::Full => {
                for path in ["/usr", "/boot", "/efi", "/etc"] {
                    self.rule(path, true, key);
                }
            }
        }
    }

    /// /proc, /sys and /sys/fs/cgroup with what is closed in them.
    fn kernel_file_systems(&mut self, context: &mut Context, shape: &Shape) {
        self.proc(context, shape);
        self.sys(context, shape);
        self.cgroup(context, shape);
        if context.unit.security.protect_kernel_modules && !self.table.own_root {
            self.mask("/usr/lib/modules", "security.protect_kernel_modules");
        }
    }

    fn mask(&mut self, path: impl Into<PathBuf>, key: &str) {
        self.table.put(path, Entry::built_in(key, Content::Mask).missing_ok(true));
    }

    fn proc(&mut self, context: &mut Context, shape: &Shape) {
        let unit = context.unit;
        let filesystem = &unit.filesystem;
        let flags = MountFlags { no_suid: true, no_dev: true, no_exec: true, ..MountFlags::default() };
        // A user namespace may mount the procfs of a pid namespace that it owns, and no other.
        let fresh = shape.pid != PidMode::Host || !shape.in_user_namespace();
        let content = if fresh {
            let mut options = Vec::new();
            let hidepid = match filesystem.protect_proc {
                ProtectProc::Off => None,
                ProtectProc::Invisible => Some("invisible"),
                ProtectProc::Ptraceable => Some("ptraceable"),
            };
            if let Some(word) = hidepid {
                options.push(("hidepid".to_owned(), Some(word.to_owned())));
            }
            if filesystem.proc_pid_only {
                options.push(("subset".to_owned(), Some("pid".to_owned())));
            }
            Content::New { fs_type: "proc", options }
        } else {
            let why = "a user namespace gets no procfs of its own for the host's processes, so the host's is shown";
            if filesystem.proc_pid_only {
                context.lacking("filesystem.proc_subset", "NAMESPACE", why, Some("set namespaces.pid = \"private\""));
            }
            if filesystem.protect_proc != ProtectProc::Off {
                context.lacking("filesystem.protect_proc", "NAMESPACE", why, Some("set namespaces.pid = \"private\""));
            }
            Content::Host { path: "/proc".into(), recursive: true }
        };
        // Nothing but processes is in a procfs with subset=pid.
        let everything = !fresh || !filesystem.proc_pid_only;
        self.table.put("/proc", Entry::built_in("filesystem.protect_proc", content).flags(flags));
        if unit.security.protect_kernel_tunables && everything {
            let key = "security.protect_kernel_tunables";
            let read_only = MountFlags { read_only: true, ..MountFlags::default() };
            for name in TUNABLES {
                let entry = Entry::built_in(key, Content::Restrict).flags(read_only).missing_ok(true);
                self.table.put(Path::new("/proc").join(name), entry);
            }
            for name in SECRETS {
                self.mask(Path::new("/proc").join(name), key);
            }
        }
        if unit.security.protect_kernel_logs && everything {
            self.mask("/proc/kmsg", "security.protect_kernel_logs");
        }
    }

    fn sys(&mut self, context: &Context, shape: &Shape) {
        let tunables = context.unit.security.protect_kernel_tunables;
        let key = "security.protect_kernel_tunables";
        let flags =
            MountFlags { read_only: tunables, no_suid: true, no_dev: true, no_exec: true, ..MountFlags::default() };
        // sysfs shows the devices of its mounter's network namespace. A user namespace may mount it only together with
        // an own network namespace, and only where nothing of the host's is covered (as for /proc).
        let mountable = !shape.in_user_namespace() || (shape.own_network && context.facts.proc_mountable);
        let fresh = mountable && (self.table.own_root || shape.own_network);
        if fresh {
            let content = Content::New { fs_type: "sysfs", options: Vec::new() };
            self.table.put("/sys", Entry::built_in("network.mode", content).flags(flags));
        } else if self.table.own_root {
            let content = Content::Host { path: "/sys".into(), recursive: true };
            self.table.put("/sys", Entry::built_in(key, content).flags(flags));
        } else {
            self.rule("/sys", tunables, key);
        }
        if tunables {
            for path in SYS_SECRETS {
                self.mask(path, key);
            }
        }
    }

    fn cgroup(&mut self, context: &Context, shape: &Shape) {
        let unit = context.unit;
        let key = "security.protect_control_groups";
        let place = "/sys/fs/cgroup";
        let writable = unit.resources.delegate || !unit.security.protect_control_groups;
        let private = unit.namespaces.cgroup == Isolation::Private;
        if private && context.facts.cgroups.unified {
            // Its root is the unit's own group.
            let flags = MountFlags {
                read_only: !writable,
                no_suid: true,
                no_dev: true,
                no_exec: true,
                ..MountFlags::default()
            };
            let content = Content::New { fs_type: "cgroup2", options: Vec::new() };
            self.table.put(place, Entry::built_in(key, content).flags(flags));
        } else if private && unit.security.protect_control_groups {
            // One file system per v1 controller would be needed to show the own groups: nothing is shown instead.
            self.mask(place, key);
        } else if !self.table.entries.contains_key(Path::new("/sys")) || !shape.own_network {
            self.rule(place, !writable, key);
        }
    }

    /// Private /tmp; an own root has /run and /tmp in memory.
    fn temporary(&mut self, context: &Context) {
        let flags = MountFlags { no_suid: true, no_dev: true, ..MountFlags::default() };
        let tmpfs = |key: &str, mode: &str| {
            let options = vec![("mode".to_owned(), Some(mode.to_owned()))];
            Entry::built_in(key, Content::New { fs_type: "tmpfs", options }).flags(flags)
        };
        let private = context.unit.filesystem.private_tmp;
        let own_root = self.table.own_root;
        if own_root {
            self.table.put("/run", tmpfs("rootfs.type", "0755"));
        }
        if private || own_root {
            let key = if private { "filesystem.private_tmp" } else { "rootfs.type" };
            self.table.put("/tmp", tmpfs(key, "1777"));
        }
        if private {
            self.table.put("/var/tmp", tmpfs("filesystem.private_tmp", "1777").missing_ok(!own_root));
        }
    }

    /// `filesystem.protect_home`. In a root of one's own, home directories are part of the image: only what the author
    /// wrote counts there.
    fn home(&mut self, context: &Context) {
        let unit = context.unit;
        let key = "filesystem.protect_home";
        if self.table.own_root && !unit.is_written(key) {
            return;
        }
        for home in handouts::HOMES {
            match unit.filesystem.protect_home {
                ProtectHome::Hidden => self.mask(home, key),
                ProtectHome::ReadOnly => self.rule(home, true, key),
                // Homes are not protected, so they are as writable as /var is. `strict` still means what it says.
                ProtectHome::Off if unit.filesystem.protect_system == ProtectSystem::Standard => {
                    self.rule(home, false, key);
                }
                ProtectHome::Off => {}
            }
        }
    }

    /// The journal's sockets, which stay reachable in the hidden /run/systemd and in an own root's empty /run.
    fn journal(&mut self, context: &Context) {
        let hidden = self.table.entries.contains_key(Path::new("/run/systemd"));
        if context.facts.journald && (hidden || (self.table.own_root && context.unit.logging.syslog_socket)) {
            let content = Content::Host { path: "/run/systemd/journal".into(), recursive: true };
            let entry = Entry::built_in("logging.syslog_socket", content);
            self.table.put("/run/systemd/journal", entry.flags(handouts::SOCKET_FLAGS).missing_ok(true));
        }
    }

    /// What the author lists in `[filesystem]` and `[[mounts]]`.
    fn authored(&mut self, context: &mut Context, identity: &Identity) {
        let unit = context.unit;
        let filesystem = &unit.filesystem;
        for entry in &filesystem.temporary_paths {
            let mut options = vec![("mode".to_owned(), Some("0755".to_owned()))];
            if identity.uid != 0 {
                options.push(("uid".to_owned(), Some(identity.uid.to_string())));
                options.push(("gid".to_owned(), Some(identity.gid.to_string())));
            }
            let content = Content::New { fs_type: "tmpfs", options };
            let flags = MountFlags { no_suid: true, no_dev: true, ..MountFlags::default() };
            let tmpfs = Entry::authored("filesystem.temporary_paths", content).flags(flags);
            self.table.put(&entry.path, tmpfs.missing_ok(entry.optional));
        }
        for entry in &filesystem.inaccessible_paths {
            let mask = Entry::authored("filesystem.inaccessible_paths", Content::Mask);
            self.table.put(&entry.path, mask.missing_ok(entry.optional));
        }
        for mount in &unit.mounts {
            self.mount(context, mount);
        }
        self.author_rules("filesystem.read_only_paths", &filesystem.read_only_paths, true);
        self.author_rules("filesystem.read_write_paths", &filesystem.read_write_paths, false);
    }

    fn mount(&mut self, context: &mut Context, mount: &crate::unit::Mount) {
        let key = format!("mounts[{}]", mount.index);
        let at = &mount.destination;
        let own_procfs = mount.kind == MountKind::Proc && at == Path::new("/proc");
        if at == Path::new("/") || (at.starts_with("/proc") && !own_procfs) {
            // What is written to /proc must reach the kernel, and `rootfs` says what the root is.
            let message = format!("{}: nothing may be mounted there", at.display());
            context.refuse(&key, "NAMESPACE", message, Some("choose another destination"));
            return;
        }
        let options = &mount.options;
        let data = || options.data.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect();
        let new = |fs_type| Content::New { fs_type, options: data() };
        let content = match &mount.kind {
            MountKind::Bind { source, recursive } => Content::Host { path: source.clone(), recursive: *recursive },
            MountKind::Tmpfs => new("tmpfs"),
            MountKind::Proc => new("proc"),
            MountKind::Mqueue => new("mqueue"),
            MountKind::Sysfs => new("sysfs"),
            MountKind::Overlay { lower, upper } => {
                let upper = match upper {
                    None => OverlayUpper::None,
                    Some(path) if path.file_name().is_some_and(|name| name == "upper") => {
                        OverlayUpper::Directory { path: path.parent().unwrap_or(path).to_owned() }
                    }
                    Some(path) => {
                        let message = format!("upperdir={}: not a directory `upper` beside `work`", path.display());
                        context.refuse(&key, "NAMESPACE", message, Some("name it `upper`, with `work` beside it"));
                        return;
                    }
                };
                Content::Overlay { lower: lower.clone(), upper }
            }
        };
        let flags = MountFlags {
            read_only: options.read_only,
            no_suid: options.no_suid || context.unit.security.no_new_privileges,
            no_dev: options.no_dev,
            no_exec: options.no_exec,
            no_atime: options.no_atime,
            no_symlinks: false,
        };
        self.table.put(at, Entry::authored(&key, content).flags(flags).missing_ok(options.optional));
    }

    /// `directories.*`, writable whatever else is not.
    fn directories(&mut self, context: &mut Context) {
        let unit = context.unit;
        for directory in directories::all(unit) {
            let key = directory.kind.key();
            let inside = directory.inside();
            let source = directory.kind.host(context).join(directory.name);
            if source == inside && !self.table.own_root {
                let rule = Rule { read_only: false, missing_ok: false, key: key.to_owned(), authored: false };
                self.rules.insert(inside, rule);
                continue;
            }
            if !self.table.own_root && !context.facts.existing.contains(&inside) {
                self.stand_in(context, directory.kind);
            }
            let content = Content::Host { path: source, recursive: true };
            self.table.put(inside, Entry::authored(key, content).flags(base_flags(unit, false)));
        }
    }

    /// A directory of this instance has no counterpart on the host to mount on, and none is made there: the parent is
    /// replaced by one in which it can be made. `/run` by an empty one (sockets do not work through an overlay), the
    /// others by a copy whose changes stay in memory.
    fn stand_in(&mut self, context: &mut Context, kind: Kind) {
        let at = kind.inside();
        let own = |entry: &Entry| matches!(entry.content, Content::New { .. } | Content::Overlay { .. });
        if self.table.entries.get(at).is_some_and(own) {
            return;
        }
        let read_only = self.effective_rule(at);
        let content = if kind == Kind::Runtime {
            let options = vec![("mode".to_owned(), Some("0755".to_owned()))];
            Content::New { fs_type: "tmpfs", options }
        } else {
            let upper = OverlayUpper::Ephemeral { size: STAND_IN_SIZE };
            Content::Overlay { lower: vec![at.to_owned()], upper }
        };
        let what = if kind == Kind::Runtime { "an empty one" } else { "a copy whose changes are lost" };
        let why = format!("{} is {what} inside, as this instance keeps its directories elsewhere", at.display());
        context.degrade(kind.key(), why);
        self.table.put(at, Entry::built_in(kind.key(), content).flags(base_flags(context.unit, read_only)));
    }

    /// Is the place read-only by the nearest rule?
    fn effective_rule(&self, at: &Path) -> bool {
        at.ancestors()
            .find_map(|above| self.rules.get(above).map(|rule| rule.read_only))
            .unwrap_or(self.table.root.flags.read_only)
    }

    /// Makes a mount of every place whose rule differs from what shows it.
    fn apply_rules(&mut self) {
        let root_flags = self.table.root.flags;
        for (path, rule) in std::mem::take(&mut self.rules) {
            if path == Path::new("/") {
                self.table.root.flags.read_only = rule.read_only;
                continue;
            }
            match self.effect(&path, &rule) {
                Effect::Nothing => {}
                Effect::Tighten => {
                    if let Some(entry) = self.table.entries.get_mut(&path) {
                        entry.flags.read_only = true;
                    }
                }
                Effect::Mount(content) => {
                    let copy = content != Content::Restrict;
                    let flags = MountFlags {
                        read_only: rule.read_only,
                        no_suid: copy && (root_flags.no_suid || !rule.read_only),
                        no_dev: copy && (root_flags.no_dev || !rule.read_only),
                        ..MountFlags::default()
                    };
                    let entry = Entry { authored: rule.authored, ..Entry::built_in(&rule.key, content) };
                    self.table.put(path, entry.flags(flags).missing_ok(rule.missing_ok));
                }
            }
        }
    }

    /// What a rule does to its place.
    fn effect(&self, path: &Path, rule: &Rule) -> Effect {
        let (shown_at, shown) = self.table.shows(path);
        let at_root = shown_at == Path::new("/");
        // A mount at this very place: the author's word can make it stricter, never undo what was asked there.
        if shown_at == path {
            return match &shown.content {
                Content::Mask if !shown.authored && rule.opens() => Effect::Mount(self.opened(path)),
                Content::Mask => Effect::Nothing,
                _ if rule.authored && rule.read_only => Effect::Tighten,
                _ => Effect::Nothing,
            };
        }
        match &shown.content {
            // Nothing to do where a built-in rule says what is so already.
            Content::Host { .. } | Content::Own if !rule.authored && shown.flags.read_only == rule.read_only => {
                Effect::Nothing
            }
            _ if at_root && self.table.own_root => Effect::Mount(Content::Own),
            Content::Own => Effect::Mount(Content::Own),
            Content::Host { path: source, .. } => {
                let rest = path.strip_prefix(shown_at).unwrap_or(path);
                Effect::Mount(Content::Host { path: source.join(rest), recursive: true })
            }
            Content::Mask if rule.opens() => Effect::Mount(self.opened(path)),
            Content::New { .. } | Content::Overlay { .. } | Content::Dev if rule.opens() => {
                match (self.table.own_root, rule.read_only) {
                    (false, _) => Effect::Mount(self.opened(path)),
                    (true, true) => Effect::Mount(Content::Restrict),
                    // A file system of the container's own is writable already.
                    (true, false) => Effect::Nothing,
                }
            }
            // A built-in rule is about what is not shown here.
            Content::New { .. } | Content::Overlay { .. } | Content::Dev | Content::Mask | Content::Restrict => {
                Effect::Nothing
            }
        }
    }

    /// The tree's own content of a place that something hides.
    fn opened(&self, path: &Path) -> Content {
        if self.table.own_root { Content::Own } else { Content::Host { path: path.to_owned(), recursive: true } }
    }

    /// `filesystem.exec_paths` and `no_exec_paths`: the nearest above a mount counts.
    fn apply_exec_rules(&mut self, unit: &Unit) {
        let mut rules: BTreeMap<PathBuf, (bool, bool, &str)> = BTreeMap::new();
        for (list, no_exec, key) in [
            (&unit.filesystem.no_exec_paths, true, "filesystem.no_exec_paths"),
            (&unit.filesystem.exec_paths, false, "filesystem.exec_paths"),
        ] {
            for entry in list {
                rules.insert(entry.path.clone(), (no_exec, entry.optional, key));
            }
        }
        if rules.is_empty() {
            return;
        }
        let nearest = |at: &Path| at.ancestors().find_map(|above| rules.get(above).map(|(no_exec, ..)| *no_exec));
        for (path, (_, missing_ok, key)) in &rules {
            if path == Path::new("/") || self.table.entries.contains_key(path) {
                continue;
            }
            let (shown_at, shown) = self.table.shows(path);
            let at_root = shown_at == Path::new("/");
            let content = match &shown.content {
                _ if self.table.own_root && (at_root || shown.content == Content::Own) => Content::Own,
                Content::Host { path: source, .. } => {
                    Content::Host { path: source.join(path.strip_prefix(shown_at).unwrap_or(path)), recursive: true }
                }
                // Inside a file system of the container's own: what appears there follows its mount's flags.
                _ => continue,
            };
            let entry = Entry::authored(key, content).flags(shown.flags).missing_ok(*missing_ok);
            self.table.put(path, entry);
        }
        self.table.root.flags.no_exec |= nearest(Path::new("/")) == Some(true);
        for (at, entry) in &mut self.table.entries {
            match (nearest(at), &entry.content) {
                (Some(true), _) => entry.flags.no_exec = true,
                // A copy that was split off took the flags of what showed it.
                (Some(false), Content::Host { .. } | Content::Own) if rules.contains_key(at) => {
                    entry.flags.no_exec = false;
                }
                _ => {}
            }
        }
    }

    /// This instance's own directories hold the control socket, other services' state and unit files.
    fn hide_instance(&mut self, context: &Context) {
        let facts = context.facts;
        let key = "namespaces.mount";
        self.table.hide_host_path(key, &facts.runtime_dir, false);
        self.table.hide_host_path(key, &facts.state_dir, false);
        for path in &facts.unit_path {
            self.table.hide_host_path(key, path, true);
        }
    }
}

/// A program that is not there is found before anything is done, where the table says so.
fn check_program(context: &mut Context, table: &Table) {
    let Some(program) = context.purpose.argv(context.unit).and_then(<[String]>::first) else { return };
    let program = Path::new(program);
    if !program.is_absolute() {
        return;
    }
    let (at, entry) = table.shows(program);
    let private_tmp = matches!(&entry.content, Content::New { fs_type: "tmpfs", .. }) && !entry.authored;
    let hidden = entry.content == Content::Mask || private_tmp;
    if !hidden {
        return;
    }
    let (shown, key) = (program.display(), entry.key.clone());
    let message = if entry.content == Content::Mask {
        format!("{shown} cannot be executed: {} is hidden by {key}", at.display())
    } else {
        format!("{shown} cannot be executed: {} is an empty one of the service's own ({key})", at.display())
    };
    let hint = match key.as_str() {
        "filesystem.protect_home" => {
            let parent = program.parent().unwrap_or(program).display();
            format!("install it below /usr or /opt, or set filesystem.read_only_paths = [\"{parent}\"]")
        }
        "filesystem.private_tmp" => "install it below /usr or /opt, or set filesystem.private_tmp = false".to_owned(),
        _ => "install it below /usr or /opt, or bind it with [[mounts]]".to_owned(),
    };
    context.refuse(context.purpose.key(), "EXEC", message, Some(&hint));
}

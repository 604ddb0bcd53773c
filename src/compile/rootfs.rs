//! What the container's tree looks like: from root, protections, paths and mounts to the table of mounts.
//!
//! Two things are decided per place: what is mounted there (`entries` of the table) and with which flags (`rules`:
//! read-only or writable, executable or not; the nearest rule above a place counts). A place whose flags differ from
//! what shows it becomes a mount of its own, a copy taken from the untouched tree: flags are only ever added.

use super::context::{Context, Shape};
use super::dev;
use super::directories::{self, Kind};
use super::handouts;
use super::identity::Identity;
use super::landlock;
use super::mounts::{Content, Entry, Table};
use super::rules::{Rule, Tree};
use crate::plan::{MountFlags, OverlayUpper, Step};
use crate::unit::{MountKind, ProtectHome, ProtectProc, ProtectSystem, RootfsKind, Unit};
use std::collections::BTreeMap;
use std::path::Path;

/// Bytes of the in-memory layer that stands in for a directory of the host: room for mount points and small files.
const STAND_IN_SIZE: u64 = 16 << 20;

/// The mount steps, `PivotRoot` included.
pub(super) fn mount_steps(context: &mut Context, shape: &Shape, identity: &Identity) {
    let mut tree = Tree { table: Table { range: shape.range(), ..root(context) }, rules: BTreeMap::new() };
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
    tree.credentials(context, shape);
    tree.apply_rules();
    tree.apply_exec_rules(context.unit);
    tree.hide_instance(context);
    tree.table.prune();
    check_program(context, &tree.table);
    context.tree = Some(landlock::file_rules(&tree.table, shape));

    // Mounts that the host makes later must not appear inside, where they would be writable.
    context.push("namespaces.mount", Step::PrivatePropagation);
    if let Some(first) = shape.range() {
        context.push("namespaces.user", Step::MakeUserNamespace { first });
    }
    tree.table.steps(context, shape, identity);
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
        ("security.landlock", unit.security.landlock),
        ("credentials.load", unit.credentials.as_ref().is_some_and(|all| !all.load.is_empty())),
        ("credentials.set", unit.credentials.as_ref().is_some_and(|all| !all.set.is_empty())),
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
        RootfsKind::Image { path, format } => {
            if context.facts.euid != 0 {
                let message = "rootfs.type: the kernel lets only root mount an image";
                context.refuse("rootfs.type", "NAMESPACE", message, Some("unpack it, and use type = \"directory\""));
            }
            Content::Image { path: path.clone(), fs_type: format.name() }
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
    Table { root, entries: BTreeMap::new(), own_root, range: None }
}

impl Tree {
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
        if context.syslog_is_journals() && (hidden || (self.table.own_root && context.unit.logging.syslog_socket)) {
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
            MountKind::Bind { source, recursive } => {
                let own = (source == Path::new("/dev/log")).then(|| dev::log_socket(context)).flatten();
                Content::Host { path: own.unwrap_or_else(|| source.clone()), recursive: *recursive }
            }
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
                self.stand_in(context, directory.kind, key, "this instance keeps its directories elsewhere");
            }
            let content = Content::Host { path: source, recursive: true };
            self.table.put(inside, Entry::authored(key, content).flags(base_flags(unit, false)));
        }
    }

    /// A directory of this instance has no counterpart on the host to mount on, and none is made there: the parent is
    /// replaced by one in which it can be made. `/run` by an empty one (sockets do not work through an overlay), the
    /// others by a copy whose changes stay in memory.
    pub(super) fn stand_in(&mut self, context: &mut Context, kind: Kind, key: &str, cause: &str) {
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
        let why = format!("{} is {what} inside, as {cause}", at.display());
        context.degrade(key, why);
        self.table.put(at, Entry::built_in(key, content).flags(base_flags(context.unit, read_only)));
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

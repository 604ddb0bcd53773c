//! The table of mounts: what the container's tree is made of, by place, and the steps that make it.
//!
//! `rootfs` fills the table in any order; here it becomes steps in the one order that works:
//!
//! ```text
//! copies of host trees     from the untouched tree, before anything covers it; their flags while still detached
//! overlays                 their layers are the host's; after the copies, as one in memory is mounted out of the way
//! the root                 attached
//! copies of root trees     (own root file systems) before the root is sealed
//! every other mount        parents before children, by place
//! seals                    read-only tmpfs and roots, after all mount points below them exist
//! ```

use super::context::{Context, Shape};
use super::credentials;
use super::dev;
use super::identity::Identity;
use crate::plan::{Create, MountFlags, OverlayUpper, RANGE_SIZE, Slot, Step, TreeSource};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};

/// Name and value of an option of a file system; `None`: a flag.
type MountOption = (String, Option<String>);

/// What is mounted at a place.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    /// A copy of a tree of the host.
    Host { path: PathBuf, recursive: bool },
    /// A copy of the same place of an own root file system, to give it other flags.
    Own,
    /// A new file system.
    New { fs_type: &'static str, options: Vec<(String, Option<String>)> },
    /// An overlay.
    Overlay { lower: Vec<PathBuf>, upper: OverlayUpper },
    /// A file system in a file of the host, read-only: as the root only.
    Image { path: PathBuf, fs_type: &'static str },
    /// The private `/dev`.
    Dev,
    /// The unit's credentials.
    Credentials,
    /// Hidden. With mounts below it becomes an empty tmpfs that is sealed when they are there.
    Mask,
    /// The mount that shows this place, with more flags.
    Restrict,
}

/// One mount.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub content: Content,
    pub flags: MountFlags,
    /// Source or place may be absent: then nothing is done.
    pub missing_ok: bool,
    /// Who asked.
    pub key: String,
    /// The author named this very place; built-in mounts below a place that the author hid are left out.
    pub authored: bool,
}

impl Entry {
    /// A built-in mount.
    pub fn built_in(key: &str, content: Content) -> Entry {
        Entry { content, flags: MountFlags::default(), missing_ok: false, key: key.to_owned(), authored: false }
    }

    /// A mount that the author asked for.
    pub fn authored(key: &str, content: Content) -> Entry {
        Entry { authored: true, ..Entry::built_in(key, content) }
    }

    pub fn flags(self, flags: MountFlags) -> Entry {
        Entry { flags, ..self }
    }

    pub fn missing_ok(self, missing_ok: bool) -> Entry {
        Entry { missing_ok, ..self }
    }

    /// Is it a file system of the container's own, in which mount points can be made without touching the host?
    fn is_own(&self, table: &Table) -> bool {
        match &self.content {
            Content::New { fs_type, .. } => *fs_type == "tmpfs",
            Content::Overlay { .. } | Content::Dev => true,
            Content::Credentials => false,
            Content::Own => table.own_root,
            Content::Mask => true,
            Content::Host { .. } | Content::Image { .. } | Content::Restrict => false,
        }
    }
}

/// All mounts by place; parents sort before what is below them.
pub(super) struct Table {
    /// The root: `Host`, `New`, `Overlay` or `Image`.
    pub root: Entry,
    pub entries: BTreeMap<PathBuf, Entry>,
    /// The root is the container's own, not the host's.
    pub own_root: bool,
    /// Host's number of uid 0 of a user namespace that trees of the host are mapped for.
    pub range: Option<u32>,
}

impl Table {
    /// Later calls for the same place win.
    pub fn put(&mut self, at: impl Into<PathBuf>, entry: Entry) {
        self.entries.insert(at.into(), entry);
    }

    /// The mount that shows `path`: at it, or the nearest above.
    pub fn shows(&self, path: &Path) -> (&Path, &Entry) {
        path.ancestors()
            .filter_map(|above| self.entries.get_key_value(above))
            .find(|(_, entry)| entry.content != Content::Restrict)
            .map_or((Path::new("/"), &self.root), |(at, entry)| (at.as_path(), entry))
    }

    /// The mount on which `at` itself lies.
    pub fn parent(&self, at: &Path) -> (&Path, &Entry) {
        at.parent().map_or((Path::new("/"), &self.root), |parent| self.shows(parent))
    }

    /// Mounts strictly below `at`.
    fn below<'t>(&'t self, at: &'t Path) -> impl Iterator<Item = (&'t PathBuf, &'t Entry)> {
        let behind = (Bound::Excluded(at), Bound::Unbounded);
        self.entries.range::<Path, _>(behind).take_while(move |(path, _)| path.starts_with(at))
    }

    /// Hides the host's `path` wherever a copy of a host tree shows it, but where the author bound it by name.
    pub fn hide_host_path(&mut self, key: &str, path: &Path, only_writable: bool) {
        let mut places = Vec::new();
        for (at, entry) in std::iter::once((Path::new("/"), &self.root))
            .chain(self.entries.iter().map(|(at, entry)| (at.as_path(), entry)))
        {
            let Content::Host { path: source, .. } = &entry.content else { continue };
            let Ok(rest) = path.strip_prefix(source) else { continue };
            if (rest.as_os_str().is_empty() && entry.authored) || (only_writable && entry.flags.read_only) {
                continue;
            }
            let inside = at.join(rest);
            if self.shows(&inside).0 == at && inside != Path::new("/") {
                places.push(inside);
            }
        }
        for place in places {
            self.put(place, Entry::built_in(key, Content::Mask).missing_ok(true));
        }
    }

    /// Removes what would be in vain or would open what the author closed.
    pub fn prune(&mut self) {
        let vain = |at: &Path, entry: &Entry| {
            if entry.authored {
                return false;
            }
            let hidden_by_author = at.ancestors().skip(1).any(|above| {
                self.entries.get(above).is_some_and(|above| above.authored && above.content == Content::Mask)
            });
            let nothing_there = entry.content == Content::Mask
                && matches!(self.parent(at).1.content, Content::Mask | Content::New { fs_type: "tmpfs", .. });
            hidden_by_author || nothing_there
        };
        let places: Vec<PathBuf> =
            self.entries.iter().filter(|(at, entry)| vain(at, entry)).map(|(at, _)| at.clone()).collect();
        for place in places {
            self.entries.remove(&place);
        }
    }

    /// Emits the steps, up to and without `PivotRoot`.
    pub fn steps(&self, context: &mut Context, shape: &Shape, identity: &Identity) {
        let mut slots: BTreeMap<&Path, Slot> = BTreeMap::new();
        // In a user namespace a copy without what is mounted below is refused by the kernel.
        let always_recursive = shape.in_user_namespace();
        let overlay_root = matches!(self.root.content, Content::Overlay { .. });
        if !overlay_root {
            self.open_root(context);
        }
        for (at, entry) in &self.entries {
            if let Content::Host { path, recursive } = &entry.content {
                let recursive = *recursive || always_recursive;
                let slot = self.open(context, entry, TreeSource::Host, path, recursive);
                slots.insert(at, slot);
            }
        }
        let nodes = match self.entries.values().any(|entry| entry.content == Content::Dev) {
            true => dev::open_nodes(context, shape),
            false => Vec::new(),
        };
        if overlay_root {
            self.open_root(context);
        }
        for (at, entry) in &self.entries {
            if let Content::Overlay { .. } = &entry.content {
                let later = self.is_sealed_later(at, entry);
                let flags = MountFlags { read_only: entry.flags.read_only && !later, ..entry.flags };
                slots.insert(at, self.make(context, &entry.key, &entry.content, flags));
            }
        }
        // Before anything is attached: nothing of the container is there yet that could see it.
        for (at, entry) in &self.entries {
            if entry.content == Content::Credentials {
                slots.insert(at, credentials::steps(context, identity));
            }
        }
        context.push(&self.root.key, Step::AttachRoot);
        for (at, entry) in &self.entries {
            if entry.content == Content::Own {
                let slot = self.open(context, entry, TreeSource::Root, at, true);
                slots.insert(at, slot);
            }
        }
        let mut seals = Vec::new();
        for (at, entry) in &self.entries {
            self.attach(context, at, entry, slots.get(at.as_path()).copied(), &nodes, &mut seals);
        }
        // A tree of one's own root can be read-only only now that every mount point in it exists.
        if self.own_root && self.root.flags.read_only {
            seals.push((Slot::ROOT, self.root.flags, self.root.key.clone()));
        }
        for (slot, set, key) in seals {
            context.push(&key, Step::Seal { slot, set });
        }
    }

    fn open_root(&self, context: &mut Context) {
        let root = &self.root;
        let slot = Slot::ROOT;
        // An own root is sealed at the end; its other flags hold from the start.
        let flags = if self.own_root { MountFlags { read_only: false, ..root.flags } } else { root.flags };
        match &root.content {
            Content::Host { path, recursive } => {
                let recursive = *recursive;
                self.take(context, root, slot, TreeSource::Host, path, recursive);
                if flags != MountFlags::default() {
                    context.push(&root.key, Step::SetAttributes { slot, set: flags, recursive });
                }
            }
            Content::Overlay { lower, upper } => {
                let (lower, upper) = (lower.clone(), upper.clone());
                context.push(&root.key, Step::NewOverlay { slot, lower, upper, flags });
            }
            Content::New { fs_type, options } => {
                let (fs_type, options) = ((*fs_type).to_owned(), options.clone());
                context.push(&root.key, Step::NewFilesystem { slot, fs_type, options, flags });
            }
            Content::Image { path, fs_type } => {
                let (path, fs_type) = (path.clone(), (*fs_type).to_owned());
                context.push("rootfs.path", Step::TakeImage { slot, path, fs_type });
                if flags != MountFlags::default() {
                    context.push(&root.key, Step::SetAttributes { slot, set: flags, recursive: false });
                }
            }
            Content::Own | Content::Dev | Content::Credentials | Content::Mask | Content::Restrict => {
                unreachable!("rootfs makes the root from a host tree, an overlay, a tmpfs or an image")
            }
        }
    }

    /// Copies a tree and gives the copy its flags while nobody can see it.
    fn open(&self, context: &mut Context, entry: &Entry, source: TreeSource, path: &Path, recursive: bool) -> Slot {
        let slot = context.slot();
        self.take(context, entry, slot, source, path, recursive);
        if entry.flags != MountFlags::default() {
            context.push(&entry.key, Step::SetAttributes { slot, set: entry.flags, recursive });
        }
        slot
    }

    /// What is of the host is mapped for a user namespace with a range of ids; what is of the root has been.
    fn take(&self, context: &mut Context, entry: &Entry, slot: Slot, source: TreeSource, path: &Path, recursive: bool) {
        let (path, missing_ok) = (path.to_owned(), entry.missing_ok);
        if self.range.is_none() || source == TreeSource::Root {
            return context.push(&entry.key, Step::OpenTree { slot, source, path, recursive, missing_ok });
        }
        let writable = entry.authored && !entry.flags.read_only;
        let step = Step::OpenMappedTree { slot, path, recursive, missing_ok, writable };
        // Else it is shown as nobody's, and said so.
        context.push_may_fail(&entry.key, !writable, step);
    }

    fn attach(
        &self,
        context: &mut Context,
        at: &Path,
        entry: &Entry,
        opened: Option<Slot>,
        nodes: &[dev::Node],
        seals: &mut Vec<(Slot, MountFlags, String)>,
    ) {
        let key = entry.key.as_str();
        let place = at.to_owned();
        let missing_ok = entry.missing_ok;
        let create = self.create(at, entry);
        match &entry.content {
            Content::Host { .. } | Content::Own | Content::Credentials => {
                // `steps` has opened every one of them.
                if let Some(slot) = opened {
                    context.push(key, Step::Attach { slot, at: place, create });
                }
            }
            Content::Mask if !self.has_children(at) => {
                context.push(key, Step::Mask { at: place, closed: entry.authored, missing_ok });
            }
            Content::Mask => {
                // What the author closed can be passed through to what is opened below, and not listed.
                let mode = if entry.authored { "0711" } else { "0755" };
                let options = vec![("mode".to_owned(), Some(mode.to_owned()))];
                let content = Content::New { fs_type: "tmpfs", options };
                let flags = MountFlags { no_suid: true, no_dev: true, no_exec: true, ..MountFlags::default() };
                let slot = self.make(context, key, &content, flags);
                context.push(key, Step::Attach { slot, at: place, create });
                seals.push((slot, MountFlags { read_only: true, ..MountFlags::default() }, key.to_owned()));
            }
            Content::Image { .. } => unreachable!("only the root is an image"),
            Content::Restrict => {
                // What lies below is restricted with it, whatever the kernel mounts there.
                context.push(key, Step::Restrict { at: place, set: entry.flags, recursive: true, missing_ok });
            }
            Content::Dev => dev::steps(context, at, create, nodes, seals),
            content @ (Content::New { .. } | Content::Overlay { .. }) => {
                let later = self.is_sealed_later(at, entry);
                let flags = MountFlags { read_only: entry.flags.read_only && !later, ..entry.flags };
                let slot = opened.unwrap_or_else(|| self.make(context, key, content, flags));
                context.push(key, Step::Attach { slot, at: place, create });
                if later {
                    seals.push((slot, MountFlags { read_only: true, ..MountFlags::default() }, key.to_owned()));
                }
            }
        }
    }

    /// Is something mounted below that needs a mount point made in it?
    fn has_children(&self, at: &Path) -> bool {
        self.below(at).any(|(_, below)| !matches!(below.content, Content::Mask | Content::Restrict))
    }

    /// Mount points below must be made before it is read-only.
    fn is_sealed_later(&self, at: &Path, entry: &Entry) -> bool {
        entry.flags.read_only && entry.is_own(self) && self.has_children(at)
    }

    fn make(&self, context: &mut Context, key: &str, content: &Content, flags: MountFlags) -> Slot {
        let slot = context.slot();
        match content {
            Content::New { fs_type, options } => {
                let options = self.owners(context, key, fs_type, options);
                let fs_type = (*fs_type).to_owned();
                context.push(key, Step::NewFilesystem { slot, fs_type, options, flags });
            }
            Content::Overlay { lower, upper } => {
                let (lower, upper) = (lower.clone(), upper.clone());
                context.push(key, Step::NewOverlay { slot, lower, upper, flags });
            }
            Content::Host { .. }
            | Content::Own
            | Content::Image { .. }
            | Content::Dev
            | Content::Credentials
            | Content::Mask
            | Content::Restrict => {
                unreachable!("only new file systems are made")
            }
        }
        slot
    }

    /// Options of a new file system, with owners as they are where the mounts are made.
    fn owners(&self, context: &mut Context, key: &str, fs_type: &str, options: &[MountOption]) -> Vec<MountOption> {
        let mut options = options.to_vec();
        let Some(first) = self.range else { return options };
        for (name, value) in &mut options {
            let Some(text) = value.as_mut().filter(|_| name == "uid" || name == "gid") else { continue };
            match text.parse::<u32>() {
                Ok(id) if id < RANGE_SIZE => *text = first.saturating_add(id).to_string(),
                _ => {
                    let message = format!("{name}={text} is not among the ids 0 to 65535 of the unit's user namespace");
                    context.refuse(key, "USER", message, None);
                }
            }
        }
        // Who sees all processes: root's group, as without a user namespace.
        if fs_type == "proc" && !options.iter().any(|(name, _)| name == "gid") {
            options.push(("gid".to_owned(), Some(first.to_string())));
        }
        options
    }

    /// What to do where the place is missing: made in a tree of the container's own, never in one of the host.
    fn create(&self, at: &Path, entry: &Entry) -> Create {
        let (above, parent) = self.parent(at);
        let own = if above == Path::new("/") { self.own_root } else { parent.is_own(self) };
        match (own, &entry.content) {
            (true, Content::Host { .. } | Content::Own) => Create::AsTree,
            (true, Content::Mask) if entry.missing_ok => Create::SkipMissing,
            (true, _) => Create::Directory,
            // A hidden directory with something of another place below: were it skipped, that would be made on the
            // host. Something of the same place exists only where the directory does.
            (false, Content::Mask) if self.below(at).any(|(at, below)| !is_same_place(at, below)) => Create::Never,
            (false, _) if entry.missing_ok => Create::SkipMissing,
            (false, _) => Create::Never,
        }
    }
}

/// Does the mount show at `at` what the host has there?
fn is_same_place(at: &Path, entry: &Entry) -> bool {
    match &entry.content {
        Content::Host { path, .. } => path == at,
        Content::Mask | Content::Restrict => true,
        Content::Own
        | Content::New { .. }
        | Content::Overlay { .. }
        | Content::Image { .. }
        | Content::Dev
        | Content::Credentials => false,
    }
}

//! Steps that build the new root: mount objects in slots, targets by descriptor.
//!
//! Before `AttachRoot` everything is detached; the few file systems that must be attached to be usable on older
//! kernels (the upper layer of an overlay, the objects that masks are cloned from) are stacked on the host's `/` in
//! our own mount namespace, where no path lookup sees them, and vanish with the old root.

use super::mapped::{Below, Known};
use super::paths::{self, EINVAL, Leaf, is_missing};
use super::{Context, Failure};
use crate::plan::{Create, MountFlags, OverlayUpper, Slot, TreeSource};
use crate::sys::fd::{self, Open};
use crate::sys::mount::{self, Links, Propagation, attributes};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Mount objects of the plan; dropping it closes the stage's ways to the host.
#[derive(Default)]
pub(super) struct Mounts {
    /// `None`: filled by a step whose source was allowed to be missing, and is.
    slots: BTreeMap<Slot, Option<OwnedFd>>,
    /// Copies of the mounts below those in the slots, where a tree was taken apart.
    below: BTreeMap<Slot, Vec<Below>>,
    /// What is mounted, once it was asked.
    pub(super) known: Vec<Known>,
    /// `AttachRoot` was run.
    root_attached: bool,
    masks: Option<Masks>,
    /// File systems stacked on the host's root by [`Mounts::stack_on_host`].
    stacked: std::cell::Cell<u32>,
}

/// What masks are cloned from: empty directories and files on a read-only tmpfs that nobody else knows. The first of
/// each pair can be read by everybody, the second by nobody but a process that may read everything.
struct Masks {
    directories: [OwnedFd; 2],
    files: [OwnedFd; 2],
}

/// Whose the layers of an overlay are.
#[derive(Clone, Copy)]
pub(super) enum Users<'a> {
    /// The host's, and so is the stage.
    Hosts,
    /// The host's, and the stage is in a user namespace.
    Own,
    /// To be mapped by this user namespace.
    Mapped(BorrowedFd<'a>),
}

/// Whose a node is inside whose owner has no number there.
const NOBODY: u32 = 65_534;

pub(super) fn attribute_bits(flags: MountFlags) -> u64 {
    [
        (flags.read_only, attributes::RDONLY),
        (flags.no_suid, attributes::NOSUID),
        (flags.no_dev, attributes::NODEV),
        (flags.no_exec, attributes::NOEXEC),
        (flags.no_atime, attributes::NOATIME),
        (flags.no_symlinks, attributes::NOSYMFOLLOW),
    ]
    .iter()
    .filter(|(wanted, _)| *wanted)
    .fold(0, |bits, (_, bit)| bits | bit)
}

pub(super) fn private_propagation() -> Result<(), Failure> {
    Ok(mount::mount_setattr(fd::CWD, c"/", 0, Some(Propagation::Private), true)?)
}

impl Mounts {
    /// The object in a slot; `None` when it is empty because its source is missing.
    pub fn slot(&self, slot: Slot) -> Result<Option<BorrowedFd<'_>>, Failure> {
        match self.slots.get(&slot) {
            Some(object) => Ok(object.as_ref().map(|fd| fd.as_fd())),
            None => Err(Failure::new(EINVAL, format!("mount object {} was never made", slot.0))),
        }
    }

    pub fn fill(&mut self, slot: Slot, tree: Option<OwnedFd>) {
        self.slots.insert(slot, tree);
    }

    pub fn lay_below(&mut self, slot: Slot, copies: Vec<Below>) {
        self.below.insert(slot, copies);
    }

    pub fn copies(&self, slot: Slot) -> &[Below] {
        self.below.get(&slot).map(Vec::as_slice).unwrap_or_default()
    }

    fn root(&self) -> Result<BorrowedFd<'_>, Failure> {
        match self.slot(Slot::ROOT)? {
            Some(root) if self.root_attached => Ok(root),
            _ => Err(Failure::new(EINVAL, "there is no new root yet")),
        }
    }

    pub fn open_tree(
        &mut self,
        slot: Slot,
        source: TreeSource,
        path: &Path,
        recursive: bool,
        missing_ok: bool,
    ) -> Result<(), Failure> {
        let opened = match source {
            TreeSource::Host => {
                mount::open_tree(fd::CWD, &paths::c_path(path)?, true, recursive).map_err(Failure::from)
            }
            TreeSource::Root => {
                self.slot(Slot::ROOT)?.ok_or(Failure::new(EINVAL, "there is no root tree")).and_then(|root| {
                    let place = paths::open_in_root(root, path, Links::InRoot)?;
                    Ok(mount::open_tree(place.as_fd(), c"", true, recursive)?)
                })
            }
        };
        let tree = match opened {
            Err(failure) if missing_ok && is_missing(failure.errno) => None,
            other => Some(other?),
        };
        self.slots.insert(slot, tree);
        Ok(())
    }

    pub fn new_filesystem(
        &mut self,
        slot: Slot,
        fs_type: &str,
        options: &[(String, Option<String>)],
        flags: MountFlags,
    ) -> Result<(), Failure> {
        let context = mount::fsopen(&paths::c_string(fs_type.as_bytes())?)?;
        for (key, value) in options {
            let key = paths::c_string(key.as_bytes())?;
            let value = value.as_ref().map(|value| paths::c_string(value.as_bytes())).transpose()?;
            configure(&context, &key, value.as_deref())?;
        }
        let tree = create(&context, attribute_bits(flags))?;
        self.slots.insert(slot, Some(tree));
        Ok(())
    }

    pub fn new_overlay(
        &mut self,
        slot: Slot,
        lower: &[PathBuf],
        upper: &OverlayUpper,
        flags: MountFlags,
        users: Users<'_>,
    ) -> Result<(), Failure> {
        let open = |path: &Path| match users {
            Users::Mapped(map) => self.mapped_layer(path, map),
            Users::Hosts | Users::Own => open_directory(path),
        };
        let layers = lower.iter().map(|path| open(path)).collect::<Result<Vec<_>, _>>()?;
        let writable = match upper {
            OverlayUpper::None => None,
            OverlayUpper::Ephemeral { size } => Some(self.ephemeral_upper(*size)?),
            OverlayUpper::Directory { path } => Some(open(path)?),
        };
        // A descriptor's name in /proc: short (fsconfig takes 255 bytes), free of separators, and resolved already.
        let name = |fd: &OwnedFd, below: &str| format!("/proc/self/fd/{}{below}", fd.as_raw_fd());
        let mut options: Vec<(&CStr, Option<String>)> = Vec::new();
        if let Some(directory) = &writable {
            options.push((c"upperdir", Some(name(directory, "/upper"))));
            options.push((c"workdir", Some(name(directory, "/work"))));
            if matches!(users, Users::Own) {
                options.push((c"userxattr", None));
            }
        }
        let names: Vec<String> = layers.iter().map(|layer| name(layer, "")).collect();
        let one_by_one = names.iter().map(|name| (c"lowerdir+", Some(name.clone())));
        let bits = attribute_bits(flags);
        let tree = match overlay(one_by_one.chain(options.iter().cloned()), bits) {
            // Before Linux 6.5 all layers are one string; such a kernel notices the unknown option only at the end.
            Err(failure) if failure.errno == EINVAL => {
                overlay([(c"lowerdir", Some(names.join(":")))].into_iter().chain(options), bits)?
            }
            other => other?,
        };
        self.slots.insert(slot, Some(tree));
        Ok(())
    }

    /// A tmpfs with `upper` and `work`, attached where no path leads: kernels before 6.18 refuse a detached one.
    fn ephemeral_upper(&self, size: u64) -> Result<OwnedFd, Failure> {
        let context = mount::fsopen(c"tmpfs")?;
        configure(&context, c"size", Some(&paths::c_string(size.to_string().as_bytes())?))?;
        configure(&context, c"mode", Some(c"0755"))?;
        let tree = create(&context, attributes::NOSUID | attributes::NODEV)?;
        self.stack_on_host(&tree)?;
        for name in [c"upper", c"work"] {
            mount::make_directory(tree.as_fd(), name, 0o755)?;
        }
        Ok(tree)
    }

    /// Attaches a helper file system on top of the host's root. After `AttachRoot` it would cover the new root.
    pub fn stack_on_host(&self, tree: &OwnedFd) -> Result<(), Failure> {
        if self.root_attached {
            return Err(Failure::new(EINVAL, "the new root is attached already"));
        }
        mount::move_mount_path(tree.as_fd(), c"/")?;
        self.stacked.set(self.stacked.get() + 1);
        Ok(())
    }

    /// Puts what the daemon has mounted into a slot.
    pub fn take(&mut self, slot: Slot, tree: Option<OwnedFd>) -> Result<(), Failure> {
        let tree = tree.ok_or(Failure::new(EINVAL, "the daemon has passed no mount"))?;
        self.slots.insert(slot, Some(tree));
        Ok(())
    }

    pub fn set_attributes(&self, slot: Slot, set: MountFlags, recursive: bool) -> Result<(), Failure> {
        let Some(tree) = self.slot(slot)? else { return Ok(()) };
        mount::mount_setattr(tree, c"", attribute_bits(set), None, recursive)?;
        for below in self.copies(slot).iter().filter(|_| recursive) {
            mount::mount_setattr(&below.tree, c"", attribute_bits(set), None, false)?;
        }
        Ok(())
    }

    /// `with_masks`: a later step masks something, so what masks are made of must be attached now.
    pub fn attach_root(&mut self, with_masks: bool) -> Result<(), Failure> {
        if with_masks {
            self.masks = Some(self.make_masks().map_err(|failure| Failure::new(failure.errno, "empty file system"))?);
        }
        let root = self.slot(Slot::ROOT)?.ok_or(Failure::new(EINVAL, "there is no root tree"))?;
        mount::move_mount_path(root, c"/")?;
        mount::enter_directory(root)?;
        self.attach_below(Slot::ROOT, root)?;
        self.root_attached = true;
        Ok(())
    }

    fn make_masks(&self) -> Result<Masks, Failure> {
        let context = mount::fsopen(c"tmpfs")?;
        configure(&context, c"size", Some(c"4k"))?;
        configure(&context, c"nr_inodes", Some(c"6"))?;
        let tree = create(&context, attributes::NOSUID | attributes::NODEV | attributes::NOEXEC)?;
        mount::make_directory(tree.as_fd(), c"directory", 0o555)?;
        mount::make_directory(tree.as_fd(), c"closed-directory", 0)?;
        drop(mount::make_file(tree.as_fd(), c"file", 0o444)?);
        drop(mount::make_file(tree.as_fd(), c"closed-file", 0)?);
        self.stack_on_host(&tree)?;
        mount::mount_setattr(&tree, c"", attributes::RDONLY, None, false)?;
        let open = |name| mount::open_component(tree.as_fd(), name, Open::Path);
        Ok(Masks {
            directories: [open(c"directory")?, open(c"closed-directory")?],
            files: [open(c"file")?, open(c"closed-file")?],
        })
    }

    pub fn attach(&self, slot: Slot, at: &Path, create: Create) -> Result<(), Failure> {
        let Some(tree) = self.slot(slot)? else { return Ok(()) };
        let links = paths::links_for(at);
        let leaf = match create {
            Create::Never => None,
            Create::SkipMissing => None,
            Create::Directory => Some(Leaf::Directory),
            Create::File => Some(Leaf::File),
            Create::AsTree if fd::stat(tree)?.is_directory() => Some(Leaf::Directory),
            Create::AsTree => Some(Leaf::File),
        };
        let target = match leaf {
            Some(leaf) => paths::open_or_make(self.root()?, at, links, leaf)?,
            None => match paths::open_in_root(self.root()?, at, links) {
                Err(failure) if create == Create::SkipMissing && is_missing(failure.errno) => return Ok(()),
                other => other?,
            },
        };
        put(tree, target.as_fd())?;
        self.attach_below(slot, tree)
    }

    pub fn make_directory(&self, slot: Slot, name: &Path, mode: u32) -> Result<(), Failure> {
        let Some(tree) = self.slot(slot)? else { return Ok(()) };
        let (parent, last) = paths::open_parent(tree, name)?;
        match mount::make_directory(parent.as_fd(), &last, mode) {
            Err(error) if error.errno == paths::EEXIST => {
                // Two steps may want the same parent; a link or file in its place is refused here.
                mount::open_component(parent.as_fd(), &last, Open::Directory).map(drop).context(|| "it exists")
            }
            other => Ok(other?),
        }
    }

    pub fn make_symlink(&self, slot: Slot, name: &Path, target: &Path) -> Result<(), Failure> {
        let Some(tree) = self.slot(slot)? else { return Ok(()) };
        let (parent, last) = paths::open_parent(tree, name)?;
        Ok(mount::make_symlink(parent.as_fd(), &last, &paths::c_path(target)?)?)
    }

    pub fn make_node(
        &self,
        slot: Slot,
        name: &Path,
        character: bool,
        numbers: (u32, u32),
        mode: u32,
    ) -> Result<(), Failure> {
        let Some(tree) = self.slot(slot)? else { return Ok(()) };
        let (parent, last) = paths::open_parent(tree, name)?;
        Ok(mount::make_node(parent.as_fd(), &last, character, numbers, mode)?)
    }

    /// A node with the numbers and the mode of an opened one, and its owner's number inside.
    pub fn copy_node(&self, node: Slot, slot: Slot, name: &Path, first: u32) -> Result<(), Failure> {
        let (Some(node), Some(tree)) = (self.slot(node)?, self.slot(slot)?) else { return Ok(()) };
        let found = fd::stat(node)?;
        let character = match found.mode & libc::S_IFMT {
            libc::S_IFCHR => true,
            libc::S_IFBLK => false,
            _ => return Err(Failure::new(EINVAL, "it is no device node any more")),
        };
        let inside = |id: u32| id.checked_add(first).filter(|_| id < crate::plan::RANGE_SIZE).unwrap_or(NOBODY + first);
        let (parent, last) = paths::open_parent(tree, name)?;
        let numbers = (libc::major(found.node), libc::minor(found.node));
        mount::make_node(parent.as_fd(), &last, character, numbers, found.mode & 0o7777)?;
        Ok(mount::set_owner(parent.as_fd(), &last, inside(found.uid), inside(found.gid))?)
    }

    pub fn attach_node(&self, node: Slot, slot: Slot, name: &Path) -> Result<(), Failure> {
        let (Some(node), Some(tree)) = (self.slot(node)?, self.slot(slot)?) else { return Ok(()) };
        let (parent, last) = paths::open_parent(tree, name)?;
        if fd::stat(node)?.is_directory() {
            mount::make_directory(parent.as_fd(), &last, 0o755)?;
        } else {
            drop(mount::make_file(parent.as_fd(), &last, 0o666)?);
        }
        let place = mount::open_component(parent.as_fd(), &last, Open::Path)?;
        put(node, place.as_fd())
    }

    pub fn mask(&self, at: &Path, closed: bool, missing_ok: bool) -> Result<(), Failure> {
        let Some(target) = self.existing(at, missing_ok)? else { return Ok(()) };
        let masks = self.masks.as_ref().ok_or(Failure::new(EINVAL, "there is no new root yet"))?;
        let objects = if fd::stat(target.as_fd())?.is_directory() { &masks.directories } else { &masks.files };
        let tree = mount::open_tree(objects[usize::from(closed)].as_fd(), c"", true, false)?;
        put(tree.as_fd(), target.as_fd())
    }

    pub fn restrict(&self, at: &Path, set: MountFlags, recursive: bool, missing_ok: bool) -> Result<(), Failure> {
        let Some(target) = self.existing(at, missing_ok)? else { return Ok(()) };
        let bits = attribute_bits(set);
        if mount::is_mount_root(target.as_fd())? {
            return Ok(mount::mount_setattr(&target, c"", bits, None, recursive)?);
        }
        // Always with submounts, or they would disappear below the copy.
        let tree = mount::open_tree(target.as_fd(), c"", true, true)?;
        mount::mount_setattr(&tree, c"", bits, None, recursive)?;
        put(tree.as_fd(), target.as_fd())
    }

    /// The place in the new root, or `None` when it is missing and may be.
    fn existing(&self, at: &Path, missing_ok: bool) -> Result<Option<OwnedFd>, Failure> {
        match paths::open_in_root(self.root()?, at, paths::links_for(at)) {
            Err(failure) if missing_ok && is_missing(failure.errno) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Makes the new root the root, drops the old one and with it every descriptor that leads there.
    pub fn pivot_root(&mut self) -> Result<(), Failure> {
        mount::enter_directory(self.root()?)?;
        mount::pivot_root_here()?;
        // "." leads to the topmost mount on the new root: what was stacked on the old root comes off first, the old root
        // last. Were it left, `/..` would lead into the host.
        for _ in 0..=self.stacked.get() {
            mount::detach_here().context(|| "the old root")?;
        }
        mount::change_directory(c"/")?;
        *self = Mounts::default();
        // `/..` crosses whatever is stacked on the root. It must be the root itself, or the host is behind it.
        let id = |path| mount::mount_id(fd::open(path, fd::Open::Directory)?.as_fd());
        if id(c"/")? != id(c"/..")? {
            return Err(Failure::new(libc::EXDEV, "something is still mounted over the new root"));
        }
        Ok(())
    }
}

/// move_mount with a word for the commonest mistake.
fn put(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Failure> {
    mount::move_mount(tree, target).context(|| {
        let kind = |fd| fd::stat(fd).map(|found| found.is_directory());
        match (kind(tree), kind(target)) {
            (Ok(true), Ok(false)) => "what is mounted is a directory, the place for it is a file",
            (Ok(false), Ok(true)) => "what is mounted is a file, the place for it is a directory",
            _ => "",
        }
    })
}

/// A layer of an overlay.
fn open_directory(path: &Path) -> Result<OwnedFd, Failure> {
    fd::open(&paths::c_path(path)?, Open::Directory).context(|| path.display().to_string())
}

/// fsconfig with the file system's own words on failure.
fn configure(context: &OwnedFd, key: &CStr, value: Option<&CStr>) -> Result<(), Failure> {
    mount::fsconfig(context.as_fd(), key, value).context(|| {
        let option = match value {
            Some(value) => format!("{}={}", key.to_string_lossy(), value.to_string_lossy()),
            None => key.to_string_lossy().into_owned(),
        };
        match mount::context_message(context.as_fd()) {
            Some(message) => format!("option {option}: {message}"),
            None => format!("option {option}"),
        }
    })
}

/// FSCONFIG_CMD_CREATE and fsmount, with the file system's own words on failure.
fn create(context: &OwnedFd, attributes: u64) -> Result<OwnedFd, Failure> {
    mount::fsconfig_create(context).context(|| mount::context_message(context.as_fd()).unwrap_or_default())?;
    Ok(mount::fsmount(context, attributes)?)
}

/// A detached overlay with these options.
fn overlay<'a>(options: impl Iterator<Item = (&'a CStr, Option<String>)>, attributes: u64) -> Result<OwnedFd, Failure> {
    let context = mount::fsopen(c"overlay")?;
    for (key, value) in options {
        let value = value.map(|value| paths::c_string(value.as_bytes())).transpose()?;
        configure(&context, key, value.as_deref())?;
    }
    create(&context, attributes)
}

//! Words of the mount steps: flags, sources, targets, layers.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Attributes of a mount; `true` sets. Clearing is not offered: in a user namespace it is refused as soon as one
/// submount of the host has the flag locked (mount_namespaces(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountFlags {
    /// MOUNT_ATTR_RDONLY
    pub read_only: bool,
    /// MOUNT_ATTR_NOSUID
    pub no_suid: bool,
    /// MOUNT_ATTR_NODEV
    pub no_dev: bool,
    /// MOUNT_ATTR_NOEXEC
    pub no_exec: bool,
    /// MOUNT_ATTR_NOATIME
    pub no_atime: bool,
    /// MOUNT_ATTR_NOSYMFOLLOW
    pub no_symlinks: bool,
}

/// Where the path of [`super::Step::OpenTree`] is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TreeSource {
    /// The host's tree as the daemon sees it (symbolic links of the host are followed).
    Host,
    /// The new root in slot 0, with RESOLVE_IN_ROOT: for writable paths of an own root file system.
    Root,
}

/// What [`super::Step::Attach`] and its kin do when the target is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Create {
    /// Fail with ENOENT.
    Never,
    /// Fail silently: the mount is not wanted where its target does not exist (masks of paths that may be absent).
    SkipMissing,
    /// Make missing directories in the new root (0755), component by component, no symbolic link followed.
    Directory,
    /// The same, the last component an empty file.
    File,
    /// Like `Directory` or `File`, whichever the tree that is attached is (fstat(2) of its descriptor): for binds,
    /// whose source is known at the start only.
    AsTree,
}

/// The writable layer of an overlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OverlayUpper {
    /// A new tmpfs of at most so many bytes; gone with the container.
    Ephemeral {
        /// Bytes.
        size: u64,
    },
    /// Host directory that holds `upper` and `work`; made by a host step.
    Directory {
        /// Absolute path.
        path: PathBuf,
    },
    /// None: a read-only stack of layers (at least two, or one given twice).
    None,
}

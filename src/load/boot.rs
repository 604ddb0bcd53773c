//! The boot set: links `TARGET.wants/NAME.toml` and alias links in the first directory of the search path.
//!
//! A link says that a unit belongs to a set; which file is then read is decided by the search path alone. A link to
//! `/dev/null` takes a unit out of a set that another directory puts it in.

use super::alias_of;
use crate::unit::{Install, value};
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A link that was made or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `link` now leads to `target`.
    Linked {
        /// The new link.
        link: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// `link` is gone.
    Removed {
        /// The former link.
        link: PathBuf,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Linked { link, target } => write!(f, "linked {} -> {}", link.display(), target.display()),
            Change::Removed { link } => write!(f, "removed {}", link.display()),
        }
    }
}

/// Why the boot set could not be changed.
#[derive(Debug)]
pub enum BootSetError {
    /// The search path is empty.
    NoDirectory,
    /// Something that is not this link has its name.
    Occupied {
        /// What is in the way.
        path: PathBuf,
    },
    /// The kernel refused.
    Io {
        /// What was tried: "make the link".
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

impl fmt::Display for BootSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BootSetError::NoDirectory => f.write_str("there is no unit directory to write to"),
            BootSetError::Occupied { path } => write!(f, "{} exists and is something else", path.display()),
            BootSetError::Io { doing, path, error } => write!(f, "cannot {doing} {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for BootSetError {}

/// Puts the unit `name`, found in `file`, into the sets and under the aliases of its `[install]`. What is already so
/// is no change.
///
/// # Errors
/// When a name is taken or the directory cannot be written; what was done until then stays.
pub fn enable(paths: &[PathBuf], name: &str, file: &Path, install: &Install) -> Result<Vec<Change>, BootSetError> {
    let directory = paths.first().ok_or(BootSetError::NoDirectory)?;
    let mut changes = Vec::new();
    for target in &install.wanted_by {
        let set = directory.join(format!("{target}.wants"));
        fs::create_dir_all(&set).map_err(|error| failed("make the directory", &set, error))?;
        changes.extend(link(&set.join(format!("{name}.toml")), file)?);
    }
    for alias in &install.alias {
        changes.extend(link(&directory.join(format!("{alias}.toml")), file)?);
    }
    Ok(changes)
}

fn failed(doing: &'static str, path: &Path, error: io::Error) -> BootSetError {
    BootSetError::Io { doing, path: path.to_path_buf(), error }
}

fn link(link: &Path, target: &Path) -> Result<Option<Change>, BootSetError> {
    match fs::read_link(link) {
        Ok(present) if present == target => return Ok(None),
        // An older link of the same unit, from where it lay before; or the mask of a set.
        Ok(present) if present.file_name() == target.file_name() || present == Path::new("/dev/null") => {
            fs::remove_file(link).map_err(|error| failed("replace the link", link, error))?;
        }
        Ok(_) => return Err(BootSetError::Occupied { path: link.to_path_buf() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => return Err(BootSetError::Occupied { path: link.to_path_buf() }),
    }
    symlink(target, link).map_err(|error| failed("make the link", link, error))?;
    Ok(Some(Change::Linked { link: link.to_path_buf(), target: target.to_path_buf() }))
}

/// Takes the unit `name` out of every set and removes its aliases, in the first directory of the search path. Links of
/// the others belong to packages and stay; [`is_enabled`] tells.
///
/// # Errors
/// When a link cannot be removed; what was done until then stays.
pub fn disable(paths: &[PathBuf], name: &str) -> Result<Vec<Change>, BootSetError> {
    let directory = paths.first().ok_or(BootSetError::NoDirectory)?;
    let mut links: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|e| e == "wants") {
            links.push(path.join(format!("{name}.toml")));
        } else if alias_of(&path).is_some_and(|unit| unit == name) {
            links.push(path);
        }
    }
    links.retain(|link| fs::symlink_metadata(link).is_ok_and(|m| m.file_type().is_symlink()));
    links.sort();
    let remove = |link: PathBuf| match fs::remove_file(&link) {
        Ok(()) => Ok(Change::Removed { link }),
        Err(error) => Err(failed("remove the link", &link, error)),
    };
    links.into_iter().map(remove).collect()
}

/// Names of the units in the set `target`, sorted.
pub fn enabled_units(paths: &[PathBuf], target: &str) -> Vec<String> {
    let mut names = BTreeSet::new();
    let mut masked = BTreeSet::new();
    for directory in paths {
        let set = directory.join(format!("{target}.wants"));
        // A set that is not there is empty.
        for entry in fs::read_dir(set).into_iter().flatten().flatten() {
            let file_name = entry.file_name();
            let Some(name) = file_name.to_str().and_then(|n| n.strip_suffix(".toml")) else { continue };
            if value::unit_name(name).is_err() || names.contains(name) || masked.contains(name) {
                continue;
            }
            let null = fs::read_link(entry.path()).is_ok_and(|to| to == Path::new("/dev/null"));
            let list = if null { &mut masked } else { &mut names };
            list.insert(name.to_owned());
        }
    }
    names.into_iter().collect()
}

/// Is the unit in any set?
pub fn is_enabled(paths: &[PathBuf], name: &str) -> bool {
    let mut targets = BTreeSet::new();
    for entry in paths.iter().flat_map(fs::read_dir).flatten().flatten() {
        if let Some(target) = entry.file_name().to_str().and_then(|n| n.strip_suffix(".wants")) {
            targets.insert(target.to_owned());
        }
    }
    targets.iter().any(|target| enabled_units(paths, target).iter().any(|unit| unit == name))
}

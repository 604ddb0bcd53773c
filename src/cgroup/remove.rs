//! rmdir of a unit's groups, never recursive removal of anything else: the kernel refuses while a process is inside.

use super::CgroupError;
use super::file;
use super::guard;
use super::place::{Place, Places, is_gone};
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// See `Group::remove`. The group that carries the mark goes first: while that one is busy nothing else changes.
pub(super) fn remove(place: &Place) -> Result<(), CgroupError> {
    let places = place.places();
    let v2 = places.v2.as_ref().map(|v2| &v2.directory);
    let v1 = places.v1.iter().map(|v1| &v1.directory);
    for root in v2.into_iter().chain(v1) {
        let directory = root.join(place.below());
        guard::inside(root, &directory)?;
        remove_tree(&directory)?;
    }
    let v2 = places.v2.as_ref().map(|v2| &v2.directory);
    let v1 = places.v1.iter().map(|v1| &v1.directory);
    for slice in v2.into_iter().chain(v1).filter_map(|root| place.slice_in(root)) {
        // Another unit's group may be left in it.
        let _ = fs::remove_dir(slice);
    }
    Ok(())
}

/// Removes the groups of a slice that are empty: one that never got a unit.
pub(super) fn remove_empty(place: &Place) {
    let places = place.places();
    let v2 = places.v2.as_ref().map(|v2| &v2.directory);
    for root in v2.into_iter().chain(places.v1.iter().map(|v1| &v1.directory)) {
        let directory = root.join(place.below());
        if guard::inside(root, &directory).is_ok() {
            // Busy while a unit is in it, gone when it never was in this hierarchy.
            let _ = fs::remove_dir(directory);
        }
    }
}

/// Removes empty groups below the root group that are not among the marked ones: what a daemon made, or had begun to
/// remove, when it was killed. Nothing else can be in a root group that is marked as this instance's.
pub(super) fn sweep(places: &Places, marked: &HashSet<PathBuf>) {
    let children = |directory: &Path| file::children(directory).unwrap_or_default();
    let v2 = places.v2.as_ref().map(|v2| &v2.directory);
    for root in v2.into_iter().chain(places.v1.iter().map(|v1| &v1.directory)) {
        for name in children(root) {
            let below = PathBuf::from(&name);
            if name == guard::KEEPER || guard::inside(root, &root.join(&below)).is_err() {
                continue;
            }
            if !marked.contains(&below) {
                let _ = remove_tree(&root.join(below));
                continue;
            }
            if !name.ends_with(guard::SLICE_SUFFIX) {
                continue;
            }
            for inner in children(&root.join(&below)) {
                let inner = below.join(inner);
                if !marked.contains(&inner) {
                    let _ = remove_tree(&root.join(inner));
                }
            }
            // Busy while a unit is in it.
            let _ = fs::remove_dir(root.join(below));
        }
    }
}

/// A group and those that the service made inside, deepest first. They are listed only if the group is not empty.
fn remove_tree(directory: &Path) -> Result<(), CgroupError> {
    let failed = |error: io::Error| CgroupError::new("remove", directory, error);
    match fs::remove_dir(directory) {
        Ok(()) => return Ok(()),
        Err(error) if is_gone(&error) => return Ok(()),
        // Both versions answer EBUSY for groups inside as for processes inside.
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
        Err(error) => return Err(failed(error)),
    }
    let children = match file::children(directory) {
        Err(error) if is_gone(&error) => return Ok(()),
        other => other.map_err(failed)?,
    };
    for child in children {
        remove_tree(&directory.join(child))?;
    }
    match fs::remove_dir(directory) {
        Err(error) if !is_gone(&error) => Err(failed(error)),
        _ => Ok(()),
    }
}

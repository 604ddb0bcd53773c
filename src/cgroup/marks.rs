//! The mark on a group that rsvc made: an extended attribute of its directory.
//!
//! It tells a unit's group from one that somebody else made at the same place, and gives the unit's name back whatever
//! the directory is called. `trusted.` attributes need CAP_SYS_ADMIN, so a service that was handed its group cannot
//! change its mark; an ordinary user has `user.` ones (on v2 since Linux 5.7).

use super::CgroupError;
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use std::path::Path;

/// What a group is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// The root group of an instance.
    Root,
    /// Where the daemon moved itself to.
    Leaf,
    /// A slice.
    Slice,
    /// A unit, with its name.
    Unit(String),
}

/// Where marks are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marks {
    /// Extended attributes.
    Attribute,
    /// A file in the directory: for the imitated groups of the tests, on any file system.
    #[cfg(test)]
    File,
}

const ATTRIBUTES: [&str; 2] = ["trusted.rsvc", "user.rsvc"];
/// The same for what the daemon notes of the unit.
const NOTES: [&str; 2] = ["trusted.rsvc.state", "user.rsvc.state"];
/// Largest note, bytes. The kernel takes four times as much.
const NOTE_LIMIT: usize = 16 * 1024;
#[cfg(test)]
pub(super) const MARK_FILE: &str = ".rsvc";

impl Mark {
    fn to_text(&self) -> String {
        match self {
            Mark::Root => "root".into(),
            Mark::Leaf => "leaf".into(),
            Mark::Slice => "slice".into(),
            Mark::Unit(name) => format!("unit {name}"),
        }
    }

    fn from_text(text: &str) -> Option<Mark> {
        match text {
            "root" => Some(Mark::Root),
            "leaf" => Some(Mark::Leaf),
            "slice" => Some(Mark::Slice),
            _ => Some(Mark::Unit(text.strip_prefix("unit ")?.to_owned())),
        }
    }
}

impl Marks {
    /// Puts the mark on a directory.
    pub(super) fn set(self, directory: &Path, mark: &Mark) -> Result<(), CgroupError> {
        let text = mark.to_text();
        match self {
            Marks::Attribute => {
                let mut result = Err(Errno::NOTSUP);
                for attribute in ATTRIBUTES {
                    result = rustix::fs::setxattr(directory, attribute, text.as_bytes(), XattrFlags::empty());
                    if result.is_ok() {
                        break;
                    }
                }
                result.map_err(|error| CgroupError::new("mark", directory, error.into()))
            }
            #[cfg(test)]
            Marks::File => std::fs::write(directory.join(MARK_FILE), text)
                .map_err(|error| CgroupError::new("mark", directory, error)),
        }
    }

    /// The mark of a directory; `None` when there is none, or no directory.
    ///
    /// # Errors
    /// Of getxattr(2), but for those that say that there is no mark, or no directory: what cannot be read is no absence.
    pub(super) fn find(self, directory: &Path) -> Result<Option<Mark>, CgroupError> {
        match self {
            Marks::Attribute => {
                let mut buffer = [0_u8; 512];
                for attribute in ATTRIBUTES {
                    match rustix::fs::getxattr(directory, attribute, &mut buffer) {
                        Ok(length) => {
                            let text = buffer.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok());
                            if let Some(mark) = text.and_then(Mark::from_text) {
                                return Ok(Some(mark));
                            }
                        }
                        Err(Errno::NODATA | Errno::NOTSUP | Errno::NOENT | Errno::NODEV | Errno::NOTDIR) => {}
                        // Larger than any mark of ours; or hidden from who may not see it.
                        Err(Errno::RANGE | Errno::PERM | Errno::ACCESS) => {}
                        Err(error) => return Err(CgroupError::new("read the mark of", directory, error.into())),
                    }
                }
                Ok(None)
            }
            #[cfg(test)]
            Marks::File => Ok(super::file::read(&directory.join(MARK_FILE)).and_then(|text| Mark::from_text(&text))),
        }
    }

    /// The same for who asks again, or does not act on the answer.
    pub(super) fn get(self, directory: &Path) -> Option<Mark> {
        self.find(directory).ok().flatten()
    }
}

/// Notes something on a group's directory, in the place of an earlier note; it goes with the group.
///
/// # Errors
/// Of setxattr(2); E2BIG above 16 KiB.
pub(super) fn set_note(directory: &Path, note: &[u8]) -> Result<(), CgroupError> {
    let mut result = if note.len() > NOTE_LIMIT { Err(Errno::TOOBIG) } else { Err(Errno::NOTSUP) };
    for attribute in NOTES.iter().filter(|_| note.len() <= NOTE_LIMIT) {
        result = rustix::fs::setxattr(directory, *attribute, note, XattrFlags::empty());
        if result.is_ok() {
            break;
        }
    }
    result.map_err(|error| CgroupError::new("note the state on", directory, error.into()))
}

/// What was noted; `None` when nothing was.
pub(super) fn note(directory: &Path) -> Option<Vec<u8>> {
    NOTES.iter().find_map(|attribute| {
        let mut buffer = vec![0; NOTE_LIMIT];
        let length = rustix::fs::getxattr(directory, *attribute, &mut buffer[..]).ok()?;
        buffer.truncate(length);
        Some(buffer)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_survives_its_text() {
        for mark in [Mark::Root, Mark::Leaf, Mark::Slice, Mark::Unit("web@1 x".into())] {
            assert_eq!(Mark::from_text(&mark.to_text()), Some(mark));
        }
        for foreign in ["", "1", "unit", "units web"] {
            assert_eq!(Mark::from_text(foreign), None, "{foreign:?}");
        }
    }
}

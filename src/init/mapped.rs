//! Trees of the host for a user namespace with a range of ids: each file system in them mapped, so that id N on the disk
//! is id N inside.
//!
//! A mount can be mapped only while it is detached and alone, and not every file system can be. So a tree is taken apart:
//! the mount that the path leads into, and each that lies below, is copied by itself, mapped if it can be, and all are put
//! together again when the first is attached. What cannot be mapped stays as it is, and belongs to nobody inside.

use super::mounts::Mounts;
use super::paths::{self, EINVAL, is_missing};
use super::{Context, Failure};
use crate::plan::Slot;
use crate::sys::fd::{self, Open};
use crate::sys::mount::{self, Links};
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A mount of our mount namespace, as `/proc/self/mountinfo` has it (proc_pid_mountinfo(5)).
pub(super) struct Known {
    number: u64,
    at: PathBuf,
    fs_type: String,
}

/// A copy of one mount of a slot's tree, and its place below the top.
pub(super) struct Below {
    at: PathBuf,
    pub tree: OwnedFd,
}

/// File systems of the kernel's own: that they cannot be mapped goes without saying.
const KERNELS: [&str; 6] = ["proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue"];

/// What was asked of [`Mounts::open_mapped`].
pub(super) struct Wanted<'a> {
    pub path: &'a Path,
    pub recursive: bool,
    pub missing_ok: bool,
    /// The service is to write there.
    pub writable: bool,
}

impl Mounts {
    /// Takes a tree of the host into a slot. A failure that the step may have leaves the tree in the slot, not mapped.
    pub fn open_mapped(&mut self, slot: Slot, wanted: &Wanted<'_>, map: BorrowedFd<'_>) -> Result<(), Failure> {
        let path = paths::c_path(wanted.path)?;
        let place = match mount::open_tree(fd::CWD, &path, false, false) {
            Err(error) if wanted.missing_ok && is_missing(error.errno) => {
                self.fill(slot, None);
                return Ok(());
            }
            other => other?,
        };
        let tree = mount::open_tree(place.as_fd(), c"", true, false)?;
        let mapped = mount::map_ids(tree.as_fd(), map);
        if wanted.recursive {
            let below = self.below(&place, map)?;
            self.lay_below(slot, below);
        }
        self.fill(slot, Some(tree));
        let Err(error) = mapped else { return Ok(()) };
        let number = mount::mount_id(place.as_fd())?;
        let fs_type = self.known()?.iter().find(|known| known.number == number).map(|known| known.fs_type.clone());
        let fs_type = fs_type.unwrap_or_default();
        if !wanted.writable && KERNELS.contains(&fs_type.as_str()) {
            return Ok(());
        }
        let shown = wanted.path.display();
        let why = match error.errno {
            EINVAL => format!("{shown}: a {fs_type} file system cannot be shown with the ids of a user namespace"),
            _ => format!("{shown}: {error}"),
        };
        let then = if wanted.writable { "the service could not write there" } else { "its files are nobody's inside" };
        Err(Failure::new(0, format!("{why}: {then}")).bearable())
    }

    /// Copies of the mounts below a place, parents first.
    fn below(&mut self, place: &OwnedFd, map: BorrowedFd<'_>) -> Result<Vec<Below>, Failure> {
        let top = real_path(place)?;
        let known = self.known()?;
        let mut places: Vec<&Path> = known.iter().map(|known| known.at.as_path()).collect();
        places.retain(|at| at.starts_with(&top) && *at != top);
        places.sort_unstable();
        places.dedup();
        let mut copies = Vec::new();
        for at in places {
            let path = paths::c_path(at)?;
            // Covered by a mount above it, or below a directory that root may not search: a file system of others.
            let Ok(place) = mount::open_tree(fd::CWD, &path, false, false) else { continue };
            let number = mount::mount_id(place.as_fd())?;
            let Some(found) = known.iter().find(|known| known.number == number && known.at == at) else { continue };
            let tree = match mount::open_tree(place.as_fd(), c"", true, false) {
                // The kernel leaves out what would keep a namespace alive by itself.
                Err(error) if error.errno == EINVAL && found.fs_type == "nsfs" => continue,
                other => other.context(|| at.display().to_string())?,
            };
            // What cannot be mapped is nobody's, as in a user namespace without maps for it.
            let _ = mount::map_ids(tree.as_fd(), map);
            let at = at.strip_prefix(&top).unwrap_or(at).to_owned();
            copies.push(Below { at, tree });
        }
        Ok(copies)
    }

    fn known(&mut self) -> Result<&[Known], Failure> {
        if self.known.is_empty() {
            let file = fd::open(c"/proc/self/mountinfo", Open::Read).context(|| "/proc/self/mountinfo")?;
            let mut bytes = Vec::new();
            let mut chunk = [0; 16 << 10];
            loop {
                let length = fd::read(file.as_fd(), &mut chunk).context(|| "/proc/self/mountinfo")?;
                if length == 0 {
                    break;
                }
                bytes.extend_from_slice(&chunk[..length]);
            }
            self.known = bytes.split(|byte| *byte == b'\n').filter_map(line).collect();
        }
        Ok(&self.known)
    }

    /// Puts the copies of a slot back where they were, below its attached top.
    pub fn attach_below(&self, slot: Slot, top: BorrowedFd<'_>) -> Result<(), Failure> {
        for below in self.copies(slot) {
            let place = mount::open_below(top, &paths::c_path(&below.at)?, Open::Path, Links::Refused);
            let place = place.context(|| below.at.display().to_string())?;
            mount::move_mount(below.tree.as_fd(), place.as_fd()).context(|| below.at.display().to_string())?;
        }
        Ok(())
    }

    /// A layer of an overlay, mapped. Attached where no path leads: older kernels take no detached layers.
    pub fn mapped_layer(&self, path: &Path, map: BorrowedFd<'_>) -> Result<OwnedFd, Failure> {
        let shown = || path.display().to_string();
        let tree = mount::open_tree(fd::CWD, &paths::c_path(path)?, true, false).context(shown)?;
        mount::map_ids(tree.as_fd(), map).map_err(|error| {
            let detail =
                format!("{}: its file system cannot be shown with the ids of a user namespace", path.display());
            Failure::new(error.errno, detail)
        })?;
        self.stack_on_host(&tree)?;
        Ok(tree)
    }
}

/// Where a descriptor leads, from our root.
fn real_path(place: &OwnedFd) -> Result<PathBuf, Failure> {
    let link = paths::c_path(Path::new(&format!("/proc/self/fd/{}", place.as_raw_fd())))?;
    let path = fd::read_link(&link).context(|| "/proc/self/fd")?;
    Ok(PathBuf::from(OsString::from_vec(path)))
}

/// `36 35 98:0 /root /place options [fields] - type source options`
fn line(bytes: &[u8]) -> Option<Known> {
    let mut fields = bytes.split(|byte| *byte == b' ');
    let number = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let at = PathBuf::from(OsString::from_vec(unescaped(fields.nth(3)?)));
    let fs_type = fields.skip_while(|field| *field != b"-").nth(1)?;
    Some(Known { number, at, fs_type: String::from_utf8_lossy(fs_type).into_owned() })
}

/// `\040` and its kin stand for blanks and what else would end a field.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.first_chunk::<3>().filter(|_| *first == b'\\');
        let value = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(value.unwrap_or(*first));
        rest = if value.is_some() { &behind[3..] } else { behind };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn a_line_of_mountinfo_is_read_with_its_escapes() {
        let text = br"36 35 98:0 /a /srv/a\040b\134c rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        let known = line(text).expect("a mount");
        assert_eq!((known.number, known.fs_type.as_str()), (36, "ext3"));
        assert_eq!(known.at.as_os_str().as_bytes(), br"/srv/a b\c");
        let plain = line(b"22 27 0:21 / /proc rw,relatime - proc proc rw").expect("a mount");
        assert_eq!((plain.at.as_path(), plain.fs_type.as_str()), (Path::new("/proc"), "proc"));
        assert!(line(b"").is_none() && line(b"x y").is_none());
    }
}

//! The unit's credentials: files in a file system that nobody but the stage can reach yet.
//!
//! What is copied was opened by the daemon, which may read more than the stage of a user namespace may. The files belong
//! to the stage while they are written, and to the service's user when all are.

use super::paths;
use super::{Context, Failure, Stage};
use crate::plan::{CREDENTIALS_SIZE, Slot};
use crate::sys::fd;
use crate::sys::mount::{self, attributes};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes that are copied at once.
const CHUNK: usize = 16 << 10;

/// What was written, and what is still to be.
#[derive(Default)]
pub(super) struct Credentials {
    /// Texts of the unit, by name.
    texts: Vec<(String, String)>,
    /// Files so far.
    names: Vec<CString>,
    /// Their bytes.
    size: u64,
}

impl Credentials {
    pub fn new(texts: Vec<(String, String)>) -> Credentials {
        Credentials { texts, ..Default::default() }
    }

    /// An empty file, and room for what it gets.
    fn file(&mut self, directory: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Failure> {
        let path = paths::c_string(name.as_bytes())?;
        let file = mount::make_file(directory, &path, 0o400).context(|| format!("the file {name}"))?;
        self.names.push(path);
        Ok(file)
    }

    fn write(&mut self, file: &OwnedFd, bytes: &[u8]) -> Result<(), Failure> {
        self.size += bytes.len() as u64;
        if self.size > CREDENTIALS_SIZE {
            let detail = "all credentials of the unit together are larger than 1 MiB";
            return Err(Failure::new(libc::EFBIG, detail));
        }
        Ok(fd::write_all(file, bytes)?)
    }
}

/// The file system, before it is sealed; a slot of another kind of step is a mistake in the plan.
fn directory(stage: &Stage, slot: Slot) -> Result<BorrowedFd<'_>, Failure> {
    stage.mounts.slot(slot)?.ok_or(Failure::new(paths::EINVAL, "there is no file system for credentials"))
}

pub(super) fn load(stage: &mut Stage, slot: Slot, name: &str) -> Result<(), Failure> {
    let mut written = std::mem::take(&mut stage.credentials);
    let (own, others) = std::mem::take(&mut stage.inherited.credentials).into_iter().partition(|file| file.0 == name);
    stage.inherited.credentials = others;
    let own: Vec<(String, String, OwnedFd)> = own;
    let directory = directory(stage, slot)?;
    for (_, name, source) in own {
        let file = written.file(directory, &name)?;
        let mut chunk = vec![0; CHUNK];
        loop {
            let length = fd::read(source.as_fd(), &mut chunk).context(|| format!("reading {name}"))?;
            if length == 0 {
                break;
            }
            written.write(&file, &chunk[..length])?;
        }
    }
    stage.credentials = written;
    Ok(())
}

pub(super) fn set(stage: &mut Stage, slot: Slot, name: &str) -> Result<(), Failure> {
    let mut written = std::mem::take(&mut stage.credentials);
    let at = written.texts.iter().position(|(known, _)| known == name);
    let (_, text) = written.texts.remove(at.ok_or(Failure::new(0, "the daemon passed no text for it"))?);
    if !written.names.iter().any(|loaded| loaded.as_bytes() == name.as_bytes()) {
        let file = written.file(directory(stage, slot)?, name)?;
        written.write(&file, text.as_bytes())?;
    }
    stage.credentials = written;
    Ok(())
}

pub(super) fn seal(stage: &mut Stage, slot: Slot, uid: u32, gid: u32) -> Result<(), Failure> {
    let names = std::mem::take(&mut stage.credentials).names;
    let root = directory(stage, slot)?;
    for name in &names {
        mount::set_owner(root, name, uid, gid).context(|| format!("the owner of {}", name.to_string_lossy()))?;
    }
    // In this order: who gives a directory away may not change its mode any more, without capabilities.
    mount::set_mode(root, c".", 0o500)?;
    mount::set_owner(root, c".", uid, gid).context(|| "the owner of the directory")?;
    Ok(mount::mount_setattr(root, c"", attributes::RDONLY, None, false)?)
}

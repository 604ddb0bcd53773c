//! Small files that are read and written whole, so that nobody meets a half of one.

use super::scarcity;
use rustix::fs::{CWD, Mode, OFlags};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Room for any usual state, bytes: one read brings all of it.
const USUAL_SIZE: usize = 1024;

/// Writes a file (0600) whole: a reader sees the old content or the new one. Not synced to a disk: the runtime
/// directory does not outlive the boot.
///
/// # Errors
/// Of open(2), write(2) and rename(2).
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(CWD, &temporary, flags, Mode::from_raw_mode(0o600))?);
    let written = file.write_all(bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Writes over a file whose file system is full: its first page is there already, and JSON may end in blanks. No reader
/// meets a half of it even so: what is written within one page is there or not when the writer is killed, as a fatal
/// signal is looked at between two pages.
pub(super) fn overwrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    const PAGE: usize = 4096;
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    let length = usize::try_from(metadata.len()).unwrap_or(usize::MAX).max(bytes.len());
    if !metadata.is_file() || metadata.len() == 0 || length > PAGE {
        return Err(io::ErrorKind::StorageFull.into());
    }
    let mut page = bytes.to_vec();
    page.resize(length, b' ');
    file.write_all_at(&page, 0)
}

/// At most `limit` bytes of a regular file, no link followed.
pub(super) fn read_file(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::io::retry_on_intr(|| rustix::fs::openat(CWD, path, flags, Mode::empty()));
    let file = File::from(scarcity::noted(opened.map_err(io::Error::from))?);
    if !scarcity::noted(file.metadata())?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::with_capacity(USUAL_SIZE);
    // Of a regular file less than was asked for is the end.
    while scarcity::noted(read_more(&file, &mut bytes))? != 0
        && bytes.len() == bytes.capacity()
        && bytes.len() as u64 <= limit
    {
        bytes.reserve(bytes.len());
    }
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// A file of /proc that the kernel shows as one record, in one read: what comes is all, unless it fills the room.
pub fn read_proc(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(4096);
    let opened = rustix::io::retry_on_intr(|| rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()));
    let file = scarcity::noted(opened.map_err(io::Error::from))?;
    while scarcity::noted(read_more(&file, &mut bytes))? != 0 && bytes.len() == bytes.capacity() {
        bytes.reserve(bytes.len());
    }
    Ok(bytes)
}

fn read_more<F: AsFd>(file: F, bytes: &mut Vec<u8>) -> io::Result<usize> {
    Ok(rustix::io::retry_on_intr(|| rustix::io::read(&file, rustix::buffer::spare_capacity(bytes)))?)
}

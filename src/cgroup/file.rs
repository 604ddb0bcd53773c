//! Reading and writing the small files of a control group. One read, one write, no retries.

use super::CgroupError;
use rustix::fs::{Mode, OFlags};
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Room for any usual file, bytes: one read then brings all of it.
const USUAL_SIZE: usize = 2048;

/// Content of a file; `None` when it cannot be read, because the group or the controller is gone.
pub(super) fn read(path: &Path) -> Option<String> {
    content(path).ok()
}

/// As `fs::read_to_string`, which asks such a file for its size, is told 0, and feels its way in pieces of 32 bytes.
pub(super) fn content(path: &Path) -> io::Result<String> {
    let mut text = String::with_capacity(USUAL_SIZE);
    fs::File::open(path)?.take(u64::MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// A file that the kernel shows as one record, such as "cgroup.events": one read brings all of it or fails.
pub(super) fn record(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::with_capacity(USUAL_SIZE);
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::read(&file, rustix::buffer::spare_capacity(&mut bytes))?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// Writes `value` in one write(2). Never creates the file.
pub(super) fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(|error| CgroupError::new(format!("write {value} to"), path, error))
}

/// mkdir(2); `false` when it exists.
pub(super) fn make_directory(path: &Path) -> Result<bool, CgroupError> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(CgroupError::new("create", path, error)),
    }
}

/// Opens a group's directory.
pub(super) fn open_directory(path: &Path) -> Result<OwnedFd, CgroupError> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| CgroupError::new("open", path, error.into()))
}

/// Names of the groups directly inside `path`, sorted.
pub(super) fn children(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Words of a file such as "cgroup.controllers"; none when it is missing.
pub(super) fn words(path: &Path) -> Vec<String> {
    read(path).unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect()
}

/// Process ids in a "cgroup.procs"; a process of a foreign pid namespace shows as 0 and is left out.
pub(super) fn process_ids(path: &Path) -> io::Result<Vec<i32>> {
    let text = content(path)?;
    Ok(text.lines().filter_map(|line| line.trim().parse().ok()).filter(|pid| *pid > 0).collect())
}

/// Value of `key` in a file of `key value` lines.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

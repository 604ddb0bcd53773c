//! Reads one unit file without hanging on a FIFO, without believing what others can change.

use super::{Survey, Trust};
use crate::unit::{Code, MAX_UNIT_SIZE, Problem};
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// O_NONBLOCK keeps a FIFO from blocking.
const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// What lies at a path.
#[derive(Debug)]
pub(super) enum Content {
    /// Nothing.
    Missing,
    /// The null device: a mask.
    Null,
    /// A regular file's bytes.
    Bytes(Vec<u8>),
}

/// Reads `file`, at most [`MAX_UNIT_SIZE`] bytes, with what is known of its directory.
pub(super) fn read_with(survey: &Survey, file: &Path, trust: Trust) -> Result<Content, Box<Problem>> {
    let opened = survey.plain_file(file, trust).and_then(|path| {
        // Should it be something else by now, it is looked at as if nothing were known.
        let opened = File::from(rustix::fs::open(&path, FLAGS | OFlags::NOFOLLOW, Mode::empty()).ok()?);
        let metadata = opened.metadata().ok()?;
        regular(&metadata).ok()?;
        Some((opened, metadata))
    });
    match opened {
        Some((opened, metadata)) => content(file, opened, &metadata, trust),
        None => read(file, trust),
    }
}

/// Reads `file`, at most [`MAX_UNIT_SIZE`] bytes.
pub(super) fn read(file: &Path, trust: Trust) -> Result<Content, Box<Problem>> {
    let shown = file.to_string_lossy();
    let refuse = |code, message: String| Box::new(Problem::of_file(code, &shown, message));
    // Looked at before it is opened: opening a FIFO, a terminal or a tape has effects of its own.
    let metadata = match fs::metadata(file) {
        Ok(metadata) => metadata,
        Err(error) => return missing(file, &error).map_err(|(code, message)| refuse(code, message)),
    };
    if is_null_device(&metadata) {
        return Ok(Content::Null);
    }
    regular(&metadata).map_err(|what| refuse(Code::NotAFile, format!("the unit is {what}, not a regular file")))?;
    let mut path = file.to_path_buf();
    if trust == Trust::RootOnly {
        path = fs::canonicalize(file).map_err(|e| refuse(Code::Unreadable, format!("cannot resolve the path: {e}")))?;
        trusted_way(file, &path).map_err(|why| {
            let mut problem = refuse(Code::Untrusted, why);
            problem.help = Some("units of the system belong to root and are writable by root alone".to_owned());
            problem
        })?;
    }
    // Should the file have been exchanged in between, the second look refuses it.
    let opened = rustix::fs::open(&path, FLAGS, Mode::empty());
    let opened =
        opened.map_err(|e| refuse(Code::Unreadable, format!("cannot open the file: {}", io::Error::from(e))))?;
    let opened = File::from(opened);
    let metadata = opened.metadata().map_err(|e| refuse(Code::Unreadable, format!("cannot look at the file: {e}")))?;
    regular(&metadata).map_err(|what| refuse(Code::NotAFile, format!("the unit is {what}, not a regular file")))?;
    content(file, opened, &metadata, trust)
}

/// The content of an opened regular file.
fn content(file: &Path, opened: File, metadata: &Metadata, trust: Trust) -> Result<Content, Box<Problem>> {
    let shown = file.to_string_lossy();
    let refuse = |code, message: String| Box::new(Problem::of_file(code, &shown, message));
    if trust == Trust::RootOnly {
        root_only(metadata, Sticky::Counts).map_err(|why| {
            let mut problem = refuse(Code::Untrusted, format!("the unit {why}"));
            problem.help = Some(format!("chown root {shown} && chmod go-w {shown}"));
            problem
        })?;
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0).min(MAX_UNIT_SIZE) + 1);
    // Of a regular file less than was asked for is the end.
    while rustix::io::read(&opened, rustix::buffer::spare_capacity(&mut bytes))
        .map_err(|e| refuse(Code::Unreadable, format!("cannot read: {}", io::Error::from(e))))?
        != 0
        && bytes.len() == bytes.capacity()
        && bytes.len() <= MAX_UNIT_SIZE
    {
        bytes.reserve(bytes.len());
    }
    if bytes.len() > MAX_UNIT_SIZE {
        return Err(refuse(Code::TooBig, "the file is larger than 1 MiB, which no unit is".to_owned()));
    }
    Ok(Content::Bytes(bytes))
}

/// A missing file is no problem, a link that leads nowhere is one.
fn missing(file: &Path, error: &io::Error) -> Result<Content, (Code, String)> {
    let is_link = fs::symlink_metadata(file).is_ok_and(|m| m.file_type().is_symlink());
    match error.kind() {
        io::ErrorKind::NotFound if is_link => {
            let target = fs::read_link(file).unwrap_or_default();
            Err((Code::Unreadable, format!("the unit is a link to {}, which does not exist", target.display())))
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(Content::Missing),
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            Err((Code::NotAFile, "the unit is a symbolic link in a loop".to_owned()))
        }
        _ => Err((Code::Unreadable, format!("cannot look at the file: {error}"))),
    }
}

/// Character device 1:3, whatever its name.
fn is_null_device(metadata: &Metadata) -> bool {
    let device = metadata.rdev();
    metadata.file_type().is_char_device() && (rustix::fs::major(device), rustix::fs::minor(device)) == (1, 3)
}

fn regular(metadata: &Metadata) -> Result<(), &'static str> {
    let kind = metadata.file_type();
    match () {
        () if kind.is_file() => Ok(()),
        () if kind.is_dir() => Err("a directory"),
        () if kind.is_fifo() => Err("a FIFO"),
        () if kind.is_socket() => Err("a socket"),
        () => Err("a device"),
    }
}

/// Does the sticky bit make a directory that others may write to safe? It does for the directories above: nobody but
/// root can exchange an entry of root's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sticky {
    Counts,
    Excuses,
}

fn root_only(metadata: &Metadata, sticky: Sticky) -> Result<(), String> {
    if metadata.uid() != 0 {
        return Err(format!("belongs to uid {}, not to root", metadata.uid()));
    }
    let mode = metadata.mode();
    let excused = sticky == Sticky::Excuses && metadata.is_dir() && mode & 0o1000 != 0;
    match mode & 0o022 {
        0 => Ok(()),
        _ if excused => Ok(()),
        bits if bits & 0o002 != 0 => Err("is writable by everybody".to_owned()),
        _ => Err("is writable by its group".to_owned()),
    }
}

/// Can only root have put files into this directory?
///
/// # Errors
/// Why not, for [`Code::Untrusted`].
pub(super) fn trusted_directory(directory: &Path) -> Result<(), String> {
    let real = fs::canonicalize(directory).map_err(|e| format!("cannot resolve the path: {e}"))?;
    trusted_way(&directory.join("any"), &real.join("any"))
}

/// Can only root have put this file there? Looks at every directory above the name in the search path and above the
/// file that it leads to.
fn trusted_way(file: &Path, real: &Path) -> Result<(), String> {
    let parent = file.parent().unwrap_or(Path::new("/"));
    let parent = fs::canonicalize(parent).map_err(|e| format!("cannot resolve {}: {e}", parent.display()))?;
    let ways = [Some(parent.as_path()), real.parent()];
    for way in ways.into_iter().flatten() {
        for (n, directory) in way.ancestors().enumerate() {
            let metadata =
                fs::metadata(directory).map_err(|e| format!("cannot look at {}: {e}", directory.display()))?;
            let sticky = if n == 0 { Sticky::Counts } else { Sticky::Excuses };
            root_only(&metadata, sticky).map_err(|why| format!("its directory {} {why}", directory.display()))?;
        }
    }
    Ok(())
}

//! What services print, in files of rsvc's own, where there is no journal (or a unit asks for it).
//!
//! ```text
//! service ──pipe──▶ OutputPipe::turn ──▶ Block ──▶ LogFile ──▶ <log directory>/NAME.log, NAME.log.1, ...
//!                   at most 64 KiB         time before each line, last lines kept; limit and rotation
//! ```
//!
//! Bytes are stored as they came, NUL and escape codes included: who shows them must make them harmless. A line of any
//! length streams through. A full disk drops output, counts it and says so once; reading never stops, so that no
//! service hangs on its standard output. The directory belongs to the daemon and nobody else may write to it, so no
//! service can place a link there; files are opened with O_NOFOLLOW and rotated by descriptor of the directory.
//!
//! Writing to a regular file can wait for the disk; the kernel offers no way around that without threads.

use super::log_block::{Block, Nowhere, Origin};
use super::log_pipe::READ_LIMIT;
use super::log_tail::LogTail;
use super::staging::{Note, step};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::cell::Cell;
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

/// Written to the file when so many bytes have gathered.
pub(super) const WRITE_SIZE: usize = 128 * 1024;

/// Where the log files are.
#[derive(Debug)]
pub struct LogDirectory {
    descriptor: OwnedFd,
    path: PathBuf,
    /// Bytes of all files together; checked when a file is rotated.
    max_total: Cell<Option<u64>>,
}

impl LogDirectory {
    /// Opens the directory, making it and its parents (0755) when missing.
    ///
    /// # Errors
    /// When it belongs to somebody else or others may write to it, and those of mkdir(2) and open(2).
    pub fn open(path: &Path) -> io::Result<Rc<LogDirectory>> {
        let in_words = |e: io::Error| io::Error::new(e.kind(), format!("log directory {}: {e}", path.display()));
        match DirBuilder::new().recursive(true).mode(0o755).create(path) {
            // It could not see that it is there already: the next call tells why.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(in_words(error)),
            _ => {}
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|e| in_words(e.into()))?;
        let stat = rustix::fs::fstat(&descriptor).map_err(|e| in_words(e.into()))?;
        let refused = |why: String| Err(in_words(io::Error::new(io::ErrorKind::PermissionDenied, why)));
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return refused(format!("belongs to uid {}, who could replace log files by links", stat.st_uid));
        }
        if stat.st_mode & 0o022 != 0 {
            return refused(format!("mode {:04o} lets others write to it", stat.st_mode & 0o7777));
        }
        Ok(Rc::new(LogDirectory { descriptor, path: path.to_owned(), max_total: Cell::new(None) }))
    }

    /// Limits all files of the directory together, in bytes. At each rotation the oldest rotated files are removed
    /// until the rest fits; the current files are never removed, so many services may exceed it by their own limits.
    pub fn limit_total(&self, bytes: Option<u64>) {
        self.max_total.set(bytes);
    }

    /// Opens a log file, which must be a regular one that has no second name.
    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<(File, Stat)> {
        let file = rustix::fs::openat(&self.descriptor, name, flags, Mode::from_raw_mode(0o640))?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink != 1 {
            return Err(io::Error::other("not a regular file with a single name"));
        }
        Ok((file.into(), stat))
    }

    /// Takes back what a killed daemon has appended of a batch. In words what was done.
    ///
    /// # Errors
    /// Of the file, naming it.
    pub(super) fn cut_back(&self, note: &Note) -> io::Result<Option<String>> {
        let Some((file, size)) = self.noted(note, OFlags::RDWR | FILE_FLAGS)? else { return Ok(None) };
        if size <= note.length {
            return Ok(None);
        }
        file.set_len(note.length).map_err(|e| self.named(&note.name, e))?;
        let taken = size - note.length;
        Ok(Some(format!("{}: {taken} bytes are written again, as the daemon was killed while writing them", note.name)))
    }

    /// Closes the line within which a killed daemon was interrupted: nobody can continue it.
    ///
    /// # Errors
    /// Of the file, naming it.
    pub(super) fn close_line(&self, note: &Note) -> io::Result<Option<String>> {
        let flags = OFlags::RDWR | OFlags::APPEND | FILE_FLAGS;
        let Some((mut file, size)) = self.noted(note, flags)? else { return Ok(None) };
        if size <= note.length || size >= note.length + note.rendered {
            return Ok(None);
        }
        let named = |e| self.named(&note.name, e);
        if is_unfinished(&file, size).map_err(named)? {
            file.write_all(b"\n").map_err(named)?;
        }
        let missing = note.length + note.rendered - size;
        let name = &note.name;
        Ok(Some(format!("{name}: {missing} bytes are missing, as the daemon was killed while writing them")))
    }

    /// The file of a note and its size, if it is still that file.
    fn noted(&self, note: &Note, flags: OFlags) -> io::Result<Option<(File, u64)>> {
        match self.open_file(&note.name, flags) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.named(&note.name, e)),
            Ok((_, stat)) if (stat.st_dev, stat.st_ino) != note.identity => Ok(None),
            Ok((file, stat)) => Ok(Some((file, u64::try_from(stat.st_size).unwrap_or(0)))),
        }
    }

    fn named(&self, name: &str, error: io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{}: {error}", self.path.join(name).display()))
    }

    /// Removes rotated files, oldest first, while all together are too large. Best effort: it is tried again at the
    /// next rotation.
    fn make_room(&self) {
        let Some(limit) = self.max_total.get() else { return };
        let (mut total, mut rotated) = (0, Vec::new());
        let Ok(listing) = rustix::fs::Dir::read_from(&self.descriptor) else { return };
        for entry in listing.flatten() {
            let Ok(stat) = rustix::fs::statat(&self.descriptor, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                continue;
            }
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            total += size;
            if is_rotated(entry.file_name().to_bytes()) {
                rotated.push((stat.st_mtime, stat.st_mtime_nsec, size, entry.file_name().to_owned()));
            }
        }
        rotated.sort();
        for (_, _, size, name) in rotated {
            if total <= limit {
                return;
            }
            if rustix::fs::unlinkat(&self.descriptor, &name, AtFlags::empty()).is_ok() {
                total -= size;
            }
        }
    }
}

/// Is there something, and is its last byte not a newline?
fn is_unfinished(file: &File, size: u64) -> io::Result<bool> {
    let mut last = [b'\n'];
    Ok(size > 0 && file.read_at(&mut last, size - 1)? == 1 && last != *b"\n")
}

/// `NAME.log.N`
fn is_rotated(name: &[u8]) -> bool {
    let Some(dot) = name.iter().rposition(|b| *b == b'.') else { return false };
    name[..dot].ends_with(b".log") && dot + 1 < name.len() && name[dot + 1..].iter().all(u8::is_ascii_digit)
}

/// When a file is rotated and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes; less than 4096 means 4096. Only a line that began below the limit may exceed it, by at most 64 KiB.
    pub max_size: u64,
    /// Files kept, the current one included; 0 means 1.
    pub max_files: u32,
}

/// Which of a service's writers some bytes come from; a line of one is never continued by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source(pub u32);

impl Source {
    /// Standard output and standard error, which share a pipe.
    pub(super) const PIPE: Source = Source(0);
    /// Whole messages that came another way.
    pub(super) const RECORD: Source = Source(u32::MAX);
}

/// What is missing at the end of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    /// So much, bytes.
    pub bytes: u64,
    /// And what an earlier daemon had dropped, which nobody knows.
    pub more: bool,
}

/// How files are opened: no link is followed, and nobody is waited for.
const FILE_FLAGS: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NOCTTY).union(OFlags::NONBLOCK);

/// What the caller should tell the administrator, once each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogNotice {
    /// Output is being dropped from now on.
    Losing {
        /// The file.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// Output is stored again.
    Recovered {
        /// The file.
        path: PathBuf,
        /// What is missing, bytes.
        lost: u64,
    },
}

/// The log file of one service.
#[derive(Debug)]
pub struct LogFile {
    directory: Rc<LogDirectory>,
    /// `NAME.log`
    name: String,
    limits: LogLimits,
    file: Option<File>,
    /// Device and inode of `file`.
    identity: (u64, u64),
    /// Bytes in `file`.
    size: u64,
    /// The last byte in `file` is not a newline.
    pub(super) unfinished: bool,
    /// Whose line is open in the stream (not always in the file: the disk may have been full).
    pub(super) open_line: Option<Source>,
    /// What was lost since the disk refused.
    pub(super) lost: Option<Lost>,
    /// `None`: nobody will ask for them.
    pub(super) tail: Option<Box<LogTail>>,
    /// `file` was opened since [`LogFile::take_opened`] was asked last.
    opened: bool,
}

impl LogFile {
    /// A log for `unit`; the file is opened at the first byte, so that a silent service costs no descriptor.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is not a plain file name.
    pub fn new(directory: &Rc<LogDirectory>, unit: &str, limits: LogLimits) -> io::Result<LogFile> {
        if unit.is_empty() || unit.starts_with('.') || unit.len() > 200 || unit.contains(['/', '\0']) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{unit}` is no name for a log file")));
        }
        Ok(LogFile {
            directory: Rc::clone(directory),
            name: format!("{unit}.log"),
            limits: LogLimits { max_size: limits.max_size.max(4096), max_files: limits.max_files.max(1) },
            file: None,
            identity: (0, 0),
            size: 0,
            unfinished: false,
            open_line: None,
            lost: None,
            tail: Some(Box::default()),
            opened: false,
        })
    }

    /// The current file.
    pub fn path(&self) -> PathBuf {
        self.directory.path.join(&self.name)
    }

    /// Takes over changed limits; the file is rotated when the next byte comes.
    pub fn set_limits(&mut self, limits: LogLimits) {
        self.limits = LogLimits { max_size: limits.max_size.max(4096), max_files: limits.max_files.max(1) };
    }

    /// The last lines, at most 30 of at most 1024 bytes, control characters replaced: for the message of a failed
    /// start.
    pub fn last_lines(&self, count: usize) -> Vec<String> {
        self.tail.as_ref().map(|tail| tail.lines(count)).unwrap_or_default()
    }

    /// Forgets the last lines, frees their memory, and keeps new ones only if `keep` says so: at a new start, and not
    /// any more when a service has started.
    pub fn forget_lines(&mut self, keep: bool) {
        self.tail = keep.then(Box::default);
    }

    /// Was the file opened since this was asked last?
    pub fn take_opened(&mut self) -> bool {
        std::mem::take(&mut self.opened)
    }

    /// Gives the descriptor back; the next byte opens the file again.
    pub fn close(&mut self) {
        self.file = None;
    }

    /// Goes on where an earlier daemon ended, for the same stream: a line that is open in the file is continued. With
    /// `lost` that one was dropping output, nobody knows how much.
    pub(super) fn resume(&mut self, lost: bool) {
        if lost {
            self.lost = Some(Lost { bytes: 0, more: true });
        } else if self.ends_within_a_line() {
            self.open_line = Some(Source::PIPE);
        }
    }

    /// Does a line wait for its end?
    pub(super) fn is_within_a_line(&self) -> bool {
        self.open_line.is_some()
    }

    /// Is output being dropped?
    pub(super) fn is_losing(&self) -> bool {
        self.lost.is_some()
    }

    /// Stores bytes of a stream. Each line gets the time of its first byte's arrival; a part without newline is
    /// stored at once and continued by the next bytes of the same source.
    pub fn feed(&mut self, source: Source, bytes: &[u8], now: SystemTime, output: &mut Vec<u8>) -> Option<LogNotice> {
        self.feed_from(source, bytes, now, output, &mut Nowhere)
    }

    /// The same, telling `origin` of each step.
    pub(super) fn feed_from(
        &mut self,
        source: Source,
        bytes: &[u8],
        now: SystemTime,
        output: &mut Vec<u8>,
        origin: &mut dyn Origin,
    ) -> Option<LogNotice> {
        let mut block = Block::new(self, now, output, origin);
        block.lines(source, bytes);
        block.close()
    }

    /// Stores one whole message that came by another way (syslog); newlines inside make several lines.
    pub(super) fn record(
        &mut self,
        text: &[u8],
        now: SystemTime,
        output: &mut Vec<u8>,
        origin: &mut dyn Origin,
    ) -> Option<LogNotice> {
        let mut block = Block::new(self, now, output, origin);
        block.record(text);
        block.close()
    }

    /// The stream of `source` has ended: an open line of it is closed.
    pub fn finish(&mut self, source: Source, now: SystemTime, output: &mut Vec<u8>) -> Option<LogNotice> {
        self.finish_from(source, now, output, &mut Nowhere)
    }

    /// The same, telling `origin` of it.
    pub(super) fn finish_from(
        &mut self,
        source: Source,
        now: SystemTime,
        output: &mut Vec<u8>,
        origin: &mut dyn Origin,
    ) -> Option<LogNotice> {
        let mut block = Block::new(self, now, output, origin);
        block.end_line(source);
        block.close()
    }

    /// Appends a block, which goes into the current file and no other; [`LogFile::ensure_open`] comes first.
    ///
    /// # Errors
    /// How much of it stays, whole lines, and why the rest does not.
    pub(super) fn append(
        &mut self,
        block: &[u8],
        raw: usize,
        origin: &mut dyn Origin,
    ) -> Result<(), (usize, io::Error)> {
        origin.announce(&Note {
            name: self.name.clone(),
            identity: self.identity,
            length: self.size,
            rendered: block.len() as u64,
            raw: raw as u64,
        });
        let written = self.write(block);
        let mut kept = written.as_ref().map_or_else(|(count, _)| *count, |()| block.len());
        if kept < block.len() {
            // Half a line would be continued as if it were whole.
            let whole = block[..kept].iter().rposition(|b| *b == b'\n').map_or(0, |last| last + 1);
            if whole < kept && self.file.as_ref().is_some_and(|file| file.set_len(self.size + whole as u64).is_ok()) {
                kept = whole;
            }
        }
        self.size += kept as u64;
        if kept > 0 {
            self.unfinished = block[kept - 1] != b'\n';
        }
        written.map_err(|(_, error)| (kept, error))
    }

    /// # Errors
    /// Bytes of `block` that were written, and why the rest was not.
    fn write(&mut self, block: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut done = 0;
        while done < block.len() {
            step();
            // A test lets the daemon die in the middle too.
            let end = if cfg!(test) { block.len().min(done + 1 + block.len() / 3) } else { block.len() };
            match self.file.as_mut().map_or(Ok(0), |file| file.write(&block[done..end])) {
                Ok(0) => return Err((done, io::ErrorKind::WriteZero.into())),
                Ok(count) => done += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err((done, e)),
            }
        }
        Ok(())
    }

    /// May a block of so many bytes still go into the current file? Files change between lines; a piece that continues
    /// a line, or has a whole file for itself, may exceed the limit by 64 KiB.
    pub(super) fn has_room(&self, length: usize, continued: bool, alone: bool) -> bool {
        let over = if continued || (alone && self.size == 0) { READ_LIMIT as u64 } else { 0 };
        self.size + length as u64 <= self.limits.max_size + over
    }

    /// Opens the current file, again when somebody removed it.
    pub(super) fn ensure_open(&mut self) -> io::Result<()> {
        if let Some(file) = &self.file {
            match rustix::fs::fstat(file) {
                Ok(stat) if stat.st_nlink > 0 => {
                    // Somebody may have cut it.
                    self.size = u64::try_from(stat.st_size).unwrap_or(0);
                    return Ok(());
                }
                _ => self.file = None,
            }
        }
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | FILE_FLAGS;
        let (file, stat) = self.directory.open_file(&self.name, flags)?;
        self.size = u64::try_from(stat.st_size).unwrap_or(0);
        self.identity = (stat.st_dev, stat.st_ino);
        // What an earlier daemon left within a line must not become the beginning of ours.
        self.unfinished = is_unfinished(&file, self.size)?;
        self.file = Some(file);
        self.opened = true;
        Ok(())
    }

    fn ends_within_a_line(&self) -> bool {
        let opened = self.directory.open_file(&self.name, OFlags::RDONLY | FILE_FLAGS);
        opened.is_ok_and(|(file, stat)| is_unfinished(&file, u64::try_from(stat.st_size).unwrap_or(0)).unwrap_or(false))
    }

    /// NAME.log becomes NAME.log.1, that NAME.log.2 and so on up to the first free name; the oldest goes.
    pub(super) fn rotate(&mut self) -> io::Result<()> {
        let directory = &self.directory.descriptor;
        let numbered = |n: u32| if n == 0 { self.name.clone() } else { format!("{}.{n}", self.name) };
        let last = self.limits.max_files - 1;
        let exists = |n: u32| rustix::fs::statat(directory, numbered(n), AtFlags::SYMLINK_NOFOLLOW).is_ok();
        let free = (1..=last).find(|n| !exists(*n)).unwrap_or(last);
        if last == 0 {
            rustix::fs::unlinkat(directory, &self.name, AtFlags::empty())?;
        }
        for n in (0..free).rev() {
            match rustix::fs::renameat(directory, numbered(n), directory, numbered(n + 1)) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.file = None;
        self.directory.make_room();
        Ok(())
    }
}

#[cfg(test)]
#[path = "log_file_tests.rs"]
mod tests;

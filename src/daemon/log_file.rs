//! What services print, in files of rsvc's own, where there is no journal (or a unit asks for it).
//!
//! ```text
//! service ──pipe──▶ OutputPipe::turn ──▶ LogFile::feed ──▶ <log directory>/NAME.log, NAME.log.1, ...
//!                   at most 64 KiB         time before each line, limit and rotation, last lines kept
//! ```
//!
//! Bytes are stored as they came, NUL and escape codes included: who shows them must make them harmless. A line of any
//! length streams through. A full disk drops output, counts it and says so once; reading never stops, so that no
//! service hangs on its standard output. The directory belongs to the daemon and nobody else may write to it, so no
//! service can place a link there; files are opened with O_NOFOLLOW and rotated by descriptor of the directory.
//!
//! Writing to a regular file can wait for the disk; the kernel offers no way around that without threads.

use super::log_pipe::READ_LIMIT;
use super::log_tail::LogTail;
use super::timestamp;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::cell::Cell;
use std::fs::{DirBuilder, File};
use std::io::{self, BufRead, Write};
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
        DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(in_words)?;
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
    /// Bytes in `file`.
    size: u64,
    /// The last byte in `file` is not a newline.
    unfinished: bool,
    /// Whose line is open in the stream (not always in the file: the disk may have been full).
    open_line: Option<Source>,
    /// Bytes lost since the disk refused; `Some(0)` never occurs.
    lost: Option<u64>,
    /// `None`: nobody will ask for them.
    tail: Option<LogTail>,
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
            size: 0,
            unfinished: false,
            open_line: None,
            lost: None,
            tail: Some(LogTail::default()),
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
        self.tail = keep.then(LogTail::default);
    }

    /// Was the file opened since this was asked last?
    pub fn take_opened(&mut self) -> bool {
        std::mem::take(&mut self.opened)
    }

    /// Gives the descriptor back; the next byte opens the file again.
    pub fn close(&mut self) {
        self.file = None;
    }

    /// Stores bytes of a stream. Each line gets the time of its first byte's arrival; a part without newline is
    /// stored at once and continued by the next bytes of the same source.
    pub fn feed(&mut self, source: Source, bytes: &[u8], now: SystemTime, output: &mut Vec<u8>) -> Option<LogNotice> {
        if bytes.is_empty() {
            return None;
        }
        let stamp = timestamp::rfc3339(now);
        let mut notice = None;
        output.clear();
        if self.open_line.is_some_and(|open| open != source) {
            output.push(b'\n');
            if let Some(tail) = &mut self.tail {
                tail.feed(b"\n");
            }
            self.open_line = None;
        }
        if let Some(tail) = &mut self.tail {
            tail.feed(bytes);
        }
        let mut continued = self.open_line.is_some();
        let mut rest = bytes;
        while !rest.is_empty() {
            let line = rest;
            // memchr in disguise; reading from memory cannot fail.
            let length = rest.skip_until(b'\n').unwrap_or(line.len());
            if !continued {
                output.extend_from_slice(&stamp);
                output.push(b' ');
            }
            output.extend_from_slice(&line[..length]);
            continued = false;
            if output.len() >= WRITE_SIZE {
                notice = self.store(output, &stamp).or(notice);
                output.clear();
            }
        }
        self.open_line = (bytes.last() != Some(&b'\n')).then_some(source);
        if !output.is_empty() {
            notice = self.store(output, &stamp).or(notice);
        }
        notice
    }

    /// Stores one whole message that came by another way (syslog); newlines inside make several lines.
    pub fn record(&mut self, text: &[u8], now: SystemTime, output: &mut Vec<u8>) -> Option<LogNotice> {
        const RECORD: Source = Source(u32::MAX);
        let first = self.feed(RECORD, text, now, output);
        first.or(self.finish(RECORD, now, output))
    }

    /// The stream of `source` has ended: an open line of it is closed.
    pub fn finish(&mut self, source: Source, now: SystemTime, output: &mut Vec<u8>) -> Option<LogNotice> {
        if self.open_line != Some(source) {
            return None;
        }
        self.feed(source, b"\n", now, output)
    }

    /// Writes a block; what cannot be written is counted, and named in the file when writing works again.
    fn store(&mut self, block: &[u8], stamp: &[u8]) -> Option<LogNotice> {
        if let Some(lost) = self.lost {
            // Opening first tells whether the file ends within a line; its failure comes again below.
            let _ = self.ensure_open();
            let mut gap = if self.unfinished { b"\n".to_vec() } else { Vec::new() };
            gap.extend_from_slice(stamp);
            gap.extend_from_slice(format!(" rsvc: {lost} bytes of output are missing here\n").as_bytes());
            if self.write_limited(&gap).is_err() {
                self.lost = Some(lost + block.len() as u64);
                self.open_line = None;
                return None;
            }
        }
        let recovered = self.lost.take().map(|lost| LogNotice::Recovered { path: self.path(), lost });
        let Err((written, error)) = self.write_limited(block) else { return recovered };
        self.lost = Some((block.len() - written) as u64);
        // What follows of this line would stand there without its beginning.
        self.open_line = None;
        Some(LogNotice::Losing { path: self.path(), error: error.to_string() })
    }

    /// Writes all of `block`, rotating where the limit is reached.
    ///
    /// # Errors
    /// Bytes of `block` that were written, and why the rest was not.
    fn write_limited(&mut self, block: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut done = 0;
        while done < block.len() {
            self.ensure_open().map_err(|e| (done, e))?;
            let cut = self.cut(&block[done..]);
            if cut == 0 {
                self.rotate().map_err(|e| (done, e))?;
                continue;
            }
            match self.file.as_mut().map_or(Ok(0), |file| file.write(&block[done..done + cut])) {
                Ok(0) => return Err((done, io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    done += count;
                    self.size += count as u64;
                    self.unfinished = block[done - 1] != b'\n';
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err((done, e)),
            }
        }
        Ok(())
    }

    /// How much of `block` still goes into the current file; 0: rotate first. Files change between lines; a line that
    /// has begun is finished if that takes no more than 64 KiB, and cut else.
    fn cut(&self, block: &[u8]) -> usize {
        let room = usize::try_from(self.limits.max_size.saturating_sub(self.size)).unwrap_or(usize::MAX);
        if block.len() <= room {
            return block.len();
        }
        if let Some(last) = block[..room].iter().rposition(|b| *b == b'\n') {
            return last + 1;
        }
        let whole_file_is_free = self.size == 0;
        if !self.unfinished && !whole_file_is_free {
            return 0;
        }
        let near = &block[..block.len().min(room + READ_LIMIT)];
        match near.iter().position(|b| *b == b'\n') {
            Some(end) => end + 1,
            None => room,
        }
    }

    /// Opens the current file, again when somebody removed it.
    fn ensure_open(&mut self) -> io::Result<()> {
        if let Some(file) = &self.file {
            match rustix::fs::fstat(file) {
                Ok(stat) if stat.st_nlink > 0 => return Ok(()),
                _ => self.file = None,
            }
        }
        let flags = OFlags::RDWR
            | OFlags::APPEND
            | OFlags::CREATE
            | OFlags::NOFOLLOW
            | OFlags::CLOEXEC
            | OFlags::NOCTTY
            | OFlags::NONBLOCK;
        let file = rustix::fs::openat(&self.directory.descriptor, &self.name, flags, Mode::from_raw_mode(0o640))?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink != 1 {
            return Err(io::Error::other("not a regular file with a single name"));
        }
        let mut file = File::from(file);
        self.size = u64::try_from(stat.st_size).unwrap_or(0);
        self.unfinished = false;
        // What an earlier daemon left within a line must not become the beginning of ours.
        let mut last = [b'\n'];
        if self.size > 0 && file.read_at(&mut last, self.size - 1)? == 1 && last != *b"\n" {
            self.size += file.write(b"\n")? as u64;
        }
        self.file = Some(file);
        self.opened = true;
        Ok(())
    }

    /// NAME.log becomes NAME.log.1, that NAME.log.2 and so on up to the first free name; the oldest goes.
    fn rotate(&mut self) -> io::Result<()> {
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

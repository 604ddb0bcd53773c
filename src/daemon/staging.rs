//! What makes "written to the log file" and "taken from the service's pipe" one act, whenever the daemon is killed.
//!
//! ```text
//! service ──▶ pipe ──tee──▶ peek ──read──▶ rendered ──write──▶ NAME.log
//!              │                              ▲                  the note is set before, and cleared after the commit
//!              └──────────splice─────────▶ staging ──▶ nowhere   the commit: the kernel moves all bytes or none
//! ```
//!
//! The bytes of a batch stay in the service's pipe, which outlives the daemon, until the file has them. What the next
//! daemon finds says how far this one came:
//!
//! | note    | staging   | what happened                               | what is done |
//! |---------|-----------|---------------------------------------------|--------------|
//! | cleared | any       | no batch is open                            | staging is emptied |
//! | set     | empty     | the file has some of a batch, the pipe all  | the file is cut back; the pipe is read as ever |
//! | set     | not empty | the file has all, the pipe no more          | staging is emptied |
//!
//! Staging and note are two descriptors, which whoever outlives the daemon holds: a pipe that nobody else writes to, and
//! a memfd (no file, so that a full or read-only runtime directory is no obstacle). They live and end together, as one
//! without the other says nothing. The peek pipe is the daemon's own and dies with it.
//!
//! So whatever the daemon has in memory is a copy of what is in a pipe.

use super::log_file::LogDirectory;
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Slots of the pipes are asked for by bytes; a page each, so that small writes of a service fill them without filling
/// the bytes. Refused without privilege, and then a batch is smaller.
const CAPACITY: usize = 1024 * 1024;

/// Bytes of the memfd.
const NOTE_SIZE: usize = 320;
/// Longest name of a file in it.
const NAME_SIZE: usize = 256;
/// Stands at the end of a note that is set: of one that was written in part only, the rest is not there.
const SET: u32 = 0x314e_5352;

/// See the module documentation.
#[derive(Debug)]
pub struct Staging {
    /// Opened for reading and writing, so that one descriptor keeps both ends.
    pipe: OwnedFd,
    note: OwnedFd,
    peek: OwnedFd,
    null: OwnedFd,
    /// The note could not be cleared: it and what is staged stay as they are, which says "done with", and batches are
    /// no longer protected.
    broken: bool,
}

/// What is about to be appended, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// Of the file, in the log directory.
    pub name: String,
    /// Device and inode of that file.
    pub identity: (u64, u64),
    /// Bytes of it before.
    pub length: u64,
    /// Bytes to be appended.
    pub rendered: u64,
    /// Bytes of the service's pipe that this stands for; 0: it came another way and is gone there already.
    pub raw: u64,
}

impl Staging {
    /// A new one, empty.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub fn new() -> io::Result<Staging> {
        let pipe = pipe()?;
        // Refused once the user's allowance of pipe memory is used up; then it stays as it is.
        let _ = rustix::pipe::fcntl_setpipe_size(&pipe, CAPACITY);
        let note = rustix::fs::memfd_create(c"rsvc-log-note", MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&note, NOTE_SIZE as u64)?;
        // The page is there before anything depends on it.
        write_note(&note, &[0; NOTE_SIZE], 0)?;
        Staging::with(pipe, note)
    }

    /// The one that an earlier daemon had, from copies of its [`descriptors`](Staging::descriptors). To be
    /// [settled](Staging::settle_earlier) before anything is read from any service.
    ///
    /// # Errors
    /// They are not what they should be, or those of [`new`](Staging::new).
    pub fn from_descriptors(pipe: OwnedFd, note: OwnedFd) -> io::Result<Staging> {
        let no_such = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("the kept {what} is none"));
        rustix::pipe::fcntl_getpipe_size(&pipe).map_err(|_| no_such("staging pipe"))?;
        let size = rustix::fs::fstat(&note)?.st_size;
        if size != NOTE_SIZE as i64 {
            return Err(no_such("note of the staging pipe"));
        }
        Staging::with(pipe, note)
    }

    fn with(staging: OwnedFd, note: OwnedFd) -> io::Result<Staging> {
        let peek = pipe()?;
        // As many slots as staging has: whatever can be looked at can be moved in one piece.
        let wanted = rustix::pipe::fcntl_getpipe_size(&staging)?;
        if rustix::pipe::fcntl_setpipe_size(&peek, wanted).is_err() {
            // Then smaller batches, never one that is larger than staging.
            let _ = rustix::pipe::fcntl_setpipe_size(&peek, wanted.min(4096));
        }
        let null = rustix::fs::open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Staging { pipe: staging, note, peek, null, broken: false })
    }

    /// Pipe and note, for whoever is to keep them beyond the end of this process.
    pub fn descriptors(&self) -> (BorrowedFd<'_>, BorrowedFd<'_>) {
        (self.pipe.as_fd(), self.note.as_fd())
    }

    /// Copies what is at the front of `pipe` and stays there, as far as `input` goes. `None`: nothing now; 0: the end.
    ///
    /// # Errors
    /// EINVAL: it is no pipe.
    pub(super) fn look(&self, pipe: BorrowedFd<'_>, input: &mut [u8]) -> io::Result<Option<usize>> {
        step();
        let count = loop {
            match rustix::pipe::tee(pipe, &self.peek, input.len(), SpliceFlags::NONBLOCK) {
                Err(Errno::INTR) => {}
                // For want of memory too: it stays where it is, and is reported again.
                Err(Errno::AGAIN | Errno::NOMEM) => return Ok(None),
                Err(e) => return Err(e.into()),
                Ok(count) => break count,
            }
        };
        step();
        let mut done = 0;
        while done < count {
            match rustix::io::read(&self.peek, &mut input[done..count]) {
                Err(Errno::INTR) => {}
                // Nobody else reads it, so there is no end before the last byte.
                Ok(0) => break,
                Ok(more) => done += more,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(Some(done))
    }

    /// Sets the note: what follows is an append to a file, and then [`commit`](Staging::commit) or
    /// [`clear`](Staging::clear).
    pub(super) fn announce(&mut self, note: &Note) {
        if self.broken {
            return;
        }
        step();
        // A note that could not be set protects nothing; the batch is written as it would be without.
        let _ = write_note(&self.note, &encode(note), 0);
    }

    /// Takes the first `raw` bytes out of `pipe`, and closes the batch.
    pub(super) fn commit(&mut self, pipe: BorrowedFd<'_>, raw: usize) {
        if self.broken {
            return self.discard(pipe, raw);
        }
        step();
        let mut left = raw;
        while left > 0 {
            // One call moves all of them: there are as many slots here as were looked at.
            match rustix::pipe::splice(pipe, None, &self.pipe, None, left, SpliceFlags::NONBLOCK) {
                Err(Errno::INTR) => {}
                // A service that reads its own pipe has taken them; it has deceived nobody but itself.
                Err(_) | Ok(0) => break,
                Ok(count) => left -= count.min(left),
            }
        }
        self.clear();
        if !self.broken {
            step();
            self.drop_bytes(self.pipe.as_fd(), raw - left);
        }
    }

    /// Clears the note.
    pub(super) fn clear(&mut self) {
        if self.broken {
            return;
        }
        step();
        self.broken = write_note(&self.note, &[0; 4], NOTE_SIZE - 4).is_err();
    }

    /// Takes bytes out of `pipe` that nobody needs a note about.
    pub(super) fn discard(&self, pipe: BorrowedFd<'_>, bytes: usize) {
        step();
        self.drop_bytes(pipe, bytes);
    }

    fn drop_bytes(&self, pipe: BorrowedFd<'_>, bytes: usize) {
        let mut left = bytes;
        while left > 0 {
            match rustix::pipe::splice(pipe, None, &self.null, None, left, SpliceFlags::NONBLOCK) {
                Err(Errno::INTR) => {}
                Err(_) | Ok(0) => return,
                Ok(count) => left -= count.min(left),
            }
        }
    }

    /// Settles the batch in which an earlier daemon was killed. `survives` tells whether the pipe of a unit (by the
    /// name of its log file) is still there: then what the file has of an open batch is taken back, as it will come
    /// again; else it stays. In words what was done, for the daemon's own log.
    ///
    /// # Errors
    /// Of the log file: what it says of this batch may be there twice or end within a line.
    pub fn settle_earlier(
        &mut self,
        directory: &LogDirectory,
        survives: impl FnOnce(&str) -> bool,
    ) -> io::Result<Option<String>> {
        let staged = rustix::io::ioctl_fionread(&self.pipe)?;
        let settled = match read_note(&self.note)? {
            Some(note) if staged == 0 && note.raw > 0 && survives(&note.name) => directory.cut_back(&note),
            Some(note) if staged == 0 => directory.close_line(&note),
            _ => Ok(None),
        };
        self.clear();
        if !self.broken {
            self.drop_bytes(self.pipe.as_fd(), usize::MAX >> 1);
        }
        settled
    }
}

/// One descriptor for both ends.
fn pipe() -> io::Result<OwnedFd> {
    let (reader, _writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let name = format!("/proc/self/fd/{}", reader.as_raw_fd());
    Ok(rustix::fs::open(name, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?)
}

/// One copy into one page: a signal comes before or after it.
fn write_note(file: &OwnedFd, bytes: &[u8], offset: usize) -> io::Result<()> {
    loop {
        match rustix::io::pwrite(file, bytes, offset as u64) {
            Err(Errno::INTR) => {}
            Ok(count) if count == bytes.len() => return Ok(()),
            Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
            Err(e) => return Err(e.into()),
        }
    }
}

fn encode(note: &Note) -> [u8; NOTE_SIZE] {
    let mut bytes = [0; NOTE_SIZE];
    let numbers = [note.identity.0, note.identity.1, note.length, note.rendered, note.raw, note.name.len() as u64];
    for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_ne_bytes());
    }
    let name = &note.name.as_bytes()[..note.name.len().min(NAME_SIZE)];
    bytes[48..48 + name.len()].copy_from_slice(name);
    bytes[NOTE_SIZE - 4..].copy_from_slice(&SET.to_ne_bytes());
    bytes
}

fn read_note(file: &OwnedFd) -> io::Result<Option<Note>> {
    let mut bytes = [0; NOTE_SIZE];
    let count = rustix::io::pread(file, &mut bytes, 0)?;
    Ok(if count == NOTE_SIZE { decode(&bytes) } else { None })
}

/// `None` for one that is cleared, and for bytes that no daemon has written.
fn decode(bytes: &[u8; NOTE_SIZE]) -> Option<Note> {
    let number = |index: usize| bytes.get(8 * index..8 * index + 8)?.try_into().ok().map(u64::from_ne_bytes);
    if bytes[NOTE_SIZE - 4..] != SET.to_ne_bytes() {
        return None;
    }
    let length = usize::try_from(number(5)?).ok().filter(|length| *length <= NAME_SIZE)?;
    let name = std::str::from_utf8(&bytes[48..48 + length]).ok()?;
    // As in `LogFile::new`: a plain name of a log file, whatever the memory says.
    if name.starts_with('.') || !name.ends_with(".log") || name.contains(['/', '\0']) {
        return None;
    }
    Some(Note {
        name: name.to_owned(),
        identity: (number(0)?, number(1)?),
        length: number(2)?,
        rendered: number(3)?,
        raw: number(4)?,
    })
}

/// Where a test may let the daemon die.
#[inline]
pub(super) fn step() {
    #[cfg(test)]
    tests::death::step();
}

#[cfg(test)]
#[path = "staging_tests.rs"]
mod tests;

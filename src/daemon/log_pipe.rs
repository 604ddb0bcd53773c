//! The reading end of what a service prints. Reading never stops, so that no service hangs on its standard output.
//!
//! What is read stays in the pipe until it has arrived (see [`super::staging`]): it is looked at first and consumed
//! afterwards. Where that is not possible it is held in memory in between.

use super::log_block::Origin;
use super::log_file::{LogFile, LogNotice, Source, WRITE_SIZE};
use super::staging::{Note, Staging};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, SystemTime};

/// Most bytes read from one pipe per turn.
pub const READ_LIMIT: usize = 64 * 1024;

/// A pipe that fills up faster than it is read is made this big, when the kernel allows.
const LARGE_PIPE: usize = 1024 * 1024;

/// What all services share, as only one is read at a time.
#[derive(Debug)]
pub struct Scratch {
    /// What was looked at.
    pub(super) input: Vec<u8>,
    /// What is written.
    pub(super) output: Vec<u8>,
    /// `None`: what is read is in nobody's hands but the daemon's until it is written.
    pub(super) staging: Option<Staging>,
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch { input: vec![0; READ_LIMIT], output: Vec::new(), staging: None }
    }
}

impl Scratch {
    /// From now on batches are protected.
    pub fn protect(&mut self, staging: Option<Staging>) {
        self.staging = staging;
    }

    /// Gives back what a large batch has used.
    pub(super) fn shrink(&mut self) {
        if self.output.capacity() > 2 * WRITE_SIZE {
            self.output = Vec::new();
        }
    }
}

/// What one turn found in a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipeTurn {
    /// Nothing to read now.
    Idle,
    /// So many bytes were taken. With `rest` the stream is steady: reading again only after that time costs far less
    /// (one wake-up for many lines) and loses nothing; a caller without a timer to spare may ignore it.
    Read {
        /// At most [`READ_LIMIT`].
        bytes: usize,
        /// When to look again.
        rest: Option<Duration>,
    },
    /// All writers are gone.
    Ended,
    /// What is there cannot be taken before more comes (a line that is not whole), or before somebody takes it.
    Stuck,
}

/// The reading end of a service's output.
#[derive(Debug)]
pub struct OutputPipe {
    descriptor: OwnedFd,
    source: Source,
    last_read: Option<SystemTime>,
    enlarged: bool,
    /// Bytes that were read and not consumed, where looking at a pipe is not possible.
    held: Vec<u8>,
}

/// A pipe as the origin of what is written to a file.
pub(super) struct PipeOrigin<'a> {
    pub pipe: &'a mut OutputPipe,
    pub staging: &'a mut Option<Staging>,
}

impl Origin for PipeOrigin<'_> {
    fn announce(&mut self, note: &Note) {
        if let Some(staging) = self.staging {
            staging.announce(note);
        }
    }

    fn settle(&mut self, raw: usize) {
        match self.staging {
            Some(staging) if self.pipe.held.is_empty() => {
                return staging.commit(self.pipe.descriptor.as_fd(), raw);
            }
            Some(staging) => staging.clear(),
            None => {}
        }
        self.pipe.forget(raw);
    }
}

/// A message that is in no pipe: only the file is protected, from half of it.
pub(super) struct MessageOrigin<'a>(pub &'a mut Option<Staging>);

impl Origin for MessageOrigin<'_> {
    fn announce(&mut self, note: &Note) {
        if let Some(staging) = self.0 {
            staging.announce(note);
        }
    }

    fn settle(&mut self, _: usize) {
        if let Some(staging) = self.0 {
            staging.clear();
        }
    }
}

impl OutputPipe {
    /// Takes the read end of a pipe and makes it non-blocking (the write end is another open file and stays as it is).
    ///
    /// # Errors
    /// Of fcntl(2).
    pub fn new(descriptor: OwnedFd, source: Source) -> io::Result<OutputPipe> {
        let flags = rustix::fs::fcntl_getfl(&descriptor)?;
        rustix::fs::fcntl_setfl(&descriptor, flags | OFlags::NONBLOCK)?;
        Ok(OutputPipe { descriptor, source, last_read: None, enlarged: false, held: Vec::new() })
    }

    /// Opens a pipe through its name in /proc, for reading and writing: with a writer of our own it never ends, and
    /// one descriptor is enough to read it and to make writers from.
    ///
    /// # Errors
    /// Of open(2).
    pub fn reopen(path: &str, source: Source) -> io::Result<OutputPipe> {
        let descriptor = rustix::fs::open(path, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
        Ok(OutputPipe::from_descriptor(descriptor, source))
    }

    /// A pipe that was opened so before.
    pub fn from_descriptor(descriptor: OwnedFd, source: Source) -> OutputPipe {
        OutputPipe { descriptor, source, last_read: None, enlarged: false, held: Vec::new() }
    }

    /// Another open file of the same pipe, which blocks and can only be written to.
    ///
    /// # Errors
    /// Of open(2).
    pub fn writer(&self) -> io::Result<OwnedFd> {
        let path = format!("/proc/self/fd/{}", self.descriptor.as_raw_fd());
        Ok(rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// Takes what is there, at most [`READ_LIMIT`] bytes, into `log`.
    ///
    /// # Errors
    /// Of read(2) or tee(2); the pipe should then be closed.
    pub fn turn(
        &mut self,
        log: &mut LogFile,
        now: SystemTime,
        scratch: &mut Scratch,
    ) -> io::Result<(PipeTurn, Option<LogNotice>)> {
        let Some(count) = self.look(scratch, READ_LIMIT)? else { return Ok((PipeTurn::Idle, None)) };
        let source = self.source;
        let Scratch { input, output, staging } = scratch;
        let mut origin = PipeOrigin { pipe: self, staging };
        if count == 0 {
            return Ok((PipeTurn::Ended, log.finish_from(source, now, output, &mut origin)));
        }
        let notice = log.feed_from(source, &input[..count], now, output, &mut origin);
        let rest = self.pace(count, now);
        scratch.shrink();
        Ok((PipeTurn::Read { bytes: count, rest }, notice))
    }

    /// Whose bytes these are.
    pub(super) fn source(&self) -> Source {
        self.source
    }

    /// Puts what is at the front, and not consumed, into `scratch.input`, at most `limit` bytes (and at most
    /// [`READ_LIMIT`]); `None` when there is nothing now, 0 at the end of the stream.
    ///
    /// # Errors
    /// Of read(2) or tee(2).
    pub(super) fn look(&mut self, scratch: &mut Scratch, limit: usize) -> io::Result<Option<usize>> {
        let Scratch { input, staging, .. } = scratch;
        let input = &mut input[..limit.min(READ_LIMIT)];
        if let Some(staging) = staging
            && self.held.is_empty()
        {
            return staging.look(self.descriptor.as_fd(), input);
        }
        let held = self.held.len().min(input.len());
        input[..held].copy_from_slice(&self.held[..held]);
        Ok(match self.read(&mut input[held..])? {
            None | Some(0) if held > 0 => Some(held),
            Some(more) => {
                self.held.extend_from_slice(&input[held..held + more]);
                Some(held + more)
            }
            None => None,
        })
    }

    /// Forgets bytes that were looked at, and nobody needs a note about.
    pub(super) fn consume(&mut self, bytes: usize, staging: &Option<Staging>) {
        match staging {
            Some(staging) if self.held.is_empty() => staging.discard(self.descriptor.as_fd(), bytes),
            _ => self.forget(bytes),
        }
    }

    fn forget(&mut self, bytes: usize) {
        self.held.drain(..bytes.min(self.held.len()));
    }

    /// Bytes of the service that are in this process and in no pipe.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    fn read(&mut self, input: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match rustix::io::read(&self.descriptor, &mut *input) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(e) => return Err(e.into()),
                Ok(count) => return Ok(Some(count)),
            }
        }
    }

    /// Can the service write no more before something is taken? A pipe that is looked at, and whose line is longer, is
    /// made larger first, when the kernel allows. `seen`: so many bytes of it were looked at.
    pub(super) fn is_full(&mut self, seen: usize) -> bool {
        if !self.held.is_empty() {
            return seen >= READ_LIMIT;
        }
        let more = rustix::io::ioctl_fionread(&self.descriptor).is_ok_and(|there| there > seen as u64);
        if !more && self.is_writable() {
            return false;
        }
        let larger = !std::mem::replace(&mut self.enlarged, true)
            && rustix::pipe::fcntl_setpipe_size(&self.descriptor, LARGE_PIPE).is_ok();
        more || !larger
    }

    fn is_writable(&self) -> bool {
        let mut fds = [PollFd::new(&self.descriptor, PollFlags::OUT)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::OUT)
    }

    /// A steady stream of lines is read every millisecond; a block producer, which fills the buffer, at once and
    /// through a larger pipe.
    pub(super) fn pace(&mut self, count: usize, now: SystemTime) -> Option<Duration> {
        const NAP: Duration = Duration::from_millis(1);
        if count == READ_LIMIT {
            if !self.enlarged {
                self.enlarged = true;
                // Refused once the user's allowance of pipe memory is used up; then it stays as it is.
                let _ = rustix::pipe::fcntl_setpipe_size(&self.descriptor, LARGE_PIPE);
            }
            self.last_read = None;
            return None;
        }
        let since = self.last_read.and_then(|last| now.duration_since(last).ok());
        self.last_read = Some(now);
        since.filter(|gap| *gap < 4 * NAP).map(|_| NAP)
    }
}

impl AsFd for OutputPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

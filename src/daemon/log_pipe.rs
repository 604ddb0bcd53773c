//! The reading end of what a service prints. Reading never stops, so that no service hangs on its standard output.

use super::log_file::{LogFile, LogNotice, Source, WRITE_SIZE};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, SystemTime};

/// Most bytes read from one pipe per turn.
pub const READ_LIMIT: usize = 64 * 1024;

/// A pipe that fills up faster than it is read is made this big, when the kernel allows.
const LARGE_PIPE: usize = 1024 * 1024;

/// Buffers that all services share, as only one is read at a time.
#[derive(Debug)]
pub struct Scratch {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch { input: vec![0; READ_LIMIT], output: Vec::new() }
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
}

/// The reading end of a service's output.
#[derive(Debug)]
pub struct OutputPipe {
    descriptor: OwnedFd,
    source: Source,
    last_read: Option<SystemTime>,
    enlarged: bool,
}

impl OutputPipe {
    /// Takes the read end of a pipe and makes it non-blocking (the write end is another open file and stays as it is).
    ///
    /// # Errors
    /// Of fcntl(2).
    pub fn new(descriptor: OwnedFd, source: Source) -> io::Result<OutputPipe> {
        let flags = rustix::fs::fcntl_getfl(&descriptor)?;
        rustix::fs::fcntl_setfl(&descriptor, flags | OFlags::NONBLOCK)?;
        Ok(OutputPipe { descriptor, source, last_read: None, enlarged: false })
    }

    /// Opens a pipe through its name in /proc, for reading and writing: with a writer of our own it never ends, and
    /// one descriptor is enough to read it and to make writers from.
    ///
    /// # Errors
    /// Of open(2).
    pub fn reopen(path: &str, source: Source) -> io::Result<OutputPipe> {
        let descriptor = rustix::fs::open(path, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
        Ok(OutputPipe { descriptor, source, last_read: None, enlarged: false })
    }

    /// Another open file of the same pipe, which blocks and can only be written to.
    ///
    /// # Errors
    /// Of open(2).
    pub fn writer(&self) -> io::Result<OwnedFd> {
        let path = format!("/proc/self/fd/{}", self.descriptor.as_raw_fd());
        Ok(rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// Reads once, at most [`READ_LIMIT`] bytes, into `log`.
    ///
    /// # Errors
    /// Of read(2); the pipe should then be closed.
    pub fn turn(
        &mut self,
        log: &mut LogFile,
        now: SystemTime,
        scratch: &mut Scratch,
    ) -> io::Result<(PipeTurn, Option<LogNotice>)> {
        self.turn_with(scratch, now, |source, bytes, output| match bytes {
            [] => log.finish(source, now, output),
            bytes => log.feed(source, bytes, now, output),
        })
    }

    /// The same for whoever takes the bytes; none of them say that the stream has ended.
    ///
    /// # Errors
    /// As [`OutputPipe::turn`].
    pub fn turn_with(
        &mut self,
        scratch: &mut Scratch,
        now: SystemTime,
        take: impl FnOnce(Source, &[u8], &mut Vec<u8>) -> Option<LogNotice>,
    ) -> io::Result<(PipeTurn, Option<LogNotice>)> {
        let Some(count) = self.read(&mut scratch.input)? else { return Ok((PipeTurn::Idle, None)) };
        let notice = take(self.source, &scratch.input[..count], &mut scratch.output);
        if count == 0 {
            return Ok((PipeTurn::Ended, notice));
        }
        let rest = self.pace(count, now);
        if scratch.output.capacity() > 2 * WRITE_SIZE {
            scratch.output = Vec::new();
        }
        Ok((PipeTurn::Read { bytes: count, rest }, notice))
    }

    /// Reads once, at most as much as `input` holds; `None` when there is nothing now, 0 at the end of the stream.
    ///
    /// # Errors
    /// Of read(2).
    pub fn read(&mut self, input: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match rustix::io::read(&self.descriptor, &mut *input) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(e) => return Err(e.into()),
                Ok(count) => return Ok(Some(count)),
            }
        }
    }

    /// A steady stream of lines is read every millisecond; a block producer, which fills the buffer, at once and
    /// through a larger pipe.
    fn pace(&mut self, count: usize, now: SystemTime) -> Option<Duration> {
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

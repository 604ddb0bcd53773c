//! Bytes between the caller's terminal and the service's, both ways, as they are.
//!
//! Nothing here blocks: a terminal that does not take output must not keep the supervisor from its work, nor a program
//! that does not read keep a person from getting out. The caller's descriptors are opened again for that, as
//! `O_NONBLOCK` belongs to the open file, which the caller's shell shares. Where that is not allowed (a terminal of
//! another user) they are used as they are.
//!
//! The relay has the service's side open too: the master never tells an end of file, and a program may close its
//! terminal and open it again. What is left is known when nobody runs any more and the master has nothing to read.

use super::engine::to_io;
use super::signals::Signals;
use crate::sys::fd::{self, NonBlocking};
use crate::sys::poll::{Interest, Poller, Token};
use crate::sys::terminal;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Output that waits, bytes; then the service waits.
const OUTPUT_ROOM: usize = 64 << 10;

/// Input that a program has not read, bytes. More is thrown away, as a terminal does: it must be read on, or nobody
/// could get out of a program that hangs.
const INPUT_ROOM: usize = 1 << 20;

/// Bytes of one read.
const CHUNK: usize = 16 << 10;

/// Turns of one call: others have work to be done too.
const TURNS: usize = 16;

/// Turns of `CHUNK` bytes in which all is read that the kernel keeps of a pipe and a terminal.
const LAST_TURNS: usize = 64;

/// What came out of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing that matters.
    Nothing,
    /// Somebody wants to get out, and said so that many times.
    Escape(u32),
    /// Nobody is at the other end of the caller's terminal, or of where the output goes.
    Gone,
}

/// A descriptor that is watched now and then.
struct Watch {
    fd: OwnedFd,
    interest: Interest,
    token: Option<Token>,
}

impl Watch {
    fn new(fd: OwnedFd, interest: Interest) -> Watch {
        Watch { fd, interest, token: None }
    }

    fn set(&mut self, poller: &mut Poller, on: bool) -> io::Result<()> {
        match (self.token, on) {
            (None, true) => self.token = Some(poller.add(&self.fd, self.interest).map_err(to_io)?),
            (Some(_), false) => {
                self.token = None;
                poller.remove(&self.fd).map_err(to_io)?;
            }
            (None, false) | (Some(_), true) => {}
        }
        Ok(())
    }
}

/// Where output goes.
struct Outlet {
    watch: Watch,
    /// A write that cannot be done at once says so.
    nonblocking: bool,
    /// Nobody reads it any more.
    gone: bool,
}

/// The service's terminal.
struct Inner {
    master: Watch,
    /// The same, for writing: one descriptor is watched for one thing.
    writer: Watch,
    _service: OwnedFd,
}

/// See the module documentation.
pub(super) struct Relay {
    input: Watch,
    outlet: Outlet,
    /// What the unit's other commands write.
    commands: Watch,
    inner: Option<Inner>,
    /// The caller's input is meant for the service.
    listening: bool,
    to_service: Vec<u8>,
    to_caller: Vec<u8>,
}

impl Relay {
    /// On standard input and output; also the end of a pipe for commands that have no terminal.
    ///
    /// # Errors
    /// EMFILE and its kin.
    pub fn new(poller: &mut Poller) -> io::Result<(Relay, OwnedFd)> {
        let (reader, writer) = fd::pipe(NonBlocking::Read).map_err(to_io)?;
        let (input, _) = private(io::stdin().as_fd(), OFlags::RDONLY)?;
        let (output, nonblocking) = private(io::stdout().as_fd(), OFlags::WRONLY)?;
        let mut relay = Relay {
            input: Watch::new(input, Interest::Read),
            outlet: Outlet { watch: Watch::new(output, Interest::Write), nonblocking, gone: false },
            commands: Watch::new(reader, Interest::Read),
            inner: None,
            listening: false,
            to_service: Vec::new(),
            to_caller: Vec::new(),
        };
        relay.watch(poller)?;
        Ok((relay, writer))
    }

    /// Takes a new terminal of the service in place of the former one.
    ///
    /// # Errors
    /// EMFILE, and those of epoll.
    pub fn attach(&mut self, poller: &mut Poller, master: OwnedFd, service: OwnedFd) -> io::Result<()> {
        fd::set_nonblocking(master.as_fd(), true).map_err(to_io)?;
        let writer = Watch::new(master.try_clone()?, Interest::Write);
        if let Some(mut former) = self.inner.take() {
            former.master.set(poller, false)?;
            former.writer.set(poller, false)?;
        }
        self.inner = Some(Inner { master: Watch::new(master, Interest::Read), writer, _service: service });
        self.listening = true;
        self.watch(poller)
    }

    /// What the caller types is not for the service any more.
    pub fn ignore_input(&mut self, poller: &mut Poller) {
        self.listening = false;
        self.to_service.clear();
        // What cannot be unwatched is gone.
        let _ = self.watch(poller);
    }

    /// Tells the service's terminal its size.
    pub fn resize(&self, rows: u16, columns: u16) {
        if let Some(inner) = &self.inner {
            // Only a terminal that is gone has no size.
            let _ = terminal::set_size(inner.master.fd.as_fd(), rows, columns);
        }
    }

    /// Moves what can be moved now. `escape` finds the place behind the way out in what was typed.
    pub fn pump(&mut self, poller: &mut Poller, escape: &mut dyn FnMut(&[u8]) -> Option<usize>) -> Heard {
        let mut heard = Heard::Nothing;
        let mut escapes = 0;
        for _ in 0..TURNS {
            let moved = self.move_output();
            let typed = if self.listening { self.take_input(escape) } else { Typed::Nothing };
            self.write_input();
            match typed {
                Typed::Escape(times) => {
                    escapes += times;
                    heard = Heard::Escape(escapes);
                }
                Typed::End => {
                    self.listening = false;
                    heard = Heard::Gone;
                }
                Typed::Nothing if !moved => break,
                Typed::Nothing | Typed::Something => {}
            }
        }
        if self.watch(poller).is_err() || std::mem::take(&mut self.outlet.gone) {
            heard = Heard::Gone;
        }
        heard
    }

    /// Shows everything that there is to show, however long the caller's terminal takes; a signal ends that.
    pub fn finish(&mut self, poller: &mut Poller, signals: &Signals) {
        let mut turns = 0;
        loop {
            // What had been written when this began fits into that many turns; others may write for ever.
            let moved = turns < LAST_TURNS && self.move_output();
            turns += usize::from(moved);
            self.outlet.write(&mut self.to_caller);
            if self.to_caller.is_empty() {
                if moved {
                    continue;
                }
                break;
            }
            let mut waiting = [
                PollFd::new(&self.outlet.watch.fd, PollFlags::OUT),
                PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
            ];
            // EINTR: the signal is in its descriptor the next time.
            let _ = rustix::event::poll(&mut waiting, None);
            if !waiting[1].revents().is_empty() {
                break;
            }
        }
        // A descriptor that cannot be watched is found out by the next turn.
        let _ = self.watch(poller);
    }

    /// From the service and its commands to the caller; was there anything?
    fn move_output(&mut self) -> bool {
        let mut buffer = [0; CHUNK];
        let mut moved = false;
        if self.to_caller.len() < OUTPUT_ROOM
            && let Some(length) = read(self.commands.fd.as_fd(), &mut buffer)
        {
            // These have no terminal that would return the carriage.
            let text = buffer[..length].iter().flat_map(|byte| match byte {
                b'\n' if self.listening => &b"\r\n"[..],
                _ => std::slice::from_ref(byte),
            });
            self.to_caller.extend(text);
            moved |= length > 0;
        }
        if self.to_caller.len() < OUTPUT_ROOM
            && let Some(inner) = &self.inner
            && let Some(length) = read(inner.master.fd.as_fd(), &mut buffer)
        {
            self.to_caller.extend_from_slice(&buffer[..length]);
            moved |= length > 0;
        }
        self.outlet.write(&mut self.to_caller);
        moved
    }

    fn take_input(&mut self, escape: &mut dyn FnMut(&[u8]) -> Option<usize>) -> Typed {
        let mut buffer = [0; CHUNK];
        // A descriptor that may block is read only when something is there.
        let mut ready = [PollFd::new(&self.input.fd, PollFlags::IN)];
        if rustix::event::poll(&mut ready, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })) != Ok(1) {
            return Typed::Nothing;
        }
        let length = match rustix::io::read(&self.input.fd, &mut buffer) {
            Ok(0) => return Typed::End,
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Typed::Nothing,
            Err(_) => return Typed::End,
        };
        let mut meant = &buffer[..length];
        let mut escapes = 0;
        while let Some(end) = escape(meant) {
            escapes += 1;
            meant = &meant[end..];
        }
        let room = INPUT_ROOM.saturating_sub(self.to_service.len());
        self.to_service.extend_from_slice(&meant[..meant.len().min(room)]);
        if escapes > 0 { Typed::Escape(escapes) } else { Typed::Something }
    }

    fn write_input(&mut self) {
        let Some(inner) = &self.inner else { return };
        while !self.to_service.is_empty() {
            match rustix::io::write(&inner.writer.fd, &self.to_service) {
                Ok(length) => _ = self.to_service.drain(..length),
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Waits for what there is something to do about.
    fn watch(&mut self, poller: &mut Poller) -> io::Result<()> {
        let room = self.to_caller.len() < OUTPUT_ROOM;
        self.input.set(poller, self.listening)?;
        self.commands.set(poller, room)?;
        self.outlet.watch.set(poller, self.outlet.nonblocking && !self.to_caller.is_empty())?;
        if let Some(inner) = &mut self.inner {
            inner.master.set(poller, room)?;
            inner.writer.set(poller, !self.to_service.is_empty())?;
        }
        Ok(())
    }
}

/// What came from the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Typed {
    Nothing,
    Something,
    Escape(u32),
    End,
}

impl Outlet {
    /// Writes what it takes now.
    fn write(&mut self, bytes: &mut Vec<u8>) {
        let mut done = 0;
        while done < bytes.len() {
            match rustix::io::write(&self.watch.fd, &bytes[done..]) {
                Ok(length) => done += length,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    // Nobody will ever read it.
                    self.gone = true;
                    done = bytes.len();
                }
            }
        }
        bytes.drain(..done);
    }
}

/// Reads what is there; `None`: nothing, or nothing any more.
fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Option<usize> {
    rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut *buffer)).ok()
}

/// Opens a terminal or pipe again, so that it can be non-blocking for us alone; where that cannot be done, a copy, and
/// `false`.
fn private(fd: BorrowedFd<'_>, how: OFlags) -> io::Result<(OwnedFd, bool)> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode);
    // A file would be at its beginning again, and never blocks.
    if kind == FileType::Fifo || rustix::termios::isatty(fd) {
        let flags = how | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        if let Ok(own) = rustix::fs::open(format!("/proc/self/fd/{}", fd.as_raw_fd()), flags, Mode::empty()) {
            return Ok((own, true));
        }
    }
    Ok((fd.try_clone_to_owned()?, false))
}

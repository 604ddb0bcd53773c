//! Between the command and this side while it runs: what is typed, what it writes, signals, and its end.

use super::streams::Ours;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Exited(u8),
    Killed(u8),
    /// Nobody was left to tell.
    Lost,
}

/// `CLD_EXITED` of waitid(2).
const CLD_EXITED: u8 = 1;

/// Bytes at a time.
const CHUNK: usize = 16 * 1024;

pub(super) struct Relay {
    ours: Ours,
    /// Signals to this process, which the command is to have.
    signals: Vec<(i32, UnixStream)>,
    /// Typed, and not yet taken by the command's terminal.
    typed: Vec<u8>,
    /// This terminal's modes are changed back when it goes.
    raw: Option<Raw>,
    /// More can be typed.
    input: bool,
}

/// A terminal that passes everything on.
struct Raw {
    found: Termios,
}

impl Raw {
    fn set() -> io::Result<Raw> {
        let found = tcgetattr(io::stdin())?;
        let mut raw = found.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Raw { found })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone has no modes.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.found);
    }
}

impl Relay {
    /// Signals are caught from here on.
    ///
    /// # Errors
    /// EMFILE.
    pub fn new(ours: Ours) -> io::Result<Relay> {
        let mut signals = Vec::new();
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH] {
            let (reader, writer) = UnixStream::pair()?;
            reader.set_nonblocking(true)?;
            signal_hook::low_level::pipe::register(signal, writer)?;
            signals.push((signal, reader));
        }
        Ok(Relay { input: false, ours, signals, typed: Vec::new(), raw: None })
    }

    /// Until the command has ended, and all that it had written by then has been passed on. `pty`: a terminal comes first.
    ///
    /// # Errors
    /// Of poll(2), and of writing to standard output or error.
    pub fn run(mut self, pty: bool) -> io::Result<End> {
        if pty {
            self.ours.take_terminal()?;
            self.input = true;
            self.raw = Some(Raw::set()?);
        }
        for fd in self.ours.master.iter().chain(self.ours.outputs.iter().map(|(fd, _)| fd)) {
            fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?;
        }
        loop {
            let ready = self.wait()?;
            if ready.signalled {
                self.pass_signals();
            }
            if ready.typed {
                self.read_input();
            }
            self.write_typed();
            self.pass_output()?;
            if ready.ended
                && let Some(end) = self.end()
            {
                self.pass_output()?;
                return Ok(end);
            }
        }
    }

    fn wait(&self) -> io::Result<Ready> {
        let stdin = io::stdin();
        let mut sources = vec![PollFd::new(&self.ours.end, PollFlags::IN)];
        sources.extend(self.signals.iter().map(|(_, fd)| PollFd::new(fd, PollFlags::IN)));
        let first_output = sources.len();
        sources.extend(self.ours.outputs.iter().map(|(fd, _)| PollFd::new(fd, PollFlags::IN)));
        if let Some(master) = &self.ours.master {
            let output = if self.typed.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            sources.push(PollFd::new(master, PollFlags::IN | output));
        }
        let wants_input = self.input && self.typed.len() < CHUNK;
        let standard_input = sources.len();
        if wants_input {
            sources.push(PollFd::new(&stdin, PollFlags::IN));
        }
        match poll(&mut sources, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let any = |fds: &[PollFd<'_>]| fds.iter().any(|fd| !fd.revents().is_empty());
        Ok(Ready {
            ended: any(&sources[..1]),
            signalled: any(&sources[1..first_output]),
            typed: wants_input && any(&sources[standard_input..]),
        })
    }

    /// Signals go on to the command; of a terminal only its size is this side's business.
    fn pass_signals(&mut self) {
        for (signal, reader) in &mut self.signals {
            let mut bytes = [0; 64];
            if !matches!(reader.read(&mut bytes), Ok(1..)) {
                continue;
            }
            match (*signal, &self.ours.master) {
                (SIGWINCH, Some(master)) => {
                    if let Ok(size) = tcgetwinsize(io::stdin()) {
                        let _ = tcsetwinsize(master, size);
                    }
                }
                (SIGWINCH, None) => {}
                (signal, _) => {
                    // A command that has ended is told of next.
                    let _ = send(&self.ours.end, &[signal as u8], SendFlags::NOSIGNAL);
                }
            }
        }
    }

    fn read_input(&mut self) {
        let mut chunk = [0; CHUNK];
        match rustix::io::read(io::stdin(), &mut chunk) {
            Ok(0) => self.input = false,
            Ok(count) => self.typed.extend_from_slice(&chunk[..count]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            // This terminal is gone, and the command's goes with it.
            Err(_) => (self.input, self.ours.master) = (false, None),
        }
    }

    fn write_typed(&mut self) {
        let Some(master) = &self.ours.master else { return };
        if self.typed.is_empty() {
            return;
        }
        match rustix::io::write(master, &self.typed) {
            Ok(count) => drop(self.typed.drain(..count)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => self.typed.clear(),
        }
    }

    /// All that has been written.
    fn pass_output(&mut self) -> io::Result<()> {
        if let Some(master) = &self.ours.master
            && copy(master, false)? == Copied::Over
        {
            // Nobody in the container has the terminal open any more.
            self.ours.master = None;
            self.input = false;
        }
        let mut index = 0;
        while let Some((reader, error)) = self.ours.outputs.get(index) {
            if copy(reader, *error)? == Copied::Over {
                self.ours.outputs.remove(index);
            } else {
                index += 1;
            }
        }
        Ok(())
    }

    /// What is told of the command.
    fn end(&self) -> Option<End> {
        let mut told = [0; 2];
        match recv(&self.ours.end, &mut told[..], RecvFlags::DONTWAIT) {
            Ok((2, _)) if told[0] == CLD_EXITED => Some(End::Exited(told[1])),
            Ok((2, _)) => Some(End::Killed(told[1])),
            Err(Errno::AGAIN | Errno::INTR) => None,
            _ => Some(End::Lost),
        }
    }
}

struct Ready {
    ended: bool,
    signalled: bool,
    typed: bool,
}

#[derive(PartialEq, Eq)]
enum Copied {
    /// Nothing more at present.
    All,
    /// Nobody writes any more.
    Over,
}

fn copy(from: &OwnedFd, error: bool) -> io::Result<Copied> {
    let mut chunk = [0; CHUNK];
    loop {
        match rustix::io::read(from, &mut chunk) {
            Ok(0) => return Ok(Copied::Over),
            Ok(count) if error => write_all(io::stderr().as_fd(), &chunk[..count])?,
            Ok(count) => write_all(io::stdout().as_fd(), &chunk[..count])?,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(Copied::All),
            // EIO: a terminal that nobody has open.
            Err(_) => return Ok(Copied::Over),
        }
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(&to, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

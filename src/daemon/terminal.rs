//! The caller's terminal during `rsvc run --pty`: its modes, the way out, and the service's terminal behind it.
//!
//! ```text
//! caller's terminal ── bytes as they are ──▶ rsvc (relay.rs) ──▶ master ┆ service's terminal in the container
//! ```
//!
//! While a main process has its terminal, the caller's passes every byte on as it is (raw mode): what a key means is the
//! inner terminal's affair. Before, between and after runs it is as it was found, so that Ctrl-C means what it means
//! without a terminal. The former modes come back however rsvc ends, but for SIGKILL: at the end of the run, when a
//! panic unwinds or aborts, and before a SIGTSTP is obeyed.

use super::engine::{Engine, now};
use super::foreground::tell;
use super::relay::{Heard, Relay};
use super::signals::{Caught, Signals};
use crate::plan::wire::TerminalSettings;
use crate::supervise::Moment;
use rustix::termios::{self, InputModes, OptionalActions, Termios};
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ctrl-].
const ESCAPE: u8 = 0x1d;

/// How often, and within how many microseconds, it is typed by who wants to get out.
const ESCAPES: u8 = 3;
const ESCAPE_TIME: u64 = 1_000_000;

/// Is the caller's terminal in raw mode? For what is written on it beside the relay, and for the hook of panics.
static RAW: AtomicBool = AtomicBool::new(false);

/// What launches are told of the terminal that a main process is to get.
pub(super) struct Wish {
    /// As the caller's is now.
    pub settings: TerminalSettings,
    /// Where the other commands of the unit write.
    pub output: OwnedFd,
}

/// What the person at the terminal wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Nothing of us.
    Nothing,
    /// The end of the run, said so many times; the second time, at once.
    End(u32),
}

/// The text as a terminal needs it that does not return the carriage by itself.
pub(super) fn for_stderr(text: String) -> String {
    if RAW.load(Ordering::SeqCst) && io::stderr().is_terminal() { text.replace('\n', "\r\n") } else { text }
}

/// The modes of the caller's terminal as they were found.
struct Modes {
    fd: OwnedFd,
    found: Termios,
}

impl Modes {
    /// Is it ours to change? A shell that has put us in the background has modes of its own there, and changing them
    /// would stop us (SIGTTOU). A terminal that is not our controlling one has no foreground.
    fn ours(&self) -> bool {
        termios::tcgetpgrp(&self.fd).map_or(true, |group| group == rustix::process::getpgrp())
    }

    fn set(&self, raw: bool) {
        let mut modes = self.found.clone();
        if raw {
            modes.make_raw();
        }
        // A terminal that is gone has no modes to restore.
        if self.ours() && termios::tcsetattr(&self.fd, OptionalActions::Now, &modes).is_ok() {
            RAW.store(raw, Ordering::SeqCst);
        }
    }

    fn settings(&self) -> TerminalSettings {
        let size = termios::tcgetwinsize(&self.fd).ok();
        TerminalSettings {
            rows: size.map_or(0, |size| size.ws_row),
            columns: size.map_or(0, |size| size.ws_col),
            utf8: self.found.input_modes.contains(InputModes::IUTF8),
        }
    }
}

/// See the module documentation.
pub(super) struct Terminal {
    modes: Arc<Modes>,
    relay: Relay,
    escape: Escape,
    /// A main process has its terminal.
    attached: bool,
    /// The way out was told, or need not be.
    told: bool,
}

impl Terminal {
    /// Notes how the caller's terminal is and tells the engine what to launch with. `quiet`: the way out is known.
    ///
    /// # Errors
    /// Standard input is no terminal.
    pub fn open(engine: &mut Engine, quiet: bool) -> io::Result<Terminal> {
        let fd = io::stdin().as_fd().try_clone_to_owned()?;
        let found = termios::tcgetattr(&fd).map_err(|_| io::Error::other("standard input is no terminal"))?;
        let modes = Arc::new(Modes { fd, found });
        let (relay, output) = Relay::new(&mut engine.poller)?;
        engine.terminal = Some(Wish { settings: modes.settings(), output });
        let (hooked, former) = (Arc::clone(&modes), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            if RAW.load(Ordering::SeqCst) {
                hooked.set(false);
            }
            former(panic);
        }));
        Ok(Terminal { modes, relay, escape: Escape::default(), attached: false, told: quiet })
    }

    /// The main process that is being launched has got a terminal.
    ///
    /// # Errors
    /// Of epoll.
    pub fn attach(
        &mut self,
        engine: &mut Engine,
        master: OwnedFd,
        service: OwnedFd,
        signals: &Signals,
    ) -> io::Result<()> {
        self.detach(engine, signals);
        if !self.told {
            self.told = true;
            tell("press ^] three times within a second to stop it, and again to kill it");
        }
        self.relay.attach(&mut engine.poller, master, service)?;
        self.attached = true;
        self.modes.set(true);
        // It may have changed since the launch began.
        self.resize(engine);
        Ok(())
    }

    /// The main process has ended: shows all that it has written, and gives the caller's terminal back. What others
    /// of the unit still write is shown as it comes.
    pub fn detach(&mut self, engine: &mut Engine, signals: &Signals) {
        self.relay.finish(&mut engine.poller, signals);
        if self.attached {
            self.attached = false;
            self.relay.ignore_input(&mut engine.poller);
            self.modes.set(false);
        }
    }

    /// Moves bytes both ways.
    pub fn relay(&mut self, engine: &mut Engine) -> Wanted {
        let escape = &mut self.escape;
        let present = now();
        match self.relay.pump(&mut engine.poller, &mut |bytes| escape.find(present, bytes)) {
            Heard::Nothing => Wanted::Nothing,
            Heard::Escape(times) => Wanted::End(times),
            // Who cannot see any more what the service says can only want its end.
            Heard::Gone => Wanted::End(1),
        }
    }

    /// Signals that matter to the terminal.
    pub fn caught(&mut self, engine: &mut Engine, caught: Caught) {
        if caught.suspend {
            self.modes.set(false);
            // Goes on here when somebody lets us go on.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
        }
        if (caught.suspend || caught.resumed) && self.attached {
            self.modes.set(true);
        }
        if caught.resized || caught.suspend || caught.resumed {
            self.resize(engine);
        }
    }

    fn resize(&mut self, engine: &mut Engine) {
        let settings = self.modes.settings();
        if let Some(wish) = &mut engine.terminal {
            wish.settings = settings;
        }
        self.relay.resize(settings.rows, settings.columns);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if RAW.load(Ordering::SeqCst) {
            self.modes.set(false);
        }
    }
}

/// Finds the way out in what is typed.
#[derive(Debug, Default)]
struct Escape {
    count: u8,
    first: Moment,
}

impl Escape {
    /// The place behind the last of three escapes within a second, if there are three.
    fn find(&mut self, now: Moment, bytes: &[u8]) -> Option<usize> {
        for (index, byte) in bytes.iter().enumerate() {
            if *byte != ESCAPE {
                self.count = 0;
                continue;
            }
            if self.count == 0 || now.0.saturating_sub(self.first.0) > ESCAPE_TIME {
                *self = Escape { count: 0, first: now };
            }
            self.count += 1;
            if self.count == ESCAPES {
                self.count = 0;
                return Some(index + 1);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_escapes_in_a_row_within_a_second_are_the_way_out() {
        type Typed<'a> = (u64, &'a [u8]);
        let table: [(&[Typed<'_>], Option<usize>); 8] = [
            (&[(0, b"\x1d\x1d\x1d")], Some(3)),
            (&[(0, b"ab\x1d\x1d\x1dcd")], Some(5)),
            (&[(0, b"\x1d"), (400_000, b"\x1d"), (1_000_000, b"\x1d")], Some(1)),
            (&[(0, b"\x1d\x1d"), (1_000_001, b"\x1d")], None),
            (&[(0, b"\x1d\x1d"), (1_000_001, b"\x1d"), (1_000_002, b"\x1d\x1d")], Some(2)),
            (&[(0, b"\x1d\x1da\x1d")], None),
            (&[(0, b"\x1d\x1d"), (1, b"x"), (2, b"\x1d")], None),
            (&[(0, b"]]]")], None),
        ];
        for (typed, expected) in table {
            let mut escape = Escape::default();
            let found = typed.iter().map(|(at, bytes)| escape.find(Moment(*at), bytes)).last().flatten();
            assert_eq!(found, expected, "{typed:?}");
        }
    }
}

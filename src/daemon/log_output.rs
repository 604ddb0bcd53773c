//! The output of one service as the daemon reads it: a pipe, the gate that some units have, and where it leads.
//!
//! ```text
//! service ──pipe──┬──────────────▶ LogFile                 target file, nothing to choose
//!                 └─▶ Gate ──┬───▶ LogFile                 level_max, rate limit
//! /dev/log ───────────┘      └───▶ Relay ──▶ the journal   the same, or fields of the unit's own
//! ```

use super::journal::JournalClient;
use super::log_file::{LogFile, LogNotice};
use super::log_gate::Passed;
use super::log_messages::{Head, Relay};
use super::log_pipe::{MessageOrigin, OutputPipe, PipeOrigin, PipeTurn, Scratch};
use super::log_relay::Journal;
use super::log_rules::{Rules, WARNING};
use super::service::Watched;
use super::state::SavedState;
use super::syslog::SyslogLine;
use crate::supervise::Moment;
use crate::unit::Unit;
use std::io;
use std::time::SystemTime;

/// Output that the daemon reads; restarts share one pipe.
pub(super) struct Output {
    pub pipe: Watched<OutputPipe>,
    pub end: End,
    rules: Rules,
    /// The pipe is not watched: the journal has to take what was read first.
    pub paused: bool,
    /// The pipe is watched for more than what is in it: that waits there for the end of its line.
    pub waits_for_more: bool,
}

/// Where it leads.
pub(super) enum End {
    /// A file of rsvc's own.
    File(LogFile),
    /// The journal.
    Journal(Box<Relay>),
}

/// The two clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// For people.
    pub wall: SystemTime,
    /// For windows.
    pub boot: Moment,
}

impl Now {
    /// Of this moment.
    pub fn get() -> Now {
        Now { wall: SystemTime::now(), boot: super::engine::now() }
    }
}

/// What every output is served with, one after the other.
pub(super) struct Means<'m> {
    pub journal: &'m mut JournalClient,
    pub scratch: &'m mut Scratch,
    pub now: Now,
}

impl<'m> Means<'m> {
    /// What there is, at this moment.
    pub fn of(journal: &'m mut Journal, scratch: &'m mut Scratch) -> Means<'m> {
        Means { journal: journal.client(), scratch, now: Now::get() }
    }
}

impl Output {
    /// The output of `unit` through `pipe` to `end`.
    pub fn new(pipe: Watched<OutputPipe>, end: End, unit: &Unit) -> Output {
        let mut output = Output { pipe, end, rules: Rules::default(), paused: false, waits_for_more: false };
        output.adapt(unit, "");
        output
    }

    /// A new run begins, perhaps with other settings.
    pub fn adapt(&mut self, unit: &Unit, invocation: &str) {
        let anew = self.rules.adapt(&unit.logging);
        match &mut self.end {
            End::File(file) => file.set_limits(super::launch::log_limits(unit)),
            End::Journal(relay) => {
                relay.head = Head::new(unit, invocation);
                if anew {
                    relay.begin_anew();
                }
            }
        }
    }

    /// Does it lead to the journal?
    pub fn is_relayed(&self) -> bool {
        matches!(self.end, End::Journal(_))
    }

    /// Messages suppressed since the unit was started.
    pub fn suppressed(&self) -> u64 {
        self.rules.suppressed + self.untold()
    }

    /// Those of them that the log does not tell of yet.
    pub fn untold(&self) -> u64 {
        self.rules.untold()
    }

    /// Is output being dropped, as the disk is full?
    pub fn is_losing(&self) -> bool {
        matches!(&self.end, End::File(file) if file.is_losing())
    }

    /// When they are to be told.
    pub fn due(&self) -> Option<Moment> {
        self.rules.gate.as_ref()?.due()
    }

    /// Goes on where an earlier daemon ended: with the line that is open in the file, and with what was counted. What
    /// that one had not told, nobody can count any more.
    pub fn resume(&mut self, saved: &SavedState, means: &mut Means<'_>) {
        if let End::File(file) = &mut self.end {
            file.resume(saved.log_losing);
            if file.is_within_a_line() {
                self.rules.resume();
            }
        }
        self.rules.suppressed = saved.log_suppressed;
        if saved.log_untold {
            let text = "messages were suppressed when the daemon ended; how many is not known";
            let _ = self.note(text, means);
        }
    }

    /// The last lines of a file log.
    pub fn last_lines(&self, count: usize) -> Vec<String> {
        match &self.end {
            End::File(file) => file.last_lines(count),
            End::Journal(_) => Vec::new(),
        }
    }

    /// See [`LogFile::forget_lines`].
    pub fn forget_lines(&mut self, keep: bool) {
        if let End::File(file) = &mut self.end {
            file.forget_lines(keep);
        }
    }

    /// Reads once.
    ///
    /// # Errors
    /// Of the pipe, which should then be closed.
    pub fn turn(&mut self, means: &mut Means<'_>) -> io::Result<(PipeTurn, Option<LogNotice>)> {
        let Output { pipe, end, rules, .. } = self;
        match end {
            End::File(file) if rules.gate.is_none() => pipe.fd.turn(file, means.now.wall, means.scratch),
            End::File(file) => rules.turn(&mut pipe.fd, file, means.scratch, means.now),
            End::Journal(relay) => relay.turn(&mut pipe.fd, rules, means).map(|turn| (turn, None)),
        }
    }

    /// Sends what waits, as far as the journal takes it. `true`: all of it.
    pub fn pump(&mut self, journal: &mut JournalClient, scratch: &Scratch) -> bool {
        let Output { pipe, end: End::Journal(relay), .. } = self else { return true };
        relay.deliver(&mut pipe.fd, journal, &scratch.staging)
    }

    /// Does it wait for the journal to take something?
    pub fn is_held_up(&self) -> bool {
        matches!(&self.end, End::Journal(relay) if relay.blocked)
    }

    /// From now on nothing waits for the journal: nobody reads the pipe afterwards.
    pub fn conclude(&mut self) {
        if let End::Journal(relay) = &mut self.end {
            relay.last = true;
        }
    }

    /// Bytes that were read, and are neither in the log nor in the pipe.
    pub fn held(&self) -> usize {
        let message = match &self.end {
            End::File(_) => 0,
            End::Journal(relay) => relay.held(),
        };
        message + self.pipe.fd.held()
    }

    /// A message that came by syslog.
    pub fn record(&mut self, line: &SyslogLine, means: &mut Means<'_>) -> Option<LogNotice> {
        let mut over = None;
        let admitted = match &mut self.rules.gate {
            Some(gate) => {
                gate.admits(line.priority, means.now.boot, &mut |passed| over = suppressed_in(passed).or(over))
            }
            None => true,
        };
        let notice = over.and_then(|count| self.tell(count, means));
        if !admitted {
            return notice;
        }
        let stored = match &mut self.end {
            End::File(file) => store(file, &line.text, means),
            End::Journal(relay) => {
                relay.send(line.priority, &line.text, means.journal);
                None
            }
        };
        notice.or(stored)
    }

    /// Tells what was suppressed in a window that is over; with `last`, in the present one too.
    pub fn settle(&mut self, last: bool, means: &mut Means<'_>) -> Option<LogNotice> {
        let mut over = None;
        if let Some(gate) = &mut self.rules.gate {
            gate.settle(means.now.boot, &mut |passed| over = suppressed_in(passed));
            if last {
                gate.conclude(&mut |passed| over = suppressed_in(passed).or(over));
            }
        }
        over.and_then(|count| self.tell(count, means))
    }

    /// The service is down: an open line is closed, and what is still to be said is said.
    pub fn finish(&mut self, means: &mut Means<'_>) -> Option<LogNotice> {
        let Output { pipe, end, rules, .. } = self;
        let pipe = &mut pipe.fd;
        let notice = match end {
            End::File(file) if rules.gate.is_none() => {
                let Scratch { output, staging, .. } = &mut *means.scratch;
                let source = pipe.source();
                file.finish_from(source, means.now.wall, output, &mut PipeOrigin { pipe, staging })
            }
            End::File(file) => rules.finish(pipe, file, means.scratch, means.now),
            End::Journal(relay) => {
                relay.finish(pipe, rules, means);
                None
            }
        };
        notice.or(self.settle(true, means))
    }

    fn tell(&mut self, count: u64, means: &mut Means<'_>) -> Option<LogNotice> {
        let text = self.rules.suppressed(count);
        self.note(&text, means)
    }

    fn note(&mut self, text: &str, means: &mut Means<'_>) -> Option<LogNotice> {
        match &mut self.end {
            End::File(file) => store(file, format!("rsvc: {text}").as_bytes(), means),
            End::Journal(relay) => {
                relay.send(WARNING, text.as_bytes(), means.journal);
                None
            }
        }
    }
}

fn store(file: &mut LogFile, text: &[u8], means: &mut Means<'_>) -> Option<LogNotice> {
    let Scratch { output, staging, .. } = &mut *means.scratch;
    file.record(text, means.now.wall, output, &mut MessageOrigin(staging))
}

fn suppressed_in(passed: Passed<'_>) -> Option<u64> {
    match passed {
        Passed::Suppressed(count) => Some(count),
        _ => None,
    }
}

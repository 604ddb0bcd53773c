//! The way of a service's output to the journal: line by line, each consumed from the service's pipe when the journal
//! has taken it.
//!
//! A killed daemon loses nothing by that, and the next one sends at most one message twice: the one between its sending
//! and its consumption. A line that is not whole waits in the pipe. Only a line for which the pipe is too small is taken
//! out of it in parts, of which the last is in memory until its message is whole.

use super::journal::{JournalClient, Offered, Record};
use super::log_gate::{MESSAGE_LENGTH, Passed};
use super::log_output::Means;
use super::log_pipe::{OutputPipe, PipeTurn, READ_LIMIT, Scratch};
use super::log_rules::{Rules, WARNING};
use super::staging::Staging;
use crate::unit::Unit;
use std::collections::VecDeque;
use std::io;

/// Bytes looked at in one turn, where no line is longer.
const WINDOW: usize = 8192;

/// See the module documentation.
pub(super) struct Relay {
    pub head: Head,
    /// The message that has no end yet, at most [`MESSAGE_LENGTH`].
    message: Vec<u8>,
    level: u8,
    /// Messages that the journal has not taken yet.
    unsent: VecDeque<Record>,
    /// Bytes at the front of the pipe that `message` and `unsent` were made of.
    fed: usize,
    /// So many of them are whole messages: consumed as soon as nothing is unsent.
    whole: usize,
    /// Bytes of `message` that are in the pipe no more.
    kept: usize,
    window: usize,
    /// The journal does not take more at present.
    pub blocked: bool,
    /// Nobody reads the pipe afterwards: whatever the journal takes, its client keeps some and counts the rest.
    pub last: bool,
}

impl Relay {
    /// Nothing was read yet.
    pub fn new(unit: &Unit) -> Relay {
        Relay {
            head: Head::new(unit, ""),
            message: Vec::new(),
            level: WARNING,
            unsent: VecDeque::new(),
            fed: 0,
            whole: 0,
            kept: 0,
            window: WINDOW,
            blocked: false,
            last: false,
        }
    }

    /// Other rules begin: what waits in the pipe is looked at by those.
    pub fn begin_anew(&mut self) {
        if self.kept == 0 {
            self.fed = self.whole;
            self.message.clear();
        }
    }

    /// Bytes of the service that are nowhere but here.
    pub fn held(&self) -> usize {
        self.kept
    }

    /// Sends a message that came another way.
    pub fn send(&self, level: u8, message: &[u8], journal: &mut JournalClient) {
        journal.send(self.head.record(level, message));
    }

    /// Sends what is there, until the journal has enough. While none is there its client keeps some and counts the
    /// rest: no service hangs on its output because a journal is gone.
    ///
    /// # Errors
    /// Of the pipe.
    pub fn turn(&mut self, pipe: &mut OutputPipe, rules: &mut Rules, means: &mut Means<'_>) -> io::Result<PipeTurn> {
        let Means { journal, scratch, now } = means;
        if !self.deliver(pipe, journal, &scratch.staging) {
            return Ok(PipeTurn::Stuck);
        }
        let Some(count) = pipe.look(scratch, self.window)? else { return Ok(PipeTurn::Idle) };
        if count == 0 {
            return Ok(PipeTurn::Ended);
        }
        let Scratch { input, staging, .. } = scratch;
        let mut rest = &input[self.fed.min(count)..count];
        let mut progress = false;
        while !rest.is_empty() {
            // A line of more than one message is so many lines.
            let room = (MESSAGE_LENGTH - self.kept - self.fed).min(rest.len());
            let end = rest[..room].iter().position(|b| *b == b'\n').map_or(room, |at| at + 1);
            let (piece, more) = rest.split_at(end);
            rest = more;
            rules.feed(piece, *now, &mut |rules, passed| self.take(rules, passed));
            self.fed += piece.len();
            if piece.ends_with(b"\n") || self.kept + self.fed == MESSAGE_LENGTH {
                self.end_message();
                self.whole = self.fed;
                progress = true;
                if !self.deliver(pipe, journal, staging) {
                    return Ok(PipeTurn::Stuck);
                }
            }
        }
        if progress {
            self.window = WINDOW;
        } else if count >= self.window && self.window < READ_LIMIT {
            self.window = READ_LIMIT;
        } else if pipe.is_full(count) {
            pipe.consume(self.fed, staging);
            self.kept += std::mem::take(&mut self.fed);
        } else {
            return Ok(PipeTurn::Stuck);
        }
        Ok(PipeTurn::Read { bytes: count, rest: None })
    }

    /// Sends what is whole. `true`: all of it was taken, and is consumed.
    pub fn deliver(&mut self, pipe: &mut OutputPipe, journal: &mut JournalClient, staging: &Option<Staging>) -> bool {
        self.blocked = false;
        while let Some(record) = self.unsent.pop_front() {
            if self.last {
                journal.send(record);
            } else if let Offered::Refused(record) = journal.offer(record) {
                self.unsent.push_front(record);
                self.blocked = true;
                return false;
            }
        }
        if self.whole > 0 {
            pipe.consume(self.whole, staging);
            self.fed -= std::mem::take(&mut self.whole);
            self.kept = 0;
        }
        true
    }

    /// All of it, whatever the journal takes: its client keeps some and counts the rest.
    pub fn finish(&mut self, pipe: &mut OutputPipe, rules: &mut Rules, means: &mut Means<'_>) {
        rules.end(means.now, &mut |rules, passed| self.take(rules, passed));
        self.end_message();
        self.whole = self.fed;
        self.last = true;
        self.deliver(pipe, means.journal, &means.scratch.staging);
    }

    fn take(&mut self, rules: &mut Rules, passed: Passed<'_>) {
        match passed {
            Passed::Begin { level, .. } => self.level = level,
            Passed::Text(text) => self.message.extend_from_slice(text),
            // Where a long line is parted is decided by its place in the pipe.
            Passed::Split => {}
            Passed::End => self.end_message(),
            Passed::Suppressed(count) => {
                let note = self.head.record(WARNING, rules.suppressed(count).as_bytes());
                self.unsent.push_back(note);
            }
        }
    }

    fn end_message(&mut self) {
        let mut message = std::mem::take(&mut self.message);
        // As journald does with what it reads itself: an empty line is no message.
        if !message.is_empty() {
            self.unsent.push_back(self.head.record(self.level, &message));
        }
        message.clear();
        if message.capacity() <= MESSAGE_LENGTH / 8 {
            self.message = message;
        }
    }
}

/// What every entry of a unit has.
pub(super) struct Head {
    unit: String,
    identifier: String,
    invocation: String,
    fields: Vec<(String, String)>,
}

impl Head {
    /// Of one run.
    pub fn new(unit: &Unit, invocation: &str) -> Head {
        Head {
            unit: unit.name.clone(),
            identifier: unit.log_identifier().to_owned(),
            invocation: invocation.to_owned(),
            fields: unit.logging.fields.clone(),
        }
    }

    fn record(&self, level: u8, message: &[u8]) -> Record {
        let mut record = Record::default();
        record.bytes("PRIORITY", level.to_string().as_bytes()).bytes("MESSAGE", message);
        record.field("SYSLOG_IDENTIFIER", &self.identifier).field("RSVC_UNIT", &self.unit);
        if !self.invocation.is_empty() {
            record.field("RSVC_INVOCATION_ID", &self.invocation);
        }
        for (name, value) in &self.fields {
            record.field(name, value);
        }
        record
    }
}

//! The output of one service as the daemon reads it: a pipe, the gate that some units have, and where it leads.
//!
//! ```text
//! service ──pipe──┬──────────────▶ LogFile                 target file, nothing to choose
//!                 └─▶ Gate ──┬───▶ LogFile                 level_max, rate limit
//! /dev/log ───────────┘      └───▶ Relay ──▶ the journal   the same, or fields of the unit's own
//! ```

use super::journal::{JournalClient, Record};
use super::log_file::{LogFile, LogNotice, Source};
use super::log_gate::{Gate, MESSAGE_LENGTH, Passed};
use super::log_pipe::{OutputPipe, PipeTurn, Scratch};
use super::service::Watched;
use super::syslog::SyslogLine;
use crate::supervise::Moment;
use crate::unit::{TimeSpan, Unit};
use std::io;
use std::time::SystemTime;

/// Bytes read at once of what goes to the journal: what the daemon holds of a service when it is killed is no more.
const RELAY_READ: usize = 4096;

/// Output that the daemon reads; restarts share one pipe.
pub(super) struct Output {
    pub pipe: Watched<OutputPipe>,
    pub end: End,
    gate: Option<Gate>,
    /// The words of the note: what the limit is.
    limit: String,
    /// Messages suppressed since the unit was started, as far as they were told.
    suppressed: u64,
    /// The pipe is not watched: the journal has to take what was read first.
    pub paused: bool,
}

/// Where it leads.
pub(super) enum End {
    /// A file of rsvc's own.
    File(LogFile),
    /// The journal.
    Journal(Relay),
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

impl Output {
    /// The output of `unit` through `pipe` to `end`.
    pub fn new(pipe: Watched<OutputPipe>, end: End, unit: &Unit) -> Output {
        let mut output = Output { pipe, end, gate: None, limit: String::new(), suppressed: 0, paused: false };
        output.adapt(unit, "");
        output
    }

    /// A new run begins, perhaps with other settings.
    pub fn adapt(&mut self, unit: &Unit, invocation: &str) {
        let logging = &unit.logging;
        match &mut self.end {
            End::File(file) => file.set_limits(super::launch::log_limits(unit)),
            End::Journal(relay) => relay.head = Head::new(unit, invocation),
        }
        let limit = logging.rate_limit.map_or_else(String::new, |limit| {
            format!("more than {} in {}: logging.rate_limit_burst", limit.burst, TimeSpan(Some(limit.interval)))
        });
        match &mut self.gate {
            // The window goes on over a restart, or a service that crashes again and again would have a burst each time.
            Some(gate) if gate.is_for(logging) => {}
            gate => *gate = Gate::of(logging),
        }
        self.limit = limit;
    }

    /// Does it lead to the journal?
    pub fn is_relayed(&self) -> bool {
        matches!(self.end, End::Journal(_))
    }

    /// Messages suppressed since the unit was started.
    pub fn suppressed(&self) -> u64 {
        self.suppressed + self.untold()
    }

    /// Those of them that the log does not tell of yet.
    pub fn untold(&self) -> u64 {
        self.gate.as_ref().map_or(0, Gate::untold)
    }

    /// When they are to be told.
    pub fn due(&self) -> Option<Moment> {
        self.gate.as_ref()?.due()
    }

    /// Goes on counting where an earlier daemon ended. What that one had not told, nobody can count any more.
    pub fn resume(&mut self, suppressed: u64, untold: bool, journal: &mut JournalClient, now: Now) {
        self.suppressed = suppressed;
        if untold {
            let text = "messages were suppressed when the daemon ended; how many is not known";
            let _ = self.note(text, journal, now);
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
    /// Of read(2); the pipe should then be closed.
    pub fn turn(
        &mut self,
        journal: &mut JournalClient,
        now: Now,
        scratch: &mut Scratch,
    ) -> io::Result<(PipeTurn, Option<LogNotice>)> {
        let Output { pipe, end, gate, limit, suppressed, .. } = self;
        match (end, gate) {
            (End::File(file), None) => pipe.fd.turn(file, now.wall, scratch),
            (End::File(file), Some(gate)) => pipe.fd.turn_with(scratch, now.wall, |source, bytes, output| {
                let mut sink =
                    FileSink { file, output, source, passed: Vec::new(), notice: None, limit, suppressed, now };
                match bytes {
                    [] => gate.finish(now.boot, &mut |passed| sink.take(passed)),
                    bytes => gate.feed(bytes, now.boot, &mut |passed| sink.take(passed)),
                }
                sink.flush();
                sink.notice
            }),
            (End::Journal(relay), gate) => {
                let mut input = [0; RELAY_READ];
                let turn = match pipe.fd.read(&mut input)? {
                    None => PipeTurn::Idle,
                    Some(0) => PipeTurn::Ended,
                    Some(count) => {
                        relay.waiting.extend_from_slice(&input[..count]);
                        PipeTurn::Read { bytes: count, rest: None }
                    }
                };
                relay.pump(gate, limit, suppressed, journal, now);
                Ok((turn, None))
            }
        }
    }

    /// Sends what was read and waits, as far as the journal takes it. `true`: all of it.
    pub fn pump(&mut self, journal: &mut JournalClient, now: Now) -> bool {
        let Output { end: End::Journal(relay), gate, limit, suppressed, .. } = self else { return true };
        relay.pump(gate, limit, suppressed, journal, now);
        relay.waiting.is_empty()
    }

    /// Does it wait for the journal to take what was read?
    pub fn is_held_up(&self) -> bool {
        matches!(&self.end, End::Journal(relay) if !relay.waiting.is_empty())
    }

    /// Bytes that were read and are not in the log yet.
    pub fn held(&self) -> usize {
        match &self.end {
            End::File(_) => 0,
            End::Journal(relay) => relay.waiting.len() + relay.message.len(),
        }
    }

    /// A message that came by syslog.
    pub fn record(&mut self, line: &SyslogLine, journal: &mut JournalClient, now: Now) -> Option<LogNotice> {
        let mut over = None;
        let admitted = match &mut self.gate {
            Some(gate) => gate.admits(line.priority, now.boot, &mut |passed| over = suppressed_in(passed).or(over)),
            None => true,
        };
        let notice = over.and_then(|count| self.tell(count, journal, now));
        if !admitted {
            return notice;
        }
        let stored = match &mut self.end {
            End::File(file) => file.record(&line.text, now.wall, &mut Vec::new()),
            End::Journal(relay) => {
                relay.send(line.priority, &line.text, journal);
                None
            }
        };
        notice.or(stored)
    }

    /// Tells what was suppressed in a window that is over; with `last`, in the present one too.
    pub fn settle(&mut self, last: bool, journal: &mut JournalClient, now: Now) -> Option<LogNotice> {
        let mut over = None;
        if let Some(gate) = &mut self.gate {
            gate.settle(now.boot, &mut |passed| over = suppressed_in(passed));
            if last {
                gate.conclude(&mut |passed| over = suppressed_in(passed).or(over));
            }
        }
        over.and_then(|count| self.tell(count, journal, now))
    }

    /// The service is down: an open line is closed, and what is still to be said is said.
    pub fn finish(&mut self, journal: &mut JournalClient, now: Now) -> Option<LogNotice> {
        const PIPE: Source = Source(0);
        let Output { end, gate, limit, suppressed, .. } = self;
        let notice = match (end, gate) {
            (End::File(file), None) => file.finish(PIPE, now.wall, &mut Vec::new()),
            (End::File(file), Some(gate)) => {
                let output = &mut Vec::new();
                let (passed, notice) = (Vec::new(), None);
                let mut sink = FileSink { file, output, source: PIPE, passed, notice, limit, suppressed, now };
                gate.finish(now.boot, &mut |passed| sink.take(passed));
                sink.flush();
                sink.notice
            }
            (End::Journal(relay), gate) => {
                relay.finish(gate, limit, suppressed, journal, now);
                None
            }
        };
        notice.or(self.settle(true, journal, now))
    }

    fn tell(&mut self, count: u64, journal: &mut JournalClient, now: Now) -> Option<LogNotice> {
        self.suppressed += count;
        let text = note_text(count, &self.limit);
        self.note(&text, journal, now)
    }

    fn note(&mut self, text: &str, journal: &mut JournalClient, now: Now) -> Option<LogNotice> {
        match &mut self.end {
            End::File(file) => file.record(format!("rsvc: {text}").as_bytes(), now.wall, &mut Vec::new()),
            End::Journal(relay) => {
                relay.send(WARNING, text.as_bytes(), journal);
                None
            }
        }
    }
}

/// Level of what rsvc itself says in a service's log.
const WARNING: u8 = 4;

fn note_text(count: u64, limit: &str) -> String {
    format!("{count} messages suppressed ({limit})")
}

fn suppressed_in(passed: Passed<'_>) -> Option<u64> {
    match passed {
        Passed::Suppressed(count) => Some(count),
        _ => None,
    }
}

/// Gathers what passes, so that a file is written once for many lines.
struct FileSink<'a> {
    file: &'a mut LogFile,
    output: &'a mut Vec<u8>,
    source: Source,
    passed: Vec<u8>,
    notice: Option<LogNotice>,
    limit: &'a str,
    suppressed: &'a mut u64,
    now: Now,
}

impl FileSink<'_> {
    fn take(&mut self, passed: Passed<'_>) {
        match passed {
            Passed::Begin { prefix, .. } => self.passed.extend_from_slice(prefix),
            Passed::Text(text) => self.passed.extend_from_slice(text),
            Passed::Split => {}
            Passed::End => self.passed.push(b'\n'),
            Passed::Suppressed(count) => {
                self.flush();
                *self.suppressed += count;
                let text = format!("rsvc: {}", note_text(count, self.limit));
                self.keep(|sink| sink.file.record(text.as_bytes(), sink.now.wall, sink.output));
            }
        }
    }

    fn flush(&mut self) {
        let passed = std::mem::take(&mut self.passed);
        self.keep(|sink| sink.file.feed(sink.source, &passed, sink.now.wall, sink.output));
    }

    fn keep(&mut self, store: impl FnOnce(&mut Self) -> Option<LogNotice>) {
        let notice = store(self);
        self.notice = notice.or(self.notice.take());
    }
}

/// The way of a service's output to the journal.
pub(super) struct Relay {
    head: Head,
    /// Bytes that were read and not looked at.
    waiting: Vec<u8>,
    /// The message that has no end yet, at most [`MESSAGE_LENGTH`].
    message: Vec<u8>,
    level: u8,
}

/// What every entry of a unit has.
struct Head {
    unit: String,
    identifier: String,
    invocation: String,
    fields: Vec<(String, String)>,
}

impl Head {
    fn new(unit: &Unit, invocation: &str) -> Head {
        Head {
            unit: unit.name.clone(),
            identifier: unit.logging.identifier.clone(),
            invocation: invocation.to_owned(),
            fields: unit.logging.fields.clone(),
        }
    }
}

impl Relay {
    /// Nothing was read yet.
    pub fn new(unit: &Unit) -> Relay {
        Relay { head: Head::new(unit, ""), waiting: Vec::new(), message: Vec::new(), level: WARNING }
    }

    fn send(&self, level: u8, message: &[u8], journal: &mut JournalClient) {
        journal.send(self.head.record(level, message));
    }

    /// Line by line, until the journal has enough. While none is there its client keeps some and counts the rest: no
    /// service hangs on its output because a journal is gone.
    fn pump(
        &mut self,
        gate: &mut Option<Gate>,
        limit: &str,
        suppressed: &mut u64,
        journal: &mut JournalClient,
        now: Now,
    ) {
        let gate = gate.get_or_insert_with(Gate::open);
        let waiting = std::mem::take(&mut self.waiting);
        let mut rest = waiting.as_slice();
        let full = |journal: &JournalClient| journal.is_waiting() && journal.is_connected();
        while !rest.is_empty() && !full(journal) {
            let end = rest.iter().position(|b| *b == b'\n').map_or(rest.len(), |at| at + 1);
            let (line, more) = rest.split_at(end);
            rest = more;
            gate.feed(line, now.boot, &mut |passed| self.take(passed, limit, suppressed, journal));
        }
        self.waiting = rest.to_vec();
    }

    /// All of it, whatever the journal takes: its client keeps some and counts the rest.
    fn finish(
        &mut self,
        gate: &mut Option<Gate>,
        limit: &str,
        suppressed: &mut u64,
        journal: &mut JournalClient,
        now: Now,
    ) {
        let gate = gate.get_or_insert_with(Gate::open);
        let waiting = std::mem::take(&mut self.waiting);
        gate.feed(&waiting, now.boot, &mut |passed| self.take(passed, limit, suppressed, journal));
        gate.finish(now.boot, &mut |passed| self.take(passed, limit, suppressed, journal));
    }

    fn take(&mut self, passed: Passed<'_>, limit: &str, suppressed: &mut u64, journal: &mut JournalClient) {
        match passed {
            Passed::Begin { level, .. } => self.level = level,
            Passed::Text(text) => self.message.extend_from_slice(text),
            Passed::Split | Passed::End => {
                let mut message = std::mem::take(&mut self.message);
                // As journald does with what it reads itself: an empty line is no message.
                if !message.is_empty() {
                    self.send(self.level, &message, journal);
                }
                message.clear();
                if message.capacity() <= MESSAGE_LENGTH / 8 {
                    self.message = message;
                }
            }
            Passed::Suppressed(count) => {
                *suppressed += count;
                self.send(WARNING, note_text(count, limit).as_bytes(), journal);
            }
        }
    }
}

impl Head {
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

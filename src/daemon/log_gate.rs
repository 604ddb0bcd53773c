//! Which messages of a service may pass into its log: `logging.level_max` and the rate limit. Pure: bytes and the time
//! come as arguments.
//!
//! ```text
//! bytes ──▶ lines ──▶ level of `<N>` ──▶ level_max ──▶ burst in the window ──▶ Passed::Begin, Text, End
//!                                           │                   │
//!                                        dropped             counted ──▶ Passed::Suppressed, once a window
//! ```
//!
//! What decides about a line are its first three bytes at most, so nothing more of it is ever held back. A line that
//! goes on for more than [`MESSAGE_LENGTH`] counts as one more message for each such piece, or a service that prints no
//! newlines would be free of the limit.

use crate::supervise::Moment;
use crate::unit::{Logging, RateLimit};

/// Level of a line that does not say it by a `<N>` in front (sd-daemon(3)): info, as in the journal.
const INFO: u8 = 6;

/// Bytes of one message at most, as journald's `LineMax=`.
pub(super) const MESSAGE_LENGTH: usize = 48 * 1024;

/// Levels are counted in groups, as journald does it: emerg to crit, err, warning, notice, the rest. So a flood of small
/// talk does not silence an error.
const GROUPS: usize = 5;

/// A part of what passes, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed<'a> {
    /// A message begins; `prefix` is the `<N>` that said its level, or nothing.
    Begin {
        /// 0 (emerg) to 7 (debug).
        level: u8,
        /// As it was written.
        prefix: &'a [u8],
    },
    /// More of it.
    Text(&'a [u8]),
    /// So much of the line is one message; what follows is the next one of the same line.
    Split,
    /// The line is over.
    End,
    /// So many messages were dropped in the window that is over.
    Suppressed(u64),
}

/// See the module documentation.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    level_max: u8,
    rate: Option<Rate>,
    line: Line,
}

/// What is known of the present line.
#[derive(Clone, Debug)]
enum Line {
    /// It has not begun, or may yet turn out to begin with `<N>`.
    Undecided { held: Vec<u8> },
    /// It passes.
    Passing { level: u8, length: usize },
    /// It is dropped to its end.
    Dropping { level: u8, length: usize, counted: bool },
}

/// The messages of one window.
#[derive(Clone, Debug)]
struct Rate {
    limit: RateLimit,
    /// When the present window began.
    since: Option<Moment>,
    passed: [u64; GROUPS],
    suppressed: u64,
}

impl Gate {
    /// `None` where everything passes.
    pub fn of(logging: &Logging) -> Option<Gate> {
        (logging.level_max < 7 || logging.rate_limit.is_some()).then(|| Gate {
            level_max: logging.level_max,
            rate: logging.rate_limit.map(Rate::new),
            line: Line::Undecided { held: Vec::new() },
        })
    }

    /// One that only finds lines and their levels.
    pub fn open() -> Gate {
        Gate { level_max: 7, rate: None, line: Line::Undecided { held: Vec::new() } }
    }

    /// The stream begins within a line, of which the beginning has passed an earlier gate.
    pub fn resume(&mut self) {
        self.line = Line::Passing { level: INFO, length: 0 };
    }

    /// Does it already do what `logging` says?
    pub fn is_for(&self, logging: &Logging) -> bool {
        self.level_max == logging.level_max && self.rate.as_ref().map(|rate| rate.limit) == logging.rate_limit
    }

    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8], now: Moment, sink: &mut dyn FnMut(Passed<'_>)) {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let (text, ends) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            self.piece(text, ends, now, sink);
            if ends {
                self.end(sink);
            }
        }
    }

    /// The stream is over: a line without its end is one.
    pub fn finish(&mut self, now: Moment, sink: &mut dyn FnMut(Passed<'_>)) {
        if let Line::Undecided { held } = &self.line
            && !held.is_empty()
        {
            self.piece(&[], true, now, sink);
        }
        self.end(sink);
    }

    /// May a whole message pass that came another way (syslog)?
    pub fn admits(&mut self, level: u8, now: Moment, sink: &mut dyn FnMut(Passed<'_>)) -> bool {
        level <= self.level_max && self.rate.as_mut().is_none_or(|rate| rate.admits(level, now, sink))
    }

    /// Tells what was suppressed in a window that is over.
    pub fn settle(&mut self, now: Moment, sink: &mut dyn FnMut(Passed<'_>)) {
        if let Some(rate) = &mut self.rate {
            rate.settle(now, sink);
        }
    }

    /// Tells what was suppressed in a window that is not over, as nobody will tell it afterwards.
    pub fn conclude(&mut self, sink: &mut dyn FnMut(Passed<'_>)) {
        if let Some(rate) = &mut self.rate {
            rate.conclude(sink);
        }
    }

    /// When the window ends in which something was suppressed.
    pub fn due(&self) -> Option<Moment> {
        self.rate.as_ref().filter(|rate| rate.suppressed > 0)?.end()
    }

    /// Messages suppressed in the present window, which are still to be told.
    pub fn untold(&self) -> u64 {
        self.rate.as_ref().map_or(0, |rate| rate.suppressed)
    }

    /// A part of a line, or all of it.
    fn piece(&mut self, text: &[u8], ends: bool, now: Moment, sink: &mut dyn FnMut(Passed<'_>)) {
        let mut rest = text;
        if let Line::Undecided { held } = &mut self.line {
            let missing = 3usize.saturating_sub(held.len()).min(rest.len());
            let before = held.len();
            held.extend_from_slice(&rest[..missing]);
            if !ends && held.len() < 3 && could_be_prefix(held) {
                return;
            }
            let begin = std::mem::take(held);
            // What belongs to the prefix is gone from the text; the rest of what was held is text again.
            let (level, prefix) = prefix_of(&begin).unwrap_or((INFO, 0));
            rest = &rest[missing.min(prefix.saturating_sub(before))..];
            self.begin(level, &begin[..prefix], now, sink);
            if prefix < before {
                self.text(&begin[prefix..before], now, sink);
            }
        }
        self.text(rest, now, sink);
    }

    fn begin(&mut self, level: u8, prefix: &[u8], now: Moment, sink: &mut dyn FnMut(Passed<'_>)) {
        self.line = if level > self.level_max {
            Line::Dropping { level, length: 0, counted: false }
        } else if self.rate.as_mut().is_none_or(|rate| rate.admits(level, now, sink)) {
            sink(Passed::Begin { level, prefix });
            Line::Passing { level, length: 0 }
        } else {
            Line::Dropping { level, length: 0, counted: true }
        };
    }

    /// Text of a line whose level is known.
    fn text(&mut self, text: &[u8], now: Moment, sink: &mut dyn FnMut(Passed<'_>)) {
        let mut rest = text;
        while !rest.is_empty() {
            let length = match &self.line {
                Line::Passing { length, .. } | Line::Dropping { length, .. } => *length,
                Line::Undecided { .. } => return,
            };
            if length == MESSAGE_LENGTH {
                self.next_message(now, sink);
                continue;
            }
            let (piece, more) = rest.split_at(rest.len().min(MESSAGE_LENGTH - length));
            rest = more;
            match &mut self.line {
                Line::Passing { length, .. } => {
                    *length += piece.len();
                    sink(Passed::Text(piece));
                }
                Line::Dropping { length, .. } => *length += piece.len(),
                Line::Undecided { .. } => {}
            }
        }
    }

    /// The line goes on after a whole message of it. Once something of it was dropped, the rest is too: there is no
    /// line of which only the middle is missing.
    fn next_message(&mut self, now: Moment, sink: &mut dyn FnMut(Passed<'_>)) {
        match self.line {
            Line::Passing { level, .. } if self.rate.as_mut().is_none_or(|rate| rate.admits(level, now, sink)) => {
                sink(Passed::Split);
                self.line = Line::Passing { level, length: 0 };
            }
            Line::Passing { level, .. } => {
                sink(Passed::End);
                self.line = Line::Dropping { level, length: 0, counted: true };
            }
            Line::Dropping { level, counted, .. } => {
                if let Some(rate) = self.rate.as_mut().filter(|_| counted) {
                    rate.drop_one(now, sink);
                }
                self.line = Line::Dropping { level, length: 0, counted };
            }
            Line::Undecided { .. } => {}
        }
    }

    fn end(&mut self, sink: &mut dyn FnMut(Passed<'_>)) {
        if let Line::Passing { .. } = self.line {
            sink(Passed::End);
        }
        self.line = Line::Undecided { held: Vec::new() };
    }
}

impl Rate {
    fn new(limit: RateLimit) -> Rate {
        Rate { limit, since: None, passed: [0; GROUPS], suppressed: 0 }
    }

    fn end(&self) -> Option<Moment> {
        let interval = u64::try_from(self.limit.interval.as_micros()).unwrap_or(u64::MAX);
        self.since.map(|since| Moment(since.0.saturating_add(interval)))
    }

    fn settle(&mut self, now: Moment, sink: &mut dyn FnMut(Passed<'_>)) {
        if self.end().is_some_and(|end| end <= now) {
            self.since = None;
            self.passed = [0; GROUPS];
            self.conclude(sink);
        }
    }

    fn conclude(&mut self, sink: &mut dyn FnMut(Passed<'_>)) {
        if self.suppressed > 0 {
            sink(Passed::Suppressed(std::mem::take(&mut self.suppressed)));
        }
    }

    fn admits(&mut self, level: u8, now: Moment, sink: &mut dyn FnMut(Passed<'_>)) -> bool {
        self.settle(now, sink);
        self.since.get_or_insert(now);
        let passed = &mut self.passed[group(level)];
        if *passed < self.limit.burst {
            *passed += 1;
            return true;
        }
        self.suppressed += 1;
        false
    }

    fn drop_one(&mut self, now: Moment, sink: &mut dyn FnMut(Passed<'_>)) {
        self.settle(now, sink);
        self.since.get_or_insert(now);
        self.suppressed += 1;
    }
}

fn group(level: u8) -> usize {
    match level {
        0..=2 => 0,
        3 => 1,
        4 => 2,
        5 => 3,
        _ => 4,
    }
}

/// Level and length of a `<N>`; anything else, such as `<8>` or `<999>`, is text.
fn prefix_of(begin: &[u8]) -> Option<(u8, usize)> {
    match begin {
        [b'<', digit @ b'0'..=b'7', b'>'] => Some((digit - b'0', 3)),
        _ => None,
    }
}

fn could_be_prefix(begin: &[u8]) -> bool {
    matches!(begin, [] | [b'<'] | [b'<', b'0'..=b'7'])
}

#[cfg(test)]
#[path = "log_gate_tests.rs"]
mod tests;

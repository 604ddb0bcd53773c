//! The gate of a unit as its output meets it: what passes is counted where it does not, and written where it does.
//!
//! A line of which nothing has passed yet, as it is dropped or may turn out to be, stays in the pipe until it is whole:
//! the next daemon, which knows nothing of it, meets it from its beginning. Only a line for which the pipe is too small
//! is taken out of it before.

use super::log_block::Block;
use super::log_file::{LogFile, LogNotice, Source};
use super::log_gate::{Gate, Passed};
use super::log_output::Now;
use super::log_pipe::{OutputPipe, PipeOrigin, PipeTurn, READ_LIMIT, Scratch};
use crate::unit::{Logging, TimeSpan};
use std::io;

/// Level of what rsvc itself says in a service's log.
pub(super) const WARNING: u8 = 4;

/// What may pass, and how much did not.
#[derive(Default)]
pub(super) struct Rules {
    pub gate: Option<Box<Gate>>,
    /// The words of the note: what the limit is.
    limit: String,
    /// Messages suppressed since the unit was started, as far as they were told.
    pub suppressed: u64,
    /// Bytes at the front of the pipe that the gate has seen: the beginning of a line of which nothing has passed.
    seen: usize,
    /// Something of the present line has passed.
    has_passed: bool,
}

impl Rules {
    /// Takes over what a unit says now. `true`: it is not what was said before.
    pub fn adapt(&mut self, logging: &Logging) -> bool {
        self.limit = logging.rate_limit.map_or_else(String::new, |limit| {
            format!("more than {} in {}: logging.rate_limit_burst", limit.burst, TimeSpan(Some(limit.interval)))
        });
        match &self.gate {
            // The window goes on over a restart, or a service that crashes again and again would have a burst each time.
            Some(gate) if gate.is_for(logging) => false,
            _ => {
                self.gate = Gate::of(logging).map(Box::new);
                self.seen = 0;
                true
            }
        }
    }

    /// A line is open in the log, of which an earlier daemon has let the beginning pass.
    pub fn resume(&mut self) {
        if let Some(gate) = &mut self.gate {
            gate.resume();
            self.has_passed = true;
        }
    }

    /// Messages suppressed that the log does not tell of yet.
    pub fn untold(&self) -> u64 {
        self.gate.as_ref().map_or(0, |gate| gate.untold())
    }

    /// Bytes through the gate.
    pub fn feed(&mut self, bytes: &[u8], now: Now, sink: &mut dyn FnMut(&mut Rules, Passed<'_>)) {
        let mut gate = self.gate.take().unwrap_or_else(|| Box::new(Gate::open()));
        gate.feed(bytes, now.boot, &mut |passed| sink(self, passed));
        self.gate = Some(gate);
    }

    /// The stream is over.
    pub fn end(&mut self, now: Now, sink: &mut dyn FnMut(&mut Rules, Passed<'_>)) {
        let mut gate = self.gate.take().unwrap_or_else(|| Box::new(Gate::open()));
        gate.finish(now.boot, &mut |passed| sink(self, passed));
        self.gate = Some(gate);
    }

    /// So many messages are told of now, in these words.
    pub fn suppressed(&mut self, count: u64) -> String {
        self.suppressed += count;
        format!("{count} messages suppressed ({})", self.limit)
    }

    /// Takes what is there into a file.
    ///
    /// # Errors
    /// Of the pipe.
    pub fn turn(
        &mut self,
        pipe: &mut OutputPipe,
        file: &mut LogFile,
        scratch: &mut Scratch,
        now: Now,
    ) -> io::Result<(PipeTurn, Option<LogNotice>)> {
        let Some(count) = pipe.look(scratch, READ_LIMIT)? else { return Ok((PipeTurn::Idle, None)) };
        if count == 0 {
            return Ok((PipeTurn::Ended, self.finish(pipe, file, scratch, now)));
        }
        let source = pipe.source();
        let Scratch { input, output, staging } = &mut *scratch;
        let mut origin = PipeOrigin { pipe, staging };
        let mut block = Block::new(file, now.wall, output, &mut origin);
        let mut passed = Vec::new();
        let mut taken = 0;
        for piece in input[self.seen.min(count)..count].split_inclusive(|b| *b == b'\n') {
            self.feed(piece, now, &mut |rules, part| rules.take(part, source, &mut passed, &mut block));
            self.seen += piece.len();
            let ends = piece.ends_with(b"\n");
            if ends || self.has_passed {
                taken += self.seen;
                block.piece(source, &passed, std::mem::take(&mut self.seen));
                self.has_passed &= !ends;
            }
            passed.clear();
        }
        let notice = block.close();
        if taken == 0 {
            if !pipe.is_full(count) {
                return Ok((PipeTurn::Stuck, notice));
            }
            pipe.consume(std::mem::take(&mut self.seen), &scratch.staging);
        }
        let rest = pipe.pace(count, now.wall);
        scratch.shrink();
        Ok((PipeTurn::Read { bytes: count, rest }, notice))
    }

    /// The service is down: an open line is closed, and one of which nothing has passed is decided about.
    pub fn finish(
        &mut self,
        pipe: &mut OutputPipe,
        file: &mut LogFile,
        scratch: &mut Scratch,
        now: Now,
    ) -> Option<LogNotice> {
        let source = pipe.source();
        let Scratch { output, staging, .. } = scratch;
        let mut origin = PipeOrigin { pipe, staging };
        let mut block = Block::new(file, now.wall, output, &mut origin);
        let mut passed = Vec::new();
        self.end(now, &mut |rules, part| rules.take(part, source, &mut passed, &mut block));
        self.has_passed = false;
        block.piece(source, &passed, std::mem::take(&mut self.seen));
        block.close()
    }

    fn take(&mut self, part: Passed<'_>, source: Source, passed: &mut Vec<u8>, block: &mut Block<'_>) {
        match part {
            Passed::Begin { prefix, .. } => {
                self.has_passed = true;
                passed.extend_from_slice(prefix);
            }
            Passed::Text(text) => passed.extend_from_slice(text),
            Passed::Split => {}
            Passed::End => passed.push(b'\n'),
            Passed::Suppressed(count) => {
                block.piece(source, passed, 0);
                passed.clear();
                block.record(format!("rsvc: {}", self.suppressed(count)).as_bytes());
            }
        }
    }
}

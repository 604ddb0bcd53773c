//! What one turn appends to a log file, piece by piece: the time before each line, and never more in one write than
//! goes into one file.

use super::log_file::{LogFile, LogNotice, Lost, Source, WRITE_SIZE};
use super::staging::Note;
use super::timestamp;
use crate::control::STAMP_LENGTH;
use std::io::{self, BufRead};
use std::time::SystemTime;

/// Where the bytes of a block come from, and stay until the file has them.
pub(super) trait Origin {
    /// What stands in the note is about to be done.
    fn announce(&mut self, note: &Note);
    /// It is done, or given up and counted: so many bytes are done with.
    fn settle(&mut self, raw: usize);
}

/// Bytes that are nowhere else any more.
pub(super) struct Nowhere;

impl Origin for Nowhere {
    fn announce(&mut self, _: &Note) {}
    fn settle(&mut self, _: usize) {}
}

/// Gathers pieces and writes them; [`close`](Block::close) it at the end.
pub(super) struct Block<'a> {
    log: &'a mut LogFile,
    output: &'a mut Vec<u8>,
    origin: &'a mut dyn Origin,
    stamp: [u8; STAMP_LENGTH],
    /// What of `output` is about the file and not from the stream: what is missing, or the end of somebody else's line.
    lead: usize,
    /// Bytes of the origin that `output` stands for.
    raw: usize,
    /// Why the file cannot be written to.
    error: Option<io::Error>,
    notice: Option<LogNotice>,
}

impl<'a> Block<'a> {
    /// Nothing yet; `output` is a buffer to be used.
    pub fn new(log: &'a mut LogFile, now: SystemTime, output: &'a mut Vec<u8>, origin: &'a mut dyn Origin) -> Self {
        output.clear();
        let stamp = timestamp::rfc3339(now);
        Block { log, output, origin, stamp, lead: 0, raw: 0, error: None, notice: None }
    }

    /// Adds bytes of the stream, which stand for themselves.
    pub fn lines(&mut self, source: Source, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let line = rest;
            // memchr in disguise; reading from memory cannot fail.
            let length = rest.skip_until(b'\n').unwrap_or(line.len());
            self.piece(source, &line[..length], length);
        }
    }

    /// Adds a line or a part of one, which stands for `raw` bytes of the origin.
    pub fn piece(&mut self, source: Source, text: &[u8], raw: usize) {
        if text.is_empty() {
            self.raw += raw;
            return;
        }
        if let Some(open) = self.log.open_line.filter(|open| *open != source) {
            self.end_line(open);
        }
        let continued = self.log.open_line.is_some();
        if self.output.is_empty() {
            self.begin(continued);
        }
        let mark = self.output.len();
        self.render(source, text, continued);
        self.find_room(mark, continued);
        self.raw += raw;
        if self.output.len() >= WRITE_SIZE {
            self.flush();
        }
    }

    /// Adds a whole message; newlines inside make several lines.
    pub fn record(&mut self, text: &[u8]) {
        for line in text.split_inclusive(|b| *b == b'\n') {
            self.piece(Source::RECORD, line, 0);
        }
        self.end_line(Source::RECORD);
    }

    /// Ends the line of this source, if one is open.
    pub fn end_line(&mut self, source: Source) {
        if self.log.open_line == Some(source) {
            self.piece(source, b"\n", 0);
        }
    }

    /// Writes what is left. Once each: what the administrator should know.
    pub fn close(mut self) -> Option<LogNotice> {
        self.flush();
        self.notice
    }

    fn render(&mut self, source: Source, text: &[u8], continued: bool) {
        if !continued {
            self.output.extend_from_slice(&self.stamp);
            self.output.push(b' ');
        }
        self.output.extend_from_slice(text);
        self.log.open_line = (text.last() != Some(&b'\n')).then_some(source);
        if let Some(tail) = &mut self.log.tail {
            tail.feed(text);
        }
    }

    /// What stands behind `mark` goes into the next block, or the next file, where there is no room for it.
    fn find_room(&mut self, mark: usize, continued: bool) {
        let alone = mark == self.lead;
        if self.error.is_some() || self.log.has_room(self.output.len(), continued, alone) {
            return;
        }
        let piece = self.output.split_off(mark);
        if !alone {
            self.flush();
            self.begin_with(&piece, continued);
        }
        if self.error.is_none() && !self.log.has_room(self.lead + piece.len(), continued, true) {
            self.error = self.log.rotate().err();
            self.begin_with(&piece, continued);
        } else if alone {
            self.output.extend_from_slice(&piece);
        }
    }

    fn begin_with(&mut self, piece: &[u8], continued: bool) {
        self.begin(continued);
        self.output.extend_from_slice(piece);
    }

    /// The first bytes of a write; `continued`: what comes next belongs to the line that is open.
    fn begin(&mut self, continued: bool) {
        self.output.clear();
        if self.error.is_none() {
            self.error = self.log.ensure_open().err();
        }
        if self.log.unfinished && (!continued || self.log.lost.is_some()) {
            self.output.push(b'\n');
        }
        if let Some(lost) = self.log.lost {
            self.output.extend_from_slice(&self.stamp);
            self.output.extend_from_slice(missing(lost).as_bytes());
        }
        self.lead = self.output.len();
    }

    /// Writes what has gathered; what cannot be written is counted, and named in the file when writing works again.
    fn flush(&mut self) {
        let raw = std::mem::take(&mut self.raw);
        if self.output.is_empty() {
            if raw > 0 {
                self.origin.settle(raw);
            }
            return;
        }
        let written = match self.error.take() {
            Some(error) => Err((0, error)),
            None => self.log.append(self.output, raw, self.origin),
        };
        match written {
            Ok(()) => {
                let recovered = self.log.lost.take();
                let path = || self.log.path();
                let notice = recovered.map(|lost| LogNotice::Recovered { path: path(), lost: lost.bytes });
                self.notice = notice.or(self.notice.take());
            }
            Err((kept, error)) => self.failed(kept, &error),
        }
        self.output.clear();
        self.lead = 0;
        self.origin.settle(raw);
    }

    fn failed(&mut self, kept: usize, error: &io::Error) {
        let told = kept >= self.lead;
        let gone = (self.output.len() - kept.max(self.lead)) as u64;
        let before = self.log.lost.filter(|_| !told);
        if self.log.lost.is_none() {
            self.notice = Some(LogNotice::Losing { path: self.log.path(), error: error.to_string() });
        }
        let Lost { bytes, more } = before.unwrap_or(Lost { bytes: 0, more: false });
        self.log.lost = Some(Lost { bytes: bytes + gone, more });
        // What follows of this line would stand there without its beginning.
        self.log.open_line = None;
    }
}

fn missing(lost: Lost) -> String {
    match lost {
        Lost { bytes, more: false } => format!(" rsvc: {bytes} bytes of output are missing here\n"),
        Lost { bytes: 0, more: true } => {
            " rsvc: output is missing here; how much is not known, as the daemon was killed\n".to_owned()
        }
        Lost { bytes, more: true } => {
            format!(" rsvc: {bytes} bytes of output are missing here, and what a killed daemon had not counted\n")
        }
    }
}

//! The last lines of a service's output, for the message of a failed start. Pure, bounded memory.

use std::collections::VecDeque;

/// Lines kept.
const LINES: usize = 30;

/// Bytes kept of each line.
const LINE_LENGTH: usize = 1024;

/// At most 30 lines of at most 1 KiB.
#[derive(Clone, Debug, Default)]
pub(super) struct LogTail {
    lines: VecDeque<Vec<u8>>,
    /// The line that has no newline yet.
    open: Option<Vec<u8>>,
}

impl LogTail {
    /// Takes the next bytes of the stream.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for piece in bytes[last_lines(bytes)..].split_inclusive(|b| *b == b'\n') {
            let line = self.open.get_or_insert_default();
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            let room = LINE_LENGTH - line.len();
            line.extend_from_slice(&text[..text.len().min(room)]);
            if text.len() < piece.len() {
                if self.lines.len() == LINES {
                    self.lines.pop_front();
                }
                self.lines.extend(self.open.take());
            }
        }
    }

    /// The last `count` lines, oldest first, safe for a terminal: control characters but the tab are replaced, and
    /// what is not UTF-8 as well.
    pub(super) fn lines(&self, count: usize) -> Vec<String> {
        let all = self.lines.iter().chain(&self.open).rev().take(count);
        let mut lines: Vec<String> = all.map(|line| printable(line)).collect();
        lines.reverse();
        lines
    }
}

/// Where the last `LINES + 1` line ends of `bytes` begin: what stands before cannot be among the last lines.
fn last_lines(bytes: &[u8]) -> usize {
    let ends = bytes.iter().enumerate().rev().filter(|(_, b)| **b == b'\n');
    ends.map(|(at, _)| at + 1).nth(LINES).unwrap_or(0)
}

fn printable(line: &[u8]) -> String {
    let harmless = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    String::from_utf8_lossy(line).chars().map(harmless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_thirty_lines_stay() {
        let mut tail = LogTail::default();
        let text: String = (0..100).map(|n| format!("line {n}\n")).collect();
        tail.feed(text.as_bytes());
        tail.feed(b"open");
        assert_eq!(tail.lines(3), ["line 98", "line 99", "open"]);
        assert_eq!(tail.lines(100).len(), 31);
        assert_eq!(tail.lines(100)[0], "line 70");
        for n in 0..40 {
            tail.feed(format!(" {n}\n").as_bytes());
        }
        assert_eq!(tail.lines(100)[0], " 10");
        assert_eq!(tail.lines(100).len(), 30);
    }

    #[test]
    fn chunks_do_not_matter() {
        let text: String = (0..200).map(|n| format!("{n}{}\n", "x".repeat(n * 7 % 90))).collect();
        let mut whole = LogTail::default();
        whole.feed(text.as_bytes());
        for size in [1, 3, 64, 1000] {
            let mut parts = LogTail::default();
            text.as_bytes().chunks(size).for_each(|c| parts.feed(c));
            assert_eq!(parts.lines(50), whole.lines(50), "{size}");
        }
    }

    #[test]
    fn a_giant_line_is_cut_and_escape_codes_are_disarmed() {
        let mut tail = LogTail::default();
        (0..1000).for_each(|_| tail.feed(&[b'x'; 10_000]));
        assert_eq!(tail.lines(1)[0].len(), LINE_LENGTH);
        tail.feed(b"\n\x1b[2Jgone\0\xff\tx\r\n");
        assert_eq!(tail.lines(1), ["\u{fffd}[2Jgone\u{fffd}\u{fffd}\tx\u{fffd}"]);
    }
}

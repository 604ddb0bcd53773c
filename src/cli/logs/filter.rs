//! Which lines of a file are wanted: by time, text and priority. The journal is asked for the same by journalctl.

use super::super::time;
use super::file::{LogFiles, Sink, split_time};
use std::collections::VecDeque;
use std::io;
use std::time::SystemTime;

/// Priority of a line that does not say it by a `<N>` in front (sd-daemon(3)): info, as in the journal.
const INFO: u8 = 6;

/// What is wanted; the default wants everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// From this time on.
    pub since: Option<SystemTime>,
    /// Up to this time, which is not included.
    pub until: Option<SystemTime>,
    /// Lines that contain this text.
    pub grep: Option<String>,
    /// This priority and more urgent ones (smaller numbers).
    pub priority: Option<u8>,
}

impl Filter {
    /// Do capitals matter? When the text has some.
    pub fn minds_case(&self) -> bool {
        self.grep.as_ref().is_some_and(|text| text.chars().any(char::is_uppercase))
    }

    /// For the lines of one file, in their order.
    pub fn sieve(&self) -> Sieve {
        let case = self.minds_case();
        Sieve {
            until: self.until.map(time::print),
            over: false,
            grep: self.grep.as_ref().map(|text| if case { text.clone() } else { text.to_lowercase() }),
            case,
            priority: self.priority,
        }
    }
}

/// Says of each line whether it is wanted. The time a line begins at is left to [`LogFiles::read`].
#[derive(Debug)]
pub struct Sieve {
    until: Option<String>,
    /// The last line with a time came too late.
    over: bool,
    grep: Option<String>,
    case: bool,
    priority: Option<u8>,
}

impl Sieve {
    /// Is this line wanted?
    pub fn lets_pass(&mut self, line: &[u8]) -> bool {
        let (time, message) = split_time(line);
        if let (Some(until), Some(time)) = (&self.until, time) {
            self.over = time >= until.as_str();
        }
        if self.over || self.priority.is_some_and(|wanted| priority(message) > wanted) {
            return false;
        }
        let Some(text) = &self.grep else { return true };
        let message = String::from_utf8_lossy(message);
        if self.case { message.contains(text) } else { message.to_lowercase().contains(text) }
    }

    /// Can lines be left out by anything but their number?
    fn lets_all_pass(&self) -> bool {
        self.until.is_none() && self.grep.is_none() && self.priority.is_none()
    }
}

fn priority(message: &[u8]) -> u8 {
    match message {
        [b'<', digit @ b'0'..=b'7', b'>', ..] => digit - b'0',
        _ => INFO,
    }
}

/// Hands over the last `count` lines (or all) that are wanted.
///
/// # Errors
/// As [`LogFiles::read`].
pub fn read(log: &mut LogFiles, count: Option<u32>, filter: &Filter, sink: &mut Sink<'_>) -> io::Result<()> {
    let since = filter.since.map(time::print);
    let mut sieve = filter.sieve();
    if sieve.lets_all_pass() {
        return log.read(count, since.as_deref(), sink);
    }
    let Some(count) = count else {
        return log.read(None, since.as_deref(), &mut |line| if sieve.lets_pass(line) { sink(line) } else { Ok(()) });
    };
    // The last of those that pass: nobody knows how far back they reach.
    let (count, mut last) = (count as usize, VecDeque::new());
    log.read(None, since.as_deref(), &mut |line| {
        if sieve.lets_pass(line) {
            last.push_back(line.to_vec());
            if last.len() > count {
                last.pop_front();
            }
        }
        Ok(())
    })?;
    last.iter().try_for_each(|line| sink(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "2026-11-21T22:00:01.000000Z one\n2026-11-21T22:00:02.000000Z <3>Two\nof two\n\
                        2026-11-21T22:00:03.000000Z three two\n";

    fn read_with(count: Option<u32>, filter: &Filter) -> Vec<String> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("web.log");
        std::fs::write(&path, TEXT).expect("write");
        let mut got = Vec::new();
        read(&mut LogFiles::new(path), count, filter, &mut |line| {
            got.push(String::from_utf8_lossy(split_time(line).1).into_owned());
            Ok(())
        })
        .expect("read");
        got
    }

    #[test]
    fn lines_are_chosen_by_text_priority_and_time_and_counted_afterwards() {
        let all = Filter::default();
        let grep = |text: &str| Filter { grep: Some(text.into()), ..Filter::default() };
        let at = |text: &str| time::parse(text);
        assert_eq!(read_with(None, &all).len(), 4);
        assert_eq!(read_with(None, &grep("two")), ["<3>Two", "of two", "three two"]);
        assert_eq!(read_with(None, &grep("Two")), ["<3>Two"]);
        assert_eq!(read_with(Some(1), &grep("two")), ["three two"]);
        assert_eq!(read_with(Some(0), &grep("two")), Vec::<String>::new());
        assert_eq!(read_with(None, &grep("2026")), Vec::<String>::new(), "the time is not the message");
        assert_eq!(read_with(None, &Filter { priority: Some(3), ..all.clone() }), ["<3>Two"]);
        assert_eq!(read_with(None, &Filter { priority: Some(6), ..all.clone() }).len(), 4);
        let span = Filter { since: at("2026-11-21T22:00:02Z"), until: at("2026-11-21T22:00:03Z"), ..Filter::default() };
        assert_eq!(read_with(None, &span), ["<3>Two", "of two"], "a line without a time belongs to the one before");
    }
}

//! A limit on what one service can make the daemon write to its own log.

use crate::supervise::Moment;
use std::time::Duration;

/// Lines within [`WINDOW`] before the rest is only counted.
const LINES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(30);

/// What was said about one service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Complaints {
    since: Moment,
    said: u32,
    hidden: u64,
}

/// Whether a line is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Yes; so many before it were not.
    Say {
        /// Lines that were left out since the last one.
        left_out: u64,
    },
    /// Yes, and it is the last for a while.
    SayLast,
    /// No.
    Hide,
}

impl Complaints {
    /// Counts one line.
    pub fn admit(&mut self, now: Moment) -> Admission {
        let mut left_out = 0;
        if self.said == 0 || now.since(self.since) >= WINDOW {
            left_out = std::mem::take(&mut self.hidden);
            (self.since, self.said) = (now, 0);
        }
        self.said = self.said.saturating_add(1);
        match self.said {
            LINES => Admission::SayLast,
            said if said < LINES => Admission::Say { left_out },
            _ => {
                self.hidden += 1;
                Admission::Hide
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_ten_lines_and_one_count() {
        let mut complaints = Complaints::default();
        let at = |seconds: u64| Moment(seconds * 1_000_000 + 5);
        let mut flood = (0..1000).map(|_| complaints.admit(at(0))).collect::<Vec<_>>();
        assert_eq!(flood[..9], [Admission::Say { left_out: 0 }; 9]);
        assert_eq!(flood[9], Admission::SayLast);
        assert!(flood.drain(10..).all(|admission| admission == Admission::Hide));
        assert_eq!(complaints.admit(at(29)), Admission::Hide);
        assert_eq!(complaints.admit(at(30)), Admission::Say { left_out: 991 });
        assert_eq!(complaints.admit(at(30)), Admission::Say { left_out: 0 });
    }

    #[test]
    fn now_and_then_a_line_is_never_hidden() {
        let mut complaints = Complaints::default();
        for minute in 0..1000 {
            assert_eq!(complaints.admit(Moment(minute * 60_000_000)), Admission::Say { left_out: 0 });
        }
    }
}

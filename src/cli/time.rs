//! Points in time for people: how long ago that was. The clock is read by the caller.

use crate::control::{format_rfc3339, parse_rfc3339};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds of a day.
const DAY: u64 = 86_400;

/// Reads RFC 3339 and its shorter forms; `None` when it is no such text.
pub fn parse(text: &str) -> Option<SystemTime> {
    let usec = parse_rfc3339(text)?;
    let distance = Duration::from_micros(usec.unsigned_abs());
    if usec < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
}

/// `2026-11-21T22:00:00.123456Z`, as the daemon writes it before each line of a log file.
pub fn print(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    format_rfc3339(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// `2026-11-21 22:00:00 UTC; 3 min ago`; text that is no time is shown as it is.
pub fn absolute_and_relative(text: &str, now: SystemTime) -> String {
    let Some(time) = parse(text) else { return super::terminal::harmless(text) };
    let plain = print(time);
    format!("{} {} UTC; {}", &plain[..10], &plain[11..19], relative(time, now))
}

/// `3 min ago`, `in 5 s`.
pub fn relative(time: SystemTime, now: SystemTime) -> String {
    match now.duration_since(time) {
        Ok(past) => format!("{} ago", coarse(past)),
        Err(error) => format!("in {}", coarse(error.duration())),
    }
}

/// `3min` for a column; empty when it is no time.
pub fn age(text: &str, now: SystemTime) -> String {
    let span = parse(text).map(|time| now.duration_since(time).unwrap_or(Duration::ZERO));
    span.map_or_else(String::new, |span| coarse(span).replace(' ', ""))
}

/// The one or two largest units: `40 ms`, `12 s`, `3 min`, `2 h 5 min`, `4 d 3 h`.
pub fn coarse(span: Duration) -> String {
    let seconds = span.as_secs();
    let two = |large: u64, unit: &str, small: u64, lesser: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {lesser}"),
    };
    match seconds {
        0 => format!("{} ms", span.as_millis()),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..DAY => two(seconds / 3600, "h", seconds / 60 % 60, "min"),
        _ => two(seconds / DAY, "d", seconds / 3600 % 24, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn spans_are_told_in_one_or_two_units() {
        let table = [
            (Duration::from_millis(40), "40 ms"),
            (Duration::from_secs(59), "59 s"),
            (Duration::from_secs(60), "1 min"),
            (Duration::from_secs(7500), "2 h 5 min"),
            (Duration::from_secs(7200), "2 h"),
            (Duration::from_secs(4 * 86400 + 3 * 3600), "4 d 3 h"),
        ];
        for (span, expected) in table {
            assert_eq!(coarse(span), expected);
        }
        let now = at(1_795_298_400);
        assert_eq!(absolute_and_relative("2026-11-21T21:57:00.5Z", now), "2026-11-21 21:57:00 UTC; 2 min ago");
        assert_eq!(relative(at(1_795_298_405), now), "in 5 s");
        assert_eq!(absolute_and_relative("soon", now), "soon");
    }
}

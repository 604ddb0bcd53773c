//! The clock's points in time as the text of `control`: RFC 3339 in UTC, `2026-11-21T22:00:00.123456Z`.
//!
//! The clock is not read here.

use crate::control::{STAMP_LENGTH, format_rfc3339, rfc3339_stamp};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn unix_usec(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// The text of a point in time between 1970 and 9999; what lies outside is shown as the nearest of both.
pub fn rfc3339(time: SystemTime) -> [u8; STAMP_LENGTH] {
    rfc3339_stamp(unix_usec(time))
}

/// The same as a string, for status and messages.
pub fn text(time: SystemTime) -> String {
    format_rfc3339(unix_usec(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_read_as_everywhere() {
        for (seconds, micros, expected) in [
            (0, 0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, 1, "2000-02-29T00:00:00.000001Z"),
            (1_709_251_199, 999_999, "2024-02-29T23:59:59.999999Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000000Z"),
            (1_795_298_400, 123_456, "2026-11-21T22:00:00.123456Z"),
            (253_402_300_799, 0, "9999-12-31T23:59:59.000000Z"),
        ] {
            let time = UNIX_EPOCH + Duration::new(seconds, micros * 1000);
            assert_eq!(text(time), expected);
        }
    }

    #[test]
    fn a_clock_before_1970_or_after_9999_does_not_panic() {
        assert_eq!(text(UNIX_EPOCH - Duration::from_secs(5)), "1970-01-01T00:00:00.000000Z");
        assert!(text(UNIX_EPOCH + Duration::from_secs(1 << 50)).starts_with("9999-12-31T23:59:59"));
    }
}

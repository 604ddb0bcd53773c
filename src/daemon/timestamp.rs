//! Points in time as text: RFC 3339 in UTC, microseconds, always 27 bytes: `2026-11-21T22:00:00.123456Z`.
//!
//! The clock is not read here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Length of the text, bytes.
pub const LENGTH: usize = 27;

/// The text of a point in time between 1970 and 9999; what lies outside is shown as the nearest of both.
pub fn rfc3339(time: SystemTime) -> [u8; LENGTH] {
    const LAST: u64 = 253_402_300_799; // 9999-12-31T23:59:59Z
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = since.as_secs().min(LAST);
    let (year, month, day) = civil(seconds / 86400);
    let of_day = seconds % 86400;
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    digits(&mut text[0..4], year);
    digits(&mut text[5..7], month);
    digits(&mut text[8..10], day);
    digits(&mut text[11..13], of_day / 3600);
    digits(&mut text[14..16], of_day / 60 % 60);
    digits(&mut text[17..19], of_day % 60);
    digits(&mut text[20..26], u64::from(since.subsec_micros()));
    text
}

/// The same as a string, for status and messages.
pub fn text(time: SystemTime) -> String {
    String::from_utf8_lossy(&rfc3339(time)).into_owned()
}

fn digits(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Year, month, day of the proleptic Gregorian calendar from days since 1970-01-01. Years are counted from March, so
/// that the leap day is a year's last.
fn civil(days: u64) -> (u64, u64, u64) {
    const ERA: u64 = 146_097; // days of 400 years
    let shifted = days + 719_468; // days since 0000-03-01
    let (era, of_era) = (shifted / ERA, shifted % ERA);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
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

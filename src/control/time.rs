//! Points in time between machines: RFC 3339 in UTC, microseconds. The clock is not read here.
//!
//! Calendar arithmetic is the proleptic Gregorian one, years 1970 to 9999.

/// Seconds of a day.
const DAY: u64 = 86_400;

/// The last second of the year 9999.
const LAST: u64 = 253_402_300_799;

/// Length of a point in time as text, bytes.
pub const STAMP_LENGTH: usize = 27;

/// `2026-11-21T22:00:00.123456Z` from microseconds since 1970; what lies before 1970 or after 9999 becomes the nearest
/// of both.
pub fn format_rfc3339(unix_usec: i64) -> String {
    String::from_utf8_lossy(&rfc3339_stamp(unix_usec)).into_owned()
}

/// The same without an allocation, for the front of log lines.
pub fn rfc3339_stamp(unix_usec: i64) -> [u8; STAMP_LENGTH] {
    let usec = u64::try_from(unix_usec).unwrap_or(0);
    let seconds = (usec / 1_000_000).min(LAST);
    let (year, month, day) = civil(seconds / DAY);
    let clock = seconds % DAY;
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    digits(&mut text[0..4], year);
    digits(&mut text[5..7], month);
    digits(&mut text[8..10], day);
    digits(&mut text[11..13], clock / 3600);
    digits(&mut text[14..16], clock / 60 % 60);
    digits(&mut text[17..19], clock % 60);
    digits(&mut text[20..26], usec % 1_000_000);
    text
}

fn digits(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Reads RFC 3339 with `Z` or an offset, and the shorter forms `2026-11-21`, `2026-11-21 22:00`, `2026-11-21T22:00:05`
/// (UTC). Microseconds since 1970, finer digits cut off; `None` when it is no such text.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let (date, rest) = (text.get(..10)?, &text[10..]);
    let [year, month, day] = numbers::<3>(date, '-')?;
    if date.len() != 10 || !(1970..=9999).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    if day < 1 || day > month_length(year, month) {
        return None;
    }
    let seconds = days(year, month, day) * DAY;
    if rest.is_empty() {
        return i64::try_from(seconds * 1_000_000).ok();
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let end = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (clock, zone) = rest.split_at(end);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let [hour, minute, second] = numbers::<3>(clock, ':').or_else(|| {
        let [hour, minute] = numbers::<2>(clock, ':')?;
        Some([hour, minute, 0])
    })?;
    if hour > 23 || minute > 59 || second > 60 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let usec: u64 = format!("{:0<6}", fraction.get(..6).unwrap_or(fraction)).parse().ok()?;
    let time = i64::try_from((seconds + hour * 3600 + minute * 60 + second) * 1_000_000 + usec).ok()?;
    match zone.split_at_checked(1) {
        None | Some(("Z" | "z", "")) => Some(time),
        Some((sign @ ("+" | "-"), offset)) => {
            let [hours, minutes] = numbers::<2>(offset, ':').filter(|[h, m]| *h < 24 && *m < 60)?;
            let offset = i64::try_from((hours * 3600 + minutes * 60) * 1_000_000).ok()?;
            Some(if sign == "+" { time - offset } else { time + offset })
        }
        Some(_) => None,
    }
}

/// `N` numbers without sign, separated by `separator`.
fn numbers<const N: usize>(text: &str, separator: char) -> Option<[u64; N]> {
    let mut found = [0; N];
    let mut parts = text.split(separator);
    for place in &mut found {
        let part = parts.next()?;
        if part.is_empty() || part.len() > 4 || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *place = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn month_length(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date from then on.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let before = year - 1;
    let leaps = before / 4 - before / 100 + before / 400 - 477; // 477 leap days until 1970
    let months: u64 = (1..month).map(|m| month_length(year, m)).sum();
    (year - 1970) * 365 + leaps + months + day - 1
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
    use proptest::prelude::*;

    #[test]
    fn known_moments_are_read() {
        let table = [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T00:00:00.000000Z", 951_782_400),
            ("2026-11-21T22:00:00+00:00", 1_795_298_400),
            ("2026-11-21t23:30:00+01:30", 1_795_298_400),
            ("2026-11-21T20:00:00-02:00", 1_795_298_400),
            ("2026-11-21 22:00", 1_795_298_400),
            ("2026-11-21", 1_795_219_200),
            ("2100-03-01", 4_107_542_400),
        ];
        for (text, seconds) in table {
            assert_eq!(parse_rfc3339(text), Some(seconds * 1_000_000), "{text}");
        }
        assert_eq!(parse_rfc3339("1970-01-01T00:00:00.5Z"), Some(500_000));
        assert_eq!(parse_rfc3339("1970-01-01T00:00:00+01:00"), Some(-3_600_000_000));
        assert_eq!(format_rfc3339(-5), "1970-01-01T00:00:00.000000Z");
        assert!(format_rfc3339(i64::MAX).starts_with("9999-12-31T23:59:59."));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "now",
            "2026-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-1-1",
            "2026-11-21T",
            "2026-11-21T25:00",
            "2026-11-21X22:00",
            "2026-11-21T22:00:00Zx",
            "2026-11-21T22:00:00+1",
            "+026-11-21",
            "2026-11-2é",
            "1969-12-31",
            "2026-11-21T22:00:00.x",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(usec in 0i64..=253_402_300_799_999_999) {
            prop_assert_eq!(parse_rfc3339(&format_rfc3339(usec)), Some(usec));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,30}") {
            let _ = parse_rfc3339(&text);
        }
    }
}

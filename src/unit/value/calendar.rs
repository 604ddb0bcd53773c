//! Times of the calendar in systemd's notation: `Mon..Fri 09:00`, `*-*-01 04:30:00 Europe/Berlin`, `weekly`.
//!
//! ```text
//! [WEEKDAYS] [[YEAR-]MONTH-DAY] [HOUR:MINUTE[:SECOND]] [ZONE]
//! ```
//!
//! Each part is `*`, a number, or a list of numbers, ranges `A..B` and steps `A/N`, `A..B/N`, `*/N`. A missing date is
//! every day, a missing time is midnight. `MONTH~DAY` counts days from the end of the month. A zone is `UTC` or a name
//! with a slash; without one the zone of the caller counts. Source: "Calendar Events" in systemd.time(7).
//!
//! What is found is a point in time: one that the clock skips in spring comes right after the gap, one that it shows
//! twice in autumn comes at the first of both. The calendar itself and the zones are the `jiff` crate's.

use super::{Bad, nearest};
use crate::unit::problem::Code;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const WORDS: [(&str, &str); 9] = [
    ("minutely", "*-*-* *:*:00"),
    ("hourly", "*-*-* *:00:00"),
    ("daily", "*-*-* 00:00:00"),
    ("weekly", "Mon *-*-* 00:00:00"),
    ("monthly", "*-*-01 00:00:00"),
    ("quarterly", "*-01,04,07,10-01 00:00:00"),
    ("semiannually", "*-01,07-01 00:00:00"),
    ("yearly", "*-01-01 00:00:00"),
    ("annually", "*-01-01 00:00:00"),
];
const FIRST_YEAR: u64 = 1970;
const LAST_YEAR: u64 = 2199;
/// No zone has ever moved its clock by more at once.
const LONGEST_GAP: SignedDuration = SignedDuration::from_hours(25);

/// Which points of the calendar are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    text: String,
    /// Bit 0 is Monday.
    weekdays: u64,
    /// Bit 0 is [`FIRST_YEAR`].
    years: [u64; 4],
    months: u64,
    days: u64,
    /// Day 1 is the last of the month.
    from_the_end: bool,
    hours: u64,
    minutes: u64,
    seconds: u64,
    zone: Option<String>,
}

impl Calendar {
    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The zone that it names.
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// The first such point after `after`; `None` when there is none up to 2199. `zone` is that of [`Calendar::zone`],
    /// or the caller's.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        // A clock that has just jumped forward may owe times of the gap.
        let earlier = after.checked_sub(LONGEST_GAP).unwrap_or(after);
        let jumped = zone.to_offset(earlier) < zone.to_offset(after);
        let mut from = zone.to_datetime(if jumped { earlier } else { after });
        loop {
            let found = self.next_civil(from)?;
            let point = zone.to_ambiguous_timestamp(found).compatible().ok()?;
            if point > after {
                return Some(point);
            }
            from = found;
        }
    }

    /// The first matching date and time after `from`, on a clock that never jumps.
    fn next_civil(&self, from: DateTime) -> Option<DateTime> {
        if self.matches_day(from.date())
            && let Some(time) = self.next_time(Some(from.time()))
        {
            return Some(from.date().to_datetime(time));
        }
        let mut date = from.date().tomorrow().ok()?;
        let first = self.next_time(None)?;
        while date.year() <= LAST_YEAR as i16 {
            let year = u64::try_from(date.year()).ok()?;
            if year < FIRST_YEAR || !self.has_year(year) {
                date = Date::new(date.year() + 1, 1, 1).ok()?;
            } else if self.months >> date.month() & 1 == 0 {
                date = date.last_of_month().tomorrow().ok()?;
            } else if self.matches_day(date) {
                return Some(date.to_datetime(first));
            } else {
                date = date.tomorrow().ok()?;
            }
        }
        None
    }

    fn has_year(&self, year: u64) -> bool {
        let bit = year - FIRST_YEAR;
        self.years.get((bit / 64) as usize).is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    fn matches_day(&self, date: Date) -> bool {
        let year = u64::try_from(date.year()).unwrap_or(0);
        let day = if self.from_the_end { date.days_in_month() - date.day() + 1 } else { date.day() };
        (FIRST_YEAR..=LAST_YEAR).contains(&year)
            && self.has_year(year)
            && self.months >> date.month() & 1 == 1
            && self.days >> day & 1 == 1
            && self.weekdays >> date.weekday().to_monday_zero_offset() & 1 == 1
    }

    /// The first matching time after one, or of the day.
    fn next_time(&self, after: Option<Time>) -> Option<Time> {
        let (mut hour, mut minute, mut second) = match after {
            None => (0, 0, 0),
            Some(time) => (time.hour() as u32, time.minute() as u32, time.second() as u32 + 1),
        };
        while let Some(at) = next_bit(self.hours, hour) {
            if at != hour {
                (hour, minute, second) = (at, 0, 0);
            }
            while let Some(at) = next_bit(self.minutes, minute) {
                if at != minute {
                    (minute, second) = (at, 0);
                }
                if let Some(second) = next_bit(self.seconds, second) {
                    return Time::new(hour as i8, minute as i8, second as i8, 0).ok();
                }
                (minute, second) = (minute + 1, 0);
            }
            (hour, minute, second) = (hour + 1, 0, 0);
        }
        None
    }
}

/// The lowest bit that is set, from `from` on.
fn next_bit(bits: u64, from: u32) -> Option<u32> {
    let rest = bits.checked_shr(from).filter(|rest| *rest != 0)?;
    Some(from + rest.trailing_zeros())
}

/// Reads a time of the calendar.
///
/// # Errors
/// [`Code::BadCalendar`], also for a date that never is.
pub fn calendar(text: &str) -> Result<Calendar, Bad> {
    let bad = |why: String| {
        Bad::new(Code::BadCalendar, format!("`{}` is no time of the calendar: {why}", text.escape_debug())).help(
            "write it as \"Mon..Fri 09:00\", \"*-*-01 04:30:00\", \"hourly\", \"daily\", \"weekly\" or \"monthly\"",
        )
    };
    let mut parts: Vec<&str> = text.split_whitespace().collect();
    if parts.is_empty() {
        return Err(bad("it is empty".to_owned()));
    }
    let is_zone =
        |part: &&str| *part == "UTC" || part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.contains('/');
    let zone = parts.pop_if(|part| is_zone(&&**part)).map(str::to_owned);
    let spelled;
    if let [word] = parts.as_slice()
        && let Some((_, meaning)) = WORDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word))
    {
        spelled = *meaning;
        parts = spelled.split(' ').collect();
    }
    let mut parts = parts.into_iter().peekable();
    let mut found = Calendar {
        text: text.to_owned(),
        weekdays: 0x7f,
        years: [u64::MAX; 4],
        months: set(1, 12, 1),
        days: set(1, 31, 1),
        from_the_end: false,
        hours: 1,
        minutes: 1,
        seconds: 1,
        zone,
    };
    if let Some(part) = parts.next_if(|part| part.starts_with(|c: char| c.is_ascii_alphabetic())) {
        found.weekdays = weekdays(part).map_err(bad)?;
    }
    if let Some(part) = parts.next_if(|part| !part.contains(':')) {
        date(&mut found, part).map_err(bad)?;
    }
    if let Some(part) = parts.next() {
        time(&mut found, part).map_err(bad)?;
    }
    if let Some(part) = parts.next() {
        return Err(bad(format!("`{}` stands where nothing is expected", part.escape_debug())));
    }
    let start = DateTime::new(FIRST_YEAR as i16, 1, 1, 0, 0, 0, 0).expect("the first of a January");
    let before = start.checked_sub(SignedDuration::from_secs(1)).expect("a second before it");
    match found.next_civil(before) {
        Some(_) => Ok(found),
        None => Err(bad("there is no such day".to_owned())),
    }
}

/// Bits `from` to `to`, every `step`.
fn set(from: u64, to: u64, step: u64) -> u64 {
    (from..=to).step_by(step.max(1) as usize).fold(0, |bits, n| bits | 1 << n)
}

fn weekdays(text: &str) -> Result<u64, String> {
    let day = |name: &str| {
        let found =
            WEEKDAYS.iter().position(|day| name.eq_ignore_ascii_case(day) || name.eq_ignore_ascii_case(&day[..3]));
        found.map(|day| day as u64).ok_or_else(|| {
            let words = WORDS.iter().map(|(word, _)| *word);
            let near = nearest(name, WEEKDAYS.iter().map(|day| &day[..3]).chain(words));
            let near = near.map_or_else(String::new, |near| format!(", did you mean `{near}`?"));
            format!("`{}` is no day of the week{near}", name.escape_debug())
        })
    };
    let mut bits = 0;
    for item in text.split(',') {
        let (from, to) = item.split_once("..").unwrap_or((item, item));
        let (from, to) = (day(from)?, day(to)?);
        // Sat..Mon goes over the end of the week.
        bits |= if from <= to { set(from, to, 1) } else { set(from, 6, 1) | set(0, to, 1) };
    }
    Ok(bits)
}

fn date(found: &mut Calendar, text: &str) -> Result<(), String> {
    let at = text.rfind(['-', '~']).ok_or_else(|| format!("`{}` is neither a date nor a time", text.escape_debug()))?;
    let (rest, day) = (&text[..at], &text[at + 1..]);
    found.from_the_end = text[at..].starts_with('~');
    found.days = numbers("day", day, 1, 31)?.into_iter().fold(0, |bits, n| bits | 1 << n);
    let (year, month) = rest.split_once('-').map_or((None, rest), |(year, month)| (Some(year), month));
    found.months = numbers("month", month, 1, 12)?.into_iter().fold(0, |bits, n| bits | 1 << n);
    if let Some(year) = year {
        found.years = [0; 4];
        for year in numbers("year", year, FIRST_YEAR, LAST_YEAR)? {
            let bit = year - FIRST_YEAR;
            found.years[(bit / 64) as usize] |= 1 << (bit % 64);
        }
    }
    Ok(())
}

fn time(found: &mut Calendar, text: &str) -> Result<(), String> {
    let bits = |name: &str, text: &str, most: u64| -> Result<u64, String> {
        Ok(numbers(name, text, 0, most)?.into_iter().fold(0, |bits, n| bits | 1 << n))
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (hour, minute, second) = match parts.as_slice() {
        [hour, minute] => (hour, minute, &"0"),
        [hour, minute, second] => (hour, minute, second),
        _ => return Err(format!("`{}` is no time: write HOUR:MINUTE or HOUR:MINUTE:SECOND", text.escape_debug())),
    };
    found.hours = bits("hour", hour, 23)?;
    found.minutes = bits("minute", minute, 59)?;
    found.seconds = bits("second", second, 59)?;
    Ok(())
}

/// The numbers that one part means.
fn numbers(name: &str, text: &str, least: u64, most: u64) -> Result<Vec<u64>, String> {
    let number = |digits: &str| {
        let plain = !digits.is_empty() && digits.len() <= 4 && digits.bytes().all(|b| b.is_ascii_digit());
        let number = digits.parse::<u64>().ok().filter(|n| plain && (least..=most).contains(n));
        number.ok_or_else(|| format!("`{}` is no {name}, which is {least} to {most}", digits.escape_debug()))
    };
    let mut all = Vec::new();
    for item in text.split(',') {
        let (range, step) = item.split_once('/').map_or((item, None), |(range, step)| (range, Some(step)));
        let step = match step {
            None => None,
            Some(digits) => Some(
                digits
                    .parse::<u64>()
                    .ok()
                    .filter(|n| (1..=most).contains(n))
                    .ok_or_else(|| format!("`{}` is no step for a {name}", digits.escape_debug()))?,
            ),
        };
        let (from, to) = match (range, range.split_once("..")) {
            ("*", _) => (least, most),
            (_, Some((from, to))) => (number(from)?, number(to)?),
            (one, None) if step.is_some() => (number(one)?, most),
            (one, None) => (number(one)?, number(one)?),
        };
        if from > to {
            return Err(format!("the range `{}` runs backwards", range.escape_debug()));
        }
        all.extend((from..=to).step_by(step.unwrap_or(1) as usize));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As hosts have it; a build machine may have no files of zones.
    const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

    /// The next points after a time in UTC, as text in `zone`.
    fn upcoming(text: &str, after: &str, zone: &str, count: usize) -> Vec<String> {
        let calendar = calendar(text).unwrap_or_else(|bad| panic!("{}", bad.message));
        let zone = TimeZone::posix(zone).expect("a zone");
        let mut at: Timestamp = after.parse().expect("a time");
        (0..count)
            .map_while(|_| {
                at = calendar.next(at, &zone)?;
                Some(at.to_zoned(zone.clone()).strftime("%a %Y-%m-%d %H:%M:%S %z").to_string())
            })
            .collect()
    }

    #[test]
    fn words_weekdays_lists_ranges_and_steps() {
        let from = "2026-11-21T22:30:15Z"; // a Saturday
        let first = |text: &str| upcoming(text, from, "UTC0", 1).remove(0);
        assert_eq!(first("minutely"), "Sat 2026-11-21 22:31:00 +0000");
        assert_eq!(first("hourly"), "Sat 2026-11-21 23:00:00 +0000");
        assert_eq!(first("daily"), "Sun 2026-11-22 00:00:00 +0000");
        assert_eq!(first("Weekly"), "Mon 2026-11-23 00:00:00 +0000");
        assert_eq!(first("monthly"), "Tue 2026-12-01 00:00:00 +0000");
        assert_eq!(first("quarterly"), "Fri 2027-01-01 00:00:00 +0000");
        assert_eq!(first("22:30"), "Sun 2026-11-22 22:30:00 +0000");
        assert_eq!(first("22:30:16"), "Sat 2026-11-21 22:30:16 +0000");
        assert_eq!(first("Mon..Fri 09:00"), "Mon 2026-11-23 09:00:00 +0000");
        assert_eq!(first("Sat..Sun *:0/20"), "Sat 2026-11-21 22:40:00 +0000");
        assert_eq!(first("Sun,Wed 1..3/2:30"), "Sun 2026-11-22 01:30:00 +0000");
        assert_eq!(first("*-*-1/10 12:00"), "Tue 2026-12-01 12:00:00 +0000");
        assert_eq!(first("*-02~1 00:00"), "Sun 2027-02-28 00:00:00 +0000");
        assert_eq!(first("2028-02-29"), "Tue 2028-02-29 00:00:00 +0000");
        assert_eq!(first("Thu *-02-29"), "Thu 2052-02-29 00:00:00 +0000");
        assert_eq!(first("*:*:*"), "Sat 2026-11-21 22:30:16 +0000");
        assert_eq!(upcoming("2020-01-01", from, "UTC0", 1), [""; 0], "never again");
    }

    #[test]
    fn a_time_in_the_gap_comes_after_it_and_a_repeated_one_once() {
        // Clocks in Berlin: 2026-03-29 02:00 becomes 03:00, 2026-10-25 03:00 becomes 02:00.
        assert_eq!(
            upcoming("02:30", "2026-03-28T12:00:00Z", BERLIN, 2),
            ["Sun 2026-03-29 03:30:00 +0200", "Mon 2026-03-30 02:30:00 +0200"]
        );
        assert_eq!(
            upcoming("02:30", "2026-03-29T01:10:00Z", BERLIN, 1),
            ["Sun 2026-03-29 03:30:00 +0200"],
            "asked in between"
        );
        assert_eq!(
            upcoming("02:30", "2026-10-24T12:00:00Z", BERLIN, 2),
            ["Sun 2026-10-25 02:30:00 +0200", "Mon 2026-10-26 02:30:00 +0100"]
        );
    }

    #[test]
    fn the_zone_is_part_of_the_text() {
        let read = calendar("Mon 09:00 America/New_York").unwrap();
        assert_eq!(read.zone(), Some("America/New_York"));
        assert_eq!(read.text(), "Mon 09:00 America/New_York");
        assert_eq!(calendar("daily UTC").unwrap().zone(), Some("UTC"));
        assert_eq!(calendar("daily").unwrap().zone(), None);
    }

    #[test]
    fn nonsense_says_which_part_is_wrong() {
        for (text, why) in [
            ("", "empty"),
            ("Mom 09:00", "did you mean `Mon`"),
            ("dayly", "did you mean `daily`"),
            ("25:00", "`25` is no hour, which is 0 to 23"),
            ("*-13-01", "`13` is no month"),
            ("*-02-30", "no such day"),
            ("*-*-*", ""),
            ("09:00 Mon", "nothing is expected"),
            ("9", "neither a date nor a time"),
            ("Fri..", "no day of the week"),
            ("*:5..1", "backwards"),
            ("*:0/0", "no step"),
            ("1:2:3:4", "no time"),
            ("*-*-* 09:00 Mars", "nothing is expected"),
            ("1969-01-01", "no year"),
        ] {
            match calendar(text) {
                Ok(_) => assert_eq!(why, "", "{text}"),
                Err(bad) => {
                    assert!(!why.is_empty() && bad.message.contains(why), "{text}: {}", bad.message);
                    assert_eq!(bad.code, Code::BadCalendar);
                }
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "[A-Za-z0-9*/.,:~ -]{0,24}", second in 0i64..7_000_000_000) {
            if let Ok(calendar) = calendar(&text) {
                let after = Timestamp::from_second(second).expect("a time");
                if let Some(next) = calendar.next(after, &TimeZone::UTC) {
                    proptest::prop_assert!(next > after);
                }
            }
        }
    }
}

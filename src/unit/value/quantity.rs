//! Sizes in bytes (1024-based) and durations (systemd's grammar), with `infinity`.

use super::Bad;
use crate::unit::problem::Code;
use std::fmt;
use std::time::Duration;

/// A number of bytes; displayed as [`byte_size`] reads it. `u64::MAX` is infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print_byte_size(self.0))
    }
}

/// A duration; displayed as [`time_span`] reads it. `None` is infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeSpan(pub Option<Duration>);

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print_time_span(self.0))
    }
}

/// Suffixes and what they multiply with.
const SIZE_UNITS: [(char, u32); 6] = [('E', 60), ('P', 50), ('T', 40), ('G', 30), ('M', 20), ('K', 10)];

/// Reads a size in bytes: `4096`, `512M`, `1.5G`, `64KiB`, `infinity` (which is `u64::MAX`). Suffixes K M G T P E are
/// powers of 1024, as systemd reads them.
///
/// # Errors
/// [`Code::BadSize`].
pub fn byte_size(text: &str) -> Result<u64, Bad> {
    if text == "infinity" {
        return Ok(u64::MAX);
    }
    let bad = |why: &str| Err(Bad::new(Code::BadSize, format!("`{text}` is not a size{why}")).help(SIZE_HELP));
    if text.ends_with('%') {
        return Err(Bad::new(Code::NotSupported, "a size in percent of the host's memory is not supported yet")
            .help("write an amount, such as \"512M\""));
    }
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let shift = match suffix {
        "" => 0,
        "B" => 0,
        "KB" | "MB" | "GB" | "TB" | "kB" => {
            let plain = suffix.trim_end_matches('B').to_ascii_uppercase();
            return Err(Bad::new(
                Code::BadSize,
                format!("`{text}` is not a size: {suffix} means powers of 1000 to many"),
            )
            .help(format!("write \"{number}{plain}\", which means powers of 1024")));
        }
        _ => {
            let mut rest = suffix.chars();
            let first = rest.next().unwrap_or_default();
            let Some((_, shift)) = SIZE_UNITS.iter().find(|(unit, _)| *unit == first) else {
                return bad("");
            };
            if !matches!(rest.as_str(), "" | "i" | "iB") {
                return bad("");
            }
            *shift
        }
    };
    match scaled(number, 1 << shift) {
        Some(bytes) if bytes < u64::MAX => Ok(bytes),
        Some(_) => bad(": too large"),
        None if shift == 0 && number.contains('.') => bad(": a byte cannot be divided"),
        None => bad(""),
    }
}

const SIZE_HELP: &str =
    "write bytes, or a number with K, M, G, T, P or E (powers of 1024), such as \"512M\", or \"infinity\"";

/// `number` (decimal, perhaps with a fraction) times `factor`, rounded down; saturates at `u64::MAX`.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || number.contains('.') && (!is_number(fraction) || factor == 1) {
        return None;
    }
    // More digits than fit into 128 bits are too large, not wrong.
    let whole: u128 = whole.parse().unwrap_or(u128::from(u64::MAX));
    let mut sum = whole.saturating_mul(u128::from(factor));
    // Nine digits are more than any unit can show.
    let fraction = &fraction[..fraction.len().min(9)];
    if !fraction.is_empty() {
        let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        sum = sum.saturating_add(fraction.parse::<u128>().ok()? * u128::from(factor) / scale);
    }
    Some(u64::try_from(sum).unwrap_or(u64::MAX))
}

/// Prints a size with the largest suffix that divides it: `512M`, `1000`, `infinity`.
pub fn print_byte_size(bytes: u64) -> String {
    if bytes == u64::MAX {
        return "infinity".to_owned();
    }
    match SIZE_UNITS.iter().find(|(_, shift)| bytes != 0 && bytes.is_multiple_of(1 << shift)) {
        Some((unit, shift)) => format!("{}{unit}", bytes >> shift),
        None => bytes.to_string(),
    }
}

/// Names of units of time and their microseconds.
const TIME_UNITS: [(&[&str], u64); 7] = [
    (&["us", "µs", "μs", "usec"], 1),
    (&["ms", "msec"], 1_000),
    (&["s", "sec", "second", "seconds"], 1_000_000),
    (&["m", "min", "minute", "minutes"], 60_000_000),
    (&["h", "hr", "hour", "hours"], 3_600_000_000),
    (&["d", "day", "days"], 86_400_000_000),
    (&["w", "week", "weeks"], 604_800_000_000),
];

const TIME_HELP: &str =
    "write seconds, or numbers with us, ms, s, min, h, d or w, such as \"90s\" or \"1min 30s\", or \"infinity\"";

/// Reads a duration: `90` (seconds), `1min 30s`, `1m30s`, `200ms`, `1.5h`; `None` is `infinity`.
///
/// # Errors
/// [`Code::BadTime`].
pub fn time_span(text: &str) -> Result<Option<Duration>, Bad> {
    let bad = |why: &str| Bad::new(Code::BadTime, format!("`{text}` is not a duration{why}")).help(TIME_HELP);
    if text.trim() == "infinity" {
        return Ok(None);
    }
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(bad(""));
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        let tail = tail.trim_start();
        let end = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let factor = match unit {
            "" => 1_000_000,
            "M" | "month" | "months" | "y" | "year" | "years" => {
                return Err(bad(": months and years have no fixed length"));
            }
            _ => TIME_UNITS.iter().find(|(names, _)| names.contains(&unit)).ok_or_else(|| bad(""))?.1,
        };
        let part = scaled(number, factor).ok_or_else(|| bad(""))?;
        total = total.checked_add(part).filter(|sum| *sum < u64::MAX).ok_or_else(|| bad(": too long"))?;
        rest = tail.trim_start();
    }
    Ok(Some(Duration::from_micros(total)))
}

/// Prints a duration that [`time_span`] reads back: `1min 30s`, `200ms`, `0`, `infinity`. Nanoseconds are cut off.
pub fn print_time_span(span: Option<Duration>) -> String {
    let Some(span) = span else { return "infinity".to_owned() };
    let mut rest = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0".to_owned();
    }
    let units =
        [("d", 86_400_000_000), ("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];
    let mut parts = Vec::new();
    for (unit, factor) in units {
        // "90s" stays "90s": below two minutes the author's usual form is the plain one.
        if rest >= factor && !(factor == 60_000_000 && rest < 120_000_000 && rest != 60_000_000) {
            parts.push(format!("{}{unit}", rest / factor));
            rest %= factor;
        }
    }
    parts.join(" ")
}

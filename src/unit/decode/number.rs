//! Booleans, numbers, sizes, times, modes, signals, limits, exit statuses.

use super::Sink;
use super::shape::{checked, each, int_of, parsed};
use crate::unit::StatusSet;
use crate::unit::keys::LimitUnit;
use crate::unit::problem::Code;
use crate::unit::value;
use std::time::Duration;
use toml::Spanned;
use toml::de::DeValue;

pub(super) fn boolean(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<bool> {
    if let DeValue::Boolean(b) = value.get_ref() {
        return Some(*b);
    }
    let help = match value.get_ref().as_str() {
        Some("yes" | "on" | "true" | "1") => Some("write true, without quotes".to_owned()),
        Some("no" | "off" | "false" | "0") => Some("write false, without quotes".to_owned()),
        _ => None,
    };
    sink.wrong_type(value, key, "true or false", help);
    None
}

pub(super) fn integer(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>, min: i64, max: i64) -> Option<i64> {
    if !value.get_ref().is_integer() {
        let digits = value.get_ref().as_str().and_then(|s| s.parse::<i64>().ok());
        sink.wrong_type(value, key, "an integer", digits.map(|n| format!("write {n}, without quotes")));
        return None;
    }
    match int_of(value.get_ref()) {
        Some(n) if (min..=max).contains(&n) => Some(n),
        _ if min == max => {
            sink.add(Code::OutOfRange, value.span(), key, format!("`{key}` must be {min}"), None);
            None
        }
        _ => {
            sink.add(Code::OutOfRange, value.span(), key, format!("`{key}` must be {min} to {max}"), None);
            None
        }
    }
}

pub(super) fn factor(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<f64> {
    let number = match value.get_ref() {
        DeValue::Integer(_) => int_of(value.get_ref()).map(|n| n as f64),
        DeValue::Float(f) => f.as_str().replace('_', "").parse().ok(),
        _ => {
            sink.wrong_type(value, key, "a number", None);
            return None;
        }
    };
    match number {
        Some(n) if (1.0..=1000.0).contains(&n) => Some(n),
        _ => {
            sink.add(Code::OutOfRange, value.span(), key, format!("`{key}` must be 1 to 1000"), None);
            None
        }
    }
}

pub(super) fn count(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Option<u64>> {
    match value.get_ref() {
        DeValue::Integer(_) => integer(sink, key, value, 1, 1 << 22).map(|n| Some(n.unsigned_abs())),
        DeValue::String(text) if text == "infinity" => Some(None),
        _ => {
            sink.wrong_type(value, key, "an integer or \"infinity\"", None);
            None
        }
    }
}

/// Bytes, as an integer or text.
pub(super) fn bytes(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<u64> {
    match value.get_ref() {
        DeValue::Integer(_) => integer(sink, key, value, 0, i64::MAX).map(i64::unsigned_abs),
        _ => parsed(sink, key, value, "a size such as \"512M\"", value::byte_size),
    }
}

pub(super) fn size(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>, min: u64) -> Option<u64> {
    let bytes = bytes(sink, key, value)?;
    if bytes < min {
        let least = value::print_byte_size(min);
        let help = "with less the program is killed before its first instruction".to_owned();
        sink.add(Code::OutOfRange, value.span(), key, format!("`{key}` must be at least {least}"), Some(help));
        return None;
    }
    Some(bytes)
}

pub(super) fn finite_size(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<u64> {
    let bytes = bytes(sink, key, value)?;
    if !(4096..u64::MAX).contains(&bytes) {
        let help = "it may be large, but it must end".to_owned();
        let help = (bytes == u64::MAX).then_some(help);
        sink.add(Code::OutOfRange, value.span(), key, format!("`{key}` must be 4K or more, and finite"), help);
        return None;
    }
    Some(bytes)
}

fn time(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Option<Duration>> {
    match value.get_ref() {
        // As systemd reads a bare number: seconds.
        DeValue::Integer(_) => {
            integer(sink, key, value, 0, 1 << 40).map(|s| Some(Duration::from_secs(s.unsigned_abs())))
        }
        _ => parsed(sink, key, value, "a duration such as \"90s\"", value::time_span),
    }
}

pub(super) fn timeout(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Option<Duration>> {
    let time = time(sink, key, value)?;
    if time == Some(Duration::ZERO) {
        let help = Some("for no limit write \"infinity\"".to_owned());
        sink.add(Code::OutOfRange, value.span(), key, format!("`{key}` of 0 would expire at once"), help);
        return None;
    }
    Some(time)
}

pub(super) fn delay(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Option<Duration>> {
    let time = time(sink, key, value)?;
    // A year; adding more than that to a clock serves nobody.
    if time.is_none_or(|t| t > Duration::from_secs(366 * 86_400)) {
        sink.add(Code::OutOfRange, value.span(), key, format!("`{key}` must be a year at most"), None);
        return None;
    }
    Some(time)
}

pub(super) fn mode(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<u32> {
    match value.get_ref() {
        DeValue::Integer(number) if number.radix() == 8 => checked(sink, key, value, value::file_mode(number.as_str())),
        DeValue::Integer(_) => {
            let help = Some("write octal digits as text, such as \"0750\", or 0o750".to_owned());
            sink.add(Code::BadMode, value.span(), key, "a file mode in decimal digits".to_owned(), help);
            None
        }
        _ => parsed(sink, key, value, "a file mode such as \"0750\"", value::file_mode),
    }
}

pub(super) fn signal(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<crate::unit::SignalName> {
    match value.get_ref() {
        DeValue::Integer(number) => checked(sink, key, value, value::signal(number.as_str())),
        _ => parsed(sink, key, value, "a signal such as \"SIGHUP\"", value::signal),
    }
}

pub(super) fn errno(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<i32> {
    match value.get_ref() {
        DeValue::Integer(number) => checked(sink, key, value, value::errno(number.as_str())),
        _ => parsed(sink, key, value, "an errno such as \"EPERM\"", value::errno),
    }
}

pub(super) fn limit(
    sink: &mut Sink<'_>,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    unit: LimitUnit,
) -> Option<(u64, u64)> {
    let one = |text: &str| -> Option<u64> {
        let text = text.trim();
        match unit {
            _ if text == "infinity" => Some(u64::MAX),
            LimitUnit::Bytes => value::byte_size(text).ok(),
            LimitUnit::Number => text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten(),
            LimitUnit::Seconds | LimitUnit::Microseconds => {
                let bare = text.bytes().all(|b| b.is_ascii_digit());
                let micros = match (bare, unit) {
                    (true, LimitUnit::Microseconds) => return text.parse().ok(),
                    _ => value::time_span(text).ok()??.as_micros(),
                };
                let divisor = if unit == LimitUnit::Seconds { 1_000_000 } else { 1 };
                u64::try_from(micros.div_ceil(divisor)).ok()
            }
        }
    };
    let (soft, hard) = match value.get_ref() {
        DeValue::Integer(_) => {
            let n = integer(sink, key, value, 0, i64::MAX)?.unsigned_abs();
            (Some(n), Some(n))
        }
        DeValue::String(text) => match text.split_once(':') {
            Some((soft, hard)) => (one(soft), one(hard)),
            None => (one(text), one(text)),
        },
        _ => {
            sink.wrong_type(value, key, "\"soft:hard\" or one value", None);
            return None;
        }
    };
    let problem = match (soft, hard) {
        (Some(soft), Some(hard)) if soft <= hard => return Some((soft, hard)),
        (Some(_), Some(_)) => "the soft limit is above the hard one",
        _ => "not a limit",
    };
    let help = match unit {
        LimitUnit::Bytes => "write \"soft:hard\" or one value, in bytes or with K, M, G; or \"infinity\"",
        LimitUnit::Number => "write \"soft:hard\" or one value, such as \"1024:524288\"; or \"infinity\"",
        LimitUnit::Seconds => "write \"soft:hard\" or one value, such as \"1h\"; or \"infinity\"",
        LimitUnit::Microseconds => "write \"soft:hard\" or one value, such as \"500ms\"; or \"infinity\"",
    };
    sink.add(Code::BadLimit, value.span(), key, problem, Some(help.to_owned()));
    None
}

pub(super) fn statuses(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<StatusSet> {
    let mut set = StatusSet::default();
    each(sink, key, value, &mut Vec::new(), |sink, key, item| match item.get_ref() {
        DeValue::Integer(_) => match int_of(item.get_ref()).and_then(|n| u8::try_from(n).ok()) {
            Some(status) => {
                set.statuses.insert(status);
                Some(())
            }
            None => {
                sink.add(Code::BadStatus, item.span(), key, "exit statuses are 0 to 255", None);
                None
            }
        },
        _ => parsed(sink, key, item, "exit statuses and names of signals", |t| value::status(t, &mut set)),
    })?;
    Some(set)
}

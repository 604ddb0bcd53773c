//! One arm for each [`Kind`]: TOML value → [`Value`].

use super::value::{UserWord, Value};
use super::{Sink, describe};
use crate::plan::CapabilitySet;
use crate::unit::keys::{self, Kind, LimitUnit};
use crate::unit::problem::Code;
use crate::unit::value::{self, Bad, nearest};
use crate::unit::{ExecCommand, Isolation, NetworkMode, PathEntry, RestrictNamespaces, StatusSet, Upper};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;
use toml::de::DeValue;

/// Decodes one value; the places of a list's elements go to `items`.
pub(super) fn decode(
    sink: &mut Sink<'_>,
    kind: Kind,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    items: &mut Vec<Range<usize>>,
) -> Option<Value> {
    // Appending to an inherited list is part of the schema and comes later.
    if let (DeValue::Table(table), true) = (value.get_ref(), is_list(kind)) {
        if let Some(edit) = table.keys().find(|k| matches!(k.get_ref().as_ref(), "append" | "remove")) {
            let message = format!("`{key}.{}` is not supported yet", edit.get_ref());
            sink.add(Code::NotSupported, edit.span(), key, message, Some("write the whole list".to_owned()));
            return None;
        }
    }
    match kind {
        Kind::Bool => boolean(sink, key, value).map(Value::Bool),
        Kind::Int { min, max } => integer(sink, key, value, min, max).map(Value::Int),
        Kind::Factor => factor(sink, key, value).map(Value::Factor),
        Kind::Count => count(sink, key, value).map(Value::Count),
        Kind::Text => text(sink, key, value).map(Value::Text),
        Kind::Texts => list(sink, key, value, items, |_, t| one_line(t)).map(Value::Texts),
        Kind::Hostname => parsed(sink, key, value, "a host name", hostname).map(Value::Text),
        Kind::Size { min } => size(sink, key, value, min).map(Value::Size),
        Kind::FiniteSize => finite_size(sink, key, value).map(Value::Size),
        Kind::Timeout => timeout(sink, key, value).map(Value::Time),
        Kind::Delay => delay(sink, key, value).map(Value::Time),
        Kind::Mode => mode(sink, key, value).map(Value::Mode),
        Kind::Signal => signal(sink, key, value).map(Value::Signal),
        Kind::Word { words, later } => word(sink, key, value, words, later).map(Value::Word),
        Kind::Argv => argv(sink, key, value).map(Value::Argv),
        Kind::Commands => commands(sink, key, value).map(Value::Commands),
        Kind::Account => account(sink, key, value).map(Value::Account),
        Kind::Accounts => each(sink, key, value, items, |s, k, v| account(s, k, v)).map(Value::Accounts),
        Kind::Path => parsed(sink, key, value, "an absolute path", value::absolute_path).map(Value::Path),
        Kind::Paths => list(sink, key, value, items, |_, t| path_entry(t)).map(Value::Paths),
        Kind::PlainPaths => list(sink, key, value, items, |_, t| value::absolute_path(t)).map(Value::PlainPaths),
        Kind::Units => {
            list(sink, key, value, items, |_, t| value::unit_name(t).map(|()| t.to_owned())).map(Value::Texts)
        }
        Kind::UnitName => {
            parsed(sink, key, value, "a name", |t| value::unit_name(t).map(|()| t.to_owned())).map(Value::Text)
        }
        Kind::Variables => variables(sink, key, value).map(Value::Variables),
        Kind::Statuses => statuses(sink, key, value).map(Value::Statuses),
        Kind::Addresses => list(sink, key, value, items, |_, t| value::listen_address(t)).map(Value::Addresses),
        Kind::DirectoryNames => list(sink, key, value, items, |_, t| value::directory_name(t)).map(Value::PlainPaths),
        Kind::Namespace => {
            parsed(sink, key, value, "a word or \"path:FILE\"", |t| namespace(key, t)).map(Value::Namespace)
        }
        Kind::UserNamespace => {
            parsed(sink, key, value, "a word or \"path:FILE\"", |t| user_namespace(key, t)).map(Value::User)
        }
        Kind::Network => parsed(sink, key, value, "a word or \"path:FILE\"", |t| network(key, t)).map(Value::Network),
        Kind::Families => families(sink, key, value, items),
        Kind::Capabilities => list(sink, key, value, items, |_, t| value::capability(t))
            .map(|sets| Value::Capabilities(CapabilitySet(sets.iter().fold(0, |all, set| all | set.0)))),
        Kind::Syscalls => list(sink, key, value, items, |_, t| value::syscall_name(t)).map(Value::Texts),
        Kind::Architectures => list(sink, key, value, items, |_, t| architecture(t)).map(Value::Texts),
        Kind::Errno => errno(sink, key, value).map(Value::Errno),
        Kind::Upper => parsed(sink, key, value, "a word or a path", |t| upper(key, t)).map(Value::Upper),
        Kind::NamespaceKinds => namespace_kinds(sink, key, value, items).map(Value::NamespaceKinds),
        Kind::Keys => list(sink, key, value, items, |_, t| optional_key(t)).map(Value::Texts),
        Kind::Devices => super::tables::devices(sink, key, value, items).map(Value::Devices),
        Kind::Mappings => super::tables::mappings(sink, key, value, items).map(Value::Mappings),
        Kind::CpuShare => super::tables::cpu_share(sink, key, value).map(Value::CpuShare),
        Kind::CpuList => parsed(sink, key, value, "a text such as \"0-3,8\"", value::cpu_list).map(Value::Text),
        Kind::IoMax => super::tables::io_max(sink, key, value, items).map(Value::IoMax),
        Kind::HugePages => super::tables::huge_pages(sink, key, value).map(Value::HugePages),
        Kind::Limit(unit) => limit(sink, key, value, unit).map(|(soft, hard)| Value::Limit(soft, hard)),
        // Tables are walked by the caller; keys described in words are never supported.
        Kind::Table | Kind::Later(_) => None,
    }
}

fn is_list(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Texts
            | Kind::Commands
            | Kind::Accounts
            | Kind::Paths
            | Kind::PlainPaths
            | Kind::Units
            | Kind::Statuses
            | Kind::Addresses
            | Kind::DirectoryNames
            | Kind::Families
            | Kind::Capabilities
            | Kind::Syscalls
            | Kind::Architectures
            | Kind::Keys
            | Kind::Devices
            | Kind::IoMax
    )
}

// ── shapes ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/// A string, read by `parse`.
pub(super) fn parsed<T>(
    sink: &mut Sink<'_>,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    expected: &str,
    parse: impl FnOnce(&str) -> Result<T, Bad>,
) -> Option<T> {
    let Some(text) = value.get_ref().as_str() else {
        sink.wrong_type(value, key, expected, None);
        return None;
    };
    parse(text).map_err(|bad| sink.bad(bad, value.span(), key)).ok()
}

/// An array, each element read by `element`. All bad elements are reported.
pub(super) fn each<T>(
    sink: &mut Sink<'_>,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    items: &mut Vec<Range<usize>>,
    mut element: impl FnMut(&mut Sink<'_>, &str, &Spanned<DeValue<'_>>) -> Option<T>,
) -> Option<Vec<T>> {
    let DeValue::Array(array) = value.get_ref() else {
        let help = value.get_ref().as_str().map(|s| format!("write [{s:?}]"));
        sink.wrong_type(value, key, "an array", help);
        return None;
    };
    let mut all = Some(Vec::with_capacity(array.len()));
    for item in array.iter() {
        match element(sink, key, item) {
            Some(element) => {
                items.push(item.span());
                if let Some(all) = all.as_mut() {
                    all.push(element);
                }
            }
            None => all = None,
        }
    }
    all
}

/// An array of strings.
fn list<T>(
    sink: &mut Sink<'_>,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    items: &mut Vec<Range<usize>>,
    parse: impl Fn(&str, &str) -> Result<T, Bad>,
) -> Option<Vec<T>> {
    each(sink, key, value, items, |sink, key, item| {
        let Some(text) = item.get_ref().as_str() else {
            let found = describe(item.get_ref());
            let message = format!("`{key}` takes an array of strings; this element is {found}");
            sink.add(Code::WrongType, item.span(), key, message, None);
            return None;
        };
        parse(key, text).map_err(|bad| sink.bad(bad, item.span(), key)).ok()
    })
}

/// The integer, or `None` (and a problem) if it does not fit 64 bits.
pub(super) fn int_of(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok()
}

// ── numbers ─────────────────────────────────────────────────────────────────────────────────────────────────────────

fn boolean(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<bool> {
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

fn integer(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>, min: i64, max: i64) -> Option<i64> {
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

fn factor(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<f64> {
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

fn count(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Option<u64>> {
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

fn size(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>, min: u64) -> Option<u64> {
    let bytes = bytes(sink, key, value)?;
    if bytes < min {
        let least = value::print_byte_size(min);
        let help = "with less the program is killed before its first instruction".to_owned();
        sink.add(Code::OutOfRange, value.span(), key, format!("`{key}` must be at least {least}"), Some(help));
        return None;
    }
    Some(bytes)
}

fn finite_size(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<u64> {
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

fn timeout(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Option<Duration>> {
    let time = time(sink, key, value)?;
    if time == Some(Duration::ZERO) {
        let help = Some("for no limit write \"infinity\"".to_owned());
        sink.add(Code::OutOfRange, value.span(), key, format!("`{key}` of 0 would expire at once"), help);
        return None;
    }
    Some(time)
}

fn delay(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Option<Duration>> {
    let time = time(sink, key, value)?;
    // A year; adding more than that to a clock serves nobody.
    if time.is_none_or(|t| t > Duration::from_secs(366 * 86_400)) {
        sink.add(Code::OutOfRange, value.span(), key, format!("`{key}` must be a year at most"), None);
        return None;
    }
    Some(time)
}

fn mode(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<u32> {
    match value.get_ref() {
        DeValue::Integer(number) if number.radix() == 8 => {
            parsed_number(sink, key, value, value::file_mode(number.as_str()))
        }
        DeValue::Integer(_) => {
            let help = Some("write octal digits as text, such as \"0750\", or 0o750".to_owned());
            sink.add(Code::BadMode, value.span(), key, "a file mode in decimal digits".to_owned(), help);
            None
        }
        _ => parsed(sink, key, value, "a file mode such as \"0750\"", value::file_mode),
    }
}

fn parsed_number<T>(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>, result: Result<T, Bad>) -> Option<T> {
    result.map_err(|bad| sink.bad(bad, value.span(), key)).ok()
}

fn signal(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<crate::unit::SignalName> {
    match value.get_ref() {
        DeValue::Integer(number) => parsed_number(sink, key, value, value::signal(number.as_str())),
        _ => parsed(sink, key, value, "a signal such as \"SIGHUP\"", value::signal),
    }
}

fn errno(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<i32> {
    match value.get_ref() {
        DeValue::Integer(number) => parsed_number(sink, key, value, value::errno(number.as_str())),
        _ => parsed(sink, key, value, "an errno such as \"EPERM\"", value::errno),
    }
}

fn account(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<crate::unit::Account> {
    let result = match value.get_ref() {
        DeValue::Integer(number) if number.radix() == 10 => value::account(number.as_str()),
        DeValue::String(text) if text == "auto" && key == "service.user" => {
            Err(Bad::new(Code::NotSupported, "`user = \"auto\"` is not supported yet").help("name a user of the host"))
        }
        DeValue::String(text) => value::account(text),
        _ => {
            sink.wrong_type(value, key, "a name or a number", None);
            return None;
        }
    };
    parsed_number(sink, key, value, result)
}

fn limit(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>, unit: LimitUnit) -> Option<(u64, u64)> {
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
        _ => "not a resource limit",
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

// ── words and texts ─────────────────────────────────────────────────────────────────────────────────────────────────

fn one_line(text: &str) -> Result<String, Bad> {
    match text.chars().find(|c| c.is_control() && *c != '\t') {
        Some(c) => Err(Bad::new(Code::BadText, format!("the text contains the character `{}`", c.escape_debug()))),
        None => Ok(text.to_owned()),
    }
}

fn text(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
    parsed(sink, key, value, "a string", one_line)
}

fn hostname(text: &str) -> Result<String, Bad> {
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    // 64 is the kernel's limit (uname(2)).
    if text.len() <= 64 && text.split('.').all(label) {
        return Ok(text.to_owned());
    }
    Err(Bad::new(Code::BadText, format!("`{}` is not a host name", text.escape_debug()))
        .help("letters, digits, `-` and `.`, at most 64 characters"))
}

fn word(
    sink: &mut Sink<'_>,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    words: &[&'static str],
    later: &[&'static str],
) -> Option<&'static str> {
    let Some(text) = value.get_ref().as_str() else {
        let help = match value.get_ref() {
            DeValue::Boolean(_) => Some(format!("one of {}", quoted(words))),
            _ => None,
        };
        sink.wrong_type(value, key, "a string", help);
        return None;
    };
    if let Some(word) = words.iter().find(|w| **w == text) {
        return Some(word);
    }
    if later.contains(&text) {
        let message = format!("`{key} = \"{text}\"` is not supported yet");
        sink.add(Code::NotSupported, value.span(), key, message, Some(format!("one of {}", quoted(words))));
        return None;
    }
    if key == "service.kill_mode" && matches!(text, "process" | "none") {
        let message = format!("`kill_mode = \"{text}\"` would leave processes of a stopped service behind");
        let help = "a service is down when its control group is empty: write \"control-group\" or \"mixed\"".to_owned();
        sink.add(Code::KillMode, value.span(), key, message, Some(help));
        return None;
    }
    let help = match nearest(text, words.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("one of {}", quoted(words)),
    };
    let message = format!("`{}` is not a value of `{key}`", text.escape_debug());
    sink.add(Code::UnknownWord, value.span(), key, message, Some(help));
    None
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(", ")
}

fn path_entry(text: &str) -> Result<PathEntry, Bad> {
    let (path, optional) = text.strip_prefix('-').map_or((text, false), |rest| (rest, true));
    Ok(PathEntry { path: value::absolute_path(path)?, optional })
}

fn path_word(key: &str, text: &str, words: &[&str]) -> Result<PathBuf, Bad> {
    if let Some(path) = text.strip_prefix("path:") {
        return value::absolute_path(path);
    }
    if text.starts_with("unit:") {
        return Err(Bad::new(Code::NotSupported, format!("`{key} = \"unit:NAME\"` is not supported yet")));
    }
    let bad = Bad::new(Code::UnknownWord, format!("`{}` is not a value of `{key}`", text.escape_debug()));
    Err(match nearest(text, words.iter().copied()) {
        Some(near) => bad.help(format!("did you mean \"{near}\"?")),
        None => bad.help(format!("one of {}, or \"path:FILE\"", quoted(words))),
    })
}

fn namespace(key: &str, text: &str) -> Result<Isolation, Bad> {
    match text {
        "private" => Ok(Isolation::Private),
        "host" => Ok(Isolation::Host),
        _ => path_word(key, text, &["private", "host"]).map(Isolation::Path),
    }
}

fn user_namespace(key: &str, text: &str) -> Result<UserWord, Bad> {
    match text {
        "host" => Ok(UserWord::Host),
        "identity" => Ok(UserWord::Identity),
        "mapped" => Ok(UserWord::Mapped),
        "auto" => Err(Bad::new(Code::NotSupported, format!("`{key} = \"auto\"` is not supported yet"))
            .help("give uid_mappings and gid_mappings")),
        _ => path_word(key, text, &["host", "identity", "mapped"]).map(UserWord::Path),
    }
}

fn network(key: &str, text: &str) -> Result<NetworkMode, Bad> {
    match text {
        "host" => Ok(NetworkMode::Host),
        "loopback" => Ok(NetworkMode::Loopback),
        "veth" => Err(Bad::new(Code::NotSupported, format!("`{key} = \"veth\"` is not supported yet"))),
        "private" => Err(Bad::new(Code::UnknownWord, format!("`private` is not a value of `{key}`"))
            .help("an own network with only `lo` is \"loopback\"")),
        _ => path_word(key, text, &["host", "loopback"]).map(NetworkMode::Path),
    }
}

fn upper(key: &str, text: &str) -> Result<Upper, Bad> {
    match text {
        "ephemeral" => Ok(Upper::Ephemeral),
        "persistent" => Ok(Upper::Persistent),
        _ if text.starts_with('/') => value::absolute_path(text).map(Upper::Path),
        _ => Err(Bad::new(Code::UnknownWord, format!("`{}` is not a value of `{key}`", text.escape_debug()))
            .help("one of \"ephemeral\", \"persistent\", or an absolute path")),
    }
}

fn architecture(text: &str) -> Result<String, Bad> {
    const KNOWN: [&str; 3] = ["native", "x86", "x32"];
    if KNOWN.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(Bad::new(Code::UnknownWord, format!("`{}` is not an architecture", text.escape_debug()))
        .help(format!("some of {}", quoted(&KNOWN))))
}

fn families(
    sink: &mut Sink<'_>,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    items: &mut Vec<Range<usize>>,
) -> Option<Value> {
    if let DeValue::Array(array) = value.get_ref() {
        if array.len() == 1 && array.iter().all(|item| item.get_ref().as_str() == Some("all")) {
            return Some(Value::Families(None));
        }
    }
    let mut families = list(sink, key, value, items, |_, t| value::address_family(t))?;
    families.sort();
    families.dedup();
    Some(Value::Families(Some(families)))
}

fn namespace_kinds(
    sink: &mut Sink<'_>,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    items: &mut Vec<Range<usize>>,
) -> Option<RestrictNamespaces> {
    const KINDS: [&str; 8] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"];
    match value.get_ref() {
        DeValue::Boolean(true) => Some(RestrictNamespaces::Except(Vec::new())),
        DeValue::Boolean(false) => Some(RestrictNamespaces::No),
        DeValue::Array(_) => list(sink, key, value, items, |_, text| {
            if KINDS.contains(&text) {
                return Ok(text.to_owned());
            }
            let bad = Bad::new(Code::UnknownWord, format!("`{}` is not a kind of namespace", text.escape_debug()));
            Err(match nearest(text, KINDS) {
                Some(near) => bad.help(format!("did you mean \"{near}\"?")),
                None => bad.help(format!("some of {}", quoted(&KINDS))),
            })
        })
        .map(RestrictNamespaces::Except),
        _ => {
            sink.wrong_type(value, key, "true, false, or an array of kinds that may be made", None);
            None
        }
    }
}

/// Tables whose keys may be missing on a host without changing what the service is.
const MAY_BE_OPTIONAL: [&str; 10] = [
    "filesystem",
    "devices",
    "namespaces",
    "network",
    "capabilities",
    "syscalls",
    "security",
    "resources",
    "resources.rlimits",
    "logging",
];

fn optional_key(text: &str) -> Result<String, Bad> {
    let bad = |code, why: &str| Err(Bad::new(code, format!("`{}` {why}", text.escape_debug())));
    let table = match (keys::find(text), keys::table(text)) {
        (Some((table, key)), _) if key.supported && table.supported => table,
        (_, Some(table)) if table.supported && !text.is_empty() => table,
        (Some(_), _) | (_, Some(_)) => return bad(Code::NotSupported, "is not supported yet"),
        (None, None) => {
            let dotted: Vec<String> = keys::all().map(|(t, k)| t.dotted(k)).collect();
            let help = match keys::all().find(|(_, k)| k.name == text).map(|(t, k)| t.dotted(k)) {
                Some(full) => Some(format!("write \"{full}\"")),
                None => nearest(text, dotted.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?")),
            };
            let mut bad = Bad::new(Code::NotOptional, format!("`{}` is not a key", text.escape_debug()));
            bad.help = help;
            return Err(bad);
        }
    };
    let named = ["service.nice", "service.oom_score_adjust"].contains(&text);
    if named || MAY_BE_OPTIONAL.contains(&table.name) {
        return Ok(text.to_owned());
    }
    bad(Code::NotOptional, "cannot be optional: without it this would be another service")
}

// ── commands ────────────────────────────────────────────────────────────────────────────────────────────────────────

/// The program: absolute, or a plain name.
fn check_program(argv: Vec<String>) -> Result<Vec<String>, Bad> {
    let Some(program) = argv.first() else {
        return Err(Bad::new(Code::BadCommand, "the command is empty"));
    };
    if let Some(n) = argv.iter().position(|a| a.contains('\0')) {
        return Err(Bad::new(Code::BadText, format!("argument {n} contains a NUL")));
    }
    let bad = |why: &str| Bad::new(Code::BadCommand, format!("`{}` {why}", program.escape_debug()));
    if program.is_empty() {
        return Err(Bad::new(Code::BadCommand, "the name of the program is empty"));
    }
    if program.starts_with(['@', '+', '!', ':', '|']) || program.starts_with("-/") {
        let help = match program.starts_with('-') {
            true => "write { argv = [...], ignore_failure = true } where failure does not matter",
            false => "commands have no prefix characters",
        };
        return Err(bad("is not the path of a program").help(help));
    }
    if program.starts_with('-') {
        return Err(bad("is an option, not a program"));
    }
    if !program.starts_with('/') && program.contains('/') {
        return Err(bad("is a relative path").help("write an absolute path, or a plain name to be found in PATH"));
    }
    if program.starts_with('/') {
        value::absolute_path(program)?;
    }
    Ok(argv)
}

fn argv(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Vec<String>> {
    let argv = match value.get_ref() {
        DeValue::String(text) => value::command_line(text),
        DeValue::Array(array) => {
            let mut argv = Vec::with_capacity(array.len());
            for item in array.iter() {
                match item.get_ref().as_str() {
                    Some(text) => argv.push(text.to_owned()),
                    None => {
                        let found = describe(item.get_ref());
                        let message = format!("arguments are strings, not {found}");
                        let number = match item.get_ref() {
                            DeValue::Integer(n) => Some(format!("write \"{n}\"")),
                            _ => None,
                        };
                        sink.add(Code::WrongType, item.span(), key, message, number);
                        return None;
                    }
                }
            }
            Ok(argv)
        }
        _ => {
            sink.wrong_type(value, key, "an array of strings, or one string", None);
            return None;
        }
    };
    parsed_number(sink, key, value, argv.and_then(check_program))
}

fn commands(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Vec<ExecCommand>> {
    let DeValue::Array(array) = value.get_ref() else {
        let help = value.get_ref().as_str().map(|s| format!("write [{s:?}]"));
        sink.wrong_type(value, key, "an array of commands", help);
        return None;
    };
    let is_option = |v: &DeValue<'_>| v.as_str().is_some_and(|s| s.starts_with('-') && !s.starts_with("-/"));
    if array.len() > 1 && array.iter().all(|i| i.get_ref().is_str()) && array.iter().any(|i| is_option(i.get_ref())) {
        let help = "one command is an array inside the array: [[\"/bin/program\", \"-option\"]]".to_owned();
        let message = format!("`{key}` takes an array of commands, not the arguments of one");
        sink.add(Code::BadCommand, value.span(), key, message, Some(help));
        return None;
    }
    let mut all = Some(Vec::new());
    for item in array.iter() {
        let command = match item.get_ref() {
            DeValue::Table(_) => super::tables::command(sink, key, item, argv),
            _ => argv(sink, key, item).map(|argv| ExecCommand { argv, ignore_failure: false }),
        };
        match (command, all.as_mut()) {
            (Some(command), Some(all)) => all.push(command),
            (None, _) => all = None,
            (Some(_), None) => {}
        }
    }
    all
}

// ── maps and sets ───────────────────────────────────────────────────────────────────────────────────────────────────

fn variables(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Vec<(String, String)>> {
    let DeValue::Table(table) = value.get_ref() else {
        let help = Some("write { NAME = \"value\" }".to_owned());
        sink.wrong_type(value, key, "a table of strings", help);
        return None;
    };
    let mut all = Vec::new();
    let before = sink.problems.len();
    for (name, value) in table {
        if let Err(bad) = value::environment_name(name.get_ref()) {
            sink.bad(bad, name.span(), key);
        }
        match value.get_ref() {
            DeValue::String(text) if text.contains('\0') => {
                sink.add(Code::BadText, value.span(), key, format!("`{}` contains a NUL", name.get_ref()), None);
            }
            DeValue::String(text) => all.push((name.get_ref().to_string(), text.to_string())),
            other => {
                let message = format!("`{}` takes a string, not {}", name.get_ref(), describe(other));
                let help = match other {
                    DeValue::Integer(n) => Some(format!("write \"{n}\"")),
                    DeValue::Boolean(b) => Some(format!("write \"{b}\"")),
                    _ => None,
                };
                sink.add(Code::WrongType, value.span(), key, message, help);
            }
        }
    }
    (sink.problems.len() == before).then_some(all)
}

fn statuses(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<StatusSet> {
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

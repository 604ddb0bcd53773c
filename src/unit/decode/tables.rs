//! Values that are small tables themselves: variables, devices, id mappings, I/O limits, shares of CPU time.

use super::number::bytes;
use super::shape::{each, int_of, parsed};
use super::{Sink, describe, word};
use crate::plan::{BlockDevice, CpuMax, DeviceRule, DeviceType, IoMax};
use crate::unit::problem::Code;
use crate::unit::value::{self, Bad, nearest};
use crate::unit::{DeviceAllow, PathEntry};
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The table, if it is one and has no other keys than `known`; `later` are refused as not supported yet.
pub(super) fn fields<'v, 'i>(
    sink: &mut Sink<'_>,
    key: &str,
    value: &'v Spanned<DeValue<'i>>,
    known: &[&str],
    later: &[&str],
) -> Option<&'v DeTable<'i>> {
    let DeValue::Table(table) = value.get_ref() else {
        sink.wrong_type(value, key, &format!("a table with {}", known.join(", ")), None);
        return None;
    };
    let before = sink.problems.len();
    for name in table.keys() {
        let text = name.get_ref().as_ref();
        if later.contains(&text) {
            sink.add(Code::NotSupported, name.span(), key, format!("`{text}` in `{key}` is not supported yet"), None);
        } else if !known.contains(&text) {
            let help = match nearest(text, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known are {}", known.join(", ")),
            };
            sink.add(Code::UnknownKey, name.span(), key, format!("unknown key `{text}` in `{key}`"), Some(help));
        }
    }
    (sink.problems.len() == before).then_some(table)
}

pub(super) fn missing<T>(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>, name: &str) -> Option<T> {
    sink.add(Code::Missing, value.span(), key, format!("`{name}` is missing in `{key}`"), None);
    None
}

/// `[{ path | type + major + minor, access }]`
pub(super) fn devices(
    sink: &mut Sink<'_>,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    items: &mut Vec<Range<usize>>,
) -> Option<Vec<DeviceAllow>> {
    each(sink, key, value, items, |sink, key, item| {
        let table = fields(sink, key, item, &["path", "type", "major", "minor", "access"], &[])?;
        let (read, write, mknod) = match table.get("access") {
            Some(access) => parsed(sink, key, access, "some of \"rwm\"", access_letters)?,
            None => (true, true, false),
        };
        if let Some(path) = table.get("path") {
            if let Some(other) = table.keys().find(|k| matches!(k.get_ref().as_ref(), "type" | "major" | "minor")) {
                let message = format!("`{}` does not go with `path`: the node has its own numbers", other.get_ref());
                sink.add(Code::BadDevice, other.span(), key, message, None);
                return None;
            }
            let path = parsed(sink, key, path, "a path in /dev", |text| {
                let path = value::absolute_path(text)?;
                match path.strip_prefix("/dev") {
                    Ok(rest) if rest != Path::new("") => Ok(path),
                    _ => Err(Bad::new(Code::BadDevice, format!("`{}` is not a node in /dev", text.escape_debug()))),
                }
            })?;
            return Some(DeviceAllow::Path { path, read, write, mknod });
        }
        let Some(kind) = table.get("type") else { return missing(sink, key, item, "path") };
        let kind = parsed(sink, key, kind, "\"char\" or \"block\"", |text| match text {
            "char" | "c" => Ok(DeviceType::Char),
            "block" | "b" => Ok(DeviceType::Block),
            _ => Err(Bad::new(Code::BadDevice, format!("`{}` is not a type of device", text.escape_debug()))
                .help("one of \"char\", \"block\"")),
        })?;
        // 12 bits of major and 20 of minor: the kernel's dev_t.
        let major = number_or_any(sink, key, item, table.get("major"), "major", 1 << 12)?;
        let minor = number_or_any(sink, key, item, table.get("minor"), "minor", 1 << 20)?;
        Some(DeviceAllow::Number(DeviceRule { kind, major, minor, read, write, mknod }))
    })
}

fn access_letters(text: &str) -> Result<(bool, bool, bool), Bad> {
    let good = !text.is_empty()
        && text.chars().all(|c| "rwm".contains(c))
        && text.chars().all(|c| text.matches(c).count() == 1);
    match good {
        true => Ok((text.contains('r'), text.contains('w'), text.contains('m'))),
        false => Err(Bad::new(Code::BadDevice, format!("`{}` is not an access to a device", text.escape_debug()))
            .help("some of r (read), w (write), m (make the node), such as \"rw\"")),
    }
}

fn number_or_any(
    sink: &mut Sink<'_>,
    key: &str,
    device: &Spanned<DeValue<'_>>,
    value: Option<&Spanned<DeValue<'_>>>,
    name: &str,
    limit: i64,
) -> Option<Option<u32>> {
    let Some(value) = value else { return missing(sink, key, device, name) };
    if value.get_ref().as_str() == Some("*") {
        return Some(None);
    }
    match int_of(value.get_ref()).filter(|n| (0..limit).contains(n)).and_then(|n| u32::try_from(n).ok()) {
        Some(number) => Some(Some(number)),
        None => {
            let message = format!("`{name}` must be 0 to {}, or \"*\"", limit - 1);
            sink.add(Code::BadDevice, value.span(), key, message, None);
            None
        }
    }
}

/// `[{ container_id, host_id, size }]`
pub(super) fn mappings(
    sink: &mut Sink<'_>,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    items: &mut Vec<Range<usize>>,
) -> Option<Vec<(u32, u32, u32)>> {
    each(sink, key, value, items, |sink, key, item| {
        let names = ["container_id", "host_id", "size"];
        let table = fields(sink, key, item, &names, &[])?;
        let mut numbers = [0_u32; 3];
        for (name, number) in names.iter().zip(&mut numbers) {
            let Some(value) = table.get(*name) else { return missing(sink, key, item, name) };
            // 4294967295 means "no id" to the kernel and cannot be mapped.
            let limit = i64::from(u32::MAX);
            let given = int_of(value.get_ref()).filter(|n| (0..=limit).contains(n)).and_then(|n| u32::try_from(n).ok());
            let Some(given) = given.filter(|n| *n < u32::MAX || *name == "size") else {
                sink.add(Code::BadMapping, value.span(), key, format!("`{name}` must be 0 to {}", limit - 1), None);
                return None;
            };
            *number = given;
        }
        let [inside, outside, size] = numbers;
        let fits = |from: u32| from.checked_add(size).is_some();
        if size == 0 || !fits(inside) || !fits(outside) {
            let message = "a mapping has at least one id and ends at 4294967294";
            sink.add(Code::BadMapping, item.span(), key, message, None);
            return None;
        }
        Some((inside, outside, size))
    })
}

/// `"150%"` or `{ quota, period }`
pub(super) fn cpu_share(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<CpuMax> {
    if !value.get_ref().is_table() {
        return parsed(sink, key, value, "a text such as \"150%\", or { quota, period }", value::cpu_share);
    }
    let table = fields(sink, key, value, &["quota", "period"], &[])?;
    let mut time = |name: &str, default: Option<u64>| match table.get(name) {
        None => Some(default),
        Some(value) => parsed(sink, key, value, "a duration such as \"50ms\"", value::micros),
    };
    let quota = time("quota", None)?;
    let period = time("period", Some(100_000))?;
    let problem = match (quota, period) {
        (_, period) if !period.is_some_and(|p| (1_000..=1_000_000).contains(&p)) => "`period` must be 1ms to 1s",
        (Some(quota), _) if quota < 1_000 => "`quota` must be at least 1ms",
        (quota, period) => return Some(CpuMax { quota, period: period.unwrap_or(100_000) }),
    };
    sink.add(Code::BadCpus, value.span(), key, problem, None);
    None
}

/// `[{ device, rbps, wbps, riops, wiops }]`
pub(super) fn io_max(
    sink: &mut Sink<'_>,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    items: &mut Vec<Range<usize>>,
) -> Option<Vec<IoMax>> {
    each(sink, key, value, items, |sink, key, item| {
        let limits = ["rbps", "wbps", "riops", "wiops"];
        let table = fields(sink, key, item, &["device", "rbps", "wbps", "riops", "wiops"], &[])?;
        let Some(device) = table.get("device") else { return missing(sink, key, item, "device") };
        let device = parsed(sink, key, device, "a path or \"MAJOR:MINOR\"", |text| {
            if text.starts_with('/') {
                return Ok(BlockDevice::Path(value::absolute_path(text)?.to_string_lossy().into_owned()));
            }
            value::device_number(text).map(|(major, minor)| BlockDevice::Number(major, minor))
        })?;
        let mut amounts = [None; 4];
        for (name, amount) in limits.iter().zip(&mut amounts) {
            if let Some(value) = table.get(*name) {
                let given = bytes(sink, key, value)?;
                if given == 0 {
                    sink.add(Code::OutOfRange, value.span(), key, format!("`{name}` must be at least 1"), None);
                    return None;
                }
                *amount = (given != u64::MAX).then_some(given);
            }
        }
        if limits.iter().all(|name| table.get(*name).is_none()) {
            let message = format!("none of {} is given", limits.join(", "));
            sink.add(Code::Missing, item.span(), key, message, None);
            return None;
        }
        let [rbps, wbps, riops, wiops] = amounts;
        Some(IoMax { device, rbps, wbps, riops, wiops })
    })
}

/// `{ "2MB" = "64M" }`
pub(super) fn huge_pages(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Vec<(String, u64)>> {
    let DeValue::Table(table) = value.get_ref() else {
        sink.wrong_type(value, key, "a table such as { \"2MB\" = \"64M\" }", None);
        return None;
    };
    let mut all = Some(Vec::new());
    for (name, amount) in table {
        let digits = name.get_ref().trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = &name.get_ref()[digits.len()..];
        let good =
            !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && ["KB", "MB", "GB"].contains(&unit);
        if !good {
            let message = format!("`{}` is not a size of huge pages", name.get_ref().escape_debug());
            let help = Some("write it as the kernel does: \"64KB\", \"2MB\", \"1GB\"".to_owned());
            sink.add(Code::BadSize, name.span(), key, message, help);
        }
        match (bytes(sink, key, amount), all.as_mut()) {
            (Some(bytes), Some(all)) if good => all.push((name.get_ref().to_string(), bytes)),
            _ => all = None,
        }
    }
    all
}

/// `{ NAME = "value" }`: texts by name; `check` says which names are possible.
pub(super) fn texts(
    sink: &mut Sink<'_>,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    check: fn(&str) -> Result<(), Bad>,
) -> Option<Vec<(String, String)>> {
    let DeValue::Table(table) = value.get_ref() else {
        let help = Some("write { NAME = \"value\" }".to_owned());
        sink.wrong_type(value, key, "a table of strings", help);
        return None;
    };
    let mut all = Vec::new();
    let before = sink.problems.len();
    for (name, value) in table {
        if let Err(bad) = check(name.get_ref()) {
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

/// `{ NAME = "/path" }`; the places of the names go to `items`.
pub(super) fn credential_paths(
    sink: &mut Sink<'_>,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    items: &mut Vec<Range<usize>>,
) -> Option<Vec<(String, PathEntry)>> {
    let DeValue::Table(table) = value.get_ref() else {
        let help = Some("write { NAME = \"/path\" }".to_owned());
        sink.wrong_type(value, key, "a table of paths", help);
        return None;
    };
    let mut all = Vec::new();
    let before = sink.problems.len();
    for (name, path) in table {
        if let Err(bad) = value::credential_name(name.get_ref()) {
            sink.bad(bad, name.span(), key);
        }
        if let Some(entry) = parsed(sink, key, path, "a table of paths", word::path_entry) {
            all.push((name.get_ref().to_string(), entry));
            items.push(name.span());
        }
    }
    (sink.problems.len() == before).then_some(all)
}

/// `{ NAME = "text" }`; the places of the names go to `items`.
pub(super) fn credential_texts(
    sink: &mut Sink<'_>,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    items: &mut Vec<Range<usize>>,
) -> Option<Vec<(String, String)>> {
    let all = texts(sink, key, value, value::credential_name)?;
    if let DeValue::Table(table) = value.get_ref() {
        items.extend(table.keys().map(|name| name.span()));
    }
    Some(all)
}

//! Words, names, and the small languages of one string.

use super::Sink;
use super::shape::{checked, list, parsed};
use super::value::{UserWord, Value};
use crate::unit::keys;
use crate::unit::problem::Code;
use crate::unit::value::{self, Bad, nearest};
use crate::unit::{Account, Isolation, NetworkMode, PathEntry, RestrictNamespaces, Upper};
use std::ops::Range;
use std::path::PathBuf;
use toml::Spanned;
use toml::de::DeValue;

pub(super) fn one_line(text: &str) -> Result<String, Bad> {
    match text.chars().find(|c| c.is_control() && *c != '\t') {
        Some(c) => Err(Bad::new(Code::BadText, format!("the text contains the character `{}`", c.escape_debug()))),
        None => Ok(text.to_owned()),
    }
}

pub(super) fn text(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
    parsed(sink, key, value, "a string", one_line)
}

pub(super) fn hostname(text: &str) -> Result<String, Bad> {
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

/// A profile of AppArmor, or a context of SELinux: user, role, type, and perhaps a level.
pub(super) fn process_label(key: &str, text: &str) -> Result<String, Bad> {
    let label = one_line(text)?;
    // A page is what the kernel takes in one write; both stay far below.
    if label.trim() != label || label.is_empty() || label.len() > 1024 {
        return Err(Bad::new(Code::BadText, format!("`{}` is no label of a process", text.escape_debug()))
            .help("1 to 1024 characters, without blanks at its ends"));
    }
    let parts = || label.split(':');
    if key.ends_with("selinux_context") && (parts().count() < 3 || parts().any(str::is_empty)) {
        return Err(Bad::new(Code::BadText, format!("`{}` is no SELinux context", text.escape_debug()))
            .help("write \"USER:ROLE:TYPE\" or \"USER:ROLE:TYPE:LEVEL\", such as \"system_u:system_r:httpd_t:s0\""));
    }
    Ok(label)
}

pub(super) fn word(
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

pub(super) fn path_entry(text: &str) -> Result<PathEntry, Bad> {
    let (path, optional) = text.strip_prefix('-').map_or((text, false), |rest| (rest, true));
    Ok(PathEntry { path: value::absolute_path(path)?, optional })
}

fn path_word(key: &str, text: &str, words: &[&str]) -> Result<PathBuf, Bad> {
    if let Some(path) = text.strip_prefix("path:") {
        return value::absolute_path(path);
    }
    if text.starts_with("unit:") {
        let message = format!("`{key}` cannot be that of another unit");
        let help = "network.mode, namespaces.ipc, namespaces.uts and namespaces.pid can";
        return Err(Bad::new(Code::NotSupported, message).help(help));
    }
    let bad = Bad::new(Code::UnknownWord, format!("`{}` is not a value of `{key}`", text.escape_debug()));
    Err(match nearest(text, words.iter().copied()) {
        Some(near) => bad.help(format!("did you mean \"{near}\"?")),
        None => bad.help(format!("one of {}, or \"path:FILE\"", quoted(words))),
    })
}

/// What follows `unit:`, if it is the name of a unit.
fn unit_word(text: &str) -> Option<Result<String, Bad>> {
    let name = text.strip_prefix("unit:")?;
    Some(value::unit_name(name).map(|()| name.to_owned()))
}

/// Kinds of namespace that several units can share. A mount namespace carries the file rules of one unit, a cgroup
/// namespace the view of one group, and a time namespace cannot be entered by a process that is to stay.
const SHARED: [&str; 3] = ["namespaces.ipc", "namespaces.uts", "namespaces.pid"];

pub(super) fn namespace(key: &str, text: &str) -> Result<Isolation, Bad> {
    if let (true, Some(name)) = (SHARED.contains(&key), unit_word(text)) {
        return name.map(Isolation::Unit);
    }
    match text {
        "private" => Ok(Isolation::Private),
        "host" => Ok(Isolation::Host),
        _ => path_word(key, text, &["private", "host"]).map(Isolation::Path),
    }
}

pub(super) fn user_namespace(key: &str, text: &str) -> Result<UserWord, Bad> {
    match text {
        "host" => Ok(UserWord::Host),
        "identity" => Ok(UserWord::Identity),
        "mapped" => Ok(UserWord::Mapped),
        "auto" => Ok(UserWord::Auto),
        _ => path_word(key, text, &["host", "identity", "auto", "mapped"]).map(UserWord::Path),
    }
}

pub(super) fn network(key: &str, text: &str) -> Result<NetworkMode, Bad> {
    if let Some(name) = unit_word(text) {
        return name.map(NetworkMode::Unit);
    }
    match text {
        "host" => Ok(NetworkMode::Host),
        "loopback" => Ok(NetworkMode::Loopback),
        "veth" => Err(Bad::new(Code::NotSupported, format!("`{key} = \"veth\"` is not supported yet"))),
        "private" => Err(Bad::new(Code::UnknownWord, format!("`private` is not a value of `{key}`"))
            .help("an own network with only `lo` is \"loopback\"")),
        _ => path_word(key, text, &["host", "loopback"]).map(NetworkMode::Path),
    }
}

pub(super) fn upper(key: &str, text: &str) -> Result<Upper, Bad> {
    match text {
        "ephemeral" => Ok(Upper::Ephemeral),
        "persistent" => Ok(Upper::Persistent),
        _ if text.starts_with('/') => value::absolute_path(text).map(Upper::Path),
        _ => Err(Bad::new(Code::UnknownWord, format!("`{}` is not a value of `{key}`", text.escape_debug()))
            .help("one of \"ephemeral\", \"persistent\", or an absolute path")),
    }
}

pub(super) fn architecture(text: &str) -> Result<String, Bad> {
    const KNOWN: [&str; 3] = ["native", "x86", "x32"];
    if KNOWN.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(Bad::new(Code::UnknownWord, format!("`{}` is not an architecture", text.escape_debug()))
        .help(format!("some of {}", quoted(&KNOWN))))
}

pub(super) fn families(
    sink: &mut Sink<'_>,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    items: &mut Vec<Range<usize>>,
) -> Option<Value> {
    if is_all(value) {
        return Some(Value::Families(None));
    }
    let mut families = list(sink, key, value, items, |_, t| value::address_family(t))?;
    families.sort_by_key(|family| family.number);
    families.dedup();
    Some(Value::Families(Some(families)))
}

/// Is the list `["all"]`, which is no restriction?
fn is_all(value: &Spanned<DeValue<'_>>) -> bool {
    let DeValue::Array(array) = value.get_ref() else { return false };
    array.len() == 1 && array.iter().all(|item| item.get_ref().as_str() == Some("all"))
}

pub(super) fn ports(
    sink: &mut Sink<'_>,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    items: &mut Vec<Range<usize>>,
) -> Option<Value> {
    if is_all(value) {
        return Some(Value::Ports(None));
    }
    list(sink, key, value, items, |_, text| value::port_rule(text)).map(|rules| Value::Ports(Some(rules)))
}

pub(super) fn namespace_kinds(
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

pub(super) fn optional_key(text: &str) -> Result<String, Bad> {
    let bad = |code, why: &str| Err(Bad::new(code, format!("`{}` {why}", text.escape_debug())));
    let table = match (keys::find(text), keys::table(text)) {
        (Some((table, key)), _) if key.supported => table,
        (_, Some(table)) if !text.is_empty() => table,
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

pub(super) fn account(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Account> {
    let result = match value.get_ref() {
        DeValue::Integer(number) if number.radix() == 10 => value::account(number.as_str()),
        DeValue::String(text) if text == "auto" && key == "service.user" => Ok(Account::Auto),
        DeValue::String(text) => value::account(text),
        _ => {
            sink.wrong_type(value, key, "a name or a number", None);
            return None;
        }
    };
    checked(sink, key, value, result)
}

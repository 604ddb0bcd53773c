//! Unknown keys and tables: what was probably meant.

use super::Sink;
use crate::unit::keys::{self, Table};
use crate::unit::problem::Code;
use crate::unit::value::nearest;
use std::ops::Range;
use toml::Spanned;
use toml::de::DeValue;

const REFUSED: &str = "the unit is refused: a mistyped protection must not be silently off";

/// A name at the top that is neither a key there nor a table.
pub(super) fn unknown_at_top(sink: &mut Sink<'_>, name: &str, span: Range<usize>, value: &Spanned<DeValue<'_>>) {
    let is_table = match value.get_ref() {
        DeValue::Table(_) => true,
        DeValue::Array(items) => !items.is_empty() && items.iter().all(|i| i.get_ref().is_table()),
        _ => false,
    };
    if !is_table {
        let top = keys::table("").expect("the key table has the top of the file");
        return unknown_key(sink, top, name, span);
    }
    let names = keys::TABLES.iter().map(|t| t.name).filter(|n| !n.is_empty() && !n.contains('.'));
    let near = nearest(name, names);
    sink.meant_exec |= near == Some("service");
    let help = match near {
        Some(near) => {
            let header = keys::table(near).map_or_else(String::new, Table::header);
            format!("did you mean {header}?")
        }
        None if name == "Socket" => "write [[sockets]]".to_owned(),
        None => format!("tables for other tools are written [x-{}]", name.to_ascii_lowercase().replace(' ', "-")),
    };
    sink.add(Code::UnknownTable, span, name, format!("unknown table [{name}]"), Some(help));
}

/// A key that its table does not have: the same table, other tables, systemd's names.
pub(super) fn unknown_key(sink: &mut Sink<'_>, table: &'static Table, name: &str, span: Range<usize>) {
    let dotted = if table.name.is_empty() { name.to_owned() } else { format!("{}.{name}", table.name) };
    let place =
        if table.name.is_empty() { "at the top of the file".to_owned() } else { format!("in {}", table.header()) };
    let unknown = format!("unknown key `{name}` {place}");
    let systemd = keys::by_systemd_name(name).map(|(t, k)| t.dotted(k));
    sink.meant_exec |= name == "exec" || systemd.as_deref() == Some("service.exec");
    if name.contains(|c: char| c.is_ascii_uppercase())
        && let Some(ours) = systemd
    {
        let help = format!("systemd's `{name}` is `{ours}` here");
        return sink.add(Code::UnknownKey, span, &dotted, unknown, Some(help));
    }
    if let Some(help) = systemd_only(name) {
        return sink.add(Code::UnknownKey, span, &dotted, unknown, Some(help.to_owned()));
    }
    let elsewhere: Vec<String> =
        keys::all().filter(|(t, k)| k.name == name && t.name != table.name).map(|(t, _)| t.header()).collect();
    if !elsewhere.is_empty() {
        let help = format!("this key lives in {}", elsewhere.join(" and "));
        return sink.add(Code::WrongTable, span, &dotted, unknown, Some(help));
    }
    if let Some(near) = nearest(name, table.keys.iter().map(|k| k.name)) {
        sink.meant_exec |= (table.name, near) == ("service", "exec");
        let help = format!("did you mean `{near}`?");
        return sink.add(Code::UnknownKey, span, &dotted, unknown, Some(help));
    }
    if let Some(near) = nearest(name, keys::all().map(|(_, k)| k.name)) {
        let (other, _) = keys::all().find(|(_, k)| k.name == near).expect("the name came from this list");
        let help = format!("did you mean `{near}`, which lives in {}?", other.header());
        return sink.add(Code::UnknownKey, span, &dotted, unknown, Some(help));
    }
    let all = || keys::all().flat_map(|(t, k)| k.systemd.iter().map(move |s| (*s, t, k)));
    let help = match nearest(name, all().map(|(s, _, _)| s)) {
        Some(near) => {
            let (_, t, k) = all().find(|(s, _, _)| *s == near).expect("the name came from this list");
            format!("systemd's `{near}` is `{}` here", t.dotted(k))
        }
        None => REFUSED.to_owned(),
    };
    sink.add(Code::UnknownKey, span, &dotted, unknown, Some(help));
}

/// Keys of systemd that have no counterpart of one key.
fn systemd_only(name: &str) -> Option<&'static str> {
    Some(match name {
        "ExecCondition" => "there is no counterpart: use exec_start_pre",
        "PermissionsStartOnly" | "BusName" | "GuessMainPID" | "SendSIGKILL" | "FinalKillSignal" | "SendSIGHUP" => {
            "there is no counterpart of this key of systemd"
        }
        "SecureBits" => "there is no counterpart: they are set as the capabilities need",
        _ => return None,
    })
}

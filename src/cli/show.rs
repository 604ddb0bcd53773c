//! `rsvc show`: the configuration in force, key by key, each with who gave the value.

use super::terminal::{Color, Look, harmless};
use super::{Failure, Session, units};
use crate::plan::Place;
use crate::unit::{EffectiveValue, ValueOrigin};
use serde_json::json;

/// Column of the origins, when the value leaves room.
const ORIGIN: usize = 44;

/// `show`
pub fn show(session: &mut Session<'_>, target: &str, wanted: &[String]) -> Result<u8, Failure> {
    let (unit, warnings, found) = units::parse(session, target)?;
    let all = unit.effective();
    for key in wanted {
        if !all.iter().any(|value| is_wanted(value, key)) && crate::unit::keys::find(key).is_none() {
            return Err(Failure::new(2, format!("no key or table `{}`; see `rsvc explain`", harmless(key))));
        }
    }
    let values: Vec<&EffectiveValue> =
        all.iter().filter(|value| wanted.is_empty() || wanted.iter().any(|key| is_wanted(value, key))).collect();
    if session.json() {
        for value in values {
            session.object(&object(value, &unit.file))?;
        }
        return Ok(0);
    }
    if !warnings.is_empty() {
        let text = found.draw(&warnings, units::style(session));
        session.say(&text);
    }
    super::terminal::page(&listing(&values, session.look), session.look, session.no_pager, session.out)?;
    Ok(0)
}

/// The key itself, or a key of the table.
fn is_wanted(value: &EffectiveValue, key: &str) -> bool {
    let plain = value.key.split('[').next().unwrap_or_default();
    value.key == key || value.key.strip_prefix(key).is_some_and(|rest| rest.starts_with(['.', '['])) || plain == key
}

/// `file` is the unit's own: another one is a drop-in.
fn object(value: &EffectiveValue, file: &str) -> serde_json::Value {
    let place = match &value.origin {
        ValueOrigin::File(place) => Some(place),
        _ => None,
    };
    let origin = match &value.origin {
        ValueOrigin::File(place) if place.file != file => "drop-in",
        ValueOrigin::File(_) => "file",
        ValueOrigin::Profile(_) => "profile",
        ValueOrigin::Default => "default",
    };
    json!({
        "v": 1,
        "key": value.key,
        "value": value.value,
        "origin": origin,
        "profile": match &value.origin { ValueOrigin::Profile(profile) => Some(profile.as_str()), _ => None },
        "file": place.map(|p| p.file.clone()),
        "line": place.map(|p| p.line),
        "column": place.map(|p| p.column),
        "changes": value.changes.iter().map(change).collect::<Vec<_>>(),
    })
}

fn change(place: &Place) -> serde_json::Value {
    json!({ "file": place.file, "line": place.line, "column": place.column })
}

/// As a unit file, with the origins as comments.
fn listing(values: &[&EffectiveValue], look: Look) -> String {
    let mut text = String::new();
    let mut table = None;
    for value in values {
        let (in_table, key) = value.key.rsplit_once('.').unwrap_or(("", &value.key));
        if table != Some(in_table) {
            if !in_table.is_empty() {
                let header = if in_table.ends_with(']') { format!("# {in_table}") } else { format!("[{in_table}]") };
                let gap = if text.is_empty() { "" } else { "\n" };
                text += &format!("{gap}{}\n", look.paint(Color::Bold, &header));
            }
            table = Some(in_table);
        }
        let line = format!("{key} = {}", harmless(&value.value));
        let base = match &value.origin {
            ValueOrigin::File(place) => Some(format!("{}:{}", place.file, place.line)),
            ValueOrigin::Profile(profile) => Some(format!("profile {}", profile.as_str())),
            ValueOrigin::Default if value.changes.is_empty() => None,
            ValueOrigin::Default => Some("default".to_owned()),
        };
        let changes = value.changes.iter().map(|place| format!("{}:{}", place.file, place.line));
        let origins: Vec<String> = base.into_iter().chain(changes).collect();
        let origin = if origins.is_empty() { String::new() } else { format!("# {}", origins.join(", ")) };
        let padding = if origin.is_empty() { 0 } else { ORIGIN.saturating_sub(line.chars().count()).max(2) };
        text += &format!("{line}{}{}\n", " ".repeat(padding), look.paint(Color::Dim, &harmless(&origin)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::Profile;

    fn value(key: &str, value: &str, origin: ValueOrigin) -> EffectiveValue {
        EffectiveValue { key: key.into(), value: value.into(), origin, changes: Vec::new() }
    }

    fn values() -> Vec<EffectiveValue> {
        let place = Place { file: "/u/web.toml".into(), line: 4, column: 1 };
        vec![
            value("schema", "1", ValueOrigin::Default),
            value("service.exec", "[\"/bin/true\"]", ValueOrigin::File(place)),
            value("service.umask", "\"0022\"", ValueOrigin::Default),
            value("filesystem.protect_system", "\"strict\"", ValueOrigin::Profile(Profile::Strict)),
        ]
    }

    #[test]
    fn the_listing_reads_as_a_unit_file() {
        let expected = "\
schema = 1

[service]
exec = [\"/bin/true\"]                        # /u/web.toml:4
umask = \"0022\"

[filesystem]
protect_system = \"strict\"                   # profile strict
";
        assert_eq!(listing(&values().iter().collect::<Vec<_>>(), Look::PLAIN), expected);
    }

    #[test]
    fn keys_and_tables_can_be_asked_for() {
        let all = values();
        let wanted = |key: &str| all.iter().filter(|v| is_wanted(v, key)).count();
        assert_eq!((wanted("service"), wanted("service.exec"), wanted("serv"), wanted("filesystem")), (2, 1, 0, 1));
        let entry = value("mounts[0].source", "\"/x\"", ValueOrigin::Default);
        assert!(is_wanted(&entry, "mounts"));
    }

    #[test]
    fn json_tells_the_origin() {
        let all = values();
        assert_eq!(object(&all[1], "/u/web.toml")["line"], 4);
        assert_eq!(object(&all[1], "/u/web.toml")["origin"], "file");
        assert_eq!(object(&all[3], "/u/web.toml")["profile"], "strict");
        assert_eq!(object(&all[0], "/u/web.toml")["origin"], "default");
    }
}

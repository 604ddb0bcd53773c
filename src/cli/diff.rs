//! `rsvc diff`: two configurations, key by key. What a unit runs with against its files on disk, or two of the latter.
//!
//! Compared is what is in force, with profile and defaults: a line that says what holds anyway is no difference.

use super::client::Client;
use super::terminal::{Color, harmless};
use super::{Failure, Session, units};
use crate::control::{Answer, Call, ConfiguredValue};
use serde_json::json;
use std::collections::BTreeMap;

/// One side: what it is called, and its values.
struct Side {
    name: String,
    values: Vec<ConfiguredValue>,
}

/// A key whose values are not the same; one of them may be unset.
struct Difference<'s> {
    key: &'s str,
    old: Option<&'s ConfiguredValue>,
    new: Option<&'s ConfiguredValue>,
}

/// `diff`: 0 when both sides are the same, 1 when they differ.
pub fn diff(session: &mut Session<'_>, first: &str, second: Option<&str>) -> Result<u8, Failure> {
    let (old, new) = match second {
        Some(second) => (on_disk(session, first)?, on_disk(session, second)?),
        None => {
            let found = units::read(session, first)?;
            (running(session, &found.name)?, on_disk(session, first)?)
        }
    };
    let differences = compare(&old.values, &new.values);
    if session.json() {
        for difference in &differences {
            session.object(&object(difference))?;
        }
    } else if !differences.is_empty() {
        let look = session.look;
        let mut text = format!("--- {}\n+++ {}\n", harmless(&old.name), harmless(&new.name));
        for Difference { key, old, new } in &differences {
            for (value, sign, color) in [(old, "-", Color::Red), (new, "+", Color::Green)] {
                let Some(value) = value else { continue };
                let line = look.paint(color, &harmless(&format!("{sign} {key} = {}", value.value)));
                text += &format!("{line}{}\n", look.paint(Color::Dim, &harmless(&place(value))));
            }
        }
        super::terminal::page(&text, look, session.no_pager, session.out)?;
    }
    Ok(u8::from(!differences.is_empty()))
}

fn on_disk(session: &mut Session<'_>, target: &str) -> Result<Side, Failure> {
    let (unit, _, found) = units::parse(session, target)?;
    let values = unit.effective().into_iter().map(ConfiguredValue::from).collect();
    Ok(Side { name: found.file.display().to_string(), values })
}

fn running(session: &mut Session<'_>, unit: &str) -> Result<Side, Failure> {
    let mut client = Client::connect(&session.instance.socket())?;
    match client.call(&Call::Configuration { unit: unit.to_owned() })?.map_err(Failure::from)? {
        Answer::Configuration(values) => Ok(Side { name: format!("{unit}, as it runs"), values }),
        _ => Err(Failure::new(1, "the supervisor answered another question")),
    }
}

/// In the order of the new side; what only the old one has comes last.
fn compare<'s>(old: &'s [ConfiguredValue], new: &'s [ConfiguredValue]) -> Vec<Difference<'s>> {
    let mut left: BTreeMap<&str, &ConfiguredValue> = old.iter().map(|value| (value.key.as_str(), value)).collect();
    let mut differences = Vec::new();
    for value in new {
        let old = left.remove(value.key.as_str());
        if old.is_none_or(|old| old.value != value.value) {
            differences.push(Difference { key: &value.key, old, new: Some(value) });
        }
    }
    differences.extend(left.into_iter().map(|(key, value)| Difference { key, old: Some(value), new: None }));
    differences
}

fn place(value: &ConfiguredValue) -> String {
    match (&value.file, value.line) {
        (Some(file), Some(line)) => format!("   # {file}:{line}"),
        _ => String::new(),
    }
}

fn object(difference: &Difference<'_>) -> serde_json::Value {
    let side =
        |value: Option<&ConfiguredValue>| value.map(|v| json!({ "value": v.value, "file": v.file, "line": v.line }));
    json!({ "v": 1, "key": difference.key, "old": side(difference.old), "new": side(difference.new) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(key: &str, value: &str) -> ConfiguredValue {
        ConfiguredValue { key: key.into(), value: value.into(), file: None, line: None }
    }

    #[test]
    fn only_what_differs_is_told_with_both_values() {
        let old = [value("a", "1"), value("b", "1"), value("gone", "1")];
        let new = [value("new", "1"), value("a", "1"), value("b", "2")];
        let differences = compare(&old, &new);
        let told: Vec<_> = differences
            .iter()
            .map(|d| (d.key, d.old.map(|v| v.value.as_str()), d.new.map(|v| v.value.as_str())))
            .collect();
        assert_eq!(told, [("new", None, Some("1")), ("b", Some("1"), Some("2")), ("gone", Some("1"), None)]);
        assert!(compare(&old, &old).is_empty());
    }
}

//! `rsvc explain`: what a key of the unit file means, from the key table.

use super::terminal::{Color, Look, harmless, page};
use super::{Failure, Session};
use crate::unit::keys::{self, Key, Table};
use crate::unit::value::nearest;
use serde_json::json;

/// `explain`: a key, a table, systemd's name of a key, or the list of all tables.
pub fn explain(session: &mut Session<'_>, word: Option<&str>) -> Result<u8, Failure> {
    // As people copy it: `[resources]` from a file, `ProtectSystem=` from systemd's.
    let word = word.map(|word| word.trim_matches(['[', ']']).trim_end_matches('='));
    let text = match word {
        None => tables(session.look),
        Some(word) => crate::unit::explain(word).ok_or_else(|| unknown(word))?,
    };
    if session.json() {
        for (table, key) in word.map_or_else(|| keys::all().collect(), find) {
            session.object(&object(table, key))?;
        }
        return Ok(0);
    }
    page(&text, session.look, session.no_pager, session.out)?;
    Ok(0)
}

/// The keys that `word` stands for, as [`crate::unit::explain`] understands it.
fn find(word: &str) -> Vec<(&'static Table, &'static Key)> {
    if let Some(found) = keys::find(word) {
        return vec![found];
    }
    if let Some(table) = keys::table(word) {
        return table.keys.iter().map(|key| (table, key)).collect();
    }
    let same: Vec<_> = keys::all().filter(|(_, key)| key.name == word).collect();
    if same.is_empty() { keys::by_systemd_name(word).into_iter().collect() } else { same }
}

fn unknown(word: &str) -> Failure {
    let names: Vec<String> = keys::all()
        .map(|(table, key)| table.dotted(key))
        .chain(keys::TABLES.iter().map(|table| table.name.to_owned()))
        .collect();
    let shown = harmless(word);
    let nearest = nearest(word, names.iter().map(String::as_str))
        .map(str::to_owned)
        .or_else(|| {
            let key = nearest(word, keys::all().map(|(_, key)| key.name))?;
            keys::all().find(|(_, k)| k.name == key).map(|(table, key)| table.dotted(key))
        })
        .map(|near| format!("; did you mean `{near}`?"));
    Failure::new(2, format!("no key `{shown}`{}", nearest.unwrap_or_default()))
}

fn object(table: &Table, key: &Key) -> serde_json::Value {
    json!({
        "v": 1,
        "key": table.dotted(key),
        "type": crate::unit::type_words(key.kind),
        "default": key.default,
        "default_note": key.default_note,
        "doc": key.doc,
        "since": key.since,
        "systemd": key.systemd,
        "supported": key.supported,
    })
}

fn tables(look: Look) -> String {
    let mut text = String::new();
    for table in keys::TABLES.iter().filter(|table| !table.name.is_empty()) {
        text += &format!("{}\n  {}\n", look.paint(Color::Bold, &table.header()), table.doc);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_form_finds_what_the_text_form_finds() {
        for word in ["filesystem.protect_system", "protect_system", "ProtectSystem", "resources", "user", "nonsense"] {
            let found = find(word);
            assert_eq!(found.is_empty(), crate::unit::explain(word).is_none(), "{word}");
            for (table, key) in found {
                assert!(
                    crate::unit::explain(word).is_some_and(|text| text.contains(key.name)),
                    "{word} {}",
                    table.name
                );
            }
        }
    }

    #[test]
    fn an_unknown_key_gets_a_suggestion() {
        assert_eq!(
            unknown("filesystem.protect_sytem").to_string(),
            "no key `filesystem.protect_sytem`; did you mean `filesystem.protect_system`?"
        );
        assert_eq!(
            unknown("protect_sytem").to_string(),
            "no key `protect_sytem`; did you mean `filesystem.protect_system`?"
        );
        assert_eq!(unknown("zzzzzzzzzz").to_string(), "no key `zzzzzzzzzz`");
    }

    #[test]
    fn the_list_of_tables_is_complete() {
        let text = tables(Look::PLAIN);
        for table in keys::TABLES.iter().filter(|table| !table.name.is_empty()) {
            assert!(text.contains(&table.header()), "{}", table.name);
        }
    }
}

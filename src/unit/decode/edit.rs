//! A later text over the earlier ones: what replaces, what merges, and `key.append` and `key.remove`.
//!
//! `key = value` replaces; tables of a user's own names (environment, huge pages, credentials) merge name by name; an entry of
//! `[[mounts]]` is added, or replaces the one with the same destination. Changes of lists are only collected here, as
//! the list may be the profile's, which is known when all texts are; [`super::super::merge`] applies them.

use super::shape::each;
use super::tables::fields;
use super::value::{Edit, EditedList, Entry, History, MountEntry, Places, Source, Value, Values};
use super::{Sink, kinds};
use crate::unit::keys::{Key, Kind, Table};
use crate::unit::problem::Code;
use crate::unit::value::nearest;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

const WORDS: [&str; 2] = ["append", "remove"];

/// Is the value of a list's key a change of the list?
pub(super) fn is_edit(kind: Kind, value: &DeValue<'_>) -> bool {
    let like_a_word = |name: &str| nearest(name, WORDS).is_some();
    match value {
        DeValue::Table(table) => kinds::is_list(kind) && table.keys().any(|name| like_a_word(name.get_ref())),
        _ => false,
    }
}

/// `{ append = [...], remove = [...] }`, usually written `key.append = [...]`.
pub(super) fn decode(
    sink: &mut Sink<'_>,
    values: &mut Values,
    table: &'static Table,
    key: &'static Key,
    key_span: Range<usize>,
    value: &Spanned<DeValue<'_>>,
) {
    let dotted = table.dotted(key);
    if table.array {
        let message = format!("`{dotted}` of a new entry inherits nothing that could be changed");
        return sink.add(Code::WrongType, key_span, &dotted, message, Some("write the whole list".to_owned()));
    }
    let Some(lists) = fields(sink, &dotted, value, &WORDS, &[]) else { return };
    let place = Places { key: sink.absolute(key_span), value: sink.absolute(value.span()), items: Vec::new() };
    let before = sink.problems.len();
    let append = lists.get("append").and_then(|list| elements(sink, key.kind, &dotted, list));
    let remove = lists.get("remove").and_then(|list| elements(sink, key.kind, &dotted, list));
    if sink.problems.len() == before {
        values.edits.push(Edit { table: table.name, key: key.name, append, remove, place });
    }
}

/// The elements of one of the two lists, as the key's own list would be read.
fn elements(sink: &mut Sink<'_>, kind: Kind, key: &str, list: &Spanned<DeValue<'_>>) -> Option<EditedList> {
    let mut items = Vec::new();
    let value = match kind {
        // Arguments only: the first of them is not the program.
        Kind::Argv => each(sink, key, list, &mut items, |sink, key, item| match item.get_ref().as_str() {
            Some(text) => Some(text.to_owned()),
            None => {
                sink.wrong_type(item, key, "arguments, which are strings", None);
                None
            }
        })
        .map(Value::Argv),
        _ => kinds::decode(sink, kind, key, list, &mut items),
    }?;
    let items = items.into_iter().map(|item| sink.absolute(item)).collect();
    Some(EditedList { value, items, span: sink.absolute(list.span()) })
}

/// Puts a value in the place of what earlier texts said; names of tables stay when the later text does not have them.
pub(super) fn set(values: &mut Values, table: &'static Table, key: &'static Key, value: Value, place: Places) {
    let id = (table.name, key.name);
    values.edits.retain(|edit| (edit.table, edit.key) != id);
    let earlier = values.get(table.name, key.name).cloned();
    let merged = match (earlier.as_ref().map(|entry| &entry.value), value) {
        (Some(Value::Variables(old)), Value::Variables(new)) => Some(Value::Variables(by_name(old, new))),
        (Some(Value::HugePages(old)), Value::HugePages(new)) => Some(Value::HugePages(by_name(old, new))),
        (_, value @ (Value::CredentialPaths(_) | Value::CredentialTexts(_))) => {
            return credentials(values, id, earlier, value, place);
        }
        (_, value) => {
            values.histories.remove(&id);
            values.insert(table.name, key.name, Entry { value, source: Source::File(place) });
            return;
        }
    };
    if let (Some(merged), Some(earlier)) = (merged, earlier) {
        let history = values.histories.entry(id).or_insert(History { base: earlier.source, changes: Vec::new() });
        history.changes.push(place.key.start);
        values.insert(table.name, key.name, Entry { value: merged, source: Source::File(place) });
    }
}

/// Credentials merge name by name, and each keeps its own place: a start that fails says the line of the one that it
/// failed for.
fn credentials(
    values: &mut Values,
    id: (&'static str, &'static str),
    earlier: Option<Entry>,
    value: Value,
    place: Places,
) {
    let items = |source: &Source| match source {
        Source::File(place) => place.items.clone(),
        Source::Profile | Source::Default => Vec::new(),
    };
    let places = earlier.as_ref().map(|entry| items(&entry.source)).unwrap_or_default();
    let (value, items) = match (earlier.as_ref().map(|entry| &entry.value), value) {
        (Some(Value::CredentialPaths(old)), Value::CredentialPaths(new)) => {
            let (all, items) = placed((old, places), (new, &place.items));
            (Value::CredentialPaths(all), items)
        }
        (Some(Value::CredentialTexts(old)), Value::CredentialTexts(new)) => {
            let (all, items) = placed((old, places), (new, &place.items));
            (Value::CredentialTexts(all), items)
        }
        (_, value) => (value, place.items.clone()),
    };
    let history = values.histories.entry(id).or_insert_with(|| {
        let base = earlier.as_ref().map_or_else(|| Source::File(place.clone()), |entry| entry.source.clone());
        History { base, changes: Vec::new() }
    });
    if earlier.is_some() {
        history.changes.push(place.key.start);
    }
    values.insert(id.0, id.1, Entry { value, source: Source::File(Places { items, ..place }) });
}

/// [`by_name`], with the place of each name.
fn placed<T: Clone>(
    (old, places): (&[(String, T)], Vec<Range<usize>>),
    (new, new_places): (Vec<(String, T)>, &[Range<usize>]),
) -> (Vec<(String, T)>, Vec<Range<usize>>) {
    let mut all: Vec<(String, T)> = old.to_vec();
    let mut items = places;
    for ((name, value), place) in new.into_iter().zip(new_places) {
        match all.iter().position(|(known, _)| *known == name) {
            Some(at) => (all[at].1, items[at]) = (value, place.clone()),
            None => {
                all.push((name, value));
                items.push(place.clone());
            }
        }
    }
    (all, items)
}

fn by_name<T: Clone>(old: &[(String, T)], new: Vec<(String, T)>) -> Vec<(String, T)> {
    let mut all = old.to_vec();
    for (name, value) in new {
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => all.push((name, value)),
        }
    }
    all
}

/// Joins an array of tables of earlier texts with that of this one; an empty array takes the earlier ones away. An entry
/// with the same `identity` (a mount's destination, what a socket listens on) takes the place of the earlier one.
pub(super) fn array(
    values: &mut Values,
    (table, identity): (&'static str, Option<&'static str>),
    inherited: Vec<MountEntry>,
    document: &DeTable<'_>,
) {
    let own = std::mem::take(values.array(table));
    let cleared = document.get(table).is_some_and(|v| v.get_ref().as_array().is_some_and(|a| a.is_empty()));
    let mut all = if cleared { Vec::new() } else { inherited };
    let earlier = all.len();
    for entry in own {
        let known = |entry: &MountEntry| entry.values.get(table, identity?).map(|e| e.value.clone());
        let wanted = known(&entry);
        match all[..earlier].iter_mut().find(|old| wanted.is_some() && known(old) == wanted) {
            Some(old) => *old = entry,
            None => all.push(entry),
        }
    }
    for (index, entry) in all.iter_mut().enumerate() {
        entry.index = index;
    }
    *values.array(table) = all;
}

//! Namespaces of other units: `unit:NAME` binds a unit to the owner, as if the author had written `binds_to` and `after`.
//!
//! The namespaces end with the owner's run, so the owner is up before and goes down after; what is added here shows in
//! `rsvc show` with the line that asked for it.

use super::decode::{Entry, History, Places, Sink, Source, Value, Values};
use super::{Isolation, NetworkMode};

/// Keys that can name another unit, in the order of the manual.
pub(super) const KEYS: [(&str, &str); 4] =
    [("namespaces", "pid"), ("namespaces", "ipc"), ("namespaces", "uts"), ("network", "mode")];

/// The unit that a value names.
pub(super) fn owner(value: &Value) -> Option<&str> {
    match value {
        Value::Namespace(Isolation::Unit(name)) | Value::Network(NetworkMode::Unit(name)) => Some(name),
        _ => None,
    }
}

/// Adds every owner to `unit.binds_to` and `unit.after`. Naming oneself is left to `validate`, which refuses it.
pub(super) fn bind(sink: &Sink<'_>, values: &mut Values) {
    for (table, key) in KEYS {
        let Some(entry) = values.get(table, key) else { continue };
        let (Some(name), Source::File(place)) = (owner(&entry.value), &entry.source) else { continue };
        let (name, place) = (name.to_owned(), place.clone());
        if name == sink.variables().unit() {
            continue;
        }
        for list in ["binds_to", "after"] {
            append(values, list, &name, &place);
        }
    }
}

fn append(values: &mut Values, list: &'static str, name: &str, asked: &Places) {
    let Some(Entry { value: Value::Texts(names), source }) = values.get("unit", list).cloned() else { return };
    if names.iter().any(|known| known == name) {
        return;
    }
    let mut items = match &source {
        Source::File(own) if own.items.len() == names.len() => own.items.clone(),
        Source::File(own) => vec![own.value.clone(); names.len()],
        Source::Profile | Source::Default => vec![asked.value.clone(); names.len()],
    };
    items.push(asked.value.clone());
    let place = Places { items, ..asked.clone() };
    let history = values.histories.entry(("unit", list)).or_insert(History { base: source, changes: Vec::new() });
    history.changes.push(asked.key.start);
    let names = names.into_iter().chain([name.to_owned()]).collect();
    values.insert("unit", list, Entry { value: Value::Texts(names), source: Source::File(place) });
}

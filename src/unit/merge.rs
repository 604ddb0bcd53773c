//! Applies `key.append` and `key.remove` to the lists that they change, when file, profile and defaults are in place.
//!
//! What is removed goes before what is appended comes. A list of names is a set: what it has already is not appended
//! again. Arguments and commands are sequences: they are.

use super::decode::{Edit, EditedList, Entry, History, Places, Sink, Source, Value, Values, check_program};
use super::problem::Code;
use super::value;
use super::{AddressFamily, PortRule, StatusSet};
use crate::plan::CapabilitySet;
use std::ops::Range;

/// May a list have an element twice?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeats {
    Yes,
    No,
}

/// What came out: the list, the places of its elements where they are known, what could not be removed.
struct Edited {
    value: Value,
    items: Vec<Range<usize>>,
    missing: Vec<Missing>,
}

/// Something to be removed that is not there.
struct Missing {
    span: Range<usize>,
    /// In place of what the text says there.
    words: Option<String>,
}

/// Applies all changes of `values`, in the order of the texts.
pub(super) fn apply(sink: &mut Sink<'_>, values: &mut Values) {
    for edit in std::mem::take(&mut values.edits) {
        let dotted = format!("{}.{}", edit.table, edit.key);
        let Some(inherited) = values.get(edit.table, edit.key).cloned() else {
            // Only what has no default can be missing: the command.
            let message = format!("`{dotted}` is not set, so there is nothing to change");
            sink.add(Code::Incomplete, edit.place.key.clone(), &dotted, message, None);
            continue;
        };
        let base = give_way(values, &edit, &inherited);
        match edited(&base, &inherited.source, &edit) {
            Ok(result) => put(sink, values, &edit, &dotted, inherited.source, result),
            Err(why) => sink.add(Code::Conflict, edit.place.value.clone(), &dotted, why, None),
        }
    }
}

/// What the author allows by name, a profile that denies it gives up, as it does when the list is not changed.
fn give_way(values: &Values, edit: &Edit, inherited: &Entry) -> Value {
    let allowed = match (edit.table, edit.key, &inherited.source, values.get("syscalls", "allow")) {
        ("syscalls", "deny", Source::Profile, Some(Entry { value: Value::Texts(allow), source: Source::File(_) })) => {
            allow.as_slice()
        }
        _ => &[],
    };
    match &inherited.value {
        Value::Texts(deny) => Value::Texts(deny.iter().filter(|name| !allowed.contains(name)).cloned().collect()),
        other => other.clone(),
    }
}

fn put(sink: &mut Sink<'_>, values: &mut Values, edit: &Edit, dotted: &str, base: Source, result: Edited) {
    for missing in result.missing {
        let words = missing.words.unwrap_or_else(|| sink.excerpt(&missing.span).trim().to_owned());
        let message = format!("{words} is not in `{dotted}`, so nothing is removed");
        let help = Some(format!("`rsvc show UNIT -p {dotted}` shows the list"));
        sink.add(Code::NotInList, missing.span, dotted, message, help);
    }
    let value = match result.value {
        Value::Argv(argv) => match check_program(argv.clone()) {
            Ok(argv) => Value::Argv(argv),
            Err(bad) => return sink.add(bad.code, edit.place.value.clone(), dotted, bad.message, bad.help),
        },
        value => value,
    };
    let history = values.histories.entry((edit.table, edit.key)).or_insert(History { base, changes: Vec::new() });
    history.changes.push(edit.place.key.start);
    let place = Places { items: result.items, ..edit.place.clone() };
    values.insert(edit.table, edit.key, Entry { value, source: Source::File(place) });
}

/// One change of one list.
///
/// # Errors
/// Why the list cannot be changed.
fn edited(base: &Value, source: &Source, edit: &Edit) -> Result<Edited, String> {
    macro_rules! list {
        ($kind:ident, $list:expr, $repeats:expr) => {{
            let part = |part: &Option<EditedList>| match part {
                Some(EditedList { value: Value::$kind(list), items, span }) => {
                    (list.clone(), items.clone(), span.clone())
                }
                _ => (Vec::new(), Vec::new(), 0..0),
            };
            let (append, remove) = (part(&edit.append), part(&edit.remove));
            let spans = places(source, $list.len(), &edit.place);
            let (list, items, missing) = change($list, spans, append, remove, $repeats);
            Edited { value: Value::$kind(list), items, missing }
        }};
    }
    Ok(match base {
        Value::Texts(old) => list!(Texts, old, Repeats::No),
        Value::Accounts(old) => list!(Accounts, old, Repeats::No),
        Value::Paths(old) => list!(Paths, old, Repeats::No),
        Value::PlainPaths(old) => list!(PlainPaths, old, Repeats::No),
        Value::Addresses(old) => list!(Addresses, old, Repeats::No),
        Value::Devices(old) => list!(Devices, old, Repeats::No),
        Value::Mappings(old) => list!(Mappings, old, Repeats::No),
        Value::IoMax(old) => list!(IoMax, old, Repeats::No),
        Value::Argv(old) => list!(Argv, old, Repeats::Yes),
        Value::Commands(old) => list!(Commands, old, Repeats::Yes),
        Value::Capabilities(old) => capabilities(*old, edit),
        Value::Statuses(old) => statuses(old, edit),
        Value::Families(old) => families(old.as_deref(), edit)?,
        Value::Ports(None) => {
            return Err(
                "the inherited list is \"all\", which nothing can be added to or removed from: write the whole list"
                    .to_owned(),
            );
        }
        Value::Ports(Some(old)) => ports(old, source, edit)?,
        _ => return Err("only lists can be changed".to_owned()),
    })
}

/// Places of the elements of an inherited list; those of a profile or a default have none but that of the change.
fn places(source: &Source, length: usize, change: &Places) -> Vec<Range<usize>> {
    match source {
        Source::File(place) if place.items.len() == length => place.items.clone(),
        Source::File(place) => vec![place.value.clone(); length],
        Source::Profile | Source::Default => vec![change.value.clone(); length],
    }
}

/// Elements with their places, and the place of the whole.
type Part<T> = (Vec<T>, Vec<Range<usize>>, Range<usize>);

fn change<T: Clone + PartialEq>(
    old: &[T],
    spans: Vec<Range<usize>>,
    append: Part<T>,
    remove: Part<T>,
    repeats: Repeats,
) -> (Vec<T>, Vec<Range<usize>>, Vec<Missing>) {
    let (removed, removed_spans, whole) = remove;
    let span_of = |n: usize| removed_spans.get(n).unwrap_or(&whole).clone();
    let missing = (0..removed.len()).filter(|n| !old.contains(&removed[*n]));
    let missing = missing.map(|n| Missing { span: span_of(n), words: None }).collect();
    let kept = old.iter().cloned().zip(spans).filter(|(element, _)| !removed.contains(element));
    let mut all: Vec<(T, Range<usize>)> = kept.collect();
    let (appended, appended_spans, whole) = append;
    for (n, element) in appended.into_iter().enumerate() {
        if repeats == Repeats::Yes || !all.iter().any(|(known, _)| *known == element) {
            all.push((element, appended_spans.get(n).unwrap_or(&whole).clone()));
        }
    }
    let (list, items) = all.into_iter().unzip();
    (list, items, missing)
}

fn capabilities(old: CapabilitySet, edit: &Edit) -> Edited {
    let set = |part: &Option<EditedList>| match part {
        Some(EditedList { value: Value::Capabilities(set), .. }) => set.0,
        _ => 0,
    };
    let (append, remove) = (set(&edit.append), set(&edit.remove));
    let words = value::print_capabilities(CapabilitySet(remove & !old.0)).join(", ");
    Edited {
        value: Value::Capabilities(CapabilitySet((old.0 & !remove) | append)),
        items: Vec::new(),
        missing: not_there(edit, words),
    }
}

/// The warning of a set, whose elements have no places of their own.
fn not_there(edit: &Edit, words: String) -> Vec<Missing> {
    let remove = edit.remove.as_ref().filter(|_| !words.is_empty());
    remove.map(|list| Missing { span: list.span.clone(), words: Some(words) }).into_iter().collect()
}

fn statuses(old: &StatusSet, edit: &Edit) -> Edited {
    let mut set = old.clone();
    let mut words = Vec::new();
    if let Some(EditedList { value: Value::Statuses(remove), .. }) = &edit.remove {
        let missing = StatusSet {
            statuses: remove.statuses.difference(&old.statuses).copied().collect(),
            signals: remove.signals.difference(&old.signals).copied().collect(),
        };
        words = value::print_statuses(&missing);
        set.statuses.retain(|status| !remove.statuses.contains(status));
        set.signals.retain(|signal| !remove.signals.contains(signal));
    }
    if let Some(EditedList { value: Value::Statuses(append), .. }) = &edit.append {
        set.statuses.extend(&append.statuses);
        set.signals.extend(&append.signals);
    }
    Edited { value: Value::Statuses(set), items: Vec::new(), missing: not_there(edit, words.join(", ")) }
}

fn ports(old: &[PortRule], source: &Source, edit: &Edit) -> Result<Edited, String> {
    let part = |part: &Option<EditedList>| match part {
        Some(EditedList { value: Value::Ports(Some(list)), items, span }) => {
            Ok((list.clone(), items.clone(), span.clone()))
        }
        Some(_) => Err("\"all\" is no element: write the whole list".to_owned()),
        None => Ok((Vec::new(), Vec::new(), 0..0)),
    };
    let spans = places(source, old.len(), &edit.place);
    let (list, items, missing) = change(old, spans, part(&edit.append)?, part(&edit.remove)?, Repeats::No);
    Ok(Edited { value: Value::Ports(Some(list)), items, missing })
}

fn families(old: Option<&[AddressFamily]>, edit: &Edit) -> Result<Edited, String> {
    let part = |part: &Option<EditedList>| match part {
        Some(EditedList { value: Value::Families(families), .. }) => families.clone(),
        _ => Some(Vec::new()),
    };
    let (append, remove) = (part(&edit.append), part(&edit.remove));
    let nothing = Some(Vec::new());
    let Some(old) = old else {
        return match remove == nothing {
            true => Ok(Edited { value: Value::Families(None), items: Vec::new(), missing: Vec::new() }),
            false => {
                Err("the inherited list is \"all\", which nothing can be removed from: write the whole list".to_owned())
            }
        };
    };
    let Some(remove) = remove else {
        return Err("to remove \"all\" write the whole list, which may be empty".to_owned());
    };
    let words: Vec<&str> = remove.iter().filter(|f| !old.contains(f)).map(|f| f.name.as_str()).collect();
    let missing = not_there(edit, words.join(", "));
    let families = append.map(|append| {
        let mut all: Vec<AddressFamily> = old.iter().filter(|f| !remove.contains(f)).cloned().collect();
        all.extend(append);
        all.sort_by_key(|family| family.number);
        all.dedup();
        all
    });
    Ok(Edited { value: Value::Families(families), items: Vec::new(), missing })
}

//! What the author of a unit wrote and meant. Pure: no disk, no clock, no host.
//!
//! ```text
//! text ──decode──▶ typed values with their places ──validate──▶ Unit
//! ```
//!
//! [`keys`] is the one table that describes every key; decoder, did-you-mean, `rsvc explain`, the JSON schema and
//! rsvc.toml(5) read it. If you hold a [`Unit`], it is valid: its fields can be read by all and written by nobody
//! outside this folder.
#![forbid(unsafe_code)]

mod assignment;
mod condition;
mod connection;
mod decode;
pub mod keys;
mod layer;
mod manual;
mod merge;
mod print;
pub mod problem;
mod profile;
mod schema;
mod settings;
mod share;
mod shares;
mod slice;
mod texts;
mod validate;
pub mod value;
mod variables;

pub use assignment::{Assignment, document};
pub use condition::{Comparison, Condition, ConditionTest, unmet};
pub use manual::{explain, manual, type_words};
pub use problem::{Code, Problem, Severity, render_problems};
pub use schema::json_schema;
pub use settings::*;
pub use share::{Known, Shared};
pub use slice::Slice;
pub use texts::UnitText;
pub use validate::{MAX_DROP_INS, MAX_UNIT_SIZE, ParseOptions, text_of};
pub use value::{ByteSize, TimeSpan};

use crate::plan::{Origin, Place};
use std::ops::Deref;
use std::sync::Arc;
use texts::At;

/// A valid unit. Reads like [`Settings`]; built only by [`Unit::parse`].
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    settings: Settings,
    /// Keys whose value is not plainly the profile's or the built-in one, sorted by key.
    written: Box<[WrittenKey]>,
    /// Drop-ins in the order in which they apply.
    drop_ins: Box<[Box<str>]>,
}

/// A key that the file or the profile set, or that follows from others: what stays of the text when it is gone.
#[derive(Clone, Debug, PartialEq)]
struct WrittenKey {
    /// Dotted.
    key: Arc<str>,
    /// TOML; `None` for an entry of a list of tables, whose keys follow.
    value: Option<Arc<str>>,
    /// Where the value, or its last change, was written; `None`: nowhere.
    place: Option<At>,
    /// For a value that was changed and not only set.
    history: Option<Box<Changes>>,
}

/// How a value came about that several places made.
#[derive(Clone, Debug, PartialEq)]
struct Changes {
    /// Where the value that was changed was written; `None`: it is the profile's or the built-in one.
    base: Option<At>,
    /// Was it the profile's?
    of_profile: bool,
    /// Where it was changed.
    places: Vec<At>,
    /// Names or paths of a list, with their places.
    elements: Vec<(Box<str>, At)>,
}

/// Who gave a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueOrigin {
    /// A line of the file, or of a drop-in.
    File(Place),
    /// The profile in force.
    Profile(Profile),
    /// Built in, or following from other keys.
    Default,
}

/// A key with its value in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveValue {
    /// Dotted key.
    pub key: String,
    /// TOML.
    pub value: String,
    /// Who gave it.
    pub origin: ValueOrigin,
    /// Lines that changed it: `append` and `remove`, or names of a table.
    pub changes: Vec<Place>,
}

impl Deref for Unit {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.settings
    }
}

impl Unit {
    fn find(&self, key: &str) -> Option<&WrittenKey> {
        self.written.binary_search_by(|w| (*w.key).cmp(key)).ok().map(|n| &self.written[n])
    }

    fn place(&self, At { file, line, column }: At) -> Place {
        let drop_in = usize::from(file).checked_sub(1).and_then(|n| self.drop_ins.get(n));
        let file = drop_in.map_or_else(|| self.settings.file.clone(), |file| file.to_string());
        Place { file, line, column }
    }

    /// The drop-ins that this unit was read with, in the order in which they apply.
    pub fn drop_ins(&self) -> impl Iterator<Item = &str> {
        self.drop_ins.iter().map(|file| &**file)
    }

    /// Who set `key`: the file's line, or nobody (profile or default). A table stands where its first written key does.
    pub fn origin(&self, key: &str) -> Origin {
        let inside = |w: &&WrittenKey| w.key.strip_prefix(key).is_some_and(|rest| rest.starts_with(['.', '[']));
        let own = self.find(key).and_then(|w| w.place);
        let place = own.or_else(|| self.written.iter().filter(inside).filter_map(|w| w.place).min());
        Origin { key: key.to_owned(), place: place.map(|place| self.place(place)) }
    }

    /// Where `element` of the list `key` was written: in the text that added it, when several made the list.
    pub fn element_place(&self, key: &str, element: &str) -> Option<Place> {
        let written = self.find(key)?;
        let elements = written.history.iter().flat_map(|history| &history.elements);
        let own = elements.into_iter().find(|(text, _)| **text == *element).map(|(_, place)| *place);
        own.or(written.place).map(|place| self.place(place))
    }

    /// The same as an origin; `None` unless several texts made the list and one of them this element.
    pub fn element_origin(&self, key: &str, element: &str) -> Option<Origin> {
        let history = self.find(key)?.history.as_deref()?;
        let (_, place) = history.elements.iter().find(|(text, _)| **text == *element)?;
        Some(Origin { key: key.to_owned(), place: Some(self.place(*place)) })
    }

    /// Did the author write `key` (as against the profile or the default)?
    pub fn is_written(&self, key: &str) -> bool {
        self.origin(key).place.is_some()
    }

    /// Is `key` (or its table, or a parent of it) listed in `security.optional`?
    pub fn is_optional(&self, key: &str) -> bool {
        let covers =
            |o: &String| key.strip_prefix(o.as_str()).is_some_and(|r| r.is_empty() || r.starts_with(['.', '[']));
        self.security.optional.iter().any(covers)
    }

    /// Every key that has a value, in the order of the manual, with the value in force and who gave it.
    pub fn effective(&self) -> Vec<EffectiveValue> {
        let mut all = Vec::new();
        let mut add = |written: &WrittenKey, profile: bool| {
            let history = written.history.as_deref();
            let (base, profile) = history.map_or((written.place, profile), |h| (h.base, h.of_profile));
            let origin = match base {
                Some(place) => ValueOrigin::File(self.place(place)),
                None if profile => ValueOrigin::Profile(self.security.profile),
                None => ValueOrigin::Default,
            };
            let changes = history.map(|h| h.places.iter().map(|place| self.place(*place)).collect());
            if let Some(value) = &written.value {
                let (key, value) = (written.key.to_string(), value.to_string());
                all.push(EffectiveValue { key, value, origin, changes: changes.unwrap_or_default() });
            }
        };
        for table in keys::TABLES {
            if table.array {
                let prefix = format!("{}[", table.name);
                self.written.iter().filter(|w| w.key.starts_with(&prefix)).for_each(|w| add(w, false));
                continue;
            }
            for key in table.keys {
                let dotted = table.dotted(key);
                let in_force = self.security.profile;
                let profile = profile::values(in_force).any(|(t, k, _)| (*t, *k) == (table.name, key.name));
                if let Some(written) = self.find(&dotted) {
                    add(written, profile || dotted == "security.profile");
                } else if let Some(value) = validate::built_in_text(&self.settings, table, key) {
                    let plain =
                        WrittenKey { key: dotted.into(), value: Some(value.into()), place: None, history: None };
                    add(&plain, profile);
                }
            }
        }
        all
    }

    /// What makes this service ready.
    pub fn ready_kind(&self) -> ReadyKind {
        match self.service.kind {
            ServiceType::Notify | ServiceType::NotifyReload => ReadyKind::Notify,
            ServiceType::Oneshot => ReadyKind::Exited,
            ServiceType::Forking => ReadyKind::PidFile,
            ServiceType::Exec if self.ready.is_asked() => ReadyKind::Checked,
            ServiceType::Exec => ReadyKind::Executed,
        }
    }
}

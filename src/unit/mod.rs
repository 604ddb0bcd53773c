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

mod settings;

pub use settings::*;

use crate::plan::{Origin, Place};
use std::collections::BTreeMap;
use std::ops::Deref;

/// A valid unit. Reads like [`Settings`]; built only by [`Unit::parse`].
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    settings: Settings,
    /// Where each key that the file set stands, by dotted key.
    places: BTreeMap<String, Place>,
}

impl Deref for Unit {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.settings
    }
}

impl Unit {
    /// Who set `key`: the file's line, or nobody (profile or default).
    pub fn origin(&self, key: &str) -> Origin {
        Origin { key: key.to_owned(), place: self.places.get(key).cloned() }
    }

    /// Did the author write `key` (as against the profile or the default)?
    pub fn is_written(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    /// Is `key` (or its table, or a parent of it) listed in `security.optional`?
    pub fn is_optional(&self, key: &str) -> bool {
        self.security.optional.iter().any(|o| o == key)
    }

    /// What makes this service ready.
    pub fn ready_kind(&self) -> ReadyKind {
        match self.service.kind {
            ServiceType::Notify => ReadyKind::Notify,
            ServiceType::Oneshot => ReadyKind::Exited,
            ServiceType::Forking => ReadyKind::PidFile,
            ServiceType::Exec if self.ready.listen.is_empty() => ReadyKind::Executed,
            ServiceType::Exec => ReadyKind::Listening,
        }
    }
}

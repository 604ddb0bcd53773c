//! `rsvc set --persist`: values for later starts too.
//!
//! All is judged before anything is changed: the unit as it will be must be valid, and the value must be the one that
//! holds. Then a running unit gets what it can take, as the kernel is the one who may still say no and a limit is taken
//! back easily; then the file is written, whole or not at all. Should that fail, the limits are what they were.

use super::engine::Engine;
use super::live::{CHANGEABLE, Live};
use crate::compile::{Purpose, compile};
use crate::control::{Answer, CallError};
use crate::load::{self, Lookup, OwnDropIn};
use crate::supervise::ServiceId;
use crate::unit::problem::Style;
use crate::unit::{Assignment, ParseOptions, Unit, keys};
use std::collections::BTreeMap;

impl Engine {
    /// `Set` with `persist`: which file was written, and which keys a running unit takes up at its next start only.
    pub(super) fn set_persistent(
        &mut self,
        asked: &str,
        values: BTreeMap<String, String>,
    ) -> Result<Answer, CallError> {
        let unit = asked.to_owned();
        let bad = |message: String| CallError::BadSetting { unit: unit.clone(), message };
        let id = self.load_unit(asked)?;
        self.refuse_set(id, asked)?;
        let found = match load::find(&self.options.unit_path, asked, self.trust()) {
            Ok(Lookup::Found(found)) => found,
            Ok(_) => return Err(CallError::UnitNotFound { unit }),
            Err(problem) => return Err(bad(problem.to_string())),
        };
        let mut own = OwnDropIn::of(&self.options.unit_path, &found.name, self.trust()).map_err(bad)?;
        for (key, value) in &values {
            own.change(Assignment::new(key, value).map_err(bad)?).map_err(bad)?;
        }
        let changed = own.applied_to(&found);
        let (next, _) = changed.parse(ParseOptions::default()).map_err(|p| bad(changed.draw(&p, Style::default())))?;
        has_last_word(&own, &next, &values).map_err(bad)?;
        self.can_start(id, &next).map_err(bad)?;

        let runs = self.running_id(asked).is_ok();
        let (live, later): (BTreeMap<_, _>, BTreeMap<_, _>) =
            values.into_iter().partition(|(key, _)| runs && CHANGEABLE.contains(&key.as_str()));
        let former = self.service(id).map(|service| service.live.values.clone()).unwrap_or_default();
        if !live.is_empty() {
            self.set(asked, live.clone())?;
        }
        if let Err(message) = own.write(&found.file) {
            let back = if live.is_empty() { Ok(()) } else { self.set_all(id, former) };
            let message = match back {
                Ok(()) => format!("{message}; nothing was changed"),
                Err(why) => format!("{message}; the running service has the new values until it is stopped ({why})"),
            };
            return Err(CallError::JobFailed { unit, message });
        }
        let as_file = self.service(id).is_some_and(|service| service.running_fingerprint == service.fingerprint);
        self.load_unit(asked)?;
        let mut later: Vec<String> = if runs { later.into_keys().collect() } else { Vec::new() };
        if runs && later.is_empty() && as_file && self.adopt_file(id, &live).is_err() {
            later = live.into_keys().collect();
        }
        self.dirty.insert(id);
        Ok(Answer::Kept { file: own.path().display().to_string(), later })
    }

    /// A unit that could be started on this host must be one that still can.
    fn can_start(&mut self, id: ServiceId, next: &Unit) -> Result<(), String> {
        let Some(present) = self.service(id).and_then(|service| service.unit.clone()) else { return Ok(()) };
        let facts = self.facts(next);
        let Err(errors) = compile(next, &facts, Purpose::Main) else { return Ok(()) };
        let facts = self.facts(&present);
        match compile(&present, &facts, Purpose::Main) {
            Ok(_) => Err(super::launch::compile_failure(&errors).message),
            // It needs more to be startable than what is set now.
            Err(_) => Ok(()),
        }
    }

    /// The files say what the unit is to run with: these changes are none any more. What was taken back gets the value
    /// that holds without it, which the kernel may refuse.
    fn adopt_file(&mut self, id: ServiceId, persisted: &BTreeMap<String, String>) -> Result<(), String> {
        let mut others = self.service(id).map(|service| service.live.values.clone()).unwrap_or_default();
        others.retain(|key, _| !persisted.contains_key(key));
        let live = self.live_of(others)?;
        let Some(service) = self.services.get_mut(&id) else { return Ok(()) };
        // A former change of each, so that one that the files do not mention either is unset.
        for key in persisted.keys() {
            service.live.values.entry(key.clone()).or_default();
        }
        service.running = service.unit.clone();
        service.running_fingerprint = service.fingerprint;
        service.digest = None;
        self.plans.forget(id);
        let applied = self.apply_live(id, live);
        if let Some(service) = self.services.get_mut(&id) {
            service.live.values.retain(|_, value| !value.is_empty());
        }
        applied
    }

    /// Makes these the changes of a running unit, and no others.
    fn set_all(&mut self, id: ServiceId, values: BTreeMap<String, String>) -> Result<(), String> {
        let live: Live = self.live_of(values)?;
        self.apply_live(id, live)
    }
}

/// A drop-in behind this one may have the last word about a key: then nothing would come of it.
fn has_last_word(own: &OwnDropIn, next: &Unit, values: &BTreeMap<String, String>) -> Result<(), String> {
    for (key, _) in values.iter().filter(|(key, value)| !value.is_empty() && keys::find(key).is_some()) {
        if let Some(place) = next.origin(key).place
            && place.file != own.path().display().to_string()
        {
            return Err(format!("{}:{} has the last word about `{key}`: change it there", place.file, place.line));
        }
    }
    Ok(())
}

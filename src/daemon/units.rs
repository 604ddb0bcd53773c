//! Unit files in memory: read again at each start, kept when they are the same, defined to the supervisor.

use super::definition::Sought;
use super::engine::Engine;
use super::service::Service;
use crate::control::CallError;
use crate::load;
use crate::supervise::{ActiveState, Policy, ServiceId};
use crate::unit::Unit;
use std::collections::HashSet;
use std::rc::Rc;

impl Engine {
    /// Reads `asked` from disk (again) and defines it, under its own name if `asked` is an alias. An unchanged file
    /// costs a read and a hash.
    pub(super) fn load_unit(&mut self, asked: &str) -> Result<ServiceId, CallError> {
        // Its definition is the listener's, of when it was started.
        if let Some(id) = self.names.get(asked).copied().filter(|id| self.serves_connection(*id)) {
            return Ok(id);
        }
        let sought = Sought::of(&self.survey, &self.options.unit_path, asked, self.trust());
        self.load_sought(asked, sought)
    }

    /// The same of one that was looked for already.
    pub(super) fn load_sought(&mut self, asked: &str, sought: Sought) -> Result<ServiceId, CallError> {
        let definition = match sought {
            Sought::Found(definition) => definition,
            Sought::Masked(file) => {
                let message = format!("{asked} is masked by {}", file.display());
                self.remember_error(self.names.get(asked).copied(), &message);
                return Err(unusable(asked, message));
            }
            Sought::Missing => {
                if let Some(id) = self.load_set(asked)? {
                    return Ok(id);
                }
                self.file_gone(asked);
                return Err(CallError::UnitNotFound { unit: asked.to_owned() });
            }
            Sought::Unreadable(text) => {
                self.remember_error(self.names.get(asked).copied(), &text);
                return Err(unusable(asked, text));
            }
        };
        let name = definition.name.clone();
        let known = self.names.get(&name).copied();
        self.gives_way(&name, &definition.file)?;
        let print = definition.fingerprint;
        if let Some(id) = known
            && let Some(service) = self.services.get_mut(&id)
            && service.unit.is_some()
            && service.fingerprint == print
        {
            service.load_error = None;
            return Ok(id);
        }
        match definition.unit(&mut self.shared) {
            Ok(unit) => Ok(self.define_shared(unit, print)),
            Err(text) => {
                self.remember_error(known, &text);
                Err(unusable(&name, text))
            }
        }
    }

    pub(super) fn trust(&self) -> load::Trust {
        if self.options.system { load::Trust::RootOnly } else { load::Trust::Any }
    }

    /// A unit without a file goes on running, and says so; once it is down nothing is left of it.
    pub(super) fn file_gone(&mut self, name: &str) {
        if self.names.get(name).is_some_and(|id| self.serves_connection(*id)) {
            return; // It has none.
        }
        if !self.forget_idle(name) {
            self.remember_error(self.names.get(name).copied(), "the unit file is gone");
        }
    }

    /// Leaves nothing of a unit that is down. `false` when it is not, or not known.
    pub(super) fn forget_idle(&mut self, name: &str) -> bool {
        let Some(id) = self.names.get(name).copied() else { return false };
        let Some(service) = self.services.get(&id) else { return false };
        let idle = service.main.is_none() && service.control.is_none() && service.group.is_none();
        let down = self.supervisor.status(id).is_none_or(|status| status.state == ActiveState::Inactive);
        let forgotten = idle && down && self.supervisor.forget(id);
        if forgotten {
            self.names.remove(name);
            self.services.remove(&id);
        }
        forgotten
    }

    pub(super) fn remember_error(&mut self, known: Option<ServiceId>, text: &str) {
        if let Some(service) = known.and_then(|id| self.services.get_mut(&id)) {
            service.load_error = Some(text.to_owned());
        }
    }

    /// Puts a parsed unit in place; it takes effect at the next start.
    pub(super) fn define(&mut self, mut unit: Unit, fingerprint: u64) -> ServiceId {
        unit.share(&mut self.shared);
        self.define_shared(unit, fingerprint)
    }

    /// The same of one whose tables are shared already.
    fn define_shared(&mut self, unit: Unit, fingerprint: u64) -> ServiceId {
        let unit = Rc::new(unit);
        let policy = self.policy(&unit);
        let id = match self.names.get(&unit.name) {
            Some(id) => *id,
            None => {
                let id = self.new_id();
                self.names.insert(unit.name.clone(), id);
                self.services.insert(id, Box::new(Service::new(&unit.name)));
                id
            }
        };
        if let Some(service) = self.services.get_mut(&id) {
            service.unit = Some(unit);
            service.template = None;
            service.fingerprint = fingerprint;
            service.load_error = None;
        }
        self.supervisor.define(id, policy);
        id
    }

    /// What the supervisor needs to know. It knows units by their own names only.
    pub(super) fn policy(&self, unit: &Unit) -> Policy {
        let mut policy = Policy::from(unit);
        for list in policy.relations_mut() {
            if self.options.foreground {
                // There is only this one.
                list.clear();
            }
            for name in list {
                if let Some(own) = load::name_behind(&self.options.unit_path, name) {
                    *name = own;
                }
            }
        }
        policy
    }

    /// Loads `name` and everything that its start pulls in, each as it is on disk now.
    pub(super) fn load_for_start(&mut self, name: &str) -> Result<ServiceId, CallError> {
        let id = self.load_unit(name)?;
        self.load_around(id, name);
        Ok(id)
    }

    /// Loads everything that a start of this unit pulls in.
    pub(super) fn load_around(&mut self, id: ServiceId, name: &str) {
        let mut seen = HashSet::from([name.to_owned()]);
        let mut queue = self.pulled_in(id);
        while let Some(name) = queue.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            match self.load_unit(&name) {
                Ok(id) => queue.extend(self.pulled_in(id)),
                Err(error) => tracing::warn!("a start pulls in {name}, which cannot be loaded: {error:?}"),
            }
            self.load_known_to(&name);
        }
        self.load_known_to(name);
    }

    /// Units that only have to be known before a start: what does not exist is refused, what is up is stopped.
    fn load_known_to(&mut self, name: &str) {
        let unit = self.names.get(name).and_then(|id| self.service(*id)).and_then(|service| service.unit.clone());
        let Some(unit) = unit else { return };
        for name in unit.unit.requisite.iter().chain(&unit.unit.part_of).chain(&unit.unit.conflicts) {
            if !self.names.contains_key(name)
                && let Err(error) = self.load_unit(name)
            {
                tracing::debug!("{} names {name}, which cannot be loaded: {error:?}", unit.name);
            }
        }
    }

    fn pulled_in(&self, id: ServiceId) -> Vec<String> {
        if let Some(set) = self.supervisor.set_status(id) {
            return self.replica_names(id, set.number);
        }
        let unit = self.service(id).and_then(|service| service.unit.as_ref());
        let names = |unit: &Rc<Unit>| {
            let unit = &unit.unit;
            unit.requires.iter().chain(&unit.binds_to).chain(&unit.wants).chain(&unit.upholds).cloned().collect()
        };
        unit.map(names).unwrap_or_default()
    }
}

pub(super) fn unusable(name: &str, message: String) -> CallError {
    CallError::UnitUnusable { unit: name.to_owned(), message }
}

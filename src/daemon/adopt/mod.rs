//! What a new daemon finds: services that still run are taken over, never started a second time.
//!
//! What a service is known by lives outside the daemon: its group, `services/NAME/state`, the record file that its
//! resident init writes to. A number alone is never believed: a pid counts only with what else identifies the process
//! ([`ProcessIdentity`](state::ProcessIdentity)), a state only with the boot id.

mod evidence;
mod run;

use super::engine::{Engine, Options};
use super::state::{self, SavedState, StateError, Written};
use crate::cgroup::Group;
use crate::supervise::{Event, Moment, ServiceId};
use std::io;

/// The root groups that an earlier daemon of this instance recorded.
pub(in crate::daemon) fn recorded_root(options: &Options) -> Option<String> {
    std::fs::read_to_string(options.runtime_dir.join("cgroup-root")).ok()
}

impl Engine {
    /// Writes down where the groups are, so that the next daemon finds them wherever it is started.
    pub(in crate::daemon) fn record_root(&self) {
        let Some(tree) = &self.tree else { return };
        let file = self.options.runtime_dir.join("cgroup-root");
        if let Err(error) = state::write_atomically(&file, tree.record().as_bytes()) {
            tracing::error!("cannot write {}: {error}", file.display());
        }
    }

    /// True once per boot: enabled units are started by the first daemon only.
    pub(in crate::daemon) fn first_of_this_boot(&self) -> bool {
        let file = self.options.runtime_dir.join("booted");
        let boot = state::boot_id();
        if std::fs::read_to_string(&file).is_ok_and(|text| text == boot) {
            return false;
        }
        if let Err(error) = state::write_atomically(&file, boot.as_bytes()) {
            tracing::error!("cannot write {}: {error}", file.display());
        }
        true
    }

    /// Takes over every group that exists below the root group.
    ///
    /// # Errors
    /// There is no room for all of them. Nothing has been done to any.
    pub(in crate::daemon) fn adopt_all(&mut self) -> io::Result<()> {
        let Some(tree) = &self.tree else { return Ok(()) };
        let existing = match tree.existing() {
            Ok(existing) => existing,
            Err(error) => {
                tracing::error!("cannot look for services that run: {error}");
                return Ok(());
            }
        };
        for (name, group) in existing {
            self.check_room_to_adopt()?;
            self.adopt(&name, group);
        }
        let mut sets = Vec::new();
        for name in state::names(&self.options.runtime_dir) {
            match state::read(&self.options.runtime_dir, &name) {
                // After their replicas.
                Ok(SavedState { set: Some(_), .. }) => sets.push(name),
                _ if self.names.contains_key(&name) => {}
                _ => {
                    self.check_room_to_adopt()?;
                    self.remember(&name);
                }
            }
        }
        self.dismiss_doubled_keepers();
        sets.iter().for_each(|name| self.adopt_set(name));
        self.store_unclaimed_logs();
        self.release_unclaimed();
        self.events.push_back(Event::Surveyed);
        self.settle();
        Ok(())
    }

    /// A unit without a group, which may be waiting for its next automatic start, or have failed.
    fn remember(&mut self, name: &str) {
        let saved = state::read(&self.options.runtime_dir, name);
        if matches!(saved, Err(state::StateError::Missing)) {
            // It went down, and its daemon before it had cleared away the rest.
            self.dismiss_stray_keeper(name);
            let _ = std::fs::remove_dir_all(state::directory(&self.options.runtime_dir, name));
            return;
        }
        let saved = saved.ok();
        if let Some(saved) = saved.as_ref().filter(|saved| saved.connection.is_some()) {
            return self.remember_connection(name, saved.clone());
        }
        let Some(saved) = saved.filter(is_known) else {
            return self.dismiss_stray_keeper(name);
        };
        match self.load_unit(name) {
            Ok(id) => {
                self.adopt_sockets(id);
                self.adopt_timers(id, false);
                self.count_on(id, saved.connections);
                let SavedState { rest, invocation_id, listening, .. } = saved.clone();
                let Some(rest) = rest else {
                    return match () {
                        () if listening => self.listen_on(id, invocation_id),
                        () if saved.exited => self.adopt_exited(id, saved),
                        () => self.adopt_at_end(id, saved),
                    };
                };
                if let Some(service) = self.services.get_mut(&id) {
                    service.invocation = invocation_id;
                }
                self.events.push_back(Event::Remembered { id, rest });
            }
            Err(error) => {
                tracing::warn!("{name} is not started again: {error}");
                self.dismiss_stray_keeper(name);
                state::remove(&self.options.runtime_dir, name, None, super::engine::now());
            }
        }
    }

    /// A unit that accepted goes on counting.
    fn count_on(&mut self, id: ServiceId, connections: u64) {
        if connections > 0
            && let Some(service) = self.services.get_mut(&id)
        {
            service.accepting.get_or_insert_default().last = connections;
        }
    }

    /// Its connection ended with the daemon that held it, or with its processes; only its end may be left.
    fn remember_connection(&mut self, name: &str, saved: SavedState) {
        let adopted = match saved.end {
            Some(_) => self.adopt_connection(name, saved.connection.clone()),
            None => None,
        };
        match adopted {
            Some(id) => self.adopt_at_end(id, saved),
            None => self.remove_traces(name),
        }
    }

    /// A run of which only commands after its end may be left, or the pause between two of them.
    fn adopt_at_end(&mut self, id: ServiceId, saved: SavedState) {
        let Some(end) = saved.end.clone() else { return };
        if let Some(service) = self.services.get_mut(&id) {
            service.running = service.unit.clone();
            service.running_fingerprint = service.fingerprint;
            service.invocation.clone_from(&saved.invocation_id);
            service.oom_kills_before = saved.oom_kills_before;
        }
        self.adopt_kept_log(id, &saved);
        self.events.push_back(Event::AdoptedAtEnd {
            id,
            stopping: saved.stop_requested || saved.restart_requested,
            end,
        });
        if saved.restart_requested {
            self.events.push_back(Event::StartRequested { id, request: None });
        }
    }

    /// A unit that stays up after its program has ended goes on doing so.
    fn adopt_exited(&mut self, id: ServiceId, saved: SavedState) {
        if let Some(service) = self.services.get_mut(&id) {
            service.running = service.unit.clone();
            service.running_fingerprint = service.fingerprint;
            service.invocation = saved.invocation_id.clone();
            service.oom_kills_before = saved.oom_kills_before;
            service.written = Written::by_others(&saved);
            service.emptied = false;
        }
        self.adopt_kept_log(id, &saved);
        self.events.push_back(Event::AdoptedExited {
            id,
            since: Moment(saved.since),
            restarts: saved.restarts,
            stopping: saved.stop_requested || saved.restart_requested,
            main_exit: saved.main_exit,
        });
        if saved.restart_requested {
            self.events.push_back(Event::StartRequested { id, request: None });
        }
        self.check_empty(id);
    }

    /// A unit that listened goes on doing so.
    fn listen_on(&mut self, id: ServiceId, invocation_id: String) {
        if let Some(service) = self.services.get_mut(&id) {
            service.invocation = invocation_id;
            service.emptied = true;
        }
        self.events.push_back(Event::StartRequested { id, request: None });
    }

    /// The state of a unit that has a group: as it was written down, on the group or in the file; else what the kernel
    /// shows of the processes in it, so that no service ends for want of a file.
    /// The flag says that the file is to be written again.
    fn believable_state(&self, name: &str, group: &Group, populated: bool) -> Result<(SavedState, bool), StateError> {
        let read = state::read_newest(&self.options.runtime_dir, name, group);
        let why = match read {
            Ok((saved, why)) => {
                if let Some(why) = &why {
                    tracing::warn!(unit = name, "{name}: {why}; the copy on its control group is used");
                }
                if !populated || !saved.down {
                    return Ok((saved, why.is_some()));
                }
                StateError::Damaged("it says that nothing runs".into())
            }
            Err(why) => why,
        };
        match evidence::look(group, name).filter(|_| populated) {
            Some(shown) => {
                let main = shown.main.map_or(0, |main| main.pid);
                tracing::warn!(
                    unit = name,
                    "{name}: {why}; it is taken over as it runs, with {main} as its main process. Its counters begin anew"
                );
                Ok((shown, true))
            }
            None => Err(why),
        }
    }

    /// Nothing was left but the group.
    fn check_down(&mut self, id: ServiceId) {
        if let Some(service) = self.services.get_mut(&id) {
            service.emptied = true;
        }
        self.remove_group(id);
        self.dirty.insert(id);
    }

    fn adopt(&mut self, name: &str, group: Group) {
        let populated = group.populated().unwrap_or(true);
        let (saved, spoiled) = match self.believable_state(name, &group, populated) {
            Ok((saved, spoiled)) => (Ok(saved), spoiled),
            Err(why) => (Err(why), true),
        };
        let connection = saved.as_ref().ok().and_then(|saved| saved.connection.clone());
        let adopted = self.adopt_connection(name, connection);
        let id = match adopted.map_or_else(|| self.load_unit(name), Ok) {
            Ok(id) => id,
            Err(error) => {
                tracing::warn!(
                    "{name} has a group but no usable unit file ({error}); it can be stopped, not restarted"
                );
                self.bare_service(name)
            }
        };
        let Some(service) = self.services.get_mut(&id) else { return };
        service.group = Some(group);
        service.running = service.unit.clone();
        service.running_fingerprint = service.fingerprint;
        service.emptied = false;
        service.frozen = service.group.as_ref().is_some_and(Group::is_frozen);
        if let Ok(SavedState { live, .. }) = &saved {
            match self.live_of(live.clone()) {
                Ok(live) => {
                    if let Some(service) = self.services.get_mut(&id) {
                        service.live = live;
                    }
                }
                Err(error) => tracing::warn!("{name}: changed limits end with this run: {error}"),
            }
        }
        self.watch_group(id);
        self.adopt_sockets(id);
        self.adopt_timers(id, populated);
        match saved {
            Ok(SavedState { listening: true, invocation_id, connections, .. }) if !populated => {
                self.count_on(id, connections);
                self.listen_on(id, invocation_id);
            }
            Ok(SavedState { rest: Some(rest), invocation_id, .. }) if !populated => {
                let failed = rest.until.is_none();
                if let Some(service) = self.services.get_mut(&id) {
                    service.invocation = invocation_id;
                    service.emptied = true;
                }
                self.events.push_back(Event::Remembered { id, rest });
                if failed {
                    self.remove_group(id);
                }
            }
            Ok(saved) if saved.down && !populated => self.check_down(id),
            Ok(saved) if saved.end.is_some() => self.adopt_at_end(id, saved),
            Ok(saved) if saved.exited => self.adopt_exited(id, saved),
            Ok(saved) => self.adopt_saved(id, &saved, populated),
            Err(error) => self.adopt_unknown(id, populated, &error.to_string()),
        }
        if let Some(service) = self.services.get_mut(&id).filter(|_| spoiled) {
            service.written.forget();
        }
    }

    /// A service without a file: it can be shown and stopped.
    pub(in crate::daemon) fn bare_service(&mut self, name: &str) -> ServiceId {
        let text = format!("[service]\nexec = [\"/nonexistent/{name}\"]\n[restart]\npolicy = \"no\"\n");
        match crate::unit::Unit::parse_bytes(name, "(no unit file)", text.as_bytes()) {
            Ok((unit, _)) => {
                let id = self.define(unit, 0);
                if let Some(service) = self.services.get_mut(&id) {
                    service.load_error = Some("the unit file is gone or unusable".to_owned());
                }
                id
            }
            Err(_) => {
                let id = self.new_id();
                self.names.insert(name.to_owned(), id);
                self.services.insert(id, super::service::Service::new(name));
                id
            }
        }
    }
}

/// Does the state say more than that something ran?
fn is_known(saved: &SavedState) -> bool {
    saved.rest.is_some() || saved.listening || saved.end.is_some() || saved.exited
}

//! What a new daemon finds: services that still run are taken over, never started a second time.
//!
//! What a service is known by lives outside the daemon: its group, `services/NAME/state`, the record file that its
//! resident init writes to. A number alone is never believed: a pid counts only with what else identifies the process
//! ([`ProcessIdentity`]), a state only with the boot id.

mod ahead;
mod belief;
mod evidence;
mod run;
mod stages;

use super::engine::{Engine, Options, Timer};
use super::identity::{ProcessIdentity, boot_id};
use super::scarcity;
use super::state::{self, RECORDS, SavedState, StateError, Written};
use super::unwritten::Deed;
use super::whole_file;
use crate::cgroup::Tree;
use crate::load;
use crate::supervise::{Event, Moment, Removal, Rest, ServiceId};
use ahead::{Ahead, Reader};
use belief::believable_state;
use std::collections::HashSet;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

/// Exit statuses of a launch that did not get as far as its program.
const STEP_FAILED: u8 = crate::init::STEP_FAILED_STATUS as u8;
const SPAWN_FAILED: u8 = crate::sys::process::SPAWN_FAILED_STATUS as u8;

/// Of one service that is taken over, as far as room for them is made beforehand.
const DESCRIPTORS: usize = 4;

/// The root groups that an earlier daemon of this instance recorded.
///
/// # Errors
/// There is a record and it cannot be read: without it services that run may not be found, and be started once more.
pub(in crate::daemon) fn recorded_root(options: &Options) -> io::Result<Option<String>> {
    let file = options.runtime_dir.join("cgroup-root");
    match std::fs::read_to_string(&file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(not_begun(&format!("where its groups are: {}: {error}", file.display()), &error)),
    }
}

/// # Errors
/// Something of this unit could not be seen, and was taken for absent.
fn all_seen(name: &str) -> io::Result<()> {
    match scarcity::take_noted() {
        Some(error) => Err(not_begun(&format!("what {name} is at: {error}"), &error)),
        None => Ok(()),
    }
}

/// What was there before cannot be seen: this daemon does not begin, as it could start a second copy of it.
fn not_begun(what: &str, error: &io::Error) -> io::Error {
    let text = format!(
        "cannot see {what}; services that run go on running, and no daemon works here until it can{}",
        scarcity::advice(error)
    );
    io::Error::new(error.kind(), text)
}

/// File of the runtime directory that names the boot whose enabled units have been asked for.
const BOOTED: &str = "booted";

/// Has a daemon begun in this runtime directory, so that something may run?
pub fn has_begun(runtime_dir: &std::path::Path) -> bool {
    runtime_dir.join(BOOTED).exists()
}

impl Engine {
    /// Writes down where the groups are, so that the next daemon finds them wherever it is started.
    pub(in crate::daemon) fn record_root(&mut self) {
        let Some(tree) = &self.tree else { return };
        let file = self.options.runtime_dir.join("cgroup-root");
        let written = whole_file::write_atomically(&file, tree.record().as_bytes());
        self.done(Deed::Root, &file, written);
    }

    /// True once per boot: enabled units are started by the first daemon only.
    pub(in crate::daemon) fn is_first_of_this_boot(&self) -> bool {
        let file = self.options.runtime_dir.join(BOOTED);
        !std::fs::read_to_string(file).is_ok_and(|text| text == boot_id())
    }

    /// The enabled units of this boot have been asked for.
    pub(in crate::daemon) fn note_boot(&mut self) {
        let file = self.options.runtime_dir.join(BOOTED);
        let written = whole_file::write_atomically(&file, boot_id().as_bytes());
        self.done(Deed::Booted, &file, written);
    }

    /// Takes over every group that exists below the root group, and what runs without one.
    ///
    /// # Errors
    /// There is no room for all of them. Nothing has been done to any.
    pub(in crate::daemon) fn adopt_all(&mut self) -> io::Result<()> {
        scarcity::take_noted();
        let existing = match self.tree.as_ref().map_or(Ok(Vec::new()), Tree::sweep) {
            Ok(existing) => existing,
            Err(error) => return Err(not_begun(&format!("which services run: {error}"), &error.error)),
        };
        let reader = Arc::new(Reader {
            unit_path: self.options.unit_path.clone(),
            runtime_dir: self.options.runtime_dir.clone(),
            trust: self.trust(),
            survey: load::Survey::of(&self.options.unit_path),
        });
        super::capacity::make_room(self.null.as_fd(), DESCRIPTORS * existing.len());
        let mut room = 0;
        let mut have_groups = HashSet::new();
        ahead::each(&reader, existing, |read| {
            self.check_room_to_adopt(&mut room)?;
            let name = read.name.clone();
            self.adopt(read);
            all_seen(&name)?;
            have_groups.insert(name);
            Ok(())
        })?;
        // Only this thread has it now.
        self.survey = Arc::into_inner(reader).map(|reader| reader.survey).unwrap_or_default();
        let mut sets = Vec::new();
        let names = state::names(&self.options.runtime_dir);
        for name in names.map_err(|error| not_begun(&format!("what is known of services: {error}"), &error))? {
            // A set has no group.
            if have_groups.contains(&name) {
                continue;
            }
            match state::read(&self.options.runtime_dir, &name) {
                // After their replicas.
                Ok(SavedState { set: Some(_), .. }) => sets.push(name.clone()),
                read if is_groupless(&read, self.tree.is_none()) => {
                    self.check_room_to_adopt(&mut room)?;
                    self.adopt(Ahead::without_group(&self.options.runtime_dir, &name));
                }
                _ if self.names.contains_key(&name) => {}
                _ => {
                    self.check_room_to_adopt(&mut room)?;
                    self.remember(&name);
                }
            }
            all_seen(&name)?;
        }
        self.survey = load::Survey::default();
        self.dismiss_doubled_keepers();
        sets.iter().for_each(|name| self.adopt_set(name));
        self.sweep_connections();
        self.store_unclaimed_logs();
        self.release_unclaimed();
        self.note_adopted_ids();
        let running = self.services.values().filter(|service| service.main.is_some()).count();
        if running > 0 {
            tracing::info!("taken over: {running} that run");
            self.after(super::launch::QUIET, Timer::Trim);
        }
        self.events.push_back(Event::Surveyed);
        self.settle();
        Ok(())
    }

    /// A unit without a group, which may be waiting for its next automatic start, or have failed.
    fn remember(&mut self, name: &str) {
        let saved = state::read(&self.options.runtime_dir, name);
        if matches!(saved, Err(StateError::Missing | StateError::OtherBoot)) {
            // It went down, and its daemon before it had cleared away the rest; or the machine did.
            self.dismiss_stray_keeper(name);
            let _ = std::fs::remove_dir_all(state::directory(&self.options.runtime_dir, name));
            return;
        }
        let saved = match saved {
            // Not to be taken for nothing: this daemon does not begin.
            Err(_) if scarcity::is_noted() => return,
            read => read.ok(),
        };
        if let Some(saved) = saved.as_ref().filter(|saved| saved.connection.is_some()) {
            return self.remember_connection(name, saved.clone());
        }
        let Some(saved) = saved.filter(is_known) else {
            return self.dismiss_stray_keeper(name);
        };
        if saved.down {
            return self.remember_answers(name, &saved);
        }
        match self.load_unit(name) {
            Ok(id) => {
                self.note_written(id, &saved);
                self.adopt_sockets(id);
                self.adopt_timers(id, false);
                self.recall(id, &saved.remembered);
                self.count_on(id, saved.connections);
                if saved.starting {
                    return self.start_anew(id, &saved, false);
                }
                let SavedState { rest, invocation_id, listening, .. } = saved.clone();
                let Some(rest) = rest else {
                    return match () {
                        () if listening => self.listen_on(id, invocation_id),
                        () if saved.exited => self.adopt_exited(id, saved),
                        () => self.adopt_at_end(id, saved),
                    };
                };
                self.rest_on(id, rest, invocation_id);
                self.take_requests_over(id, &saved);
            }
            Err(error) => {
                tracing::warn!("{name} is not started again: {error}");
                self.dismiss_stray_keeper(name);
                self.forget_state(name);
            }
        }
    }

    /// Nothing is left of it but the answers to requests that somebody may make again.
    fn remember_answers(&mut self, name: &str, saved: &SavedState) {
        self.dismiss_stray_keeper(name);
        match self.load_unit(name) {
            Ok(id) => {
                self.note_written(id, saved);
                if let Some(service) = self.services.get_mut(&id) {
                    service.invocation = saved.invocation_id.clone();
                }
                self.take_requests_over(id, saved);
                self.dirty.insert(id);
            }
            Err(_) => self.forget_state(name),
        }
    }

    fn note_written(&mut self, id: ServiceId, saved: &SavedState) {
        if let Some(service) = self.services.get_mut(&id) {
            service.written = Written::by_others(saved);
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
        self.adopt_kept_sockets(id, true);
        self.adopt_denials(id);
        self.events.push_back(Event::AdoptedAtEnd {
            id,
            stopping: saved.stop_requested || saved.restart_requested,
            end,
        });
        if saved.restart_requested {
            self.events.push_back(Event::StartRequested { id, request: None });
        }
        self.take_requests_over(id, &saved);
    }

    /// A unit that stays up after its program has ended goes on doing so.
    fn adopt_exited(&mut self, id: ServiceId, saved: SavedState) {
        if let Some(service) = self.services.get_mut(&id) {
            service.running = service.unit.clone();
            service.running_fingerprint = service.fingerprint;
            service.invocation = saved.invocation_id.clone();
            service.oom_kills_before = saved.oom_kills_before;
            service.emptied = false;
        }
        self.adopt_kept_log(id, &saved);
        self.adopt_kept_sockets(id, true);
        self.adopt_denials(id);
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
        self.take_requests_over(id, &saved);
        self.check_empty(id);
    }

    /// A unit without a process waits for its next automatic start, or has failed.
    fn rest_on(&mut self, id: ServiceId, rest: Rest, invocation_id: String) {
        let failed = rest.until.is_none();
        if let Some(service) = self.services.get_mut(&id) {
            service.invocation = invocation_id;
            service.running = service.unit.clone();
            service.running_fingerprint = service.fingerprint;
            service.emptied = true;
        }
        self.events.push_back(Event::Remembered { id, rest });
        self.dirty.insert(id);
        if failed {
            // The failure was written down before anything was cleared away.
            self.remove(id, Removal::AtStop);
        }
    }

    /// A unit that listened goes on doing so.
    fn listen_on(&mut self, id: ServiceId, invocation_id: String) {
        if let Some(service) = self.services.get_mut(&id) {
            service.invocation = invocation_id;
            service.emptied = true;
        }
        self.events.push_back(Event::StartRequested { id, request: None });
    }

    /// Nothing was left but the group, and perhaps answers.
    fn check_down(&mut self, id: ServiceId, saved: &SavedState) {
        if let Some(service) = self.services.get_mut(&id) {
            service.invocation = saved.invocation_id.clone();
            service.emptied = true;
        }
        self.take_requests_over(id, saved);
        self.remove(id, Removal::AtStop);
        self.dirty.insert(id);
    }

    fn adopt(&mut self, read: Ahead) {
        let Ahead { name, group, state, sought, unseen } = read;
        let written = state.as_ref().map_or_else(|_| Written::default(), |newest| newest.written);
        let name = name.as_str();
        unseen.into_iter().for_each(scarcity::note);
        let (populated, frozen) = match &group {
            Some(group) => group.condition(),
            // Down is what it is when its processes are gone: those in a pid namespace end with the first of them.
            None => (Ok(state.as_ref().is_ok_and(|newest| has_processes(&newest.state))), false),
        };
        let populated = populated.unwrap_or(true);
        let (saved, spoiled) = match believable_state(name, state, group.as_ref(), populated) {
            Ok((saved, spoiled)) => (Ok(saved), spoiled),
            Err(why) => (Err(why), true),
        };
        let connection = saved.as_ref().ok().and_then(|saved| saved.connection.clone());
        let adopted = self.adopt_connection(name, connection);
        let load = || match sought {
            Some(sought) => self.load_sought(name, sought),
            None => self.load_unit(name),
        };
        let id = match adopted.map_or_else(load, Ok) {
            Ok(id) => id,
            Err(error) => {
                tracing::warn!(
                    "{name} has a group but no usable unit file ({error}); it can be stopped, not restarted"
                );
                self.bare_service(name)
            }
        };
        let Some(service) = self.services.get_mut(&id) else { return };
        service.group = group;
        service.written = written;
        service.record = saved.as_ref().ok().and_then(|saved| saved.record).unwrap_or(0) % RECORDS.len();
        service.running = service.unit.clone();
        service.running_fingerprint = service.fingerprint;
        service.emptied = false;
        service.frozen = frozen;
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
        self.write_limits_again(id);
        let saved = saved.map(|saved| self.with_kept_process(id, name, saved));
        let saved = saved.map(|saved| self.with_main_shown(id, saved));
        self.watch_group(id);
        self.adopt_sockets(id);
        self.adopt_timers(id, populated);
        if let Ok(saved) = &saved {
            self.recall(id, &saved.remembered);
        }
        match saved {
            Ok(SavedState { listening: true, invocation_id, connections, .. }) if !populated => {
                self.count_on(id, connections);
                self.listen_on(id, invocation_id);
            }
            Ok(saved @ SavedState { rest: Some(_), .. }) if !populated => {
                if let Some(rest) = saved.rest.clone() {
                    self.rest_on(id, rest, saved.invocation_id.clone());
                }
                self.take_requests_over(id, &saved);
            }
            Ok(saved) if saved.down && !populated => self.check_down(id, &saved),
            Ok(saved) if self.is_yet_to_start(id, &saved) => self.start_anew(id, &saved, populated),
            Ok(saved) if saved.end.is_some() => self.adopt_at_end(id, saved),
            Ok(saved) if saved.exited => self.adopt_exited(id, saved),
            Ok(saved) => self.adopt_saved(id, &saved, populated),
            // A group outlives a boot where that is the start of a container.
            Err(StateError::Missing | StateError::OtherBoot) if !populated => {
                self.check_down(id, &SavedState::new());
            }
            Err(error) => self.adopt_unknown(id, populated, &error.to_string()),
        }
        if let Some(service) = self.services.get_mut(&id).filter(|_| spoiled) {
            service.written.forget();
        }
        // It may have become empty before it was watched: no word would come of that.
        if populated {
            self.check_empty(id);
        }
    }

    /// Does it say only that something is to be started? Of which a process is known, or the end, has got further.
    fn is_yet_to_start(&self, id: ServiceId, saved: &SavedState) -> bool {
        // Without a group the process is noted before it goes on: one that ended then, and that nobody has waited for, says
        // nothing. What its resident init wrote does.
        let is_there = if saved.groupless && saved.init.is_some() {
            ProcessIdentity::is_running
        } else {
            ProcessIdentity::is_alive
        };
        if !saved.starting || [&saved.init, &saved.main].into_iter().flatten().any(is_there) {
            return false;
        }
        // Also one of which only its init knew that it had begun, and that was killed with it.
        let has_ended = saved.record.is_some() && (self.record_of(id).is_some() || self.has_begun(id));
        !has_ended
    }

    /// A start that had been accepted, of which nothing is known but perhaps that something is in its group.
    fn start_anew(&mut self, id: ServiceId, saved: &SavedState, populated: bool) {
        // With what it pulls in, as at every start.
        self.load_around(id, &saved.unit);
        if let Some(service) = self.services.get_mut(&id) {
            service.invocation = saved.invocation_id.clone();
            service.emptied = !populated;
        }
        self.events.push_back(Event::AdoptedAtStart {
            id,
            populated,
            restarts: saved.restarts,
            restart_times: saved.restart_times.clone(),
        });
        self.take_requests_over(id, saved);
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
                self.services.insert(id, Box::new(super::service::Service::new(name)));
                id
            }
        }
    }
}

/// Did it run without a group? Where there are none, a directory without a state is what a stop had not got round to.
fn is_groupless(read: &Result<SavedState, StateError>, none_here: bool) -> bool {
    match read {
        Ok(saved) => saved.groupless,
        Err(StateError::Missing) => none_here,
        Err(_) => false,
    }
}

/// Does one of the processes that the state names still run?
fn has_processes(saved: &SavedState) -> bool {
    [&saved.init, &saved.main].into_iter().flatten().any(ProcessIdentity::is_running)
}

/// Does the state say more than that something ran?
fn is_known(saved: &SavedState) -> bool {
    let is_remembered = saved.down && !saved.requested.is_empty();
    let runs_on = saved.rest.is_some() || saved.listening || saved.end.is_some() || saved.exited || saved.starting;
    is_remembered || runs_on
}

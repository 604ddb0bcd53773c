//! Calls of clients, turned into events and answers.

use super::engine::Engine;
use super::snapshot::cause_words;
use crate::control::{Answer, Call, CallError, ConfiguredValue, Description, RequestKey, UnitEvent, UnitStatus};
use crate::load;
use crate::supervise::{Cause, Event, Outcome, RequestId, ServiceId, Target};
use std::collections::BTreeSet;

/// What a call leads to.
pub(super) enum Handled {
    /// Answer at once.
    Now(Result<Answer, CallError>),
    /// Answer when the supervisor replies to all of these.
    Later(Vec<RequestId>, String),
    /// Answer now, and for as long as the client listens: how these units stand, and their names (none: all).
    Stream(Vec<UnitEvent>, BTreeSet<String>),
}

fn done() -> Handled {
    Handled::Now(Ok(Answer::Done))
}

impl Engine {
    /// Carries a call out, or one that is made again under the same key not a second time.
    pub(super) fn call(&mut self, call: Call, key: Option<RequestKey>, waits: bool) -> Handled {
        if let Some(handled) = key.and_then(|key| self.repeated(&call, key)) {
            // Who does not wait was to hear that it is accepted, whatever has come of it meanwhile.
            return if waits { handled } else { done() };
        }
        let verb = call.verb();
        let handled = self.try_call(call, key).unwrap_or_else(|error| Handled::Now(Err(error)));
        if let (Handled::Later(requests, unit), Some(key)) = (&handled, key)
            && let Some(request) = requests.first()
        {
            self.remember_request(unit, verb, key, *request);
        }
        handled
    }

    fn try_call(&mut self, call: Call, key: Option<RequestKey>) -> Result<Handled, CallError> {
        Ok(match call {
            Call::Start { unit } => {
                self.refuse_connection(&unit)?;
                let id = self.load_all_for_start(&unit, None)?;
                self.request(id, |request| Event::StartRequested { id, request: Some(request) })
            }
            Call::Stop { unit } => {
                let id = self.known_or_loaded(&unit)?;
                self.request_with_connections(id, |request| Event::StopRequested { id, request: Some(request) })
            }
            Call::Restart { unit } => {
                self.refuse_connection(&unit)?;
                let id = self.load_all_for_start(&unit, None)?;
                self.request_with_connections(id, |request| Event::RestartRequested { id, request: Some(request) })
            }
            Call::TryRestart { unit } => {
                self.refuse_connection(&unit)?;
                let id = self.known_or_loaded(&unit)?;
                if !self.is_up(id) {
                    return Ok(done());
                }
                let id = self.load_all_for_start(&unit, None)?;
                self.request_with_connections(id, |request| Event::RestartRequested { id, request: Some(request) })
            }
            Call::Scale { unit, number } => {
                let id = self.load_set_to_scale(&unit, number)?;
                self.request(id, |request| Event::ScaleRequested { id, number, request: Some(request) })
            }
            Call::Reload { unit } => {
                let id = self.known_or_loaded(&unit)?;
                if self.service(id).is_some_and(|service| service.frozen) {
                    let message = format!("{unit}: frozen, so it cannot reload: `rsvc thaw {unit}` first");
                    return Err(CallError::NotSupported { unit, message });
                }
                self.request(id, |request| Event::ReloadRequested { id, request: Some(request) })
            }
            Call::ResetFailed { unit } => self.reset_failed(unit)?,
            Call::Kill { unit, signal, whole } => self.kill(&unit, signal, whole, key)?,
            Call::StopAll => {
                let requests = self.stop_all();
                Handled::Later(requests, "all units".to_owned())
            }
            Call::Status { unit } => Handled::Now(Ok(Answer::Status(Box::new(self.status_of(&unit)?)))),
            Call::List => Handled::Now(Ok(Answer::Units(self.list()))),
            Call::Plan { unit } => Handled::Now(Ok(Answer::Plan(self.plan_lines(&unit)?))),
            Call::Configuration { unit } => Handled::Now(self.configuration(&unit)),
            Call::Describe => Handled::Now(Ok(Answer::Description(Box::new(self.describe())))),
            Call::Set { unit, values, persist: true } => Handled::Now(self.set_persistent(&unit, values)),
            Call::Set { unit, values, persist: false } => {
                self.set(&unit, values)?;
                done()
            }
            Call::Freeze { unit } => {
                self.freeze(&unit, true)?;
                done()
            }
            Call::Thaw { unit } => {
                self.freeze(&unit, false)?;
                done()
            }
            Call::ReloadConfig => {
                let (changes, unchanged) = self.reload_config();
                Handled::Now(Ok(Answer::Changes(changes, unchanged)))
            }
            // The owner of the loop does it.
            Call::Upgrade { .. } => {
                let message = "only a daemon can be upgraded".to_owned();
                Handled::Now(Err(CallError::UpgradeRefused { message }))
            }
            // It comes with descriptors, which the owner of the loop has.
            Call::Exec { unit, .. } => {
                let message = "commands are run by a daemon".to_owned();
                Handled::Now(Err(CallError::NotSupported { unit, message }))
            }
            Call::Events { units, present } => {
                if units.is_empty() && !present {
                    return Ok(Handled::Stream(Vec::new(), BTreeSet::new()));
                }
                let (events, names) = self.present_events(&units)?;
                Handled::Stream(if present { events } else { Vec::new() }, names)
            }
        })
    }

    fn request(&mut self, id: ServiceId, event: impl FnOnce(RequestId) -> Event) -> Handled {
        let request = self.new_request();
        self.events.push_back(event(request));
        Handled::Later(vec![request], self.service(id).map_or_else(String::new, |service| service.name.clone()))
    }

    /// The same, and whoever serves a connection of the unit stops; the answer comes when all of that is done.
    fn request_with_connections(&mut self, id: ServiceId, event: impl FnOnce(RequestId) -> Event) -> Handled {
        let handled = self.request(id, event);
        let Handled::Later(mut requests, name) = handled else { return handled };
        let instances: Vec<ServiceId> = self.connections_of(&name).map(|(instance, _)| instance).collect();
        for instance in instances {
            let request = self.new_request();
            self.events.push_back(Event::StopRequested { id: instance, request: Some(request) });
            requests.push(request);
        }
        Handled::Later(requests, name)
    }

    /// Asks every service that is up to stop; the order is the supervisor's.
    pub(super) fn stop_all(&mut self) -> Vec<RequestId> {
        let is_kept = |id| self.supervisor.set_status(id).is_some_and(|set| set.kept.is_some());
        let ids: Vec<ServiceId> = self.services.keys().copied().filter(|id| self.is_up(*id) || is_kept(*id)).collect();
        ids.into_iter()
            .map(|id| {
                let request = self.new_request();
                self.events.push_back(Event::StopRequested { id, request: Some(request) });
                request
            })
            .collect()
    }

    /// Anything but down: something runs, or will.
    pub(super) fn is_up(&self, id: ServiceId) -> bool {
        use crate::supervise::ActiveState::{Failed, Inactive};
        self.supervisor.status(id).is_some_and(|status| !matches!(status.state, Inactive | Failed))
    }

    /// A unit that runs can be stopped whatever became of its file.
    pub(super) fn known_or_loaded(&mut self, unit: &str) -> Result<ServiceId, CallError> {
        self.id_of(unit).map_or_else(|| self.load_unit(unit), Ok)
    }

    /// A unit that is known, by its own name or one that leads to it.
    pub(super) fn id_of(&self, unit: &str) -> Option<ServiceId> {
        let behind = || load::name_behind(&self.options.unit_path, unit);
        self.names.get(unit).or_else(|| self.names.get(&behind()?)).copied()
    }

    fn reset_failed(&mut self, unit: Option<String>) -> Result<Handled, CallError> {
        match unit {
            Some(unit) => {
                let id = self.known_or_loaded(&unit)?;
                let members = self.replicas_of(id);
                self.events.extend(members.into_iter().map(|id| Event::ResetFailedRequested { id, request: None }));
                Ok(self.request(id, |request| Event::ResetFailedRequested { id, request: Some(request) }))
            }
            None => {
                let ids: Vec<ServiceId> = self.services.keys().copied().collect();
                self.events.extend(ids.into_iter().map(|id| Event::ResetFailedRequested { id, request: None }));
                Ok(done())
            }
        }
    }

    fn kill(&mut self, unit: &str, signal: i32, whole: bool, key: Option<RequestKey>) -> Result<Handled, CallError> {
        let id = self.known_or_loaded(unit)?;
        if self.is_replica_set(id) {
            let mut names = self.running_replicas(id, unit).unwrap_or_default();
            // Some may be down by what was sent before.
            let asked = key.and_then(|key| self.keys.get(&key)).into_iter().flatten();
            names.extend(asked.filter_map(|id| self.service(*id)).map(|service| service.name.clone()));
            names.sort();
            names.dedup();
            if names.is_empty() {
                return Err(CallError::NotRunning { unit: unit.to_owned() });
            }
            for name in names {
                self.kill(&name, signal, whole, key)?;
            }
            return Ok(done());
        }
        let is_known = key.filter(|key| self.keys.get(key).is_some_and(|units| units.contains(&id)));
        if let Some(key) = is_known
            && self.signal_was_sent(id, key)?
        {
            return Ok(done());
        }
        let running = self.service(id).is_some_and(|s| s.main.is_some() || !s.emptied);
        if !running {
            return Err(CallError::NotRunning { unit: unit.to_owned() });
        }
        if let Some(key) = key {
            self.signal_was_sent(id, key)?;
        }
        self.signal(id, if whole { Target::All } else { Target::Main }, signal);
        if let Some(key) = key {
            self.note_signal(id, key);
        }
        Ok(done())
    }

    fn status_of(&mut self, unit: &str) -> Result<UnitStatus, CallError> {
        // A unit that is up shows its file's error beside its state; one that is down and unusable is an error.
        let id = match self.load_unit(unit) {
            Ok(id) => id,
            Err(error) => match self.names.get(unit).copied() {
                Some(id) => id,
                None => return self.unusable_status(unit, error),
            },
        };
        self.snapshot(id, true).ok_or_else(|| CallError::UnitNotFound { unit: unit.to_owned() })
    }

    fn unusable_status(&self, unit: &str, error: CallError) -> Result<UnitStatus, CallError> {
        match error {
            CallError::UnitUnusable { message, .. } => {
                let masked = message.contains("is masked");
                Ok(UnitStatus {
                    v: 1,
                    name: unit.to_owned(),
                    load_state: if masked { "masked" } else { "bad-setting" }.to_owned(),
                    load_error: Some(message),
                    state: "inactive".to_owned(),
                    substate: "dead".to_owned(),
                    result: "success".to_owned(),
                    ..UnitStatus::default()
                })
            }
            other => Err(other),
        }
    }

    /// All units with a file or a state, by name.
    pub(super) fn list(&mut self) -> Vec<UnitStatus> {
        let mut names: Vec<String> = load::list(&self.options.unit_path);
        let enabled = load::enabled_units(&self.options.unit_path, "default");
        let gone: Vec<String> = self.names.keys().filter(|name| names.binary_search(name).is_err()).cloned().collect();
        for name in gone {
            // An instance lives by its template's file.
            if load::is_set(&self.options.unit_path, &name) {
                continue;
            }
            if !load::exists(&self.options.unit_path, &name) {
                self.file_gone(&name);
            } else if !enabled.contains(&name) {
                self.forget_idle(&name);
            }
        }
        names.extend(self.names.keys().cloned());
        names.extend(enabled.iter().filter(|name| load::template_of(name).is_some()).cloned());
        names.extend(self.sets_on_disk());
        names.sort();
        names.dedup();
        names
            .iter()
            .filter_map(|name| {
                let id = match self.names.get(name).copied() {
                    Some(id) => Ok(id),
                    None => self.load_unit(name),
                };
                let mut status = match id {
                    Ok(id) => self.snapshot(id, false)?,
                    Err(error) => self.unusable_status(name, error).ok()?,
                };
                status.enabled = enabled.contains(name);
                Some(status)
            })
            .collect()
    }

    /// What a start would do now, or why it would be refused.
    fn plan_lines(&mut self, unit: &str) -> Result<Vec<String>, CallError> {
        let id = self.load_unit(unit)?;
        if self.is_replica_set(id) {
            // They differ in their numbers only.
            return self.plan_lines(&format!("{unit}@1"));
        }
        let Some(parsed) = self.service(id).and_then(|service| service.unit.clone()) else {
            return Err(CallError::UnitNotFound { unit: unit.to_owned() });
        };
        let facts = self.facts(&parsed);
        match crate::compile::compile(&parsed, &facts, crate::compile::Purpose::Main) {
            Ok(plan) => Ok(plan.to_string().lines().map(str::to_owned).collect()),
            Err(errors) => Err(CallError::UnitUnusable {
                unit: unit.to_owned(),
                message: super::launch::compile_failure(&errors).message,
            }),
        }
    }

    /// What a unit runs with.
    fn configuration(&self, unit: &str) -> Result<Answer, CallError> {
        let service = self.id_of(unit).filter(|id| self.is_up(*id)).and_then(|id| self.service(id));
        let Some((service, running)) = service.and_then(|service| Some((service, service.running.as_ref()?))) else {
            return Err(CallError::NotRunning { unit: unit.to_owned() });
        };
        let mut values: Vec<ConfiguredValue> = running.effective().into_iter().map(ConfiguredValue::from).collect();
        for (key, value) in service.live.values.clone() {
            // No line says so.
            values.retain(|other| other.key != key);
            values.push(ConfiguredValue { key, value, file: None, line: None });
        }
        Ok(Answer::Configuration(values))
    }

    fn cgroup_layout(&self) -> &'static str {
        let Some(tree) = &self.tree else { return "none" };
        match (tree.facts().unified, tree.record().contains("v2:")) {
            (true, _) => "v2",
            (false, true) => "hybrid",
            (false, false) => "v1",
        }
    }

    fn describe(&mut self) -> Description {
        let states = self.services.keys().filter_map(|id| self.supervisor.status(*id));
        let (mut active, mut failed) = (0, 0);
        for status in states {
            match status.state {
                crate::supervise::ActiveState::Active | crate::supervise::ActiveState::Reloading => active += 1,
                crate::supervise::ActiveState::Failed => failed += 1,
                _ => {}
            }
        }
        let mut names = load::list(&self.options.unit_path);
        names.extend(self.names.keys().cloned());
        names.sort();
        names.dedup();
        Description {
            v: 1,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: super::remembered::BUILD.to_owned(),
            pid: std::process::id() as i32,
            since: Some(super::snapshot::wall_time(self.since)),
            upgrades: self.upgrades,
            upgraded: self.upgraded.map(super::snapshot::wall_time),
            outdated: self.outdated(),
            units: names.len() as u64,
            active,
            failed,
            cgroup_root: self.tree.as_ref().map(|tree| tree.root_path().display().to_string()),
            cgroup_layout: Some(self.cgroup_layout().to_owned()),
            unit_path: self.options.unit_path.iter().map(|path| path.display().to_string()).collect(),
            runtime_dir: self.options.runtime_dir.display().to_string(),
            state_dir: self.options.state_dir.display().to_string(),
            log: if self.host.journald() { "journald" } else { "file" }.to_owned(),
        }
    }

    /// The supervisor's outcome in the words of the protocol.
    pub(super) fn answer_of(&mut self, unit: &str, outcome: Outcome) -> Result<Answer, CallError> {
        let name = unit.to_owned();
        match outcome {
            Outcome::Done => Ok(Answer::Done),
            Outcome::Skipped(cause) => Ok(Answer::Skipped(cause_words(&cause, None))),
            Outcome::Cancelled => Err(CallError::JobCancelled { unit: name }),
            Outcome::NotRunning => Err(CallError::NotRunning { unit: name }),
            Outcome::NotSupported => Err(CallError::NotSupported {
                unit: name,
                message: "the unit has neither `service.exec_reload` nor `service.reload_signal`".to_owned(),
            }),
            Outcome::Failed(cause @ (Cause::Replicas { .. } | Cause::Roll { .. })) => {
                Err(self.failure_of_set(unit, &cause))
            }
            Outcome::Failed(cause) => {
                let id = self.names.get(unit).copied();
                if let Some(id) = id {
                    // What it wrote just before its end may still be in the pipe.
                    self.drain_log(id);
                }
                let service = id.and_then(|id| self.service(id));
                let mut message = cause_words(&cause, service);
                let lines = service.map(|service| service.last_lines(10)).unwrap_or_default();
                for line in lines {
                    message.push_str("\n  | ");
                    message.push_str(&line);
                }
                Err(CallError::JobFailed { unit: name, message })
            }
        }
    }
}

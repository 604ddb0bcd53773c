//! Sets of replicas, as far as the daemon has to do with them: reading their templates, passing on what people ask, and
//! telling how they stand. What happens to the replicas is decided in `supervise::replicas`.

use super::definition::fingerprint;
use super::engine::Engine;
use super::service::Service;
use super::snapshot;
use super::state::{self, SavedState};
use super::units::unusable;
use crate::control::{CallError, Replica, ReplicaSet, UnitStatus};
use crate::load;
use crate::supervise::{Cause, Event, KeptSet, ServiceId, SetStatus};
use crate::unit::problem::{self, Style};
use crate::unit::{ParseOptions, Unit};
use std::path::Path;
use std::rc::Rc;

/// Lines of output that are told of each replica that failed.
const LINES: usize = 10;

/// Why a set is not as it was asked to be, with what was done and what was not.
pub(super) fn cause_words(cause: &Cause) -> String {
    words(cause, &mut |_, cause| snapshot::cause_words(cause, None))
}

/// The same, with words of the caller for each replica that failed.
fn words(cause: &Cause, of_replica: &mut dyn FnMut(&str, &Cause) -> String) -> String {
    match cause {
        Cause::Replicas { failed } => {
            let lines = failed.iter().map(|(name, cause)| format!("{name}: {}", of_replica(name, cause)));
            lines.collect::<Vec<_>>().join("\n")
        }
        Cause::Roll { replica, cause, done, left } => {
            let why = match cause {
                Some(cause) => of_replica(replica, cause),
                None => "it was stopped, or ended after it had been ready".to_owned(),
            };
            let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let (done, left) = (list(done), list(left));
            format!("the rolling restart ended at {replica}: {why}\n  restarted: {done}\n  left as they were: {left}")
        }
        other => snapshot::cause_words(other, None),
    }
}

impl Engine {
    // ── reading ──

    /// Defines the set `name`, if there is a template of that name that says `replicas`. `None`: there is none, or a
    /// plain unit that is still up has the name.
    pub(super) fn load_set(&mut self, name: &str) -> Result<Option<ServiceId>, CallError> {
        let known = self.names.get(name).copied();
        if known.is_some_and(|id| !self.is_replica_set(id) && self.is_up(id)) {
            return Ok(None);
        }
        let known = known.filter(|id| self.is_replica_set(*id));
        let found = match load::find_set(&self.options.unit_path, name, self.trust()) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            Err(problem) => {
                let text = problem::render(&[*problem], "", Style::default());
                self.remember_error(known, &text);
                return Err(unusable(name, text));
            }
        };
        let print = fingerprint(&found);
        if let Some(id) = known
            && let Some(service) = self.services.get_mut(&id)
            && service.template.is_some()
            && service.fingerprint == print
        {
            service.load_error = None;
            return Ok(Some(id));
        }
        match found.parse(ParseOptions::default()) {
            Ok((unit, _warnings)) => Ok(unit.unit.replicas.map(|number| self.define_set(name, unit, number, print))),
            Err(problems) => {
                let text = found.draw(&problems, Style::default());
                self.remember_error(known, &text);
                Err(unusable(name, text))
            }
        }
    }

    /// Puts a set in place; it takes effect at the next start or scaling.
    fn define_set(&mut self, name: &str, replica: Unit, number: u32, fingerprint: u64) -> ServiceId {
        let policy = self.policy(&replica).into_set(name, number);
        let id = match self.names.get(name) {
            Some(id) => *id,
            None => {
                let id = self.new_id();
                self.names.insert(name.to_owned(), id);
                self.services.insert(id, Box::new(Service::new(name)));
                id
            }
        };
        if let Some(service) = self.services.get_mut(&id) {
            service.unit = None;
            service.template = Some(Rc::new(replica));
            service.fingerprint = fingerprint;
            service.load_error = None;
        }
        self.supervisor.define(id, policy);
        id
    }

    /// A file of the name of a set takes its place, but not while the set is up: its replicas would be nobody's.
    pub(super) fn gives_way(&mut self, name: &str, file: &Path) -> Result<(), CallError> {
        let Some(id) = self.names.get(name).copied() else { return Ok(()) };
        if self.supervisor.set_status(id).is_none_or(|set| set.kept.is_none()) {
            return Ok(());
        }
        let message = format!(
            "{name} is a set of replicas that is up, and {} would take its place\n  hint: rsvc stop {name}",
            file.display()
        );
        self.remember_error(Some(id), &message);
        Err(unusable(name, message))
    }

    /// Loads what a start of `name` needs. Of a set every replica (`number` of them, or as many as are to be up now)
    /// must be usable as it is on disk.
    pub(super) fn load_all_for_start(&mut self, name: &str, number: Option<u32>) -> Result<ServiceId, CallError> {
        let id = self.load_unit(name)?;
        if let Some(set) = self.supervisor.set_status(id) {
            // What the unit says counts unless it was scaled.
            let scaled = set.kept.as_ref().and_then(|kept| kept.scaled);
            let written = self.service(id).and_then(|service| service.template.as_ref()?.unit.replicas);
            let number = number.or(scaled).or(written).unwrap_or(set.number);
            for replica in self.replica_names(id, number) {
                self.load_for_start(&replica)?;
            }
        }
        self.load_for_start(name)
    }

    /// The same for a set that is to have `number` replicas.
    pub(super) fn load_set_to_scale(&mut self, name: &str, number: u32) -> Result<ServiceId, CallError> {
        let not_supported = |message: String| CallError::NotSupported { unit: name.to_owned(), message };
        match self.load_unit(name) {
            Ok(id) if !self.is_replica_set(id) => Err(not_supported(format!(
                "{name}: one unit and no set: only a template with `unit.replicas` can be scaled, by its name without @"
            ))),
            Err(CallError::UnitNotFound { .. }) if self.has_template(name) => Err(not_supported(format!(
                "{name}: {name}@.toml does not say how many replicas it has\n  hint: write `replicas = {number}` below [unit]"
            ))),
            Err(error) => Err(error),
            Ok(_) => self.load_all_for_start(name, Some(number)),
        }
    }

    fn has_template(&self, name: &str) -> bool {
        load::templates(&self.options.unit_path).iter().any(|template| template == name)
    }

    /// Sets that have a template, and no unit of their name before it.
    pub(super) fn sets_on_disk(&mut self) -> Vec<String> {
        let templates = load::templates(&self.options.unit_path);
        // What is wrong with a template is told when it is asked for.
        templates.into_iter().filter(|name| self.load_unit(name).is_ok_and(|id| self.is_replica_set(id))).collect()
    }

    // ── who is who ──

    pub(super) fn is_replica_set(&self, id: ServiceId) -> bool {
        self.service(id).is_some_and(|service| service.template.is_some())
    }

    /// For what is done to one unit only.
    ///
    /// # Errors
    /// When this is a set.
    pub(super) fn refuse_set(&self, id: ServiceId, asked: &str) -> Result<(), CallError> {
        if !self.is_replica_set(id) {
            return Ok(());
        }
        let message = format!("{asked}: a set of replicas; change one of them, such as {asked}@1, or the template");
        Err(CallError::NotSupported { unit: asked.to_owned(), message })
    }

    /// Names of the replicas 1 to `number` of a set.
    pub(super) fn replica_names(&self, set: ServiceId, number: u32) -> Vec<String> {
        let name = self.service(set).map_or("", |service| &service.name);
        (1..=number).map(|number| format!("{name}@{number}")).collect()
    }

    /// Replicas of a set that are known; none for other units.
    pub(super) fn replicas_of(&self, id: ServiceId) -> Vec<ServiceId> {
        let set = self.supervisor.set_status(id);
        set.into_iter().flat_map(|set| set.replicas).map(|(_, replica)| replica).collect()
    }

    /// Names of the replicas of which something runs.
    ///
    /// # Errors
    /// When that is none.
    pub(super) fn running_replicas(&self, set: ServiceId, asked: &str) -> Result<Vec<String>, CallError> {
        let runs = |service: &&Service| service.main.is_some() || !service.emptied;
        let services = self.replicas_of(set).into_iter().filter_map(|id| self.service(id));
        let names: Vec<String> = services.filter(runs).map(|service| service.name.clone()).collect();
        if names.is_empty() { Err(CallError::NotRunning { unit: asked.to_owned() }) } else { Ok(names) }
    }

    // ── a daemon takes over ──

    /// A set that a former daemon kept, after its replicas. It is kept on whatever became of its file.
    pub(super) fn adopt_set(&mut self, name: &str) {
        let Ok(saved) = state::read(&self.options.runtime_dir, name) else { return };
        let SavedState { set: Some(kept), stop_requested, restart_requested, .. } = saved.clone() else { return };
        let loaded = self.load_unit(name).ok().filter(|id| self.is_replica_set(*id));
        let id = match loaded.or_else(|| self.bare_set(name, &kept)) {
            Some(id) => id,
            None => {
                tracing::error!("the replicas of {name} are not kept any more: a unit has taken the name");
                return self.forget_state(name);
            }
        };
        let number = kept.scaled.unwrap_or(kept.written);
        for replica in self.replica_names(id, number) {
            if let Err(error) = self.load_for_start(&replica) {
                tracing::warn!("{replica} cannot be loaded: {error}");
            }
        }
        self.events.push_back(Event::SetRemembered { id, kept });
        if stop_requested || restart_requested {
            self.events.push_back(Event::StopRequested { id, request: None });
        }
        if restart_requested {
            self.events.push_back(Event::StartRequested { id, request: None });
        }
        self.take_requests_over(id, &saved);
    }

    /// A set without a template: its replicas go on, and it can be scaled down and stopped.
    fn bare_set(&mut self, name: &str, kept: &KeptSet) -> Option<ServiceId> {
        let replica = format!("{name}@1");
        let text = format!("[service]\nexec = [\"/nonexistent/{name}\"]\n");
        let (unit, _) = Unit::parse_bytes(&replica, "(no unit file)", text.as_bytes()).ok()?;
        if self.names.get(name).is_some_and(|id| self.is_up(*id)) {
            return None;
        }
        let id = self.define_set(name, unit, kept.written, 0);
        self.remember_error(Some(id), "the template is gone or unusable");
        Some(id)
    }

    // ── what people are told ──

    /// The answer to a request that did not come about, with the last lines of who failed.
    pub(super) fn failure_of_set(&mut self, unit: &str, cause: &Cause) -> CallError {
        let mut first = None;
        let message = words(cause, &mut |name, cause| {
            first.get_or_insert_with(|| name.to_owned());
            let Some(id) = self.names.get(name).copied() else { return snapshot::cause_words(cause, None) };
            // What it wrote just before its end may still be in the pipe.
            self.drain_log(id);
            let service = self.service(id);
            let lines = service.map(|service| service.last_lines(LINES)).unwrap_or_default();
            let mut words = snapshot::cause_words(cause, service);
            lines.iter().for_each(|line| words.push_str(&format!("\n  | {line}")));
            words
        });
        let message = if message.contains(unit) { message } else { format!("{unit}: {message}") };
        CallError::JobFailed { unit: first.unwrap_or_else(|| unit.to_owned()), message }
    }

    /// Everything about a set.
    pub(super) fn set_snapshot(&mut self, id: ServiceId, detailed: bool) -> Option<UnitStatus> {
        let set = self.supervisor.set_status(id)?;
        let template = self.service(id)?.template.clone();
        let description = |unit: &Rc<Unit>| {
            let text = unit.unit.description.clone()?;
            // Of one replica, unless they share it.
            let others = self.service(set.replicas.last()?.1)?.unit.clone()?;
            (others.name == unit.name || others.unit.description.as_deref() == Some(&text)).then_some(text)
        };
        let status = UnitStatus {
            description: template.as_ref().and_then(description),
            file: template.as_ref().map(|unit| unit.file.clone()),
            drop_ins: template.as_ref().map(|u| u.drop_ins().map(str::to_owned).collect()).unwrap_or_default(),
            profile: template.as_ref().map(|unit| format!("{:?}", unit.security.profile).to_lowercase()),
            enabled: detailed && load::is_enabled(&self.options.unit_path, &self.service(id)?.name),
            replicas: Some(self.replica_set(id, &set, detailed)),
            ..self.state_of(id)?
        };
        Some(status)
    }

    fn replica_set(&self, id: ServiceId, set: &SetStatus, detailed: bool) -> ReplicaSet {
        let kept = set.kept.as_ref();
        let name = self.service(id).map_or("", |service| &service.name);
        let rolling = kept.and_then(|kept| kept.roll.as_ref()?.current);
        let above = set.replicas.iter().filter(|(number, id)| *number > set.number && self.is_up(*id));
        let numbers = (1..=set.number).chain(above.map(|(number, _)| *number));
        let member = |number: u32| {
            let name = format!("{name}@{number}");
            let held = kept.is_some_and(|kept| kept.held.contains(&number));
            let state = self.names.get(&name).and_then(|id| self.state_of(*id)).unwrap_or_else(|| UnitStatus {
                state: "inactive".to_owned(),
                substate: "dead".to_owned(),
                ..UnitStatus::default()
            });
            let cause = state.cause.filter(|_| !matches!(state.state.as_str(), "active" | "reloading"));
            Replica {
                name,
                held,
                cause,
                state: state.state,
                substate: state.substate,
                since: state.since,
                main_pid: state.main_pid,
                restarts: state.restarts,
            }
        };
        ReplicaSet {
            number: set.number,
            scaled: kept.is_some_and(|kept| kept.scaled.is_some()),
            ready: set.ready,
            rolling: rolling.map(|(number, _)| format!("{name}@{number}")),
            members: if detailed { numbers.map(member).collect() } else { Vec::new() },
        }
    }
}

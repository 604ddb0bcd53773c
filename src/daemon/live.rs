//! What is changed of a unit that runs: limits of its group by `rsvc set`, and the freezer.
//!
//! A changed limit holds until the unit is stopped or has failed for good: over its automatic restarts, over `restart`,
//! and over the daemon (it is part of the state that the next one reads). The next start after a stop is by the file.
//!
//! A frozen unit is thawed before anything is launched into its group or any signal of the supervisor is sent: a
//! process born into a frozen group would never report, and the daemon waits for no one.

use super::engine::{Engine, Notice};
use super::service::Service;
use crate::compile::{Purpose, compile};
use crate::control::{CallError, UnitChange, UnitEvent};
use crate::load;
use crate::plan::{CgroupSettings, CpuMax};
use crate::supervise::{Role, ServiceId};
use crate::unit::problem::{self, Style};
use crate::unit::{Assignment, Unit, document};
use std::collections::BTreeMap;

/// Keys whose value can be changed under a service that runs: one write to a file of its group each.
pub(super) const CHANGEABLE: [&str; 12] = [
    "resources.memory_max",
    "resources.memory_high",
    "resources.memory_low",
    "resources.memory_min",
    "resources.memory_swap_max",
    "resources.memory_oom_group",
    "resources.cpu_max",
    "resources.cpu_weight",
    "resources.cpuset_cpus",
    "resources.cpuset_mems",
    "resources.tasks_max",
    "resources.io_weight",
];

/// Changed limits of one unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Live {
    /// Key and value in TOML.
    pub values: BTreeMap<String, String>,
    /// What they mean; only the fields of these keys are set.
    settings: Option<Box<CgroupSettings>>,
}

impl Live {
    /// The limits of a plan with the changed ones in their place.
    pub fn over(&self, planned: &CgroupSettings) -> CgroupSettings {
        let Some(s) = &self.settings else { return planned.clone() };
        CgroupSettings {
            memory_max: s.memory_max.or(planned.memory_max),
            memory_high: s.memory_high.or(planned.memory_high),
            memory_low: s.memory_low.or(planned.memory_low),
            memory_min: s.memory_min.or(planned.memory_min),
            memory_swap_max: s.memory_swap_max.or(planned.memory_swap_max),
            memory_oom_group: s.memory_oom_group.or(planned.memory_oom_group),
            cpu_max: s.cpu_max.or(planned.cpu_max),
            cpu_weight: s.cpu_weight.or(planned.cpu_weight),
            cpuset_cpus: s.cpuset_cpus.clone().or_else(|| planned.cpuset_cpus.clone()),
            cpuset_mems: s.cpuset_mems.clone().or_else(|| planned.cpuset_mems.clone()),
            pids_max: s.pids_max.or(planned.pids_max),
            io_weight: s.io_weight.or(planned.io_weight),
            ..planned.clone()
        }
    }
}

/// Takes the field of `key` from the limits of a compiled plan. What a plan leaves out because it is no limit has to be
/// written here: the group may have one.
fn take(key: &str, from: &CgroupSettings, to: &mut CgroupSettings) {
    match key {
        "resources.memory_max" => to.memory_max = from.memory_max.or(Some(u64::MAX)),
        "resources.memory_high" => to.memory_high = from.memory_high.or(Some(u64::MAX)),
        "resources.memory_low" => to.memory_low = from.memory_low.or(Some(0)),
        "resources.memory_min" => to.memory_min = from.memory_min.or(Some(0)),
        "resources.memory_swap_max" => to.memory_swap_max = from.memory_swap_max.or(Some(u64::MAX)),
        "resources.memory_oom_group" => to.memory_oom_group = from.memory_oom_group,
        "resources.cpu_max" => {
            to.cpu_max = from.cpu_max.or(Some(CpuMax { quota: None, period: 100_000 }));
        }
        "resources.cpu_weight" => to.cpu_weight = from.cpu_weight.or(Some(100)),
        "resources.cpuset_cpus" => to.cpuset_cpus.clone_from(&from.cpuset_cpus),
        "resources.cpuset_mems" => to.cpuset_mems.clone_from(&from.cpuset_mems),
        "resources.tasks_max" => to.pids_max = from.pids_max.or(Some(u64::MAX)),
        "resources.io_weight" => to.io_weight = from.io_weight.or(Some(100)),
        _ => {}
    }
}

impl Service {
    /// The limits that its group is to have.
    pub fn limits(&self, planned: &CgroupSettings) -> CgroupSettings {
        let mut limits = self.live.over(planned);
        limits.cpuset_cpus = limits.cpuset_cpus.or_else(|| self.from_slice.cpus.clone());
        limits.cpuset_mems = limits.cpuset_mems.or_else(|| self.from_slice.mems.clone());
        limits
    }

    /// What was changed by hand, and what the unit says, for people.
    pub fn changes(&self) -> Vec<String> {
        if self.live.values.is_empty() {
            return Vec::new();
        }
        let effective = self.running.as_ref().map(|unit| unit.effective()).unwrap_or_default();
        let said = |key: &str| effective.iter().find(|value| value.key == key).map(|value| value.value.as_str());
        let line =
            |(key, value): (&String, &String)| format!("{key} = {value}, unit: {}", said(key).unwrap_or("unset"));
        self.live.values.iter().map(line).collect()
    }
}

impl Engine {
    /// Decodes changed values as those of a file, and asks whether this host can hold them.
    ///
    /// # Errors
    /// Diagnostics as text.
    pub(super) fn live_of(&mut self, values: BTreeMap<String, String>) -> Result<Live, String> {
        let mut live = Live { values, settings: None };
        if live.values.is_empty() {
            return Ok(live);
        }
        // Nothing but the limits is asked for. (Forced from outside, this profile would win over some of them.)
        let profile = ("security.profile".to_owned(), "\"host\"".to_owned());
        let lines: Vec<Assignment> =
            live.values.clone().into_iter().chain([profile]).map(|(key, value)| Assignment { key, value }).collect();
        let text = document(Some(&["/bin/true".to_owned()]), &lines);
        let (unit, _) = Unit::parse("set", "command line", &text)
            .map_err(|problems| problem::render(&problems, &text, Style::default()))?;
        let facts = self.facts(&unit);
        let plan =
            compile(&unit, &facts, Purpose::Main).map_err(|errors| super::launch::compile_failure(&errors).message)?;
        for key in live.values.keys() {
            take(key, &plan.cgroup, live.settings.get_or_insert_default());
        }
        Ok(live)
    }

    /// `Set`: changes limits of a unit that runs. An empty value takes a change back.
    pub(super) fn set(&mut self, asked: &str, values: BTreeMap<String, String>) -> Result<(), CallError> {
        let id = self.known_or_loaded(asked)?;
        self.refuse_set(id, asked)?;
        let id = self.running_id(asked)?;
        let unit = asked.to_owned();
        let bad = |message: String| CallError::BadSetting { unit: unit.clone(), message };
        if let Some(key) = values.keys().find(|key| !CHANGEABLE.contains(&key.as_str())) {
            let remedy = if crate::unit::keys::find(key).is_some() {
                format!("cannot change while the unit runs: change the file and `rsvc restart {asked}`")
            } else {
                format!("is no key that can change while the unit runs; these can: {}", CHANGEABLE.join(", "))
            };
            return Err(bad(format!("`{}` {remedy}", key.escape_debug())));
        }
        let mut wanted = self.service(id).map(|service| service.live.values.clone()).unwrap_or_default();
        for (key, value) in values {
            let assignment = Assignment::new(&key, &value).map_err(bad)?;
            match assignment.value.as_str() {
                "" => drop(wanted.remove(&key)),
                _ => drop(wanted.insert(key, assignment.value)),
            }
        }
        let live = self.live_of(wanted).map_err(bad)?;
        self.apply_live(id, live).map_err(|message| CallError::JobFailed { unit, message })?;
        self.dirty.insert(id);
        self.tell(id, "changed");
        Ok(())
    }

    /// Writes changed limits into the group; after a refusal of the kernel the former ones are written back.
    pub(super) fn apply_live(&mut self, id: ServiceId, live: Live) -> Result<(), String> {
        let plan = self.plan_for(id, Role::Main).map_err(|failure| failure.message)?;
        let Some(service) = self.services.get_mut(&id) else { return Ok(()) };
        let Some(group) = service.group.clone() else {
            return Err("there are no control groups, so no limit can be held".to_owned());
        };
        for (key, planned) in
            [("resources.cpuset_cpus", &plan.cgroup.cpuset_cpus), ("resources.cpuset_mems", &plan.cgroup.cpuset_mems)]
        {
            if service.live.values.contains_key(key) && !live.values.contains_key(key) && planned.is_none() {
                return Err(format!("{key}: this change ends with the next stop; until then set all that there are"));
            }
        }
        let former = std::mem::replace(&mut service.live, live);
        // The next daemon finds the limits that are meant, and writes them again.
        self.persist(id);
        let Some(service) = self.services.get_mut(&id) else { return Ok(()) };
        let limits = with_former_keys_unset(&former, &service.live, service.limits(&plan.cgroup));
        let result = match group.apply(&limits) {
            Ok(missing) => match missing.iter().find(|item| service.live.values.contains_key(&item.key)) {
                Some(item) => Err(format!("{}: {}", item.key, item.why)),
                None => {
                    service.applied = Some(Box::new(service.limits(&plan.cgroup)));
                    return Ok(());
                }
            },
            Err(error) => Err(error.to_string()),
        };
        service.live = former;
        self.dirty.insert(id);
        if let Err(error) = group.apply(&service.limits(&plan.cgroup)) {
            tracing::error!(unit = service.name, "{}: limits may be mixed: {error}", service.name);
        }
        result
    }

    /// Limits that were changed of an adopted unit: they were written down before they were written into the group.
    pub(super) fn write_limits_again(&mut self, id: ServiceId) {
        if self.service(id).is_none_or(|service| service.live.values.is_empty()) {
            return;
        }
        let Ok(plan) = self.plan_for(id, Role::Main) else { return };
        let Some(service) = self.services.get(&id) else { return };
        if let Some(group) = &service.group
            && let Err(error) = group.apply(&service.limits(&plan.cgroup))
        {
            tracing::error!(unit = service.name, "{}: changed limits: {error}", service.name);
        }
    }

    /// `Freeze`, `Thaw`. Asked for what is so already, it is done.
    pub(super) fn freeze(&mut self, asked: &str, frozen: bool) -> Result<(), CallError> {
        let id = self.known_or_loaded(asked)?;
        if self.is_replica_set(id) {
            let names = self.running_replicas(id, asked)?;
            return names.iter().try_for_each(|name| self.freeze(name, frozen));
        }
        let id = self.running_id(asked)?;
        let Some(service) = self.services.get_mut(&id) else { return Ok(()) };
        let Some(group) = &service.group else {
            let message = format!("{asked}: without control groups nothing can be frozen");
            return Err(CallError::NotSupported { unit: asked.to_owned(), message });
        };
        group.freeze(frozen).map_err(|error| CallError::Internal { message: format!("{asked}: {error}") })?;
        if service.frozen != frozen {
            service.frozen = frozen;
            self.tell(id, if frozen { "frozen" } else { "thawed" });
        }
        Ok(())
    }

    /// Before anything is launched or signalled.
    pub(super) fn thaw_first(&mut self, id: ServiceId) {
        let Some(service) = self.services.get_mut(&id).filter(|service| service.frozen) else { return };
        if let Some(group) = &service.group
            && let Err(error) = group.freeze(false)
        {
            // Still frozen: the next signal tries again.
            return tracing::error!(unit = service.name, "cannot thaw {}: {error}", service.name);
        }
        service.frozen = false;
        self.tell(id, "thawed");
    }

    /// A unit that is up.
    pub(super) fn running_id(&mut self, asked: &str) -> Result<ServiceId, CallError> {
        let id = self.known_or_loaded(asked)?;
        if self.is_up(id) && self.service(id).is_some_and(|service| service.main.is_some() || !service.emptied) {
            Ok(id)
        } else {
            Err(CallError::NotRunning { unit: asked.to_owned() })
        }
    }

    /// Tells those who listen of something that the supervisor does not know.
    fn tell(&mut self, id: ServiceId, word: &str) {
        if self.observed
            && let Some(status) = self.state_of(id)
        {
            let event: UnitEvent = super::subscribers::entry(status, word);
            self.notices.push(Notice::Event(Box::new(event)));
        }
    }

    /// `ReloadConfig`: every file is read again. What became of those that are not as before, and how many are.
    pub(super) fn reload_config(&mut self) -> (Vec<UnitChange>, u64) {
        let mut names = load::list(&self.options.unit_path);
        names.extend(self.names.keys().cloned());
        names.sort();
        names.dedup();
        let (mut changes, mut unchanged) = (Vec::new(), 0);
        for name in names {
            let before = self.names.get(&name).and_then(|id| self.service(*id)).map(|service| service.fingerprint);
            let loaded = self.load_unit(&name);
            let after = self.names.get(&name).and_then(|id| self.service(*id)).map(|service| service.fingerprint);
            let (change, message) = match loaded {
                Ok(_) if before.is_none() => ("new", None),
                Ok(_) if before != after => ("changed", None),
                Ok(_) => {
                    unchanged += 1;
                    continue;
                }
                Err(CallError::UnitNotFound { .. }) => ("gone", None),
                Err(error) => {
                    let text = error.to_string();
                    (if text.contains(" is masked by ") { "masked" } else { "bad" }, Some(text))
                }
            };
            let running = self.names.get(&name).is_some_and(|id| self.is_up(*id));
            changes.push(UnitChange { v: 1, name, change: change.to_owned(), message, running });
        }
        for (name, applied) in self.reload_slices() {
            let change = if applied.is_ok() { "changed" } else { "bad" }.to_owned();
            changes.push(UnitChange { v: 1, name, change, message: applied.err(), running: true });
        }
        (changes, unchanged)
    }
}

/// A key that is no longer changed and that the unit does not set either has to be set to what the kernel begins with.
fn with_former_keys_unset(former: &Live, live: &Live, mut limits: CgroupSettings) -> CgroupSettings {
    let none = CgroupSettings::default();
    for key in former.values.keys().filter(|key| !live.values.contains_key(*key)) {
        let mut unset = CgroupSettings::default();
        take(key, &none, &mut unset);
        limits = Live { values: BTreeMap::new(), settings: Some(Box::new(limits)) }.over(&unset);
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(values: &[(&str, &str)], settings: CgroupSettings) -> Live {
        let values = values.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Live { values, settings: Some(Box::new(settings)) }
    }

    #[test]
    fn a_changed_limit_stands_in_the_place_of_the_plans() {
        let planned = CgroupSettings { memory_max: Some(5), pids_max: Some(7), ..CgroupSettings::default() };
        let changed =
            live(&[("resources.memory_max", "9")], CgroupSettings { memory_max: Some(9), ..CgroupSettings::default() });
        assert_eq!(changed.over(&planned), CgroupSettings { memory_max: Some(9), ..planned.clone() });
        assert_eq!(Live::default().over(&planned), planned);
    }

    #[test]
    fn a_change_that_is_taken_back_leaves_what_the_unit_says_or_no_limit() {
        let changed = live(
            &[("resources.memory_max", "9"), ("resources.cpu_weight", "9")],
            CgroupSettings { memory_max: Some(9), cpu_weight: Some(9), ..CgroupSettings::default() },
        );
        let planned = CgroupSettings { cpu_weight: Some(50), ..CgroupSettings::default() };
        let limits = with_former_keys_unset(&changed, &Live::default(), planned);
        assert_eq!((limits.memory_max, limits.cpu_weight), (Some(u64::MAX), Some(50)));
    }

    #[test]
    fn every_changeable_key_is_one_of_the_table_and_has_its_field() {
        let all = CgroupSettings {
            memory_max: Some(1),
            memory_high: Some(1),
            memory_low: Some(1),
            memory_min: Some(1),
            memory_swap_max: Some(1),
            memory_oom_group: Some(true),
            cpu_max: Some(CpuMax { quota: None, period: 1 }),
            cpu_weight: Some(1),
            cpuset_cpus: Some("0".into()),
            cpuset_mems: Some("0".into()),
            pids_max: Some(1),
            io_weight: Some(1),
            ..CgroupSettings::default()
        };
        let mut taken = CgroupSettings::default();
        for key in CHANGEABLE {
            assert!(crate::unit::keys::find(key).is_some(), "{key}");
            let before = taken.clone();
            take(key, &all, &mut taken);
            assert_ne!(taken, before, "{key}");
        }
        assert_eq!(taken, all);
        assert_eq!(
            Live { values: BTreeMap::new(), settings: Some(Box::new(taken)) }.over(&CgroupSettings::default()),
            all
        );
    }
}

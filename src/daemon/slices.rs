//! Slices: the group that several units share, with the limits of its file.
//!
//! The file is read at each start of a unit that names it, and by `reload-config`; the limits are in the group before the
//! unit's own group is. What was written is kept beside the state of the units, as the next daemon has to know which limits
//! to take back when the file no longer has them.

use super::asked::{self, set_by};
use super::engine::Engine;
use super::group::key_of;
use super::launch::{compile_failure, failure, make_directory};
use super::rare::{Rare, Usual};
use super::whole_file;
use crate::cgroup::SliceGroup;
use crate::compile::slice_settings;
use crate::control::SliceStatus;
use crate::load::{self, Found, Lookup};
use crate::plan::{CgroupSettings, CpuMax, IoMax};
use crate::supervise::{LaunchFailure, ServiceId};
use crate::unit::Slice;
use crate::unit::problem::{self, Style};
use std::path::PathBuf;

/// A file of written limits is far smaller.
const MAX_WRITTEN: u64 = 64 << 10;

/// What the units of a slice have from it besides the common group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FromSlice {
    /// CPUs and memory nodes, for those of a v1 host that name none: there a group in another hierarchy is not below the
    /// slice's.
    pub cpus: Option<String>,
    pub mems: Option<String>,
    /// How often the slice's memory limit had been run into when the run began.
    pub hits_before: u64,
    /// The run ended because of that limit.
    pub ran_out: bool,
}

impl Usual for FromSlice {
    const USUAL: &'static FromSlice = &FromSlice { cpus: None, mems: None, hits_before: 0, ran_out: false };
}

/// The limits to be written so that exactly `wanted` holds, where `former` was written before. Processors and nodes cannot
/// be given back while somebody is in the group: they stay as they were.
fn change(former: &CgroupSettings, wanted: &CgroupSettings) -> CgroupSettings {
    let unset = |former: Option<u64>, none: u64| former.map(|_| none);
    let mut io_max = wanted.io_max.clone();
    let gone = former.io_max.iter().filter(|old| !wanted.io_max.iter().any(|new| new.device == old.device));
    let freed = |old: &IoMax| IoMax { device: old.device.clone(), rbps: None, wbps: None, riops: None, wiops: None };
    io_max.extend(gone.map(freed));
    CgroupSettings {
        memory_max: wanted.memory_max.or(unset(former.memory_max, u64::MAX)),
        memory_high: wanted.memory_high.or(unset(former.memory_high, u64::MAX)),
        memory_low: wanted.memory_low.or(unset(former.memory_low, 0)),
        memory_min: wanted.memory_min.or(unset(former.memory_min, 0)),
        memory_swap_max: wanted.memory_swap_max.or(unset(former.memory_swap_max, u64::MAX)),
        memory_oom_group: wanted.memory_oom_group.or(former.memory_oom_group.map(|_| false)),
        cpu_max: wanted.cpu_max.or(former.cpu_max.map(|_| CpuMax { quota: None, period: 100_000 })),
        cpu_weight: wanted.cpu_weight.or(unset(former.cpu_weight, 100)),
        pids_max: wanted.pids_max.or(unset(former.pids_max, u64::MAX)),
        io_weight: wanted.io_weight.or(unset(former.io_weight, 100)),
        io_max,
        cpuset_cpus: wanted.cpuset_cpus.clone().or_else(|| former.cpuset_cpus.clone()),
        cpuset_mems: wanted.cpuset_mems.clone().or_else(|| former.cpuset_mems.clone()),
        hugetlb: Vec::new(),
        devices: None,
        delegate: false,
        addresses: None,
        udp_ports: None,
    }
}

impl Engine {
    /// The file of a slice, read and valid.
    ///
    /// # Errors
    /// Why there is none that can be used, with a remedy.
    fn read_slice(&self, name: &str) -> Result<Slice, String> {
        let found: Found = match load::find_slice(&self.options.unit_path, name, self.trust()) {
            Ok(Lookup::Found(found)) => found,
            Ok(Lookup::Masked { file }) => return Err(format!("the slice {name} is masked by {}", file.display())),
            Ok(Lookup::NotFound) => {
                let suffix = load::SLICE_SUFFIX;
                return Err(format!(
                    "there is no slice {name}\n  hint: write {name}{suffix}.toml into a unit directory, with the common limits \
                     in [resources]; it may be empty"
                ));
            }
            Err(problem) => return Err(problem::render(&[*problem], "", Style::default())),
        };
        found.parse_slice().map(|(slice, _warnings)| slice).map_err(|problems| found.draw(&problems, Style::default()))
    }

    /// Makes the group of the slice that a unit is to start in, with the limits that its file has now.
    pub(super) fn enter_slice(&mut self, id: ServiceId) -> Result<(), LaunchFailure> {
        let unit = self.service(id).and_then(|service| service.running.clone());
        let Some((unit, name)) = unit.and_then(|unit| Some((unit.clone(), unit.resources.slice.clone()?))) else {
            if let Some(service) = self.services.get_mut(&id) {
                service.from_slice = Rare::default();
            }
            return Ok(());
        };
        let key = "resources.slice";
        let refused =
            |why: String| failure("CGROUP", 219, format!("failed at step CGROUP: {why}{}", set_by(&unit, key)));
        if self.tree.is_none() {
            if unit.is_optional(key) {
                return Ok(());
            }
            return Err(refused(format!("without control groups nothing can be in the slice {name}")));
        }
        let settings = self.apply_slice(&name).map_err(refused)?;
        let tree = self.tree.as_ref();
        let legacy = tree.is_some_and(|tree| tree.facts().v1_controllers.iter().any(|known| known == "cpuset"));
        let hits = tree.and_then(|tree| tree.slice(&name)?.limit_hits());
        if let Some(service) = self.services.get_mut(&id) {
            let from_slice = FromSlice {
                cpus: settings.cpuset_cpus.filter(|_| legacy),
                mems: settings.cpuset_mems.filter(|_| legacy),
                hits_before: hits.unwrap_or(0),
                ran_out: false,
            };
            service.from_slice = from_slice.into();
        }
        Ok(())
    }

    /// Writes what the slice's file says into its group, which is made where it is missing; what is there already is not
    /// written again.
    ///
    /// # Errors
    /// In words, with a remedy.
    fn apply_slice(&mut self, name: &str) -> Result<CgroupSettings, String> {
        let slice = self.read_slice(name)?;
        let facts = self.facts(slice.as_unit());
        let compiled = slice_settings(&slice, &facts);
        let (wanted, _) = compiled.map_err(|errors| compile_failure(&errors).message)?;
        let Some(tree) = &self.tree else { return Ok(wanted) };
        let (group, fresh) =
            super::group::below_root(tree, || tree.create_slice(name)).map_err(|error| error.to_string())?;
        let former = if fresh { CgroupSettings::default() } else { self.written_limits(name).unwrap_or_default() };
        if !fresh && former == wanted {
            return Ok(wanted);
        }
        if let Err(why) = self.write_limits(&slice, &group, &change(&former, &wanted)) {
            if fresh {
                group.remove_if_empty();
            }
            return Err(why);
        }
        let kept = CgroupSettings {
            cpuset_cpus: wanted.cpuset_cpus.clone().or(former.cpuset_cpus),
            cpuset_mems: wanted.cpuset_mems.clone().or(former.cpuset_mems),
            ..wanted.clone()
        };
        let note = |error: &dyn std::fmt::Display| format!("the limits of the slice {name} cannot be noted: {error}");
        let bytes = serde_json::to_vec(&kept).map_err(|error| note(&error))?;
        let file = self.limits_file(name);
        make_directory(file.parent().unwrap_or(&self.options.runtime_dir), 0o700).map_err(|error| note(&error))?;
        whole_file::write_atomically(&file, &bytes).map_err(|error| note(&error))?;
        Ok(wanted)
    }

    fn write_limits(&self, slice: &Slice, group: &SliceGroup, limits: &CgroupSettings) -> Result<(), String> {
        let unit = slice.as_unit();
        let missing = group.apply(limits).map_err(|error| {
            let asked = key_of(&error).map_or_else(String::new, |key| {
                format!("\n  asked for by {key} of the slice {}{}", slice.name(), set_by(unit, key))
            });
            format!("{error}{asked}{}", asked::advice(&error.error))
        })?;
        match missing.iter().find(|item| unit.is_written(&item.key)) {
            Some(item) => {
                Err(format!("{} of the slice {}: {}{}", item.key, slice.name(), item.why, set_by(unit, &item.key)))
            }
            None => Ok(()),
        }
    }

    fn limits_file(&self, name: &str) -> PathBuf {
        self.options.runtime_dir.join("slices").join(name)
    }

    /// What this daemon or an earlier one wrote into the group of a slice.
    fn written_limits(&self, name: &str) -> Option<CgroupSettings> {
        let bytes = whole_file::read_file(&self.limits_file(name), MAX_WRITTEN).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Slices that have a group now, by the units in them.
    fn slices_in_use(&self) -> Vec<String> {
        let of = |service: &super::service::Service| Some(service.group.as_ref()?.slice()?.to_owned());
        let mut names: Vec<String> = self.services.values().filter_map(|service| of(service)).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Applies the files of all slices that are in use: what changed, or went wrong, by name.
    pub(super) fn reload_slices(&mut self) -> Vec<(String, Result<(), String>)> {
        let mut all = Vec::new();
        for name in self.slices_in_use() {
            let before = self.written_limits(&name);
            let applied = self.apply_slice(&name).map(drop);
            if applied.is_err() || self.written_limits(&name) != before {
                all.push((format!("{name}{}", load::SLICE_SUFFIX), applied));
            }
        }
        all
    }

    /// A main process ended for lack of memory: was that the slice's limit and not its own?
    pub(super) fn note_slice_limit(&mut self, id: ServiceId) {
        let Some(service) = self.service(id) else { return };
        let name = service.group.as_ref().and_then(|group| group.slice());
        let group = name.and_then(|name| self.tree.as_ref()?.slice(name));
        let hits = group.and_then(|group| group.limit_hits()).unwrap_or(0);
        let counters = service.last_counters.as_deref().cloned().unwrap_or_default();
        // v2 counts an event of the limit's own group; v1 tells only how often a limit was touched.
        let own = counters.memory_events_oom.or(counters.memory_max.and(counters.memory_events_max)).unwrap_or(0);
        if let Some(service) = self.services.get_mut(&id) {
            let ran_out = own == 0 && hits > service.from_slice.hits_before;
            if service.from_slice.ran_out != ran_out {
                service.from_slice.ran_out = ran_out;
            }
        }
    }

    /// The slice of a unit, for `status`.
    pub(super) fn slice_status(&self, id: ServiceId) -> Option<SliceStatus> {
        let name = self.service(id)?.group.as_ref()?.slice()?;
        let group = self.tree.as_ref()?.slice(name)?;
        let totals = group.totals();
        Some(SliceStatus {
            name: name.to_owned(),
            cgroup: group.path().display().to_string(),
            memory_current: totals.memory_current,
            memory_max: totals.memory_max,
            tasks_current: totals.tasks_current,
            tasks_max: totals.tasks_max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::BlockDevice;

    fn disk(minor: u32, wbps: Option<u64>) -> IoMax {
        IoMax { device: BlockDevice::Number(8, minor), rbps: None, wbps, riops: None, wiops: None }
    }

    #[test]
    fn what_a_slice_no_longer_says_is_taken_back_and_nothing_else_is_written() {
        let former = CgroupSettings {
            memory_max: Some(7),
            memory_low: Some(7),
            memory_oom_group: Some(true),
            cpu_max: Some(CpuMax { quota: Some(50_000), period: 100_000 }),
            cpu_weight: Some(7),
            cpuset_cpus: Some("0".into()),
            io_max: vec![disk(0, Some(7)), disk(16, Some(7))],
            ..CgroupSettings::default()
        };
        let wanted = CgroupSettings { pids_max: Some(9), io_max: vec![disk(16, Some(9))], ..CgroupSettings::default() };
        let expected = CgroupSettings {
            memory_max: Some(u64::MAX),
            memory_low: Some(0),
            memory_oom_group: Some(false),
            cpu_max: Some(CpuMax { quota: None, period: 100_000 }),
            cpu_weight: Some(100),
            cpuset_cpus: Some("0".into()),
            pids_max: Some(9),
            io_max: vec![disk(16, Some(9)), disk(0, None)],
            ..CgroupSettings::default()
        };
        assert_eq!(change(&former, &wanted), expected);
        assert_eq!(change(&CgroupSettings::default(), &wanted), wanted);
        assert_eq!(change(&wanted, &wanted), wanted);
    }
}

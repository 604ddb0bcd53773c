//! Limits in the v2 tree. Source of the files and their words: the kernel's cgroup v2 guide, "Controllers".

use super::apply::{Missing, block_device, or_max};
use super::controllers::{done, handle, part};
use super::file;
use super::place::{Controller, Place};
use super::{CgroupError, devices, guard};
use crate::plan::{CgroupSettings, IoMax};
use cgroups_rs::MaxValue;
use cgroups_rs::cpu::CpuController;
use cgroups_rs::cpuset::CpuSetController;
use cgroups_rs::memory::{MemController, SetMemory};
use cgroups_rs::pid::PidController;
use std::path::Path;

/// Writes one controller's part.
pub(super) fn apply(
    place: &Place,
    controller: Controller,
    directory: &Path,
    settings: &CgroupSettings,
    missing: &mut Missing,
) -> Result<(), CgroupError> {
    match controller {
        Controller::Memory => memory(place, directory, settings, missing),
        Controller::Pids => pids(place, directory, settings),
        Controller::Cpu => cpu(place, directory, settings),
        Controller::Cpuset => cpuset(place, directory, settings),
        Controller::Io => io(directory, settings, missing),
        Controller::Hugetlb => hugetlb(directory, settings, missing),
        Controller::Devices => match &settings.devices {
            Some(rules) => devices::apply(directory, rules),
            None => Ok(()),
        },
    }
}

/// The crate's limit: its numbers are signed, ours beyond that are "no limit".
pub(super) fn limit(value: u64) -> MaxValue {
    i64::try_from(value).map_or(MaxValue::Max, MaxValue::Value)
}

/// Protection and throttling first, so that the hard limit, which may kill, comes last.
fn memory(place: &Place, at: &Path, s: &CgroupSettings, missing: &mut Missing) -> Result<(), CgroupError> {
    let group = handle(place, Controller::Memory, true)?;
    let memory: &MemController = part(&group, Controller::Memory, at)?;
    let one = |file: &str, value: Option<u64>, set: &dyn Fn(MaxValue) -> SetMemory| match value {
        Some(value) => done(memory.set_mem(set(limit(value))), at, file, or_max(value)),
        None => Ok(()),
    };
    one("memory.min", s.memory_min, &|min| SetMemory { min: Some(min), ..SetMemory::default() })?;
    one("memory.low", s.memory_low, &|low| SetMemory { low: Some(low), ..SetMemory::default() })?;
    one("memory.high", s.memory_high, &|high| SetMemory { high: Some(high), ..SetMemory::default() })?;
    if let Some(swap) = s.memory_swap_max {
        // Without CONFIG_SWAP, or with swapaccount=0, there is no such file.
        if at.join("memory.swap.max").exists() {
            file::write(&at.join("memory.swap.max"), &or_max(swap))?;
        } else {
            missing.add("resources.memory_swap_max", "the kernel does not account swap");
        }
    }
    if let Some(together) = s.memory_oom_group {
        file::write(&at.join("memory.oom.group"), if together { "1" } else { "0" })?;
    }
    one("memory.max", s.memory_max, &|max| SetMemory { max: Some(max), ..SetMemory::default() })
}

fn pids(place: &Place, at: &Path, s: &CgroupSettings) -> Result<(), CgroupError> {
    let Some(max) = s.pids_max else { return Ok(()) };
    let group = handle(place, Controller::Pids, true)?;
    let pids: &PidController = part(&group, Controller::Pids, at)?;
    done(pids.set_pid_max(limit(max)), at, "pids.max", or_max(max))
}

fn cpu(place: &Place, at: &Path, s: &CgroupSettings) -> Result<(), CgroupError> {
    let group = handle(place, Controller::Cpu, true)?;
    let cpu: &CpuController = part(&group, Controller::Cpu, at)?;
    if let Some(weight) = s.cpu_weight {
        done(cpu.set_shares(weight), at, "cpu.weight", weight)?;
    }
    let Some(max) = s.cpu_max else { return Ok(()) };
    // `None` would keep the quota of an earlier run; not positive is "max".
    let quota = max.quota.and_then(|quota| i64::try_from(quota).ok()).unwrap_or(-1);
    let line = format!("{} {}", max.quota.map_or("max".to_owned(), or_max), max.period);
    done(cpu.set_cfs_quota_and_period(Some(quota), Some(max.period)), at, "cpu.max", line)
}

fn cpuset(place: &Place, at: &Path, s: &CgroupSettings) -> Result<(), CgroupError> {
    let group = handle(place, Controller::Cpuset, true)?;
    let cpuset: &CpuSetController = part(&group, Controller::Cpuset, at)?;
    if let Some(cpus) = &s.cpuset_cpus {
        done(cpuset.set_cpus(cpus), at, "cpuset.cpus", cpus)?;
    }
    match &s.cpuset_mems {
        Some(mems) => done(cpuset.set_mems(mems), at, "cpuset.mems", mems),
        None => Ok(()),
    }
}

/// The crate writes neither "io.weight" nor `max` into "io.max", so both are written here.
fn io(at: &Path, s: &CgroupSettings, missing: &mut Missing) -> Result<(), CgroupError> {
    if let Some(weight) = s.io_weight {
        let [native, bfq] = ["io.weight", "io.bfq.weight"].map(|name| at.join(name));
        if native.exists() {
            file::write(&native, &format!("default {weight}"))?;
        } else if bfq.exists() {
            file::write(&bfq, &format!("default {}", bfq_weight(weight)))?;
        } else {
            missing.add("resources.io_weight", "the kernel has no I/O scheduler with weights");
        }
    }
    s.io_max.iter().try_for_each(|line| {
        let (major, minor) = block_device(&line.device)?;
        file::write(&at.join("io.max"), &io_max_line(major, minor, line))
    })
}

fn io_max_line(major: u32, minor: u32, limits: &IoMax) -> String {
    let max = |value: Option<u64>| value.map_or("max".to_owned(), or_max);
    let IoMax { rbps, wbps, riops, wiops, .. } = limits;
    let (rbps, wbps, riops, wiops) = (max(*rbps), max(*wbps), max(*riops), max(*wiops));
    format!("{major}:{minor} rbps={rbps} wbps={wbps} riops={riops} wiops={wiops}")
}

/// BFQ knows 1 to 1000 with the same default, 100: equal below the default, the rest squeezed.
pub(super) fn bfq_weight(weight: u64) -> u64 {
    if weight <= 100 { weight.max(1) } else { 100 + (weight.min(10_000) - 100) * 900 / 9_900 }
}

fn hugetlb(at: &Path, s: &CgroupSettings, missing: &mut Missing) -> Result<(), CgroupError> {
    for (size, bytes) in &s.hugetlb {
        let path = page_size_file(at, size, "max")?;
        if path.exists() {
            file::write(&path, &or_max(*bytes))?;
        } else {
            missing.add("resources.hugetlb", &format!("no huge pages of {size} on this host"));
        }
    }
    Ok(())
}

/// The page size becomes part of a file name: letters and digits only.
pub(super) fn page_size_file(at: &Path, size: &str, what: &str) -> Result<std::path::PathBuf, CgroupError> {
    if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(guard::refuse("use as huge page size", size, "a size is written as `2MB`"));
    }
    Ok(at.join(format!("hugetlb.{size}.{what}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::fake;
    use crate::plan::{BlockDevice, CpuMax};

    fn read(at: &Path, file: &str) -> String {
        file::read(&at.join(file)).unwrap_or_else(|| panic!("{file} is missing"))
    }

    #[test]
    fn every_limit_lands_in_its_file() {
        let host = fake::v2();
        let group = host.create("web");
        let at = host.unit_v2("web");
        let settings = CgroupSettings {
            memory_max: Some(64 << 20),
            memory_high: Some(48 << 20),
            memory_low: Some(4096),
            memory_min: Some(0),
            memory_swap_max: Some(0),
            memory_oom_group: Some(true),
            cpu_max: Some(CpuMax { quota: Some(150_000), period: 100_000 }),
            cpu_weight: Some(200),
            cpuset_cpus: Some("0-1".into()),
            cpuset_mems: Some("0".into()),
            pids_max: Some(7),
            io_weight: Some(50),
            io_max: vec![IoMax {
                device: BlockDevice::Number(4000, 70_000),
                rbps: Some(1 << 20),
                wbps: None,
                riops: Some(u64::MAX),
                wiops: Some(9),
            }],
            hugetlb: vec![("2MB".into(), 2 << 20)],
            ..CgroupSettings::default()
        };
        assert_eq!(group.apply(&settings).expect("applied"), []);
        for (file, value) in [
            ("memory.max", "67108864"),
            ("memory.high", "50331648"),
            ("memory.low", "4096"),
            ("memory.min", "0"),
            ("memory.swap.max", "0"),
            ("memory.oom.group", "1"),
            ("cpu.max", "150000 100000"),
            ("cpu.weight", "200"),
            ("cpuset.cpus", "0-1"),
            ("cpuset.mems", "0"),
            ("pids.max", "7"),
            ("io.weight", "default 50"),
            ("io.max", "4000:70000 rbps=1048576 wbps=max riops=max wiops=9"),
            ("hugetlb.2MB.max", "2097152"),
        ] {
            assert_eq!(read(&at, file), value, "{file}");
        }
        let enabled = read(&host.root_v2(), "cgroup.subtree_control");
        assert!(enabled.contains("+cpuset") || enabled.contains("+hugetlb"), "on demand: {enabled}");
    }

    #[test]
    fn max_clears_what_an_earlier_run_had() {
        let host = fake::v2();
        let group = host.create("web");
        let at = host.unit_v2("web");
        let settings = CgroupSettings {
            memory_max: Some(u64::MAX),
            memory_high: Some(u64::MAX),
            pids_max: Some(u64::MAX),
            memory_swap_max: Some(u64::MAX),
            cpu_max: Some(CpuMax { quota: None, period: 50_000 }),
            ..CgroupSettings::default()
        };
        group.apply(&settings).expect("applied");
        for file in ["memory.max", "memory.high", "pids.max", "memory.swap.max"] {
            assert_eq!(read(&at, file), "max", "{file}");
        }
        assert_eq!(read(&at, "cpu.max"), "max 50000");
    }

    #[test]
    fn what_the_kernel_lacks_is_named_by_key() {
        let host = fake::v2();
        let group = host.create("web");
        for file in ["memory.swap.max", "io.weight", "hugetlb.2MB.max"] {
            std::fs::remove_file(host.unit_v2("web").join(file)).expect(file);
        }
        let settings = CgroupSettings {
            memory_swap_max: Some(1),
            io_weight: Some(1),
            hugetlb: vec![("2MB".into(), 0)],
            devices: Some(Vec::new()),
            ..CgroupSettings::default()
        };
        let degraded = group.apply(&settings).expect("applied");
        let keys: Vec<_> = degraded.iter().map(|d| d.key.as_str()).collect();
        assert_eq!(keys, ["resources.memory_swap_max", "resources.io_weight", "resources.hugetlb", "devices.policy"]);
    }

    #[test]
    fn a_limit_whose_file_vanished_is_an_error_with_the_path() {
        let host = fake::v2();
        let group = host.create("web");
        std::fs::remove_dir_all(host.unit_v2("web")).expect("gone");
        let settings = CgroupSettings { pids_max: Some(1), ..CgroupSettings::default() };
        group.apply(&settings).expect_err("no group, no limit");
    }

    #[test]
    fn weights_of_bfq_keep_their_order() {
        let weights: Vec<_> = [1, 50, 100, 101, 1000, 10_000, u64::MAX].map(bfq_weight).into();
        assert_eq!(weights, [1, 50, 100, 100, 181, 1000, 1000]);
    }

    #[test]
    fn a_page_size_cannot_leave_the_group() {
        for bad in ["", "../x", "2MB/..", "2.MB"] {
            page_size_file(Path::new("/x"), bad, "max").expect_err(bad);
        }
    }
}

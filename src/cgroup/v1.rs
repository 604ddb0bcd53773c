//! Limits in v1 hierarchies, translated from v2 words. Source: the kernel's admin guide, "cgroup-v1".
//!
//! What v1 cannot say (throttling by memory, hard protection, killing a group as a whole) is reported, never
//! approximated.

use super::apply::{Missing, block_device};
use super::controllers::{done, handle, part};
use super::file;
use super::place::{Controller, Place};
use super::{CgroupError, v2};
use crate::plan::{CgroupSettings, DeviceRule, DeviceType};
use cgroups_rs::blkio::BlkIoController;
use cgroups_rs::cpu::CpuController;
use cgroups_rs::cpuset::CpuSetController;
use cgroups_rs::devices::{self, DevicePermissions, DevicesController};
use cgroups_rs::memory::MemController;
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
        Controller::Io => io(place, directory, settings, missing),
        Controller::Hugetlb => hugetlb(directory, settings, missing),
        Controller::Devices => match &settings.devices {
            Some(rules) => device_rules(place, directory, rules),
            None => Ok(()),
        },
    }
}

/// What "no limit" reads back as: the largest number of whole pages (of 4 KiB; larger pages give less).
pub(super) fn is_unlimited(bytes: u64) -> bool {
    bytes >= i64::MAX as u64 - 0x1_0000
}

/// A number of bytes in the crate's form: -1 is "no limit".
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(-1)
}

fn memory(place: &Place, at: &Path, s: &CgroupSettings, missing: &mut Missing) -> Result<(), CgroupError> {
    for (key, is_set) in [
        ("resources.memory_high", s.memory_high.is_some_and(|high| high != u64::MAX)),
        ("resources.memory_min", s.memory_min.is_some_and(|min| min != 0)),
        ("resources.memory_oom_group", s.memory_oom_group == Some(true)),
    ] {
        if is_set {
            missing.add(key, "cgroup v1 cannot do this");
        }
    }
    let group = handle(place, Controller::Memory, false)?;
    let memory: &MemController = part(&group, Controller::Memory, at)?;
    if let Some(low) = s.memory_low {
        // Under pressure of the host, groups above their soft limit are reclaimed first: the same best effort.
        done(memory.set_soft_limit(signed(low)), at, "memory.soft_limit_in_bytes", low)?;
    }
    let both = memory_and_swap(s, at.join(MEMSW).exists(), missing);
    let set_memory = |max: u64| done(memory.set_limit(signed(max)), at, "memory.limit_in_bytes", signed(max));
    let set_both = |max: u64| done(memory.set_memswap_limit(signed(max)), at, MEMSW, signed(max));
    let current = file::read(&at.join(MEMSW)).and_then(|text| text.trim().parse::<u64>().ok());
    // The kernel holds memory <= memory+swap at every moment (else EINVAL): the outer one first when raising.
    match (s.memory_max, current) {
        (Some(max), Some(current)) if max > current && !is_unlimited(current) => {
            set_both(both.unwrap_or(u64::MAX))?;
            set_memory(max)
        }
        (Some(max), _) => {
            set_memory(max)?;
            both.map_or(Ok(()), set_both)
        }
        (None, _) => both.map_or(Ok(()), set_both),
    }
}

const MEMSW: &str = "memory.memsw.limit_in_bytes";

/// v1 limits memory and swap together, so swap alone needs the memory limit beside it.
fn memory_and_swap(s: &CgroupSettings, accounted: bool, missing: &mut Missing) -> Option<u64> {
    let swap = s.memory_swap_max?;
    match s.memory_max {
        _ if swap == u64::MAX => accounted.then_some(u64::MAX),
        _ if !accounted => {
            missing.add("resources.memory_swap_max", "the kernel does not account swap");
            None
        }
        Some(memory) if memory != u64::MAX => Some(memory.saturating_add(swap)),
        _ => {
            missing.add("resources.memory_swap_max", "cgroup v1 limits swap only together with memory_max");
            None
        }
    }
}

fn pids(place: &Place, at: &Path, s: &CgroupSettings) -> Result<(), CgroupError> {
    let Some(max) = s.pids_max else { return Ok(()) };
    let group = handle(place, Controller::Pids, false)?;
    let pids: &PidController = part(&group, Controller::Pids, at)?;
    done(pids.set_pid_max(v2::limit(max)), at, "pids.max", max)
}

fn cpu(place: &Place, at: &Path, s: &CgroupSettings) -> Result<(), CgroupError> {
    let group = handle(place, Controller::Cpu, false)?;
    let cpu: &CpuController = part(&group, Controller::Cpu, at)?;
    if let Some(weight) = s.cpu_weight {
        let shares = shares(weight);
        done(cpu.set_shares(shares), at, "cpu.shares", shares)?;
    }
    let Some(max) = s.cpu_max else { return Ok(()) };
    done(cpu.set_cfs_period(max.period), at, "cpu.cfs_period_us", max.period)?;
    let quota = max.quota.map_or(-1, signed);
    done(cpu.set_cfs_quota(quota), at, "cpu.cfs_quota_us", quota)
}

/// Default 100 is default 1024; the kernel takes 2 to 262144.
fn shares(weight: u64) -> u64 {
    (weight.min(10_000) * 1024 / 100).clamp(2, 262_144)
}

/// A new group of this hierarchy is empty, and no process can enter it, until it has both: what is not set is taken
/// from the group above. (`cgroup.clone_children` of the root group does that at mkdir; this is for a slice that
/// somebody made otherwise.)
fn cpuset(place: &Place, at: &Path, s: &CgroupSettings) -> Result<(), CgroupError> {
    fill_cpuset(at)?;
    let group = handle(place, Controller::Cpuset, false)?;
    let cpuset: &CpuSetController = part(&group, Controller::Cpuset, at)?;
    if let Some(cpus) = &s.cpuset_cpus {
        done(cpuset.set_cpus(cpus), at, "cpuset.cpus", cpus)?;
    }
    match &s.cpuset_mems {
        Some(mems) => done(cpuset.set_mems(mems), at, "cpuset.mems", mems),
        None => Ok(()),
    }
}

/// Copies what is empty from the group above.
pub(super) fn fill_cpuset(at: &Path) -> Result<(), CgroupError> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let empty = |text: &Option<String>| text.as_deref().is_none_or(|text| text.trim().is_empty());
        if !empty(&file::read(&at.join(name))) {
            continue;
        }
        let above = at.parent().and_then(|parent| file::read(&parent.join(name)));
        if let Some(value) = above.filter(|text| !text.trim().is_empty()) {
            file::write(&at.join(name), value.trim())?;
        }
    }
    Ok(())
}

fn io(place: &Place, at: &Path, s: &CgroupSettings, missing: &mut Missing) -> Result<(), CgroupError> {
    let group = handle(place, Controller::Io, false)?;
    let blkio: &BlkIoController = part(&group, Controller::Io, at)?;
    if let Some(weight) = s.io_weight {
        let weight = v2::bfq_weight(weight);
        if at.join("blkio.bfq.weight").exists() {
            file::write(&at.join("blkio.bfq.weight"), &weight.to_string())?;
        } else if at.join("blkio.weight").exists() {
            // The range of the old CFQ scheduler begins at 10.
            done(blkio.set_weight(weight.max(10)), at, "blkio.weight", weight.max(10))?;
        } else {
            missing.add("resources.io_weight", "the kernel has no I/O scheduler with weights");
        }
    }
    for line in &s.io_max {
        let (major, minor) = block_device(&line.device)?;
        let (major, minor) = (u64::from(major), u64::from(minor));
        // 0 removes a limit.
        let or_none = |value: Option<u64>| value.filter(|value| *value != u64::MAX).unwrap_or(0);
        let told = |value: u64| format!("{major}:{minor} {value}");
        let (rbps, wbps) = (or_none(line.rbps), or_none(line.wbps));
        let (riops, wiops) = (or_none(line.riops), or_none(line.wiops));
        let read_bps = blkio.throttle_read_bps_for_device(major, minor, rbps);
        done(read_bps, at, "blkio.throttle.read_bps_device", told(rbps))?;
        let write_bps = blkio.throttle_write_bps_for_device(major, minor, wbps);
        done(write_bps, at, "blkio.throttle.write_bps_device", told(wbps))?;
        let read_iops = blkio.throttle_read_iops_for_device(major, minor, riops);
        done(read_iops, at, "blkio.throttle.read_iops_device", told(riops))?;
        let write_iops = blkio.throttle_write_iops_for_device(major, minor, wiops);
        done(write_iops, at, "blkio.throttle.write_iops_device", told(wiops))?;
    }
    Ok(())
}

fn hugetlb(at: &Path, s: &CgroupSettings, missing: &mut Missing) -> Result<(), CgroupError> {
    for (size, bytes) in &s.hugetlb {
        let path = v2::page_size_file(at, size, "limit_in_bytes")?;
        if path.exists() {
            file::write(&path, &signed(*bytes).to_string())?;
        } else {
            missing.add("resources.hugetlb", &format!("no huge pages of {size} on this host"));
        }
    }
    Ok(())
}

/// Denies all, then allows the listed; nothing is written when the group has these rules already, so that a restart
/// beside a running helper of the unit does not take its devices away for a moment.
fn device_rules(place: &Place, at: &Path, rules: &[DeviceRule]) -> Result<(), CgroupError> {
    let mut wanted: Vec<String> = rules.iter().map(rule_line).collect();
    let mut present: Vec<String> =
        file::read(&at.join("devices.list")).unwrap_or_default().lines().map(str::to_owned).collect();
    wanted.sort();
    present.sort();
    if wanted == present {
        return Ok(());
    }
    let group = handle(place, Controller::Devices, false)?;
    let controller: &DevicesController = part(&group, Controller::Devices, at)?;
    let all = controller.deny_device(devices::DeviceType::All, -1, -1, &DevicePermissions::all());
    done(all, at, "devices.deny", "a")?;
    rules.iter().try_for_each(|rule| {
        let kind = match rule.kind {
            DeviceType::Char => devices::DeviceType::Char,
            DeviceType::Block => devices::DeviceType::Block,
        };
        let number = |part: Option<u32>| part.map_or(-1, i64::from);
        let result = controller.allow_device(kind, number(rule.major), number(rule.minor), &permissions(rule));
        done(result, at, "devices.allow", rule_line(rule))
    })
}

fn permissions(rule: &DeviceRule) -> Vec<DevicePermissions> {
    [
        (rule.read, DevicePermissions::Read),
        (rule.write, DevicePermissions::Write),
        (rule.mknod, DevicePermissions::MkNod),
    ]
    .into_iter()
    .filter_map(|(set, permission)| set.then_some(permission))
    .collect()
}

/// As "devices.list" shows it: `c 1:3 rwm`, `b *:* rm`.
fn rule_line(rule: &DeviceRule) -> String {
    let number = |part: Option<u32>| part.map_or("*".to_owned(), |number| number.to_string());
    let kind = match rule.kind {
        DeviceType::Char => 'c',
        DeviceType::Block => 'b',
    };
    let access: String = permissions(rule).iter().map(DevicePermissions::to_char).collect();
    format!("{kind} {}:{} {access}", number(rule.major), number(rule.minor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::fake;
    use crate::plan::{BlockDevice, CpuMax, IoMax};

    fn read(at: &Path, file: &str) -> String {
        file::read(&at.join(file)).unwrap_or_else(|| panic!("{file} is missing"))
    }

    #[test]
    fn limits_are_translated() {
        let host = fake::hybrid();
        let group = host.create("web");
        let settings = CgroupSettings {
            memory_max: Some(1 << 20),
            memory_swap_max: Some(1 << 20),
            memory_low: Some(4096),
            pids_max: Some(9),
            cpu_max: Some(CpuMax { quota: Some(50_000), period: 100_000 }),
            cpu_weight: Some(100),
            io_max: vec![IoMax {
                device: BlockDevice::Number(4000, 1),
                rbps: Some(7),
                wbps: None,
                riops: None,
                wiops: None,
            }],
            ..CgroupSettings::default()
        };
        assert_eq!(group.apply(&settings).expect("applied"), []);
        for (controller, file, value) in [
            ("memory", "memory.limit_in_bytes", "1048576"),
            ("memory", MEMSW, "2097152"),
            ("memory", "memory.soft_limit_in_bytes", "4096"),
            ("pids", "pids.max", "9"),
            ("cpu", "cpu.cfs_quota_us", "50000"),
            ("cpu", "cpu.cfs_period_us", "100000"),
            ("cpu", "cpu.shares", "1024"),
            ("blkio", "blkio.throttle.read_bps_device", "4000:1 7"),
            ("blkio", "blkio.throttle.write_iops_device", "4000:1 0"),
        ] {
            assert_eq!(read(&host.unit_v1(controller, "web"), file), value, "{file}");
        }
    }

    #[test]
    fn what_v1_cannot_say_is_named_by_key() {
        let host = fake::hybrid();
        let group = host.create("web");
        let settings = CgroupSettings {
            memory_high: Some(1),
            memory_min: Some(1),
            memory_oom_group: Some(true),
            memory_swap_max: Some(5),
            io_weight: Some(100),
            hugetlb: vec![("2MB".into(), 1)],
            delegate: true,
            ..CgroupSettings::default()
        };
        let degraded = group.apply(&settings).expect("applied");
        let keys: Vec<_> = degraded.iter().map(|d| d.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "resources.memory_high",
                "resources.memory_min",
                "resources.memory_oom_group",
                "resources.memory_swap_max",
                "resources.io_weight",
                "resources.hugetlb",
                "resources.delegate",
            ]
        );
    }

    #[test]
    fn settings_that_ask_for_nothing_are_not_degraded_on_v1() {
        let host = fake::hybrid();
        let settings = CgroupSettings {
            memory_high: Some(u64::MAX),
            memory_min: Some(0),
            memory_oom_group: Some(false),
            memory_swap_max: Some(u64::MAX),
            ..CgroupSettings::default()
        };
        assert_eq!(host.create("web").apply(&settings).expect("applied"), []);
    }

    #[test]
    fn weights_become_shares() {
        for (weight, expected) in [(1, 10), (100, 1024), (10_000, 102_400), (0, 2), (u64::MAX, 102_400)] {
            assert_eq!(shares(weight), expected, "{weight}");
        }
    }

    #[test]
    fn an_empty_cpuset_inherits_from_above() {
        let host = fake::hybrid();
        let group = host.create("web");
        let settings = CgroupSettings { cpuset_cpus: Some("1".into()), ..CgroupSettings::default() };
        assert_eq!(group.apply(&settings).expect("applied"), []);
        let at = host.unit_v1("cpuset", "web");
        assert_eq!((read(&at, "cpuset.cpus").as_str(), read(&at, "cpuset.mems").as_str()), ("1", "0"));
    }

    #[test]
    fn device_rules_are_written_once() {
        let host = fake::hybrid();
        let group = host.create("web");
        let rule =
            DeviceRule { kind: DeviceType::Char, major: Some(1), minor: None, read: true, write: true, mknod: false };
        assert_eq!(rule_line(&rule), "c 1:* rw");
        let settings = CgroupSettings { devices: Some(vec![rule]), ..CgroupSettings::default() };
        let at = host.unit_v1("devices", "web");
        group.apply(&settings).expect("applied");
        assert_eq!(read(&at, "devices.deny"), "a *:* rwm");
        assert_eq!(read(&at, "devices.allow"), "c 1:* rw");
        std::fs::write(at.join("devices.list"), "c 1:* rw\n").expect("as the kernel would show it");
        std::fs::remove_file(at.join("devices.deny")).expect("deny");
        group.apply(&settings).expect("applied again");
        assert!(!at.join("devices.deny").exists(), "nothing to change, nothing written");
    }

    #[test]
    fn no_limit_is_recognised_whatever_the_page_size() {
        assert!(is_unlimited(9_223_372_036_854_771_712) && is_unlimited(u64::MAX));
        assert!(!is_unlimited(1 << 50));
    }
}

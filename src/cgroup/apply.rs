//! Which settings go where: each controller's part to the v2 tree, to its v1 hierarchy, or to the list of what is
//! missing.

use super::file;
use super::place::{Controller, Home, Place};
use super::{CgroupError, addresses, devices, ports, v1, v2};
use crate::plan::{BlockDevice, CgroupSettings, Degraded};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What could not be applied, collected.
#[derive(Debug, Default)]
pub(super) struct Missing(Vec<Degraded>);

impl Missing {
    pub(super) fn add(&mut self, key: &str, why: &str) {
        self.0.push(Degraded { key: key.to_owned(), why: why.to_owned() });
    }
}

/// Writes everything that is set.
pub(super) fn apply(place: &Place, settings: &CgroupSettings) -> Result<Vec<Degraded>, CgroupError> {
    place.check_ours()?;
    let mut missing = Missing::default();
    for controller in Controller::ALL {
        let keys = keys(controller, settings);
        if keys.is_empty() {
            continue;
        }
        match home(place, controller)? {
            Home::V2(directory) => v2::apply(place, controller, &directory, settings, &mut missing)?,
            Home::V1(directory) => v1::apply(place, controller, &directory, settings, &mut missing)?,
            Home::Missing => {
                let why = format!("no {} controller on this host", word(controller));
                keys.iter().for_each(|key| missing.add(key, &why));
            }
        }
    }
    if settings.devices.is_none()
        && place.places().has_device_programs()
        && let Some(directory) = place.unified()
    {
        devices::clear(&directory)?;
    }
    if let Some(rules) = &settings.addresses {
        match place.unified() {
            Some(directory) => addresses::apply(&directory, rules)?,
            None => missing.add("network.ip_deny", "there is no cgroup v2 tree on this host"),
        }
    }
    if let Some(allowed) = &settings.udp_ports {
        match place.unified() {
            Some(directory) => ports::apply(&directory, allowed)?,
            None => missing.add("network.bind_allow", "there is no cgroup v2 tree on this host"),
        }
    }
    if settings.delegate && !place.places().v1.is_empty() {
        missing.add("resources.delegate", "cgroup v1 controllers cannot be handed to a service");
    }
    Ok(missing.0)
}

/// Where the controller is, switched on or made for this unit if it was not needed before.
fn home(place: &Place, controller: Controller) -> Result<Home, CgroupError> {
    if let (true, Some(directory)) = (place.enable_on_demand(controller)?, place.unified()) {
        return Ok(Home::V2(directory));
    }
    let home = place.home(controller);
    if matches!(home, Home::V1(_)) {
        place.create_on_demand(controller.v1_name())?;
    }
    Ok(home)
}

fn word(controller: Controller) -> &'static str {
    if controller == Controller::Devices { "device" } else { controller.name() }
}

/// The keys of a unit that are set and belong to a controller.
fn keys(controller: Controller, s: &CgroupSettings) -> Vec<&'static str> {
    let all: &[(&'static str, bool)] = match controller {
        Controller::Memory => &[
            ("resources.memory_max", s.memory_max.is_some()),
            ("resources.memory_high", s.memory_high.is_some()),
            ("resources.memory_low", s.memory_low.is_some()),
            ("resources.memory_min", s.memory_min.is_some()),
            ("resources.memory_swap_max", s.memory_swap_max.is_some()),
            ("resources.memory_oom_group", s.memory_oom_group.is_some()),
        ],
        Controller::Pids => &[("resources.tasks_max", s.pids_max.is_some())],
        Controller::Cpu => {
            &[("resources.cpu_max", s.cpu_max.is_some()), ("resources.cpu_weight", s.cpu_weight.is_some())]
        }
        Controller::Cpuset => {
            &[("resources.cpuset_cpus", s.cpuset_cpus.is_some()), ("resources.cpuset_mems", s.cpuset_mems.is_some())]
        }
        Controller::Io => &[("resources.io_weight", s.io_weight.is_some()), ("resources.io_max", !s.io_max.is_empty())],
        Controller::Hugetlb => &[("resources.hugetlb", !s.hugetlb.is_empty())],
        Controller::Devices => &[("devices.policy", s.devices.is_some())],
    };
    all.iter().filter(|(_, set)| *set).map(|(key, _)| *key).collect()
}

/// A number, or `max` for [`u64::MAX`].
pub(super) fn or_max(value: u64) -> String {
    if value == u64::MAX { "max".to_owned() } else { value.to_string() }
}

/// `major:minor` of the whole disk behind a device node or a file: the kernel limits disks, not partitions.
pub(super) fn block_device(device: &BlockDevice) -> Result<(u32, u32), CgroupError> {
    let (major, minor) = match device {
        BlockDevice::Number(major, minor) => (*major, *minor),
        BlockDevice::Path(path) => {
            let found =
                std::fs::metadata(path).map_err(|error| CgroupError::new("find the block device of", path, error))?;
            let number = if found.file_type().is_block_device() { found.rdev() } else { found.dev() };
            let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
            if major == 0 {
                let error = io::Error::new(io::ErrorKind::InvalidInput, "its file system lies on no block device");
                return Err(CgroupError::new("find the block device of", path, error));
            }
            (major, minor)
        }
    };
    Ok(whole_disk(Path::new("/sys/dev/block"), major, minor).unwrap_or((major, minor)))
}

/// The disk of a partition; `None` when the device is none.
fn whole_disk(block: &Path, major: u32, minor: u32) -> Option<(u32, u32)> {
    let device: PathBuf = block.join(format!("{major}:{minor}"));
    device.join("partition").exists().then_some(())?;
    // `..` of a symbolic link's target, so the link is resolved first.
    let parent = std::fs::canonicalize(device).ok()?.parent()?.join("dev");
    let text = file::read(&parent)?;
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_stands_for_its_disk() {
        let sys = tempfile::tempdir().expect("a directory");
        let disk = sys.path().join("devices/sda");
        std::fs::create_dir_all(disk.join("sda1")).expect("directories");
        std::fs::write(disk.join("dev"), "8:0\n").expect("dev");
        std::fs::write(disk.join("sda1/partition"), "1\n").expect("partition");
        let block = sys.path().join("block");
        std::fs::create_dir(&block).expect("block");
        std::os::unix::fs::symlink(&disk, block.join("8:0")).expect("link");
        std::os::unix::fs::symlink(disk.join("sda1"), block.join("8:1")).expect("link");
        assert_eq!(whole_disk(&block, 8, 1), Some((8, 0)));
        assert_eq!(whole_disk(&block, 8, 0), None);
        assert_eq!(whole_disk(&block, 9, 9), None);
    }

    #[test]
    fn a_path_without_a_block_device_is_named() {
        let error = block_device(&BlockDevice::Path("/proc/self/status".into())).expect_err("proc has none");
        assert!(error.to_string().contains("/proc/self/status"), "{error}");
        block_device(&BlockDevice::Path("/nonexistent".into())).expect_err("missing");
        assert_eq!(block_device(&BlockDevice::Number(4000, 1)).expect("numbers pass"), (4000, 1));
    }

    #[test]
    fn every_setting_has_a_key_to_be_reported_by() {
        let all = CgroupSettings {
            memory_max: Some(1),
            memory_high: Some(1),
            memory_low: Some(1),
            memory_min: Some(1),
            memory_swap_max: Some(1),
            memory_oom_group: Some(true),
            cpu_max: Some(crate::plan::CpuMax { quota: None, period: 100_000 }),
            cpu_weight: Some(1),
            cpuset_cpus: Some("0".into()),
            cpuset_mems: Some("0".into()),
            pids_max: Some(1),
            io_weight: Some(1),
            io_max: vec![crate::plan::IoMax {
                device: BlockDevice::Number(8, 0),
                rbps: None,
                wbps: None,
                riops: None,
                wiops: None,
            }],
            hugetlb: vec![("2MB".into(), 1)],
            devices: Some(Vec::new()),
            delegate: false,
            addresses: None,
            udp_ports: None,
        };
        let count: usize = Controller::ALL.iter().map(|controller| keys(*controller, &all).len()).sum();
        assert_eq!(count, 15, "one for each field but delegate, addresses and ports");
        assert!(Controller::ALL.iter().all(|c| keys(*c, &CgroupSettings::default()).is_empty()));
    }
}

//! The `cgroups-rs` crate's controllers, nested in the groups of one unit.
//!
//! The crate knows the names of the files of both versions; the groups are ours. So it gets a [`Hierarchy`] whose
//! controllers stand at this instance's root groups, and enters the unit's group from there. Only setters and
//! `add_task_by_tgid` are used. Never used, because they act outside of our groups, block, or answer wrongly:
//! `hierarchies::auto`, `Cgroup::{create, delete, clone, remove_task}` and everything that reads statistics.

use super::CgroupError;
use super::place::{Controller, Place};
use cgroups_rs::blkio::BlkIoController;
use cgroups_rs::cpu::CpuController;
use cgroups_rs::cpuset::CpuSetController;
use cgroups_rs::devices::DevicesController;
use cgroups_rs::error::Error;
use cgroups_rs::memory::MemController;
use cgroups_rs::pid::PidController;
use cgroups_rs::{Cgroup, CgroupPid, ControllIdentifier, Hierarchy, Subsystem};
use std::io;
use std::path::{Path, PathBuf};

/// This instance's root groups, seen as the crate's hierarchy.
#[derive(Clone, Debug)]
struct Nested {
    subsystems: Vec<Subsystem>,
    root: PathBuf,
    v2: bool,
}

impl Hierarchy for Nested {
    fn subsystems(&self) -> Vec<Subsystem> {
        self.subsystems.clone()
    }

    fn root(&self) -> PathBuf {
        self.root.clone()
    }

    /// The instance's root group: nothing of the crate gets further up.
    fn root_control_group(&self) -> Cgroup {
        Cgroup::load(Box::new(self.clone()), "")
    }

    fn parent_control_group(&self, _path: &str) -> Cgroup {
        self.root_control_group()
    }

    fn v2(&self) -> bool {
        self.v2
    }
}

/// The crate's handle of a unit's group with one controller: in the v2 tree, or in the controller's v1 hierarchy.
///
/// # Errors
/// The controller is not there: what was to be written with it is not.
pub(super) fn handle(place: &Place, controller: Controller, v2: bool) -> Result<Cgroup, CgroupError> {
    let places = place.places();
    let root = if v2 {
        places.v2.as_ref().map(|unified| unified.directory.clone())
    } else {
        places.legacy(controller.v1_name()).map(|legacy| legacy.directory.clone())
    };
    let root = root.ok_or_else(|| absent(controller, Path::new(place.below())))?;
    let at = root.clone();
    let subsystem = match controller {
        Controller::Memory => Subsystem::Mem(MemController::new(at, v2)),
        Controller::Pids => Subsystem::Pid(PidController::new(at, v2)),
        Controller::Cpu => Subsystem::Cpu(CpuController::new(at, v2)),
        Controller::Cpuset => Subsystem::CpuSet(CpuSetController::new(at, v2)),
        Controller::Io => Subsystem::BlkIo(BlkIoController::new(at, v2)),
        Controller::Devices => Subsystem::Devices(DevicesController::new(at)),
        // The crate looks for the page sizes in a debugging directory of the host; these files are written by us.
        Controller::Hugetlb => return Err(absent(controller, Path::new(place.below()))),
    };
    Ok(Cgroup::load(Box::new(Nested { subsystems: vec![subsystem], root, v2 }), place.below()))
}

fn absent(controller: Controller, group: &Path) -> CgroupError {
    let error = io::Error::from_raw_os_error(libc::ENODEV);
    CgroupError::new(format!("find the {} controller of", controller.name()), group, error)
}

/// The part of the crate that writes a controller's files.
///
/// # Errors
/// As [`handle`].
pub(super) fn part<'a, T>(group: &'a Cgroup, controller: Controller, at: &Path) -> Result<&'a T, CgroupError>
where
    &'a T: From<&'a Subsystem>,
    T: cgroups_rs::Controller + ControllIdentifier,
{
    group.controller_of::<T>().ok_or_else(|| absent(controller, at))
}

/// Gives the crate's answer our form. `directory` is the unit's group, `file` what the setter writes, `value` what for.
pub(super) fn done(
    result: Result<(), Error>,
    directory: &Path,
    file: &str,
    value: impl std::fmt::Display,
) -> Result<(), CgroupError> {
    result.map_err(|error| {
        let path = directory.join(file);
        // The crate opens with O_CREAT, which a control group answers with EACCES when there is no such file.
        let cause = match std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<io::Error>()) {
            _ if !path.exists() => io::Error::from_raw_os_error(libc::ENOENT),
            Some(cause) => cause.raw_os_error().map_or_else(|| cause.kind().into(), io::Error::from_raw_os_error),
            None => io::Error::other(error.to_string()),
        };
        CgroupError::new(format!("write {value} to"), path, cause)
    })
}

/// Moves a process into the unit's group of a v1 hierarchy.
pub(super) fn attach(place: &Place, v1_name: &str, pid: i32) -> Result<(), CgroupError> {
    let Some(controller) = Controller::ALL.into_iter().find(|controller| controller.v1_name() == v1_name) else {
        return Ok(());
    };
    let handle = handle(place, controller, false)?;
    let directory = place.legacy(v1_name).ok_or_else(|| absent(controller, Path::new(place.below())))?;
    let task = || CgroupPid::from(u64::from(pid.unsigned_abs()));
    handle
        .subsystems()
        .iter()
        .try_for_each(|part| done(part.to_controller().add_task_by_tgid(&task()), &directory, "cgroup.procs", pid))
}

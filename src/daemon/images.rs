//! A root file system in a file: mounted here, read-only and attached nowhere, and handed to the set-up stage.
//!
//! By the daemon, as only root of the host's user namespace may mount these file systems, and as the stage is in the
//! unit's group, whose device rules let it open no block device. The mount goes with the last who has it: the container, or
//! this process if it ends before; so does the loop device below it, if one is needed.

use crate::plan::{LaunchPlan, Step, hint};
use crate::supervise::LaunchFailure;
use crate::sys::mount::{self, attributes};
use crate::sys::{SysError, fd, loop_device};
use rustix::fs::{FileType, Mode, OFlags};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Others may take the free device that the kernel named.
const ATTEMPTS: usize = 32;

/// Why there is no mount.
#[derive(Debug)]
struct Refused {
    errno: i32,
    detail: String,
}

impl From<SysError> for Refused {
    fn from(error: SysError) -> Refused {
        Refused { errno: error.errno, detail: String::new() }
    }
}

/// Mounts what the plan's step takes; `None` without such a step.
///
/// # Errors
/// In the words of the step.
pub(super) fn mount(plan: &LaunchPlan) -> Result<Option<OwnedFd>, LaunchFailure> {
    for (index, planned) in plan.steps.iter().enumerate() {
        let Step::TakeImage { path, fs_type, .. } = &planned.step else { continue };
        return image(path, fs_type).map(Some).map_err(|Refused { errno, detail }| LaunchFailure {
            step: planned.step.name().to_owned(),
            code: planned.step.code(),
            message: hint::failure_message(plan, index, errno, &detail),
        });
    }
    Ok(None)
}

fn image(path: &Path, fs_type: &str) -> Result<OwnedFd, Refused> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|error| Refused { errno: error.raw_os_error(), detail: String::new() })?;
    let mode = fd::stat(file.as_fd())?.mode;
    if FileType::from_raw_mode(mode) != FileType::RegularFile {
        return Err(Refused { errno: libc::EINVAL, detail: "it is no regular file".to_owned() });
    }
    // Since Linux 6.12 erofs reads a file by itself; ENOTBLK says that it does not.
    match (fs_type == "erofs").then(|| mounted(fs_type, file.as_fd())) {
        Some(Ok(mount)) => return Ok(mount),
        Some(Err(error)) if error.errno != libc::ENOTBLK => return Err(error),
        Some(Err(_)) | None => {}
    }
    let device = device_of(file.as_fd())?;
    mounted(fs_type, device.as_fd())
}

/// A loop device that shows the file.
fn device_of(file: BorrowedFd<'_>) -> Result<OwnedFd, Refused> {
    let open = |path: &str| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).map_err(|error| Refused {
            errno: error.raw_os_error(),
            detail: format!("{path}: a loop device is needed"),
        })
    };
    let control = open("/dev/loop-control")?;
    let mut last = Refused { errno: libc::EBUSY, detail: "no loop device is free".to_owned() };
    for _ in 0..ATTEMPTS {
        let device = open(&format!("/dev/loop{}", loop_device::free_number(control.as_fd())?))?;
        match loop_device::show(device.as_fd(), file) {
            Ok(()) => return Ok(device),
            Err(error) if error.errno == libc::EBUSY => {}
            Err(error) => last = Refused { errno: error.errno, detail: "loop device".to_owned() },
        }
        if last.errno != libc::EBUSY {
            break;
        }
    }
    Err(last)
}

/// The file system on what a descriptor leads to.
fn mounted(fs_type: &str, source: BorrowedFd<'_>) -> Result<OwnedFd, Refused> {
    let c = |text: String| CString::new(text).map_err(|_| SysError::new("fsopen", libc::EINVAL));
    let context = mount::fsopen(&c(fs_type.to_owned())?)?;
    let source = c(format!("/proc/self/fd/{}", source.as_raw_fd()))?;
    let said = |error: SysError| Refused {
        errno: error.errno,
        detail: mount::context_message(context.as_fd()).unwrap_or_default(),
    };
    mount::fsconfig(context.as_fd(), c"source", Some(&source)).map_err(said)?;
    mount::fsconfig(context.as_fd(), c"ro", None).map_err(said)?;
    mount::fsconfig_create(&context).map_err(said)?;
    Ok(mount::fsmount(&context, attributes::RDONLY | attributes::NOSUID | attributes::NODEV)?)
}

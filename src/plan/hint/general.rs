//! What an errno means for an operation of which the table says nothing: it is not known here, or not allowed.

use super::KERNEL_TOO_OLD;
use crate::plan::Step;
use nix::errno::Errno;

/// What to do when the kernel refuses an operation as such; `None` where the errno is about its object.
pub fn general_hint(errno: i32) -> Option<&'static str> {
    match Errno::from_raw(errno) {
        Errno::ENOSYS => Some(KERNEL_TOO_OLD),
        Errno::EPERM | Errno::EACCES => Some(
            "rsvc is not allowed to do this: it lacks a capability, or a container, a system-call filter or a security \
             module around it forbids it",
        ),
        Errno::EINVAL | Errno::ENODEV | Errno::EOPNOTSUPP | Errno::ENOENT => Some(
            "this kernel does not have it (`rsvc features` tells what it has): switch the key off, or use a newer one",
        ),
        _ => None,
    }
}

/// The same for a step. What is about a path or a program speaks for itself.
pub(super) fn of_step(step: &Step, errno: i32) -> Option<String> {
    let about_its_object = matches!(
        step,
        Step::Execute { .. }
            | Step::ChangeDirectory { .. }
            | Step::OpenTree { .. }
            | Step::OpenMappedTree { .. }
            | Step::LoadCredential { .. }
            | Step::ConnectJournal { .. }
    );
    match Errno::from_raw(errno) {
        Errno::ENOSYS => {}
        _ if about_its_object => return None,
        Errno::ENOENT => return None,
        _ => {}
    }
    general_hint(errno).map(str::to_owned)
}

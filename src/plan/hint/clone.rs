//! The same for clone3(2), which makes the container before the first step.

use super::{KERNEL_TOO_OLD, NAMESPACE_LIMIT, TASKS_FULL, errno_text, finish};
use nix::errno::Errno;

/// What clone3 means by `errno` when it makes a container, and what to do.
pub fn clone_hint(errno: i32) -> Option<String> {
    match Errno::from_raw(errno) {
        Errno::ENOSPC => Some(NAMESPACE_LIMIT.to_owned()),
        Errno::EPERM => Some(
            "namespaces are not permitted: kernel.unprivileged_userns_clone, AppArmor's restriction of user namespaces, \
             or a container around this one forbids them"
                .to_owned(),
        ),
        Errno::EAGAIN => Some(TASKS_FULL.to_owned()),
        Errno::ENOMEM => Some("out of memory, or the pid namespace is gone".to_owned()),
        Errno::EBADF => Some("the unit's group is no cgroup v2 group".to_owned()),
        Errno::EBUSY => Some(
            "cgroup v2 takes no process in a group whose controllers are handed to groups below it".to_owned(),
        ),
        Errno::EOPNOTSUPP => Some("the group is in a threaded subtree".to_owned()),
        Errno::ENODEV => Some("the unit's group was removed meanwhile".to_owned()),
        Errno::EUSERS => Some("user namespaces can be nested 32 deep".to_owned()),
        Errno::EINVAL => Some(
            "this kernel was built without one of these namespaces (`rsvc features` names it), or is older than Linux 5.14"
                .to_owned(),
        ),
        Errno::ENOSYS | Errno::E2BIG => Some(KERNEL_TOO_OLD.to_owned()),
        _ => None,
    }
}

/// The message when clone3 itself failed, before the first step. `asked`: lines that say who asked for what it makes.
pub fn clone_failure_message(errno: i32, asked: &str) -> String {
    let text = format!("failed at step NAMESPACE: make the container: {}{asked}", errno_text(errno));
    finish(text, None, clone_hint(errno))
}

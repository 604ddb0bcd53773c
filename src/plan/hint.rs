//! (step, errno) → what it means here and what to do; and the whole message of a failed launch.
//!
//! `strerror` often misleads: ENOSPC of clone3 means a namespace limit, EINVAL of a seccomp load a missing kernel
//! option. The words are chosen here, in one table, from what the step was and what it worked on; nothing is looked up.

mod clone;
mod general;
mod image;
mod label;

pub use clone::{clone_failure_message, clone_hint};
pub use general::general_hint;

use super::phrase::printable;
use super::{LaunchPlan, LimitResource, NamespaceKind, Origin, Step};
use nix::errno::Errno;
use std::path::Path;

/// What `errno` of `step` means here and what to do; `None` where the errno says all. `detail` is the stage's own
/// word on the object: a component of a path, a set that differs.
pub fn hint(step: &Step, errno: i32, detail: &str) -> Option<String> {
    known_hint(step, Errno::from_raw(errno), detail).or_else(|| general::of_step(step, errno))
}

fn known_hint(step: &Step, errno: Errno, detail: &str) -> Option<String> {
    match step {
        Step::Execute { argv, .. } => execute_hint(argv, errno, detail),
        Step::ChangeDirectory { path, .. } => directory_hint(path, errno),
        Step::OpenTree { path, .. } => open_hint(path, errno),
        Step::OpenMappedTree { path, writable, .. } => match errno {
            Errno::UnknownErrno if *writable => Some(NOT_MAPPED.to_owned()),
            _ => open_hint(path, errno),
        },
        Step::MakeUserNamespace { .. } => user_namespace_hint(errno),
        Step::NewFilesystem { fs_type, options, .. } => filesystem_hint(fs_type, options, errno),
        Step::NewOverlay { .. } => overlay_hint(errno),
        Step::TakeImage { path, fs_type, .. } => image::hint(path, fs_type, errno, detail),
        Step::Attach { at, .. } => attach_hint(at, errno),
        Step::Restrict { at, .. } | Step::Mask { at, .. } => match errno {
            Errno::ENOENT => Some(format!(
                "{} does not exist in the new root: write `-{}` if it may be missing",
                at.display(),
                at.display()
            )),
            Errno::EPERM => Some(PERMISSION_OVER_MOUNTS.to_owned()),
            _ => None,
        },
        Step::SetAttributes { .. } | Step::Seal { .. } => match errno {
            Errno::EPERM => Some(PERMISSION_OVER_MOUNTS.to_owned()),
            Errno::EBUSY => Some("a file on it is open for writing".to_owned()),
            Errno::ENOSYS => Some(KERNEL_TOO_OLD.to_owned()),
            _ => None,
        },
        Step::MakeNode { .. } | Step::CopyNode { .. } => (errno == Errno::EPERM).then(|| {
            "device nodes need CAP_MKNOD outside of a user namespace, and the device group must allow them".to_owned()
        }),
        Step::SealCredentials { .. } => (errno == Errno::EINVAL).then(|| {
            "the service's user or group is not mapped in the user namespace: widen namespaces.uid_mappings and gid_mappings"
                .to_owned()
        }),
        Step::LoadCredential { path, .. } => credential_hint(path, errno, detail),
        Step::JoinNamespace { kind, path } => join_hint(*kind, path, errno),
        Step::JoinUnit { unit, .. } => (errno == Errno::EPERM)
            .then(|| format!("it belongs to a user namespace over which this unit has no rights: `rsvc show {unit}`")),
        Step::JoinContainer { .. } | Step::JoinUserNamespace => match errno {
            Errno::ESRCH => Some("the main process has ended".to_owned()),
            Errno::EPERM => Some("the daemon needs CAP_SYS_ADMIN and CAP_SYS_PTRACE over the container".to_owned()),
            _ => None,
        },
        Step::EnterUserNamespace => match errno {
            Errno::EINVAL | Errno::EPERM => Some("uid 0 and gid 0 of the user namespace are not mapped".to_owned()),
            _ => None,
        },
        Step::EnterCgroups => cgroup_hint(errno),
        Step::UnshareCgroupNamespace | Step::UnshareTimeNamespace => namespace_hint(errno),
        Step::ConnectJournal { .. } => match errno {
            Errno::ECONNREFUSED | Errno::ENOENT => {
                Some("systemd-journald does not run: set logging.target = \"file\"".to_owned())
            }
            Errno::ENXIO => Some(STANDARD_OUTPUT_IS_A_SOCKET.to_owned()),
            _ => None,
        },
        Step::SetLimit { resource, .. } => limit_hint(*resource, errno),
        Step::SetOomScoreAdjust { .. } => matches!(errno, Errno::EACCES | Errno::EPERM)
            .then(|| "lowering oom_score_adj needs CAP_SYS_RESOURCE, which the daemon does not have".to_owned()),
        Step::SetNice { .. } => matches!(errno, Errno::EACCES | Errno::EPERM)
            .then(|| "a nice value below 0 needs CAP_SYS_NICE, which the daemon does not have".to_owned()),
        Step::SetGroups { .. } | Step::SetIds { .. } => ids_hint(step, errno),
        Step::DropBoundingSet { .. } => {
            (errno == Errno::EPERM).then(|| "the daemon needs CAP_SETPCAP to shrink the bounding set".to_owned())
        }
        Step::SetCapabilities { .. } => (errno == Errno::EPERM)
            .then(|| "the daemon itself lacks one of these capabilities: `rsvc features` lists what it has".to_owned()),
        Step::VerifyCredentials { .. } => Some(
            "what was set and what the kernel reports differ, so the service is not started; please report this"
                .to_owned(),
        ),
        Step::DenyWriteExecute => (errno == Errno::EINVAL).then(|| {
            "memory_deny_write_execute needs Linux 6.3: list security.memory_deny_write_execute in security.optional"
                .to_owned()
        }),
        Step::SetExecLabel { module, label } => label::hint(*module, label, errno),
        Step::LoadFilter { .. } => filter_hint(errno),
        Step::MakeRuleset(_) | Step::EnforceRuleset => landlock_hint(errno),
        Step::ForkService => match errno {
            Errno::EAGAIN => Some(TASKS_FULL.to_owned()),
            Errno::ENOMEM => Some(MEMORY_OR_NAMESPACE_DEAD.to_owned()),
            _ => None,
        },
        Step::NewSessionKeyring => match errno {
            Errno::EDQUOT => Some("the user's key quota is used up: see /proc/key-users".to_owned()),
            Errno::ENOSYS => Some("this kernel has no keyrings: set security.keyring = \"inherit\"".to_owned()),
            _ => None,
        },
        Step::LoopbackUp => {
            (errno == Errno::EPERM).then(|| "the network namespace belongs to another user namespace".to_owned())
        }
        Step::PivotRoot => (errno == Errno::EINVAL)
            .then(|| "the root is shared or on the initial ramfs: run the daemon from a real root".to_owned()),
        Step::OpenTerminal => match errno {
            Errno::EPERM | Errno::EACCES => Some(
                "the unit's device rules leave terminals out: set devices.policy = \"closed\", or run without --pty"
                    .to_owned(),
            ),
            Errno::ENOENT => {
                Some("the unit's /dev has no terminals: set devices.private = true, or run without --pty".to_owned())
            }
            Errno::ENOSPC => Some("kernel.pty.max is reached".to_owned()),
            _ => None,
        },
        Step::SetHostname { .. }
        | Step::NewSession
        | Step::PrivatePropagation
        | Step::AttachRoot
        | Step::MakeDirectory { .. }
        | Step::SetCredential { .. }
        | Step::MakeSymlink { .. }
        | Step::AttachNode { .. }
        | Step::SetUmask { .. }
        | Step::KeepCapabilities
        | Step::NoNewPrivileges
        | Step::ResetSignals
        | Step::ArrangeDescriptors => match errno {
            Errno::ENXIO => Some(STANDARD_OUTPUT_IS_A_SOCKET.to_owned()),
            Errno::ENOSYS => Some(KERNEL_TOO_OLD.to_owned()),
            _ => None,
        },
    }
}

/// The message for a step that failed, as in STYLE: what, which, errno, who asked, what to do. Lines after the first
/// are indented by two spaces. `errno` 0: the detail says it all.
pub fn failure_message(plan: &LaunchPlan, step: usize, errno: i32, detail: &str) -> String {
    let Some(planned) = plan.steps.get(step) else {
        return format!("failed at step {} of {}: {}", step + 1, plan.steps.len(), errno_text(errno));
    };
    let name = planned.step.name();
    let (number, count) = (step + 1, plan.steps.len());
    let phrase = printable(&plan.phrase(step));
    let mut text = format!("failed at step {name} ({number} of {count}): {phrase}");
    if errno != 0 {
        text.push_str(&format!(": {}", errno_text(errno)));
    }
    if !detail.is_empty() {
        text.push_str(&format!("\n  {}", printable(detail)));
    }
    finish(text, plan.origin_of(step), hint(&planned.step, errno, detail))
}

/// What to do when the daemon itself lacks something for an effect on the host; `None` where the errno says all.
pub fn scarcity_hint(errno: i32) -> Option<&'static str> {
    match Errno::from_raw(errno) {
        Errno::ENOSPC => Some("no space, or no inodes, are left there: `df` and `df -i` of that path tell which"),
        Errno::EDQUOT => Some("the quota there is used up"),
        Errno::EROFS => Some("the file system is mounted read-only: `findmnt -T` of that path, `mount -o remount,rw`"),
        Errno::EMFILE => {
            Some("raise the daemon's limit of open files: LimitNOFILE= of its systemd unit, or `ulimit -Hn`")
        }
        Errno::ENFILE => Some("the host has too many open files: raise fs.file-max"),
        Errno::ENOMEM | Errno::ENOBUFS => {
            Some("the kernel has no memory for it: the host's, or the limit of the daemon's own group, is used up")
        }
        Errno::EAGAIN => Some(TASKS_FULL),
        Errno::EIO => Some("the device below failed: `dmesg` tells more"),
        _ => None,
    }
}

/// The message when the process was killed during set-up, so that no step could be named: `signal` is its number.
pub fn killed_message(signal: i32) -> String {
    let hint = match signal {
        // SIGKILL in the set-up stage is nearly always the memory limit: nothing else knows the process yet.
        libc::SIGKILL => Some("resources.memory_max is too small for the start itself, or the group was killed"),
        libc::SIGSYS => Some("the system-call filter forbids what the start needs"),
        _ => None,
    };
    finish(format!("killed by signal {signal} while the container was being made"), None, hint.map(str::to_owned))
}

/// `Permission denied (EACCES)`.
pub fn errno_text(errno: i32) -> String {
    let known = Errno::from_raw(errno);
    match known {
        Errno::UnknownErrno => format!("errno {errno}"),
        _ => format!("{} ({known:?})", known.desc()),
    }
}

/// Appends who asked and what to do.
pub(crate) fn finish(mut text: String, origin: Option<&Origin>, hint: Option<String>) -> String {
    if let Some(origin) = origin {
        match &origin.place {
            Some(place) => text.push_str(&format!("\n  set by {}:{}", place.file, place.line)),
            None => text.push_str(&format!("\n  set by default: {}", origin.key)),
        }
    }
    if let Some(hint) = hint {
        text.push_str(&format!("\n  hint: {hint}"));
    }
    text
}

const KERNEL_TOO_OLD: &str = "this kernel lacks the call: Linux 5.14 or newer is needed; `rsvc features` tells more";
const NAMESPACE_LIMIT: &str = "a limit on namespaces is reached, no disk is full: raise user.max_user_namespaces and \
     the other user.max_*_namespaces (sysctl)";
const TASKS_FULL: &str =
    "no more tasks: resources.tasks_max of the unit, pids.max of a group above it, or kernel.pid_max";
const MEMORY_OR_NAMESPACE_DEAD: &str = "out of memory, or process 1 of the pid namespace has ended already";
const PERMISSION_OVER_MOUNTS: &str = "in a user namespace, flags of the host's mounts are locked: bind a path of its own \
     with [[mounts]], or set namespaces.user = \"host\"";
const NOT_MAPPED: &str =
    "bind it read-only (`options = [\"ro\"]`), keep it on ext4, xfs, btrfs or tmpfs, or set namespaces.user = \"host\"";
const STANDARD_OUTPUT_IS_A_SOCKET: &str = "standard output is a socket, so /dev/stdout and /dev/stderr cannot be opened: \
     log to standard error without naming a file, or set logging.target = \"file\"";

fn execute_hint(argv: &[String], errno: Errno, detail: &str) -> Option<String> {
    let program = argv.first().map_or("", String::as_str);
    let below = |place: &str| Path::new(program).starts_with(place);
    match errno {
        Errno::ENOENT if below("/home") || below("/root") => Some(
            "filesystem.protect_home hides it: set protect_home = \"read-only\", or install it elsewhere".to_owned(),
        ),
        Errno::ENOENT if below("/tmp") || below("/var/tmp") => {
            Some("filesystem.private_tmp gives the service an empty one: install it elsewhere".to_owned())
        }
        // The stage looks at the file after a failed exec and says so.
        Errno::ENOENT if !detail.is_empty() => Some(
            "the file is there, what it needs is not: the interpreter of its `#!` line or its loader is missing in \
             the root file system"
                .to_owned(),
        ),
        Errno::ENOENT if !program.contains('/') => Some(format!("`{program}` is in no directory of PATH")),
        Errno::ENOENT => Some(
            "the program, the interpreter of its `#!` line or its loader does not exist in the unit's root".to_owned(),
        ),
        Errno::EACCES => Some(
            "it is not executable for the service's user, a directory above cannot be searched, or its file system \
             is mounted noexec (filesystem.exec_paths)"
                .to_owned(),
        ),
        Errno::EPERM => {
            Some("the program has file capabilities or a set-id bit that the bounding set forbids".to_owned())
        }
        Errno::ENOEXEC => {
            Some("no program: a script needs a `#!` line, a binary must be of this architecture".to_owned())
        }
        Errno::E2BIG => Some("arguments and environment are too long (see execve(2))".to_owned()),
        Errno::ENOMEM => Some("resources.memory_max is too small to start the program".to_owned()),
        Errno::ETXTBSY => Some("the program is being written at this moment".to_owned()),
        Errno::ENOSYS => Some("the system-call filter answers ENOSYS to execve".to_owned()),
        Errno::EAGAIN => Some("the user's RLIMIT_NPROC (resources.rlimits.nproc) is exceeded".to_owned()),
        _ => None,
    }
}

fn directory_hint(path: &Path, errno: Errno) -> Option<String> {
    match errno {
        Errno::ENOENT if path.starts_with("/home") || path.starts_with("/root") => {
            Some("filesystem.protect_home hides it: set protect_home = \"read-only\" or \"off\"".to_owned())
        }
        Errno::ENOENT if path.starts_with("/tmp") || path.starts_with("/var/tmp") => {
            Some("filesystem.private_tmp gives the service an empty one".to_owned())
        }
        Errno::ENOENT => Some("it does not exist in the unit's root: directories.state can make one".to_owned()),
        Errno::EACCES => Some("the service's user cannot search it or a directory above it".to_owned()),
        Errno::ENOTDIR => Some("it is no directory".to_owned()),
        _ => None,
    }
}

fn open_hint(path: &Path, errno: Errno) -> Option<String> {
    let shown = path.display();
    match errno {
        Errno::ENOENT => Some(format!("{shown} does not exist: make it, or write `-{shown}` if it may be missing")),
        Errno::EACCES => Some(format!(
            "a directory above {shown} cannot be searched by the container's root: chmod o+x it, or set \
             namespaces.user = \"host\""
        )),
        Errno::EPERM | Errno::EINVAL => Some(
            "in a user namespace a tree with file systems mounted below can only be bound with all of them: use the \
             option `rbind`"
                .to_owned(),
        ),
        Errno::ELOOP => Some(format!("{shown} is or contains a symbolic link that is not followed")),
        Errno::ENOSYS => Some(KERNEL_TOO_OLD.to_owned()),
        _ => None,
    }
}

fn credential_hint(path: &Path, errno: Errno, detail: &str) -> Option<String> {
    let shown = path.display();
    match errno {
        Errno::ENOENT if !detail.is_empty() => Some("a link in the directory leads nowhere: remove it".to_owned()),
        Errno::ENOENT | Errno::ENOTDIR => {
            Some(format!("{shown} does not exist: make it, or write `-{shown}` if it may be missing"))
        }
        Errno::EACCES | Errno::EPERM => {
            Some("the daemon may not read it: as root it can, unless a security module forbids it".to_owned())
        }
        Errno::EFBIG => Some("credentials are keys and passwords: bind larger files with [[mounts]]".to_owned()),
        Errno::EEXIST => Some("the file of a directory has the name of another credential: rename one".to_owned()),
        Errno::ELOOP if !detail.is_empty() => Some(
            "whoever can exchange the link could have any file of the host read: name the file itself, or keep the link \
             in a directory that only root can write"
                .to_owned(),
        ),
        _ => None,
    }
}

fn filesystem_hint(fs_type: &str, options: &[(String, Option<String>)], errno: Errno) -> Option<String> {
    let has = |name: &str| options.iter().any(|(key, _)| key == name);
    match (fs_type, errno) {
        ("proc", Errno::EPERM) => Some(
            "the kernel gives a user namespace no fresh /proc while parts of the host's are covered by other mounts \
             (a container around this one does that): set namespaces.pid = \"host\""
                .to_owned(),
        ),
        ("proc", Errno::EINVAL) if has("hidepid") || has("subset") => {
            Some("hidepid and subset of one mount need Linux 5.8".to_owned())
        }
        ("sysfs", Errno::EPERM) => Some(
            "a user namespace needs a network namespace of its own for sysfs: set network.mode = \"loopback\""
                .to_owned(),
        ),
        ("tmpfs" | "devpts", Errno::EINVAL) if has("uid") || has("gid") => {
            Some("the id in `uid=` or `gid=` is not mapped in the user namespace".to_owned())
        }
        (_, Errno::ENODEV) => Some(format!("this kernel has no {fs_type}: load its module")),
        (_, Errno::EINVAL) => Some("an option is unknown to this kernel's file system".to_owned()),
        (_, Errno::EPERM) => Some(format!("a {fs_type} cannot be mounted in this user namespace")),
        (_, Errno::ENOSPC) => Some("fs.mount-max is reached".to_owned()),
        (_, Errno::ENOSYS) => Some(KERNEL_TOO_OLD.to_owned()),
        _ => None,
    }
}

fn overlay_hint(errno: Errno) -> Option<String> {
    match errno {
        Errno::ENOENT => Some("a layer of rootfs.lower does not exist".to_owned()),
        Errno::EINVAL => Some(
            "a layer is no directory, is on a file system that overlay does not take, or upper and work are on \
             different ones"
                .to_owned(),
        ),
        Errno::EBUSY => Some("another running container uses the same upper directory".to_owned()),
        Errno::EPERM => Some("overlay in a user namespace needs Linux 5.11".to_owned()),
        Errno::ESTALE => Some("the upper directory was made with other layers below".to_owned()),
        Errno::ENODEV => Some("this kernel has no overlay: modprobe overlay".to_owned()),
        _ => None,
    }
}

fn attach_hint(at: &Path, errno: Errno) -> Option<String> {
    let shown = at.display();
    match errno {
        Errno::ENOENT => Some(format!(
            "there is no {shown} to mount on, and none can be made in a tree of the host: make it there, or choose \
             another destination"
        )),
        Errno::EROFS => Some(format!("there is no {shown} to mount on and the tree is read-only: make it there")),
        Errno::EACCES => Some(format!("the container's root may not make or search {shown}")),
        Errno::ENOTDIR => Some(format!("{shown} is a file and what is mounted a directory, or the other way round")),
        Errno::ELOOP => Some(format!("{shown} leads through a symbolic link that leaves the root")),
        Errno::ENOSPC => Some("fs.mount-max is reached".to_owned()),
        _ => None,
    }
}

fn join_hint(kind: NamespaceKind, path: &Path, errno: Errno) -> Option<String> {
    match errno {
        Errno::ENOENT => Some(format!(
            "{} does not exist{}",
            path.display(),
            if kind == NamespaceKind::Net { ": `ip netns add` makes one" } else { "" }
        )),
        Errno::EINVAL => Some(format!("{} is no {kind} namespace", path.display())),
        Errno::EPERM => Some("it belongs to a user namespace over which the daemon has no rights".to_owned()),
        _ => None,
    }
}

fn cgroup_hint(errno: Errno) -> Option<String> {
    match errno {
        Errno::EBUSY => {
            Some("cgroup v2 takes no process in a group whose controllers are handed to groups below it".to_owned())
        }
        Errno::ENOSPC => Some("the cpuset group has no CPUs or memory nodes yet".to_owned()),
        Errno::EACCES | Errno::EPERM => Some("the group is not writable for the daemon".to_owned()),
        Errno::ENODEV => Some("the unit's group was removed meanwhile".to_owned()),
        _ => None,
    }
}

fn namespace_hint(errno: Errno) -> Option<String> {
    match errno {
        Errno::ENOSPC => Some(NAMESPACE_LIMIT.to_owned()),
        Errno::EINVAL => Some(KERNEL_TOO_OLD.to_owned()),
        _ => None,
    }
}

fn user_namespace_hint(errno: Errno) -> Option<String> {
    match errno {
        Errno::EPERM | Errno::EACCES => {
            Some("the daemon needs CAP_SETUID, CAP_SETGID and CAP_SYS_ADMIN for it".to_owned())
        }
        Errno::EINVAL | Errno::ENOSYS => Some("this kernel has no user namespaces, or too old ones".to_owned()),
        Errno::EAGAIN => Some(TASKS_FULL.to_owned()),
        errno => namespace_hint(errno),
    }
}

fn limit_hint(resource: LimitResource, errno: Errno) -> Option<String> {
    match errno {
        Errno::EPERM if resource == LimitResource::Nofile => Some(
            "above the hard limit (needs CAP_SYS_RESOURCE) or above fs.nr_open: lower resources.rlimits.nofile"
                .to_owned(),
        ),
        Errno::EPERM => {
            Some(format!("above the hard limit, which needs CAP_SYS_RESOURCE: lower resources.rlimits.{resource}"))
        }
        Errno::EINVAL => Some("the soft limit is above the hard one".to_owned()),
        _ => None,
    }
}

fn ids_hint(step: &Step, errno: Errno) -> Option<String> {
    match (step, errno) {
        (Step::SetGroups { .. }, Errno::EPERM) => Some(
            "the daemon lacks CAP_SETGID, or the user namespace denies setgroups: leave supplementary_groups out"
                .to_owned(),
        ),
        (_, Errno::EINVAL) => Some(
            "the id is not mapped in the user namespace: widen namespaces.uid_mappings and gid_mappings".to_owned(),
        ),
        (_, Errno::EPERM) => Some("the daemon lacks CAP_SETUID or CAP_SETGID".to_owned()),
        (_, Errno::EAGAIN) => Some("the user's RLIMIT_NPROC (resources.rlimits.nproc) is exceeded".to_owned()),
        _ => None,
    }
}

fn filter_hint(errno: Errno) -> Option<String> {
    match errno {
        Errno::EACCES => Some("a filter without no_new_privs needs CAP_SYS_ADMIN".to_owned()),
        Errno::EINVAL => Some(
            "the kernel was built without CONFIG_SECCOMP_FILTER, or the program is too long: `rsvc features`"
                .to_owned(),
        ),
        Errno::EPERM | Errno::ENOSYS => {
            Some("a filter loaded before this one, or one around the daemon, forbids seccomp(2)".to_owned())
        }
        Errno::EBUSY => Some(
            "a filter around the daemon has a listener already, and a process has only one: write syscalls.on_deny = \"errno\""
                .to_owned(),
        ),
        // The thread that sends the listener away.
        Errno::EAGAIN => Some(TASKS_FULL.to_owned()),
        Errno::ENOMEM => Some("all filters of a process may have 32768 instructions together".to_owned()),
        _ => None,
    }
}

fn landlock_hint(errno: Errno) -> Option<String> {
    match errno {
        Errno::EOPNOTSUPP | Errno::ENOSYS => Some(
            "this kernel has no Landlock, or it was switched off since the daemon began: list security.landlock in \
             security.optional"
                .to_owned(),
        ),
        Errno::EINVAL => {
            Some("this kernel's Landlock is older than what was found at first: `rsvc features`".to_owned())
        }
        Errno::EPERM => Some("Landlock without no_new_privs needs CAP_SYS_ADMIN".to_owned()),
        Errno::E2BIG => Some("sixteen Landlock rule sets are in force already, around the daemon".to_owned()),
        Errno::ENOENT => Some("a path that the mounts made is gone again".to_owned()),
        Errno::ENOMEM => Some("resources.memory_max is too small for the rule set".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

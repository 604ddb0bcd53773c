//! What a kernel or a host can lack, as the answers that its calls give then.

use crate::instance::tracer::Call;
use crate::judge::Fault;
use libc::{EACCES, EINVAL, ENODEV, ENOENT, ENOSYS, EOPNOTSUPP, EPERM};

/// One thing that can be missing.
pub struct Missing {
    /// In words, for the table of results.
    pub name: &'static str,
    pub fault: Fault,
    /// What becomes of a unit that says nothing but which program it is.
    pub by_default: ByDefault,
}

/// See [`Missing::by_default`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByDefault {
    /// It is not started.
    Refused,
    /// It runs, as nothing that it has by default needs it.
    NotUsed,
}

use ByDefault::{NotUsed, Refused};

const RDONLY: u64 = 1;
const NOEXEC: u64 = 8;

fn when(is_so: bool, errno: i32) -> Option<i32> {
    is_so.then_some(errno)
}

fn is(call: &Call, number: libc::c_long) -> bool {
    call.number == number as u64
}

/// As a kernel answers that was built without these namespaces.
fn no_namespace(call: &Call, flag: u64) -> Option<i32> {
    let flags = match call.name() {
        "clone3" => call.number_at(0, 0)?,
        "unshare" => call.arguments[0],
        _ => return None,
    };
    when(flags & flag != 0, EINVAL)
}

fn no_file_system(call: &Call, name: &str) -> Option<i32> {
    when(is(call, libc::SYS_fsopen) && call.text(0)? == name, ENODEV)
}

fn no_mount_option(call: &Call, name: &str) -> Option<i32> {
    when(is(call, libc::SYS_fsconfig) && call.arguments[2] != 0 && call.text(2)? == name, EINVAL)
}

/// The empty file or directory that hides something cannot be taken.
fn no_mask(call: &Call) -> Option<i32> {
    let taken = call.file(0).filter(|_| is(call, libc::SYS_open_tree))?;
    when(call.text(1)?.is_empty() && !taken.starts_with("/usr") && taken.len() > 1, ENOSYS)
}

/// The attribute cannot be set on what is there already.
fn no_attribute(call: &Call, attribute: u64) -> Option<i32> {
    when(is(call, libc::SYS_mount_setattr) && call.number_at(3, 0)? & attribute != 0, ENOSYS)
}

fn no_prctl(call: &Call, operation: u64, errno: i32) -> Option<i32> {
    when(is(call, libc::SYS_prctl) && call.arguments[0] == operation, errno)
}

/// A file that cannot be opened for writing.
fn no_writing(call: &Call, name: &str) -> Option<i32> {
    let flags = match call.name() {
        "openat" => call.arguments[2],
        "openat2" => call.number_at(2, 0)?,
        _ => return None,
    };
    when(flags & 3 != 0 && call.object()?.ends_with(name), EACCES)
}

fn no_file(call: &Call, path: &str) -> Option<i32> {
    when(matches!(call.name(), "openat" | "statx") && call.object()? == path, ENOENT)
}

/// The limit stays as it is, and cannot be lowered either.
fn no_rlimits(call: &Call) -> Option<i32> {
    let sets = is(call, libc::SYS_prlimit64) && call.arguments[2] != 0;
    when(sets && !OF_THE_PROGRAM.contains(&call.arguments[1]), EINVAL)
}

/// What rsvc sets for itself as well, or by default, and what the C library asks about.
const OF_THE_PROGRAM: [u64; 2] = [libc::RLIMIT_NOFILE as u64, libc::RLIMIT_CORE as u64];

macro_rules! missing {
    ($($id:ident: $name:literal, $by_default:expr, |$call:ident| $fault:expr;)*) => { $(
        pub static $id: Missing = Missing { name: $name, by_default: $by_default, fault: |$call: &Call| $fault };
    )*
        /// All of them.
        pub static ALL: &[&Missing] = &[$(&$id),*];
    };
}

missing! {
    MOUNT_NAMESPACES: "mount namespaces", Refused, |call| no_namespace(call, 0x0002_0000);
    PID_NAMESPACES: "pid namespaces", Refused, |call| no_namespace(call, 0x2000_0000);
    IPC_NAMESPACES: "ipc namespaces", Refused, |call| no_namespace(call, 0x0800_0000);
    UTS_NAMESPACES: "uts namespaces", Refused, |call| no_namespace(call, 0x0400_0000);
    NET_NAMESPACES: "network namespaces", NotUsed, |call| no_namespace(call, 0x4000_0000);
    USER_NAMESPACES: "user namespaces", NotUsed, |call| no_namespace(call, 0x1000_0000);
    CGROUP_NAMESPACES: "cgroup namespaces", Refused, |call| no_namespace(call, 0x0200_0000);
    TIME_NAMESPACES: "time namespaces", NotUsed, |call| no_namespace(call, 0x0000_0080);
    JOINING: "joining namespaces", NotUsed, |call| when(is(call, libc::SYS_setns), EPERM);
    UID_MAPS: "maps of user ids", NotUsed, |call| no_writing(call, "/uid_map");
    GID_MAPS: "maps of group ids", NotUsed, |call| no_writing(call, "/gid_map");
    HOSTNAMES: "setting the host name", NotUsed, |call| when(is(call, libc::SYS_sethostname), EPERM);

    TREES: "copies of mounts", Refused, |call| when(is(call, libc::SYS_open_tree), ENOSYS);
    MASKS: "attaching masks", Refused, |call| no_mask(call);
    SOURCES: "taking /usr", NotUsed, |call| when(is(call, libc::SYS_open_tree) && call.text(1)? == "/usr", ENOSYS);
    PLACES: "mounting on /srv and /tmp", Refused, |call| {
        let place = call.file(2).filter(|_| is(call, libc::SYS_move_mount))?;
        when(["/srv", "/tmp"].contains(&place.as_str()), EPERM)
    };
    MOVING: "attaching mounts", Refused, |call| when(is(call, libc::SYS_move_mount), ENOSYS);
    READ_ONLY: "read-only mounts", Refused, |call| no_attribute(call, RDONLY);
    NO_EXEC: "noexec mounts", Refused, |call| no_attribute(call, NOEXEC);
    TMPFS: "tmpfs", Refused, |call| no_file_system(call, "tmpfs");
    RAMFS: "ramfs", NotUsed, |call| no_file_system(call, "ramfs");
    PROC: "procfs", Refused, |call| no_file_system(call, "proc");
    MQUEUE: "mqueue", Refused, |call| no_file_system(call, "mqueue");
    TERMINALS: "devpts", Refused, |call| no_file_system(call, "devpts");
    OVERLAY: "overlay", NotUsed, |call| no_file_system(call, "overlay");
    SQUASHFS: "squashfs", NotUsed, |call| no_file_system(call, "squashfs");
    HIDEPID: "hidepid by words", Refused, |call| no_mount_option(call, "hidepid");
    SUBSET: "subset=pid", NotUsed, |call| no_mount_option(call, "subset");
    TMPFS_SIZE: "size of a tmpfs", Refused, |call| no_mount_option(call, "size");
    NODES: "making device nodes", Refused, |call| when(is(call, libc::SYS_mknodat), EPERM);
    DIRECTORIES: "making directories", Refused, |call| when(is(call, libc::SYS_mkdirat), EACCES);
    OWNERS: "giving files away", NotUsed, |call| when(is(call, libc::SYS_fchown), EPERM);
    MODES: "changing modes", NotUsed, |call| when(is(call, libc::SYS_fchmod), EPERM);

    FILTERS: "system-call filters", Refused,
        |call| when(is(call, libc::SYS_seccomp) && call.arguments[0] == 1, EINVAL);
    LISTENERS: "listeners of filters", NotUsed,
        |call| when(is(call, libc::SYS_seccomp) && call.arguments[0] == 2, EOPNOTSUPP);
    LANDLOCK: "Landlock", Refused,
        |call| when(call.name().starts_with("landlock_"), EOPNOTSUPP);
    LANDLOCK_RULES: "rules of Landlock", Refused, |call| when(is(call, libc::SYS_landlock_add_rule), EINVAL);
    LANDLOCK_DOMAINS: "one more domain of Landlock", Refused,
        |call| when(is(call, libc::SYS_landlock_restrict_self), libc::E2BIG);
    NO_NEW_PRIVS: "no_new_privs", Refused, |call| no_prctl(call, libc::PR_SET_NO_NEW_PRIVS as u64, EINVAL);
    MDWE: "PR_SET_MDWE", NotUsed, |call| no_prctl(call, 65, EINVAL);
    MDWE_PROBE: "PR_SET_MDWE and PR_GET_MDWE", NotUsed,
        |call| no_prctl(call, 65, EINVAL).or_else(|| no_prctl(call, 66, EINVAL));
    BOUNDING: "dropping from the bounding set", Refused, |call| no_prctl(call, libc::PR_CAPBSET_DROP as u64, EPERM);
    AMBIENT: "ambient capabilities", Refused,
        |call| no_prctl(call, libc::PR_CAP_AMBIENT as u64, EINVAL);
    CAPSET: "setting capabilities", Refused, |call| when(is(call, libc::SYS_capset), EPERM);
    KEYRINGS: "keyrings", Refused, |call| when(is(call, libc::SYS_keyctl), ENOSYS);
    USERS: "changing the user", Refused, |call| when(is(call, libc::SYS_setresuid), EPERM);
    GROUPS: "changing the group", Refused, |call| when(is(call, libc::SYS_setresgid), EPERM);
    MORE_GROUPS: "setting supplementary groups", Refused, |call| when(is(call, libc::SYS_setgroups), EPERM);
    PRIORITIES: "setting priorities", NotUsed, |call| when(is(call, libc::SYS_setpriority), EACCES);
    PROGRAMS: "BPF programs", NotUsed, |call| when(is(call, libc::SYS_bpf), EPERM);
    APPARMOR: "AppArmor", NotUsed, |call| no_file(call, "/sys/module/apparmor/parameters/enabled");
    SELINUX: "SELinux", NotUsed, |call| no_file(call, "/sys/fs/selinux/enforce");

    RLIMITS: "limits of processes", NotUsed, |call| no_rlimits(call);
    RLIMITS_BY_DEFAULT: "limits of core dumps and of open files", Refused,
        |call| when(is(call, libc::SYS_prlimit64) && call.arguments[2] != 0 && OF_THE_PROGRAM.contains(&call.arguments[1]), EINVAL);
    MEMORY_MAX: "limit of memory", NotUsed, |call| no_limit_file(call, &["memory.limit_in_bytes", "memory.max"]);
    MEMORY_LOW: "protection of memory", NotUsed, |call| no_limit_file(call, &["memory.soft_limit_in_bytes", "memory.low"]);
    MEMORY_HIGH: "throttling by memory", NotUsed, |call| no_limit_file(call, &["memory.high"]);
    MEMORY_MIN: "hard protection of memory", NotUsed, |call| no_limit_file(call, &["memory.min"]);
    MEMORY_SWAP: "limit of swap", NotUsed, |call| no_limit_file(call, &["memory.memsw.limit_in_bytes", "memory.swap.max"]);
    TASKS_MAX: "limit of tasks", Refused, |call| no_limit_file(call, &["pids.max"]);
    CPU_MAX: "limit of CPU time", NotUsed, |call| no_limit_file(call, &["cpu.cfs_quota_us", "cpu.max"]);
    CPU_WEIGHT: "share of CPU time", NotUsed, |call| no_limit_file(call, &["cpu.shares", "cpu.weight"]);
    CPUS: "choice of CPUs", NotUsed, |call| no_limit_file(call, &["cpuset.cpus"]);
    MEMORY_NODES: "choice of memory nodes", NotUsed, |call| no_limit_file(call, &["cpuset.mems"]);
    IO_WEIGHT: "share of disk time", NotUsed,
        |call| no_limit_file(call, &["blkio.bfq.weight", "blkio.weight", "io.bfq.weight", "io.weight"]);
    IO_MAX: "limits of disks", NotUsed,
        |call| no_limit_file(call, &["blkio.throttle.read_bps_device", "io.max"]);
    OOM_GROUP: "killing a group as a whole", NotUsed, |call| no_limit_file(call, &["memory.oom.group"]);
    DELEGATION: "giving groups away", NotUsed, |call| when(is(call, libc::SYS_fchownat), EPERM);
    HUGE_PAGES: "limits of huge pages", NotUsed,
        |call| no_limit_file(call, &["hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"]);
    DEVICE_RULES: "rules about devices", Refused, |call| {
        no_limit_file(call, &["devices.deny"]).or_else(|| when(is(call, libc::SYS_bpf), EPERM))
    };
}

/// A file of a control group that takes nothing.
fn no_limit_file(call: &Call, names: &[&str]) -> Option<i32> {
    names.iter().find_map(|name| no_writing(call, &format!("/{name}")))
}

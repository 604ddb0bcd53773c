//! Files of the kernel: /proc, /sys, control groups, devices.

use super::promises::{GROUPS, INIT, NO_LOGS, NO_MODULES, OWN_DEV, TUNABLES};
use crate::verify::Attempt::{Look, Make, Open, Read, Write};
use crate::verify::{Found, Key, Probe, inside};
use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mknodat, unlinkat};
use std::os::fd::AsFd;

/// Nothing of /proc but processes.
const PID_ONLY: Key = Key::Holds("filesystem.proc_subset", |p| p.mounts && p.unit.filesystem.proc_pid_only);
const NO_NODES: Key = Key::Without("MKNOD");
const DEVICES: Key = Key::Holds("devices.policy", |p| p.closes_devices() && p.unit.devices.allow.is_empty());

#[rustfmt::skip]
pub(super) const DOORS: &[Probe] = &[
    Probe { id: "proc-sys", about: "writing settings of the kernel", keys: &[TUNABLES, PID_ONLY],
        attempt: Write(&["/proc/sys/kernel/hostname", "/proc/sys/kernel/panic", "/proc/sys/vm/drop_caches", "/proc/sys/net/ipv4/ip_forward"]) },
    Probe { id: "core-pattern", about: "writing what the kernel executes for a core dump", keys: &[TUNABLES, PID_ONLY],
        attempt: Write(&["/proc/sys/kernel/core_pattern"]) },
    Probe { id: "modprobe-path", about: "writing what the kernel executes to load a module", keys: &[TUNABLES, PID_ONLY],
        attempt: Write(&["/proc/sys/kernel/modprobe"]) },
    Probe { id: "binfmt", about: "writing what the kernel executes for a format", keys: &[TUNABLES, PID_ONLY],
        attempt: Write(&["/proc/sys/fs/binfmt_misc/register"]) },
    Probe { id: "sysrq", about: "writing orders to the kernel", keys: &[TUNABLES, PID_ONLY],
        attempt: Write(&["/proc/sysrq-trigger"]) },
    Probe { id: "irq", about: "writing which processor gets interrupts", keys: &[TUNABLES, PID_ONLY],
        attempt: Write(&["/proc/irq/default_smp_affinity"]) },
    Probe { id: "kcore", about: "reading the memory of the kernel", keys: &[TUNABLES, PID_ONLY],
        attempt: Read(&["/proc/kcore"]) },
    Probe { id: "kallsyms", about: "reading addresses of the kernel", keys: &[TUNABLES, PID_ONLY],
        attempt: Read(&["/proc/kallsyms"]) },
    Probe { id: "proc-keys", about: "reading which keys there are", keys: &[TUNABLES, PID_ONLY],
        attempt: Read(&["/proc/keys", "/proc/key-users"]) },
    Probe { id: "timers", about: "reading timers of all processes", keys: &[TUNABLES, PID_ONLY],
        attempt: Read(&["/proc/timer_list", "/proc/sched_debug"]) },
    Probe { id: "kmsg", about: "opening the kernel's log", keys: &[NO_LOGS, PID_ONLY],
        attempt: Look(|_| is_of_proc("/proc/kmsg")) },
    Probe { id: "proc-1", about: "reading the environment of pid 1", keys: &[INIT],
        attempt: Read(&["/proc/1/environ"]) },
    Probe { id: "proc-1-root", about: "going to the root directory of pid 1", keys: &[INIT],
        attempt: Open(&["/proc/1/root/"]) },
    Probe { id: "sys", about: "writing settings in /sys", keys: &[TUNABLES],
        attempt: Write(&["/sys/kernel/mm/transparent_hugepage/enabled", "/sys/kernel/mm/ksm/run", "/sys/kernel/uevent_helper", "/sys/power/state", "/sys/kernel/profiling"]) },
    Probe { id: "uevent-helper", about: "writing what the kernel executes for a new device", keys: &[TUNABLES],
        attempt: Write(&["/sys/kernel/uevent_helper"]) },
    Probe { id: "tracing", about: "reading traces of the kernel", keys: &[TUNABLES],
        attempt: Read(&["/sys/kernel/tracing/trace", "/sys/kernel/debug/tracing/trace"]) },
    Probe { id: "firmware", about: "reading tables of the firmware", keys: &[TUNABLES],
        attempt: Read(&["/sys/firmware/dmi/tables/DMI", "/sys/firmware/acpi/tables/DSDT"]) },
    Probe { id: "modules-tree", about: "reading the host's kernel modules", keys: &[Key::Holds("security.protect_kernel_modules", |p| p.mounts && NO_MODULES.holds(p))],
        attempt: Look(|_| entries("/usr/lib/modules")) },
    Probe { id: "cgroup-procs", about: "moving processes into another control group", keys: &[GROUPS],
        attempt: Look(|_| group_file("cgroup.procs")) },
    Probe { id: "release-agent", about: "writing what the kernel executes for an empty control group", keys: &[GROUPS],
        attempt: Look(|_| group_file("release_agent")) },
    Probe { id: "cgroup-make", about: "making a control group", keys: &[GROUPS],
        attempt: Make("/sys/fs/cgroup") },
    Probe { id: "dev-mem", about: "opening the machine's memory", keys: &[OWN_DEV, DEVICES, Key::Without("SYS_RAWIO")],
        attempt: Open(&["/dev/mem", "/dev/port", "/dev/kmem"]) },
    Probe { id: "dev-kmsg", about: "opening the kernel's log as a device", keys: &[OWN_DEV, DEVICES],
        attempt: Open(&["/dev/kmsg"]) },
    Probe { id: "dev-disks", about: "opening a disk", keys: &[OWN_DEV, DEVICES],
        attempt: Open(&["/dev/sda", "/dev/vda", "/dev/nvme0n1", "/dev/xvda", "/dev/mmcblk0", "/dev/loop0", "/dev/dm-0", "/dev/md0"]) },
    Probe { id: "dev-others", about: "opening devices that drive other things", keys: &[OWN_DEV, DEVICES],
        attempt: Open(&["/dev/kvm", "/dev/fuse", "/dev/net/tun", "/dev/vhost-net", "/dev/loop-control", "/dev/uinput", "/dev/rfkill"]) },
    Probe { id: "device-node", about: "making the node of a device", keys: &[NO_NODES, Key::Calls(&["mknod", "mknodat"])],
        attempt: Look(|_| node(FileType::CharacterDevice, 1, 3, false)) },
    Probe { id: "device-by-number", about: "opening the machine's memory by a node of its own making", keys: &[NO_NODES, Key::Calls(&["mknod", "mknodat"]), DEVICES],
        attempt: Look(|_| node(FileType::CharacterDevice, 1, 1, true)) },
];

/// Opens a file that is not read, as reading takes away from others, and sees whether it is what it seems or a mask.
fn is_of_proc(path: &str) -> Found {
    let file = match rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => file,
        Err(error) => return Found::Failed(error.raw_os_error()),
    };
    match crate::sys::mount::file_system_magic(file.as_fd()) {
        Ok(crate::sys::mount::PROC_MAGIC) => Found::Done(String::new()),
        Ok(_) => Found::Nothing("masked".to_owned()),
        Err(error) => Found::Failed(error.errno),
    }
}

/// Is anything in this directory?
pub(super) fn entries(directory: &str) -> Found {
    #[allow(clippy::disallowed_methods, reason = "the probe looks at what it can see")]
    match std::fs::read_dir(directory) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Found::Done(String::new()),
            None => Found::Nothing("it is empty".to_owned()),
        },
        Err(error) => Found::of_io(Err::<(), _>(error)),
    }
}

/// Opens such a file at the top of a hierarchy for writing.
fn group_file(name: &str) -> Found {
    const TOP: &str = "/sys/fs/cgroup";
    #[allow(clippy::disallowed_methods, reason = "the probe looks at what it can see")]
    let hierarchies = std::fs::read_dir(TOP).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = std::iter::once(TOP.into()).chain(hierarchies).map(|place: std::path::PathBuf| place.join(name));
    let mut refusal = Found::Nothing("no hierarchy is there".to_owned());
    for file in files {
        match rustix::fs::open(&file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(_) => return Found::Done(file.display().to_string()),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
            Err(error) => refusal = Found::Failed(error.raw_os_error()),
        }
    }
    refusal
}

/// Makes a node where the unit may make files, opens it if asked to, and removes it.
fn node(kind: FileType, major: u32, minor: u32, opens: bool) -> Found {
    const PLACES: [&str; 5] = ["/tmp", "/dev/shm", "/var/tmp", "/run", "/var/lib"];
    let Some(place) = PLACES.iter().find(|place| matches!(inside::make(place), Found::Done(_))) else {
        return Found::Skipped("nothing is writable in which a node could be made".to_owned());
    };
    let path = format!("{place}/.rsvc-probe-{}", crate::sys::process::own_pid());
    if let Err(error) = mknodat(CWD, &path, kind, Mode::RUSR, makedev(major, minor)) {
        return Found::Failed(error.raw_os_error());
    }
    let opened = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let _ = unlinkat(CWD, &path, rustix::fs::AtFlags::empty());
    match opened {
        Err(error) if opens => Found::Failed(error.raw_os_error()),
        _ => Found::Done(String::new()),
    }
}

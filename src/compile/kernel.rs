//! The kernel's own file systems: /proc, /sys and the control groups, with what is closed in them.

use super::context::{Context, PidMode, Shape};
use super::mounts::{Content, Entry};
use super::rules::Tree;
use crate::plan::MountFlags;
use crate::unit::{Isolation, ProtectProc};
use std::path::{Path, PathBuf};

/// Files of /proc that steer the kernel.
const TUNABLES: [&str; 10] =
    ["acpi", "asound", "bus", "fs", "irq", "latency_stats", "mtrr", "scsi", "sys", "sysrq-trigger"];

/// Files of /proc that tell of other services, of kernel addresses and of memory.
const SECRETS: [&str; 6] = ["kallsyms", "kcore", "keys", "key-users", "sched_debug", "timer_list"];

/// Directories of /sys that tell of kernel internals or give side channels.
const SYS_SECRETS: [&str; 4] =
    ["/sys/firmware", "/sys/kernel/debug", "/sys/kernel/tracing", "/sys/devices/virtual/powercap"];

impl Tree {
    /// /proc, /sys and /sys/fs/cgroup with what is closed in them.
    pub fn kernel_file_systems(&mut self, context: &mut Context, shape: &Shape) {
        self.proc(context, shape);
        self.sys(context, shape);
        self.cgroup(context, shape);
        if context.unit.security.protect_kernel_modules && !self.table.own_root {
            self.mask("/usr/lib/modules", "security.protect_kernel_modules");
        }
    }

    pub fn mask(&mut self, path: impl Into<PathBuf>, key: &str) {
        self.table.put(path, Entry::built_in(key, Content::Mask).missing_ok(true));
    }

    fn proc(&mut self, context: &mut Context, shape: &Shape) {
        let unit = context.unit;
        let filesystem = &unit.filesystem;
        let flags = MountFlags { no_suid: true, no_dev: true, no_exec: true, ..MountFlags::default() };
        // A user namespace may mount the procfs of a pid namespace that it owns, and no other.
        let fresh = shape.pid != PidMode::Host || !shape.in_user_namespace();
        let content = if fresh {
            let mut options = Vec::new();
            let hidepid = match filesystem.protect_proc {
                ProtectProc::Off => None,
                ProtectProc::Invisible => Some("invisible"),
                ProtectProc::Ptraceable => Some("ptraceable"),
            };
            if let Some(word) = hidepid {
                options.push(("hidepid".to_owned(), Some(word.to_owned())));
            }
            if filesystem.proc_pid_only {
                options.push(("subset".to_owned(), Some("pid".to_owned())));
            }
            Content::New { fs_type: "proc", options }
        } else {
            let why = "a user namespace gets no procfs of its own for the host's processes, so the host's is shown";
            if filesystem.proc_pid_only {
                context.lacking("filesystem.proc_subset", "NAMESPACE", why, Some("set namespaces.pid = \"private\""));
            }
            if filesystem.protect_proc != ProtectProc::Off {
                context.lacking("filesystem.protect_proc", "NAMESPACE", why, Some("set namespaces.pid = \"private\""));
            }
            Content::Host { path: "/proc".into(), recursive: true }
        };
        // Nothing but processes is in a procfs with subset=pid.
        let everything = !fresh || !filesystem.proc_pid_only;
        let key = match filesystem.protect_proc {
            ProtectProc::Off if filesystem.proc_pid_only => "filesystem.proc_subset",
            _ => "filesystem.protect_proc",
        };
        self.table.put("/proc", Entry::built_in(key, content).flags(flags));
        if unit.security.protect_kernel_tunables && everything {
            let key = "security.protect_kernel_tunables";
            let read_only = MountFlags { read_only: true, ..MountFlags::default() };
            for name in TUNABLES {
                let entry = Entry::built_in(key, Content::Restrict).flags(read_only).missing_ok(true);
                self.table.put(Path::new("/proc").join(name), entry);
            }
            for name in SECRETS {
                self.mask(Path::new("/proc").join(name), key);
            }
        }
        if unit.security.protect_kernel_logs && everything {
            self.mask("/proc/kmsg", "security.protect_kernel_logs");
        }
    }

    fn sys(&mut self, context: &Context, shape: &Shape) {
        let tunables = context.unit.security.protect_kernel_tunables;
        let key = "security.protect_kernel_tunables";
        let flags =
            MountFlags { read_only: tunables, no_suid: true, no_dev: true, no_exec: true, ..MountFlags::default() };
        // sysfs shows the devices of its mounter's network namespace. A user namespace may mount it only together with
        // an own network namespace, and only where nothing of the host's is covered (as for /proc).
        let mountable = !shape.in_user_namespace() || (shape.own_network && context.facts.proc_mountable);
        let fresh = mountable && (self.table.own_root || shape.own_network);
        if fresh {
            let content = Content::New { fs_type: "sysfs", options: Vec::new() };
            self.table.put("/sys", Entry::built_in("network.mode", content).flags(flags));
        } else if self.table.own_root {
            let content = Content::Host { path: "/sys".into(), recursive: true };
            self.table.put("/sys", Entry::built_in(key, content).flags(flags));
        } else {
            self.rule("/sys", tunables, key);
        }
        if tunables {
            for path in SYS_SECRETS {
                self.mask(path, key);
            }
        }
    }

    fn cgroup(&mut self, context: &Context, shape: &Shape) {
        let unit = context.unit;
        let key = "security.protect_control_groups";
        let place = "/sys/fs/cgroup";
        let writable = unit.resources.delegate || !unit.security.protect_control_groups;
        let private = unit.namespaces.cgroup == Isolation::Private;
        if private && context.facts.cgroups.unified {
            // Its root is the unit's own group.
            let flags = MountFlags {
                read_only: !writable,
                no_suid: true,
                no_dev: true,
                no_exec: true,
                ..MountFlags::default()
            };
            let content = Content::New { fs_type: "cgroup2", options: Vec::new() };
            self.table.put(place, Entry::built_in(key, content).flags(flags));
        } else if private && unit.security.protect_control_groups {
            // One file system per v1 controller would be needed to show the own groups: nothing is shown instead.
            self.mask(place, key);
        } else if !self.table.entries.contains_key(Path::new("/sys")) || !shape.own_network {
            self.rule(place, !writable, key);
        }
    }
}

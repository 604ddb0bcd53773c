//! Keys about limits, logs, credentials and the boot set.

use super::LimitUnit::{Bytes, Microseconds, Number, Seconds};
use super::{Key, Kind, Table};

/// A memory limit below this kills before the program runs its first instruction.
const LEAST_MEMORY: u64 = 64 << 10;

pub(super) const RESOURCES: Table = Table::new(
    "resources",
    "Limits of the unit's control group, in the words of cgroup v2. A limit that the host's controllers cannot hold \
     refuses the start, unless `security.optional` names it.",
    &[
        Key::new(
            "memory_max",
            Kind::Size { min: LEAST_MEMORY },
            "Hard limit in bytes (K, M, G: powers of 1024), at least 64K. Above it the kernel reclaims, then kills inside \
             the unit.",
        )
        .default("\"infinity\"")
        .systemd(&["MemoryMax", "MemoryLimit"]),
        Key::new(
            "memory_high",
            Kind::Size { min: LEAST_MEMORY },
            "Above so many bytes the service is slowed down and memory is reclaimed. cgroup v2 only: refused on v1.",
        )
        .default("\"infinity\"")
        .systemd(&["MemoryHigh"]),
        Key::new(
            "memory_low",
            Kind::Size { min: 0 },
            "So many bytes are left alone while memory can be had elsewhere. Unset is no protection.",
        )
        .systemd(&["MemoryLow"]),
        Key::new(
            "memory_min",
            Kind::Size { min: 0 },
            "So many bytes are never reclaimed. cgroup v2 only: refused on v1. Unset is no protection.",
        )
        .systemd(&["MemoryMin"]),
        Key::new(
            "memory_swap_max",
            Kind::Size { min: 0 },
            "Swap that the service may use, in bytes; 0 is none. Needs the kernel's swap accounting.",
        )
        .default("\"infinity\"")
        .systemd(&["MemorySwapMax"]),
        Key::new(
            "memory_oom_group",
            Kind::Bool,
            "When memory runs out, kill all of the unit and not one process of it. cgroup v2 only: on v1 the kernel kills one process, and status says `degraded`.",
        )
        .default("true")
        .systemd(&["OOMPolicy"]),
        Key::new(
            "cpu_max",
            Kind::CpuShare,
            "CPU time: percent of one CPU such as \"150%\", or { quota, period } as times; the period is 1ms to 1s, 100ms \
             unless given.",
        )
        .note("no limit")
        .systemd(&["CPUQuota", "CPUQuotaPeriodSec"]),
        Key::new("cpu_weight", Kind::Int { min: 1, max: 10_000 }, "Share of contended CPU time, 1 to 10000.")
            .note("100, the kernel's")
            .systemd(&["CPUWeight", "CPUShares"]),
        Key::new("cpuset_cpus", Kind::CpuList, "CPUs that may be used, such as \"0-3,8\".").systemd(&["AllowedCPUs"]),
        Key::new("cpuset_mems", Kind::CpuList, "Memory nodes that may be used.").systemd(&["AllowedMemoryNodes"]),
        Key::new(
            "tasks_max",
            Kind::Count,
            "Processes and threads; a fork above it fails with EAGAIN and status counts it.",
        )
        .default("4096")
        .systemd(&["TasksMax"]),
        Key::new("io_weight", Kind::Int { min: 1, max: 10_000 }, "Share of contended disk time, 1 to 10000.")
            .note("100, the kernel's")
            .systemd(&["IOWeight", "BlockIOWeight"]),
        Key::new(
            "io_max",
            Kind::IoMax,
            "Limits of block devices: tables with `device` (a path or \"MAJOR:MINOR\") and some of `rbps`, `wbps` (bytes a \
             second), `riops`, `wiops` (operations a second).",
        )
        .default("[]")
        .systemd(&["IOReadBandwidthMax", "IOWriteBandwidthMax", "IOReadIOPSMax", "IOWriteIOPSMax"]),
        Key::new(
            "hugetlb",
            Kind::HugePages,
            "Huge pages by page size, in bytes: { \"2MB\" = \"64M\" }. Needs the hugetlb controller.",
        )
        .default("{}"),
        Key::new(
            "delegate",
            Kind::Bool,
            "Give the unit's control group to its user, to make groups below it. Needs cgroup v2.",
        )
        .default("false")
        .systemd(&["Delegate"]),
        Key::new(
            "slice",
            Kind::UnitName,
            "Name of a slice: a group between the root group and the unit's, shared by all units that name it, with the \
             limits of NAME.slice.toml. Without that file the start is refused; see SLICES.",
        )
        .systemd(&["Slice"]),
        Key::new("rlimits", Kind::Table, "Limits of each process; see [resources.rlimits].").default("{}"),
    ],
);

pub(super) const RLIMITS: Table = Table::new(
    "resources.rlimits",
    "Limits of setrlimit(2), each \"soft:hard\" or one value for both; `infinity` is no limit. A hard limit above the \
     daemon's own, which it may not raise, is lowered to that and status says `degraded`. What is not set is the daemon's own.",
    &[
        Key::new("as", Kind::Limit(Bytes), "Address space, bytes.").systemd(&["LimitAS"]),
        Key::new("core", Kind::Limit(Bytes), "Size of a core dump, bytes.")
            .default("\"0:infinity\"")
            .systemd(&["LimitCORE"]),
        Key::new("cpu", Kind::Limit(Seconds), "CPU time, seconds.").systemd(&["LimitCPU"]),
        Key::new("data", Kind::Limit(Bytes), "Data segment, bytes.").systemd(&["LimitDATA"]),
        Key::new("fsize", Kind::Limit(Bytes), "Size of a file, bytes.").systemd(&["LimitFSIZE"]),
        Key::new("locks", Kind::Limit(Number), "File locks; no kernel since 2.4 looks at it.").systemd(&["LimitLOCKS"]),
        Key::new("memlock", Kind::Limit(Bytes), "Locked memory, bytes.").systemd(&["LimitMEMLOCK"]),
        Key::new("msgqueue", Kind::Limit(Bytes), "POSIX message queues of the user, bytes.")
            .systemd(&["LimitMSGQUEUE"]),
        Key::new("nice", Kind::Limit(Number), "Ceiling of the nice value: 20 minus it, 1 to 40.")
            .systemd(&["LimitNICE"]),
        Key::new(
            "nofile",
            Kind::Limit(Number),
            "Open files. A soft limit above 1024 breaks programs that use select(2).",
        )
        .default("\"1024:524288\"")
        .systemd(&["LimitNOFILE"]),
        Key::new("nproc", Kind::Limit(Number), "Processes of the user, on the whole host; see tasks_max.")
            .systemd(&["LimitNPROC"]),
        Key::new("rss", Kind::Limit(Bytes), "Resident set; no kernel since 2.4 looks at it.").systemd(&["LimitRSS"]),
        Key::new("rtprio", Kind::Limit(Number), "Highest real-time priority, 0 to 99.").systemd(&["LimitRTPRIO"]),
        Key::new(
            "rttime",
            Kind::Limit(Microseconds),
            "CPU time without a blocking call under real-time scheduling, us.",
        )
        .systemd(&["LimitRTTIME"]),
        Key::new("sigpending", Kind::Limit(Number), "Queued signals of the user.").systemd(&["LimitSIGPENDING"]),
        Key::new("stack", Kind::Limit(Bytes), "Stack, bytes.").systemd(&["LimitSTACK"]),
    ],
);

/// Levels of a message, most urgent first: the index is the number of syslog(3).
pub const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

pub(super) const LOGGING: Table = Table::new(
    "logging",
    "Where standard output and error go, and what of it. A journal is connected to the service directly, unless level_max, \
     a rate limit or fields are given: then rsvc reads all that the unit says, by /dev/log too, and passes on what may pass, \
     under the identifier of the unit. What a program sends by itself to sockets of the journal passes by these keys; they \
     are hidden from it where /run/systemd is. journald limits what rsvc passes on as one sender.",
    &[
        Key::new(
            "target",
            Kind::Word { words: &["auto", "journald", "file", "null", "inherit"], later: &[] },
            "`auto` is the journal where one runs, else files; under `rsvc run` it is the terminal. `inherit` is the \
             daemon's own output.",
        )
        .default("\"auto\"")
        .systemd(&["StandardOutput", "StandardError"]),
        Key::new("identifier", Kind::Text, "SYSLOG_IDENTIFIER of the lines in the journal.")
            .note("the name of the unit")
            .systemd(&["SyslogIdentifier"]),
        Key::new(
            "syslog_socket",
            Kind::Bool,
            "Provide /dev/log inside, for programs that log by syslog(3). Needs `devices.private`.",
        )
        .default("true"),
        Key::new("file", Kind::Table, "How log files are rotated; see [logging.file].").default("{}"),
        Key::new(
            "level_max",
            Kind::Word { words: &LEVELS, later: &[] },
            "Drop messages that are less urgent than this. A line says its level by `<N>` in front, 0 (emerg) to 7 (debug), \
             as in sd-daemon(3); one that does not is `info`.",
        )
        .default("\"debug\"")
        .systemd(&["LogLevelMax"]),
        Key::new(
            "rate_limit_burst",
            Kind::Int { min: 0, max: i64::MAX },
            "So many messages are kept in each rate_limit_interval, of emerg to crit, err, warning, notice, and the rest each; \
             what comes above it is dropped, and the log and status say how many they were. 0 is no limit.",
        )
        .note("no limit: the files are rotated; 10000 if only the interval is given")
        .systemd(&["LogRateLimitBurst"]),
        Key::new(
            "rate_limit_interval",
            Kind::Delay,
            "Window of rate_limit_burst; it begins with the first message. 0 is no limit.",
        )
        .note("30s if the burst is given")
        .systemd(&["LogRateLimitIntervalSec"]),
        Key::new(
            "fields",
            Kind::JournalFields,
            "Further fields of each message in the journal: { NAME = \"value\" }. Needs a journal.",
        )
        .default("{}")
        .systemd(&["LogExtraFields"]),
    ],
);

pub(super) const LOG_FILE: Table = Table::new(
    "logging.file",
    "Rotation of log files, where there is no journal.",
    &[
        Key::new("max_size", Kind::FiniteSize, "Begin a new file after so many bytes.").default("\"50M\""),
        Key::new("max_files", Kind::Int { min: 1, max: 1000 }, "Files kept, the current one included.").default("5"),
    ],
);

pub(super) const CREDENTIALS: Table = Table::new(
    "credentials",
    "Secrets in files that only the service's user can read: in /run/credentials/UNIT, which CREDENTIALS_DIRECTORY names, a \
     file system of the container's own in memory that is never swapped, read-only and gone with the container; see \
     CREDENTIALS. All of them together are at most 1 MiB and 128 files. Needs `namespaces.mount` private.",
    &[
        Key::new(
            "load",
            Kind::CredentialPaths,
            "Credentials from files of the host, by name: { \"tls.key\" = \"/etc/ssl/private/web.key\" }. Each is read with \
             the daemon's rights at every start; one that cannot be read refuses it, unless the path begins with `-` and \
             nothing is there. Of a directory, each file in it becomes NAME_FILE. Only regular files are taken.",
        )
        .default("{}")
        .systemd(&["LoadCredential"]),
        Key::new(
            "set",
            Kind::CredentialTexts,
            "Credentials that stand in the unit file, by name: { greeting = \"hello\" }. Unit files are readable by everybody, \
             so this is not for secrets. A name that `load` has too, with `-`, is what holds where that file is missing.",
        )
        .default("{}")
        .systemd(&["SetCredential"]),
    ],
);

pub(super) const INSTALL: Table = Table::new(
    "install",
    "What `rsvc enable` does.",
    &[
        Key::new("wanted_by", Kind::Units, "Boot sets that start the unit; the daemon starts `default`.")
            .default("[\"default\"]")
            .systemd(&["WantedBy"]),
        Key::new("alias", Kind::Units, "Other names of the unit.").default("[]").systemd(&["Alias"]),
    ],
);

//! Keys about the unit, its processes, readiness and restarts.

use super::{Key, Kind, Table};

pub(super) const UNIT: Table = Table::new(
    "unit",
    "What the unit is and how it stands to others.",
    &[
        Key::new("description", Kind::Text, "One line for people, shown by status and list.").systemd(&["Description"]),
        Key::new("documentation", Kind::Texts, "Where to read more: URLs or manual pages, shown by status.")
            .default("[]")
            .systemd(&["Documentation"]),
        Key::new(
            "after",
            Kind::Units,
            "Start only when these units are ready or have failed; stop before them. Orders, does not pull in.",
        )
        .default("[]")
        .systemd(&["After"]),
        Key::new("before", Kind::Units, "The same seen from the other side: these units wait for this one.")
            .default("[]")
            .systemd(&["Before"]),
        Key::new("wants", Kind::Units, "Start these units too, and go on if they fail.")
            .default("[]")
            .systemd(&["Wants"]),
        Key::new(
            "requires",
            Kind::Units,
            "Start these units too. The start is refused when one does not exist, and fails when one does not start; \
             a stop or restart of one by request stops or restarts this unit. An unexpected end of one does not: see \
             `binds_to`. When this unit failed for want of one of them it is started as soon as that one comes up.",
        )
        .default("[]")
        .systemd(&["Requires"]),
        Key::new(
            "replicas",
            Kind::Int { min: 0, max: 1000 },
            "In a template: its instances 1 to N are a set, named as the template without the @. To start web is to start \
             and keep web@1 to web@N; see REPLICAS. Not for oneshot services, and not in a file of one instance.",
        ),
        Key::new(
            "requisite",
            Kind::Units,
            "Like requires, but these units are not started: they must be up when this unit's turn comes, or its start \
             fails.",
        )
        .default("[]")
        .systemd(&["Requisite"]),
        Key::new(
            "binds_to",
            Kind::Units,
            "Like requires, and this unit is stopped when one of them ends for any reason. It counts as failed then, and \
             is started again with that one; systemd leaves it down.",
        )
        .default("[]")
        .systemd(&["BindsTo"]),
        Key::new(
            "part_of",
            Kind::Units,
            "A stop or restart of one of these by request stops or restarts this unit, if it is up. They must exist.",
        )
        .default("[]")
        .systemd(&["PartOf"]),
        Key::new(
            "upholds",
            Kind::Units,
            "Start these units too, and start them again whenever they are found down while this unit is up, also after \
             a success or a stop by request. The wait between two attempts grows as their own [restart] says and is at \
             least 1 s; their `limit_burst` holds.",
        )
        .default("[]")
        .systemd(&["Upholds"]),
        Key::new(
            "conflicts",
            Kind::Units,
            "A start of this unit stops these, and a start of one of these stops this unit. The stop comes first: they \
             are never up together. A start that needs both is refused.",
        )
        .default("[]")
        .systemd(&["Conflicts"]),
        Key::new(
            "default_order",
            Kind::Bool,
            "Add the units of `requires`, `requisite` and `binds_to` to `after`, but for those in `before`. (In systemd \
             Requires= alone orders nothing, and both start at the same time.)",
        )
        .default("true"),
        Key::new(
            "on_failure",
            Kind::Units,
            "Start these units when this one has failed for good: it is not restarted any more, or its start was refused. \
             Not for a stop by request. Such starts of starts end after eight.",
        )
        .default("[]")
        .systemd(&["OnFailure"]),
        Key::new(
            "on_success",
            Kind::Units,
            "Start these units when this one has ended by itself, with success, and is not restarted. (In systemd a stop \
             by request counts too.)",
        )
        .default("[]")
        .systemd(&["OnSuccess"]),
        Key::new(
            "condition",
            Kind::Conditions,
            "Skip the start, without failure, unless all of this holds when the unit's turn comes: `path_exists`, \
             `path_is_directory`, `file_not_empty`, `environment` (NAME or NAME=VALUE of the daemon), `host` (name with \
             `*` and `?`, or machine id), `user` (of the daemon), `virtualization` (`vm`, `container` or a kind of one), \
             `kernel_version` (`>=6.1`), `capability` (that the daemon can give), `controller` (of control groups), each a \
             text or a list, and `first_boot`. A leading `!` negates. Every entry has to hold; of several hosts, users or \
             virtualizations without `!` one is enough. Paths are the host's. Of a unit that is started on demand each run \
             is examined, not the listening.",
        )
        .default("{}")
        .systemd(&[
            "ConditionPathExists",
            "ConditionPathIsDirectory",
            "ConditionFileNotEmpty",
            "ConditionEnvironment",
            "ConditionHost",
            "ConditionUser",
            "ConditionVirtualization",
            "ConditionKernelVersion",
            "ConditionCapability",
            "ConditionControlGroupController",
            "ConditionFirstBoot",
        ]),
        Key::new("assert", Kind::Conditions, "The same tests as in `condition`, but one that does not hold fails the start.")
            .default("{}")
            .systemd(&["AssertPathExists", "AssertPathIsDirectory", "AssertFileNotEmpty", "AssertUser"]),
    ],
);

pub(super) const SERVICE: Table = Table::new(
    "service",
    "The processes: what is run, as whom, and how it is stopped. Only `exec` is required.",
    &[
        Key::new(
            "type",
            Kind::Word { words: &["exec", "notify", "notify-reload", "oneshot", "forking", "simple"], later: &[] },
            "When the start counts as done: `exec` as soon as the program runs, `notify` when it sends READY=1, \
             `oneshot` when it has exited with success, `forking` when the first process has exited and `pid_file` names \
             the daemon. `notify-reload` is `notify` for a program that answers `reload_signal` (SIGHUP unless given) \
             with RELOADING=1, MONOTONIC_USEC= and READY=1, so that a reload is known to be done. `simple` means \
             `exec`.",
        )
        .default("\"exec\"")
        .systemd(&["Type"]),
        Key::new(
            "activation",
            Kind::Word { words: &["start", "on-demand"], later: &[] },
            "When the processes of a unit with [[sockets]] are started. `start`: with the unit. `on-demand`: a start only \
             listens, the first connection, datagram or byte runs the service; when it ends well rsvc listens again. More \
             than 20 such starts within 2 seconds fail the unit.",
        )
        .default("\"start\""),
        Key::new(
            "exec",
            Kind::Argv,
            "The program and its arguments. The program is an absolute path, or a plain name to be found in PATH. A \
             string is split by the quoting rules of a shell, without a shell: nothing is expanded.",
        )
        .note("required")
        .systemd(&["ExecStart"]),
        Key::new("exec_steps", Kind::Later("array of argv"), "Several commands of a oneshot service, in order.").later(),
        Key::new(
            "exec_start_pre",
            Kind::Commands,
            "Commands that must succeed, one after the other, before the program starts. Each runs in a container of its \
             own with the same isolation. `ignore_failure = true` in the table form lets one fail.",
        )
        .default("[]")
        .systemd(&["ExecStartPre"]),
        Key::new(
            "exec_start_post",
            Kind::Commands,
            "Commands that run in the container once the service is ready; MAINPID holds the pid there.",
        )
        .default("[]")
        .systemd(&["ExecStartPost"]),
        Key::new(
            "exec_reload",
            Kind::Commands,
            "Commands that make the service read its configuration again. They run in its container. See `reload_signal` \
             for the usual case.",
        )
        .default("[]")
        .systemd(&["ExecReload"]),
        Key::new("exec_stop", Kind::Commands, "Commands that ask the service to end, before `stop_signal` is sent.")
            .default("[]")
            .systemd(&["ExecStop"]),
        Key::new(
            "exec_stop_post",
            Kind::Commands,
            "Commands that run after the end, also after a failed start; SERVICE_RESULT, EXIT_CODE and EXIT_STATUS tell \
             how it ended.",
        )
        .default("[]")
        .systemd(&["ExecStopPost"]),
        Key::new(
            "user",
            Kind::Account,
            "User of the service, by a name of the host or by number, also with an own root file system. Without it the \
             service is root, with ten capabilities, and `check` warns. `auto`: a user that only this unit has, which is \
             in no data base (see USERS).",
        )
        .note("root")
        .systemd(&["User", "DynamicUser"]),
        Key::new("group", Kind::Account, "Primary group, by name or number.")
            .note("the user's primary group")
            .systemd(&["Group"]),
        Key::new(
            "supplementary_groups",
            Kind::Accounts,
            "Further groups, besides those that the host's data base gives the user.",
        )
        .default("[]")
        .systemd(&["SupplementaryGroups"]),
        Key::new("umask", Kind::Mode, "Permission bits that new files do not get. The profile `strict` says 0077.")
            .default("\"0022\"")
            .systemd(&["UMask"]),
        Key::new(
            "working_directory",
            Kind::Path,
            "Where the service starts, as it sees the tree. Paths in /proc are refused.",
        )
        .default("\"/\"")
        .systemd(&["WorkingDirectory"]),
        Key::new(
            "environment",
            Kind::Variables,
            "Environment variables. The service gets these, a clean PATH and LANG, and nothing of the caller's shell.",
        )
        .default("{}")
        .systemd(&["Environment"]),
        Key::new(
            "environment_files",
            Kind::Paths,
            "Files of NAME=VALUE lines, read on the host at each start; later ones and these win over `environment`. A \
             leading `-` makes one optional.",
        )
        .default("[]")
        .systemd(&["EnvironmentFile"]),
        Key::new(
            "pass_environment",
            Kind::VariableNames,
            "Variables to hand on from the environment of the daemon, or of the caller of `rsvc run`; one that is not \
             there, or is no UTF-8, is not set. `environment` and `environment_files` win over these, these over what \
             is set by default.",
        )
        .default("[]")
        .systemd(&["PassEnvironment"]),
        Key::new("stdin", Kind::Word { words: &["null"], later: &[] }, "Standard input is /dev/null.")
            .default("\"null\"")
            .systemd(&["StandardInput"]),
        Key::new(
            "pid_file",
            Kind::Path,
            "For `forking`: the file in which the daemon leaves its pid, as the service sees it. Only a process of the \
             unit's own control group is believed.",
        )
        .systemd(&["PIDFile"]),
        Key::new(
            "remain_after_exit",
            Kind::Bool,
            "For `oneshot`: the unit stays up (active, exited) when its program has ended with success, until it is \
             stopped, so that a stop can undo what the start did. Processes that the program left get `stop_signal`, and \
             are killed after `timeout_stop`. `exec_stop` runs at the stop, each command in a container of its own, then \
             `exec_stop_post`. Directories stay until then. Refused for other types, and for units that are started on \
             demand or by `[[timers]]`, which would never be started a second time.",
        )
        .default("false")
        .systemd(&["RemainAfterExit"]),
        Key::new(
            "success_exit_status",
            Kind::Statuses,
            "Exit statuses (0 to 255) and signals that count as success, besides 0 and the usual signals of a stop.",
        )
        .default("[]")
        .systemd(&["SuccessExitStatus"]),
        Key::new("reload_signal", Kind::Signal, "Signal to the main process that makes it read its configuration again.")
            .systemd(&["ReloadSignal"]),
        Key::new("stop_signal", Kind::Signal, "Signal that asks the service to end.")
            .default("\"SIGTERM\"")
            .systemd(&["KillSignal"]),
        Key::new(
            "kill_mode",
            Kind::Word { words: &["control-group", "mixed"], later: &[] },
            "Who gets `stop_signal`: every process, and once more who is left when the main one has ended; or (`mixed`) only \
             the main one. What is left after `timeout_stop`, with `mixed` after the main process, is killed; systemd's \
             `process` and `none` are refused, as a stopped service has no processes.",
        )
        .default("\"control-group\"")
        .systemd(&["KillMode"]),
        Key::new(
            "timeout_start",
            Kind::Timeout,
            "How long a start may take, `exec_start_pre` and `exec_start_post` included; also for reloads. For `oneshot` \
             this is the time that the program may run.",
        )
        .default("\"90s\"")
        .systemd(&["TimeoutStartSec", "TimeoutSec"]),
        Key::new("timeout_stop", Kind::Timeout, "How long the whole stop may take before everything is killed.")
            .default("\"90s\"")
            .systemd(&["TimeoutStopSec"]),
        Key::new(
            "runtime_max",
            Kind::Timeout,
            "End the service, `exec_stop` included, when it has been up for so long; the result is `timeout`, and \
             `restart.policy` decides what follows. The service may ask for more with EXTEND_TIMEOUT_USEC=.",
        )
        .default("\"infinity\"")
        .systemd(&["RuntimeMaxSec"]),
        Key::new(
            "watchdog",
            Kind::Delay,
            "How often the service must send WATCHDOG=1 once it is up; 0 is off. It finds the time in WATCHDOG_USEC and \
             should send twice as often. When it is late it gets SIGABRT (whom `kill_mode` says), then has `timeout_stop` \
             to end; the result is `watchdog`. `exec_stop` is not run.",
        )
        .default("\"0\"")
        .systemd(&["WatchdogSec"]),
        Key::new(
            "notify_access",
            Kind::Word { words: &["main", "exec", "all", "none"], later: &[] },
            "Which processes may send to the notify socket: the main one, that and the commands around it (`exec`), or \
             every process of the unit, such as systemd-notify(1) run by a script. `none` means that there is no socket.",
        )
        .note("`main` with `type` notify or notify-reload, `watchdog` or `file_descriptor_store_max`, else `none`")
        .systemd(&["NotifyAccess"]),
        Key::new(
            "file_descriptor_store_max",
            Kind::Int { min: 0, max: 5000 },
            "How many descriptors the service may leave with FDSTORE=1, see NOTIFICATIONS. The main process of the next \
             run finds them behind its sockets, by LISTEN_FDS and LISTEN_FDNAMES. 0: none is taken.",
        )
        .default("0")
        .systemd(&["FileDescriptorStoreMax"]),
        Key::new(
            "file_descriptor_store_preserve",
            Kind::Word { words: &["restart"], later: &["no", "yes"] },
            "How long they are kept: over restarts and over the death of the daemon, until the unit is stopped or has \
             failed for good. A unit that waits for a connection or its timers keeps them too.",
        )
        .default("\"restart\"")
        .systemd(&["FileDescriptorStorePreserve"]),
        Key::new("nice", Kind::Int { min: -20, max: 19 }, "Scheduling priority, -20 (most) to 19 (least).")
            .default("0")
            .systemd(&["Nice"]),
        Key::new(
            "oom_score_adjust",
            Kind::Int { min: -1000, max: 1000 },
            "How likely the kernel picks this service when memory runs out, -1000 (never) to 1000. A value that the \
             daemon may not set is raised to what it may, and status says `degraded`.",
        )
        .default("0")
        .systemd(&["OOMScoreAdjust"]),
        Key::new("cpu_sched_policy", Kind::Later("string"), "Scheduling policy of the processes.")
            .systemd(&["CPUSchedulingPolicy", "CPUSchedulingPriority"])
            .later(),
        Key::new("io_class", Kind::Later("string"), "I/O scheduling class of the processes.")
            .systemd(&["IOSchedulingClass", "IOSchedulingPriority"])
            .later(),
    ],
);

pub(super) const READY: Table = Table::new(
    "ready",
    "What makes a service of type `exec` or `forking` ready, when it cannot say so itself. All that is given must hold.",
    &[
        Key::new(
            "listen",
            Kind::Addresses,
            "Ready when a process of the unit listens on all of these: `tcp:ADDRESS:PORT`, `udp:ADDRESS:PORT`, \
             `unix:/PATH` as the service sees it. IPv6 addresses stand in square brackets; 0.0.0.0 and [::] are also \
             met by any single address. Nothing is connected to.",
        )
        .default("[]"),
        Key::new("path", Kind::Path, "Ready when this path exists, as the service sees it."),
        Key::new(
            "command",
            Kind::Argv,
            "Ready when this command ends with status 0. It runs in the container once the rest of this table holds, \
             again and again until it succeeds.",
        ),
        Key::new(
            "timeout",
            Kind::Timeout,
            "How long to wait for this table once the program runs; the start fails then. `timeout_start` goes on \
             counting beside it.",
        )
        .note("only `service.timeout_start` counts"),
    ],
);

pub(super) const RESTART: Table = Table::new(
    "restart",
    "What happens when the service ends by itself. Delays grow from one restart to the next and fall back when the \
     service has run for a while; up to 10 % is added at random.",
    &[
        Key::new(
            "policy",
            Kind::Word {
                words: &["on-failure", "always", "on-success", "on-abnormal", "on-abort", "on-watchdog", "no"],
                later: &[],
            },
            "After which ends to restart; systemd's words. A requested stop never restarts.",
        )
        .default("\"on-failure\"")
        .systemd(&["Restart"]),
        Key::new("delay", Kind::Delay, "Wait before the first restart; \"0\" restarts at once, always.")
            .default("\"200ms\"")
            .systemd(&["RestartSec"]),
        Key::new("backoff", Kind::Factor, "Factor from one delay to the next, at least 1.").default("2.0"),
        Key::new("max_delay", Kind::Delay, "The longest delay.").default("\"30s\"").systemd(&["RestartMaxDelaySec"]),
        Key::new("reset_after", Kind::Delay, "After so long a run delay and count start again.").default("\"1m\""),
        Key::new(
            "limit_burst",
            Kind::Int { min: 0, max: 1_000_000 },
            "Give up after so many automatic restarts within `limit_interval`; 0 never gives up. Starts by hand do not \
             count.",
        )
        .default("0")
        .systemd(&["StartLimitBurst"]),
        Key::new("limit_interval", Kind::Delay, "The sliding window of `limit_burst`.")
            .default("\"10m\"")
            .systemd(&["StartLimitIntervalSec"]),
        Key::new("prevent_exit_status", Kind::Statuses, "Exit statuses and signals after which never to restart.")
            .default("[]")
            .systemd(&["RestartPreventExitStatus"]),
        Key::new(
            "force_exit_status",
            Kind::Statuses,
            "Exit statuses and signals after which to restart whatever the policy says; `prevent_exit_status` wins.",
        )
        .default("[]")
        .systemd(&["RestartForceExitStatus"]),
    ],
);

pub(super) const HEALTH: Table = Table::new(
    "health",
    "Asks the running service at intervals whether it is well: `command`, `listen` or both. `status` shows the answer. \
     The first question is asked as soon as the service is ready.",
    &[
        Key::new(
            "command",
            Kind::Argv,
            "Well when this command ends with status 0. It runs in the container; its output goes to the unit's log.",
        ),
        Key::new(
            "listen",
            Kind::Addresses,
            "Well while a process of the unit listens on all of these; addresses as in `ready.listen`. Nothing is \
             connected to: a program that still listens but does not answer is found by a `command` only.",
        )
        .default("[]"),
        Key::new("interval", Kind::Delay, "From one answer to the next question.").default("\"30s\""),
        Key::new("timeout", Kind::Delay, "How long one answer may take; the command is killed then.")
            .default("\"5s\""),
        Key::new("retries", Kind::Int { min: 1, max: 1000 }, "Failures in a row that make the service unhealthy.")
            .default("3"),
        Key::new(
            "start_period",
            Kind::Delay,
            "Failures do not count for so long after the start, unless the service has been well before.",
        )
        .default("\"10s\""),
        Key::new(
            "action",
            Kind::Word { words: &["restart", "log", "stop"], later: &[] },
            "What happens to an unhealthy service: `restart` stops it in good order and starts it again after the delay \
             of [restart], whatever `restart.policy` says; `stop` stops it and shows it as failed; `log` only says so. \
             The result of such a run is `watchdog`.",
        )
        .default("\"restart\""),
    ],
);

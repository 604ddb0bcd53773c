//! The commands, each with its own words and options.

use crate::cli::{completion, security, words};
use clap::{Args, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start units and wait until they are ready
    Start(Job),

    /// Stop units and wait until nothing of them is left
    Stop {
        /// Names or patterns such as `web*`
        #[arg(value_name = "UNIT", required_unless_present = "all")]
        units: Vec<String>,
        /// Stop all units, in order
        #[arg(long, conflicts_with = "units")]
        all: bool,
        /// How to wait.
        #[command(flatten)]
        waiting: Waiting,
    },

    /// Stop units if they run, then start them; replicas of a set one after the other
    Restart {
        /// Names or patterns such as `web*`
        #[arg(value_name = "UNIT", required_unless_present = "outdated")]
        units: Vec<String>,
        /// Those that another rsvc started than the one that runs now, such as after an upgrade
        #[arg(long, conflicts_with = "units")]
        outdated: bool,
        /// How to wait.
        #[command(flatten)]
        waiting: Waiting,
    },

    /// Restart those units that run
    TryRestart(Job),

    /// Make running units read their configuration again
    Reload(Job),

    /// Keep so many replicas of a set up, or show how many there are
    Scale {
        /// The set, and how many: `web=5`; without a number it is shown
        #[arg(value_name = "UNIT[=N]", required = true)]
        units: Vec<String>,
        /// How to wait.
        #[command(flatten)]
        waiting: Waiting,
    },

    /// Show what is known of units; without a name, a summary and what has failed
    Status {
        /// Names or patterns
        #[arg(value_name = "UNIT")]
        units: Vec<String>,
        /// Last lines of output to show
        #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
        lines: u32,
    },

    /// List units
    #[command(visible_aliases = ["ls", "ps"])]
    List {
        /// Names or patterns
        #[arg(value_name = "UNIT")]
        units: Vec<String>,
        /// Also those that are neither active nor enabled
        #[arg(short, long)]
        all: bool,
        /// Only those that failed
        #[arg(long)]
        failed: bool,
        /// What has timers, in the order in which they are due
        #[arg(long, conflicts_with_all = ["failed", "state"])]
        timers: bool,
        /// Only those in one of these states, such as `active`, or sub-states, such as `running`
        #[arg(long, value_name = "STATE", value_delimiter = ',')]
        state: Vec<String>,
    },

    /// Show the output of units
    Logs {
        /// Names
        #[arg(value_name = "UNIT", required = true)]
        units: Vec<String>,
        /// Go on as more is written
        #[arg(short, long)]
        follow: bool,
        /// The last N lines only
        #[arg(short = 'n', long, value_name = "N")]
        lines: Option<u32>,
        /// From this time on: `10m` (ago), `2026-11-21`, `2026-11-21 22:00`, RFC 3339
        #[arg(short = 'S', long, value_name = "TIME")]
        since: Option<String>,
        /// Up to this time, written as for `--since`
        #[arg(short = 'U', long, value_name = "TIME", conflicts_with = "follow")]
        until: Option<String>,
        /// Only lines that contain this text; capitals matter when it has some
        #[arg(short, long, value_name = "TEXT")]
        grep: Option<String>,
        /// Only lines of this priority or a more urgent one: `err`, `warning`, 0 to 7
        #[arg(short, long, value_name = "PRIORITY", value_parser = words::parse_priority)]
        priority: Option<u8>,
        /// Only one run of the unit: its invocation id, 0 for the latest, -1 for the one before, 1 for the first
        #[arg(long, value_name = "ID|N", allow_hyphen_values = true, conflicts_with_all = ["since", "until"])]
        invocation: Option<String>,
    },

    /// Check unit files without starting anything
    #[command(visible_alias = "lint")]
    Check {
        /// Unit names, or files (with a `/` or ending in .toml)
        #[arg(value_name = "FILE|UNIT", required = true)]
        targets: Vec<String>,
        /// Warnings are errors
        #[arg(long)]
        strict: bool,
    },

    /// Show step by step what a start would do, with who asked for it
    Plan {
        /// A unit's name, or a file (with a `/` or ending in .toml)
        #[arg(value_name = "FILE|UNIT")]
        target: String,
    },

    /// Show the effective configuration with the origin of each value
    Show {
        /// A unit's name, or a file (with a `/` or ending in .toml)
        #[arg(value_name = "FILE|UNIT")]
        target: String,
        /// Only these keys, or keys of these tables
        #[arg(short, long = "property", value_name = "KEY", value_delimiter = ',')]
        property: Vec<String>,
    },

    /// Show how exposed units are, from 0 to 10: what is open, how much it weighs, and the key that closes it
    Security {
        /// Unit names, patterns, or files (with a `/` or ending in .toml); none means all units, one line for each
        #[arg(value_name = "FILE|UNIT")]
        targets: Vec<String>,
        /// Exit with 1 when the score of a unit is above this, such as `3.0`; the score is that of `--method`
        #[arg(long, value_name = "N", value_parser = security::parse_max)]
        max: Option<u32>,
        /// Whose rows are shown, and which score `--max` means
        #[arg(long, value_name = "METHOD", value_enum, default_value = "own")]
        method: security::Method,
        /// Also what is closed
        #[arg(short, long)]
        all: bool,
        /// Print the unit in systemd's words, as far as its method looks, for `systemd-analyze security --offline=yes`
        #[arg(long, requires = "targets", conflicts_with_all = ["max", "all"])]
        as_systemd: bool,
    },

    /// Show what units need as a tree, with their states where a daemon answers
    #[command(visible_alias = "deps")]
    Tree {
        /// Names or patterns; none means the units that no other one names
        #[arg(value_name = "UNIT")]
        units: Vec<String>,
        /// Who needs the units, instead of what they need
        #[arg(short, long)]
        reverse: bool,
        /// Also what is only an order: `after` and `before`
        #[arg(long)]
        order: bool,
    },

    /// Compare what a unit runs with to its files, or two units or files; exit 1 if they differ
    Diff {
        /// A unit's name, or a file (with a `/` or ending in .toml): compared with what the unit of its name runs with
        #[arg(value_name = "FILE|UNIT")]
        target: String,
        /// The other side; nothing that runs is looked at then
        #[arg(value_name = "FILE|UNIT")]
        other: Option<String>,
    },

    /// Print the files of units, drop-ins after them
    Cat {
        /// Names or patterns
        #[arg(value_name = "UNIT", required = true)]
        units: Vec<String>,
    },

    /// Start units at boot
    Enable {
        /// Names or patterns
        #[arg(value_name = "UNIT", required = true)]
        units: Vec<String>,
        /// Start them now as well
        #[arg(long)]
        now: bool,
    },

    /// Do not start units at boot
    Disable {
        /// Names or patterns
        #[arg(value_name = "UNIT", required = true)]
        units: Vec<String>,
        /// Stop them now as well
        #[arg(long)]
        now: bool,
    },

    /// Succeed if one of the units is active
    IsActive(Question),

    /// Succeed if one of the units is enabled
    IsEnabled(Question),

    /// Succeed if one of the units has failed
    IsFailed(Question),

    /// Send a signal to units
    Kill {
        /// Names or patterns
        #[arg(value_name = "UNIT", required = true)]
        units: Vec<String>,
        /// Name or number
        #[arg(short, long, value_name = "SIGNAL", default_value = "SIGTERM", value_parser = words::parse_signal)]
        signal: i32,
        /// To all processes, not only to the main process
        #[arg(long)]
        whole: bool,
    },

    /// Change limits of a unit that runs, until it is stopped; or keys of any unit, for good
    Set {
        /// Name
        #[arg(value_name = "UNIT")]
        target: String,
        /// Such as `resources.memory_max=1G`; nothing behind the `=` takes a change back
        #[arg(value_name = "KEY=VALUE", required = true)]
        values: Vec<String>,
        /// Any key, and also for later starts: in a drop-in of the unit
        #[arg(long)]
        persist: bool,
    },

    /// Stop all processes of units where they are, until `thaw` or a stop
    Freeze {
        /// Names or patterns
        #[arg(value_name = "UNIT", required = true)]
        units: Vec<String>,
    },

    /// Let the processes of frozen units go on
    Thaw {
        /// Names or patterns
        #[arg(value_name = "UNIT", required = true)]
        units: Vec<String>,
    },

    /// Read all unit files again and say what is wrong with them; starts do that by themselves
    ReloadConfig,

    /// Forget failures and restart counters
    ResetFailed {
        /// Names or patterns; none means all failed units
        #[arg(value_name = "UNIT")]
        units: Vec<String>,
    },

    /// Show what happens to units, as it happens, until it is ended
    Events {
        /// Names or patterns; none means all units, also those that come later
        #[arg(value_name = "UNIT")]
        units: Vec<String>,
        /// How the units stand comes first
        #[arg(short, long)]
        present: bool,
    },

    /// Wait until units are stopped and end with their exit status, or until they are ready
    Wait {
        /// Names or patterns
        #[arg(value_name = "UNIT", required = true)]
        units: Vec<String>,
        /// What is waited for
        #[arg(long = "for", value_name = "STATE", value_enum, default_value = "stopped")]
        goal: Goal,
        /// Give up after this time, such as `30s`
        #[arg(long, value_name = "TIME", value_parser = words::parse_time_span)]
        timeout: Option<std::time::Duration>,
    },

    /// Explain a key of the unit file, or all keys of a table
    Explain {
        /// Such as `filesystem.protect_system`, `resources`, or systemd's `ProtectSystem`
        #[arg(value_name = "KEY")]
        key: Option<String>,
    },

    /// Show what this host supports and what is degraded on it
    Features,

    /// Run one unit file, or a command, in the foreground, without a daemon
    Run(Run),

    /// Run a command in the container of a unit that runs, with the unit's own restrictions
    Exec(Exec),

    /// Open a shell in the container of a unit that runs, with the unit's own restrictions
    Shell {
        /// The unit
        #[arg(value_name = "UNIT")]
        unit: String,
        /// As this user of the host, a name or a number, instead of the unit's; with no capability that the main process
        /// has not
        #[arg(short, long, value_name = "USER")]
        user: Option<String>,
    },

    /// Try from inside a unit that runs whether what it promises to be closed is closed
    Verify {
        /// The unit
        #[arg(value_name = "UNIT")]
        target: String,
    },

    /// Run the supervisor (also: rsvcd), or have another program take over from the one that runs
    #[command(args_conflicts_with_subcommands = true)]
    Daemon {
        /// Stop all units when the daemon is told to end
        #[arg(long)]
        stop_on_exit: bool,
        /// Same as `--instance user`
        #[arg(long)]
        user: bool,
        /// Snapshot of the program that this one follows in the same process
        #[arg(long, value_name = "FD", hide = true)]
        handoff: Option<i32>,
        /// Say what could be taken over of this snapshot
        #[arg(long, value_name = "FD", hide = true)]
        handoff_info: Option<i32>,
        /// `upgrade`
        #[command(subcommand)]
        task: Option<DaemonTask>,
    },

    /// Run the supervisor where no service manager does: start it again when it dies, and reap what nobody else reaps
    Init {
        /// Stop all units when told to end; as pid 1 that is so anyway
        #[arg(long)]
        stop_on_exit: bool,
    },

    /// Hold the control group of the services under a service manager that delegates it
    Keeper {
        /// Stop all units in order, also when no daemon runs any more
        #[arg(long)]
        stop: bool,
    },

    /// Print the version of this program, and of the daemon if one is there
    Version,

    /// Print the completion script of a shell
    Completion {
        /// bash, zsh, fish
        #[arg(value_enum)]
        shell: completion::Shell,
    },

    /// Print the JSON schema of unit files, for editors
    Schema,

    /// Print rsvc(1)
    #[command(hide = true)]
    Manual,
}

/// Options of what changes the state of units.
#[derive(Clone, Debug, Args)]
pub struct Job {
    /// Names or patterns such as `web*`
    #[arg(value_name = "UNIT", required = true)]
    pub units: Vec<String>,
    /// How to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Whether and how long to wait for a job.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Waiting {
    /// Return as soon as the request is accepted
    #[arg(long)]
    pub no_wait: bool,
    /// Stop waiting after this time, such as `30s`; the job goes on
    #[arg(long, value_name = "TIME", value_parser = words::parse_time_span)]
    pub timeout: Option<std::time::Duration>,
}

/// What `wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Goal {
    /// It is active; a oneshot unit has done its work
    Ready,
    /// No process of it is left and none will be started by itself
    Stopped,
    /// `[health]` says that it is well
    Healthy,
}

impl Goal {
    /// For messages.
    pub fn word(self) -> &'static str {
        match self {
            Goal::Ready => "ready",
            Goal::Stopped => "stopped",
            Goal::Healthy => "healthy",
        }
    }
}

/// What a running daemon is told.
#[derive(Clone, Debug, Subcommand)]
pub enum DaemonTask {
    /// Upgrade the running daemon in place: same pid, services untouched; refused if the new program cannot take over
    Upgrade {
        /// The program, instead of the one by whose path the daemon was started
        #[arg(long, value_name = "PATH")]
        program: Option<PathBuf>,
    },
}

/// What to run in the foreground.
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// The unit file
    #[arg(value_name = "FILE", required_unless_present = "command", conflicts_with = "command")]
    pub file: Option<PathBuf>,
    /// A program and its arguments, behind `--`; it reads the standard input, and its exit status is passed on
    #[arg(value_name = "COMMAND", last = true)]
    pub command: Vec<OsString>,
    /// Use this profile instead of the unit's, for example `host` to see whether the sandbox is the problem
    #[arg(long, value_name = "PROFILE")]
    pub profile: Option<String>,
    /// For a command: a key of the unit, such as `service.user=www-data`; may be given several times
    #[arg(short = 'k', long = "set", value_name = "KEY=VALUE", conflicts_with = "file")]
    pub set: Vec<String>,
    /// For a command: same as `--set resources.memory_max=SIZE`
    #[arg(long, value_name = "SIZE", conflicts_with = "file")]
    pub mem: Option<String>,
    /// For a command: same as `--set service.user=USER`
    #[arg(long, value_name = "USER", conflicts_with = "file")]
    pub user: Option<String>,
    /// Give the program a terminal of its own, behind this one
    #[arg(short = 't', long)]
    pub pty: bool,
    /// Say only what goes wrong; always so for a command
    #[arg(short, long)]
    pub quiet: bool,
}

/// A command in a container.
#[derive(Args, Clone, Debug)]
pub struct Exec {
    /// The unit
    #[arg(value_name = "UNIT")]
    pub unit: String,
    /// As this user of the host, a name or a number, instead of the unit's; with no capability that the main process has
    /// not
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Insist on a terminal of its own for the command, behind this one; it has one anyway where standard input and output
    /// are terminals
    #[arg(short = 't', long, conflicts_with = "no_pty")]
    pub pty: bool,
    /// No terminal for the command: it reads nothing where standard input is a terminal
    #[arg(short = 'T', long)]
    pub no_pty: bool,
    /// A program and its arguments, behind `--`; its exit status is passed on
    #[arg(value_name = "COMMAND", last = true, required = true)]
    pub command: Vec<OsString>,
}

/// Units to be asked about.
#[derive(Clone, Debug, Args)]
pub struct Question {
    /// Names or patterns
    #[arg(value_name = "UNIT", required = true)]
    pub units: Vec<String>,
    /// Print nothing
    #[arg(short, long)]
    pub quiet: bool,
}

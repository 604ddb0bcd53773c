//! The command line: words, options and their help. The parser, the completions and rsvc(1) come from this definition.
//!
//! Options of the whole program may stand anywhere. Words of later versions are known, so that they can be refused by
//! name instead of being taken for a misspelling of something else.

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

/// Words that a later version will know.
pub const RESERVED: [&str; 24] = [
    "clean",
    "convert",
    "deps",
    "doctor",
    "edit",
    "exec",
    "export",
    "files",
    "freeze",
    "import",
    "learn",
    "mask",
    "new",
    "reload-config",
    "reload-or-restart",
    "rm",
    "security",
    "set",
    "shell",
    "thaw",
    "top",
    "tree",
    "unmask",
    "why",
];

/// Declarative service isolator and supervisor
#[derive(Debug, Parser)]
#[command(
    name = "rsvc",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    infer_long_args = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Arguments {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Directories of unit files, the first wins, separated by `:`
    #[arg(long, global = true, env = "RSVC_UNIT_PATH", value_name = "DIR[:DIR]", hide_env_values = true)]
    pub unit_path: Option<OsString>,

    /// Runtime directory of the instance [default: /run/rsvc]
    #[arg(long, global = true, env = "RSVC_RUNTIME_DIR", value_name = "DIR", hide_env_values = true)]
    pub runtime_dir: Option<OsString>,

    /// State directory of the instance [default: /var/lib/rsvc]
    #[arg(long, global = true, env = "RSVC_STATE_DIR", value_name = "DIR", hide_env_values = true)]
    pub state_dir: Option<OsString>,

    /// Control socket [default: io.rsvc in the runtime directory]
    #[arg(long, global = true, env = "RSVC_SOCKET", value_name = "PATH", hide_env_values = true)]
    pub socket: Option<OsString>,

    /// Control group below which all services live, as a path below the mount of the hierarchy
    #[arg(long, global = true, env = "RSVC_CGROUP_ROOT", value_name = "PATH", hide_env_values = true)]
    pub cgroup_root: Option<OsString>,

    /// Form of the output
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT")]
    pub output: Option<Format>,

    /// Same as `-o json`: one object per line
    #[arg(long, global = true, conflicts_with = "output")]
    pub json: bool,

    /// When to use colours
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value = "auto")]
    pub color: When,

    /// Do not start a pager
    #[arg(long, global = true)]
    pub no_pager: bool,
}

impl Global {
    /// The chosen form of output.
    pub fn format(&self) -> Format {
        if self.json { Format::Json } else { self.output.unwrap_or(Format::Table) }
    }
}

/// `-o`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people (the default)
    Table,
    /// For people, nothing cut off
    Wide,
    /// One object per line, with a stable schema
    Json,
    /// Names only
    Name,
    /// `check`: annotations of a workflow
    Github,
}

/// `--color`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)] // The words say it.
pub enum When {
    Auto,
    Always,
    Never,
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
#[derive(Clone, Copy, Debug, Args)]
pub struct Waiting {
    /// Return as soon as the request is accepted
    #[arg(long)]
    pub no_wait: bool,
    /// Stop waiting after this time, such as `30s`; the job goes on
    #[arg(long, value_name = "TIME", value_parser = super::words::parse_time_span)]
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

    /// Stop units if they run, then start them
    Restart(Job),

    /// Restart those units that run
    TryRestart(Job),

    /// Make running units read their configuration again
    Reload(Job),

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
        #[arg(short, long, value_name = "SIGNAL", default_value = "SIGTERM", value_parser = super::words::parse_signal)]
        signal: i32,
        /// To all processes, not only to the main process
        #[arg(long)]
        whole: bool,
    },

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
        #[arg(long, value_name = "TIME", value_parser = super::words::parse_time_span)]
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

    /// Run one unit file in the foreground, without a daemon
    Run {
        /// The unit file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Use this profile instead of the unit's, for example `host` to see whether the sandbox is the problem
        #[arg(long, value_name = "PROFILE")]
        profile: Option<String>,
        /// Say only what goes wrong
        #[arg(short, long)]
        quiet: bool,
    },

    /// Run the supervisor (also: rsvcd)
    Daemon {
        /// Stop all units when the daemon is told to end
        #[arg(long)]
        stop_on_exit: bool,
    },

    /// Print the version of this program, and of the daemon if one is there
    Version,

    /// Print the completion script of a shell
    Completion {
        /// bash, zsh, fish
        #[arg(value_enum)]
        shell: super::completion::Shell,
    },

    /// Print rsvc(1)
    #[command(hide = true)]
    Manual,
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

/// What became of the words.
#[derive(Debug)]
pub enum Parsed {
    /// A command.
    Command(Box<Arguments>),
    /// A word of a later version.
    Reserved(String),
}

/// Parses a command line, its first word being the program's name.
///
/// # Errors
/// Usage errors, and the texts of `--help` and `--version`, as clap has them.
pub fn parse(words: Vec<OsString>) -> Result<Parsed, clap::Error> {
    let mut command = Arguments::command();
    for word in RESERVED {
        let rest = clap::Arg::new("rest").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true);
        command = command.subcommand(clap::Command::new(word).hide(true).disable_help_flag(true).arg(rest));
    }
    let mut matches = command.try_get_matches_from_mut(words)?;
    if let Some(word) = matches.subcommand_name().filter(|name| RESERVED.contains(name)) {
        return Ok(Parsed::Reserved(word.to_owned()));
    }
    let arguments = Arguments::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))?;
    Ok(Parsed::Command(Box::new(arguments)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        std::iter::once("rsvc").chain(line.split_whitespace()).map(OsString::from).collect()
    }

    fn arguments(line: &str) -> Arguments {
        match parse(words(line)) {
            Ok(Parsed::Command(arguments)) => *arguments,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
        for word in RESERVED {
            assert!(Arguments::command().find_subcommand(word).is_none(), "{word} is a command and reserved");
        }
    }

    #[test]
    fn options_may_stand_anywhere() {
        for line in ["-o json status web", "status -o json web", "status web -o json", "status web --json"] {
            assert_eq!(arguments(line).global.format(), Format::Json, "{line}");
        }
        let job = arguments("--socket /a start web --timeout 30s db --runtime-dir /b");
        assert_eq!(job.global.socket, Some(OsString::from("/a")));
        assert_eq!(job.global.runtime_dir, Some(OsString::from("/b")));
        let Command::Start(start) = job.command else { panic!("start") };
        assert_eq!(start.units, ["web", "db"]);
        assert_eq!(start.waiting.timeout, Some(std::time::Duration::from_secs(30)));
    }

    #[test]
    fn words_of_later_versions_are_known_with_whatever_follows() {
        for line in ["learn web", "why", "import --force x.service", "top -n 5", "-o json edit web"] {
            assert!(matches!(parse(words(line)), Ok(Parsed::Reserved(_))), "{line}");
        }
    }

    #[test]
    fn wrong_usage_is_refused() {
        for line in [
            "",
            "start",
            "stop",
            "stop web --all",
            "strat web",
            "kill web -s NOPE",
            "start web --timeout x",
            "status -o xml",
            "list --json -o json",
            "logs",
            "run",
            "completion tcsh",
            "wait",
            "wait web --for lunch",
        ] {
            assert!(parse(words(line)).is_err(), "{line}");
        }
    }

    #[test]
    fn signals_are_names_or_numbers() {
        for (line, number) in
            [("kill web", 15), ("kill -s HUP web", 1), ("kill web --signal SIGUSR1", 10), ("kill web -s 9", 9)]
        {
            let Command::Kill { signal, .. } = arguments(line).command else { panic!("kill") };
            assert_eq!(signal, number, "{line}");
        }
    }
}

//! The command line: words, options and their help. The parser, the completions and rsvc(1) come from this definition.
//! What each command takes is in `command`.
//!
//! Options of the whole program may stand anywhere. Words of later versions are known, so that they can be refused by
//! name instead of being taken for a misspelling of something else.

mod command;
#[cfg(test)]
mod tests;

pub use command::{Command, DaemonTask, Exec, Goal, Question, Run, Waiting};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;

/// Words that a later version will know.
pub const RESERVED: [&str; 15] = [
    "clean",
    "convert",
    "doctor",
    "edit",
    "export",
    "files",
    "import",
    "learn",
    "mask",
    "new",
    "reload-or-restart",
    "rm",
    "top",
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

    /// The system's instance, or that of the calling user, which has its own directories [default: system]
    #[arg(long, global = true, value_enum, env = "RSVC_INSTANCE", value_name = "WHOSE", hide_env_values = true)]
    pub instance: Option<Whose>,

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
    /// `logs`: time and message (the default)
    Short,
    /// `logs`: the message only
    Cat,
    /// `check`: annotations of a workflow
    Github,
}

/// `--instance`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)] // The words say it.
pub enum Whose {
    System,
    User,
}

/// `--color`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)] // The words say it.
pub enum When {
    Auto,
    Always,
    Never,
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
    if let Some(arguments) = parse_with_one_command(&words) {
        return Ok(Parsed::Command(Box::new(arguments)));
    }
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

/// What `parse` answers, where the command is the first word and all is well, for 150 page faults less: options of the
/// whole program are not copied to all commands, but to this one. Whatever is not plain goes the whole way.
fn parse_with_one_command(words: &[OsString]) -> Option<Arguments> {
    let first = words.get(1)?.to_str().filter(|word| !RESERVED.contains(word))?;
    let all = Command::augment_subcommands(clap::Command::new("rsvc"));
    let command = all.get_subcommands().find(|command| command.get_name() == first)?.clone();
    let whole = clap::Command::new("rsvc").infer_long_args(true).disable_help_subcommand(true);
    let mut only = Global::augment_args(whole).subcommand(command).subcommand_required(true);
    let mut matches = only.try_get_matches_from_mut(words).ok()?;
    Arguments::from_arg_matches_mut(&mut matches).ok()
}

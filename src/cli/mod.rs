//! The program that people use: words in, text and an exit code out. Talks to the daemon over the control socket.
//!
//! Knows no kernel: what needs it without a daemon (`run`, `daemon`, `features`, `plan FILE`) is handed back to `main`
//! as an [`Outcome`]. Results go to standard output, everything else to standard error; a closed standard output is a
//! quiet end.
#![forbid(unsafe_code)]

mod args;
mod check;
mod client;
mod completion;
mod diff;
mod events;
mod exec;
mod explain;
mod instance;
mod live;
mod logs;
mod manual;
mod operate;
mod render;
mod run;
mod scale;
mod security;
mod show;
mod states;
mod stopping;
mod terminal;
mod time;
mod tree;
mod units;
mod upgrade;
mod verify;
mod words;

pub use instance::Instance;
pub use units::is_file;

use crate::control::CallError;
use args::{Arguments, Command, Format, Global, Parsed};
use clap::CommandFactory;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::SystemTime;
use terminal::Look;

/// What `main` is to do.
#[derive(Debug)]
pub enum Outcome {
    /// End with this exit code.
    Exit(u8),
    /// `rsvc run FILE`
    Run {
        /// Where everything lies.
        instance: Instance,
        /// The unit file.
        file: PathBuf,
        /// `--profile`
        profile: Option<String>,
        /// `--quiet`
        quiet: bool,
        /// `--pty`
        pty: bool,
    },
    /// `rsvc run -- COMMAND`
    RunCommand {
        /// Where everything lies.
        instance: Instance,
        /// The text of its unit.
        text: String,
        /// `--pty`
        pty: bool,
    },
    /// `rsvc daemon`
    Daemon {
        /// Where everything lies.
        instance: Instance,
        /// `--stop-on-exit`
        stop_on_exit: bool,
        /// `--handoff`
        handoff: Option<i32>,
    },
    /// `rsvc daemon --handoff-info`
    HandoffInfo {
        /// Where everything lies.
        instance: Instance,
        /// Number of the descriptor.
        snapshot: i32,
    },
    /// `rsvc init`
    Init {
        /// Where everything lies.
        instance: Instance,
        /// `--stop-on-exit`
        stop_on_exit: bool,
    },
    /// `rsvc keeper`
    Keeper {
        /// Where everything lies.
        instance: Instance,
        /// `--stop`, and no daemon answers.
        stop: bool,
    },
    /// `rsvc features`
    Features {
        /// Where everything lies.
        instance: Instance,
        /// One object instead of a table.
        json: bool,
    },
    /// `rsvc plan FILE`, or of a unit while no daemon runs.
    PlanFile {
        /// Where everything lies.
        instance: Instance,
        /// A unit file, or the name of a unit if there is no `/` in it and it does not end in .toml.
        target: String,
        /// One object for each line instead of text.
        json: bool,
    },
}

/// Why a command ends early.
#[derive(Debug)]
pub enum Failure {
    /// With an exit code and a message for people.
    Message {
        /// rsvc(1), EXIT STATUS.
        code: u8,
        /// Possibly several lines; empty when all was said.
        text: String,
    },
    /// Standard output could not be written.
    Output(io::Error),
}

impl Failure {
    fn new(code: u8, text: impl Into<String>) -> Failure {
        Failure::Message { code, text: text.into() }
    }

    fn code(&self) -> u8 {
        match self {
            Failure::Message { code, .. } => *code,
            // Whoever closed the pipe has seen enough.
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Failure::Output(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Message { text, .. } => f.write_str(text),
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Failure::Output(error) => write!(f, "cannot write to standard output: {error}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Failure {
        Failure::new(error.exit_code(), error.to_string())
    }
}

/// What every command needs.
struct Session<'a> {
    instance: Instance,
    format: Format,
    look: Look,
    no_pager: bool,
    now: SystemTime,
    out: &'a mut dyn Write,
    /// Standard error and what it can show.
    err: &'a mut dyn Write,
    err_look: Look,
}

impl Session<'_> {
    fn json(&self) -> bool {
        self.format == Format::Json
    }

    /// Says something that is no result. Nobody can be told when standard error is closed.
    fn say(&mut self, text: &str) {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        let _ = write!(self.err, "{text}{end}");
    }

    /// One object on its line.
    fn object(&mut self, value: &impl serde::Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(|error| Failure::new(1, error.to_string()))?;
        Ok(writeln!(self.out, "{text}")?)
    }
}

/// Runs a command line, its first word being the program's name; does what needs no kernel.
pub fn run(words: Vec<OsString>) -> Outcome {
    let arguments = match args::parse(words) {
        Ok(Parsed::Command(arguments)) => *arguments,
        Ok(Parsed::Reserved(word)) => {
            let _ = writeln!(io::stderr(), "rsvc: `{word}` is not in this version");
            return Outcome::Exit(2);
        }
        Err(error) => {
            let _ = error.print();
            return Outcome::Exit(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let Arguments { global, command } = arguments;
    let user = matches!(command, Command::Daemon { user: true, .. });
    let instance = match check_format(&global, &command).and_then(|()| Instance::new(&global, user)) {
        Ok(instance) => instance,
        Err(failure) => {
            let _ = writeln!(io::stderr(), "rsvc: {failure}");
            return Outcome::Exit(failure.code());
        }
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut err = io::stderr();
    let mut session = Session {
        instance,
        format: global.format(),
        look: Look::of_stdout(global.color),
        no_pager: global.no_pager,
        now: SystemTime::now(),
        out: &mut out,
        err: &mut err,
        err_look: Look::of_stderr(global.color),
    };
    let outcome = dispatch(&mut session, command);
    let flushed = session.out.flush();
    match outcome.and_then(|outcome| Ok(flushed.map(|()| outcome)?)) {
        Ok(outcome) => outcome,
        Err(failure) => {
            let text = failure.to_string();
            if !text.is_empty() {
                session.say(&format!("rsvc: {text}"));
            }
            // What is buffered for a closed pipe must not be tried again when the buffer goes.
            let code = failure.code();
            let (_stdout, _unwritten) = out.into_parts();
            Outcome::Exit(code)
        }
    }
}

/// A form that the command does not have is refused instead of being replaced by another.
fn check_format(global: &Global, command: &Command) -> Result<(), Failure> {
    let format = global.format();
    let known: &[Format] = match command {
        Command::Tree { .. } => &[Format::Table, Format::Wide, Format::Json],
        Command::List { .. } | Command::Status { .. } => &[Format::Table, Format::Wide, Format::Json, Format::Name],
        Command::Check { .. } => &[Format::Table, Format::Json, Format::Github],
        Command::Logs { .. } => &[Format::Table, Format::Wide, Format::Json, Format::Short, Format::Cat],
        Command::Plan { .. } | Command::Show { .. } | Command::Features | Command::Security { .. } => {
            &[Format::Table, Format::Wide, Format::Json]
        }
        Command::Explain { .. } | Command::Version | Command::Diff { .. } => &[Format::Table, Format::Json],
        Command::Start(_) | Command::Stop { .. } | Command::Restart { .. } | Command::TryRestart(_) => {
            &[Format::Table, Format::Json]
        }
        Command::Scale { .. } | Command::Reload(_) | Command::Kill { .. } | Command::ResetFailed { .. } => {
            &[Format::Table, Format::Json]
        }
        Command::IsActive(_) | Command::IsEnabled(_) | Command::IsFailed(_) => &[Format::Table, Format::Json],
        Command::Set { .. } | Command::Freeze { .. } | Command::Thaw { .. } | Command::ReloadConfig => {
            &[Format::Table, Format::Json]
        }
        Command::Daemon { task: Some(_), .. } => &[Format::Table, Format::Json],
        Command::Events { .. } | Command::Wait { .. } | Command::Verify { .. } => &[Format::Table, Format::Json],
        _ => &[Format::Table],
    };
    if known.contains(&format) {
        return Ok(());
    }
    Err(Failure::new(2, format!("this command has no output form `{}`", format!("{format:?}").to_lowercase())))
}

fn dispatch(session: &mut Session<'_>, command: Command) -> Result<Outcome, Failure> {
    use operate::Verb;
    let code = match command {
        Command::Start(job) => operate::jobs(session, Verb::Start, &job.units, job.waiting)?,
        Command::Stop { all: true, waiting, .. } => operate::stop_all(session, waiting)?,
        Command::Stop { units, waiting, .. } => operate::jobs(session, Verb::Stop, &units, waiting)?,
        Command::Restart { outdated: true, waiting, .. } => upgrade::restart_outdated(session, waiting)?,
        Command::Restart { units, waiting, .. } => operate::jobs(session, Verb::Restart, &units, waiting)?,
        Command::TryRestart(job) => operate::jobs(session, Verb::TryRestart, &job.units, job.waiting)?,
        Command::Reload(job) => operate::jobs(session, Verb::Reload, &job.units, job.waiting)?,
        Command::Scale { units, waiting } => scale::scale(session, &units, waiting)?,
        Command::Kill { units, signal, whole } => operate::kill(session, &units, signal, whole)?,
        Command::ResetFailed { units } => operate::reset_failed(session, &units)?,
        Command::Status { units, lines } => states::status(session, &units, lines)?,
        Command::List { units, all, failed, timers, state } => {
            states::list(session, &states::Selection { units, all, failed, timers, states: state })?
        }
        Command::IsActive(question) => states::is_active(session, &question)?,
        Command::IsFailed(question) => states::is_failed(session, &question)?,
        Command::Logs { units, follow, lines, since, until, grep, priority, invocation } => {
            let span = logs::Span { since, until, invocation };
            logs::logs(session, &logs::Wish { units, follow, lines, span, grep, priority })?
        }
        Command::Set { target, values, persist } => live::set(session, &target, &values, persist)?,
        Command::Freeze { units } => live::freeze(session, &units, true)?,
        Command::Thaw { units } => live::freeze(session, &units, false)?,
        Command::ReloadConfig => live::reload_config(session)?,
        Command::Events { units, present } => events::events(session, &units, present)?,
        Command::Wait { units, goal, timeout } => events::wait(session, &units, goal, timeout)?,
        Command::IsEnabled(question) => units::is_enabled(session, &question)?,
        Command::Enable { units, now } => units::enable(session, &units, now)?,
        Command::Disable { units, now } => units::disable(session, &units, now)?,
        Command::Check { targets, strict } => check::check(session, &targets, strict)?,
        Command::Security { targets, max, method, all, as_systemd } => {
            security::security(session, &security::Wish { targets, max, method, all, as_systemd })?
        }
        Command::Show { target, property } => show::show(session, &target, &property)?,
        Command::Tree { units, reverse, order } => tree::tree(session, &tree::Wish { units, reverse, order })?,
        Command::Diff { target, other } => diff::diff(session, &target, other.as_deref())?,
        Command::Cat { units } => units::cat(session, &units)?,
        Command::Explain { key } => explain::explain(session, key.as_deref())?,
        Command::Plan { target } => return plan(session, &target),
        Command::Version => version(session)?,
        Command::Completion { shell } => {
            session.out.write_all(completion::script(shell, Arguments::command()).as_bytes())?;
            0
        }
        Command::Schema => {
            session.out.write_all(crate::unit::json_schema().as_bytes())?;
            0
        }
        Command::Manual => {
            session.out.write_all(&manual::page(Arguments::command())?)?;
            0
        }
        Command::Run(run) => return run::run(session, run),
        Command::Exec(wish) => exec::exec(session, &wish)?,
        Command::Shell { unit, user } => exec::shell(session, &unit, user)?,
        Command::Verify { target } => verify::verify(session, &target)?,
        Command::Daemon { task: Some(args::DaemonTask::Upgrade { program }), .. } => {
            upgrade::upgrade(session, program.as_deref())?
        }
        Command::Daemon { handoff_info: Some(snapshot), .. } => {
            return Ok(Outcome::HandoffInfo { instance: session.instance.clone(), snapshot });
        }
        Command::Daemon { stop_on_exit, handoff, .. } => {
            return Ok(Outcome::Daemon { instance: session.instance.clone(), stop_on_exit, handoff });
        }
        Command::Init { stop_on_exit } => {
            return Ok(Outcome::Init { instance: session.instance.clone(), stop_on_exit });
        }
        Command::Keeper { stop: true } if client::Client::connect(&session.instance.socket()).is_ok() => {
            operate::stop_all(session, args::Waiting::default())?
        }
        Command::Keeper { stop } => return Ok(Outcome::Keeper { instance: session.instance.clone(), stop }),
        Command::Features => {
            return Ok(Outcome::Features { instance: session.instance.clone(), json: session.json() });
        }
    };
    Ok(Outcome::Exit(code))
}

/// A file is planned here; a unit by the daemon, which knows best what it would do, or here when none runs.
fn plan(session: &mut Session<'_>, target: &str) -> Result<Outcome, Failure> {
    let here = |session: &Session<'_>| Outcome::PlanFile {
        instance: session.instance.clone(),
        target: target.to_owned(),
        json: session.json(),
    };
    if units::is_file(target) {
        return Ok(here(session));
    }
    let mut client = match client::Client::connect(&session.instance.socket()) {
        Ok(client) => client,
        Err(failure) if failure.code() == client::UNREACHABLE => {
            units::load(session, target)?;
            session.say("rsvc: no supervisor is running; this is what it would do when started here and now");
            return Ok(here(session));
        }
        Err(failure) => return Err(failure),
    };
    let answer = client.call(&crate::control::Call::Plan { unit: target.to_owned() })?;
    match answer.map_err(Failure::from)? {
        crate::control::Answer::Plan(lines) if session.json() => {
            for line in lines {
                session.object(&serde_json::json!({ "v": 1, "line": line }))?;
            }
        }
        crate::control::Answer::Plan(lines) => {
            let text: String = lines.iter().map(|line| format!("{}\n", terminal::harmless(line))).collect();
            terminal::page(&text, session.look, session.no_pager, session.out)?;
        }
        _ => return Err(Failure::new(1, "the supervisor answered another question")),
    }
    Ok(Outcome::Exit(0))
}

/// The client's version always, the daemon's when one is there at once.
fn version(session: &mut Session<'_>) -> Result<u8, Failure> {
    let own = env!("CARGO_PKG_VERSION");
    let socket = session.instance.socket();
    let daemon = client::Client::connect_now(&socket).and_then(|mut client| client.describe()).ok().map(|d| d.version);
    if session.json() {
        session.object(&serde_json::json!({ "v": 1, "version": own, "daemon": daemon }))?;
    } else {
        writeln!(session.out, "rsvc {own}")?;
        if let Some(daemon) = daemon {
            writeln!(session.out, "daemon {}", terminal::harmless(&daemon))?;
        }
    }
    Ok(0)
}

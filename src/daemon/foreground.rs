//! `rsvc run`: the same engine for one unit, without a socket, on the terminal.
//!
//! Everything it makes on the host lies in one runtime directory of its own and is gone when it ends. Should it be
//! killed outright, its service dies with it and the next run removes what is left (`left_over`).

use super::engine::{Engine, Notice, Options, now, to_io};
use super::signals::Signals;
use super::snapshot::{cause_words, note_words};
use super::terminal::{Terminal, Wanted};
use crate::cgroup::{RootOptions, Tree};
use crate::control::GroupCounters;
use crate::load;
use crate::supervise::{
    Cause, CommandOutcome, Event, Exit, LaunchFailure, Note, Outcome, RequestId, ServiceId, ServiceResult,
};
use crate::sys::poll::Interest;
use crate::unit::problem::{self, Style};
use crate::unit::value::print_byte_size;
use crate::unit::{LogTarget, ParseOptions, Unit};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// What to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Where everything lies; the runtime directory is made and removed.
    pub options: Options,
    /// The valid unit.
    pub unit: Unit,
    /// Diagnostics that are no obstacles, as text.
    pub warnings: String,
    /// Say less: only what goes wrong.
    pub quiet: bool,
    /// A command of the command line: it reads our standard input, and how it ends is told by the exit status alone.
    pub command: bool,
    /// The main process gets a terminal of its own, behind ours.
    pub terminal: bool,
}

/// Exit status when rsvc itself failed.
const FAILED: u8 = 125;
/// Exit status when the program could not be executed, and when it was not found.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
/// Exit status after Ctrl-C.
const INTERRUPTED: u8 = 130;

struct Foreground {
    engine: Engine,
    id: ServiceId,
    quiet: bool,
    command: bool,
    start: RequestId,
    stop: Option<RequestId>,
    interrupted: bool,
    terminal: Option<Terminal>,
    last_cause: Option<Cause>,
    counters: GroupCounters,
    finished: bool,
}

/// Runs a unit until it ends for good or until SIGINT or SIGTERM; returns the exit status for the shell.
pub fn run(run: RunOptions) -> u8 {
    let runtime = run.options.runtime_dir.clone();
    // First of all: a signal must not end us with something made and not removed.
    let signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => {
            tell(&error.to_string());
            return FAILED;
        }
    };
    super::left_over::remove_left_over(&runtime);
    if let Err(error) = make_own(&runtime) {
        tell(&format!("cannot make {}: {error}", runtime.display()));
        return FAILED;
    }
    let code = match foreground(run, signals) {
        Ok(code) => code,
        Err(error) => {
            tell(&error.to_string());
            FAILED
        }
    };
    if let Err(error) = std::fs::remove_dir_all(&runtime)
        && error.kind() != io::ErrorKind::NotFound
    {
        tell(&format!("cannot remove {}: {error}", runtime.display()));
    }
    code
}

/// Says something on standard error. A terminal that has gone away is no reason to end.
pub(super) fn tell(text: &str) {
    let _ = io::stderr().write_all(super::terminal::for_stderr(format!("rsvc: {text}\n")).as_bytes());
}

/// The directory must be new: one that is there already could be somebody else's trap in a directory like /tmp.
fn make_own(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        super::launch::make_directory(parent, 0o755)?;
    }
    std::fs::DirBuilder::new().mode(0o755).create(path)
}

/// Gives a foreground run directories and a group of its own, whatever instance is at work beside it.
pub fn isolate_run(options: &mut Options) {
    let runtime_dir = own_runtime_dir(rustix::process::geteuid().is_root());
    options.cgroup_name = format!("{}{}", super::left_over::PREFIX, std::process::id());
    options.state_dir = runtime_dir.join("state");
    options.log_dir = runtime_dir.join("log");
    options.socket = runtime_dir.join("io.rsvc");
    options.runtime_dir = runtime_dir;
    options.system = false;
}

/// Reads the unit of `rsvc run`, with its warnings as text.
///
/// # Errors
/// All diagnostics as text.
pub fn read_for_run(file: &Path, profile: Option<&str>) -> Result<(Unit, String), String> {
    let style = Style::default();
    let found = load::read_file(file).map_err(|problem| problem::render(&[*problem], "", style))?;
    understand(&found, profile)
}

/// The unit that was read, with its warnings as text.
pub(super) fn understand(found: &load::Found, profile: Option<&str>) -> Result<(Unit, String), String> {
    let style = Style::default();
    let profile = match profile {
        Some(word) => Some(
            word.parse().map_err(|_| format!("rsvc: `{word}` is not a profile: standard, strict, login or host\n"))?,
        ),
        None => None,
    };
    match found.parse(ParseOptions { profile, ..ParseOptions::default() }) {
        Ok((unit, warnings)) => Ok((unit, found.draw(&warnings, style))),
        Err(problems) => Err(found.draw(&problems, style)),
    }
}

/// The same for a text that the command line made: `rsvc run -- COMMAND`.
///
/// # Errors
/// All diagnostics as text.
pub fn read_text_for_run(text: &str) -> Result<(Unit, String), String> {
    let style = Style::default();
    match Unit::parse("run", "command line", text) {
        Ok((unit, _advice)) => Ok((unit, String::new())),
        Err(problems) => Err(problem::render(&problems, text, style)),
    }
}

fn foreground(run: RunOptions, mut signals: Signals) -> io::Result<u8> {
    let RunOptions { options, unit, warnings, quiet, command, terminal } = run;
    let _lock = super::lock::take(&options.runtime_dir)?;
    super::launch::make_directory(&options.runtime_dir.join("services"), 0o700)?;
    let _ = write!(io::stderr(), "{warnings}");
    let root = RootOptions { root: options.cgroup_root.clone(), name: options.cgroup_name.clone(), recorded: None };
    let tree = match Tree::open(&root) {
        Ok(tree) => Some(tree),
        Err(error) => {
            if !quiet {
                tell(&format!("no control group ({error})"));
            }
            None
        }
    };
    let mut engine = Engine::new(options, tree)?;
    engine.record_root();
    let terminal = match terminal {
        false => None,
        true => {
            if unit.origin("logging.target").place.is_some()
                && !matches!(unit.logging.target, LogTarget::Auto | LogTarget::Inherit)
            {
                tell("with --pty the output goes to this terminal, not where `logging.target` says");
            }
            signals = signals.with_terminal()?;
            Some(Terminal::open(&mut engine, quiet && !command)?)
        }
    };
    if command && terminal.is_none() {
        // Closed, it is as good as empty.
        engine.stdin = io::stdin().as_fd().try_clone_to_owned().ok();
    }
    let signals_token = engine.poller.add(&signals, Interest::Read).map_err(to_io)?;
    let followed: Vec<&str> =
        unit.unit.relations().iter().filter(|(_, names)| !names.is_empty()).map(|r| r.0).collect();
    if !followed.is_empty() {
        tell(&format!("`rsvc run` starts this unit alone: not followed in [unit]: {}", followed.join(", ")));
    }
    let id = engine.define(unit, 0);
    let start = engine.new_request();
    engine.events.push_back(Event::StartRequested { id, request: Some(start) });
    let mut foreground = Foreground {
        engine,
        id,
        quiet,
        command,
        start,
        stop: None,
        interrupted: false,
        terminal,
        last_cause: None,
        counters: GroupCounters::default(),
        finished: false,
    };
    while !foreground.finished {
        for notice in foreground.engine.turn()? {
            match notice {
                Notice::Ready(ready) if ready.token == signals_token => {
                    let caught = signals.take();
                    // Without its terminal nobody would know of it any more.
                    if caught.end || caught.hangup {
                        foreground.interrupt();
                    }
                    if let Some(terminal) = &mut foreground.terminal {
                        terminal.caught(&mut foreground.engine, caught);
                    }
                }
                Notice::Ready(_) => foreground.relay(),
                Notice::Terminal(master, service) => {
                    if let Some(terminal) = &mut foreground.terminal {
                        terminal.attach(&mut foreground.engine, master, service, &signals)?;
                    }
                }
                Notice::Event(_) | Notice::Errand(..) => {}
                Notice::Reply(request, outcome) => foreground.replied(request, outcome),
                Notice::Note(note) => {
                    if let (Note::Ended(_) | Note::Failed(_), Some(terminal)) = (&note, &mut foreground.terminal) {
                        terminal.detach(&mut foreground.engine, &signals);
                    }
                    foreground.note(&note);
                }
            }
        }
    }
    if let Some(terminal) = &mut foreground.terminal {
        terminal.detach(&mut foreground.engine, &signals);
    }
    Ok(foreground.end())
}

impl Foreground {
    fn say(&self, text: &str) {
        if !self.quiet {
            tell(&format!("{}: {text}", self.name()));
        }
    }

    fn name(&self) -> &str {
        self.engine.service(self.id).map_or("", |service| service.name.as_str())
    }

    /// Bytes between the caller's terminal and the service's.
    fn relay(&mut self) {
        let Some(terminal) = &mut self.terminal else { return };
        if let Wanted::End(times) = terminal.relay(&mut self.engine) {
            (0..times).for_each(|_| self.interrupt());
        }
    }

    /// Ctrl-C: the same stop as `rsvc stop`; a second one kills.
    fn interrupt(&mut self) {
        if self.interrupted {
            self.engine.kill_group(self.id);
            return;
        }
        self.interrupted = true;
        self.request_stop();
    }

    fn request_stop(&mut self) {
        let request = self.engine.new_request();
        self.stop = Some(request);
        self.engine.events.push_back(Event::StopRequested { id: self.id, request: Some(request) });
    }

    fn replied(&mut self, request: RequestId, outcome: Outcome) {
        if self.stop == Some(request) {
            self.finished = true;
        } else if request == self.start && outcome != Outcome::Done {
            if let Outcome::Failed(cause) = outcome {
                // What cannot be set up here now will not be in a second, and somebody sits and waits.
                let hopeless =
                    matches!(cause, Cause::Launch(_) | Cause::Command { outcome: CommandOutcome::NotLaunched(_), .. });
                self.last_cause.get_or_insert(cause);
                if hopeless {
                    return self.request_stop();
                }
            }
            // It may be going to try again; the notes tell when it has given up.
            self.finish_if_down();
        }
    }

    fn note(&mut self, note: &Note) {
        match note {
            Note::Started => self.started(),
            Note::Ended(cause) | Note::Failed(cause) => {
                if let Some(group) = self.engine.service(self.id).and_then(|service| service.group.as_ref()) {
                    self.counters = group.counters();
                }
                let failed = matches!(note, Note::Failed(_));
                // How a command ends is its own affair, and told by the exit status.
                let own_affair = self.command && is_plain_end(cause);
                let said = failed && self.last_cause.as_ref() == Some(cause);
                if !own_affair && !said {
                    let words = cause_words(cause, self.engine.service(self.id));
                    tell(&format!("{}: {words}", self.name()));
                }
                self.last_cause = Some(cause.clone());
            }
            Note::StatusText => {}
            other => self.say(&note_words(other)),
        }
        self.finish_if_down();
    }

    fn started(&mut self) {
        let Some(service) = self.engine.service(self.id) else { return };
        let pid = service.last_main_pid.map_or_else(String::new, |pid| format!(", pid {pid}"));
        let mut text = format!("started{pid}");
        if let Some(group) = &service.group {
            text.push_str(&format!(", group {}", group.path().display()));
            let counters = group.counters();
            if let Some(limit) = counters.memory_max {
                text.push_str(&format!(", memory limit {}", print_byte_size(limit)));
            }
            if let Some(limit) = counters.tasks_max {
                text.push_str(&format!(", tasks limit {limit}"));
            }
        }
        self.say(&text);
        if let Some(status) = self.engine.snapshot(self.id, false) {
            for line in status.degraded {
                self.say(&format!("degraded: {line}"));
            }
        }
    }

    /// Down or failed for good: nothing more will happen by itself.
    fn finish_if_down(&mut self) {
        let waiting = !self.engine.events.is_empty();
        if self.stop.is_none() && !waiting && !self.engine.is_up(self.id) {
            self.finished = true;
        }
    }

    fn end(mut self) -> u8 {
        let status = self.engine.supervisor.status(self.id);
        self.summary();
        // Removing the group may need a moment after the last process died.
        let until = now().0 + 2_000_000;
        while self.engine.service(self.id).is_some_and(|service| service.group.is_some()) && now().0 < until {
            self.engine.remove_group(self.id);
            if self.engine.service(self.id).is_some_and(|service| service.group.is_some()) {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
        if let Some(tree) = &self.engine.tree
            && let Err(error) = tree.remove_root()
        {
            tell(&error.to_string());
        }
        if self.interrupted {
            return INTERRUPTED;
        }
        let exit = status.and_then(|status| status.main_exit);
        match (&self.last_cause, exit) {
            (Some(Cause::Launch(failure)), _) => launch_code(failure),
            (Some(Cause::Command { outcome: CommandOutcome::NotLaunched(failure), .. }), _) => launch_code(failure),
            (_, Some(Exit::Exited(status))) => status,
            (_, Some(Exit::Killed(signal) | Exit::Dumped(signal))) => 128u8.saturating_add(signal),
            (None, _) => 0,
            (Some(_), _) => FAILED,
        }
    }

    /// What the runs used, where a group counted it.
    fn summary(&self) {
        let restarts = self.engine.supervisor.status(self.id).map_or(0, |status| status.restarts);
        let mut parts = vec![format!("{restarts} restarts")];
        if let Some(peak) = self.counters.memory_peak {
            parts.push(format!("memory peak {}", print_byte_size(peak)));
        }
        if let Some(cpu) = self.counters.cpu_usage_usec {
            parts.push(format!("CPU {:.3} s", cpu as f64 / 1e6));
        }
        self.say(&format!("done ({})", parts.join(", ")));
    }
}

/// The main process ended by itself, whatever its status.
fn is_plain_end(cause: &Cause) -> bool {
    matches!(
        cause,
        Cause::Main { result: ServiceResult::Success | ServiceResult::ExitCode | ServiceResult::Signal, .. }
    )
}

fn launch_code(failure: &LaunchFailure) -> u8 {
    if failure.step != "EXEC" {
        return FAILED;
    }
    if failure.message.contains("ENOENT") { NOT_FOUND } else { NOT_EXECUTABLE }
}

/// The runtime directory of one `rsvc run`: below /run for root, the user's own elsewhere.
pub fn own_runtime_dir(root: bool) -> PathBuf {
    let name = format!("{}{}", super::left_over::PREFIX, std::process::id());
    if root {
        return PathBuf::from("/run").join(name);
    }
    match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir()) {
        Some(path) => path.join(name),
        None => std::env::temp_dir().join(name),
    }
}

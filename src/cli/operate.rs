//! Commands that change something: ask the daemon, wait for the result, say why when it did not come about.

use super::args::Waiting;
use super::client::{Answered, Client, TIMED_OUT, now};
use super::terminal::harmless;
use super::time::coarse;
use super::words::{is_pattern, matches};
use super::{Failure, Session};
use crate::control::{Answer, Call, CallError, CallOptions};
use serde_json::json;
use std::time::Duration;

/// Units that are worked on at the same time; the daemon allows an ordinary user twice as many connections.
const AT_ONCE: usize = 32;

/// What is done to units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Verb {
    Start,
    Stop,
    Restart,
    TryRestart,
    Reload,
}

impl Verb {
    fn call(self, unit: String) -> Call {
        match self {
            Verb::Start => Call::Start { unit },
            Verb::Stop => Call::Stop { unit },
            Verb::Restart => Call::Restart { unit },
            Verb::TryRestart => Call::TryRestart { unit },
            Verb::Reload => Call::Reload { unit },
        }
    }

    /// What a terminal is told of a success.
    fn past(self) -> &'static str {
        match self {
            Verb::Start => "started",
            Verb::Stop => "stopped",
            Verb::Restart => "restarted",
            Verb::TryRestart => "restarted if it ran",
            Verb::Reload => "reloaded",
        }
    }
}

/// Does `verb` to all units, at the same time, and waits. The exit code is that of the first failure.
pub fn jobs(session: &mut Session<'_>, verb: Verb, units: &[String], waiting: Waiting) -> Result<u8, Failure> {
    let calls = names(session, units)?.into_iter().map(|unit| verb.call(unit)).collect();
    let past = if waiting.no_wait { "accepted" } else { verb.past() };
    perform(session, calls, past, waiting)
}

/// `stop --all`
pub fn stop_all(session: &mut Session<'_>, waiting: Waiting) -> Result<u8, Failure> {
    perform(session, vec![Call::StopAll], if waiting.no_wait { "accepted" } else { "stopped" }, waiting)
}

/// `kill`
pub fn kill(session: &mut Session<'_>, units: &[String], signal: i32, whole: bool) -> Result<u8, Failure> {
    let calls = names(session, units)?.into_iter().map(|unit| Call::Kill { unit, signal, whole }).collect();
    perform(session, calls, "signalled", Waiting { no_wait: false, timeout: None })
}

/// `reset-failed`; without names all failed units.
pub fn reset_failed(session: &mut Session<'_>, units: &[String]) -> Result<u8, Failure> {
    let calls = if units.is_empty() {
        vec![Call::ResetFailed { unit: None }]
    } else {
        names(session, units)?.into_iter().map(|unit| Call::ResetFailed { unit: Some(unit) }).collect()
    };
    perform(session, calls, "reset", Waiting { no_wait: false, timeout: None })
}

/// Replaces patterns by the names that match, in the daemon's order, each name once.
///
/// # Errors
/// 5 when a pattern matches nothing, and when the daemon cannot be asked.
pub fn names(session: &Session<'_>, words: &[String]) -> Result<Vec<String>, Failure> {
    let all = if words.iter().any(|word| is_pattern(word)) {
        Client::connect(&session.instance.socket())?.list()?.into_iter().map(|unit| unit.name).collect()
    } else {
        Vec::new()
    };
    expand(words, &all)
}

/// The same over a known list.
///
/// # Errors
/// 5 when a pattern matches nothing.
pub fn expand(words: &[String], all: &[String]) -> Result<Vec<String>, Failure> {
    let mut names: Vec<String> = Vec::new();
    for word in words {
        let found: Vec<&String> =
            if is_pattern(word) { all.iter().filter(|name| matches(word, name)).collect() } else { vec![word] };
        if found.is_empty() {
            return Err(Failure::new(5, format!("no unit matches `{}`", harmless(word))));
        }
        for name in found {
            let name = name.strip_suffix(".toml").unwrap_or(name);
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }
    Ok(names)
}

/// Makes all calls at the same time and waits for their answers.
pub fn perform(session: &mut Session<'_>, calls: Vec<Call>, past: &str, waiting: Waiting) -> Result<u8, Failure> {
    let begun = now();
    let deadline = waiting.timeout.map(|timeout| begun + timeout);
    let options = CallOptions { no_wait: waiting.no_wait, ..CallOptions::default() };
    let mut code = 0;
    for batch in calls.chunks(AT_ONCE) {
        let mut open = Vec::with_capacity(batch.len());
        for call in batch {
            let mut client = Client::connect_until(&session.instance.socket(), deadline)?;
            client.send(call, options)?;
            open.push((client, call));
        }
        for (mut client, call) in open {
            let result = match super::stopping::answer(session, &mut client, call, deadline) {
                Ok(answered) => tell(session, call, answered, past, begun.elapsed())?,
                Err(failure) if failure.code() == TIMED_OUT => {
                    timed_out(session, call, waiting.timeout.unwrap_or_default())?;
                    TIMED_OUT
                }
                Err(failure) => return Err(failure),
            };
            code = if code == 0 { result } else { code };
        }
    }
    Ok(code)
}

fn tell(session: &mut Session<'_>, call: &Call, answered: Answered, past: &str, took: Duration) -> Result<u8, Failure> {
    let unit = harmless(call.unit().unwrap_or("all units"));
    match answered {
        Ok(Answer::Skipped(why)) => {
            if session.json() {
                session.object(&json!({ "v": 1, "name": call.unit(), "done": "skipped", "message": why }))?;
            }
            // No failure, but not what was asked for either: said also where successes are not.
            session.say(&format!("{} {unit}: {}", session.err_look.dot("inactive"), harmless(&why)));
            Ok(0)
        }
        Ok(Answer::Kept { file, later }) => {
            if session.json() {
                let done = json!({ "v": 1, "name": call.unit(), "done": "kept", "file": file, "later": later });
                session.object(&done)?;
            } else if session.look.is_terminal() {
                writeln!(session.out, "{} {unit}: kept in {}", session.look.dot("active"), harmless(&file))?;
                session.out.flush()?;
            }
            if !later.is_empty() {
                let later = later.iter().map(|key| harmless(key)).collect::<Vec<_>>().join(", ");
                session.say(&format!("{unit}: runs on as it is, from its next start on with: {later}"));
            }
            Ok(0)
        }
        Ok(_) => {
            if session.json() {
                session.object(&json!({ "v": 1, "name": call.unit(), "done": past }))?;
            } else if session.look.is_terminal() {
                let dot = session.look.dot(if past.starts_with("stopped") { "inactive" } else { "active" });
                let past = match call {
                    Call::Scale { number, .. } => format!("{past} to {number}"),
                    _ => past.to_owned(),
                };
                writeln!(session.out, "{dot} {unit}: {past} ({})", coarse(took))?;
                session.out.flush()?;
            }
            Ok(0)
        }
        Err(error) => {
            if session.json() {
                let message = error.to_string();
                session.object(&json!({ "v": 1, "name": call.unit(), "error": error.name(), "message": message }))?;
            }
            let mut text = refusal(&unit, &error);
            // Of a set the error names the replica.
            if let CallError::JobFailed { unit: name, .. } = &error {
                for line in super::logs::lines_of_failure(session, name) {
                    text.push_str("\n  | ");
                    text.push_str(&harmless(&line));
                }
            }
            // Diagnostics of a file have their own form.
            let drawn = matches!(error, CallError::UnitUnusable { .. });
            let dot = if drawn { String::new() } else { session.err_look.dot("failed") + " " };
            session.say(&format!("{dot}{text}"));
            Ok(error.exit_code())
        }
    }
}

/// The daemon's words, with the unit's name in front unless they begin with it. Line ends stay, the rest is made
/// harmless: a cause may quote what the service printed.
fn refusal(unit: &str, error: &CallError) -> String {
    let text = error.to_string();
    let text = text.lines().map(harmless).collect::<Vec<_>>().join("\n");
    let named = matches!(error, CallError::UnitUnusable { .. }) || text.starts_with(unit);
    if named { text } else { format!("{unit}: {text}") }
}

fn timed_out(session: &mut Session<'_>, call: &Call, timeout: Duration) -> Result<(), Failure> {
    let unit = harmless(call.unit().unwrap_or("all units"));
    if session.json() {
        session.object(&json!({ "v": 1, "name": call.unit(), "error": "Timeout", "message": "the job goes on" }))?;
    }
    let status = call.unit().map(|unit| format!(": rsvc status {}", harmless(unit))).unwrap_or_default();
    let held_up = super::stopping::what_holds_up(session, call).into_iter().map(|line| format!("\n  {line}"));
    let held_up: String = held_up.collect();
    session.say(&format!("{unit}: not done after {}; the job goes on{status}{held_up}", coarse(timeout)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn patterns_become_names_and_each_name_comes_once() {
        let all = strings(&["db", "web", "web@blue"]);
        assert_eq!(
            expand(&strings(&["web*", "web", "other", "db.toml"]), &all).unwrap(),
            ["web", "web@blue", "other", "db"]
        );
        let failure = expand(&strings(&["x*"]), &all).unwrap_err();
        assert_eq!((failure.code(), failure.to_string().as_str()), (5, "no unit matches `x*`"));
    }

    #[test]
    fn a_refusal_names_the_unit_once_and_carries_no_escape_codes() {
        let failed = |message: &str| CallError::JobFailed { unit: "web".into(), message: message.into() };
        assert_eq!(refusal("web", &failed("exit 1\n  | \u{1b}[31mboom")), "web: exit 1\n  | \u{fffd}[31mboom");
        assert_eq!(refusal("web", &failed("web: failed at step EXEC")), "web: failed at step EXEC");
        let unusable = CallError::UnitUnusable { unit: "web".into(), message: "error[E0102]: x".into() };
        assert_eq!(refusal("web", &unusable), "error[E0102]: x");
    }
}

//! Commands about what runs: changed limits, the freezer, and reading all unit files again.

use super::args::Waiting;
use super::client::{Client, TIMED_OUT, now};
use super::terminal::harmless;
use super::{Failure, Session};
use crate::control::{Answer, Call};
use crate::unit::Assignment;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// Between two looks whether every process stands still.
const PAUSE: Duration = Duration::from_millis(10);

/// How long that may take: a process in an uninterruptible call freezes when the call is over.
const PATIENCE: Duration = Duration::from_secs(30);

/// `set`
pub fn set(session: &mut Session<'_>, unit: &str, words: &[String], persist: bool) -> Result<u8, Failure> {
    let mut values = BTreeMap::new();
    for word in words {
        // The form is judged here, the key and the value by the daemon.
        Assignment::parse(word).map_err(|text| Failure::new(2, text))?;
        if let Some((key, value)) = word.split_once('=') {
            values.insert(key.trim().to_owned(), value.trim().to_owned());
        }
    }
    let unit = unit.strip_suffix(".toml").unwrap_or(unit).to_owned();
    super::operate::perform(session, vec![Call::Set { unit, values, persist }], "changed", Waiting::default())
}

/// `freeze` and `thaw`
pub fn freeze(session: &mut Session<'_>, words: &[String], frozen: bool) -> Result<u8, Failure> {
    let units = super::operate::names(session, words)?;
    let call = |unit: &String| {
        let unit = unit.clone();
        if frozen { Call::Freeze { unit } } else { Call::Thaw { unit } }
    };
    let past = if frozen { "frozen" } else { "thawed" };
    let code = super::operate::perform(session, units.iter().map(call).collect(), past, Waiting::default())?;
    if !frozen || code != 0 {
        return Ok(code);
    }
    let until = now() + PATIENCE;
    let mut client = Client::connect(&session.instance.socket())?;
    for unit in &units {
        // Who stopped it meanwhile has thawed it.
        while client.status(unit)?.is_ok_and(|status| !status.frozen && status.state == "active") {
            if now() > until {
                session.say(&format!("{}: not all of its processes stand still yet", harmless(unit)));
                return Ok(TIMED_OUT);
            }
            std::thread::sleep(PAUSE);
        }
    }
    Ok(0)
}

/// `reload-config`; 1 when a file is bad.
pub fn reload_config(session: &mut Session<'_>) -> Result<u8, Failure> {
    let answer = Client::connect(&session.instance.socket())?.call(&Call::ReloadConfig)?.map_err(Failure::from)?;
    let Answer::Changes(changes, unchanged) = answer else {
        return Err(Failure::new(1, "the supervisor answered another question"));
    };
    let mut code = 0;
    for change in changes {
        if change.change == "bad" {
            code = 1;
        }
        if session.json() {
            session.object(&change)?;
            continue;
        }
        let running = if change.running { "; it runs on as it was started" } else { "" };
        writeln!(session.out, "{}: {}{running}", harmless(&change.name), harmless(&change.change))?;
        if let Some(message) = change.message.filter(|_| change.change == "bad") {
            session.out.flush()?;
            let lines: Vec<String> = message.lines().map(harmless).collect();
            session.say(&lines.join("\n"));
        }
    }
    if session.json() {
        session.object(&json!({ "v": 1, "unchanged": unchanged }))?;
    } else if session.look.is_terminal() {
        writeln!(session.out, "{unchanged} unchanged")?;
    }
    Ok(code)
}

//! Commands that look: status, list, is-active, is-failed.

use super::args::{Format, Question};
use super::client::Client;
use super::operate::expand;
use super::render::{status_page, summary, timer_table, unit_table};
use super::terminal::harmless;
use super::words::{is_pattern, matches};
use super::{Failure, Session, logs};
use crate::control::{CallError, UnitStatus};
use serde_json::json;

/// Exit code of a unit that does not run (LSB).
const NOT_RUNNING: u8 = 3;
/// Exit code of a unit that does not exist (LSB).
const NO_SUCH_UNIT: u8 = 4;

/// `status`
pub fn status(session: &mut Session<'_>, words: &[String], lines: u32) -> Result<u8, Failure> {
    let mut client = Client::connect(&session.instance.socket())?;
    if words.is_empty() {
        return overview(session, &mut client);
    }
    let mut code = 0;
    for (index, name) in wanted(&mut client, words)?.iter().enumerate() {
        let unit = state(&mut client, name)?;
        code = code.max(exit_code(&unit));
        match session.format {
            Format::Json => session.object(&unit)?,
            Format::Name => writeln!(session.out, "{}", harmless(&unit.name))?,
            _ if unit.load_state == "not-found" => session.say(&format!("rsvc: no such unit: {}", harmless(name))),
            _ => {
                let log = logs::last_lines(&session.instance, &unit, lines);
                let look = super::Look {
                    width: session.look.width.filter(|_| session.format != Format::Wide),
                    ..session.look
                };
                let page = status_page(&unit, &log, session.now, look);
                let gap = if index == 0 { "" } else { "\n" };
                write!(session.out, "{gap}{page}")?;
            }
        }
    }
    Ok(code)
}

/// The names of the command line, patterns replaced; here a pattern without a match is as good as an unknown name.
fn wanted(client: &mut Client, words: &[String]) -> Result<Vec<String>, Failure> {
    let all: Vec<String> = if words.iter().any(|word| is_pattern(word)) {
        client.list()?.into_iter().map(|unit| unit.name).collect()
    } else {
        Vec::new()
    };
    expand(words, &all).map_err(|failure| Failure::new(NO_SUCH_UNIT, failure.to_string()))
}

/// The state of one unit; one that does not exist has a state, too.
fn state(client: &mut Client, name: &str) -> Result<UnitStatus, Failure> {
    match client.status(name)? {
        Ok(unit) => Ok(unit),
        Err(CallError::UnitNotFound { .. }) => Ok(UnitStatus {
            v: 1,
            name: name.to_owned(),
            load_state: "not-found".to_owned(),
            state: "inactive".to_owned(),
            substate: "dead".to_owned(),
            result: "success".to_owned(),
            ..UnitStatus::default()
        }),
        Err(error) => Err(Failure::from(error)),
    }
}

fn exit_code(unit: &UnitStatus) -> u8 {
    match (unit.state.as_str(), unit.load_state.as_str()) {
        ("active" | "reloading", _) => 0,
        (_, "not-found") => NO_SUCH_UNIT,
        _ => NOT_RUNNING,
    }
}

fn overview(session: &mut Session<'_>, client: &mut Client) -> Result<u8, Failure> {
    let daemon = client.describe()?;
    let units = client.list()?;
    match session.format {
        Format::Json => {
            session.object(&daemon)?;
            for unit in units.iter().filter(|unit| super::render::needs_attention(unit)) {
                session.object(unit)?;
            }
        }
        Format::Name => {
            for unit in units.iter().filter(|unit| super::render::needs_attention(unit)) {
                writeln!(session.out, "{}", harmless(&unit.name))?;
            }
        }
        _ => write!(session.out, "{}", summary(&daemon, &units, session.now, session.look))?,
    }
    Ok(0)
}

/// What `list` is to show.
pub struct Selection {
    /// Names or patterns; none means all.
    pub units: Vec<String>,
    /// Also what is neither active nor enabled.
    pub all: bool,
    /// Only what failed.
    pub failed: bool,
    /// Only what has timers, in the order in which they are due.
    pub timers: bool,
    /// Only these states or sub-states.
    pub states: Vec<String>,
}

impl Selection {
    /// Whoever names units or states wants to see them, even if nothing goes on there.
    fn takes(&self, unit: &UnitStatus) -> bool {
        let named = self.units.is_empty() || self.units.iter().any(|word| matches(word, &unit.name));
        let state = self.states.is_empty() || self.states.iter().any(|s| *s == unit.state || *s == unit.substate);
        let quiet = unit.state == "inactive" && !unit.enabled && unit.load_state == "loaded";
        let shown = self.timers || self.all || !self.units.is_empty() || !self.states.is_empty() || !quiet;
        named && state && shown && (!self.failed || unit.state == "failed") && (!self.timers || !unit.timers.is_empty())
    }
}

/// `list`
pub fn list(session: &mut Session<'_>, selection: &Selection) -> Result<u8, Failure> {
    let all = Client::connect(&session.instance.socket())?.list()?;
    let total = all.len();
    let outdated = all.iter().filter(|unit| unit.runs_on.as_ref().is_some_and(|runs_on| runs_on.outdated)).count();
    let units: Vec<UnitStatus> = all.into_iter().filter(|unit| selection.takes(unit)).collect();
    match session.format {
        Format::Json => units.iter().try_for_each(|unit| session.object(unit))?,
        Format::Name => {
            for unit in &units {
                writeln!(session.out, "{}", harmless(&unit.name))?;
            }
        }
        format => {
            let cut = format != Format::Wide;
            if selection.timers {
                let limit = session.look.width.filter(|_| cut);
                write!(session.out, "{}", timer_table(&units, session.now, session.look, limit))?;
                return Ok(0);
            }
            write!(session.out, "{}", unit_table(&units, session.now, session.look, cut))?;
            let hidden = total - units.len();
            if session.look.is_terminal() && hidden > 0 && !selection.all && selection.units.is_empty() {
                session.say(&format!("{hidden} more with --all"));
            }
            if session.look.is_terminal() && outdated > 0 {
                session.say(&format!("{outdated} on another rsvc than the daemon's: rsvc restart --outdated"));
            }
        }
    }
    Ok(0)
}

/// `is-active`: 0 when one of the units is active.
pub fn is_active(session: &mut Session<'_>, question: &Question) -> Result<u8, Failure> {
    let units = ask(session, question)?;
    Ok(units.iter().map(exit_code).min().unwrap_or(NO_SUCH_UNIT))
}

/// `is-failed`: 0 when one of the units has failed.
pub fn is_failed(session: &mut Session<'_>, question: &Question) -> Result<u8, Failure> {
    let units = ask(session, question)?;
    Ok(u8::from(!units.iter().any(|unit| unit.state == "failed")))
}

fn ask(session: &mut Session<'_>, question: &Question) -> Result<Vec<UnitStatus>, Failure> {
    let mut client = Client::connect(&session.instance.socket())?;
    let mut units = Vec::new();
    for name in wanted(&mut client, &question.units)? {
        let unit = state(&mut client, &name)?;
        if session.json() {
            session
                .object(&json!({ "v": 1, "name": unit.name, "state": unit.state, "load_state": unit.load_state }))?;
        } else if !question.quiet {
            writeln!(session.out, "{}", harmless(&unit.state))?;
        }
        units.push(unit);
    }
    Ok(units)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str, state: &str, enabled: bool) -> UnitStatus {
        UnitStatus {
            name: name.into(),
            state: state.into(),
            enabled,
            load_state: "loaded".into(),
            ..UnitStatus::default()
        }
    }

    fn selection(units: &[&str], all: bool, failed: bool, states: &[&str]) -> Selection {
        let strings = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
        Selection { units: strings(units), all, failed, timers: false, states: strings(states) }
    }

    #[test]
    fn a_list_shows_what_runs_or_is_enabled_or_was_asked_for() {
        let units = [
            unit("up", "active", false),
            unit("boot", "inactive", true),
            unit("idle", "inactive", false),
            unit("bad", "failed", false),
            UnitStatus { load_state: "bad-setting".into(), ..unit("typo", "inactive", false) },
        ];
        let names = |selection: Selection| -> Vec<&str> {
            units.iter().filter(|u| selection.takes(u)).map(|u| u.name.as_str()).collect()
        };
        assert_eq!(names(selection(&[], false, false, &[])), ["up", "boot", "bad", "typo"]);
        assert_eq!(names(selection(&[], true, false, &[])).len(), 5);
        assert_eq!(names(selection(&["i*"], false, false, &[])), ["idle"]);
        assert_eq!(names(selection(&[], false, true, &[])), ["bad"]);
        assert_eq!(names(selection(&[], false, false, &["inactive"])), ["boot", "idle", "typo"]);
    }

    #[test]
    fn exit_codes_are_lsbs() {
        for (state, load, code) in [
            ("active", "loaded", 0),
            ("reloading", "loaded", 0),
            ("activating", "loaded", 3),
            ("failed", "loaded", 3),
            ("inactive", "masked", 3),
            ("inactive", "not-found", 4),
            ("active", "not-found", 0),
        ] {
            let unit = UnitStatus { load_state: load.into(), ..unit("x", state, false) };
            assert_eq!(exit_code(&unit), code, "{state} {load}");
        }
    }
}

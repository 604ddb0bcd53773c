//! `rsvc events` and `rsvc wait`: both listen to what the daemon tells of its units.

use super::args::Goal;
use super::client::{Client, Received, TIMED_OUT, now};
use super::terminal::harmless;
use super::time::coarse;
use super::words::{is_pattern, matches, parse_signal};
use super::{Failure, Session};
use crate::control::{Answer, Call, CallOptions, LOST, PRESENT, UnitEvent, format_rfc3339};
use serde_json::json;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What came is no entry of a stream.
const ANOTHER_QUESTION: &str = "the supervisor answered another question";

/// `events`: shows what happens until it is ended.
pub fn events(session: &mut Session<'_>, words: &[String], present: bool) -> Result<u8, Failure> {
    let patterns = words.iter().any(|word| is_pattern(word));
    let named: Vec<String> = super::operate::expand(words, words)?;
    // A pattern may match units that come later: then everything is listened to, and sorted out here.
    let units = if patterns { Vec::new() } else { named.clone() };
    let call = Call::Events { units, present };
    let mut client = Client::connect(&session.instance.socket())?;
    client.send(&call, CallOptions { more: true, ..CallOptions::default() })?;
    loop {
        let event = match client.receive(None)? {
            Received::Answer(Answer::Event(event), _) => *event,
            Received::Answer(..) => return Err(Failure::new(1, ANOTHER_QUESTION)),
            Received::Refused(error) => return Err(Failure::from(error)),
            Received::Again => gap(),
        };
        let wanted = |unit: &String| named.iter().any(|word| word == unit || matches(word, unit));
        if patterns && event.unit.as_ref().is_some_and(|unit| !wanted(unit)) {
            continue;
        }
        if session.json() {
            session.object(&event)?;
        } else {
            writeln!(session.out, "{}", line(&event))?;
        }
        session.out.flush()?;
    }
}

/// What happened between two daemons nobody has told: an entry for that.
fn gap() -> UnitEvent {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = format_rfc3339(i64::try_from(since.as_micros()).unwrap_or_default());
    UnitEvent { v: 1, time, event: LOST.to_owned(), ..UnitEvent::default() }
}

/// `TIME UNIT EVENT (active/running): cause`; further lines of a cause are indented.
fn line(event: &UnitEvent) -> String {
    if let Some(lost) = event.lost {
        return format!("{} - {} ({lost} entries: this reader was too slow)", harmless(&event.time), event.event);
    }
    if event.event == LOST {
        return format!("{} - lost (the supervisor was away: entries may be missing)", harmless(&event.time));
    }
    let mut text = format!("{} {} {}", event.time, event.unit.as_deref().unwrap_or("-"), event.event);
    if let (Some(state), Some(substate)) = (&event.state, &event.substate) {
        text += &format!(" ({state}/{substate})");
    }
    if let (Some(next), "restart-scheduled") = (&event.next_restart_at, event.event.as_str()) {
        text += &format!(" at {next}");
    }
    let details = match (&event.cause, &event.status_text) {
        (Some(cause), _) => cause,
        (None, Some(status)) if event.event == "status" => status,
        _ => return harmless(&text),
    };
    let details: Vec<String> = details.lines().map(harmless).collect();
    format!("{}: {}", harmless(&text), details.join("\n    "))
}

/// Exit code for a unit that nobody asks for its health.
const NOTHING_TO_WAIT_FOR: u8 = 2;

/// `wait`: blocks until every unit has come where it is wanted. The exit code is that of the first that is not 0.
pub fn wait(session: &mut Session<'_>, words: &[String], goal: Goal, timeout: Option<Duration>) -> Result<u8, Failure> {
    let deadline = timeout.map(|timeout| now() + timeout);
    let mut streams = Vec::new();
    for unit in super::operate::names(session, words)? {
        // All listen from the beginning: what one does while another is waited for is not missed.
        let mut client = Client::connect_until(&session.instance.socket(), deadline)?;
        let call = Call::Events { units: vec![unit.clone()], present: true };
        client.send(&call, CallOptions { more: true, ..CallOptions::default() })?;
        streams.push((unit, client));
    }
    let mut code = 0;
    for (unit, mut client) in streams {
        let result = loop {
            let event = match client.receive(deadline) {
                Ok(Received::Answer(Answer::Event(event), _)) => event,
                Ok(Received::Answer(..)) => return Err(Failure::new(1, ANOTHER_QUESTION)),
                Ok(Received::Refused(error)) => {
                    session.say(&format!("rsvc: {}", harmless(&error.to_string())));
                    break error.exit_code();
                }
                // The next daemon says first how the unit stands.
                Ok(Received::Again) => continue,
                Err(failure) if failure.code() == TIMED_OUT => {
                    let span = coarse(timeout.unwrap_or_default());
                    session.say(&format!("{}: not {} after {span}", harmless(&unit), goal.word()));
                    break TIMED_OUT;
                }
                Err(failure) => return Err(failure),
            };
            if event.event == LOST {
                // Of what is missing the last may be what is waited for.
                client.ask_again();
            } else if let Some(code) = reached(goal, &event) {
                break tell(session, &unit, goal, &event, code)?;
            }
        };
        code = if code == 0 { result } else { code };
    }
    Ok(code)
}

/// The exit code, once the unit is where it is wanted, or can no longer get there by itself.
fn reached(goal: Goal, event: &UnitEvent) -> Option<u8> {
    let state = event.state.as_deref()?;
    match goal {
        Goal::Healthy => match (state, event.health.as_deref()) {
            (_, Some("healthy")) => Some(0),
            ("failed", _) => Some(1),
            ("active" | "reloading", None) => Some(NOTHING_TO_WAIT_FOR),
            _ => None,
        },
        Goal::Ready => match state {
            "active" | "reloading" => Some(0),
            "failed" => Some(1),
            // A oneshot is ready by having ended well, and is down again at once.
            _ if event.event == "started" => Some(0),
            _ => None,
        },
        Goal::Stopped => matches!(state, "inactive" | "failed").then(|| exit_status(event)),
    }
}

/// The main process's status as a shell has it: its own, or 128 and the signal.
fn exit_status(event: &UnitEvent) -> u8 {
    if let Some(code) = event.exit_code {
        return u8::try_from(code).unwrap_or(1);
    }
    if let Some(number) = event.exit_signal.as_ref().and_then(|name| parse_signal(name).ok()) {
        return 128u8.saturating_add(u8::try_from(number).unwrap_or(0));
    }
    u8::from(event.state.as_deref() == Some("failed"))
}

fn tell(session: &mut Session<'_>, unit: &str, goal: Goal, event: &UnitEvent, code: u8) -> Result<u8, Failure> {
    let state = event.state.as_deref().unwrap_or_default();
    if session.json() {
        session.object(&json!({
            "v": 1, "name": unit, "state": state, "result": event.result, "cause": event.cause,
            "exit_code": event.exit_code, "exit_signal": event.exit_signal,
        }))?;
    } else if session.look.is_terminal() && (goal == Goal::Stopped || code == 0) {
        writeln!(session.out, "{} {}: {state}", session.look.dot(state), harmless(unit))?;
    }
    if goal == Goal::Healthy && code == NOTHING_TO_WAIT_FOR {
        session.say(&format!("{}: has no [health] that could be waited for", harmless(unit)));
    } else if goal != Goal::Stopped && code != 0 && !session.json() {
        let cause = event.cause.as_deref().unwrap_or("it has failed");
        let cause: Vec<String> = cause.lines().map(harmless).collect();
        let when = if event.event == PRESENT { "has failed before" } else { "failed" };
        session.say(&format!("{} {}: {when}: {}", session.err_look.dot("failed"), harmless(unit), cause.join("\n")));
    }
    session.out.flush()?;
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(word: &str, state: &str) -> UnitEvent {
        UnitEvent {
            time: "2026-11-21T22:00:00.000000Z".into(),
            unit: Some("web".into()),
            event: word.into(),
            state: Some(state.into()),
            substate: Some("dead".into()),
            result: Some("success".into()),
            ..UnitEvent::default()
        }
    }

    #[test]
    fn a_line_carries_the_cause_and_nothing_that_a_terminal_obeys() {
        let failed = UnitEvent { cause: Some("exit 1\n  hint: \u{1b}[31mx".into()), ..event("failed", "failed") };
        assert_eq!(
            line(&failed),
            "2026-11-21T22:00:00.000000Z web failed (failed/dead): exit 1\n      hint: \u{fffd}[31mx"
        );
        let status = UnitEvent { status_text: Some("5 jobs".into()), ..event("status", "active") };
        assert_eq!(line(&status), "2026-11-21T22:00:00.000000Z web status (active/dead): 5 jobs");
        let lost = UnitEvent { lost: Some(7), unit: None, ..event(LOST, "") };
        assert_eq!(line(&lost), "2026-11-21T22:00:00.000000Z - lost (7 entries: this reader was too slow)");
        let gap = UnitEvent { time: lost.time.clone(), ..gap() };
        assert_eq!(line(&gap), "2026-11-21T22:00:00.000000Z - lost (the supervisor was away: entries may be missing)");
    }

    #[test]
    fn a_unit_is_ready_when_active_and_a_oneshot_when_it_ended_well() {
        let ready = |event: &UnitEvent| reached(Goal::Ready, event);
        assert_eq!(ready(&event(PRESENT, "active")), Some(0));
        assert_eq!(ready(&event(PRESENT, "inactive")), None, "somebody may start it");
        assert_eq!(ready(&event("starting", "activating")), None);
        assert_eq!(ready(&event("started", "deactivating")), Some(0));
        assert_eq!(ready(&event("failed", "failed")), Some(1));
        assert_eq!(ready(&event("stopped", "inactive")), None);
    }

    #[test]
    fn a_stopped_unit_passes_its_exit_status_on() {
        let stopped = |event: UnitEvent| reached(Goal::Stopped, &event);
        assert_eq!(stopped(UnitEvent { exit_code: Some(7), ..event("failed", "failed") }), Some(7));
        assert_eq!(stopped(UnitEvent { exit_signal: Some("SIGKILL".into()), ..event(PRESENT, "failed") }), Some(137));
        assert_eq!(stopped(event(PRESENT, "inactive")), Some(0));
        assert_eq!(stopped(event("failed", "failed")), Some(1), "it was never executed");
        assert_eq!(stopped(event("restart-scheduled", "activating")), None);
    }
}

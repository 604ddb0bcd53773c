//! What a stop waits for, told to people who wait with it: which step, which processes, how much time is left.

use super::client::{Answered, Client, TIMED_OUT, now};
use super::render::stop_words;
use super::terminal::harmless;
use super::{Failure, Session};
use crate::control::{Call, CallError, UnitStatus};
use std::time::{Duration, Instant};

/// How long a wait is silent, and how often there may be news afterwards.
const INTERVAL: Duration = Duration::from_secs(2);

/// Waits for the reply as [`Client::answer`] does. On a terminal a stop that takes its time says what holds it up,
/// whenever that changes.
///
/// # Errors
/// As [`Client::answer`].
pub(super) fn answer(
    session: &mut Session<'_>,
    client: &mut Client,
    call: &Call,
    deadline: Option<Instant>,
) -> Result<Answered, Failure> {
    if !session.err_look.is_terminal() || !stops(call) {
        return client.answer(deadline);
    }
    let mut told = Vec::new();
    loop {
        let pause = now() + INTERVAL;
        match client.answer(Some(deadline.map_or(pause, |deadline| deadline.min(pause)))) {
            Err(failure) if failure.code() == TIMED_OUT && deadline.is_none_or(|deadline| now() < deadline) => {
                let statuses = stopping(session, call);
                let news: Vec<_> = statuses.iter().map(what_is_new).collect();
                if news != told {
                    statuses.iter().filter_map(words).for_each(|line| session.say(&line));
                    told = news;
                }
            }
            other => return other,
        }
    }
}

/// One line for each unit of the call that is stopping.
pub(super) fn what_holds_up(session: &Session<'_>, call: &Call) -> Vec<String> {
    if stops(call) { stopping(session, call).iter().filter_map(words).collect() } else { Vec::new() }
}

fn stops(call: &Call) -> bool {
    matches!(
        call,
        Call::Stop { .. } | Call::Scale { .. } | Call::Restart { .. } | Call::TryRestart { .. } | Call::StopAll
    )
}

/// The units that are on their way down. Not being able to ask costs the news, not the wait.
fn stopping(session: &Session<'_>, call: &Call) -> Vec<UnitStatus> {
    let Ok(mut client) = Client::connect_now(&session.instance.socket()) else { return Vec::new() };
    let answer: Result<Vec<Result<UnitStatus, CallError>>, Failure> = match call.unit() {
        Some(unit) => client.status(unit).map(|status| vec![status]),
        None => client.list().map(|units| units.into_iter().map(Ok).collect()),
    };
    answer.unwrap_or_default().into_iter().flatten().filter(|unit| unit.stop.is_some()).collect()
}

/// What makes a second line worth its place: another step, or other processes; not that time passes.
fn what_is_new(unit: &UnitStatus) -> (String, String, Vec<i32>) {
    let step = unit.stop.as_ref().map_or_else(String::new, |stop| stop.step.clone());
    (unit.name.clone(), step, unit.processes.iter().map(|process| process.pid).collect())
}

fn words(unit: &UnitStatus) -> Option<String> {
    let stop = unit.stop.as_ref()?;
    Some(format!("{}: stopping: {}", harmless(&unit.name), stop_words(stop, &unit.processes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{ProcessLine, StopProgress};

    #[test]
    fn the_line_names_step_time_and_processes() {
        let process = |pid, command: &str| ProcessLine { pid, parent: 1, command: command.into() };
        let stop = StopProgress { step: "SIGTERM was sent".into(), ends_at: None, remaining_usec: Some(65_000_000) };
        let unit = UnitStatus {
            name: "web".into(),
            stop: Some(stop.clone()),
            processes: vec![process(8, "[rsvc-init]"), process(9, "/usr/bin/web --serve"), process(12, "sh -c x")],
            ..UnitStatus::default()
        };
        let line = "web: stopping: SIGTERM was sent, killed in 1 min; still there: 9 web, 12 sh";
        assert_eq!(words(&unit).as_deref(), Some(line));
        let later = UnitStatus { stop: Some(StopProgress { remaining_usec: Some(1), ..stop }), ..unit.clone() };
        assert_eq!(what_is_new(&unit), what_is_new(&later), "time alone is no news");
        assert_eq!(words(&UnitStatus::default()), None);
    }
}

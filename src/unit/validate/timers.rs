//! `[[timers]]`: what each of them counts.

use super::super::decode::{Entry, MountEntry, Sink, Source, Value, Values};
use super::super::layer;
use super::super::problem::Code;
use super::super::{Activation, Elapse, TimerSettings};
use super::Checked;
use std::ops::Range;
use std::time::Duration;

/// What says when.
const WHENS: [&str; 3] = ["on_calendar", "every", "on_boot"];
/// Shortest period.
const SHORTEST: Duration = Duration::from_secs(1);

/// A unit with timers is started on demand, unless it says something else (which `all` refuses).
pub(super) fn imply_on_demand(values: &mut Values) {
    let attempted = values.attempted.contains(&("service", "activation"));
    if !values.timers.is_empty() && !attempted {
        let entry = Entry { value: Value::Word("on-demand"), source: Source::Default };
        values.insert("service", "activation", entry);
    }
}

/// Builds all timers, in order. Broken ones are left out; their problems are reported.
pub(super) fn assemble(sink: &mut Sink<'_>, values: &mut Values) -> Vec<TimerSettings> {
    let mut entries = std::mem::take(&mut values.timers);
    let mut timers = Vec::new();
    for entry in &mut entries {
        no_effects(sink, entry);
        layer::entry_defaults(&mut entry.values);
        timers.extend(one(sink, entry));
    }
    values.timers = entries;
    timers
}

fn key(entry: &MountEntry, name: &str) -> String {
    format!("timers[{}].{name}", entry.index)
}

/// The value's place, or the header's.
fn place(entry: &MountEntry, name: &'static str) -> Range<usize> {
    entry.values.place("timers", name).map_or(entry.span.clone(), |p| p.value.clone())
}

fn one(sink: &mut Sink<'_>, entry: &MountEntry) -> Option<TimerSettings> {
    let attempted: Vec<&'static str> =
        WHENS.into_iter().filter(|name| entry.values.attempted.contains(&("timers", *name))).collect();
    match attempted.as_slice() {
        [] => {
            let message = "the timer says nothing about when";
            let help = Some("give one of on_calendar, every, on_boot".to_owned());
            sink.add(Code::Missing, entry.span.clone(), &key(entry, "on_calendar"), message, help);
            return None;
        }
        [_] => {}
        [_, second, ..] => {
            let message = format!("`{second}` is another timer");
            let help = Some("write one [[timers]] for each: they add up".to_owned());
            sink.add(Code::Conflict, place(entry, second), &key(entry, second), message, help);
            return None;
        }
    }
    let get = |name| entry.values.get("timers", name).map(|e| &e.value);
    let elapse = match (get("on_calendar"), get("every"), get("on_boot")) {
        (Some(Value::Calendar(calendar)), _, _) => Elapse::Calendar(calendar.clone()),
        (_, Some(Value::Time(Some(span))), _) => {
            if *span < SHORTEST {
                let message = "`every` is at least 1s: what is to run more often should not end";
                sink.add(Code::OutOfRange, place(entry, "every"), &key(entry, "every"), message, None);
            }
            Elapse::Every(*span)
        }
        (_, _, Some(Value::Time(Some(span)))) => Elapse::OnBoot(*span),
        _ => return None,
    };
    let (Some(Value::Time(Some(jitter))), Some(Value::Bool(persistent)), Some(Value::Bool(skip))) =
        (get("jitter"), get("persistent"), get("skip_if_running"))
    else {
        return None;
    };
    Some(TimerSettings { elapse, jitter: *jitter, persistent: *persistent, skip_if_running: *skip, index: entry.index })
}

fn no_effects(sink: &mut Sink<'_>, entry: &MountEntry) {
    if entry.values.attempted.contains(&("timers", "on_calendar")) {
        return;
    }
    if let Some(place) = entry.values.place("timers", "persistent") {
        let message = "`persistent` has no effect: only times of the calendar can be missed";
        sink.add(Code::NoEffect, place.key.clone(), &key(entry, "persistent"), message, None);
    }
}

/// What other tables say about timers.
pub(super) fn all(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let service = &c.settings.service;
    if !c.values.timers.is_empty() && service.activation == Activation::Start && c.is_written("service", "activation") {
        let message = "a unit with [[timers]] is started by them";
        let help = Some("remove `activation`, or the timers".to_owned());
        sink.add(Code::Conflict, c.value_place("service", "activation"), "service.activation", message, help);
    }
}

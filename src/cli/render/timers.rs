//! `rsvc list --timers`: what the clock will start, the next first.

use super::state_words;
use crate::cli::terminal::{Look, harmless};
use crate::cli::time;
use crate::control::UnitStatus;
use std::time::SystemTime;

const HEADINGS: [&str; 5] = ["NEXT", "LAST", "UNIT", "STATE", "TIMER"];

/// The table with its headings; lines are cut to `limit` columns.
pub fn timer_table(units: &[UnitStatus], now: SystemTime, look: Look, limit: Option<usize>) -> String {
    let timers = units.iter().flat_map(|unit| unit.timers.iter().map(move |timer| (unit, timer)));
    let mut rows: Vec<(Option<SystemTime>, [String; 5])> = timers
        .map(|(unit, timer)| {
            let next = timer.next.as_deref().and_then(time::parse);
            let cells = [
                next.map_or("-".to_owned(), |at| time::relative(at, now)),
                timer.last.as_deref().and_then(time::parse).map_or("-".to_owned(), |at| time::relative(at, now)),
                harmless(&unit.name),
                state_words(unit),
                harmless(&timer.timer),
            ];
            (next, cells)
        })
        .collect();
    // What is never due comes last.
    rows.sort_by_key(|(next, _)| (next.is_none(), *next));
    let mut widths = HEADINGS.map(str::len);
    for (_, cells) in &rows {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for cells in std::iter::once(HEADINGS.map(str::to_owned)).chain(rows.into_iter().map(|(_, cells)| cells)) {
        let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let line = padded.join("  ");
        let line = line.trim_end();
        text += &limit.map_or_else(|| line.to_owned(), |limit| look.cut(line, limit));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::TimerStatus;

    #[test]
    fn the_next_comes_first_and_the_stopped_last() {
        let unit = |name: &str, next: Option<&str>| UnitStatus {
            name: name.into(),
            state: "active".into(),
            substate: "waiting".into(),
            timers: vec![TimerStatus {
                timer: "daily".into(),
                next: next.map(str::to_owned),
                last: Some("2026-11-21T22:00:00Z".into()),
            }],
            ..UnitStatus::default()
        };
        let units = [
            unit("stopped", None),
            unit("late", Some("2026-11-23T00:00:00Z")),
            unit("soon", Some("2026-11-21T23:10:00Z")),
        ];
        let now = time::parse("2026-11-21T22:10:00Z").expect("a time");
        let table = timer_table(&units, now, Look::PLAIN, None);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].starts_with("NEXT") && lines[0].ends_with("TIMER"), "{table}");
        let order: Vec<bool> =
            ["soon", "late", "stopped"].iter().zip(&lines[1..]).map(|(name, line)| line.contains(name)).collect();
        assert_eq!(order, [true; 3], "{table}");
        assert!(lines[3].starts_with("- "), "{table}");
    }
}

//! The table of units: columns as wide as their content, numbers on the right, cut to the screen only on a terminal.

use super::state_words;
use crate::cli::terminal::{Look, harmless};
use crate::cli::time;
use crate::cli::words::{cpu_time, size};
use crate::control::UnitStatus;
use std::time::SystemTime;

const HEADINGS: [&str; 9] = ["UNIT", "STATE", "SINCE", "PID", "CPU", "MEM", "TASKS", "RESTARTS", "DESCRIPTION"];

/// Columns aligned on the right.
const RIGHT: [bool; 9] = [false, false, true, true, true, true, true, true, false];

/// The table with its headings; `cut` shortens lines to the terminal, if there is one.
pub fn unit_table(units: &[UnitStatus], now: SystemTime, look: Look, cut: bool) -> String {
    let rows: Vec<[String; 9]> = units.iter().map(|unit| row(unit, now)).collect();
    let mut widths = HEADINGS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let limit = look.width.filter(|_| cut);
    let mut text = line("  ", &HEADINGS.map(str::to_owned), &widths, look, limit);
    for (unit, row) in units.iter().zip(&rows) {
        text += &line(&format!("{} ", look.dot(&unit.state)), row, &widths, look, limit);
    }
    text
}

fn row(unit: &UnitStatus, now: SystemTime) -> [String; 9] {
    let c = &unit.counters;
    let number = |n: Option<String>| n.unwrap_or_default();
    [
        harmless(&unit.name),
        harmless(&if unit.load_state == "loaded" || unit.state != "inactive" {
            state_words(unit)
        } else {
            unit.load_state.clone()
        }),
        unit.since.as_deref().map(|since| time::age(since, now)).unwrap_or_default(),
        number(unit.main_pid.map(|pid| pid.to_string())),
        number(c.cpu_usage_usec.map(cpu_time)),
        number(c.memory_current.map(size)),
        number(c.tasks_current.map(|n| n.to_string())),
        unit.restarts.to_string(),
        description(unit),
    ]
}

/// Of a set how many of its replicas are ready comes first.
fn description(unit: &UnitStatus) -> String {
    let description = harmless(unit.description.as_deref().unwrap_or_default());
    match &unit.replicas {
        Some(set) if description.is_empty() => crate::cli::scale::words(set),
        Some(set) => format!("{}: {description}", crate::cli::scale::words(set)),
        None => description,
    }
}

/// One line; `mark` takes two columns whatever its bytes are.
fn line(mark: &str, cells: &[String; 9], widths: &[usize; 9], look: Look, limit: Option<usize>) -> String {
    let mut text = String::new();
    for (index, cell) in cells.iter().enumerate() {
        if index > 0 {
            text.push_str("  ");
        }
        let padding = " ".repeat(widths[index] - cell.chars().count());
        let (before, after) = if RIGHT[index] { (padding.as_str(), "") } else { ("", padding.as_str()) };
        text += &format!("{before}{cell}{after}");
    }
    let text = text.trim_end();
    let text = limit.map_or_else(|| text.to_owned(), |limit| look.cut(text, limit.saturating_sub(2)));
    format!("{mark}{text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::GroupCounters;

    fn units() -> Vec<UnitStatus> {
        vec![
            UnitStatus {
                name: "web".into(),
                state: "active".into(),
                substate: "running".into(),
                load_state: "loaded".into(),
                since: Some("2026-11-21T22:00:00Z".into()),
                main_pid: Some(77),
                description: Some("größte Seite".into()),
                counters: GroupCounters {
                    memory_current: Some(1 << 20),
                    cpu_usage_usec: Some(40_000),
                    tasks_current: Some(12),
                    ..GroupCounters::default()
                },
                ..UnitStatus::default()
            },
            UnitStatus {
                name: "database".into(),
                state: "failed".into(),
                result: "oom-kill".into(),
                load_state: "loaded".into(),
                restarts: 5,
                ..UnitStatus::default()
            },
            UnitStatus {
                name: "bad".into(),
                state: "inactive".into(),
                substate: "dead".into(),
                load_state: "bad-setting".into(),
                ..UnitStatus::default()
            },
        ]
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_blanks_at_their_end() {
        let now = time::parse("2026-11-21T22:03:00Z").unwrap();
        let expected = "  \
  UNIT      STATE              SINCE  PID   CPU   MEM  TASKS  RESTARTS  DESCRIPTION
● web       active (running)    3min   77  40ms  1.0M     12         0  größte Seite
× database  failed (oom-kill)                                        5
○ bad       bad-setting                                              0
";
        assert_eq!(
            unit_table(&units(), now, Look::PLAIN, true),
            expected.trim_start_matches(' ').replacen("UNIT", "  UNIT", 1)
        );
    }

    #[test]
    fn only_a_terminal_cuts_and_wide_does_not() {
        let now = time::parse("2026-11-21T22:03:00Z").unwrap();
        let narrow = Look { width: Some(30), ..Look::PLAIN };
        let cut = unit_table(&units(), now, narrow, true);
        assert!(cut.lines().all(|line| line.chars().count() <= 30), "{cut}");
        assert!(cut.contains('…'));
        assert_eq!(unit_table(&units(), now, narrow, false), unit_table(&units(), now, Look::PLAIN, true));
    }
}

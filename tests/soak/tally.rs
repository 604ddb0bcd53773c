//! Everything that is counted, and the report.

use super::instance::Instance;
use super::instance::journald::Journald;
use super::ledger::Ledger;
use super::storm::Damage;
use super::units::{Lines, Service};
use super::worker::{self, Printed};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

/// What must not be, in the order of the report.
const FAULTS: [&str; 12] = [
    "lines lost",
    "lines doubled",
    "lines out of order",
    "lines nobody wrote",
    "wrong statuses",
    "statuses told in two ways",
    "statuses missed",
    "second live copies",
    "runs ended by nobody's order",
    "launches without a run",
    "wrong restart counters",
    "workers that could not work",
];

/// Examples of each fault that are kept, and those that are printed.
const KEPT: usize = 10_000;
/// See [`KEPT`].
pub const EXAMPLES: usize = 5;

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Tally {
    faults: BTreeMap<&'static str, (u64, Vec<String>)>,
    /// Runs of all services.
    pub runs: u64,
    /// Lines that were printed.
    pub lines: u64,
    /// Runs whose end was told more than once, each time more.
    pub told_again: u64,
    /// Runs that were killed just when they ended by themselves: either status is right.
    pub ambiguous: u64,
    /// Runs that were stopped before their program was executed: that they have no status is right.
    pub cut_off: u64,
    /// Runs that ended with a core.
    pub dumped: u64,
    /// Lines that were being written when the worker was killed: right with and without them.
    pub doubts: u64,
}

impl Tally {
    /// One more fault.
    pub fn count(&mut self, fault: &'static str, about: impl FnOnce() -> String) {
        let (count, examples) = self.faults.entry(fault).or_default();
        *count += 1;
        if examples.len() < KEPT {
            examples.push(about());
        }
    }

    /// Is there any?
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// All of a service: its ledger and its lines.
    pub fn take(&mut self, instance: &Instance, journald: Option<&Journald>, service: &Service, damage: &Damage) {
        let directory = service.directory(instance);
        let text = fs::read_to_string(directory.join("ledger")).unwrap_or_default();
        let mut ledger = Ledger::read(service, &text, self);
        ledger.judge(service, &damage.struck, self);
        let (begun, done) = Printed::open(&directory).and_then(|printed| printed.numbers()).unwrap_or_default();
        if begun != done {
            ledger.doubts.insert(begun);
        }
        self.lines += begun;
        self.doubts += ledger.doubts.len() as u64;
        let found = match service.lines {
            Lines::File => file_lines(instance, &service.name),
            Lines::Journal => journald.map(|journald| journal_lines(journald, &service.name)).unwrap_or_default(),
        };
        self.compare(service, &found, begun, &ledger);
    }

    fn compare(&mut self, service: &Service, found: &[String], begun: u64, ledger: &Ledger) {
        let mut seen = vec![false; usize::try_from(begun).expect("a count") + 1];
        let mut before = 0;
        for line in found {
            let number = line.split(' ').nth(1).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
            if number == 0 || number > begun || *line != worker::line(&service.name, number) {
                self.count("lines nobody wrote", || format!("{}: {line:?}", service.name));
            } else if std::mem::replace(&mut seen[number as usize], true) {
                self.count("lines doubled", || format!("{}: {number}", service.name));
            } else {
                if number < before {
                    self.count("lines out of order", || format!("{}: {number} after {before}", service.name));
                }
                before = number;
            }
        }
        for number in (1..=begun).filter(|number| !seen[*number as usize] && !ledger.doubts.contains(number)) {
            self.count("lines lost", || format!("{}: {number} of {begun}", service.name));
        }
    }

    /// For people, with at most so many examples of each fault.
    pub fn report(&self, damage: &Damage, most: usize) -> String {
        let mut text = String::new();
        let Damage { crashes, early, pauses, struck } = damage;
        let Tally { runs, lines, told_again, ambiguous, cut_off, dumped, doubts, .. } = self;
        let _ = writeln!(text, "  {crashes:>9} times the daemon was killed, {early} of them before it answered");
        let _ = writeln!(text, "  {pauses:>9} times there was none for up to 3 s");
        let _ = writeln!(text, "  {:>9} processes of services were killed from outside", struck.len());
        let _ = writeln!(text, "  {runs:>9} runs, {dumped} of them ended with a core");
        let _ = writeln!(text, "  {told_again:>9} ends were told again to a second command");
        let _ = writeln!(text, "  {ambiguous:>9} runs were killed while they ended: two statuses are right");
        let _ = writeln!(text, "  {cut_off:>9} were stopped before their program was executed: none is right");
        let _ = writeln!(text, "  {lines:>9} lines, {doubts} of them in doubt: their writer was killed while it wrote");
        for fault in FAULTS {
            let (count, examples) = self.faults.get(fault).cloned().unwrap_or_default();
            let _ = writeln!(text, "  {count:>9} {fault}");
            for example in examples.iter().take(most) {
                let _ = writeln!(text, "              {example}");
            }
        }
        text
    }
}

/// Without their times, from the oldest file to the newest.
fn file_lines(instance: &Instance, name: &str) -> Vec<String> {
    let directory = instance.file("state/log");
    let prefix = format!("{name}.log");
    let mut files: Vec<(u32, String)> = fs::read_dir(&directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let rest = name.strip_prefix(&prefix)?;
            let number = if rest.is_empty() { 0 } else { rest.strip_prefix('.')?.parse().ok()? };
            Some((number, name))
        })
        .collect();
    files.sort();
    let mut lines = Vec::new();
    for (_, name) in files.into_iter().rev() {
        let text = fs::read(directory.join(name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        lines.extend(text.lines().map(|line| line.split_once(' ').map_or("", |(_, line)| line).to_owned()));
    }
    lines
}

fn journal_lines(journald: &Journald, name: &str) -> Vec<String> {
    let entries = journald.entries(&[&format!("SYSLOG_IDENTIFIER={name}")]);
    entries.iter().map(|entry| entry["MESSAGE"].as_str().unwrap_or_default().to_owned()).collect()
}

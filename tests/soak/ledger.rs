//! What a service's ledger tells of its runs, and whether the daemon's word agrees.
//!
//! The worker says how a run is going to end in the last line before it ends so; the daemon's word is what the command
//! after the end was told in EXIT_CODE and EXIT_STATUS, with the same invocation id. That command runs at least once for
//! each run that was launched, also when the daemon dies in between (then perhaps twice), so a run without it is a status
//! missed, and two different ones are a status wrong.

use super::tally::Tally;
use super::units::Service;
use std::collections::{BTreeMap, BTreeSet};

/// A word of the daemon's.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    restarts: Option<usize>,
    core: bool,
    end: String,
}

#[derive(Clone, Debug, Default)]
struct Run {
    id: String,
    /// The worker began.
    began: bool,
    /// How it said that it would end: `exited 7`, `killed TERM`, `cored SEGV`.
    ends: Option<String>,
    told: Vec<Told>,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Ledger {
    runs: Vec<Run>,
    /// Lines of which nobody knows whether they were written before the worker was killed.
    pub doubts: BTreeSet<u64>,
}

impl Ledger {
    /// Reads what the worker of `service` wrote.
    pub fn read(service: &Service, text: &str, tally: &mut Tally) -> Ledger {
        let mut ledger = Ledger::default();
        let mut place = BTreeMap::new();
        for line in text.lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let (id, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            if word == "doubt" {
                ledger.doubts.extend(id.parse::<u64>());
                continue;
            }
            let at = *place.entry(id.to_owned()).or_insert(ledger.runs.len());
            if at == ledger.runs.len() {
                ledger.runs.push(Run { id: id.to_owned(), ..Run::default() });
            }
            let run = &mut ledger.runs[at];
            match word {
                "run" => run.began = true,
                "ends" => run.ends = Some(rest.to_owned()),
                "told" => run.told.extend(told(rest)),
                "double" => tally.count("second live copies", || format!("{}: run {id}", service.name)),
                _ => tally.count("workers that could not work", || format!("{}: {line}", service.name)),
            }
        }
        ledger
    }

    /// Compares each run's end with what was told of it.
    pub fn judge(&self, service: &Service, struck: &BTreeSet<String>, tally: &mut Tally) {
        for (index, run) in self.runs.iter().enumerate() {
            let about = || format!("{}: run {} of {}: {run:?}", service.name, index + 1, self.runs.len());
            let is_last = index + 1 == self.runs.len();
            let stopped = is_last.then_some(service.stopped_by);
            let killed = struck.contains(&run.id);
            tally.runs += 1;
            tally.told_again += run.told.len().saturating_sub(1) as u64;
            tally.ambiguous += u64::from(run.ends.is_some() && killed);
            tally.cut_off += u64::from(run.told.iter().any(|told| is_cut_off(run, told, stopped)));
            if !run.began && !killed && !is_last {
                tally.count("launches without a run", about);
            } else if run.began && run.ends.is_none() && !killed && !is_last {
                tally.count("runs ended by nobody's order", about);
            }
            if run.told.is_empty() {
                tally.count("statuses missed", about);
            }
            if !run.told.iter().all(|told| may_be(run, told, killed, stopped)) {
                tally.count("wrong statuses", about);
            } else if run.told.windows(2).any(|pair| pair[0].end != pair[1].end) {
                tally.count("statuses told in two ways", about);
            }
            if run.told.iter().filter_map(|told| told.restarts).any(|restarts| restarts != index) {
                tally.count("wrong restart counters", about);
            }
            tally.dumped += u64::from(run.told.iter().any(|told| told.end.starts_with("dumped")));
        }
    }
}

fn told(rest: &str) -> Option<Told> {
    let mut words = rest.splitn(3, ' ');
    let restarts = words.next()?.parse().ok();
    Some(Told { restarts, core: words.next()? == "core", end: words.next()?.trim_end().to_owned() })
}

/// Is this how the run ended? More than one answer is right only where it was killed from outside or stopped just when
/// it ended by itself.
fn may_be(run: &Run, told: &Told, killed: bool, stopped: Option<&str>) -> bool {
    let own = run.ends.as_ref().map(|ends| match ends.strip_prefix("cored ") {
        // The core is there or not: that is the kernel's word.
        Some(signal) if told.core => format!("dumped {signal}"),
        Some(signal) => format!("killed {signal}"),
        None => ends.clone(),
    });
    own.as_ref() == Some(&told.end)
        || (killed && told.end == "killed KILL")
        // A service that is just being started is killed by a stop.
        || stopped.is_some_and(|signal| told.end == format!("killed {signal}") || told.end == "killed KILL")
        || is_cut_off(run, told, stopped)
}

/// A stop came before the program was executed: there is no main process of whose end anything could be told.
fn is_cut_off(run: &Run, told: &Told, stopped: Option<&str>) -> bool {
    !run.began && stopped.is_some() && told.end == "unknown"
}

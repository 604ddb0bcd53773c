//! What was found against what the unit promises.

use super::{Attempt, Found, Probe};
use crate::score::Posture;
use crate::unit::Unit;
use std::collections::{BTreeMap, BTreeSet};

/// What is known outside of the container.
pub struct Side<'u> {
    /// The unit that runs.
    pub unit: &'u Unit,
    /// The same, as scores see it.
    pub posture: Posture<'u>,
    /// Keys that this host could not apply.
    pub degraded: BTreeSet<String>,
    /// Namespaces of the host by kind, and `tmp` for its /tmp, as [`Found::Value`] has them.
    pub host: BTreeMap<String, String>,
}

/// What follows for one door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Refused, or nothing is there.
    Closed,
    /// It leads somewhere.
    Open,
    /// It could not be tried.
    Skipped,
}

impl Verdict {
    /// For people and programs.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Closed => "closed",
            Verdict::Open => "open",
            Verdict::Skipped => "skipped",
        }
    }
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// [`Probe::id`]
    pub id: &'static str,
    /// [`Probe::about`]
    pub about: &'static str,
    /// Keys by which this unit promises that it is closed, without those that are degraded.
    pub keys: Vec<&'static str>,
    /// Keys that would promise it but are degraded on this host.
    pub degraded: Vec<&'static str>,
    /// Is it closed?
    pub verdict: Verdict,
    /// What was found.
    pub found: Found,
}

impl Finding {
    /// Open although promised to be closed?
    pub fn is_broken(&self) -> bool {
        self.verdict == Verdict::Open && !self.keys.is_empty()
    }
}

/// Judges what was found of one door; `None`: the probe said nothing of it.
pub fn judge(probe: &'static Probe, found: Option<Found>, side: &Side<'_>) -> Finding {
    let found = found.unwrap_or_else(|| Found::Skipped("the probe did not come to it".to_owned()));
    let mut names: Vec<&'static str> =
        probe.keys.iter().filter(|key| key.holds(&side.posture)).map(|key| key.name()).collect();
    names.dedup();
    let is_degraded = |name: &&&str| side.degraded.contains(**name);
    let degraded = names.iter().filter(is_degraded).copied().collect();
    let keys = names.iter().filter(|name| !is_degraded(name)).copied().collect();
    let verdict = verdict(probe, &found, side);
    Finding { id: probe.id, about: probe.about, keys, degraded, verdict, found }
}

/// Refusals, whoever refuses.
const REFUSED: [i32; 5] = [libc::EPERM, libc::EACCES, libc::ENOSYS, libc::EROFS, libc::EAFNOSUPPORT];

fn verdict(probe: &Probe, found: &Found, side: &Side<'_>) -> Verdict {
    let closes = |errno: i32| match &probe.attempt {
        Attempt::Call(_, _, more) => more.contains(&errno),
        // The look-up ended before there was anything.
        _ => [libc::ENOENT, libc::ENOTDIR, libc::ENXIO, libc::ENODEV, libc::ELOOP].contains(&errno),
    };
    let syscalls = &side.unit.syscalls;
    match found {
        Found::Skipped(_) => Verdict::Skipped,
        Found::Nothing(_) => Verdict::Closed,
        Found::Done(_) => Verdict::Open,
        Found::Failed(errno) if REFUSED.contains(errno) || closes(*errno) => Verdict::Closed,
        // What the unit's filter answers instead.
        Found::Failed(errno) if [syscalls.errno, syscalls.unknown_errno].contains(errno) => Verdict::Closed,
        Found::Failed(_) => Verdict::Open,
        Found::Killed(libc::SIGALRM) => Verdict::Skipped,
        Found::Killed(_) => Verdict::Closed,
        Found::Value(value) => match &probe.attempt {
            Attempt::Compare(_, open) if open(value, side) => Verdict::Open,
            _ => Verdict::Closed,
        },
    }
}

//! Who listens to `Events`, and how much of it may wait for whom.
//!
//! A subscriber is a connection with a call that is never answered to its end. What it does not read waits in its
//! connection up to [`WAITING`] bytes; from then on entries are counted instead of kept, and one entry `lost` with
//! their number follows as soon as it has read what waits. So a reader that is stuck costs a bounded amount of memory
//! and no time, and one that comes back knows that it has to ask how things stand.

use super::engine::Engine;
use super::listener::{ConnectionId, Listener};
use super::snapshot::cause_words;
use crate::control::{Answer, CallError, LOST, PRESENT, UnitEvent, UnitStatus};
use crate::supervise::{Note, ServiceId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

/// Bytes that may wait for one subscriber beside what the kernel's socket holds: about 150 entries.
const WAITING: usize = 64 * 1024;

/// One that listens.
#[derive(Debug)]
struct Subscriber {
    /// Names; none means all units.
    units: BTreeSet<String>,
    /// `false`: the next entry answers the call.
    more: bool,
    /// Entries that were not kept for it.
    lost: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Subscribers(BTreeMap<ConnectionId, Subscriber>);

impl Subscribers {
    /// Nobody listens: no entry needs to be made.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A new one. `present`, how its units stand, comes first.
    pub fn add(
        &mut self,
        listener: &mut Listener,
        connection: ConnectionId,
        units: BTreeSet<String>,
        present: Vec<UnitEvent>,
        more: bool,
    ) {
        listener.begin_stream(connection);
        let mut present = present.into_iter().map(|event| Answer::Event(Box::new(event)));
        if !more && let Some(answer) = present.next() {
            return listener.reply(connection, &Ok(answer));
        }
        for answer in present {
            listener.reply_part(connection, &answer);
        }
        self.0.insert(connection, Subscriber { units, more, lost: 0 });
    }

    /// It went away.
    pub fn remove(&mut self, connection: ConnectionId) {
        self.0.remove(&connection);
    }

    /// Hands an entry to everybody whom it concerns.
    pub fn publish(&mut self, listener: &mut Listener, event: &UnitEvent) {
        let mut answered = Vec::new();
        let answer = Answer::Event(Box::new(event.clone()));
        for (connection, subscriber) in &mut self.0 {
            let concerned =
                subscriber.units.is_empty() || event.unit.as_ref().is_some_and(|unit| subscriber.units.contains(unit));
            if !concerned {
                continue;
            }
            if !subscriber.more {
                listener.reply(*connection, &Ok(answer.clone()));
                answered.push(*connection);
            } else if subscriber.lost > 0 || listener.waiting(*connection) >= WAITING {
                subscriber.lost += 1;
            } else {
                listener.reply_part(*connection, &answer);
            }
        }
        for connection in answered {
            self.0.remove(&connection);
        }
    }

    /// It has read everything that waited: now it is told what it missed.
    pub fn drained(&mut self, listener: &mut Listener, connection: ConnectionId) {
        let Some(subscriber) = self.0.get_mut(&connection).filter(|subscriber| subscriber.lost > 0) else { return };
        let lost = std::mem::take(&mut subscriber.lost);
        let event = UnitEvent { v: 1, time: now(), event: LOST.to_owned(), lost: Some(lost), ..UnitEvent::default() };
        listener.reply_part(connection, &Answer::Event(Box::new(event)));
    }
}

fn now() -> String {
    super::timestamp::text(SystemTime::now())
}

/// The entry's word for what happened.
fn word(note: &Note) -> &'static str {
    match note {
        Note::Starting { .. } => "starting",
        Note::Started => "started",
        Note::Listening => "listening",
        Note::Triggered => "triggered",
        Note::Stopping => "stopping",
        Note::Stopped => "stopped",
        Note::Skipped(_) => "skipped",
        Note::Ended(_) => "ended",
        Note::RestartScheduled { .. } => "restart-scheduled",
        Note::Failed(_) => "failed",
        Note::Reloading => "reloading",
        Note::Reloaded(None) => "reloaded",
        Note::Reloaded(Some(_)) => "reload-failed",
        Note::Killing => "killing",
        Note::StatusText => "status",
        Note::Healthy => "healthy",
        Note::Unhealthy(_) => "unhealthy",
        Note::HookFailed(_) => "hook-failed",
        Note::Adopted => "adopted",
        Note::Scaled { .. } => "scaled",
        Note::Replicas { .. } => "replicas",
        Note::Incomplete(_) => "incomplete",
        Note::Rolling { .. } => "rolling",
        Note::Rolled(None) => "rolled",
        Note::Rolled(Some(_)) => "roll-failed",
    }
}

/// An entry from a status.
pub(super) fn entry(status: UnitStatus, event: &str) -> UnitEvent {
    UnitEvent {
        v: 1,
        time: now(),
        unit: Some(status.name),
        event: event.to_owned(),
        state: Some(status.state),
        substate: Some(status.substate),
        result: Some(status.result),
        cause: status.cause,
        status_text: status.status_text,
        health: status.health,
        main_pid: status.main_pid,
        exit_code: status.exit_code,
        exit_signal: status.exit_signal,
        restarts: status.restarts,
        next_restart_at: status.next_restart_at,
        invocation_id: status.invocation_id,
        lost: None,
    }
}

impl Engine {
    /// The entry for something that just happened.
    pub(super) fn event_of(&self, id: ServiceId, note: &Note) -> Option<UnitEvent> {
        let mut event = entry(self.state_of(id)?, word(note));
        let cause = match note {
            Note::Ended(cause)
            | Note::Failed(cause)
            | Note::Reloaded(Some(cause))
            | Note::Unhealthy(cause)
            | Note::HookFailed(cause)
            | Note::Incomplete(cause)
            | Note::Rolled(Some(cause)) => Some(cause),
            _ => None,
        };
        if let Some(cause) = cause {
            event.cause = Some(cause_words(cause, self.service(id)));
        } else if matches!(note, Note::Started | Note::Starting { .. } | Note::Reloaded(None) | Note::StatusText) {
            // What brought an earlier run down has nothing to do with it.
            event.cause = None;
        }
        Some(event)
    }

    /// How units stand, as the first entries of a stream; of all when none is named. The second value
    /// holds the units' own names, as one may have been asked for by another.
    ///
    /// # Errors
    /// A unit that does not exist or is not usable, unless it is loaded.
    pub(super) fn present_events(&mut self, units: &[String]) -> Result<(Vec<UnitEvent>, BTreeSet<String>), CallError> {
        let mut ids = Vec::new();
        let mut names = BTreeSet::new();
        for unit in units {
            let id = self.known_or_loaded(unit)?;
            if let Some(service) = self.service(id)
                && names.insert(service.name.clone())
            {
                ids.push(id);
            }
        }
        if units.is_empty() {
            for name in crate::load::list(&self.options.unit_path) {
                // What is wrong with a file is told by `list` and `check`.
                let _ = self.load_unit(&name);
            }
            let mut all: Vec<(&String, &ServiceId)> = self.names.iter().collect();
            all.sort();
            ids = all.into_iter().map(|(_, id)| *id).collect();
        }
        let events = ids.into_iter().filter_map(|id| Some(entry(self.state_of(id)?, PRESENT))).collect();
        Ok((events, names))
    }
}

//! Requests that a client may repeat (`control::RequestKey`): kept with the unit, and in its state for the next daemon.
//!
//! An entry is written with whatever the request changes, in the same file: the restart that is wanted, the run that was
//! begun, the failure. So a daemon that finds an entry finds how far the request got, and one that finds none may begin
//! anew, as nothing has been done. Only a signal leaves no trace of its own: for that one the entry is written first,
//! and once more when it was sent.
//!
//! An entry goes when the client has its answer; what a former daemon left goes after [`MEMORY`] if nobody asks.

use super::engine::{Engine, Timer};
use super::requests::Handled;
use super::state::SavedState;
use crate::control::{Call, CallError, RequestKey, Verb};
use crate::supervise::{Cause, Event, Outcome, RequestId, ServiceId};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// So many requests are kept of one unit; more do not wait for one at a time.
const MOST: usize = 16;

/// How long what a former daemon left is kept. Clients give up after 5 s.
const MEMORY: Duration = Duration::from_secs(30);

/// So many causes of replicas are kept: a state has to stay readable.
const CAUSES: usize = 8;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requested {
    /// What the client calls it.
    pub key: RequestKey,
    /// Name of the method.
    pub verb: String,
    /// The unit's run when it was asked for.
    #[serde(default)]
    pub run_before: String,
    /// What came of it; `None`: that is not known yet.
    #[serde(default)]
    pub outcome: Option<Outcome>,
    /// Under this label the supervisor of the present daemon works at it.
    #[serde(skip)]
    pub open: Option<RequestId>,
}

impl Requested {
    fn new(key: RequestKey, verb: Verb) -> Requested {
        Requested { key, verb: verb.name().to_owned(), run_before: String::new(), outcome: None, open: None }
    }

    fn is_of(&self, key: RequestKey, verb: Verb) -> bool {
        self.key == key && self.verb == verb.name()
    }

    /// Had anything of it been done when this was written?
    fn is_begun(&self, saved: &SavedState) -> bool {
        let rolls = saved.set.as_ref().is_some_and(|set| set.roll.is_some());
        let wanted = saved.restart_requested || saved.starting || rolls;
        wanted || self.verb == Verb::Start.name() || saved.invocation_id != self.run_before
    }
}

impl Engine {
    /// The answer to a call that was made before with the same key; `None` when it is to be carried out.
    pub(super) fn repeated(&mut self, call: &Call, key: RequestKey) -> Option<Handled> {
        let id = self.id_of(call.unit()?)?;
        let service = self.service(id)?;
        let entry = service.requested.iter().find(|entry| entry.is_of(key, call.verb()))?;
        match (entry.outcome.clone(), entry.open) {
            (Some(outcome), _) => {
                let name = service.name.clone();
                Some(Handled::Now(self.answer_of(&name, outcome)))
            }
            (None, Some(request)) => Some(Handled::Later(vec![request], service.name.clone())),
            (None, None) => None,
        }
    }

    /// From now on a repetition of this call joins `request`.
    pub(super) fn remember_request(&mut self, unit: &str, verb: Verb, key: RequestKey, request: RequestId) {
        let Some(id) = self.id_of(unit) else { return };
        // Sets have no runs: what matters of them is whether the request is what began it all.
        let begins = self.is_replica_set(id) && !self.is_up(id);
        let Some(service) = self.services.get_mut(&id) else { return };
        let run_before = if begins { "none".to_owned() } else { service.invocation.clone() };
        let entry = Requested { run_before, open: Some(request), ..Requested::new(key, verb) };
        keep(&mut service.requested, entry);
        self.keyed.insert(request, id);
        self.keys.entry(key).or_default().insert(id);
    }

    /// The supervisor has answered.
    pub(super) fn conclude(&mut self, request: RequestId, outcome: &Outcome) {
        let Some(id) = self.keyed.remove(&request) else { return };
        let Some(service) = self.services.get_mut(&id) else { return };
        for entry in service.requested.iter_mut().filter(|entry| entry.open == Some(request)) {
            entry.open = None;
            entry.outcome = Some(shortened(outcome.clone()));
        }
        self.dirty.insert(id);
    }

    /// The client has its answer, or does not want one any more.
    pub(super) fn forget_key(&mut self, key: RequestKey) {
        for id in self.keys.remove(&key).unwrap_or_default() {
            let Some(service) = self.services.get_mut(&id) else { continue };
            let (gone, kept) = std::mem::take(&mut service.requested).into_iter().partition(|entry| entry.key == key);
            service.requested = kept;
            self.drop_entries(id, gone);
        }
    }

    /// Written down, or the next daemon would keep for a while what nobody asks for.
    fn drop_entries(&mut self, id: ServiceId, gone: Vec<Requested>) {
        for request in gone.iter().filter_map(|entry| entry.open) {
            self.keyed.remove(&request);
        }
        if !gone.is_empty() {
            self.dirty.insert(id);
        }
    }

    /// What a former daemon was asked for, told after everything that its state says: what was begun goes on, and whoever
    /// asks again is answered with what comes of it.
    pub(super) fn take_requests_over(&mut self, id: ServiceId, saved: &SavedState) {
        for entry in saved.requested.iter().take(MOST) {
            let mut entry = entry.clone();
            let is_start = [Verb::Start, Verb::Restart, Verb::TryRestart].iter().any(|verb| verb.name() == entry.verb);
            match (&entry.outcome, is_start) {
                (Some(_), _) => {}
                (None, true) if entry.is_begun(saved) && !saved.down => {
                    let request = self.new_request();
                    entry.open = Some(request);
                    self.keyed.insert(request, id);
                    self.events.push_back(Event::StartRejoined { id, request });
                }
                (None, false) if entry.verb == Verb::Kill.name() => {}
                // Nothing has been done, or of a reload nothing is known: a repetition begins anew.
                (None, _) => continue,
            }
            self.keys.entry(entry.key).or_default().insert(id);
            if let Some(service) = self.services.get_mut(&id) {
                keep(&mut service.requested, entry);
            }
        }
        if self.service(id).is_some_and(|service| !service.requested.is_empty()) {
            self.after(MEMORY, Timer::Forget(id));
        }
    }

    /// Nobody has asked again for what a former daemon left.
    pub(super) fn forget_requests(&mut self, id: ServiceId) {
        let Some(service) = self.services.get_mut(&id) else { return };
        let (open, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut service.requested).into_iter().partition(|entry| entry.open.is_some());
        let is_any_open = !open.is_empty();
        service.requested = open;
        for entry in &gone {
            self.keys.remove(&entry.key);
        }
        self.drop_entries(id, gone);
        if is_any_open {
            self.after(MEMORY, Timer::Forget(id));
        }
    }

    // ── signals ──

    /// Was the signal of this request sent to the unit? `None`: the request is new here, and is written down now.
    ///
    /// # Errors
    /// The daemon that was to send it ended in between.
    pub(super) fn signal_was_sent(&mut self, id: ServiceId, key: RequestKey) -> Result<bool, CallError> {
        let Some(service) = self.services.get_mut(&id) else { return Ok(false) };
        match service.requested.iter().find(|entry| entry.is_of(key, Verb::Kill)) {
            Some(Requested { outcome: Some(_), .. }) => Ok(true),
            Some(_) => {
                let unit = service.name.clone();
                let message = format!(
                    "{unit}: the supervisor ended just when it was about to send the signal: whether it was sent is not known"
                );
                Err(CallError::JobFailed { unit, message })
            }
            None => {
                keep(&mut service.requested, Requested::new(key, Verb::Kill));
                self.keys.entry(key).or_default().insert(id);
                self.persist(id);
                Ok(false)
            }
        }
    }

    /// The same: it has been sent.
    pub(super) fn note_signal(&mut self, id: ServiceId, key: RequestKey) {
        let Some(service) = self.services.get_mut(&id) else { return };
        for entry in service.requested.iter_mut().filter(|entry| entry.is_of(key, Verb::Kill)) {
            entry.outcome = Some(Outcome::Done);
        }
        self.persist(id);
    }
}

/// Adds an entry; where there are too many the oldest that is over goes first.
fn keep(entries: &mut Vec<Requested>, entry: Requested) {
    entries.retain(|other| !(other.key == entry.key && other.verb == entry.verb));
    if entries.len() >= MOST {
        let oldest = entries.iter().position(|entry| entry.open.is_none()).unwrap_or(0);
        entries.remove(oldest);
    }
    entries.push(entry);
}

/// A set of a thousand replicas can have a thousand causes.
fn shortened(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Failed(Cause::Replicas { mut failed }) => {
            failed.truncate(CAUSES);
            Outcome::Failed(Cause::Replicas { failed })
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u8, open: bool) -> Requested {
        let open = open.then_some(RequestId(u64::from(number)));
        Requested { open, ..Requested::new(RequestKey::new([number; 16]), Verb::Start) }
    }

    #[test]
    fn what_is_under_way_is_kept_longest() {
        let mut entries = vec![entry(0, true), entry(1, false)];
        (2..=MOST as u8).for_each(|number| keep(&mut entries, entry(number, true)));
        assert_eq!(entries.len(), MOST);
        assert!(entries.iter().all(|entry| entry.open.is_some()));
        keep(&mut entries, entry(0, false));
        assert_eq!(
            entries.iter().filter(|kept| kept.key == entry(0, true).key).count(),
            1,
            "the later one replaces it"
        );
    }

    #[test]
    fn a_restart_has_begun_when_it_is_wanted_or_another_run_is_there() {
        let saved = |invocation: &str, wanted| SavedState {
            invocation_id: invocation.into(),
            restart_requested: wanted,
            ..SavedState::new()
        };
        let restart = Requested { run_before: "one".into(), ..Requested::new(RequestKey::new([1; 16]), Verb::Restart) };
        assert!(!restart.is_begun(&saved("one", false)));
        assert!(restart.is_begun(&saved("one", true)));
        assert!(restart.is_begun(&saved("two", false)));
    }

    #[test]
    fn an_entry_is_read_as_it_was_written_but_for_the_label_of_this_daemon() {
        let done = Requested { outcome: Some(Outcome::Failed(Cause::StartTimeout)), ..entry(3, true) };
        let text = serde_json::to_string(&done).unwrap();
        assert_eq!(serde_json::from_str::<Requested>(&text).unwrap(), Requested { open: None, ..done });
    }
}

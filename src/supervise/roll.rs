//! Rolling restarts of a set: one replica after the other, each only when the one before is ready again.
//!
//! Replicas that are not up come first: nothing is lost with them, and a new version that cannot start is found out
//! before it takes anything down. The first that does not come up ends the roll; so does one that was restarted before
//! and is not up any more when the next one's turn comes. What was not restarted by then stays as it is. Replicas that
//! are held are passed over, and so are those that a scaling takes away.

use super::jobs::Work;
use super::keeping::Keeping;
use super::service::State;
use super::{Cause, Moment, Note, Outcome, RequestId, ServiceId, Supervisor};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// A rolling restart under way.
#[derive(Debug)]
pub(super) struct Roll {
    /// Who waits for its end.
    pub requests: Vec<RequestId>,
    /// To be restarted, in this order.
    left: VecDeque<u32>,
    current: Option<Current>,
    /// Have been restarted, in this order.
    done: Vec<u32>,
}

/// The replica that is being restarted.
#[derive(Debug)]
struct Current {
    number: u32,
    /// The set's own request; `None` until a daemon that takes over has asked anew.
    request: Option<RequestId>,
    begun: Moment,
}

/// A rolling restart as one daemon leaves it for the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRoll {
    /// To be restarted, in this order.
    pub left: Vec<u32>,
    /// The one that is being restarted, and since when.
    pub current: Option<(u32, Moment)>,
    /// Have been restarted, in this order.
    pub done: Vec<u32>,
}

impl Roll {
    /// As a former daemon left it.
    pub fn remembered(kept: KeptRoll) -> Roll {
        let current = kept.current.map(|(number, begun)| Current { number, request: None, begun });
        Roll { requests: Vec::new(), left: kept.left.into(), current, done: kept.done }
    }

    /// For the next daemon.
    pub fn kept(&self) -> KeptRoll {
        KeptRoll {
            left: self.left.iter().copied().collect(),
            current: self.current.as_ref().map(|current| (current.number, current.begun)),
            done: self.done.clone(),
        }
    }

    /// Is this the request to the replica that is being restarted?
    pub fn waits_for(&self, request: RequestId) -> bool {
        self.current.as_ref().is_some_and(|current| current.request == Some(request))
    }
}

impl Supervisor {
    /// Restarts the replicas of a set that is not down, one by one.
    pub(super) fn roll(&mut self, now: Moment, work: &mut Work, set: ServiceId, request: Option<RequestId>) {
        if self.services.get(&set).and_then(|service| service.kept()).is_some_and(Keeping::is_stop_pending) {
            return self.start_kept(now, work, set, request);
        }
        self.take_new_policy(set);
        for (_, id) in self.above(set) {
            self.stop(now, work, id, None);
        }
        let left = self.order_of_roll(set);
        self.with(now, work, set, |service, turn| {
            if let Some(kept) = service.kept_mut() {
                kept.drop_roll(turn);
                let requests = request.into_iter().collect();
                kept.roll = Some(Roll { requests, left, current: None, done: Vec::new() });
            }
        });
        self.roll_on(now, work, set);
        self.moved_sets.insert(set);
    }

    /// Those that are not up, then the others, each by number.
    fn order_of_roll(&self, set: ServiceId) -> VecDeque<u32> {
        let number = self.services.get(&set).map_or(0, |set| set.desired());
        let (up, rest): (Vec<u32>, Vec<u32>) = (1..=number).partition(|number| self.is_replica_up(set, *number));
        rest.into_iter().chain(up).collect()
    }

    fn is_replica_up(&self, set: ServiceId, number: u32) -> bool {
        let replica = self.replica(set, number).and_then(|id| self.services.get(&id));
        replica.is_some_and(|service| service.is_serving() || service.is_listening())
    }

    /// Restarts the next one, or ends the roll.
    fn roll_on(&mut self, now: Moment, work: &mut Work, set: ServiceId) {
        let Some(service) = self.services.get_mut(&set) else { return };
        let number = service.desired();
        let Some(kept) = service.kept_mut() else { return };
        let Some(roll) = &mut kept.roll else { return };
        roll.left.retain(|replica| *replica <= number && !kept.held.contains(replica));
        let counts = |replica: &u32| *replica <= number && !kept.held.contains(replica);
        let done: Vec<u32> = roll.done.iter().copied().filter(counts).collect();
        if roll.left.is_empty() {
            return self.end_roll(now, work, set, None);
        }
        if let Some(gone) = done.into_iter().find(|replica| !self.is_replica_up(set, *replica)) {
            let cause = self.replica(set, gone).and_then(|id| self.services[&id].last.cause.clone());
            return self.end_roll(now, work, set, Some((gone, cause)));
        }
        let request = self.ask(set);
        let mut next = None;
        self.with_set(now, work, set, |kept| {
            let Some(roll) = &mut kept.roll else { return };
            next = roll.left.pop_front();
            roll.current = next.map(|number| Current { number, request: Some(request), begun: now });
        });
        let Some(number) = next else { return };
        let replica = self.replica_name(set, number);
        self.with(now, work, set, |service, turn| service.record(turn, Note::Rolling { replica: replica.clone() }));
        match self.graph.id(&replica) {
            Some(id) => {
                self.with(now, work, id, |service, _| service.links = 0);
                self.restart(now, work, id, Some(request));
            }
            None => self.rolled(now, work, set, Outcome::Failed(Cause::MissingDependency { unit: replica })),
        }
    }

    /// The answer of the replica that is being restarted.
    pub(super) fn rolled(&mut self, now: Moment, work: &mut Work, set: ServiceId, outcome: Outcome) {
        let Some(service) = self.services.get_mut(&set) else { return };
        let desired = service.desired();
        let Some(roll) = service.kept_mut().and_then(|kept| kept.roll.as_mut()) else { return };
        let Some(Current { number, .. }) = roll.current.take() else { return };
        let cause = match outcome {
            Outcome::Done => {
                roll.done.push(number);
                return self.roll_on(now, work, set);
            }
            // A scaling has taken it away.
            _ if number > desired => return self.roll_on(now, work, set),
            Outcome::Failed(cause) | Outcome::Skipped(cause) => Some(cause),
            Outcome::Cancelled | Outcome::NotRunning | Outcome::NotSupported => None,
        };
        self.end_roll(now, work, set, Some((number, cause)));
    }

    fn end_roll(&mut self, now: Moment, work: &mut Work, set: ServiceId, failed: Option<(u32, Option<Cause>)>) {
        let name = |number: &u32| self.replica_name(set, *number);
        let names = |numbers: &[u32]| numbers.iter().map(name).collect::<Vec<String>>();
        let Some(roll) = self.services.get(&set).and_then(|service| service.kept()).and_then(|kept| kept.roll.as_ref())
        else {
            return;
        };
        let KeptRoll { left, done, .. } = roll.kept();
        let cause = failed.map(|(number, cause)| {
            let done: Vec<u32> = done.into_iter().filter(|other| *other != number).collect();
            let (done, left) = (names(&done), names(&left));
            Cause::Roll { replica: name(&number), cause: cause.map(Box::new), done, left }
        });
        self.with(now, work, set, |service, turn| {
            let roll = service.kept_mut().and_then(|kept| kept.roll.take());
            let outcome = cause.clone().map_or(Outcome::Done, Outcome::Failed);
            for request in roll.into_iter().flat_map(|roll| roll.requests) {
                turn.reply(request, outcome.clone());
            }
            service.record(turn, Note::Rolled(cause));
        });
    }

    /// Somebody who had asked a former daemon to start or restart the set waits for that. A start that is asked for again
    /// begins nothing that the set would not begin by itself.
    pub(super) fn rejoin_set(&mut self, now: Moment, work: &mut Work, set: ServiceId, request: RequestId) {
        let seen_to = self.with(now, work, set, |service, turn| {
            let Some(kept) = service.kept_mut() else { return false };
            let is_pending = kept.is_start_pending();
            match &mut kept.roll {
                Some(roll) => roll.requests.push(request),
                None if is_pending => return false,
                None => turn.reply(request, Outcome::Done),
            }
            true
        });
        if seen_to != Some(true) {
            self.start_kept(now, work, set, Some(request));
        }
    }

    /// Goes on where a former daemon was. The replica that it was at may have been restarted by then, or not.
    pub(super) fn resume_roll(&mut self, now: Moment, work: &mut Work, set: ServiceId) {
        let kept = self.services.get(&set).and_then(|service| service.kept());
        let Some(roll) = kept.and_then(|kept| kept.roll.as_ref()) else { return };
        let Some((number, begun)) = roll.current.as_ref().map(|current| (current.number, current.begun)) else {
            return self.roll_on(now, work, set);
        };
        let Some(id) = self.replica(set, number) else {
            return self.rolled(now, work, set, Outcome::Cancelled);
        };
        let request = self.ask(set);
        self.with_set(now, work, set, |kept| {
            if let Some(current) = kept.roll.as_mut().and_then(|roll| roll.current.as_mut()) {
                current.request = Some(request);
            }
        });
        let service = &self.services[&id];
        let is_old = matches!(service.state, State::Up(_)) && service.is_serving() && service.shown.1 <= begun;
        if is_old {
            self.restart(now, work, id, Some(request));
        } else {
            self.start(now, work, id, Some(request));
        }
    }
}

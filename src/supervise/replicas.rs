//! Sets of replicas: the numbered instances of a template, of which so many are to be up.
//!
//! A set is a unit without a process. It stands in the graph like any other, so that `requires = ["web"]` and `after =
//! ["web"]` mean all of its replicas; these are units of their own and know nothing of it. Between the two there is no
//! relation but this one:
//!
//! ```text
//!  start ──▶ Waiting ──▶ Starting ── all ready ──▶ Kept ──▶ StopQueued ──▶ Dissolving ──▶ Down
//!                           │ ▲                     ▲
//!                           └─┴─ one failed: who    │ later
//!                                needs the set is ──┘
//!                                refused until then
//! ```
//!
//! * The number is the unit's, until `Scale` names another one; that one holds until the set is stopped.
//! * A replica up to the number that rests by itself, well or not, is *upheld*: tried again after no less than a second,
//!   as its own `[restart]` delays and limits. One that people stopped (by its name, or along with a unit that it
//!   requires) or whose condition is not met is *held*: it stays down until the set is started or scaled, or itself is
//!   started. Those above the number are left alone until the next start or scaling, which stops them.
//! * A set is up for others while all have been ready once and one still is.
//! * What people ask of a set it asks of its replicas, by requests of its own ([`OF_SETS`]) whose answers never leave
//!   the machine; when the last is there the people are answered.
//! * Restarts are rolling, see `roll`.

use super::jobs::Work;
use super::keeping::{Count, Job, Keeping, Phase};
use super::roll::{KeptRoll, Roll};
use super::service::{Service, State};
use super::{Action, Cause, Moment, Note, Outcome, RequestId, ServiceId, Supervisor};
use crate::unit::MOST_REPLICAS;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Requests with this bit are of a set to a replica. The daemon counts its own from 1.
const OF_SETS: u64 = 1 << 63;

/// A set as one daemon leaves it for the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptSet {
    /// The unit's own number; used where its file cannot be read any more.
    pub written: u32,
    /// The number that somebody asked for.
    pub scaled: Option<u32>,
    /// Replicas that are not started again by themselves.
    pub held: BTreeSet<u32>,
    /// All had been ready.
    pub ready: bool,
    /// The rolling restart under way.
    pub roll: Option<KeptRoll>,
}

/// How a set stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetStatus {
    /// So many are to be up.
    pub number: u32,
    /// Of these, so many are ready.
    pub ready: u32,
    /// Numbered instances that are known, by number.
    pub replicas: Vec<(u32, ServiceId)>,
    /// While it is not down.
    pub kept: Option<KeptSet>,
}

/// The number of a replica, from the name behind the `@`: `1` to [`MOST_REPLICAS`], written without zeros in front.
pub fn replica_number(instance: &str) -> Option<u32> {
    let digits = instance.bytes().all(|byte| byte.is_ascii_digit()) && !instance.starts_with('0');
    instance.parse().ok().filter(|number| digits && (1..=MOST_REPLICAS).contains(number))
}

impl Supervisor {
    /// How a set stands; `None` for other units.
    pub fn set_status(&self, id: ServiceId) -> Option<SetStatus> {
        let service = self.services.get(&id)?;
        let written = service.policy.replicas?;
        let kept = service.kept().map(|set| KeptSet {
            written,
            scaled: service.scaled,
            held: set.held.clone(),
            ready: !set.pending && set.phase != Phase::Starting,
            roll: set.roll.as_ref().map(Roll::kept),
        });
        let newest = service.next_policy.as_ref().and_then(|policy| policy.replicas).filter(|_| kept.is_none());
        Some(SetStatus {
            number: service.scaled.or(newest).unwrap_or(written),
            ready: service.kept().map_or(0, |set| set.ready),
            replicas: self.members(id),
            kept,
        })
    }

    // ── who belongs to whom ──

    pub(super) fn is_keeping(&self, id: ServiceId) -> bool {
        self.services.get(&id).is_some_and(|service| service.kept().is_some())
    }

    pub(super) fn is_dissolving(&self, id: ServiceId) -> bool {
        let set = self.services.get(&id).and_then(|service| service.kept());
        set.is_some_and(|set| set.phase == Phase::Dissolving)
    }

    /// Numbered instances of the set's template, by number.
    pub(super) fn members(&self, set: ServiceId) -> Vec<(u32, ServiceId)> {
        let Some(service) = self.services.get(&set) else { return Vec::new() };
        let prefix = format!("{}@", service.name);
        let of_prefix = self.graph.named_from(&prefix);
        let mut members: Vec<(u32, ServiceId)> =
            of_prefix.filter_map(|(name, id)| Some((replica_number(name.strip_prefix(&prefix)?)?, id))).collect();
        members.sort_unstable();
        members
    }

    /// The replicas that a set waits for, for those who look for circles.
    pub(super) fn members_if_kept(&self, id: ServiceId) -> Vec<ServiceId> {
        if !self.is_keeping(id) {
            return Vec::new();
        }
        self.members(id).into_iter().map(|(_, member)| member).collect()
    }

    /// The set that a numbered instance belongs to, if there is one of that name.
    fn set_of(&self, replica: ServiceId) -> Option<(ServiceId, u32)> {
        let (template, instance) = self.services.get(&replica)?.name.split_once('@')?;
        let number = replica_number(instance)?;
        let set = self.graph.id(template)?;
        self.services.get(&set)?.policy.replicas.map(|_| (set, number))
    }

    pub(super) fn replica(&self, set: ServiceId, number: u32) -> Option<ServiceId> {
        self.graph.id(&self.replica_name(set, number))
    }

    pub(super) fn replica_name(&self, set: ServiceId, number: u32) -> String {
        self.services.get(&set).map_or_else(String::new, |service| format!("{}@{number}", service.name))
    }

    /// Is this a replica that its set keeps up? One that failed for want of another unit comes back with that.
    pub(super) fn is_kept(&self, replica: ServiceId) -> bool {
        let Some((set, number)) = self.set_of(replica) else { return false };
        if self.services[&replica].is_wanted() {
            return false;
        }
        let service = &self.services[&set];
        service
            .kept()
            .is_some_and(|kept| !kept.is_stop_pending() && number <= service.desired() && !kept.held.contains(&number))
    }

    // ── what people ask ──

    pub(super) fn scale(
        &mut self,
        now: Moment,
        work: &mut Work,
        id: ServiceId,
        number: u32,
        request: Option<RequestId>,
    ) {
        let is_set = |service: &Service| {
            service.policy.replicas.or(service.next_policy.as_ref().and_then(|policy| policy.replicas)).is_some()
        };
        if !self.services.get(&id).is_some_and(|service| is_set(service)) {
            work.actions.extend(request.map(|request| Action::Reply { request, outcome: Outcome::NotSupported }));
            return;
        }
        self.with(now, work, id, |service, turn| {
            service.scaled = Some(number);
            service.links = 0;
            service.record(turn, Note::Scaled { number });
        });
        self.start(now, work, id, request);
    }

    /// A start of a set that is not down: everything is as it should be, or will be.
    pub(super) fn start_kept(&mut self, now: Moment, work: &mut Work, id: ServiceId, request: Option<RequestId>) {
        if self.services.get(&id).and_then(|service| service.kept()).is_some_and(Keeping::is_stop_pending) {
            self.with(now, work, id, |service, _| {
                service.waiters.next_starts.extend(request);
                if let Some(set) = service.kept_mut() {
                    set.then_start = true;
                }
            });
            return;
        }
        self.take_new_policy(id);
        self.gather(now, work, id, request.into_iter().collect());
    }

    /// The set's turn has come.
    pub(super) fn keep(&mut self, now: Moment, work: &mut Work, id: ServiceId) {
        if self.is_keeping(id) {
            let requests = self.with(now, work, id, |service, _| std::mem::take(&mut service.waiters.starts));
            self.gather(now, work, id, requests.unwrap_or_default());
        }
    }

    /// Starts the replicas up to the number and stops the others, the highest first.
    fn gather(&mut self, now: Moment, work: &mut Work, set: ServiceId, requests: Vec<RequestId>) {
        let Some(service) = self.services.get(&set) else { return };
        let (number, links) = (service.desired(), service.links);
        let above: Vec<(u32, ServiceId)> = self.above(set);
        let mut job = Job { requests, ..Job::default() };
        let (mut starts, mut stops) = (Vec::new(), Vec::new());
        for (above, id) in above {
            stops.push((id, self.ask(set)));
            job.open.extend(stops.last().map(|(_, request)| (*request, self.replica_name(set, above))));
        }
        for wanted in 1..=number {
            let name = self.replica_name(set, wanted);
            let Some(id) = self.graph.id(&name) else {
                job.failed.push((name.clone(), Cause::MissingDependency { unit: name }));
                continue;
            };
            starts.push((id, self.ask(set)));
            job.open.extend(starts.last().map(|(_, request)| (*request, name)));
        }
        self.with_set(now, work, set, |kept| {
            kept.held.clear();
            kept.jobs.push(job);
        });
        for (id, request) in stops {
            self.stop(now, work, id, Some(request));
        }
        for (id, request) in starts {
            self.with(now, work, id, |service, _| service.links = links);
            self.start(now, work, id, Some(request));
        }
        self.moved_sets.insert(set);
    }

    /// Instances above the number that are not down, the highest first.
    pub(super) fn above(&self, set: ServiceId) -> Vec<(u32, ServiceId)> {
        let number = self.services.get(&set).map_or(0, |set| set.desired());
        let is_above = |(member, id): &(u32, ServiceId)| *member > number && self.services[id].is_anything_to_stop();
        self.members(set).into_iter().rev().filter(is_above).collect()
    }

    /// `exec_reload` or `reload_signal` of every replica that is up.
    pub(super) fn reload_kept(&mut self, now: Moment, work: &mut Work, set: ServiceId, request: Option<RequestId>) {
        let up = |id: &ServiceId| matches!(self.services[id].state, State::Up(_));
        let members: Vec<(u32, ServiceId)> = self.members(set).into_iter().filter(|(_, id)| up(id)).collect();
        if members.is_empty() {
            work.actions.extend(request.map(|request| Action::Reply { request, outcome: Outcome::NotRunning }));
            return;
        }
        let asked: Vec<(u32, ServiceId, RequestId)> =
            members.into_iter().map(|(number, id)| (number, id, self.ask(set))).collect();
        let open = asked.iter().map(|(number, _, request)| (*request, self.replica_name(set, *number))).collect();
        let job = Job { requests: request.into_iter().collect(), open, ..Job::default() };
        self.with_set(now, work, set, |kept| kept.jobs.push(job));
        for (_, id, request) in asked {
            self.with(now, work, id, |service, turn| service.wish_reload(turn, Some(request)));
        }
    }

    /// A request of the set to one of its replicas.
    pub(super) fn ask(&mut self, set: ServiceId) -> RequestId {
        self.asked_by_sets += 1;
        let request = RequestId(OF_SETS | self.asked_by_sets);
        self.of_sets.insert(request, set);
        request
    }

    pub(super) fn with_set(&mut self, now: Moment, work: &mut Work, set: ServiceId, act: impl FnOnce(&mut Keeping)) {
        self.with(now, work, set, |service, _| {
            if let Some(kept) = service.kept_mut() {
                act(kept);
            }
        });
    }

    // ── what comes back ──

    /// Takes the answers to sets out of the actions and sees to what follows. `false`: there was nothing to see to.
    pub(super) fn hear_replicas(&mut self, now: Moment, work: &mut Work) -> bool {
        let mut heard = Vec::new();
        work.actions.retain(|action| match action {
            Action::Reply { request, outcome } if request.0 & OF_SETS != 0 => {
                heard.push((*request, outcome.clone()));
                false
            }
            _ => true,
        });
        let moved = std::mem::take(&mut self.moved_sets);
        if heard.is_empty() && moved.is_empty() {
            return false;
        }
        for set in moved {
            self.recount(now, work, set);
        }
        for (request, outcome) in heard {
            if let Some(set) = self.of_sets.remove(&request) {
                self.heard(now, work, set, request, outcome);
            }
        }
        true
    }

    fn heard(&mut self, now: Moment, work: &mut Work, set: ServiceId, request: RequestId, outcome: Outcome) {
        let Some(kept) = self.services.get_mut(&set).and_then(|service| service.kept_mut()) else { return };
        if kept.roll.as_ref().is_some_and(|roll| roll.waits_for(request)) {
            return self.rolled(now, work, set, outcome);
        }
        if kept.leaving.as_mut().is_some_and(|leaving| leaving.remove(&request)) {
            self.moved_sets.insert(set);
            return;
        }
        // Nobody waits for it any more when there is none.
        let Some(index) = kept.jobs.iter().position(|job| job.open.contains_key(&request)) else { return };
        let job = &mut kept.jobs[index];
        let replica = job.open.remove(&request).unwrap_or_default();
        match outcome {
            Outcome::Done => {}
            Outcome::Failed(cause) => job.failed.push((replica, cause)),
            Outcome::Skipped(cause) => {
                job.skipped.get_or_insert(cause);
            }
            Outcome::Cancelled | Outcome::NotRunning | Outcome::NotSupported => {
                job.otherwise.get_or_insert(outcome);
            }
        }
        self.answer_jobs(now, work, set);
    }

    /// Answers the jobs of which nothing is open any more.
    fn answer_jobs(&mut self, now: Moment, work: &mut Work, set: ServiceId) {
        self.with(now, work, set, |service, turn| {
            let Some(kept) = service.kept_mut() else { return };
            let (over, open) = std::mem::take(&mut kept.jobs).into_iter().partition(|job| job.open.is_empty());
            kept.jobs = open;
            let over: Vec<Job> = over;
            for (requests, outcome) in over.into_iter().map(Job::outcome) {
                requests.into_iter().for_each(|request| turn.reply(request, outcome.clone()));
            }
        });
    }

    /// A unit rests. If it is a replica, people's wish holds it.
    pub(super) fn replica_rests(&mut self, id: ServiceId, asked: bool) {
        let Some((set, number)) = self.set_of(id) else { return };
        if !asked || !self.services[&id].is_at_rest() {
            return;
        }
        let service = self.services.get_mut(&set);
        if let Some(kept) = service.filter(|set| number <= set.desired()).and_then(|service| service.kept_mut()) {
            kept.held.insert(number);
        }
    }

    /// Something happened to a unit. If it is a replica or a set, that set is looked at again.
    pub(super) fn replica_moved(&mut self, id: ServiceId) {
        let set = self.set_of(id).map_or(id, |(set, _)| set);
        if self.is_keeping(set) {
            self.moved_sets.insert(set);
        }
    }

    fn count(&self, set: ServiceId) -> Count {
        let service = &self.services[&set];
        let number = service.desired();
        let Some(kept) = service.kept() else { return Count::default() };
        let held = u32::try_from(kept.held.range(..=number).count()).unwrap_or(number);
        let mut count = Count { wanted: number.saturating_sub(held), ..Count::default() };
        let wanted = |(member, _): &(u32, ServiceId)| *member <= number && !kept.held.contains(member);
        for (_, id) in self.members(set).into_iter().filter(wanted) {
            let replica = &self.services[&id];
            if replica.is_serving() || replica.is_listening() {
                count.ready += 1;
            }
            let failed = matches!(replica.state, State::Failed { .. } | State::Backoff { .. });
            if let (true, Some(cause)) = (failed, &replica.last.cause) {
                count.failed.push((replica.name.to_string(), cause.clone()));
            }
            if !replica.is_at_rest() {
                count.coming += 1;
            }
        }
        count
    }

    /// Looks how the replicas of a set stand, and says what follows for those who wait for it.
    fn recount(&mut self, now: Moment, work: &mut Work, set: ServiceId) {
        if !self.is_keeping(set) {
            return;
        }
        if self.is_dissolving(set) {
            let leaving = self.services[&set].kept().and_then(|kept| kept.leaving.as_ref());
            if leaving.is_some_and(BTreeSet::is_empty) {
                self.with(now, work, set, |service, turn| service.end_keeping(turn));
            }
            return;
        }
        let held = self.services[&set].kept().map(|kept| kept.held.clone()).unwrap_or_default();
        let stays = |number: u32| self.replica(set, number).is_none_or(|id| self.services[&id].is_at_rest());
        let held: BTreeSet<u32> = held.into_iter().filter(|number| stays(*number)).collect();
        self.with_set(now, work, set, |kept| kept.held = held);
        let count = self.count(set);
        self.with(now, work, set, |service, turn| service.take_count(turn, count));
        self.answer_jobs(now, work, set);
    }

    /// Stops all replicas, the highest first.
    pub(super) fn dissolve(&mut self, now: Moment, work: &mut Work, set: ServiceId) {
        let stops: Vec<(ServiceId, RequestId)> =
            self.members(set).into_iter().rev().map(|(_, id)| (id, self.ask(set))).collect();
        let leaving = stops.iter().map(|(_, request)| *request).collect();
        self.with_set(now, work, set, |kept| kept.leaving = Some(leaving));
        for (id, request) in stops {
            self.stop(now, work, id, Some(request));
        }
        self.moved_sets.insert(set);
    }

    // ── after a change of the daemon ──

    /// All replicas have been told of: what is missing is started, what is too much is stopped, the roll goes on.
    pub(super) fn resume_sets(&mut self, now: Moment, work: &mut Work) {
        let sets: Vec<ServiceId> = self.services.keys().copied().filter(|id| self.is_keeping(*id)).collect();
        for set in sets {
            self.moved_sets.insert(set);
            if self.services[&set].kept().is_some_and(Keeping::is_stop_pending) {
                continue;
            }
            for (_, id) in self.above(set) {
                self.stop(now, work, id, None);
            }
            let is_missing = |id: &ServiceId| matches!(self.services[id].state, State::Down) && self.is_kept(*id);
            let missing: Vec<ServiceId> = self.members_if_kept(set).into_iter().filter(is_missing).collect();
            for id in missing {
                self.start(now, work, id, None);
            }
            self.resume_roll(now, work, set);
        }
    }
}

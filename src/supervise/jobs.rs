//! Requests and order: what a wish about one unit means for the others, and whose turn it is.
//!
//! A start pulls in what the unit wants, upholds, requires and is bound to; all of them become `Waiting`, and each begins as soon as no unit
//! that it is ordered after has a start pending. A stop takes along what requires the unit; each begins as soon as no
//! unit that is ordered after it has a stop pending. A restart is both.
//!
//! Requests that arrive together (the boot set, "stop everything") are one transaction even though each is an event of
//! its own: where a unit's neighbour in the order is idle and might be named by the next event, the decision is put off
//! to the end of the round, by a deadline at the present moment. Whoever has no such neighbour begins at once.
//!
//! Circles. A start that would close a circle among waiting units is refused with the path. A circle among units that
//! are up (they were started one by one) must not keep them from stopping, nor one that a changed definition made from
//! restarting: there the last one to join does not wait.

use super::bonds::Peaceful;
use super::graph::{find_cycle, reach};
use super::service::{Pulse, Service, State, Turn};
use super::{Action, Cause, Moment, Outcome, RequestId, ServiceId, Supervisor};
use crate::unit::ServiceType;
use std::collections::BTreeSet;

/// What `step` collects while it works.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub actions: Vec<Action>,
    pub pulses: Vec<(ServiceId, Pulse)>,
    pub touched: BTreeSet<ServiceId>,
}

impl Supervisor {
    /// Lends one service, if it exists.
    pub(super) fn with<T>(
        &mut self,
        now: Moment,
        work: &mut Work,
        id: ServiceId,
        act: impl FnOnce(&mut Service, &mut Turn) -> T,
    ) -> Option<T> {
        let service = self.services.get_mut(&id)?;
        work.touched.insert(id);
        #[cfg(test)]
        {
            self.lent += 1;
        }
        let mut turn = Turn { now, actions: &mut work.actions, pulses: &mut work.pulses, jitter: &mut self.jitter };
        Some(act(service, &mut turn))
    }

    // ── starts ──

    pub(super) fn start(&mut self, now: Moment, work: &mut Work, id: ServiceId, request: Option<RequestId>) {
        if self.is_keeping(id) {
            return self.start_kept(now, work, id, request);
        }
        match self.with(now, work, id, |service, turn| service.wish_start(turn, request)) {
            Some(true) => self.begin_start(now, work, id),
            Some(false) => {}
            None => no_such_service(work, request),
        }
    }

    /// A unit that is started on demand listens at once: what it needs is started when something arrives.
    fn begin_start(&mut self, now: Moment, work: &mut Work, id: ServiceId) {
        self.take_new_policy(id);
        let listens = self.services.get(&id).is_some_and(|service| service.listens_first());
        if listens {
            self.with(now, work, id, |service, turn| {
                service.enqueue();
                service.begin(turn);
            });
        } else {
            self.start_with_others(now, work, id);
        }
    }

    /// Starts `root` and what it pulls in, or refuses.
    pub(super) fn start_with_others(&mut self, now: Moment, work: &mut Work, root: ServiceId) {
        self.take_new_policy(root);
        let Peaceful { pulled, rivals, given_way } = match self.pull_without_rivals(root) {
            Ok(pulled) => pulled,
            Err(cause) => return self.refuse(now, work, root, cause),
        };
        if let Some(cycle) = self.cycle_of_starts(&pulled.members) {
            let path = cycle.iter().map(|id| self.services[id].name.to_string()).collect();
            return self.refuse(now, work, root, Cause::Cycle { path });
        }
        for (id, unit) in pulled.broken {
            self.refuse(now, work, id, Cause::MissingDependency { unit });
        }
        for (id, unit) in given_way {
            if matches!(self.services[&id].state, State::Down | State::Failed { .. }) {
                self.refuse(now, work, id, Cause::Conflict { unit });
            }
        }
        for id in rivals {
            self.stop(now, work, id, None);
        }
        let links = self.services[&root].links;
        for id in &pulled.members {
            self.with(now, work, *id, |service, _| {
                service.links = links;
                service.enqueue();
            });
        }
        for id in &pulled.members {
            if self.has_idle_predecessor(*id) {
                self.put_off(now, *id);
            }
        }
        for id in pulled.members {
            self.begin_if_free(now, work, id);
        }
    }

    fn refuse(&mut self, now: Moment, work: &mut Work, id: ServiceId, cause: Cause) {
        self.with(now, work, id, |service, turn| service.refuse(turn, cause));
    }

    /// A circle of `after` and `before` among the new ones and those that wait already.
    pub(super) fn cycle_of_starts(&self, members: &BTreeSet<ServiceId>) -> Option<Vec<ServiceId>> {
        let will_wait = |id: &ServiceId| match &self.services[id].state {
            State::Up(run) => run.then_start || (members.contains(id) && !run.is_heading_up()),
            State::Waiting { .. } => true,
            State::Listening { .. } => false,
            State::Keeping(set) => set.is_start_pending(),
            State::Down | State::Failed { .. } | State::Backoff { .. } => members.contains(id),
        };
        find_cycle(members.iter().copied(), |id| {
            // A set waits for its replicas as well.
            self.predecessors(id).chain(self.members_if_kept(id)).filter(&will_wait).collect()
        })
    }

    pub(super) fn predecessors(&self, id: ServiceId) -> impl DoubleEndedIterator<Item = ServiceId> + '_ {
        let service = self.services.get(&id);
        service.into_iter().flat_map(|service| self.graph.predecessors(service.node()))
    }

    fn successors(&self, id: ServiceId) -> impl DoubleEndedIterator<Item = ServiceId> + '_ {
        let service = self.services.get(&id);
        service.into_iter().flat_map(|service| self.graph.successors(service.node()))
    }

    /// Is it ordered after a unit that is down and that the next event may ask for?
    fn has_idle_predecessor(&self, id: ServiceId) -> bool {
        self.predecessors(id).any(|other| match &self.services[&other].state {
            State::Down | State::Failed { .. } | State::Backoff { .. } => true,
            State::Waiting { .. } | State::Listening { .. } | State::Keeping(_) | State::Up(_) => false,
        })
    }

    fn put_off(&mut self, now: Moment, id: ServiceId) {
        self.put_off.insert(id);
        self.end_of_round.get_or_insert(now);
    }

    /// Begins the start that waits, unless it is not its turn.
    pub(super) fn begin_if_free(&mut self, now: Moment, work: &mut Work, id: ServiceId) {
        let Some(service) = self.services.get(&id) else { return };
        if !matches!(service.state, State::Waiting { .. }) || self.put_off.contains(&id) {
            return;
        }
        let before = self.predecessors(id).rfind(|other| self.services[other].is_start_pending());
        let before = before.or_else(|| self.rival_that_ends(id));
        // What only listens disturbs nobody.
        match before.filter(|_| !self.services[&id].listens_first()) {
            Some(other) => self.wait_for(other, id),
            None => self.begin(now, work, id),
        }
    }

    /// `waiting` is looked at again when `other` has got one step further. One unit to wait for is enough to know, and
    /// the last in the order of ids is likely to be the last in time: so a unit with thousands of neighbours does not
    /// look at all of them each time that one has moved.
    fn wait_for(&mut self, other: ServiceId, waiting: ServiceId) {
        self.waiting_for.entry(other).or_default().insert(waiting);
    }

    fn begin(&mut self, now: Moment, work: &mut Work, id: ServiceId) {
        self.take_new_policy(id);
        match self.obstacle(id) {
            Some(cause) => self.refuse(now, work, id, cause),
            None => {
                self.with(now, work, id, |service, turn| service.begin(turn));
            }
        }
    }

    // ── stops and restarts ──

    pub(super) fn stop(&mut self, now: Moment, work: &mut Work, id: ServiceId, request: Option<RequestId>) {
        if !self.services.contains_key(&id) {
            return no_such_service(work, request);
        }
        let mut queued = BTreeSet::new();
        for other in self.followers(id) {
            let request = if other == id { request } else { None };
            if self.with(now, work, other, |service, turn| service.wish_stop(turn, request)) == Some(true) {
                queued.insert(other);
            }
        }
        self.begin_stops(now, work, queued);
    }

    pub(super) fn restart(&mut self, now: Moment, work: &mut Work, id: ServiceId, request: Option<RequestId>) {
        if self.is_keeping(id) {
            return self.roll(now, work, id, request);
        }
        let is_up = |service: &Service| matches!(service.state, State::Up(_));
        if self.services.get(&id).is_some_and(|service| matches!(service.state, State::Listening { .. })) {
            self.take_new_policy(id);
            if self.with(now, work, id, |service, turn| service.listen_anew(turn, request)) == Some(true) {
                self.start_with_others(now, work, id);
            }
            return;
        }
        if !self.services.get(&id).is_some_and(|service| is_up(service)) {
            return self.start(now, work, id, request);
        }
        let mut queued = BTreeSet::new();
        for other in self.followers(id) {
            let request = if other == id { request } else { None };
            // What is only waiting for its start need not be restarted; what is on its way down stays on it.
            let is_meant = self
                .services
                .get(&other)
                .is_some_and(|service| matches!(&service.state, State::Up(run) if other == id || run.is_heading_up()));
            if is_meant
                && self.with(now, work, other, |service, turn| service.wish_restart(turn, request)) == Some(true)
            {
                queued.insert(other);
            }
        }
        self.begin_stops(now, work, queued);
    }

    /// `id` and all that go with it, directly or not, and have something to stop.
    fn followers(&self, id: ServiceId) -> BTreeSet<ServiceId> {
        reach(id, |id| {
            let name = self.services.get(&id).map_or("", |service| &service.name);
            let concerned = |other: &ServiceId| self.services[other].is_anything_to_stop();
            self.graph.following(name).filter(concerned).collect()
        })
    }

    pub(super) fn begin_stops(&mut self, now: Moment, work: &mut Work, queued: BTreeSet<ServiceId>) {
        for id in &queued {
            if self.has_running_successor(*id) {
                self.put_off(now, *id);
            }
        }
        for id in &queued {
            self.begin_stop_if_free(now, work, *id);
        }
        for id in queued {
            if self.closes_circle_of_stops(id) {
                self.put_off.remove(&id);
                self.with(now, work, id, |service, turn| service.begin_stop(turn));
            }
        }
    }

    /// Do units that wait for each other's stop wait for this one, which waits for them? The last to join opens it.
    fn closes_circle_of_stops(&self, id: ServiceId) -> bool {
        let queued = |other: &ServiceId| self.services[other].is_stop_queued();
        let stops = |other: &ServiceId| queued(other) || self.is_dissolving(*other);
        let next = |id: ServiceId| -> Vec<ServiceId> {
            let members = if self.is_dissolving(id) { self.members_if_kept(id) } else { Vec::new() };
            self.successors(id).filter(stops).chain(members.into_iter().filter(queued)).collect()
        };
        queued(&id) && next(id).into_iter().any(|other| reach(other, next).contains(&id))
    }

    /// Is a unit up that is ordered after this one and that the next event may ask to stop?
    fn has_running_successor(&self, id: ServiceId) -> bool {
        self.successors(id).any(|other| {
            let service = &self.services[&other];
            matches!(service.state, State::Up(_) | State::Keeping(_)) && !service.is_stop_pending()
        })
    }

    /// Begins the stop that is queued, unless it is not its turn.
    fn begin_stop_if_free(&mut self, now: Moment, work: &mut Work, id: ServiceId) {
        let is_queued = self.services.get(&id).is_some_and(|service| service.is_stop_queued());
        if !is_queued || self.put_off.contains(&id) {
            return;
        }
        let after = self.successors(id).rfind(|other| self.services[other].is_stop_pending());
        match after {
            Some(other) => self.wait_for(other, id),
            None => {
                self.with(now, work, id, |service, turn| service.begin_stop(turn));
            }
        }
    }

    // ── whose turn it is ──

    /// Lets those go on that waited for what has just happened, until nothing more follows from it.
    pub(super) fn pass_on(&mut self, now: Moment, work: &mut Work) {
        if self.surveying {
            return self.held_back.append(&mut work.pulses);
        }
        while !work.pulses.is_empty() {
            for (id, pulse) in std::mem::take(&mut work.pulses) {
                match pulse {
                    Pulse::Started => self.after_start(now, work, id),
                    Pulse::NotStarted => self.after_no_start(now, work, id),
                    Pulse::Ending => self.pass_on_ending(now, work, id),
                    Pulse::Gone => {
                        self.wake(now, work, id);
                        self.pass_on_end(now, work, id);
                    }
                    Pulse::Rested { asked } => {
                        self.replica_rests(id, asked);
                        self.rested(now, work, id, asked);
                    }
                    Pulse::WantsStart => self.start_with_others(now, work, id),
                    Pulse::RestartDue => self.start_automatically(now, work, id),
                    Pulse::Keep => self.keep(now, work, id),
                    Pulse::Dissolve => self.dissolve(now, work, id),
                }
                self.replica_moved(id);
            }
        }
    }

    /// At the end of a round: what was put off is decided now.
    pub(super) fn end_round(&mut self, now: Moment, work: &mut Work) {
        if self.end_of_round.take_if(|end| *end <= now).is_none() {
            return;
        }
        let put_off = std::mem::take(&mut self.put_off);
        for id in &put_off {
            self.begin_if_free(now, work, *id);
        }
        for id in put_off {
            self.begin_stop_if_free(now, work, id);
        }
    }

    /// Looks again at those that waited for this one.
    fn wake(&mut self, now: Moment, work: &mut Work, id: ServiceId) {
        for waiting in self.waiting_for.remove(&id).unwrap_or_default() {
            self.begin_if_free(now, work, waiting);
            self.begin_stop_if_free(now, work, waiting);
        }
    }

    fn after_start(&mut self, now: Moment, work: &mut Work, id: ServiceId) {
        self.wake(now, work, id);
        self.pass_on_start(now, work, id);
    }

    fn after_no_start(&mut self, now: Moment, work: &mut Work, id: ServiceId) {
        let Some(service) = self.services.get(&id) else { return };
        let (unit, links) = (service.name.to_string(), service.links);
        let needing: Vec<ServiceId> = self.graph.needing(&unit).collect();
        for other in needing {
            let is_waiting = matches!(self.services[&other].state, State::Waiting { .. });
            if is_waiting && self.predecessors(other).any(|before| before == id) {
                self.with(now, work, other, |service, _| service.links = service.links.max(links));
                self.refuse(now, work, other, Cause::Dependency { unit: unit.clone() });
            }
        }
        self.wake(now, work, id);
    }

    /// The policy restarts it: only what it needs and has ended well meanwhile is pulled in; order is kept.
    fn start_automatically(&mut self, now: Moment, work: &mut Work, id: ServiceId) {
        if !self.is_still_upheld(now, work, id) {
            return;
        }
        if self.with(now, work, id, |service, _| service.leave_backoff()) != Some(true) {
            return;
        }
        self.take_new_policy(id);
        let waits = |id: ServiceId| {
            let others = self.predecessors(id);
            others.filter(|other| matches!(self.services[other].state, State::Waiting { .. })).collect()
        };
        let in_circle = find_cycle([id], waits).is_some();
        for other in self.needed_and_down(id) {
            self.start_with_others(now, work, other);
        }
        if in_circle {
            self.begin(now, work, id);
        } else {
            self.begin_if_free(now, work, id);
        }
    }

    /// Units that an automatic start needs and that are down, as they ended well by themselves. The work of a oneshot
    /// is done for good.
    pub(super) fn needed_and_down(&self, id: ServiceId) -> Vec<ServiceId> {
        let Some(service) = self.services.get(&id) else { return Vec::new() };
        let needed = service.policy.requires.iter().chain(&service.policy.binds_to);
        let is_down = |other: &ServiceId| {
            let other = &self.services[other];
            matches!(other.state, State::Down) && other.policy.kind != ServiceType::Oneshot
        };
        needed.filter_map(|name| self.graph.id(name)).filter(is_down).collect()
    }

    /// The definition that was given meanwhile comes into force.
    pub(super) fn take_new_policy(&mut self, id: ServiceId) {
        let Some(service) = self.services.get_mut(&id) else { return };
        if matches!(service.state, State::Up(_)) {
            return;
        }
        if let Some(policy) = service.next_policy.take() {
            self.graph.remove(service.node());
            service.policy = policy;
            self.graph.insert(service.node());
        }
    }
}

/// The daemon knows no such label any more; the request must not wait for ever.
pub(super) fn no_such_service(work: &mut Work, request: Option<RequestId>) {
    work.actions.extend(request.map(|request| Action::Reply { request, outcome: Outcome::Cancelled }));
}

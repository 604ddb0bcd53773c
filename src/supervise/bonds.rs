//! Bonds between units beyond order: who may start now, who falls with whom, who is kept up, who cannot be up beside
//! whom, and who is started because another one has ended.
//!
//! | Bond | What follows |
//! |---|---|
//! | `requires`, ordered | begins only while the other has not failed and does not wait for another attempt |
//! | `requisite`; `binds_to`, ordered | begins only while the other is up |
//! | `binds_to` | the other's run begins to end by itself, whatever the reason: stopped, failed, and wanted |
//! | `upholds` | the other is at rest while this one is up: tried again after a wait |
//! | `conflicts` | whoever is asked for stops the other first; an automatic start gives way |
//! | `on_failure`, `on_success` | the other is started when this one rests, unless people wanted that |
//!
//! *Wanted* are units that failed for want of another: they are started as soon as that one is up.

use super::graph::{Pull, pull, reach};
use super::jobs::Work;
use super::restart::Next;
use super::run::{Run, Stop};
use super::service::{Examination, Pulse, Service, State, Turn};
use super::{Action, Cause, Moment, Note, ServiceId, ServiceResult, Supervisor};
use crate::unit::ServiceType;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A unit that is upheld is tried again after no less than this.
pub(super) const UPHOLD_AFTER: Duration = Duration::from_secs(1);

/// So many starts may follow from each other by `on_failure` and `on_success`: two units that name each other and both
/// fail must not go on for ever. What a start brings along, and what fails or starts for its sake, counts with it.
pub(super) const MOST_LINKS: u8 = 8;

impl Run {
    /// Its start is complete and nobody and nothing has begun to end it.
    fn is_serving(&self) -> bool {
        self.started.is_some() && self.is_heading_up()
    }
}

impl Service {
    pub(super) fn is_serving(&self) -> bool {
        match &self.state {
            State::Up(run) => run.is_serving(),
            State::Keeping(set) => set.is_serving(),
            _ => false,
        }
    }

    /// It has no run, and whoever needs it will find it.
    pub(super) fn is_listening(&self) -> bool {
        matches!(self.state, State::Listening { .. })
    }

    /// A oneshot whose start is complete goes down at once: nobody needs it to run a second time for that.
    fn is_up_or_has_just_done_its_work(&self) -> bool {
        let done =
            |run: &Run| self.policy.kind == ServiceType::Oneshot && run.started.is_some() && run.stop == Stop::No;
        self.is_listening()
            || self.kept().is_some_and(|set| !set.is_stop_pending())
            || matches!(&self.state, State::Up(run) if run.is_heading_up() || (done(run) && !run.then_start))
    }

    pub(super) fn is_at_rest(&self) -> bool {
        matches!(self.state, State::Down | State::Failed { .. })
    }

    pub(super) fn is_wanted(&self) -> bool {
        matches!(self.state, State::Failed { wanted: true })
    }

    /// The unit to which it is bound ends. Says whether a run is now to be stopped.
    fn fall_with(&mut self, turn: &mut Turn, unit: &str) -> bool {
        match &mut self.state {
            State::Up(run) if run.is_heading_up() => {
                run.stop = Stop::Queued;
                run.fallen_with = Some(unit.to_owned());
                turn.pulse(self.id, Pulse::Ending);
                true
            }
            // On its way down already. Those without a run are looked at when their turn comes.
            State::Up(_)
            | State::Down
            | State::Failed { .. }
            | State::Waiting { .. }
            | State::Backoff { .. }
            | State::Listening { .. }
            | State::Keeping(_) => false,
        }
    }

    /// What it failed for want of is there. Nobody asked for this start, so its counters go on.
    fn enqueue_wanted(&mut self) {
        if self.is_wanted() {
            self.state = State::Waiting { automatic: false, examination: Examination::NotYet };
        }
    }

    /// It rests, and a unit that is up wants it up. Says whether it will be tried again.
    fn uphold(&mut self, turn: &mut Turn) -> bool {
        if !self.is_at_rest() {
            return false;
        }
        match self.restarts.schedule(&self.policy.restart, turn.now, UPHOLD_AFTER, turn.jitter) {
            Next::GiveUp => {
                self.last.result = ServiceResult::StartLimitHit;
                self.last.cause = Some(Cause::StartLimit);
                self.settle_down(turn);
                false
            }
            Next::At(until) => {
                self.state = State::Backoff { until, upheld: true };
                self.record(turn, Note::RestartScheduled { at: until, restarts: self.restarts.count });
                true
            }
        }
    }

    /// Nobody upholds it any more: it stays as its last run left it.
    fn let_go(&mut self, turn: &mut Turn) {
        if matches!(self.state, State::Backoff { upheld: true, .. }) {
            self.settle_down(turn);
        }
    }
}

impl Supervisor {
    // ── who may start ──

    /// What keeps a unit whose turn has come from starting.
    pub(super) fn obstacle(&self, id: ServiceId) -> Option<Cause> {
        let service = self.services.get(&id)?;
        let policy = &service.policy;
        for name in policy.named_for_good() {
            if **name != *service.name && self.graph.id(name).is_none() {
                return Some(Cause::MissingDependency { unit: name.clone() });
            }
        }
        let other = |name: &String| self.graph.id(name).filter(|other| *other != id);
        let is_before = |other: ServiceId| self.graph.predecessors(service.node()).any(|before| before == other);
        for name in policy.requires.iter().chain(&policy.binds_to) {
            if other(name).is_some_and(|other| is_before(other) && self.has_failed(other)) {
                return Some(Cause::Dependency { unit: name.clone() });
            }
        }
        let is_down = |other: ServiceId| !self.services[&other].is_serving() && !self.services[&other].is_listening();
        for name in &policy.binds_to {
            if other(name).is_some_and(|other| is_before(other) && is_down(other)) {
                return Some(Cause::NotUp { unit: name.clone() });
            }
        }
        for name in &policy.requisite {
            if other(name).is_some_and(is_down) {
                return Some(Cause::NotUp { unit: name.clone() });
            }
        }
        // Those that were in the way have been stopped; this one is another's turn, or an automatic start.
        let rival = self.graph.rivals(service.node()).find(|other| self.is_heading_up(*other))?;
        Some(Cause::Conflict { unit: self.services[&rival].name.to_string() })
    }

    /// It failed, waits for another attempt, or is dying. A oneshot that is on its way down has done its work.
    fn has_failed(&self, id: ServiceId) -> bool {
        let service = &self.services[&id];
        match &service.state {
            State::Failed { .. } | State::Backoff { upheld: false, .. } => true,
            State::Backoff { upheld: true, .. } => service.last.result != ServiceResult::Success,
            State::Up(run) => service.policy.kind != ServiceType::Oneshot && !run.is_heading_up() && !run.then_start,
            State::Keeping(set) => set.has_failed(),
            State::Down | State::Waiting { .. } | State::Listening { .. } => false,
        }
    }

    fn is_heading_up(&self, id: ServiceId) -> bool {
        let service = &self.services[&id];
        service.is_listening()
            || service.kept().is_some_and(|set| !set.is_stop_pending())
            || matches!(&service.state, State::Up(run) if run.is_heading_up())
    }

    /// A unit that cannot be up beside this one and is not down yet.
    pub(super) fn rival_that_ends(&self, id: ServiceId) -> Option<ServiceId> {
        let service = self.services.get(&id)?;
        let mut rivals = self.graph.rivals(service.node());
        rivals.find(|other| match &self.services[other].state {
            State::Up(run) => !run.is_heading_up(),
            State::Keeping(set) => set.is_stop_pending(),
            _ => false,
        })
    }

    // ── conflicts ──

    /// What a start of `root` brings along, and who has to end for it. Units that are only wanted give way.
    ///
    /// # Errors
    /// Why `root` cannot be started.
    pub(super) fn pull_without_rivals(&self, root: ServiceId) -> Result<Peaceful, Cause> {
        let names = |id: ServiceId| self.services.get(&id).map(|service| &service.policy);
        let needed = reach(root, |id| {
            names(id).into_iter().flat_map(|policy| policy.needed()).filter_map(|name| self.graph.id(name)).collect()
        });
        let mut left_out = BTreeSet::new();
        let mut given_way = BTreeMap::new();
        loop {
            let pulled = pull(&self.graph, root, |id| {
                let service = self.services.get(&id)?;
                let is_settled = service.is_up_or_has_just_done_its_work();
                (!is_settled && !left_out.contains(&id)).then_some(service.node())
            })
            .map_err(|unit| Cause::MissingDependency { unit })?;
            match self.rivals_of(&needed, &pulled.members) {
                Ok(rivals) => return Ok(Peaceful { pulled, rivals, given_way }),
                Err(Clash { member, other }) if needed.contains(&member) => {
                    return Err(Cause::Conflict { unit: self.services[&other].name.to_string() });
                }
                Err(Clash { member, other }) => {
                    given_way.insert(member, self.services[&other].name.to_string());
                    left_out.extend(self.reach_of_needing(member));
                }
            }
        }
    }

    /// Who cannot be up beside these. Those that are needed are looked at first.
    fn rivals_of(
        &self,
        needed: &BTreeSet<ServiceId>,
        members: &BTreeSet<ServiceId>,
    ) -> Result<BTreeSet<ServiceId>, Clash> {
        let mut rivals = BTreeSet::new();
        let (first, then): (Vec<ServiceId>, Vec<ServiceId>) = members.iter().partition(|id| needed.contains(id));
        for member in first.into_iter().chain(then) {
            for other in self.graph.rivals(self.services[&member].node()) {
                let fallout = reach(other, |id| self.graph.following(&self.services[&id].name).collect());
                if !fallout.is_disjoint(needed) {
                    return Err(Clash { member, other });
                }
                if let Some(gives_way) = fallout.intersection(members).next() {
                    return Err(Clash { member: *gives_way, other: if *gives_way == other { member } else { other } });
                }
                rivals.extend(fallout);
            }
        }
        Ok(rivals)
    }

    fn reach_of_needing(&self, id: ServiceId) -> BTreeSet<ServiceId> {
        reach(id, |id| self.graph.needing(&self.services[&id].name).collect())
    }

    // ── what follows from a start or an end ──

    /// A unit is up: what failed for want of it is started, what it upholds is looked after.
    pub(super) fn pass_on_start(&mut self, now: Moment, work: &mut Work, id: ServiceId) {
        let Some(service) = self.services.get(&id) else { return };
        let links = service.links;
        let needing: Vec<ServiceId> = self.graph.needing(&service.name).collect();
        for other in needing {
            if self.services[&other].is_wanted() {
                self.with(now, work, other, |service, _| service.links = service.links.max(links));
                self.start_wanted(now, work, other);
            }
        }
        self.look_after_upheld(now, work, id);
    }

    fn upheld_by(&self, id: ServiceId) -> Vec<ServiceId> {
        let service = self.services.get(&id);
        let names = service.into_iter().flat_map(|service| &service.policy.upholds);
        names.filter_map(|name| self.graph.id(name)).filter(|other| *other != id).collect()
    }

    fn is_upheld(&self, id: ServiceId) -> bool {
        let Some(service) = self.services.get(&id) else { return false };
        let mut upholders = self.graph.upholders(&service.name);
        upholders.any(|other| other != id && self.services[&other].is_serving()) || self.is_kept(id)
    }

    fn look_after_upheld(&mut self, now: Moment, work: &mut Work, id: ServiceId) {
        for other in self.upheld_by(id) {
            if self.is_upheld(other) {
                self.with(now, work, other, |service, turn| service.uphold(turn));
            } else {
                self.with(now, work, other, |service, turn| service.let_go(turn));
            }
        }
    }

    /// The wait of a unit is over: is it still wanted up by whoever upheld it?
    pub(super) fn is_still_upheld(&mut self, now: Moment, work: &mut Work, id: ServiceId) -> bool {
        let upheld = matches!(self.services.get(&id).map(|s| &s.state), Some(State::Backoff { upheld: true, .. }));
        if upheld && !self.is_upheld(id) {
            self.with(now, work, id, |service, turn| service.let_go(turn));
            return false;
        }
        true
    }

    /// A run begins to end by itself: those bound to it fall. At the beginning, not at the end: two units that are bound
    /// to each other go down together, and neither falls with what was over before it came back.
    pub(super) fn pass_on_ending(&mut self, now: Moment, work: &mut Work, id: ServiceId) {
        let Some(service) = self.services.get(&id) else { return };
        let unit = service.name.to_string();
        let bound: Vec<ServiceId> = self.graph.bound(&unit).filter(|other| *other != id).collect();
        let mut queued = BTreeSet::new();
        for other in bound {
            if self.with(now, work, other, |service, turn| service.fall_with(turn, &unit)) == Some(true) {
                queued.insert(other);
            }
        }
        self.begin_stops(now, work, queued);
    }

    /// A run is over: those that it upheld are let go.
    pub(super) fn pass_on_end(&mut self, now: Moment, work: &mut Work, id: ServiceId) {
        self.look_after_upheld(now, work, id);
        // The unit for want of which it fell may have come back while it was going down.
        self.start_wanted(now, work, id);
    }

    /// Starts a unit that failed for want of another, if nothing keeps it from starting now. It brings along what is
    /// wanted as well and bound to it without order, but stops nobody and has no oneshot do its work again: two of
    /// these could keep each other busy for ever.
    fn start_wanted(&mut self, now: Moment, work: &mut Work, id: ServiceId) {
        let Some(service) = self.services.get(&id).filter(|service| service.is_wanted()) else { return };
        let links = service.links;
        let together = reach(id, |id| {
            self.bound_without_order(id).into_iter().filter(|other| self.services[other].is_wanted()).collect()
        });
        let may_start = |id: &ServiceId| {
            let comes_up = |other: &ServiceId| {
                let service = &self.services[other];
                together.contains(other) || service.is_serving() || service.is_listening() || service.is_start_pending()
            };
            self.obstacle(*id).is_none() && self.bound_without_order(*id).iter().all(comes_up)
        };
        if !together.iter().all(may_start) || self.cycle_of_starts(&together).is_some() {
            return;
        }
        for id in &together {
            self.with(now, work, *id, |service, _| {
                service.links = service.links.max(links);
                service.enqueue_wanted();
            });
        }
        for id in &together {
            for other in self.needed_and_down(*id) {
                self.start_with_others(now, work, other);
            }
        }
        for id in together {
            self.begin_if_free(now, work, id);
        }
    }

    fn bound_without_order(&self, id: ServiceId) -> Vec<ServiceId> {
        let service = &self.services[&id];
        let is_before = |other: &ServiceId| self.graph.predecessors(service.node()).any(|before| before == *other);
        let bound = service.policy.binds_to.iter().filter_map(|name| self.graph.id(name));
        bound.filter(|other| *other != id && !is_before(other)).collect()
    }

    /// A unit rests: it is tried again if another one upholds it, else others are started on its behalf.
    pub(super) fn rested(&mut self, now: Moment, work: &mut Work, id: ServiceId, asked: bool) {
        // A run that was followed by listening is over as well.
        if !self.services.get(&id).is_some_and(|service| service.is_at_rest() || service.is_listening()) {
            return;
        }
        let upheld = self.is_upheld(id);
        if upheld && self.with(now, work, id, |service, turn| service.uphold(turn)) == Some(true) {
            return;
        }
        let service = &self.services[&id];
        if asked || service.links >= MOST_LINKS {
            return;
        }
        let names = match service.state {
            State::Failed { .. } => &service.policy.on_failure,
            State::Listening { .. } if service.last.result != ServiceResult::Success => &service.policy.on_failure,
            _ => &service.policy.on_success,
        };
        let links = service.links + 1;
        work.actions.extend(names.iter().map(|name| Action::StartUnit { id, name: name.clone(), links }));
    }

    /// A daemon that has just started has told everything that it found: what ended while nobody looked has its
    /// consequences now.
    pub(super) fn surveyed(&mut self, now: Moment, work: &mut Work) {
        self.surveying = false;
        work.pulses.append(&mut self.held_back);
        let ids: Vec<ServiceId> = self.services.keys().copied().collect();
        for id in ids {
            let service = &self.services[&id];
            if service.is_wanted() {
                self.start_wanted(now, work, id);
            } else if service.is_serving() {
                let names = service.policy.binds_to.clone();
                let gone = |name: &String| {
                    self.graph.id(name).is_none_or(|b| {
                        !matches!(self.services[&b].state, State::Up(_) | State::Listening { .. } | State::Keeping(_))
                    })
                };
                if let Some(unit) = names.into_iter().find(gone)
                    && self.with(now, work, id, |service, turn| service.fall_with(turn, &unit)) == Some(true)
                {
                    self.begin_stops(now, work, BTreeSet::from([id]));
                }
                self.look_after_upheld(now, work, id);
            }
        }
        self.resume_sets(now, work);
    }
}

/// What a start brings along when nobody is left in it who cannot be up beside the others.
pub(super) struct Peaceful {
    pub pulled: Pull,
    /// Who has to end first.
    pub rivals: BTreeSet<ServiceId>,
    /// Who was only wanted and gives way, and to whom.
    pub given_way: BTreeMap<ServiceId, String>,
}

/// `member` was to be started and cannot be up together with `other`, or with what goes with that.
struct Clash {
    member: ServiceId,
    other: ServiceId,
}

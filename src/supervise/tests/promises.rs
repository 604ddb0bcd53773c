//! The supervisor's side of the toy world: actions are carried out, and held against what was promised.

use super::super::bonds::MOST_LINKS;
use super::world::{Order, World, at, id};
use crate::supervise::{Action, ActiveState, Event, Moment, Note, Policy, Removal, ServiceId, SubState, Unmet};
use crate::unit::ServiceType;

impl World {
    pub fn step(&mut self, event: Event) {
        self.steps([event]);
    }

    /// Events that the daemon has at the same time; what follows from them comes after the last.
    pub fn steps(&mut self, events: impl IntoIterator<Item = Event>) {
        self.asked_for.extend(events);
        let mut steps = 0;
        while let Some(event) = self.asked_for.pop_front() {
            let was_waiting: Vec<bool> = match self.order {
                Order::Checked => (0..self.hosts.len()).map(|index| self.is_waiting(index)).collect(),
                Order::Unchecked => Vec::new(),
            };
            self.history.push(format!("{:?} {event:?}", self.bench.now));
            self.says_stopping = match event {
                Event::Stopping { id } => Some(at(id)),
                _ => None,
            };
            self.served = match event {
                Event::DeadlinePassed => (0..self.hosts.len()).map(|index| self.serves(index)).collect(),
                _ => vec![false; self.hosts.len()],
            };
            let actions = self.bench.supervisor.step(self.bench.now, event);
            for action in actions {
                self.history.push(format!("    {action:?}"));
                self.perform(action, &was_waiting);
            }
            self.watch_rolls();
            steps += 1;
            assert!(steps < 50_000, "starts on behalf of others go on and on");
        }
    }

    /// What happened to two services, for people who read a failure.
    pub fn history_of(&self, one: ServiceId, other: ServiceId) -> String {
        let names = [format!("{one:?}"), format!("{other:?}")];
        let lines = self.history.iter().filter(|line| names.iter().any(|name| line.contains(name)));
        lines.fold(String::new(), |text, line| text + "\n" + line)
    }

    pub fn serves(&self, index: usize) -> bool {
        matches!(self.bench.status(id(index)).state, ActiveState::Active | ActiveState::Reloading)
    }

    /// Whenever a roll takes the next replica, those that it took before are up.
    fn watch_rolls(&mut self) {
        let sets = (0..self.policies.len()).filter(|index| self.policies[*index].replicas.is_some());
        for index in sets.collect::<Vec<_>>() {
            let Some(status) = self.bench.supervisor.set_status(id(index)) else { continue };
            let Some(kept) = status.kept else { continue };
            let Some((roll, current)) = kept.roll.and_then(|roll| Some((roll.clone(), roll.current?))) else {
                continue;
            };
            if self.rolling.insert(index, current) == Some(current) {
                continue;
            }
            for number in roll.done.iter().filter(|number| **number <= status.number && !kept.held.contains(number)) {
                let replica = status.replicas.iter().find(|(other, _)| other == number).expect("it is known").1;
                assert!(
                    self.serves(at(replica)),
                    "{replica:?} is down and the roll goes on with {current:?}{}",
                    self.history_of(replica, id(index))
                );
            }
        }
    }

    fn is_waiting(&self, index: usize) -> bool {
        self.bench.status(id(index)).substate == SubState::Waiting
    }

    /// On behalf of another; a name that is no unit's is no harm.
    fn start_unit(&mut self, name: &str, links: u8) {
        assert!(links <= MOST_LINKS, "starts that follow from starts come to an end");
        if let Some(index) = self.policies.iter().position(|policy| policy.name == name) {
            self.asked_for.push_back(Event::Triggered { id: id(index), links });
        }
    }

    pub fn perform(&mut self, action: Action, was_waiting: &[bool]) {
        match action {
            Action::Launch { id, role, .. } => {
                for rival in self.rivals(at(id)) {
                    assert!(
                        self.hosts[rival].is_empty(),
                        "{id:?} is launched beside {rival}, its rival{}",
                        self.history_of(id, super::world::id(rival))
                    );
                }
                self.launch(at(id), role);
            }
            Action::Signal { id, target, signal } => self.signal(at(id), target, signal),
            Action::KillCgroup { id } => self.kill_group(at(id)),
            Action::WatchReadiness { id } => self.hosts[at(id)].watched = true,
            Action::UnwatchReadiness { id } => {
                assert!(std::mem::take(&mut self.hosts[at(id)].watched), "what is not watched is not unwatched");
            }
            Action::Check { id, number } => self.check(at(id), number),
            Action::AbandonCheck { id } => self.abandon_check(at(id)),
            Action::Listen { id } => {
                // The run that was there is over, and each start on demand counts anew.
                self.is_over(at(id));
                self.hosts[at(id)].restarts.clear();
                self.listen(at(id));
            }
            Action::Remove { id, removal } => {
                assert!(self.hosts[at(id)].is_empty(), "removed under a live service");
                self.hosts[at(id)].listening &= removal == Removal::AfterRun;
            }
            Action::Examine { id } => {
                let unmet = match self.choices.below(6) {
                    4 => Some(Unmet { what: "x".into(), assert: false }),
                    5 => Some(Unmet { what: "x".into(), assert: true }),
                    _ => None,
                };
                self.asked_for.push_back(Event::Examined { id, unmet });
            }
            Action::StartUnit { name, links, .. } => self.start_unit(&name, links),
            Action::Reply { request, .. } => {
                assert!(self.waiting.remove(&request), "{request:?} is answered once, and not after it was abandoned");
                assert!(!self.abandoned.contains(&request));
            }
            Action::Record { id, note } => self.note(at(id), note, was_waiting),
        }
    }

    /// What is said must agree with what was promised about order and limits.
    pub fn note(&mut self, index: usize, note: Note, was_waiting: &[bool]) {
        match note {
            Note::Starting { restarts } => {
                if restarts == 0 {
                    self.hosts[index].restarts.clear();
                }
                if self.order == Order::Checked {
                    for before in self.predecessors(index) {
                        assert!(!self.hosts[before].starting, "{index} starts while {before} before it is starting");
                        let still_waits = was_waiting[before] && self.is_waiting(before);
                        assert!(!still_waits, "{index} overtakes {before}, which waits");
                    }
                }
                self.check_needs(index);
                self.hosts[index].starting = true;
            }
            Note::Started | Note::Listening => self.hosts[index].starting = false,
            // Order is for stops that people want; a service may end when it likes.
            Note::Stopping if self.says_stopping == Some(index) => {}
            Note::Stopping => {
                if self.order == Order::Checked {
                    for after in self.successors(index) {
                        assert!(
                            !self.hosts[after].stopping,
                            "{index} stops while {after} after it is stopping{}",
                            self.history_of(super::world::id(index), super::world::id(after))
                        );
                    }
                }
                self.hosts[index].stopping = true;
            }
            Note::RestartScheduled { at, restarts } => {
                self.is_over(index);
                if restarts == 1 {
                    // Somebody's wish for another unit brought this one along, and its start was refused.
                    self.hosts[index].restarts.clear();
                }
                self.check_limit(index, at);
            }
            Note::Stopped | Note::Failed(_) | Note::Skipped(_) | Note::Incomplete(_) => self.is_over(index),
            Note::Triggered
            | Note::Ended(_)
            | Note::Reloading
            | Note::Reloaded(_)
            | Note::Killing
            | Note::StatusText
            | Note::Scaled { .. }
            | Note::Replicas { .. }
            | Note::Rolling { .. }
            | Note::Rolled(_)
            | Note::Healthy
            | Note::HookFailed(_)
            | Note::Unhealthy(_)
            | Note::Adopted => {}
        }
    }

    /// No start before what it needs is ready.
    fn check_needs(&self, index: usize) {
        let policy = &self.policies[index];
        let find = |name: &String| self.policies.iter().position(|other| other.name == *name);
        for other in policy.needed().filter_map(find).filter(|other| *other != index) {
            let (status, name) = (self.bench.status(id(other)), &self.policies[other].name);
            // The time of several may be over at one moment: what served when it came may end in the same step.
            let serves = self.serves(other) || self.served[other];
            let is_before = self.is_ordered(other, index);
            if policy.requisite.contains(name) || (is_before && policy.binds_to.contains(name)) {
                assert!(serves, "{index} starts while {other}, which has to be up, is {status:?}");
            }
            if is_before && policy.requires.contains(name) {
                let done = status.state == ActiveState::Inactive || status.upheld;
                let oneshot = self.policies[other].kind == ServiceType::Oneshot;
                assert!(serves || done || oneshot, "{index} starts while {other}, which it requires, is {status:?}");
                assert_ne!(status.state, ActiveState::Failed, "{index} starts without {other}, which it requires");
            }
        }
    }

    /// Who cannot be up together with it.
    pub fn rivals(&self, index: usize) -> Vec<usize> {
        let (policy, all) = (&self.policies[index], &self.policies);
        let is_rival =
            |other: &Policy| other.conflicts.contains(&policy.name) || policy.conflicts.contains(&other.name);
        (0..all.len()).filter(|other| *other != index && is_rival(&all[*other])).collect()
    }

    pub fn is_over(&mut self, index: usize) {
        self.hosts[index].starting = false;
        self.hosts[index].stopping = false;
    }

    pub fn check_limit(&mut self, index: usize, at: Moment) {
        let settings = &self.policies[index].restart;
        self.hosts[index].restarts.push(at);
        if settings.limit_burst > 0 {
            let recent =
                self.hosts[index].restarts.iter().filter(|old| at.since(**old) < settings.limit_interval).count();
            let own = super::world::id(index);
            assert!(
                recent <= settings.limit_burst as usize,
                "{recent} restarts of {index} within the interval{}",
                self.history_of(own, own)
            );
        }
    }

    pub fn predecessors(&self, index: usize) -> Vec<usize> {
        (0..self.policies.len()).filter(|other| self.is_ordered(*other, index)).collect()
    }

    pub fn successors(&self, index: usize) -> Vec<usize> {
        (0..self.policies.len()).filter(|other| self.is_ordered(index, *other)).collect()
    }

    pub fn is_ordered(&self, first: usize, second: usize) -> bool {
        let (first, second) = (&self.policies[first], &self.policies[second]);
        first.before.contains(&second.name) || second.after.contains(&first.name)
    }
}

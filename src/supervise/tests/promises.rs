//! The supervisor's side of the toy world: actions are carried out, and held against what was promised.

use super::world::{Order, World, at, id};
use crate::supervise::{Action, Event, Moment, Note, SubState};

impl World {
    pub fn step(&mut self, event: Event) {
        let was_waiting: Vec<bool> =
            (0..self.hosts.len()).map(|i| self.bench.status(id(i)).substate == SubState::Waiting).collect();
        let actions = self.bench.supervisor.step(self.bench.now, event);
        for action in actions {
            self.perform(action, &was_waiting);
        }
    }

    pub fn perform(&mut self, action: Action, was_waiting: &[bool]) {
        match action {
            Action::Launch { id, role, .. } => self.launch(at(id), role),
            Action::Signal { id, target, signal } => self.signal(at(id), target, signal),
            Action::KillCgroup { id } => self.kill_group(at(id)),
            Action::WatchReadiness { id } => self.hosts[at(id)].watched = true,
            Action::UnwatchReadiness { id } => {
                assert!(std::mem::take(&mut self.hosts[at(id)].watched), "what is not watched is not unwatched");
            }
            Action::Check { id, number } => self.check(at(id), number),
            Action::AbandonCheck { id } => self.abandon_check(at(id)),
            Action::Remove { id, .. } => assert!(self.hosts[at(id)].is_empty(), "removed under a live service"),
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
                        let still_waits = self.bench.status(id(before)).substate == SubState::Waiting;
                        assert!(!(was_waiting[before] && still_waits), "{index} overtakes {before}, which waits");
                    }
                }
                self.hosts[index].starting = true;
            }
            Note::Started => self.hosts[index].starting = false,
            Note::Stopping => {
                if self.order == Order::Checked {
                    for after in self.successors(index) {
                        assert!(!self.hosts[after].stopping, "{index} stops while {after} after it is stopping");
                    }
                }
                self.hosts[index].stopping = true;
            }
            Note::RestartScheduled { at, .. } => {
                self.is_over(index);
                self.check_limit(index, at);
            }
            Note::Stopped | Note::Failed(_) => self.is_over(index),
            Note::Ended(_)
            | Note::Reloading
            | Note::Reloaded(_)
            | Note::Killing
            | Note::StatusText
            | Note::Healthy
            | Note::Unhealthy(_)
            | Note::Adopted => {}
        }
    }

    pub fn is_over(&mut self, index: usize) {
        self.hosts[index].starting = false;
        self.hosts[index].stopping = false;
    }

    pub fn check_limit(&mut self, index: usize, at: Moment) {
        let settings = &self.policies[index].restart;
        let restarts = &mut self.hosts[index].restarts;
        restarts.push(at);
        if settings.limit_burst > 0 {
            let recent = restarts.iter().filter(|old| at.since(**old) < settings.limit_interval).count();
            assert!(recent <= settings.limit_burst as usize, "{recent} restarts of {index} within the interval");
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

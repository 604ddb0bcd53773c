//! Launches take turns with everything else: a daemon that has a thousand services to launch goes on hearing, answering
//! and writing down what becomes of each.
//!
//! ```text
//! Action::Launch ─▶ is there room in this turn? ─yes─▶ launched
//!                              └─no─▶ waiting, the oldest first, with the later orders about the same unit behind it
//! ```
//!
//! What a launch promises has been written down before (`Engine::write_down_first`), so a daemon that dies with launches
//! waiting leaves one that knows of them. Orders about one unit are never carried out in another order than they were
//! given: one that ends something carries out what waits for it first.

use super::engine::Engine;
use crate::supervise::{Action, Event, Role, ServiceId};
use std::collections::{HashMap, VecDeque};

/// Launches in one turn of the loop. A launch is some milliseconds of the loop's time.
const LAUNCHES_AT_ONCE: usize = 4;

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct Pacing {
    /// Whose turn comes when. One that has had it out of turn stays here, and is passed over.
    turns: VecDeque<ServiceId>,
    /// The same of commands around what has begun: they come before new runs, which would only make more of them. A daemon
    /// that is killed again and again while hundreds wait would otherwise never tell the last of them.
    commands: VecDeque<ServiceId>,
    orders: HashMap<ServiceId, Vec<Action>>,
    /// Launches in this turn.
    launched: usize,
}

impl Pacing {
    /// Is there a launch that waits?
    pub fn is_waiting(&self) -> bool {
        !self.orders.is_empty()
    }

    /// Does a launch of this unit wait?
    pub fn holds(&self, id: ServiceId) -> bool {
        self.orders.contains_key(&id)
    }

    fn push(&mut self, id: ServiceId, action: Action) {
        let (turns, commands) = (&mut self.turns, &mut self.commands);
        let orders = self.orders.entry(id).or_insert_with(|| {
            if begins_a_run(&action) { turns } else { commands }.push_back(id);
            Vec::new()
        });
        orders.push(action);
    }

    /// Whose turn it is.
    fn next(&mut self) -> Option<ServiceId> {
        self.commands.pop_front().or_else(|| self.turns.pop_front())
    }

    /// All orders that wait of a unit; they are carried out together.
    fn take(&mut self, id: ServiceId) -> Vec<Action> {
        self.orders.remove(&id).unwrap_or_default()
    }
}

fn begins_a_run(action: &Action) -> bool {
    matches!(action, Action::Launch { role: Role::Main | Role::StartPre(_), .. })
}

/// What an order has to do with a launch of the same unit that waits.
enum Kin {
    /// It may wait behind it, or begins it.
    Waits(ServiceId),
    /// It may not wait: the launch comes first, now.
    Hurries(ServiceId),
    /// Nothing.
    Stranger,
}

fn kin(action: &Action) -> Kin {
    match action {
        Action::Launch { id, .. }
        | Action::WatchReadiness { id }
        | Action::UnwatchReadiness { id }
        | Action::Check { id, .. }
        | Action::AbandonCheck { id } => Kin::Waits(*id),
        Action::Signal { id, .. } | Action::KillCgroup { id } | Action::Listen { id } | Action::Remove { id, .. } => {
            Kin::Hurries(*id)
        }
        Action::Examine { .. } | Action::StartUnit { .. } | Action::Reply { .. } | Action::Record { .. } => {
            Kin::Stranger
        }
    }
}

impl Engine {
    /// Carries an order out now, or when its turn comes.
    pub(super) fn perform_in_turn(&mut self, action: Action) {
        match kin(&action) {
            Kin::Waits(id) if self.pacing.holds(id) => return self.pacing.push(id, action),
            Kin::Waits(id) if matches!(action, Action::Launch { .. }) => {
                if self.pacing.launched >= LAUNCHES_AT_ONCE {
                    self.events.push_back(Event::LaunchWaits { id });
                    return self.pacing.push(id, action);
                }
                self.pacing.launched += 1;
            }
            Kin::Hurries(id) => self.launch_out_of_turn(id),
            Kin::Waits(_) | Kin::Stranger => {}
        }
        self.perform(action);
    }

    fn launch_out_of_turn(&mut self, id: ServiceId) {
        let orders = self.pacing.take(id);
        if orders.is_empty() {
            return;
        }
        self.events.push_back(Event::LaunchBegins { id });
        self.pacing.launched += orders.len();
        orders.into_iter().for_each(|order| self.perform(order));
    }

    /// A new turn of the loop: some more of what waits.
    pub(super) fn launch_waiting(&mut self) {
        self.pacing.launched = 0;
        while self.pacing.launched < LAUNCHES_AT_ONCE
            && let Some(id) = self.pacing.next()
        {
            self.launch_out_of_turn(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::{Outcome, RequestId, ServiceResult, Target};

    fn launch(id: u32) -> Action {
        Action::Launch { id: ServiceId(id), role: Role::Main, result: ServiceResult::Success, main_exit: None }
    }

    #[test]
    fn orders_about_one_unit_stay_together_and_in_their_order() {
        let mut pacing = Pacing::default();
        pacing.push(ServiceId(1), launch(1));
        pacing.push(ServiceId(2), launch(2));
        pacing.push(ServiceId(1), Action::WatchReadiness { id: ServiceId(1) });
        assert!(pacing.holds(ServiceId(1)) && !pacing.holds(ServiceId(3)));
        assert_eq!(pacing.turns, [ServiceId(1), ServiceId(2)]);
        assert_eq!(pacing.take(ServiceId(1)), [launch(1), Action::WatchReadiness { id: ServiceId(1) }]);
        assert!(pacing.take(ServiceId(1)).is_empty() && pacing.is_waiting());
        pacing.take(ServiceId(2));
        assert!(!pacing.is_waiting());
    }

    #[test]
    fn commands_come_before_new_runs() {
        let mut pacing = Pacing::default();
        for id in [1, 2] {
            pacing.push(ServiceId(id), launch(id));
        }
        let (result, main_exit) = (ServiceResult::Success, None);
        let command = Action::Launch { id: ServiceId(3), role: Role::StopPost(0), result, main_exit };
        pacing.push(ServiceId(3), command);
        let order: Vec<ServiceId> = std::iter::from_fn(|| pacing.next()).collect();
        assert_eq!(order, [3, 1, 2].map(ServiceId));
    }

    #[test]
    fn what_ends_something_does_not_wait_and_what_answers_has_nothing_to_wait_for() {
        let id = ServiceId(1);
        assert!(matches!(kin(&Action::KillCgroup { id }), Kin::Hurries(_)));
        assert!(matches!(kin(&Action::Signal { id, target: Target::Main, signal: 15 }), Kin::Hurries(_)));
        assert!(matches!(kin(&Action::Reply { request: RequestId(1), outcome: Outcome::Done }), Kin::Stranger));
    }
}

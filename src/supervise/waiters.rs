//! Who waits for what: requests without an answer. Each leaves its list with exactly one.

use super::service::Turn;
use super::{Outcome, RequestId};
use std::ops::{Deref, DerefMut};

/// Who waits for what. Most of the time nobody waits for anything: the lists are there while somebody does.
#[derive(Debug, Default)]
pub(super) struct Waiters(Option<Box<Lists>>);

/// See [`Waiters`].
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// The outcome of the present start, or of the one that waits.
    pub starts: Vec<RequestId>,
    /// The outcome of the start that follows the present run.
    pub next_starts: Vec<RequestId>,
    pub stops: Vec<RequestId>,
    pub reloads: Vec<RequestId>,
    /// The reload after the present one.
    pub next_reloads: Vec<RequestId>,
}

/// Nobody waits.
static NOBODY: Lists = Lists {
    starts: Vec::new(),
    next_starts: Vec::new(),
    stops: Vec::new(),
    reloads: Vec::new(),
    next_reloads: Vec::new(),
};

impl Deref for Waiters {
    type Target = Lists;

    fn deref(&self) -> &Lists {
        self.0.as_deref().unwrap_or(&NOBODY)
    }
}

impl DerefMut for Waiters {
    fn deref_mut(&mut self) -> &mut Lists {
        self.0.get_or_insert_default()
    }
}

impl Waiters {
    /// Leaves no lists where nobody waits.
    pub fn tidy(&mut self) {
        self.0.take_if(|lists| lists.is_empty());
    }
}

impl Lists {
    pub fn is_empty(&self) -> bool {
        [&self.starts, &self.next_starts, &self.stops, &self.reloads, &self.next_reloads].iter().all(|l| l.is_empty())
    }

    pub fn forget(&mut self, request: RequestId) {
        for list in
            [&mut self.starts, &mut self.next_starts, &mut self.stops, &mut self.reloads, &mut self.next_reloads]
        {
            list.retain(|waiting| *waiting != request);
        }
    }

    /// The next start is the present one now.
    pub fn next_starts_begin(&mut self) {
        self.starts.append(&mut self.next_starts);
    }

    /// The present start comes later.
    pub fn starts_are_put_off(&mut self) {
        self.next_starts.append(&mut self.starts);
    }

    pub fn answer_starts(&mut self, turn: &mut Turn, outcome: Outcome) {
        answer(&mut self.starts, turn, outcome);
    }

    /// All reloads, present and next.
    pub fn answer_reloads(&mut self, turn: &mut Turn, outcome: Outcome) {
        answer(&mut self.reloads, turn, outcome.clone());
        answer(&mut self.next_reloads, turn, outcome);
    }

    /// The present reload; says whether another was asked for meanwhile.
    pub fn answer_current_reloads(&mut self, turn: &mut Turn, outcome: Outcome) -> bool {
        answer(&mut self.reloads, turn, outcome);
        std::mem::swap(&mut self.reloads, &mut self.next_reloads);
        !self.reloads.is_empty()
    }
}

/// Answers all of a list.
pub(super) fn answer(list: &mut Vec<RequestId>, turn: &mut Turn, outcome: Outcome) {
    for request in list.drain(..) {
        turn.reply(request, outcome.clone());
    }
}

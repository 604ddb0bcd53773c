//! What only time brings to the engine: its own timers, and how long the loop may wait for the earliest of them or of the
//! supervisor's. The timers of units (`[[timers]]`) are in `timers`.

use super::engine::{Engine, monotonic, now};
use super::sources::Place;
use crate::supervise::{Event, Moment, ServiceId, Word};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// A sleep of the machine that is worth a thought; less is the time between two looks at two clocks.
const SLEEP: Duration = Duration::from_secs(1);

/// Something that only time brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Timer {
    /// Look for what `[ready]` names, or the pid file.
    Readiness(ServiceId),
    /// Remove more of the runtime directories.
    RemoveDirectories(ServiceId),
    /// Kill again what is left of a container.
    Kill(ServiceId),
    /// Send what waits for the journal.
    Journal,
    /// Try again to reach the journal with output of services.
    Relay,
    /// The window is over in which messages of the service were suppressed.
    Suppressed(ServiceId),
    /// Look whether a group without `cgroup.events` is empty.
    Empty(ServiceId),
    /// Try to remove the group again.
    RemoveGroup(ServiceId),
    /// One of the unit's own timers may be due.
    Elapse(ServiceId),
    /// An adopted main process is gone; its record should be there.
    Record(ServiceId),
    /// An adopted process that is dead should be reaped.
    Reaped(ServiceId),
    /// A dead process of an earlier daemon should be gone.
    Unreaped,
    /// Nobody has asked again for what a former daemon was asked for.
    Forget(ServiceId),
    /// A keeper that ended at once is followed by another.
    Keeper(ServiceId),
    /// Connections may be accepted again.
    Accept(ServiceId),
    /// Send the keeper what its channel had no room for.
    FlushKeeper,
    /// Nothing has been launched for a while.
    Trim,
    /// An upgrade has to get further; the owner of the loop looks after each turn.
    Upgrade,
    /// Try again what could not be written.
    Unwritten,
    /// Reap launched processes that could not be watched.
    Reap,
    /// Clients may be accepted again.
    Listen,
}

/// Those that are set, each once.
#[derive(Debug, Default)]
pub(super) struct Timers {
    in_order: BTreeSet<(Moment, Timer)>,
    at: HashMap<Timer, Moment>,
}

impl Timers {
    fn set(&mut self, at: Moment, timer: Timer) {
        self.cancel(timer);
        self.in_order.insert((at, timer));
        self.at.insert(timer, at);
    }

    fn cancel(&mut self, timer: Timer) {
        if let Some(at) = self.at.remove(&timer) {
            self.in_order.remove(&(at, timer));
        }
    }

    fn is_set(&self, timer: Timer) -> bool {
        self.at.contains_key(&timer)
    }

    fn first(&self) -> Option<(Moment, Timer)> {
        self.in_order.first().copied()
    }
}

impl Engine {
    /// Sets a timer; an earlier one of the same kind for the same service is replaced.
    pub fn after(&mut self, delay: Duration, timer: Timer) {
        self.timers.set(Moment(now().0 + delay.as_micros() as u64), timer);
    }

    pub fn cancel(&mut self, timer: Timer) {
        self.timers.cancel(timer);
    }

    pub fn is_set(&self, timer: Timer) -> bool {
        self.timers.is_set(timer)
    }

    /// How long the loop may wait; `None`: until something happens.
    pub(super) fn timeout(&self) -> Option<Duration> {
        if self.pacing.is_waiting() {
            return Some(Duration::ZERO);
        }
        let timer = self.timers.first().map(|(at, _)| at);
        let deadline = match (timer, self.supervisor.next_deadline()) {
            (Some(a), Some(b)) => a.min(b),
            (a, b) => a.or(b)?,
        };
        Some(Duration::from_micros(deadline.0.saturating_sub(now().0)))
    }

    /// Does what is due.
    pub(super) fn fire_timers(&mut self) {
        let present = now();
        self.forgive_sleep(present);
        while let Some((at, timer)) = self.timers.first() {
            if at > present {
                break;
            }
            self.cancel(timer);
            match timer {
                Timer::Readiness(id) => self.check_readiness(id),
                Timer::Journal => {} // The owner of the loop flushes after each turn.
                Timer::Relay => self.journal_ready(),
                Timer::Suppressed(id) => self.tell_suppressed(id),
                Timer::Kill(id) => self.kill_remaining(id),
                Timer::Empty(id) => self.check_empty(id),
                Timer::RemoveDirectories(id) => self.remove_directories(id),
                Timer::RemoveGroup(id) => self.remove_group(id),
                Timer::Elapse(id) => self.timer_due(id),
                Timer::Record(id) => self.adopted_main_ended(id),
                Timer::Reaped(id) => self.process_ended(id, Place::Main),
                Timer::Keeper(id) => self.keep_again(id),
                Timer::Accept(id) => self.accept_again(id),
                Timer::FlushKeeper => self.flush_keeper(),
                Timer::Forget(id) => self.forget_requests(id),
                Timer::Unreaped => self.look_for_unreaped(),
                Timer::Trim => self.trim(),
                Timer::Upgrade => {}
                Timer::Unwritten => self.write_again(),
                Timer::Reap => self.reap_unwatched(),
                Timer::Listen => {} // The owner of the listener asks after each turn.
            }
        }
        if self.supervisor.next_deadline().is_some_and(|deadline| deadline <= present) {
            self.events.push_back(Event::DeadlinePassed);
        }
    }

    /// While the machine sleeps nobody can say that he lives, but the clock goes on: each watchdog begins anew.
    fn forgive_sleep(&mut self, present: Moment) {
        let slept = Duration::from_micros(present.0.saturating_sub(monotonic()));
        if slept > self.slept.saturating_add(SLEEP) {
            for id in self.services.keys() {
                self.events.push_back(Event::Said { id: *id, word: Word::Alive });
            }
        }
        self.slept = slept;
    }
}

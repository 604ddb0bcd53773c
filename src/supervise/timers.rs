//! When a timer of a unit is due: a function of the settings, the past and the present.
//!
//! Two clocks matter. Times of the calendar are points of the wall clock, which people set; everything else counts on
//! CLOCK_BOOTTIME, which nobody can set and which goes on in suspend. The caller keeps what happened ([`Past`]) and wakes
//! up when the earliest of its timers is due; after the wall clock was set it asks again.

use super::Moment;
use crate::unit::{Elapse, TimerSettings};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// A point in time on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Both {
    /// The calendar's.
    pub wall: Timestamp,
    /// CLOCK_BOOTTIME.
    pub boot: Moment,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// When the unit was started, by people or at boot.
    pub armed: Both,
    /// Since when it waits: an elapse before that is passed over.
    pub waiting: Timestamp,
    /// When a timer started it last, in whatever boot.
    pub last_wall: Option<Timestamp>,
    /// The same, if that was in this boot.
    pub last_boot: Option<Moment>,
    /// Its `on_boot` timers have had their time in this boot.
    pub boot_done: bool,
}

/// When something is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// By the wall clock.
    Wall(Timestamp),
    /// By CLOCK_BOOTTIME.
    Boot(Moment),
}

/// When `timer` is due next, seen from `now`; it may be past. `seed` makes the jitter of machines differ, and is the same
/// for the whole of a boot, so that asking again does not throw the dice again. `None`: never.
pub fn next_due(timer: &TimerSettings, seed: u64, past: &Past, now: Both, zone: &TimeZone) -> Option<Due> {
    match &timer.elapse {
        Elapse::Every(span) => {
            let base = past.last_boot.unwrap_or(past.armed.boot);
            Some(Due::Boot(base.after(*span).after(jitter(timer, seed, base.0))))
        }
        Elapse::OnBoot(_) if past.boot_done => None,
        Elapse::OnBoot(span) => Some(Due::Boot(Moment(0).after(*span).after(jitter(timer, seed, 0)))),
        Elapse::Calendar(calendar) => {
            // A last time in the future is that of a clock that was wrong.
            let last = past.last_wall.filter(|last| *last <= now.wall);
            // What was due before this is over, unless it is to be made up for.
            let missed_from = if timer.persistent { last.unwrap_or(past.armed.wall) } else { past.waiting };
            let base = missed_from.min(now.wall);
            let longest = SignedDuration::try_from(timer.jitter).unwrap_or(SignedDuration::ZERO);
            let mut from = base.checked_sub(longest).unwrap_or(base);
            loop {
                let point = calendar.next(from, zone)?;
                let late = jitter(timer, seed, point.as_microsecond().unsigned_abs());
                let due = point.checked_add(SignedDuration::try_from(late).ok()?).ok()?;
                // One whose jitter ran out before, or that has been, is not due again.
                if due > base && last.is_none_or(|last| due > last) {
                    return Some(Due::Wall(due));
                }
                from = point;
            }
        }
    }
}

/// Less than `timer.jitter`, by the splitmix64 of seed, timer and elapse.
fn jitter(timer: &TimerSettings, seed: u64, elapse: u64) -> Duration {
    let mut bits = seed ^ elapse.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (timer.index as u64) << 32;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    let micros = u64::try_from(timer.jitter.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(bits.checked_rem(micros).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::value::calendar;

    const SECOND: Duration = Duration::from_secs(1);

    fn timer(elapse: Elapse) -> TimerSettings {
        TimerSettings { elapse, jitter: Duration::ZERO, persistent: false, index: 0 }
    }

    fn wall(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn at(text: &str) -> Both {
        Both { wall: wall(text), boot: Moment(1_000_000_000) }
    }

    fn armed(text: &str) -> Past {
        Past { armed: at(text), waiting: wall(text), last_wall: None, last_boot: None, boot_done: false }
    }

    fn daily() -> TimerSettings {
        timer(Elapse::Calendar(calendar("04:00").expect("a time")))
    }

    #[test]
    fn a_period_counts_from_the_start_and_then_from_the_last_time() {
        let every = timer(Elapse::Every(60 * SECOND));
        let now = at("2026-11-21T22:00:00Z");
        let mut past = armed("2026-11-21T22:00:00Z");
        assert_eq!(next_due(&every, 1, &past, now, &TimeZone::UTC), Some(Due::Boot(Moment(1_060_000_000))));
        past.last_boot = Some(Moment(1_500_000_000));
        assert_eq!(next_due(&every, 1, &past, now, &TimeZone::UTC), Some(Due::Boot(Moment(1_560_000_000))));
    }

    #[test]
    fn a_boot_timer_is_due_once_and_may_be_past() {
        let boot = timer(Elapse::OnBoot(300 * SECOND));
        let now = at("2026-11-21T22:00:00Z");
        let mut past = armed("2026-11-21T22:00:00Z");
        assert_eq!(next_due(&boot, 1, &past, now, &TimeZone::UTC), Some(Due::Boot(Moment(300_000_000))));
        past.boot_done = true;
        assert_eq!(next_due(&boot, 1, &past, now, &TimeZone::UTC), None);
    }

    #[test]
    fn what_was_missed_is_passed_over_or_made_up_for_once() {
        let now = at("2026-11-24T12:00:00Z");
        let past = Past { last_wall: Some(wall("2026-11-21T04:00:01Z")), ..armed("2026-11-24T11:00:00Z") };
        assert_eq!(next_due(&daily(), 1, &past, now, &TimeZone::UTC), Some(Due::Wall(wall("2026-11-25T04:00:00Z"))));
        let persistent = TimerSettings { persistent: true, ..daily() };
        assert_eq!(
            next_due(&persistent, 1, &past, now, &TimeZone::UTC),
            Some(Due::Wall(wall("2026-11-22T04:00:00Z"))),
            "three are missed, one is made up for"
        );
        let made_up = Past { last_wall: Some(now.wall), ..past };
        assert_eq!(
            next_due(&persistent, 1, &made_up, now, &TimeZone::UTC),
            Some(Due::Wall(wall("2026-11-25T04:00:00Z")))
        );
    }

    #[test]
    fn a_unit_that_never_ran_has_missed_nothing() {
        let persistent = TimerSettings { persistent: true, ..daily() };
        let past = armed("2026-11-24T11:00:00Z");
        assert_eq!(
            next_due(&persistent, 1, &past, at("2026-11-24T12:00:00Z"), &TimeZone::UTC),
            Some(Due::Wall(wall("2026-11-25T04:00:00Z")))
        );
    }

    #[test]
    fn an_elapse_is_due_until_it_has_been_acted_on_also_after_the_clock_was_set_forward() {
        let past = armed("2026-11-24T03:59:00Z");
        for now in ["2026-11-24T03:59:59Z", "2026-11-24T04:00:00Z", "2026-11-28T12:00:00Z"] {
            let due = next_due(&daily(), 1, &past, at(now), &TimeZone::UTC);
            assert_eq!(due, Some(Due::Wall(wall("2026-11-24T04:00:00Z"))), "{now}");
        }
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_stop_a_timer() {
        let past = Past { last_wall: Some(wall("2026-11-21T04:00:01Z")), ..armed("2026-11-24T11:00:00Z") };
        let now = at("2026-11-20T12:00:00Z");
        assert_eq!(
            next_due(&daily(), 1, &past, now, &TimeZone::UTC),
            Some(Due::Wall(wall("2026-11-21T04:00:00Z"))),
            "by this clock it has not been yet"
        );
    }

    #[test]
    fn jitter_is_the_same_for_the_same_elapse_and_never_loses_one() {
        let spread = TimerSettings { jitter: 3600 * SECOND, ..daily() };
        for seed in 0..200 {
            let due = |now: &str| match next_due(&spread, seed, &armed(now), at(now), &TimeZone::UTC) {
                Some(Due::Wall(due)) => due,
                other => panic!("{other:?}"),
            };
            let first = due("2026-11-21T00:00:00Z");
            assert!(first >= wall("2026-11-21T04:00:00Z") && first < wall("2026-11-21T05:00:00Z"), "{first}");
            let before = first.checked_sub(SignedDuration::from_millis(1)).expect("before");
            assert_eq!(due(&before.to_string()), first, "asked in the middle of the jitter");
            assert!(due(&first.to_string()) >= wall("2026-11-22T04:00:00Z"));
        }
    }
}

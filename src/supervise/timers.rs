//! When a timer of a unit is due: a function of the settings, the past and the present.
//!
//! Two clocks matter. Times of the calendar are points of the wall clock, which people set; everything else counts on
//! CLOCK_BOOTTIME, which nobody can set and which goes on in suspend. The caller keeps what happened ([`Past`]) and wakes
//! up when the earliest of its timers is due; after the wall clock was set it asks again.
//!
//! While the unit runs nobody asks. What fell into the run is passed over when it waits again, or (`skip_if_running =
//! false`) is due then.

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
    /// Since when its timers are armed without a stop: an elapse of the calendar before that was missed.
    pub began: Both,
    /// Since when it waits: an elapse between `began` and this came during a run.
    pub waiting: Both,
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
            let passed = if timer.skip_if_running { past.waiting.boot.since(base) } else { Duration::ZERO };
            let periods = passed.as_micros().checked_div(span.as_micros()).unwrap_or(0);
            let mut period = u32::try_from(periods).unwrap_or(u32::MAX).max(1);
            loop {
                // The dice are those of the period's begin, whenever this is asked.
                let begin = base.after(span.saturating_mul(period - 1));
                let due = begin.after(*span).after(jitter(timer, seed, begin.0));
                if due > past.waiting.boot || !timer.skip_if_running || period == u32::MAX {
                    return Some(Due::Boot(due));
                }
                period += 1;
            }
        }
        Elapse::OnBoot(_) if past.boot_done => None,
        Elapse::OnBoot(span) => {
            let due = Moment(0).after(*span).after(jitter(timer, seed, 0));
            let during_run = due > past.began.boot && due <= past.waiting.boot;
            (!during_run || !timer.skip_if_running).then_some(Due::Boot(due))
        }
        Elapse::Calendar(calendar) => {
            // A last time in the future is that of a clock that was wrong.
            let last = past.last_wall.filter(|last| *last <= now.wall);
            let began = past.began.wall;
            // What was due before this is over, unless it is to be made up for.
            let missed_from = match last {
                last if timer.persistent && last.is_none_or(|last| last < began) => last.unwrap_or(past.armed.wall),
                _ if timer.skip_if_running => past.waiting.wall,
                last => last.map_or(began, |last| last.max(began)),
            };
            let base = missed_from.min(now.wall);
            let longest = SignedDuration::try_from(timer.jitter).unwrap_or(SignedDuration::ZERO);
            let before = |base: Timestamp| base.checked_sub(longest).unwrap_or(base);
            let mut from = before(base);
            loop {
                let point = calendar.next(from, zone)?;
                let late = jitter(timer, seed, point.as_microsecond().unsigned_abs());
                let due = point.checked_add(SignedDuration::try_from(late).ok()?).ok()?;
                if timer.skip_if_running && due > began && due <= past.waiting.wall.min(now.wall) {
                    // It came during a run, like all up to the end of that.
                    from = point.max(before(past.waiting.wall.min(now.wall)));
                    continue;
                }
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
        TimerSettings { elapse, jitter: Duration::ZERO, persistent: false, skip_if_running: true, index: 0 }
    }

    fn wall(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn at(text: &str) -> Both {
        Both { wall: wall(text), boot: Moment(1_000_000_000) }
    }

    fn armed(text: &str) -> Past {
        let armed = at(text);
        Past { armed, began: armed, waiting: armed, last_wall: None, last_boot: None, boot_done: false }
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

    /// Armed at 03:00 and 1000 s after boot, started by a timer at 04:00 and 4600 s, waiting again at 06:30 and 13600 s.
    fn ran_until_half_past_six() -> (Past, Both) {
        let day =
            |time: &str, boot: u64| Both { wall: wall(&format!("2026-11-24T{time}Z")), boot: Moment(boot * 1_000_000) };
        let (began, waiting) = (day("03:00:00", 1000), day("06:30:00", 13_600));
        let started = day("04:00:00", 4600);
        let (last_wall, last_boot) = (Some(started.wall), Some(started.boot));
        (Past { armed: began, began, waiting, last_wall, last_boot, boot_done: false }, waiting)
    }

    #[test]
    fn an_elapse_during_a_run_is_passed_over_or_made_up_for_once() {
        let (past, now) = ran_until_half_past_six();
        let hourly = || Elapse::Calendar(calendar("*:00").expect("a time"));
        let moment = |seconds: u64| Some(Due::Boot(Moment(seconds * 1_000_000)));
        let hour = |hour: u32| Some(Due::Wall(wall(&format!("2026-11-24T{hour:02}:00:00Z"))));
        for (elapse, persistent, passed_over, made_up_for) in [
            (hourly(), false, hour(7), hour(5)),
            // What is made up for by `persistent` is what nobody was there for.
            (hourly(), true, hour(7), hour(5)),
            (Elapse::Every(3600 * SECOND), false, moment(4600 + 3 * 3600), moment(4600 + 3600)),
            // An elapse at the very end of the run is one during it.
            (Elapse::Every(9000 * SECOND), false, moment(4600 + 2 * 9000), moment(4600 + 9000)),
            (Elapse::Every(9001 * SECOND), false, moment(4600 + 9001), moment(4600 + 9001)),
            (Elapse::OnBoot(13_000 * SECOND), false, None, moment(13_000)),
            (Elapse::OnBoot(14_000 * SECOND), false, moment(14_000), moment(14_000)),
            (Elapse::OnBoot(500 * SECOND), false, moment(500), moment(500)),
        ] {
            for (skip_if_running, expected) in [(true, passed_over), (false, made_up_for)] {
                let timer = TimerSettings { persistent, skip_if_running, ..timer(elapse.clone()) };
                assert_eq!(next_due(&timer, 1, &past, now, &TimeZone::UTC), expected, "{timer:?}");
            }
        }
        // Once it has been made up for, the next one counts, however many there were.
        let again = Past { last_wall: Some(now.wall), last_boot: Some(now.boot), ..past };
        let timer = TimerSettings { skip_if_running: false, ..timer(hourly()) };
        assert_eq!(next_due(&timer, 1, &again, now, &TimeZone::UTC), hour(7));
    }

    #[test]
    fn with_jitter_too_no_elapse_of_a_run_is_due_after_it_and_none_is_lost() {
        let (past, now) = ran_until_half_past_six();
        let later = |due: Option<Due>| match due {
            Some(Due::Boot(at)) => at > now.boot,
            Some(Due::Wall(at)) => at > now.wall,
            None => false,
        };
        for seed in 0..200 {
            for elapse in [Elapse::Every(3600 * SECOND), Elapse::Calendar(calendar("*:00").expect("a time"))] {
                let spread = TimerSettings { jitter: 5400 * SECOND, ..timer(elapse) };
                assert!(later(next_due(&spread, seed, &past, now, &TimeZone::UTC)), "{seed} {spread:?}");
                let made_up_for = TimerSettings { skip_if_running: false, ..spread };
                assert!(next_due(&made_up_for, seed, &past, now, &TimeZone::UTC).is_some());
            }
        }
    }

    #[test]
    fn what_persistent_makes_up_for_is_what_was_before_the_start() {
        let (past, now) = ran_until_half_past_six();
        let yesterday = Past { last_wall: Some(wall("2026-11-23T23:30:00Z")), ..past };
        let timer = TimerSettings { persistent: true, ..timer(Elapse::Calendar(calendar("*:00").expect("a time"))) };
        let due = next_due(&timer, 1, &yesterday, now, &TimeZone::UTC);
        assert_eq!(due, Some(Due::Wall(wall("2026-11-24T00:00:00Z"))), "nobody was there at midnight");
        let nothing_missed = Past { last_wall: Some(wall("2026-11-24T02:59:00Z")), ..yesterday };
        let due = next_due(&timer, 1, &nothing_missed, now, &TimeZone::UTC);
        assert_eq!(due, Some(Due::Wall(wall("2026-11-24T03:00:00Z"))), "due at the very start");
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

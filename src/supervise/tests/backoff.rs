//! How long until the next attempt, and when there is none: hours of fake time.

use super::super::restart::{Jitter, delay};
use super::bench::{Bench, SECOND, WEB, adopted, deeds, policy, restart_settings, running_since};
use crate::supervise::{Adopted, Cause, Event, Exit, Policy, ServiceResult};
use crate::unit::{RestartPolicy, RestartSettings};
use proptest::prelude::*;
use std::time::Duration;

fn restart() -> RestartSettings {
    restart_settings(RestartPolicy::OnFailure)
}

/// A service that crashes `lifetime` after each of its starts; the waits in between.
fn waits(restart: RestartSettings, lifetime: Duration, crashes: usize) -> Vec<Duration> {
    let mut bench = Bench::running(Policy { restart, ..policy("web") });
    (0..crashes)
        .map(|_| {
            bench.wait(lifetime);
            bench.dies(WEB, Exit::Exited(1));
            let at = bench.status(WEB).next_restart_at.expect("it is restarted");
            let wait = at.since(bench.now);
            bench.expire();
            assert_eq!(bench.state(WEB), "activating/start");
            bench.executed(WEB);
            wait
        })
        .collect()
}

/// Between `base` and a tenth more.
#[track_caller]
fn assert_about(wait: Duration, base: Duration) {
    assert!(wait >= base && wait <= base + base / 10, "{wait:?} is not {base:?} and up to a tenth");
}

#[test]
fn each_wait_is_twice_the_last_until_the_longest() {
    let expected = [1, 2, 4, 8, 16, 30, 30, 30];
    for (wait, seconds) in waits(restart(), SECOND, expected.len()).into_iter().zip(expected) {
        assert_about(wait, Duration::from_secs(seconds));
    }
}

#[test]
fn a_minute_of_running_forgets_the_waits() {
    for wait in waits(restart(), 60 * SECOND, 5) {
        assert_about(wait, SECOND);
    }
}

#[test]
fn almost_a_minute_does_not() {
    let last = waits(restart(), 59 * SECOND, 5).pop();
    assert_about(last.expect("five"), 16 * SECOND);
}

#[test]
fn a_minute_without_readiness_is_no_minute_of_running() {
    let notify = Policy {
        kind: crate::unit::ServiceType::Notify,
        ready: crate::unit::ReadyKind::Notify,
        timeout_start: None,
        ..policy("web")
    };
    let mut bench = Bench::running(notify);
    for restarts in 1..4 {
        bench.wait(3600 * SECOND);
        bench.dies(WEB, Exit::Exited(1));
        assert_eq!(bench.status(WEB).restarts, restarts);
        bench.expire();
        bench.executed(WEB);
    }
}

#[test]
fn a_minute_of_clearing_away_is_no_minute_of_running() {
    let mut bench = Bench::running(policy("web"));
    for restarts in 1..4 {
        bench.exited(WEB, Exit::Exited(1));
        bench.wait(80 * SECOND);
        bench.emptied(WEB);
        assert_eq!(bench.status(WEB).restarts, restarts);
        bench.expire();
        bench.executed(WEB);
    }
}

#[test]
fn delay_zero_restarts_at_once_always() {
    let restart = RestartSettings { delay: Duration::ZERO, ..restart() };
    let mut bench = Bench::running(Policy { restart, ..policy("web") });
    for restarts in 1..50 {
        bench.exited(WEB, Exit::Killed(9));
        let end = bench.emptied(WEB);
        assert_eq!(deeds(end), ["remove after run", "launch Main"], "in the same step, restart {restarts}");
        assert_eq!(bench.status(WEB).restarts, restarts);
        bench.executed(WEB);
    }
}

#[test]
fn a_delay_above_the_longest_is_what_its_author_wrote() {
    let restart = RestartSettings { delay: 60 * SECOND, max_delay: 30 * SECOND, ..restart() };
    for wait in waits(restart, SECOND, 3) {
        assert_about(wait, 60 * SECOND);
    }
}

#[test]
fn the_growth_never_overflows() {
    let huge = RestartSettings { backoff: 1e300, max_delay: Duration::MAX, ..restart() };
    assert_eq!(delay(&huge, 1), SECOND);
    assert_eq!(delay(&huge, u32::MAX), Duration::MAX);
    for factor in [0.0, -3.0, f64::NAN] {
        let odd = RestartSettings { backoff: factor, ..restart() };
        assert_eq!(delay(&odd, 9), SECOND, "a factor below one counts as one");
    }
    let mut bench =
        Bench::running(Policy { restart: RestartSettings { delay: Duration::MAX, ..huge }, ..policy("web") });
    bench.dies(WEB, Exit::Exited(1));
    assert_eq!(bench.state(WEB), "activating/auto-restart");
}

proptest! {
    #[test]
    fn jitter_adds_less_than_a_tenth_and_never_subtracts(seed: u64, micros in 0u64..100_000_000_000) {
        let mut jitter = Jitter::new(seed);
        let delay = Duration::from_micros(micros);
        for _ in 0..10 {
            let wait = jitter.stretch(delay);
            prop_assert!(wait >= delay && wait <= delay + delay / 10 + Duration::from_micros(1));
        }
    }

    #[test]
    fn equal_seeds_give_equal_waits(seed: u64) {
        let (mut one, mut other) = (Jitter::new(seed), Jitter::new(seed));
        for _ in 0..10 {
            prop_assert_eq!(one.stretch(SECOND), other.stretch(SECOND));
        }
    }
}

#[test]
fn services_that_die_together_do_not_come_back_together() {
    let mut jitter = Jitter::new(1);
    let mut waits: Vec<_> = (0..100).map(|_| jitter.stretch(SECOND)).collect();
    waits.sort();
    waits.dedup();
    assert_eq!(waits.len(), 100);
    let spread = *waits.last().expect("a hundred") - waits[0];
    assert!(spread > Duration::from_millis(80), "they fill the tenth: {spread:?}");
}

#[test]
fn so_many_restarts_within_the_interval_and_no_more() {
    let restart = RestartSettings { limit_burst: 3, backoff: 1.0, ..restart() };
    let mut bench = Bench::running(Policy { restart, ..policy("web") });
    for _ in 0..3 {
        bench.dies(WEB, Exit::Exited(1));
        assert_eq!(bench.state(WEB), "activating/auto-restart");
        bench.expire();
        bench.executed(WEB);
    }
    bench.dies(WEB, Exit::Exited(1));
    assert_eq!(bench.state(WEB), "failed/failed");
    let status = bench.status(WEB);
    assert_eq!((status.result, status.cause), (ServiceResult::StartLimitHit, Some(Cause::StartLimit)));
    assert_eq!(status.main_exit, Some(Exit::Exited(1)), "how it died last is still to be seen");
    assert_eq!(bench.until_deadline(), None);
}

#[test]
fn the_interval_slides() {
    let restart = RestartSettings { limit_burst: 2, limit_interval: 100 * SECOND, backoff: 1.0, ..restart() };
    let mut bench = Bench::running(Policy { restart, ..policy("web") });
    for _ in 0..20 {
        bench.wait(50 * SECOND);
        bench.dies(WEB, Exit::Exited(1));
        assert_eq!(bench.state(WEB), "activating/auto-restart", "two in a hundred seconds, for ever");
        bench.expire();
        bench.executed(WEB);
    }
    bench.dies(WEB, Exit::Exited(1));
    assert_eq!(bench.state(WEB), "failed/failed", "a third");
}

#[test]
fn a_stretch_of_running_does_not_refill_the_burst() {
    let restart = RestartSettings { limit_burst: 2, ..restart() };
    let mut bench = Bench::running(Policy { restart, ..policy("web") });
    for _ in 0..2 {
        bench.wait(61 * SECOND);
        bench.dies(WEB, Exit::Exited(1));
        bench.expire();
        bench.executed(WEB);
    }
    bench.wait(61 * SECOND);
    bench.dies(WEB, Exit::Exited(1));
    assert_eq!(bench.state(WEB), "failed/failed");
}

#[test]
fn a_manual_start_is_always_allowed_and_begins_to_count_anew() {
    let restart = RestartSettings { limit_burst: 1, ..restart() };
    let mut bench = Bench::running(Policy { restart, ..policy("web") });
    for _ in 0..10 {
        bench.dies(WEB, Exit::Exited(1));
        bench.expire();
        bench.executed(WEB);
        bench.dies(WEB, Exit::Exited(1));
        assert_eq!(bench.state(WEB), "failed/failed");
        assert_eq!(bench.start(WEB), ["note Starting { restarts: 0 }", "launch Main"]);
        bench.executed(WEB);
    }
}

#[test]
fn reset_failed_during_back_off_forgets_the_count_and_keeps_the_date() {
    let mut bench = Bench::running(policy("web"));
    bench.dies(WEB, Exit::Exited(1));
    let at = bench.status(WEB).next_restart_at;
    bench.step(Event::ResetFailedRequested { id: WEB, request: None });
    assert_eq!((bench.status(WEB).restarts, bench.status(WEB).next_restart_at), (0, at));
}

#[test]
fn with_no_limit_it_never_gives_up() {
    let waits = waits(restart(), Duration::from_millis(1), 5000);
    assert_eq!(waits.len(), 5000);
    let hours = waits.iter().sum::<Duration>().as_secs() / 3600;
    assert!(hours >= 41, "{hours} hours of fake time");
}

#[test]
fn the_burst_is_counted_over_the_death_of_a_daemon() {
    let restart = RestartSettings { limit_burst: 3, backoff: 1.0, ..restart() };
    let mut before = Bench::running(Policy { restart: restart.clone(), ..policy("web") });
    for _ in 0..2 {
        before.dies(WEB, Exit::Exited(1));
        before.expire();
        before.executed(WEB);
    }
    let window = before.status(WEB).restart_times;
    assert_eq!(window.len(), 2);
    let mut after = Bench::new([Policy { restart, ..policy("web") }]);
    after.now = before.now;
    let since = after.now;
    after.adopt(adopted(WEB, Adopted { restarts: 2, restart_times: window, ..running_since(since) }));
    after.dies(WEB, Exit::Exited(1));
    assert_eq!(after.state(WEB), "activating/auto-restart", "the third");
    after.expire();
    after.executed(WEB);
    after.dies(WEB, Exit::Exited(1));
    assert_eq!((after.state(WEB).as_str(), after.status(WEB).cause), ("failed/failed", Some(Cause::StartLimit)));
    assert_eq!(after.start(WEB), ["note Starting { restarts: 0 }", "launch Main"], "by hand it begins anew");
    assert!(after.status(WEB).restart_times.is_empty());
}

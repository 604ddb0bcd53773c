//! Whether and when a run that ended is followed by another: decision table, back-off, jitter, burst window.
//!
//! The first restart comes after `delay`, each further one after `backoff` times the last wait, never more than
//! `max_delay` (or `delay`, if somebody wrote that larger), plus up to a tenth at random so that services that died
//! together do not all come back in the same instant. `delay = "0"` means at once, always: no growth and no jitter.
//!
//! `reset_after` of running forgets how often the service was restarted, so a crash a month does not wait half a
//! minute. The burst window slides and is not touched by that: at most `limit_burst` automatic restarts lie within any
//! `limit_interval`. A manual start forgets both.

use super::exit::is_in;
use super::{Exit, Moment, ServiceResult};
use crate::unit::{RestartPolicy, RestartSettings, ServiceType};
use std::collections::VecDeque;
use std::time::Duration;

/// Does `policy` restart after `result`? The table of systemd.service(5), word for word.
pub(super) fn is_restarted(policy: RestartPolicy, result: ServiceResult) -> bool {
    use ServiceResult::*;
    match policy {
        RestartPolicy::No => false,
        RestartPolicy::Always => match result {
            ExecCondition => false,
            Success | ExitCode | Signal | CoreDump | Timeout | Watchdog | OomKill | Protocol | Resources
            | StartLimitHit => true,
        },
        RestartPolicy::OnSuccess => result == Success,
        RestartPolicy::OnFailure => match result {
            Success | ExecCondition => false,
            ExitCode | Signal | CoreDump | Timeout | Watchdog | OomKill | Protocol | Resources | StartLimitHit => true,
        },
        RestartPolicy::OnAbnormal => match result {
            Success | ExitCode | ExecCondition => false,
            Signal | CoreDump | Timeout | Watchdog | OomKill | Protocol | Resources | StartLimitHit => true,
        },
        RestartPolicy::OnAbort => matches!(result, Signal | CoreDump),
        RestartPolicy::OnWatchdog => result == Watchdog,
    }
}

/// The whole decision but for a stop request, which the caller has asked about before: it always wins.
///
/// The two lists look at the main process alone, `prevent` first; a oneshot that succeeded is not forced.
pub(super) fn decide(
    settings: &RestartSettings,
    kind: ServiceType,
    result: ServiceResult,
    main_exit: Option<Exit>,
) -> bool {
    let done_oneshot = kind == ServiceType::Oneshot && result == ServiceResult::Success;
    if main_exit.is_some_and(|exit| is_in(&settings.prevent_exit_status, exit)) {
        return false;
    }
    if !done_oneshot && main_exit.is_some_and(|exit| is_in(&settings.force_exit_status, exit)) {
        return true;
    }
    is_restarted(settings.policy, result)
}

/// How often a service has been restarted, and when.
#[derive(Clone, Debug, Default)]
pub(super) struct Restarts {
    /// Automatic restarts since the last manual start, reset, or `reset_after` of running.
    pub count: u32,
    /// Moments of the automatic restarts within the window, oldest first.
    window: VecDeque<Moment>,
}

/// What the counters say about one more restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// At this moment; it may be the present one.
    At(Moment),
    /// `limit_burst` is used up.
    GiveUp,
}

impl Restarts {
    /// Counters as a former daemon left them, with the moments of the automatic restarts within the window.
    pub fn carried_over(count: u32, times: Vec<Moment>) -> Restarts {
        Restarts { count, window: times.into() }
    }

    /// Moments of the automatic restarts within the window, oldest first.
    pub fn times(&self) -> impl Iterator<Item = Moment> {
        self.window.iter().copied()
    }

    /// A manual start or `reset-failed`.
    pub fn forget(&mut self) {
        *self = Restarts::default();
    }

    /// Tells that a run ended that had been ready for `ready_for`.
    pub fn ran(&mut self, settings: &RestartSettings, ready_for: Duration) {
        if ready_for >= settings.reset_after {
            self.count = 0;
        }
    }

    /// Counts one more restart and says when it is due: after no less than `least`.
    pub fn schedule(&mut self, settings: &RestartSettings, now: Moment, least: Duration, jitter: &mut Jitter) -> Next {
        let attempt = self.count.saturating_add(1);
        let at = now.after(jitter.stretch(delay(settings, attempt)).max(least));
        if settings.limit_burst > 0 {
            while self.window.front().is_some_and(|old| at.since(*old) >= settings.limit_interval) {
                self.window.pop_front();
            }
            if self.window.len() >= settings.limit_burst as usize {
                return Next::GiveUp;
            }
            self.window.push_back(at);
        }
        self.count = attempt;
        Next::At(at)
    }
}

/// Wait before restart number `attempt` (from 1), without jitter.
pub(super) fn delay(settings: &RestartSettings, attempt: u32) -> Duration {
    let first = settings.delay;
    let ceiling = settings.max_delay.max(first);
    // `max` turns a factor below 1 into 1, and NaN too.
    let factor = settings.backoff.max(1.0).powf(f64::from(attempt.saturating_sub(1)));
    Duration::try_from_secs_f64(first.as_secs_f64() * factor).map_or(ceiling, |grown| grown.min(ceiling))
}

/// A seeded source of small differences (splitmix64); equal seeds give equal sequences.
#[derive(Debug, Default)]
pub(super) struct Jitter {
    state: u64,
}

impl Jitter {
    pub fn new(seed: u64) -> Jitter {
        Jitter { state: seed }
    }

    /// `delay` plus less than a tenth of it.
    pub fn stretch(&mut self, delay: Duration) -> Duration {
        if delay.is_zero() {
            return delay;
        }
        // 53 bits fill the mantissa of an f64: uniform in [0, 1).
        let unit = (self.draw() >> 11) as f64 / (1u64 << 53) as f64;
        delay.saturating_add(Duration::try_from_secs_f64(delay.as_secs_f64() * 0.1 * unit).unwrap_or_default())
    }

    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

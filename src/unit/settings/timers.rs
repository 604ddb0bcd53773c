//! When the clock starts a unit.

use crate::unit::value::{Calendar, print_time_span};
use std::time::Duration;

/// What a timer counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elapse {
    /// `on_calendar`
    Calendar(Calendar),
    /// `every`: since the last time.
    Every(Duration),
    /// `on_boot`: once, so long after the machine was started.
    OnBoot(Duration),
}

/// One of `[[timers]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerSettings {
    /// When.
    pub elapse: Elapse,
    /// Up to so much later.
    pub jitter: Duration,
    /// What was missed while nothing ran is made up for, once.
    pub persistent: bool,
    /// An elapse during a run is passed over, not made up for after it.
    pub skip_if_running: bool,
    /// Position in the list, for `timers[N]` as key of origins.
    pub index: usize,
}

impl TimerSettings {
    /// `Mon..Fri 09:00`, `every 5min`, `2min after boot`.
    pub fn words(&self) -> String {
        match &self.elapse {
            Elapse::Calendar(calendar) => calendar.text().to_owned(),
            Elapse::Every(span) => format!("every {}", print_time_span(Some(*span))),
            Elapse::OnBoot(span) => format!("{} after boot", print_time_span(Some(*span))),
        }
    }
}

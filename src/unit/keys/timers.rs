//! Keys about the clock.

use super::{Key, Kind, Table};

pub(super) const TIMERS: Table = Table::new(
    "timers",
    "When the clock starts the unit; several entries add up. A unit with timers is one of `service.activation = \
     \"on-demand\"`: a start arms the timers, each elapse runs the service once, and a run that has ended, well or not, \
     leaves the timers armed. There is never a second run beside the first: see `skip_if_running`. Nothing wakes up \
     while nothing is due.",
    &[
        Key::new(
            "on_calendar",
            Kind::Calendar,
            "Times of the calendar as systemd.time(7) writes them: \"Mon..Fri 09:00\", \"*-*-01 04:30:00\", \"*:0/15\", \
             \"*-02~1\" (the last of February), \"daily\", with \"UTC\" or a zone such as \"Europe/Berlin\" behind it. \
             What the clock skips in spring comes right after the gap, what it shows twice comes once. A clock that is \
             set makes them be looked up anew.",
        )
        .systemd(&["OnCalendar"]),
        Key::new(
            "every",
            Kind::Delay,
            "So long after the last start by a timer, or after the unit was started; at least 1s. Time in suspend counts.",
        )
        .systemd(&["OnUnitActiveSec", "OnActiveSec"]),
        Key::new(
            "on_boot",
            Kind::Delay,
            "Once in each boot, so long after the machine was started; at once when that is past.",
        )
        .systemd(&["OnBootSec", "OnStartupSec"]),
        Key::new("jitter", Kind::Delay, "Up to so much later, by chance, so that not all machines do it at once.")
            .default("\"0\"")
            .systemd(&["RandomizedDelaySec"]),
        Key::new(
            "persistent",
            Kind::Bool,
            "Make up for an elapse of `on_calendar` that was missed while the machine or rsvc was off: once, at the next \
             start of the unit.",
        )
        .default("false")
        .systemd(&["Persistent"]),
        Key::new(
            "skip_if_running",
            Kind::Bool,
            "What becomes of an elapse while the service runs or waits for another attempt. It is passed over, and the \
             next one counts: a job of 90 s with `every = \"1min\"` runs every other minute. With `false` it is made up \
             for when the run is over, at once and once, however many there were: such a job runs without a pause.",
        )
        .default("true"),
    ],
)
.array();

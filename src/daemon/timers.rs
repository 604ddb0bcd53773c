//! `[[timers]]`: armed while the unit waits, remembered beyond daemon and boot.
//!
//! Times of the calendar hang on one timerfd of the wall clock, set to the earliest of them: it goes on in suspend, and
//! tells when somebody sets the clock. The rest are deadlines of the loop. When a timer has started a unit is written to
//! `<state>/timers/NAME`.

use super::asked::set_by;
use super::engine::{Engine, Source, Timer, now};
use super::identity;
use super::launch::failure;
use super::service::Watched;
use super::unwritten::Deed;
use super::whole_file;
use crate::control::TimerStatus;
use crate::supervise::timers::{Both, Due, Past, next_due};
use crate::supervise::{Event, LaunchFailure, Moment, ServiceId};
use crate::unit::{Elapse, TimerSettings, Unit};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::SystemTime;

/// Version of the file's form.
const VERSION: u32 = 1;

/// The timers of one unit, from its start to its stop.
#[derive(Debug)]
pub(super) struct UnitTimers {
    past: Past,
    /// While it waits: when the first of them is due by the wall clock.
    wall: Option<Timestamp>,
    /// An earlier daemon armed them, and this one has not yet.
    adopted: bool,
}

/// The wall clock's timers of all units.
#[derive(Debug, Default)]
pub(super) struct WallClock {
    fd: Option<Watched<TimerFd>>,
    due: BTreeSet<(Timestamp, ServiceId)>,
}

/// `<state>/timers/NAME`
#[derive(Debug, Serialize, Deserialize)]
struct Stamp {
    v: u32,
    /// Of what is counted on the boot clock.
    boot_id: String,
    armed_wall: i64,
    armed_boot: u64,
    last_wall: Option<i64>,
    last_boot: Option<u64>,
    boot_done: bool,
}

/// The present, on both clocks.
fn present() -> Both {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let wall = Timestamp::new(time.tv_sec, i32::try_from(time.tv_nsec).unwrap_or(0)).unwrap_or(Timestamp::UNIX_EPOCH);
    Both { wall, boot: now() }
}

/// The zone that a timer counts in; times of the calendar without one count in the host's.
fn zone(timer: &TimerSettings) -> Result<TimeZone, String> {
    match &timer.elapse {
        Elapse::Calendar(calendar) => match calendar.zone() {
            Some(name) => TimeZone::get(name).map_err(|_| format!("this host knows no time zone `{name}`")),
            None => Ok(TimeZone::try_system().unwrap_or(TimeZone::UTC)),
        },
        Elapse::Every(_) | Elapse::OnBoot(_) => Ok(TimeZone::UTC),
    }
}

/// Different for each machine, boot and unit.
fn seed(unit: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (identity::boot_id(), unit).hash(&mut hasher);
    hasher.finish()
}

fn due(timer: &TimerSettings, unit: &str, past: &Past, present: Both) -> Option<Due> {
    next_due(timer, seed(unit), past, present, &zone(timer).ok()?)
}

fn is_due(due: Due, present: Both) -> bool {
    match due {
        Due::Wall(at) => at <= present.wall,
        Due::Boot(at) => at <= present.boot,
    }
}

impl Engine {
    /// Looks when the unit's timers are due, and wakes up then.
    pub(super) fn arm_timers(&mut self, id: ServiceId, unit: &Rc<Unit>) -> Result<(), LaunchFailure> {
        if unit.timers.is_empty() {
            return Ok(());
        }
        for timer in &unit.timers {
            zone(timer).map_err(|error| {
                let place = set_by(unit, &format!("timers[{}].on_calendar", timer.index));
                failure("EXEC", 203, format!("{error}\n  hint: is the package of time zones installed?{place}"))
            })?;
        }
        if self.service(id).is_some_and(|service| service.timers.is_none()) {
            let present = present();
            let known = self.read_stamp(&unit.name);
            let past = Past {
                // What was missed since the very first start counts too.
                armed: Both { wall: known.as_ref().map_or(present.wall, |past| past.armed.wall), ..present },
                began: present,
                waiting: present,
                last_wall: known.as_ref().and_then(|past| past.last_wall),
                last_boot: None,
                boot_done: known.is_some_and(|past| past.boot_done),
            };
            self.begin_timers(id, unit, past);
        } else if let Some(timers) = self.services.get_mut(&id).and_then(|service| service.timers.as_mut()) {
            match timers.adopted {
                // What was due while no daemon ran is due now.
                true => timers.adopted = false,
                false => timers.past.waiting = self::present(),
            }
        }
        self.look_at_timers(id, unit)
    }

    /// A unit whose timers an earlier daemon had armed. One that does not run waits, or did until it was started unseen.
    pub(super) fn adopt_timers(&mut self, id: ServiceId, runs: bool) {
        let Some(unit) = self.service(id).and_then(|service| service.unit.clone()) else { return };
        if !unit.timers.is_empty()
            && let Some(past) = self.read_stamp(&unit.name)
        {
            self.begin_timers(id, &unit, past);
            if let Some(timers) = self.services.get_mut(&id).and_then(|service| service.timers.as_mut()) {
                timers.adopted = !runs;
            }
        }
    }

    fn begin_timers(&mut self, id: ServiceId, unit: &Rc<Unit>, past: Past) {
        if let Some(service) = self.services.get_mut(&id) {
            service.timers = Some(Box::new(UnitTimers { past, wall: None, adopted: false }));
        }
        self.write_stamp(id, &unit.name, &past);
    }

    /// Starts the unit if one of its timers is due, else sees to it that this is asked again in time.
    fn look_at_timers(&mut self, id: ServiceId, unit: &Rc<Unit>) -> Result<(), LaunchFailure> {
        self.disarm_timers(id);
        let Some(past) = self.service(id).and_then(|service| service.timers.as_ref()).map(|timers| timers.past) else {
            return Ok(());
        };
        let present = present();
        let dues: Vec<(Due, &TimerSettings)> =
            unit.timers.iter().filter_map(|timer| Some((due(timer, &unit.name, &past, present)?, timer))).collect();
        let due_now: Vec<&TimerSettings> =
            dues.iter().filter(|(due, _)| is_due(*due, present)).map(|(_, timer)| *timer).collect();
        if !due_now.is_empty() {
            let boot = due_now.iter().any(|timer| matches!(timer.elapse, Elapse::OnBoot(_)));
            self.elapsed(id, present, boot);
            return Ok(());
        }
        let wall = dues.iter().filter_map(|(due, _)| match due {
            Due::Wall(at) => Some(*at),
            Due::Boot(_) => None,
        });
        let boot = dues.iter().filter_map(|(due, _)| match due {
            Due::Boot(at) => Some(*at),
            Due::Wall(_) => None,
        });
        if let Some(at) = boot.min() {
            self.after(at.since(present.boot), Timer::Elapse(id));
        }
        if let Some(at) = wall.min() {
            if let Some(timers) = self.services.get_mut(&id).and_then(|service| service.timers.as_mut()) {
                timers.wall = Some(at);
            }
            self.wall_clock.due.insert((at, id));
            self.set_wall_clock().map_err(|error| failure("EXEC", 203, format!("timers: {error}")))?;
        }
        Ok(())
    }

    fn elapsed(&mut self, id: ServiceId, present: Both, boot: bool) {
        if let Some(timers) = self.services.get_mut(&id).and_then(|service| service.timers.as_mut()) {
            timers.past.last_wall = Some(present.wall);
            timers.past.last_boot = Some(present.boot);
            timers.past.boot_done |= boot;
            self.elapsed.insert(id);
        }
        self.trigger(id);
    }

    /// A deadline of the loop has passed.
    pub(super) fn timer_due(&mut self, id: ServiceId) {
        let Some(unit) = self.service(id).and_then(|service| service.unit.clone()) else { return };
        if let Err(failure) = self.look_at_timers(id, &unit) {
            tracing::error!(unit = unit.name, "{}: {}", unit.name, failure.message);
        }
    }

    /// The first time of the calendar has come, or somebody has set the clock.
    pub(super) fn wall_clock_ready(&mut self) {
        let present = present();
        let Some(clock) = &self.wall_clock.fd else { return };
        let was_set = clock.fd.wait() == Err(nix::errno::Errno::ECANCELED);
        let concerned: Vec<ServiceId> =
            self.wall_clock.due.iter().filter(|(at, _)| was_set || *at <= present.wall).map(|(_, id)| *id).collect();
        for id in concerned {
            self.timer_due(id);
        }
        if let Err(error) = self.set_wall_clock() {
            tracing::error!("timers: {error}");
        }
    }

    /// Nothing is waited for any more.
    pub(super) fn disarm_timers(&mut self, id: ServiceId) {
        self.cancel(Timer::Elapse(id));
        let timers = self.services.get_mut(&id).and_then(|service| service.timers.as_mut());
        if let Some(at) = timers.and_then(|timers| timers.wall.take()) {
            self.wall_clock.due.remove(&(at, id));
        }
    }

    /// Sets the timerfd to the earliest time; without any it is silent.
    fn set_wall_clock(&mut self) -> io::Result<()> {
        let first = self.wall_clock.due.first().map(|(at, _)| *at);
        let fd = match (self.wall_clock.fd.take(), first) {
            (None, None) => return Ok(()),
            (Some(fd), _) => fd,
            (None, Some(_)) => {
                let fd = TimerFd::new(ClockId::CLOCK_REALTIME, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
                Watched { token: self.watch(&fd, Source::WallClock)?, fd }
            }
        };
        let set = match first {
            Some(at) => {
                // A whole second is never too early, and zero would switch it off.
                let seconds = (at.as_second() + i64::from(at.subsec_nanosecond() > 0)).max(1);
                let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
                fd.fd.set(Expiration::OneShot(TimeSpec::new(seconds, 0)), flags)
            }
            None => fd.fd.unset(),
        };
        self.wall_clock.fd = Some(fd);
        set.map_err(io::Error::from)
    }

    /// For status and list.
    pub(super) fn timer_lines(&self, id: ServiceId) -> Vec<TimerStatus> {
        let Some(service) = self.service(id) else { return Vec::new() };
        let Some(unit) = service.unit.as_ref().filter(|unit| !unit.timers.is_empty()) else { return Vec::new() };
        let past = service.timers.as_ref().map(|timers| timers.past);
        let last = past.or_else(|| self.read_stamp(&unit.name)).and_then(|past| past.last_wall);
        let present = present();
        let text = |at: Timestamp| super::timestamp::text(SystemTime::from(at));
        let line = |timer: &TimerSettings| TimerStatus {
            timer: timer.words(),
            next: past.and_then(|past| due(timer, &unit.name, &past, present)).map(|due| match due {
                Due::Wall(at) => text(at),
                Due::Boot(at) => super::snapshot::wall_time(at),
            }),
            last: last.map(text),
        };
        unit.timers.iter().map(line).collect()
    }

    fn stamp_file(&self, unit: &str) -> PathBuf {
        self.options.state_dir.join("timers").join(unit)
    }

    /// What an earlier run, daemon or boot left; what was counted in another boot is forgotten.
    fn read_stamp(&self, unit: &str) -> Option<Past> {
        let bytes = std::fs::read(self.stamp_file(unit)).ok()?;
        let stamp: Stamp = match serde_json::from_slice(&bytes) {
            Ok(stamp) => stamp,
            Err(error) => {
                tracing::warn!(unit, "{unit}: what is known of its timers is damaged and forgotten: {error}");
                return None;
            }
        };
        if stamp.v != VERSION {
            return None;
        }
        let same_boot = stamp.boot_id == identity::boot_id();
        let present = present();
        let wall = |micros: i64| Timestamp::from_microsecond(micros).ok();
        let armed = Both {
            wall: wall(stamp.armed_wall)?,
            boot: if same_boot { Moment(stamp.armed_boot) } else { present.boot },
        };
        let last_wall = stamp.last_wall.and_then(wall);
        let last_boot = stamp.last_boot.filter(|_| same_boot).map(Moment);
        let waiting = Both {
            wall: last_wall.map_or(armed.wall, |last| last.max(armed.wall)),
            boot: last_boot.map_or(armed.boot, |last| last.max(armed.boot)),
        };
        Some(Past { armed, began: waiting, waiting, last_wall, last_boot, boot_done: same_boot && stamp.boot_done })
    }

    pub(super) fn write_stamp_again(&mut self, id: ServiceId) {
        let Some(service) = self.service(id) else { return };
        let Some(past) = service.timers.as_ref().map(|timers| timers.past) else { return };
        let name = service.name.clone();
        self.write_stamp(id, &name, &past);
    }

    fn write_stamp(&mut self, id: ServiceId, unit: &str, past: &Past) {
        if self.options.foreground {
            return;
        }
        let stamp = Stamp {
            v: VERSION,
            boot_id: identity::boot_id().to_owned(),
            armed_wall: past.armed.wall.as_microsecond(),
            armed_boot: past.armed.boot.0,
            last_wall: past.last_wall.map(Timestamp::as_microsecond),
            last_boot: past.last_boot.map(|moment| moment.0),
            boot_done: past.boot_done,
        };
        let path = self.stamp_file(unit);
        let written = serde_json::to_vec(&stamp).map_err(io::Error::from).and_then(|bytes| {
            super::launch::make_directory(&self.options.state_dir.join("timers"), 0o700)?;
            whole_file::write_atomically(&path, &bytes)
        });
        self.done(Deed::Stamp(id), &path, written);
    }

    /// Something starts a unit that waits: a connection or the clock. The units that the start needs are read as they
    /// are on disk now.
    pub(super) fn trigger(&mut self, id: ServiceId) {
        self.unwatch_sockets(id);
        self.disarm_timers(id);
        let Some(name) = self.service(id).map(|service| service.name.clone()) else { return };
        if let Err(error) = self.load_for_start(&name) {
            tracing::warn!(unit = name, "{name}: its file cannot be used, so it starts as it was read last: {error:?}");
        }
        self.events.push_back(Event::Activated { id });
    }
}

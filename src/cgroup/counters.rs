//! Accounting, read from the files of both versions. A file that is missing, or vanishes in between, gives `None`.
//!
//! Source: the kernel's cgroup v2 guide, "Controllers"; admin guide "cgroup-v1"; "PSI - Pressure Stall Information".

use super::file::{keyed, read as text};
use super::place::{Controller, Home, Place};
use super::v1::is_unlimited;
use crate::control::{GroupCounters, Pressure};
use std::path::Path;

/// Nanoseconds in a microsecond.
const NANOSECONDS: u64 = 1000;
/// Ticks of "cpuacct.stat": USER_HZ is 100 on every architecture of Linux that is supported here.
const MICROSECONDS_PER_TICK: u64 = 10_000;

/// All counters of a unit's group.
pub(super) fn read(place: &Place) -> GroupCounters {
    let mut counters = totals(place);
    match place.home(Controller::Io) {
        Home::V2(at) => io_v2(&at, &mut counters),
        Home::V1(at) => io_v1(&at, &mut counters),
        Home::Missing => {}
    }
    if let Some(at) = place.unified() {
        // Pressure is accounted in the v2 tree without any controller.
        counters.memory_pressure = pressure(&at.join("memory.pressure"));
        counters.cpu_pressure = pressure(&at.join("cpu.pressure"));
        counters.io_pressure = pressure(&at.join("io.pressure"));
    }
    if let Home::V1(at) = place.home(Controller::Cpu) {
        throttling_v1(&at, &mut counters);
    }
    counters
}

/// Memory, tasks and processor time: see `Group::totals`.
pub(super) fn totals(place: &Place) -> GroupCounters {
    let mut counters = GroupCounters::default();
    match place.home(Controller::Memory) {
        Home::V2(at) => memory_v2(&at, &mut counters),
        Home::V1(at) => memory_v1(&at, &mut counters),
        Home::Missing => {}
    }
    if let Home::V2(at) | Home::V1(at) = place.home(Controller::Pids) {
        pids(&at, &mut counters);
    }
    if let Some(at) = place.unified() {
        // Time is accounted in the v2 tree without any controller.
        cpu_v2(&at, &mut counters);
    } else if let Some(at) = place.legacy("cpuacct") {
        cpuacct(&at, &mut counters);
    }
    counters
}

/// See `Group::usage`.
pub(super) fn usage(place: &Place) -> GroupCounters {
    let memory_current = match place.home(Controller::Memory) {
        Home::V2(at) => number(&at.join("memory.current")),
        Home::V1(at) => number(&at.join("memory.usage_in_bytes")),
        Home::Missing => None,
    };
    let tasks_current = match place.home(Controller::Pids) {
        Home::V2(at) | Home::V1(at) => number(&at.join("pids.current")),
        Home::Missing => None,
    };
    let cpu_usage_usec = match (place.unified(), place.legacy("cpuacct")) {
        (Some(at), _) => text(&at.join("cpu.stat")).and_then(|stat| keyed(&stat, "usage_usec")),
        (None, Some(at)) => number(&at.join("cpuacct.usage")).map(|time| time / NANOSECONDS),
        (None, None) => None,
    };
    GroupCounters { memory_current, tasks_current, cpu_usage_usec, ..GroupCounters::default() }
}

/// See `Group::oom_kills`.
pub(super) fn oom_kills(place: &Place) -> Option<u64> {
    match place.home(Controller::Memory) {
        Home::V2(at) => keyed(&text(&at.join("memory.events"))?, "oom_kill"),
        Home::V1(at) => keyed(&text(&at.join("memory.oom_control"))?, "oom_kill"),
        Home::Missing => None,
    }
}

/// See `Group::own_ooms`.
pub(super) fn own_ooms(place: &Place) -> Option<u64> {
    match place.home(Controller::Memory) {
        Home::V2(at) => keyed(&text(&at.join("memory.events.local"))?, "oom"),
        Home::V1(_) | Home::Missing => None,
    }
}

/// The number in a file; `max` is `None`.
fn number(path: &Path) -> Option<u64> {
    text(path)?.trim().parse().ok()
}

fn memory_v2(at: &Path, counters: &mut GroupCounters) {
    counters.memory_current = number(&at.join("memory.current"));
    counters.memory_peak = number(&at.join("memory.peak"));
    counters.memory_max = number(&at.join("memory.max"));
    counters.memory_high = number(&at.join("memory.high"));
    counters.memory_swap_current = number(&at.join("memory.swap.current"));
    if let Some(events) = text(&at.join("memory.events")) {
        counters.memory_events_high = keyed(&events, "high");
        counters.memory_events_max = keyed(&events, "max");
        counters.memory_events_oom = keyed(&events, "oom");
        counters.oom_kills = keyed(&events, "oom_kill");
    }
}

fn memory_v1(at: &Path, counters: &mut GroupCounters) {
    counters.memory_current = number(&at.join("memory.usage_in_bytes"));
    counters.memory_peak = number(&at.join("memory.max_usage_in_bytes"));
    counters.memory_max = number(&at.join("memory.limit_in_bytes")).filter(|bytes| !is_unlimited(*bytes));
    counters.memory_swap_current = number(&at.join("memory.memsw.usage_in_bytes"))
        .zip(counters.memory_current)
        // Two files, two moments: the difference can come out below zero.
        .map(|(both, memory)| both.saturating_sub(memory));
    counters.memory_events_max = number(&at.join("memory.failcnt"));
    counters.oom_kills = text(&at.join("memory.oom_control")).and_then(|text| keyed(&text, "oom_kill"));
}

/// The same files in both versions.
fn pids(at: &Path, counters: &mut GroupCounters) {
    counters.tasks_current = number(&at.join("pids.current"));
    counters.tasks_peak = number(&at.join("pids.peak"));
    counters.tasks_max = number(&at.join("pids.max"));
    counters.tasks_refused = text(&at.join("pids.events")).and_then(|text| keyed(&text, "max"));
}

fn cpu_v2(at: &Path, counters: &mut GroupCounters) {
    let Some(stat) = text(&at.join("cpu.stat")) else { return };
    counters.cpu_usage_usec = keyed(&stat, "usage_usec");
    counters.cpu_user_usec = keyed(&stat, "user_usec");
    counters.cpu_system_usec = keyed(&stat, "system_usec");
    counters.cpu_nr_throttled = keyed(&stat, "nr_throttled");
    counters.cpu_throttled_usec = keyed(&stat, "throttled_usec");
}

fn cpuacct(at: &Path, counters: &mut GroupCounters) {
    counters.cpu_usage_usec = number(&at.join("cpuacct.usage")).map(|time| time / NANOSECONDS);
    let Some(stat) = text(&at.join("cpuacct.stat")) else { return };
    counters.cpu_user_usec = keyed(&stat, "user").map(|ticks| ticks.saturating_mul(MICROSECONDS_PER_TICK));
    counters.cpu_system_usec = keyed(&stat, "system").map(|ticks| ticks.saturating_mul(MICROSECONDS_PER_TICK));
}

fn throttling_v1(at: &Path, counters: &mut GroupCounters) {
    let Some(stat) = text(&at.join("cpu.stat")) else { return };
    counters.cpu_nr_throttled = keyed(&stat, "nr_throttled");
    counters.cpu_throttled_usec = keyed(&stat, "throttled_time").map(|time| time / NANOSECONDS);
}

fn io_v2(at: &Path, counters: &mut GroupCounters) {
    let Some(stat) = text(&at.join("io.stat")) else { return };
    let sum = |key: &str| sum_io_stat(&stat, key);
    counters.io_read_bytes = Some(sum("rbytes"));
    counters.io_write_bytes = Some(sum("wbytes"));
    counters.io_read_operations = Some(sum("rios"));
    counters.io_write_operations = Some(sum("wios"));
}

/// `MAJOR:MINOR key=value key=value ...`: how many keys there are depends on the controllers of the device
/// (`cost.usage` and others), and a device without any I/O may stand alone on its line.
fn sum_io_stat(stat: &str, key: &str) -> u64 {
    stat.lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            fields.find_map(|field| field.split_once('=').filter(|(name, _)| *name == key)?.1.parse::<u64>().ok())
        })
        .fold(0, u64::saturating_add)
}

fn io_v1(at: &Path, counters: &mut GroupCounters) {
    let recursive = |name: &str| {
        text(&at.join(format!("blkio.throttle.{name}_recursive")))
            .or_else(|| text(&at.join(format!("blkio.throttle.{name}"))))
    };
    if let Some(bytes) = recursive("io_service_bytes") {
        counters.io_read_bytes = Some(sum_blkio(&bytes, "Read"));
        counters.io_write_bytes = Some(sum_blkio(&bytes, "Write"));
    }
    if let Some(operations) = recursive("io_serviced") {
        counters.io_read_operations = Some(sum_blkio(&operations, "Read"));
        counters.io_write_operations = Some(sum_blkio(&operations, "Write"));
    }
}

/// `MAJOR:MINOR Read N`; the last line, `Total N`, has no device.
fn sum_blkio(stat: &str, direction: &str) -> u64 {
    stat.lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            (fields.next()? == direction).then(|| fields.next()?.parse::<u64>().ok())?
        })
        .fold(0, u64::saturating_add)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and the same for `full` (not for cpu before Linux 5.13). Reading
/// fails with EOPNOTSUPP where the kernel was booted without PSI.
fn pressure(path: &Path) -> Option<Pressure> {
    let text = text(path)?;
    let field = |kind: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(' '))?;
        line.split_ascii_whitespace().find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
    };
    let average = |kind: &str| field(kind, "avg10").and_then(|value| value.parse().ok());
    let total = |kind: &str| field(kind, "total").and_then(|value| value.parse().ok());
    Some(Pressure {
        some_avg10: average("some")?,
        some_total_usec: total("some")?,
        full_avg10: average("full").unwrap_or_default(),
        full_total_usec: total("full").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::fake;

    #[test]
    fn recorded_v2_files_are_understood() {
        let host = fake::v2();
        let group = host.create("web");
        let at = host.unit_v2("web");
        for (file, content) in [
            ("memory.current", "4096\n"),
            ("memory.peak", "8192\n"),
            ("memory.max", "max\n"),
            ("memory.high", "1048576\n"),
            ("memory.swap.current", "0\n"),
            ("memory.events", "low 0\nhigh 3\nmax 4\noom 5\noom_kill 6\noom_group_kill 1\n"),
            ("memory.events.local", "low 0\nhigh 0\nmax 0\noom 2\noom_kill 0\n"),
            (
                "cpu.stat",
                "usage_usec 10\nuser_usec 7\nsystem_usec 3\nnr_periods 4\nnr_throttled 2\nthrottled_usec 99\n",
            ),
            ("pids.current", "3\n"),
            ("pids.peak", "5\n"),
            ("pids.max", "max\n"),
            ("pids.events", "max 12\n"),
            (
                "io.stat",
                "8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0 cost.usage=123 cost.wait=1\n\
                 8:0\n\n\
                 252:1048575 rbytes=1 wbytes=2 rios=3 wios=4\n",
            ),
            (
                "memory.pressure",
                "some avg10=1.50 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.25 avg60=0.00 avg300=0.00 total=7\n",
            ),
            ("cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n"),
            ("io.pressure", ""),
        ] {
            std::fs::write(at.join(file), content).expect(file);
        }
        let counters = group.counters();
        let usage = group.usage();
        assert_eq!(usage.memory_current, counters.memory_current);
        assert_eq!(usage.tasks_current, counters.tasks_current);
        assert_eq!(usage.cpu_usage_usec, counters.cpu_usage_usec);
        assert_eq!(
            counters,
            GroupCounters {
                memory_current: Some(4096),
                memory_peak: Some(8192),
                memory_max: None,
                memory_high: Some(1 << 20),
                memory_swap_current: Some(0),
                memory_events_high: Some(3),
                memory_events_max: Some(4),
                memory_events_oom: Some(5),
                oom_kills: Some(6),
                cpu_usage_usec: Some(10),
                cpu_user_usec: Some(7),
                cpu_system_usec: Some(3),
                cpu_nr_throttled: Some(2),
                cpu_throttled_usec: Some(99),
                tasks_current: Some(3),
                tasks_peak: Some(5),
                tasks_max: None,
                tasks_refused: Some(12),
                io_read_bytes: Some(1_459_201),
                io_write_bytes: Some(314_773_506),
                io_read_operations: Some(195),
                io_write_operations: Some(357),
                memory_pressure: Some(Pressure {
                    some_avg10: 1.5,
                    some_total_usec: 12,
                    full_avg10: 0.25,
                    full_total_usec: 7
                }),
                cpu_pressure: Some(Pressure { some_total_usec: 5, ..Pressure::default() }),
                io_pressure: None,
            }
        );
        assert_eq!((group.oom_kills(), group.own_ooms()), (6, Some(2)));
    }

    #[test]
    fn recorded_v1_files_are_understood() {
        let host = fake::hybrid();
        let group = host.create("web");
        for (controller, file, content) in [
            ("memory", "memory.usage_in_bytes", "4096\n"),
            ("memory", "memory.max_usage_in_bytes", "8192\n"),
            ("memory", "memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory", "memory.memsw.usage_in_bytes", "5096\n"),
            ("memory", "memory.failcnt", "2\n"),
            ("memory", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"),
            ("pids", "pids.current", "1\n"),
            ("pids", "pids.max", "5\n"),
            ("cpu", "cpu.stat", "nr_periods 9\nnr_throttled 8\nthrottled_time 7000\nnr_bursts 0\nburst_time 0\n"),
            (
                "blkio",
                "blkio.throttle.io_service_bytes_recursive",
                "254:0 Read 10\n254:0 Write 20\n254:0 Sync 30\n254:0 Total 30\n259:70000 Read 1\nTotal 31\n",
            ),
            ("blkio", "blkio.throttle.io_serviced", "254:0 Read 3\n254:0 Write 4\nTotal 7\n"),
        ] {
            std::fs::write(host.unit_v1(controller, "web").join(file), content).expect(file);
        }
        std::fs::write(host.unit_v2("web").join("cpu.stat"), "usage_usec 5\nuser_usec 3\nsystem_usec 2\n")
            .expect("stat");
        let found = group.counters();
        assert_eq!((found.memory_current, found.memory_peak, found.memory_max), (Some(4096), Some(8192), None));
        assert_eq!((found.memory_swap_current, found.memory_events_max), (Some(1000), Some(2)));
        assert_eq!((found.oom_kills, group.oom_kills(), group.own_ooms()), (Some(4), 4, None));
        assert_eq!((found.tasks_current, found.tasks_max), (Some(1), Some(5)));
        assert_eq!((found.cpu_usage_usec, found.cpu_nr_throttled), (Some(5), Some(8)));
        assert_eq!(found.cpu_throttled_usec, Some(7));
        assert_eq!((found.io_read_bytes, found.io_write_bytes), (Some(11), Some(20)));
        assert_eq!((found.io_read_operations, found.io_write_operations), (Some(3), Some(4)));
    }

    #[test]
    fn a_vanished_group_has_no_counters_and_no_zeroes() {
        for host in [fake::v2(), fake::hybrid()] {
            let group = host.create("web");
            host.wipe("web");
            assert_eq!(group.counters(), GroupCounters::default());
            assert_eq!(group.oom_kills(), 0);
        }
    }

    #[test]
    fn an_io_file_without_lines_is_zero_and_nonsense_is_skipped() {
        assert_eq!(sum_io_stat("", "rbytes"), 0);
        assert_eq!(sum_io_stat("8:0 rbytes=x wbytes=3\nnonsense\n= =\n8:1 rbytes", "wbytes"), 3);
        assert_eq!(sum_io_stat("8:0 xrbytes=7 rbytes=18446744073709551615\n8:1 rbytes=5\n", "rbytes"), u64::MAX);
        assert_eq!(sum_blkio("Total 7\nRead 5\n8:0 Read\n8:0 Read 4 x\n", "Read"), 4);
    }

    #[test]
    fn one_key_is_not_taken_for_another_that_begins_the_same() {
        assert_eq!(keyed("oom_kill 6\noom 5\n", "oom"), Some(5));
        assert_eq!(keyed("oom_kill 6\n", "oom"), None);
        assert_eq!(keyed("oom \n", "oom"), None);
    }
}

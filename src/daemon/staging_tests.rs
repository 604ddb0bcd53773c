//! Tests of the protocol: a daemon dies before any of its system calls, and within a write to the file; the next one,
//! which has nothing but what outlives a process, goes on. Afterwards the log is what it would have been, byte for byte.

use super::super::journal::{JournalClient, Room};
use super::super::log_file::{LogFile, LogLimits, Source};
use super::super::log_messages::Relay;
use super::super::log_output::{Means, Now};
use super::super::log_pipe::{MessageOrigin, OutputPipe, PipeTurn, READ_LIMIT, Scratch};
use super::super::log_rules::Rules;
use super::*;
use crate::supervise::Moment;
use crate::unit::Unit;
use proptest::prelude::*;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The daemon dies at a step that a test chooses.
pub(super) mod death {
    use std::cell::Cell;

    thread_local! {
        static STEPS_LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    }

    struct Killed;

    pub fn step() {
        match STEPS_LEFT.get() {
            None => {}
            Some(0) => std::panic::resume_unwind(Box::new(Killed)),
            Some(left) => STEPS_LEFT.set(Some(left - 1)),
        }
    }

    /// Does what a daemon does, which dies after so many steps. `None`: it died.
    pub fn after<T>(steps: u32, act: impl FnOnce() -> T) -> Option<T> {
        STEPS_LEFT.set(Some(steps));
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        STEPS_LEFT.set(None);
        done.map_err(|cause| assert!(cause.is::<Killed>(), "it panicked")).ok()
    }
}

const BEGIN: &str = "1970-01-01T00:00:01.000000Z ";

fn now() -> Now {
    Now { wall: at_one(), boot: Moment(1) }
}

fn at_one() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1)
}

/// What outlives a daemon.
struct World {
    directory: tempfile::TempDir,
    /// Kept by the service's init or a keeper.
    kept: OwnedFd,
    staging: OwnedFd,
    note: OwnedFd,
    service: File,
    limits: LogLimits,
    unit: Unit,
}

/// What dies with it.
struct Daemon {
    pipe: OutputPipe,
    log: LogFile,
    rules: Rules,
    scratch: Scratch,
}

impl World {
    fn new(max_size: u64, logging: &str) -> World {
        let kept = pipe().unwrap();
        let service = OutputPipe::reopen(&proc_name(&kept), Source(0)).unwrap().writer().unwrap();
        let nonblocking = rustix::fs::fcntl_getfl(&service).unwrap() | OFlags::NONBLOCK;
        rustix::fs::fcntl_setfl(&service, nonblocking).unwrap();
        let first = Staging::new().unwrap();
        let (staging, note) = first.descriptors();
        let text = format!("[service]\nexec = [\"/bin/true\"]\n[logging]\n{logging}\n");
        World {
            directory: tempfile::tempdir().unwrap(),
            kept,
            staging: staging.try_clone_to_owned().unwrap(),
            note: note.try_clone_to_owned().unwrap(),
            service: service.into(),
            limits: LogLimits { max_size, max_files: 500 },
            unit: Unit::parse_bytes("web", "web.toml", text.as_bytes()).unwrap().0,
        }
    }

    fn staging(&self) -> Staging {
        let copy = |fd: &OwnedFd| fd.try_clone().unwrap();
        Staging::from_descriptors(copy(&self.staging), copy(&self.note)).unwrap()
    }

    /// The next daemon.
    fn daemon(&self) -> Daemon {
        let directory = LogDirectory::open(&self.directory.path().join("log")).unwrap();
        let mut scratch = Scratch::default();
        let mut staging = self.staging();
        staging.settle_earlier(&directory, |_| true).unwrap();
        scratch.protect(Some(staging));
        let mut log = LogFile::new(&directory, "web", self.limits).unwrap();
        log.resume(false);
        let mut rules = Rules::default();
        rules.adapt(&self.unit.logging);
        if log.is_within_a_line() {
            rules.resume();
        }
        Daemon { pipe: OutputPipe::reopen(&proc_name(&self.kept), Source(0)).unwrap(), log, rules, scratch }
    }

    /// Everything in the log, oldest first.
    fn all(&self) -> Vec<u8> {
        let read = |name: String| fs::read(self.directory.path().join("log").join(name)).unwrap_or_default();
        let mut all: Vec<u8> = (1..500).rev().flat_map(|n| read(format!("web.log.{n}"))).collect();
        all.extend(read("web.log".to_owned()));
        all
    }

    /// A service that never waits: how much of it the pipe took.
    fn write(&mut self, bytes: &[u8]) -> usize {
        self.service.write(bytes).unwrap_or(0)
    }
}

impl Daemon {
    /// Reads as long as there is something.
    fn work(&mut self) {
        loop {
            let turn = match self.rules.gate {
                None => self.pipe.turn(&mut self.log, at_one(), &mut self.scratch),
                Some(_) => self.rules.turn(&mut self.pipe, &mut self.log, &mut self.scratch, now()),
            };
            let (turn, notice) = turn.unwrap();
            assert_eq!(notice, None);
            if matches!(turn, PipeTurn::Idle | PipeTurn::Stuck) {
                return;
            }
        }
    }

    fn finish(&mut self) {
        self.work();
        match self.rules.gate {
            None => self.log.finish(Source(0), at_one(), &mut Vec::new()),
            Some(_) => self.rules.finish(&mut self.pipe, &mut self.log, &mut self.scratch, now()),
        };
    }
}

fn proc_name(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// As a daemon that nobody kills would write it.
fn stamped(stream: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    for line in stream.split_inclusive(|b| *b == b'\n') {
        all.extend_from_slice(BEGIN.as_bytes());
        all.extend_from_slice(line);
    }
    if !all.is_empty() && !all.ends_with(b"\n") {
        all.push(b'\n');
    }
    all
}

/// Daemons that die after so many steps each, until one of them comes to the end of what there is.
fn relay_race(world: &World, deaths: &mut impl Iterator<Item = u32>) {
    for steps in deaths {
        if death::after(steps, || world.daemon().work()).is_some() {
            return;
        }
    }
    world.daemon().work();
}

/// Lines as services print them: short, empty, long, without end.
fn stream() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let line = prop_oneof![
        4 => (0..60usize).prop_map(|n| format!("line of {n}{}\n", "x".repeat(n)).into_bytes()),
        1 => Just(b"\n".to_vec()),
        1 => (1..9usize).prop_map(|n| vec![b'p'; n]),
        1 => Just(b"<7>quiet\n".to_vec()),
        1 => Just(b"<3>loud\n".to_vec()),
        1 => Just(b"<".to_vec()),
        1 => (3000..9000usize).prop_map(|n| { let mut l = vec![b'l'; n]; l.push(b'\n'); l }),
    ];
    prop::collection::vec(line, 1..20)
}

#[test]
fn whichever_step_is_the_last_every_byte_is_there_once() {
    let text: String = (0..40).map(|n| format!("line {n}{}\n", "y".repeat(n * 13 % 200))).collect();
    for step in 0.. {
        // Small files: rotation happens in between.
        let mut world = World::new(4096, "");
        let mut died = 0;
        let mut stream = Vec::new();
        for part in [b"half a line, ".as_slice(), text.as_bytes(), b"\nopen"] {
            assert_eq!(world.write(part), part.len());
            stream.extend_from_slice(part);
            died += u32::from(death::after(step, || world.daemon().work()).is_none());
            world.daemon().work();
        }
        world.daemon().finish();
        let (all, wanted) = (world.all(), stamped(&stream));
        assert!(all == wanted, "step {step}:\n{}\n{}", all.escape_ascii(), wanted.escape_ascii());
        if died == 0 {
            assert!(step > 10, "no step was the last");
            return;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_number_of_deaths_changes_nothing(
        parts in stream(),
        deaths in prop::collection::vec(0..40u32, 0..200),
        max_size in prop_oneof![Just(4096u64), Just(1 << 30)],
    ) {
        let mut world = World::new(max_size, "");
        let mut deaths = deaths.into_iter();
        let mut stream = Vec::new();
        for part in parts {
            let count = world.write(&part);
            stream.extend_from_slice(&part[..count]);
            relay_race(&world, &mut deaths);
        }
        world.daemon().finish();
        prop_assert_eq!(world.all().escape_ascii().to_string(), stamped(&stream).escape_ascii().to_string());
    }

    #[test]
    fn what_is_filtered_is_filtered_by_the_next_daemon_too(
        parts in stream(),
        deaths in prop::collection::vec(0..40u32, 0..200),
    ) {
        let mut world = World::new(1 << 30, "level_max = \"info\"");
        let mut deaths = deaths.into_iter();
        let mut stream = Vec::new();
        for part in parts {
            let count = world.write(&part);
            stream.extend_from_slice(&part[..count]);
            relay_race(&world, &mut deaths);
        }
        world.daemon().finish();
        let passing = stream.split_inclusive(|b| *b == b'\n').filter(|line| !line.starts_with(b"<7>"));
        let passing: Vec<u8> = passing.flatten().copied().collect();
        prop_assert_eq!(world.all().escape_ascii().to_string(), stamped(&passing).escape_ascii().to_string());
    }
}

#[test]
fn a_flood_through_a_full_pipe_survives_deaths() {
    let mut world = World::new(1 << 30, "");
    let block: Vec<u8> = (0..9000).flat_map(|n| format!("{n}\n").into_bytes()).collect();
    let (mut stream, mut at) = (Vec::new(), 0);
    let mut deaths = (0..).map(|n: u32| n * 7 % 31);
    while stream.len() < 20 * READ_LIMIT {
        let count = world.write(&block[at..]);
        stream.extend_from_slice(&block[at..at + count]);
        at = (at + count) % block.len();
        let _ = death::after(deaths.next().unwrap(), || world.daemon().work());
    }
    world.daemon().finish();
    assert!(world.all() == stamped(&stream));
}

#[test]
fn small_writes_that_fill_the_slots_are_moved_in_one_piece() {
    let mut world = World::new(1 << 30, "");
    let mut stream = Vec::new();
    // More than half a page each: no two of them share one.
    loop {
        let mut part = vec![b'x'; 2500];
        part.push(b'\n');
        let count = world.write(&part);
        stream.extend_from_slice(&part[..count]);
        if count < part.len() {
            break;
        }
    }
    for steps in 0..12 {
        let _ = death::after(steps, || world.daemon().work());
    }
    world.daemon().finish();
    assert!(world.all() == stamped(&stream));
}

#[test]
fn a_message_that_a_kill_has_cut_is_closed_and_the_stream_goes_on() {
    for step in 0..8 {
        let mut world = World::new(1 << 30, "");
        world.write(b"one\n");
        world.daemon().work();
        let done = death::after(step, || {
            let mut daemon = world.daemon();
            let Scratch { output, staging, .. } = &mut daemon.scratch;
            daemon.log.record(b"a message", at_one(), output, &mut MessageOrigin(staging))
        });
        world.write(b"two\n");
        world.daemon().finish();
        let all = String::from_utf8(world.all()).unwrap();
        assert!(all.starts_with(&format!("{BEGIN}one\n")) && all.ends_with(&format!("\n{BEGIN}two\n")), "{all}");
        assert!(done.is_none() || all.contains("a message\n"), "{all}");
        assert!(all.lines().count() <= 3);
    }
}

#[test]
fn what_the_file_has_stays_where_the_pipe_is_gone() {
    let mut world = World::new(1 << 30, "");
    world.write(b"last words\n");
    // Written, not consumed: the daemon dies before the commit.
    let full = stamped(b"last words\n");
    let died = (0..20).find(|steps| death::after(*steps, || world.daemon().work()).is_none() && world.all() == full);
    assert!(died.is_some());
    let directory = LogDirectory::open(&world.directory.path().join("log")).unwrap();
    world
        .staging()
        .settle_earlier(&directory, |name| {
            assert_eq!(name, "web.log");
            false
        })
        .unwrap();
    assert_eq!(world.all(), full);
}

#[test]
fn descriptors_that_are_something_else_and_notes_that_nobody_wrote_are_refused() {
    let world = World::new(1 << 30, "");
    let null = || OwnedFd::from(File::open("/dev/null").unwrap());
    assert!(Staging::from_descriptors(null(), world.note.try_clone().unwrap()).is_err());
    assert!(Staging::from_descriptors(world.staging.try_clone().unwrap(), null()).is_err());
    let note = |name: &str| Note { name: name.to_owned(), identity: (1, 2), length: 3, rendered: 4, raw: 5 };
    assert_eq!(decode(&encode(&note("web.log"))), Some(note("web.log")));
    assert_eq!(decode(&[0; NOTE_SIZE]), None);
    for name in ["", "/etc/passwd", "../x.log", "web", ".log", &format!("{}.log", "x".repeat(NAME_SIZE))] {
        assert_eq!(decode(&encode(&note(name))), None, "{name}");
    }
    // Written up to any byte but the last ones, it is none.
    let mut half = encode(&note("web.log"));
    half[NOTE_SIZE - 1] = 0;
    assert_eq!(decode(&half), None);
}

#[test]
fn without_staging_all_is_written_as_long_as_the_daemon_lives() {
    let mut world = World::new(4096, "");
    let mut daemon = world.daemon();
    daemon.scratch.protect(None);
    let mut stream = Vec::new();
    for n in 0..300 {
        let part = format!("line {n}\n{}", "x".repeat(n % 7));
        world.write(part.as_bytes());
        stream.extend_from_slice(part.as_bytes());
        daemon.work();
    }
    daemon.finish();
    assert_eq!(world.all().escape_ascii().to_string(), stamped(&stream).escape_ascii().to_string());
}

/// The messages that arrive at a journal to which daemons send that die after so many steps each.
fn relayed(parts: &[&[u8]], deaths: &mut dyn Iterator<Item = u32>, staged: bool) -> Vec<String> {
    let mut world = World::new(1 << 30, "");
    let path = world.directory.path().join("journal");
    let journal = UnixDatagram::bind(&path).unwrap();
    journal.set_nonblocking(true).unwrap();
    let mut messages = Vec::new();
    let receive = |messages: &mut Vec<String>| {
        let mut buffer = vec![0; 1 << 17];
        let before = messages.len();
        while let Ok(count) = journal.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            messages.push(text.split("MESSAGE=").nth(1).unwrap().split('\n').next().unwrap().to_owned());
        }
        messages.len() > before
    };
    let work = |world: &World, last: bool| {
        let Daemon { mut pipe, mut rules, mut scratch, .. } = world.daemon();
        if !staged {
            scratch.protect(None);
        }
        let mut relay = Relay::new(&world.unit);
        let mut client = JournalClient::idle(&path, "x", Room { records: 9, bytes: 1 << 20 });
        let mut means = Means { journal: &mut client, scratch: &mut scratch, now: now() };
        while matches!(relay.turn(&mut pipe, &mut rules, &mut means).unwrap(), PipeTurn::Read { .. }) {}
        if last && !relay.blocked {
            relay.finish(&mut pipe, &mut rules, &mut means);
        }
        !relay.blocked
    };
    for part in parts {
        let mut rest = *part;
        loop {
            rest = &rest[world.write(rest)..];
            let steps = deaths.next().unwrap_or(u32::MAX);
            let dead = death::after(steps, || work(&world, false)).is_none();
            receive(&mut messages);
            if rest.is_empty() && !dead {
                break;
            }
        }
    }
    while !work(&world, false) | receive(&mut messages) {}
    work(&world, true);
    receive(&mut messages);
    messages
}

#[test]
fn the_journal_gets_every_message_and_at_most_one_twice_for_each_death() {
    let text: String = (0..100).map(|n| format!("message {n}\n")).collect();
    let parts = [b"a begin, ".as_slice(), b"an end\n", text.as_bytes(), b"open"];
    let mut wanted = vec!["a begin, an end".to_owned()];
    wanted.extend((0..100).map(|n| format!("message {n}")));
    wanted.push("open".to_owned());
    assert_eq!(relayed(&parts, &mut std::iter::empty(), true), wanted);
    for seed in [3, 5, 7, 11] {
        let mut count = 0;
        let mut deaths = (1..).map(|n: u32| n * seed % 23).take(80).inspect(|_| count += 1);
        let mut got = relayed(&parts, &mut deaths, true);
        let all = got.len();
        got.dedup();
        assert_eq!(got, wanted, "seed {seed}");
        assert!(all - got.len() <= count);
    }
}

#[test]
fn long_messages_are_parted_as_ever_and_survive_too() {
    let piece = super::super::log_gate::MESSAGE_LENGTH;
    let line = format!("{}\nshort\n", "m".repeat(2 * piece + 10));
    let wanted = ["m".repeat(piece), "m".repeat(piece), "m".repeat(10), "short".to_owned()];
    assert!(relayed(&[line.as_bytes()], &mut std::iter::empty(), true) == wanted);
    let mut got = relayed(&[line.as_bytes()], &mut (0..).map(|n: u32| n * 3 % 17).take(60), true);
    got.retain(|message| message.len() != piece);
    got.dedup();
    assert_eq!(got, wanted[2..]);
}

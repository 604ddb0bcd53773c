//! Each call of the daemon that changes something, or can fail for want of something, fails once in each way.
//!
//! A scenario is run undisturbed and its calls are written down; then it is run again and again, and each time another
//! of them fails. `RSVC_FAULTS=all` takes every call and errno, `RSVC_FAULTS=SCENARIO` those of one scenario,
//! `RSVC_FAULTS='SCENARIO|CALL|ERRNO'` one case, as a failure names it; without, a part is taken of those scenarios of which all
//! cases have been run, always the same, and the others are run undisturbed.

use crate::around::AROUND;
use crate::instance::process::Process;
use crate::instance::tracer::{Call, Judge, Tracer, Verdict, When};
use crate::instance::{Instance, PATIENCE, Said};
use crate::scenarios::{SCENARIOS, Scenario};
use crate::table;
use crate::walls::WALLS;
use nix::errno::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// A case of so many is run without RSVC_FAULTS.
const SHARE: usize = 41;

/// Prints now and then; ends with what `two` and all others are known by.
const OTHER: &str = "while :; do echo tick; sleep 0.05; done";

/// One call of a scenario: what it is, and the how manieth of its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    key: String,
    occurrence: usize,
}

#[derive(Clone, Debug)]
struct Case {
    scenario: &'static Scenario,
    place: Place,
    errno: i32,
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Place { key, occurrence } = &self.place;
        write!(f, "{}|{key}#{occurrence}|{:?}", self.scenario.name, Errno::from_raw(self.errno))
    }
}

/// What a judge has seen.
#[derive(Default)]
struct Seen {
    counts: BTreeMap<String, usize>,
    calls: Vec<(Place, &'static [i32])>,
    /// Calls that the table says nothing of.
    unknown: BTreeSet<String>,
    hit: bool,
}

type Shared = Arc<Mutex<Seen>>;

fn judge(directory: String, target: Option<(Place, i32)>) -> (Shared, impl Judge) {
    let seen = Shared::default();
    let shared = Arc::clone(&seen);
    let judge = move |call: &Call, when: When| {
        let errnos = match when {
            When::Before => table::errnos(call),
            When::After(_) => return Verdict::Go,
        };
        let Some(errnos) = errnos else {
            shared.lock().expect("nobody panics with it").unknown.insert(call.to_string());
            return Verdict::Go;
        };
        if errnos.is_empty() {
            return Verdict::Go;
        }
        let key = table::key(call, &directory);
        // The one that only watches is not what this is about.
        if key.contains("other") {
            return Verdict::Go;
        }
        let mut seen = shared.lock().expect("nobody panics with it");
        let count = seen.counts.entry(key.clone()).or_default();
        *count += 1;
        let place = Place { key, occurrence: *count };
        if let Some((wanted, errno)) = &target
            && *wanted == place
        {
            seen.hit = true;
            return Verdict::Fail(*errno);
        }
        seen.calls.push((place, errnos));
        Verdict::Go
    };
    (seen, judge)
}

/// A daemon with the unit of a scenario and one beside it.
pub struct World {
    pub instance: Instance,
    /// Argument by which the processes of the unit at hand are known, wherever they are.
    pub mark: String,
    other: Process,
    /// Descriptors that the daemon has open when the unit at hand is down.
    files: usize,
}

impl World {
    fn new(scenario: &Scenario) -> World {
        let instance = Instance::start();
        static WORLDS: AtomicU32 = AtomicU32::new(0);
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        let mark = format!("86400.{}{number:05}", std::process::id());
        let other = format!(
            "[service]\nexec = [\"/bin/sh\", \"-c\", \"{OTHER}\"]\n[restart]\npolicy = \"no\"\n[logging]\ntarget = \"file\"\n"
        );
        instance.unit("other", &other);
        instance.rsvc(&["start", "other"]).expect(0);
        let other = instance.main_process("other");
        instance.wait_for_log("other", "tick");
        let mut world = World { instance, mark, other, files: 0 };
        world.instance.unit("one", &(scenario.unit)(&world));
        // Once through, so that what is opened at the first use is open: nursery, timerfd.
        (scenario.prepare)(&world);
        (scenario.act)(&world);
        (scenario.settle)(&world);
        world.down();
        world.files = world.open_files();
        world
    }

    fn directory(&self) -> String {
        self.instance.path().display().to_string()
    }

    fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.instance.daemon_pid())).map_or(0, Iterator::count)
    }

    /// A command for the unit at hand that nobody waits for for ever.
    pub fn rsvc(&self, verb: &str) -> Said {
        self.instance.rsvc(&[verb, "one", "--timeout", "60s"])
    }

    /// The state of the unit at hand, when it can be asked.
    pub fn status(&self) -> Option<serde_json::Value> {
        serde_json::from_str(&self.instance.rsvc(&["status", "-o", "json", "one"]).out).ok()
    }

    pub fn state(&self) -> String {
        self.status().and_then(|status| Some(status["state"].as_str()?.to_owned())).unwrap_or_default()
    }

    /// Living processes of the unit at hand, also those that no group has.
    pub fn copies(&self) -> Vec<Process> {
        let wanted = format!("{}\0", self.mark);
        let numbers = fs::read_dir("/proc").expect("/proc").flatten();
        let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let all = numbers
            .filter(|pid| fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(&wanted)));
        all.filter_map(Process::with_pid).collect()
    }

    /// Looks until something is so; not for ever.
    pub fn becomes(&self, mut look: impl FnMut(&World) -> bool) -> bool {
        #[allow(clippy::disallowed_methods, reason = "a case that hangs is told of, and the next one tried")]
        let begin = std::time::Instant::now();
        while !look(self) {
            if begin.elapsed() > PATIENCE / 2 {
                return false;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        true
    }

    /// The unit at hand is stopped and nothing of it is left.
    fn down(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let said = self.rsvc("stop");
        if said.code != 0 {
            wrong.push(format!("cannot be stopped afterwards: {said:?}"));
        }
        let traces =
            ["run/services/one/state", "run/io/one", "run/services/one/sockets"].map(|name| self.instance.file(name));
        for trace in traces {
            if !self.becomes(|_| !trace.exists()) {
                wrong.push(format!("{} is left", trace.display()));
            }
        }
        if !self.becomes(|world| world.copies().is_empty()) {
            wrong.push(format!("processes are left: {:?}", self.copies()));
        }
        let state = self.state();
        if state != "inactive" {
            wrong.push(format!("is {state} after a stop"));
        }
        wrong
    }

    /// Who has nothing to do with it runs on, and is logged.
    fn other_is_well(&self) -> Vec<String> {
        let status = self.instance.status("other");
        let mut wrong = Vec::new();
        if !self.other.is_alive()
            || status["main_pid"].as_i64() != Some(self.other.pid.into())
            || status["state"] != "active"
        {
            wrong.push(format!("the other service: {status:#}"));
        }
        let length = self.instance.log("other").len();
        if !self.becomes(|world| world.instance.log("other").len() > length) {
            wrong.push("the other service is not logged any more".to_owned());
        }
        wrong
    }
}

/// Runs a scenario once: whether the call was met, and what was wrong.
fn run(world: &mut World, scenario: &'static Scenario, target: Option<(Place, i32)>) -> Option<(Shared, Vec<String>)> {
    (scenario.prepare)(world);
    let (seen, judge) = judge(world.directory(), target.clone());
    let before = world.copies();
    let mut wrong = Vec::new();
    let tracer = if scenario.adopts {
        world.instance.kill_daemon();
        let tracer = world.instance.start_traced_daemon(judge)?;
        world.instance.answers(&tracer);
        tracer
    } else {
        Tracer::attach(world.instance.daemon_pid(), judge)?
    };
    let said = (scenario.act)(world);
    (scenario.settle)(world);
    let ended = tracer.is_over();
    drop(tracer);
    if ended {
        // The C library and the runtime may have met it before they can say anything.
        let unsaid = target.as_ref().is_some_and(|(place, _)| table::is_allocation(&place.key));
        if !unsaid {
            wrong.extend(ended_with_reason(world, target.as_ref().map(|(_, errno)| *errno)));
        }
        world.instance.kill_daemon();
        world.instance.start_daemon();
    }
    // True: what is shown is there, and there is one of it.
    let truth = world.becomes(|world| {
        let (state, copies) = (world.state(), world.copies());
        match state.as_str() {
            "active" if scenario.idle => copies.len() <= 1,
            "active" => copies.len() == 1,
            "inactive" | "failed" => copies.is_empty(),
            _ => false,
        }
    });
    if !truth {
        wrong.push(format!("is shown as {} with the processes {:?}", world.state(), world.copies()));
    }
    let met = seen.lock().expect("nobody panics with it").hit || target.is_none();
    let unknown = std::mem::take(&mut seen.lock().expect("nobody panics with it").unknown);
    wrong.extend(
        unknown.iter().map(|call| format!("{call}: the table has to say how it fails, or that it is left alone")),
    );
    if met && !ended {
        wrong.extend((scenario.outcome)(world, &before, &said, target.as_ref().map(|(_, errno)| *errno)));
    }
    wrong.extend(world.other_is_well());
    // The fault is gone: everything works.
    let started = world.rsvc("start");
    if started.code != 0 || world.state() != "active" {
        wrong.push(format!("cannot be started afterwards: {} {started:?}", world.state()));
    }
    wrong.extend(world.down());
    if ended || target.is_none() {
        world.files = world.open_files();
    } else if !world.becomes(|world| world.open_files() <= world.files) {
        wrong.push(format!("{} open files, and there were {}", world.open_files(), world.files));
        world.files = world.open_files();
    }
    Some((seen, wrong))
}

/// A daemon may end at once if it cannot begin, saying why, or for want of memory.
fn ended_with_reason(world: &World, errno: Option<i32>) -> Vec<String> {
    let log = world.instance.daemon_log();
    let last = log.lines().rev().take(8).collect::<Vec<_>>().join("\n");
    // What the standard library cannot do without when it starts a process (getent(1)), and says so before its backtrace.
    let words_of_std = "the CLOEXEC pipe failed: Os { code: 12, kind: OutOfMemory";
    if errno == Some(libc::ENOMEM) && log.rsplit("started\n").next().is_some_and(|end| end.contains(words_of_std)) {
        return Vec::new();
    }
    let reason = last.contains("memory allocation of") || last.contains("rsvc daemon: ");
    let named = errno.is_none_or(|errno| {
        let text = std::io::Error::from_raw_os_error(errno).to_string();
        last.contains("memory allocation of") || last.contains(&text) || last.contains(Errno::from_raw(errno).desc())
    });
    if reason && named { Vec::new() } else { vec![format!("the daemon ended with {last}")] }
}

/// Those that are asked for.
fn chosen(scenario: &'static Scenario, cases: Vec<Case>) -> Vec<Case> {
    match std::env::var("RSVC_FAULTS").as_deref() {
        Ok("all") => cases,
        Ok("none") => Vec::new(),
        Ok(name) if name == scenario.name => cases,
        Ok(one) => cases.into_iter().filter(|case| case.to_string() == one).collect(),
        // Each scenario takes others.
        Err(_) => cases.into_iter().skip(scenario.name.len() % SHARE).step_by(SHARE).collect(),
    }
}

fn is_asked_for(scenario: &Scenario) -> bool {
    match std::env::var("RSVC_FAULTS").as_deref() {
        Ok("all" | "none") | Err(_) => true,
        Ok(one) => one.split('|').next() == Some(scenario.name),
    }
}

/// Says in which case the test itself panicked, and what the daemon that it met had been through.
struct Named {
    case: String,
    before: String,
}

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("RSVC_FAULTS='{}', after '{}'", self.case, self.before);
        }
    }
}

fn scenario(scenario: &'static Scenario) {
    if !is_asked_for(scenario) {
        return;
    }
    if let Some(why) = (scenario.lacks)() {
        return crate::instance::skipped(&why);
    }
    let mut world = World::new(scenario);
    let Some((seen, wrong)) = run(&mut world, scenario, None) else { return };
    assert!(wrong.is_empty(), "{} undisturbed: {wrong:#?}", scenario.name);
    let calls = std::mem::take(&mut seen.lock().expect("nobody panics with it").calls);
    let mut cases = Vec::new();
    let mut known = BTreeSet::new();
    for (place, errnos) in calls {
        if known.insert(place.clone()) && !table::repeats(&place.key, place.occurrence) {
            cases.extend(errnos.iter().map(|errno| Case { scenario, place: place.clone(), errno: *errno }));
        }
    }
    let all = cases.len();
    let (mut missed, mut failures) = (0, Vec::new());
    let is_part = std::env::var_os("RSVC_FAULTS").is_none();
    let cases = if is_part && !scenario.sampled { Vec::new() } else { chosen(scenario, cases) };
    if is_part && !scenario.sampled {
        crate::instance::skipped(&format!(
            "not all of its {all} cases have been run yet: RSVC_FAULTS={}",
            scenario.name
        ));
    }
    let count = cases.len();
    let mut before = "nothing".to_owned();
    for case in cases {
        let _named = Named { case: case.to_string(), before: std::mem::replace(&mut before, case.to_string()) };
        let at = world.instance.daemon_log().len();
        let Some((seen, wrong)) = run(&mut world, scenario, Some((case.place.clone(), case.errno))) else { return };
        if !seen.lock().expect("nobody panics with it").hit {
            missed += 1;
        }
        if !wrong.is_empty() {
            let log = world.instance.daemon_log();
            let log = log.get(at..).unwrap_or_default();
            println!("RSVC_FAULTS='{case}'\n  {}\n--- the daemon said:\n{log}", wrong.join("\n  "));
            failures.push(case.to_string());
            // Nobody else should suffer from what this one left.
            world = World::new(scenario);
        }
    }
    println!("{}: {all} cases, {count} run, {missed} of them not met again, {} failed", scenario.name, failures.len());
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(count == 0 || missed < count, "no call was met again");
}

fn all() -> impl Iterator<Item = &'static Scenario> {
    SCENARIOS.iter().chain(WALLS).chain(AROUND)
}

macro_rules! tests {
    ($($name:ident: $scenario:expr;)*) => {
        $(#[test]
        fn $name() {
            root_only!();
            scenario(all().find(|scenario| scenario.name == $scenario).expect("there is one"));
        })*

        #[test]
        fn every_scenario_has_its_test() {
            assert!(all().map(|scenario| scenario.name).eq([$($scenario),*]));
        }
    };
}

tests! {
    faults_in_a_start: "start";
    faults_in_a_stop: "stop";
    faults_in_a_restart: "restart";
    faults_in_a_crash_and_its_restart: "crash";
    faults_in_a_reload: "reload";
    faults_in_a_change_of_limits: "set";
    faults_in_an_adoption: "adoption";
    faults_in_output: "output";
    faults_in_socket_activation: "socket";
    faults_in_timers: "timer";
    faults_in_readiness: "notify";
    faults_in_ids_of_a_units_own: "ids";
    faults_in_rules_for_packets: "packets";
    faults_in_an_image: "image";
    faults_in_the_start_of_an_answerer: "answerer";
    faults_in_a_denied_call: "denied";
    faults_in_secrets_and_directories: "secrets";
    faults_in_limits_and_a_slice: "limits";
    faults_in_a_pod: "pod";
    faults_in_hooks: "hooks";
    faults_in_exec: "exec";
    faults_in_the_store_of_descriptors: "store";
    faults_in_looks_at_health: "health";
    faults_in_a_change_for_good: "persist";
    faults_in_enabling: "enable";
    faults_in_freezing: "freeze";
    faults_in_an_upgrade: "upgrade";
}

//! No byte of a service's output is lost, and none is doubled, whenever the daemon is killed.
//!
//! ```text
//! cargo test --test logs_exactly_once                          a few kills
//! RSVC_KILLS=2000 cargo test --test logs_exactly_once          as many as you like
//! ```

mod instance;

use instance::journald::Journald;
use instance::{Instance, eventually, is_root, skipped};
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

/// How often the daemon is killed in each test.
fn kills() -> u32 {
    std::env::var("RSVC_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(15)
}

/// Prints numbers from 1 on as fast as it can, until somebody makes `stop`; then says how far it came and ends.
fn counter(instance: &Instance, name: &str, logging: &str) {
    let program = format!(
        "import os\nout = open(1, 'wb', 0)\nn = 0\nwhile not os.path.exists('/srv/stop'):\n\
         \x20   out.write(b''.join(b'%d of {name}\\n' % i for i in range(n + 1, n + 51)))\n\x20   n += 50\n\
         out.write(b'last %d' % n)\n"
    );
    let shared = instance.file("shared");
    let _ = fs::create_dir(&shared);
    fs::write(shared.join(format!("{name}.py")), program).expect("program");
    instance.unit_as_is(
        name,
        &format!(
            "[service]\nexec = [\"/usr/bin/python3\", \"/srv/{name}.py\"]\n[restart]\npolicy = \"no\"\n\
             [[mounts]]\nsource = \"{}\"\ndestination = \"/srv\"\noptions = [\"ro\"]\n[logging]\n{logging}\n",
            shared.display()
        ),
    );
}

/// All log files of a unit, oldest first, as lines without their times.
fn lines(instance: &Instance, unit: &str) -> Vec<String> {
    let name = |n: u32| if n == 0 { format!("{unit}.log") } else { format!("{unit}.log.{n}") };
    let mut all = String::new();
    for n in (0..2000).rev() {
        let path = instance.file(&format!("state/log/{}", name(n)));
        if let Ok(bytes) = fs::read(path) {
            all.push_str(&String::from_utf8(bytes).expect("text"));
        }
    }
    all.lines().map(|line| line.split_once(' ').unwrap_or_else(|| panic!("no time: {line}")).1.to_owned()).collect()
}

/// Every number once and in order, and then the last word.
#[track_caller]
fn assert_complete(instance: &Instance, unit: &str) -> u64 {
    let lines = lines(instance, unit);
    for (at, line) in lines.iter().take(lines.len() - 1).enumerate() {
        let wanted = format!("{} of {unit}", at + 1);
        assert_eq!(*line, wanted, "line {at} of {unit}; around it: {:?}", &lines[at.saturating_sub(3)..at + 3]);
    }
    let count = lines.len() as u64 - 1;
    assert_eq!(lines[lines.len() - 1], format!("last {count}"), "{unit}");
    count
}

/// Some moment between "just born" and "busy for a while".
fn some_time(round: u32) -> Duration {
    Duration::from_micros(u64::from(round.wrapping_mul(2_654_435_761) % 60_000))
}

fn stop(instance: &Instance) {
    fs::write(instance.file("shared/stop"), "").expect("stop");
}

fn python() -> bool {
    let there = std::path::Path::new("/usr/bin/python3").exists();
    if !there {
        skipped("no python3 here");
    }
    there
}

const LARGE: &str = "target = \"file\"\n[logging.file]\nmax_size = \"1G\"";
/// Rotated all the time, and nothing is removed.
const SMALL: &str = "target = \"file\"\n[logging.file]\nmax_size = \"1M\"\nmax_files = 990";
/// Through the gate, which lets everything pass.
const GATED: &str = "target = \"file\"\nlevel_max = \"info\"\n[logging.file]\nmax_size = \"1G\"";

#[test]
fn numbered_lines_are_complete_after_any_number_of_kills() {
    if !is_root() {
        return skipped("needs root");
    }
    if !python() {
        return;
    }
    let mut instance = Instance::start();
    let units = [("large", LARGE), ("small", SMALL), ("gated", GATED)];
    for (name, logging) in units {
        counter(&instance, name, logging);
        instance.rsvc(&["start", name]).expect(0);
    }
    for round in 0..kills() {
        std::thread::sleep(some_time(round));
        instance.kill_daemon();
        instance.start_daemon();
    }
    stop(&instance);
    for (name, _) in units {
        instance.wait_for_state(name, "inactive");
        let count = assert_complete(&instance, name);
        eprintln!("{name}: {count} lines, {} kills", kills());
    }
}

#[test]
fn what_a_service_said_before_its_end_is_stored_by_the_next_daemon() {
    if !is_root() {
        return skipped("needs root");
    }
    if !python() {
        return;
    }
    let mut instance = Instance::start();
    let units = [("large", LARGE), ("gated", GATED)];
    for (name, logging) in units {
        counter(&instance, name, logging);
        instance.rsvc(&["start", name]).expect(0);
    }
    // Without an init that could have the pipe open.
    counter(&instance, "bare", LARGE);
    let path = instance.file("units/bare.toml");
    let text = fs::read_to_string(&path).expect("unit");
    fs::write(&path, format!("{text}[namespaces]\ninit = false\n")).expect("unit");
    instance.rsvc(&["start", "bare"]).expect(0);
    let mains: Vec<_> = ["large", "gated", "bare"].map(|name| instance.main_process(name)).into();
    instance.kill_daemon();
    // They fill their pipes and wait; then they are told to stop, and can only when somebody reads.
    stop(&instance);
    // Those that find room end at once, the others when the next daemon makes some.
    drop(mains);
    instance.start_daemon();
    for name in ["large", "gated", "bare"] {
        instance.wait_for_state(name, "inactive");
        assert_complete(&instance, name);
    }
}

#[test]
fn a_service_that_ends_while_no_daemon_runs_loses_nothing() {
    if !is_root() {
        return skipped("needs root");
    }
    let mut instance = Instance::start();
    let shared = instance.file("shared");
    fs::create_dir(&shared).expect("directory");
    for (name, init) in [("web", "true"), ("bare", "false")] {
        let script = "echo begin; while [ ! -e /srv/stop ]; do sleep 0.05; done; \
                      i=0; while [ $i -lt 500 ]; do i=$((i+1)); echo $i; done; printf \"the end\"; exit 7";
        instance.unit_as_is(
            name,
            &format!(
                "[service]\nexec = [\"/bin/sh\", \"-c\", '''{script}''']\n[restart]\npolicy = \"no\"\n\
                 [namespaces]\ninit = {init}\n[[mounts]]\nsource = \"{}\"\ndestination = \"/srv\"\noptions = [\"ro\"]\n[logging]\ntarget = \"file\"\n",
                shared.display()
            ),
        );
        instance.rsvc(&["start", name]).expect(0);
        instance.wait_for_log(name, "begin");
    }
    let mains = ["web", "bare"].map(|name| instance.main_process(name));
    instance.kill_daemon();
    stop(&instance);
    for main in &mains {
        eventually("it has ended", || (!main.is_alive()).then_some(()));
    }
    instance.start_daemon();
    let mut wanted = vec!["begin".to_owned()];
    wanted.extend((1..=500).map(|n: u32| n.to_string()));
    wanted.push("the end".to_owned());
    for name in ["web", "bare"] {
        instance.wait_for_state(name, "failed");
        assert_eq!(lines(&instance, name), wanted, "{name}");
    }
}

#[test]
fn the_journal_gets_every_message_and_few_of_them_twice() {
    let Some(journald) = Journald::start() else { return };
    if !python() {
        return;
    }
    let mut instance = Instance::prepared();
    instance.enter(journald.namespace());
    instance.start_daemon();
    counter(&instance, "told", "[logging.fields]\nTEAM = \"till\"");
    instance.rsvc(&["start", "told"]).expect(0);
    for round in 0..kills().min(30) {
        std::thread::sleep(some_time(round));
        instance.kill_daemon();
        instance.start_daemon();
    }
    stop(&instance);
    instance.wait_for_state("told", "inactive");
    let entries = eventually("the last message", || {
        let entries = journald.entries(&["RSVC_UNIT=told", "TEAM=till"]);
        let is_last = |entry: &serde_json::Value| entry["MESSAGE"].as_str().is_some_and(|m| m.starts_with("last "));
        entries.iter().any(is_last).then_some(entries)
    });
    let messages: Vec<&str> = entries.iter().map(|entry| entry["MESSAGE"].as_str().expect("text")).collect();
    let distinct: BTreeSet<&str> = messages.iter().copied().collect();
    let count = distinct.len() - 1;
    assert!(distinct.contains(format!("last {count}").as_str()), "{count} of {:?}", messages.last());
    for n in 1..=count {
        assert!(distinct.contains(format!("{n} of told").as_str()), "{n}");
    }
    let doubled = messages.len() - distinct.len();
    eprintln!("{count} messages, {doubled} of them twice");
    assert!(doubled as u32 <= kills().min(30));
}

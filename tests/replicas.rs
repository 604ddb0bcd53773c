//! Sets of replicas, with a daemon and real processes.

#[macro_use]
mod instance;

use instance::{Instance, Said, eventually};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Says READY=1 when somebody lets it: by the file `ready-N`, or at once while there is `ready-all`. With the file
/// `fail` there it ends instead.
const GATED: &str = r#"use Socket; $| = 1; my $n = $ARGV[0]; my $d = $ENV{STATE_DIRECTORY};
print "replica $n begins\n";
until (-e "$d/ready-all" || -e "$d/ready-$n") {
    if (-e "$d/fail") { print "replica $n cannot go on\n"; exit 7 }
    select(undef, undef, undef, 0.02);
}
socket(S, AF_UNIX, SOCK_DGRAM, 0) or die;
send(S, 'READY=1', 0, sockaddr_un($ENV{NOTIFY_SOCKET})) or die;
sleep 1000;
"#;

/// A set of such replicas, which are not tried again while the test looks.
fn gated(instance: &Instance, number: u32) {
    let text = format!(
        "[unit]\nreplicas = {number}\n\n[service]\ntype = \"notify\"\n\
         exec = [\"/usr/bin/perl\", \"-e\", '''{GATED}''', \"${{instance}}\"]\n\n\
         [restart]\ndelay = \"1h\"\nmax_delay = \"1h\"\n\n[directories]\nstate = [\"gate\"]\n"
    );
    instance.unit("web@", &text);
    fs::create_dir_all(gate(instance)).expect("directory");
}

/// The state directory of the replicas.
fn gate(instance: &Instance) -> PathBuf {
    instance.file("state/directories/state/gate")
}

const SLEEP: &str = "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n";

fn sleeping(instance: &Instance, number: u32) {
    instance.unit("web@", &format!("[unit]\nreplicas = {number}\n\n{SLEEP}"));
}

fn open(instance: &Instance, name: &str) {
    fs::write(gate(instance).join(name), "").expect("gate");
}

fn close(instance: &Instance, name: &str) {
    fs::remove_file(gate(instance).join(name)).expect("gate");
}

/// Names of the replicas that are active.
fn active(instance: &Instance) -> Vec<String> {
    let status = instance.status("web");
    let members = status["replicas"]["members"].as_array().cloned().unwrap_or_default();
    let is_active = |member: &&Value| member["state"] == "active";
    members.iter().filter(is_active).filter_map(|member| member["name"].as_str().map(str::to_owned)).collect()
}

fn names(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("web@{number}")).collect()
}

fn pid(instance: &Instance, unit: &str) -> i64 {
    instance.status(unit)["main_pid"].as_i64().unwrap_or_else(|| panic!("{unit} has no process"))
}

fn pids(instance: &Instance, numbers: impl IntoIterator<Item = u32>) -> Vec<i64> {
    names(numbers).iter().map(|name| pid(instance, name)).collect()
}

#[test]
fn a_set_is_started_scaled_shown_and_stopped() {
    root_only!();
    let instance = Instance::start();
    sleeping(&instance, 2);
    instance.rsvc(&["start", "web"]).expect(0);
    assert_eq!(active(&instance), names(1..=2));
    let first = pids(&instance, 1..=2);
    instance.rsvc(&["scale", "web=4"]).expect(0);
    assert_eq!(active(&instance), names(1..=4));
    assert_eq!(pids(&instance, 1..=2), first, "who ran runs on");
    assert_eq!(instance.rsvc(&["scale", "web"]).expect(0).out, "web: 4 of 4 ready, scaled\n");
    let page = instance.rsvc(&["status", "web"]).expect(0).out;
    assert!(page.contains("4 of 4 ready, scaled") && page.contains("web@3 active (running)"), "{page}");
    let listed = instance.rsvc(&["list", "-o", "name"]).expect(0).out;
    assert_eq!(listed.lines().collect::<Vec<_>>(), ["web", "web@1", "web@2", "web@3", "web@4"]);
    instance.rsvc(&["scale", "web=1"]).expect(0);
    assert_eq!(active(&instance), names([1]));
    assert_eq!(pid(&instance, "web@1"), first[0]);
    instance.rsvc(&["scale", "web=0"]).expect(0);
    assert_eq!(active(&instance), names([]));
    assert_eq!(instance.status("web")["state"], "active");
    instance.rsvc(&["start", "web"]).expect(0);
    assert_eq!(active(&instance), names([]), "the number holds until the set is stopped");
    instance.rsvc(&["stop", "web"]).expect(0);
    assert_eq!(instance.status("web")["state"], "inactive");
    instance.rsvc(&["start", "web"]).expect(0);
    assert_eq!(active(&instance), names(1..=2));
    instance.rsvc(&["stop", "--all"]).expect(0);
    assert_eq!(active(&instance), names([]));
}

#[test]
fn what_cannot_be_scaled_is_refused_with_a_way_out() {
    root_only!();
    let instance = Instance::start();
    sleeping(&instance, 1);
    instance.unit("plain", SLEEP);
    instance.unit("other@", SLEEP);
    for word in ["web=-1", "web=abc", "web=100000", "web=1001", "web="] {
        let said = instance.rsvc(&["scale", word]).expect(2);
        assert!(said.err.contains("0 to 1000"), "{word}: {}", said.err);
    }
    let said = instance.rsvc(&["scale", "plain=3"]).expect(7);
    assert!(said.err.contains("no set") && said.err.contains("unit.replicas"), "{}", said.err);
    let said = instance.rsvc(&["scale", "other=3"]).expect(7);
    assert!(said.err.contains("write `replicas = 3`"), "{}", said.err);
    instance.rsvc(&["scale", "plain"]).expect(7);
    instance.rsvc(&["scale", "nosuch=3"]).expect(5);
    instance.rsvc(&["scale", "nosuch"]).expect(5);
    let said = instance.rsvc(&["set", "web", "resources.tasks_max=50"]).expect(7);
    assert!(said.err.contains("web@1"), "{}", said.err);
    let said = instance.rsvc(&["set", "--persist", "web", "resources.tasks_max=50"]).expect(7);
    assert!(said.err.contains("web@1"), "{}", said.err);
    instance.unit("bad", &format!("[unit]\nreplicas = 2\n\n{SLEEP}"));
    let said = instance.rsvc(&["start", "bad"]).expect(6);
    assert!(said.err.contains("bad@.toml"), "{}", said.err);
    instance.unit("job@", "[unit]\nreplicas = 2\n\n[service]\ntype = \"oneshot\"\nexec = [\"/bin/true\"]\n");
    let said = instance.rsvc(&["start", "job"]).expect(6);
    assert!(said.err.contains("again and again"), "{}", said.err);
    instance.unit("web", SLEEP);
    let said = instance.rsvc(&["check", "web@"]).expect(0);
    assert!(said.err.contains("comes first"), "{}", said.err);
    let said = instance.rsvc(&["check", "--strict", "web"]).expect(1);
    assert!(said.err.contains("comes first"), "{}", said.err);
    instance.rsvc(&["start", "web"]).expect(0);
    assert_eq!(instance.status("web")["replicas"], Value::Null, "the plain unit wins");
}

#[test]
fn a_replica_that_people_stop_stays_down_and_one_that_dies_comes_back() {
    root_only!();
    let instance = Instance::start();
    instance.unit("web@", &format!("[unit]\nreplicas = 2\n\n{SLEEP}\n[restart]\npolicy = \"no\"\n"));
    instance.rsvc(&["start", "web"]).expect(0);
    let before = pid(&instance, "web@2");
    instance.rsvc(&["kill", "-s", "KILL", "web@2"]).expect(0);
    eventually("it is started again", || {
        let status = instance.status("web@2");
        (status["state"] == "active" && status["main_pid"] != before).then_some(())
    });
    instance.rsvc(&["stop", "web@1"]).expect(0);
    let status = instance.status("web");
    assert_eq!((&status["state"], &status["replicas"]["ready"]), (&"active".into(), &1.into()));
    assert_eq!(status["replicas"]["members"][0]["held"], true);
    instance.rsvc(&["start", "web"]).expect(0);
    assert_eq!(active(&instance), names(1..=2));
    instance.rsvc(&["kill", "-s", "KILL", "web"]).expect(0);
    eventually("both are started again", || (active(&instance) == names(1..=2)).then_some(()));
}

#[test]
fn a_restart_goes_on_only_when_the_one_before_is_ready() {
    root_and_perl!();
    let instance = Instance::start();
    gated(&instance, 3);
    open(&instance, "ready-all");
    instance.rsvc(&["start", "web"]).expect(0);
    let before = pids(&instance, 1..=3);
    close(&instance, "ready-all");
    instance.rsvc(&["restart", "--no-wait", "web"]).expect(0);
    for number in 1..=3 {
        eventually("it is at the next one", || {
            let status = instance.status("web");
            let rolling = status["replicas"]["rolling"] == format!("web@{number}");
            (rolling && status["replicas"]["members"][number as usize - 1]["state"] == "activating").then_some(())
        });
        let others: Vec<u32> = (1..=3).filter(|other| *other != number).collect();
        assert_eq!(active(&instance), names(others), "only one is down");
        open(&instance, &format!("ready-{number}"));
    }
    eventually("it is done", || {
        let status = instance.status("web");
        (status["replicas"]["rolling"].is_null() && status["replicas"]["ready"] == 3).then_some(())
    });
    let after = pids(&instance, 1..=3);
    assert!(before.iter().zip(&after).all(|(before, after)| before != after), "{before:?} {after:?}");
}

#[test]
fn a_replica_that_fails_ends_the_roll_and_the_answer_says_what_was_done() {
    root_and_perl!();
    let instance = Instance::start();
    gated(&instance, 3);
    open(&instance, "ready-all");
    instance.rsvc(&["start", "web"]).expect(0);
    let before = pids(&instance, 1..=3);
    open(&instance, "ready-1");
    close(&instance, "ready-all");
    open(&instance, "fail");
    let said = instance.rsvc(&["restart", "web"]).expect(1);
    for part in [
        "the rolling restart ended at web@2",
        "exited with status 7",
        "replica 2 cannot go on",
        "restarted: web@1",
        "left as they were: web@3",
    ] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    assert_eq!(active(&instance), names([1, 3]));
    assert_eq!(pid(&instance, "web@3"), before[2]);
    // The next roll begins with the one that is down.
    close(&instance, "fail");
    open(&instance, "ready-all");
    instance.rsvc(&["restart", "web"]).expect(0);
    assert_eq!(active(&instance), names(1..=3));
}

#[test]
fn a_start_that_fails_in_part_shows_who_failed_and_its_last_lines() {
    root_and_perl!();
    let instance = Instance::start();
    gated(&instance, 2);
    open(&instance, "fail");
    open(&instance, "ready-1");
    let said: Said = instance.rsvc(&["start", "web"]).expect(1);
    assert!(said.err.contains("web@2: the main process exited with status 7"), "{}", said.err);
    assert!(said.err.contains("replica 2 cannot go on") && !said.err.contains("web@1:"), "{}", said.err);
    assert_eq!(active(&instance), names([1]));
    let logs = instance.rsvc(&["logs", "web"]).expect(0).out;
    assert!(logs.contains("web@1") && logs.contains("replica 1 begins") && logs.contains("web@2"), "{logs}");
}

#[test]
fn number_and_processes_outlive_a_daemon_that_is_killed() {
    root_only!();
    let mut instance = Instance::start();
    sleeping(&instance, 1);
    instance.rsvc(&["scale", "web=3"]).expect(0);
    instance.rsvc(&["stop", "web@2"]).expect(0);
    let before = pids(&instance, [1, 3]);
    instance.kill_daemon();
    instance.start_daemon();
    let status = eventually("it is known again", || {
        let status = instance.status("web");
        (status["replicas"]["ready"] == 2).then_some(status)
    });
    assert_eq!((&status["state"], &status["replicas"]["number"]), (&"active".into(), &3.into()));
    assert_eq!(status["replicas"]["members"][1]["held"], true, "{status}");
    assert_eq!(pids(&instance, [1, 3]), before);
    // Even without its file.
    fs::rename(instance.file("units/web@.toml"), instance.file("away")).expect("rename");
    instance.kill_daemon();
    instance.start_daemon();
    eventually("it is known again", || (instance.status("web")["replicas"]["ready"] == 2).then_some(()));
    instance.rsvc(&["stop", "web"]).expect(0);
    for pid in before {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} is gone");
    }
}

#[test]
fn a_roll_outlives_a_daemon_that_is_killed_in_the_middle() {
    root_and_perl!();
    let mut instance = Instance::start();
    gated(&instance, 3);
    open(&instance, "ready-all");
    instance.rsvc(&["start", "web"]).expect(0);
    let before = pids(&instance, 1..=3);
    open(&instance, "ready-1");
    close(&instance, "ready-all");
    instance.rsvc(&["restart", "--no-wait", "web"]).expect(0);
    eventually("the second one waits", || {
        let status = instance.status("web");
        let second = &status["replicas"]["members"][1];
        (status["replicas"]["rolling"] == "web@2" && second["state"] == "activating").then_some(())
    });
    let begun = |instance: &Instance, number: u32| {
        instance.log(&format!("web@{number}")).matches(&format!("replica {number} begins")).count()
    };
    eventually("it says that it begins", || (begun(&instance, 2) == 2).then_some(()));
    let first = pid(&instance, "web@1");
    instance.kill_daemon();
    instance.start_daemon();
    eventually("the roll is where it was", || (instance.status("web")["replicas"]["rolling"] == "web@2").then_some(()));
    assert_eq!(active(&instance), names([1, 3]));
    open(&instance, "ready-2");
    open(&instance, "ready-3");
    eventually("the roll is done", || {
        let status = instance.status("web");
        (status["replicas"]["rolling"].is_null() && status["replicas"]["ready"] == 3).then_some(())
    });
    let after = pids(&instance, 1..=3);
    assert_eq!(after[0], first);
    for number in 1..=3 {
        eventually("it was started, and restarted once", || (begun(&instance, number) >= 2).then_some(()));
        assert_eq!(begun(&instance, number), 2, "web@{number} was started, and restarted once");
    }
    assert!(before.iter().zip(&after).all(|(before, after)| before != after), "{before:?} {after:?}");
}

#[test]
fn a_set_stands_for_its_replicas_where_other_units_name_it_and_at_boot() {
    root_only!();
    let mut instance = Instance::start();
    sleeping(&instance, 2);
    instance.unit("app", &format!("[unit]\nrequires = [\"web\"]\n\n{SLEEP}"));
    let said = instance.rsvc(&["check", "app"]).expect(0);
    assert!(!said.err.contains("there is no unit"), "{}", said.err);
    instance.rsvc(&["start", "app"]).expect(0);
    assert_eq!(active(&instance), names(1..=2));
    let app = pid(&instance, "app");
    instance.rsvc(&["restart", "web"]).expect(0);
    instance.rsvc(&["scale", "web=1"]).expect(0);
    assert_eq!(pid(&instance, "app"), app, "neither takes along who needs the set");
    instance.rsvc(&["stop", "web"]).expect(0);
    assert_eq!(instance.status("app")["state"], "inactive");

    instance.rsvc(&["enable", "web"]).expect(0);
    assert_eq!(instance.rsvc(&["is-enabled", "web"]).expect(0).out, "enabled\n");
    assert!(instance.end_daemon().success());
    fs::remove_file(instance.file("run/booted")).expect("the mark of this boot");
    instance.start_daemon();
    eventually("the set is up", || (active(&instance) == names(1..=2)).then_some(()));
    instance.rsvc(&["disable", "--now", "web"]).expect(0);
    assert_eq!(instance.rsvc(&["is-enabled", "web"]).expect(1).out, "disabled\n");
    assert_eq!(active(&instance), names([]));
}

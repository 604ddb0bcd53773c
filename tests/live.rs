//! What can be changed of a unit that runs: limits, the freezer, the files it was read from.

mod instance;

use instance::{Instance, eventually, is_root, skipped};
use serde_json::{Value, json};
use std::fs;

macro_rules! root_only {
    () => {
        if !is_root() {
            return skipped("needs root");
        }
    };
}

const SLEEPER: &str = "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n[restart]\ndelay = \"0\"\n";

/// A unit with limits, and a daemon; `None` where the host has no controllers for them.
fn limited() -> Option<Instance> {
    let instance = Instance::start();
    instance.unit("web", &format!("{SLEEPER}[resources]\nmemory_max = \"512M\"\ntasks_max = 100\n"));
    let said = instance.rsvc(&["start", "web"]);
    if said.code != 0 && said.err.contains("controller") {
        skipped("no memory or pids controller here");
        return None;
    }
    said.expect(0);
    Some(instance)
}

/// State letter of a process: `S`, `D`...
fn process_state(pid: i64) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().unwrap_or_default().split_whitespace().next().unwrap_or_default().to_owned()
}

#[test]
fn a_changed_limit_is_in_the_kernel_named_by_status_and_gone_after_a_stop() {
    root_only!();
    let Some(mut instance) = limited() else { return };
    instance.rsvc(&["set", "web", "resources.memory_max=256M", "resources.tasks_max=50"]).expect(0);
    let status = instance.status("web");
    assert_eq!(status["memory_max"], 256 << 20, "as the kernel says");
    assert_eq!(status["tasks_max"], 50);
    let changes = &status["changed_live"];
    assert_eq!(changes[0], "resources.memory_max = \"256M\", unit: \"512M\"", "{changes}");
    assert!(instance.rsvc(&["status", "web"]).out.contains("Changed: resources.memory_max"));
    // Over an automatic restart, a restart by hand, and another daemon.
    let pid = status["main_pid"].as_i64().expect("a pid");
    instance.rsvc(&["kill", "-s", "KILL", "web"]).expect(0);
    eventually("another main process", || instance.status("web")["main_pid"].as_i64().filter(|other| *other != pid));
    instance.rsvc(&["restart", "web"]).expect(0);
    assert_eq!(instance.status("web")["memory_max"], 256 << 20);
    instance.kill_daemon();
    instance.start_daemon();
    assert_eq!(instance.status("web")["changed_live"][1], "resources.tasks_max = 50, unit: 100");
    instance.rsvc(&["set", "web", "resources.tasks_max="]).expect(0);
    let status = instance.status("web");
    assert_eq!((&status["tasks_max"], status["changed_live"].as_array().map(Vec::len)), (&json!(100), Some(1)));
    instance.rsvc(&["stop", "web"]).expect(0);
    instance.rsvc(&["start", "web"]).expect(0);
    let status = instance.status("web");
    assert_eq!((&status["memory_max"], &status["changed_live"]), (&json!(512u64 << 20), &json!([])));
}

#[test]
fn what_cannot_be_set_is_refused_with_the_reason_and_nothing_is_changed() {
    root_only!();
    let Some(instance) = limited() else { return };
    for (words, code, reason) in [
        (&["web", "resources.memory_max"][..], 2, "table.key=value"),
        (&["web", "memory_max=1G"], 2, "table.key=value"),
        (&["web", "resources.memory_mx=1G"], 2, "these can"),
        (&["web", "service.user=nobody"], 2, "cannot change while the unit runs"),
        (&["web", "resources.memory_max=lots"], 2, "lots"),
        (&["web", "resources.memory_max=1k"], 2, "size"),
        (&["web", "resources.memory_max=1K"], 2, "64K"),
        (&["web", "resources.tasks_max=7", "resources.cpu_weight=0"], 2, "10000"),
        (&["web", "resources.tasks_max=7", "--persist"], 2, "drop-in"),
        (&["nosuch", "resources.tasks_max=7"], 5, "no such unit"),
    ] {
        let said = instance.rsvc(&[&["set"], words].concat()).expect(code);
        assert!(said.err.contains(reason), "{words:?}: {}", said.err);
    }
    assert_eq!(instance.status("web")["tasks_max"], 100, "several changes are one");
    instance.rsvc(&["stop", "web"]).expect(0);
    instance.rsvc(&["set", "web", "resources.tasks_max=7"]).expect(7);
}

#[test]
fn a_frozen_service_stands_still_goes_on_and_can_be_stopped() {
    root_only!();
    let mut instance = Instance::start();
    instance.unit(
        "web",
        "[service]\nexec = [\"/bin/sh\", \"-c\", \"while :; do echo tick; sleep 0.05; done\"]\ntimeout_stop = \"60s\"\n\
         reload_signal = \"SIGHUP\"\n",
    );
    instance.rsvc(&["freeze", "web"]).expect(7);
    instance.rsvc(&["start", "web"]).expect(0);
    instance.wait_for_log("web", "tick");
    instance.rsvc(&["freeze", "web"]).expect(0);
    instance.rsvc(&["freeze", "web"]).expect(0);
    let status = instance.status("web");
    assert_eq!((&status["frozen"], &status["state"]), (&json!(true), &json!("active")));
    assert!(instance.rsvc(&["status", "web"]).out.contains("active (running, frozen)"));
    assert!(instance.rsvc(&["list"]).out.contains("frozen"));
    instance.rsvc(&["reload", "web"]).expect(7);
    instance.kill_daemon();
    instance.start_daemon();
    assert_eq!(instance.status("web")["frozen"], true, "the next daemon knows");
    instance.rsvc(&["thaw", "web"]).expect(0);
    assert_eq!(instance.status("web")["frozen"], false);
    let before = instance.log("web").len();
    eventually("it goes on", || (instance.log("web").len() > before).then_some(()));
    instance.rsvc(&["freeze", "web"]).expect(0);
    let pid = instance.status("web")["main_pid"].as_i64().expect("a pid");
    assert_ne!(process_state(pid), "", "it is there");
    instance.rsvc(&["stop", "--timeout", "50s", "web"]).expect(0);
    let status = instance.status("web");
    assert_eq!((&status["state"], &status["frozen"]), (&json!("inactive"), &json!(false)), "within timeout_stop");
    instance.rsvc(&["thaw", "web"]).expect(7);
}

#[test]
fn a_frozen_service_that_is_killed_is_restarted_unfrozen() {
    root_only!();
    let instance = Instance::start();
    instance.unit("web", SLEEPER);
    instance.rsvc(&["start", "web"]).expect(0);
    let pid = instance.status("web")["main_pid"].as_i64();
    instance.rsvc(&["freeze", "web"]).expect(0);
    instance.rsvc(&["restart", "web"]).expect(0);
    let status = instance.status("web");
    assert_eq!((&status["state"], &status["frozen"]), (&json!("active"), &json!(false)));
    assert_ne!(status["main_pid"].as_i64(), pid);
}

#[test]
fn reload_config_says_what_is_new_changed_gone_and_bad() {
    root_only!();
    let instance = Instance::start();
    for name in ["same", "edited", "removed", "broken"] {
        instance.unit(name, SLEEPER);
    }
    instance.rsvc(&["list", "--all"]).expect(0);
    instance.rsvc(&["start", "edited"]).expect(0);
    instance.unit("edited", &SLEEPER.replace("1000", "2000"));
    instance.unit("broken", "[service]\nexec = [\"/bin/true\"]\nusr = 5\n");
    instance.unit("added", SLEEPER);
    fs::remove_file(instance.file("units/removed.toml")).expect("remove");
    let said = instance.rsvc(&["reload-config", "-o", "json"]).expect(1);
    let lines: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let found: Vec<(&str, &str)> =
        lines.iter().filter_map(|line| Some((line["name"].as_str()?, line["change"].as_str()?))).collect();
    assert_eq!(found, [("added", "new"), ("broken", "bad"), ("edited", "changed"), ("removed", "gone")]);
    assert_eq!(lines[1]["message"].as_str().map(|text| text.contains("did you mean `user`")), Some(true));
    assert_eq!((&lines[2]["running"], &lines[4]["unchanged"]), (&json!(true), &json!(1)));
    let said = instance.rsvc(&["reload-config"]).expect(1);
    assert!(said.out.contains("broken: bad") && said.err.contains("broken.toml:3"), "{said:?}");
    let command = fs::read(format!("/proc/{}/cmdline", instance.status("edited")["main_pid"])).expect("cmdline");
    assert!(command.ends_with(b"1000\0"), "what runs goes on as it was started");
}

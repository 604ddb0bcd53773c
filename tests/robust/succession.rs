//! Daemons that are killed, and what the next one makes of what it finds.

use crate::instance::process::Process;
use crate::instance::{Instance, eventually};
use crate::{SLEEP, script};
use serde_json::Value;
use std::fs;

#[test]
fn two_daemons_do_not_share_a_runtime_directory() {
    root_only!();
    let instance = Instance::start();
    let said = instance.rsvc(&["daemon"]).expect(1);
    assert!(said.err.contains("another rsvc daemon"), "{said:?}");
    instance.rsvc(&["list"]).expect(0);
}

#[test]
fn a_state_that_cannot_be_believed_leads_to_one_fresh_copy() {
    root_only!();
    let mut instance = Instance::start();
    let names = ["damaged", "future", "missing"];
    for name in names {
        instance.unit(name, SLEEP);
    }
    instance.rsvc(&["start", "damaged", "future", "missing"]).expect(0);
    let before = names.map(|name| instance.main_process(name));
    instance.kill_daemon();
    let state = |name: &str| instance.file(&format!("run/services/{name}/state"));
    fs::write(state("damaged"), "{\"v\":1,\"boot").expect("write");
    fs::write(state("future"), "{\"v\":99}").expect("write");
    fs::remove_file(state("missing")).expect("remove");
    instance.start_daemon();
    for (name, old) in names.into_iter().zip(before) {
        eventually("the old copy ends", || (!old.is_alive()).then_some(()));
        let status = eventually("a fresh copy", || {
            Some(instance.status(name)).filter(|status| status["state"] == "active" && status["main_pid"].is_number())
        });
        assert_ne!(Process::of(&status["main_pid"]), old, "{name}");
    }
}

#[test]
fn a_lost_exit_record_is_a_failure_without_a_guess() {
    root_only!();
    let mut instance = Instance::start();
    let text = "while ! [ -e $STATE_DIRECTORY/go ]; do sleep 0.02; done; exit 0";
    instance.unit("brief", &script("exec", text, "[restart]\npolicy = \"no\"\n[directories]\nstate = [\"brief\"]"));
    instance.rsvc(&["start", "brief"]).expect(0);
    // With its PID 1, which writes the record.
    let all = Process::all(&instance.status("brief"));
    instance.kill_daemon();
    fs::write(instance.file("state/directories/state/brief/go"), "").expect("go");
    eventually("all of it ends", || all.iter().all(|process| !process.is_alive()).then_some(()));
    fs::write(instance.file("run/services/brief/exit"), [0xa5; 100]).expect("write");
    instance.start_daemon();
    let status = instance.wait_for_state("brief", "failed");
    assert!(status["cause"].as_str().is_some_and(|cause| cause.contains("no record")), "{status:#}");
}

#[test]
fn a_daemon_killed_in_the_middle_of_a_start_starts_again() {
    root_only!();
    let mut instance = Instance::start();
    let pre = "exec_start_pre = [[\"/bin/sh\", \"-c\", \"[ -e $STATE_DIRECTORY/flag ] || { touch $STATE_DIRECTORY/flag; exec sleep 1001; }\"]]\n[directories]\nstate = [\"pre\"]";
    instance.unit("pre", &script("exec", "exec sleep 1000", pre));
    instance.rsvc(&["start", "--no-wait", "pre"]).expect(0);
    eventually("the command runs", || instance.file("state/directories/state/pre/flag").exists().then_some(()));
    let old = Process::all(&instance.status("pre"));
    assert!(!old.is_empty());
    instance.kill_daemon();
    instance.start_daemon();
    instance.wait_for_state("pre", "active");
    assert!(old.iter().all(|process| !process.is_alive()), "{old:?}");
}

#[test]
fn a_stop_and_a_restart_are_continued_by_the_next_daemon() {
    root_only!();
    let mut instance = Instance::start();
    let text = "trap 'while ! [ -e $STATE_DIRECTORY/go ]; do sleep 0.02; done; exit 0' TERM; echo trapped; while :; do sleep 0.02; done";
    for name in ["stop", "restart"] {
        instance.unit(name, &script("exec", text, &format!("[directories]\nstate = [\"{name}\"]")));
        instance.rsvc(&["start", name]).expect(0);
        instance.wait_for_log(name, "trapped");
    }
    let before = ["stop", "restart"].map(|name| instance.main_process(name));
    instance.rsvc(&["stop", "--no-wait", "stop"]).expect(0);
    instance.rsvc(&["restart", "--no-wait", "restart"]).expect(0);
    for name in ["stop", "restart"] {
        instance.wait_for_state(name, "deactivating");
    }
    instance.kill_daemon();
    for name in ["stop", "restart"] {
        fs::write(instance.file(&format!("state/directories/state/{name}/go")), "").expect("go");
    }
    instance.start_daemon();
    instance.wait_for_state("stop", "inactive");
    instance.wait_for_state("restart", "active");
    assert!(before.iter().all(|main| !main.is_alive()));
}

#[test]
fn waiting_restarts_and_failures_are_remembered_by_the_next_daemon() {
    root_only!();
    let mut instance = Instance::start();
    instance.unit("wait", &script("exec", "exit 7", "[restart]\ndelay = \"2s\"\nmax_delay = \"2s\""));
    instance.unit("failed", &script("oneshot", "exit 8", "[restart]\npolicy = \"no\""));
    instance.rsvc(&["start", "failed"]).expect(1);
    instance.rsvc(&["start", "--no-wait", "wait"]).expect(0);
    let restarts = |status: &Value| status["restarts"].as_u64().expect("a count");
    let before = eventually("a restart after the first waits", || {
        let status = instance.status("wait");
        (status["substate"] == "auto-restart" && restarts(&status) >= 2).then_some(status)
    });
    instance.kill_daemon();
    instance.start_daemon();
    let after = instance.status("wait");
    assert!(restarts(&after) >= restarts(&before), "{after:#}");
    assert_eq!(after["exit_code"], 7);
    eventually("it goes on", || (restarts(&instance.status("wait")) > restarts(&before)).then_some(()));
    let failed = instance.status("failed");
    assert_eq!((failed["state"].as_str(), failed["exit_code"].as_u64()), (Some("failed"), Some(8)), "{failed:#}");
    instance.rsvc(&["reset-failed", "failed"]).expect(0);
    assert!(!instance.file("run/services/failed/state").exists());
    instance.rsvc(&["stop", "wait"]).expect(0);
    assert!(!instance.file("run/services/wait/state").exists());
}

#[test]
fn readiness_and_oneshots_survive_the_daemon() {
    root_only!();
    let mut instance = Instance::start();
    instance.unit("ready", &script("notify", "systemd-notify --ready; exec sleep 1000", "notify_access = \"all\"\n"));
    let text = "while ! [ -e $STATE_DIRECTORY/go ]; do sleep 0.02; done; exit 0";
    instance.unit("once", &script("oneshot", text, "[directories]\nstate = [\"once\"]"));
    instance.rsvc(&["start", "ready"]).expect(0);
    instance.rsvc(&["start", "--no-wait", "once"]).expect(0);
    instance.wait_for_state("once", "activating");
    eventually("it runs", || instance.status("once")["main_pid"].as_i64());
    instance.kill_daemon();
    instance.start_daemon();
    assert_eq!(instance.status("ready")["state"], "active");
    assert_eq!(instance.status("once")["state"], "activating");
    fs::write(instance.file("state/directories/state/once/go"), "").expect("go");
    assert_eq!(instance.wait_for_state("once", "inactive")["result"], "success");
}

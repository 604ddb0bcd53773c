//! Daemons that are killed, and what the next one makes of what it finds.

use crate::instance::process::Process;
use crate::instance::{Instance, eventually, skipped};
use crate::script;
use rustix::process::Signal;
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

/// Removes the copy of its state from the group in which a process is; `false` where there is none.
fn remove_note(process: &Process) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let tree = mounts.lines().find_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        (words.get(2) == Some(&"cgroup2")).then(|| words[1].to_owned())
    });
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", process.pid)).expect("it is there");
    let group = groups.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned);
    let Some((tree, group)) = tree.zip(group) else { return false };
    rustix::fs::removexattr(format!("{tree}{group}"), "trusted.rsvc.state").is_ok()
}

/// What a state file can be when it is of no use.
fn spoil(instance: &Instance, name: &str) {
    let state = instance.file(&format!("run/services/{name}/state"));
    match name {
        "damaged" => fs::write(state, "{\"v\":1,\"boot").expect("write"),
        "future" => fs::write(state, "{\"v\":99}").expect("write"),
        _ => fs::remove_file(state).expect("remove"),
    }
}

#[test]
fn a_state_that_cannot_be_believed_costs_no_service() {
    root_only!();
    let mut instance = Instance::start();
    let names = ["damaged", "future", "missing"];
    for name in names {
        instance.unit(name, &script("exec", "echo begun; exec sleep 1000", ""));
    }
    instance.rsvc(&["start", "damaged", "future", "missing"]).expect(0);
    let before = names.map(|name| (instance.main_process(name), instance.status(name)["invocation_id"].clone()));
    instance.kill_daemon();
    names.iter().for_each(|name| spoil(&instance, name));
    instance.start_daemon();
    for (name, (main, invocation)) in names.into_iter().zip(&before) {
        let status = instance.wait_for_state(name, "active");
        assert_eq!((&Process::of(&status["main_pid"]), &status["invocation_id"]), (main, invocation), "{name}");
        assert!(instance.file(&format!("run/services/{name}/state")).exists(), "{name}");
    }
    assert!(instance.daemon_log().contains("the copy on its control group is used"), "{}", instance.daemon_log());
}

#[test]
fn without_any_state_a_service_is_taken_over_as_the_kernel_shows_it() {
    root_only!();
    let mut instance = Instance::start();
    let names = ["damaged", "future", "missing", "initless"];
    let text = "trap 'exit 5' USR1; echo begun; while :; do read line < $STATE_DIRECTORY/fifo && echo said $line; done";
    for name in names {
        let more = format!("[directories]\nstate = [\"{name}\"]\n[namespaces]\ninit = {}", name != "initless");
        instance.unit(name, &script("exec", &format!("mkfifo $STATE_DIRECTORY/fifo; {text}"), &more));
        instance.rsvc(&["start", name]).expect(0);
        instance.wait_for_log(name, "begun");
    }
    let before = names.map(|name| instance.main_process(name));
    instance.kill_daemon();
    for (name, main) in names.iter().zip(&before) {
        spoil(&instance, name);
        if !remove_note(main) {
            return skipped("no v2 tree");
        }
    }
    instance.start_daemon();
    for (name, main) in names.into_iter().zip(&before) {
        let status = instance.wait_for_state(name, "active");
        assert_eq!(&Process::of(&status["main_pid"]), main, "{name}");
        assert!(
            instance.daemon_log().contains(&format!("{name}: the recorded state"))
                || instance.daemon_log().contains(&format!("{name}: no state was recorded"))
        );
        fs::write(instance.file(&format!("state/directories/state/{name}/fifo")), "hello\n").expect("fifo");
        if name != "initless" {
            instance.wait_for_log(name, "said hello");
        }
        instance.rsvc(&["kill", "-s", "USR1", name]).expect(0);
        eventually("its end is seen", || (instance.status(name)["exit_code"] == 5).then_some(()));
    }
}

#[test]
fn how_a_service_without_a_resident_init_ended_is_known_to_the_next_daemon() {
    root_only!();
    let mut instance = Instance::start();
    let ends = [("status", "exit 200"), ("signal", "kill -TERM $$"), ("success", "exit 0")];
    for (name, end) in ends {
        let text = format!("while ! [ -e $STATE_DIRECTORY/go ]; do sleep 0.02; done; {end}");
        let more =
            format!("[restart]\npolicy = \"no\"\n[directories]\nstate = [\"{name}\"]\n[namespaces]\ninit = false");
        instance.unit(name, &script("exec", &text, &more));
        instance.rsvc(&["start", name]).expect(0);
    }
    let before = ends.map(|(name, _)| instance.main_process(name));
    instance.kill_daemon();
    for (name, _) in ends {
        fs::write(instance.file(&format!("state/directories/state/{name}/go")), "").expect("go");
    }
    eventually("all of them end", || before.iter().all(|process| !process.is_alive()).then_some(()));
    instance.start_daemon();
    if instance.daemon_log().contains("no record") {
        return skipped("this kernel does not keep the status of a reaped process");
    }
    assert_eq!(instance.wait_for_state("status", "failed")["exit_code"], 200);
    assert_eq!(instance.wait_for_state("signal", "inactive")["result"], "success");
    assert_eq!(instance.wait_for_state("success", "inactive")["result"], "success");
}

#[test]
fn a_keeper_that_somebody_ended_is_followed_by_one_that_holds_the_same() {
    root_only!();
    let mut instance = Instance::start();
    for name in ["initless", "plain"] {
        let text = "while ! [ -e $STATE_DIRECTORY/go ]; do sleep 0.02; done; exit 9";
        let more = format!(
            "[restart]\npolicy = \"no\"\n[directories]\nstate = [\"{name}\"]\n[namespaces]\ninit = {}",
            name == "plain"
        );
        instance.unit(name, &script("exec", text, &more));
        instance.rsvc(&["start", name]).expect(0);
    }
    let keeper = || -> Option<Process> {
        let saved: Value = serde_json::from_slice(&fs::read(instance.file("run/keeper")).ok()?).ok()?;
        Process::with_pid(i32::try_from(saved["keeper"]["pid"].as_i64()?).ok()?)
    };
    let first = keeper().expect("a keeper");
    first.signal(Signal::KILL);
    eventually("there is another one", || keeper().filter(|keeper| *keeper != first));
    let before = ["initless", "plain"].map(|name| instance.main_process(name));
    instance.kill_daemon();
    for name in ["initless", "plain"] {
        fs::write(instance.file(&format!("state/directories/state/{name}/go")), "").expect("go");
    }
    eventually("both end", || before.iter().all(|process| !process.is_alive()).then_some(()));
    instance.start_daemon();
    for name in ["initless", "plain"] {
        assert_eq!(instance.wait_for_state(name, "failed")["exit_code"], 9, "{name}");
    }
}

#[test]
fn an_adopted_service_costs_the_daemon_no_more_descriptors_than_its_own() {
    root_only!();
    let mut instance = Instance::start();
    let names = ["a", "b", "c", "d", "e"];
    for name in names {
        instance.unit(name, &script("exec", "exec sleep 1000", ""));
    }
    instance.rsvc(&["start", "a", "b", "c", "d", "e"]).expect(0);
    let open = |instance: &Instance| {
        let links = fs::read_dir(format!("/proc/{}/fd", instance.daemon_pid())).expect("fd").flatten();
        let pidfds = links.filter_map(|entry| fs::read_link(entry.path()).ok());
        pidfds.filter(|target| target.to_string_lossy().contains("pidfd")).count()
    };
    let before = open(&instance);
    instance.kill_daemon();
    instance.start_daemon();
    instance.wait_for_state("e", "active");
    assert!(open(&instance) <= before, "{} and {before}", open(&instance));
    for name in names {
        instance.main_process(name).signal(Signal::TERM);
        eventually("its end is seen", || (instance.status(name)["state"] == "inactive").then_some(()));
    }
}

#[test]
fn a_container_whose_init_was_killed_while_no_daemon_ran_was_killed() {
    root_only!();
    let mut instance = Instance::start();
    instance.unit("web", &script("exec", "exec sleep 1000", "[restart]\npolicy = \"no\""));
    instance.rsvc(&["start", "web"]).expect(0);
    let main = instance.main_process("web");
    let all = Process::all(&instance.status("web"));
    instance.kill_daemon();
    all.iter().find(|process| **process != main).expect("a resident init").signal(Signal::KILL);
    eventually("all of it ends", || all.iter().all(|process| !process.is_alive()).then_some(()));
    instance.start_daemon();
    let status = instance.wait_for_state("web", "failed");
    assert_eq!(status["result"], "signal", "{status:#}");
}

#[test]
fn a_run_that_its_init_had_begun_and_died_with_is_told_though_no_daemon_had_noted_it() {
    root_only!();
    let mut instance = Instance::start();
    let told = "echo $INVOCATION_ID $EXIT_CODE $EXIT_STATUS >> $STATE_DIRECTORY/told";
    let more = format!("exec_stop_post = [['/bin/sh', '-c', '{told}']]\n[directories]\nstate = ['web']");
    instance.unit("web", &script("exec", "exec sleep 1000", &more));
    instance.rsvc(&["start", "web"]).expect(0);
    let status = instance.status("web");
    let (main, all) = (instance.main_process("web"), Process::all(&status));
    instance.kill_daemon();
    // As if it had been killed between the launch and the first note of it.
    let file = instance.file("run/services/web/state");
    let mut state: serde_json::Value = serde_json::from_slice(&fs::read(&file).expect("state")).expect("JSON");
    state["starting"] = true.into();
    state["written"] = (state["written"].as_u64().expect("a moment") + 1).into();
    for process in ["init", "main"] {
        state[process] = serde_json::Value::Null;
    }
    fs::write(&file, serde_json::to_vec(&state).expect("JSON")).expect("write");
    all.iter().find(|process| **process != main).expect("a resident init").signal(Signal::KILL);
    eventually("all of it ends", || all.iter().all(|process| !process.is_alive()).then_some(()));
    instance.start_daemon();
    let invocation = status["invocation_id"].as_str().expect("an invocation");
    let told = instance.file("state/directories/state/web/told");
    let text = eventually("its end is told", || fs::read_to_string(&told).ok().filter(|text| text.contains('\n')));
    assert_eq!(text.lines().next(), Some(&*format!("{invocation} killed KILL")));
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
    // And nobody could ask for their status any more.
    eventually("all of it ends", || all.iter().all(Process::is_reaped).then_some(()));
    // Runs take turns with two files.
    for name in ["exit", "exit.1"] {
        fs::write(instance.file(&format!("run/services/brief/{name}")), [0xa5; 100]).expect("write");
    }
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

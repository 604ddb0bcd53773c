//! `service.remain_after_exit` with real processes: up without one, also for the next daemon.

#[macro_use]
mod instance;

use instance::process::Process;
use instance::{Instance, eventually};
use std::path::Path;

/// The lines of a unit's log without their times.
fn said(instance: &Instance, unit: &str) -> Vec<String> {
    instance.log(unit).lines().filter_map(|line| line.split_once(' ')).map(|(_, text)| text.to_owned()).collect()
}

const UNIT: &str = r#"
[service]
type = "oneshot"
remain_after_exit = true
exec = ["/bin/sh", "-c", "echo up; touch $RUNTIME_DIRECTORY/made"]
exec_stop = [["/bin/sh", "-c", "echo down $SERVICE_RESULT $(ls $RUNTIME_DIRECTORY)"]]
exec_stop_post = [["/bin/echo", "after"]]
[directories]
runtime = ["job"]
[hooks]
on_exit = "/bin/echo over"
"#;

#[test]
fn a_job_stays_up_until_it_is_stopped() {
    root_only!();
    let instance = Instance::start();
    instance.unit("job", UNIT);
    instance.unit("app", "[unit]\nrequires = [\"job\"]\n[service]\nexec = [\"/bin/sleep\", \"1000\"]\n");
    instance.rsvc(&["start", "app"]).expect(0);
    let status = instance.status("job");
    assert_eq!((&status["state"], &status["substate"]), (&"active".into(), &"exited".into()), "{status:#}");
    assert_eq!((&status["main_pid"], &status["exit_code"]), (&serde_json::Value::Null, &0.into()));
    assert_eq!(status["processes"], serde_json::json!([]));
    assert!(instance.rsvc(&["status", "job"]).expect(0).out.contains("active (exited)"));
    assert!(instance.rsvc(&["list"]).expect(0).out.contains("exited"));
    instance.rsvc(&["start", "job"]).expect(0);
    assert_eq!(said(&instance, "job"), ["up"]);
    instance.rsvc(&["restart", "job"]).expect(0);
    assert_eq!(said(&instance, "job"), ["up", "down success made", "after", "over", "up"]);
    instance.rsvc(&["stop", "job"]).expect(0);
    assert_eq!(said(&instance, "job")[5..], ["down success made", "after", "over"]);
    assert_eq!(instance.status("job")["state"], "inactive");
    assert_eq!(instance.status("app")["state"], "inactive", "it goes with what it requires");
}

#[test]
fn what_the_program_left_does_not_stay() {
    root_only!();
    let instance = Instance::start();
    instance.unit(
        "job",
        "[service]\ntype = \"oneshot\"\nremain_after_exit = true\nexec = [\"/bin/sh\", \"-c\", \"setsid sleep 1000 &\"]\n",
    );
    instance.rsvc(&["start", "job"]).expect(0);
    let status = eventually("nothing is left", || {
        let status = instance.status("job");
        (status["processes"] == serde_json::json!([])).then_some(status)
    });
    assert_eq!(status["substate"], "exited");
}

#[test]
fn the_next_daemon_knows_that_it_is_up_and_how_to_stop_it() {
    root_only!();
    let mut instance = Instance::start();
    instance.unit("job", UNIT);
    instance.rsvc(&["start", "job"]).expect(0);
    let before = instance.status("job");
    instance.kill_daemon();
    instance.start_daemon();
    let after = instance.status("job");
    for key in ["state", "substate", "invocation_id", "exit_code", "result"] {
        assert_eq!(before[key], after[key], "{key}");
    }
    assert!(Path::new(&instance.file("run/directories/job/made")).exists());
    instance.rsvc(&["stop", "job"]).expect(0);
    assert_eq!(said(&instance, "job"), ["up", "down success made", "after", "over"]);
}

#[test]
fn a_daemon_that_dies_during_its_stop_leaves_the_rest_to_the_next_one() {
    root_only!();
    let mut instance = Instance::start();
    instance.unit(
        "job",
        r#"
[service]
type = "oneshot"
remain_after_exit = true
exec = ["/bin/echo", "up"]
exec_stop = [["/bin/sh", "-c", "echo down; exec sleep 1000"]]
exec_stop_post = [["/bin/echo", "after"]]
"#,
    );
    instance.rsvc(&["start", "job"]).expect(0);
    let mut stop = instance.command();
    let mut stop = stop.args(["stop", "job"]).stderr(std::process::Stdio::null()).spawn().expect("rsvc runs");
    instance.wait_for_log("job", "down");
    let command = Process::of(&instance.status("job")["processes"][0]["pid"]);
    instance.kill_daemon();
    stop.wait().expect("rsvc ends");
    instance.start_daemon();
    eventually("the command of the dead daemon is ended", || (!command.is_alive()).then_some(()));
    instance.wait_for_state("job", "inactive");
    assert_eq!(said(&instance, "job"), ["up", "down", "after"], "exec_stop is not run again");
}

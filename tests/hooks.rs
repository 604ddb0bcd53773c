//! `[hooks]` with real processes: what they are told, where they run, and that nothing is launched beside them.

#[macro_use]
mod instance;

use instance::process::Process;
use instance::{Instance, eventually};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};

/// What each run does: it counts itself and ends badly.
const FAILS: &str = "exec = [\"/bin/sh\", \"-c\", \"echo main; exit 3\"]";

/// A hook that says what it was told.
const TELL: &str = "echo $RSVC_HOOK $RSVC_UNIT $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS $RSVC_RESTARTS \
                    ${RSVC_RESTART_DELAY_USEC:+in} $RSVC_CAUSE";

/// The lines of a unit's log without their times.
fn said(instance: &Instance, unit: &str) -> Vec<String> {
    instance.log(unit).lines().filter_map(|line| line.split_once(' ')).map(|(_, text)| text.to_owned()).collect()
}

/// How often a line was said.
fn times(instance: &Instance, unit: &str, line: &str) -> usize {
    said(instance, unit).iter().filter(|said| *said == line).count()
}

/// A hook that waits for [`let_go`].
fn waiting(name: &str) -> String {
    format!(
        "[\"/bin/sh\", \"-c\", \"echo {name} waits; until test -e $STATE_DIRECTORY/go; do sleep 0.05; done; echo {name} goes\"]"
    )
}

fn let_go(instance: &Instance, unit: &str) {
    fs::write(state_directory(instance, unit).join("go"), "").expect("file");
}

fn state_directory(instance: &Instance, unit: &str) -> PathBuf {
    instance.file("state/directories/state").join(unit)
}

fn in_background(instance: &Instance, arguments: &[&str]) -> Child {
    let mut command = instance.command();
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("rsvc runs")
}

#[test]
fn each_hook_is_told_what_became_of_the_run() {
    root_only!();
    let instance = Instance::start();
    instance.unit(
        "web",
        &format!(
            r#"
[service]
{FAILS}
exec_stop_post = [["/bin/echo", "after"]]
[restart]
delay = "10ms"
limit_burst = 1
[hooks]
on_exit = ["/bin/sh", "-c", "{TELL}"]
on_restart = ["/bin/sh", "-c", "{TELL}"]
on_give_up = ["/bin/sh", "-c", "{TELL}"]
"#
        ),
    );
    instance.rsvc(&["start", "web"]);
    let status = instance.wait_for_state("web", "failed");
    assert_eq!(status["result"], "start-limit-hit");
    assert_eq!(status["hook_failure"], serde_json::Value::Null);
    let cause = "the main process exited with status 3";
    assert_eq!(
        said(&instance, "web"),
        [
            "main",
            "after",
            &format!("on_exit web exit-code exited 3 0 {cause}"),
            &format!("on_restart web exit-code exited 3 1 in {cause}"),
            "main",
            "after",
            &format!("on_exit web exit-code exited 3 1 {cause}"),
            &format!("on_give_up web start-limit-hit exited 3 1 {}", status["cause"].as_str().unwrap()),
        ]
    );
}

#[test]
fn a_stop_runs_on_exit_alone() {
    root_only!();
    let instance = Instance::start();
    instance.unit(
        "web",
        &format!(
            "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n[restart]\npolicy = \"always\"\n[hooks]\non_exit = [\"/bin/sh\", \
             \"-c\", \"{TELL}\"]\non_restart = \"/bin/echo again\"\non_give_up = \"/bin/echo over\"\n"
        ),
    );
    instance.rsvc(&["start", "web"]).expect(0);
    instance.rsvc(&["stop", "web"]).expect(0);
    assert_eq!(said(&instance, "web"), ["on_exit web success killed TERM 0 stopped on request"]);
    assert_eq!(instance.status("web")["state"], "inactive");
}

#[test]
fn a_start_that_cannot_be_is_given_up() {
    root_only!();
    let instance = Instance::start();
    instance.unit(
        "web",
        "[service]\nexec = [\"/bin/nosuchprogram\"]\n[restart]\npolicy = \"no\"\n[hooks]\non_give_up = [\"/bin/sh\", \
         \"-c\", \"echo $SERVICE_RESULT $EXIT_STATUS $RSVC_CAUSE\"]\n",
    );
    instance.rsvc(&["start", "web"]).expect(1);
    let said = said(&instance, "web");
    assert!(said.len() == 1 && said[0].starts_with("exit-code 203 failed at step EXEC"), "{said:?}");
}

#[test]
fn hooks_run_in_a_sandbox_of_the_same_kind() {
    root_only!();
    let instance = Instance::start();
    instance.unit(
        "web",
        r#"
[service]
exec = ["/bin/true"]
user = "54321"
environment = { OWN = "yes" }
[restart]
policy = "no"
[hooks]
on_exit = ["/bin/sh", "-c", "echo uid $(id -u) pid $$ own $OWN; touch /etc/x || echo read-only; grep NoNewPrivs /proc/self/status"]
"#,
    );
    instance.rsvc(&["start", "web"]);
    instance.wait_for_state("web", "inactive");
    let said = said(&instance, "web");
    assert_eq!(said[0], "uid 54321 pid 2 own yes");
    assert!(said.contains(&"read-only".to_owned()) && said.contains(&"NoNewPrivs:\t1".to_owned()), "{said:?}");
}

#[test]
fn a_stop_during_a_hook_is_the_last_word() {
    root_only!();
    let instance = Instance::start();
    let hook = waiting("hook");
    instance.unit(
        "web",
        &format!(
            "[service]\n{FAILS}\n[restart]\ndelay = \"0\"\n[directories]\nstate = [\"web\"]\n[hooks]\non_restart = {hook}\n"
        ),
    );
    instance.rsvc(&["start", "web"]);
    instance.wait_for_log("web", "hook waits");
    let status = instance.status("web");
    assert_eq!((&status["state"], &status["substate"]), (&"deactivating".into(), &"on-restart".into()), "{status:#}");
    assert_eq!(status["stop"]["step"], "hooks.on_restart runs");
    let mut stop = in_background(&instance, &["stop", "web"]);
    // The daemon answers in order of arrival, so the wish has to be seen before the hook is let go.
    eventually("the stop has been asked for", || {
        fs::read_to_string(instance.file("run/services/web/state"))
            .ok()?
            .contains("\"stop_requested\":true")
            .then_some(())
    });
    let_go(&instance, "web");
    assert!(stop.wait().expect("stop").success());
    let status = instance.status("web");
    assert_eq!(status["state"], "failed", "{status:#}");
    assert_eq!(said(&instance, "web"), ["main", "hook waits", "hook goes"]);
}

#[test]
fn a_hook_that_hangs_is_killed_with_what_it_started_before_the_next_launch() {
    root_only!();
    let instance = Instance::start();
    instance.unit(
        "web",
        r#"
[service]
exec = ["/bin/sh", "-c", "test -e $STATE_DIRECTORY/second && exec sleep 1000; touch $STATE_DIRECTORY/second; exit 3"]
[restart]
delay = "0"
[directories]
state = ["web"]
[hooks]
on_exit = ["/bin/sh", "-c", "exit 5"]
on_restart = ["/bin/sh", "-c", "setsid sleep 1001 & sleep 1002 & echo begun; exec sleep 1003"]
timeout = "1s"
"#,
    );
    instance.rsvc(&["start", "web"]);
    let status = eventually("it runs again", || {
        let status = instance.status("web");
        (status["restarts"] == 1 && status["state"] == "active").then_some(status)
    });
    let processes = status["processes"].to_string();
    assert!(!["1001", "1002", "1003"].iter().any(|left| processes.contains(left)), "{processes}");
    assert_eq!(said(&instance, "web"), ["begun"]);
    assert_eq!(status["hook_failure"], "hooks.on_exit exited with status 5", "the first that failed");
    let log = instance.daemon_log();
    assert!(log.contains("hooks.on_exit exited with status 5"), "{log}");
    assert!(log.contains("hooks.on_restart did not end within hooks.timeout and was killed"), "{log}");
    let page = instance.rsvc(&["status", "web"]).out;
    assert!(page.contains("Hook: hooks.on_exit exited with status 5"), "{page}");
}

#[test]
fn a_daemon_that_dies_during_a_hook_leaves_it_to_the_next_one_to_run_again() {
    root_only!();
    let mut instance = Instance::start();
    let hook = waiting("hook");
    instance.unit(
        "web",
        &format!(
            r#"
[service]
exec = ["/bin/sh", "-c", "test -e $STATE_DIRECTORY/go && exec sleep 1000; exit 3"]
exec_stop_post = [["/bin/echo", "after"]]
[restart]
delay = "0"
[directories]
state = ["web"]
[hooks]
on_exit = {hook}
on_restart = ["/bin/sh", "-c", "{TELL}"]
"#
        ),
    );
    instance.rsvc(&["start", "web"]);
    instance.wait_for_log("web", "hook waits");
    let hook = Process::of(&instance.status("web")["processes"][0]["pid"]);
    instance.kill_daemon();
    instance.start_daemon();
    eventually("the hook of the dead daemon is ended", || (!hook.is_alive()).then_some(()));
    eventually("it runs again", || (times(&instance, "web", "hook waits") == 2).then_some(()));
    let_go(&instance, "web");
    let status = eventually("the service is up again", || {
        let status = instance.status("web");
        (status["state"] == "active" && status["restarts"] == 1).then_some(status)
    });
    assert_eq!(status["hook_failure"], serde_json::Value::Null);
    let said = said(&instance, "web");
    let told = "on_restart web exit-code exited 3 1 in the main process exited with status 3";
    assert_eq!(said, ["after", "hook waits", "after", "hook waits", "hook goes", told]);
}

#[test]
fn show_and_check_know_the_table() {
    root_only!();
    let instance = Instance::start();
    instance.unit("web", "[service]\nexec = \"/bin/true\"\n[hooks]\non_give_up = \"/bin/echo over\"\n");
    let shown = instance.rsvc(&["show", "web"]).expect(0).out;
    assert!(shown.contains("on_give_up = [\"/bin/echo\", \"over\"]"), "{shown}");
    assert!(shown.contains("timeout = \"30s\""), "{shown}");
    let drop_in = instance.file("units/web.d");
    fs::create_dir(&drop_in).expect("directory");
    fs::write(drop_in.join("50.toml"), "[hooks]\non_give_up = \"/bin/echo ${unit} is over\"\n").expect("drop-in");
    let shown = instance.rsvc(&["show", "web"]).expect(0).out;
    assert!(shown.contains("on_give_up = [\"/bin/echo\", \"web\", \"is\", \"over\"]"), "{shown}");
}

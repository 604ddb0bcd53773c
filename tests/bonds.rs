//! Relations between units, with a daemon and real processes.

#[macro_use]
mod instance;

use instance::{Instance, eventually};

const SLEEP: &str = "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n";

fn kill(instance: &Instance, unit: &str) {
    instance.rsvc(&["kill", "-s", "KILL", unit]).expect(0);
}

#[test]
fn what_a_unit_requires_is_ready_first_without_a_word_about_order() {
    root_only!();
    let instance = Instance::start();
    instance.unit("db", "[service]\ntype = \"oneshot\"\nexec = [\"/bin/echo\", \"db is done\"]\n");
    instance.unit("web", &format!("[unit]\nrequires = [\"db\"]\n\n{SLEEP}"));
    instance.rsvc(&["start", "web"]).expect(0);
    // Two sources, so the log may be a moment behind; that db has ended is certain.
    assert_eq!(instance.status("db")["exit_code"], 0);
    instance.wait_for_log("db", "db is done");
    instance.unit("broken", "[service]\nexec = [\"/nonexistent\"]\n\n[restart]\npolicy = \"no\"\n");
    instance.unit("app", &format!("[unit]\nrequires = [\"broken\"]\n\n{SLEEP}"));
    let said = instance.rsvc(&["start", "app"]).expect(1);
    assert!(said.err.contains("the required unit broken did not start"), "{}", said.err);
    instance.unit("broken", SLEEP);
    instance.rsvc(&["start", "broken"]).expect(0);
    instance.wait_for_state("app", "active");
}

#[test]
fn a_unit_comes_back_with_the_one_it_is_bound_to() {
    root_only!();
    let instance = Instance::start();
    instance.unit("db", SLEEP);
    instance.unit("web", &format!("[unit]\nbinds_to = [\"db\"]\n\n{SLEEP}"));
    instance.rsvc(&["start", "web"]).expect(0);
    let before = instance.status("web")["main_pid"].clone();
    kill(&instance, "db");
    let after = eventually("web runs again", || {
        let status = instance.status("web");
        (status["state"] == "active" && status["main_pid"] != before).then_some(status)
    });
    assert_eq!(instance.status("db")["restarts"], 1);
    assert_eq!(after["result"], "success");
    instance.rsvc(&["stop", "db"]).expect(0);
    assert_eq!(instance.status("web")["state"], "inactive");
}

#[test]
fn rivals_are_never_up_together_and_a_requisite_is_not_started() {
    root_only!();
    let instance = Instance::start();
    instance.unit("mail", SLEEP);
    instance.unit("post", &format!("[unit]\nconflicts = [\"mail\"]\n\n{SLEEP}"));
    instance.unit("queue", &format!("[unit]\nrequisite = [\"mail\"]\n\n{SLEEP}"));
    instance.rsvc(&["start", "mail"]).expect(0);
    instance.rsvc(&["start", "queue"]).expect(0);
    instance.rsvc(&["start", "post"]).expect(0);
    for (unit, state) in [("mail", "inactive"), ("queue", "inactive"), ("post", "active")] {
        assert_eq!(instance.status(unit)["state"], state, "{unit}");
    }
    let said = instance.rsvc(&["start", "queue"]).expect(1);
    assert!(said.err.contains("mail, which has to be up, is not"), "{}", said.err);
    instance.rsvc(&["start", "mail"]).expect(0);
    assert_eq!(instance.status("post")["state"], "inactive");
    instance.wait_for_state("queue", "active");
}

#[test]
fn what_is_upheld_comes_back_over_a_daemon_that_was_killed() {
    root_only!();
    let mut instance = Instance::start();
    instance.unit("worker", &format!("{SLEEP}\n[restart]\npolicy = \"no\"\n"));
    instance.unit("pool", &format!("[unit]\nupholds = [\"worker\"]\n\n{SLEEP}"));
    instance.rsvc(&["start", "pool"]).expect(0);
    instance.wait_for_state("worker", "active");
    instance.kill_daemon();
    instance.start_daemon();
    let before = instance.wait_for_state("worker", "active")["main_pid"].clone();
    kill(&instance, "worker");
    eventually("the worker runs again", || {
        let status = instance.status("worker");
        (status["state"] == "active" && status["main_pid"] != before).then_some(())
    });
    instance.rsvc(&["stop", "pool", "worker"]).expect(0);
    instance.wait_for_state("worker", "inactive");
}

#[test]
fn units_are_started_on_behalf_of_one_that_failed_and_need_not_be_known_before() {
    root_only!();
    let instance = Instance::start();
    instance.unit(
        "job",
        "[unit]\non_failure = [\"alarm\", \"nosuch\"]\non_success = [\"cheer\"]\n\n[service]\ntype = \"oneshot\"\n\
         exec = [\"/bin/sh\", \"-c\", \"exit 3\"]\n\n[restart]\npolicy = \"no\"\n",
    );
    instance.unit("alarm", SLEEP);
    instance.unit("cheer", SLEEP);
    instance.rsvc(&["start", "job"]).expect(1);
    instance.wait_for_state("alarm", "active");
    assert_eq!(instance.status("cheer")["state"], "inactive");
    eventually("the missing one is reported", || {
        instance.daemon_log().contains("nosuch cannot be started on its behalf").then_some(())
    });
}

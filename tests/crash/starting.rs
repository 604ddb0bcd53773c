//! Starts: of one unit, of those that it needs, and of all that belong to the boot.

use crate::drive::{Act, Scenario};
use crate::lab::{Lab, SERVE, brief};
use crate::scenarios;
use std::fs;

const AROUND: &str = "notify_access = \"all\"\n\
    exec_start_pre = [[\"/bin/sh\", \"-c\", \"echo pre >> $STATE_DIRECTORY/around\"]]\n\
    exec_start_post = [[\"/bin/sh\", \"-c\", \"echo post >> $STATE_DIRECTORY/around\"]]\n";

const REMAINS: &str = "remain_after_exit = true\n[restart]\npolicy = \"no\"";

fn web(lab: &Lab) {
    lab.unit("web", "notify", &format!("systemd-notify --ready; {SERVE}"), AROUND);
}

/// `app` needs `db`, which takes its time.
fn app_and_db(lab: &Lab) {
    lab.unit("db", "notify", &format!("systemd-notify --ready; {SERVE}"), "notify_access = \"all\"");
    lab.unit("app", "exec", SERVE, "[unit]\nrequires = [\"db\"]\nafter = [\"db\"]");
}

fn boot_set(lab: &Lab) {
    app_and_db(lab);
    lab.unit("last", "oneshot", "exit 0", &format!("{REMAINS}\n[unit]\nafter = [\"app\"]"));
}

/// Up if that was promised; otherwise up or down, but not something between.
pub fn up_if_accepted(lab: &Lab, unit: &str, accepted: bool) {
    let status = if accepted { lab.comes_to(unit, "active") } else { lab.settled(unit) };
    match status["state"].as_str() {
        Some("active") if status["substate"] == "exited" => {}
        Some("active") => {
            lab.is_running(&status);
        }
        Some("inactive") => assert!(!accepted),
        _ => panic!("{}", brief(&status)),
    }
}

fn up_with_what_it_needs(lab: &Lab, accepted: bool) {
    up_if_accepted(lab, "app", accepted);
    let app_is_up = lab.state("app") == "active";
    up_if_accepted(lab, "db", app_is_up);
}

pub const START: Scenario = Scenario {
    name: "start",
    lacks: || None,
    units: web,
    before: |_| {},
    act: Act::Client(&["start", "web"]),
    done: |lab| lab.is_saved_ready("web"),
    check: |lab, accepted| up_if_accepted(lab, "web", accepted),
};

scenarios! {
    start: START;
    start_without_waiting: Scenario {
        name: "start_without_waiting",
        lacks: || None,
        units: web,
        before: |_| {},
        act: Act::Client(&["start", "--no-wait", "web"]),
        done: |lab| lab.is_saved_ready("web"),
        check: |lab, accepted| up_if_accepted(lab, "web", accepted),
    };
    start_with_a_dependency: Scenario {
        name: "start_with_a_dependency",
        lacks: || None,
        units: app_and_db,
        before: |_| {},
        act: Act::Client(&["start", "app"]),
        done: |lab| lab.is_saved_ready("app"),
        check: up_with_what_it_needs,
    };
    start_that_waits_for_its_turn: Scenario {
        name: "start_that_waits_for_its_turn",
        lacks: || None,
        units: app_and_db,
        before: |_| {},
        act: Act::Client(&["start", "--no-wait", "app"]),
        done: |lab| lab.is_saved_ready("app"),
        check: up_with_what_it_needs,
    };
    oneshot_that_remains: Scenario {
        name: "oneshot_that_remains",
        lacks: || None,
        units: |lab| lab.unit("job", "oneshot", "echo ran >> $d/said", REMAINS),
        before: |_| {},
        act: Act::Client(&["start", "job"]),
        done: |lab| lab.saved("job")["exited"] == true,
        check: |lab, accepted| {
            up_if_accepted(lab, "job", accepted);
            assert!(lab.state("job") != "active" || !lab.said("job", "said").is_empty());
        },
    };
    boot: Scenario {
        name: "boot",
        lacks: || None,
        units: boot_set,
        before: |lab| {
            for unit in ["db", "app", "last"] {
                lab.instance.rsvc(&["enable", unit]).expect(0);
            }
            lab.instance.kill_daemon();
            fs::remove_file(lab.instance.file("run/booted")).expect("the daemon has booted once");
        },
        act: Act::NextDaemon,
        done: |lab| lab.saved("last")["exited"] == true,
        check: |lab, _| ["db", "app", "last"].iter().for_each(|unit| up_if_accepted(lab, unit, true)),
    };
}

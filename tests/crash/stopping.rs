//! Stops and restarts.

use crate::drive::{Act, Scenario};
use crate::lab::{Lab, SERVE, brief};
use crate::scenarios;

const AROUND: &str = "exec_stop = [[\"/bin/sh\", \"-c\", \"echo stop >> $STATE_DIRECTORY/around\"]]\n\
    exec_stop_post = [[\"/bin/sh\", \"-c\", \"echo post >> $STATE_DIRECTORY/around\"]]\n";

fn web(lab: &Lab) {
    lab.unit("web", "exec", SERVE, AROUND);
}

fn stubborn(lab: &Lab) {
    lab.unit(
        "web",
        "exec",
        "trap '' TERM; echo deaf >> $d/said; sleep 1000 & while :; do wait; done",
        "timeout_stop = \"100ms\"",
    );
}

/// Down if that was promised; otherwise down, or as it was and not disturbed.
fn down_if_accepted(lab: &Lab, accepted: bool) {
    let status = if accepted { lab.comes_to("web", "inactive") } else { lab.settled("web") };
    match status["state"].as_str() {
        Some("active") => {
            lab.is_untouched("web", &status);
            assert!(!lab.said("web", "around").contains(&"stop".to_owned()));
        }
        Some("inactive") => assert!(lab.said("web", "around").contains(&"post".to_owned())),
        _ => panic!("{}", brief(&status)),
    }
}

pub const STOP: Scenario = Scenario {
    name: "stop",
    lacks: || None,
    units: web,
    before: |lab| lab.start("web"),
    act: Act::Client(&["stop", "web"]),
    done: |lab| lab.is_forgotten("web"),
    check: down_if_accepted,
};

scenarios! {
    stop: STOP;
    stop_without_waiting: Scenario {
        name: "stop_without_waiting",
        lacks: || None,
        units: web,
        before: |lab| lab.start("web"),
        act: Act::Client(&["stop", "--no-wait", "web"]),
        done: |lab| lab.is_forgotten("web"),
        check: down_if_accepted,
    };
    stop_by_force: Scenario {
        name: "stop_by_force",
        lacks: || None,
        units: stubborn,
        before: |lab| {
            lab.start("web");
            // Before that the signal would end it.
            let is_deaf = || (!lab.said("web", "said").is_empty()).then_some(());
            crate::lab::eventually(|| "the trap is set".to_owned(), is_deaf);
        },
        act: Act::Client(&["stop", "--no-wait", "web"]),
        done: |lab| lab.saved("web")["rest"].is_object(),
        check: |lab, accepted| {
            let status = lab.settled("web");
            match status["state"].as_str() {
                Some("active") => {
                    assert!(!accepted);
                    lab.is_untouched("web", &status);
                }
                // That it had to be killed is a failure which stays visible.
                Some("failed") => assert_eq!(status["result"], "timeout", "{}", brief(&status)),
                _ => panic!("{}", brief(&status)),
            }
        },
    };
    restart: Scenario {
        name: "restart",
        lacks: || None,
        units: web,
        before: |lab| lab.start("web"),
        act: Act::Client(&["restart", "web"]),
        done: |lab| lab.is_saved_ready("web"),
        check: |lab, accepted| {
            let status = lab.comes_to("web", "active");
            if accepted || !lab.before.contains(&lab.is_running(&status)) {
                // It is up when its program has been executed, and writes a moment later.
                let run = status["invocation_id"].as_str().expect("a run");
                let is_said = || lab.said("web", "runs").last().is_some_and(|said| said == run);
                crate::instance::eventually("the new run has written", || is_said().then_some(()));
                assert!(!lab.before.contains(&lab.is_running(&status)));
            } else {
                lab.is_untouched("web", &status);
            }
            assert_eq!(status["restarts"], 0, "{}", brief(&status));
        },
    };
    restart_without_waiting: Scenario {
        name: "restart_without_waiting",
        lacks: || None,
        units: web,
        before: |lab| lab.start("web"),
        act: Act::Client(&["restart", "--no-wait", "web"]),
        done: |lab| lab.is_saved_ready("web") && lab.saved("web")["main"]["pid"] != lab.before[0].pid,
        check: |lab, accepted| {
            let status = lab.comes_to("web", "active");
            if accepted {
                let again = || lab.comes_to("web", "active");
                crate::lab::eventually(
                    || format!("the restart comes about: {}", brief(&again())),
                    || (again()["main_pid"] != lab.before[0].pid).then_some(()),
                );
            } else if lab.before.contains(&lab.is_running(&status)) {
                lab.is_untouched("web", &status);
            }
        },
    };
}

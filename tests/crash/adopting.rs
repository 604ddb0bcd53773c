//! Adoption itself is interrupted: another daemon begins where the first one had got to. Pods and slices.

use crate::drive::{Act, Scenario};
use crate::lab::{Lab, SERVE, brief, eventually};
use crate::scenarios;
use std::fs;

/// Ends with 7 when somebody lets it.
const ENDS: &str = "until [ -e $d/go ]; do sleep 0.01; done; exit 7";
/// The same after the stop signal, with 0.
const STOPS: &str = "trap 'until [ -e $d/go ]; do sleep 0.01; done; exit 0' TERM; echo trapped >> $d/said; sleep 1000 & while :; do wait; done";

fn three(lab: &Lab) {
    lab.unit("runs", "exec", SERVE, "");
    lab.unit("ended", "exec", ENDS, "[restart]\npolicy = \"no\"");
    lab.unit("stops", "exec", STOPS, "");
}

fn leave_three(lab: &mut Lab) {
    ["runs", "ended", "stops"].iter().for_each(|unit| lab.start(unit));
    eventually(|| "the trap is set".to_owned(), || (!lab.said("stops", "said").is_empty()).then_some(()));
    lab.instance.rsvc(&["stop", "--no-wait", "stops"]).expect(0);
    lab.waits_for("stops", "stopping", |status| status["state"] == "deactivating");
    lab.instance.kill_daemon();
    for unit in ["ended", "stops"] {
        fs::write(lab.path(unit, "go"), "").expect("go");
    }
    eventually(|| "two have ended".to_owned(), || (!lab.before[1..].iter().any(|p| p.is_alive())).then_some(()));
}

fn pod(lab: &Lab) {
    lab.instance.unit_as_is("batch.slice", "[resources]\ntasks_max = 100\n");
    let slice = "[resources]\nslice = \"batch\"";
    lab.unit(
        "app",
        "exec",
        SERVE,
        &format!("[namespaces]\nhostname = \"shop\"\n[network]\nmode = \"loopback\"\n{slice}"),
    );
    let shares = "[namespaces]\npid = \"unit:app\"\nipc = \"unit:app\"\n[network]\nmode = \"unit:app\"";
    lab.unit("side", "exec", SERVE, &format!("{shares}\n{slice}"));
}

pub const ADOPTION: Scenario = Scenario {
    name: "adoption",
    lacks: || None,
    units: three,
    before: leave_three,
    act: Act::NextDaemon,
    done: |lab| lab.is_forgotten("stops") && lab.saved("ended")["rest"].is_object(),
    check: |lab, _| {
        lab.is_untouched("runs", &lab.settled("runs"));
        let ended = lab.comes_to("ended", "failed");
        assert_eq!(ended["exit_code"], 7, "{}", brief(&ended));
        lab.comes_to("stops", "inactive");
        assert!(["runs", "ended", "stops"].iter().all(|unit| lab.said(unit, "runs").len() == 1));
    },
};

scenarios! {
    adoption: ADOPTION;
    pod_in_a_slice: Scenario {
        name: "pod_in_a_slice",
        lacks: || None,
        units: pod,
        before: |_| {},
        act: Act::Client(&["start", "side"]),
        done: |lab| lab.is_saved_ready("side"),
        check: |lab, accepted| {
            crate::starting::up_if_accepted(lab, "side", accepted);
            let is_up = lab.state("side") == "active";
            crate::starting::up_if_accepted(lab, "app", is_up);
        },
    };
}

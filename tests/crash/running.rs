//! What happens to a unit that is up: it dies, is reloaded, changed, scaled.

use crate::drive::{Act, Scenario};
use crate::instance::skipped;
use crate::lab::{Lab, SERVE, brief, eventually};
use crate::scenarios;
use rustix::process::Signal;

const RELOADS: &str = "exec_reload = [[\"/bin/sh\", \"-c\", \"echo reload >> $STATE_DIRECTORY/said\"]]";
const HUP: &str = "trap 'echo reload >> $d/said' HUP; ";

fn crash(lab: &mut Lab) {
    lab.before[0].signal(Signal::KILL);
}

fn is_another(lab: &Lab) -> bool {
    lab.is_saved_ready("web") && lab.saved("web")["main"]["pid"] != lab.before[0].pid
}

/// Becomes ready and is done.
const SAYS_AND_ENDS: &str = r#"exec /usr/bin/perl -e 'use Socket; socket(S, AF_UNIX, SOCK_DGRAM, 0) or die;
    defined send(S, "READY=1\nSTATUS=done", 0, sockaddr_un($ENV{NOTIFY_SOCKET})) or die'"#;

/// It has run once and to its end, and that was no failure.
fn is_done(lab: &Lab) -> bool {
    lab.is_forgotten("web") && !lab.said("web", "told").is_empty()
}

/// Its main process was killed once.
fn restarted_once(lab: &Lab, _: bool) {
    let status = lab
        .waits_for("web", "restarted", |status| status["state"] == "active" && status["main_pid"] != lab.before[0].pid);
    lab.is_running(&status);
    assert_eq!(status["restarts"], 1, "{}", brief(&status));
}

fn reloaded_if_accepted(lab: &Lab, accepted: bool) {
    let status = lab.settled("web");
    lab.is_untouched("web", &status);
    assert!(!accepted || lab.said("web", "said").contains(&"reload".to_owned()));
}

/// What the kernel has and what is shown are the same.
fn limit_is_shown(lab: &Lab, accepted: bool) {
    let status = lab.settled("web");
    lab.is_untouched("web", &status);
    let Some(limit) = status["tasks_max"].as_u64() else { return skipped("no pids controller") };
    let changed = status["changed_live"].to_string().contains("tasks_max = 50");
    let file = lab.instance.file("units/web.d/90-set.toml").exists();
    assert_eq!(limit == 50, changed || file, "{} {} {file}", limit, status["changed_live"]);
    assert!(!accepted || limit == 50);
}

fn start_afresh(lab: &mut Lab) {
    let _ = std::fs::remove_dir_all(lab.instance.file("units/web.d"));
    lab.start("web");
}

pub const CRASH: Scenario = Scenario {
    name: "crash_with_restart_at_once",
    lacks: || None,
    units: |lab| lab.unit("web", "exec", SERVE, "[restart]\ndelay = \"0\""),
    before: |lab| lab.start("web"),
    act: Act::Happens(crash),
    done: is_another,
    check: restarted_once,
};

scenarios! {
    crash_with_restart_at_once: CRASH;
    crash_with_restart_later: Scenario {
        name: "crash_with_restart_later",
        lacks: || None,
        units: |lab| lab.unit("web", "exec", SERVE, "[restart]\ndelay = \"100ms\""),
        before: |lab| lab.start("web"),
        act: Act::Happens(crash),
        done: is_another,
        check: restarted_once,
    };
    ready_and_done: Scenario {
        name: "ready_and_done",
        lacks: || None,
        units: |lab| {
            let told = "echo $SERVICE_RESULT $INVOCATION_ID >> $STATE_DIRECTORY/told";
            let more = format!(
                "exec_stop_post = [['/bin/sh', '-c', '{told}']]\n[restart]\npolicy = \"on-failure\"\ndelay = \"0\""
            );
            lab.unit("web", "notify", SAYS_AND_ENDS, &more);
        },
        before: |_| {},
        act: Act::Client(&["start", "--no-wait", "web"]),
        done: is_done,
        check: |lab, accepted| {
            let status = lab.comes_to("web", "inactive");
            let (runs, told) = (lab.said("web", "runs"), lab.said("web", "told"));
            assert!(runs.len() <= 1 && (!accepted || runs.len() == 1), "{runs:?} {told:?} {}", brief(&status));
            assert!(told.iter().all(|line| *line == format!("success {}", runs[0])), "{told:?}, {}", brief(&status));
            assert_eq!(told.is_empty(), runs.is_empty(), "{told:?}, {}", brief(&status));
        },
    };
    giving_up: Scenario {
        name: "giving_up",
        lacks: || None,
        units: |lab| {
            let restart = "[restart]\ndelay = \"0\"\nlimit_burst = 2\nlimit_interval = \"1h\"";
            lab.unit("web", "oneshot", "exit 7", restart);
        },
        before: |_| {},
        act: Act::Client(&["start", "--no-wait", "web"]),
        done: |lab| lab.saved("web")["rest"].is_object() && lab.saved("web")["rest"]["until"].is_null(),
        check: |lab, accepted| {
            let status = lab.settled("web");
            if status["state"] == "inactive" {
                return assert!(!accepted);
            }
            assert_eq!((&status["state"], &status["exit_code"]), (&"failed".into(), &7.into()), "{}", brief(&status));
            assert_eq!((&status["result"], lab.said("web", "runs").len()), (&"start-limit-hit".into(), 3));
        },
    };
    reload_by_command: Scenario {
        name: "reload_by_command",
        lacks: || None,
        units: |lab| lab.unit("web", "exec", SERVE, RELOADS),
        before: |lab| lab.start("web"),
        act: Act::Client(&["reload", "web"]),
        done: |lab| lab.is_saved_ready("web"),
        check: reloaded_if_accepted,
    };
    reload_by_signal: Scenario {
        name: "reload_by_signal",
        lacks: || None,
        units: |lab| lab.unit("web", "notify", &format!("{HUP}systemd-notify --ready; {SERVE}"), "notify_access = \"all\"\nreload_signal = \"HUP\""),
        before: |lab| lab.start("web"),
        act: Act::Client(&["reload", "web"]),
        done: |lab| !lab.said("web", "said").is_empty(),
        check: reloaded_if_accepted,
    };
    set: Scenario {
        name: "set",
        lacks: || None,
        units: |lab| lab.unit("web", "exec", SERVE, ""),
        before: start_afresh,
        act: Act::Client(&["set", "web", "resources.tasks_max=50"]),
        done: |_| true,
        check: limit_is_shown,
    };
    set_for_good: Scenario {
        name: "set_for_good",
        lacks: || None,
        units: |lab| lab.unit("web", "exec", SERVE, ""),
        before: start_afresh,
        act: Act::Client(&["set", "--persist", "web", "resources.tasks_max=50"]),
        done: |_| true,
        check: limit_is_shown,
    };
    scale: Scenario {
        name: "scale",
        lacks: || None,
        units: |lab| lab.unit("web@", "exec", SERVE, "[unit]\nreplicas = 1"),
        before: |lab| {
            lab.instance.rsvc(&["start", "web"]).expect(0);
            lab.before.push(lab.instance.main_process("web@1"));
        },
        act: Act::Client(&["scale", "--no-wait", "web=3"]),
        done: |lab| lab.is_saved_ready("web@3") && lab.is_saved_ready("web@2"),
        check: |lab, accepted| {
            lab.is_untouched("web@1", &lab.settled("web@1"));
            let states = || ["web@2", "web@3"].map(|unit| lab.state(unit));
            let is = |state: &str| states().iter().all(|other| other == state);
            eventually(
                || format!("the set comes to rest: {:?}", states()),
                || (is("active") || (!accepted && is("inactive"))).then_some(()),
            );
        },
    };
}

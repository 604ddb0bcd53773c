//! `[[timers]]` with a real instance. Nothing here waits for a certain time of day, and nobody sets the clock.

#[macro_use]
mod instance;

use instance::{Instance, eventually};
use serde_json::Value;
use std::fs;

/// A oneshot that says `ran` each time, with these timers.
fn job(script: &str, timers: &str) -> String {
    format!(
        "[service]\ntype = \"oneshot\"\nexec = [\"/bin/sh\", \"-c\", \"{script}\"]\n[restart]\npolicy = \"no\"\n{timers}"
    )
}

fn runs(instance: &Instance, unit: &str) -> usize {
    instance.log(unit).matches("ran").count()
}

fn wait_for_runs(instance: &Instance, unit: &str, count: usize) {
    eventually(&format!("{count} runs of {unit}"), || (runs(instance, unit) >= count).then_some(()));
}

fn stamp(instance: &Instance, unit: &str) -> Value {
    let text = fs::read_to_string(instance.file(&format!("state/timers/{unit}"))).expect("the stamp");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn a_start_only_arms_and_a_stop_disarms() {
    root_only!();
    let instance = Instance::start();
    instance.unit(
        "job",
        &job("echo ran", "[[timers]]\nevery = \"1h\"\n[[timers]]\non_calendar = \"Thu *-02-29 04:00 UTC\"\n"),
    );
    instance.rsvc(&["start", "job"]).expect(0);
    let status = instance.status("job");
    assert_eq!((&status["state"], &status["substate"]), (&"active".into(), &"waiting".into()));
    assert_eq!(status["timers"][0]["timer"], "every 1h");
    assert!(status["timers"][0]["next"].is_string() && status["timers"][0]["last"].is_null(), "{status:#}");
    let next = status["timers"][1]["next"].as_str().expect("next").to_owned();
    assert!(next.contains("-02-29T04:00:00"), "{next}");
    let table = instance.rsvc(&["list", "--timers"]).expect(0);
    assert!(table.out.contains("job") && table.out.contains("every 1h"), "{}", table.out);
    let page = instance.rsvc(&["status", "job"]).expect(0);
    assert!(page.out.contains("active (waiting)") && page.out.contains("Timers: every 1h, next in"), "{}", page.out);
    assert_eq!(runs(&instance, "job"), 0);
    instance.rsvc(&["stop", "job"]).expect(0);
    let status = instance.status("job");
    assert_eq!((&status["state"], &status["timers"][0]["next"]), (&"inactive".into(), &Value::Null));
}

#[test]
fn periods_and_times_of_the_calendar_run_the_job_again_and_again() {
    root_only!();
    let instance = Instance::start();
    instance.unit("period", &job("echo ran", "[[timers]]\nevery = \"1s\"\n"));
    instance.unit("second", &job("echo ran", "[[timers]]\non_calendar = \"*:*:*\"\n"));
    instance.rsvc(&["start", "period", "second"]).expect(0);
    wait_for_runs(&instance, "period", 3);
    wait_for_runs(&instance, "second", 3);
    assert!(instance.status("period")["timers"][0]["last"].is_string());
    assert!(stamp(&instance, "second")["last_wall"].is_i64());
}

#[test]
fn a_job_that_failed_is_due_again_and_shown() {
    root_only!();
    let instance = Instance::start();
    instance.unit("job", &job("echo ran; exit 3", "[[timers]]\nevery = \"1s\"\n"));
    instance.rsvc(&["start", "job"]).expect(0);
    wait_for_runs(&instance, "job", 2);
    instance.unit("job", &job("echo ran; exit 3", "[[timers]]\nevery = \"1h\"\n"));
    let status = eventually("it waits after a failure", || {
        let status = instance.status("job");
        (status["substate"] == "waiting" && status["result"] == "exit-code").then_some(status)
    });
    assert!(status["cause"].as_str().expect("cause").contains("status 3"), "{status:#}");
    let said = instance.rsvc(&["status"]).expect(0);
    assert!(said.out.contains("job: "), "{}", said.out);
}

#[test]
fn what_was_missed_is_made_up_for_once_and_only_where_it_is_asked_for() {
    root_only!();
    let instance = Instance::start();
    #[allow(clippy::disallowed_methods, reason = "the test needs a past")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    let days_ago = |days: i64| now.as_micros() as i64 - days * 86_400_000_000;
    // Half a day away from now, so that nothing is due while the test runs.
    let hour = (now.as_secs() / 3600 + 12) % 24;
    fs::create_dir(instance.file("state/timers")).expect("a directory");
    for name in ["kept", "passed"] {
        let text = format!(
            "{{\"v\":1,\"boot_id\":\"earlier\",\"armed_wall\":{0},\"armed_boot\":1,\"last_wall\":{0},\"last_boot\":1,\"boot_done\":true}}",
            days_ago(3)
        );
        fs::write(instance.file(&format!("state/timers/{name}")), text).expect("a stamp");
    }
    let daily = format!("[[timers]]\non_calendar = \"{hour:02}:00 UTC\"\n");
    instance.unit("kept", &job("echo ran", &format!("{daily}persistent = true\n")));
    instance.unit("passed", &job("echo ran", &daily));
    instance.rsvc(&["start", "kept", "passed"]).expect(0);
    wait_for_runs(&instance, "kept", 1);
    eventually("it waits", || (instance.status("kept")["substate"] == "waiting").then_some(()));
    instance.rsvc(&["restart", "kept"]).expect(0);
    assert_eq!(instance.status("kept")["substate"], "waiting", "once is enough");
    assert_eq!(stamp(&instance, "passed")["last_wall"], days_ago_of(&instance, "passed"));
}

/// What the stamp was written with: nothing has run since.
fn days_ago_of(instance: &Instance, unit: &str) -> Value {
    let stamp = stamp(instance, unit);
    assert_eq!(runs(instance, unit), 0);
    stamp["armed_wall"].clone()
}

#[test]
fn timers_go_on_under_the_next_daemon_and_boot_timers_run_once() {
    root_only!();
    let mut instance = Instance::start();
    instance.unit("boot", &job("echo ran", "[[timers]]\non_boot = \"1ms\"\n"));
    instance.unit("hourly", &job("echo ran", "[[timers]]\nevery = \"1h\"\n"));
    instance.unit("quick", &job("echo ran", "[[timers]]\nevery = \"2s\"\n"));
    instance.rsvc(&["start", "boot", "hourly", "quick"]).expect(0);
    wait_for_runs(&instance, "boot", 1);
    wait_for_runs(&instance, "quick", 1);
    eventually("it waits", || (instance.status("boot")["substate"] == "waiting").then_some(()));
    let armed = stamp(&instance, "hourly")["armed_boot"].clone();
    instance.kill_daemon();
    instance.start_daemon();
    for unit in ["boot", "hourly"] {
        assert_eq!(instance.status(unit)["substate"], "waiting", "{}", instance.daemon_log());
    }
    assert_eq!(stamp(&instance, "hourly")["armed_boot"], armed, "the period has not begun anew");
    let before = runs(&instance, "quick");
    wait_for_runs(&instance, "quick", before + 1);
    instance.rsvc(&["stop", "boot"]).expect(0);
    instance.rsvc(&["start", "boot"]).expect(0);
    assert_eq!(instance.status("boot")["timers"][0]["next"], Value::Null);
    assert_eq!(runs(&instance, "boot"), 1);
}

#[test]
fn a_zone_that_the_host_does_not_know_fails_the_start_by_name() {
    root_only!();
    let instance = Instance::start();
    let file = instance.unit("job", &job("echo ran", "[[timers]]\non_calendar = \"daily Moon/Crater\"\n"));
    let said = instance.rsvc(&["start", "job"]).expect(1);
    assert!(said.err.contains("Moon/Crater") && said.err.contains(&format!("{}:", file.display())), "{}", said.err);
}

/// Seconds of the wall clock.
fn seconds() -> u64 {
    #[allow(clippy::disallowed_methods, reason = "the test needs a moment to come")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs()
}

/// One second of one day, as on_calendar has it.
fn calendar_of(at: u64) -> String {
    let time = jiff::Timestamp::from_second(i64::try_from(at).expect("a time")).expect("a time");
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[test]
fn an_elapse_during_a_run_is_passed_over_or_made_up_for_when_it_is_over() {
    root_only!();
    let instance = Instance::start();
    for (unit, skip) in [("skips", true), ("makes-up", false)] {
        let go = instance.file(&format!("state/directories/state/{unit}/go"));
        let script = "echo ran; until test -e $STATE_DIRECTORY/go; do sleep 0.05; done";
        let mut ahead = 4;
        // On a machine that takes longer than this to start a job the moment has to be further away.
        let at = loop {
            let at = seconds() + ahead;
            let timers = format!(
                "[directories]\nstate = [\"{unit}\"]\n[[timers]]\nevery = \"1s\"\nskip_if_running = true\n\
                 [[timers]]\non_calendar = \"{}\"\nskip_if_running = {skip}\n",
                calendar_of(at)
            );
            instance.unit(unit, &job(script, &timers));
            let before = runs(&instance, unit);
            instance.rsvc(&["start", unit]).expect(0);
            wait_for_runs(&instance, unit, before + 1);
            if seconds() < at {
                break at;
            }
            instance.rsvc(&["stop", unit]).expect(0);
            ahead *= 2;
        };
        let before = runs(&instance, unit);
        // From now on only the one moment counts.
        let timers = format!(
            "[directories]\nstate = [\"{unit}\"]\n[[timers]]\non_calendar = \"{}\"\nskip_if_running = {skip}\n",
            calendar_of(at)
        );
        instance.unit(unit, &job(script, &timers));
        instance.rsvc(&["reload-config"]).expect(0);
        eventually("the moment has come", || (seconds() > at).then_some(()));
        assert_eq!(runs(&instance, unit), before, "never two at a time");
        fs::write(&go, "").expect("a file");
        eventually("it waits again", || (instance.status(unit)["substate"] == "waiting").then_some(()));
        if skip {
            assert_eq!(runs(&instance, unit), before);
        } else {
            wait_for_runs(&instance, unit, before + 1);
        }
        eventually("it is never due again", || {
            let status = instance.status(unit);
            (status["substate"] == "waiting" && status["timers"][0]["next"].is_null()).then_some(())
        });
        assert_eq!(runs(&instance, unit), before + usize::from(!skip), "once, and not more often");
    }
}

//! What can be changed of a unit that runs: limits, the freezer, the files it was read from.

#[macro_use]
mod instance;

use instance::{Instance, eventually, skipped};
use serde_json::{Value, json};
use std::fs;

const SLEEPER: &str = "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n[restart]\ndelay = \"0\"\n";

/// A unit with limits, and a daemon; `None` where the host has no controllers for them.
fn limited() -> Option<Instance> {
    let instance = Instance::start();
    instance.unit("web", &format!("{SLEEPER}[resources]\nmemory_max = \"512M\"\ntasks_max = 100\n"));
    let said = instance.rsvc(&["start", "web"]);
    if said.code != 0 && said.err.contains("controller") {
        skipped("no memory or pids controller here");
        return None;
    }
    said.expect(0);
    Some(instance)
}

/// State letter of a process: `S`, `D`...
fn process_state(pid: i64) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().unwrap_or_default().split_whitespace().next().unwrap_or_default().to_owned()
}

#[test]
fn a_changed_limit_is_in_the_kernel_named_by_status_and_gone_after_a_stop() {
    root_only!();
    let Some(mut instance) = limited() else { return };
    instance.rsvc(&["set", "web", "resources.memory_max=256M", "resources.tasks_max=50"]).expect(0);
    let status = instance.status("web");
    assert_eq!(status["memory_max"], 256 << 20, "as the kernel says");
    assert_eq!(status["tasks_max"], 50);
    let changes = &status["changed_live"];
    assert_eq!(changes[0], "resources.memory_max = \"256M\", unit: \"512M\"", "{changes}");
    assert!(instance.rsvc(&["status", "web"]).out.contains("Changed: resources.memory_max"));
    // Over an automatic restart, a restart by hand, and another daemon.
    let pid = status["main_pid"].as_i64().expect("a pid");
    instance.rsvc(&["kill", "-s", "KILL", "web"]).expect(0);
    eventually("another main process", || instance.status("web")["main_pid"].as_i64().filter(|other| *other != pid));
    instance.rsvc(&["restart", "web"]).expect(0);
    assert_eq!(instance.status("web")["memory_max"], 256 << 20);
    instance.kill_daemon();
    instance.start_daemon();
    assert_eq!(instance.status("web")["changed_live"][1], "resources.tasks_max = 50, unit: 100");
    instance.rsvc(&["set", "web", "resources.tasks_max="]).expect(0);
    let status = instance.status("web");
    assert_eq!((&status["tasks_max"], status["changed_live"].as_array().map(Vec::len)), (&json!(100), Some(1)));
    instance.rsvc(&["stop", "web"]).expect(0);
    instance.rsvc(&["start", "web"]).expect(0);
    let status = instance.status("web");
    assert_eq!((&status["memory_max"], &status["changed_live"]), (&json!(512u64 << 20), &json!([])));
}

#[test]
fn what_cannot_be_set_is_refused_with_the_reason_and_nothing_is_changed() {
    root_only!();
    let Some(instance) = limited() else { return };
    for (words, code, reason) in [
        (&["web", "resources.memory_max"][..], 2, "table.key=value"),
        (&["web", "memory_max=1G"], 2, "table.key=value"),
        (&["web", "resources.memory_mx=1G"], 2, "these can"),
        (&["web", "service.user=nobody"], 2, "cannot change while the unit runs"),
        (&["web", "resources.memory_max=lots"], 2, "lots"),
        (&["web", "resources.memory_max=1k"], 2, "size"),
        (&["web", "resources.memory_max=1K"], 2, "64K"),
        (&["web", "resources.tasks_max=7", "resources.cpu_weight=0"], 2, "10000"),
        (&["nosuch", "resources.tasks_max=7"], 5, "no such unit"),
    ] {
        let said = instance.rsvc(&[&["set"], words].concat()).expect(code);
        assert!(said.err.contains(reason), "{words:?}: {}", said.err);
    }
    assert_eq!(instance.status("web")["tasks_max"], 100, "several changes are one");
    instance.rsvc(&["stop", "web"]).expect(0);
    instance.rsvc(&["set", "web", "resources.tasks_max=7"]).expect(7);
}

#[test]
fn a_frozen_service_stands_still_goes_on_and_can_be_stopped() {
    root_only!();
    let mut instance = Instance::start();
    instance.unit(
        "web",
        "[service]\nexec = [\"/bin/sh\", \"-c\", \"while :; do echo tick; sleep 0.05; done\"]\ntimeout_stop = \"60s\"\n\
         reload_signal = \"SIGHUP\"\n",
    );
    instance.rsvc(&["freeze", "web"]).expect(7);
    instance.rsvc(&["start", "web"]).expect(0);
    instance.wait_for_log("web", "tick");
    instance.rsvc(&["freeze", "web"]).expect(0);
    instance.rsvc(&["freeze", "web"]).expect(0);
    let status = instance.status("web");
    assert_eq!((&status["frozen"], &status["state"]), (&json!(true), &json!("active")));
    assert!(instance.rsvc(&["status", "web"]).out.contains("active (running, frozen)"));
    assert!(instance.rsvc(&["list"]).out.contains("frozen"));
    instance.rsvc(&["reload", "web"]).expect(7);
    instance.kill_daemon();
    instance.start_daemon();
    assert_eq!(instance.status("web")["frozen"], true, "the next daemon knows");
    instance.rsvc(&["thaw", "web"]).expect(0);
    assert_eq!(instance.status("web")["frozen"], false);
    let before = instance.log("web").len();
    eventually("it goes on", || (instance.log("web").len() > before).then_some(()));
    instance.rsvc(&["freeze", "web"]).expect(0);
    let pid = instance.status("web")["main_pid"].as_i64().expect("a pid");
    assert_ne!(process_state(pid), "", "it is there");
    instance.rsvc(&["stop", "--timeout", "50s", "web"]).expect(0);
    let status = instance.status("web");
    assert_eq!((&status["state"], &status["frozen"]), (&json!("inactive"), &json!(false)), "within timeout_stop");
    instance.rsvc(&["thaw", "web"]).expect(7);
}

#[test]
fn a_frozen_service_that_is_killed_is_restarted_unfrozen() {
    root_only!();
    let instance = Instance::start();
    instance.unit("web", SLEEPER);
    instance.rsvc(&["start", "web"]).expect(0);
    let pid = instance.status("web")["main_pid"].as_i64();
    instance.rsvc(&["freeze", "web"]).expect(0);
    instance.rsvc(&["restart", "web"]).expect(0);
    let status = instance.status("web");
    assert_eq!((&status["state"], &status["frozen"]), (&json!("active"), &json!(false)));
    assert_ne!(status["main_pid"].as_i64(), pid);
}

#[test]
fn reload_config_says_what_is_new_changed_gone_and_bad() {
    root_only!();
    let instance = Instance::start();
    for name in ["same", "edited", "removed", "broken"] {
        instance.unit(name, SLEEPER);
    }
    instance.rsvc(&["list", "--all"]).expect(0);
    instance.rsvc(&["start", "edited"]).expect(0);
    instance.unit("edited", &SLEEPER.replace("1000", "2000"));
    instance.unit("broken", "[service]\nexec = [\"/bin/true\"]\nusr = 5\n");
    instance.unit("added", SLEEPER);
    fs::remove_file(instance.file("units/removed.toml")).expect("remove");
    let said = instance.rsvc(&["reload-config", "-o", "json"]).expect(1);
    let lines: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let found: Vec<(&str, &str)> =
        lines.iter().filter_map(|line| Some((line["name"].as_str()?, line["change"].as_str()?))).collect();
    assert_eq!(found, [("added", "new"), ("broken", "bad"), ("edited", "changed"), ("removed", "gone")]);
    assert_eq!(lines[1]["message"].as_str().map(|text| text.contains("did you mean `user`")), Some(true));
    assert_eq!((&lines[2]["running"], &lines[4]["unchanged"]), (&json!(true), &json!(1)));
    let said = instance.rsvc(&["reload-config"]).expect(1);
    assert!(said.out.contains("broken: bad") && said.err.contains("broken.toml:3"), "{said:?}");
    let command = fs::read(format!("/proc/{}/cmdline", instance.status("edited")["main_pid"])).expect("cmdline");
    assert!(command.ends_with(b"1000\0"), "what runs goes on as it was started");
}

/// The drop-in of `rsvc set --persist`.
fn kept(instance: &Instance, unit: &str) -> String {
    let text = fs::read_to_string(instance.file(&format!("units/{unit}.d/90-set.toml"))).unwrap_or_default();
    text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_kept_value_holds_at_once_and_over_stops_and_daemons() {
    root_only!();
    let Some(mut instance) = limited() else { return };
    let words = ["set", "--persist", "web", "resources.memory_max=256M", "resources.tasks_max=50"];
    let said = instance.rsvc(&words).expect(0);
    assert_eq!(said.err, "");
    assert_eq!(kept(&instance, "web"), "resources.memory_max = \"256M\"\nresources.tasks_max = 50\n");
    let holds = |instance: &Instance| {
        let status = instance.status("web");
        assert_eq!((&status["memory_max"], &status["tasks_max"]), (&json!(256 << 20), &json!(50)), "{status}");
        assert_eq!(status["changed_live"].as_array().map_or(0, Vec::len), 0, "the files say so: {status}");
        assert_eq!(instance.rsvc(&["diff", "web"]).expect(0).out, "");
    };
    holds(&instance);
    instance.kill_daemon();
    instance.start_daemon();
    holds(&instance);
    instance.rsvc(&["restart", "web"]).expect(0);
    holds(&instance);
    instance.rsvc(&["stop", "web"]).expect(0);
    instance.rsvc(&["start", "web"]).expect(0);
    holds(&instance);
    // A change without the option stands above it, and is a difference.
    instance.rsvc(&["set", "web", "resources.tasks_max=60"]).expect(0);
    let diff = instance.rsvc(&["diff", "web"]).expect(1).out;
    assert!(diff.contains("- resources.tasks_max = 60\n") && diff.contains("+ resources.tasks_max = 50 "), "{diff}");
    // Kept, it is none; another key stays; what is taken back is as the unit's own file says.
    instance.rsvc(&["set", "--persist", "web", "resources.tasks_max=70", "resources.memory_max="]).expect(0);
    assert_eq!(kept(&instance, "web"), "resources.tasks_max = 70\n");
    let status = instance.status("web");
    assert_eq!((&status["memory_max"], &status["tasks_max"]), (&json!(512 << 20), &json!(70)), "{status}");
    instance.rsvc(&["diff", "web"]).expect(0);
    instance.rsvc(&["set", "--persist", "web", "resources.tasks_max="]).expect(0);
    assert!(!instance.file("units/web.d").exists(), "nothing is left");
    assert_eq!(instance.status("web")["tasks_max"], 100);
}

#[test]
fn any_key_can_be_kept_and_a_running_unit_says_what_it_takes_up_later() {
    root_only!();
    let instance = Instance::start();
    instance.unit("web", SLEEPER);
    // Not running.
    assert_eq!(instance.rsvc(&["set", "web", "service.umask=0077", "--persist"]).expect(0).err, "");
    instance.rsvc(&["start", "web"]).expect(0);
    let umask = || {
        let status =
            fs::read_to_string(format!("/proc/{}/status", instance.status("web")["main_pid"])).expect("status");
        status.lines().find_map(|line| line.strip_prefix("Umask:\t").map(str::to_owned))
    };
    assert_eq!(umask().as_deref(), Some("0077"));
    let said = instance.rsvc(&["set", "web", "service.umask=0027", "--persist"]).expect(0);
    assert!(said.err.contains("next start") && said.err.contains("service.umask"), "{}", said.err);
    assert_eq!(umask().as_deref(), Some("0077"), "it runs on");
    instance.rsvc(&["diff", "web"]).expect(1);
    instance.rsvc(&["restart", "web"]).expect(0);
    assert_eq!(umask().as_deref(), Some("0027"));
    let json = instance.rsvc(&["set", "-o", "json", "web", "service.nice=5", "--persist"]).expect(0).out;
    let json: Value = serde_json::from_str(&json).expect("an object");
    assert_eq!((&json["done"], &json["later"]), (&json!("kept"), &json!(["service.nice"])), "{json}");
    assert!(json["file"].as_str().is_some_and(|file| file.ends_with("/web.d/90-set.toml")), "{json}");
}

#[test]
fn an_instance_of_a_template_keeps_its_own_values() {
    root_only!();
    let instance = Instance::start();
    instance.unit("web@", SLEEPER);
    instance.rsvc(&["set", "web@blue", "service.umask=0077", "--persist"]).expect(0);
    assert_eq!(kept(&instance, "web@blue"), "service.umask = \"0077\"\n");
    let shown = |unit: &str| instance.rsvc(&["show", unit]).expect(0).out;
    assert!(shown("web@blue").contains("0077"), "{}", shown("web@blue"));
    assert!(!shown("web@green").contains("0077"));
}

#[test]
fn what_cannot_be_kept_is_refused_and_nothing_is_written() {
    root_only!();
    let Some(instance) = limited() else { return };
    instance.unit("broken", "[service]\nexec = [\"/bin/true\"]\numask = \"lots\"\n");
    instance.rsvc(&["set", "--persist", "web", "service.umask=0077"]).expect(0);
    let before = fs::read(instance.file("units/web.d/90-set.toml")).expect("the drop-in");
    for (words, code, reason) in [
        (&["web", "service.umsk=0"][..], 2, "did you mean `umask`"),
        (&["web", "resources.tasks_max=7", "service.umask=lots"], 2, "lots"),
        (&["web", "service.user=nobody-of-this-name"], 2, "does not exist"),
        (&["web", "resources.tasks_max=7", "resources.cpu_weight=0"], 2, "10000"),
        (&["web", "umask=0"], 2, "table.key=value"),
        (&["broken", "service.nice=5"], 6, "umask"),
        (&["nosuch", "resources.tasks_max=7"], 5, "no such unit"),
    ] {
        let said = instance.rsvc(&[&["set", "--persist"], words].concat()).expect(code);
        assert!(said.err.contains(reason), "{words:?}: {}", said.err);
    }
    assert_eq!(instance.status("web")["tasks_max"], 100);
    assert_eq!(fs::read(instance.file("units/web.d/90-set.toml")).expect("the drop-in"), before);
    // Somebody else's file behind ours, then in its place.
    fs::write(instance.file("units/web.d/95-last.toml"), "[resources]\ntasks_max = 80\n").expect("a drop-in");
    let said = instance.rsvc(&["set", "--persist", "web", "resources.tasks_max=7"]).expect(2);
    assert!(said.err.contains("95-last.toml:2 has the last word"), "{}", said.err);
    let own = "[service]\numask = \"0002\"\n";
    fs::write(instance.file("units/web.d/90-set.toml"), own).expect("a drop-in");
    let said = instance.rsvc(&["set", "--persist", "web", "service.nice=7"]).expect(2);
    assert!(said.err.contains("was not written by"), "{}", said.err);
    assert_eq!(kept(&instance, "web"), own);
}

#[test]
fn limits_are_taken_back_when_they_cannot_be_written_down() {
    root_only!();
    let Some(instance) = limited() else { return };
    // A directory where the new file is to be made: even root cannot write it.
    fs::create_dir_all(instance.file("units/web.d/.90-set.toml.new/in-the-way")).expect("directories");
    let said = instance.rsvc(&["set", "--persist", "web", "resources.tasks_max=7"]).expect(1);
    assert!(said.err.contains("90-set.toml") && said.err.contains("nothing was changed"), "{}", said.err);
    let status = instance.status("web");
    assert_eq!((&status["tasks_max"], status["changed_live"].as_array().map_or(0, Vec::len)), (&json!(100), 0));
}

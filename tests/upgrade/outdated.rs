//! Services that another rsvc started: they keep working, are named, and a restart brings them the present one.

use crate::instance::Instance;
use crate::script;
use serde_json::Value;
use std::fs;

/// Makes the state of a unit one that another rsvc wrote, as `change` says; no daemon may run.
fn age(instance: &Instance, unit: &str, change: &dyn Fn(&mut Value)) {
    let path = instance.file(&format!("run/services/{unit}/state"));
    let mut state: Value = serde_json::from_slice(&fs::read(&path).expect("a state")).expect("JSON");
    assert_eq!(state["remembered"]["launched_by"]["version"], env!("CARGO_PKG_VERSION"));
    change(&mut state["remembered"]);
    fs::write(&path, state.to_string()).expect("write");
}

#[test]
fn what_another_rsvc_started_is_named_and_restarted_when_asked() {
    root_only!();
    let mut instance = Instance::start();
    for name in ["older", "newer", "other", "unknown", "same"] {
        instance.unit(name, &script("exec", "exec sleep 1000", ""));
    }
    instance.rsvc(&["start", "older", "newer", "other", "unknown", "same"]).expect(0);
    let said = instance.rsvc(&["restart", "--outdated"]).expect(0);
    assert!(said.err.contains("was started by the rsvc that runs now"), "{said:?}");
    let names = ["older", "newer", "other", "unknown", "same"];
    let before = names.map(|name| instance.main_process(name));
    instance.kill_daemon();
    age(&instance, "older", &|known| known["launched_by"]["version"] = "0.0.9".into());
    age(&instance, "newer", &|known| known["launched_by"]["version"] = "99.0.0".into());
    age(&instance, "other", &|known| known["launched_by"]["build"] = "0".into());
    age(&instance, "unknown", &|known| *known = serde_json::json!({}));
    instance.start_daemon();
    assert_eq!(names.map(|name| instance.main_process(name)), before, "they go on");

    let own = env!("CARGO_PKG_VERSION");
    for (name, words) in [
        ("older", format!("Runs on: rsvc 0.0.9 (older: a restart brings {own})")),
        ("newer", format!("Runs on: rsvc 99.0.0 (newer: a restart brings {own})")),
        ("other", format!("Runs on: another build of rsvc {own} (a restart brings the present one)")),
        ("unknown", format!("Runs on: an older or unknown rsvc (a restart brings {own})")),
    ] {
        let page = instance.rsvc(&["status", name]).expect(0).out;
        assert!(page.contains(&words), "`{words}` is not in {page}");
        assert_eq!(instance.status(name)["runs_on"]["outdated"], true);
    }
    assert!(!instance.rsvc(&["status", "same"]).expect(0).out.contains("Runs on"));
    assert_eq!(instance.status("same")["runs_on"]["version"], own);
    let summary = instance.rsvc(&["status"]).expect(0).out;
    assert!(summary.contains("Outdated: 4 on another rsvc"), "{summary}");

    instance.rsvc(&["restart", "--outdated"]).expect(0);
    for (name, old) in names.iter().zip(&before) {
        assert_eq!(instance.main_process(name) == *old, *name == "same", "{name}");
        assert_eq!(instance.status(name)["runs_on"]["outdated"], false, "{name}");
    }
    assert!(!instance.rsvc(&["status"]).expect(0).out.contains("Outdated"));
}

//! So many services that a second thread reads what is on disk of them: the outcome is that of one thread.

use crate::instance::Instance;
use crate::instance::process::Process;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;

/// More than enough for a second thread.
const NUMBER: usize = 100;

/// All units as they are listed, by name.
fn listed(instance: &Instance) -> Vec<Value> {
    let said = instance.rsvc(&["list", "--all", "--output", "json"]).expect(0);
    let mut listed: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    listed.sort_by_key(|unit| unit["name"].to_string());
    listed
}

#[test]
fn of_a_crowd_everybody_is_taken_over_once_whatever_is_on_disk_of_the_others() {
    root_only!();
    let mut instance = Instance::start();
    let names: Vec<String> = (0..NUMBER).map(|n| format!("c{n:02}")).collect();
    for (n, name) in names.iter().enumerate() {
        // Of every third one the restart counter is told apart by what the unit says.
        let more = if n % 3 == 0 { "[restart]\npolicy = \"no\"\n" } else { "" };
        instance.unit(name, &format!("[service]\nexec = [\"/bin/sleep\", \"1{n:03}\"]\n{more}"));
    }
    let start: Vec<&str> = ["start"].into_iter().chain(names.iter().map(String::as_str)).collect();
    instance.rsvc(&start).expect(0);
    let mains = |instance: &Instance| -> Vec<Process> {
        listed(instance).iter().map(|unit| Process::of(&unit["main_pid"])).collect()
    };
    let before = mains(&instance);
    assert_eq!(before.len(), NUMBER);

    instance.kill_daemon();
    let unit = |name: &str| instance.file(&format!("units/{name}.toml"));
    fs::write(unit("c10"), "[service]\nexec = 7\n").expect("write");
    fs::remove_file(unit("c20")).expect("remove");
    fs::remove_file(unit("c30")).expect("remove");
    symlink("/dev/null", unit("c30")).expect("link");
    fs::write(instance.file("run/services/c40/state"), "{\"v\":1,\"boot").expect("write");
    before[50].signal(rustix::process::Signal::KILL);
    instance.start_daemon();

    let status = instance.wait_for_state("c50", "active");
    assert_ne!(Process::of(&status["main_pid"]), before[50], "it was restarted");
    let others = |all: &[Process]| -> Vec<Process> {
        all.iter().enumerate().filter(|(n, _)| *n != 50).map(|(_, process)| process.clone()).collect()
    };
    assert_eq!(others(&mains(&instance)), others(&before), "everybody else runs on");
    let log = instance.daemon_log();
    for unusable in ["c10", "c20", "c30"] {
        assert!(log.contains(&format!("{unusable} has a group but no usable unit file")), "{unusable}: {log}");
    }
    assert!(log.contains("c40: the recorded state is damaged"), "{log}");
    let tasks = fs::read_dir(format!("/proc/{}/task", instance.daemon_pid())).expect("it runs").count();
    assert_eq!(tasks, 1, "the second thread is gone");
    instance.rsvc(&["stop", "--all"]).expect(0);
    assert!(before.iter().all(|process| !process.is_alive()));
}

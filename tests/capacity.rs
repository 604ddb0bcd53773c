//! The limit of open files: who meets it is told, and no service is lost for it.

#[macro_use]
mod instance;

use instance::Instance;
use instance::process::Process;
use std::os::unix::process::ExitStatusExt;

/// What `rsvc daemon` says below a limit, and that it ended by itself.
#[track_caller]
fn refused(instance: &Instance, limit: u32) -> String {
    let script = format!("ulimit -n {limit}; exec \"$0\" daemon");
    let output =
        instance.configured("sh").args(["-c", &script, env!("CARGO_BIN_EXE_rsvc")]).output().expect("sh can be run");
    assert_eq!((output.status.code(), output.status.signal()), (Some(1), None));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_start_too_many_is_refused_and_a_daemon_with_too_few_files_leaves_services_alone() {
    root_only!();
    let mut instance = Instance::prepared();
    let names: Vec<String> = (0..60).map(|index| format!("many{index}")).collect();
    for name in &names {
        instance.unit(name, "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n[restart]\npolicy = \"no\"\n");
    }
    instance.wrap_daemon(&["prlimit", "--nofile=64:200"]);
    instance.start_daemon();
    let words: Vec<&str> = ["start"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let said = instance.rsvc(&words).expect(1);
    assert!(said.err.contains("may not open more than 200 files"), "the hard limit counts: {}", said.err);
    assert!(said.err.contains("LimitNOFILE="), "{}", said.err);
    let status = |instance: &Instance, name: &String| instance.status(name);
    let (up, down): (Vec<&String>, Vec<&String>) =
        names.iter().partition(|name| status(&instance, name)["state"] == "active");
    assert!(up.len() > 15 && !down.is_empty(), "{} are up", up.len());
    let processes: Vec<Process> = up.iter().map(|name| instance.main_process(name)).collect();

    instance.kill_daemon();
    let text = refused(&instance, 80);
    assert!(text.contains("the limit of 80 open files is too low to take over the services that run"), "{text}");
    assert!(processes.iter().all(Process::is_alive), "nothing was done to them");

    instance.start_daemon();
    let taken: Vec<Process> = up.iter().map(|name| instance.main_process(name)).collect();
    assert_eq!(taken, processes, "the same limit as before is enough for the next daemon");
    instance.rsvc(&["stop", up[0]]).expect(0);
    instance.rsvc(&["stop", up[1]]).expect(0);
    instance.rsvc(&["stop", up[2]]).expect(0);
    instance.rsvc(&["start", up[0]]).expect(0);
}

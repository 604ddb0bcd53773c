//! Hostile and hasty clients of the control socket.

use crate::instance::{Instance, eventually};
use crate::{SLEEP, script};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

fn connect(instance: &Instance) -> UnixStream {
    UnixStream::connect(instance.file("run/io.rsvc")).expect("the daemon listens")
}

#[test]
fn garbage_on_the_control_socket_costs_that_connection_only() {
    root_only!();
    let instance = Instance::start();
    instance.unit("web", SLEEP);
    instance.rsvc(&["start", "web"]).expect(0);
    let deep = [b"[".repeat(100_000), b"\0".to_vec()].concat();
    let large = vec![b'x'; 4 << 20];
    let garbage: [&[u8]; 8] = [
        b"\xff\xfe\0",
        b"\0\0\0",
        b"{}\0",
        b"{\"method\":1}\0",
        b"{\"method\":\"io.rsvc.Manager.Nonsense\"}\0",
        b"{\"method\":\"io.rsvc.Manager.Start\",\"parameters\":{\"unit\":\"../../etc/passwd\"}}\0",
        &deep,
        &large,
    ];
    for bytes in garbage {
        let mut stream = connect(&instance);
        // The daemon may close before it has read all.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(instance.status("web")["state"], "active");
    }
}

#[test]
fn many_half_open_and_vanishing_clients_are_survived() {
    root_only!();
    let instance = Instance::start();
    instance.unit("web", SLEEP);
    let idle: Vec<UnixStream> = (0..300).map(|_| connect(&instance)).collect();
    instance.rsvc(&["start", "web"]).expect(0);
    drop(idle);
    // One direction closed: the answer still comes.
    let mut half = connect(&instance);
    half.write_all(b"{\"method\":\"io.rsvc.Manager.Status\",\"parameters\":{\"unit\":\"web\"}}\0").expect("write");
    half.shutdown(std::net::Shutdown::Write).expect("shutdown");
    let mut answer = Vec::new();
    half.read_to_end(&mut answer).expect("an answer");
    assert!(String::from_utf8_lossy(&answer).contains("\"active\""));
    // Gone while it waits: the work goes on.
    instance.unit(
        "slow",
        &script(
            "oneshot",
            "while ! [ -e $STATE_DIRECTORY/go ]; do sleep 0.02; done",
            "[directories]\nstate = [\"slow\"]",
        ),
    );
    let mut gone = connect(&instance);
    gone.write_all(b"{\"method\":\"io.rsvc.Manager.Start\",\"parameters\":{\"unit\":\"slow\"}}\0").expect("write");
    instance.wait_for_state("slow", "activating");
    drop(gone);
    fs::write(instance.file("state/directories/state/slow/go"), "").expect("go");
    let status = instance.wait_for_state("slow", "inactive");
    assert_eq!(status["exit_code"], 0);
}

#[test]
fn requests_that_cross_are_each_answered() {
    root_only!();
    let instance = Instance::start();
    instance.unit("web", SLEEP);
    instance.rsvc(&["try-restart", "web"]).expect(0);
    assert_eq!(instance.status("web")["state"], "inactive");
    instance.rsvc(&["restart", "web"]).expect(0);
    let main = instance.main_process("web");
    instance.rsvc(&["try-restart", "web"]).expect(0);
    assert!(!main.is_alive());
    instance.rsvc(&["kill", "-s", "STOP", "web"]).expect(0);
    instance.rsvc(&["kill", "-s", "CONT", "web"]).expect(0);
    instance.rsvc(&["stop", "web"]).expect(0);

    // Many starts of one unit are one start.
    let children: Vec<_> = (0..8)
        .map(|_| instance.command().args(["start", "web"]).stdin(Stdio::null()).spawn().expect("rsvc runs"))
        .collect();
    for mut child in children {
        assert!(child.wait().expect("wait").success());
    }
    assert_eq!(instance.daemon_log().matches("web: started").count(), 3);

    // A stop during a start, and a start during a stop.
    let text =
        "trap 'while ! [ -e $STATE_DIRECTORY/go ]; do sleep 0.02; done; exit 0' TERM; while :; do sleep 0.02; done";
    instance.unit("slow", &script("notify", text, "[directories]\nstate = [\"slow\"]"));
    let start = instance.command().args(["start", "slow"]).stderr(Stdio::piped()).spawn().expect("rsvc runs");
    instance.wait_for_state("slow", "activating");
    eventually("it runs", || instance.status("slow")["main_pid"].as_i64());
    instance.rsvc(&["stop", "--no-wait", "slow"]).expect(0);
    assert_eq!(start.wait_with_output().expect("wait").status.code(), Some(1), "a stop overtook it");
    instance.wait_for_state("slow", "deactivating");
    instance.unit("slow", SLEEP);
    instance.rsvc(&["start", "--no-wait", "slow"]).expect(0);
    fs::write(instance.file("state/directories/state/slow/go"), "").expect("go");
    instance.wait_for_state("slow", "active");
}

#[test]
fn a_chain_of_requirements_names_the_link_that_broke() {
    root_only!();
    let instance = Instance::start();
    instance.unit("a", &script("oneshot", "exit 3", "[restart]\npolicy = \"no\""));
    for (name, needs) in [("b", "a"), ("c", "b")] {
        let unit = format!("[unit]\nrequires = [\"{needs}\"]\nafter = [\"{needs}\"]\n{SLEEP}");
        instance.unit(name, &unit);
    }
    let said = instance.rsvc(&["start", "c"]).expect(1);
    assert!(said.err.contains("required unit b"), "{said:?}");
    assert!(instance.status("b")["cause"].as_str().is_some_and(|cause| cause.contains("required unit a")));
}

#[test]
fn time_limits_of_start_and_stop_are_kept_and_named() {
    root_only!();
    let instance = Instance::start();
    let more = "timeout_stop = \"200ms\"\n[restart]\npolicy = \"no\"";
    let limited = format!("timeout_start = \"200ms\"\n{more}");
    instance.unit("late", &script("oneshot", "trap '' TERM; sleep 1000", &limited));
    let said = instance.rsvc(&["start", "late"]).expect(1);
    assert!(said.err.contains("timeout_start"), "{said:?}");
    assert_eq!(instance.status("late")["result"], "timeout");
    instance.unit("deaf", &script("exec", "trap '' TERM; echo deaf; while :; do sleep 1; done", more));
    instance.rsvc(&["start", "deaf"]).expect(0);
    instance.wait_for_log("deaf", "deaf");
    instance.rsvc(&["stop", "deaf"]).expect(0);
    let status = instance.status("deaf");
    assert!(status["cause"].as_str().is_some_and(|cause| cause.contains("timeout_stop")), "{status:#}");
}

//! `rsvc events`, `rsvc wait` and the stream behind them, with a real daemon and real processes.

#[macro_use]
mod instance;

use instance::{Instance, eventually};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};

const SLEEPER: &str = "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n[restart]\npolicy = \"no\"\n";

/// A client that goes on until it is dropped, and its lines.
struct Listening {
    child: Child,
    lines: Receiver<String>,
}

impl Listening {
    /// Begins; has listened from the first entry `present` on.
    fn begin(instance: &Instance, arguments: &[&str]) -> Listening {
        let mut child =
            instance.command().args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("rsvc runs");
        let (sender, lines) = channel();
        let stdout = child.stdout.take().expect("a pipe");
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Listening { child, lines }
    }

    /// Entries up to the first that is `last`.
    fn until(&self, last: &str) -> Vec<Value> {
        let mut got: Vec<Value> = Vec::new();
        while got.last().is_none_or(|event| event["event"] != last) {
            let line = self.lines.recv_timeout(instance::PATIENCE).unwrap_or_else(|_| panic!("no {last}: {got:#?}"));
            got.push(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")));
        }
        got
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn words(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["event"].as_str()).collect()
}

/// A raw connection to the control socket.
struct Socket {
    stream: BufReader<UnixStream>,
}

impl Socket {
    fn connect(instance: &Instance) -> Socket {
        let stream = UnixStream::connect(instance.file("run/io.rsvc")).expect("the socket");
        stream.set_read_timeout(Some(instance::PATIENCE)).expect("a timeout");
        Socket { stream: BufReader::new(stream) }
    }

    fn send(&mut self, call: &Value) {
        let mut bytes = call.to_string().into_bytes();
        bytes.push(0);
        self.stream.get_mut().write_all(&bytes).expect("write");
    }

    fn receive(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.stream.read_until(0, &mut bytes).expect("a reply in time");
        assert_eq!(bytes.pop(), Some(0), "the connection was closed");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// Has the daemon ended it? Does not wait.
    fn is_closed(&mut self) -> bool {
        let stream = self.stream.get_mut();
        stream.set_nonblocking(true).expect("non-blocking");
        let mut byte = [0; 4096];
        loop {
            match stream.read(&mut byte) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
            }
        }
    }

    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.send(&json!({ "method": format!("io.rsvc.Manager.{method}"), "parameters": parameters }));
        self.receive()
    }
}

fn events_of(units: &[&str]) -> Value {
    json!({ "method": "io.rsvc.Manager.Events", "more": true, "parameters": { "units": units, "present": true } })
}

#[test]
fn the_life_of_a_unit_is_told_with_its_cause_and_status() {
    root_only!();
    let instance = Instance::start();
    instance.unit("web", "[service]\nexec = [\"/bin/sh\", \"-c\", \"exit 7\"]\n[restart]\npolicy = \"no\"\n");
    instance.unit("other", SLEEPER);
    let web = Listening::begin(&instance, &["events", "--present", "-o", "json", "web"]);
    let all = Listening::begin(&instance, &["events", "--present", "-o", "json", "w?b", "oth*"]);
    assert_eq!(web.until("present")[0]["state"], "inactive");
    all.until("present");
    instance.rsvc(&["start", "other"]).expect(0);
    instance.rsvc(&["start", "--no-wait", "web"]).expect(0);
    let events = web.until("failed");
    assert_eq!(words(&events), ["starting", "started", "ended", "failed"]);
    assert!(events.iter().all(|event| event["unit"] == "web" && event["v"] == 1), "{events:#?}");
    let last = events.last().expect("events");
    assert_eq!(
        (&last["state"], &last["result"], &last["exit_code"]),
        (&json!("failed"), &json!("exit-code"), &json!(7))
    );
    assert!(last["cause"].as_str().is_some_and(|cause| cause.contains("status 7")), "{last}");
    let everything = all.until("failed");
    assert!(everything.iter().any(|event| event["unit"] == "other" && event["event"] == "started"), "{everything:#?}");
}

#[test]
fn a_name_that_is_no_unit_is_an_error_and_so_is_a_daemon_that_went_away() {
    root_only!();
    let mut instance = Instance::start();
    instance.rsvc(&["events", "nosuch"]).expect(5);
    instance.rsvc(&["wait", "nosuch"]).expect(5);
    instance.rsvc(&["wait", "nosuch", "--for", "healthy"]).expect(5);
    instance.unit("web", SLEEPER);
    let mut listening = Listening::begin(&instance, &["events", "--present", "web", "-o", "json"]);
    listening.until("present");
    instance.end_daemon();
    assert_eq!(listening.child.wait().expect("it ends").code(), Some(150));
}

#[test]
fn without_more_the_next_entry_is_the_answer_and_the_connection_is_free_again() {
    root_only!();
    let instance = Instance::start();
    instance.unit("web", SLEEPER);
    let mut socket = Socket::connect(&instance);
    let present = socket.call("Events", json!({ "units": ["web"], "present": true }));
    assert_eq!(present["parameters"]["event"]["event"], "present");
    assert_eq!(socket.call("Status", json!({ "unit": "web" }))["parameters"]["status"]["name"], "web");
    let refusal = socket.call("Events", json!({ "units": ["nosuch"] }));
    assert_eq!(refusal["error"], "io.rsvc.Manager.UnitNotFound");
    let refusal = socket.call("Events", json!({ "units": "web" }));
    assert_eq!(refusal["parameters"]["parameter"], "units");
}

#[test]
fn a_reader_that_is_stuck_delays_nobody_and_is_told_what_it_lost() {
    root_only!();
    let instance = Instance::start();
    instance.unit(
        "web",
        "[service]\nexec = [\"/bin/sh\", \"-c\", \"trap : HUP; echo up; while :; do sleep 1000 & wait; kill $!; done\"]\n\
         reload_signal = \"SIGHUP\"\n",
    );
    instance.rsvc(&["start", "web"]).expect(0);
    instance.wait_for_log("web", "up");
    let mut stuck = Socket::connect(&instance);
    stuck.send(&events_of(&["web"]));
    assert_eq!(stuck.receive()["parameters"]["event"]["event"], "present");
    let mut busy = Socket::connect(&instance);
    let memory = |pid: i32| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
    };
    let before = memory(instance.daemon_pid());
    const RELOADS: usize = 4000;
    for _ in 0..RELOADS {
        assert_eq!(busy.call("Reload", json!({ "unit": "web" }))["error"], Value::Null);
    }
    let grown = memory(instance.daemon_pid()).saturating_sub(before);
    assert!(grown < 2048, "8000 entries of about 500 bytes would be 4 MiB; it grew by {grown} KiB");
    // Now it reads: what was kept, then how much was not.
    let (mut kept, mut lost) = (0, 0);
    while lost == 0 {
        let event = stuck.receive()["parameters"]["event"].clone();
        match event["event"].as_str() {
            Some("lost") => lost = event["lost"].as_u64().expect("a number"),
            Some("reloading" | "reloaded") => kept += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(kept + lost, 2 * RELOADS as u64, "every entry is there or counted");
    busy.call("Reload", json!({ "unit": "web" }));
    assert_eq!(stuck.receive()["parameters"]["event"]["event"], "reloading", "it goes on");
}

#[test]
fn listeners_cannot_shut_out_who_gives_orders() {
    root_only!();
    let instance = Instance::start();
    instance.unit("web", SLEEPER);
    let mut listeners: Vec<Socket> = (0..256)
        .map(|_| {
            let mut socket = Socket::connect(&instance);
            socket.send(&events_of(&["web"]));
            assert_eq!(socket.receive()["parameters"]["event"]["event"], "present");
            socket
        })
        .collect();
    instance.rsvc(&["start", "web"]).expect(0);
    let open = listeners.iter_mut().map(Socket::is_closed).filter(|closed| !closed).count();
    assert!(open < 256, "one had to go");
}

#[test]
fn wait_passes_on_how_the_main_process_ended() {
    root_only!();
    let instance = Instance::start();
    let shell =
        |body: &str| format!("[service]\nexec = [\"/bin/sh\", \"-c\", \"{body}\"]\n[restart]\npolicy = \"no\"\n");
    instance.unit("seven", &shell("exit 7"));
    instance.unit("killed", SLEEPER);
    instance.unit("missing", "[service]\nexec = [\"/nonexistent\"]\n[restart]\npolicy = \"no\"\n");
    instance.unit("web", SLEEPER);
    for unit in ["seven", "killed", "missing"] {
        instance.rsvc(&["start", unit]);
    }
    instance.rsvc(&["kill", "-s", "KILL", "killed"]).expect(0);
    instance.rsvc(&["wait", "seven"]).expect(7);
    instance.rsvc(&["wait", "killed"]).expect(137);
    instance.rsvc(&["wait", "missing"]).expect(203);
    instance.rsvc(&["wait", "--for", "ready", "seven"]).expect(1);
    instance.rsvc(&["wait", "--for", "ready", "--timeout", "50ms", "web"]).expect(124);
    instance.rsvc(&["start", "web"]).expect(0);
    instance.rsvc(&["wait", "--for", "ready", "web"]).expect(0);
    let waiting = Listening::begin(&instance, &["wait", "-o", "json", "web", "seven"]);
    instance.rsvc(&["stop", "web"]).expect(0);
    let line = waiting.lines.recv_timeout(instance::PATIENCE).expect("a line");
    let said: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((&said["name"], &said["exit_signal"]), (&json!("web"), &json!("SIGTERM")));
    let mut waiting = waiting;
    assert_eq!(waiting.child.wait().expect("it ends").code(), Some(143), "that of the first that is not 0");
}

#[test]
fn wait_goes_on_when_the_daemon_is_replaced() {
    root_only!();
    let mut instance = Instance::start();
    instance.unit("web", SLEEPER);
    instance.rsvc(&["start", "web"]).expect(0);
    let mut waiting = Listening::begin(&instance, &["wait", "web"]);
    instance.kill_daemon();
    instance.start_daemon();
    instance.rsvc(&["stop", "web"]).expect(0);
    let status = eventually("wait ends", || waiting.child.try_wait().expect("wait"));
    assert_eq!(status.code(), Some(143));
}

//! A daemon that is killed while clients wait for it, and followed by another: whoever asked is answered with the truth,
//! and what was asked for is done once.

#[macro_use]
mod instance;

use instance::{Instance, eventually};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};

/// Notes each of its starts and every signal; `go` lets it get ready and `leave` lets it end.
fn counting(name: &str, ready: bool) -> String {
    let text = "s=$STATE_DIRECTORY; trap 'echo usr1 >>$s/deeds' USR1; trap 'echo hup >>$s/deeds' HUP\n\
        trap 'while ! [ -e $s/leave ]; do sleep 0.02; done; exit 0' TERM\n\
        echo start >>$s/deeds; while ! [ -e $s/go ]; do sleep 0.02; done; touch $s/ready; while :; do sleep 0.02; done";
    let ready =
        if ready { "[ready]\npath = \"READY\"\n".replace("READY", &place(name, "ready")) } else { String::new() };
    format!(
        "[service]\ntype = \"exec\"\nreload_signal = \"SIGHUP\"\nexec = [\"/bin/sh\", \"-c\", '''{text}''']\n{ready}\
         [restart]\npolicy = \"no\"\n[directories]\nstate = [\"{name}\"]\n"
    )
}

fn place(name: &str, file: &str) -> String {
    format!("${{state_dir}}/{name}/{file}")
}

/// How often a unit did what.
fn deeds(instance: &Instance, unit: &str, deed: &str) -> usize {
    let text = fs::read_to_string(instance.file(&format!("state/directories/state/{unit}/deeds"))).unwrap_or_default();
    text.lines().filter(|line| *line == deed).count()
}

/// Lets a unit go on.
fn allow(instance: &Instance, unit: &str, what: &str) {
    fs::write(instance.file(&format!("state/directories/state/{unit}/{what}")), "").expect("a file");
}

/// A unit has done this so often.
type Effect = (&'static str, &'static str, usize);

/// A command under way.
struct Asking(Child);

impl Asking {
    fn begin(instance: &Instance, arguments: &[&str]) -> Asking {
        let mut command = instance.command();
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Asking(command.spawn().expect("rsvc runs"))
    }

    /// Waits until it has connected (to a daemon that is stopped and reads nothing), or needed nobody.
    fn has_asked(&mut self) {
        let descriptors = format!("/proc/{}/fd", self.0.id());
        let is_socket = |entry: fs::DirEntry| {
            fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
        };
        eventually("the client has connected", || {
            let has_ended = self.0.try_wait().expect("wait").is_some();
            (has_ended || fs::read_dir(&descriptors).into_iter().flatten().flatten().any(is_socket)).then_some(())
        });
    }

    #[track_caller]
    fn expect(self, code: i32) -> instance::Said {
        instance::Said::from(self.0.wait_with_output().expect("wait")).expect(code)
    }
}

/// kill -9 and another daemon.
fn succeed(instance: &mut Instance) {
    instance.kill_daemon();
    instance.start_daemon();
}

/// A daemon that does nothing any more, until it is killed or the test fails.
struct Stopped(OwnedFd);

impl Stopped {
    fn now(instance: &Instance) -> Stopped {
        let pid = Pid::from_raw(instance.daemon_pid()).expect("it runs");
        let daemon = pidfd_open(pid, PidfdFlags::empty()).expect("it runs");
        pidfd_send_signal(&daemon, Signal::STOP).expect("kill");
        Stopped(daemon)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = pidfd_send_signal(&self.0, Signal::CONT);
    }
}

/// A connection of a Varlink client.
struct Line(UnixStream);

impl Line {
    fn to(instance: &Instance) -> Line {
        Line(UnixStream::connect(instance.file("run/io.rsvc")).expect("connect"))
    }

    fn ask(&mut self, method: &str, parameters: &Value) -> Value {
        let call = json!({ "method": format!("io.rsvc.Manager.{method}"), "parameters": parameters });
        self.0.write_all(format!("{call}\0").as_bytes()).expect("write");
        let (mut reply, mut byte) = (Vec::new(), [0]);
        loop {
            self.0.read_exact(&mut byte).expect("a reply");
            match byte {
                [0] => return serde_json::from_slice(&reply).expect("JSON"),
                [other] => reply.push(other),
            }
        }
    }
}

fn key(number: u8) -> String {
    format!("{number:032x}")
}

#[test]
fn no_command_sees_a_daemon_that_is_killed_before_it_has_read_the_call() {
    root_only!();
    let mut instance = Instance::start();
    for unit in ["web", "other"] {
        instance.unit(unit, &counting(unit, false));
    }
    instance.rsvc(&["start", "web"]).expect(0);
    let (web, other) = ("web", "other");
    for unit in [web, other] {
        fs::create_dir_all(instance.file(&format!("state/directories/state/{unit}"))).expect("directory");
        allow(&instance, unit, "leave");
    }
    let started = |unit: &'static str, count: usize| (unit, "start", count);
    let commands: [(&[&str], Option<Effect>); 19] = [
        (&["status", web], None),
        (&["list"], None),
        (&["plan", web], None),
        (&["show", web], None),
        (&["diff", web], None),
        (&["tree", web], None),
        (&["is-active", web], None),
        (&["kill", "--signal", "USR1", web], Some((web, "usr1", 1))),
        (&["reload", web], Some((web, "hup", 1))),
        (&["restart", web], Some(started(web, 2))),
        (&["try-restart", web], Some(started(web, 3))),
        (&["start", web], Some(started(web, 3))),
        (&["start", other], Some(started(other, 1))),
        (&["freeze", web], None),
        (&["thaw", web], None),
        (&["set", web, "resources.tasks_max=100"], None),
        (&["stop", other], Some(started(other, 1))),
        (&["reset-failed"], None),
        (&["reload-config"], None),
    ];
    for (arguments, effect) in commands {
        let _stopped = Stopped::now(&instance);
        let mut asking = Asking::begin(&instance, arguments);
        asking.has_asked();
        succeed(&mut instance);
        asking.expect(0);
        if let Some((unit, deed, count)) = effect {
            eventually(&format!("{arguments:?} has its effect"), || {
                (deeds(&instance, unit, deed) >= count).then_some(())
            });
            assert_eq!(deeds(&instance, unit, deed), count, "{arguments:?}");
        }
    }
    assert_eq!(instance.status("web")["frozen"], false);
    let _stopped = Stopped::now(&instance);
    let mut asking = Asking::begin(&instance, &["stop", "--all"]);
    asking.has_asked();
    succeed(&mut instance);
    asking.expect(0);
    assert_eq!(instance.status("web")["state"], "inactive");
    assert_eq!((deeds(&instance, "web", "start"), deeds(&instance, "web", "usr1")), (3, 1));
}

#[test]
fn a_start_that_waits_is_joined_after_each_daemon() {
    root_only!();
    let mut instance = Instance::start();
    instance.unit("web", &counting("web", true));
    let asking = Asking::begin(&instance, &["start", "web"]);
    for _ in 0..3 {
        eventually("it runs", || (deeds(&instance, "web", "start") == 1).then_some(()));
        instance.wait_for_state("web", "activating");
        succeed(&mut instance);
    }
    allow(&instance, "web", "go");
    asking.expect(0);
    assert_eq!(deeds(&instance, "web", "start"), 1);
    assert_eq!(instance.status("web")["state"], "active");
    allow(&instance, "web", "leave");
}

#[test]
fn a_start_that_fails_while_no_daemon_runs_is_told_and_not_made_again() {
    root_only!();
    let mut instance = Instance::start();
    let text = "echo start >>$STATE_DIRECTORY/deeds; while ! [ -e $STATE_DIRECTORY/go ]; do sleep 0.02; done; exit 7";
    instance.unit(
        "job",
        &format!(
            "[service]\ntype = \"oneshot\"\nexec = [\"/bin/sh\", \"-c\", '''{text}''']\n[restart]\npolicy = \"no\"\n\
             [directories]\nstate = [\"job\"]\n"
        ),
    );
    let asking = Asking::begin(&instance, &["start", "job"]);
    eventually("it runs", || (deeds(&instance, "job", "start") == 1).then_some(()));
    let main = instance::process::Process::all(&instance.status("job"));
    instance.kill_daemon();
    allow(&instance, "job", "go");
    eventually("it ends", || main.iter().all(|process| !process.is_alive()).then_some(()));
    instance.start_daemon();
    let said = asking.expect(1);
    assert!(said.err.contains("7"), "{said:?}");
    assert_eq!(deeds(&instance, "job", "start"), 1);
    assert_eq!(instance.status("job")["state"], "failed");
}

#[test]
fn a_restart_and_a_stop_that_wait_are_carried_on_once() {
    root_only!();
    let mut instance = Instance::start();
    for unit in ["again", "try", "down"] {
        instance.unit(unit, &counting(unit, false));
    }
    instance.rsvc(&["start", "again", "try", "down"]).expect(0);
    for unit in ["again", "try", "down"] {
        eventually("it runs", || (deeds(&instance, unit, "start") == 1).then_some(()));
    }
    let asking =
        [["restart", "again"], ["try-restart", "try"], ["stop", "down"]].map(|words| Asking::begin(&instance, &words));
    for unit in ["again", "try", "down"] {
        instance.wait_for_state(unit, "deactivating");
    }
    succeed(&mut instance);
    for unit in ["again", "try", "down"] {
        instance.wait_for_state(unit, "deactivating");
        allow(&instance, unit, "leave");
    }
    asking.into_iter().for_each(|asking| drop(asking.expect(0)));
    let count = |unit| deeds(&instance, unit, "start");
    eventually("both run again", || (count("again") >= 2 && count("try") >= 2).then_some(()));
    assert_eq!((count("again"), count("try"), count("down")), (2, 2, 1));
    assert_eq!(instance.status("down")["state"], "inactive");
}

#[test]
fn what_was_done_is_answered_again_and_not_done_again() {
    root_only!();
    let mut instance = Instance::start();
    instance.unit("web", &counting("web", false));
    let job = |text: &str| {
        format!(
            "[service]\ntype = \"oneshot\"\nexec = [\"/bin/sh\", \"-c\", 'echo start >>$STATE_DIRECTORY/deeds; {text}']\n\
             [restart]\npolicy = \"no\"\n[directories]\nstate = [\"UNIT\"]\n"
        )
    };
    instance.unit("good", &job("exit 0").replace("UNIT", "good"));
    instance.unit("bad", &job("exit 9").replace("UNIT", "bad"));
    instance.rsvc(&["start", "web"]).expect(0);
    allow(&instance, "web", "leave");
    eventually("it runs", || (deeds(&instance, "web", "start") == 1).then_some(()));
    let calls = [
        ("Kill", json!({ "unit": "web", "signal": 10, "request": key(1) }), ("web", "usr1", 1)),
        ("Reload", json!({ "unit": "web", "request": key(2) }), ("web", "hup", 1)),
        ("Restart", json!({ "unit": "web", "request": key(3) }), ("web", "start", 2)),
        ("TryRestart", json!({ "unit": "web", "request": key(4) }), ("web", "start", 3)),
        ("Start", json!({ "unit": "good", "request": key(5) }), ("good", "start", 1)),
        ("Start", json!({ "unit": "bad", "request": key(6) }), ("bad", "start", 1)),
        ("Kill", json!({ "unit": "web", "signal": 9, "request": key(7) }), ("web", "start", 3)),
    ];
    for (method, parameters, (unit, deed, count)) in &calls {
        let mut line = Line::to(&instance);
        let first = line.ask(method, parameters);
        eventually("it has its effect", || (deeds(&instance, unit, deed) >= *count).then_some(()));
        // A second connection while the first is there, and then the next two daemons.
        assert_eq!(Line::to(&instance).ask(method, parameters), first, "{method} {unit}");
        if *method == "Kill" && parameters["signal"] == 9 {
            instance.wait_for_state(unit, "failed");
        }
        for _ in 0..2 {
            succeed(&mut instance);
            let again = Line::to(&instance).ask(method, parameters);
            assert_eq!(again.get("error"), first.get("error"), "{method} {unit}: {again}");
        }
        assert_eq!(deeds(&instance, unit, deed), *count, "{method} {unit}");
    }
    let error = Line::to(&instance).ask("Start", &json!({ "unit": "bad", "request": key(6) }));
    assert_eq!(deeds(&instance, "bad", "start"), 2, "forgotten with the connection, so it is another start: {error}");
}

#[test]
fn a_request_is_forgotten_with_its_connection_and_leaves_no_file() {
    root_only!();
    let instance = Instance::start();
    let text = "[service]\ntype = \"oneshot\"\nexec = [\"/bin/true\"]\n[restart]\npolicy = \"no\"\n";
    instance.unit("job", text);
    let state = instance.file("run/services/job/state");
    let mut line = Line::to(&instance);
    line.ask("Start", &json!({ "unit": "job", "request": key(1) }));
    eventually("it is down", || (instance.status("job")["state"] == "inactive").then_some(()));
    eventually("the answer is kept", || state.exists().then_some(()));
    drop(line);
    eventually("the answer is forgotten", || (!state.exists()).then_some(()));
    let refused = Line::to(&instance).ask("Stop", &json!({ "unit": "job", "request": key(2) }));
    assert_eq!(refused["error"], "org.varlink.service.InvalidParameter", "{refused}");
    let refused = Line::to(&instance).ask("Start", &json!({ "unit": "job", "request": "1" }));
    assert_eq!(refused["error"], "org.varlink.service.InvalidParameter", "{refused}");
}

#[test]
fn a_rolling_restart_goes_on_for_the_client_that_waits_for_it() {
    root_only!();
    let mut instance = Instance::start();
    let text = "echo start >>$STATE_DIRECTORY/deeds; trap 'while ! [ -e $STATE_DIRECTORY/leave ]; do sleep 0.02; done; exit 0' TERM; while :; do sleep 0.02; done";
    instance.unit(
        "set@",
        &format!(
            "[unit]\nreplicas = 2\n[service]\nexec = [\"/bin/sh\", \"-c\", '''{text}''']\n[directories]\nstate = [\"set-${{instance}}\"]\n"
        ),
    );
    instance.rsvc(&["start", "set"]).expect(0);
    for unit in ["set-1", "set-2"] {
        eventually("it runs", || (deeds(&instance, unit, "start") == 1).then_some(()));
    }
    let asking = Asking::begin(&instance, &["restart", "set"]);
    instance.wait_for_state("set@1", "deactivating");
    succeed(&mut instance);
    for unit in ["set-1", "set-2"] {
        allow(&instance, unit, "leave");
    }
    asking.expect(0);
    for unit in ["set-1", "set-2"] {
        eventually("it runs again", || (deeds(&instance, unit, "start") >= 2).then_some(()));
        assert_eq!(deeds(&instance, unit, "start"), 2, "{unit}");
    }
}

#[test]
fn events_and_wait_go_on_with_the_next_daemon() {
    root_only!();
    let mut instance = Instance::start();
    instance.unit("web", &counting("web", false));
    instance.rsvc(&["start", "web"]).expect(0);
    let out = fs::File::create(instance.file("events")).expect("file");
    let mut command = instance.command();
    command.args(["events", "--present", "-o", "json", "web"]).stdin(Stdio::null()).stdout(out).stderr(Stdio::null());
    let mut events = Asking(command.spawn().expect("rsvc runs"));
    let mut waiting = Asking::begin(&instance, &["wait", "web"]);
    let file = instance.file("events");
    let heard = |word: &str| {
        let text = fs::read_to_string(&file).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(|e| e["event"] == word).count()
    };
    eventually("how it stands is told", || (heard("present") == 1).then_some(()));
    waiting.has_asked();
    instance.kill_daemon();
    instance.start_daemon();
    eventually("the gap is told, and how it stands", || (heard("lost") == 1 && heard("present") == 2).then_some(()));
    allow(&instance, "web", "leave");
    instance.rsvc(&["stop", "web"]).expect(0);
    eventually("what happens is told again", || (heard("stopped") == 1).then_some(()));
    waiting.expect(0);
    events.0.kill().expect("kill");
    events.0.wait().expect("wait");
}

#[test]
fn a_limit_of_time_counts_over_all_tries_and_no_socket_is_said_at_once() {
    root_only!();
    let mut instance = Instance::start();
    instance.unit("web", &counting("web", true));
    let asking = Asking::begin(&instance, &["start", "--timeout", "2s", "web"]);
    instance.wait_for_state("web", "activating");
    succeed(&mut instance);
    asking.expect(124);
    let mut asking = Asking::begin(&instance, &["start", "web"]);
    asking.has_asked();
    instance.kill_daemon();
    fs::remove_file(instance.file("run/io.rsvc")).expect("the socket's name");
    let said = asking.expect(150);
    assert!(said.err.contains("lost the supervisor") && said.err.contains("the socket is gone"), "{said:?}");
    let said = instance.rsvc(&["status"]).expect(150);
    assert!(said.err.contains("no socket at"), "{said:?}");
    instance.start_daemon();
    fs::write(instance.file("state/directories/state/web/leave"), "").expect("a file");
}

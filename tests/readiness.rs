//! What services say on their notify socket, what is asked of them from outside, and what watches over them: with real
//! processes. The speakers are perl programs, as perl is on every Debian.

#[macro_use]
mod instance;

use instance::{Instance, eventually, skipped};
use std::fs;
use std::path::Path;

/// What every speaker begins with: `say_so(TEXT)` sends one datagram, `wait_for(NAME)` waits for a file in the state
/// directory.
const SPEAKER: &str = r#"use Socket; $| = 1; socket(S, AF_UNIX, SOCK_DGRAM, 0) or die;
sub say_so { defined send(S, $_[0], 0, sockaddr_un($ENV{NOTIFY_SOCKET})) or die "send: $!" }
sub wait_for { select(undef, undef, undef, 0.02) until -e "$ENV{STATE_DIRECTORY}/$_[0]" }
"#;

/// A unit whose program is SPEAKER and `program`; `service` are more lines of [service], `rest` more tables.
fn speaker(instance: &Instance, name: &str, service: &str, program: &str, rest: &str) {
    instance.unit(
        name,
        &format!(
            "[service]\nexec = [\"/usr/bin/perl\", \"-e\", '''{SPEAKER}{program}''']\n{service}\n\
             [directories]\nstate = [\"{name}\"]\n{rest}\n[logging]\ntarget = \"file\"\n"
        ),
    );
}

/// Lets the program get past `wait_for(file)`.
fn signal_by_file(instance: &Instance, unit: &str, file: &str) {
    fs::write(instance.file(&format!("state/directories/state/{unit}/{file}")), "").expect("file");
}

fn alive(pid: i64) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

// ── the notify socket ──

#[test]
fn the_main_process_is_believed_and_its_children_only_where_the_unit_says_so() {
    root_and_perl!();
    let instance = Instance::start();
    let program = "if (!fork) { say_so(qq(READY=1\\nSTATUS=by a child)); exit 0 } wait; wait_for('go'); say_so('READY=1'); sleep 1000";
    for (access, state) in
        [("", "activating"), ("notify_access = \"exec\"", "activating"), ("notify_access = \"all\"", "active")]
    {
        speaker(&instance, "web", &format!("type = \"notify\"\n{access}"), program, "");
        instance.rsvc(&["start", "--no-wait", "web"]).expect(0);
        if state == "active" {
            let status = instance.wait_for_state("web", "active");
            assert_eq!(status["status_text"], "by a child");
        } else {
            eventually("it is refused", || {
                instance
                    .daemon_log()
                    .contains("one of its processes, wrote to its notify socket: not believed")
                    .then_some(())
            });
            assert_eq!(instance.status("web")["state"], "activating");
            signal_by_file(&instance, "web", "go");
            let status = instance.wait_for_state("web", "active");
            assert_eq!(status["status_text"], serde_json::Value::Null);
        }
        instance.rsvc(&["stop", "web"]).expect(0);
        let _ = fs::remove_file(instance.file("state/directories/state/web/go"));
    }
}

#[test]
fn a_start_that_waits_for_a_child_that_is_not_believed_says_so() {
    root_and_perl!();
    let instance = Instance::start();
    let program = "if (!fork) { say_so('READY=1'); exit 0 } sleep 1000";
    let service = "type = \"notify\"\ntimeout_start = \"2s\"";
    speaker(&instance, "web", service, program, "[restart]\npolicy = \"no\"");
    let said = instance.rsvc(&["start", "web"]).expect(1);
    assert!(said.err.contains("notify_access = \"all\""), "{}", said.err);
}

#[test]
fn errors_status_and_main_pid_are_shown() {
    root_and_perl!();
    let instance = Instance::start();
    let program = "my $child = fork; if (!$child) { sleep 1000 } \
                   say_so(qq(READY=1\\nSTATUS=all is well\\nERRNO=2\\nBUSERROR=org.example.Broken\\nMAINPID=$child\\nX_OWN=1\\nNEWER=1)); \
                   wait_for('go'); exit 3";
    speaker(&instance, "web", "type = \"notify\"\nsuccess_exit_status = [3]", program, "");
    instance.rsvc(&["start", "web"]).expect(0);
    let status = eventually("the other main process", || {
        let status = instance.status("web");
        (status["main_pid_inner"].as_i64().is_some_and(|pid| pid > 2)).then_some(status)
    });
    assert_eq!((&status["status_text"], &status["status_errno"]), (&"all is well".into(), &2.into()));
    assert_eq!(status["status_error"], "org.example.Broken");
    let page = instance.rsvc(&["status", "web"]).expect(0).out;
    assert!(page.contains("Error: No such file or directory (os error 2), org.example.Broken"), "{page}");
    let main = status["main_pid"].as_i64().expect("a pid");
    // The first process may go: it is not the main one any more.
    signal_by_file(&instance, "web", "go");
    eventually("the first process is gone", || {
        let status = instance.status("web");
        let left = status["processes"].as_array().map_or(0, Vec::len);
        (left == 2).then_some(())
    });
    assert_eq!(instance.status("web")["state"], "active");
    let pid = rustix::process::Pid::from_raw(i32::try_from(main).expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
    eventually("its end is the service's", || {
        let status = instance.status("web");
        (status["exit_signal"] == "SIGKILL").then_some(())
    });
}

#[test]
fn a_strange_main_pid_is_not_believed() {
    root_and_perl!();
    let instance = Instance::start();
    speaker(
        &instance,
        "web",
        "type = \"notify\"",
        "say_so(qq(READY=1\\nMAINPID=1)); say_so('MAINPID=77777'); sleep 1000",
        "",
    );
    instance.rsvc(&["start", "web"]).expect(0);
    eventually("both are refused", || {
        let log = instance.daemon_log();
        (log.contains("MAINPID=1 names the container's own init") && log.contains("MAINPID=77777 names no process"))
            .then_some(())
    });
    assert_eq!(instance.status("web")["main_pid_inner"], 2);
}

#[test]
fn nonsense_on_the_notify_socket_harms_nothing_and_does_not_fill_the_log() {
    root_and_perl!();
    let instance = Instance::start();
    let program = "for (1..300) { say_so('x' x 5000); say_so(qq(READY=1\\0\\n)); say_so('hello'); say_so(qq(\\xff\\xfe=\\n=\\n)); \
                   say_so('MAINPID=-1'); say_so('WATCHDOG_USEC=never'); say_so('') } say_so('FDSTORE=1'); say_so('READY=1'); sleep 1000";
    speaker(&instance, "web", "type = \"notify\"", program, "");
    instance.rsvc(&["start", "web"]).expect(0);
    let log = instance.daemon_log();
    let lines = log.matches("is not acted on").count();
    assert!((1..=20).contains(&lines), "{lines} lines: {log}");
    assert!(log.contains("more like this is left out"), "{log}");
}

#[test]
fn a_barrier_opens_when_all_before_it_was_heard() {
    root_and_perl!();
    if !Path::new("/usr/bin/systemd-notify").exists() {
        return skipped("needs systemd-notify");
    }
    let instance = Instance::start();
    instance.unit(
        "web",
        r#"
[service]
type = "notify"
notify_access = "all"
exec = ["/bin/sh", "-c", "for n in 1 2 3 4 5 6 7 8 9; do systemd-notify --status=$n; done; systemd-notify --ready; echo told; exec sleep 1000"]
"#,
    );
    // systemd-notify ends with a barrier: a descriptor that nobody closed would hold each of them for five seconds.
    instance.rsvc(&["start", "web"]).expect(0);
    instance.wait_for_log("web", "told");
    assert_eq!(instance.status("web")["status_text"], "9");
    assert!(!instance.daemon_log().contains("BARRIER"), "{}", instance.daemon_log());
    let open = fs::read_dir(format!("/proc/{}/fd", instance.daemon_pid())).expect("fd").count();
    for _ in 0..3 {
        instance.rsvc(&["restart", "web"]).expect(0);
        instance.wait_for_state("web", "active");
    }
    let after = fs::read_dir(format!("/proc/{}/fd", instance.daemon_pid())).expect("fd").count();
    assert!(after <= open + 3, "descriptors of barriers stay open: {open}, then {after}");
}

#[test]
fn a_service_asks_for_more_time_to_start_and_gets_it() {
    root_and_perl!();
    let instance = Instance::start();
    let program =
        "say_so('EXTEND_TIMEOUT_USEC=100000000'); print qq(asked\\n); wait_for('go'); say_so('READY=1'); sleep 1000";
    speaker(&instance, "web", "type = \"notify\"\ntimeout_start = \"3s\"", program, "");
    instance.rsvc(&["start", "--no-wait", "web"]).expect(0);
    instance.wait_for_log("web", "asked");
    // Longer than the unit allows.
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert_eq!(instance.status("web")["state"], "activating");
    signal_by_file(&instance, "web", "go");
    instance.wait_for_state("web", "active");
}

// ── notify-reload ──

#[test]
fn a_reload_of_notify_reload_waits_for_the_answer() {
    root_and_perl!();
    let instance = Instance::start();
    let program = "use Time::HiRes; my $n = 0; $SIG{HUP} = sub { $n++; \
                   my $t = int(Time::HiRes::clock_gettime(Time::HiRes::CLOCK_MONOTONIC()) * 1000000); \
                   say_so(qq(RELOADING=1\\nMONOTONIC_USEC=$t)); print qq(reloading\\n); wait_for(qq(go$n)); \
                   say_so(qq(READY=1\\nSTATUS=reload $n)) }; say_so('READY=1'); sleep 1 while 1";
    speaker(&instance, "web", "type = \"notify-reload\"", program, "");
    instance.rsvc(&["start", "web"]).expect(0);
    let reload = instance.command().args(["reload", "web"]).spawn().expect("rsvc");
    instance.wait_for_log("web", "reloading");
    let status = instance.wait_for_state("web", "reloading");
    assert_eq!(status["substate"], "reload-notify");
    signal_by_file(&instance, "web", "go1");
    assert_eq!(reload.wait_with_output().expect("rsvc").status.code(), Some(0));
    let status = instance.status("web");
    assert_eq!((&status["state"], &status["status_text"]), (&"active".into(), &"reload 1".into()));
}

#[test]
fn a_reload_that_is_not_answered_fails_and_the_service_runs_on() {
    root_and_perl!();
    let instance = Instance::start();
    let program = "$SIG{HUP} = sub { say_so(qq(RELOADING=1)); say_so('READY=1') }; say_so('READY=1'); sleep 1 while 1";
    speaker(&instance, "web", "type = \"notify-reload\"\ntimeout_start = \"2s\"", program, "");
    instance.rsvc(&["start", "web"]).expect(0);
    let said = instance.rsvc(&["reload", "web"]).expect(1);
    assert!(said.err.contains("MONOTONIC_USEC"), "{}", said.err);
    assert_eq!(instance.status("web")["state"], "active");
    assert!(instance.daemon_log().contains("RELOADING=1 came without MONOTONIC_USEC="), "{}", instance.daemon_log());
}

// ── watchdog and runtime_max ──

#[test]
fn the_watchdog_finds_a_service_that_hangs_and_it_is_started_again() {
    root_and_perl!();
    let instance = Instance::start();
    let program = "print qq($ENV{WATCHDOG_USEC} $ENV{WATCHDOG_PID} $$\\n); \
                   until (-e qq($ENV{STATE_DIRECTORY}/hang)) { say_so('WATCHDOG=1'); select(undef, undef, undef, 0.1) } sleep 1000";
    speaker(&instance, "web", "watchdog = \"3s\"", program, "[restart]\ndelay = \"0\"");
    instance.rsvc(&["start", "web"]).expect(0);
    instance.wait_for_log("web", "3000000 2 2");
    let status = instance.status("web");
    assert_eq!((&status["watchdog_usec"], &status["restarts"]), (&3_000_000.into(), &0.into()));
    assert!(instance.rsvc(&["status", "web"]).expect(0).out.contains("Watchdog: every 3s"));
    let first = status["main_pid"].as_i64().expect("a pid");
    signal_by_file(&instance, "web", "hang");
    let status = eventually("a restart", || {
        let status = instance.status("web");
        (status["restarts"].as_u64() > Some(0)).then_some(status)
    });
    assert!(status["cause"].as_str().is_some_and(|cause| cause.contains("no WATCHDOG=1 came for 3s")), "{status:#}");
    assert_eq!(status["exit_signal"], "SIGABRT");
    assert!(!alive(first));
}

#[test]
fn a_watched_service_survives_the_daemon_and_is_still_watched() {
    root_and_perl!();
    let mut instance = Instance::start();
    let program = "say_so('WATCHDOG_USEC=5000000'); print qq(up\\n); \
                   until (-e qq($ENV{STATE_DIRECTORY}/hang)) { send(S, 'WATCHDOG=1', MSG_DONTWAIT, sockaddr_un($ENV{NOTIFY_SOCKET})); \
                   select(undef, undef, undef, 0.1) } sleep 1000";
    speaker(&instance, "web", "watchdog = \"1h\"", program, "[restart]\npolicy = \"no\"");
    instance.rsvc(&["start", "web"]).expect(0);
    eventually("its own interval", || (instance.status("web")["watchdog_usec"] == 5_000_000).then_some(()));
    let main = instance.status("web")["main_pid"].clone();
    instance.kill_daemon();
    instance.start_daemon();
    let status = instance.status("web");
    assert_eq!((&status["main_pid"], &status["watchdog_usec"]), (&main, &5_000_000.into()), "{status:#}");
    signal_by_file(&instance, "web", "hang");
    let status = instance.wait_for_state("web", "failed");
    assert_eq!(status["result"], "watchdog");
}

#[test]
fn a_service_is_ended_when_its_time_is_over() {
    root_and_perl!();
    let instance = Instance::start();
    let text = "[service]\nexec = [\"/bin/sleep\", \"1000\"]\nruntime_max = \"1s\"\n[restart]\npolicy = \"no\"\n";
    instance.unit("web", text);
    instance.rsvc(&["start", "web"]).expect(0);
    let status = instance.wait_for_state("web", "failed");
    assert_eq!(status["result"], "timeout");
    assert!(status["cause"].as_str().is_some_and(|cause| cause.contains("service.runtime_max")), "{status:#}");
}

// ── [ready] ──

#[test]
fn a_path_and_a_command_make_a_service_ready() {
    root_and_perl!();
    let instance = Instance::start();
    let program =
        "wait_for('go'); mkdir '/tmp/there'; print qq(there\\n); wait_for('more'); mkdir '/tmp/well'; sleep 1000";
    let ready = "[ready]\npath = \"/tmp/there\"\ncommand = [\"/usr/bin/test\", \"-d\", \"/tmp/well\"]";
    speaker(&instance, "web", "", program, ready);
    instance.rsvc(&["start", "--no-wait", "web"]).expect(0);
    let status = instance.wait_for_state("web", "activating");
    assert_eq!(status["ready"], "checks");
    assert!(!Path::new("/tmp/there").exists(), "it is the service's /tmp");
    signal_by_file(&instance, "web", "go");
    instance.wait_for_log("web", "there");
    assert_eq!(instance.status("web")["state"], "activating", "the command still fails");
    signal_by_file(&instance, "web", "more");
    instance.wait_for_state("web", "active");
    let left = instance.status("web")["processes"].as_array().map_or(0, Vec::len);
    assert_eq!(left, 2, "nothing of the command stays");
}

#[test]
fn a_service_that_does_not_become_ready_in_time_fails_with_the_reason() {
    root_and_perl!();
    let instance = Instance::start();
    let start = "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n[restart]\npolicy = \"no\"\n[ready]\ntimeout = \"1s\"\n";
    instance.unit("command", &format!("{start}command = [\"/bin/sh\", \"-c\", \"exit 7\"]\n"));
    let said = instance.rsvc(&["start", "command"]).expect(1);
    assert!(said.err.contains("ready.command exited with status 7"), "{}", said.err);
    instance.unit("path", &format!("{start}path = \"/nonexistent/file\"\n"));
    let said = instance.rsvc(&["start", "path"]).expect(1);
    assert!(said.err.contains("[ready]"), "{}", said.err);
    // A command that hangs is ended with the start.
    instance.unit("hangs", &format!("{start}command = [\"/bin/sh\", \"-c\", \"sleep 1001 & sleep 1002\"]\n"));
    instance.rsvc(&["start", "hangs"]).expect(1);
    let status = instance.status("hangs");
    assert_eq!((&status["state"], &status["result"]), (&"failed".into(), &"timeout".into()));
}

#[test]
fn a_forking_service_may_be_looked_at_too() {
    root_and_perl!();
    let instance = Instance::start();
    instance.unit(
        "fork",
        r#"
[service]
type = "forking"
pid_file = "/run/fork/pid"
exec = ["/bin/sh", "-c", "(sleep 1; mkdir /tmp/up; exec sleep 1000) & echo $! > /run/fork/pid"]
[directories]
runtime = ["fork"]
[ready]
path = "/tmp/up"
"#,
    );
    instance.rsvc(&["start", "fork"]).expect(0);
    let main = instance.status("fork")["main_pid"].as_i64().expect("a pid");
    assert!(Path::new(&format!("/proc/{main}/root/tmp/up")).exists(), "started when the path was there");
}

// ── [health] ──

#[test]
fn an_unhealthy_service_is_shown_and_started_again() {
    root_and_perl!();
    let instance = Instance::start();
    let health = "[health]\ncommand = [\"/bin/sh\", \"-c\", \"test ! -e $STATE_DIRECTORY/ill\"]\ninterval = \"200ms\"\nretries = 2\n\
                  [restart]\npolicy = \"no\"\n";
    speaker(&instance, "web", "", "$SIG{TERM} = sub { print qq(in good order\\n); exit 0 }; sleep 1 while 1", health);
    instance.rsvc(&["start", "web"]).expect(0);
    instance.rsvc(&["wait", "web", "--for", "healthy"]).expect(0);
    assert!(instance.rsvc(&["status", "web"]).expect(0).out.contains("Health: healthy"));
    instance.unit("other", "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n");
    instance.rsvc(&["start", "other"]).expect(0);
    let said = instance.rsvc(&["wait", "other", "--for", "healthy"]).expect(2);
    assert!(said.err.contains("has no [health]"), "{}", said.err);
    signal_by_file(&instance, "web", "ill");
    let status = eventually("a restart", || {
        let status = instance.status("web");
        (status["restarts"].as_u64() > Some(0)).then_some(status)
    });
    assert!(status["cause"].as_str().is_some_and(|cause| cause.contains("unhealthy, 2 checks in a row")), "{status:#}");
    instance.wait_for_log("web", "in good order");
    fs::remove_file(instance.file("state/directories/state/web/ill")).expect("remove");
    eventually("well again", || (instance.status("web")["health"] == "healthy").then_some(()));
}

#[test]
fn health_by_sockets_with_action_log_leaves_the_service_alone() {
    root_and_perl!();
    let instance = Instance::start();
    let program = "socket(L, AF_UNIX, SOCK_STREAM, 0); bind(L, sockaddr_un('/tmp/listen')); listen(L, 5); \
                   wait_for('deaf'); close L; sleep 1000";
    let health = "[health]\nlisten = [\"unix:/tmp/listen\"]\ninterval = \"200ms\"\nretries = 1\naction = \"log\"";
    speaker(&instance, "web", "", program, &format!("{health}\n[ready]\nlisten = [\"unix:/tmp/listen\"]"));
    instance.rsvc(&["start", "web"]).expect(0);
    eventually("it is well", || (instance.status("web")["health"] == "healthy").then_some(()));
    signal_by_file(&instance, "web", "deaf");
    let status = eventually("it is ill", || {
        let status = instance.status("web");
        (status["health"] == "unhealthy").then_some(status)
    });
    assert_eq!((&status["state"], &status["restarts"]), (&"active".into(), &0.into()));
    let why = status["health_cause"].as_str().unwrap_or_default();
    assert_eq!(why, "no process of the unit listens on unix:/tmp/listen");
    assert!(instance.daemon_log().contains("unhealthy: no process of the unit listens"), "{}", instance.daemon_log());
}

#[test]
fn a_check_that_hangs_is_ended_with_what_it_started() {
    root_and_perl!();
    let instance = Instance::start();
    let text = "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n\
                [health]\ncommand = [\"/bin/sh\", \"-c\", \"sleep 1001 & sleep 1002\"]\n\
                interval = \"100ms\"\ntimeout = \"300ms\"\nretries = 3\nstart_period = \"0\"\naction = \"stop\"\n";
    instance.unit("web", text);
    instance.rsvc(&["start", "web"]).expect(0);
    let status = instance.wait_for_state("web", "failed");
    assert_eq!(status["result"], "watchdog");
    assert!(status["cause"].as_str().is_some_and(|cause| cause.contains("no answer within 300ms")), "{status:#}");
}

// ── stop ──

#[test]
fn a_stop_that_takes_its_time_says_what_holds_it_up() {
    root_and_perl!();
    let instance = Instance::start();
    let program = "$SIG{TERM} = 'IGNORE'; print qq(up\\n); wait_for('go'); exit 0";
    speaker(&instance, "web", "timeout_stop = \"1h\"", program, "");
    instance.rsvc(&["start", "web"]).expect(0);
    instance.wait_for_log("web", "up");
    let said = instance.rsvc(&["stop", "--timeout", "500ms", "web"]).expect(124);
    for part in ["SIGTERM was sent", "killed in 59 min", "perl"] {
        assert!(said.err.contains(part), "`{part}` in: {}", said.err);
    }
    let status = instance.status("web");
    assert_eq!(status["stop"]["step"], "SIGTERM was sent");
    assert!(status["stop"]["remaining_usec"].as_u64() > Some(3_500_000_000), "{status:#}");
    assert!(instance.rsvc(&["status", "web"]).out.contains("Stopping: SIGTERM was sent"));
    signal_by_file(&instance, "web", "go");
    instance.wait_for_state("web", "inactive");
}

#[test]
fn a_service_that_stops_by_its_own_word_has_timeout_stop() {
    root_and_perl!();
    let instance = Instance::start();
    let program = "say_so('READY=1'); say_so(qq(STOPPING=1\\nSTATUS=leaving)); sleep 1000";
    let service = "type = \"notify\"\ntimeout_stop = \"1s\"";
    speaker(&instance, "web", service, program, "[restart]\npolicy = \"no\"");
    instance.rsvc(&["start", "web"]).expect(0);
    let status = instance.wait_for_state("web", "failed");
    assert_eq!((&status["result"], &status["exit_signal"]), (&"timeout".into(), &"SIGKILL".into()));
}

#[test]
fn descriptors_that_come_along_are_closed_whoever_sends_them() {
    use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
    use std::io::{IoSlice, Read};
    use std::os::fd::AsRawFd;
    root_and_perl!();
    let instance = Instance::start();
    speaker(&instance, "web", "type = \"notify\"", "say_so('READY=1'); sleep 1000", "");
    instance.rsvc(&["start", "web"]).expect(0);
    let (mut reader, writer) = std::io::pipe().expect("pipe");
    let socket = std::os::unix::net::UnixDatagram::unbound().expect("socket");
    let address = UnixAddr::new(&instance.file("run/io/web/notify")).expect("address");
    for (payload, count) in [("BARRIER=1", 253), ("FDSTORE=1\nFDNAME=a:b", 7), ("READY=1", 1), ("", 2)] {
        let copies = vec![writer.as_raw_fd(); count];
        let rights = [ControlMessage::ScmRights(&copies)];
        let payload = [IoSlice::new(payload.as_bytes())];
        sendmsg(socket.as_raw_fd(), &payload, &rights, MsgFlags::empty(), Some(&address)).expect("send");
    }
    drop(writer);
    // End of file comes when the daemon has closed them all.
    assert_eq!(reader.read(&mut [0; 1]).expect("read"), 0);
    assert_eq!(instance.status("web")["state"], "active");
}

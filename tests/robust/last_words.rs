//! What services say while no daemon runs, and do not live to say again.

use crate::instance::process::Process;
use crate::instance::{Instance, eventually, skipped};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::os::unix::net::UnixDatagram;

/// `say_so(TEXT, SOCKET)` sends one datagram, to the notify socket if none is named; `wait_for(NAME)` waits for a file in
/// the state directory.
const SPEAKER: &str = r#"use Socket; $| = 1; socket(S, AF_UNIX, SOCK_DGRAM, 0) or die;
sub say_so { defined send(S, $_[0], 0, sockaddr_un($_[1] // $ENV{NOTIFY_SOCKET})) or die "send: $!" }
sub wait_for { select(undef, undef, undef, 0.02) until -e "$ENV{STATE_DIRECTORY}/$_[0]" }
"#;

/// A unit whose program is SPEAKER and `program`; `service` are more lines of `[service]`, `rest` more tables.
fn speaker(instance: &Instance, name: &str, service: &str, program: &str, rest: &str) {
    let text = format!(
        "[service]\nexec = [\"/usr/bin/perl\", \"-e\", '''{SPEAKER}{program}''']\n{service}\n\
         [directories]\nstate = [\"{name}\"]\n{rest}\n"
    );
    instance.unit(name, &text);
}

fn signal_by_file(instance: &Instance, unit: &str, file: &str) {
    fs::write(instance.file(&format!("state/directories/state/{unit}/{file}")), "").expect("file");
}

/// Waits until the program runs, kills the daemon, lets the program go on and waits until nothing is left of it.
fn end_without_daemon(instance: &mut Instance, units: &[&str]) {
    let before: Vec<Process> = units
        .iter()
        .flat_map(|unit| {
            instance.wait_for_log(unit, "begun");
            Process::all(&instance.status(unit))
        })
        .collect();
    instance.kill_daemon();
    units.iter().for_each(|unit| signal_by_file(instance, unit, "go"));
    eventually("all of them end", || before.iter().all(|process| !process.is_alive()).then_some(()));
}

/// The keeper of the instance.
fn keeper(instance: &Instance) -> Option<Process> {
    let saved: Value = serde_json::from_slice(&fs::read(instance.file("run/keeper")).ok()?).ok()?;
    Process::with_pid(i32::try_from(saved["keeper"]["pid"].as_i64()?).ok()?)
}

/// Descriptors that it has open.
fn kept(instance: &Instance) -> usize {
    let keeper = keeper(instance).expect("a keeper");
    fs::read_dir(format!("/proc/{}/fd", keeper.pid)).expect("it runs").count()
}

const ONCE: &str = "[restart]\npolicy = \"no\"";
const INITLESS: &str = "[restart]\npolicy = \"no\"\n[namespaces]\ninit = false";

#[test]
fn a_service_that_became_ready_and_ended_between_two_daemons_did_not_fail_to_start() {
    root_and_perl!();
    let mut instance = Instance::start();
    let says =
        |end: &str| format!("print qq(begun\\n); wait_for('go'); say_so(qq(READY=1\\nSTATUS=done\\nERRNO=5)); {end}");
    speaker(&instance, "plain", "type = \"notify\"", &says("exit 0"), ONCE);
    speaker(&instance, "initless", "type = \"notify\"", &says("exit 0"), INITLESS);
    speaker(&instance, "failing", "type = \"notify\"", &says("exit 3"), ONCE);
    let silent = "print qq(begun\\n); wait_for('go'); exit 0";
    speaker(&instance, "silent", "type = \"notify\"", silent, ONCE);
    let units = ["plain", "initless", "failing", "silent"];
    units.iter().for_each(|unit| drop(instance.rsvc(&["start", "--no-wait", unit]).expect(0)));
    end_without_daemon(&mut instance, &units);
    instance.start_daemon();
    if !instance.daemon_log().contains("initless: its main process ended: no record") {
        let status = instance.wait_for_state("initless", "inactive");
        assert_eq!(status["result"], "success", "{status:#}");
    }
    let status = instance.wait_for_state("plain", "inactive");
    assert_eq!((&status["result"], &status["restarts"]), (&"success".into(), &0.into()), "{status:#}");
    let status = instance.wait_for_state("failing", "failed");
    assert_eq!((&status["result"], &status["exit_code"]), (&"exit-code".into(), &3.into()), "{status:#}");
    assert_eq!((&status["status_text"], &status["status_errno"]), (&"done".into(), &5.into()), "{status:#}");
    let status = instance.wait_for_state("silent", "failed");
    assert_eq!(status["result"], "protocol", "{status:#}");
}

#[test]
fn what_was_stored_before_the_end_is_there_in_the_next_run() {
    root_and_perl!();
    let mut instance = Instance::start();
    // sendmsg(2) by hand, as in tests/fdstore.rs.
    let program = r#"
sub give { my ($text, $fd) = @_; connect(S, sockaddr_un($ENV{NOTIFY_SOCKET})) or die;
  my $part = pack("PQ", $text, length $text); my $control = pack("QllLx4", 20, 1, 1, $fd);
  my $header = pack("QQPQPQlx4", 0, 0, $part, 1, $control, length $control, 0);
  syscall(46, fileno S, $header, 0x4000) >= 0 or die "sendmsg: $!" }
print "begun with ", $ENV{LISTEN_FDNAMES} // "none", "\n"; wait_for("go");
exit 0 if $ENV{LISTEN_FDS};
open(my $f, "<", "/etc/passwd") or die; give("FDSTORE=1\nFDNAME=late", fileno $f); exit 1"#;
    if std::env::consts::ARCH != "x86_64" {
        return skipped("the number of sendmsg(2) is that of x86_64");
    }
    speaker(&instance, "web", "file_descriptor_store_max = 4", program, "[restart]\ndelay = \"0\"");
    instance.rsvc(&["start", "web"]).expect(0);
    end_without_daemon(&mut instance, &["web"]);
    instance.start_daemon();
    instance.wait_for_log("web", "begun with late");
}

#[test]
fn whoever_may_not_speak_for_a_service_may_not_after_its_end_either() {
    root_and_perl!();
    let mut instance = Instance::start();
    // Its number stays its own until it is reaped, and nobody is to be asked about it then.
    let child = "print qq(begun\\n); wait_for('go'); if (!fork) { say_so(qq(READY=1\\nSTATUS=by a child)); exit 0 } wait; exit 0";
    speaker(&instance, "child", "type = \"notify\"", child, ONCE);
    speaker(&instance, "all", "type = \"notify\"\nnotify_access = \"all\"", child, ONCE);
    let silent = "print qq(begun\\n); wait_for('go'); exit 0";
    speaker(&instance, "stranger", "type = \"notify\"\nnotify_access = \"all\"", silent, ONCE);
    let units = ["child", "all", "stranger"];
    units.iter().for_each(|unit| drop(instance.rsvc(&["start", "--no-wait", unit]).expect(0)));
    end_without_daemon(&mut instance, &units);
    let outside = UnixDatagram::unbound().expect("socket");
    outside.send_to(b"READY=1", instance.file("run/io/stranger/notify")).expect("send");
    instance.start_daemon();
    assert_eq!(instance.wait_for_state("all", "inactive")["result"], "success");
    for unit in ["child", "stranger"] {
        assert_eq!(instance.wait_for_state(unit, "failed")["result"], "protocol", "{unit}");
    }
    let log = instance.daemon_log();
    assert!(log.contains("which does not belong to it, wrote to its notify socket"), "{log}");
    assert!(log.contains("one of its processes, wrote to its notify socket"), "{log}");
}

#[test]
fn messages_of_syslog_wait_for_the_next_daemon_and_outlive_their_service() {
    root_and_perl!();
    let mut instance = Instance::start();
    let program = "print qq(begun\\n); wait_for('go'); say_so('<13>Nov 30 10:00:00 perl[2]: last words', '/dev/log'); ";
    speaker(&instance, "dying", "", &format!("{program} exit 0"), ONCE);
    let more = "open(my $f, '>', qq($ENV{STATE_DIRECTORY}/said)); wait_for('more'); \
                say_so('<13>Nov 30 10:00:00 perl[2]: more words', '/dev/log'); sleep 1000";
    speaker(&instance, "living", "", &format!("{program} {more}"), ONCE);
    speaker(&instance, "initless", "", &format!("{program} exit 0"), INITLESS);
    for unit in ["dying", "living", "initless"] {
        instance.rsvc(&["start", unit]).expect(0);
    }
    instance.wait_for_log("living", "begun");
    if instance.rsvc(&["plan", "living"]).out.contains("/run/systemd/journal/dev-log") {
        return skipped("/dev/log is the journal's here");
    }
    let living = instance.main_process("living");
    end_without_daemon(&mut instance, &["dying", "initless"]);
    signal_by_file(&instance, "living", "go");
    eventually("it has spoken", || instance.file("state/directories/state/living/said").exists().then_some(()));
    instance.start_daemon();
    for unit in ["dying", "living", "initless"] {
        instance.wait_for_log(unit, "last words");
    }
    assert!(living.is_alive());
    signal_by_file(&instance, "living", "more");
    let log = instance.wait_for_log("living", "more words");
    assert_eq!(log.matches("last words").count(), 1, "{log}");
}

#[test]
fn who_logs_after_the_daemon_was_told_to_end_does_not_wait_for_the_next_one() {
    root_and_perl!();
    let mut instance = Instance::start();
    let program = "sub note { my $to = sockaddr_un('/dev/log'); defined send(S, qq(<13>Nov 30 10:00:00 perl[2]: $_[0]), 0, $to) }
        print qq(begun\\n); wait_for('go');
        my $said = grep { note(qq(lost $_)) } 1 .. 2000; open(my $f, '>', qq($ENV{STATE_DIRECTORY}/said)); print $f $said; close $f;
        wait_for('more'); note('found again'); sleep 1000";
    speaker(&instance, "web", "", program, ONCE);
    instance.rsvc(&["start", "web"]).expect(0);
    instance.wait_for_log("web", "begun");
    if instance.rsvc(&["plan", "web"]).out.contains("/run/systemd/journal/dev-log") {
        return skipped("/dev/log is the journal's here");
    }
    assert!(instance.end_daemon().success());
    signal_by_file(&instance, "web", "go");
    let said = instance.file("state/directories/state/web/said");
    let said = eventually("it goes on", || fs::read_to_string(&said).ok().filter(|said| !said.is_empty()));
    assert_eq!(said, "0", "refused");
    instance.start_daemon();
    // It answers when it has taken everything over.
    assert_eq!(instance.status("web")["state"], "active");
    signal_by_file(&instance, "web", "more");
    instance.wait_for_log("web", "found again");
}

#[test]
fn the_keeper_has_the_sockets_of_what_is_up_and_a_new_keeper_has_the_same() {
    root_and_perl!();
    let mut instance = Instance::start();
    let program = "say_so('READY=1'); print qq(begun\\n); wait_for('go'); say_so('STATUS=late'); exit 7";
    speaker(&instance, "web", "type = \"notify\"", program, ONCE);
    speaker(
        &instance,
        "mute",
        "notify_access = \"none\"",
        "print qq(begun\\n); sleep 1000",
        "[logging]\nsyslog_socket = false\ntarget = \"file\"",
    );
    let before = kept(&instance);
    instance.rsvc(&["start", "mute"]).expect(0);
    eventually("the pipe of its output", || (kept(&instance) == before + 1).then_some(()));
    for _ in 0..3 {
        instance.rsvc(&["start", "web"]).expect(0);
        let most = kept(&instance);
        assert!((before + 3..=before + 4).contains(&most), "pipe, notify and syslog socket: {before}, then {most}");
        instance.rsvc(&["restart", "web"]).expect(0);
        eventually("no more by a restart", || (kept(&instance) == most).then_some(()));
        instance.rsvc(&["stop", "web"]).expect(0);
        eventually("none of it is kept", || (kept(&instance) == before + 1).then_some(()));
    }
    instance.rsvc(&["start", "web"]).expect(0);
    let most = kept(&instance);
    let first = keeper(&instance).expect("a keeper");
    first.signal(Signal::KILL);
    eventually("another one", || keeper(&instance).filter(|keeper| *keeper != first));
    eventually("with all of it", || (kept(&instance) == most).then_some(()));
    let _ = fs::remove_file(instance.file("state/log/web.log"));
    instance.rsvc(&["restart", "web"]).expect(0);
    end_without_daemon(&mut instance, &["web"]);
    instance.start_daemon();
    let status = instance.wait_for_state("web", "failed");
    assert_eq!((&status["exit_code"], &status["status_text"]), (&7.into(), &"late".into()), "{status:#}");
    assert_eq!(instance.status("mute")["state"], "active");
}

#[test]
fn a_unit_that_is_changed_while_no_daemon_runs_is_judged_by_what_it_says_now_and_never_waits() {
    root_and_perl!();
    let mut instance = Instance::start();
    // More than a socket holds that nobody reads.
    let program = "print qq(begun\\n); say_so('READY=1'); wait_for('go'); say_so('STATUS=unheard') for 1 .. 2000; \
                   print qq(said\\n); wait_for('more'); say_so('STATUS=heard'); sleep 1000";
    speaker(&instance, "web", "type = \"notify\"", program, ONCE);
    instance.rsvc(&["start", "web"]).expect(0);
    instance.kill_daemon();
    speaker(&instance, "web", "notify_access = \"none\"", program, ONCE);
    instance.start_daemon();
    signal_by_file(&instance, "web", "go");
    instance.wait_for_log("web", "said");
    let status = instance.wait_for_state("web", "active");
    assert_eq!(status["status_text"], Value::Null, "{status:#}");
    assert!(instance.daemon_log().contains("service.notify_access is \"none\""), "{}", instance.daemon_log());
    instance.kill_daemon();
    speaker(&instance, "web", "type = \"notify\"", program, ONCE);
    instance.start_daemon();
    signal_by_file(&instance, "web", "more");
    eventually("it is heard", || (instance.status("web")["status_text"] == "heard").then_some(()));
}

#[test]
fn an_instance_whose_daemon_kept_no_sockets_is_taken_over_as_ever() {
    root_and_perl!();
    let mut instance = Instance::start();
    let program = "print qq(begun\\n); wait_for('go'); say_so('READY=1'); open(my $f, '>', qq($ENV{STATE_DIRECTORY}/said)); \
                   wait_for('more'); say_so('STATUS=late'); exit 7";
    speaker(&instance, "web", "type = \"notify\"", program, ONCE);
    instance.rsvc(&["start", "--no-wait", "web"]).expect(0);
    instance.wait_for_log("web", "begun");
    instance.kill_daemon();
    // What an earlier daemon did not have can be had no sooner than with a keeper that is gone: the init has the socket.
    let first = keeper(&instance).expect("a keeper");
    first.signal(Signal::KILL);
    eventually("it is gone", || (!first.is_alive()).then_some(()));
    signal_by_file(&instance, "web", "go");
    eventually("it has spoken", || instance.file("state/directories/state/web/said").exists().then_some(()));
    instance.start_daemon();
    instance.wait_for_state("web", "active");
    let all = Process::all(&instance.status("web"));
    instance.kill_daemon();
    signal_by_file(&instance, "web", "more");
    eventually("all of it ends", || all.iter().all(|process| !process.is_alive()).then_some(()));
    instance.start_daemon();
    let status = instance.wait_for_state("web", "failed");
    assert_eq!((&status["exit_code"], &status["status_text"]), (&7.into(), &"late".into()), "{status:#}");
}

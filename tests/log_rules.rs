//! `logging.level_max`, the rate limit and fields, seen from outside: in files and in a real journal, over the end of a
//! run and of the daemon.

mod instance;

use instance::journald::Journalled;
use instance::{Instance, eventually, is_root, skipped};
use rustix::process::Signal;
use std::path::Path;

/// A unit that runs `script` once.
fn once(script: &str, logging: &str) -> String {
    format!(
        "[service]\ntype = \"oneshot\"\nexec = [\"/bin/sh\", \"-c\", '''{script}''']\n[restart]\npolicy = \"no\"\n\
         [logging]\n{logging}\n"
    )
}

/// A unit that prints what `on_signal` says at each SIGUSR1.
fn on_signal(begin: &str, signal: &str, logging: &str) -> String {
    format!(
        "[service]\nexec = [\"/bin/sh\", \"-c\", '''trap \"{signal}\" USR1; {begin}; while :; do sleep 0.05; done''']\n\
         [logging]\n{logging}\n"
    )
}

/// Lines of a log file without their times.
fn lines(log: &str) -> Vec<&str> {
    log.lines().map(|line| line.split_once(' ').map_or(line, |(_, text)| text)).collect()
}

/// The N of `N messages suppressed`.
fn suppressed(lines: &[&str]) -> Vec<u64> {
    let number = |line: &&str| {
        line.strip_prefix("rsvc: ")?.split_once(" messages suppressed").and_then(|(count, _)| count.parse().ok())
    };
    lines.iter().filter_map(number).collect()
}

#[test]
fn a_flood_is_cut_at_the_burst_and_the_log_and_status_say_how_much_is_missing() {
    if !is_root() {
        return skipped("needs root");
    }
    let instance = Instance::start();
    let script =
        "i=0; while [ $i -lt 500 ]; do i=$((i+1)); echo line $i; done; echo \"<3>an error\"; echo \"<0>false alarm\"";
    // The window is longer than the test.
    let limits = "target = \"file\"\nrate_limit_burst = 20\nrate_limit_interval = \"1h\"";
    instance.unit_as_is("flood", &once(script, limits));
    instance.rsvc(&["start", "flood"]).expect(0);
    let log = instance.wait_for_log("flood", "messages suppressed");
    let lines = lines(&log);
    assert_eq!(lines[..20], (1..=20).map(|n| format!("line {n}")).collect::<Vec<_>>());
    assert_eq!(lines[20..22], ["<3>an error", "<0>false alarm"], "urgent ones are counted apart");
    assert_eq!(suppressed(&lines), [480], "{log}");
    assert_eq!(lines.len(), 23, "{log}");
    let status = instance.status("flood");
    assert_eq!(status["log"]["suppressed"], 480);
    let page = instance.rsvc(&["status", "flood"]);
    assert!(page.out.contains("suppressed messages 480"), "{page:?}");
    // A new start counts anew.
    instance.rsvc(&["start", "flood"]).expect(0);
    assert_eq!(instance.status("flood")["log"]["suppressed"], 480);
}

#[test]
fn a_window_that_is_over_is_told_though_the_service_says_nothing_more() {
    if !is_root() {
        return skipped("needs root");
    }
    let instance = Instance::start();
    let limits = "target = \"file\"\nrate_limit_burst = 1\nrate_limit_interval = \"200ms\"";
    instance.unit_as_is("web", &on_signal("echo one; echo two; echo three", "echo four", limits));
    instance.rsvc(&["start", "web"]).expect(0);
    let log = instance.wait_for_log("web", "messages suppressed");
    // How the three lines fell into windows is the clock's; together they are all there.
    let passed = lines(&log).iter().filter(|line| ["one", "two", "three"].contains(line)).count() as u64;
    assert_eq!(passed + suppressed(&lines(&log)).iter().sum::<u64>(), 3, "{log}");
    instance.main_process("web").signal(Signal::USR1);
    instance.wait_for_log("web", "four");
}

#[test]
fn hostile_output_under_a_limit_is_stored_as_it_is_or_counted() {
    if !is_root() {
        return skipped("needs root");
    }
    let instance = Instance::start();
    let script = r#"printf "zero\\000byte\n\033[2Jcleared\n<999>odd\n<0>forged\nPRIORITY=0\n_SYSTEMD_UNIT=x\n"
        head -c 10000000 /dev/zero | tr "\\000" x; echo; printf "<7>quiet\nlast\n""#;
    let limits = "target = \"file\"\nrate_limit_burst = 10\nrate_limit_interval = \"1h\"\nlevel_max = \"info\"";
    instance.unit_as_is("rude", &once(script, limits));
    instance.rsvc(&["start", "rude"]).expect(0);
    instance.wait_for_log("rude", "messages suppressed");
    let log = std::fs::read(instance.file("state/log/rude.log")).expect("log");
    for text in [&b" zero\0byte\n"[..], b" \x1b[2Jcleared\n", b" <999>odd\n", b" <0>forged\n", b" PRIORITY=0\n"] {
        assert!(log.windows(text.len()).any(|window| window == text), "{}", text.escape_ascii());
    }
    assert!(!log.windows(5).any(|window| window == b"quiet"), "less urgent than info");
    // Five of the ten messages are lines; the other five are pieces of the line of 10 MB, of 48 KiB each.
    let piece = 48 * 1024;
    assert_eq!(log.iter().filter(|byte| **byte == b'x').count(), 5 * piece + 1, "and the x of _SYSTEMD_UNIT=x");
    let text = String::from_utf8_lossy(&log);
    let pieces = 10_000_000u64.div_ceil(piece as u64);
    assert_eq!(suppressed(&lines(&text)), [pieces - 5 + 1], "and the last line");
}

#[test]
fn what_is_missing_is_known_after_the_daemon_was_killed() {
    if !is_root() {
        return skipped("needs root");
    }
    let mut instance = Instance::start();
    let limits = "target = \"file\"\nrate_limit_burst = 2\nrate_limit_interval = \"1h\"";
    instance.unit_as_is("web", &on_signal("echo one; echo two; echo three; echo four", "echo again", limits));
    instance.rsvc(&["start", "web"]).expect(0);
    eventually("it counts", || (instance.status("web")["log"]["suppressed"] == 2).then_some(()));
    // The state of the service is written in the same turn, before the answer to the next question.
    instance.kill_daemon();
    instance.start_daemon();
    let log = instance.wait_for_log("web", "how many is not known");
    assert_eq!(lines(&log)[..2], ["one", "two"]);
    instance.main_process("web").signal(Signal::USR1);
    instance.wait_for_log("web", "again");
    // Ended in order, a daemon tells what it has counted.
    for _ in 0..3 {
        let before = instance.log("web").matches("again").count() as u64
            + instance.status("web")["log"]["suppressed"].as_u64().expect("count");
        instance.main_process("web").signal(Signal::USR1);
        eventually("it is read", || {
            let now = instance.log("web").matches("again").count() as u64
                + instance.status("web")["log"]["suppressed"].as_u64()?;
            (now > before).then_some(())
        });
    }
    let counted = instance.status("web")["log"]["suppressed"].clone();
    assert!(counted.as_u64().is_some_and(|count| count > 0));
    assert!(instance.end_daemon().success());
    assert_eq!(suppressed(&lines(&instance.log("web"))).iter().sum::<u64>(), counted.as_u64().expect("count"));
    instance.start_daemon();
    assert_eq!(instance.status("web")["log"]["suppressed"], counted);
    assert_eq!(instance.log("web").matches("not known").count(), 1);
}

#[test]
fn fields_levels_and_limits_reach_the_journal() {
    let Some(world) = Journalled::start() else { return };
    let Journalled { instance, journald } = &world;
    let rules = "identifier = \"shop\"\nlevel_max = \"notice\"\nrate_limit_burst = 2\nrate_limit_interval = \"1h\"\n\
                 [logging.fields]\nTEAM = \"till\"\nNOTE = \"two\\nPRIORITY=0\"\nWHO = \"${unit}\"";
    let script =
        r#"printf "plain is info\n<5>one\n<5>two\n<5>three\n<3>bad\000\033[2J\n\n<4>MESSAGE=forged\n<3>open"; exit 1"#;
    instance.unit_as_is("web", &once(script, rules));
    let said = instance.rsvc(&["start", "web"]).expect(1);
    assert!(said.err.contains("status 1"), "{said:?}");
    let entries = journald.wait_for(&["RSVC_UNIT=web", "TEAM=till"], 6);
    let got: Vec<(String, String)> = entries
        .iter()
        .map(|entry| (entry["PRIORITY"].as_str().unwrap_or_default().to_owned(), text_of(&entry["MESSAGE"])))
        .collect();
    let want = [
        ("5", "one"),
        ("5", "two"),
        ("3", "bad\0\u{1b}[2J"),
        ("4", "MESSAGE=forged"),
        ("3", "open"),
        ("4", "1 messages suppressed (more than 2 in 1h: logging.rate_limit_burst)"),
    ];
    assert_eq!(got, want.map(|(level, text)| (level.to_owned(), text.to_owned())));
    for entry in &entries {
        assert_eq!((&entry["SYSLOG_IDENTIFIER"], &entry["WHO"]), (&"shop".into(), &"web".into()));
        assert_eq!(text_of(&entry["NOTE"]), "two\nPRIORITY=0");
        assert_eq!(entry["RSVC_INVOCATION_ID"], instance.status("web")["invocation_id"]);
    }
    assert_eq!(instance.status("web")["log"]["suppressed"], 1);
    assert_eq!(instance.status("web")["log"]["target"], "journald");
    let shown = instance.rsvc(&["logs", "web", "-o", "cat", "-p", "notice"]).expect(0);
    assert!(shown.out.contains("one\ntwo\n"), "{shown:?}");
    assert!(instance.log("web").is_empty(), "nothing is written twice");
}

/// Bytes that are no text come as numbers.
fn text_of(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Array(bytes) => {
            let bytes = bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok()).collect();
            String::from_utf8(bytes).expect("UTF-8")
        }
        other => other.as_str().expect("text").to_owned(),
    }
}

#[test]
fn syslog_goes_through_the_same_rules_with_a_journal_and_without() {
    if !Path::new("/usr/bin/logger").exists() {
        return skipped("no logger(1) here");
    }
    let script =
        "logger -p user.err -t probe kept; logger -p user.info -t probe dropped; logger -p user.err -t probe kept too";
    let Some(world) = Journalled::start() else { return };
    world.instance.unit_as_is("talk", &once(script, "level_max = \"err\"\n[logging.fields]\nTEAM = \"till\""));
    world.instance.rsvc(&["start", "talk"]).expect(0);
    let entries = world.journald.wait_for(&["TEAM=till"], 2);
    assert_eq!(entries.len(), 2);
    assert!(text_of(&entries[1]["MESSAGE"]).ends_with("kept too") && entries[1]["PRIORITY"] == "3", "{entries:?}");
    assert!(world.journald.entries(&["SYSLOG_IDENTIFIER=probe"]).is_empty(), "no way around the rules");
    let instance = Instance::start();
    instance.unit_as_is("talk", &once(script, "target = \"file\"\nlevel_max = \"err\""));
    instance.rsvc(&["start", "talk"]).expect(0);
    let log = instance.wait_for_log("talk", "kept too");
    assert!(log.contains("probe") && !log.contains("dropped"), "{log}");
}

#[test]
fn nothing_is_lost_on_the_way_to_a_journal_that_stops_for_a_while() {
    let Some(world) = Journalled::start() else { return };
    let Journalled { instance, journald } = &world;
    // More than pipe, queue and socket hold: the service has to wait.
    let script = "i=0; while [ $i -lt 4000 ]; do i=$((i+1)); echo $i is a line that is rather long, so that not many of them fit into a pipe or socket; done";
    instance.unit_as_is("much", &once(script, "[logging.fields]\nTEAM = \"till\""));
    instance.unit_as_is("other", "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n[logging]\ntarget = \"file\"\n");
    journald.signal(nix::sys::signal::Signal::SIGSTOP);
    let mut start = instance.command().args(["start", "much"]).spawn().expect("rsvc");
    eventually("it waits in the middle", || (instance.status("much")["state"] == "activating").then_some(()));
    instance.rsvc(&["start", "other"]).expect(0);
    instance.rsvc(&["stop", "other"]).expect(0);
    journald.signal(nix::sys::signal::Signal::SIGCONT);
    assert!(start.wait().expect("rsvc").success());
    let entries = journald.wait_for(&["RSVC_UNIT=much", "TEAM=till"], 4000);
    for (n, entry) in entries.iter().enumerate() {
        let text = entry["MESSAGE"].as_str().expect("text");
        assert!(text.starts_with(&format!("{} is a line", n + 1)), "{n}: {text}");
    }
}

#[test]
fn output_goes_on_to_the_journal_after_another_daemon_took_over() {
    let Some(mut world) = Journalled::start() else { return };
    let unit = on_signal("echo up", "echo taken over", "rate_limit_burst = 1000\n[logging.fields]\nTEAM = \"till\"");
    world.instance.unit_as_is("web", &unit);
    world.instance.rsvc(&["start", "web"]).expect(0);
    world.journald.wait_for(&["TEAM=till", "MESSAGE=up"], 1);
    world.instance.kill_daemon();
    world.instance.start_daemon();
    world.instance.main_process("web").signal(Signal::USR1);
    let entries = world.journald.wait_for(&["TEAM=till", "MESSAGE=taken over"], 1);
    assert_eq!(entries[0]["RSVC_INVOCATION_ID"], world.instance.status("web")["invocation_id"]);
}

#[test]
fn a_restart_with_other_rules_is_by_those() {
    if !is_root() {
        return skipped("needs root");
    }
    let instance = Instance::start();
    instance
        .unit_as_is("web", &on_signal("echo \"<7>first\"; echo up", ":", "target = \"file\"\nlevel_max = \"info\""));
    instance.rsvc(&["start", "web"]).expect(0);
    instance.wait_for_log("web", "up");
    instance.unit_as_is("web", &on_signal("echo \"<7>second\"; echo up", ":", "target = \"file\""));
    instance.rsvc(&["restart", "web"]).expect(0);
    let log = instance.wait_for_log("web", "second");
    assert!(!log.contains("first"), "{log}");
}

#[test]
fn fields_without_a_journal_are_refused_unless_they_are_optional() {
    if Path::new("/run/systemd/journal/stdout").exists() {
        return skipped("this host has a journal");
    }
    if !is_root() {
        return skipped("needs root");
    }
    let instance = Instance::start();
    instance.unit_as_is("web", &once("echo said", "fields = { TEAM = \"till\" }"));
    let said = instance.rsvc(&["start", "web"]).expect(1);
    assert!(said.err.contains("logging.fields") && said.err.contains("security.optional"), "{said:?}");
    let optional =
        format!("[security]\noptional = [\"logging.fields\"]\n{}", once("echo said", "fields = { TEAM = \"till\" }"));
    instance.unit_as_is("web", &optional);
    instance.rsvc(&["start", "web"]).expect(0);
    instance.wait_for_log("web", "said");
}

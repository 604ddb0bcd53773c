//! Where the output of services goes, seen from outside: a real journald with a whole daemon beside it, files without
//! one, and everything that can go wrong with either.

mod instance;

use instance::journald::Journalled;
use instance::namespace::Namespace;
use instance::{Instance, PATIENCE, eventually, is_root, skipped};
use rustix::process::Signal;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;

/// A command whose lines are read while it runs; killed at the end.
struct Follower {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Follower {
    fn start(instance: &Instance, arguments: &[&str]) -> Follower {
        let mut child = instance.command().args(arguments).stdout(Stdio::piped()).spawn().expect("rsvc runs");
        let reader = BufReader::new(child.stdout.take().expect("stdout"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Follower { child, lines }
    }

    fn wait_for(&self, text: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("`{text}` does not come"));
            if line.contains(text) {
                return line;
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn output_arrives_in_the_journal_and_logs_shows_it() {
    let Some(world) = Journalled::start() else { return };
    let Journalled { instance, journald } = &world;
    let script = "trap 'echo three' USR1; echo one; echo two >&2; while :; do sleep 0.05; done";
    instance.unit_as_is("web", &format!("[service]\nexec = [\"/bin/sh\", \"-c\", \"{script}\"]\n"));
    instance.unit_as_is(
        "shop",
        "[service]\nexec = [\"/bin/echo\", \"sold\"]\ntype = \"oneshot\"\n[logging]\nidentifier = \"store\"\n",
    );
    instance.rsvc(&["start", "web", "shop"]).expect(0);
    journald.wait_for(&["SYSLOG_IDENTIFIER=web", "MESSAGE=two"], 1);
    journald.wait_for(&["SYSLOG_IDENTIFIER=store", "MESSAGE=sold"], 1);
    assert!(instance.log("web").is_empty(), "nothing is written twice");

    let said = instance.rsvc(&["logs", "web"]).expect(0);
    assert!(said.out.contains("one") && said.out.contains("two"), "{said:?}");
    let said = instance.rsvc(&["logs", "-n", "1", "web"]).expect(0);
    assert!(!said.out.contains("one") && said.out.contains("two"), "{said:?}");
    let said = instance.rsvc(&["logs", "-o", "json", "shop"]).expect(0);
    let object: serde_json::Value = serde_json::from_str(said.out.trim()).expect("one object");
    assert_eq!((&object["name"], &object["message"]), (&"store".into(), &"sold".into()));
    assert!(object["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{object}");

    let follower = Follower::start(instance, &["logs", "-f", "web"]);
    follower.wait_for("two");
    instance.main_process("web").signal(Signal::USR1);
    follower.wait_for("three");
}

#[test]
fn the_daemons_own_events_carry_unit_and_invocation() {
    let Some(world) = Journalled::start() else { return };
    let Journalled { instance, journald } = &world;
    instance.unit_as_is("web", "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n");
    instance.rsvc(&["start", "web"]).expect(0);
    let entries = journald.wait_for(&["RSVC_UNIT=web", "MESSAGE=web: started"], 1);
    assert_eq!(entries[0]["RSVC_INVOCATION_ID"], instance.status("web")["invocation_id"]);
    assert_eq!(entries[0]["PRIORITY"], "6");
}

#[test]
fn a_failed_start_shows_the_last_lines() {
    let Some(world) = Journalled::start() else { return };
    let Journalled { instance, .. } = &world;
    let unit = |target: &str| {
        format!(
            "[service]\ntype = \"oneshot\"\nexec = [\"/bin/sh\", \"-c\", \"echo last words $0; exit 3\", \"{target}\"]\n\
             [restart]\npolicy = \"no\"\n[logging]\ntarget = \"{target}\"\n"
        )
    };
    for target in ["file", "journald"] {
        instance.unit_as_is(target, &unit(target));
        // On a busy machine the journal may take longer to store a line than anybody waits for it.
        eventually("the words in the message", || {
            let said = instance.rsvc(&["start", target]).expect(1);
            assert!(said.err.contains("status 3"), "{said:?}");
            let count = said.err.matches(&format!("last words {target}")).count();
            assert!(count == 1 || (count == 0 && target == "journald"), "{said:?}");
            (count == 1).then_some(())
        });
    }
}

#[test]
fn a_stuck_journald_stops_nobody_else() {
    let Some(world) = Journalled::start() else { return };
    let Journalled { instance, journald } = &world;
    instance.unit_as_is(
        "loop",
        "[service]\nexec = [\"/bin/false\"]\n[restart]\npolicy = \"always\"\ndelay = \"5ms\"\nmax_delay = \"5ms\"\n",
    );
    instance.unit_as_is("other", "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n[logging]\ntarget = \"file\"\n");
    instance.rsvc(&["start", "loop"]);
    eventually("it crashes", || instance.status("loop")["restarts"].as_u64().filter(|count| *count > 0));
    journald.signal(nix::sys::signal::Signal::SIGSTOP);
    let before = instance.status("loop")["restarts"].as_u64().expect("restarts");
    eventually("restarts go on", || instance.status("loop")["restarts"].as_u64().filter(|count| *count >= before + 20));
    instance.rsvc(&["start", "other"]).expect(0);
    instance.rsvc(&["stop", "other"]).expect(0);
    instance.rsvc(&["stop", "loop"]).expect(0);
    journald.signal(nix::sys::signal::Signal::SIGCONT);
}

#[test]
fn dev_log_leads_somewhere_with_a_journal_and_without() {
    if !Path::new("/usr/bin/logger").exists() {
        return skipped("no logger(1) here");
    }
    let Some(world) = Journalled::start() else { return };
    let Journalled { instance, journald } = &world;
    let unit = "[service]\ntype = \"oneshot\"\nuser = \"nobody\"\nexec = [\"/usr/bin/logger\", \"-t\", \"probe\", \"by dev log\"]\n";
    instance.unit_as_is("talk", unit);
    instance.rsvc(&["start", "talk"]).expect(0);
    journald.wait_for(&["SYSLOG_IDENTIFIER=probe", "MESSAGE=by dev log"], 1);
    if Path::new("/run/systemd/journal/stdout").exists() {
        return skipped("this host has a journal: the half without one");
    }
    let mut alone = Instance::start();
    alone.unit("talk", unit);
    alone.rsvc(&["start", "talk"]).expect(0);
    alone.wait_for_log("talk", "probe: by dev log");
    // Also after another daemon has taken over.
    alone.unit(
        "late",
        "[service]\nexec = [\"/bin/sh\", \"-c\", \"trap 'logger -t probe taken over' USR1; echo up; while :; do sleep 0.05; done\"]\n",
    );
    alone.rsvc(&["start", "late"]).expect(0);
    alone.wait_for_log("late", "up");
    alone.kill_daemon();
    alone.start_daemon();
    alone.main_process("late").signal(Signal::USR1);
    alone.wait_for_log("late", "probe: taken over");
}

#[test]
fn nobody_else_writes_to_a_units_log() {
    if !is_root() {
        return skipped("needs root");
    }
    let instance = Instance::start();
    instance.unit_as_is("web", "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n[logging]\ntarget = \"file\"\n");
    instance.rsvc(&["start", "web"]).expect(0);
    let socket = instance.file("run/io/web/log");
    if !socket.exists() {
        return skipped("this host has a journal");
    }
    let stranger = std::os::unix::net::UnixDatagram::unbound().expect("socket");
    stranger.send_to(b"<11>forged line", &socket).expect("send");
    eventually("the daemon says so", || instance.daemon_log().contains("does not belong to it").then_some(()));
    assert!(!instance.log("web").contains("forged"));
}

#[test]
fn files_are_rotated_by_size_and_the_newest_lines_stay() {
    if !is_root() {
        return skipped("needs root");
    }
    let instance = Instance::start();
    instance.unit_as_is(
        "much",
        r#"
[service]
type = "oneshot"
exec = ["/bin/sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo line $i of a log that is long; done"]
[logging]
target = "file"
[logging.file]
max_size = "64K"
max_files = 3
"#,
    );
    instance.rsvc(&["start", "much"]).expect(0);
    instance.wait_for_log("much", "line 20000 of");
    let sizes: Vec<u64> = fs::read_dir(instance.file("state/log"))
        .expect("log directory")
        .map(|entry| entry.expect("entry").metadata().expect("metadata").len())
        .collect();
    assert_eq!(sizes.len(), 3, "{sizes:?}");
    assert!(sizes.iter().all(|size| *size <= 2 * 65536), "{sizes:?}");
    let said = instance.rsvc(&["logs", "-n", "3", "much"]).expect(0);
    let last: Vec<&str> = said.out.lines().filter_map(|line| line.split_once(' ')).map(|(_, text)| text).collect();
    let want =
        ["line 19998 of a log that is long", "line 19999 of a log that is long", "line 20000 of a log that is long"];
    assert_eq!(last, want);
}

#[test]
fn hostile_output_is_kept_as_it_is_and_obeyed_by_nobody() {
    let Some(world) = Journalled::start() else { return };
    let Journalled { instance, journald } = &world;
    let script = r"printf 'zero\\000byte\\n\\033[2Jcleared\\n\\nPRIORITY=0\\nMESSAGE=forged\\n'; head -c 10000000 /dev/zero | tr '\\000' x; echo; echo the end; exit 1";
    let unit = |target: &str| {
        format!(
            "[service]\ntype = \"oneshot\"\nexec = [\"/bin/sh\", \"-c\", \"{script}\"]\n[restart]\npolicy = \"no\"\n[logging]\ntarget = \"{target}\"\n"
        )
    };
    instance.unit_as_is("file", &unit("file"));
    let said = instance.rsvc(&["start", "file"]).expect(1);
    assert!(said.err.contains("the end") && !said.err.contains('\x1b') && !said.err.contains('\0'), "{said:?}");
    let log = fs::read(instance.file("state/log/file.log")).expect("log");
    for text in [&b"zero\0byte\n"[..], b"\x1b[2Jcleared\n", b"MESSAGE=forged\n", &[b'x'; 100_000]] {
        assert!(log.windows(text.len()).any(|window| window == text), "{}", text[..10.min(text.len())].escape_ascii());
    }
    assert!(log.len() > 10_000_000 && log.ends_with(b"the end\n"));

    instance.unit_as_is("journal", &unit("journald"));
    instance.rsvc(&["start", "journal"]).expect(1);
    journald.wait_for(&["SYSLOG_IDENTIFIER=journal", "MESSAGE=the end"], 1);
    let forged = journald.entries(&["SYSLOG_IDENTIFIER=journal", "MESSAGE=MESSAGE=forged"]);
    assert_eq!((forged.len(), &forged[0]["PRIORITY"]), (1, &"6".into()));
    assert!(journald.entries(&["MESSAGE=forged"]).is_empty());
}

#[test]
fn a_link_in_the_log_directory_is_not_followed() {
    if !is_root() {
        return skipped("needs root");
    }
    let instance = Instance::start();
    fs::create_dir_all(instance.file("state/log")).expect("log directory");
    fs::write(instance.file("victim"), "untouched\n").expect("victim");
    std::os::unix::fs::symlink(instance.file("victim"), instance.file("state/log/web.log")).expect("link");
    instance.unit_as_is(
        "web",
        "[service]\nexec = [\"/bin/sh\", \"-c\", \"echo attack; exec sleep 1000\"]\n[logging]\ntarget = \"file\"\n",
    );
    instance.rsvc(&["start", "web"]).expect(0);
    eventually("the loss is told", || instance.daemon_log().contains("cannot be written").then_some(()));
    assert_eq!(fs::read_to_string(instance.file("victim")).expect("victim"), "untouched\n");
    assert_eq!(instance.status("web")["state"], "active");
}

#[test]
fn a_full_disk_costs_output_and_nothing_else() {
    if !is_root() {
        return skipped("needs root");
    }
    // The namespace comes first: it must outlive the instance.
    let Some(namespace) = Namespace::start("true") else { return skipped("cannot make a mount namespace") };
    let mut instance = Instance::prepared();
    let log = instance.file("state/log").display().to_string();
    namespace.run(&format!("mkdir {log} && mount -t tmpfs -o size=256k,mode=755 tmpfs {log}")).expect(0);
    instance.enter(&namespace);
    instance.start_daemon();
    instance.unit_as_is(
        "much",
        r#"
[service]
exec = ["/bin/sh", "-c", "trap 'echo again' USR1; head -c 2000000 /dev/zero | tr '\\000' x; echo; while :; do sleep 0.05; done"]
[logging]
target = "file"
"#,
    );
    instance.rsvc(&["start", "much"]).expect(0);
    eventually("the loss is told", || instance.daemon_log().contains("cannot be written").then_some(()));
    assert_eq!(instance.status("much")["state"], "active");
    let read = || fs::read_to_string(namespace.path(&format!("{log}/much.log"))).unwrap_or_default();
    assert!(read().len() > 200_000, "what fits is there");
    namespace.run(&format!("mount -o remount,size=8m {log}")).expect(0);
    let main = instance.main_process("much");
    eventually("it is written again", || {
        main.signal(Signal::USR1);
        read().contains(" again\n").then_some(())
    });
    assert!(read().contains("bytes of output are missing here"));
    instance.rsvc(&["stop", "much"]).expect(0);
}

#[test]
fn every_target_is_what_it_says_or_refused_by_name() {
    if !is_root() {
        return skipped("needs root");
    }
    let instance = Instance::start();
    for target in ["null", "inherit", "file", "journald"] {
        let text = format!(
            "[service]\ntype = \"oneshot\"\nexec = [\"/bin/echo\", \"said to {target}\"]\n[logging]\ntarget = \"{target}\"\n"
        );
        instance.unit_as_is(target, &text);
    }
    instance.rsvc(&["start", "null"]).expect(0);
    assert!(!instance.file("state/log/null.log").exists());
    let said = instance.rsvc(&["logs", "null"]).expect(1);
    assert!(said.err.contains("logging.target = \"null\""), "{said:?}");
    instance.rsvc(&["start", "inherit"]).expect(0);
    assert!(instance.daemon_log().contains("said to inherit"));
    instance.rsvc(&["start", "file"]).expect(0);
    instance.wait_for_log("file", "said to file");
    if Path::new("/run/systemd/journal/stdout").exists() {
        return skipped("this host has a journal: the refusal");
    }
    let said = instance.rsvc(&["start", "journald"]).expect(1);
    assert!(said.err.contains("logging.target") && said.err.contains("no systemd-journald listens"), "{said:?}");
}

#[test]
fn a_run_a_time_a_text_and_a_priority_are_found_with_and_without_a_daemon() {
    if !is_root() {
        return skipped("needs root");
    }
    let mut instance = Instance::start();
    instance.unit(
        "web",
        "[service]\nexec = [\"/bin/sh\", \"-c\", \"echo begin; echo '<3>Trouble at the mill'; exec sleep 1000\"]\n",
    );
    let mut ids = Vec::new();
    for runs in 1..=2 {
        instance.rsvc(&["restart", "web"]).expect(0);
        eventually("what this run prints", || (instance.log("web").matches("mill").count() == runs).then_some(()));
        ids.push(instance.status("web")["invocation_id"].as_str().expect("an id").to_owned());
    }
    for daemon in [true, false] {
        if !daemon {
            instance.rsvc(&["stop", "web"]).expect(0);
            instance.end_daemon();
        }
        let cat = |words: &[&str]| instance.rsvc(&[&["logs", "web", "-o", "cat"], words].concat()).expect(0).out;
        let one = "begin\n<3>Trouble at the mill\n";
        assert_eq!(cat(&[]), one.repeat(2), "daemon: {daemon}");
        for wanted in ["0", "-1", "1", "2", &ids[0], &ids[1]] {
            assert_eq!(cat(&["--invocation", wanted]), one, "{wanted}, daemon: {daemon}");
        }
        assert_eq!(cat(&["-g", "trouble", "-n", "1"]), "<3>Trouble at the mill\n");
        assert_eq!(cat(&["-p", "err"]), "<3>Trouble at the mill\n".repeat(2));
        assert_eq!(cat(&["-p", "crit"]), "");
        assert_eq!(cat(&["--until", "1h ago"]), "");
        assert_eq!(cat(&["--since", "1h ago", "--grep", "begin"]), "begin\n".repeat(2));
        let said = instance.rsvc(&["logs", "web", "-o", "json", "--invocation", "0", "-g", "mill"]).expect(0);
        let object: serde_json::Value = serde_json::from_str(&said.out).expect("one object");
        assert_eq!(object["message"], "<3>Trouble at the mill");
        for (words, code) in [
            (&["--invocation", "7"][..], 1),
            (&["-g", "nothing like it"], 1),
            (&["--invocation", "last"], 2),
            (&["--invocation", "-1", "-f"], 2),
            (&["--until", "tomorrow"], 2),
            (&["-p", "loud"], 2),
        ] {
            instance.rsvc(&[&["logs", "web"], words].concat()).expect(code);
        }
    }
}

#[test]
fn a_line_of_ten_megabytes_and_nuls_is_stored_to_its_last_byte() {
    if !is_root() {
        return skipped("needs root");
    }
    let instance = Instance::start();
    instance.unit_as_is(
        "web",
        "[service]\ntype = \"oneshot\"\n\
         exec = [\"/bin/sh\", \"-c\", \"head -c 10000000 /dev/zero | tr '\\\\0' x; printf '\\\\0\\\\033[2Jend\\\\n'\"]\n\
         [restart]\npolicy = \"no\"\n\
         [logging]\ntarget = \"file\"\n[logging.file]\nmax_size = \"4M\"\nmax_files = 10\n",
    );
    instance.rsvc(&["start", "web"]).expect(0);
    let stored = eventually("the end of the line", || {
        let files = fs::read_dir(instance.file("state/log")).ok()?.flatten();
        let all: Vec<u8> = files.filter_map(|file| fs::read(file.path()).ok()).flatten().collect();
        all.windows(8).any(|bytes| bytes == b"\0\x1b[2Jend").then_some(all)
    });
    assert_eq!(stored.iter().filter(|byte| **byte == b'x').count(), 10_000_000, "every byte is there");
    let shown = instance.rsvc(&["logs", "web", "-n", "1", "-o", "json"]).expect(0).out;
    assert!(shown.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "JSON escapes the rest");
    assert!(!shown.contains('\u{1b}'));
}

#[test]
fn runs_texts_and_priorities_are_found_in_the_journal_too() {
    let Some(world) = Journalled::start() else { return };
    let Journalled { instance, journald } = &world;
    instance.unit_as_is(
        "web",
        "[service]\nexec = [\"/bin/sh\", \"-c\", \"echo begin; echo '<3>A (dark) day'; exec sleep 1000\"]\n\
         [logging]\ntarget = \"journald\"\n",
    );
    for runs in 1..=2 {
        instance.rsvc(&["restart", "web"]).expect(0);
        journald.wait_for(&["SYSLOG_IDENTIFIER=web", "MESSAGE=A (dark) day"], runs);
    }
    let cat = |words: &[&str]| instance.rsvc(&[&["logs", "web", "-o", "cat"], words].concat()).expect(0).out;
    assert_eq!(cat(&["--invocation", "-1"]), "begin\nA (dark) day\n");
    // Capitals matter.
    instance.rsvc(&["logs", "web", "--invocation", "0", "-g", "a (DARK"]).expect(1);
    assert_eq!(cat(&["--invocation", "0", "-g", "a (dark"]), "A (dark) day\n");
    assert_eq!(cat(&["-p", "err"]), "A (dark) day\n".repeat(2));
}

//! Steps by which the stage enters groups, namespaces, sessions, and the journal.

use crate::harness::*;
use rsvc::plan::{NamespaceKind, Step};
use std::io::{Read, Seek};

#[test]
fn each_group_of_a_v1_host_is_told_that_the_writer_moves() {
    let files = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
    let mut draft = Draft::shell("echo ran");
    draft.before.insert(0, Step::EnterCgroups);
    draft.cgroup_procs = files.iter().map(|file| file.try_clone().unwrap()).collect();
    let Some(outcome) = draft.run() else { return };
    assert_eq!(outcome.success(), "ran\n");
    for mut file in files {
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "0");
    }
}

#[test]
fn session_keyring_nice_value_and_further_namespaces_are_new() {
    let own = |kind: &str| std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
    let mut draft =
        Draft::shell("readlink /proc/self/ns/cgroup /proc/self/ns/time; nice; cut -d' ' -f6 /proc/self/stat");
    draft.before.splice(
        0..0,
        [Step::NewSessionKeyring, Step::UnshareCgroupNamespace, Step::UnshareTimeNamespace, Step::SetNice { value: 7 }],
    );
    let Some(outcome) = draft.run() else { return };
    let lines: Vec<_> = outcome.success().lines().collect();
    assert_ne!(lines[0], own("cgroup").to_str().unwrap());
    assert_ne!(lines[1], own("time").to_str().unwrap());
    // The service leads a session of its own.
    assert_eq!(&lines[2..], ["7", "2"]);
}

#[test]
fn a_namespace_is_joined_by_its_path_and_only_when_it_is_of_that_kind() {
    let mut host = Draft::shell("echo ready; exec sleep 60");
    host.before.push(Step::SetHostname { name: "named".into() });
    let Some(running) = host.start() else { return };
    running.wait_for("ready");
    let path = format!("/proc/{}/ns/uts", running.pid);
    let join = |kind| {
        let mut draft = Draft::shell("hostname");
        draft.namespaces.uts = false;
        draft.before.insert(0, Step::JoinNamespace { kind, path: path.clone().into() });
        draft.run().unwrap()
    };
    if is_root() {
        assert_eq!(join(NamespaceKind::Uts).success(), "named\n");
        assert_eq!(join(NamespaceKind::Ipc).failure().1, 22);
    } else {
        // Neither may an ordinary user open it (not dumpable) nor join it from another user namespace.
        assert!([1, 13].contains(&join(NamespaceKind::Uts).failure().1));
    }
    running.signal(9);
    running.finish();
}

#[test]
fn device_nodes_are_made_where_that_is_permitted() {
    let node = Step::MakeNode { slot: DEV, name: "zero".into(), character: true, major: 1, minor: 5, mode: 0o666 };
    let draft = Draft::shell("stat -c %a:%t:%T /dev/zero; head -c3 /dev/zero | wc -c").before_pivot([node]);
    let Some(outcome) = draft.run() else { return };
    if is_root() {
        assert_eq!(outcome.success(), "666:1:5\n3\n");
    } else {
        assert_eq!(outcome.failure().1, 1);
    }
}

#[test]
fn the_journal_gets_what_the_service_prints() {
    let journal = std::path::Path::new("/run/systemd/journal/stdout");
    if !journal.exists() {
        skipped!("no journal runs here");
        return;
    }
    let word = format!("word-{}", std::process::id());
    let script = format!("[ $JOURNAL_STREAM = $(stat -Lc %d:%i /proc/self/fd/2) ] && echo {word} || echo bad stream");
    let mut draft = Draft::shell(&script);
    draft.with_output = false;
    draft.before.insert(0, Step::ConnectJournal { identifier: "rsvc-stage-test".into(), priority: 5 });
    let Some(outcome) = draft.run() else { return };
    outcome.success();
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let output = std::process::Command::new("journalctl")
            .args(["-o", "json", "SYSLOG_IDENTIFIER=rsvc-stage-test"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let message = format!("\"MESSAGE\":\"{word}\"");
        if let Some(line) = text.lines().find(|line| line.contains(&message)) {
            assert!(line.contains("\"PRIORITY\":\"5\""), "{line}");
            return;
        }
        assert!(std::time::Instant::now() < deadline, "not in the journal: {text}");
    }
}

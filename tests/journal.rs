//! The journal client against a real systemd-journald, started for the test in a mount namespace of its own.
//!
//! journald sees an empty /run and /var/log there; the client and journalctl reach its files through
//! `/proc/PID/root`, so that nothing of the host's own journal is touched. Needs root, systemd-journald, journalctl.

mod instance;

use instance::eventually;
use instance::journald::Journald;
use rsvc::daemon::journal::{JournalClient, Record};
use rsvc::daemon::log_layer::{JournalLayer, parse_filter};
use std::sync::{Arc, Mutex};
use tracing_subscriber::layer::SubscriberExt;

fn record(unit: &str, message: &str) -> Record {
    let mut record = Record::new(6, message);
    record.field("SYSLOG_IDENTIFIER", "rsvcd").field("RSVC_UNIT", unit);
    record
}

#[test]
fn records_arrive_whole_and_unforged() {
    let Some(journald) = Journald::start() else { return };
    let mut client = JournalClient::new(&journald.socket(), "rsvcd");
    client.send(record("web", "one\nPRIORITY=0\n_SYSTEMD_UNIT=sshd.service\nend"));
    let large = "x".repeat(600_000);
    client.send(record("large", &large));
    assert!(client.is_connected() && !client.is_waiting());
    let entries = journald.wait_for(&["RSVC_UNIT=web"], 1);
    assert_eq!(entries[0]["MESSAGE"], "one\nPRIORITY=0\n_SYSTEMD_UNIT=sshd.service\nend");
    assert_eq!(entries[0]["PRIORITY"], "6");
    assert_eq!(entries[0]["SYSLOG_IDENTIFIER"], "rsvcd");
    assert_eq!(entries[0]["_PID"], std::process::id().to_string());
    let entries = journald.wait_for(&["RSVC_UNIT=large"], 1);
    assert_eq!(entries[0]["MESSAGE"].as_str().map(str::len), Some(large.len()));
}

#[test]
fn a_stopped_journald_costs_messages_and_never_time() {
    let Some(journald) = Journald::start() else { return };
    let mut client = JournalClient::new(&journald.socket(), "rsvcd");
    journald.signal(nix::sys::signal::Signal::SIGSTOP);
    // A client that blocked would never come to the end of this.
    for n in 0..5000 {
        client.send(record("flood", &format!("message {n}")));
    }
    let lost = client.dropped();
    assert!(client.is_waiting() && lost > 0);
    journald.signal(nix::sys::signal::Signal::SIGCONT);
    eventually("the queue to drain", || {
        client.flush();
        (!client.is_waiting()).then_some(())
    });
    let stored = 5000 - usize::try_from(lost).unwrap();
    let entries = journald.wait_for(&["RSVC_UNIT=flood"], stored);
    assert_eq!(entries.len(), stored);
    assert_eq!(entries[stored - 1]["MESSAGE"], format!("message {}", stored - 1), "order is kept, the last are lost");
    let told = journald.wait_for(&["SYSLOG_IDENTIFIER=rsvcd", "PRIORITY=4"], 1);
    assert!(told[0]["MESSAGE"].as_str().unwrap().starts_with(&format!("{lost} messages dropped")));
}

#[test]
fn a_restarted_journald_is_found_again() {
    let Some(first) = Journald::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    std::os::unix::fs::symlink(first.socket(), &path).unwrap();
    let mut client = JournalClient::new(&path, "rsvcd");
    client.send(record("web", "to the first"));
    first.wait_for(&["RSVC_UNIT=web"], 1);
    drop(first);
    client.send(record("web", "nobody is there"));
    assert!(!client.is_connected() && client.is_waiting());
    let Some(second) = Journald::start() else { return };
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(second.socket(), &path).unwrap();
    client.flush();
    assert!(client.is_connected() && !client.is_waiting());
    assert_eq!(second.wait_for(&["RSVC_UNIT=web"], 1)[0]["MESSAGE"], "nobody is there");
}

#[test]
fn events_of_the_daemon_carry_their_fields() {
    let Some(journald) = Journald::start() else { return };
    let client = Arc::new(Mutex::new(JournalClient::new(&journald.socket(), "rsvcd")));
    let layers = tracing_subscriber::registry().with(JournalLayer::new(client)).with(parse_filter("info").unwrap());
    tracing::subscriber::with_default(layers, || {
        tracing::error!(unit = "db", invocation_id = "00ff", "db: failed");
    });
    let entries = journald.wait_for(&["RSVC_UNIT=db"], 1);
    assert_eq!(entries[0]["MESSAGE"], "db: failed");
    assert_eq!(entries[0]["RSVC_INVOCATION_ID"], "00ff");
    assert_eq!(entries[0]["PRIORITY"], "3");
}

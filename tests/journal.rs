//! The journal client against a real systemd-journald, started for the test in a mount namespace of its own.
//!
//! journald sees an empty /run and /var/log there; the client and journalctl reach its files through
//! `/proc/PID/root`, so that nothing of the host's own journal is touched. Needs root, systemd-journald, journalctl.

mod instance;

use instance::{eventually, is_root, skipped};
use rsvc::daemon::journal::{JournalClient, Record};
use rsvc::daemon::log_layer::{JournalLayer, parse_filter};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use tracing_subscriber::layer::SubscriberExt;

const JOURNALD: [&str; 2] = ["/usr/lib/systemd/systemd-journald", "/lib/systemd/systemd-journald"];

/// What runs in the namespace before journald takes the shell's place. Kernel messages and the audit subsystem are the
/// host's and stay untouched.
const SET_UP: &str = "set -e
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/log
mkdir -p /run/systemd/journal /run/log/journal /run/systemd/journald.conf.d
printf '[Journal]\\nStorage=volatile\\nAudit=no\\nReadKMsg=no\\nForwardToSyslog=no\\nRateLimitIntervalSec=0\\n' \\
    > /run/systemd/journald.conf.d/test.conf
[ -s /etc/machine-id ] || { echo 0123456789abcdef0123456789abcdef > /run/id; mount --bind /run/id /etc/machine-id; }
exec \"$0\"";

struct Journald(Child);

impl Journald {
    /// `None`, with the reason said, where it cannot be started.
    fn start() -> Option<Journald> {
        if !is_root() {
            skipped("journald can only be started by root");
            return None;
        }
        let Some(program) = JOURNALD.iter().find(|path| Path::new(path).exists()) else {
            skipped("no systemd-journald is installed");
            return None;
        };
        if Command::new("journalctl").arg("--version").stdout(Stdio::null()).status().is_err() {
            skipped("no journalctl is installed");
            return None;
        }
        let child = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", SET_UP, program])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("unshare(1) is there");
        let mut journald = Journald(child);
        // The shell becomes journald, so its pid is the child's.
        let ready = eventually("journald's socket", || match journald.0.try_wait() {
            Ok(Some(_)) => Some(false),
            _ => Path::new(&journald.path("/run/systemd/journal/socket")).exists().then_some(true),
        });
        if !ready {
            skipped("journald does not run here");
            return None;
        }
        Some(journald)
    }

    fn path(&self, below: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{below}", self.0.id()))
    }

    fn socket(&self) -> PathBuf {
        self.path("/run/systemd/journal/socket")
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.0.id() as i32);
        nix::sys::signal::kill(pid, signal).expect("journald is our child");
    }

    /// Entries that match, as JSON objects.
    fn entries(&self, matches: &[&str]) -> Vec<serde_json::Value> {
        let output = Command::new("journalctl")
            .args(["--output=json", "--all", "--no-pager", "--quiet", "-D"])
            .arg(self.path("/run/log/journal"))
            .args(matches)
            .output()
            .expect("journalctl is there");
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().map(|line| serde_json::from_str(line).expect("journalctl writes JSON")).collect()
    }

    fn wait_for(&self, matches: &[&str], count: usize) -> Vec<serde_json::Value> {
        eventually(&format!("{count} entries for {matches:?}"), || {
            let entries = self.entries(matches);
            (entries.len() >= count).then_some(entries)
        })
    }
}

impl Drop for Journald {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

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

//! A real systemd-journald, started for a test in a mount namespace of its own.
//!
//! It sees an empty /run and /var/log there; journalctl reaches its files through `/proc/PID/root`, so that nothing of
//! the host's own journal is touched. Needs root, systemd-journald, journalctl.

use super::namespace::Namespace;
use super::{Instance, eventually, is_root, skipped};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

/// See the module documentation.
pub struct Journald(Namespace);

impl Journald {
    /// `None`, with the reason said, where it cannot be started.
    pub fn start() -> Option<Journald> {
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
        let mut journald = Journald(Namespace::of_child(child));
        // The shell becomes journald, so its pid is the child's.
        let ready = eventually("journald's socket", || match journald.0.is_over() {
            true => Some(false),
            false => journald.path("/run/systemd/journal/socket").exists().then_some(true),
        });
        if !ready {
            skipped("journald does not run here");
            return None;
        }
        Some(journald)
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.0.path(below)
    }

    /// Where it runs.
    pub fn namespace(&self) -> &Namespace {
        &self.0
    }

    pub fn socket(&self) -> PathBuf {
        self.path("/run/systemd/journal/socket")
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.0.pid());
        nix::sys::signal::kill(pid, signal).expect("journald is our child");
    }

    /// Entries that match, as JSON objects.
    pub fn entries(&self, matches: &[&str]) -> Vec<serde_json::Value> {
        let output = Command::new("journalctl")
            .args(["--output=json", "--all", "--no-pager", "--quiet", "-D"])
            .arg(self.path("/run/log/journal"))
            .args(matches)
            .output()
            .expect("journalctl is there");
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().map(|line| serde_json::from_str(line).expect("journalctl writes JSON")).collect()
    }

    pub fn wait_for(&self, matches: &[&str], count: usize) -> Vec<serde_json::Value> {
        eventually(&format!("{count} entries for {matches:?}"), || {
            let entries = self.entries(matches);
            (entries.len() >= count).then_some(entries)
        })
    }
}

/// A daemon that finds a journald. Dropped in this order: the journal outlives its clients.
pub struct Journalled {
    pub instance: Instance,
    pub journald: Journald,
}

impl Journalled {
    /// `None`, with the reason said, where there can be no journald.
    pub fn start() -> Option<Journalled> {
        let journald = Journald::start()?;
        let mut instance = Instance::prepared();
        instance.enter(journald.namespace());
        instance.start_daemon();
        Some(Journalled { instance, journald })
    }
}

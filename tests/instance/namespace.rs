//! A mount namespace kept by a process that waits, so that tests can mount without touching the host.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// See the module documentation; it ends with this.
pub struct Namespace(Child);

impl Namespace {
    /// Runs `set_up`, a shell script, in a new mount namespace. `None` when that fails.
    pub fn start(set_up: &str) -> Option<Namespace> {
        let script = format!("set -e\n{set_up}\necho ready\nexec cat");
        let mut child = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take()?).read_line(&mut line).ok()?;
        let namespace = Namespace(child);
        (line == "ready\n").then_some(namespace)
    }

    /// One that another process keeps, such as a journald.
    pub fn of_child(child: Child) -> Namespace {
        Namespace(child)
    }

    pub fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    /// Has the process that keeps it ended?
    pub fn is_over(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }

    pub fn mounts(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/mnt", self.0.id()))
    }

    /// A path of the namespace as it is reached from outside.
    pub fn path(&self, below: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{below}", self.0.id()))
    }

    /// Runs a shell script in it.
    pub fn run(&self, script: &str) -> super::Said {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount={}", self.mounts().display())).args(["sh", "-c", script]);
        command.stdin(Stdio::null()).output().expect("nsenter(1) is there").into()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

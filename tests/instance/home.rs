//! An ordinary user's home with an instance of rsvc in it, as `rsvc daemon --user` makes it.

use super::namespace::Namespace;
use super::process::Process;
use super::{RSVC, Said, eventually, install, is_root, skipped};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Who it belongs to where root runs the test.
pub const NOBODY: u32 = 65534;

/// A home with an instance in it; ended with the test.
pub struct Home {
    directory: tempfile::TempDir,
    daemon: Option<Child>,
    /// Where its processes see another `/etc`.
    namespace: Option<Namespace>,
}

impl Home {
    /// `None`, after saying so, where an ordinary user gets no user namespace.
    pub fn new() -> Option<Home> {
        Home::within(None)
    }

    /// The same, in an `/etc` with this line of subuid(5) and subgid(5).
    pub fn with_subordinate_ids(line: &str) -> Option<Home> {
        if !is_root() {
            skipped("only root can give an ordinary user other ids");
            return None;
        }
        if ["newuidmap", "newgidmap"].iter().any(|tool| !PathBuf::from("/usr/bin").join(tool).exists()) {
            skipped("newuidmap(1) and newgidmap(1) are not installed");
            return None;
        }
        let script = format!(
            "mount -t tmpfs -o mode=0755 none /mnt; cp -a /etc /mnt; echo '{line}' > /mnt/etc/subuid
             cp /mnt/etc/subuid /mnt/etc/subgid; mount --bind /mnt/etc /etc"
        );
        let Some(namespace) = Namespace::start(&script) else {
            skipped("cannot make a mount namespace");
            return None;
        };
        Home::within(Some(namespace))
    }

    fn within(namespace: Option<Namespace>) -> Option<Home> {
        let directory = tempfile::Builder::new().prefix("rsvc-test-").tempdir_in("/var/tmp").expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
        let mut home = Home { directory, daemon: None, namespace };
        install(RSVC.as_ref(), &home.path("rsvc"));
        for name in ["run", ".config", ".config/rsvc", ".config/rsvc/units"] {
            fs::create_dir(home.path(name)).expect("a directory");
            if is_root() {
                chown(home.path(name), Some(NOBODY), Some(NOBODY)).expect("an owner");
            }
        }
        if is_root() {
            chown(home.directory.path(), Some(NOBODY), Some(NOBODY)).expect("an owner");
        }
        let possible = home.command("unshare").args(["--user", "true"]).stderr(Stdio::null()).status();
        if !possible.is_ok_and(|status| status.success()) {
            skipped("an ordinary user gets no user namespace here");
            return None;
        }
        home.start_daemon();
        Some(home)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.namespace.as_ref().map_or(program, |_| "nsenter"));
        if let Some(namespace) = &self.namespace {
            let (mounts, user) = (format!("--mount={}", namespace.mounts().display()), NOBODY.to_string());
            command.args([&mounts, "--setgid", &user, "--setuid", &user, program]);
        }
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.directory.path())
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("NO_COLOR", "1")
            .current_dir("/")
            .stdin(Stdio::null());
        if is_root() && self.namespace.is_none() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    pub fn rsvc(&self, words: &[&str]) -> Said {
        let program = self.path("rsvc").display().to_string();
        self.command(&program).args(["--instance", "user"]).args(words).output().expect("rsvc runs").into()
    }

    pub fn start_daemon(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("daemon.log")).expect("a log");
        let program = self.path("rsvc").display().to_string();
        let mut command = self.command(&program);
        command.args(["daemon", "--user"]).stdout(log.try_clone().expect("a log")).stderr(log);
        self.daemon = Some(command.spawn().expect("the daemon starts"));
        eventually("the user's daemon answers", || (self.rsvc(&["list"]).code == 0).then_some(()));
    }

    pub fn kill_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().expect("kill");
            daemon.wait().expect("wait");
        }
    }

    pub fn unit(&self, name: &str, text: &str) {
        let text = format!("{text}\n[logging]\ntarget = \"file\"\n");
        fs::write(self.path(&format!(".config/rsvc/units/{name}.toml")), text).expect("a unit");
    }

    pub fn status(&self, unit: &str) -> serde_json::Value {
        let said = self.rsvc(&["status", "--json", unit]);
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    }

    pub fn main_process(&self, unit: &str) -> Process {
        Process::of(&self.status(unit)["main_pid"])
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.daemon.is_none() && !std::thread::panicking() {
            self.start_daemon();
        }
        self.rsvc(&["stop", "--all"]);
        // The instance's keeper ends when nobody needs it; a test that failed may leave it.
        let keeper = fs::read_to_string(self.path("run/rsvc/keeper")).ok();
        let keeper: Option<serde_json::Value> = keeper.and_then(|text| serde_json::from_str(&text).ok());
        self.kill_daemon();
        if let Some(keeper) = keeper {
            end_keeper(&keeper);
        }
    }
}

/// Ends the process that a note of the instance names, if it still is a keeper.
fn end_keeper(note: &serde_json::Value) {
    let pid = note.pointer("/keeper/pid").and_then(serde_json::Value::as_i64);
    let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw) else {
        return;
    };
    let name = fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero())).unwrap_or_default();
    if name.trim() == "rsvc-keeper" {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

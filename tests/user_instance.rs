//! `rsvc daemon --user`: an ordinary user's own instance, with its directories where such things are, and whatever the
//! kernel gives such a user. Where no control group can be made a daemon that dies must lose nothing all the same.

#[macro_use]
mod instance;

use instance::namespace::Namespace;
use instance::process::Process;
use instance::{RSVC, Said, eventually, install, is_root, skipped};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

const NOBODY: u32 = 65534;

/// A home with an instance in it; ended with the test.
struct Home {
    directory: tempfile::TempDir,
    daemon: Option<Child>,
    /// Where its processes see another `/etc`.
    namespace: Option<Namespace>,
}

impl Home {
    /// `None`, after saying so, where an ordinary user gets no user namespace.
    fn new() -> Option<Home> {
        Home::within(None)
    }

    /// The same, in an `/etc` with this line of subuid(5) and subgid(5).
    fn with_subordinate_ids(line: &str) -> Option<Home> {
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

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, program: &str) -> Command {
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

    fn rsvc(&self, words: &[&str]) -> Said {
        let program = self.path("rsvc").display().to_string();
        self.command(&program).args(["--instance", "user"]).args(words).output().expect("rsvc runs").into()
    }

    fn start_daemon(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("daemon.log")).expect("a log");
        let program = self.path("rsvc").display().to_string();
        let mut command = self.command(&program);
        command.args(["daemon", "--user"]).stdout(log.try_clone().expect("a log")).stderr(log);
        self.daemon = Some(command.spawn().expect("the daemon starts"));
        eventually("the user's daemon answers", || (self.rsvc(&["list"]).code == 0).then_some(()));
    }

    fn kill_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().expect("kill");
            daemon.wait().expect("wait");
        }
    }

    fn unit(&self, name: &str, text: &str) {
        let text = format!("{text}\n[logging]\ntarget = \"file\"\n");
        fs::write(self.path(&format!(".config/rsvc/units/{name}.toml")), text).expect("a unit");
    }

    fn status(&self, unit: &str) -> serde_json::Value {
        let said = self.rsvc(&["status", "--json", unit]);
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    }

    fn main_process(&self, unit: &str) -> Process {
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

#[test]
fn a_service_of_an_ordinary_user_outlives_the_daemon_and_is_stopped_whole() {
    let Some(mut home) = Home::new() else { return };
    // The trap takes the background process along only if that is signalled too.
    let script =
        "touch $STATE_DIRECTORY/made; sleep 1000 & echo up; trap 'echo TERM; exit 0' TERM; while :; do wait; done";
    home.unit(
        "web",
        &format!("[service]\nexec = [\"/bin/sh\", \"-c\", '''{script}''']\n[directories]\nstate = [\"web\"]\n"),
    );
    home.rsvc(&["start", "web"]).expect(0);
    let before = home.main_process("web");
    assert!(home.path(".local/state/rsvc/directories/state/web/made").exists());
    eventually("the trap is set", || home.rsvc(&["logs", "web"]).out.contains("up").then_some(()));

    home.kill_daemon();
    assert!(before.is_alive());
    home.start_daemon();
    assert_eq!(home.main_process("web"), before, "taken over, not started again");
    let said = home.rsvc(&["exec", "web", "--", "cat", "/proc/self/status"]).expect(0);
    assert!(said.out.contains("NoNewPrivs:\t1"), "{}", said.out);

    home.rsvc(&["stop", "web"]).expect(0);
    assert!(!before.is_alive());
    assert!(home.rsvc(&["logs", "web"]).out.contains("TERM"));
    assert_eq!(home.status("web")["result"], "success", "{:#}", home.status("web"));
}

#[test]
fn what_ended_while_no_daemon_ran_is_known_and_started_again() {
    let Some(mut home) = Home::new() else { return };
    let script = "until [ -e $STATE_DIRECTORY/go ]; do sleep 0.01; done; exit 7";
    let text = format!("[service]\nexec = [\"/bin/sh\", \"-c\", '''{script}''']\n[directories]\nstate = [\"job\"]\n");
    home.unit("job", &format!("{text}[restart]\npolicy = \"no\"\n"));
    home.unit("again", "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n[restart]\ndelay = \"0\"\n");
    home.rsvc(&["start", "job", "again"]).expect(0);
    let (job, again) = (home.main_process("job"), home.main_process("again"));
    home.kill_daemon();
    fs::write(home.path(".local/state/rsvc/directories/state/job/go"), "").expect("go");
    again.signal(rustix::process::Signal::KILL);
    eventually("both have ended", || (!job.is_alive() && !again.is_alive()).then_some(()));
    home.start_daemon();
    let job = eventually("the status is known", || {
        let status = home.status("job");
        (status["state"] == "failed").then_some(status)
    });
    assert_eq!(job["exit_code"], 7, "{job:#}");
    let restarted = eventually("it is started again", || {
        let status = home.status("again");
        (status["state"] == "active").then_some(status)
    });
    assert_eq!(restarted["restarts"], 1, "{restarted:#}");
}

/// A root file system of programs of the host, for `service.user` of somebody else.
const OWN_ROOT: &str = r#"
[rootfs]
type = "tmpfs"
[[mounts]]
destination = "/usr"
type = "bind"
source = "/usr"
[[mounts]]
destination = "/lib"
type = "bind"
source = "/usr/lib"
[[mounts]]
destination = "/lib64"
type = "bind"
source = "/usr/lib64"
"#;

/// The lines of a user's map, as numbers.
fn maps(text: &str) -> Vec<Vec<u32>> {
    let numbers = |line: &str| line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    text.lines().map(numbers).collect()
}

#[test]
fn another_user_of_subuid_is_mapped_kept_joined_and_stopped_whole() {
    if !["/usr/lib", "/usr/lib64"].iter().all(|path| PathBuf::from(path).is_dir()) {
        return skipped("the host's programs do not stand below /usr alone");
    }
    let Some(mut home) = Home::with_subordinate_ids("nobody:100000:65536") else { return };
    let script = "trap 'echo TERM; exit 0' TERM; sleep 1000 & echo up; while :; do wait; done";
    let exec = format!("exec = [\"/usr/bin/sh\", \"-c\", '''{script}''']");
    home.unit("web", &format!("[service]\n{exec}\nuser = \"33\"\ngroup = \"33\"\n{OWN_ROOT}"));
    home.unit("auto", "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n[namespaces]\nuser = \"auto\"\n");
    home.rsvc(&["start", "web", "auto"]).expect(0);
    let expected = [vec![0, NOBODY, 1], vec![1, 100_000, 65536]];
    for (unit, uid) in [("web", 100_032), ("auto", NOBODY)] {
        let pid = home.main_process(unit).pid;
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).expect("it runs");
        assert_eq!(maps(&read("uid_map")), expected, "{unit}");
        assert_eq!(maps(&read("gid_map")), expected, "{unit}");
        let status = read("status");
        let found =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).expect("a line").trim().to_owned();
        let all = [uid.to_string().as_str(); 4].join("\t");
        assert_eq!((found("Uid:"), found("Gid:")), (all.clone(), all), "{unit}");
        assert_eq!((found("Groups:"), found("CapEff:")), (uid.to_string(), "0000000000000000".to_owned()), "{unit}");
    }
    let before = home.main_process("web");
    eventually("the trap is set", || home.rsvc(&["logs", "web"]).out.contains("up").then_some(()));
    home.kill_daemon();
    assert!(before.is_alive());
    home.start_daemon();
    assert_eq!(home.main_process("web"), before, "taken over, not started again");
    let said = home.rsvc(&["exec", "web", "--", "/usr/bin/id", "-u"]).expect(0);
    assert_eq!(said.out.trim(), "33");
    home.rsvc(&["stop", "web", "auto"]).expect(0);
    assert!(!before.is_alive());
    assert!(home.rsvc(&["logs", "web"]).out.contains("TERM"));
}

#[test]
fn who_has_no_other_ids_is_told_where_they_come_from() {
    let Some(home) = Home::with_subordinate_ids("somebody:100000:65536") else { return };
    home.unit("web", &format!("[service]\nexec = [\"/usr/bin/true\"]\nuser = \"33\"\n{OWN_ROOT}"));
    home.unit("auto", "[service]\nexec = [\"/bin/true\"]\n[namespaces]\nuser = \"auto\"\n");
    for unit in ["web", "auto"] {
        let said = home.rsvc(&["start", unit]);
        assert_ne!(said.code, 0, "{said:?}");
        assert!(said.err.contains("/etc/subuid gives nobody no ids"), "{}", said.err);
        assert!(
            said.err.contains("usermod --add-subuids") && said.err.contains(&format!("{unit}.toml:")),
            "{}",
            said.err
        );
    }
}

#[test]
fn without_a_runtime_directory_it_says_what_is_missing() {
    let mut command = Command::new(RSVC);
    let said: Said =
        command.args(["--instance", "user", "list"]).env_remove("XDG_RUNTIME_DIR").output().expect("rsvc").into();
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("XDG_RUNTIME_DIR") && said.err.contains("hint:"), "{}", said.err);
}

//! `rsvc keeper`, which a service manager runs in the group that it delegates: it steps aside, says so, and stays; and it
//! stops everything in order, whether a daemon is left or not.

#[macro_use]
mod instance;

use instance::process::Process;
use instance::{Instance, RSVC, eventually, skipped};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Says in its log that it was told to end, so that an orderly stop is told from a kill.
const POLITE: &str = r#"
[service]
exec = ["/bin/sh", "-c", "trap 'echo told; exit 0' TERM; echo up; while :; do sleep 0.1; done"]
[ready]
command = ["/bin/true"]
"#;

fn with_a_service() -> (Instance, Process) {
    let instance = Instance::start();
    instance.unit("polite", POLITE);
    instance.rsvc(&["start", "polite"]).expect(0);
    instance.wait_for_log("polite", "up");
    let main = instance.main_process("polite");
    (instance, main)
}

#[test]
fn without_a_daemon_everything_is_stopped_in_order() {
    root_only!();
    let (mut instance, main) = with_a_service();
    instance.kill_daemon();
    assert!(main.is_alive(), "the service died with its daemon");
    let said = instance.rsvc(&["keeper", "--stop"]).expect(0);
    assert!(!main.is_alive(), "{}{}", said.out, said.err);
    assert!(instance.log("polite").contains("told"), "it was killed without a word: {}", instance.log("polite"));
}

#[test]
fn with_a_daemon_it_is_asked_and_goes_on() {
    root_only!();
    let (instance, main) = with_a_service();
    instance.rsvc(&["keeper", "--stop"]).expect(0);
    assert!(!main.is_alive());
    assert!(instance.log("polite").contains("told"));
    instance.rsvc(&["list"]).expect(0);
}

#[test]
fn where_no_daemon_has_begun_there_is_nothing_to_stop_and_nothing_is_started() {
    let instance = Instance::prepared();
    instance.unit("polite", POLITE);
    let wants = instance.file("units/default.wants");
    fs::create_dir(&wants).expect("a directory");
    std::os::unix::fs::symlink("../polite.toml", wants.join("polite.toml")).expect("a link");
    let said = instance.rsvc(&["keeper", "--stop"]).expect(0);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("", ""));
    assert_eq!(fs::read_dir(instance.file("run")).expect("a directory").count(), 0);
}

/// A group of its own in the v2 tree, removed at the end.
struct Group(PathBuf);

impl Group {
    /// Below this process's own. `None`: there is no such tree, or nothing may be made there.
    fn make(name: &str) -> Option<Group> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?.split(' ').nth(4)?;
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?.to_owned();
        let path = Path::new(mount).join(own).join(format!("{name}-{}", std::process::id()));
        fs::create_dir(&path).ok()?;
        Some(Group(path))
    }

    /// Starts `rsvc keeper` in it.
    fn start_keeper(&self, notify: &Path) -> Child {
        let script = format!("echo 0 > {}/cgroup.procs && exec {RSVC} keeper", self.0.display());
        let mut command = Command::new("sh");
        command.args(["-c", &script]).env("NOTIFY_SOCKET", notify).stdin(Stdio::null()).stderr(Stdio::piped());
        command.spawn().expect("sh can be run")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(self.0.join("keeper"));
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn it_steps_aside_before_it_is_ready_and_ends_when_told() {
    root_only!();
    let Some(group) = Group::make("rsvc-keeper-test") else { return skipped("no group can be made in a v2 tree") };
    let directory = tempfile::tempdir().expect("a directory");
    let notify = directory.path().join("notify");
    let listener = UnixDatagram::bind(&notify).expect("a socket");
    let mut keeper = group.start_keeper(&notify);
    let mut text = [0; 64];
    let count = listener.recv(&mut text).expect("the keeper says something");
    assert_eq!(&text[..count], b"READY=1");
    let own = fs::read_to_string(format!("/proc/{}/cgroup", keeper.id())).expect("it runs");
    assert!(own.lines().any(|line| line.starts_with("0::") && line.ends_with("/keeper")), "{own}");
    let procs = |group: &Path| fs::read_to_string(group.join("cgroup.procs")).expect("a group");
    assert_eq!(procs(&group.0), "", "processes beside inner groups");
    assert_eq!(procs(&group.0.join("keeper")).trim(), keeper.id().to_string());
    let pid = rustix::process::Pid::from_child(&keeper);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("kill");
    let status = eventually("the keeper ends", || keeper.try_wait().expect("wait"));
    assert!(status.success(), "{status}");
}

#[test]
fn what_is_no_delegated_group_is_refused_with_the_remedy() {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // Elsewhere it would begin to hold a group.
    if !own.lines().any(|line| line == "0::/") || !mounts.contains(" - cgroup2 ") {
        return skipped("this process is not in the root group of a v2 tree");
    }
    let output = Command::new(RSVC).arg("keeper").stdin(Stdio::null()).output().expect("rsvc can be run");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("Delegate=yes"), "{said}");
}

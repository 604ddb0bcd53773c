//! An instance whose units say what became of them: how often each ran, and whether two copies ever lived at once.

use crate::instance::process::Process;
use crate::instance::{Instance, PATIENCE};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What each unit's shell does first. The lock is held by everything that it starts and by nothing else.
const WITNESS: &str = "d=$STATE_DIRECTORY; exec 9>>$d/lock; \
    flock -n 9 || { echo $INVOCATION_ID >> $d/doubled; exit 99; }; echo $INVOCATION_ID >> $d/runs; ";

/// Runs until it is asked to end, and says that it was.
pub const SERVE: &str = "trap 'echo TERM >> $d/heard; exit 0' TERM; sleep 1000 & while :; do wait; done";

/// See the module documentation.
pub struct Lab {
    pub instance: Instance,
    /// Main processes as they were before.
    pub before: Vec<Process>,
    /// Somebody outside who waits for an answer.
    pub outside: Option<JoinHandle<String>>,
}

impl Lab {
    pub fn new() -> Lab {
        Lab { instance: Instance::prepared(), before: Vec::new(), outside: None }
    }

    /// A unit whose program is a shell script that begins with the witness. `more`: further keys of `[service]`, then
    /// other tables. Replicas have a directory each.
    pub fn unit(&self, name: &str, kind: &str, script: &str, more: &str) {
        let state = name.replace('@', "${instance}");
        let text = format!(
            "[service]\ntype = \"{kind}\"\nexec = [\"/bin/sh\", \"-c\", '''{WITNESS}{script}''']\n{more}\n\
             [directories]\nstate = [\"{state}\"]\nruntime = [\"{state}\"]\n"
        );
        self.instance.unit(name, &text);
    }

    /// A file in the state directory of a unit.
    pub fn path(&self, unit: &str, file: &str) -> PathBuf {
        self.instance.file(&format!("state/directories/state/{unit}/{file}"))
    }

    /// What a unit wrote into a file.
    pub fn said(&self, unit: &str, file: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(unit, file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// What the daemon has written down about a unit.
    pub fn saved(&self, unit: &str) -> Value {
        let path = self.instance.file(&format!("run/services/{unit}/state"));
        fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    pub fn is_saved_ready(&self, unit: &str) -> bool {
        self.saved(unit)["ready"] == true
    }

    pub fn is_forgotten(&self, unit: &str) -> bool {
        let saved = self.saved(unit);
        saved.is_null() || saved["down"] == true
    }

    pub fn state(&self, unit: &str) -> String {
        self.instance.status(unit)["state"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until nothing of the unit is under way, and tells how it stands.
    #[track_caller]
    pub fn settled(&self, unit: &str) -> Value {
        let at_rest = |status: &Value| ["active", "inactive", "failed"].iter().any(|state| status["state"] == *state);
        self.waits_for(unit, "settled", at_rest)
    }

    #[track_caller]
    pub fn waits_for(&self, unit: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let last = std::cell::RefCell::new(Value::Null);
        eventually(
            || format!("{unit} does not become {what}: {}", brief(&last.borrow())),
            || {
                let status = self.instance.status(unit);
                let found = is(&status);
                *last.borrow_mut() = status;
                found.then(|| last.borrow().clone())
            },
        )
    }

    #[track_caller]
    pub fn comes_to(&self, unit: &str, state: &str) -> Value {
        self.waits_for(unit, state, |status| status["state"] == state)
    }

    #[track_caller]
    pub fn is_running(&self, status: &Value) -> Process {
        assert!(status["main_pid"].is_number(), "{}", brief(status));
        let process = Process::of(&status["main_pid"]);
        let is_other = process.command_line().starts_with("rsvc-init");
        assert!(!is_other, "its resident init is shown as the main process: {}", brief(status));
        process
    }

    /// It is as it was before: the same process, which nobody asked to end.
    #[track_caller]
    pub fn is_untouched(&self, unit: &str, status: &Value) {
        assert!(self.before.contains(&self.is_running(status)), "{unit} was restarted: {}", brief(status));
        assert_eq!(self.said(unit, "heard"), Vec::<String>::new(), "{unit}");
    }

    /// Starts a unit and remembers its main process.
    pub fn start(&mut self, unit: &str) {
        self.instance.rsvc(&["start", unit]).expect(0);
        self.before.push(self.instance.main_process(unit));
    }

    // ── what must not be ──

    /// Units of which two copies lived at once.
    pub fn doubled(&self) -> Vec<String> {
        let directory = self.instance.file("state/directories/state");
        let units = fs::read_dir(directory).into_iter().flatten().flatten();
        units
            .filter(|unit| unit.path().join("doubled").exists())
            .map(|u| u.file_name().into_string().expect("UTF-8"))
            .collect()
    }

    /// What is left of the instance besides the daemon, as lines.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for entry in fs::read_dir(self.instance.file("run/services")).into_iter().flatten().flatten() {
            for name in ["state", "sockets"] {
                let path = entry.path().join(name);
                // The answer for a client that does not ask again is kept for a while.
                let is_left = |text: &String| !(name == "state" && text.contains("\"down\":true"));
                if let Some(text) = fs::read_to_string(&path).ok().filter(is_left) {
                    left.push(format!("{}: {text}", path.display()));
                }
            }
        }
        let entries = fs::read_dir(self.instance.file("run/io")).into_iter().flatten().flatten();
        left.extend(entries.map(|entry| entry.path().display().to_string()));
        let groups = self.groups();
        for group in groups.iter().filter(|group| group.file_name().is_none_or(|name| name != "rsvc-keepers")) {
            left.push(group.display().to_string());
        }
        let place = self.instance.path().display().to_string();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        left.extend(mounts.lines().filter(|line| line.contains(&place)).map(str::to_owned));
        let mut processes = self.processes();
        // That of the instance stays, and is one.
        if let Some(at) = processes.iter().position(|process| process.command_line().starts_with("rsvc-keeper\0")) {
            processes.remove(at);
        }
        left.extend(processes.iter().map(|process| format!("process {}: {}", process.pid, process.command_line())));
        left
    }

    /// Name of the root group.
    fn root(&self) -> String {
        let record = fs::read_to_string(self.instance.file("run/cgroup-root")).unwrap_or_default();
        record.trim().rsplit('/').next().unwrap_or_default().to_owned()
    }

    /// Everything below the root group, in every hierarchy.
    fn groups(&self) -> Vec<PathBuf> {
        let record = fs::read_to_string(self.instance.file("run/cgroup-root")).unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mounts = mounts.lines().filter(|line| line.contains(" cgroup")).filter_map(|line| line.split(' ').nth(1));
        let paths: BTreeSet<&str> =
            record.lines().filter_map(|line| line.split_once(":/")).map(|(_, path)| path).collect();
        let roots = mounts.flat_map(|mount| paths.iter().map(move |path| Path::new(mount).join(path)));
        let entries = roots.filter_map(|root| fs::read_dir(root).ok()).flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }

    /// Every process in the instance's groups.
    pub fn processes(&self) -> Vec<Process> {
        let root = format!("/{}/", self.root());
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let inside =
            pids.filter(|pid| fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.contains(&root)));
        inside.filter_map(Process::with_pid).collect()
    }

    /// What the daemon bore and that is no service: nurseries.
    pub fn nurseries(&self) -> Vec<Process> {
        let daemon = self.instance.daemon_pid();
        let children = fs::read_to_string(format!("/proc/{daemon}/task/{daemon}/children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|pid| Process::with_pid(pid.parse().ok()?));
        children.filter(|child| child.command_line().contains("nursery")).collect()
    }

    /// As at first.
    pub fn clean(&mut self) {
        self.before.clear();
        self.outside = None;
        let _ = fs::remove_dir_all(self.instance.file("state/directories"));
        let _ = fs::remove_dir_all(self.instance.file("state/timers"));
        let _ = fs::remove_dir_all(self.instance.file("state/log"));
    }
}

/// What matters of a status.
pub fn brief(status: &Value) -> String {
    let keys =
        ["state", "substate", "result", "cause", "main_pid", "exit_code", "exit_signal", "restarts", "processes"];
    let of = keys.iter().filter(|key| !status[**key].is_null()).map(|key| format!("{key}={}", status[*key]));
    of.collect::<Vec<_>>().join(" ")
}

/// Like that of the instance; `RSVC_CRASH_PATIENCE`, in seconds, gives up earlier.
#[track_caller]
pub fn eventually<T>(what: impl Fn() -> String, mut look: impl FnMut() -> Option<T>) -> T {
    let patience = std::env::var("RSVC_CRASH_PATIENCE").ok().and_then(|text| text.parse().ok());
    let patience = patience.map_or(PATIENCE, Duration::from_secs);
    #[allow(clippy::disallowed_methods, reason = "tests need a deadline of their own")]
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < patience, "gave up waiting: {}", what());
        std::thread::sleep((begin.elapsed() / 5).clamp(Duration::from_millis(5), Duration::from_millis(500)));
    }
}

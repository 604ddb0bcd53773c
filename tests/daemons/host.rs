//! A small host for one daemon: an instance whose daemon has a network and a tree of its own.
//!
//! The stock configuration listens on stock ports, which may be taken here: so rsvcd runs in a network namespace with
//! only `lo`, and clients are sent in with nsenter(1). In its mount namespace a test lays empty directories over those
//! of packages that a unit writes to (`/var/log/nginx`), and gives a stock file one more line where the stock serves
//! nothing.

use crate::instance::{Instance, Said, eventually};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// See the module documentation.
pub struct Host {
    pub instance: Instance,
    pub unit: &'static str,
}

/// What the main process promises in /proc/PID/status.
pub struct Promise {
    pub user: &'static str,
    /// Numbers of capabilities(7), the whole of the effective and of the bounding set.
    pub capabilities: &'static [u32],
    /// Mount points that are not read-only, besides the private /tmp and /var/tmp; sorted.
    pub writable: &'static [&'static str],
}

impl Host {
    /// A daemon with the unit as it is shipped; `setup` is a shell script that runs as root before it, in the new
    /// namespaces, with the instance's directory as `$DIR`.
    pub fn new(unit: &'static str, setup: &str) -> Host {
        Host::edited(unit, &|text| text, setup)
    }

    /// The same after a change of the unit; the test says why it is needed.
    pub fn edited(unit: &'static str, edit: &dyn Fn(String) -> String, setup: &str) -> Host {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("units").join(format!("{unit}.toml"));
        let text = fs::read_to_string(&shipped).unwrap_or_else(|error| panic!("{}: {error}", shipped.display()));
        Host::with(unit, &edit(text), setup)
    }

    /// The same with a unit that is not shipped.
    pub fn with(unit: &'static str, text: &str, setup: &str) -> Host {
        let mut instance = Instance::prepared();
        instance.unit(unit, text);
        let directory = instance.path().display();
        let script = format!("ip link set lo up\nDIR={directory}\n{setup}\nexec \"$@\"");
        instance.wrap_daemon(&["unshare", "--net", "--mount", "sh", "-euc", &script, "sh"]);
        instance.start_daemon();
        Host { instance, unit }
    }

    /// Runs a shell script as a client on this host.
    pub fn client(&self, script: &str) -> Said {
        let pid = self.instance.daemon_pid().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--net", "--mount", "--target", &pid, "sh", "-euc", script]).stdin(Stdio::null());
        command.output().expect("nsenter runs").into()
    }

    /// Where `directories.runtime = [name]` of this instance lies on the host.
    pub fn runtime(&self, name: &str) -> PathBuf {
        self.instance.file("run/directories").join(name)
    }

    /// Where `directories.state = [name]` of this instance lies on the host.
    pub fn state(&self, name: &str) -> PathBuf {
        self.instance.file("state/directories/state").join(name)
    }

    /// Starts the unit; it must be ready and serve at once.
    pub fn start(&self, ask: &dyn Fn(&Host)) {
        let said = self.instance.rsvc(&["start", self.unit]);
        assert_eq!(said.code, 0, "{}\nlog: {}\n{}", said.err, self.log(), self.instance.daemon_log());
        let status = self.status();
        assert_eq!((&status["state"], &status["substate"]), (&"active".into(), &"running".into()), "{status:#}");
        ask(self);
    }

    /// What /proc says of the main process.
    pub fn keeps(&self, promise: &Promise) {
        let pid = self.main_pid();
        let uid = self.id(promise.user, "-u");
        assert_eq!(field(pid, "Uid"), format!("{uid}\t{uid}\t{uid}\t{uid}"), "ids of {}", promise.user);
        assert_eq!(field(pid, "NoNewPrivs"), "1");
        assert_eq!(field(pid, "Seccomp"), "2", "mode 2 is a filter");
        let mask = mask(promise.capabilities);
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(field(pid, set), mask, "{set}");
        }
        let writable: Vec<String> =
            writable(pid).into_iter().filter(|place| place != "/tmp" && place != "/var/tmp").collect();
        assert_eq!(writable, promise.writable, "what the service can write");
    }

    /// Number of a user (`-u`) or of its group (`-g`).
    pub fn id(&self, user: &str, option: &str) -> String {
        let output = Command::new("id").args([option, user]).output().expect("id runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Reloads: the main process stays, `done` sees that it happened, and it goes on serving.
    pub fn reload(&self, done: &dyn Fn(&Host) -> bool, ask: &dyn Fn(&Host)) {
        let before = self.main_pid();
        self.instance.rsvc(&["reload", self.unit]).expect(0);
        eventually("the reload happens", || done(self).then_some(()));
        self.instance.wait_for_state(self.unit, "active");
        ask(self);
        let status = self.status();
        assert_eq!(status["main_pid"], before, "the same main process");
        assert_eq!(status["restarts"], 0);
    }

    /// kill -9 of the main process: it comes back by itself, ready, and serves.
    pub fn survives_a_kill(&self, ask: &dyn Fn(&Host)) {
        let before = self.main_pid();
        let pid = i32::try_from(before).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it runs");
        let status = eventually("it comes back", || {
            let status = self.status();
            let back = status["state"] == "active" && status["main_pid"].as_i64().is_some_and(|now| now != before);
            back.then_some(status)
        });
        assert_eq!(status["restarts"], 1, "{status:#}");
        ask(self);
    }

    /// A stop by request: success, and nothing is left.
    pub fn stops_cleanly(&self) {
        let before = self.status();
        let pids: Vec<i64> =
            before["processes"].as_array().expect("processes").iter().filter_map(|p| p["pid"].as_i64()).collect();
        assert!(pids.contains(&self.main_pid()), "{before:#}");
        let said = self.instance.rsvc(&["stop", self.unit]);
        assert_eq!(said.code, 0, "{}\nlog: {}", said.err, self.log());
        let after = self.status();
        assert_eq!((&after["state"], &after["result"]), (&"inactive".into(), &"success".into()), "{after:#}");
        assert_eq!(after["exit_signal"], Value::Null, "it ended by itself: {after:#}");
        for pid in pids {
            assert!(!Path::new(&format!("/proc/{pid}")).exists(), "process {pid} is left");
        }
        let state = self.instance.file("run/services").join(self.unit).join("state");
        assert!(!state.exists(), "{} is left", state.display());
        self.instance.rsvc(&["is-active", self.unit]).expect(3);
    }

    pub fn status(&self) -> Value {
        self.instance.status(self.unit)
    }

    pub fn main_pid(&self) -> i64 {
        self.status()["main_pid"].as_i64().unwrap_or_else(|| panic!("no main process: {:#}", self.status()))
    }

    /// Host pids of the processes of the unit that have main as their parent.
    pub fn children(&self) -> Vec<i64> {
        let main = self.main_pid();
        let of = |pid: &i64| {
            fs::read_to_string(format!("/proc/{pid}/status"))
                .is_ok_and(|text| text.lines().any(|line| line == format!("PPid:\t{main}")))
        };
        let status = self.status();
        let processes = status["processes"].as_array().cloned().unwrap_or_default();
        processes.iter().filter_map(|process| process["pid"].as_i64()).filter(of).collect()
    }

    pub fn log(&self) -> String {
        self.instance.log(self.unit)
    }
}

/// A line of /proc/PID/status.
pub fn field(pid: i64, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
}

/// The mount points of a process that are not read-only, but those of /dev, where nodes are, and /proc; sorted.
fn writable(pid: i64) -> Vec<String> {
    let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("the process is there");
    // Of several mounts at one place the last is seen.
    let mounts: BTreeMap<&str, &str> = table
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(4);
            Some((words.next()?, words.next()?))
        })
        .collect();
    let seen = |place: &str| !["/dev", "/proc"].iter().any(|kernel| Path::new(place).starts_with(kernel));
    let open = |options: &str| options.split(',').any(|option| option == "rw");
    mounts
        .iter()
        .filter(|(place, options)| seen(place) && open(options))
        .map(|(place, _)| (*place).to_owned())
        .collect()
}

/// A set of capabilities as /proc shows it.
pub fn mask(capabilities: &[u32]) -> String {
    format!("{:016x}", capabilities.iter().fold(0_u64, |set, number| set | 1 << number))
}

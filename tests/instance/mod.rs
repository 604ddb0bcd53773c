//! A whole instance of rsvc in a temporary directory: units, runtime and state directories, control socket, groups.
//!
//! It is stopped and removed when the test ends, also when it fails. Processes are ended by pid, and only those that
//! this instance made.
#![allow(dead_code, reason = "each test file uses its part of this")]

#[macro_use]
mod skip;
#[macro_use]
mod needs;
pub mod desk;
pub mod home;
pub mod image;
pub mod journald;
pub mod namespace;
pub mod process;
pub mod tracer;

use process::Process;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The executable under test.
pub const RSVC: &str = env!("CARGO_BIN_EXE_rsvc");

/// Copies a program to where everybody may execute it.
///
/// Not by this process: a child that another thread has just forked would hold the copy open for writing until its exec,
/// and a file that is open for writing cannot be executed.
pub fn install(program: &Path, to: &Path) {
    let status = Command::new("install").args(["-m", "755"]).arg(program).arg(to).status();
    assert!(status.expect("install(1) is there").success());
}

/// How long anything may take before a test gives up; nothing is asserted about time.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Is this test run by root?
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says why a test cannot run here. The caller returns.
pub fn skipped(why: &str) {
    skipped!("{why}");
}

/// Looks again and again until `look` finds something.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    #[allow(clippy::disallowed_methods, reason = "tests need a deadline of their own")]
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "gave up waiting: {what}");
        std::thread::sleep(pause(begin.elapsed()));
    }
}

/// Looks get rarer with time: a look can cost more than what is waited for, on an emulated machine.
fn pause(waited: Duration) -> Duration {
    (waited / 5).clamp(Duration::from_millis(10), Duration::from_millis(500))
}

/// See the module documentation.
pub struct Instance {
    directory: tempfile::TempDir,
    daemon: Option<Child>,
    arguments: Vec<String>,
    wrapper: Vec<String>,
    /// What the daemon is started from.
    program: PathBuf,
    /// Mount namespace in which everything of the instance runs.
    enter: Option<PathBuf>,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        use std::os::unix::process::ExitStatusExt;
        Said {
            code: output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Said {
    /// Fails the test unless the command ended with `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Said {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }
}

impl Instance {
    /// Directories only; no daemon yet.
    pub fn prepared() -> Instance {
        let directory =
            tempfile::Builder::new().prefix("rsvc-test-").tempdir_in("/var/tmp").expect("temporary directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
        for name in ["units", "run", "state"] {
            let path = directory.path().join(name);
            fs::create_dir(&path).expect("directory");
            // Whatever the umask: mapped ids and ordinary users pass here.
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("permissions");
        }
        Instance {
            directory,
            daemon: None,
            arguments: Vec::new(),
            wrapper: Vec::new(),
            program: PathBuf::from(RSVC),
            enter: None,
        }
    }

    /// A running daemon.
    pub fn start() -> Instance {
        Instance::start_with(&[])
    }

    /// A running daemon with more arguments.
    pub fn start_with(arguments: &[&str]) -> Instance {
        let mut instance = Instance::prepared();
        instance.arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
        instance.start_daemon();
        instance
    }

    /// Makes the daemon run below another program, which must execute it in the end: `wrapper... rsvc daemon`.
    pub fn wrap_daemon(&mut self, wrapper: &[&str]) {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
    }

    /// The daemon is started from this file from now on.
    pub fn use_program(&mut self, program: &Path) {
        self.program = program.to_owned();
    }

    /// The daemon finds no place for control groups, as in a container that sees them read-only.
    pub fn without_groups(&mut self) {
        self.arguments.extend(["--cgroup-root", "/none/of/ours"].map(str::to_owned));
    }

    /// Daemon and client run in this mount namespace from now on; whoever keeps it must outlive the instance.
    pub fn enter(&mut self, namespace: &namespace::Namespace) {
        self.enter = Some(namespace.mounts());
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A file of the instance as it is seen from where the daemon runs, for this process.
    pub fn seen(&self, name: &str) -> PathBuf {
        let path = self.file(name);
        match self.enter.as_deref().and_then(|mounts| mounts.parent()?.parent()) {
            Some(process) => process.join("root").join(path.strip_prefix("/").expect("absolute")),
            None => path,
        }
    }

    /// Starts the daemon (again) and waits until it answers.
    pub fn start_daemon(&mut self) {
        self.spawn_daemon();
        self.wait_for_daemon();
    }

    /// Starts the daemon (again), and does not wait for it.
    pub fn spawn_daemon(&mut self) {
        self.daemon = Some(self.daemon_command(&[]).stdin(Stdio::null()).spawn().expect("the daemon starts"));
    }

    /// Waits until the daemon answers, which must not end.
    pub fn wait_for_daemon(&mut self) {
        eventually("the daemon answers", || {
            if let Some(status) = self.daemon.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                panic!("the daemon ended at once with {status}: {}", self.daemon_log());
            }
            UnixStream::connect(self.seen("run/io.rsvc")).ok()
        });
    }

    /// The instance's root group in each hierarchy.
    pub fn groups(&self) -> Vec<PathBuf> {
        root_groups(&fs::read_to_string(self.seen("run/cgroup-root")).unwrap_or_default())
    }

    /// Starts the daemon (again), each call of which is judged, and does not wait for it: it may never answer. `None`,
    /// with the reason said, where that is not possible.
    pub fn start_traced_daemon(&mut self, judge: impl tracer::Judge) -> Option<tracer::Tracer> {
        let mut command = self.daemon_command(&tracer::GATE);
        let (tracer, daemon) = tracer::Tracer::spawn(&mut command, RSVC, judge)?;
        self.daemon = Some(daemon);
        Some(tracer)
    }

    /// Waits until a traced daemon answers; `false`: it came to its end before. That somebody can connect is no answer:
    /// the socket is there before the daemon knows whether it will work.
    pub fn answers(&self, tracer: &tracer::Tracer) -> bool {
        eventually("the traced daemon answers, or ends", || match tracer.is_over() {
            true => Some(false),
            false => {
                let connects = UnixStream::connect(self.seen("run/io.rsvc")).is_ok();
                (connects && self.rsvc(&["list"]).code == 0).then_some(true)
            }
        })
    }

    fn daemon_command(&self, before: &[&str]) -> Command {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.file("daemon.log")).expect("log");
        let wrapper = self.wrapper.iter().map(String::as_str);
        let own = self.program.to_str().expect("a plain path");
        let words = before.iter().copied().chain(wrapper).chain([own]).collect::<Vec<_>>();
        let mut command = self.configured(words[0]);
        command.args(&words[1..]).arg("daemon").args(&self.arguments);
        command.stdout(log.try_clone().expect("log")).stderr(log);
        command
    }

    /// Everything the daemon said.
    pub fn daemon_log(&self) -> String {
        fs::read_to_string(self.file("daemon.log")).unwrap_or_default()
    }

    pub fn daemon_pid(&self) -> i32 {
        self.daemon.as_ref().map_or(0, |child| child.id() as i32)
    }

    /// kill -9 of the daemon; services are not touched.
    pub fn kill_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().expect("kill");
            daemon.wait().expect("wait");
        }
    }

    /// Waits until the daemon has ended, by whatever.
    pub fn wait_for_end(&mut self) -> std::process::ExitStatus {
        let mut daemon = self.daemon.take().expect("a daemon was started");
        eventually("the daemon ends", || daemon.try_wait().expect("wait"))
    }

    /// SIGTERM to the daemon, which must end by itself.
    pub fn end_daemon(&mut self) -> std::process::ExitStatus {
        let mut daemon = self.daemon.take().expect("a daemon runs");
        let pid = rustix::process::Pid::from_child(&daemon);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("kill");
        eventually("the daemon ends", || daemon.try_wait().expect("wait"))
    }

    /// `rsvc` with this instance's directories.
    pub fn command(&self) -> Command {
        self.configured(RSVC)
    }

    /// A program that finds this instance's directories in its environment.
    pub fn configured(&self, program: &str) -> Command {
        let mut command = match &self.enter {
            Some(mounts) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--mount={}", mounts.display())).arg(program);
                command
            }
            None => Command::new(program),
        };
        command
            .env("RSVC_UNIT_PATH", self.file("units"))
            .env("RSVC_RUNTIME_DIR", self.file("run"))
            .env("RSVC_STATE_DIR", self.file("state"))
            .env_remove("RSVC_SOCKET")
            .env_remove("RSVC_CGROUP_ROOT")
            .env("NO_COLOR", "1")
            .env("LC_ALL", "C.UTF-8");
        // Where several daemons run side by side in one v2 group, each needs a root group of its own below a delegated one.
        if let Ok(parent) = std::env::var("RSVC_TEST_CGROUPS") {
            let name = self.directory.path().file_name().expect("a name").to_string_lossy().into_owned();
            command.env("RSVC_CGROUP_ROOT", Path::new(&parent).join(name));
        }
        command
    }

    /// Runs `rsvc ARGUMENTS` to its end.
    pub fn rsvc(&self, arguments: &[&str]) -> Said {
        self.command().args(arguments).stdin(Stdio::null()).output().expect("rsvc runs").into()
    }

    /// Writes a unit file. Its output goes where [`Instance::log`] finds it, on hosts with a journal too.
    pub fn unit(&self, name: &str, text: &str) -> PathBuf {
        let logging = if text.contains("[logging]") { "" } else { "\n[logging]\ntarget = \"file\"\n" };
        self.unit_as_is(name, &format!("{text}{logging}"))
    }

    /// Writes a unit file with nothing added.
    pub fn unit_as_is(&self, name: &str, text: &str) -> PathBuf {
        let path = self.file("units").join(format!("{name}.toml"));
        fs::write(&path, text).expect("unit file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("permissions");
        path
    }

    /// `status -o json` of one unit.
    pub fn status(&self, unit: &str) -> serde_json::Value {
        let said = self.rsvc(&["status", "-o", "json", unit]);
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    }

    /// Does the host have what `rsvc features` calls so?
    pub fn has_feature(&self, name: &str) -> bool {
        let said = self.rsvc(&["features", "--json"]);
        said.out.lines().any(|line| line.contains(&format!("\"{name}\"")) && line.contains("\"available\":true"))
    }

    /// The main process, which must be there.
    #[track_caller]
    pub fn main_process(&self, unit: &str) -> Process {
        Process::of(&self.status(unit)["main_pid"])
    }

    /// Waits for a state.
    #[track_caller]
    pub fn wait_for_state(&self, unit: &str, state: &str) -> serde_json::Value {
        #[allow(clippy::disallowed_methods, reason = "tests need a deadline of their own")]
        let begin = Instant::now();
        loop {
            let status = self.status(unit);
            if status["state"] == state {
                return status;
            }
            assert!(begin.elapsed() < PATIENCE, "{unit} does not become {state}: {status:#}\n{}", self.daemon_log());
            std::thread::sleep(pause(begin.elapsed()));
        }
    }

    /// The file log of a unit; `rsvc logs` is tested elsewhere.
    pub fn log(&self, unit: &str) -> String {
        fs::read_to_string(self.seen(&format!("state/log/{unit}.log"))).unwrap_or_default()
    }

    /// Waits until the unit's log contains `text`.
    #[track_caller]
    pub fn wait_for_log(&self, unit: &str, text: &str) -> String {
        eventually(&format!("`{text}` in the log of {unit}"), || Some(self.log(unit)).filter(|log| log.contains(text)))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the daemon said:\n{}", self.daemon_log());
        }
        if self.daemon.is_none() && self.seen("run/cgroup-root").exists() {
            // The test killed it: services may still run, and only a daemon can stop them.
            let mut command = self.command();
            command.arg("daemon").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            self.daemon = command.spawn().ok();
            // No `eventually`: a panic while another one is on its way ends the whole process.
            #[allow(clippy::disallowed_methods, reason = "tests need a deadline of their own")]
            let begin = Instant::now();
            while UnixStream::connect(self.seen("run/io.rsvc")).is_err() && begin.elapsed() < PATIENCE {
                std::thread::sleep(pause(begin.elapsed()));
            }
        }
        let root = fs::read_to_string(self.seen("run/cgroup-root"));
        let _ = self.rsvc(&["stop", "--all", "--timeout", "120s"]);
        if let Some(mut daemon) = self.daemon.take() {
            let pid = rustix::process::Pid::from_child(&daemon);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = daemon.wait();
        }
        remove_groups(&root.unwrap_or_default());
    }
}

/// Removes the (empty) root group of a test instance from every hierarchy; nothing is killed here.
fn remove_groups(root: &str) {
    for group in root_groups(root) {
        // Empty by now as well, or it stays.
        let _ = fs::remove_dir(group.join("rsvc-keepers"));
        let _ = fs::remove_dir(group);
    }
}

/// Where the root group of a test instance is in each hierarchy that has it.
fn root_groups(root: &str) -> Vec<PathBuf> {
    let name = root.trim().rsplit('/').next().unwrap_or_default().to_owned();
    if !name.starts_with("rsvc-") {
        return Vec::new();
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let parent = std::env::var("RSVC_TEST_CGROUPS").unwrap_or_else(|_| "/".to_owned());
    let mut groups = Vec::new();
    for mount in mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (at, kind) = (words.next()?, words.next()?);
        kind.starts_with("cgroup").then(|| PathBuf::from(at))
    }) {
        for own in cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2)).chain([parent.as_str()]) {
            let group = mount.join(own.trim_start_matches('/')).join(&name);
            if group.is_dir() && group != mount && !groups.contains(&group) {
                groups.push(group);
            }
        }
    }
    groups
}

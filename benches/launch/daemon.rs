//! A daemon in a directory of its own, spoken to over its socket.

use crate::monotonic;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Ends with everything that it started.
pub struct Daemon {
    directory: PathBuf,
    child: Child,
    ended: bool,
}

impl Daemon {
    /// Starts it and waits for its socket; `run` below the directory is there already.
    pub fn start(directory: &Path) -> Daemon {
        for name in ["units", "state"] {
            fs::create_dir(directory.join(name)).expect("directory");
        }
        let daemon = Daemon { directory: directory.to_owned(), child: spawn(directory), ended: false };
        daemon.connect();
        daemon
    }

    /// Waits until it answers.
    fn connect(&self) -> UnixStream {
        loop {
            if let Ok(stream) = UnixStream::connect(self.file("run/io.rsvc")) {
                return stream;
            }
            assert!(
                Path::new(&format!("/proc/{}/fd/0", self.child.id())).exists(),
                "the daemon is gone: {}",
                self.said()
            );
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// The end of its log.
    fn said(&self) -> String {
        let text = fs::read_to_string(self.file("daemon.log")).unwrap_or_default();
        text.lines().rev().take(5).collect::<Vec<_>>().join("\n")
    }

    /// Kills the daemon and starts another one; milliseconds from that until it has listed all units.
    pub fn replace(&mut self) -> f64 {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
        let before = monotonic();
        self.child = spawn(&self.directory);
        self.call("Describe", "");
        (monotonic() - before) as f64 / 1e6
    }

    /// Where everything lies.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A path in its directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes a unit that runs the payload.
    pub fn unit(&self, name: &str, payload: &Path, service: &str, further: &str, arguments: &[&str]) {
        let mut argv = vec![payload.display().to_string()];
        argv.extend(arguments.iter().map(|word| (*word).to_owned()));
        let restart =
            if service.contains("oneshot") { "policy = \"no\"" } else { "policy = \"always\"\ndelay = \"0\"" };
        let logging = if further.contains("[logging]") { "" } else { "[logging]\ntarget = \"file\"\n" };
        let text = format!("[service]\nexec = {argv:?}\n{service}[restart]\n{restart}\n{logging}{further}");
        fs::write(self.file("units").join(format!("{name}.toml")), text).expect("unit");
    }

    /// One call, about a unit unless that is empty; fails unless it succeeds.
    pub fn call(&self, method: &str, unit: &str) {
        let mut stream = self.connect();
        let call = match unit {
            "" => format!("{{\"method\":\"io.rsvc.Manager.{method}\"}}\0"),
            _ => format!("{{\"method\":\"io.rsvc.Manager.{method}\",\"parameters\":{{\"unit\":\"{unit}\"}}}}\0"),
        };
        stream.write_all(call.as_bytes()).expect("write");
        let mut reply = Vec::new();
        BufReader::new(stream).read_until(0, &mut reply).expect("reply");
        let reply = String::from_utf8_lossy(&reply);
        assert!(!reply.contains("\"error\""), "{method} {unit}: {reply}");
    }

    /// Starts many at once, each over its own connection.
    pub fn start_all(&self, units: impl Iterator<Item = String>) {
        self.call_all("Start", units);
    }

    /// Stops many at once.
    pub fn stop_all(&self, units: impl Iterator<Item = String>) {
        self.call_all("Stop", units);
    }

    fn call_all(&self, method: &str, units: impl Iterator<Item = String>) {
        let mut streams = Vec::new();
        for unit in units {
            let mut stream = self.connect();
            let call = format!("{{\"method\":\"io.rsvc.Manager.{method}\",\"parameters\":{{\"unit\":\"{unit}\"}}}}\0");
            stream.write_all(call.as_bytes()).expect("write");
            streams.push(stream);
            if streams.len() == 128 {
                drain(&mut streams);
            }
        }
        drain(&mut streams);
    }

    fn lines(&self, unit: &str) -> Vec<u64> {
        let text = fs::read_to_string(self.file(&format!("state/log/{unit}.log"))).unwrap_or_default();
        text.lines().filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
    }

    fn next_line(&self, unit: &str, known: usize) -> u64 {
        loop {
            if let Some(time) = self.lines(unit).get(known) {
                return *time;
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// Microseconds from the request to the first instruction.
    pub fn start_to_exec(&self, unit: &str) -> f64 {
        let known = self.lines(unit).len();
        let before = monotonic();
        self.call("Start", unit);
        (self.next_line(unit, known) - before) as f64 / 1e3
    }

    /// Microseconds from kill -9 of the main process to the first instruction of the next one.
    pub fn death_to_exec(&self, unit: &str) -> f64 {
        let known = self.lines(unit).len();
        let pid = self.main_pid(unit);
        let before = monotonic();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
        (self.next_line(unit, known) - before) as f64 / 1e3
    }

    fn main_pid(&self, unit: &str) -> rustix::process::Pid {
        loop {
            let output = command(&self.directory).args(["status", "-o", "json", unit]).output().expect("status");
            let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
            if let Some(pid) = status["main_pid"].as_i64().and_then(|pid| rustix::process::Pid::from_raw(pid as i32)) {
                return pid;
            }
        }
    }

    /// PSS of the daemon, KiB.
    pub fn pss(&self) -> u64 {
        pss(self.child.id() as i32)
    }

    /// PSS of each process that keeps descriptors for the next daemon, KiB.
    pub fn keepers(&self) -> Vec<u64> {
        let groups = self.root_groups().into_iter().map(|group| group.join("rsvc-keepers"));
        let group = groups.into_iter().find(|group| group.join("cgroup.events").exists());
        group.map(|group| members(&group)).unwrap_or_default().into_iter().map(pss).collect()
    }

    /// The most memory that was the daemon's at any time, KiB (VmHWM).
    pub fn peak(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }

    /// Voluntary and involuntary context switches of the daemon.
    pub fn switches(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let lines = text.lines().filter(|line| line.contains("ctxt_switches"));
        lines.filter_map(|line| line.rsplit('\t').next()?.parse::<u64>().ok()).sum()
    }

    /// Paths of the instance's root group, by hierarchy.
    fn groups(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.file("run/cgroup-root")).unwrap_or_default();
        text.lines().filter_map(|line| line.split_once(':')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
    }

    /// The instance's root group where memory is accounted, and the file that tells how much.
    fn memory_groups(&self) -> Vec<(PathBuf, &'static str)> {
        let groups = self.groups();
        let find =
            |wanted: &str| groups.iter().find(|(name, _)| name == wanted).map(|(_, path)| path.trim_start_matches('/'));
        let v1 = find("memory").map(|path| (Path::new("/sys/fs/cgroup/memory").join(path), "memory.usage_in_bytes"));
        let v2 = find("v2").map(|path| (Path::new("/sys/fs/cgroup").join(path), "memory.current"));
        v1.into_iter().chain(v2).filter(|(group, file)| group.join(file).exists()).collect()
    }

    /// The instance's root group wherever it is mounted.
    fn root_groups(&self) -> Vec<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mounts: Vec<&str> = mounts
            .lines()
            .filter_map(|line| {
                let mut words = line.split(' ').skip(1);
                let (at, kind) = (words.next()?, words.next()?);
                kind.starts_with("cgroup").then_some(at)
            })
            .collect();
        let mut found: Vec<PathBuf> = Vec::new();
        for (_, path) in self.groups() {
            // Never a group that is not an instance's own.
            if Path::new(&path).file_name().is_some_and(|name| name.to_string_lossy().starts_with("rsvc-")) {
                let below = path.trim_start_matches('/').to_owned();
                found.extend(mounts.iter().map(|mount| Path::new(mount).join(&below)).filter(|group| group.is_dir()));
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// Memory charged to all services, bytes.
    pub fn charge(&self) -> Option<u64> {
        let (group, file) = self.memory_groups().into_iter().next()?;
        fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()
    }

    /// Open descriptors of the daemon.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }

    /// A v2 group of the benchmark's own beside the instance's, for the floor's children.
    pub fn bench_group(&self) -> Option<OwnedFd> {
        Some(fs::File::open(self.bench_group_path()?).ok()?.into())
    }

    /// Where [`Daemon::bench_group`] is; made when it is missing.
    pub fn bench_group_path(&self) -> Option<PathBuf> {
        let groups = self.groups();
        let (_, path) = groups.iter().find(|(name, _)| name == "v2")?;
        let parent = Path::new(path.trim_start_matches('/')).parent()?;
        let parent = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
            .into_iter()
            .map(|mount| Path::new(mount).join(parent))
            .find(|path| path.join("cgroup.procs").exists())?;
        let group = parent.join(format!("rsvc-bench-{}", std::process::id()));
        match fs::create_dir(&group) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => None,
            _ => Some(group),
        }
    }

    /// KiB of memory charged for the bare payload, by starting some in a group of their own.
    pub fn plain_charge(&self, payload: &Path, count: usize) -> Option<f64> {
        let (group, usage) = self.memory_groups().into_iter().find_map(|(group, usage)| {
            let group = group.join("plain");
            fs::create_dir(&group).ok()?;
            group.join(usage).exists().then_some((group, usage))
        })?;
        // The shell is in the group before it forks, so that the kernel's memory counts too. Its own is subtracted.
        let script = format!(
            "echo $$ > {group}/cgroup.procs; read go; i=0; while [ $i -lt {count} ]; do {payload} & i=$((i+1)); done; read end",
            group = group.display(),
            payload = payload.display()
        );
        let mut shell = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("sh can be run");
        let members = || members(&group);
        let read = || fs::read_to_string(group.join(usage)).ok()?.trim().parse::<u64>().ok();
        let settle = |wanted: usize| {
            while members().len() < wanted {
                std::thread::sleep(Duration::from_millis(5));
            }
            std::thread::sleep(Duration::from_millis(100));
            read().unwrap_or(0)
        };
        let before = settle(1);
        let mut input = shell.stdin.take().expect("piped");
        input.write_all(b"\n").expect("write");
        let after = settle(count + 1);
        for pid in members().into_iter().filter_map(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let _ = shell.wait();
        while fs::remove_dir(&group).is_err() {
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(after.saturating_sub(before) as f64 / 1024.0 / count as f64)
    }

    /// Stops it, and with it all services.
    pub fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if let Some(group) = self.bench_group_path() {
            let _ = fs::remove_dir(group);
        }
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
        // A daemon that failed has stopped nothing.
        self.root_groups().iter().for_each(|group| clear(group));
    }
}

/// Kills what is left in a group of the instance and those below it, and removes them.
fn clear(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            clear(&entry.path());
        }
    }
    for pid in members(group).into_iter().filter_map(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    // A group is busy for a moment after its last process died.
    for _ in 0..1000 {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                std::thread::sleep(Duration::from_millis(5));
            }
            _ => return,
        }
    }
}

/// Processes in a group.
fn members(group: &Path) -> Vec<i32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// PSS of a process, KiB.
fn pss(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn drain(streams: &mut Vec<UnixStream>) {
    for stream in streams.drain(..) {
        let mut reply = Vec::new();
        BufReader::new(stream).read_until(0, &mut reply).expect("reply");
        let reply = String::from_utf8_lossy(&reply);
        assert!(!reply.contains("\"error\""), "{reply}");
    }
}

/// The `rsvc` to be measured: that of this build, or another one named by the environment.
pub fn program() -> PathBuf {
    std::env::var_os("RSVC_BENCH_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_rsvc").into(), PathBuf::from)
}

/// `rsvc` with this instance's directories.
pub fn command(directory: &Path) -> Command {
    let mut command = Command::new(program());
    command.env("RSVC_UNIT_PATH", directory.join("units"));
    command.env("RSVC_RUNTIME_DIR", directory.join("run")).env("RSVC_STATE_DIR", directory.join("state"));
    command
}

fn spawn(directory: &Path) -> Child {
    let log = fs::File::options().create(true).append(true).open(directory.join("daemon.log")).expect("log");
    command(directory)
        .args(["daemon", "--stop-on-exit"])
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("log"))
        .stderr(log)
        .spawn()
        .expect("the daemon starts")
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

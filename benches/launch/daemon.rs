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
}

impl Daemon {
    /// Starts it and waits for its socket.
    pub fn start(directory: &Path) -> Daemon {
        for name in ["units", "run", "state"] {
            fs::create_dir(directory.join(name)).expect("directory");
        }
        let log = fs::File::create(directory.join("daemon.log")).expect("log");
        let child = command(directory)
            .args(["daemon", "--stop-on-exit"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log"))
            .stderr(log)
            .spawn()
            .expect("the daemon starts");
        let daemon = Daemon { directory: directory.to_owned(), child };
        while UnixStream::connect(daemon.file("run/io.rsvc")).is_err() {
            std::thread::sleep(Duration::from_millis(5));
        }
        daemon
    }

    /// A path in its directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes a unit that runs the payload.
    pub fn unit(&self, name: &str, payload: &Path, service: &str, arguments: &[&str]) {
        let mut argv = vec![payload.display().to_string()];
        argv.extend(arguments.iter().map(|word| (*word).to_owned()));
        let policy = if service.contains("oneshot") { "no" } else { "always" };
        let text = format!(
            "[service]\nexec = {argv:?}\n{service}[restart]\npolicy = \"{policy}\"\ndelay = \"0\"\n[logging]\ntarget = \"file\"\n"
        );
        fs::write(self.file("units").join(format!("{name}.toml")), text).expect("unit");
    }

    /// One call; fails unless it succeeds.
    pub fn call(&self, method: &str, unit: &str) {
        let mut stream = UnixStream::connect(self.file("run/io.rsvc")).expect("connect");
        let call = format!("{{\"method\":\"io.rsvc.Manager.{method}\",\"parameters\":{{\"unit\":\"{unit}\"}}}}\0");
        stream.write_all(call.as_bytes()).expect("write");
        let mut reply = Vec::new();
        BufReader::new(stream).read_until(0, &mut reply).expect("reply");
        let reply = String::from_utf8_lossy(&reply);
        assert!(!reply.contains("\"error\""), "{method} {unit}: {reply}");
    }

    /// Starts many at once, each over its own connection.
    pub fn start_all(&self, units: impl Iterator<Item = String>) {
        let mut streams = Vec::new();
        for unit in units {
            let mut stream = UnixStream::connect(self.file("run/io.rsvc")).expect("connect");
            let call = format!("{{\"method\":\"io.rsvc.Manager.Start\",\"parameters\":{{\"unit\":\"{unit}\"}}}}\0");
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
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
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

    /// Memory charged to all services, bytes.
    pub fn charge(&self) -> Option<u64> {
        let groups = self.groups();
        let (hierarchy, path) = groups.iter().find(|(name, _)| name == "memory").or_else(|| groups.first())?;
        let path = path.trim_start_matches('/');
        let files = [
            format!("/sys/fs/cgroup/{hierarchy}/{path}/memory.usage_in_bytes"),
            format!("/sys/fs/cgroup/{path}/memory.current"),
        ];
        files.iter().find_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok())
    }

    /// A v2 group of the benchmark's own beside the services, for the floor's children.
    pub fn bench_group(&self) -> Option<OwnedFd> {
        let groups = self.groups();
        let (_, path) = groups.iter().find(|(name, _)| name == "v2")?;
        let path = path.trim_start_matches('/');
        let root = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
            .into_iter()
            .map(|mount| Path::new(mount).join(path))
            .find(|path| path.join("cgroup.procs").exists())?;
        let group = root.join("floor");
        fs::create_dir(&group).ok()?;
        Some(fs::File::open(&group).ok()?.into())
    }
}

fn drain(streams: &mut Vec<UnixStream>) {
    for stream in streams.drain(..) {
        let mut reply = Vec::new();
        BufReader::new(stream).read_until(0, &mut reply).expect("reply");
        let reply = String::from_utf8_lossy(&reply);
        assert!(!reply.contains("\"error\""), "{reply}");
    }
}

fn command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rsvc"));
    command.env("RSVC_UNIT_PATH", directory.join("units"));
    command.env("RSVC_RUNTIME_DIR", directory.join("run")).env("RSVC_STATE_DIR", directory.join("state"));
    command
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let groups = self.groups();
        for (_, path) in groups.iter().filter(|(name, _)| name == "v2") {
            for mount in ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"] {
                let _ = fs::remove_dir(Path::new(mount).join(path.trim_start_matches('/')).join("floor"));
            }
        }
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

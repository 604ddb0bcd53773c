//! Launch, restart, memory, idleness: rsvc beside the floor and beside bubblewrap, interleaved in one run.
//!
//! `cargo bench --bench launch` (root), or with `-- --quick`. Every round does each contender once; medians, and ratios
//! taken within the round. Nothing is asserted about time: this prints, people judge.

mod daemon;
mod floor;

use daemon::Daemon;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// CLOCK_MONOTONIC in nanoseconds, the clock of the payload.
pub fn monotonic() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Compiles the payload.
fn payload(directory: &Path) -> PathBuf {
    let out = directory.join("payload");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/launch/payload.rs");
    let status = Command::new("rustc")
        .args(["--edition=2024", "--crate-type=bin", "-Cpanic=abort", "-Copt-level=s", "-Crelocation-model=static"])
        .args(["-Clink-arg=-nostartfiles", "-Clink-arg=-nostdlib", "-Clink-arg=-static", "-Clink-arg=-no-pie"])
        .arg("-o")
        .args([&out, &source])
        .status()
        .expect("rustc runs");
    assert!(status.success(), "the payload does not compile");
    out
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// One contender's times in microseconds.
struct Column {
    name: &'static str,
    times: Vec<f64>,
}

fn table(title: &str, columns: Vec<Column>) {
    println!("\n{title}");
    let base = columns.first().map(|column| column.times.clone()).unwrap_or_default();
    for Column { name, times } in columns {
        let mut ratios: Vec<f64> = times.iter().zip(&base).map(|(time, floor)| time / floor).collect();
        let mut sorted = times.clone();
        let middle = median(&mut sorted);
        let least = sorted.first().copied().unwrap_or(f64::NAN);
        println!("  {name:<44} {middle:>9.0} us (min {least:>7.0})   x {:.2}", median(&mut ratios));
    }
}

/// Runs a command whose first line of output is the payload's time; microseconds from before to that, and to the end.
fn one_shot(command: &mut Command) -> (f64, f64) {
    let before = monotonic();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("spawn");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    child.wait().expect("wait");
    let after = monotonic();
    let first: u64 = line.trim().parse().unwrap_or(before);
    ((first.saturating_sub(before)) as f64 / 1e3, (after - before) as f64 / 1e3)
}

fn floor_start(floor: &floor::Floor, once: bool) -> f64 {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe");
    let before = monotonic();
    let (_, pidfd) = floor.start(writer.as_fd(), once);
    drop(writer);
    let mut line = String::new();
    BufReader::new(std::fs::File::from(reader)).read_line(&mut line).expect("a line");
    rsvc::sys::process::wait_pidfd(pidfd.as_fd(), false).expect("wait");
    let first: u64 = line.trim().parse().expect("a time");
    (first - before) as f64 / 1e3
}

fn found(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).exists()))
}

fn launches(daemon: &Daemon, payload: &Path, rounds: usize) {
    let floor = floor::Floor::new(&payload.display().to_string(), daemon.bench_group());
    let (mut floors, mut starts, mut restarts) = (Vec::new(), Vec::new(), Vec::new());
    daemon.unit("once", payload, "type = \"oneshot\"\n", &["once"]);
    daemon.unit("stay", payload, "", &[]);
    daemon.call("Start", "stay");
    for _ in 0..rounds {
        floors.push(floor_start(&floor, true));
        starts.push(daemon.start_to_exec("once"));
        restarts.push(daemon.death_to_exec("stay"));
    }
    let columns = vec![
        Column { name: "floor: the same calls by hand", times: floors },
        Column { name: "rsvc daemon: request to first instruction", times: starts },
        Column { name: "rsvc daemon: kill -9 to first instruction", times: restarts },
    ];
    table("start to exec (all namespaces but net and user)", columns);
}

fn commands(daemon: &Daemon, payload: &Path, rounds: usize) {
    let unit = daemon.file("oneshot.toml");
    let text = format!(
        "[service]\ntype = \"oneshot\"\nexec = [\"{}\", \"once\"]\n[restart]\npolicy = \"no\"\n",
        payload.display()
    );
    std::fs::write(&unit, text).expect("unit");
    let mut lists = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    let bwrap = found("bwrap");
    for _ in 0..rounds {
        let (_, plain) = one_shot(Command::new(payload).arg("once"));
        lists[0].push(plain);
        let (_, run) = one_shot(Command::new(env!("CARGO_BIN_EXE_rsvc")).args(["run", "--quiet"]).arg(&unit));
        lists[1].push(run);
        if bwrap {
            let mut command = Command::new("bwrap");
            command.args([
                "--unshare-pid",
                "--unshare-ipc",
                "--unshare-uts",
                "--unshare-cgroup",
                "--ro-bind",
                "/",
                "/",
            ]);
            command.args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]).arg(payload).arg("once");
            lists[2].push(one_shot(&mut command).1);
        }
    }
    let [plain, run, bwrap_times, _] = lists;
    let mut columns = vec![Column { name: "plain exec", times: plain }, Column { name: "rsvc run", times: run }];
    if bwrap {
        columns.push(Column { name: "bwrap (no group, no filter)", times: bwrap_times });
    }
    table("one command, start to exit", columns);
}

fn sizes(daemon: &Daemon, payload: &Path, counts: &[usize], idle: Duration) {
    println!("\nmemory and idleness");
    let mut have = 0;
    for &count in counts {
        let before = daemon.charge();
        let begin = monotonic();
        for index in have..count {
            daemon.unit(&format!("idle{index}"), payload, "", &[]);
        }
        daemon.start_all((have..count).map(|index| format!("idle{index}")));
        let took = (monotonic() - begin) as f64 / 1e6;
        let started = count - have;
        have = count;
        let charge = daemon.charge().zip(before).map(|(now, then)| (now.saturating_sub(then)) as f64 / 1024.0);
        let each = charge.map_or("?".to_owned(), |kib| format!("{:.0} KiB", kib / started as f64));
        println!(
            "  {count:>5} services: daemon PSS {} KiB, {each} charged per further service, {started} started in {took:.0} ms",
            daemon.pss()
        );
    }
    let before = daemon.switches();
    std::thread::sleep(idle);
    println!("  idle at {have}: {} context switches of the daemon in {} s", daemon.switches() - before, idle.as_secs());
}

fn main() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: the launch benchmark needs root");
        return;
    }
    let quick = std::env::args().any(|word| word == "--quick");
    let directory = tempfile::Builder::new().prefix("rsvc-bench-").tempdir_in("/var/tmp").expect("directory");
    let payload = payload(directory.path());
    let daemon = Daemon::start(directory.path());
    let rounds = if quick { 50 } else { 500 };
    launches(&daemon, &payload, rounds);
    commands(&daemon, &payload, rounds / 5);
    let counts: &[usize] = if quick { &[1, 100] } else { &[1, 100, 1000] };
    sizes(&daemon, &payload, counts, Duration::from_secs(if quick { 5 } else { 30 }));
}

//! Launch, restart, memory, idleness: rsvc beside the same calls by hand, bubblewrap and runc, interleaved in one run.
//!
//! `cargo bench --bench launch` (root), or with `-- --quick`; with `-- --graph` instead thousands of units at once; with
//! `-- --memory` what idle services cost, before and after many deaths of the daemon. Every round does each contender once; medians, and ratios
//! taken within the round. Nothing is asserted about time: this prints, people judge.
//!
//! On a host with v1 controllers every attach to such a group costs 6 to 14 ms after a quiet moment, whoever does it.
//! The absolute figures are therefore taken in a view of `/sys/fs/cgroup` with the v2 tree alone (the benchmark
//! executes itself again in a mount namespace of its own), and the host's own layout is shown apart.

mod commands;
mod daemon;
mod floor;
mod graph;
mod memory;
mod scale;
mod seccomp;
mod view;

use daemon::Daemon;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use view::{Tmpfs, View};

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
        .expect("rustc can be run");
    assert!(status.success(), "the payload does not compile");
    out
}

/// The middle of some values; NaN of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// One contender's times in microseconds, one for each round.
pub struct Column {
    /// What was timed.
    pub name: &'static str,
    /// Microseconds.
    pub times: Vec<f64>,
}

impl Column {
    /// Without times yet.
    pub fn new(name: &'static str) -> Column {
        Column { name, times: Vec::new() }
    }
}

/// Medians and minima; ratios to the first column, paired by round.
pub fn table(title: &str, columns: &[Column]) {
    println!("\n{title}");
    let base = columns.first().map(|column| column.times.as_slice()).unwrap_or_default();
    for Column { name, times } in columns.iter().filter(|column| !column.times.is_empty()) {
        let ratios: Vec<f64> = times.iter().zip(base).map(|(time, floor)| time / floor).collect();
        let least = times.iter().copied().fold(f64::INFINITY, f64::min);
        println!("  {name:<46} {:>9.0} us (min {least:>7.0})   x {:.2}", median(times), median(&ratios));
    }
}

/// One start of the floor; microseconds to the payload's first instruction.
fn floor_start(floor: &floor::Floor, own_network: bool) -> f64 {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe");
    let before = monotonic();
    let (_, pidfd) = floor.start(writer.as_fd(), own_network);
    drop(writer);
    let mut line = String::new();
    BufReader::new(std::fs::File::from(reader)).read_line(&mut line).expect("a line");
    rsvc::sys::process::wait_pidfd(pidfd.as_fd(), false).expect("wait");
    floor.clean();
    let first: u64 = line.trim().parse().expect("a time");
    (first - before) as f64 / 1e3
}

/// Starts by the running daemon. `pause` before each makes them sparse, as a user's are.
fn launches(daemon: &Daemon, payload: &Path, rounds: usize, pause: Duration) {
    let floor = floor::Floor::new(&payload.display().to_string(), daemon.bench_group());
    daemon.unit("once", payload, "type = \"oneshot\"\n", "", &["once"]);
    daemon.unit("once-net", payload, "type = \"oneshot\"\n", "[network]\nmode = \"loopback\"\n", &["once"]);
    daemon.unit("stay", payload, "", "", &[]);
    daemon.call("Start", "stay");
    let mut plain = [
        Column::new("floor: the same calls by hand"),
        Column::new("rsvc daemon: request to first instruction"),
        Column::new("rsvc daemon: kill -9 to first instruction"),
    ];
    let mut network =
        [Column::new("floor: the same calls by hand"), Column::new("rsvc daemon: request to first instruction")];
    let quiet = || std::thread::sleep(pause);
    for _ in 0..rounds {
        quiet();
        plain[0].times.push(floor_start(&floor, false));
        quiet();
        plain[1].times.push(daemon.start_to_exec("once"));
        quiet();
        plain[2].times.push(daemon.death_to_exec("stay"));
        quiet();
        network[0].times.push(floor_start(&floor, true));
        quiet();
        network[1].times.push(daemon.start_to_exec("once-net"));
    }
    daemon.call("Stop", "stay");
    let how =
        if pause.is_zero() { "in a loop".to_owned() } else { format!("each after {} ms of quiet", pause.as_millis()) };
    table(&format!("start to exec, all namespaces but net and user, {how}"), &plain);
    table(&format!("start to exec, with a network namespace too, {how}"), &network);
}

/// Thousands of units at once, in one view of the control groups.
fn bench_graph(view: View, quick: bool) {
    println!("\n== {} ==", view.title());
    let place = |name: &str| tempfile::Builder::new().prefix(name).tempdir_in("/var/lib").expect("directory");
    let directory = place("rsvc-bench-");
    let program = payload(directory.path());
    {
        let _run = Tmpfs::on(directory.path().join("run"));
        graph::layers(directory.path(), &program, if quick { 2 } else { 10 });
    }
    let directory = place("rsvc-bench-");
    let program = payload(directory.path());
    let _run = Tmpfs::on(directory.path().join("run"));
    let counts: &[usize] = if quick { &[10, 100] } else { &[10, 100, 1000, 5000] };
    graph::growth(directory.path(), &program, counts, 20);
}

/// What idle services cost.
fn bench_memory(view: View, quick: bool) {
    if view == View::V2Only {
        return; // Memory is charged by the controllers that this view hides.
    }
    let directory = tempfile::Builder::new().prefix("rsvc-bench-").tempdir_in("/var/lib").expect("directory");
    let program = payload(directory.path());
    let _run = Tmpfs::on(directory.path().join("run"));
    let (count, deaths) = if quick { (100, 20) } else { (1000, 1000) };
    memory::bench(view, directory.path(), &program, count, deaths);
}

/// Everything in one view of the control groups.
fn bench(view: View, quick: bool) {
    println!("\n== {} ==", view.title());
    // Where services of the profile `standard` can see the payload: not in a place that they have of their own.
    let directory = tempfile::Builder::new().prefix("rsvc-bench-").tempdir_in("/var/lib").expect("directory");
    let payload = payload(directory.path());
    let _run = Tmpfs::on(directory.path().join("run"));
    let mut daemon = Daemon::start(directory.path());
    let rounds = if quick { 50 } else { 500 };
    let sparse = Duration::from_millis(20);
    match view {
        View::V1Beside => {
            launches(&daemon, &payload, rounds / 5, sparse);
            scale::charge(&daemon, &payload, if quick { 50 } else { 200 });
        }
        View::V2Only | View::Host => {
            launches(&daemon, &payload, rounds, Duration::ZERO);
            launches(&daemon, &payload, rounds / 5, sparse);
            commands::bench(&daemon, &payload, rounds / 2);
            seccomp::bench(rounds);
            if view == View::Host {
                scale::charge(&daemon, &payload, if quick { 50 } else { 200 });
            }
            let counts: &[usize] = if quick { &[1, 100] } else { &[1, 100, 1000] };
            scale::bench(&mut daemon, &payload, counts, rounds / 5, Duration::from_secs(if quick { 5 } else { 30 }));
        }
    }
}

fn main() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: the launch benchmark needs root");
        return;
    }
    let words: Vec<String> = std::env::args().collect();
    if let Some([group, program]) = words.iter().position(|word| word == "--floor").map(|at| &words[at + 1..]) {
        return commands::floor(group, program);
    }
    let quick = words.iter().any(|word| word == "--quick");
    match words.iter().position(|word| word == "--view").and_then(|at| words.get(at + 1)) {
        Some(word) => {
            let view = View::from_word(word).expect("a view");
            view.enter();
            let is_asked = |wanted: &str| words.iter().any(|word| word == wanted);
            match () {
                () if is_asked("--graph") => bench_graph(view, quick),
                () if is_asked("--memory") => bench_memory(view, quick),
                () => bench(view, quick),
            }
        }
        None => view::each(&words),
    }
}

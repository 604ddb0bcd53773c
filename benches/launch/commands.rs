//! One command from start to exit: what a user waits for at the prompt.

use crate::daemon::{Daemon, program};
use crate::{Column, floor, median, monotonic, table};
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs a command whose first line of output is the payload's time; microseconds to that, and to the end.
fn one_shot(command: &mut Command) -> (f64, f64) {
    let before = monotonic();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("spawn");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let output = child.wait_with_output().expect("wait");
    let after = monotonic();
    let first: u64 =
        line.trim().parse().unwrap_or_else(|_| panic!("{line:?} {}", String::from_utf8_lossy(&output.stderr)));
    (first.saturating_sub(before) as f64 / 1e3, (after - before) as f64 / 1e3)
}

/// The floor as a command: `--floor GROUP PROGRAM`.
pub fn floor(group: &str, payload: &str) {
    use std::os::fd::AsFd;
    let group: OwnedFd = std::fs::File::open(group).expect("group").into();
    let floor = floor::Floor::new(payload, Some(group));
    let (_, pidfd) = floor.start(std::io::stdout().as_fd(), false);
    rsvc::sys::process::wait_pidfd(pidfd.as_fd(), false).expect("wait");
    floor.clean();
}

fn found(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).exists()))
}

fn bwrap(payload: &Path) -> Command {
    let mut command = Command::new("bwrap");
    command.args(["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup", "--ro-bind", "/", "/"]);
    command.args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]).arg(payload).arg("once");
    command
}

/// A bundle from `runc spec`: the host's tree read-only, no network namespace, the payload as its process.
fn runc_bundle(daemon: &Daemon, payload: &Path) -> Option<PathBuf> {
    let bundle = daemon.file("bundle");
    std::fs::create_dir_all(bundle.join("rootfs")).ok()?;
    std::fs::copy(payload, bundle.join("rootfs/payload")).ok()?;
    if !Command::new("runc").args(["spec", "--bundle"]).arg(&bundle).status().ok()?.success() {
        return None;
    }
    let path = bundle.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = serde_json::json!(["/payload", "once"]);
    let namespaces = config["linux"]["namespaces"].as_array_mut()?;
    namespaces.retain(|namespace| namespace["type"] != "network");
    std::fs::write(&path, config.to_string()).ok()?;
    Some(bundle)
}

fn runc(bundle: &Path, round: usize) -> Command {
    let mut command = Command::new("runc");
    command.arg("run").arg("--bundle").arg(bundle).arg(format!("rsvc-bench-{}-{round}", std::process::id()));
    command
}

/// Times of `rsvc run`, the floor and others.
pub fn bench(daemon: &Daemon, payload: &Path, rounds: usize) {
    let unit = daemon.file("oneshot.toml");
    let argv = payload.display().to_string();
    let text = format!("[service]\ntype = \"oneshot\"\nexec = [{argv:?}, \"once\"]\n[restart]\npolicy = \"no\"\n");
    std::fs::write(&unit, text).expect("unit");
    let group = daemon.bench_group_path();
    let bundle = found("runc").then(|| runc_bundle(daemon, payload)).flatten();
    let bundle = bundle.filter(|bundle| runc(bundle, 0).output().is_ok_and(|output| output.status.success()));
    let own = std::env::current_exe().expect("own path");
    let mut columns = [
        Column::new("floor as a command"),
        Column::new("rsvc run"),
        Column::new("bwrap (no group, no filter, fewer mounts)"),
        Column::new("runc (no filter)"),
        Column::new("plain exec"),
    ];
    let mut first = Vec::new();
    for round in 0..rounds {
        if let Some(group) = &group {
            let floor = one_shot(Command::new(&own).arg("--floor").arg(group).arg(payload));
            columns[0].times.push(floor.1);
        }
        let run = one_shot(Command::new(program()).args(["run", "--quiet"]).arg(&unit));
        columns[1].times.push(run.1);
        first.push(run.0);
        if found("bwrap") {
            columns[2].times.push(one_shot(&mut bwrap(payload)).1);
        }
        if let Some(bundle) = &bundle
            && round % 5 == 0
        {
            columns[3].times.push(one_shot(&mut runc(bundle, round + 1)).1);
        }
        columns[4].times.push(one_shot(Command::new(payload).arg("once")).1);
    }
    table("one command, start to exit", &columns);
    println!("  rsvc run, start to first instruction: {:.0} us", median(&first));
}

//! Limits that the daemon meets while it runs: open files, memory, processes.

use crate::SLEEP;
use crate::instance::process::Process;
use crate::instance::{Instance, eventually, skipped};
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn limit(pid: i32, limits: &str) {
    let status = Command::new("prlimit").args(["--pid", &pid.to_string(), limits]).status();
    assert!(status.expect("prlimit(1) is there").success());
}

/// Restarts at once, and again and again.
const AGAIN: &str = "[restart]\npolicy = \"always\"\ndelay = \"100ms\"\nmax_delay = \"200ms\"\nlimit_burst = 0\n";

#[test]
fn without_descriptors_what_ends_is_started_again_when_there_are_some() {
    root_only!();
    let instance = Instance::start();
    instance.unit("web", SLEEP);
    instance.unit("again", &format!("{SLEEP}{AGAIN}"));
    instance.rsvc(&["start", "web", "again"]).expect(0);
    let (web, again) = (instance.main_process("web"), instance.main_process("again"));
    let pid = instance.daemon_pid();
    // None is free below this; the hard limit stays.
    limit(pid, "--nofile=4:");
    again.signal(Signal::KILL);
    eventually("the daemon tells what is wanting", || {
        instance.daemon_log().contains("Too many open files").then_some(())
    });
    assert!(web.is_alive());
    assert_eq!(instance.daemon_pid(), pid);
    limit(pid, "--nofile=20000:");
    let fresh = eventually("another copy", || {
        let status = instance.status("again");
        (status["state"] == "active" && status["main_pid"].is_number()).then(|| Process::of(&status["main_pid"]))
    });
    assert_ne!(fresh, again);
    assert!(!again.is_alive());
    assert_eq!(instance.main_process("web"), web);
    instance.rsvc(&["stop", "web", "again"]).expect(0);
    assert!(!web.is_alive() && !fresh.is_alive());
}

#[test]
fn a_daemon_that_ran_out_of_memory_is_followed_by_one_that_finds_all() {
    root_only!();
    let mut instance = Instance::start();
    let names: Vec<String> = (0..10).map(|n| format!("unit{n}")).collect();
    let words: Vec<&str> = ["start"].into_iter().chain(names.iter().map(String::as_str)).collect();
    for name in &names {
        instance.unit(name, SLEEP);
    }
    instance.rsvc(&words).expect(0);
    let before: Vec<Process> = names.iter().map(|name| instance.main_process(name)).collect();
    let pid = instance.daemon_pid();
    let size = || {
        let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
        statm.split(' ').next().and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
    };
    limit(pid, &format!("--as={}:", size()));
    // Work that needs memory; the calls fail one by one, or the daemon with them.
    for n in 0..200 {
        if fs::read_link(format!("/proc/{pid}/exe")).is_err() {
            break;
        }
        let name = format!("more{n}");
        instance.unit(&name, SLEEP);
        instance.rsvc(&["start", "--no-wait", &name]);
    }
    let ended = fs::read_link(format!("/proc/{pid}/exe")).is_err();
    println!("the daemon {}", if ended { "ended" } else { "did without" });
    instance.kill_daemon();
    assert!(before.iter().all(Process::is_alive));
    instance.start_daemon();
    let after: Vec<Process> = names.iter().map(|name| instance.main_process(name)).collect();
    assert_eq!(before, after);
}

/// A group with a limit of tasks, below the daemon's own in the v1 hierarchy.
struct Tasks {
    directory: PathBuf,
    former: PathBuf,
    pid: i32,
}

impl Tasks {
    fn around(pid: i32) -> Option<Tasks> {
        let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let own = own.lines().find_map(|line| line.split_once(":pids:"))?.1.to_owned();
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let mount = mounts.lines().find(|line| line.contains(" - cgroup ") && line.ends_with(",pids"))?;
        let former = Path::new(mount.split(' ').nth(4)?).join(own.trim_start_matches('/'));
        let directory = former.join(format!("rsvc-test-tasks-{pid}"));
        fs::create_dir(&directory).ok()?;
        let tasks = Tasks { directory, former, pid };
        fs::write(tasks.directory.join("cgroup.procs"), pid.to_string()).ok()?;
        Some(tasks)
    }

    fn limit(&self, maximum: &str) {
        fs::write(self.directory.join("pids.max"), maximum).expect("a limit");
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        for pid in fs::read_to_string(self.directory.join("cgroup.procs")).unwrap_or_default().lines() {
            let _ = fs::write(self.former.join("cgroup.procs"), pid);
        }
        let _ = fs::write(self.former.join("cgroup.procs"), self.pid.to_string());
        let _ = fs::remove_dir(&self.directory);
    }
}

#[test]
fn without_processes_a_start_is_refused_with_the_limit_and_a_restart_comes_later() {
    root_only!();
    let instance = Instance::start();
    let Some(tasks) = Tasks::around(instance.daemon_pid()) else {
        return skipped("no v1 hierarchy with the pids controller");
    };
    instance.unit("web", SLEEP);
    instance.unit("again", &format!("{SLEEP}{AGAIN}"));
    instance.unit("late", &format!("{SLEEP}[restart]\npolicy = \"no\"\n"));
    instance.rsvc(&["start", "web", "again"]).expect(0);
    let (web, again) = (instance.main_process("web"), instance.main_process("again"));
    tasks.limit("1");
    let said = instance.rsvc(&["start", "late"]).expect(1);
    assert!(said.err.contains("EAGAIN") && said.err.contains("hint: "), "{said:?}");
    again.signal(Signal::KILL);
    eventually("it cannot be started again", || {
        (instance.status("again")["cause"].as_str()?.contains("EAGAIN")).then_some(())
    });
    assert_eq!(instance.main_process("web"), web);
    tasks.limit("max");
    let status = instance.wait_for_state("again", "active");
    assert_ne!(Process::of(&status["main_pid"]), again);
    instance.rsvc(&["start", "late"]).expect(0);
    assert_eq!(instance.main_process("web"), web);
}

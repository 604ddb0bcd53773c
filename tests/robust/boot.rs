//! A state of another boot: what it says is no crash, and whom it names is somebody else.

use crate::instance::process::Process;
use crate::instance::{Instance, eventually};
use crate::{SLEEP, script};
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ANOTHER: &str = "11111111-2222-4333-8444-555555555555";

fn children(pid: i32) -> Vec<Process> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| Process::with_pid(pid.parse().ok()?)).collect()
}

/// Directories of the groups that a process is in, those that were made for `units` only.
fn groups_of(process: &Process, units: &[&str]) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (at, kind) = (words.next()?, words.next()?);
        kind.starts_with("cgroup").then_some(at)
    });
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", process.pid)).unwrap_or_default();
    let is_theirs = |path: &&str| units.iter().any(|unit| path.ends_with(&format!("/{unit}")));
    let paths: Vec<&str> = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2)).filter(is_theirs).collect();
    mounts
        .flat_map(|mount| paths.iter().map(move |path| Path::new(mount).join(path.trim_start_matches('/'))))
        .filter(|path| path.is_dir())
        .collect()
}

/// Everything below a directory that names the boot names another one.
fn reboot(directory: &Path, boot: &str) {
    for entry in fs::read_dir(directory).expect("directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            reboot(&path, boot);
        } else if let Ok(text) = fs::read_to_string(&path)
            && text.contains(boot)
        {
            fs::write(&path, text.replace(boot, ANOTHER)).expect("write");
        }
    }
}

#[test]
fn a_reboot_is_not_taken_for_a_crash() {
    root_only!();
    let mut instance = Instance::start();
    let enabled = "[restart]\ndelay = \"10ms\"\n[install]\nwanted_by = [\"default\"]\n";
    instance.unit("enabled", &format!("{SLEEP}{enabled}"));
    instance.unit("other", SLEEP);
    instance.unit("failed", &script("oneshot", "exit 8", "[restart]\npolicy = \"no\""));
    let listen = instance.file("listen");
    instance.unit(
        "on-demand",
        &format!(
            "{}[[sockets]]\nlisten = \"unix:{}\"\n",
            SLEEP.replace("[logging]", "activation = \"on-demand\"\n[logging]"),
            listen.display()
        ),
    );
    let units = ["enabled", "other", "failed", "on-demand"];
    instance.rsvc(&["enable", "enabled"]).expect(0);
    instance.rsvc(&["start", "enabled", "other", "on-demand"]).expect(0);
    instance.rsvc(&["start", "failed"]).expect(1);
    instance.main_process("enabled").signal(Signal::KILL);
    eventually("it was started again", || {
        let status = instance.status("enabled");
        (status["restarts"] == 1 && status["state"] == "active").then_some(())
    });
    let all = children(instance.daemon_pid());
    let groups: Vec<PathBuf> = all.iter().flat_map(|process| groups_of(process, &units)).collect();
    assert!(!groups.is_empty());

    // What a reboot does: nothing of it is left but, here, the files.
    instance.kill_daemon();
    all.iter().filter(|process| process.is_alive()).for_each(|process| process.signal(Signal::KILL));
    eventually("all of it is gone", || all.iter().all(|process| !process.is_alive()).then_some(()));
    eventually("so are the groups", || {
        groups.iter().for_each(|group| drop(fs::remove_dir(group)));
        groups.iter().all(|group| !group.exists()).then_some(())
    });
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("boot id").trim().to_owned();
    reboot(&instance.file("run"), &boot);
    // The numbers of the keeper and of the main process are somebody's now, whose every mark is the same.
    let mut foreign = Command::new("sleep").arg("1000").spawn().expect("sleep");
    let stat = fs::read_to_string(format!("/proc/{}/stat", foreign.id())).expect("stat");
    let began = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(22 - 3)).expect("a time").to_owned();
    for (file, field) in [("on-demand/sockets", "keeper"), ("other/state", "main"), ("other/state", "init")] {
        let path = instance.file(&format!("run/services/{file}"));
        let text = fs::read_to_string(&path).expect("a file");
        let mut value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        value[field] = serde_json::json!({ "pid": foreign.id(), "start_time": began.parse::<u64>().expect("ticks") });
        fs::write(&path, value.to_string()).expect("write");
    }

    instance.start_daemon();
    let status = instance.wait_for_state("enabled", "active");
    assert_eq!((&status["restarts"], &status["result"]), (&0.into(), &"success".into()), "{status:#}");
    for unit in ["other", "failed", "on-demand"] {
        let status = instance.status(unit);
        assert_eq!((&status["state"], &status["result"]), (&"inactive".into(), &"success".into()), "{status:#}");
        assert!(status["cause"].is_null() && status["main_pid"].is_null(), "{status:#}");
    }
    instance.rsvc(&["start", "other", "on-demand"]).expect(0);
    instance.rsvc(&["stop", "--all"]).expect(0);
    let is_there = foreign.try_wait().expect("wait").is_none();
    foreign.kill().expect("kill");
    foreign.wait().expect("wait");
    assert!(is_there, "somebody else was ended");
}

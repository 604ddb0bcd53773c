//! Control groups that somebody else removes, or puts a process into.

use crate::SLEEP;
use crate::instance::process::Process;
use crate::instance::{Instance, eventually, skipped};
use rustix::process::Signal;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};

/// The v2 group of a unit.
fn group(instance: &Instance, unit: &str) -> PathBuf {
    let path = instance.status(unit)["cgroup"].as_str().expect("a group").trim_start_matches('/').to_owned();
    let mounts = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(|mount| PathBuf::from(mount).join(&path));
    mounts.into_iter().find(|directory| directory.join("cgroup.events").exists()).expect("a v2 group")
}

#[test]
fn the_groups_of_the_instance_are_made_again_when_somebody_removed_them() {
    root_only!();
    let mut instance = Instance::start();
    instance.unit("web", SLEEP);
    instance.unit("sliced", &format!("{SLEEP}[resources]\nslice = \"batch\"\n"));
    instance.unit_as_is("batch.slice", "[resources]\ntasks_max = 100\n");
    instance.rsvc(&["start", "web", "sliced"]).expect(0);
    instance.rsvc(&["stop", "web", "sliced"]).expect(0);
    let roots = instance.groups();
    eventually("all groups of units are gone", || {
        let inner = roots.iter().flat_map(|root| fs::read_dir(root).into_iter().flatten().flatten());
        let mut groups = inner.filter(|entry| entry.path().is_dir() && entry.file_name() != "rsvc-keepers");
        groups.next().is_none().then_some(())
    });
    // Where a keeper stands the kernel keeps the group; the others go.
    assert!(roots.iter().filter(|root| fs::remove_dir(root).is_ok()).count() > 0);
    for unit in ["web", "sliced"] {
        instance.rsvc(&["start", unit]).expect(0);
    }
    assert!(instance.daemon_log().contains("made again"), "{}", instance.daemon_log());
    let before = ["web", "sliced"].map(|unit| instance.main_process(unit));
    instance.kill_daemon();
    instance.start_daemon();
    assert_eq!(["web", "sliced"].map(|unit| instance.main_process(unit)), before);
}

#[test]
fn the_group_of_keepers_is_not_needed_once_they_are_gone() {
    root_only!();
    let mut instance = Instance::start();
    let listens = |name: &str| {
        let path = instance.file(name).display().to_string();
        format!("{SLEEP}[[sockets]]\nlisten = \"unix:{path}\"\n")
    };
    instance.unit("one", &listens("one"));
    instance.unit("two", &listens("two"));
    instance.rsvc(&["start", "one"]).expect(0);
    // Only an empty group can be removed: its keeper is ended first, and another one follows.
    for root in instance.groups() {
        let procs = fs::read_to_string(root.join("rsvc-keepers/cgroup.procs")).unwrap_or_default();
        for pid in procs.lines().filter_map(|pid| pid.parse().ok()).filter_map(Process::with_pid) {
            pid.signal(Signal::KILL);
        }
    }
    instance.rsvc(&["start", "two"]).expect(0);
    let before = ["one", "two"].map(|unit| instance.main_process(unit));
    instance.kill_daemon();
    instance.start_daemon();
    assert_eq!(["one", "two"].map(|unit| instance.main_process(unit)), before);
}

struct Foreign(Child);

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_foreign_process_in_the_group_of_a_service_ends_with_it_and_nothing_else_does() {
    root_only!();
    let instance = Instance::start();
    instance.unit("web", SLEEP);
    instance.unit("other", SLEEP);
    instance.rsvc(&["start", "web", "other"]).expect(0);
    let other = instance.main_process("other");
    let mut foreign = Foreign(Command::new("sleep").arg("1000").spawn().expect("sleep(1)"));
    let bystander = Foreign(Command::new("sleep").arg("1000").spawn().expect("sleep(1)"));
    let pid = foreign.0.id().to_string();
    if fs::write(group(&instance, "web").join("cgroup.procs"), &pid).is_err() {
        return skipped("no process can be moved");
    }
    let shown = Process::all(&instance.status("web"));
    assert!(shown.iter().any(|process| process.pid.to_string() == pid), "{shown:?}");
    instance.rsvc(&["stop", "web"]).expect(0);
    // Down means empty.
    eventually("it has ended", || foreign.0.try_wait().expect("wait"));
    assert!(Process::with_pid(bystander.0.id() as i32).is_some());
    assert_eq!(instance.main_process("other"), other);
    instance.rsvc(&["start", "web"]).expect(0);
}

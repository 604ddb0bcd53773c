//! Control groups with the real kernel: limits are read back and felt, kill reaches everybody, nothing is left.
//!
//! Runs as root on v2, hybrid and v1 hosts, and as a user whose group was delegated. Every test makes a root group of its own below the group that the test
//! runs in, and takes it away again whatever happens. The processes inside are this program again: see [`role`].
#![allow(clippy::disallowed_methods, reason = "tests need deadlines of their own")]

#[macro_use]
#[path = "instance/skip.rs"]
mod skip;

#[path = "cgroup/inside.rs"]
mod inside;

use inside::{Inside, Instance, ONE_AT_A_TIME, program, remove, v2_directory, wait_for};
use rsvc::cgroup::{CgroupError, RootOptions, Tree};
use rsvc::plan::{CgroupSettings, CpuMax, DeviceRule, DeviceType};
use std::io::{ErrorKind, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::PoisonError;
use std::time::Duration;

/// What the processes inside do. Without RSVC_TEST_ROLE this is the test that the roles are known.
#[test]
#[expect(clippy::zombie_processes, reason = "an orphan is what the role `session` is for")]
fn role() {
    let Ok(role) = std::env::var("RSVC_TEST_ROLE") else {
        // Another process in our group would keep the other tests from switching controllers on.
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let mut child = program("unknown").stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("this program");
        assert!(!child.wait().expect("an end").success(), "a role that does not exist fails");
        return;
    };
    let mut lines = std::io::stdin().lines();
    let mut heard = move || lines.next().and_then(Result::ok);
    match role.as_str() {
        "echo" => {
            while let Some(line) = heard() {
                println!("role: {line}");
            }
        }
        "sleep" => std::thread::sleep(Duration::from_secs(300)),
        "fork" => {
            heard();
            let mut children = Vec::new();
            let refused = (0..100).find_map(|_| {
                match program("sleep").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
                    Ok(child) => {
                        children.push(child);
                        None
                    }
                    Err(error) => Some(error.raw_os_error()),
                }
            });
            println!("role: {} {:?}", children.len(), refused.flatten());
            heard();
        }
        "eat" => {
            heard();
            let mut eaten = Vec::new();
            for _ in 0..256 {
                eaten.push(vec![1_u8; 1 << 20]);
            }
            println!("role: ate {}", eaten.len());
        }
        "spin" => {
            heard();
            // Not so much time that passes: on a busy machine that may be next to nothing of its own.
            let used = || Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime));
            let end = used().expect("a time") + Duration::from_millis(60);
            while used().expect("a time") < end {
                std::hint::spin_loop();
            }
            println!("role: done");
        }
        "open" => {
            heard();
            for device in ["/dev/null", "/dev/zero"] {
                println!("role: {:?}", std::fs::File::open(device).err().and_then(|error| error.raw_os_error()));
            }
        }
        // Three generations: the second makes a session of its own and ends, so the third is nobody's child.
        "daemonize" => {
            heard();
            program("session")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("a child")
                .wait()
                .expect("its end");
            println!("role: ready");
            heard();
        }
        "session" => {
            rustix::process::setsid().expect("a session");
            program("sleep")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("a grandchild");
        }
        other => panic!("unknown role {other}"),
    }
}

fn refused<T>(result: Result<T, CgroupError>) {
    let Err(error) = result else { panic!("not refused") };
    assert_eq!(error.error.kind(), ErrorKind::InvalidInput, "{error}");
}

#[test]
fn a_root_group_that_is_not_ours_is_refused_before_anything_is_written() {
    for root in ["", "/", "//", "rsvc", "/..", "/x/..", "/./x"] {
        let options = RootOptions { root: Some(root.into()), name: "rsvc".into(), recorded: None };
        refused(Tree::open(&options));
    }
    for name in ["", "/", "..", "a/b", "../up"] {
        refused(Tree::open(&RootOptions { name: name.into(), ..RootOptions::default() }));
    }
    for record in ["v2:/", "v2:", "v2:rsvc", "v2:/../x", "memory:/\nv2:/rsvc", "nonsense"] {
        let recorded = Some(record.to_owned());
        refused(Tree::open(&RootOptions { root: None, name: "rsvc".into(), recorded }));
    }
}

#[test]
fn names_that_would_leave_the_root_group_are_refused() {
    let Some(instance) = Instance::open() else { return };
    for bad in ["", ".", "..", "/", "../up", "a/b"] {
        refused(instance.tree.create(bad, None));
        refused(instance.tree.create("web", Some(bad)));
    }
    assert!(instance.tree.existing().expect("listed").is_empty());
}

#[test]
fn limits_are_what_the_kernel_reads_back() {
    let Some(instance) = Instance::open() else { return };
    let group = instance.tree.create("web", None).expect("a group");
    assert!(instance.tree.facts().available);
    let settings = CgroupSettings {
        memory_max: Some(64 << 20),
        memory_swap_max: Some(0),
        pids_max: Some(77),
        cpu_max: Some(CpuMax { quota: Some(150_000), period: 100_000 }),
        cpu_weight: Some(200),
        cpuset_cpus: Some("0".into()),
        ..CgroupSettings::default()
    };
    let degraded = group.apply(&settings).expect("applied");
    let counters = group.counters();
    if instance.has("memory") {
        assert_eq!(counters.memory_max, Some(64 << 20));
    }
    if instance.has("pids") {
        assert_eq!(counters.tasks_max, Some(77));
        assert_eq!(counters.tasks_current, Some(0));
    }
    let facts = instance.tree.facts();
    for (controller, key) in
        [("memory", "memory_max"), ("pids", "tasks_max"), ("cpu", "cpu_max"), ("cpuset", "cpuset_cpus")]
    {
        let missing = degraded.iter().any(|d| d.key == format!("resources.{key}"));
        assert_eq!(missing, !facts.controllers.iter().any(|c| c == controller), "{controller}: {degraded:?}");
    }
    let directory = |controller: &str| {
        if facts.v1_controllers.iter().any(|c| c == controller) {
            let of =
                |d: &PathBuf| d.iter().any(|part| part.to_string_lossy().split(',').any(|name| name == controller));
            instance.v1_directories("web").into_iter().find(of).expect("a v1 group")
        } else {
            v2_directory(&group).expect("a v2 group")
        }
    };
    let read = |controller: &str, file: &str| {
        std::fs::read_to_string(directory(controller).join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    };
    if facts.v1_controllers.iter().any(|c| c == "cpu") {
        assert_eq!(read("cpu", "cpu.cfs_quota_us").trim(), "150000");
        assert_eq!(read("cpu", "cpu.shares").trim(), "2048");
    } else if instance.has("cpu") {
        assert_eq!(read("cpu", "cpu.max").trim(), "150000 100000");
        assert_eq!(read("cpu", "cpu.weight").trim(), "200");
    }
    if instance.has("cpuset") {
        assert_eq!(read("cpuset", "cpuset.cpus").trim(), "0");
    }
}

#[test]
fn limits_can_be_raised_lowered_and_cleared() {
    let Some(instance) = Instance::open() else { return };
    if !instance.has("memory") {
        return;
    }
    let group = instance.tree.create("web", None).expect("a group");
    for mebibytes in [64, 32, 128, 16] {
        let max = mebibytes << 20;
        let settings =
            CgroupSettings { memory_max: Some(max), memory_swap_max: Some(1 << 20), ..CgroupSettings::default() };
        group.apply(&settings).unwrap_or_else(|error| panic!("{mebibytes} MiB: {error}"));
        assert_eq!(group.counters().memory_max, Some(max));
    }
    let cleared = CgroupSettings {
        memory_max: Some(u64::MAX),
        memory_swap_max: Some(u64::MAX),
        pids_max: Some(u64::MAX),
        cpu_max: Some(CpuMax { quota: None, period: 100_000 }),
        ..CgroupSettings::default()
    };
    group.apply(&cleared).expect("cleared");
    let counters = group.counters();
    assert_eq!((counters.memory_max, counters.tasks_max), (None, None));
}

#[test]
fn a_fork_bomb_stops_at_pids_max() {
    let Some(instance) = Instance::open() else { return };
    if !instance.has("pids") {
        return;
    }
    let group = instance.tree.create("bomb", None).expect("a group");
    group.apply(&CgroupSettings { pids_max: Some(8), ..CgroupSettings::default() }).expect("applied");
    let mut bomb = Inside::start(&group, "fork");
    let said = bomb.hear().expect("an answer");
    let (count, errno) = said.split_once(' ').expect("two words");
    assert!(count.parse::<u32>().expect("a number") < 8, "{said}");
    assert_eq!(errno, format!("Some({})", rustix::io::Errno::AGAIN.raw_os_error()));
    let counters = group.counters();
    assert!(counters.tasks_refused.is_some_and(|refused| refused > 0), "{counters:?}");
    assert!(group.pids().expect("pids").len() > 2);
    group.kill().expect("killed");
    remove(&group);
}

#[test]
fn the_memory_limit_kills_and_is_counted() {
    let Some(instance) = Instance::open() else { return };
    if !instance.has("memory") {
        return;
    }
    let group = instance.tree.create("hungry", None).expect("a group");
    let limit = 32 << 20;
    let settings = CgroupSettings { memory_max: Some(limit), memory_swap_max: Some(0), ..CgroupSettings::default() };
    group.apply(&settings).expect("applied");
    assert_eq!(group.oom_kills(), 0);
    let mut hungry = Inside::start(&group, "eat");
    assert_eq!(hungry.hear(), None, "it did not get to its end");
    assert_eq!(hungry.child.wait().expect("an end").signal(), Some(9));
    assert!(group.oom_kills() >= 1);
    let counters = group.counters();
    assert_eq!(counters.oom_kills, Some(group.oom_kills()));
    assert!(counters.memory_peak.is_some_and(|peak| peak > limit / 2 && peak <= limit), "{counters:?}");
    if let Some(own) = group.own_ooms() {
        assert!(own >= 1, "the group's own limit was the cause");
    }
    remove(&group);
}

#[test]
fn the_cpu_quota_throttles_and_time_is_accounted() {
    let Some(instance) = Instance::open() else { return };
    if !instance.has("cpu") {
        return;
    }
    let group = instance.tree.create("busy", None).expect("a group");
    // Below any slice of the scheduler: also a machine that has hardly any time for it gives more at once.
    let cpu_max = Some(CpuMax { quota: Some(1_000), period: 20_000 });
    group.apply(&CgroupSettings { cpu_max, ..CgroupSettings::default() }).expect("applied");
    let mut busy = Inside::start(&group, "spin");
    assert_eq!(busy.hear().as_deref(), Some("done"));
    let counters = group.counters();
    assert!(counters.cpu_usage_usec.is_some_and(|usage| usage >= 30_000), "{counters:?}");
    assert!(counters.cpu_nr_throttled.is_some_and(|times| times > 0), "{counters:?}");
    assert!(counters.cpu_throttled_usec.is_some_and(|time| time > 0), "{counters:?}");
}

#[test]
fn devices_outside_of_the_list_cannot_be_opened() {
    let Some(instance) = Instance::open() else { return };
    if !instance.has("devices") {
        return;
    }
    let group = instance.tree.create("web", None).expect("a group");
    let null =
        DeviceRule { kind: DeviceType::Char, major: Some(1), minor: Some(3), read: true, write: true, mknod: false };
    let settings = CgroupSettings { devices: Some(vec![null]), ..CgroupSettings::default() };
    assert_eq!(group.apply(&settings).expect("applied"), []);
    assert_eq!(group.apply(&settings).expect("applied again"), []);
    let mut inside = Inside::start(&group, "open");
    assert_eq!(inside.hear().as_deref(), Some("None"), "/dev/null is in the list");
    assert_eq!(inside.hear().as_deref(), Some("Some(1)"), "/dev/zero is not: EPERM");
}

#[test]
fn a_frozen_group_says_nothing_until_it_is_thawed() {
    let Some(instance) = Instance::open() else { return };
    let group = instance.tree.create("cold", None).expect("a group");
    let Some(events) = group.events_file() else {
        skipped!("no v2 tree to ask whether the group is frozen");
        return;
    };
    let mut inside = Inside::start(&group, "echo");
    assert_eq!(inside.hear().as_deref(), Some("go"));
    assert!(group.populated().expect("asked"));
    group.freeze(true).expect("frozen");
    let frozen = || std::fs::read_to_string(&events).expect("events").contains("frozen 1");
    wait_for("frozen 1", frozen).expect("the freezer");
    inside.say("hello");
    let mut ready = [rustix::event::PollFd::new(inside.output.get_ref(), rustix::event::PollFlags::IN)];
    let tenth = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    assert_eq!(rustix::event::poll(&mut ready, Some(&tenth)).expect("poll"), 0, "a frozen process answers nothing");
    group.freeze(false).expect("thawed");
    assert_eq!(inside.hear().as_deref(), Some("hello"));
}

#[test]
fn kill_reaches_a_double_forked_process_with_its_own_session() {
    let Some(instance) = Instance::open() else { return };
    let group = instance.tree.create("orphans", None).expect("a group");
    let mut inside = Inside::start(&group, "daemonize");
    assert_eq!(inside.hear().as_deref(), Some("ready"));
    let main = i32::try_from(inside.child.id()).expect("a pid");
    drop(inside);
    let orphans = group.pids().expect("pids");
    assert!(!orphans.is_empty() && !orphans.contains(&main), "{orphans:?}");
    assert!(group.populated().expect("asked"), "main process gone is not service gone");
    assert!(group.remove().expect_err("somebody is inside").is_busy());
    group.kill().expect("killed");
    remove(&group);
    for pid in orphans {
        let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
        wait_for("the orphan to be reaped", || rustix::process::test_kill_process(pid).is_err()).expect("dead");
    }
}

#[test]
fn groups_that_the_service_made_inside_go_with_it() {
    let Some(instance) = Instance::open() else { return };
    let group = instance.tree.create("nest", None).expect("a group");
    let Some(top) = v2_directory(&group) else {
        skipped!("no v2 tree");
        return;
    };
    let deepest = top.join("a/b");
    std::fs::create_dir_all(&deepest).expect("groups inside");
    let inside = Inside::start(&group, "sleep");
    std::fs::write(deepest.join("cgroup.procs"), inside.child.id().to_string()).expect("moved down");
    let pid = i32::try_from(inside.child.id()).expect("a pid");
    assert_eq!(group.pids().expect("pids"), [pid]);
    assert!(group.populated().expect("asked"));
    group.kill().expect("killed");
    drop(inside);
    remove(&group);
    assert!(!top.exists());
}

#[test]
fn the_next_daemon_finds_the_groups_by_the_record() {
    let Some(instance) = Instance::open() else { return };
    let web = instance.tree.create("web", None).expect("a group");
    let etl = instance.tree.create("etl", Some("batch")).expect("a group in a slice");
    let again = instance.tree.create("web", None).expect("taken over");
    assert_eq!(web, again);
    let options =
        RootOptions { root: None, name: format!("{}-other", instance.name), recorded: Some(instance.tree.record()) };
    let next = Tree::open(&options).expect("the recorded root group");
    assert_eq!(next.root_path(), instance.tree.root_path());
    let mut names: Vec<String> = next.existing().expect("listed").into_iter().map(|(name, _)| name).collect();
    names.sort();
    assert_eq!(names, ["etl", "web"]);
    assert!(etl.path().ends_with("batch.slice/etl"), "{}", etl.path().display());
}

#[test]
fn a_given_root_group_is_used_with_what_its_parent_hands_down() {
    let Some(instance) = Instance::open() else { return };
    let given = instance.tree.root_path().join("given");
    let options = RootOptions { root: Some(given.clone()), ..RootOptions::default() };
    let tree = Tree::open(&RootOptions { name: "unused".into(), ..options }).expect("a given root group");
    assert_eq!(tree.root_path(), given);
    let group = tree.create("web", None).expect("a group");
    assert_eq!(group.path(), given.join("web"));
    let degraded = group.apply(&CgroupSettings { pids_max: Some(9), ..CgroupSettings::default() }).expect("applied");
    assert_eq!(degraded.is_empty(), instance.has("pids"), "{degraded:?}");
    group.remove().expect("removed");
    tree.remove_root().expect("the given group is empty");
}

#[test]
fn a_group_that_somebody_else_made_is_left_alone() {
    let Some(instance) = Instance::open() else { return };
    let probe = instance.tree.create("probe", None).expect("a group");
    let Some(root) = v2_directory(&probe).and_then(|directory| directory.parent().map(Path::to_owned)) else {
        skipped!("no v2 tree");
        return;
    };
    let foreign = root.join("foreign");
    std::fs::create_dir(&foreign).expect("a group made by hand");
    let mut child = program("sleep").stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("this program");
    std::fs::write(foreign.join("cgroup.procs"), child.id().to_string()).expect("moved");
    refused(instance.tree.create("foreign", None));
    assert!(instance.tree.existing().expect("listed").iter().all(|(name, _)| name != "foreign"));
    assert!(child.try_wait().expect("asked").is_none(), "still alive");
    child.kill().expect("our own child");
    child.wait().expect("its end");
    wait_for("rmdir", || std::fs::remove_dir(&foreign).is_ok()).expect("removed");
}

#[test]
fn a_directory_descriptor_for_birth_is_the_units_group() {
    let Some(instance) = Instance::open() else { return };
    let group = instance.tree.create("web", None).expect("a group");
    let Some(descriptor) = group.birth().expect("asked") else {
        skipped!("no v2 tree");
        return;
    };
    let events =
        rustix::fs::openat(&descriptor, "cgroup.events", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty());
    let mut text = String::new();
    std::fs::File::from(events.expect("its file")).read_to_string(&mut text).expect("read");
    assert!(text.contains("populated 0"), "{text}");
}

#[test]
fn nothing_is_left_behind() {
    let Some(instance) = Instance::open() else { return };
    let group = instance.tree.create("web", Some("batch")).expect("a group in a slice");
    let settings = CgroupSettings { cpuset_cpus: Some("0".into()), devices: Some(Vec::new()), ..Default::default() };
    group.apply(&settings).expect("applied");
    let directories: Vec<PathBuf> =
        instance.v1_directories("batch.slice/web").into_iter().chain(v2_directory(&group)).collect();
    assert!(directories.iter().any(|directory| directory.exists()));
    remove(&group);
    group.remove().expect("a second time is fine");
    let own = std::fs::read_to_string("/proc/self/cgroup").expect("our groups");
    drop(instance);
    for directory in directories {
        let root = directory.parent().and_then(Path::parent).expect("the root group");
        assert!(!root.exists(), "{} is left", root.display());
    }
    let now = std::fs::read_to_string("/proc/self/cgroup").expect("our groups");
    assert!(!now.contains("-supervisor"), "before: {own} now: {now}");
}

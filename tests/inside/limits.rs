//! `[resources]`: limits act, and what this host cannot hold is refused by name.

use crate::instance::{eventually, skipped};
use crate::lab::Lab;
use std::path::{Path, PathBuf};

/// Is `controller` a cgroup v1 one on this host?
fn is_v1(controller: &str) -> bool {
    std::fs::read_to_string("/proc/self/cgroup")
        .unwrap_or_default()
        .lines()
        .any(|line| line.split(':').nth(1).is_some_and(|list| list.split(',').any(|name| name == controller)))
}

/// A file of the unit's group, v1 or v2, from outside.
fn group_file(lab: &Lab, unit: &str, controller: &str, v1: &str, v2: &str) -> String {
    let group = lab.instance.status(unit)["cgroup"].as_str().expect("cgroup").trim_start_matches('/').to_owned();
    let name = if is_v1(controller) { v1 } else { v2 };
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
    let own = std::fs::read_to_string("/proc/self/cgroup").expect("cgroups");
    let mut tried = Vec::new();
    for mount in mounts.lines().filter_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        words[2].starts_with("cgroup").then(|| PathBuf::from(words[1]))
    }) {
        let parents =
            own.lines().filter_map(|line| line.splitn(3, ':').nth(2)).map(|path| path.trim_start_matches('/'));
        for parent in parents.chain([""]) {
            let file = mount.join(parent).join(&group).join(name);
            if let Ok(text) = std::fs::read_to_string(&file) {
                return text.trim().to_owned();
            }
            tried.push(file);
        }
    }
    panic!("no {name} of {unit}: {tried:?}");
}

/// Skips when the limit cannot be had here at all.
fn can(lab: &Lab, unit: &str, body: &str, words: &[&str]) -> bool {
    lab.unit(unit, body, words);
    let said = lab.instance.rsvc(&["start", unit]);
    if said.err.contains("no ") && said.err.contains("controller on this host") {
        skipped(said.err.lines().next().unwrap_or_default());
        return false;
    }
    true
}

#[test]
fn the_memory_limit_kills_and_status_names_it() {
    let Some(lab) = Lab::new() else { return };
    if !can(
        &lab,
        "eater",
        "[resources]\nmemory_max = \"32M\"\nmemory_swap_max = \"0\"\n[security]\noptional = [\"resources.memory_swap_max\"]\n",
        &["eat:8", "eat:200"],
    ) {
        return;
    }
    let log = lab.instance.wait_for_log("eater", "@@eat:8\tok");
    assert!(!log.contains("@@eat:200") && !log.contains("@@end"), "{log}");
    let status =
        eventually("the result", || Some(lab.instance.status("eater")).filter(|status| status["state"] == "failed"));
    assert_eq!(status["result"], "oom-kill", "{status:#}");
    assert_eq!(status["exit_signal"], "SIGKILL", "{status:#}");
    // v2 counts every process of the group that goes with it.
    assert!(status["oom_kills"].as_u64().is_some_and(|kills| kills >= 1), "{status:#}");
    let said = lab.instance.rsvc(&["status", "eater"]);
    assert!(said.out.contains("32M") || said.out.contains("32.0M"), "{}", said.out);
}

#[test]
fn forks_above_the_limit_of_tasks_are_refused() {
    let Some(lab) = Lab::new() else { return };
    if !can(&lab, "forker", "[resources]\ntasks_max = 10\n", &["fork:50"]) {
        return;
    }
    let seen = lab.seen("forker");
    let (made, why) = seen["fork:50"].split_once(' ').expect("two words");
    assert_eq!(why, "EAGAIN");
    assert!(made.parse::<u32>().is_ok_and(|made| (5..=10).contains(&made)), "{seen:?}");
}

#[test]
fn the_cpu_limit_throttles_and_the_set_of_cpus_holds() {
    let Some(lab) = Lab::new() else { return };
    // A quota below any slice of the scheduler: also a machine that has hardly any time for it gives more at once.
    let exec = lab.exec(&["spin:30", "status:Cpus_allowed_list", "hold"]);
    let body = "[resources]\ncpu_max = { quota = \"1ms\", period = \"20ms\" }\ncpuset_cpus = \"0\"\ncpu_weight = 50\n[logging]\ntarget = \"file\"\n";
    lab.instance.unit("spinner", &format!("[service]\n{exec}{body}"));
    lab.instance.rsvc(&["start", "spinner"]).expect(0);
    let log = lab.instance.wait_for_log("spinner", "@@status:Cpus_allowed_list\t");
    assert!(log.contains("@@status:Cpus_allowed_list\t0\n"), "{log}");
    let stat = group_file(&lab, "spinner", "cpu", "cpu.stat", "cpu.stat");
    let throttled = stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")).expect("nr_throttled");
    assert!(throttled.parse::<u64>().is_ok_and(|count| count > 0), "{stat}");
}

#[test]
fn a_limit_that_a_changed_unit_has_no_more_is_gone() {
    let Some(lab) = Lab::new() else { return };
    let unit = |exec: &str, resources: &str| {
        let more = "[restart]\npolicy = \"no\"\n[logging]\ntarget = \"file\"\n";
        lab.instance.unit("loose", &format!("[service]\n{exec}\n{more}[resources]\n{resources}\n"));
    };
    unit(
        &lab.exec(&["hold"]),
        "memory_max = \"64M\"\nmemory_swap_max = \"0\"\ncpu_max = \"50%\"\ncpuset_cpus = \"0\"\ntasks_max = 50\n[security]\noptional = [\"resources.memory_swap_max\"]",
    );
    lab.instance.rsvc(&["start", "loose"]).expect(0);
    unit(&lab.exec(&["eat:100", "status:Cpus_allowed_list", "fork:60", "hold"]), "tasks_max = \"infinity\"");
    lab.instance.rsvc(&["restart", "loose"]).expect(0);
    let log = eventually("the answers", || {
        let ended = lab.instance.status("loose")["state"] == "failed";
        Some(lab.instance.log("loose")).filter(|log| ended || log.contains("@@fork:60"))
    });
    Lab::answers(&log).expect(&[("eat:100", "ok"), ("fork:60", "60 ok")]);
    assert_ne!(
        &Lab::answers(&log)["status:Cpus_allowed_list"],
        if std::thread::available_parallelism().is_ok_and(|count| count.get() > 1) { "0" } else { "" }
    );
    if is_v1("cpu") && Path::new("/sys/fs/cgroup/cpu").exists() {
        let group = lab.instance.status("loose")["cgroup"].as_str().expect("cgroup").trim_start_matches('/').to_owned();
        let quota = Path::new("/sys/fs/cgroup/cpu").join(group).join("cpu.cfs_quota_us");
        assert!(std::fs::read_to_string(quota).map_or(true, |text| text.trim() == "-1"));
    }
}

#[test]
fn limits_of_processes_are_as_written_and_clamped_with_a_word_where_the_host_forbids_more() {
    let Some(lab) = Lab::new() else { return };
    let body = "[resources.rlimits]\nnofile = \"100:200\"\ncore = \"infinity\"\nfsize = \"1M\"\nnproc = 77\nstack = \"4M:8M\"\nas = \"16G\"\nmemlock = \"64K\"\n";
    let words = [
        "limit:Max open files",
        "limit:Max core file size",
        "limit:Max file size",
        "limit:Max processes",
        "limit:Max stack size",
        "limit:Max address space",
        "limit:Max locked memory",
    ];
    lab.look("limits", body, &words).expect(&[
        ("limit:Max open files", "100:200"),
        ("limit:Max file size", "1048576:1048576"),
        ("limit:Max processes", "77:77"),
        ("limit:Max stack size", "4194304:8388608"),
        ("limit:Max address space", "17179869184:17179869184"),
        ("limit:Max locked memory", "65536:65536"),
    ]);
    // Nobody but the test's own processes: a child above its limit is refused.
    let seen = lab.look("files", "user = \"54321\"\n[resources.rlimits]\nfsize = \"0\"\n", &["limit:Max file size"]);
    seen.expect(&[("limit:Max file size", "0:0")]);
}

#[test]
fn what_only_cgroup_v2_knows_is_refused_by_key_and_line_on_v1() {
    let Some(lab) = Lab::new() else { return };
    if !is_v1("memory") {
        return skipped("the memory controller is cgroup v2 here");
    }
    for (key, value) in
        [("memory_high", "\"100M\""), ("memory_min", "\"1M\""), ("memory_oom_group", "true"), ("delegate", "true")]
    {
        let name = format!("v2-{}", key.replace('_', "-"));
        let body = format!("[resources]\n{key} = {value}\n");
        lab.refused(&name, &body, &[&format!("resources.{key}"), &format!("{name}.toml:5"), "security.optional"]);
        let body = format!("{body}[security]\noptional = [\"resources.{key}\"]\n");
        lab.look(&name, &body, &["pid"]);
        let degraded = lab.instance.status(&name)["degraded"].to_string();
        assert!(degraded.contains(&format!("resources.{key}")), "{degraded}");
    }
}

#[test]
fn a_limit_of_a_controller_that_is_absent_is_refused_and_so_is_an_impossible_value() {
    let Some(lab) = Lab::new() else { return };
    lab.refused("cpus", "[resources]\ncpuset_cpus = \"4000\"\n", &["cpuset", "cpus.toml:5"]);
    lab.refused(
        "disk",
        "[resources]\nio_max = [{ device = \"/nonexistent/disk\", rbps = \"1M\" }]\n",
        &["/nonexistent/disk", "disk.toml:5"],
    );
    lab.refused("pages", "[resources]\nhugetlb = { \"3MB\" = \"6M\" }\n", &["hugetlb", "pages.toml:5"]);
}

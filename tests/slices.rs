//! Slices: the common limit of several units, with a daemon, real processes and the kernel's own files.

#[macro_use]
mod instance;

use instance::{Instance, eventually, skipped};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const SLEEP: &str = "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n";

fn in_slice(text: &str) -> String {
    format!("{text}\n[resources]\nslice = \"batch\"\n")
}

fn slice(instance: &Instance, text: &str) -> PathBuf {
    instance.unit_as_is("batch.slice", text)
}

/// A file of a group that a status names, wherever its controller is mounted: a v1 name or the v2 one.
fn file(group: &serde_json::Value, names: &[(&str, &str)]) -> Option<PathBuf> {
    let group = group.as_str().expect("a group").trim_start_matches('/');
    let record = |at: &Path| {
        // The same root group has another path where the daemon's own group differs between hierarchies.
        let name = Path::new(group).components().rev().nth(1)?.as_os_str().to_owned();
        let below = Path::new(group).file_name()?.to_owned();
        let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let parents = cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        parents.map(|own| at.join(own.trim_start_matches('/')).join(&name).join(&below)).find(|path| path.is_dir())
    };
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    let at = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (at, kind) = (words.next()?, words.next()?);
        kind.starts_with("cgroup").then(|| PathBuf::from(at))
    });
    at.flat_map(|at| [Some(at.join(group)), record(&at)])
        .flatten()
        .flat_map(|directory| {
            names.iter().flat_map(move |(v1, v2)| [directory.join(v1), directory.join(v2)]).collect::<Vec<_>>()
        })
        .find(|path| path.is_file())
}

fn limit(status: &serde_json::Value, names: (&str, &str)) -> Option<String> {
    let path = file(&status["slice"]["cgroup"], &[names])?;
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

const MEMORY: (&str, &str) = ("memory.limit_in_bytes", "memory.max");
const TASKS: (&str, &str) = ("pids.max", "pids.max");

#[test]
fn the_limit_of_a_slice_is_in_the_kernel_before_its_units_are_and_goes_with_the_last() {
    root_only!();
    let mut instance = Instance::start();
    let path = slice(
        &instance,
        "[slice]\ndescription = \"night jobs\"\n\n[resources]\nmemory_max = \"64M\"\ntasks_max = 20\n",
    );
    instance.unit("a", &in_slice(SLEEP));
    instance.unit("b", &in_slice(SLEEP));
    instance.rsvc(&["start", "a", "b"]).expect(0);
    let status = instance.status("a");
    if status["slice"]["memory_max"].is_null() && status["slice"]["tasks_max"].is_null() {
        return skipped("needs memory and pids controllers");
    }
    assert_eq!(status["slice"]["name"], "batch");
    assert_eq!((&status["slice"]["memory_max"], &status["slice"]["tasks_max"]), (&(64 << 20).into(), &20.into()));
    assert_eq!(limit(&status, MEMORY).as_deref(), Some("67108864"));
    assert_eq!(limit(&status, TASKS).as_deref(), Some("20"));
    for unit in ["a", "b"] {
        assert!(instance.status(unit)["cgroup"].as_str().expect("a group").ends_with(&format!("batch.slice/{unit}")));
    }
    assert!(status["slice"]["tasks_current"].as_u64() >= Some(2), "both units count: {status:#}");
    let page = instance.rsvc(&["status", "a"]).expect(0).out;
    assert!(page.contains("Slice: batch (memory ") && page.contains(" of 64.0M, tasks "), "{page}");

    // A daemon that was killed finds them there; a changed file holds after a reload, and takes back what it had.
    let before = ["a", "b"].map(|unit| instance.main_process(unit));
    instance.kill_daemon();
    slice(&instance, "[resources]\ntasks_max = 30\n");
    instance.start_daemon();
    assert_eq!(before, ["a", "b"].map(|unit| instance.main_process(unit)));
    assert_eq!(instance.status("b")["slice"]["tasks_max"], 20);
    let said = instance.rsvc(&["reload-config"]).expect(0);
    assert!(said.out.contains("batch.slice"), "{}", said.out);
    let status = instance.status("b");
    assert_eq!((&status["slice"]["tasks_max"], &status["slice"]["memory_max"]), (&30.into(), &serde_json::Value::Null));

    // A file that is wrong refuses the next start and changes nothing for those that run.
    fs::write(&path, "[resources]\ntasks_mx = 40\n").expect("the slice");
    let said = instance.rsvc(&["reload-config"]);
    assert!(format!("{}{}", said.out, said.err).contains("tasks_mx"), "{said:?}");
    instance.unit("c", &in_slice(SLEEP));
    let said = instance.rsvc(&["start", "c"]).expect(1);
    assert!(said.err.contains("unknown key `tasks_mx`"), "{}", said.err);
    assert_eq!(instance.status("a")["slice"]["tasks_max"], 30);
    fs::write(&path, "[resources]\ntasks_max = 40\n").expect("the slice");
    instance.rsvc(&["start", "c"]).expect(0);
    assert_eq!(instance.status("a")["slice"]["tasks_max"], 40, "applied by the start of a member");

    let group =
        file(&status["slice"]["cgroup"], &[TASKS]).expect("the group").parent().expect("a directory").to_owned();
    instance.rsvc(&["stop", "a", "b"]).expect(0);
    assert!(group.is_dir(), "c is still in it");
    instance.rsvc(&["stop", "c"]).expect(0);
    eventually("the group of the slice is gone", || (!group.exists()).then_some(()));
}

#[test]
fn a_slice_without_a_file_refuses_the_start_and_a_check_says_so() {
    root_only!();
    let instance = Instance::start();
    let file = instance.unit("a", &in_slice(SLEEP));
    let said = instance.rsvc(&["start", "a"]).expect(1);
    for word in ["there is no slice batch", "a.toml:", "batch.slice.toml", "it may be empty"] {
        assert!(said.err.contains(word), "{word}: {}", said.err);
    }
    let said = instance.rsvc(&["check", "a"]);
    assert!(said.err.contains("there is no slice `batch`"), "{said:?}");
    slice(&instance, "");
    let said = instance.rsvc(&["check", &file.display().to_string()]).expect(0);
    assert!(!said.err.contains("slice"), "{}", said.err);
    instance.rsvc(&["start", "a"]).expect(0);
    // A slice is no unit.
    assert!(!instance.rsvc(&["list", "--all"]).out.contains("batch"));
    let said = instance.rsvc(&["start", "batch.slice"]);
    assert!(said.code != 0 && said.err.contains("names have no suffix"), "{said:?}");
    // Drop-ins apply, and a file is checked by its name or its path.
    let drop_ins = instance.file("units/batch.slice.d");
    fs::create_dir(&drop_ins).expect("a directory");
    fs::set_permissions(&drop_ins, fs::Permissions::from_mode(0o755)).expect("permissions");
    fs::write(drop_ins.join("10-more.toml"), "[resources]\ntasks_max = 17\ndelegate = true\n").expect("a drop-in");
    let said = instance.rsvc(&["check", "batch.slice"]).expect(1);
    assert!(
        said.err.contains("10-more.toml") && said.err.contains("`resources.delegate` is for units"),
        "{}",
        said.err
    );
    fs::write(drop_ins.join("10-more.toml"), "[resources]\ntasks_max = 17\n").expect("a drop-in");
    instance.rsvc(&["check", "batch.slice"]).expect(0);
    instance.rsvc(&["restart", "a"]).expect(0);
    if !instance.status("a")["tasks_max"].is_null() {
        assert_eq!(instance.status("a")["slice"]["tasks_max"], 17);
    }
}

#[test]
fn units_of_a_slice_share_its_tasks_and_its_memory() {
    root_only!();
    if !Path::new("/usr/bin/perl").exists() {
        return skipped("needs perl");
    }
    let instance = Instance::start();
    slice(&instance, "[resources]\nmemory_max = \"48M\"\ntasks_max = 24\n");
    let idle =
        "[service]\nexec = [\"/bin/sh\", \"-c\", \"for n in 1 2 3 4 5 6 7 8 9 10; do sleep 1000 & done; wait\"]\n";
    instance.unit("many", &in_slice(idle));
    instance.rsvc(&["start", "many"]).expect(0);
    let status = instance.status("many");
    if status["slice"]["memory_max"].is_null() || status["slice"]["tasks_max"].is_null() {
        return skipped("needs memory and pids controllers");
    }
    eventually("the tasks are there", || (instance.status("many")["tasks_current"].as_u64() >= Some(12)).then_some(()));
    // Alone it might have far more than there is room for now.
    let forks = "[service]\nexec = [\"/usr/bin/perl\", \"-e\", '$| = 1; my $n = 0; while (1) { my $p = fork; if (!defined $p) { last } if (!$p) { sleep 1000; exit } $n++; } print \"forks: $n\\n\"; sleep 1000']\n\n[restart]\npolicy = \"no\"\n";
    instance.unit("forks", &in_slice(forks));
    instance.rsvc(&["start", "forks"]).expect(0);
    let log = instance.wait_for_log("forks", "forks: ");
    let count: u32 = log.split("forks: ").nth(1).and_then(|n| n.trim().parse().ok()).expect("a number");
    assert!(count < 12, "{count}: the slice has 24, and the other unit has 12 of them");
    instance.rsvc(&["stop", "forks", "many"]).expect(0);

    // One keeps most of the memory; the other is below its own limit and yet too much.
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    if swaps.lines().count() > 1 {
        return skipped("a host that swaps does not run out of memory at a limit");
    }
    let fill = |megabytes: u32| {
        format!(
            "[service]\nexec = [\"/usr/bin/perl\", \"-e\", '$| = 1; my $x = \"x\" x ({megabytes} << 20); print \"filled\\n\"; sleep 1000']\n\n\
             [restart]\npolicy = \"no\"\n\n[resources]\nslice = \"batch\"\n"
        )
    };
    instance.unit("first", &fill(14));
    instance.rsvc(&["start", "first"]).expect(0);
    instance.wait_for_log("first", "filled");
    instance.unit("second", &fill(40));
    instance.rsvc(&["start", "--no-wait", "second"]);
    let (victim, status) = eventually("the kernel kills one of them", || {
        ["first", "second"].into_iter().find_map(|unit| {
            let status = instance.status(unit);
            (status["state"] == "failed").then_some((unit, status))
        })
    });
    let cause = status["cause"].as_str().expect("a cause");
    assert!(cause.contains("the memory limit of the slice batch"), "{victim}: {cause}");
    assert_eq!(status["result"], "oom-kill", "{victim}");
}

#[test]
fn processors_of_a_slice_are_those_of_its_units_and_a_unit_can_move_to_another_slice() {
    root_only!();
    let instance = Instance::start();
    slice(&instance, "[resources]\ncpuset_cpus = \"0\"\ncpu_max = \"90%\"\n");
    instance.unit_as_is("other.slice", "[resources]\ntasks_max = 33\n");
    instance.unit("a", &in_slice(SLEEP));
    let said = instance.rsvc(&["start", "a"]);
    if said.code != 0 && said.err.contains("controller") {
        return skipped("needs cpu and cpuset controllers");
    }
    said.expect(0);
    let allowed = |unit: &str| {
        let pid = instance.main_process(unit).pid;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
        let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        line.expect("a list").trim().to_owned()
    };
    assert_eq!(allowed("a"), "0");
    let group = |status: &serde_json::Value| status["slice"]["cgroup"].as_str().expect("a group").to_owned();
    let before = group(&instance.status("a"));
    instance.unit("a", &in_slice(SLEEP).replace("batch", "other"));
    instance.rsvc(&["restart", "a"]).expect(0);
    let status = instance.status("a");
    assert_eq!(status["slice"]["name"], "other");
    assert!(group(&status) != before && group(&status).ends_with("other.slice"), "{status:#}");
    assert_eq!(
        allowed("a"),
        fs::read_to_string("/proc/self/status")
            .expect("our own")
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .expect("a list")
            .trim()
    );
    instance.unit("a", SLEEP);
    instance.rsvc(&["restart", "a"]).expect(0);
    assert_eq!(instance.status("a")["slice"], serde_json::Value::Null);
}

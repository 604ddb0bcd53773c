//! Too little of something, too much of another: groups, descriptors, processes, output.

use crate::instance::namespace::Namespace;
use crate::instance::process::Process;
use crate::instance::{Instance, eventually, skipped};
use crate::{SLEEP, script};
use std::fs;
use std::path::Path;
use std::time::Instant;

#[test]
fn a_group_that_somebody_removed_is_made_again() {
    root_only!();
    let instance = Instance::start();
    // The group stays while the next attempt is waited for, and that is long: else it could begin in this very moment.
    let more = "[restart]\ndelay = \"1h\"\nmax_delay = \"1h\"";
    instance.unit("web", &script("exec", "exit 1", more));
    instance.rsvc(&["start", "web"]);
    let status = eventually("a waiting restart", || {
        Some(instance.status("web")).filter(|status| status["substate"] == "auto-restart")
    });
    let group = status["cgroup"].as_str().expect("a group").trim_start_matches('/').to_owned();
    let directory = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(|mount| Path::new(mount).join(&group));
    let directory = directory.into_iter().find(|directory| directory.is_dir()).expect("the v2 group");
    eventually("it is empty", || fs::remove_dir(&directory).ok());
    instance.unit("web", SLEEP);
    instance.rsvc(&["start", "web"]).expect(0);
    assert!(directory.is_dir());
}

#[test]
fn a_read_only_runtime_directory_refuses_starts_and_keeps_what_runs() {
    root_only!();
    let Some(namespace) = Namespace::start("true") else { return skipped("cannot make a mount namespace") };
    let mut instance = Instance::prepared();
    let run = instance.file("run").display().to_string();
    instance.enter(&namespace);
    instance.start_daemon();
    instance.unit("web", SLEEP);
    instance.unit("late", &format!("{SLEEP}[restart]\npolicy = \"no\"\n"));
    instance.rsvc(&["start", "web"]).expect(0);
    // A mount of its own, through which nothing is open for writing yet.
    let run = format!("{run}/services");
    namespace.run(&format!("mount --bind {run} {run} && mount -o remount,ro,bind {run}")).expect(0);
    let said = instance.rsvc(&["start", "late"]).expect(1);
    assert!(said.err.contains("Read-only file system"), "{said:?}");
    assert_eq!(instance.status("web")["state"], "active");
    namespace.run(&format!("mount -o remount,rw,bind {run}")).expect(0);
    instance.rsvc(&["start", "late"]).expect(0);
}

#[test]
fn without_descriptors_starts_fail_and_the_rest_goes_on() {
    root_only!();
    let mut instance = Instance::prepared();
    instance.wrap_daemon(&["/bin/sh", "-c", "ulimit -n 64; exec \"$@\"", "-"]);
    instance.start_daemon();
    let names: Vec<String> = (0..40).map(|n| format!("unit{n:02}")).collect();
    for name in &names {
        instance.unit(name, &format!("{SLEEP}[restart]\npolicy = \"no\"\n"));
    }
    let said: Vec<_> = names.iter().map(|name| (name, instance.rsvc(&["start", name]))).collect();
    let (good, bad): (Vec<_>, Vec<_>) = said.into_iter().partition(|(_, said)| said.code == 0);
    assert!(!good.is_empty() && !bad.is_empty());
    for (_, said) in &bad {
        assert!(said.err.contains("may not open more than 64 files"), "{said:?}");
    }
    for (name, _) in &good {
        assert_eq!(instance.status(name)["state"], "active", "{name}");
    }
    let gone: Vec<&str> = good.iter().take(good.len() / 2).map(|(name, _)| name.as_str()).collect();
    instance.rsvc(&[&["stop"], gone.as_slice()].concat()).expect(0);
    instance.rsvc(&["start", bad[0].0]).expect(0);
}

#[test]
fn two_hundred_units_come_and_go_without_a_trace() {
    root_only!();
    let instance = Instance::start();
    let open = || fs::read_dir(format!("/proc/{}/fd", instance.daemon_pid())).expect("fd").count();
    instance.unit("first", SLEEP);
    instance.rsvc(&["start", "first"]).expect(0);
    instance.rsvc(&["stop", "first"]).expect(0);
    let before = open();
    let names: Vec<String> = (0..200).map(|n| format!("unit{n}")).collect();
    for name in &names {
        instance.unit(name, SLEEP);
    }
    #[allow(clippy::disallowed_methods, reason = "the time is printed, not judged")]
    let begin = Instant::now();
    let mut arguments = vec!["start"];
    arguments.extend(names.iter().map(String::as_str));
    instance.rsvc(&arguments).expect(0);
    println!("200 starts: {:?}", begin.elapsed());
    assert_eq!(instance.rsvc(&["list", "-o", "json"]).out.matches("\"active\"").count(), 200);
    instance.rsvc(&["stop", "--all"]).expect(0);
    println!("and stops: {:?}", begin.elapsed());
    eventually("descriptors are closed", || (open() <= before).then_some(()));
    let root = fs::read_to_string(instance.file("run/cgroup-root")).expect("record");
    let v2 = root.lines().find_map(|line| line.strip_prefix("v2:")).unwrap_or("/nowhere").trim_start_matches('/');
    for mount in ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"] {
        let units = || {
            fs::read_dir(Path::new(mount).join(v2))
                .into_iter()
                .flatten()
                .flatten()
                // The instance's keeper stays until the daemon ends.
                .filter(|e| e.path().is_dir() && e.file_name() != "rsvc-keepers")
                .count()
        };
        eventually("groups are removed", || (units() == 0).then_some(()));
    }
    assert_eq!(fs::read_dir(instance.file("run/io")).expect("io").count(), 0);
}

#[test]
fn a_fork_bomb_and_a_deserter_are_stopped_whole() {
    root_only!();
    let instance = Instance::start();
    // Not a shell's bomb: a shell exits when it cannot fork, so that its bombs may die out before anybody counts them.
    let bomb = "fork or select undef, undef, undef, 0.01 while 1";
    let unit = format!(
        "[service]\nexec = [\"/usr/bin/perl\", \"-e\", \"{bomb}\"]\ntimeout_stop = \"1s\"\n[resources]\ntasks_max = 60\n"
    );
    instance.unit("bomb", &unit);
    instance.rsvc(&["start", "bomb"]).expect(0);
    let old = eventually("it is full", || {
        Some(Process::all(&instance.status("bomb"))).filter(|processes| processes.len() > 20)
    });
    instance.rsvc(&["stop", "bomb"]).expect(0);
    assert!(old.iter().all(|process| !process.is_alive()));

    instance.unit(
        "flees",
        &script(
            "exec",
            "setsid sleep 1000 & echo $! >$STATE_DIRECTORY/x; exit 0",
            "[directories]\nstate = [\"flees\"]",
        ),
    );
    instance.rsvc(&["start", "flees"]).expect(0);
    let status = instance.wait_for_state("flees", "inactive");
    assert!(Process::all(&status).is_empty(), "{status:#}");

    let said = {
        instance.unit(
            "cramped",
            &script("exec", "exec sleep 1000", "[restart]\npolicy = \"no\"\n[resources]\ntasks_max = 1"),
        );
        instance.rsvc(&["start", "cramped"]).expect(1)
    };
    assert!(said.err.contains("EAGAIN") || said.err.contains("tasks_max"), "{said:?}");
}

#[test]
fn a_flood_of_output_does_not_hold_up_others() {
    root_only!();
    let instance = Instance::start();
    instance.unit("flood", "[service]\nexec = [\"/usr/bin/yes\"]\n[logging]\ntarget = \"file\"\n[logging.file]\nmax_size = \"1M\"\nmax_files = 2\n");
    instance.rsvc(&["start", "flood"]).expect(0);
    for n in 0..10 {
        let name = format!("unit{n}");
        instance.unit(&name, SLEEP);
        instance.rsvc(&["start", &name, "--timeout", "120s"]).expect(0);
    }
    instance.rsvc(&["stop", "flood", "--timeout", "120s"]).expect(0);
}

//! Hostile and unlucky circumstances: the daemon goes on, answers correctly, and never runs a second copy.

mod instance;

use instance::namespace::Namespace;
use instance::{Instance, RSVC, eventually, is_root, skipped};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

macro_rules! root_only {
    () => {
        if !is_root() {
            return skipped("needs root");
        }
    };
}

const SLEEP: &str = "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n[logging]\ntarget = \"file\"\n";

fn is_alive(pid: i64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

fn main_pid(instance: &Instance, unit: &str) -> i64 {
    instance.status(unit)["main_pid"].as_i64().expect("a main pid")
}

fn connect(instance: &Instance) -> UnixStream {
    UnixStream::connect(instance.file("run/io.rsvc")).expect("the daemon listens")
}

/// A unit around a shell script.
/// A script sends its READY=1 by another program.
const ALL: &str = "notify_access = \"all\"\n";

fn script(kind: &str, text: &str, more: &str) -> String {
    format!(
        "[service]\ntype = \"{kind}\"\nexec = [\"/bin/sh\", \"-c\", '''{text}''']\n{more}\n[logging]\ntarget = \"file\"\n"
    )
}

#[test]
fn garbage_on_the_control_socket_costs_that_connection_only() {
    root_only!();
    let instance = Instance::start();
    instance.unit("web", SLEEP);
    instance.rsvc(&["start", "web"]).expect(0);
    let deep = [b"[".repeat(100_000), b"\0".to_vec()].concat();
    let large = vec![b'x'; 4 << 20];
    let garbage: [&[u8]; 8] = [
        b"\xff\xfe\0",
        b"\0\0\0",
        b"{}\0",
        b"{\"method\":1}\0",
        b"{\"method\":\"io.rsvc.Manager.Nonsense\"}\0",
        b"{\"method\":\"io.rsvc.Manager.Start\",\"parameters\":{\"unit\":\"../../etc/passwd\"}}\0",
        &deep,
        &large,
    ];
    for bytes in garbage {
        let mut stream = connect(&instance);
        // The daemon may close before it has read all.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(instance.status("web")["state"], "active");
    }
}

#[test]
fn many_half_open_and_vanishing_clients_are_survived() {
    root_only!();
    let instance = Instance::start();
    instance.unit("web", SLEEP);
    let idle: Vec<UnixStream> = (0..300).map(|_| connect(&instance)).collect();
    instance.rsvc(&["start", "web"]).expect(0);
    drop(idle);
    // One direction closed: the answer still comes.
    let mut half = connect(&instance);
    half.write_all(b"{\"method\":\"io.rsvc.Manager.Status\",\"parameters\":{\"unit\":\"web\"}}\0").expect("write");
    half.shutdown(std::net::Shutdown::Write).expect("shutdown");
    let mut answer = Vec::new();
    half.read_to_end(&mut answer).expect("an answer");
    assert!(String::from_utf8_lossy(&answer).contains("\"active\""));
    // Gone while it waits: the work goes on.
    instance.unit(
        "slow",
        &script(
            "oneshot",
            "while ! [ -e $STATE_DIRECTORY/go ]; do sleep 0.02; done",
            "[directories]\nstate = [\"slow\"]",
        ),
    );
    let mut gone = connect(&instance);
    gone.write_all(b"{\"method\":\"io.rsvc.Manager.Start\",\"parameters\":{\"unit\":\"slow\"}}\0").expect("write");
    instance.wait_for_state("slow", "activating");
    drop(gone);
    fs::write(instance.file("state/directories/state/slow/go"), "").expect("go");
    let status = instance.wait_for_state("slow", "inactive");
    assert_eq!(status["exit_code"], 0);
}

#[test]
fn unit_files_that_are_none_are_refused_and_hang_nobody() {
    root_only!();
    let instance = Instance::start();
    let path = |name: &str| instance.file("units").join(format!("{name}.toml"));
    fs::create_dir(path("dir")).expect("directory");
    nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("FIFO");
    symlink(path("loop"), path("loop")).expect("link");
    fs::write(path("big"), vec![b'#'; 1_200_000]).expect("file");
    fs::write(path("bytes"), b"[service]\nexec = [\"/bin/\xff\"]\n").expect("file");
    symlink("/dev/null", path("masked")).expect("link");
    instance.unit("good", SLEEP);
    for name in ["dir", "fifo", "loop", "big", "bytes", "masked"] {
        let said = instance.rsvc(&["start", name]).expect(6);
        assert!(said.err.contains(&format!("{name}.toml")), "{name}: {said:?}");
    }
    instance.rsvc(&["start", "good"]).expect(0);
    let said = instance.rsvc(&["list", "--all"]).expect(0);
    assert!(said.out.contains("good"), "{said:?}");
}

#[test]
fn a_file_that_vanishes_or_breaks_does_not_touch_what_runs() {
    root_only!();
    let instance = Instance::start();
    let file = instance.unit("web", SLEEP);
    instance.rsvc(&["start", "web"]).expect(0);
    let pid = main_pid(&instance, "web");
    fs::write(&file, "[service]\nexec = 1\n").expect("unit");
    instance.rsvc(&["restart", "web"]).expect(6);
    assert_eq!((main_pid(&instance, "web"), instance.status("web")["load_state"].as_str()), (pid, Some("bad-setting")));
    fs::remove_file(&file).expect("remove");
    instance.rsvc(&["restart", "web"]).expect(5);
    let status = instance.status("web");
    assert_eq!((status["main_pid"].as_i64(), status["state"].as_str()), (Some(pid), Some("active")));
    assert!(status["load_error"].as_str().is_some_and(|text| text.contains("gone")), "{status:#}");
    instance.rsvc(&["stop", "web"]).expect(0);
    assert!(!is_alive(pid));
    eventually("nothing is left of it", || (instance.rsvc(&["status", "web"]).code == 4).then_some(()));
    assert!(!instance.rsvc(&["list", "--all"]).expect(0).out.contains("web"));
}

#[test]
fn an_alias_is_another_name_of_one_service() {
    root_only!();
    let instance = Instance::start();
    let file = instance.unit("web", SLEEP);
    symlink(&file, instance.file("units/www.toml")).expect("link");
    instance
        .unit("app", "[unit]\nrequires = [\"www\"]\nafter = [\"www\"]\n[service]\nexec = [\"/bin/sleep\", \"1000\"]\n");
    instance.rsvc(&["start", "app"]).expect(0);
    let pid = main_pid(&instance, "web");
    instance.rsvc(&["start", "www", "web"]).expect(0);
    let status = instance.status("www");
    assert_eq!((status["name"].as_str(), status["main_pid"].as_i64()), (Some("web"), Some(pid)));
    instance.rsvc(&["restart", "www"]).expect(0);
    assert!(!is_alive(pid));
    instance.rsvc(&["stop", "www"]).expect(0);
    assert_eq!(instance.status("app")["state"], "inactive", "it required the alias");
}

#[test]
fn a_group_that_somebody_removed_is_made_again() {
    root_only!();
    let instance = Instance::start();
    let more = "[restart]\ndelay = \"300ms\"\nmax_delay = \"300ms\"";
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
fn a_state_that_cannot_be_believed_leads_to_one_fresh_copy() {
    root_only!();
    let mut instance = Instance::start();
    let names = ["damaged", "future", "missing"];
    for name in names {
        instance.unit(name, SLEEP);
    }
    instance.rsvc(&["start", "damaged", "future", "missing"]).expect(0);
    let before = names.map(|name| main_pid(&instance, name));
    instance.kill_daemon();
    let state = |name: &str| instance.file(&format!("run/services/{name}/state"));
    fs::write(state("damaged"), "{\"v\":1,\"boot").expect("write");
    fs::write(state("future"), "{\"v\":99}").expect("write");
    fs::remove_file(state("missing")).expect("remove");
    instance.start_daemon();
    for (name, old) in names.into_iter().zip(before) {
        let new = eventually("a fresh copy", || instance.status(name)["main_pid"].as_i64().filter(|pid| *pid != old));
        assert!(is_alive(new) && !is_alive(old), "{name}");
    }
}

#[test]
fn a_lost_exit_record_is_a_failure_without_a_guess() {
    root_only!();
    let mut instance = Instance::start();
    instance.unit("brief", &script("exec", "sleep 0.3; exit 0", "[restart]\npolicy = \"no\""));
    instance.rsvc(&["start", "brief"]).expect(0);
    let pid = main_pid(&instance, "brief");
    instance.kill_daemon();
    eventually("it ends", || (!is_alive(pid)).then_some(()));
    fs::write(instance.file("run/services/brief/exit"), [0xa5; 100]).expect("write");
    instance.start_daemon();
    let status = instance.wait_for_state("brief", "failed");
    assert!(status["cause"].as_str().is_some_and(|cause| cause.contains("no record")), "{status:#}");
}

#[test]
fn a_daemon_killed_in_the_middle_of_a_start_starts_again() {
    root_only!();
    let mut instance = Instance::start();
    let pre = "exec_start_pre = [[\"/bin/sh\", \"-c\", \"[ -e $STATE_DIRECTORY/flag ] || { touch $STATE_DIRECTORY/flag; exec sleep 1001; }\"]]\n[directories]\nstate = [\"pre\"]";
    instance.unit("pre", &script("exec", "exec sleep 1000", pre));
    instance.rsvc(&["start", "--no-wait", "pre"]).expect(0);
    eventually("the command runs", || instance.file("state/directories/state/pre/flag").exists().then_some(()));
    let old: Vec<i64> = pids(&instance.status("pre"));
    assert!(!old.is_empty());
    instance.kill_daemon();
    instance.start_daemon();
    instance.wait_for_state("pre", "active");
    assert!(old.iter().all(|pid| !is_alive(*pid)), "{old:?}");
}

fn pids(status: &Value) -> Vec<i64> {
    status["processes"].as_array().into_iter().flatten().filter_map(|process| process["pid"].as_i64()).collect()
}

#[test]
fn a_stop_and_a_restart_are_continued_by_the_next_daemon() {
    root_only!();
    let mut instance = Instance::start();
    let text = "trap 'while ! [ -e $STATE_DIRECTORY/go ]; do sleep 0.02; done; exit 0' TERM; echo trapped; while :; do sleep 0.02; done";
    for name in ["stop", "restart"] {
        instance.unit(name, &script("exec", text, &format!("[directories]\nstate = [\"{name}\"]")));
        instance.rsvc(&["start", name]).expect(0);
        instance.wait_for_log(name, "trapped");
    }
    let before = ["stop", "restart"].map(|name| main_pid(&instance, name));
    instance.rsvc(&["stop", "--no-wait", "stop"]).expect(0);
    instance.rsvc(&["restart", "--no-wait", "restart"]).expect(0);
    for name in ["stop", "restart"] {
        instance.wait_for_state(name, "deactivating");
    }
    instance.kill_daemon();
    for name in ["stop", "restart"] {
        fs::write(instance.file(&format!("state/directories/state/{name}/go")), "").expect("go");
    }
    instance.start_daemon();
    instance.wait_for_state("stop", "inactive");
    instance.wait_for_state("restart", "active");
    assert!(before.iter().all(|pid| !is_alive(*pid)));
}

#[test]
fn waiting_restarts_and_failures_are_remembered_by_the_next_daemon() {
    root_only!();
    let mut instance = Instance::start();
    instance.unit("wait", &script("exec", "exit 7", "[restart]\ndelay = \"1s\"\nmax_delay = \"1s\""));
    instance.unit("failed", &script("oneshot", "exit 8", "[restart]\npolicy = \"no\""));
    instance.rsvc(&["start", "failed"]).expect(1);
    instance.rsvc(&["start", "--no-wait", "wait"]).expect(0);
    let before = eventually("the second restart waits", || {
        let status = instance.status("wait");
        (status["substate"] == "auto-restart" && status["restarts"] == 2).then_some(status)
    });
    instance.kill_daemon();
    instance.start_daemon();
    let after = instance.status("wait");
    assert!(after["restarts"].as_u64() >= before["restarts"].as_u64(), "{after:#}");
    assert_eq!(after["exit_code"], 7);
    eventually("it goes on", || instance.status("wait")["restarts"].as_u64().filter(|count| *count >= 3));
    let failed = instance.status("failed");
    assert_eq!((failed["state"].as_str(), failed["exit_code"].as_u64()), (Some("failed"), Some(8)), "{failed:#}");
    instance.rsvc(&["reset-failed", "failed"]).expect(0);
    assert!(!instance.file("run/services/failed/state").exists());
    instance.rsvc(&["stop", "wait"]).expect(0);
    assert!(!instance.file("run/services/wait/state").exists());
}

#[test]
fn readiness_and_oneshots_survive_the_daemon() {
    root_only!();
    let mut instance = Instance::start();
    instance.unit("ready", &script("notify", "systemd-notify --ready; exec sleep 1000", ALL));
    let text = "while ! [ -e $STATE_DIRECTORY/go ]; do sleep 0.02; done; exit 0";
    instance.unit("once", &script("oneshot", text, "[directories]\nstate = [\"once\"]"));
    instance.rsvc(&["start", "ready"]).expect(0);
    instance.rsvc(&["start", "--no-wait", "once"]).expect(0);
    instance.wait_for_state("once", "activating");
    eventually("it runs", || instance.status("once")["main_pid"].as_i64());
    instance.kill_daemon();
    instance.start_daemon();
    assert_eq!(instance.status("ready")["state"], "active");
    assert_eq!(instance.status("once")["state"], "activating");
    fs::write(instance.file("state/directories/state/once/go"), "").expect("go");
    assert_eq!(instance.wait_for_state("once", "inactive")["result"], "success");
}

#[test]
fn two_daemons_do_not_share_a_runtime_directory() {
    root_only!();
    let instance = Instance::start();
    let said = instance.rsvc(&["daemon"]).expect(1);
    assert!(said.err.contains("another rsvc daemon"), "{said:?}");
    instance.rsvc(&["list"]).expect(0);
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
        assert!(said.err.contains("Too many open files") || said.err.contains("EMFILE"), "{said:?}");
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
                .filter(|e| e.path().is_dir())
                .count()
        };
        eventually("groups are removed", || (units() == 0).then_some(()));
    }
    assert_eq!(fs::read_dir(instance.file("run/io")).expect("io").count(), 0);
}

#[test]
fn only_a_units_own_processes_are_believed_about_its_readiness() {
    root_only!();
    let instance = Instance::start();
    let text = "while ! [ -e $STATE_DIRECTORY/go ]; do sleep 0.02; done; systemd-notify --ready; exec sleep 1000";
    instance.unit("web", &script("notify", text, &format!("{ALL}[directories]\nstate = [\"web\"]")));
    instance.rsvc(&["start", "--no-wait", "web"]).expect(0);
    let socket = instance.file("run/io/web/notify");
    eventually("its socket", || socket.exists().then_some(()));
    let stranger = UnixDatagram::unbound().expect("socket");
    for forged in [&b"READY=1"[..], b"STATUS=forged", b"MAINPID=1", b"STOPPING=1", b"\xff\0\n=", &[b'x'; 9000]] {
        stranger.send_to(forged, &socket).expect("send");
    }
    eventually("they are refused", || {
        (instance.daemon_log().matches("does not belong to it").count() == 6).then_some(())
    });
    let status = instance.status("web");
    assert_eq!((status["state"].as_str(), &status["status_text"]), (Some("activating"), &Value::Null));
    fs::write(instance.file("state/directories/state/web/go"), "").expect("go");
    instance.wait_for_state("web", "active");
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
    eventually("it is full", || (pids(&instance.status("bomb")).len() > 20).then_some(()));
    let old = pids(&instance.status("bomb"));
    instance.rsvc(&["stop", "bomb"]).expect(0);
    assert!(old.iter().all(|pid| !is_alive(*pid)));

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
    assert!(pids(&status).is_empty(), "{status:#}");

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
        instance.rsvc(&["start", &name, "--timeout", "20s"]).expect(0);
    }
    instance.rsvc(&["stop", "flood", "--timeout", "20s"]).expect(0);
}

#[test]
fn requests_that_cross_are_each_answered() {
    root_only!();
    let instance = Instance::start();
    instance.unit("web", SLEEP);
    instance.rsvc(&["try-restart", "web"]).expect(0);
    assert_eq!(instance.status("web")["state"], "inactive");
    instance.rsvc(&["restart", "web"]).expect(0);
    let pid = main_pid(&instance, "web");
    instance.rsvc(&["try-restart", "web"]).expect(0);
    assert!(!is_alive(pid));
    instance.rsvc(&["kill", "-s", "STOP", "web"]).expect(0);
    instance.rsvc(&["kill", "-s", "CONT", "web"]).expect(0);
    instance.rsvc(&["stop", "web"]).expect(0);

    // Many starts of one unit are one start.
    let children: Vec<_> = (0..8)
        .map(|_| instance.command().args(["start", "web"]).stdin(Stdio::null()).spawn().expect("rsvc runs"))
        .collect();
    for mut child in children {
        assert!(child.wait().expect("wait").success());
    }
    assert_eq!(instance.daemon_log().matches("web: started").count(), 3);

    // A stop during a start, and a start during a stop.
    let text =
        "trap 'while ! [ -e $STATE_DIRECTORY/go ]; do sleep 0.02; done; exit 0' TERM; while :; do sleep 0.02; done";
    instance.unit("slow", &script("notify", text, "[directories]\nstate = [\"slow\"]"));
    let start = instance.command().args(["start", "slow"]).stderr(Stdio::piped()).spawn().expect("rsvc runs");
    instance.wait_for_state("slow", "activating");
    eventually("it runs", || instance.status("slow")["main_pid"].as_i64());
    instance.rsvc(&["stop", "--no-wait", "slow"]).expect(0);
    assert_eq!(start.wait_with_output().expect("wait").status.code(), Some(1), "a stop overtook it");
    instance.wait_for_state("slow", "deactivating");
    instance.unit("slow", SLEEP);
    instance.rsvc(&["start", "--no-wait", "slow"]).expect(0);
    fs::write(instance.file("state/directories/state/slow/go"), "").expect("go");
    instance.wait_for_state("slow", "active");
}

#[test]
fn a_chain_of_requirements_names_the_link_that_broke() {
    root_only!();
    let instance = Instance::start();
    instance.unit("a", &script("oneshot", "exit 3", "[restart]\npolicy = \"no\""));
    for (name, needs) in [("b", "a"), ("c", "b")] {
        let unit = format!("[unit]\nrequires = [\"{needs}\"]\nafter = [\"{needs}\"]\n{SLEEP}");
        instance.unit(name, &unit);
    }
    let said = instance.rsvc(&["start", "c"]).expect(1);
    assert!(said.err.contains("required unit b"), "{said:?}");
    assert!(instance.status("b")["cause"].as_str().is_some_and(|cause| cause.contains("required unit a")));
}

#[test]
fn time_limits_of_start_and_stop_are_kept_and_named() {
    root_only!();
    let instance = Instance::start();
    let more = "timeout_start = \"200ms\"\ntimeout_stop = \"200ms\"\n[restart]\npolicy = \"no\"";
    instance.unit("late", &script("oneshot", "trap '' TERM; sleep 1000", more));
    let said = instance.rsvc(&["start", "late"]).expect(1);
    assert!(said.err.contains("timeout_start"), "{said:?}");
    assert_eq!(instance.status("late")["result"], "timeout");
    instance.unit("deaf", &script("exec", "trap '' TERM; echo deaf; while :; do sleep 1; done", more));
    instance.rsvc(&["start", "deaf"]).expect(0);
    instance.wait_for_log("deaf", "deaf");
    instance.rsvc(&["stop", "deaf"]).expect(0);
    let status = instance.status("deaf");
    assert!(status["cause"].as_str().is_some_and(|cause| cause.contains("timeout_stop")), "{status:#}");
}

#[test]
fn a_managed_process_may_not_command_unless_its_unit_says_so() {
    root_only!();
    let instance = Instance::start();
    let socket = instance.file("run/io.rsvc").display().to_string();
    let more = |control: bool| {
        format!(
            "[filesystem]\nprivate_tmp = false\n[namespaces]\nmount = \"host\"\n[security]\nprofile = \"host\"\ncontrol_socket = {control}\n[restart]\npolicy = \"no\""
        )
    };
    let text = format!("{RSVC} --socket {socket} list >/dev/null; echo answered $?");
    instance.unit("inside", &script("oneshot", &text, &more(false)));
    instance.rsvc(&["start", "inside"]).expect(0);
    instance.wait_for_log("inside", "answered 4");
    instance.unit("trusted", &script("oneshot", &text, &more(true)));
    instance.rsvc(&["start", "trusted"]).expect(0);
    instance.wait_for_log("trusted", "answered 0");
    // In a sandbox there is no socket to be seen.
    instance.unit("boxed", &script("oneshot", &format!("[ -e {socket} ] || echo hidden"), ""));
    instance.rsvc(&["start", "boxed"]).expect(0);
    instance.wait_for_log("boxed", "hidden");
}

/// A daemon with the system's own directories, in a mount namespace where these are empty.
#[test]
fn the_system_instance_trusts_root_only_and_obeys_root_and_its_group() {
    root_only!();
    // Mount points that the host does not have are taken away again.
    let missing: Vec<&str> =
        ["/etc/rsvc", "/var/lib/rsvc", "/var/log/rsvc"].into_iter().filter(|path| !Path::new(path).exists()).collect();
    let set_up = "mount -t tmpfs -o mode=755 tmpfs /run; mkdir -p /etc/rsvc /var/lib/rsvc /var/log/rsvc
mount -t tmpfs -o mode=755 tmpfs /etc/rsvc; mount -t tmpfs -o mode=755 tmpfs /var/lib/rsvc; mount -t tmpfs -o mode=755 tmpfs /var/log/rsvc
mkdir /etc/rsvc/units; (cat /etc/group; echo 'rsvc:x:65500:') > /run/group; mount --bind /run/group /etc/group";
    let Some(namespace) = Namespace::start(set_up) else { return skipped("cannot make a mount namespace") };
    let own = fs::read_to_string("/proc/self/cgroup").expect("cgroup");
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").trim_end_matches('/').to_owned();
    let root = format!("{own}/rsvc-test-system-{}", std::process::id());
    let enter = format!("--mount={}", namespace.mounts().display());
    let mut daemon = Command::new("nsenter")
        .args([&enter, RSVC, "daemon", "--stop-on-exit"])
        .env("RSVC_CGROUP_ROOT", &root)
        .spawn()
        .expect("the daemon starts");
    let rsvc = |words: &str| namespace.run(&format!("{RSVC} {words}"));
    eventually("the daemon answers", || (rsvc("list").code == 0).then_some(()));
    namespace.run("printf '[service]\\nexec = [\"/bin/sleep\", \"1000\"]\\n' > /etc/rsvc/units/web.toml; cd /etc/rsvc/units; cp web.toml open.toml; chmod 666 open.toml; cp web.toml other.toml; chown 65534 other.toml").expect(0);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let said = rsvc("start open").expect(6);
        assert!(said.err.contains("writable by everybody"), "{said:?}");
        let said = rsvc("start other").expect(6);
        assert!(said.err.contains("65534"), "{said:?}");
        let by = |groups: &str, words: &str| {
            namespace.run(&format!("setpriv --reuid 65534 --regid 65534 {groups} {RSVC} {words}"))
        };
        by("--clear-groups", "start web").expect(4);
        by("--clear-groups", "list").expect(0);
        by("--groups 65500", "start web").expect(0);
        by("--clear-groups", "stop web").expect(4);
        by("--groups 65500", "stop web").expect(0);
    }));
    let pid = rustix::process::Pid::from_child(&daemon);
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    let _ = daemon.wait();
    drop(namespace);
    for path in missing {
        let _ = fs::remove_dir(path);
    }
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

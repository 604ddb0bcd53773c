//! A daemon, real processes, the client: starting, stopping, restarting, dying, as an administrator sees it.

#[macro_use]
mod instance;

use instance::process::Process;
use instance::{Instance, eventually, skipped};
use rustix::process::Signal;
use std::fs;
use std::path::Path;

#[test]
fn a_unit_with_only_exec_starts_is_shown_and_stops_without_a_trace() {
    root_only!();
    let instance = Instance::start();
    instance.unit("web", "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n");
    instance.rsvc(&["start", "web"]).expect(0);
    let status = instance.status("web");
    assert_eq!(status["v"], 1);
    assert_eq!(status["state"], "active");
    assert_eq!(status["substate"], "running");
    let main = Process::of(&status["main_pid"]);
    let command = main.command_line();
    assert!(command.starts_with("/bin/sleep"), "main_pid is the service's own: {command}");
    instance.rsvc(&["status", "web"]).expect(0);
    instance.rsvc(&["is-active", "web"]).expect(0);
    instance.rsvc(&["stop", "web"]).expect(0);
    assert!(!main.is_alive());
    instance.rsvc(&["status", "web"]).expect(3);
    assert!(!instance.file("run/services/web/state").exists());
    eventually("the group is gone", || {
        let group = status["cgroup"].as_str().expect("cgroup").to_owned();
        (!Path::new("/sys/fs/cgroup/unified").join(group.trim_start_matches('/')).exists()).then_some(())
    });
}

#[test]
fn exit_codes_name_what_went_wrong() {
    root_only!();
    let instance = Instance::start();
    instance.rsvc(&["start", "nosuch"]).expect(5);
    instance.rsvc(&["status", "nosuch"]).expect(4);
    instance.unit("bad", "[service]\nexec = [\"/bin/true\"]\nusr = \"x\"\n");
    let said = instance.rsvc(&["start", "bad"]).expect(6);
    assert!(said.err.contains("did you mean `user`"), "{}", said.err);
    instance.unit("down", "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n");
    instance.rsvc(&["reload", "down"]).expect(7);
    instance.rsvc(&["kill", "down"]).expect(7);
}

#[test]
fn a_failing_start_names_step_object_errno_line_and_hint() {
    root_only!();
    let instance = Instance::start();
    let file = instance.unit("missing", "[service]\nexec = [\"/nonexistent/program\"]\n\n[restart]\npolicy = \"no\"\n");
    let said = instance.rsvc(&["start", "missing"]).expect(1);
    for part in ["EXEC", "/nonexistent/program", "ENOENT", &format!("{}:2", file.display())] {
        assert!(said.err.contains(part), "`{part}` in: {}", said.err);
    }
    assert_eq!(instance.status("missing")["state"], "failed");
    instance.rsvc(&["reset-failed", "missing"]).expect(0);
    assert_eq!(instance.status("missing")["state"], "inactive");
}

#[test]
fn a_changed_file_is_used_at_the_next_start_without_a_reload() {
    root_only!();
    let instance = Instance::start();
    instance.unit("web", "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n");
    instance.rsvc(&["start", "web"]).expect(0);
    instance.unit("web", "[service]\nexec = [\"/bin/sleep\", \"2000\"]\n");
    assert_eq!(instance.status("web")["changed_on_disk"], true);
    instance.rsvc(&["restart", "web"]).expect(0);
    let status = instance.status("web");
    assert_eq!(status["changed_on_disk"], false);
    assert!(Process::of(&status["main_pid"]).command_line().ends_with("2000\0"));
}

#[test]
fn a_killed_service_comes_back_and_the_counter_says_so() {
    root_only!();
    let instance = Instance::start();
    instance.unit("web", "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n[restart]\ndelay = \"0\"\n");
    instance.rsvc(&["start", "web"]).expect(0);
    let first = instance.main_process("web");
    first.signal(Signal::KILL);
    let status = eventually("a new main process", || {
        let status = instance.status("web");
        (status["restarts"] == 1 && status["main_pid"].is_number()).then_some(status)
    });
    assert_eq!(status["exit_signal"], "SIGKILL");
    assert!(!first.is_alive() && Process::of(&status["main_pid"]) != first);
}

#[test]
fn a_crash_loop_backs_off_and_a_stop_ends_it() {
    root_only!();
    let instance = Instance::start();
    instance.unit("loop", "[service]\nexec = [\"/bin/false\"]\n[restart]\ndelay = \"10s\"\n");
    instance.rsvc(&["start", "loop"]);
    let status = eventually("a waiting restart", || {
        let status = instance.status("loop");
        (status["substate"] == "auto-restart").then_some(status)
    });
    assert!(status["next_restart_at"].is_string(), "{status:#}");
    assert_eq!(status["exit_code"], 1);
    instance.rsvc(&["stop", "loop"]).expect(0);
    assert_eq!(instance.status("loop")["next_restart_at"], serde_json::Value::Null);
}

#[test]
fn nothing_survives_a_stop() {
    root_only!();
    let instance = Instance::start();
    instance.unit(
        "stubborn",
        r#"
[service]
exec = ["/bin/sh", "-c", "trap '' TERM; (trap '' TERM HUP; setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' & ) ; echo up; while :; do sleep 1; done"]
timeout_stop = "500ms"
"#,
    );
    instance.rsvc(&["start", "stubborn"]).expect(0);
    instance.wait_for_log("stubborn", "up");
    let processes = Process::all(&instance.status("stubborn"));
    assert!(processes.len() >= 3, "init, main and a detached child: {processes:?}");
    instance.rsvc(&["stop", "stubborn"]).expect(0);
    assert!(processes.iter().all(|process| !process.is_alive()), "{processes:?}");
}

#[test]
fn output_goes_to_a_file_and_logs_shows_it() {
    root_only!();
    let instance = Instance::start();
    instance.unit(
        "talk",
        "[service]\ntype = \"oneshot\"\nexec = [\"/bin/sh\", \"-c\", \"echo one; echo two >&2\"]\n[logging]\ntarget = \"file\"\n",
    );
    instance.rsvc(&["start", "talk"]).expect(0);
    instance.wait_for_log("talk", "two");
    let said = instance.rsvc(&["logs", "talk"]).expect(0);
    assert!(said.out.contains("one") && said.out.contains("two"), "{}", said.out);
    let said = instance.rsvc(&["logs", "-n", "1", "talk"]).expect(0);
    assert!(!said.out.contains("one") && said.out.contains("two"), "{}", said.out);
}

#[test]
fn a_oneshot_succeeds_or_fails_with_its_program() {
    root_only!();
    let instance = Instance::start();
    instance.unit("good", "[service]\ntype = \"oneshot\"\nexec = [\"/bin/true\"]\n");
    instance.unit(
        "poor",
        "[service]\ntype = \"oneshot\"\nexec = [\"/bin/sh\", \"-c\", \"exit 7\"]\n[restart]\npolicy = \"no\"\n",
    );
    instance.rsvc(&["start", "good"]).expect(0);
    let said = instance.rsvc(&["start", "poor"]).expect(1);
    assert!(said.err.contains("status 7"), "{}", said.err);
    assert_eq!(instance.status("poor")["exit_code"], 7);
    assert_eq!(instance.status("poor")["result"], "exit-code");
}

#[test]
fn what_follows_a_oneshot_runs_in_a_container_of_its_own() {
    root_only!();
    let instance = Instance::start();
    instance.unit(
        "job",
        "[service]\ntype = \"oneshot\"\nexec = [\"/bin/echo\", \"job\"]\nexec_start_post = [[\"/bin/echo\", \"post\"]]\nexec_stop_post = [[\"/bin/echo\", \"after\"]]\n",
    );
    instance.rsvc(&["start", "job"]).expect(0);
    let log = instance.wait_for_log("job", "after");
    assert!(log.find("job").expect("job") < log.find("post").expect("post"), "{log}");
}

#[test]
fn notify_waits_for_ready_and_shows_the_status_text() {
    root_only!();
    if !Path::new("/usr/bin/python3").exists() && !Path::new("/usr/bin/systemd-notify").exists() {
        return skipped("needs systemd-notify");
    }
    let instance = Instance::start();
    instance.unit(
        "ready",
        r#"
[service]
type = "notify"
notify_access = "all"
exec = ["/bin/sh", "-c", "sleep 0.2; systemd-notify --ready --status=serving; sleep 1000"]
"#,
    );
    instance.rsvc(&["start", "ready"]).expect(0);
    let status = instance.status("ready");
    assert_eq!(status["ready"], "notify");
    eventually("the status text", || (instance.status("ready")["status_text"] == "serving").then_some(()));
    instance.unit(
        "silent",
        // Room for the exec on a busy machine: a limit that passes before it is told in other words.
        "[service]\ntype = \"notify\"\nexec = [\"/bin/sleep\", \"1000\"]\ntimeout_start = \"3s\"\n[restart]\npolicy = \"no\"\n",
    );
    let said = instance.rsvc(&["start", "silent"]).expect(1);
    assert!(said.err.contains("READY=1"), "{}", said.err);
}

#[test]
fn a_forking_service_is_followed_by_its_pid_file() {
    root_only!();
    let instance = Instance::start();
    instance.unit(
        "fork",
        r#"
[service]
type = "forking"
pid_file = "/run/fork/pid"
exec = ["/bin/sh", "-c", "sleep 1000 & echo $! > /run/fork/pid"]
[restart]
delay = "0"
[directories]
runtime = ["fork"]
"#,
    );
    instance.rsvc(&["start", "fork"]).expect(0);
    let first = instance.main_process("fork");
    // The shell may have written the number before its child has become what it is to be.
    eventually("its program", || first.command_line().starts_with("sleep").then_some(()));
    first.signal(Signal::KILL);
    let status = eventually("it is started again", || {
        let status = instance.status("fork");
        (status["restarts"] == 1 && status["state"] == "active").then_some(status)
    });
    assert_eq!(status["exit_signal"], "SIGKILL");
    assert!(Process::of(&status["main_pid"]) != first);
}

#[test]
fn commands_run_before_and_after_in_order() {
    root_only!();
    let instance = Instance::start();
    instance.unit(
        "steps",
        r#"
[service]
exec = ["/bin/sh", "-c", "echo main; sleep 1000"]
exec_start_pre = [["/bin/echo", "pre one"], ["/bin/echo", "pre two"]]
exec_start_post = [["/bin/sh", "-c", "echo post sees $MAINPID $(cat /proc/$MAINPID/comm)"]]
exec_reload = [["/bin/echo", "reload"]]
exec_stop = [["/bin/echo", "stop"]]
exec_stop_post = [["/bin/sh", "-c", "echo after $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS"]]
"#,
    );
    instance.rsvc(&["start", "steps"]).expect(0);
    instance.wait_for_log("steps", " main\n");
    instance.rsvc(&["reload", "steps"]).expect(0);
    instance.rsvc(&["stop", "steps"]).expect(0);
    let log = instance.wait_for_log("steps", "after");
    let mut said: Vec<&str> = log.lines().filter_map(|line| line.split_once(' ')).map(|(_, text)| text).collect();
    // Once it runs, the main process and what comes after its start are at work at the same time.
    let main = said.iter().position(|text| *text == "main").expect("main");
    assert!(main > 1, "{said:?}");
    said.remove(main);
    assert_eq!(said, ["pre one", "pre two", "post sees 2 sh", "reload", "stop", "after success killed TERM"]);
}

#[test]
fn a_failing_command_before_keeps_the_service_down() {
    root_only!();
    let instance = Instance::start();
    instance.unit(
        "guarded",
        r#"
[service]
exec = ["/bin/sleep", "1000"]
exec_start_pre = [{ argv = ["/bin/false"], ignore_failure = true }, ["/bin/sh", "-c", "exit 3"]]
[restart]
policy = "no"
"#,
    );
    let said = instance.rsvc(&["start", "guarded"]).expect(1);
    assert!(said.err.contains("exec_start_pre[1]") && said.err.contains("status 3"), "{}", said.err);
}

#[test]
fn required_units_come_first_and_cycles_are_named() {
    root_only!();
    let instance = Instance::start();
    instance.unit("db", "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n");
    instance
        .unit("app", "[unit]\nrequires = [\"db\"]\nafter = [\"db\"]\n[service]\nexec = [\"/bin/sleep\", \"1000\"]\n");
    instance.rsvc(&["start", "app"]).expect(0);
    assert_eq!(instance.status("db")["state"], "active");
    instance.unit("lone", "[unit]\nrequires = [\"nosuch\"]\n[service]\nexec = [\"/bin/sleep\", \"1000\"]\n");
    let said = instance.rsvc(&["start", "lone"]).expect(1);
    assert!(said.err.contains("nosuch"), "{}", said.err);
    instance.unit("a", "[unit]\nwants = [\"b\"]\nafter = [\"b\"]\n[service]\nexec = [\"/bin/sleep\", \"1000\"]\n");
    instance.unit("b", "[unit]\nwants = [\"a\"]\nafter = [\"a\"]\n[service]\nexec = [\"/bin/sleep\", \"1000\"]\n");
    let said = instance.rsvc(&["start", "a"]).expect(1);
    assert!(said.err.contains("cycle") && said.err.contains("a") && said.err.contains("b"), "{}", said.err);
}

#[test]
fn a_memory_kill_is_recognised_and_named_with_limit_and_peak() {
    root_only!();
    let instance = Instance::start();
    instance.unit(
        "hungry",
        r#"
[service]
exec = ["/bin/sh", "-c", "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo survived"]
[restart]
policy = "no"
[resources]
memory_max = "16M"
[security]
optional = ["resources.memory_swap_max"]
"#,
    );
    instance.rsvc(&["start", "hungry"]);
    let status = instance.wait_for_state("hungry", "failed");
    assert_eq!(status["result"], "oom-kill", "{status:#}");
    let cause = status["cause"].as_str().expect("cause");
    assert!(cause.contains("limit 16M") && cause.contains("peak"), "{cause}");
    assert!(status["oom_kills"].as_u64().expect("oom_kills") >= 1);
}

#[test]
fn a_restarted_daemon_takes_over_and_starts_no_second_copy() {
    root_only!();
    let mut instance = Instance::start();
    instance.unit(
        "stay",
        "[service]\nexec = [\"/bin/sh\", \"-c\", \"n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.2; done\"]\n",
    );
    instance.rsvc(&["start", "stay"]).expect(0);
    let before = instance.status("stay");
    let main = Process::of(&before["main_pid"]);
    instance.kill_daemon();
    assert!(main.is_alive(), "services live on");
    instance.start_daemon();
    let after = instance.status("stay");
    assert_eq!(after["main_pid"], before["main_pid"]);
    assert_eq!(after["invocation_id"], before["invocation_id"]);
    assert_eq!(after["state"], "active");
    let ticks = instance.log("stay").lines().count();
    eventually("its output is read again", || (instance.log("stay").lines().count() > ticks + 3).then_some(()));
    instance.rsvc(&["stop", "stay"]).expect(0);
    assert!(!main.is_alive());
}

#[test]
fn the_exit_status_of_a_service_that_ended_meanwhile_is_exact() {
    root_only!();
    let mut instance = Instance::start();
    instance
        .unit("brief", "[service]\nexec = [\"/bin/sh\", \"-c\", \"trap 'exit 42' USR1; echo up; while :; do sleep 0.1; done\"]\n[restart]\npolicy = \"no\"\n");
    instance.rsvc(&["start", "brief"]).expect(0);
    let main = instance.main_process("brief");
    instance.wait_for_log("brief", "up");
    instance.kill_daemon();
    main.signal(Signal::USR1);
    eventually("it ends", || (!main.is_alive()).then_some(()));
    instance.start_daemon();
    let status = instance.wait_for_state("brief", "failed");
    assert_eq!(status["exit_code"], 42, "{status:#}");
}

#[test]
fn an_adopted_service_has_ended_when_its_init_has_written_how() {
    root_only!();
    let mut instance = Instance::start();
    instance.unit("web", "[service]\nexec = [\"/bin/sh\", \"-c\", \"trap 'exit 42' USR1; echo up; while :; do sleep 0.1; done\"]\n[restart]\npolicy = \"no\"\n");
    instance.rsvc(&["start", "web"]).expect(0);
    instance.wait_for_log("web", "up");
    instance.kill_daemon();
    instance.start_daemon();
    let main = instance.main_process("web");
    let init = main.parent();
    init.signal(Signal::STOP);
    main.signal(Signal::USR1);
    eventually("it ends", || (!main.is_alive()).then_some(()));
    for _ in 0..20 {
        assert_ne!(instance.status("web")["state"], "failed", "nobody knows yet how it ended");
    }
    init.signal(Signal::CONT);
    assert_eq!(instance.wait_for_state("web", "failed")["exit_code"], 42);
}

#[test]
fn sigterm_ends_the_daemon_and_nothing_else() {
    root_only!();
    let mut instance = Instance::start();
    instance.unit("web", "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n");
    instance.rsvc(&["start", "web"]).expect(0);
    let main = instance.main_process("web");
    assert!(instance.end_daemon().success());
    assert!(main.is_alive());
    instance.rsvc(&["status", "web"]).expect(150);
    instance.start_daemon();
    assert_eq!(instance.main_process("web"), main);
}

#[test]
fn enabled_units_start_with_the_first_daemon_of_a_boot() {
    root_only!();
    let mut instance = Instance::prepared();
    instance.unit("boot", "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n[install]\nwanted_by = [\"default\"]\n");
    instance.rsvc(&["enable", "boot"]).expect(0);
    instance.start_daemon();
    instance.wait_for_state("boot", "active");
    instance.rsvc(&["stop", "boot"]).expect(0);
    instance.end_daemon();
    instance.start_daemon();
    assert_eq!(instance.status("boot")["state"], "inactive", "once per boot");
    instance.rsvc(&["disable", "boot"]).expect(0);
    instance.rsvc(&["is-enabled", "boot"]).expect(1);
}

#[test]
fn the_host_is_not_behind_dot_dot_and_none_of_its_mounts_is_left() {
    root_only!();
    let instance = Instance::start();
    fs::write(instance.file("canary"), "host").expect("canary");
    let canary = instance.file("canary");
    let roots = [
        String::new(),
        "[rootfs]\ntype = \"overlay\"\nlower = [\"/\"]\n".to_owned(),
        "[filesystem]\nprotect_system = \"strict\"\n".to_owned(),
        "[namespaces]\nuser = \"identity\"\n".to_owned(),
    ];
    for (number, root) in roots.iter().enumerate() {
        let name = format!("dots{number}");
        let script = format!(
            "ls -ld /../..{0} /.. /; stat -c %m /..; touch /../etc/rsvc-escape && echo ESCAPED; cat /proc/self/mountinfo; echo end",
            canary.display()
        );
        let text = format!(
            "[service]\ntype = \"oneshot\"\nexec = [\"/bin/sh\", \"-c\", \"{script}\"]\n[filesystem]\ninaccessible_paths = [\"/var/tmp\"]\n{root}"
        );
        let text = if root.starts_with("[filesystem]") {
            text.replace("[filesystem]\nprotect_system", "protect_system")
        } else {
            text
        };
        instance.unit(&name, &text);
        instance.rsvc(&["start", &name]);
        let log = instance.wait_for_log(&name, "end");
        assert!(!log.contains("ESCAPED") && !Path::new("/etc/rsvc-escape").exists(), "{root}: {log}");
        assert!(!log.contains(&format!("{}\n", canary.display())) || log.contains("cannot access"), "{root}: {log}");
        let roots = log.lines().filter(|line| line.contains(" / / ")).count();
        assert!(roots <= 1, "{root}: more than one mount on the root: {log}");
    }
}

//! What is under way when another program takes over comes to its end.

use crate::instance::{Said, eventually};
use crate::{copy, instance, processes, script, upgrade_to};
use std::fs;
use std::process::Stdio;

#[test]
fn a_stop_and_a_restart_under_way_are_continued() {
    root_only!();
    let instance = instance();
    let text = "trap 'while ! [ -e $STATE_DIRECTORY/go ]; do sleep 0.02; done; exit 0' TERM; echo trapped; while :; do sleep 0.02; done";
    for name in ["stop", "restart"] {
        instance.unit(name, &script("exec", text, &format!("[directories]\nstate = [\"{name}\"]")));
        instance.rsvc(&["start", name]).expect(0);
        instance.wait_for_log(name, "trapped");
    }
    let before = ["stop", "restart"].map(|name| instance.main_process(name));
    instance.rsvc(&["stop", "--no-wait", "stop"]).expect(0);
    instance.rsvc(&["restart", "--no-wait", "restart"]).expect(0);
    for name in ["stop", "restart"] {
        instance.wait_for_state(name, "deactivating");
    }
    let program = copy(&instance, "new");
    upgrade_to(&instance, &program);
    assert_eq!(instance.status("stop")["state"], "deactivating");
    assert!(before.iter().all(|main| main.is_alive()), "nobody was killed");
    for name in ["stop", "restart"] {
        fs::write(instance.file(&format!("state/directories/state/{name}/go")), "").expect("go");
    }
    instance.wait_for_state("stop", "inactive");
    instance.wait_for_state("restart", "active");
    assert!(before.iter().all(|main| !main.is_alive()));
}

#[test]
fn a_start_under_way_comes_about() {
    root_only!();
    let instance = instance();
    // Not ready yet.
    let text = "while ! [ -e $STATE_DIRECTORY/go ]; do sleep 0.02; done; systemd-notify --ready; exec sleep 1000";
    instance.unit("slow", &script("notify", text, "notify_access = \"all\"\n[directories]\nstate = [\"slow\"]"));
    // Before its program.
    let pre = "exec_start_pre = [[\"/bin/sh\", \"-c\", \"echo x >>$STATE_DIRECTORY/runs; while ! [ -e $STATE_DIRECTORY/go ]; do sleep 0.02; done\"]]\n[directories]\nstate = [\"pre\"]";
    instance.unit("pre", &script("exec", "exec sleep 1000", pre));
    // A oneshot at its work.
    let text = "while ! [ -e $STATE_DIRECTORY/go ]; do sleep 0.02; done; echo worked; exit 3";
    let more = "[directories]\nstate = [\"once\"]\n[restart]\npolicy = \"no\"";
    instance.unit("once", &script("oneshot", text, more));
    instance.rsvc(&["start", "--no-wait", "slow", "pre", "once"]).expect(0);
    eventually("the command runs", || instance.file("state/directories/state/pre/runs").exists().then_some(()));
    let (slow, once) = eventually("the programs run", || {
        let pid = |name: &str| instance.status(name)["main_pid"].as_i64();
        pid("slow").zip(pid("once"))
    });
    let former = processes(&instance, "pre");
    let program = copy(&instance, "new");
    for _ in 0..3 {
        upgrade_to(&instance, &program);
    }
    assert_eq!(instance.status("slow")["state"], "activating");
    assert_eq!(instance.status("slow")["main_pid"], slow);
    assert_eq!(instance.status("once")["main_pid"], once);
    for name in ["slow", "pre", "once"] {
        fs::write(instance.file(&format!("state/directories/state/{name}/go")), "").expect("go");
    }
    assert_eq!(instance.wait_for_state("slow", "active")["main_pid"], slow);
    assert_eq!(instance.wait_for_state("once", "failed")["exit_code"], 3);
    instance.wait_for_state("pre", "active");
    assert!(former.iter().all(|process| !process.is_alive()), "never two of them");
}

#[test]
fn timers_and_sockets_go_on() {
    root_only!();
    let instance = instance();
    let job = "[service]\ntype = \"oneshot\"\nexec = [\"/bin/echo\", \"ran\"]\n[restart]\npolicy = \"no\"\n[[timers]]\nevery = \"1s\"\n";
    instance.unit("job", job);
    let socket = instance.file("socket");
    let server =
        "[service]\nactivation = \"on-demand\"\nexec = [\"/bin/sh\", \"-c\", \"echo asked; exec sleep 1000\"]\n";
    instance.unit("server", &format!("{server}[[sockets]]\nlisten = \"unix:{}\"\n", socket.display()));
    instance.rsvc(&["start", "job", "server"]).expect(0);
    let inode = |path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).expect("the socket"));
    let before = inode(&socket);
    let program = copy(&instance, "new");
    upgrade_to(&instance, &program);
    assert_eq!(inode(&socket), before, "the same socket");
    let runs = || instance.log("job").matches("ran").count();
    let seen = runs();
    eventually("the timer goes on", || (runs() > seen + 1).then_some(()));
    let _asker = std::os::unix::net::UnixStream::connect(&socket).expect("somebody listens");
    instance.wait_for_log("server", "asked");
    instance.rsvc(&["stop", "job"]).expect(0);
}

#[test]
fn restarts_are_counted_over_upgrades_and_crashes() {
    root_only!();
    let mut instance = instance();
    let text = "while ! [ -e $STATE_DIRECTORY/go ]; do sleep 0.01; done; rm $STATE_DIRECTORY/go; exit 1";
    let more = "[directories]\nstate = [\"web\"]\n[restart]\ndelay = \"0\"\nlimit_burst = 3\nlimit_interval = \"1h\"";
    instance.unit("web", &script("exec", text, more));
    instance.rsvc(&["start", "web"]).expect(0);
    let program = copy(&instance, "new");
    for round in 1..=3u64 {
        fs::write(instance.file("state/directories/state/web/go"), "").expect("go");
        eventually("it is restarted", || {
            let status = instance.status("web");
            (status["restarts"].as_u64() == Some(round) && status["state"] == "active").then_some(())
        });
        match round {
            1 => drop(upgrade_to(&instance, &program)),
            2 => {
                instance.kill_daemon();
                instance.start_daemon();
            }
            _ => {}
        }
    }
    fs::write(instance.file("state/directories/state/web/go"), "").expect("go");
    let status = instance.wait_for_state("web", "failed");
    assert_eq!(status["result"], "start-limit-hit", "{status:#}");
}

#[test]
fn a_signal_in_the_middle_ends_nothing_by_itself_and_is_not_lost() {
    root_only!();
    let mut instance = instance();
    instance.unit("web", &script("exec", "exec sleep 1000", ""));
    instance.rsvc(&["start", "web"]).expect(0);
    let web = instance.main_process("web");
    let program = copy(&instance, "new");
    let pid = rustix::process::Pid::from_raw(instance.daemon_pid()).expect("a pid");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("it lives");
                std::thread::sleep(std::time::Duration::from_micros(100));
            }
        });
        for _ in 0..5 {
            upgrade_to(&instance, &program);
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    assert_eq!(crate::describe(&instance)["upgrades"], 5);
    // Wherever the upgrade is: before or after, some program sees it and ends as it should.
    let mut client = instance.command();
    client.args(["daemon", "upgrade", "--program"]).arg(&program);
    client.stdout(Stdio::null()).stderr(Stdio::null());
    let mut client = client.spawn().expect("rsvc runs");
    let status = instance.end_daemon();
    assert!(status.success(), "{status}");
    instance.start_daemon();
    let _ = client.wait();
    assert_eq!(instance.main_process("web"), web);
}

/// Commands that wait for something are not told that their daemon became another.
#[test]
fn commands_that_wait_are_answered_by_the_next_program() {
    root_only!();
    let instance = instance();
    let wait = "while ! [ -e $STATE_DIRECTORY/go ]; do sleep 0.02; done";
    for name in ["starts", "fails"] {
        let end = if name == "starts" { "systemd-notify --ready; exec sleep 1000" } else { "exit 7" };
        let more = format!("notify_access = \"all\"\n[directories]\nstate = [\"{name}\"]\n[restart]\npolicy = \"no\"");
        instance.unit(name, &script("notify", &format!("{wait}; {end}"), &more));
    }
    let stubborn = format!("trap '{wait}; exit 0' TERM; echo trapped; while :; do sleep 0.02; done");
    instance.unit("stops", &script("exec", &stubborn, "[directories]\nstate = [\"stops\"]"));
    instance.rsvc(&["start", "stops"]).expect(0);
    instance.wait_for_log("stops", "trapped");
    let waiting = [["start", "starts"], ["start", "fails"], ["stop", "stops"], ["wait", "stops"]].map(|words| {
        let mut command = instance.command();
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("rsvc runs")
    });
    for (name, state) in [("starts", "activating"), ("fails", "activating"), ("stops", "deactivating")] {
        instance.wait_for_state(name, state);
    }
    let before = ["starts", "fails", "stops"].map(|name| instance.main_process(name));
    let program = copy(&instance, "new");
    for _ in 0..3 {
        upgrade_to(&instance, &program);
    }
    assert_eq!(["starts", "fails", "stops"].map(|name| instance.main_process(name)), before);
    for name in ["starts", "fails", "stops"] {
        fs::write(instance.file(&format!("state/directories/state/{name}/go")), "").expect("go");
    }
    let said = waiting.map(|client| Said::from(client.wait_with_output().expect("it ends")));
    assert_eq!(said.each_ref().map(|said| said.code), [0, 1, 0, 0], "{said:#?}");
    assert_eq!(instance.main_process("starts"), before[0], "started once");
}

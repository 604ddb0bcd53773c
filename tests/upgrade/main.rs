//! `rsvc daemon upgrade`: another program in the same process, and nobody notices; or the old one goes on.

#[path = "../instance/mod.rs"]
#[macro_use]
mod instance;

mod outdated;
mod refused;
mod under_way;

use instance::process::Process;
use instance::{Instance, RSVC, eventually, install};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A unit around a shell script.
fn script(kind: &str, text: &str, more: &str) -> String {
    format!("[service]\ntype = \"{kind}\"\nexec = [\"/bin/sh\", \"-c\", '''{text}''']\n{more}\n")
}

/// An instance whose daemon runs from a file of its own, so that the file may be replaced.
fn instance() -> Instance {
    let mut instance = Instance::prepared();
    install(Path::new(RSVC), &instance.file("rsvc"));
    instance.use_program(&instance.file("rsvc"));
    instance.start_daemon();
    instance
}

/// A copy of the program under test.
fn copy(instance: &Instance, name: &str) -> PathBuf {
    let copy = instance.file(name);
    install(Path::new(RSVC), &copy);
    copy
}

/// Upgrades to this file.
fn upgrade_to(instance: &Instance, program: &Path) -> Value {
    let said = instance.rsvc(&["daemon", "upgrade", "--json", "--program", program.to_str().expect("plain")]);
    serde_json::from_str(&said.expect(0).out).expect("JSON")
}

/// The daemon about itself.
fn describe(instance: &Instance) -> Value {
    let said = instance.rsvc(&["status", "--json"]).expect(0);
    serde_json::from_str(said.out.lines().next().expect("a line")).expect("JSON")
}

fn executable(pid: i32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/exe")).expect("it runs")
}

/// Children of a process, ended ones included.
fn children(pid: i32) -> Vec<(i32, char)> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let state = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('?')
    };
    text.split_whitespace().filter_map(|word| word.parse().ok()).map(|pid| (pid, state(pid))).collect()
}

fn open_files(pid: i32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    let mut files: Vec<String> = entries
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .map(|target| target.to_string_lossy().split(':').next().unwrap_or_default().to_owned())
        .collect();
    files.sort();
    files
}

#[test]
fn another_program_takes_over_under_the_same_pid_and_services_do_not_notice() {
    root_only!();
    let instance = instance();
    let count = "echo begun; n=0; while :; do n=$((n+1)); echo line $n; sleep 0.01; done";
    instance.unit("count", &script("exec", count, ""));
    let ready = "systemd-notify --ready --status=\"well done\"; while ! [ -e $STATE_DIRECTORY/go ]; do sleep 0.02; done; exit 42";
    let more = "notify_access = \"all\"\n[directories]\nstate = [\"web\"]\n[restart]\npolicy = \"no\"";
    instance.unit("web", &script("notify", ready, more));
    let bare =
        "[namespaces]\npid = \"host\"\ninit = false\n[restart]\npolicy = \"no\"\n[directories]\nstate = [\"bare\"]";
    let text = "while ! [ -e $STATE_DIRECTORY/go ]; do sleep 0.02; done; kill -9 $$";
    instance.unit("bare", &script("exec", text, bare));
    instance.rsvc(&["start", "count", "web", "bare"]).expect(0);
    let before = describe(&instance);
    let services = ["count", "web", "bare"].map(|name| instance.main_process(name));
    let invocation = instance.status("web")["invocation_id"].clone();

    let new = copy(&instance, "new");
    let said = upgrade_to(&instance, &new);
    assert_eq!((&said["done"], &said["pid"]), (&"upgraded".into(), &instance.daemon_pid().into()));
    assert_eq!(executable(instance.daemon_pid()), new);
    let comm = fs::read_to_string(format!("/proc/{}/comm", instance.daemon_pid())).expect("it runs");
    assert_eq!(comm, "rsvc\n");
    let after = describe(&instance);
    assert_eq!((&after["pid"], &after["upgrades"]), (&instance.daemon_pid().into(), &1.into()));
    // To the second: what counts from the boot on is turned into a time of the wall clock when it is shown.
    let second = |described: &Value| described["since"].as_str().map(|since| since[..19].to_owned());
    assert_eq!(second(&before), second(&after));
    assert_eq!(before["upgraded"], Value::Null);
    assert!(after["upgraded"].is_string());

    assert_eq!(["count", "web", "bare"].map(|name| instance.main_process(name)), services);
    let status = instance.status("web");
    assert_eq!((&status["state"], &status["status_text"]), (&"active".into(), &"well done".into()));
    assert_eq!(status["invocation_id"], invocation);
    let seen = instance.log("count").lines().count();
    eventually("the log goes on", || (instance.log("count").lines().count() > seen + 20).then_some(()));
    instance.rsvc(&["stop", "count"]).expect(0);
    let log = instance.log("count");
    let numbers: Vec<u64> = log.lines().filter_map(|line| line.split("line ").nth(1)?.trim().parse().ok()).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "every line once and in order: {numbers:?}");

    // How they end is told exactly, with a resident init and without.
    fs::write(instance.file("state/directories/state/web/go"), "").expect("go");
    fs::write(instance.file("state/directories/state/bare/go"), "").expect("go");
    assert_eq!(instance.wait_for_state("web", "failed")["exit_code"], 42);
    assert_eq!(instance.wait_for_state("bare", "failed")["exit_signal"], "SIGKILL");
    eventually("nothing is left of them", || {
        children(instance.daemon_pid()).iter().all(|(_, state)| *state != 'Z').then_some(())
    });
    // And it starts services like any other.
    instance.rsvc(&["start", "count"]).expect(0);
}

#[test]
fn the_path_by_which_the_daemon_was_started_leads_to_what_was_installed_there_meanwhile() {
    root_only!();
    let instance = instance();
    let program = instance.file("rsvc");
    // As a package manager does it: another file under the same name.
    fs::rename(copy(&instance, "rsvc.new"), &program).expect("rename");
    assert!(executable(instance.daemon_pid()).to_string_lossy().ends_with(" (deleted)"));
    for _ in 0..2 {
        instance.rsvc(&["daemon", "upgrade"]).expect(0);
        assert_eq!(executable(instance.daemon_pid()), program);
    }
    // A program that was named is the one from then on.
    let other = copy(&instance, "other");
    upgrade_to(&instance, &other);
    instance.rsvc(&["daemon", "upgrade"]).expect(0);
    assert_eq!(executable(instance.daemon_pid()), other);
}

#[test]
fn twenty_upgrades_leave_no_more_behind_than_one() {
    root_only!();
    let instance = instance();
    instance.unit("web", &script("exec", "echo begun; exec sleep 1000", ""));
    let socket = "[[sockets]]\nlisten = \"unix:/run/rsvc-test-upgrade/socket\"\n";
    let socket = socket.replace("/run/rsvc-test-upgrade", instance.path().to_str().expect("plain"));
    instance.unit("listening", &format!("{}{socket}", script("exec", "exec sleep 1000", "activation = \"on-demand\"")));
    instance.rsvc(&["start", "web", "listening"]).expect(0);
    instance.wait_for_log("web", "begun");
    let web = instance.main_process("web");
    let program = copy(&instance, "new");
    upgrade_to(&instance, &program);
    let pid = instance.daemon_pid();
    let seen = |instance: &Instance| {
        let run = fs::read_dir(instance.file("run")).expect("run").count();
        let services = fs::read_dir(instance.file("run/services/web")).expect("services").count();
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("mounts").lines().count();
        (run, services, mounts)
    };
    let (first, files) = (seen(&instance), open_files(pid));
    for _ in 0..20 {
        upgrade_to(&instance, &program);
    }
    // Fewer, if a client had not quite gone yet.
    eventually("no more is open than after the first", || (open_files(pid).len() <= files.len()).then_some(()));
    assert_eq!(seen(&instance), first);
    eventually("no child is left unwaited for", || children(pid).iter().all(|(_, state)| *state != 'Z').then_some(()));
    assert_eq!(describe(&instance)["upgrades"], 21);
    assert_eq!(instance.main_process("web"), web);
    let words = fs::read(format!("/proc/{pid}/cmdline")).expect("it runs");
    assert_eq!(String::from_utf8_lossy(&words).matches("--handoff").count(), 1);
}

#[test]
fn clients_in_a_loop_see_no_failure() {
    root_only!();
    let instance = instance();
    instance.unit("web", &script("exec", "exec sleep 1000", ""));
    instance.rsvc(&["start", "web"]).expect(0);
    let program = copy(&instance, "new");
    let done = std::sync::atomic::AtomicBool::new(false);
    let asked = std::thread::scope(|scope| {
        let clients: Vec<_> = [["status", "web"], ["list", "web"], ["is-active", "web"], ["status", "web"]]
            .into_iter()
            .map(|words| {
                let (instance, done) = (&instance, &done);
                scope.spawn(move || {
                    let mut count = 0;
                    while !done.load(std::sync::atomic::Ordering::SeqCst) {
                        instance.rsvc(&words).expect(0);
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        for _ in 0..10 {
            upgrade_to(&instance, &program);
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        clients.into_iter().map(|client| client.join().expect("no failure")).sum::<usize>()
    });
    assert!(asked > 10, "{asked}");
    assert_eq!(describe(&instance)["upgrades"], 10);
}

/// A connection that was open before, with half a call sent, is served by the new program.
#[test]
fn a_connection_without_a_call_is_kept_with_what_was_sent_on_it() {
    root_only!();
    use std::io::{Read, Write};
    let instance = instance();
    let mut stream = std::os::unix::net::UnixStream::connect(instance.file("run/io.rsvc")).expect("a daemon");
    let call = b"{\"method\":\"io.rsvc.Manager.Describe\",\"parameters\":{}}\0";
    let mut ask = |first: &[u8], rest: &[u8], between: &dyn Fn()| -> Value {
        stream.write_all(first).expect("write");
        between();
        stream.write_all(rest).expect("write");
        let mut answer = Vec::new();
        let mut byte = [0];
        while stream.read(&mut byte).expect("read") == 1 && byte != [0] {
            answer.push(byte[0]);
        }
        serde_json::from_slice(&answer).expect("JSON")
    };
    let whole = ask(call, b"", &|| {});
    assert_eq!(whole["parameters"]["description"]["upgrades"], 0);
    let program = copy(&instance, "new");
    let half = ask(&call[..20], &call[20..], &|| {
        // The daemon has read the half before it is asked for anything later.
        describe(&instance);
        upgrade_to(&instance, &program);
    });
    assert_eq!(half["parameters"]["description"]["upgrades"], 1);
}

#[test]
fn the_service_manager_is_told() {
    root_only!();
    let mut instance = Instance::prepared();
    install(Path::new(RSVC), &instance.file("rsvc"));
    instance.use_program(&instance.file("rsvc"));
    let path = instance.file("manager");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("bind");
    socket.set_read_timeout(Some(instance::PATIENCE)).expect("a limit");
    instance.wrap_daemon(&["env", &format!("NOTIFY_SOCKET={}", path.display())]);
    instance.start_daemon();
    let said = || {
        let mut buffer = [0; 200];
        let length = socket.recv(&mut buffer).expect("something is said");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!(said(), "READY=1");
    instance.rsvc(&["daemon", "upgrade"]).expect(0);
    assert!(said().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(said(), "READY=1");
}

#[test]
fn only_root_may_upgrade() {
    root_only!();
    let instance = instance();
    let rsvc = copy(&instance, "client");
    let mut command = instance.configured("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(rsvc).args(["daemon", "upgrade"]);
    let said = instance::Said::from(command.output().expect("setpriv(1) is there")).expect(4);
    assert!(said.err.contains("Upgrade is for root"), "{said:?}");
    assert_eq!(describe(&instance)["upgrades"], 0);
}

/// Whatever a daemon is told with `--handoff` that is none: it begins as after a crash.
#[test]
fn a_handoff_that_cannot_be_used_leads_to_an_ordinary_beginning() {
    root_only!();
    let mut instance = Instance::start_with(&["--handoff", "0"]);
    assert!(instance.daemon_log().contains("taking over as after a crash"), "{}", instance.daemon_log());
    instance.unit("web", &script("exec", "exec sleep 1000", ""));
    instance.rsvc(&["start", "web"]).expect(0);
    let web = instance.main_process("web");
    instance.kill_daemon();
    instance.start_daemon();
    assert_eq!(instance.main_process("web"), web);
}

/// All processes of a unit, by what `status` lists.
fn processes(instance: &Instance, unit: &str) -> Vec<Process> {
    Process::all(&instance.status(unit))
}

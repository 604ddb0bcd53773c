//! The daemon without a service manager: below `rsvc init`, as the first process of a container, and under a first
//! process that waits for nobody. Each in a pid namespace of its own.

#[macro_use]
mod instance;

use instance::process::Process;
use instance::{Instance, RSVC, eventually, skipped};
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Returns from the test, saying so, where it cannot run.
macro_rules! needs_namespaces {
    () => {
        root_only!();
        for program in ["/usr/bin/unshare", "/usr/bin/nsenter"] {
            if !Path::new(program).exists() {
                return skipped(&format!("needs {program}"));
            }
        }
    };
}

/// A pid namespace with its first process. Everything in it ends with it.
struct Container {
    unshare: Child,
}

impl Container {
    /// Runs a program as the first process; standard error goes to the daemon's log.
    fn begin(instance: &Instance, words: &[&str]) -> Container {
        let log = fs::OpenOptions::new().create(true).append(true).open(instance.file("daemon.log")).expect("log");
        let mut command = instance.configured("unshare");
        command.args(["--pid", "--fork", "--mount", "--mount-proc", "--kill-child=SIGKILL", "--"]).args(words);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("log")).stderr(log);
        Container { unshare: command.spawn().expect("unshare runs") }
    }

    /// The first process, as the host sees it.
    fn first(&self) -> Process {
        eventually("the namespace has a first process", || {
            // Before its exec it is a copy of unshare.
            let child = children(self.unshare.id() as i32).into_iter().next()?;
            (!child.command_line().starts_with("unshare")).then_some(child)
        })
    }

    /// The daemon: the child of the first process that was executed as one.
    fn daemon(&self, first: &Process) -> Process {
        eventually("the daemon runs", || {
            children(first.pid).into_iter().find(|child| child.command_line().starts_with("rsvc\0daemon"))
        })
    }

    /// Another process in the namespace, that of `rsvc` for example.
    fn enter(&self, instance: &Instance, words: &[&str]) -> Command {
        let mut command = instance.configured("nsenter");
        command.args(["-t", &self.first().pid.to_string(), "-p", "-m", "--"]).args(words);
        command
    }

    /// Waits for its end.
    fn end(mut self) -> i32 {
        let status = eventually("it ends", || self.unshare.try_wait().expect("wait"));
        status.code().unwrap_or(-1)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

fn children(parent: i32) -> Vec<Process> {
    let list = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| Process::with_pid(pid.parse().ok()?)).collect()
}

/// Children that are dead and not waited for.
fn zombies(parent: i32) -> usize {
    let list = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    list.split_whitespace().filter(|pid| Process::with_pid(pid.parse().unwrap_or(0)).is_none()).count()
}

fn wait_for_daemon(instance: &Instance) {
    eventually("the daemon answers", || (instance.rsvc(&["status"]).code == 0).then_some(()));
}

/// Ends with the status in `go` once that file is there; `kill` lets it kill itself.
fn unit(name: &str, more: &str) -> String {
    let text = "echo start >>$STATE_DIRECTORY/deeds; while ! [ -s $STATE_DIRECTORY/go ]; do sleep 0.02; done\n\
        read status <$STATE_DIRECTORY/go; [ $status != kill ] || kill -9 $$; exit $status";
    format!(
        "[unit]\ndescription = \"{name}\"\n[service]\nexec = [\"/bin/sh\", \"-c\", '''{text}''']\n\
         exec_stop_post = [[\"/bin/sh\", \"-c\", \"echo {name} >>$STATE_DIRECTORY/over\"]]\n\
         {more}\n[restart]\npolicy = \"no\"\n[directories]\nstate = [\"{name}\"]\n"
    )
}

fn deed(instance: &Instance, unit: &str, file: &str) -> usize {
    let path = instance.file(&format!("state/directories/state/{unit}/{file}"));
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

fn end_with(instance: &Instance, unit: &str, status: &str) {
    fs::write(instance.file(&format!("state/directories/state/{unit}/go")), format!("{status}\n")).expect("write");
}

/// Units with and without a resident init, started and running.
fn start_four(instance: &Instance) {
    for (name, more) in FOUR {
        instance.unit(name, &unit(name, more));
        instance.rsvc(&["start", name]).expect(0);
        eventually("it runs", || (deed(instance, name, "deeds") == 1).then_some(()));
    }
}

const FOUR: [(&str, &str); 4] = [("with", ""), ("killed", ""), ("without", NO_INIT), ("bare-killed", NO_INIT)];

const NO_INIT: &str = "[namespaces]\ninit = false\npid = \"host\"";

const ENDS: [(&str, &str); 4] = [("with", "7"), ("killed", "kill"), ("without", "7"), ("bare-killed", "kill")];

/// Lets them end while no daemon runs.
fn end_four(instance: &Instance, processes: &[Process]) {
    for (name, status) in ENDS {
        end_with(instance, name, status);
    }
    eventually("all of them end", || processes.iter().all(|process| !process.is_alive()).then_some(()));
}

/// What runs below a process in the groups of these units. (The numbers in a status are those of the namespace.)
fn processes_of(units: &[&str], parent: i32) -> Vec<Process> {
    let is_of = |process: &Process| {
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", process.pid)).unwrap_or_default();
        units.iter().any(|name| groups.lines().any(|line| line.ends_with(&format!("/{name}"))))
    };
    let found: Vec<Process> = everything_below(parent).into_iter().filter(is_of).collect();
    assert!(found.len() >= units.len(), "{found:?}");
    found
}

fn everything_below(parent: i32) -> Vec<Process> {
    let mut all = children(parent);
    let mut index = 0;
    while index < all.len() {
        all.extend(children(all[index].pid));
        index += 1;
    }
    all
}

/// The next daemon tells exactly how they ended, once, and leaves no group.
fn check_four(instance: &Instance) {
    for (name, _) in FOUR {
        let status = instance.wait_for_state(name, "failed");
        let (code, signal) = (&status["exit_code"], &status["exit_signal"]);
        match name {
            "with" | "without" => assert_eq!(code, 7, "{status:#}"),
            _ => assert_eq!(signal, "SIGKILL", "{status:#}"),
        }
        eventually("what comes after its end is over", || (deed(instance, name, "over") == 1).then_some(()));
        assert_eq!(deed(instance, name, "deeds"), 1, "{name} was not started again");
        let group = instance.status(name)["cgroup"].clone();
        eventually("its group is gone", || instance.status(name)["cgroup"].is_null().then_some(()));
        assert!(group.is_null() || !Path::new("/sys/fs/cgroup").join(group.as_str().unwrap_or("x")).exists());
    }
}

#[test]
fn below_rsvc_init_a_daemon_that_dies_is_followed_by_another_and_nothing_stays_dead() {
    needs_namespaces!();
    let instance = Instance::prepared();
    instance.unit("stays", &unit("stays", ""));
    let container = Container::begin(&instance, &[RSVC, "init"]);
    let first = container.first();
    wait_for_daemon(&instance);
    start_four(&instance);
    instance.rsvc(&["start", "stays"]).expect(0);
    let processes = processes_of(&FOUR.map(|(name, _)| name), first.pid);
    let daemon = container.daemon(&first);
    daemon.signal(Signal::KILL);
    end_four(&instance, &processes);
    eventually("another daemon runs", || (container.daemon(&first) != daemon).then_some(()));
    wait_for_daemon(&instance);
    check_four(&instance);
    for _ in 0..3 {
        let daemon = container.daemon(&first);
        daemon.signal(Signal::KILL);
        eventually("it is gone", || (!daemon.is_alive()).then_some(()));
        wait_for_daemon(&instance);
    }
    assert_eq!(instance.status("stays")["state"], "active");
    assert_eq!(deed(&instance, "stays", "deeds"), 1);
    eventually("nobody stays dead", || (zombies(first.pid) == 0).then_some(()));
    assert!(
        instance.daemon_log().contains("rsvc init: the daemon was killed by signal 9"),
        "{}",
        instance.daemon_log()
    );
    assert!(!instance.daemon_log().contains("does not wait for its children"), "{}", instance.daemon_log());
    first.signal(Signal::TERM);
    assert_eq!(container.end(), 0);
    assert_eq!(deed(&instance, "stays", "over"), 1, "it was stopped in order");
}

#[test]
fn rsvc_init_that_is_told_to_end_while_the_daemon_is_dead_stops_all_services() {
    needs_namespaces!();
    let instance = Instance::prepared();
    instance.unit("stays", &unit("stays", ""));
    let container = Container::begin(&instance, &[RSVC, "init"]);
    let first = container.first();
    wait_for_daemon(&instance);
    instance.rsvc(&["start", "stays"]).expect(0);
    let daemon = container.daemon(&first);
    // In one go: it cannot tell which came first.
    first.signal(Signal::STOP);
    daemon.signal(Signal::KILL);
    eventually("it is dead", || (!daemon.is_alive()).then_some(()));
    first.signal(Signal::TERM);
    first.signal(Signal::CONT);
    assert_eq!(container.end(), 0, "{}", instance.daemon_log());
    assert_eq!(deed(&instance, "stays", "over"), 1, "{}", instance.daemon_log());
    assert_eq!(instance.rsvc(&["status"]).code, 150, "the socket's name is gone, too");
}

#[test]
fn rsvc_init_that_is_not_the_first_process_lets_services_run_on() {
    needs_namespaces!();
    let mut instance = Instance::prepared();
    instance.unit("web", "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n[restart]\npolicy = \"no\"\n");
    let mut init = instance.command().arg("init").stdin(Stdio::null()).spawn().expect("rsvc runs");
    wait_for_daemon(&instance);
    instance.rsvc(&["start", "web"]).expect(0);
    let before = instance.main_process("web");
    let this = Process::with_pid(init.id() as i32).expect("it runs");
    assert!(this.command_line().starts_with("rsvc init\0"), "it has shed its command line: {}", this.command_line());
    let daemon = children(this.pid).into_iter().next().expect("a daemon");
    daemon.signal(Signal::KILL);
    eventually("another daemon runs", || {
        children(this.pid).into_iter().find(|c| c.command_line().starts_with("rsvc\0daemon"))
    });
    wait_for_daemon(&instance);
    this.signal(Signal::TERM);
    assert!(init.wait().expect("wait").success());
    assert!(before.is_alive());
    instance.start_daemon();
    assert_eq!(instance.main_process("web"), before);
}

#[test]
fn a_wrong_command_line_or_settings_are_told_by_rsvc_init() {
    let instance = Instance::prepared();
    let said: instance::Said = instance.command().args(["init", "--nonsense"]).output().expect("rsvc runs").into();
    assert!(said.expect(2).err.contains("--nonsense"));
}

#[test]
fn a_daemon_that_is_the_first_process_reaps_and_its_next_start_is_a_boot() {
    needs_namespaces!();
    let instance = Instance::prepared();
    let orphans = "[service]\nexec = [\"/bin/sh\", \"-c\", '''(sh -c 'sleep 0.05 & sleep 0.1 &' &); exec sleep 1000''']\n\
        [namespaces]\ninit = false\npid = \"host\"\n[restart]\npolicy = \"no\"\n";
    instance.unit("orphans", orphans);
    instance.unit("enabled", &format!("{}[install]\nwanted_by = [\"default\"]\n", unit("enabled", "")));
    instance.unit("other", &unit("other", ""));
    instance.unit("failed", &unit("failed", ""));
    instance.rsvc(&["enable", "enabled"]).expect(0);
    let container = Container::begin(&instance, &[RSVC, "daemon"]);
    let first = container.first();
    wait_for_daemon(&instance);
    instance.rsvc(&["start", "orphans", "other", "failed"]).expect(0);
    eventually("the orphans are gone", || (zombies(first.pid) == 0).then_some(()));
    instance.wait_for_state("enabled", "active");
    end_with(&instance, "failed", "3");
    instance.wait_for_state("failed", "failed");
    // The kernel ends the container with it; what was in it is not there to be taken over.
    first.signal(Signal::KILL);
    container.end();
    let container = Container::begin(&instance, &[RSVC, "daemon"]);
    let first = container.first();
    wait_for_daemon(&instance);
    instance.wait_for_state("enabled", "active");
    assert_eq!(deed(&instance, "enabled", "deeds"), 2, "started anew");
    for unit in ["other", "failed", "orphans"] {
        let status = instance.status(unit);
        assert_eq!((&status["state"], &status["result"]), (&"inactive".into(), &"success".into()), "{status:#}");
    }
    first.signal(Signal::TERM);
    assert_eq!(container.end(), 0);
    assert_eq!(deed(&instance, "enabled", "over"), 1, "stopped in order");
}

/// A daemon that was put into a container beside its first process.
struct Entered {
    nsenter: Child,
    daemon: Process,
}

impl Entered {
    fn begin(instance: &Instance, container: &Container) -> Entered {
        let log = fs::OpenOptions::new().create(true).append(true).open(instance.file("daemon.log")).expect("log");
        let mut command = container.enter(instance, &[RSVC, "daemon"]);
        let nsenter = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("nsenter runs");
        wait_for_daemon(instance);
        let below = everything_below(nsenter.id() as i32);
        let is_it = |process: &Process| process.command_line().ends_with("rsvc\0daemon\0");
        let daemon = below.into_iter().find(is_it).expect("the daemon");
        Entered { nsenter, daemon }
    }

    fn end(mut self, signal: Signal) {
        self.daemon.signal(signal);
        self.nsenter.wait().expect("wait");
    }
}

#[test]
fn under_a_first_process_that_waits_for_nobody_statuses_are_exact_and_it_is_said_once() {
    needs_namespaces!();
    let instance = Instance::prepared();
    let container = Container::begin(&instance, &["tail", "-f", "/dev/null"]);
    let first = container.first();
    let said = || instance.daemon_log().matches("does not wait for its children").count();
    let names = FOUR.map(|(name, _)| name);

    // They end while no daemon runs.
    let daemon = Entered::begin(&instance, &container);
    start_four(&instance);
    let processes = processes_of(&names, daemon.daemon.pid);
    daemon.end(Signal::KILL);
    end_four(&instance, &processes);
    assert!(zombies(first.pid) >= FOUR.len(), "its first process waits for them: nothing would be tested");
    let daemon = Entered::begin(&instance, &container);
    check_four(&instance);
    eventually("it is said who does not wait", || (said() > 0).then_some(()));

    // They end while the next one watches.
    for file in ["go", "over", "deeds"] {
        for name in names {
            fs::remove_file(instance.file(&format!("state/directories/state/{name}/{file}"))).expect("remove");
        }
    }
    start_four(&instance);
    daemon.end(Signal::KILL);
    let daemon = Entered::begin(&instance, &container);
    for (name, status) in ENDS {
        end_with(&instance, name, status);
    }
    check_four(&instance);
    instance.rsvc(&["stop", "--all"]).expect(0);
    daemon.end(Signal::TERM);
    let log = instance.daemon_log();
    assert!(log.contains("(tail) does not wait for its children") && log.contains("`rsvc init`"), "{log}");
}

/// Is `kernel.pid_max` a matter of each pid namespace? Asked of the version: to try it on an older kernel would change
/// that of the whole machine.
fn pid_max_is_namespaced() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|word| word.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 14)
}

#[test]
fn a_number_that_is_used_again_is_neither_taken_over_nor_signalled() {
    needs_namespaces!();
    if !pid_max_is_namespaced() {
        return skipped("kernel.pid_max is that of the whole machine before Linux 6.14");
    }
    let host = fs::read_to_string("/proc/sys/kernel/pid_max").expect("pid_max");
    for more in ["", NO_INIT] {
        let instance = Instance::prepared();
        let text = format!("[service]\nexec = [\"/bin/sleep\", \"1000\"]\n{more}\n[restart]\npolicy = \"no\"\n");
        instance.unit("web", &text);
        // A shell waits for whatever it inherits.
        // Numbers up to 300 are given once only (RESERVED_PIDS).
        let beyond = instance.file("beyond");
        let shell = format!(
            "echo 400 >/proc/sys/kernel/pid_max; n=0; while [ $n -lt 320 ]; do /bin/true; n=$((n+1)); done\n\
             touch {}; while :; do sleep 0.1; done",
            beyond.display()
        );
        let container = Container::begin(&instance, &["sh", "-c", &shell]);
        eventually("the first numbers are used up", || beyond.exists().then_some(()));
        let daemon = Entered::begin(&instance, &container);
        instance.rsvc(&["start", "web"]).expect(0);
        let number = saved_pid(&instance);
        let processes = processes_of(&["web"], daemon.daemon.pid);
        daemon.end(Signal::KILL);
        processes.iter().for_each(|process| process.signal(Signal::KILL));
        let is_gone = |process: &Process| !Path::new(&format!("/proc/{}", process.pid)).exists();
        eventually("its number is free", || processes.iter().all(is_gone).then_some(()));

        let come_round = instance.file("come-round");
        let text = format!(
            "while :; do sleep 1000 & [ $! = {number} ] && break; kill -9 $!; wait $!; done; : >{}; wait",
            come_round.display()
        );
        let mut shell =
            container.enter(&instance, &["sh", "-c", &text]).stderr(Stdio::null()).spawn().expect("nsenter");
        eventually("the numbers have come round", || come_round.exists().then_some(()));
        // Between fork and exec it has the name of its shell.
        let is_it = |process: &Process| process.command_line() == "sleep\x001000\0";
        let find = || everything_below(shell.id() as i32).into_iter().find(is_it);
        let foreign = eventually("a process with that number", find);
        assert_eq!(
            fs::read_to_string("/proc/sys/kernel/pid_max").expect("pid_max"),
            host,
            "the machine's is as it was"
        );

        let daemon = Entered::begin(&instance, &container);
        let status = instance.wait_for_state("web", "failed");
        assert_eq!(status["exit_signal"], "SIGKILL", "{status:#}");
        assert!(status["main_pid"].is_null(), "{status:#}");
        instance.rsvc(&["kill", "--signal", "KILL", "web"]).expect(7);
        instance.rsvc(&["start", "web"]).expect(0);
        instance.rsvc(&["stop", "--all"]).expect(0);
        assert!(foreign.is_alive(), "{}", instance.daemon_log());
        daemon.end(Signal::TERM);
        drop(container);
        shell.wait().expect("wait");
    }
}

/// The process that the state names: PID 1 of the container, or the main one.
fn saved_pid(instance: &Instance) -> i64 {
    let text = fs::read_to_string(instance.file("run/services/web/state")).expect("a state");
    let state: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let process = if state["init"].is_null() { &state["main"] } else { &state["init"] };
    process["pid"].as_i64().expect("a pid")
}

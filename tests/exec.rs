//! `rsvc exec` and `rsvc shell`: a command in a running container has what the main process has and nothing more, tells how
//! it ended, and goes when it has to.

#[macro_use]
mod instance;

use instance::desk::{Desk, size};
use instance::process::Process;
use instance::{Instance, Said, eventually, skipped};
use rustix::process::Signal;
use rustix::termios::tcsetwinsize;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Output, Stdio};

/// Kinds of containers that differ in what is joined.
const KINDS: [(&str, &str); 6] = [
    ("plain", ""),
    ("user", "[capabilities]\nambient = [\"CAP_NET_BIND_SERVICE\"]\n"),
    ("mapped", "[namespaces]\nuser = \"identity\"\n[network]\nmode = \"loopback\"\n"),
    ("hostly", "[namespaces]\npid = \"host\"\nipc = \"host\"\nuts = \"host\"\n"),
    ("initless", "[namespaces]\ninit = false\n"),
    ("ranged", "[namespaces]\nuser = \"auto\"\n"),
];

fn unit(kind: &str, more: &str) -> String {
    let user = if ["user", "mapped", "ranged"].contains(&kind) { "user = \"www-data\"\n" } else { "" };
    format!(
        "[service]\nexec = [\"/bin/sleep\", \"1000\"]\numask = \"0027\"\nnice = 3\n\
         timeout_stop = \"300ms\"\n{user}[restart]\npolicy = \"no\"\n\
         [resources]\nrlimits = {{ nofile = \"200:300\" }}\n[logging]\ntarget = \"file\"\n{more}"
    )
}

fn up(kinds: &[(&str, &str)]) -> Instance {
    let instance = Instance::start();
    for (kind, more) in kinds {
        instance.unit(kind, &unit(kind, more));
        instance.rsvc(&["start", kind]).expect(0);
    }
    instance
}

fn command(instance: &Instance, unit: &str, words: &[&str]) -> Command {
    let mut command = instance.command();
    command.args(["exec", unit, "--"]).args(words);
    command
}

fn exec(instance: &Instance, unit: &str, words: &[&str]) -> Said {
    let output = command(instance, unit, words).stdin(Stdio::null()).output().expect("it runs");
    Said::from(output)
}

fn begin(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs")
}

fn end(child: Child) -> Said {
    let output: Output = child.wait_with_output().expect("it ends");
    Said::from(output)
}

/// What identifies a process's rights and surroundings, of the text of its `status` and `limits`.
fn rights(status: &str, limits: &str) -> Vec<String> {
    const LINES: [&str; 13] = [
        "Umask",
        "Uid",
        "Gid",
        "Groups",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "Seccomp_filters",
        "Speculation_Store_Bypass",
    ];
    let wanted = |line: &&str| line.split_once(':').is_some_and(|(name, _)| LINES.contains(&name));
    status.lines().filter(wanted).chain(limits.lines()).map(str::to_owned).collect()
}

#[test]
fn a_command_has_the_rights_and_the_surroundings_of_the_main_process() {
    root_only!();
    let instance = up(&KINDS);
    const SPACES: &str = "readlink /proc/self/ns/cgroup /proc/self/ns/ipc /proc/self/ns/mnt /proc/self/ns/net /proc/self/ns/pid \
                          /proc/self/ns/user /proc/self/ns/uts; cat /proc/self/cgroup";
    for (kind, _) in KINDS {
        let main = instance.main_process(kind).pid;
        let of_main = |file: &str| match kind {
            // Outside it has other numbers.
            "ranged" => exec(&instance, kind, &["/bin/cat", &format!("/proc/2/{file}")]).expect(0).out,
            _ => fs::read_to_string(format!("/proc/{main}/{file}")).expect("it runs"),
        };
        // Inside, as the numbers of users and namespaces are those of where one looks from.
        let seen = exec(&instance, kind, &["/bin/sh", "-c", "cat /proc/self/status"]).expect(0).out;
        let limits = exec(&instance, kind, &["/bin/cat", "/proc/self/limits"]).expect(0).out;
        let theirs = rights(&of_main("status"), &of_main("limits"));
        assert_eq!(rights(&seen, &limits), theirs, "{kind}");
        assert!(theirs.iter().any(|line| line == "NoNewPrivs:\t1") && theirs.iter().any(|line| line == "Seccomp:\t2"));
        let nice = exec(&instance, kind, &["/bin/sh", "-c", "cut -d' ' -f19 /proc/self/stat"]).expect(0).out;
        assert_eq!(nice, "3\n", "{kind}");

        let spaces = exec(&instance, kind, &["/bin/sh", "-c", SPACES]).expect(0).out;
        for space in ["ipc", "mnt", "net", "user", "uts", "cgroup", "pid"] {
            let own = fs::read_link(format!("/proc/{main}/ns/{space}")).expect("it runs").display().to_string();
            assert!(spaces.contains(&own), "{kind}: not in its {own}: {spaces}");
        }
        let init = fs::read_to_string("/proc/self/cgroup").expect("proc");
        assert!(
            !spaces.lines().any(|line| init.contains(line) && line.starts_with("0::") && line != "0::/"),
            "{spaces}"
        );
        let root = exec(&instance, kind, &["/usr/bin/stat", "-c", "%d:%i", "/", "/.."]).expect(0).out;
        let (one, other) = root.trim().split_once('\n').expect("two lines");
        assert_eq!(one, other, "{kind}: its root is the top");
    }
}

#[test]
fn a_command_has_its_three_streams_and_no_other_descriptor() {
    root_only!();
    let instance = up(&KINDS);
    for (kind, _) in KINDS {
        let mut child =
            begin(&mut command(&instance, kind, &["/bin/sh", "-c", "cat; echo wrong >&2; ls /proc/self/fd"]));
        let long = "x".repeat(300_000);
        let mut stdin = child.stdin.take().expect("piped");
        let text = long.clone();
        let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()).expect("it reads"));
        let said = end(child).expect(0);
        writer.join().expect("written");
        // The last one is the directory that is listed.
        assert_eq!(said.out, format!("{long}0\n1\n2\n3\n"), "{kind}");
        assert_eq!(said.err, "wrong\n", "{kind}");
        // A directory of the host would be a way out.
        let directory = fs::File::open("/").expect("a directory");
        let output = command(&instance, kind, &["/bin/true"]).stdin(directory).output().expect("it runs");
        assert!(Said::from(output).expect(125).err.contains("a directory of the host"));
    }
}

#[test]
fn how_a_command_ended_is_the_exit_status() {
    root_only!();
    let instance = up(&KINDS);
    for (kind, _) in KINDS {
        for status in [0, 1, 125, 255] {
            exec(&instance, kind, &["/bin/sh", "-c", &format!("exit {status}")]).expect(status);
        }
        for signal in [9, 11, 15] {
            exec(&instance, kind, &["/bin/sh", "-c", &format!("kill -{signal} $$")]).expect(128 + signal);
        }
        let said = exec(&instance, kind, &["no-such-command"]).expect(127);
        assert!(said.err.contains("execute no-such-command: No such file or directory (ENOENT)"), "{said:?}");
        assert!(!said.err.contains("set by"), "no line of the unit says so: {said:?}");
        exec(&instance, kind, &["/etc/hostname"]).expect(126);
    }
    exec(&instance, "nothing", &["/bin/true"]).expect(5);
    instance.unit("down", &unit("plain", ""));
    exec(&instance, "down", &["/bin/true"]).expect(7);
    let said = instance.rsvc(&["exec", "plain"]).expect(2);
    assert!(said.err.contains("COMMAND"), "{said:?}");
    instance.rsvc(&["freeze", "plain"]).expect(0);
    assert!(exec(&instance, "plain", &["/bin/true"]).expect(7).err.contains("rsvc thaw plain"));
    instance.rsvc(&["thaw", "plain"]).expect(0);
    exec(&instance, "plain", &["/bin/true"]).expect(0);
}

#[test]
fn nobody_but_root_runs_commands_and_others_descriptors_are_not_taken() {
    root_only!();
    let instance = up(&KINDS[..1]);
    let mut open = fs::metadata(instance.path()).expect("there").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut open, 0o755);
    fs::set_permissions(instance.path(), open).expect("chmod");
    let files = || fs::read_dir(format!("/proc/{}/fd", instance.daemon_pid())).expect("it runs").count();
    let mut asked = instance.command();
    let words: Vec<_> = asked.get_args().map(ToOwned::to_owned).collect();
    let program = asked.get_program().to_owned();
    let output = {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program).args(words);
        for (name, value) in asked.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        command.args(["exec", "plain", "--", "/bin/true"]).stdin(Stdio::null()).output()
    };
    let Ok(output) = output else { return skipped("no setpriv(1)") };
    let before = files();
    let said = Said::from(output);
    if said.err.contains("cannot be connected") || said.err.contains("not reachable") {
        return skipped("another user does not get as far as the socket");
    }
    assert!(said.expect(4).err.contains("Exec is for root, not for uid 65534"));
    assert!(files() <= before, "what came along is closed");
    drop(asked.arg("list").output());
}

#[test]
fn a_command_goes_on_without_the_daemon_and_its_end_is_told() {
    root_only!();
    let mut instance = up(&KINDS);
    let script = "echo up; read line; echo got $line; exit 9";
    let mut running: Vec<Child> = KINDS
        .map(|(kind, _)| {
            let mut child = begin(&mut command(&instance, kind, &["/bin/sh", "-c", script]));
            let mut up = [0; 3];
            child.stdout.as_mut().expect("piped").read_exact(&mut up).expect("it says so");
            child
        })
        .into();
    instance.kill_daemon();
    instance.start_daemon();
    for child in &mut running {
        child.stdin.take().expect("piped").write_all(b"more\n").expect("it reads");
    }
    for (child, (kind, _)) in running.into_iter().zip(KINDS) {
        let said = end(child);
        assert_eq!((said.code, said.out.as_str()), (9, "got more\n"), "{kind}: {said:?}");
    }
    // Of those that the next daemon began nobody is left either.
    exec(&instance, "plain", &["/bin/true"]).expect(0);
    let status = instance.status("plain");
    eventually("nothing but the service is left", || {
        (Process::all(&instance.status("plain")).len() <= 2).then_some(())
    });
    assert_eq!(status["state"], "active");
}

/// Processes of the unit whose arguments hold this word.
fn processes(instance: &Instance, unit: &str, word: &str) -> Vec<Process> {
    let listed: Vec<Value> = instance.status(unit)["processes"].as_array().cloned().unwrap_or_default();
    let all = listed.iter().filter_map(|process| Process::with_pid(i32::try_from(process["pid"].as_i64()?).ok()?));
    all.filter(|process| process.command_line().contains(word)).collect()
}

#[test]
fn a_command_whose_caller_is_gone_is_ended() {
    root_only!();
    let instance = up(&KINDS);
    for (kind, _) in KINDS {
        // One goes when it is hung up on, the other would not.
        for (mark, trap) in [("4711.5", ""), ("4712.5", "trap '' HUP TERM; ")] {
            let script = format!("{trap}echo up; while :; do sleep {mark}; done");
            let mut child = begin(&mut command(&instance, kind, &["/bin/sh", "-c", &script]));
            child.stdout.as_mut().expect("piped").read_exact(&mut [0; 3]).expect("it says so");
            child.kill().expect("it runs");
            child.wait().expect("reaped");
            eventually("the command is ended", || {
                processes(&instance, kind, &format!("while :; do sleep {mark}")).is_empty().then_some(())
            });
        }
        assert_eq!(instance.status(kind)["state"], "active", "{kind}");
    }
}

#[test]
fn signals_to_the_client_are_the_commands() {
    root_only!();
    let instance = up(&KINDS);
    let script = "trap 'echo usr1' USR1; trap 'echo term; exit 6' TERM; echo up; while :; do sleep 0.02; done";
    for (kind, _) in KINDS {
        let mut child = begin(&mut command(&instance, kind, &["/bin/sh", "-c", script]));
        let mut stdout = child.stdout.take().expect("piped");
        let mut next = |expected: &str| {
            let mut bytes = vec![0; expected.len()];
            stdout.read_exact(&mut bytes).expect("it writes");
            assert_eq!(String::from_utf8_lossy(&bytes), expected, "{kind}");
        };
        next("up\n");
        let client = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(client, Signal::USR1).expect("it runs");
        next("usr1\n");
        rustix::process::kill_process(client, Signal::TERM).expect("it runs");
        next("term\n");
        assert_eq!(end(child).code, 6, "{kind}");
    }
}

#[test]
fn a_command_goes_down_with_its_unit() {
    root_only!();
    let instance = up(&KINDS);
    for (kind, _) in KINDS {
        let script = "trap '' TERM HUP; echo up; while :; do sleep 0.02; done";
        let mut child = begin(&mut command(&instance, kind, &["/bin/sh", "-c", script]));
        child.stdout.as_mut().expect("piped").read_exact(&mut [0; 3]).expect("it says so");
        instance.rsvc(&["stop", kind]).expect(0);
        assert!(Process::all(&instance.status(kind)).is_empty(), "{kind}");
        let said = end(child);
        assert_eq!(said.code, 137, "{kind}: {said:?}");
    }
}

#[test]
fn a_person_gets_a_terminal_of_the_container() {
    root_only!();
    let instance = up(&KINDS);
    for (kind, _) in KINDS {
        let script = "echo term $TERM; tty; stty size; : > /dev/tty && echo controls; echo fds $(readlink /proc/self/fd/* | \
                      sort -u); trap 'echo interrupted' INT; trap 'stty size' WINCH; echo ready; while :; do read line && break; \
                      done; echo got $line; exit 7";
        let mut desk = Desk::new(&command(&instance, kind, &["/bin/sh", "-c", script]));
        assert_eq!(desk.wait_for("term "), "term vt102", "{kind}");
        assert!(desk.wait_for("/dev/pts/").len() > "/dev/pts/".len());
        assert_eq!(desk.wait_for("31 "), "31 97");
        desk.wait_for("controls");
        let fds = desk.wait_for("fds ");
        let terminals = fds.split(' ').filter(|fd| fd.contains("pts") || fd.contains("tty")).count();
        assert_eq!(terminals, 1, "{kind}: {fds}");
        desk.wait_for("ready");
        assert!(desk.is_raw());
        desk.type_in("\u{3}");
        desk.wait_for("interrupted");
        tcsetwinsize(&desk.master, size(11, 55)).expect("a size");
        desk.wait_for("11 55");
        desk.type_in("word\r");
        desk.wait_for("got word");
        assert_eq!(desk.end(), 7, "{kind}");
    }
}

/// What the container writes to its terminal cannot become input of the caller's: TIOCSTI is refused, and the terminal is
/// another one.
#[test]
fn nothing_is_typed_on_the_callers_terminal() {
    root_and_perl!();
    let instance = up(&KINDS[..3]);
    for (kind, _) in &KINDS[..3] {
        // The last with the upper half of the number set, which a filter that compares 64 bits lets through.
        let script = "my @r; foreach my $n (0x5412, 0x541c) { my $c = \"\\x02\"; push @r, defined ioctl(STDIN, $n, $c) ? \"open\" : \
                      \"shut\"; } my $b = \"y\"; push @r, syscall(16, 0, 0x100005412, $b) < 0 ? \"shut\" : \"open\"; print \
                      \"results @r\\n\";";
        let mut desk = Desk::new(&command(&instance, kind, &["/usr/bin/perl", "-e", script]));
        assert_eq!(desk.wait_for("results "), "results shut shut shut", "{kind}");
        // `end` asserts that nothing was typed.
        assert_eq!(desk.end(), 0, "{kind}");
    }
}

#[test]
fn a_shell_is_a_shell() {
    root_only!();
    let instance = up(&KINDS[..2]);
    for (kind, _) in &KINDS[..2] {
        let mut command = instance.command();
        command.args(["shell", kind]);
        let mut desk = Desk::new(&command);
        desk.type_in("echo $((40 + 2)) in $(tty)\r");
        assert!(desk.wait_for("42 in ").starts_with("42 in /dev/pts/"), "{kind}");
        // Jobs are under control: the terminal is the shell's own.
        desk.type_in("sleep 1000 & kill %1; wait %1; echo ended $?\r");
        assert_eq!(desk.wait_for("ended 1"), "ended 143", "{kind}");
        desk.type_in("exit 3\r");
        assert_eq!(desk.end(), 3, "{kind}");
    }
}

/// CVE-2016-9962: while a command joins, it has descriptors of the host and is not yet confined.
#[test]
fn what_joins_cannot_be_traced_or_looked_into_from_inside() {
    root_and_perl!();
    let instance = Instance::start();
    // As root with all rights, in the container, behind no filter: only the kernel's own rules are left.
    let watcher = "$| = 1; print \"up\\n\"; my %seen; my $bad = 0; my $met = 0; while (!-e \"$ENV{STATE_DIRECTORY}/stop\") { \
                   opendir(my $d, \"/proc\") or next; foreach my $p (grep { /^\\d+$/ && $_ > 2 && $_ != $$ } readdir $d) { \
                   my $l = readlink \"/proc/$p/exe\"; my $n = 0; if (opendir(my $f, \"/proc/$p/fd\")) { foreach my $x (grep { !/^\\./ } \
                   readdir $f) { my $t = readlink \"/proc/$p/fd/$x\"; if (defined $t && $t !~ m{^(/dev/null|pipe:|/proc/|/dev/pts|/usr/|/etc/|/lib)}) { \
                   print \"leak $p $x $t\\n\"; $bad++; } } $n = 1; } \
                   my $r = syscall(101, 0x4206, $p + 0, 0, 0); if ($r == 0) { my $e = readlink \"/proc/$p/exe\"; \
                   if (defined $e && $e !~ m{/(true|sh|dash)$}) { print \"traced $p $e\\n\"; $bad++; } } while (waitpid(-1, 0x40000001) > 0) {} $met++ unless $seen{$p}++; } } \
                   print \"met $met bad $bad\\n\"; sleep 1000;";
    instance.unit(
        "watcher",
        &format!(
            "[service]\nexec = [\"/usr/bin/perl\", \"-e\", '''{watcher}''']\n[restart]\npolicy = \"no\"\n\
             [directories]\nstate = [\"watcher\"]\n[syscalls]\nmode = \"off\"\n[logging]\ntarget = \"file\"\n\
             [filesystem]\nprotect_proc = \"off\"\n[security]\nlandlock = false\n[capabilities]\nbounding = [\"CAP_DAC_OVERRIDE\", \"CAP_KILL\"]\n"
        ),
    );
    instance.rsvc(&["start", "watcher"]).expect(0);
    instance.wait_for_log("watcher", "up");
    for _ in 0..60 {
        exec(&instance, "watcher", &["/bin/true"]);
    }
    fs::write(instance.file("state/directories/state/watcher/stop"), "").expect("write");
    let log = instance.wait_for_log("watcher", "met ");
    let met = log.split_once("met ").and_then(|(_, rest)| rest.split(' ').next()?.parse::<u32>().ok());
    assert!(met.is_some_and(|met| met > 0), "none was met: nothing is shown: {log}");
    assert!(log.contains(" bad 0"), "{log}");
}

#[test]
fn another_user_runs_a_command_with_no_capability_that_the_main_process_has_not() {
    root_only!();
    let mapped = "[namespaces]\nuid_mappings = [{ container_id = 0, host_id = 0, size = 30 }]\n\
                  gid_mappings = [{ container_id = 0, host_id = 0, size = 30 }]\n";
    let instance = up(&[KINDS[0], KINDS[1], ("mapped-low", mapped)]);
    let as_user = |unit: &str, user: &str, words: &[&str]| {
        let mut command = instance.command();
        command.args(["exec", "--user", user, unit, "--"]).args(words);
        Said::from(command.stdin(Stdio::null()).output().expect("it runs"))
    };
    let status = |unit: &str, user: &str| {
        let text = as_user(unit, user, &["/bin/cat", "/proc/self/status"]).expect(0).out;
        move |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_else(|| panic!("{name}: {text}")).trim().to_owned()
        }
    };
    let main = |unit: &str, name: &str| {
        let text = fs::read_to_string(format!("/proc/{}/status", instance.main_process(unit).pid)).expect("it runs");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.expect("the kernel's line").trim().to_owned()
    };
    let none = format!("{:016x}", 0);

    // Beside root: somebody else, without any capability.
    let seen = status("plain", "www-data");
    assert_eq!((seen("Uid").as_str(), seen("Groups").as_str()), ("33\t33\t33\t33", "33"));
    assert_eq!((seen("CapEff"), seen("CapPrm"), seen("CapAmb")), (none.clone(), none.clone(), none.clone()));
    for name in ["CapBnd", "NoNewPrivs", "Seccomp", "Seccomp_filters"] {
        assert_eq!(seen(name), main("plain", name), "{name}");
    }
    let variables = as_user("plain", "www-data", &["/usr/bin/env"]).expect(0).out;
    assert!(variables.contains("USER=www-data\n") && variables.contains("HOME=/var/www\n"), "{variables}");

    // Beside www-data, which has one capability: root has that one, and not the ten of root.
    let seen = status("user", "0");
    assert_eq!(seen("Uid"), "0\t0\t0\t0");
    for name in ["CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp", "Seccomp_filters"] {
        assert_eq!(seen(name), main("user", name), "{name}");
    }
    assert_ne!(seen("CapEff"), none);

    // Whom the host does not know, and whom the user namespace does not.
    let said = as_user("plain", "no-such-user", &["/bin/true"]).expect(125);
    assert!(said.err.contains("user `no-such-user` does not exist on this host"), "{}", said.err);
    let said = as_user("mapped-low", "33", &["/bin/true"]).expect(125);
    assert!(said.err.contains("uid 33 is not mapped"), "{}", said.err);
    as_user("mapped-low", "daemon", &["/bin/true"]).expect(0);

    // Without the flag it is the unit's, as ever.
    assert_eq!(exec(&instance, "user", &["/usr/bin/id", "-u"]).expect(0).out, "33\n");
}

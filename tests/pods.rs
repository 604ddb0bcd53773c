//! Pods: units that share namespaces, with a daemon and real processes. The kernel is asked who lives where.

#[macro_use]
mod instance;

use instance::process::Process;
use instance::{Instance, eventually};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;

const SLEEP: &str = "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n";
const KINDS: [&str; 4] = ["net", "ipc", "uts", "pid"];

/// An owner with namespaces of its own in which nothing but a sleep runs.
fn owner() -> String {
    format!("{SLEEP}\n[namespaces]\nhostname = \"shop\"\n\n[network]\nmode = \"loopback\"\n")
}

/// What makes a unit a member of `owner` in every way.
fn member_of(owner: &str) -> String {
    format!(
        "\n[namespaces]\npid = \"unit:{owner}\"\nipc = \"unit:{owner}\"\nuts = \"unit:{owner}\"\n\n[network]\nmode = \"unit:{owner}\"\n"
    )
}

fn namespace(process: &Process, kind: &str) -> String {
    let link = fs::read_link(format!("/proc/{}/ns/{kind}", process.pid));
    link.unwrap_or_else(|error| panic!("{kind} of {}: {error}", process.pid)).display().to_string()
}

/// Waits until the unit runs with another main process than before.
fn comes_back(instance: &Instance, unit: &str, before: &Process) -> Process {
    eventually(&format!("{unit} runs again"), || {
        let status = instance.status(unit);
        let again = status["state"] == "active" && status["main_pid"] != before.pid;
        again.then(|| Process::of(&status["main_pid"]))
    })
}

#[test]
fn a_member_lives_in_the_namespaces_of_its_owner_and_in_no_other() {
    root_and_perl!();
    let instance = Instance::start();
    instance.unit("app", &owner());
    instance.unit("side", &format!("{SLEEP}{}", member_of("app")));
    instance.unit("other", &owner());
    instance.rsvc(&["start", "side", "other"]).expect(0);
    let [app, side, other] = ["app", "side", "other"].map(|unit| instance.main_process(unit));
    for kind in KINDS {
        assert_eq!(namespace(&app, kind), namespace(&side, kind), "{kind}");
        assert_ne!(namespace(&app, kind), namespace(&other, kind), "{kind}");
    }
    for kind in ["mnt", "cgroup"] {
        assert_ne!(namespace(&app, kind), namespace(&side, kind), "{kind} is each one's own");
    }
}

/// The process above another one.
fn parent(process: &Process) -> Process {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid)).expect("the process is there");
    let pid = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok()).expect("a parent");
    Process::with_pid(pid).expect("the parent is there")
}

/// A port that nobody on the host has now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

/// A unit in perl, as perl is on every Debian.
fn perl(program: &str) -> String {
    format!("[service]\nexec = [\"/usr/bin/perl\", \"-e\", '''\n$| = 1;\n{program}\n''']\n")
}

/// An owner that serves one line on its own loopback and has made a shared memory segment.
fn server(port: u16) -> String {
    let program = r#"
use IO::Socket::INET;
defined shmget(0x52535643, 16, 01600) or die "shmget: $!";
my $listener = IO::Socket::INET->new(LocalAddr => "127.0.0.1:PORT", Listen => 5, ReuseAddr => 1) or die "listen: $!";
while (my $client = $listener->accept) { print $client "hello from app\n"; close $client }
"#
    .replace("PORT", &port.to_string());
    let ready = format!("[ready]\nlisten = [\"tcp:127.0.0.1:{port}\"]");
    format!("{}\n{ready}\n\n[namespaces]\nhostname = \"shop\"\n\n[network]\nmode = \"loopback\"\n", perl(&program))
}

/// A member that tells what it finds, and at its end once more whether the server answers.
fn visitor(port: u16) -> String {
    let program = r#"
use IO::Socket::INET; use POSIX ();
sub ask { my $s = IO::Socket::INET->new("127.0.0.1:PORT") or return "no connection: $!\n"; scalar <$s> }
$SIG{TERM} = sub { print "at the end: ", ask(); exit 0 };
$SIG{USR1} = sub { exit 7 };
print "answer: ", ask();
print "segment: ", (defined shmget(0x52535643, 16, 0) ? "found" : "missing"), "\n";
sub serves { open(my $f, "<", "/proc/$_[0]/cmdline") or return 0; local $/; index(<$f> // "", "defined shmget(0x52535643, 16, 016" . "00)") >= 0 }
print "servers: ", scalar(grep { serves($_) } map { m|(\d+)$| } glob("/proc/[0-9]*")), "\n";
print "sysctl: ", (open(my $f, ">", "/proc/sys/net/ipv4/ip_default_ttl") ? "open" : "refused"), "\n";
system("/bin/hostname", "intruder");
print "host: ", (POSIX::uname())[1], "\n";
sleep 1 while 1;
"#
    .replace("PORT", &port.to_string());
    format!("{}\n[restart]\npolicy = \"no\"\n{}", perl(&program), member_of("app"))
}

#[test]
fn a_pod_has_one_loopback_and_the_owners_objects_processes_and_name_which_a_member_cannot_change() {
    root_and_perl!();
    let instance = Instance::start();
    let port = free_port();
    instance.unit("app", &server(port));
    instance.unit("visitor", &visitor(port));
    instance.rsvc(&["start", "visitor"]).expect(0);
    let log = instance.wait_for_log("visitor", "host: ");
    for line in ["answer: hello from app", "segment: found", "servers: 1", "sysctl: refused", "host: shop"] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the host has no part in it");
    let inner = instance.status("visitor")["main_pid_inner"].as_i64().expect("a number");
    assert!(inner > 2, "{inner}: 1 and 2 are the owner's");

    // The owner is there until the last member has gone.
    instance.rsvc(&["stop", "app"]).expect(0);
    instance.wait_for_log("visitor", "at the end: hello from app");
    assert_eq!(instance.status("visitor")["state"], "inactive");
    // A member alone leaves the owner as it is.
    instance.rsvc(&["start", "visitor"]).expect(0);
    let app = instance.main_process("app");
    instance.rsvc(&["stop", "visitor"]).expect(0);
    assert!(app.is_alive());
}

#[test]
fn how_a_member_ended_is_known_exactly_also_after_the_daemon_was_killed() {
    root_and_perl!();
    let mut instance = Instance::start();
    let port = free_port();
    instance.unit("app", &server(port));
    instance.unit("visitor", &visitor(port));
    for round in ["one daemon", "another daemon"] {
        instance.rsvc(&["start", "visitor"]).expect(0);
        instance.wait_for_log("visitor", "host: ");
        let before = instance.main_process("visitor");
        if round == "another daemon" {
            instance.kill_daemon();
            instance.start_daemon();
            assert_eq!(instance.main_process("visitor"), before);
        }
        before.signal(rustix::process::Signal::USR1);
        let status = instance.wait_for_state("visitor", "failed");
        assert_eq!((&status["exit_code"], &status["result"]), (&7.into(), &"exit-code".into()), "{round}: {status:#}");
        fs::remove_file(instance.file("state/log/visitor.log")).ok();
    }
}

#[test]
fn an_owner_that_is_killed_takes_its_members_down_and_they_come_back_with_it() {
    root_and_perl!();
    let mut instance = Instance::start();
    instance.unit("app", &owner());
    instance.unit("side", &format!("{SLEEP}\n[restart]\npolicy = \"no\"\n{}", member_of("app")));
    instance.rsvc(&["start", "side"]).expect(0);
    let together = |instance: &Instance| {
        let [app, side] = ["app", "side"].map(|unit| instance.main_process(unit));
        KINDS.iter().all(|kind| namespace(&app, kind) == namespace(&side, kind))
    };
    for round in ["main process", "pid 1", "main process, by another daemon", "pid 1, by another daemon"] {
        if round.ends_with("daemon") {
            let before = ["app", "side"].map(|unit| instance.main_process(unit));
            instance.kill_daemon();
            instance.start_daemon();
            assert_eq!(before, ["app", "side"].map(|unit| instance.main_process(unit)), "{round}");
        }
        let [app, side] = ["app", "side"].map(|unit| instance.main_process(unit));
        let victim = if round.starts_with("pid 1") { parent(&app) } else { app.clone() };
        victim.signal(rustix::process::Signal::KILL);
        comes_back(&instance, "app", &app);
        comes_back(&instance, "side", &side);
        assert!(together(&instance), "{round}");
        assert!(!side.is_alive(), "{round}");
    }
    instance.rsvc(&["restart", "app"]).expect(0);
    instance.wait_for_state("side", "active");
    assert!(together(&instance));
}

#[test]
fn a_chain_shares_one_namespace_and_templates_name_their_own_owner() {
    root_and_perl!();
    let instance = Instance::start();
    instance.unit("app@", &owner());
    instance.unit("side@", &format!("{SLEEP}{}", member_of("app@${instance}")));
    instance.unit("probe@", &format!("{SLEEP}{}", member_of("side@${instance}")));
    instance.rsvc(&["start", "probe@blue", "side@green"]).expect(0);
    let [app, side, probe] = ["app@blue", "side@blue", "probe@blue"].map(|unit| instance.main_process(unit));
    let green = instance.main_process("app@green");
    for kind in KINDS {
        assert_eq!(namespace(&app, kind), namespace(&side, kind), "{kind}");
        assert_eq!(namespace(&app, kind), namespace(&probe, kind), "{kind}");
        assert_ne!(namespace(&app, kind), namespace(&green, kind), "{kind}");
    }
    instance.rsvc(&["stop", "app@blue"]).expect(0);
    for (unit, state) in [("probe@blue", "inactive"), ("side@blue", "inactive"), ("side@green", "active")] {
        assert_eq!(instance.status(unit)["state"], state, "{unit}");
    }
    let shown = instance.rsvc(&["show", "side@green", "-p", "unit"]).expect(0).out;
    let bound = shown.lines().find(|line| line.starts_with("binds_to")).unwrap_or_default();
    assert!(bound.contains("app@green") && bound.contains("side@.toml:"), "{shown}");
}

#[test]
fn what_cannot_be_shared_is_refused_with_a_remedy() {
    root_and_perl!();
    let instance = Instance::start();
    let refused = |member: &str, text: &str, words: &[&str]| {
        instance.unit(member, text);
        let said = instance.rsvc(&["start", member]).expect(1);
        for word in words {
            assert!(said.err.contains(word), "{member}: {word}: {}", said.err);
        }
    };
    let share = |key: &str, owner: &str| match key {
        "mode" => format!("{SLEEP}\n[restart]\npolicy = \"no\"\n\n[network]\nmode = \"unit:{owner}\"\n"),
        _ => format!("{SLEEP}\n[restart]\npolicy = \"no\"\n\n[namespaces]\n{key} = \"unit:{owner}\"\n"),
    };
    instance.unit("open", SLEEP);
    refused("a", &share("mode", "open"), &["open has none of its own", "network.mode = \"loopback\"", "a.toml:"]);
    instance.unit("open-ipc", &format!("{SLEEP}\n[namespaces]\nipc = \"host\"\n"));
    refused("b", &share("ipc", "open-ipc"), &["open-ipc has none of its own", "namespaces.ipc = \"private\""]);
    instance.unit("apart", &format!("{SLEEP}\n[namespaces]\nuser = \"identity\"\n\n[network]\nmode = \"loopback\"\n"));
    refused("c", &share("mode", "apart"), &["a user namespace of apart's", "namespaces.user = \"host\" in apart"]);
    instance.unit("job", "[service]\ntype = \"oneshot\"\nexec = [\"/bin/true\"]\n\n[network]\nmode = \"loopback\"\n");
    refused("d", &share("mode", "job"), &["job"]);
    refused("e", &share("pid", "nobody"), &["nobody"]);
    instance.unit("f", &share("ipc", "g"));
    refused("g", &share("ipc", "f"), &["ordering cycle"]);
    for unit in ["a", "b", "c", "d", "e", "f", "g"] {
        assert_eq!(instance.status(unit)["main_pid"], serde_json::Value::Null, "{unit}");
    }
    let said = instance.rsvc(&["run", &instance.file("units/a.toml").display().to_string()]);
    assert!(said.code != 0 && said.err.contains("runs one unit, without others beside it"), "{said:?}");
}

#[test]
fn commands_of_a_member_run_where_it_does_but_for_the_last_ones() {
    root_and_perl!();
    let instance = Instance::start();
    instance.unit("app", &owner());
    let tell = |word: &str| {
        let script = format!("for kind in net ipc uts pid; do echo {word} $(readlink /proc/self/ns/$kind); done");
        format!("exec_{word} = [[\"/bin/sh\", \"-c\", \"{script}\"]]\n")
    };
    let lines: String = ["start_pre", "start_post", "reload", "stop_post"].map(tell).concat();
    instance.unit("side", &format!("{SLEEP}{lines}\n[restart]\npolicy = \"no\"\n{}", member_of("app")));
    instance.rsvc(&["start", "side"]).expect(0);
    instance.rsvc(&["reload", "side"]).expect(0);
    let app = instance.main_process("app");
    let inside: Vec<String> = KINDS.iter().map(|kind| namespace(&app, kind)).collect();
    // Their numbers are used again as soon as nobody has them open.
    let _open = KINDS.map(|kind| fs::File::open(format!("/proc/{}/ns/{kind}", app.pid)).expect("a namespace"));
    // The owner is killed, so that nothing of it is left for the last command.
    parent(&app).signal(rustix::process::Signal::KILL);
    comes_back(&instance, "app", &app);
    let told = |word: &str| -> Vec<String> {
        let log = instance.wait_for_log("side", &format!("{word} pid:"));
        let of = |line: &str| line.split_once(&format!("{word} ")).map(|(_, namespace)| namespace.to_owned());
        log.lines().filter_map(of).take(4).collect()
    };
    for word in ["start_pre", "start_post", "reload"] {
        assert_eq!(told(word), inside, "{word}");
    }
    let last = told("stop_post");
    assert!(last.len() == 4 && last.iter().all(|namespace| !inside.contains(namespace)), "{last:?}");
}

#[test]
fn the_example_of_a_pod_runs_as_it_says() {
    root_and_perl!();
    let instance = Instance::start();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for name in ["shop", "shop-watch"] {
        let text = fs::read_to_string(examples.join(format!("{name}.toml"))).expect("an example");
        instance.unit(name, &text);
    }
    let text = fs::read_to_string(examples.join("shop.slice.toml")).expect("an example");
    instance.unit_as_is("shop.slice", &text);
    instance.rsvc(&["start", "shop-watch"]).expect(0);
    instance.wait_for_log("shop-watch", "the shop says: customer number ");
    let status = instance.status("shop");
    assert_eq!((&status["state"], &status["slice"]["name"]), (&"active".into(), &"shop".into()));
}

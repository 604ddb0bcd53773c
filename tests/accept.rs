//! `sockets.accept` with a real instance: one process for each connection, its limits, and what is left afterwards.

#[macro_use]
mod instance;

use instance::process::Process;
use instance::{Instance, eventually};
use rustix::net::{AddressFamily, SocketType};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A port that nobody has now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

/// Says who it is, then echoes until its client is done.
const ECHO: &str = r#"
[service]
exec = ["/bin/sh", "-c", '''
echo "${instance} $LISTEN_FDS $LISTEN_FDNAMES $LISTEN_PID/$$ ${REMOTE_ADDR-none} ${REMOTE_PORT-none}" >&3
exec cat <&3 >&3''']
"#;

fn echo(listen: &str, more: &str) -> String {
    format!("{ECHO}\n[network]\nmode = \"loopback\"\n[[sockets]]\nlisten = \"{listen}\"\naccept = true\n{more}\n")
}

fn tcp(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
    stream.set_read_timeout(Some(instance::PATIENCE)).expect("a limit");
    stream
}

/// The first line that the server says; empty: it closed the connection.
fn line(stream: &mut impl Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0u8];
    while !line.ends_with(b"\n") {
        match stream.read(&mut byte) {
            Ok(1) => line.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8(line).expect("text").trim_end().to_owned()
}

/// Names of all units.
fn units(instance: &Instance) -> Vec<String> {
    let list = instance.rsvc(&["list", "--all", "--json"]).expect(0).out;
    let name = |line| serde_json::from_str::<Value>(line).expect("JSON")["name"].as_str().expect("a name").to_owned();
    list.lines().map(name).collect()
}

fn only_the_listener(instance: &Instance) {
    eventually("every connection is forgotten", || (units(instance) == ["echo"]).then_some(()));
}

fn number(instance: &Instance, key: &str) -> u64 {
    instance.status("echo")[key].as_u64().expect("a number")
}

#[test]
fn each_connection_has_a_process_of_its_own() {
    root_only!();
    let instance = Instance::start();
    let port = free_port();
    instance.unit("echo", &echo(&format!("tcp:127.0.0.1:{port}"), ""));
    instance.rsvc(&["start", "echo"]).expect(0);
    let status = instance.status("echo");
    assert_eq!((&status["state"], &status["substate"]), (&"active".into(), &"listening".into()));

    let (mut one, mut two) = (tcp(port), tcp(port));
    let local = [&one, &two].map(|stream| stream.local_addr().expect("an address").port());
    assert_eq!(line(&mut one), format!("1 1 connection 2/2 127.0.0.1 {}", local[0]));
    assert_eq!(line(&mut two), format!("2 1 connection 2/2 127.0.0.1 {}", local[1]));
    assert_eq!(units(&instance), ["echo", "echo@1", "echo@2"]);
    let (first, second) = (instance.status("echo@1"), instance.status("echo@2"));
    assert_eq!(first["substate"], "running");
    assert_ne!(first["main_pid"], second["main_pid"]);
    assert_ne!(first["invocation_id"], second["invocation_id"]);
    assert_ne!(first["cgroup"], second["cgroup"]);
    assert_eq!(first["changed_on_disk"], false);
    assert_eq!(number(&instance, "connections"), 2);
    let page = instance.rsvc(&["status", "echo"]).expect(0).out;
    assert!(page.contains("2 connections now; 2 so far, 0 refused"), "{page}");

    one.write_all(b"hello\n").expect("write");
    assert_eq!(line(&mut one), "hello");
    let said = instance.rsvc(&["start", "echo@1"]);
    assert!(said.code != 0 && said.err.contains("start echo"), "{}", said.err);
    let said = instance.rsvc(&["restart", "echo@77"]);
    assert!(said.code != 0 && said.err.contains("only a connection starts an instance"), "{}", said.err);
    instance.rsvc(&["stop", "echo@1"]).expect(0);
    assert_eq!(line(&mut one), "", "its process was all that had the connection");
    drop(two);
    only_the_listener(&instance);
    assert_eq!(line(&mut tcp(port)).split(' ').next(), Some("3"), "no number comes twice");
    only_the_listener(&instance);
    for below in ["run/services", "run/io"] {
        let left: Vec<_> = fs::read_dir(instance.path().join(below)).into_iter().flatten().flatten().collect();
        assert!(left.iter().all(|entry| !entry.file_name().to_string_lossy().contains('@')), "{left:?}");
    }
}

#[test]
fn failed_connections_leave_nothing_but_a_log() {
    root_only!();
    let instance = Instance::start();
    let path = instance.file("echo.sock");
    let unit = format!(
        "[service]\nexec = [\"/bin/sh\", \"-c\", \"echo number ${{instance}} fails; exit 3\"]\n[[sockets]]\nlisten = \
         \"unix:{}\"\nname = \"own\"\naccept = true\n",
        path.display()
    );
    instance.unit("echo", &unit);
    instance.rsvc(&["start", "echo"]).expect(0);
    for n in 1..=3 {
        let mut stream = UnixStream::connect(&path).expect("somebody listens");
        assert_eq!(line(&mut stream), "");
        only_the_listener(&instance);
        assert!(instance.rsvc(&["logs", &format!("echo@{n}")]).expect(0).out.contains(&format!("number {n} fails")));
    }
    assert_eq!(instance.status("echo")["substate"], "listening");
    assert!(instance.daemon_log().contains("echo@3: failed"), "{}", instance.daemon_log());
}

#[test]
fn limits_count_all_and_those_of_one_source() {
    root_only!();
    let instance = Instance::start();
    let port = free_port();
    let limits = "max_connections = 3\nmax_connections_per_source = 2";
    instance.unit("echo", &echo(&format!("tcp:0.0.0.0:{port}"), limits));
    instance.rsvc(&["start", "echo"]).expect(0);
    let from = |address: &str| {
        let local: SocketAddr = format!("{address}:0").parse().expect("an address");
        let server: SocketAddr = format!("127.0.0.1:{port}").parse().expect("an address");
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        rustix::net::bind(&socket, &local).expect("an address of the loopback network");
        rustix::net::connect(&socket, &server).expect("somebody listens");
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(instance::PATIENCE)).expect("a limit");
        stream
    };
    let mut kept: Vec<TcpStream> = Vec::new();
    for address in ["127.0.0.1", "127.0.0.1", "127.0.0.2"] {
        let mut stream = from(address);
        assert_ne!(line(&mut stream), "", "{address}");
        kept.push(stream);
        if kept.len() == 2 {
            assert_eq!(line(&mut from("127.0.0.1")), "", "the third of one address is closed at once");
        }
    }
    assert_eq!(line(&mut from("127.0.0.3")), "", "the fourth of all is closed at once");
    assert_eq!((number(&instance, "connections"), number(&instance, "connections_refused")), (3, 2));
    assert!(instance.daemon_log().contains("sockets.max_connections_per_source is 2"), "{}", instance.daemon_log());
    drop(kept.pop());
    eventually("there is room again", || (number(&instance, "connections") == 2).then_some(()));
    assert_ne!(line(&mut from("127.0.0.4")), "");
}

#[test]
fn a_stop_and_a_restart_take_all_along() {
    root_only!();
    let instance = Instance::start();
    let path = instance.file("echo.sock");
    let listen = format!("unix:{}", path.display());
    instance.unit("echo", &echo(&listen, ""));
    instance.rsvc(&["start", "echo"]).expect(0);
    let connect = || UnixStream::connect(&path).expect("somebody listens");
    let mut streams: Vec<UnixStream> = (0..3).map(|_| connect()).collect();
    for (n, stream) in (1..).zip(&mut streams) {
        assert_eq!(line(stream), format!("{n} 1 connection 2/2 none none"));
    }
    let processes: Vec<Process> = (1..=3).map(|n| instance.main_process(&format!("echo@{n}"))).collect();
    instance.rsvc(&["restart", "echo"]).expect(0);
    assert!(processes.iter().all(|process| !process.is_alive()), "a restart waits for them");
    only_the_listener(&instance);
    let mut stream = connect();
    assert_eq!(line(&mut stream).split(' ').next(), Some("4"));
    let process = instance.main_process("echo@4");
    instance.rsvc(&["stop", "echo"]).expect(0);
    assert!(!process.is_alive(), "a stop waits for them");
    assert!(!path.exists());
    only_the_listener(&instance);
    assert_eq!(instance.status("echo")["state"], "inactive");
}

#[test]
fn connections_outlive_the_daemon_and_count_on() {
    root_only!();
    let mut instance = Instance::start();
    let path = instance.file("echo.sock");
    instance.unit("echo", &echo(&format!("unix:{}", path.display()), "max_connections = 2"));
    instance.rsvc(&["start", "echo"]).expect(0);
    let connect = || {
        let stream = UnixStream::connect(&path).expect("somebody listens");
        stream.set_read_timeout(Some(instance::PATIENCE)).expect("a limit");
        stream
    };
    let (mut one, mut two) = (connect(), connect());
    assert_ne!(line(&mut one), "");
    assert_ne!(line(&mut two), "");
    let process = instance.main_process("echo@2");
    drop(one);
    eventually("the first is gone", || (units(&instance) == ["echo", "echo@2"]).then_some(()));
    instance.kill_daemon();
    let mut three = connect();
    instance.start_daemon();
    assert_eq!(line(&mut three).split(' ').next(), Some("3"), "it waited, and no number comes twice");
    assert_eq!(units(&instance), ["echo", "echo@2", "echo@3"]);
    assert_eq!(instance.main_process("echo@2").command_line(), process.command_line());
    two.write_all(b"still there\n").expect("write");
    assert_eq!(line(&mut two), "still there");
    assert_eq!(line(&mut connect()), "", "who was there before counts");
    drop((two, three));
    only_the_listener(&instance);
    // None runs: the number is the listener's to know.
    instance.kill_daemon();
    instance.start_daemon();
    assert_eq!(line(&mut connect()).split(' ').next(), Some("4"));
    instance.rsvc(&["stop", "echo"]).expect(0);
    only_the_listener(&instance);
}

#[test]
fn a_flood_leaves_no_descriptor_and_no_unit() {
    root_only!();
    let instance = Instance::start();
    let port = free_port();
    let limits = "max_connections = 8\nmax_connections_per_source = 0";
    instance.unit("echo", &echo(&format!("tcp:127.0.0.1:{port}"), limits));
    instance.rsvc(&["start", "echo"]).expect(0);
    // Once, so that what a first launch opens for good is open.
    assert_ne!(line(&mut tcp(port)), "");
    only_the_listener(&instance);
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", instance.daemon_pid())).expect("its descriptors").count();
    let before = descriptors();
    let streams: Vec<TcpStream> = (0..500).map(|_| tcp(port)).collect();
    let all = || number(&instance, "connections_accepted") + number(&instance, "connections_refused");
    eventually("all are looked at", || (all() >= 501).then_some(()));
    assert_eq!(number(&instance, "connections"), 8, "nobody has hung up yet");
    assert_eq!(number(&instance, "connections_refused"), 492);
    let complaints = instance.daemon_log().matches("closed at once").count();
    assert!((1..400).contains(&complaints), "{complaints} lines about 492 connections");
    drop(streams);
    only_the_listener(&instance);
    eventually("the daemon has as many descriptors as before", || (descriptors() <= before).then_some(()));
    assert_ne!(line(&mut tcp(port)), "", "and it goes on");
}

#[test]
fn a_template_of_the_same_name_is_refused() {
    root_only!();
    let instance = Instance::start();
    let path = instance.file("echo.sock");
    instance.unit("echo", &echo(&format!("unix:{}", path.display()), ""));
    instance.unit("echo@", "[service]\nexec = [\"/bin/true\"]\n");
    let said = instance.rsvc(&["start", "echo"]);
    assert!(said.code != 0 && said.err.contains("echo@.toml has the names of its instances"), "{}", said.err);
    assert!(!Path::new(&path).exists());
}

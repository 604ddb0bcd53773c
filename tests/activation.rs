//! `[[sockets]]` with a real instance: who listens, what the service gets, and what survives.

#[macro_use]
mod instance;

use instance::{Instance, eventually, skipped};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;

/// A port that nobody has now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

/// A server in perl that answers each connection with its pid and the words of sd_listen_fds(3), and ends with
/// `status` after `count` connections.
fn server(count: u32, status: u8) -> String {
    format!(
        r#"
exec = ["/usr/bin/perl", "-e", '''
use Socket;
open(my $s, "+<&=", 3) or die;
for (1..{count}) {{
  accept(my $c, $s) or die "accept: $!";
  sysread($c, my $line, 100);
  syswrite($c, "$$ $ENV{{LISTEN_PID}} $ENV{{LISTEN_FDS}} $ENV{{LISTEN_FDNAMES}} $line");
}}
exit {status}''']
"#
    )
}

/// What the server answers to one line.
fn ask(mut stream: impl Read + Write, line: &str) -> String {
    stream.write_all(line.as_bytes()).expect("write");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn tcp(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
    stream.set_read_timeout(Some(instance::PATIENCE)).expect("a limit");
    stream
}

#[test]
fn the_first_connection_starts_a_service_that_has_no_network() {
    root_and_perl!();
    let instance = Instance::start();
    let port = free_port();
    let unit = format!(
        "[service]\nactivation = \"on-demand\"\n{}\n[network]\nmode = \"loopback\"\n[[sockets]]\nlisten = \"tcp:127.0.0.1:{port}\"\nname = \"http\"\n",
        server(2, 0)
    );
    instance.unit("web", &unit);
    instance.rsvc(&["start", "web"]).expect(0);
    let status = instance.status("web");
    assert_eq!((&status["state"], &status["substate"]), (&"active".into(), &"listening".into()));
    assert_eq!(status["listen"], serde_json::json!([format!("tcp:127.0.0.1:{port}")]));
    assert_eq!(status["main_pid"], serde_json::Value::Null);
    instance.rsvc(&["is-active", "web"]).expect(0);
    let page = instance.rsvc(&["status", "web"]).expect(0);
    assert!(page.out.contains("active (listening)") && page.out.contains(&format!("Listen: tcp:127.0.0.1:{port}")));

    assert_eq!(ask(tcp(port), "one"), "2 2 1 http one", "pid, LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES");
    assert_eq!(instance.status("web")["substate"], "running");
    assert_eq!(ask(tcp(port), "two"), "2 2 1 http two");
    eventually("it listens again", || (instance.status("web")["substate"] == "listening").then_some(()));
    assert_eq!(ask(tcp(port), "three"), "2 2 1 http three");
    instance.rsvc(&["stop", "web"]).expect(0);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "a stop closes the socket");
    assert_eq!(instance.status("web")["listen"], serde_json::json!([]));
}

#[test]
fn a_unit_that_is_started_at_once_keeps_its_socket_over_restarts() {
    root_and_perl!();
    let instance = Instance::start();
    let path = instance.file("web.sock");
    let listen = format!("unix:{}", path.display());
    let unit = format!(
        "[service]\n{}\n[restart]\npolicy = \"always\"\ndelay = \"1s\"\n[[sockets]]\nlisten = \"{listen}\"\nmode = \"0606\"\nuser = \"www-data\"\n",
        server(1, 1)
    );
    instance.unit("web", &unit);
    instance.rsvc(&["start", "web"]).expect(0);
    assert_eq!(instance.status("web")["substate"], "running");
    let metadata = fs::metadata(&path).expect("the socket");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o606);
    assert_ne!(metadata.uid(), 0, "www-data's");
    let connect = || UnixStream::connect(&path).expect("somebody listens");
    assert_eq!(ask(connect(), "one"), "2 2 1 web one");
    // The service ends after each answer; whoever comes while it is down waits.
    assert_eq!(ask(connect(), "two"), "2 2 1 web two");
    assert_eq!(ask(connect(), "three"), "2 2 1 web three");
    assert_eq!(fs::metadata(&path).expect("the socket").ino(), metadata.ino(), "it is the same socket");
    instance.rsvc(&["restart", "web"]).expect(0);
    assert_eq!(fs::metadata(&path).expect("the socket").ino(), metadata.ino());
    instance.rsvc(&["stop", "web"]).expect(0);
    assert!(!path.exists());
}

#[test]
fn connections_that_come_while_no_daemon_runs_are_served() {
    root_and_perl!();
    let mut instance = Instance::start();
    let (port, path) = (free_port(), instance.file("run.sock"));
    let demand = format!(
        "[service]\nactivation = \"on-demand\"\n{}\n[[sockets]]\nlisten = \"tcp:127.0.0.1:{port}\"\n",
        server(1, 0)
    );
    instance.unit("idle", &demand);
    let unit = format!("[service]\n{}\n[[sockets]]\nlisten = \"unix:{}\"\n", server(1000, 0), path.display());
    instance.unit("busy", &unit);
    instance.rsvc(&["start", "idle", "busy"]).expect(0);
    assert!(ask(UnixStream::connect(&path).expect("connect"), "x").contains("busy x"));
    let inode = fs::metadata(&path).expect("the socket").ino();
    let since = instance.status("busy")["main_pid"].clone();

    instance.kill_daemon();
    let mut waiting = tcp(port);
    waiting.write_all(b"while nobody was there").expect("write");
    assert!(ask(UnixStream::connect(&path).expect("connect"), "y").contains("busy y"), "it runs on");
    instance.start_daemon();
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer, "2 2 1 idle while nobody was there");
    eventually("it listens again", || (instance.status("idle")["substate"] == "listening").then_some(()));
    assert_eq!(instance.status("busy")["main_pid"], since);

    // Twice: the keeper is now one that this daemon only took over.
    instance.kill_daemon();
    instance.start_daemon();
    assert_eq!(ask(tcp(port), "again"), "2 2 1 idle again");
    instance.rsvc(&["restart", "busy"]).expect(0);
    assert!(ask(UnixStream::connect(&path).expect("connect"), "z").contains("busy z"));
    assert_eq!(fs::metadata(&path).expect("the socket").ino(), inode, "still the same socket");
    instance.rsvc(&["stop", "--all"]).expect(0);
    assert!(!path.exists());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(!instance.file("run/services/idle/sockets").exists());
}

#[test]
fn every_kind_comes_in_order_with_its_name_and_blocking() {
    root_and_perl!();
    let instance = Instance::start();
    let (directory, port) = (instance.file("made/by/rsvc"), free_port());
    let at = |name: &str| directory.join(name).display().to_string();
    instance.unit(
        "all",
        &format!(
            r#"
[service]
activation = "on-demand"
exec = ["/usr/bin/perl", "-e", '''
use Fcntl;
$| = 1;
for my $n (3..8) {{
  my $link = readlink("/proc/self/fd/$n") || "none";
  open(my $h, "<&=", $n); push @kept, $h;
  my $flags = fcntl($h, F_GETFL, 0);
  printf "%d %s %s\n", $n, $link =~ /^(socket|\/)/ ? $1 : $link, ($flags & O_NONBLOCK) ? "nonblocking" : "blocking";
}}
print "fds $ENV{{LISTEN_FDS}} names $ENV{{LISTEN_FDNAMES}}\n";
open(my $f, "<&=", 8); sysread($f, my $got, 5); print "fifo $got\n";
sleep 1000''']
[[sockets]]
listen = "tcp:127.0.0.1:{port}"
name = "a"
[[sockets]]
listen = "udp:127.0.0.1:{port}"
name = "b"
[[sockets]]
listen = "unix:{}"
name = "c"
[[sockets]]
listen = "unix-datagram:{}"
name = "d"
[[sockets]]
listen = "unix-seqpacket:{}"
name = "e"
[[sockets]]
listen = "fifo:{}"
mode = "0622"
"#,
            at("stream"),
            at("datagram"),
            at("packets"),
            at("fifo")
        ),
    );
    instance.rsvc(&["start", "all"]).expect(0);
    assert_eq!(fs::metadata(&directory).expect("made").permissions().mode() & 0o7777, 0o755);
    assert_eq!(fs::metadata(at("datagram")).expect("made").permissions().mode() & 0o7777, 0o660, "the default");
    assert_eq!(fs::metadata(at("fifo")).expect("made").permissions().mode() & 0o7777, 0o622);
    fs::OpenOptions::new().write(true).open(at("fifo")).expect("open").write_all(b"hello").expect("write");
    let log = instance.wait_for_log("all", "fifo hello");
    assert!(log.contains("fds 6 names a:b:c:d:e:all"), "{log}");
    for number in 3..8 {
        assert!(log.contains(&format!("{number} socket blocking")), "{log}");
    }
    assert!(log.contains("8 / blocking"), "{log}");
    instance.rsvc(&["stop", "all"]).expect(0);
    assert_eq!(fs::read_dir(&directory).expect("the directory stays").count(), 0);
}

#[test]
fn datagrams_start_a_service_too() {
    root_and_perl!();
    let instance = Instance::start();
    let (port, path) = (free_port(), instance.file("datagrams"));
    let unit = |listen: &str| {
        format!(
            "[service]\nactivation = \"on-demand\"\nexec = [\"/usr/bin/perl\", \"-e\", '$|=1; open(my $s, \"+<&=\", 3); recv($s, my $got, 100, 0); print \"got $got\\n\"']\n[[sockets]]\nlisten = \"{listen}\"\n"
        )
    };
    instance.unit("udp", &unit(&format!("udp:127.0.0.1:{port}")));
    instance.unit("unix", &unit(&format!("unix-datagram:{}", path.display())));
    instance.rsvc(&["start", "udp", "unix"]).expect(0);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket.send_to(b"over udp", ("127.0.0.1", port)).expect("send");
    instance.wait_for_log("udp", "got over udp");
    UnixDatagram::unbound().expect("socket").send_to(b"over unix", &path).expect("send");
    instance.wait_for_log("unix", "got over unix");
}

#[test]
fn an_address_in_use_names_who_has_it() {
    root_and_perl!();
    let instance = Instance::start();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let unit = |listen: &str, activation: &str| {
        format!(
            "[service]\nactivation = \"{activation}\"\nexec = [\"/bin/sleep\", \"1000\"]\n[restart]\npolicy = \"no\"\n[[sockets]]\nlisten = \"{listen}\"\n"
        )
    };
    for activation in ["start", "on-demand"] {
        let file = instance.unit("web", &unit(&format!("tcp:0.0.0.0:{port}"), activation));
        let said = instance.rsvc(&["start", "web"]).expect(1);
        let own = format!("(pid {})", std::process::id());
        for part in ["EADDRINUSE", &own, &format!("{}:", file.display())] {
            assert!(said.err.contains(part), "`{part}` in: {}", said.err);
        }
        assert_eq!(instance.status("web")["state"], "failed");
    }
    let path = instance.file("taken.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("bind");
    instance.unit("local", &unit(&format!("unix:{}", path.display()), "on-demand"));
    let said = instance.rsvc(&["start", "local"]).expect(1);
    assert!(said.err.contains(&format!("(pid {})", std::process::id())), "{}", said.err);
    drop(listener);
    instance.rsvc(&["start", "local"]).expect(0);
    instance.rsvc(&["stop", "local"]).expect(0);
    fs::write(&path, "precious").expect("a file");
    let said = instance.rsvc(&["start", "local"]).expect(1);
    assert!(said.err.contains("not touched"), "{}", said.err);
    assert_eq!(fs::read(&path).expect("the file"), b"precious");
}

#[test]
fn a_directory_of_somebody_else_is_refused() {
    root_and_perl!();
    let instance = Instance::start();
    let theirs = instance.file("theirs");
    fs::create_dir(&theirs).expect("a directory");
    std::os::unix::fs::chown(&theirs, Some(65534), None).expect("chown");
    let listen = format!("unix:{}", theirs.join("sock").display());
    instance.unit("web", &format!("[service]\nexec = [\"/bin/sleep\", \"1000\"]\n[restart]\npolicy = \"no\"\n[[sockets]]\nlisten = \"{listen}\"\n"));
    let said = instance.rsvc(&["start", "web"]).expect(1);
    assert!(said.err.contains("belongs to user 65534"), "{}", said.err);
    assert_eq!(fs::read_dir(&theirs).expect("list").count(), 0);
}

#[test]
fn a_service_that_never_accepts_is_given_up_and_refuses() {
    root_and_perl!();
    let instance = Instance::start();
    let port = free_port();
    instance.unit(
        "deaf",
        &format!("[service]\nactivation = \"on-demand\"\nexec = [\"/bin/true\"]\n[[sockets]]\nlisten = \"tcp:127.0.0.1:{port}\"\n"),
    );
    instance.rsvc(&["start", "deaf"]).expect(0);
    let mut waiting = tcp(port);
    let _ = waiting.write_all(b"hello");
    // A limit of pace: a machine on which twenty runs take two seconds never meets it.
    let status = eventually("the unit gives up, or is slow", || {
        let status = instance.status("deaf");
        let slow = instance.daemon_log().matches("started by its sockets").count() > 100;
        (status["state"] == "failed" || slow).then_some(status)
    });
    if status["state"] != "failed" {
        return skipped("this machine does not start twenty services in two seconds");
    }
    assert!(status["cause"].as_str().expect("cause").contains("20 times"), "{status:#}");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "clients are refused, not kept waiting");
}

#[test]
fn the_keeper_holds_no_right_and_a_killed_one_is_replaced() {
    root_and_perl!();
    let instance = Instance::start();
    let port = free_port();
    instance.unit(
        "web",
        &format!(
            "[service]\nactivation = \"on-demand\"\n{}\n[[sockets]]\nlisten = \"tcp:127.0.0.1:{port}\"\n",
            server(1, 0)
        ),
    );
    instance.rsvc(&["start", "web"]).expect(0);
    let keeper = || {
        let text = fs::read_to_string(instance.file("run/services/web/sockets")).expect("the file");
        let saved: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        saved["keeper"]["pid"].as_i64().expect("a pid")
    };
    let first = keeper();
    let status = eventually("its name", || {
        fs::read_to_string(format!("/proc/{first}/status")).ok().filter(|text| text.contains("rsvc-keeper"))
    });
    assert!(status.contains("CapEff:\t0000000000000000") && status.contains("CapPrm:\t0000000000000000"), "{status}");
    let pid = rustix::process::Pid::from_raw(i32::try_from(first).expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
    eventually("another keeper", || (keeper() != first).then_some(()));
    assert_eq!(ask(tcp(port), "still"), "2 2 1 web still");
    let last = keeper();
    instance.rsvc(&["stop", "web"]).expect(0);
    eventually("no keeper", || (!Path::new(&format!("/proc/{last}")).exists()).then_some(()));
}

/// Packaged, the root group belongs to a unit whose own process stands in a group `keeper` of it.
#[test]
fn a_process_of_somebody_else_beside_the_keepers_is_left_alone() {
    root_and_perl!();
    let mut instance = Instance::start();
    let root = fs::read_to_string(instance.file("run/cgroup-root")).expect("record");
    let Some(v2) = root.lines().find_map(|line| line.strip_prefix("v2:")) else {
        return skipped("no v2 tree");
    };
    let mounts = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
    let root =
        mounts.iter().map(|mount| format!("{mount}{v2}")).find(|path| Path::new(path).is_dir()).expect("a group");
    let mut strangers = Vec::new();
    for name in ["keeper", "rsvc-keepers"] {
        let group = format!("{root}/{name}");
        fs::create_dir_all(&group).expect("a group of our own");
        let stranger = std::process::Command::new("/bin/sleep").arg("1000").spawn().expect("sleep");
        fs::write(format!("{group}/cgroup.procs"), stranger.id().to_string()).expect("it moves");
        strangers.push((group, stranger));
    }
    instance.kill_daemon();
    instance.start_daemon();
    // A daemon that answers has looked for what it takes over and for what it ends.
    instance.rsvc(&["list"]).expect(0);
    for (group, mut stranger) in strangers {
        let ended = stranger.try_wait().expect("wait");
        let _ = stranger.kill();
        let _ = stranger.wait();
        // In the other one the keeper of the instance stays.
        if group.ends_with("/keeper") {
            eventually("the group is empty", || fs::remove_dir(&group).ok());
        }
        assert_eq!(ended, None, "{group}");
    }
}

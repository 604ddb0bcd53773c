//! Tests of readiness: the parsers on recorded tables, and the kernel's own tables with real sockets.

use super::*;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Child, Command, Stdio};

fn own() -> Vec<i32> {
    vec![std::process::id() as i32]
}

fn tcp(text: &str) -> ListenAddress {
    ListenAddress::Tcp(text.parse().unwrap())
}

/// A child that lives until it is dropped.
struct Sleeper(Child);

impl Sleeper {
    fn new() -> Sleeper {
        Sleeper(Command::new("sleep").arg("100").stdin(Stdio::null()).spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn recorded_tables_are_understood() {
    let table = b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000   100        0 4242 1 0000000000000000 100 0 0 10 0\n\
   1: 0100007F:1F91 0100007F:A000 01 00000000:00000000 00:00000000 00000000   100        0 4243 1 0000000000000000 100 0 0 10 0\n\
garbage\n";
    #[cfg(target_endian = "little")]
    assert_eq!(inet_sockets(table, LISTENING), [("127.0.0.1:8080".parse().unwrap(), 4242)]);
    let six = b"head\n   0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 77 1\n";
    #[cfg(target_endian = "little")]
    assert_eq!(inet_sockets(six, LISTENING), [("[::1]:80".parse().unwrap(), 77)]);
    let unix = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
0000000000000000: 00000002 00000000 00010000 0001 01 30345 /run/a b.sock\n\
0000000000000000: 00000003 00000000 00000000 0001 03   999 /run/a b.sock\n\
0000000000000000: 00000002 00000000 00000000 0002 01    12 /run/log\n\
0000000000000000: 00000002 00000000 00010000 0001 01 30346 @abstract\n\
0000000000000000: 00000002 00000000 00000000 0002 01    13\n";
    assert_eq!(unix_sockets(unix), [(b"/run/a b.sock".to_vec(), 30345), (b"/run/log".to_vec(), 12)]);
}

#[test]
fn the_wildcard_serves_a_specific_address_and_not_the_other_way_round() {
    for (bound, wanted, expected) in [
        ("0.0.0.0:80", "127.0.0.1:80", true),
        ("127.0.0.1:80", "0.0.0.0:80", false),
        ("127.0.0.1:80", "127.0.0.1:80", true),
        ("127.0.0.1:80", "127.0.0.2:80", false),
        ("0.0.0.0:80", "0.0.0.0:81", false),
        ("[::]:80", "0.0.0.0:80", true),
        ("[::]:80", "[::1]:80", true),
        ("0.0.0.0:80", "[::]:80", false),
        ("[::1]:80", "[::]:80", false),
        ("[::ffff:127.0.0.1]:80", "127.0.0.1:80", true),
    ] {
        assert_eq!(serves(&bound.parse().unwrap(), &wanted.parse().unwrap()), expected, "{bound} {wanted}");
    }
}

#[test]
fn a_listening_socket_of_the_service_makes_it_ready() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let addresses = [tcp(&format!("127.0.0.1:{port}")), tcp(&format!("0.0.0.0:{port}"))];
    assert_eq!(missing(&addresses, &own()).unwrap(), [&addresses[1]]);
    // A connection to it is no listening socket.
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    drop(listener);
    assert_eq!(missing(&addresses, &own()).unwrap().len(), 2);
    drop(client);
}

#[test]
fn a_socket_of_somebody_else_is_not_readiness() {
    let sleeper = Sleeper::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = [ListenAddress::Tcp(listener.local_addr().unwrap())];
    assert_eq!(missing(&address, &[sleeper.pid()]).unwrap().len(), 1);
    assert_eq!(missing(&address, &[sleeper.pid(), own()[0]]).unwrap().len(), 0);
}

#[test]
fn dead_processes_leave_everything_missing() {
    let dead = {
        let sleeper = Sleeper::new();
        sleeper.pid()
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = [ListenAddress::Tcp(listener.local_addr().unwrap())];
    assert_eq!(missing(&address, &[dead]).unwrap().len(), 1);
    assert_eq!(missing(&address, &[]).unwrap().len(), 1);
    assert_eq!(missing(&address, &[dead, own()[0]]).unwrap().len(), 0);
}

#[test]
fn udp_and_unix_sockets_count() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| ListenAddress::Unix(directory.path().join(name));
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addresses = [ListenAddress::Udp(udp.local_addr().unwrap()), path("stream"), path("datagram"), path("bound")];
    assert_eq!(missing(&addresses, &own()).unwrap().len(), 3);
    let _stream = UnixListener::bind(directory.path().join("stream")).unwrap();
    let _datagram = UnixDatagram::bind(directory.path().join("datagram")).unwrap();
    assert_eq!(missing(&addresses, &own()).unwrap(), [&addresses[3]]);
}

#[test]
fn var_run_is_run() {
    assert!(same_path(b"/var/run/x.sock", b"/run/x.sock"));
    assert!(same_path(b"/run/x.sock", b"/var/run/x.sock"));
    assert!(!same_path(b"/var/lib/x.sock", b"/lib/x.sock"));
}

#[test]
fn a_pid_file_names_a_process_of_the_group_only() {
    let sleeper = Sleeper::new();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let read = |pids: &[i32]| read_pid_file(sleeper.pid(), &file, pids);
    assert_eq!(read(&[]), Err(PidFileError::NotYet));
    fs::write(&file, "").unwrap();
    assert_eq!(read(&[]), Err(PidFileError::NotYet));
    fs::write(&file, format!(" {}\n/var/lib/data\n", sleeper.pid())).unwrap();
    let expected = ServiceProcess { pid: sleeper.pid(), inner: sleeper.pid() };
    assert_eq!(read(&[own()[0], sleeper.pid()]), Ok(expected));
    assert_eq!(read(&own()), Err(PidFileError::NotOurs(sleeper.pid())));
    fs::write(&file, "1\n").unwrap();
    assert_eq!(read(&[sleeper.pid()]), Err(PidFileError::NotOurs(1)));
}

#[test]
fn odd_pid_files_are_refused() {
    for bad in ["0", "-1", "1 2", "abc", "2147483648", "1;rm", "\u{661}", "\x1b[2J"] {
        assert!(matches!(pid_file_number(bad.as_bytes()), Err(PidFileError::Malformed(_))), "{bad}");
    }
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let sleeper = Sleeper::new();
    assert!(matches!(read_pid_file(sleeper.pid(), &fifo, &[]), Err(PidFileError::Malformed(_))));
    assert!(matches!(read_pid_file(sleeper.pid(), directory.path(), &[]), Err(PidFileError::Malformed(_))));
    let magic = format!("/proc/{}/fd/0", sleeper.pid());
    assert!(matches!(read_pid_file(sleeper.pid(), Path::new(&magic), &[]), Err(PidFileError::Unreadable(_))));
}

#[test]
fn numbers_inside_a_pid_namespace_are_translated() {
    if !rustix::process::geteuid().is_root() {
        skipped!("a pid namespace needs root");
        return;
    }
    // unshare stays outside, its child is PID 1 inside.
    let mut outer = Command::new("unshare").args(["-fp", "--kill-child", "sleep", "100"]).spawn().unwrap();
    let children = format!("/proc/{0}/task/{0}/children", outer.id());
    let init = (0..200)
        .find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            let pid: i32 = fs::read_to_string(&children).ok()?.trim().parse().ok()?;
            (namespace_pids(pid)?.len() == namespace_pids(own()[0])?.len() + 1).then_some(pid)
        })
        .expect("unshare makes a child");
    assert_eq!(inner_to_host(init, 1, &[own()[0], init]), Some(ServiceProcess { pid: init, inner: 1 }));
    assert_eq!(inner_to_host(init, init, &[init]), None);
    assert_eq!(inner_to_host(init, 1, &own()), None);
    outer.kill().unwrap();
    outer.wait().unwrap();
}

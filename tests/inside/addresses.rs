//! `network.ip_allow` and `network.ip_deny`, asked with packets: what leaves, what arrives, and for how long.

use crate::instance::{Instance, eventually, skipped};
use crate::lab::Lab;
use crate::probe::peers::{begin, is_connected};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Can this host judge packets? Else a unit that asks for it is refused, which is tested without a host.
pub fn can_judge() -> bool {
    let found = Instance::prepared().has_feature("packet-programs");
    let tree = std::fs::read_to_string("/proc/mounts").is_ok_and(|mounts| mounts.contains(" cgroup2 "));
    if !(found && tree) {
        skipped("the kernel takes no programs for packets and ports here, or there is no cgroup v2 tree");
    }
    found && tree
}

/// Somebody outside who listens on two addresses, and on one of IPv6 where there is IPv6.
struct Peers {
    _streams: Vec<TcpListener>,
    words: Vec<String>,
}

const FIRST: &str = "127.0.0.1";
const SECOND: &str = "127.0.0.2";
const SIX: &str = "[::1]";

impl Peers {
    fn new() -> Peers {
        let (mut streams, mut words) = (Vec::new(), Vec::new());
        for host in [FIRST, SECOND, SIX] {
            let Ok(stream) = TcpListener::bind(format!("{host}:0")) else { continue };
            let port = stream.local_addr().expect("address").port();
            words.extend([
                format!("dial:{host}:{port}"),
                format!("silent:{host}:{port}"),
                format!("udp:{host}:{port}"),
            ]);
            streams.push(stream);
        }
        Peers { _streams: streams, words }
    }

    fn word(&self, verb: &str, host: &str) -> Option<&str> {
        self.words.iter().find(|word| word.starts_with(&format!("{verb}:{host}:"))).map(String::as_str)
    }

    /// Looks from inside: those `open` are reached, those `closed` are not.
    #[track_caller]
    fn look(&self, lab: &Lab, name: &str, keys: &str, open: &[&str], closed: &[&str]) {
        let mut wanted = Vec::new();
        for host in open {
            wanted.extend(self.word("dial", host).map(|word| (word, "ok")));
            wanted.extend(self.word("udp", host).map(|word| (word, "ok")));
        }
        for host in closed {
            wanted.extend(self.word("silent", host).map(|word| (word, "silence")));
            wanted.extend(self.word("udp", host).map(|word| (word, "EPERM")));
        }
        let words: Vec<&str> = wanted.iter().map(|(word, _)| *word).collect();
        lab.look(name, &format!("[network]\n{keys}\n"), &words).expect(&wanted);
    }
}

#[test]
fn packets_leave_only_for_peers_that_are_not_denied_and_what_is_allowed_wins() {
    let Some(lab) = Lab::new() else { return };
    if !can_judge() {
        return;
    }
    let peers = Peers::new();
    peers.look(&lab, "without", "", &[FIRST, SECOND, SIX], &[]);
    peers.look(&lab, "any", "ip_deny = [\"any\"]", &[], &[FIRST, SECOND, SIX]);
    peers.look(&lab, "one", "ip_deny = [\"127.0.0.2\"]", &[FIRST, SIX], &[SECOND]);
    peers.look(&lab, "six", "ip_deny = [\"::/0\"]", &[FIRST, SECOND], &[SIX]);
    let but_one = "ip_deny = [\"any\"]\nip_allow = [\"127.0.0.1\"]";
    peers.look(&lab, "but-one", but_one, &[FIRST], &[SECOND, SIX]);
    let allowed_wins = "ip_deny = [\"127.0.0.2\", \"::1\"]\nip_allow = [\"localhost\"]";
    peers.look(&lab, "allowed-wins", allowed_wins, &[FIRST, SECOND, SIX], &[]);
    let many: Vec<String> = (0..200).map(|n| format!("10.0.{n}.1")).collect();
    let many = format!("ip_deny = {:?}\nip_allow = [\"::1\"]", [&many[..], &["127.0.0.2".to_owned()]].concat());
    peers.look(&lab, "many", &many, &[FIRST, SIX], &[SECOND]);
}

#[test]
fn a_network_of_its_own_and_groups_inside_are_judged_alike() {
    let Some(lab) = Lab::new() else { return };
    if !can_judge() {
        return;
    }
    let words = ["udp:127.0.0.1:9", "udp:127.0.0.2:9"];
    let keys = "[network]\nmode = \"loopback\"\nip_deny = [\"127.0.0.2\"]\n";
    lab.look("own-network", keys, &words).expect(&[(words[0], "ok"), (words[1], "EPERM")]);

    // A group that the service makes in its own, as root with everything that this takes.
    let Some(mount) = unified() else { return skipped("no cgroup v2 tree is mounted where a unit sees it") };
    let probe = format!("{}/probe", lab.path());
    // By its whole name: what is mounted inside is the host's view.
    let script = format!(
        "own={mount}$(grep ^0:: /proc/self/cgroup | cut -d: -f3) && mkdir $own/inner && echo 0 >$own/inner/cgroup.procs && \
         grep ^0:: /proc/self/cgroup && exec {probe} probe {} {}",
        words[0], words[1]
    );
    let exec = format!("exec = [\"/bin/sh\", \"-c\", \"{script}\"]\n");
    let body = "[network]\nip_deny = [\"127.0.0.2\"]\n[namespaces]\ncgroup = \"host\"\n[security]\nprotect_control_groups = \
                false\n[filesystem]\n\
                protect_system = \"off\"\n";
    lab.unit_of("inner", &exec, body);
    lab.instance.rsvc(&["start", "inner"]).expect(0);
    lab.seen("inner").expect(&[(words[0], "ok"), (words[1], "EPERM")]);
    assert!(lab.instance.log("inner").contains("/inner\n"), "{}", lab.instance.log("inner"));
}

/// Where the v2 tree is mounted.
fn unified() -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/mounts").ok()?;
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
    line.split(' ').nth(1).filter(|path| Path::new(path).starts_with("/sys/fs/cgroup")).map(str::to_owned)
}

/// A service that listens.
struct Listening<'l> {
    lab: &'l Lab,
    ports: (u16, u16),
}

impl Listening<'_> {
    fn unit(lab: &Lab, deny: &str) {
        let exec = lab.exec(&["listen:127.0.0.1:0", "hear", "hold"]);
        let text = format!(
            "[service]\ntype = \"exec\"\n{exec}[network]\nip_deny = [{deny}]\n[restart]\npolicy = \"no\"\n[logging]\n\
             target = \"file\"\n"
        );
        lab.instance.unit("listener", &text);
    }

    /// Of the run that was begun last.
    fn now(lab: &Lab, run: usize) -> Listening<'_> {
        let answer = eventually("the service listens", || {
            let log = lab.instance.log("listener");
            let answers: Vec<String> = log
                .lines()
                .filter_map(|line| Some(line.split_once("@@listen:")?.1.split_once('\t')?.1.to_owned()))
                .collect();
            answers.get(run).cloned()
        });
        let ports: Vec<u16> = answer.split(' ').map(|port| port.parse().expect("a number")).collect();
        Listening { lab, ports: (ports[0], ports[1]) }
    }

    fn call_from(&self, last: u8) -> OwnedFd {
        let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
        begin(Some(from), SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.0))).expect("a call can be begun")
    }

    /// Who calls from `open` gets through, and who from `closed` does not, though called before.
    #[track_caller]
    fn expect(&self, open: &[u8], closed: &[u8]) {
        let waiting: Vec<OwnedFd> = closed.iter().map(|last| self.call_from(*last)).collect();
        for last in open {
            let socket = self.call_from(*last);
            eventually("the connection", || is_connected(&socket).then_some(()));
        }
        assert!(waiting.iter().all(|socket| !is_connected(socket)), "a call from a denied address got through");
    }

    fn send_from(&self, last: u8, text: &str) {
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, last), 0)).expect("socket");
        socket.send_to(text.as_bytes(), (Ipv4Addr::LOCALHOST, self.ports.1)).expect("sent");
    }

    fn pid(&self) -> i32 {
        self.lab.instance.main_process("listener").pid
    }
}

#[test]
fn a_listener_is_not_reached_from_denied_addresses_whatever_becomes_of_the_daemon() {
    let Some(mut lab) = Lab::new() else { return };
    if !can_judge() {
        return;
    }
    Listening::unit(&lab, "\"127.0.0.2\"");
    lab.instance.rsvc(&["start", "listener"]).expect(0);
    let before = {
        let service = Listening::now(&lab, 0);
        service.expect(&[1, 3], &[2]);
        service.send_from(2, "denied");
        service.send_from(3, "allowed");
        lab.instance.wait_for_log("listener", "@@hear\tallowed");
        service.pid()
    };
    lab.instance.kill_daemon();
    Listening::now(&lab, 0).expect(&[1, 3], &[2]);
    lab.instance.start_daemon();
    let service = Listening::now(&lab, 0);
    assert_eq!(service.pid(), before, "it was taken over");
    service.expect(&[1, 3], &[2]);

    // Another list, and none, at the next restart.
    Listening::unit(&lab, "\"127.0.0.3\"");
    lab.instance.rsvc(&["restart", "listener"]).expect(0);
    Listening::now(&lab, 1).expect(&[1, 2], &[3]);
    Listening::unit(&lab, "");
    lab.instance.rsvc(&["restart", "listener"]).expect(0);
    Listening::now(&lab, 2).expect(&[1, 2, 3], &[]);
}

#[test]
fn the_plan_names_what_is_denied() {
    let Some(lab) = Lab::new() else { return };
    if !can_judge() {
        return;
    }
    lab.unit("planned", "[network]\nip_deny = [\"any\"]\nip_allow = [\"localhost\", \"10.0.0.0/8\"]\n", &["pid"]);
    let plan = lab.instance.rsvc(&["plan", "planned"]).expect(0);
    assert!(plan.out.contains("addresses: deny 0.0.0.0/0, ::/0 but 127.0.0.0/8, ::1, 10.0.0.0/8"), "{}", plan.out);
}

//! `[namespaces]` but the user namespace, and `[network]`.

use crate::lab::{Lab, host_namespace};
use std::process::{Child, Command, Stdio};

const KINDS: [&str; 7] = ["mnt", "pid", "ipc", "uts", "cgroup", "net", "time"];

/// The word of a unit file.
fn key(kind: &str) -> &str {
    if kind == "mnt" { "mount" } else { kind }
}

/// A process that holds namespaces open; ended with the test.
struct Holder(Child);

impl Holder {
    /// `unshare ARGUMENTS sleep`; the namespaces are those of its main process or, with a fork, of its child.
    fn new(arguments: &[&str]) -> Holder {
        let mut command = Command::new("unshare");
        command.args(arguments).args(["sh", "-c", "echo ready; exec sleep 1000"]).stdout(Stdio::piped());
        let mut child = command.spawn().expect("unshare");
        let mut ready = [0; 5];
        std::io::Read::read_exact(child.stdout.as_mut().expect("pipe"), &mut ready).expect("it runs");
        Holder(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn child(&self) -> u32 {
        let children = format!("/proc/{0}/task/{0}/children", self.pid());
        std::fs::read_to_string(children).expect("children").trim().parse().expect("one child")
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if let Some(pid) = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid()))
            .ok()
            .and_then(|text| rustix::process::Pid::from_raw(text.trim().parse().ok()?))
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn questions() -> Vec<String> {
    KINDS.iter().map(|kind| format!("link:/proc/self/ns/{kind}")).collect()
}

#[test]
fn each_namespace_can_be_the_hosts_or_private() {
    let Some(lab) = Lab::new() else { return };
    let questions = questions();
    let words: Vec<&str> = questions.iter().map(String::as_str).collect();
    let mut host = "[namespaces]\n".to_owned();
    for kind in KINDS.iter().filter(|kind| !["net", "mnt"].contains(*kind)) {
        host.push_str(&format!("{} = \"host\"\n", key(kind)));
    }
    let seen = lab.look("host", &host, &words);
    for (kind, question) in KINDS.iter().zip(&words) {
        assert_eq!(seen[question] == host_namespace(kind), *kind != "mnt", "{kind}: {seen:?}");
    }
    let private = "[namespaces]\ntime = \"private\"\n[network]\nmode = \"loopback\"\n";
    let seen = lab.look("private", private, &words);
    for (kind, question) in KINDS.iter().zip(&words) {
        assert_ne!(seen[question], host_namespace(kind), "{kind}");
    }
    // One kind at a time: no other changes with it.
    for kind in ["pid", "ipc", "uts", "cgroup"] {
        let seen = lab.look(&format!("only-{kind}"), &format!("[namespaces]\n{kind} = \"host\"\n"), &words);
        for (other, question) in KINDS.iter().zip(&words) {
            let of_the_host = *other == kind || ["net", "time"].contains(other);
            assert_eq!(seen[question] == host_namespace(other), of_the_host, "{kind} = host: {other}");
        }
    }
}

#[test]
fn the_hosts_mount_namespace_is_shared_when_nothing_asks_for_more() {
    let Some(lab) = Lab::new() else { return };
    let seen = lab.look(
        "mounts",
        "[namespaces]\nmount = \"host\"\n",
        &["link:/proc/self/ns/mnt", "create:/tmp", "status:Seccomp", "pid"],
    );
    assert_eq!(seen["link:/proc/self/ns/mnt"], host_namespace("mnt"));
    seen.expect(&[("status:Seccomp", "2")]);
}

#[test]
fn an_existing_namespace_is_joined_by_its_file() {
    let Some(lab) = Lab::new() else { return };
    let holder = Holder::new(&["-n", "-i", "-u", "-C", "-m"]);
    let link = |pid: u32, kind: &str| {
        std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("namespace").display().to_string()
    };
    let pid = holder.pid();
    for kind in ["ipc", "uts", "cgroup"] {
        let body = format!("[namespaces]\n{kind} = \"path:/proc/{pid}/ns/{kind}\"\n");
        let question = format!("link:/proc/self/ns/{kind}");
        let seen = lab.look(&format!("join-{kind}"), &body, &[&question, "create:/usr", "status:Seccomp"]);
        seen.expect(&[(&question, &link(pid, kind)), ("create:/usr", "EROFS"), ("status:Seccomp", "2")]);
    }
    let body = format!("[network]\nmode = \"path:/proc/{pid}/ns/net\"\n");
    let seen = lab.look("join-net", &body, &["link:/proc/self/ns/net", "list:/sys/class/net"]);
    seen.expect(&[("link:/proc/self/ns/net", &link(pid, "net")), ("list:/sys/class/net", "lo")]);
    let body = format!("[namespaces]\nmount = \"path:/proc/{pid}/ns/mnt\"\n");
    lab.look("join-mount", &body, &["link:/proc/self/ns/mnt"]).expect(&[("link:/proc/self/ns/mnt", &link(pid, "mnt"))]);
    let forked = Holder::new(&["-f", "-p"]);
    let body = format!("[namespaces]\npid = \"path:/proc/{}/ns/pid\"\n", forked.child());
    let seen = lab.look("join-pid", &body, &["link:/proc/self/ns/pid", "read:/proc/1/comm", "pid"]);
    seen.expect(&[("link:/proc/self/ns/pid", &link(forked.child(), "pid")), ("read:/proc/1/comm", "sleep")]);
    for (table, key) in [("namespaces", "ipc"), ("network", "mode")] {
        let body = format!("[{table}]\n{key} = \"path:/nonexistent/ns\"\n");
        lab.refused("nofile", &body, &["/nonexistent/ns", "ENOENT", "nofile.toml:5"]);
    }
    // A file that is a namespace of another kind.
    let body = format!("[network]\nmode = \"path:/proc/{pid}/ns/uts\"\n");
    lab.refused("otherkind", &body, &["NETWORK", "otherkind.toml:5"]);
}

#[test]
fn the_host_name_is_the_units_and_cannot_be_changed() {
    let Some(lab) = Lab::new() else { return };
    let before = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("host name");
    let seen = lab.look("named", "[namespaces]\nhostname = \"inside\"\n", &["host", "call:sethostname", "sh:uname -n"]);
    seen.expect(&[("host", "inside"), ("call:sethostname", "EPERM"), ("sh:uname -n", "inside")]);
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/hostname").expect("host name"), before);
    lab.look("unnamed", "", &["host"]).expect(&[("host", before.trim())]);
}

#[test]
fn without_init_the_service_is_pid_1_and_with_it_pid_2() {
    let Some(lab) = Lab::new() else { return };
    lab.look("alone", "[namespaces]\ninit = false\n", &["pid", "status:Seccomp", "create:/usr"]).expect(&[
        ("pid", "1"),
        ("status:Seccomp", "2"),
        ("create:/usr", "EROFS"),
    ]);
    let seen = lab.look(
        "with",
        "",
        &["pid", "sh:sleep 0 & wait; echo $PPID", "read:/proc/1/status", "call:kill:1:9", "open:/proc/1/comm"],
    );
    // The kernel keeps signals from pid 1, and Landlock says so.
    let scoped = rsvc::sys::probe::landlock_abi().is_some_and(|abi| abi >= 6);
    let killed = if scoped { "EPERM" } else { "ok" };
    seen.expect(&[("pid", "2"), ("call:kill:1:9", killed), ("open:/proc/1/comm", "ok")]);
    // It keeps CAP_KILL and nothing else.
    let status = &seen["read:/proc/1/status"];
    assert!(status.contains("CapEff:\t0000000000000020") && status.contains("CapPrm:\t0000000000000020"), "{status}");
}

#[test]
fn a_loopback_network_has_only_lo_and_that_works() {
    let Some(lab) = Lab::new() else { return };
    let words = ["list:/sys/class/net", "read:/sys/class/net/lo/flags", "bind:80", "bind:8080", "read:/proc/net/dev"];
    let seen = lab.look("lo", "[network]\nmode = \"loopback\"\n", &words);
    seen.expect(&[
        ("list:/sys/class/net", "lo"),
        ("read:/sys/class/net/lo/flags", "0x9"),
        ("bind:80", "ok"),
        ("bind:8080", "ok"),
    ]);
}

#[test]
fn only_listed_address_families_have_sockets() {
    let Some(lab) = Lab::new() else { return };
    // AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_VSOCK
    let words = ["socket:1:1", "socket:2:1", "socket:10:1", "socket:16:3", "socket:17:3", "socket:40:1"];
    let look = |name: &str, families: &str| {
        let seen = lab.look(name, &format!("[network]\naddress_families = {families}\n"), &words);
        words.map(|word| seen[word].to_owned())
    };
    const NO: &str = "EAFNOSUPPORT";
    assert_eq!(look("unix", "[\"AF_UNIX\"]"), ["ok", NO, NO, NO, NO, NO]);
    assert_eq!(look("none", "[]"), [NO; 6]);
    assert_eq!(look("inet", "[\"AF_INET\", \"AF_NETLINK\"]")[..4], [NO, "ok", NO, "ok"]);
    let all = look("all", "[\"all\"]");
    assert_eq!(all[0], "ok");
    assert_eq!(all[4], "EPERM", "of a family that is let in the kernel asks for CAP_NET_RAW");
}

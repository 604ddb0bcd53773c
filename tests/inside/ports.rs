//! Ports of UDP in `network.bind_allow`, asked by binding them inside. Those of TCP are in `landlock.rs`.

use crate::addresses::can_judge;
use crate::instance::{eventually, skipped};
use crate::lab::Lab;
use std::net::UdpSocket;

/// Where the lists are tried: an address, and what stands before the port.
const FAMILIES: [&str; 3] = ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"];

/// UDP-Lite is a protocol of its own, and not in every kernel.
fn has_lite() -> bool {
    use rustix::net::{AddressFamily, SocketType, ipproto::UDPLITE, socket};
    socket(AddressFamily::INET, SocketType::DGRAM, Some(UDPLITE)).is_ok()
}

/// Families of this host, with `lite/` where there is UDP-Lite.
fn places() -> Vec<String> {
    let has_six = UdpSocket::bind("[::1]:0").is_ok();
    let families = FAMILIES.into_iter().filter(|family| has_six || !family.starts_with('['));
    let lite: &[&str] = if has_lite() { &["", "lite/"] } else { &[""] };
    families.flat_map(|family| lite.iter().map(move |lite| format!("{lite}{family}"))).collect()
}

/// Binds each port at every place.
#[track_caller]
fn look(lab: &Lab, name: &str, body: &str, wanted: &[(u16, &str)]) {
    let words: Vec<(String, &str)> = places()
        .iter()
        .flat_map(|place| wanted.iter().map(move |(port, answer)| (format!("bind-udp:{place}:{port}"), *answer)))
        .collect();
    let words: Vec<(&str, &str)> = words.iter().map(|(word, answer)| (word.as_str(), *answer)).collect();
    let asked: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    lab.look(name, body, &asked).expect(&words);
}

const LOOPBACK: &str = "[network]\nmode = \"loopback\"\n";

#[test]
fn only_listed_ports_are_bound_by_udp_whatever_the_family() {
    let Some(lab) = Lab::new() else { return };
    if !can_judge() || rsvc::sys::probe::landlock_abi().is_none_or(|abi| abi < 4) {
        return skipped("needs programs for ports, and Landlock 4 for TCP");
    }
    let body = |list: &str| format!("{LOOPBACK}bind_allow = [{list}]\n");
    let listed = "\"udp:8000-8002\", \"udp:9000\", \"tcp:7000\"";
    let answers =
        [(7999, "EPERM"), (8000, "ok"), (8002, "ok"), (8003, "EPERM"), (9000, "ok"), (7000, "EPERM"), (0, "EPERM")];
    look(&lab, "listed", &body(listed), &answers);
    // Without anything else that could close it.
    let bare = "[security]\nlandlock = false\n[syscalls]\nmode = \"off\"\n";
    look(&lab, "alone", &format!("{}{bare}", body(listed)), &answers);
    look(&lab, "any", &body("\"udp:0\""), &[(0, "ok"), (8000, "EPERM")]);
    look(&lab, "tcp-only", &body("\"tcp:80\""), &[(0, "ok"), (8000, "ok")]);
    look(&lab, "free", LOOPBACK, &[(0, "ok"), (8000, "ok")]);

    let words = ["bind:7000", "bind:8000", "bind:0", "unbound-udp:127.0.0.1:9", "bind-udp:127.0.0.1:0"];
    lab.look("others", &body(listed), &words).expect(&[
        (words[0], "ok"),
        (words[1], "EACCES"),
        (words[2], "EACCES"),
        (words[3], "ok"),
        (words[4], "EPERM"),
    ]);
}

#[test]
fn the_list_holds_without_the_daemon_under_the_next_one_and_for_commands_and_goes_with_the_key() {
    let Some(mut lab) = Lab::new() else { return };
    if !can_judge() || rsvc::sys::probe::landlock_abi().is_none_or(|abi| abi < 4) {
        return skipped("needs programs for ports, and Landlock 4 for TCP");
    }
    let words = ["bind-udp:127.0.0.1:8000", "bind-udp:127.0.0.1:8001", "bind-udp:[::ffff:127.0.0.1]:8001"];
    let probe = format!("{}/probe", lab.path());
    let again = format!("{}/again", lab.path());
    // Asks once it is told to, and answers in a file: logs wait for a daemon.
    let script = format!(
        "echo ready; while [ ! -e {again} ]; do sleep 0.1; done; {probe} probe {} > {again}.part; mv {again}.part \
         {again}.said; sleep 600",
        words.join(" ")
    );
    let text = |list: &str| {
        format!(
            "[service]\nexec = [\"/bin/sh\", \"-c\", {script:?}]\n[logging]\ntarget = \"file\"\n[restart]\npolicy = \
             \"no\"\n{LOOPBACK}{list}"
        )
    };
    lab.instance.unit("kept", &text("bind_allow = [\"udp:8000\"]\n"));
    lab.instance.rsvc(&["start", "kept"]).expect(0);
    lab.instance.wait_for_log("kept", "ready");
    let pid = lab.instance.main_process("kept").pid;
    lab.instance.kill_daemon();
    std::fs::write(&again, "").expect("file");
    let closed = [(words[0], "ok"), (words[1], "EPERM"), (words[2], "EPERM")];
    let said = eventually("the service asked", || std::fs::read_to_string(format!("{again}.said")).ok());
    Lab::answers(&said).expect(&closed);

    lab.instance.start_daemon();
    assert_eq!(lab.instance.main_process("kept").pid, pid, "it was taken over");
    let exec = |lab: &Lab| {
        let command = [&["exec", "kept", "--", &probe, "probe"][..], &words].concat();
        lab.instance.rsvc(&command).expect(0).out
    };
    Lab::answers(&exec(&lab)).expect(&closed);
    let plan = lab.instance.rsvc(&["plan", "kept"]).expect(0);
    assert!(plan.out.contains("udp: bind 8000"), "{}", plan.out);
    let verified = lab.instance.rsvc(&["verify", "kept", "--json"]).expect(0);
    for door in ["\"bind-udp\"", "\"bind-tcp\""] {
        let line = verified.out.lines().find(|line| line.contains(door)).expect("the door is known");
        assert!(line.contains("\"closed\"") && line.contains("network.bind_allow"), "{line}");
    }

    // The group stays over a restart, and the list does not.
    lab.instance.unit("kept", &text(""));
    lab.instance.rsvc(&["restart", "kept"]).expect(0);
    Lab::answers(&exec(&lab)).expect(&[(words[0], "ok"), (words[1], "ok"), (words[2], "ok")]);
}

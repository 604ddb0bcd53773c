//! Section C: users, groups, capabilities and what files could give.

use crate::instance::process::Process;
use crate::instance::{Instance, eventually};
use crate::lab::Lab;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const NOBODY: &str = "user = \"nobody\"\n";
const OPEN: &str = "[security]\nprofile = \"host\"\n";

/// A copy of the probe whose file gives something.
fn copy(lab: &Lab, name: &str) -> std::path::PathBuf {
    let directory = Path::new(&lab.path()).join(name);
    lab.probe_into(&directory);
    directory.join("probe")
}

fn exec(program: &Path, words: &[&str]) -> String {
    let program = program.to_str().expect("a plain path");
    let words: Vec<&str> = [program, "probe"].into_iter().chain(words.iter().copied()).collect();
    format!("exec = {words:?}\n")
}

/// Row 40.
#[test]
fn a_program_with_the_set_user_id_bit_makes_nobody_root() {
    let Some(lab) = Lab::new() else { return };
    let program = copy(&lab, "setuid");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o6755)).expect("mode");
    let look = |name: &str, more: &str| {
        lab.unit_of(name, &exec(&program, &["status:Uid", "status:Gid"]), &format!("{NOBODY}{more}"));
        lab.instance.rsvc(&["start", name]).expect(0);
        lab.seen(name)
    };
    let seen = look("closed", "");
    assert_eq!(&seen["status:Uid"], "65534\t65534\t65534\t65534");
    assert!(seen["status:Gid"].split('\t').all(|id| id != "0"), "{seen:?}");
    // Without a sandbox the bit has its effect: the test can fail.
    assert_eq!(&look("open", OPEN)["status:Uid"], "65534\t0\t0\t0");
}

/// Row 31: files with permitted or inheritable capabilities.
#[test]
fn a_program_with_capabilities_gives_nobody_any() {
    let Some(lab) = Lab::new() else { return };
    // `struct vfs_cap_data`, revision 2 with the effective bit: permitted and inheritable CAP_NET_RAW and CAP_KILL.
    const MASK: u32 = 1 << 13 | 1 << 5;
    let mut value = 0x0200_0001_u32.to_le_bytes().to_vec();
    for word in [MASK, MASK, 0, 0] {
        value.extend(word.to_le_bytes());
    }
    let program = copy(&lab, "capable");
    if rustix::fs::setxattr(&program, "security.capability", &value, rustix::fs::XattrFlags::empty()).is_err() {
        return skipped!("this file system has no capabilities of files");
    }
    let look = |name: &str, more: &str| {
        lab.unit_of(
            name,
            &exec(&program, &["status:CapEff", "status:CapPrm", "status:CapInh"]),
            &format!("{NOBODY}{more}"),
        );
        lab.instance.rsvc(&["start", name]).expect(0);
        lab.seen(name)
    };
    let none = "0000000000000000";
    for (name, more) in [("closed", ""), ("bounded", "[capabilities]\nbounding = [\"CAP_NET_RAW\", \"CAP_KILL\"]\n")] {
        let seen = look(name, more);
        seen.expect(&[("status:CapEff", none), ("status:CapPrm", none), ("status:CapInh", none)]);
    }
    assert_eq!(&look("open", OPEN)["status:CapEff"], format!("{MASK:016x}").as_str());
}

/// Row 37: no file is left behind that makes others somebody else.
#[test]
fn no_file_gets_a_set_id_bit() {
    let Some(lab) = Lab::new() else { return };
    let words = [
        "chmod:/tmp/a:4755",
        "chmod:/tmp/b:2755",
        "chmod:/tmp/c:6711",
        "chmod:/tmp/d:0755",
        "call:openat2:-100:0:0:24",
    ];
    let seen = lab.look("closed", "", &words);
    for word in &words[..3] {
        assert_eq!(&seen[*word], "EPERM", "{word}");
    }
    assert_eq!(&seen[words[3]], "ok");
    assert_eq!(&seen[words[4]], "ENOSYS", "whose mode no filter can see");
    let place = format!("{}/left", lab.path());
    let word = format!("chmod:{place}:4755");
    assert_eq!(&lab.look("open", OPEN, &[&word])[word.as_str()], "ok");
}

/// Row 38: a number in a file of the service's is no reason to end a stranger.
#[test]
fn a_pid_file_that_names_a_stranger_ends_nobody() {
    root_only!();
    let instance = Instance::start();
    let mut stranger = std::process::Command::new("/bin/sleep").arg("1000").spawn().expect("it runs");
    let pid = i32::try_from(stranger.id()).expect("a pid");
    let known = Process::with_pid(pid).expect("it runs");
    for written in [
        pid.to_string(),
        "1".to_owned(),
        format!("-{pid}"),
        "0".to_owned(),
        format!("{}", instance.daemon_pid()),
        "99999999999".to_owned(),
        "x".to_owned(),
    ] {
        let script = format!("echo {written} >/run/liar/pid; sleep 1000 & exit 0");
        instance.unit(
            "liar",
            &format!(
                "[service]\ntype = \"forking\"\npid_file = \"/run/liar/pid\"\nexec = [\"/bin/sh\", \"-c\", '''{script}''']\n\
                 timeout_start = \"2s\"\ntimeout_stop = \"300ms\"\n[restart]\npolicy = \"no\"\n[directories]\nruntime = [\"liar\"]\n\
                 [namespaces]\npid = \"host\"\n"
            ),
        );
        instance.rsvc(&["start", "liar"]);
        assert_ne!(instance.status("liar")["main_pid"], serde_json::json!(pid), "{written}");
        instance.rsvc(&["kill", "liar"]);
        instance.rsvc(&["stop", "liar"]);
        assert!(known.is_alive(), "a pid file with {written} ended a stranger");
        instance.rsvc(&["list"]).expect(0);
    }
    stranger.kill().expect("it runs");
    stranger.wait().expect("reaped");
}

/// Row 64: services of the same user do not get at each other.
#[test]
fn services_of_one_user_cannot_signal_or_trace_each_other() {
    root_only!();
    let instance = Instance::start();
    let service = format!("[service]\nexec = [\"/bin/sleep\", \"1000\"]\n{NOBODY}timeout_stop = \"300ms\"\n");
    for (name, more) in [("victim", ""), ("closed", ""), ("open", OPEN)] {
        instance.unit(name, &format!("{service}{more}"));
        instance.rsvc(&["start", name]).expect(0);
    }
    let victim = instance.main_process("victim").pid;
    let attempt = format!("kill -0 {victim}; echo kill $?; head -c1 /proc/{victim}/environ >/dev/null; echo read $?");
    let attempt = ["/bin/sh", "-c", &attempt];
    let said = |unit: &str| {
        let words: Vec<&str> = ["exec", unit, "--"].into_iter().chain(attempt).collect();
        instance.rsvc(&words).out
    };
    assert_eq!(said("closed"), "kill 1\nread 1\n");
    assert_eq!(said("open"), "kill 0\nread 0\n");
    eventually("it runs on", || (instance.status("victim")["state"] == "active").then_some(()));
}

/// Row 33 and 32.
#[test]
fn groups_of_the_daemon_are_not_the_services() {
    root_only!();
    let mut instance = Instance::prepared();
    let Ok(setpriv) = std::process::Command::new("setpriv").arg("--version").output() else {
        return skipped!("no setpriv(1)");
    };
    assert!(setpriv.status.success());
    instance.wrap_daemon(&["setpriv", "--groups", "0,4,6,24,27,42"]);
    instance.start_daemon();
    instance.unit("web", &format!("[service]\nexec = [\"/bin/sleep\", \"1000\"]\n{NOBODY}"));
    instance.unit("root", "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n");
    for (unit, forbidden) in [("web", ["0", "4", "6", "24", "27", "42"]), ("root", ["4", "6", "24", "27", "42", "42"])]
    {
        instance.rsvc(&["start", unit]).expect(0);
        let main = instance.main_process(unit).pid;
        let status = fs::read_to_string(format!("/proc/{main}/status")).expect("it runs");
        let groups = status.lines().find_map(|line| line.strip_prefix("Groups:")).expect("a line");
        assert!(!groups.split_whitespace().any(|group| forbidden.contains(&group)), "{unit}: {groups}");
    }
    let daemon = fs::read_to_string(format!("/proc/{}/status", instance.daemon_pid())).expect("it runs");
    assert!(daemon.contains("Groups:\t0 4 6 24 27 42"), "the daemon had none, so nothing is shown: {daemon}");
}

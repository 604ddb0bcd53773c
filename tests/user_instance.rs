//! `rsvc daemon --user`: an ordinary user's own instance, with its directories where such things are, and whatever the
//! kernel gives such a user. Where no control group can be made a daemon that dies must lose nothing all the same.

#[macro_use]
mod instance;

use instance::home::{Home, NOBODY};
use instance::{RSVC, Said, eventually, skipped};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

#[test]
fn a_service_of_an_ordinary_user_outlives_the_daemon_and_is_stopped_whole() {
    let Some(mut home) = Home::new() else { return };
    // The trap takes the background process along only if that is signalled too.
    let script =
        "touch $STATE_DIRECTORY/made; sleep 1000 & echo up; trap 'echo TERM; exit 0' TERM; while :; do wait; done";
    home.unit(
        "web",
        &format!("[service]\nexec = [\"/bin/sh\", \"-c\", '''{script}''']\n[directories]\nstate = [\"web\"]\n"),
    );
    home.rsvc(&["start", "web"]).expect(0);
    let before = home.main_process("web");
    eventually("the trap is set", || home.rsvc(&["logs", "web"]).out.contains("up").then_some(()));
    assert!(home.path(".local/state/rsvc/directories/state/web/made").exists());

    home.kill_daemon();
    assert!(before.is_alive());
    home.start_daemon();
    assert_eq!(home.main_process("web"), before, "taken over, not started again");
    let said = home.rsvc(&["exec", "web", "--", "cat", "/proc/self/status"]).expect(0);
    assert!(said.out.contains("NoNewPrivs:\t1"), "{}", said.out);

    home.rsvc(&["stop", "web"]).expect(0);
    assert!(!before.is_alive());
    assert!(home.rsvc(&["logs", "web"]).out.contains("TERM"));
    assert_eq!(home.status("web")["result"], "success", "{:#}", home.status("web"));
}

#[test]
fn what_ended_while_no_daemon_ran_is_known_and_started_again() {
    let Some(mut home) = Home::new() else { return };
    let script = "until [ -e $STATE_DIRECTORY/go ]; do sleep 0.01; done; exit 7";
    let text = format!("[service]\nexec = [\"/bin/sh\", \"-c\", '''{script}''']\n[directories]\nstate = [\"job\"]\n");
    home.unit("job", &format!("{text}[restart]\npolicy = \"no\"\n"));
    home.unit("again", "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n[restart]\ndelay = \"0\"\n");
    home.rsvc(&["start", "job", "again"]).expect(0);
    let (job, again) = (home.main_process("job"), home.main_process("again"));
    home.kill_daemon();
    fs::write(home.path(".local/state/rsvc/directories/state/job/go"), "").expect("go");
    again.signal(rustix::process::Signal::KILL);
    eventually("both have ended", || (!job.is_alive() && !again.is_alive()).then_some(()));
    home.start_daemon();
    let job = eventually("the status is known", || {
        let status = home.status("job");
        (status["state"] == "failed").then_some(status)
    });
    assert_eq!(job["exit_code"], 7, "{job:#}");
    let restarted = eventually("it is started again", || {
        let status = home.status("again");
        (status["state"] == "active").then_some(status)
    });
    assert_eq!(restarted["restarts"], 1, "{restarted:#}");
}

/// A root file system of programs of the host, for `service.user` of somebody else.
const OWN_ROOT: &str = r#"
[rootfs]
type = "tmpfs"
[[mounts]]
destination = "/usr"
type = "bind"
source = "/usr"
[[mounts]]
destination = "/lib"
type = "bind"
source = "/usr/lib"
[[mounts]]
destination = "/lib64"
type = "bind"
source = "/usr/lib64"
"#;

/// The lines of a user's map, as numbers.
fn maps(text: &str) -> Vec<Vec<u32>> {
    let numbers = |line: &str| line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    text.lines().map(numbers).collect()
}

#[test]
fn another_user_of_subuid_is_mapped_kept_joined_and_stopped_whole() {
    if !["/usr/lib", "/usr/lib64"].iter().all(|path| PathBuf::from(path).is_dir()) {
        return skipped("the host's programs do not stand below /usr alone");
    }
    let Some(mut home) = Home::with_subordinate_ids("nobody:100000:65536") else { return };
    let script = "trap 'echo TERM; exit 0' TERM; sleep 1000 & echo up; while :; do wait; done";
    let exec = format!("exec = [\"/usr/bin/sh\", \"-c\", '''{script}''']");
    home.unit("web", &format!("[service]\n{exec}\nuser = \"33\"\ngroup = \"33\"\n{OWN_ROOT}"));
    home.unit("auto", "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n[namespaces]\nuser = \"auto\"\n");
    home.rsvc(&["start", "web", "auto"]).expect(0);
    let expected = [vec![0, NOBODY, 1], vec![1, 100_000, 65536]];
    for (unit, uid) in [("web", 100_032), ("auto", NOBODY)] {
        let pid = home.main_process(unit).pid;
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).expect("it runs");
        assert_eq!(maps(&read("uid_map")), expected, "{unit}");
        assert_eq!(maps(&read("gid_map")), expected, "{unit}");
        let status = read("status");
        let found =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).expect("a line").trim().to_owned();
        let all = [uid.to_string().as_str(); 4].join("\t");
        assert_eq!((found("Uid:"), found("Gid:")), (all.clone(), all), "{unit}");
        assert_eq!((found("Groups:"), found("CapEff:")), (uid.to_string(), "0000000000000000".to_owned()), "{unit}");
    }
    let before = home.main_process("web");
    eventually("the trap is set", || home.rsvc(&["logs", "web"]).out.contains("up").then_some(()));
    home.kill_daemon();
    assert!(before.is_alive());
    home.start_daemon();
    assert_eq!(home.main_process("web"), before, "taken over, not started again");
    let said = home.rsvc(&["exec", "web", "--", "/usr/bin/id", "-u"]).expect(0);
    assert_eq!(said.out.trim(), "33");
    home.rsvc(&["stop", "web", "auto"]).expect(0);
    assert!(!before.is_alive());
    assert!(home.rsvc(&["logs", "web"]).out.contains("TERM"));
}

#[test]
fn who_has_no_other_ids_is_told_where_they_come_from() {
    let Some(home) = Home::with_subordinate_ids("somebody:100000:65536") else { return };
    home.unit("web", &format!("[service]\nexec = [\"/usr/bin/true\"]\nuser = \"33\"\n{OWN_ROOT}"));
    home.unit("auto", "[service]\nexec = [\"/bin/true\"]\n[namespaces]\nuser = \"auto\"\n");
    for unit in ["web", "auto"] {
        let said = home.rsvc(&["start", unit]);
        assert_ne!(said.code, 0, "{said:?}");
        assert!(said.err.contains("/etc/subuid gives nobody no ids"), "{}", said.err);
        assert!(
            said.err.contains("usermod --add-subuids") && said.err.contains(&format!("{unit}.toml:")),
            "{}",
            said.err
        );
    }
}

#[test]
fn without_a_runtime_directory_it_says_what_is_missing() {
    let mut command = Command::new(RSVC);
    let said: Said =
        command.args(["--instance", "user", "list"]).env_remove("XDG_RUNTIME_DIR").output().expect("rsvc").into();
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("XDG_RUNTIME_DIR") && said.err.contains("hint:"), "{}", said.err);
}

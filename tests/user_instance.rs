//! `rsvc daemon --user`: an ordinary user's own instance, with its directories where such things are, and whatever the
//! kernel gives such a user. Where no control group can be made a daemon that dies must lose nothing all the same.

#[macro_use]
mod instance;

use instance::home::Home;
use instance::{RSVC, Said, eventually};
use std::fs;
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

#[test]
fn without_a_runtime_directory_it_says_what_is_missing() {
    let mut command = Command::new(RSVC);
    let said: Said =
        command.args(["--instance", "user", "list"]).env_remove("XDG_RUNTIME_DIR").output().expect("rsvc").into();
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("XDG_RUNTIME_DIR") && said.err.contains("hint:"), "{}", said.err);
}

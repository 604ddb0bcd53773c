//! The scripts that dpkg and rpm run, among programs that only say that they were called: in which order, and what is never
//! called.

use super::file;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// All that the scripts call. Nothing else is found, so that nothing happens to this machine.
const PROGRAMS: [&str; 9] = [
    "systemctl",
    "systemd-sysusers",
    "systemd-tmpfiles",
    "deb-systemd-invoke",
    "deb-systemd-helper",
    "delgroup",
    "rm",
    "rmdir",
    "ln",
];

/// A host on which nothing is what it says.
struct Host {
    directory: tempfile::TempDir,
}

impl Host {
    /// `upgrade`: how `rsvc daemon upgrade` ends; `systemd`: whether it is the service manager.
    fn new(upgrade: i32, systemd: bool) -> Host {
        let directory = tempfile::tempdir().expect("a directory");
        let host = Host { directory };
        fs::create_dir(host.path("bin")).expect("a directory");
        if systemd {
            fs::create_dir(host.path("systemd")).expect("a directory");
        }
        for program in PROGRAMS {
            host.program(program, 0);
        }
        host.program("rsvc", upgrade);
        host
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn program(&self, name: &str, status: i32) {
        let log = self.path("calls");
        let path = self.path("bin").join(name);
        let text = format!("#!/bin/sh\necho \"{name} $*\" >>'{}'\nexit {status}\n", log.display());
        fs::write(&path, text).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("permissions");
    }

    /// Runs a script; the value is what it called, a line each, but for sysusers and tmpfiles, which all begin with.
    fn run(&self, script: &str, arguments: &[&str]) -> Vec<String> {
        let text = fs::read_to_string(file("packaging").join(script)).expect("a script");
        assert!(!text.contains("/sbin/") && !text.contains("/usr/bin/systemctl"), "{script} names programs by path");
        let text = text.replace("/run/systemd/system", self.path("systemd").to_str().expect("a plain path"));
        let copy = self.path("script");
        fs::write(&copy, text).expect("a script");
        let _ = fs::remove_file(self.path("calls"));
        let mut command = Command::new("/bin/sh");
        command.arg(&copy).args(arguments).env_clear().env("PATH", self.path("bin")).stdin(Stdio::null());
        let output = command.output().expect("sh can be run");
        assert!(output.status.success(), "{script} {arguments:?}: {output:?}");
        calls(&self.path("calls"))
    }
}

fn calls(log: &Path) -> Vec<String> {
    fs::read_to_string(log).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Whether the services would be touched, or the daemon be away.
fn interrupts(calls: &[String]) -> bool {
    calls.iter().any(|call| call.contains("stop") || call.contains("kill") || call.contains("payload"))
}

#[test]
fn an_installation_makes_the_group_before_it_starts_the_daemon() {
    let calls = Host::new(0, true).run("debian/postinst", &["configure", ""]);
    let at =
        |word: &str| calls.iter().position(|call| call.contains(word)).unwrap_or_else(|| panic!("{word}: {calls:?}"));
    assert!(at("systemd-sysusers") < at("start rsvc.service"), "{calls:?}");
    assert!(at("systemd-tmpfiles") < at("start rsvc.service"), "{calls:?}");
    assert!(
        at("deb-systemd-helper") < at("daemon-reload") && at("daemon-reload") < at("start rsvc.service"),
        "{calls:?}"
    );
    assert!(!calls.iter().any(|call| call.contains("daemon upgrade")), "{calls:?}");
}

#[test]
fn an_upgrade_changes_the_program_in_place_and_stops_nothing() {
    for (script, arguments) in [("debian/postinst", ["configure", "0.1.0-1"].as_slice()), ("rpm/post", &["2"])] {
        let calls = Host::new(0, true).run(script, arguments);
        assert_eq!(calls.last().map(String::as_str), Some("rsvc daemon upgrade --program /usr/bin/rsvc"), "{script}");
        assert!(!interrupts(&calls) && !calls.iter().any(|call| call.contains("restart")), "{script}: {calls:?}");
        // Files change before the script of the new package, under dpkg and rpm alike.
        assert!(calls.iter().any(|call| call.contains("daemon-reload")), "{script}: {calls:?}");
    }
    for (script, arguments) in [
        ("debian/prerm", ["upgrade", "0.2.0-1"].as_slice()),
        ("debian/postrm", &["upgrade", "0.2.0-1"]),
        ("rpm/preun", &["1"]),
    ] {
        assert_eq!(Host::new(0, true).run(script, arguments), Vec::<String>::new(), "{script}");
    }
    assert!(!interrupts(&Host::new(0, true).run("rpm/postun", &["1"])));
}

#[test]
fn a_program_that_is_refused_comes_by_a_restart_of_the_daemon_alone() {
    for (script, arguments) in [("debian/postinst", ["configure", "0.1.0-1"].as_slice()), ("rpm/post", &["2"])] {
        let calls = Host::new(1, true).run(script, arguments);
        let last = calls.last().cloned().unwrap_or_default();
        assert!(last.ends_with("try-restart rsvc.service"), "{script}: {calls:?}");
        assert!(!interrupts(&calls), "{script}: {calls:?}");
        // Nobody else restarts it: it goes on as it was.
        let calls = Host::new(1, false).run(script, arguments);
        assert!(calls.last().is_some_and(|call| call.starts_with("rsvc daemon upgrade")), "{script}: {calls:?}");
    }
}

#[test]
fn a_daemon_that_was_stopped_is_not_started_by_an_upgrade() {
    for (script, arguments) in [("debian/postinst", ["configure", "0.1.0-1"].as_slice()), ("rpm/post", &["2"])] {
        let calls = Host::new(150, true).run(script, arguments);
        assert!(calls.last().is_some_and(|call| call.starts_with("rsvc daemon upgrade")), "{script}: {calls:?}");
        assert!(!calls.iter().any(|call| call.contains("start")), "{script}: {calls:?}");
    }
}

#[test]
fn a_removal_stops_daemon_and_services() {
    let calls = Host::new(0, true).run("debian/prerm", &["remove"]);
    assert_eq!(calls, ["deb-systemd-invoke stop rsvc.service rsvc-payload.service"]);
    let calls = Host::new(0, true).run("rpm/preun", &["0"]);
    assert_eq!(calls.last().map(String::as_str), Some("systemctl stop rsvc.service rsvc-payload.service"));
    for script in [("debian/prerm", "remove"), ("rpm/preun", "0")] {
        assert_eq!(Host::new(0, false).run(script.0, &[script.1]), ["rsvc stop --all"], "{script:?}");
    }
    // What was stopped for a removal that failed is started again.
    let calls = Host::new(0, true).run("debian/postinst", &["abort-remove"]);
    assert_eq!(calls, ["deb-systemd-invoke start rsvc.service"]);
}

#[test]
fn a_purge_takes_what_rsvc_wrote_and_a_removal_does_not() {
    let host = Host::new(0, true);
    let calls = host.run("debian/postrm", &["purge"]);
    let removed = calls.iter().find(|call| call.starts_with("rm ")).expect("something is removed");
    for path in ["/etc/rsvc", "/var/lib/rsvc", "/var/log/rsvc", "/run/rsvc", "/run/rsvc-ids"] {
        assert!(removed.split(' ').any(|word| word == path), "{path} stays: {removed}");
    }
    assert!(calls.iter().any(|call| call.starts_with("delgroup") && call.contains("--only-if-empty")), "{calls:?}");
    assert!(calls.iter().any(|call| call == "deb-systemd-helper purge rsvc.service"), "{calls:?}");
    assert_eq!(host.run("debian/postrm", &["remove"]), ["systemctl --system daemon-reload"]);
    let calls = host.run("rpm/postun", &["0"]);
    assert!(!calls.iter().any(|call| call.starts_with("rm ") && call.contains("/etc")), "{calls:?}");
}

#[test]
fn a_call_that_policy_does_not_know_is_an_error() {
    for script in ["postinst", "prerm", "postrm"] {
        let mut command = Command::new("/bin/sh");
        let output = command.arg(file("packaging/debian").join(script)).arg("nonsense").output().expect("sh");
        assert_eq!(output.status.code(), Some(1), "{script}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("nonsense"), "{script}: {output:?}");
    }
}

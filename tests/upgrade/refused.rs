//! Programs that cannot take over, or may not: each is refused with its own words, and the old daemon goes on.

use crate::instance::{Instance, eventually, install, skipped};
use crate::{copy, describe, executable, instance, open_files, script, upgrade_to};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The compiled `fake.rs`, or why there is none.
fn fake() -> Option<&'static PathBuf> {
    static FAKE: OnceLock<Option<PathBuf>> = OnceLock::new();
    FAKE.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/upgrade/fake.rs");
        let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("fake-{}", std::process::id()));
        let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
        let mut command = Command::new(rustc);
        command.args(["--edition=2024", "-Ctarget-feature=+crt-static", "-o"]).arg(&out).arg(source);
        command.output().is_ok_and(|output| output.status.success()).then_some(out)
    })
    .as_ref()
}

/// Asks for an upgrade to `program`, which must be refused for this reason, and sees that nothing has changed.
#[track_caller]
fn refused(instance: &Instance, program: &Path, because: &str) {
    let pid = instance.daemon_pid();
    let (before, files) = (executable(pid), open_files(pid));
    let said = instance.rsvc(&["daemon", "upgrade", "--program", program.to_str().expect("plain")]).expect(1);
    assert!(said.err.contains("upgrade refused"), "{said:?}");
    assert!(said.err.contains(because), "`{because}` is not in: {}", said.err);
    assert!(said.err.contains(program.to_str().expect("plain")), "it names the program: {}", said.err);
    assert!(!said.err.contains('\u{1b}'), "{said:?}");
    assert_eq!(executable(pid), before);
    assert_eq!(describe(instance)["upgrades"], 0);
    eventually("nothing of the attempt is left", || (open_files(pid).len() <= files.len()).then_some(()));
    let left = crate::children(pid).into_iter().filter(|(child, state)| {
        *state == 'Z' || fs::read_link(format!("/proc/{child}/exe")).is_ok_and(|file| file == program)
    });
    eventually("no child of it is left", || (left.clone().count() == 0).then_some(()));
}

#[test]
fn each_broken_program_is_refused_with_its_own_words() {
    root_only!();
    let Some(fake) = fake() else { return skipped("rustc does not compile here") };
    let instance = instance();
    instance.unit("web", &script("exec", "exec sleep 1000", ""));
    instance.rsvc(&["start", "web"]).expect(0);
    let web = instance.main_process("web");
    for (name, because) in [
        ("crashes", "killed by SIGABRT"),
        ("silent", "said nothing"),
        ("nonsense", "said something else"),
        ("floods", "prints more than 256 KiB"),
        ("fails", "exited with status 7: the moon is full"),
        ("old", "from before upgrades in place"),
        ("future-snapshot", "rsvc 9.0.0 reads snapshots of version 99"),
        ("future-state", "rsvc 9.0.0 reads states of version 99"),
        ("blind", "web: the recorded state is of version 1"),
        ("hangs", "did not answer within 5 s and was killed"),
        ("vanishes", "may not be executed"),
    ] {
        let program = instance.file(name);
        install(fake, &program);
        refused(&instance, &program, because);
    }
    assert_eq!(instance.main_process("web"), web);
    // After all that it can still be upgraded.
    upgrade_to(&instance, &copy(&instance, "new"));
    assert_eq!(instance.main_process("web"), web);
    instance.rsvc(&["restart", "web"]).expect(0);
}

#[test]
fn what_is_no_program_is_refused() {
    root_only!();
    let instance = instance();
    let write = |name: &str, bytes: &[u8]| {
        let path = instance.file(name);
        fs::write(&path, bytes).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
        path
    };
    refused(&instance, &write("text", b"hello\n"), "no program for this machine");
    refused(&instance, &write("empty", b""), "no program for this machine");
    refused(&instance, &write("script", b"#!/bin/sh\nexit 0\n"), "it is a script");
    let mut foreign = fs::read(crate::RSVC).expect("the program");
    // e_machine: one that Linux has never run on.
    foreign[18..20].copy_from_slice(&0x1234u16.to_ne_bytes());
    refused(&instance, &write("foreign", &foreign), "no program for this machine");
    refused(&instance, &instance.file("nothing"), "cannot open");
    refused(&instance, instance.path(), "a directory");
    let said = instance.rsvc(&["daemon", "upgrade", "--program", "/dev/null"]).expect(1);
    assert!(said.err.contains("/dev/null"), "{said:?}");
    // Somebody is still writing it.
    let busy = copy(&instance, "busy");
    let _writer = fs::OpenOptions::new().write(true).open(&busy).expect("open");
    refused(&instance, &busy, "open for writing");
}

#[test]
fn a_program_that_others_could_change_is_refused() {
    root_only!();
    let instance = instance();
    let program = copy(&instance, "new");
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    set(&program, 0o757);
    refused(&instance, &program, "writable by everybody");
    set(&program, 0o644);
    refused(&instance, &program, "not executable");
    set(&program, 0o4755);
    refused(&instance, &program, "set-user-ID");
    set(&program, 0o755);
    std::os::unix::fs::chown(&program, Some(65534), Some(65534)).expect("chown");
    refused(&instance, &program, "belongs to uid 65534");
    std::os::unix::fs::chown(&program, Some(0), Some(0)).expect("chown");
    let open = instance.file("open");
    fs::create_dir(&open).expect("directory");
    install(&program, &open.join("rsvc"));
    set(&open, 0o777);
    refused(&instance, &open.join("rsvc"), "hint: chmod go-w");
    // A link is followed, and where it leads is looked at as well.
    std::os::unix::fs::symlink(open.join("rsvc"), instance.file("link")).expect("link");
    refused(&instance, &instance.file("link"), "hint: chmod go-w");
    set(&open, 0o755);
    upgrade_to(&instance, &instance.file("link"));
    assert_eq!(executable(instance.daemon_pid()), open.join("rsvc"));
}

#[test]
fn a_daemon_that_is_killed_while_it_asks_is_followed_as_ever() {
    root_only!();
    let Some(fake) = fake() else { return skipped("rustc does not compile here") };
    let mut instance = instance();
    instance.unit("web", &script("exec", "exec sleep 1000", ""));
    instance.rsvc(&["start", "web"]).expect(0);
    let web = instance.main_process("web");
    let program = instance.file("hangs");
    install(fake, &program);
    let pid = instance.daemon_pid();
    let mut client = instance.command();
    client.args(["daemon", "upgrade", "--program"]).arg(&program).stdout(Stdio::null()).stderr(Stdio::null());
    let mut client = client.spawn().expect("rsvc runs");
    let asked = eventually("the program is asked", || {
        let asks = |child: &i32| fs::read_link(format!("/proc/{child}/exe")).is_ok_and(|file| file == program);
        crate::children(pid).into_iter().map(|(child, _)| child).find(asks)
    });
    // A second one has to wait.
    let said = instance.rsvc(&["daemon", "upgrade"]).expect(1);
    assert!(said.err.contains("another upgrade is under way"), "{said:?}");
    instance.kill_daemon();
    instance.start_daemon();
    let asked = rustix::process::Pid::from_raw(asked).expect("a pid");
    rustix::process::kill_process(asked, rustix::process::Signal::KILL).expect("nobody else ends it");
    assert!(!client.wait().expect("it ends").success());
    assert_eq!(instance.main_process("web"), web);
    assert_eq!(describe(&instance)["upgrades"], 0);
}

/// What a program looks at when it is asked: this very one, with states that it cannot read.
#[test]
fn a_downgrade_that_could_not_read_a_state_names_the_unit_and_the_version() {
    root_only!();
    let instance = Instance::prepared();
    let state = instance.file("run/services/web");
    fs::create_dir_all(&state).expect("directory");
    fs::write(state.join("state"), "{\"v\":99}").expect("write");
    let mut command = instance.configured("sh");
    command.args(["-c", "exec \"$0\" daemon --handoff-info 3 3</dev/null", crate::RSVC]);
    let output = command.output().expect("sh runs");
    assert!(output.status.success());
    let claim: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let problems = claim["problems"].as_array().expect("a list");
    assert_eq!(problems.len(), 2, "{claim:#}");
    assert!(problems[0]["why"].as_str().is_some_and(|why| why.contains("snapshot cannot be read")), "{claim:#}");
    assert_eq!(problems[1]["unit"], "web");
    assert_eq!(problems[1]["why"], "the recorded state is of version 99, this rsvc reads 1");
}

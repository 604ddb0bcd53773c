//! Signals, descriptors, limits, filters of the service's process.

use crate::harness::*;
use rsvc::plan::wire::Report;
use rsvc::plan::{FileRules, FilterProgram, LimitResource, PathRule, Ruleset, SecurityModule, Step};
use std::os::fd::AsFd;

#[test]
fn signals_are_at_their_defaults_though_the_stage_ignored_and_blocked_some() {
    let mut draft = Draft::shell("");
    draft.argv = ["cat", "/proc/self/status"].map(str::to_owned).to_vec();
    let Some(outcome) = draft.run() else { return };
    let status = outcome.success();
    for name in ["SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"] {
        assert!(status.contains(&format!("\n{name}:\t0000000000000000\n")), "{name}: {status}");
    }
}

#[test]
fn only_the_standard_streams_are_open_and_input_is_null() {
    let Some(outcome) = Draft::shell("ls /proc/$$/fd; stat -Lc %t:%T /proc/$$/fd/0").run() else { return };
    assert_eq!(outcome.success(), "0\n1\n2\n1:3\n");
}

#[test]
fn without_an_output_both_streams_go_to_null() {
    let mut draft = Draft::shell("[ \"$(stat -Lc %t:%T /proc/$$/fd/1 /proc/$$/fd/2 | tr '\n' ' ')\" = '1:3 1:3 ' ]");
    draft.with_output = false;
    let Some(outcome) = draft.run() else { return };
    outcome.success();
}

#[test]
fn init_holds_what_is_pinned_and_nothing_else() {
    let (read, write) = rsvc::sys::fd::pipe(rsvc::sys::fd::NonBlocking::None).unwrap();
    let mut draft = Draft::shell("echo ready; exec sleep 60");
    draft.pinned = vec![read];
    let Some(running) = draft.start() else { return };
    running.wait_for("ready");
    if is_root() {
        let mut held: Vec<_> = std::fs::read_dir(format!("/proc/{}/fd", running.pid))
            .unwrap()
            .map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap().display().to_string())
            .map(|target| target.split(':').next().unwrap().to_owned())
            .collect();
        held.sort();
        // The exits pipe and the pinned one.
        assert_eq!(held, ["pipe", "pipe"]);
    }
    // The pinned read end keeps a writer alive although nobody here holds one: no EPIPE.
    rsvc::sys::fd::write(write.as_fd(), b"x").unwrap();
    running.signal(9);
    running.finish();
    assert_eq!(rsvc::sys::fd::write(write.as_fd(), b"x").unwrap_err().errno, 32);
}

#[test]
fn a_refused_raise_is_clamped_when_it_may_be() {
    // Above fs.nr_open even root with every capability is refused.
    let step = || Step::SetLimit { resource: LimitResource::Nofile, soft: 1 << 40, hard: 1 << 41 };
    let draft = Draft::shell("echo never").then([step()]);
    let index = draft.index_of(|other| *other == step());
    let Some(outcome) = draft.run() else { return };
    assert_eq!((outcome.failure().0, outcome.failure().1), (index, 1));

    let mut draft = Draft::shell("ulimit -Hn").then([step()]);
    draft.may_fail = |step| matches!(step, Step::SetLimit { .. });
    let outcome = draft.run().unwrap();
    let ceiling = outcome.success().trim().to_owned();
    let Some((Report::Degraded { step, errno: 1, detail }, _)) = outcome.reports.first() else { panic!("{outcome:?}") };
    assert_eq!((*step, detail.as_str()), (index, format!("clamped to {ceiling}:{ceiling}").as_str()));
}

#[test]
fn the_oom_score_is_set_and_a_refused_one_says_what_remains() {
    let mut draft = Draft::shell("cat /proc/self/oom_score_adj");
    draft.before.push(Step::SetOomScoreAdjust { value: 321 });
    let Some(outcome) = draft.run() else { return };
    assert_eq!(outcome.success(), "321\n");
    let mut draft = Draft::shell("cat /proc/self/oom_score_adj");
    draft.before.push(Step::SetOomScoreAdjust { value: -999 });
    draft.may_fail = |step| matches!(step, Step::SetOomScoreAdjust { .. });
    let outcome = draft.run().unwrap();
    let remains = outcome.success().trim().to_owned();
    if remains == "-999" {
        return; // The test has CAP_SYS_RESOURCE.
    }
    let Some((Report::Degraded { errno: 13, detail, .. }, _)) = outcome.reports.first() else { panic!("{outcome:?}") };
    assert_eq!(*detail, format!("left at {remains}"));
}

/// Whether the label that it takes is then in force is tested on a machine with a module: tests/vm/apparmor.sh.
#[test]
fn a_label_that_the_kernel_does_not_take_fails_before_the_program() {
    if std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        return skipped!("SELinux is at work here");
    }
    let step = || Step::SetExecLabel { module: SecurityModule::SeLinux, label: "a:b:c".to_owned() };
    let draft = Draft::shell("echo never").then([step()]);
    let index = draft.index_of(|other| *other == step());
    let Some(outcome) = draft.run() else { return };
    assert_eq!((outcome.failure().0, outcome.failure().1), (index, libc::EINVAL), "asked, and refused");
}

/// Answers EPERM to one call (by its x86_64 number) and allows the rest.
fn refuse(number: u32) -> Step {
    let program = vec![
        (0x20, 0, 0, 0),               // load the call's number
        (0x15, 0, 1, number),          // is it this one?
        (0x06, 0, 0, 0x0005_0000 | 1), // EPERM
        (0x06, 0, 0, 0x7fff_0000),     // allow
    ];
    Step::LoadFilter { program: FilterProgram(program), log: false, rules: Vec::new() }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_filter_acts_and_a_failing_exec_is_reported_from_behind_it() {
    const MKDIR: u32 = 83;
    const SENDTO: u32 = 44;
    const EXECVE: u32 = 59;
    let draft = Draft::shell("mkdir /tmp/x 2>&1 || echo refused; grep Seccomp: /proc/self/status").then([
        Step::NoNewPrivileges,
        refuse(MKDIR),
        refuse(SENDTO),
    ]);
    let Some(outcome) = draft.run() else { return };
    assert!(outcome.success().contains("Operation not permitted\nrefused\nSeccomp:\t2\n"), "{outcome:?}");
    let draft = Draft::shell("").then([Step::NoNewPrivileges, refuse(SENDTO), refuse(EXECVE)]);
    let index = draft.index_of(|step| matches!(step, Step::Execute { .. }));
    let outcome = draft.run().unwrap();
    assert_eq!((outcome.failure().0, outcome.failure().1), (index, 1));
}

#[test]
fn memory_may_be_denied_to_become_executable() {
    let draft = Draft::shell("echo ran").then([Step::DenyWriteExecute]);
    let Some(outcome) = draft.run() else { return };
    if let Some((Report::Failed { errno: 22, .. }, _)) = outcome.reports.last() {
        skipped!("this kernel has no PR_SET_MDWE");
        return;
    }
    assert_eq!(outcome.success(), "ran\n");
}

/// Files may be made only where it is said, in a tree that is writable as a whole.
fn only_below(path: &str, missing_ok: bool) -> Step {
    let rule = |path: &str, make| PathRule { path: path.into(), write: true, make, execute: false, missing_ok };
    let rules = vec![rule(path, true), rule("/dev/null", false)];
    Step::MakeRuleset(Box::new(Ruleset {
        files: Some(FileRules { write: true, truncate: true, execute: false, rules, message_queues: false }),
        ..Ruleset::default()
    }))
}

#[test]
fn a_rule_set_binds_the_service_and_a_place_that_is_missing_fails_unless_it_may_be() {
    if rsvc::sys::probe::landlock_abi().is_none_or(|abi| abi < 3) {
        return skipped!("needs Landlock 3");
    }
    let directory = tempfile::tempdir().unwrap();
    let shown = directory.path().join("open").display().to_string();
    std::fs::create_dir(&shown).unwrap();
    let script =
        format!("echo x > {shown}/in && echo in; echo x > {shown}/../x || echo out; : > /dev/null && echo null");
    let bound = |path: &str, missing_ok| {
        Draft::on("/", &script).then([only_below(path, missing_ok), Step::NoNewPrivileges, Step::EnforceRuleset])
    };
    let Some(outcome) = bound(&shown, false).run() else { return };
    let said = outcome.success();
    assert!(said.starts_with("in\n") && said.ends_with("out\nnull\n"), "{said}");
    assert!(!directory.path().join("x").exists());
    let draft = bound("/no/such/place", false);
    let index = draft.index_of(|step| matches!(step, Step::MakeRuleset(_)));
    let outcome = draft.run().unwrap();
    assert_eq!((outcome.failure().0, outcome.failure().1), (index, 2));
    assert!(outcome.failure().2.contains("/no/such/place"), "{outcome:?}");
    let outcome = bound("/no/such/place", true).run().unwrap();
    assert!(!outcome.success().contains("in\n") && outcome.success().contains("null"), "{outcome:?}");
    let draft = Draft::shell("echo never").then([Step::EnforceRuleset]);
    let index = draft.index_of(|step| *step == Step::EnforceRuleset);
    assert_eq!(draft.run().unwrap().failure().0, index);
}

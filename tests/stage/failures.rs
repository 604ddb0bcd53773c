//! What fails comes back as step, errno, detail; what is malformed is refused.

use crate::harness::*;
use rsvc::init::{PLAN_UNUSABLE_STATUS, STAGE_NAME, STEP_FAILED_STATUS};
use rsvc::plan::wire::Report;
use rsvc::plan::{Create, LimitResource, MountFlags, Slot, Step};
use rsvc::sys::fd::{self, Open};
use rsvc::sys::process::{self, Spawn};
use std::ffi::CString;
use std::os::fd::AsFd;

#[test]
fn a_failing_step_comes_back_with_its_index_and_the_kernels_errno() {
    let draft = Draft::shell("echo never").before_root([open_tree(Slot(5), "/no/such/tree")]);
    let index = draft.index_of(|step| *step == open_tree(Slot(5), "/no/such/tree"));
    let Some(outcome) = draft.run() else { return };
    assert_eq!(outcome.failure(), (index, 2, ""));
    assert_eq!((outcome.end, outcome.output.as_str()), ((1, STEP_FAILED_STATUS), ""));
}

#[test]
fn a_step_after_the_fork_reports_as_well_and_takes_the_container_down() {
    let draft =
        Draft::shell("echo never").then([Step::ChangeDirectory { path: "/etc/passwd".into(), missing_ok: false }]);
    let index = draft.index_of(|step| matches!(step, Step::ChangeDirectory { .. }));
    let Some(outcome) = draft.run() else { return };
    assert_eq!(outcome.failure(), (index, 20, ""));
    assert_eq!(outcome.end, (1, STEP_FAILED_STATUS));
}

#[test]
fn a_raise_that_the_host_forbids_is_told_and_passed_over() {
    // Above fs.nr_open, for whoever asks.
    let raise = Step::SetLimit { resource: LimitResource::Nofile, soft: 64, hard: u64::MAX };
    let mut draft = Draft::shell("echo ran").then([raise]);
    draft.may_fail = |step| matches!(step, Step::SetLimit { .. });
    let index = draft.index_of(draft.may_fail);
    let Some(outcome) = draft.run() else { return };
    assert_eq!(outcome.success(), "ran\n");
    let [(Report::Degraded { step, errno: 1, detail }, _), (Report::Executing, _)] = &outcome.reports[..] else {
        panic!("{outcome:?}")
    };
    assert_eq!(*step, index);
    assert!(detail.starts_with("clamped to 64:"), "{detail}");
}

#[test]
fn what_may_fail_for_one_reason_ends_the_launch_for_another() {
    let mut draft = Draft::shell("echo never").before_pivot([attach(DEV, "/no/such/place", Create::Never)]);
    draft.may_fail = |step| *step == attach(DEV, "/no/such/place", Create::Never);
    let index = draft.index_of(draft.may_fail);
    let Some(outcome) = draft.run() else { return };
    assert_eq!((outcome.failure().0, outcome.output.as_str()), (index, ""));

    // The soft limit above the hard one.
    let senseless = Step::SetLimit { resource: LimitResource::Nofile, soft: 65, hard: 64 };
    let mut draft = Draft::shell("echo never").then([senseless]);
    draft.may_fail = |step| matches!(step, Step::SetLimit { .. });
    let Some(outcome) = draft.run() else { return };
    assert_eq!((outcome.failure().1, outcome.output.as_str()), (22, ""));
}

#[test]
fn a_file_system_says_what_it_did_not_like() {
    let bad = Step::NewFilesystem {
        slot: Slot(5),
        fs_type: "tmpfs".into(),
        options: vec![("size".into(), Some("many".into()))],
        flags: MountFlags::default(),
    };
    let Some(outcome) = Draft::shell("echo never").before_root([bad]).run() else { return };
    let (_, errno, detail) = outcome.failure();
    assert_eq!(errno, 22);
    assert!(detail.starts_with("option size=many"), "{detail}");
}

#[test]
fn a_credential_without_its_text_or_its_file_system_fails_the_step() {
    let ramfs = || Step::NewFilesystem {
        slot: Slot(5),
        fs_type: "ramfs".into(),
        options: vec![("mode".into(), Some("0700".into()))],
        flags: MountFlags::default(),
    };
    let word = || Step::SetCredential { slot: Slot(5), name: "word".into() };
    let Some(outcome) = Draft::shell("echo never").before_root([ramfs(), word()]).run() else { return };
    assert_eq!(outcome.failure().2, "the daemon passed no text for it");

    let seal = || Step::SealCredentials { slot: Slot(6), uid: 0, gid: 0 };
    let Some(outcome) = Draft::shell("echo never").before_root([ramfs(), seal()]).run() else { return };
    assert_eq!(outcome.failure().2, "mount object 6 was never made");

    // What may be missing and is makes an empty directory, which nobody can write.
    let sealed = Step::SealCredentials { slot: Slot(5), uid: 0, gid: 0 };
    let none =
        Step::LoadCredential { slot: Slot(5), name: "key".into(), path: "/no/such/key".into(), missing_ok: true };
    let draft = Draft::shell("ls -A /mnt; touch /mnt/x 2>/dev/null || echo sealed; stat -c %a /mnt")
        .before_root([ramfs(), none, sealed])
        .before_pivot([attach(Slot(5), "/mnt", Create::Never)]);
    let Some(outcome) = draft.run() else { return };
    assert_eq!(outcome.success(), "sealed\n500\n");
}

#[test]
fn a_directory_is_not_put_on_a_file() {
    let draft = Draft::shell("echo never").before_pivot([attach(DEV, "/etc/passwd", Create::Never)]);
    let Some(outcome) = draft.run() else { return };
    let (_, errno, detail) = outcome.failure();
    // ENOTDIR; EINVAL on recent kernels.
    assert!([20, 22].contains(&errno), "{outcome:?}");
    assert_eq!(detail, "what is mounted is a directory, the place for it is a file");
}

/// Runs the stage on `plan` as descriptor 3.
fn stage_status(plan: &std::os::fd::OwnedFd, word: &std::ffi::CStr) -> (i32, i32) {
    let program = fd::open(&CString::new(env!("CARGO_BIN_EXE_rsvc")).unwrap(), Open::Path).unwrap();
    let request = Spawn {
        flags: 0,
        cgroup: None,
        program: program.as_fd(),
        argv: &[CString::new(STAGE_NAME).unwrap(), word.to_owned()],
        envp: &[],
        inherit: &[(plan.as_fd(), 3)],
        raise_ambient: false,
        error: None,
    };
    let (_, pidfd) = process::spawn(&request).unwrap();
    process::wait_pidfd(pidfd.as_fd(), false).unwrap().unwrap()
}

#[test]
fn what_is_no_sealed_plan_is_refused() {
    let garbage = fd::sealed_memfd(c"garbage", b"rsvc-plan\0garbage", false).unwrap();
    assert_eq!(stage_status(&garbage, c"3"), (1, PLAN_UNUSABLE_STATUS));
    assert_eq!(stage_status(&garbage, c"x"), (1, PLAN_UNUSABLE_STATUS));
    assert_eq!(stage_status(&garbage, c"400"), (1, PLAN_UNUSABLE_STATUS));
    let unsealed = fd::open(c"/etc/passwd", Open::Read).unwrap();
    assert_eq!(stage_status(&unsealed, c"3"), (1, PLAN_UNUSABLE_STATUS));
}

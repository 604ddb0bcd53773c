//! The last step: environment, search path, scripts.

use crate::harness::*;
use rsvc::plan::wire::Report;
use rsvc::plan::{Create, Slot, Step};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn the_environment_is_the_plans_and_this_starts_and_nothing_else() {
    let mut draft = Draft::shell("");
    draft.argv = vec!["env".to_owned()];
    draft.environment.push(pair("KEPT", "a b=c"));
    draft.environment.push(pair("REPLACED", "old"));
    draft.start_environment = vec![pair("REPLACED", "new"), pair("INVOCATION_ID", "1")];
    let Some(outcome) = draft.run() else { return };
    let path = "PATH=/usr/bin:/bin:/usr/sbin:/sbin";
    assert_eq!(outcome.success(), format!("{path}\nKEPT=a b=c\nREPLACED=new\nINVOCATION_ID=1\n"));
}

#[test]
fn passed_descriptors_keep_their_numbers_and_are_announced_to_the_service_alone() {
    let pipe = || rsvc::sys::fd::pipe(rsvc::sys::fd::NonBlocking::None).unwrap();
    let ((first, _one), (second, _two)) = (pipe(), pipe());
    let links = |fd: &std::os::fd::OwnedFd| {
        std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap().display().to_string()
    };
    let expected = format!("{} {}", links(&first), links(&second));
    let mut draft = Draft::shell(
        "echo $(readlink /proc/self/fd/3 /proc/self/fd/4); [ $LISTEN_PID = $$ ] && echo $LISTEN_FDS $LISTEN_FDNAMES; ls /proc/$$/fd",
    );
    draft.passed = vec![(first, "http".to_owned()), (second, "b c".to_owned())];
    let Some(outcome) = draft.run() else { return };
    assert_eq!(outcome.success(), format!("{expected}\n2 http:b c\n0\n1\n2\n3\n4\n"));
}

#[test]
fn a_program_that_is_nowhere_in_the_path_is_not_found() {
    let mut draft = Draft::shell("");
    draft.argv = vec!["no-such-program".to_owned()];
    let index = draft.index_of(|step| matches!(step, Step::Execute { .. }));
    let Some(outcome) = draft.run() else { return };
    assert_eq!(outcome.failure(), (index, 2, ""));
}

#[test]
fn a_script_whose_interpreter_is_missing_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script");
    std::fs::write(&script, "#!/bin/no-such-shell\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut draft = Draft::shell("")
        .before_root([open_tree(Slot(5), directory.path().to_str().unwrap())])
        .before_pivot([attach(Slot(5), "/mnt", Create::Never)]);
    draft.argv = vec!["/mnt/script".to_owned()];
    let Some(outcome) = draft.run() else { return };
    assert_eq!(outcome.failure().1, 2);
    assert_eq!(outcome.failure().2, "interpreter /bin/no-such-shell of /mnt/script is missing");
}

#[test]
fn the_report_before_exec_carries_the_services_own_pid() {
    let Some(outcome) = Draft::shell("exit 3").run() else { return };
    let [(Report::Executing, pid)] = outcome.reports[..] else { panic!("{outcome:?}") };
    assert!(pid > 1);
    assert_eq!(outcome.end, (1, 3));
}

#[test]
fn without_init_the_stage_itself_becomes_the_service() {
    let mut draft = Draft::shell("echo $$; ls /proc/$$/fd; exit 4");
    draft.init = false;
    let Some(running) = draft.start() else { return };
    let pid = running.pid;
    let outcome = running.finish();
    assert_eq!((outcome.output.as_str(), outcome.end), ("1\n0\n1\n2\n", (1, 4)));
    assert_eq!(outcome.reports, [(Report::Executing, pid)]);
}

#[test]
fn the_working_directory_is_inside_or_refused() {
    let change = |path: &str, missing_ok| Step::ChangeDirectory { path: path.into(), missing_ok };
    let Some(outcome) = Draft::shell("pwd").then([change("/usr", false)]).run() else { return };
    assert_eq!(outcome.success(), "/usr\n");
    assert_eq!(Draft::shell("pwd").then([change("/absent", true)]).run().unwrap().success(), "/\n");
    assert_eq!(Draft::shell("pwd").then([change("/absent", false)]).run().unwrap().failure().1, 2);
}

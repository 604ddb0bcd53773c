//! The nursery of set-up stages: what it bears is the caller's own child, has what it was given and nothing else, and
//! the end of a nursery costs one launch at most.
//!
//! The stages get something that is no plan, so each ends at once with the status that says so.

use rsvc::init::{FIRST_DESCRIPTOR, NURSERY_WORD, PLAN_UNUSABLE_STATUS, STAGE_NAME};
use rsvc::sys::fd::{self, NonBlocking, Open};
use rsvc::sys::process::{CLD_EXITED, Nursery, Spawn, clone_flags, pidfd_open, pidfd_send_signal, signal, wait_pidfd};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The program under test, as a nursery and as a stage.
struct Stage {
    program: OwnedFd,
    null: OwnedFd,
    argv: [CString; 2],
    nursery: [CString; 2],
}

impl Stage {
    fn new() -> Stage {
        let word = |text: &str| CString::new(text).unwrap();
        Stage {
            program: fd::open(&word(env!("CARGO_BIN_EXE_rsvc")), Open::Path).unwrap(),
            null: fd::open(c"/dev/null", Open::ReadWrite).unwrap(),
            argv: [word(STAGE_NAME), word(&FIRST_DESCRIPTOR.to_string())],
            nursery: [word(STAGE_NAME), word(NURSERY_WORD)],
        }
    }

    /// Launches with `plan` where the plan belongs, in new namespaces where this process may make them.
    fn launch(&self, nursery: &mut Nursery, plan: BorrowedFd<'_>) -> (i32, OwnedFd) {
        let inherit: Vec<_> = (0..=2).map(|number| (self.null.as_fd(), number)).chain([(plan, 3)]).collect();
        let flags = if rustix::process::geteuid().is_root() { clone_flags::NEWPID | clone_flags::NEWNS } else { 0 };
        let request = Spawn {
            flags,
            cgroup: None,
            program: self.program.as_fd(),
            argv: &self.argv,
            envp: &[],
            inherit: &inherit,
            raise_ambient: false,
            error: None,
        };
        nursery.spawn(&request, &self.nursery).unwrap()
    }
}

#[test]
fn each_birth_is_a_child_of_the_caller() {
    let (stage, mut nursery) = (Stage::new(), Nursery::default());
    let mut seen = Vec::new();
    for _ in 0..5 {
        let (pid, pidfd) = stage.launch(&mut nursery, stage.null.as_fd());
        // Only a parent can wait for it.
        let end = wait_pidfd(pidfd.as_fd(), false).unwrap();
        assert_eq!(end, Some((CLD_EXITED, PLAN_UNUSABLE_STATUS)));
        seen.extend(nursery.pid());
        assert_ne!(Some(pid), nursery.pid());
    }
    assert_eq!(seen.len(), 5, "there was a nursery all the time");
    seen.dedup();
    assert_eq!(seen.len(), 1, "and it was the same one");
}

#[test]
fn nothing_of_a_launch_stays_in_the_nursery() {
    let (stage, mut nursery) = (Stage::new(), Nursery::default());
    let (reader, writer) = fd::pipe(NonBlocking::None).unwrap();
    let (_, pidfd) = stage.launch(&mut nursery, writer.as_fd());
    drop(writer);
    wait_pidfd(pidfd.as_fd(), false).unwrap();
    // The end of the pipe comes only when nobody holds the other end any more.
    assert_eq!(fd::read(reader.as_fd(), &mut [0; 1]).unwrap(), 0);
    let open = std::fs::read_dir(format!("/proc/{}/fd", nursery.pid().unwrap())).unwrap();
    let mut open: Vec<_> = open.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    open.sort();
    assert_eq!(open, ["63"], "the channel alone");
}

#[test]
fn a_nursery_that_was_killed_is_replaced() {
    let (stage, mut nursery) = (Stage::new(), Nursery::default());
    let (_, pidfd) = stage.launch(&mut nursery, stage.null.as_fd());
    wait_pidfd(pidfd.as_fd(), false).unwrap();
    let first = nursery.pid().unwrap();
    let killed = pidfd_open(first).unwrap();
    pidfd_send_signal(killed.as_fd(), signal::KILL).unwrap();
    // Readable from its end on, while it is still to be reaped.
    let mut ends = [rustix::event::PollFd::new(&killed, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut ends, None).unwrap();
    for _ in 0..2 {
        let (_, pidfd) = stage.launch(&mut nursery, stage.null.as_fd());
        assert_eq!(wait_pidfd(pidfd.as_fd(), false).unwrap(), Some((CLD_EXITED, PLAN_UNUSABLE_STATUS)));
    }
    assert!(nursery.pid().is_some_and(|second| second != first));
}

#[test]
fn a_nursery_ends_with_its_owner() {
    let (stage, mut nursery) = (Stage::new(), Nursery::default());
    let (_, pidfd) = stage.launch(&mut nursery, stage.null.as_fd());
    wait_pidfd(pidfd.as_fd(), false).unwrap();
    let pid = nursery.pid().unwrap();
    let gone = pidfd_open(pid).unwrap();
    drop(nursery);
    assert!(pidfd_send_signal(gone.as_fd(), 0).is_err(), "it was ended and reaped");
}

/// Whether it had borne anything is not known then, so nothing is launched a second time.
#[test]
fn a_nursery_that_ends_over_a_request_fails_that_launch_alone() {
    let stage = Stage::new();
    let word = |text: &str| CString::new(text).unwrap();
    let shell = fd::open(c"/bin/sh", Open::Path).unwrap();
    // Takes the request and ends.
    let forgetful = [word("sh"), word("-c"), word("exec dd bs=64 count=1 <&3 >/dev/null 2>&1")];
    let inherit: Vec<_> = (0..=3).map(|number| (stage.null.as_fd(), number)).collect();
    let request = Spawn {
        flags: 0,
        cgroup: None,
        program: shell.as_fd(),
        argv: &[word("sh"), word("-c"), word("exit 7")],
        envp: &[],
        inherit: &inherit,
        raise_ambient: false,
        error: None,
    };
    let mut nursery = Nursery::default();
    let error = nursery.spawn(&request, &forgetful).unwrap_err();
    assert_eq!(error.errno, nix::errno::Errno::ECHILD as i32);
    assert_eq!(nursery.pid(), None, "it has been reaped");
    let (_, pidfd) = stage.launch(&mut nursery, stage.null.as_fd());
    assert_eq!(wait_pidfd(pidfd.as_fd(), false).unwrap(), Some((CLD_EXITED, PLAN_UNUSABLE_STATUS)));
}

//! Spawning for real: descriptors land where they were asked for, failures come back, nothing leaks.

use super::*;
use crate::sys::fd::{self, NonBlocking, Open};
use crate::sys::process::wait_pidfd;
use std::os::fd::AsFd;

/// Runs `script` with these descriptors and answers (code, status).
fn shell(script: &str, inherit: &[(BorrowedFd<'_>, i32)]) -> (i32, i32) {
    let program = fd::open(c"/bin/sh", Open::Path).unwrap();
    let argv = [c"sh".to_owned(), c"-c".to_owned(), CString::new(script).unwrap()];
    let envp = [c"PATH=/usr/bin:/bin".to_owned(), c"GIVEN=yes".to_owned()];
    let request = Spawn {
        flags: 0,
        cgroup: None,
        program: program.as_fd(),
        argv: &argv,
        envp: &envp,
        inherit,
        raise_ambient: false,
        error: None,
    };
    let (pid, pidfd) = spawn(&request).unwrap();
    assert!(pid > 1);
    wait_pidfd(pidfd.as_fd(), false).unwrap().unwrap()
}

#[test]
fn the_64_bit_flags_are_not_the_overflowed_ones_of_libc() {
    assert_eq!(clone_flags::INTO_CGROUP, 1 << 33);
    assert_eq!(clone_flags::CLEAR_SIGHAND, 1 << 32);
    assert_eq!(size_of::<CloneArgs>(), 88);
}

#[test]
fn descriptors_may_trade_their_numbers() {
    let (read, write) = fd::pipe(NonBlocking::None).unwrap();
    let (other_read, other_write) = fd::pipe(NonBlocking::None).unwrap();
    // The write ends get each other's present numbers (as far as these are small): the worst overlap there is.
    let inherit = [
        (write.as_fd(), other_write.as_fd().as_raw_fd().min(9)),
        (other_write.as_fd(), write.as_fd().as_raw_fd().min(8)),
    ];
    let script = format!("printf one >&{}; printf two >&{}", inherit[0].1, inherit[1].1);
    assert_eq!(shell(&script, &inherit), (libc::CLD_EXITED, 0));
    let mut buffer = [0; 8];
    assert_eq!(fd::read(read.as_fd(), &mut buffer).unwrap(), 3);
    assert_eq!(&buffer[..3], b"one");
    assert_eq!(fd::read(other_read.as_fd(), &mut buffer).unwrap(), 3);
    assert_eq!(&buffer[..3], b"two");
}

#[test]
fn nothing_but_the_listed_descriptors_survives_not_even_one_without_the_flag() {
    let (read, write) = fd::pipe(NonBlocking::None).unwrap();
    let leaky = fd::duplicate(write.as_fd(), 50).unwrap();
    fd::set_close_on_exec(leaky.as_fd(), false).unwrap();
    assert_eq!(shell("ls /proc/$$/fd >&1; [ \"$GIVEN\" = yes ]", &[(write.as_fd(), 1)]), (libc::CLD_EXITED, 0));
    let mut buffer = [0; 256];
    let length = fd::read(read.as_fd(), &mut buffer).unwrap();
    let listed: Vec<_> = std::str::from_utf8(&buffer[..length]).unwrap().split_whitespace().collect();
    assert_eq!(listed, ["0", "1", "2"]);
}

#[test]
fn a_program_that_cannot_be_executed_is_told_with_its_errno() {
    let program = fd::open(c"/etc/passwd", Open::Path).unwrap();
    let (read, write) = fd::pipe(NonBlocking::None).unwrap();
    let request = Spawn {
        flags: 0,
        cgroup: None,
        program: program.as_fd(),
        argv: &[c"x".to_owned()],
        envp: &[],
        inherit: &[],
        raise_ambient: false,
        error: Some(write.as_fd()),
    };
    let (_, pidfd) = spawn(&request).unwrap();
    drop(write);
    let end = wait_pidfd(pidfd.as_fd(), false).unwrap();
    assert_eq!(end, Some((libc::CLD_EXITED, SPAWN_FAILED_STATUS)));
    let mut buffer = [0; 64];
    let length = fd::read(read.as_fd(), &mut buffer).unwrap();
    assert_eq!(SpawnFailure::parse(&buffer[..length]), Some(SysError::new("execveat", libc::EACCES)));
    assert_eq!(SpawnFailure::parse(b"other"), None);
}

#[test]
fn the_child_starts_with_an_empty_signal_mask() {
    // SIGPIPE stays ignored, as the Rust runtime of the parent has it: the program itself has to reset that.
    assert_eq!(shell("exec grep -q '^SigBlk:.0*$' /proc/self/status", &[]), (libc::CLD_EXITED, 0));
}

#[test]
fn an_empty_argv_is_refused() {
    let program = fd::open(c"/bin/sh", Open::Path).unwrap();
    let request = Spawn {
        flags: 0,
        cgroup: None,
        program: program.as_fd(),
        argv: &[],
        envp: &[],
        inherit: &[],
        raise_ambient: false,
        error: None,
    };
    assert_eq!(spawn(&request).unwrap_err(), SysError::new("execveat", libc::EINVAL));
}

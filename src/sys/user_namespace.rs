//! A user namespace that nobody lives in: made by a short-lived child, known by its descriptor. Sources:
//! user_namespaces(7), clone(2), `kernel/user_namespace.c`.
//!
//! ```text
//! caller: clone3, one table of descriptors ── wait for a byte ── write the maps ── kill, reap ──▶ the descriptor
//! child:      └─ limits, unshare(2), open the namespace, a byte ── wait to be killed
//! ```
//!
//! The child opens the namespace itself, in the table of descriptors that both have: another process that is not
//! dumpable could be looked into with CAP_SYS_PTRACE only.

use super::raw::syscall6;
use super::spawn::{CloneArgs, clone_flags};
use super::{Named, Result, SysError, fd, process};
use rustix::event::{PollFd, PollFlags, poll};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// A number below those that the kernel gives out again when it has come round (RESERVED_PIDS): in a pid namespace
/// that has only just begun, the next process gets the number that it would have got anyway.
pub const UNUSED_PID: i32 = 299;

/// Share the table of descriptors.
const CLONE_FILES: u64 = 0x400;

/// Makes a user namespace in which ids 0 to `count` - 1 are `first` and following outside, for users and groups alike.
/// `pid`: the number that the child gets, in a pid namespace of which the caller is process 1; `None`: any.
///
/// What its processes may have in common of locked memory, queued signals and message queues is not limited by the limits
/// that the caller has at the moment, as far as it may raise them.
///
/// # Errors
/// EPERM without CAP_SETUID and CAP_SETGID, or where user namespaces are forbidden; ENOSPC (user.max_user_namespaces);
/// EINVAL where the kernel has none; those of clone3(2).
pub fn make(first: u32, count: u32, pid: Option<i32>) -> Result<OwnedFd> {
    let (reader, writer) = fd::pipe(fd::NonBlocking::None)?;
    let child = clone(pid, writer.as_raw_fd())?;
    let made = wait_for(&reader, &child).and_then(|number| {
        // SAFETY: the child has opened this number in the table that we share, and knows nothing of it any more.
        let opened = unsafe { OwnedFd::from_raw_fd(number) };
        write_maps(&child, &format!("0 {first} {count}\n"))?;
        Ok(opened)
    });
    // It has ended when it could not make one.
    let _ = process::pidfd_send_signal(child.as_fd(), process::signal::KILL);
    process::wait_pidfd(child.as_fd(), false)?;
    made
}

/// A pidfd of the child.
fn clone(pid: Option<i32>, writer: i32) -> Result<OwnedFd> {
    let mut pidfd: i32 = -1;
    let number = pid.unwrap_or(0);
    let arguments = CloneArgs {
        flags: clone_flags::PIDFD | CLONE_FILES,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        set_tid: if pid.is_some() { (&raw const number) as u64 } else { 0 },
        set_tid_size: u64::from(pid.is_some()),
        ..CloneArgs::default()
    };
    // SAFETY: `arguments` is a valid clone_args of the given size and, like what it points to, outlives the call. Without
    // CLONE_VM the child runs on a copy of this stack and goes straight to `run`.
    let child = unsafe {
        syscall6(libc::SYS_clone3 as usize, &raw const arguments as usize, size_of::<CloneArgs>(), 0, 0, 0, 0)
    };
    if child == 0 {
        // SAFETY: we are the only thread of a fresh copy.
        unsafe { run(writer) }
    }
    if child < 0 {
        return Err(SysError::new("clone3", -child as i32));
    }
    // SAFETY: clone3 succeeded with CLONE_PIDFD, so it stored a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(pidfd) })
}

/// The number of the namespace's descriptor; what the child failed at, or that it was killed. There is no end of file: in
/// the table that we share it cannot have closed its end of the pipe.
fn wait_for(reader: &OwnedFd, child: &OwnedFd) -> Result<i32> {
    let mut watched = [PollFd::new(reader, PollFlags::IN), PollFd::new(child, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut watched, None)).named("poll")?;
    if !watched[0].revents().contains(PollFlags::IN) {
        return Err(SysError::new("unshare", libc::ECHILD));
    }
    let mut answer = [0; 4];
    let length = fd::read(reader.as_fd(), &mut answer)?;
    match i32::from_ne_bytes(answer) {
        _ if length != answer.len() => Err(SysError::new("unshare", libc::ECHILD)),
        failed @ ..=-1 => Err(SysError::new("unshare", -failed)),
        number => Ok(number),
    }
}

fn write_maps(child: &OwnedFd, map: &str) -> Result<()> {
    let pid = process::pid_of_pidfd(child.as_fd())?.ok_or(SysError::new("unshare", libc::ESRCH))?;
    for file in ["gid_map", "uid_map"] {
        let failed = |error: std::io::Error| SysError::new("write", error.raw_os_error().unwrap_or(libc::EIO));
        let mut file = OpenOptions::new().write(true).open(format!("/proc/{pid}/{file}")).map_err(failed)?;
        // One write: the kernel takes a map only whole.
        file.write_all(map.as_bytes()).map_err(failed)?;
    }
    Ok(())
}

/// The life of the child. Raw system calls only.
///
/// # Safety
/// Runs in a child of clone3 without CLONE_VM, with its parent's table of descriptors.
unsafe fn run(writer: i32) -> ! {
    let call = |number: libc::c_long, a: usize, b: usize, c: usize, d: usize| {
        // SAFETY: numbers, or pointers to this stack and to static strings, valid for the call.
        unsafe { syscall6(number as usize, a, b, c, d, 0, 0) }
    };
    // What the processes of a user namespace have in common is bounded by these, as they are at this moment.
    for resource in [libc::RLIMIT_MEMLOCK, libc::RLIMIT_SIGPENDING, libc::RLIMIT_MSGQUEUE] {
        let mut limit = [u64::MAX; 2];
        let resource = resource as usize;
        if call(libc::SYS_prlimit64, 0, resource, &raw const limit as usize, 0) < 0 {
            call(libc::SYS_prlimit64, 0, resource, 0, &raw mut limit as usize);
            limit[0] = limit[1];
            call(libc::SYS_prlimit64, 0, resource, &raw const limit as usize, 0);
        }
    }
    let mut answer = call(libc::SYS_unshare, clone_flags::NEWUSER as usize, 0, 0, 0);
    // Who made it may be killed; the kernel forgets this with every change of credentials, so not earlier.
    call(libc::SYS_prctl, libc::PR_SET_PDEATHSIG as usize, libc::SIGKILL as usize, 0, 0);
    if answer == 0 {
        let (path, flags) = (c"/proc/self/ns/user".as_ptr() as usize, (libc::O_RDONLY | libc::O_CLOEXEC) as usize);
        answer = call(libc::SYS_openat, libc::AT_FDCWD as usize, path, flags, 0);
    }
    let answer = answer as i32;
    call(libc::SYS_write, writer as usize, &raw const answer as usize, size_of::<i32>(), 0);
    loop {
        call(libc::SYS_ppoll, 0, 0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_namespace_is_left_and_nobody_in_it() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let one = make(524_288, 65_536, None).expect("a user namespace");
        let other = make(589_824, 65_536, None).expect("a user namespace");
        assert_eq!(super::super::namespace::kind(one.as_fd()), Ok(clone_flags::NEWUSER));
        let number = |fd: &OwnedFd| std::fs::File::from(fd.try_clone().unwrap()).metadata().unwrap().ino();
        let own = std::fs::metadata("/proc/self/ns/user").unwrap().ino();
        assert!(number(&one) != number(&other) && number(&one) != own);
    }

    #[test]
    fn what_the_kernel_refuses_is_told() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        // The last id is none.
        assert_eq!(make(u32::MAX, 1, None).map_err(|error| error.errno).unwrap_err(), libc::EINVAL);
    }
}

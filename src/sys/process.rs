//! Processes: birth ([`spawn`]), pidfds, waiting, signals, the end.
//!
//! Numbers are for people: signals and waits go through pidfds, which cannot name a stranger.

use super::{Named, Result, SysError, cvt, cvt_retry};
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

pub use super::spawn::nursery::{self, Nursery};
pub use super::spawn::{SPAWN_FAILED_STATUS, Spawn, SpawnFailure, clone_flags, mark_heap_dontfork, spawn};

/// pidfd_open(2).
///
/// # Errors
/// ESRCH when no such process exists (a zombie counts as existing).
pub fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or(SysError::new("pidfd_open", libc::EINVAL))?;
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).named("pidfd_open")
}

/// pidfd_send_signal(2); `signal` 0 only asks whether the process is there.
///
/// # Errors
/// ESRCH when the process has ended and was reaped, EPERM.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // SAFETY: the call takes a descriptor, a number and an optional siginfo, here null.
    let answer = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    };
    cvt("pidfd_send_signal", answer).map(drop)
}

/// pidfd_send_signal(2) to the process group whose leader the process is.
///
/// # Errors
/// EINVAL before Linux 6.9, ESRCH when the group is empty, EPERM.
pub fn pidfd_signal_group(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;
    // SAFETY: the call takes a descriptor, a number, an optional siginfo (here null) and a flag.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            PIDFD_SIGNAL_PROCESS_GROUP,
        )
    };
    cvt("pidfd_send_signal", answer).map(drop)
}

/// pidfd_getfd(2): a copy of another process's descriptor number `target`.
///
/// # Errors
/// EPERM without CAP_SYS_PTRACE over the target (and always with ptrace_scope 3), EBADF when the target has no such
/// descriptor, ESRCH when it has ended.
pub fn pidfd_getfd(pidfd: BorrowedFd<'_>, target: i32) -> Result<OwnedFd> {
    rustix::process::pidfd_getfd(pidfd, target, rustix::process::PidfdGetfdFlags::empty()).named("pidfd_getfd")
}

/// How a child ended: `code` is CLD_EXITED, CLD_KILLED or CLD_DUMPED, `status` the exit status or the signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildEnd {
    /// Pid in the caller's namespace.
    pub pid: i32,
    /// CLD_EXITED (1), CLD_KILLED (2) or CLD_DUMPED (3).
    pub code: i32,
    /// 0 to 255, or a signal number.
    pub status: i32,
}

/// waitid(2) on a pidfd of an own child, which is reaped. `None`: still running (only with `nohang`).
///
/// # Errors
/// ECHILD when the process is not a child of the caller.
pub fn wait_pidfd(pidfd: BorrowedFd<'_>, nohang: bool) -> Result<Option<(i32, i32)>> {
    let end = wait(libc::P_PIDFD, pidfd.as_raw_fd() as libc::id_t, nohang)?;
    Ok(end.map(|end| (end.code, end.status)))
}

/// waitid(2) on any child, which is reaped. `None`: none has ended (only with `nohang`).
///
/// # Errors
/// ECHILD when there is no child.
pub fn wait_any(nohang: bool) -> Result<Option<ChildEnd>> {
    wait(libc::P_ALL, 0, nohang)
}

fn wait(kind: libc::idtype_t, id: libc::id_t, nohang: bool) -> Result<Option<ChildEnd>> {
    let options = libc::WEXITED | if nohang { libc::WNOHANG } else { 0 };
    // SAFETY: an all-zero siginfo is valid; the kernel fills it, and leaves si_pid 0 when nothing has ended.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is live for the call.
    cvt_retry("waitid", || unsafe { libc::waitid(kind, id, &mut info, options) })?;
    // SAFETY: for waitid the union holds the SIGCHLD fields, or zeros.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok((pid != 0).then_some(ChildEnd { pid, code: info.si_code, status }))
}

/// Pid of the process behind a pidfd, in the pid namespace of `/proc`; `None` when it has ended and was reaped.
///
/// # Errors
/// Of reading `/proc/self/fdinfo`; EINVAL for a descriptor that is no pidfd.
pub fn pid_of_pidfd(pidfd: BorrowedFd<'_>) -> Result<Option<i32>> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))
        .map_err(|error| SysError::new("read", error.raw_os_error().unwrap_or(libc::EIO)))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pid:"));
    let pid: i32 = line.and_then(|pid| pid.trim().parse().ok()).ok_or(SysError::new("pidfd_info", libc::EINVAL))?;
    Ok((pid > 0).then_some(pid))
}

/// Wait status (as of wait(2)) of a process that has been reaped by its parent, from a pidfd held since before
/// (PIDFD_GET_INFO with PIDFD_INFO_EXIT). `None`: not reaped yet.
///
/// # Errors
/// ENOTTY or EINVAL on kernels without it (probe, do not deduce from the version); ESRCH.
pub fn pidfd_exit_status(pidfd: BorrowedFd<'_>) -> Result<Option<i32>> {
    /// `struct pidfd_info` in its first published size.
    #[derive(Default)]
    #[repr(C)]
    struct Info {
        mask: u64,
        cgroupid: u64,
        pid: u32,
        tgid: u32,
        ppid: u32,
        ids: [u32; 8],
        exit_code: i32,
    }
    const INFO_EXIT: u64 = 1 << 3;
    // _IOWR(0xFF, 11, struct of 64 bytes)
    const GET_INFO: u64 = 3 << 30 | 64 << 16 | 0xFF << 8 | 11;
    const { assert!(size_of::<Info>() == 64) };
    let mut info = Info { mask: INFO_EXIT, ..Info::default() };
    // SAFETY: the request's size field says 64 bytes, the size of `info`, which is live for the call.
    let answer = unsafe { libc::ioctl(pidfd.as_raw_fd(), GET_INFO as libc::Ioctl, &raw mut info) };
    cvt("pidfd_info", answer)?;
    Ok((info.mask & INFO_EXIT != 0).then_some(info.exit_code))
}

/// Which side of a fork we are.
#[derive(Debug)]
pub enum Fork {
    /// The child.
    Child,
    /// The parent, with the child's pid.
    Parent(i32),
}

/// fork(2), for the set-up stage: a small program of one thread. The daemon uses [`spawn`].
///
/// In a program of several threads the child could wait for ever for a lock that another thread held; that is the
/// worst of it.
///
/// # Errors
/// EAGAIN (pids.max, RLIMIT_NPROC), ENOMEM.
pub fn fork() -> Result<Fork> {
    // SAFETY: fork copies the process; the C library keeps its own state consistent in the child.
    match cvt("fork", unsafe { libc::fork() })? {
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid as i32)),
    }
}

/// The null-terminated pointer table that exec wants; lives as long as the strings.
fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

/// execve(2): returns only when it fails.
pub fn execve(path: &CStr, argv: &[CString], envp: &[CString]) -> SysError {
    let (argv, envp) = (pointers(argv), pointers(envp));
    // SAFETY: path is a C string; both tables end with a null pointer and point to strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    SysError::last("execve")
}

/// execveat(2) with AT_EMPTY_PATH, the program being what `program` refers to: returns only when it fails.
pub fn execveat(program: BorrowedFd<'_>, argv: &[CString], envp: &[CString]) -> SysError {
    let (argv, envp) = (pointers(argv), pointers(envp));
    // SAFETY: as for `execve`; the path is the empty string.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    SysError::last("execveat")
}

/// Ends the process at once: no destructors, no atexit handlers, no flush.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit takes a number and does not return.
    unsafe { libc::_exit(status) }
}

/// Pid of this process in its own pid namespace.
pub fn own_pid() -> i32 {
    // SAFETY: getpid takes nothing and cannot fail.
    unsafe { libc::getpid() }
}

/// setsid(2): away from the caller's terminal.
///
/// # Errors
/// EPERM for a process-group leader.
pub fn setsid() -> Result<()> {
    rustix::process::setsid().named("setsid").map(drop)
}

/// umask(2); returns the former mask.
pub fn umask(mask: u32) -> u32 {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask)).as_raw_mode()
}

/// Highest signal number of Linux.
pub const LAST_SIGNAL: i32 = 64;

/// Blocks every signal that can be blocked.
///
/// # Errors
/// None are known.
pub fn block_signals() -> Result<()> {
    set_mask(libc::sigfillset)
}

/// Empties the signal mask.
///
/// # Errors
/// None are known.
pub fn unblock_signals() -> Result<()> {
    set_mask(libc::sigemptyset)
}

fn set_mask(fill: unsafe extern "C" fn(*mut libc::sigset_t) -> libc::c_int) -> Result<()> {
    // SAFETY: the set is a live local variable, filled before it is used.
    let answer = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        fill(&mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut())
    };
    cvt("sigprocmask", answer).map(drop)
}

/// Blocks exactly these signals, bit 0 being signal 1, and answers which were blocked before.
///
/// # Errors
/// None are known.
pub fn set_signal_mask(mask: u64) -> Result<u64> {
    let mut former: u64 = 0;
    // SAFETY: both masks are live and as long as the last argument says, the size of a kernel signal set.
    let answer = unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, &raw mut former, size_of::<u64>())
    };
    cvt("rt_sigprocmask", answer).map(|_| former)
}

/// Gives every signal its default action. Ignored signals survive an exec, and the Rust runtime ignores SIGPIPE.
///
/// # Errors
/// None are known.
pub fn default_signals() -> Result<()> {
    /// The kernel's `struct sigaction`; all zero is SIG_DFL. The C library refuses two real-time signals it keeps for
    /// itself, so the call is made directly.
    const DEFAULT: [u64; 4] = [0; 4];
    for signal in (1..=LAST_SIGNAL).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal)) {
        // SAFETY: DEFAULT is at least as long as the kernel's structure (32 bytes on x86_64, 24 or 32 on aarch64) and
        // only read; the last argument is the size of a kernel signal set.
        let answer = unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), std::ptr::null_mut::<u64>(), 8usize)
        };
        cvt("rt_sigaction", answer)?;
    }
    Ok(())
}

/// PR_SET_PDEATHSIG: `signal` when the parent ends. Forgotten when the credentials change.
///
/// # Errors
/// EINVAL for no signal.
pub fn die_with_parent(signal: i32) -> Result<()> {
    // SAFETY: the option takes one number.
    cvt("prctl", unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong, 0, 0, 0) }).map(drop)
}

/// Sleeps until a signal is pending (all should be blocked, [`block_signals`]) and takes it.
///
/// # Errors
/// None are known.
pub fn wait_for_signal() -> Result<i32> {
    // SAFETY: the set is live and filled before use; no details are asked for.
    cvt_retry("rt_sigtimedwait", || unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::sigwaitinfo(&all, std::ptr::null_mut())
    })
    .map(|signal| signal as i32)
}

/// The same, for as long as `limit` at most, if there is one. `None`: no signal came.
///
/// # Errors
/// None are known.
pub fn wait_for_signal_within(limit: Option<Duration>) -> Result<Option<i32>> {
    let Some(limit) = limit else { return wait_for_signal().map(Some) };
    let time = libc::timespec {
        tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    // SAFETY: set and time are live, the set is filled before use; no details are asked for.
    let caught = cvt_retry("rt_sigtimedwait", || unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::sigtimedwait(&all, std::ptr::null_mut(), &raw const time)
    });
    match caught {
        Ok(signal) => Ok(Some(signal as i32)),
        Err(error) if error.errno == libc::EAGAIN => Ok(None),
        Err(error) => Err(error),
    }
}

/// Blocks these signals and no others.
///
/// # Errors
/// EINVAL for no signal.
pub fn block_only(signals: &[i32]) -> Result<()> {
    // SAFETY: the set is a live local variable, emptied before it is used.
    let answer = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in signals {
            cvt("sigaddset", libc::sigaddset(&mut set, *signal))?;
        }
        libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut())
    };
    cvt("sigprocmask", answer).map(drop)
}

/// Numbers of signals that this program treats by name.
pub mod signal {
    /// The terminal is gone, or something is to be read again.
    pub const HUP: i32 = libc::SIGHUP;
    /// Ctrl-C.
    pub const INT: i32 = libc::SIGINT;
    /// Asks for an end.
    pub const TERM: i32 = libc::SIGTERM;
    /// A child has ended.
    pub const CHLD: i32 = libc::SIGCHLD;
    /// Goes on after a stop.
    pub const CONT: i32 = libc::SIGCONT;
    /// Cannot be caught.
    pub const KILL: i32 = libc::SIGKILL;
}

/// `CLD_EXITED`: the status is an exit status.
pub const CLD_EXITED: i32 = libc::CLD_EXITED;

/// Ends this process by `signal`, default action, without a core file of its own; falls back to `_exit(128 + signal)`.
pub fn die_by_signal(signal: i32) -> ! {
    let _ = super::confine::set_limit(0, libc::RLIMIT_CORE as i32, 0, 0);
    let _ = default_signals();
    let _ = unblock_signals();
    // SAFETY: kill with our own pid takes two numbers.
    unsafe { libc::kill(libc::getpid(), signal) };
    exit_now(128 + signal)
}

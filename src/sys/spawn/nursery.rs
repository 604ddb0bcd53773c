//! Births without an exec: a process that was made once, holds nothing, and is copied for each launch.
//!
//! The image of the set-up stage is the same for every launch, and its start (loading, relocation, the C library, the
//! runtime of `std`) costs more than all of its mounts. The nursery is that image, started once by [`spawn`] like any
//! other child and stopped before it has read anything. For each launch it is told flags and descriptors, and clones
//! itself with CLONE_PARENT: the copy is the daemon's own child, knows neither plan nor unit of any other launch, and
//! goes on as a freshly executed stage would.
//!
//! ```text
//! daemon ── spawn, once ──▶ nursery: recvmsg ── clone3(CLONE_PARENT, namespaces, into the group) ──▶ stage
//!        ── flags, descriptors ──▶           ◀── pid ──
//! ```
//!
//! The nursery has no descriptor but its channel, at number 63. The kernel numbers received descriptors from the
//! lowest free number on, so those of a request arrive under the numbers they are to have, and what is above them is
//! closed in the copy. Whatever goes wrong before a request was sent leads to an ordinary [`spawn`].

use super::{CloneArgs, Spawn, block_all_signals, call, clone_flags, spawn, syscall6};
use crate::sys::process::{exit_now, pidfd_open, pidfd_send_signal, wait_pidfd};
use crate::sys::socket::seqpacket_pair;
use crate::sys::{Result, SysError, cvt, cvt_retry};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Number of the channel in the nursery: the last one of a table that the kernel need not enlarge, above all that a
/// launch has.
const CHANNEL: RawFd = 63;

/// Longest wait for the answer to a request, milliseconds. The nursery only clones; it is late when somebody stopped it.
const PATIENCE: i32 = 5000;

/// Attempts at hearing its answer while the kernel has no memory for that.
const ATTEMPTS: u32 = 100;

/// CLONE_PARENT of clone3(2).
const PARENT: u64 = 0x0000_8000;

/// What the nursery is told, beside the descriptors: those to inherit, then that of the group.
#[derive(Clone, Copy)]
#[repr(C)]
struct Request {
    flags: u64,
    inherited: u32,
    /// 0 or 1.
    groups: u32,
}

/// The daemon's side.
#[derive(Default)]
pub struct Nursery {
    running: Option<Running>,
    /// The kernel, or what watches over it, does not let a process have siblings.
    useless: bool,
}

struct Running {
    channel: OwnedFd,
    pidfd: OwnedFd,
}

impl Nursery {
    /// Like [`spawn`], by way of the nursery where that leads to the same: `as_nursery` are the arguments with which
    /// the program calls [`serve`]. In the other cases (a user namespace, in which an exec has to happen with ambient
    /// capabilities; descriptors with gaps; no nursery) it is [`spawn`].
    ///
    /// # Errors
    /// As [`spawn`]; ECHILD when the nursery ended while it was at it.
    pub fn spawn(&mut self, request: &Spawn<'_>, as_nursery: &[CString]) -> Result<(i32, OwnedFd)> {
        let dense =
            request.inherit.iter().enumerate().all(|(index, (_, target))| usize::try_from(*target) == Ok(index));
        if self.useless || request.raise_ambient || !dense || request.inherit.len() + 1 >= CHANNEL as usize {
            return spawn(request);
        }
        if self.running.is_none() {
            self.running = Running::start(request.program, as_nursery).ok();
        }
        let Some(running) = &self.running else { return spawn(request) };
        if running.send(request).is_err() {
            self.running = None;
            return spawn(request);
        }
        let answer = running.answer();
        match answer {
            Some(pid) if pid > 0 => match pidfd_open(pid) {
                Ok(pidfd) => Ok((pid, pidfd)),
                Err(error) => {
                    end_child(pid);
                    Err(error)
                }
            },
            Some(error) if -error == libc::EINVAL => {
                self.useless = true;
                self.running = None;
                spawn(request)
            }
            Some(error) => Err(SysError::new("clone3", -error)),
            None => {
                self.running = None;
                Err(SysError::new("clone3", libc::ECHILD))
            }
        }
    }

    /// Reaps the nursery if it is this child, which has ended. `false`: it is another one.
    pub fn has_ended(&mut self, pid: i32) -> bool {
        let is_it = self.pid() == Some(pid);
        if is_it {
            self.running = None;
        }
        is_it
    }

    /// Pid of the nursery, when there is one.
    pub fn pid(&self) -> Option<i32> {
        let running = self.running.as_ref()?;
        super::super::process::pid_of_pidfd(running.pidfd.as_fd()).ok().flatten()
    }
}

impl Running {
    fn start(program: BorrowedFd<'_>, argv: &[CString]) -> Result<Running> {
        let (ours, theirs) = seqpacket_pair()?;
        let null = crate::sys::fd::open(c"/dev/null", crate::sys::fd::Open::ReadWrite)?;
        let inherit = [(null.as_fd(), 0), (null.as_fd(), 1), (null.as_fd(), 2), (theirs.as_fd(), 3)];
        let (_, pidfd) = spawn(&Spawn {
            flags: 0,
            cgroup: None,
            program,
            argv,
            envp: &[],
            inherit: &inherit,
            raise_ambient: false,
            error: None,
        })?;
        Ok(Running { channel: ours, pidfd })
    }

    fn send(&self, request: &Spawn<'_>) -> Result<()> {
        let head = Request {
            flags: request.flags,
            inherited: request.inherit.len() as u32,
            groups: u32::from(request.cgroup.is_some()),
        };
        let fds: Vec<RawFd> =
            request.inherit.iter().map(|(fd, _)| *fd).chain(request.cgroup).map(|fd| fd.as_raw_fd()).collect();
        let mut control = Control::default();
        let mut body = head;
        let mut part = libc::iovec { iov_base: (&raw mut body).cast(), iov_len: size_of::<Request>() };
        // SAFETY: an all-zero msghdr is valid; its pointers are set to live locals, the control buffer is aligned for
        // and large enough to hold one message of CHANNEL descriptors, which `fds` does not exceed.
        let answer = unsafe {
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            if !fds.is_empty() {
                message.msg_control = control.0.as_mut_ptr().cast();
                message.msg_controllen = libc::CMSG_SPACE(size_of_val(&fds[..]) as u32) as _;
                let first = libc::CMSG_FIRSTHDR(&raw const message);
                (*first).cmsg_level = libc::SOL_SOCKET;
                (*first).cmsg_type = libc::SCM_RIGHTS;
                (*first).cmsg_len = libc::CMSG_LEN(size_of_val(&fds[..]) as u32) as _;
                std::ptr::copy_nonoverlapping(fds.as_ptr().cast(), libc::CMSG_DATA(first), size_of_val(&fds[..]));
            }
            libc::sendmsg(self.channel.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
        };
        cvt("sendmsg", answer as i64).map(drop)
    }

    /// The pid, or a negative errno; `None` when the nursery ended, or was late and is ended now.
    fn answer(&self) -> Option<i32> {
        let mut waiting = libc::pollfd { fd: self.channel.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one live pollfd.
        let ready = insist("poll", || unsafe { libc::poll(&raw mut waiting, 1, PATIENCE) }.into());
        if !matches!(ready, Ok(1)) {
            let _ = pidfd_send_signal(self.pidfd.as_fd(), libc::SIGKILL);
            let _ = wait_pidfd(self.pidfd.as_fd(), false);
        }
        let mut bytes = [0; 4];
        // SAFETY: a live buffer of that length.
        let length = insist("recv", || unsafe {
            libc::recv(self.channel.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT) as i64
        });
        matches!(length, Ok(4)).then(|| i32::from_ne_bytes(bytes))
    }
}

/// Makes a call again for which the kernel has no memory. A child has been born by now: who does not hear its number could
/// not look after it. So want of memory is not taken for an answer.
fn insist(name: &'static str, mut call: impl FnMut() -> i64) -> Result<i64> {
    let mut answer = cvt_retry(name, &mut call);
    for _ in 1..ATTEMPTS {
        match &answer {
            Err(error) if matches!(error.errno, libc::ENOMEM | libc::ENOBUFS) => answer = cvt_retry(name, &mut call),
            _ => break,
        }
    }
    answer
}

/// Ends a child that nobody could name later. It is ours and not reaped, so the number is still its own.
fn end_child(pid: i32) {
    // SAFETY: the first call takes two numbers; the second also a live siginfo, which the kernel fills.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let _ = cvt_retry("waitid", || libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, libc::WEXITED));
    }
}

/// It has nothing to lose; what it bore lives on.
impl Drop for Running {
    fn drop(&mut self) {
        let _ = pidfd_send_signal(self.pidfd.as_fd(), libc::SIGKILL);
        let _ = wait_pidfd(self.pidfd.as_fd(), false);
    }
}

/// Room for one message of descriptors, aligned as a control message has to be.
#[repr(align(8))]
struct Control([u8; 320]);

const _: () = assert!(320 >= 24 + 4 * CHANNEL as usize);

impl Default for Control {
    fn default() -> Control {
        Control([0; 320])
    }
}

/// The life of the nursery, with its channel at number `channel`. It returns in each copy, with the descriptors of
/// the request at 0, 1, 2, ... and no others, and all signals open. The nursery itself ends with its channel.
///
/// Call it in a process of one thread that has not opened anything: all other descriptors are closed.
pub fn serve(channel: RawFd) {
    // A terminal's signals must not end it: they are for the daemon, which may have commands to start because of them.
    block_all_signals();
    // SAFETY: numbers only; nothing in this process owns a descriptor.
    let placed = unsafe {
        let placed = libc::dup3(channel, CHANNEL, libc::O_CLOEXEC);
        close_range(0, CHANNEL as usize - 1);
        placed
    };
    if placed != CHANNEL {
        exit_now(super::SPAWN_FAILED_STATUS);
    }
    loop {
        let Some((request, received)) = receive() else { exit_now(0) };
        let answer = if received { copy(request) } else { -libc::EBADF };
        if answer == 0 {
            return;
        }
        let bytes = answer.to_ne_bytes();
        // SAFETY: the descriptors below the channel are those of the request; the buffer is live. An answer that nobody
        // waits for is noticed at the next receive.
        unsafe {
            close_range(0, CHANNEL as usize - 1);
            libc::send(CHANNEL, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL);
        }
    }
}

/// The next request, and whether its descriptors arrived complete and under their numbers; `None` at the end.
fn receive() -> Option<(Request, bool)> {
    let mut request = Request { flags: 0, inherited: 0, groups: 0 };
    let mut control = Control::default();
    let mut part = libc::iovec { iov_base: (&raw mut request).cast(), iov_len: size_of::<Request>() };
    // SAFETY: an all-zero msghdr is valid; its pointers are set to live locals with their lengths. A control message is
    // read only as far as its own length says, which the kernel keeps within the buffer.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len() as _;
        let length =
            cvt_retry("recvmsg", || libc::recvmsg(CHANNEL, &raw mut message, 0) as i64).ok().filter(|n| *n > 0)?;
        let mut count = 0;
        let mut in_place = true;
        let first = libc::CMSG_FIRSTHDR(&raw const message);
        if !first.is_null() && (*first).cmsg_level == libc::SOL_SOCKET && (*first).cmsg_type == libc::SCM_RIGHTS {
            count = ((*first).cmsg_len as usize - libc::CMSG_LEN(0) as usize) / size_of::<RawFd>();
            let data: *const RawFd = libc::CMSG_DATA(first).cast();
            in_place = (0..count).all(|index| data.add(index).read_unaligned() == index as RawFd);
        }
        let wanted = request.inherited as usize + request.groups as usize;
        let whole = message.msg_flags & (libc::MSG_CTRUNC | libc::MSG_TRUNC) == 0;
        Some((request, whole && length as usize == size_of::<Request>() && count == wanted && in_place))
    }
}

/// The pid of the copy, a negative errno, or 0 in the copy.
fn copy(request: Request) -> i32 {
    let (into, cgroup) =
        if request.groups > 0 { (clone_flags::INTO_CGROUP, u64::from(request.inherited)) } else { (0, 0) };
    // With CLONE_PARENT the copy tells its end by the same signal as the nursery, SIGCHLD.
    let arguments =
        CloneArgs { flags: request.flags | PARENT | clone_flags::CLEAR_SIGHAND | into, cgroup, ..CloneArgs::default() };
    // SAFETY: `arguments` is a valid clone_args of the given size and outlives the call; without CLONE_VM the copy runs
    // on a copy of this stack. This process has one thread, so no lock of the C library can be held by another.
    let pid = unsafe {
        syscall6(libc::SYS_clone3 as usize, &raw const arguments as usize, size_of::<CloneArgs>(), 0, 0, 0, 0)
    };
    if pid == 0 {
        let open: u64 = 0;
        // SAFETY: the channel and the group's directory belong to nobody in the copy; `open` is a live mask of 8 bytes.
        unsafe {
            close_range(request.inherited as usize, u32::MAX as usize);
            call(libc::SYS_rt_sigprocmask, [libc::SIG_SETMASK as usize, &raw const open as usize, 0, 8, 0]);
        }
    }
    pid as i32
}

/// Closes these descriptors.
///
/// # Safety
/// Nothing in this process owns one of them.
unsafe fn close_range(first: usize, last: usize) {
    // SAFETY: three numbers; the rest is the caller's word.
    unsafe { call(libc::SYS_close_range, [first, last, 0, 0, 0]) };
}

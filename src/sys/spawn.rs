//! The birth of a process: clone3, a handful of raw calls, exec of a fresh program image.
//!
//! Everything between clone3 and exec is in this file, and nothing else runs there. The child is a plain copy (not
//! CLONE_VM: a tiny memory.max would let the OOM killer end the daemon with it; not CLONE_VFORK: a frozen group would
//! block the daemon), made cheap by [`mark_heap_dontfork`]. The child therefore owns only its stack, static data and
//! one small mapping that is prepared here; it never reads the heap, never allocates, never touches the C library,
//! whose errno lies beside the heap.
//!
//! [`nursery`] gives the same result sooner, for an image that is started again and again.
//!
//! ```text
//! parent: block signals, fill the mapping ── clone3 ── restore the mask, drop the mapping
//! child:                                       └─ descriptors, mask, ambient set, execveat; on failure tell and exit
//! ```

pub mod nursery;

use super::raw::syscall6;
use super::{Result, SysError, cvt};
use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// CLONE_NEWTIME to CLONE_NEWNET and the other flags of clone3(2), as 64-bit numbers. `libc` has two of them as a
/// C `int`, in which they overflow to zero: a child then silently stays in its parent's group.
pub mod clone_flags {
    /// New mount namespace.
    pub const NEWNS: u64 = 0x0002_0000;
    /// New cgroup namespace.
    pub const NEWCGROUP: u64 = 0x0200_0000;
    /// New UTS namespace.
    pub const NEWUTS: u64 = 0x0400_0000;
    /// New IPC namespace.
    pub const NEWIPC: u64 = 0x0800_0000;
    /// New user namespace.
    pub const NEWUSER: u64 = 0x1000_0000;
    /// New pid namespace.
    pub const NEWPID: u64 = 0x2000_0000;
    /// New network namespace.
    pub const NEWNET: u64 = 0x4000_0000;
    /// New time namespace; for unshare(2) and setns(2) only, clone3 reads the bit as part of a signal number.
    pub const NEWTIME: u64 = 0x0000_0080;
    /// Returns a pidfd.
    pub const PIDFD: u64 = 0x0000_1000;
    /// Handlers back to default in the child (since Linux 5.5).
    pub const CLEAR_SIGHAND: u64 = 0x1_0000_0000;
    /// Birth into the group whose directory is given (since Linux 5.7, cgroup v2 only).
    pub const INTO_CGROUP: u64 = 0x2_0000_0000;
}

/// What a new process shall be.
pub struct Spawn<'a> {
    /// Namespaces to make, [`clone_flags`]`::NEW*`.
    pub flags: u64,
    /// Directory of the cgroup v2 group to be born into.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// The executable, opened O_PATH; executed through execveat(AT_EMPTY_PATH).
    pub program: BorrowedFd<'a>,
    /// Arguments; the first is the program's name.
    pub argv: &'a [CString],
    /// Environment, `NAME=value`.
    pub envp: &'a [CString],
    /// Descriptors the program gets, and under which numbers (any, 0 to 2 included, each at most once; best small
    /// and dense). All others are close-on-exec; 0 to 2 stay the caller's where they are not named.
    pub inherit: &'a [(BorrowedFd<'a>, i32)],
    /// Raise the ambient set to all permitted capabilities, so that the exec keeps them: needed in a new user
    /// namespace whose ids are not mapped yet.
    pub raise_ambient: bool,
    /// Told with one [`SpawnFailure`] when the program cannot be executed. Best a socket or pipe that reaches its
    /// end of file by a successful exec.
    pub error: Option<BorrowedFd<'a>>,
}

/// Exit status of a child that could not execute the program.
pub const SPAWN_FAILED_STATUS: i32 = 127;

/// What a child tells before it gives up, as twelve bytes: `rsf!`, the call's number, errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpawnFailure;

impl SpawnFailure {
    /// Length of the message in bytes.
    pub const LENGTH: usize = 12;
    const MAGIC: u32 = u32::from_ne_bytes(*b"rsf!");
    const CALLS: [&'static str; 5] = ["fcntl", "close_range", "dup3", "capset", "execveat"];

    /// The error in a message of a spawned child; `None` for other bytes.
    pub fn parse(bytes: &[u8]) -> Option<SysError> {
        let bytes: &[u8; Self::LENGTH] = bytes.try_into().ok()?;
        let word = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        if u32::from_ne_bytes(word(0)) != Self::MAGIC {
            return None;
        }
        let call = Self::CALLS.get(u32::from_ne_bytes(word(4)) as usize)?;
        Some(SysError { call, errno: i32::from_ne_bytes(word(8)) })
    }
}

/// One inherited descriptor in the forked mapping.
#[derive(Clone, Copy)]
#[repr(C)]
struct Inherited {
    source: i32,
    target: i32,
    /// Where the child keeps it while the targets are still in use by other descriptors.
    parked: i32,
}

/// All the child needs, on its stack; the pointers lead into the forked mapping.
#[derive(Clone, Copy)]
struct Child {
    program: i32,
    error: i32,
    argv: *const *const libc::c_char,
    envp: *const *const libc::c_char,
    inherit: *mut Inherited,
    inherit_len: usize,
    park_above: i32,
    raise_ambient: bool,
}

/// Clones and executes; returns the pid in the caller's pid namespace and a pidfd. It does not wait for the exec: a
/// child in a frozen or exhausted group is born all the same, and what becomes of it shows on `error` and the pidfd.
///
/// # Errors
/// Those of clone3(2): EAGAIN (pids.max, RLIMIT_NPROC), ENOSPC (a namespace limit), EPERM, EBUSY (the group has
/// controllers for children), ENOMEM; of mmap(2) for the mapping; EINVAL for an empty argv.
pub fn spawn(request: &Spawn<'_>) -> Result<(i32, OwnedFd)> {
    if request.argv.is_empty() {
        return Err(SysError::new("execveat", libc::EINVAL));
    }
    let arena = Arena::new(request)?;
    let child = arena.child(request);
    let mut pidfd: i32 = -1;
    let mut flags = request.flags | clone_flags::PIDFD | clone_flags::CLEAR_SIGHAND;
    let mut cgroup = 0;
    if let Some(directory) = request.cgroup {
        flags |= clone_flags::INTO_CGROUP;
        cgroup = directory.as_raw_fd() as u64;
    }
    let arguments = CloneArgs {
        flags,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        cgroup,
        ..CloneArgs::default()
    };
    let old_mask = block_all_signals();
    // SAFETY: `arguments` is a valid clone_args of the given size and outlives the call; without CLONE_VM the child
    // runs on a copy of this stack and goes straight to `run`, which keeps to what was forked.
    let pid = unsafe {
        syscall6(libc::SYS_clone3 as usize, &raw const arguments as usize, size_of::<CloneArgs>(), 0, 0, 0, 0)
    };
    if pid == 0 {
        // SAFETY: we are the only thread of a fresh copy; `child` points into the forked mapping of this function.
        unsafe { run(&child) }
    }
    restore_signals(&old_mask);
    drop(arena);
    if pid < 0 {
        return Err(SysError::new("clone3", -pid as i32));
    }
    // SAFETY: clone3 succeeded with CLONE_PIDFD, so it stored a new descriptor that nobody else owns.
    Ok((pid as i32, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// `struct clone_args` of clone3(2), 88 bytes (version 2, since Linux 5.7).
#[derive(Default)]
#[repr(C)]
pub(super) struct CloneArgs {
    pub flags: u64,
    pub pidfd: u64,
    pub child_tid: u64,
    pub parent_tid: u64,
    pub exit_signal: u64,
    pub stack: u64,
    pub stack_size: u64,
    pub tls: u64,
    pub set_tid: u64,
    pub set_tid_size: u64,
    pub cgroup: u64,
}

/// The life of the child. Raw system calls only.
///
/// # Safety
/// Runs in a child of `clone3` without CLONE_VM; every pointer of `child` leads into memory that was forked.
///
/// # Async-signal-safety
/// Safe: no allocation, no C library, no panic (indices are pointers with counted loops), no destructor.
unsafe fn run(child: &Child) -> ! {
    // SAFETY: each call gets scalars, or pointers into the forked mapping or this stack, valid for that call.
    unsafe {
        // Park everything above the targets first: a source may have the number of another's target.
        let park = |fd: i32| {
            call(libc::SYS_fcntl, [fd as usize, libc::F_DUPFD_CLOEXEC as usize, child.park_above as usize, 0, 0])
        };
        let error = if child.error >= 0 { park(child.error) as i32 } else { -1 };
        let program = park(child.program);
        if program < 0 {
            fail(error, 0, program);
        }
        for index in 0..child.inherit_len {
            let entry = &mut *child.inherit.add(index);
            let parked = park(entry.source);
            if parked < 0 {
                fail(error, 0, parked);
            }
            entry.parked = parked as i32;
        }
        // Nothing but what is listed survives the exec, whoever forgot a close-on-exec flag.
        let closed = call(libc::SYS_close_range, [3, u32::MAX as usize, CLOSE_RANGE_CLOEXEC, 0, 0]);
        if closed < 0 {
            fail(error, 1, closed);
        }
        for index in 0..child.inherit_len {
            let entry = &*child.inherit.add(index);
            let placed = call(libc::SYS_dup3, [entry.parked as usize, entry.target as usize, 0, 0, 0]);
            if placed < 0 {
                fail(error, 2, placed);
            }
        }
        if child.raise_ambient {
            let raised = raise_ambient();
            if raised < 0 {
                fail(error, 3, raised);
            }
        }
        let empty: u64 = 0;
        call(libc::SYS_rt_sigprocmask, [libc::SIG_SETMASK as usize, &raw const empty as usize, 0, 8, 0]);
        let executed = call(
            libc::SYS_execveat,
            [
                program as usize,
                c"".as_ptr() as usize,
                child.argv as usize,
                child.envp as usize,
                libc::AT_EMPTY_PATH as usize,
            ],
        );
        fail(error, 4, executed)
    }
}

const CLOSE_RANGE_CLOEXEC: usize = 4;
const PR_CAP_AMBIENT: usize = 47;
const PR_CAP_AMBIENT_RAISE: usize = 2;

/// # Safety
/// As [`syscall6`].
#[inline(always)]
unsafe fn call(number: libc::c_long, arguments: [usize; 5]) -> isize {
    let [a, b, c, d, e] = arguments;
    // SAFETY: the caller's.
    unsafe { syscall6(number as usize, a, b, c, d, e, 0) }
}

/// Inheritable = permitted, then every permitted capability into the ambient set; a negative errno on failure.
///
/// # Safety
/// Runs in the child of [`run`].
unsafe fn raise_ambient() -> isize {
    // _LINUX_CAPABILITY_VERSION_3: two halves of 32 bits, each effective, permitted, inheritable.
    let header: [u32; 2] = [0x2008_0522, 0];
    let mut data = [[0u32; 3]; 2];
    // SAFETY: header and data are live arrays of the sizes that version 3 asks for.
    unsafe {
        let got = call(libc::SYS_capget, [&raw const header as usize, &raw mut data as usize, 0, 0, 0]);
        if got < 0 {
            return got;
        }
        let [low, high] = &mut data;
        low[2] = low[1];
        high[2] = high[1];
        let permitted = u64::from(low[1]) | u64::from(high[1]) << 32;
        let set = call(libc::SYS_capset, [&raw const header as usize, &raw const data as usize, 0, 0, 0]);
        if set < 0 {
            return set;
        }
        for bit in 0..64usize {
            if permitted >> bit & 1 == 1 {
                let raised = call(libc::SYS_prctl, [PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, bit, 0, 0]);
                if raised < 0 {
                    return raised;
                }
            }
        }
    }
    0
}

/// Tells the parent and ends.
///
/// # Safety
/// Runs in the child of [`run`].
unsafe fn fail(error: i32, which: u32, answer: isize) -> ! {
    let message: [u32; 3] = [SpawnFailure::MAGIC, which, (-answer) as u32];
    // SAFETY: the message is a live array of 12 bytes; exit_group takes a number.
    unsafe {
        if error >= 0 {
            call(libc::SYS_write, [error as usize, &raw const message as usize, SpawnFailure::LENGTH, 0, 0]);
        }
        loop {
            call(libc::SYS_exit_group, [SPAWN_FAILED_STATUS as usize, 0, 0, 0, 0]);
        }
    }
}

/// The small mapping that is forked: argument and environment pointers, descriptors, and the strings.
struct Arena {
    start: *mut u8,
    length: usize,
}

impl Arena {
    fn new(request: &Spawn<'_>) -> Result<Arena> {
        let strings: usize =
            request.argv.iter().chain(request.envp).map(|string| string.as_bytes_with_nul().len()).sum();
        let pointers = (request.argv.len() + request.envp.len() + 2) * size_of::<*const u8>();
        let length = pointers + request.inherit.len() * size_of::<Inherited>() + strings;
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no other memory.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(SysError::last("mmap"));
        }
        Ok(Arena { start: start.cast(), length })
    }

    /// Lays the request out in the mapping, as [`Arena::new`] computed its length.
    fn child(&self, request: &Spawn<'_>) -> Child {
        let argv: *mut *const libc::c_char = self.start.cast();
        // SAFETY: the mapping holds, in this order and by the sum in `new`: argv and its null, envp and its null, the
        // descriptors (4-byte aligned after 8-byte pointers), the strings; each pointer below stays inside its part.
        unsafe {
            let envp = argv.add(request.argv.len() + 1);
            let inherit: *mut Inherited = envp.add(request.envp.len() + 1).cast();
            let mut text: *mut u8 = inherit.add(request.inherit.len()).cast();
            for (table, strings) in [(argv, request.argv), (envp, request.envp)] {
                for (index, string) in strings.iter().enumerate() {
                    let bytes = string.as_bytes_with_nul();
                    ptr::copy_nonoverlapping(bytes.as_ptr(), text, bytes.len());
                    *table.add(index) = text.cast();
                    text = text.add(bytes.len());
                }
                *table.add(strings.len()) = ptr::null();
            }
            let mut park_above = 3;
            for (index, (source, target)) in request.inherit.iter().enumerate() {
                *inherit.add(index) = Inherited { source: source.as_raw_fd(), target: *target, parked: -1 };
                park_above = park_above.max(target + 1);
            }
            Child {
                program: request.program.as_raw_fd(),
                error: request.error.map_or(-1, |fd| fd.as_raw_fd()),
                argv,
                envp,
                inherit,
                inherit_len: request.inherit.len(),
                park_above,
                raise_ambient: request.raise_ambient,
            }
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: start and length are those of our own mapping, to which no pointer is left in the parent.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}

/// Blocks all signals: a handler of the daemon must not run in the child, nor in the parent while the child is made.
fn block_all_signals() -> libc::sigset_t {
    // SAFETY: both sets are live local variables; sigfillset and pthread_sigmask fill them.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut old: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut old);
        old
    }
}

fn restore_signals(old: &libc::sigset_t) {
    // SAFETY: `old` was filled by pthread_sigmask.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, old, ptr::null_mut()) };
}

/// Bytes at the start of the heap that stay forked: the thread control block of a static program lies there, and the
/// kernel itself writes to it in the child (restartable sequences).
const THREAD_BLOCK: usize = 32 * 1024;

/// End of what was marked last; 0 before the first time.
static MARKED_END: AtomicUsize = AtomicUsize::new(0);
/// First byte that may be marked.
static MARKED_START: AtomicUsize = AtomicUsize::new(0);

/// Keeps the heap out of children made by [`spawn`] (MADV_DONTFORK), so that a clone costs the same at any size of
/// the daemon. The mark does not cover later growth: call it before each spawn; when the heap has not grown since, it
/// makes no system call.
///
/// After it no child of a plain fork(2) may touch the heap: it would die of SIGSEGV. [`spawn`] keeps to that, and so
/// does posix_spawn(3) (which shares the memory), as `std::process::Command` uses it without `pre_exec`, `uid`, `gid`
/// or `groups`.
///
/// # Errors
/// Of madvise(2), or of reading `/proc/self/maps` at the first call; the mark is only for speed.
pub fn mark_heap_dontfork() -> Result<()> {
    if MARKED_START.load(Ordering::Relaxed) == 0 {
        let start = heap_start()?;
        // SAFETY: pthread_self takes nothing and answers the address of the thread control block.
        let thread = unsafe { libc::pthread_self() } as usize;
        let keep = if (start..start + THREAD_BLOCK).contains(&thread) { thread + THREAD_BLOCK } else { start };
        MARKED_START.store(keep.next_multiple_of(PAGE), Ordering::Relaxed);
    }
    // SAFETY: sbrk(0) only reads the current end of the heap.
    let end = unsafe { libc::sbrk(0) } as usize & !(PAGE - 1);
    if MARKED_END.swap(end, Ordering::Relaxed) == end {
        return Ok(());
    }
    let start = MARKED_START.load(Ordering::Relaxed);
    if end <= start {
        return Ok(());
    }
    // SAFETY: MADV_DONTFORK changes nothing in this process, and children of `spawn` do not use the heap.
    cvt("madvise", unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTFORK) }).map(drop)
}

/// Granularity of the mark; a multiple of every page size in use (4 to 64 KiB).
const PAGE: usize = 64 * 1024;

/// Where the kernel put the heap of this process.
fn heap_start() -> Result<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps")
        .map_err(|error| SysError::new("read", error.raw_os_error().unwrap_or(libc::EIO)))?;
    let line = maps.lines().find(|line| line.ends_with("[heap]"));
    line.and_then(|line| line.split('-').next())
        .and_then(|start| usize::from_str_radix(start, 16).ok())
        .ok_or(SysError::new("madvise", libc::ENOENT))
}

#[cfg(test)]
mod tests;

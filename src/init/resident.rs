//! The resident init: PID 1 of a service's container after the set-up stage.
//!
//! A freestanding program, no module of the crate: no `std`, no C library, no allocation; `build.rs` compiles it and
//! the stage executes it from a sealed memfd. It reaps, forwards signals from outside to the main process, keeps a few
//! descriptors open, tells how each child ended, and ends itself when no child is left, with the main process's
//! status (0 to 255, or 128 + signal). It decides nothing: what happens to processes that outlive the main one is the
//! daemon's business.
//!
//! ```text
//! argv: name, pid of the main process, exits, record, gate   (descriptors by number, -1: none)
//! found at start: all signals blocked, the main process forked, every descriptor but these and the pinned ones closed
//! promise: one byte in the gate and its end of file come after "not dumpable, record mapped and the time in it, CAP_KILL only"
//! ```
//!
//! Without arguments, or with one, it is a keeper instead (`keeper`): it does nothing but have descriptors open. With three
//! it answers denied system calls (`answerer`).
//!
//! The record is a store into a shared mapping, because a root payload may forbid PID 1 to write files with
//! `prlimit(1, RLIMIT_FSIZE, 0)`, but cannot take a mapping away.
#![no_std]
#![no_main]
#![deny(unsafe_op_in_unsafe_fn)]

#[path = "answerer.rs"]
mod answerer;
#[path = "keeper.rs"]
mod keeper;
#[path = "../sys/raw.rs"]
mod raw;

use core::sync::atomic::{AtomicU32, Ordering};
use raw::syscall6;

/// System call numbers, as the kernel's tables have them.
#[cfg(target_arch = "x86_64")]
mod number {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const IOCTL: usize = 16;
    pub const OPENAT: usize = 257;
    pub const MMAP: usize = 9;
    pub const KILL: usize = 62;
    pub const PRCTL: usize = 157;
    pub const CAPGET: usize = 125;
    pub const CAPSET: usize = 126;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const SETSID: usize = 112;
    pub const PPOLL: usize = 271;
    pub const CLOCK_GETTIME: usize = 228;
    pub const EXIT_GROUP: usize = 231;
    pub const WAITID: usize = 247;
    pub const SENDTO: usize = 44;
    pub const RECVMSG: usize = 47;
    pub const DUP3: usize = 292;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const IOCTL: usize = 29;
    pub const OPENAT: usize = 56;
    pub const CLOSE: usize = 57;
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const CAPGET: usize = 90;
    pub const CAPSET: usize = 91;
    pub const EXIT_GROUP: usize = 94;
    pub const WAITID: usize = 95;
    pub const CLOCK_GETTIME: usize = 113;
    pub const PRCTL: usize = 167;
    pub const KILL: usize = 129;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const SETSID: usize = 157;
    pub const PPOLL: usize = 73;
    pub const MMAP: usize = 222;
    pub const DUP3: usize = 24;
    pub const SENDTO: usize = 206;
    pub const RECVMSG: usize = 212;
}

// The very first instructions make the process non-dumpable: prctl(PR_SET_DUMPABLE, 0). Exec has just reset that, and
// until it is done the payload's user could attach to us.
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "mov edi, 4",
    "xor esi, esi",
    "mov eax, 157",
    "syscall",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {main}",
    main = sym main,
);

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "mov x0, #4",
    "mov x1, #0",
    "mov x8, #167",
    "svc 0",
    "mov x0, sp",
    "bl {main}",
    main = sym main,
);

const SIGCHLD: isize = 17;
const EINTR: isize = -4;
const ECHILD: isize = -10;
/// Exit status when the record cannot be mapped or the arguments are not ours.
const FAILED: i32 = 71;
/// `plan::wire::RECORD_FILE_SIZE`, `RECORD_MAGIC` and the length of a record.
const RECORD_FILE_SIZE: usize = 4096;
const RECORD_MAGIC: u32 = 0x7273_7663;
const RECORD_SIZE: usize = 32;
/// Records in the ring behind the main process's.
const RING: u64 = (RECORD_FILE_SIZE / RECORD_SIZE - 1) as u64;
const CAP_KILL: u32 = 1 << 5;

/// `struct siginfo` as far as we read it: SIGCHLD and kill share the place of the pid.
#[repr(C)]
struct SignalInfo {
    signal: i32,
    errno: i32,
    code: i32,
    padding: i32,
    pid: i32,
    uid: u32,
    status: i32,
    rest: [u32; 25],
}

/// `plan::wire::ExitRecord`, version 1.
#[repr(C)]
struct Record {
    magic: u32,
    pid: i32,
    code: i32,
    status: i32,
    boottime: u64,
    sequence: u64,
}

struct Init {
    main_pid: i32,
    /// Exit status of the container; set when the main process has ended.
    main_status: Option<i32>,
    exits: i32,
    /// Null without a record file.
    record: *mut Record,
    /// Records told so far.
    told: u64,
    /// Records in the ring so far.
    others: u64,
}

/// # Safety
/// `stack` is the initial stack pointer: argc, then argc pointers to C strings.
unsafe extern "C" fn main(stack: *const usize) -> ! {
    // SAFETY: see above; indices below argc are checked.
    let (count, argument) =
        unsafe { (*stack, |index: usize| if index < *stack { parse(*stack.add(1 + index) as *const u8) } else { -1 }) };
    let (main_pid, exits, record, gate) = (argument(1), argument(2), argument(3), argument(4));
    match count {
        1 => keeper::keep(),
        2 => keeper::serve(argument(1)),
        4 => answerer::answer(argument(1), argument(2)),
        _ => {}
    }
    if count < 5 || main_pid <= 0 {
        exit(FAILED);
    }
    let mut init = Init { main_pid, main_status: None, exits, record: map(record), told: 0, others: 0 };
    set_name(c"rsvc-init");
    keep_capabilities(CAP_KILL);
    // Of what exec let through, these are of no more use: the standard streams could hold a log pipe open.
    for fd in [0, 1, 2, record] {
        close(fd);
    }
    init.note_begin();
    if gate >= 0 {
        // SAFETY: one byte of a static string.
        unsafe { syscall6(number::WRITE, gate as usize, b"r".as_ptr() as usize, 1, 0, 0, 0) };
        close(gate);
    }
    loop {
        init.reap();
        init.wait_for_signal();
    }
}

impl Init {
    /// The main process may begin now: who finds this and no record of its end knows that both were killed.
    fn note_begin(&mut self) {
        if !self.record.is_null() {
            // SAFETY: the first record of the mapping, which has no magic yet.
            unsafe { (&raw mut (*self.record).boottime).write_volatile(boottime()) };
        }
    }

    /// Tells of all children that have ended; ends the container when there are none left.
    fn reap(&mut self) {
        loop {
            let mut info = SignalInfo::empty();
            const P_ALL: usize = 0;
            const P_PID: usize = 1;
            const WNOHANG_WEXITED: usize = 1 | 4;
            const WNOWAIT: usize = 0x0100_0000;
            // SAFETY: `info` has the kernel's size and is live for the call.
            let answer = unsafe {
                syscall6(number::WAITID, P_ALL, 0, &raw mut info as usize, WNOHANG_WEXITED | WNOWAIT, 0, 0)
            };
            if answer == ECHILD {
                exit(self.main_status.unwrap_or(FAILED));
            }
            if answer < 0 || info.pid == 0 {
                return;
            }
            // Told first, reaped then: a daemon that finds the child gone finds the record too.
            self.tell(&info);
            // SAFETY: numbers; nothing is written.
            unsafe { syscall6(number::WAITID, P_PID, info.pid as usize, 0, WNOHANG_WEXITED, 0, 0) };
        }
    }

    /// Writes the record of one ended child to the mapping and the pipe.
    fn tell(&mut self, info: &SignalInfo) {
        let is_main = info.pid == self.main_pid && self.main_status.is_none();
        const CLD_EXITED: i32 = 1;
        if is_main {
            self.main_status = Some(if info.code == CLD_EXITED { info.status & 0xff } else { 128 + info.status });
        }
        self.told += 1;
        let record = Record {
            magic: RECORD_MAGIC,
            pid: info.pid,
            code: info.code,
            status: info.status,
            boottime: boottime(),
            sequence: self.told,
        };
        if !self.record.is_null() {
            let index = if is_main {
                0
            } else {
                self.others += 1;
                1 + ((self.others - 1) % RING) as usize
            };
            // SAFETY: the mapping holds 1 + RING records, and `index` is at most RING. The file has its full size
            // (the daemon sized it; were it cut, we would die of SIGBUS with the container, which is no worse).
            unsafe {
                let place = self.record.add(index);
                let magic = AtomicU32::from_ptr(&raw mut (*place).magic);
                // A reader must never see a valid magic over half a record: away first, back last.
                magic.store(0, Ordering::Release);
                (&raw mut (*place).pid).write_volatile(record.pid);
                (&raw mut (*place).code).write_volatile(record.code);
                (&raw mut (*place).status).write_volatile(record.status);
                (&raw mut (*place).boottime).write_volatile(record.boottime);
                (&raw mut (*place).sequence).write_volatile(record.sequence);
                magic.store(RECORD_MAGIC, Ordering::Release);
            }
        }
        if self.exits >= 0 {
            // A full pipe (the daemon will read the record file) and a missing reader are both fine.
            // SAFETY: a live record of RECORD_SIZE bytes.
            unsafe { syscall6(number::WRITE, self.exits as usize, &raw const record as usize, RECORD_SIZE, 0, 0, 0) };
        }
    }

    /// Sleeps until a signal is pending, takes it, and forwards it when it came from outside.
    fn wait_for_signal(&self) {
        let all: u64 = !0;
        let mut info = SignalInfo::empty();
        // SAFETY: set and info are live; no time limit; 8 is the size of the kernel's signal set.
        let signal = unsafe {
            syscall6(number::RT_SIGTIMEDWAIT, &raw const all as usize, &raw mut info as usize, 0, 8, 0, 0)
        };
        if signal <= 0 || signal == SIGCHLD {
            return;
        }
        // Codes above 0 come from the kernel. Of the rest, a sender that has no pid here is outside; the payload's own
        // signals to its PID 1 have no effect, as in a machine.
        let from_outside = info.code <= 0 && info.pid == 0;
        if from_outside && self.main_status.is_none() {
            // SAFETY: two numbers. The main process has not been reaped, so the pid is still its own.
            unsafe { syscall6(number::KILL, self.main_pid as usize, signal as usize, 0, 0, 0, 0) };
        }
    }
}

impl SignalInfo {
    fn empty() -> SignalInfo {
        SignalInfo { signal: 0, errno: 0, code: 0, padding: 0, pid: 0, uid: 0, status: 0, rest: [0; 25] }
    }
}

const _: () = assert!(size_of::<SignalInfo>() == 128 && size_of::<Record>() == RECORD_SIZE);

/// Maps the record file; null without one.
fn map(fd: i32) -> *mut Record {
    if fd < 0 {
        return core::ptr::null_mut();
    }
    const READ_WRITE: usize = 1 | 2;
    const MAP_SHARED: usize = 1;
    // SAFETY: a new mapping where the kernel likes.
    let address = unsafe { syscall6(number::MMAP, 0, RECORD_FILE_SIZE, READ_WRITE, MAP_SHARED, fd as usize, 0) };
    if (-4095..0).contains(&address) {
        exit(FAILED);
    }
    address as *mut Record
}

/// Exec from a descriptor would show its number as the name.
fn set_name(name: &core::ffi::CStr) {
    const PR_SET_NAME: usize = 15;
    // SAFETY: a terminated string.
    unsafe { syscall6(number::PRCTL, PR_SET_NAME, name.as_ptr() as usize, 0, 0, 0, 0) };
}

/// Drops every capability but these. Init keeps CAP_KILL, without which a payload of another user could not be
/// signalled. The answer is what was permitted before, of the lower 32.
fn keep_capabilities(keep: u32) -> u32 {
    let header: [u32; 2] = [0x2008_0522, 0];
    // Two halves of effective, permitted, inheritable.
    let mut data = [0u32; 6];
    // SAFETY: header and data have the form of version 3.
    unsafe {
        syscall6(number::CAPGET, &raw const header as usize, &raw mut data as usize, 0, 0, 0, 0);
        let before = data[1];
        let kept = before & keep;
        data = [kept, kept, 0, 0, 0, 0];
        if syscall6(number::CAPSET, &raw const header as usize, &raw const data as usize, 0, 0, 0, 0) < 0 {
            exit(FAILED);
        }
        before
    }
}

/// CLOCK_BOOTTIME in nanoseconds.
fn boottime() -> u64 {
    const CLOCK_BOOTTIME: usize = 7;
    let mut time = [0u64; 2];
    // SAFETY: a live timespec.
    unsafe { syscall6(number::CLOCK_GETTIME, CLOCK_BOOTTIME, &raw mut time as usize, 0, 0, 0, 0) };
    let [seconds, nanoseconds] = time;
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds)
}

fn close(fd: i32) {
    if fd >= 0 {
        // SAFETY: a number.
        unsafe { syscall6(number::CLOSE, fd as usize, 0, 0, 0, 0, 0) };
    }
}

fn exit(status: i32) -> ! {
    loop {
        // SAFETY: a number.
        unsafe { syscall6(number::EXIT_GROUP, status as usize, 0, 0, 0, 0, 0) };
    }
}

/// A decimal number, with an optional minus; -1 for anything else.
///
/// # Safety
/// `text` is a C string.
unsafe fn parse(mut text: *const u8) -> i32 {
    let mut value: i32 = 0;
    // SAFETY: we stop at the terminating zero.
    unsafe {
        if *text == 0 {
            return -1;
        }
        while *text != 0 {
            let digit = (*text).wrapping_sub(b'0');
            if digit > 9 {
                return -1;
            }
            value = value.wrapping_mul(10).wrapping_add(digit as i32);
            text = text.add(1);
        }
    }
    value
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(FAILED)
}

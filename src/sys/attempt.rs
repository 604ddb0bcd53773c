//! Calls that are made only to see whether they are let through (`rsvc verify`).
//!
//! All of it happens in a copy of the process that has no other purpose and ends afterwards, so that a call that kills or
//! hangs is one answer and not the end ([`in_a_copy`]). Memory is given to the kernel as zeros or constants that are copied
//! first; numbers are what the table of doors has, none of which is an address of this process.

use super::process::{self, Fork};
use std::ffi::CStr;
use std::os::fd::BorrowedFd;

/// One argument of a call.
#[derive(Clone, Copy, Debug)]
pub enum Word {
    /// A number: a flag, a descriptor, or an address that is never mapped (below 4096, or negative).
    Number(i64),
    /// Address of a string.
    Text(&'static CStr),
    /// Address of a buffer of a page that begins with these bytes, else zeros; the kernel may write to it.
    Bytes(&'static [u8]),
    /// This process's own pid.
    OwnPid,
}

/// The raw errno of a call that failed.
pub type Answer = Result<i64, i32>;

/// Room behind each [`Word::Bytes`]; more than any of the calls reads or writes.
const PAGE: usize = 4096;

/// Makes a call. A new process that it should bring about ends at once.
pub fn call(number: libc::c_long, words: &[Word]) -> Answer {
    let mut pages: Vec<Vec<u8>> = Vec::with_capacity(words.len());
    let mut numbers = [0; 6];
    for (word, number) in words.iter().zip(&mut numbers) {
        *number = match word {
            Word::Number(number) => *number,
            Word::Text(text) => text.as_ptr() as i64,
            Word::OwnPid => process::own_pid().into(),
            Word::Bytes(bytes) => {
                let mut page = bytes.to_vec();
                page.resize(PAGE.max(bytes.len()), 0);
                let address = page.as_mut_ptr() as i64;
                pages.push(page);
                address
            }
        };
    }
    let [a, b, c, d, e, f] = numbers;
    // SAFETY: addresses are of live strings and of live buffers of a page; what the kernel writes to it has room there. The
    // numbers come from the table of doors: none is the address of a mapping, and none of the calls that it names unmaps
    // or moves memory (mmap(2) and mprotect(2) have functions of their own below).
    let answer = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    match answer {
        -1 => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
        // clone(2): what it made must not go on as this process.
        0 if number == libc::SYS_clone => process::exit_now(0),
        answer => Ok(answer),
    }
}

/// mmap(2) of a page that can be written and executed.
pub fn map_writable_executable() -> Answer {
    let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    map(all).map(|_| 0)
}

/// mprotect(2) of a page that was writable to executable: what a just-in-time compiler does.
pub fn make_executable() -> Answer {
    let address = map(libc::PROT_READ | libc::PROT_WRITE)?;
    // SAFETY: the page was just mapped here, and nothing uses it.
    let answer = unsafe { libc::mprotect(address, PAGE, libc::PROT_READ | libc::PROT_EXEC) };
    if answer == 0 { Ok(0) } else { Err(errno()) }
}

fn map(protection: libc::c_int) -> Result<*mut libc::c_void, i32> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: new anonymous memory where the kernel likes.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, protection, flags, -1, 0) };
    if address == libc::MAP_FAILED { Err(errno()) } else { Ok(address) }
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// getpid(2) by the 32-bit entry of x86 (`int 0x80`), where there is one.
#[cfg(target_arch = "x86_64")]
pub fn enter_as_x86() -> Answer {
    const GETPID: i64 = 20;
    let mut answer: i64 = GETPID;
    // SAFETY: takes a number and gives one; the entry keeps all registers but rax (r8 to r11 were cleared by older kernels).
    unsafe {
        core::arch::asm!("int 0x80", inlateout("rax") answer, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    // The upper half is not part of the answer.
    match answer as i32 {
        error @ -4095..0 => Err(-error),
        pid => Ok(pid.into()),
    }
}

/// There is no such entry.
#[cfg(not(target_arch = "x86_64"))]
pub fn enter_as_x86() -> Answer {
    Err(libc::ENOSYS)
}

/// How a copy of this process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyEnd {
    /// By itself.
    Exited,
    /// By this signal; SIGALRM: it took too long.
    Killed(i32),
}

/// Runs `work` in a copy of this process that has so many seconds, and waits for it.
///
/// # Errors
/// Of fork(2) and waitid(2).
pub fn in_a_copy(seconds: u32, work: impl FnOnce()) -> super::Result<CopyEnd> {
    const CLD_EXITED: i32 = process::CLD_EXITED;
    match process::fork()? {
        Fork::Child => {
            // SAFETY: takes a number. Its signal has its default action, which ends the copy.
            unsafe { libc::alarm(seconds) };
            work();
            process::exit_now(0)
        }
        Fork::Parent(child) => loop {
            let Some(end) = process::wait_any(false)? else { continue };
            if end.pid == child {
                return Ok(if end.code == CLD_EXITED { CopyEnd::Exited } else { CopyEnd::Killed(end.status) });
            }
        },
    }
}

/// Soft and hard limit of one RLIMIT_* of this process.
pub fn limit(resource: i32) -> Option<(u64, u64)> {
    super::confine::limit(resource).ok()
}

/// Writes to standard output.
///
/// # Errors
/// Of write(2).
pub fn say(bytes: &[u8]) -> super::Result<()> {
    // SAFETY: the probe has its standard output open for as long as it lives.
    let output = unsafe { BorrowedFd::borrow_raw(1) };
    super::fd::write_all(&output, bytes)
}

//! The system call instruction itself, for code that may not touch the C library.
//!
//! Used where there is no libc state to rely on: between clone3 and exec (where errno lives in memory that is not
//! forked) and in the freestanding resident init, which includes this very file. No dependency, not even on `std`.

/// Makes system call `number` with six arguments; returns the kernel's answer, a negative errno on failure.
///
/// # Safety
/// The caller guarantees what the kernel will do with the arguments: pointers are valid for the lengths and the kind
/// of access of that call.
///
/// # Async-signal-safety
/// Safe: one instruction, no memory besides what the call itself uses.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub unsafe fn syscall6(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> isize {
    let result: isize;
    // SAFETY: the kernel clobbers rax, rcx and r11 only (System V ABI, Linux appendix); the rest is the caller's word.
    unsafe {
        core::arch::asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// Makes system call `number` with six arguments; returns the kernel's answer, a negative errno on failure.
///
/// # Safety
/// The caller guarantees what the kernel will do with the arguments: pointers are valid for the lengths and the kind
/// of access of that call.
///
/// # Async-signal-safety
/// Safe: one instruction, no memory besides what the call itself uses.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub unsafe fn syscall6(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> isize {
    let result: isize;
    // SAFETY: the kernel changes x0 only (Linux arm64 calling convention); the rest is the caller's word.
    unsafe {
        core::arch::asm!("svc 0", inlateout("x0") a as isize => result, in("x1") b, in("x2") c, in("x3") d,
            in("x4") e, in("x5") f, in("x8") number, options(nostack));
    }
    result
}

//! Which system calls this kernel has: each is called with arguments that can have no effect.

use super::cvt;

/// clone3(2) (since Linux 5.3)? Asked with a size of zero, which it refuses.
pub fn has_clone3() -> bool {
    // SAFETY: with size 0 the kernel answers EINVAL before it reads the pointer.
    known(unsafe { libc::syscall(libc::SYS_clone3, std::ptr::null::<u8>(), 0usize) })
}

/// mount_setattr(2) (since Linux 5.12)? Asked with a size of zero, which it refuses.
pub fn has_mount_setattr() -> bool {
    // SAFETY: with size 0 the kernel answers EINVAL before it reads a pointer.
    known(unsafe {
        libc::syscall(libc::SYS_mount_setattr, -1, std::ptr::null::<u8>(), 0u32, std::ptr::null::<u8>(), 0usize)
    })
}

/// Version of the Landlock interface, from 1; `None` where it is missing or switched off.
pub fn landlock_abi() -> Option<u32> {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    // SAFETY: with this flag pointer and size must be zero, and only a number is returned.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    cvt("landlock_create_ruleset", answer).ok().and_then(|abi| u32::try_from(abi).ok())
}

/// Can refusals of a filter be left to a listener (SECCOMP_RET_USER_NOTIF, since Linux 5.0)?
pub fn has_seccomp_listeners() -> bool {
    const SECCOMP_GET_ACTION_AVAIL: libc::c_uint = 2;
    let action: u32 = 0x7fc0_0000;
    // SAFETY: reads one word, which lives.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    answer == 0
}

fn known(answer: libc::c_long) -> bool {
    !matches!(cvt("probe", answer), Err(error) if error.errno == libc::ENOSYS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_every_supported_kernel_has_are_found() {
        assert!(has_clone3());
        assert!(has_mount_setattr());
    }

    #[test]
    fn an_unknown_call_is_not() {
        // SAFETY: no kernel has a call of this number.
        assert!(!known(unsafe { libc::syscall(0x0fff_ffff) }));
    }
}

//! Restrictions and attributes of the process: filters, limits, namespaces, names, priorities.

use super::{Named, Result, SysError, cvt};
use std::os::fd::{AsRawFd, BorrowedFd};

/// A filter in the form that the kernel reads, made before the point from which no memory may be allocated.
pub struct Filter {
    instructions: Vec<libc::sock_filter>,
}

/// SECCOMP_FILTER_FLAG_LOG
const FLAG_LOG: libc::c_uint = 2;

impl Filter {
    /// From instructions of (code, jt, jf, k).
    ///
    /// # Errors
    /// EINVAL when there are none or more than 4096 (BPF_MAXINSNS).
    pub fn new(program: &[(u16, u8, u8, u32)]) -> Result<Filter> {
        if program.is_empty() || program.len() > 4096 {
            return Err(SysError::new("seccomp", libc::EINVAL));
        }
        let instructions = program.iter().map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect();
        Ok(Filter { instructions })
    }

    /// seccomp(2) SECCOMP_SET_MODE_FILTER; `log` adds SECCOMP_FILTER_FLAG_LOG. Makes no other system call.
    ///
    /// # Errors
    /// EACCES without no_new_privs or CAP_SYS_ADMIN, EINVAL for a bad program or a kernel without filters, ENOMEM.
    pub fn load(&self, log: bool) -> Result<()> {
        self.load_with(if log { FLAG_LOG } else { 0 }).map(drop)
    }

    /// The same, for a filter with SECCOMP_RET_USER_NOTIF: the number of the new descriptor that answers are given by
    /// (seccomp_unotify(2)), close-on-exec. Makes no other system call, and one for kernels before 5.19 one more.
    ///
    /// # Errors
    /// As [`Filter::load`]; EBUSY when the process has such a filter already.
    pub fn load_for_listener(&self, log: bool) -> Result<i32> {
        const FLAG_NEW_LISTENER: libc::c_uint = 8;
        // A caller that waits for an answer is not interrupted by signals that do not kill it (Linux 5.19).
        const FLAG_WAIT_KILLABLE: libc::c_uint = 32;
        let flags = FLAG_NEW_LISTENER | if log { FLAG_LOG } else { 0 };
        match self.load_with(flags | FLAG_WAIT_KILLABLE) {
            Err(error) if error.errno == libc::EINVAL => self.load_with(flags),
            other => other,
        }
    }

    fn load_with(&self, flags: libc::c_uint) -> Result<i32> {
        const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;
        let table =
            libc::sock_fprog { len: self.instructions.len() as u16, filter: self.instructions.as_ptr().cast_mut() };
        // SAFETY: the table points to `len` live instructions, which the kernel copies, checks and does not change.
        let answer = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const table) };
        cvt("seccomp", answer).map(|answer| answer as i32)
    }
}

/// RLIMIT_* of getrlimit(2) by name.
pub mod limits {
    /// The values, as this architecture numbers them.
    macro_rules! limits {
        ($($name:ident = $value:ident),*) => { $(
            #[doc = concat!("`", stringify!($value), "`")]
            pub const $name: i32 = libc::$value as i32;
        )* };
    }
    limits!(
        AS = RLIMIT_AS,
        CORE = RLIMIT_CORE,
        CPU = RLIMIT_CPU,
        DATA = RLIMIT_DATA,
        FSIZE = RLIMIT_FSIZE,
        LOCKS = RLIMIT_LOCKS,
        MEMLOCK = RLIMIT_MEMLOCK,
        MSGQUEUE = RLIMIT_MSGQUEUE,
        NICE = RLIMIT_NICE,
        NOFILE = RLIMIT_NOFILE,
        NPROC = RLIMIT_NPROC,
        RSS = RLIMIT_RSS,
        RTPRIO = RLIMIT_RTPRIO,
        RTTIME = RLIMIT_RTTIME,
        SIGPENDING = RLIMIT_SIGPENDING,
        STACK = RLIMIT_STACK
    );
}

/// prlimit(2) of process `pid` (0: this one). `resource` is RLIMIT_*; `u64::MAX` is unlimited.
///
/// # Errors
/// EPERM for a raise of the hard limit without CAP_SYS_RESOURCE, EINVAL when soft is above hard.
pub fn set_limit(pid: i32, resource: i32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the new limit is live and only read; no old one is asked for.
    let answer = unsafe { libc::prlimit64(pid, resource as libc::__rlimit_resource_t, &limit, std::ptr::null_mut()) };
    cvt("prlimit", answer).map(drop)
}

/// Soft and hard limit of this process; `u64::MAX` is unlimited.
///
/// # Errors
/// EINVAL for an unknown resource.
pub fn limit(resource: i32) -> Result<(u64, u64)> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is live and filled by the call.
    let answer = unsafe { libc::prlimit64(0, resource as libc::__rlimit_resource_t, std::ptr::null(), &mut limit) };
    cvt("prlimit", answer)?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// sethostname(2).
///
/// # Errors
/// EPERM, EINVAL above 64 bytes.
pub fn set_hostname(name: &str) -> Result<()> {
    rustix::system::sethostname(name.as_bytes()).named("sethostname")
}

/// KEYCTL_JOIN_SESSION_KEYRING: a new, empty session keyring.
///
/// # Errors
/// EDQUOT, ENOSYS on kernels without keyrings.
pub fn new_session_keyring() -> Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    let answer = unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>(), 0, 0, 0)
    };
    cvt("keyctl", answer).map(drop)
}

/// unshare(2) with `clone_flags::NEW*`.
///
/// # Errors
/// EPERM, ENOSPC (a namespace limit), EINVAL.
pub fn unshare(flags: u64) -> Result<()> {
    let flags = libc::c_int::try_from(flags).map_err(|_| SysError::new("unshare", libc::EINVAL))?;
    // SAFETY: namespaces only; CLONE_FILES and the like, which could surprise other code, are not among NEW* flags.
    cvt("unshare", unsafe { libc::unshare(flags) }).map(drop)
}

/// setns(2) on a namespace file (one `clone_flags::NEW*`) or on a pidfd (a set of them).
///
/// # Errors
/// EINVAL when the descriptor is not of the kind asked for, EPERM, ESRCH when the pidfd's process has ended.
pub fn set_namespace(fd: BorrowedFd<'_>, kinds: u64) -> Result<()> {
    let kinds = libc::c_int::try_from(kinds).map_err(|_| SysError::new("setns", libc::EINVAL))?;
    // SAFETY: a descriptor and a number.
    cvt("setns", unsafe { libc::setns(fd.as_raw_fd(), kinds) }).map(drop)
}

/// setpriority(2) of this process, -20 to 19.
///
/// # Errors
/// EACCES for a lower value than RLIMIT_NICE allows, without CAP_SYS_NICE.
pub fn set_nice(value: i32) -> Result<()> {
    // SAFETY: three numbers.
    cvt("setpriority", unsafe { libc::setpriority(libc::PRIO_PROCESS as _, 0, value) }).map(drop)
}

/// sched_setscheduler(2) of this process: SCHED_OTHER (0), SCHED_FIFO (1), SCHED_RR (2), SCHED_BATCH (3), SCHED_IDLE
/// (5), with a priority of 1 to 99 for the real-time ones, else 0.
///
/// # Errors
/// EPERM, EINVAL.
pub fn set_scheduler(policy: i32, priority: i32) -> Result<()> {
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: `parameter` is live and only read; the call itself, as some C libraries stub their function.
    cvt("sched_setscheduler", unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const parameter) })
        .map(drop)
}

pub use super::socket::loopback_up;

//! What a filter shall do, in names, and the reasons why that cannot be had.

use std::fmt;

/// What happens to a call that the policy refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterMode {
    /// It fails, or kills the process.
    Enforce,
    /// It is carried out, and the kernel logs it (SECCOMP_RET_LOG): for trying a policy.
    Log,
}

/// A processor architecture that services run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// 64-bit x86, which may also be entered as `x86` (i386) and `x32`.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

impl Arch {
    /// The architecture that this program was compiled for.
    pub const fn native() -> Arch {
        if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 }
    }
}

/// What a service may ask of the kernel.
///
/// The restrictions below `foreign` hold whatever the lists say; a list may only refuse more. They answer EPERM where
/// nothing else is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterPolicy {
    /// Refuse, or log only.
    pub mode: FilterMode,
    /// Names and `@groups` that are allowed, and calls that are allowed when conditions hold ([`super::Rule`]);
    /// everything else is refused, but for `execve`, `execveat`, `exit`, `exit_group`, `rt_sigreturn` and `write`, which
    /// the start itself needs. `None`: everything, known or not, is allowed except what the rest of the policy refuses.
    pub allow: Option<Vec<String>>,
    /// Names and `@groups` that are refused, and calls that are refused when conditions hold; wins over `allow`.
    pub deny: Vec<String>,
    /// Names and `@groups` that are allowed and logged by the kernel.
    pub log: Vec<String>,
    /// What a known but refused call answers, 1 to 4095.
    pub errno: i32,
    /// What a number that the table does not know answers under an allow list, 1 to 4095.
    pub unknown_errno: i32,
    /// A known call refused by the lists kills the process (SIGSYS) instead of answering `errno`.
    pub kill: bool,
    /// Refusals of known calls are left to the filter's listener, who gives the same answer and remembers them. ENOSYS
    /// for what a library only asks for (`clone3`, `openat2`, unknown numbers, foreign entries) is answered at once.
    pub notify: bool,
    /// Architectures besides the native one that may enter: `x86`, `x32`. Others answer ENOSYS. Judged by their own
    /// numbers and the same names. Without meaning on aarch64, where no such entry exists.
    pub foreign: Vec<String>,
    /// Families that socket(2) and socketpair(2) may be called with; others answer EAFNOSUPPORT. `None`: all.
    pub address_families: Option<Vec<u16>>,
    /// CLONE_NEW* bits that clone(2), unshare(2) and setns(2) refuse; 0: none. When not 0, setns(2) without a type is
    /// refused as well, and clone3, whose flags no filter can see, answers ENOSYS.
    pub deny_namespaces: u64,
    /// personality(2) only to ask, or to set PER_LINUX.
    pub lock_personality: bool,
    /// sched_setscheduler(2) only with SCHED_OTHER, SCHED_BATCH, SCHED_IDLE and SCHED_EXT; sched_setattr(2), whose
    /// policy no filter can see, is refused.
    pub restrict_realtime: bool,
    /// No call may make or change a file with the set-user-id or set-group-id bit; openat2, whose mode no filter can
    /// see, answers ENOSYS.
    pub restrict_suid_sgid: bool,
    /// No TCP but what Landlock takes for TCP: sockets of Multipath TCP and SMC answer EAFNOSUPPORT, and io_uring, which
    /// makes and uses sockets unseen, ENOSYS.
    pub plain_tcp: bool,
    /// No connecting by the first send (MSG_FASTOPEN), which Landlock does not see.
    pub deny_fast_open: bool,
    /// ioctl(2) TIOCSTI and TIOCLINUX, which type into a terminal, are refused; compared in 32 bits as the kernel does.
    pub deny_terminal_injection: bool,
}

impl FilterPolicy {
    /// Refuses nothing, with the answers of a unit that says nothing about them: what every policy is built on.
    pub fn open() -> FilterPolicy {
        FilterPolicy {
            mode: FilterMode::Enforce,
            allow: None,
            deny: Vec::new(),
            log: Vec::new(),
            errno: 1,          // EPERM
            unknown_errno: 38, // ENOSYS
            kill: false,
            notify: false,
            foreign: Vec::new(),
            address_families: None,
            deny_namespaces: 0,
            lock_personality: false,
            restrict_realtime: false,
            restrict_suid_sgid: false,
            plain_tcp: false,
            deny_fast_open: false,
            deny_terminal_injection: false,
        }
    }

    /// Does the policy refuse or log anything at all? Architectures alone do not count: they are judged by a filter
    /// that has something to judge.
    pub(super) fn is_empty(&self) -> bool {
        self.allow.is_none()
            && self.deny.is_empty()
            && self.log.is_empty()
            && self.address_families.is_none()
            && self.deny_namespaces == 0
            && !self.lock_personality
            && !self.restrict_realtime
            && !self.restrict_suid_sgid
            && !self.plain_tcp
            && !self.deny_fast_open
            && !self.deny_terminal_injection
    }
}

/// Why a policy has no program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterError {
    /// No architecture has a call of this name.
    UnknownCall(String),
    /// There is no group of this name.
    UnknownGroup(String),
    /// `call`, refused by the entry `entry` of the deny list, is needed to start the service at all.
    Indispensable {
        /// The call.
        call: &'static str,
        /// What was written.
        entry: String,
    },
    /// Not an error number that a filter can answer.
    Errno(i32),
    /// Not an architecture that can be let in besides the native one.
    UnknownArchitecture(String),
    /// Bits that are not CLONE_NEW* flags.
    UnknownNamespaces(u64),
    /// The program has so many instructions; the kernel takes [`FilterError::LONGEST`].
    TooLong(usize),
    /// The argument rules could not be compiled; what the compiler says.
    Rule(String),
}

impl FilterError {
    /// The longest program that the kernel takes, in instructions (BPF_MAXINSNS).
    pub const LONGEST: usize = 4096;
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilterError::UnknownCall(name) => write!(f, "unknown system call `{name}`"),
            FilterError::UnknownGroup(name) => write!(f, "unknown group of system calls `{name}`"),
            FilterError::Indispensable { call, entry } if call == entry => {
                write!(f, "system call `{call}` cannot be denied: the service could not be started")
            }
            FilterError::Indispensable { call, entry } => {
                write!(f, "`{entry}` cannot be denied: it contains `{call}`, without which no service can be started")
            }
            FilterError::Errno(errno) => write!(f, "error number {errno} is outside 1 to 4095"),
            FilterError::UnknownArchitecture(name) => write!(f, "unknown architecture `{name}`"),
            FilterError::UnknownNamespaces(bits) => write!(f, "{bits:#x} are not namespace flags of clone(2)"),
            FilterError::TooLong(length) => {
                write!(f, "the filter has {length} instructions, the kernel takes {}", FilterError::LONGEST)
            }
            FilterError::Rule(why) => write!(f, "cannot compile an argument rule: {why}"),
        }
    }
}

impl std::error::Error for FilterError {}

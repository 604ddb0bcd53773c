//! System calls that steer the kernel, look into other processes, or have had many faults.

use super::promises::{
    CLOCK, FILTER, HOSTNAME, NATIVE, NO_ADMIN, NO_LOG_CALL, NO_MODULES, PERSONALITY, REALTIME, SET_ID, W_X,
};
use crate::sys::attempt::Word::{Bytes, Number, OwnPid, Text};
use crate::sys::attempt::{self, enter_as_x86};
use crate::verify::Attempt::{Call, Look};
use crate::verify::{Found, Key, Probe};

/// A handle of 8 bytes and type 1 of nothing.
const HANDLE: &[u8] = &[8, 0, 0, 0, 1, 0, 0, 0];
/// `struct timex` with modes = ADJ_TICK; the tick is 0, which is out of range.
const TIMEX: &[u8] = &[0, 0x40, 0, 0];
/// `struct sched_param` with priority 1.
const PRIORITY: &[u8] = &[1, 0, 0, 0];
/// QCMD(Q_GETINFO, USRQUOTA)
const QUOTA_INFO: i64 = 0x8000_0500;
const BAD: i64 = 1;
const X32_BIT: libc::c_long = 0x4000_0000;

#[rustfmt::skip]
pub(super) const DOORS: &[Probe] = &[
    Probe { id: "init-module", about: "loading a kernel module (of nothing)", keys: &[NO_MODULES, Key::Without("SYS_MODULE"), Key::Calls(&["init_module"])],
        attempt: Call(libc::SYS_init_module, &[Number(0), Number(0), Text(c"")], &[]) },
    Probe { id: "finit-module", about: "loading a kernel module by descriptor (of none)", keys: &[NO_MODULES, Key::Without("SYS_MODULE"), Key::Calls(&["finit_module"])],
        attempt: Call(libc::SYS_finit_module, &[Number(-1), Text(c""), Number(0)], &[]) },
    Probe { id: "delete-module", about: "unloading a kernel module (that does not exist)", keys: &[NO_MODULES, Key::Without("SYS_MODULE"), Key::Calls(&["delete_module"])],
        attempt: Call(libc::SYS_delete_module, &[Text(c"rsvc_none"), Number(libc::O_NONBLOCK as i64)], &[]) },
    Probe { id: "kexec", about: "loading another kernel (with flags that do not exist)", keys: &[Key::Without("SYS_BOOT"), Key::Calls(&["kexec_load"])],
        attempt: Call(libc::SYS_kexec_load, &[Number(0), Number(0), Number(0), Number(0x8000)], &[]) },
    Probe { id: "kexec-file", about: "loading another kernel by descriptor (of none)", keys: &[Key::Without("SYS_BOOT"), Key::Calls(&["kexec_file_load"])],
        attempt: Call(libc::SYS_kexec_file_load, &[Number(-1), Number(-1), Number(0), Number(0), Number(0x8000)], &[]) },
    Probe { id: "reboot", about: "rebooting (with a wrong magic number)", keys: &[Key::Without("SYS_BOOT"), Key::Calls(&["reboot"])],
        attempt: Call(libc::SYS_reboot, &[Number(0), Number(0), Number(0), Number(0)], &[]) },
    Probe { id: "swapon", about: "swapping to a file (that does not exist)", keys: &[NO_ADMIN, Key::Calls(&["swapon"])],
        attempt: Call(libc::SYS_swapon, &[Text(c"/rsvc-none"), Number(0)], &[]) },
    Probe { id: "swapoff", about: "ending the swapping to a file (that does not exist)", keys: &[NO_ADMIN, Key::Calls(&["swapoff"])],
        attempt: Call(libc::SYS_swapoff, &[Text(c"/rsvc-none")], &[]) },
    Probe { id: "acct", about: "process accounting (to a file that does not exist)", keys: &[Key::Without("SYS_PACCT"), Key::Calls(&["acct"])],
        attempt: Call(libc::SYS_acct, &[Text(c"/rsvc-none")], &[]) },
    Probe { id: "bpf", about: "bpf (a map of no type)", keys: &[Key::Calls(&["bpf"])],
        attempt: Call(libc::SYS_bpf, &[Number(0), Bytes(&[]), Number(72)], &[]) },
    Probe { id: "perf", about: "perf events (without attributes)", keys: &[Key::Calls(&["perf_event_open"])],
        attempt: Call(libc::SYS_perf_event_open, &[Number(BAD), Number(0), Number(-1), Number(-1), Number(0)], &[]) },
    Probe { id: "userfaultfd", about: "handling page faults (with flags that do not exist)", keys: &[Key::Calls(&["userfaultfd"])],
        attempt: Call(libc::SYS_userfaultfd, &[Number(0x8000)], &[]) },
    Probe { id: "io-uring", about: "rings of operations that no filter sees (without parameters)", keys: &[Key::Calls(&["io_uring_setup"])],
        attempt: Call(libc::SYS_io_uring_setup, &[Number(1), Number(BAD)], &[]) },
    Probe { id: "keyctl", about: "the keyring of the user", keys: &[Key::Calls(&["keyctl"])],
        attempt: Call(libc::SYS_keyctl, &[Number(0), Number(-4), Number(0)], &[libc::ENOKEY]) },
    Probe { id: "add-key", about: "adding a key (of no type)", keys: &[Key::Calls(&["add_key"])],
        attempt: Call(libc::SYS_add_key, &[Number(BAD), Number(BAD), Number(0), Number(0), Number(0)], &[]) },
    Probe { id: "request-key", about: "requesting a key (of no type)", keys: &[Key::Calls(&["request_key"])],
        attempt: Call(libc::SYS_request_key, &[Number(BAD), Number(BAD), Number(0), Number(0)], &[]) },
    Probe { id: "ptrace", about: "tracing (by its parent)", keys: &[Key::Calls(&["ptrace"])],
        attempt: Call(libc::SYS_ptrace, &[Number(0), Number(0), Number(0), Number(0)], &[]) },
    Probe { id: "process-vm-readv", about: "reading the memory of a process (its own, nothing of it)", keys: &[Key::Calls(&["process_vm_readv"])],
        attempt: Call(libc::SYS_process_vm_readv, &[OwnPid, Number(0), Number(0), Number(0), Number(0), Number(0)], &[]) },
    Probe { id: "process-vm-writev", about: "writing the memory of a process (its own, nothing of it)", keys: &[Key::Calls(&["process_vm_writev"])],
        attempt: Call(libc::SYS_process_vm_writev, &[OwnPid, Number(0), Number(0), Number(0), Number(0), Number(0)], &[]) },
    Probe { id: "pidfd-getfd", about: "taking a descriptor out of a process (of none)", keys: &[Key::Calls(&["pidfd_getfd"])],
        attempt: Call(libc::SYS_pidfd_getfd, &[Number(-1), Number(0), Number(0)], &[]) },
    Probe { id: "kcmp", about: "comparing kernel objects of processes (its own)", keys: &[Key::Calls(&["kcmp"])],
        attempt: Call(libc::SYS_kcmp, &[OwnPid, OwnPid, Number(1), Number(0), Number(0)], &[]) },
    Probe { id: "file-handle", about: "opening files by number (one that does not exist)", keys: &[Key::Without("DAC_READ_SEARCH"), Key::Calls(&["open_by_handle_at"])],
        attempt: Look(|_| by_handle()) },
    Probe { id: "quota", about: "disk quotas (of a device that does not exist)", keys: &[Key::Calls(&["quotactl"])],
        attempt: Call(libc::SYS_quotactl, &[Number(QUOTA_INFO), Text(c"/rsvc-none"), Number(0), Number(BAD)], &[]) },
    Probe { id: "adjtimex", about: "adjusting the clock (by a tick that is out of range)", keys: &[CLOCK, Key::Without("SYS_TIME"), Key::Calls(&["adjtimex"])],
        attempt: Call(libc::SYS_adjtimex, &[Bytes(TIMEX)], &[]) },
    Probe { id: "clock-settime", about: "setting a clock (that cannot be set)", keys: &[CLOCK, Key::Calls(&["clock_settime"])],
        attempt: Call(libc::SYS_clock_settime, &[Number(1), Bytes(&[])], &[]) },
    Probe { id: "settimeofday", about: "setting the time (to what cannot be read)", keys: &[CLOCK, Key::Calls(&["settimeofday"])],
        attempt: Call(libc::SYS_settimeofday, &[Number(BAD), Number(0)], &[]) },
    Probe { id: "hostname", about: "setting the host name (of a negative length)", keys: &[HOSTNAME, NO_ADMIN, Key::Calls(&["sethostname"])],
        attempt: Call(libc::SYS_sethostname, &[Text(c""), Number(-1)], &[]) },
    Probe { id: "domainname", about: "setting the domain name (of a negative length)", keys: &[HOSTNAME, NO_ADMIN, Key::Calls(&["setdomainname"])],
        attempt: Call(libc::SYS_setdomainname, &[Text(c""), Number(-1)], &[]) },
    Probe { id: "syslog", about: "reading the kernel's log (nothing of it)", keys: &[NO_LOG_CALL, Key::Calls(&["syslog"])],
        attempt: Call(libc::SYS_syslog, &[Number(3), Number(0), Number(0)], &[]) },
    Probe { id: "personality", about: "switching address randomization off", keys: &[PERSONALITY, Key::Calls(&["personality"])],
        attempt: Call(libc::SYS_personality, &[Number(0x004_0000)], &[]) },
    Probe { id: "realtime", about: "real-time scheduling (of a process that ends at once)", keys: &[REALTIME, Key::Calls(&["sched_setscheduler"])],
        attempt: Call(libc::SYS_sched_setscheduler, &[Number(0), Number(1), Bytes(PRIORITY)], &[]) },
    Probe { id: "nice", about: "more processor time than others (for a process that ends at once)", keys: &[Key::Calls(&["setpriority"])],
        attempt: Call(libc::SYS_setpriority, &[Number(0), Number(0), Number(-20)], &[]) },
    Probe { id: "set-id-bit", about: "giving a file the set-user-id bit (of no descriptor)", keys: &[SET_ID, Key::Calls(&["fchmod"])],
        attempt: Call(libc::SYS_fchmod, &[Number(-1), Number(0o4755)], &[]) },
    Probe { id: "set-id-file", about: "making a file with the set-user-id bit (in a directory that does not exist)", keys: &[SET_ID],
        attempt: Call(libc::SYS_openat, &[Number(libc::AT_FDCWD as i64), Text(c"/rsvc-none/x"), Number((libc::O_CREAT | libc::O_WRONLY) as i64), Number(0o4700)], &[]) },
    Probe { id: "terminal-input", about: "typing into a terminal", keys: &[FILTER],
        attempt: Call(libc::SYS_ioctl, &[Number(0), Number(0x5412), Bytes(b"x")], &[]) },
    Probe { id: "terminal-input-high", about: "the same with the upper half of the number set", keys: &[FILTER],
        attempt: Call(libc::SYS_ioctl, &[Number(0), Number(0x1_0000_5412), Bytes(b"x")], &[]) },
    Probe { id: "terminal-paste", about: "pasting into a console", keys: &[FILTER],
        attempt: Call(libc::SYS_ioctl, &[Number(0), Number(0x541c), Bytes(&[3])], &[]) },
    Probe { id: "write-execute", about: "memory that can be written and executed", keys: &[W_X],
        attempt: Look(|_| Found::of(attempt::map_writable_executable())) },
    Probe { id: "make-executable", about: "executing what was written to memory", keys: &[W_X],
        attempt: Look(|_| Found::of(attempt::make_executable())) },
    Probe { id: "memfd", about: "a file without a name, which no rule about paths stops from being executed", keys: &[Key::Calls(&["memfd_create"])],
        attempt: Call(libc::SYS_memfd_create, &[Text(c"rsvc"), Number(1)], &[]) },
    Probe { id: "x32", about: "calls by the x32 entry", keys: &[NATIVE],
        attempt: Call(X32_BIT | libc::SYS_getpid, &[], &[]) },
    Probe { id: "x86", about: "calls by the 32-bit entry", keys: &[NATIVE],
        attempt: Look(|_| Found::of(enter_as_x86())) },
    Probe { id: "unknown-call", about: "a call that no kernel has yet", keys: &[Key::Holds("syscalls.unknown_errno", |p| p.allowed.is_some())],
        attempt: Call(4000, &[], &[]) },
];

/// Needs a descriptor of a file system.
fn by_handle() -> Found {
    let root = match attempt::call(libc::SYS_openat, &[Number(-100), Text(c"/"), Number(libc::O_RDONLY as i64)]) {
        Ok(root) => root,
        Err(errno) => return Found::Skipped(format!("the root cannot be opened: errno {errno}")),
    };
    Found::of(attempt::call(libc::SYS_open_by_handle_at, &[Number(root), Bytes(HANDLE), Number(0)]))
}

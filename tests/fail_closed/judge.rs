//! A daemon whose system calls are judged, and those of everything that it starts: the set-up stage, its nursery, the
//! services. It is born below a system-call filter that leaves some calls to a listener, which is this process
//! (seccomp_unotify(2)): it looks at the arguments, and lets the kernel go on, or answers instead of it as a kernel would
//! that lacks something.
//!
//! The program under test is the program as it is; nothing in it knows of this.

use crate::instance::tracer::Call;
use crate::instance::{Instance, eventually};
use rsvc::sys::confine::Filter;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// First argument that makes the test executable load the filter and execute its other arguments.
const WORD: &str = "judged";

/// Calls that are left to the listener. That execve(2) is among them keeps the daemon back until somebody listens.
const JUDGED: &[libc::c_long] = &[
    libc::SYS_bpf,
    libc::SYS_capset,
    libc::SYS_clone3,
    libc::SYS_execve,
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_keyctl,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_restrict_self,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pivot_root,
    libc::SYS_prctl,
    libc::SYS_prlimit64,
    libc::SYS_seccomp,
    libc::SYS_sethostname,
    libc::SYS_setgroups,
    libc::SYS_setns,
    libc::SYS_setpriority,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_statx,
    libc::SYS_unshare,
    libc::SYS_write,
];

/// What is unavailable: the errno of a call that needs it, or 0 for one that is said to have been done and was not.
pub type Fault = fn(&Call) -> Option<i32>;

#[derive(Default)]
struct Orders {
    faults: Vec<Fault>,
    answered: Answered,
}

/// Calls that were answered otherwise than by the kernel.
#[derive(Clone, Copy, Default)]
pub struct Answered {
    pub times: usize,
    /// Errno of the last one.
    pub last: i32,
}

/// See the module documentation.
pub struct Judged {
    // Dropped first, while its calls are still answered.
    pub instance: Instance,
    orders: Arc<Mutex<Orders>>,
    _answerer: Answerer,
}

/// Ends with this.
struct Answerer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Judged {
    /// Starts the daemon of a prepared instance, without `missing` from its first call on. `None`: filters cannot be
    /// listened to here.
    pub fn start(mut instance: Instance, missing: &[Fault]) -> Option<Judged> {
        let own = std::env::current_exe().expect("own path");
        instance.wrap_daemon(&[own.to_str().expect("a plain path"), WORD]);
        let orders = Arc::new(Mutex::new(Orders { faults: missing.to_vec(), ..Orders::default() }));
        let stop = Arc::new(AtomicBool::new(false));
        instance.spawn_daemon();
        let listener = listener(instance.daemon_pid())?;
        let (judge, ended) = (Arc::clone(&orders), Arc::clone(&stop));
        let thread = std::thread::spawn(move || answer(&listener, &judge, &ended));
        let mut judged = Judged { instance, orders, _answerer: Answerer { stop, thread: Some(thread) } };
        judged.instance.wait_for_daemon();
        Some(judged)
    }

    /// Does something without `missing`; comes back with what was answered meanwhile.
    pub fn without<T>(&self, missing: Fault, act: impl FnOnce(&Instance) -> T) -> (T, Answered) {
        {
            let mut orders = self.orders.lock().expect("nobody panics with it");
            orders.faults.push(missing);
            orders.answered = Answered::default();
        }
        let result = act(&self.instance);
        let mut orders = self.orders.lock().expect("nobody panics with it");
        orders.faults.pop();
        (result, orders.answered)
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The listener of the filter that the process has just loaded, which waits in execve(2).
fn listener(pid: i32) -> Option<OwnedFd> {
    use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
    let number = eventually("a filter with a listener, or none", || {
        let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
        let mut numbers = entries.filter(|entry| {
            std::fs::read_link(entry.path()).is_ok_and(|link| link.to_string_lossy() == "anon_inode:seccomp notify")
        });
        match numbers.next() {
            Some(entry) => Some(entry.file_name().to_str()?.parse::<i32>().ok()),
            // It was told no, and executes nothing.
            None => std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?.contains(") Z ").then_some(None),
        }
    })?;
    let process = pidfd_open(Pid::from_raw(pid).expect("a pid"), PidfdFlags::empty()).expect("it waits");
    Some(pidfd_getfd(process, number, PidfdGetfdFlags::empty()).expect("root may"))
}

/// Answers until it is stopped, or nobody has the filter any more.
fn answer(listener: &OwnedFd, orders: &Mutex<Orders>, stop: &AtomicBool) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let pause = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    while !stop.load(Ordering::SeqCst) {
        let mut watched = [PollFd::new(listener, PollFlags::IN)];
        let _ = poll(&mut watched, Some(&pause));
        let found = watched[0].revents();
        if found.contains(PollFlags::HUP) {
            return;
        }
        if found.contains(PollFlags::IN)
            && let Some((id, call)) = receive(listener)
        {
            let mut orders = orders.lock().expect("nobody panics with it");
            let verdict = orders.faults.iter().rev().find_map(|fault| fault(&call));
            if let Some(errno) = verdict {
                orders.answered = Answered { times: orders.answered.times + 1, last: errno };
            }
            drop(orders);
            reply(listener, id, verdict);
        }
    }
}

nix::ioctl_readwrite!(notif_recv, b'!', 0, libc::seccomp_notif);
nix::ioctl_readwrite!(notif_send, b'!', 1, libc::seccomp_notif_resp);

/// `None`: its caller was killed meanwhile.
fn receive(listener: &OwnedFd) -> Option<(u64, Call)> {
    // SAFETY: plain numbers, for which zero is a value; the kernel asks for zeros.
    let mut found: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: `found` is live, and what the kernel fills for this request.
    unsafe { notif_recv(listener.as_fd().as_raw_fd(), &raw mut found) }.ok()?;
    let number = u64::try_from(found.data.nr).ok()?;
    Some((found.id, Call { pid: i32::try_from(found.pid).ok()?, number, arguments: found.data.args }))
}

fn reply(listener: &OwnedFd, id: u64, verdict: Option<i32>) {
    const CONTINUE: u32 = 1;
    let (error, flags) = match verdict {
        Some(errno) => (-errno, 0),
        None => (0, CONTINUE),
    };
    let mut answer = libc::seccomp_notif_resp { id, val: 0, error, flags };
    // SAFETY: `answer` is live, and what the kernel reads for this request. It fails when the caller was killed.
    let _ = unsafe { notif_send(listener.as_fd().as_raw_fd(), &raw mut answer) };
}

#[used]
// SAFETY: the linker collects pointers to functions of this type in `.init_array`, and glibc calls each once, with these
// arguments, before `main`.
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn(libc::c_int, *const *const libc::c_char) = begin;

extern "C" fn begin(count: libc::c_int, argv: *const *const libc::c_char) {
    let word = |index: libc::c_int| -> CString {
        // SAFETY: the kernel gives `count` NUL-terminated strings, which live as long as the process.
        unsafe { CStr::from_ptr(*argv.offset(index as isize)) }.to_owned()
    };
    if count < 3 || word(1).as_bytes() != WORD.as_bytes() {
        return;
    }
    let words: Vec<CString> = (2..count).map(word).collect();
    // The descriptor is closed by the exec: by then somebody else has it.
    if Filter::new(&program()).and_then(|filter| filter.load_for_listener(false)).is_ok() {
        let _ = nix::unistd::execv(&words[0], &words);
    }
    // SAFETY: ends the process; nothing of the runtime has begun.
    unsafe { libc::_exit(127) }
}

/// Asks the listener about the calls in the list, by number.
fn program() -> Vec<(u16, u8, u8, u32)> {
    const LOAD: u16 = 0x20;
    const IS_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const ASK: u32 = 0x7fc0_0000;
    let count = JUDGED.len();
    let tests = JUDGED.iter().enumerate().map(|(index, number)| {
        let to_the_end = u8::try_from(count - index).expect("fewer than 256 calls");
        (IS_EQUAL, to_the_end, 0, *number as u32)
    });
    let begin = std::iter::once((LOAD, 0, 0, 0));
    begin.chain(tests).chain([(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, ASK)]).collect()
}

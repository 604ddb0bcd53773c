//! The daemon, one system call after the other: ptrace(2) stops it before and after each, and a judge says what happens.
//!
//! The program under test is the program as it is; nothing in it knows of this. Only the daemon's own calls are seen:
//! the nursery, the set-up stages and the services that it starts are not traced. A judge runs in the tracer's thread
//! while the daemon stands still, so it may look at the world, and change it.
//!
//! The registers of x86_64 only; elsewhere, and where ptrace is not allowed, the caller is told to skip.

mod call;

pub use call::Call;

use super::eventually;
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

/// What stands in front of the words of a command, and waits until the tracer is there.
pub const GATE: [&str; 4] = ["/bin/sh", "-c", "read -r go && exec \"$@\" < /dev/null", "sh"];

/// Where in the call the daemon stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Nothing of it has been done.
    Before,
    /// It has been done, and this is the result (-errno); the daemon has not seen it.
    After(i64),
}

/// What a judge decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Go,
    /// SIGKILL here. Before a call: it is not made.
    Kill,
    /// The call is not made and returns this errno; a negative one is a result, negated. Only before a call.
    Fail(i32),
    /// The daemon is not traced any more.
    Release,
}

/// How a tracing came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By [`Verdict::Kill`].
    Killed,
    /// The daemon ended by itself, or somebody else ended it.
    Over,
    /// It runs on.
    Released,
}

/// Sees every stop.
pub trait Judge: FnMut(&Call, When) -> Verdict + Send + 'static {}
impl<T: FnMut(&Call, When) -> Verdict + Send + 'static> Judge for T {}

/// See the module documentation. Dropped, it releases the daemon.
pub struct Tracer {
    pid: Pid,
    release: Arc<AtomicBool>,
    thread: Option<JoinHandle<End>>,
}

impl Tracer {
    /// Traces a running process, which must be a child of this one; when this returns its next call is judged. `None`,
    /// with the reason said, where that is not possible.
    pub fn attach(pid: i32, judge: impl Judge) -> Option<Tracer> {
        Tracer::begin(Pid::from_raw(pid), Begin::Now, judge)
    }

    /// Spawns `command`, which begins with [`GATE`], such that the calls of `program`, which it executes in the end, are
    /// judged from the first on.
    pub fn spawn(command: &mut Command, program: &str, judge: impl Judge) -> Option<(Tracer, Child)> {
        let mut child = command.stdin(Stdio::piped()).spawn().expect("/bin/sh is there");
        let mut stdin = child.stdin.take().expect("piped");
        let program = std::fs::canonicalize(program).expect("the program is there");
        let Some(tracer) = Tracer::begin(Pid::from_raw(child.id() as i32), Begin::At(program), judge) else {
            drop(stdin);
            child.wait().expect("the gate ends");
            return None;
        };
        stdin.write_all(b"go\n").expect("the gate waits");
        Some((tracer, child))
    }

    fn begin(pid: Pid, begin: Begin, judge: impl Judge) -> Option<Tracer> {
        if !cfg!(target_arch = "x86_64") {
            super::skipped("the tracer knows the registers of x86_64 only");
            return None;
        }
        let release = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&release);
        let (begun, told) = mpsc::channel();
        // All of ptrace(2) is between two threads, so one of ours does nothing else.
        let thread = std::thread::spawn(move || match seize(pid, &begin) {
            Ok(()) => {
                let _ = begun.send(Ok(()));
                Tracing { pid, judge, release: asked, begin, call: None, failing: None }.run()
            }
            Err(error) => {
                let _ = begun.send(Err(error));
                End::Over
            }
        });
        match told.recv().expect("the tracer tells") {
            Ok(()) => Some(Tracer { pid, release, thread: Some(thread) }),
            Err(Errno::EPERM) => {
                super::skipped("ptrace is not allowed here");
                None
            }
            Err(error) => panic!("ptrace of {pid}: {error}"),
        }
    }

    /// Is there nothing to trace any more?
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until the daemon is killed, has ended, or was released by the judge.
    #[track_caller]
    pub fn wait(mut self) -> End {
        eventually("the traced daemon comes to its end", || self.is_over().then_some(()));
        self.thread.take().expect("waited for once").join().expect("the judge does not panic")
    }

    /// Lets the daemon go where it is.
    pub fn release(mut self) -> End {
        self.ask_for_release();
        self.thread.take().expect("waited for once").join().expect("the judge does not panic")
    }

    fn ask_for_release(&self) {
        self.release.store(true, Ordering::SeqCst);
        // Any signal stops a traced process. This one is ignored by who is not traced.
        let _ = nix::sys::signal::kill(self.pid, Signal::SIGURG);
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.ask_for_release();
            let _ = thread.join();
        }
    }
}

/// When calls begin to be judged.
enum Begin {
    Now,
    /// With the first instruction of this program.
    At(std::path::PathBuf),
}

fn seize(pid: Pid, begin: &Begin) -> nix::Result<()> {
    ptrace::seize(pid, ptrace::Options::PTRACE_O_TRACESYSGOOD | ptrace::Options::PTRACE_O_TRACEEXEC)?;
    if matches!(begin, Begin::Now) {
        ptrace::interrupt(pid)?;
        look(pid)?;
        ptrace::syscall(pid, None)?;
    }
    Ok(())
}

/// The next stop, or the end. What has ended is left for its parent to reap.
fn look(pid: Pid) -> nix::Result<WaitStatus> {
    loop {
        match waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT) {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

struct Tracing<J> {
    pid: Pid,
    judge: J,
    release: Arc<AtomicBool>,
    begin: Begin,
    /// The call that has been begun.
    call: Option<Call>,
    /// What it returns instead of being made.
    failing: Option<i32>,
}

impl<J: Judge> Tracing<J> {
    fn run(mut self) -> End {
        loop {
            let verdict = match look(self.pid) {
                Ok(WaitStatus::PtraceSyscall(_)) => self.judged(),
                Ok(WaitStatus::PtraceEvent(_, signal, 0)) => {
                    if self.release.load(Ordering::SeqCst) {
                        let _ = ptrace::detach(self.pid, Some(signal).filter(|signal| *signal != Signal::SIGURG));
                        return End::Released;
                    }
                    self.go_on(Some(signal));
                    continue;
                }
                // It executes another program, or a stop that has nothing to do with a call.
                Ok(WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..) | WaitStatus::Continued(_)) => Verdict::Go,
                Ok(_) | Err(_) => return End::Over,
            };
            match verdict {
                _ if self.release.load(Ordering::SeqCst) => {
                    let _ = ptrace::detach(self.pid, None);
                    return End::Released;
                }
                Verdict::Go => self.go_on(None),
                Verdict::Kill => return self.kill(),
                Verdict::Fail(errno) => {
                    if self.call.as_ref().is_some_and(|call| call.number == libc::SYS_brk as u64) {
                        // It has no errno: the kernel answers where the heap ends as before.
                        registers::set_first_argument(self.pid, 0);
                    } else {
                        self.failing = Some(errno);
                        registers::skip_call(self.pid);
                    }
                    self.go_on(None);
                }
                Verdict::Release => {
                    let _ = ptrace::detach(self.pid, None);
                    return End::Released;
                }
            }
        }
    }

    /// The process may have been killed meanwhile; then the next look tells.
    fn go_on(&mut self, signal: Option<Signal>) {
        if let Begin::At(program) = &self.begin {
            if std::fs::read_link(format!("/proc/{}/exe", self.pid)).ok().as_ref() != Some(program) {
                let _ = ptrace::cont(self.pid, signal);
                return;
            }
            self.begin = Begin::Now;
        }
        let _ = ptrace::syscall(self.pid, signal);
    }

    fn judged(&mut self) -> Verdict {
        const ENTRY: u8 = 1;
        let Ok(info) = ptrace::syscall_info(self.pid) else { return Verdict::Go };
        if info.op == ENTRY {
            let Some((number, arguments)) = registers::call(self.pid) else { return Verdict::Go };
            let call = Call { pid: self.pid.as_raw(), number, arguments };
            let verdict = (self.judge)(&call, When::Before);
            self.call = Some(call);
            return verdict;
        }
        if let Some(errno) = self.failing.take() {
            registers::set_result(self.pid, -i64::from(errno));
        }
        // Of the first stop the beginning was not seen.
        let Some(call) = self.call.take() else { return Verdict::Go };
        let Some(result) = registers::result(self.pid) else { return Verdict::Go };
        match (self.judge)(&call, When::After(result)) {
            Verdict::Fail(_) => panic!("{call} has been made and cannot fail any more"),
            other => other,
        }
    }

    fn kill(self) -> End {
        let _ = nix::sys::signal::kill(self.pid, Signal::SIGKILL);
        loop {
            match look(self.pid) {
                Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(_) => return End::Killed,
                // A stop that had begun before.
                Ok(_) => std::thread::yield_now(),
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod registers {
    use super::{Pid, ptrace};

    /// Number and arguments, at the beginning of a call.
    pub fn call(pid: Pid) -> Option<(u64, [u64; 6])> {
        let r = ptrace::getregs(pid).ok()?;
        Some((r.orig_rax, [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9]))
    }

    pub fn result(pid: Pid) -> Option<i64> {
        Some(ptrace::getregs(pid).ok()?.rax as i64)
    }

    /// There is no call with this number.
    pub fn skip_call(pid: Pid) {
        if let Ok(mut registers) = ptrace::getregs(pid) {
            registers.orig_rax = u64::MAX;
            let _ = ptrace::setregs(pid, registers);
        }
    }

    pub fn set_first_argument(pid: Pid, argument: u64) {
        if let Ok(mut registers) = ptrace::getregs(pid) {
            registers.rdi = argument;
            let _ = ptrace::setregs(pid, registers);
        }
    }

    pub fn set_result(pid: Pid, result: i64) {
        if let Ok(mut registers) = ptrace::getregs(pid) {
            registers.rax = result as u64;
            let _ = ptrace::setregs(pid, registers);
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod registers {
    use super::Pid;

    pub fn call(_: Pid) -> Option<(u64, [u64; 6])> {
        None
    }
    pub fn result(_: Pid) -> Option<i64> {
        None
    }
    pub fn skip_call(_: Pid) {}
    pub fn set_first_argument(_: Pid, _: u64) {}
    pub fn set_result(_: Pid, _: i64) {}
}

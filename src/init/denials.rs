//! A filter whose refusals are left to a listener: the listener has to leave this process between the filter and exec.
//!
//! Behind the filter this process may be allowed no more than write(2) and execve(2): not to send a descriptor, and not
//! to wait. So a second thread does that, which was there before and which the filter does not hold (it is the calling
//! thread's alone), with the same table of descriptors. It is told the number by a pipe, and the end of its work is that
//! a full pipe has room again, for which a write(2) waits. Exec comes after that, as it ends all other threads.
//!
//! ```text
//! load_filter ──▶ thread: read ............ sendmsg(listener, filter) ── drain ── end
//!       └── seccomp(2) ── write the number ──┘        write to the full pipe waits ─┘── exec
//! ```

use super::{Context, Failure, STEP_FAILED_STATUS, Stage, cut};
use crate::plan::FilterProgram;
use crate::plan::wire::{self, Report};
use crate::sys::confine::Filter;
use crate::sys::fd::{self, NonBlocking};
use crate::sys::{process, socket};
use std::mem::forget;
use std::os::fd::{AsFd, OwnedFd};

/// Enough for two calls and a report.
const STACK: usize = 64 << 10;

/// What a thread has to know; it shares nothing with the one that loads the filter.
struct Courier {
    channel: OwnedFd,
    report: Option<OwnedFd>,
    step: u16,
    filter: OwnedFd,
    count: u32,
    number: OwnedFd,
    done: OwnedFd,
}

/// Loads the filter and gives its listener away. When it returns without a failure, somebody answers.
pub(super) fn load(stage: &Stage, filter: &Filter, program: &FilterProgram, log: bool) -> Result<(), Failure> {
    let Some(channel) = &stage.inherited.denials else {
        return Err(Failure::new(0, "the daemon passed no socket for denied calls"));
    };
    let (number, tell) = fd::pipe(NonBlocking::None)?;
    let (done, full) = full_pipe()?;
    let copy = |fd: &OwnedFd| fd::duplicate(fd.as_fd(), 3);
    let courier = Courier {
        channel: copy(channel)?,
        report: stage.inherited.report.as_ref().map(copy).transpose()?,
        step: stage.step_number(),
        filter: fd::sealed_memfd(c"rsvc-filter", &instructions(program), false)?,
        count: u32::try_from(program.0.len()).unwrap_or(0),
        number,
        done,
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(move || courier.run());
    let thread = thread.map_err(|error| {
        Failure::new(error.raw_os_error().unwrap_or(0), "a thread that sends the filter's listener")
    })?;
    let listener = filter.load_for_listener(log);
    if let Ok(listener) = &listener {
        let told = fd::write(tell.as_fd(), &listener.to_ne_bytes());
        let sent = told.and_then(|_| fd::write(full.as_fd(), &[0]));
        sent.context(|| "to send the filter's listener")?;
    }
    // Nothing is closed or freed behind a filter.
    forget((thread, tell, full));
    Ok(listener.map(drop)?)
}

impl Courier {
    fn run(self) {
        let mut number = [0; 4];
        let sent = match fd::read(self.number.as_fd(), &mut number) {
            Ok(4) => fd::adopt(i32::from_ne_bytes(number)).and_then(|listener| {
                let words: Vec<u8> = [1, self.count].into_iter().flat_map(u32::to_ne_bytes).collect();
                socket::send_with(self.channel.as_fd(), &words, &[listener.as_fd(), self.filter.as_fd()], None)
            }),
            _ => return,
        };
        if let Err(error) = sent {
            let detail = "nobody takes the filter's listener".to_owned();
            let report = cut(Report::Failed { step: self.step, errno: error.errno, detail });
            if let Some(channel) = &self.report {
                let _ = socket::send(channel.as_fd(), &wire::encode_report(&report));
            }
            // All threads: nothing is executed with a filter that nobody answers for.
            process::exit_now(STEP_FAILED_STATUS);
        }
        let mut drained = [0; 4096];
        while matches!(fd::read(self.done.as_fd(), &mut drained), Ok(count) if count == drained.len()) {}
        // Open until exec: the other thread may not have come to its write yet.
        forget(self.done);
    }
}

/// A pipe that a write waits at until it is read from: reading side non-blocking, writing side not.
fn full_pipe() -> crate::sys::Result<(OwnedFd, OwnedFd)> {
    const EAGAIN: i32 = 11;
    let (reader, writer) = fd::pipe(NonBlocking::Both)?;
    let page = [0; 4096];
    loop {
        match fd::write(writer.as_fd(), &page) {
            Ok(_) => {}
            Err(error) if error.errno == EAGAIN => break,
            Err(error) => return Err(error),
        }
    }
    fd::set_nonblocking(writer.as_fd(), false)?;
    Ok((reader, writer))
}

/// As the kernel has them: `struct sock_filter`.
fn instructions(program: &FilterProgram) -> Vec<u8> {
    let bytes = |&(code, yes, no, k): &(u16, u8, u8, u32)| {
        let [a, b] = code.to_ne_bytes();
        let [c, d, e, f] = k.to_ne_bytes();
        [a, b, yes, no, c, d, e, f]
    };
    program.0.iter().flat_map(bytes).collect()
}

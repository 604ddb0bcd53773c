//! The stand-in of a command that somebody runs in a running container (`rsvc exec`).
//!
//! ```text
//! caller ◀── end of the command, two bytes ── stand-in ── wait ──▶ command, in the joined namespaces
//!        ── signals, a byte each ──────────▶          ── signals ──▶
//! ```
//!
//! The two speak over a socket of their own, so the command goes on, and its end is told, whatever becomes of the daemon.
//! A caller that is gone is a terminal that was hung up: SIGHUP, and the end two seconds later. What the command left in
//! the background stays until the unit goes down.

use crate::sys::fd;
use crate::sys::process::{self, signal};
use crate::sys::signals::{Heard, Signals};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// How long a command has after its caller hung up.
const GRACE: Duration = Duration::from_secs(2);

/// Tells `caller` how `child` ends, and ends in the same way. Signals are blocked.
pub(super) fn stand_in(child: i32, caller: &OwnedFd) -> ! {
    let (Ok(pidfd), Ok(signals)) = (process::pidfd_open(child), Signals::all_blocked()) else {
        process::exit_now(super::STEP_FAILED_STATUS)
    };
    let send = |signal: i32| {
        // It has ended, which is found out next.
        let _ = process::pidfd_send_signal(pidfd.as_fd(), signal);
    };
    // `None`: nobody listens any more.
    let mut listening = Some(caller.as_fd());
    loop {
        match process::wait_pidfd(pidfd.as_fd(), true) {
            Ok(Some((code, status))) => end(listening, code, status),
            Ok(None) => {}
            Err(_) => process::exit_now(super::STEP_FAILED_STATUS),
        }
        match signals.wait(listening, listening.is_none().then_some(GRACE)) {
            Ok(Heard::Signal(signal)) if signal != signal::CHLD => send(signal),
            Ok(Heard::Signal(_)) => {}
            Ok(Heard::Other) => match listening.map(word) {
                Some(Some(signal)) => send(signal),
                _ => {
                    listening = None;
                    send(signal::HUP);
                    send(signal::CONT);
                }
            },
            Ok(Heard::Nothing) => send(signal::KILL),
            Err(_) => process::exit_now(super::STEP_FAILED_STATUS),
        }
    }
}

/// The signal that the caller wants to be sent; `None` when it is gone, or says what is none.
fn word(caller: BorrowedFd<'_>) -> Option<i32> {
    let mut byte = [0];
    match fd::read(caller, &mut byte) {
        Ok(1) if (1..=64).contains(&byte[0]) => Some(i32::from(byte[0])),
        _ => None,
    }
}

fn end(caller: Option<BorrowedFd<'_>>, code: i32, status: i32) -> ! {
    if let Some(caller) = caller {
        // A caller that is gone does not want to know.
        let _ = crate::sys::socket::send(caller, &[code as u8, status as u8]);
    }
    match code {
        process::CLD_EXITED => process::exit_now(status),
        _ => process::die_by_signal(status),
    }
}

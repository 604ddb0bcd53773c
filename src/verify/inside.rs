//! The probe: what runs in the container, with the unit's restrictions. It tries each door in a copy of itself and prints
//! what the kernel answered; it knows nothing of the unit.

use super::{Attempt, Found, Probe, all};
use crate::sys::attempt::{self, CopyEnd};
use crate::sys::{credentials, fd, process};
use rustix::fs::{AtFlags, Mode, OFlags};
use std::os::fd::AsFd;

/// Seconds for one door. It is a limit for what hangs, as an open(2) of something odd may.
const PATIENCE: u32 = 10;

/// Tries all doors. `given` is what the caller passed, see [`Attempt::Look`]. Never returns.
pub fn probe_main(given: &str) -> ! {
    // Nobody in the container shall make it say something else. Not fatal: where that is not allowed it is one call less.
    let _ = credentials::set_dumpable(false);
    for probe in all() {
        let tried = attempt::in_a_copy(PATIENCE, || tell(probe, &try_door(&probe.attempt, given)));
        match tried {
            Ok(CopyEnd::Exited) => {}
            Ok(CopyEnd::Killed(signal)) => tell(probe, &Found::Killed(signal)),
            Err(error) => tell(probe, &Found::Skipped(format!("no process could be made for it: {error}"))),
        }
    }
    process::exit_now(0)
}

fn tell(probe: &Probe, found: &Found) {
    // Who does not listen any more does not want to know.
    let _ = attempt::say(found.line(probe.id).as_bytes());
}

fn try_door(attempt: &Attempt, given: &str) -> Found {
    match attempt {
        Attempt::Call(number, words, _) => Found::of(attempt::call(*number, words)),
        Attempt::Write(paths) => first(paths, |path| open(path, OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK)),
        Attempt::Open(paths) => first(paths, |path| open(path, OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK)),
        Attempt::Read(paths) => first(paths, read),
        Attempt::Make(directory) => make(directory),
        Attempt::Look(look) => look(given),
        Attempt::Compare(ask, _) => ask(),
    }
}

/// The first that works; else the first refusal; else that there is nothing.
fn first(paths: &[&str], attempt: impl Fn(&str) -> Found) -> Found {
    let mut refusal = Found::Nothing("it is not there".to_owned());
    for path in paths {
        match attempt(path) {
            Found::Done(_) => return Found::Done((*path).to_owned()),
            Found::Failed(libc::ENOENT | libc::ENOTDIR | libc::ENXIO | libc::ENODEV) => {}
            other if matches!(refusal, Found::Nothing(_)) => refusal = other,
            _ => {}
        }
    }
    refusal
}

fn open(path: &str, how: OFlags) -> Found {
    // What masks a file is empty, and nothing may be written to it by accident.
    Found::of(rustix::fs::open(path, how | OFlags::CLOEXEC, Mode::empty()).map_err(rustix::io::Errno::raw_os_error))
}

fn read(path: &str) -> Found {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
    let file = match file {
        Ok(file) => file,
        Err(error) => return Found::Failed(error.raw_os_error()),
    };
    match fd::read(file.as_fd(), &mut [0; 1]) {
        Ok(0) => Found::Nothing("empty".to_owned()),
        Ok(_) => Found::Done(String::new()),
        Err(error) => Found::Failed(error.errno),
    }
}

/// May this process write to the directory, and does the kernel make a file there? One without a name, which is gone when
/// it is closed.
pub(super) fn make(directory: &str) -> Found {
    let access = rustix::fs::accessat(rustix::fs::CWD, directory, rustix::fs::Access::WRITE_OK, AtFlags::EACCESS);
    match access {
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {
            return Found::Nothing("there is no such directory".to_owned());
        }
        Err(error) if error != rustix::io::Errno::NOSYS => return Found::Failed(error.raw_os_error()),
        _ => {}
    }
    let how = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::open(directory, how, Mode::RUSR | Mode::WUSR) {
        // The file system has no such files; access(2) said that it would work.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => Found::Done(String::new()),
        other => Found::of(other.map_err(rustix::io::Errno::raw_os_error)),
    }
}

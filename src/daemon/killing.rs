//! Signals to what runs of a unit, and its end by force. Who is signalled was seen to be of the unit first.

use super::engine::{Engine, Timer, to_io};
use super::family::descendants;
use super::service::{Process, Service};
use crate::cgroup::CgroupError;
use crate::supervise::{ServiceId, Target};
use crate::sys::process;
use std::os::fd::AsFd;
use std::time::Duration;

/// How long the kernel has to take a pid namespace down before `cgroup.kill` is used as well.
const KILL_AGAIN: Duration = Duration::from_millis(500);

impl Engine {
    /// Sends a signal through pidfds. Failure means that the target is gone, which its own descriptor tells.
    pub(super) fn signal(&mut self, id: ServiceId, target: Target, signal: i32) {
        let Some(service) = self.services.get(&id) else { return };
        match target {
            Target::Main => {
                if let Some(main) = &service.main {
                    main_signal(main, signal);
                }
            }
            Target::Control => {
                if let Some(control) = &service.control {
                    main_signal(control, signal);
                }
            }
            Target::All => signal_all(service, signal),
        }
    }

    /// Kills everything of a unit. Where the unit has a pid namespace of its own the death of PID 1 takes all of it
    /// along; `cgroup.kill` is for the others, and for what is left after a moment.
    pub(super) fn kill_group(&mut self, id: ServiceId) {
        let Some(service) = self.services.get(&id) else { return };
        let mut contained = false;
        for process in [&service.main, &service.control].into_iter().flatten() {
            contained = process.init;
            send(process.pidfd.fd.as_fd(), libc::SIGKILL);
            if process.service_pid.is_some() {
                main_signal(process, libc::SIGKILL);
            }
        }
        // It joined the container from outside, and ends with it; this only is quicker.
        if let Some(check) = &service.check {
            end_command(check);
        }
        if contained {
            self.after(KILL_AGAIN, Timer::Kill(id));
        } else if service.group.is_none() {
            signal_all(service, libc::SIGKILL);
        } else {
            self.kill_remaining(id);
        }
    }

    /// `cgroup.kill`. The group is used up by it: on 6.18 whatever clone3 bore into such a group
    /// later was killed at once (seen; the cause is not established), so it is removed before the next launch.
    pub(super) fn kill_remaining(&mut self, id: ServiceId) {
        let Some(service) = self.services.get_mut(&id) else { return };
        let Some(group) = &service.group else { return };
        // Who cannot tell whether anybody is in it kills.
        if matches!(group.populated(), Ok(false)) {
            return;
        }
        service.group_used_up = true;
        let killed = group.kill();
        self.group_trouble(id, killed.as_ref().err().map(|error| ("cannot kill the group", error)));
        if killed.is_err() {
            self.signal(id, Target::All, libc::SIGKILL);
            self.after(KILL_AGAIN, Timer::Kill(id));
        }
    }
}

/// Ends a command that was launched beside the service, with what it started in its own process group.
pub(super) fn end_command(process: &Process) {
    // Since Linux 6.9; without it, or when there is no group any more, only the command itself is ended.
    if process.signal_group(libc::SIGKILL).is_err() {
        let _ = process.signal(libc::SIGKILL);
    }
    send(process.pidfd.fd.as_fd(), libc::SIGKILL);
}

pub(super) fn send<F: AsFd>(pidfd: F, signal: i32) {
    say_unless_gone(process::pidfd_send_signal(pidfd.as_fd(), signal), signal);
}

/// To the service's own process.
fn main_signal(process: &Process, signal: i32) {
    say_unless_gone(process.signal(signal), signal);
}

fn say_unless_gone(sent: crate::sys::Result<()>, signal: i32) {
    if let Err(error) = sent {
        let error = to_io(error);
        if error.raw_os_error() != Some(libc::ESRCH) {
            tracing::warn!("cannot send signal {signal}: {error}");
        }
    }
}

/// Who is of the unit: by its group, or where none can be had by descent from what was launched.
fn members(service: &Service) -> Result<Vec<i32>, CgroupError> {
    let Some(group) = &service.group else {
        let launched = [&service.main, &service.control].into_iter().flatten();
        return Ok(launched.flat_map(|process| descendants(process.pid)).collect());
    };
    group.pids()
}

/// Every process of the unit but its PID 1, which would pass the signal on to the main process a second time.
///
/// The numbers are turned into pidfds first and read again afterwards: only who is still of the unit is signalled.
fn signal_all(service: &Service, signal: i32) {
    let inits: Vec<i32> = [&service.main, &service.control]
        .into_iter()
        .flatten()
        .filter(|p| p.init && p.service_pid.is_some())
        .map(|p| p.pid)
        .collect();
    let before = match members(service) {
        Ok(before) if before.is_empty() => return,
        Ok(before) => before,
        Err(error) => {
            tracing::warn!(unit = service.name, "{}: only its main process is signalled: {error}", service.name);
            return [&service.main, &service.control].into_iter().flatten().for_each(|p| main_signal(p, signal));
        }
    };
    let mut opened = Vec::with_capacity(before.len());
    for pid in before.into_iter().filter(|pid| !inits.contains(pid)) {
        match process::pidfd_open(pid) {
            Ok(fd) => opened.push((pid, fd)),
            Err(error) if error.errno == libc::ESRCH => {}
            Err(error) => signal_known(service, pid, signal, &error),
        }
    }
    let after = members(service);
    for (pid, fd) in opened {
        match &after {
            Ok(after) if after.contains(&pid) => {
                send(&fd, signal);
                if signal != libc::SIGKILL && signal != libc::SIGCONT {
                    send(&fd, libc::SIGCONT);
                }
            }
            Ok(_) => {}
            Err(error) => signal_known(service, pid, signal, error),
        }
    }
}

/// A process that cannot be told from a stranger is left alone, unless it is known otherwise.
fn signal_known(service: &Service, pid: i32, signal: i32, error: &dyn std::fmt::Display) {
    match [&service.main, &service.control].into_iter().flatten().find(|process| process.main_pid() == pid) {
        Some(process) => main_signal(process, signal),
        None => tracing::warn!(unit = service.name, "cannot send signal {signal} to process {pid}: {error}"),
    }
}

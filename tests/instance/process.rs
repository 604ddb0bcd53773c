//! A process of a service, seen from outside.
//!
//! It is known by its number and by when it began: numbers are used again, and on a busy machine with few of them soon.

use std::fs;

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    /// Clock ticks from boot to its fork.
    began: u64,
}

impl Process {
    /// The process that has this number now; `None` when there is none, or only what its parent has not reaped.
    pub fn with_pid(pid: i32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in brackets may hold anything; behind it come state (3) and later the time of the fork (22).
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let state = fields.next()?;
        let began = fields.nth(22 - 4)?.parse().ok()?;
        (!["Z", "X"].contains(&state)).then_some(Process { pid, began })
    }

    /// The same of a number in a status; the process must be there.
    #[track_caller]
    pub fn of(pid: &serde_json::Value) -> Process {
        let number = pid.as_i64().and_then(|pid| i32::try_from(pid).ok());
        let number = number.unwrap_or_else(|| panic!("{pid} is no pid"));
        Process::with_pid(number).unwrap_or_else(|| panic!("process {number} is gone"))
    }

    /// Those that a status lists and that are still there.
    pub fn all(status: &serde_json::Value) -> Vec<Process> {
        let listed = status["processes"].as_array().into_iter().flatten();
        let pids = listed.filter_map(|process| i32::try_from(process["pid"].as_i64()?).ok());
        pids.filter_map(Process::with_pid).collect()
    }

    /// Clock ticks from boot to its fork.
    pub fn began(&self) -> u64 {
        self.began
    }

    /// Has it ended, and whoever is its parent waited for it?
    pub fn is_reaped(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let began = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(22 - 3)?.parse().ok());
        began != Some(self.began)
    }

    pub fn is_alive(&self) -> bool {
        Process::with_pid(self.pid).as_ref() == Some(self)
    }

    /// Sends a signal; it must be there.
    #[track_caller]
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid).expect("a pid");
        rustix::process::kill_process(pid, signal).expect("the process is there");
    }

    /// Who forked it, or has inherited it.
    #[track_caller]
    pub fn parent(&self) -> Process {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).expect("the process is there");
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        parent.and_then(Process::with_pid).expect("it has a parent")
    }

    /// Its arguments, each ended by a NUL.
    pub fn command_line(&self) -> String {
        fs::read_to_string(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default()
    }
}

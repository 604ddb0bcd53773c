//! What the daemon holds of one service: its units, its group, its processes, its sockets.

use super::activation::{Keeper, Sockets, Store};
use super::connections::{Accepting, Connection};
use super::identity::ProcessIdentity;
use super::killed_call::KilledCall;
use super::live::Live;
use super::log_output::Output;
use super::notify::NotifySocket;
use super::plans::Digest;
use super::rare::{Rare, Usual};
use super::remembered::Launcher;
use super::state::Written;
use super::syslog::SyslogSocket;
use super::timers::UnitTimers;
use crate::cgroup::Group;
use crate::control::GroupCounters;
use crate::plan::{CgroupSettings, Degraded, HostStep};
use crate::supervise::{Exit, LaunchFailure, Role};
use crate::sys::poll::Token;
use crate::sys::{SysError, process};
use crate::unit::Unit;
use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// A descriptor and its registration.
#[derive(Debug)]
pub(super) struct Watched<T> {
    pub fd: T,
    pub token: Token,
}

/// One service. A thousand of them are kept: what few have, or few have for long, is boxed.
pub(super) struct Service {
    pub name: String,
    /// As last read from disk: what the next start uses. `None` when the service was adopted and its file is gone.
    pub unit: Option<Rc<Unit>>,
    /// Of a set: its first replica as last read from disk, which is never started from here; `unit` is `None` then.
    pub template: Option<Rc<Unit>>,
    /// Identifies the text that `unit` was read from.
    pub fingerprint: u64,
    /// What the present (or last) run uses.
    pub running: Option<Rc<Unit>>,
    /// Fingerprint of `running`.
    pub running_fingerprint: u64,
    /// What is known of the main process's plan; `None` before the first start, and after a change of the unit.
    pub digest: Option<Digest>,
    pub group: Option<Group>,
    /// Settings that the group has; a restart with the same does not write them again.
    pub applied: Option<Box<CgroupSettings>>,
    /// What it has from its slice.
    pub from_slice: Rare<super::slices::FromSlice>,
    /// Limits changed while it runs.
    pub live: Live,
    /// The group's freezer is on.
    pub frozen: bool,
    /// `cgroup.kill` was used on the group.
    pub group_used_up: bool,
    /// Of the group's events.
    pub group_watch: Option<nix::sys::inotify::WatchDescriptor>,
    /// It could not be watched: whether it is empty is asked again and again.
    pub group_unwatched: bool,
    /// It did not do what it was told, or did not tell, and that was said.
    pub group_trouble: bool,
    /// What the group could not be given.
    pub group_degraded: Vec<Degraded>,
    /// `CgroupEmptied` was told since the last launch.
    pub emptied: bool,
    /// Which of [`super::state::RECORDS`] the present run's record is.
    pub record: usize,
    /// `oom_kill` of the group when the run began.
    pub oom_kills_before: u64,
    pub main: Option<Box<Process>>,
    pub control: Option<Box<Process>>,
    /// `ready.command` or `health.command`.
    pub check: Option<Box<Process>>,
    /// Number of the question for its health that `check` is to answer.
    pub check_number: Option<u32>,
    /// `ready.command` has succeeded in this run.
    pub ready_command_succeeded: bool,
    pub invocation: String,
    /// Requests that may be repeated, in the order of their arrival.
    pub requested: Vec<super::requested::Requested>,
    /// Which rsvc started the present (or last) run.
    pub launched_by: Launcher,
    /// What its state file says.
    pub written: Written,
    /// What was not applied at the last launch of the main process.
    pub degraded: Rc<Vec<Degraded>>,
    pub notify: Option<Watched<NotifySocket>>,
    pub syslog: Option<Watched<SyslogSocket>>,
    /// Who answers its denied calls, and what they were.
    pub denials: Option<Box<super::denials::Denials>>,
    pub log: Option<Box<Output>>,
    /// `[[sockets]]`, while they are open.
    pub sockets: Option<Box<Sockets>>,
    /// `sockets.accept`, since it listened first.
    pub accepting: Option<Box<Accepting>>,
    /// It serves a connection.
    pub connection: Option<Box<Connection>>,
    /// What it stored for its next run.
    pub store: Store,
    /// Holds sockets and stored descriptors for the next daemon.
    pub keeper: Option<Box<Watched<Keeper>>>,
    /// `[[timers]]`, from the start to the stop.
    pub timers: Option<Box<UnitTimers>>,
    /// What it said that only people look at.
    pub said: Rare<Said>,
    /// Keeps a service that talks nonsense from filling the log.
    pub complaints: super::complaints::Complaints,
    /// STATUS= and the like are in the supervisor; this is what only the daemon knows.
    pub last_main_pid: Option<i32>,
    /// User of the last process that was executed for it, as this daemon sees it.
    pub last_uid: Option<u32>,
    /// Waiting for listening sockets or the pid file.
    pub watching_readiness: bool,
    /// Directories that are still to be removed.
    pub removing: Vec<HostStep>,
    /// Counters of the group when the main process last ended; the group may be gone.
    pub last_counters: Option<Box<GroupCounters>>,
    /// When a system-call filter ended the last main process.
    pub killed_call: Option<Box<KilledCall>>,
    /// Last lines of the output, kept when the log of a service that is down was closed.
    pub lines: Vec<String>,
    /// Messages that the rate limit kept out of a log that was closed.
    pub suppressed: u64,
    /// The file could not be used at the last attempt.
    pub load_error: Option<String>,
}

/// What a service said of itself in its present (or last) run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// ERRNO=
    pub errno: Option<i32>,
    /// BUSERROR= or VARLINKERROR=
    pub error: Option<String>,
    /// Why `ready.command` did not succeed the last time.
    pub not_ready: Option<String>,
    /// READY=1 came from a process that `notify_access` does not believe.
    pub ready_was_refused: bool,
    /// The run ended while no daemon ran, and which process was the main one had not been noted.
    pub main_is_unknown: bool,
}

impl Usual for Said {
    const USUAL: &'static Said =
        &Said { errno: None, error: None, not_ready: None, ready_was_refused: false, main_is_unknown: false };
}

/// A launched process: the main one with its PID 1, or a command.
pub(super) struct Process {
    pub role: Role,
    /// The plan as the set-up stage got it, until exec: what is reported names its steps by number.
    pub plan: Option<Box<[u8]>>,
    /// What was cloned is (or becomes) a resident init.
    pub init: bool,
    /// It has a container of its own.
    pub own_container: bool,
    /// Host pid of what was cloned: PID 1 of the container, or the service itself.
    pub pid: i32,
    pub pidfd: Watched<OwnedFd>,
    pub report: Option<Watched<OwnedFd>>,
    /// The service's own process, when it is another one than `pid`.
    pub service_pid: Option<i32>,
    /// Who has `service_pid`, as asked when it was learnt; `None`: nobody had it any more.
    pub service_identity: Option<ProcessIdentity>,
    /// Open where its end is not told by the resident init.
    pub service_pidfd: Option<Watched<OwnedFd>>,
    /// Pid of the service in its pid namespace.
    pub inner_pid: i32,
    /// The pid namespace is a joined one: the resident init stands outside, and its records count as the host does.
    pub init_outside: bool,
    /// `Report::Executing` was received.
    pub executing: bool,
    /// exec succeeded.
    pub executed: bool,
    pub failure: Option<Box<LaunchFailure>>,
    /// The failure was told to the supervisor; the end of the process is not told any more.
    pub failure_told: bool,
    /// How the service's own process ended.
    pub exit: Option<Exit>,
    /// Number under which its PID 1 keeps the read end of the log pipe.
    pub log_number: Option<i32>,
    /// The same of the notify socket.
    pub notify_number: Option<i32>,
    /// It was running before this daemon was.
    pub adopted: bool,
    /// Its resident init tells the ends of its children on our socket.
    pub heard: bool,
    /// How often its record was looked for in vain, since it was seen dead.
    pub looks_for_record: u32,
    /// Who has `pid`, once asked: the state file names it again and again.
    pub identity: Cell<Option<ProcessIdentity>>,
}

impl Process {
    /// Has the service's own process, which has ended, been waited for by its parent?
    pub fn is_reaped(&self) -> bool {
        let Some(watched) = &self.service_pidfd else { return true };
        crate::sys::process::pidfd_send_signal(watched.fd.as_fd(), 0).is_err()
    }

    /// The descriptor of the service's own process, where it has one.
    pub fn own_pidfd(&self) -> BorrowedFd<'_> {
        self.service_pidfd.as_ref().unwrap_or(&self.pidfd).fd.as_fd()
    }

    /// Nobody writes a record of its end: its pidfd is kept for the next daemon, whom the kernel tells the status.
    pub fn is_kept(&self) -> bool {
        self.role == Role::Main && !self.init && self.own_container
    }

    /// Sends a signal to the service's own process.
    ///
    /// # Errors
    /// ESRCH when it is gone, and the rest of pidfd_open(2) and pidfd_send_signal(2).
    pub fn signal(&self, signal: i32) -> crate::sys::Result<()> {
        match (self.service_pid, &self.service_pidfd) {
            (Some(pid), None) if self.exit.is_none() => {
                // Opened for this signal only: a descriptor per service would be held for nothing else. The number may
                // be somebody else's by now, so it is asked who was opened, as at an adoption.
                let opened = process::pidfd_open(pid).and_then(|pidfd| match self.service_identity {
                    Some(identity) if identity.is_behind(pidfd.as_fd()) => Ok(pidfd),
                    _ => Err(SysError { call: "pidfd_open", errno: libc::ESRCH }),
                });
                match opened {
                    Ok(pidfd) => process::pidfd_send_signal(pidfd.as_fd(), signal),
                    // Gone, or it could not be had or asked who it is. PID 1 of the container passes on what it is told
                    // from outside, as long as that process is there.
                    Err(_) if self.passes_on(signal) => process::pidfd_send_signal(self.pidfd.fd.as_fd(), signal),
                    Err(error) => Err(error),
                }
            }
            (_, service) => {
                let target = service.as_ref().unwrap_or(&self.pidfd);
                process::pidfd_send_signal(target.fd.as_fd(), signal)
            }
        }
    }

    /// Does its PID 1 give this signal to it? Not the two that nobody can catch, nor that of a child's end.
    fn passes_on(&self, signal: i32) -> bool {
        let caught = !matches!(signal, libc::SIGKILL | libc::SIGSTOP | libc::SIGCHLD);
        caught && self.init && self.own_container && !self.init_outside
    }

    /// Sends a signal to the process group that the service's own process leads, where it leads one.
    ///
    /// # Errors
    /// As [`Process::signal`], and EINVAL before Linux 6.9.
    pub fn signal_group(&self, signal: i32) -> crate::sys::Result<()> {
        let pid = self.service_pid.filter(|_| self.exit.is_none());
        let pid = pid.ok_or(SysError { call: "pidfd_open", errno: libc::ESRCH })?;
        let pidfd = process::pidfd_open(pid)?;
        if !self.service_identity.is_some_and(|identity| identity.is_behind(pidfd.as_fd())) {
            return Err(SysError { call: "pidfd_open", errno: libc::ESRCH });
        }
        process::pidfd_signal_group(pidfd.as_fd(), signal)
    }

    /// Who the service's own process is, as soon as its number is known.
    pub fn set_service(&mut self, pid: i32) {
        self.service_pid = Some(pid);
        self.service_identity = ProcessIdentity::of(pid);
    }

    /// What identifies PID 1 of the container to the next daemon.
    pub fn init_identity(&self) -> Option<ProcessIdentity> {
        if self.identity.get().is_none() {
            self.identity.set(ProcessIdentity::of(self.pid));
        }
        self.identity.get()
    }

    /// What identifies the service's own process to the next daemon.
    pub fn main_identity(&self) -> Option<ProcessIdentity> {
        if self.service_pid.is_some() { self.service_identity } else { self.init_identity() }
    }

    /// The service's own process as the records of its init name it.
    pub fn recorded_pid(&self) -> i32 {
        if self.init_outside { self.service_pid.unwrap_or(0) } else { self.inner_pid }
    }

    /// Host pid of the service's own process.
    pub fn main_pid(&self) -> i32 {
        self.service_pid.unwrap_or(self.pid)
    }
}

impl Service {
    pub fn new(name: &str) -> Service {
        Service {
            name: name.to_owned(),
            unit: None,
            template: None,
            fingerprint: 0,
            running: None,
            running_fingerprint: 0,
            digest: None,
            group: None,
            applied: None,
            from_slice: Default::default(),
            live: Live::default(),
            frozen: false,
            group_used_up: false,
            group_watch: None,
            group_unwatched: false,
            group_trouble: false,
            group_degraded: Vec::new(),
            emptied: true,
            record: 0,
            oom_kills_before: 0,
            main: None,
            control: None,
            check: None,
            check_number: None,
            ready_command_succeeded: false,
            invocation: String::new(),
            requested: Vec::new(),
            launched_by: Launcher::default(),
            written: Written::default(),
            degraded: Rc::default(),
            notify: None,
            syslog: None,
            denials: None,
            log: None,
            sockets: None,
            accepting: None,
            connection: None,
            store: Store::default(),
            keeper: None,
            timers: None,
            said: Rare::default(),
            complaints: Default::default(),
            last_main_pid: None,
            last_uid: None,
            watching_readiness: false,
            removing: Vec::new(),
            last_counters: None,
            killed_call: None,
            lines: Vec::new(),
            suppressed: 0,
            load_error: None,
        }
    }

    /// The last lines of its output, where the daemon reads that.
    pub fn last_lines(&self, count: usize) -> Vec<String> {
        match &self.log {
            Some(log) => log.last_lines(count),
            None => self.lines.clone(),
        }
    }

    pub fn process(&mut self, place: super::engine::Place) -> &mut Option<Box<Process>> {
        match place {
            super::engine::Place::Main => &mut self.main,
            super::engine::Place::Control => &mut self.control,
            super::engine::Place::Check => &mut self.check,
        }
    }
}

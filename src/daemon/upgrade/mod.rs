//! `rsvc daemon upgrade`: another program takes over in place, under the same pid.
//!
//! ```text
//! Upgrade ─▶ which file, may it be believed (program) ─▶ can it take over (probe) ─▶ a quiet moment ─▶ exec
//!                │ no                                       │ no, or no answer             │            │ failed
//!                ▼                                          ▼                              │            ▼
//!            UpgradeRefused, and this daemon goes on as if nothing had been ◀──────────────┴────────────┘
//! exec ─▶ the new program: snapshot (handoff), lock, control socket ─▶ adoption as after a crash ─▶ the answer
//! ```
//!
//! All knowledge of services comes by adoption, the one way for every end of a daemon. What is handed over is what only
//! this process has: the lock and the listening socket, so that no other daemon gets between and no client is refused;
//! connections that wait for nothing, and the one that waits for the answer. Clients whose calls are under way lose
//! their connection and ask again.

mod handoff;
mod info;
mod probe;
mod program;

pub use info::handoff_info;
pub(super) use program::own_path;

use super::engine::{Engine, Timer, now};
use super::listener::ConnectionId;
use super::remembered::LaunchedBy;
use super::server::Server;
use super::service::{Process, Service};
use crate::control::{Answer, CallError, Peer};
use crate::supervise::{Moment, ServiceId};
use crate::sys::process::Nursery;
use crate::sys::{fd, process};
use handoff::{HandedConnection, Handoff};
use probe::{Claim, Probe, Progress, c_strings, exec_words};
use program::Program;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The option by which the new program finds the snapshot.
const OPTION: &str = "--handoff";

/// How long an upgrade waits for launches and commands to get through, for the journal to take what was read, and for answers to be
/// read, before it goes on all the same.
const CALM: Duration = Duration::from_secs(1);

/// An upgrade under way.
pub(super) struct Upgrade {
    caller: ConnectionId,
    program: Program,
    stage: Stage,
}

enum Stage {
    /// The program is asked.
    Asking(Box<Probe>),
    /// It is able; until this moment at the latest something is still in the way.
    Calming(Claim, Moment),
}

/// `1`, or `1 to 3`.
fn range(oldest: u32, newest: u32) -> String {
    if oldest == newest { newest.to_string() } else { format!("{oldest} to {newest}") }
}

/// The command line of this process without a former `--handoff N`.
fn arguments() -> Vec<OsString> {
    without_handoff(std::env::args_os())
}

fn without_handoff(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words = words.peekable();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == OPTION {
            words.next();
        } else {
            kept.push(word);
        }
    }
    kept
}

/// The environment of this process, as exec wants it.
fn environment() -> Vec<CString> {
    let join = |(mut variable, value): (OsString, OsString)| {
        variable.push("=");
        variable.push(value);
        variable
    };
    c_strings(std::env::vars_os().map(join).collect())
}

impl Server {
    /// Begins, or answers why not. `path`: instead of the program by which this daemon was started.
    pub(super) fn begin_upgrade(&mut self, caller: ConnectionId, path: Option<String>) {
        let path = path.map_or_else(|| self.program.clone(), PathBuf::from);
        match self.ask_program(caller, &path) {
            Ok(upgrade) => {
                tracing::info!("upgrade: asking {}", path.display());
                self.upgrade = Some(upgrade);
            }
            Err(why) => self.refuse_upgrade(caller, &why),
        }
    }

    fn ask_program(&mut self, caller: ConnectionId, path: &Path) -> Result<Upgrade, String> {
        if self.upgrade.is_some() || self.replacing {
            return Err("another upgrade is under way".to_owned());
        }
        if self.finished || self.ending.is_some() {
            return Err("the daemon is about to end".to_owned());
        }
        let program = Program::open(path, rustix::process::geteuid().as_raw())?;
        // What is asked about is what the program would find.
        self.engine.write_all_states();
        let snapshot =
            self.handoff(caller, path).seal().map_err(|error| format!("no snapshot can be made: {error}"))?;
        let present = now();
        let probe = Probe::start(&mut self.engine.poller, &program, arguments(), &snapshot, present)?;
        self.engine.after(probe::PATIENCE, Timer::Upgrade);
        Ok(Upgrade { caller, program, stage: Stage::Asking(Box::new(probe)) })
    }

    fn refuse_upgrade(&mut self, caller: ConnectionId, why: &str) {
        tracing::warn!("upgrade refused, this daemon goes on: {why}");
        let message = format!("upgrade refused: {why}");
        self.listener.reply(caller, &Err(CallError::UpgradeRefused { message }));
    }

    /// The process that is asked, which is waited for by nobody else.
    pub(super) fn asked_pid(&self) -> Option<i32> {
        match &self.upgrade.as_ref()?.stage {
            Stage::Asking(probe) => Some(probe.pid()),
            Stage::Calming(..) => None,
        }
    }

    /// Goes on with an upgrade, if one is under way; to be called after each turn. Returns only if this program goes on.
    pub(super) fn go_on_with_upgrade(&mut self) {
        let Some(mut upgrade) = self.upgrade.take() else { return };
        if let Stage::Asking(probe) = &mut upgrade.stage {
            let options = &self.engine.options;
            let excused = |unit: &str| super::state::read(&options.runtime_dir, unit).is_err();
            match probe.look(&mut self.engine.poller, now(), &excused) {
                Progress::Open => return self.upgrade = Some(upgrade),
                Progress::Refused(why) => {
                    self.leave_upgrade(upgrade.stage);
                    return self.refuse_upgrade(upgrade.caller, &format!("{}: {why}", upgrade.program.path.display()));
                }
                Progress::Able(claim) => {
                    let calming = Stage::Calming(claim, now().after(CALM));
                    let asked = std::mem::replace(&mut upgrade.stage, calming);
                    self.leave_upgrade(asked);
                    self.engine.after(CALM, Timer::Upgrade);
                }
            }
        }
        let Stage::Calming(claim, until) = &upgrade.stage else { return };
        if now() < *until && !self.is_calm() {
            self.upgrade = Some(upgrade);
            return;
        }
        tracing::info!("upgrade: rsvc {} ({}) takes over", claim.version, upgrade.program.path.display());
        let why = self.replace(&upgrade);
        self.engine.cancel(Timer::Upgrade);
        self.refuse_upgrade(upgrade.caller, &format!("{}: {why}", upgrade.program.path.display()));
    }

    /// Would the next program miss nothing that a moment of waiting brings?
    fn is_calm(&self) -> bool {
        let engine = &self.engine;
        let sending = engine.holds_output() || engine.is_set(Timer::FlushKeeper);
        !sending && !engine.has_something_short_under_way() && !self.listener.is_being_read()
    }

    /// Ends what an upgrade had begun, at the end of the daemon too.
    pub(super) fn abandon_upgrade(&mut self) {
        if let Some(upgrade) = self.upgrade.take() {
            self.leave_upgrade(upgrade.stage);
        }
    }

    fn leave_upgrade(&mut self, stage: Stage) {
        self.engine.cancel(Timer::Upgrade);
        let Stage::Asking(probe) = stage else { return };
        // It may hang where no signal reaches it: nobody waits for it here.
        if let Some((token, child)) = probe.leave(&mut self.engine.poller) {
            self.engine.retired.insert(token, child);
        }
    }

    fn handoff(&self, caller: ConnectionId, program: &Path) -> Handoff {
        let handed = self.listener.hand_over(caller);
        Handoff {
            lock: self.lock.as_raw_fd(),
            listener: handed.socket,
            caller: handed.caller,
            connections: handed.others.into_iter().map(|(fd, read)| HandedConnection { fd, read }).collect(),
            since: self.engine.since,
            upgrades: self.engine.upgrades,
            program: program.to_str().map(str::to_owned),
            ..Handoff::new()
        }
    }

    /// Executes the program. Returns only if that fails: everything is as before then, and the answer says why.
    fn replace(&mut self, upgrade: &Upgrade) -> String {
        self.replacing = true;
        self.finish_what_is_open();
        self.engine.nursery = Nursery::default();
        super::manager::tell_reloading();
        let failure = match process::set_signal_mask(u64::MAX) {
            Ok(mask) => {
                // What came before the mask is still this program's; what comes now waits for the next.
                self.signalled();
                let failure = self.execute(upgrade, mask);
                let _ = process::set_signal_mask(mask);
                failure
            }
            Err(error) => error.to_string(),
        };
        super::manager::tell_ready();
        self.replacing = false;
        failure
    }

    /// Whatever has happened is told, answered and written down.
    fn finish_what_is_open(&mut self) {
        loop {
            self.engine.settle();
            let notices = std::mem::take(&mut self.engine.notices);
            if notices.is_empty() {
                break;
            }
            notices.into_iter().for_each(|notice| self.notice(notice));
        }
        self.engine.write_all_states();
        self.engine.flush_keeper();
        self.engine.conclude_relay();
        if let Some(journal) = &self.journal {
            self.engine.flush_journal(journal);
        }
    }

    fn execute(&self, upgrade: &Upgrade, mask: u64) -> String {
        if self.finished || self.ending.is_some() {
            return "the daemon was told to end meanwhile".to_owned();
        }
        let handoff = Handoff { signals: mask, ..self.handoff(upgrade.caller, &upgrade.program.path) };
        let snapshot = match handoff.seal() {
            Ok(snapshot) => snapshot,
            Err(error) => return format!("no snapshot can be made: {error}"),
        };
        let mut words = arguments();
        words.extend([OPTION.into(), snapshot.as_raw_fd().to_string().into()]);
        let handed: Vec<_> = [self.lock.as_fd(), snapshot.as_fd()]
            .into_iter()
            .chain(self.listener.handed_descriptors(upgrade.caller))
            .collect();
        // Nothing else gets across, whoever forgot a close-on-exec flag.
        let mut opened = fd::close_range_cloexec(3);
        for fd in &handed {
            opened = opened.and_then(|()| fd::set_close_on_exec(*fd, false));
        }
        let error = match opened {
            Ok(()) => process::execveat(upgrade.program.file.as_fd(), &c_strings(words), &environment()),
            Err(error) => error,
        };
        for fd in handed {
            let _ = fd::set_close_on_exec(fd, true);
        }
        if error.call == "execveat" { exec_words(error.errno) } else { error.to_string() }
    }
}

impl Engine {
    /// The states of all services, as they are now.
    fn write_all_states(&mut self) {
        let ids: Vec<ServiceId> = self.services.keys().copied().collect();
        ids.into_iter().for_each(|id| self.persist(id));
    }

    /// Is a process on its way to its program, or does a command run around one? Who waits a moment finds less that has
    /// to be begun anew.
    fn has_something_short_under_way(&self) -> bool {
        let sets_up = |main: &Process| main.report.is_some();
        let busy = |s: &Service| s.main.as_deref().is_some_and(sets_up) || s.control.is_some() || s.check.is_some();
        self.services.values().any(|service| busy(service))
    }
}

/// What a new program found of the former one.
pub(super) struct Inherited {
    pub handoff: Handoff,
    pub lock: OwnedFd,
    pub listener: OwnedFd,
    pub caller: Option<OwnedFd>,
    /// With the beginning of a call.
    pub connections: Vec<(OwnedFd, Vec<u8>)>,
}

impl Inherited {
    /// Takes over the snapshot `number` and what it names; every other descriptor above 2 is closed. To be called
    /// before anything is opened.
    ///
    /// # Errors
    /// Why it cannot be used, in words. All descriptors above 2 are closed then: the lock is free, and a daemon can
    /// begin as after a crash.
    pub fn take(number: RawFd) -> Result<Inherited, String> {
        // By descriptor the kernel has called the process after that.
        if let Some(name) = std::env::args_os().next() {
            let name = Path::new(&name).file_name().map(OsStr::to_owned).unwrap_or_default();
            if let Ok(name) = CString::new(name.into_vec()) {
                let _ = rustix::thread::set_name(&name);
            }
        }
        let taken = Inherited::try_take(number);
        if taken.is_err() {
            fd::close_inherited_but(&[]).map_err(|error| error.to_string())?;
        }
        taken
    }

    fn try_take(number: RawFd) -> Result<Inherited, String> {
        let snapshot = fd::adopt(number).map_err(|error| format!("descriptor {number}: {error}"))?;
        let handoff = Handoff::read(&snapshot).map_err(|error| error.to_string())?;
        drop(snapshot);
        if handoff.pid != process::own_pid() {
            return Err(format!("the snapshot is that of process {}", handoff.pid));
        }
        let mut named = vec![handoff.lock, handoff.listener];
        named.extend(handoff.caller);
        named.extend(handoff.connections.iter().map(|connection| connection.fd));
        let count = named.len();
        named.sort_unstable();
        named.dedup();
        if named.len() != count {
            return Err("the snapshot names a descriptor twice".to_owned());
        }
        fd::close_inherited_but(&named).map_err(|error| error.to_string())?;
        let adopt = |number| fd::adopt(number).map_err(|error| format!("descriptor {number}: {error}"));
        Ok(Inherited {
            lock: adopt(handoff.lock)?,
            listener: adopt(handoff.listener)?,
            caller: handoff.caller.map(adopt).transpose()?,
            connections: handoff
                .connections
                .iter()
                .map(|connection| Ok((adopt(connection.fd)?, connection.read.clone())))
                .collect::<Result<_, String>>()?,
            handoff,
        })
    }
}

impl Server {
    /// Goes on with the connections of the former program and answers the one that asked for the upgrade.
    pub(super) fn take_connections(&mut self, inherited: Inherited) {
        let LaunchedBy { version, build } = LaunchedBy::this();
        tracing::info!("upgraded in place from rsvc {} to {version}", inherited.handoff.version);
        let engine = &self.engine;
        let mut admit = |peer: &Peer| engine.admit(peer);
        if let Some(caller) = inherited.caller
            && let Some(connection) = self.listener.resume(caller, &[], true, &mut admit)
        {
            let from = inherited.handoff.version;
            self.listener.reply(connection, &Ok(Answer::Upgraded { from, version, build }));
        }
        for (stream, read) in inherited.connections {
            self.listener.resume(stream, &read, false, &mut admit);
        }
        self.answer_calls();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_keeps_its_words_and_loses_a_former_handoff() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let line = "/usr/bin/rsvc --runtime-dir /r daemon --handoff 7 --stop-on-exit";
        assert_eq!(
            without_handoff(words(line).into_iter()),
            words("/usr/bin/rsvc --runtime-dir /r daemon --stop-on-exit")
        );
        assert_eq!(without_handoff(words("rsvcd --handoff 9").into_iter()), words("rsvcd"));
        assert_eq!(without_handoff(words("rsvcd --handoff").into_iter()), words("rsvcd"));
    }
}

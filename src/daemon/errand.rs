//! Commands that somebody runs beside a service, in its container (`rsvc exec`, `rsvc shell`).
//!
//! The daemon launches them like every other command that joins the container, with the unit's own restrictions, into the
//! unit's group; standard streams are the caller's. Once a command has been executed the daemon has nothing more to do
//! with it but to reap who stands in for it: that one tells the caller how it ended, also when there is no daemon any
//! more (`init::errand`). When the unit goes down the command goes with it.

use super::engine::{Engine, Notice, Source, to_io};
use super::inheritance::Kept;
use super::launch::{failure, io_failure};
use super::scarcity::may_pass;
use super::service::Watched;
use crate::compile::{self, UserFact};
use crate::control::{CallError, Terminal};
use crate::plan::wire::{self, PerStart, Report};
use crate::plan::{LaunchPlan, Step, hint};
use crate::supervise::{LaunchFailure, Role, ServiceId, ServiceResult};
use crate::sys::socket::{self, Received};
use crate::sys::{fd, process};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// rsvc itself failed; what env(1) and others say then.
const FAILED: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Commands that are being launched.
#[derive(Default)]
pub(super) struct Errands {
    launching: BTreeMap<u64, Errand>,
    /// Of the last one.
    number: u64,
}

struct Errand {
    unit: String,
    plan: LaunchPlan,
    report: Watched<OwnedFd>,
    /// Why it was not executed.
    failure: Option<(u8, String)>,
    executing: bool,
}

/// What a caller wants to be run.
pub(super) struct Wish {
    pub command: Vec<String>,
    /// The terminal that it is to have.
    pub terminal: Option<Terminal>,
    /// Name or number of who is to run it; else the unit's user.
    pub user: Option<String>,
    /// The program comes along.
    pub image: bool,
}

/// What a caller passes.
struct Streams {
    standard: [OwnedFd; 3],
    caller: OwnedFd,
    /// The program, where it is none of the container's.
    image: Option<OwnedFd>,
}

impl Streams {
    /// # Errors
    /// What is wrong with them.
    fn of(mut descriptors: Vec<OwnedFd>, with_image: bool) -> Result<Streams, String> {
        let image = if with_image { Some(sealed(descriptors.pop())?) } else { None };
        let [stdin, stdout, stderr, caller] = <[OwnedFd; 4]>::try_from(descriptors)
            .map_err(|all| format!("four descriptors come with the call, not {}", all.len()))?;
        let standard = [stdin, stdout, stderr];
        for (stream, name) in standard.iter().zip(["standard input", "standard output", "standard error"]) {
            harmless(stream.as_fd()).map_err(|why| format!("{name} is {why}"))?;
        }
        if kind(caller.as_fd()) != Some(libc::S_IFSOCK) {
            return Err("the fourth descriptor is no socket".to_owned());
        }
        Ok(Streams { standard, caller, image })
    }
}

/// Nobody can change it any more, and no path leads to it: so it is executed as it was passed, and is no file of the host
/// that the container could write to (CVE-2019-5736).
///
/// # Errors
/// It is not that.
fn sealed(image: Option<OwnedFd>) -> Result<OwnedFd, String> {
    let image = image.ok_or("the program did not come with the call")?;
    match fd::is_sealed(image.as_fd()) {
        Ok(true) => Ok(image),
        _ => Err("the program that came with the call is no sealed memfd".to_owned()),
    }
}

fn kind(fd: BorrowedFd<'_>) -> Option<libc::mode_t> {
    fd::stat(fd).ok().map(|stat| stat.mode & libc::S_IFMT)
}

/// A directory of the host would be a way out of the container, and what is written to somebody's terminal can be made
/// its input (TIOCSTI).
///
/// # Errors
/// What it is.
fn harmless(fd: BorrowedFd<'_>) -> Result<(), &'static str> {
    if rustix::fs::fcntl_getfl(fd).is_ok_and(|flags| flags.contains(rustix::fs::OFlags::PATH)) {
        return Err("opened as a path only");
    }
    match kind(fd) {
        Some(libc::S_IFREG | libc::S_IFIFO | libc::S_IFSOCK) => Ok(()),
        Some(libc::S_IFCHR) if !rustix::termios::isatty(fd) => Ok(()),
        Some(libc::S_IFCHR) => Err("the caller's terminal, which nothing in a container may have open"),
        Some(libc::S_IFDIR) => Err("a directory of the host"),
        _ => Err("neither a file nor a pipe, a socket or a character device"),
    }
}

impl Engine {
    /// Launches `command` in the container of a unit that runs. The answer is the number under which it is told
    /// ([`Notice::Errand`]) that it was executed.
    pub(super) fn begin_errand(
        &mut self,
        asked: &str,
        wish: &Wish,
        descriptors: Vec<OwnedFd>,
    ) -> Result<u64, CallError> {
        let unit = asked.to_owned();
        let not_executed = |message| CallError::NotExecuted { unit: unit.clone(), status: FAILED, message };
        let id = self.known_or_loaded(asked)?;
        self.refuse_set(id, asked)?;
        let service = self.service(id).filter(|service| service.main.as_ref().is_some_and(|main| main.executed));
        let Some(service) = service else { return Err(CallError::NotRunning { unit }) };
        if service.frozen {
            let message = format!("{asked}: frozen, so nothing can run in it: `rsvc thaw {asked}` first");
            return Err(CallError::NotSupported { unit, message });
        }
        let name = service.name.clone();
        let streams = Streams::of(descriptors, wish.image).map_err(&not_executed)?;
        let launched = self.launch_errand(id, wish, streams);
        let (report, plan) = launched.map_err(|failure| not_executed(failure.message))?;
        self.errands.number += 1;
        let number = self.errands.number;
        let token = self.watch(&report, Source::Errand(number));
        // Its stand-in goes on; nobody is told but by that.
        let token = token.map_err(|error| not_executed(format!("the command cannot be watched: {error}")))?;
        let report = Watched { fd: report, token };
        let errand = Errand { unit: name, plan, report, failure: None, executing: false };
        self.errands.launching.insert(number, errand);
        Ok(number)
    }

    fn launch_errand(
        &mut self,
        id: ServiceId,
        wish: &Wish,
        streams: Streams,
    ) -> Result<(OwnedFd, LaunchPlan), LaunchFailure> {
        let gone = || failure("NAMESPACE", 226, "failed at step NAMESPACE: the main process is gone".to_owned());
        let unit = self.service(id).and_then(|service| service.running.clone()).ok_or_else(gone)?;
        self.check_room_for_launch()?;
        let facts = self.facts(&unit);
        let user = wish.user.as_ref().map(|user| self.user_of_errand(user)).transpose()?;
        let errand = compile::Errand { command: &wish.command, terminal: wish.terminal.is_some(), user: user.as_ref() };
        let plan =
            compile::compile_errand(&unit, &facts, errand).map_err(|errors| super::launch::compile_failure(&errors))?;
        let mut start = PerStart {
            environment: self.start_environment(id, Role::Ready, ServiceResult::Success, None)?,
            ..Default::default()
        };
        if let Some(Terminal { kind, rows, columns }) = &wish.terminal {
            // As it is from the first instruction on; its modes are the caller's when that has it.
            (start.terminal.rows, start.terminal.columns) = (*rows, *columns);
            start.environment.extend((!kind.is_empty()).then(|| ("TERM".to_owned(), kind.clone())));
        }
        self.trim_after_launch();
        self.open_denials(id, &plan)?;
        let (mut inherit, kept) = self.descriptors(id, Role::Ready, &plan, Vec::new(), &mut start.descriptors)?;
        let Streams { standard: [stdin, stdout, stderr], caller, image } = streams;
        let numbers = &mut start.descriptors;
        if wish.terminal.is_none() {
            numbers.stdin = Some(inherit.add(stdin));
            numbers.stdout = Some(inherit.add(stdout));
            numbers.stderr = Some(inherit.add(stderr));
        }
        numbers.caller = Some(inherit.add(caller));
        numbers.program = image.map(|image| inherit.add(image));
        let bytes = wire::encode(&plan, &start);
        let (pid, pidfd) = self.bear(id, &plan, &bytes, &mut inherit)?;
        let Kept { report, .. } = kept;
        self.reap_errand(id, pid, pidfd)?;
        Ok((report, plan))
    }

    /// The account of who is to run a command, as the host knows it.
    fn user_of_errand(&mut self, user: &str) -> Result<UserFact, LaunchFailure> {
        self.host.accounts().user(user).map_err(|error| {
            let hint = format!("check the spelling: `getent passwd {user}`");
            failure("USER", 217, format!("failed at step USER: user `{user}` {error}\n  hint: {hint}"))
        })
    }

    /// Who stands in for it is a child of ours, which is reaped when it has ended.
    fn reap_errand(&mut self, id: ServiceId, pid: i32, pidfd: OwnedFd) -> Result<(), LaunchFailure> {
        let attached = match self.service(id).and_then(|service| service.group.as_ref()) {
            Some(group) => group.attach_late(pid),
            None => Ok(()),
        };
        if let Err(error) = attached {
            self.end_unwatched(pidfd);
            return Err(failure("CGROUP", 219, format!("failed at step CGROUP: {error}")));
        }
        match self.watch(&pidfd, Source::Retired) {
            Ok(token) => {
                self.retire(Watched { fd: pidfd, token });
                Ok(())
            }
            Err(error) => {
                self.end_unwatched(pidfd);
                Err(io_failure("FDS", 202, "the command could not be watched and was ended: epoll")(error))
            }
        }
    }

    /// Reports of its set-up; their end says how that went.
    pub(super) fn errand_ready(&mut self, number: u64) {
        let mut buffer = [0; 4096];
        loop {
            let Some(errand) = self.errands.launching.get_mut(&number) else { return };
            match socket::receive(errand.report.fd.as_fd(), &mut buffer) {
                Ok(Some(received)) if received.length == 0 || received.truncated => break,
                Ok(Some(Received { length, .. })) => errand.hear(&buffer[..length]),
                Ok(None) => return,
                Err(error) if may_pass(&to_io(error)) => return,
                Err(_) => break,
            }
        }
        let Some(errand) = self.errands.launching.remove(&number) else { return };
        let Errand { unit, report, failure, executing, .. } = errand;
        self.unwatch(&report.fd, report.token);
        let outcome = match failure {
            Some((status, message)) => Err(CallError::NotExecuted { unit, status, message }),
            None if executing => Ok(()),
            None => {
                let message = format!("{unit}: the command was ended while it was set up; has the unit been stopped?");
                Err(CallError::NotExecuted { unit, status: FAILED, message })
            }
        };
        self.notices.push(Notice::Errand(number, outcome));
    }
}

impl Errand {
    fn hear(&mut self, bytes: &[u8]) {
        if let Some(error) = process::SpawnFailure::parse(bytes) {
            let message = format!("failed at step EXEC: the set-up stage cannot be executed: {error}");
            self.failure = Some((FAILED, message));
            return;
        }
        match wire::decode_report(bytes) {
            Ok(Report::Executing) => self.executing = true,
            Ok(Report::Failed { step, errno, detail }) => {
                let step = usize::from(step);
                let executes =
                    self.plan.steps.get(step).is_some_and(|planned| matches!(planned.step, Step::Execute { .. }));
                let status = match errno {
                    libc::ENOENT if executes => NOT_FOUND,
                    _ if executes => NOT_EXECUTABLE,
                    _ => FAILED,
                };
                self.failure = Some((status, hint::failure_message(&self.plan, step, errno, &detail)));
            }
            // The unit's own start has told it.
            Ok(Report::Degraded { .. }) => {}
            Ok(Report::Terminal) | Err(_) => tracing::error!("{}: a set-up stage sent nonsense", self.unit),
        }
    }
}

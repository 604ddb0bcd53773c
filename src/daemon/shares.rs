//! Namespaces of other units: opened from the owner's live process for each launch, looked at, and handed to the stage.
//!
//! The owner is up when a unit that shares with it is launched (it is bound to it and ordered after it). What is taken is
//! never a path that could lead somewhere else by the time the stage looks: the descriptors are open before the clone, and
//! the pidfd says that the number in `/proc` was the owner's when they were.

use super::asked::set_by;
use super::engine::Engine;
use super::killed_call::KilledCall;
use super::launch::failure;
use super::scarcity;
use super::service::{Process, Service};
use crate::load;
use crate::plan::{Container, LaunchPlan, NamespaceKind, Step};
use crate::supervise::{Event, Exit, LaunchFailure, ServiceId};
use crate::sys::{namespace, process};
use crate::unit::Isolation;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

/// The number of SIGKILL on every architecture.
const SIGKILL: u8 = 9;

/// File of a namespace in `/proc/PID/ns`. A resident init that has joined a pid namespace for its child is not in it
/// itself; where it has not, both names lead to the same.
fn file_name(kind: NamespaceKind) -> &'static str {
    match kind {
        NamespaceKind::Mount => "mnt",
        NamespaceKind::Pid => "pid_for_children",
        NamespaceKind::Ipc => "ipc",
        NamespaceKind::Uts => "uts",
        NamespaceKind::Net => "net",
        NamespaceKind::User => "user",
        NamespaceKind::Cgroup => "cgroup",
        NamespaceKind::Time => "time_for_children",
    }
}

/// Has this resident init joined a pid namespace for its child, in which it is not itself?
pub(super) fn is_outside(init: i32) -> bool {
    let names = ["pid", "pid_for_children"].map(|name| std::fs::read_link(format!("/proc/{init}/ns/{name}")));
    matches!(names, [Ok(own), Ok(children)] if own != children)
}

/// What to write in a unit that has the host's namespace, so that it can be shared.
fn private_word(kind: NamespaceKind) -> String {
    match kind {
        NamespaceKind::Net => "network.mode = \"loopback\"".to_owned(),
        _ => format!("namespaces.{kind} = \"private\""),
    }
}

/// Device and inode, which name a namespace as long as somebody has it open.
fn identity(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Opens a namespace of a process that is known by its pidfd.
fn open(process: &Process, kind: NamespaceKind) -> io::Result<File> {
    let file = File::open(format!("/proc/{}/ns/{}", process.pid, file_name(kind)))?;
    // Not reaped yet, so the number was its own when the file was opened.
    match process::pid_of_pidfd(process.pidfd.fd.as_fd()).map_err(io::Error::from)? {
        Some(pid) if pid == process.pid => Ok(file),
        _ => Err(io::Error::from_raw_os_error(libc::ESRCH)),
    }
}

/// May a unit that lives in the daemon's user namespace join it?
///
/// # Errors
/// Why not, and what to do.
fn check(file: &File, kind: NamespaceKind, owner: &str) -> Result<(), (String, String)> {
    let failed = |error: io::Error| (error.to_string(), "try again".to_owned());
    let own =
        File::open(format!("/proc/self/ns/{}", file_name(kind))).and_then(|own| identity(&own)).map_err(failed)?;
    if identity(file).map_err(failed)? == own {
        let why = format!("{owner} has none of its own: it lives in the host's");
        return Err((why, format!("write {} in {owner}, or the same as there in this unit", private_word(kind))));
    }
    let ours = File::open("/proc/self/ns/user").and_then(|own| identity(&own)).map_err(failed)?;
    let theirs = namespace::user_namespace(file.as_fd()).map_err(io::Error::from);
    if theirs.and_then(|theirs| identity(&File::from(theirs))).is_ok_and(|theirs| theirs == ours) {
        return Ok(());
    }
    // The kernel gives root outside every capability over what belongs to a user namespace that root has made.
    let why = format!("it belongs to a user namespace of {owner}'s, in which root of this unit would have every right");
    Err((why, format!("write namespaces.user = \"host\" in {owner}")))
}

/// The end of a main process that its pid namespace took along, until the end of the namespace's owner is known.
///
/// When pid 1 of a namespace is killed the kernel ends everything else in it first, so the members' ends come before the
/// owner's. Told in that order, a member would have been killed by nobody knows whom, and would not come back with the
/// owner.
pub(super) struct HeldBack {
    owner: ServiceId,
    pub member: ServiceId,
    event: Event,
}

impl Engine {
    /// Tells the supervisor that a main process ended, now or after the owner of its pid namespace.
    pub(super) fn main_exited(&mut self, id: ServiceId, exit: Exit, oom: bool) {
        if let Some(service) = self.services.get_mut(&id) {
            service.killed_call = KilledCall::of(exit, service.last_main_pid);
        }
        let event = Event::MainExited { id, exit, oom };
        if let (Exit::Killed(SIGKILL), Some(owner)) = (exit, self.dying_owner(id)) {
            return self.held_back.push(HeldBack { owner, member: id, event });
        }
        self.events.push_back(event);
        let held = std::mem::take(&mut self.held_back);
        let (released, held) = held.into_iter().partition(|held| held.owner == id);
        self.held_back = held;
        for held in released {
            self.events.push_back(held.event);
            self.check_empty(held.member);
        }
    }

    /// The unit in whose pid namespace this one lives, at the end of the chain, if that namespace is going and nobody was
    /// told so yet.
    fn dying_owner(&self, id: ServiceId) -> Option<ServiceId> {
        let mut owner = None;
        let mut next = id;
        // A chain has no cycle (that start is refused), and no more links than there are units.
        for _ in 0..self.services.len() {
            let Isolation::Unit(name) = &self.service(next)?.running.as_ref()?.namespaces.pid else { break };
            let own = load::name_behind(&self.options.unit_path, name);
            next = *self.names.get(own.as_deref().unwrap_or(name))?;
            owner = Some(next);
        }
        let process = self.service(owner?)?.main.as_ref().filter(|process| process.exit.is_none())?;
        // A process that ends has left its namespaces before it takes along what is in its pid namespace.
        let gone = open(process, NamespaceKind::Ipc).is_err_and(|error| !super::scarcity::may_pass(&error));
        gone.then_some(owner?)
    }

    /// The namespaces that the `JoinUnit` steps of a plan want, in their order.
    ///
    /// # Errors
    /// The owner is not up, or has no namespace of that kind that this unit may join.
    pub(super) fn shared_namespaces(&self, id: ServiceId, plan: &LaunchPlan) -> Result<Vec<OwnedFd>, LaunchFailure> {
        let mut all = Vec::new();
        for (index, planned) in plan.steps.iter().enumerate() {
            let Step::JoinUnit { kind, unit: owner } = &planned.step else { continue };
            let opened = match plan.container {
                Container::Own => self.open_of_owner(owner, *kind),
                // What the main process lives in, whatever became of the owner meanwhile.
                Container::Joined => self.open_of(self.service(id), *kind, owner),
            };
            match opened {
                Ok(file) => all.push(file.into()),
                Err((why, hint)) => {
                    let step = planned.step.name();
                    let unit = self.service(id).and_then(|service| service.running.as_deref());
                    let origin = plan.origin_of(index);
                    let place = unit.zip(origin).map_or_else(String::new, |(unit, origin)| set_by(unit, &origin.key));
                    let message = format!(
                        "failed at step {step}: the {kind} namespace of the unit {owner} cannot be joined: {why}{place}\
                         \n  hint: {hint}"
                    );
                    return Err(failure(step, planned.step.code(), message));
                }
            }
        }
        Ok(all)
    }

    fn open_of_owner(&self, name: &str, kind: NamespaceKind) -> Result<File, (String, String)> {
        let own = load::name_behind(&self.options.unit_path, name);
        let owner = self.names.get(own.as_deref().unwrap_or(name)).and_then(|id| self.service(*id));
        let file = self.open_of(owner, kind, name)?;
        check(&file, kind, name)?;
        Ok(file)
    }

    fn open_of(&self, service: Option<&Service>, kind: NamespaceKind, owner: &str) -> Result<File, (String, String)> {
        let process = service.and_then(|service| service.main.as_ref());
        match process.map(|process| open(process, kind)) {
            Some(Ok(file)) => Ok(file),
            // It is there, and cannot be looked at now.
            Some(Err(error)) if scarcity::may_pass(&error) => {
                Err((format!("that of {owner} cannot be opened: {error}"), "try again".to_owned()))
            }
            _ => {
                let why = format!("{owner} has no process that lives in it");
                Err((why, format!("`rsvc status {owner}`; a unit whose namespaces are shared keeps running")))
            }
        }
    }
}

//! What a launched process inherits: descriptors, opened by the daemon and numbered for the set-up stage.

use super::engine::{Engine, to_io};
use super::launch::{failure, io_failure, make_directory};
use super::scarcity::at;
use super::state::RECORDS;
use crate::plan::wire::{Descriptors, Passed, RECORD_FILE_SIZE};
use crate::plan::{self, Container, LaunchPlan};
use crate::supervise::{LaunchFailure, Role, ServiceId};
use crate::sys::socket;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// First number of inherited descriptors; 0 to 2 are the standard streams.
pub(super) const FIRST: i32 = crate::init::FIRST_DESCRIPTOR;

/// Descriptors to be inherited, numbered as they are added.
#[derive(Default)]
pub(super) struct Inheritance {
    pub owned: Vec<OwnedFd>,
}

impl Inheritance {
    pub(super) fn add(&mut self, fd: OwnedFd) -> i32 {
        self.owned.push(fd);
        FIRST + self.owned.len() as i32 - 1
    }

    /// The stage's end of the report socket, second after the plan.
    pub fn report(&self) -> Option<BorrowedFd<'_>> {
        self.owned.get(1).map(|fd| fd.as_fd())
    }

    pub(super) fn copy<F: AsFd>(&mut self, fd: F) -> io::Result<i32> {
        let copy = fd.as_fd().try_clone_to_owned()?;
        Ok(self.add(copy))
    }
}

/// What the daemon keeps of a launch.
pub(super) struct Kept {
    pub report: OwnedFd,
    /// Write end of the pipe on which the stage waits for the daemon.
    pub go_on: Option<OwnedFd>,
    pub log_number: Option<i32>,
    pub notify_number: Option<i32>,
}

impl Engine {
    /// Opens and numbers everything that the stage inherits.
    pub(super) fn descriptors(
        &mut self,
        id: ServiceId,
        role: Role,
        plan: &LaunchPlan,
        passed: Vec<(OwnedFd, String)>,
        numbers: &mut Descriptors,
    ) -> Result<(Inheritance, Kept), LaunchFailure> {
        let fds = |what: &'static str| io_failure("FDS", 202, what);
        let Some(service) = self.services.get(&id) else {
            return Err(failure("FDS", 202, "the unit is gone".to_owned()));
        };
        let mut inherit = Inheritance::default();
        inherit.owned.push(self.null.try_clone().map_err(fds("descriptor"))?); // Place of the plan, filled in later.
        let (ours, theirs) = socket::seqpacket_pair().map_err(to_io).map_err(fds("report socket"))?;
        socket::set_passcred(ours.as_fd()).map_err(to_io).map_err(fds("report socket"))?;
        numbers.report = Some(inherit.add(theirs));
        // Before what is pinned: the service has these from 3 on, and what stands in their way is moved by the stage. The
        // next daemon looks for what is pinned under the number that it has here.
        let passed = passed.into_iter().map(|(fd, name)| Passed { number: inherit.add(fd), name });
        numbers.passed = passed.collect();
        let mut kept = Kept { report: ours, go_on: None, log_number: None, notify_number: None };
        if plan.init && plan.container == Container::Own {
            numbers.exits = Some(inherit.copy(self.exits.inits_end()).map_err(fds("exits socket"))?);
            let name = if role == Role::Main { RECORDS[service.record] } else { "exit.command" };
            let record = self.record_file(&service.name, name).map_err(fds("exit record"))?;
            numbers.record = Some(inherit.add(record));
            numbers.init = Some(inherit.copy(&self.init_image).map_err(fds("init image"))?);
        }
        // What has no group is known by its number alone, which is written down before anything of it can be executed.
        let waits = service.group.is_none() && role == Role::Main && !self.options.foreground;
        if plan.id_maps.is_some() || waits {
            let (reader, writer) =
                rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| fds("pipe")(e.into()))?;
            numbers.maps_ready = Some(inherit.add(reader));
            kept.go_on = Some(writer);
        }
        if let Some(group) = &service.group {
            let groups = group
                .attach_descriptors()
                .map_err(|error| failure("CGROUP", 219, format!("failed at step CGROUP: {error}")))?;
            numbers.cgroup_procs = groups.into_iter().map(|fd| inherit.add(fd)).collect();
        }
        if plan.container == Container::Joined {
            let main = service.main.as_ref().ok_or_else(|| {
                failure("NAMESPACE", 226, "failed at step NAMESPACE: the main process is gone".to_owned())
            })?;
            numbers.container = Some(inherit.copy(&main.pidfd.fd).map_err(fds("container"))?);
        }
        if let Some(channel) = self.denials_channel(id) {
            numbers.denials = Some(inherit.copy(channel).map_err(fds("socket for denied calls"))?);
        }
        if let Some(namespace) = self.user_namespace_to_join(id, plan)? {
            numbers.user_namespace = Some(inherit.add(namespace));
        }
        numbers.shared = self.shared_namespaces(id, plan)?.into_iter().map(|fd| inherit.add(fd)).collect();
        match plan.output {
            plan::Output::Pipe | plan::Output::Relay => {
                if let Some(log) = &service.log {
                    let writer = log.pipe.fd.writer().map_err(fds("log pipe"))?;
                    let number = inherit.add(writer);
                    numbers.stdout = Some(number);
                    numbers.stderr = Some(number);
                    if plan.init {
                        let number = inherit.copy(&log.pipe.fd).map_err(fds("log pipe"))?;
                        kept.log_number = Some(number);
                        numbers.pinned.push(number);
                    }
                }
            }
            plan::Output::Inherit if self.terminal.is_some() => {
                // Not the caller's own terminal: nothing in the container is to have that open.
                if let Some(terminal) = &self.terminal {
                    let number = inherit.copy(&terminal.output).map_err(fds("standard output"))?;
                    numbers.stdout = Some(number);
                    numbers.stderr = Some(number);
                }
            }
            plan::Output::Inherit => {
                numbers.stdout = Some(inherit.copy(io::stdout()).map_err(fds("standard output"))?);
                numbers.stderr = Some(inherit.copy(io::stderr()).map_err(fds("standard error"))?);
            }
            plan::Output::Journal | plan::Output::Null | plan::Output::Terminal | plan::Output::Caller => {}
        }
        if plan.init
            && plan.container == Container::Own
            && let Some(notify) = &service.notify
        {
            let number = inherit.copy(&notify.fd).map_err(fds("notify socket"))?;
            kept.notify_number = Some(number);
            numbers.pinned.push(number);
        }
        Ok((inherit, kept))
    }

    /// The file that the resident init maps; a new one for each run, as the old one may still be mapped.
    fn record_file(&self, unit: &str, name: &str) -> io::Result<OwnedFd> {
        let directory = self.options.runtime_dir.join("services").join(unit);
        let path = directory.join(name);
        match std::fs::remove_file(&path) {
            // Left alone it would only be told that something is there.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&path, error)),
            _ => {}
        }
        let make = || std::fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let made = match make() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_directory(&directory, 0o700).map_err(|error| at(&directory, error))?;
                make()
            }
            other => other,
        };
        let mut file = made.map_err(|error| at(&path, error))?;
        // Written, not only sized: a hole in a file system that is full by the time of the first record would be SIGBUS for
        // the init, and the end of all that it looks after.
        let written = file.write_all(&[0; RECORD_FILE_SIZE as usize]);
        written.map(|()| file.into()).map_err(|error| {
            let _ = std::fs::remove_file(&path);
            at(&path, error)
        })
    }
}

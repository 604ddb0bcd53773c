//! From plan to process: host directories, group, descriptors, clone. The daemon does nothing between clone and exec
//! but what `sys::process::spawn` says, and waits for nobody but its nursery, which only clones.

use super::credentials::Opened;
use super::engine::{Engine, Place, Source, to_io};
use super::inheritance::{FIRST, Inheritance, Kept};
use super::instance_keeper::process_name;
use super::log_file::{self, LogDirectory, LogFile, LogLimits};
use super::log_messages::Relay;
use super::log_output::{End, Output};
use super::log_pipe::OutputPipe;
use super::scarcity::at;
use super::service::{Process, Watched};
use crate::compile;
use crate::plan::wire::{self, CredentialFile, PerStart};
use crate::plan::{self, Container, LaunchPlan, MapWriter};
use crate::supervise::{Exit, LaunchFailure, Role, ServiceId, ServiceResult};
use crate::sys::fd;
use crate::sys::process::{Spawn, spawn};
use crate::unit::{NotifyAccess, Unit};
use std::ffi::CString;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::rc::Rc;
use std::time::Duration;

/// After the last launch, before the memory is looked after.
pub(super) const QUIET: Duration = Duration::from_millis(500);

/// Failure of something the daemon itself does for a launch.
pub(super) fn failure(step: &str, code: u8, message: String) -> LaunchFailure {
    LaunchFailure { step: step.to_owned(), code, message }
}

/// The line of a message that names the place of a key; empty for a default.
pub(super) fn set_by(unit: &crate::unit::Unit, key: &str) -> String {
    unit.origin(key).place.map_or_else(String::new, |place| format!("\n  set by {}:{}", place.file, place.line))
}

pub(super) fn io_failure(step: &str, code: u8, what: &str) -> impl Fn(io::Error) -> LaunchFailure {
    move |error| {
        let advice = super::scarcity::advice(&error);
        failure(step, code, format!("failed at step {step}: {what}: {error}{advice}"))
    }
}

impl Engine {
    /// Launches one process of a unit. Whatever fails after this returned comes as a report.
    pub(super) fn launch(
        &mut self,
        id: ServiceId,
        role: Role,
        result: ServiceResult,
        main_exit: Option<Exit>,
    ) -> Result<(), LaunchFailure> {
        let begins = self.begins_run(id, role);
        if begins {
            self.check_room_for_launch()?;
            self.begin_run(id)?;
        }
        let plan = self.plan_for(id, role)?;
        prepare(&plan)?;
        self.make_group(id, &plan, begins)?;
        self.make_sockets(id, &plan)?;
        self.open_denials(id, &plan)?;
        self.disarm_timers(id);
        self.open_unit_sockets(id)?;
        let mut start = PerStart {
            environment: self.start_environment(id, role, result, main_exit)?,
            die_with_launcher: self.options.foreground,
            is_main: role == Role::Main,
            pid_variables: self.pid_variables(id, role),
            credentials: self.credential_texts(id, &plan),
            terminal: self.terminal.as_ref().map(|terminal| terminal.settings).unwrap_or_default(),
            ..Default::default()
        };
        self.trim_after_launch();
        let passed = if role == Role::Main { self.sockets_to_pass(id) } else { Ok(Vec::new()) };
        let passed = passed.map_err(io_failure("FDS", 202, "sockets"))?;
        let credentials = super::credentials::open(&plan)?;
        let image = super::images::mount(&plan)?;
        let (mut inheritance, kept) = self.descriptors(id, role, &plan, passed, &mut start.descriptors)?;
        start.descriptors.image = image.map(|image| inheritance.add(image));
        if let (Role::Main, Some(stdin)) = (role, &self.stdin) {
            let number = inheritance.copy(stdin).map_err(io_failure("FDS", 202, "standard input"))?;
            start.descriptors.stdin = Some(number);
        }
        for Opened { credential, name, file } in credentials {
            start.descriptors.credentials.push(CredentialFile { credential, name, number: inheritance.add(file) });
        }
        let bytes = wire::encode(&plan, &start);
        self.clone_stage(id, role, &plan, bytes, inheritance, kept)
    }

    /// Is this the first process of a new run (and not of a stop)?
    pub(super) fn begins_run(&self, id: ServiceId, role: Role) -> bool {
        let Some(service) = self.service(id) else { return false };
        match role {
            Role::StartPre(0) => true,
            Role::Main => service.unit.as_ref().is_none_or(|unit| unit.service.exec_start_pre.is_empty()),
            _ => false,
        }
    }

    /// Takes over the unit as last read, and the counters' present values.
    fn begin_run(&mut self, id: ServiceId) -> Result<(), LaunchFailure> {
        let Some(service) = self.services.get_mut(&id) else { return Ok(()) };
        service.launched_by = super::remembered::Launcher::This;
        if service.invocation.is_empty() {
            service.invocation = random_id().map_err(io_failure("EXEC", 203, "random bytes"))?;
        }
        if !self.options.foreground {
            let time = super::timestamp::text(std::time::SystemTime::now());
            let directory = self.options.state_dir.join("runs");
            if let Err(error) = super::runs::record(&directory, &service.name, &time, &service.invocation) {
                tracing::warn!(unit = service.name, "cannot note this run of {}: {error}", service.name);
            }
        }
        if service.running.is_none() || service.running_fingerprint != service.fingerprint {
            service.running = service.unit.clone();
            service.running_fingerprint = service.fingerprint;
            service.digest = None;
            self.plans.forget(id);
        }
        service.oom_kills_before = service.group.as_ref().map_or(0, |group| group.oom_kills());
        service.degraded = Rc::default();
        service.said = Default::default();
        self.discard_notifications(id);
        self.forget_denials(id);
        self.fit_store(id);
        let Some(service) = self.services.get_mut(&id) else { return Ok(()) };
        service.lines.clear();
        service.suppressed = 0;
        if let (Some(log), Some(unit)) = (&mut service.log, &service.running) {
            log.adapt(unit, &service.invocation);
        }
        if let Some(log) = &mut service.log {
            log.forget_lines(true);
        }
        Ok(())
    }

    pub(super) fn start_environment(
        &self,
        id: ServiceId,
        role: Role,
        result: ServiceResult,
        main_exit: Option<Exit>,
    ) -> Result<Vec<(String, String)>, LaunchFailure> {
        let Some(service) = self.service(id) else { return Ok(Vec::new()) };
        let mut environment = vec![("INVOCATION_ID".to_owned(), service.invocation.clone())];
        if let Some(unit) = &service.running {
            let more = super::environment_files::load(&unit.service.environment_files).map_err(|error| {
                let place = set_by(unit, "service.environment_files");
                failure("EXEC", 203, format!("failed at step EXEC: environment_files: {error}{place}"))
            })?;
            environment.extend(more);
        }
        let remote = service.connection.as_ref().and_then(|connection| connection.saved.remote.as_ref());
        if let Some((address, port)) = remote {
            environment.push(("REMOTE_ADDR".to_owned(), address.clone()));
            environment.push(("REMOTE_PORT".to_owned(), port.to_string()));
        }
        if role != Role::Main
            && let Some(main) = &service.main
            && main.exit.is_none()
        {
            environment.push(("MAINPID".to_owned(), main.inner_pid.to_string()));
        }
        environment.extend(self.outcome_environment(id, role, result, main_exit));
        Ok(environment)
    }

    /// Credentials that stand in the unit, for a process that has a container of its own.
    fn credential_texts(&self, id: ServiceId, plan: &LaunchPlan) -> Vec<(String, String)> {
        let unit = self.service(id).and_then(|service| service.running.as_ref());
        let credentials = unit.and_then(|unit| unit.credentials.as_ref());
        credentials.filter(|_| plan.container == Container::Own).map(|all| all.set.clone()).unwrap_or_default()
    }

    /// What only the process that executes can fill in.
    fn pid_variables(&self, id: ServiceId, role: Role) -> Vec<String> {
        let unit = self.service(id).and_then(|service| service.running.as_ref());
        let watched = role == Role::Main && unit.is_some_and(|unit| unit.service.watchdog.is_some());
        watched.then(|| "WATCHDOG_PID".to_owned()).into_iter().collect()
    }

    /// Notify, syslog and log sockets that the plan's processes will find.
    fn make_sockets(&mut self, id: ServiceId, plan: &LaunchPlan) -> Result<(), LaunchFailure> {
        let relayed = plan.output == plan::Output::Relay;
        let read = relayed || plan.output == plan::Output::Pipe;
        if read && self.service(id).and_then(|s| s.log.as_ref()).is_some_and(|log| log.is_relayed() != relayed) {
            self.close_log(id);
        }
        let Some(service) = self.services.get(&id) else { return Ok(()) };
        let Some(unit) = service.running.clone() else { return Ok(()) };
        let directory = self.io_directory(&service.name);
        let wants_log = read && service.log.is_none();
        let wants_notify = service.notify.is_none() && unit.service.notify_access != NotifyAccess::None;
        let wants_syslog = service.syslog.is_none() && self.wants_syslog(&unit);
        let made = |what: &'static str| io_failure("STDOUT", 209, what);
        make_directory(&directory, 0o755).map_err(|e| made("directory of sockets")(at(&directory, e)))?;
        if wants_log {
            let output = self.open_log(id, &unit, relayed).map_err(made("log file"))?;
            if let Some(service) = self.services.get_mut(&id) {
                service.log = Some(Box::new(output));
            }
            self.keep_log(id);
        }
        if wants_notify {
            self.open_notify(id, &directory).map_err(made("notify socket"))?;
        }
        if wants_syslog {
            self.open_syslog(id, &directory).map_err(made("syslog socket"))?;
        }
        Ok(())
    }

    fn open_log(&mut self, id: ServiceId, unit: &Unit, relayed: bool) -> io::Result<Output> {
        let (reader, _) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let pipe = OutputPipe::reopen(&format!("/proc/self/fd/{}", reader.as_raw_fd()), log_file::Source(0))?;
        self.log_output(id, unit, pipe, relayed)
    }

    /// A pipe, and the file or the journal behind it.
    pub(super) fn log_output(
        &mut self,
        id: ServiceId,
        unit: &Unit,
        pipe: OutputPipe,
        relayed: bool,
    ) -> io::Result<Output> {
        let end = if relayed { End::Journal(Relay::new(unit).into()) } else { End::File(self.log_file(unit)?) };
        let token = self.watch(&pipe, Source::Log(id))?;
        let mut output = Output::new(Watched { fd: pipe, token }, end, unit);
        if let Some(service) = self.service(id) {
            output.adapt(unit, &service.invocation);
        }
        Ok(output)
    }

    fn log_file(&mut self, unit: &Unit) -> io::Result<LogFile> {
        let directory = match &self.log_directory {
            Some(directory) => Rc::clone(directory),
            None => Rc::clone(self.log_directory.insert(LogDirectory::open(&self.options.log_dir)?)),
        };
        LogFile::new(&directory, &unit.name, log_limits(unit))
    }

    /// `[[sockets]]` as the present run has them.
    fn open_unit_sockets(&mut self, id: ServiceId) -> Result<(), LaunchFailure> {
        match self.service(id).and_then(|service| service.running.clone()) {
            Some(unit) if !unit.sockets.is_empty() || self.service(id).is_some_and(|s| s.sockets.is_some()) => {
                self.open_sockets(id, &unit)
            }
            _ => Ok(()),
        }
    }

    /// Clones the stage of a plan, which is `bytes` where it reads it, into the unit's group.
    pub(super) fn bear(
        &mut self,
        id: ServiceId,
        plan: &LaunchPlan,
        bytes: &[u8],
        inherit: &mut Inheritance,
    ) -> Result<(i32, OwnedFd), LaunchFailure> {
        let memfd =
            fd::sealed_memfd(c"rsvc-plan", bytes, false).map_err(to_io).map_err(io_failure("FDS", 202, "plan"))?;
        if let Some(first) = inherit.owned.first_mut() {
            *first = memfd;
        }
        let birth = match self.service(id).and_then(|s| s.group.as_ref()) {
            Some(group) => group.birth().map_err(|e| failure("CGROUP", 219, format!("failed at step CGROUP: {e}")))?,
            None => None,
        };
        let mut table: Vec<(BorrowedFd<'_>, i32)> = (0..=2).map(|number| (self.null.as_fd(), number)).collect();
        table.extend(inherit.owned.iter().enumerate().map(|(index, fd)| (fd.as_fd(), FIRST + index as i32)));
        let argv = [c"rsvc-stage".to_owned(), CString::new(FIRST.to_string()).unwrap_or_default()];
        let request = Spawn {
            flags: crate::init::namespace_flags(plan.clone),
            cgroup: birth.as_ref().map(|fd| fd.as_fd()),
            program: self.program.as_fd(),
            argv: &argv,
            envp: &[],
            inherit: &table,
            raise_ambient: plan.clone.user,
            error: inherit.report(),
        };
        // One launch in the foreground: a nursery would be one process more for nothing.
        let spawned = if self.options.foreground {
            spawn(&request)
        } else {
            self.nursery.spawn(&request, &[c"rsvc-stage".to_owned(), c"nursery".to_owned()])
        };
        spawned.map_err(|error| failure("NAMESPACE", 226, plan::hint::clone_failure_message(error.errno)))
    }

    fn clone_stage(
        &mut self,
        id: ServiceId,
        role: Role,
        plan: &LaunchPlan,
        bytes: Vec<u8>,
        mut inherit: Inheritance,
        kept: Kept,
    ) -> Result<(), LaunchFailure> {
        let (pid, pidfd) = self.bear(id, plan, &bytes, &mut inherit)?;
        let Kept { report, go_on, log_number, notify_number } = kept;
        let mut process = self.register(id, role, plan, (pid, pidfd), report)?;
        process.log_number = log_number;
        process.notify_number = notify_number;
        process.plan = Some(bytes.into());
        if process.is_kept()
            && let Some(name) = self.service(id).map(|service| process_name(&service.name))
        {
            self.keep_for_next(&name, process.own_pidfd());
        }
        if let Some(service) = self.services.get_mut(&id) {
            service.emptied = false;
            *service.process(Place::from(role)) = Some(Box::new(process));
        }
        if let Some(group) = self.service(id).and_then(|service| service.group.as_ref())
            && let Err(error) = group.attach_late(pid)
        {
            self.abandon_launch(id, role);
            return Err(failure("CGROUP", 219, format!("failed at step CGROUP: {error}")));
        }
        let Some(go_on) = go_on else { return Ok(()) };
        if role == Role::Main && self.service(id).is_some_and(|service| service.group.is_none()) {
            self.persist(id);
        }
        self.let_go_on(id, role, pid, plan, &go_on)
    }

    fn register(
        &mut self,
        id: ServiceId,
        role: Role,
        plan: &LaunchPlan,
        (pid, pidfd): (i32, OwnedFd),
        report: OwnedFd,
    ) -> Result<Process, LaunchFailure> {
        let place = Place::from(role);
        let fds = |what: &'static str| io_failure("FDS", 202, what);
        if let Some(old) = self.services.get_mut(&id).and_then(|service| service.process(place).take()) {
            self.drop_process(id, *old);
        }
        let watched = self.watch(&report, Source::Report(id, place)).and_then(|report_token| {
            let token = self.watch(&pidfd, Source::Process(id, place));
            token.map(|token| (report_token, token)).inspect_err(|_| self.unwatch(&report, report_token))
        });
        let (report_token, token) = match watched {
            Ok(tokens) => tokens,
            Err(error) => {
                self.end_unwatched(pidfd);
                return Err(fds("the process could not be watched and was ended: epoll")(error));
            }
        };
        let report = Watched { token: report_token, fd: report };
        // In a joined pid namespace its number is known when it executes.
        let inner_pid = match (plan.init, plan.joins_pid_namespace()) {
            (true, true) => 0,
            (true, false) => 2,
            (false, _) => pid,
        };
        if plan.init {
            self.exits.expect(pid, id, place);
        }
        Ok(Process {
            role,
            init: plan.init,
            own_container: plan.container == Container::Own,
            plan: None,
            pid,
            pidfd: Watched { fd: pidfd, token },
            report: Some(report),
            service_pid: None,
            service_identity: None,
            service_pidfd: None,
            inner_pid,
            init_outside: plan.init && plan.joins_pid_namespace(),
            executing: false,
            executed: false,
            failure: None,
            failure_told: false,
            exit: None,
            log_number: None,
            notify_number: None,
            adopted: false,
            heard: plan.init,
            looks_for_record: 0,
            identity: Default::default(),
        })
    }

    /// Writes the id maps of a new user namespace, and the byte for which the stage waits.
    fn let_go_on(
        &mut self,
        id: ServiceId,
        role: Role,
        pid: i32,
        plan: &LaunchPlan,
        go_on: &OwnedFd,
    ) -> Result<(), LaunchFailure> {
        let lines = |map: &[(u32, u32, u32)]| {
            map.iter().map(|(inside, outside, count)| format!("{inside} {outside} {count}\n")).collect::<String>()
        };
        let write = |file: &str, content: &str| -> io::Result<()> {
            // One write: the kernel takes a map only whole (user_namespaces(7)).
            std::fs::OpenOptions::new().write(true).open(format!("/proc/{pid}/{file}"))?.write_all(content.as_bytes())
        };
        let written = (|| {
            if let Some(maps) = &plan.id_maps {
                if maps.writer == MapWriter::DaemonAsUser {
                    write("setgroups", "deny")?;
                }
                match maps.writer {
                    MapWriter::Tools => super::subordinate::write_maps(pid, maps)?,
                    MapWriter::Daemon | MapWriter::DaemonAsUser => {
                        write("gid_map", &lines(&maps.gid))?;
                        write("uid_map", &lines(&maps.uid))?;
                    }
                }
            }
            // A stage that is gone is told by its own descriptor.
            let _ = rustix::io::write(go_on, b"m");
            Ok(())
        })();
        written.map_err(|error: io::Error| {
            self.abandon_launch(id, role);
            failure("USER", 217, format!("failed at step USER: id maps of the user namespace: {error}"))
        })
    }

    /// Ends a process that must not go on; its end is not told again.
    fn abandon_launch(&mut self, id: ServiceId, role: Role) {
        self.kill_group(id);
        if let Some(process) = self.services.get_mut(&id).and_then(|s| s.process(Place::from(role)).as_mut()) {
            process.failure_told = true;
        }
    }

    /// Takes the registrations of a process back and sees to it that it is reaped.
    pub(super) fn drop_process(&mut self, id: ServiceId, process: Process) {
        if process.is_kept() {
            self.over.insert(id);
        }
        if let Some(report) = process.report {
            self.unwatch(&report.fd, report.token);
        }
        self.exits.forget(process.pid);
        if let Some(watched) = process.service_pidfd {
            self.unwatch(&watched.fd, watched.token);
        }
        if process.adopted {
            self.unwatch(&process.pidfd.fd, process.pidfd.token);
        } else {
            self.retire(process.pidfd);
        }
    }
}

/// When the unit's log file is rotated.
pub(super) fn log_limits(unit: &Unit) -> LogLimits {
    LogLimits { max_size: unit.logging.file_max_size, max_files: unit.logging.file_max_files }
}

/// Makes the directories on the host.
fn prepare(plan: &LaunchPlan) -> Result<(), LaunchFailure> {
    plan.prepare.iter().try_for_each(|step| {
        super::directories::make(step)
            .map_err(|error| failure("RUNTIME_DIRECTORY", 233, format!("failed at step RUNTIME_DIRECTORY: {error}")))
    })
}

/// All reasons in one message, the first one's step.
pub(super) fn compile_failure(errors: &[compile::CompileError]) -> LaunchFailure {
    let (step, code) = errors.first().map_or(("EXEC", 203), |error| (error.step, error.code));
    let message = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    failure(step, code, message)
}

/// 128 random bits as 32 hex digits.
pub(super) fn random_id() -> io::Result<String> {
    let mut bytes = [0u8; 16];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Makes a directory whose parent exists or can be made the same way; an existing one is fine.
pub(super) fn make_directory(path: &std::path::Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent()
        && !parent.is_dir()
    {
        make_directory(parent, 0o755)?;
    }
    match std::fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

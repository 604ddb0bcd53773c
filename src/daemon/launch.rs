//! From plan to process: host directories, group, descriptors, clone. The daemon does nothing between clone and exec
//! but what `sys::process::spawn` says, and waits for nobody.

use super::engine::{Engine, Place, Source, to_io};
use super::log_file::{self, LogDirectory, LogFile, LogLimits, OutputPipe};
use super::service::{Output, Process, Service, Watched};
use crate::compile::{self, Purpose};
use crate::plan::wire::{self, Descriptors, PerStart, RECORD_FILE_SIZE};
use crate::plan::{self, Container, LaunchPlan};
use crate::supervise::{Exit, LaunchFailure, Role, ServiceId, ServiceResult};
use crate::sys::process::{Spawn, spawn};
use crate::sys::{fd, socket};
use crate::unit::{NotifyAccess, Unit};
use std::ffi::CString;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::rc::Rc;

/// First number of inherited descriptors; 0 to 2 are the standard streams.
const FIRST: i32 = 3;

/// Failure of something the daemon itself does for a launch.
pub(super) fn failure(step: &str, code: u8, message: String) -> LaunchFailure {
    LaunchFailure { step: step.to_owned(), code, message }
}

/// The line of a message that names the place of a key; empty for a default.
pub(super) fn set_by(unit: &crate::unit::Unit, key: &str) -> String {
    unit.origin(key).place.map_or_else(String::new, |place| format!("\n  set by {}:{}", place.file, place.line))
}

fn io_failure(step: &str, code: u8, what: &str) -> impl Fn(io::Error) -> LaunchFailure {
    move |error| failure(step, code, format!("failed at step {step}: {what}: {error}"))
}

/// Descriptors to be inherited, numbered as they are added.
#[derive(Default)]
struct Inheritance {
    owned: Vec<OwnedFd>,
}

impl Inheritance {
    fn add(&mut self, fd: OwnedFd) -> i32 {
        self.owned.push(fd);
        FIRST + self.owned.len() as i32 - 1
    }

    /// The stage's end of the report socket, second after the plan.
    fn report(&self) -> Option<BorrowedFd<'_>> {
        self.owned.get(1).map(|fd| fd.as_fd())
    }

    fn copy<F: AsFd>(&mut self, fd: F) -> io::Result<i32> {
        let copy = fd.as_fd().try_clone_to_owned()?;
        Ok(self.add(copy))
    }
}

/// What the daemon keeps of a launch.
struct Kept {
    report: OwnedFd,
    exits: Option<OwnedFd>,
    maps: Option<OwnedFd>,
    log_number: Option<i32>,
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
            self.begin_run(id)?;
        }
        let plan = self.plan_for(id, role)?;
        self.prepare(id, &plan)?;
        self.make_group(id, &plan)?;
        self.make_sockets(id, &plan)?;
        let mut start = PerStart {
            environment: self.start_environment(id, role, result, main_exit)?,
            die_with_launcher: self.options.foreground,
            pid_variables: self.pid_variables(id, role),
            ..Default::default()
        };
        let (inheritance, kept) = self.descriptors(id, &plan, &mut start.descriptors)?;
        let bytes = wire::encode(&plan, &start);
        self.clone_stage(id, role, plan, &bytes, inheritance, kept)
    }

    /// Is this the first process of a new run (and not of a stop)?
    fn begins_run(&self, id: ServiceId, role: Role) -> bool {
        let Some(service) = self.service(id) else { return false };
        match role {
            Role::StartPre(0) => true,
            Role::Main => service.unit.as_ref().is_none_or(|unit| unit.service.exec_start_pre.is_empty()),
            _ => false,
        }
    }

    /// Takes over the unit as last read, a new invocation id, and the counters' present values.
    fn begin_run(&mut self, id: ServiceId) -> Result<(), LaunchFailure> {
        let invocation = random_id().map_err(io_failure("EXEC", 203, "random bytes"))?;
        let Some(service) = self.services.get_mut(&id) else { return Ok(()) };
        service.invocation = invocation;
        if service.running.is_none() || service.running_fingerprint != service.fingerprint {
            service.running = service.unit.clone();
            service.running_fingerprint = service.fingerprint;
            service.plans.clear();
        }
        service.oom_kills_before = service.group.as_ref().map_or(0, |group| group.oom_kills());
        service.degraded.clear();
        service.said = super::service::Said::default();
        service.lines.clear();
        if let Some(log) = &mut service.log {
            log.file.forget_lines();
        }
        Ok(())
    }

    /// The compiled plan, from the cache or made now.
    pub(super) fn plan_for(&mut self, id: ServiceId, role: Role) -> Result<Rc<LaunchPlan>, LaunchFailure> {
        let purpose = purpose(role);
        let Some(service) = self.services.get_mut(&id) else {
            return Err(failure("EXEC", 203, "the unit is gone".to_owned()));
        };
        if let Some(plan) = service.plans.get(&purpose) {
            return Ok(Rc::clone(plan));
        }
        let Some(unit) = service.running.clone() else {
            let message = "the unit file of this service is gone or unusable: `rsvc check` it".to_owned();
            return Err(failure("EXEC", 203, message));
        };
        let facts = self.facts(&unit);
        let Some(service) = self.services.get_mut(&id) else {
            return Err(failure("EXEC", 203, "the unit is gone".to_owned()));
        };
        let plan = compile::compile(&unit, &facts, purpose).map_err(|errors| compile_failure(&errors))?;
        if self.options.strict_host
            && let Some(first) = plan.degraded.first()
        {
            let message = format!("{}: {} (strict_host = true refuses degraded defaults)", first.key, first.why);
            return Err(failure("NAMESPACE", 226, message));
        }
        let plan = Rc::new(plan);
        service.plans.insert(purpose, Rc::clone(&plan));
        Ok(plan)
    }

    fn prepare(&mut self, id: ServiceId, plan: &LaunchPlan) -> Result<(), LaunchFailure> {
        for step in &plan.prepare {
            super::directories::make(step).map_err(|error| {
                failure("RUNTIME_DIRECTORY", 233, format!("failed at step RUNTIME_DIRECTORY: {error}"))
            })?;
        }
        let _ = id;
        Ok(())
    }

    fn start_environment(
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
        if role != Role::Main
            && let Some(main) = &service.main
            && main.exit.is_none()
        {
            environment.push(("MAINPID".to_owned(), main.inner_pid.to_string()));
        }
        if matches!(role, Role::Stop(_) | Role::StopPost(_)) {
            environment.push(("SERVICE_RESULT".to_owned(), super::snapshot::result_word(result).to_owned()));
            if let Some((code, status)) = main_exit.and_then(super::snapshot::exit_words) {
                environment.push(("EXIT_CODE".to_owned(), code.to_owned()));
                environment.push(("EXIT_STATUS".to_owned(), status));
            }
        }
        Ok(environment)
    }

    /// What only the process that executes can fill in.
    fn pid_variables(&self, id: ServiceId, role: Role) -> Vec<String> {
        let unit = self.service(id).and_then(|service| service.running.as_ref());
        let watched = role == Role::Main && unit.is_some_and(|unit| unit.service.watchdog.is_some());
        watched.then(|| "WATCHDOG_PID".to_owned()).into_iter().collect()
    }

    /// Notify, syslog and log sockets that the plan's processes will find.
    fn make_sockets(&mut self, id: ServiceId, plan: &LaunchPlan) -> Result<(), LaunchFailure> {
        let journald = self.host.journald();
        let Some(service) = self.services.get(&id) else { return Ok(()) };
        let Some(unit) = service.running.clone() else { return Ok(()) };
        let name = service.name.clone();
        let directory = self.options.runtime_dir.join("io").join(&name);
        let wants_log = plan.output == plan::Output::Pipe && service.log.is_none();
        let wants_notify = service.notify.is_none() && unit.service.notify_access != NotifyAccess::None;
        let wants_syslog = service.syslog.is_none() && unit.logging.syslog_socket && !journald;
        let made = |what: &'static str| io_failure("STDOUT", 209, what);
        make_directory(&directory, 0o755).map_err(made("directory of sockets"))?;
        if wants_log {
            let output = self.open_log(id, &unit).map_err(made("log file"))?;
            if let Some(service) = self.services.get_mut(&id) {
                service.log = Some(output);
            }
        }
        if wants_notify {
            let socket = super::notify::NotifySocket::bind(&directory).map_err(made("notify socket"))?;
            let token = self.watch(&socket, Source::Notify(id)).map_err(made("notify socket"))?;
            if let Some(service) = self.services.get_mut(&id) {
                service.notify = Some(Watched { fd: socket, token });
            }
        }
        if wants_syslog {
            let socket = super::syslog::SyslogSocket::bind(&directory).map_err(made("syslog socket"))?;
            let token = self.watch(&socket, Source::Syslog(id)).map_err(made("syslog socket"))?;
            if let Some(service) = self.services.get_mut(&id) {
                service.syslog = Some(Watched { fd: socket, token });
            }
        }
        Ok(())
    }

    fn open_log(&mut self, id: ServiceId, unit: &Unit) -> io::Result<Output> {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        self.log_output(id, unit, reader, writer)
    }

    /// A pipe and the file behind it.
    pub(super) fn log_output(
        &mut self,
        id: ServiceId,
        unit: &Unit,
        reader: OwnedFd,
        writer: OwnedFd,
    ) -> io::Result<Output> {
        let directory = match &self.log_directory {
            Some(directory) => Rc::clone(directory),
            None => Rc::clone(self.log_directory.insert(LogDirectory::open(&self.options.log_dir)?)),
        };
        let limits = LogLimits { max_size: unit.logging.file_max_size, max_files: unit.logging.file_max_files };
        let file = LogFile::new(&directory, &unit.name, limits)?;
        let pipe = OutputPipe::new(reader, log_file::Source(0))?;
        let token = self.watch(&pipe, Source::Log(id))?;
        Ok(Output { pipe: Watched { fd: pipe, token }, writer, file })
    }

    /// Opens and numbers everything that the stage inherits.
    fn descriptors(
        &mut self,
        id: ServiceId,
        plan: &LaunchPlan,
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
        let mut kept = Kept { report: ours, exits: None, maps: None, log_number: None };
        if plan.init && plan.container == Container::Own {
            let (reader, writer) = nonblocking_pipe().map_err(fds("exits pipe"))?;
            numbers.exits = Some(inherit.add(writer));
            kept.exits = Some(reader);
            let record = self.record_file(&service.name).map_err(fds("exit record"))?;
            numbers.record = Some(inherit.add(record));
            numbers.init = Some(inherit.copy(&self.init_image).map_err(fds("init image"))?);
        }
        if plan.id_maps.is_some() {
            let (reader, writer) =
                rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| fds("pipe")(e.into()))?;
            numbers.maps_ready = Some(inherit.add(reader));
            kept.maps = Some(writer);
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
        match plan.output {
            plan::Output::Pipe => {
                if let Some(log) = &service.log {
                    let number = inherit.copy(&log.writer).map_err(fds("log pipe"))?;
                    numbers.stdout = Some(number);
                    numbers.stderr = Some(number);
                    if plan.init {
                        let number = inherit.copy(&log.pipe.fd).map_err(fds("log pipe"))?;
                        kept.log_number = Some(number);
                        numbers.pinned.push(number);
                    }
                }
            }
            plan::Output::Inherit => {
                numbers.stdout = Some(inherit.copy(io::stdout()).map_err(fds("standard output"))?);
                numbers.stderr = Some(inherit.copy(io::stderr()).map_err(fds("standard error"))?);
            }
            plan::Output::Journal | plan::Output::Null => {}
        }
        if plan.init
            && plan.container == Container::Own
            && let Some(notify) = &service.notify
        {
            numbers.pinned.push(inherit.copy(&notify.fd).map_err(fds("notify socket"))?);
        }
        Ok((inherit, kept))
    }

    /// The file that the resident init maps; a new one for each run, as the old one may still be mapped.
    fn record_file(&self, name: &str) -> io::Result<OwnedFd> {
        let directory = self.options.runtime_dir.join("services").join(name);
        let path = directory.join("exit");
        let _ = std::fs::remove_file(&path);
        let make = || std::fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = match make() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_directory(&directory, 0o700)?;
                make()?
            }
            other => other?,
        };
        file.set_len(RECORD_FILE_SIZE)?;
        Ok(file.into())
    }

    fn clone_stage(
        &mut self,
        id: ServiceId,
        role: Role,
        plan: Rc<LaunchPlan>,
        bytes: &[u8],
        mut inherit: Inheritance,
        kept: Kept,
    ) -> Result<(), LaunchFailure> {
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
        let spawned = spawn(&Spawn {
            flags: crate::init::namespace_flags(plan.clone),
            cgroup: birth.as_ref().map(|fd| fd.as_fd()),
            program: self.program.as_fd(),
            argv: &argv,
            envp: &[],
            inherit: &table,
            raise_ambient: plan.clone.user,
            error: inherit.report(),
        });
        let (pid, pidfd) =
            spawned.map_err(|error| failure("NAMESPACE", 226, plan::hint::clone_failure_message(error.errno)))?;
        let Kept { report, exits, maps, log_number } = kept;
        let mut process = self.register(id, role, plan, (pid, pidfd), report, exits)?;
        process.log_number = log_number;
        if let Some(service) = self.services.get_mut(&id) {
            service.emptied = false;
            *service.process(Place::from(role)) = Some(process);
        }
        if let Some(group) = self.service(id).and_then(|service| service.group.as_ref())
            && let Err(error) = group.attach_late(pid)
        {
            self.abandon_launch(id, role);
            return Err(failure("CGROUP", 219, format!("failed at step CGROUP: {error}")));
        }
        if let Some(writer) = maps {
            self.write_maps(id, role, pid, writer)?;
        }
        Ok(())
    }

    fn register(
        &mut self,
        id: ServiceId,
        role: Role,
        plan: Rc<LaunchPlan>,
        (pid, pidfd): (i32, OwnedFd),
        report: OwnedFd,
        exits: Option<OwnedFd>,
    ) -> Result<Process, LaunchFailure> {
        let place = Place::from(role);
        let fds = |what: &'static str| io_failure("FDS", 202, what);
        if let Some(old) = self.services.get_mut(&id).and_then(|service| service.process(place).take()) {
            self.drop_process(old);
        }
        let report =
            Watched { token: self.watch(&report, Source::Report(id, place)).map_err(fds("epoll"))?, fd: report };
        let exits = match exits {
            Some(fd) => Some(Watched { token: self.watch(&fd, Source::Exits(id, place)).map_err(fds("epoll"))?, fd }),
            None => None,
        };
        let token = self.watch(&pidfd, Source::Process(id, place)).map_err(fds("epoll"))?;
        let inner_pid = if plan.init { 2 } else { pid };
        Ok(Process {
            role,
            plan,
            pid,
            pidfd: Watched { fd: pidfd, token },
            report: Some(report),
            exits,
            service_pid: None,
            service_pidfd: None,
            service_token: None,
            inner_pid,
            executing: false,
            executed: false,
            failure: None,
            failure_told: false,
            exit: None,
            log_number: None,
            adopted: false,
            identities: Default::default(),
        })
    }

    /// Writes the id maps of a new user namespace; the stage waits for the byte.
    fn write_maps(&mut self, id: ServiceId, role: Role, pid: i32, writer: OwnedFd) -> Result<(), LaunchFailure> {
        let plan = self.service(id).and_then(|service| match Place::from(role) {
            Place::Main => service.main.as_ref(),
            Place::Control => service.control.as_ref(),
            Place::Check => service.check.as_ref(),
        });
        let Some(maps) = plan.and_then(|process| process.plan.id_maps.clone()) else { return Ok(()) };
        let lines = |map: &[(u32, u32, u32)]| {
            map.iter().map(|(inside, outside, count)| format!("{inside} {outside} {count}\n")).collect::<String>()
        };
        let write = |file: &str, content: &str| -> io::Result<()> {
            // One write: the kernel takes a map only whole (user_namespaces(7)).
            std::fs::OpenOptions::new().write(true).open(format!("/proc/{pid}/{file}"))?.write_all(content.as_bytes())
        };
        let written = (|| {
            if maps.deny_setgroups {
                write("setgroups", "deny")?;
            }
            write("gid_map", &lines(&maps.gid))?;
            write("uid_map", &lines(&maps.uid))?;
            rustix::io::write(&writer, b"m")?;
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
    pub(super) fn drop_process(&mut self, process: Process) {
        if let Some(report) = process.report {
            self.unwatch(&report.fd, report.token);
        }
        if let Some(exits) = process.exits {
            self.unwatch(&exits.fd, exits.token);
        }
        if let (Some(fd), Some(token)) = (&process.service_pidfd, process.service_token) {
            self.unwatch(fd, token);
        }
        if process.adopted {
            self.unwatch(&process.pidfd.fd, process.pidfd.token);
        } else {
            self.retire(process.pidfd);
        }
    }
}

fn purpose(role: Role) -> Purpose {
    match role {
        Role::Main => Purpose::Main,
        Role::StartPre(n) => Purpose::StartPre(n.into()),
        Role::StartPost(n) => Purpose::StartPost(n.into()),
        Role::Reload(n) => Purpose::Reload(n.into()),
        Role::Stop(n) => Purpose::Stop(n.into()),
        Role::StopPost(n) => Purpose::StopPost(n.into()),
        Role::Ready => Purpose::Ready,
        Role::Health => Purpose::Health,
    }
}

/// All reasons in one message, the first one's step.
pub(super) fn compile_failure(errors: &[compile::CompileError]) -> LaunchFailure {
    let (step, code) = errors.first().map_or(("EXEC", 203), |error| (error.step, error.code));
    let message = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    failure(step, code, message)
}

/// 128 random bits as 32 hex digits.
fn random_id() -> io::Result<String> {
    let mut bytes = [0u8; 16];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn nonblocking_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK;
    Ok(rustix::pipe::pipe_with(flags)?)
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

impl Service {
    /// Which plan's limits and directories count: the main process's.
    pub(super) fn main_plan(&self) -> Option<&Rc<LaunchPlan>> {
        self.plans.get(&Purpose::Main)
    }
}

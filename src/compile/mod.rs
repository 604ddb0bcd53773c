//! From meaning to plan. Pure: everything about the host arrives as a [`HostFacts`] value.
//!
//! `compile` fixes the order of everything; each constraint is stated beside the step that needs it.
//!
//! ```text
//! context   unit + host → the shape of the container: which namespaces, made how
//! rootfs    paths and protections → a table of mounts (mounts.rs) → mount steps;  dev: the private /dev
//! credentials  a file system of secrets
//! identity  user, groups, id maps, capabilities;  subordinate: other ids for an ordinary user
//! limits    resource limits → steps; control group settings
//! confine   system-call filters
//! landlock  rule sets: the table of mounts once more, ports, scopes
//! environment
//! outside   sockets and timers
//! ```
#![forbid(unsafe_code)]

mod confine;
mod context;
mod credentials;
mod dev;
mod directories;
mod environment;
mod facts;
mod handouts;
mod identity;
mod kernel;
mod landlock;
mod limits;
mod mounts;
mod needs;
mod outside;
mod rootfs;
mod rules;
mod shares;
mod slice;
mod subordinate;

pub use facts::{
    Cgroups, DeviceNumbers, DirectoryRoots, FIRST_RANGE, FIRST_USER, GroupFact, HostFacts, PacketPrograms, UserFact,
};
pub use needs::{Needs, needs};
pub use slice::slice_settings;
pub use subordinate::Subordinate;

use crate::plan::{CgroupSettings, Container, LaunchPlan, NamespaceKind, Namespaces, Origin, Output, Step};
use crate::unit::{Hook, Isolation, LogTarget, NetworkMode, ServiceType, Unit};
use context::{Context, PidMode, Shape, UserMode};
use identity::Identity;
use std::fmt;

/// What to compile a plan for; the same roles as the supervisor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// `service.exec`
    Main,
    /// `exec_start_pre[n]`, own container.
    StartPre(usize),
    /// `exec_start_post[n]`, joined container.
    StartPost(usize),
    /// `exec_reload[n]`, joined container.
    Reload(usize),
    /// `exec_stop[n]`, joined container; its own where nothing runs any more (`remain_after_exit`).
    Stop(usize),
    /// `exec_stop_post[n]`, own container.
    StopPost(usize),
    /// `ready.command`, joined container.
    Ready,
    /// `health.command`, joined container.
    Health,
    /// One of `[hooks]`, own container.
    Hook(Hook),
    /// A command that somebody runs beside the service (`rsvc exec`), joined container; on a terminal of its own or not.
    Errand {
        /// It gets a terminal of its own.
        terminal: bool,
    },
}

impl Purpose {
    /// Does it run in the main process's container? What follows a oneshot does not: its main process has ended, and
    /// the container with it.
    pub fn joins(self, unit: &Unit) -> bool {
        match self {
            Purpose::StartPost(_) => unit.service.kind != ServiceType::Oneshot,
            Purpose::Stop(_) => !unit.service.remain_after_exit,
            Purpose::Reload(_) | Purpose::Ready | Purpose::Health | Purpose::Errand { .. } => true,
            Purpose::Main | Purpose::StartPre(_) | Purpose::StopPost(_) | Purpose::Hook(_) => false,
        }
    }

    /// The key of the command, `service.exec_stop`.
    fn key(self) -> &'static str {
        match self {
            Purpose::Main => "service.exec",
            Purpose::StartPre(_) => "service.exec_start_pre",
            Purpose::StartPost(_) => "service.exec_start_post",
            Purpose::Reload(_) => "service.exec_reload",
            Purpose::Stop(_) => "service.exec_stop",
            Purpose::StopPost(_) => "service.exec_stop_post",
            Purpose::Ready => "ready.command",
            Purpose::Health => "health.command",
            Purpose::Hook(hook) => hook.dotted(),
            // Nobody wrote it: what is refused is refused for the sake of the unit's command.
            Purpose::Errand { .. } => "service.exec",
        }
    }

    /// The command; `None` when the unit has fewer.
    fn argv(self, unit: &Unit) -> Option<&[String]> {
        let (list, index) = match self {
            Purpose::Main => return Some(&unit.service.exec),
            Purpose::StartPre(index) => (&unit.service.exec_start_pre, index),
            Purpose::StartPost(index) => (&unit.service.exec_start_post, index),
            Purpose::Reload(index) => (&unit.service.exec_reload, index),
            Purpose::Stop(index) => (&unit.service.exec_stop, index),
            Purpose::StopPost(index) => (&unit.service.exec_stop_post, index),
            Purpose::Ready => return Some(&unit.ready.command),
            Purpose::Health => return unit.health.as_ref().map(|health| health.command.as_slice()),
            Purpose::Hook(hook) => return Some(unit.hooks.command(hook)),
            Purpose::Errand { .. } => return None,
        };
        list.get(index).map(|command| command.argv.as_slice())
    }
}

/// `main`, `exec_start_pre[0]`, `exec_stop[1]`...
impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Purpose::Main => f.write_str("main"),
            Purpose::Errand { .. } => f.write_str("exec"),
            Purpose::Ready | Purpose::Health | Purpose::Hook(_) => f.write_str(self.key()),
            Purpose::StartPre(index)
            | Purpose::StartPost(index)
            | Purpose::Reload(index)
            | Purpose::Stop(index)
            | Purpose::StopPost(index) => {
                write!(f, "{}[{index}]", self.key().trim_start_matches("service."))
            }
        }
    }
}

/// Why a unit cannot be started on this host, found before anything was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// Which key asked for it, and where it stands.
    pub origin: Origin,
    /// systemd's step name (`USER`, `CGROUP`, `NAMESPACE`, ...) and its exit code.
    pub step: &'static str,
    /// 200 to 245.
    pub code: u8,
    /// What cannot be had and why: "user `web` does not exist on this host".
    pub message: String,
    /// What to do, when something can be done.
    pub hint: Option<String>,
}

/// In the form of a failed step: what, who asked, what to do; lines after the first are indented by two spaces.
impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed at step {}: {}", self.step, self.message)?;
        match &self.origin.place {
            Some(place) => write!(f, "\n  set by {}:{}", place.file, place.line)?,
            None => write!(f, "\n  set by default: {}", self.origin.key)?,
        }
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CompileError {}

/// Compiles one launch of a unit.
///
/// # Errors
/// All reasons at once, sorted by line.
pub fn compile(unit: &Unit, facts: &HostFacts, purpose: Purpose) -> Result<LaunchPlan, Vec<CompileError>> {
    compile_command(Context::new(unit, facts, purpose), purpose.argv(unit).unwrap_or_default())
}

/// A command that is not the unit's ([`Purpose::Errand`]), and who it is to be run by.
#[derive(Clone, Copy, Debug)]
pub struct Errand<'a> {
    /// argv
    pub command: &'a [String],
    /// It gets a terminal of its own.
    pub terminal: bool,
    /// Instead of the unit's user. It has no right that the main process has not.
    pub user: Option<&'a UserFact>,
}

/// The same for a command that is not the unit's.
///
/// # Errors
/// As [`compile`].
pub fn compile_errand(unit: &Unit, facts: &HostFacts, errand: Errand<'_>) -> Result<LaunchPlan, Vec<CompileError>> {
    let mut context = Context::new(unit, facts, Purpose::Errand { terminal: errand.terminal });
    context.user = errand.user;
    compile_command(context, errand.command)
}

fn compile_command(mut context: Context<'_>, command: &[String]) -> Result<LaunchPlan, Vec<CompileError>> {
    let (unit, purpose) = (context.unit, context.purpose);
    check_facts(&mut context);
    let shape = Shape::of(&mut context);
    let identity = Identity::of(&mut context, &shape);
    let output = output(&mut context);
    let cgroup = limits::cgroup_settings(&mut context);
    let argv = command.to_vec();
    if argv.is_empty() {
        context.refuse(purpose.key(), "EXEC", format!("the unit has no command for {purpose}"), None);
    }

    confine::remove_ipc(&mut context, &shape);
    enter(&mut context, &shape, &output);
    limits::oom_score(&mut context, &shape);
    if purpose.joins(unit) {
        join_container(&mut context, &shape);
    } else {
        build_container(&mut context, &shape, &identity);
    }
    become_the_service(&mut context, &shape, &identity);
    let environment = environment::environment(&mut context, &shape, &identity);
    match purpose {
        // No line of the unit says so.
        Purpose::Errand { .. } => context.always(Step::Execute { argv, environment }),
        _ => context.push(purpose.key(), Step::Execute { argv, environment }),
    }

    let (sockets, timers) = (outside::sockets(&mut context), outside::timers(&context));
    let joins = purpose.joins(unit);
    let prepare = if joins { Vec::new() } else { directories::prepare(&mut context, &shape, &identity) };
    if context.slots_exhausted() || context.steps.len() > usize::from(u16::MAX) {
        context.refuse("mounts", "NAMESPACE", "more mounts than one plan can hold", None);
    }
    if !context.errors.is_empty() {
        return Err(sorted(context.errors));
    }
    Ok(LaunchPlan {
        unit: unit.name.clone(),
        role: purpose.to_string(),
        container: if joins { Container::Joined } else { Container::Own },
        sockets,
        timers,
        prepare,
        // The group of a running container has its limits already.
        cgroup: if joins { CgroupSettings::default() } else { cgroup },
        clone: if joins { Namespaces::default() } else { shape.clone },
        id_maps: if joins { None } else { identity.maps },
        // A process that joins waits for its child itself.
        init: shape.forks && !joins,
        output,
        origins: context.origins,
        steps: context.steps,
        degraded: context.degraded,
    })
}

/// By line, then by column; what no line asked for comes last.
fn sorted(mut errors: Vec<CompileError>) -> Vec<CompileError> {
    let place = |error: &CompileError| error.origin.place.as_ref().map_or((u32::MAX, 0), |p| (p.line, p.column));
    errors.sort_by_key(place);
    errors.dedup();
    errors
}

/// A plan travels as text, so paths of the host must be UTF-8.
fn check_facts(context: &mut Context) {
    let facts = context.facts;
    let roots = &facts.directory_roots;
    let own = [&facts.runtime_dir, &facts.state_dir, &roots.runtime, &roots.state, &roots.cache, &roots.logs];
    for path in own.into_iter().chain([&roots.configuration]).chain(&facts.unit_path) {
        if path.to_str().is_none() {
            let message = format!("{} is no UTF-8", path.display());
            context.refuse("service.exec", "NAMESPACE", message, Some("give rsvc directories with UTF-8 names"));
        }
    }
}

/// Where standard output and error go.
fn output(context: &mut Context) -> Output {
    // Asked for later than what the unit says, and in vain elsewhere: who asked sits there and looks.
    match context.purpose {
        _ if has_terminal(context) => return Output::Terminal,
        Purpose::Errand { .. } => return Output::Caller,
        _ => {}
    }
    let (journald, foreground) = (context.facts.journald, context.facts.foreground);
    // Who is to choose among messages has to read them.
    let journal = if context.unit.logging.is_selective() { Output::Relay } else { Output::Journal };
    let output = match context.unit.logging.target {
        LogTarget::Auto if foreground => Output::Inherit,
        LogTarget::Auto if journald => journal,
        LogTarget::Journald if journald => journal,
        LogTarget::Journald => {
            let why = "no systemd-journald listens on this host";
            context.lacking("logging.target", "STDOUT", why, Some("set logging.target = \"auto\""));
            Output::Pipe
        }
        LogTarget::Auto | LogTarget::File => Output::Pipe,
        LogTarget::Null => Output::Null,
        LogTarget::Inherit => Output::Inherit,
    };
    let logging = &context.unit.logging;
    if output == Output::Inherit && logging.is_selective() {
        for key in
            ["level_max", "rate_limit_burst", "rate_limit_interval", "fields"].map(|key| format!("logging.{key}"))
        {
            if context.unit.is_written(&key) {
                context.degrade(&key, "the output is the terminal's and not a log: all of it is shown");
            }
        }
    } else if output == Output::Pipe && !logging.fields.is_empty() {
        let why = "no systemd-journald listens on this host, and log files have no fields";
        context.lacking("logging.fields", "STDOUT", why, None);
    }
    output
}

/// Does what is launched get a terminal, that of `rsvc run --pty` or of `rsvc exec`?
fn has_terminal(context: &Context) -> bool {
    let is_main = context.facts.terminal && context.purpose == Purpose::Main;
    is_main || context.purpose == Purpose::Errand { terminal: true }
}

/// The steps that both kinds of container begin with.
fn enter(context: &mut Context, shape: &Shape, output: &Output) {
    let joins = context.purpose.joins(context.unit);
    // First of all: until the maps are written every other call runs as the overflow uid.
    if shape.in_user_namespace() && !joins {
        context.push("namespaces.user", Step::EnterUserNamespace);
    }
    // Before anything allocates, so that all of it is accounted; before the journal, which notes the peer's group;
    // before the cgroup namespace, whose root is the group at that moment.
    let cgroups = &context.facts.cgroups;
    if cgroups.available && !cgroups.v1_controllers.is_empty() {
        context.always(Step::EnterCgroups);
    }
    // A terminal of the daemon must not become the service's.
    context.always(Step::NewSession);
    if context.unit.security.private_keyring {
        context.push("security.keyring", Step::NewSessionKeyring);
    }
    if shape.unshare_cgroup && !joins {
        context.push("namespaces.cgroup", Step::UnshareCgroupNamespace);
    }
    // The socket's path is the host's: before mounts change, and before another mount namespace is joined.
    if *output == Output::Journal {
        let identifier = context.unit.log_identifier().to_owned();
        // 6 is LOG_INFO: what a program prints without a `<N>` prefix.
        context.push("logging.target", Step::ConnectJournal { identifier, priority: 6 });
    }
}

/// A container of its own: namespaces, mounts, init.
fn build_container(context: &mut Context, shape: &Shape, identity: &Identity) {
    let namespaces = &shape.namespaces;
    if shape.unshare_time {
        context.push("namespaces.time", Step::UnshareTimeNamespace);
    }
    // Network before mounts: sysfs shows the network namespace of its mounter. Pid before mounts: so does procfs.
    if let NetworkMode::Path(path) = &shape.network {
        context.push("network.mode", Step::JoinNamespace { kind: NamespaceKind::Net, path: path.clone() });
    }
    let kinds = [
        ("namespaces.ipc", NamespaceKind::Ipc, &namespaces.ipc),
        ("namespaces.uts", NamespaceKind::Uts, &namespaces.uts),
        ("namespaces.cgroup", NamespaceKind::Cgroup, &namespaces.cgroup),
        ("namespaces.time", NamespaceKind::Time, &namespaces.time),
        ("namespaces.pid", NamespaceKind::Pid, &namespaces.pid),
        ("namespaces.mount", NamespaceKind::Mount, &namespaces.mount),
    ];
    for (key, kind, isolation) in kinds {
        if let Isolation::Path(path) = isolation {
            context.push(key, Step::JoinNamespace { kind, path: path.clone() });
        }
    }
    shares::join(context, shape);
    if let Some(name) = &namespaces.hostname {
        if shape.clone.uts {
            context.push("namespaces.hostname", Step::SetHostname { name: name.clone() });
        } else {
            let message = "namespaces.hostname: the name of the host, or of a foreign namespace, would be changed";
            context.refuse("namespaces.hostname", "NAMESPACE", message, Some("set namespaces.uts = \"private\""));
        }
    }
    if shape.clone.net {
        context.push("network.mode", Step::LoopbackUp);
    }
    // A joined pid namespace holds children only, and a fresh /proc shows the pid namespace of its mounter: here the
    // fork comes first, and the service's own process makes the mounts.
    if shape.pid == PidMode::Foreign {
        context.push("namespaces.pid", Step::ForkService);
    }
    if shape.mounts {
        rootfs::mount_steps(context, shape, identity);
    } else {
        rootfs::refuse_without_mounts(context);
    }
    if shape.forks && shape.pid != PidMode::Foreign {
        context.push("namespaces.init", Step::ForkService);
    }
}

/// The container of the main process, which made its mounts and namespaces.
fn join_container(context: &mut Context, shape: &Shape) {
    let namespaces = &shape.namespaces;
    let other = |isolation: &Isolation| *isolation != Isolation::Host;
    let join = Namespaces {
        mount: other(&namespaces.mount),
        pid: shape.pid == PidMode::Private,
        ipc: other(&namespaces.ipc),
        uts: other(&namespaces.uts),
        net: shape.own_network,
        user: shape.in_user_namespace(),
        cgroup: other(&namespaces.cgroup),
        // Process 1 made it for its children and is not in it itself; nothing in it differs from the host's time.
        time: false,
    };
    // Process 1 of a joined pid namespace is somebody else's; ours is the init outside of it.
    if let Isolation::Path(path) = &namespaces.pid {
        context.push("namespaces.pid", Step::JoinNamespace { kind: NamespaceKind::Pid, path: path.clone() });
    }
    shares::join_pid(context, shape);
    if join != Namespaces::default() {
        context.always(Step::JoinContainer { namespaces: join });
    }
    // setns(2) into a pid namespace affects children only. Somebody stands in for an errand, wherever that is.
    if join.pid || shape.pid == PidMode::Foreign || matches!(context.purpose, Purpose::Errand { .. }) {
        context.push("namespaces.pid", Step::ForkService);
    }
}

/// What the service's own process does, from privileged to confined.
fn become_the_service(context: &mut Context, shape: &Shape, identity: &Identity) {
    // In the finished tree, and as long as every directory of it can be searched.
    let bound = landlock::make(context, shape, identity);
    // After the fork, so that no limit of the service binds its init; before the ids, as raising needs privilege.
    limits::process_steps(context, shape);
    // While the process may still open its own files of procfs, and before a user namespace of others is joined.
    confine::labels(context);
    // The mounts belong to the user namespace around this one, so it is joined after them.
    if let UserMode::Path(path) = &shape.user {
        context.push("namespaces.user", Step::JoinNamespace { kind: NamespaceKind::User, path: path.clone() });
    }
    if shape.range().is_some() {
        context.push("namespaces.user", Step::JoinUserNamespace);
    }
    identity.credential_steps(context);
    // As the service's user: a directory that it cannot search fails here and not later.
    let path = context.unit.service.working_directory.clone();
    context.push("service.working_directory", Step::ChangeDirectory { path, missing_ok: false });
    confine::deny_write_execute(context);
    // After all that needs privilege, before the filter, which an unprivileged process may load only then.
    if context.unit.security.no_new_privileges {
        context.push("security.no_new_privileges", Step::NoNewPrivileges);
    }
    context.always(identity.verification(context.unit.security.no_new_privileges));
    context.always(Step::ResetSignals);
    // As the service's user, whose terminal it is to be; the filter may forbid what it takes.
    if has_terminal(context) {
        context.always(Step::OpenTerminal);
    }
    context.always(Step::ArrangeDescriptors);
    // After no_new_privs, without which it takes a right that is gone; before the filter, which may forbid the call.
    if let Some(key) = bound {
        context.push(key, Step::EnforceRuleset);
    }
    // Last: every step above may need what the filter forbids.
    confine::filter_steps(context);
}

#[cfg(test)]
mod tests;

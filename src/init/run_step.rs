//! The whole privileged vocabulary on one page: which step is which calls. No step decides anything.

use super::execute;
use super::fork;
use super::identity;
use super::landlock;
use super::mapped::Wanted;
use super::mounts::{self, Users};
use super::terminal;
use super::{Context, Failure, Stage};
use crate::plan::{LaunchPlan, LimitResource, NamespaceKind, Namespaces, PlannedStep, RANGE_SIZE, Step};
use crate::sys::confine::{self, limits};
use crate::sys::process::{self, clone_flags};
use crate::sys::socket::{self, Kind};
use crate::sys::{credentials, fd, user_namespace};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// Runs one step. In the parent of `ForkService` and after a successful `Execute` it does not return.
pub(super) fn run(stage: &mut Stage, plan: &LaunchPlan, planned: &PlannedStep) -> Result<(), Failure> {
    let mounts = &mut stage.mounts;
    match &planned.step {
        Step::EnterUserNamespace => enter_user_namespace(stage),
        Step::EnterCgroups => enter_cgroups(stage),
        Step::JoinNamespace { kind, .. } => {
            let file = stage.host.take_namespace(*kind)?;
            Ok(confine::set_namespace(file.as_fd(), kind_flag(*kind))?)
        }
        Step::JoinUnit { kind, .. } => {
            let namespace = stage.inherited.shared.pop_front();
            let namespace = namespace.ok_or(Failure::new(0, "the daemon passed no namespace"))?;
            Ok(confine::set_namespace(namespace.as_fd(), kind_flag(*kind))?)
        }
        Step::JoinContainer { namespaces } => {
            let pidfd = stage.inherited.container.take().ok_or(Failure::new(0, "the daemon passed no container"))?;
            Ok(confine::set_namespace(pidfd.as_fd(), namespace_flags(*namespaces))?)
        }
        Step::UnshareCgroupNamespace => Ok(confine::unshare(clone_flags::NEWCGROUP)?),
        Step::UnshareTimeNamespace => Ok(confine::unshare(clone_flags::NEWTIME)?),
        Step::NewSession => Ok(process::setsid()?),
        Step::NewSessionKeyring => Ok(confine::new_session_keyring()?),
        Step::ConnectJournal { identifier, priority } => connect_journal(stage, identifier, *priority),
        Step::MakeUserNamespace { first } => make_user_namespace(stage, plan, *first),
        Step::JoinUserNamespace => {
            let made = stage.user_namespace.take().ok_or(Failure::new(0, "there is no user namespace to join"))?;
            Ok(confine::set_namespace(made.as_fd(), clone_flags::NEWUSER)?)
        }
        Step::SetHostname { name } => Ok(confine::set_hostname(name)?),
        Step::LoopbackUp => Ok(confine::loopback_up()?),

        Step::PrivatePropagation => mounts::private_propagation(),
        Step::OpenTree { slot, source, path, recursive, missing_ok } => {
            mounts.open_tree(*slot, *source, path, *recursive, *missing_ok)
        }
        Step::OpenMappedTree { slot, path, recursive, missing_ok, writable } => {
            let (recursive, missing_ok, writable) = (*recursive, *missing_ok, *writable);
            let map = stage.user_namespace.as_ref().ok_or(Failure::new(0, "there is no user namespace"))?;
            mounts.open_mapped(*slot, &Wanted { path, recursive, missing_ok, writable }, map.as_fd())
        }
        Step::NewFilesystem { slot, fs_type, options, flags } => mounts.new_filesystem(*slot, fs_type, options, *flags),
        Step::NewOverlay { slot, lower, upper, flags } => {
            let users = match &stage.user_namespace {
                Some(map) => Users::Mapped(map.as_fd()),
                None if plan.clone.user => Users::Own,
                None => Users::Hosts,
            };
            mounts.new_overlay(*slot, lower, upper, *flags, users)
        }
        Step::TakeImage { slot, .. } => mounts.take(*slot, stage.inherited.image.take()),
        Step::SetAttributes { slot, set, recursive } => mounts.set_attributes(*slot, *set, *recursive),
        Step::AttachRoot => {
            mounts.attach_root(plan.steps.iter().any(|planned| matches!(planned.step, Step::Mask { .. })))
        }
        Step::Attach { slot, at, create } => mounts.attach(*slot, at, *create),
        Step::MakeDirectory { slot, name, mode } => mounts.make_directory(*slot, name, *mode),
        Step::MakeSymlink { slot, name, target } => mounts.make_symlink(*slot, name, target),
        Step::MakeNode { slot, name, character, major, minor, mode } => {
            mounts.make_node(*slot, name, *character, (*major, *minor), *mode)
        }
        Step::AttachNode { node, slot, name } => mounts.attach_node(*node, *slot, name),
        Step::CopyNode { node, slot, name } => mounts.copy_node(*node, *slot, name, first_id(plan)),
        Step::Mask { at, closed, missing_ok } => mounts.mask(at, *closed, *missing_ok),
        Step::Restrict { at, set, recursive, missing_ok } => mounts.restrict(at, *set, *recursive, *missing_ok),
        Step::Seal { slot, set } => mounts.set_attributes(*slot, *set, false),
        Step::LoadCredential { slot, name, .. } => super::credentials::load(stage, *slot, name),
        Step::SetCredential { slot, name } => super::credentials::set(stage, *slot, name),
        Step::SealCredentials { slot, uid, gid } => super::credentials::seal(stage, *slot, *uid, *gid),
        Step::PivotRoot => {
            mounts.pivot_root()?;
            match stage.user_namespace {
                Some(_) => Ok(credentials::act_on_files_as(0, 0)?),
                None => Ok(()),
            }
        }

        Step::SetOomScoreAdjust { value } => set_oom_score(stage, *value),
        Step::SetNice { value } => Ok(confine::set_nice(*value)?),
        Step::SetLimit { resource, soft, hard } => set_limit(*resource, *soft, *hard, planned.may_fail),
        Step::SetUmask { mask } => {
            process::umask(*mask);
            stage.umask_set = true;
            Ok(())
        }

        Step::ForkService => fork::fork_service(stage, plan),

        Step::SetExecLabel { module, label } => super::label::ask(stage, *module, label),
        Step::DropBoundingSet { keep } => identity::drop_bounding_set(*keep),
        Step::KeepCapabilities => Ok(credentials::keep_capabilities(true)?),
        Step::SetGroups { groups } => Ok(credentials::set_groups(groups)?),
        Step::SetIds { uid, gid } => identity::set_ids(*uid, *gid),
        Step::SetCapabilities { permitted, inheritable, ambient } => {
            identity::set_capabilities(*permitted, *inheritable, *ambient)
        }
        Step::ChangeDirectory { path, missing_ok } => execute::change_directory(path, *missing_ok),
        Step::DenyWriteExecute => Ok(credentials::deny_write_execute()?),
        Step::NoNewPrivileges => Ok(credentials::no_new_privileges()?),
        Step::VerifyCredentials { uid, gid, groups, bounding, permitted, inheritable, ambient, no_new_privileges } => {
            identity::verify(&identity::Expected {
                uid: *uid,
                gid: *gid,
                groups: groups.as_deref(),
                bounding: *bounding,
                permitted: *permitted,
                inheritable: *inheritable,
                ambient: *ambient,
                no_new_privileges: *no_new_privileges,
            })
        }
        Step::ResetSignals => {
            process::default_signals()?;
            Ok(process::unblock_signals()?)
        }
        Step::OpenTerminal => terminal::open(stage),
        Step::ArrangeDescriptors => arrange_descriptors(stage),
        Step::LoadFilter { program, log, .. } => execute::load_filter(stage, plan, program, *log),
        Step::Execute { argv, environment } => execute::execute(stage, plan, argv, environment),
        Step::MakeRuleset(ruleset) => landlock::make(stage, ruleset),
        Step::EnforceRuleset => landlock::enforce(stage),
    }
}

fn kind_flag(kind: NamespaceKind) -> u64 {
    match kind {
        NamespaceKind::Mount => clone_flags::NEWNS,
        NamespaceKind::Pid => clone_flags::NEWPID,
        NamespaceKind::Ipc => clone_flags::NEWIPC,
        NamespaceKind::Uts => clone_flags::NEWUTS,
        NamespaceKind::Net => clone_flags::NEWNET,
        NamespaceKind::User => clone_flags::NEWUSER,
        NamespaceKind::Cgroup => clone_flags::NEWCGROUP,
        NamespaceKind::Time => clone_flags::NEWTIME,
    }
}

/// The flags of clone3(2) and setns(2) for a set of namespaces.
pub fn namespace_flags(set: Namespaces) -> u64 {
    [
        (set.mount, NamespaceKind::Mount),
        (set.pid, NamespaceKind::Pid),
        (set.ipc, NamespaceKind::Ipc),
        (set.uts, NamespaceKind::Uts),
        (set.net, NamespaceKind::Net),
        (set.user, NamespaceKind::User),
        (set.cgroup, NamespaceKind::Cgroup),
        (set.time, NamespaceKind::Time),
    ]
    .iter()
    .filter(|(wanted, _)| *wanted)
    .fold(0, |flags, (_, kind)| flags | kind_flag(*kind))
}

/// Waits for the daemon's byte; the end of the pipe means that the daemon has ended before it had done its part.
pub(super) fn await_daemon(ready: BorrowedFd<'_>) -> Result<(), Failure> {
    match fd::read(ready, &mut [0; 1])? {
        1 => Ok(()),
        _ => Err(Failure::new(0, "the daemon ended before it had written down the launch")),
    }
}

/// Ids can be set, and the stage hidden from its fellow users, only when the daemon has written the maps.
fn enter_user_namespace(stage: &mut Stage) -> Result<(), Failure> {
    let ready =
        stage.inherited.maps_ready.take().ok_or(Failure::new(0, "the daemon passed no pipe for the id maps"))?;
    await_daemon(ready.as_fd())?;
    credentials::set_gid(0).context(|| "gid 0")?;
    credentials::set_uid(0).context(|| "uid 0")?;
    Ok(credentials::set_dumpable(false)?)
}

/// The stage stays root of the host, over whose mounts the namespace has no right, and makes files as root of the namespace.
fn make_user_namespace(stage: &mut Stage, plan: &LaunchPlan, first: u32) -> Result<(), Failure> {
    // In a pid namespace that has only just begun the service's number must stay free.
    let pid = plan.clone.pid.then_some(user_namespace::UNUSED_PID);
    let made = user_namespace::make(first, RANGE_SIZE, pid).map_err(|error| Failure::new(error.errno, error.call))?;
    stage.user_namespace = Some(made);
    Ok(credentials::act_on_files_as(first, first)?)
}

/// Host's number of uid 0 of the user namespace that the plan makes.
fn first_id(plan: &LaunchPlan) -> u32 {
    let first = plan.steps.iter().find_map(|planned| match planned.step {
        Step::MakeUserNamespace { first } => Some(first),
        _ => None,
    });
    first.unwrap_or(0)
}

/// Each attach is the stage's own ("0" is the writer): a busy host makes one wait for milliseconds, and that must not
/// be the daemon.
fn enter_cgroups(stage: &mut Stage) -> Result<(), Failure> {
    for (index, procs) in std::mem::take(&mut stage.inherited.cgroup_procs).iter().enumerate() {
        fd::write(procs.as_fd(), b"0").context(|| format!("hierarchy {} of the unit's group", index + 1))?;
    }
    Ok(())
}

/// Header of the journal's stream protocol: identifier, unit (left to journald, which knows the group), priority,
/// whether `<N>` prefixes are read, and three kinds of forwarding. Source: systemd-journald's `stdout` socket.
fn connect_journal(stage: &mut Stage, identifier: &str, priority: u8) -> Result<(), Failure> {
    const SOCKET: &str = "/run/systemd/journal/stdout";
    const SEND_BUFFER: usize = 8 << 20;
    if identifier.contains('\n') {
        return Err(Failure::new(0, "the identifier contains a line break"));
    }
    let stream = socket::unix_socket(Kind::Stream)?;
    socket::connect(stream.as_fd(), Path::new(SOCKET)).context(|| SOCKET)?;
    socket::shutdown_read(stream.as_fd())?;
    // Room for bursts; the service blocks when it is used up, as with systemd. Only a wish.
    let _ = socket::set_send_buffer(stream.as_fd(), SEND_BUFFER);
    fd::write_all(&stream, format!("{identifier}\n\n{priority}\n1\n0\n0\n0\n").as_bytes())?;
    let found = fd::stat(stream.as_fd())?;
    stage.host.journal = Some((stream, format!("{}:{}", found.device, found.inode)));
    Ok(())
}

/// Standard input from what was inherited, else `/dev/null`; output and error from what was inherited, else the journal,
/// else `/dev/null`; from 3 on what is passed to the service.
fn arrange_descriptors(stage: &mut Stage) -> Result<(), Failure> {
    let null = stage.host.null.as_ref().map_err(Clone::clone)?;
    fd::place_standard(stage.inherited.stdin.as_ref().unwrap_or(null).as_fd(), 0)?;
    let journal = stage.host.journal.as_ref().map(|(stream, _)| stream);
    let inherited = &stage.inherited;
    for (number, given) in [(1, &inherited.stdout), (2, &inherited.stderr)] {
        match given.as_ref().or(journal) {
            Some(target) => fd::place_standard(target.as_fd(), number)?,
            None => {
                let sink = stage.host.null_for_writing.as_ref().map_err(Clone::clone)?;
                fd::place_standard(sink.as_fd(), number)?;
            }
        }
    }
    fd::close_range_cloexec(3)?;
    // They have had the numbers that the service is to find them under since this process began.
    for (passed, _) in &inherited.passed {
        fd::set_close_on_exec(passed.as_fd(), false)?;
    }
    Ok(())
}

fn set_oom_score(stage: &Stage, value: i32) -> Result<(), Failure> {
    let file = match &stage.host.oom_score {
        Some(Ok(file)) => file,
        Some(Err(failure)) => return Err(failure.clone().bearable()),
        None => return Err(Failure::new(0, "oom_score_adj was not opened")),
    };
    let refused = match fd::write(file.as_fd(), value.to_string().as_bytes()) {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    let current = fd::read_to_string(file.as_fd(), 16).unwrap_or_default();
    let failure = Failure::new(refused.errno, format!("left at {}", current.trim()));
    // A lower score than may be had.
    Err(if matches!(refused.errno, libc::EACCES | libc::EPERM) { failure.bearable() } else { failure })
}

fn limit_number(resource: LimitResource) -> i32 {
    match resource {
        LimitResource::As => limits::AS,
        LimitResource::Core => limits::CORE,
        LimitResource::Cpu => limits::CPU,
        LimitResource::Data => limits::DATA,
        LimitResource::Fsize => limits::FSIZE,
        LimitResource::Locks => limits::LOCKS,
        LimitResource::Memlock => limits::MEMLOCK,
        LimitResource::Msgqueue => limits::MSGQUEUE,
        LimitResource::Nice => limits::NICE,
        LimitResource::Nofile => limits::NOFILE,
        LimitResource::Nproc => limits::NPROC,
        LimitResource::Rss => limits::RSS,
        LimitResource::Rtprio => limits::RTPRIO,
        LimitResource::Rttime => limits::RTTIME,
        LimitResource::Sigpending => limits::SIGPENDING,
        LimitResource::Stack => limits::STACK,
    }
}

/// A raise above the present hard limit that the kernel refuses is clamped to it when the step may fail; the failure
/// returned then says to what.
fn set_limit(resource: LimitResource, soft: u64, hard: u64, may_clamp: bool) -> Result<(), Failure> {
    const EPERM: i32 = 1;
    let number = limit_number(resource);
    let refused = match confine::set_limit(0, number, soft, hard) {
        Err(error) if error.errno == EPERM && may_clamp => error,
        other => return Ok(other?),
    };
    let (_, ceiling) = confine::limit(number)?;
    let (soft, hard) = (soft.min(ceiling), hard.min(ceiling));
    confine::set_limit(0, number, soft, hard)?;
    Err(Failure::new(refused.errno, format!("clamped to {soft}:{hard}")).bearable())
}

//! Descriptors that came from the daemon, and files of the host opened before the first step.

use super::{Failure, Unusable, paths};
use crate::plan::wire::Descriptors;
use crate::plan::{LaunchPlan, NamespaceKind, Step};
use crate::sys::fd::{self, Open};
use crate::sys::{self, SysError, mount};
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// The descriptors listed in the plan, owned and close-on-exec.
pub(super) struct Inherited {
    pub report: Option<OwnedFd>,
    pub exits: Option<OwnedFd>,
    pub record: Option<OwnedFd>,
    pub init: Option<OwnedFd>,
    pub maps_ready: Option<OwnedFd>,
    pub cgroup_procs: Vec<OwnedFd>,
    pub container: Option<OwnedFd>,
    /// For the `JoinUnit` steps, in the plan's order.
    pub shared: VecDeque<OwnedFd>,
    /// For the `LoadCredential` steps: name of the credential, name of the file inside.
    pub credentials: Vec<(String, String, OwnedFd)>,
    /// For `TakeImage`.
    pub image: Option<OwnedFd>,
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
    /// Where a filter's listener goes.
    pub denials: Option<OwnedFd>,
    /// Who asked for this command.
    pub caller: Option<OwnedFd>,
    /// The one of the running container.
    pub user_namespace: Option<OwnedFd>,
    pub pinned: Vec<OwnedFd>,
    /// The program, where it is no file of the container's.
    pub program: Option<OwnedFd>,
    /// For the service, from 3 on, each with its name.
    pub passed: Vec<(OwnedFd, String)>,
}

impl Inherited {
    /// # Errors
    /// A number that is not open, below 3, or listed twice (but standard output and error may share one), or no room for
    /// the service's own from 3 on.
    pub fn adopt(listed: &Descriptors) -> Result<Inherited, Unusable> {
        let mut taken = Vec::new();
        // The first numbers are the service's; what has one of them now moves up.
        let lowest = 3 + i32::try_from(listed.passed.len()).map_err(|_| Unusable)?;
        let mut take = |number: Option<i32>| -> Result<Option<OwnedFd>, Unusable> {
            let Some(number) = number else { return Ok(None) };
            if taken.contains(&number) {
                return Err(Unusable);
            }
            taken.push(number);
            let fd = fd::adopt(number)?;
            Ok(Some(if number < lowest { fd::duplicate(fd.as_fd(), lowest)? } else { fd }))
        };
        let stdout = take(listed.stdout)?;
        let stderr = match &stdout {
            Some(shared) if listed.stderr == listed.stdout => Some(fd::duplicate(shared.as_fd(), lowest)?),
            _ => take(listed.stderr)?,
        };
        let mut passed = Vec::new();
        for one in &listed.passed {
            passed.push((take(Some(one.number))?.ok_or(Unusable)?, one.name.clone()));
        }
        let mut credentials = Vec::new();
        for file in &listed.credentials {
            let opened = take(Some(file.number))?.ok_or(Unusable)?;
            credentials.push((file.credential.clone(), file.name.clone(), opened));
        }
        let mut inherited = Inherited {
            passed: Vec::new(),
            credentials,
            report: take(listed.report)?,
            exits: take(listed.exits)?,
            record: take(listed.record)?,
            init: take(listed.init)?,
            maps_ready: take(listed.maps_ready)?,
            container: take(listed.container)?,
            shared: take_all(&listed.shared, &mut take)?.into(),
            cgroup_procs: take_all(&listed.cgroup_procs, &mut take)?,
            pinned: take_all(&listed.pinned, &mut take)?,
            image: take(listed.image)?,
            program: take(listed.program)?,
            stdin: take(listed.stdin)?,
            denials: take(listed.denials)?,
            caller: take(listed.caller)?,
            user_namespace: take(listed.user_namespace)?,
            stdout,
            stderr,
        };
        for (number, (fd, name)) in (3..).zip(passed) {
            let placed = fd::duplicate(fd.as_fd(), number)?;
            if placed.as_raw_fd() != number {
                return Err(Unusable);
            }
            inherited.passed.push((placed, name));
        }
        Ok(inherited)
    }
}

fn take_all(
    numbers: &[i32],
    take: &mut impl FnMut(Option<i32>) -> Result<Option<OwnedFd>, Unusable>,
) -> Result<Vec<OwnedFd>, Unusable> {
    numbers.iter().filter_map(|number| take(Some(*number)).transpose()).collect()
}

/// Major and minor of `/dev/null`.
const NULL_DEVICE: u64 = 1 << 8 | 3;

/// What only the host has, opened while its tree is still the root.
pub(super) struct HostFiles {
    /// `/dev/null` for reading, checked to be the device; the error is kept for `ArrangeDescriptors`.
    pub null: Result<OwnedFd, Failure>,
    /// The same for writing.
    pub null_for_writing: Result<OwnedFd, Failure>,
    /// The file of each `JoinNamespace` step, in the plan's order.
    pub namespaces: Vec<(NamespaceKind, Result<OwnedFd, Failure>)>,
    /// Our own `oom_score_adj`, when a step or the resident init wants it.
    pub oom_score: Option<Result<OwnedFd, Failure>>,
    /// A procfs, when a step asks a security module for something.
    pub proc: Option<Result<OwnedFd, Failure>>,
    /// Device and inode of the program that runs now; `None` on a host without /proc.
    pub own_program: Option<(u64, u64)>,
    /// The journal's stream, once connected, and `device:inode` for `JOURNAL_STREAM`.
    pub journal: Option<(OwnedFd, String)>,
}

impl HostFiles {
    /// Opens what the plan's steps will need; what cannot be opened fails the step that needs it.
    pub fn open(plan: &LaunchPlan) -> Result<HostFiles, Unusable> {
        let mut namespaces = Vec::new();
        let mut wants_oom_score = protects_init(plan);
        for planned in &plan.steps {
            match &planned.step {
                Step::JoinNamespace { kind, path } => {
                    let file = paths::c_path(path).and_then(|path| fd::open(&path, Open::Read).map_err(Failure::from));
                    namespaces.push((*kind, file));
                }
                Step::SetOomScoreAdjust { .. } => wants_oom_score = true,
                _ => {}
            }
        }
        let oom_score = wants_oom_score.then(|| open_oom_score().map_err(Failure::from));
        let labels = plan.steps.iter().any(|planned| matches!(planned.step, Step::SetExecLabel { .. }));
        let proc = labels.then(|| open_proc().map_err(Failure::from));
        Ok(HostFiles {
            null: open_null(Open::Read),
            null_for_writing: open_null(Open::Write),
            namespaces,
            oom_score,
            proc,
            own_program: own_program(),
            journal: None,
        })
    }

    /// The opened file of the next `JoinNamespace` step of this kind.
    pub fn take_namespace(&mut self, wanted: NamespaceKind) -> Result<OwnedFd, Failure> {
        match self.namespaces.iter().position(|(kind, _)| *kind == wanted) {
            Some(index) => self.namespaces.remove(index).1,
            None => Err(Failure::new(0, "the namespace file was not opened")),
        }
    }
}

/// Should the resident init survive when the group runs out of memory as a whole?
pub(super) fn protects_init(plan: &LaunchPlan) -> bool {
    plan.init && plan.cgroup.memory_oom_group == Some(true)
}

/// Device rules act from birth on v2, and those of a unit may leave the null device out: then the daemon's, which
/// stands on standard input, is passed on.
fn open_null(how: Open) -> Result<OwnedFd, Failure> {
    let null = match fd::open(c"/dev/null", how) {
        Err(error) if error.errno == libc::EPERM => fd::duplicate(std::io::stdin().as_fd(), 3),
        result => result,
    };
    let null = null.map_err(|error| Failure::new(error.errno, "/dev/null"))?;
    let found = fd::stat(null.as_fd())?;
    if found.node != NULL_DEVICE {
        return Err(Failure::new(0, "/dev/null of the host is not the null device"));
    }
    Ok(null)
}

/// It is a magic link, so what it leads to is the kernel's word.
fn own_program() -> Option<(u64, u64)> {
    let program = fd::open(c"/proc/self/exe", Open::Path).ok()?;
    let found = fd::stat(program.as_fd()).ok()?;
    Some((found.device, found.inode))
}

/// Our own `oom_score_adj` for reading and writing. It comes from the host's `/proc`, which the container never
/// controlled, checked to be a procfs; where there is none, from a private one that is never attached.
fn open_oom_score() -> sys::Result<OwnedFd> {
    open_own_file(&open_proc()?)
}

fn open_proc() -> sys::Result<OwnedFd> {
    if let Ok(proc) = fd::open(c"/proc", Open::Directory)
        && mount::file_system_magic(proc.as_fd())? == mount::PROC_MAGIC
    {
        return Ok(proc);
    }
    let context = mount::fsopen(c"proc")?;
    mount::fsconfig_create(&context)?;
    mount::fsmount(&context, 0)
}

fn open_own_file(proc: &OwnedFd) -> Result<OwnedFd, SysError> {
    // `self` is an ordinary symbolic link to the pid, not a magic one, so it is followed below the root given.
    let links = mount::Links::InRoot;
    mount::open_below(proc.as_fd(), c"self/oom_score_adj", Open::ReadWrite, links)
}

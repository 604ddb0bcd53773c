//! What the parts of `compile` share: the unit, the host, the shape of the container, and the plan as it grows.

use super::{CompileError, HostFacts, Purpose, UserFact, shares, subordinate};
use crate::plan::{Degraded, FileRules, Namespaces, Origin, PlannedStep, Slot, Step, step_code};
use crate::unit::{Isolation, NamespaceSettings, NetworkMode, Unit, UserNamespace};
use std::path::PathBuf;

/// The plan under construction, with all complaints so far.
pub(super) struct Context<'a> {
    pub unit: &'a Unit,
    pub facts: &'a HostFacts,
    pub purpose: Purpose,
    /// Who runs it instead of the unit's user.
    pub user: Option<&'a UserFact>,
    pub steps: Vec<PlannedStep>,
    pub origins: Vec<Origin>,
    pub degraded: Vec<Degraded>,
    pub errors: Vec<CompileError>,
    /// What the finished tree lets be written and executed, once its mounts are planned.
    pub tree: Option<FileRules>,
    next_slot: u16,
}

impl<'a> Context<'a> {
    pub fn new(unit: &'a Unit, facts: &'a HostFacts, purpose: Purpose) -> Context<'a> {
        Context {
            unit,
            facts,
            purpose,
            user: None,
            steps: Vec::new(),
            origins: Vec::new(),
            degraded: Vec::new(),
            errors: Vec::new(),
            tree: None,
            next_slot: Slot::ROOT.0 + 1,
        }
    }

    /// A slot that no step has used yet.
    pub fn slot(&mut self) -> Slot {
        let slot = Slot(self.next_slot);
        // Lists of a unit are far shorter; a plan with so many mounts is refused at the end by its length.
        self.next_slot = self.next_slot.saturating_add(1);
        slot
    }

    /// Were there more mounts than slots?
    pub fn slots_exhausted(&self) -> bool {
        self.next_slot == u16::MAX
    }

    /// Adds a step that every launch has.
    pub fn always(&mut self, step: Step) {
        self.steps.push(PlannedStep { step, origin: None, may_fail: false });
    }

    /// Adds a step that `key` asked for.
    pub fn push(&mut self, key: &str, step: Step) {
        let origin = Some(self.origin(key, &step));
        self.steps.push(PlannedStep { step, origin, may_fail: false });
    }

    /// Adds a step that `key` asked for and that may fail: see [`PlannedStep::may_fail`].
    pub fn push_may_fail(&mut self, key: &str, may_fail: bool, step: Step) {
        let origin = Some(self.origin(key, &step));
        self.steps.push(PlannedStep { step, origin, may_fail });
    }

    /// Index of the origin of a step among the origins, each once: of `key`, or of the path of a list that several files
    /// made, as it is that file whose line matters when the path is not there.
    fn origin(&mut self, key: &str, step: &Step) -> u16 {
        let path = match step {
            Step::OpenTree { path, .. } => Some(path),
            Step::Attach { at, .. } | Step::Mask { at, .. } | Step::Restrict { at, .. } => Some(at),
            _ => None,
        };
        let name = match step {
            Step::LoadCredential { name, .. } | Step::SetCredential { name, .. } => Some(name.as_str()),
            _ => path.and_then(|path| path.to_str()),
        };
        let element = name.and_then(|name| self.unit.element_origin(key, name));
        let origin = element.unwrap_or_else(|| self.unit.origin(key));
        let index = self.origins.iter().position(|known| *known == origin).unwrap_or_else(|| {
            self.origins.push(origin);
            self.origins.len() - 1
        });
        // Keys come from the key table and the lists of a unit, which are bounded by the size of its file.
        u16::try_from(index).unwrap_or(u16::MAX)
    }

    /// Does the unit send to the journal by itself? Not where rsvc is to choose among its messages: a socket of the
    /// journal would be a way around that.
    pub fn syslog_is_journals(&self) -> bool {
        self.facts.journald && !self.unit.logging.is_read(self.facts.foreground)
    }

    /// The unit cannot be started here.
    pub fn refuse(&mut self, key: &str, step: &'static str, message: impl Into<String>, hint: Option<&str>) {
        self.errors.push(CompileError {
            origin: self.unit.origin(key),
            step,
            code: step_code(step),
            message: message.into(),
            hint: hint.map(str::to_owned),
        });
    }

    /// The first of several keys behind one step that the author wrote: the line that matters when the step fails.
    pub fn first_written(&self, keys: &[&'static str]) -> Option<&'static str> {
        keys.iter().find(|key| self.unit.is_written(key)).copied()
    }

    /// Something of `key` is left out, and said so.
    pub fn degrade(&mut self, key: &str, why: impl Into<String>) {
        let item = Degraded { key: key.to_owned(), why: why.into() };
        if !self.degraded.contains(&item) {
            self.degraded.push(item);
        }
    }

    /// This host cannot do what `key` says: refused when the author wrote it, unless it is optional; degraded when it
    /// is a default.
    pub fn lacking(&mut self, key: &str, step: &'static str, why: &str, hint: Option<&str>) {
        if self.unit.is_written(key) && !self.unit.is_optional(key) {
            let optional = format!("or list \"{key}\" in security.optional");
            let hint =
                hint.map_or_else(|| optional.trim_start_matches("or ").to_owned(), |h| format!("{h}; {optional}"));
            self.refuse(key, step, format!("{key}: {why}"), Some(&hint));
        } else {
            self.degrade(key, why);
        }
    }
}

/// How the container's user namespace comes about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UserMode {
    /// The daemon's own.
    Host,
    /// New, every id mapped to itself.
    Identity,
    /// New, ranges; of an ordinary user those that it may have, and uid 0 is that user.
    Mapped { uid: Vec<(u32, u32, u32)>, gid: Vec<(u32, u32, u32)> },
    /// New, made by an ordinary user: uid 0 inside is that user, nothing else exists.
    Single,
    /// New, ids 0 to 65535 are these and following outside. Made before the mounts, which it maps, and joined after them.
    Auto { first: u32 },
    /// An existing one, joined after the mounts.
    Path(PathBuf),
}

/// Whose pid namespace the service lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PidMode {
    Private,
    Host,
    /// One that exists: by file, or another unit's.
    Foreign,
}

/// The container as it will be on this host: what the unit wants, after what the host cannot do.
pub(super) struct Shape {
    /// Namespaces as this launch wants them.
    pub namespaces: NamespaceSettings,
    /// The network as this launch wants it.
    pub network: NetworkMode,
    pub user: UserMode,
    pub pid: PidMode,
    /// An own mount namespace: the mount steps are wanted.
    pub mounts: bool,
    /// A fork separates init from the service.
    pub forks: bool,
    /// An own network namespace, new or joined.
    pub own_network: bool,
    /// Made by clone3.
    pub clone: Namespaces,
    /// The cgroup namespace is made by a step, after the attach to v1 groups.
    pub unshare_cgroup: bool,
    /// The time namespace is made by a step.
    pub unshare_time: bool,
}

impl Shape {
    pub fn of(context: &mut Context) -> Shape {
        let (settings, network) = shares::wanted(context);
        let namespaces = &settings;
        let user = user_mode(context);
        let in_user_namespace = !matches!(user, UserMode::Host | UserMode::Auto { .. } | UserMode::Path(_));
        let mounts = namespaces.mount == Isolation::Private;
        let pid = pid_mode(context, &namespaces.pid, in_user_namespace, mounts);
        let forks = match pid {
            PidMode::Private => namespaces.init,
            PidMode::Foreign => true,
            PidMode::Host => false,
        };
        if pid == PidMode::Foreign && !namespaces.init {
            let message = "namespaces.init = false: a process that joins a pid namespace must fork to be in it";
            context.refuse("namespaces.init", "NAMESPACE", message, Some("leave `init` out"));
        }
        let unshare_time = namespaces.time == Isolation::Private;
        if unshare_time && !forks {
            let why = "only children of the process that makes a time namespace are in it, and nothing is forked here";
            context.lacking("namespaces.time", "NAMESPACE", why, Some("keep namespaces.pid private with its init"));
        }
        let private_cgroup = namespaces.cgroup == Isolation::Private;
        let unified = context.facts.cgroups.unified;
        let clone = Namespaces {
            mount: mounts,
            pid: pid == PidMode::Private,
            ipc: namespaces.ipc == Isolation::Private,
            uts: namespaces.uts == Isolation::Private,
            net: network == NetworkMode::Loopback,
            user: in_user_namespace,
            cgroup: private_cgroup && unified,
            time: false,
        };
        Shape {
            own_network: network != NetworkMode::Host,
            unshare_cgroup: private_cgroup && !unified,
            unshare_time: unshare_time && forks,
            user,
            pid,
            mounts,
            forks,
            clone,
            namespaces: settings,
            network,
        }
    }

    /// Host's number of uid 0 of a user namespace with a range of ids.
    pub fn range(&self) -> Option<u32> {
        match self.user {
            UserMode::Auto { first } => Some(first),
            _ => None,
        }
    }

    /// Do the mount steps run in a user namespace below the host's?
    pub fn in_user_namespace(&self) -> bool {
        self.clone.user
    }
}

fn user_mode(context: &mut Context) -> UserMode {
    let unit = context.unit;
    let key = "namespaces.user";
    if context.facts.euid == 0 {
        return match &unit.namespaces.user {
            UserNamespace::Host => UserMode::Host,
            UserNamespace::Identity => UserMode::Identity,
            UserNamespace::Auto => match context.facts.range {
                Some(first) => UserMode::Auto { first },
                None => {
                    context.refuse(key, "USER", "there is no range of ids for its user namespace", None);
                    UserMode::Host
                }
            },
            UserNamespace::Mapped { uid, gid } => UserMode::Mapped { uid: uid.clone(), gid: gid.clone() },
            UserNamespace::Path(path) => UserMode::Path(path.clone()),
        };
    }
    // Without root every namespace needs a user namespace, and the kernel maps one id without help.
    match &unit.namespaces.user {
        UserNamespace::Host if unit.is_written(key) && unit.namespaces.mount == Isolation::Private => {
            context.lacking(key, "USER", "an ordinary user can make containers in a user namespace only", None);
        }
        UserNamespace::Host if subordinate::is_for_another(context) => {
            if let Ok(mode) = subordinate::mode(context.facts) {
                return mode;
            }
            // `identity` says why there is no such user.
        }
        UserNamespace::Host => {}
        UserNamespace::Auto => match subordinate::mode(context.facts) {
            Ok(mode) => return mode,
            Err((why, hint)) => context.lacking(key, "USER", &why, Some(&hint)),
        },
        UserNamespace::Identity | UserNamespace::Mapped { .. } => {
            let why = "an ordinary user can map the own id only, and those that /etc/subuid gives";
            context.lacking(key, "USER", why, Some("set namespaces.user = \"auto\", or run rsvc as root"));
        }
        UserNamespace::Path(_) => {
            let why = "an ordinary user cannot join a user namespace of others";
            context.lacking(key, "USER", why, Some("run rsvc as root"));
        }
    }
    UserMode::Single
}

fn pid_mode(context: &mut Context, pid: &Isolation, in_user_namespace: bool, mounts: bool) -> PidMode {
    match pid {
        Isolation::Host => PidMode::Host,
        Isolation::Path(_) | Isolation::Unit(_) => PidMode::Foreign,
        Isolation::Private if in_user_namespace && mounts && !context.facts.proc_mountable => {
            let why = "parts of the host's /proc are covered by other mounts, so the kernel gives a user namespace no \
                       fresh one, and the old one would show wrong processes";
            context.lacking("namespaces.pid", "NAMESPACE", why, Some("run rsvc outside of the container around it"));
            PidMode::Host
        }
        Isolation::Private => PidMode::Private,
    }
}

//! What a step is called and how it reads: systemd's step name and exit code, a phrase, the manual page.
//!
//! A step alone knows slots by number; [`LaunchPlan::phrase`] looks up what an earlier step put into the slot, so that
//! people read "bind /srv/web/data on /data".

use super::{
    HostStep, LaunchPlan, LimitResource, MountFlags, NamespaceKind, Namespaces, OverlayUpper, SecurityModule, Slot,
    Step,
};
use std::fmt;

impl Step {
    /// The name that systemd gives to such a step: `NAMESPACE`, `USER`, `EXEC`...
    pub fn name(&self) -> &'static str {
        match self {
            Step::EnterUserNamespace
            | Step::MakeUserNamespace { .. }
            | Step::JoinUserNamespace
            | Step::SetIds { .. } => "USER",
            Step::EnterCgroups => "CGROUP",
            Step::JoinNamespace { kind, .. } | Step::JoinUnit { kind, .. } => match kind {
                NamespaceKind::Net => "NETWORK",
                NamespaceKind::User => "USER",
                NamespaceKind::Mount
                | NamespaceKind::Pid
                | NamespaceKind::Ipc
                | NamespaceKind::Uts
                | NamespaceKind::Cgroup
                | NamespaceKind::Time => "NAMESPACE",
            },
            Step::LoopbackUp => "NETWORK",
            Step::NewSession => "SETSID",
            Step::NewSessionKeyring => "KEYRING",
            Step::ConnectJournal { .. } => "STDOUT",
            Step::JoinContainer { .. }
            | Step::UnshareCgroupNamespace
            | Step::UnshareTimeNamespace
            | Step::SetHostname { .. }
            | Step::PrivatePropagation
            | Step::OpenTree { .. }
            | Step::OpenMappedTree { .. }
            | Step::NewFilesystem { .. }
            | Step::NewOverlay { .. }
            | Step::TakeImage { .. }
            | Step::SetAttributes { .. }
            | Step::AttachRoot
            | Step::Attach { .. }
            | Step::MakeDirectory { .. }
            | Step::MakeSymlink { .. }
            | Step::MakeNode { .. }
            | Step::AttachNode { .. }
            | Step::CopyNode { .. }
            | Step::Mask { .. }
            | Step::Restrict { .. }
            | Step::Seal { .. }
            | Step::PivotRoot
            | Step::ForkService => "NAMESPACE",
            Step::SetOomScoreAdjust { .. } => "OOM_ADJUST",
            Step::SetNice { .. } => "NICE",
            // systemd has no word for the umask, which cannot fail.
            Step::SetLimit { .. } | Step::SetUmask { .. } => "LIMITS",
            Step::DropBoundingSet { .. } | Step::SetCapabilities { .. } | Step::VerifyCredentials { .. } => {
                "CAPABILITIES"
            }
            Step::LoadCredential { .. } | Step::SetCredential { .. } | Step::SealCredentials { .. } => "CREDENTIALS",
            Step::SetExecLabel { module: SecurityModule::AppArmor, .. } => "APPARMOR",
            Step::SetExecLabel { module: SecurityModule::SeLinux, .. } => "SELINUX_CONTEXT",
            Step::KeepCapabilities => "SECUREBITS",
            Step::SetGroups { .. } => "GROUP",
            Step::ChangeDirectory { .. } => "CHDIR",
            Step::DenyWriteExecute | Step::LoadFilter { .. } => "SECCOMP",
            Step::NoNewPrivileges => "NO_NEW_PRIVILEGES",
            Step::ResetSignals => "SIGNAL_MASK",
            Step::OpenTerminal => "STDIN",
            Step::ArrangeDescriptors => "FDS",
            Step::Execute { .. } => "EXEC",
            Step::MakeRuleset(_) | Step::EnforceRuleset => "LANDLOCK",
        }
    }

    /// The exit code that systemd gives to a failure of such a step, 200 to 245.
    pub fn code(&self) -> u8 {
        step_code(self.name())
    }

    /// What the step does, to people: `set the hostname to shop`. Slots appear by number; see [`LaunchPlan::phrase`].
    pub fn phrase(&self) -> String {
        self.phrase_with(&|slot| format!("tree {}", slot.0))
    }

    /// The manual page that explains the step's system call.
    pub fn man_page(&self) -> &'static str {
        match self {
            Step::EnterUserNamespace | Step::MakeUserNamespace { .. } => "user_namespaces(7)",
            Step::EnterCgroups => "cgroups(7)",
            Step::JoinNamespace { .. }
            | Step::JoinUnit { .. }
            | Step::JoinContainer { .. }
            | Step::JoinUserNamespace => "setns(2)",
            Step::UnshareCgroupNamespace => "cgroup_namespaces(7)",
            Step::UnshareTimeNamespace => "time_namespaces(7)",
            Step::NewSession => "setsid(2)",
            Step::NewSessionKeyring => "session-keyring(7)",
            Step::ConnectJournal { .. } => "systemd-journald.service(8)",
            Step::SetHostname { .. } => "sethostname(2)",
            Step::LoopbackUp => "netdevice(7)",
            Step::PrivatePropagation => "mount_namespaces(7)",
            Step::OpenTree { .. } => "open_tree(2)",
            Step::OpenMappedTree { .. } => "mount_setattr(2)",
            Step::NewFilesystem { .. } => "fsopen(2)",
            Step::NewOverlay { .. } | Step::TakeImage { .. } => "fsopen(2)",
            Step::SetAttributes { .. } | Step::Restrict { .. } | Step::Seal { .. } => "mount_setattr(2)",
            Step::AttachRoot | Step::Attach { .. } | Step::AttachNode { .. } | Step::Mask { .. } => "move_mount(2)",
            Step::MakeDirectory { .. } => "mkdir(2)",
            Step::MakeSymlink { .. } => "symlink(2)",
            Step::MakeNode { .. } | Step::CopyNode { .. } => "mknod(2)",
            Step::LoadCredential { .. } | Step::SetCredential { .. } => "openat(2)",
            Step::SealCredentials { .. } => "mount_setattr(2)",
            Step::PivotRoot => "pivot_root(2)",
            Step::SetOomScoreAdjust { .. } => "proc_pid_oom_score_adj(5)",
            Step::SetNice { .. } => "setpriority(2)",
            Step::SetLimit { .. } => "prlimit(2)",
            Step::SetUmask { .. } => "umask(2)",
            Step::ForkService => "fork(2)",
            Step::DropBoundingSet { .. } | Step::SetCapabilities { .. } | Step::VerifyCredentials { .. } => {
                "capabilities(7)"
            }
            Step::KeepCapabilities => "PR_SET_KEEPCAPS(2const)",
            Step::SetGroups { .. } => "setgroups(2)",
            Step::SetIds { .. } => "setresuid(2)",
            Step::ChangeDirectory { .. } => "chdir(2)",
            Step::DenyWriteExecute => "PR_SET_MDWE(2const)",
            Step::NoNewPrivileges => "PR_SET_NO_NEW_PRIVS(2const)",
            Step::SetExecLabel { .. } => "proc_pid_attr(5)",
            Step::ResetSignals => "signal(7)",
            Step::OpenTerminal => "pts(4)",
            Step::ArrangeDescriptors => "dup(2)",
            Step::LoadFilter { .. } => "seccomp(2)",
            Step::Execute { .. } => "execve(2)",
            Step::MakeRuleset(_) | Step::EnforceRuleset => "landlock(7)",
        }
    }

    /// The slot that the step fills or works on, if any.
    fn fills(&self, wanted: Slot) -> bool {
        match self {
            Step::OpenTree { slot, .. }
            | Step::OpenMappedTree { slot, .. }
            | Step::NewFilesystem { slot, .. }
            | Step::NewOverlay { slot, .. }
            | Step::TakeImage { slot, .. } => *slot == wanted,
            _ => false,
        }
    }

    /// What a filling step puts into its slot, as a noun, and the verb for attaching it.
    fn content(&self) -> Option<(&'static str, String)> {
        match self {
            Step::OpenTree { path, .. } | Step::OpenMappedTree { path, .. } => {
                Some(("bind", path.display().to_string()))
            }
            Step::NewFilesystem { fs_type, .. } => Some(("mount", fs_type.clone())),
            Step::NewOverlay { .. } => Some(("mount", "overlay".to_owned())),
            Step::TakeImage { path, .. } => Some(("mount", path.display().to_string())),
            _ => None,
        }
    }

    fn phrase_with(&self, name: &dyn Fn(Slot) -> String) -> String {
        match self {
            Step::EnterUserNamespace => "become uid 0 of the new user namespace".to_owned(),
            Step::EnterCgroups => "enter the unit's v1 control groups".to_owned(),
            Step::JoinNamespace { kind, path } => format!("join the {kind} namespace {}", path.display()),
            Step::JoinUnit { kind, unit } => format!("join the {kind} namespace of the unit {unit}"),
            Step::JoinContainer { namespaces } => format!("join the running container: {namespaces}"),
            Step::UnshareCgroupNamespace => "make a cgroup namespace rooted at the unit's group".to_owned(),
            Step::UnshareTimeNamespace => "make a time namespace".to_owned(),
            Step::NewSession => "start a new session".to_owned(),
            Step::NewSessionKeyring => "start with an empty session keyring".to_owned(),
            Step::ConnectJournal { identifier, .. } => format!("connect the journal as {identifier}"),
            Step::MakeUserNamespace { first } => {
                let last = first.saturating_add(super::RANGE_SIZE - 1);
                format!("make a user namespace: ids 0 to 65535 inside are {first} to {last} outside")
            }
            Step::JoinUserNamespace => "join the unit's user namespace".to_owned(),
            Step::SetHostname { name } => format!("set the hostname to {name}"),
            Step::LoopbackUp => "bring the loopback interface up".to_owned(),
            Step::PrivatePropagation => "stop mount propagation from and to the host".to_owned(),
            Step::OpenTree { source, path, recursive, missing_ok, .. } => {
                let place = match source {
                    super::TreeSource::Host => "",
                    super::TreeSource::Root => " of the new root",
                };
                let below = if *recursive { " and all below" } else { "" };
                format!("take {}{place}{below}{}", path.display(), if_present(*missing_ok))
            }
            Step::OpenMappedTree { path, recursive, missing_ok, .. } => {
                let below = if *recursive { " and all below" } else { "" };
                format!("take {}{below} with the unit's ids{}", path.display(), if_present(*missing_ok))
            }
            Step::NewFilesystem { fs_type, options, flags, .. } => {
                let options = options.iter().map(|(key, value)| match value {
                    Some(value) => format!("{key}={value}"),
                    None => key.clone(),
                });
                let words: Vec<String> = options.chain(flag_words(*flags)).collect();
                format!("make a {fs_type}{}", in_brackets(&words))
            }
            Step::NewOverlay { lower, upper, flags, .. } => {
                let lower: Vec<String> = lower.iter().map(|path| path.display().to_string()).collect();
                let upper = match upper {
                    OverlayUpper::Ephemeral { size } => format!("changes in memory, at most {size} bytes"),
                    OverlayUpper::Directory { path } => format!("changes in {}", path.display()),
                    OverlayUpper::None => "no changes".to_owned(),
                };
                let words: Vec<String> = std::iter::once(upper).chain(flag_words(*flags)).collect();
                format!("make an overlay of {}{}", lower.join(" over "), in_brackets(&words))
            }
            Step::TakeImage { path, fs_type, .. } => format!("mount the {fs_type} in {}", path.display()),
            Step::SetAttributes { slot, set, recursive } => {
                let below = if *recursive { " and all below" } else { "" };
                format!("make {}{below} {}", name(*slot), flag_list(*set))
            }
            Step::AttachRoot => format!("make {} the root", name(Slot::ROOT)),
            Step::Attach { slot, at, create } => {
                let missing = if *create == super::Create::SkipMissing { ", if present" } else { "" };
                format!("attach {} on {}{missing}", name(*slot), at.display())
            }
            Step::MakeDirectory { slot, name: path, mode } => {
                format!("make the directory {} in {} (mode {mode:04o})", path.display(), name(*slot))
            }
            Step::MakeSymlink { slot, name: path, target } => {
                format!("make the link {} -> {} in {}", path.display(), target.display(), name(*slot))
            }
            Step::MakeNode { slot, name: path, character, major, minor, mode } => {
                let kind = if *character { "character" } else { "block" };
                format!(
                    "make the {kind} device {} {major}:{minor} in {} (mode {mode:04o})",
                    path.display(),
                    name(*slot)
                )
            }
            Step::AttachNode { node, slot, name: path } => {
                format!("put {} on {} in {}", name(*node), path.display(), name(*slot))
            }
            Step::CopyNode { node, slot, name: path } => {
                format!("make a device like {} as {} in {}", name(*node), path.display(), name(*slot))
            }
            Step::Mask { at, closed, missing_ok } => {
                let verb = if *closed { "close" } else { "hide" };
                format!("{verb} {}{}", at.display(), if_present(*missing_ok))
            }
            Step::Restrict { at, set, recursive, missing_ok } => {
                let below = if *recursive { " and all below" } else { "" };
                format!("make {}{below} {}{}", at.display(), flag_list(*set), if_present(*missing_ok))
            }
            Step::Seal { slot, set } => format!("make {} {}", name(*slot), flag_list(*set)),
            Step::LoadCredential { name, path, missing_ok, .. } => {
                format!("load the credential {name} from {}{}", path.display(), if_present(*missing_ok))
            }
            Step::SetCredential { name, .. } => format!("write the credential {name} of the unit file"),
            Step::SealCredentials { uid, gid, .. } => {
                format!("give the credentials to uid {uid}, gid {gid} and make them read-only")
            }
            Step::PivotRoot => "leave the host's tree".to_owned(),
            Step::SetOomScoreAdjust { value } => format!("set oom_score_adj to {value}"),
            Step::SetNice { value } => format!("set the nice value to {value}"),
            Step::SetLimit { resource, soft, hard } => {
                format!("limit {resource} to {} (hard {})", limit(*soft), limit(*hard))
            }
            Step::SetUmask { mask } => format!("set the umask to {mask:04o}"),
            Step::ForkService => "fork the service; the steps below are its own".to_owned(),
            Step::SetExecLabel { module, label } => format!("ask {} for the label {label}", module.name()),
            Step::DropBoundingSet { keep } => format!("bound the capabilities to {keep}"),
            Step::KeepCapabilities => "keep capabilities while the ids change".to_owned(),
            Step::SetGroups { groups } => {
                let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
                let groups = if groups.is_empty() { "none".to_owned() } else { groups.join(" ") };
                format!("set the supplementary groups to {groups}")
            }
            Step::SetIds { uid, gid } => format!("become uid {uid}, gid {gid}"),
            Step::SetCapabilities { permitted, inheritable, ambient } => {
                format!("set the capabilities: permitted {permitted}; inheritable {inheritable}; ambient {ambient}")
            }
            Step::ChangeDirectory { path, missing_ok } => {
                format!("change to the directory {}{}", path.display(), if_present(*missing_ok))
            }
            Step::DenyWriteExecute => "forbid memory that is both writable and executable".to_owned(),
            Step::NoNewPrivileges => "set no_new_privs".to_owned(),
            Step::VerifyCredentials { uid, gid, groups, bounding, no_new_privileges, .. } => {
                let groups = if groups.is_some() { ", groups" } else { "" };
                let privileges = if *no_new_privileges { ", no_new_privs" } else { "" };
                format!("check by reading back: uid {uid}, gid {gid}{groups}{privileges}, bounding set {bounding}")
            }
            Step::ResetSignals => "reset all signals".to_owned(),
            Step::OpenTerminal => "open a terminal of its own and control it".to_owned(),
            Step::ArrangeDescriptors => "arrange standard input, output and error; close the rest".to_owned(),
            Step::LoadFilter { program, log, rules } => {
                let log = if *log { ", logging" } else { "" };
                let notify = if program.asks_listener() { ", denied calls recorded" } else { "" };
                let rules = if rules.is_empty() { String::new() } else { format!(": {}", rules.join("; ")) };
                format!("load a system-call filter ({} instructions{log}{notify}){rules}", program.0.len())
            }
            Step::Execute { argv, .. } => format!("execute {}", shell_words(argv)),
            Step::MakeRuleset(ruleset) => format!("make a Landlock rule set: {ruleset}"),
            Step::EnforceRuleset => "be bound by the Landlock rule set".to_owned(),
        }
    }
}

impl LaunchPlan {
    /// What step `index` does, slots named by their content: `bind /srv/web/data on /data`.
    pub fn phrase(&self, index: usize) -> String {
        let Some(planned) = self.steps.get(index) else { return format!("step {index}") };
        let content = |slot: Slot| {
            let filled = self.steps[..index].iter().rev().find(|earlier| earlier.step.fills(slot))?;
            filled.step.content()
        };
        let place = |slot: Slot| {
            self.steps[..index].iter().rev().find_map(|earlier| match &earlier.step {
                Step::Attach { slot: attached, at, .. } if *attached == slot => Some(at.display().to_string()),
                _ => None,
            })
        };
        if let Step::Attach { slot, at, create } = &planned.step
            && let Some((verb, what)) = content(*slot)
        {
            let missing = if *create == super::Create::SkipMissing { ", if present" } else { "" };
            return format!("{verb} {what} on {}{missing}", at.display());
        }
        if matches!(planned.step, Step::AttachRoot)
            && let Some(("bind", what)) = content(Slot::ROOT)
        {
            return format!("make the copy of {what} the root");
        }
        planned.step.phrase_with(&|slot| {
            // What is attached already is known by its place, what is still detached by its content.
            match (place(slot), content(slot)) {
                (Some(place), _) => place,
                (None, Some(("bind", what))) => format!("the copy of {what}"),
                (None, Some((_, what))) => format!("the {what}"),
                (None, None) => format!("tree {}", slot.0),
            }
        })
    }
}

impl HostStep {
    /// What the step does, to people.
    pub fn phrase(&self) -> String {
        match self {
            HostStep::Directory { base, name, mode, uid, gid, .. } => {
                format!("directory {} (mode {mode:04o}, owner {uid}:{gid})", base.join(name).display())
            }
        }
    }
}

/// systemd's exit code of a step name; 245 for a name that it does not have.
pub fn step_code(name: &str) -> u8 {
    match name {
        "CHDIR" => 200,
        "NICE" => 201,
        "FDS" => 202,
        "EXEC" => 203,
        "LIMITS" => 205,
        "OOM_ADJUST" => 206,
        "SIGNAL_MASK" => 207,
        "STDIN" => 208,
        "STDOUT" => 209,
        "SECUREBITS" => 213,
        "GROUP" => 216,
        "USER" => 217,
        "CAPABILITIES" => 218,
        "CGROUP" => 219,
        "SETSID" => 220,
        "STDERR" => 222,
        "NETWORK" => 225,
        "NAMESPACE" => 226,
        "NO_NEW_PRIVILEGES" => 227,
        "SECCOMP" => 228,
        "SELINUX_CONTEXT" => 229,
        "APPARMOR" => 231,
        "ADDRESS_FAMILIES" => 232,
        "RUNTIME_DIRECTORY" => 233,
        "KEYRING" => 237,
        "STATE_DIRECTORY" => 238,
        "CACHE_DIRECTORY" => 239,
        "LOGS_DIRECTORY" => 240,
        "CONFIGURATION_DIRECTORY" => 241,
        "CREDENTIALS" => 243,
        "LANDLOCK" => 244,
        _ => 245,
    }
}

impl fmt::Display for NamespaceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NamespaceKind::Mount => "mount",
            NamespaceKind::Pid => "pid",
            NamespaceKind::Ipc => "ipc",
            NamespaceKind::Uts => "uts",
            NamespaceKind::Net => "network",
            NamespaceKind::User => "user",
            NamespaceKind::Cgroup => "cgroup",
            NamespaceKind::Time => "time",
        })
    }
}

/// `none`, or the kinds with a space between them.
impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            (self.mount, "mount"),
            (self.pid, "pid"),
            (self.ipc, "ipc"),
            (self.uts, "uts"),
            (self.net, "network"),
            (self.user, "user"),
            (self.cgroup, "cgroup"),
            (self.time, "time"),
        ];
        let words: Vec<&str> = kinds.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
        f.write_str(&if words.is_empty() { "none".to_owned() } else { words.join(" ") })
    }
}

/// The name in a unit's `resources.rlimits`.
impl fmt::Display for LimitResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

/// A limit as people write it.
fn limit(value: u64) -> String {
    if value == u64::MAX { "infinity".to_owned() } else { value.to_string() }
}

/// The words of mount(8) for attributes.
fn flag_words(flags: MountFlags) -> Vec<String> {
    let words = [
        (flags.read_only, "read-only"),
        (flags.no_suid, "nosuid"),
        (flags.no_dev, "nodev"),
        (flags.no_exec, "noexec"),
        (flags.no_atime, "noatime"),
        (flags.no_symlinks, "nosymfollow"),
    ];
    words.iter().filter(|(set, _)| *set).map(|(_, word)| (*word).to_owned()).collect()
}

fn flag_list(flags: MountFlags) -> String {
    flag_words(flags).join(", ")
}

fn in_brackets(words: &[String]) -> String {
    if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
}

fn if_present(missing_ok: bool) -> &'static str {
    if missing_ok { ", if present" } else { "" }
}

/// Words as a shell would take them; control characters escaped, so that a unit cannot draw on the reader's terminal.
pub(super) fn shell_words(words: &[String]) -> String {
    let quoted = words.iter().map(|word| {
        let plain = !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_./:=,@%+".contains(c));
        if plain { word.clone() } else { format!("'{}'", printable(&word.replace('\'', "'\\''"))) }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Control characters as `\n`, `\x1b`...
pub(super) fn printable(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

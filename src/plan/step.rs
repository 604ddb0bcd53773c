//! The privileged vocabulary of the set-up stage: one variant, one operation, no decision.
//!
//! Steps before [`Step::ForkService`] run in the set-up stage, which is PID 1 of a new pid namespace; steps after it
//! run in the service's own process, while PID 1 executes the resident init. Without `ForkService` one process runs
//! them all and becomes the service.
//!
//! Mount objects live in numbered [`Slot`]s: descriptors that steps open, adjust while still detached, and attach.
//! No path is resolved twice: a path is opened once (`openat2`), everything after goes through the descriptor.

use super::filter::FilterProgram;
use super::mount::{Create, MountFlags, OverlayUpper, TreeSource};
use super::{CapabilitySet, Ruleset, SecurityModule};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Number of a mount object held by the set-up stage. Slot 0 is the root tree by convention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Slot(pub u16);

impl Slot {
    /// The tree that becomes the root.
    pub const ROOT: Slot = Slot(0);
}

/// Namespaces as a set, in the order of namespaces(7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// CLONE_NEWNS
    pub mount: bool,
    /// CLONE_NEWPID
    pub pid: bool,
    /// CLONE_NEWIPC
    pub ipc: bool,
    /// CLONE_NEWUTS
    pub uts: bool,
    /// CLONE_NEWNET
    pub net: bool,
    /// CLONE_NEWUSER
    pub user: bool,
    /// CLONE_NEWCGROUP, together with birth into the group (v2). On v1 it is `Step::UnshareCgroupNamespace`.
    pub cgroup: bool,
    /// CLONE_NEWTIME is made by `Step::UnshareTimeNamespace`, never by clone3.
    pub time: bool,
}

/// One kind of namespace, for joining by path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NamespaceKind {
    /// mnt
    Mount,
    /// pid (affects only children: a fork must follow)
    Pid,
    /// ipc
    Ipc,
    /// uts
    Uts,
    /// net
    Net,
    /// user
    User,
    /// cgroup
    Cgroup,
    /// time
    Time,
}

/// Resource limits of setrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)] // The names are those of setrlimit(2).
pub enum LimitResource {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

/// One operation of the set-up stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    // ── entering ────────────────────────────────────────────────────────────────────────────────────────────────
    /// Waits for the daemon's byte (id maps are written), then setresgid(0), setresuid(0) in the user namespace.
    EnterUserNamespace,
    /// Writes `0` to each inherited `cgroup.procs` descriptor (v1 hierarchies); nothing on pure v2.
    EnterCgroups,
    /// setns(2) on a path such as `/run/netns/blue`. Fails unless it is a namespace of that kind.
    ///
    /// The path is the host's: the stage opens the files of all these steps before it runs the first step, as a user
    /// namespace is joined only after `PivotRoot` (the mounts belong to the namespace around it).
    JoinNamespace {
        /// Kind expected.
        kind: NamespaceKind,
        /// File on the host.
        path: PathBuf,
    },
    /// setns(2) on the inherited descriptor of a namespace of another unit, which the daemon has opened and looked at.
    /// Fails unless it is a namespace of that kind.
    JoinUnit {
        /// Kind expected.
        kind: NamespaceKind,
        /// The other unit.
        unit: String,
    },
    /// setns(2) on the inherited pidfd of the unit's PID 1: all of its namespaces that differ from ours.
    JoinContainer {
        /// Which namespaces to join.
        namespaces: Namespaces,
    },
    /// unshare(CLONE_NEWCGROUP), after the attach to v1 groups.
    UnshareCgroupNamespace,
    /// unshare(CLONE_NEWTIME); affects children, so it stands before `ForkService`.
    UnshareTimeNamespace,
    /// setsid(2).
    NewSession,
    /// keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL): an empty session keyring.
    NewSessionKeyring,
    /// Connects `/run/systemd/journal/stdout` of the host, before mounts change; becomes standard output and error.
    /// Sets `JOURNAL_STREAM` in the environment.
    ConnectJournal {
        /// SYSLOG_IDENTIFIER.
        identifier: String,
        /// Default priority, 0 to 7.
        priority: u8,
    },
    /// Makes a user namespace in which ids 0 to 65535 are `first` and following outside (`namespaces.user = "auto"`). The
    /// stage stays where it is, and until `PivotRoot` acts on files as root of that namespace: what it makes belongs there.
    /// Layers of overlays that follow are mapped.
    MakeUserNamespace {
        /// Number outside of uid 0 and gid 0.
        first: u32,
    },
    /// setns(2) into the user namespace that was made, or that of the running container.
    JoinUserNamespace,
    /// sethostname(2) in the new UTS namespace.
    SetHostname {
        /// At most 64 bytes.
        name: String,
    },
    /// Sets the loopback interface up; the kernel gives it 127.0.0.1/8 and ::1.
    LoopbackUp,

    // ── mounts ──────────────────────────────────────────────────────────────────────────────────────────────────
    /// mount_setattr(/, recursive, private): later mounts of the host do not appear inside, nor ours outside.
    PrivatePropagation,
    /// open_tree(OPEN_TREE_CLONE) of an existing path into a slot. `missing_ok`: leaves the slot empty when the path
    /// does not exist; every later step on an empty slot is skipped.
    OpenTree {
        /// Receives the detached tree.
        slot: Slot,
        /// Host or new root.
        source: TreeSource,
        /// Absolute path.
        path: PathBuf,
        /// With submounts.
        recursive: bool,
        /// `true` for paths written with a leading `-` and for built-in masks.
        missing_ok: bool,
    },
    /// open_tree(OPEN_TREE_CLONE) of a path of the host, and mount_setattr(MOUNT_ATTR_IDMAP) of it and each mount below with
    /// the user namespace that was made: id N of a file is N inside. Where that cannot be, files are nobody's; when the
    /// service is to write there, the step fails.
    OpenMappedTree {
        /// Receives the detached trees.
        slot: Slot,
        /// Absolute path.
        path: PathBuf,
        /// With submounts.
        recursive: bool,
        /// As of `OpenTree`.
        missing_ok: bool,
        /// The author wrote that the service writes there.
        writable: bool,
    },
    /// fsopen, fsconfig for each option, fsmount: a new file system, detached, in a slot.
    NewFilesystem {
        /// Receives the detached mount.
        slot: Slot,
        /// `tmpfs`, `proc`, `devpts`, `mqueue`, `sysfs`, `cgroup2`, ...
        fs_type: String,
        /// fsconfig strings; `None` as value sets a flag.
        options: Vec<(String, Option<String>)>,
        /// Mount attributes given to fsmount.
        flags: MountFlags,
    },
    /// An overlay of host directories. The upper layer lies on a file system that is attached (kernels before 6.18
    /// refuse a detached one).
    NewOverlay {
        /// Receives the detached mount.
        slot: Slot,
        /// Read-only layers, topmost first, host paths.
        lower: Vec<PathBuf>,
        /// Writable layer.
        upper: OverlayUpper,
        /// Mount attributes.
        flags: MountFlags,
    },
    /// A file system in a file of the host, read-only, which the daemon has mounted ([`super::wire::Descriptors::image`]):
    /// only root of the host's user namespace may do that.
    TakeImage {
        /// Receives the detached mount.
        slot: Slot,
        /// The file, on the host.
        path: PathBuf,
        /// `squashfs` or `erofs`.
        fs_type: String,
    },
    /// mount_setattr on a detached tree: adds `set`.
    SetAttributes {
        /// The tree.
        slot: Slot,
        /// Flags to add.
        set: MountFlags,
        /// All submounts too.
        recursive: bool,
    },
    /// move_mount of slot 0 onto `/` and fchdir into it: from here on "the new root" exists.
    AttachRoot,
    /// move_mount of a slot onto `at` in the new root (openat2 with RESOLVE_IN_ROOT, no magic links). The slot's
    /// descriptor stays valid and now names the attached mount.
    Attach {
        /// The tree.
        slot: Slot,
        /// Absolute path in the new root.
        at: PathBuf,
        /// Missing targets.
        create: Create,
    },
    /// Makes a directory inside the attached file system of a slot.
    MakeDirectory {
        /// File system.
        slot: Slot,
        /// Relative path; the parents exist.
        name: PathBuf,
        /// Permission bits (umask does not apply).
        mode: u32,
    },
    /// Makes a symbolic link inside the attached file system of a slot.
    MakeSymlink {
        /// File system.
        slot: Slot,
        /// Relative path of the link.
        name: PathBuf,
        /// Content.
        target: PathBuf,
    },
    /// Makes a device node inside the attached file system of a slot with mknod. The host's node of that path was
    /// checked by the daemon for its numbers.
    MakeNode {
        /// File system.
        slot: Slot,
        /// Relative path.
        name: PathBuf,
        /// Character (else block) device.
        character: bool,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
        /// Permission bits.
        mode: u32,
    },
    /// Attaches a slot on an empty file made for it inside the attached file system of another slot: how device nodes
    /// and sockets get into a private `/dev` where mknod is refused (user namespaces).
    AttachNode {
        /// What is attached (a clone of one file).
        node: Slot,
        /// File system.
        slot: Slot,
        /// Relative path.
        name: PathBuf,
    },
    /// Makes a device node like the one in a slot (numbers, mode, and its owner's number inside) in the attached file system
    /// of another: a copy of the mount would be nobody's in a user namespace with a range of ids.
    CopyNode {
        /// A clone of one file.
        node: Slot,
        /// File system.
        slot: Slot,
        /// Relative path.
        name: PathBuf,
    },
    /// Hides `at` in the new root: a directory under an empty read-only tmpfs, anything else under an empty
    /// read-only file of our own; both are made once and cloned. Nothing that the container controls is used.
    Mask {
        /// Absolute path in the new root.
        at: PathBuf,
        /// `true`: of mode 0, so that an ordinary user is told EACCES instead of seeing something empty.
        closed: bool,
        /// `true`: nothing to do when it does not exist.
        missing_ok: bool,
    },
    /// mount_setattr on what is attached at `at` in the new root, cloned on top of itself first when `at` is not a
    /// mount point: for read-only and no-exec paths below other mounts.
    Restrict {
        /// Absolute path in the new root.
        at: PathBuf,
        /// Flags to add.
        set: MountFlags,
        /// All submounts too.
        recursive: bool,
        /// `true`: nothing to do when it does not exist.
        missing_ok: bool,
    },
    /// mount_setattr on the attached mount of a slot (tmpfs roots and `/dev`, once filled).
    Seal {
        /// The mount.
        slot: Slot,
        /// Flags to add.
        set: MountFlags,
    },
    /// Copies files of the host into the detached file system of a slot: the credential `name`, or `name_FILE` for each
    /// file of a directory. The daemon has opened them, with its rights ([`super::wire::Descriptors::credentials`]).
    LoadCredential {
        /// File system.
        slot: Slot,
        /// Name of the credential.
        name: String,
        /// Where it comes from on the host, absolute.
        path: PathBuf,
        /// `true`: nothing to do when it does not exist.
        missing_ok: bool,
    },
    /// Writes a credential whose text stands in the unit ([`super::wire::PerStart::credentials`]), unless one of that
    /// name was loaded.
    SetCredential {
        /// File system.
        slot: Slot,
        /// Name of the credential.
        name: String,
    },
    /// Gives a slot's detached file system of credentials to the service's user, directory 0500, files 0400, and makes it
    /// read-only.
    SealCredentials {
        /// File system.
        slot: Slot,
        /// Owner as seen in the user namespace of the mounts.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// pivot_root(".", "."), umount2(".", MNT_DETACH), chdir("/").
    PivotRoot,

    // ── attributes of the process ───────────────────────────────────────────────────────────────────────────────
    /// Writes `/proc/self/oom_score_adj`, through a private procfs.
    SetOomScoreAdjust {
        /// -1000 to 1000.
        value: i32,
    },
    /// setpriority(2).
    SetNice {
        /// -20 to 19.
        value: i32,
    },
    /// prlimit(2). A raise above the hard limit that is refused is clamped and reported when `may_fail`.
    SetLimit {
        /// Which.
        resource: LimitResource,
        /// `u64::MAX` is unlimited.
        soft: u64,
        /// `u64::MAX` is unlimited.
        hard: u64,
    },
    /// umask(2).
    SetUmask {
        /// Permission bits.
        mask: u32,
    },

    // ── the fork ────────────────────────────────────────────────────────────────────────────────────────────────
    /// The child goes on with the next step; the parent executes the resident init (own container) or waits for the
    /// child and ends like it (joined container). The child loads no filter and executes nothing before init is ready.
    ForkService,

    // ── the service's own process ───────────────────────────────────────────────────────────────────────────────
    /// Asks a security module for the label that the next execve(2) gives this process: writes to
    /// `/proc/thread-self/attr`, through the host's procfs or a private one.
    SetExecLabel {
        /// Which module.
        module: SecurityModule,
        /// Profile, or context.
        label: String,
    },
    /// Drops every capability not in `keep` from the bounding set, up to the kernel's last.
    DropBoundingSet {
        /// What stays.
        keep: CapabilitySet,
    },
    /// Securebits KEEP_CAPS (until the ids are set).
    KeepCapabilities,
    /// setgroups(2), exact list.
    SetGroups {
        /// Group ids as seen in the user namespace.
        groups: Vec<u32>,
    },
    /// setresgid(2) then setresuid(2).
    SetIds {
        /// User id as seen in the user namespace.
        uid: u32,
        /// Group id.
        gid: u32,
    },
    /// capset(2): effective, permitted and inheritable in one call, then the ambient set.
    SetCapabilities {
        /// Effective and permitted.
        permitted: CapabilitySet,
        /// Inheritable.
        inheritable: CapabilitySet,
        /// Ambient.
        ambient: CapabilitySet,
    },
    /// chdir(2), as the service's user; afterwards getcwd must name an absolute path inside the root.
    ChangeDirectory {
        /// Absolute path.
        path: PathBuf,
        /// `true`: `/` when it does not exist.
        missing_ok: bool,
    },
    /// prctl(PR_SET_MDWE): no memory both writable and executable (since Linux 6.3).
    DenyWriteExecute,
    /// prctl(PR_SET_NO_NEW_PRIVS).
    NoNewPrivileges,
    /// Reads ids, groups, the five capability sets and no_new_privs back and compares; any difference fails.
    VerifyCredentials {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
        /// Supplementary groups, sorted; `None`: not checked (they could not be set without privilege).
        groups: Option<Vec<u32>>,
        /// Bounding set; intersected with what the kernel knows.
        bounding: CapabilitySet,
        /// Permitted before exec.
        permitted: CapabilitySet,
        /// Inheritable.
        inheritable: CapabilitySet,
        /// Ambient.
        ambient: CapabilitySet,
        /// no_new_privs.
        no_new_privileges: bool,
    },
    /// All signals to their default action, empty mask (SIGPIPE too, which the Rust runtime ignores).
    ResetSignals,
    /// Opens a terminal in the container's devpts (`/dev/ptmx`), makes it the controlling one of this session, and
    /// standard input, output and error. The daemon, or the caller of a command, is sent both sides ([`super::wire::Report::Terminal`]). Stands after
    /// the ids are set: a terminal belongs to who opens it; and before the filter.
    OpenTerminal,
    /// Standard input from `/dev/null`, standard output and error from what was connected or inherited; every other
    /// descriptor close-on-exec. Stands before `PivotRoot` for the opening, see `init::run_step`.
    ArrangeDescriptors,
    /// seccomp(2) SECCOMP_SET_MODE_FILTER; the last steps before `Execute`.
    LoadFilter {
        /// The program.
        program: FilterProgram,
        /// SECCOMP_FILTER_FLAG_LOG: denied calls are logged by the kernel.
        log: bool,
        /// What the unit says of arguments, in words; the program has it.
        rules: Vec<String>,
    },
    /// execve(2). A name without `/` is looked up in `PATH` of the environment.
    Execute {
        /// argv; the first is the program.
        argv: Vec<String>,
        /// Environment, without what [`super::wire::PerStart`] adds.
        environment: Vec<(String, String)>,
    },

    // ── Landlock ────────────────────────────────────────────────────────────────────────────────────────────────
    /// landlock_create_ruleset(2), and landlock_add_rule(2) for each rule. Stands in the finished tree and while the
    /// process may still search every directory.
    MakeRuleset(Box<Ruleset>),
    /// landlock_restrict_self(2) with what `MakeRuleset` made. Stands after no_new_privs and before the filters.
    EnforceRuleset,
}

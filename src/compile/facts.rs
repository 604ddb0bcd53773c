//! What compile needs to know of the host; gathered by `daemon::host`, or assumed.

use super::Subordinate;
use super::dev::STANDARD_NODES;
use crate::plan::{CapabilitySet, SecurityModule};
use crate::unit::Unit;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A user of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UserFact {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: String,
    pub shell: String,
    /// Supplementary groups from the group data base (initgroups(3)), without the primary one.
    pub groups: Vec<u32>,
}

/// A group of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct GroupFact {
    pub name: String,
    pub gid: u32,
}

/// Numbers of a device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct DeviceNumbers {
    pub character: bool,
    pub major: u32,
    pub minor: u32,
}

/// What the control groups offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroups {
    /// Pure v2: birth into the group and its namespace in one clone3.
    pub unified: bool,
    /// Names of controllers that can be used, in v2 words: `memory`, `pids`, `cpu`, `cpuset`, `io`, `hugetlb`,
    /// `devices`.
    pub controllers: Vec<String>,
    /// v1 controllers among them (a limit that only v2 knows is refused for these).
    pub v1_controllers: Vec<String>,
    /// v2 controllers stay off because other processes share the group that rsvc was started in ("no internal
    /// processes"): a login session, mostly.
    pub crowded: bool,
    /// `false`: no group can be made at all (ordinary user without delegation).
    pub available: bool,
    /// Can a unit's group judge the packets of its sockets, and the ports that they bind?
    pub packets: PacketPrograms,
}

/// Programs that look at packets and ports, on groups of the v2 tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketPrograms {
    /// They can be loaded and attached.
    Possible,
    /// No v2 tree is mounted.
    NoTree,
    /// The kernel has none (CONFIG_CGROUP_BPF), or does not take them from this process (CAP_BPF, CAP_NET_ADMIN).
    Refused,
}

/// Everything compile may ask about the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// Effective uid of the daemon; not 0: an ordinary user's `rsvc run`, a user namespace is needed.
    pub euid: u32,
    /// Its gid.
    pub egid: u32,
    /// Capabilities that the daemon itself has; a bounding set can only shrink.
    pub capabilities: CapabilitySet,
    /// Highest capability number that the kernel knows.
    pub last_capability: u32,
    /// `/run/systemd/journal/stdout` accepts connections.
    pub journald: bool,
    /// Control groups.
    pub cgroups: Cgroups,
    /// Runtime directory of this instance, such as `/run/rsvc`.
    pub runtime_dir: PathBuf,
    /// State directory, such as `/var/lib/rsvc`.
    pub state_dir: PathBuf,
    /// Unit directories, hidden in the sandbox when below /run or /var.
    pub unit_path: Vec<PathBuf>,
    /// Where `directories.*` live: `/run`, `/var/lib`, `/var/cache`, `/var/log`, `/etc`, or below the instance's own
    /// directories when those are redirected.
    pub directory_roots: DirectoryRoots,
    /// `rsvc run`: `logging.target = "auto"` means the terminal.
    pub foreground: bool,
    /// `rsvc run --pty`: the main process gets a terminal of its own.
    pub terminal: bool,
    /// Variables that are passed on from the environment of the caller; see [`super::Needs::variables`].
    pub environment: BTreeMap<String, String>,
    /// Users that the unit names (by name, or by number as text).
    pub users: BTreeMap<String, UserFact>,
    /// Groups that the unit names.
    pub groups: BTreeMap<String, GroupFact>,
    /// First of the 65536 ids that the unit has for its user namespace; `None`: it wants none.
    pub range: Option<u32>,
    /// The user that the unit has for itself; `None`: it wants none.
    pub own_user: Option<u32>,
    /// What an ordinary user may map besides itself.
    pub subordinate: Subordinate,
    /// Nodes under `/dev` that are asked for, and the standard six.
    pub devices: BTreeMap<PathBuf, DeviceNumbers>,
    /// Those of [`super::Needs::paths`] that exist on the host; other paths are harmless.
    pub existing: Vec<PathBuf>,
    /// Security modules that label processes here.
    pub security_modules: Vec<SecurityModule>,
    /// PR_SET_MDWE is known (6.3).
    pub mdwe: bool,
    /// Version of the Landlock interface; `None`: missing or switched off.
    pub landlock: Option<u32>,
    /// A filter may leave answers to a listener (5.0).
    pub seccomp_listeners: bool,
    /// Hard limit of open files of the daemon.
    pub nofile_hard: u64,
    /// The daemon has CAP_SYS_RESOURCE: may raise hard limits and lower oom_score_adj.
    pub may_raise_limits: bool,
    /// The host's /proc has nothing mounted over it (else a user namespace may not mount a fresh one).
    pub proc_mountable: bool,
    /// Locale for LANG, from /etc/default/locale or /etc/locale.conf; `C.UTF-8` else.
    pub lang: String,
}

/// Host directories behind `directories.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct DirectoryRoots {
    pub runtime: PathBuf,
    pub state: PathBuf,
    pub cache: PathBuf,
    pub logs: PathBuf,
    pub configuration: PathBuf,
}

impl HostFacts {
    /// A current Debian host with pure cgroup v2 and journald, run by root, for `rsvc check` and tests. Knows no user,
    /// group or device yet: see [`HostFacts::assumed_for`].
    pub fn assumed() -> HostFacts {
        let controllers = ["memory", "pids", "cpu", "cpuset", "io", "hugetlb", "devices"];
        HostFacts {
            euid: 0,
            egid: 0,
            capabilities: CapabilitySet::up_to(LAST_CAPABILITY),
            last_capability: LAST_CAPABILITY,
            journald: true,
            cgroups: Cgroups {
                unified: true,
                controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
                v1_controllers: Vec::new(),
                crowded: false,
                available: true,
                packets: PacketPrograms::Possible,
            },
            runtime_dir: "/run/rsvc".into(),
            state_dir: "/var/lib/rsvc".into(),
            unit_path: ["/etc/rsvc/units", "/run/rsvc/units", "/usr/lib/rsvc/units"].map(PathBuf::from).to_vec(),
            directory_roots: DirectoryRoots::default(),
            foreground: false,
            terminal: false,
            environment: BTreeMap::new(),
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
            range: None,
            own_user: None,
            subordinate: Subordinate::Unasked,
            devices: BTreeMap::new(),
            existing: Vec::new(),
            security_modules: Vec::new(),
            mdwe: true,
            landlock: Some(7),
            seccomp_listeners: true,
            nofile_hard: 1 << 20,
            may_raise_limits: true,
            proc_mountable: true,
            lang: "C.UTF-8".to_owned(),
        }
    }

    /// [`HostFacts::assumed`], on which all users, groups and devices that `unit` names exist. Names get numbers from
    /// 901 on, in their alphabetical order.
    pub fn assumed_for(unit: &Unit) -> HostFacts {
        let needs = super::needs(unit);
        let mut facts = HostFacts::assumed();
        for (key, next) in needs.users.iter().zip(901..) {
            let id = if key == "root" { 0 } else { key.parse().unwrap_or(next) };
            let user = UserFact {
                name: key.clone(),
                uid: id,
                gid: id,
                home: "/nonexistent".to_owned(),
                shell: "/usr/sbin/nologin".to_owned(),
                groups: Vec::new(),
            };
            facts.users.insert(key.clone(), user);
        }
        for (key, next) in needs.groups.iter().zip(901..) {
            let gid = if key == "root" { 0 } else { key.parse().unwrap_or(next) };
            facts.groups.insert(key.clone(), GroupFact { name: key.clone(), gid });
        }
        facts.range = needs.range.then_some(FIRST_RANGE);
        facts.own_user = needs.own_user.then_some(FIRST_USER);
        for (path, minor) in needs.devices.iter().zip(0..) {
            let standard = STANDARD_NODES.iter().find(|node| path.strip_prefix("/dev") == Ok(Path::new(node.name)));
            let numbers = match standard {
                Some(node) => DeviceNumbers { character: true, major: node.major, minor: node.minor },
                // 240 to 254 are for local use (Documentation/admin-guide/devices.txt).
                None => DeviceNumbers { character: true, major: 240, minor },
            };
            facts.devices.insert(path.clone(), numbers);
        }
        facts
    }
}

impl Default for DirectoryRoots {
    /// The system daemon's.
    fn default() -> DirectoryRoots {
        DirectoryRoots {
            runtime: "/run".into(),
            state: "/var/lib".into(),
            cache: "/var/cache".into(),
            logs: "/var/log".into(),
            configuration: "/etc".into(),
        }
    }
}

/// Where ranges of ids for user namespaces begin, which is where those of systemd's containers do.
pub const FIRST_RANGE: u32 = 524_288;

/// First of the users that units have for themselves, which are also those of systemd.
pub const FIRST_USER: u32 = 61_184;

/// CAP_CHECKPOINT_RESTORE, the newest one (Linux 5.9).
const LAST_CAPABILITY: u32 = 40;

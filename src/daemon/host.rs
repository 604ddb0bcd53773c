//! What this host is and has: the facts that `compile` builds a plan from.
//!
//! What cannot change while the daemon runs is asked once; accounts, devices and the journal are asked at each start,
//! cheaply (5,000 units may start in a row). Features are tried, never deduced from the kernel's version.

use super::accounts::{AccountError, Accounts};
use super::environment_files;
use crate::compile::{Cgroups, DeviceNumbers, DirectoryRoots, HostFacts, Subordinate};
use crate::plan::{CapabilitySet, SecurityModule};
use crate::sys;
use rustix::fs::{FileType, major, minor};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Component, Path, PathBuf};

/// The journal's stream socket, which becomes a service's standard output.
pub const JOURNAL_STREAM: &str = "/run/systemd/journal/stdout";

/// Nodes of every private `/dev`.
const STANDARD_DEVICES: [&str; 6] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// CAP_SYS_RESOURCE
const SYS_RESOURCE: u32 = 24;

/// Where this instance keeps things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Such as `/run/rsvc`.
    pub runtime_dir: PathBuf,
    /// Such as `/var/lib/rsvc`.
    pub state_dir: PathBuf,
    /// Unit directories, first wins.
    pub unit_path: Vec<PathBuf>,
    /// The runtime or state directory was given by flag or environment: directories of services live below them too.
    pub redirected: bool,
    /// `rsvc run`.
    pub foreground: bool,
}

impl Instance {
    /// Where `directories.*` live on the host.
    pub fn directory_roots(&self) -> DirectoryRoots {
        if !self.redirected {
            return DirectoryRoots {
                runtime: "/run".into(),
                state: "/var/lib".into(),
                cache: "/var/cache".into(),
                logs: "/var/log".into(),
                configuration: "/etc".into(),
            };
        }
        // Beside the instance's own files, never among them.
        let state = self.state_dir.join("directories");
        DirectoryRoots {
            runtime: self.runtime_dir.join("directories"),
            state: state.join("state"),
            cache: state.join("cache"),
            logs: state.join("logs"),
            configuration: state.join("configuration"),
        }
    }

    /// Where rsvc's own log files of services are, unless the settings name a directory.
    pub fn log_dir(&self) -> PathBuf {
        if self.redirected { self.state_dir.join("log") } else { "/var/log/rsvc".into() }
    }
}

/// Names that a unit uses and that only the host can resolve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Users by name, or number as text.
    pub users: Vec<String>,
    /// Groups by name, or number as text.
    pub groups: Vec<String>,
    /// Nodes below `/dev`, besides the standard six.
    pub devices: Vec<PathBuf>,
}

/// The answer to one [`Needs`].
#[derive(Clone, Debug)]
pub struct Gathered {
    /// What was found; names that do not exist are missing from the maps.
    pub facts: HostFacts,
    /// Look-ups that failed for another reason than that the name does not exist, as whole sentences: the unit will be
    /// refused for the missing name, and these say why it is missing.
    pub problems: Vec<String>,
}

/// The host, with what has been learnt of it.
#[derive(Debug)]
pub struct Host {
    instance: Instance,
    accounts: Accounts,
    lasting: Lasting,
    journal: JournalProbe,
}

/// Facts that do not change while the daemon runs.
#[derive(Clone, Debug)]
struct Lasting {
    euid: u32,
    egid: u32,
    capabilities: CapabilitySet,
    last_capability: u32,
    security_modules: Vec<SecurityModule>,
    mdwe: bool,
    landlock: Option<u32>,
    seccomp_listeners: bool,
    nofile_hard: u64,
    proc_mountable: bool,
    lang: String,
}

impl Host {
    /// Asks for everything that does not change.
    pub fn new(instance: Instance) -> Host {
        let capabilities = sys::credentials::capabilities().map(|sets| sets.effective).unwrap_or(0);
        let lasting = Lasting {
            euid: rustix::process::geteuid().as_raw(),
            egid: rustix::process::getegid().as_raw(),
            capabilities: CapabilitySet(capabilities),
            last_capability: sys::credentials::bounding_set().map_or(0, |(_, last)| last),
            security_modules: security_modules(Path::new("/sys")),
            mdwe: sys::credentials::knows_deny_write_execute(),
            landlock: sys::probe::landlock_abi(),
            seccomp_listeners: sys::probe::has_seccomp_listeners(),
            nofile_hard: rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX),
            proc_mountable: fs::read("/proc/self/mountinfo").is_ok_and(|info| proc_mountable(&info)),
            lang: lang(&["/etc/default/locale", "/etc/locale.conf"]),
        };
        let journal = JournalProbe::new(JOURNAL_STREAM.into());
        Host { instance, accounts: Accounts::default(), lasting, journal }
    }

    /// Where this instance keeps things.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Users and groups of the host.
    pub fn accounts(&mut self) -> &mut Accounts {
        &mut self.accounts
    }

    /// Does journald take connections?
    pub fn journald(&mut self) -> bool {
        self.journal.present()
    }

    /// What the ordinary user who runs this may map besides itself. Asked at each start, as accounts are.
    pub fn subordinate(&mut self) -> Subordinate {
        let Lasting { euid, egid, .. } = self.lasting;
        if euid == 0 {
            return Subordinate::Unasked;
        }
        let number = euid.to_string();
        let name = self.accounts.user(&number).map_or(number, |user| user.name);
        super::subordinate::find(&name, (euid, egid), Path::new("/etc"))
    }

    /// Gathers the facts for one unit.
    pub fn facts(&mut self, cgroups: &Cgroups, needs: &Needs) -> Gathered {
        let mut problems = Vec::new();
        let mut note = |kind: &str, name: &str, error: AccountError| {
            if let AccountError::Unavailable(why) = error {
                problems.push(format!("{kind} `{name}` {why}"));
            }
        };
        let (mut users, mut groups) = (BTreeMap::new(), BTreeMap::new());
        for name in &needs.users {
            match self.accounts.user(name) {
                Ok(user) => _ = users.insert(name.clone(), user),
                Err(e) => note("user", name, e),
            }
        }
        for name in &needs.groups {
            match self.accounts.group(name) {
                Ok(group) => _ = groups.insert(name.clone(), group),
                Err(e) => note("group", name, e),
            }
        }
        let journald = self.journal.present();
        let Lasting {
            euid,
            egid,
            capabilities,
            last_capability,
            security_modules,
            mdwe,
            landlock,
            seccomp_listeners,
            nofile_hard,
            proc_mountable,
            lang,
        } = self.lasting.clone();
        let facts = HostFacts {
            euid,
            egid,
            capabilities,
            last_capability,
            journald,
            cgroups: cgroups.clone(),
            runtime_dir: self.instance.runtime_dir.clone(),
            state_dir: self.instance.state_dir.clone(),
            unit_path: self.instance.unit_path.clone(),
            directory_roots: self.instance.directory_roots(),
            foreground: self.instance.foreground,
            terminal: false,
            environment: BTreeMap::new(),
            users,
            groups,
            range: None,
            own_user: None,
            subordinate: Subordinate::Unasked,
            devices: devices(&needs.devices),
            existing: Vec::new(),
            security_modules,
            mdwe,
            landlock,
            seccomp_listeners,
            nofile_hard,
            may_raise_limits: capabilities.contains(SYS_RESOURCE),
            proc_mountable,
            lang,
        };
        Gathered { facts, problems }
    }
}

/// Security modules that are at work: AppArmor says so, SELinux has its file system mounted.
pub fn security_modules(sys: &Path) -> Vec<SecurityModule> {
    let apparmor = fs::read(sys.join("module/apparmor/parameters/enabled")).is_ok_and(|text| text.starts_with(b"Y"));
    let selinux = sys.join("fs/selinux/enforce").exists();
    let modules = [(apparmor, SecurityModule::AppArmor), (selinux, SecurityModule::SeLinux)];
    modules.into_iter().filter(|(at_work, _)| *at_work).map(|(_, module)| module).collect()
}

/// Numbers of the standard nodes and of those asked for; what is missing or no device is left out.
fn devices(wanted: &[PathBuf]) -> BTreeMap<PathBuf, DeviceNumbers> {
    let mut all: BTreeSet<PathBuf> = STANDARD_DEVICES.iter().map(PathBuf::from).collect();
    all.extend(wanted.iter().filter(|path| below_dev(path)).cloned());
    all.into_iter().filter_map(|path| device(&path).map(|numbers| (path, numbers))).collect()
}

/// `/dev/...` without `..`; a link there (`/dev/disk/by-id/...`) is followed.
fn below_dev(path: &Path) -> bool {
    path.starts_with("/dev") && !path.components().any(|c| c == Component::ParentDir)
}

fn device(path: &Path) -> Option<DeviceNumbers> {
    let stat = rustix::fs::stat(path).ok()?;
    let character = match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => true,
        FileType::BlockDevice => false,
        _ => return None,
    };
    Some(DeviceNumbers { character, major: major(stat.st_rdev), minor: minor(stat.st_rdev) })
}

/// May a user namespace mount a fresh procfs? Not when anything of the present one is covered, as in most containers
/// (mount_namespaces(7)). The mount point of binfmt_misc is empty for good and does not count.
pub(super) fn proc_mountable(mountinfo: &[u8]) -> bool {
    let text = String::from_utf8_lossy(mountinfo);
    let mut points = text.lines().filter_map(|line| line.split(' ').nth(4));
    !points.any(|point| point.starts_with("/proc/") && point != "/proc/sys/fs/binfmt_misc")
}

/// LANG of the first file that sets it.
fn lang(files: &[&str]) -> String {
    let of_file = |file: &&str| {
        let variables = environment_files::load(&[(file.into(), true)]).ok()?;
        variables.into_iter().rev().find(|(name, _)| name == "LANG").map(|(_, value)| value)
    };
    let plain = |value: &String| {
        !value.is_empty()
            && value.len() < 64
            && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.@-".contains(&b))
    };
    files.iter().filter_map(of_file).find(plain).unwrap_or_else(|| "C.UTF-8".into())
}

/// Whether something listens behind a stream socket's path. A connection is tried only when the socket is a new one:
/// each try is a connection that journald must take, or that fills the queue of a stopped one.
#[derive(Debug)]
struct JournalProbe {
    path: PathBuf,
    /// Device and inode of the socket that answered.
    answered: Option<(u64, u64)>,
}

impl JournalProbe {
    fn new(path: PathBuf) -> JournalProbe {
        JournalProbe { path, answered: None }
    }

    fn present(&mut self) -> bool {
        let Ok(meta) = fs::metadata(&self.path) else {
            self.answered = None;
            return false;
        };
        let identity = (meta.dev(), meta.ino());
        if self.answered != Some(identity) {
            self.answered = listens(&self.path).then_some(identity);
        }
        self.answered.is_some()
    }
}

/// Does connect(2) succeed? A full queue (EAGAIN) means that somebody listens, however slowly.
pub(super) fn listens(path: &Path) -> bool {
    let Ok(socket) = sys::socket::unix_socket(sys::socket::Kind::Stream) else { return false };
    let socket = UnixStream::from(socket);
    if socket.set_nonblocking(true).is_err() {
        return false;
    }
    match sys::socket::connect(std::os::fd::AsFd::as_fd(&socket), path) {
        Ok(()) => true,
        Err(e) => io::Error::from(e).kind() == io::ErrorKind::WouldBlock,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::PacketPrograms;
    use std::os::unix::net::UnixListener;

    fn instance(redirected: bool) -> Instance {
        Instance {
            runtime_dir: "/tmp/i/run".into(),
            state_dir: "/tmp/i/state".into(),
            unit_path: vec!["/tmp/i/units".into()],
            redirected,
            foreground: false,
        }
    }

    fn cgroups() -> Cgroups {
        Cgroups {
            unified: false,
            controllers: vec![],
            v1_controllers: vec![],
            crowded: false,
            available: false,
            packets: PacketPrograms::NoTree,
        }
    }

    #[test]
    fn a_security_module_is_there_when_it_says_so() {
        let sys = tempfile::tempdir().expect("a directory");
        assert_eq!(security_modules(sys.path()), []);
        let parameters = sys.path().join("module/apparmor/parameters");
        fs::create_dir_all(&parameters).expect("directories");
        fs::write(parameters.join("enabled"), "N\n").expect("a file");
        assert_eq!(security_modules(sys.path()), []);
        fs::write(parameters.join("enabled"), "Y\n").expect("a file");
        assert_eq!(security_modules(sys.path()), [SecurityModule::AppArmor]);
        fs::create_dir_all(sys.path().join("fs/selinux")).expect("directories");
        assert_eq!(security_modules(sys.path()), [SecurityModule::AppArmor], "the mount point alone is not it");
        fs::write(sys.path().join("fs/selinux/enforce"), "1").expect("a file");
        assert_eq!(security_modules(sys.path()), [SecurityModule::AppArmor, SecurityModule::SeLinux]);
    }

    #[test]
    fn facts_hold_what_exists_and_leave_out_what_does_not() {
        let mut host = Host::new(instance(false));
        let needs = Needs {
            users: vec!["root".into(), "0".into(), "no-such-user-here".into(), "0x0".into()],
            groups: vec!["root".into(), "no-such-group-here".into()],
            devices: vec!["/dev/none".into(), "/etc/passwd".into(), "/dev/../etc".into(), "/dev/ptmx".into()],
        };
        let facts = host.facts(&cgroups(), &needs).facts;
        assert_eq!(facts.users.keys().collect::<Vec<_>>(), ["0", "root"]);
        assert_eq!(facts.groups.keys().collect::<Vec<_>>(), ["root"]);
        assert_eq!(facts.devices[Path::new("/dev/null")], DeviceNumbers { character: true, major: 1, minor: 3 });
        assert!(!facts.devices.contains_key(Path::new("/etc/passwd")));
        assert!(!facts.devices.contains_key(Path::new("/dev/none")));
        assert_eq!(facts.directory_roots.state, Path::new("/var/lib"));
        let last: u32 = fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap().trim().parse().unwrap();
        assert_eq!(facts.last_capability, last);
        assert!(facts.nofile_hard > 0);
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:\t")).unwrap();
        assert_eq!(facts.capabilities, CapabilitySet(u64::from_str_radix(effective, 16).unwrap()));
    }

    #[test]
    fn a_redirected_instance_keeps_everything_below_itself() {
        let roots = instance(true).directory_roots();
        for path in [&roots.runtime, &roots.state, &roots.cache, &roots.logs, &roots.configuration] {
            assert!(path.starts_with("/tmp/i"), "{}", path.display());
        }
        assert_ne!(instance(true).log_dir(), roots.logs);
        assert_eq!(instance(false).log_dir(), Path::new("/var/log/rsvc"));
    }

    #[test]
    fn a_covered_proc_cannot_be_mounted_afresh() {
        let plain =
            b"22 1 0:21 / /proc rw shared:5 - proc proc rw\n40 22 0:39 / /proc/sys/fs/binfmt_misc rw - autofs x rw\n";
        assert!(proc_mountable(plain));
        assert!(!proc_mountable(b"22 1 0:21 / /proc rw - proc proc rw\n40 22 0:39 / /proc/kcore rw - tmpfs x rw\n"));
        assert!(proc_mountable(b"22 1 0:21 / /procurement rw - ext4 x rw\n"));
    }

    #[test]
    fn the_locale_comes_from_the_hosts_files() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("locale");
        let name = file.to_str().unwrap();
        assert_eq!(lang(&[name]), "C.UTF-8");
        fs::write(&file, "#x\nLANG=\"de_DE.UTF-8\"\nLC_ALL=C\n").unwrap();
        assert_eq!(lang(&["/none", name]), "de_DE.UTF-8");
        fs::write(&file, "LANG=\"x y\"\n").unwrap();
        assert_eq!(lang(&[name]), "C.UTF-8");
    }

    #[test]
    fn a_journal_counts_when_it_accepts_connections() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stdout");
        let mut probe = JournalProbe::new(path.clone());
        assert!(!probe.present());
        let listener = UnixListener::bind(&path).unwrap();
        assert!(probe.present());
        // Answered from memory: no further connection.
        assert!(probe.present());
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_ok());
        assert!(listener.accept().is_err());
        drop(listener);
        fs::remove_file(&path).unwrap();
        assert!(!probe.present());
        // A name that nobody listens behind.
        drop(UnixListener::bind(&path).unwrap());
        assert!(!probe.present());
    }

    #[test]
    fn a_full_queue_means_somebody_listens() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stdout");
        let listener = UnixListener::bind(&path).unwrap();
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        // Nobody accepts, so the second or third of these meets a full queue.
        assert_eq!([listens(&path), listens(&path), listens(&path)], [true; 3]);
    }
}

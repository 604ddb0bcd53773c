//! The engine that the daemon and `rsvc run` share: it turns readiness into events and actions into effects.

use super::deadlines::Timers;
use super::exits::Exits;
use super::host::Host;
use super::instance_keeper::InstanceKeeper;
use super::log_file::LogDirectory;
use super::log_pipe::Scratch;
use super::plans::PlanCache;
use super::service::{Service, Watched};
use super::shares::HeldBack;
use super::timers::WallClock;
use crate::cgroup::Tree;
use crate::compile::{Cgroups, FIRST_RANGE, FIRST_USER, HostFacts, PacketPrograms};
use crate::control::{CallError, UnitEvent};
use crate::supervise::{Event, Moment, Note, Outcome, RequestId, ServiceId, Supervisor};
use crate::sys::fd::sealed_memfd;
use crate::sys::poll::{Interest, Poller, Ready, Token};
use crate::unit::Unit;
use nix::sys::inotify::{InitFlags, Inotify, WatchDescriptor};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

pub(super) use super::deadlines::Timer;
pub(super) use super::sources::{Place, Source};

/// Where everything of one instance lives.
#[derive(Clone, Debug)]
pub struct Options {
    /// Unit directories, first wins.
    pub unit_path: Vec<PathBuf>,
    /// `/run/rsvc`
    pub runtime_dir: PathBuf,
    /// `/var/lib/rsvc`
    pub state_dir: PathBuf,
    /// `/var/log/rsvc`, or `log/` of a redirected state directory.
    pub log_dir: PathBuf,
    /// Control socket.
    pub socket: PathBuf,
    /// Group that holds all services; `None`: below the daemon's own.
    pub cgroup_root: Option<PathBuf>,
    /// Name of the instance's group below the daemon's own.
    pub cgroup_name: String,
    /// The directories are the system's: `directories.*` are `/run/NAME` and so on.
    pub system: bool,
    /// SIGTERM stops all services before the daemon ends.
    pub stop_on_exit: bool,
    /// `rsvc run`.
    pub foreground: bool,
    /// `RSVC_LOG`: level of the daemon's own log, such as `debug` or `rsvc::daemon=trace,info`.
    pub log_level: Option<String>,
    /// A default that cannot be applied refuses the start.
    pub strict_host: bool,
}

/// What a turn of the loop tells its owner.
#[derive(Debug)]
pub(super) enum Notice {
    /// A descriptor that the engine does not know is ready.
    Ready(Ready),
    /// A request is answered.
    Reply(RequestId, Outcome),
    /// Something happened to a service.
    Note(Note),
    /// The main process that is being launched has a terminal: the master's side, and the service's.
    Terminal(OwnedFd, OwnedFd),
    /// The same for those who listen; only while somebody does.
    Event(Box<UnitEvent>),
    /// A command of `rsvc exec` has been executed, or could not be.
    Errand(u64, Result<(), CallError>),
}

/// Services whose state may wait for the end of a batch of readiness. The descriptors of one death come in one batch:
/// their states are one state, written after the next process was launched and not before.
const STATES_AT_ONCE: usize = 8;

/// See the module documentation.
pub(super) struct Engine {
    pub options: Options,
    pub poller: Poller,
    pub sources: HashMap<Token, Source>,
    pub supervisor: Supervisor,
    /// Boxed: a node of the map that is half empty would be many KiB.
    pub services: BTreeMap<ServiceId, Box<Service>>,
    pub names: HashMap<String, ServiceId>,
    pub tree: Option<Tree>,
    pub host: Host,
    /// Ids that units have for themselves.
    pub own_ids: super::own_ids::OwnIds,
    pub events: VecDeque<Event>,
    pub notices: Vec<Notice>,
    /// Somebody listens to `Events`.
    pub observed: bool,
    pub dirty: BTreeSet<ServiceId>,
    /// Units of which something that is kept is over, a process or a socket: that is to be written down before it is
    /// released.
    pub over: BTreeSet<ServiceId>,
    /// Units whose timers have started them, which is to be written down.
    pub elapsed: BTreeSet<ServiceId>,
    /// What is to be written, or removed, and could not be.
    pub unwritten: super::unwritten::Unwritten,
    /// Launched processes that could not be watched, killed and not reaped yet.
    pub unwatched: Vec<OwnedFd>,
    /// Instances of connections of which something was told; who is down is forgotten.
    pub ended_connections: BTreeSet<ServiceId>,
    pub timers: Timers,
    pub retired: HashMap<Token, OwnedFd>,
    pub exits: Exits,
    /// Holds what is to outlive this daemon; none under `rsvc run`, whose services end with it.
    pub keeper: Option<Watched<InstanceKeeper>>,
    /// Ends of members of a pod that are told after that of their owner.
    pub held_back: Vec<HeldBack>,
    pub plans: PlanCache,
    pub pacing: super::pacing::Pacing,
    pub thrift: super::thrift::Thrift,
    pub groups: Inotify,
    pub watches: HashMap<WatchDescriptor, ServiceId>,
    /// This executable, O_PATH: the set-up stage.
    pub program: OwnedFd,
    /// Bears set-up stages.
    pub nursery: crate::sys::process::Nursery,
    /// The resident init, a sealed memfd.
    pub init_image: OwnedFd,
    /// `/dev/null`, for standard streams of launched processes.
    pub null: OwnedFd,
    /// `rsvc run -- COMMAND`: what main processes read.
    pub stdin: Option<OwnedFd>,
    /// `rsvc run --pty`.
    pub terminal: Option<super::terminal::Wish>,
    pub log_directory: Option<Rc<LogDirectory>>,
    pub scratch: Scratch,
    /// Where output goes that the daemon sends to the journal.
    pub journal: super::log_relay::Journal,
    pub wall_clock: WallClock,
    /// Commands that are being launched beside services.
    pub errands: super::errand::Errands,
    /// Services whose log file is open, the oldest opening first.
    pub open_logs: VecDeque<ServiceId>,
    /// Tables that units have in common.
    pub shared: crate::unit::Shared,
    /// What is known of the search path; only while services are taken over.
    pub survey: crate::load::Survey,
    pub unreaped: super::unreaped::Unreaped,
    /// Requests without an answer that may be repeated, and whose units they are for.
    pub keyed: HashMap<RequestId, ServiceId>,
    /// Units that keep the requests of each key.
    pub keys: HashMap<crate::control::RequestKey, BTreeSet<ServiceId>>,
    /// When this daemon began; an upgrade in place does not change that.
    pub since: Moment,
    /// How often it was upgraded in place, and when the last time.
    pub upgrades: u64,
    pub upgraded: Option<Moment>,
    next_id: u32,
    next_request: u64,
    /// How long the machine has slept since its boot.
    pub slept: Duration,
    /// How many the daemon may have open.
    pub descriptors: u64,
}

/// Microseconds of CLOCK_BOOTTIME: the one place where the daemon reads a clock for its decisions.
pub(super) fn now() -> Moment {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Moment(time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000)
}

/// Microseconds of CLOCK_MONOTONIC, which stands still while the machine sleeps.
pub(super) fn monotonic() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

/// The moment at which CLOCK_MONOTONIC showed so many microseconds. A moment too late rather than too early: the clock
/// that stands still in a suspend is read first.
pub(super) fn moment_of_monotonic(usec: u64) -> Moment {
    let monotonic = monotonic();
    let now = now();
    Moment(if usec <= monotonic { now.0.saturating_sub(monotonic - usec) } else { now.0 })
}

/// This program, for stages: by a read-only mount of its own, that nothing is below and nobody can change. So who gets at a
/// stage's executable by /proc cannot write to the file of the host, also when no process runs it any more (CVE-2019-5736).
/// Without the right to mount (`rsvc run` of an ordinary user, who can write to their own files anyway) as it is.
fn own_program() -> io::Result<OwnedFd> {
    use crate::sys::mount;
    let program = rustix::fs::open(
        "/proc/self/exe",
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    let read_only = mount::open_tree(program.as_fd(), c"", true, false).and_then(|tree| {
        mount::mount_setattr(&tree, c"", mount::attributes::RDONLY | mount::attributes::NOSUID, None, false)?;
        Ok(tree)
    });
    Ok(read_only.unwrap_or(program))
}

impl Engine {
    /// Opens what every instance needs; makes nothing on the host but the runtime directory and the root group.
    pub fn new(options: Options, tree: Option<Tree>) -> io::Result<Engine> {
        let mut poller = Poller::new().map_err(to_io)?;
        let groups = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let mut sources = HashMap::new();
        sources.insert(poller.add(&groups, Interest::Read).map_err(to_io)?, Source::Groups);
        let exits = Exits::new()?;
        sources.insert(poller.add(&exits, Interest::Read).map_err(to_io)?, Source::Exits);
        let program = own_program()?;
        let init_image = sealed_memfd(c"rsvc-init", crate::sys::RESIDENT_INIT, true).map_err(to_io)?;
        let null = rustix::fs::open(
            "/dev/null",
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )?;
        let since = now();
        let seed = since.0 ^ (u64::from(std::process::id()) << 32);
        let host = Host::new(super::host::Instance {
            runtime_dir: options.runtime_dir.clone(),
            state_dir: options.state_dir.clone(),
            unit_path: options.unit_path.clone(),
            redirected: !options.system,
            foreground: options.foreground,
        });
        Ok(Engine {
            own_ids: super::own_ids::OwnIds::new(&options.state_dir),
            options,
            poller,
            sources,
            supervisor: Supervisor::new(seed),
            services: BTreeMap::new(),
            names: HashMap::new(),
            tree,
            host,
            events: VecDeque::new(),
            notices: Vec::new(),
            observed: false,
            dirty: BTreeSet::new(),
            over: BTreeSet::new(),
            elapsed: BTreeSet::new(),
            unwritten: Default::default(),
            unwatched: Vec::new(),
            ended_connections: BTreeSet::new(),
            timers: Timers::default(),
            retired: HashMap::new(),
            exits,
            keeper: None,
            held_back: Vec::new(),
            plans: PlanCache::default(),
            pacing: Default::default(),
            thrift: Default::default(),
            groups,
            watches: HashMap::new(),
            program,
            nursery: Default::default(),
            init_image,
            null,
            stdin: None,
            terminal: None,
            log_directory: None,
            scratch: Scratch::default(),
            journal: Default::default(),
            wall_clock: WallClock::default(),
            errands: Default::default(),
            open_logs: VecDeque::new(),
            shared: Default::default(),
            survey: Default::default(),
            upgrades: 0,
            upgraded: None,
            since,
            unreaped: Default::default(),
            keyed: HashMap::new(),
            keys: HashMap::new(),
            next_id: 0,
            next_request: 0,
            slept: Duration::from_micros(now().0.saturating_sub(monotonic())),
            descriptors: super::capacity::limit(),
        })
    }

    pub fn new_id(&mut self) -> ServiceId {
        self.next_id += 1;
        ServiceId(self.next_id)
    }

    pub fn new_request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    /// Works off everything that can be done now, then waits for the next thing to happen, then handles it.
    pub fn turn(&mut self) -> io::Result<Vec<Notice>> {
        self.launch_waiting();
        self.settle();
        if self.notices.is_empty() {
            let ready = self.poller.wait(self.timeout()).map_err(to_io)?;
            for event in ready {
                match self.sources.get(&event.token).copied() {
                    Some(source) => self.ready(source, event),
                    None if self.retired.contains_key(&event.token) => self.reap_retired(event.token),
                    None => self.notices.push(Notice::Ready(event)),
                }
                self.work_off();
                if self.dirty.len() > STATES_AT_ONCE {
                    self.write_states();
                }
            }
            self.fire_timers();
            self.settle();
        }
        Ok(std::mem::take(&mut self.notices))
    }

    /// Is there anything to be worked off or written down?
    pub fn has_to_settle(&self) -> bool {
        !self.events.is_empty() || !self.dirty.is_empty()
    }

    /// Works off all events, then writes down what changed.
    pub fn settle(&mut self) {
        self.work_off();
        self.write_states();
        self.forget_ended_connections();
    }

    /// Feeds waiting events to the supervisor and performs what it orders, until there is nothing left.
    fn work_off(&mut self) {
        while let Some(event) = self.events.pop_front() {
            tracing::trace!("event {event:?}");
            let actions = self.supervisor.step(now(), event);
            self.write_down_first(&actions);
            for action in actions {
                tracing::trace!("action {action:?}");
                self.perform_in_turn(action);
            }
        }
    }

    /// Works off what a service has said, and writes down what follows from it. Only for who is called by the loop itself.
    pub fn settle_word(&mut self, id: ServiceId) {
        self.work_off();
        if self.dirty.remove(&id) {
            self.persist(id);
        }
    }

    fn write_states(&mut self) {
        for id in std::mem::take(&mut self.dirty) {
            self.persist(id);
        }
        self.settle_sockets();
        self.release_processes();
        // After the start that it led to: a daemon that is killed in between starts the unit once more, not once less.
        for id in std::mem::take(&mut self.elapsed) {
            self.write_stamp_again(id);
        }
    }

    /// What compile needs to know of the host for one unit.
    pub fn facts(&mut self, unit: &Unit) -> HostFacts {
        let cgroups = self.tree.as_ref().map_or_else(no_groups, Tree::facts);
        let needs = crate::compile::needs(unit);
        let gathered = self.host.facts(
            &cgroups,
            &super::host::Needs {
                users: needs.users.into_iter().collect(),
                groups: needs.groups.into_iter().collect(),
                devices: needs.devices.into_iter().collect(),
            },
        );
        for problem in gathered.problems {
            tracing::warn!(unit = unit.name, "{}: {problem}", unit.name);
        }
        let mut facts = gathered.facts;
        // Where nothing was given yet, a plan that is only shown has the first of them.
        let own = if needs.range || needs.own_user { self.known_ids(&unit.name) } else { Default::default() };
        facts.range = needs.range.then(|| own.range.unwrap_or(FIRST_RANGE));
        facts.own_user = needs.own_user.then(|| own.user.unwrap_or(FIRST_USER));
        if needs.subordinate {
            facts.subordinate = self.host.subordinate();
        }
        facts.terminal = self.terminal.is_some();
        facts.environment =
            needs.variables.into_iter().filter_map(|n| std::env::var(&n).ok().map(|v| (n, v))).collect();
        facts.existing = needs.paths.into_iter().filter(|path| path.symlink_metadata().is_ok()).collect();
        facts
    }

    /// Opens the directory of file logs with a limit for all of them together, bytes.
    pub fn limit_logs(&mut self, total: Option<u64>) -> io::Result<()> {
        let directory = LogDirectory::open(&self.options.log_dir)?;
        directory.limit_total(total);
        self.log_directory = Some(directory);
        Ok(())
    }

    pub fn service(&self, id: ServiceId) -> Option<&Service> {
        self.services.get(&id).map(|service| &**service)
    }
}

/// Where no group can be made.
fn no_groups() -> Cgroups {
    Cgroups {
        unified: false,
        controllers: Vec::new(),
        v1_controllers: Vec::new(),
        crowded: false,
        available: false,
        packets: PacketPrograms::NoTree,
    }
}

/// A failed system call as an [`io::Error`] that keeps the errno.
pub(super) fn to_io(error: crate::sys::SysError) -> io::Error {
    io::Error::from_raw_os_error(error.errno)
}

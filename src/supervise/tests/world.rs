//! A toy kernel: processes, groups and reports, driven by a list of choices. It obeys what `event` promises (see the
//! module's documentation) and nothing more: reports come in any order, signals may be ignored, only a kill is certain.
//!
//! Every action is held against the promises of the supervisor as it comes out.

use super::bench::{Bench, launch_failure};
use crate::supervise::{
    Action, ActiveState, CommandOutcome, Event, Exit, Moment, Note, Outcome, Policy, RequestId, Role, ServiceId,
    SubState, Target,
};
use crate::unit::ReadyKind;
use std::collections::BTreeSet;
use std::time::Duration;

/// Numbers that decide what happens; when they are used up, zeros follow.
#[derive(Debug)]
pub struct Choices {
    list: Vec<u16>,
    next: usize,
}

impl Choices {
    pub fn new(list: Vec<u16>) -> Choices {
        Choices { list, next: 0 }
    }

    pub fn is_used_up(&self) -> bool {
        self.next >= self.list.len()
    }

    /// Below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        let choice = self.list.get(self.next).copied().unwrap_or(0);
        self.next += 1;
        usize::from(choice) % bound.max(1)
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == bound - 1
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Main {
    #[default]
    None,
    SettingUp,
    Launcher,
    Program,
}

/// What exists of one service.
#[derive(Debug, Default)]
struct Host {
    main: Main,
    control: Option<Role>,
    leftovers: bool,
    watched: bool,
    /// `CgroupEmptied` is owed.
    emptied: bool,
    /// Other reports that are owed.
    inbox: Vec<Event>,
    /// A start has begun and neither succeeded nor failed.
    starting: bool,
    /// A stop has begun and is not finished.
    stopping: bool,
    /// Automatic restarts since the last manual start.
    restarts: Vec<Moment>,
}

impl Host {
    fn is_empty(&self) -> bool {
        self.main == Main::None && self.control.is_none() && !self.leftovers
    }
}

/// Are signals obeyed?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// As the choices say.
    Random,
    /// Only SIGKILL to a group works.
    Stubborn,
}

/// Must order be kept? Among circles it cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Checked,
    Unchecked,
}

pub struct World {
    pub bench: Bench,
    policies: Vec<Policy>,
    hosts: Vec<Host>,
    order: Order,
    manners: Manners,
    choices: Choices,
    waiting: BTreeSet<RequestId>,
    abandoned: BTreeSet<RequestId>,
    next_request: u64,
}

impl World {
    pub fn new(policies: Vec<Policy>, order: Order, choices: Choices) -> World {
        let hosts = policies.iter().map(|_| Host::default()).collect();
        World {
            bench: Bench::new(policies.clone()),
            policies,
            hosts,
            order,
            manners: Manners::Random,
            choices,
            waiting: BTreeSet::new(),
            abandoned: BTreeSet::new(),
            next_request: 0,
        }
    }

    /// Lets things happen until the choices are used up.
    pub fn live(&mut self) {
        for index in 0..self.hosts.len() {
            if self.choices.one_in(6) {
                self.adopt(index);
            }
        }
        while !self.choices.is_used_up() {
            let index = self.choices.below(self.hosts.len());
            match self.choices.below(10) {
                0 => self.request(index),
                1 => self.expire(),
                2 => {
                    let time = Duration::from_millis(self.choices.below(40_000) as u64);
                    self.bench.wait(time);
                    self.expire_if_due();
                }
                3..=5 => self.deliver(index),
                _ => self.happen(index),
            }
        }
    }

    /// Stops everything, with no more help than that a kill works, and checks that all comes to rest.
    pub fn settle(&mut self) {
        self.manners = Manners::Stubborn;
        for index in 0..self.hosts.len() {
            let request = self.new_request();
            self.step(Event::StopRequested { id: id(index), request: Some(request) });
        }
        for _ in 0..2000 {
            self.deliver_all();
            if self.bench.supervisor.next_deadline().is_none() {
                break;
            }
            self.expire();
        }
        self.deliver_all();
        assert_eq!(self.bench.supervisor.next_deadline(), None, "every deadline is cleared or fires");
        for index in 0..self.hosts.len() {
            let status = self.bench.status(id(index));
            assert!(
                matches!(status.state, ActiveState::Inactive | ActiveState::Failed),
                "{index} settles, but is {status:?} with {:?}",
                self.hosts[index]
            );
            assert!(self.hosts[index].is_empty(), "down means empty: {:?}", self.hosts[index]);
        }
        assert!(self.waiting.is_empty(), "every request is answered, but not {:?}", self.waiting);
    }

    /// From here on all goes well: programs start, get ready and stay. Checks that nobody waits for ever.
    pub fn prosper(&mut self) {
        for _ in 0..2000 {
            self.deliver_all();
            let mut moved = false;
            for index in 0..self.hosts.len() {
                moved |= self.go_on_well(index);
            }
            if moved {
                continue;
            }
            if self.bench.supervisor.next_deadline().is_none() {
                break;
            }
            self.expire();
        }
        for index in 0..self.hosts.len() {
            let status = self.bench.status(id(index));
            let at_rest = matches!(status.state, ActiveState::Inactive | ActiveState::Failed | ActiveState::Active);
            assert!(at_rest || status.state == ActiveState::Reloading, "{index} gets on, but is {status:?}");
        }
        assert!(self.waiting.is_empty(), "every request is answered, but not {:?}", self.waiting);
    }

    fn new_request(&mut self) -> RequestId {
        self.next_request += 1;
        let request = RequestId(self.next_request);
        self.waiting.insert(request);
        request
    }

    fn request(&mut self, index: usize) {
        let kind = self.choices.below(12);
        if kind == 11 {
            if let Some(request) = self.waiting.pop_first() {
                self.abandoned.insert(request);
                self.step(Event::RequestAbandoned { request });
            }
            return;
        }
        let request = Some(self.new_request());
        let id = id(index);
        match kind {
            0..=4 => self.step(Event::StartRequested { id, request }),
            5 | 6 => self.step(Event::StopRequested { id, request }),
            7 | 8 => self.step(Event::RestartRequested { id, request }),
            9 => self.step(Event::ReloadRequested { id, request }),
            _ => {
                self.hosts[index].restarts.clear();
                self.step(Event::ResetFailedRequested { id, request });
            }
        }
    }

    fn expire(&mut self) {
        if let Some(next) = self.bench.supervisor.next_deadline() {
            self.bench.now = self.bench.now.max(next);
            self.step(Event::DeadlinePassed);
        }
    }

    fn expire_if_due(&mut self) {
        if self.bench.supervisor.next_deadline().is_some_and(|next| next <= self.bench.now) {
            self.step(Event::DeadlinePassed);
        }
    }

    fn adopt(&mut self, index: usize) {
        let forking = self.policies[index].ready == ReadyKind::PidFile;
        let ready = forking || self.choices.one_in(2);
        let stopping = self.choices.one_in(4);
        let host = &mut self.hosts[index];
        host.main = Main::Program;
        host.leftovers = self.choices.one_in(2);
        host.starting = !ready;
        let since = self.bench.now;
        self.step(Event::Adopted { id: id(index), ready, since, restarts: 3, stopping });
    }

    // ── the kernel's side ──

    /// One report of this service, any of those owed.
    fn deliver(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        let owed = host.inbox.len() + usize::from(host.emptied);
        if owed == 0 {
            return;
        }
        let choice = self.choices.below(owed);
        if choice < host.inbox.len() {
            let event = host.inbox.remove(choice);
            self.step(event);
        } else {
            host.emptied = false;
            // Whoever reports emptiness has just looked.
            if host.is_empty() {
                self.step(Event::CgroupEmptied { id: id(index) });
            }
        }
    }

    fn deliver_all(&mut self) {
        for index in 0..self.hosts.len() {
            while !self.hosts[index].inbox.is_empty() || self.hosts[index].emptied {
                self.deliver(index);
            }
        }
    }

    /// Something happens to the processes of a service.
    fn happen(&mut self, index: usize) {
        let exit = match self.choices.below(7) {
            0..=2 => Exit::Exited(0),
            3 => Exit::Exited(1),
            4 => Exit::Killed(9),
            5 => Exit::Dumped(11),
            _ => Exit::Unknown,
        };
        let what = self.choices.below(6);
        let host = &self.hosts[index];
        match what {
            0 if host.main == Main::SettingUp => self.launch_fails(index),
            0 | 1 if host.control.is_some() => self.command_ends(index, exit),
            0 if host.leftovers => {
                self.hosts[index].leftovers = false;
                self.note_emptiness(index);
            }
            0..=2 if host.main == Main::SettingUp => self.executes(index),
            0 if host.main != Main::None => self.main_ends(index, exit),
            3 if host.main == Main::Program => self.step(Event::Reloading { id: id(index) }),
            4 if host.main == Main::Program => {
                self.step(Event::StatusText { id: id(index), text: "busy".into() });
            }
            _ => {
                self.becomes_ready(index);
            }
        }
    }

    fn go_on_well(&mut self, index: usize) -> bool {
        let host = &self.hosts[index];
        if host.control.is_some() {
            self.command_ends(index, Exit::Exited(0));
        } else if host.main == Main::SettingUp {
            self.executes(index);
        } else if host.main == Main::Launcher {
            self.hosts[index].leftovers = true;
            self.main_ends(index, Exit::Exited(0));
        } else if host.main == Main::Program && self.policies[index].ready == ReadyKind::Exited {
            self.main_ends(index, Exit::Exited(0));
        } else {
            let state = self.bench.status(id(index)).state;
            let asks = matches!(state, ActiveState::Activating | ActiveState::Reloading);
            return asks && self.becomes_ready(index);
        }
        true
    }

    fn executes(&mut self, index: usize) {
        let forking = self.policies[index].ready == ReadyKind::PidFile;
        let host = &mut self.hosts[index];
        host.main = if forking { Main::Launcher } else { Main::Program };
        host.inbox.push(Event::Executed { id: id(index), role: Role::Main });
    }

    fn launch_fails(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        host.main = Main::None;
        host.inbox.push(Event::LaunchFailed { id: id(index), failure: launch_failure() });
        self.note_emptiness(index);
    }

    fn main_ends(&mut self, index: usize, exit: Exit) {
        let oom = self.choices.one_in(5);
        let leaves = self.choices.one_in(3);
        let host = &mut self.hosts[index];
        host.main = Main::None;
        host.leftovers |= leaves;
        host.inbox.push(Event::MainExited { id: id(index), exit, oom });
        self.note_emptiness(index);
    }

    fn command_ends(&mut self, index: usize, exit: Exit) {
        let outcome = match self.choices.below(8) {
            7 => CommandOutcome::NotLaunched(launch_failure()),
            _ => CommandOutcome::Exited(exit),
        };
        let leaves = self.choices.one_in(4);
        let host = &mut self.hosts[index];
        let Some(role) = host.control.take() else { return };
        host.leftovers |= leaves;
        host.inbox.push(Event::CommandEnded { id: id(index), role, outcome });
        self.note_emptiness(index);
    }

    /// READY=1, or what is watched for is found.
    fn becomes_ready(&mut self, index: usize) -> bool {
        let ready = self.policies[index].ready;
        let host = &mut self.hosts[index];
        let can = match ready {
            ReadyKind::Notify => host.main == Main::Program,
            ReadyKind::Listening => host.main == Main::Program && host.watched,
            ReadyKind::PidFile => host.watched && host.leftovers && host.main == Main::None,
            ReadyKind::Executed | ReadyKind::Exited => {
                host.main == Main::Program && self.bench.status(id(index)).state == ActiveState::Reloading
            }
        };
        let reloading = host.main == Main::Program && self.bench.status(id(index)).state == ActiveState::Reloading;
        if !can && !reloading {
            return false;
        }
        if ready == ReadyKind::PidFile && host.main == Main::None {
            host.main = Main::Program;
            host.leftovers = false;
        }
        host.watched = false;
        self.step(Event::BecameReady { id: id(index) });
        true
    }

    fn kill_group(&mut self, index: usize) {
        let in_time = self.choices.one_in(2);
        let host = &mut self.hosts[index];
        let killed = |inbox: &mut Vec<Event>| {
            inbox.push(Event::MainExited { id: id(index), exit: Exit::Killed(9), oom: false });
        };
        match std::mem::take(&mut host.main) {
            Main::None => {}
            Main::SettingUp if in_time => {
                host.inbox.push(Event::Executed { id: id(index), role: Role::Main });
                killed(&mut host.inbox);
            }
            Main::SettingUp => {
                host.inbox.push(Event::LaunchFailed { id: id(index), failure: launch_failure() });
            }
            Main::Launcher | Main::Program => killed(&mut host.inbox),
        }
        if let Some(role) = host.control.take() {
            let outcome = CommandOutcome::Exited(Exit::Killed(9));
            host.inbox.push(Event::CommandEnded { id: id(index), role, outcome });
        }
        host.leftovers = false;
        host.emptied = true;
    }

    fn note_emptiness(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        host.emptied |= host.is_empty();
    }

    // ── the supervisor's side ──

    fn step(&mut self, event: Event) {
        let was_waiting: Vec<bool> =
            (0..self.hosts.len()).map(|i| self.bench.status(id(i)).substate == SubState::Waiting).collect();
        let actions = self.bench.supervisor.step(self.bench.now, event);
        for action in actions {
            self.perform(action, &was_waiting);
        }
    }

    fn perform(&mut self, action: Action, was_waiting: &[bool]) {
        match action {
            Action::Launch { id, role, .. } => self.launch(at(id), role),
            Action::Signal { id, target, signal } => self.signal(at(id), target, signal),
            Action::KillCgroup { id } => self.kill_group(at(id)),
            Action::WatchReadiness { id } => self.hosts[at(id)].watched = true,
            Action::UnwatchReadiness { id } => {
                assert!(std::mem::take(&mut self.hosts[at(id)].watched), "what is not watched is not unwatched");
            }
            Action::Remove { id, .. } => assert!(self.hosts[at(id)].is_empty(), "removed under a live service"),
            Action::Reply { request, outcome } => {
                assert!(self.waiting.remove(&request), "{request:?} is answered once, and not after it was abandoned");
                assert!(!self.abandoned.contains(&request));
                drop::<Outcome>(outcome);
            }
            Action::Record { id, note } => self.note(at(id), note, was_waiting),
        }
    }

    fn launch(&mut self, index: usize, role: Role) {
        let host = &mut self.hosts[index];
        match role {
            Role::Main => {
                assert!(host.is_empty() && !host.emptied, "{role:?} beside what is there: {host:?}");
                assert!(host.inbox.is_empty(), "reports of an earlier launch are owed: {:?}", host.inbox);
                host.main = Main::SettingUp;
            }
            Role::StartPre(_) | Role::StopPost(_) => {
                assert!(host.is_empty() && !host.emptied, "{role:?} beside what is there: {host:?}");
                assert!(host.inbox.is_empty(), "reports of an earlier launch are owed: {:?}", host.inbox);
                host.control = Some(role);
            }
            Role::StartPost(_) | Role::Reload(_) | Role::Stop(_) => {
                assert_eq!(host.control, None, "one command at a time");
                host.control = Some(role);
            }
        }
    }

    fn signal(&mut self, index: usize, target: Target, signal: i32) {
        let exit = Exit::Killed(u8::try_from(signal).expect("signals are below 65"));
        let certain = signal == 9;
        let obeyed = match self.manners {
            Manners::Random => certain || self.choices.one_in(2),
            Manners::Stubborn => certain,
        };
        if !obeyed || signal == 1 {
            return;
        }
        let host = &self.hosts[index];
        let (to_main, to_control) = match target {
            Target::Main => (true, false),
            Target::Control => (false, true),
            Target::All => (true, true),
        };
        let main = to_main && matches!(host.main, Main::Launcher | Main::Program);
        let control = to_control && host.control.is_some();
        if main {
            self.main_ends(index, exit);
        }
        if control {
            self.command_ends(index, exit);
        }
        if target == Target::All && self.hosts[index].leftovers {
            self.hosts[index].leftovers = false;
            self.note_emptiness(index);
        }
    }

    /// What is said must agree with what was promised about order and limits.
    fn note(&mut self, index: usize, note: Note, was_waiting: &[bool]) {
        match note {
            Note::Starting { restarts } => {
                if restarts == 0 {
                    self.hosts[index].restarts.clear();
                }
                if self.order == Order::Checked {
                    for before in self.predecessors(index) {
                        assert!(!self.hosts[before].starting, "{index} starts while {before} before it is starting");
                        let still_waits = self.bench.status(id(before)).substate == SubState::Waiting;
                        assert!(!(was_waiting[before] && still_waits), "{index} overtakes {before}, which waits");
                    }
                }
                self.hosts[index].starting = true;
            }
            Note::Started => self.hosts[index].starting = false,
            Note::Stopping => {
                if self.order == Order::Checked {
                    for after in self.successors(index) {
                        assert!(!self.hosts[after].stopping, "{index} stops while {after} after it is stopping");
                    }
                }
                self.hosts[index].stopping = true;
            }
            Note::RestartScheduled { at, .. } => {
                self.is_over(index);
                self.check_limit(index, at);
            }
            Note::Stopped | Note::Failed(_) => self.is_over(index),
            Note::Ended(_) | Note::Reloading | Note::Reloaded(_) | Note::Killing | Note::StatusText | Note::Adopted => {
            }
        }
    }

    fn is_over(&mut self, index: usize) {
        self.hosts[index].starting = false;
        self.hosts[index].stopping = false;
    }

    fn check_limit(&mut self, index: usize, at: Moment) {
        let settings = &self.policies[index].restart;
        let restarts = &mut self.hosts[index].restarts;
        restarts.push(at);
        if settings.limit_burst > 0 {
            let recent = restarts.iter().filter(|old| at.since(**old) < settings.limit_interval).count();
            assert!(recent <= settings.limit_burst as usize, "{recent} restarts of {index} within the interval");
        }
    }

    fn predecessors(&self, index: usize) -> Vec<usize> {
        (0..self.policies.len()).filter(|other| self.is_ordered(*other, index)).collect()
    }

    fn successors(&self, index: usize) -> Vec<usize> {
        (0..self.policies.len()).filter(|other| self.is_ordered(index, *other)).collect()
    }

    fn is_ordered(&self, first: usize, second: usize) -> bool {
        let (first, second) = (&self.policies[first], &self.policies[second]);
        first.before.contains(&second.name) || second.after.contains(&first.name)
    }
}

fn id(index: usize) -> ServiceId {
    ServiceId(u32::try_from(index + 1).expect("a handful of services"))
}

fn at(id: ServiceId) -> usize {
    id.0 as usize - 1
}

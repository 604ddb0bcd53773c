//! A toy kernel: processes, groups and reports, driven by a list of choices. It obeys what `event` promises (see the
//! module's documentation) and nothing more: reports come in any order, signals may be ignored, only a kill is certain.
//!
//! Every action is held against the promises of the supervisor as it comes out.

use super::super::bonds::MOST_LINKS;
use super::bench::{Bench, adopted, running_since};
use crate::supervise::{
    ActiveState, Adopted, Cause, Descent, Event, Exit, KeptRoll, KeptSet, Moment, Policy, RequestId, Rest, Role,
    ServiceId, ServiceResult,
};
use crate::unit::ReadyKind;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
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
    pub fn below(&mut self, bound: usize) -> usize {
        let choice = self.list.get(self.next).copied().unwrap_or(0);
        self.next += 1;
        usize::from(choice) % bound.max(1)
    }

    pub fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == bound - 1
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Main {
    #[default]
    None,
    SettingUp,
    Launcher,
    Program,
}

/// What exists of one service.
#[derive(Debug, Default)]
pub struct Host {
    pub main: Main,
    pub control: Option<Role>,
    pub leftovers: bool,
    pub watched: bool,
    /// A question for its health that has not been answered.
    pub checking: Option<u32>,
    /// `CgroupEmptied` is owed.
    pub emptied: bool,
    /// Answers to `Listen` that are owed, in order.
    pub sockets: Vec<Event>,
    /// Its sockets are looked at.
    pub listening: bool,
    /// Other reports that are owed.
    pub inbox: Vec<Event>,
    /// A start has begun and neither succeeded nor failed.
    pub starting: bool,
    /// A stop has begun and is not finished.
    pub stopping: bool,
    /// Automatic restarts since the last manual start.
    pub restarts: Vec<Moment>,
}

impl Host {
    pub fn is_empty(&self) -> bool {
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
    pub policies: Vec<Policy>,
    pub hosts: Vec<Host>,
    pub order: Order,
    pub manners: Manners,
    pub choices: Choices,
    /// Events of the daemon's own queue: starts on behalf of other units.
    pub asked_for: VecDeque<Event>,
    pub waiting: BTreeSet<RequestId>,
    pub abandoned: BTreeSet<RequestId>,
    /// Who served when the time came whose consequences are looked at.
    pub served: Vec<bool>,
    /// Who says at this moment that it ends by itself.
    pub says_stopping: Option<usize>,
    /// Events and actions, for people who read a failure.
    pub history: Vec<String>,
    /// The replica at which each roll was when it was last looked at.
    pub rolling: BTreeMap<usize, (u32, Moment)>,
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
            asked_for: VecDeque::new(),
            waiting: BTreeSet::new(),
            abandoned: BTreeSet::new(),
            served: Vec::new(),
            says_stopping: None,
            history: Vec::new(),
            rolling: BTreeMap::new(),
            next_request: 0,
        }
    }

    /// Lets things happen until the choices are used up.
    pub fn live(&mut self) {
        for index in 0..self.hosts.len() {
            match self.choices.below(14) {
                10 => self.remember(index),
                11 => self.adopt(index),
                12 if self.choices.one_in(2) => self.adopt_going_down(index),
                12 => self.adopt_at_end(index),
                13 if self.policies[index].remains => self.adopt_exited(index),
                _ => {}
            }
        }
        self.step(Event::Surveyed);
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
        // What ends because others are stopped may start others on its behalf; such starts come to an end.
        for _ in 0..=MOST_LINKS {
            self.stop_all();
        }
        assert_eq!(self.bench.supervisor.next_deadline(), None, "every deadline is cleared or fires");
        for index in 0..self.hosts.len() {
            let status = self.bench.status(id(index));
            assert!(
                matches!(status.state, ActiveState::Inactive | ActiveState::Failed),
                "{index} settles, but is {status:?} with {:?}",
                self.hosts[index]
            );
            assert!(self.hosts[index].is_empty(), "down means empty: {:?}", self.hosts[index]);
            assert!(!self.hosts[index].listening, "nobody listens for what is down: {:?}", self.hosts[index]);
        }
        assert!(self.waiting.is_empty(), "every request is answered, but not {:?}", self.waiting);
    }

    fn stop_all(&mut self) {
        let all = 0..self.hosts.len();
        let stop = |index| Event::StopRequested { id: id(index), request: Some(self.new_request()) };
        let stops: Vec<Event> = all.map(stop).collect();
        self.steps(stops);
        for _ in 0..2000 {
            self.deliver_all();
            if self.bench.supervisor.next_deadline().is_none() {
                break;
            }
            self.expire();
        }
        self.deliver_all();
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
            let waits_for: Vec<_> = self
                .bench
                .supervisor
                .waiting_for
                .iter()
                .filter(|(_, who)| who.contains(&id(index)))
                .map(|(on, _)| *on)
                .collect();
            let on = waits_for.first().copied().unwrap_or(id(index));
            assert!(
                at_rest || status.state == ActiveState::Reloading,
                "{index} gets on, but is {status:?} and waits for {waits_for:?}: {:?}, host {:?} {}",
                self.bench.status(on),
                self.hosts[at(on)],
                self.history_of(id(index), on)
            );
        }
        assert!(self.waiting.is_empty(), "every request is answered, but not {:?}", self.waiting);
    }

    pub fn new_request(&mut self) -> RequestId {
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
        if self.policies[index].replicas.is_some() && kind < 3 {
            let number = self.choices.below(6) as u32;
            return self.step(Event::ScaleRequested { id, number, request });
        }
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

    /// A former daemon left it waiting for its next attempt, or failed.
    fn remember(&mut self, index: usize) {
        if self.policies[index].replicas.is_some() {
            return self.remember_set(index);
        }
        let failed = self.choices.one_in(2);
        let (wanted, upheld) = (self.choices.one_in(2), self.choices.one_in(2));
        let until = (!failed).then(|| self.bench.now.after(Duration::from_millis(self.choices.below(5_000) as u64)));
        let rest = Rest {
            restarts: 3,
            until,
            result: ServiceResult::ExitCode,
            cause: Some(Cause::StartTimeout),
            main_exit: None,
            hook_failure: None,
            wanted: failed && wanted,
            upheld: !failed && upheld,
            launched: false,
            restart_times: Vec::new(),
        };
        self.step(Event::Remembered { id: id(index), rest });
    }

    fn remember_set(&mut self, index: usize) {
        let some = |choices: &mut Choices| (1..=5).filter(|_| choices.one_in(3)).collect::<Vec<u32>>();
        let scaled = self.choices.one_in(2).then(|| self.choices.below(6) as u32);
        let (held, ready) = (some(&mut self.choices).into_iter().collect(), self.choices.one_in(2));
        let roll = self.choices.one_in(2).then(|| {
            let current = self.choices.one_in(2).then(|| self.choices.below(5) as u32 + 1);
            let left = some(&mut self.choices).into_iter().filter(|number| Some(*number) != current).collect();
            KeptRoll { left, current: current.map(|number| (number, self.bench.now)), done: Vec::new() }
        });
        let kept = KeptSet { written: 2, scaled, held, ready, roll };
        self.step(Event::SetRemembered { id: id(index), kept });
    }

    /// A set has no process. The former daemon let no rivals be up together, and one of them may still be on its way down.
    fn cannot_be_adopted(&self, index: usize) -> bool {
        if self.policies[index].replicas.is_some() {
            return true;
        }
        let is_there =
            |rival: usize| !matches!(self.bench.status(id(rival)).state, ActiveState::Inactive | ActiveState::Failed);
        self.rivals(index).into_iter().any(is_there)
    }

    /// A former daemon left commands after the end of a run, or what they left.
    fn adopt_at_end(&mut self, index: usize) {
        if self.cannot_be_adopted(index) {
            return;
        }
        let (failed, stopping) = (self.choices.one_in(2), self.choices.one_in(4));
        self.hosts[index].leftovers = true;
        let end = Rest {
            restarts: 3,
            until: None,
            result: if failed { ServiceResult::ExitCode } else { ServiceResult::Success },
            cause: failed.then_some(Cause::StartTimeout),
            main_exit: Some(Exit::Exited(u8::from(failed))),
            hook_failure: None,
            wanted: false,
            upheld: false,
            launched: false,
            restart_times: Vec::new(),
        };
        self.step(Event::AdoptedAtEnd { id: id(index), stopping, end });
    }

    /// A former daemon had begun to end a run, and may have seen the main process go.
    fn adopt_going_down(&mut self, index: usize) {
        if self.cannot_be_adopted(index) {
            return;
        }
        let (gone, stopping, failed) = (self.choices.one_in(2), self.choices.one_in(4), self.choices.one_in(2));
        let host = &mut self.hosts[index];
        host.main = if gone { Main::None } else { Main::Program };
        host.leftovers = gone || self.choices.one_in(2);
        let descent = Descent {
            result: if failed { ServiceResult::Watchdog } else { ServiceResult::Success },
            cause: failed.then_some(Cause::WatchdogTriggered),
            main_exit: gone.then_some(Exit::Exited(0)),
            abort: failed,
        };
        let restart_times = Vec::new();
        self.step(Event::AdoptedGoingDown { id: id(index), restarts: 3, restart_times, stopping, descent });
        self.note_emptiness(index);
    }

    /// A former daemon left a unit that stays up without a process, or with what its program left.
    fn adopt_exited(&mut self, index: usize) {
        if self.cannot_be_adopted(index) {
            return;
        }
        let (leftovers, stopping) = (self.choices.one_in(2), self.choices.one_in(4));
        self.hosts[index].leftovers = leftovers;
        let (since, main_exit) = (self.bench.now, Some(Exit::Exited(0)));
        self.step(Event::AdoptedExited { id: id(index), since, restarts: 3, stopping, main_exit });
        self.note_emptiness(index);
    }

    fn adopt(&mut self, index: usize) {
        if self.cannot_be_adopted(index) {
            return;
        }
        let forking = self.policies[index].ready == ReadyKind::PidFile;
        let ready = forking || self.choices.one_in(2);
        let stopping = self.choices.one_in(4);
        let host = &mut self.hosts[index];
        host.main = Main::Program;
        host.leftovers = self.choices.one_in(2);
        host.starting = !ready;
        let since = self.bench.now;
        self.step(adopted(id(index), Adopted { ready, restarts: 3, stopping, ..running_since(since) }));
    }
}

pub fn id(index: usize) -> ServiceId {
    ServiceId(u32::try_from(index + 1).expect("a handful of services"))
}

pub fn at(id: ServiceId) -> usize {
    id.0 as usize - 1
}

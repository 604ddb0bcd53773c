//! What should happen next: the heart of the daemon, as a function.
//!
//! [`Supervisor::step`] is told what happened and when, and answers with what should be done. It never blocks, never
//! fails, never reads a clock, touches no kernel, and knows pids and descriptors only as labels that others hold.
//! Equal events at equal moments with an equal seed give equal actions.
//!
//! # The states of a service
//!
//! A service is in one of seven states. Six of them are the service without processes; everything that exists only
//! while something runs is in the sixth and vanishes with it.
//!
//! ```text
//!                    start            its turn
//!        ┌─────────────────▶ Waiting ───────────▶ Up ─┐
//!        │                     ▲  ▲                   │ nothing is left of the run
//!  Down, Failed                │  └── start or ◀──────┤   people want another run
//!        ▲  ▲     time passed, │      restart         │
//!        │  │        or start  │                      │
//!        │  │               Backoff ◀─────────────────┤   the policy restarts
//!        │  └── stop ──────────┘                      │
//!        └────────────────────────────────────────────┘   asked to stop; or the policy does not restart; or gave up
//! ```
//!
//! * `Down`: nothing exists but the definition. `Failed`: the same, after a failure that is kept for people to see.
//! * `Waiting`: about to start; units that it is ordered after have not finished starting, units that it conflicts with
//!   are not down, or the daemon is asked whether its conditions are met.
//! * `Backoff`: waits before the next automatic attempt. Shown as `activating/auto-restart`.
//! * `Listening`: started, for a unit that is started on demand: its sockets are open, and the first thing that arrives
//!   takes it to `Waiting` and on. After a run that ended well it comes back here. Shown as `active/listening`.
//! * `Keeping`: a set of replicas, which has no process of its own; they are units like all others (see `replicas`).
//! * `Up`: a run exists, in one of the phases below.
//!
//! # The phases of a run
//!
//! ```text
//!  StartPre n ──▶ Launching ──▶ Starting ──▶ StartPost n ──▶ Running ◀──▶ Reload n, ReloadSignal
//!      │              │            │             │              │            │
//!      │              │            │             │              ├── stop ────┘    runtime_max, unhealthy
//!      │ failed,      │ failed,    │ failed,     │ failed,      ▼
//!      │ stopped      │ stopped    │ stopped,    │ stopped,  StopCommands n
//!      │              │            │ died        │ died         │ done, failed, or nothing left to join
//!      │              │            ▼             ▼              ▼
//!      ├──────────────│──────────▶ StopSignal: the stop signal is out  ◀── the main process died
//!      │              │                 │ out of time, or (mixed) only unknown processes are left
//!      ▼              ▼                 ▼
//!      StopKill: the group has been killed
//!                  │ main process, command and group are all gone: the only way on
//!                  ▼
//!              StopPost n ──▶ Hook on_exit, on_restart or on_give_up ──▶ over
//! ```
//!
//! Three facts make up "gone", and they arrive in any order: the end of the main process, the end of the command beside
//! it, and the emptiness of the group. A run is over when all three are in. So no report of one run can be taken for one
//! of the next, and nothing is ever launched beside something that still lives: **down means empty**.
//!
//! A oneshot that stays up is in `Exited` instead of `Running`, and its stop in `StopAlone n` instead of `StopCommands n`.
//!
//! What a start means depends on what makes the service ready:
//!
//! | Ready by | Started when |
//! |---|---|
//! | exec | the program is executed and `exec_start_post` is done |
//! | notify, checks | READY=1, or all of `[ready]` holds, and `exec_start_post` is done; a good end before that is `protocol` |
//! | exit (oneshot) | the main process has ended well and `exec_start_post` is done; then the service goes down, or stays up without a process (see `remain`) |
//! | pid file (forking) | the first process has ended well, the pid file names one of the group, and so on |
//!
//! Time: `timeout_start` is one budget from the first `exec_start_pre` to the last `exec_start_post`, and each reload has
//! one as long. `timeout_stop` is one budget for `exec_stop`, signal and wait; at its end the group is killed.
//! `exec_stop_post` has another, and each hook its own. EXTEND_TIMEOUT_USEC= prolongs the present one, or `runtime_max`.
//!
//! While it is up a service is watched: it must send WATCHDOG=1 in time, may not run longer than `runtime_max`, and is
//! asked for its health at intervals (see `watch` and `health`). STOPPING=1 ends the watch and begins a stop's budget.
//!
//! `exec_stop` is run only where it can be: when the start had succeeded and the main process lives, as the commands join
//! its container, or when the service stays up without one. `exec_stop_post` always runs. The first failure of a run gives it its result and its cause.
//!
//! # Requests
//!
//! The last wish counts: a start while stopping follows the stop, a stop ends a start and every restart. Each request
//! has one answer: a start when the service is ready or the first attempt has failed and nothing is left of it (further
//! attempts go on without the client); a stop when it is down; a restart when the new run is ready. Who is overtaken is
//! told so (`Cancelled`). What a request means for other units is written in `jobs`.
//!
//! # What the caller owes
//!
//! * For each `Launch` of the main process one `Executed` or one `LaunchFailed`, and after `Executed` one `MainExited`,
//!   which may be delivered first. After `LaunchFailed` no `MainExited`. A forking service has a second `MainExited`, that
//!   of its real main process, if `BecameReady` was delivered.
//! * For each `Launch` of a command one `CommandEnded`, also when it was killed or could not be started.
//! * `CgroupEmptied` is a statement about the present: whoever delivers it has just looked and found nobody. It follows
//!   each time the group becomes empty and each `KillCgroup`, also of a group that was empty already. Said twice it does
//!   no harm; said late, after another launch, it would.
//! * For each `Listen` one `SocketsOpened` or one `SocketsFailed`, and after `SocketsOpened` one `Activated` once something
//!   arrives. A launch of the main process, a later `Listen` and `Remove { AtStop }` end the looking.
//! * What was read from a service before it died (READY=1) is delivered before its end.
//! * Of a unit that accepts connections nothing is told when one arrives: each is served by a service of its own
//!   (`Policy::of_connection`), which the caller defines, starts, and forgets when it is down or has failed.
//! * For each `Examine` one `Examined`.
//! * What [`Supervisor::take_promised`] names is written down before the actions of the step are carried out.
//! * `Adopted`, `AdoptedAtStart`, `AdoptedAtEnd`, `AdoptedExited` and `Remembered` come before everything else but
//!   `StartRejoined`, which follows that of its service at once, and `Surveyed` follows the last of them.
//! * Actions are carried out in their order, and `DeadlinePassed` is delivered once [`Supervisor::next_deadline`] has
//!   come, which may be the present moment.
#![forbid(unsafe_code)]

mod action;
mod adopt;
mod bonds;
mod condition;
mod event;
mod exit;
mod graph;
mod health;
mod hooks;
mod jobs;
mod keeping;
mod listen;
mod policy;
mod remain;
mod replicas;
mod rest;
mod restart;
mod roll;
mod run;
mod said;
mod service;
mod shown;
mod start;
mod status;
mod stop;
#[cfg(test)]
mod tests;
pub mod timers;
mod waiters;
mod watch;
mod wishes;

pub use action::{Action, Cause, Note, Outcome, Removal, ServiceResult, Target};
pub use event::{
    CommandOutcome, Descent, Event, Exit, LaunchFailure, Moment, RequestId, Rest, Role, ServiceId, Unmet, Word,
};
pub use hooks::Told;
pub use policy::{Command, HealthPolicy, Policy};
pub use replicas::{KeptSet, SetStatus, replica_number};
pub use roll::KeptRoll;
pub use status::{ActiveState, Health, HealthState, Status, StopStep, SubState};

use crate::unit::Known;
use adopt::Adopted;
use graph::{Graph, reach};
use jobs::{Work, no_such_service};
use remain::Remained;
use restart::{Jitter, Restarts};
use run::Fact;
use service::{Pulse, Service, State};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All services and their relations.
#[derive(Debug, Default)]
pub struct Supervisor {
    services: BTreeMap<ServiceId, Box<Service>>,
    graph: Graph,
    /// Policies that services were defined with last: most are one of few.
    policies: Known<Policy>,
    /// Every deadline of every service, earliest first.
    deadlines: BTreeSet<(Moment, ServiceId)>,
    /// Requests without an answer, and with whom they wait.
    requests: BTreeMap<RequestId, ServiceId>,
    /// Starts and stops that wait for the end of the round (see `jobs`).
    put_off: BTreeSet<ServiceId>,
    /// When that round began.
    end_of_round: Option<Moment>,
    /// Starts and stops that wait for another unit: that unit → those that are looked at when it gets further.
    waiting_for: BTreeMap<ServiceId, BTreeSet<ServiceId>>,
    /// A former daemon's services are being told one by one; consequences wait for `Surveyed`, as who is not told yet
    /// seems to be down.
    surveying: bool,
    /// Those consequences.
    held_back: Vec<(ServiceId, Pulse)>,
    /// Requests of sets to their replicas: whose each is, and how many there have been.
    of_sets: BTreeMap<RequestId, ServiceId>,
    asked_by_sets: u64,
    /// Sets that are to be looked at again in this step.
    moved_sets: BTreeSet<ServiceId>,
    /// Services of which something else is promised now than the caller knows.
    promised: BTreeSet<ServiceId>,
    jitter: Jitter,
    /// How often a service was looked at or changed, for the tests of cost.
    #[cfg(test)]
    lent: usize,
}

impl Supervisor {
    /// An empty supervisor; `seed` feeds the jitter of restart delays.
    pub fn new(seed: u64) -> Supervisor {
        Supervisor { jitter: Jitter::new(seed), ..Supervisor::default() }
    }

    /// Adds a service, or replaces its policy, from which the name is taken out (which takes effect at the next start; names in `after`, `wants`... are
    /// resolved among the defined services at that time).
    pub fn define(&mut self, id: ServiceId, mut policy: Policy) {
        let name = std::mem::take(&mut policy.name);
        let mut policy = Arc::new(policy);
        self.policies.share(&mut policy);
        let Some(service) = self.services.get_mut(&id) else {
            let service = Service::new(id, name.into(), policy);
            self.graph.insert(service.node());
            self.services.insert(id, Box::new(service));
            return;
        };
        match service.state {
            State::Down | State::Failed { .. } | State::Backoff { .. } => {
                self.graph.remove(service.node());
                service.name = name.into();
                service.policy = policy;
                service.next_policy = None;
                self.graph.insert(service.node());
            }
            // Order among those that wait must not change under them.
            // Those that listen have the sockets of the old one.
            // A set takes it with the next start or scaling, too.
            State::Waiting { .. } | State::Listening { .. } | State::Keeping(_) | State::Up(_) => {
                service.next_policy = Some(policy);
            }
        }
    }

    /// Forgets a service that is down; `false` (and nothing done) when it is not.
    pub fn forget(&mut self, id: ServiceId) -> bool {
        let Some(service) = self.services.get(&id).filter(|service| service.is_forgettable()) else { return false };
        self.graph.remove(service.node());
        self.put_off.remove(&id);
        self.waiting_for.remove(&id);
        self.services.remove(&id);
        true
    }

    /// Names that a start of `id` would pull in (recursively) or that have to exist for it, and that are not defined
    /// yet, so that the daemon can load them before it passes `StartRequested` on.
    pub fn missing_for_start(&self, id: ServiceId) -> Vec<String> {
        let names = |id: ServiceId| {
            let service = self.services.get(&id);
            let policy = service.map(|service| service.next_policy.as_deref().unwrap_or(&service.policy));
            policy.into_iter().flat_map(|policy| policy.pulled_in().chain(policy.named_for_good()))
        };
        let reached = reach(id, |id| names(id).filter_map(|name| self.graph.id(name)).collect());
        let missing: BTreeSet<&String> =
            reached.into_iter().flat_map(names).filter(|name| self.graph.id(name).is_none()).collect();
        missing.into_iter().cloned().collect()
    }

    /// Advances the machine. Never blocks, never fails, never reads a clock.
    pub fn step(&mut self, now: Moment, event: Event) -> Vec<Action> {
        let mut work = Work::default();
        self.take_in(now, &mut work, event);
        loop {
            self.pass_on(now, &mut work);
            if !self.hear_replicas(now, &mut work) {
                break;
            }
        }
        for id in std::mem::take(&mut work.touched) {
            self.settle(now, id);
        }
        for action in &work.actions {
            if let Action::Reply { request, .. } = action {
                self.requests.remove(request);
            }
        }
        work.actions
    }

    /// The earliest moment at which `DeadlinePassed` should be delivered, if any.
    pub fn next_deadline(&self) -> Option<Moment> {
        let earliest = self.deadlines.first().map(|(moment, _)| *moment);
        [earliest, self.end_of_round].into_iter().flatten().min()
    }

    /// Services of which something has been accepted, or is done with, since this was asked last. What is promised must
    /// be written down before anything is done about it and before anybody is answered.
    pub fn take_promised(&mut self) -> BTreeSet<ServiceId> {
        std::mem::take(&mut self.promised)
    }

    /// Snapshot of one service.
    pub fn status(&self, id: ServiceId) -> Option<Status> {
        self.services.get(&id).map(|service| service.status())
    }

    fn take_in(&mut self, now: Moment, work: &mut Work, event: Event) {
        match event {
            Event::StartRequested { id, request } => {
                self.note_request(request, id);
                self.with(now, work, id, |service, _| service.links = 0);
                self.start(now, work, id, request);
            }
            Event::Triggered { id, links } => {
                self.with(now, work, id, |service, _| service.links = links);
                self.start(now, work, id, None);
            }
            Event::StopRequested { id, request } => {
                self.note_request(request, id);
                self.stop(now, work, id, request);
            }
            Event::RestartRequested { id, request } => {
                self.note_request(request, id);
                self.restart(now, work, id, request);
            }
            Event::ScaleRequested { id, number, request } => {
                self.note_request(request, id);
                self.scale(now, work, id, number, request);
            }
            Event::ReloadRequested { id, request } if self.is_keeping(id) => {
                self.note_request(request, id);
                self.reload_kept(now, work, id, request);
            }
            Event::ReloadRequested { id, request } => {
                self.note_request(request, id);
                if self.with(now, work, id, |service, turn| service.wish_reload(turn, request)).is_none() {
                    no_such_service(work, request);
                }
            }
            Event::ResetFailedRequested { id, request } => {
                self.with(now, work, id, |service, turn| service.reset(turn));
                work.actions.extend(request.map(|request| Action::Reply { request, outcome: Outcome::Done }));
            }
            Event::RequestAbandoned { request } => {
                if let Some(id) = self.requests.remove(&request) {
                    self.with(now, work, id, |service, _| service.abandon(request));
                }
            }
            Event::Executed { id, role } => self.learn(now, work, id, Fact::Executed(role)),
            Event::LaunchFailed { id, failure } => self.learn(now, work, id, Fact::LaunchFailed(failure)),
            Event::MainExited { id, exit, oom } => self.learn(now, work, id, Fact::MainExited { exit, oom }),
            Event::CommandEnded { id, role, outcome } => {
                self.learn(now, work, id, Fact::CommandEnded { role, outcome });
            }
            Event::CgroupEmptied { id } => self.learn(now, work, id, Fact::CgroupEmptied),
            Event::BecameReady { id } => self.learn(now, work, id, Fact::BecameReady),
            Event::Reloading { id, begun } => self.learn(now, work, id, Fact::Reloading { begun }),
            Event::Stopping { id } => self.learn(now, work, id, Fact::Stopping),
            Event::StatusText { id, text } => self.learn(now, work, id, Fact::StatusText(text)),
            Event::SocketsOpened { id } => self.learn(now, work, id, Fact::SocketsOpened),
            Event::SocketsFailed { id, failure } => self.learn(now, work, id, Fact::SocketsFailed(failure)),
            Event::Activated { id } => self.learn(now, work, id, Fact::Triggered),
            Event::Said { id, word } => self.learn(now, work, id, Fact::Said(word)),
            Event::Checked { id, number, failure } => self.learn(now, work, id, Fact::Checked { number, failure }),
            Event::LaunchWaits { id } => self.learn(now, work, id, Fact::LaunchWaits),
            Event::LaunchBegins { id } => self.learn(now, work, id, Fact::LaunchBegins),
            Event::DeadlinePassed => self.deadline_passed(now, work),
            Event::Adopted { id, ready, since, restarts, stopping, watchdog, said_ready, restart_times } => {
                self.surveying = true;
                let found = Adopted { ready, since, restarts, stopping, watchdog, said_ready, restart_times };
                self.with(now, work, id, |service, turn| service.adopt(turn, found));
            }
            Event::AdoptedAtStart { id, populated, restarts, restart_times } => {
                self.surveying = true;
                let restarts = Restarts::carried_over(restarts, restart_times);
                self.with(now, work, id, |service, turn| service.adopt_at_start(turn, populated, restarts));
            }
            Event::AdoptedExited { id, since, restarts, stopping, main_exit } => {
                self.surveying = true;
                let found = Remained { since, restarts, stopping, main_exit };
                self.with(now, work, id, |service, turn| service.adopt_exited(turn, found));
            }
            Event::AdoptedGoingDown { id, restarts, restart_times, stopping, descent } => {
                self.surveying = true;
                let restarts = Restarts::carried_over(restarts, restart_times);
                self.with(now, work, id, |service, turn| service.adopt_going_down(turn, restarts, stopping, descent));
            }
            Event::AdoptedAtEnd { id, stopping, end } => {
                self.surveying = true;
                self.with(now, work, id, |service, turn| service.adopt_at_end(turn, stopping, end));
            }
            Event::Remembered { id, rest } => {
                self.surveying = true;
                self.with(now, work, id, |service, _| service.remember(rest));
            }
            Event::StartRejoined { id, request } => {
                self.note_request(Some(request), id);
                self.rejoin_start(now, work, id, request);
            }
            Event::SetRemembered { id, kept } => {
                self.surveying = true;
                self.with(now, work, id, |service, _| service.remember_set(kept));
            }
            Event::Examined { id, unmet } => {
                if self.with(now, work, id, |service, turn| service.examined(turn, unmet)) == Some(true) {
                    self.begin_if_free(now, work, id);
                }
            }
            Event::Surveyed => self.surveyed(now, work),
        }
    }

    fn note_request(&mut self, request: Option<RequestId>, id: ServiceId) {
        self.requests.extend(request.map(|request| (request, id)));
    }

    fn learn(&mut self, now: Moment, work: &mut Work, id: ServiceId, fact: Fact) {
        // A fact about a service that was forgotten meanwhile is about nothing.
        self.with(now, work, id, |service, turn| service.learn(turn, fact));
    }

    /// Fires every deadline that is due, each once; what these set anew waits for the next call.
    fn deadline_passed(&mut self, now: Moment, work: &mut Work) {
        self.end_round(now, work);
        let due: Vec<ServiceId> = self.deadlines.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect();
        for id in due {
            self.learn(now, work, id, Fact::DeadlinePassed);
        }
    }

    /// Brings the index of deadlines and the time of the last visible change up to date.
    fn settle(&mut self, now: Moment, id: ServiceId) {
        let Some(service) = self.services.get_mut(&id) else { return };
        service.look(now);
        service.waiters.tidy();
        let promise = service.promise();
        if std::mem::replace(&mut service.promised, promise) != promise {
            self.promised.insert(id);
        }
        let deadline = service.deadline();
        if service.indexed != deadline {
            self.deadlines.extend(deadline.map(|at| (at, id)));
            if let Some(old) = std::mem::replace(&mut service.indexed, deadline) {
                self.deadlines.remove(&(old, id));
            }
        }
    }
}

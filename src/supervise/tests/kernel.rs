//! The kernel's side of the toy world: processes come, go and are reported.

use super::bench::launch_failure;
use super::world::{Host, Main, Manners, World, id};
use crate::supervise::{ActiveState, CommandOutcome, Event, Exit, Role, SubState, Target, Word};
use crate::unit::ReadyKind;
use std::time::Duration;

impl World {
    /// One report of this service, any of those owed.
    pub fn deliver(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        if !host.sockets.is_empty() {
            let event = host.sockets.remove(0);
            return self.step(event);
        }
        let owed = host.inbox.len() + usize::from(host.emptied);
        if owed == 0 {
            return;
        }
        let choice = self.choices.below(owed);
        if choice < host.inbox.len() {
            let event = host.inbox.remove(choice);
            if matches!(event, Event::Checked { .. }) {
                host.checking = None;
            }
            self.step(event);
        } else {
            host.emptied = false;
            // Whoever reports emptiness has just looked.
            if host.is_empty() {
                self.step(Event::CgroupEmptied { id: id(index) });
            }
        }
    }

    pub fn deliver_all(&mut self) {
        // What one is told can make others owe something.
        let owes = |host: &Host| !host.sockets.is_empty() || !host.inbox.is_empty() || host.emptied;
        while let Some(index) = self.hosts.iter().position(owes) {
            self.deliver(index);
        }
    }

    /// Something happens to the processes of a service.
    pub fn happen(&mut self, index: usize) {
        if self.hosts[index].listening && self.hosts[index].sockets.is_empty() && self.choices.one_in(3) {
            self.hosts[index].listening = false;
            return self.step(Event::Activated { id: id(index) });
        }
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
            3 if host.main == Main::Program => {
                self.step(Event::Reloading { id: id(index), begun: Some(self.bench.now) })
            }
            4 if host.main == Main::Program => self.says(index),
            _ => {
                self.becomes_ready(index);
            }
        }
    }

    fn says(&mut self, index: usize) {
        let id = id(index);
        let word = match self.choices.below(8) {
            0 => return self.step(Event::StatusText { id, text: "busy".into() }),
            1 => return self.step(Event::Stopping { id }),
            2 => Word::ExtendTimeout(Duration::from_secs(3)),
            3 => Word::Trigger,
            4 => Word::WatchdogInterval(Duration::from_secs(5)),
            5 => Word::WatchdogInterval(Duration::ZERO),
            6 => Word::ResetRestarts,
            _ => Word::Alive,
        };
        self.step(Event::Said { id, word });
    }

    pub fn go_on_well(&mut self, index: usize) -> bool {
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
            if self.bench.status(id(index)).substate == SubState::ReloadSignal {
                self.step(Event::Reloading { id: id(index), begun: Some(self.bench.now) });
            }
            let state = self.bench.status(id(index)).state;
            let asks = matches!(state, ActiveState::Activating | ActiveState::Reloading);
            return asks && self.becomes_ready(index);
        }
        true
    }

    pub fn executes(&mut self, index: usize) {
        let forking = self.policies[index].ready == ReadyKind::PidFile;
        let host = &mut self.hosts[index];
        host.main = if forking { Main::Launcher } else { Main::Program };
        host.inbox.push(Event::Executed { id: id(index), role: Role::Main });
    }

    pub fn launch_fails(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        host.main = Main::None;
        host.inbox.push(Event::LaunchFailed { id: id(index), failure: launch_failure() });
        self.note_emptiness(index);
    }

    pub fn main_ends(&mut self, index: usize, exit: Exit) {
        let oom = self.choices.one_in(5);
        let leaves = self.choices.one_in(3);
        let host = &mut self.hosts[index];
        host.main = Main::None;
        host.leftovers |= leaves;
        host.inbox.push(Event::MainExited { id: id(index), exit, oom });
        self.note_emptiness(index);
    }

    pub fn command_ends(&mut self, index: usize, exit: Exit) {
        let outcome = match self.choices.below(8) {
            7 => CommandOutcome::NotLaunched(launch_failure().into()),
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
    pub fn becomes_ready(&mut self, index: usize) -> bool {
        let ready = self.policies[index].ready;
        let host = &mut self.hosts[index];
        let can = match ready {
            ReadyKind::Notify => host.main == Main::Program,
            ReadyKind::Checked => host.main == Main::Program && host.watched,
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

    /// A question for its health: one at a time, of a service that is there.
    pub fn check(&mut self, index: usize, number: u32) {
        let host = &mut self.hosts[index];
        assert_eq!(host.checking, None, "one question at a time");
        assert!(host.main != Main::None || !host.inbox.is_empty(), "asked of nobody: {host:?}");
        host.checking = Some(number);
        if self.choices.one_in(3) {
            return; // The answer takes longer than is waited for.
        }
        let failure = self.choices.one_in(2).then(|| "ill".to_owned());
        self.hosts[index].inbox.push(Event::Checked { id: id(index), number, failure });
    }

    pub fn abandon_check(&mut self, index: usize) {
        assert!(self.hosts[index].checking.take().is_some(), "what is not asked is not abandoned");
        self.hosts[index].inbox.retain(|event| !matches!(event, Event::Checked { .. }));
    }

    pub fn kill_group(&mut self, index: usize) {
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

    pub fn note_emptiness(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        host.emptied |= host.is_empty();
    }

    /// The sockets of a service are opened, or not.
    pub fn listen(&mut self, index: usize) {
        let fails = self.choices.one_in(8);
        let host = &mut self.hosts[index];
        host.listening = !fails;
        host.sockets.push(match fails {
            true => Event::SocketsFailed { id: id(index), failure: launch_failure() },
            false => Event::SocketsOpened { id: id(index) },
        });
    }

    pub fn launch(&mut self, index: usize, role: Role) {
        let host = &mut self.hosts[index];
        match role {
            Role::Main => {
                host.listening = false;
                assert!(host.is_empty() && !host.emptied, "{role:?} beside what is there: {host:?}");
                assert!(host.inbox.is_empty(), "reports of an earlier launch are owed: {:?}", host.inbox);
                host.main = Main::SettingUp;
            }
            Role::StartPre(_) | Role::StopPost(_) | Role::Hook(_) => {
                assert!(host.is_empty() && !host.emptied, "{role:?} beside what is there: {host:?}");
                assert!(host.inbox.is_empty(), "reports of an earlier launch are owed: {:?}", host.inbox);
                host.control = Some(role);
            }
            Role::StartPost(_) | Role::Reload(_) | Role::Stop(_) => {
                let alone = matches!(role, Role::Stop(_)) && self.policies[index].remains;
                assert!(!alone || host.is_empty(), "{role:?} beside what is there: {host:?}");
                assert_eq!(host.control, None, "one command at a time");
                host.control = Some(role);
            }
            Role::Ready | Role::Health => panic!("{role:?} is not for the machine to launch"),
        }
    }

    pub fn signal(&mut self, index: usize, target: Target, signal: i32) {
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
}

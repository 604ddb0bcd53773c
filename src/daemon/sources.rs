//! What the loop watches: each registered descriptor, whose it is, and who is told when it is ready.

use super::engine::{Engine, to_io};
use crate::supervise::{Role, ServiceId};
use crate::sys::poll::{Interest, Ready, Token};
use std::io;
use std::os::fd::AsFd;

/// What a registered descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// `cgroup.events` of all groups.
    Groups,
    /// Reports of a launch.
    Report(ServiceId, Place),
    /// The launched process (PID 1 of the container, or the service itself) ended.
    Process(ServiceId, Place),
    /// Exit records from all resident inits.
    Exits,
    /// A main process that is not our child ended: adopted, or named by a pid file.
    Main(ServiceId),
    /// Output of the service.
    Log(ServiceId),
    /// Readiness datagrams.
    Notify(ServiceId),
    /// `/dev/log` of the service.
    Syslog(ServiceId),
    /// An answerer has something new in its table.
    Denials(ServiceId),
    /// The journal has room for output of services.
    Journal,
    /// Something arrived at a socket of a unit that listens.
    Socket(ServiceId),
    /// The keeper of a unit's sockets ended.
    Keeper(ServiceId),
    /// The keeper of the instance ended.
    InstanceKeeper,
    /// A stored descriptor hung up.
    Stored(ServiceId),
    /// The earliest time of the calendar has come, or the clock was set.
    WallClock,
    /// Reports of a command that is being launched beside a service.
    Errand(u64),
    /// PID 1 of a run that is over, or who stands in for such a command.
    Retired,
}

/// Which of a service's two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `service.exec`.
    Main,
    /// The command around it.
    Control,
    /// The command that asks whether it is ready, or well.
    Check,
}

impl From<Role> for Place {
    fn from(role: Role) -> Place {
        match role {
            Role::Main => Place::Main,
            Role::Ready | Role::Health => Place::Check,
            Role::StartPre(_)
            | Role::StartPost(_)
            | Role::Reload(_)
            | Role::Stop(_)
            | Role::StopPost(_)
            | Role::Hook(_) => Place::Control,
        }
    }
}

impl Engine {
    /// Registers a descriptor for reading.
    pub fn watch<F: AsFd>(&mut self, fd: F, source: Source) -> io::Result<Token> {
        self.watch_for(fd, Interest::Read, source)
    }

    /// Registers a descriptor.
    pub fn watch_for<F: AsFd>(&mut self, fd: F, interest: Interest, source: Source) -> io::Result<Token> {
        let added = self.poller.add(fd, interest).map_err(to_io);
        let token = added.map_err(super::scarcity::of_watch)?;
        self.sources.insert(token, source);
        Ok(token)
    }

    /// Forgets a registration; the descriptor is closed by its owner afterwards.
    pub fn unwatch<F: AsFd>(&mut self, fd: F, token: Token) {
        self.sources.remove(&token);
        // Closing would do it too, unless a copy of the descriptor lives in a child that is just being cloned.
        let _ = self.poller.remove(fd);
    }

    /// Hands a ready descriptor to whoever it is about.
    pub(super) fn ready(&mut self, source: Source, event: Ready) {
        match source {
            Source::Groups => self.groups_changed(),
            Source::Report(id, place) => self.report_ready(id, place),
            Source::Process(id, place) => self.process_ended(id, place),
            Source::Exits => self.exits_ready(),
            Source::Main(id) => self.adopted_main_ended(id),
            Source::Log(id) => self.log_ready(id),
            Source::Notify(id) => self.notify_ready(id),
            Source::Syslog(id) => self.syslog_ready(id),
            Source::Denials(id) => self.denials_ready(id),
            Source::Journal => self.journal_ready(),
            Source::Socket(id) if self.accepts_at(id, event.token) => self.accept_connections(id, event.token),
            Source::Socket(id) => self.trigger(id),
            Source::Keeper(id) => self.keeper_ended(id),
            Source::InstanceKeeper => self.instance_keeper_ended(),
            Source::Stored(id) => self.stored_hung_up(id, event.token),
            Source::WallClock => self.wall_clock_ready(),
            Source::Errand(number) => self.errand_ready(number),
            Source::Retired => self.reap_retired(event.token),
        }
    }
}

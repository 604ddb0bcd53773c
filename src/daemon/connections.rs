//! `sockets.accept`: one instance of a unit for each connection.
//!
//! ```text
//!  echo (listens) ── accept4 ──▶ within the limits? ──▶ echo@7: defined, started, passed the connection, forgotten
//!                                     └── no: closed, counted
//! ```
//!
//! `echo@7` is a service like any other: it has a group, a state file and a log, and the next daemon takes it over. What
//! it is made of is `echo.toml` as it was when `echo` began to listen; a restart of `echo` reads it again. No file has
//! its name, so nobody can start it, and nothing is left of it when it has ended. Numbers count up while the unit
//! listens, whatever becomes of the daemon: the listener's state names the last one, and so does whoever still runs.

use super::asked::set_by;
use super::definition::fingerprint;
use super::engine::{Engine, Timer, now};
use super::launch::failure;
use crate::control::CallError;
use crate::load;
use crate::supervise::{ActiveState, Event, LaunchFailure, Moment, ServiceId};
use crate::sys::socket::peer_credentials;
use crate::unit::value::print_socket_address;
use crate::unit::{ParseOptions, SocketAddress, Unit};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, getpeername};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Connections accepted before somebody else has a turn.
const ACCEPTS: usize = 16;
/// After the kernel had no descriptor or memory for a connection.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two lines about connections that were closed.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(1);
/// Connections whose logs are kept.
const KEPT_LOGS: u64 = 64;

/// What a listening unit knows of its connections.
#[derive(Debug, Default)]
pub(super) struct Accepting {
    /// The texts that instances are made of.
    found: Option<load::Found>,
    /// Number of the last instance.
    pub last: u64,
    /// Connections that were given to an instance by this daemon.
    pub accepted: u64,
    /// Connections that were closed at once by this daemon.
    pub refused: u64,
    /// When the last line about such ones was logged.
    told: Option<Moment>,
    /// Closed since, without a line.
    untold: u64,
}

/// What an instance serves.
#[derive(Debug)]
pub(super) struct Connection {
    /// The socket, until the main process has it.
    pub socket: Option<OwnedFd>,
    /// Name of the socket that it came by.
    pub name: String,
    /// What the next daemon has to know.
    pub saved: SavedConnection,
}

/// The part of a connection that is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedConnection {
    /// The unit that accepted it.
    pub listener: String,
    /// `sockets.listen` of the socket that it came by.
    pub listen: String,
    /// Who it is counted as.
    pub source: String,
    /// Address and port of the peer, for TCP.
    pub remote: Option<(String, u16)>,
}

/// What became of an attempt to accept.
enum Accepted {
    One(OwnedFd),
    /// Nobody waits.
    None,
    /// That client has gone again.
    Gone,
    /// The kernel cannot.
    Failed(Errno),
}

fn accept(listener: BorrowedFd<'_>) -> Accepted {
    match accept_with(listener, SocketFlags::CLOEXEC) {
        Ok(fd) => Accepted::One(fd),
        Err(Errno::AGAIN) => Accepted::None,
        Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::INVAL | Errno::BADF)) => {
            Accepted::Failed(errno)
        }
        // Errors of the connection itself, which accept(2) passes on.
        Err(_) => Accepted::Gone,
    }
}

/// Address and port of the other side; `None` unless it is TCP. IPv4 is named as such on a socket of both kinds.
fn remote(fd: BorrowedFd<'_>) -> Option<(String, u16)> {
    let address = SocketAddr::try_from(getpeername(fd).ok()??).ok()?;
    Some((address.ip().to_canonical().to_string(), address.port()))
}

/// The listener and the number in the name of an instance.
fn split(name: &str) -> Option<(&str, u64)> {
    let (listener, number) = name.split_once('@')?;
    Some((listener, number.parse().ok()?))
}

/// The same in the name of a note, `echo@7`, or of a log, `echo@7.log.1`.
fn trace_of(file: &str) -> Option<(&str, u64)> {
    let (listener, rest) = file.split_once('@')?;
    let end = rest.find('.').unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(end);
    let is_ours = suffix.is_empty() || suffix == ".log" || suffix.starts_with(".log.");
    Some((listener, number.parse().ok()?)).filter(|_| is_ours)
}

impl Engine {
    /// Does this unit, as it listens or would listen, accept?
    pub(super) fn accepts(&self, id: ServiceId) -> bool {
        self.service(id).and_then(|service| service.unit.as_ref()).is_some_and(|unit| unit.accepts())
    }

    /// Remembers what instances are made of. Called before the sockets are watched.
    ///
    /// # Errors
    /// The file is gone, or a template has the names of the instances.
    pub(super) fn prepare_to_accept(&mut self, id: ServiceId, unit: &Unit) -> Result<(), LaunchFailure> {
        if !unit.accepts() {
            if let Some(service) = self.services.get_mut(&id) {
                service.accepting = None;
            }
            return Ok(());
        }
        let refused = |why: &str| {
            let place = set_by(unit, &format!("sockets[{}].accept", unit.sockets[0].index));
            Err(failure("FDS", 202, format!("failed at step FDS: accept: {why}{place}")))
        };
        if self.options.foreground {
            return refused(
                "`rsvc run` runs one instance of a unit: this one needs the daemon, or `rsvc run` of a \
                            program that accepts by itself",
            );
        }
        if load::exists(&self.options.unit_path, &format!("{}@1", unit.name)) {
            let why =
                format!("the template {0}@.toml has the names of its instances: rename one of the two", unit.name);
            return refused(&why);
        }
        let found = match load::find(&self.options.unit_path, &unit.name, self.trust()) {
            Ok(load::Lookup::Found(found)) => found,
            _ => return refused("the unit file is gone or unusable"),
        };
        let running = self.connections_of(&unit.name).filter_map(|(_, name)| Some(split(name)?.1)).max();
        if let Some(service) = self.services.get_mut(&id) {
            let accepting = service.accepting.get_or_insert_default();
            accepting.last = accepting.last.max(running.unwrap_or(0));
            accepting.found = Some(found);
        }
        Ok(())
    }

    /// Instances of a unit that accepts, with their names.
    pub(super) fn connections_of(&self, listener: &str) -> impl Iterator<Item = (ServiceId, &str)> {
        let of = move |service: &super::service::Service| {
            service.connection.as_ref().is_some_and(|connection| connection.saved.listener == listener)
        };
        let services = self.services.iter();
        services.filter(move |(_, service)| of(service)).map(|(id, service)| (*id, service.name.as_str()))
    }

    /// Somebody connects. Called again and again while somebody waits.
    pub(super) fn accept_connections(&mut self, id: ServiceId, token: crate::sys::poll::Token) {
        for _ in 0..ACCEPTS {
            let Some((listener, settings)) = self.watched_socket(id, token) else { return };
            match accept(listener) {
                Accepted::One(socket) => {
                    let settings = settings.clone();
                    self.take_connection(id, &settings, socket);
                }
                Accepted::None => return,
                Accepted::Gone => {}
                Accepted::Failed(errno) => {
                    let name = self.service(id).map_or_else(String::new, |service| service.name.clone());
                    tracing::error!(unit = name, "{name}: nothing is accepted for a moment: {errno}");
                    self.unwatch_sockets(id);
                    return self.after(PAUSE, Timer::Accept(id));
                }
            }
        }
    }

    fn take_connection(&mut self, id: ServiceId, settings: &crate::unit::SocketSettings, socket: OwnedFd) {
        let Some(listener) = self.service(id).map(|service| service.name.clone()) else { return };
        let remote = match settings.listen {
            SocketAddress::Tcp(_) => remote(socket.as_fd()),
            _ => None,
        };
        let source = match (&settings.listen, &remote) {
            (SocketAddress::Tcp(_), Some((address, _))) => address.clone(),
            // It has hung up already.
            (SocketAddress::Tcp(_), None) => return,
            _ => match peer_credentials(socket.as_fd()) {
                Ok(peer) => format!("user {}", peer.uid),
                Err(_) => return,
            },
        };
        let listen = print_socket_address(&settings.listen);
        let saved = SavedConnection { listener, listen, source, remote };
        let started = match self.check_limits(settings, &saved) {
            Ok(()) => self.start_instance(id, Connection { socket: Some(socket), name: settings.name.clone(), saved }),
            Err(why) => Err(why),
        };
        match started {
            Ok(()) => {
                if let Some(accepting) = self.services.get_mut(&id).and_then(|service| service.accepting.as_mut()) {
                    accepting.accepted += 1;
                }
            }
            Err(why) => self.refused(id, &why),
        }
    }

    /// Is there room for one more?
    fn check_limits(&self, settings: &crate::unit::SocketSettings, new: &SavedConnection) -> Result<(), String> {
        let (mut all, mut of_source) = (0, 0);
        for (id, _) in self.connections_of(&new.listener) {
            let Some(other) = self.service(id).and_then(|service| service.connection.as_ref()) else { continue };
            if other.saved.listen == new.listen {
                all += 1;
                of_source += u32::from(other.saved.source == new.source);
            }
        }
        if all >= settings.max_connections {
            return Err(format!("sockets.max_connections is {}", settings.max_connections));
        }
        let most = settings.max_connections_per_source;
        if most > 0 && of_source >= most {
            return Err(format!("sockets.max_connections_per_source is {most}, of {}", new.source));
        }
        self.check_room_for_launch().map_err(|failure| failure.message)
    }

    fn start_instance(&mut self, id: ServiceId, connection: Connection) -> Result<(), String> {
        let Some(accepting) = self.services.get_mut(&id).and_then(|service| service.accepting.as_mut()) else {
            return Err("the unit does not accept any more".to_owned());
        };
        accepting.last += 1;
        let number = accepting.last;
        let found = accepting.found.clone().ok_or("the unit file is gone or unusable")?;
        let name = format!("{}@{number}", connection.saved.listener);
        let instance = self.define_instance(&found, &name)?;
        if let Some(service) = self.services.get_mut(&instance) {
            service.connection = Some(Box::new(connection));
        }
        // The listener's state has the number.
        self.dirty.insert(id);
        self.load_around(instance, &name);
        self.events.push_back(Event::StartRequested { id: instance, request: None });
        Ok(())
    }

    fn define_instance(&mut self, found: &load::Found, name: &str) -> Result<ServiceId, String> {
        let print = fingerprint(found);
        let instance = load::Found { name: name.to_owned(), ..found.clone() };
        let parsed = instance.parse(ParseOptions::default());
        let (unit, _) = parsed.map_err(|problems| instance.draw(&problems, Default::default()))?;
        Ok(self.define(unit.for_connection(&found.name), print))
    }

    /// A connection was closed; said at most once in [`COMPLAINT_INTERVAL`].
    fn refused(&mut self, id: ServiceId, why: &str) {
        let Some(service) = self.services.get_mut(&id) else { return };
        let Some(accepting) = service.accepting.as_mut() else { return };
        accepting.refused += 1;
        accepting.untold += 1;
        let present = now();
        if accepting.told.is_none_or(|told| present.since(told) >= COMPLAINT_INTERVAL) {
            let count = std::mem::take(&mut accepting.untold);
            accepting.told = Some(present);
            let name = &service.name;
            tracing::warn!(unit = name, "{name}: connections closed at once: {count}, the last as {why}");
        }
    }

    /// The service of an earlier daemon under the name of an instance: of what it is made now. `None`: it is none.
    pub(super) fn adopt_connection(&mut self, name: &str, saved: Option<SavedConnection>) -> Option<ServiceId> {
        let (listener, _) = split(name)?;
        if load::exists(&self.options.unit_path, name) {
            return None;
        }
        let file = saved.as_ref().map_or(listener, |saved| &saved.listener).to_owned();
        let found = match load::find(&self.options.unit_path, &file, self.trust()) {
            Ok(load::Lookup::Found(found)) => Some(found),
            _ => None,
        };
        let accepts = |found: &load::Found| found.parse(ParseOptions::default()).is_ok_and(|(unit, _)| unit.accepts());
        if saved.is_none() && !found.as_ref().is_some_and(accepts) {
            return None;
        }
        // Without a word: the daemon was killed before it wrote one. What runs is ended, like all that is not known.
        let unknown = SavedConnection { listener: file, listen: String::new(), source: String::new(), remote: None };
        let id = match found.map(|found| self.define_instance(&found, name)) {
            Some(Ok(id)) => id,
            _ => self.bare_service(name),
        };
        let saved = saved.unwrap_or(unknown);
        self.ended_connections.insert(id);
        if let Some(service) = self.services.get_mut(&id) {
            service.connection = Some(Box::new(Connection { socket: None, name: String::new(), saved }));
        }
        Some(id)
    }

    /// Why `unit` cannot be started by hand.
    ///
    /// # Errors
    /// It is the name of an instance.
    pub(super) fn refuse_connection(&self, unit: &str) -> Result<(), CallError> {
        let Some((listener, _)) = split(unit) else { return Ok(()) };
        let known = self.names.get(unit).and_then(|id| self.service(*id));
        let is_instance = match known {
            Some(service) => service.connection.is_some(),
            None => self.names.get(listener).is_some_and(|id| self.accepts(*id)),
        };
        if !is_instance || load::exists(&self.options.unit_path, unit) {
            return Ok(());
        }
        let message = format!(
            "{unit}: {listener} accepts connections, and only a connection starts an instance of it: start {listener}"
        );
        Err(CallError::NotSupported { unit: unit.to_owned(), message })
    }

    /// Is this an instance that serves a connection?
    pub(super) fn serves_connection(&self, id: ServiceId) -> bool {
        self.service(id).is_some_and(|service| service.connection.is_some())
    }

    /// Connections now, accepted and refused, of a unit that accepts.
    pub(super) fn connection_counts(&self, id: ServiceId) -> Option<(u64, u64, u64)> {
        let service = self.service(id)?;
        let accepting = service.accepting.as_ref()?;
        let present = self.connections_of(&service.name).count() as u64;
        Some((present, accepting.accepted, accepting.refused))
    }

    /// Leaves nothing of instances that have ended, but their logs for a while.
    pub(super) fn forget_ended_connections(&mut self) {
        for id in std::mem::take(&mut self.ended_connections) {
            let Some(status) = self.supervisor.status(id) else { continue };
            if !matches!(status.state, ActiveState::Inactive | ActiveState::Failed) {
                continue; // Told again at its end.
            }
            let Some(service) = self.services.get(&id) else { continue };
            let processes = [&service.main, &service.control, &service.check];
            let idle = processes.iter().all(|process| process.is_none()) && service.removing.is_empty();
            if !idle || service.group.is_some() || !self.supervisor.forget(id) {
                self.ended_connections.insert(id);
                continue;
            }
            if let Some(service) = self.services.remove(&id) {
                self.names.remove(&service.name);
                self.plans.forget(id);
                self.dirty.remove(&id);
                self.remove_traces(&service.name);
                self.forget_range(&service.name);
            }
        }
    }

    /// Logs and notes of connections that are long over, which daemons had no time to remove before they were killed.
    pub(super) fn sweep_connections(&self) {
        let accepting = self.services.values().filter_map(|s| Some((s.name.as_str(), s.accepting.as_ref()?.last)));
        let last: HashMap<&str, u64> = accepting.collect();
        let directories = [self.options.state_dir.join("runs"), self.options.log_dir.clone()];
        for directory in directories.iter().filter(|_| !last.is_empty()) {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let Some((listener, number)) = name.to_str().and_then(trace_of) else { continue };
                if last.get(listener).is_some_and(|last| number.saturating_add(KEPT_LOGS) <= *last) {
                    let _ = std::fs::remove_file(entry.path());
                }
            }
        }
    }

    pub(super) fn remove_traces(&self, name: &str) {
        let _ = std::fs::remove_dir_all(super::state::directory(&self.options.runtime_dir, name));
        let Some((listener, number)) = split(name) else { return };
        let Some(old) = number.checked_sub(KEPT_LOGS) else { return };
        let old = format!("{listener}@{old}");
        let _ = std::fs::remove_file(self.options.state_dir.join("runs").join(&old));
        let mut log = self.options.log_dir.join(format!("{old}.log"));
        for rotated in 1.. {
            if std::fs::remove_file(&log).is_err() {
                break;
            }
            log = self.options.log_dir.join(format!("{old}.log.{rotated}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_known_by_their_names_and_nothing_else_is_one() {
        let table = [
            ("echo@7", Some(("echo", 7))),
            ("echo@7.log", Some(("echo", 7))),
            ("a.b@12.log.3", Some(("a.b", 12))),
            ("echo.log", None),
            ("echo@x.log", None),
            ("echo@7.toml", None),
            ("echo@7x.log", None),
            ("echo@", None),
        ];
        for (name, expected) in table {
            assert_eq!(trace_of(name), expected, "{name}");
        }
    }
}

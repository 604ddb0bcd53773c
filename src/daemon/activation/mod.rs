//! `[[sockets]]`: opened by the daemon, kept beside it, handed to the service, watched while that is not running.
//! What a service has stored (`store`) is kept and handed over in the same way.
//!
//! ```text
//!           opens                 copies                     copies
//!  daemon ──────────▶ sockets ───────────▶ keeper ─ ─ ─ ─ ─ ─ ─ ─ ─ ─▶ the next daemon
//!     └─ watches them while the unit listens; at a launch the main process gets them from descriptor 3 on
//! ```
//!
//! The sockets of a unit are opened by its first launch, or by the order to listen, and closed when it is down for
//! good. A restart with a changed unit keeps every socket whose address has not changed.

mod in_use;
pub(super) mod keeper;
mod open;
mod path;
mod store;

use super::asked::set_by;
use super::engine::{Engine, Source, Timer, now};
use super::launch::failure;
use super::service::{Service, Watched};
use crate::supervise::{Event, LaunchFailure, ServiceId};
use crate::sys::fd::set_nonblocking;
use crate::sys::poll::Token;
use crate::unit::value::{print_account, print_socket_address, socket_address};
use crate::unit::{SocketSettings, Unit};
pub(super) use keeper::Keeper;
use keeper::{Found, Held, Kept, KeptStored, Making};
use open::{OpenSocket, Owner};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;
pub(super) use store::Store;

/// Between two keepers of a unit, when the first of them ends by itself.
const KEEPER_INTERVAL: Duration = Duration::from_secs(1);

/// The sockets of one unit.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// In the order of the unit file.
    open: Vec<OpenSocket>,
    /// Registrations, while the unit listens.
    watched: Vec<Token>,
}

impl Sockets {
    /// `tcp:0.0.0.0:80`, in order.
    pub fn addresses(&self) -> Vec<String> {
        self.open.iter().map(|socket| print_socket_address(&socket.settings.listen)).collect()
    }
}

impl AsFd for Keeper {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

fn sockets_failure(unit: &Unit, index: Option<usize>, message: &str) -> LaunchFailure {
    let key = index.map_or_else(|| "sockets".to_owned(), |index| format!("sockets[{index}].listen"));
    failure("FDS", 202, format!("failed at step FDS: {message}{}", set_by(unit, &key)))
}

impl Engine {
    /// Opens the sockets and looks for the first thing that arrives in one.
    pub(super) fn listen(&mut self, id: ServiceId) {
        let unit = self.service(id).and_then(|service| service.unit.clone());
        let opened = match &unit {
            Some(unit) => self.open_sockets(id, unit),
            None => Err(failure("FDS", 202, "the unit file of this service is gone or unusable".to_owned())),
        };
        // Said before a timer that is due already may say more.
        let at = self.events.len();
        let prepared = opened.and_then(|()| match &unit {
            Some(unit) => self.prepare_to_accept(id, unit),
            None => Ok(()),
        });
        let armed = prepared.and_then(|()| self.watch_sockets(id)).and_then(|()| match &unit {
            Some(unit) => self.arm_timers(id, unit),
            None => Ok(()),
        });
        let event = match armed {
            Ok(()) => Event::SocketsOpened { id },
            Err(failure) => Event::SocketsFailed { id, failure },
        };
        self.events.insert(at, event);
    }

    /// Opens what is not open, closes what the unit does not name any more, and has a keeper hold the result.
    pub(super) fn open_sockets(&mut self, id: ServiceId, unit: &Rc<Unit>) -> Result<(), LaunchFailure> {
        self.unwatch_sockets(id);
        let wanted = &unit.sockets;
        let present = self.service(id).and_then(|service| service.sockets.as_ref());
        let unchanged = present.map_or(wanted.is_empty(), |sockets| {
            sockets.open.len() == wanted.len() && sockets.open.iter().zip(wanted).all(|(o, w)| o.settings == *w)
        });
        let kept = self.service(id).is_some_and(|service| service.keeper.is_some()) || self.options.foreground;
        if unchanged && (kept || wanted.is_empty()) {
            return Ok(());
        }
        let mut owners = Vec::new();
        for socket in wanted {
            let owner = self.owner(socket);
            owners.push(owner.map_err(|error| sockets_failure(unit, Some(socket.index), &error))?);
        }
        let Some(service) = self.services.get_mut(&id) else { return Ok(()) };
        let sockets = service.sockets.get_or_insert_default();
        // New ones first: should one fail, those that are open stay as they are.
        let mut new = Vec::new();
        for (settings, owner) in wanted.iter().zip(&owners) {
            if sockets.open.iter().any(|open| open.settings.listen == settings.listen) {
                continue;
            }
            match OpenSocket::open(settings, *owner) {
                Ok(socket) => new.push(socket),
                Err(error) => {
                    new.iter().for_each(OpenSocket::unlink);
                    return Err(sockets_failure(unit, Some(settings.index), &error));
                }
            }
        }
        let mut old = std::mem::take(&mut sockets.open);
        for (settings, owner) in wanted.iter().zip(owners) {
            if let Some(at) = old.iter().position(|open| open.settings.listen == settings.listen) {
                let mut socket = old.swap_remove(at);
                if socket.settings != *settings
                    && let Err(error) = socket.adjust(settings, owner)
                {
                    tracing::warn!(unit = unit.name, "{}: {error}", unit.name);
                }
                sockets.open.push(socket);
            } else if let Some(at) = new.iter().position(|open| open.settings.listen == settings.listen) {
                sockets.open.push(new.swap_remove(at));
            }
        }
        old.iter().for_each(OpenSocket::unlink);
        drop(old);
        self.keep(id).map_err(|error| sockets_failure(unit, None, &format!("their keeper: {error}")))
    }

    fn owner(&mut self, socket: &SocketSettings) -> Result<Owner, String> {
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let accounts = self.host.accounts();
        let (uid, mut gid) = match &socket.user {
            None => own,
            Some(user) => {
                let fact = accounts.user(&print_account(user)).map_err(|error| error.to_string())?;
                (fact.uid, fact.gid)
            }
        };
        if let Some(group) = &socket.group {
            gid = accounts.group(&print_account(group)).map_err(|error| error.to_string())?.gid;
        }
        Ok(Owner { uid, gid })
    }

    /// Starts a keeper of the present sockets and stored descriptors in the place of the last one, or ends that when
    /// there is nothing to keep. `rsvc run` has none: nothing outlives it.
    fn keep(&mut self, id: ServiceId) -> io::Result<()> {
        if self.options.foreground {
            return Ok(());
        }
        let Some(service) = self.services.get(&id) else { return Ok(()) };
        let held = held(service);
        if held.is_empty() {
            // The file first: it must not name a keeper that is gone.
            keeper::forget(&self.options.runtime_dir, &service.name);
            return self.replace_keeper(id, None);
        }
        let group = self.keeper_group();
        let making = Making {
            image: self.init_image.as_fd(),
            null: self.null.as_fd(),
            group: group.as_ref().map(|g| g.as_fd()),
        };
        let keeper = Keeper::start(&making, &self.options.runtime_dir, &service.name, &held)?;
        self.replace_keeper(id, Some(keeper))
    }

    /// Where keepers stand.
    pub(super) fn keeper_group(&self) -> Option<OwnedFd> {
        match self.tree.as_ref().map(|tree| tree.keeper_group()).transpose() {
            Ok(group) => group.flatten(),
            Err(error) => {
                tracing::warn!("keepers stand in the daemon's own group: {error}");
                None
            }
        }
    }

    fn replace_keeper(&mut self, id: ServiceId, keeper: Option<Keeper>) -> io::Result<()> {
        let keeper = match keeper {
            Some(keeper) => Some(Box::new(Watched { token: self.watch(&keeper, Source::Keeper(id))?, fd: keeper })),
            None => None,
        };
        let Some(service) = self.services.get_mut(&id) else { return Ok(()) };
        if let Some(old) = std::mem::replace(&mut service.keeper, keeper) {
            self.dismiss(*old);
        }
        Ok(())
    }

    fn dismiss(&mut self, keeper: Watched<Keeper>) {
        keeper.fd.end();
        self.sources.remove(&keeper.token);
        self.retire(Watched { fd: keeper.fd.pidfd, token: keeper.token });
    }

    /// Somebody has ended a keeper, or it could not begin. One that has just begun is not followed by another at once:
    /// a host that lets none live would keep the daemon busy with nothing else.
    pub(super) fn keeper_ended(&mut self, id: ServiceId) {
        let Some(keeper) = self.services.get_mut(&id).and_then(|service| service.keeper.take()) else { return };
        let lived = now().since(keeper.fd.since);
        self.dismiss(*keeper);
        if lived < KEEPER_INTERVAL {
            self.after(KEEPER_INTERVAL, Timer::Keeper(id));
        } else {
            self.keep_again(id);
        }
    }

    pub(super) fn keep_again(&mut self, id: ServiceId) {
        let Some(service) = self.service(id).filter(|service| service.keeper.is_none()) else { return };
        if held(service).is_empty() {
            return;
        }
        let name = service.name.clone();
        match self.keep(id) {
            Ok(()) => {
                tracing::warn!(unit = name, "{name}: the keeper of its descriptors was ended; there is a new one")
            }
            Err(error) => tracing::error!(
                unit = name,
                "{name}: the keeper of its descriptors was ended, and there is no new one: {error}; they end with the \
                 daemon"
            ),
        }
    }

    fn watch_sockets(&mut self, id: ServiceId) -> Result<(), LaunchFailure> {
        let Some(service) = self.services.get_mut(&id) else { return Ok(()) };
        let Some(mut sockets) = service.sockets.take() else { return Ok(()) };
        let mut failed = None;
        for socket in &sockets.open {
            // The daemon, which accepts here, must never wait.
            let nonblocking = set_nonblocking(socket.fd.as_fd(), socket.settings.accept);
            failed = nonblocking.err().map(super::engine::to_io).or(failed);
            match self.watch(&socket.fd, Source::Socket(id)) {
                Ok(token) => sockets.watched.push(token),
                Err(error) => failed = Some(error),
            }
        }
        if let Some(service) = self.services.get_mut(&id) {
            service.sockets = Some(sockets);
        }
        match failed {
            None => Ok(()),
            Some(error) => {
                self.unwatch_sockets(id);
                Err(failure("FDS", 202, format!("failed at step FDS: sockets: {error}")))
            }
        }
    }

    /// The open socket behind a registration.
    pub(super) fn watched_socket(&self, id: ServiceId, token: Token) -> Option<(BorrowedFd<'_>, &SocketSettings)> {
        let sockets = self.service(id)?.sockets.as_ref()?;
        let at = sockets.watched.iter().position(|watched| *watched == token)?;
        sockets.open.get(at).map(|socket| (socket.fd.as_fd(), &socket.settings))
    }

    /// Is what arrives at this socket accepted by the daemon?
    pub(super) fn accepts_at(&self, id: ServiceId, token: Token) -> bool {
        self.watched_socket(id, token).is_some_and(|(_, settings)| settings.accept)
    }

    /// After a pause in which nothing was accepted.
    pub(super) fn accept_again(&mut self, id: ServiceId) {
        let accepting = self.service(id).filter(|service| service.accepting.is_some());
        let sockets = accepting.and_then(|service| service.sockets.as_ref());
        if sockets.is_some_and(|sockets| sockets.watched.is_empty())
            && let Err(failure) = self.watch_sockets(id)
        {
            self.events.push_back(Event::SocketsFailed { id, failure });
        }
    }

    pub(super) fn unwatch_sockets(&mut self, id: ServiceId) {
        let Some(sockets) = self.services.get_mut(&id).and_then(|service| service.sockets.as_mut()) else { return };
        for (socket, token) in sockets.open.iter().zip(std::mem::take(&mut sockets.watched)) {
            self.sources.remove(&token);
            let _ = self.poller.remove(&socket.fd);
        }
    }

    /// Copies for the main process, and their names: the sockets, then what it stored; or the one connection.
    pub(super) fn sockets_to_pass(&mut self, id: ServiceId) -> io::Result<Vec<(OwnedFd, String)>> {
        if let Some(connection) = self.services.get_mut(&id).and_then(|service| service.connection.as_mut()) {
            let socket = connection.socket.take().ok_or_else(|| io::Error::other("its connection is gone"))?;
            return Ok(vec![(socket, connection.name.clone())]);
        }
        let Some(service) = self.service(id) else { return Ok(Vec::new()) };
        let copy = |socket: &OpenSocket| {
            socket.make_blocking();
            Ok((socket.fd.try_clone()?, socket.settings.name.clone()))
        };
        let open = service.sockets.iter().flat_map(|sockets| &sockets.open);
        let stored = service.store.held().into_iter();
        let stored = stored.map(|(fd, kept)| Ok((fd.try_clone_to_owned()?, kept.name)));
        open.map(copy).chain(stored).collect()
    }

    /// Closes the sockets of a unit that is down, removes their names, and drops what it stored.
    pub(super) fn close_activation(&mut self, id: ServiceId) {
        self.unwatch_sockets(id);
        self.disarm_timers(id);
        self.drop_store(id);
        let Some(service) = self.services.get_mut(&id) else { return };
        service.timers = None;
        service.accepting = None;
        if let Some(sockets) = service.sockets.take() {
            sockets.open.iter().for_each(OpenSocket::unlink);
        }
        let Some(keeper) = service.keeper.take() else { return };
        keeper::forget(&self.options.runtime_dir, &service.name);
        self.dismiss(*keeper);
        if let Some(tree) = &self.tree {
            tree.remove_keeper_group();
        }
    }

    /// Takes over what the keeper of an earlier daemon holds.
    pub(super) fn adopt_sockets(&mut self, id: ServiceId) {
        let Some(service) = self.service(id) else { return };
        let (name, unit) = (service.name.clone(), service.unit.clone());
        let Found { keeper, held } = match Keeper::find(&self.options.runtime_dir, &name) {
            Ok(Some(found)) => found,
            Ok(None) => return,
            Err(why) => {
                tracing::warn!(
                    unit = name,
                    "{name}: {why}; its sockets are opened anew, what waited in them or was stored is lost"
                );
                return keeper::forget(&self.options.runtime_dir, &name);
            }
        };
        let open: Vec<OpenSocket> =
            held.sockets.into_iter().filter_map(|(fd, kept)| reopened(fd, &kept, unit.as_deref())).collect();
        if let Some(service) = self.services.get_mut(&id).filter(|_| !open.is_empty()) {
            service.sockets = Some(Box::new(Sockets { open, ..Sockets::default() }));
        }
        for (fd, KeptStored { name, poll }) in held.stored {
            self.keep_stored(id, fd, &name, poll);
        }
        if let Err(error) = self.replace_keeper(id, Some(keeper)) {
            tracing::error!(unit = name, "{name}: the keeper of its descriptors cannot be watched: {error}");
        }
    }

    /// Ends keepers whose unit is gone: nobody would ever take what arrives.
    pub(super) fn dismiss_stray_keeper(&mut self, name: &str) {
        if let Ok(Some(Found { keeper, held })) = Keeper::find(&self.options.runtime_dir, name) {
            tracing::warn!("{name}: its unit is gone or down, its sockets and stored descriptors are closed");
            held.sockets
                .into_iter()
                .filter_map(|(fd, kept)| reopened(fd, &kept, None))
                .for_each(|socket| socket.unlink());
            keeper.end();
        }
        keeper::forget(&self.options.runtime_dir, name);
    }

    /// Ends keepers that no unit has: of a daemon that was killed while it replaced one by another.
    pub(super) fn dismiss_doubled_keepers(&mut self) {
        let Some(tree) = &self.tree else { return };
        let known = |pid: i32| {
            let keepers = self.services.values().filter_map(|service| service.keeper.as_ref());
            self.is_instance_keeper(pid) || keepers.into_iter().any(|keeper| keeper.fd.identity.pid == pid)
        };
        for pid in tree.keepers().into_iter().filter(|pid| !known(*pid)) {
            let Ok(pidfd) = crate::sys::process::pidfd_open(pid) else { continue };
            // The pidfd is open: who is still in the group is the one that was opened.
            if tree.keepers().contains(&pid) && keeper::is_one(pid) {
                let _ = crate::sys::process::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
            }
        }
    }
}

/// All that a keeper of this service would have to hold.
fn held(service: &Service) -> Held<BorrowedFd<'_>> {
    let kept =
        |socket: &OpenSocket| Kept { listen: print_socket_address(&socket.settings.listen), identity: socket.identity };
    let open = service.sockets.iter().flat_map(|sockets| &sockets.open);
    Held { sockets: open.map(|socket| (socket.fd.as_fd(), kept(socket))).collect(), stored: service.store.held() }
}

/// A socket of an earlier daemon, with the settings that the unit has for it now.
fn reopened(fd: OwnedFd, kept: &Kept, unit: Option<&Unit>) -> Option<OpenSocket> {
    let listen = socket_address(&kept.listen).ok()?;
    let known = unit.and_then(|unit| unit.sockets.iter().find(|socket| socket.listen == listen));
    let settings = known.cloned().unwrap_or(SocketSettings {
        listen,
        name: String::new(),
        mode: 0,
        user: None,
        group: None,
        backlog: 1,
        accept: false,
        max_connections: 1,
        max_connections_per_source: 0,
        index: 0,
    });
    Some(OpenSocket { settings, fd, identity: kept.identity })
}

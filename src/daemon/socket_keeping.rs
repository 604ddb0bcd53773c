//! The notify and syslog sockets of services, which the instance's keeper has open for the next daemon.
//!
//! | name | what |
//! |---|---|
//! | `notify:UNIT` | `io/UNIT/notify` |
//! | `syslog:UNIT` | `io/UNIT/log` |
//!
//! What a service says while no daemon runs waits in them, also when it ends meanwhile. The resident init has the notify
//! socket open too, but only as long as it lives; that one is for the case that the keeper was killed with the daemon.
//!
//! Which socket is kept is which one the name in the directory means, as each order is in the channel before the next
//! thing is done: a socket is kept before anybody can write to it, and given up when it is written down that the unit is
//! down. What was kept and is wanted by nobody is closed when all is taken over, before anything is started.

use super::engine::{Engine, Source};
use super::notify::NotifySocket;
use super::service::Watched;
use super::service_socket::ServiceSocket;
use super::syslog::SyslogSocket;
use crate::supervise::ServiceId;
use crate::unit::Unit;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Notify,
    Syslog,
}

impl Kind {
    const ALL: [Kind; 2] = [Kind::Notify, Kind::Syslog];

    /// Under which it is kept.
    fn slot(self, unit: &str) -> String {
        match self {
            Kind::Notify => format!("notify:{unit}"),
            Kind::Syslog => format!("syslog:{unit}"),
        }
    }

    /// Its name in the directory.
    fn file(self) -> &'static str {
        match self {
            Kind::Notify => "notify",
            Kind::Syslog => "log",
        }
    }
}

impl Engine {
    /// `<runtime>/io/UNIT`
    pub(super) fn io_directory(&self, unit: &str) -> PathBuf {
        self.options.runtime_dir.join("io").join(unit)
    }

    /// Does the daemon listen to what the unit says by syslog(3)?
    pub(super) fn wants_syslog(&mut self, unit: &Unit) -> bool {
        unit.logging.syslog_socket && (unit.logging.is_read(self.options.foreground) || !self.host.journald())
    }

    /// Binds the notify socket of a unit, and keeps it: before there is anybody who could write to it.
    ///
    /// # Errors
    /// Of [`ServiceSocket::bind`] and epoll.
    pub(super) fn open_notify(&mut self, id: ServiceId, directory: &Path) -> io::Result<()> {
        self.release_socket(id, Kind::Notify);
        let socket = NotifySocket::bind(directory)?;
        self.set_notify(id, socket)?;
        self.keep_socket(id, Kind::Notify);
        Ok(())
    }

    /// The same for the syslog socket.
    ///
    /// # Errors
    /// As above.
    pub(super) fn open_syslog(&mut self, id: ServiceId, directory: &Path) -> io::Result<()> {
        self.release_socket(id, Kind::Syslog);
        let socket = SyslogSocket::bind(directory)?;
        self.set_syslog(id, socket)?;
        self.keep_socket(id, Kind::Syslog);
        Ok(())
    }

    /// Goes on with a notify socket that only the resident init had open.
    ///
    /// # Errors
    /// Of epoll.
    pub(super) fn keep_pinned_notify(&mut self, id: ServiceId, socket: NotifySocket) -> io::Result<()> {
        self.set_notify(id, socket)?;
        self.keep_socket(id, Kind::Notify);
        Ok(())
    }

    fn set_notify(&mut self, id: ServiceId, socket: NotifySocket) -> io::Result<()> {
        let token = self.watch(&socket, Source::Notify(id))?;
        if let Some(service) = self.services.get_mut(&id) {
            service.notify = Some(Watched { fd: socket, token });
        }
        Ok(())
    }

    fn set_syslog(&mut self, id: ServiceId, socket: SyslogSocket) -> io::Result<()> {
        let token = self.watch(&socket, Source::Syslog(id))?;
        if let Some(service) = self.services.get_mut(&id) {
            service.syslog = Some(Watched { fd: socket, token });
        }
        Ok(())
    }

    fn keep_socket(&mut self, id: ServiceId, kind: Kind) {
        let Some(service) = self.service(id) else { return };
        let (slot, copy) = (kind.slot(&service.name), copy_of(service, kind));
        if let Some(Ok(copy)) = copy {
            self.keep_for_next(&slot, copy);
        }
    }

    /// One that has lost its name to another must not be found by the next daemon.
    fn release_socket(&mut self, id: ServiceId, kind: Kind) {
        if let Some(slot) = self.service(id).map(|service| kind.slot(&service.name)) {
            self.release_kept(&slot);
        }
    }

    /// Both sockets of all units, into a new keeper.
    pub(super) fn keep_all_sockets(&mut self) {
        let ids: Vec<ServiceId> = self.services.keys().copied().collect();
        for id in ids {
            Kind::ALL.into_iter().for_each(|kind| self.keep_socket(id, kind));
        }
    }

    /// Goes on with the sockets that an earlier daemon has left to the keeper, whatever the unit says now: who has been
    /// told of a socket would wait for ever at one that nobody reads. Whether what is said there counts is another matter.
    /// `named`: only one that is still there under its name, as who lives has to find it by that.
    pub(super) fn adopt_kept_sockets(&mut self, id: ServiceId, named: bool) {
        let Some(name) = self.service(id).map(|service| service.name.clone()) else { return };
        for kind in Kind::ALL {
            let path = self.io_directory(&name).join(kind.file());
            if !self.is_kept(&kind.slot(&name)) || (named && path.symlink_metadata().is_err()) {
                continue;
            }
            let Some(socket) = self.take_kept(&kind.slot(&name)) else { continue };
            let adopted = ServiceSocket::adopt(socket, path).and_then(|socket| match kind {
                Kind::Notify => self.set_notify(id, NotifySocket::adopt(socket)),
                Kind::Syslog => self.set_syslog(id, SyslogSocket::adopt(socket)),
            });
            if let Err(error) = super::scarcity::noted(adopted) {
                tracing::warn!(unit = name, "{name}: its {} socket cannot be gone on with: {error}", kind.file());
            }
        }
    }

    /// This daemon was told to end, perhaps for long, and services go on: a syslog socket without a reader would make them
    /// wait after a few messages (net.unix.max_dgram_qlen), so it is refused to them instead. The next daemon binds anew
    /// where it takes a main process over; the others keep theirs.
    pub(super) fn leave_syslog(&mut self) {
        let running = self.services.iter().filter(|(_, service)| service.main.is_some());
        let ids: Vec<ServiceId> = running.map(|(id, _)| *id).collect();
        for id in ids {
            self.drain_syslog(id);
            let Some(socket) = self.services.get_mut(&id).and_then(|service| service.syslog.take()) else { continue };
            self.unwatch(&socket.fd, socket.token);
            self.release_socket(id, Kind::Syslog);
        }
    }

    /// What was heard of units that are over is written down now: it is taken out of their sockets, and what is closed
    /// here is not kept any more.
    pub(super) fn settle_sockets(&mut self) {
        let over: Vec<ServiceId> = self.over.iter().copied().collect();
        for id in over {
            self.take_seen(id);
            let Some(service) = self.service(id) else { continue };
            // Another run may have opened new ones under the same name.
            let closed = Kind::ALL.into_iter().filter(|kind| copy_of(service, *kind).is_none());
            let slots: Vec<String> = closed.map(|kind| kind.slot(&service.name)).collect();
            slots.iter().for_each(|slot| self.release_kept(slot));
        }
    }
}

/// `None`: it is not open.
fn copy_of(service: &super::service::Service, kind: Kind) -> Option<io::Result<OwnedFd>> {
    match kind {
        Kind::Notify => service.notify.as_ref().map(|socket| socket.fd.as_fd().try_clone_to_owned()),
        Kind::Syslog => service.syslog.as_ref().map(|socket| socket.fd.as_fd().try_clone_to_owned()),
    }
}

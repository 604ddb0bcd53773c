//! One socket or FIFO of a unit: opened, found in use, closed.
//!
//! It is opened in the daemon's own network namespace, whatever the service's is. A name in the file system gets owner
//! and mode before anybody can connect: it is bound with no permissions at all, and listens before it has any.

use super::path::{Entry, Missing};
use crate::sys::fd::set_nonblocking;
use crate::sys::process::umask;
use crate::unit::value::print_socket_address;
use crate::unit::{SocketAddress, SocketSettings};
use nix::sys::socket::{self as ns, AddressFamily, SockFlag, SockType, SockaddrStorage, sockopt};
use rustix::fs::FileType;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// Owner of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// An open socket.
#[derive(Debug)]
pub struct OpenSocket {
    /// As it was asked for.
    pub settings: SocketSettings,
    /// Blocking, as services expect it.
    pub fd: OwnedFd,
    /// Device and inode of its name, by which that is known again.
    pub identity: Option<(u64, u64)>,
}

impl OpenSocket {
    /// Opens what `settings` say.
    ///
    /// # Errors
    /// In words, with the address in front.
    pub fn open(settings: &SocketSettings, owner: Owner) -> Result<OpenSocket, String> {
        let named = |error: String| format!("{}: {error}", print_socket_address(&settings.listen));
        let (fd, identity) = match &settings.listen {
            SocketAddress::Tcp(address) => (inet(*address, SockType::Stream).map_err(&named)?, None),
            SocketAddress::Udp(address) => (inet(*address, SockType::Datagram).map_err(&named)?, None),
            SocketAddress::Fifo(path) => fifo(path, owner).map_err(&named)?,
            SocketAddress::Stream(path) => unix(path, SockType::Stream, owner).map_err(&named)?,
            SocketAddress::Datagram(path) => unix(path, SockType::Datagram, owner).map_err(&named)?,
            SocketAddress::SequentialPackets(path) => unix(path, SockType::SeqPacket, owner).map_err(&named)?,
        };
        let socket = OpenSocket { settings: settings.clone(), fd, identity };
        match socket.admit() {
            Ok(()) => Ok(socket),
            Err(error) => {
                socket.unlink();
                Err(named(error))
            }
        }
    }

    /// Listens, and only then lets clients in.
    fn admit(&self) -> Result<(), String> {
        self.listen().map_err(|error| error.to_string())?;
        let Some(path) = self.settings.listen.path() else { return Ok(()) };
        let entry = Entry::at(path, Missing::Leave).map_err(|error| error.to_string())?;
        entry.set_mode(self.settings.mode).map_err(|error| format!("mode: {error}"))
    }

    /// Takes over new settings of the same address.
    ///
    /// # Errors
    /// In words, with the address in front.
    pub fn adjust(&mut self, settings: &SocketSettings, owner: Owner) -> Result<(), String> {
        let named = |error: String| format!("{}: {error}", print_socket_address(&settings.listen));
        self.settings = settings.clone();
        self.listen().map_err(|error| named(error.to_string()))?;
        let Some(path) = settings.listen.path() else { return Ok(()) };
        let entry = Entry::at(path, Missing::Leave).map_err(|error| named(error.to_string()))?;
        if entry.find().ok().flatten().map(|found| found.identity) != self.identity {
            return Err(named("its name is gone, or another's: somebody removed it".to_owned()));
        }
        let changed = entry.set_owner(owner.uid, owner.gid).and_then(|()| entry.set_mode(settings.mode));
        changed.map_err(|error| named(error.to_string()))
    }

    fn listen(&self) -> io::Result<()> {
        if !self.settings.listen.has_connections() {
            return Ok(());
        }
        let backlog = i32::try_from(self.settings.backlog).unwrap_or(i32::MAX);
        Ok(ns::listen(&self.fd, ns::Backlog::new(backlog).unwrap_or(ns::Backlog::MAXCONN))?)
    }

    /// As the service expects it, whatever an earlier run made of it.
    pub fn make_blocking(&self) {
        // Fails for nothing that is open.
        let _ = set_nonblocking(self.fd.as_fd(), false);
    }

    /// Removes the name, if it is still this socket's.
    pub fn unlink(&self) {
        let Some(path) = self.settings.listen.path() else { return };
        let Ok(entry) = Entry::at(path, Missing::Leave) else { return };
        if matches!(entry.find(), Ok(Some(found)) if Some(found.identity) == self.identity)
            && let Err(error) = entry.unlink()
        {
            tracing::warn!("{}: {error}", path.display());
        }
    }
}

fn inet(address: SocketAddr, kind: SockType) -> Result<OwnedFd, String> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let open = || -> nix::Result<OwnedFd> {
        let fd = ns::socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
        if kind == SockType::Stream {
            // Else a restart within a minute could not bind again while old connections linger.
            ns::setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        }
        ns::bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
        // A second socket with SO_REUSEADDR may be bound before the first listens: two listeners find out here.
        if kind == SockType::Stream {
            ns::listen(&fd, ns::Backlog::MAXCONN)?;
        }
        Ok(fd)
    };
    open().map_err(|errno| match errno {
        nix::errno::Errno::EADDRINUSE => super::in_use::words(address, kind == SockType::Stream),
        nix::errno::Errno::EADDRNOTAVAIL => "no interface of this host has the address (EADDRNOTAVAIL)".to_owned(),
        errno => format!("{} ({errno:?})", errno.desc()),
    })
}

type Named = (OwnedFd, Option<(u64, u64)>);

fn unix(path: &Path, kind: SockType, owner: Owner) -> Result<Named, String> {
    let entry = Entry::at(path, Missing::Make).map_err(|error| error.to_string())?;
    let address = ns::UnixAddr::new(path).map_err(|errno| errno.desc().to_owned())?;
    if let Some(found) = entry.find().map_err(|error| error.to_string())? {
        if found.kind != FileType::Socket {
            return Err("something else than a socket is there, and is not touched".to_owned());
        }
        if somebody_listens(&address, kind) {
            return Err(super::in_use::words_of_path(path));
        }
        entry.unlink().map_err(|error| error.to_string())?;
    }
    let open = || -> nix::Result<OwnedFd> {
        let fd = ns::socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
        let old = umask(0o777);
        let bound = ns::bind(fd.as_raw_fd(), &address);
        umask(old);
        bound.map(|()| fd)
    };
    let fd = open().map_err(|errno| format!("{} ({errno:?})", errno.desc()))?;
    let identity = entry.find().map_err(|error| error.to_string())?.map(|found| found.identity);
    if let Err(error) = entry.set_owner(owner.uid, owner.gid) {
        let _ = entry.unlink();
        return Err(format!("owner: {error}"));
    }
    Ok((fd, identity))
}

/// Does a connect find anybody? Refused means that the name is all that is left of a socket.
fn somebody_listens(address: &ns::UnixAddr, kind: SockType) -> bool {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let Ok(fd) = ns::socket(AddressFamily::Unix, kind, flags, None) else { return true };
    !matches!(ns::connect(fd.as_raw_fd(), address), Err(nix::errno::Errno::ECONNREFUSED))
}

fn fifo(path: &Path, owner: Owner) -> Result<Named, String> {
    let entry = Entry::at(path, Missing::Make).map_err(|error| error.to_string())?;
    let found = entry.find().map_err(|error| error.to_string())?;
    match found {
        // What a daemon left that was killed. In a directory like /tmp it might be anybody's.
        Some(found) if found.kind == FileType::Fifo && found.uid == owner.uid => {}
        Some(found) if found.kind == FileType::Fifo => {
            return Err(format!("a FIFO of user {} is there, and is not touched", found.uid));
        }
        Some(_) => return Err("something else than a FIFO is there, and is not touched".to_owned()),
        None => entry.make_fifo().map_err(|error| error.to_string())?,
    }
    entry.set_mode(0o600).map_err(|error| format!("mode: {error}"))?;
    let fd = entry.open_fifo().map_err(|error| error.to_string())?;
    set_nonblocking(fd.as_fd(), false).map_err(|error| error.to_string())?;
    entry.set_owner(owner.uid, owner.gid).map_err(|error| format!("owner: {error}"))?;
    let identity = entry.find().map_err(|error| error.to_string())?.map(|found| found.identity);
    Ok((fd, identity))
}

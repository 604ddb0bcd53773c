//! Who is let in, and who has to go for that: nobody can shut out the others, least of all those who give orders.

use super::connection::Connection;
use super::{ConnectionId, LISTENING, Listener, ROUND};
use crate::control::{Peer, Verb};
use crate::sys::peer::peer_groups;
use rustix::event::epoll;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Connections at a time.
pub const MAX_CONNECTIONS: usize = 256;

/// Connections of one ordinary user, so that nobody can shut out the others.
pub const MAX_PER_USER: usize = 64;

impl Listener {
    /// Lets waiting peers in; `admit` as for [`Listener::dispatch`].
    pub(super) fn accept(&mut self, admit: &mut dyn FnMut(&Peer) -> Result<(), String>) {
        for _ in 0..ROUND {
            let flags = rustix::net::SocketFlags::NONBLOCK | rustix::net::SocketFlags::CLOEXEC;
            match rustix::net::accept_with(&self.socket, flags) {
                Ok(stream) => match peer(&stream) {
                    Ok(peer) => {
                        let barred = admit(&peer).err();
                        let _ = self.adopt(stream, peer, barred);
                    }
                    // A peer without credentials cannot be judged.
                    Err(_) => drop(stream),
                },
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => {}
                // Left in the queue, the peer would wake the loop for ever: take it and turn it away.
                Err(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => {
                    if self.spare.take().is_none() {
                        return self.pause();
                    }
                    drop(rustix::net::accept_with(&self.socket, flags));
                    self.spare = File::open("/dev/null").ok();
                }
                Err(rustix::io::Errno::AGAIN) => return,
                Err(_) => return self.pause(),
            }
        }
    }

    fn pause(&mut self) {
        self.paused = epoll::delete(&self.epoll, &self.socket).is_ok();
    }

    /// Is nobody accepted at present?
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Accepts again; to be called after a while.
    pub fn accept_again(&mut self) {
        if self.spare.is_none() {
            self.spare = File::open("/dev/null").ok();
        }
        let data = epoll::EventData::new_u64(LISTENING);
        self.paused = epoll::add(&self.epoll, &self.socket, data, epoll::EventFlags::IN).is_err();
    }

    /// Takes a connected socket over, if there is room for one more of that user.
    pub(super) fn adopt(&mut self, stream: OwnedFd, peer: Peer, barred: Option<String>) -> Option<ConnectionId> {
        let privileged = |uid: u32| uid == 0 || uid == self.rules.owner;
        let mine = self.connections.values().filter(|c| c.peer.uid == peer.uid).count();
        let room = if !privileged(peer.uid) && mine >= MAX_PER_USER {
            self.idlest(|c| c.peer.uid == peer.uid)
        } else if self.connections.len() < MAX_CONNECTIONS {
            Some(None)
        } else if privileged(peer.uid) {
            self.idlest(|c| !privileged(c.peer.uid)).or_else(|| self.idlest(|_| true))
        } else {
            self.idlest(|c| c.peer.uid == peer.uid)
        };
        if let Some(id) = room? {
            self.close(id);
        }
        self.counter += 1;
        // Others could fill the daemon's table with them.
        let takes_descriptors = barred.is_none() && self.rules.permit(&peer, Verb::Exec).is_ok();
        let connection = Connection::new(stream, peer, barred, self.counter, takes_descriptors);
        let data = epoll::EventData::new_u64(self.counter);
        epoll::add(&self.epoll, &connection.stream, data, connection.interest).ok()?;
        let id = ConnectionId(self.counter);
        self.connections.insert(id, connection);
        Some(id)
    }

    /// The connection that has been idle for longest, if one of that kind is; in the form that `adopt` wants.
    fn idlest(&self, kind: impl Fn(&Connection) -> bool) -> Option<Option<ConnectionId>> {
        let idle = self.connections.iter().filter(|(_, c)| kind(c) && c.is_idle());
        idle.min_by_key(|(_, c)| c.used).map(|(id, _)| Some(*id))
    }
}

/// Who is at the other end, at the time of its connect(2).
pub(super) fn peer(stream: &OwnedFd) -> io::Result<Peer> {
    let credentials = nix::sys::socket::getsockopt(stream, nix::sys::socket::sockopt::PeerCredentials)?;
    let groups = peer_groups(stream.as_fd())?;
    Ok(Peer { pid: credentials.pid(), uid: credentials.uid(), gid: credentials.gid(), groups })
}

//! Listening socket and connections go over to the next program of this process: nobody is cut off by an upgrade.

use super::accept::peer;
use super::connection::Connection;
use super::{ConnectionId, Listener};
use crate::control::{Peer, Rules};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

/// Numbers of the descriptors that the next program of this process gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handed {
    /// The listening socket.
    pub socket: RawFd,
    /// The connection that waits for the answer to an upgrade; `None`: it has gone.
    pub caller: Option<RawFd>,
    /// Connections with no call under way, and what was read of their next one.
    pub others: Vec<(RawFd, Vec<u8>)>,
}

impl Listener {
    /// Goes on with the socket of a former program, whose name is `path`: who connected meanwhile waits in its queue.
    ///
    /// # Errors
    /// It does not listen; of epoll_create1(2).
    pub fn inherit(socket: &OwnedFd, path: &Path, rules: Rules) -> io::Result<Listener> {
        if !rustix::net::sockopt::socket_acceptconn(socket)? {
            return Err(io::Error::other("the inherited control socket does not listen"));
        }
        let socket = UnixListener::from(socket.try_clone()?);
        socket.set_nonblocking(true)?;
        Listener::over(socket, path, rules)
    }

    /// What the next program gets: see [`Handed`].
    pub fn hand_over(&self, caller: ConnectionId) -> Handed {
        Handed {
            socket: self.socket.as_raw_fd(),
            caller: self.caller(caller).map(|connection| connection.stream.as_raw_fd()),
            others: self
                .idle()
                .map(|connection| (connection.stream.as_raw_fd(), connection.unread().to_vec()))
                .collect(),
        }
    }

    /// The descriptors of the same.
    pub fn handed_descriptors(&self, caller: ConnectionId) -> impl Iterator<Item = BorrowedFd<'_>> {
        let streams = self.caller(caller).into_iter().chain(self.idle());
        std::iter::once(self.socket.as_fd()).chain(streams.map(|connection| connection.stream.as_fd()))
    }

    fn caller(&self, caller: ConnectionId) -> Option<&Connection> {
        self.connections.get(&caller).filter(|connection| connection.pending && !connection.dead)
    }

    /// Connections of which nothing is owed.
    fn idle(&self) -> impl Iterator<Item = &Connection> {
        self.connections.values().filter(|c| !c.pending && !c.dead && c.waiting() == 0)
    }

    /// Goes on with a connection of a former program, of which these bytes were read and belong to no call yet;
    /// `pending`: it waits for an answer.
    pub fn resume(
        &mut self,
        stream: OwnedFd,
        read: &[u8],
        pending: bool,
        admit: &mut dyn FnMut(&Peer) -> Result<(), String>,
    ) -> Option<ConnectionId> {
        let peer = peer(&stream).ok()?;
        let barred = admit(&peer).err();
        let id = self.adopt(stream, peer, barred)?;
        let connection = self.connections.get_mut(&id)?;
        connection.pending = pending;
        connection.put_back(read);
        self.ready.push_back(id);
        Some(id)
    }
}

//! Sockets that rsvc opens for a unit, and when they start it.

use super::Account;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// `service.activation`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// The processes are started with the unit.
    Start,
    /// A start only listens; whatever arrives starts the processes.
    OnDemand,
}

/// `sockets.listen`
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SocketAddress {
    /// `tcp:ADDRESS:PORT`
    Tcp(SocketAddr),
    /// `udp:ADDRESS:PORT`
    Udp(SocketAddr),
    /// `unix:/PATH`, SOCK_STREAM
    Stream(PathBuf),
    /// `unix-datagram:/PATH`
    Datagram(PathBuf),
    /// `unix-seqpacket:/PATH`
    SequentialPackets(PathBuf),
    /// `fifo:/PATH`
    Fifo(PathBuf),
}

impl SocketAddress {
    /// The name in the file system, where it has one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            SocketAddress::Tcp(_) | SocketAddress::Udp(_) => None,
            SocketAddress::Stream(path)
            | SocketAddress::Datagram(path)
            | SocketAddress::SequentialPackets(path)
            | SocketAddress::Fifo(path) => Some(path),
        }
    }

    /// Is there a queue of connections?
    pub fn has_connections(&self) -> bool {
        match self {
            SocketAddress::Tcp(_) | SocketAddress::Stream(_) | SocketAddress::SequentialPackets(_) => true,
            SocketAddress::Udp(_) | SocketAddress::Datagram(_) | SocketAddress::Fifo(_) => false,
        }
    }
}

/// One of `[[sockets]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketSettings {
    /// What to listen on.
    pub listen: SocketAddress,
    /// Name in LISTEN_FDNAMES.
    pub name: String,
    /// Permission bits of the path.
    pub mode: u32,
    /// Owner of the path; `None`: root.
    pub user: Option<Account>,
    /// Group of the path; `None`: the owner's.
    pub group: Option<Account>,
    /// Connections that may wait.
    pub backlog: u32,
    /// One instance for each connection.
    pub accept: bool,
    /// With `accept`: connections at a time, at least 1.
    pub max_connections: u32,
    /// With `accept`: the same from one address or user; 0: no limit.
    pub max_connections_per_source: u32,
    /// Position in the list, for `sockets[N]` as key of origins.
    pub index: usize,
}

//! What rsvc itself opens and watches for a unit, outside of any container: sockets and timers.
//!
//! No step of a launch makes these: they are there from the start of the unit on, before the first process and between
//! two of them. The plan names them, so that it says all that a start does.

use super::Origin;
use super::phrase::printable;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One of `[[sockets]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedSocket {
    /// `tcp:127.0.0.1:80`, `unix:/run/web.sock`...
    pub address: String,
    /// Where it has a name in the file system, that file's attributes.
    pub file: Option<SocketFile>,
    /// The number under which the main process finds it.
    pub descriptor: u16,
    /// Its name in LISTEN_FDNAMES.
    pub name: String,
    /// What arrives there starts the processes.
    pub starts: bool,
    /// Each connection is passed to an instance of its own, in the place of the socket.
    pub accepts: bool,
    /// Who asked for it.
    pub origin: Origin,
}

/// Attributes of the file of a socket or FIFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketFile {
    /// Permission bits.
    pub mode: u32,
    /// Owner on the host.
    pub uid: u32,
    /// Group on the host.
    pub gid: u32,
}

/// One of `[[timers]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedTimer {
    /// When, in words.
    pub when: String,
    /// Who asked for it.
    pub origin: Origin,
}

/// `unix:/run/web.sock (mode 0660, owner 33:33), passed as descriptor 3, web`, and who asked.
impl fmt::Display for PlannedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.address))?;
        if let Some(SocketFile { mode, uid, gid }) = self.file {
            write!(f, " (mode {mode:04o}, owner {uid}:{gid})")?;
        }
        if self.accepts {
            let (number, name) = (self.descriptor, printable(&self.name));
            write!(f, ", each connection passed to an instance of its own as descriptor {number}, {name}")?;
        } else {
            write!(f, ", passed as descriptor {}, {}", self.descriptor, printable(&self.name))?;
        }
        if self.starts && !self.accepts {
            f.write_str("; what arrives starts the processes")?;
        }
        write!(f, "  <- {}", self.origin)
    }
}

/// `every 5min  <- ` and who asked.
impl fmt::Display for PlannedTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  <- {}", printable(&self.when), self.origin)
    }
}

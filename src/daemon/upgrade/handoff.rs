//! What one program image leaves for the next in the same process: a JSON object in a sealed memfd.
//!
//! It holds only what cannot be found again in the state files and in the kernel: which descriptors stay open, and what
//! belongs to the process and not to a service. Fields may be added without a new version, as readers ignore what they
//! do not know; [`VERSION`] grows when a reader would be wrong about what it knows, and says with [`OLDEST_READER`] who
//! may still read it.

use crate::supervise::Moment;
use crate::sys::fd;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::os::fd::{AsFd, OwnedFd, RawFd};

/// Version of the form that this program writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// Oldest version that this program reads.
pub const OLDEST: u32 = 1;

/// A program that reads no further than this version understands what this program writes.
const OLDEST_READER: u32 = 1;

/// Longest snapshot that is read, bytes: 256 connections with unread bytes are a fraction of it.
const SIZE_LIMIT: usize = 256 << 20;

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handoff {
    /// [`VERSION`] of who wrote it.
    pub v: u32,
    /// A program that reads no further than this version understands it.
    pub oldest_reader: u32,
    /// Version of the program that wrote it.
    pub version: String,
    /// Build of the program that wrote it.
    #[serde(default)]
    pub build: String,
    /// Process that wrote it: nobody else can have the descriptors.
    pub pid: i32,
    /// The instance's lock, held.
    pub lock: RawFd,
    /// The control socket, listening: who connects meanwhile waits in its queue.
    pub listener: RawFd,
    /// The connection that asked for the upgrade and waits for the answer.
    #[serde(default)]
    pub caller: Option<RawFd>,
    /// Connections with no call under way.
    #[serde(default)]
    pub connections: Vec<HandedConnection>,
    /// When the process began.
    #[serde(default)]
    pub since: Moment,
    /// How often it was upgraded since, this time not counted.
    #[serde(default)]
    pub upgrades: u64,
    /// By what path the new program was found; `None`: not UTF-8.
    #[serde(default)]
    pub program: Option<String>,
    /// The signal mask, to be restored once signals are caught: bit 0 is signal 1. All are blocked over the exec.
    #[serde(default)]
    pub signals: u64,
}

/// A client's connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedConnection {
    /// Number of the descriptor.
    pub fd: RawFd,
    /// The beginning of a call, taken from the socket already.
    #[serde(default)]
    pub read: Vec<u8>,
}

/// Why a snapshot cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub enum HandoffError {
    /// The descriptor, and what is wrong with it.
    Unreadable(String),
    /// It is not what an rsvc writes.
    Damaged(String),
    /// Its version, written by one that is too new or too old.
    Version(u32),
}

impl fmt::Display for HandoffError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandoffError::Unreadable(why) => write!(f, "the snapshot cannot be read: {why}"),
            HandoffError::Damaged(why) => write!(f, "the snapshot is damaged: {why}"),
            HandoffError::Version(v) => {
                write!(f, "the snapshot is of version {v}, this rsvc reads {}", super::range(OLDEST, VERSION))
            }
        }
    }
}

impl Handoff {
    /// An empty one of this program.
    pub fn new() -> Handoff {
        Handoff {
            v: VERSION,
            oldest_reader: OLDEST_READER,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: crate::daemon::remembered::BUILD.to_owned(),
            pid: std::process::id() as i32,
            ..Handoff::default()
        }
    }

    /// Seals it into a memfd.
    ///
    /// # Errors
    /// Of memfd_create(2) and write(2).
    pub fn seal(&self) -> crate::sys::Result<OwnedFd> {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        fd::sealed_memfd(c"rsvc-handoff", &bytes, false)
    }

    /// Reads what [`Handoff::seal`] made.
    ///
    /// # Errors
    /// Every way in which it cannot be believed.
    pub fn read(memfd: &OwnedFd) -> Result<Handoff, HandoffError> {
        let unreadable = |error: crate::sys::SysError| HandoffError::Unreadable(error.to_string());
        if !fd::is_sealed(memfd.as_fd()).map_err(unreadable)? {
            return Err(HandoffError::Unreadable("it is not sealed".to_owned()));
        }
        parse(&fd::read_whole(memfd.as_fd(), SIZE_LIMIT).map_err(unreadable)?)
    }
}

fn parse(bytes: &[u8]) -> Result<Handoff, HandoffError> {
    // The versions decide whether the rest can be read, so they are looked at by themselves.
    #[derive(Deserialize)]
    struct Versions {
        v: u32,
        oldest_reader: u32,
    }
    let damaged = |error: serde_json::Error| HandoffError::Damaged(error.to_string());
    let Versions { v, oldest_reader } = serde_json::from_slice(bytes).map_err(damaged)?;
    if v < OLDEST || oldest_reader > VERSION {
        return Err(HandoffError::Version(v));
    }
    serde_json::from_slice(bytes).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_read_again() {
        let connection = HandedConnection { fd: 9, read: b"{\"meth".to_vec() };
        let handoff =
            Handoff { lock: 3, listener: 4, caller: Some(5), connections: vec![connection], ..Handoff::new() };
        assert_eq!(Handoff::read(&handoff.seal().unwrap()).unwrap(), handoff);
    }

    #[test]
    fn a_newer_one_is_read_as_long_as_its_writer_allows_it() {
        let text = |v: u32, oldest: u32| {
            format!(
                r#"{{"v":{v},"oldest_reader":{oldest},"version":"9","pid":1,"lock":3,"listener":4,"novel":[{{"x":1}}]}}"#
            )
        };
        assert_eq!(parse(text(VERSION + 5, VERSION).as_bytes()).unwrap().lock, 3, "unknown fields are ignored");
        assert_eq!(parse(text(VERSION + 5, VERSION + 1).as_bytes()), Err(HandoffError::Version(VERSION + 5)));
        assert_eq!(parse(text(OLDEST - 1, 0).as_bytes()), Err(HandoffError::Version(OLDEST - 1)));
    }

    #[test]
    fn what_is_no_snapshot_is_refused() {
        for bytes in [&b""[..], b"null", b"{}", b"{\"v\":1}", b"{\"v\":1,\"oldest_reader\":1}", b"\xff"] {
            assert!(matches!(parse(bytes), Err(HandoffError::Damaged(_))), "{bytes:?}");
        }
        let null = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        assert!(matches!(Handoff::read(&null), Err(HandoffError::Unreadable(_))));
    }
}

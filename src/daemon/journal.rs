//! A client of the journal's native protocol that never waits.
//!
//! ```text
//! Record ──encode──▶ send ──▶ datagram socket (connected)         small: one datagram
//!                     │                                            large: a sealed memfd in an empty datagram
//!                     └─ socket full, journald away ─▶ bounded queue ─▶ flush, when writable or after a while
//!                                                       full: counted, one "N messages dropped" afterwards
//! ```
//!
//! A stopped journald costs the daemon some memory and then messages, never time: about a dozen records fill the
//! socket (net.unix.max_dgram_qlen), the rest waits here. The socket is connected, as only then readiness for writing
//! means something; a new journald is found by connecting again.
//!
//! Values are length-prefixed where they hold a newline, so that no text can forge a field.

use crate::sys;
use crate::sys::socket::Kind;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// Where journald listens.
pub const NATIVE_SOCKET: &str = "/run/systemd/journal/socket";

/// What may wait for a journal that does not take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Records at most.
    pub records: usize,
    /// Bytes at most.
    pub bytes: usize,
}

/// Of the program's own events.
const ROOM: Room = Room { records: 1024, bytes: 1 << 20 };

/// One entry of the journal, encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record(Vec<u8>);

impl Record {
    /// A record with its message and syslog priority (0 to 7).
    pub fn new(priority: u8, message: &str) -> Record {
        let mut record = Record::default();
        record.field("PRIORITY", &priority.min(7).to_string());
        record.field("MESSAGE", message);
        record
    }

    /// Adds a field. The name is made to fit (capital letters, digits, `_`, not beginning with `_` or a digit, at most
    /// 64 bytes); one of which nothing fits is left out. The journal's trusted fields begin with `_` and cannot be set.
    pub fn field(&mut self, name: &str, value: &str) -> &mut Record {
        let fitting = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let name: String = name.chars().map(fitting).collect();
        let name = name.trim_start_matches(|c: char| c == '_' || c.is_ascii_digit());
        let name = &name[..name.len().min(64)];
        if name.is_empty() { self } else { self.bytes(name, value.as_bytes()) }
    }

    /// Adds a field of any bytes under a name that fits.
    pub(super) fn bytes(&mut self, name: &str, value: &[u8]) -> &mut Record {
        self.0.extend_from_slice(name.as_bytes());
        if value.contains(&b'\n') {
            self.0.push(b'\n');
            self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
        self
    }

    /// As it is sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The client.
#[derive(Debug)]
pub struct JournalClient {
    path: PathBuf,
    socket: Option<OwnedFd>,
    /// Counts sockets, so that a caller notices that its epoll registration is void.
    generation: u64,
    queue: VecDeque<Record>,
    queued_bytes: usize,
    room: Room,
    dropped: u64,
    /// Fields of the record about dropped ones.
    identifier: String,
}

/// What became of a record that was [offered](JournalClient::offer).
#[derive(Debug)]
pub enum Offered {
    /// It is sent, or waits here, or is counted as dropped.
    Taken,
    /// The journal does not take it now: to be offered again when the socket is writable.
    Refused(Record),
}

/// How one attempt to send ended.
enum Sent {
    Done,
    /// The socket is full.
    Full,
    /// Nobody listens.
    Away,
    /// This record cannot be sent at all.
    Refused,
}

impl JournalClient {
    /// A client of the socket at `path`, which need not exist yet.
    pub fn new(path: &Path, identifier: &str) -> JournalClient {
        let mut client = JournalClient::idle(path, identifier, ROOM);
        client.connect();
        client
    }

    /// The same, connected by the first record.
    pub fn idle(path: &Path, identifier: &str, room: Room) -> JournalClient {
        JournalClient {
            path: path.to_owned(),
            socket: None,
            generation: 0,
            queue: VecDeque::new(),
            queued_bytes: 0,
            room,
            dropped: 0,
            identifier: identifier.to_owned(),
        }
    }

    /// Is there a connection? Without one queued records wait for the next [`send`](Self::send) or
    /// [`flush`](Self::flush), which try again: call the latter once a second while [`is_waiting`](Self::is_waiting).
    pub fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// The socket, to be watched for writability while [`is_waiting`](Self::is_waiting), and which one it is: after a
    /// reconnect the number has changed and the socket must be registered anew.
    pub fn socket(&self) -> Option<(BorrowedFd<'_>, u64)> {
        self.socket.as_ref().map(|socket| (socket.as_fd(), self.generation))
    }

    /// Do records wait to be sent?
    pub fn is_waiting(&self) -> bool {
        !self.queue.is_empty() || self.dropped > 0
    }

    /// Records lost since the last successful report about lost ones.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Sends a record, or queues it, or counts it as dropped. Never blocks.
    pub fn send(&mut self, record: Record) {
        if self.is_waiting() {
            // Order is kept; the socket may have room again, or a new journald be there.
            self.flush();
        }
        if self.is_waiting() {
            return self.enqueue(record);
        }
        match self.transmit(&record) {
            Sent::Done => {}
            Sent::Full | Sent::Away => self.enqueue(record),
            Sent::Refused => self.dropped += 1,
        }
    }

    /// The same, but what a journal that is there does not take now comes back, as the caller has room for it. One
    /// that is not there takes what has room here.
    pub fn offer(&mut self, record: Record) -> Offered {
        if self.is_waiting() {
            self.flush();
        }
        if !self.is_waiting() {
            match self.transmit(&record) {
                Sent::Done => return Offered::Taken,
                Sent::Refused => {
                    self.dropped += 1;
                    return Offered::Taken;
                }
                Sent::Full | Sent::Away => {}
            }
        }
        if self.is_connected() {
            return Offered::Refused(record);
        }
        self.enqueue(record);
        Offered::Taken
    }

    /// Sends what waits, as far as the socket takes it. To be called when it is writable, and now and then while
    /// there is no connection.
    pub fn flush(&mut self) {
        while let Some(record) = self.queue.pop_front() {
            match self.transmit(&record) {
                Sent::Done => self.queued_bytes -= record.0.len(),
                Sent::Refused => {
                    self.queued_bytes -= record.0.len();
                    self.dropped += 1;
                }
                Sent::Full | Sent::Away => return self.queue.push_front(record),
            }
        }
        if self.dropped > 0 {
            let text = format!("{} messages dropped: the journal did not take them in time", self.dropped);
            let mut record = Record::new(4, &text);
            record.field("SYSLOG_IDENTIFIER", &self.identifier);
            if matches!(self.transmit(&record), Sent::Done) {
                self.dropped = 0;
            }
        }
    }

    fn enqueue(&mut self, record: Record) {
        if self.queue.len() >= self.room.records || self.queued_bytes + record.0.len() > self.room.bytes {
            self.dropped += 1;
            return;
        }
        self.queued_bytes += record.0.len();
        self.queue.push_back(record);
    }

    fn connect(&mut self) {
        self.socket = connected(&self.path).ok();
        self.generation += 1;
    }

    /// One attempt, and a second one on a new connection when the old one is dead.
    fn transmit(&mut self, record: &Record) -> Sent {
        for _ in 0..2 {
            if self.socket.is_none() {
                self.connect();
            }
            let Some(socket) = &self.socket else { return Sent::Away };
            match transmit(socket, &record.0) {
                Sent::Away => self.socket = None,
                other => return other,
            }
        }
        Sent::Away
    }
}

/// A non-blocking datagram socket, connected.
fn connected(path: &Path) -> io::Result<OwnedFd> {
    let socket = UnixDatagram::from(sys::socket::unix_socket(Kind::Datagram)?);
    socket.set_nonblocking(true)?;
    // Room for a larger record before a memfd is needed; refused without privilege, which is no harm.
    let _ = sys::socket::set_send_buffer(socket.as_fd(), 1 << 20);
    sys::socket::connect(socket.as_fd(), path)?;
    Ok(socket.into())
}

fn transmit(socket: &OwnedFd, bytes: &[u8]) -> Sent {
    super::staging::step();
    match sys::socket::send_with(socket.as_fd(), bytes, &[], None) {
        Ok(_) => Sent::Done,
        // The kernel allocates a datagram in one piece: too large a one is EMSGSIZE or ENOBUFS.
        Err(e) if matches!(e.errno, EMSGSIZE | ENOBUFS) => match sys::fd::sealed_memfd(c"rsvc-journal", bytes, false) {
            Ok(file) => match sys::socket::send_with(socket.as_fd(), &[], &[file.as_fd()], None) {
                Ok(_) => Sent::Done,
                Err(e) => verdict(e.errno),
            },
            Err(_) => Sent::Refused,
        },
        Err(e) => verdict(e.errno),
    }
}

const EMSGSIZE: i32 = nix::Error::EMSGSIZE as i32;
const ENOBUFS: i32 = nix::Error::ENOBUFS as i32;

fn verdict(errno: i32) -> Sent {
    use nix::Error;
    match Error::from_raw(errno) {
        Error::EAGAIN | Error::ENOBUFS | Error::ENOMEM | Error::ETOOMANYREFS => Sent::Full,
        Error::ECONNREFUSED | Error::ENOENT | Error::ENOTCONN | Error::EPIPE | Error::ECONNRESET => Sent::Away,
        _ => Sent::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(record: &Record) -> String {
        String::from_utf8_lossy(record.as_bytes()).into_owned()
    }

    fn received(journal: &UnixDatagram) -> Vec<String> {
        let mut buffer = vec![0; 1 << 20];
        let mut all = Vec::new();
        while let Ok(count) = journal.recv(&mut buffer) {
            all.push(String::from_utf8_lossy(&buffer[..count]).into_owned());
        }
        all
    }

    fn journal(path: &Path) -> UnixDatagram {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    #[test]
    fn plain_values_are_assignments_and_others_carry_their_length() {
        let mut record = Record::new(9, "up");
        record.field("rsvc.unit", "web=1").field("CODE", "a\nb");
        assert_eq!(record.as_bytes(), b"PRIORITY=7\nMESSAGE=up\nRSVC_UNIT=web=1\nCODE\n\x03\0\0\0\0\0\0\0a\nb\n");
    }

    #[test]
    fn no_text_forges_a_field() {
        let record = Record::new(6, "x\nPRIORITY=0\n_SYSTEMD_UNIT=sshd.service");
        assert!(text(&record).starts_with("PRIORITY=6\nMESSAGE\n\u{27}\0\0\0\0\0\0\0x\nPRIORITY=0"), "{record:?}");
        let mut record = Record::default();
        record.field("_SYSTEMD_UNIT", "x").field("__9", "y").field("ä", "z").field("A=B\nC", "w").field("", "v");
        assert_eq!(text(&record), "SYSTEMD_UNIT=x\nA_B_C=w\n");
    }

    #[test]
    fn a_full_socket_never_blocks_and_drops_are_counted_and_reported() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let journal = journal(&path);
        let mut client = JournalClient::new(&path, "rsvcd");
        // A client that blocked would never come to the end of this.
        for n in 0..3000 {
            client.send(Record::new(6, &format!("message {n}")));
        }
        assert!(client.is_waiting() && client.dropped() > 0);
        let lost = client.dropped();
        let mut all = Vec::new();
        while client.is_waiting() {
            all.extend(received(&journal));
            client.flush();
        }
        all.extend(received(&journal));
        assert_eq!(all.len() as u64, 3000 - lost + 1);
        assert!(all[0].contains("message 0") && all[500].contains("message 500\n"));
        assert!(all.last().unwrap().contains(&format!("MESSAGE={lost} messages dropped")));
        assert!(all.last().unwrap().contains("SYSLOG_IDENTIFIER=rsvcd"));
        assert_eq!(client.dropped(), 0);
    }

    #[test]
    fn a_new_journald_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let mut client = JournalClient::new(&path, "rsvcd");
        assert!(!client.is_connected());
        client.send(Record::new(6, "early"));
        let first = journal(&path);
        client.flush();
        assert!(client.is_connected() && received(&first)[0].contains("early"));
        let generation = client.socket().unwrap().1;
        drop(first);
        client.send(Record::new(6, "nobody listens"));
        std::fs::remove_file(&path).unwrap();
        client.send(Record::new(6, "no name"));
        assert!(client.is_waiting() && !client.is_connected());
        let second = journal(&path);
        client.send(Record::new(6, "late"));
        let all = received(&second);
        assert_eq!(all.len(), 3);
        assert!(all[0].contains("nobody listens") && all[2].contains("late"));
        assert_ne!(client.socket().unwrap().1, generation);
        assert!(!client.is_waiting());
    }

    #[test]
    fn a_large_record_travels_in_a_sealed_memfd() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let socket = super::super::service_socket::ServiceSocket::bind(directory.path(), "socket").unwrap();
        let mut client = JournalClient::new(&path, "rsvcd");
        // More than any datagram can hold.
        let record = Record::new(6, &"x".repeat(64 << 20));
        assert!(matches!(client.transmit(&record), Sent::Done));
        let datagram = socket.receive(100).unwrap().unwrap();
        assert_eq!((datagram.bytes.len(), datagram.descriptors.len()), (0, 1));
    }
}

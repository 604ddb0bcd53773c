//! The control socket: accepts peers, reads calls, asks the rules, writes replies. Knows nothing of units.
//!
//! Everything is non-blocking and behind one descriptor: an epoll of its own, which the daemon's loop watches as a
//! whole (level-triggered). The loop then goes
//!
//! ```text
//! readable ─▶ dispatch() ─▶ next_call() until None ─▶ reply(), at once or much later ─▶ next_call() until None
//!                       └▶ next_gone() until None: nobody waits for that answer any more
//! ```
//!
//! A connection has one call at a time; what a client sends ahead stays in the buffer until the reply is given, so
//! replies are in order without numbers. A peer that does not read, or that sends what is no call, loses its
//! connection. A stream ([`Listener::begin_stream`]) never ends by itself; it is the first to go when connections run
//! out, so that listeners cannot shut out those who give orders. Nobody can make the daemon hold more than
//! [`BACKLOG_TOTAL`] bytes or [`MAX_CONNECTIONS`] descriptors.

mod accept;
mod bind;
mod connection;
mod handing_over;
#[cfg(test)]
mod tests;

pub use accept::{MAX_CONNECTIONS, MAX_PER_USER};
pub use handing_over::Handed;

use crate::control::{
    Answer, Asked, Call, CallError, Peer, Request, RequestKey, Rules, encode_answer, encode_error, encode_info,
    encode_interface_description, encode_service_error,
};
use connection::Connection;
use rustix::event::epoll;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Bytes of replies that wait for one slow reader; a list of 5,000 units is about 8 MiB.
pub const BACKLOG: usize = 16 << 20;

/// Bytes of replies that wait for all slow readers together.
pub const BACKLOG_TOTAL: usize = 64 << 20;

/// Token of the listening socket in the epoll; connections count from 1.
const LISTENING: u64 = 0;

/// Events taken, and peers accepted, in one round; the rest comes with the next.
const ROUND: usize = 64;

/// Label of a connection, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// A call that the peer may make, to be answered by [`Listener::reply`].
#[derive(Clone, Debug, PartialEq)]
pub struct Incoming {
    /// Where the answer goes.
    pub connection: ConnectionId,
    /// Who asks.
    pub peer: Peer,
    /// What is asked.
    pub call: Call,
    /// Several answers are welcome.
    pub more: bool,
    /// No answer is wanted; one that is given is dropped.
    pub oneway: bool,
    /// For jobs: answer when it is done. `false`: answer as soon as it is accepted.
    pub wait: bool,
    /// What the client calls this request, which it may repeat.
    pub request: Option<RequestKey>,
}

/// The listening socket and its connections.
#[derive(Debug)]
pub struct Listener {
    epoll: OwnedFd,
    socket: UnixListener,
    path: PathBuf,
    /// Closed for a moment when descriptors run out, so that a peer can be accepted and turned away.
    spare: Option<File>,
    /// Nobody is accepted for a moment: that failed, and a queue that stays full would wake the loop for ever.
    paused: bool,
    rules: Rules,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Connections that may have a whole call in their buffer.
    ready: VecDeque<ConnectionId>,
    gone: VecDeque<ConnectionId>,
    /// Streams whose reader has caught up.
    drained: VecDeque<ConnectionId>,
    /// Counts connections and their activity; a label and a clock without time.
    counter: u64,
    /// Bytes that wait in all connections.
    backlog: usize,
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Listener {
    fn over(socket: UnixListener, path: &Path, rules: Rules) -> io::Result<Listener> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &socket, epoll::EventData::new_u64(LISTENING), epoll::EventFlags::IN)?;
        Ok(Listener {
            epoll,
            socket,
            path: path.to_owned(),
            spare: File::open("/dev/null").ok(),
            paused: false,
            rules,
            connections: BTreeMap::new(),
            ready: VecDeque::new(),
            gone: VecDeque::new(),
            drained: VecDeque::new(),
            counter: LISTENING,
            backlog: 0,
        })
    }

    /// Does what the sockets are ready for, without blocking. `admit` is asked once for each new peer; its error, a
    /// sentence fragment, answers every call of that peer ("from inside the managed unit web").
    ///
    /// # Errors
    /// Of epoll_wait(2). Trouble with a peer ends that peer's connection and nothing else.
    pub fn dispatch(&mut self, admit: &mut dyn FnMut(&Peer) -> Result<(), String>) -> io::Result<()> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(ROUND);
        let none = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&none)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events {
            match event.data.u64() {
                LISTENING => self.accept(admit),
                label => self.serve(ConnectionId(label), event.flags),
            }
        }
        Ok(())
    }

    /// The next call that may be made, in turn over the connections. To be called until `None` after [`dispatch`]
    /// and after [`reply`].
    ///
    /// [`dispatch`]: Listener::dispatch
    /// [`reply`]: Listener::reply
    pub fn next_call(&mut self) -> Option<Incoming> {
        while let Some(id) = self.ready.pop_front() {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            if connection.pending {
                continue;
            }
            match connection.next_request() {
                Err(_) => self.close(id),
                Ok(None) if connection.is_finished() => self.close(id),
                Ok(None) => self.refresh(id),
                Ok(Some(request)) => {
                    self.ready.push_back(id);
                    let oneway = request.oneway || connection.dead;
                    match consider(&self.rules, id, connection, request) {
                        Err(_) if oneway => {}
                        Err(bytes) => self.send(id, &bytes),
                        Ok(incoming) => {
                            connection.pending = !oneway;
                            return Some(Incoming { oneway, ..incoming });
                        }
                    }
                }
            }
        }
        None
    }

    /// The next connection that went away while its call was not answered yet.
    pub fn next_gone(&mut self) -> Option<ConnectionId> {
        self.gone.pop_front()
    }

    /// The next stream whose reader has taken everything that waited.
    pub fn next_drained(&mut self) -> Option<ConnectionId> {
        self.drained.pop_front()
    }

    /// The open call of `connection` will have answers for as long as it lasts.
    pub fn begin_stream(&mut self, connection: ConnectionId) {
        if let Some(open) = self.connections.get_mut(&connection).filter(|c| c.pending) {
            open.streaming = true;
        }
    }

    /// Bytes of answers that wait for this reader.
    pub fn waiting(&self, connection: ConnectionId) -> usize {
        self.connections.get(&connection).map_or(0, Connection::waiting)
    }

    /// The descriptors that came with the call of `connection`.
    pub fn take_descriptors(&mut self, connection: ConnectionId) -> Vec<OwnedFd> {
        self.connections.get_mut(&connection).map_or_else(Vec::new, Connection::take_descriptors)
    }

    /// Answers the call of `connection`; without effect when that went away or has no open call.
    pub fn reply(&mut self, connection: ConnectionId, reply: &Result<Answer, CallError>) {
        let Some(open) = self.connections.get_mut(&connection).filter(|c| c.pending) else { return };
        open.pending = false;
        open.streaming = false;
        // What came with a call that has no use for it.
        drop(open.take_descriptors());
        self.ready.push_back(connection);
        let bytes = match reply {
            Ok(answer) => encode(answer, false),
            Err(error) => encode_error(error),
        };
        self.send(connection, &bytes);
    }

    /// One of several answers, another follows. Only for a call with `more`.
    pub fn reply_part(&mut self, connection: ConnectionId, answer: &Answer) {
        if self.connections.get(&connection).is_some_and(|c| c.pending) {
            self.send(connection, &encode(answer, true));
        }
    }

    /// Is it still there? One whose peer has gone is not.
    pub fn is_open(&self, connection: ConnectionId) -> bool {
        self.connections.get(&connection).is_some_and(|open| !open.is_finished())
    }

    /// Does an answer wait for somebody who reads it?
    pub fn is_being_read(&self) -> bool {
        self.connections
            .values()
            .any(|connection| connection.waiting() > 0 && !connection.dead && !connection.streaming)
    }

    /// Connections at present.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    fn serve(&mut self, id: ConnectionId, flags: epoll::EventFlags) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        self.counter += 1;
        connection.used = self.counter;
        if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::HUP) {
            connection.receive();
        }
        if flags.contains(epoll::EventFlags::OUT) {
            self.backlog -= connection.flush();
            if connection.streaming && connection.waiting() == 0 {
                self.drained.push_back(id);
            }
        }
        if flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            connection.dead = true;
        }
        if connection.dead {
            // What was sent before the end is still carried out. HUP cannot be masked: out of the epoll with it.
            let _ = epoll::delete(&self.epoll, &connection.stream);
            if std::mem::take(&mut connection.pending) {
                self.gone.push_back(id);
            }
        } else {
            self.refresh(id);
        }
        self.ready.push_back(id);
    }

    fn send(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.dead {
            return;
        }
        let before = connection.waiting();
        connection.send(bytes);
        let after = connection.waiting();
        self.backlog = self.backlog - before + after;
        if after > BACKLOG || self.backlog > BACKLOG_TOTAL {
            self.close(id);
        } else {
            self.refresh(id);
        }
    }

    /// Tells the epoll what the connection waits for, if that changed.
    fn refresh(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id).filter(|c| !c.dead) else { return };
        let wanted = connection.wanted();
        if wanted != connection.interest {
            connection.interest = wanted;
            let data = epoll::EventData::new_u64(id.0);
            if epoll::modify(&self.epoll, &connection.stream, data, wanted).is_err() {
                self.close(id);
            }
        }
    }

    fn close(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.remove(&id) else { return };
        self.backlog -= connection.waiting();
        if connection.pending {
            self.gone.push_back(id);
        }
        if !connection.dead {
            // Not left to close(2): a child between clone and exec may still hold the same open file.
            let _ = epoll::delete(&self.epoll, &connection.stream);
        }
    }
}

/// The call, if it can be understood and the peer may make it; else the bytes of the reply.
fn consider(rules: &Rules, id: ConnectionId, from: &Connection, request: Request) -> Result<Incoming, Vec<u8>> {
    let verb = match request.asked().map_err(|error| encode_service_error(&error))? {
        Asked::Info => return Err(encode_info(env!("CARGO_PKG_VERSION"))),
        Asked::InterfaceDescription => return Err(encode_interface_description(&request.into_parameters())),
        Asked::Verb(verb) => verb,
    };
    let permitted = match &from.barred {
        Some(message) => Err(message.clone()),
        None => rules.permit(&from.peer, verb),
    };
    permitted.map_err(|message| encode_error(&CallError::PermissionDenied { message }))?;
    let (more, oneway) = (request.more, request.oneway);
    let (call, manner) = verb.decode(request.into_parameters()).map_err(|error| encode_service_error(&error))?;
    Ok(Incoming {
        connection: id,
        peer: from.peer.clone(),
        call,
        more,
        oneway,
        wait: manner.wait,
        request: manner.request,
    })
}

fn encode(answer: &Answer, continues: bool) -> Vec<u8> {
    encode_answer(answer, continues).unwrap_or_else(|error| {
        encode_error(&CallError::Internal { message: format!("{error}; ask with `more`, or for one unit") })
    })
}

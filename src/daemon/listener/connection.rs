//! One peer of the control socket: its buffers in both directions. Decides nothing.

use crate::control::{FrameReader, Malformed, Peer, REQUEST_LIMIT, Request};
use crate::sys::socket;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::os::fd::{AsFd, OwnedFd};

/// Bytes taken from the socket at a time.
const CHUNK: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Connection {
    pub stream: OwnedFd,
    pub peer: Peer,
    /// Why no call of this peer is carried out.
    pub barred: Option<String>,
    /// A call is being carried out and wants an answer.
    pub pending: bool,
    /// That call has no last answer: `Events`.
    pub streaming: bool,
    /// The peer closed both directions, or the socket failed: nothing can be sent any more.
    pub dead: bool,
    /// What the epoll was told.
    pub interest: EventFlags,
    /// Number of the last activity.
    pub used: u64,
    /// The peer will send nothing more.
    ended: bool,
    reader: FrameReader,
    out: Vec<u8>,
    /// Bytes of `out` that were sent.
    sent: usize,
    /// May descriptors come along? Of others the kernel closes them.
    takes_descriptors: bool,
    /// Those that came with the call at hand.
    descriptors: Vec<OwnedFd>,
}

/// Most descriptors that a call has.
const DESCRIPTORS: usize = 5;

impl Connection {
    pub fn new(stream: OwnedFd, peer: Peer, barred: Option<String>, used: u64, takes_descriptors: bool) -> Connection {
        Connection {
            stream,
            peer,
            barred,
            pending: false,
            streaming: false,
            dead: false,
            interest: EventFlags::IN | EventFlags::RDHUP,
            used,
            ended: false,
            reader: FrameReader::new(REQUEST_LIMIT),
            out: Vec::new(),
            sent: 0,
            takes_descriptors,
            descriptors: Vec::new(),
        }
    }

    /// Takes what has arrived, as long as there is room.
    pub fn receive(&mut self) {
        let mut chunk = [0u8; CHUNK];
        while !self.ended && self.reader.held() <= REQUEST_LIMIT {
            match self.take(&mut chunk) {
                Ok(0) => self.ended = true,
                Ok(count) => self.reader.push(&chunk[..count]),
                Err(Errno::INTR) => {}
                // For want of memory too: it is still there.
                Err(Errno::AGAIN | Errno::NOMEM | Errno::NOBUFS) => return,
                Err(_) => (self.ended, self.dead) = (true, true),
            }
        }
    }

    fn take(&mut self, chunk: &mut [u8]) -> Result<usize, Errno> {
        if !self.takes_descriptors {
            return recv(&self.stream, chunk, RecvFlags::DONTWAIT).map(|(count, _)| count);
        }
        let received = socket::receive(self.stream.as_fd(), chunk).map_err(|e| Errno::from_raw_os_error(e.errno))?;
        let received = received.ok_or(Errno::AGAIN)?;
        self.descriptors.extend(received.descriptors);
        // No call has so many.
        if self.descriptors.len() > DESCRIPTORS { Err(Errno::BADMSG) } else { Ok(received.length) }
    }

    /// The descriptors that came with the call at hand.
    pub fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.descriptors)
    }

    /// The next whole request in the buffer.
    pub fn next_request(&mut self) -> Result<Option<Request>, Malformed> {
        let frame = self.reader.next_frame().map_err(|error| Malformed { message: error.to_string() })?;
        frame.map(|frame| Request::decode(&frame)).transpose()
    }

    /// What was received and is no whole call yet.
    pub fn unread(&self) -> &[u8] {
        self.reader.unread()
    }

    /// Bytes that came before what the socket holds.
    pub fn put_back(&mut self, bytes: &[u8]) {
        self.reader.push(bytes);
    }

    /// Sends `bytes` after what still waits.
    pub fn send(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        self.flush();
    }

    /// Sends what waits, as far as the peer takes it. Returns how many bytes went.
    pub fn flush(&mut self) -> usize {
        let before = self.waiting();
        while self.waiting() > 0 && !self.dead {
            match send(&self.stream, &self.out[self.sent..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => self.sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::NOMEM | Errno::NOBUFS) => break,
                Err(_) => {
                    self.sent = self.out.len();
                    // A peer that is there would wait for ever; so it asks again. What it sent before may still be in
                    // the buffer, and the reader's end tells the rest.
                    let _ = rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Both);
                }
            }
        }
        let went = before - self.waiting();
        if self.waiting() == 0 {
            (self.out, self.sent) = (Vec::new(), 0);
        } else if self.sent >= CHUNK {
            // A reader that is always a little behind would make it grow for ever.
            self.out.drain(..self.sent);
            self.sent = 0;
        }
        went
    }

    /// Bytes that wait to be sent.
    pub fn waiting(&self) -> usize {
        self.out.len() - self.sent
    }

    /// What the epoll should wake us for.
    pub fn wanted(&self) -> EventFlags {
        let mut wanted = EventFlags::empty();
        if !self.ended && self.reader.held() <= REQUEST_LIMIT {
            wanted |= EventFlags::IN | EventFlags::RDHUP;
        }
        if self.waiting() > 0 {
            wanted |= EventFlags::OUT;
        }
        wanted
    }

    /// Nothing more can come of it.
    pub fn is_finished(&self) -> bool {
        self.dead || (self.ended && !self.pending && self.waiting() == 0)
    }

    /// Nothing is lost when it is closed now; who listens to a stream can listen again.
    pub fn is_idle(&self) -> bool {
        self.streaming || (!self.pending && self.waiting() == 0)
    }
}

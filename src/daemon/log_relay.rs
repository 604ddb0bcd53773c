//! Output on its way to the journal: one client for all units, and who waits for it.
//!
//! A journal that is slow stops the reading of those pipes: the services wait on a full pipe, as they would on a full
//! socket of the journal's own, and nothing is lost, whatever becomes of the daemon: a message leaves its pipe when the
//! journal has it. While no journal is there, the client keeps what has room and counts the rest, and says how many once
//! there is one again; what it keeps is lost with a daemon that is killed meanwhile.

use super::engine::{Engine, Source, Timer};
use super::journal::{JournalClient, NATIVE_SOCKET, Room};
use super::log_layer::{IDENTIFIER, SharedJournal};
use crate::supervise::ServiceId;
use crate::sys::poll::{Interest, Token};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

/// What may wait: the pipes of services that ended while the journal was busy.
const ROOM: Room = Room { records: 1 << 17, bytes: 16 << 20 };

/// Between tries to reach a journal that is not there.
const AGAIN: Duration = Duration::from_millis(200);

/// The same for events of the daemon.
const EVENTS_AGAIN: Duration = Duration::from_millis(100);

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Journal {
    client: JournalClient,
    /// Registration of the client's socket, and which one it was.
    watched: Option<(Token, u64)>,
    /// Services whose pipe is not read until the journal has taken what was.
    blocked: VecDeque<ServiceId>,
}

impl Default for Journal {
    fn default() -> Journal {
        let client = JournalClient::idle(Path::new(NATIVE_SOCKET), IDENTIFIER, ROOM);
        Journal { client, watched: None, blocked: VecDeque::new() }
    }
}

impl Journal {
    /// The client.
    pub fn client(&mut self) -> &mut JournalClient {
        &mut self.client
    }
}

impl Engine {
    /// Sends what waits of the daemon's own events; tries again soon while it does not take it.
    pub fn flush_journal(&mut self, journal: &SharedJournal) {
        let mut client = journal.lock().unwrap_or_else(PoisonError::into_inner);
        if client.is_waiting() {
            client.flush();
        }
        let waiting = client.is_waiting();
        drop(client);
        if waiting && !self.is_set(Timer::Journal) {
            self.after(EVENTS_AGAIN, Timer::Journal);
        }
    }

    /// Output of a unit was read: if the journal did not take all of it, no more is read until it has.
    pub(super) fn relay_written(&mut self, id: ServiceId) {
        let Some(log) = self.services.get_mut(&id).and_then(|service| service.log.as_mut()) else { return };
        if !log.is_relayed() {
            return;
        }
        if !log.paused && log.is_held_up() {
            log.paused = true;
            self.sources.remove(&log.pipe.token);
            // Its descriptor stays open: epoll would report it again and again.
            let _ = self.poller.remove(&log.pipe.fd);
            self.journal.blocked.push_back(id);
        }
        self.await_journal();
    }

    /// Watches the client's socket while something waits for it, and no longer.
    pub(super) fn await_journal(&mut self) {
        let Journal { client, watched, blocked } = &mut self.journal;
        let waits = client.is_waiting() || !blocked.is_empty();
        let wanted = if waits { client.socket() } else { None };
        if let Some((token, generation)) = *watched
            && wanted.as_ref().map(|(_, number)| *number) != Some(generation)
        {
            self.sources.remove(&token);
            if let Some((socket, number)) = client.socket()
                && number == generation
            {
                let _ = self.poller.remove(socket);
            }
            *watched = None;
        }
        if let Some((socket, generation)) = wanted
            && watched.is_none()
            && let Ok(token) = self.poller.add(socket, Interest::Write)
        {
            self.sources.insert(token, Source::Journal);
            *watched = Some((token, generation));
        }
        if waits && self.journal.watched.is_none() && !self.is_set(Timer::Relay) {
            self.after(AGAIN, Timer::Relay);
        }
    }

    /// The journal takes something again, or may.
    pub(super) fn journal_ready(&mut self) {
        self.journal.client.flush();
        for _ in 0..self.journal.blocked.len() {
            if self.journal.client.is_waiting() && self.journal.client.is_connected() {
                break;
            }
            let Some(id) = self.journal.blocked.pop_front() else { break };
            let Some(log) = self.services.get_mut(&id).and_then(|service| service.log.as_mut()) else { continue };
            if !log.paused {
                continue;
            }
            if !log.pump(&mut self.journal.client, &self.scratch) {
                self.journal.blocked.push_back(id);
                continue;
            }
            match self.poller.add(&log.pipe.fd, Interest::Read) {
                Ok(token) => {
                    log.paused = false;
                    log.waits_for_more = false;
                    log.pipe.token = token;
                    self.sources.insert(token, Source::Log(id));
                }
                Err(_) => self.journal.blocked.push_back(id),
            }
        }
        self.await_journal();
    }

    /// Is there output of services that the journal has not taken yet?
    pub(super) fn holds_output(&self) -> bool {
        let held = self.services.values().any(|service| service.log.as_ref().is_some_and(|log| log.held() > 0));
        held || self.journal.client.is_waiting()
    }

    /// The daemon ends: what was read and cannot be sent is lost, which is said.
    pub(super) fn conclude_relay(&mut self) {
        self.journal.client.flush();
        for service in self.services.values() {
            let held = service.log.as_ref().map_or(0, |log| log.held());
            if held > 0 {
                tracing::warn!(unit = service.name, "{}: {held} bytes of its output are lost", service.name);
            }
        }
        if self.journal.client.is_waiting() {
            tracing::warn!("the journal did not take all output of services before the daemon ended");
        }
    }
}

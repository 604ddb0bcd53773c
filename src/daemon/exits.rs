//! The socket on which every resident init tells how its children ended: one for the whole instance, so that a service
//! costs no descriptor for it. Both ends are kept beyond the daemon (`instance_keeper`): the inits of an earlier daemon
//! tell the next one.
//!
//! Who tells is the kernel's word: it stamps each record with its sender's pid, and only the PID 1 of a launched
//! container is believed, for its own container. The socket is never waited for by an init: when it is full, because
//! hundreds of services ended at once, the record stays in the file that the init maps, and is read there.

use super::engine::{Engine, Place, Source, to_io};
use crate::plan::wire::ExitRecord;
use crate::supervise::ServiceId;
use crate::sys::socket;
use rustix::fs::OFlags;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// So many records in a row mean that the socket may have been full: it holds more than two hundred.
const CROWD: usize = 128;

/// Names of the two ends with the keeper.
const OUR_END: &str = "exits";
const INITS_END: &str = "exits-of-inits";

/// See the module documentation.
pub(super) struct Exits {
    ours: OwnedFd,
    /// Kept open, so that the socket never ends.
    inits_end: OwnedFd,
    inode: u64,
    /// The processes that are believed, by host pid.
    inits: HashMap<i32, (ServiceId, Place)>,
}

impl Exits {
    /// # Errors
    /// Those of socketpair(2).
    pub fn new() -> io::Result<Exits> {
        let (ours, inits_end) = socket::seqpacket_pair().map_err(to_io)?;
        socket::set_passcred(ours.as_fd()).map_err(to_io)?;
        let flags = rustix::fs::fcntl_getfl(&inits_end)?;
        rustix::fs::fcntl_setfl(&inits_end, flags | OFlags::NONBLOCK)?;
        Exits::of(ours, inits_end)
    }

    fn of(ours: OwnedFd, inits_end: OwnedFd) -> io::Result<Exits> {
        let inode = rustix::fs::fstat(&inits_end)?.st_ino;
        Ok(Exits { ours, inits_end, inode, inits: HashMap::new() })
    }

    /// What the keeper holds, with the names.
    pub fn kept(&self) -> Vec<(&'static str, OwnedFd)> {
        let ends = [(OUR_END, &self.ours), (INITS_END, &self.inits_end)];
        ends.into_iter().filter_map(|(name, end)| Some((name, end.try_clone().ok()?))).collect()
    }

    /// Names this socket as long as it exists: does an init that was started by another daemon tell us?
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// What a resident init inherits a copy of.
    pub fn inits_end(&self) -> BorrowedFd<'_> {
        self.inits_end.as_fd()
    }

    /// From now on this process is believed.
    pub fn expect(&mut self, pid: i32, id: ServiceId, place: Place) {
        self.inits.insert(pid, (id, place));
    }

    /// The process has been reaped, or nobody is interested in it any more.
    pub fn forget(&mut self, pid: i32) {
        self.inits.remove(&pid);
    }

    /// How many processes are believed: one for each container with a resident init.
    pub fn count(&self) -> usize {
        self.inits.len()
    }

    /// The next record, `None` when there is none now. `Some(None)`: nothing that is believed.
    fn next(&self) -> Option<Option<(ServiceId, Place, ExitRecord)>> {
        let mut buffer = [0u8; 32];
        let received = socket::receive(self.ours.as_fd(), &mut buffer).ok()??;
        let sender = received.sender.and_then(|sender| self.inits.get(&sender.pid));
        let record = buffer.get(..received.length).and_then(ExitRecord::from_bytes);
        Some(sender.zip(record).map(|((id, place), record)| (*id, *place, record)))
    }
}

impl AsFd for Exits {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ours.as_fd()
    }
}

impl Engine {
    /// Goes on with the socket of the daemon before, or has the new one kept. What is still in it stands in the record
    /// files too, which are read when the services are taken over; and the numbers of its senders may be others' by now.
    pub(super) fn open_exits(&mut self) -> io::Result<()> {
        let (Some(ours), Some(inits_end)) = (self.take_kept(OUR_END), self.take_kept(INITS_END)) else {
            for (name, end) in self.exits.kept() {
                self.keep_for_next(name, end);
            }
            return Ok(());
        };
        let exits = Exits::of(ours, inits_end)?;
        while exits.next().is_some() {}
        let _ = self.poller.remove(&self.exits);
        self.sources.retain(|_, source| *source != Source::Exits);
        self.watch(&exits, Source::Exits)?;
        self.exits = exits;
        Ok(())
    }

    /// Reads exit records; the one of a service's own process is its end.
    pub(super) fn exits_ready(&mut self) {
        let mut count = 0;
        while let Some(told) = self.exits.next() {
            count += 1;
            if let Some((id, place, record)) = told {
                self.child_ended(id, place, record);
            }
        }
        if count >= CROWD {
            self.look_for_records();
        }
    }

    /// Some inits may have found the socket full: what they could not tell is in their files.
    fn look_for_records(&mut self) {
        let told: Vec<_> = self.exits.inits.values().copied().filter(|(_, place)| *place == Place::Main).collect();
        for (id, place) in told {
            let Some(exit) = self.record_of(id) else { continue };
            if self
                .service(id)
                .is_some_and(|s| s.control.is_none() && s.main.as_ref().is_some_and(|p| p.exit.is_none()))
            {
                self.report_ready(id, place);
                self.ended(id, place, exit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record as `init/resident.rs` writes it.
    fn record(pid: i32) -> [u8; 32] {
        let mut bytes = [0u8; 32];
        let words = [crate::plan::wire::RECORD_MAGIC, pid as u32, 1, 7, 0, 0, 1, 0];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    fn tell(exits: &Exits, bytes: &[u8]) -> rustix::io::Result<usize> {
        rustix::io::write(exits.inits_end(), bytes)
    }

    #[test]
    fn only_a_launched_init_is_believed_and_only_for_its_own_container() {
        let mut exits = Exits::new().unwrap();
        tell(&exits, &record(2)).unwrap();
        assert!(matches!(exits.next(), Some(None)), "a stranger");
        exits.expect(std::process::id() as i32, ServiceId(7), Place::Main);
        tell(&exits, &record(2)).unwrap();
        let Some(Some((id, place, told))) = exits.next() else { panic!("not believed") };
        assert_eq!((id, place, told.pid, told.status), (ServiceId(7), Place::Main, 2, 7));
        tell(&exits, b"nonsense").unwrap();
        assert!(matches!(exits.next(), Some(None)));
        exits.forget(std::process::id() as i32);
        tell(&exits, &record(2)).unwrap();
        assert!(matches!(exits.next(), Some(None)));
        assert!(exits.next().is_none());
    }

    #[test]
    fn a_full_socket_keeps_no_init_waiting_and_holds_more_than_a_crowd() {
        let exits = Exits::new().unwrap();
        let mut count = 0;
        while tell(&exits, &record(2)).is_ok() {
            count += 1;
        }
        assert!(count >= CROWD, "{count}");
    }
}

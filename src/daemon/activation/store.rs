//! What services leave with the daemon for their next run: FDSTORE=1 of sd_notify(3).
//!
//! ```text
//!  service ── FDSTORE=1 ──▶ daemon ──▶ keeper ─ ─ ▶ the next daemon
//!     ▲                       │  └── hung up (without FDPOLL=0), FDSTOREREMOVE=1, stop: dropped
//!     └── next run, LISTEN_FDS ┘
//! ```
//!
//! A descriptor is stored when the keeper has it, and a barrier that follows is answered then. Nothing is asked of the
//! open file itself (no fstat(2), no read): it may be of a file system that the service made up, and never answer.

use super::KeptStored;
use crate::daemon::engine::{Engine, Source};
use crate::supervise::ServiceId;
use crate::sys::fd::is_same_file;
use crate::sys::poll::{Interest, Token};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// Most bytes of names that one unit may store: LISTEN_FDNAMES is one variable, and a variable has at most 128 KiB
/// (MAX_ARG_STRLEN, execve(2)), of which the unit's sockets may take 16 KiB.
const NAMES_LIMIT: usize = 96 * 1024;

/// Of the descriptors that the daemon may have, all units together may store one in so many.
const SHARE: u64 = 4;

/// What one unit has stored, in the order in which it came.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Store {
    entries: Vec<Stored>,
    /// The keeper does not hold what is here.
    changed: bool,
}

#[derive(Debug)]
struct Stored {
    fd: OwnedFd,
    name: String,
    poll: bool,
    /// Registration for its hang-up; none for what cannot hang up, such as a file.
    token: Option<Token>,
    /// `socket:[4711]`: different names of this form are different open files.
    kind: Option<PathBuf>,
}

/// Why a descriptor is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// It is there already, under this name or another.
    Known { renamed: bool },
    /// It is one of the unit's own sockets.
    Socket,
    /// `file_descriptor_store_max`
    Full,
    /// [`NAMES_LIMIT`]
    Names,
    /// [`SHARE`]
    Daemon,
}

impl Refusal {
    /// `max` is the unit's limit, `descriptors` that of the daemon.
    fn words(self, max: usize, descriptors: u64) -> String {
        match self {
            Refusal::Known { .. } => "it is stored already under another name, which it keeps".to_owned(),
            Refusal::Socket => "it is one of the sockets of the unit, which are kept anyway".to_owned(),
            Refusal::Full => format!("{max} are there, as many as service.file_descriptor_store_max allows"),
            Refusal::Names => format!("the names of all together are longer than {NAMES_LIMIT} bytes"),
            Refusal::Daemon => format!(
                "the daemon may open {descriptors} files, of which all units together may store one in {SHARE}, and \
                 needs the rest (hint: LimitNOFILE= of its systemd unit, or `ulimit -Hn`)"
            ),
        }
    }
}

impl Store {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Each with what a keeper notes of it.
    pub fn held(&self) -> Vec<(BorrowedFd<'_>, KeptStored)> {
        let kept = |stored: &Stored| KeptStored { name: stored.name.clone(), poll: stored.poll };
        self.entries.iter().map(|stored| (stored.fd.as_fd(), kept(stored))).collect()
    }

    fn find(&self, fd: BorrowedFd<'_>, kind: Option<&PathBuf>) -> Option<&Stored> {
        let may_be = |stored: &&Stored| match (&stored.kind, kind) {
            (Some(one), Some(other)) => one == other,
            (None, None) => true,
            _ => false,
        };
        self.entries.iter().filter(may_be).find(|stored| is_same_file(stored.fd.as_fd(), fd))
    }

    fn bytes_of_names(&self) -> usize {
        self.entries.iter().map(|stored| stored.name.len() + 1).sum()
    }
}

/// What the kernel calls a socket or a pipe, by which most comparisons are spared. The text of /proc is made from the
/// open file alone; no file system is asked.
fn kind(fd: BorrowedFd<'_>) -> Option<PathBuf> {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?;
    let text = link.to_str()?;
    (text.starts_with("socket:[") || text.starts_with("pipe:[")).then_some(link)
}

impl Engine {
    /// FDSTORE=1
    pub(in crate::daemon) fn store(&mut self, id: ServiceId, name: &str, poll: bool, descriptors: Vec<OwnedFd>) {
        let Some(unit) = self.service(id).and_then(|service| service.running.as_ref()) else { return };
        let max = unit.service.file_descriptor_store_max as usize;
        if max == 0 {
            let text = format!(
                "{} descriptors of the name {name:?} are closed and not stored: service.file_descriptor_store_max is 0",
                descriptors.len()
            );
            return self.complain(id, &text);
        }
        let mut refused: Vec<(Refusal, usize)> = Vec::new();
        for fd in descriptors {
            match self.refusal(id, fd.as_fd(), name, max) {
                None => self.keep_new(id, fd, name, poll),
                Some(Refusal::Known { renamed: false }) => {}
                Some(why) => match refused.iter_mut().find(|(known, _)| *known == why) {
                    Some((_, count)) => *count += 1,
                    None => refused.push((why, 1)),
                },
            }
        }
        for (why, count) in refused {
            let why = why.words(max, self.descriptors);
            self.complain(id, &format!("FDSTORE=1: {count} descriptors of the name {name:?} are closed: {why}"));
        }
    }

    fn refusal(&self, id: ServiceId, fd: BorrowedFd<'_>, name: &str, max: usize) -> Option<Refusal> {
        let service = self.service(id)?;
        if let Some(known) = service.store.find(fd, kind(fd).as_ref()) {
            return Some(Refusal::Known { renamed: known.name != name });
        }
        let mut open = service.sockets.iter().flat_map(|sockets| &sockets.open);
        if open.any(|socket| is_same_file(socket.fd.as_fd(), fd)) {
            return Some(Refusal::Socket);
        }
        if service.store.len() >= max {
            return Some(Refusal::Full);
        }
        if service.store.bytes_of_names() + name.len() >= NAMES_LIMIT {
            return Some(Refusal::Names);
        }
        let all: usize = self.services.values().map(|service| service.store.len()).sum();
        let too_many = all as u64 >= self.descriptors / SHARE || self.check_room_for_launch().is_err();
        too_many.then_some(Refusal::Daemon)
    }

    fn keep_new(&mut self, id: ServiceId, fd: OwnedFd, name: &str, poll: bool) {
        self.keep_stored(id, fd, name, poll);
        if let Some(service) = self.services.get_mut(&id) {
            service.store.changed = true;
        }
    }

    /// Takes one in that the keeper has or will have.
    pub(super) fn keep_stored(&mut self, id: ServiceId, fd: OwnedFd, name: &str, poll: bool) {
        // EPERM: a file, which never hangs up.
        let token = poll.then(|| self.watch_for(&fd, Interest::HangUp, Source::Stored(id)).ok()).flatten();
        let stored = Stored { kind: kind(fd.as_fd()), fd, name: name.to_owned(), poll, token };
        if let Some(service) = self.services.get_mut(&id) {
            service.store.entries.push(stored);
        }
    }

    /// FDSTOREREMOVE=1. A name that nothing has is no mistake: it may have hung up.
    pub(in crate::daemon) fn remove_stored(&mut self, id: ServiceId, name: &str) {
        self.release(id, |stored| stored.name == name);
    }

    /// The other end of a stored descriptor is gone.
    pub(in crate::daemon) fn stored_hung_up(&mut self, id: ServiceId, token: Token) {
        self.release(id, |stored| stored.token == Some(token));
        self.keep_store(id);
    }

    /// Drops the newest of those that a changed unit does not allow any more; a run begins.
    pub(in crate::daemon) fn fit_store(&mut self, id: ServiceId) {
        let Some(service) = self.services.get(&id) else { return };
        let max = service.running.as_ref().map_or(0, |unit| unit.service.file_descriptor_store_max as usize);
        let (count, mut place) = (service.store.len(), 0);
        if count <= max {
            return;
        }
        self.release(id, |_| {
            place += 1;
            place > max
        });
        self.complain(
            id,
            &format!(
                "{} of its stored descriptors are closed: service.file_descriptor_store_max is {max} now",
                count - max
            ),
        );
        self.keep_store(id);
    }

    /// The unit is down: what it stored is closed. The keeper is the caller's.
    pub(super) fn drop_store(&mut self, id: ServiceId) {
        self.release(id, |_| true);
        if let Some(service) = self.services.get_mut(&id) {
            service.store = Store::default();
        }
    }

    fn release(&mut self, id: ServiceId, mut is_meant: impl FnMut(&Stored) -> bool) {
        let Some(service) = self.services.get_mut(&id) else { return };
        let (gone, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut service.store.entries).into_iter().partition(|stored| is_meant(stored));
        service.store.entries = rest;
        service.store.changed |= !gone.is_empty();
        for stored in gone {
            if let Some(token) = stored.token {
                self.unwatch(&stored.fd, token);
            }
        }
    }

    /// Has a keeper hold what has changed.
    pub(in crate::daemon) fn keep_store(&mut self, id: ServiceId) {
        let Some(service) = self.services.get_mut(&id) else { return };
        if !std::mem::take(&mut service.store.changed) {
            return;
        }
        if let Err(error) = self.keep(id)
            && let Some(service) = self.service(id)
        {
            tracing::error!(
                unit = service.name,
                "{}: what it stored has no keeper and would end with the daemon: {error}",
                service.name
            );
        }
    }
}

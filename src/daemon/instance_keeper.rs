//! The keeper of the instance: a process of a few KiB that has open what must outlive the daemon, by name.
//!
//! ```text
//!           keep("log:web", fd)                     take("log:web")
//!  daemon ─────────────────────▶ keeper: number 17 ─────────────────▶ the next daemon   (pidfd_getfd(2))
//!     └───── pwrite ───▶ table: 17 = "log:web" ─────── pread ──────────────┘
//! ```
//!
//! It is the resident init's image in another role (`init/keeper.rs`): it takes descriptors over a channel, decides
//! nothing, and holds channel and table itself, so that whoever may take copies of its descriptors finds everything. One
//! order is one sendmsg(2) that waits for nobody: what is in the channel when the daemon is killed is worked off
//! afterwards. An entry of the table is written before its descriptor is sent; it says that a number is to be closed before
//! the order to close it is sent, and that it is free after that. So a number holds what its entry says, or nothing, and
//! what a daemon that died was about to close is closed by the next one. It stands in the keepers' group. What it is given is `keeping`'s.

mod table;

use super::activation::keeper::{FIRST, Making, birth};
use super::engine::to_io;
use super::identity::{self, ProcessIdentity};
use super::whole_file;
use crate::sys::{process, socket};
use rustix::event::{PollFd, PollFlags, Timespec};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use table::{Entry, Slots, Table};

/// Version of the file's form, of the table and of the orders.
const VERSION: u32 = 1;
/// Verbs of the channel, as `init/keeper.rs` has them.
const KEEP: u32 = 1;
const DROP: u32 = 2;
const ANSWER: u32 = 3;
/// Numbers in the keeper: what it is born with.
const CHANNEL: i32 = FIRST;
const OUR_END: i32 = FIRST + 1;
const TABLE: i32 = FIRST + 2;
/// The first number for what it is sent.
const FIRST_SLOT: u32 = 16;
/// How long the keeper may take to work off its orders when a daemon begins. Only one that was stopped takes longer.
const PATIENCE: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };
/// Room in the channel, bytes as the kernel counts them: nearly 1 KiB for an order.
const ROOM: usize = 4 << 20;
/// How long an order may wait for room. In that time a keeper works off more than there is room for.
const ROOM_PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// Most that is read of the file, bytes.
const FILE_LIMIT: u64 = 4096;

/// `<runtime>/keeper`
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    v: u32,
    boot_id: String,
    keeper: ProcessIdentity,
}

/// See the module documentation.
#[derive(Debug)]
pub(super) struct InstanceKeeper {
    identity: ProcessIdentity,
    pidfd: OwnedFd,
    channel: OwnedFd,
    table: Table,
    /// What it holds, by name.
    slots: BTreeMap<String, u32>,
    /// What an earlier daemon left and nobody of this one has asked for.
    unclaimed: BTreeSet<String>,
    /// Closed numbers that may be used again.
    free: BTreeSet<u32>,
    /// The lowest number that was never used.
    next: u32,
    /// Orders that the channel had no room for.
    unsent: VecDeque<(u32, u32, Option<OwnedFd>)>,
}

impl AsFd for InstanceKeeper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl InstanceKeeper {
    /// Starts one that holds nothing yet, and writes down where it is.
    ///
    /// # Errors
    /// Of the clone, or of writing the file; then there is no keeper.
    pub(super) fn start(making: &Making<'_>, runtime_dir: &Path) -> io::Result<InstanceKeeper> {
        let (channel, theirs) = socket::seqpacket_pair().map_err(to_io)?;
        make_room(channel.as_fd());
        let table = Table::new()?;
        let argv = [c"rsvc-keeper".to_owned(), std::ffi::CString::new(CHANNEL.to_string()).unwrap_or_default()];
        let born_with = [theirs.as_fd(), channel.as_fd(), table.as_fd()];
        let (pid, pidfd) = birth(making, &argv, born_with.into_iter())?;
        let identity = ProcessIdentity::identify(pid, pidfd.as_fd());
        drop(theirs);
        let written = identity.and_then(|keeper| {
            // Until it answers it may still be a copy of this process on its way to exec.
            await_orders(channel.as_fd())?;
            let saved = Saved { v: VERSION, boot_id: identity::boot_id().to_owned(), keeper };
            whole_file::write_atomically(&file(runtime_dir), &serde_json::to_vec(&saved)?)?;
            Ok(keeper)
        });
        match written {
            Ok(identity) => Ok(InstanceKeeper {
                identity,
                pidfd,
                channel,
                table,
                slots: BTreeMap::new(),
                unclaimed: BTreeSet::new(),
                free: BTreeSet::new(),
                next: FIRST_SLOT,
                unsent: VecDeque::new(),
            }),
            Err(error) => {
                let _ = process::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
                let _ = process::wait_pidfd(pidfd.as_fd(), false);
                Err(error)
            }
        }
    }

    /// The keeper of an earlier daemon of this boot, with all that it holds; `None` when there is none.
    ///
    /// # Errors
    /// There should be one, and what it holds cannot be had.
    pub(super) fn find(runtime_dir: &Path) -> io::Result<Option<InstanceKeeper>> {
        let bytes = match whole_file::read_file(&file(runtime_dir), FILE_LIMIT) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let saved: Saved = serde_json::from_slice(&bytes)?;
        if saved.boot_id != identity::boot_id() {
            return Ok(None);
        }
        if saved.v != VERSION {
            return Err(io::Error::other(format!("it is of version {}, this rsvc knows {VERSION}", saved.v)));
        }
        let pidfd = identity::open_verified(&saved.keeper).ok_or_else(|| io::Error::other("the process is gone"))?;
        let copy = |number| process::pidfd_getfd(pidfd.as_fd(), number).map_err(to_io);
        let (channel, table) = (copy(OUR_END)?, Table::from_descriptor(copy(TABLE)?));
        // That of another version has less, and its keeper the limit of the daemon by which it was started.
        make_room(channel.as_fd());
        super::capacity::claim_for(saved.keeper.pid);
        await_orders(channel.as_fd())?;
        let Slots { names, closing, free, next } = table.read()?;
        let mut keeper = InstanceKeeper {
            identity: saved.keeper,
            unclaimed: names.keys().cloned().collect(),
            pidfd,
            channel,
            table,
            slots: names,
            free,
            next,
            unsent: VecDeque::new(),
        };
        closing.into_iter().try_for_each(|slot| keeper.order(DROP, slot, None))?;
        Ok(Some(keeper))
    }

    /// Has `descriptor` open under this name from now on, instead of what it had.
    ///
    /// # Errors
    /// Of pwrite(2): the name cannot be written down. A name is at most 255 bytes.
    pub(super) fn keep(&mut self, name: &str, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        self.unclaimed.remove(name);
        if let Some(slot) = self.slots.get(name) {
            return self.order(KEEP, *slot, Some(descriptor));
        }
        let slot = self.free.first().copied().unwrap_or(self.next);
        self.table.write(slot, Entry::Holds(name))?;
        if !self.free.remove(&slot) {
            self.next = slot + 1;
        }
        self.slots.insert(name.to_owned(), slot);
        self.order(KEEP, slot, Some(descriptor))
    }

    /// Closes what it has under this name.
    pub(super) fn release(&mut self, name: &str) -> io::Result<()> {
        self.unclaimed.remove(name);
        let Some(slot) = self.slots.remove(name) else { return Ok(()) };
        self.table.write(slot, Entry::Closing)?;
        self.order(DROP, slot, None)
    }

    /// A copy of what it has under this name.
    pub(super) fn take(&mut self, name: &str) -> Option<OwnedFd> {
        self.unclaimed.remove(name);
        let slot = self.slots.get(name)?;
        process::pidfd_getfd(self.pidfd.as_fd(), i32::try_from(*slot).ok()?).ok()
    }

    /// Sends an order, and waits a moment where there is no room for it; or keeps it for later where others wait already.
    fn order(&mut self, verb: u32, slot: u32, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        if self.unsent.is_empty() {
            let sent = self.send(verb, slot, descriptor)?;
            if sent || (self.has_room()? && self.send(verb, slot, descriptor)?) {
                return Ok(());
            }
        }
        let copy = descriptor.map(|fd| fd.try_clone_to_owned()).transpose()?;
        self.unsent.push_back((verb, slot, copy));
        Ok(())
    }

    /// `false`: there is no room in the channel now, or no memory.
    fn send(&mut self, verb: u32, slot: u32, descriptor: Option<BorrowedFd<'_>>) -> io::Result<bool> {
        let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
        match socket::send_with(self.channel.as_fd(), &words(verb, slot), &descriptors, None) {
            Ok(_) if verb == DROP => {
                self.table.write(slot, Entry::Free)?;
                self.free.insert(slot);
                Ok(true)
            }
            Ok(_) => Ok(true),
            Err(error) if matches!(error.errno, libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Ok(false),
            Err(error) => Err(to_io(error)),
        }
    }

    /// Has it something under this name?
    pub(super) fn holds(&self, name: &str) -> bool {
        self.slots.contains_key(name)
    }

    /// Names of what an earlier daemon has kept and nobody has taken.
    pub(super) fn unclaimed(&self) -> impl Iterator<Item = &String> {
        self.unclaimed.iter()
    }

    /// Do orders wait for room in its channel?
    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    pub(super) fn pid(&self) -> i32 {
        self.identity.pid
    }

    /// It has ended: what is left is to be reaped.
    pub(super) fn into_pidfd(self) -> OwnedFd {
        self.pidfd
    }

    /// Ends it, with all that it holds.
    pub(super) fn end(self, runtime_dir: &Path) {
        // The file first: it must not name a process that is gone.
        let _ = std::fs::remove_file(file(runtime_dir));
        let _ = process::pidfd_send_signal(self.pidfd.as_fd(), libc::SIGKILL);
        let _ = process::wait_pidfd(self.pidfd.as_fd(), false);
    }

    /// Waits for room; `false`: there is none yet.
    fn has_room(&self) -> io::Result<bool> {
        let mut waiting = [PollFd::from_borrowed_fd(self.channel.as_fd(), PollFlags::OUT)];
        match rustix::event::poll(&mut waiting, Some(&ROOM_PATIENCE)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends what waits; `true` when nothing does any more.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        while let Some((verb, slot, descriptor)) = self.unsent.pop_front() {
            if !self.send(verb, slot, descriptor.as_ref().map(|fd| fd.as_fd()))? {
                self.unsent.push_front((verb, slot, descriptor));
                return Ok(false);
            }
        }
        Ok(true)
    }
}

pub(super) fn file(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("keeper")
}

/// Where the kernel does not allow it there is what every socket has: some two hundred orders.
fn make_room(channel: BorrowedFd<'_>) {
    let _ = socket::set_send_buffer(channel, ROOM);
}

fn words(verb: u32, slot: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&verb.to_ne_bytes());
    bytes[4..].copy_from_slice(&slot.to_ne_bytes());
    bytes
}

/// Waits until the orders of the daemon before are done.
fn await_orders(channel: BorrowedFd<'_>) -> io::Result<()> {
    let nonce = std::process::id();
    socket::send_with(channel, &words(ANSWER, nonce), &[], None).map_err(to_io)?;
    loop {
        let mut waiting = [PollFd::from_borrowed_fd(channel, PollFlags::IN)];
        if rustix::event::poll(&mut waiting, Some(&PATIENCE))? == 0 {
            return Err(io::Error::other("it does not answer: was the process stopped?"));
        }
        let mut bytes = [0; 8];
        match socket::receive(channel, &mut bytes) {
            // Answers that an earlier daemon did not wait for are passed over.
            Ok(Some(received)) if received.length == 8 && bytes == words(ANSWER, nonce) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(to_io(error)),
        }
    }
}

/// Under which the pidfd of a main process without a resident init is kept.
pub(super) fn process_name(unit: &str) -> String {
    format!("process:{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fd;
    use std::os::fd::AsRawFd;

    fn start(runtime_dir: &Path) -> InstanceKeeper {
        let image = fd::sealed_memfd(c"rsvc-init", crate::sys::RESIDENT_INIT, true).unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let making = Making { image: image.as_fd(), null: null.as_fd(), group: None };
        InstanceKeeper::start(&making, runtime_dir).unwrap()
    }

    fn end(keeper: InstanceKeeper) {
        process::pidfd_send_signal(keeper.pidfd.as_fd(), libc::SIGKILL).unwrap();
        let _ = process::wait_pidfd(keeper.pidfd.as_fd(), false);
    }

    fn may_take() -> bool {
        rustix::process::geteuid().is_root()
    }

    #[test]
    fn the_next_daemon_finds_what_this_one_kept_and_nothing_else() {
        if !may_take() {
            eprintln!("skipped: copies of another process's descriptors are for root");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let mut first = start(directory.path());
        let files: Vec<_> = (0..3).map(|_| tempfile::tempfile().unwrap()).collect();
        for (name, file) in ["a", "b", "c"].iter().zip(&files) {
            first.keep(name, file.as_fd()).unwrap();
        }
        first.release("b").unwrap();
        first.keep("d", files[1].as_fd()).unwrap();
        first.keep("a", files[2].as_fd()).unwrap();
        let numbers = first.slots.clone();
        drop(first);
        let mut next = InstanceKeeper::find(directory.path()).unwrap().unwrap();
        assert_eq!(next.slots, numbers);
        assert_eq!(next.unclaimed.iter().map(String::as_str).collect::<Vec<_>>(), ["a", "c", "d"]);
        for (name, file) in [("a", 2), ("c", 2), ("d", 1)] {
            let copy = next.take(name).unwrap();
            assert!(fd::is_same_file(copy.as_fd(), files[file].as_fd()), "{name}");
        }
        assert!(next.take("b").is_none() && next.unclaimed.is_empty());
        end(next);
        assert!(InstanceKeeper::find(directory.path()).is_err(), "it is gone, and that is no empty keeper");
    }

    #[test]
    fn what_a_daemon_died_closing_is_closed_by_the_next_one() {
        if !may_take() {
            eprintln!("skipped: copies of another process's descriptors are for root");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let mut first = start(directory.path());
        let (ours, theirs) = socket::seqpacket_pair().unwrap();
        first.keep("socket", theirs.as_fd()).unwrap();
        drop(theirs);
        let slot = first.slots["socket"];
        first.table.write(slot, Entry::Closing).unwrap();
        drop(first);
        let mut next = InstanceKeeper::find(directory.path()).unwrap().unwrap();
        assert!(next.take("socket").is_none() && next.free.contains(&slot));
        await_orders(next.channel.as_fd()).unwrap();
        assert_eq!(socket::receive(ours.as_fd(), &mut [0; 8]).unwrap().unwrap().length, 0, "nobody has the other end");
        assert!(next.table.read().unwrap().closing.is_empty());
        end(next);
    }

    #[test]
    fn a_crowd_of_orders_outlives_the_daemon_that_gave_them() {
        if !may_take() {
            eprintln!("skipped: copies of another process's descriptors are for root");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let mut keeper = start(directory.path());
        let file = tempfile::tempfile().unwrap();
        let names: Vec<String> = (0..500).map(|number| format!("unit{number}")).collect();
        // Stopped, as if it had not got the processor once.
        process::pidfd_send_signal(keeper.pidfd.as_fd(), libc::SIGSTOP).unwrap();
        for _ in 0..4 {
            names.iter().for_each(|name| keeper.keep(name, file.as_fd()).unwrap());
        }
        names.iter().skip(300).for_each(|name| keeper.release(name).unwrap());
        assert!(keeper.unsent.is_empty(), "all of it is in the channel");
        process::pidfd_send_signal(keeper.pidfd.as_fd(), libc::SIGCONT).unwrap();
        drop(keeper);
        let mut next = InstanceKeeper::find(directory.path()).unwrap().unwrap();
        for (number, name) in names.iter().enumerate() {
            let copy = next.take(name);
            assert_eq!(copy.is_some_and(|copy| fd::is_same_file(copy.as_fd(), file.as_fd())), number < 300, "{name}");
        }
        end(next);
    }

    #[test]
    fn an_order_waits_for_room_while_the_keeper_works() {
        if !may_take() {
            eprintln!("skipped: copies of another process's descriptors are for root");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let mut keeper = start(directory.path());
        socket::set_send_buffer(keeper.channel.as_fd(), 1).unwrap();
        let file = tempfile::tempfile().unwrap();
        for number in 0..5000 {
            keeper.keep(&format!("unit{}", number % 100), file.as_fd()).unwrap();
            assert!(keeper.unsent.is_empty(), "after {number}");
        }
        end(keeper);
    }

    #[test]
    fn orders_that_found_no_room_are_sent_later_and_in_order() {
        if !may_take() {
            eprintln!("skipped: copies of another process's descriptors are for root");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let mut keeper = start(directory.path());
        // Stopped, it takes nothing out of its channel.
        process::pidfd_send_signal(keeper.pidfd.as_fd(), libc::SIGSTOP).unwrap();
        let files: Vec<_> = (0..3).map(|_| tempfile::tempfile().unwrap()).collect();
        let mut count = 0;
        while keeper.unsent.is_empty() {
            keeper.keep("crowd", files[0].as_fd()).unwrap();
            count += 1;
            assert!(count < 100_000);
        }
        keeper.keep("late", files[1].as_fd()).unwrap();
        let late = keeper.slots["late"];
        keeper.release("late").unwrap();
        keeper.keep("later", files[2].as_fd()).unwrap();
        assert_ne!(keeper.slots["later"], late, "the order to close it has not been sent");
        assert!(!keeper.flush().unwrap());
        process::pidfd_send_signal(keeper.pidfd.as_fd(), libc::SIGCONT).unwrap();
        while !keeper.flush().unwrap() {
            std::thread::yield_now();
        }
        await_orders(keeper.channel.as_fd()).unwrap();
        assert!(keeper.take("late").is_none());
        let copy = keeper.take("later").unwrap();
        assert!(fd::is_same_file(copy.as_fd(), files[2].as_fd()));
        assert!(copy.as_raw_fd() > 2);
        end(keeper);
    }

    #[test]
    fn a_file_of_another_boot_or_version_is_no_keeper_of_ours() {
        let directory = tempfile::tempdir().unwrap();
        let write = |v, boot_id: &str| {
            let keeper = ProcessIdentity::of(std::process::id() as i32).unwrap();
            let saved = Saved { v, boot_id: boot_id.to_owned(), keeper };
            std::fs::write(file(directory.path()), serde_json::to_vec(&saved).unwrap()).unwrap();
        };
        assert!(InstanceKeeper::find(directory.path()).unwrap().is_none());
        write(VERSION, "another");
        assert!(InstanceKeeper::find(directory.path()).unwrap().is_none());
        write(VERSION + 1, identity::boot_id());
        assert!(InstanceKeeper::find(directory.path()).unwrap_err().to_string().contains("version 2"));
        std::fs::write(file(directory.path()), "{").unwrap();
        assert!(InstanceKeeper::find(directory.path()).is_err());
    }
}

//! What each number of the keeper stands for, in memory that the keeper holds and every daemon may write.

use super::FIRST_SLOT;
use rustix::fs::MemfdFlags;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes of one entry: a length, and a name of at most 255.
const ENTRY: usize = 256;

/// What is written for a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    /// Its descriptor is kept under this name, or was about to be.
    Holds(&'a str),
    /// The order to close it is about to be given, or has been: whoever finds this gives it again.
    Closing,
    /// Closed.
    Free,
}

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Table(OwnedFd);

/// All entries.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Slots {
    pub names: BTreeMap<String, u32>,
    pub closing: Vec<u32>,
    pub free: BTreeSet<u32>,
    /// The lowest number that was never used.
    pub next: u32,
}

impl AsFd for Table {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Table {
    /// # Errors
    /// Of memfd_create(2).
    pub(super) fn new() -> io::Result<Table> {
        Ok(Table(rustix::fs::memfd_create("rsvc-kept", MemfdFlags::CLOEXEC)?))
    }

    pub(super) fn from_descriptor(descriptor: OwnedFd) -> Table {
        Table(descriptor)
    }

    /// # Errors
    /// Of pwrite(2), or a name of more than 255 bytes.
    pub(super) fn write(&self, slot: u32, entry: Entry<'_>) -> io::Result<()> {
        // Older programs look at the length only: to them both of the others are free.
        let (length, rest) = match entry {
            Entry::Holds(name) => (name.len(), name.as_bytes()),
            Entry::Closing => (0, &[1_u8][..]),
            Entry::Free => (0, &[0_u8][..]),
        };
        let mut bytes = vec![u8::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?];
        bytes.extend_from_slice(rest);
        match rustix::io::pwrite(&self.0, &bytes, offset(slot))? {
            count if count == bytes.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// # Errors
    /// Of pread(2).
    pub(super) fn read(&self) -> io::Result<Slots> {
        let size = u64::try_from(rustix::fs::fstat(&self.0)?.st_size).unwrap_or(0);
        let next = u32::try_from(size.div_ceil(ENTRY as u64)).unwrap_or(FIRST_SLOT).max(FIRST_SLOT);
        let mut slots = Slots { next, ..Slots::default() };
        let mut bytes = [0; ENTRY];
        for slot in FIRST_SLOT..next {
            let count = rustix::io::pread(&self.0, &mut bytes, offset(slot))?;
            let name = bytes.get(1..1 + usize::from(bytes[0])).filter(|_| count > usize::from(bytes[0]));
            match name.and_then(|name| std::str::from_utf8(name).ok()) {
                Some(name) if !name.is_empty() => drop(slots.names.insert(name.to_owned(), slot)),
                _ if bytes[0] == 0 && bytes[1] == 1 && count > 1 => slots.closing.push(slot),
                _ => drop(slots.free.insert(slot)),
            }
        }
        Ok(slots)
    }
}

fn offset(slot: u32) -> u64 {
    u64::from(slot) * ENTRY as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let table = Table::new().unwrap();
        assert_eq!(table.read().unwrap(), Slots { next: FIRST_SLOT, ..Slots::default() });
        let long = "n".repeat(255);
        for (slot, entry) in [
            (FIRST_SLOT, Entry::Holds("log:web")),
            (FIRST_SLOT + 1, Entry::Holds("old")),
            (FIRST_SLOT + 2, Entry::Holds("a")),
            (FIRST_SLOT + 4, Entry::Holds(&long)),
            (FIRST_SLOT + 1, Entry::Closing),
            (FIRST_SLOT + 2, Entry::Closing),
            (FIRST_SLOT + 2, Entry::Free),
        ] {
            table.write(slot, entry).unwrap();
        }
        let slots = table.read().unwrap();
        assert_eq!(slots.names, BTreeMap::from([("log:web".to_owned(), FIRST_SLOT), (long, FIRST_SLOT + 4)]));
        assert_eq!(slots.closing, [FIRST_SLOT + 1]);
        assert_eq!(slots.free, BTreeSet::from([FIRST_SLOT + 2, FIRST_SLOT + 3]));
        assert_eq!(slots.next, FIRST_SLOT + 5);
        assert!(table.write(FIRST_SLOT, Entry::Holds(&"n".repeat(256))).is_err());
    }
}

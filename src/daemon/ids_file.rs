//! The file `<state>/ids`: what stands in it, and what still counts of one that is damaged.
//!
//! Entries are judged one by one: those that are whole count. What the others said is not known, and it may have been any id:
//! so nobody gets a new one while such a file is there (`own_ids`).

use super::scarcity::at;
use super::whole_file::read_file;
use crate::compile::{FIRST_RANGE, FIRST_USER};
use crate::plan::RANGE_SIZE;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Behind the last range: where those of systemd's containers end.
pub(super) const RANGES_END: u32 = 1_879_048_192;

/// Users without an entry in any data base, as systemd has them; less than a range holds.
pub(super) const USERS: std::ops::RangeInclusive<u32> = FIRST_USER..=65_519;

/// Version of the file.
pub(super) const VERSION: u32 = 1;

/// Largest file taken, bytes: far more than 33,000 units take.
const SIZE_LIMIT: u64 = 8 << 20;

/// What a unit has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ids {
    /// First of [`RANGE_SIZE`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<u32>,
    /// User, and group of the same number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Range,
    User,
}

impl Ids {
    pub fn of(&self, kind: Kind) -> Option<u32> {
        match kind {
            Kind::Range => self.range,
            Kind::User => self.user,
        }
    }

    pub fn set(&mut self, kind: Kind, id: Option<u32>) {
        match kind {
            Kind::Range => self.range = id,
            Kind::User => self.user = id,
        }
    }
}

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Table {
    pub v: u32,
    pub units: BTreeMap<String, Ids>,
}

/// A file as it is on the disk.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    v: u32,
    units: BTreeMap<String, serde_json::Value>,
}

impl Table {
    /// Without any unit.
    pub fn empty() -> Table {
        Table { v: VERSION, units: BTreeMap::new() }
    }

    /// What counts of it, and what is wrong with it, if anything is.
    pub fn parse(bytes: &[u8]) -> (Table, Option<String>) {
        let raw: Raw = match serde_json::from_slice(bytes) {
            Ok(raw) => raw,
            Err(error) => return (Table::empty(), Some(format!("is damaged: {error}"))),
        };
        if raw.v != VERSION {
            return (Table::empty(), Some(format!("has version {}, and this rsvc reads {VERSION}", raw.v)));
        }
        let mut table = Table::empty();
        let mut wrong = None;
        let mut note = |why: String| _ = wrong.get_or_insert(format!("is damaged: {why}"));
        for (unit, value) in raw.units {
            // A list would be taken for an object, too.
            let ids = if value.is_object() {
                serde_json::from_value(value)
            } else {
                Err(serde::de::Error::custom("no object"))
            };
            match ids {
                Ok(ids) => _ = table.units.insert(unit, ids),
                Err(error) => note(format!("the entry of {}: {error}", unit.escape_debug())),
            }
        }
        for kind in [Kind::Range, Kind::User] {
            let all = table.units.iter().filter_map(|(unit, ids)| Some((unit.clone(), ids.of(kind)?)));
            let mut holders: BTreeMap<u32, Vec<String>> = BTreeMap::new();
            all.for_each(|(unit, id)| holders.entry(id).or_default().push(unit));
            for (id, units) in holders.into_iter().filter(|(id, units)| !is_possible(kind, *id) || units.len() > 1) {
                let names = units.iter().map(|unit| unit.escape_debug().to_string()).collect::<Vec<_>>().join(" and ");
                note(format!("the entry of {names} has {id}, which is out of bounds or another unit's"));
                for unit in units {
                    table.units.entry(unit).and_modify(|ids| ids.set(kind, None));
                }
            }
        }
        (table, wrong)
    }

    /// The same of a file; a missing one has nothing in it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(path: &Path) -> io::Result<(Table, Option<String>)> {
        match read_file(path, SIZE_LIMIT) {
            Ok(bytes) => Ok(Table::parse(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((Table::empty(), None)),
            Err(error) => Err(at(path, error)),
        }
    }

    pub fn ids(&self, kind: Kind) -> BTreeSet<u32> {
        self.units.values().filter_map(|ids| ids.of(kind)).collect()
    }

    /// Gives the unit what it has for certain: whoever had that in the table had it no more.
    pub fn set(&mut self, unit: &str, kind: Kind, id: u32) {
        for other in self.units.values_mut().filter(|other| other.of(kind) == Some(id)) {
            other.set(kind, None);
        }
        self.units.entry(unit.to_owned()).or_default().set(kind, Some(id));
    }
}

pub(super) fn is_possible(kind: Kind, id: u32) -> bool {
    match kind {
        Kind::Range => (FIRST_RANGE..RANGES_END).contains(&id) && id.is_multiple_of(RANGE_SIZE),
        Kind::User => USERS.contains(&id),
    }
}

/// Must it be on the disk? What is said of users must be known after a loss of power, too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Durable {
    Yes,
    No,
}

/// Whole, or not at all.
pub(super) fn write(path: &Path, table: &Table, durable: Durable) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    super::launch::make_directory(directory, 0o755)?;
    let bytes = serde_json::to_vec(table).map_err(io::Error::other)?;
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let sync = |file: &File| if durable == Durable::Yes { file.sync_all() } else { Ok(()) };
    let written = file.write_all(&bytes).and_then(|()| sync(&file)).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written?;
    sync(&File::open(directory)?)
}

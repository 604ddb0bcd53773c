//! Ids of the host that a unit has for itself: the range of its user namespace (`namespaces.user = "auto"`), and the user
//! that it runs as (`service.user = "auto"`).
//!
//! They stand in `<state>/ids`, one JSON object for all units of the instance, and stay a unit's for as long as they stand
//! there. No two units of the host have one in common: the files of all instances, those of `rsvc run` too, are named in
//! [`REGISTRY`], and who takes something new looks into all of them while nobody else may.
//!
//! While our file or that of another instance is damaged, or cannot be read, nobody gets anything new: what it had given to whom is
//! not known. Who has something keeps it: by an entry that is whole, or by the kernel's word.
//!
//! A range is in no file of a disk (files are mapped), so one that another instance took while this one was not there is
//! simply exchanged. A user owns files: it is never given to another unit.

use super::accounts::Accounts;
use super::ids_file::{Durable, Ids, Kind, RANGES_END, Table, USERS, is_possible, write};
use super::scarcity::at;
use super::whole_file::read_proc;
use crate::compile::FIRST_RANGE;
use crate::plan::RANGE_SIZE;
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

/// Links to the files of all instances of this boot, and the lock.
pub(super) const REGISTRY: &str = "/run/rsvc-ids";

/// Where systemd notes those that it has given out.
const SYSTEMDS: &str = "/run/systemd/dynamic-uid";

/// All that could be given to a unit, in the order in which it is tried: from a place that is the unit's own, so that
/// instances and hosts rarely meet.
fn candidates(kind: Kind, unit: &str, place: &Path) -> impl Iterator<Item = u32> {
    let (first, step, count) = match kind {
        Kind::Range => (FIRST_RANGE, RANGE_SIZE, (RANGES_END - FIRST_RANGE) / RANGE_SIZE),
        Kind::User => (*USERS.start(), 1, USERS.end() - USERS.start() + 1),
    };
    let mut hasher = DefaultHasher::new();
    (unit, place).hash(&mut hasher);
    let begin = (hasher.finish() % u64::from(count)) as u32;
    (0..count).map(move |n| first + (begin + n) % count * step)
}

/// Ids that somebody has who is no unit: first and number of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Taken(Vec<(u32, u32)>);

impl Taken {
    fn has(&self, kind: Kind, id: u32) -> bool {
        let size = if kind == Kind::Range { u64::from(RANGE_SIZE) } else { 1 };
        let (begin, end) = (u64::from(id), u64::from(id) + size);
        self.0.iter().any(|(first, count)| u64::from(*first) < end && begin < u64::from(*first) + u64::from(*count))
    }
}

/// Those of user data bases, and of processes that run: other containers', and users that are in no data base.
fn taken(accounts: &mut Accounts) -> io::Result<Taken> {
    let mut all: Vec<(u32, u32)> =
        accounts.all_ids().map_err(io::Error::other)?.into_iter().map(|id| (id, 1)).collect();
    for file in ["/etc/subuid", "/etc/subgid"] {
        all.extend(read_if_there(file)?.lines().filter_map(subordinate));
    }
    let names = |directory: &str| match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>(),
    };
    let number = |name: &std::ffi::OsString| name.to_str()?.parse::<u32>().ok();
    all.extend(names(SYSTEMDS)?.iter().filter_map(number).map(|id| (id, 1)));
    for pid in names("/proc")?.iter().filter_map(number) {
        // Who has ended meanwhile has nothing.
        let Ok(map) = fs::read_to_string(format!("/proc/{pid}/uid_map")) else { continue };
        all.extend(map.lines().filter_map(mapped));
        all.extend(fs::metadata(format!("/proc/{pid}")).map(|found| (found.uid(), 1)));
    }
    all.extend(unmapped(&fs::read_to_string("/proc/self/uid_map")?));
    all.sort_unstable();
    all.dedup();
    Ok(Taken(all))
}

fn read_if_there(path: &str) -> io::Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(at(Path::new(path), error)),
    }
}

/// `name:first:count` of subuid(5).
fn subordinate(line: &str) -> Option<(u32, u32)> {
    let mut fields = line.trim().split(':').skip(1).map(|field| field.parse().ok());
    Some((fields.next()??, fields.next()??))
}

/// The outer side of a line of uid_map; not that of a namespace of all ids.
fn mapped(line: &str) -> Option<(u32, u32)> {
    let mut fields = line.split_ascii_whitespace().skip(1).map(|field| field.parse().ok());
    let (first, count): (u32, u32) = (fields.next()??, fields.next()??);
    (first != 0 || count < FIRST_RANGE).then_some((first, count))
}

/// Ids that do not exist in our own user namespace, whose map this is.
fn unmapped(map: &str) -> Vec<(u32, u32)> {
    let line = |line: &str| {
        let mut fields = line.split_ascii_whitespace().map(|field| field.parse::<u32>().ok());
        Some((fields.next()??, fields.nth(1)??))
    };
    let mut known: Vec<(u32, u32)> = map.lines().filter_map(line).collect();
    known.sort_unstable();
    let mut next = 0;
    let mut gaps = Vec::new();
    for (first, count) in known.into_iter().chain([(u32::MAX, 0)]) {
        if first > next {
            gaps.push((next, first - next));
        }
        next = first.saturating_add(count);
    }
    gaps
}

/// Host's number of uid 0 in a user namespace with one range, from `/proc/PID/uid_map`.
pub(super) fn range_of(pid: i32) -> Option<u32> {
    let map = fs::read_to_string(format!("/proc/{pid}/uid_map")).ok()?;
    let mut lines = map.lines();
    let (line, more) = (lines.next()?, lines.next());
    let fields: Vec<u32> = line.split_ascii_whitespace().filter_map(|field| field.parse().ok()).collect();
    match fields[..] {
        [0, first, RANGE_SIZE] if more.is_none() => Some(first),
        _ => None,
    }
}

/// Real uid of a process.
pub(super) fn user_of(pid: i32) -> Option<u32> {
    let status = read_proc(&format!("/proc/{pid}/status")).ok()?;
    let text = String::from_utf8_lossy(&status);
    text.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()?.parse().ok())
}

/// What the units of this instance have.
#[derive(Debug)]
pub(super) struct OwnIds {
    path: PathBuf,
    registry: PathBuf,
    table: Option<Table>,
    /// Why nobody gets anything new, with a remedy. The file is not written meanwhile: somebody may be able to restore it.
    trouble: Option<String>,
    /// What [`taken`] found, and when, in microseconds of CLOCK_BOOTTIME.
    taken: Option<(u64, Taken)>,
}

/// How long what was found is believed, microseconds. A thousand new units at once look once.
const BELIEVED: u64 = 1_000_000;

impl OwnIds {
    pub fn new(state_dir: &Path) -> OwnIds {
        OwnIds { path: state_dir.join("ids"), registry: REGISTRY.into(), table: None, trouble: None, taken: None }
    }

    /// What is known of a unit, without giving it anything.
    pub fn known(&self, unit: &str) -> Ids {
        self.table.as_ref().and_then(|table| table.units.get(unit).copied()).unwrap_or_default()
    }

    /// The same from the file, for who only shows it.
    pub fn noted(&self, unit: &str) -> Ids {
        match (&self.table, Table::read(&self.path)) {
            (None, Ok((table, _))) => table.units.get(unit).copied().unwrap_or_default(),
            _ => self.known(unit),
        }
    }

    /// Must the file be read before this unit can have such an id? Also again, when it was damaged: it may be restored.
    pub fn wants_loading(&self, unit: &str, kind: Kind) -> bool {
        self.table.is_none() || self.trouble.is_some() && self.known(unit).of(kind).is_none()
    }

    /// Reads the file. What `running` units have by the kernel's word counts, whatever is in it.
    pub fn load(&mut self, running: &[(String, Ids)]) {
        let former = self.table.take();
        let (mut table, wrong) = match Table::read(&self.path) {
            Ok((table, wrong)) => (table, wrong.map(|why| format!("{} {why}", self.path.display()))),
            Err(error) => (Table::empty(), Some(error.to_string())),
        };
        let hint = "restore it, or remove it: what units that run have is known to the kernel, a user that `user = \"auto\"` \
                    gave to another unit is not";
        self.trouble = wrong.map(|why| format!("{why}\n  hint: {hint}"));
        // What a unit had when it last ran is known from then, until the file says something else.
        for (unit, ids) in former.iter().flat_map(|former| &former.units) {
            for kind in [Kind::Range, Kind::User] {
                let lacks = table.units.get(unit).and_then(|ids| ids.of(kind)).is_none();
                if let Some(id) = ids.of(kind).filter(|id| lacks && !table.ids(kind).contains(id)) {
                    table.set(unit, kind, id);
                }
            }
        }
        for (unit, ids) in running {
            for kind in [Kind::Range, Kind::User] {
                if let Some(id) = ids.of(kind).filter(|id| is_possible(kind, *id)) {
                    table.set(unit, kind, id);
                }
            }
        }
        if let Err((was_compared, error)) = self.compare_with_others(&mut table, running) {
            // Since our file was compared, nobody can have taken what is in it.
            let names: Vec<&str> = running.iter().map(|(name, _)| name.as_str()).collect();
            let unsure = table.units.iter_mut().filter(|(unit, _)| !was_compared && !names.contains(&unit.as_str()));
            unsure.for_each(|(_, ids)| ids.range = None);
            self.trouble.get_or_insert_with(|| error.to_string());
        }
        self.table = Some(table);
    }

    /// Takes away ranges that others have got while this instance was not there, and puts our file before them.
    ///
    /// # Errors
    /// What others have cannot be seen; and whether it was seen before in this boot.
    fn compare_with_others(&self, table: &mut Table, running: &[(String, Ids)]) -> Result<(), (bool, io::Error)> {
        let _lock = self.lock().map_err(|error| (false, error))?;
        let was_compared = self.compared_link().is_symlink();
        let others = self.others();
        self.register().map_err(|error| (was_compared, error))?;
        let others = others.map_err(|error| (was_compared, error))?;
        let lost: BTreeSet<u32> = others.iter().flat_map(|other| other.ids(Kind::Range)).collect();
        for (unit, ids) in &mut table.units {
            let runs = running.iter().any(|(name, _)| name == unit);
            if !runs && ids.range.is_some_and(|range| lost.contains(&range)) {
                ids.range = None;
            }
        }
        // Not of a damaged file: what it had may be restored, and was not compared.
        if self.trouble.is_none() {
            link(&self.path, &self.compared_link()).map_err(|error| (was_compared, error))?;
        }
        Ok(())
    }

    /// What the unit has, or now gets: the same for as long as it stands in the file. `now`: CLOCK_BOOTTIME, microseconds.
    ///
    /// # Errors
    /// Nothing is left, or it cannot be written down.
    pub fn give(&mut self, unit: &str, kind: Kind, accounts: &mut Accounts, now: u64) -> Result<u32, String> {
        if let Some(id) = self.known(unit).of(kind) {
            return Ok(id);
        }
        if let Some(why) = &self.trouble {
            return Err(why.clone());
        }
        let failed = |error: io::Error| error.to_string();
        let _lock = self.lock().map_err(failed)?;
        let mut used: BTreeSet<u32> = self.others().map_err(failed)?.iter().flat_map(|other| other.ids(kind)).collect();
        if self.taken.as_ref().is_none_or(|(when, _)| now.saturating_sub(*when) >= BELIEVED) {
            self.taken = Some((now, taken(accounts).map_err(failed)?));
        }
        let Some(table) = &mut self.table else { return Err("what units have is not known".to_owned()) };
        used.extend(table.ids(kind));
        let empty = Taken::default();
        let taken = self.taken.as_ref().map_or(&empty, |(_, taken)| taken);
        let id = candidates(kind, unit, &self.path).find(|id| !used.contains(id) && !taken.has(kind, *id));
        let id = id.ok_or_else(|| full(kind, used.len(), &self.path))?;
        let before = table.clone();
        table.units.entry(unit.to_owned()).or_default().set(kind, Some(id));
        let durable = if kind == Kind::User { Durable::Yes } else { Durable::No };
        if let Err(error) = write(&self.path, table, durable).and_then(|()| self.register()) {
            self.table = Some(before);
            return Err(at(&self.path, error).to_string());
        }
        Ok(id)
    }

    /// Takes ranges back: of those units for which `idle` holds, which then get another one at their next start. Nothing on a
    /// disk tells of a range. `true`: there were some.
    pub fn take_back_ranges(&mut self, idle: impl Fn(&str) -> bool) -> bool {
        if self.trouble.is_some() {
            return false;
        }
        let Some(table) = &mut self.table else { return false };
        let mut any = false;
        for (unit, ids) in &mut table.units {
            any |= ids.range.is_some() && idle(unit);
            ids.range = ids.range.filter(|_| !idle(unit));
        }
        table.units.retain(|_, ids| *ids != Ids::default());
        if any && let Err(error) = write(&self.path, table, Durable::No) {
            // Taken by nobody until it can be written down, as others look into the file.
            tracing::warn!("{}: {error}", self.path.display());
        }
        any
    }

    /// Held while somebody looks for something that nobody has.
    fn lock(&self) -> io::Result<OwnedFd> {
        match fs::DirBuilder::new().mode(0o755).create(&self.registry) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(at(&self.registry, error)),
            _ => {}
        }
        let found = fs::symlink_metadata(&self.registry)?;
        if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() || found.mode() & 0o022 != 0 {
            return Err(at(&self.registry, io::Error::other("it is no directory that only root can write")));
        }
        let path = self.registry.join("lock");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).map_err(|error| at(&path, error.into()))?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))?;
        Ok(file)
    }

    fn own_link(&self) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        self.path.hash(&mut hasher);
        self.registry.join(format!("{:016x}", hasher.finish()))
    }

    /// Another one to our file: what is in it was compared with what all others have, and they look into it since.
    fn compared_link(&self) -> PathBuf {
        self.own_link().with_extension("compared")
    }

    /// From now on the other instances look into our file.
    fn register(&self) -> io::Result<()> {
        link(&self.path, &self.own_link())
    }

    /// Tables of the other instances. Links of those that are gone are removed.
    fn others(&self) -> io::Result<Vec<Table>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.registry)? {
            let link = entry?.path();
            let Ok(path) = fs::read_link(&link) else { continue };
            if path == self.path {
                continue;
            }
            if !path.parent().is_some_and(Path::is_dir) {
                let _ = fs::remove_file(&link);
                continue;
            }
            let (table, wrong) = Table::read(&path)?;
            if let Some(why) = wrong {
                let hint = "restore it, or remove it with its instance stopped";
                let message = format!("{}, of another instance, {why}\n  hint: {hint}", path.display());
                return Err(io::Error::other(message));
            }
            all.push(table);
        }
        Ok(all)
    }
}

/// It may be there.
fn link(path: &Path, at: &Path) -> io::Result<()> {
    match symlink(path, at) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn full(kind: Kind, used: usize, path: &Path) -> String {
    let what = match kind {
        Kind::Range => "range of 65536 ids",
        Kind::User => "user id from 61184 to 65519",
    };
    format!(
        "no {what} is free: units have {used} of them, others the rest\n  hint: entries of units that are no more stand in \
         {}: take them out while no daemon runs",
        path.display()
    )
}

#[cfg(test)]
#[path = "own_ids_tests.rs"]
mod tests;

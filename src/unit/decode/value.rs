//! Decoded values and where they stand.

use crate::plan::{CapabilitySet, CpuMax, IoMax};
use crate::unit::keys::{self, Key, Number, Table};
use crate::unit::value::Calendar;
use crate::unit::{
    Account, AddressFamily, Condition, DeviceAllow, ExecCommand, Isolation, ListenAddress, NetworkMode, PathEntry,
    PortRule, RestrictNamespaces, SignalName, SocketAddress, StatusSet, Upper,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

/// One decoded value.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::unit) enum Value {
    Bool(bool),
    Int(i64),
    Factor(f64),
    /// `None`: infinity.
    Count(Option<u64>),
    Text(String),
    Texts(Vec<String>),
    /// `u64::MAX`: infinity.
    Size(u64),
    /// `None`: infinity.
    Time(Option<Duration>),
    Mode(u32),
    Signal(SignalName),
    Word(&'static str),
    Argv(Vec<String>),
    Commands(Vec<ExecCommand>),
    Account(Account),
    Accounts(Vec<Account>),
    Path(PathBuf),
    Paths(Vec<PathEntry>),
    PlainPaths(Vec<PathBuf>),
    Variables(Vec<(String, String)>),
    CredentialPaths(Vec<(String, PathEntry)>),
    CredentialTexts(Vec<(String, String)>),
    Statuses(StatusSet),
    Addresses(Vec<ListenAddress>),
    SocketAddress(SocketAddress),
    Calendar(Calendar),
    Devices(Vec<DeviceAllow>),
    Namespace(Isolation),
    User(UserWord),
    Network(NetworkMode),
    Mappings(Vec<(u32, u32, u32)>),
    /// `None`: all.
    Families(Option<Vec<AddressFamily>>),
    /// `None`: all.
    Ports(Option<Vec<PortRule>>),
    Capabilities(CapabilitySet),
    Errno(i32),
    Upper(Upper),
    NamespaceKinds(RestrictNamespaces),
    CpuShare(CpuMax),
    IoMax(Vec<IoMax>),
    Conditions(Vec<Condition>),
    HugePages(Vec<(String, u64)>),
    /// Soft, hard.
    Limit(u64, u64),
}

/// `namespaces.user` as written; mappings are keys of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::unit) enum UserWord {
    Host,
    Identity,
    Auto,
    Mapped,
    Path(PathBuf),
}

/// Where a key of the file stands, in offsets of all texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::unit) struct Places {
    pub key: Range<usize>,
    pub value: Range<usize>,
    /// Elements of a list.
    pub items: Vec<Range<usize>>,
}

/// Who gave a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::unit) enum Source {
    File(Places),
    Profile,
    Default,
}

#[derive(Clone, Debug, PartialEq)]
pub(in crate::unit) struct Entry {
    pub value: Value,
    pub source: Source,
}

/// One entry of an array of tables: `[[mounts]]`, `[[sockets]]`, `[[timers]]`.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::unit) struct MountEntry {
    pub index: usize,
    /// The header, or the inline table.
    pub span: Range<usize>,
    pub values: Values,
}

/// `key.append` and `key.remove`: a change of a list that is inherited from an earlier text, the profile or the default.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::unit) struct Edit {
    pub table: &'static str,
    pub key: &'static str,
    pub append: Option<EditedList>,
    pub remove: Option<EditedList>,
    /// Of the whole: the key, and the table with the lists.
    pub place: Places,
}

/// A decoded list with the places of its elements.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::unit) struct EditedList {
    pub value: Value,
    pub items: Vec<Range<usize>>,
    pub span: Range<usize>,
}

/// A value that several places made.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::unit) struct History {
    /// Who gave the value that was changed.
    pub base: Source,
    /// Where the keys stand that changed it, in order.
    pub changes: Vec<usize>,
}

/// Values of the program, by number of their keys.
#[derive(Debug, PartialEq)]
pub(in crate::unit) struct BuiltIn(Box<[Option<Entry>]>);

impl BuiltIn {
    /// With the value that `value` gives to each key, where it gives one.
    pub(in crate::unit) fn new(value: impl Fn(&'static Table, &'static Key) -> Option<Entry>) -> BuiltIn {
        BuiltIn(keys::numbered().map(|(table, key)| value(table, key)).collect())
    }

    /// The value of a key.
    pub(in crate::unit) fn get(&self, table: &str, key: &str) -> Option<&Entry> {
        self.at(keys::number(table, key)?)
    }

    fn at(&self, number: Number) -> Option<&Entry> {
        self.0[number.index()].as_ref()
    }
}

/// Values by table and key. What a unit says is a handful; all else is the program's, which is not copied for each unit
/// but seen below.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::unit) struct Values {
    /// Sorted.
    entries: Vec<(Number, Entry)>,
    /// What holds where `entries` has nothing.
    pub below: Option<&'static BuiltIn>,
    /// Keys that the file names, well-formed or not: a broken value is no missing one.
    pub attempted: BTreeSet<(&'static str, &'static str)>,
    /// Where tables begin.
    pub headers: BTreeMap<&'static str, Range<usize>>,
    pub mounts: Vec<MountEntry>,
    pub sockets: Vec<MountEntry>,
    pub timers: Vec<MountEntry>,
    /// Changes of lists, in order, until they are applied.
    pub edits: Vec<Edit>,
    /// Values that were changed and not only set.
    pub histories: BTreeMap<(&'static str, &'static str), History>,
}

impl Values {
    /// The array of tables of this name.
    pub(in crate::unit) fn array(&mut self, table: &str) -> &mut Vec<MountEntry> {
        match table {
            "sockets" => &mut self.sockets,
            "timers" => &mut self.timers,
            _ => &mut self.mounts,
        }
    }

    /// Every entry of every array of tables, with the name of its table.
    pub(in crate::unit) fn arrays(&self) -> impl Iterator<Item = (&'static str, &MountEntry)> {
        let mounts = self.mounts.iter().map(|entry| ("mounts", entry));
        let sockets = self.sockets.iter().map(|entry| ("sockets", entry));
        mounts.chain(sockets).chain(self.timers.iter().map(|entry| ("timers", entry)))
    }

    /// Puts a value in place. What is no key of the key table is nothing that anybody could ask for.
    pub(in crate::unit) fn insert(&mut self, table: &'static str, key: &'static str, entry: Entry) {
        let Some(number) = keys::number(table, key) else { return };
        match self.find(number) {
            Ok(at) => self.entries[at].1 = entry,
            Err(at) => self.entries.insert(at, (number, entry)),
        }
    }

    /// Takes a value away; the one below it holds again.
    pub(in crate::unit) fn remove(&mut self, table: &'static str, key: &'static str) {
        if let Some(Ok(at)) = keys::number(table, key).map(|number| self.find(number)) {
            self.entries.remove(at);
        }
    }

    pub(in crate::unit) fn get(&self, table: &'static str, key: &'static str) -> Option<&Entry> {
        self.at(keys::number(table, key)?)
    }

    /// The same by number.
    pub(in crate::unit) fn at(&self, number: Number) -> Option<&Entry> {
        match self.find(number) {
            Ok(at) => Some(&self.entries[at].1),
            Err(_) => self.below?.at(number),
        }
    }

    fn find(&self, number: Number) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&number, |(known, _)| *known)
    }

    /// Place of a key that the file set.
    pub(in crate::unit) fn place(&self, table: &'static str, key: &'static str) -> Option<&Places> {
        match self.get(table, key).map(|e| &e.source) {
            Some(Source::File(place)) => Some(place),
            _ => None,
        }
    }

    /// What is not the program's own, or follows from other keys, in the order of the manual.
    pub(in crate::unit) fn own(&self) -> impl Iterator<Item = ((&'static str, &'static str), &Entry)> {
        self.entries.iter().map(|(number, entry)| (number.name(), entry))
    }

    /// All values of a table, in the order of the manual.
    pub(in crate::unit) fn of_table(&self, table: &'static str) -> impl Iterator<Item = (&'static str, &Entry)> {
        let keys = keys::table(table).map_or(&[][..], |table| table.keys);
        keys.iter().filter_map(move |key| Some((key.name, self.get(table, key.name)?)))
    }
}

//! THE key table: every key of the schema, once.
//!
//! The decoder, did-you-mean, `rsvc explain`, the JSON schema and rsvc.toml(5) read it; nobody else knows names, types
//! or defaults of keys. A key that this version does not implement is here as well and marked, so that it can be
//! refused by name. What grows in the schema is written here first.
//!
//! Defaults are TOML text and go through the same decoder as a file; the profiles' values too.

mod hooks;
mod isolation;
mod limits;
mod number;
mod service;
mod sockets;
mod timers;

pub use limits::LEVELS;
pub(in crate::unit) use number::{Number, number, numbered};

/// What a key takes. The decoder has one arm for each, so has the JSON schema.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// An integer in a range.
    Int {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// A number of at least 1, fractions allowed.
    Factor,
    /// A positive integer or `infinity`.
    Count,
    /// One line of text.
    Text,
    /// Lines of text.
    Texts,
    /// A host name.
    Hostname,
    /// What a security module calls a process: a profile, or a context.
    ProcessLabel,
    /// Bytes of at least `min`; `infinity` is allowed.
    Size {
        /// Smallest.
        min: u64,
    },
    /// Bytes without `infinity`, at least 4096.
    FiniteSize,
    /// A duration; `infinity` is allowed, 0 is not.
    Timeout,
    /// A duration without `infinity`.
    Delay,
    /// A file mode.
    Mode,
    /// A signal.
    Signal,
    /// One of some words; `later` are words of the schema that are not implemented.
    Word {
        /// Accepted.
        words: &'static [&'static str],
        /// Refused by name.
        later: &'static [&'static str],
    },
    /// Program and arguments: an array, or a string split by shell quoting.
    Argv,
    /// Commands: each an argv, a string, or `{ argv, ignore_failure }`.
    Commands,
    /// A user or group.
    Account,
    /// Users or groups.
    Accounts,
    /// An absolute path.
    Path,
    /// Absolute paths; a leading `-` makes one optional.
    Paths,
    /// Absolute paths.
    PlainPaths,
    /// Names of units.
    Units,
    /// Array of names of environment variables.
    VariableNames,
    /// The name of a unit or slice.
    UnitName,
    /// Environment variables.
    Variables,
    /// Fields of the journal.
    JournalFields,
    /// Absolute paths by name of a credential; a leading `-` makes one optional.
    CredentialPaths,
    /// Texts by name of a credential; they are never printed.
    CredentialTexts,
    /// Exit statuses and signals.
    Statuses,
    /// Listen addresses.
    Addresses,
    /// What rsvc itself is to listen on.
    SocketAddress,
    /// Times of the calendar.
    Calendar,
    /// Relative directory names.
    DirectoryNames,
    /// Devices of the host.
    Devices,
    /// `private`, `host` or `path:FILE`.
    Namespace,
    /// `host`, `identity`, `mapped` or `path:FILE`.
    UserNamespace,
    /// `host`, `loopback` or `path:FILE`.
    Network,
    /// Id mappings.
    Mappings,
    /// Addresses of peers, prefixes of them, and words for some.
    Peers,
    /// Address families; `all` alone is no restriction.
    Families,
    /// Ports of protocols; `all` alone is no restriction.
    Ports,
    /// Capabilities; `all` is every one.
    Capabilities,
    /// System calls and groups of them.
    Syscalls,
    /// ABIs of system calls.
    Architectures,
    /// An errno.
    Errno,
    /// `ephemeral`, `persistent` or a path.
    Upper,
    /// `true`, `false`, or the kinds of namespaces that may be made.
    NamespaceKinds,
    /// Dotted keys.
    Keys,
    /// Percent of a CPU, or `{ quota, period }`.
    CpuShare,
    /// CPU numbers and ranges.
    CpuList,
    /// I/O limits of devices.
    IoMax,
    /// Tests of the host: a table of texts or lists of texts; `!` negates one.
    Conditions,
    /// Limits of huge pages by size.
    HugePages,
    /// A resource limit: `"soft:hard"` or one value for both.
    Limit(LimitUnit),
    /// A table of its own in this list, named by the dotted key.
    Table,
    /// Described in words; never decoded, as the key is not implemented.
    Later(&'static str),
}

/// What a resource limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitUnit {
    /// Bytes.
    Bytes,
    /// A number.
    Number,
    /// Seconds.
    Seconds,
    /// Microseconds.
    Microseconds,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Name inside its table.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Built-in value as TOML; `None`: unset.
    pub default: Option<&'static str>,
    /// What the default is when TOML cannot say it: "the user's primary group".
    pub default_note: Option<&'static str>,
    /// One to three sentences: units, range, what happens on a host that lacks it.
    pub doc: &'static str,
    /// First version.
    pub since: &'static str,
    /// systemd's names for the same.
    pub systemd: &'static [&'static str],
    /// `false`: refused by name.
    pub supported: bool,
}

impl Key {
    const fn new(name: &'static str, kind: Kind, doc: &'static str) -> Key {
        Key { name, kind, default: None, default_note: None, doc, since: "0.1", systemd: &[], supported: true }
    }

    const fn default(mut self, toml: &'static str) -> Key {
        self.default = Some(toml);
        self
    }

    const fn note(mut self, note: &'static str) -> Key {
        self.default_note = Some(note);
        self
    }

    const fn systemd(mut self, names: &'static [&'static str]) -> Key {
        self.systemd = names;
        self
    }

    const fn later(mut self) -> Key {
        self.supported = false;
        self
    }
}

/// One table.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Dotted name; empty for the top of the file.
    pub name: &'static str,
    /// `true`: an array of tables, written `[[name]]`.
    pub array: bool,
    /// What the table is for.
    pub doc: &'static str,
    /// Its keys, in the order of the manual.
    pub keys: &'static [Key],
}

impl Table {
    const fn new(name: &'static str, doc: &'static str, keys: &'static [Key]) -> Table {
        Table { name, array: false, doc, keys }
    }

    const fn array(mut self) -> Table {
        self.array = true;
        self
    }

    /// `[service]`, `[[mounts]]`, or words for the top of the file.
    pub fn header(&self) -> String {
        match (self.name, self.array) {
            ("", _) => "the top of the file".to_owned(),
            (name, true) => format!("[[{name}]]"),
            (name, false) => format!("[{name}]"),
        }
    }

    /// The key of this name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|k| k.name == name)
    }

    /// `service.exec`; the bare name at the top of the file.
    pub fn dotted(&self, key: &Key) -> String {
        if self.name.is_empty() { key.name.to_owned() } else { format!("{}.{}", self.name, key.name) }
    }
}

const TOP: Table = Table::new(
    "",
    "Before the first table.",
    &[Key::new(
        "schema",
        Kind::Int { min: 1, max: 1 },
        "Version of this schema. A later version of rsvc that changes the meaning of keys will count it up.",
    )
    .default("1")],
);

/// All tables, in the order of the manual.
pub const TABLES: &[Table] = &[
    TOP,
    service::UNIT,
    service::SERVICE,
    service::READY,
    service::RESTART,
    service::HEALTH,
    hooks::HOOKS,
    isolation::ROOTFS,
    isolation::FILESYSTEM,
    isolation::MOUNTS,
    isolation::DIRECTORIES,
    isolation::DEVICES,
    isolation::NAMESPACES,
    isolation::NETWORK,
    sockets::SOCKETS,
    timers::TIMERS,
    isolation::CAPABILITIES,
    isolation::SYSCALLS,
    isolation::SECURITY,
    limits::RESOURCES,
    limits::RLIMITS,
    limits::LOGGING,
    limits::LOG_FILE,
    limits::CREDENTIALS,
    limits::INSTALL,
];

/// The table that only the file of a slice has.
pub static SLICE: Table = Table::new(
    "slice",
    "A group that several units share.",
    &[Key::new("description", Kind::Text, "What the slice is for, in a few words.")],
);

/// Keys of `[resources]` that a slice has not.
pub const NOT_OF_A_SLICE: [&str; 4] = ["delegate", "hugetlb", "rlimits", "slice"];

/// The table of this dotted name.
pub fn table(name: &str) -> Option<&'static Table> {
    TABLES.iter().find(|t| t.name == name)
}

/// Every key with its table.
pub fn all() -> impl Iterator<Item = (&'static Table, &'static Key)> {
    TABLES.iter().flat_map(|t| t.keys.iter().map(move |k| (t, k)))
}

/// The key of this dotted name, such as `filesystem.protect_system`. Indices of arrays are passed over.
pub fn find(dotted: &str) -> Option<(&'static Table, &'static Key)> {
    let plain = match (dotted.find('['), dotted.find(']')) {
        (Some(open), Some(close)) if open < close => format!("{}{}", &dotted[..open], &dotted[close + 1..]),
        _ => dotted.to_owned(),
    };
    let (table_name, name) = plain.rsplit_once('.').unwrap_or(("", &plain));
    let table = table(table_name)?;
    table.key(name).map(|key| (table, key))
}

/// The key that systemd calls `name`.
pub fn by_systemd_name(name: &str) -> Option<(&'static Table, &'static Key)> {
    all().find(|(_, k)| k.systemd.iter().any(|s| s.eq_ignore_ascii_case(name)))
}

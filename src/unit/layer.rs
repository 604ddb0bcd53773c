//! File over profile over built-in values, and the values that depend on others.
//!
//! The result has a value for every supported key that has one, each with its source.

use super::decode::{BuiltIn, Entry, Sink, Source, UserWord, Value, Values, built_in};
use super::keys;
use super::merge;
use super::profile;
use super::shares;
use super::{Account, Isolation, Profile};
use std::sync::LazyLock;

/// Values of each profile over the built-in ones, decoded on first use: decoding them costs more than a unit itself.
static PROFILES: [LazyLock<BuiltIn>; 4] = [
    LazyLock::new(|| values_of(Profile::Standard)),
    LazyLock::new(|| values_of(Profile::Strict)),
    LazyLock::new(|| values_of(Profile::Login)),
    LazyLock::new(|| values_of(Profile::Host)),
];

/// What all that is not written is under a profile.
pub(super) fn base(profile: Profile) -> &'static BuiltIn {
    match profile {
        Profile::Standard => &PROFILES[0],
        Profile::Strict => &PROFILES[1],
        Profile::Login => &PROFILES[2],
        Profile::Host => &PROFILES[3],
    }
}

fn values_of(profile: Profile) -> BuiltIn {
    BuiltIn::new(|table, key| {
        if !key.supported || table.array || key.kind == keys::Kind::Table {
            return None;
        }
        let own = profile::values(profile).find(|(t, k, _)| (*t, *k) == (table.name, key.name));
        match own {
            Some((_, _, toml)) => Some(built_in(table, key, toml, Source::Profile)),
            None => key.default.map(|toml| built_in(table, key, toml, Source::Default)),
        }
    })
}

/// Built-in values of the entries of arrays of tables.
static OF_ENTRIES: LazyLock<BuiltIn> = LazyLock::new(|| {
    BuiltIn::new(|table, key| {
        let toml = key.default.filter(|_| table.array && key.supported);
        toml.map(|toml| built_in(table, key, toml, Source::Default))
    })
});

/// Built-in values of one entry of an array of tables.
pub(super) fn entry_defaults(values: &mut Values) {
    values.below = Some(&OF_ENTRIES);
}

/// What a key is set to where something else makes its value meaningless, or gives it one.
static IMPLIED: LazyLock<BuiltIn> = LazyLock::new(|| {
    BuiltIn::new(|table, key| {
        let (_, _, off) = NEED_MOUNTS.iter().find(|(t, k, _)| (*t, *k) == (table.name, key.name))?;
        Some(built_in(table, key, off, Source::Default))
    })
});

/// `capabilities.bounding` of root and of others.
static BOUNDING: LazyLock<[Entry; 2]> = LazyLock::new(|| {
    let (table, key) = key_of("capabilities", "bounding");
    [profile::ROOT_CAPABILITIES, "[]"].map(|toml| built_in(table, key, toml, Source::Default))
});

/// The profile in force: forced, written, or standard.
pub(super) fn profile_of(values: &Values, forced: Option<Profile>) -> Profile {
    let written = match values.get("security", "profile").map(|e| &e.value) {
        Some(Value::Word(word)) => profile::by_name(word),
        _ => None,
    };
    forced.or(written).unwrap_or(Profile::Standard)
}

/// Is the service root? Also without any `user`.
pub(super) fn is_root(user: Option<&Account>) -> bool {
    match user {
        None | Some(Account::Id(0)) => true,
        Some(Account::Id(_) | Account::Auto) => false,
        Some(Account::Name(name)) => name == "root",
    }
}

/// Fills `values` (what the texts wrote) from profile and built-in values, and changes the lists that are to be changed.
pub(super) fn fill(sink: &mut Sink<'_>, values: &mut Values, forced: Option<Profile>) {
    let in_force = profile_of(values, forced);
    if forced.is_some_and(profile::opens) {
        for (table, key, _) in profile::values(in_force) {
            values.edits.retain(|edit| (edit.table, edit.key) != (*table, *key));
            values.histories.remove(&(*table, *key));
            values.remove(table, key);
        }
        // Without a namespace of its own it would rename the host.
        values.remove("namespaces", "hostname");
    }
    values.below = Some(base(in_force));
    if forced.is_some() {
        let word = format!("\"{}\"", in_force.as_str());
        let (table, key) = key_of("security", "profile");
        values.insert(table.name, key.name, built_in(table, key, &word, Source::Profile));
    }
    bounding(values);
    merge::apply(sink, values);
    user_namespace(values);
    unnamed_user(values);
    mount_namespace(values);
    shares::bind(sink, values);
}

/// What a slice does not limit it does not limit: the defaults of a unit are for one unit.
pub(super) fn fill_slice(values: &mut Values) {
    for (name, toml) in [("tasks_max", "\"infinity\""), ("memory_oom_group", "false")] {
        let (table, key) = key_of("resources", name);
        if values.get(table.name, key.name).is_none() {
            values.insert(table.name, key.name, built_in(table, key, toml, Source::Default));
        }
    }
}

fn key_of(table: &str, key: &str) -> (&'static keys::Table, &'static keys::Key) {
    let table = keys::table(table).expect("profiles name tables of the key table");
    (table, table.key(key).expect("profiles name keys of the key table"))
}

/// The key whose default follows from the user.
pub(super) const BOUNDING_SET: (&str, &str) = ("capabilities", "bounding");

/// The default of [`BOUNDING_SET`], where the profile has none.
pub(super) fn bounding_of(user: Option<&Account>) -> &'static Entry {
    &BOUNDING[usize::from(!is_root(user))]
}

fn bounding(values: &mut Values) {
    if values.get("capabilities", "bounding").is_none() {
        let user = match values.get("service", "user").map(|e| &e.value) {
            Some(Value::Account(account)) => Some(account),
            _ => None,
        };
        let entry = bounding_of(user).clone();
        values.insert("capabilities", "bounding", entry);
    }
}

/// Mappings imply a mapped user namespace.
fn user_namespace(values: &mut Values) {
    let given =
        |key| matches!(values.get("namespaces", key).map(|e| &e.value), Some(Value::Mappings(m)) if !m.is_empty());
    if (given("uid_mappings") || given("gid_mappings")) && values.place("namespaces", "user").is_none() {
        let entry = Entry { value: Value::User(UserWord::Mapped), source: Source::Default };
        values.insert("namespaces", "user", entry);
    }
}

/// What `service.user = "auto"` implies: what the service leaves belongs to nobody who has a name.
pub(super) const UNNAMED: [(&str, &str, &str); 8] = [
    ("security", "no_new_privileges", "true"),
    ("security", "restrict_suid_sgid", "true"),
    ("security", "remove_ipc", "true"),
    ("filesystem", "private_tmp", "true"),
    ("filesystem", "protect_system", "\"strict\""),
    ("directories", "state_mode", "\"0700\""),
    ("directories", "cache_mode", "\"0700\""),
    ("directories", "logs_mode", "\"0700\""),
];

static OF_UNNAMED: LazyLock<BuiltIn> = LazyLock::new(|| {
    BuiltIn::new(|table, key| {
        let (_, _, toml) = UNNAMED.iter().find(|(t, k, _)| (*t, *k) == (table.name, key.name))?;
        Some(built_in(table, key, toml, Source::Default))
    })
});

fn unnamed_user(values: &mut Values) {
    if !matches!(values.get("service", "user").map(|e| &e.value), Some(Value::Account(Account::Auto))) {
        return;
    }
    for (table, key, _) in UNNAMED {
        if let (None, Some(implied)) = (values.place(table, key), OF_UNNAMED.get(table, key)) {
            values.insert(table, key, implied.clone());
        }
    }
}

/// Keys that need a mount namespace of the unit's own, with the value that does not.
pub(super) const NEED_MOUNTS: [(&str, &str, &str); 17] = [
    ("filesystem", "protect_system", "\"off\""),
    ("filesystem", "read_write_paths", "[]"),
    ("filesystem", "read_only_paths", "[]"),
    ("filesystem", "inaccessible_paths", "[]"),
    ("filesystem", "temporary_paths", "[]"),
    ("filesystem", "exec_paths", "[]"),
    ("filesystem", "no_exec_paths", "[]"),
    ("filesystem", "protect_home", "\"off\""),
    ("filesystem", "private_tmp", "false"),
    ("filesystem", "protect_proc", "\"off\""),
    ("filesystem", "proc_subset", "\"all\""),
    ("devices", "private", "false"),
    ("credentials", "load", "{}"),
    ("credentials", "set", "{}"),
    ("logging", "syslog_socket", "false"),
    ("security", "protect_kernel_tunables", "false"),
    ("security", "protect_control_groups", "false"),
];

/// Keys of [`NEED_MOUNTS`] that the file sets to something that needs a mount namespace.
pub(super) fn written_needs(values: &Values) -> Vec<(&'static str, &'static str)> {
    let asks = |table, key| {
        values.place(table, key)?;
        Some(values.get(table, key)?.value != IMPLIED.get(table, key)?.value)
    };
    let keys = NEED_MOUNTS.iter().map(|(table, key, _)| (*table, *key));
    keys.filter(|(table, key)| asks(table, key) == Some(true)).collect()
}

fn mount_namespace(values: &mut Values) {
    let Some(Value::Namespace(mount)) = values.get("namespaces", "mount").map(|e| e.value.clone()) else { return };
    if mount == Isolation::Private {
        return;
    }
    let own_root = !matches!(values.get("rootfs", "type").map(|e| &e.value), Some(Value::Word("host")));
    let mapped = matches!(values.get("namespaces", "user").map(|e| &e.value), Some(Value::User(UserWord::Auto)));
    let needed = own_root || mapped || !values.mounts.is_empty() || !written_needs(values).is_empty();
    if needed && values.place("namespaces", "mount").is_none() {
        // An open profile shares the host's tree, unless the unit itself asks for something that cannot be had there.
        let entry = Entry { value: Value::Namespace(Isolation::Private), source: Source::Default };
        values.insert("namespaces", "mount", entry);
        return;
    }
    for (table, key, _) in NEED_MOUNTS {
        if let (None, Some(off)) = (values.place(table, key), IMPLIED.get(table, key)) {
            values.insert(table, key, off.clone());
        }
    }
    if values.place("namespaces", "pid").is_none() {
        let entry = Entry { value: Value::Namespace(Isolation::Host), source: Source::Default };
        values.insert("namespaces", "pid", entry);
    }
}

//! What must be known of the host before one unit can be compiled: the daemon looks up exactly this.

use super::dev::STANDARD_NODES;
use crate::unit::{Account, DeviceAllow, Unit, UserNamespace};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Questions to the host, for [`super::HostFacts`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Keys of [`super::HostFacts::users`]: names, or numbers as text. One that does not exist is left out there.
    pub users: BTreeSet<String>,
    /// Keys of [`super::HostFacts::groups`].
    pub groups: BTreeSet<String>,
    /// [`super::HostFacts::range`]
    pub range: bool,
    /// [`super::HostFacts::own_user`]
    pub own_user: bool,
    /// [`super::HostFacts::subordinate`], unless it is root who asks.
    pub subordinate: bool,
    /// Keys of [`super::HostFacts::devices`].
    pub devices: BTreeSet<PathBuf>,
    /// Paths to be listed in [`super::HostFacts::existing`] when they exist: the places of `directories.*` inside. An
    /// instance with redirected directories does not make them on the host, and existing configuration is left alone.
    pub paths: BTreeSet<PathBuf>,
    /// Keys of [`super::HostFacts::environment`]: `service.pass_environment`, and what a terminal is described by.
    pub variables: BTreeSet<String>,
}

/// What tells programs which terminal they have; passed on to the one of `rsvc run --pty`.
pub(super) const TERMINAL_VARIABLES: [&str; 3] = ["TERM", "COLORTERM", "NO_COLOR"];

/// What to find out for `unit`.
pub fn needs(unit: &Unit) -> Needs {
    let own_user = unit.service.user == Some(Account::Auto);
    let range = unit.namespaces.user == UserNamespace::Auto;
    let subordinate = range || super::subordinate::is_wanted(unit);
    let mut needs = Needs { range, own_user, subordinate, ..Needs::default() };
    needs.users.extend(unit.service.user.as_ref().filter(|user| **user != Account::Auto).map(account_key));
    needs.groups.extend(unit.service.group.as_ref().map(account_key));
    needs.groups.extend(unit.service.supplementary_groups.iter().map(account_key));
    for socket in unit.sockets.iter().filter(|socket| socket.listen.path().is_some()) {
        needs.users.extend(socket.user.as_ref().map(account_key));
        needs.groups.extend(socket.group.as_ref().map(account_key));
    }
    needs.devices.extend(STANDARD_NODES.iter().map(|node| Path::new("/dev").join(node.name)));
    for allow in &unit.devices.allow {
        if let DeviceAllow::Path { path, .. } = allow {
            needs.devices.insert(path.clone());
        }
    }
    needs.paths.extend(super::directories::all(unit).into_iter().map(|directory| directory.inside()));
    if unit.credentials.is_some() {
        needs.paths.insert(super::credentials::PLACE.into());
    }
    needs.variables.extend(unit.service.pass_environment.iter().cloned());
    needs.variables.extend(TERMINAL_VARIABLES.map(str::to_owned));
    needs
}

/// How an account is named among the facts.
pub(super) fn account_key(account: &Account) -> String {
    match account {
        Account::Id(id) => id.to_string(),
        Account::Name(name) => name.clone(),
        Account::Auto => "auto".to_owned(),
    }
}

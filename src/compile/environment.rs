//! The service's environment: nothing of the daemon's but what the unit names, so that a start from a shell equals a start at boot.
//!
//! Later wins: generated, then `service.pass_environment`, then `service.environment`, then (at the start) `environment_files` and what differs from
//! start to start. `JOURNAL_STREAM` is set by the step that connects the journal.

use super::Purpose;
use super::context::{Context, Shape};
use super::dev::notify_socket;
use super::directories::Kind;
use super::identity::Identity;
use super::needs::TERMINAL_VARIABLES;
use crate::unit::NotifyAccess;

/// For roots with and without merged /usr.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// In the order of generation; every name once.
pub(super) fn environment(context: &mut Context, shape: &Shape, identity: &Identity) -> Vec<(String, String)> {
    let unit = context.unit;
    let mut variables = Variables::default();
    variables.set("PATH", PATH);
    variables.set("LANG", &context.facts.lang);
    if let Some(account) = &identity.account {
        variables.set("USER", &account.name);
        variables.set("LOGNAME", &account.name);
        variables.set("HOME", &account.home);
        variables.set("SHELL", &account.shell);
    }
    for name in &unit.service.pass_environment {
        if let Some(value) = context.facts.environment.get(name) {
            variables.set(name, value);
        }
    }
    // Only who is believed is told where to speak.
    let speaks = match unit.service.notify_access {
        NotifyAccess::None => false,
        NotifyAccess::Main => context.purpose == Purpose::Main,
        NotifyAccess::Exec | NotifyAccess::All => true,
    };
    if speaks {
        variables.set("NOTIFY_SOCKET", &notify_socket(context, shape).display().to_string());
    }
    if let Some(interval) = unit.service.watchdog.filter(|_| context.purpose == Purpose::Main) {
        // WATCHDOG_PID beside it is known at exec only, as the number counts in the container.
        variables.set("WATCHDOG_USEC", &interval.as_micros().to_string());
    }
    if super::has_terminal(context) {
        for name in TERMINAL_VARIABLES {
            if let Some(value) = context.facts.environment.get(name) {
                variables.set(name, value);
            }
        }
    }
    if unit.service.file_descriptor_store_max > 0 && speaks {
        variables.set("FDSTORE", &unit.service.file_descriptor_store_max.to_string());
    }
    for kind in Kind::ALL {
        let root = if shape.mounts { kind.inside() } else { kind.host(context) };
        let paths: Vec<String> = kind.names(unit).iter().map(|name| root.join(name).display().to_string()).collect();
        if !paths.is_empty() {
            variables.set(kind.variable(), &paths.join(":"));
        }
    }
    if let Some(directory) = super::credentials::directory(unit) {
        variables.set(super::credentials::VARIABLE, &directory.display().to_string());
    }
    if let Some(path) = &unit.service.pid_file {
        variables.set("PIDFILE", &path.display().to_string());
    }
    for (name, value) in &unit.service.environment {
        variables.set(name, value);
    }
    variables.0
}

#[derive(Default)]
struct Variables(Vec<(String, String)>);

impl Variables {
    fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value.to_owned(),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }
}

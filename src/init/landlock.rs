//! A Landlock rule set of the plan, made while everything can still be opened, and put in force before the filters.

use super::paths::{self, is_missing};
use super::{Context, Failure, Stage};
use crate::plan::{FileRules, PathRule, PortRange, Ruleset};
use crate::sys::fd::{self, Open};
use crate::sys::landlock::{self, Handled, files, ports, scopes};
use crate::sys::mount;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};

/// Everything that changes what names lead to.
const MAKING: u64 = files::REMOVE_DIR | files::REMOVE_FILE | files::MAKE | files::REFER;

pub(super) fn make(stage: &mut Stage, wanted: &Ruleset) -> Result<(), Failure> {
    let bits = |wanted: &[(bool, u64)]| wanted.iter().filter(|(on, _)| *on).fold(0, |bits, (_, bit)| bits | bit);
    let handled = Handled {
        files: wanted.files.as_ref().map_or(0, |rules| {
            let writing = files::WRITE_FILE | MAKING;
            bits(&[(rules.write, writing), (rules.truncate, files::TRUNCATE), (rules.execute, files::EXECUTE)])
        }),
        ports: bits(&[(wanted.bind.is_some(), ports::BIND_TCP), (wanted.connect.is_some(), ports::CONNECT_TCP)]),
        scopes: bits(&[
            (wanted.own_abstract_sockets, scopes::ABSTRACT_UNIX_SOCKET),
            (wanted.own_signals, scopes::SIGNAL),
        ]),
    };
    let ruleset = landlock::create(handled)?;
    if let Some(rules) = &wanted.files {
        allow_paths(ruleset.as_fd(), rules, handled.files)?;
        if rules.write {
            allow_streams(stage, ruleset.as_fd(), handled.files)?;
        }
        if rules.message_queues {
            allow_message_queues(ruleset.as_fd(), handled.files).context(|| "the message queues")?;
        }
    }
    allow_ports(ruleset.as_fd(), wanted)?;
    stage.ruleset = Some(ruleset);
    Ok(())
}

pub(super) fn enforce(stage: &mut Stage) -> Result<(), Failure> {
    let ruleset = stage.ruleset.take().ok_or(Failure::new(0, "no rule set was made"))?;
    Ok(landlock::restrict_self(ruleset)?)
}

fn rights(rule: &PathRule) -> u64 {
    [(rule.write, files::WRITE_FILE | files::TRUNCATE), (rule.make, MAKING), (rule.execute, files::EXECUTE)]
        .iter()
        .filter(|(on, _)| *on)
        .fold(0, |bits, (_, bit)| bits | bit)
}

fn allow_paths(ruleset: BorrowedFd<'_>, rules: &FileRules, handled: u64) -> Result<(), Failure> {
    let root = fd::open(c"/", Open::Directory)?;
    for rule in &rules.rules {
        let shown = || rule.path.display().to_string();
        let place = match paths::open_in_root(root.as_fd(), &rule.path, paths::links_for(&rule.path)) {
            Err(failure) if rule.missing_ok && is_missing(failure.errno) => continue,
            Err(Failure { errno, detail, .. }) if detail.is_empty() => return Err(Failure::new(errno, shown())),
            other => other?,
        };
        let of_its_kind = if fd::stat(place.as_fd())?.is_directory() { u64::MAX } else { files::OF_A_FILE };
        allow(ruleset, place.as_fd(), rights(rule) & handled & of_its_kind).context(shown)?;
    }
    Ok(())
}

/// What the service has as standard output may be opened again by name (`/dev/stdout`) as what it is. A file or terminal
/// of the caller's lies in no tree of the service. Pipes and sockets have no place and need no rule.
fn allow_streams(stage: &Stage, ruleset: BorrowedFd<'_>, handled: u64) -> Result<(), Failure> {
    let inherited = &stage.inherited;
    for stream in [&inherited.stdin, &inherited.stdout, &inherited.stderr].into_iter().flatten() {
        if fd::is_writable(stream.as_fd())? {
            match allow(ruleset, stream.as_fd(), (files::WRITE_FILE | files::TRUNCATE) & handled) {
                Err(error) if error.errno == libc::EBADFD => {}
                other => other.context(|| "standard output")?,
            }
        }
    }
    Ok(())
}

/// mq_open(3) reaches the queues of the ipc namespace past all mounts: by the root of their file system.
fn allow_message_queues(ruleset: BorrowedFd<'_>, handled: u64) -> crate::sys::Result<()> {
    let context = mount::fsopen(c"mqueue")?;
    mount::fsconfig_create(&context)?;
    let queues = mount::fsmount(&context, 0)?;
    allow(ruleset, queues.as_fd(), (files::WRITE_FILE | files::TRUNCATE | MAKING) & handled)
}

fn allow(ruleset: BorrowedFd<'_>, place: BorrowedFd<'_>, access: u64) -> crate::sys::Result<()> {
    // The kernel refuses a rule that allows nothing.
    if access == 0 { Ok(()) } else { landlock::allow_path(ruleset, place, access) }
}

fn allow_ports(ruleset: BorrowedFd<'_>, wanted: &Ruleset) -> Result<(), Failure> {
    let mut access: BTreeMap<u16, u64> = BTreeMap::new();
    for (ranges, right) in [(&wanted.bind, ports::BIND_TCP), (&wanted.connect, ports::CONNECT_TCP)] {
        for PortRange { first, last } in ranges.iter().flatten() {
            for port in *first..=*last {
                *access.entry(port).or_default() |= right;
            }
        }
    }
    for (port, right) in access {
        landlock::allow_port(ruleset, port, right).context(|| format!("port {port}"))?;
    }
    Ok(())
}

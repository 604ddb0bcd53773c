//! Fail closed: what a unit asks for and cannot have keeps it from being started, and says so; what it has only by default
//! is reported as degraded, or keeps it from being started as well. Tried for every isolation key of the key table.
//!
//! `rows` has what is asked for and what is taken away while the daemon runs, `born` what it never had, `missing` how that
//! is, `judge` by what means.

#[path = "../instance/mod.rs"]
#[macro_use]
mod instance;

mod born;
mod exempt;
mod judge;
mod lies;
mod missing;
mod rows;
mod trial;

use instance::{Instance, skipped};
use judge::Judged;
use std::collections::BTreeSet;

/// A key that is written here first has its rows here, or the reason why it needs none.
#[test]
fn every_isolation_key_has_a_row_or_a_reason() {
    let never_there = born::HOSTS.iter().flat_map(|host| host.asks.iter().map(|(key, _)| *key));
    let tried: BTreeSet<&str> = rows::ROWS.iter().map(|row| row.key).chain(never_there).collect();
    let mut wrong = Vec::new();
    for (table, key) in rsvc::unit::keys::all().filter(|(_, key)| key.supported) {
        let dotted = table.dotted(key);
        match (tried.contains(dotted.as_str()), exempt::reason(table.name, &dotted)) {
            (true, None) | (false, Some(_)) => {}
            (true, Some(reason)) => wrong.push(format!("{dotted} has a row, and a reason to have none: {reason}")),
            (false, None) => wrong.push(format!("{dotted} has no row: what if its mechanism is missing?")),
        }
    }
    for key in tried.iter().copied().chain(exempt::keys()) {
        if rsvc::unit::keys::find(key).is_none_or(|(_, key)| !key.supported) {
            wrong.push(format!("{key} is no key"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_is_asked_for_and_missing_is_refused_by_name() {
    root_only!();
    let Some(judged) = Judged::start(Instance::prepared(), &[]) else {
        return skipped("calls cannot be judged here: no seccomp_unotify(2)");
    };
    trial::prepare(&judged.instance);
    let wrong: Vec<String> = rows::ROWS.iter().enumerate().flat_map(|(n, row)| trial::row(&judged, n, row)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn what_is_missing_and_had_by_default_is_refused_or_reported() {
    root_only!();
    let Some(judged) = Judged::start(Instance::prepared(), &[]) else {
        return skipped("calls cannot be judged here: no seccomp_unotify(2)");
    };
    let wrong: Vec<String> = missing::ALL.iter().flat_map(|missing| trial::default(&judged, missing)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn what_was_said_to_be_done_and_was_not_is_found_out() {
    root_only!();
    let Some(judged) = Judged::start(Instance::prepared(), &[]) else {
        return skipped("calls cannot be judged here: no seccomp_unotify(2)");
    };
    let wrong = lies::believed(&judged);
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// A daemon that begins on a host which never had it.
#[test]
fn what_a_host_never_had_is_refused_where_asked_for_and_reported_where_not() {
    root_only!();
    let mut wrong = Vec::new();
    for host in born::HOSTS {
        match born::host(host) {
            Ok(found) => wrong.extend(found),
            Err(why) => skipped!("without {}: {why}", host.without),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

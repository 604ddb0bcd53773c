//! The lists of a policy with their names resolved, and the calls behind which others hide.

use super::calls::{self, Abi};
use super::groups;
use super::policy::{FilterError, FilterPolicy};
use super::restrict::Case;
use super::rule::{self, Polarity, Rule};
use std::collections::BTreeSet;

/// Without these nothing is started: `write` reports, `execve` becomes the service, the others end it and return from
/// a signal.
pub(super) const INDISPENSABLE: [&str; 5] = ["execve", "exit", "exit_group", "rt_sigreturn", "write"];

/// Is it a call without which no service can be started? No deny list can have it.
pub fn is_indispensable(call: &str) -> bool {
    INDISPENSABLE.contains(&call)
}

/// Which calls of the lists have which answer.
pub(super) struct Lists {
    /// `None`: all.
    allowed: Option<BTreeSet<&'static str>>,
    denied: BTreeSet<&'static str>,
    logged: BTreeSet<&'static str>,
    allow_when: Vec<Rule>,
    deny_when: Vec<Rule>,
}

impl Lists {
    pub fn new(policy: &FilterPolicy) -> Result<Lists, FilterError> {
        let (mut allow_when, mut deny_when) = (Vec::new(), Vec::new());
        let allowed = match &policy.allow {
            Some(list) => {
                let mut allowed = resolve(list, Some(&mut allow_when))?;
                allowed.extend(INDISPENSABLE);
                allowed.insert("execveat");
                Some(allowed)
            }
            None => None,
        };
        for entry in &policy.deny {
            if let Some(call) = indispensable(entry)? {
                return Err(FilterError::Indispensable { call, entry: entry.clone() });
            }
        }
        let denied = resolve(&policy.deny, Some(&mut deny_when))?;
        Ok(Lists { allowed, denied, logged: resolve(&policy.log, None)?, allow_when, deny_when })
    }

    /// Is there no allow list?
    pub fn everything(&self) -> bool {
        self.allowed.is_none()
    }

    /// Whatever the arguments, unless something refuses it.
    pub fn allows(&self, name: &str) -> bool {
        self.logs(name) || self.allowed.as_ref().is_none_or(|allowed| allowed.contains(name))
    }

    /// Whatever the arguments.
    pub fn denies(&self, name: &str) -> bool {
        self.denied.contains(name)
    }

    pub fn logs(&self, name: &str) -> bool {
        self.logged.contains(name)
    }

    /// In which cases conditions allow the call, and in which they deny it.
    pub fn rules(&self, abi: Abi, name: &str) -> (Vec<Case>, Vec<Case>) {
        let own = same_arguments(abi, name);
        let of = |rules: &[Rule], polarity| {
            let rules = rules.iter().filter(|rule| rule.call() == name || Some(rule.call()) == own);
            rules.map(|rule| rule.case(polarity)).collect()
        };
        (of(&self.allow_when, Polarity::Allow), of(&self.deny_when, Polarity::Deny))
    }

    /// Has one of the calls conditions of either kind?
    pub fn has_rules(&self, names: &[&str]) -> bool {
        self.allow_when.iter().chain(&self.deny_when).any(|rule| names.contains(&rule.call()))
    }
}

/// The call that the entry of a deny list would forbid although no service can be started without it.
///
/// # Errors
/// Names that do not exist.
pub(super) fn indispensable(entry: &str) -> Result<Option<&'static str>, FilterError> {
    let mut rules = Vec::new();
    let calls = resolve(std::slice::from_ref(&entry.to_owned()), Some(&mut rules))?;
    let denied = |call: &&str| calls.contains(call) || rules.iter().any(|rule| rule.call() == *call);
    Ok(INDISPENSABLE.into_iter().find(denied))
}

/// Calls and groups as calls; entries with conditions are put aside, where they are possible.
fn resolve(list: &[String], mut rules: Option<&mut Vec<Rule>>) -> Result<BTreeSet<&'static str>, FilterError> {
    let mut calls = BTreeSet::new();
    for name in list {
        match &mut rules {
            Some(rules) if rule::is_rule(name) => {
                let rule = Rule::parse(name).map_err(|error| FilterError::Rule(error.message))?;
                rules.push(rule);
            }
            _ if name.starts_with('@') => {
                calls.extend(groups::group(name).ok_or_else(|| FilterError::UnknownGroup(name.clone()))?);
            }
            _ => drop(calls.insert(calls::known(name).ok_or_else(|| FilterError::UnknownCall(name.clone()))?)),
        }
    }
    Ok(calls)
}

/// The call that takes the same arguments under the name that the other entries have for it.
fn same_arguments(abi: Abi, name: &str) -> Option<&'static str> {
    match (abi, name) {
        (Abi::I386, "mmap2") => Some("mmap"),
        (Abi::I386, "fcntl64") => Some("fcntl"),
        _ => None,
    }
}

/// Calls that can be reached through `name` with their arguments behind a pointer, where no filter sees them: when one
/// of them has conditions, `name` is refused.
pub(super) fn behind_pointer(abi: Abi, name: &str) -> Option<&'static [&'static str]> {
    match (abi, name) {
        (_, "clone3") => Some(&["clone"]),
        (_, "openat2") => Some(&["open", "openat"]),
        (Abi::I386, "socketcall") => Some(&[
            "socket",
            "socketpair",
            "bind",
            "connect",
            "listen",
            "accept",
            "accept4",
            "getsockname",
            "getpeername",
            "sendto",
            "recvfrom",
            "shutdown",
            "setsockopt",
            "getsockopt",
            "sendmsg",
            "recvmsg",
            "sendmmsg",
            "recvmmsg",
        ]),
        (Abi::I386, "ipc") => Some(&[
            "semop",
            "semget",
            "semctl",
            "semtimedop",
            "msgsnd",
            "msgrcv",
            "msgget",
            "msgctl",
            "shmat",
            "shmdt",
            "shmget",
            "shmctl",
        ]),
        // The older calls of the same names: one argument, a pointer to the others.
        (Abi::I386, "mmap") => Some(&["mmap"]),
        (Abi::I386, "select") => Some(&["select"]),
        _ => None,
    }
}

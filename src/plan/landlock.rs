//! A Landlock rule set as data: the second wall behind the mounts, TCP ports, and who can be reached by abstract sockets
//! and signals.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// What [`super::Step::MakeRuleset`] makes and [`super::Step::EnforceRuleset`] puts in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    /// `None`: files are none of its business.
    pub files: Option<FileRules>,
    /// TCP ports that may be bound; `None`: all. 0 stands for those that the kernel chooses.
    pub bind: Option<Vec<PortRange>>,
    /// TCP ports that may be connected to; `None`: all.
    pub connect: Option<Vec<PortRange>>,
    /// No abstract Unix sockets but those made under the same rule set.
    pub own_abstract_sockets: bool,
    /// No signals but to processes under the same rule set.
    pub own_signals: bool,
}

/// Rules about files. Reading is free everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRules {
    /// Writing, making and removing are refused but where a rule allows them.
    pub write: bool,
    /// So is truncating (interface 3).
    pub truncate: bool,
    /// So is executing.
    pub execute: bool,
    /// What is allowed.
    pub rules: Vec<PathRule>,
    /// Message queues of the ipc namespace may be written although no mount shows them: mq_open(3) needs none.
    pub message_queues: bool,
}

/// What is allowed at a place and below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathRule {
    /// Absolute, in the service's root.
    pub path: PathBuf,
    /// Existing files may be opened for writing, and truncated.
    pub write: bool,
    /// Names may be made, removed and renamed.
    pub make: bool,
    /// Programs may be executed.
    pub execute: bool,
    /// `true`: nothing to allow when it does not exist.
    pub missing_ok: bool,
}

/// Ports from `first` to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

impl PortRange {
    /// How many ports.
    pub fn count(self) -> usize {
        usize::from(self.last.saturating_sub(self.first)) + 1
    }
}

/// `80`, `8000-8100`, `any that the kernel chooses`
impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.last) {
            (0, 0) => f.write_str("any that the kernel chooses"),
            (first, last) if first == last => write!(f, "{first}"),
            (first, last) => write!(f, "{first}-{last}"),
        }
    }
}

/// `write only below /run, /var; ...`: the parts with semicolons between them.
impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(files) = &self.files {
            let list = |wanted: fn(&PathRule) -> bool| {
                let places: Vec<String> = files
                    .rules
                    .iter()
                    .filter(|rule| wanted(rule))
                    .map(|rule| rule.path.display().to_string())
                    .collect();
                if places.is_empty() { "nowhere".to_owned() } else { format!("only below {}", places.join(", ")) }
            };
            if files.write {
                parts.push(format!("make and remove files {}", list(|rule| rule.make)));
                let others: Vec<String> = files
                    .rules
                    .iter()
                    .filter(|rule| rule.write && !rule.make)
                    .map(|rule| rule.path.display().to_string())
                    .collect();
                let queues = if files.message_queues { " and message queues" } else { "" };
                let also = if others.is_empty() { String::new() } else { format!(" and below {}", others.join(", ")) };
                parts.push(format!("write there{also}{queues}"));
            }
            if files.execute {
                parts.push(format!("execute {}", list(|rule| rule.execute)));
            }
        }
        for (verb, ports) in [("bind", &self.bind), ("connect to", &self.connect)] {
            let Some(ports) = ports else { continue };
            let words: Vec<String> = ports.iter().map(ToString::to_string).collect();
            parts.push(match words.is_empty() {
                true => format!("{verb} no TCP port"),
                false => format!("{verb} only TCP ports {}", words.join(", ")),
            });
        }
        if self.own_abstract_sockets {
            parts.push("reach only its own abstract sockets".to_owned());
        }
        if self.own_signals {
            parts.push("signal only its own processes".to_owned());
        }
        f.write_str(&parts.join("; "))
    }
}

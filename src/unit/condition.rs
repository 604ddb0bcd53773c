//! What has to hold before a start: the tests of `unit.condition` and `unit.assert`, as written. The host answers them
//! (`daemon::conditions`); here they are only read, printed and, where that is pure, compared.

use std::cmp::Ordering;
use std::fmt;
use std::path::PathBuf;

/// One test; `!` in front of the text negates it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// It must not hold.
    pub negated: bool,
    /// What is looked at.
    pub test: ConditionTest,
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConditionTest {
    /// Something is there; links are followed.
    PathExists(PathBuf),
    /// A directory is there.
    PathIsDirectory(PathBuf),
    /// A regular file with at least one byte is there.
    FileNotEmpty(PathBuf),
    /// The daemon has this variable, with this value if one is given.
    Environment(String, Option<String>),
    /// The host's name (`*` and `?` stand for any text and any letter) or machine id.
    Host(String),
    /// The daemon runs as this user, by name or number.
    User(String),
    /// `vm`, `container`, or the kind of one, such as `kvm` or `docker`.
    Virtualization(String),
    /// The kernel's version stands so to this one.
    KernelVersion(Comparison, String),
    /// The daemon could give this capability away: number and name.
    Capability(u8, String),
    /// The kernel has this control group controller for rsvc.
    Controller(String),
    /// It is the first boot of this installation.
    FirstBoot,
}

/// How two versions stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Comparison {
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
    GreaterOrEqual,
    Greater,
}

/// Signs of comparison; the longer ones first.
const SIGNS: [(&str, Comparison); 6] = [
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("!=", Comparison::NotEqual),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
    ("=", Comparison::Equal),
];

impl Comparison {
    /// `">= 5.14"` taken apart; without a sign the version is the least that will do.
    pub(super) fn split(text: &str) -> (Comparison, &str) {
        let text = text.trim();
        let sign = SIGNS.iter().find_map(|(sign, meaning)| Some((*meaning, text.strip_prefix(sign)?.trim())));
        sign.unwrap_or((Comparison::GreaterOrEqual, text))
    }

    fn sign(self) -> &'static str {
        SIGNS.iter().find(|(_, meaning)| *meaning == self).map_or("", |(sign, _)| sign)
    }

    /// Does it hold between these versions? Numbers are compared as numbers, part by part; a missing part is 0, and
    /// what follows the numbers (`-amd64`) is passed over.
    pub fn holds(self, version: &str, wanted: &str) -> bool {
        let order = numbers(version).cmp(&numbers(wanted));
        match self {
            Comparison::Less => order == Ordering::Less,
            Comparison::LessOrEqual => order != Ordering::Greater,
            Comparison::Equal => order == Ordering::Equal,
            Comparison::NotEqual => order != Ordering::Equal,
            Comparison::GreaterOrEqual => order != Ordering::Less,
            Comparison::Greater => order == Ordering::Greater,
        }
    }
}

/// The numbers at the beginning of a version, without zeros at the end.
pub(super) fn numbers(version: &str) -> Vec<u64> {
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
    let mut numbers: Vec<u64> = version[..end].split('.').filter_map(|part| part.parse().ok()).collect();
    while numbers.last() == Some(&0) {
        numbers.pop();
    }
    numbers
}

impl ConditionTest {
    /// Name of the key in the table.
    pub fn key(&self) -> &'static str {
        match self {
            ConditionTest::PathExists(_) => "path_exists",
            ConditionTest::PathIsDirectory(_) => "path_is_directory",
            ConditionTest::FileNotEmpty(_) => "file_not_empty",
            ConditionTest::Environment(..) => "environment",
            ConditionTest::Host(_) => "host",
            ConditionTest::User(_) => "user",
            ConditionTest::Virtualization(_) => "virtualization",
            ConditionTest::KernelVersion(..) => "kernel_version",
            ConditionTest::Capability(..) => "capability",
            ConditionTest::Controller(_) => "controller",
            ConditionTest::FirstBoot => "first_boot",
        }
    }

    /// A machine has one of these only: several without `!` are alternatives.
    pub fn is_alternative(&self) -> bool {
        matches!(self, ConditionTest::Host(_) | ConditionTest::User(_) | ConditionTest::Virtualization(_))
    }

    /// What is compared, as text.
    fn text(&self) -> String {
        match self {
            ConditionTest::PathExists(path)
            | ConditionTest::PathIsDirectory(path)
            | ConditionTest::FileNotEmpty(path) => path.display().to_string(),
            ConditionTest::Environment(name, None) => name.clone(),
            ConditionTest::Environment(name, Some(value)) => format!("{name}={value}"),
            ConditionTest::Host(text) | ConditionTest::User(text) | ConditionTest::Virtualization(text) => text.clone(),
            ConditionTest::KernelVersion(comparison, version) => format!("{}{version}", comparison.sign()),
            ConditionTest::Capability(_, name) => name.clone(),
            ConditionTest::Controller(name) => name.clone(),
            ConditionTest::FirstBoot => "true".to_owned(),
        }
    }
}

impl Condition {
    /// The text in the list, with its `!`.
    pub(super) fn text(&self) -> String {
        format!("{}{}", if self.negated { "!" } else { "" }, self.test.text())
    }
}

/// `path_exists = "!/run/x"`
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.test {
            ConditionTest::FirstBoot => write!(f, "first_boot = {}", !self.negated),
            _ => write!(f, "{} = {}", self.test.key(), super::print::quote(&self.text())),
        }
    }
}

/// The first that is not met; `holds` answers a test without its `!`. Everything written has to hold, but of several
/// hosts, users and kinds of virtualization without `!` one is enough.
pub fn unmet(conditions: &[Condition], mut holds: impl FnMut(&ConditionTest) -> bool) -> Option<&Condition> {
    let mut answers: Vec<(&Condition, bool)> = Vec::with_capacity(conditions.len());
    for condition in conditions {
        answers.push((condition, holds(&condition.test) != condition.negated));
    }
    let is_alternative = |condition: &Condition| condition.test.is_alternative() && !condition.negated;
    let has_other = |condition: &Condition| {
        answers.iter().any(|(other, met)| *met && is_alternative(other) && other.test.key() == condition.test.key())
    };
    let counts_as_met = |condition: &Condition, met: bool| met || (is_alternative(condition) && has_other(condition));
    let found = answers.iter().find(|(condition, met)| !counts_as_met(condition, *met));
    found.map(|(condition, _)| *condition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_number_by_number() {
        let table = [
            (">=5.14", "6.1.0-18-amd64", true),
            ("5.14", "5.4", false),
            ("< 6", "5.19.17", true),
            ("=6.1", "6.1.0", true),
            ("!=6.1", "6.1.0-rc1", false),
            (">6.9", "6.12", true),
            ("<=6.12", "6.12.1", false),
        ];
        for (wanted, version, expected) in table {
            let (comparison, wanted_version) = Comparison::split(wanted);
            assert_eq!(comparison.holds(version, wanted_version), expected, "{version} {wanted}");
        }
    }

    #[test]
    fn all_must_hold_but_of_alternatives_one_is_enough() {
        let host = |negated, name: &str| Condition { negated, test: ConditionTest::Host(name.into()) };
        let path = |negated, path: &str| Condition { negated, test: ConditionTest::PathExists(path.into()) };
        let holds = |test: &ConditionTest| ["a", "/there"].contains(&test.text().as_str());
        let first = |conditions: &[Condition]| unmet(conditions, holds).map(ToString::to_string);
        assert_eq!(first(&[host(false, "b"), host(false, "a"), path(true, "/gone"), path(false, "/there")]), None);
        assert_eq!(first(&[host(false, "b"), host(false, "c")]).as_deref(), Some("host = \"b\""));
        assert_eq!(first(&[host(true, "b"), host(true, "a")]).as_deref(), Some("host = \"!a\""));
        assert_eq!(first(&[path(false, "/there"), path(false, "/gone")]).as_deref(), Some("path_exists = \"/gone\""));
    }
}

//! `unit.condition` and `unit.assert`: a table whose keys hold a text or a list of texts.

use super::Sink;
use super::shape::{list, parsed};
use super::tables::fields;
use crate::unit::condition::{Comparison, Condition, ConditionTest, numbers};
use crate::unit::problem::Code;
use crate::unit::value::{self, Bad};
use toml::Spanned;
use toml::de::DeValue;

/// Keys of the table, in the order of the manual.
pub(in crate::unit) const NAMES: [&str; 11] = [
    "path_exists",
    "path_is_directory",
    "file_not_empty",
    "environment",
    "host",
    "user",
    "virtualization",
    "kernel_version",
    "capability",
    "controller",
    "first_boot",
];

/// Controllers that rsvc uses, in v2 words also on a v1 host.
const CONTROLLERS: [&str; 7] = ["cpu", "cpuset", "memory", "io", "pids", "hugetlb", "devices"];

/// What a virtualization may be called.
const VIRTUALIZATIONS: [&str; 18] = [
    "vm",
    "container",
    "kvm",
    "qemu",
    "vmware",
    "oracle",
    "microsoft",
    "xen",
    "amazon",
    "google",
    "apple",
    "bochs",
    "docker",
    "podman",
    "lxc",
    "systemd-nspawn",
    "rsvc",
    "none",
];

pub(super) fn conditions(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Vec<Condition>> {
    let table = fields(sink, key, value, &NAMES, &[])?;
    let mut all = Some(Vec::new());
    for name in NAMES {
        let Some(value) = table.get(name) else { continue };
        let found = match value.get_ref() {
            DeValue::Boolean(first) if name == "first_boot" => {
                Some(vec![Condition { negated: !*first, test: ConditionTest::FirstBoot }])
            }
            _ if name == "first_boot" => {
                sink.wrong_type(value, &format!("{key}.first_boot"), "true or false", None);
                None
            }
            DeValue::Array(_) => list(sink, &format!("{key}.{name}"), value, &mut Vec::new(), |_, t| read(name, t)),
            _ => parsed(sink, &format!("{key}.{name}"), value, "a string or an array of strings", |t| read(name, t))
                .map(|condition| vec![condition]),
        };
        match (found, all.as_mut()) {
            (Some(found), Some(all)) => all.extend(found),
            _ => all = None,
        }
    }
    all
}

fn read(name: &str, text: &str) -> Result<Condition, Bad> {
    let (negated, rest) = match text.strip_prefix('!') {
        // `!=6.1` is a comparison.
        Some(rest) if !(name == "kernel_version" && rest.starts_with('=')) => (true, rest),
        _ => (false, text),
    };
    Ok(Condition { negated, test: test(name, rest)? })
}

fn test(name: &str, text: &str) -> Result<ConditionTest, Bad> {
    let shown = text.escape_debug();
    if text.is_empty() {
        return Err(Bad::new(Code::BadText, format!("`{name}` is empty")));
    }
    Ok(match name {
        "path_exists" => ConditionTest::PathExists(value::absolute_path(text)?),
        "path_is_directory" => ConditionTest::PathIsDirectory(value::absolute_path(text)?),
        "file_not_empty" => ConditionTest::FileNotEmpty(value::absolute_path(text)?),
        "environment" => {
            let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
            value::environment_name(name)?;
            ConditionTest::Environment(name.to_owned(), value.map(str::to_owned))
        }
        "host" => ConditionTest::Host(text.to_owned()),
        "user" => ConditionTest::User(text.to_owned()),
        "virtualization" if VIRTUALIZATIONS.contains(&text) => ConditionTest::Virtualization(text.to_owned()),
        "virtualization" => {
            return Err(unknown_word(format!("`{shown}` is no virtualization"), text, &VIRTUALIZATIONS));
        }
        "kernel_version" => {
            let (comparison, version) = Comparison::split(text);
            if numbers(version).is_empty() || !version.starts_with(|c: char| c.is_ascii_digit()) {
                return Err(Bad::new(Code::UnknownWord, format!("`{shown}` is not a version"))
                    .help("such as \">=6.1\", \"<5.15\""));
            }
            ConditionTest::KernelVersion(comparison, version.to_owned())
        }
        "capability" => {
            let set = value::capability(text)?;
            if set.0.count_ones() != 1 {
                return Err(Bad::new(Code::BadCapability, "one capability is meant, not all"));
            }
            let number = u8::try_from(set.0.trailing_zeros()).unwrap_or(u8::MAX);
            ConditionTest::Capability(number, text.to_ascii_uppercase())
        }
        _ if CONTROLLERS.contains(&text) => ConditionTest::Controller(text.to_owned()),
        _ => return Err(unknown_word(format!("`{shown}` is no controller"), text, &CONTROLLERS)),
    })
}

fn unknown_word(message: String, text: &str, known: &[&str]) -> Bad {
    let help = match value::nearest(text, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known are {}", known.join(", ")),
    };
    Bad::new(Code::UnknownWord, message).help(help)
}

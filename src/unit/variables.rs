//! `${instance}` and the other names that every text value may have, whatever key it belongs to.
//!
//! | written | in commands and environment | in other texts |
//! |---|---|---|
//! | `${name}`, a name of [`NAMES`] | its value | its value |
//! | `${other}`, of small letters, digits and `_` | refused | refused |
//! | `$${` | `${` | `${` |
//! | `${FOO}`, `${1}`, `${x:-y}`, `${#x}` | itself: a shell's | refused: no shell reads it |
//! | `$FOO`, `$$`, `$(`, `%` | itself | itself |
//!
//! So a script in a command keeps its own variables but for plain lower-case ones in braces, which are written without
//! the braces or as `$${x}`; nothing is replaced by nothing in silence. Values are put in once: a value that contains
//! `${` is not looked at again. Pure: the host's name comes from outside.

use super::decode::Sink;
use super::keys::Kind;
use super::problem::Code;
use super::value::{Bad, nearest};
use std::borrow::Cow;
use std::ops::Range;
use toml::Spanned;
use toml::de::DeValue;

/// The names with their meaning, in the order of the manual.
pub(super) const NAMES: [(&str, &str); 11] = [
    ("unit", "name of the unit, such as web@blue"),
    ("template", "name of its template without the @, such as web; only in templates and with sockets.accept"),
    ("instance", "what follows the @, such as blue; only in templates and with sockets.accept"),
    ("host", "name of the host when the unit is read"),
    ("user", "the value of service.user, root if it is not set"),
    ("runtime_dir", "/run, below which directories.runtime are inside"),
    ("state_dir", "/var/lib, for directories.state"),
    ("cache_dir", "/var/cache, for directories.cache"),
    ("logs_dir", "/var/log, for directories.logs"),
    ("configuration_dir", "/etc, for directories.configuration"),
    ("credentials_dir", "/run/credentials/ and the name of the unit, for [credentials]"),
];

/// What the names stand for in one unit.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    unit: String,
    /// Where its credentials are.
    credentials: String,
    /// Template and instance.
    parts: Option<(String, String)>,
    host: String,
    /// `None` while the user itself is read.
    pub user: Option<String>,
}

impl Variables {
    /// Name of the unit.
    pub(super) fn unit(&self) -> &str {
        &self.unit
    }

    /// The unit accepts connections: each instance of it has a number, and it is a template of its own. What is read
    /// here as instance 0 nobody starts.
    pub(super) fn accepts(&mut self) {
        self.parts.get_or_insert_with(|| (self.unit.clone(), "0".to_owned()));
    }

    /// Those of the unit `name` on the host `host`.
    pub(super) fn new(name: &str, host: &str) -> Variables {
        let parts = name.split_once('@').map(|(template, instance)| (template.to_owned(), instance.to_owned()));
        let credentials = format!("{}/{name}", super::CREDENTIALS_PLACE);
        Variables { unit: name.to_owned(), credentials, parts, host: host.to_owned(), user: None }
    }

    fn value(&self, name: &str, in_command: bool) -> Result<&str, Bad> {
        const NO_INSTANCE: &str = "stands in a template only, and this unit is no instance of one";
        let known = match name {
            "unit" => Ok(self.unit.as_str()),
            "template" => self.parts.as_ref().map(|(template, _)| template.as_str()).ok_or(NO_INSTANCE),
            "instance" => self.parts.as_ref().map(|(_, instance)| instance.as_str()).ok_or(NO_INSTANCE),
            "host" => Ok(self.host.as_str()),
            "user" => self.user.as_deref().ok_or("cannot be part of the user's own name"),
            "runtime_dir" => Ok("/run"),
            "state_dir" => Ok("/var/lib"),
            "cache_dir" => Ok("/var/cache"),
            "logs_dir" => Ok("/var/log"),
            "configuration_dir" => Ok("/etc"),
            "credentials_dir" => Ok(self.credentials.as_str()),
            _ => Err(""),
        };
        known.map_err(|why| {
            if !why.is_empty() {
                return Bad::new(Code::UnknownVariable, format!("`${{{name}}}` {why}"));
            }
            let bad = Bad::new(Code::UnknownVariable, format!("there is no variable `${{{name}}}`"));
            match nearest(name, NAMES.iter().map(|(name, _)| *name)) {
                Some(near) => bad.help(format!("did you mean `${{{near}}}`?")),
                None if in_command => {
                    bad.help(format!("write `${name}` or `$${{{name}}}` for a variable of the shell that is run"))
                }
                None if matches!(name, "home" | "uid" | "gid" | "group" | "shell") => {
                    bad.help("the service finds the host's answers in its environment: HOME, USER, SHELL")
                }
                None => bad.help(format!("write `$${{{name}}}` for `${{{name}}}` itself")),
            }
        })
    }
}

/// Does a text hold anything to be expanded?
fn is_concerned(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::String(text) => text.contains("${"),
        DeValue::Array(items) => items.iter().any(|item| is_concerned(item.get_ref())),
        DeValue::Table(table) => table.values().any(|value| is_concerned(value.get_ref())),
        _ => false,
    }
}

/// The value with its variables replaced; `None` when one cannot be, which is reported.
pub(super) fn expand<'v, 'i>(
    sink: &mut Sink<'_>,
    kind: Kind,
    key: &str,
    value: &'v Spanned<DeValue<'i>>,
) -> Option<Cow<'v, Spanned<DeValue<'i>>>> {
    if !is_concerned(value.get_ref()) {
        return Some(Cow::Borrowed(value));
    }
    let lenient = matches!(kind, Kind::Argv | Kind::Commands | Kind::Variables);
    let mut owned = value.clone();
    let good = walk(sink, lenient, key, &mut owned, None);
    good.then_some(Cow::Owned(owned))
}

/// One text, unless something in it cannot be expanded.
pub(super) fn in_text(text: &str, variables: &Variables) -> Option<String> {
    expanded(text, variables, false, false).ok()
}

/// `before` is the element before this one in an array: `-c` makes a script of it.
fn walk(sink: &mut Sink<'_>, lenient: bool, key: &str, value: &mut Spanned<DeValue<'_>>, before: Option<&str>) -> bool {
    let span = value.span();
    match value.get_mut() {
        DeValue::String(text) => {
            // Its own name would be in it.
            let nobody = Variables { user: None, ..sink.variables().clone() };
            let variables = if key == "service.user" { &nobody } else { sink.variables() };
            let script = lenient && before.is_some_and(|option| option.starts_with('-') && option.ends_with('c'));
            match expanded(text, variables, lenient, script) {
                Ok(new) => {
                    *text = Cow::Owned(new);
                    true
                }
                Err((nth, length, bad)) => {
                    let place = place(sink, &span, nth, length);
                    sink.add(bad.code, place, key, bad.message, bad.help);
                    false
                }
            }
        }
        DeValue::Array(items) => {
            let originals: Vec<Option<String>> =
                items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect();
            let mut good = true;
            for (n, item) in items.iter_mut().enumerate() {
                let before = n.checked_sub(1).and_then(|n| originals[n].as_deref());
                good &= walk(sink, lenient, key, item, before);
            }
            good
        }
        DeValue::Table(table) => {
            let mut good = true;
            for (_, value) in table.iter_mut() {
                good &= walk(sink, lenient, key, value, None);
            }
            good
        }
        _ => true,
    }
}

/// The place of the `nth` `${` of a text, if the text is written as it is read; else the whole.
fn place(sink: &Sink<'_>, span: &Range<usize>, nth: usize, length: usize) -> Range<usize> {
    let written = sink.written(span);
    match written.match_indices("${").nth(nth) {
        Some((at, _)) if written.get(at..at + length).is_some_and(|text| !text.contains('\\')) => {
            span.start + at..span.start + at + length
        }
        _ => span.clone(),
    }
}

/// One text. The error says which `${` it is, how long what is wrong there is, and why.
fn expanded(text: &str, variables: &Variables, lenient: bool, script: bool) -> Result<String, (usize, usize, Bad)> {
    let mut all = String::with_capacity(text.len() + 16);
    let mut rest = text;
    let mut nth = 0;
    while let Some(at) = rest.find("${") {
        let (before, here) = rest.split_at(at);
        if let Some(kept) = before.strip_suffix('$') {
            // `$${`: one dollar goes, and what follows is somebody else's.
            all.push_str(kept);
            all.push_str("${");
            (rest, nth) = (&here[2..], nth + 1);
            continue;
        }
        all.push_str(before);
        let inner = &here[2..];
        let name = &inner[..inner.find(|c: char| !is_name_part(c)).unwrap_or(inner.len())];
        let closed = inner[name.len()..].starts_with('}') && name.starts_with(|c: char| c.is_ascii_lowercase());
        if !closed && lenient {
            all.push_str("${");
            (rest, nth) = (inner, nth + 1);
            continue;
        }
        if !closed {
            let length = here.find('}').map_or(here.len(), |end| end + 1);
            let bad = Bad::new(Code::UnknownVariable, format!("`{}` is not a variable", here[..length].escape_debug()))
                .help("names are of small letters; write `$${` for `${` itself");
            return Err((nth, length, bad));
        }
        let length = name.len() + 3;
        let value = variables.value(name, lenient).map_err(|bad| (nth, length, bad))?;
        if script && sets(text, name) {
            let message = format!("the script sets its own `{name}`, but `${{{name}}}` is replaced before it runs");
            let help = format!("write `${name}` or `$${{{name}}}` for the script's, or give that another name");
            return Err((nth, length, Bad::new(Code::UnknownVariable, message).help(help)));
        }
        all.push_str(value);
        (rest, nth) = (&inner[name.len() + 1..], nth + 1);
    }
    all.push_str(rest);
    Ok(all)
}

fn is_name_part(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

/// Does a shell script seem to set the variable `name`?
fn sets(script: &str, name: &str) -> bool {
    script.match_indices(name).any(|(at, _)| {
        let (before, after) = (&script[..at], &script[at + name.len()..]);
        let starts = before.is_empty() || before.ends_with(|c: char| c.is_whitespace() || ";&|(){".contains(c));
        let word = before.split_whitespace().next_back().unwrap_or_default();
        let declared = matches!(word, "for" | "read" | "local" | "declare" | "export" | "readonly" | "typeset");
        let ends = !after.starts_with(|c: char| is_name_part(c) || c.is_ascii_uppercase());
        starts && ends && (after.starts_with('=') || declared && before.ends_with(char::is_whitespace))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        Variables { user: Some("www".into()), ..Variables::new("web@blue", "box") }
    }

    fn strict(text: &str) -> Result<String, String> {
        expanded(text, &variables(), false, false).map_err(|(_, _, bad)| bad.message)
    }

    fn command(text: &str) -> Result<String, String> {
        expanded(text, &variables(), true, true).map_err(|(_, _, bad)| bad.message)
    }

    #[test]
    fn every_name_of_the_list_has_a_value() {
        for (name, _) in NAMES {
            let value = strict(&format!("<${{{name}}}>")).unwrap();
            assert!(value.len() > 2 && !value.contains('$'), "{name}: {value}");
        }
        assert_eq!(strict("${unit} ${template}-${instance} ${user}").unwrap(), "web@blue web-blue www");
    }

    #[test]
    fn what_is_no_variable_stays_as_it_is() {
        for text in ["", "$", "$$", "$FOO", "$$ $1 $(date) 100%% %i", "a$b}", "{instance}", "$ {instance}"] {
            assert_eq!(strict(text).as_deref(), Ok(text));
            assert_eq!(command(text).as_deref(), Ok(text));
        }
        for text in ["${FOO}", "${FOO:-x}", "${1}", "${#instance}", "${instance%x}", "${x:-${Y}}", "${", "${instance"] {
            assert_eq!(command(text).as_deref(), Ok(text));
            assert!(strict(text).is_err(), "{text}");
        }
    }

    #[test]
    fn two_dollars_keep_the_braces() {
        for expand in [strict, command] {
            assert_eq!(expand("$${instance}").as_deref(), Ok("${instance}"));
            assert_eq!(expand("$${x}${instance}$${y}").as_deref(), Ok("${x}blue${y}"));
            assert_eq!(expand("$$${x}").as_deref(), Ok("$${x}"));
        }
    }

    #[test]
    fn unknown_names_are_refused_with_what_was_meant() {
        let bad = |text: &str| expanded(text, &variables(), true, false).unwrap_err();
        let (nth, length, wrong) = bad("${FOO} ${instanc}");
        assert_eq!((nth, length, wrong.help.as_deref()), (1, 10, Some("did you mean `${instance}`?")));
        assert!(bad("${x}").2.help.unwrap().contains("`$x` or `$${x}`"));
        let plain = Variables::new("web", "box");
        assert!(expanded("${instance}", &plain, false, false).unwrap_err().2.message.contains("no instance"));
        assert!(expanded("${user}", &plain, false, false).is_err(), "the user is not known yet");
    }

    #[test]
    fn a_script_that_has_its_own_variable_of_the_name_is_refused() {
        for script in ["host=x; echo ${host}", "for host in a b; do echo ${host}; done", "read host; echo ${host}"] {
            assert!(command(script).unwrap_err().contains("sets its own"), "{script}");
        }
        for script in ["ssh --host=${host}", "echo ${host}; ghost=1", "echo host ${host}", "hosts=1; echo ${host}"] {
            assert!(command(script).is_ok(), "{script}");
        }
        assert!(expanded("host=${host}", &variables(), true, false).is_ok(), "an argument is no script");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic_and_two_dollars_undo_each_other(text in "[a-zä${}=; _]{0,30}") {
            let _ = (strict(&text), command(&text));
            let quoted = text.replace("${", "$${");
            proptest::prop_assert_eq!(strict(&quoted), Ok(text));
        }
    }

    #[test]
    fn values_are_not_expanded_again() {
        let tricky = Variables::new("web", "${unit}");
        assert_eq!(expanded("${host}", &tricky, false, false).unwrap(), "${unit}");
    }
}

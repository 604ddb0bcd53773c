//! The key table as text for people: `rsvc explain` and rsvc.toml(5).
//!
//! The page is written by this module and checked in, so that it can be reviewed; a test compares the two. Source of
//! the macros: man(7), as every formatter knows them.

mod calls;
mod chapters;
mod landlock;
mod pods;

use super::keys::{self, Key, Kind, LimitUnit, Table};
use super::problem::Code;
use super::variables;
use calls::CALLS;
use chapters::{
    CREDENTIALS, DROP_INS, HEAD, LITERALS, NOTIFICATION, PROFILES, REPLICAS, TAIL, TEMPLATES, USERS, VALUES, VARIABLES,
};
use landlock::LANDLOCK;
use pods::{PODS, SLICES};
use std::fmt::Write;

/// What a key takes, in words.
pub fn type_words(kind: Kind) -> String {
    let quoted = |words: &[&str]| words.iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(", ");
    match kind {
        Kind::Bool => "true or false".to_owned(),
        Kind::Int { min, max } if min == max => format!("integer, {min}"),
        Kind::Int { min, max: i64::MAX } => format!("integer, at least {min}"),
        Kind::Int { min, max } => format!("integer, {min} to {max}"),
        Kind::Factor => "number, 1 to 1000".to_owned(),
        Kind::Count => "integer, at least 1, or \"infinity\"".to_owned(),
        Kind::Text | Kind::ProcessLabel | Kind::Hostname | Kind::UnitName | Kind::CpuList => "string".to_owned(),
        Kind::Texts => "array of strings".to_owned(),
        Kind::Size { .. } => "size, or \"infinity\"".to_owned(),
        Kind::FiniteSize => "size".to_owned(),
        Kind::Timeout => "duration, or \"infinity\"".to_owned(),
        Kind::Delay => "duration".to_owned(),
        Kind::Mode => "file mode".to_owned(),
        Kind::Signal => "signal".to_owned(),
        Kind::Word { words, .. } => quoted(words),
        Kind::Argv => "array of strings, or a string".to_owned(),
        Kind::Commands => "array of commands".to_owned(),
        Kind::Account => "name or number".to_owned(),
        Kind::Accounts => "array of names or numbers".to_owned(),
        Kind::Path => "absolute path".to_owned(),
        Kind::Paths | Kind::PlainPaths => "array of absolute paths".to_owned(),
        Kind::VariableNames => "array of names of variables".to_owned(),
        Kind::Units => "array of unit names".to_owned(),
        Kind::Variables | Kind::JournalFields | Kind::CredentialTexts => "table of strings".to_owned(),
        Kind::CredentialPaths => "table of absolute paths".to_owned(),
        Kind::Statuses => "array of integers and signals".to_owned(),
        Kind::Addresses => "array of addresses".to_owned(),
        Kind::SocketAddress => "address".to_owned(),
        Kind::Calendar => "times".to_owned(),
        Kind::DirectoryNames => "array of relative names".to_owned(),
        Kind::Conditions => "table of strings or arrays".to_owned(),
        Kind::Devices | Kind::Mappings | Kind::IoMax => "array of tables".to_owned(),
        Kind::Namespace => "\"private\", \"host\" or \"path:FILE\"".to_owned(),
        Kind::UserNamespace => "\"host\", \"identity\", \"auto\", \"mapped\" or \"path:FILE\"".to_owned(),
        Kind::Network => "\"host\", \"loopback\" or \"path:FILE\"".to_owned(),
        Kind::Peers => "array of addresses and prefixes".to_owned(),
        Kind::Families => "array of address families".to_owned(),
        Kind::Ports => "array of ports".to_owned(),
        Kind::Capabilities => "array of capabilities".to_owned(),
        Kind::Syscalls => "array of system calls and groups".to_owned(),
        Kind::Architectures => "array of \"native\", \"x86\", \"x32\"".to_owned(),
        Kind::Errno => "errno".to_owned(),
        Kind::Upper => "\"ephemeral\", \"persistent\" or an absolute path".to_owned(),
        Kind::NamespaceKinds => "true, false or an array of kinds".to_owned(),
        Kind::Keys => "array of dotted keys".to_owned(),
        Kind::CpuShare => "string, or a table".to_owned(),
        Kind::HugePages => "table of sizes".to_owned(),
        Kind::Limit(LimitUnit::Bytes) => "\"soft:hard\" in bytes, or one value".to_owned(),
        Kind::Limit(LimitUnit::Number) => "\"soft:hard\", or one value".to_owned(),
        Kind::Limit(LimitUnit::Seconds) => "\"soft:hard\" in seconds, or one value".to_owned(),
        Kind::Limit(LimitUnit::Microseconds) => "\"soft:hard\" in microseconds, or one value".to_owned(),
        Kind::Table => "table".to_owned(),
        Kind::Later(words) => words.to_owned(),
    }
}

fn default_words(key: &Key) -> Option<String> {
    match (key.default, key.default_note) {
        (_, Some(note)) => Some(note.to_owned()),
        (Some(_), None) if key.kind == Kind::Table => None,
        (Some(toml), None) => Some(toml.to_owned()),
        (None, None) => Some("unset".to_owned()),
    }
}

/// Words of the key that are refused as not supported yet.
fn later_words(key: &Key) -> &'static [&'static str] {
    match key.kind {
        Kind::Word { later, .. } => later,
        _ => &[],
    }
}

/// What `rsvc explain KEY` prints, for a key, a table, or a name that several tables have; `None`: no such key.
pub fn explain(name: &str) -> Option<String> {
    if let Some((table, key)) = keys::find(name) {
        return Some(explain_key(table, key));
    }
    if let Some(table) = keys::table(name).filter(|t| !t.name.is_empty()) {
        return Some(explain_table(table));
    }
    let same: Vec<_> = keys::all().filter(|(_, k)| k.name == name).collect();
    let found = match same.is_empty() {
        true => keys::by_systemd_name(name).into_iter().collect(),
        false => same,
    };
    let texts: Vec<String> = found.into_iter().map(|(t, k)| explain_key(t, k)).collect();
    (!texts.is_empty()).then(|| texts.join("\n"))
}

fn explain_key(table: &Table, key: &Key) -> String {
    let mut text = format!("{}\n\n", table.dotted(key));
    let paragraph = fill(key.doc, 76);
    for line in paragraph.lines() {
        let _ = writeln!(text, "    {line}");
    }
    text.push('\n');
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<9}{value}");
    };
    row("type", &type_words(key.kind));
    if let Some(default) = default_words(key) {
        row("default", &default);
    }
    for profile in [super::Profile::Strict, super::Profile::Login, super::Profile::Host] {
        let value = super::profile::values(profile).find(|(t, k, _)| (*t, *k) == (table.name, key.name));
        if let Some((_, _, toml)) = value {
            row(profile.as_str(), toml);
        }
    }
    if !key.systemd.is_empty() {
        row("systemd", &key.systemd.join(", "));
    }
    row("since", key.since);
    if !key.supported {
        row("status", "not supported yet");
    }
    if !later_words(key).is_empty() {
        row("later", &later_words(key).join(", "));
    }
    text
}

fn explain_table(table: &Table) -> String {
    let mut text = format!("{}\n\n", table.header());
    for line in fill(table.doc, 76).lines() {
        let _ = writeln!(text, "    {line}");
    }
    text.push('\n');
    for key in table.keys {
        let status = if key.supported { "" } else { " (not supported yet)" };
        let _ = writeln!(text, "  {:<22}{}{status}", key.name, type_words(key.kind));
    }
    text
}

/// Breaks text into lines of at most `width` characters.
fn fill(text: &str, width: usize) -> String {
    let mut filled = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            filled.push('\n');
            column = 0;
        } else if column > 0 {
            filled.push(' ');
            column += 1;
        }
        filled.push_str(word);
        column += length;
    }
    filled
}

/// Text safe for roff: backslashes, hyphens and what a line must not start with.
fn escape(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    match escaped.starts_with(['.', '\'']) {
        true => format!("\\&{escaped}"),
        false => escaped,
    }
}

/// Escapes prose; what stands in backquotes becomes bold.
fn prose(text: &str) -> String {
    let mut page = String::new();
    for (n, part) in text.split('`').enumerate() {
        match n % 2 {
            0 => page.push_str(&escape_inside(part)),
            _ => {
                let _ = write!(page, "\\fB{}\\fR", escape_inside(part));
            }
        }
    }
    // A new line for each sentence, as roff wants it: the space after it is the formatter's business.
    let page = page.replace(". ", ".\n").replace("\\&", "");
    page.lines()
        .map(|l| if l.starts_with(['.', '\'']) { format!("\\&{l}") } else { l.to_owned() })
        .collect::<Vec<_>>()
        .join("\n")
}

fn escape_inside(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

/// The manual page rsvc.toml(5), in roff.
pub fn manual() -> String {
    let mut page = String::new();
    page.push_str(".\\\" Made from the key table in src/unit/keys; do not edit.\n");
    let _ = writeln!(page, ".TH RSVC.TOML 5 \"2026-11-21\" \"rsvc {}\" \"File Formats\"", env!("CARGO_PKG_VERSION"));
    page.push_str(HEAD);
    page.push_str(DROP_INS);
    page.push_str(TEMPLATES);
    page.push_str(REPLICAS);
    page.push_str(PODS);
    page.push_str(SLICES);
    page.push_str(VARIABLES);
    for (name, meaning) in variables::NAMES {
        let _ = writeln!(page, ".TP\n.B ${{{name}}}\n{}.", escape(meaning));
    }
    page.push_str(LITERALS);
    page.push_str(".SH KEYS\n");
    for table in keys::TABLES {
        manual_table(&mut page, table);
    }
    page.push_str(CALLS);
    page.push_str(PROFILES);
    page.push_str(LANDLOCK);
    page.push_str(VALUES);
    page.push_str(USERS);
    page.push_str(CREDENTIALS);
    page.push_str(NOTIFICATION);
    page.push_str(".SH DIAGNOSTICS\n");
    page.push_str(
        "Problems of a unit are shown all at once, with a stable code.\nCodes that begin with W are warnings.\n",
    );
    for code in Code::ALL {
        let _ = writeln!(page, ".TP\n.B {code}\n{}.", escape(code.meaning()));
    }
    page.push_str(TAIL);
    short_lines(&page)
}

/// Breaks long lines of text, as roff sources have short ones; requests and examples stay as they are.
fn short_lines(page: &str) -> String {
    let mut short = String::with_capacity(page.len());
    let mut example = false;
    for line in page.lines() {
        example = line == ".EX" || example && line != ".EE";
        if example || line.starts_with('.') {
            short.push_str(line);
        } else {
            let filled = fill(line, 76);
            let safe = |l: &str| if l.starts_with(['.', '\'']) { format!("\\&{l}") } else { l.to_owned() };
            short.push_str(&filled.lines().map(safe).collect::<Vec<_>>().join("\n"));
        }
        short.push('\n');
    }
    short
}

fn manual_table(page: &mut String, table: &Table) {
    let title = if table.name.is_empty() { "Top of the file".to_owned() } else { table.header() };
    let _ = writeln!(page, ".SS {}", escape(&title));
    let _ = writeln!(page, "{}", prose(table.doc));
    for key in table.keys {
        let _ = writeln!(page, ".TP\n.B {}", escape(key.name));
        let _ = writeln!(page, "{}", prose(key.doc));
        if !key.supported {
            page.push_str("Not supported yet: a unit that sets it is refused.\n");
        }
        let later = later_words(key);
        if !later.is_empty() {
            let words: Vec<String> = later.iter().map(|w| format!("\"{w}\"")).collect();
            let _ = writeln!(page, "Not supported yet: {}.", escape(&words.join(", ")));
        }
        page.push_str(".br\n");
        let _ = write!(page, "Type: {}", escape(&type_words(key.kind)));
        if let Some(default) = default_words(key) {
            let words = if default == "required" { "Required".to_owned() } else { format!("Default: {default}") };
            let _ = write!(page, ". {}", escape(&words));
        }
        let _ = write!(page, ". Since: {}", key.since);
        if !key.systemd.is_empty() {
            let _ = write!(page, ". systemd: {}", escape(&key.systemd.join(", ")));
        }
        page.push_str(".\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_explained_with_its_type_and_the_page_has_it() {
        let page = manual();
        for (table, key) in keys::all() {
            let text = explain(&table.dotted(key)).expect("every key is found by its dotted name");
            assert!(text.contains(&type_words(key.kind)), "{text}");
            assert!(page.contains(&format!(".B {}", escape(key.name))), "{}", key.name);
        }
    }

    #[test]
    fn explain_finds_tables_bare_names_and_systemds_names() {
        assert!(explain("filesystem").unwrap().contains("protect_system"));
        assert!(explain("protect_system").unwrap().starts_with("filesystem.protect_system"));
        assert!(explain("ProtectSystem").unwrap().starts_with("filesystem.protect_system"));
        assert!(explain("listen").unwrap().contains("health.listen"));
        assert!(explain("LoadCredential").unwrap().starts_with("credentials.load"));
        assert!(explain("network.veth").unwrap().contains("not supported yet"));
        assert!(explain("filesystem.protect_system").unwrap().contains("strict   \"strict\""));
        assert_eq!(explain("no.such"), None);
        assert_eq!(explain(""), None);
    }

    #[test]
    fn long_text_is_filled_without_losing_a_word() {
        let filled = fill("one two three four", 9);
        assert_eq!(filled, "one two\nthree\nfour");
    }
}

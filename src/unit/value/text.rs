//! Paths, accounts, names, modes and command lines.

use super::Bad;
use crate::unit::Account;
use crate::unit::problem::Code;
use std::path::PathBuf;

/// Reads an absolute path and normalises it: no `.`, no doubled or trailing `/`. `..` is refused, as it could lead
/// out of whatever the path was checked against.
///
/// # Errors
/// [`Code::BadPath`], [`Code::BadText`].
pub fn absolute_path(text: &str) -> Result<PathBuf, Bad> {
    let bad = |why: &str| Bad::new(Code::BadPath, format!("`{}` {why}", text.escape_debug()));
    if text.is_empty() {
        return Err(Bad::new(Code::BadPath, "the path is empty"));
    }
    if text.contains(['\0', '\n']) {
        return Err(Bad::new(
            Code::BadText,
            format!("the path `{}` contains a NUL or a line break", text.escape_debug()),
        ));
    }
    if !text.starts_with('/') {
        return Err(bad("is not an absolute path").help("start it with `/`"));
    }
    if text.len() > 4095 {
        return Err(Bad::new(Code::BadPath, "the path is longer than 4095 bytes"));
    }
    let mut path = PathBuf::from("/");
    for part in text.split('/').filter(|p| !p.is_empty() && *p != ".") {
        match part {
            ".." => return Err(bad("contains `..`").help("write the path that is meant")),
            _ if part.len() > 255 => return Err(bad("has a part longer than 255 bytes")),
            _ => path.push(part),
        }
    }
    Ok(path)
}

/// Reads the name of a directory below `/run`, `/var/lib` and so on: relative, without `..`.
///
/// # Errors
/// [`Code::BadDirectoryName`].
pub fn directory_name(text: &str) -> Result<PathBuf, Bad> {
    let bad = |why: &str| Bad::new(Code::BadDirectoryName, format!("`{}` {why}", text.escape_debug()));
    if text.starts_with('/') {
        let name = text.rsplit('/').find(|p| !p.is_empty()).unwrap_or("name");
        return Err(bad("is not a relative name").help(format!("write \"{name}\": the key says where it lives")));
    }
    if text.contains(['\0', '\n', ':']) {
        return Err(bad("contains a NUL, a line break or a colon"));
    }
    let mut name = PathBuf::new();
    for part in text.split('/') {
        match part {
            "" | "." | ".." => return Err(bad("is not a plain name such as `nginx` or `nginx/cache`")),
            _ if part.len() > 255 => return Err(bad("has a part longer than 255 bytes")),
            _ => name.push(part),
        }
    }
    Ok(name)
}

/// Reads the name of a user or group, or its number. Strict, as a name that is read loosely has been root more than
/// once elsewhere: a number has digits only, no leading zero, and is at most 2^32-2 (the last means "no change" to
/// the kernel).
///
/// # Errors
/// [`Code::BadAccount`].
pub fn account(text: &str) -> Result<Account, Bad> {
    let bad = |why: &str| Bad::new(Code::BadAccount, format!("`{}` {why}", text.escape_debug()));
    if text.is_empty() {
        return Err(Bad::new(Code::BadAccount, "the name of the account is empty"));
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        if text.len() > 1 && text.starts_with('0') {
            return Err(bad("is not an account: numbers have no leading zero"));
        }
        return match text.parse::<u32>() {
            Ok(id) if id < u32::MAX => Ok(Account::Id(id)),
            _ => Err(bad("is not an account: numbers end at 4294967294")),
        };
    }
    let body = text.strip_suffix('$').unwrap_or(text);
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let other = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if text.len() > 32 {
        return Err(bad("is longer than the 32 characters of an account name"));
    }
    if !body.starts_with(first) || !body.chars().all(other) {
        return Err(bad("is not the name of an account")
            .help("letters, digits, `_`, `-` and `.`, the first a letter or `_`; or a number"));
    }
    Ok(Account::Name(text.to_owned()))
}

/// The name or number as text.
pub fn print_account(account: &Account) -> String {
    match account {
        Account::Id(id) => id.to_string(),
        Account::Name(name) => name.clone(),
        Account::Auto => "auto".to_owned(),
    }
}

/// Reads permission bits: `0750`, `750`, `2755`; always octal.
///
/// # Errors
/// [`Code::BadMode`].
pub fn file_mode(text: &str) -> Result<u32, Bad> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let octal = !digits.is_empty() && digits.len() <= 5 && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if octal && mode <= 0o7777 => Ok(mode),
        _ => Err(Bad::new(Code::BadMode, format!("`{}` is not a file mode", text.escape_debug()))
            .help("write octal digits as text, such as \"0750\"")),
    }
}

/// `0750`.
pub fn print_mode(mode: u32) -> String {
    format!("{mode:04o}")
}

/// Checks the name of an environment variable.
///
/// # Errors
/// [`Code::BadVariable`], also for variables that rsvc itself sets.
pub fn environment_name(text: &str) -> Result<(), Bad> {
    let bad = |why: &str| Bad::new(Code::BadVariable, format!("`{}` {why}", text.escape_debug()));
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    if !text.starts_with(first) || !text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(bad("is not a name for an environment variable").help("letters, digits and `_`, no digit first"));
    }
    const OURS: [&str; 10] = [
        "NOTIFY_SOCKET",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "MAINPID",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "FDSTORE",
    ];
    if OURS.contains(&text) {
        return Err(bad("is set by rsvc and cannot be set by a unit"));
    }
    Ok(())
}

/// Checks the name of a field of the journal: capital letters, digits and `_`, at most 64, no digit and no `_` first
/// (those are the journal's own), and none that rsvc sets.
///
/// # Errors
/// [`Code::BadVariable`]
pub fn journal_field(text: &str) -> Result<(), Bad> {
    let bad = |why: &str| Bad::new(Code::BadVariable, format!("`{}` {why}", text.escape_debug()));
    let fits = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    if !text.starts_with(|c: char| c.is_ascii_uppercase()) || !text.chars().all(fits) || text.len() > 64 {
        let help = "capital letters, digits and `_`, a letter first, at most 64 characters";
        return Err(bad("is not a name for a field of the journal").help(help));
    }
    if ["MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER"].contains(&text) || text.starts_with("RSVC_") {
        return Err(bad("is set by rsvc and cannot be set by a unit"));
    }
    Ok(())
}

/// Checks the name of a credential, which is a file name.
///
/// # Errors
/// [`Code::BadCredential`]
pub fn credential_name(text: &str) -> Result<(), Bad> {
    let bad = |why: &str| Bad::new(Code::BadCredential, format!("`{}` {why}", text.escape_debug()));
    if matches!(text, "" | "." | "..") || text.contains('/') {
        return Err(bad("is not a file name, which the name of a credential is").help("write a name such as `tls.key`"));
    }
    if text.chars().any(char::is_control) {
        return Err(bad("contains a control character"));
    }
    if text.len() > 255 {
        return Err(bad("is longer than 255 bytes"));
    }
    Ok(())
}

/// Checks the name of a unit (a target, a slice), which is also a file name and the name of a control group. An instance
/// of a template is `TEMPLATE@INSTANCE`, both parts made of the same characters.
///
/// # Errors
/// [`Code::BadName`], also for a template, which is no unit.
pub fn unit_name(text: &str) -> Result<(), Bad> {
    let bad = |why: &str| Bad::new(Code::BadName, format!("`{}` {why}", text.escape_debug()));
    if let Some(stem) = [".toml", ".service", ".target", ".socket", ".slice"].iter().find_map(|s| text.strip_suffix(s))
    {
        return Err(bad("is not the name of a unit").help(format!("names have no suffix: write \"{stem}\"")));
    }
    if let Some(template) = text.strip_suffix('@').filter(|template| !template.is_empty() && !template.contains('@')) {
        return Err(bad("is a template and no unit").help(format!("name an instance, such as \"{template}@one\"")));
    }
    if text.is_empty() || text.len() > 200 {
        return Err(bad("is not the name of a unit: it has 1 to 200 characters"));
    }
    if text == "service" {
        return Err(bad("cannot be the name of a unit: service.d has the drop-ins of all units"));
    }
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let other = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '+');
    let good = |part: &str| part.starts_with(first) && part.chars().all(other);
    if !text.split('@').all(good) || text.matches('@').count() > 1 {
        let help = match text.split_once('@') {
            Some((_, instance)) if !good(instance) => {
                "an instance is named with letters, digits, `_`, `-`, `.`, `:` and `+`, no sign first; a path cannot be one"
            }
            _ => "letters, digits, `_`, `-`, `.`, `:` and `+`, no sign first",
        };
        return Err(bad("is not the name of a unit").help(help));
    }
    if reserved_name(text) {
        return Err(bad("is the name of a file in every control group and cannot be the name of a unit"));
    }
    Ok(())
}

/// Would a control group of this name collide with an interface file of its parent?
pub fn reserved_name(name: &str) -> bool {
    const FILES: [&str; 3] = ["tasks", "notify_on_release", "release_agent"];
    const PREFIXES: [&str; 17] = [
        "blkio.",
        "cgroup.",
        "cpu.",
        "cpuacct.",
        "cpuset.",
        "devices.",
        "dmem.",
        "freezer.",
        "hugetlb.",
        "io.",
        "irq.",
        "memory.",
        "misc.",
        "net_cls.",
        "net_prio.",
        "pids.",
        "rdma.",
    ];
    FILES.contains(&name) || PREFIXES.iter().any(|p| name.starts_with(p))
}

/// Splits a command line as a shell would, without a shell: blanks separate, quotes and backslashes join. Nothing is
/// expanded; what only a shell could do is refused.
///
/// # Errors
/// [`Code::BadCommand`].
pub fn command_line(text: &str) -> Result<Vec<String>, Bad> {
    let bad = |why: &str| Bad::new(Code::BadCommand, format!("the command line {why}"));
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err(bad("has a `'` without its end")),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next() {
                        Some('"') => break,
                        // As in sh(1): inside double quotes the backslash escapes only what is special there.
                        Some('\\') => match rest.next() {
                            Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                            Some(c) => word.extend(['\\', c]),
                            None => return Err(bad("ends in the middle of a quotation")),
                        },
                        Some(c) => word.push(c),
                        None => return Err(bad("has a `\"` without its end")),
                    }
                }
            }
            '\\' => match rest.next() {
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err(bad("ends with a backslash")),
            },
            '|' | '&' | ';' | '<' | '>' | '(' | ')' | '`' => {
                return Err(bad(&format!("contains `{c}`, which needs a shell"))
                    .help("quote it, or write [\"/bin/sh\", \"-c\", \"...\"] if a shell is meant"));
            }
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if words.is_empty() { Err(bad("is empty")) } else { Ok(words) }
}

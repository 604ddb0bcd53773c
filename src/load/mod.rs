//! Finds and reads unit files: search path, masks, boot set, and the refusals of files that must not be trusted.
//!
//! Shared by the daemon (strict: root-owned files only) and the client (`check`, `show`, `enable` need no daemon).
//! A unit is the first `NAME.toml` of the search path; a bad one hides those behind it, as an administrator who broke
//! a file does not want another one started in its place. What a unit says is [`crate::unit`]'s business; only names,
//! files and links are looked at here. Nothing is remembered between calls.
#![forbid(unsafe_code)]

mod boot;
mod read;

pub use boot::{BootSetError, Change, disable, enable, enabled_units, is_enabled};

use crate::unit::{Code, Problem, Unit, value};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where units of the system live, the first wins.
pub const SYSTEM_UNIT_PATH: [&str; 3] = ["/etc/rsvc/units", "/run/rsvc/units", "/usr/lib/rsvc/units"];

/// Whose files are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Only what root alone can change: file, directory, and every directory on the way there. For the system daemon.
    RootOnly,
    /// Any readable file: `check`, `run`, an instance of an ordinary user.
    Any,
}

/// A unit file as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Name of the unit: that of the file behind an alias.
    pub name: String,
    /// The file in the search path; an alias or another link is not followed in this name.
    pub file: PathBuf,
    /// Its content, at most 1 MiB.
    pub bytes: Vec<u8>,
}

/// What the search path has under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// A unit.
    Found(Found),
    /// A link to `/dev/null` hides the unit.
    Masked {
        /// The link.
        file: PathBuf,
    },
    /// Nothing.
    NotFound,
}

/// Looks for the unit `name`.
///
/// # Errors
/// The problem of the first file of that name: not a regular file ([`Code::NotAFile`]: a directory, a FIFO, links in a
/// loop), larger than 1 MiB ([`Code::TooBig`]), not to be trusted ([`Code::Untrusted`]), unreadable
/// ([`Code::Unreadable`]); a drop-in directory or a template ([`Code::DropIn`]), a bad name ([`Code::BadUnitName`]).
pub fn find(paths: &[PathBuf], name: &str, trust: Trust) -> Result<Lookup, Box<Problem>> {
    if let Err(bad) = value::unit_name(name) {
        let code = if bad.code == Code::NotSupported { Code::DropIn } else { Code::BadUnitName };
        let mut problem = Problem::of_file(code, name, bad.message);
        problem.help = bad.help;
        return Err(Box::new(problem));
    }
    for directory in paths {
        for drop_in in [format!("{name}.d"), format!("{name}.toml.d")] {
            let drop_in = directory.join(drop_in);
            if drop_in.is_dir() {
                let message = "drop-in directories are not supported yet, and settings in one must not be passed over";
                let problem = Problem::of_file(Code::DropIn, &drop_in.to_string_lossy(), message);
                return Err(Box::new(problem.help("move its settings into the unit and remove the directory")));
            }
        }
    }
    for directory in paths {
        let file = directory.join(format!("{name}.toml"));
        match read::read(&file, trust)? {
            read::Content::Missing => {}
            read::Content::Null => return Ok(Lookup::Masked { file }),
            read::Content::Bytes(bytes) => {
                let name = alias_of(&file).unwrap_or_else(|| name.to_owned());
                return Ok(Lookup::Found(Found { name, file, bytes }));
            }
        }
    }
    Ok(Lookup::NotFound)
}

/// Reads a unit file that is named by its path: `rsvc check ./web.toml`.
///
/// # Errors
/// As [`find`]; also when there is no such file.
pub fn read_file(file: &Path) -> Result<Found, Box<Problem>> {
    let shown = file.to_string_lossy();
    let name = match file.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".toml")) {
        Some(name) => name.to_owned(),
        None => {
            let message = "the name of a unit file is NAME.toml, in UTF-8";
            return Err(Box::new(Problem::of_file(Code::BadUnitName, &shown, message)));
        }
    };
    match read::read(file, Trust::Any)? {
        read::Content::Bytes(bytes) => Ok(Found { name, file: file.to_path_buf(), bytes }),
        read::Content::Null => {
            Err(Box::new(Problem::of_file(Code::NotAFile, &shown, "the unit is masked: a link to /dev/null")))
        }
        read::Content::Missing => Err(Box::new(Problem::of_file(Code::Unreadable, &shown, "there is no such file"))),
    }
}

/// Names of all units in the search path, sorted; aliases are left out, masked and broken units are not.
pub fn list(paths: &[PathBuf]) -> Vec<String> {
    let mut names = BTreeSet::new();
    for directory in paths {
        // A directory that is not there has no units.
        let Ok(entries) = fs::read_dir(directory) else { continue };
        for entry in entries.flatten() {
            let file_name = entry.file_name();
            let Some(name) = file_name.to_str().and_then(|n| n.strip_suffix(".toml")) else { continue };
            if value::unit_name(name).is_ok() && alias_of(&entry.path()).is_none() {
                names.insert(name.to_owned());
            }
        }
    }
    names.into_iter().collect()
}

/// The unit that a link `ALIAS.toml -> .../NAME.toml` stands for.
fn alias_of(file: &Path) -> Option<String> {
    let target = fs::read_link(file).ok()?;
    let name = target.file_name()?.to_str()?.strip_suffix(".toml")?;
    let own = file.file_name()?.to_str()?.strip_suffix(".toml")?;
    (name != own && value::unit_name(name).is_ok()).then(|| name.to_owned())
}

/// The name of the unit that the alias `name` stands for; `None` when it is none.
pub fn name_behind(paths: &[PathBuf], name: &str) -> Option<String> {
    let file = paths.iter().map(|d| d.join(format!("{name}.toml"))).find(|file| file.symlink_metadata().is_ok())?;
    alias_of(&file)
}

/// Units that `unit` names and that do not exist: warnings, one for each. `text` is the unit's file.
pub fn missing_units(paths: &[PathBuf], unit: &Unit, text: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (key, names) in unit.unit.relations() {
        for name in names {
            let file = format!("{name}.toml");
            if paths.iter().any(|d| d.join(&file).symlink_metadata().is_ok()) {
                continue;
            }
            let dotted = format!("unit.{key}");
            let start = unit.origin(&dotted).place.map_or(0, |place| offset_of(text, place.line));
            let quoted = text[start..].find(&format!("\"{name}\"")).map(|n| start + n..start + n + name.len() + 2);
            let message = format!("there is no unit `{name}`");
            let mut problem =
                Problem::at(Code::MissingUnit, &unit.file, text, quoted.unwrap_or(start..start), message).key(dotted);
            if matches!(key, "requires" | "requisite" | "binds_to" | "part_of") {
                problem = problem.help("the start will be refused until it exists");
            }
            problems.push(problem);
        }
    }
    problems
}

/// Byte offset of a line, counted from 1.
fn offset_of(text: &str, line: u32) -> usize {
    let before = usize::try_from(line).unwrap_or(usize::MAX).saturating_sub(1);
    text.split_inclusive('\n').take(before).map(str::len).sum()
}

#[cfg(test)]
mod tests;

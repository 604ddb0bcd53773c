//! Drop-ins of a unit: `NAME.d/*.toml` in every directory of the search path, `TEMPLATE@.d/*.toml` for all instances of a
//! template, and `service.d/*.toml` for all units.
//!
//! ```text
//! directories   service.d  ──▶  TEMPLATE@.d  ──▶  NAME.d    more specific
//! search path   /usr/lib/rsvc/units  ──▶  /etc/rsvc/units   higher
//! ```
//!
//! All files apply in the order of their names, whatever directory they lie in, as systemd's do. Of files of one name
//! only one applies: that of the more specific directory, and among those the one higher in the search path. A link to
//! `/dev/null` in its place makes none of them apply.

use super::{Found, Survey, Trust, read};
use crate::unit::{Code, MAX_DROP_INS, Problem};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The directory of drop-ins for all units, without `.d`; no unit can have this name.
const ALL_UNITS: &str = "service";

/// A drop-in as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropIn {
    /// The file in the search path.
    pub file: PathBuf,
    /// Its content, at most 1 MiB.
    pub bytes: Vec<u8>,
}

/// Names whose drop-ins a unit has, the most specific first.
fn owners(name: &str) -> Vec<String> {
    if super::is_slice(name) {
        return vec![name.to_owned()];
    }
    let template = super::template_of(name);
    std::iter::once(name.to_owned()).chain(template).chain([ALL_UNITS.to_owned()]).collect()
}

/// What the drop-in `file` changes, by the name of its directory.
pub(super) fn owner_of(file: &Path) -> Option<String> {
    let directory = file.parent()?.file_name()?.to_str()?.strip_suffix(".d")?;
    Some(if directory == ALL_UNITS { "any, such as web".to_owned() } else { directory.to_owned() })
}

/// Adds its drop-ins to a unit, and warnings about files beside them that are not read.
///
/// # Errors
/// The problem of the first drop-in that cannot be used, as [`super::find`] refuses a unit file; also a drop-in
/// directory of the wrong name or kind.
pub(super) fn add(survey: &Survey, paths: &[PathBuf], found: &mut Found, trust: Trust) -> Result<(), Box<Problem>> {
    let mut files: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for owner in owners(&found.name) {
        wrong_directory(survey, paths, &owner)?;
        for directory in paths.iter().map(|directory| directory.join(format!("{owner}.d"))) {
            if survey.is_missing(&directory) {
                continue;
            }
            for file in listed(&directory, trust, &mut found.warnings)? {
                if let Some(name) = file.file_name() {
                    files.entry(name.to_owned()).or_insert(file);
                }
            }
        }
    }
    if files.len() > MAX_DROP_INS {
        let message = format!("the unit has {} drop-ins, more than {MAX_DROP_INS}", files.len());
        return Err(Box::new(Problem::of_file(Code::DropIn, &found.file.to_string_lossy(), message)));
    }
    for file in files.into_values() {
        match read::read(&file, trust)? {
            // Removed since the directory was read; or a mask, which has done its work.
            read::Content::Missing | read::Content::Null => {}
            read::Content::Bytes(bytes) => found.drop_ins.push(DropIn { file, bytes }),
        }
    }
    Ok(())
}

/// `web.toml.d` is nothing, and settings in it must not be passed over.
fn wrong_directory(survey: &Survey, paths: &[PathBuf], name: &str) -> Result<(), Box<Problem>> {
    for directory in paths {
        let wrong = directory.join(format!("{name}.toml.d"));
        if !survey.is_missing(&wrong) && wrong.is_dir() {
            let problem = Problem::of_file(Code::DropIn, &wrong.to_string_lossy(), "drop-ins are not read from here");
            return Err(Box::new(problem.help(format!("rename the directory to {name}.d"))));
        }
    }
    Ok(())
}

/// The drop-ins of one directory; a directory that is not there has none.
fn listed(directory: &Path, trust: Trust, warnings: &mut Vec<Problem>) -> Result<Vec<PathBuf>, Box<Problem>> {
    let refuse = |code, message: String| Box::new(Problem::of_file(code, &directory.to_string_lossy(), message));
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            let mut problem = refuse(Code::DropIn, "this is no directory of drop-ins".to_owned());
            problem.help = Some("drop-ins are the files in it that end in .toml".to_owned());
            return Err(problem);
        }
        Err(error) => return Err(refuse(Code::Unreadable, format!("cannot read the directory: {error}"))),
    };
    if trust == Trust::RootOnly {
        super::read::trusted_directory(directory).map_err(|why| refuse(Code::Untrusted, why))?;
    }
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| refuse(Code::Unreadable, format!("cannot read the directory: {error}")))?;
        let name = entry.file_name();
        let path = entry.path();
        match name.to_str() {
            Some(name) if name.ends_with(".toml") && !name.starts_with('.') => files.push(path),
            // What editors leave behind.
            Some(name) if name.starts_with('.') || name.ends_with('~') => {}
            _ => {
                let message = "this file is not read: names of drop-ins end in .toml";
                warnings.push(Problem::of_file(Code::NotRead, &path.to_string_lossy(), message));
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests;

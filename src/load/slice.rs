//! Files of slices: `NAME.slice.toml` in the search path, with the drop-ins of `NAME.slice.d`.

use super::{Found, Lookup, Survey, Trust, drop_in, read};
use crate::unit::{Code, ParseOptions, Problem, Slice, Unit, UnitText, value};
use std::path::PathBuf;

/// Ends the name of a slice's file before `.toml`, and the names of its drop-in directories before `.d`.
pub const SLICE_SUFFIX: &str = ".slice";

/// Is this the name of a slice's file, without `.toml`?
pub fn is_slice(name: &str) -> bool {
    name.ends_with(SLICE_SUFFIX)
}

/// Looks for the slice `name`, without the suffix, and its drop-ins. What is found has the name with the suffix.
///
/// # Errors
/// As [`super::find`].
pub fn find_slice(paths: &[PathBuf], name: &str, trust: Trust) -> Result<Lookup, Box<Problem>> {
    if let Err(bad) = value::unit_name(name) {
        let mut problem = Problem::of_file(Code::BadUnitName, name, bad.message);
        problem.help = bad.help;
        return Err(Box::new(problem));
    }
    for file in paths.iter().map(|directory| directory.join(format!("{name}{SLICE_SUFFIX}.toml"))) {
        match read::read(&file, trust)? {
            read::Content::Missing => {}
            read::Content::Null => return Ok(Lookup::Masked { file }),
            read::Content::Bytes(bytes) => {
                let name = format!("{name}{SLICE_SUFFIX}");
                let mut found = Found { name, file, bytes, drop_ins: Vec::new(), warnings: Vec::new() };
                drop_in::add(&Survey::default(), paths, &mut found, trust)?;
                return Ok(Lookup::Found(found));
            }
        }
    }
    Ok(Lookup::NotFound)
}

/// The slice that `unit` names, if it has no file: a warning, as the start will be refused.
pub fn missing_slice(paths: &[PathBuf], unit: &Unit, texts: &[UnitText<'_>]) -> Option<Problem> {
    let slice = unit.resources.slice.as_deref()?;
    let exists = |directory: &PathBuf| directory.join(format!("{slice}{SLICE_SUFFIX}.toml")).symlink_metadata().is_ok();
    if paths.iter().any(exists) {
        return None;
    }
    let dotted = "resources.slice";
    let message = format!("there is no slice `{slice}`");
    let problem = match super::written_at(unit, dotted, slice, texts) {
        Some((text, span)) => Problem::at(Code::MissingUnit, text.file, text.text, span, message),
        None => Problem::of_file(Code::MissingUnit, &unit.file, message),
    };
    let help = format!("the start will be refused until there is a {slice}{SLICE_SUFFIX}.toml; it may be empty");
    Some(problem.help(help).key(dotted.to_owned()))
}

impl Found {
    /// Reads what the file of a slice and its drop-ins say together.
    ///
    /// # Errors
    /// As [`Slice::parse_texts`], and [`Code::NotUtf8`] of any of the files.
    pub fn parse_slice(&self) -> Result<(Slice, Vec<Problem>), Vec<Problem>> {
        let name = self.name.strip_suffix(SLICE_SUFFIX).unwrap_or(&self.name);
        self.parse_with(|texts| Slice::parse_texts(name, texts, ParseOptions::default()))
    }
}

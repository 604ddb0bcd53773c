//! Sets of replicas: a template `NAME@.toml` that says `unit.replicas` makes `NAME` a name to start, unless there is a
//! file `NAME.toml`.

use super::{Found, Survey, Trust, drop_in, read};
use crate::unit::{Code, ParseOptions, Problem, Unit, value};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// The key, as it stands in every file that has it.
const KEY: &[u8] = b"replicas";

impl Found {
    /// Do these texts mention `replicas`? Without that they need not be parsed to know that this is no set.
    fn mentions_replicas(&self) -> bool {
        self.files().any(|(_, bytes)| bytes.windows(KEY.len()).any(|word| word == KEY))
    }

    /// An instance that stands for its template is the first replica where the template has any: what is written for
    /// numbers need not make sense for other names.
    pub fn as_replica(mut self) -> Found {
        if let (true, Some((template, _))) = (self.mentions_replicas(), self.name.split_once('@')) {
            self.name = format!("{template}@1");
        }
        self
    }
}

/// The template of the set `name`, as its first replica; `None` when there is no template of that name or it does not
/// mention replicas. Whether it has some, and how many, is for whoever parses it.
///
/// # Errors
/// As [`super::find`].
pub fn find_set(paths: &[PathBuf], name: &str, trust: Trust) -> Result<Option<Found>, Box<Problem>> {
    if name.contains('@') || value::unit_name(name).is_err() {
        return Ok(None);
    }
    for file in paths.iter().map(|directory| directory.join(format!("{name}@.toml"))) {
        match read::read(&file, trust)? {
            read::Content::Missing => {}
            read::Content::Null => return Ok(None),
            read::Content::Bytes(bytes) => {
                let name = format!("{name}@1");
                let mut found = Found { name, file, bytes, drop_ins: Vec::new(), warnings: Vec::new() };
                drop_in::add(&Survey::default(), paths, &mut found, trust)?;
                return Ok(Some(found).filter(Found::mentions_replicas));
            }
        }
    }
    Ok(None)
}

/// Is there a set of this name?
pub fn is_set(paths: &[PathBuf], name: &str) -> bool {
    let found = find_set(paths, name, Trust::Any).ok().flatten();
    let parsed = found.and_then(|found| found.parse(ParseOptions::default()).ok());
    parsed.is_some_and(|(unit, _)| unit.unit.replicas.is_some())
}

/// The warning for a template with replicas beside a unit that has the name of the set, and for that unit.
pub fn shadowed_set(paths: &[PathBuf], found: &Found, unit: &Unit) -> Option<Problem> {
    let (name, template) = match unit.name.split_once('@') {
        Some((name, _)) => (name, unit.unit.replicas.is_some()),
        None => (unit.name.as_str(), is_set(paths, &unit.name)),
    };
    let plain = paths.iter().map(|directory| directory.join(format!("{name}.toml"))).find(|file| file.exists())?;
    let message = format!("{} has the name of the set of replicas of {name}@.toml, and comes first", plain.display());
    let problem = Problem::of_file(Code::Shadowed, &found.file.display().to_string(), message);
    let help = format!("rename one of them, or start the replicas by their names: {name}@1, {name}@2");
    template.then(|| problem.key("unit.replicas").help(help))
}

/// Names of all templates in the search path without the `@`, sorted.
pub fn templates(paths: &[PathBuf]) -> Vec<String> {
    let mut names = BTreeSet::new();
    for entry in paths.iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten().flatten() {
        let file_name = entry.file_name();
        let name = file_name.to_str().and_then(|name| name.strip_suffix("@.toml"));
        names.extend(name.filter(|name| value::unit_name(name).is_ok()).map(str::to_owned));
    }
    names.into_iter().collect()
}

//! Finds and reads unit files: search path, masks, boot set, and the refusals of files that must not be trusted.
//!
//! Shared by the daemon (strict: root-owned files only) and the client (`check`, `show`, `enable` need no daemon).
//! A unit is the first `NAME.toml` of the search path, or for an instance of a template the first `TEMPLATE@.toml`, and
//! its drop-ins. A bad file hides those behind it, as an administrator who broke one does not want another one started in
//! its place. What a unit says is [`crate::unit`]'s business; only names, files and links are looked at here. Nothing is
//! remembered between calls.
#![forbid(unsafe_code)]

mod boot;
mod drop_in;
mod own_drop_in;
mod read;
mod set;
mod slice;
mod survey;

pub use boot::{BootSetError, Change, disable, enable, enabled_units, is_enabled};
pub use drop_in::DropIn;
pub use own_drop_in::OwnDropIn;
pub use set::{find_set, is_set, shadowed_set, templates};
pub use slice::{SLICE_SUFFIX, find_slice, is_slice, missing_slice};
pub use survey::Survey;

use crate::unit::problem::{Style, render_texts};
use crate::unit::{Code, ParseOptions, Problem, Unit, UnitText, text_of, value};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Where units of the system live, the first wins.
pub const SYSTEM_UNIT_PATH: [&str; 3] = ["/etc/rsvc/units", "/run/rsvc/units", "/usr/lib/rsvc/units"];

/// In the text of a unit: the host's name is needed.
const HOST: &[u8] = b"${host}";

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
    /// What changes it, in the order in which it applies.
    pub drop_ins: Vec<DropIn>,
    /// What was found beside them and is not read.
    pub warnings: Vec<Problem>,
}

impl Found {
    /// The file and its drop-ins, in the order in which they apply.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        let drop_ins = self.drop_ins.iter().map(|drop_in| (drop_in.file.as_path(), drop_in.bytes.as_slice()));
        std::iter::once((self.file.as_path(), self.bytes.as_slice())).chain(drop_ins)
    }

    /// Reads what the file and its drop-ins say together.
    ///
    /// # Errors
    /// As [`Unit::parse_texts`], and [`Code::NotUtf8`] of any of the files.
    pub fn parse(&self, options: ParseOptions<'_>) -> Result<(Unit, Vec<Problem>), Vec<Problem>> {
        let asks = self.files().any(|(_, bytes)| bytes.windows(HOST.len()).any(|word| word == HOST));
        let host = if asks { host_name() } else { None };
        let options = ParseOptions { host: options.host.or(host.as_deref()), ..options };
        self.parse_with(|texts| Unit::parse_texts(&self.name, texts, options))
    }

    /// Has the texts of all files read together; what was found beside them is among the warnings.
    fn parse_with<T>(
        &self,
        parse: impl FnOnce(&[UnitText<'_>]) -> Result<(T, Vec<Problem>), Vec<Problem>>,
    ) -> Result<(T, Vec<Problem>), Vec<Problem>> {
        let names: Vec<String> = self.files().map(|(file, _)| file.display().to_string()).collect();
        let mut texts = Vec::with_capacity(names.len());
        let mut problems = Vec::new();
        for (file, (_, bytes)) in names.iter().zip(self.files()) {
            match text_of(file, bytes) {
                Ok(text) => texts.push(UnitText { file, text }),
                Err(problem) => problems.push(*problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let (read, mut warnings) = parse(&texts)?;
        warnings.extend(self.warnings.iter().cloned());
        Ok((read, warnings))
    }

    /// Draws problems of this unit with excerpts of the files that they are in.
    pub fn draw(&self, problems: &[Problem], style: Style) -> String {
        let texts = self.texts();
        let texts: Vec<UnitText<'_>> = texts.iter().map(|(file, text)| UnitText { file, text }).collect();
        render_texts(problems, &texts, style)
    }

    /// Units that `unit`, read from this, names and that do not exist: warnings, one for each.
    pub fn missing_units(&self, paths: &[PathBuf], unit: &Unit) -> Vec<Problem> {
        let texts = self.texts();
        let texts: Vec<UnitText<'_>> = texts.iter().map(|(file, text)| UnitText { file, text }).collect();
        missing_units(paths, unit, &texts)
    }

    fn texts(&self) -> Vec<(String, Cow<'_, str>)> {
        self.files().map(|(file, bytes)| (file.display().to_string(), String::from_utf8_lossy(bytes))).collect()
    }
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

/// Looks for the unit `name` and its drop-ins.
///
/// # Errors
/// The problem of the first file of that name, or of a drop-in: not a regular file ([`Code::NotAFile`]: a directory, a
/// FIFO, links in a loop), larger than 1 MiB ([`Code::TooBig`]), not to be trusted ([`Code::Untrusted`]), unreadable
/// ([`Code::Unreadable`]); a wrong drop-in directory or a template ([`Code::DropIn`]), a bad name
/// ([`Code::BadUnitName`]).
pub fn find(paths: &[PathBuf], name: &str, trust: Trust) -> Result<Lookup, Box<Problem>> {
    find_with(&Survey::default(), paths, name, trust)
}

/// The same with what is known of the search path already.
///
/// # Errors
/// As [`find`].
pub fn find_with(survey: &Survey, paths: &[PathBuf], name: &str, trust: Trust) -> Result<Lookup, Box<Problem>> {
    if let Err(bad) = value::unit_name(name) {
        let mut problem = Problem::of_file(Code::BadUnitName, name, bad.message);
        problem.help = bad.help;
        return Err(Box::new(problem));
    }
    // An instance has a file of its own, or else that of its template.
    for file in candidates(paths, name).filter(|file| !survey.is_missing(file)) {
        match read::read_with(survey, &file, trust)? {
            read::Content::Missing => {}
            read::Content::Null => return Ok(Lookup::Masked { file }),
            read::Content::Bytes(bytes) => {
                let alias = if survey.is_no_link(&file) { None } else { alias_of(&file) };
                let name = alias.unwrap_or_else(|| name.to_owned());
                let mut found = Found { name, file, bytes, drop_ins: Vec::new(), warnings: Vec::new() };
                drop_in::add(survey, paths, &mut found, trust)?;
                return Ok(Lookup::Found(found));
            }
        }
    }
    Ok(Lookup::NotFound)
}

/// Files that can be the unit's, the first wins: its own, then its template's.
fn candidates(paths: &[PathBuf], name: &str) -> impl Iterator<Item = PathBuf> {
    let own = [name.to_owned()].into_iter().chain(template_of(name));
    own.flat_map(move |stem| paths.iter().map(move |directory| directory.join(format!("{stem}.toml"))))
}

/// `web@` of `web@blue`; `None` for a unit that is no instance.
pub fn template_of(name: &str) -> Option<String> {
    name.split_once('@').map(|(template, _)| format!("{template}@"))
}

/// An instance to look at a template with: its files can be shown and checked, but it cannot be started.
pub fn example_of(name: &str) -> Option<String> {
    name.strip_suffix('@').map(|template| format!("{template}@example"))
}

/// What `${host}` stands for. `None` where there is no /proc.
fn host_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim_end().to_owned())
}

/// Reads a unit file that is named by its path: `rsvc check ./web.toml`. A template is read as its instance `example`.
///
/// # Errors
/// As [`find`]; also when there is no such file.
pub fn read_file(file: &Path) -> Result<Found, Box<Problem>> {
    let shown = file.to_string_lossy();
    let template = file.file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| stem.ends_with('@'));
    let name = match file.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".toml")) {
        Some(name) => example_of(name).unwrap_or_else(|| name.to_owned()),
        None => {
            let message = "the name of a unit file is NAME.toml, in UTF-8";
            return Err(Box::new(Problem::of_file(Code::BadUnitName, &shown, message)));
        }
    };
    if let Some(unit) = drop_in::owner_of(file) {
        let problem = Problem::of_file(Code::DropIn, &shown, "this is a drop-in, which means nothing without its unit");
        return Err(Box::new(problem.help(format!("name the unit instead: {unit}"))));
    }
    match read::read(file, Trust::Any)? {
        read::Content::Bytes(bytes) => {
            let found = Found { name, file: file.to_path_buf(), bytes, drop_ins: Vec::new(), warnings: Vec::new() };
            Ok(if template { found.as_replica() } else { found })
        }
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
            let link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            if value::unit_name(name).is_ok() && !(link && alias_of(&entry.path()).is_some()) {
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

/// Units that `unit` names and that do not exist: warnings, one for each. `texts` are the unit's file and drop-ins.
pub fn missing_units(paths: &[PathBuf], unit: &Unit, texts: &[UnitText<'_>]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (key, names) in unit.unit.relations() {
        for name in names {
            if exists(paths, name) || is_set(paths, name) {
                continue;
            }
            let dotted = format!("unit.{key}");
            let message = format!("there is no unit `{name}`");
            let mut problem = match written_at(unit, &dotted, name, texts) {
                Some((text, span)) => Problem::at(Code::MissingUnit, text.file, text.text, span, message),
                None => Problem::of_file(Code::MissingUnit, &unit.file, message),
            };
            if matches!(key, "requires" | "requisite" | "binds_to" | "part_of") {
                problem = problem.help("the start will be refused until it exists");
            }
            problems.push(problem.key(dotted));
        }
    }
    problems.extend(missing_slice(paths, unit, texts));
    problems
}

/// Text and place of a name among the values of a key.
fn written_at<'t, 'x>(
    unit: &Unit,
    dotted: &str,
    name: &str,
    texts: &'x [UnitText<'t>],
) -> Option<(&'x UnitText<'t>, Range<usize>)> {
    let place = unit.element_place(dotted, name)?;
    let text = texts.iter().find(|text| text.file == place.file)?;
    let start = offset_of(text.text, place.line);
    let quoted = text.text[start..].find(&format!("\"{name}\""));
    Some((text, quoted.map_or(start..start, |n| start + n..start + n + name.len() + 2)))
}

/// Is there a file for the unit, or for the template that it is an instance of, whatever it is?
pub fn exists(paths: &[PathBuf], name: &str) -> bool {
    candidates(paths, name).any(|file| file.symlink_metadata().is_ok())
}

/// Byte offset of a line, counted from 1.
fn offset_of(text: &str, line: u32) -> usize {
    let before = usize::try_from(line).unwrap_or(usize::MAX).saturating_sub(1);
    text.split_inclusive('\n').take(before).map(str::len).sum()
}

#[cfg(test)]
mod tests;

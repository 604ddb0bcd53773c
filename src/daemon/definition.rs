//! A unit as it is on disk: found, read, and a unit or the reason why it is none. Needs nothing of the daemon, so that it
//! can be done ahead of it.

use crate::load::{self, Found, Lookup, Survey, Trust};
use crate::unit::problem::{self, Style};
use crate::unit::{ParseOptions, Shared, Unit};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

/// What the search path has under a name.
#[derive(Debug)]
pub(super) enum Sought {
    /// A unit's files, readable ones.
    Found(Box<Definition>),
    /// A link to the null device hides the unit.
    Masked(PathBuf),
    /// Nothing.
    Missing,
    /// A file that cannot be read or believed; in words.
    Unreadable(String),
}

impl Sought {
    /// Looks for `name`.
    pub fn of(survey: &Survey, paths: &[PathBuf], name: &str, trust: Trust) -> Sought {
        match load::find_with(survey, paths, name, trust) {
            Ok(Lookup::Found(found)) => Sought::Found(Box::new(Definition::of(found))),
            Ok(Lookup::Masked { file }) => Sought::Masked(file),
            Ok(Lookup::NotFound) => Sought::Missing,
            Err(problem) => Sought::Unreadable(problem::render(&[*problem], "", Style::default())),
        }
    }

    /// Parses what was found now, and not when it is asked for.
    pub fn parse(&mut self, shared: &mut Shared) {
        if let Sought::Found(definition) = self
            && let Content::Texts(found) = &definition.content
        {
            definition.content = Content::Read(Box::new(parse(found, shared)));
        }
    }
}

/// The files of a unit.
#[derive(Debug)]
pub(super) struct Definition {
    /// Name of the unit: that of the file behind an alias.
    pub name: String,
    /// The file in the search path.
    pub file: PathBuf,
    /// Of the texts.
    pub fingerprint: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Not parsed yet.
    Texts(Found),
    /// What the texts say, or what is wrong with them.
    Read(Box<Result<Unit, String>>),
}

impl Definition {
    /// Of files that were found.
    pub fn of(found: Found) -> Definition {
        Definition {
            name: found.name.clone(),
            file: found.file.clone(),
            fingerprint: fingerprint(&found),
            content: Content::Texts(found),
        }
    }

    /// The unit, which has its tables in common with others that went through `shared`.
    ///
    /// # Errors
    /// All that is wrong with the texts, with excerpts.
    pub fn unit(self, shared: &mut Shared) -> Result<Unit, String> {
        match self.content {
            Content::Texts(found) => parse(&found, shared),
            Content::Read(read) => *read,
        }
    }
}

fn parse(found: &Found, shared: &mut Shared) -> Result<Unit, String> {
    let (mut unit, _warnings) =
        found.parse(ParseOptions::default()).map_err(|problems| found.draw(&problems, Style::default()))?;
    unit.share(shared);
    Ok(unit)
}

/// What identifies a unit's file and drop-ins; only compared with itself, so the keyless hash is enough.
pub(super) fn fingerprint(found: &Found) -> u64 {
    let mut hasher = DefaultHasher::new();
    found.name.hash(&mut hasher);
    for (file, bytes) in found.files() {
        let file: &Path = file;
        file.hash(&mut hasher);
        bytes.hash(&mut hasher);
    }
    hasher.finish()
}

//! Commands over unit files that need no daemon: finding, cat, enable, disable, is-enabled.

use super::args::{Question, Waiting};
use super::operate::{self, Verb, expand};
use super::terminal::harmless;
use super::words::is_pattern;
use super::{Failure, Session};
use crate::load::{self, BootSetError, Change, Found, Lookup, Trust};
use crate::unit::problem::{Problem, Style, render};
use crate::unit::{ParseOptions, Unit};
use serde_json::json;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::Path;

/// Is a word of the command line a file and not a unit's name?
pub fn is_file(word: &str) -> bool {
    word.contains('/') || word.ends_with(".toml")
}

/// How standard error shows problems.
pub fn style(session: &Session<'_>) -> Style {
    Style { color: session.err_look.color, unicode: session.err_look.unicode }
}

/// A problem of a file as a whole, drawn for standard error.
fn draw(session: &Session<'_>, problem: Problem) -> String {
    render(&[problem], "", style(session))
}

/// The file of a unit; of a set of replicas that of its first one.
///
/// # Errors
/// 5 when there is none, 6 when it is masked or cannot be used.
pub fn load(session: &Session<'_>, name: &str) -> Result<Found, Failure> {
    let shown = harmless(name);
    match load::find(&session.instance.unit_path(), name, Trust::Any) {
        Ok(Lookup::Found(found)) => Ok(found),
        Ok(Lookup::Masked { file }) => Err(Failure::new(6, format!("{shown} is masked by {}", file.display()))),
        Ok(Lookup::NotFound) => match load::find_set(&session.instance.unit_path(), name, Trust::Any) {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(Failure::new(5, format!("{shown}: no such unit"))),
            Err(problem) => Err(Failure::new(6, draw(session, *problem))),
        },
        Err(problem) => Err(Failure::new(6, draw(session, *problem))),
    }
}

/// The file of a unit with its drop-ins, or a file alone.
///
/// # Errors
/// As [`load()`].
pub fn read(session: &Session<'_>, target: &str) -> Result<Found, Failure> {
    if is_file(target) {
        return load::read_file(Path::new(target)).map_err(|problem| Failure::new(6, draw(session, *problem)));
    }
    // A template can be looked at, by an instance that nobody has.
    match load::example_of(target) {
        Some(example) => load(session, &example).map(Found::as_replica),
        None => load(session, target),
    }
}

/// A file or a unit, read and valid, with its warnings.
///
/// # Errors
/// As [`load()`]; 6 with all problems when it is not valid.
pub fn parse(session: &Session<'_>, target: &str) -> Result<(Unit, Vec<Problem>, Found), Failure> {
    let found = read(session, target)?;
    match found.parse(ParseOptions::default()) {
        Ok((unit, warnings)) => Ok((unit, warnings, found)),
        Err(problems) => {
            let drawn = found.draw(&problems, style(session));
            Err(Failure::new(6, format!("{} is not valid\n{drawn}", found.file.display())))
        }
    }
}

/// The names of the command line, patterns replaced by the units that have a file.
fn names(session: &Session<'_>, words: &[String]) -> Result<Vec<String>, Failure> {
    let all =
        if words.iter().any(|word| is_pattern(word)) { load::list(&session.instance.unit_path()) } else { Vec::new() };
    expand(words, &all)
}

/// Is this the name of a set of replicas? A unit of that name comes first.
fn is_set(session: &Session<'_>, name: &str) -> bool {
    let paths = session.instance.unit_path();
    matches!(load::find(&paths, name, Trust::Any), Ok(Lookup::NotFound)) && load::is_set(&paths, name)
}

/// `cat`
pub fn cat(session: &mut Session<'_>, words: &[String]) -> Result<u8, Failure> {
    let mut text = String::new();
    for name in names(session, words)? {
        let found = read(session, &name)?;
        let terminal = session.look.is_terminal();
        for (file, bytes) in found.files() {
            if !text.is_empty() {
                text.push('\n');
            }
            text += &format!("# {}\n", file.display());
            let body = String::from_utf8_lossy(bytes).into_owned();
            text.extend(body.lines().map(|line| if terminal { harmless(line) } else { line.to_owned() } + "\n"));
        }
    }
    super::terminal::page(&text, session.look, session.no_pager, session.out)?;
    Ok(0)
}

/// `enable [--now]`
pub fn enable(session: &mut Session<'_>, words: &[String], now: bool) -> Result<u8, Failure> {
    let names = names(session, words)?;
    let paths = session.instance.unit_path();
    for name in &names {
        // A unit that cannot be started is not put into the boot set.
        if load::example_of(name).is_some() {
            load(session, name)?;
        }
        let (unit, _, _) = parse(session, name)?;
        let set = is_set(session, name);
        // A template that only mentions replicas is none.
        if !set && load::find(&paths, name, Trust::Any).is_ok_and(|lookup| lookup == Lookup::NotFound) {
            return Err(Failure::new(5, format!("{}: no such unit", harmless(name))));
        }
        let own_name = if set { name } else { &unit.name };
        let own = Path::new(&unit.file).file_stem() == Some(OsStr::new(&unit.name));
        if !unit.install.alias.is_empty() && load::template_of(&unit.name).is_some() && !own {
            let message =
                "install.alias stands in its template, and an alias names one unit: give the instance a drop-in";
            return Err(Failure::new(1, format!("{}: {message} with `alias = []`", harmless(name))));
        }
        if unit.install.wanted_by.is_empty() && unit.install.alias.is_empty() {
            return Err(Failure::new(1, format!("{}: nothing wants it: install.wanted_by is empty", harmless(name))));
        }
        let changes = load::enable(&paths, own_name, Path::new(&unit.file), &unit.install);
        told(session, name, "enabled", changes)?;
    }
    if now { operate::jobs(session, Verb::Start, &names, Waiting { no_wait: false, timeout: None }) } else { Ok(0) }
}

/// `disable [--now]`; a unit whose file is gone can be disabled as well.
pub fn disable(session: &mut Session<'_>, words: &[String], now: bool) -> Result<u8, Failure> {
    let names = names(session, words)?;
    let paths = session.instance.unit_path();
    for name in &names {
        let changed = told(session, name, "disabled", load::disable(&paths, name))?;
        let missing = matches!(load::find(&paths, name, Trust::Any), Ok(Lookup::NotFound));
        if !changed && missing && !is_set(session, name) {
            return Err(Failure::new(5, format!("{}: no such unit", harmless(name))));
        }
        if load::is_enabled(&paths, name) {
            session.say(&format!("{}: a link in a later unit directory still enables it", harmless(name)));
        }
    }
    if now { operate::jobs(session, Verb::Stop, &names, Waiting { no_wait: false, timeout: None }) } else { Ok(0) }
}

/// Says on a terminal what was changed; `true` when something was.
fn told(
    session: &mut Session<'_>,
    name: &str,
    done: &str,
    changes: Result<Vec<Change>, BootSetError>,
) -> Result<bool, Failure> {
    let changes = changes.map_err(|error| {
        let denied = matches!(&error, BootSetError::Io { error, .. } if error.kind() == ErrorKind::PermissionDenied);
        Failure::new(if denied { 4 } else { 1 }, format!("{}: {error}", harmless(name)))
    })?;
    if session.look.is_terminal() {
        let already = if changes.is_empty() { " already" } else { "" };
        writeln!(session.out, "{}:{already} {done}", harmless(name))?;
        for change in &changes {
            writeln!(session.out, "  {}", harmless(&change.to_string()))?;
        }
    }
    Ok(!changes.is_empty())
}

/// `is-enabled`: 0 when one of the units is enabled.
pub fn is_enabled(session: &mut Session<'_>, question: &Question) -> Result<u8, Failure> {
    let paths = session.instance.unit_path();
    let mut code = 4;
    for name in names(session, &question.units)? {
        let (word, own) = match load::find(&paths, &name, Trust::Any) {
            Ok(Lookup::Masked { .. }) => ("masked", 1),
            Ok(Lookup::NotFound) if !is_set(session, &name) => ("not-found", 4),
            _ if load::is_enabled(&paths, &name) => ("enabled", 0),
            _ => ("disabled", 1),
        };
        if session.json() {
            session.object(&json!({ "v": 1, "name": name, "enabled": word }))?;
        } else if !question.quiet {
            writeln!(session.out, "{word}")?;
        }
        code = code.min(own);
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_from_names() {
        for (word, file) in [("web", false), ("web@blue", false), ("web.toml", true), ("./web", true), ("/etc/x", true)]
        {
            assert_eq!(is_file(word), file, "{word}");
        }
    }
}

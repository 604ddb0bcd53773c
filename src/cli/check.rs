//! `rsvc check`: everything that can be found out about a unit file without starting it.
//!
//! Three rounds: the file itself, what it would compile to on a current host (users and devices assumed to exist), and
//! the units that it names. Needs no rights and no daemon.

use super::args::Format;
use super::terminal::harmless;
use super::units::{self, is_file};
use super::{Failure, Session};
use crate::compile::{CompileError, HostFacts, Purpose, compile};
use crate::load::{self, Found, Lookup, Trust};
use crate::unit::problem::{Problem, json_lines, render, sort};
use crate::unit::{ParseOptions, Severity, Unit};
use serde_json::json;
use std::path::{Path, PathBuf};

/// What was found out about one file.
struct Report {
    /// As it was named, for people.
    target: String,
    problems: Vec<Problem>,
    refusals: Vec<CompileError>,
    /// What was read, if it could be.
    found: Option<Found>,
}

impl Report {
    fn is_bad(&self, strict: bool) -> bool {
        let bad = |problem: &Problem| strict || problem.severity() == Severity::Error;
        !self.refusals.is_empty() || self.problems.iter().any(bad)
    }
}

/// `check`: 0 when all are good, 1 when one is not, 5 when a name has no file.
pub fn check(session: &mut Session<'_>, targets: &[String], strict: bool) -> Result<u8, Failure> {
    let mut code = 0;
    for target in targets {
        let report = match examine(session, target) {
            Ok(report) => report,
            Err(failure) => {
                session.say(&format!("rsvc: {failure}"));
                code = if code == 0 { failure.code() } else { code };
                continue;
            }
        };
        if report.is_bad(strict) && code == 0 {
            code = 1;
        }
        match session.format {
            Format::Json => {
                write!(session.out, "{}", json_lines(&report.problems))?;
                report.refusals.iter().try_for_each(|refusal| session.object(&object(refusal)))?;
            }
            Format::Github => write!(session.out, "{}", annotations(&report))?,
            _ => say(session, &report, strict)?,
        }
    }
    Ok(code)
}

fn examine(session: &Session<'_>, target: &str) -> Result<Report, Failure> {
    let mut report = Report { target: target.to_owned(), problems: Vec::new(), refusals: Vec::new(), found: None };
    let found = if is_file(target) {
        load::read_file(Path::new(target))
    } else if let Some(slice) = target.strip_suffix(load::SLICE_SUFFIX) {
        match load::find_slice(&session.instance.unit_path(), slice, Trust::Any) {
            Ok(Lookup::Found(found)) => Ok(found),
            Ok(Lookup::NotFound) => return Err(Failure::new(5, format!("{}: no such slice", harmless(target)))),
            Ok(Lookup::Masked { file }) => {
                return Err(Failure::new(6, format!("{} is masked by {}", harmless(target), file.display())));
            }
            Err(problem) => Err(problem),
        }
    } else {
        let name = load::example_of(target);
        let paths = session.instance.unit_path();
        match load::find(&paths, name.as_deref().unwrap_or(target), Trust::Any) {
            Ok(Lookup::Found(found)) if name.is_some() => Ok(found.as_replica()),
            Ok(Lookup::Found(found)) => Ok(found),
            Ok(Lookup::NotFound) => match load::find_set(&paths, target, Trust::Any) {
                Ok(Some(found)) => Ok(found),
                Ok(None) => return Err(Failure::new(5, format!("{}: no such unit", harmless(target)))),
                Err(problem) => Err(problem),
            },
            Ok(Lookup::Masked { file }) => {
                return Err(Failure::new(6, format!("{} is masked by {}", harmless(target), file.display())));
            }
            Err(problem) => Err(problem),
        }
    };
    let found = match found {
        Ok(found) => found,
        Err(problem) => {
            report.problems.push(*problem);
            return Ok(report);
        }
    };
    if load::is_slice(&found.name) {
        report.problems = found.parse_slice().map_or_else(|problems| problems, |(_, warnings)| warnings);
        report.found = Some(found);
        return Ok(report);
    }
    match found.parse(ParseOptions::default()) {
        Err(problems) => report.problems = problems,
        Ok((unit, warnings)) => {
            report.problems = warnings;
            // Units that are installed together are checked together.
            let mut paths: Vec<PathBuf> = session.instance.unit_path();
            paths.extend(found.file.parent().map(Path::to_path_buf));
            report.problems.extend(found.missing_units(&paths, &unit));
            report.problems.extend(load::shadowed_set(&paths, &found, &unit));
            sort(&mut report.problems);
            report.refusals = refusals(&unit);
        }
    }
    report.found = Some(found);
    Ok(report)
}

/// What a current host would refuse, for the main process and the commands around it.
fn refusals(unit: &Unit) -> Vec<CompileError> {
    let facts = HostFacts::assumed_for(unit);
    let service = &unit.service;
    let purposes = std::iter::once(Purpose::Main)
        .chain((0..service.exec_start_pre.len()).map(Purpose::StartPre))
        .chain((0..service.exec_start_post.len()).map(Purpose::StartPost))
        .chain((0..service.exec_reload.len()).map(Purpose::Reload))
        .chain((0..service.exec_stop.len()).map(Purpose::Stop))
        .chain((0..service.exec_stop_post.len()).map(Purpose::StopPost))
        .chain((!unit.ready.command.is_empty()).then_some(Purpose::Ready))
        .chain(unit.health.iter().filter(|health| !health.command.is_empty()).map(|_| Purpose::Health))
        .chain(unit.hooks.present().map(Purpose::Hook));
    let mut all = Vec::new();
    for error in purposes.filter_map(|purpose| compile(unit, &facts, purpose).err()).flatten() {
        if !all.contains(&error) {
            all.push(error);
        }
    }
    all
}

fn say(session: &mut Session<'_>, report: &Report, strict: bool) -> Result<(), Failure> {
    if !report.problems.is_empty() {
        let style = units::style(session);
        let text = match &report.found {
            Some(found) => found.draw(&report.problems, style),
            None => render(&report.problems, "", style),
        };
        session.say(&text);
    }
    for refusal in &report.refusals {
        let place = refusal.origin.place.as_ref();
        let place = place.map(|p| format!("\n --> {}:{}:{}", p.file, p.line, p.column)).unwrap_or_default();
        let hint = refusal.hint.as_ref().map(|hint| format!("\n  = help: {hint}")).unwrap_or_default();
        session.say(&format!(
            "error[{}]: {}{place}\n  = note: set by `{}`{hint}\n",
            refusal.step, refusal.message, refusal.origin.key
        ));
    }
    let target = harmless(&report.target);
    let warnings = report.problems.len();
    if report.is_bad(strict) {
        let errors = report.problems.iter().filter(|p| p.severity() == Severity::Error).count();
        let counts = count(errors + report.refusals.len(), "error") + &count(warnings - errors, "warning");
        session.say(&format!("{target}: not valid{counts}"));
    } else if session.look.is_terminal() {
        writeln!(session.out, "{} {target}: valid{}", session.look.dot("active"), count(warnings, "warning"))?;
    }
    Ok(())
}

fn count(number: usize, what: &str) -> String {
    match number {
        0 => String::new(),
        1 => format!(", 1 {what}"),
        n => format!(", {n} {what}s"),
    }
}

/// The same fields as a problem of the file; the code is the step's name.
fn object(refusal: &CompileError) -> serde_json::Value {
    let place = refusal.origin.place.as_ref();
    json!({
        "v": 1,
        "code": refusal.step,
        "severity": "error",
        "file": place.map(|p| p.file.clone()),
        "line": place.map(|p| p.line),
        "column": place.map(|p| p.column),
        "key": refusal.origin.key,
        "message": refusal.message,
        "help": refusal.hint,
    })
}

/// Workflow commands of GitHub: `::error file=...,line=...::message`.
fn annotations(report: &Report) -> String {
    let mut text = String::new();
    let mut add =
        |severity: &str, file: &str, line: u32, column: u32, code: &str, message: &str, help: Option<&str>| {
            let mut fields = vec![format!("file={}", escape_property(file))];
            if line > 0 {
                fields.push(format!("line={line},col={column}"));
            }
            fields.push(format!("title={}", escape_property(code)));
            let message = help.map_or(message.to_owned(), |help| format!("{message}\nhelp: {help}"));
            text += &format!("::{severity} {}::{}\n", fields.join(","), escape(&message));
        };
    for p in &report.problems {
        add(p.severity().as_str(), &p.file, p.line, p.column, p.code.as_str(), &p.message, p.help.as_deref());
    }
    for r in &report.refusals {
        let (file, line, column) = match &r.origin.place {
            Some(place) => (place.file.as_str(), place.line, place.column),
            None => (report.target.as_str(), 0, 0),
        };
        add("error", file, line, column, r.step, &r.message, r.hint.as_deref());
    }
    text
}

fn escape(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn escape_property(text: &str) -> String {
    escape(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Origin, Place};
    use crate::unit::Code;

    fn report() -> Report {
        let text = "a = 1\n";
        let place = Place { file: "web.toml".into(), line: 3, column: 2 };
        Report {
            target: "web.toml".into(),
            problems: vec![
                Problem::at(Code::UnknownKey, "web.toml", text, 0..1, "100% wrong,\nreally").help("none"),
                Problem::of_file(Code::MissingUnit, "a,b:c", "missing"),
            ],
            refusals: vec![CompileError {
                origin: Origin { key: "service.user".into(), place: Some(place) },
                step: "USER",
                code: 217,
                message: "no such user".into(),
                hint: None,
            }],
            found: None,
        }
    }

    #[test]
    fn annotations_escape_what_would_end_them() {
        let expected = "\
::error file=web.toml,line=1,col=1,title=E0102::100%25 wrong,%0Areally%0Ahelp: none
::warning file=a%2Cb%3Ac,title=W0308::missing
::error file=web.toml,line=3,col=2,title=USER::no such user
";
        assert_eq!(annotations(&report()), expected);
    }

    #[test]
    fn a_refusal_has_the_fields_of_a_problem() {
        let problem: serde_json::Value =
            serde_json::from_str(json_lines(&report().problems).lines().next().unwrap()).unwrap();
        let refusal = object(&report().refusals[0]);
        let keys = |value: &serde_json::Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
        assert_eq!(keys(&problem), keys(&refusal));
        assert_eq!(refusal["line"], 3);
    }

    #[test]
    fn warnings_count_only_when_they_are_asked_to() {
        let mut report = report();
        assert!(report.is_bad(false));
        report.refusals.clear();
        report.problems.remove(0);
        assert!(!report.is_bad(false));
        assert!(report.is_bad(true));
    }
}

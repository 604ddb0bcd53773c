//! `rsvc logs`: the output of units, wherever it is. No daemon is needed, only the caller's right to read.
//!
//! With a journal this becomes journalctl(1); without one, the daemon's files are read, newest lines from the end of
//! the file, so that the last ten lines of a large log cost nothing. Where a unit's output is, the daemon says; when
//! none answers, a log file that exists decides.

mod file;
mod filter;
mod journal;
mod runs;

use super::args::Format;
use super::client::Client;
use super::terminal::{self, harmless};
use super::time;
use super::words::parse_time_span;
use super::{Failure, Instance, Session};
use crate::control::{LogPlace, UnitStatus};
use file::LogFiles;
use filter::Filter;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// Pause between two looks at a file that is followed.
const PAUSE: Duration = Duration::from_millis(200);

/// Lines shown before following, unless told.
const BEFORE_FOLLOWING: u32 = 10;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Names.
    pub units: Vec<String>,
    /// Go on as more is written.
    pub follow: bool,
    /// The last so many only.
    pub lines: Option<u32>,
    /// From when to when.
    pub span: Span,
    /// Only lines that contain this.
    pub grep: Option<String>,
    /// Only this priority and more urgent ones.
    pub priority: Option<u8>,
}

/// A time, as it was written.
#[derive(Clone, Debug, Default)]
pub struct Span {
    /// From this time on.
    pub since: Option<String>,
    /// Up to this time.
    pub until: Option<String>,
    /// Of one run of the unit.
    pub invocation: Option<String>,
}

/// Where the output of one unit is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    /// In the journal, under this identifier.
    Journal(String),
    /// In this file and its rotated predecessors.
    File(PathBuf),
}

/// `logs`
pub fn logs(session: &mut Session<'_>, wish: &Wish) -> Result<u8, Failure> {
    let units = with_replicas(session, super::operate::names(session, &wish.units)?);
    let filter = filter(session, wish, &units)?;
    let mut sources = Vec::new();
    for unit in &units {
        sources.push((unit.clone(), source(&session.instance, unit)?));
    }
    let identifiers: Vec<String> = sources
        .iter()
        .filter_map(|(_, source)| match source {
            Source::Journal(identifier) => Some(identifier.clone()),
            Source::File(_) => None,
        })
        .collect();
    let files: Vec<(String, LogFiles)> = sources
        .into_iter()
        .filter_map(|(unit, source)| match source {
            Source::File(path) => Some((unit, LogFiles::new(path))),
            Source::Journal(_) => None,
        })
        .collect();
    if !identifiers.is_empty() && !files.is_empty() && wish.follow {
        return Err(Failure::new(2, "some of these units log to the journal and some to files: follow them apart"));
    }
    // As grep(1) and journalctl(1): nothing found is 1.
    let mut code = u8::from(filter.grep.is_some());
    if !files.is_empty() && show_files(session, wish, &filter, files)? {
        code = 0;
    }
    if identifiers.is_empty() {
        return Ok(code);
    }
    session.out.flush()?;
    journal::show(session, &identifiers, wish.lines, wish.follow, &filter)
}

/// A set has no output but that of its replicas.
fn with_replicas(session: &Session<'_>, units: Vec<String>) -> Vec<String> {
    let members = |unit: &String| {
        let status = Client::connect_now(&session.instance.socket()).ok()?.status(unit).ok()?.ok()?;
        Some(status.replicas?.members.into_iter().map(|member| member.name).collect())
    };
    let mut all: Vec<String> = Vec::new();
    for unit in units {
        let names = members(&unit).unwrap_or_else(|| vec![unit]);
        names.into_iter().for_each(|name| {
            if !all.contains(&name) {
                all.push(name)
            }
        });
    }
    all
}

/// What of the output is wanted.
fn filter(session: &Session<'_>, wish: &Wish, units: &[String]) -> Result<Filter, Failure> {
    let at = |text: &Option<String>| text.as_deref().map(|text| parse_since(text, session.now)).transpose();
    let (since, until) = match &wish.span.invocation {
        None => (at(&wish.span.since)?, at(&wish.span.until)?),
        Some(wanted) => {
            let [unit] = units else {
                return Err(Failure::new(2, "`--invocation` is for one unit at a time"));
            };
            let (since, until) = runs::span(&session.instance, unit, wanted)?;
            if wish.follow && until.is_some() {
                return Err(Failure::new(2, "that run is over, there is nothing to follow"));
            }
            (Some(since), until)
        }
    };
    Ok(Filter { since, until, grep: wish.grep.clone(), priority: wish.priority })
}

/// The last lines of a unit's output for its status page; what cannot be read is left out.
pub fn last_lines(instance: &Instance, unit: &UnitStatus, count: u32) -> Vec<String> {
    let Some(place) = unit.log.as_ref().filter(|_| count > 0) else { return Vec::new() };
    match of_place(instance, &unit.name, place) {
        Some(Source::Journal(identifier)) => journal::last_lines(&identifier, count, &Filter::default()),
        Some(Source::File(path)) => {
            let mut lines = Vec::new();
            let collected = LogFiles::new(path).read(Some(count), None, &mut |line| {
                lines.push(String::from_utf8_lossy(line).into_owned());
                Ok(())
            });
            if collected.is_err() { Vec::new() } else { lines }
        }
        None => Vec::new(),
    }
}

/// What a unit wrote to the journal during this command, for the message of its failed start. (What it wrote to a file is part
/// of the daemon's answer.)
pub fn lines_of_failure(session: &Session<'_>, unit: &str) -> Vec<String> {
    const COUNT: u32 = 10;
    let instance = &session.instance;
    let known = Client::connect_now(&instance.socket()).ok().and_then(|mut client| client.status(unit).ok()?.ok());
    let source = known.and_then(|known| of_place(instance, &known.name, known.log.as_ref()?));
    let Some(Source::Journal(identifier)) = source else { return Vec::new() };
    journal::synchronize();
    journal::last_lines(&identifier, COUNT, &Filter { since: Some(session.now), ..Filter::default() })
}

fn of_place(instance: &Instance, unit: &str, place: &LogPlace) -> Option<Source> {
    match place.target.as_str() {
        "journald" => Some(Source::Journal(place.identifier.clone().unwrap_or_else(|| unit.to_owned()))),
        "file" => Some(Source::File(
            place.path.as_ref().map_or_else(|| instance.log_dir().join(format!("{unit}.log")), PathBuf::from),
        )),
        _ => None,
    }
}

fn source(instance: &Instance, unit: &str) -> Result<Source, Failure> {
    if !crate::control::is_unit_name(unit) {
        return Err(Failure::new(2, format!("`{}` is not the name of a unit", harmless(unit))));
    }
    let known = Client::connect_now(&instance.socket()).ok().and_then(|mut client| client.status(unit).ok()?.ok());
    let file = instance.log_dir().join(format!("{unit}.log"));
    match known.as_ref().and_then(|unit| unit.log.as_ref()) {
        Some(place) => of_place(instance, unit, place).ok_or_else(|| {
            Failure::new(
                1,
                format!("{unit}: its output goes nowhere: logging.target = \"{}\"", harmless(&place.target)),
            )
        }),
        None if LogFiles::new(file.clone()).exist() => Ok(Source::File(file)),
        None if journal::is_there() => Ok(Source::Journal(unit.to_owned())),
        None => Err(Failure::new(
            1,
            format!("{}: no output is known: neither {} nor a journal is there", harmless(unit), file.display()),
        )),
    }
}

fn show_files(
    session: &mut Session<'_>,
    wish: &Wish,
    filter: &Filter,
    mut files: Vec<(String, LogFiles)>,
) -> Result<bool, Failure> {
    let lines = wish.lines.or((wish.follow && filter.since.is_none()).then_some(BEFORE_FOLLOWING));
    let cat = session.format == Format::Cat;
    let form = Form { json: session.json(), cat, named: files.len() > 1, disarm: session.look.is_terminal() };
    let mut pager = if wish.follow || wish.lines.is_some() { None } else { session.pager() };
    let mut any = false;
    for (unit, log) in &mut files {
        let mut broken = None;
        let shown = filter::read(log, lines, filter, &mut |line| {
            let text = form.line(unit, line);
            any = true;
            let written = match pager.as_mut().and_then(|pager| pager.stdin.as_mut()) {
                Some(stdin) => stdin.write_all(&text),
                None => session.out.write_all(&text),
            };
            written.map_err(|error| {
                let kind = error.kind();
                broken = Some(error);
                io::Error::from(kind)
            })
        });
        match (shown, broken) {
            (Ok(()), _) => {}
            (Err(_), Some(_)) if pager.is_some() => break,
            (Err(_), Some(error)) => return Err(Failure::Output(error)),
            (Err(error), None) => return Err(unreadable(log, &error)),
        }
    }
    if let Some(mut pager) = pager {
        drop(pager.stdin.take());
        let _ = pager.wait();
    }
    session.out.flush()?;
    if wish.follow {
        follow(session, form, filter, &mut files)?;
    }
    Ok(any)
}

/// Shows what is written from now on; ends only when the reader goes away or a file cannot be read.
fn follow(
    session: &mut Session<'_>,
    form: Form,
    filter: &Filter,
    files: &mut [(String, LogFiles)],
) -> Result<(), Failure> {
    let mut sieves: Vec<_> = files.iter().map(|_| filter.sieve()).collect();
    loop {
        for ((unit, log), sieve) in files.iter_mut().zip(&mut sieves) {
            let mut broken = None;
            let out = &mut session.out;
            // Line by line: a reader that is stopped stops this, and nothing gathers here meanwhile.
            let read = log.read_on(&mut |line| {
                if !sieve.lets_pass(line) {
                    return Ok(());
                }
                out.write_all(&form.line(unit, line)).map_err(|error| {
                    let kind = error.kind();
                    broken = Some(error);
                    io::Error::from(kind)
                })
            });
            match (read, broken) {
                (_, Some(error)) => return Err(Failure::Output(error)),
                (Err(error), None) => return Err(unreadable(log, &error)),
                (Ok(true), None) => {}
                (Ok(false), None) => {
                    let unit = harmless(unit);
                    session.say(&format!(
                        "rsvc: {unit}: log files were removed before they were shown: lines are missing"
                    ));
                }
            }
        }
        session.out.flush()?;
        std::thread::sleep(PAUSE);
    }
}

fn unreadable(log: &LogFiles, error: &io::Error) -> Failure {
    let code = if error.kind() == io::ErrorKind::PermissionDenied { 4 } else { 1 };
    Failure::new(code, format!("cannot read {}: {error}", log.path().display()))
}

/// How a line of a file is shown.
#[derive(Clone, Copy)]
struct Form {
    json: bool,
    /// The message only.
    cat: bool,
    /// More than one unit: its name stands in front.
    named: bool,
    /// A terminal must not obey what a service wrote; a pipe gets the bytes as they are.
    disarm: bool,
}

impl Form {
    /// `line` is `TIME MESSAGE` without its end.
    fn line(self, unit: &str, line: &[u8]) -> Vec<u8> {
        if self.json {
            let (time, message) = file::split_time(line);
            let message = String::from_utf8_lossy(message);
            let object = serde_json::json!({ "v": 1, "name": unit, "time": time, "message": message });
            return format!("{object}\n").into_bytes();
        }
        let line = if self.cat { file::split_time(line).1 } else { line };
        let mut text = if self.named { format!("{unit}: ").into_bytes() } else { Vec::new() };
        if self.disarm {
            text.extend(harmless(&String::from_utf8_lossy(line)).into_bytes());
        } else {
            text.extend(line);
        }
        text.push(b'\n');
        text
    }
}

impl Session<'_> {
    /// A pager for output of unknown length, when a person looks.
    fn pager(&self) -> Option<std::process::Child> {
        if self.json() || self.no_pager || !self.look.is_terminal() { None } else { terminal::start_pager() }
    }
}

/// `10m` ago, or a point in time.
fn parse_since(text: &str, now: SystemTime) -> Result<SystemTime, Failure> {
    let ago = text.strip_suffix("ago").unwrap_or(text).trim().trim_start_matches('-');
    if let Some(time) = time::parse(text) {
        return Ok(time);
    }
    match parse_time_span(ago) {
        Ok(span) => Ok(now.checked_sub(span).unwrap_or(SystemTime::UNIX_EPOCH)),
        Err(_) => {
            let text = harmless(text);
            Err(Failure::new(
                2,
                format!("`{text}` is no time: write `10m`, `2026-11-21`, `2026-11-21 22:00` or RFC 3339"),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_span_or_a_point_in_time() {
        let now = time::parse("2026-11-21T22:00:00Z").unwrap();
        for (text, expected) in [
            ("10m", "2026-11-21T21:50:00Z"),
            ("1h 5min ago", "2026-11-21T20:55:00Z"),
            ("-90s", "2026-11-21T21:58:30Z"),
            ("2026-11-20", "2026-11-20"),
            ("2026-11-20 10:00", "2026-11-20T10:00:00Z"),
        ] {
            assert_eq!(parse_since(text, now).unwrap(), time::parse(expected).unwrap(), "{text}");
        }
        assert_eq!(parse_since("tomorrow", now).unwrap_err().code(), 2);
    }

    #[test]
    fn lines_are_shown_as_they_are_but_never_obeyed_by_a_terminal() {
        let line = b"2026-11-21T22:00:00.000001Z a\x1b[2Jb\xff";
        let form = |json, named, disarm| Form { json, cat: false, named, disarm };
        assert_eq!(form(false, false, false).line("web", line), [&line[..], b"\n"].concat());
        let shown = String::from_utf8(form(false, true, true).line("web", line)).unwrap();
        assert_eq!(shown, "web: 2026-11-21T22:00:00.000001Z a\u{fffd}[2Jb\u{fffd}\n");
        let cat = Form { json: false, cat: true, named: false, disarm: false };
        assert_eq!(cat.line("web", line), b"a\x1b[2Jb\xff\n");
        let object: serde_json::Value = serde_json::from_slice(&form(true, false, false).line("web", line)).unwrap();
        assert_eq!(object["time"], "2026-11-21T22:00:00.000001Z");
        assert_eq!(object["message"], "a\u{1b}[2Jb\u{fffd}");
    }

    #[test]
    fn the_place_that_the_daemon_names_is_used() {
        let place = |target: &str, path: Option<&str>, identifier: Option<&str>| LogPlace {
            target: target.into(),
            path: path.map(str::to_owned),
            identifier: identifier.map(str::to_owned),
            suppressed: 0,
        };
        let instance = Instance { given_state_dir: Some("/s".into()), ..Instance::default() };
        assert_eq!(
            of_place(&instance, "web", &place("journald", None, Some("shop"))),
            Some(Source::Journal("shop".into()))
        );
        assert_eq!(
            of_place(&instance, "web", &place("file", Some("/x/y.log"), None)),
            Some(Source::File("/x/y.log".into()))
        );
        assert_eq!(of_place(&instance, "web", &place("file", None, None)), Some(Source::File("/s/log/web.log".into())));
        assert_eq!(of_place(&instance, "web", &place("null", None, None)), None);
    }
}

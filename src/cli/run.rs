//! `rsvc run`: a unit file, or a unit made of a command and the keys of the command line.

use super::args::Run;
use super::terminal::{harmless, variable};
use super::{Failure, Outcome, Session};
use crate::unit::{Assignment, document};
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Exit code when the program was not found.
const NOT_FOUND: u8 = 127;

/// `run`
pub fn run(session: &Session<'_>, run: Run) -> Result<Outcome, Failure> {
    let instance = session.instance.clone();
    let pty = run.pty;
    if pty && !std::io::stdin().is_terminal() {
        let text = "`--pty` needs a terminal as standard input: leave it out where there is none";
        return Err(Failure::new(2, text));
    }
    match run.file {
        Some(file) => Ok(Outcome::Run { instance, file, profile: run.profile, quiet: run.quiet, pty }),
        None => Ok(Outcome::RunCommand { instance, text: text(&run)?, pty }),
    }
}

/// The words of a command as they stand in a unit or a call, which are UTF-8.
///
/// # Errors
/// 2, with the word that is not.
pub fn command_words(command: &[OsString]) -> Result<Vec<String>, Failure> {
    let plain = |word: &OsString| {
        let text = word.to_str().filter(|word| !word.contains('\0')).map(str::to_owned);
        text.ok_or_else(|| Failure::new(2, format!("`{}` is not UTF-8", harmless(&word.to_string_lossy()))))
    };
    command.iter().map(plain).collect()
}

/// The unit of a command.
fn text(run: &Run) -> Result<String, Failure> {
    let mut words = command_words(&run.command)?;
    if let Some(program) = words.first_mut() {
        *program = find_program(program)?;
    }
    let mut keys = vec![assignment("restart.policy", "no")?];
    for (key, value) in
        [("security.profile", &run.profile), ("resources.memory_max", &run.mem), ("service.user", &run.user)]
    {
        if let Some(value) = value {
            keys.push(assignment(key, value)?);
        }
    }
    for word in &run.set {
        let parsed = Assignment::parse(word).map_err(|text| Failure::new(2, text))?;
        keys.push(assignment(&parsed.key, word.split_once('=').map_or("", |(_, value)| value.trim()))?);
    }
    Ok(document(Some(&words), &keys))
}

fn assignment(key: &str, value: &str) -> Result<Assignment, Failure> {
    if value.is_empty() {
        return Err(Failure::new(2, format!("`{}` has no value", harmless(key))));
    }
    if key == "service.exec" {
        return Err(Failure::new(2, "`service.exec` is what stands behind `--`"));
    }
    Assignment::new(key, value).map_err(|text| Failure::new(2, text))
}

/// As a shell finds it: through PATH without a slash, from the working directory with one.
fn find_program(word: &str) -> Result<String, Failure> {
    let found = if word.contains('/') {
        std::path::absolute(word).ok()
    } else {
        let path =
            variable("PATH").unwrap_or_else(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
        search(OsStr::new(&path), word)
    };
    let Some(found) = found else {
        return Err(Failure::new(NOT_FOUND, format!("{}: no such command in PATH", harmless(word))));
    };
    let shown = found.display().to_string();
    found.into_os_string().into_string().map_err(|_| Failure::new(2, format!("{} is not UTF-8", harmless(&shown))))
}

fn search(path: &OsStr, word: &str) -> Option<PathBuf> {
    let executable = |path: &Path| path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    std::env::split_paths(path)
        .filter(|directory| directory.is_absolute() && !word.is_empty())
        .map(|directory| directory.join(word))
        .find(|path| executable(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::Unit;

    fn wish(command: &[&str]) -> Run {
        Run {
            file: None,
            command: command.iter().map(|word| (*word).into()).collect(),
            profile: None,
            set: Vec::new(),
            mem: None,
            user: None,
            pty: false,
            quiet: false,
        }
    }

    #[test]
    fn a_command_and_its_keys_become_a_unit() {
        let set =
            ["service.umask=0077", "resources.memory_max=5M", "restart.policy=on-failure"].map(String::from).into();
        let run = Run { set, mem: Some("200M".into()), ..wish(&["sh", "-c", "echo \"$0\""]) };
        let (unit, _) = Unit::parse("run", "command line", &text(&run).expect("a text")).expect("a unit");
        assert!(
            unit.service.exec[0].ends_with("/sh") && unit.service.exec[2] == "echo \"$0\"",
            "{:?}",
            unit.service.exec
        );
        assert_eq!(unit.resources.memory_max, Some(5 << 20), "the last word about a key holds");
        assert_eq!(unit.service.umask, 0o077);
    }

    #[test]
    fn what_cannot_become_a_unit_is_refused_with_its_code() {
        let of = |run: Run| text(&run).expect_err("refused").code();
        assert_eq!(of(wish(&["no-such-command-anywhere"])), NOT_FOUND);
        for word in ["x", "a=b", "service.exec=[]", "service.user="] {
            assert_eq!(of(Run { set: vec![word.into()], ..wish(&["true"]) }), 2, "{word}");
        }
    }
}

//! `table.key=value` as people write it on a command line, read by the same decoder as a file.
//!
//! A value is TOML where it can be (`5`, `true`, `["a", "b"]`), and text where it cannot: `1G` means `"1G"`. What is both
//! is whatever the key takes, so that `cpuset_cpus=0` and `tasks_max=0` need no quotes either.

use super::{ParseOptions, Unit};
use std::fmt::Write;

/// One key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Dotted: `resources.memory_max`.
    pub key: String,
    /// TOML; empty when nothing stands behind the `=`.
    pub value: String,
}

impl Assignment {
    /// Reads `table.key=value`. Whether there is such a key, and whether it takes the value, the decoder says later.
    ///
    /// # Errors
    /// A sentence for people when it has another form.
    pub fn parse(text: &str) -> Result<Assignment, String> {
        let Some((key, value)) = text.split_once('=') else {
            return Err(format!("`{}` is no assignment: write table.key=value", text.escape_debug()));
        };
        let (key, value) = (key.trim(), value.trim());
        Assignment::new(key, value)
    }

    /// The same from two parts.
    ///
    /// # Errors
    /// A sentence for people when `key` cannot be one.
    pub fn new(key: &str, value: &str) -> Result<Assignment, String> {
        let is_word = |word: &str| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        };
        if !key.contains('.') || !key.split('.').all(is_word) {
            return Err(format!("`{}` is no key: write table.key=value", key.escape_debug()));
        }
        let assignment = Assignment { key: key.to_owned(), value: value.to_owned() };
        if value.is_empty() {
            return Ok(assignment);
        }
        let quoted = Assignment { value: toml::Value::String(value.to_owned()).to_string(), ..assignment.clone() };
        // A line end would begin another key.
        let is_toml = !value.contains(['\n', '\r']) && format!("x = {value}").parse::<toml::Table>().is_ok();
        Ok(match (is_toml, is_taken(&assignment), is_taken(&quoted)) {
            (true, false, true) | (false, _, _) => quoted,
            (true, _, _) => assignment,
        })
    }
}

/// Does the decoder take it, seen by itself?
fn is_taken(assignment: &Assignment) -> bool {
    let text = document(Some(&["/bin/true".to_owned()]), std::slice::from_ref(assignment));
    Unit::parse_with("assignment", "", &text, ParseOptions::default()).is_ok()
}

/// The text of a unit that executes `exec` with these keys. The last of several assignments to a key holds.
pub fn document(exec: Option<&[String]>, assignments: &[Assignment]) -> String {
    let mut text = String::new();
    if let Some(exec) = exec {
        let words = exec.iter().cloned().map(toml::Value::String).collect();
        let _ = writeln!(text, "service.exec = {}", toml::Value::Array(words));
    }
    for (n, assignment) in assignments.iter().enumerate() {
        if !assignments[n + 1..].iter().any(|later| later.key == assignment.key) {
            let _ = writeln!(text, "{} = {}", assignment.key, assignment.value);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_needs_no_quotes() {
        for (text, key, value) in [
            ("resources.memory_max=1G", "resources.memory_max", "\"1G\""),
            ("resources.memory_max = 1048576", "resources.memory_max", "1048576"),
            ("resources.tasks_max=infinity", "resources.tasks_max", "\"infinity\""),
            ("resources.cpu_max=50%", "resources.cpu_max", "\"50%\""),
            ("resources.cpuset_cpus=0", "resources.cpuset_cpus", "\"0\""),
            ("service.user=\"web\"", "service.user", "\"web\""),
            ("service.kill_signal=SIGINT", "service.kill_signal", "\"SIGINT\""),
            ("resources.memory_oom_group=false", "resources.memory_oom_group", "false"),
            ("resources.memory_max=", "resources.memory_max", ""),
        ] {
            let expected = Assignment { key: key.into(), value: value.into() };
            assert_eq!(Assignment::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_assignment_is_refused() {
        for text in ["memory_max", "memory_max=1", "a..b=1", ".a=1", "a b.c=1", "a.b\n[x]\nc=1", "=1", ""] {
            assert!(Assignment::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_cannot_smuggle_in_another_key() {
        let assignment = Assignment::parse("service.user=\"a\"\nsecurity.profile = \"host\"").expect("text");
        let text = document(Some(&["/bin/true".into()]), &[assignment]);
        let problems = Unit::parse("x", "command line", &text).expect_err("no such user name");
        assert!(problems.iter().all(|problem| problem.key.as_deref() != Some("security.profile")), "{problems:?}");
    }

    #[test]
    fn the_last_assignment_to_a_key_holds() {
        let of = |text| Assignment::parse(text).expect("an assignment");
        let text = document(
            Some(&["/bin/a b".into(), "\"".into()]),
            &[of("resources.tasks_max=5"), of("resources.tasks_max=7")],
        );
        let (unit, _) = Unit::parse("x", "command line", &text).expect("a unit");
        assert_eq!((unit.resources.tasks_max, unit.service.exec.len()), (Some(7), 2), "{text}");
    }
}

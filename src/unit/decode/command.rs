//! Command lines: `service.exec` and the commands around it.

use super::shape::checked;
use super::tables::{fields, missing};
use super::{Sink, describe};
use crate::unit::ExecCommand;
use crate::unit::problem::Code;
use crate::unit::value::{self, Bad};
use std::ops::Range;
use toml::Spanned;
use toml::de::DeValue;

/// The program: absolute, or a plain name.
pub(in crate::unit) fn check_program(argv: Vec<String>) -> Result<Vec<String>, Bad> {
    let Some(program) = argv.first() else {
        return Err(Bad::new(Code::BadCommand, "the command is empty"));
    };
    if let Some(n) = argv.iter().position(|a| a.contains('\0')) {
        return Err(Bad::new(Code::BadText, format!("argument {n} contains a NUL")));
    }
    let bad = |why: &str| Bad::new(Code::BadCommand, format!("`{}` {why}", program.escape_debug()));
    if program.is_empty() {
        return Err(Bad::new(Code::BadCommand, "the name of the program is empty"));
    }
    if program.starts_with(['@', '+', '!', ':', '|']) || program.starts_with("-/") {
        let help = match program.starts_with('-') {
            true => "write { argv = [...], ignore_failure = true } where failure does not matter",
            false => "commands have no prefix characters",
        };
        return Err(bad("is not the path of a program").help(help));
    }
    if program.starts_with('-') {
        return Err(bad("is an option, not a program"));
    }
    if !program.starts_with('/') && program.contains('/') {
        return Err(bad("is a relative path").help("write an absolute path, or a plain name to be found in PATH"));
    }
    if program.starts_with('/') {
        value::absolute_path(program)?;
    }
    Ok(argv)
}

pub(super) fn argv(
    sink: &mut Sink<'_>,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    items: &mut Vec<Range<usize>>,
) -> Option<Vec<String>> {
    let argv = match value.get_ref() {
        DeValue::String(text) => value::command_line(text),
        DeValue::Array(array) => {
            let mut argv = Vec::with_capacity(array.len());
            for item in array.iter() {
                match item.get_ref().as_str() {
                    Some(text) => {
                        items.push(item.span());
                        argv.push(text.to_owned());
                    }
                    None => {
                        let found = describe(item.get_ref());
                        let message = format!("arguments are strings, not {found}");
                        let number = match item.get_ref() {
                            DeValue::Integer(n) => Some(format!("write \"{n}\"")),
                            _ => None,
                        };
                        sink.add(Code::WrongType, item.span(), key, message, number);
                        return None;
                    }
                }
            }
            Ok(argv)
        }
        _ => {
            sink.wrong_type(value, key, "an array of strings, or one string", None);
            return None;
        }
    };
    checked(sink, key, value, argv.and_then(check_program))
}

pub(super) fn commands(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Vec<ExecCommand>> {
    let DeValue::Array(array) = value.get_ref() else {
        let help = value.get_ref().as_str().map(|s| format!("write [{s:?}]"));
        sink.wrong_type(value, key, "an array of commands", help);
        return None;
    };
    let is_option = |v: &DeValue<'_>| v.as_str().is_some_and(|s| s.starts_with('-') && !s.starts_with("-/"));
    if array.len() > 1 && array.iter().all(|i| i.get_ref().is_str()) && array.iter().any(|i| is_option(i.get_ref())) {
        let help = "one command is an array inside the array: [[\"/bin/program\", \"-option\"]]".to_owned();
        let message = format!("`{key}` takes an array of commands, not the arguments of one");
        sink.add(Code::BadCommand, value.span(), key, message, Some(help));
        return None;
    }
    let mut all = Some(Vec::new());
    for item in array.iter() {
        let command = match item.get_ref() {
            DeValue::Table(_) => table_form(sink, key, item),
            _ => argv(sink, key, item, &mut Vec::new()).map(|argv| ExecCommand { argv, ignore_failure: false }),
        };
        match (command, all.as_mut()) {
            (Some(command), Some(all)) => all.push(command),
            (None, _) => all = None,
            (Some(_), None) => {}
        }
    }
    all
}

/// `{ argv, ignore_failure }`
fn table_form(sink: &mut Sink<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<ExecCommand> {
    let table = fields(sink, key, value, &["argv", "ignore_failure"], &["privileged"])?;
    let ignore_failure = match table.get("ignore_failure") {
        None => false,
        Some(flag) => match flag.get_ref() {
            DeValue::Boolean(flag) => *flag,
            _ => {
                sink.wrong_type(flag, "ignore_failure", "true or false", None);
                return None;
            }
        },
    };
    match table.get("argv") {
        Some(words) => argv(sink, key, words, &mut Vec::new()).map(|argv| ExecCommand { argv, ignore_failure }),
        None => missing(sink, key, value, "argv"),
    }
}

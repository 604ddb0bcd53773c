//! rsvc(1): commands and options from the definition of the command line, the rest from text that is kept beside this
//! file. The page in `man/` is made by this and compared with it in the tests.

use clap_mangen::Man;
use std::io;

/// What stands before the commands.
const DESCRIPTION: &str = include_str!("manual/description.roff");

/// What stands after the options.
const REST: &str = include_str!("manual/rest.roff");

/// The whole page.
///
/// # Errors
/// None in practice: everything is written to memory.
pub fn page(command: clap::Command) -> io::Result<Vec<u8>> {
    let version = format!("rsvc {}", env!("CARGO_PKG_VERSION"));
    let man =
        Man::new(command.clone()).title("RSVC").section("1").source(version).manual("User Commands").date("2026-11-21");
    let mut page = b".\\\" Made from the definition of the command line: RSVC_BLESS=1 cargo test manual\n".to_vec();
    man.render_title(&mut page)?;
    let mut text = String::from(".SH NAME\nrsvc \\- declarative service isolator and supervisor\n");
    text += ".SH SYNOPSIS\n\\fBrsvc\\fR [\\fIOPTION\\fR]... \\fICOMMAND\\fR [\\fIARGUMENT\\fR]...\n";
    text += DESCRIPTION;
    text += ".SH COMMANDS\n";
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        add_command(&mut text, sub, "");
        for task in sub.get_subcommands().filter(|task| !task.is_hide_set()) {
            add_command(&mut text, task, &format!("{} ", sub.get_name()));
        }
    }
    text += ".SH OPTIONS\nThese may stand anywhere on the command line.\n";
    for option in command.get_opts() {
        add_option(&mut text, option);
    }
    text += ".TP\n\\fB\\-h\\fR, \\fB\\-\\-help\\fR\nPrint help, also of a single command.\n";
    text += ".TP\n\\fB\\-V\\fR, \\fB\\-\\-version\\fR\nPrint the version.\n";
    text += REST;
    page.extend(text.into_bytes());
    Ok(page)
}

/// `before`: the command that it belongs to, and a blank.
fn add_command(text: &mut String, command: &clap::Command, before: &str) {
    let mut usage = format!("\\fB{}{}\\fR", escape(before), escape(command.get_name()));
    if command.get_opts().any(|option| !option.is_hide_set()) {
        usage += " [\\fIOPTION\\fR]...";
    }
    for positional in command.get_positionals() {
        let name =
            positional.get_value_names().and_then(|names| names.first()).map_or("ARGUMENT", |name| name.as_str());
        let many = positional.get_num_args().is_some_and(|range| range.max_values() > 1);
        let name = format!("\\fI{}\\fR{}", escape(name), if many { "..." } else { "" });
        usage += &if positional.is_required_set() { format!(" {name}") } else { format!(" [{name}]") };
    }
    *text += &format!(".SS {usage}\n");
    *text += &sentence(&command.get_about().map(ToString::to_string).unwrap_or_default());
    let aliases: Vec<String> =
        command.get_visible_aliases().map(|alias| format!("\\fB{}\\fR", escape(alias))).collect();
    if !aliases.is_empty() {
        *text += &format!("Also called {}.\n", aliases.join(" and "));
    }
    for positional in command.get_positionals() {
        let name =
            positional.get_value_names().and_then(|names| names.first()).map_or("ARGUMENT", |name| name.as_str());
        if let Some(help) = positional.get_help() {
            *text += &format!(".TP\n\\fI{}\\fR\n{}", escape(name), sentence(&help.to_string()));
        }
    }
    for option in command.get_opts().filter(|option| !option.is_hide_set()) {
        add_option(text, option);
    }
}

fn add_option(text: &mut String, option: &clap::Arg) {
    let mut names = Vec::new();
    if let Some(short) = option.get_short() {
        names.push(format!("\\fB\\-{short}\\fR"));
    }
    if let Some(long) = option.get_long() {
        names.push(format!("\\fB\\-\\-{}\\fR", escape(long)));
    }
    let mut line = names.join(", ");
    if option.get_action().takes_values() {
        let value = option.get_value_names().and_then(|names| names.first()).map_or("VALUE", |name| name.as_str());
        line += &format!(" \\fI{}\\fR", escape(value));
    }
    *text += &format!(".TP\n{line}\n{}", sentence(&option.get_help().map(ToString::to_string).unwrap_or_default()));
    let possible = option.get_possible_values();
    if option.get_action().takes_values() && !possible.is_empty() {
        let values: Vec<String> = possible
            .iter()
            .map(|value| {
                let help = value.get_help().map(|help| format!(" ({})", escape(&help.to_string())));
                format!("\\fB{}\\fR{}", escape(value.get_name()), help.unwrap_or_default())
            })
            .collect();
        *text += &fill(&format!("One of {}.", values.join(", ")));
    }
    if let Some(variable) = option.get_env().and_then(|name| name.to_str()) {
        *text += &format!("Environment: \\fB{variable}\\fR.\n");
    }
}

/// A help text as a sentence of the page, with its line end.
fn sentence(help: &str) -> String {
    if help.is_empty() {
        return String::new();
    }
    let end = if help.ends_with(['.', ')', ']']) { "" } else { "." };
    fill(&format!("{}{end}", escape(help)))
}

/// Breaks at blanks into lines of at most 78 bytes, as mandoc(1) likes its input.
fn fill(text: &str) -> String {
    let mut filled = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        if length > 0 && length + 1 + word.len() > 78 {
            filled.push('\n');
            length = 0;
            // A word that would be a request at the beginning of a line.
            if word.starts_with(['.', '\'']) {
                filled += "\\&";
            }
        } else if length > 0 {
            filled.push(' ');
            length += 1;
        }
        filled += word;
        length += word.len();
    }
    filled + "\n"
}

/// Text as roff wants it: a backslash, a hyphen that is typed, a dot or quote at the beginning.
fn escape(text: &str) -> String {
    let mut escaped = text.replace('\\', "\\e").replace('-', "\\-").replace('`', "\\(ga");
    if escaped.starts_with(['.', '\'']) {
        escaped.insert_str(0, "\\&");
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Arguments, RESERVED};
    use clap::CommandFactory;

    #[test]
    fn the_manual_is_the_one_that_the_definition_makes() {
        let made = String::from_utf8(page(Arguments::command()).expect("a page")).expect("text");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/man/rsvc.1");
        if std::env::var_os("RSVC_BLESS").is_some() {
            std::fs::write(path, &made).expect("write");
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(kept == made, "man/rsvc.1 is not up to date: RSVC_BLESS=1 cargo test manual");
    }

    #[test]
    fn every_command_option_and_exit_code_is_in_the_manual() {
        let made = String::from_utf8(page(Arguments::command()).expect("a page")).expect("text");
        for sub in Arguments::command().get_subcommands().filter(|sub| !sub.is_hide_set()) {
            assert!(made.contains(&format!(".SS \\fB{}\\fR", escape(sub.get_name()))), "{}", sub.get_name());
            let tasks = sub.get_subcommands().flat_map(clap::Command::get_opts);
            let shown = sub.get_opts().chain(tasks).filter(|option| !option.is_hide_set());
            for option in shown.filter_map(|option| option.get_long()) {
                assert!(made.contains(&format!("\\-\\-{}\\fR", escape(option))), "{} --{option}", sub.get_name());
            }
        }
        for code in [0, 1, 2, 3, 4, 5, 6, 7, 124, 125, 126, 127, 150] {
            assert!(made.contains(&format!("\n.B {code}\n")), "exit status {code}");
        }
        for word in RESERVED {
            assert!(made.contains(&escape(word)), "reserved word {word}");
        }
    }
}

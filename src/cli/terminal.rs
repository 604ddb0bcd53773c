//! What the output can show: colours, box characters, its width, and whether a person looks at it.
//!
//! Never colour alone: shapes and words change too, so that a log, a screen reader and a colour-blind person see the
//! same.

use super::args::When;
use std::io::{self, IsTerminal, Write};

/// A place of output and what it can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// ANSI colours may be used.
    pub color: bool,
    /// The locale is UTF-8.
    pub unicode: bool,
    /// Columns, when a terminal is there; what is longer is cut only then.
    pub width: Option<usize>,
}

impl Look {
    /// Of a pipe or file.
    #[cfg(test)]
    pub const PLAIN: Look = Look { color: false, unicode: true, width: None };

    /// Of standard output.
    pub fn of_stdout(when: When) -> Look {
        let terminal = io::stdout().is_terminal();
        Look {
            color: wants_color(when, terminal, &variable),
            unicode: is_utf8(&variable),
            width: terminal.then(|| columns().unwrap_or(80)),
        }
    }

    /// Of standard error.
    pub fn of_stderr(when: When) -> Look {
        let terminal = io::stderr().is_terminal();
        Look {
            color: wants_color(when, terminal, &variable),
            unicode: is_utf8(&variable),
            width: terminal.then(|| columns().unwrap_or(80)),
        }
    }

    /// Somebody sits there and reads.
    pub fn is_terminal(&self) -> bool {
        self.width.is_some()
    }

    /// `text` in a colour, if colours may be used.
    pub fn paint(&self, color: Color, text: &str) -> String {
        if !self.color || text.is_empty() {
            return text.to_owned();
        }
        let code = match color {
            Color::Green => "32",
            Color::Red => "31",
            Color::Yellow => "33",
            Color::Dim => "2",
            Color::Bold => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// The mark and the colour of a state.
    pub fn dot(&self, state: &str) -> String {
        let (round, plain, color) = match state {
            "active" | "reloading" => ("●", "*", Color::Green),
            "activating" | "deactivating" => ("◐", "~", Color::Yellow),
            "failed" => ("×", "x", Color::Red),
            _ => ("○", "-", Color::Dim),
        };
        self.paint(color, if self.unicode { round } else { plain })
    }

    /// `text` in at most `limit` characters; what is cut off is marked.
    pub fn cut(&self, text: &str, limit: usize) -> String {
        if text.chars().count() <= limit {
            return text.to_owned();
        }
        let mark = if self.unicode { "…" } else { "~" };
        let kept: String = text.chars().take(limit.saturating_sub(1)).collect();
        if limit == 0 { String::new() } else { kept + mark }
    }
}

/// Colours of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Color {
    Green,
    Red,
    Yellow,
    Dim,
    Bold,
}

/// An environment variable that is set and not empty.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// NO_COLOR (<https://no-color.org>), CLICOLOR_FORCE and TERM=dumb speak where the command line is silent.
fn wants_color(when: When, terminal: bool, variable: &dyn Fn(&str) -> Option<String>) -> bool {
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto if variable("NO_COLOR").is_some() => false,
        When::Auto if variable("CLICOLOR_FORCE").is_some_and(|v| v != "0") => true,
        When::Auto => terminal && variable("TERM").is_some_and(|term| term != "dumb"),
    }
}

/// The first of the three that is set decides (locale(7)); none set is the C locale.
fn is_utf8(variable: &dyn Fn(&str) -> Option<String>) -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| variable(name)).is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.ends_with("utf-8") || locale.ends_with("utf8") || locale.contains("utf-8@") || locale.contains("utf8@")
    })
}

fn columns() -> Option<usize> {
    if let Some(set) = variable("COLUMNS").and_then(|v| v.parse().ok()).filter(|n| *n > 0) {
        return Some(set);
    }
    let size = rustix::termios::tcgetwinsize(io::stdout()).or_else(|_| rustix::termios::tcgetwinsize(io::stderr()));
    size.ok().map(|size| usize::from(size.ws_col)).filter(|n| *n > 0)
}

/// Lines of a terminal.
fn rows() -> Option<usize> {
    rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_row)).filter(|n| *n > 0)
}

/// Writes a long text, through a pager when a person looks and it is longer than the screen.
///
/// # Errors
/// Of write(2). A pager that cannot be started is no error: the text is written as it is.
pub fn page(text: &str, look: Look, no_pager: bool, out: &mut dyn Write) -> io::Result<()> {
    let long = rows().is_some_and(|rows| text.lines().count() >= rows);
    let pager = if look.is_terminal() && long && !no_pager { start_pager() } else { None };
    let Some(mut pager) = pager else { return out.write_all(text.as_bytes()) };
    if let Some(mut stdin) = pager.stdin.take() {
        // Whoever leaves the pager early has seen enough.
        let _ = stdin.write_all(text.as_bytes());
    }
    pager.wait().map(|_| ())
}

/// Starts $PAGER, or less; `None` when there is none or it is `cat`.
pub fn start_pager() -> Option<std::process::Child> {
    let pager = variable("PAGER").unwrap_or_else(|| "less".to_owned());
    let mut words = pager.split_whitespace().filter(|word| *word != "cat");
    let mut command = std::process::Command::new(words.next()?);
    command.args(words).stdin(std::process::Stdio::piped());
    if variable("LESS").is_none() {
        // End at once when it fits on the screen, pass colours, leave the text there.
        command.env("LESS", "FRX");
    }
    command.spawn().ok()
}

/// Makes text of strangers harmless for a terminal: control characters but the tab become U+FFFD.
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment<'a>(set: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        move |name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
    }

    #[test]
    fn colours_follow_option_then_environment_then_terminal() {
        let xterm = ("TERM", "xterm");
        type Case<'a> = (When, bool, &'a [(&'a str, &'a str)], bool);
        let table: [Case<'_>; 9] = [
            (When::Always, false, &[("NO_COLOR", "1")], true),
            (When::Never, true, &[("CLICOLOR_FORCE", "1"), xterm], false),
            (When::Auto, true, &[xterm], true),
            (When::Auto, true, &[], false),
            (When::Auto, true, &[("TERM", "dumb")], false),
            (When::Auto, false, &[xterm], false),
            (When::Auto, true, &[("NO_COLOR", "1"), xterm], false),
            (When::Auto, false, &[("CLICOLOR_FORCE", "1")], true),
            (When::Auto, false, &[("CLICOLOR_FORCE", "0")], false),
        ];
        for (when, terminal, set, expected) in table {
            assert_eq!(wants_color(when, terminal, &environment(set)), expected, "{when:?} {terminal} {set:?}");
        }
    }

    #[test]
    fn the_first_locale_variable_decides() {
        let table: [(&[(&str, &str)], bool); 6] = [
            (&[], false),
            (&[("LANG", "C")], false),
            (&[("LANG", "de_DE.UTF-8")], true),
            (&[("LANG", "ca_ES.utf8@valencia")], true),
            (&[("LANG", "C.UTF-8"), ("LC_ALL", "C")], false),
            (&[("LC_CTYPE", "C.UTF-8"), ("LANG", "C")], true),
        ];
        for (set, expected) in table {
            assert_eq!(is_utf8(&environment(set)), expected, "{set:?}");
        }
    }

    #[test]
    fn states_differ_without_colour_and_without_unicode() {
        for unicode in [true, false] {
            let look = Look { unicode, ..Look::PLAIN };
            let dots: Vec<String> = ["active", "activating", "failed", "inactive"].map(|s| look.dot(s)).to_vec();
            let distinct: std::collections::BTreeSet<&String> = dots.iter().collect();
            assert_eq!(distinct.len(), 4, "{dots:?}");
            assert_eq!(dots.iter().all(|d| d.is_ascii()), !unicode);
        }
    }

    #[test]
    fn cutting_counts_characters_and_marks_the_cut() {
        assert_eq!(Look::PLAIN.cut("größer", 6), "größer");
        assert_eq!(Look::PLAIN.cut("größer", 4), "grö…");
        assert_eq!(Look { unicode: false, ..Look::PLAIN }.cut("abcdef", 3), "ab~");
        assert_eq!(Look::PLAIN.cut("abc", 0), "");
    }

    #[test]
    fn escape_codes_of_strangers_do_not_reach_the_terminal() {
        assert_eq!(harmless("\u{1b}[2Ja\tb\u{9b}1m\r"), "\u{fffd}[2Ja\tb\u{fffd}1m\u{fffd}");
    }
}

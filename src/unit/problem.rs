//! What is wrong with a unit file, where, and what to do about it.
//!
//! A [`Problem`] is plain data: one cause, one place, one help. [`render`] draws problems as rustc does, [`json_lines`]
//! prints one object per problem. Both are pure: text in, text out. Nothing here prints, and nothing here decides
//! whether a problem matters.
//!
//! Codes are stable: `E00xx` the file, `E01xx` keys, `E02xx` values, `E03xx` what does not go together, `W03xx`
//! warnings. [`Code::ALL`] lists them with their meaning.

use super::texts::UnitText;
use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::ser::{Serialize, SerializeStruct, Serializer};
use std::fmt;
use std::ops::Range;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The unit is refused.
    Error,
    /// The unit is accepted.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

macro_rules! codes {
    ($($name:ident = $text:literal, $meaning:literal;)*) => {
        /// A stable number for one kind of problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $meaning] $name,)*
        }

        impl Code {
            /// All codes, in the order of their numbers.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// `E0102`.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// What the code stands for, half a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$name => $meaning,)* }
            }
        }
    };
}

codes! {
    Syntax = "E0001", "the file is not valid TOML";
    NotUtf8 = "E0002", "the file is not UTF-8";
    TooBig = "E0003", "the file is larger than 1 MiB";
    DuplicateKey = "E0004", "a key or table is given twice";
    BadUnitName = "E0005", "the name of the unit cannot be used";
    NotAFile = "E0006", "the unit is not a regular file";
    Untrusted = "E0007", "somebody other than root could change the unit";
    Unreadable = "E0008", "the unit file cannot be read";
    DropIn = "E0009", "drop-ins of the unit cannot be used";
    UnknownTable = "E0101", "no such table";
    UnknownKey = "E0102", "no such key";
    WrongTable = "E0103", "the key belongs into another table";
    NotSupported = "E0104", "a key or value of the schema that this version does not implement";
    Missing = "E0105", "a required key is missing";
    WrongType = "E0201", "the value has the wrong type";
    UnknownWord = "E0202", "the value is not one of the words that the key takes";
    BadCapability = "E0203", "no such capability";
    BadSize = "E0204", "not a size";
    BadTime = "E0205", "not a duration";
    OutOfRange = "E0206", "the number is out of range";
    BadMode = "E0207", "not a file mode";
    BadSignal = "E0208", "no such signal";
    BadPath = "E0209", "the path cannot be used";
    BadAccount = "E0210", "not a user or group name";
    BadSyscall = "E0211", "no such system call or group of system calls";
    BadFamily = "E0212", "no such address family";
    BadErrno = "E0213", "no such errno";
    BadAddress = "E0214", "not an address";
    BadStatus = "E0215", "not an exit status";
    BadLimit = "E0216", "not a resource limit";
    BadCpus = "E0217", "not a list of CPUs or a share of CPU time";
    BadDevice = "E0218", "not a device";
    BadText = "E0219", "the text contains a character that it must not contain";
    BadVariable = "E0220", "not a name for an environment variable, or for a field of the journal";
    BadCommand = "E0221", "not a command line";
    BadName = "E0222", "not the name of a unit or target";
    BadMapping = "E0223", "not an id mapping";
    BadMountOption = "E0224", "not a mount option";
    BadDirectoryName = "E0225", "not the name of a service directory";
    UnknownVariable = "E0226", "no such variable, or not here";
    BadCalendar = "E0227", "not a time of the calendar";
    BadCredential = "E0228", "not the name of a credential";
    BadArgument = "E0229", "not a condition on an argument of a system call";
    OneshotRestart = "E0301", "a oneshot service that restarts after success would never end";
    Forking = "E0302", "forking and pid_file belong together";
    KillMode = "E0303", "a kill mode that would leave processes behind";
    Cycle = "E0304", "the unit depends on itself";
    Mappings = "E0305", "the id mappings do not fit together";
    Unlocked = "E0306", "the service could undo its own protection";
    ReservedPath = "E0307", "the path is the kernel's or rsvc's own";
    NoEffect = "E0308", "the key has no effect with the other settings";
    Conflict = "E0309", "two settings contradict each other";
    NotOptional = "E0310", "the key cannot be optional";
    NeedsUser = "E0311", "the profile needs a user other than root";
    Hidden = "E0312", "the program is hidden from the service, or must not be executed there";
    Incomplete = "E0313", "the setting needs another key";
    LowPort = "W0301", "a low port cannot be bound from an own user namespace";
    Repeated = "W0302", "a list names the same thing twice";
    NotExpanded = "W0303", "a variable that nobody expands";
    RunsAsRoot = "W0304", "the service runs as root";
    HiddenArgument = "W0305", "an argument names a path that the service does not see";
    SwitchedOff = "W0306", "protections are off because their base is off";
    LimitOrder = "W0307", "limits in an unusual order";
    MissingUnit = "W0308", "a unit that is named does not exist";
    NotInList = "W0309", "a list does not have what is to be removed from it";
    NotRead = "W0310", "a file in a drop-in directory that is not read";
    Shadowed = "W0311", "a unit and a set of replicas have one name";
    PlainCredential = "W0312", "a credential stands in the unit file, which everybody can read";
}

impl Code {
    /// By the first letter.
    pub fn severity(self) -> Severity {
        if self.as_str().starts_with('W') { Severity::Warning } else { Severity::Error }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One problem of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Kind, and with it the severity.
    pub code: Code,
    /// The file as it was named or found.
    pub file: String,
    /// Bytes of the text; `None` when the problem is the file itself.
    pub span: Option<Range<usize>>,
    /// From 1; 0 without a span.
    pub line: u32,
    /// In characters, from 1; 0 without a span.
    pub column: u32,
    /// Dotted key, where there is one.
    pub key: Option<String>,
    /// One cause, lower case, no full stop.
    pub message: String,
    /// One way out.
    pub help: Option<String>,
}

impl Problem {
    /// A problem of a whole file, without a place in its text.
    pub fn of_file(code: Code, file: &str, message: impl Into<String>) -> Problem {
        Problem {
            code,
            file: file.to_owned(),
            span: None,
            line: 0,
            column: 0,
            key: None,
            message: message.into(),
            help: None,
        }
    }

    /// A problem at `span` of `text`.
    pub fn at(code: Code, file: &str, text: &str, span: Range<usize>, message: impl Into<String>) -> Problem {
        let span = clamp(text, span);
        let (line, column) = line_column(text, span.start);
        Problem { span: Some(span), line, column, ..Problem::of_file(code, file, message) }
    }

    /// The same with a way out.
    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }

    /// The same with the key it is about.
    pub fn key(mut self, key: impl Into<String>) -> Problem {
        self.key = Some(key.into());
        self
    }

    /// Error or warning.
    pub fn severity(&self) -> Severity {
        self.code.severity()
    }
}

impl fmt::Display for Problem {
    /// One line: `web.toml:14:1: error[E0102]: unknown key ...`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}[{}]: {}", self.severity().as_str(), self.code, self.message)
    }
}

impl Serialize for Problem {
    /// `v, code, severity, file, line, column, key, message, help`; what is unknown is null.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let known = |n: u32| (n > 0).then_some(n);
        let mut object = serializer.serialize_struct("Problem", 9)?;
        object.serialize_field("v", &1)?;
        object.serialize_field("code", self.code.as_str())?;
        object.serialize_field("severity", self.severity().as_str())?;
        object.serialize_field("file", &self.file)?;
        object.serialize_field("line", &known(self.line))?;
        object.serialize_field("column", &known(self.column))?;
        object.serialize_field("key", &self.key)?;
        object.serialize_field("message", &self.message)?;
        object.serialize_field("help", &self.help)?;
        object.end()
    }
}

/// Sorts by file, place in the text and code, and drops exact repetitions.
pub fn sort(problems: &mut Vec<Problem>) {
    let start = |p: &Problem| p.span.as_ref().map(|s| s.start);
    problems.sort_by(|a, b| (&a.file, start(a), a.code, &a.message).cmp(&(&b.file, start(b), b.code, &b.message)));
    problems.dedup();
}

/// How problems are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// ANSI colours.
    pub color: bool,
    /// Box-drawing characters instead of ASCII.
    pub unicode: bool,
}

/// Draws problems of one file with excerpts of its `text`, in the order given, one blank line between two.
pub fn render(problems: &[Problem], text: &str, style: Style) -> String {
    draw(problems, style, |_| Some(text))
}

/// The same for problems of several files; a problem of none of `texts` is drawn without an excerpt.
pub fn render_texts(problems: &[Problem], texts: &[UnitText<'_>], style: Style) -> String {
    let text_of = |file: &str| texts.iter().find(|text| text.file == file).map(|text| text.text);
    draw(problems, style, text_of)
}

fn draw<'t>(problems: &[Problem], style: Style, text_of: impl Fn(&str) -> Option<&'t str>) -> String {
    let decor = if style.unicode { DecorStyle::Unicode } else { DecorStyle::Ascii };
    let renderer = if style.color { Renderer::styled() } else { Renderer::plain() }.decor_style(decor).term_width(120);
    let mut drawn = String::new();
    for (n, problem) in problems.iter().enumerate() {
        if n > 0 {
            drawn.push('\n');
        }
        drawn.push_str(&match text_of(&problem.file) {
            Some(text) => renderer.render(&[group(problem, text)]),
            None => renderer.render(&[group(&Problem { span: None, ..problem.clone() }, "")]),
        });
        drawn.push('\n');
    }
    drawn
}

/// Draws problems in plain ASCII from the bytes that were parsed, for logs and error messages.
pub fn render_problems(problems: &[Problem], bytes: &[u8]) -> String {
    render(problems, std::str::from_utf8(bytes).unwrap_or_default(), Style::default())
}

fn group<'a>(problem: &'a Problem, text: &'a str) -> Group<'a> {
    let level = match problem.severity() {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(&problem.message).id(problem.code.as_str());
    let mut group = match &problem.span {
        Some(span) => title.element(
            Snippet::source(text)
                .path(problem.file.as_str())
                .annotation(AnnotationKind::Primary.span(clamp(text, span.clone()))),
        ),
        None => {
            let origin = annotate_snippets::Origin::path(problem.file.as_str());
            let number = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
            title.element(match problem.line {
                0 => origin,
                line => origin.line(number(line)).char_column(number(problem.column)),
            })
        }
    };
    if let Some(help) = &problem.help {
        group = group.element(Level::HELP.message(help));
    }
    group
}

/// One JSON object per problem and line.
pub fn json_lines(problems: &[Problem]) -> String {
    let mut lines = String::new();
    for problem in problems {
        let object = serde_json::to_string(problem).expect("strings and numbers can always be written as JSON");
        lines.push_str(&object);
        lines.push('\n');
    }
    lines
}

/// Line and column (in characters) of a byte offset, both from 1.
pub fn line_column(text: &str, offset: usize) -> (u32, u32) {
    let before = &text[..floor(text, offset)];
    let line_start = before.rfind('\n').map_or(0, |n| n + 1);
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = before[line_start..].chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

/// The nearest character boundary at or before `offset`.
fn floor(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// A span inside the text, on character boundaries.
fn clamp(text: &str, span: Range<usize>) -> Range<usize> {
    let start = floor(text, span.start);
    start..floor(text, span.end).max(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_sorted_and_tell_their_severity() {
        for pair in Code::ALL.windows(2) {
            assert!(pair[0].as_str() < pair[1].as_str(), "{} {}", pair[0], pair[1]);
        }
        assert_eq!(Code::RunsAsRoot.severity(), Severity::Warning);
        assert_eq!(Code::UnknownKey.severity(), Severity::Error);
    }

    #[test]
    fn columns_count_characters_and_not_bytes() {
        let text = "a\nä = ö";
        assert_eq!(line_column(text, text.find('ö').unwrap()), (2, 5));
        assert_eq!(line_column(text, 10_000), (2, 6));
    }

    #[test]
    fn a_span_inside_a_character_or_past_the_end_is_drawn_all_the_same() {
        let text = "ä = 1\n";
        let inside = Problem::at(Code::UnknownKey, "f", text, 1..2, "m");
        let past = Problem::at(Code::UnknownKey, "f", text, 90..95, "m");
        assert!(render(&[inside, past], text, Style::default()).contains("error[E0102]: m"));
    }

    #[test]
    fn json_has_the_documented_fields_in_order() {
        let problem = Problem::at(Code::UnknownKey, "web.toml", "a = 1\n", 0..1, "m").key("a").help("h");
        assert_eq!(
            json_lines(&[problem]),
            "{\"v\":1,\"code\":\"E0102\",\"severity\":\"error\",\"file\":\"web.toml\",\"line\":1,\"column\":1,\
             \"key\":\"a\",\"message\":\"m\",\"help\":\"h\"}\n"
        );
        let file = Problem::of_file(Code::NotAFile, "x", "m");
        assert!(json_lines(&[file]).contains("\"line\":null,\"column\":null,\"key\":null"));
    }
}

//! Text → typed values with their places. Collects every problem of a file instead of stopping at the first.
//!
//! serde would stop at the first mistake and visit tables in alphabetical order; so this walks the parsed document
//! along the key table itself. What is decoded here is each value alone; what only makes sense together is
//! [`super::validate`]'s.

mod command;
pub(in crate::unit) mod condition;
mod kinds;
mod number;
mod shape;
mod suggest;
mod tables;
mod value;
mod word;

pub(super) use value::{Entry, MountEntry, Places, Source, UserWord, Value, Values};

use super::keys::{self, Key, Kind, Table};
use super::problem::{Code, Problem, line_column};
use super::value::Bad;
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Collects problems of one text.
pub(super) struct Sink<'t> {
    file: &'t str,
    text: &'t str,
    /// In the order of finding.
    pub problems: Vec<Problem>,
    /// Lines with a syntax error: what the parser made of them is a guess, and complaints about it would be noise.
    broken: Vec<u32>,
    /// A problem already reported says where `service.exec` went.
    pub meant_exec: bool,
}

impl<'t> Sink<'t> {
    pub(super) fn new(file: &'t str, text: &'t str) -> Sink<'t> {
        Sink { file, text, problems: Vec::new(), broken: Vec::new(), meant_exec: false }
    }

    /// Records a problem at `span`.
    pub(super) fn add(
        &mut self,
        code: Code,
        span: Range<usize>,
        key: &str,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let mut problem = Problem::at(code, self.file, self.text, span, message);
        problem.help = help;
        problem.key = (!key.is_empty()).then(|| key.to_owned());
        if !self.broken.contains(&problem.line) {
            self.problems.push(problem);
        }
    }

    fn bad(&mut self, bad: Bad, span: Range<usize>, key: &str) {
        self.add(bad.code, span, key, bad.message, bad.help);
    }

    fn wrong_type(&mut self, value: &Spanned<DeValue<'_>>, key: &str, expected: &str, help: Option<String>) {
        let found = describe(value.get_ref());
        self.add(Code::WrongType, value.span(), key, format!("`{key}` takes {expected}, not {found}"), help);
    }

    /// Has any line not even been TOML?
    pub(super) fn has_syntax_errors(&self) -> bool {
        !self.broken.is_empty()
    }
}

/// "a string", "an array".
fn describe(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// Decodes a whole file. The values of what is wrong are missing from the result; the problems are in `sink`.
pub(super) fn decode(sink: &mut Sink<'_>) -> Values {
    let (document, errors) = DeTable::parse_recoverable(sink.text);
    let mut unclosed = false;
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        let line = line_column(sink.text, span.start).0;
        let known = sink.problems.iter().any(|p| p.line == line) || sink.broken.contains(&line);
        // After a text without its end the parser is lost until the next bracket; what it says there is noise.
        let noise = known || unclosed && error.message().contains("array");
        unclosed |= error.message().starts_with("invalid") && error.message().contains("string");
        sink.broken.retain(|l| *l != line);
        if noise {
            sink.broken.push(line);
        } else {
            syntax_error(sink, error.message(), span);
        }
    }
    let reported: Vec<u32> = sink.problems.iter().map(|p| p.line).collect();
    sink.broken.extend(reported);
    let mut values = Values::default();
    for (name, value) in document.get_ref() {
        top_level(sink, &mut values, name.get_ref(), name.span(), value);
    }
    values
}

fn syntax_error(sink: &mut Sink<'_>, message: &str, span: Range<usize>) {
    let quoted = sink.text.get(span.clone()).unwrap_or_default().trim();
    let rest_of_line = sink.text.get(span.start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let is_header = sink.text[..span.start].ends_with('[');
    let (code, message, help) = match () {
        () if message.starts_with("duplicate key") && is_header => {
            (Code::DuplicateKey, format!("[{quoted}] is given twice"), Some("join the two tables"))
        }
        () if message.starts_with("duplicate key") => {
            (Code::DuplicateKey, format!("`{quoted}` is given twice"), Some("remove one of the two"))
        }
        () if message.contains("must be quoted") && rest_of_line.trim().is_empty() => {
            (Code::Syntax, "the value is missing".to_owned(), None)
        }
        () if message.contains("must be quoted") => {
            let message = message.split('\n').next().unwrap_or(message);
            (Code::Syntax, message.to_owned(), Some("texts stand in double quotes"))
        }
        () => (Code::Syntax, message.replace('\n', ", "), None),
    };
    // A caret at the very end of the text belongs to its last line, not to one behind it.
    let past = span.start > 0 && span.is_empty() && span.start >= sink.text.len();
    let start = if past { span.start - 1 } else { span.start };
    let mut problem = Problem::at(code, sink.file, sink.text, start..span.end.max(start), message);
    problem.help = help.map(str::to_owned);
    sink.problems.push(problem);
}

fn top_level(sink: &mut Sink<'_>, values: &mut Values, name: &str, span: Range<usize>, value: &Spanned<DeValue<'_>>) {
    if name.starts_with("x-") {
        return;
    }
    let top = keys::table("").expect("the key table has the top of the file");
    if let Some(key) = top.key(name) {
        return entry(sink, values, top, key, span, value);
    }
    let Some(table) = keys::table(name).filter(|t| !t.name.contains('.')) else {
        return suggest::unknown_at_top(sink, name, span, value);
    };
    if !table.supported {
        sink.add(Code::NotSupported, span, name, format!("{} is not supported yet", table.header()), None);
        return;
    }
    values.headers.entry(table.name).or_insert(span.clone());
    sink.meant_exec |= table.name == "service" && !value.get_ref().is_table();
    match (value.get_ref(), table.array) {
        (DeValue::Table(content), false) => table_content(sink, values, table, content),
        (DeValue::Array(items), true) => {
            for (index, item) in items.iter().enumerate() {
                match item.get_ref() {
                    DeValue::Table(content) => {
                        let mut one = Values::default();
                        table_content(sink, &mut one, table, content);
                        values.mounts.push(MountEntry { index, span: item.span(), values: one });
                    }
                    _ => sink.wrong_type(item, &format!("{name}[{index}]"), "a table", None),
                }
            }
        }
        (DeValue::Table(_), true) => {
            let help = Some(format!("write the header as [[{name}]]"));
            sink.add(Code::WrongType, span, name, format!("`{name}` is an array of tables"), help);
        }
        (DeValue::Array(items), false) if items.iter().all(|i| i.get_ref().is_table()) => {
            let help = Some(format!("write the header as [{name}], once"));
            sink.add(Code::WrongType, span, name, format!("`{name}` is a table, not an array of tables"), help);
        }
        _ => sink.wrong_type(value, name, "a table", Some(format!("write it as [{name}] with keys below"))),
    }
}

fn table_content(sink: &mut Sink<'_>, values: &mut Values, table: &'static Table, content: &DeTable<'_>) {
    for (name, value) in content {
        match table.key(name.get_ref()) {
            Some(key) => entry(sink, values, table, key, name.span(), value),
            None => suggest::unknown_key(sink, table, name.get_ref(), name.span()),
        }
    }
}

fn entry(
    sink: &mut Sink<'_>,
    values: &mut Values,
    table: &'static Table,
    key: &'static Key,
    key_span: Range<usize>,
    value: &Spanned<DeValue<'_>>,
) {
    let dotted = table.dotted(key);
    if !key.supported {
        sink.add(Code::NotSupported, key_span, &dotted, format!("`{dotted}` is not supported yet"), None);
        return;
    }
    if key.kind == Kind::Table {
        let sub = keys::table(&dotted).expect("the key table has every table that one of its keys names");
        match value.get_ref() {
            DeValue::Table(content) => table_content(sink, values, sub, content),
            _ => sink.wrong_type(value, &dotted, "a table", None),
        }
        return;
    }
    values.attempted.insert((table.name, key.name));
    let before = sink.problems.len();
    let mut items = Vec::new();
    let decoded = kinds::decode(sink, key.kind, &dotted, value, &mut items);
    if let (Some(decoded), true) = (decoded, sink.problems.len() == before) {
        let place = Places { key: key_span, value: value.span(), items };
        values.insert(table.name, key.name, Entry { value: decoded, source: Source::File(place) });
    }
}

/// Decodes a value that is part of the program: a default, or a profile's.
///
/// # Panics
/// When the text does not fit the key: a mistake in the key table, found by the first test that parses anything.
pub(super) fn built_in(table: &'static Table, key: &'static Key, toml: &str, source: Source) -> Entry {
    let value = DeValue::parse(toml).unwrap_or_else(|e| panic!("built-in value of {}: {e}", table.dotted(key)));
    let mut sink = Sink::new("built-in", toml);
    let decoded = kinds::decode(&mut sink, key.kind, &table.dotted(key), &value, &mut Vec::new());
    assert!(sink.problems.is_empty(), "built-in value of {}: {:?}", table.dotted(key), sink.problems);
    let value = decoded.unwrap_or_else(|| panic!("built-in value of {} is not decoded", table.dotted(key)));
    Entry { value, source }
}

/// Places of all written keys, as line and column: what stays of the text when it is gone.
pub(super) fn written_places(values: &Values, text: &str) -> BTreeMap<String, (u32, u32)> {
    let mut places = BTreeMap::new();
    for ((table, key), entry) in values.iter() {
        if let Source::File(place) = &entry.source {
            let dotted = if table.is_empty() { (*key).to_owned() } else { format!("{table}.{key}") };
            places.insert(dotted, line_column(text, place.key.start));
        }
    }
    for mount in &values.mounts {
        let name = format!("mounts[{}]", mount.index);
        for ((_, key), entry) in mount.values.iter() {
            if let Source::File(place) = &entry.source {
                places.insert(format!("{name}.{key}"), line_column(text, place.key.start));
            }
        }
        places.insert(name, line_column(text, mount.span.start));
    }
    places
}

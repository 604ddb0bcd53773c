//! Text → typed values with their places. Collects every problem of a file instead of stopping at the first.
//!
//! serde would stop at the first mistake and visit tables in alphabetical order; so this walks the parsed document
//! along the key table itself. What is decoded here is each value alone; what only makes sense together is
//! [`super::validate`]'s.

mod command;
pub(in crate::unit) mod condition;
mod edit;
mod kinds;
mod number;
mod shape;
mod suggest;
mod tables;
mod value;
mod word;

pub(super) use command::check_program;
pub(super) use kinds::is_list;
pub(super) use value::{
    BuiltIn, Edit, EditedList, Entry, History, MountEntry, Places, Source, UserWord, Value, Values,
};

use super::keys::{self, Key, Kind, Table};
use super::problem::{Code, Problem, line_column};
use super::texts::{At, Texts, UnitText};
use super::value::Bad;
use super::variables::{self, Variables};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What a text describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    Unit,
    /// `NAME.slice.toml`
    Slice,
}

/// Collects problems of the texts of one unit.
pub(super) struct Sink<'t> {
    texts: Texts<'t>,
    /// The text that is being decoded.
    current: usize,
    /// What to add to a span: the beginning of the text that is being decoded; 0 when all are, as spans are offsets in
    /// all texts then.
    base: usize,
    /// In the order of finding.
    pub problems: Vec<Problem>,
    /// Text and line of syntax errors: what the parser made of them is a guess, and complaints about it would be noise.
    broken: Vec<(usize, u32)>,
    /// A problem already reported says where `service.exec` went.
    pub meant_exec: bool,
    /// What the texts describe.
    pub kind: FileKind,
    variables: Variables,
}

impl<'t> Sink<'t> {
    pub(super) fn new(texts: &[UnitText<'t>], variables: Variables) -> Sink<'t> {
        let texts = Texts::new(texts);
        let (problems, broken, kind) = (Vec::new(), Vec::new(), FileKind::Unit);
        Sink { texts, current: 0, base: 0, problems, broken, meant_exec: false, kind, variables }
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
        let span = self.absolute(span);
        let mut problem = self.texts.problem(code, span.clone(), message);
        problem.help = help;
        problem.key = (!key.is_empty()).then(|| key.to_owned());
        if !self.broken.contains(&(self.texts.number_of(span.start), problem.line)) {
            self.problems.push(problem);
        }
    }

    /// A span of the text that is being decoded as offsets in all texts.
    fn absolute(&self, span: Range<usize>) -> Range<usize> {
        span.start + self.base..span.end + self.base
    }

    /// What names in texts stand for.
    pub(super) fn variables(&self) -> &Variables {
        &self.variables
    }

    /// What stands at a span of the text that is being decoded.
    pub(super) fn written(&self, span: &Range<usize>) -> &'t str {
        self.excerpt(&self.absolute(span.clone()))
    }

    /// What stands at offsets in all texts.
    pub(super) fn excerpt(&self, span: &Range<usize>) -> &'t str {
        let (base, text) = self.texts.get(self.texts.number_of(span.start));
        text.text.get(span.start - base..span.end.saturating_sub(base)).unwrap_or_default()
    }

    /// File, line and column of an offset in all texts.
    pub(super) fn locate(&self, offset: usize) -> At {
        self.texts.locate(offset)
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

/// Arrays of tables, each with the key by which an entry is known.
const ARRAYS: [(&str, Option<&str>); 3] =
    [("mounts", Some("destination")), ("sockets", Some("listen")), ("timers", None)];

/// Decodes all texts, a later one over the earlier ones. The values of what is wrong are missing from the result; the
/// problems are in `sink`.
pub(super) fn decode(sink: &mut Sink<'_>) -> Values {
    let mut values = Values::default();
    let mut documents = Vec::with_capacity(sink.texts.len());
    for number in 0..sink.texts.len() {
        let (base, text) = sink.texts.get(number);
        (sink.current, sink.base) = (number, base);
        documents.push(parse(sink, text));
    }
    if documents.iter().any(accepts) {
        sink.variables.accepts();
    }
    sink.variables.user = Some(user(&sink.variables, &documents));
    for (number, document) in documents.iter().enumerate() {
        (sink.current, sink.base) = (number, sink.texts.get(number).0);
        let inherited = ARRAYS.map(|(table, _)| std::mem::take(values.array(table)));
        for (name, value) in document.get_ref() {
            top_level(sink, &mut values, name.get_ref(), name.span(), value);
        }
        for (array, inherited) in ARRAYS.into_iter().zip(inherited) {
            edit::array(&mut values, array, inherited, document.get_ref());
        }
    }
    sink.base = 0;
    values
}

/// Does a socket of this text accept connections?
fn accepts(document: &Spanned<DeTable<'_>>) -> bool {
    let sockets = document.get_ref().get("sockets").and_then(|sockets| sockets.get_ref().as_array());
    let accept = |socket: &Spanned<DeValue<'_>>| {
        socket.get_ref().as_table()?.get("accept")?.get_ref().as_bool().filter(|accept| *accept)
    };
    sockets.is_some_and(|sockets| sockets.iter().any(|socket| accept(socket).is_some()))
}

/// What `${user}` stands for: the last `service.user` of all texts, as it is written.
fn user(variables: &Variables, documents: &[Spanned<DeTable<'_>>]) -> String {
    let written = documents.iter().rev().find_map(|document| {
        let service = document.get_ref().get("service")?.get_ref().as_table()?;
        let user = service.get("user")?.get_ref();
        match user.as_integer() {
            Some(number) => Some(number.as_str().to_owned()),
            None => variables::in_text(user.as_str()?, variables),
        }
    });
    written.unwrap_or_else(|| "root".to_owned())
}

/// The document of one text, with its syntax errors reported.
fn parse<'t>(sink: &mut Sink<'_>, text: UnitText<'t>) -> Spanned<DeTable<'t>> {
    let (document, errors) = DeTable::parse_recoverable(text.text);
    let number = sink.current;
    let mut unclosed = false;
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        let line = line_column(text.text, span.start).0;
        let reported = sink.problems.iter().any(|p| p.line == line && p.file == text.file);
        let known = reported || sink.broken.contains(&(number, line));
        // After a text without its end the parser is lost until the next bracket; what it says there is noise.
        let noise = known || unclosed && error.message().contains("array");
        unclosed |= error.message().starts_with("invalid") && error.message().contains("string");
        sink.broken.retain(|l| *l != (number, line));
        if noise {
            sink.broken.push((number, line));
        } else {
            let problem = syntax_error(text, error.message(), span);
            sink.broken.push((number, problem.line));
            sink.problems.push(problem);
        }
    }
    document
}

fn syntax_error(UnitText { file, text }: UnitText<'_>, message: &str, span: Range<usize>) -> Problem {
    let quoted = text.get(span.clone()).unwrap_or_default().trim();
    let rest_of_line = text.get(span.start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let is_header = text[..span.start].ends_with('[');
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
    let past = span.start > 0 && span.is_empty() && span.start >= text.len();
    let start = if past { span.start - 1 } else { span.start };
    let problem = Problem::at(code, file, text, start..span.end.max(start), message);
    Problem { help: help.map(str::to_owned), ..problem }
}

fn top_level(sink: &mut Sink<'_>, values: &mut Values, name: &str, span: Range<usize>, value: &Spanned<DeValue<'_>>) {
    if name.starts_with("x-") {
        return;
    }
    let top = keys::table("").expect("the key table has the top of the file");
    if let Some(key) = top.key(name) {
        return entry(sink, values, top, key, span, value);
    }
    if sink.kind == FileKind::Slice || name == keys::SLICE.name {
        return slice_table(sink, values, name, span, value);
    }
    let Some(table) = keys::table(name).filter(|t| !t.name.contains('.')) else {
        return suggest::unknown_at_top(sink, name, span, value);
    };
    values.headers.entry(table.name).or_insert(sink.absolute(span.clone()));
    sink.meant_exec |= table.name == "service" && !value.get_ref().is_table();
    match (value.get_ref(), table.array) {
        (DeValue::Table(content), false) => table_content(sink, values, table, content),
        (DeValue::Array(items), true) => {
            for (index, item) in items.iter().enumerate() {
                match item.get_ref() {
                    DeValue::Table(content) => {
                        let mut one = Values::default();
                        table_content(sink, &mut one, table, content);
                        let span = sink.absolute(item.span());
                        values.array(table.name).push(MountEntry { index, span, values: one });
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

/// The two tables of a slice's file; of `[resources]` it has what a group of several units can be limited by.
fn slice_table(sink: &mut Sink<'_>, values: &mut Values, name: &str, span: Range<usize>, value: &Spanned<DeValue<'_>>) {
    if sink.kind == FileKind::Unit {
        let help =
            Some("a slice has a file of its own, NAME.slice.toml; a unit names it by resources.slice".to_owned());
        return sink.add(Code::UnknownTable, span, name, "[slice] is no table of a unit", help);
    }
    let table = match name {
        "slice" => &keys::SLICE,
        "resources" => keys::table("resources").expect("the key table has the limits"),
        _ => {
            let message = format!("[{name}] is no table of a slice, which has [slice] and [resources]");
            return sink.add(Code::UnknownTable, span, name, message, None);
        }
    };
    values.headers.entry(table.name).or_insert(sink.absolute(span));
    let DeValue::Table(content) = value.get_ref() else {
        return sink.wrong_type(value, name, "a table", Some(format!("write it as [{name}] with keys below")));
    };
    for (name, value) in content {
        match table.key(name.get_ref()) {
            Some(key) if keys::NOT_OF_A_SLICE.contains(&key.name) => {
                let dotted = table.dotted(key);
                sink.add(
                    Code::UnknownKey,
                    name.span(),
                    &dotted,
                    format!("`{dotted}` is for units, not for slices"),
                    None,
                );
            }
            Some(key) => entry(sink, values, table, key, name.span(), value),
            None => suggest::unknown_key(sink, table, name.get_ref(), name.span()),
        }
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
    let Some(value) = variables::expand(sink, key.kind, &dotted, value) else { return };
    let value = value.as_ref();
    if edit::is_edit(key.kind, value.get_ref()) {
        return edit::decode(sink, values, table, key, key_span, value);
    }
    let before = sink.problems.len();
    let mut items = Vec::new();
    let decoded = kinds::decode(sink, key.kind, &dotted, value, &mut items);
    if let (Some(decoded), true) = (decoded, sink.problems.len() == before) {
        let items = items.into_iter().map(|item| sink.absolute(item)).collect();
        let place = Places { key: sink.absolute(key_span), value: sink.absolute(value.span()), items };
        edit::set(values, table, key, decoded, place);
    }
}

/// Decodes a value that is part of the program: a default, or a profile's.
///
/// # Panics
/// When the text does not fit the key: a mistake in the key table, found by the first test that parses anything.
pub(super) fn built_in(table: &'static Table, key: &'static Key, toml: &str, source: Source) -> Entry {
    let value = DeValue::parse(toml).unwrap_or_else(|e| panic!("built-in value of {}: {e}", table.dotted(key)));
    let mut sink = Sink::new(&[UnitText { file: "built-in", text: toml }], Variables::default());
    let decoded = kinds::decode(&mut sink, key.kind, &table.dotted(key), &value, &mut Vec::new());
    assert!(sink.problems.is_empty(), "built-in value of {}: {:?}", table.dotted(key), sink.problems);
    let value = decoded.unwrap_or_else(|| panic!("built-in value of {} is not decoded", table.dotted(key)));
    Entry { value, source }
}

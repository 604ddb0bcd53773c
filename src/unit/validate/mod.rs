//! Values → [`Unit`]: what only makes sense together. If you hold a [`Unit`], these checks have passed.

mod assemble;
mod calls;
mod checks;
mod credentials;
mod hooks;
mod identity;
mod logging;
mod mounts;
mod paths;
mod peers;
mod ports;
mod replicas;
mod shares;
mod sockets;
mod timers;
mod watched;

use super::decode::{self, Entry, FileKind, History, Sink, Source, Value, Values};
use super::keys;
use super::layer;
use super::print;
use super::problem::{self, Code, Problem, Severity};
use super::texts::UnitText;
use super::variables::Variables;
use super::{Changes, Profile, Settings, Unit, WrittenKey};

/// A file larger than this is not a unit.
pub const MAX_UNIT_SIZE: usize = 1 << 20;

/// More drop-ins than this are a mistake.
pub const MAX_DROP_INS: usize = 256;

/// What a caller may say besides the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParseOptions<'o> {
    /// `--profile`: instead of the unit's own. `login` and `host` then win over the unit's lines about isolation, so
    /// that `--profile host` answers "is it the sandbox?".
    pub profile: Option<Profile>,
    /// What `${host}` stands for; `localhost` when nobody says it.
    pub host: Option<&'o str>,
}

/// What a check may look at: the values with their places, and the settings that they mean.
struct Checked<'v> {
    values: &'v Values,
    settings: &'v Settings,
}

impl Unit {
    /// Reads a unit. `file` is only named in problems.
    ///
    /// # Errors
    /// All problems, sorted by place; at least one is an error. A valid unit comes with its warnings.
    pub fn parse(name: &str, file: &str, text: &str) -> Result<(Unit, Vec<Problem>), Vec<Problem>> {
        Unit::parse_with(name, file, text, ParseOptions::default())
    }

    /// The same for bytes as they came from a disk.
    ///
    /// # Errors
    /// As [`Unit::parse`]; [`Code::NotUtf8`] with the offset of the first wrong byte, [`Code::TooBig`].
    pub fn parse_bytes(name: &str, file: &str, bytes: &[u8]) -> Result<(Unit, Vec<Problem>), Vec<Problem>> {
        Unit::parse_bytes_with(name, file, bytes, ParseOptions::default())
    }

    /// The same with more to say.
    ///
    /// # Errors
    /// As [`Unit::parse_bytes`].
    pub fn parse_bytes_with(
        name: &str,
        file: &str,
        bytes: &[u8],
        options: ParseOptions<'_>,
    ) -> Result<(Unit, Vec<Problem>), Vec<Problem>> {
        let text = text_of(file, bytes).map_err(|p| vec![*p])?;
        Unit::parse_with(name, file, text, options)
    }

    /// The same with more to say.
    ///
    /// # Errors
    /// As [`Unit::parse`].
    pub fn parse_with(
        name: &str,
        file: &str,
        text: &str,
        options: ParseOptions<'_>,
    ) -> Result<(Unit, Vec<Problem>), Vec<Problem>> {
        Unit::parse_texts(name, &[UnitText { file, text }], options)
    }

    /// The same for a file and its drop-ins, in the order in which they apply.
    ///
    /// # Errors
    /// As [`Unit::parse`]; [`Code::DropIn`] for more than [`MAX_DROP_INS`].
    ///
    /// # Panics
    /// Without any text.
    pub fn parse_texts(
        name: &str,
        texts: &[UnitText<'_>],
        options: ParseOptions<'_>,
    ) -> Result<(Unit, Vec<Problem>), Vec<Problem>> {
        Unit::parse_as(FileKind::Unit, name, texts, options)
    }

    /// The same for a file of either kind: that of a slice becomes a unit without a command, of which `[resources]` counts.
    ///
    /// # Errors
    /// As [`Unit::parse_texts`].
    pub(in crate::unit) fn parse_as(
        kind: FileKind,
        name: &str,
        texts: &[UnitText<'_>],
        options: ParseOptions<'_>,
    ) -> Result<(Unit, Vec<Problem>), Vec<Problem>> {
        let file = texts.first().expect("a unit has at least its file").file;
        let big: Vec<Problem> =
            texts.iter().filter(|t| t.text.len() > MAX_UNIT_SIZE).map(|t| too_big(t.file)).collect();
        if !big.is_empty() {
            return Err(big);
        }
        if texts.len() > MAX_DROP_INS + 1 {
            let message = format!("the unit has {} drop-ins, more than {MAX_DROP_INS}", texts.len() - 1);
            return Err(vec![Problem::of_file(Code::DropIn, file, message)]);
        }
        let mut sink = Sink::new(texts, Variables::new(name, options.host.unwrap_or("localhost")));
        sink.kind = kind;
        if let Err(bad) = super::value::unit_name(name) {
            let mut problem = Problem::of_file(Code::BadUnitName, file, bad.message);
            problem.help = bad.help;
            sink.problems.push(problem);
        }
        let mut values = decode::decode(&mut sink);
        match kind {
            FileKind::Unit => require(&mut sink, &values),
            FileKind::Slice => layer::fill_slice(&mut values),
        }
        layer::fill(&mut sink, &mut values, options.profile);
        let settings = assemble::assemble(&mut sink, name, file, &mut values);
        let checked = Checked { values: &values, settings: &settings };
        match kind {
            FileKind::Unit => {
                checked.all(&mut sink);
                replicas::all(&mut sink, &checked, texts);
            }
            FileKind::Slice => checks::resources(&mut sink, &checked),
        }
        let written = written(&values, &sink);
        let mut problems = sink.problems;
        problem::sort(&mut problems);
        if problems.iter().any(|p| p.severity() == Severity::Error) {
            return Err(problems);
        }
        let drop_ins = texts[1..].iter().map(|text| text.file.into()).collect();
        Ok((Unit { settings, written, drop_ins }, problems))
    }
}

impl Checked<'_> {
    fn all(&self, sink: &mut Sink<'_>) {
        checks::all(sink, self);
        sockets::all(sink, self);
        timers::all(sink, self);
        hooks::all(sink, self);
        logging::all(sink, self);
        credentials::all(sink, self);
        identity::all(sink, self);
        paths::all(sink, self);
        ports::all(sink, self);
        shares::all(sink, self);
        peers::all(sink, self);
    }
}

/// The bytes as text.
///
/// # Errors
/// [`Code::NotUtf8`] with line and column of the first wrong byte, [`Code::TooBig`].
pub fn text_of<'b>(file: &str, bytes: &'b [u8]) -> Result<&'b str, Box<Problem>> {
    if bytes.len() > MAX_UNIT_SIZE {
        return Err(Box::new(too_big(file)));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let offset = error.valid_up_to();
        let valid = std::str::from_utf8(&bytes[..offset]).unwrap_or_default();
        let (line, column) = problem::line_column(valid, offset);
        let byte = bytes.get(offset).copied().unwrap_or_default();
        let message = format!("the file is not UTF-8: byte 0x{byte:02x} at offset {offset}");
        let problem = Problem::of_file(Code::NotUtf8, file, message).help("save it as UTF-8");
        Box::new(Problem { line, column, ..problem })
    })
}

fn too_big(file: &str) -> Problem {
    Problem::of_file(Code::TooBig, file, "the file is larger than 1 MiB, which no unit is")
}

/// The only required key.
fn require(sink: &mut Sink<'_>, values: &Values) {
    if values.attempted.contains(&("service", "exec")) || sink.has_syntax_errors() || sink.meant_exec {
        return;
    }
    let place = values.headers.get("service").cloned();
    let help = "write exec = [\"/usr/bin/program\", \"argument\"] below [service]";
    let message = "`service.exec` is missing: there is nothing to run";
    sink.add(Code::Missing, place.unwrap_or(0..0), "service.exec", message, Some(help.to_owned()));
}

/// What stays of the texts: every key whose value is not plainly the profile's or the built-in one, printed.
fn written(values: &Values, sink: &Sink<'_>) -> Box<[WrittenKey]> {
    let place = |entry: &Entry| match &entry.source {
        Source::File(place) => Some(sink.locate(place.key.start)),
        Source::Profile | Source::Default => None,
    };
    let elements = |entry: &Entry| match &entry.source {
        Source::File(place) => {
            let places = place.items.iter().map(|item| sink.locate(item.start));
            names(&entry.value).into_iter().map(String::into_boxed_str).zip(places).collect()
        }
        Source::Profile | Source::Default => Vec::new(),
    };
    let changes = |history: &History, entry: &Entry| Changes {
        base: match &history.base {
            Source::File(place) => Some(sink.locate(place.key.start)),
            Source::Profile | Source::Default => None,
        },
        of_profile: history.base == Source::Profile,
        places: history.changes.iter().map(|offset| sink.locate(*offset)).collect(),
        elements: elements(entry),
    };
    let printed = |value: &Value| Some(print::toml(value).into());
    let mut all: Vec<WrittenKey> = Vec::new();
    for (id @ (table, key), entry) in values.own() {
        if entry.source != Source::Default || (derived(table, key) && id != layer::BOUNDING_SET) {
            let dotted = if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") };
            let history = values.histories.get(&id).map(|history| Box::new(changes(history, entry)));
            all.push(WrittenKey { key: dotted.into(), value: printed(&entry.value), place: place(entry), history });
        }
    }
    for (table, item) in values.arrays() {
        let name = format!("{table}[{}]", item.index);
        for (key, entry) in item.values.of_table(table) {
            let key = format!("{name}.{key}").into();
            all.push(WrittenKey { key, value: printed(&entry.value), place: place(entry), history: None });
        }
        let header = Some(sink.locate(item.span.start));
        all.push(WrittenKey { key: name.into(), value: None, place: header, history: None });
    }
    // Tables that hold a written key are "written" as well: `resources.rlimits` for one of its limits.
    all.sort_by(|a, b| a.key.cmp(&b.key));
    all.into()
}

/// Elements of a list that a message would name.
fn names(value: &Value) -> Vec<String> {
    match value {
        Value::Texts(texts) => texts.clone(),
        Value::Paths(paths) => paths.iter().map(|entry| entry.path.display().to_string()).collect(),
        Value::CredentialPaths(all) => all.iter().map(|(name, _)| name.clone()).collect(),
        Value::CredentialTexts(all) => all.iter().map(|(name, _)| name.clone()).collect(),
        Value::PlainPaths(paths) => paths.iter().map(|path| path.display().to_string()).collect(),
        _ => Vec::new(),
    }
}

/// Keys whose built-in value depends on others.
fn derived(table: &str, key: &str) -> bool {
    matches!(
        (table, key),
        ("capabilities", "bounding") | ("namespaces", "mount" | "pid" | "user") | ("service", "activation")
    ) || layer::NEED_MOUNTS.iter().any(|(t, k, _)| (*t, *k) == (table, key))
}

/// The value of a key under a profile as TOML, for keys that [`written`] leaves out: a default as the key table has it.
pub(super) fn built_in_text(settings: &Settings, table: &keys::Table, key: &keys::Key) -> Option<String> {
    let base = layer::base(settings.security.profile).get(table.name, key.name);
    let bounding = || layer::bounding_of(settings.service.user.as_ref());
    let entry = base.or_else(|| ((table.name, key.name) == layer::BOUNDING_SET).then(bounding))?;
    let plain = key.default.filter(|_| entry.source == Source::Default && !derived(table.name, key.name));
    Some(plain.map_or_else(|| print::toml(&entry.value), str::to_owned))
}

//! `rsvc security`: how exposed units are, what is open, and what closes it. Needs no rights and no daemon.
//!
//! Two scores stand side by side: our own, and the one that systemd's method gives. `--method` says whose rows are shown
//! and which of the two `--max` means.

use super::args::Format;
use super::terminal::{Color, Look, harmless};
use super::units::{self, is_file};
use super::words::is_pattern;
use super::{Failure, Session, operate};
use crate::load::{self, Lookup, Trust};
use crate::score::{Compatible, Fix, Own, Posture, Row, compatible, equivalent, own};
use crate::unit::Unit;
use clap::ValueEnum;
use serde_json::json;

/// Whose rows and whose number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// rsvc's own: also what systemd's passes over
    Own,
    /// That of `systemd-analyze security`
    Systemd,
}

/// What is asked for.
pub struct Wish {
    /// Names, patterns, files; none is all units.
    pub targets: Vec<String>,
    /// Tenths: exit 1 when the score of a unit is above.
    pub max: Option<u32>,
    pub method: Method,
    /// Also what is closed.
    pub all: bool,
    /// Print the equivalent unit instead.
    pub as_systemd: bool,
}

/// A unit with both of its scores.
struct Scored {
    name: String,
    file: String,
    own: Own,
    systemd: Compatible,
}

impl Scored {
    /// A template keeps its own name: the unit is an instance that nobody has.
    fn of(unit: &Unit, target: &str) -> Scored {
        let posture = Posture::of(unit);
        let (own, systemd) = (own(&posture), compatible(&posture));
        let name = if load::example_of(target).is_some() { target } else { &unit.name };
        Scored { name: name.to_owned(), file: unit.file.clone(), own, systemd }
    }

    fn exposure(&self, method: Method) -> u32 {
        match method {
            Method::Own => self.own.exposure(),
            Method::Systemd => self.systemd.exposure(),
        }
    }

    fn rows(&self, method: Method) -> &[Row] {
        match method {
            Method::Own => &self.own.rows,
            Method::Systemd => &self.systemd.rows,
        }
    }
}

/// `security`: 0, or 1 when a score is above `--max`; 5 and 6 for units that are not there or not usable.
pub fn security(session: &mut Session<'_>, wish: &Wish) -> Result<u8, Failure> {
    if wish.as_systemd && session.format != Format::Table {
        return Err(Failure::new(2, "--as-systemd has no other form of output"));
    }
    let every = wish.targets.is_empty();
    let targets = if every { all_units(session) } else { targets(session, &wish.targets)? };
    let (mut code, mut above) = (0, 0);
    let mut scored = Vec::new();
    for target in targets {
        let unit = match units::parse(session, &target) {
            Ok((unit, ..)) => unit,
            Err(failure) => {
                session.say(&format!("rsvc: {failure}"));
                code = if code == 0 { failure.code() } else { code };
                continue;
            }
        };
        if wish.as_systemd {
            write!(session.out, "{}", equivalent(&Posture::of(&unit)))?;
            continue;
        }
        let unit = Scored::of(&unit, &target);
        if wish.max.is_some_and(|max| unit.exposure(wish.method) > max) {
            above += 1;
        }
        match session.format {
            Format::Json => session.object(&object(&unit, wish))?,
            _ => scored.push(unit),
        }
    }
    let cut = session.format != Format::Wide;
    let text = match scored.as_slice() {
        [] => String::new(),
        all if every => table(all, wish.max.map(|max| (wish.method, max)), session.look),
        some => some.iter().map(|unit| page(unit, wish, session.look, cut)).collect::<Vec<_>>().join("\n"),
    };
    super::terminal::page(&text, session.look, session.no_pager, session.out)?;
    if let (Some(max), true) = (wish.max, above > 0) {
        let whose = if wish.method == Method::Systemd { " by systemd's method" } else { "" };
        let units = if above == 1 { "1 unit is".to_owned() } else { format!("{above} units are") };
        session.say(&format!("rsvc: {units} above {}{whose}", tenths(max)));
        code = if code == 0 { 1 } else { code };
    }
    Ok(code)
}

/// Units and templates of the search path; masked ones are no units.
fn all_units(session: &Session<'_>) -> Vec<String> {
    let paths = session.instance.unit_path();
    let templates = load::templates(&paths).into_iter().map(|name| format!("{name}@"));
    let mut names: Vec<String> = load::list(&paths).into_iter().chain(templates).collect();
    names.retain(|name| {
        let name = load::example_of(name).unwrap_or_else(|| name.clone());
        !matches!(load::find(&paths, &name, Trust::Any), Ok(Lookup::Masked { .. }))
    });
    names.sort();
    names
}

/// Files as they are, names and patterns of units resolved.
fn targets(session: &Session<'_>, words: &[String]) -> Result<Vec<String>, Failure> {
    let listed = load::list(&session.instance.unit_path());
    let mut targets: Vec<String> = Vec::new();
    for word in words {
        let found = match is_pattern(word) && !is_file(word) {
            true => operate::expand(std::slice::from_ref(word), &listed)?,
            false => vec![word.clone()],
        };
        for target in found {
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
    }
    Ok(targets)
}

/// 15 as `1.5`.
fn tenths(n: u32) -> String {
    format!("{}.{}", n / 10, n % 10)
}

/// Points of our own as `0.30`, of systemd's as `0.5`.
fn amount(unit: &Scored, row: &Row, method: Method) -> String {
    match method {
        Method::Own => format!("{}.{:02}", row.open / 100, row.open % 100),
        Method::Systemd => tenths(unit.systemd.shown(row)),
    }
}

/// One unit: its scores, then its rows, the weightiest first.
fn page(unit: &Scored, wish: &Wish, look: Look, cut: bool) -> String {
    let mut text = format!(
        "{}: exposure {} of 10; by systemd's method {} {}\n",
        look.paint(Color::Bold, &harmless(&unit.name)),
        tenths(unit.own.exposure()),
        tenths(unit.systemd.exposure()),
        unit.systemd.word(),
    );
    let method = wish.method;
    let rows = sorted(unit.rows(method), wish.all);
    let what = |row: &Row| match row.weight {
        None => "does not apply".to_owned(),
        Some(_) if row.open == 0 => "closed".to_owned(),
        Some(_) => row.what.clone(),
    };
    let width = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let ids = width(&mut rows.iter().map(|row| row.id.chars().count()));
    let whats = width(&mut rows.iter().map(|row| what(row).chars().count()));
    for row in rows {
        let fix = match &row.fix {
            Some(fix) => fix.to_string(),
            None if row.open > 0 => "nothing in this version".to_owned(),
            None => String::new(),
        };
        let points = if row.open == 0 { "-".to_owned() } else { amount(unit, row, method) };
        let line = format!("  {points:>4}  {:<ids$}  {:<whats$}  {}", row.id, what(row), harmless(&fix));
        let line = line.trim_end();
        let line = look.width.filter(|_| cut).map_or_else(|| line.to_owned(), |width| look.cut(line, width));
        text += &if row.open == 0 { look.paint(Color::Dim, &line) } else { line };
        text.push('\n');
    }
    text
}

/// Open ones by weight; closed ones behind them where they are wanted.
fn sorted(rows: &[Row], all: bool) -> Vec<&Row> {
    let mut rows: Vec<&Row> = rows.iter().filter(|row| all || row.open > 0).collect();
    rows.sort_by_key(|row| std::cmp::Reverse((row.open, row.weight.is_some())));
    rows
}

/// One line for each unit.
fn table(units: &[Scored], max: Option<(Method, u32)>, look: Look) -> String {
    let width = units.iter().map(|unit| harmless(&unit.name).chars().count()).max().unwrap_or(0).max(4);
    let mut text = look.paint(Color::Bold, &format!("{:<width$}  EXPOSURE  SYSTEMD            OPEN", "UNIT")) + "\n";
    for unit in units {
        let line = format!(
            "{:<width$}  {:>8}  {:>4} {:<9}  {:>7}",
            harmless(&unit.name),
            tenths(unit.own.exposure()),
            tenths(unit.systemd.exposure()),
            unit.systemd.word(),
            unit.own.rows.iter().filter(|row| row.open > 0).count(),
        );
        let above = max.is_some_and(|(method, max)| unit.exposure(method) > max);
        text += &if above { look.paint(Color::Red, &format!("{line}  above --max")) } else { line };
        text.push('\n');
    }
    text
}

/// Numbers are tenths as decimals; points are integers.
fn object(unit: &Scored, wish: &Wish) -> serde_json::Value {
    let decimal = |tenths: u32| f64::from(tenths) / 10.0;
    let rows = |rows: &[Row]| -> Vec<serde_json::Value> {
        rows.iter().filter(|row| wish.all || row.open > 0).map(row_object).collect()
    };
    json!({
        "v": 1,
        "name": unit.name,
        "file": unit.file,
        "exposure": decimal(unit.own.exposure()),
        "points": unit.own.points(),
        "points_max": Own::ALL,
        "rows": rows(&unit.own.rows),
        "systemd": {
            "exposure": decimal(unit.systemd.exposure()),
            "word": unit.systemd.word(),
            "points": unit.systemd.open(),
            "points_max": unit.systemd.weight(),
            "rows": rows(&unit.systemd.rows),
        },
        "max": wish.max.map(decimal),
        "above_max": wish.max.map(|max| unit.exposure(wish.method) > max),
    })
}

fn row_object(row: &Row) -> serde_json::Value {
    let fix = row
        .fix
        .as_ref()
        .map(|Fix(keys)| keys.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect::<Vec<_>>());
    json!({
        "id": row.id,
        "points": row.open,
        "points_max": row.weight,
        "what": (row.open > 0).then_some(&row.what),
        "fix": fix,
    })
}

/// `--max`: 0 to 10 with one decimal, as tenths.
///
/// # Errors
/// A sentence for people.
pub fn parse_max(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{}` is not a number from 0 to 10 with at most one decimal", text.escape_debug());
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || part.len() > 1 {
        return Err(wrong());
    }
    let whole: u32 = whole.parse().map_err(|_| wrong())?;
    let part: u32 = part.parse().map_err(|_| wrong())?;
    let tenths = whole.checked_mul(10).and_then(|whole| whole.checked_add(part)).ok_or_else(wrong)?;
    if tenths > 100 { Err(wrong()) } else { Ok(tenths) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(text: &str) -> Scored {
        Scored::of(&Unit::parse("web", "web.toml", text).expect("a unit").0, "web")
    }

    fn wish(method: Method, all: bool) -> Wish {
        Wish { targets: Vec::new(), max: Some(30), method, all, as_systemd: false }
    }

    const STRICT: &str = "[service]\nexec = [\"/bin/true\"]\nuser = \"web\"\n[security]\nprofile = \"strict\"\n[network]\nmode = \"loopback\"\n";

    #[test]
    fn the_limit_is_a_number_of_tenths() {
        for (text, tenths) in [("0", 0), ("3", 30), ("1.5", 15), ("10", 100), ("10.0", 100)] {
            assert_eq!(parse_max(text), Ok(tenths));
        }
        for text in ["", ".5", "1.", "1.55", "10.1", "-1", "1,5", "+1", "99999999999", "999999999"] {
            assert!(parse_max(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_page_has_a_line_for_each_open_point_and_with_all_for_every_point() {
        let unit = scored(STRICT);
        for method in [Method::Own, Method::Systemd] {
            let open = unit.rows(method).iter().filter(|row| row.open > 0).count();
            let lines = |all| page(&unit, &wish(method, all), Look::PLAIN, true).lines().count();
            assert_eq!((lines(false), lines(true)), (open + 1, unit.rows(method).len() + 1));
        }
        let text = page(&unit, &wish(Method::Own, false), Look::PLAIN, true);
        assert!(text.lines().any(|line| line.starts_with("  0.20  memory") && line.ends_with("memory_max = \"1G\"")));
    }

    #[test]
    fn our_rows_add_up_to_our_score_and_the_object_says_so() {
        let unit = scored("[service]\nexec = [\"/bin/true\"]\n");
        let object = object(&unit, &wish(Method::Own, false));
        let rows = object["rows"].as_array().expect("rows");
        let sum: u64 = rows.iter().map(|row| row["points"].as_u64().expect("points")).sum();
        assert_eq!(object["points"], sum);
        assert_eq!(object["above_max"], unit.own.exposure() > 30);
        assert!(rows.iter().all(|row| row["what"].is_string()));
    }
}

//! Units of these tests as they are parsed.

use rsvc::unit::*;

/// As little as a unit can say.
pub const MINIMAL: &str = "[service]\nexec = [\"/usr/bin/program\"]\n";

/// The unit, with its warnings, when its author is overruled about the profile.
pub fn parse_with(text: &str, profile: Option<Profile>) -> (Unit, Vec<Problem>) {
    match Unit::parse_with("web", "web.toml", text, ParseOptions { profile, ..ParseOptions::default() }) {
        Ok(parsed) => parsed,
        Err(problems) => panic!("{}", problem::render(&problems, text, problem::Style::default())),
    }
}

/// The unit, with its warnings; panics with the drawn problems if it is refused.
pub fn parse(text: &str) -> (Unit, Vec<Problem>) {
    parse_with(text, None)
}

/// The unit, without a single warning.
pub fn clean(text: &str) -> Unit {
    let (unit, warnings) = parse(text);
    assert_eq!(warnings, [], "{}", problem::render(&warnings, text, problem::Style::default()));
    unit
}

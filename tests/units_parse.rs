//! Good units parse and mean what they say.

use rsvc::unit::{Problem, Unit, problem};

/// The unit, with its warnings; panics with the drawn problems if it is refused.
fn parse(text: &str) -> (Unit, Vec<Problem>) {
    match Unit::parse("web", "web.toml", text) {
        Ok(parsed) => parsed,
        Err(problems) => panic!("{}", problem::render(&problems, text, problem::Style::default())),
    }
}

#[test]
fn a_unit_with_only_exec_is_the_profile_standard() {
    let (unit, warnings) = parse("[service]\nexec = [\"/usr/bin/sleep\", \"1\"]\n");
    assert_eq!(unit.service.exec, ["/usr/bin/sleep", "1"]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    for e in unit.effective() {
        println!("{} = {}   # {:?}", e.key, e.value, e.origin);
    }
}

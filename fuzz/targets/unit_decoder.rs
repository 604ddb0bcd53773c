//! Unit files and drop-ins, which anybody may have written. They are refused with problems that point into the text, or
//! understood. A NUL, which no TOML has, parts the file from its drop-ins.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rsvc::unit::{ParseOptions, Problem, Profile, Severity, Unit, UnitText};

fuzz_target!(|bytes: &[u8]| {
    let profiles = [None, Some(Profile::Standard), Some(Profile::Strict), Some(Profile::Login), Some(Profile::Host)];
    let options = ParseOptions { profile: profiles[bytes.len() % profiles.len()], ..ParseOptions::default() };
    let name = ["fuzzed", "fuzzed@one"][bytes.len() / profiles.len() % 2];
    match std::str::from_utf8(bytes) {
        Ok(text) if text.contains('\0') => {
            let parts: Vec<(String, &str)> =
                text.split('\0').enumerate().map(|(n, text)| (format!("{n}.toml"), text)).collect();
            let texts: Vec<UnitText<'_>> = parts.iter().map(|(file, text)| UnitText { file, text }).collect();
            check(|| Unit::parse_texts(name, &texts, options), &texts);
        }
        text => {
            let text = UnitText { file: "fuzzed.toml", text: text.unwrap_or_default() };
            check(|| Unit::parse_bytes_with(name, "fuzzed.toml", bytes, options), &[text]);
        }
    }
});

fn check(parse: impl Fn() -> Result<(Unit, Vec<Problem>), Vec<Problem>>, texts: &[UnitText<'_>]) {
    let result = parse();
    assert_eq!(result, parse(), "equal questions have equal answers");
    let problems = match &result {
        Ok((unit, warnings)) => {
            assert!(warnings.iter().all(|problem| problem.severity() != Severity::Error));
            assert!(!unit.service.exec.is_empty(), "the one key that is required");
            warnings
        }
        Err(problems) => {
            assert!(problems.iter().any(|problem| problem.severity() == Severity::Error));
            problems
        }
    };
    for problem in problems {
        assert!(!problem.message.is_empty() && !problem.to_string().is_empty());
        let Some(span) = &problem.span else { continue };
        let text = texts.iter().find(|text| text.file == problem.file).expect("a problem names its file").text;
        assert!(text.get(span.clone()).is_some(), "{problem:?} points outside the text");
        let line = text[..span.start].matches('\n').count() + 1;
        assert_eq!(problem.line as usize, line, "{problem:?}");
        assert!(problem.column >= 1);
    }
}

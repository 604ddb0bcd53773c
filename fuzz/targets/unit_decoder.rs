//! Unit files, which anybody may have written. They are refused with problems that point into the text, or understood.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rsvc::unit::{ParseOptions, Profile, Severity, Unit};

fuzz_target!(|bytes: &[u8]| {
    let profiles = [None, Some(Profile::Standard), Some(Profile::Strict), Some(Profile::Login), Some(Profile::Host)];
    let profile = profiles[bytes.len() % profiles.len()];
    let parse = || Unit::parse_bytes_with("fuzzed", "fuzzed.toml", bytes, ParseOptions { profile });
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
        let text = std::str::from_utf8(bytes).expect("other texts have no places");
        assert!(text.get(span.clone()).is_some(), "{problem:?} points outside the text");
        let line = text[..span.start].matches('\n').count() + 1;
        assert_eq!(problem.line as usize, line, "{problem:?}");
        assert!(problem.column >= 1);
    }
});

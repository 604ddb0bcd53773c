//! Texts of environment files, which are written for shells and by hand.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rsvc::daemon::environment_files::parse;

fuzz_target!(|text: &str| {
    match parse(text) {
        Ok(variables) => {
            for (name, value) in variables {
                assert!(!name.is_empty() && !name.contains(['=', '\0']), "{name:?}");
                assert!(!value.contains('\0'), "{name} cannot be passed to a program");
            }
        }
        Err((line, why)) => {
            assert!(line >= 1 && line as usize <= text.split('\n').count(), "line {line}");
            assert!(!why.is_empty());
        }
    }
});

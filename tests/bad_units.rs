//! Broken units and their diagnostics: each `tests/bad/NAME.toml` is drawn as `tests/bad/NAME.expected`.
//!
//! `RSVC_BLESS=1 cargo test --test bad_units` rewrites the expectations; read the difference before keeping it.

use rsvc::unit::{Code, Problem, Unit, problem};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn corpus() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let entries = fs::read_dir(directory).expect("tests/bad exists");
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("tests/bad can be listed").path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "toml"));
    files.sort();
    files
}

/// All problems of a file; every unit of the corpus has the name `web`.
fn problems(file: &Path, bytes: &[u8]) -> Vec<Problem> {
    let shown = file.file_name().expect("a file has a name").to_string_lossy();
    match Unit::parse_bytes("web", &shown, bytes) {
        Ok((_, warnings)) => warnings,
        Err(problems) => problems,
    }
}

#[test]
fn every_broken_unit_is_drawn_as_expected() {
    let bless = std::env::var_os("RSVC_BLESS").is_some();
    let mut different = Vec::new();
    let files = corpus();
    assert!(files.len() >= 70, "the corpus has only {} units", files.len());
    for file in files {
        let bytes = fs::read(&file).expect("the corpus can be read");
        let drawn = problem::render_problems(&problems(&file, &bytes), &bytes);
        assert!(!drawn.is_empty(), "{} has no problem at all", file.display());
        let expected = file.with_extension("expected");
        if bless {
            fs::write(&expected, &drawn).expect("the expectation can be written");
        } else if fs::read_to_string(&expected).unwrap_or_default() != drawn {
            different.push(format!("── {}\n{drawn}", file.display()));
        }
    }
    assert!(different.is_empty(), "these are drawn otherwise than expected:\n{}", different.join("\n"));
}

#[test]
fn the_corpus_shows_every_code_that_a_text_can_have() {
    let mut seen = BTreeSet::new();
    for file in corpus() {
        let bytes = fs::read(&file).expect("the corpus can be read");
        seen.extend(problems(&file, &bytes).iter().map(|p| p.code));
    }
    // What only a search path, a file's mode or a name can have.
    let elsewhere = [
        Code::TooBig,
        Code::BadUnitName,
        Code::NotAFile,
        Code::Untrusted,
        Code::Unreadable,
        Code::DropIn,
        Code::MissingUnit,
    ];
    let missing: Vec<_> = Code::ALL.iter().filter(|c| !seen.contains(c) && !elsewhere.contains(c)).collect();
    assert!(missing.is_empty(), "no unit of the corpus has {missing:?}");
}

#[test]
fn every_problem_has_a_place_in_the_text_and_sorts_by_it() {
    for file in corpus() {
        let bytes = fs::read(&file).expect("the corpus can be read");
        let problems = problems(&file, &bytes);
        let places: Vec<_> = problems.iter().map(|p| (p.line, p.column)).collect();
        assert!(places.is_sorted(), "{}: {places:?}", file.display());
        assert!(places.iter().all(|(line, column)| *line > 0 && *column > 0), "{}: {places:?}", file.display());
        for problem in &problems {
            assert!(!problem.message.ends_with('.'), "{problem}");
            assert!(!problem.message.contains('\n'), "{problem}");
        }
    }
}

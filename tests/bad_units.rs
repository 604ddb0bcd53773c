//! Broken units and their diagnostics: each `tests/bad/NAME.toml`, with `tests/bad/NAME.d/*.toml` for its drop-ins, is
//! drawn as `tests/bad/NAME.expected`.
//!
//! `RSVC_BLESS=1 cargo test --test bad_units` rewrites the expectations; read the difference before keeping it.

use rsvc::unit::{Code, ParseOptions, Problem, Unit, UnitText, problem};
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

/// The file and its drop-ins, with the names that problems show.
fn texts(file: &Path) -> Vec<(String, Vec<u8>)> {
    let shown = |file: &Path| file.file_name().expect("a file has a name").to_string_lossy().into_owned();
    let read = |file: &Path| fs::read(file).expect("the corpus can be read");
    let mut texts = vec![(shown(file), read(file))];
    let directory = file.with_extension("d");
    let mut drop_ins: Vec<PathBuf> =
        fs::read_dir(&directory).into_iter().flatten().flatten().map(|e| e.path()).collect();
    drop_ins.sort();
    texts.extend(drop_ins.iter().map(|drop_in| (format!("{}/{}", shown(&directory), shown(drop_in)), read(drop_in))));
    texts
}

/// All problems of a unit, and how they are drawn; every unit of the corpus has the name `web`.
fn examined(file: &Path) -> (Vec<Problem>, String) {
    let read = texts(file);
    if let [(shown, bytes)] = read.as_slice() {
        let problems = match Unit::parse_bytes("web", shown, bytes) {
            Ok((_, warnings)) => warnings,
            Err(problems) => problems,
        };
        let drawn = problem::render_problems(&problems, bytes);
        return (problems, drawn);
    }
    let texts: Vec<UnitText<'_>> = read
        .iter()
        .map(|(file, bytes)| UnitText {
            file,
            text: std::str::from_utf8(bytes).expect("drop-ins of the corpus are text"),
        })
        .collect();
    let problems = match Unit::parse_texts("web", &texts, ParseOptions::default()) {
        Ok((_, warnings)) => warnings,
        Err(problems) => problems,
    };
    let drawn = problem::render_texts(&problems, &texts, problem::Style::default());
    (problems, drawn)
}

#[test]
fn every_broken_unit_is_drawn_as_expected() {
    let bless = std::env::var_os("RSVC_BLESS").is_some();
    let mut different = Vec::new();
    let files = corpus();
    assert!(files.len() >= 70, "the corpus has only {} units", files.len());
    for file in files {
        let (_, drawn) = examined(&file);
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
        seen.extend(examined(&file).0.iter().map(|p| p.code));
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
        Code::NotRead,
        Code::Shadowed,
    ];
    let missing: Vec<_> = Code::ALL.iter().filter(|c| !seen.contains(c) && !elsewhere.contains(c)).collect();
    assert!(missing.is_empty(), "no unit of the corpus has {missing:?}");
}

#[test]
fn every_problem_has_a_place_in_the_text_and_sorts_by_it() {
    for file in corpus() {
        let (problems, _) = examined(&file);
        let places: Vec<_> = problems.iter().map(|p| (&p.file, p.line, p.column)).collect();
        assert!(places.is_sorted(), "{}: {places:?}", file.display());
        assert!(places.iter().all(|(_, line, column)| *line > 0 && *column > 0), "{}: {places:?}", file.display());
        for problem in &problems {
            assert!(!problem.message.ends_with('.'), "{problem}");
            assert!(!problem.message.contains('\n'), "{problem}");
        }
    }
}

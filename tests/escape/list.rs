//! The page that says of every known way out which test shows that it is closed, or why it is none here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Rows of the page.
const ROWS: usize = 66;

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn every_row_has_a_test_that_exists_or_a_reason() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&top.join("tests"), &mut files);
    sources(&top.join("src"), &mut files);
    let mut known = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file).expect("text");
        let names = text.lines().filter_map(|line| line.trim_start().strip_prefix("fn ")?.split_once('('));
        known.extend(names.map(|(name, _)| name.to_owned()));
    }
    let page = fs::read_to_string(top.join("docs/escapes.md")).expect("the page");
    let mut rows = BTreeSet::new();
    let mut wrong = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let Ok(number) = cells[0].parse::<usize>() else { continue };
        assert!(rows.insert(number), "row {number} stands there twice");
        assert_eq!(cells.len(), 4, "row {number}: {line}");
        let names: Vec<&str> = cells[3].split('`').skip(1).step_by(2).collect();
        let reason = cells[3].contains("not applicable: ");
        if names.is_empty() && !reason {
            wrong.push(format!("row {number} has neither a test nor a reason"));
        }
        // What stands in code type in a reason may be a key or a call; in a list of tests it is a test.
        if !reason {
            wrong.extend(
                names.iter().filter(|name| !known.contains(**name)).map(|name| format!("row {number}: no test {name}")),
            );
        }
    }
    assert_eq!(rows, (1..=ROWS).collect(), "rows are missing");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

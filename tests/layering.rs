//! Who may import whom: the table of ARCHITECTURE.md, held against the `crate::` paths of each folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Folder, and the folders it may name.
const TABLE: [(&str, &[&str]); 14] = [
    ("filter", &["plan"]),
    ("plan", &[]),
    ("unit", &["filter", "plan"]),
    ("compile", &["filter", "plan", "unit"]),
    ("score", &["filter", "plan", "unit"]),
    ("supervise", &["unit"]),
    ("control", &["supervise", "unit"]),
    ("sys", &[]),
    ("load", &["unit"]),
    ("cgroup", &["compile", "control", "plan", "sys"]),
    ("init", &["plan", "sys"]),
    ("daemon", &["cgroup", "compile", "control", "filter", "init", "load", "plan", "supervise", "sys", "unit"]),
    ("verify", &["filter", "plan", "score", "sys", "unit"]),
    ("cli", &["compile", "control", "filter", "load", "plan", "score", "supervise", "unit", "verify"]),
];

/// Folders that do no I/O, read no clock and hold no globals.
const PURE: [&str; 7] = ["filter", "unit", "plan", "compile", "score", "supervise", "control"];

/// Words that only a shell needs.
const IMPURE: [&str; 8] = [
    "std::fs::",
    "use std::fs",
    "std::net::Tcp",
    "std::process::",
    "Instant::now",
    "SystemTime::now",
    "std::env::",
    "std::thread",
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the entry can be read").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The source without comments and without what follows the first `#[cfg(test)]` module.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("the source can be read");
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn is_test(path: &Path) -> bool {
    path.to_string_lossy().contains("tests")
}

fn named(code: &str) -> BTreeSet<String> {
    code.match_indices("crate::")
        .map(|(at, word)| {
            let rest = &code[at + word.len()..];
            rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>()
        })
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn imports_point_only_where_the_architecture_allows() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let table: BTreeMap<&str, &[&str]> = TABLE.into_iter().collect();
    let mut wrong = Vec::new();
    for (folder, allowed) in &table {
        for path in sources(&top.join(folder)).into_iter().filter(|path| !is_test(path)) {
            for name in named(&code(&path)) {
                if table.contains_key(name.as_str()) && name != *folder && !allowed.contains(&name.as_str()) {
                    wrong.push(format!("{} names crate::{name}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_folders_touch_neither_disk_nor_clock_nor_environment() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for folder in PURE {
        for path in sources(&top.join(folder)).into_iter().filter(|path| !is_test(path)) {
            let code = code(&path);
            wrong.extend(
                IMPURE.iter().filter(|word| code.contains(**word)).map(|word| format!("{}: {word}", path.display())),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_lives_under_sys_and_in_the_freestanding_init() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for path in sources(&top) {
        let relative = path.strip_prefix(&top).expect("below src");
        if relative.starts_with("sys")
            || ["init/resident.rs", "init/keeper.rs", "init/answerer.rs"].iter().any(|file| relative == Path::new(file))
        {
            continue;
        }
        let words = code(&path);
        if words.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == "unsafe") {
            wrong.push(relative.display().to_string());
        }
    }
    assert!(wrong.is_empty(), "unsafe outside its house: {wrong:?}");
}

#[test]
fn every_folder_forbids_unsafe_code() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (folder, _) in TABLE.into_iter().filter(|(folder, _)| *folder != "sys") {
        let text = fs::read_to_string(top.join(folder).join("mod.rs")).expect("mod.rs");
        assert!(text.contains("#![forbid(unsafe_code)]"), "{folder}/mod.rs");
    }
}

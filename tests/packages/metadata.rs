//! The lists of files in `Cargo.toml` against the tree: nothing is missing, nothing is listed that is not there.

use super::{files_below, staged};
use std::collections::BTreeSet;
use std::fs;
use toml::Value;

/// Where packaging/build lays the tree out.
const ROOT: &str = "target/package/root";

/// What is said in `package.metadata.TOOL`.
fn metadata(tool: &str) -> Value {
    let text = fs::read_to_string(super::file("Cargo.toml")).expect("the manifest");
    let manifest: Value = toml::from_str(&text).expect("TOML");
    manifest["package"]["metadata"][tool].clone()
}

/// The files of the tree that `source` stands for.
fn matches(source: &str, tree: &BTreeSet<String>) -> Vec<String> {
    let path = source.strip_prefix(ROOT).unwrap_or_else(|| panic!("{source} is not of the tree"));
    match path.strip_suffix('*') {
        Some(directory) => {
            let inside = |file: &&String| file.strip_prefix(directory).is_some_and(|name| !name.contains('/'));
            tree.iter().filter(inside).cloned().collect()
        }
        None => tree.iter().filter(|file| *file == path).cloned().collect(),
    }
}

/// Holds assets, as source, destination and mode, against the tree. `elsewhere`: what comes into the package otherwise.
fn check(assets: &[(String, String, String)], elsewhere: &[&str]) {
    let tree = staged();
    let tree = files_below(&tree.path().join("root"));
    let mut taken: Vec<String> = Vec::new();
    for (source, destination, mode) in assets {
        let found = matches(source, &tree);
        assert!(!found.is_empty(), "{source} is not in the tree");
        let directory = destination.trim_start_matches('/').rsplit_once('/').map_or("", |(directory, _)| directory);
        for file in &found {
            let is_zsh = file.contains("/zsh/");
            let own = file.trim_start_matches('/').rsplit_once('/').map_or("", |(directory, _)| directory);
            assert!(is_zsh || own == directory, "{file} goes to {destination}");
            let is_program = ["/usr/bin/rsvc", "/usr/share/rsvc/openrc/rsvc"].contains(&file.as_str());
            assert!(mode == "777" || (mode == "755") == is_program, "{file} has mode {mode}");
        }
        taken.extend(found);
    }
    let mut once = taken.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), taken.len(), "a file is listed twice");
    let missing: Vec<&String> =
        tree.iter().filter(|file| !once.contains(file) && !elsewhere.contains(&file.as_str())).collect();
    assert!(missing.is_empty(), "not in the package: {missing:?}");
}

#[test]
fn the_deb_lists_every_file_of_the_tree_and_no_other() {
    let deb = metadata("deb");
    let assets = deb["assets"].as_array().expect("assets").iter().map(|asset| {
        let word = |n: usize| asset[n].as_str().expect("a string").to_owned();
        (word(0), word(1), word(2))
    });
    // `license-file` says where that comes from.
    check(&assets.collect::<Vec<_>>(), &["/usr/share/doc/rsvc/copyright"]);
    for file in [&deb["changelog"], &deb["license-file"][0], &deb["maintainer-scripts"]] {
        let path = super::file(file.as_str().expect("a path"));
        assert!(path.exists(), "{} is missing", path.display());
    }
}

#[test]
fn the_rpm_lists_every_file_of_the_tree_and_no_other() {
    let rpm = metadata("generate-rpm");
    let assets = rpm["assets"].as_array().expect("assets").iter().map(|asset| {
        let word = |name: &str| asset[name].as_str().expect("a string").to_owned();
        (word("source"), word("dest"), word("mode"))
    });
    // A link is made by the scripts; the other is for Debian.
    check(&assets.collect::<Vec<_>>(), &["/usr/bin/rsvcd", "/usr/share/lintian/overrides/rsvc"]);
    for script in ["post_install_script", "pre_uninstall_script", "post_uninstall_script"] {
        let path = super::file(rpm[script].as_str().expect("a path"));
        assert!(path.exists(), "{} is missing", path.display());
    }
}

#[test]
fn the_tree_has_what_is_promised() {
    let tree = staged();
    let root = tree.path().join("root");
    let files = files_below(&root);
    for file in [
        "/usr/bin/rsvc",
        "/usr/bin/rsvcd",
        "/usr/lib/systemd/system/rsvc.service",
        "/usr/lib/systemd/system/rsvc-payload.service",
        "/usr/lib/rsvc/units/nginx.toml",
        "/usr/share/rsvc/unit.schema.json",
        "/usr/share/man/man1/rsvc.1.gz",
        "/usr/share/man/man5/rsvc.toml.5.gz",
        "/usr/share/man/man8/rsvcd.8.gz",
    ] {
        assert!(files.contains(file), "{file} is missing");
    }
    assert!(!files.iter().any(|file| file.contains(".wants/")), "something is enabled: {files:?}");
    let shipped = fs::read_dir(super::file("units")).expect("units").count();
    assert_eq!(files.iter().filter(|file| file.starts_with("/usr/lib/rsvc/units/")).count(), shipped);
    let schema = fs::read_to_string(root.join("usr/share/rsvc/unit.schema.json")).expect("the schema");
    assert_eq!(schema, rsvc::unit::json_schema());
    // The version that dpkg knows is that of the program.
    let changelog = fs::read_to_string(super::file("packaging/debian/changelog")).expect("the changelog");
    let first = concat!("rsvc (", env!("CARGO_PKG_VERSION"), "-");
    assert!(changelog.starts_with(first), "packaging/debian/changelog is about another version than {first}");
}

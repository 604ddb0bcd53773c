//! Every unit that is shipped or shown is valid; shipped ones without a warning, and they explain themselves. What is shown
//! is run.

#[macro_use]
mod instance;
#[path = "examples/run.rs"]
mod run;

use instance::Instance;
use std::path::{Path, PathBuf};

/// The unit files of a folder of the source tree, sorted.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(files.iter().all(|file| file.extension().is_some_and(|kind| kind == "toml")), "{files:?}");
    files
}

#[test]
fn every_shipped_unit_passes_a_strict_check_and_every_example_a_check() {
    let instance = Instance::prepared();
    for file in files("units") {
        let said = instance.rsvc(&["check", "--strict", &file.display().to_string()]);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{}: {}", file.display(), said.out);
    }
    // An example may show what a check warns about: that a service runs as root.
    for file in files("examples") {
        let said = instance.rsvc(&["check", &file.display().to_string()]);
        assert_eq!(said.code, 0, "{}: {}", file.display(), said.err);
    }
}

#[test]
fn the_daemons_that_are_promised_have_a_unit() {
    let names: Vec<String> =
        files("units").iter().filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned())).collect();
    for name in ["haproxy", "memcached", "mosquitto", "nginx", "postgresql", "redis", "unbound"] {
        assert!(names.iter().any(|unit| unit == name), "{name} is not among {names:?}");
    }
}

#[test]
fn every_shipped_unit_says_what_it_is_and_how_to_begin() {
    for file in files("units") {
        let text = std::fs::read_to_string(&file).expect("a unit file");
        let name = file.file_stem().and_then(|name| name.to_str()).expect("a name");
        for part in ["description = ", "documentation = ", &format!("rsvc start {name}"), "systemctl disable --now"] {
            assert!(text.contains(part), "{}: no `{part}`", file.display());
        }
    }
}

//! The JSON schema that editors read takes what the decoder takes: every unit that is shipped or shown, as the decoder
//! does, and refuses the common mistakes of those that the decoder refuses.

use jsonschema::Validator;
use rsvc::unit::{Code, Unit};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is wrong in the form of a file, whatever its values mean.
const SEEN_BY_AN_EDITOR: [Code; 3] = [Code::UnknownKey, Code::WrongType, Code::UnknownTable];

/// What `rsvc schema` prints, ready to judge.
fn schema() -> Validator {
    let output = Command::new(env!("CARGO_BIN_EXE_rsvc")).arg("schema").output().expect("rsvc can be run");
    assert!(output.status.success(), "{output:?}");
    let schema: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    jsonschema::meta::validate(&schema).expect("it is a schema");
    jsonschema::validator_for(&schema).expect("it can be used")
}

/// The unit files of a folder of the source tree, sorted.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|kind| kind == "toml"));
    files.sort();
    assert!(!files.is_empty(), "{folder:?} has units");
    files
}

/// A unit file as an editor hands it to the schema.
fn value(text: &str) -> Option<Value> {
    toml::from_str::<Value>(text).ok()
}

/// The problems of a unit, with their places.
fn problems(schema: &Validator, unit: &Value) -> Vec<String> {
    schema.iter_errors(unit).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn every_unit_that_is_shipped_or_shown_fits_the_schema() {
    let schema = schema();
    // A slice is another kind of file, with a command of its own to check it.
    let files = files("units").into_iter().chain(files("examples"));
    for file in files.filter(|file| !file.to_string_lossy().ends_with(".slice.toml")) {
        let text = std::fs::read_to_string(&file).expect("a unit file");
        let unit = value(&text).unwrap_or_else(|| panic!("{}: not TOML", file.display()));
        assert_eq!(problems(&schema, &unit), Vec::<String>::new(), "{}", file.display());
    }
}

#[test]
fn mistakes_that_an_editor_can_see_are_seen() {
    let schema = schema();
    for (mistake, text) in [
        ("no command", "[service]\nuser = \"nobody\"\n"),
        ("an unknown key", "[service]\nexec = \"/bin/true\"\nusr = \"nobody\"\n"),
        ("an unknown table", "[service]\nexec = \"/bin/true\"\n[servce]\n"),
        ("a wrong type", "[service]\nexec = \"/bin/true\"\n[filesystem]\nprivate_tmp = \"yes\"\n"),
        ("an unknown word", "[service]\nexec = \"/bin/true\"\ntype = \"daemon\"\n"),
        ("a relative path", "[service]\nexec = \"/bin/true\"\nworking_directory = \"srv\"\n"),
    ] {
        let unit = value(text).expect("TOML");
        assert!(!problems(&schema, &unit).is_empty(), "{mistake} is accepted");
        assert!(Unit::parse("test", "test.toml", text).is_err(), "{mistake}: the decoder accepts it");
    }
}

#[test]
fn what_is_refused_for_a_key_a_type_or_a_word_is_refused_by_the_schema() {
    let schema = schema();
    let mut judged = 0;
    for file in files("tests/bad") {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let Some(value) = value(&text) else { continue };
        let name = file.file_stem().and_then(|name| name.to_str()).expect("a name");
        let Err(problems) = Unit::parse(name, "test.toml", &text) else { continue };
        if !problems.iter().any(|problem| SEEN_BY_AN_EDITOR.contains(&problem.code)) {
            continue;
        }
        judged += 1;
        assert!(!self::problems(&schema, &value).is_empty(), "{}: {problems:#?}", file.display());
    }
    assert!(judged > 10, "only {judged} of the bad units were judged");
}

//! Holds the interface description against the types: what introspection promises is what is sent.

use super::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Fields of `type NAME (...)`, with their types.
fn fields(name: &str) -> Vec<(String, String)> {
    let start = INTERFACE_TEXT.find(&format!("type {name} (")).expect("the type is described");
    let body = &INTERFACE_TEXT[start..];
    let body = &body[body.find('(').unwrap() + 1..body.find(')').unwrap()];
    body.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (name, kind) = line.trim_end_matches(',').split_once(": ").expect("name: type");
            (name.to_owned(), kind.to_owned())
        })
        .collect()
}

/// `(word, rest of the line)` of every line that begins with `keyword`.
fn declared(keyword: &str) -> BTreeSet<String> {
    INTERFACE_TEXT
        .lines()
        .filter_map(|line| line.strip_prefix(keyword)?.strip_prefix(' '))
        .map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned())
        .collect()
}

fn conforms(value: &Value, kind: &str) -> bool {
    if let Some(inner) = kind.strip_prefix('?') {
        return value.is_null() || conforms(value, inner);
    }
    if let Some(inner) = kind.strip_prefix("[]") {
        return value.as_array().is_some_and(|a| a.iter().all(|v| conforms(v, inner)));
    }
    match kind {
        "int" => value.is_u64() || value.is_i64(),
        "float" => value.is_number(),
        "bool" => value.is_boolean(),
        "string" => value.is_string(),
        name => matches_type(value, name),
    }
}

fn matches_type(value: &Value, name: &str) -> bool {
    let object = value.as_object().expect("an object");
    let described = fields(name);
    let names: BTreeSet<&String> = described.iter().map(|(name, _)| name).collect();
    assert_eq!(object.keys().collect::<BTreeSet<_>>(), names, "fields of {name}");
    described.iter().all(|(field, kind)| {
        assert!(conforms(&object[field], kind), "{name}.{field} is {}, not {kind}", object[field]);
        true
    })
}

#[test]
fn the_status_of_a_unit_is_as_described() {
    let mut status = UnitStatus::default();
    assert!(matches_type(&json!(status), "UnitStatus"), "everything unset");
    status.log = Some(LogPlace::default());
    status.processes = vec![ProcessLine::default()];
    status.counters.memory_max = Some(u64::MAX);
    status.counters.io_pressure = Some(Pressure::default());
    status.main_pid = Some(1);
    status.stop = Some(StopProgress::default());
    status.replicas = Some(ReplicaSet { members: vec![Replica::default()], ..ReplicaSet::default() });
    status.runs_on = Some(RunsOn::default());
    status.user_namespace = Some(IdRange::default());
    status.slice = Some(SliceStatus::default());
    assert!(matches_type(&json!(status), "UnitStatus"), "with everything nested");
}

#[test]
fn the_description_of_the_daemon_is_as_described() {
    assert!(matches_type(&json!(Description::default()), "Description"));
}

#[test]
fn an_event_is_as_described() {
    assert!(matches_type(&json!(UnitEvent::default()), "UnitEvent"), "everything unset");
    let event = UnitEvent {
        unit: Some("web".into()),
        state: Some("active".into()),
        main_pid: Some(1),
        exit_code: Some(0),
        lost: Some(u64::MAX),
        ..UnitEvent::default()
    };
    assert!(matches_type(&json!(event), "UnitEvent"));
}

#[test]
fn a_change_is_as_described() {
    assert!(matches_type(&json!(UnitChange { message: Some("x".into()), ..UnitChange::default() }), "UnitChange"));
}

#[test]
fn methods_and_errors_are_all_described() {
    let verbs: BTreeSet<String> = Verb::ALL.iter().map(|(_, name)| (*name).to_owned()).collect();
    assert_eq!(declared("method"), verbs);
    let errors = declared("error");
    for name in &errors {
        assert!(CallError::decode(name, &serde_json::Map::new()).is_some(), "{name}");
    }
    assert_eq!(errors.len(), 11);
}

#[test]
fn jobs_take_wait_and_what_cannot_be_done_twice_takes_the_name_of_the_request() {
    for line in INTERFACE_TEXT.lines().filter_map(|line| line.strip_prefix("method ")) {
        let verb = Verb::from_name(line.split('(').next().unwrap()).unwrap();
        assert_eq!(verb.is_job(), line.contains("wait: ?bool"), "{line}");
        assert_eq!(verb.is_repeatable_by_key(), line.contains("request: ?string"), "{line}");
    }
}

#[test]
fn identifiers_obey_the_grammar_of_varlink() {
    let types = [
        "IdRange",
        "LogPlace",
        "Pressure",
        "Process",
        "ReplicaSet",
        "RunsOn",
        "Replica",
        "SliceStatus",
        "StopProgress",
        "UnitStatus",
        "Description",
        "UnitEvent",
        "UnitChange",
    ];
    for name in types {
        for (field, _) in fields(name) {
            assert!(field.starts_with(|c: char| c.is_ascii_alphabetic()), "{field}");
            assert!(field.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{field}");
            assert!(!field.contains("__") && !field.ends_with('_'), "{field}");
        }
    }
}

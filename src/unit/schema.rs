//! The key table as JSON schema (draft 7), for editors: completion, hover texts, and most mistakes before rsvc sees
//! them. rsvc itself does not read it.

use super::decode::is_list;
use super::keys::{self, Key, Kind, Table};
use serde_json::{Map, Value, json};

/// The schema of a unit file, indented.
pub fn json_schema() -> String {
    let mut properties = Map::new();
    for table in keys::TABLES {
        if table.name.is_empty() {
            properties.extend(key_schemas(table));
        } else if !table.name.contains('.') {
            let object = table_schema(table);
            let value = if table.array { json!({ "type": "array", "items": object }) } else { object };
            properties.insert(table.name.to_owned(), value);
        }
    }
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "rsvc unit",
        "type": "object",
        "properties": properties,
        "patternProperties": { "^x-": {} },
        "additionalProperties": false,
        "required": ["service"],
    });
    let mut text = serde_json::to_string_pretty(&schema).expect("a JSON value can always be written");
    text.push('\n');
    text
}

fn table_schema(table: &Table) -> Value {
    let mut object = json!({
        "type": "object",
        "description": table.doc,
        "properties": key_schemas(table),
        "additionalProperties": false,
    });
    let required: Vec<&str> =
        table.keys.iter().filter(|k| k.default_note == Some("required")).map(|k| k.name).collect();
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

fn key_schemas(table: &Table) -> Map<String, Value> {
    table.keys.iter().filter(|k| k.supported).map(|key| (key.name.to_owned(), key_schema(table, key))).collect()
}

fn key_schema(table: &Table, key: &Key) -> Value {
    if key.kind == Kind::Table {
        return keys::table(&table.dotted(key)).map_or(json!({}), table_schema);
    }
    let mut schema = kind_schema(key.kind);
    if is_list(key.kind) && !table.array {
        let list = schema.clone();
        let change = json!({
            "type": "object",
            "properties": { "append": list, "remove": list },
            "additionalProperties": false,
        });
        schema = json!({ "anyOf": [list, change] });
    }
    let mut description = key.doc.to_owned();
    if let Some(default) = key.default_note.or(key.default).filter(|d| *d != "required") {
        description.push_str(&format!("\n\nDefault: {default}"));
    }
    schema["description"] = json!(description);
    schema
}

fn kind_schema(kind: Kind) -> Value {
    let string = || json!({ "type": "string" });
    let strings = || json!({ "type": "array", "items": { "type": "string" } });
    let number_or_string = || json!({ "type": ["integer", "string"] });
    let words = |words: &[&str]| json!({ "type": "string", "enum": words });
    let word_or = |words: &[&str], pattern: &str| json!({ "anyOf": [{ "enum": words }, { "type": "string", "pattern": pattern }] });
    let word_or_path = |words: &[&str]| word_or(words, "^(/|\\$\\{)");
    let word_or_namespace = |words: &[&str]| word_or(words, "^(path:(/|\\$\\{)|unit:.|\\$\\{)");
    match kind {
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Int { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Factor => json!({ "type": "number", "minimum": 1, "maximum": 1000 }),
        Kind::Count => json!({ "anyOf": [{ "type": "integer", "minimum": 1 }, { "const": "infinity" }] }),
        Kind::Text
        | Kind::SocketAddress
        | Kind::Calendar
        | Kind::ProcessLabel
        | Kind::Hostname
        | Kind::UnitName
        | Kind::CpuList => string(),
        // A path may begin with a variable.
        Kind::Path => json!({ "type": "string", "pattern": "^(/|\\$\\{)" }),
        Kind::Texts
        | Kind::VariableNames
        | Kind::Units
        | Kind::Addresses
        | Kind::DirectoryNames
        | Kind::Peers
        | Kind::Families
        | Kind::Ports
        | Kind::Capabilities
        | Kind::Syscalls
        | Kind::Keys => strings(),
        Kind::PlainPaths => json!({ "type": "array", "items": { "type": "string", "pattern": "^(/|\\$\\{)" } }),
        Kind::Paths => json!({ "type": "array", "items": { "type": "string", "pattern": "^-?(/|\\$\\{)" } }),
        Kind::Architectures => json!({ "type": "array", "items": { "enum": ["native", "x86", "x32"] } }),
        Kind::Size { .. }
        | Kind::FiniteSize
        | Kind::Timeout
        | Kind::Delay
        | Kind::Mode
        | Kind::Signal
        | Kind::Account
        | Kind::Errno
        | Kind::Limit(_) => number_or_string(),
        Kind::Accounts | Kind::Statuses => json!({ "type": "array", "items": { "type": ["integer", "string"] } }),
        Kind::Word { words: known, .. } => words(known),
        Kind::Argv => {
            json!({ "anyOf": [{ "type": "array", "items": { "type": "string" }, "minItems": 1 }, { "type": "string" }] })
        }
        Kind::Commands => json!({ "type": "array", "items": { "anyOf": [
            { "type": "array", "items": { "type": "string" }, "minItems": 1 },
            { "type": "string" },
            { "type": "object", "properties": { "argv": {}, "ignore_failure": { "type": "boolean" } },
              "required": ["argv"], "additionalProperties": false },
        ] } }),
        Kind::Variables | Kind::JournalFields | Kind::CredentialTexts => {
            json!({ "type": "object", "additionalProperties": { "type": "string" } })
        }
        Kind::CredentialPaths => {
            json!({ "type": "object", "additionalProperties": { "type": "string", "pattern": "^-?(/|\\$\\{)" } })
        }
        Kind::HugePages => json!({ "type": "object", "additionalProperties": { "type": ["integer", "string"] } }),
        Kind::Namespace => word_or_namespace(&["private", "host"]),
        Kind::UserNamespace => word_or_namespace(&["host", "identity", "auto", "mapped"]),
        Kind::Network => word_or_namespace(&["host", "loopback"]),
        Kind::Upper => word_or_path(&["ephemeral", "persistent"]),
        Kind::NamespaceKinds => json!({ "anyOf": [{ "type": "boolean" }, strings()] }),
        Kind::CpuShare => json!({ "anyOf": [string(), fields(&["quota", "period"], &[])] }),
        Kind::Conditions => {
            let properties: Map<String, Value> = super::decode::condition::NAMES
                .iter()
                .map(|name| ((*name).to_owned(), json!({ "anyOf": [string(), strings(), { "type": "boolean" }] })))
                .collect();
            json!({ "type": "object", "properties": properties, "additionalProperties": false })
        }
        Kind::Devices => array_of(fields(&["path", "type", "major", "minor", "access"], &[])),
        Kind::Mappings => {
            let names = ["container_id", "host_id", "size"];
            array_of(fields(&names, &names))
        }
        Kind::IoMax => array_of(fields(&["device", "rbps", "wbps", "riops", "wiops"], &["device"])),
        Kind::Table | Kind::Later(_) => json!({}),
    }
}

fn array_of(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

fn fields(names: &[&str], required: &[&str]) -> Value {
    let properties: Map<String, Value> =
        names.iter().map(|n| ((*n).to_owned(), json!({ "type": ["integer", "string"] }))).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_every_supported_key_and_no_other() {
        let schema: Value = serde_json::from_str(&json_schema()).expect("the schema is JSON");
        for (table, key) in keys::all() {
            let mut place = &schema["properties"];
            for part in table.name.split('.').filter(|p| !p.is_empty()) {
                place = match &place[part] {
                    table if table["type"] == "array" => &table["items"]["properties"],
                    table => &table["properties"],
                };
            }
            let present = place.get(key.name).is_some();
            assert_eq!(present, key.supported, "{}", table.dotted(key));
        }
        assert_eq!(schema["properties"]["service"]["required"], json!(["exec"]));
    }
}

//! The table of doors as a page of the documentation.

use super::all;
use std::fmt::Write as _;

/// In Markdown: what is tried, and who promises that it is closed.
pub fn table() -> String {
    let mut text = String::from("| Door | What is tried | Promised by |\n|---|---|---|\n");
    for probe in all() {
        let mut keys: Vec<String> = probe
            .keys
            .iter()
            .map(|key| match key.name() {
                "always" => "every unit".to_owned(),
                name => format!("`{name}`"),
            })
            .collect();
        keys.dedup();
        let _ = writeln!(text, "| `{}` | {} | {} |", probe.id, probe.about, keys.join(", "));
    }
    text
}

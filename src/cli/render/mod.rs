//! What people see: the status page, the table of units, the summary. Values in, text out; nothing here asks anybody.

mod dependencies;
mod page;
mod summary;
mod table;
mod timers;
mod tree;

pub use dependencies::{Direction, Graph, dependency_tree};
pub use page::{status_page, stop_words};
pub use summary::{needs_attention, summary};
pub use table::unit_table;
pub use timers::timer_table;

use crate::control::UnitStatus;

/// `active (running)`, `failed (exit-code)`: the state, and in brackets the one word that says most beside it.
pub fn state_words(unit: &UnitStatus) -> String {
    let detail = match unit.state.as_str() {
        "failed" if unit.result != "success" => &unit.result,
        "failed" => "",
        _ => unit.substate.as_str(),
    };
    let frozen = if unit.frozen { ", frozen" } else { "" };
    match detail {
        "" | "dead" => format!("{}{frozen}", unit.state),
        detail => format!("{} ({detail}{frozen})", unit.state),
    }
}

//! How exposed a unit is: from its settings in force to two numbers between 0 and 10, and what each open point is closed
//! by.
//!
//! ```text
//! Unit ──▶ Posture (what holds, in the words of both) ──▶ own         our points: also what systemd's method passes over
//!                                                    └──▶ systemd     the 81 checks of `systemd-analyze security`
//!                                                    └──▶ equivalent  a .service text that says to systemd what was scored
//! ```
//!
//! Both judge what the unit asks for, not what a host made of it: a host without a feature says `degraded` elsewhere.
//! Nothing here decides what is enforced; that is `compile`'s work, and whoever changes it there changes [`Posture`].
//!
//! Pure: no I/O, equal answers to equal questions.
#![forbid(unsafe_code)]

mod checks;
mod equivalent;
mod fix;
mod own;
mod posture;
mod systemd;
#[cfg(test)]
mod tests;

pub use equivalent::equivalent;
pub use fix::Fix;
pub use own::{Own, own};
pub use posture::Posture;
pub use systemd::{Compatible, compatible};

/// One point of a score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Short name that stays the same: `network`, or systemd's `PrivateNetwork=`.
    pub id: &'static str,
    /// Points of this row that are open, in the unit of its score; 0: closed.
    pub open: u32,
    /// Points when it is wholly open. `None`: the check does not apply to this unit and counts nowhere.
    pub weight: Option<u32>,
    /// What is open, a few words; empty when closed.
    pub what: String,
    /// What closes it; `None` when nothing in this version does, or nothing is open.
    pub fix: Option<Fix>,
}

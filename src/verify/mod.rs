//! `rsvc verify`: is what a unit promises really closed? Each door is tried by a process in its container.
//!
//! ```text
//! rsvc verify ── errand: this executable, as a sealed memfd ──▶ probe (`inside`), a process of the unit like `rsvc exec`'s
//!      ▲                                                          │ a copy of itself for each row of the table (`doors`)
//!      └── judges by the unit that runs (`judge`) ◀── one line each ┘
//! ```
//!
//! The probe tells what the kernel answered and nothing else: what was promised is looked up here, in the settings of the
//! unit that runs. Doors are tried without going through: files are opened and not written, calls get arguments that fail
//! otherwise where they are let through.
#![forbid(unsafe_code)]

mod doors;
mod found;
pub mod inside;
mod judge;
mod page;
mod running;

pub use doors::all;
pub use found::Found;
pub use judge::{Finding, Side, Verdict, judge};
pub use page::table;
pub use running::unit_of;

use crate::score::Posture;
use crate::sys::attempt::Word;
use std::os::fd::OwnedFd;

/// First word of the command line of the probe.
pub const PROBE_NAME: &str = "rsvc-probe";

/// One door: a row of the table.
pub struct Probe {
    /// Short name, unique: `mount`.
    pub id: &'static str,
    /// What is tried, as a sentence without its end.
    pub about: &'static str,
    /// Who promises that it is closed: any one of them is enough.
    pub keys: &'static [Key],
    /// How it is tried.
    pub attempt: Attempt,
}

/// Something that promises a closed door.
pub enum Key {
    /// The unit's filter lets through none of these calls.
    Calls(&'static [&'static str]),
    /// The unit cannot have this capability.
    Without(&'static str),
    /// This key, when that holds.
    Holds(&'static str, fn(&Posture<'_>) -> bool),
}

impl Key {
    /// The key of the unit file.
    pub fn name(&self) -> &'static str {
        match self {
            Key::Calls(_) => "syscalls.allow",
            Key::Without(_) => "capabilities.bounding",
            Key::Holds(name, _) => name,
        }
    }

    /// Does this unit promise it?
    pub fn holds(&self, posture: &Posture<'_>) -> bool {
        match self {
            Key::Calls(calls) => !posture.lets_through(calls),
            Key::Without(capability) => posture.held(&[capability]).is_empty(),
            Key::Holds(_, holds) => holds(posture),
        }
    }
}

/// How a door is tried.
pub enum Attempt {
    /// A call. It is closed when that answers as a refusal does, or with one of the errnos of the list.
    Call(libc::c_long, &'static [Word], &'static [i32]),
    /// Opening one of these files for writing.
    Write(&'static [&'static str]),
    /// Opening one of these files.
    Open(&'static [&'static str]),
    /// Reading a byte of one of these files.
    Read(&'static [&'static str]),
    /// Making a file in this directory.
    Make(&'static str),
    /// Something else; the argument is what `rsvc verify` passed to the probe.
    Look(fn(&str) -> Found),
    /// Asking for a value, which is compared on the host's side: `true` when the door is open.
    Compare(fn() -> Found, fn(&str, &Side<'_>) -> bool),
}

/// This executable, for the probe: nobody can change it, and it is no file of the host.
///
/// # Errors
/// That it cannot be read, or no executable file can be made of it (vm.memfd_noexec).
pub fn image() -> std::io::Result<OwnedFd> {
    #[allow(clippy::disallowed_methods, reason = "the program itself, by the kernel's word")]
    let program = std::fs::read("/proc/self/exe")?;
    Ok(crate::sys::fd::sealed_memfd(c"rsvc-probe", &program, true)?)
}

#[cfg(test)]
mod tests;

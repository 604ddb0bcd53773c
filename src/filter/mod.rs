//! System-call filters: from a policy in names to the programs that the kernel runs.
//!
//! ```text
//! FilterPolicy ──verdict──▶ per number: allow, log, refuse, or look at the arguments ──tree──▶ one classic BPF program
//!  (names, @groups)             (rule, restrict: the argument rules, their tests by seccompiler)
//! ```
//!
//! * [`groups`](group) are data, numbers come from the `syscalls` crate; nothing is asked of the running kernel.
//! * The number is decided by a balanced tree before any argument is loaded, so the kernel can keep a bitmap of the
//!   calls that are always allowed (since Linux 5.11) and answer those without running the program.
//! * Entry by a foreign architecture is decided first. A program of another word size would otherwise reach the calls
//!   under numbers that the policy never judged.
//! * A number that this table does not know, and a refused `clone3`, answer ENOSYS: a C library tries the older call
//!   then. A known but refused call answers EPERM: a program reports that.
//!
//! Pure: no I/O, no kernel calls, equal answers to equal questions. Loading a program is `sys`'s work.
#![forbid(unsafe_code)]

mod calls;
mod constants;
mod denied;
mod fragment;
mod groups;
#[cfg(test)]
mod interpreter;
mod lists;
#[cfg(test)]
mod model;
mod policy;
mod program;
#[cfg(test)]
mod properties;
mod restrict;
mod rule;
#[cfg(test)]
mod tests;
mod tree;

pub use calls::{all_call_names, is_known_call};
pub use denied::{call_name, covers, group_of, with_arguments};
pub use groups::{group, group_about, group_names};
pub use lists::is_indispensable;
pub use policy::{Arch, FilterError, FilterMode, FilterPolicy};
pub use program::compile;
pub use rule::{Rule, RuleError, Vocabulary, constant_names, is_rule};

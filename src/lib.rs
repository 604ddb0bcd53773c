//! rsvc: a declarative service isolator and supervisor for Linux.
//!
//! An arrow may only point down this list; `tests/layering.rs` holds the imports against it.
//!
//! ```text
//! main ─▶ cli ─▶ score ────────────────────────────────▶ unit, plan, filter   pure
//!      │   ├─────▶ verify ▶ score, sys                               shell: doors, tried from inside
//!      │   └─────────────▶ control ─▶ supervise ─▶ unit ─▶ filter      pure: no I/O, no clock, no globals
//!      └▶ daemon ─▶ compile ─▶ plan                                      pure
//!      │         └▶ cgroup ──▶ plan, sys                                 shell
//!      └▶ init ─────────────▶ plan, sys                                  shell: the set-up stage
//!                              sys                                       the only unsafe
//! ```

#[cfg(test)]
#[macro_use]
#[path = "../tests/instance/skip.rs"]
mod skip;

pub mod cgroup;
pub mod cli;
pub mod compile;
pub mod control;
pub mod daemon;
pub mod filter;
pub mod init;
pub mod load;
pub mod plan;
pub mod score;
pub mod supervise;
pub mod sys;
pub mod unit;
pub mod verify;

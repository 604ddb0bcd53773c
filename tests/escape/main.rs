//! Known ways out of containers, each tried here: what `docs/escapes.md` lists and no other test shows.
//!
//! Payloads are those of the tests that look from inside (`tests/inside`): this executable again, as a static program.
//! A probe that finds a door closed proves little unless it can find one open; where a sandbox can be switched off the same
//! probe is run without.

#[macro_use]
#[path = "../instance/mod.rs"]
mod instance;
#[path = "../inside/lab.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod lab;
#[path = "../inside/probe.rs"]
mod probe;

mod canary;
mod joining;
mod kernel;
mod list;
mod rights;
mod setup;

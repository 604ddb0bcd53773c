//! The set-up stage and the resident init against the real kernel, looked at from inside.
//!
//! Each test writes a small plan by hand, runs it with the built executable under clone3, and reads what a shell in
//! the container saw. As root the containers have no user namespace, as an ordinary user they have one; what cannot
//! run prints "skipped: why".
#![allow(clippy::disallowed_methods, reason = "tests need deadlines of their own")]

#[macro_use]
#[path = "../instance/skip.rs"]
mod skip;

mod confinement;
mod container;
mod entering;
mod execution;
mod failures;
mod harness;
mod hostile;
mod resident;
mod spawning;

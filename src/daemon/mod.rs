//! daemon
pub mod listener;

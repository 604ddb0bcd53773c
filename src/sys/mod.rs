//! sys
pub mod peer;

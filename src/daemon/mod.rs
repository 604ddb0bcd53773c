//! daemon
#![forbid(unsafe_code)]

pub mod notify;
pub mod service_socket;

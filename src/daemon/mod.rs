//! daemon
#![forbid(unsafe_code)]

pub mod accounts;
pub mod directories;
pub mod environment_files;
pub mod host;
pub mod journal;
pub mod listener;
pub mod log_file;
pub mod log_layer;
mod log_tail;
pub mod notify;
pub mod ready;
pub mod service_socket;
pub mod timestamp;

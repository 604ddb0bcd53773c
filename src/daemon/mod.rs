//! The shell of the supervisor: one thread, one epoll, one clock.
//!
//! ```text
//! ready descriptor ─▶ Event ─▶ Supervisor::step ─▶ Action ─▶ perform ─▶ kernel
//!                       ▲                                       │
//!                       └──────── every outcome comes back ─────┘
//! ```
//!
//! The loop never waits for a child, never logs to something that blocks, and never ends because of one unit. What it
//! holds per service are at most a handful of descriptors: pidfds, the exits pipe, sockets where the unit wants them.
#![forbid(unsafe_code)]

pub mod accounts;
mod adopt;
mod bonds;
mod conditions;
pub mod directories;
mod engine;
pub mod environment_files;
pub mod features;
mod foreground;
mod group;
pub mod host;
pub mod journal;
mod launch;
mod left_over;
pub mod listener;
mod lock;
pub mod log_file;
pub mod log_layer;
mod log_tail;
mod manager;
pub mod notify;
mod perform;
mod plan_file;
mod process;
pub mod ready;
mod requests;
mod server;
mod service;
pub mod service_socket;
pub mod settings;
mod signals;
mod snapshot;
mod sockets;
pub mod state;
pub mod syslog;
pub mod timestamp;
mod units;

pub use engine::Options;
pub use foreground::{RunOptions, isolate_run, read_for_run, run};
pub use plan_file::{instance_name, plan_file};
pub use server::serve;

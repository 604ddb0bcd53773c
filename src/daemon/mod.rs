//! The shell of the supervisor: one thread, one epoll, one clock.
//!
//! ```text
//! ready descriptor ─▶ Event ─▶ Supervisor::step ─▶ Action ─▶ perform ─▶ kernel
//!                       ▲                                       │
//!                       └──────── every outcome comes back ─────┘
//! ```
//!
//! The loop never waits for a child, never logs to something that blocks, and never ends because of one unit. What it
//! holds per service are one to three descriptors: a pidfd, the pipe of a log file, sockets where the unit wants them.
#![forbid(unsafe_code)]

pub mod accounts;
mod activation;
mod adopt;
mod asked;
mod bonds;
mod capacity;
mod check;
mod complaints;
mod conditions;
mod connections;
mod credentials;
mod deadlines;
mod definition;
mod denials;
pub mod directories;
mod engine;
pub mod environment_files;
mod errand;
mod exits;
mod family;
pub mod features;
mod foreground;
mod group;
mod group_watch;
mod hooks;
pub mod host;
mod identity;
mod ids_file;
mod images;
mod inheritance;
mod instance_keeper;
pub mod journal;
mod keeping;
mod killed_call;
mod killing;
mod launch;
mod left_over;
pub mod listener;
mod live;
mod lock;
mod log_block;
pub mod log_file;
mod log_gate;
mod log_keeping;
pub mod log_layer;
mod log_messages;
mod log_output;
pub mod log_pipe;
mod log_relay;
mod log_rules;
mod log_tail;
mod manager;
mod notified;
pub mod notify;
mod own_ids;
mod pacing;
mod peers;
mod perform;
mod persist;
mod plan_file;
mod plans;
mod process;
mod rare;
pub mod ready;
mod relay;
pub mod remembered;
mod replicas;
mod requested;
mod requests;
mod runs;
mod saving;
mod scarcity;
mod server;
mod service;
pub mod service_socket;
pub mod settings;
mod shares;
mod signals;
mod slices;
mod snapshot;
mod socket_keeping;
mod sockets;
mod sources;
pub mod staging;
pub mod state;
mod subordinate;
mod subscribers;
pub mod syslog;
mod terminal;
mod thrift;
mod timers;
pub mod timestamp;
mod units;
mod unreaped;
mod unwritten;
mod upgrade;
mod user_namespaces;
mod whole_file;

pub use adopt::has_begun;
pub use engine::Options;
pub use foreground::{RunOptions, isolate_run, read_for_run, read_text_for_run, run};
pub use plan_file::{Target as PlanTarget, instance_name, plan_file};
pub use scarcity::advice;
pub use server::serve;
pub use upgrade::handoff_info;

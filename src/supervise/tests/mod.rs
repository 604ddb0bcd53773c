//! Simulation: script events, jump the clock to `next_deadline()`, compare actions. No sleeps, no processes.

mod backoff;
mod bench;
mod bonds;
mod conditions;
mod hooks;
mod kernel;
mod listen;
mod order;
mod phases;
mod policies;
mod promises;
mod properties;
mod rejoin;
mod remain;
mod replicas;
mod requests;
mod resumed;
mod scale;

mod stops;
mod watch;
mod world;

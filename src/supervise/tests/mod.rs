//! Simulation: script events, jump the clock to `next_deadline()`, compare actions. No sleeps, no processes.

mod bench;
mod backoff;
mod order;
mod phases;
mod policies;
mod properties;
mod requests;

mod stops;
mod world;

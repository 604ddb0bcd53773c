//! Simulation: script events, jump the clock to `next_deadline()`, compare actions. No sleeps, no processes.

mod backoff;
mod bench;
mod order;
mod phases;
mod policies;
mod properties;
mod requests;
mod scale;

mod stops;
mod world;

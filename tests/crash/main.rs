//! The daemon is killed between any two of its system calls that anybody could notice; the next daemon makes it good.
//!
//! Each scenario is recorded once without disturbance and then driven again for each boundary: kill -9 there, another
//! daemon, and a look at what became of it. What was accepted comes about; what was not has not half happened; who ran
//! runs on; nothing ever lives twice; and nothing is left when all is stopped.
//!
//! `cargo test --test crash` tries a sample of the boundaries of every scenario. `RSVC_CRASH=all` tries all of them on
//! both sides, `RSVC_CRASH=SCENARIO:all` those of one scenario, and what a failure names repeats it:
//! `RSVC_CRASH=SCENARIO:NUMBER:before|after`. `RSVC_CRASH_CALLS=1` with `--nocapture` lists the calls.

#[path = "../instance/mod.rs"]
mod instance;

mod adopting;
mod boundary;
mod drive;
mod groupless;
mod lab;
mod running;
mod starting;
mod stopping;
mod waking;
mod walls;

/// A test for each scenario.
macro_rules! scenarios {
    ($($name:ident: $scenario:expr;)*) => {
        $(#[test]
        fn $name() {
            if !$crate::instance::is_root() {
                return $crate::instance::skipped("needs root");
            }
            let scenario: $crate::drive::Scenario = $scenario;
            scenario.run();
        })*
    };
}
use scenarios;

//! The filter: what loading costs, and what a call costs under it.

use crate::{floor, median, monotonic};
use rsvc::sys::{confine, credentials, process};
use std::io::Read;
use std::os::fd::AsFd;

const CALLS: u64 = 200_000;

/// Loads the filter in a fresh process each time; microseconds, and nanoseconds per getppid(2) without and with it.
fn once(program: &[(u16, u8, u8, u32)]) -> [f64; 3] {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe");
    match process::fork().expect("fork") {
        process::Fork::Child => {
            let bare = getppid();
            let _ = credentials::no_new_privileges();
            let filter = confine::Filter::new(program).expect("a filter");
            let before = monotonic();
            let loaded = filter.load(false);
            let took = (monotonic() - before) as f64 / 1e3;
            let values = if loaded.is_ok() { [took, bare, getppid()] } else { [f64::NAN; 3] };
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let _ = rsvc::sys::fd::write(writer.as_fd(), &bytes);
            process::exit_now(0)
        }
        process::Fork::Parent(child) => {
            drop(writer);
            let mut bytes = Vec::new();
            std::fs::File::from(reader).read_to_end(&mut bytes).expect("times");
            let pidfd = process::pidfd_open(child).expect("pidfd");
            process::wait_pidfd(pidfd.as_fd(), false).expect("wait");
            let value = |at: usize| f64::from_le_bytes(bytes[at * 8..at * 8 + 8].try_into().expect("eight bytes"));
            [value(0), value(1), value(2)]
        }
    }
}

fn getppid() -> f64 {
    let before = monotonic();
    for _ in 0..CALLS {
        std::hint::black_box(rustix::process::getppid());
    }
    (monotonic() - before) as f64 / CALLS as f64
}

/// Prints the figures of the filter of the profile `standard`, near enough.
pub fn bench(rounds: usize) {
    let (program, calls) = floor::filter();
    let samples: Vec<[f64; 3]> = (0..rounds.min(100)).map(|_| once(&program)).collect();
    let middle = |at: usize| median(&samples.iter().map(|sample| sample[at]).collect::<Vec<_>>());
    println!("\nsystem-call filter, {calls} calls allowed, {} instructions", program.len());
    println!("  load {:.0} us; getppid {:.0} ns without, {:.0} ns with it", middle(0), middle(1), middle(2));
}

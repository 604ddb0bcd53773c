//! Many services: memory, idleness, what one of a thousand costs.

use crate::daemon::{Daemon, command};
use crate::{Column, median, monotonic, table};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Memory charged for a service that waits, and for the same program without anything around it.
pub fn charge(daemon: &Daemon, payload: &Path, count: usize) {
    println!("\nmemory charged per idle service ({count} of them)");
    let Some(plain) = daemon.plain_charge(payload, count) else {
        return println!("  skipped: no memory controller");
    };
    for index in 0..count {
        daemon.unit(&format!("charge{index}"), payload, "", "", &[]);
    }
    // The first one pays for what all share.
    daemon.start_all(["charge0".to_owned()].into_iter());
    let before = daemon.charge().unwrap_or(0);
    daemon.start_all((1..count).map(|index| format!("charge{index}")));
    std::thread::sleep(Duration::from_millis(200));
    let each = (daemon.charge().unwrap_or(0).saturating_sub(before)) as f64 / 1024.0 / (count - 1) as f64;
    println!("  program alone {plain:.0} KiB, service {each:.0} KiB, overhead {:.0} KiB", each - plain);
    daemon.stop_all((0..count).map(|index| format!("charge{index}")));
}

/// PSS and start-up at each count, then restart, status, idleness and adoption at the last.
pub fn bench(daemon: &mut Daemon, payload: &Path, counts: &[usize], rounds: usize, idle: Duration) {
    println!("\nmany services");
    let mut have = 0;
    for &count in counts {
        for index in have..count {
            daemon.unit(&format!("idle{index}"), payload, "", "", &[]);
        }
        let begin = monotonic();
        daemon.start_all((have..count).map(|index| format!("idle{index}")));
        let took = (monotonic() - begin) as f64 / 1e6;
        // The daemon looks after its heap half a second after the last launch.
        std::thread::sleep(Duration::from_secs(1));
        println!(
            "  {count:>5} services: daemon PSS {} KiB, {} descriptors; {} started in {took:.0} ms",
            daemon.pss(),
            daemon.descriptors(),
            count - have
        );
        have = count;
    }
    let before = daemon.switches();
    std::thread::sleep(idle);
    println!("  idle at {have}: {} context switches of the daemon in {} s", daemon.switches() - before, idle.as_secs());
    let mut columns =
        [Column::new("contained restart, kill -9 to first instruction"), Column::new("rsvc status, whole command")];
    for round in 0..rounds {
        let unit = format!("idle{}", round * 7 % have);
        columns[0].times.push(daemon.death_to_exec(&unit));
        let mut status = command(daemon.directory());
        columns[1].times.push(timed(status.args(["status", &unit])));
    }
    table(&format!("at {have} services"), &columns[..1]);
    table(&format!("at {have} services"), &columns[1..]);
    let adoptions: Vec<f64> = (0..3).map(|_| daemon.replace()).collect();
    println!("\n  adopting {have} after kill -9 of the daemon: {:.0} ms", median(&adoptions));
    let begin = monotonic();
    daemon.end();
    println!("  stopping all of them: {:.0} ms", (monotonic() - begin) as f64 / 1e6);
}

fn timed(command: &mut Command) -> f64 {
    let before = monotonic();
    let status = command.stdout(Stdio::null()).status().expect("runs");
    assert!(status.success(), "{status}");
    (monotonic() - before) as f64 / 1e3
}

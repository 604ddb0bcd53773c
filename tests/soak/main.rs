//! Many services that print numbered lines and end with random statuses, while their daemon is killed at random moments
//! and started again: nothing may be lost, doubled or wrong.
//!
//! ```text
//! cargo test --test soak                       some services, under a minute
//! RSVC_SOAK=10m RSVC_SOAK_SERVICES=1000 cargo test --release --test soak -- --nocapture
//! RSVC_SOAK_SEED=7                             the same order of events again
//! RSVC_SOAK_KEEP=DIRECTORY                     a copy of all files, to look into a failure
//! ```
//!
//! What is counted and how is in `worker.rs` and `ledger.rs`; docs/reliability.md tells it to people.

#[path = "../instance/mod.rs"]
mod instance;
mod ledger;
mod random;
mod storm;
mod tally;
mod units;
mod worker;

use instance::journald::Journald;
use instance::{Instance, is_root, skipped};
use random::Random;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tally::Tally;
use units::{Program, Service};

/// What was asked for.
struct Wish {
    length: Duration,
    services: usize,
    seed: u64,
}

impl Wish {
    fn read() -> Wish {
        let number = |name: &str| Some(std::env::var(name).ok()?.parse::<u64>().expect("a number"));
        Wish {
            length: std::env::var("RSVC_SOAK").map_or(Duration::from_secs(20), |text| length(&text)),
            services: number("RSVC_SOAK_SERVICES").unwrap_or(24) as usize,
            seed: number("RSVC_SOAK_SEED").unwrap_or_else(|| RandomState::new().hash_one(0) % 1_000_000),
        }
    }

    /// Of one run: in the middle so many end each second in all.
    fn mean(&self) -> Duration {
        let ends = if cfg!(debug_assertions) { 6 } else { 25 };
        Duration::from_millis((self.services as u64 * 1000 / ends).max(1500))
    }
}

/// `90s`, `10m`, `2h`
fn length(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.len() - 1);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => panic!("RSVC_SOAK={text}: a number and s, m or h"),
    };
    Duration::from_secs(unit * number.parse::<u64>().expect("RSVC_SOAK begins with a number"))
}

#[test]
fn nothing_is_lost_while_the_daemon_dies_again_and_again() {
    if !is_root() {
        return skipped("needs root");
    }
    let wish = Wish::read();
    let mut random = Random::new(wish.seed);
    let journald = Journald::start();
    let program = Program::install();
    let mut instance = Instance::prepared();
    if let Some(journald) = &journald {
        instance.enter(journald.namespace());
    }
    let services: Vec<Service> = (0..wish.services).map(|index| Service::new(index, journald.is_some())).collect();
    println!("{} services for {:?}, RSVC_SOAK_SEED={}", wish.services, wish.length, wish.seed);
    program.write(&instance, &services, wish.mean(), &mut random);
    instance.start_daemon();
    for some in services.chunks(100) {
        let names: Vec<&str> = some.iter().map(|service| service.name.as_str()).collect();
        instance.rsvc(&[&["start"], &names[..]].concat()).expect(0);
    }
    let damage = storm::rage(&mut instance, &services, wish.length, &mut random);
    instance.rsvc(&["stop", "--all", "--timeout", "300s"]).expect(0);
    assert!(instance.end_daemon().success());
    let mut tally = Tally::default();
    for service in &services {
        tally.take(&instance, journald.as_ref(), service, &damage);
    }
    keep(&instance, journald.as_ref(), &tally.report(&damage, usize::MAX));
    drop(instance);
    let report = tally.report(&damage, tally::EXAMPLES);
    println!("{report}");
    assert!(tally.is_clean(), "RSVC_SOAK_SEED={}\n{report}", wish.seed);
    assert!(tally.runs as usize > services.len(), "services were started again");
}

/// Copies everything to where `RSVC_SOAK_KEEP` says, with what the daemon told the journal.
fn keep(instance: &Instance, journald: Option<&Journald>, report: &str) {
    let Some(place) = std::env::var_os("RSVC_SOAK_KEEP") else { return };
    std::fs::write(instance.file("report"), report).expect("the instance's directory");
    if let Some(journald) = journald {
        let mut command = Command::new("journalctl");
        command.args(["-o", "short-precise", "--no-pager", "SYSLOG_IDENTIFIER=rsvcd", "-D"]);
        let output = command.arg(journald.path("/run/log/journal")).output().expect("journalctl is there");
        std::fs::write(instance.file("daemon.log"), output.stdout).expect("the instance's directory");
    }
    let status = Command::new("cp").arg("-a").arg(instance.path()).arg(Path::new(&place)).status();
    assert!(status.expect("cp(1) is there").success(), "RSVC_SOAK_KEEP cannot be written");
}

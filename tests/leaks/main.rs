//! After many deaths of the daemon there is as much of everything as after one: descriptors, mounts, groups, processes,
//! files, memory.
//!
//! ```text
//! cargo test --test leaks
//! RSVC_LEAKS=1000 cargo test --release --test leaks -- --nocapture
//! ```
//!
//! The first count is taken after the first death, because what was taken over costs a little more than what was
//! launched. Between the deaths clients ask and change things, and a part of them is connected when the daemon dies.

mod census;
#[path = "../instance/mod.rs"]
mod instance;
mod units;

use census::Census;
use instance::{Instance, PATIENCE, eventually, is_root, skipped};
use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use units::Ports;

/// Clean ends of the daemon, as a part of its deaths.
const CLEAN: usize = 5;

#[test]
fn many_deaths_of_the_daemon_leave_as_much_as_one() {
    if !is_root() {
        return skipped("needs root");
    }
    if !Path::new("/usr/bin/perl").exists() {
        return skipped("needs perl");
    }
    let deaths: usize = std::env::var("RSVC_LEAKS").map_or(25, |text| text.parse().expect("RSVC_LEAKS is a number"));
    let ports = Ports { server: units::free_port(), accept: units::free_port() };
    let mut instance = Instance::prepared();
    let names = units::write(&instance, &ports);
    instance.start_daemon();
    up(&instance, &names);
    instance.kill_daemon();
    instance.start_daemon();
    up(&instance, &names);
    let first = settled(&instance);
    println!("after 1 death:    {}", first.amounts());

    for death in 0..deaths {
        let load = Load::start(&instance, &ports);
        std::thread::sleep(Duration::from_millis(50 + (death as u64 * 37) % 300));
        instance.kill_daemon();
        load.end();
        instance.start_daemon();
    }
    up(&instance, &names);
    same(&instance, &first, &format!("{deaths} deaths"));

    for _ in 0..deaths.div_ceil(CLEAN) {
        let load = Load::start(&instance, &ports);
        std::thread::sleep(Duration::from_millis(100));
        assert!(instance.end_daemon().success());
        load.end();
        instance.start_daemon();
    }
    up(&instance, &names);
    same(&instance, &first, &format!("{} clean ends", deaths.div_ceil(CLEAN)));

    instance.rsvc(&["stop", "--all", "--timeout", "120s"]).expect(0);
    eventually("nothing of the units is left", || Census::take(&instance).is_idle().then_some(()));
    assert!(instance.end_daemon().success());
}

/// All units are there again: the load may have left some down.
fn up(instance: &Instance, names: &[&str]) {
    instance.rsvc(&[&["start"], names].concat()).expect(0);
}

/// A census that is the same twice in a row: what is on its way has arrived.
fn settled(instance: &Instance) -> Census {
    let mut before = Census::take(instance);
    eventually("counts stay the same", || {
        std::thread::sleep(Duration::from_secs(1));
        let now = Census::take(instance);
        let still = before.differences(&now).is_empty() && now.differences(&before).is_empty();
        before = now;
        still.then(|| before.clone())
    })
}

/// What is on its way goes, what leaked stays: fails when the counts do not get back to the first ones.
fn same(instance: &Instance, first: &Census, after: &str) {
    #[allow(clippy::disallowed_methods, reason = "tests need a deadline of their own")]
    let begin = Instant::now();
    loop {
        let now = Census::take(instance);
        let differences = first.differences(&now);
        if differences.is_empty() {
            return println!("after {after}: {}", now.amounts());
        }
        assert!(begin.elapsed() < PATIENCE, "after {after}:\n{}", differences.join("\n"));
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Clients that ask and change, until they are told to end.
struct Load {
    over: std::sync::Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn start(instance: &Instance, ports: &Ports) -> Load {
        let over = std::sync::Arc::new(AtomicBool::new(false));
        let commands: [&[&str]; 8] = [
            &["list"],
            &["status", "says"],
            &["restart", "flips"],
            &["status", "-o", "json", "stores"],
            &["restart", "notify"],
            &["set", "plain", "resources.tasks_max=11"],
            &["freeze", "plain"],
            &["thaw", "plain"],
        ];
        let quiet = |words: &[&str]| {
            let mut command = instance.command();
            command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let mut loads: Vec<Vec<Command>> = vec![commands.iter().map(|words| quiet(words)).collect()];
        loads.push(vec![quiet(&["events"])]);
        let mut threads: Vec<_> = loads
            .into_iter()
            .map(|mut commands| {
                let over = over.clone();
                std::thread::spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        commands.iter_mut().for_each(|command| run(command, &over));
                    }
                })
            })
            .collect();
        let (over_too, ports) = (over.clone(), [ports.server, ports.accept]);
        threads.push(std::thread::spawn(move || {
            while !over_too.load(Ordering::Relaxed) {
                for port in ports {
                    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                    let _ = stream.set_read_timeout(Some(Duration::from_millis(500)));
                    let _ = stream.read_to_end(&mut Vec::new());
                }
            }
        }));
        Load { over, threads }
    }

    fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("the load does not fail");
        }
    }
}

/// Runs a command to its end, or until it is told to end.
fn run(command: &mut Command, over: &AtomicBool) {
    if over.load(Ordering::Relaxed) {
        return;
    }
    let mut child = command.spawn().expect("rsvc runs");
    while matches!(child.try_wait(), Ok(None)) {
        if over.load(Ordering::Relaxed) {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

//! What is done to the daemon and to the services while they work.

use super::instance::Instance;
use super::instance::process::Process;
use super::random::Random;
use super::units::Service;
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

/// What was done.
#[derive(Debug, Default)]
pub struct Damage {
    /// The daemon was killed so often.
    pub crashes: u64,
    /// Of these, before it had taken over what it found.
    pub early: u64,
    /// And so often there was none for a while.
    pub pauses: u64,
    /// Runs of which a process was killed from outside, by invocation id.
    pub struck: BTreeSet<String>,
}

/// Kills the daemon again and again for `length`, and now and then a process of a service. A daemon runs at the end.
pub fn rage(instance: &mut Instance, services: &[Service], length: Duration, random: &mut Random) -> Damage {
    let mut storm = Storm { services, random, damage: Damage::default() };
    let end = now() + length;
    while now() < end {
        let early = storm.random.below(10) < 3;
        let rest = match storm.random.below(10) {
            _ if early => storm.random.below(300),
            0..5 => storm.random.below(1500),
            _ => 1000 + storm.random.below(4000),
        };
        storm.wait(instance, Duration::from_millis(rest));
        let answered = std::os::unix::net::UnixStream::connect(instance.file("run/io.rsvc")).is_ok();
        instance.kill_daemon();
        storm.damage.crashes += 1;
        storm.damage.early += u64::from(!answered);
        if storm.random.below(4) == 0 {
            storm.damage.pauses += 1;
            let pause = Duration::from_millis(storm.random.below(3000));
            storm.wait(instance, pause);
        }
        instance.spawn_daemon();
    }
    instance.wait_for_daemon();
    storm.damage
}

struct Storm<'a> {
    services: &'a [Service],
    random: &'a mut Random,
    damage: Damage,
}

impl Storm<'_> {
    /// Lets time pass, in which services are struck.
    fn wait(&mut self, instance: &Instance, length: Duration) {
        let end = now() + length;
        loop {
            let nap = Duration::from_millis(self.random.below(2000));
            let left = end.saturating_duration_since(now());
            std::thread::sleep(nap.min(left));
            if nap >= left {
                return;
            }
            self.strike(instance);
        }
    }

    /// Kills a process of some service: its resident init, or its main process.
    fn strike(&mut self, instance: &Instance) {
        let service = &self.services[self.random.below(self.services.len() as u64) as usize];
        let Ok(text) = fs::read_to_string(instance.file(&format!("run/services/{}/state", service.name))) else {
            return;
        };
        let Ok(state) = serde_json::from_str::<serde_json::Value>(&text) else { return };
        let which = if service.has_init && self.random.below(2) == 0 { "init" } else { "main" };
        let known = &state[which];
        let number = known["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        let Some(process) = number.and_then(Process::with_pid) else { return };
        let pid = rustix::process::Pid::from_raw(process.pid).expect("a pid");
        let Ok(pidfd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) else { return };
        // The pidfd is open: the number cannot be used again while it is compared.
        let is_it = Process::with_pid(process.pid).is_some_and(|process| known["start_time"] == process.began());
        if let (true, Some(run)) = (is_it, state["invocation_id"].as_str()) {
            self.damage.struck.insert(run.to_owned());
            let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the soak lasts for a time that was asked for")]
fn now() -> Instant {
    Instant::now()
}

//! What a service that does nothing costs, and whether that changes when the daemon dies again and again.

use crate::daemon::Daemon;
use crate::view::View;
use std::path::Path;
use std::time::Duration;

/// Figures at one moment.
struct Figures {
    /// Charged to all services, bytes.
    charge: u64,
    daemon: u64,
    keepers: Vec<u64>,
    descriptors: usize,
}

impl Figures {
    fn take(daemon: &Daemon) -> Figures {
        // The daemon looks after its heap half a second after the last launch.
        std::thread::sleep(Duration::from_secs(2));
        Figures {
            charge: daemon.charge().unwrap_or(0),
            daemon: daemon.pss(),
            keepers: daemon.keepers(),
            descriptors: daemon.descriptors(),
        }
    }

    fn print(&self, when: &str, before: u64, count: usize, plain: Option<f64>) {
        let each = self.charge.saturating_sub(before) as f64 / 1024.0 / (count - 1) as f64;
        let Figures { daemon, keepers, descriptors, .. } = self;
        println!("  {when}");
        match plain {
            Some(plain) => {
                println!("    charge per service {each:.0} KiB, {:.0} KiB above the program's own", each - plain)
            }
            None => println!("    charge per service: skipped: no memory controller"),
        }
        println!("    daemon PSS {daemon} KiB, {descriptors} descriptors");
        println!("    keepers: {}, PSS {} KiB in all", keepers.len(), keepers.iter().sum::<u64>());
    }
}

/// `count` services, before and after so many deaths of the daemon; it adopts all of them each time.
pub fn bench(view: View, directory: &Path, payload: &Path, count: usize, deaths: usize) {
    println!("\n{}: {count} idle services", view.title());
    let mut daemon = Daemon::start(directory);
    let plain = daemon.plain_charge(payload, count.min(200));
    if let Some(plain) = plain {
        println!("  the program alone: {plain:.0} KiB");
    }
    for index in 0..count {
        daemon.unit(&format!("idle{index}"), payload, "", "", &[]);
    }
    // The first one pays for what all share.
    daemon.start_all(["idle0".to_owned()].into_iter());
    let before = daemon.charge().unwrap_or(0);
    daemon.start_all((1..count).map(|index| format!("idle{index}")));
    Figures::take(&daemon).print("before any death of the daemon", before, count, plain);
    let mut times = Vec::new();
    for death in 1..=deaths {
        times.push(daemon.replace());
        if death == 1 {
            Figures::take(&daemon).print("after 1 death", before, count, plain);
        }
    }
    Figures::take(&daemon).print(&format!("after {deaths} deaths"), before, count, plain);
    println!("  a new daemon has listed all of them {:.0} ms after it was executed (median)", crate::median(&times));
    daemon.end();
}

//! Many units at once: a thousand that depend on each other, started from cold, beside the sum of single starts; and how
//! costs grow from ten units to thousands.

use crate::daemon::{Daemon, command};
use crate::{median, monotonic};
use std::fmt::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// Units of one layer; each needs two of the layer before and is begun when both are up.
const WIDTH: usize = 100;
/// Single starts whose mean stands for all.
const SINGLES: usize = 50;

/// A thousand units in ten layers, pulled in by the start of one that needs the last layer.
pub fn layers(directory: &Path, payload: &Path, layers: usize) {
    let daemon = Daemon::start(directory);
    for index in 0..SINGLES {
        daemon.unit(&format!("single{index}"), payload, "", "", &[]);
    }
    for layer in 0..layers {
        for index in 0..WIDTH {
            let needs = match layer {
                0 => Vec::new(),
                _ => vec![name(layer - 1, index), name(layer - 1, (index * 7 + 3) % WIDTH)],
            };
            daemon.unit(&name(layer, index), payload, "", &unit_table(&needs), &[]);
        }
    }
    let last: Vec<String> = (0..WIDTH).map(|index| name(layers - 1, index)).collect();
    daemon.unit("everything", payload, "", &unit_table(&last), &[]);

    let singles: Vec<f64> = (0..SINGLES)
        .map(|index| {
            let begin = monotonic();
            daemon.call("Start", &format!("single{index}"));
            (monotonic() - begin) as f64 / 1e6
        })
        .collect();
    let sum = singles.iter().sum::<f64>() / SINGLES as f64 * (layers * WIDTH + 1) as f64;
    let (before, peak_before) = (daemon.pss(), daemon.peak());
    let begin = monotonic();
    daemon.call("Start", "everything");
    let took = (monotonic() - begin) as f64 / 1e6;
    println!("\n{} units in {layers} layers, each needing two of the layer before, from cold", layers * WIDTH + 1);
    println!("  {took:.0} ms; so many single starts one after the other: {sum:.0} ms; x {:.2}", took / sum);
    println!(
        "  daemon: PSS {before} KiB before, peak of its memory {peak_before} KiB before, {} KiB after",
        daemon.peak()
    );
}

fn name(layer: usize, index: usize) -> String {
    format!("layer{layer}-{index}")
}

fn unit_table(needs: &[String]) -> String {
    if needs.is_empty() { String::new() } else { format!("[unit]\nrequires = {needs:?}\n") }
}

/// Without output that anybody reads: with two pipes and sockets less for each, five thousand are within the reach of a
/// usual limit of open files.
const SILENT: &str = "[logging]\ntarget = \"null\"\nsyslog_socket = false\n";

/// The same figures at each count of running services.
pub fn growth(directory: &Path, payload: &Path, counts: &[usize], rounds: usize) {
    let mut daemon = Daemon::start(directory);
    let mut table = String::new();
    let _ = writeln!(
        table,
        "  {:>6}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}",
        "units", "start each", "start one", "list", "status", "PSS KiB", "adopt ms"
    );
    let mut have = 0;
    for &count in counts {
        for index in have..count {
            daemon.unit(&format!("idle{index}"), payload, "", SILENT, &[]);
        }
        daemon.unit(&format!("one{count}"), payload, "", SILENT, &[]);
        let begin = monotonic();
        daemon.start_all((have..count).map(|index| format!("idle{index}")));
        let each = (monotonic() - begin) as f64 / 1e3 / (count - have) as f64;
        have = count;
        std::thread::sleep(Duration::from_secs(1));
        let one = middle(rounds, || {
            daemon.call("Start", &format!("one{count}"));
            daemon.call("Stop", &format!("one{count}"));
        });
        let list = middle(rounds, || run(&daemon, &["list"]));
        let status = middle(rounds, || run(&daemon, &["status", "idle7"]));
        let (pss, adopt) = (daemon.pss(), daemon.replace());
        let _ = writeln!(
            table,
            "  {count:>6}{each:>9.0} us{one:>9.0} us{list:>9.0} us{status:>9.0} us{pss:>12}{adopt:>12.0}"
        );
    }
    println!(
        "\nhow costs grow (start each: of those that were added, together; start one: and its stop, alone)\n{table}"
    );
    let begin = monotonic();
    daemon.end();
    println!("  stopping {have}: {:.0} ms", (monotonic() - begin) as f64 / 1e6);
}

/// The middle of some times in microseconds.
fn middle(rounds: usize, mut work: impl FnMut()) -> f64 {
    let times: Vec<f64> = (0..rounds)
        .map(|_| {
            let begin = monotonic();
            work();
            (monotonic() - begin) as f64 / 1e3
        })
        .collect();
    median(&times)
}

fn run(daemon: &Daemon, words: &[&str]) {
    let status = command(daemon.directory()).args(words).stdout(Stdio::null()).status().expect("runs");
    assert!(status.success(), "rsvc {words:?}: {status}");
}

//! A count of everything that an instance of rsvc has of the kernel and of the disk at one moment.

use super::instance::Instance;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Of the daemon's heap, KiB: it is not the same after another order of events.
const HEAP_MARGIN: u64 = 768;
/// Of the memory charged to the groups, KiB: services were started again and use what they like.
const CHARGE_MARGIN: u64 = 8 * 1024;
/// Of a file's size, bytes: numbers have more or fewer digits, and a state names the last few requests about its unit.
const SIZE_MARGIN: u64 = 2048;

/// See the module documentation: numbers by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census(BTreeMap<String, u64>);

impl Census {
    /// Counts now.
    pub fn take(instance: &Instance) -> Census {
        let mut census = Census::default();
        let daemon = instance.daemon_pid();
        census.process(daemon, "the daemon");
        census.set("the daemon: heap, KiB".to_owned(), heap(daemon));
        census.set("the daemon: mounts".to_owned(), lines(&format!("/proc/{daemon}/mountinfo")));
        census.set("mounts here".to_owned(), lines("/proc/self/mountinfo"));
        census.children(daemon);
        for root in instance.groups() {
            census.group(&root, &root);
            for (file, name) in [
                ("memory.usage_in_bytes", "memory charged, KiB"),
                ("memory.kmem.usage_in_bytes", "kernel memory charged, KiB"),
                ("memory.current", "memory charged, KiB"),
            ] {
                if let Some(bytes) = number(&root.join(file)) {
                    census.set(name.to_owned(), bytes / 1024);
                }
            }
        }
        census.files(&instance.file("run"), &instance.file("run"));
        census.files(&instance.file("state"), &instance.file("state"));
        let own = instance.path().display().to_string();
        // One is the control socket under the name that it had before it was moved into place.
        for line in fs::read_to_string("/proc/net/unix").unwrap_or_default().lines().filter(|line| line.contains(&own))
        {
            let path = line.rsplit(' ').next().unwrap_or_default();
            let path = path.trim_start_matches(&own);
            let path = if path.ends_with(".io.rsvc") { "io.rsvc" } else { path };
            census.add(format!("unix sockets at {path}"));
        }
        census
    }

    /// What is otherwise in `later`; nothing where the difference is within the margin of that number.
    pub fn differences(&self, later: &Census) -> Vec<String> {
        let names = self.0.keys().chain(later.0.keys().filter(|name| !self.0.contains_key(*name)));
        let differs = |name: &&String| {
            let (before, after) = (self.get(name), later.get(name));
            // Less is no leak where it is an amount.
            match margin(name) {
                Some(margin) => after > before + margin,
                None => before != after,
            }
        };
        names
            .filter(differs)
            .map(|name| format!("{name}: {} before, {} after", self.get(name), later.get(name)))
            .collect()
    }

    /// The amounts, for people.
    pub fn amounts(&self) -> String {
        let amounts = self.0.iter().filter(|(name, _)| name.ends_with("KiB"));
        let descriptors: u64 = self.sum("the daemon: descriptors");
        let words: Vec<String> = amounts.map(|(name, value)| format!("{name}: {value}")).collect();
        format!(
            "{}; the daemon's descriptors: {descriptors}; groups: {}; processes: {}; files: {}",
            words.join("; "),
            self.sum("group "),
            self.sum("processes "),
            self.0.keys().filter(|name| name.starts_with("size of ")).count()
        )
    }

    /// Is there nothing but root groups, and what the instance itself keeps: one keeper for the next daemon?
    pub fn is_idle(&self) -> bool {
        let of_units = |name: &&String| !name.ends_with(' ') && !name.contains("rsvc-keepers");
        let living = self.0.keys().filter(|name| name.starts_with("processes ") || name.starts_with("group "));
        let keepers = self.0.iter().filter(|(name, _)| name.starts_with("processes ") && name.contains("rsvc-keepers"));
        living.filter(of_units).count() == 0 && keepers.into_iter().all(|(_, count)| *count <= 1)
    }

    fn sum(&self, prefix: &str) -> u64 {
        self.0.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, value)| value).sum()
    }

    fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    fn set(&mut self, name: String, value: u64) {
        self.0.insert(name, value);
    }

    fn add(&mut self, name: String) {
        *self.0.entry(name).or_default() += 1;
    }

    /// Descriptors by kind, and what its pollers and watchers hold.
    fn process(&mut self, pid: i32, name: &str) {
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            self.add(format!("{name}: descriptors: {}", kind(&target)));
            let info = format!("/proc/{pid}/fdinfo/{}", entry.file_name().display());
            for line in fs::read_to_string(info).unwrap_or_default().lines() {
                for (prefix, what) in [("tfd:", "watched by epoll"), ("inotify ", "watched by inotify")] {
                    if line.starts_with(prefix) {
                        self.add(format!("{name}: {what}"));
                    }
                }
            }
        }
    }

    /// Nurseries, and what has not been reaped.
    fn children(&mut self, daemon: i32) {
        for pid in fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        {
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            let Some((name, rest)) = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(") ")) else {
                continue;
            };
            let mut fields = rest.split(' ');
            let state = fields.next().unwrap_or_default();
            if fields.next() == Some(&daemon.to_string()) && (state == "Z" || name == "rsvc-stage") {
                self.add(format!("the daemon: children: {name} {}", if state == "Z" { "not reaped" } else { "alive" }));
            }
        }
    }

    /// A group, those below it, and the processes in them.
    fn group(&mut self, root: &Path, group: &Path) {
        let hierarchy = root.parent().map(Path::display).map(|path| path.to_string()).unwrap_or_default();
        let name = group.strip_prefix(root).unwrap_or(group).display().to_string();
        self.add(format!("group {hierarchy} {name}"));
        let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines().filter_map(|line| line.parse::<i32>().ok()) {
            let Ok(program) = fs::read_to_string(format!("/proc/{pid}/comm")) else { continue };
            self.add(format!("processes {hierarchy} {name}: {}", program.trim()));
            // Once for each process: the v2 tree has all of them.
            if group.join("cgroup.events").exists() && program.starts_with("rsvc-") {
                self.process(pid, &format!("{} of {name}", program.trim()));
            }
        }
        for entry in fs::read_dir(group).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.group(root, &entry.path());
            }
        }
    }

    fn files(&mut self, root: &Path, directory: &Path) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(root.parent().unwrap_or(root)).unwrap_or(&path).display().to_string();
            if is_record(&name) {
                continue;
            }
            match is_of_a_connection(&name) {
                true => self.add("files of past connections".to_owned()),
                false => self.add(format!("file {name}")),
            }
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => self.files(root, &path),
                // They grow with each line and each run, as they are meant to.
                Ok(metadata) if metadata.is_file() && !grows(&name) => {
                    self.set(format!("size of {name}"), metadata.len())
                }
                _ => {}
            }
        }
    }
}

fn grows(name: &str) -> bool {
    name.starts_with("state/log/") || name.starts_with("state/runs/")
}

/// Of each unit there are up to three files of records (of this run and the last, and of commands), of one page each;
/// which of them are there depends on how many runs the unit has had.
fn is_record(name: &str) -> bool {
    let base = name.rsplit('/').next().unwrap_or_default();
    name.starts_with("run/services/") && ["exit", "exit.1", "exit.command"].contains(&base)
}

/// Logs and runs of the last connections stay for a while.
fn is_of_a_connection(name: &str) -> bool {
    grows(name) && name.contains("/accept@")
}

fn margin(name: &str) -> Option<u64> {
    match name {
        "the daemon: heap, KiB" => Some(HEAP_MARGIN),
        _ if name.ends_with("KiB") => Some(CHARGE_MARGIN),
        // A log and a note of its run for each of the last 64.
        "files of past connections" => Some(128),
        _ if name.starts_with("size of ") => Some(SIZE_MARGIN),
        _ => None,
    }
}

/// `socket`, `pipe`, `anon_inode:[pidfd]`, or where it leads: without what is another number each time.
fn kind(target: &Path) -> String {
    let text = target.display().to_string();
    match text.split_once(":[") {
        Some((kind, _)) if kind != "anon_inode" => kind.to_owned(),
        _ => text
            .rsplit("/rsvc-test-")
            .next()
            .and_then(|rest| rest.split_once('/'))
            .map_or(text.clone(), |(_, rest)| rest.to_owned()),
    }
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn lines(path: &str) -> u64 {
    fs::read_to_string(PathBuf::from(path)).unwrap_or_default().lines().count() as u64
}

/// Its own memory without the stack. How much of the stack and of the program is there depends on what was done since the
/// daemon gave that back.
fn heap(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    let mut in_stack = false;
    let mut sum = 0;
    for line in text.lines() {
        match line.strip_prefix("Anonymous:") {
            Some(rest) if !in_stack => sum += rest.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0),
            Some(_) => {}
            // `7ffc0000-7ffd0000 rw-p ... [stack]`, before the figures of a mapping.
            None if !line.split_whitespace().next().is_some_and(|word| word.ends_with(':')) => {
                in_stack = line.ends_with("[stack]");
            }
            None => {}
        }
    }
    sum
}

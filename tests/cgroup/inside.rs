//! What the tests of control groups stand on: a tree that goes away with its test, and processes inside of it.

use rsvc::cgroup::{Group, RootOptions, Tree};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One at a time: on v2 opening a tree moves this process, and closing it moves it back.
pub static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A tree of its own, emptied and removed at the end, also of a failed test.
pub struct Instance {
    pub tree: Tree,
    pub name: String,
    _turn: MutexGuard<'static, ()>,
}

impl Instance {
    /// `None`, with the reason printed, where no group can be made.
    pub fn open() -> Option<Instance> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("rsvc-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        match Tree::open(&RootOptions { name: name.clone(), ..RootOptions::default() }) {
            Ok(tree) => Some(Instance { tree, name, _turn: turn }),
            Err(error) => {
                skipped!("{error}");
                None
            }
        }
    }

    pub fn has(&self, controller: &str) -> bool {
        let found = self.tree.facts().controllers.iter().any(|name| name == controller);
        if !found {
            skipped!("no {controller} controller for groups below this one");
        }
        found
    }

    /// The v1 directories of a unit, as the record tells them.
    pub fn v1_directories(&self, unit: &str) -> Vec<PathBuf> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let record = self.tree.record();
        let lines = record.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| *name != "v2");
        lines
            .filter_map(|(controllers, path)| {
                let options = format!(",{controllers}");
                let mount = mounts.lines().find(|l| l.contains(" - cgroup ") && l.ends_with(&options))?;
                let point = mount.split(' ').nth(4)?;
                Some(Path::new(point).join(path.trim_start_matches('/')).join(unit))
            })
            .collect()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        for (_, group) in self.tree.existing().unwrap_or_default() {
            let _ = group.freeze(false);
            let _ = group.kill();
            let _ = wait_for("the group to be empty", || !group.populated().unwrap_or(false));
            let _ = wait_for("the group to be removed", || group.remove().is_ok());
        }
        if let Err(error) = self.tree.remove_root() {
            // A second panic would abort without the message of the first.
            assert!(std::thread::panicking(), "left behind: {error}");
            eprintln!("left behind: {error}");
        }
    }
}

/// Polls for what the kernel does in its own time; generous, because a virtual machine can be very slow.
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        if Instant::now() > deadline {
            return Err(format!("waited in vain for {what}"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Removes a killed group; EBUSY right after the kill is normal.
pub fn remove(group: &Group) {
    wait_for("an empty group", || !group.populated().expect("populated")).expect("killed");
    let mut last = None;
    let gone = wait_for("rmdir", || match group.remove() {
        Ok(()) => true,
        Err(error) => {
            assert!(error.is_busy(), "{error}");
            last = Some(error);
            false
        }
    });
    gone.unwrap_or_else(|what| panic!("{what}: {last:?}"));
}

/// A process of this program inside a group.
pub struct Inside {
    pub child: Child,
    input: ChildStdin,
    pub output: BufReader<ChildStdout>,
}

impl Inside {
    /// Starts `role`, moves it into all groups of the unit, and lets it begin.
    pub fn start(group: &Group, role: &str) -> Inside {
        let mut child = program(role).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("this program");
        let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let mut inside = Inside { child, input, output: BufReader::new(output) };
        let pid = inside.child.id();
        for descriptor in group.attach_descriptors().expect("descriptors") {
            rustix::io::write(&descriptor, pid.to_string().as_bytes()).expect("attached");
        }
        group.attach_late(pid.try_into().expect("a pid")).expect("attached late");
        if let Some(directory) = v2_directory(group) {
            std::fs::write(directory.join("cgroup.procs"), pid.to_string()).expect("moved in the v2 tree");
        }
        inside.say("go");
        inside
    }

    pub fn say(&mut self, word: &str) {
        // A process that is dead already is found out by what comes next.
        let _ = writeln!(self.input, "{word}");
    }

    /// The next line of the role's own; libtest's are skipped.
    pub fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.output.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some((_, said)) = line.split_once("role: ") {
                return Some(said.trim().to_owned());
            }
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn v2_directory(group: &Group) -> Option<PathBuf> {
    group.events_file().map(|file| file.parent().expect("a directory").to_owned())
}

/// This program, running one role and nothing else.
pub fn program(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "role", "--nocapture", "--test-threads=1"]).env("RSVC_TEST_ROLE", role);
    command
}

//! Ways in which a daemon dies that are not a SIGKILL of somebody's: its own mistake, and the kernel's want of memory.

use crate::instance::process::Process;
use crate::instance::tracer::{End, Tracer, Verdict, When};
use crate::instance::{Instance, eventually, skipped};
use crate::{SLEEP, script};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

/// Services of three kinds that say something every moment, and their processes.
fn with_services(instance: &Instance) -> Vec<(&'static str, Process)> {
    let text = "trap 'exit 0' TERM; n=0; while :; do echo line $n; n=$((n+1)); sleep 0.05; done";
    instance.unit("plain", &script("exec", text, ""));
    instance.unit("initless", &script("exec", text, "[namespaces]\ninit = false"));
    instance.unit("sleep", SLEEP);
    let names = ["plain", "initless", "sleep"];
    instance.rsvc(&["start", "plain", "initless", "sleep"]).expect(0);
    names.map(|name| (name, instance.main_process(name))).to_vec()
}

/// The next daemon has all of them, as they were.
#[track_caller]
fn all_run_on(instance: &mut Instance, before: &[(&str, Process)]) {
    assert!(before.iter().all(|(_, process)| process.is_alive()), "{before:?}");
    instance.start_daemon();
    for (name, process) in before {
        let status = instance.wait_for_state(name, "active");
        assert_eq!((&Process::of(&status["main_pid"]), &status["restarts"]), (process, &0.into()), "{status:#}");
    }
    let lines = || instance.log("plain").lines().count();
    let earlier = lines();
    eventually("its output is read", || (lines() > earlier + 3).then_some(()));
    for line in instance.log("plain").lines().enumerate().map(|(n, line)| (line.ends_with(&format!(" line {n}")), line))
    {
        assert!(line.0, "a line is missing or twice: {}", line.1);
    }
}

/// A read of the daemon that gives more than was asked for, which only a kernel that is out of its mind would do: code
/// that nobody has marked, in the middle of a start, finds a slice shorter than it must be.
#[test]
fn a_panic_ends_the_daemon_at_once_with_a_word_and_the_next_one_goes_on() {
    root_only!();
    let mut instance = Instance::start();
    let before = with_services(&instance);
    instance.unit("late", SLEEP);
    let judge = |call: &crate::instance::tracer::Call, when: When| {
        let is_it = call.name() == "read" && call.file(0).is_some_and(|file| file == "/dev/urandom");
        // Negated: the call succeeds with this.
        if is_it && when == When::Before { Verdict::Fail(-4096) } else { Verdict::Go }
    };
    let Some(tracer) = Tracer::attach(instance.daemon_pid(), judge) else { return };
    let mut client = instance.command().args(["start", "late"]).spawn().expect("rsvc");
    assert_eq!(tracer.wait(), End::Over);
    let status = instance.wait_for_end();
    assert_eq!(status.signal(), Some(libc::SIGABRT), "nothing of it goes on: {status}");
    let log = instance.daemon_log();
    assert!(log.contains("panicked at") && log.contains("out of range"), "{log}");
    all_run_on(&mut instance, &before);
    // Who waited asks the next one, and what had been accepted comes about.
    let answer = eventually("the client is answered", || client.try_wait().expect("wait"));
    assert!(answer.success(), "{answer}");
    instance.wait_for_state("late", "active");
}

/// The last process ends after the next daemon has looked into its group, and before it watches that.
#[test]
fn an_end_between_two_looks_of_the_next_daemon_is_not_missed() {
    root_only!();
    let mut instance = Instance::start();
    // Nobody waits for a process that is not there.
    instance.unit("one", &SLEEP.replace("[logging]", "timeout_stop = \"1h\"\n[logging]"));
    instance.rsvc(&["start", "one"]).expect(0);
    let main = instance.main_process("one");
    let init = main.parent();
    let group =
        instance.groups().into_iter().map(|root| root.join("one")).find(|group| group.join("cgroup.events").exists());
    let Some(group) = group else { return skipped("no group tells when it is empty: there is no cgroup v2 tree") };
    instance.kill_daemon();
    let is_empty =
        move || fs::read_to_string(group.join("cgroup.events")).is_ok_and(|events| events.contains("populated 0"));
    let (mut looked, mut watched) = (false, false);
    let judge = move |call: &crate::instance::tracer::Call, when: When| {
        looked |=
            call.name().starts_with("open") && call.object().is_some_and(|path| path.ends_with("/one/cgroup.events"));
        let is_it = looked && !watched && call.name() == "inotify_add_watch" && when == When::Before;
        if is_it && call.object().is_some_and(|path| path.ends_with("/one/cgroup.events")) {
            watched = true;
            main.signal(rustix::process::Signal::KILL);
            eventually("its group is empty", || (is_empty() && init.is_reaped()).then_some(()));
        }
        Verdict::Go
    };
    let Some(tracer) = instance.start_traced_daemon(judge) else { return };
    assert!(instance.answers(&tracer));
    drop(tracer);
    let status = instance.wait_for_state("one", "active");
    assert_eq!(status["restarts"], 1, "it was killed, and started again: {status:#}");
}

/// A group of the memory controller with a limit, below the one in which this test is.
struct Small {
    directory: PathBuf,
    /// Where the counts are.
    events: PathBuf,
}

impl Small {
    fn make(limit: u64) -> Result<Small, String> {
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|e| e.to_string())?;
        let mounts = fs::read_to_string("/proc/self/mounts").map_err(|e| e.to_string())?;
        let mounted = |kind: &str, option: Option<&str>| {
            mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find_map(|words| {
                let fits = words.get(2) == Some(&kind)
                    && option.is_none_or(|option| words.get(3).is_some_and(|all| all.split(',').any(|o| o == option)));
                fits.then(|| PathBuf::from(words[1]))
            })
        };
        let path = |named: &dyn Fn(&str) -> bool| {
            own.lines().map(|line| line.splitn(3, ':').collect::<Vec<_>>()).find_map(|words| {
                (words.len() == 3 && named(words[1])).then(|| words[2].trim_start_matches('/').to_owned())
            })
        };
        let name = format!("rsvc-small-{}", std::process::id());
        let write =
            |file: PathBuf, value: &str| fs::write(&file, value).map_err(|e| format!("{}: {e}", file.display()));
        let v1 =
            mounted("cgroup", Some("memory")).zip(path(&|controllers| controllers.split(',').any(|c| c == "memory")));
        if let Some((mount, own)) = v1 {
            let directory = mount.join(own).join(name);
            fs::create_dir(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
            let small = Small { events: directory.join("memory.oom_control"), directory };
            write(small.directory.join("memory.limit_in_bytes"), &limit.to_string())?;
            return Ok(small);
        }
        let (mount, own) = mounted("cgroup2", None).zip(path(&str::is_empty)).ok_or("no control groups")?;
        let parent = mount.join(own);
        let enabled = fs::read_to_string(parent.join("cgroup.subtree_control")).unwrap_or_default();
        if !enabled.split_whitespace().any(|controller| controller == "memory") {
            return Err("the memory controller is not given to groups below this one".to_owned());
        }
        let directory = parent.join(name);
        fs::create_dir(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
        let small = Small { events: directory.join("memory.events"), directory };
        write(small.directory.join("memory.max"), &limit.to_string())?;
        let _ = fs::write(small.directory.join("memory.swap.max"), "0");
        Ok(small)
    }

    fn put(&self, pid: i32) {
        fs::write(self.directory.join("cgroup.procs"), pid.to_string()).expect("it may be moved");
    }

    /// How many processes the kernel has killed in it.
    fn kills(&self) -> u64 {
        let text = fs::read_to_string(&self.events).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // The daemon in it is dead, and what it bore follows.
        for _ in 0..500 {
            if fs::remove_dir(&self.directory).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        eprintln!("{} stays", self.directory.display());
    }
}

#[test]
fn a_daemon_that_the_kernel_kills_for_want_of_memory_is_followed_by_one_that_finds_all() {
    root_only!();
    let mut instance = Instance::start();
    let before = with_services(&instance);
    let small = match Small::make(4 << 20) {
        Ok(small) => small,
        Err(why) => return skipped(&why),
    };
    small.put(instance.daemon_pid());
    // The text of what is loaded stays: 60 KiB of environment each.
    let value = "x".repeat(2000);
    let environment: Vec<String> = (0..30).map(|n| format!("V{n} = \"{value}\"")).collect();
    let daemon = Process::with_pid(instance.daemon_pid()).expect("it runs");
    for number in 0..2000 {
        if !daemon.is_alive() {
            break;
        }
        let name = format!("large{number}");
        let text = format!(
            "{SLEEP}[service.environment]\n{}\n",
            environment.join("\n").replace(&value, &format!("{value}{number}"))
        );
        instance.unit(&name, &text);
        let mut command = instance.command();
        command.args(["start", "--no-wait", &name]).stdin(std::process::Stdio::null());
        let _ = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().map(|mut c| {
            // It asks the next daemon for as long as it takes, which is not to come before this is over.
            eventually("it is answered, or the daemon is dead", || {
                (c.try_wait().expect("wait").is_some() || !daemon.is_alive()).then_some(())
            });
            let _ = c.kill();
            c.wait()
        });
    }
    let status = instance.wait_for_end();
    assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}: {}", instance.daemon_log());
    assert!(small.kills() > 0, "by the kernel: {}", fs::read_to_string(&small.events).unwrap_or_default());
    remove_units(&instance.file("units"));
    all_run_on(&mut instance, &before);
}

/// Those that were only made to be large: who is started by now is stopped at the end without its file.
fn remove_units(directory: &Path) {
    for entry in fs::read_dir(directory).expect("units").flatten() {
        if entry.file_name().to_string_lossy().starts_with("large") {
            let _ = fs::remove_file(entry.path());
        }
    }
}

//! What a daemon is at when a call of it fails.

use crate::injected::World;
use crate::instance::process::Process;
use crate::instance::{Said, eventually};
use nix::errno::Errno;
use rustix::process::Signal;
use std::os::unix::net::UnixStream;

/// See the module documentation.
#[derive(Debug)]
pub struct Scenario {
    pub name: &'static str,
    /// Why it cannot be tried here, if it cannot.
    pub lacks: fn() -> Option<String>,
    /// The unit file of `one`.
    pub unit: fn(&World) -> String,
    /// Undisturbed.
    pub prepare: fn(&World),
    /// The daemon is killed and followed by a traced one.
    pub adopts: bool,
    /// With the tracer at work.
    pub act: fn(&World) -> Said,
    /// Until nothing follows any more, or not for long.
    pub settle: fn(&World),
    /// It may be up without a process.
    pub idle: bool,
    /// All of its cases have been run and were right, so that a part of them is run each time.
    pub sampled: bool,
    /// What is wrong with the outcome.
    pub outcome: fn(&World, &[Process], &Said, Option<i32>) -> Vec<String>,
}

pub const AGAIN: &str = "[restart]\npolicy = \"always\"\ndelay = \"20ms\"\nmax_delay = \"100ms\"\nlimit_burst = 0\n";
pub const ONCE: &str = "[restart]\npolicy = \"no\"\n";

pub fn sleeps(world: &World, service: &str, more: &str) -> String {
    format!(
        "[service]\nexec = [\"/bin/sleep\", \"{}\"]\ntimeout_start = \"5s\"\ntimeout_stop = \"2s\"\n{service}\n{more}\
         [directories]\nruntime = [\"one\"]\n[logging]\ntarget = \"file\"\n",
        world.mark
    )
}

pub fn nothing(_: &World) -> Said {
    Said { code: 0, out: String::new(), err: String::new() }
}

/// A moment for what follows an answer: a state that is written, a group that is removed.
pub fn a_moment(_: &World) {
    std::thread::sleep(std::time::Duration::from_millis(80));
}

pub fn up(world: &World) {
    world.rsvc("start").expect(0);
}

pub fn main_pid(world: &World) -> Option<i64> {
    world.status()?["main_pid"].as_i64()
}

/// Did the client lose its connection, rather than hear an answer?
fn unheard(said: &Said) -> bool {
    said.code == 150
}

/// A command that failed says what failed, and how.
pub fn is_named(said: &Said, errno: Option<i32>) -> Vec<String> {
    if said.code == 0 || unheard(said) {
        return Vec::new();
    }
    // Some errors of the kernel are told by what they mean.
    let Some(errno) = errno else { return vec![format!("failed: {said:?}")] };
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    let words = [text.as_str(), Errno::from_raw(errno).desc(), &format!("{:?}", Errno::from_raw(errno))];
    let named = words.iter().any(|word| said.err.contains(word));
    if named { Vec::new() } else { vec![format!("not named: {said:?}")] }
}

pub fn start_outcome(world: &World, _: &[Process], said: &Said, errno: Option<i32>) -> Vec<String> {
    let mut wrong = is_named(said, errno);
    let state = world.state();
    if said.code == 0 && state != "active" {
        wrong.push(format!("started, and is {state}"));
    }
    if said.code != 0 && !unheard(said) && state == "active" {
        wrong.push(format!("is active, and that was said: {said:?}"));
    }
    wrong
}

pub fn stop_outcome(world: &World, _: &[Process], said: &Said, errno: Option<i32>) -> Vec<String> {
    let mut wrong = is_named(said, errno);
    let state = world.state();
    if !unheard(said) && (said.code != 0 || state != "inactive") {
        wrong.push(format!("stopped, and is {state}: {said:?}"));
    }
    wrong
}

/// Another process, or the words for why there is none.
fn restart_outcome(world: &World, before: &[Process], said: &Said, errno: Option<i32>) -> Vec<String> {
    let mut wrong = is_named(said, errno);
    let now = world.copies();
    if said.code == 0 && (now.len() != 1 || now == before) {
        wrong.push(format!("restarted: {before:?}, {now:?}"));
    }
    wrong
}

/// The policy acts, with or without a fault on the way.
fn crash_outcome(world: &World, before: &[Process], _: &Said, _: Option<i32>) -> Vec<String> {
    let now = world.copies();
    if world.state() == "active" && now.len() == 1 && now != before {
        return Vec::new();
    }
    vec![format!("not started again: {} {before:?}, {now:?}", world.state())]
}

/// It runs on as it did.
pub fn same_process(world: &World, before: &[Process], said: &Said, errno: Option<i32>) -> Vec<String> {
    let mut wrong = is_named(said, errno);
    let now = world.copies();
    if now != before || world.state() != "active" || main_pid(world) != before.first().map(|one| one.pid.into()) {
        wrong.push(format!("is {}, and was {before:?} and is {now:?}, known as {:?}", world.state(), main_pid(world)));
    }
    wrong
}

fn output_outcome(world: &World, before: &[Process], said: &Said, errno: Option<i32>) -> Vec<String> {
    let mut wrong = same_process(world, before, said, errno);
    let log = world.instance.log("one");
    if !log.contains("second line") && !log.contains("bytes of output are missing here") {
        wrong.push(format!("neither there nor told as missing: {log:?}"));
    }
    wrong
}

/// Told to print by a signal.
pub fn print(world: &World) -> Said {
    for process in world.copies() {
        let pid = rustix::process::Pid::from_raw(process.pid).expect("a pid");
        // One that has just ended is missed later.
        let _ = rustix::process::kill_process(pid, Signal::USR1);
    }
    nothing(world)
}

fn connect(world: &World) -> Said {
    let stream = UnixStream::connect(world.instance.file("socket"));
    Said { code: if stream.is_ok() { 0 } else { 150 }, out: String::new(), err: String::new() }
}

/// A start of a unit, of which others are variations.
pub const START: Scenario = Scenario {
    name: "start",
    lacks: || None,
    unit: |world| sleeps(world, "", ONCE),
    prepare: |_| {},
    adopts: false,
    act: |world| world.rsvc("start"),
    settle: a_moment,
    idle: false,
    sampled: true,
    outcome: start_outcome,
};

pub static SCENARIOS: [Scenario; 11] = [
    START,
    Scenario { name: "stop", prepare: up, act: |world| world.rsvc("stop"), outcome: stop_outcome, ..START },
    Scenario { name: "restart", prepare: up, act: |world| world.rsvc("restart"), outcome: restart_outcome, ..START },
    Scenario {
        name: "crash",
        unit: |world| sleeps(world, "", AGAIN),
        prepare: up,
        act: |world| {
            let before = world.copies();
            before.iter().for_each(|process| process.signal(Signal::KILL));
            // Another one, or none for a while: its policy may have to wait.
            for _ in 0..50 {
                a_moment(world);
                let now = world.copies();
                if now.len() == 1 && now != before {
                    break;
                }
            }
            nothing(world)
        },
        outcome: crash_outcome,
        ..START
    },
    Scenario {
        name: "reload",
        unit: |world| sleeps(world, "exec_reload = [[\"/bin/true\"]]", ONCE),
        prepare: up,
        act: |world| world.rsvc("reload"),
        outcome: same_process,
        ..START
    },
    Scenario {
        name: "set",
        prepare: up,
        act: |world| world.instance.rsvc(&["set", "one", "resources.tasks_max=50"]),
        outcome: same_process,
        ..START
    },
    Scenario {
        name: "adoption",
        prepare: |world| {
            up(world);
            // Until the daemon knows that the client has its answer it keeps that for a repetition, and so does the next.
            let state = world.instance.file("run/services/one/state");
            eventually("the answer is forgotten", || {
                std::fs::read_to_string(&state).is_ok_and(|text| !text.contains("\"requested\"")).then_some(())
            });
        },
        adopts: true,
        act: nothing,
        outcome: same_process,
        ..START
    },
    Scenario {
        name: "output",
        unit: |world| {
            let text = "import signal,sys; signal.signal(signal.SIGUSR1, lambda *a: print('second line', flush=True))
print('first line', flush=True)
while True: signal.pause()";
            format!(
                "[service]\nexec = [\"/usr/bin/python3\", \"-c\", '''{text}''', \"{}\"]\ntimeout_stop = \"2s\"\n{ONCE}\
                 [logging]\ntarget = \"file\"\n",
                world.mark
            )
        },
        prepare: |world| {
            let _ = std::fs::remove_file(world.instance.file("state/log/one.log"));
            up(world);
            world.instance.wait_for_log("one", "first line");
        },
        act: print,
        settle: |world| {
            for _ in 0..20 {
                a_moment(world);
                if world.instance.log("one").contains("second line") {
                    break;
                }
                print(world);
            }
        },
        outcome: output_outcome,
        ..START
    },
    Scenario {
        name: "socket",
        unit: |world| {
            let socket = world.instance.file("socket").display().to_string();
            sleeps(world, "", ONCE) + &format!("[[sockets]]\nlisten = \"unix:{socket}\"\n")
        },
        act: |world| {
            let said = world.rsvc("start");
            if said.code == 0 { connect(world) } else { said }
        },
        settle: |world| {
            for _ in 0..20 {
                a_moment(world);
                if !world.copies().is_empty() {
                    return a_moment(world);
                }
            }
        },
        idle: true,
        ..START
    },
    Scenario {
        name: "timer",
        unit: |world| sleeps(world, "", ONCE) + "[[timers]]\nevery = \"1h\"\n[[timers]]\non_calendar = \"daily\"\n",
        idle: true,
        ..START
    },
    Scenario {
        name: "notify",
        unit: |world| {
            let text = "import os,socket,signal; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.sendto(b'READY=1\\nSTATUS=well', os.environ['NOTIFY_SOCKET'])
while True: signal.pause()";
            format!(
                "[service]\ntype = \"notify\"\nexec = [\"/usr/bin/python3\", \"-c\", '''{text}''', \"{}\"]\n\
                 timeout_start = \"5s\"\ntimeout_stop = \"2s\"\n{ONCE}[logging]\ntarget = \"file\"\n",
                world.mark
            )
        },
        ..START
    },
];

//! Isolation that the daemon itself has a hand in: ids, programs on the group, images, who answers for a filter,
//! secrets, limits, namespaces of another unit. What failed is not there in part: the unit is up with it, or not up.

use crate::injected::World;
use crate::instance::process::Process;
use crate::instance::{Instance, Said, image};
use crate::scenarios::{ONCE, START, Scenario, a_moment, print, same_process, sleeps, start_outcome, up};
use std::fs;

/// A python program that goes on for ever after its beginning.
fn python(world: &World, text: &str, more: &str) -> String {
    format!(
        "[service]\nexec = [\"/usr/bin/python3\", \"-c\", '''{text}''', \"{}\"]\ntimeout_start = \"5s\"\n\
         timeout_stop = \"2s\"\n{more}\n{ONCE}[logging]\ntarget = \"file\"\n",
        world.mark
    )
}

// ── ids ──

fn forget_ids(world: &World) {
    let _ = fs::remove_file(world.instance.file("state/ids"));
}

/// Its range and user, by the kernel's word, are those that were written down.
fn ids_outcome(world: &World, before: &[Process], said: &Said, errno: Option<i32>) -> Vec<String> {
    let mut wrong = start_outcome(world, before, said, errno);
    let read = |path: String| fs::read_to_string(path).unwrap_or_default();
    let noted: serde_json::Value =
        serde_json::from_str(&read(world.instance.file("state/ids").display().to_string())).unwrap_or_default();
    for process in world.copies() {
        let map = read(format!("/proc/{}/uid_map", process.pid));
        let status = read(format!("/proc/{}/status", process.pid));
        let word = |text: &str, index: usize| text.split_whitespace().nth(index).and_then(|word| word.parse().ok());
        let range: Option<u64> = word(&map, 1);
        let user: Option<u64> = status.lines().find(|line| line.starts_with("Uid:")).and_then(|line| word(line, 1));
        let one = &noted["units"]["one"];
        let host_user = Some(one["range"].as_u64().unwrap_or_default() + one["user"].as_u64().unwrap_or_default());
        if range.is_none() || one["range"].as_u64() != range || user != host_user {
            wrong.push(format!("runs as {user:?} in the range from {range:?}, and noted is {noted}"));
        }
    }
    wrong
}

// ── packets ──

const SENDS: &str = "import socket,signal
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try: s.sendto(b'x', ('127.0.0.1', 9)); print('sent', flush=True)
except PermissionError: print('judged', flush=True)
while True: signal.pause()";

fn judged_outcome(world: &World, before: &[Process], said: &Said, errno: Option<i32>) -> Vec<String> {
    let mut wrong = start_outcome(world, before, said, errno);
    let log = world.instance.log("one");
    if log.contains("sent") {
        wrong.push(format!("runs without its rules: {log}"));
    }
    wrong
}

// ── image ──

/// The host's programs in a root of its own.
fn in_an_image(world: &World) -> String {
    format!(
        "[service]\nexec = [\"/usr/bin/sleep\", \"{}\"]\ntimeout_start = \"5s\"\ntimeout_stop = \"2s\"\n{ONCE}\
         [logging]\ntarget = \"file\"\n{}",
        world.mark,
        image::tables(&world.instance, &[])
    )
}

/// A loop device is there for as long as the service, and not longer.
fn image_outcome(world: &World, before: &[Process], said: &Said, errno: Option<i32>) -> Vec<String> {
    let mut wrong = start_outcome(world, before, said, errno);
    let wanted = usize::from(world.state() == "active");
    if !world.becomes(|world| image::devices(&world.instance) == wanted) {
        wrong.push(format!("{} loop devices for {}", image::devices(&world.instance), world.state()));
    }
    wrong
}

// ── denied calls ──

const ON_DENY: &str = "[syscalls]\non_deny = \"notify-errno\"\n";

/// bpf(2) is denied to everybody; what it is answered with is printed.
const ASKS: &str = "import ctypes,signal
libc = ctypes.CDLL(None, use_errno=True)
def ask(*_):
    result = libc.syscall(321, 0, 0, 0)
    print('answer', result, ctypes.get_errno(), flush=True)
signal.signal(signal.SIGUSR1, ask)
print('begun', flush=True)
while True: signal.pause()";

fn asks(world: &World) -> String {
    python(world, ASKS, "") + ON_DENY
}

fn is_listed(world: &World) -> bool {
    world.status().is_some_and(|status| status["denied"].to_string().contains("bpf"))
}

/// Answered as the filter would have, whoever failed, and known afterwards.
fn denied_outcome(world: &World, before: &[Process], said: &Said, errno: Option<i32>) -> Vec<String> {
    let mut wrong = same_process(world, before, said, errno);
    let log = world.instance.log("one");
    let answers: Vec<&str> = log.lines().filter(|line| line.contains("answer")).collect();
    if answers.is_empty() || answers.iter().any(|line| !line.ends_with("answer -1 1")) {
        wrong.push(format!("answered with {answers:?}"));
    }
    if !world.becomes(is_listed) {
        wrong.push("the denied call is not shown".to_owned());
    }
    wrong
}

fn up_and_fresh(world: &World) {
    let _ = fs::remove_file(world.instance.file("state/log/one.log"));
    up(world);
    world.instance.wait_for_log("one", "begun");
}

// ── secrets, limits, others' namespaces ──

const SECRET: &str = "a-value-found-nowhere-else";

fn secrets(world: &World) -> String {
    let (file, variables) = (world.instance.file("secret"), world.instance.file("variables"));
    fs::write(&file, SECRET).expect("file");
    fs::write(&variables, "FROM=file\n").expect("file");
    let text = "import os,signal
print(open(os.environ['CREDENTIALS_DIRECTORY'] + '/key').read(), os.environ['FROM'], flush=True)
while True: signal.pause()";
    let more = format!("environment_files = [{:?}]\nuser = \"54321\"\n", variables.display().to_string());
    python(world, text, &more)
        + &format!(
            "[credentials]\nload = {{ key = {:?} }}\nset = {{ other = \"hello\" }}\n\
             [directories]\nstate = [\"one\"]\ncache = [\"one\"]\n",
            file.display().to_string()
        )
}

fn secrets_outcome(world: &World, before: &[Process], said: &Said, errno: Option<i32>) -> Vec<String> {
    let mut wrong = start_outcome(world, before, said, errno);
    let log = world.instance.log("one");
    if log.contains("Traceback") {
        wrong.push(format!("runs without what it was to have: {log}"));
    }
    wrong
}

fn limited(world: &World) -> String {
    world.instance.unit_as_is("batch.slice", "[resources]\ntasks_max = 1000\n");
    sleeps(world, "nice = 5", ONCE)
        + "[resources]\nslice = \"batch\"\nmemory_max = \"100M\"\ntasks_max = 100\ncpu_weight = 50\ncpu_max = \"50%\"\n"
}

/// What is up has its limits.
fn limited_outcome(world: &World, before: &[Process], said: &Said, errno: Option<i32>) -> Vec<String> {
    let mut wrong = start_outcome(world, before, said, errno);
    let Some(status) = world.status().filter(|status| status["state"] == "active") else { return wrong };
    for (key, limit) in [("memory_max", 100 << 20), ("tasks_max", 100)] {
        // `null`: this host has no such controller, and then the start says what is degraded.
        if status[key].as_u64().is_some_and(|found| found != limit) {
            wrong.push(format!("{key} is {}", status[key]));
        }
    }
    wrong
}

fn member(world: &World) -> String {
    let network = "[network]\nmode = \"loopback\"\n";
    let owner = format!("[service]\nexec = [\"/bin/sleep\", \"1000\"]\ntimeout_stop = \"2s\"\n{ONCE}{network}");
    world.instance.unit("owner", &owner);
    sleeps(world, "", ONCE)
        + "[network]\nmode = \"unit:owner\"\n[namespaces]\npid = \"unit:owner\"\nipc = \"unit:owner\"\n"
}

pub const WALLS: &[Scenario] = &[
    Scenario {
        name: "ids",
        sampled: false,
        unit: |world| {
            let text = sleeps(world, "user = \"auto\"", ONCE) + "[namespaces]\nuser = \"auto\"\n";
            text.replace("runtime = ", "state = [\"one\"]\nruntime = ")
        },
        // What has been given is known to the daemon that gave it.
        prepare: forget_ids,
        adopts: true,
        outcome: ids_outcome,
        ..START
    },
    Scenario {
        name: "packets",
        sampled: false,
        lacks: || {
            (!Instance::prepared().has_feature("packet-programs"))
                .then(|| "the kernel takes no programs for packets".to_owned())
        },
        unit: |world| python(world, SENDS, "") + "[network]\nip_deny = [\"any\"]\nip_allow = [\"10.0.0.0/8\"]\n",
        prepare: |world| {
            let _ = fs::remove_file(world.instance.file("state/log/one.log"));
        },
        outcome: judged_outcome,
        ..START
    },
    Scenario { name: "image", sampled: false, lacks: image::lacks, unit: in_an_image, outcome: image_outcome, ..START },
    Scenario { name: "answerer", unit: asks, ..START },
    Scenario {
        name: "denied",
        sampled: false,
        unit: asks,
        prepare: up_and_fresh,
        act: print,
        settle: |world| {
            for _ in 0..20 {
                a_moment(world);
                if is_listed(world) {
                    break;
                }
                print(world);
            }
        },
        outcome: denied_outcome,
        ..START
    },
    Scenario { name: "secrets", sampled: false, unit: secrets, outcome: secrets_outcome, ..START },
    Scenario { name: "limits", sampled: false, unit: limited, outcome: limited_outcome, ..START },
    Scenario { name: "pod", sampled: false, unit: member, ..START },
];

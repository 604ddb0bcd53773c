//! What happens around a service that is up: commands beside it, descriptors that it stores, looks at its health, what is
//! changed for good, and another program that takes over.

use crate::injected::World;
use crate::instance::process::Process;
use crate::instance::{Said, eventually};
use crate::scenarios::{ONCE, START, Scenario, a_moment, is_named, nothing, print, same_process, sleeps, up};
use std::fs;

const STORES: &str = r#"use Socket; $| = 1; $^F = 0;
$SIG{USR1} = sub {
  socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die; connect($s, sockaddr_un($ENV{NOTIFY_SOCKET})) or die;
  pipe(my $r, my $w) or die; my $text = "FDSTORE=1\nFDPOLL=0\nFDNAME=kept"; my $part = pack("PQ", $text, length $text);
  my $control = pack("Qlllx4", 20, 1, 1, fileno $r);
  my $header = pack("QQPQPQlx4", 0, 0, $part, 1, $control, length $control, 0);
  syscall(NUMBER, fileno($s), $header, 0x4000) >= 0 or die "sendmsg: $!";
};
print "begun\n"; sleep 1000 while 1;
"#;

fn stores(world: &World) -> String {
    let number = if cfg!(target_arch = "x86_64") { "46" } else { "211" };
    format!(
        "[service]\nexec = [\"/usr/bin/perl\", \"-e\", '''{}''', \"{}\"]\ntimeout_start = \"5s\"\ntimeout_stop = \"2s\"\n\
         file_descriptor_store_max = 100\n{ONCE}[logging]\ntarget = \"file\"\n",
        STORES.replace("NUMBER", number),
        world.mark
    )
}

fn stored(world: &World) -> u64 {
    world.status().and_then(|status| status["stored_descriptors"].as_u64()).unwrap_or_default()
}

fn begun(world: &World) {
    let _ = fs::remove_file(world.instance.file("state/log/one.log"));
    up(world);
    world.instance.wait_for_log("one", "begun");
}

/// Kept, or said that it is not.
fn store_outcome(world: &World, before: &[Process], said: &Said, errno: Option<i32>) -> Vec<String> {
    let mut wrong = same_process(world, before, said, errno);
    if stored(world) == 0 {
        wrong.push("nothing that was sent is stored, and it was sent often".to_owned());
    }
    wrong
}

const HOOKED: &str = "exec_start_pre = [[\"/bin/true\"]]\nexec_start_post = [[\"/bin/true\"]]\nexec_stop = [[\"/bin/true\"]]\n\
                      exec_stop_post = [[\"/bin/true\"]]\n";

fn fresh_drop_ins(world: &World) {
    let _ = fs::remove_dir_all(world.instance.file("units/one.d"));
    up(world);
}

/// File and kernel say the same.
fn persist_outcome(world: &World, before: &[Process], said: &Said, errno: Option<i32>) -> Vec<String> {
    let mut wrong = same_process(world, before, said, errno);
    let text = fs::read_to_string(world.instance.file("units/one.d/90-set.toml")).unwrap_or_default();
    let is_whole = text.is_empty() || text.contains("tasks_max = 50");
    if !is_whole || (said.code == 0 && text.is_empty()) {
        wrong.push(format!("said was {said:?}, and the file is {text:?}"));
    }
    let left = fs::read_dir(world.instance.file("units/one.d")).into_iter().flatten().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).filter(|name| name != "90-set.toml").collect();
    if !left.is_empty() {
        wrong.push(format!("{left:?} is left beside the file"));
    }
    wrong
}

/// Enabled when it was said, and not half.
fn enable_outcome(world: &World, before: &[Process], said: &Said, errno: Option<i32>) -> Vec<String> {
    let mut wrong = same_process(world, before, said, errno);
    let is_enabled = world.instance.rsvc(&["is-enabled", "one"]).code == 0;
    if said.code == 0 && !is_enabled {
        wrong.push("said to be enabled, and is not".to_owned());
    }
    wrong
}

pub const AROUND: &[Scenario] = &[
    Scenario {
        name: "hooks",
        sampled: false,
        unit: |world| sleeps(world, HOOKED, ONCE) + "[hooks]\non_exit = [\"/bin/true\"]\n",
        act: |world| {
            let said = world.rsvc("start");
            if said.code == 0 { world.rsvc("restart") } else { said }
        },
        outcome: |world, _, said, errno| {
            // A command that could not be executed ends the start, and says so.
            let mut wrong = is_named(said, errno);
            if said.code == 0 && world.state() != "active" {
                wrong.push(format!("started, and is {}", world.state()));
            }
            wrong
        },
        ..START
    },
    Scenario {
        name: "exec",
        sampled: false,
        prepare: up,
        act: |world| world.instance.rsvc(&["exec", "one", "--", "/bin/true"]),
        outcome: same_process,
        ..START
    },
    Scenario {
        name: "store",
        sampled: false,
        unit: stores,
        prepare: begun,
        act: print,
        settle: |world| {
            for _ in 0..20 {
                a_moment(world);
                if stored(world) > 0 {
                    break;
                }
                print(world);
            }
        },
        outcome: store_outcome,
        ..START
    },
    Scenario {
        name: "health",
        sampled: false,
        unit: |world| {
            sleeps(world, "", ONCE)
                + "[health]\ncommand = [\"/bin/true\"]\ninterval = \"50ms\"\nretries = 10\naction = \"log\"\n"
        },
        prepare: up,
        act: nothing,
        settle: |world| (0..4).for_each(|_| a_moment(world)),
        outcome: same_process,
        ..START
    },
    Scenario {
        name: "persist",
        sampled: false,
        prepare: fresh_drop_ins,
        act: |world| world.instance.rsvc(&["set", "--persist", "one", "resources.tasks_max=50"]),
        outcome: persist_outcome,
        ..START
    },
    Scenario {
        name: "enable",
        sampled: false,
        prepare: |world| {
            up(world);
            world.instance.rsvc(&["disable", "one"]).expect(0);
        },
        act: |world| world.instance.rsvc(&["enable", "one"]),
        outcome: enable_outcome,
        ..START
    },
    Scenario {
        name: "freeze",
        prepare: up,
        act: |world| {
            let said = world.instance.rsvc(&["freeze", "one"]);
            let thawed = world.instance.rsvc(&["thaw", "one"]);
            if said.code == 0 { thawed } else { said }
        },
        outcome: same_process,
        ..START
    },
    Scenario {
        name: "upgrade",
        sampled: false,
        prepare: |world| {
            up(world);
            let state = world.instance.file("run/services/one/state");
            eventually("the answer is forgotten", || {
                fs::read_to_string(&state).is_ok_and(|text| !text.contains("\"requested\"")).then_some(())
            });
        },
        act: |world| world.instance.rsvc(&["daemon", "upgrade"]),
        // A program that has taken over has not started anything yet, and has fewer files open for it; so after a refusal, too.
        outcome: |world, before, said, errno| {
            let wrong = same_process(world, before, said, errno);
            world.instance.rsvc(&["daemon", "upgrade"]);
            wrong
        },
        ..START
    },
];

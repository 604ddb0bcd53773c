//! Units with what the daemon has a hand in besides the launch: ids, programs on the group, an image, who answers for a
//! filter, a secret. Whoever runs has all of it, whichever daemon began it and whichever one ended it.

use crate::drive::{Act, Scenario};
use crate::instance::{Instance, image};
use crate::lab::{Lab, SERVE, brief, eventually};
use crate::running;
use crate::scenarios;
use crate::starting::up_if_accepted;
use rustix::process::Signal;
use serde_json::Value;
use std::fs;

/// Sends a packet that is denied, makes a call that is denied (bpf), and reads its secret; when told to, again with
/// another call (init_module). Each time it writes a line: what the packet and the call got, and the secret. By then it
/// can be stopped.
const TRIES: &str = r#"trap 'echo TERM >> $d/heard; exit 0' TERM; sleep 1000 &
cat > $d/tries <<'END'
use Socket;
open(my $secret, "<", "$ENV{CREDENTIALS_DIRECTORY}/key") or die;
chomp(my $key = <$secret>);
socket(my $s, PF_INET, SOCK_DGRAM, 17) or die;
my $packet = defined send($s, "x", 0, sockaddr_in(9, inet_aton("127.0.0.1"))) ? "sent" : $!+0;
my $call = syscall($ARGV[0], 0, 0, 0) < 0 ? $!+0 : "done";
open(my $seen, ">>", "$ENV{STATE_DIRECTORY}/seen") or die;
print $seen "$packet $call $key\n";
END
trap 'perl $d/tries 175' USR1; perl $d/tries 321; while :; do wait; done"#;

/// EPERM for the packet, EPERM for the call, the value below.
const JUDGED: &str = "1 1 found-nowhere-else";

const WALLS: &str = "user = \"auto\"\n[namespaces]\nuser = \"auto\"\n[network]\nmode = \"loopback\"\nip_deny = [\"any\"]\n\
    [syscalls]\non_deny = \"notify-errno\"\n[credentials]\nset = { key = \"found-nowhere-else\" }";

fn lacks_walls() -> Option<String> {
    (!Instance::prepared().has_feature("packet-programs"))
        .then(|| "the kernel takes no programs for packets".to_owned())
}

fn web(lab: &Lab) {
    lab.unit("web", "exec", TRIES, WALLS);
}

fn start(lab: &mut Lab) {
    lab.start("web");
    has_tried(lab, 1);
}

/// So many times, or more.
#[track_caller]
fn has_tried(lab: &Lab, times: usize) {
    eventually(|| "it has tried".to_owned(), || (lab.said("web", "seen").len() >= times).then_some(()));
}

/// Its range and its user are by the kernel's word those that are written down, and none of its tries got through.
fn is_walled(lab: &Lab, status: &Value) {
    let process = lab.is_running(status);
    has_tried(lab, lab.said("web", "runs").len());
    let seen = lab.said("web", "seen");
    assert!(seen.iter().all(|line| line == JUDGED), "{seen:?}");
    let ids = fs::read(lab.instance.file("state/ids")).expect("ids are written down");
    let ids: Value = serde_json::from_slice(&ids).expect("JSON");
    let of = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", process.pid)).expect("it runs");
    let number = |line: &str, index| line.split_whitespace().nth(index).and_then(|word| word.parse::<u64>().ok());
    let range = number(&of("uid_map"), 1).expect("a map");
    let user = of("status").lines().find(|line| line.starts_with("Uid:")).and_then(|line| number(line, 1));
    let noted = &ids["units"]["web"];
    assert_eq!(noted["range"], range, "{noted}, {:?}, {}", process.command_line(), brief(status));
    assert_eq!(user, Some(range + noted["user"].as_u64().expect("a user")), "{noted}");
}

fn walled_if_up(lab: &Lab, accepted: bool) {
    up_if_accepted(lab, "web", accepted);
    let status = lab.settled("web");
    if status["state"] == "active" {
        is_walled(lab, &status);
    }
}

fn is_known_for(lab: &Lab, call: &str) {
    lab.waits_for("web", &format!("known for {call}"), |status| status["denied"].to_string().contains(call));
}

/// The same process, behind the same walls.
fn untouched(lab: &Lab) {
    let status = lab.settled("web");
    lab.is_untouched("web", &status);
    is_walled(lab, &status);
}

/// A command beside the service: it has an end of its own, and the service does not notice.
fn join(lab: &mut Lab) {
    let mut command = lab.instance.command();
    command.args(["exec", "web", "--", "/bin/sh", "-c", "echo joined >> /var/lib/web/joined"]);
    lab.outside = Some(std::thread::spawn(move || {
        let output = command.output().expect("rsvc runs");
        format!("{} {}", output.status, String::from_utf8_lossy(&output.stderr))
    }));
}

fn is_over(lab: &Lab) -> bool {
    lab.outside.as_ref().is_some_and(|client| client.is_finished())
}

scenarios! {
    walled_start: Scenario {
        name: "walled_start",
        lacks: lacks_walls,
        units: web,
        before: |_| {},
        act: Act::Client(&["start", "web"]),
        done: |lab| lab.is_saved_ready("web") && !lab.said("web", "seen").is_empty(),
        check: walled_if_up,
    };
    walled_stop: Scenario {
        name: "walled_stop",
        lacks: lacks_walls,
        units: web,
        before: start,
        act: Act::Client(&["stop", "web"]),
        done: |lab| lab.is_forgotten("web"),
        check: |lab, accepted| match lab.settled("web") {
            status if status["state"] == "active" => {
                assert!(!accepted);
                untouched(lab);
            }
            status => assert_eq!(status["state"], "inactive", "{}", brief(&status)),
        },
    };
    walled_crash: Scenario {
        name: "walled_crash",
        lacks: lacks_walls,
        units: |lab| lab.unit("web", "exec", TRIES, &format!("{WALLS}\n[restart]\ndelay = \"0\"")),
        before: start,
        check: |lab, accepted| {
            (running::CRASH.check)(lab, accepted);
            is_walled(lab, &lab.settled("web"));
        },
        ..running::CRASH
    };
    walled_adoption: Scenario {
        name: "walled_adoption",
        lacks: lacks_walls,
        units: |lab| {
            web(lab);
            lab.unit("ended", "exec", "until [ -e $d/go ]; do sleep 0.01; done; exit 7", &format!("{WALLS}\n[restart]\npolicy = \"no\""));
        },
        before: |lab| {
            start(lab);
            lab.start("ended");
            lab.instance.kill_daemon();
            fs::write(lab.path("ended", "go"), "").expect("go");
            eventually(|| "one has ended".to_owned(), || (!lab.before[1].is_alive()).then_some(()));
        },
        act: Act::NextDaemon,
        done: |lab| lab.saved("ended")["rest"].is_object(),
        check: |lab, _| {
            untouched(lab);
            is_known_for(lab, "bpf");
            let ended = lab.comes_to("ended", "failed");
            assert_eq!(ended["exit_code"], 7, "{}", brief(&ended));
        },
    };
    a_denied_call: Scenario {
        name: "a_denied_call",
        lacks: lacks_walls,
        units: web,
        before: start,
        act: Act::Happens(|lab| lab.before[0].signal(Signal::USR1)),
        done: |lab| lab.instance.daemon_log().lines().last().is_some_and(|line| line.contains("denied init_module")),
        check: |lab, _| {
            has_tried(lab, 2);
            untouched(lab);
            is_known_for(lab, "bpf");
            is_known_for(lab, "init_module");
        },
    };
    a_command_beside: Scenario {
        name: "a_command_beside",
        lacks: lacks_walls,
        units: web,
        before: start,
        act: Act::Happens(join),
        done: is_over,
        check: |lab, _| {
            eventually(|| "the command comes to an end".to_owned(), || is_over(lab).then_some(()));
            assert!(lab.said("web", "joined").len() <= 1);
            untouched(lab);
        },
    };
    image_start: Scenario {
        name: "image_start",
        lacks: image::lacks,
        units: |lab| lab.unit("web", "exec", SERVE, &image::tables(&lab.instance, &["var/lib/web", "run/web"])),
        before: |_| {},
        act: Act::Client(&["start", "web"]),
        done: |lab| lab.is_saved_ready("web"),
        check: |lab, accepted| {
            up_if_accepted(lab, "web", accepted);
            let wanted = usize::from(lab.state("web") == "active");
            let is_right = || image::devices(&lab.instance) == wanted;
            eventually(|| format!("there are {wanted} loop devices"), || is_right().then_some(()));
        },
    };
    upgrade: Scenario {
        name: "upgrade",
        lacks: || None,
        units: |lab| lab.unit("web", "exec", SERVE, ""),
        before: |lab| lab.start("web"),
        act: Act::Client(&["daemon", "upgrade"]),
        done: |_| true,
        check: |lab, _| lab.is_untouched("web", &lab.settled("web")),
    };
}

//! `syscalls.on_deny = "notify-errno"`: the same answers, and who asked is remembered; whoever lives or dies meanwhile.

use crate::instance::{Instance, eventually, skipped};
use crate::lab::Lab;
use serde_json::Value;

const NOTIFY: &str = "[syscalls]\non_deny = \"notify-errno\"\n";
const WORDS: [&str; 7] =
    ["call:getppid", "call:bpf", "socket:38:5", "call:clone3", "call:9999", "unshare:0x20000", "call:bpf:1"];

/// The denied calls of a unit, by what is shown of them.
fn denied(instance: &Instance, unit: &str) -> Vec<(String, u64, String)> {
    let status = instance.status(unit);
    let text = |call: &Value, key: &str| call[key].as_str().unwrap_or_default().to_owned();
    let calls = status["denied"].as_array().cloned().unwrap_or_default();
    calls.iter().map(|call| (text(call, "call"), call["times"].as_u64().unwrap_or(0), text(call, "errno"))).collect()
}

#[test]
fn denied_calls_get_the_same_answers_and_are_shown() {
    let Some(lab) = Lab::new() else { return };
    let plain = lab.look("plain", "", &WORDS);
    let seen = lab.look("told", NOTIFY, &WORDS);
    for word in WORDS {
        assert_eq!(seen[word], plain[word], "{word}");
    }
    assert_eq!(&seen["call:bpf"], "EPERM");
    assert_eq!(&seen["socket:38:5"], "EAFNOSUPPORT");
    let calls = denied(&lab.instance, "told");
    let count = |shown: &str, errno: &str| {
        calls.iter().find(|(call, _, answer)| call == shown && answer == errno).map(|(_, times, _)| *times)
    };
    assert_eq!(count("bpf(0 == 0x0)", "EPERM"), Some(1), "{calls:?}");
    assert_eq!(count("bpf(0 == 0x1)", "EPERM"), Some(1), "{calls:?}");
    assert_eq!(count("socket(0 == 0x26, 1 == 0x5, 2 == 0x0)", "EAFNOSUPPORT"), Some(1), "{calls:?}");
    assert_eq!(count("unshare(0 == 0x20000)", "EPERM"), Some(1), "{calls:?}");
    // What a library only asks for is no denial.
    assert!(!calls.iter().any(|(call, ..)| call.contains("clone3") || call.contains("number")), "{calls:?}");
    assert!(denied(&lab.instance, "plain").is_empty());
    let page = lab.instance.rsvc(&["status", "told"]).out;
    assert!(page.contains("Denied") && page.contains("syscalls.allow.append = [\"bpf\"]"), "{page}");
    assert!(page.contains("network.address_families denies it"), "{page}");
    let log = lab.instance.daemon_log();
    assert_eq!(log.matches("told: denied bpf(0 == 0x0) with EPERM").count(), 1, "{log}");
}

#[test]
fn the_filter_may_deny_everything_that_it_takes_to_send_a_listener() {
    let Some(lab) = Lab::new() else { return };
    for (name, user) in [("few", ""), ("few-user", "user = \"54321\"\n")] {
        let body = format!("{user}[syscalls]\nallow = [\"@default\", \"@basic-io\"]\non_deny = \"notify-errno\"\n");
        lab.look(name, &body, &["call:sync", "socket:1:1", "call:getuid"]).expect(&[
            ("call:sync", "EPERM"),
            ("socket:1:1", "EPERM"),
            ("call:getuid", "ok"),
        ]);
        let calls = denied(&lab.instance, name);
        assert!(calls.iter().any(|(call, ..)| call == "sync"), "{calls:?}");
    }
    // Nothing at all but what the start needs: it does not hang, and how it ends is the program's affair.
    lab.unit("nothing", "[syscalls]\nallow = []\non_deny = \"notify-errno\"\n", &["call:getppid"]);
    lab.instance.rsvc(&["start", "nothing"]);
    assert!(!lab.instance.log("nothing").contains("@@call:getppid\tok"));
    let refused = lab.look("off", "[syscalls]\nmode = \"log\"\non_deny = \"notify-errno\"\n", &["unshare:0x20000"]);
    refused.expect(&[("unshare:0x20000", "EPERM")]);
    assert_eq!(denied(&lab.instance, "off"), [("unshare(0 == 0x20000)".to_owned(), 1, "EPERM".to_owned())]);
}

/// A service that makes denied calls all the time and prints a line for each that was not answered with EPERM.
const LOOP: &str = "import ctypes, time
libc = ctypes.CDLL(None, use_errno=True)
print('begun', flush=True)
count = 0
while True:
    result = libc.syscall(321, count % 3, 0, 0)
    if result != -1 or ctypes.get_errno() != 1:
        print('answered', result, ctypes.get_errno(), flush=True)
    count += 1
    if count % 50 == 0: time.sleep(0.001)
    if count % 1000 == 0:
        with open('/tmp/count', 'w') as file: file.write(str(count))
";

fn start_loop(lab: &Lab, name: &str) -> bool {
    if !std::path::Path::new("/usr/bin/python3").exists() {
        skipped("python3 is not installed");
        return false;
    }
    let script = lab.instance.file("loop.py");
    std::fs::write(&script, LOOP).expect("script");
    let bind = format!("[[mounts]]\nsource = \"{}\"\ndestination = \"/tmp/loop.py\"\n", script.display());
    let text = format!(
        "[service]\nexec = [\"/usr/bin/python3\", \"/tmp/loop.py\"]\n{NOTIFY}[logging]\ntarget = \"file\"\n{bind}"
    );
    lab.instance.unit(name, &text);
    lab.instance.rsvc(&["start", name]).expect(0);
    lab.instance.wait_for_log(name, "begun");
    true
}

/// All denied calls of the loop so far.
fn made(lab: &Lab, name: &str) -> u64 {
    // What ctypes leaves in the registers of further arguments is not always the same.
    let status = lab.instance.status(name);
    let calls = status["denied"].as_array().cloned().unwrap_or_default();
    let count = |call: &Value, key: &str| call[key].as_u64().unwrap_or(0);
    calls.iter().map(|call| count(call, "times") + count(call, "others")).sum()
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_loop_of_denied_calls_goes_on_whatever_happens_to_the_daemon_and_floods_nobody() {
    let Some(mut lab) = Lab::new() else { return };
    if !start_loop(&lab, "loop") {
        return;
    }
    eventually("thousands of denied calls", || (made(&lab, "loop") > 5000).then_some(()));
    let process = lab.instance.main_process("loop");
    lab.instance.kill_daemon();
    // Nobody is there; the calls go on.
    let count = || std::fs::read_to_string(format!("/proc/{}/root/tmp/count", process.pid)).unwrap_or_default();
    let before = count();
    eventually("denied calls without a daemon", || (count() != before && !count().is_empty()).then_some(()));
    lab.instance.start_daemon();
    assert_eq!(lab.instance.main_process("loop"), process);
    let before = made(&lab, "loop");
    assert!(before > 5000, "{before}");
    eventually("counted on", || (made(&lab, "loop") > before).then_some(()));
    lab.instance.rsvc(&["exec", "loop", "--", "/bin/true"]).expect(0);
    lab.instance.rsvc(&["stop", "loop"]).expect(0);
    let log = lab.instance.log("loop");
    assert!(!log.contains("answered"), "{log}");
    let lines = lab.instance.daemon_log().matches("loop: denied").count();
    assert!((1..=3).contains(&lines), "{lines} lines");
    // Who answered ends with the service.
    eventually("no answerer", || (answerers(&lab) == 0).then_some(()));
}

/// Processes that answer denied calls, of this instance.
fn answerers(lab: &Lab) -> usize {
    all_answerers(lab).len()
}

fn all_answerers(lab: &Lab) -> Vec<i32> {
    let groups = lab.instance.groups();
    let pids = groups.iter().flat_map(|group| walk(group));
    let mut found: Vec<i32> = pids.filter(|pid| comm(*pid) == "rsvc-denials").collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn comm(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

fn walk(group: &std::path::Path) -> Vec<i32> {
    let own = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<i32> = own.lines().filter_map(|line| line.parse().ok()).collect();
    for entry in std::fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            pids.extend(walk(&entry.path()));
        }
    }
    pids
}

#[cfg(target_arch = "x86_64")]
#[test]
fn without_who_answers_calls_are_still_refused_and_the_next_run_has_another() {
    let Some(lab) = Lab::new() else { return };
    if !start_loop(&lab, "lonely") {
        return;
    }
    let found = all_answerers(&lab);
    assert_eq!(found.len(), 1, "{found:?}");
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(found[0]).expect("pid"),
        rustix::process::Signal::KILL,
    )
    .expect("killed");
    let log = lab.instance.wait_for_log("lonely", "answered");
    assert!(log.lines().filter(|line| line.contains("answered")).all(|line| line.contains("answered -1 38")), "{log}");
    eventually("said", || lab.instance.daemon_log().contains("who answered its denied calls was ended").then_some(()));
    lab.instance.rsvc(&["restart", "lonely"]).expect(0);
    eventually("counted again", || (made(&lab, "lonely") > 0).then_some(()));
    lab.instance.rsvc(&["stop", "lonely"]).expect(0);
}

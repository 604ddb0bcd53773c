//! `rsvc verify`: tries the doors of a unit that runs, and says which are open although the unit promises otherwise.

#[macro_use]
mod instance;

use instance::{Instance, Said, is_root};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

const SLEEP: &str = "[service]\nexec = [\"/bin/sleep\", \"1000\"]\ntimeout_stop = \"300ms\"\n";

/// The doors by their names.
fn verify(instance: &Instance, unit: &str, code: i32) -> BTreeMap<String, Value> {
    let said = instance.rsvc(&["verify", "-o", "json", unit]).expect(code);
    let lines = said.out.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.map(|door| (door["id"].as_str().expect("a name").to_owned(), door)).collect()
}

fn up(units: &[(&str, &str)]) -> Instance {
    let instance = Instance::start();
    for (name, text) in units {
        instance.unit(name, text);
        instance.rsvc(&["start", name]).expect(0);
    }
    instance
}

#[track_caller]
fn expect(doors: &BTreeMap<String, Value>, verdict: &str, ids: &[&str]) {
    let wrong: Vec<_> = ids.iter().filter(|id| doors[**id]["verdict"] != verdict).map(|id| &doors[*id]).collect();
    assert!(wrong.is_empty(), "not {verdict}: {wrong:#?}");
}

/// Doors that every sandbox closes and none at all leaves open, on every host that tests are run on.
const DECISIVE: [&str; 26] = [
    "mount",
    "bind",
    "remount",
    "umount",
    "pivot-root",
    "open-tree",
    "fsopen",
    "move-mount",
    "unshare-mount",
    "unshare-net",
    "setns",
    "clone3",
    "reboot",
    "ptrace",
    "process-vm-writev",
    "personality",
    "terminal-input",
    "terminal-input-high",
    "set-id-bit",
    "core-pattern",
    "write-usr",
    "write-etc",
    "no-filter",
    "new-privileges",
    "namespace-mount",
    "namespace-pid",
];

#[test]
fn a_plain_unit_keeps_its_promises_and_without_a_sandbox_the_same_doors_are_open() {
    root_only!();
    let host = format!("{SLEEP}[security]\nprofile = \"host\"\n");
    let instance = up(&[("plain", SLEEP), ("open", &host)]);
    let doors = verify(&instance, "plain", 0);
    assert!(doors.len() >= 50, "{}", doors.len());
    expect(&doors, "closed", &DECISIVE);
    for id in DECISIVE {
        assert!(!doors[id]["promised_by"].as_array().expect("keys").is_empty(), "{}", doors[id]);
    }
    expect(&doors, "closed", &["descriptors", "kcore", "manager-sockets", "write-cron"]);
    expect(&doors, "open", &["user", "namespace-net", "abstract-socket"]);

    // The counter-check: the same probe finds them open where nothing is promised.
    let doors = verify(&instance, "open", 0);
    expect(&doors, "open", &DECISIVE);
    let promised = |door: &&Value| !door["promised_by"].as_array().expect("keys").is_empty();
    let promised: Vec<_> = doors.values().filter(promised).filter_map(|door| door["id"].as_str()).collect();
    let always = ["descriptors", "inheritable", "limits"];
    assert!(promised.iter().all(|id| always.contains(id)), "{promised:?}");
    assert_eq!(instance.status("plain")["state"], "active");
    assert_eq!(instance.status("open")["state"], "active");
}

#[test]
fn every_kind_of_container_can_be_verified_and_keeps_its_promises() {
    root_only!();
    let kinds = [
        ("strict", format!("{SLEEP}user = \"www-data\"\n[security]\nprofile = \"strict\"\n")),
        ("login", format!("{SLEEP}[security]\nprofile = \"login\"\n")),
        (
            "userns",
            format!("{SLEEP}user = \"www-data\"\n[namespaces]\nuser = \"identity\"\n[network]\nmode = \"loopback\"\n"),
        ),
        ("hostpid", format!("{SLEEP}[namespaces]\npid = \"host\"\nipc = \"host\"\nuts = \"host\"\n")),
        ("initless", format!("{SLEEP}[namespaces]\ninit = false\n")),
        ("killing", format!("{SLEEP}[syscalls]\non_deny = \"kill-process\"\n")),
        (
            "small",
            format!("{SLEEP}[resources]\ntasks_max = 8\nmemory_max = \"32M\"\nrlimits = {{ nofile = \"64:64\" }}\n"),
        ),
    ];
    let kinds: Vec<(&str, &str)> = kinds.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let instance = up(&kinds);
    for (kind, _) in &kinds {
        let doors = verify(&instance, kind, 0);
        let skipped = doors.values().filter(|door| door["verdict"] == "skipped").count();
        assert!(skipped < 10, "{kind}: {skipped} of {} could not be tried", doors.len());
        assert_eq!(instance.status(kind)["state"], "active", "{kind}");
    }
    let strict = verify(&instance, "strict", 0);
    expect(&strict, "closed", &DECISIVE);
    expect(
        &strict,
        "closed",
        &["user", "write-var", "write-execute", "make-executable", "memfd", "exec-var", "proc-1"],
    );
    let killing = verify(&instance, "killing", 0);
    assert_eq!(killing["swapon"]["found"], "killed by signal 31");
    let userns = verify(&instance, "userns", 0);
    expect(&userns, "closed", &["namespace-user", "namespace-net", "abstract-socket", "become-root"]);
}

#[test]
fn a_root_file_system_with_nothing_in_it_needs_nothing_for_the_probe() {
    root_only!();
    let instance = Instance::start();
    let root = instance.file("root");
    fs::create_dir(&root).expect("directory");
    // These tests are a static program, and one of them only sleeps.
    instance::install(&std::env::current_exe().expect("own path"), &root.join("sleep"));
    let place = root.display();
    instance.unit(
        "bare",
        &format!("[service]\nexec = [\"/sleep\", \"--ignored\", \"--exact\", \"only_sleeps\"]\n[rootfs]\ntype = \"directory\"\npath = \"{place}\"\n"),
    );
    instance.unit(
        "memory",
        &format!(
            "[service]\nexec = [\"/b/sleep\", \"--ignored\", \"--exact\", \"only_sleeps\"]\n[rootfs]\ntype = \"tmpfs\"\n[[mounts]]\ndestination = \"/b\"\n\
             source = \"{place}\"\noptions = [\"ro\"]\n"
        ),
    );
    for unit in ["bare", "memory"] {
        instance.rsvc(&["start", unit]).expect(0);
        let doors = verify(&instance, unit, 0);
        expect(&doors, "closed", &["mount", "host-root", "shadow", "write-root", "namespace-mount"]);
    }
}

/// What runs in a root file system with nothing in it.
#[test]
#[ignore = "a program for other tests"]
fn only_sleeps() {
    loop {
        std::thread::park();
    }
}

/// The unit runs with less than its file and its profile promise: what is open is found, and is the exit status.
#[test]
fn a_promise_that_is_not_kept_is_found() {
    root_only!();
    let instance = Instance::start();
    // Somebody with the host's rights opens the sandbox from outside: the promise is broken although nobody changed the unit.
    instance.unit("broken", &format!("{SLEEP}[security]\nprofile = \"standard\"\n"));
    instance.rsvc(&["start", "broken"]).expect(0);
    verify(&instance, "broken", 0);
    let main = instance.main_process("broken").pid;
    let output = std::process::Command::new("nsenter")
        .args([&format!("--target={main}"), "--mount", "mount", "-o", "remount,bind,rw", "/etc"])
        .output();
    // /etc may be no mount of its own: then a new one is put there.
    let opened = output.is_ok_and(|output| output.status.success())
        || std::process::Command::new("nsenter")
            .args([&format!("--target={main}"), "--mount", "mount", "-t", "tmpfs", "none", "/etc"])
            .status()
            .is_ok_and(|status| status.success());
    if !opened {
        return skipped!("no nsenter(1) that could open the sandbox");
    }
    let doors = verify(&instance, "broken", 1);
    let door = &doors["write-etc"];
    assert_eq!((&door["verdict"], &door["broken"]), (&Value::from("open"), &Value::from(true)), "{door}");
    let said = instance.rsvc(&["verify", "broken"]).expect(1);
    assert!(said.out.contains("1 open although promised"), "{}", said.out);
}

#[test]
fn the_table_for_people_names_every_door_and_the_keys() {
    root_only!();
    let instance = up(&[("plain", SLEEP)]);
    let said = instance.rsvc(&["verify", "plain"]).expect(0);
    let line = |id: &str| said.out.lines().find(|line| line.split_whitespace().nth(1) == Some(id)).expect("a line");
    assert!(line("mount").starts_with("closed") && line("mount").contains("EPERM"), "{}", line("mount"));
    assert!(line("mount").contains("promised by syscalls.allow, capabilities.bounding: mounting"));
    assert!(line("user").starts_with("open") && line("user").contains("not promised: being root"));
    assert!(said.out.lines().last().expect("a summary").contains(" 0 open although promised"));
}

#[test]
fn what_does_not_run_cannot_be_verified() {
    root_only!();
    let instance = Instance::start();
    instance.unit("down", SLEEP);
    instance.rsvc(&["verify", "nothing"]).expect(5);
    instance.rsvc(&["verify", "down"]).expect(7);
    instance.rsvc(&["start", "down"]).expect(0);
    instance.rsvc(&["freeze", "down"]).expect(0);
    assert!(instance.rsvc(&["verify", "down"]).expect(7).err.contains("rsvc thaw down"));
    instance.rsvc(&["thaw", "down"]).expect(0);
}

/// CVE-2019-5736: the program is no file of the host, and whoever finds it in /proc cannot write to it.
#[test]
fn the_probe_is_no_file_of_the_host_and_leaves_nothing() {
    root_and_perl!();
    let instance = Instance::start();
    let script = "$| = 1; print \"up\\n\"; my ($met, $bad) = (0, 0); while (!-e \"$ENV{STATE_DIRECTORY}/stop\") { \
                  opendir(my $d, \"/proc\") or next; foreach my $p (grep { /^\\d+$/ && $_ > 2 && $_ != $$ } readdir $d) { \
                  my $l = readlink \"/proc/$p/exe\"; next unless defined $l; $met++ if $l =~ m{memfd:rsvc-probe}; \
                  if (open(my $f, \"+<\", \"/proc/$p/exe\")) { print \"writable $l\\n\"; $bad++; } } } print \"met $met bad $bad\\n\"; sleep 1000;";
    instance.unit(
        "watcher",
        &format!(
            "[service]\nexec = [\"/usr/bin/perl\", \"-e\", '''{script}''']\n[restart]\npolicy = \"no\"\n[syscalls]\nmode = \"off\"\n\
             [security]\nlandlock = false\n[directories]\nstate = [\"watcher\"]\n[capabilities]\nbounding = [\"CAP_DAC_OVERRIDE\", \"CAP_KILL\", \"CAP_SYS_PTRACE\"]\n"
        ),
    );
    instance.rsvc(&["start", "watcher"]).expect(0);
    instance.wait_for_log("watcher", "up");
    let before = Said::from(instance.command().args(["status", "watcher"]).output().expect("it runs")).out;
    for _ in 0..3 {
        instance.rsvc(&["verify", "watcher"]);
    }
    fs::write(instance.file("state/directories/state/watcher/stop"), "").expect("write");
    let log = instance.wait_for_log("watcher", "met ");
    assert!(!log.contains("met 0 "), "none was met: nothing is shown: {log}");
    assert!(log.contains(" bad 0"), "{log}\n{before}");
    let left = instance.status("watcher")["processes"].as_array().map_or(0, Vec::len);
    assert!(left <= 2, "what verified is gone: {left}");
    assert!(is_root());
}

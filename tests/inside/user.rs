//! `rsvc run`: as an ordinary user, in a user namespace, and as root; what cannot be had there is refused by name.

use crate::instance::{Said, is_root, skipped};
use crate::lab::{CAPABILITY_SETS, Lab, host_namespace};
use std::os::unix::process::CommandExt;

/// Runs a unit as an ordinary user; `None`, after saying so, where the kernel gives such a user no user namespace.
pub fn run(lab: &Lab, name: &str, body: &str, words: &[&str]) -> Option<Said> {
    let directory = lab.instance.file(name);
    std::fs::create_dir_all(directory.join("run")).expect("directory");
    std::fs::create_dir_all(directory.join("state")).expect("directory");
    if is_root() {
        for path in ["", "run", "state"] {
            std::os::unix::fs::chown(directory.join(path), Some(65534), Some(65534)).expect("owner");
        }
    }
    let said = lab.run(name, body, words, |command| {
        command.env("RSVC_RUNTIME_DIR", directory.join("run")).env("RSVC_STATE_DIR", directory.join("state"));
        command.env("HOME", &directory);
        if is_root() {
            command.uid(65534).gid(65534);
        }
    });
    if said.err.contains("user namespace")
        && said.err.contains("failed at step USER")
        && said.code != 0
        && body.is_empty()
    {
        skipped(&said.err);
        return None;
    }
    Some(said)
}

#[test]
fn an_ordinary_user_gets_a_container_without_any_capability() {
    let lab = Lab::without_daemon();
    let more = [
        "status:NoNewPrivs",
        "status:Seccomp",
        "read:/proc/self/setgroups",
        "create:/usr",
        "create:/etc",
        "create:/tmp",
        "create:/dev/shm",
        "list:/tmp",
        "list:/home",
        "mount:/tmp",
        "openw:/dev/null",
        "open:/dev/urandom",
        "link:/proc/self/ns/user",
        "link:/proc/self/ns/mnt",
        "link:/proc/self/ns/ipc",
        "env",
        "cwd",
        "unshare:0x10000000",
        "call:bpf",
        "call:clone3",
        "socket:17:3",
        "fds",
    ];
    let words = [&CAPABILITY_SETS[..], &more[..]].concat();
    let Some(said) = run(&lab, "plain", "", &words) else { return };
    let said = said.expect(0);
    let seen = Lab::answers(&said.out);
    for set in CAPABILITY_SETS {
        assert_eq!(&seen[set], "0000000000000000", "{set}");
    }
    seen.expect(&[
        ("status:NoNewPrivs", "1"),
        ("status:Seccomp", "2"),
        ("read:/proc/self/setgroups", "deny"),
        ("create:/tmp", "ok"),
        ("list:/tmp", ""),
        ("list:/home", ""),
        ("mount:/tmp", "EPERM"),
        ("openw:/dev/null", "ok"),
        ("open:/dev/urandom", "ok"),
        ("cwd", "/"),
        ("unshare:0x10000000", "EPERM"),
        ("call:bpf", "EPERM"),
        ("call:clone3", "ENOSYS"),
        ("socket:17:3", "EAFNOSUPPORT"),
        ("fds", "0 1 2"),
    ]);
    for question in ["create:/usr", "create:/etc"] {
        assert!(["EROFS", "EACCES"].contains(&&seen[question]), "{question}: {seen:?}");
    }
    for kind in ["user", "mnt", "ipc"] {
        assert_ne!(seen[format!("link:/proc/self/ns/{kind}").as_str()], host_namespace(kind));
    }
}

#[test]
fn what_an_ordinary_user_cannot_have_is_refused_by_key_and_line() {
    let lab = Lab::without_daemon();
    if run(&lab, "probe", "", &["pid"]).is_none() {
        return;
    }
    let cases = [
        ("user", "user = \"daemon\"\n", "service.user", 4),
        ("group", "group = \"tty\"\n", "service.group", 4),
        ("groups", "supplementary_groups = [\"tty\"]\n", "service.supplementary_groups", 4),
        ("memory", "[resources]\nmemory_max = \"64M\"\n", "resources.memory_max", 5),
        ("many-tasks", "[resources]\ntasks_max = 10\n", "resources.tasks_max", 5),
        ("cpu", "[resources]\ncpu_max = \"50%\"\n", "resources.cpu_max", 5),
        ("identity", "[namespaces]\nuser = \"identity\"\n", "namespaces.user", 5),
        ("devices", "[devices]\npolicy = \"closed\"\n", "devices.policy", 5),
    ];
    for (name, body, key, line) in cases {
        let Some(said) = run(&lab, name, body, &["pid"]) else { return };
        // A user whose session was handed a control group can have limits.
        if said.code == 0 && ["memory", "many-tasks", "cpu", "devices"].contains(&name) {
            skipped(&format!("{key} can be had here"));
            continue;
        }
        assert_ne!(said.code, 0, "{name}: {said:?}");
        assert!(!said.out.contains("@@"), "{name}: it ran: {said:?}");
        for word in [key, &format!("{name}.toml:{line}")] {
            assert!(said.err.contains(word), "`{word}` in: {}", said.err);
        }
        if ["user", "group", "groups", "identity"].contains(&name) {
            continue; // Not what a unit can be asked to do without.
        }
        let optional = format!("{body}[security]\noptional = [\"{key}\"]\n");
        if let Some(said) = run(&lab, &format!("{name}-optional"), &optional, &["pid"]) {
            let said = said.expect(0);
            assert!(said.err.contains("degraded") && said.err.contains(key), "{name}: {}", said.err);
        }
    }
}

#[test]
fn limits_of_an_ordinary_user_that_are_defaults_are_reported_as_degraded() {
    let lab = Lab::without_daemon();
    let Some(said) = run(&lab, "defaults", "", &["limit:Max open files", "limit:Max core file size"]) else { return };
    let said = said.expect(0);
    let seen = Lab::answers(&said.out);
    assert!(seen["limit:Max open files"].starts_with("1024:"), "{seen:?}");
    assert!(seen["limit:Max core file size"].starts_with("0:"), "{seen:?}");
    if !said.err.contains("tasks_max") {
        skipped("this user has a control group");
        return;
    }
    assert!(said.err.contains("degraded"), "{}", said.err);
}

#[test]
fn rsvc_run_of_root_isolates_as_the_daemon_does_and_degrades_nothing_else() {
    let lab = Lab::without_daemon();
    if !is_root() {
        return skipped("needs root");
    }
    let words = [
        "status:CapBnd",
        "status:Seccomp",
        "create:/usr",
        "create:/var",
        "pid",
        "list:/home",
        "read:/proc/self/oom_score_adj",
        "fds",
    ];
    let said = lab.run("foreground", "oom_score_adjust = 77\n", &words, |_| {}).expect(0);
    Lab::answers(&said.out).expect(&[
        ("status:CapBnd", "00000000000405fb"),
        ("status:Seccomp", "2"),
        ("create:/usr", "EROFS"),
        ("create:/var", "ok"),
        ("pid", "2"),
        ("list:/home", ""),
        ("read:/proc/self/oom_score_adj", "77"),
        ("fds", "0 1 2"),
    ]);
    assert!(!said.err.contains("oom_score"), "{}", said.err);
}

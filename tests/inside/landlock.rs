//! `security.landlock` and what else is Landlock's: refusals that are its own and not those of the mounts, and all that
//! must work behind it.

use crate::instance::{eventually, skipped};
use crate::lab::{Lab, Seen};
use crate::user;
use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// A lab where the kernel has the interface that a test is about.
fn lab(needed: u32) -> Option<Lab> {
    match rsvc::sys::probe::landlock_abi() {
        Some(abi) if abi >= needed => Lab::new(),
        found => {
            skipped(&format!("needs Landlock {needed}, here is {found:?}"));
            None
        }
    }
}

/// Gives the mount at `place` in a container other flags, from outside and by force.
fn remount(pid: i32, place: &str, flags: libc::c_ulong) {
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/mnt")).expect("mount namespace");
    let place = CString::new(place).expect("path");
    let changed = std::thread::spawn(move || {
        // SAFETY: this thread alone gets a root and a mount namespace of its own, and ends here.
        unsafe {
            libc::unshare(libc::CLONE_FS) == 0
                && libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS) == 0
                && libc::mount(
                    std::ptr::null(),
                    place.as_ptr(),
                    std::ptr::null(),
                    libc::MS_REMOUNT | libc::MS_BIND | flags,
                    std::ptr::null(),
                ) == 0
        }
    });
    assert!(changed.join().expect("the thread ends"), "{}", std::io::Error::last_os_error());
}

/// Starts a service that first answers `before`, then waits until the mount at / has other flags, then answers `after`.
fn look_again(lab: &Lab, name: &str, exec: &str, body: &str, flags: libc::c_ulong) -> Seen {
    let text = format!("[service]\n{exec}{body}\n[restart]\npolicy = \"no\"\n[logging]\ntarget = \"file\"\n");
    lab.instance.unit(name, &text);
    lab.instance.rsvc(&["start", name]).expect(0);
    lab.instance.wait_for_log(name, "@@pid\t");
    remount(lab.instance.main_process(name).pid, "/", flags);
    // Opens when the service has it open for reading.
    std::fs::write(format!("{}/fifo", lab.path()), "go").expect("the service waits");
    lab.seen(name)
}

fn fifo(lab: &Lab) -> String {
    let path = format!("{}/fifo", lab.path());
    let name = CString::new(path.as_str()).expect("path");
    // SAFETY: the path is a string.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o644) }, 0);
    path
}

#[test]
fn a_read_only_tree_that_somebody_makes_writable_is_still_closed() {
    let Some(lab) = lab(3) else { return };
    let fifo = fifo(&lab);
    let root = lab.instance.file("root");
    lab.probe_into(&root);
    for (name, landlock, again) in [("closed", "true", "EACCES"), ("open", "false", "ok")] {
        std::fs::write(root.join("file"), "content").expect("file");
        std::fs::write(root.join("victim"), "content").expect("file");
        let body = format!(
            "[rootfs]\ntype = \"directory\"\npath = \"{0}\"\n[security]\nlandlock = {landlock}\n\
             [[mounts]]\ndestination = \"/in\"\nsource = \"{1}\"\noptions = [\"ro\"]\n",
            root.display(),
            lab.path()
        );
        let inner = fifo.replace(&lab.path(), "/in");
        let made = format!("/made-{name}");
        let (make, remove) = (format!("mkdir:{made}"), format!("rename:/victim=/{name}"));
        let read = format!("read:{inner}");
        let questions = [
            "probe",
            "create:/",
            "openw:/file",
            "pid",
            &read,
            "create:/tmp",
            "openw:/file",
            "truncate:/file",
            &make,
            &remove,
            "read:/file",
            "openw:/dev/null",
            "create:/dev/shm",
        ];
        let questions: Vec<&str> = std::iter::once("/probe").chain(questions).collect();
        let seen = look_again(&lab, name, &format!("exec = {questions:?}\n"), &body, 0);
        let log = lab.instance.log(name);
        for before in ["create:/", "openw:/file"] {
            let first = log.lines().find(|line| line.contains(&format!("@@{before}\t"))).expect("an answer");
            assert!(first.contains("EROFS"), "the mount answers first: {log}");
        }
        // What comes last is what `seen` keeps.
        seen.expect(&[
            ("create:/tmp", "ok"),
            ("openw:/file", again),
            ("truncate:/file", again),
            (make.as_str(), again),
            (remove.as_str(), again),
            ("openw:/dev/null", "ok"),
            ("create:/dev/shm", "ok"),
        ]);
    }
}

#[test]
fn what_must_not_be_executed_is_not_when_the_mount_lets_it() {
    let Some(lab) = lab(2) else { return };
    let fifo = fifo(&lab);
    let program = format!("{}/true", lab.path());
    std::fs::copy("/bin/true", &program).expect("copy");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("mode");
    for (name, landlock) in [("noexec", "true"), ("exec", "false")] {
        let body = format!(
            "user = \"54321\"\n[filesystem]\nexec_paths.append = [\"{}/probe\"]\n\
             [security]\nprofile = \"strict\"\nlandlock = {landlock}\n",
            lab.path()
        );
        let (read, run) = (format!("read:{fifo}"), format!("sh:{program}"));
        let exec = lab.exec(&["pid", &read, &run, "sh:/bin/echo found", "sh:/usr/bin/env true"]);
        let seen = look_again(&lab, name, &exec, &body, libc::MS_RDONLY);
        seen.expect(&[("sh:/bin/echo found", "found"), ("sh:/usr/bin/env true", "")]);
        assert_eq!(seen[&run].contains("Permission denied"), landlock == "true", "{seen:?}");
    }
}

#[test]
fn a_service_works_behind_it_as_before() {
    let Some(lab) = lab(2) else { return };
    let (one, two) = (format!("{}/one", lab.path()), format!("{}/two", lab.path()));
    std::fs::create_dir(&one).expect("directory");
    std::fs::create_dir(&two).expect("directory");
    std::fs::write(format!("{one}/file"), "x").expect("file");
    let (rename, link) = (format!("rename:{one}/file={two}/file"), format!("link-to:{two}/file={one}/linked"));
    let words = [
        rename.as_str(),
        &link,
        "rename:/tmp/x=/var/tmp/x",
        "put:/tmp/x=text",
        "put:/proc/self/comm=renamed",
        "put:/proc/self/oom_score_adj=500",
        "create:/dev/shm",
        "create:/run",
        "queue:/inside",
        "reopen:/dev/stdout",
        "openw:/dev/null",
        "openw:/dev/full",
        "open:/etc/passwd",
        "log:hello",
        "fork:3",
        "mount:/tmp",
    ];
    lab.look("works", "", &words).expect(&[
        (&rename, "ok"),
        (&link, "ok"),
        ("put:/tmp/x=text", "ok"),
        ("put:/proc/self/comm=renamed", "ok"),
        ("put:/proc/self/oom_score_adj=500", "ok"),
        ("create:/dev/shm", "ok"),
        ("create:/run", "ok"),
        ("queue:/inside", "ok"),
        ("reopen:/dev/stdout", "ok"),
        ("openw:/dev/null", "ok"),
        ("openw:/dev/full", "ok"),
        ("open:/etc/passwd", "ok"),
        ("log:hello", "ok"),
        ("fork:3", "3 ok"),
        ("mount:/tmp", "EPERM"),
    ]);
    // The host's /dev shows no queues of the unit's namespace, and mq_open(3) asks for none.
    lab.look("queues", "[devices]\nprivate = false\n", &["queue:/inside"]).expect(&[("queue:/inside", "ok")]);
    let own = "[namespaces]\nuser = \"identity\"\n[network]\nmode = \"loopback\"\n";
    lab.look("identity", own, &["create:/tmp", "openw:/dev/null", "queue:/inside"]).expect(&[
        ("create:/tmp", "ok"),
        ("openw:/dev/null", "ok"),
        ("queue:/inside", "ok"),
    ]);
}

#[test]
fn only_listed_ports_are_bound_and_connected_to() {
    let Some(lab) = lab(4) else { return };
    let listed = "bind_allow = [\"tcp:8000-8002\", \"tcp:9000\"]\nconnect_allow = [\"tcp:9000\"]\n";
    let words = [
        "bind:7999",
        "bind:8000",
        "bind:8002",
        "bind:8003",
        "bind:9000",
        "bind:0",
        "connect:9000",
        "connect:9001",
        "connect:8000",
        "fastopen:9000",
        "call:socket:2:1:262",
        "socket:2:2",
        "socket:1:1",
    ];
    let answers = [
        ("bind:7999", "EACCES"),
        ("bind:8000", "ok"),
        ("bind:8002", "ok"),
        ("bind:8003", "EACCES"),
        ("bind:9000", "ok"),
        ("bind:0", "EACCES"),
        ("connect:9000", "ECONNREFUSED"),
        ("connect:9001", "EACCES"),
        ("connect:8000", "EACCES"),
        ("fastopen:9000", "EPERM"),
        ("call:socket:2:1:262", "EAFNOSUPPORT"),
        ("socket:2:2", "ok"),
        ("socket:1:1", "ok"),
    ];
    let network = "[network]\nmode = \"loopback\"\n";
    lab.look("listed", &format!("{network}{listed}"), &words).expect(&answers);
    // By themselves, too: without the wall, and without a filter for anything else.
    let alone = format!("{network}{listed}[security]\nlandlock = false\n[syscalls]\nmode = \"off\"\n");
    lab.look("alone", &alone, &words).expect(&answers);
    let few = ["bind:0", "bind:8000", "connect:9000"];
    lab.look("any", &format!("{network}bind_allow = [\"tcp:0\"]\n"), &few).expect(&[
        ("bind:0", "ok"),
        ("bind:8000", "EACCES"),
        ("connect:9000", "ECONNREFUSED"),
    ]);
    lab.look("none", &format!("{network}bind_allow = []\nconnect_allow = []\n"), &few).expect(&[
        ("bind:0", "EACCES"),
        ("bind:8000", "EACCES"),
        ("connect:9000", "EACCES"),
    ]);
    lab.look("free", network, &few).expect(&[("bind:0", "ok"), ("bind:8000", "ok"), ("connect:9000", "ECONNREFUSED")]);
}

#[test]
fn abstract_sockets_of_others_are_out_of_reach_unless_the_unit_asks_for_them() {
    let Some(lab) = lab(6) else { return };
    use std::os::linux::net::SocketAddrExt;
    let name = format!("rsvc-inside-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name")).expect("bound");
    let (theirs, own) = (format!("abstract:{name}"), format!("own-abstract:{name}-own"));
    let look = |unit: &str, body: &str, answer: &str| {
        lab.look(unit, body, &[&theirs, &own]).expect(&[(&theirs, answer), (&own, "ok")]);
    };
    look("default", "", "EPERM");
    look("asked", "[network]\nabstract_sockets = true\n", "ok");
    look("off", "[security]\nlandlock = false\n", "ok");
    look("written", "[network]\nabstract_sockets = false\n[security]\nlandlock = false\n", "EPERM");
}

#[test]
fn signals_stay_inside_where_the_pid_namespace_does_not_keep_them() {
    let Some(lab) = lab(6) else { return };
    let outside = format!("call:kill:{}:0", std::process::id());
    let look = |unit: &str, body: &str, answer: &str| {
        let body = format!("[namespaces]\npid = \"host\"\n{body}");
        lab.look(unit, &body, &[&outside, "fork:2"]).expect(&[(&outside, answer), ("fork:2", "2 ok")]);
    };
    look("default", "", "EPERM");
    look("asked", "[security]\nrestrict_signals = false\n", "ok");
    look("off", "[security]\nlandlock = false\n", "ok");
    look("written", "[security]\nrestrict_signals = true\nlandlock = false\n", "EPERM");
}

#[test]
fn commands_in_the_same_container_reach_the_main_process_and_keep_to_its_ports() {
    let Some(lab) = lab(4) else { return };
    let said = format!("{}/said", lab.path());
    std::fs::write(&said, "").expect("file");
    std::fs::set_permissions(&said, std::fs::Permissions::from_mode(0o666)).expect("mode");
    let main =
        "trap 'echo reloaded; reloaded=1' HUP; echo ready; while [ -z \"$reloaded\" ]; do sleep 1; done; sleep 600";
    let reload = format!("readlink /proc/$MAINPID/exe > {said} && kill -HUP $MAINPID");
    let text = format!(
        "[service]\nuser = \"54321\"\nexec = [\"/bin/sh\", \"-c\", {main:?}]\n\
         exec_reload = [[\"/bin/sh\", \"-c\", {reload:?}]]\n[logging]\ntarget = \"file\"\n"
    );
    let ports = "[network]\nmode = \"loopback\"\nbind_allow = [\"tcp:8000\"]\n";
    lab.instance.unit("plain", &text);
    lab.instance.rsvc(&["start", "plain"]).expect(0);
    lab.instance.wait_for_log("plain", "ready");
    lab.instance.rsvc(&["reload", "plain"]).expect(0);
    lab.instance.wait_for_log("plain", "reloaded");
    let found = std::fs::read_to_string(&said).expect("file");
    assert!(found.contains("sh"), "an ordinary user's command sees the main process in /proc: {found:?}");
    let probe = format!("{}/probe", lab.path());
    lab.instance.unit("ports", &format!("{text}{ports}"));
    lab.instance.rsvc(&["start", "ports"]).expect(0);
    let out = lab.instance.rsvc(&["exec", "ports", "--", &probe, "probe", "bind:8000", "bind:8001"]).expect(0).out;
    Lab::answers(&out).expect(&[("bind:8000", "ok"), ("bind:8001", "EACCES")]);
    for unit in ["plain", "ports"] {
        lab.instance.rsvc(&["stop", unit]).expect(0);
    }
    eventually("both are down", || (lab.instance.status("ports")["state"] == "inactive").then_some(()));
}

#[test]
fn an_ordinary_user_is_behind_it_too() {
    let lab = Lab::without_daemon();
    if rsvc::sys::probe::landlock_abi().is_none_or(|abi| abi < 6) {
        return skipped("needs Landlock 6");
    }
    let body = "[network]\nmode = \"loopback\"\nbind_allow = [\"tcp:8000\"]\n";
    let words = ["create:/tmp", "openw:/dev/null", "create:/usr", "bind:8000", "bind:8001", "queue:/inside"];
    let Some(said) = user::run(&lab, "plain", body, &words) else { return };
    let said = said.expect(0);
    assert!(!said.err.contains("security.landlock"), "{}", said.err);
    Lab::answers(&said.out).expect(&[
        ("create:/tmp", "ok"),
        ("openw:/dev/null", "ok"),
        ("create:/usr", "EROFS"),
        ("bind:8000", "ok"),
        ("bind:8001", "EACCES"),
        ("queue:/inside", "ok"),
    ]);
    // A file of the caller's is in no tree of the service, and may be opened again all the same.
    let output = lab.instance.file("output");
    std::fs::write(&output, "").expect("file");
    std::fs::set_permissions(&output, std::fs::Permissions::from_mode(0o666)).expect("mode");
    let file = std::fs::OpenOptions::new().append(true).open(&output).expect("file");
    let program = ["/bin/sh", "-c", "echo again > /dev/stdout"];
    let text = format!(
        "[service]\ntype = \"oneshot\"\nexec = {program:?}\n[filesystem]\nprotect_system = \"strict\"\n\
         [restart]\npolicy = \"no\"\n"
    );
    let unit = lab.instance.unit_as_is("again", &text);
    let ended = lab.instance.command().arg("run").arg(unit).stdout(file).output().expect("rsvc runs");
    assert!(ended.status.success(), "{ended:?}");
    assert!(std::fs::read_to_string(&output).expect("file").contains("again"));
}

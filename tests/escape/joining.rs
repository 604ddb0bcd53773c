//! Section B: handles that leak, and processes that join or are executed.

use crate::instance::process::Process;
use crate::instance::{Instance, RSVC, eventually, install};
use crate::lab::Lab;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const ROOT: &str = "[rootfs]\ntype = \"directory\"\npath = ";

/// Row 18: a program of the container that is, by a link or as a script, the very executable that starts it.
#[test]
fn the_executable_that_starts_a_service_is_not_what_runs_in_it() {
    let Some(lab) = Lab::new() else { return };
    let root = Path::new(&lab.path()).join("root");
    lab.probe_into(&root);
    std::os::unix::fs::symlink("/proc/self/exe", root.join("link")).expect("link");
    fs::write(root.join("script"), "#!/proc/self/exe\n").expect("file");
    fs::write(root.join("through"), "#!/link\n").expect("file");
    for name in ["script", "through"] {
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o755)).expect("mode");
    }
    for program in ["/proc/self/exe", "/link", "/script", "/through"] {
        let body = format!("{ROOT}{root:?}\n");
        lab.unit_of("itself", &format!("exec = [\"{program}\", \"version\"]\n"), &body);
        let said = lab.instance.rsvc(&["start", "itself"]).expect(1);
        assert!(said.err.contains("EXEC") && said.err.contains("rsvc itself"), "{program}: {said:?}");
        assert!(!lab.instance.log("itself").contains(env!("CARGO_PKG_VERSION")), "{program}: it was executed");
    }
}

/// Row 18: who gets hold of the executable of a stage cannot write to the file of the host: not while it is executed, and
/// not when nobody executes it any more.
#[test]
fn the_program_of_the_host_is_read_only_for_who_finds_it_in_proc() {
    root_only!();
    let mut instance = Instance::prepared();
    // A copy, which nobody else executes.
    let program = instance.file("rsvc-copy");
    install(Path::new(RSVC), &program);
    instance.use_program(&program);
    instance.start_daemon();
    instance.unit("web", "[service]\nexec = [\"/bin/true\"]\n[restart]\npolicy = \"no\"\n");
    instance.rsvc(&["start", "web"]).expect(0);
    let daemon = instance.daemon_pid();
    let children = fs::read_to_string(format!("/proc/{daemon}/task/{daemon}/children")).expect("it runs");
    let children = children.split_whitespace().filter_map(|pid| Process::with_pid(pid.parse().ok()?));
    let Some(stage) = children.into_iter().find(|child| child.command_line().contains("nursery")) else {
        return skipped!("no stage waits on this host");
    };
    let held = fs::File::open(format!("/proc/{}/exe", stage.pid)).expect("root may");
    let inode = |file: &fs::Metadata| std::os::unix::fs::MetadataExt::ino(file);
    assert_eq!(inode(&held.metadata().expect("open")), inode(&fs::metadata(&program).expect("there")));
    let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&held));
    let write =
        |path: &Path| fs::OpenOptions::new().write(true).open(path).map(drop).map_err(|error| error.raw_os_error());
    assert_eq!(write(Path::new(&again)), Err(Some(26)), "it is executed");
    instance.kill_daemon();
    eventually("nobody executes it", || write(&program).is_ok().then_some(()));
    assert_eq!(write(Path::new(&again)), Err(Some(30)), "the mount is read-only");
}

/// Row 19: nothing that a stage has open is a way to the host.
#[test]
fn no_descriptor_of_the_set_up_is_a_working_directory() {
    let Some(lab) = Lab::new() else { return };
    for number in 3..=20 {
        for path in [format!("/proc/self/fd/{number}"), format!("/proc/thread-self/fd/{number}")] {
            lab.refused("inside", &format!("working_directory = \"{path}\"\n"), &[&path]);
        }
    }
    for path in ["/proc/self/cwd", "/proc/self/root", "/proc/1/root", "/proc/1/cwd", "/dev/fd/5"] {
        lab.refused("inside", &format!("working_directory = \"{path}\"\n"), &[path]);
    }
    // The counter-check: the words of the refusals come from there, not from every directory.
    lab.look("plain", "working_directory = \"/usr\"\n", &["cwd"]).expect(&[("cwd", "/usr")]);
}

/// Row 19: the same through a link that lies in the container.
#[test]
fn a_link_in_the_container_to_a_descriptor_is_no_working_directory_either() {
    let Some(lab) = Lab::new() else { return };
    let root = Path::new(&lab.path()).join("root");
    lab.probe_into(&root);
    for number in [3, 4, 5, 6, 7, 8, 9, 10, 11, 12] {
        let link = root.join(format!("work{number}"));
        std::os::unix::fs::symlink(format!("/proc/self/fd/{number}"), link).expect("link");
        let body = format!("working_directory = \"/work{number}\"\n{ROOT}{root:?}\n");
        lab.unit_of("linked", "exec = [\"/probe\", \"probe\", \"list:.\"]\n", &body);
        lab.instance.rsvc(&["start", "linked"]).expect(1);
        assert!(!lab.instance.log("linked").contains("@@"), "{}", lab.instance.log("linked"));
    }
}

/// Row 26: nobody needs a path to reach a socket without one.
#[test]
fn the_daemon_has_no_socket_without_a_path() {
    root_only!();
    let instance = Instance::start();
    instance.unit("web", "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n");
    instance.rsvc(&["start", "web"]).expect(0);
    let own: BTreeSet<String> = fs::read_dir(format!("/proc/{}/fd", instance.daemon_pid()))
        .expect("it runs")
        .filter_map(|fd| fs::read_link(fd.ok()?.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()))
        .collect();
    let table = fs::read_to_string("/proc/net/unix").expect("proc");
    let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours: Vec<_> = fields.filter(|fields| fields.get(6).is_some_and(|inode| own.contains(*inode))).collect();
    assert!(ours.iter().any(|fields| fields.get(7).is_some_and(|path| path.contains("/run/"))), "{ours:?}");
    assert!(!ours.iter().any(|fields| fields.get(7).is_some_and(|path| path.starts_with('@'))), "{ours:?}");
}

/// Row 27: what travels between the stages of a start is data, whatever it looks like.
#[test]
fn strings_that_look_like_more_are_only_strings() {
    let Some(lab) = Lab::new() else { return };
    let long = "x".repeat(64 * 1024);
    let values =
        [("A", "one\nLD_PRELOAD=/evil.so"), ("B", long.as_str()), ("C", "rsvc-plan\u{1}\"'$(id)`id`\\"), ("D", "")];
    let table: Vec<String> = values.iter().map(|(name, value)| format!("{name} = {value:?}")).collect();
    let body = format!("environment = {{ {} }}\n", table.join(", ").replace("\\u{1}", "\\u0001"));
    let seen = lab.look("strings", &body, &["env"]);
    let environment = &seen["env"];
    for (name, value) in values {
        let value = value.replace('\n', "|");
        assert!(environment.contains(&format!("{name}={value}")), "{name} is not there as it was written");
    }
    // One variable, whose value has a line break; the break is shown as a bar.
    assert_eq!(environment.matches("LD_PRELOAD").count(), 1);
    // A NUL ends strings of the kernel: it is refused.
    lab.refused("nul", "environment = { A = \"a\\u0000b\" }\n", &["nul.toml:"]);
    lab.refused("nul", "working_directory = \"/usr\\u0000/x\"\n", &["nul.toml:"]);
}

/// Row 29: no string is root but that of root.
#[test]
fn what_is_no_user_is_nobody_and_never_root() {
    let Some(lab) = Lab::new() else { return };
    const HOSTILE: [&str; 20] = [
        "",
        "0x0",
        "1000:",
        ":0",
        "0:0",
        "01abc",
        "-1",
        "-0",
        "+0",
        " 0",
        "0 ",
        "\\t0",
        "0\\n",
        "root\\n",
        " root",
        "root ",
        "4294967295",
        "4294967296",
        "18446744073709551616",
        "\\u0660",
    ];
    for user in HOSTILE {
        for key in ["user", "group"] {
            let given = if key == "group" { "user = \"nobody\"\n" } else { "" };
            lab.unit("hostile", &format!("{given}{key} = \"{user}\"\n"), &["status:Uid"]);
            let said = lab.instance.rsvc(&["start", "hostile"]);
            assert!([1, 6].contains(&said.code), "{key} = {user:?}: {said:?}");
            assert!(!lab.instance.log("hostile").contains("@@"), "{key} = {user:?}: it ran");
        }
    }
    let seen = lab.look("numeric", "user = \"65534\"\n", &["status:Uid"]);
    assert_eq!(&seen["status:Uid"], "65534\t65534\t65534\t65534");
}

/// Row 24: what a unit puts into its environment is its own, not that of what rsvc executes.
#[test]
fn the_environment_of_a_unit_is_not_the_daemons() {
    let Some(lab) = Lab::new() else { return };
    let canary = crate::canary::Canary::new();
    let trap = canary.path().join("loaded");
    lab.unit("trap", &format!("environment = {{ LD_PRELOAD = \"/evil.so\", BASH_ENV = {trap:?}, PATH = \"/evil\", GLIBC_TUNABLES = \"x\" }}\n"), &["env"]);
    lab.instance.rsvc(&["start", "trap"]).expect(0);
    let seen = lab.seen("trap");
    assert!(seen["env"].contains("LD_PRELOAD=/evil.so"));
    let daemon = fs::read_to_string(format!("/proc/{}/environ", lab.instance.daemon_pid())).expect("it runs");
    assert!(!daemon.contains("evil"), "{daemon}");
    canary.assert_untouched("a variable was obeyed");
}

/// Row 22: a command gets into what the supervisor started, and has no more rights than that.
#[test]
fn a_process_that_only_looks_like_a_container_is_not_joined() {
    root_only!();
    let instance = Instance::start();
    instance.unit("web", "[service]\nexec = [\"/bin/sleep\", \"1000\"]\ntimeout_stop = \"300ms\"\n");
    instance.rsvc(&["start", "web"]).expect(0);
    // A pid is no unit, and neither is a path of one.
    let main = instance.main_process("web").pid;
    for target in
        [main.to_string(), format!("/proc/{main}"), "../web".to_owned(), "web/../web".to_owned(), format!("pid:{main}")]
    {
        let said = instance.rsvc(&["exec", &target, "--", "/bin/true"]);
        assert_ne!(said.code, 0, "{target}: {said:?}");
    }
    instance.rsvc(&["exec", "web", "--", "/bin/true"]).expect(0);
}

/// Row 62: whatever a service does with its children, a stop ends them.
#[test]
fn children_that_leave_group_session_and_parent_do_not_survive_a_stop() {
    root_only!();
    let instance = Instance::start();
    const MARK: &str = "4713.7";
    for (kind, more) in
        [("own", ""), ("host", "[namespaces]\npid = \"host\"\n"), ("initless", "[namespaces]\ninit = false\n")]
    {
        let script = format!(
            "trap '' TERM HUP INT; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 \
             37 38 39 40 41 42 43 44 45 46 47 48 49 50; do (setsid sh -c \"trap '' TERM HUP; (sleep {MARK} &) ; exec sleep {MARK}\" &) ; \
             done; echo up; while :; do sleep {MARK}; done"
        );
        instance.unit(
            kind,
            &format!("[service]\nexec = [\"/bin/sh\", \"-c\", '''{script}''']\ntimeout_stop = \"300ms\"\n[restart]\npolicy = \"no\"\n{more}"),
        );
        instance.rsvc(&["start", kind]).expect(0);
        instance.wait_for_log(kind, "up");
        let all = eventually("a hundred children", || {
            let numbers =
                fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
            let all: Vec<Process> = numbers.filter_map(Process::with_pid).collect();
            let ours = all.into_iter().filter(|process| process.command_line().contains(MARK)).collect::<Vec<_>>();
            (ours.len() >= 100).then_some(ours)
        });
        instance.rsvc(&["stop", kind]).expect(0);
        let left: Vec<_> = all.iter().filter(|process| process.is_alive()).collect();
        assert!(left.is_empty(), "{kind}: {left:?}");
    }
}

//! `[credentials]`, seen from inside, and what of it can be seen elsewhere.

use crate::instance::namespace::Namespace;
use crate::instance::{Instance, eventually, is_root, skipped};
use crate::lab::Lab;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A value that is found nowhere else.
const VALUE: &str = "a-value-found-nowhere-else-4711";

/// Writes a file that only root can read.
fn secret(lab: &Lab, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = lab.instance.file(name);
    std::fs::write(&path, content).expect("file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("mode");
    path
}

fn load(name: &str, path: &Path) -> String {
    format!("[credentials]\nload = {{ {name:?} = {:?} }}\n", path.display().to_string())
}

/// What somebody of this uid reads in the container of a running unit.
fn read_as(lab: &Lab, unit: &str, uid: u32, path: &str) -> Result<String, String> {
    let pid = lab.instance.main_process(unit).pid;
    let uid = uid.to_string();
    let mut command = Command::new("nsenter");
    command.arg(format!("--mount=/proc/{pid}/ns/mnt")).args(["-S", &uid, "-G", &uid, "cat", path]);
    let output = command.output().expect("nsenter");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// Mount namespaces of all processes in which something is mounted on such a place.
fn namespaces_with(place: &str) -> Vec<PathBuf> {
    let processes = std::fs::read_dir("/proc").expect("proc").flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = processes
        .filter(|path| {
            std::fs::read_to_string(path.join("mountinfo")).is_ok_and(|mounts| mounts.contains(&format!("{place} ")))
        })
        .filter_map(|path| std::fs::read_link(path.join("ns/mnt")).ok())
        .collect();
    found.sort();
    found.dedup();
    found
}

#[test]
fn the_services_user_reads_them_and_nobody_writes_them() {
    let Some(lab) = Lab::new() else { return };
    let path = secret(&lab, "key", VALUE);
    let keys = lab.instance.file("keys");
    std::fs::create_dir(&keys).expect("directory");
    std::fs::write(keys.join("one"), "1").expect("file");
    let body = format!(
        "user = 65534\n[credentials]\nload = {{ \"tls.key\" = {path:?}, keys = {keys:?}, none = \"-/no/such/file\", \
         fallback = \"-/no/such/file\" }}\nset = {{ greeting = \"hello\", fallback = \"default\" }}\n"
    );
    let words = [
        "list:/run/credentials/own",
        "read:/run/credentials/own/tls.key",
        "read:/run/credentials/own/keys_one",
        "read:/run/credentials/own/greeting",
        "read:/run/credentials/own/fallback",
        "stat:/run/credentials/own",
        "stat:/run/credentials/own/tls.key",
        "stat:/run/credentials/own/greeting",
        "mounted:/run/credentials/own",
        "create:/run/credentials/own",
        "openw:/run/credentials/own/tls.key",
        "create:/run/credentials",
        "list:/run/credentials",
        "env",
        "fds",
    ];
    let seen = lab.look("own", &body, &words);
    seen.expect(&[
        ("list:/run/credentials/own", "fallback greeting keys_one tls.key"),
        ("read:/run/credentials/own/tls.key", VALUE),
        ("read:/run/credentials/own/keys_one", "1"),
        ("read:/run/credentials/own/greeting", "hello"),
        ("read:/run/credentials/own/fallback", "default"),
        ("stat:/run/credentials/own", "dir 0500 65534:65534"),
        ("stat:/run/credentials/own/tls.key", "file 0400 65534:65534"),
        ("stat:/run/credentials/own/greeting", "file 0400 65534:65534"),
        ("mounted:/run/credentials/own", "ramfs ro,nosuid,nodev,noexec,nosymfollow"),
        ("create:/run/credentials/own", "EROFS"),
        ("openw:/run/credentials/own/tls.key", "EACCES"),
        ("create:/run/credentials", "EROFS"),
        ("list:/run/credentials", "EACCES"),
        ("fds", "0 1 2"),
    ]);
    assert!(seen["env"].contains("CREDENTIALS_DIRECTORY=/run/credentials/own"), "{}", &seen["env"]);
    assert!(!seen["env"].contains(VALUE) && !seen["env"].contains("hello"), "{}", &seen["env"]);
}

#[test]
fn root_owns_its_own_and_cannot_write_them_either() {
    let Some(lab) = Lab::new() else { return };
    let path = secret(&lab, "key", VALUE);
    let words = [
        "read:/run/credentials/root/k",
        "stat:/run/credentials/root/k",
        "openw:/run/credentials/root/k",
        "create:/run/credentials/root",
    ];
    lab.look("root", &load("k", &path), &words).expect(&[
        ("read:/run/credentials/root/k", VALUE),
        ("stat:/run/credentials/root/k", "file 0400 0:0"),
        ("openw:/run/credentials/root/k", "EROFS"),
        ("create:/run/credentials/root", "EROFS"),
    ]);
}

#[test]
fn nobody_else_sees_them_and_they_are_gone_after_the_stop() {
    let Some(lab) = Lab::new() else { return };
    let path = secret(&lab, "key", VALUE);
    // The value is written apart, so that no copy of the unit is taken for a leak of what was loaded.
    let body = format!("type = \"exec\"\nuser = 65534\n{}", load("k", &path));
    let text = format!("[service]\n{}{body}[restart]\npolicy = \"no\"\n", lab.exec(&["hold"]));
    lab.instance.unit("held", &text);
    lab.instance.rsvc(&["start", "held"]).expect(0);
    let place = "/run/credentials/held/k";
    eventually("the program runs", || lab.instance.main_process("held").command_line().contains("hold").then_some(()));
    assert_eq!(read_as(&lab, "held", 65534, place), Ok(VALUE.to_owned()));
    let refused = read_as(&lab, "held", 12345, place).expect_err("another user of the container");
    assert!(refused.contains("Permission denied"), "{refused}");

    assert!(!Path::new(place).exists(), "it is on the host");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    assert!(!mounts.contains("credentials/held"), "{mounts}");
    let pid = lab.instance.main_process("held").pid;
    let environ = std::fs::read(format!("/proc/{pid}/environ")).expect("environ");
    assert!(String::from_utf8_lossy(&environ).contains("CREDENTIALS_DIRECTORY=/run/credentials/held"));
    for (what, text) in [
        ("plan", lab.instance.rsvc(&["plan", "held"]).expect(0).out),
        ("show", lab.instance.rsvc(&["--json", "show", "held"]).out),
        ("status", lab.instance.status("held").to_string()),
        ("environ", String::from_utf8_lossy(&environ).into_owned()),
    ] {
        assert!(!text.contains(VALUE), "{what}: {text}");
    }
    let kept = Command::new("grep").args(["-rl", VALUE]).arg(lab.instance.path()).output().expect("grep");
    assert_eq!(String::from_utf8_lossy(&kept.stdout).trim(), path.display().to_string(), "one file only has it");

    let inside = std::fs::read_link(format!("/proc/{pid}/ns/mnt")).expect("namespace");
    assert_eq!(namespaces_with("credentials/held"), [inside], "in one mount namespace only");
    lab.instance.rsvc(&["stop", "held"]).expect(0);
    assert_eq!(namespaces_with("credentials/held"), [""; 0].map(PathBuf::from), "the mount is gone with the container");
}

#[test]
fn what_the_unit_says_itself_is_shown_by_its_length_only() {
    let Some(lab) = Lab::new() else { return };
    lab.unit("plain", &format!("[credentials]\nset = {{ word = {VALUE:?} }}\n"), &["read:/run/credentials/plain/word"]);
    lab.instance.rsvc(&["start", "plain"]).expect(0);
    assert_eq!(&lab.seen("plain")["read:/run/credentials/plain/word"], VALUE);
    for words in [&["show", "plain"][..], &["--json", "show", "plain"], &["plan", "plain"], &["diff", "plain"]] {
        let said = lab.instance.rsvc(words);
        assert!(!said.out.contains(VALUE), "{words:?}: {}", said.out);
    }
    let check = lab.instance.rsvc(&["check", "plain"]).expect(0);
    assert!(check.err.contains("W0312") || check.out.contains("W0312"), "{check:?}");
    let kept = Command::new("grep").args(["-rl", VALUE]).arg(lab.instance.file("run")).output().expect("grep");
    assert_eq!(String::from_utf8_lossy(&kept.stdout), "", "no state file has it");
}

#[test]
fn a_restart_reads_the_file_again_and_an_adopted_service_keeps_its_own() {
    let Some(mut lab) = Lab::new() else { return };
    let path = secret(&lab, "key", "first");
    let body = format!(
        "type = \"exec\"\nexec_reload = [[\"/bin/sh\", \"-c\", \"cat $CREDENTIALS_DIRECTORY/k >> {0}/reloaded\"]]\n{1}",
        lab.path(),
        load("k", &path),
    );
    let text = format!("[service]\n{}{body}[restart]\npolicy = \"no\"\n", lab.exec(&["hold"]));
    lab.instance.unit("kept", &text);
    lab.instance.rsvc(&["start", "kept"]).expect(0);
    std::fs::write(&path, "second").expect("file");
    let place = "/run/credentials/kept/k";
    assert_eq!(read_as(&lab, "kept", 0, place), Ok("first".to_owned()));

    let before = lab.instance.main_process("kept");
    lab.instance.kill_daemon();
    lab.instance.start_daemon();
    assert_eq!(lab.instance.main_process("kept"), before, "it was taken over");
    assert_eq!(read_as(&lab, "kept", 0, place), Ok("first".to_owned()));
    lab.instance.rsvc(&["reload", "kept"]).expect(0);
    let reloaded = std::fs::read_to_string(format!("{}/reloaded", lab.path())).expect("the command ran");
    assert_eq!(reloaded, "first", "a command of the running container sees what the service sees");

    lab.instance.rsvc(&["restart", "kept"]).expect(0);
    assert_eq!(read_as(&lab, "kept", 0, place), Ok("second".to_owned()));
    lab.instance.rsvc(&["stop", "kept"]).expect(0);
}

#[test]
fn commands_with_a_container_of_their_own_load_them_too() {
    let Some(lab) = Lab::new() else { return };
    let path = secret(&lab, "key", VALUE);
    let command = |name: &str| {
        let script = format!("cat $CREDENTIALS_DIRECTORY/k > {}/{name}", lab.path());
        format!("[\"/bin/sh\", \"-c\", {script:?}]")
    };
    let body = format!(
        "exec_start_pre = [{}]\nexec_stop_post = [{}]\n{}[hooks]\non_exit = {}\n",
        command("before"),
        command("after"),
        load("k", &path),
        command("hook"),
    );
    lab.look("around", &body, &["pid"]);
    for name in ["before", "after", "hook"] {
        let file = PathBuf::from(lab.path()).join(name);
        eventually(name, || (std::fs::read_to_string(&file).ok()? == VALUE).then_some(()));
    }
}

#[test]
fn the_example_runs_with_its_stand_in() {
    if !is_root() {
        return skipped("needs root");
    }
    let instance = Instance::prepared();
    let text = include_str!("../../examples/credentials.toml").replace("-/etc/shop.token", "-/no/such.token");
    let unit = instance.unit_as_is("shop", &text).display().to_string();
    let said = instance.rsvc(&["run", &unit]).expect(0);
    for words in ["the token has 17 bytes and is of mode 400", "as it should be"] {
        assert!(said.out.contains(words), "`{words}`: {said:?}");
    }
}

#[test]
fn a_start_is_refused_for_what_cannot_be_loaded_and_says_what_and_where() {
    let Some(lab) = Lab::new() else { return };
    let place = lab.instance.path().display().to_string();
    let said = lab.refused(
        "missing",
        &load("k", Path::new("/no/such/key")),
        &[
            "failed at step CREDENTIALS",
            "load the credential k from /no/such/key",
            "ENOENT",
            "missing.toml:",
            "write `-/no/such/key` if it may be missing",
        ],
    );
    let text = std::fs::read_to_string(lab.instance.file("units/missing.toml")).expect("unit");
    let line = 1 + text.lines().position(|line| line.starts_with("load")).expect("the line");
    assert!(said.err.contains(&format!("missing.toml:{line}")), "line {line}: {}", said.err);

    // What may be missing is the directory, not what is in it.
    let dangling = lab.instance.file("dangling");
    std::fs::create_dir(&dangling).expect("directory");
    symlink("gone", dangling.join("link")).expect("link");
    let body = format!("[credentials]\nload = {{ k = \"-{}\" }}\n", dangling.display());
    lab.refused("dangling", &body, &["CREDENTIALS", "ENOENT", "link"]);

    let fifo = lab.instance.file("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("fifo");
    lab.refused("fifo", &load("k", &fifo), &["CREDENTIALS", "neither a regular file"]);
    lab.refused("device", &load("k", Path::new("/dev/zero")), &["CREDENTIALS", "neither a regular file"]);

    // Just fits, and one byte too many.
    let large = secret(&lab, "large", vec![b'x'; 1 << 20]);
    lab.look("fits", &load("k", &large), &["stat:/run/credentials/fits/k"]);
    let body = format!("{}set = {{ more = \"y\" }}\n", load("k", &large));
    lab.refused("large", &body, &["CREDENTIALS", "EFBIG", "larger than 1 MiB"]);

    // Each is a descriptor.
    let many = lab.instance.file("many");
    std::fs::create_dir(&many).expect("directory");
    for number in 0..129 {
        std::fs::write(many.join(number.to_string()), "x").expect("file");
    }
    lab.refused("many", &load("k", &many), &["CREDENTIALS", "at most 128"]);

    // A link in a directory of somebody else leads nowhere.
    let theirs = lab.instance.file("theirs");
    std::fs::create_dir(&theirs).expect("directory");
    symlink(secret(&lab, "shadow", VALUE), theirs.join("k")).expect("link");
    std::os::unix::fs::chown(&theirs, Some(65534), None).expect("owner");
    lab.refused("link", &load("k", &theirs.join("k")), &["CREDENTIALS", "somebody else could exchange", &place]);
}

#[test]
fn names_and_paths_that_cannot_be_are_refused_by_a_check() {
    let lab = Lab::without_daemon();
    for (number, (entry, word)) in [
        ("load = { \"a/b\" = \"/x\" }", "E0228"),
        ("load = { \"..\" = \"/x\" }", "E0228"),
        ("load = { \"\" = \"/x\" }", "E0228"),
        ("set = { \"a\\u0007\" = \"x\" }", "E0228"),
        ("load = { a = \"relative\" }", "E0209"),
        ("load = { a = 1 }", "E0201"),
        ("load = [\"/a\"]", "E0201"),
        ("load = { a = \"/x\" }\nset = { a = \"x\" }", "E0309"),
        ("load = { a = \"/x\" }\n[namespaces]\nmount = \"host\"", "namespaces.mount"),
    ]
    .into_iter()
    .enumerate()
    {
        let unit = lab.unit(&format!("bad{number}"), &format!("[credentials]\n{entry}\n"), &["pid"]);
        let said = lab.instance.rsvc(&["check", &unit.display().to_string()]);
        assert_ne!(said.code, 0, "{entry}");
        assert!(said.err.contains(word), "{entry}: {}", said.err);
    }
}

#[test]
fn they_are_there_in_a_user_namespace_and_in_a_root_of_the_units_own() {
    let Some(lab) = Lab::new() else { return };
    let path = secret(&lab, "key", VALUE);
    // A file of somebody else, which the root of the container may not read by itself.
    let foreign = secret(&lab, "foreign", "f");
    std::os::unix::fs::chown(&foreign, Some(999), Some(999)).expect("owner");
    let both = format!("[credentials]\nload = {{ k = {path:?}, f = {foreign:?} }}\n");
    let words = |name: &str| {
        let verbs = [("read", "/k"), ("stat", "/k"), ("read", "/f"), ("create", ""), ("mounted", "")];
        verbs.map(|(verb, file)| format!("{verb}:/run/credentials/{name}{file}"))
    };
    let answers = [VALUE, "file 0400 1000:1000", "f", "EROFS", "ramfs ro,nosuid,nodev,noexec,nosymfollow"];
    let mapped = "uid_mappings = [{ container_id = 0, host_id = 200000, size = 65536 }]\n\
                  gid_mappings = [{ container_id = 0, host_id = 200000, size = 65536 }]\n";
    for (name, namespaces) in [
        ("identity", "[namespaces]\nuser = \"identity\"\n".to_owned()),
        ("mapped", format!("[namespaces]\nuser = \"mapped\"\n{mapped}")),
    ] {
        let questions = words(name);
        let questions: Vec<&str> = questions.iter().map(String::as_str).collect();
        let seen = lab.look(name, &format!("user = 1000\ngroup = 1000\n{namespaces}{both}"), &questions);
        assert_eq!(questions.iter().map(|question| &seen[question]).collect::<Vec<_>>(), answers, "{name}");
    }
    let root = lab.instance.file("root");
    lab.probe_into(&root);
    let tree = format!("user = 1000\ngroup = 1000\n[rootfs]\ntype = \"directory\"\npath = {root:?}\n");
    let questions = words("tree");
    let questions: Vec<&str> = questions.iter().map(String::as_str).collect();
    let seen = lab.look_in("tree", &format!("{tree}{both}"), &questions);
    assert_eq!(questions.iter().map(|question| &seen[question]).collect::<Vec<_>>(), answers);
    assert!(!root.join("run/credentials").exists(), "nothing of it is left in the tree");
}

#[test]
fn an_ordinary_user_gives_a_run_the_files_that_it_can_read_itself() {
    let lab = Lab::without_daemon();
    let path = lab.instance.file("key");
    std::fs::write(&path, VALUE).expect("file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("mode");
    let plain = "[network]\nmode = \"loopback\"\n";
    let body = format!("{plain}{}", load("k", &path));
    if is_root() {
        // Of root's it may not read, whatever runs inside.
        let Some(said) = crate::user::run(&lab, "theirs", &body, &["pid"]) else { return };
        assert_ne!(said.code, 0, "{said:?}");
        for word in ["failed at step CREDENTIALS", "EACCES", "the daemon may not read it"] {
            assert!(said.err.contains(word), "`{word}`: {said:?}");
        }
        std::os::unix::fs::chown(&path, Some(65534), Some(65534)).expect("owner");
    }
    let words = ["read:/run/credentials/mine/k", "stat:/run/credentials/mine/k", "create:/run/credentials/mine"];
    let Some(said) = crate::user::run(&lab, "mine", &body, &words) else { return };
    Lab::answers(&said.expect(0).out).expect(&[
        ("read:/run/credentials/mine/k", VALUE),
        ("stat:/run/credentials/mine/k", "file 0400 0:0"),
        ("create:/run/credentials/mine", "EROFS"),
    ]);
}

#[test]
fn the_hosts_own_directory_of_credentials_is_mounted_on_and_hidden() {
    if !is_root() {
        return skipped("needs root");
    }
    let set_up = "mount -t tmpfs run /run && mkdir -p /run/credentials/other.service && echo x > \
                  /run/credentials/other.service/key";
    let Some(host) = Namespace::start(set_up) else { return skipped("no mount namespace") };
    let mut instance = Instance::prepared();
    std::fs::write(instance.file("key"), VALUE).expect("file");
    instance.enter(&host);
    instance.start_daemon();
    let script = "ls /run/credentials; cat /run/credentials/there/k; ls /run";
    instance.unit(
        "there",
        &format!(
            "[service]\ntype = \"oneshot\"\nexec = [\"/bin/sh\", \"-c\", {script:?}]\n{}[logging]\ntarget = \"file\"\n",
            load("k", &instance.file("key"))
        ),
    );
    instance.rsvc(&["start", "there"]).expect(0);
    let log = instance.wait_for_log("there", VALUE);
    assert!(!log.contains("other.service") && log.contains("there"), "{log}");
    // Nor does a service that has none of its own see the others'.
    let script = "ls -A /run/credentials; echo looked";
    let exec = format!("exec = [\"/bin/sh\", \"-c\", {script:?}]");
    instance.unit("none", &format!("[service]\ntype = \"oneshot\"\n{exec}\n[logging]\ntarget = \"file\"\n"));
    instance.rsvc(&["start", "none"]).expect(0);
    let log = instance.wait_for_log("none", "looked");
    assert!(!log.contains("other.service"), "{log}");
    // Under systemd the host has some of its own.
    let look = "ls -A /run/credentials; grep -E '/run/credentials/(there|none)' /proc/self/mountinfo; true";
    let host_side = host.run(look).expect(0).out;
    assert_eq!(host_side, "other.service\n", "nothing on the host");
}

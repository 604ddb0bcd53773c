//! `namespaces.user = "auto"`: a range of ids of the unit's own, and files that keep their numbers.

use crate::instance::{is_root, skipped};
use crate::lab::{Lab, host_namespace};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

const AUTO: &str = "[namespaces]\nuser = \"auto\"\n";
/// All that root may have, and no filter: what is refused is refused by the kernel's rules of ownership.
const BOLD: &str = "[capabilities]\nbounding = [\"SYS_ADMIN\", \"NET_ADMIN\", \"NET_BIND_SERVICE\", \"SYS_CHROOT\", \"MKNOD\", \
                    \"SYS_PTRACE\", \"KILL\", \"DAC_OVERRIDE\", \"SETUID\", \"SETGID\"]\n[syscalls]\nmode = \"off\"\n\
                    [security]\nrestrict_namespaces = false\n";

/// First of the unit's ids, as the kernel says of its main process.
#[track_caller]
fn range(lab: &Lab, unit: &str) -> u32 {
    let pid = lab.instance.main_process(unit).pid;
    let map = std::fs::read_to_string(format!("/proc/{pid}/uid_map")).expect("it runs");
    let words: Vec<u32> = map.split_whitespace().map(|word| word.parse().expect("a number")).collect();
    let [0, first, 65_536] = words[..] else { panic!("{unit}: {map}") };
    assert_eq!(std::fs::read_to_string(format!("/proc/{pid}/gid_map")).expect("it runs"), map);
    assert!(first >= 524_288 && first.is_multiple_of(65_536) && first <= 1_879_048_191 - 65_535, "{first}");
    first
}

/// A unit that stays.
fn stay(lab: &Lab, name: &str, body: &str) {
    let text = format!(
        "[service]\nexec = [\"/bin/sleep\", \"1000\"]\ntimeout_stop = \"300ms\"\n{body}\n[restart]\npolicy = \"no\"\n\
         [logging]\ntarget = \"file\"\n"
    );
    lab.instance.unit(name, &text);
}

fn up(lab: &Lab, name: &str, body: &str) -> u32 {
    stay(lab, name, body);
    lab.instance.rsvc(&["start", name]).expect(0);
    range(lab, name)
}

/// A directory of the host that belongs to `owner`, with a file that only its owner reads.
fn owned(lab: &Lab, name: &str, owner: u32) -> String {
    let directory = format!("{}/{name}", lab.path());
    std::fs::create_dir(&directory).expect("directory");
    std::fs::write(format!("{directory}/file"), "theirs").expect("file");
    std::fs::set_permissions(format!("{directory}/file"), PermissionsExt::from_mode(0o600)).expect("mode");
    std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o700)).expect("mode");
    for path in [format!("{directory}/file"), directory.clone()] {
        chown(path, Some(owner), Some(owner)).expect("owner");
    }
    directory
}

#[test]
fn a_unit_has_ids_that_nobody_else_has_and_root_inside_is_one_of_them() {
    let Some(lab) = Lab::new() else { return };
    let words = [
        "link:/proc/self/ns/user",
        "read:/proc/self/uid_map",
        "read:/proc/self/gid_map",
        "read:/proc/self/setgroups",
        "status:Uid",
        "status:Groups",
        "status:CapBnd",
        "pid",
        "stat:/",
        "stat:/etc/passwd",
        "stat:/tmp",
        "stat:/dev",
        "stat:/dev/null",
        "stat:/dev/shm",
        "stat:/run",
        "create:/usr",
        "create:/var",
        "create:/tmp",
        "create:/dev/shm",
        "openw:/dev/null",
        "open:/dev/ptmx",
        "open:/proc/1/environ",
        "openw:/proc/sys/kernel/hostname",
        "list:/home",
        "fds",
    ];
    let seen = lab.look("auto", AUTO, &words);
    assert_ne!(seen["link:/proc/self/ns/user"], host_namespace("user"));
    assert_eq!(&seen["read:/proc/self/uid_map"], &seen["read:/proc/self/gid_map"]);
    seen.expect(&[
        ("read:/proc/self/setgroups", "allow"),
        ("status:Uid", "0\t0\t0\t0"),
        ("status:Groups", "0"),
        ("status:CapBnd", "00000000000405fb"),
        ("pid", "2"),
        ("stat:/", "dir 0755 0:0"),
        ("stat:/etc/passwd", "file 0644 0:0"),
        ("stat:/tmp", "dir 1777 0:0"),
        ("stat:/dev", "dir 0755 0:0"),
        ("stat:/dev/null", "char 0666 0:0 1:3"),
        ("stat:/dev/shm", "dir 1777 0:0"),
        ("stat:/run", "dir 0755 0:0"),
        ("create:/usr", "EROFS"),
        ("create:/var", "ok"),
        ("create:/tmp", "ok"),
        ("create:/dev/shm", "ok"),
        ("openw:/dev/null", "ok"),
        ("open:/dev/ptmx", "ok"),
        ("open:/proc/1/environ", "EACCES"),
        ("list:/home", ""),
        ("fds", "0 1 2"),
    ]);
    let (one, other) = (up(&lab, "one", AUTO), up(&lab, "other", AUTO));
    let first: u32 =
        seen["read:/proc/self/uid_map"].split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("map");
    assert!(one != other && first != one && first != other, "{first} {one} {other}");
    let status = lab.instance.status("one");
    assert_eq!(status["user_namespace"], serde_json::json!({ "first": one, "size": 65_536 }), "{status}");
    let text = lab.instance.rsvc(&["status", "one"]).out;
    assert!(text.contains(&format!("{one} to {}", one + 65_535)), "{text}");
    let process = std::fs::metadata(format!("/proc/{}", lab.instance.main_process("one").pid)).expect("it runs");
    assert_eq!((process.uid(), process.gid()), (one, one), "root inside, as the host sees it");
}

#[test]
fn each_replica_and_each_instance_of_a_template_has_its_own() {
    let Some(lab) = Lab::new() else { return };
    stay(&lab, "many@", &format!("{AUTO}[unit]\nreplicas = 3\n"));
    stay(&lab, "tenant@", AUTO);
    lab.instance.rsvc(&["start", "many", "tenant@a", "tenant@b"]).expect(0);
    let names = ["many@1", "many@2", "many@3", "tenant@a", "tenant@b"];
    let mut all: Vec<u32> = names.iter().map(|name| range(&lab, name)).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), names.len());
}

#[test]
fn units_that_share_namespaces_stay_strangers_to_each_other() {
    let Some(lab) = Lab::new() else { return };
    let owner = up(&lab, "owner", &format!("user = \"33\"\n{AUTO}[network]\nmode = \"loopback\"\n"));
    let body = format!("user = \"33\"\n{AUTO}pid = \"unit:owner\"\n[network]\nmode = \"unit:owner\"\n");
    let words =
        ["link:/proc/self/ns/net", "status:Uid", "sh:kill -0 2", "sh:cat /proc/2/maps", "read:/proc/self/uid_map"];
    let seen = lab.look("member", &body, &words);
    let pid = lab.instance.main_process("owner").pid;
    let network = std::fs::read_link(format!("/proc/{pid}/ns/net")).expect("it runs").display().to_string();
    seen.expect(&[("link:/proc/self/ns/net", &network), ("status:Uid", "33\t33\t33\t33")]);
    assert_ne!(seen["read:/proc/self/uid_map"].split_whitespace().nth(1), Some(owner.to_string().as_str()));
    for word in ["sh:kill -0 2", "sh:cat /proc/2/maps"] {
        assert!(seen[word].contains("exit status"), "{word}: {}", &seen[word]);
    }
}

#[test]
fn files_keep_their_numbers_and_nothing_is_changed_on_the_disk() {
    let Some(lab) = Lab::new() else { return };
    let theirs = owned(&lab, "theirs", 33);
    let roots = owned(&lab, "roots", 0);
    let far = owned(&lab, "far", 100_000);
    std::fs::set_permissions(&far, PermissionsExt::from_mode(0o777)).expect("mode");
    let body = format!(
        "user = \"33\"\ngroup = \"33\"\n[directories]\nstate = [\"kept\"]\n[[mounts]]\ndestination = \"/mnt\"\n\
         source = {theirs:?}\n{AUTO}"
    );
    let (of_roots, list_roots) = (format!("read:{roots}/file"), format!("list:{roots}"));
    let (far_stat, far_file) = (format!("stat:{far}/file"), format!("create:{far}"));
    let words = [
        "status:Uid",
        "read:/mnt/file",
        "stat:/mnt/file",
        "stat:/mnt",
        "put:/mnt/new=mine",
        "stat:/mnt/new",
        "stat:/var/lib/kept",
        "put:/var/lib/kept/new=mine",
        "stat:/var/lib/kept/new",
        "chmod:/mnt/new:0640",
        &of_roots,
        &list_roots,
        &far_stat,
        &far_file,
        "open:/etc/shadow",
    ];
    let seen = lab.look("files", &body, &words);
    seen.expect(&[
        ("status:Uid", "33\t33\t33\t33"),
        ("read:/mnt/file", "theirs"),
        ("stat:/mnt/file", "file 0600 33:33"),
        ("stat:/mnt", "dir 0700 33:33"),
        ("put:/mnt/new=mine", "ok"),
        ("stat:/mnt/new", "file 0644 33:33"),
        ("put:/var/lib/kept/new=mine", "ok"),
        ("stat:/var/lib/kept/new", "file 0644 33:33"),
        ("chmod:/mnt/new:0640", "ok"),
        (&of_roots, "EACCES"),
        (&list_roots, "EACCES"),
        (&far_stat, "file 0600 65534:65534"),
        (&far_file, "EACCES"),
        ("open:/etc/shadow", "EACCES"),
    ]);
    let of = |path: &str| std::fs::metadata(path).map(|found| (found.uid(), found.gid(), found.mode() & 0o7777));
    assert_eq!(of(&format!("{theirs}/new")).expect("made"), (33, 33, 0o640));
    assert_eq!(of(&format!("{theirs}/file")).expect("there"), (33, 33, 0o600));
    let kept = lab.instance.file("state/directories/state/kept/new");
    assert_eq!(of(&kept.display().to_string()).expect("made"), (33, 33, 0o644));
}

#[test]
fn to_the_host_a_service_is_a_stranger_also_to_the_user_that_it_is_called() {
    let Some(lab) = Lab::new() else { return };
    let secret = owned(&lab, "secret", 33);
    let body = format!("user = \"33\"\ngroup = \"33\"\n{AUTO}\n[filesystem]\ninaccessible_paths = [{secret:?}]\n");
    let first = up(&lab, "stranger", &body);
    // Another process of 33, on the host.
    let mut theirs = std::process::Command::new("setpriv")
        .args(["--reuid", "33", "--regid", "33", "--clear-groups", "sleep", "1000"])
        .spawn()
        .expect("setpriv");
    let pid = lab.instance.main_process("stranger").pid;
    // In the host's namespaces but for that of its users, so that it can name what it must not touch.
    let as_service = |command: &str| {
        let target = format!("--user=/proc/{pid}/ns/user");
        let output = std::process::Command::new("nsenter")
            .args([&target, "-S", "33", "-G", "33", "sh", "-c", command])
            .output()
            .expect("nsenter");
        output.status.success()
    };
    let number = theirs.id();
    assert!(as_service("true"), "nsenter works");
    let (signal, maps, file) = (
        as_service(&format!("kill -0 {number}")),
        as_service(&format!("cat /proc/{number}/maps")),
        as_service(&format!("cat {secret}/file")),
    );
    theirs.kill().expect("a child");
    theirs.wait().expect("a child");
    assert!(!signal && !maps && !file, "{signal} {maps} {file}");
    let seen = std::fs::metadata(format!("/proc/{pid}")).expect("it runs");
    assert_eq!((seen.uid(), seen.gid()), (first + 33, first + 33));
}

#[test]
fn capabilities_inside_give_nothing_over_mounts_network_or_names() {
    let Some(lab) = Lab::new() else { return };
    let words = [
        "status:CapEff",
        "mount:/tmp",
        "sh:umount /tmp",
        "sh:umount -l /proc",
        "sh:mount -o remount,rw,bind /",
        "sh:mount -o remount,rw,bind /usr",
        "sh:unshare -m sh -c 'umount /tmp || mount -o remount,rw,bind /usr'",
        "sh:hostname intruder",
        "sh:echo 1 > /proc/sys/net/ipv4/ip_forward",
        "bind:80",
        "create:/usr",
        "mknod:/tmp/node:c:1:3",
        "sh:kill -9 1",
        "sh:cat /proc/1/maps",
    ];
    for (name, network) in [("bold", ""), ("alone", "[network]\nmode = \"loopback\"\n")] {
        let seen = lab.look(name, &format!("{AUTO}{network}{BOLD}"), &words);
        assert_ne!(&seen["status:CapEff"], "0000000000000000");
        seen.expect(&[
            ("mount:/tmp", "EPERM"),
            ("bind:80", "EACCES"),
            ("create:/usr", "EROFS"),
            ("mknod:/tmp/node:c:1:3", "EPERM"),
        ]);
        for word in words.iter().filter(|word| word.starts_with("sh:")) {
            assert!(seen[*word].contains("exit status"), "{word}: {}", &seen[*word]);
        }
    }
    lab.refused(
        "ports",
        &format!("[capabilities]\nambient = [\"NET_BIND_SERVICE\"]\n[network]\nmode = \"loopback\"\n{AUTO}"),
        &["ports.toml:", "NET_BIND_SERVICE"],
    );
}

#[test]
fn groups_are_exact_and_only_ids_of_the_range_can_be_had() {
    let Some(lab) = Lab::new() else { return };
    let body = format!("user = \"33\"\ngroup = \"34\"\nsupplementary_groups = [\"5\", \"4\"]\n{AUTO}");
    let seen = lab.look("groups", &body, &["status:Groups", "status:Gid", "status:CapEff", "status:CapBnd"]);
    seen.expect(&[
        ("status:Groups", "4 5 34"),
        ("status:Gid", "34\t34\t34\t34"),
        ("status:CapEff", "0000000000000000"),
        ("status:CapBnd", "0000000000000000"),
    ]);
    lab.refused("high", &format!("user = \"65536\"\n{AUTO}"), &["uid 65536", "0 to 65535", "high.toml:"]);
    let body = format!("user = \"33\"\nsupplementary_groups = [\"70000\"]\n{AUTO}");
    lab.refused("far", &body, &["gid 70000", "far.toml:"]);
}

#[test]
fn a_set_id_program_makes_the_user_of_that_number_inside_and_nobody_outside() {
    let Some(lab) = Lab::new() else { return };
    let program = |name: &str, owner: u32| {
        let path = format!("{}/{name}", lab.path());
        crate::instance::install(Path::new("/usr/bin/id"), Path::new(&path));
        chown(&path, Some(owner), Some(owner)).expect("owner");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o4755)).expect("mode");
        format!("sh:{path} -u")
    };
    let (roots, fars) = (program("roots", 0), program("fars", 100_000));
    let body = format!(
        "user = \"33\"\ngroup = \"33\"\n{AUTO}[security]\nno_new_privileges = false\n[filesystem]\nprotect_system = \"off\"\n"
    );
    lab.look("raised", &body, &[&roots, &fars]).expect(&[(&roots, "0"), (&fars, "33")]);
}

#[test]
fn what_cannot_be_mapped_is_nobodys_and_refused_where_it_is_to_be_written() {
    let Some(lab) = Lab::new() else { return };
    let mount = |options: &str| {
        format!("{AUTO}[[mounts]]\ndestination = \"/mnt\"\nsource = \"/sys/kernel\"\noptions = [{options}]\n")
    };
    lab.look("looks", &mount("\"ro\""), &["stat:/mnt"]).expect(&[("stat:/mnt", "dir 0755 65534:65534")]);
    lab.refused("writes", &mount(""), &["/sys/kernel", "sysfs", "ids of a user namespace", "writes.toml:", "hint"]);
    // The tree of the host does not have to be mapped as a whole.
    assert!(!lab.instance.rsvc(&["status", "looks"]).out.contains("nobody's inside"));
}

#[test]
fn an_own_root_is_root_inside_and_what_is_made_there_has_its_numbers() {
    let Some(lab) = Lab::new() else { return };
    let root = lab.instance.file("root");
    lab.probe_into(&root);
    chown(root.join("probe"), Some(33), Some(33)).expect("owner");
    std::fs::create_dir(root.join("srv")).expect("directory");
    let words = [
        "status:Uid",
        "stat:/",
        "stat:/probe",
        "stat:/run",
        "stat:/made/here",
        "create:/",
        "create:/srv",
        "put:/srv/new=x",
    ];
    let libraries = "[[mounts]]\ndestination = \"/usr\"\nsource = \"/usr\"\noptions = [\"ro\"]\n[[mounts]]\n\
                     destination = \"/lib\"\nsource = \"/usr/lib\"\noptions = [\"ro\"]\n[[mounts]]\ndestination = \"/lib64\"\n\
                     source = \"/usr/lib64\"\noptions = [\"ro\"]\n[[mounts]]\ndestination = \"/made/here\"\ntype = \"tmpfs\"\n\
                     options = [\"uid=33\", \"gid=34\", \"mode=0700\"]\n";
    let open = "[filesystem]\nprotect_system = \"off\"\n";
    let expected = [
        ("status:Uid", "0\t0\t0\t0"),
        ("stat:/", "dir 0755 0:0"),
        ("stat:/run", "dir 0755 0:0"),
        ("stat:/made/here", "dir 0700 33:34"),
        ("create:/", "ok"),
    ];
    let kinds = [
        ("directory", format!("[rootfs]\ntype = \"directory\"\npath = {root:?}\nreadonly = false\n")),
        ("overlay", format!("[rootfs]\ntype = \"overlay\"\nreadonly = false\nlower = [{root:?}]\n")),
        (
            "persistent",
            format!("[rootfs]\ntype = \"overlay\"\nreadonly = false\nlower = [{root:?}]\nupper = \"persistent\"\n"),
        ),
    ];
    for (name, rootfs) in kinds {
        let seen = lab.look_in(name, &format!("{AUTO}{rootfs}{open}{libraries}"), &words);
        seen.expect(&expected);
        seen.expect(&[("stat:/probe", "file 0755 33:33"), ("create:/srv", "ok"), ("put:/srv/new=x", "ok")]);
    }
    let owner = |path: &Path| std::fs::metadata(path).map(|found| (found.uid(), found.gid())).expect("made");
    assert_eq!(owner(&root.join("made/here")), (0, 0), "a mount point, made by the stage");
    assert_eq!(owner(&root.join("srv/new")), (0, 0));
    let upper = lab.instance.file("state/overlay/persistent/upper");
    assert_eq!(owner(&upper.join("srv/new")), (0, 0));
}

#[test]
fn its_own_file_systems_credentials_and_devices_have_the_right_owners() {
    let Some(lab) = Lab::new() else { return };
    if !Path::new("/dev/kmsg").exists() {
        return skipped("no /dev/kmsg");
    }
    let body = format!(
        "user = \"33\"\ngroup = \"34\"\nsupplementary_groups = [\"5\"]\n[credentials]\nset = {{ word = \"secret\" }}\n\
         [filesystem]\ntemporary_paths = [\"/srv\"]\n[devices]\nallow = [{{ path = \"/dev/kmsg\", access = \"r\" }}]\n[security]\n\
         protect_kernel_logs = false\n{AUTO}"
    );
    let words = [
        "stat:/run/credentials/owners",
        "read:/run/credentials/owners/word",
        "stat:/run/credentials/owners/word",
        "create:/run/credentials/owners",
        "stat:/srv",
        "create:/srv",
        "stat:/dev/kmsg",
        "stat:/dev/pts/ptmx",
        "open:/dev/ptmx",
        "create:/dev",
        "create:/dev/mqueue",
    ];
    let seen = lab.look("owners", &body, &words);
    seen.expect(&[
        ("stat:/run/credentials/owners", "dir 0500 33:34"),
        ("read:/run/credentials/owners/word", "secret"),
        ("stat:/run/credentials/owners/word", "file 0400 33:34"),
        ("create:/run/credentials/owners", "EROFS"),
        ("stat:/srv", "dir 0755 33:34"),
        ("create:/srv", "ok"),
        ("stat:/dev/pts/ptmx", "char 0666 0:0 5:2"),
        ("open:/dev/ptmx", "ok"),
        ("create:/dev", "EROFS"),
        ("create:/dev/mqueue", "ok"),
    ]);
    assert!(seen["stat:/dev/kmsg"].ends_with(" 0:0 1:11"), "{}", &seen["stat:/dev/kmsg"]);
}

#[test]
fn a_range_stays_through_restarts_a_death_of_the_daemon_and_a_boot() {
    let Some(mut lab) = Lab::new() else { return };
    let body = format!("user = \"33\"\n[directories]\nstate = [\"kept\"]\n{AUTO}");
    let first = up(&lab, "lasting", &body);
    lab.instance.rsvc(&["restart", "lasting"]).expect(0);
    assert_eq!(range(&lab, "lasting"), first);
    lab.instance.kill_daemon();
    lab.instance.start_daemon();
    assert_eq!(range(&lab, "lasting"), first, "it ran on");
    let namespace =
        |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/user")).expect("it runs").display().to_string();
    let inside = lab.instance.rsvc(&["exec", "lasting", "--", "readlink", "/proc/self/ns/user"]).expect(0).out;
    assert_eq!(inside.trim(), namespace(&lab.instance.main_process("lasting").pid.to_string()));
    let other = up(&lab, "another", AUTO);
    assert_ne!(other, first);
    lab.instance.rsvc(&["restart", "lasting"]).expect(0);
    assert_eq!(range(&lab, "lasting"), first, "the next daemon gives the same");
    // What is left after a boot: the state directory.
    lab.instance.rsvc(&["stop", "lasting", "another"]).expect(0);
    lab.instance.end_daemon();
    lab.instance.start_daemon();
    lab.instance.rsvc(&["start", "another"]).expect(0);
    lab.instance.rsvc(&["start", "lasting"]).expect(0);
    assert_eq!((range(&lab, "lasting"), range(&lab, "another")), (first, other));
}

#[test]
fn a_damaged_file_of_ranges_gives_nobody_one_and_loses_none_that_is_in_use() {
    let Some((mut lab, _namespace)) = Lab::with_own_ids() else { return };
    let first = up(&lab, "running", AUTO);
    lab.instance.kill_daemon();
    let file = lab.instance.file("state/ids");
    std::fs::write(&file, "{\"v\":1,\"units\":{\"running\":{\"range\":524288},\"x\":{\"range\":524288}}}")
        .expect("file");
    lab.instance.start_daemon();
    let said = lab.refused("late", AUTO, &["namespaces.user", "state/ids is damaged", "late.toml:", "hint"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(range(&lab, "running"), first, "it runs on");
    lab.instance.rsvc(&["restart", "running"]).expect(0);
    assert_eq!(range(&lab, "running"), first, "and is started again with what it had");
    std::fs::remove_file(&file).expect("there");
    assert_ne!(up(&lab, "later", AUTO), first);
    lab.instance.rsvc(&["restart", "running"]).expect(0);
    assert_eq!(range(&lab, "running"), first, "what it had by the kernel's word");
}

#[test]
fn rsvc_run_takes_a_range_that_nobody_has_and_an_ordinary_user_has_those_of_subuid_or_none() {
    let lab = Lab::without_daemon();
    if is_root() {
        let words = ["read:/proc/self/uid_map", "status:Uid", "stat:/etc/passwd", "mount:/tmp", "pid"];
        let said = lab.run("foreground", AUTO, &words, |_| {}).expect(0);
        let seen = Lab::answers(&said.out);
        seen.expect(&[
            ("status:Uid", "0\t0\t0\t0"),
            ("stat:/etc/passwd", "file 0644 0:0"),
            ("mount:/tmp", "EPERM"),
            ("pid", "2"),
        ]);
        assert!(seen["read:/proc/self/uid_map"].split_whitespace().nth(1).is_some_and(|first| first.len() >= 6));
    }
    let granted = std::fs::read_to_string("/etc/subuid").unwrap_or_default();
    if granted.lines().any(|line| line.starts_with("nobody:") || line.starts_with("65534:")) {
        return skipped("nobody has other ids on this host");
    }
    let Some(said) = crate::user::run(&lab, "ordinary", AUTO, &["pid"]) else { return };
    assert_ne!(said.code, 0, "{said:?}");
    for word in ["namespaces.user", "ordinary.toml:", "run rsvc as root"] {
        assert!(said.err.contains(word), "`{word}` in {}", said.err);
    }
    assert!(["no ids", "is not installed"].iter().any(|cause| said.err.contains(cause)), "{}", said.err);
    assert!(!said.out.contains("@@"), "it ran: {said:?}");
}

#[test]
fn sharing_the_hosts_mounts_does_not_go_with_it() {
    let Some(lab) = Lab::new() else { return };
    lab.refused("shared", &format!("{AUTO}mount = \"host\"\n"), &["shared.toml:", "mount by mount"]);
}

//! Section A: what a hostile root file system, or one that changes meanwhile, does to the set-up.

use crate::canary::Canary;
use crate::instance::RSVC;
use crate::lab::Lab;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

const ROOT: &str = "[rootfs]\ntype = \"directory\"\npath = ";

/// A root file system with the probe in it.
fn root(lab: &Lab, name: &str) -> std::path::PathBuf {
    let root = Path::new(&lab.path()).join(name);
    lab.probe_into(&root);
    root
}

/// Rows 1, 3, 5, 9, 10, 11: whatever a link in the place of a directory leads to, nothing is done there.
#[test]
fn links_in_the_place_of_directories_lead_to_nothing_of_the_host() {
    let Some(lab) = Lab::new() else { return };
    let canary = Canary::new();
    let targets = [
        canary.path().to_owned(),
        canary.relative(),
        Path::new("/proc/1/root").join(canary.path().strip_prefix("/").expect("absolute")),
        Path::new("/proc/self/root/../..").join(canary.path().strip_prefix("/").expect("absolute")),
        "/tmp/fake".into(),
    ];
    let (mut refused, mut started) = (Vec::new(), 0);
    for place in ["proc", "sys", "dev", "tmp", "run", "etc", "var", "home"] {
        for (number, target) in targets.iter().enumerate() {
            let name = format!("{place}{number}");
            let root = root(&lab, &name);
            fs::create_dir_all(root.join("tmp/fake")).expect("directory");
            let _ = fs::remove_dir_all(root.join(place));
            symlink(target, root.join(place)).expect("link");
            let body = format!("{ROOT}{root:?}\n");
            let words = ["mounted:/proc", "openw:/proc/sys/kernel/core_pattern", "stat:/proc/kcore", "create:/dev"];
            let exec = format!(
                "exec = [\"/probe\", \"probe\", {:?}, {:?}, {:?}, {:?}]\n",
                words[0], words[1], words[2], words[3]
            );
            lab.unit_of(&name, &exec, &body);
            let said = lab.instance.rsvc(&["start", &name]);
            canary.assert_untouched(&format!("{place} -> {}: {said:?}", target.display()));
            match said.code {
                0 => {
                    let seen = lab.seen(&name);
                    assert!(seen["mounted:/proc"].starts_with("proc "), "{name}: {seen:?}");
                    assert_eq!(&seen["openw:/proc/sys/kernel/core_pattern"], "EROFS", "{name}");
                    started += 1;
                }
                1 => refused.push(name),
                code => panic!("{name}: {code}: {said:?}"),
            }
        }
    }
    for place in ["proc", "dev"] {
        assert!(refused.iter().filter(|name| name.starts_with(place)).count() == targets.len(), "{place}: {refused:?}");
    }
    assert!(started > 0, "all were refused, so nothing is shown of the others: {refused:?}");
}

/// Row 2: /proc is the container's own, whatever the unit wants to mount there.
#[test]
fn nothing_is_mounted_over_proc_or_the_root() {
    let Some(lab) = Lab::new() else { return };
    for place in ["/proc", "/proc/self", "/proc/sys", "/proc/self/attr", "/", "/../proc"] {
        let body = format!("[[mounts]]\ndestination = \"{place}\"\ntype = \"tmpfs\"\n");
        lab.refused("over", &body, &["over.toml:"]);
    }
}

/// Rows 3, 5, 11, 30: mounts of the unit whose place leads out by a link.
#[test]
fn a_mount_whose_place_is_a_link_is_made_inside_or_not_at_all() {
    let Some(lab) = Lab::new() else { return };
    let canary = Canary::new();
    for (number, target) in [canary.path().to_owned(), canary.relative()].iter().enumerate() {
        for place in ["/data", "/data/new", "/data/inner", "/data/a/b/c"] {
            let name = format!("link{number}");
            let root = root(&lab, &name);
            let _ = fs::remove_file(root.join("data"));
            symlink(target, root.join("data")).expect("link");
            for kind in ["type = \"tmpfs\"", "source = \"/usr\"\noptions = [\"ro\"]"] {
                let body = format!("{ROOT}{root:?}\n[[mounts]]\ndestination = \"{place}\"\n{kind}\n");
                lab.unit_of(&name, "exec = [\"/probe\", \"probe\", \"pid\"]\n", &body);
                let said = lab.instance.rsvc(&["start", &name]);
                assert!([0, 1].contains(&said.code), "{said:?}");
                canary.assert_untouched(&format!("{place} of a link to {}: {said:?}", target.display()));
            }
        }
    }
}

/// Row 4: a directory and a link change places while a second container mounts below them.
#[test]
fn a_link_that_takes_a_directorys_place_meanwhile_moves_no_mount_to_the_host() {
    let Some(lab) = Lab::new() else { return };
    let canary = Canary::new();
    let root = root(&lab, "root");
    let shared = Path::new(&lab.path()).join("shared");
    fs::create_dir_all(shared.join("target/inner")).expect("directory");
    symlink(canary.relative(), shared.join("other")).expect("link");
    let body = format!(
        "[rootfs]\ntype = \"directory\"\npath = {root:?}\n[[mounts]]\ndestination = \"/vol\"\nsource = {shared:?}\n\
         [[mounts]]\ndestination = \"/vol/target/inner\"\ntype = \"tmpfs\"\n"
    );
    lab.unit_of("racer", "exec = [\"/probe\", \"probe\", \"pid\"]\n", &body);
    let over = AtomicBool::new(false);
    let (mut started, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let (one, other) = (shared.join("target"), shared.join("other"));
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).expect("exchanged");
            }
        });
        for _ in 0..50 {
            match lab.instance.rsvc(&["start", "racer"]).code {
                0 => started += 1,
                _ => refused += 1,
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    canary.assert_untouched(&format!("{started} started, {refused} refused"));
    assert!(started > 0 && refused > 0, "the race was not run: {started} started, {refused} refused");
}

/// Rows 6 and 7: nodes of the container's /dev that lead to files of the kernel are neither masks nor streams.
#[test]
fn device_nodes_of_a_root_file_system_are_not_used() {
    let Some(lab) = Lab::new() else { return };
    let root = root(&lab, "root");
    fs::create_dir_all(root.join("dev/pts")).expect("directory");
    for node in ["null", "zero", "console", "ptmx", "pts/0", "tty", "full"] {
        symlink("/proc/sys/kernel/core_pattern", root.join("dev").join(node)).expect("link");
    }
    let before = fs::read_to_string("/proc/sys/kernel/core_pattern").expect("proc");
    let words = [
        "descriptor:0",
        "openw:/proc/kallsyms",
        "mounted:/proc/kallsyms",
        "mounted:/proc/keys",
        "openw:/proc/sys/kernel/core_pattern",
        "put:/dev/null=|rsvc",
    ];
    for private in ["", "[devices]\nprivate = false\n"] {
        let body = format!("{ROOT}{root:?}\n{private}");
        let seen = lab.look_in("nodes", &body, &words);
        assert_eq!(&seen["descriptor:0"], "char 1:3", "{private}");
        for masked in ["mounted:/proc/kallsyms", "mounted:/proc/keys"] {
            assert!(seen[masked].starts_with("tmpfs ro"), "{private}: {seen:?}");
        }
        assert_ne!(&seen["openw:/proc/kallsyms"], "ok", "{private}");
        assert_ne!(&seen["openw:/proc/sys/kernel/core_pattern"], "ok", "{private}");
        assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").expect("proc"), before);
    }
}

/// Row 15: nothing of rsvc runs with the rights of its owner.
#[test]
fn the_program_has_neither_set_id_bits_nor_capabilities() {
    let file = fs::metadata(RSVC).expect("the program");
    assert_eq!(file.mode() & 0o6000, 0);
    let mut value = [0; 64];
    assert_eq!(rustix::fs::getxattr(RSVC, "security.capability", &mut value[..]).ok(), None);
}

/// Row 16: what lies in a root file system, or beside it, is no configuration.
#[test]
fn units_in_and_beside_a_root_file_system_are_not_read() {
    let Some(lab) = Lab::new() else { return };
    let root = root(&lab, "root");
    let body = format!("{ROOT}{root:?}\n");
    lab.unit_of("image", "exec = [\"/probe\", \"probe\", \"status:CapBnd\", \"status:Seccomp\"]\n", &body);
    lab.instance.rsvc(&["start", "image"]).expect(0);
    let (before, seen) = (lab.instance.rsvc(&["show", "image"]).out, lab.seen("image"));
    let hostile = "[service]\nexec = [\"/probe\", \"probe\", \"pid\"]\n[security]\nprofile = \"host\"\n";
    for place in [
        "rsvc.toml",
        "image.toml",
        "etc/rsvc/units/image.toml",
        "../image.toml",
        "../root.toml",
        "image.d/90.toml",
        "../rsvc.toml",
    ] {
        let file = root.join(place);
        fs::create_dir_all(file.parent().expect("a parent")).expect("directory");
        fs::write(file, hostile).expect("file");
    }
    lab.instance.rsvc(&["reload-config"]).expect(0);
    fs::remove_file(lab.instance.file("state/log/image.log")).expect("the log");
    lab.instance.rsvc(&["start", "image"]).expect(0);
    assert_eq!(lab.instance.rsvc(&["show", "image"]).out, before);
    let again = lab.seen("image");
    assert_eq!(again["status:CapBnd"], seen["status:CapBnd"]);
    assert_eq!((&again["status:Seccomp"], &seen["status:Seccomp"]), ("2", "2"));
}

/// Row 23 and 25: what is asked about a container is answered from outside of it.
#[test]
fn programs_of_a_root_file_system_are_not_executed_for_questions() {
    let Some(lab) = Lab::new() else { return };
    let root = root(&lab, "root");
    fs::create_dir_all(root.join("data")).expect("directory");
    fs::set_permissions(root.join("data"), fs::Permissions::from_mode(0o777)).expect("mode");
    for place in ["bin", "usr/bin", "sbin", "usr/sbin"] {
        fs::create_dir_all(root.join(place)).expect("directory");
        for name in ["ps", "getent", "sh", "id", "mount", "ip", "ldconfig", "modprobe"] {
            // Whoever executes it leaves a file: the probe does what its arguments say, and makes one without any.
            crate::instance::install(Path::new("/bin/true"), &root.join(place).join(name));
        }
    }
    fs::create_dir_all(root.join("etc")).expect("directory");
    fs::write(root.join("etc/nsswitch.conf"), "passwd: hostile\ngroup: hostile\n").expect("file");
    fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nrsvc-inside:x:0:0::/:/bin/sh\n").expect("file");
    let service = "[service]\nexec = [\"/probe\", \"probe\", \"hold\"]\n";
    lab.instance.unit("held", &format!("{service}{ROOT}{root:?}\n"));
    lab.instance.rsvc(&["start", "held"]).expect(0);
    for question in [&["status", "held"][..], &["list"], &["logs", "held"], &["show", "held"], &["plan", "held"]] {
        lab.instance.rsvc(question).expect(0);
    }
    let left = lab.instance.status("held")["processes"].as_array().map_or(0, Vec::len);
    assert!(left <= 2, "{left} processes");
    // A user whom only the container knows is no user.
    lab.instance.unit("stranger", &format!("{service}user = \"rsvc-inside\"\n{ROOT}{root:?}\n"));
    assert_ne!(lab.instance.rsvc(&["start", "stranger"]).code, 0);
}

/// Row 25: no library of a container can be loaded into a program that has no loader.
#[test]
fn the_program_is_static() {
    let bytes = fs::read(RSVC).expect("the program");
    let number = |at: usize, width: usize| {
        bytes[at..at + width].iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte)) as usize
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    const PT_INTERP: usize = 3;
    assert!((0..count).all(|index| number(table + index * size, 4) != PT_INTERP));
}

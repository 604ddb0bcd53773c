//! `[rootfs]`: a directory, an overlay, an empty tree in memory.

use crate::instance::{Instance, skipped};
use crate::lab::Lab;
use std::path::Path;
use std::process::Command;

#[test]
fn a_directory_as_root_shows_itself_only_and_is_read_only_but_for_declared_paths() {
    let Some(lab) = Lab::new() else { return };
    let root = format!("{}/root", lab.path());
    lab.probe_into(Path::new(&root));
    std::fs::create_dir(format!("{root}/data")).expect("directory");
    std::fs::write(format!("{root}/inside"), "own\n").expect("file");
    let words = [
        "read:/inside",
        "open:/etc/passwd",
        "open:/usr",
        "create:/",
        "create:/data",
        "create:/tmp",
        "create:/run",
        "pid",
        "openw:/dev/null",
        "open:/proc/self/status",
        "stat:/",
        "log:x",
        "mounted:/tmp",
        "create:/home",
    ];
    let body =
        format!("[rootfs]\ntype = \"directory\"\npath = \"{root}\"\n[filesystem]\nread_write_paths = [\"/data\"]\n");
    let seen = lab.look_in("tree", &body, &words);
    seen.expect(&[
        ("read:/inside", "own"),
        ("open:/etc/passwd", "ENOENT"),
        ("open:/usr", "ENOENT"),
        ("create:/", "EROFS"),
        ("create:/data", "ok"),
        ("create:/tmp", "ok"),
        ("create:/run", "ok"),
        ("openw:/dev/null", "ok"),
        ("open:/proc/self/status", "ok"),
        ("log:x", "ok"),
    ]);
    let body = format!(
        "[rootfs]\ntype = \"directory\"\npath = \"{root}\"\nreadonly = false\n[filesystem]\nprotect_system = \"off\"\n"
    );
    lab.look_in("writable", &body, &["create:/", "create:/data"]).expect(&[("create:/", "ok"), ("create:/data", "ok")]);
    let body = "[rootfs]\ntype = \"directory\"\npath = \"/nonexistent/root\"\n";
    lab.refused("noroot", body, &["/nonexistent/root", "ENOENT", "noroot.toml:"]);
}

#[test]
fn an_overlay_shows_the_top_layer_first_and_keeps_writes_where_it_says() {
    let Some(lab) = Lab::new() else { return };
    let (top, bottom, own) =
        (format!("{}/top", lab.path()), format!("{}/bottom", lab.path()), format!("{}/own", lab.path()));
    lab.probe_into(Path::new(&bottom));
    std::fs::create_dir(&top).expect("directory");
    std::fs::write(format!("{top}/file"), "top").expect("file");
    std::fs::write(format!("{bottom}/file"), "bottom").expect("file");
    std::fs::write(format!("{bottom}/below"), "bottom").expect("file");
    let rootfs = format!("[rootfs]\ntype = \"overlay\"\nlower = [\"{top}\", \"{bottom}\"]\n");
    let words = ["read:/file", "read:/below", "read:/new", "put:/new=x", "put:/file=changed", "mounted:/", "size:/"];
    lab.look_in("sealed", &rootfs, &words).expect(&[
        ("read:/file", "top"),
        ("read:/below", "bottom"),
        ("put:/new=x", "EROFS"),
    ]);
    let open = format!("{rootfs}readonly = false\n");
    let rules = "[filesystem]\nprotect_system = \"off\"\n";
    for _ in 0..2 {
        lab.look_in("ephemeral", &format!("{open}{rules}"), &words).expect(&[
            ("read:/file", "top"),
            ("read:/new", "ENOENT"),
            ("put:/new=x", "ok"),
            ("put:/file=changed", "ok"),
            ("size:/", "268435456"),
        ]);
    }
    let fill = ["size:/", "sh:dd if=/dev/zero of=/full bs=64k 2>&1 | grep -c 'No space left'"];
    let host = format!("{open}size = \"1M\"\n{rules}");
    let mounts: String = ["/usr", "/bin", "/lib", "/lib64"]
        .iter()
        .filter(|path| Path::new(path).exists())
        .map(|path| format!("[[mounts]]\ndestination = \"{path}\"\nsource = \"{path}\"\noptions = [\"ro\"]\n"))
        .collect();
    lab.look_in("limited", &format!("{host}{mounts}"), &fill).expect(&[(fill[0], "1048576"), (fill[1], "1")]);
    let kept = format!("{open}upper = \"persistent\"\n{rules}");
    lab.look_in("kept", &kept, &words).expect(&[("read:/new", "ENOENT"), ("put:/new=x", "ok")]);
    lab.look_in("kept", &kept, &words).expect(&[("read:/new", "x"), ("read:/file", "changed")]);
    let own_upper = format!("{open}upper = \"{own}\"\n{rules}");
    std::fs::create_dir(&own).expect("directory");
    lab.look_in("own", &own_upper, &words).expect(&[("put:/new=x", "ok")]);
    assert_eq!(std::fs::read_to_string(format!("{own}/upper/new")).expect("in the upper directory"), "x");
    assert_eq!(std::fs::read_to_string(format!("{top}/file")).expect("layer"), "top", "layers are never written");
    assert!(!Path::new(&format!("{top}/new")).exists() && !Path::new(&format!("{bottom}/new")).exists());
}

#[test]
fn a_tree_in_memory_holds_what_mounts_put_there_and_has_its_size() {
    let Some(lab) = Lab::new() else { return };
    let image = format!("{}/image", lab.path());
    lab.probe_into(Path::new(&image));
    std::fs::write(format!("{image}/data"), "host").expect("file");
    let exec = lab.exec(&["list:/", "size:/", "create:/", "read:/app/data", "create:/app", "mounted:/", "create:/tmp"]);
    let exec = exec.replace(&format!("{}/probe", lab.path()), "/app/probe");
    let body = format!(
        "[rootfs]\ntype = \"tmpfs\"\nsize = \"8M\"\n[[mounts]]\ndestination = \"/app\"\nsource = \"{image}\"\noptions = [\"ro\"]\n"
    );
    lab.unit_of("memory", &exec, &body);
    lab.instance.rsvc(&["start", "memory"]).expect(0);
    let seen = lab.seen("memory");
    seen.expect(&[
        ("size:/", "8388608"),
        ("create:/", "EROFS"),
        ("read:/app/data", "host"),
        ("create:/app", "EROFS"),
        ("create:/tmp", "ok"),
    ]);
    assert!(seen["mounted:/"].starts_with("tmpfs ro"), "{seen:?}");
    assert_eq!(&seen["list:/"], "app dev proc run sys tmp var");
}

/// A file with a tree in it, made by the tool of its format; `None`, after saying so, without that.
fn image(lab: &Lab, format: &str) -> Option<String> {
    let tree = format!("{}/tree-{format}", lab.path());
    lab.probe_into(Path::new(&tree));
    for directory in ["dev", "proc", "sys", "run", "tmp", "var/tmp", "etc", "data"] {
        std::fs::create_dir_all(format!("{tree}/{directory}")).expect("directory");
    }
    std::fs::write(format!("{tree}/etc/inside"), "own").expect("file");
    let file = format!("{}/image.{format}", lab.path());
    let mut tool = match format {
        "squashfs" => Command::new("mksquashfs"),
        _ => Command::new("mkfs.erofs"),
    };
    let made = match format {
        "squashfs" => tool.args([&tree, &file]).args(["-quiet", "-no-progress", "-all-root"]).output(),
        _ => tool.arg("--all-root").args([&file, &tree]).output(),
    };
    let Ok(made) = made else {
        skipped(&format!("no tool that makes {format} is installed"));
        return None;
    };
    assert!(made.status.success(), "{made:?}");
    Some(file)
}

/// Loop devices that show a file.
fn loops(file: &str) -> usize {
    let entries = std::fs::read_dir("/sys/block").expect("/sys/block").flatten();
    let shows = entries.filter(|entry| {
        let backing = std::fs::read_to_string(entry.path().join("loop/backing_file"));
        backing.is_ok_and(|backing| backing.trim_end() == file)
    });
    shows.count()
}

fn has(lab: &Lab, format: &str) -> bool {
    let known = std::fs::read_to_string("/proc/filesystems").expect("/proc/filesystems");
    let device = Path::new("/dev/loop-control").exists();
    if !known.contains(&format!("\t{format}\n")) || !device {
        // What such a host says instead is part of the promise.
        let body = format!("[rootfs]\ntype = \"{format}\"\npath = \"{}/probe\"\n", lab.path());
        lab.refused("absent", &body, &["failed at step NAMESPACE"]);
        skipped(&format!("this kernel has no {format}, or there is no /dev/loop-control"));
        return false;
    }
    true
}

#[test]
fn a_file_system_in_a_file_is_the_root_and_nothing_of_it_can_be_written() {
    let Some(lab) = Lab::new() else { return };
    for format in ["squashfs", "erofs"] {
        let Some(file) = has(&lab, format).then(|| image(&lab, format)).flatten() else { continue };
        let rootfs = format!("[rootfs]\ntype = \"{format}\"\npath = \"{file}\"\n");
        let words = [
            "read:/etc/inside",
            "mounted:/",
            "create:/",
            "create:/data",
            "create:/tmp",
            "open:/etc/passwd",
            "openw:/dev/null",
            "open:/proc/self/status",
            "status:CapEff",
        ];
        for (name, more) in [("root", ""), ("users", "[namespaces]\nuser = \"identity\"\n")] {
            let seen = lab.look_in(&format!("{format}-{name}"), &format!("{rootfs}{more}"), &words);
            seen.expect(&[
                ("read:/etc/inside", "own"),
                ("create:/", "EROFS"),
                ("create:/data", "EROFS"),
                ("create:/tmp", "ok"),
                ("open:/etc/passwd", "ENOENT"),
                ("openw:/dev/null", "ok"),
                ("open:/proc/self/status", "ok"),
            ]);
            assert!(seen["mounted:/"].starts_with(&format!("{format} ro,nosuid,nodev")), "{seen:?}");
        }
        // Somewhere to write all the same.
        let body = format!("{rootfs}[[mounts]]\ndestination = \"/data\"\ntype = \"tmpfs\"\noptions = [\"size=1M\"]\n");
        lab.look_in(&format!("{format}-data"), &body, &["create:/data"]).expect(&[("create:/data", "ok")]);
        crate::instance::eventually("the loop devices are let go", || (loops(&file) == 0).then_some(()));
    }
}

#[test]
fn an_image_lasts_as_long_as_the_service_and_not_as_the_daemon() {
    let Some(mut lab) = Lab::new() else { return };
    let Some(file) = has(&lab, "squashfs").then(|| image(&lab, "squashfs")).flatten() else { return };
    let exec = "exec = [\"/probe\", \"probe\", \"hold\"]\n";
    let unit = format!("[service]\n{exec}[rootfs]\ntype = \"squashfs\"\npath = \"{file}\"\n");
    lab.instance.unit("image", &unit);
    lab.instance.rsvc(&["start", "image"]).expect(0);
    assert_eq!(loops(&file), 1);
    let root = |instance: &Instance| {
        let pid = instance.main_process("image").pid;
        std::fs::read_to_string(format!("/proc/{pid}/root/etc/inside")).expect("seen through /proc")
    };
    assert_eq!(root(&lab.instance), "own");
    lab.instance.kill_daemon();
    lab.instance.start_daemon();
    assert_eq!((root(&lab.instance).as_str(), loops(&file)), ("own", 1));
    lab.instance.rsvc(&["stop", "image"]).expect(0);
    crate::instance::eventually("the loop device is let go", || (loops(&file) == 0).then_some(()));
}

#[test]
fn a_file_that_is_no_image_refuses_the_start_and_says_what_was_expected() {
    let Some(lab) = Lab::new() else { return };
    if !has(&lab, "squashfs") {
        return;
    }
    let rootfs = |format: &str, path: &str| format!("[rootfs]\ntype = \"{format}\"\npath = \"{path}\"\n");
    for format in ["squashfs", "erofs"] {
        lab.refused(
            "nothing",
            &rootfs(format, "/nonexistent/image"),
            &["/nonexistent/image", "ENOENT", "nothing.toml:"],
        );
        lab.refused("folder", &rootfs(format, "/etc"), &["/etc", "no regular file", "folder.toml:"]);
        let other = format!("{}/probe", lab.path());
        lab.refused("other", &rootfs(format, &other), &[&other, &format!("is no {format}"), "other.toml:"]);
        crate::instance::eventually("the loop device is let go", || (loops(&other) == 0).then_some(()));
    }
    if let Some(file) = image(&lab, "squashfs") {
        // A place to mount on can be made in nothing that is read-only.
        let body = format!("{}[[mounts]]\ndestination = \"/absent\"\ntype = \"tmpfs\"\n", rootfs("squashfs", &file));
        lab.refused("absent", &body, &["/absent", "read-only"]);
    }
}

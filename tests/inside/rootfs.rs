//! `[rootfs]`: a directory, an overlay, an empty tree in memory.

use crate::lab::Lab;
use std::path::Path;

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
        ]);
    }
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

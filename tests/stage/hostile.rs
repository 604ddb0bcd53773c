//! Root file systems that try to lead the stage astray.

use crate::harness::*;
use rsvc::plan::{Create, Slot, Step};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const ELOOP: i32 = 40;

/// Replaces a directory of the root by a link.
fn link(root: &Path, name: &str, target: &Path) {
    std::fs::remove_dir(root.join(name)).unwrap();
    symlink(target, root.join(name)).unwrap();
}

#[test]
fn a_link_in_the_place_of_proc_or_dev_is_refused() {
    for name in ["proc", "dev"] {
        let (_directory, root) = scratch_root();
        let canary = tempfile::tempdir().unwrap();
        link(&root, name, canary.path());
        let draft = with_programs(Draft::on(root.to_str().unwrap(), "echo never"));
        let Some(outcome) = draft.run() else { return };
        let (_, errno, detail) = outcome.failure();
        assert_eq!(errno, ELOOP, "{name}");
        assert!(detail.contains(&format!("/{name}")), "{detail}");
        assert_eq!(std::fs::read_dir(canary.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_link_on_the_way_to_a_place_below_dev_is_refused_too() {
    let (_directory, root) = scratch_root();
    std::fs::create_dir(root.join("sys")).unwrap();
    symlink("/etc", root.join("sys/fs")).unwrap();
    let draft = with_programs(Draft::on(root.to_str().unwrap(), "echo never"))
        .before_root([tmpfs(Slot(5))])
        .before_pivot([attach(Slot(5), "/sys/fs/cgroup", Create::Directory)]);
    let Some(outcome) = draft.run() else { return };
    assert_eq!(outcome.failure().1, ELOOP);
}

#[test]
fn a_target_that_points_out_of_the_root_stays_inside() {
    let (_directory, root) = scratch_root();
    link(&root, "data", Path::new("../../../../etc"));
    let before = host_mounts();
    let draft = with_programs(Draft::on(root.to_str().unwrap(), "touch /etc/inside && ls /etc"))
        .before_root([tmpfs(Slot(5))])
        .before_pivot([attach(Slot(5), "/data", Create::Never)]);
    let Some(outcome) = draft.run() else { return };
    // The link was followed to the root's own /etc.
    assert_eq!(outcome.success(), "inside\n");
    // Others may mount on this host at any time, but neither there nor here.
    let places = |mounts: &str| {
        let place = |line: &str| PathBuf::from(line.split(' ').nth(4).unwrap());
        let here = |place: &PathBuf| place.starts_with(&root) || place == Path::new("/etc");
        mounts.lines().map(place).filter(here).collect::<Vec<_>>()
    };
    assert_eq!(places(&host_mounts()), places(&before));
    assert!(!Path::new("/etc/inside").exists());
}

#[test]
fn nothing_is_made_through_a_link() {
    let (_directory, root) = scratch_root();
    let canary = tempfile::tempdir().unwrap();
    link(&root, "data", canary.path());
    let draft = with_programs(Draft::on(root.to_str().unwrap(), "echo never"))
        .before_root([tmpfs(Slot(5))])
        .before_pivot([attach(Slot(5), "/data/new", Create::Directory)]);
    let Some(outcome) = draft.run() else { return };
    let (_, _, detail) = outcome.failure();
    assert!(detail.contains("/data is no directory"), "{outcome:?}");
    assert_eq!(std::fs::read_dir(canary.path()).unwrap().count(), 0);
}

#[test]
fn masks_do_not_use_the_containers_null_device() {
    let (_directory, root) = scratch_root();
    std::fs::write(root.join("etc/secret"), "secret\n").unwrap();
    // A private /dev hides it here; the mask must not have asked for it in any case.
    symlink("/proc/sys/kernel/core_pattern", root.join("dev/null")).unwrap();
    let draft = with_programs(Draft::on(
        root.to_str().unwrap(),
        "cat /etc/secret; (echo x >/etc/secret) 2>&1; grep ' /etc/secret ' /proc/self/mountinfo",
    ))
    .before_pivot([Step::Mask { at: "/etc/secret".into(), closed: false, missing_ok: false }]);
    let Some(outcome) = draft.run() else { return };
    let output = outcome.success();
    assert!(output.contains("Read-only file system") || output.contains("Permission denied"), "{output}");
    assert!(!output.contains("secret\n") && output.contains(" - tmpfs "), "{output}");
}

#[test]
fn the_hosts_tree_cannot_be_reached_any_more() {
    let script =
        "ls -di /; cd /; for i in 1 2 3 4 5 6; do cd ..; done; ls -di .; cat /proc/self/mountinfo | wc -l; ls -A /data";
    let (_directory, root) = scratch_root();
    let draft = with_programs(Draft::on(root.to_str().unwrap(), script));
    let Some(outcome) = draft.run() else { return };
    let lines: Vec<_> = outcome.success().lines().collect();
    assert_eq!(lines[0].split_whitespace().next(), lines[1].split_whitespace().next(), "{lines:?}");
    // Root, proc, dev, its null, and usr with what the host has mounted below.
    let usr = host_mounts().lines().filter(|line| line.split(' ').nth(4).unwrap().starts_with("/usr/")).count();
    assert_eq!(lines[2], (5 + usr).to_string(), "{lines:?}");
}

#[test]
fn a_working_directory_through_a_descriptor_is_refused() {
    for number in [0, 1, 3, 4, 5, 6, 7, 10] {
        let path = format!("/proc/self/fd/{number}");
        let draft =
            Draft::shell("echo never").then([Step::ChangeDirectory { path: path.clone().into(), missing_ok: false }]);
        let Some(outcome) = draft.run() else { return };
        assert!([ELOOP, 2].contains(&outcome.failure().1), "{path}: {outcome:?}");
        assert_eq!(outcome.output, "");
    }
}

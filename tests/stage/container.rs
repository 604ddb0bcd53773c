//! Mounts, namespaces, identity: what the shell inside sees.

use crate::harness::*;
use rsvc::plan::{
    CapabilitySet, Create, IdMaps, LimitResource, MapWriter, MountFlags, Namespaces, OverlayUpper, Slot, Step,
};

#[test]
fn the_service_is_pid_2_in_a_read_only_tree_of_its_own() {
    let script =
        "echo pid $$; cat /proc/1/comm; ls /dev; touch /etc/x 2>&1; hostname; pwd; cat /proc/sys/kernel/hostname";
    let mut draft = Draft::shell(script);
    draft.before.push(Step::SetHostname { name: "inside".into() });
    let Some(outcome) = draft.run() else { return };
    let output = outcome.success();
    assert!(output.contains("pid 2\nrsvc-init\nnull\n"), "{output}");
    assert!(output.contains("Read-only file system"), "{output}");
    assert!(output.contains("\ninside\n/\ninside\n"), "{output}");
}

#[test]
fn attached_trees_masks_and_restrictions_are_as_planned() {
    let script = "
        mkdir /tmp/a && echo x >/tmp/a/b && cat /tmp/a/b
        ls -A /etc && echo masked
        wc -c </usr/bin/env
        sh -c 'echo x >/proc/sys/kernel/hostname' 2>&1
        grep -c '/usr/bin/env' /proc/self/mountinfo
        ls /absent 2>&1";
    let draft = Draft::shell(script).before_root([tmpfs(Slot(4))]).before_pivot([
        attach(Slot(4), "/tmp", Create::Never),
        Step::Mask { at: "/etc".into(), closed: false, missing_ok: false },
        Step::Mask { at: "/usr/bin/env".into(), closed: false, missing_ok: false },
        Step::Mask { at: "/absent".into(), closed: false, missing_ok: true },
        Step::Restrict { at: "/proc/sys".into(), set: read_only(), recursive: true, missing_ok: false },
        attach(Slot(4), "/absent/too", Create::SkipMissing),
    ]);
    let Some(outcome) = draft.run() else { return };
    let output = outcome.output;
    assert!(output.starts_with("x\nmasked\n0\n"), "{output}");
    assert!(output.contains("Read-only file system"), "{output}");
    assert!(output.contains("\n1\n") && output.contains("No such file"), "{output}");
}

#[test]
fn a_restriction_below_a_mount_leaves_the_rest_writable() {
    let draft = Draft::shell("mkdir /tmp/a; touch /tmp/file; touch /tmp/ro/file || echo refused")
        .before_root([tmpfs(Slot(4))])
        .before_pivot([
            attach(Slot(4), "/tmp", Create::Never),
            Step::MakeDirectory { slot: Slot(4), name: "ro".into(), mode: 0o755 },
            Step::MakeDirectory { slot: Slot(4), name: "ro/below".into(), mode: 0o1777 },
            Step::MakeSymlink { slot: Slot(4), name: "link".into(), target: "ro".into() },
            Step::Restrict { at: "/tmp/link".into(), set: read_only(), recursive: true, missing_ok: false },
        ]);
    let Some(outcome) = draft.run() else { return };
    assert!(outcome.success().ends_with("refused\n"), "{outcome:?}");
    assert_eq!(outcome.output.matches("Read-only").count(), 1);
}

#[test]
fn missing_targets_are_made_and_a_bind_decides_what() {
    let (directory, root) = scratch_root();
    let file = directory.path().join("source");
    std::fs::write(&file, "content\n").unwrap();
    let draft =
        with_programs(Draft::on(root.to_str().unwrap(), "cat /made/by/name; ls -d /other/place; stat -c %a /other"))
            .before_root([open_tree(Slot(5), file.to_str().unwrap()), tmpfs(Slot(6))])
            .before_pivot([
                attach(Slot(5), "/made/by/name", Create::AsTree),
                attach(Slot(6), "/other/place", Create::AsTree),
            ]);
    let Some(outcome) = draft.run() else { return };
    assert_eq!(outcome.success(), "content\n/other/place\n755\n");
}

#[test]
fn a_missing_source_empties_its_slot_and_everything_on_it_is_skipped() {
    let missing = Step::OpenTree {
        slot: Slot(7),
        source: rsvc::plan::TreeSource::Host,
        path: "/no/such/source".into(),
        recursive: true,
        missing_ok: true,
    };
    let draft = Draft::shell("echo ran").before_root([missing]).before_pivot([
        Step::SetAttributes { slot: Slot(7), set: read_only(), recursive: true },
        attach(Slot(7), "/no/such/target", Create::Never),
        Step::AttachNode { node: Slot(7), slot: DEV, name: "absent".into() },
        Step::Seal { slot: DEV, set: read_only() },
    ]);
    let Some(outcome) = draft.run() else { return };
    assert_eq!(outcome.success(), "ran\n");
}

#[test]
fn an_ephemeral_overlay_is_writable_and_leaves_the_layer_alone() {
    let (_directory, root) = scratch_root();
    std::fs::write(root.join("etc/file"), "below\n").unwrap();
    let mut draft = with_programs(Draft::on(
        "/",
        "echo above >/etc/file; cat /etc/file; echo new >/data/new; grep ' / / ' /proc/self/mountinfo",
    ));
    let position = draft.before.iter().position(|step| *step == open_tree(ROOT, "/")).unwrap();
    draft.before[position] = Step::NewOverlay {
        slot: ROOT,
        lower: vec![root.clone()],
        upper: OverlayUpper::Ephemeral { size: 1 << 20 },
        flags: MountFlags::default(),
    };
    let Some(outcome) = draft.run() else { return };
    assert!(outcome.success().starts_with("above\n"), "{outcome:?}");
    assert!(outcome.output.contains(" - overlay "), "{outcome:?}");
    assert_eq!(std::fs::read_to_string(root.join("etc/file")).unwrap(), "below\n");
    assert!(!root.join("data/new").exists());
}

#[test]
fn layers_are_stacked_topmost_first_and_a_directory_keeps_what_is_written() {
    let (_lower, root) = scratch_root();
    let top = tempfile::tempdir().unwrap();
    let store = tempfile::tempdir().unwrap();
    std::fs::create_dir(top.path().join("etc")).unwrap();
    std::fs::write(top.path().join("etc/which"), "top\n").unwrap();
    std::fs::write(root.join("etc/which"), "bottom\n").unwrap();
    for name in ["upper", "work"] {
        std::fs::create_dir(store.path().join(name)).unwrap();
    }
    let mut draft = with_programs(Draft::on("/", "cat /etc/which; echo kept >/data/kept"));
    let position = draft.before.iter().position(|step| *step == open_tree(ROOT, "/")).unwrap();
    draft.before[position] = Step::NewOverlay {
        slot: ROOT,
        lower: vec![top.path().into(), root.clone()],
        upper: OverlayUpper::Directory { path: store.path().into() },
        flags: MountFlags::default(),
    };
    let Some(outcome) = draft.run() else { return };
    assert_eq!(outcome.success(), "top\n");
    assert_eq!(std::fs::read_to_string(store.path().join("upper/data/kept")).unwrap(), "kept\n");
}

#[test]
fn the_loopback_of_an_own_network_is_up() {
    let mut draft = Draft::shell("grep -q 127.0.0.1 /proc/net/fib_trie && echo up");
    draft.namespaces.net = true;
    draft.before.push(Step::LoopbackUp);
    let Some(outcome) = draft.run() else { return };
    assert_eq!(outcome.success(), "up\n");
}

#[test]
fn ids_capabilities_and_the_rest_read_back_from_inside() {
    if !is_root() {
        skipped!("other ids need root");
        return;
    }
    let keep = CapabilitySet(1 << 10); // CAP_NET_BIND_SERVICE
    let draft = Draft::shell("grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs)' /proc/self/status; umask; pwd; ulimit -n")
        .then([
            Step::SetUmask { mask: 0o027 },
            Step::SetLimit { resource: LimitResource::Nofile, soft: 100, hard: 200 },
            Step::DropBoundingSet { keep },
            Step::KeepCapabilities,
            Step::SetGroups { groups: vec![7, 5] },
            Step::SetIds { uid: 65534, gid: 65533 },
            Step::SetCapabilities { permitted: keep, inheritable: keep, ambient: keep },
            Step::ChangeDirectory { path: "/usr/bin".into(), missing_ok: false },
            Step::NoNewPrivileges,
            Step::VerifyCredentials {
                uid: 65534,
                gid: 65533,
                groups: Some(vec![5, 7]),
                bounding: keep,
                permitted: keep,
                inheritable: keep,
                ambient: keep,
                no_new_privileges: true,
            },
        ]);
    let Some(outcome) = draft.run() else { return };
    let output = outcome.success();
    assert!(
        output.contains("Uid:\t65534\t65534\t65534\t65534\nGid:\t65533\t65533\t65533\t65533\nGroups:\t5 7"),
        "{output}"
    );
    for set in ["Inh", "Prm", "Eff", "Bnd", "Amb"] {
        assert!(output.contains(&format!("Cap{set}:\t0000000000000400\n")), "{set}: {output}");
    }
    assert!(output.contains("NoNewPrivs:\t1\n0027\n/usr/bin\n100\n"), "{output}");
}

#[test]
fn a_difference_on_read_back_stops_the_start() {
    let draft = Draft::shell("echo never").then([Step::VerifyCredentials {
        uid: 4711,
        gid: 0,
        groups: None,
        bounding: all_capabilities(),
        permitted: all_capabilities(),
        inheritable: CapabilitySet::EMPTY,
        ambient: CapabilitySet::EMPTY,
        no_new_privileges: false,
    }]);
    let index = draft.index_of(|step| matches!(step, Step::VerifyCredentials { .. }));
    let Some(outcome) = draft.run() else { return };
    let (step, errno, detail) = outcome.failure();
    assert_eq!((step, errno), (index, 0));
    assert!(detail.contains("uid is [0, 0, 0], not [4711, 4711, 4711]"), "{detail}");
    assert_eq!(outcome.output, "");
}

#[test]
fn a_mapped_user_namespace_makes_root_inside_a_nobody_outside() {
    if !is_root() {
        skipped!("a range of ids needs root");
        return;
    }
    let mut draft = Draft::shell("id -u; cat /proc/self/uid_map; chown -h 1:1 /tmp/f && echo owned")
        .before_root([tmpfs(Slot(4))])
        .before_pivot([
            attach(Slot(4), "/tmp", Create::Never),
            Step::MakeSymlink { slot: Slot(4), name: "f".into(), target: "g".into() },
        ]);
    draft.namespaces.user = true;
    draft.id_maps =
        Some(IdMaps { uid: vec![(0, 100_000, 65536)], gid: vec![(0, 100_000, 65536)], writer: MapWriter::Daemon });
    let Some(outcome) = draft.run() else { return };
    let words: Vec<_> = outcome.success().split_whitespace().collect();
    assert_eq!(words, ["0", "0", "100000", "65536", "owned"]);
}

#[test]
fn a_process_that_joins_sees_the_same_container_and_hands_its_end_on() {
    let mut host = Draft::shell("echo ready; exec sleep 60");
    host.before.push(Step::SetHostname { name: "joined".into() });
    let Some(running) = host.start() else { return };
    running.wait_for("ready");
    let namespaces =
        Namespaces { mount: true, pid: true, ipc: true, uts: true, user: !is_root(), ..Namespaces::default() };
    let join = |script: &str| {
        let mut draft = Draft::shell(script);
        draft.namespaces = Namespaces::default();
        draft.id_maps = None;
        draft.init = false;
        draft.before = vec![Step::JoinContainer { namespaces }];
        draft.container = Some(process_fd(running.pid));
        draft.run().unwrap()
    };
    let outcome = join("hostname; cat /proc/1/comm; ls /dev; grep NSpid /proc/self/status | wc -w");
    assert_eq!(outcome.success(), "joined\nrsvc-init\nnull\n2\n");
    assert_eq!(join("exit 7").end, (1, 7));
    assert_eq!(join("kill -USR1 $$").end, (2, 10));
    running.signal(9);
    running.finish();
}

fn process_fd(pid: i32) -> std::os::fd::OwnedFd {
    rsvc::sys::process::pidfd_open(pid).unwrap()
}

//! User namespaces and mapped ids.

use crate::lab::{Lab, host_namespace};
use std::os::unix::fs::MetadataExt;

#[test]
fn an_identity_user_namespace_maps_every_id_to_itself_and_binds_no_low_port_of_the_host() {
    let Some(lab) = Lab::new() else { return };
    let words = [
        "link:/proc/self/ns/user",
        "read:/proc/self/uid_map",
        "read:/proc/self/gid_map",
        "status:Uid",
        "bind:80",
        "create:/usr",
        "create:/var",
        "mount:/tmp",
        "openw:/dev/null",
        "status:NoNewPrivs",
    ];
    let seen = lab.look("identity", "[namespaces]\nuser = \"identity\"\n", &words);
    assert_ne!(seen["link:/proc/self/ns/user"], host_namespace("user"));
    for map in ["read:/proc/self/uid_map", "read:/proc/self/gid_map"] {
        assert_eq!(seen[map].split_whitespace().collect::<Vec<_>>(), ["0", "0", "4294967295"]);
    }
    seen.expect(&[
        ("status:Uid", "0\t0\t0\t0"),
        ("bind:80", "EACCES"),
        ("create:/usr", "EROFS"),
        ("create:/var", "ok"),
        ("mount:/tmp", "EPERM"),
        ("openw:/dev/null", "ok"),
    ]);
    let seen = lab.look(
        "another",
        "user = \"54321\"\n[namespaces]\nuser = \"identity\"\n",
        &["status:Uid", "status:CapBnd", "status:CapEff"],
    );
    seen.expect(&[
        ("status:Uid", "54321\t54321\t54321\t54321"),
        ("status:CapBnd", "0000000000000000"),
        ("status:CapEff", "0000000000000000"),
    ]);
}

#[test]
fn mapped_ranges_make_container_root_an_ordinary_id_of_the_host() {
    let Some(lab) = Lab::new() else { return };
    let directory = format!("{}/shared", lab.path());
    std::fs::create_dir(&directory).expect("directory");
    std::fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("mode");
    let put = format!("put:{directory}/file=x");
    let stat = format!("stat:{directory}/file");
    let maps = "[namespaces]\nuser = \"mapped\"\n\
                uid_mappings = [{ container_id = 0, host_id = 100000, size = 1000 }, { container_id = 5000, host_id = 300000, size = 10 }]\n\
                gid_mappings = [{ container_id = 0, host_id = 200000, size = 65536 }]\n";
    let words = [
        "read:/proc/self/uid_map",
        "read:/proc/self/gid_map",
        "status:Uid",
        &put,
        &stat,
        "create:/var",
        "stat:/etc/passwd",
        "list:/proc/1/fd",
    ];
    let seen = lab.look("mapped", maps, &words);
    let map = seen["read:/proc/self/uid_map"].replace('|', " ");
    let map: Vec<&str> = map.split_whitespace().collect();
    assert_eq!(map, ["0", "100000", "1000", "5000", "300000", "10"]);
    seen.expect(&[
        ("status:Uid", "0\t0\t0\t0"),
        (&put, "ok"),
        (&stat, "file 0644 0:0"),
        ("create:/var", "EACCES"),
        // The host's root is nobody here.
        ("stat:/etc/passwd", "file 0644 65534:65534"),
    ]);
    let made = std::fs::metadata(format!("{directory}/file")).expect("made");
    assert_eq!((made.uid(), made.gid()), (100_000, 200_000));
    // A user of a second range, with a directory of its own.
    let body = format!("user = \"5003\"\ngroup = \"7\"\n[directories]\nstate = [\"of-the-second\"]\n{maps}");
    let seen =
        lab.look("second", &body, &["status:Uid", "stat:/var/lib/of-the-second", "create:/var/lib/of-the-second"]);
    seen.expect(&[
        ("status:Uid", "5003\t5003\t5003\t5003"),
        ("stat:/var/lib/of-the-second", "dir 0755 5003:7"),
        ("create:/var/lib/of-the-second", "ok"),
    ]);
    lab.refused(
        "unmapped",
        &format!("user = \"4000\"\ngroup = \"7\"\n{maps}"),
        &["does not map 4000", "unmapped.toml:"],
    );
}

#[test]
fn capabilities_inside_a_user_namespace_are_void_outside() {
    let Some(lab) = Lab::new() else { return };
    let body = "[namespaces]\nuser = \"identity\"\n[capabilities]\nbounding = [\"SYS_TIME\", \"SYS_BOOT\", \"MKNOD\"]\n[syscalls]\nmode = \"off\"\n[security]\nprotect_clock = false\n";
    let node = format!("mknod:{}/node:c:1:3", lab.path());
    let seen = lab.look("void", body, &["status:CapEff", "call:settimeofday:0:0", "call:reboot:0:0:0", &node]);
    assert_ne!(&seen["status:CapEff"], "0000000000000000");
    assert_eq!(&seen[node.as_str()], "EPERM", "{seen:?}");
    assert_ne!(&seen["call:reboot:0:0:0"], "ok");
}

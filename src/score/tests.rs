//! The table's sums, and that what is said to close a point closes it.

use super::checks::CHECKS;
use super::*;
use crate::unit::{ParseOptions, Unit, UnitText};

fn parse(texts: &[&str]) -> Unit {
    let files: Vec<String> = (0..texts.len()).map(|n| format!("{n}.toml")).collect();
    let texts: Vec<UnitText<'_>> = files.iter().zip(texts).map(|(file, text)| UnitText { file, text }).collect();
    match Unit::parse_texts("web", &texts, ParseOptions::default()) {
        Ok((unit, _)) => unit,
        Err(problems) => panic!("{:?}: {problems:?}", texts.iter().map(|t| t.text).collect::<Vec<_>>()),
    }
}

/// Units that are open in different ways; each with its own reason why a point is open.
const OPEN: [&str; 7] = [
    "service.exec = [\"/bin/true\"]\n",
    "service.exec = [\"/bin/true\"]\n[security]\nprofile = \"host\"\n",
    "service.exec = [\"/bin/true\"]\n[security]\nprofile = \"login\"\ncontrol_socket = true\noptional = [\"devices\"]\n",
    "service.exec = [\"/bin/true\"]\nservice.user = \"nobody\"\nservice.supplementary_groups = [\"adm\"]\n\
     service.umask = \"0000\"\nservice.notify_access = \"all\"\nservice.type = \"notify\"\nresources.delegate = true\n\
     resources.tasks_max = \"infinity\"\nnetwork.address_families = [\"AF_PACKET\", \"AF_VSOCK\", \"AF_INET\"]\n\
     network.mode = \"path:/run/netns/x\"\ncapabilities.bounding = [\"all\"]\ncapabilities.ambient = [\"KILL\", \"CHOWN\"]\n\
     security.protect_clock = false\nsecurity.protect_kernel_modules = false\nsecurity.protect_kernel_logs = false\n\
     security.restrict_namespaces = [\"user\", \"time\"]\nsyscalls.allow = [\"@known\"]\n\
     syscalls.architectures = [\"native\", \"x86\"]\ndevices.allow = [{ path = \"/dev/fuse\" }]\n\
     filesystem.read_write_paths = [\"/etc/x\", \"/srv/x\"]\nfilesystem.protect_system = \"full\"\n\
     filesystem.protect_home = \"read-only\"\nfilesystem.temporary_paths = [\"-/srv/y\"]\nnamespaces.pid = \"unit:db\"\n",
    "service.exec = [\"/bin/true\"]\nnamespaces.user = \"identity\"\nnamespaces.pid = \"host\"\nsyscalls.mode = \"log\"\n",
    "service.exec = [\"/bin/true\"]\nservice.user = \"auto\"\nnamespaces.user = \"auto\"\nnamespaces.pid = \"host\"\n",
    "service.exec = [\"/bin/true\"]\nrootfs.type = \"tmpfs\"\n[[mounts]]\ndestination = \"/usr\"\nsource = \"/usr\"\n",
];

/// Points that stay open whatever is written, each with the reason.
fn stays_open(id: &str, unit: &Unit) -> bool {
    match id {
        // ProtectClock= adds a device.
        "DeviceAllow=" => unit.security.protect_clock,
        _ => false,
    }
}

#[test]
fn the_weights_are_those_of_the_two_methods() {
    let root = parse(&[OPEN[0]]);
    let posture = Posture::of(&root);
    let rows = own(&posture).rows;
    assert_eq!(rows.iter().filter_map(|row| row.weight).sum::<u32>(), Own::ALL);
    let weights: u32 = CHECKS.iter().map(|check| check.weight).sum();
    assert_eq!(weights, 56460, "systemd's with everything built in");
    assert_eq!(compatible(&posture).weight(), 56160, "as root two checks do not apply");
    let ids = |rows: &[Row]| rows.iter().map(|row| row.id).collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!((ids(&rows), ids(&compatible(&posture).rows)), (60, 81));
    let known = |check: &checks::Check| match check.rule {
        checks::Rule::Calls(group) => crate::filter::group(group).is_some(),
        _ => true,
    };
    assert!(CHECKS.iter().all(known));
}

#[test]
fn what_is_said_to_close_a_point_closes_it() {
    for text in OPEN {
        let unit = parse(&[text]);
        let posture = Posture::of(&unit);
        let (own_rows, systemd_rows) = (own(&posture).rows, compatible(&posture).rows);
        assert!(own_rows.iter().chain(&systemd_rows).any(|row| row.open > 0));
        for (index, row) in own_rows.iter().chain(&systemd_rows).enumerate().filter(|(_, row)| row.open > 0) {
            let Some(fix) = &row.fix else {
                assert!(stays_open(row.id, &unit), "{}: nothing closes it\n{text}", row.id);
                continue;
            };
            let drop_in: String = fix.0.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
            let after = parse(&[text, &drop_in]);
            let after = Posture::of(&after);
            let rows = [own(&after).rows, compatible(&after).rows].concat();
            assert_eq!(rows[index].id, row.id);
            let closed = rows[index].open == 0 || (rows[index].open < row.open && stays_open(row.id, &unit));
            assert!(closed, "{}: `{fix}` leaves {:?}\n{text}", row.id, rows[index]);
        }
    }
}

#[test]
fn a_unit_with_everything_closed_has_only_what_this_version_cannot_close() {
    let unit = parse(&["service.exec = [\"/bin/true\"]\nservice.user = \"web\"\nservice.umask = \"0077\"\n\
         namespaces.user = \"identity\"\nnetwork.mode = \"loopback\"\nnetwork.address_families = []\n\
         rootfs.type = \"directory\"\nrootfs.path = \"/srv/root\"\nfilesystem.protect_home = \"hidden\"\n\
         network.ip_deny = [\"any\"]\nresources.memory_max = \"1G\"\nresources.cpu_max = \"50%\"\nresources.tasks_max = 9\n\
         [security]\nprofile = \"strict\"\n"]);
    let posture = Posture::of(&unit);
    let open = |rows: Vec<Row>| rows.into_iter().filter(|row| row.open > 0).map(|row| row.id).collect::<Vec<_>>();
    assert!(open(own(&posture).rows).is_empty());
    let systemd = compatible(&posture);
    assert_eq!((systemd.exposure(), systemd.word()), (1, "SAFE"));
    assert_eq!(open(systemd.rows), ["DeviceAllow="]);
}

/// A worked example of the method: points and weight are those of the debug output of the tool itself.
#[test]
fn a_service_with_only_a_command_under_the_profile_host_is_as_exposed_as_under_systemd() {
    let unit = parse(&["service.exec = [\"/bin/true\"]\n[security]\nprofile = \"host\"\nkeyring = \"private\"\n"]);
    let score = compatible(&Posture::of(&unit));
    assert_eq!((score.open(), score.weight(), score.exposure(), score.word()), (53510, 56160, 96, "UNSAFE"));
}

#[test]
fn peers_count_by_how_many_are_left() {
    let lists = [
        ("[\"10.0.0.0/8\"]", "[]", 1000, 15),
        ("[\"0.0.0.0/0\"]", "[]", 1000, 15),
        ("[\"any\"]", "[\"localhost\", \"10.0.0.0/8\"]", 500, 8),
        ("[\"any\"]", "[\"localhost\"]", 200, 3),
        ("[\"any\"]", "[]", 0, 0),
    ];
    for (deny, allow, systemds, ours) in lists {
        let text = format!("service.exec = [\"/bin/true\"]\nnetwork.ip_deny = {deny}\nnetwork.ip_allow = {allow}\n");
        let unit = parse(&[&text]);
        let posture = Posture::of(&unit);
        let open = |rows: Vec<Row>, id| rows.into_iter().find(|row| row.id == id).expect("a check").open;
        let found = (open(compatible(&posture).rows, "IPAddressDeny="), open(own(&posture).rows, "peers"));
        assert_eq!(found, (systemds, ours), "{text}");
    }
}

#[test]
fn a_protection_without_a_mount_namespace_counts_for_nothing() {
    let text = "service.exec = [\"/bin/true\"]\nnamespaces.mount = \"host\"\n";
    let unit = parse(&[text]);
    let posture = Posture::of(&unit);
    let rows = compatible(&posture).rows;
    for id in
        ["PrivateTmp=", "PrivateDevices=", "ProtectSystem=", "ProtectHome=", "ProtectProc=", "ProtectKernelTunables="]
    {
        let row = rows.iter().find(|row| row.id == id).expect("a check");
        assert_eq!(Some(row.open), row.weight, "{id}");
    }
}

#[test]
fn a_capability_that_leads_around_the_private_dev_opens_it() {
    let text = "service.exec = [\"/bin/true\"]\ncapabilities.bounding = [\"MKNOD\"]\n";
    let unit = parse(&[text]);
    let posture = Posture::of(&unit);
    let row = compatible(&posture).rows.into_iter().find(|row| row.id == "PrivateDevices=").expect("a check");
    assert_eq!((row.open, row.fix.map(|fix| fix.to_string()).as_deref()), (1000, Some("capabilities.bounding = []")));
    assert!(equivalent(&posture).contains("\nPrivateDevices=no\n"));
}

#[test]
fn the_equivalent_text_cannot_be_broken_out_of() {
    let text =
        "unit.description = \"50% of\"\nservice.exec = [\"/bin/sh\", \"-c\", \"a\\nUser=root $X \\\"y\\\" %n\"]\n";
    let unit = parse(&[text]);
    let said = equivalent(&Posture::of(&unit));
    assert!(said.contains("\nDescription=50%% of\n"), "{said}");
    assert!(said.contains("\nExecStart=/bin/sh -c \"a User=root $$X \\\"y\\\" %%n\"\n"), "{said}");
    assert!(!said.contains("\nUser="), "{said}");
}

#[test]
fn ids_of_a_units_own_count_as_a_user_and_as_a_user_namespace() {
    let open = |text: &str, id: &str| {
        let unit = parse(&[text]);
        let posture = Posture::of(&unit);
        let rows = [own(&posture).rows, compatible(&posture).rows].concat();
        rows.iter().find(|row| row.id == id).map(|row| row.open).expect("a row")
    };
    let plain = "service.exec = [\"/bin/true\"]\n";
    let ids =
        |user: &str, namespace: &str| format!("{plain}service.user = {user:?}\nnamespaces.user = {namespace:?}\n");
    for id in ["user", "user-namespace", "User=/DynamicUser=", "PrivateUsers="] {
        assert_ne!(open(plain, id), 0, "{id}");
        assert_eq!(open(&ids("auto", "auto"), id), 0, "{id}");
    }
    assert!(open(&ids("root", "auto"), "user") < open(&ids("root", "identity"), "user"));
    assert_eq!(open(&ids("root", "auto"), "user-namespace"), 0);
}

//! Every key of `[devices]`.

use crate::instance::skipped;
use crate::lab::Lab;
use std::path::Path;

/// A node that is no part of the minimal /dev and that opening does not disturb.
fn some_device() -> Option<&'static str> {
    ["/dev/fuse", "/dev/loop-control", "/dev/net/tun", "/dev/kvm", "/dev/rtc0"]
        .into_iter()
        .find(|path| Path::new(path).exists())
}

/// Can the host hold device rules? Else there is only the private /dev, and `degraded` says so.
fn ruled(lab: &Lab, unit: &str) -> bool {
    !lab.instance.status(unit)["degraded"].to_string().contains("devices.policy")
}

#[test]
fn nodes_can_be_made_and_opened_only_as_the_policy_says() {
    let Some(lab) = Lab::new() else { return };
    // 1:1 is memory, 1:3 is null, 7:0 the first loop device.
    let words = ["mknod:/var/lib/NAME:c:1:1", "mknod:/var/lib/NAME:c:1:3", "mknod:/var/lib/NAME:b:7:0"]
        .map(|word| word.replace("/var/lib/NAME", &format!("{}/node", lab.path())));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let with =
        |devices: &str| format!("[capabilities]\nbounding = [\"MKNOD\", \"DAC_OVERRIDE\"]\n[devices]\n{devices}\n");
    let seen = lab.look("closed", &with(""), &words);
    // Made where allowed, opened nowhere: every tree but /dev is nodev.
    assert_eq!(&seen[words[1]], "made, EACCES");
    if !ruled(&lab, "closed") {
        return skipped("this host cannot hold device rules");
    }
    assert_eq!((&seen[words[0]], &seen[words[2]]), ("EPERM", "EPERM"));
    let seen = lab.look("auto", &with("policy = \"auto\""), &words);
    assert_eq!((&seen[words[0]], &seen[words[2]]), ("made, EACCES", "made, EACCES"));
    let seen =
        lab.look("numbers", &with("allow = [{ type = \"block\", major = 7, minor = \"*\", access = \"m\" }]"), &words);
    assert_eq!((&seen[words[0]], &seen[words[2]]), ("EPERM", "made, EACCES"));
}

#[test]
fn listed_devices_are_there_and_open_as_far_as_their_access_goes() {
    let Some(lab) = Lab::new() else { return };
    let Some(device) = some_device() else { return skipped("no harmless device node on this host") };
    let (stat, read, write) = (format!("stat:{device}"), format!("open:{device}"), format!("openw:{device}"));
    let words = [stat.as_str(), &read, &write, "openw:/dev/null", "open:/dev/zero"];
    lab.look("without", "", &words).expect(&[(&stat, "ENOENT"), (&read, "ENOENT")]);
    let seen = lab.look("with", &format!("[devices]\nallow = [{{ path = \"{device}\" }}]\n"), &words);
    assert!(seen[stat.as_str()].starts_with("char "), "{seen:?}");
    seen.expect(&[(&read, "ok"), ("openw:/dev/null", "ok")]);
    if !ruled(&lab, "with") {
        return skipped("this host cannot hold device rules");
    }
    let seen = lab.look("reader", &format!("[devices]\nallow = [{{ path = \"{device}\", access = \"r\" }}]\n"), &words);
    seen.expect(&[(&read, "ok"), (&write, "EPERM")]);
    let strict =
        format!("[devices]\npolicy = \"strict\"\nallow = [{{ path = \"{device}\" }}, {{ path = \"/dev/zero\" }}]\n");
    lab.look("strict", &strict, &words).expect(&[
        (&read, "ok"),
        ("open:/dev/zero", "ok"),
        ("openw:/dev/null", "EPERM"),
    ]);
    let host = lab.look("host", "[devices]\nprivate = false\n", &words);
    host.expect(&[(&read, "EPERM"), ("openw:/dev/null", "ok")]);
    let all = lab.look(
        "all",
        "[devices]\nprivate = false\npolicy = \"auto\"\n",
        &[&stat, &read, "mounted:/dev", "stat:/dev/kmsg"],
    );
    all.expect(&[(&read, "ok")]);
    assert_ne!(&all["stat:/dev/kmsg"], "ok_", "{all:?}");
}

#[test]
fn a_device_that_the_host_lacks_refuses_the_start_unless_it_is_optional() {
    let Some(lab) = Lab::new() else { return };
    let body = "[devices]\nallow = [{ path = \"/dev/no-such-device\" }]\n";
    lab.refused("missing", body, &["/dev/no-such-device", "missing.toml:5", "security.optional"]);
    let body = format!("{body}[security]\noptional = [\"devices.allow\"]\n");
    lab.look("optional", &body, &["stat:/dev/no-such-device"]).expect(&[("stat:/dev/no-such-device", "ENOENT")]);
    assert!(lab.instance.status("optional")["degraded"].to_string().contains("no-such-device"));
}

//! `service.user = "auto"`: a user that only this unit has.

use crate::lab::Lab;
use std::os::unix::fs::MetadataExt;

const BOTH: [(&str, &str); 2] = [("plain", ""), ("ranged", "[namespaces]\nuser = \"auto\"\n")];

/// The first of four numbers in a line of `/proc/PID/status`.
fn number(line: &str) -> u32 {
    line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

#[test]
fn a_unit_runs_as_a_user_that_nobody_else_is() {
    let Some(lab) = Lab::new() else { return };
    let words = [
        "status:Uid",
        "status:Gid",
        "status:Groups",
        "status:CapEff",
        "status:CapBnd",
        "status:NoNewPrivs",
        "env",
        "create:/usr",
        "create:/var",
        "create:/tmp",
        "stat:/var/lib/kept-by-it",
        "create:/var/lib/kept-by-it",
        "stat:/var/cache/kept-by-it",
        "chmod:/var/lib/kept-by-it/set:4755",
    ];
    let mut all = Vec::new();
    for (name, more) in BOTH {
        let body =
            format!("user = \"auto\"\n[directories]\nstate = [\"kept-by-it\"]\ncache = [\"kept-by-it\"]\n{more}");
        let seen = lab.look(name, &body, &words);
        let uid = number(&seen["status:Uid"]);
        assert!((61_184..=65_519).contains(&uid), "{uid}");
        let whole = format!("{uid}\t{uid}\t{uid}\t{uid}");
        let directory = format!("dir 0700 {uid}:{uid}");
        seen.expect(&[
            ("status:Uid", &whole),
            ("status:Gid", &whole),
            ("status:Groups", &uid.to_string()),
            ("status:CapEff", "0000000000000000"),
            ("status:CapBnd", "0000000000000000"),
            ("status:NoNewPrivs", "1"),
            ("create:/usr", "EROFS"),
            ("create:/tmp", "ok"),
            ("stat:/var/lib/kept-by-it", &directory),
            ("create:/var/lib/kept-by-it", "ok"),
            ("stat:/var/cache/kept-by-it", &directory),
            ("chmod:/var/lib/kept-by-it/set:4755", "EPERM"),
        ]);
        assert_ne!(&seen["create:/var"], "ok");
        for variable in [&format!("USER={name}"), &format!("LOGNAME={name}"), "HOME=/"] {
            assert!(seen["env"].split('|').any(|found| found == variable), "{variable} in {}", &seen["env"]);
        }
        let host = std::fs::metadata(lab.instance.file("state/directories/state/kept-by-it")).expect("made");
        assert_eq!((host.uid(), host.gid(), host.mode() & 0o7777), (uid, uid, 0o700));
        let passwd = std::fs::read_to_string("/etc/passwd").expect("passwd");
        assert!(!passwd.contains(&format!(":{uid}:")));
        all.push(uid);
        std::fs::remove_dir_all(lab.instance.file("state/directories/state/kept-by-it")).expect("ours");
        std::fs::remove_dir_all(lab.instance.file("state/directories/cache/kept-by-it")).expect("ours");
    }
    assert_ne!(all[0], all[1], "one user, one unit");
}

#[test]
fn what_it_keeps_outlives_restarts_and_daemons() {
    let Some(mut lab) = Lab::new() else { return };
    for (name, more) in BOTH {
        let body = format!("user = \"auto\"\n[directories]\nstate = [\"{name}\"]\n{more}");
        let (put, read) = (format!("put:/var/lib/{name}/file=kept"), format!("read:/var/lib/{name}/file"));
        let before = number(&lab.look(name, &body, &["status:Uid", &put])["status:Uid"]);
        lab.instance.kill_daemon();
        lab.instance.start_daemon();
        let _ = std::fs::remove_file(lab.instance.file(&format!("state/log/{name}.log")));
        let seen = lab.look(name, &body, &["status:Uid", &read, &put]);
        seen.expect(&[(&read, "kept"), (&put, "ok")]);
        assert_eq!(number(&seen["status:Uid"]), before, "{name}");
    }
}

#[test]
fn what_contradicts_it_is_refused_and_a_damaged_file_stops_it() {
    let Some((mut lab, _namespace)) = Lab::with_own_ids() else { return };
    for (name, line) in [
        ("nnp", "[security]\nno_new_privileges = false\n"),
        ("suid", "[security]\nrestrict_suid_sgid = false\n"),
        ("tmp", "[filesystem]\nprivate_tmp = false\n"),
    ] {
        lab.refused(name, &format!("user = \"auto\"\n{line}"), &["does not go with", &format!("{name}.toml:")]);
    }
    lab.instance.end_daemon();
    std::fs::write(
        lab.instance.file("state/ids"),
        "{\"v\":1,\"units\":{\"kept\":{\"user\":61190},\"x\":{\"user\":1}}}",
    )
    .expect("file");
    lab.instance.start_daemon();
    lab.refused("spoilt", "user = \"auto\"\n", &["service.user", "ids is damaged", "entry of x", "hint: restore it"]);
    lab.look("kept", "user = \"auto\"\n", &["status:Uid"]).expect(&[("status:Uid", "61190\t61190\t61190\t61190")]);
    lab.instance.end_daemon();
    std::fs::write(lab.instance.file("state/ids"), "{").expect("file");
    lab.instance.start_daemon();
    lab.refused("damaged", "user = \"auto\"\n", &["service.user", "ids is damaged", "damaged.toml:"]);
}

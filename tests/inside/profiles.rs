//! The profiles `strict`, `login` and `host`.

use crate::lab::{Lab, host_namespace};

#[test]
fn strict_lets_a_user_write_nothing_undeclared_and_execute_nothing_but_programs_of_the_system() {
    let Some(lab) = Lab::new() else { return };
    let paths = format!("[\"/usr\", \"-/bin\", \"-/sbin\", \"-/lib\", \"-/lib64\", \"{}\"]", lab.path());
    let body = format!(
        "user = \"54321\"\n[filesystem]\nexec_paths = {paths}\n[directories]\nstate = [\"of-strict\"]\n[security]\nprofile = \"strict\"\n"
    );
    let words = [
        "create:/var/lib/of-strict",
        "create:/var",
        "create:/run",
        "create:/usr",
        "create:/tmp",
        "umask",
        "open:/proc/meminfo",
        "status:CapBnd",
        "wx",
        "socket:16:3",
        "socket:2:1",
        "call:memfd_create:0:0",
        "call:setuid:0",
        "call:setpriority:0:0:0",
        "mounted:/var",
        "status:NoNewPrivs",
        "status:Seccomp",
        "sh:cp /bin/true /tmp/true && exec /tmp/true",
        "call:chown:0:0:0",
    ];
    let seen = lab.look("strict", &body, &words);
    seen.expect(&[
        ("create:/var/lib/of-strict", "ok"),
        ("create:/tmp", "ok"),
        ("umask", "0077"),
        ("open:/proc/meminfo", "ENOENT"),
        ("status:CapBnd", "0000000000000000"),
        ("socket:16:3", "EAFNOSUPPORT"),
        ("socket:2:1", "ok"),
        ("call:memfd_create:0:0", "EPERM"),
        ("call:setuid:0", "EPERM"),
        ("call:setpriority:0:0:0", "EPERM"),
        ("call:chown:0:0:0", "EPERM"),
        ("status:NoNewPrivs", "1"),
        ("status:Seccomp", "2"),
    ]);
    for question in ["create:/var", "create:/run", "create:/usr"] {
        assert!(["EROFS", "EACCES"].contains(&&seen[question]), "{question}: {seen:?}");
    }
    assert!(seen["sh:cp /bin/true /tmp/true && exec /tmp/true"].contains("denied"), "{seen:?}");
    let degraded = lab.instance.status("strict")["degraded"].to_string();
    if !degraded.contains("memory_deny_write_execute") {
        assert_eq!(&seen["wx"], "EACCES");
    }
    lab.refused("root", "[security]\nprofile = \"strict\"\n", &["strict", "user"]);
}

#[test]
fn host_is_only_a_group_and_a_log_and_login_keeps_the_limits_besides() {
    let Some(lab) = Lab::new() else { return };
    let own = std::fs::read_to_string("/proc/self/status").expect("status");
    let own = own.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).expect("bounding set").to_owned();
    let mut words: Vec<String> =
        ["mnt", "pid", "ipc", "uts", "net", "user", "cgroup"].map(|kind| format!("link:/proc/self/ns/{kind}")).to_vec();
    words.extend(
        ["status:NoNewPrivs", "status:Seccomp", "status:CapBnd", "create:/usr", "read:/proc/self/cgroup"]
            .map(str::to_owned),
    );
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    for profile in ["host", "login"] {
        let seen = lab.look(profile, &format!("[security]\nprofile = \"{profile}\"\n"), &words);
        for kind in ["mnt", "pid", "ipc", "uts", "net", "user", "cgroup"] {
            assert_eq!(seen[format!("link:/proc/self/ns/{kind}").as_str()], host_namespace(kind), "{profile}: {kind}");
        }
        seen.expect(&[
            ("status:NoNewPrivs", "0"),
            ("status:Seccomp", "0"),
            ("status:CapBnd", &own),
            ("create:/usr", "ok"),
        ]);
        assert!(seen["read:/proc/self/cgroup"].contains(&format!("/{profile}")), "{seen:?}");
    }
}

#[test]
fn a_line_of_the_unit_wins_over_the_profile() {
    let Some(lab) = Lab::new() else { return };
    let body = "[security]\nprofile = \"host\"\nno_new_privileges = true\nrestrict_suid_sgid = true\n";
    let chmod = format!("chmod:{}/f:4755", lab.path());
    lab.look("mixed", body, &["status:NoNewPrivs", "status:Seccomp", &chmod]).expect(&[
        ("status:NoNewPrivs", "1"),
        ("status:Seccomp", "2"),
        (&chmod, "EPERM"),
    ]);
}

//! What a unit gets that says only `exec`.

use crate::instance::eventually;
use crate::lab::{CAPABILITY_SETS, Lab, Seen, host_namespace};

/// CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE SYS_CHROOT, by number.
const TEN: &str = "00000000000405fb";
const NONE: &str = "0000000000000000";

/// Runs a unit of nothing but `exec`; its answers go to a file, as even the log's target is a default.
#[track_caller]
fn only_exec(lab: &Lab, name: &str, words: &[&str]) -> Seen {
    let file = format!("{}/{name}.answers", lab.path());
    let to = format!("to:{file}");
    let words: Vec<&str> = [to.as_str()].into_iter().chain(words.iter().copied()).collect();
    lab.instance.unit_as_is(name, &format!("[service]\n{}", lab.exec(&words)));
    lab.instance.rsvc(&["start", name]).expect(0);
    let text =
        eventually("the answers", || std::fs::read_to_string(&file).ok().filter(|text| text.contains("@@end\t")));
    Lab::answers(&text)
}

#[test]
fn a_unit_with_only_exec_runs_as_root_with_ten_capabilities_a_filter_and_a_clean_process() {
    let Some(lab) = Lab::new() else { return };
    let more = [
        "status:NoNewPrivs",
        "status:Seccomp",
        "status:Uid",
        "status:Gid",
        "status:Groups",
        "status:SigPnd",
        "status:ShdPnd",
        "status:SigBlk",
        "status:SigIgn",
        "status:SigCgt",
        "umask",
        "cwd",
        "nice",
        "session",
        "read:/proc/self/oom_score_adj",
        "descriptor:0",
        "limit:Max open files",
        "limit:Max core file size",
        "env",
    ];
    let seen = only_exec(&lab, "process", &[&CAPABILITY_SETS[..], &more[..]].concat());
    seen.expect(&[
        ("status:CapInh", NONE),
        ("status:CapPrm", TEN),
        ("status:CapEff", TEN),
        ("status:CapBnd", TEN),
        ("status:CapAmb", NONE),
        ("status:NoNewPrivs", "1"),
        ("status:Seccomp", "2"),
        ("status:Uid", "0\t0\t0\t0"),
        ("status:Gid", "0\t0\t0\t0"),
        ("status:Groups", "0"),
        ("status:SigPnd", NONE),
        ("status:ShdPnd", NONE),
        ("status:SigBlk", NONE),
        ("status:SigIgn", NONE),
        ("status:SigCgt", NONE),
        ("umask", "0022"),
        ("cwd", "/"),
        ("nice", "0"),
        ("session", "true"),
        ("read:/proc/self/oom_score_adj", "0"),
        ("descriptor:0", "char 1:3"),
    ]);
    assert!(seen["limit:Max open files"].starts_with("1024:"), "{seen:?}");
    assert!(seen["limit:Max core file size"].starts_with("0:"), "{seen:?}");
    let journal = std::path::Path::new("/run/systemd/journal/stdout").exists();
    let names: Vec<&str> = seen["env"].split('|').filter_map(|variable| variable.split('=').next()).collect();
    assert_eq!(
        names,
        if journal {
            vec!["INVOCATION_ID", "JOURNAL_STREAM", "LANG", "PATH"]
        } else {
            vec!["INVOCATION_ID", "LANG", "PATH"]
        }
    );
    assert!(seen["env"].contains("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
}

#[test]
fn only_the_standard_descriptors_are_open() {
    let Some(lab) = Lab::new() else { return };
    // Not to a file, which would be one more.
    lab.look("fds", "", &["fds"]).expect(&[("fds", "0 1 2")]);
}

#[test]
fn a_unit_with_only_exec_may_write_run_var_and_tmp_and_nothing_else() {
    let Some(lab) = Lab::new() else { return };
    let host_tmp = tempfile::Builder::new().prefix("rsvc-inside-").tempdir_in("/tmp").expect("directory");
    let seen = only_exec(
        &lab,
        "files",
        &[
            "create:/usr",
            "create:/etc",
            "create:/",
            "create:/opt",
            "create:/srv",
            "create:/boot",
            "create:/var",
            "create:/var/lib",
            "create:/run",
            "create:/tmp",
            "create:/var/tmp",
            "create:/dev/shm",
            "create:/var/lib/dpkg",
            "create:/var/lib/apt",
            "create:/var/lib/systemd",
            "create:/var/cache/apt",
            "create:/var/spool/cron",
            "create:/dev",
            "create:/home",
            "create:/root",
            "list:/home",
            "list:/root",
            "list:/tmp",
            "list:/var/tmp",
            "list:/run/user",
            "list:/run/dbus",
            "list:/usr/lib/modules",
            "openw:/etc/passwd",
            "chmod:/var/lib/apt/lists:0755",
        ],
    );
    seen.expect(&[
        ("create:/usr", "EROFS"),
        ("create:/etc", "EROFS"),
        ("create:/", "EROFS"),
        ("create:/opt", "EROFS"),
        ("create:/srv", "EROFS"),
        ("create:/boot", "EROFS"),
        ("create:/var", "ok"),
        ("create:/var/lib", "ok"),
        ("create:/run", "ok"),
        ("create:/tmp", "ok"),
        ("create:/var/tmp", "ok"),
        ("create:/dev/shm", "ok"),
        ("create:/dev", "EROFS"),
        ("list:/tmp", ""),
        ("list:/var/tmp", ""),
        ("openw:/etc/passwd", "EROFS"),
    ]);
    for place in ["/var/lib/dpkg", "/var/lib/apt", "/var/lib/systemd", "/var/cache/apt", "/var/spool/cron"] {
        if std::path::Path::new(place).exists() {
            assert_eq!(&seen[&format!("create:{place}")], "EROFS", "{place}");
        }
    }
    for place in ["/home", "/root"] {
        if std::path::Path::new(place).exists() {
            assert!(["EROFS", "EACCES"].contains(&&seen[&format!("create:{place}")]), "{place}: {seen:?}");
        }
    }
    for place in ["/home", "/root", "/run/user", "/run/dbus", "/usr/lib/modules"] {
        if std::path::Path::new(place).exists() {
            assert_eq!(&seen[&format!("list:{place}")], "", "{place} is hidden");
        }
    }
    drop(host_tmp);
}

#[test]
fn a_unit_with_only_exec_has_a_minimal_dev_and_a_working_dev_log() {
    let Some(lab) = Lab::new() else { return };
    let seen = only_exec(
        &lab,
        "dev",
        &[
            "list:/dev",
            "stat:/dev/null",
            "stat:/dev/zero",
            "stat:/dev/full",
            "stat:/dev/random",
            "stat:/dev/urandom",
            "stat:/dev/tty",
            "openw:/dev/null",
            "open:/dev/urandom",
            "mounted:/dev",
            "mounted:/dev/shm",
            "mounted:/dev/pts",
            "mounted:/dev/mqueue",
            "log:inside",
            "link:/dev/fd",
            "stat:/dev/shm",
            "mknod:/dev/shm/x:c:1:3",
        ],
    );
    seen.expect(&[
        ("stat:/dev/null", "char 0666 0:0 1:3"),
        ("stat:/dev/zero", "char 0666 0:0 1:5"),
        ("stat:/dev/full", "char 0666 0:0 1:7"),
        ("stat:/dev/random", "char 0666 0:0 1:8"),
        ("stat:/dev/urandom", "char 0666 0:0 1:9"),
        ("stat:/dev/tty", "char 0666 0:0 5:0"),
        ("openw:/dev/null", "ok"),
        ("open:/dev/urandom", "ok"),
        ("mounted:/dev", "tmpfs ro,nosuid,noexec"),
        ("mounted:/dev/shm", "tmpfs rw,nosuid,nodev,noexec"),
        ("mounted:/dev/pts", "devpts rw,nosuid,noexec"),
        ("mounted:/dev/mqueue", "mqueue rw,nosuid,nodev,noexec"),
        ("log:inside", "ok"),
        ("link:/dev/fd", "/proc/self/fd"),
        ("stat:/dev/shm", "dir 1777 0:0"),
        ("mknod:/dev/shm/x:c:1:3", "EPERM"),
    ]);
    let names = seen["list:/dev"].replace(" rsvc", "");
    assert_eq!(names, "fd full log mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero");
}

#[test]
fn a_unit_with_only_exec_sees_its_own_processes_and_no_steering_wheel_of_the_kernel() {
    let Some(lab) = Lab::new() else { return };
    let seen = only_exec(
        &lab,
        "proc",
        &[
            "pid",
            "read:/proc/1/comm",
            "open:/proc/1/environ",
            "open:/proc/1/mem",
            "link:/proc/1/exe",
            "link:/proc/1/cwd",
            "openw:/proc/sys/kernel/hostname",
            "openw:/proc/sysrq-trigger",
            "read:/proc/kallsyms",
            "read:/proc/keys",
            "read:/proc/timer_list",
            "open:/proc/kmsg",
            "open:/proc/kcore",
            "mounted:/proc",
            "mounted:/proc/sys",
            "create:/sys/kernel",
            "openw:/sys/kernel/mm/transparent_hugepage/enabled",
            "mounted:/sys/kernel/debug",
            "list:/sys/firmware",
            "create:/sys/fs/cgroup",
            "sh:ls -d /proc/[0-9]* | wc -l",
            "open:/proc/meminfo",
        ],
    );
    assert_ne!(&seen["pid"], "1", "a tiny init is pid 1");
    seen.expect(&[
        ("open:/proc/1/mem", "EACCES"),
        ("openw:/proc/sys/kernel/hostname", "EROFS"),
        ("read:/proc/kallsyms", ""),
        ("read:/proc/keys", ""),
        ("read:/proc/timer_list", ""),
        ("mounted:/proc", "proc rw,nosuid,nodev,noexec"),
        ("open:/proc/meminfo", "ok"),
        ("list:/sys/firmware", ""),
    ]);
    // pid 1, the probe, the shell and its two children.
    assert!(seen["sh:ls -d /proc/[0-9]* | wc -l"].parse::<u32>().is_ok_and(|count| count <= 5), "{seen:?}");
    for question in ["open:/proc/1/environ", "link:/proc/1/exe", "link:/proc/1/cwd"] {
        assert!(["EACCES", "EPERM"].contains(&&seen[question]), "pid 1 is not dumpable: {seen:?}");
    }
    assert!(seen["read:/proc/1/comm"].contains("rsvc-init"), "{seen:?}");
    for question in ["create:/sys/kernel", "create:/sys/fs/cgroup", "openw:/proc/sysrq-trigger"] {
        // Not every kernel has sysrq.
        if question.contains("sysrq") && !std::path::Path::new("/proc/sysrq-trigger").exists() {
            continue;
        }
        assert!(["EROFS", "EPERM", "EACCES"].contains(&&seen[question]), "{question}: {seen:?}");
    }
}

#[test]
fn a_unit_with_only_exec_has_own_namespaces_but_the_hosts_network_and_time() {
    let Some(lab) = Lab::new() else { return };
    let kinds = ["mnt", "pid", "ipc", "uts", "cgroup", "net", "time", "user"];
    let questions: Vec<String> = kinds.iter().map(|kind| format!("link:/proc/self/ns/{kind}")).collect();
    let mut words: Vec<&str> = questions.iter().map(String::as_str).collect();
    words.extend(["keyring", "read:/proc/self/cgroup"]);
    let first = only_exec(&lab, "first", &words);
    let second = only_exec(&lab, "second", &words);
    for (kind, question) in kinds.iter().zip(&questions) {
        let own = !["net", "time", "user"].contains(kind);
        assert_eq!(first[question] != host_namespace(kind), own, "{kind}: {first:?}");
    }
    assert!(first["keyring"].parse::<i64>().is_ok(), "{first:?}");
    assert_ne!(first["keyring"], second["keyring"], "each start has a session keyring of its own");
    let unified = first["read:/proc/self/cgroup"].split('|').find_map(|line| line.strip_prefix("0::"));
    assert_eq!(unified, Some("/"), "the unit's own group is the root: {first:?}");
}

#[test]
fn dangerous_calls_answer_eperm_and_unknown_ones_enosys() {
    let Some(lab) = Lab::new() else { return };
    let denied = [
        "bpf",
        "perf_event_open",
        "ptrace",
        "kexec_load",
        "init_module",
        "delete_module",
        "swapon",
        "reboot",
        "open_by_handle_at",
        "io_uring_setup",
        "userfaultfd",
        "process_vm_readv",
        "kcmp",
        "mount_setattr",
        "move_mount",
        "fsopen",
        "pivot_root",
        "syslog",
        "sethostname",
        "settimeofday",
        "clock_settime",
        "acct",
        "iopl",
    ];
    let mut words: Vec<String> = denied.iter().map(|name| format!("call:{name}")).collect();
    words.extend(
        [
            "call:clone3",
            "call:9999",
            "call:unshare:0x10000000",
            "unshare:0x20000",
            "unshare:0x40000000",
            "mount:/tmp",
            "call:setns:0:0",
            "call:personality:0x40000",
            "call:personality:0xffffffff",
            "realtime",
            "chmod:/tmp/f:4755",
            "chmod:/tmp/f:2755",
            "chmod:/tmp/f:0755",
            "tiocsti",
            "socket:17:3",
            "socket:38:5",
            "socket:40:1",
            "socket:1:1",
            "socket:2:1",
            "socket:10:1",
            "socket:16:3",
            "wx",
        ]
        .map(str::to_owned),
    );
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let seen = only_exec(&lab, "calls", &words);
    let wanted: Vec<(String, &str)> = denied.iter().map(|name| (format!("call:{name}"), "EPERM")).collect();
    let wanted: Vec<(&str, &str)> = wanted.iter().map(|(word, answer)| (word.as_str(), *answer)).collect();
    seen.expect(&wanted);
    seen.expect(&[
        ("call:clone3", "ENOSYS"),
        ("call:9999", "ENOSYS"),
        ("call:unshare:0x10000000", "EPERM"),
        ("unshare:0x20000", "EPERM"),
        ("unshare:0x40000000", "EPERM"),
        ("mount:/tmp", "EPERM"),
        ("call:setns:0:0", "EPERM"),
        ("call:personality:0x40000", "EPERM"),
        ("call:personality:0xffffffff", "EPERM"),
        ("realtime", "EPERM"),
        ("chmod:/tmp/f:4755", "EPERM"),
        ("chmod:/tmp/f:2755", "EPERM"),
        ("chmod:/tmp/f:0755", "ok"),
        ("tiocsti", "EPERM"),
        ("socket:17:3", "EAFNOSUPPORT"),
        ("socket:38:5", "EAFNOSUPPORT"),
        ("socket:40:1", "EAFNOSUPPORT"),
        ("socket:1:1", "ok"),
        ("socket:2:1", "ok"),
        ("socket:16:3", "ok"),
        ("wx", "ok"),
    ]);
}

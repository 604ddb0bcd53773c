//! `[capabilities]`, `[syscalls]` and the single protections of `[security]`.

use crate::instance::{eventually, skipped};
use crate::lab::{CAPABILITY_SETS, Lab, Seen};

/// The five sets, in the order of their questions.
fn sets(seen: &Seen) -> [u64; 5] {
    CAPABILITY_SETS.map(|question| u64::from_str_radix(&seen[question], 16).expect("a mask"))
}

const NET_BIND_SERVICE: u64 = 1 << 10;
const CHOWN: u64 = 1 << 0;

#[test]
fn capabilities_are_exactly_the_listed_ones_in_all_five_sets() {
    let Some(lab) = Lab::new() else { return };
    let look = |name: &str, body: &str| sets(&lab.look(name, body, &CAPABILITY_SETS));
    let of_root = look("root", "[capabilities]\nbounding = [\"CAP_CHOWN\", \"NET_BIND_SERVICE\"]\n");
    let two = CHOWN | NET_BIND_SERVICE;
    assert_eq!(of_root, [0, two, two, two, 0]);
    assert_eq!(look("none", "[capabilities]\nbounding = []\n"), [0; 5]);
    let of_a_user = look("ambient", "user = \"54321\"\n[capabilities]\nambient = [\"CAP_NET_BIND_SERVICE\"]\n");
    assert_eq!(of_a_user, [NET_BIND_SERVICE; 5]);
    let wider =
        look("wider", "user = \"54321\"\n[capabilities]\nambient = [\"CHOWN\"]\nbounding = [\"NET_BIND_SERVICE\"]\n");
    assert_eq!(wider, [CHOWN, CHOWN, CHOWN, two, CHOWN]);
    // "all" is what the daemon has.
    let own = std::fs::read_to_string("/proc/self/status").expect("status");
    let own = own.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).expect("bounding set").to_owned();
    let more = "[security]\noptional = [\"capabilities.bounding\"]\n";
    let open = "protect_clock = false\nprotect_kernel_modules = false\nprotect_kernel_logs = false\n";
    let every = "[capabilities]\nbounding = [\"all\"]\n";
    let own = u64::from_str_radix(&own, 16).expect("a mask");
    assert_eq!(look("all", &format!("{every}{more}{open}")), [0, own, own, own, 0]);
    // What a protection takes away cannot be asked for beside it.
    let words =
        ["security.protect_clock", "security.protect_kernel_modules", "security.protect_kernel_logs", "taken.toml:5"];
    lab.refused("taken", &format!("{every}{more}"), &words);
}

#[test]
fn a_low_port_needs_the_capability_and_a_capability_the_daemon_lacks_is_refused() {
    let Some(lab) = Lab::new() else { return };
    // In a network of the unit's own, where nobody else can have the port.
    let (user, network) = ("user = \"54321\"\n", "[network]\nmode = \"loopback\"\n");
    let capable = format!("{user}[capabilities]\nambient = [\"NET_BIND_SERVICE\"]\n{network}");
    lab.look("low", &capable, &["bind:81"]).expect(&[("bind:81", "ok")]);
    lab.look("high", &format!("{user}{network}"), &["bind:81"]).expect(&[("bind:81", "EACCES")]);
    let own = std::fs::read_to_string("/proc/self/status").expect("status");
    let own = own.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).expect("bounding set").to_owned();
    let own = u64::from_str_radix(&own, 16).expect("a mask");
    let all = ["SYS_RESOURCE", "MAC_ADMIN", "AUDIT_READ"].into_iter().zip([24, 33, 37]);
    let Some((name, _)) = all.into_iter().find(|(_, bit)| own & (1u64 << bit) == 0) else {
        return skipped("the tests have every capability");
    };
    lab.refused(
        "lacking",
        &format!("[capabilities]\nbounding = [\"{name}\"]\n"),
        &[name, "lacking.toml:5", "capabilities.bounding"],
    );
}

#[test]
fn allow_deny_errno_and_unknown_errno_decide_about_each_call() {
    let Some(lab) = Lab::new() else { return };
    let words = [
        "call:getppid",
        "call:setns:0:0",
        "call:personality:0xffffffff",
        "call:personality:0x40000",
        "call:bpf",
        "call:9999",
        "call:clone3",
    ];
    let allow = "[syscalls]\nallow = [\"@system-service\", \"personality\"]\ndeny = [\"getppid\"]\nerrno = \"EACCES\"\nunknown_errno = \"EXDEV\"\n";
    lab.look("lists", allow, &words).expect(&[
        ("call:getppid", "EACCES"),
        ("call:personality:0xffffffff", "ok"),
        ("call:personality:0x40000", "EPERM"),
        ("call:bpf", "EACCES"),
        ("call:9999", "EXDEV"),
        ("call:clone3", "ENOSYS"),
    ]);
    let few = "[syscalls]\nallow = [\"@default\"]\n";
    lab.look("few", few, &["call:sync", "socket:1:1", "open:/dev/null", "call:getuid"]).expect(&[
        ("call:sync", "EPERM"),
        ("socket:1:1", "EPERM"),
        ("open:/dev/null", "EPERM"),
        ("call:getuid", "ok"),
    ]);
}

#[test]
fn an_empty_list_allows_nothing() {
    let Some(lab) = Lab::new() else { return };
    // Not even what the C library asks for before `main`: whether the probe comes that far is not ours to say.
    let path = lab.unit("nothing", "[syscalls]\nallow = []\n", &["call:getppid", "call:getuid", "open:/dev/null"]);
    assert!(path.exists());
    lab.instance.rsvc(&["start", "nothing"]);
    let log = lab.instance.log("nothing");
    for question in ["call:getppid", "call:getuid", "open:/dev/null"] {
        assert!(!log.contains(&format!("@@{question}\tok")), "{log}");
    }
}

#[test]
fn a_denied_call_kills_when_the_unit_says_so_and_status_names_the_signal() {
    let Some(lab) = Lab::new() else { return };
    let body = "[syscalls]\non_deny = \"kill-process\"\n";
    lab.unit("killed", body, &["call:getppid", "call:bpf", "call:getuid"]);
    let said = lab.instance.rsvc(&["start", "killed"]).expect(1);
    assert!(said.err.contains("SIGSYS"), "{}", said.err);
    for word in ["kill-process", "hint:", "notify-errno"] {
        assert!(said.err.contains(word), "{}", said.err);
    }
    let log = lab.instance.wait_for_log("killed", "@@call:getppid\tok");
    assert!(!log.contains("@@call:bpf") && !log.contains("@@call:getuid"), "{log}");
    let status = lab.instance.status("killed");
    assert_eq!(status["exit_signal"], "SIGSYS", "{status:#}");
    let line = || {
        let log = std::process::Command::new("dmesg").output().map(|said| said.stdout).unwrap_or_default();
        String::from_utf8_lossy(&log).lines().any(|line| line.contains("type=1326") && line.contains("syscall=321 "))
    };
    // A thread of the kernel writes it, a moment later.
    let shows = (0..40).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        line()
    });
    if shows {
        let cause = || {
            let status = lab.instance.status("killed");
            status["cause"].as_str().filter(|cause| cause.contains("denied `bpf`")).map(str::to_owned)
        };
        let cause = eventually("status names the call", cause);
        assert!(cause.contains("syscalls.allow.append = [\"bpf\"]"), "{cause}");
    } else {
        skipped("the kernel's log tells nothing of calls that killed: their names");
    }
    // Unknown numbers are still answered, or every new C library would be killed for asking.
    lab.look("asked", body, &["call:9999", "call:clone3"])
        .expect(&[("call:9999", "ENOSYS"), ("call:clone3", "ENOSYS")]);
}

#[test]
fn a_logging_filter_lets_calls_pass_and_an_absent_one_too_while_protections_hold() {
    let Some(lab) = Lab::new() else { return };
    let words = [
        "call:bpf:-1",
        "call:kcmp:0:0:999",
        "unshare:0x20000",
        "call:personality:0x40000",
        "status:Seccomp",
        "socket:17:3",
        "realtime",
        "tiocsti",
    ];
    for mode in ["log", "off"] {
        let seen = lab.look(mode, &format!("[syscalls]\nmode = \"{mode}\"\n"), &words);
        // Carried out: the kernel complains about the arguments.
        assert!(["EINVAL", "ESRCH", "EPERM"].contains(&&seen["call:bpf:-1"]));
        assert_eq!(&seen["call:kcmp:0:0:999"], "ESRCH", "{mode}: {seen:?}");
        seen.expect(&[
            ("unshare:0x20000", "EPERM"),
            ("call:personality:0x40000", "EPERM"),
            ("status:Seccomp", "2"),
            ("socket:17:3", "EAFNOSUPPORT"),
            ("realtime", "EPERM"),
            ("tiocsti", "EPERM"),
        ]);
    }
}

#[test]
fn each_protection_can_be_switched_off_alone() {
    let Some(lab) = Lab::new() else { return };
    let off = |key: &str, more: &str| format!("{more}[security]\n{key} = false\n");
    let calls = "[syscalls]\nallow = [\"@system-service\", \"personality\", \"unshare\", \"setns\", \"@clock\", \"@module\", \"syslog\", \"sethostname\"]\n";
    let personality = "call:personality:0x40000";
    lab.look("personality", &off("lock_personality", calls), &[personality, "realtime"]).expect(&[(personality, "ok")]);
    let seen = lab.look("suid", &off("restrict_suid_sgid", ""), &["chmod:/tmp/f:4755", "stat:/tmp/f"]);
    seen.expect(&[("chmod:/tmp/f:4755", "ok"), ("stat:/tmp/f", "file 4755 0:0")]);
    // Real-time scheduling needs CAP_SYS_NICE besides, and on cgroup v1 CPU groups may have no real-time share at all.
    let nice = "[capabilities]\nbounding = [\"SYS_NICE\"]\n";
    let seen = lab.look("realtime", &off("restrict_realtime", nice), &["realtime"]);
    if std::path::Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
        skipped("new CPU groups of this host have no real-time share: only the refusal is looked at");
    } else {
        seen.expect(&[("realtime", "ok")]);
    }
    lab.look("no-realtime", nice, &["realtime"]).expect(&[("realtime", "EPERM")]);
    let user = "unshare:0x10000000";
    lab.look("namespaces", &off("restrict_namespaces", calls), &[user]).expect(&[(user, "ok")]);
    let body = format!("{calls}[security]\nrestrict_namespaces = [\"user\"]\n");
    lab.look("user-only", &body, &["unshare:0x20000", user]).expect(&[("unshare:0x20000", "EPERM"), (user, "ok")]);
    lab.look("privileges", &off("no_new_privileges", ""), &["status:NoNewPrivs", "status:Seccomp"])
        .expect(&[("status:NoNewPrivs", "0"), ("status:Seccomp", "2")]);
    let seen = lab.look(
        "tunables",
        &off("protect_kernel_tunables", ""),
        &["openw:/proc/sys/kernel/domainname", "mounted:/proc/sys"],
    );
    seen.expect(&[("openw:/proc/sys/kernel/domainname", "ok"), ("mounted:/proc/sys", "no mount")]);
    let seen = lab.look("modules", &off("protect_kernel_modules", calls), &["mounted:/usr/lib/modules"]);
    seen.expect(&[("mounted:/usr/lib/modules", "no mount")]);
    let seen = lab.look("logs", &off("protect_kernel_logs", calls), &["mounted:/proc/kmsg", "call:syslog:10:0:0"]);
    seen.expect(&[("mounted:/proc/kmsg", "no mount")]);
    let groups = lab.look(
        "groups",
        &off("protect_control_groups", "[namespaces]\ncgroup = \"host\"\n"),
        &["mounted:/sys/fs/cgroup"],
    );
    assert!(!groups["mounted:/sys/fs/cgroup"].contains("size=4k"), "{groups:?}");
}

#[test]
fn clock_modules_log_and_host_name_are_out_of_reach_even_without_a_list_of_calls() {
    let Some(lab) = Lab::new() else { return };
    let body = "[capabilities]\nbounding = [\"SYS_ADMIN\"]\n[syscalls]\nmode = \"off\"\n";
    let words = [
        "call:settimeofday:0:0",
        "call:clock_settime:0:0",
        "call:init_module:0:0:0",
        "call:delete_module:0:0",
        "call:syslog:10:0:0",
        "call:sethostname:0:0",
    ];
    let seen = lab.look("all", body, &words);
    for word in words {
        assert_eq!(&seen[word], "EPERM", "{word}");
    }
}

#[test]
fn memory_is_never_writable_and_executable_when_the_unit_says_so() {
    let Some(lab) = Lab::new() else { return };
    let body = "[security]\nmemory_deny_write_execute = true\n";
    lab.unit("wx", body, &["wx"]);
    let said = lab.instance.rsvc(&["start", "wx"]);
    if said.err.contains("PR_SET_MDWE") {
        assert_eq!(said.code, 1);
        return skipped("this kernel has no PR_SET_MDWE: the unit is refused");
    }
    lab.seen("wx").expect(&[("wx", "EACCES")]);
}

#[test]
fn the_session_keyring_is_new_or_the_daemons() {
    let Some(lab) = Lab::new() else { return };
    let private = [lab.look("one", "", &["keyring"]), lab.look("two", "", &["keyring"])];
    assert_ne!(private[0]["keyring"], private[1]["keyring"]);
    let body = "[security]\nkeyring = \"inherit\"\n";
    let shared = [lab.look("three", body, &["keyring"]), lab.look("four", body, &["keyring"])];
    assert_eq!(shared[0]["keyring"], shared[1]["keyring"]);
}

/// What a host with the module does is tested on one (tests/vm/apparmor.sh).
#[test]
fn a_label_of_a_security_module_that_is_not_at_work_refuses_the_start() {
    let Some(lab) = Lab::new() else { return };
    let modules = [
        ("apparmor_profile", "AppArmor", "/sys/module/apparmor/parameters/enabled"),
        ("selinux_context", "SELinux", "/sys/fs/selinux/enforce"),
    ];
    for (key, name, sign) in modules {
        if std::fs::read_to_string(sign).is_ok_and(|text| !text.starts_with('N')) {
            skipped(&format!("{name} is at work here"));
            continue;
        }
        let body = format!("[security]\n{key} = \"system_u:system_r:web_t\"\n");
        lab.refused(key, &body, &[name, "not at work", &format!("{key}.toml:"), &format!("security.{key}")]);
        let body = format!("{body}optional = [\"security.{key}\"]\n");
        lab.look(&format!("{key}-optional"), &body, &["pid"]);
        let degraded = lab.instance.status(&format!("{key}-optional"))["degraded"].to_string();
        assert!(degraded.contains(key), "{degraded}");
    }
}

//! Section D: what the kernel offers to everybody, and what crosses between services.

use crate::canary::Canary;
use crate::instance::{Instance, eventually};
use crate::lab::Lab;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

const SLEEP: &str = "[service]\nexec = [\"/bin/sleep\", \"1000\"]\ntimeout_stop = \"300ms\"\n";

/// The doors of `rsvc verify` by their names.
fn doors(instance: &Instance, unit: &str) -> BTreeMap<String, Value> {
    let said = instance.rsvc(&["verify", "-o", "json", unit]).expect(0);
    let doors = said.out.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    doors.map(|door| (door["id"].as_str().expect("a name").to_owned(), door)).collect()
}

/// Rows 36, 41 to 43, 45 to 49, 51 to 53, 56: doors that a unit with nothing but a program closes. Those that are open
/// without a sandbox on this host show that the probe can find them so.
#[test]
fn interfaces_of_the_kernel_are_closed_and_the_same_probe_finds_them_open_without_a_sandbox() {
    root_only!();
    let instance = Instance::start();
    let user = format!("{SLEEP}user = \"nobody\"\n");
    let every = format!(
        "{SLEEP}[capabilities]\nbounding = [\"SYS_ADMIN\", \"DAC_OVERRIDE\", \"DAC_READ_SEARCH\", \"MKNOD\", \"NET_RAW\", \"NET_ADMIN\", \
         \"SYS_RAWIO\", \"SYS_BOOT\", \"SYS_PTRACE\", \"SYS_CHROOT\", \"SYS_NICE\", \"SETUID\", \"SETGID\"]\n"
    );
    let host = format!("{SLEEP}[security]\nprofile = \"host\"\n");
    for (name, text) in [("plain", SLEEP), ("user", &user), ("every", &every), ("host", &host)] {
        instance.unit(name, text);
        instance.rsvc(&["start", name]).expect(0);
    }
    const ROWS: [&str; 43] = [
        "file-handle",
        "release-agent",
        "cgroup-procs",
        "cgroup-make",
        "fsopen-cgroup",
        "proc-sys",
        "core-pattern",
        "modprobe-path",
        "binfmt",
        "sysrq",
        "irq",
        "kcore",
        "kallsyms",
        "proc-keys",
        "timers",
        "kmsg",
        "sys",
        "uevent-helper",
        "tracing",
        "firmware",
        "mount",
        "unshare-user",
        "clone-user",
        "clone3",
        "setns",
        "unknown-call",
        "x32",
        "x86",
        "socket-alg",
        "io-uring",
        "socket-packet",
        "bpf",
        "perf",
        "userfaultfd",
        "process-vm-readv",
        "kcmp",
        "quota",
        "kexec",
        "init-module",
        "dev-mem",
        "dev-kmsg",
        "dev-disks",
        "device-by-number",
    ];
    let open = doors(&instance, "host");
    let mut shown = 0;
    for unit in ["plain", "user", "every"] {
        let doors = doors(&instance, unit);
        for row in ROWS {
            // With every capability a node can be made; the device rules still refuse what is no standard one.
            assert_eq!(doors[row]["verdict"], "closed", "{unit}: {}", doors[row]);
            shown += usize::from(open[row]["verdict"] == "open");
        }
    }
    assert!(shown > 3 * 20, "the probe finds few of them open at all: {shown}");
}

/// Row 54: the old way out of a changed root directory, with a second one.
#[test]
fn a_second_change_of_the_root_directory_leads_nowhere() {
    root_and_perl!();
    let instance = Instance::start();
    let script = "mkdir \"/tmp/jail\"; chdir \"/tmp\"; chroot \"/tmp/jail\" or print \"no chroot $!\\n\"; \
                  for (1 .. 64) { chdir \"..\" } chroot \".\"; my $found = -e \"CANARY\" ? \"found\" : \"nothing\"; \
                  my $usr = -d \"/usr/bin\" ? \"tree\" : \"empty\"; print \"$usr $found\\n\";";
    let canary = Canary::new();
    let place = canary.path().join("inner");
    // Hidden inside, there outside.
    let hidden = format!("[filesystem]\ninaccessible_paths = [{:?}]\n", canary.path());
    let script = script.replace("CANARY", place.to_str().expect("a plain path"));
    let unit = |more: &str| {
        format!(
            "[service]\ntype = \"oneshot\"\nexec = [\"/usr/bin/perl\", \"-e\", '''{script}''']\n[restart]\npolicy = \"no\"\n{more}"
        )
    };
    instance.unit("jailed", &unit(&hidden));
    instance.rsvc(&["start", "jailed"]).expect(0);
    assert!(instance.wait_for_log("jailed", "tree").contains("tree nothing"), "{}", instance.log("jailed"));
    // Where the root was only changed, as there is no sandbox around, the same steps lead back to the top.
    instance.unit("loose", &unit("[security]\nprofile = \"host\"\n"));
    instance.rsvc(&["start", "loose"]).expect(0);
    assert!(instance.wait_for_log("loose", "tree").contains("tree found"), "{}", instance.log("loose"));
    let _ = fs::remove_dir("/tmp/jail");
}

/// Row 57: a mount made inside stays there, and one of the host does not come in.
#[test]
fn mounts_do_not_spread() {
    let Some(lab) = Lab::new() else { return };
    let canary = Canary::new();
    let every = "[capabilities]\nbounding = [\"SYS_ADMIN\", \"DAC_OVERRIDE\"]\n[syscalls]\nallow = [\"@known\"]\n[security]\nrestrict_namespaces = false\n";
    let place = canary.path().join("inner");
    let mount = format!("mount:{}", place.display());
    let seen = lab.look("inside", every, &["read:/proc/self/mountinfo", &mount]);
    assert_eq!(&seen[mount.as_str()], "ok", "it could not mount, so nothing is shown");
    canary.assert_untouched("a mount of a container came out");
    let table = &seen["read:/proc/self/mountinfo"];
    assert!(!table.contains(" shared:") && !table.contains(" master:"), "{table}");
    // Without a mount namespace it comes out: the canary can tell.
    let seen = lab.look("open", "[security]\nprofile = \"host\"\n", &[&mount]);
    assert_eq!(&seen[mount.as_str()], "ok");
    let table = fs::read_to_string("/proc/self/mountinfo").expect("proc");
    let came = table.lines().any(|line| line.split(' ').nth(4).is_some_and(|at| Path::new(at) == place));
    let status = std::process::Command::new("umount").arg(&place).status();
    assert!(came && status.is_ok_and(|status| status.success()));
}

/// Row 61: a service that forks without end has its number of tasks, and can be stopped.
#[test]
fn a_fork_bomb_fills_its_own_limit_and_ends_with_the_unit() {
    root_and_perl!();
    let instance = Instance::start();
    // Each goes on as the first does; the pause is for the machine.
    let script = "while (1) { fork; select(undef, undef, undef, 0.05) }";
    instance.unit(
        "bomb",
        &format!(
            "[service]\nexec = [\"/usr/bin/perl\", \"-e\", '''{script}''']\ntimeout_stop = \"300ms\"\n[restart]\npolicy = \"no\"\n\
             [resources]\ntasks_max = 30\n[logging]\ntarget = \"null\"\n"
        ),
    );
    instance.unit("beside", SLEEP);
    instance.rsvc(&["start", "bomb"]).expect(0);
    let count = || instance.status("bomb")["tasks_current"].as_u64().unwrap_or(0);
    eventually("it has what it may have", || (count() >= 28).then_some(()));
    // Others are started and stopped meanwhile.
    instance.rsvc(&["start", "beside"]).expect(0);
    instance.rsvc(&["stop", "beside"]).expect(0);
    assert!(count() <= 31, "{}", count());
    instance.rsvc(&["stop", "bomb"]).expect(0);
    assert_eq!(count(), 0);
}

/// Row 65: who is not of a unit does not speak for it.
#[test]
fn a_stranger_on_the_notify_socket_is_not_believed() {
    root_and_perl!();
    let instance = Instance::start();
    let program = "use Socket; socket(S, AF_UNIX, SOCK_DGRAM, 0) or die; $| = 1; print \"up\\n\"; \
                   select(undef, undef, undef, 0.02) until -e \"$ENV{STATE_DIRECTORY}/go\"; \
                   send(S, qq(READY=1\\nSTATUS=itself), 0, sockaddr_un($ENV{NOTIFY_SOCKET})); sleep 1000;";
    instance.unit(
        "victim",
        &format!(
            "[service]\ntype = \"notify\"\nnotify_access = \"all\"\nexec = [\"/usr/bin/perl\", \"-e\", '''{program}''']\n\
             [directories]\nstate = [\"victim\"]\n"
        ),
    );
    instance.rsvc(&["start", "--no-wait", "victim"]).expect(0);
    instance.wait_for_log("victim", "up");
    let main = instance.main_process("victim");
    let socket = instance.file("run/io/victim/notify");
    let stranger = UnixDatagram::unbound().expect("a socket");
    for text in [
        "READY=1",
        "READY=1\nSTATUS=a stranger\nMAINPID=1",
        "STOPPING=1",
        "FDSTORE=1\nFDNAME=x",
        "WATCHDOG=trigger",
        "ERRNO=2\nBUSERROR=x",
    ] {
        stranger.send_to(text.as_bytes(), &socket).expect("root may write to it");
    }
    eventually("the stranger is named", || instance.daemon_log().contains("not believed").then_some(()));
    // Another service of the same user, with the host's view of files.
    let path = socket.display();
    let liar = format!(
        "use Socket; socket(S, AF_UNIX, SOCK_DGRAM, 0); send(S, qq(READY=1\\nSTATUS=a liar\\nMAINPID=$$), 0, sockaddr_un(qq({path}))) or die; print \"sent\\n\"; sleep 1000;"
    );
    instance.unit(
        "liar",
        &format!(
            "[service]\nexec = [\"/usr/bin/perl\", \"-e\", '''$| = 1; {liar}''']\n[security]\nprofile = \"host\"\n"
        ),
    );
    instance.rsvc(&["start", "liar"]).expect(0);
    instance.wait_for_log("liar", "sent");
    assert_eq!(instance.status("victim")["state"], "activating");
    fs::write(instance.file("state/directories/state/victim/go"), "").expect("file");
    let status = instance.wait_for_state("victim", "active");
    assert_eq!(status["status_text"], "itself");
    assert_eq!(instance.main_process("victim"), main);
    // In a sandbox the sockets of others are not even there.
    instance.unit("blind", SLEEP);
    instance.rsvc(&["start", "blind"]).expect(0);
    let said = instance.rsvc(&["exec", "blind", "--", "/bin/ls", &socket.display().to_string()]);
    assert_ne!(said.code, 0, "{said:?}");
}

/// Row 60: what a service prints is text, whatever it says of itself.
#[test]
fn printed_fields_are_text_and_escapes_do_not_reach_a_terminal() {
    root_and_perl!();
    let instance = Instance::start();
    let program = "print \"one\\nPRIORITY=0\\n_SYSTEMD_UNIT=other.service\\n\\e]0;title\\a\\e[2Jtwo\\0three\\nend\\n\"; sleep 1000;";
    instance.unit(
        "speaker",
        &format!("[service]\nexec = [\"/usr/bin/perl\", \"-e\", '''$| = 1; {program}''']\ntimeout_stop = \"300ms\"\n"),
    );
    instance.rsvc(&["start", "speaker"]).expect(0);
    instance.wait_for_log("speaker", "end");
    let said = instance.rsvc(&["logs", "speaker"]).expect(0);
    for line in ["PRIORITY=0", "_SYSTEMD_UNIT=other.service"] {
        assert!(said.out.lines().any(|shown| shown.ends_with(line)), "{line}: {}", said.out);
    }
    let status = instance.rsvc(&["status", "speaker"]);
    assert!(!status.out.contains('\u{1b}') && !status.out.contains('\0'), "{:?}", status.out);
    for entry in instance.rsvc(&["logs", "-o", "json", "speaker"]).expect(0).out.lines() {
        let entry: Value = serde_json::from_str(entry).expect("JSON");
        assert_eq!(entry["name"], "speaker", "{entry}");
    }
}

//! Who is believed, and who may command.

use crate::instance::namespace::Namespace;
use crate::instance::{Instance, RSVC, eventually, skipped};
use crate::script;
use serde_json::Value;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

#[test]
fn only_a_units_own_processes_are_believed_about_its_readiness() {
    root_only!();
    let instance = Instance::start();
    let text = "while ! [ -e $STATE_DIRECTORY/go ]; do sleep 0.02; done; systemd-notify --ready; exec sleep 1000";
    instance.unit("web", &script("notify", text, "notify_access = \"all\"\n[directories]\nstate = [\"web\"]"));
    instance.rsvc(&["start", "--no-wait", "web"]).expect(0);
    let socket = instance.file("run/io/web/notify");
    eventually("its socket", || socket.exists().then_some(()));
    let stranger = UnixDatagram::unbound().expect("socket");
    for forged in [&b"READY=1"[..], b"STATUS=forged", b"MAINPID=1", b"STOPPING=1", b"\xff\0\n=", &[b'x'; 9000]] {
        stranger.send_to(forged, &socket).expect("send");
    }
    eventually("they are refused", || {
        (instance.daemon_log().matches("does not belong to it").count() == 6).then_some(())
    });
    let status = instance.status("web");
    assert_eq!((status["state"].as_str(), &status["status_text"]), (Some("activating"), &Value::Null));
    fs::write(instance.file("state/directories/state/web/go"), "").expect("go");
    instance.wait_for_state("web", "active");
}

#[test]
fn a_managed_process_may_not_command_unless_its_unit_says_so() {
    root_only!();
    let instance = Instance::start();
    let socket = instance.file("run/io.rsvc").display().to_string();
    let more = |control: bool| {
        format!(
            "[filesystem]\nprivate_tmp = false\n[namespaces]\nmount = \"host\"\n[security]\nprofile = \"host\"\ncontrol_socket = {control}\n[restart]\npolicy = \"no\""
        )
    };
    let text = format!("{RSVC} --socket {socket} list >/dev/null; echo answered $?");
    instance.unit("inside", &script("oneshot", &text, &more(false)));
    instance.rsvc(&["start", "inside"]).expect(0);
    instance.wait_for_log("inside", "answered 4");
    instance.unit("trusted", &script("oneshot", &text, &more(true)));
    instance.rsvc(&["start", "trusted"]).expect(0);
    instance.wait_for_log("trusted", "answered 0");
    // In a sandbox there is no socket to be seen.
    instance.unit("boxed", &script("oneshot", &format!("[ -e {socket} ] || echo hidden"), ""));
    instance.rsvc(&["start", "boxed"]).expect(0);
    instance.wait_for_log("boxed", "hidden");
}

/// A daemon with the system's own directories, in a mount namespace where these are empty.
#[test]
fn the_system_instance_trusts_root_only_and_obeys_root_and_its_group() {
    root_only!();
    // Mount points that the host does not have are taken away again.
    let missing: Vec<&str> =
        ["/etc/rsvc", "/var/lib/rsvc", "/var/log/rsvc"].into_iter().filter(|path| !Path::new(path).exists()).collect();
    let set_up = "mount -t tmpfs -o mode=755 tmpfs /run; mkdir -p /etc/rsvc /var/lib/rsvc /var/log/rsvc
mount -t tmpfs -o mode=755 tmpfs /etc/rsvc; mount -t tmpfs -o mode=755 tmpfs /var/lib/rsvc; mount -t tmpfs -o mode=755 tmpfs /var/log/rsvc
mkdir /etc/rsvc/units; (cat /etc/group; echo 'rsvc:x:65500:') > /run/group; mount --bind /run/group /etc/group";
    let Some(namespace) = Namespace::start(set_up) else { return skipped("cannot make a mount namespace") };
    let own = fs::read_to_string("/proc/self/cgroup").expect("cgroup");
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").trim_end_matches('/').to_owned();
    let root = format!("{own}/rsvc-test-system-{}", std::process::id());
    let enter = format!("--mount={}", namespace.mounts().display());
    let mut daemon = Command::new("nsenter")
        .args([&enter, RSVC, "daemon", "--stop-on-exit"])
        .env("RSVC_CGROUP_ROOT", &root)
        .spawn()
        .expect("the daemon starts");
    let rsvc = |words: &str| namespace.run(&format!("{RSVC} {words}"));
    eventually("the daemon answers", || (rsvc("list").code == 0).then_some(()));
    namespace.run("printf '[service]\\nexec = [\"/bin/sleep\", \"1000\"]\\n' > /etc/rsvc/units/web.toml; cd /etc/rsvc/units; cp web.toml open.toml; chmod 666 open.toml; cp web.toml other.toml; chown 65534 other.toml").expect(0);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let said = rsvc("start open").expect(6);
        assert!(said.err.contains("writable by everybody"), "{said:?}");
        let said = rsvc("start other").expect(6);
        assert!(said.err.contains("65534"), "{said:?}");
        let by = |groups: &str, words: &str| {
            namespace.run(&format!("setpriv --reuid 65534 --regid 65534 {groups} {RSVC} {words}"))
        };
        by("--clear-groups", "start web").expect(4);
        by("--clear-groups", "list").expect(0);
        by("--groups 65500", "start web").expect(0);
        by("--clear-groups", "stop web").expect(4);
        by("--groups 65500", "stop web").expect(0);
    }));
    let pid = rustix::process::Pid::from_child(&daemon);
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    let _ = daemon.wait();
    drop(namespace);
    for path in missing {
        let _ = fs::remove_dir(path);
    }
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

//! Directories that are full or read-only, on a tmpfs in a mount namespace of the instance's own.

use crate::instance::namespace::Namespace;
use crate::instance::process::Process;
use crate::instance::{Instance, eventually, skipped};
use crate::{SLEEP, script};
use std::os::unix::process::ExitStatusExt;

/// An instance of which one directory is a small file system, and where that is.
struct Small {
    instance: Instance,
    directory: String,
    namespace: Namespace,
}

/// `directory` of the instance on a tmpfs with these options; no daemon yet.
fn small(directory: &str, options: &str) -> Option<Small> {
    let mut instance = Instance::prepared();
    let directory = instance.file(directory).display().to_string();
    let make = format!("mkdir -p {directory} && mount -t tmpfs -o mode=0755,{options} tmpfs {directory}");
    let Some(namespace) = Namespace::start(&make) else {
        skipped("cannot make a mount namespace");
        return None;
    };
    instance.enter(&namespace);
    Some(Small { instance, directory, namespace })
}

impl Small {
    fn fill(&self) {
        // To the last byte, or page.
        self.namespace
            .run(&format!("dd if=/dev/zero of={0}/fill bs=4k; dd if=/dev/zero of={0}/rest bs=1", self.directory));
        assert!(self.namespace.run(&format!("echo x >{}/more", self.directory)).code != 0, "it is full");
        self.namespace.run(&format!("rm -f {}/more", self.directory));
    }

    fn fill_inodes(&self) {
        self.namespace.run(&format!("i=0; mkdir {0}/fill; while : >{0}/fill/$i; do i=$((i+1)); done", self.directory));
    }

    fn empty(&self) {
        self.namespace.run(&format!("rm -rf {0}/fill {0}/rest", self.directory)).expect(0);
    }
}

/// A service that a helper of it outlives, whose end PID 1 of the container records, once `go` is there.
fn with_a_helper(name: &str) -> String {
    let text = "while ! [ -e $STATE_DIRECTORY/go ]; do sleep 0.02; done
        (sleep 0.1 &)
        while ! [ -e $STATE_DIRECTORY/on ]; do echo waits; sleep 0.02; done; echo goes on; exec sleep 1000";
    script(text, &format!("[directories]\nstate = [\"{name}\"]\n[restart]\npolicy = \"no\""))
}

fn tell(instance: &Instance, name: &str, word: &str) {
    std::fs::write(instance.seen(&format!("state/directories/state/{name}/{word}")), "").expect("a word");
}

#[test]
fn a_full_runtime_directory_ends_no_service_and_forgets_no_stop() {
    root_only!();
    let Some(mut small) = small("run", "size=512k") else { return };
    small.instance.start_daemon();
    small.instance.unit("web", &with_a_helper("web"));
    small.instance.unit("down", SLEEP);
    small.instance.unit("again", &script("exec sleep 1000", "[restart]\npolicy = \"always\"\ndelay = \"10ms\""));
    small.instance.unit("late", &format!("{SLEEP}[restart]\npolicy = \"no\"\n"));
    small.instance.rsvc(&["start", "web", "down", "again"]).expect(0);
    let web = small.instance.main_process("web");
    small.fill();

    // PID 1 of a container writes a record where there is no room any more.
    tell(&small.instance, "web", "go");
    small.instance.wait_for_log("web", "waits");
    let said = small.instance.rsvc(&["start", "late"]).expect(1);
    for word in ["failed at step ", "/run/", "No space left on device", "hint: "] {
        assert!(said.err.contains(word), "{word}: {said:?}");
    }
    tell(&small.instance, "web", "on");
    small.instance.wait_for_log("web", "goes on");
    assert_eq!(small.instance.main_process("web"), web);
    small.instance.rsvc(&["stop", "down"]).expect(0);

    small.instance.kill_daemon();
    small.instance.start_daemon();
    assert_eq!(small.instance.main_process("web"), web, "{}", small.instance.daemon_log());
    assert_eq!(small.instance.status("web")["state"], "active");
    assert_eq!(small.instance.status("down")["state"], "inactive");
    small.instance.wait_for_state("again", "active");

    // Whatever could not be written is written when there is room, and a restart acts.
    small.instance.main_process("again").signal(rustix::process::Signal::KILL);
    small.instance.wait_for_state("again", "active");
    small.fill();
    small.instance.rsvc(&["start", "late"]).expect(1);
    small.empty();
    small.instance.wait_for_state("again", "active");
    eventually("the state of what failed is written", || {
        std::fs::read_to_string(small.instance.seen("run/services/late/state")).ok().filter(|text| !text.is_empty())
    });
    let said = small.instance.daemon_log();
    assert!(said.contains("tried again every second") && said.contains("done at last"), "{said}");
    small.instance.rsvc(&["start", "late"]).expect(0);
    small.instance.kill_daemon();
    small.instance.start_daemon();
    assert_eq!(small.instance.main_process("web"), web);
    assert!(web.is_alive());
}

#[test]
fn without_inodes_in_the_runtime_directory_services_stay_and_a_daemon_can_come() {
    root_only!();
    let Some(mut small) = small("run", "size=4m,nr_inodes=60") else { return };
    small.instance.start_daemon();
    small.instance.unit("web", SLEEP);
    small.instance.unit("down", SLEEP);
    small.instance.unit("late", &format!("{SLEEP}[restart]\npolicy = \"no\"\n"));
    small.instance.rsvc(&["start", "web", "down"]).expect(0);
    let web = small.instance.main_process("web");
    small.fill_inodes();
    let said = small.instance.rsvc(&["start", "late"]).expect(1);
    assert!(said.err.contains("No space left on device") && said.err.contains("df -i"), "{said:?}");
    small.instance.rsvc(&["stop", "down"]).expect(0);
    small.fill_inodes();
    small.instance.kill_daemon();
    small.instance.start_daemon();
    assert_eq!(small.instance.main_process("web"), web);
    assert_eq!(small.instance.status("down")["state"], "inactive");
    small.empty();
    small.instance.rsvc(&["start", "late"]).expect(0);
}

#[test]
fn a_read_only_runtime_directory_lets_services_run_and_stop_and_tells_a_daemon_why_it_cannot_begin() {
    root_only!();
    let Some(mut small) = small("run", "size=4m") else { return };
    small.instance.start_daemon();
    small.instance.unit("web", &with_a_helper("web"));
    small.instance.unit("down", SLEEP);
    small.instance.unit("late", &format!("{SLEEP}[restart]\npolicy = \"no\"\n"));
    small.instance.rsvc(&["start", "web", "down"]).expect(0);
    let web = small.instance.main_process("web");
    // The records that the inits map would keep the mount busy; those who have it open for writing stay.
    let bound = format!("mount --bind {0} {0} && mount -o remount,ro,bind {0}", small.directory);
    small.namespace.run(&bound).expect(0);
    let said = small.instance.rsvc(&["start", "late"]).expect(1);
    for word in ["failed at step ", "/run/", "Read-only file system", "hint: "] {
        assert!(said.err.contains(word), "{word}: {said:?}");
    }
    small.instance.rsvc(&["stop", "down"]).expect(0);
    assert_eq!(small.instance.status("down")["state"], "inactive");
    tell(&small.instance, "web", "go");
    tell(&small.instance, "web", "on");
    small.instance.wait_for_log("web", "goes on");
    assert_eq!(small.instance.main_process("web"), web);

    small.instance.kill_daemon();
    let output = small.instance.command().arg("daemon").output().expect("rsvc runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.status.signal()), (Some(1), None), "{said}");
    assert!(said.contains("/run") && said.contains("Read-only file system") && said.contains("hint: "), "{said}");
    assert!(web.is_alive());

    small.namespace.run(&format!("umount {}", small.directory)).expect(0);
    small.instance.start_daemon();
    assert_eq!(small.instance.main_process("web"), web);
    assert_eq!(small.instance.status("down")["state"], "inactive");
    small.instance.rsvc(&["start", "late", "down"]).expect(0);
}

#[test]
fn a_log_directory_without_room_costs_output_and_nothing_else() {
    root_only!();
    let Some(mut small) = small("state/log", "size=128k") else { return };
    small.instance.start_daemon();
    let text = "while ! [ -e $STATE_DIRECTORY/go ]; do echo a line of text that takes some room; sleep 0.01; done
        while :; do echo heard; sleep 0.01; done";
    small.instance.unit("web", &script(text, "[directories]\nstate = [\"web\"]"));
    small.instance.rsvc(&["start", "web"]).expect(0);
    let web = small.instance.main_process("web");
    small.instance.wait_for_log("web", "a line");
    small.fill();
    eventually("the loss is told", || small.instance.daemon_log().contains("No space left on device").then_some(()));
    small.instance.unit("late", SLEEP);
    small.instance.rsvc(&["start", "late"]).expect(0);
    tell(&small.instance, "web", "go");
    small.empty();
    let log = small.instance.wait_for_log("web", "heard");
    assert!(log.contains("bytes of output are missing here"), "{log}");
    assert_eq!(small.instance.main_process("web"), web);

    small.namespace.run(&format!("mount --bind {0} {0} && mount -o remount,ro,bind {0}", small.directory)).expect(0);
    small.instance.unit("later", &script("echo unheard; exec sleep 1000", ""));
    small.instance.rsvc(&["start", "later"]).expect(0);
    assert_eq!(small.instance.main_process("web"), web);
}

#[test]
fn a_read_only_state_directory_refuses_no_start_and_its_timers_run_once() {
    root_only!();
    let Some(mut small) = small("state", "size=4m") else { return };
    small.instance.start_daemon();
    // All that services keep is made before; runs/ and timers/ are the daemon's.
    small.instance.unit("warm", "[service]\nexec = [\"/bin/true\"]\ntype = \"oneshot\"\n");
    small.instance.rsvc(&["start", "warm"]).expect(0);
    small.namespace.run(&format!("mount --bind {0} {0} && mount -o remount,ro,bind {0}", small.directory)).expect(0);
    small.instance.unit("web", SLEEP);
    small.instance.rsvc(&["start", "web"]).expect(0);
    let timed = "[service]\ntype = \"oneshot\"\nexec = [\"/bin/true\"]\n[[timers]]\nevery = \"1h\"\n";
    small.instance.unit("timed", timed);
    small.instance.rsvc(&["start", "timed"]).expect(0);
    let said = small.instance.daemon_log();
    for word in
        ["cannot note this run of web", "when its timers ran last cannot be written down", "Read-only file system"]
    {
        assert!(said.contains(word), "{word}: {said}");
    }
    let web = small.instance.main_process("web");
    small.namespace.run(&format!("umount {}", small.directory)).expect(0);
    eventually("the stamp is written", || small.instance.seen("state/timers/timed").exists().then_some(()));
    assert_eq!(small.instance.main_process("web"), web);
    small.instance.kill_daemon();
    small.instance.start_daemon();
    assert_eq!(Process::of(&small.instance.status("web")["main_pid"]), web);
    assert_eq!(small.instance.status("timed")["state"], "active", "it waits for its time");
}

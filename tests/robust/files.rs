//! Unit files that are none, change, vanish, or have two names.

use crate::SLEEP;
use crate::instance::process::Process;
use crate::instance::{Instance, eventually};
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn unit_files_that_are_none_are_refused_and_hang_nobody() {
    root_only!();
    let instance = Instance::start();
    let path = |name: &str| instance.file("units").join(format!("{name}.toml"));
    fs::create_dir(path("dir")).expect("directory");
    nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("FIFO");
    symlink(path("loop"), path("loop")).expect("link");
    fs::write(path("big"), vec![b'#'; 1_200_000]).expect("file");
    fs::write(path("bytes"), b"[service]\nexec = [\"/bin/\xff\"]\n").expect("file");
    symlink("/dev/null", path("masked")).expect("link");
    instance.unit("good", SLEEP);
    for name in ["dir", "fifo", "loop", "big", "bytes", "masked"] {
        let said = instance.rsvc(&["start", name]).expect(6);
        assert!(said.err.contains(&format!("{name}.toml")), "{name}: {said:?}");
    }
    instance.rsvc(&["start", "good"]).expect(0);
    let said = instance.rsvc(&["list", "--all"]).expect(0);
    assert!(said.out.contains("good"), "{said:?}");
}

#[test]
fn a_file_that_vanishes_or_breaks_does_not_touch_what_runs() {
    root_only!();
    let instance = Instance::start();
    let file = instance.unit("web", SLEEP);
    instance.rsvc(&["start", "web"]).expect(0);
    let main = instance.main_process("web");
    fs::write(&file, "[service]\nexec = 1\n").expect("unit");
    instance.rsvc(&["restart", "web"]).expect(6);
    let status = instance.status("web");
    assert_eq!((Process::of(&status["main_pid"]), status["load_state"].as_str()), (main.clone(), Some("bad-setting")));
    fs::remove_file(&file).expect("remove");
    instance.rsvc(&["restart", "web"]).expect(5);
    let status = instance.status("web");
    assert_eq!((Process::of(&status["main_pid"]), status["state"].as_str()), (main.clone(), Some("active")));
    assert!(status["load_error"].as_str().is_some_and(|text| text.contains("gone")), "{status:#}");
    instance.rsvc(&["stop", "web"]).expect(0);
    assert!(!main.is_alive());
    eventually("nothing is left of it", || (instance.rsvc(&["status", "web"]).code == 4).then_some(()));
    assert!(!instance.rsvc(&["list", "--all"]).expect(0).out.contains("web"));
}

#[test]
fn an_alias_is_another_name_of_one_service() {
    root_only!();
    let instance = Instance::start();
    let file = instance.unit("web", SLEEP);
    symlink(&file, instance.file("units/www.toml")).expect("link");
    instance
        .unit("app", "[unit]\nrequires = [\"www\"]\nafter = [\"www\"]\n[service]\nexec = [\"/bin/sleep\", \"1000\"]\n");
    instance.rsvc(&["start", "app"]).expect(0);
    let main = instance.main_process("web");
    instance.rsvc(&["start", "www", "web"]).expect(0);
    let status = instance.status("www");
    assert_eq!((status["name"].as_str(), Process::of(&status["main_pid"])), (Some("web"), main.clone()));
    instance.rsvc(&["restart", "www"]).expect(0);
    assert!(!main.is_alive());
    instance.rsvc(&["stop", "www"]).expect(0);
    assert_eq!(instance.status("app")["state"], "inactive", "it required the alias");
}

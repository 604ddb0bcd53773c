//! Spawning from a daemon-like process: the heap stays out of the child.

use crate::harness::*;
use std::os::fd::AsFd;
use std::process::Command;

/// Set in the process that runs a test on its main thread.
const ON_MAIN: &str = "RSVC_TEST_ON_MAIN_THREAD";

#[test]
fn a_marked_heap_does_not_harm_children_born_on_the_main_thread() {
    if std::env::var_os(ON_MAIN).is_none() {
        // With one test thread the harness runs tests on the main thread, whose control block lies in the heap of a
        // static program; there the kernel writes to it in the child.
        let name = "spawning::a_marked_heap_does_not_harm_children_born_on_the_main_thread";
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--test-threads=1", "--nocapture"])
            .env(ON_MAIN, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let mut ballast = Vec::new();
    for round in 0..50u8 {
        // Growth between the marks, in pieces that come from the heap and not from mappings of their own.
        ballast.extend((0..100).map(|_| vec![round; 4000]));
        rsvc::sys::process::mark_heap_dontfork().unwrap();
        let program = rsvc::sys::fd::open(c"/bin/true", rsvc::sys::fd::Open::Path).unwrap();
        let request = rsvc::sys::process::Spawn {
            flags: 0,
            cgroup: None,
            program: program.as_fd(),
            argv: &[c"true".to_owned()],
            envp: &[],
            inherit: &[],
            raise_ambient: true,
            error: None,
        };
        let (_, pidfd) = rsvc::sys::process::spawn(&request).unwrap();
        assert_eq!(rsvc::sys::process::wait_pidfd(pidfd.as_fd(), false).unwrap(), Some((1, 0)), "round {round}");
    }
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let heap = smaps.split_inclusive("VmFlags:").find(|part| part.contains("[heap]"));
    assert!(heap.is_some() && smaps.lines().any(|line| line.starts_with("VmFlags:") && line.contains(" dc ")));
}

#[test]
fn a_group_of_the_v2_tree_is_entered_at_birth() {
    if !is_root() {
        skipped!("making a group needs root");
        return;
    }
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::"));
    let mounts = host_mounts();
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "));
    let (Some(own), Some(mount)) = (own, mount) else {
        skipped!("no cgroup v2 tree");
        return;
    };
    let mount = mount.split(' ').nth(4).unwrap();
    let group = std::path::PathBuf::from(format!("{mount}{own}/rsvc-stage-test-{}", std::process::id()));
    if let Err(error) = std::fs::create_dir(&group) {
        skipped!("no group can be made: {error}");
        return;
    }
    let path = std::ffi::CString::new(group.to_str().unwrap()).unwrap();
    let directory = rsvc::sys::fd::open(&path, rsvc::sys::fd::Open::Directory).unwrap();
    let (read, write) = rsvc::sys::fd::pipe(rsvc::sys::fd::NonBlocking::None).unwrap();
    let program = rsvc::sys::fd::open(c"/bin/cat", rsvc::sys::fd::Open::Path).unwrap();
    let request = rsvc::sys::process::Spawn {
        flags: 0,
        cgroup: Some(directory.as_fd()),
        program: program.as_fd(),
        argv: &[c"cat".to_owned(), c"/proc/self/cgroup".to_owned()],
        envp: &[],
        inherit: &[(write.as_fd(), 1)],
        raise_ambient: false,
        error: None,
    };
    let spawned = rsvc::sys::process::spawn(&request);
    drop(write);
    let mut text = [0; 4096];
    if let Ok((_, pidfd)) = &spawned {
        rsvc::sys::process::wait_pidfd(pidfd.as_fd(), false).unwrap();
    }
    let length = rsvc::sys::fd::read(read.as_fd(), &mut text).unwrap();
    std::fs::remove_dir(&group).unwrap();
    spawned.unwrap();
    let text = String::from_utf8_lossy(&text[..length]);
    let name = group.file_name().unwrap().to_str().unwrap();
    assert!(text.lines().any(|line| line.starts_with("0::") && line.ends_with(name)), "{text}");
}

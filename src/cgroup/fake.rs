//! A directory that looks like control groups, for the tests of this folder: any user, any file system, any kernel.
//!
//! Interface files do not come by themselves: [`FakeHost::create`] puts the important ones there. Nothing reacts to a
//! write; what the kernel does with it is asked by `tests/cgroup.rs`.

use super::marks::Marks;
use super::place::{Controller, Legacy, Places, Unified};
use super::{Group, Tree};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An imitated host.
pub(super) struct FakeHost {
    top: tempfile::TempDir,
    tree: Tree,
}

const V2_FILES: [(&str, &str); 19] = [
    ("cgroup.events", "populated 0\nfrozen 0\n"),
    ("cgroup.procs", ""),
    ("cgroup.kill", ""),
    ("cgroup.freeze", "0\n"),
    ("cgroup.subtree_control", ""),
    ("memory.max", ""),
    ("memory.high", ""),
    ("memory.low", ""),
    ("memory.min", ""),
    ("memory.swap.max", ""),
    ("memory.oom.group", ""),
    ("cpu.max", "max 100000\n"),
    ("cpu.weight", ""),
    ("cpuset.cpus", ""),
    ("cpuset.mems", ""),
    ("pids.max", ""),
    ("io.weight", ""),
    ("io.max", ""),
    ("hugetlb.2MB.max", ""),
];

const V1_FILES: [(&str, &[&str]); 6] = [
    ("memory", &["memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.soft_limit_in_bytes"]),
    ("pids", &["pids.max"]),
    ("cpu", &["cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us"]),
    ("cpuset", &["cpuset.cpus", "cpuset.mems"]),
    ("blkio", &["blkio.throttle.read_bps_device"]),
    ("devices", &["devices.allow", "devices.deny", "devices.list"]),
];

/// Pure v2 with all controllers.
pub(super) fn v2() -> FakeHost {
    use Controller::{Cpu, Cpuset, Hugetlb, Io, Memory, Pids};
    build(&[Memory, Pids, Cpu, Io], &[Cpuset, Hugetlb], &[])
}

/// As the hybrid: v1 controllers, a v2 tree without any.
pub(super) fn hybrid() -> FakeHost {
    build(&[], &[], &["memory", "pids", "cpu", "cpuset", "blkio", "devices"])
}

/// v1 only.
pub(super) fn v1() -> FakeHost {
    let mut host = build(&[], &[], &["freezer", "memory", "pids", "cpu"]);
    let places = Arc::get_mut(&mut host.tree.places).expect("not shared yet");
    places.v2 = None;
    host
}

fn build(controllers: &[Controller], on_demand: &[Controller], v1: &[&str]) -> FakeHost {
    let top = tempfile::tempdir().expect("a directory");
    let directory = |name: &str| {
        let root = top.path().join(name).join("rsvc");
        fs::create_dir_all(&root).expect("a root group");
        root
    };
    let unified = directory("unified");
    fill(&unified, &V2_FILES);
    let v2 = Unified {
        path: "/rsvc".into(),
        chain: vec![unified.clone()],
        directory: unified,
        controllers: controllers.to_vec(),
        on_demand: on_demand.to_vec(),
        // A program cannot be attached to a directory of any file system.
        device_programs: false,
        packet_programs: false,
        crowded: false,
    };
    let legacy = |name: &&str| {
        let root = directory(name);
        if *name == "cpuset" {
            fill(&root, &[("cpuset.cpus", "0-3\n"), ("cpuset.mems", "0\n")]);
        }
        Legacy {
            path: "/rsvc".into(),
            directory: root,
            controllers: vec![(*name).to_owned()],
            always: *name != "cpuset" && *name != "devices",
        }
    };
    let places = Places { v2: Some(v2), v1: v1.iter().map(legacy).collect(), marks: Marks::File };
    FakeHost { top, tree: Tree { places: Arc::new(places), leaf: None } }
}

fn fill(directory: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        fs::write(directory.join(name), content).expect("an interface file");
    }
}

impl FakeHost {
    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    pub(super) fn root_v2(&self) -> PathBuf {
        self.top.path().join("unified/rsvc")
    }

    pub(super) fn unit_v2(&self, unit: &str) -> PathBuf {
        self.root_v2().join(unit)
    }

    pub(super) fn unit_v1(&self, controller: &str, unit: &str) -> PathBuf {
        self.top.path().join(controller).join("rsvc").join(unit)
    }

    /// A group with its interface files, those on demand included.
    pub(super) fn create(&self, unit: &str) -> Group {
        let group = self.tree.create(unit, None).expect("a group");
        if self.tree.places.v2.is_some() {
            fill(&self.unit_v2(unit), &V2_FILES);
        }
        for (controller, files) in V1_FILES {
            if self.tree.places.legacy(controller).is_some() {
                let at = self.unit_v1(controller, unit);
                fs::create_dir_all(&at).expect("a v1 group");
                files.iter().for_each(|file| fs::write(at.join(file), "").expect("an interface file"));
            }
        }
        group
    }

    /// The group vanishes in every hierarchy.
    pub(super) fn wipe(&self, unit: &str) {
        for hierarchy in fs::read_dir(self.top.path()).expect("hierarchies") {
            let _ = fs::remove_dir_all(hierarchy.expect("an entry").path().join("rsvc").join(unit));
        }
    }
}

mod tests {
    use super::*;
    use crate::cgroup::CgroupError;
    use crate::cgroup::file;
    use std::io::ErrorKind;

    fn refused(result: Result<impl std::fmt::Debug, CgroupError>) {
        assert_eq!(result.expect_err("refused").error.kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn names_that_leave_the_root_group_make_no_group() {
        let host = v2();
        for bad in ["", ".", "..", "/", "../up", "a/b"] {
            refused(host.tree().create(bad, None));
            refused(host.tree().create("web", Some(bad)));
        }
        assert_eq!(file::children(&host.root_v2()).expect("listed"), Vec::<String>::new());
    }

    #[test]
    fn a_group_without_our_mark_is_neither_killed_nor_frozen_nor_limited() {
        let host = v2();
        let group = host.create("web");
        fs::remove_file(host.unit_v2("web").join(super::super::marks::MARK_FILE)).expect("the mark");
        refused(group.kill());
        refused(group.freeze(true));
        refused(group.apply(&crate::plan::CgroupSettings::default()));
        refused(group.delegate(0, 0));
        assert_eq!(file::read(&host.unit_v2("web").join("cgroup.kill")).as_deref(), Some(""));
        assert_eq!(file::read(&host.unit_v2("web").join("cgroup.freeze")).as_deref(), Some("0\n"));
    }

    #[test]
    fn the_mark_of_another_unit_is_not_ours() {
        let host = v2();
        let group = host.create("web");
        fs::write(host.unit_v2("web").join(super::super::marks::MARK_FILE), "unit db").expect("a mark");
        refused(group.kill());
    }

    #[test]
    fn a_strangers_group_with_processes_is_not_taken_over() {
        let host = v2();
        fs::create_dir(host.unit_v2("web")).expect("a stranger's group");
        fs::write(host.unit_v2("web").join("cgroup.events"), "populated 1\nfrozen 0\n").expect("populated");
        refused(host.tree().create("web", None));
        fs::write(host.unit_v2("web").join("cgroup.events"), "populated 0\nfrozen 0\n").expect("empty");
        host.tree().create("web", None).expect("an empty group is nobody's");
    }

    #[test]
    fn kill_and_freeze_write_to_the_units_own_group() {
        let host = v2();
        let group = host.create("web");
        group.freeze(true).expect("frozen");
        assert_eq!(file::read(&host.unit_v2("web").join("cgroup.freeze")).as_deref(), Some("1\n"));
        group.kill().expect("killed");
        assert_eq!(file::read(&host.unit_v2("web").join("cgroup.kill")).as_deref(), Some("1"));
        assert_eq!(file::read(&host.root_v2().join("cgroup.kill")).as_deref(), Some(""), "not the root group");
        host.wipe("web");
        group.kill().expect("nobody is left in a group that is gone");
    }

    #[test]
    fn groups_are_found_again_with_their_names() {
        let host = v2();
        for unit in ["web", "memory.max", "tasks"] {
            host.tree().create(unit, None).expect("a group");
        }
        fs::create_dir(host.root_v2().join("batch.slice")).expect("a slice");
        fs::write(host.root_v2().join("batch.slice/cgroup.subtree_control"), "").expect("its file");
        let sliced = host.tree().create("etl", Some("batch")).expect("a group in a slice");
        assert_eq!(sliced.path(), Path::new("/rsvc/batch.slice/etl"));
        fs::create_dir(host.root_v2().join("stranger")).expect("a group without mark");
        let mut found = host.tree().existing().expect("found");
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["etl", "memory.max", "tasks", "web"]);
        assert_eq!(found.first().map(|(_, group)| group), Some(&sliced));
    }

    #[test]
    fn a_slice_hands_the_controllers_down() {
        let host = v2();
        let slice = host.root_v2().join("batch.slice");
        fs::create_dir(&slice).expect("a slice");
        fs::write(slice.join("cgroup.subtree_control"), "").expect("its file");
        host.tree().create("etl", Some("batch.slice")).expect("a group");
        let enabled = file::read(&slice.join("cgroup.subtree_control"));
        assert_eq!(enabled.as_deref(), Some("+memory +pids +cpu +io"));
    }

    #[test]
    fn facts_speak_v2_and_name_what_is_v1() {
        let pure = v2().tree().facts();
        assert!(pure.unified && pure.available && pure.v1_controllers.is_empty());
        assert_eq!(pure.controllers, ["memory", "pids", "cpu", "cpuset", "io", "hugetlb"]);
        let hybrid = hybrid().tree().facts();
        assert!(!hybrid.unified);
        assert_eq!(hybrid.controllers, ["memory", "pids", "cpu", "cpuset", "io", "devices"]);
        assert_eq!(hybrid.v1_controllers, hybrid.controllers);
    }

    #[test]
    fn without_a_v2_tree_the_freezer_carries_the_group() {
        let host = v1();
        let group = host.create("web");
        assert!(group.birth().expect("asked").is_none() && group.events_file().is_none());
        let freezer = host.unit_v1("freezer", "web");
        fs::write(freezer.join("freezer.state"), "").expect("state");
        fs::write(freezer.join("cgroup.procs"), "").expect("procs");
        assert!(!group.populated().expect("asked"));
        group.kill().expect("nobody inside");
        assert_eq!(file::read(&freezer.join("freezer.state")).as_deref(), Some("THAWED"));
        assert_eq!(host.tree().record(), "freezer:/rsvc\nmemory:/rsvc\npids:/rsvc\ncpu:/rsvc\n");
        assert_eq!(host.tree().root_path(), Path::new("/rsvc"));
    }

    #[test]
    fn a_used_quota_keeps_cpu_out_of_the_childs_hands() {
        let host = hybrid();
        let group = host.create("web");
        for controller in ["memory", "pids", "cpu", "blkio", "devices", "cpuset"] {
            fs::write(host.unit_v1(controller, "web").join("cgroup.procs"), "").expect("procs");
        }
        let cpu = host.unit_v1("cpu", "web");
        fs::write(cpu.join("cpu.cfs_quota_us"), "-1\n").expect("no quota");
        assert_eq!(group.attach_descriptors().expect("opened").len(), 6);
        group.attach_late(1).expect("nothing to do");
        assert_eq!(file::read(&cpu.join("cgroup.procs")).as_deref(), Some(""));
        fs::write(cpu.join("cpu.cfs_quota_us"), "50000\n").expect("a quota");
        assert_eq!(group.attach_descriptors().expect("opened").len(), 5);
        group.attach_late(4711).expect("attached");
        assert_eq!(file::read(&cpu.join("cgroup.procs")).as_deref(), Some("4711"));
    }

    #[test]
    fn a_missing_group_is_never_skipped_when_attaching() {
        let host = hybrid();
        let group = host.create("web");
        for controller in ["pids", "cpu", "blkio"] {
            fs::write(host.unit_v1(controller, "web").join("cgroup.procs"), "").expect("procs");
        }
        fs::remove_dir_all(host.unit_v1("memory", "web")).expect("gone");
        group.attach_descriptors().expect_err("no limit of memory, no start");
    }
}

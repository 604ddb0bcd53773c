//! The table of hints, and the form of the messages.

use super::*;
use crate::plan::{
    CapabilitySet, CgroupSettings, Container, Create, FilterProgram, Namespaces, Output, OverlayUpper, Place,
    PlannedStep, SecurityModule, Slot, TreeSource,
};

fn open(path: &str) -> Step {
    Step::OpenTree { slot: Slot(1), source: TreeSource::Host, path: path.into(), recursive: true, missing_ok: false }
}

fn execute(program: &str) -> Step {
    Step::Execute { argv: vec![program.to_owned()], environment: Vec::new() }
}

fn filesystem(fs_type: &str, options: &[&str]) -> Step {
    let options = options.iter().map(|key| ((*key).to_owned(), Some("5".to_owned()))).collect();
    Step::NewFilesystem { slot: Slot(2), fs_type: fs_type.to_owned(), options, flags: Default::default() }
}

fn credential(path: &str) -> Step {
    Step::LoadCredential { slot: Slot(2), name: "key".to_owned(), path: path.into(), missing_ok: false }
}

fn attach(at: &str) -> Step {
    Step::Attach { slot: Slot(1), at: at.into(), create: Create::Never }
}

fn limit(resource: LimitResource) -> Step {
    Step::SetLimit { resource, soft: 1, hard: 1 }
}

#[test]
fn each_known_failure_has_its_hint() {
    let directory = |path: &str| Step::ChangeDirectory { path: path.into(), missing_ok: false };
    let join = |kind| Step::JoinNamespace { kind, path: "/run/netns/blue".into() };
    let overlay = Step::NewOverlay {
        slot: Slot(0),
        lower: vec!["/a".into()],
        upper: OverlayUpper::Ephemeral { size: 1 },
        flags: Default::default(),
    };
    let image = |path: &str| Step::TakeImage { slot: Slot(0), path: path.into(), fs_type: "squashfs".into() };
    let label = |module| Step::SetExecLabel { module, label: "web".into() };
    let filter = Step::LoadFilter { program: FilterProgram(Vec::new()), log: false, rules: Vec::new() };
    let table: Vec<(Step, Errno, &str, &str)> = vec![
        (image("/srv/a"), Errno::ENOENT, "", "there is no /srv/a"),
        (image("/srv/a"), Errno::ENOENT, "/dev/loop-control: a loop device is needed", "load the module `loop`"),
        (image("/srv/a"), Errno::EINVAL, "", "is no squashfs"),
        (label(SecurityModule::AppArmor), Errno::ENOENT, "", "apparmor_parser"),
        (label(SecurityModule::AppArmor), Errno::EINVAL, "", "not what this kernel labels"),
        (label(SecurityModule::SeLinux), Errno::EINVAL, "", "knows no context"),
        (label(SecurityModule::SeLinux), Errno::EACCES, "", "does not let"),
        (image("/srv/a"), Errno::ENODEV, "", "no squashfs"),
        (image("/srv/a"), Errno::EOPNOTSUPP, "", "compression"),
        (image("/srv/a"), Errno::EPERM, "", "CAP_SYS_ADMIN"),
        (execute("/opt/app/run"), Errno::ENOENT, "interpreter /lib/ld-musl.so", "interpreter"),
        (execute("/home/me/app"), Errno::ENOENT, "", "protect_home"),
        (execute("/tmp/app"), Errno::ENOENT, "", "private_tmp"),
        (execute("app"), Errno::ENOENT, "", "no directory of PATH"),
        (execute("/opt/app"), Errno::ENOENT, "", "does not exist in the unit's root"),
        (execute("/opt/app"), Errno::EACCES, "", "noexec"),
        (execute("/opt/app"), Errno::ENOEXEC, "", "`#!`"),
        (execute("/opt/app"), Errno::ENOMEM, "", "memory_max"),
        (directory("/home/me"), Errno::ENOENT, "", "protect_home"),
        (directory("/tmp/x"), Errno::ENOENT, "", "private_tmp"),
        (directory("/srv/x"), Errno::EACCES, "", "cannot search"),
        (open("/srv/web/data"), Errno::EACCES, "", "chmod o+x"),
        (open("/srv/web/data"), Errno::ENOENT, "", "`-/srv/web/data`"),
        (open("/srv"), Errno::EINVAL, "", "rbind"),
        (credential("/etc/key"), Errno::ENOENT, "", "`-/etc/key`"),
        (credential("/etc/keys"), Errno::ENOENT, "old", "leads nowhere"),
        (credential("/etc/key"), Errno::EFBIG, "too large", "[[mounts]]"),
        (credential("/srv/key"), Errno::ELOOP, "key is a link", "exchange the link"),
        (credential("/srv/keys"), Errno::EEXIST, "", "rename"),
        (filesystem("proc", &[]), Errno::EPERM, "", "namespaces.pid"),
        (filesystem("proc", &["hidepid"]), Errno::EINVAL, "", "5.8"),
        (filesystem("sysfs", &[]), Errno::EPERM, "", "network.mode"),
        (filesystem("devpts", &["gid"]), Errno::EINVAL, "", "not mapped"),
        (filesystem("erofs", &[]), Errno::ENODEV, "", "erofs"),
        (overlay.clone(), Errno::EINVAL, "", "layer"),
        (overlay, Errno::EBUSY, "", "upper directory"),
        (attach("/data"), Errno::ENOENT, "", "no /data to mount on"),
        (attach("/data"), Errno::EROFS, "", "read-only"),
        (attach("/data"), Errno::ENOTDIR, "", "is a file"),
        (Step::Mask { at: "/x".into(), closed: false, missing_ok: false }, Errno::ENOENT, "", "`-/x`"),
        (Step::Seal { slot: Slot(1), set: Default::default() }, Errno::EBUSY, "", "open for writing"),
        (join(NamespaceKind::Net), Errno::ENOENT, "", "ip netns add"),
        (join(NamespaceKind::Pid), Errno::EINVAL, "", "no pid namespace"),
        (Step::JoinContainer { namespaces: Namespaces::default() }, Errno::ESRCH, "", "has ended"),
        (Step::EnterUserNamespace, Errno::EINVAL, "", "not mapped"),
        (Step::EnterCgroups, Errno::EBUSY, "", "cgroup v2"),
        (Step::UnshareCgroupNamespace, Errno::ENOSPC, "", "no disk is full"),
        (Step::ConnectJournal { identifier: "a".into(), priority: 6 }, Errno::ECONNREFUSED, "", "logging.target"),
        (Step::OpenTerminal, Errno::EPERM, "", "devices.policy"),
        (Step::OpenTerminal, Errno::ENOSPC, "", "kernel.pty.max"),
        (Step::ArrangeDescriptors, Errno::ENXIO, "", "socket"),
        (limit(LimitResource::Nofile), Errno::EPERM, "", "fs.nr_open"),
        (limit(LimitResource::Core), Errno::EPERM, "", "resources.rlimits.core"),
        (Step::SetOomScoreAdjust { value: -5 }, Errno::EACCES, "", "CAP_SYS_RESOURCE"),
        (Step::SetNice { value: -5 }, Errno::EACCES, "", "CAP_SYS_NICE"),
        (Step::SetGroups { groups: vec![] }, Errno::EPERM, "", "setgroups"),
        (Step::SetIds { uid: 9, gid: 9 }, Errno::EINVAL, "", "uid_mappings"),
        (Step::DropBoundingSet { keep: CapabilitySet::EMPTY }, Errno::EPERM, "", "CAP_SETPCAP"),
        (Step::DenyWriteExecute, Errno::EINVAL, "", "6.3"),
        (filter.clone(), Errno::EINVAL, "", "CONFIG_SECCOMP_FILTER"),
        (filter, Errno::EACCES, "", "no_new_privs"),
        (Step::ForkService, Errno::EAGAIN, "", "tasks_max"),
        (Step::ForkService, Errno::ENOMEM, "", "process 1"),
    ];
    for (step, errno, detail, expected) in table {
        let found = hint(&step, errno as i32, detail);
        assert!(found.as_deref().is_some_and(|text| text.contains(expected)), "{step:?} {errno:?}: {found:?}");
    }
}

#[test]
fn what_the_kernel_does_not_have_or_not_allow_has_a_hint_for_every_operation() {
    let mask = Step::Mask { at: "/x".into(), closed: false, missing_ok: true };
    let table = [
        (mask.clone(), Errno::ENOSYS, "5.14"),
        (open("/srv"), Errno::ENOSYS, "5.14"),
        (mask, Errno::EACCES, "not allowed"),
        (Step::SetHostname { name: "x".into() }, Errno::EPERM, "not allowed"),
        (Step::NoNewPrivileges, Errno::EINVAL, "does not have it"),
        (Step::AttachRoot, Errno::ENODEV, "does not have it"),
    ];
    for (step, errno, expected) in table {
        let found = hint(&step, errno as i32, "");
        assert!(found.as_deref().is_some_and(|text| text.contains(expected)), "{step:?} {errno:?}: {found:?}");
    }
    // What is about the object is no question of the kernel.
    assert_eq!(hint(&execute("/opt/x"), Errno::EINVAL as i32, ""), None);
    assert_eq!(hint(&credential("/x"), Errno::EINVAL as i32, ""), None);
}

#[test]
fn what_the_daemon_lacks_has_its_hint() {
    let table = [
        (Errno::ENOSPC, "`df -i`"),
        (Errno::EDQUOT, "quota"),
        (Errno::EROFS, "remount,rw"),
        (Errno::EMFILE, "LimitNOFILE="),
        (Errno::ENFILE, "fs.file-max"),
        (Errno::ENOMEM, "memory"),
        (Errno::ENOBUFS, "memory"),
        (Errno::EAGAIN, "tasks_max"),
        (Errno::EIO, "`dmesg`"),
    ];
    for (errno, expected) in table {
        let found = scarcity_hint(errno as i32);
        assert!(found.is_some_and(|text| text.contains(expected)), "{errno:?}: {found:?}");
    }
}

#[test]
fn an_errno_that_says_all_has_no_hint() {
    assert_eq!(scarcity_hint(Errno::EACCES as i32), None);
    assert_eq!(hint(&Step::NewSession, Errno::EIO as i32, ""), None);
    assert_eq!(hint(&open("/x"), Errno::EIO as i32, ""), None);
}

#[test]
fn clone_errors_are_named_by_what_they_mean_for_containers() {
    let table = [
        (Errno::ENOSPC, "no disk is full"),
        (Errno::EPERM, "unprivileged_userns_clone"),
        (Errno::EAGAIN, "tasks_max"),
        (Errno::EINVAL, "5.14"),
    ];
    for (errno, expected) in table {
        let text = clone_failure_message(errno as i32, "\n  asked for by namespaces.pid (default)");
        assert!(
            text.contains(expected) && text.contains("\n  asked for by namespaces.pid (default)\n  hint: "),
            "{text}"
        );
        assert!(text.starts_with("failed at step NAMESPACE: make the container: "), "{text}");
    }
}

fn plan() -> LaunchPlan {
    let place = Place { file: "/etc/rsvc/units/web.toml".into(), line: 21, column: 1 };
    let step = |step, origin| PlannedStep { step, origin, may_fail: false };
    LaunchPlan {
        unit: "web".into(),
        role: "main".into(),
        container: Container::Own,
        origins: vec![
            Origin { key: "mounts[0]".into(), place: Some(place) },
            Origin { key: "security.no_new_privileges".into(), place: None },
        ],
        sockets: Vec::new(),
        timers: Vec::new(),
        prepare: Vec::new(),
        cgroup: CgroupSettings::default(),
        clone: Namespaces::default(),
        id_maps: None,
        init: false,
        output: Output::Null,
        steps: vec![
            step(open("/srv/web/data"), Some(0)),
            step(attach("/data"), Some(0)),
            step(Step::NoNewPrivileges, Some(1)),
        ],
        degraded: Vec::new(),
    }
}

#[test]
fn a_failure_names_step_object_errno_line_and_way_out() {
    assert_eq!(
        failure_message(&plan(), 1, Errno::EACCES as i32, "uid 0 of the user namespace cannot search /srv/web"),
        "failed at step NAMESPACE (2 of 3): bind /srv/web/data on /data: Permission denied (EACCES)\n  \
         uid 0 of the user namespace cannot search /srv/web\n  \
         set by /etc/rsvc/units/web.toml:21\n  \
         hint: the container's root may not make or search /data"
    );
}

#[test]
fn a_default_that_fails_names_its_key() {
    let text = failure_message(&plan(), 2, Errno::EINVAL as i32, "");
    assert_eq!(
        text,
        "failed at step NO_NEW_PRIVILEGES (3 of 3): set no_new_privs: Invalid argument (EINVAL)\n  \
         set by default: security.no_new_privileges\n  \
         hint: this kernel does not have it (`rsvc features` tells what it has): switch the key off, or use a newer one"
    );
}

#[test]
fn a_step_that_the_plan_does_not_have_is_no_panic() {
    assert_eq!(failure_message(&plan(), 7, 0, ""), "failed at step 8 of 3: errno 0");
}

#[test]
fn text_from_inside_the_container_cannot_draw_on_the_terminal() {
    let text = failure_message(&plan(), 0, Errno::ENOENT as i32, "\u{1b}[2J\nfake line");
    assert!(text.contains("\\u{1b}[2J\\nfake line"), "{text}");
}

#[test]
fn a_kill_during_set_up_points_at_the_memory_limit() {
    assert!(killed_message(libc::SIGKILL).contains("memory_max"));
    assert!(killed_message(libc::SIGSYS).contains("filter"));
    assert!(!killed_message(libc::SIGTERM).contains("hint"));
}

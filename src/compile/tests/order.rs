//! The order of steps that the kernel demands, held against plans of many kinds.

use super::*;
use crate::plan::{PlannedStep, Slot, TreeSource};

#[test]
fn every_plan_keeps_the_order_that_the_kernel_demands() {
    let units = [
        with(""),
        with("user = \"web\"\n[security]\nprofile = \"strict\""),
        with("[namespaces]\nuser = \"identity\"\n[network]\nmode = \"loopback\""),
        with("[namespaces]\npid = \"path:/proc/1/ns/pid\"\n[network]\nmode = \"path:/run/netns/a\""),
        with("[namespaces]\nuser = \"auto\"\n[credentials]\nset = { b = \"b\" }"),
        with("[credentials]\nload = { a = \"/etc/a\" }\nset = { b = \"b\" }"),
        with("[rootfs]\ntype = \"directory\"\npath = \"/srv/r\"\n[filesystem]\nread_write_paths = [\"/data\"]"),
        with("[rootfs]\ntype = \"erofs\"\npath = \"/srv/r.erofs\"\n[filesystem]\nread_write_paths = [\"/data\"]"),
    ];
    for unit in &units {
        for facts in [host(unit), hybrid(unit), ordinary(unit)] {
            let Ok(plan) = compile(unit, &facts, Purpose::Main) else { continue };
            check_order(&plan);
        }
    }
}

fn check_order(plan: &LaunchPlan) {
    let at = |wanted: fn(&Step) -> bool| position(plan, wanted);
    let chain = [
        at(|step| matches!(step, Step::EnterUserNamespace)),
        at(|step| matches!(step, Step::EnterCgroups)),
        at(|step| matches!(step, Step::UnshareCgroupNamespace)),
        at(|step| matches!(step, Step::ConnectJournal { .. })),
        at(|step| matches!(step, Step::PrivatePropagation)),
        at(|step| matches!(step, Step::MakeUserNamespace { .. })),
        at(|step| matches!(step, Step::AttachRoot)),
        at(|step| matches!(step, Step::PivotRoot)),
        at(|step| matches!(step, Step::MakeRuleset(_))),
        at(|step| matches!(step, Step::JoinUserNamespace)),
        at(|step| matches!(step, Step::DropBoundingSet { .. })),
        at(|step| matches!(step, Step::SetGroups { .. })),
        at(|step| matches!(step, Step::SetIds { .. })),
        at(|step| matches!(step, Step::SetCapabilities { .. })),
        at(|step| matches!(step, Step::ChangeDirectory { .. })),
        at(|step| matches!(step, Step::NoNewPrivileges)),
        at(|step| matches!(step, Step::VerifyCredentials { .. })),
        at(|step| matches!(step, Step::ArrangeDescriptors)),
        at(|step| matches!(step, Step::EnforceRuleset)),
        at(|step| matches!(step, Step::LoadFilter { .. })),
        at(|step| matches!(step, Step::Execute { .. })),
    ];
    let present: Vec<usize> = chain.into_iter().flatten().collect();
    assert!(present.is_sorted(), "{plan}");
    assert_eq!(present.last(), Some(&(plan.steps.len() - 1)), "execute is last:\n{plan}");

    let root = position(plan, |step| matches!(step, Step::AttachRoot)).unwrap_or(0);
    let mut filled = Vec::new();
    let mut attached: Vec<&Path> = Vec::new();
    for (index, PlannedStep { step, .. }) in plan.steps.iter().enumerate() {
        match step {
            // From the untouched tree, and overlays before the root is there.
            Step::OpenTree { slot, source, .. } => {
                assert_eq!(*source == TreeSource::Host, index < root, "{plan}");
                filled.push(*slot);
            }
            Step::OpenMappedTree { slot, .. } | Step::NewOverlay { slot, .. } => {
                assert!(index < root, "{plan}");
                filled.push(*slot);
            }
            Step::NewFilesystem { slot, .. } => filled.push(*slot),
            Step::TakeImage { slot, .. } => {
                assert!(*slot == Slot::ROOT && index < root, "{plan}");
                filled.push(*slot);
            }
            // Detached still, so that nobody has seen it.
            Step::LoadCredential { slot, .. }
            | Step::SetCredential { slot, .. }
            | Step::SealCredentials { slot, .. } => {
                assert!(filled.contains(slot) && index < root, "{plan}");
            }
            Step::Attach { slot, at, .. } => {
                assert!(filled.contains(slot) && index > root, "{plan}");
                assert!(!attached.iter().any(|done| done.starts_with(at)), "{} comes too late:\n{plan}", at.display());
                attached.push(at);
            }
            _ => {}
        }
    }
}

#[test]
fn no_mount_point_is_ever_made_in_a_tree_of_the_host() {
    use crate::plan::Create;
    let unit = with(
        "[[mounts]]\ndestination = \"/run/dbus/x\"\ntype = \"tmpfs\"\n[[mounts]]\ndestination = \"/srv/x\"\ntype = \"tmpfs\"",
    );
    let plan = plan(&unit, &host(&unit));
    let create = |wanted: &str| {
        plan.steps.iter().find_map(|planned| match &planned.step {
            Step::Attach { at, create, .. } if at == Path::new(wanted) => Some(*create),
            _ => None,
        })
    };
    assert_eq!(create("/srv/x"), Some(Create::Never));
    // The hidden directory must exist: were it skipped, the mount point would be made in the host's /run.
    assert_eq!(create("/run/dbus"), Some(Create::Never));
    assert_eq!(create("/run/dbus/x"), Some(Create::Directory));
}

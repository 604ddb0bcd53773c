//! Golden plans: each unit of `tests/plans/*.toml`, on a stated kind of host, compiles to the plan printed beside it.
//!
//! `RSVC_BLESS=1 cargo test --test plans` rewrites the expected plans; the difference is then to be read.

use rsvc::compile::{Cgroups, DirectoryRoots, HostFacts, PacketPrograms, Purpose, compile};
use rsvc::plan::{CapabilitySet, Step, wire};
use rsvc::unit::Unit;
use std::path::{Path, PathBuf};

/// A unit of `tests/plans`.
fn unit(name: &str) -> Unit {
    let path = folder().join(format!("{name}.toml"));
    let text = std::fs::read_to_string(&path).expect("the unit is in the tree");
    // Named as an administrator would see it, so that no machine's paths are in the plans.
    let parsed = Unit::parse(name, &format!("/etc/rsvc/units/{name}.toml"), &text);
    parsed.unwrap_or_else(|problems| panic!("{name}: {problems:#?}")).0
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans")
}

/// v1 controllers beside a v2 tree without any, no CAP_SYS_RESOURCE, no journal.
fn hybrid(unit: &Unit) -> HostFacts {
    let facts = HostFacts::assumed_for(unit);
    let controllers = facts.cgroups.controllers.clone();
    HostFacts {
        cgroups: Cgroups {
            unified: false,
            v1_controllers: controllers.clone(),
            controllers,
            crowded: false,
            available: true,
            packets: PacketPrograms::Possible,
        },
        journald: false,
        may_raise_limits: false,
        nofile_hard: 20000,
        ..facts
    }
}

/// `rsvc run` of uid 1000 without delegation.
fn ordinary_user(unit: &Unit) -> HostFacts {
    let base = PathBuf::from("/tmp/rsvc-1000");
    HostFacts {
        euid: 1000,
        egid: 1000,
        capabilities: CapabilitySet::EMPTY,
        cgroups: Cgroups {
            unified: true,
            controllers: Vec::new(),
            v1_controllers: Vec::new(),
            crowded: false,
            available: false,
            packets: PacketPrograms::NoTree,
        },
        journald: true,
        foreground: true,
        may_raise_limits: false,
        nofile_hard: 524288,
        runtime_dir: base.join("run"),
        state_dir: base.join("state"),
        unit_path: Vec::new(),
        directory_roots: DirectoryRoots {
            runtime: base.join("run/directories"),
            state: base.join("state/lib"),
            cache: base.join("state/cache"),
            logs: base.join("state/log"),
            configuration: base.join("state/etc"),
        },
        ..HostFacts::assumed_for(unit)
    }
}

/// Compiles, sends the plan through its encoding, and compares what is printed.
fn check(plan_name: &str, unit: &Unit, facts: &HostFacts, purpose: Purpose) {
    let plan = compile(unit, facts, purpose).unwrap_or_else(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        panic!("{plan_name}:\n{}", errors.join("\n"))
    });
    let start = wire::PerStart::default();
    assert_eq!(wire::decode(&wire::encode(&plan, &start)), Ok((plan.clone(), start)), "{plan_name}");
    // The length of a filter changes with every kernel release's list of calls; that there is one does not.
    let length = |step: &Step| match step {
        Step::LoadFilter { program, .. } => Some(program.0.len()),
        _ => None,
    };
    let mut text = plan.to_string();
    for length in plan.steps.iter().filter_map(|planned| length(&planned.step)) {
        assert!(length > 0 && length <= 4096, "{plan_name}: a filter of {length} instructions");
        text = text.replace(&format!("({length} instructions"), "(N instructions");
    }
    let path = folder().join(format!("{plan_name}.txt"));
    if std::env::var_os("RSVC_BLESS").is_some() {
        std::fs::write(&path, &text).expect("the tree is writable");
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    if text != expected {
        panic!("{plan_name}: {}\nto accept it: RSVC_BLESS=1 cargo test --test plans", difference(&expected, &text));
    }
}

/// The first line that differs, with its number.
fn difference(expected: &str, found: &str) -> String {
    let lines = expected.lines().count().max(found.lines().count());
    let pairs = (0..lines).map(|n| (n, expected.lines().nth(n), found.lines().nth(n)));
    match pairs.into_iter().find(|(_, expected, found)| expected != found) {
        Some((n, expected, found)) => {
            format!("line {}:\n  expected {}\n  found    {}", n + 1, expected.unwrap_or("-"), found.unwrap_or("-"))
        }
        None => "line ends differ".to_owned(),
    }
}

#[test]
fn a_unit_that_says_only_exec_gets_the_standard_profile() {
    let unit = unit("only-exec");
    check("only-exec", &unit, &HostFacts::assumed_for(&unit), Purpose::Main);
}

#[test]
fn the_same_on_a_hybrid_host_names_what_is_degraded() {
    let unit = unit("only-exec");
    check("only-exec.hybrid", &unit, &hybrid(&unit), Purpose::Main);
}

#[test]
fn the_same_by_an_ordinary_user_lives_in_a_user_namespace() {
    let unit = unit("only-exec");
    check("only-exec.rootless", &unit, &ordinary_user(&unit), Purpose::Main);
}

#[test]
fn a_root_in_a_file_comes_mounted_and_who_may_be_talked_to_is_named() {
    let unit = unit("image");
    check("image", &unit, &HostFacts::assumed_for(&unit), Purpose::Main);
}

#[test]
fn a_strict_service_of_its_own_user_writes_only_its_directories() {
    let unit = unit("strict-web");
    check("strict-web", &unit, &HostFacts::assumed_for(&unit), Purpose::Main);
}

#[test]
fn its_reload_joins_the_running_container_and_is_as_confined() {
    let unit = unit("strict-web");
    check("strict-web.reload", &unit, &HostFacts::assumed_for(&unit), Purpose::Reload(0));
}

#[test]
fn its_start_pre_runs_in_a_container_of_its_own() {
    let unit = unit("strict-web");
    check("strict-web.start-pre", &unit, &HostFacts::assumed_for(&unit), Purpose::StartPre(0));
}

#[test]
fn a_service_without_network_and_privileges_in_an_identity_user_namespace() {
    let unit = unit("redis-socket");
    check("redis-socket", &unit, &HostFacts::assumed_for(&unit), Purpose::Main);
}

#[test]
fn a_service_with_ids_of_its_own_maps_what_it_sees_before_anything_is_attached() {
    let unit = unit("own-ids");
    check("own-ids", &unit, &HostFacts::assumed_for(&unit), Purpose::Main);
    check("own-ids.reload", &unit, &HostFacts::assumed_for(&unit), Purpose::Reload(0));
}

#[test]
fn an_overlay_root_has_its_own_run_and_tmp_and_binds() {
    let unit = unit("overlay-shop");
    check("overlay-shop", &unit, &HostFacts::assumed_for(&unit), Purpose::Main);
}

#[test]
fn paths_and_mounts_are_made_parents_first_and_reopen_what_is_hidden() {
    let unit = unit("many-paths");
    check("many-paths", &unit, &hybrid(&unit), Purpose::Main);
}

#[test]
fn conditions_on_arguments_are_in_the_plan() {
    let unit = unit("call-arguments");
    check("call-arguments", &unit, &HostFacts::assumed_for(&unit), Purpose::Main);
}

#[test]
fn the_units_own_directory_is_seen_below_what_it_hides() {
    let unit = unit("hidden-run");
    check("hidden-run", &unit, &hybrid(&unit), Purpose::Main);
}

#[test]
fn a_bound_log_socket_is_the_units_own_with_and_without_a_journal() {
    let unit = unit("chroot-log");
    check("chroot-log", &unit, &HostFacts::assumed_for(&unit), Purpose::Main);
    check("chroot-log.hybrid", &unit, &hybrid(&unit), Purpose::Main);
}

#[test]
fn directories_of_a_redirected_instance_appear_at_their_usual_places() {
    let unit = unit("directories");
    check("directories.rootless", &unit, &ordinary_user(&unit), Purpose::Main);
}

#[test]
fn credentials_are_made_and_filled_before_anything_is_attached() {
    let unit = unit("credentials");
    check("credentials", &unit, &HostFacts::assumed_for(&unit), Purpose::Main);
    let plan = compile(&unit, &HostFacts::assumed_for(&unit), Purpose::Main).expect("it compiles");
    let bytes = wire::encode(&plan, &wire::PerStart::default());
    assert!(!bytes.windows(9).any(|part| part == b"not to be"), "the text is not in the plan");
    let reload = compile(&unit, &HostFacts::assumed_for(&unit), Purpose::Health);
    assert!(reload.is_err(), "it has no such command");
    // Without root nothing is made on the host.
    let mut own = ordinary_user(&unit);
    own.users.entry("www-data".to_owned()).and_modify(|user| user.uid = 1000);
    check("credentials.rootless", &unit, &own, Purpose::Main);
}

#[test]
fn the_host_profile_makes_no_container() {
    let unit = unit("host");
    check("host", &unit, &HostFacts::assumed_for(&unit), Purpose::Main);
}

#[test]
fn what_rsvc_opens_for_a_unit_and_when_it_starts_it_is_in_the_plan() {
    for name in ["listening", "nightly"] {
        let unit = unit(name);
        check(name, &unit, &HostFacts::assumed_for(&unit), Purpose::Main);
    }
}

#[test]
fn an_owner_of_a_socket_that_does_not_exist_is_refused_before_anything_is_opened() {
    let unit = unit("listening");
    let mut facts = HostFacts::assumed_for(&unit);
    facts.groups.remove("www-data");
    let errors = compile(&unit, &facts, Purpose::Main).expect_err("nobody owns it");
    let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 1, "{text:?}");
    assert!(text[0].contains("group `www-data` does not exist") && text[0].contains("listening.toml:12"), "{text:?}");
}

#[test]
fn a_member_of_a_pod_joins_its_owner_and_its_last_commands_do_not() {
    let unit = unit("pod-member");
    let facts = HostFacts::assumed_for(&unit);
    check("pod-member", &unit, &facts, Purpose::Main);
    check("pod-member.reload", &unit, &facts, Purpose::Reload(0));
    check("pod-member.stop-post", &unit, &facts, Purpose::StopPost(0));
}

//! What is refused and what is degraded on which host, and the order that every plan keeps.

mod isolation;
mod landlock;
mod order;
mod subordinate;

use super::*;
use crate::plan::{CapabilitySet, MapWriter, MountFlags};
use std::collections::BTreeMap;
use std::path::Path;

fn unit(text: &str) -> Unit {
    let parsed = Unit::parse("t", "t.toml", text);
    parsed.unwrap_or_else(|problems| panic!("{text}\n{problems:#?}")).0
}

/// A unit with `exec` and more.
fn with(more: &str) -> Unit {
    unit(&format!("[service]\nexec = [\"/usr/bin/app\"]\n{more}"))
}

fn host(unit: &Unit) -> HostFacts {
    HostFacts::assumed_for(unit)
}

fn hybrid(unit: &Unit) -> HostFacts {
    let mut facts = host(unit);
    facts.cgroups.unified = false;
    facts.cgroups.v1_controllers = facts.cgroups.controllers.clone();
    facts
}

/// As [`host`], with `rsvc run --pty` on it.
fn with_terminal(unit: &Unit) -> HostFacts {
    let environment = BTreeMap::from([("TERM".to_owned(), "vt102".to_owned())]);
    HostFacts { foreground: true, terminal: true, environment, ..host(unit) }
}

fn ordinary(unit: &Unit) -> HostFacts {
    let mut facts = HostFacts { euid: 1000, egid: 1000, capabilities: CapabilitySet::EMPTY, ..host(unit) };
    facts.cgroups.available = false;
    facts.cgroups.controllers.clear();
    facts.may_raise_limits = false;
    facts
}

fn plan(unit: &Unit, facts: &HostFacts) -> LaunchPlan {
    compile(unit, facts, Purpose::Main).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

/// The one error, as people see it.
#[track_caller]
fn refusal(unit: &Unit, facts: &HostFacts) -> String {
    match compile(unit, facts, Purpose::Main) {
        Ok(plan) => panic!("compiled:\n{plan}"),
        Err(errors) => errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

fn position(plan: &LaunchPlan, wanted: impl Fn(&Step) -> bool) -> Option<usize> {
    plan.steps.iter().position(|planned| wanted(&planned.step))
}

fn degraded(plan: &LaunchPlan, key: &str) -> bool {
    plan.degraded.iter().any(|item| item.key == key)
}

#[test]
fn an_unknown_user_is_refused_with_the_line_and_never_root() {
    let unit = with("user = \"wbe\"");
    let mut facts = host(&unit);
    facts.users.clear();
    assert_eq!(
        refusal(&unit, &facts),
        "failed at step USER: user `wbe` does not exist on this host\n  set by t.toml:3\n  \
         hint: check the spelling (`getent passwd wbe`), or make it: useradd --system wbe"
    );
}

#[test]
fn unknown_groups_are_refused_all_at_once_in_the_order_of_their_lines() {
    let unit = with("supplementary_groups = [\"b\", \"c\"]\ngroup = \"a\"");
    let mut facts = host(&unit);
    facts.groups.clear();
    let errors = compile(&unit, &facts, Purpose::Main).unwrap_err();
    let names: Vec<&str> = errors.iter().map(|error| error.message.split('`').nth(1).unwrap()).collect();
    assert_eq!(names, ["b", "c", "a"]);
    assert!(errors.iter().all(|error| (error.step, error.code) == ("GROUP", 216)));
}

#[test]
fn a_number_without_an_account_has_the_group_of_the_same_number() {
    let unit = with("user = \"4242\"");
    let mut facts = host(&unit);
    facts.users.clear();
    let plan = plan(&unit, &facts);
    let ids = |step: &Step| matches!(step, Step::SetIds { uid: 4242, gid: 4242 });
    assert!(position(&plan, ids).is_some());
}

#[test]
fn a_limit_that_only_v2_knows_refuses_on_v1_unless_optional() {
    let written = with("[resources]\nmemory_high = \"1M\"");
    let text = refusal(&written, &hybrid(&written));
    assert!(text.contains("resources.memory_high") && text.contains("t.toml:4"), "{text}");
    assert!(text.contains("security.optional"), "{text}");

    let optional = with("[resources]\nmemory_high = \"1M\"\n[security]\noptional = [\"resources.memory_high\"]");
    let plan = plan(&optional, &hybrid(&optional));
    assert!(degraded(&plan, "resources.memory_high"));
    assert_eq!(plan.cgroup.memory_high, None);
}

#[test]
fn a_list_that_is_all_the_unit_forbids_of_devices_is_refused_without_a_controller() {
    let list = "[devices]\nallow = [{ type = \"char\", major = 10, minor = 200 }]";
    let only = with(&format!("{list}\n[security]\nprofile = \"host\""));
    let mut facts = host(&only);
    facts.cgroups.controllers.retain(|name| name != "devices");
    let text = refusal(&only, &facts);
    assert!(text.contains("devices.allow: no device controller") && text.contains("t.toml:4"), "{text}");
    // Beside a default that closes everything else it opens.
    let more = with(list);
    assert!(degraded(&plan(&more, &facts), "devices.policy"));
}

#[test]
fn a_slice_without_groups_is_refused_or_said_to_be_missing() {
    let written = with("[resources]\nslice = \"batch\"");
    let mut facts = host(&written);
    facts.cgroups.available = false;
    assert!(refusal(&written, &facts).contains("resources.slice: no control group can be made here"));
    let optional = with("[resources]\nslice = \"batch\"\n[security]\noptional = [\"resources.slice\"]");
    assert!(degraded(&plan(&optional, &facts), "resources.slice"));
}

#[test]
fn a_missing_controller_degrades_defaults_and_refuses_what_is_written() {
    let defaults = with("");
    let mut facts = host(&defaults);
    facts.cgroups.controllers.retain(|name| name != "pids" && name != "devices");
    let plan = plan(&defaults, &facts);
    assert!(degraded(&plan, "resources.tasks_max") && degraded(&plan, "devices.policy"));
    assert_eq!((plan.cgroup.pids_max, &plan.cgroup.devices), (None, &None));

    let written = with("[resources]\ntasks_max = 10");
    assert!(refusal(&written, &facts).contains("no pids controller on this host"));
    facts.cgroups.crowded = true;
    let text = refusal(&written, &facts);
    assert!(text.contains("other processes share") && text.contains("systemd-run --scope -p Delegate=yes"), "{text}");
    facts.cgroups.available = false;
    facts.euid = 1000;
    assert!(refusal(&written, &facts).contains("systemd-run --user --scope"));
}

#[test]
fn an_ordinary_user_is_told_by_name_what_cannot_be_had() {
    for (more, expected) in [
        ("user = \"www-data\"", "only as itself"),
        ("user = \"auto\"", "only root can give"),
        ("supplementary_groups = [\"ssl\"]", "supplementary groups"),
        ("[resources]\nmemory_max = \"1M\"", "no control group can be made here"),
        ("[namespaces]\nuser = \"identity\"", "the own id only"),
        ("[devices]\npolicy = \"closed\"", "devices.policy"),
    ] {
        let unit = with(more);
        let text = refusal(&unit, &ordinary(&unit));
        assert!(text.contains(expected), "{more}: {text}");
    }
}

#[test]
fn an_ordinary_users_service_is_root_by_name_only() {
    let unit = with("");
    let plan = plan(&unit, &ordinary(&unit));
    assert!(plan.clone.user && plan.id_maps.as_ref().is_some_and(|maps| maps.writer == MapWriter::DaemonAsUser));
    let none = |step: &Step| matches!(step, Step::DropBoundingSet { keep } if keep.is_empty());
    assert!(position(&plan, none).is_some());
    assert_eq!(position(&plan, |step| matches!(step, Step::SetGroups { .. })), None);
    assert_eq!(position(&plan, |step| matches!(step, Step::MakeNode { .. })), None);
}

#[test]
fn a_capability_that_the_daemon_lacks_refuses_or_degrades() {
    let written = with("[capabilities]\nbounding = [\"CAP_SYS_RESOURCE\"]");
    let mut facts = host(&written);
    facts.capabilities = CapabilitySet(facts.capabilities.0 & !(1 << 24));
    assert!(refusal(&written, &facts).contains("CAP_SYS_RESOURCE is not available"));

    let default = with("");
    let mut facts = host(&default);
    facts.capabilities = CapabilitySet(facts.capabilities.0 & !1);
    let plan = plan(&default, &facts);
    assert!(degraded(&plan, "capabilities.bounding"));
    let verified = |step: &Step| matches!(step, Step::VerifyCredentials { bounding, .. } if !bounding.contains(0));
    assert!(position(&plan, verified).is_some());
}

#[test]
fn a_capability_and_the_protection_from_it_are_a_contradiction() {
    let unit = with("[capabilities]\nbounding = [\"CAP_SYS_TIME\"]");
    let text = refusal(&unit, &host(&unit));
    assert!(text.contains("security.protect_clock = false"), "{text}");
    let decided = with("[capabilities]\nbounding = [\"CAP_SYS_TIME\"]\n[security]\nprotect_clock = false");
    plan(&decided, &host(&decided));
}

#[test]
fn a_low_port_in_a_user_namespace_on_the_hosts_network_is_void() {
    let more =
        "user = \"web\"\n[capabilities]\nambient = [\"CAP_NET_BIND_SERVICE\"]\n[namespaces]\nuser = \"identity\"";
    let unit = with(more);
    assert!(refusal(&unit, &host(&unit)).contains("is void"));
    let own_network = with(&format!("{more}\n[network]\nmode = \"loopback\""));
    plan(&own_network, &host(&own_network));
}

#[test]
fn sys_admin_in_an_ordinary_users_namespace_cannot_go_with_protected_paths() {
    let unit = with("[capabilities]\nbounding = [\"CAP_SYS_ADMIN\"]");
    plan(&unit, &host(&unit));
    assert!(refusal(&unit, &ordinary(&unit)).contains("would undo"));
}

#[test]
fn a_program_in_a_place_that_the_container_hides_is_refused_with_a_way_out() {
    let hidden = unit("[service]\nexec = [\"/run/containerd/app\"]");
    let text = refusal(&hidden, &host(&hidden));
    assert!(text.contains("/run/containerd is hidden by filesystem.protect_system"), "{text}");
    let opened = "[filesystem]\nread_only_paths = [\"/run/containerd\"]";
    let opened = unit(&format!("[service]\nexec = [\"/run/containerd/app\"]\n{opened}"));
    plan(&opened, &host(&opened));
}

#[test]
fn nothing_is_mounted_over_proc_or_the_root() {
    for at in ["/proc/sys", "/proc"] {
        let mount = format!("[[mounts]]\ndestination = \"{at}\"\ntype = \"tmpfs\"");
        let Ok((unit, _)) = Unit::parse("t", "t.toml", &format!("[service]\nexec = [\"/bin/a\"]\n{mount}")) else {
            continue; // Refused even earlier.
        };
        assert!(refusal(&unit, &host(&unit)).contains("nothing may be mounted there"), "{at}");
    }
}

#[test]
fn the_instances_own_directories_are_hidden_wherever_a_bind_shows_them() {
    let unit =
        with("[[mounts]]\ndestination = \"/srv/all\"\ntype = \"bind\"\nsource = \"/var\"\noptions = [\"rbind\"]");
    let plan = plan(&unit, &host(&unit));
    for hidden in ["/run/rsvc", "/var/lib/rsvc", "/srv/all/lib/rsvc"] {
        let mask = |step: &Step| matches!(step, Step::Mask { at, .. } if at == Path::new(hidden));
        assert!(position(&plan, mask).is_some(), "{hidden}");
    }
}

#[test]
fn without_no_new_privileges_the_filter_is_loaded_with_the_right_to_and_exec_drops_it() {
    let unit = with("user = \"web\"\n[security]\nno_new_privileges = false");
    let plan = plan(&unit, &host(&unit));
    let kept = |step: &Step| {
        matches!(step, Step::SetCapabilities { permitted, inheritable, ambient }
            if permitted.contains(CapabilitySet::SYS_ADMIN) && inheritable.is_empty() && ambient.is_empty())
    };
    assert!(position(&plan, |step| matches!(step, Step::KeepCapabilities)).is_some());
    assert!(position(&plan, kept).is_some());
    let bounded = |step: &Step| matches!(step, Step::DropBoundingSet { keep } if keep.is_empty());
    assert!(position(&plan, bounded).is_some());
    let lacking = HostFacts { capabilities: CapabilitySet::EMPTY, ..host(&unit) };
    assert!(refusal(&unit, &lacking).contains("CAP_SYS_ADMIN"));
}

#[test]
fn trying_a_list_of_calls_does_not_switch_the_protections_off() {
    let unit = with("[syscalls]\nmode = \"log\"");
    let plan = plan(&unit, &host(&unit));
    let filters: Vec<bool> = plan
        .steps
        .iter()
        .filter_map(|planned| match planned.step {
            Step::LoadFilter { log, .. } => Some(log),
            _ => None,
        })
        .collect();
    assert!(filters.contains(&false) && filters.ends_with(&[true]), "{filters:?}");
}

#[test]
fn an_unmountable_proc_degrades_the_default_and_refuses_the_written() {
    let default = with("");
    let facts = HostFacts { proc_mountable: false, ..ordinary(&default) };
    let compiled = plan(&default, &facts);
    assert!(degraded(&compiled, "namespaces.pid") && !compiled.clone.pid);
    let written = with("[namespaces]\npid = \"private\"");
    let facts = HostFacts { proc_mountable: false, ..ordinary(&written) };
    assert!(refusal(&written, &facts).contains("namespaces.pid"));
}

#[test]
fn mapped_ranges_must_hold_the_user_that_a_name_stands_for() {
    let mapped = |size: u32| {
        let map = format!("[{{ container_id = 0, host_id = 100000, size = {size} }}]");
        with(&format!(
            "user = \"web\"\n[namespaces]\nuid_mappings = {map}\ngid_mappings = {map}\n[directories]\nstate = [\"w\"]"
        ))
    };
    let narrow = mapped(500);
    let text = refusal(&narrow, &host(&narrow));
    assert!(text.contains("uid 901 is not mapped") && text.contains("gid 901 is not mapped"), "{text}");
    let wide = mapped(65536);
    let plan = plan(&wide, &host(&wide));
    let crate::plan::HostStep::Directory { uid, gid, .. } = &plan.prepare[0];
    assert_eq!((*uid, *gid), (100901, 100901));
}

#[test]
fn a_command_that_the_unit_does_not_have_is_refused() {
    let unit = with("");
    let errors = compile(&unit, &host(&unit), Purpose::Stop(3)).unwrap_err();
    assert!(errors[0].message.contains("exec_stop[3]"));
}

#[test]
fn a_command_in_the_running_container_takes_the_same_confinement_and_no_mounts() {
    let unit = with("user = \"web\"\nexec_reload = [[\"/bin/kill\", \"-HUP\"]]");
    let facts = host(&unit);
    let (main, reload) = (plan(&unit, &facts), compile(&unit, &facts, Purpose::Reload(0)).unwrap());
    let confinement = |plan: &LaunchPlan| {
        let from = position(plan, |step| matches!(step, Step::DropBoundingSet { .. })).unwrap();
        // Rule sets are about what a container is made of; see `landlock` for what joins one.
        let steps = plan.steps[from..plan.steps.len() - 1].iter().filter(|p| p.step != Step::EnforceRuleset);
        steps.map(|planned| planned.step.clone()).collect::<Vec<_>>()
    };
    assert_eq!(confinement(&main), confinement(&reload));
    assert_eq!((reload.container, reload.clone, reload.prepare.len()), (Container::Joined, Namespaces::default(), 0));
    assert_eq!(position(&reload, |step| matches!(step, Step::Attach { .. } | Step::PivotRoot)), None);
    let join = |step: &Step| matches!(step, Step::JoinContainer { namespaces } if namespaces.pid && namespaces.mount);
    assert!(position(&reload, join).is_some());
}

#[test]
fn standard_leaves_writable_only_run_var_and_what_is_the_containers_own() {
    let unit = with("");
    let plan = plan(&unit, &host(&unit));
    let mut writable = Vec::new();
    for (index, planned) in plan.steps.iter().enumerate() {
        let Step::OpenTree { slot, path, .. } = &planned.step else { continue };
        let flags = plan.steps[index..].iter().find_map(|later| match &later.step {
            Step::SetAttributes { slot: of, set, .. } if of == slot => Some(*set),
            _ => None,
        });
        let flags = flags.unwrap_or(MountFlags::default());
        assert!(flags.no_suid && flags.no_dev, "{}", path.display());
        if !flags.read_only {
            writable.push(path.display().to_string());
        }
    }
    assert_eq!(writable, ["/run", "/var"]);
}

#[test]
fn needs_name_exactly_what_the_unit_asks_of_the_host() {
    let unit = with(
        "user = \"web\"\ngroup = \"7\"\nsupplementary_groups = [\"ssl\"]\n[devices]\nallow = [{ path = \"/dev/fuse\", access = \"rw\" }]\n\
         [directories]\nstate = [\"web\"]",
    );
    let needs = needs(&unit);
    assert_eq!(needs.users.iter().collect::<Vec<_>>(), ["web"]);
    assert_eq!(needs.groups.iter().collect::<Vec<_>>(), ["7", "ssl"]);
    assert!(needs.devices.contains(Path::new("/dev/fuse")) && needs.devices.contains(Path::new("/dev/null")));
    assert!(needs.paths.contains(Path::new("/var/lib/web")));
}

#[test]
fn who_chooses_among_messages_reads_them_and_there_is_no_way_around() {
    let link = |plan: &LaunchPlan| {
        plan.steps.iter().find_map(|planned| match &planned.step {
            Step::MakeSymlink { name, target, .. } if name == "log" => Some(target.display().to_string()),
            _ => None,
        })
    };
    let plain = with("");
    let journal = |unit: &Unit| HostFacts { journald: true, ..host(unit) };
    let direct = plan(&plain, &journal(&plain));
    assert_eq!(direct.output, Output::Journal);
    assert!(link(&direct).is_some_and(|target| target.starts_with("/run/systemd/journal")));
    for rule in
        ["level_max = \"info\"", "rate_limit_burst = 5", "rate_limit_interval = \"1s\"", "fields = { A = \"b\" }"]
    {
        let unit = with(&format!("[logging]\n{rule}"));
        let relayed = plan(&unit, &journal(&unit));
        assert_eq!(relayed.output, Output::Relay, "{rule}");
        assert!(link(&relayed).is_some_and(|target| target == "/dev/rsvc/log"), "{rule}");
        assert!(!relayed.to_string().contains("/run/systemd/journal"), "{rule}");
        let shown = plan(&unit, &HostFacts { foreground: true, ..journal(&unit) });
        assert_eq!(shown.output, Output::Inherit);
        let key = format!("logging.{}", rule.split(' ').next().unwrap());
        assert!(degraded(&shown, &key), "{rule}");
    }
    for nothing in
        ["level_max = \"debug\"", "rate_limit_burst = 0", "rate_limit_interval = \"0s\"\nrate_limit_burst = 9"]
    {
        let unit = with(&format!("[logging]\n{nothing}"));
        assert_eq!(plan(&unit, &journal(&unit)).output, Output::Journal, "{nothing}");
    }
    let fields = with("[logging]\nfields = { A = \"b\" }");
    assert!(refusal(&fields, &HostFacts { journald: false, ..host(&fields) }).contains("logging.fields"));
}

#[test]
fn a_terminal_is_opened_by_the_service_before_its_filter_and_for_nothing_else() {
    let unit =
        unit("[service]\nexec = [\"/bin/sh\"]\nexec_start_pre = [[\"/bin/true\"]]\n[logging]\ntarget = \"file\"\n");
    let facts = with_terminal(&unit);
    let plan = compile(&unit, &facts, Purpose::Main).expect("a plan");
    let at = |wanted: fn(&Step) -> bool| plan.steps.iter().position(|planned| wanted(&planned.step)).expect("the step");
    let opened = at(|step| matches!(step, Step::OpenTerminal));
    assert!(at(|step| matches!(step, Step::SetIds { .. })) < opened, "it belongs to who opens it");
    assert!(at(|step| matches!(step, Step::ForkService)) < opened, "the session is the service's");
    assert!(opened < at(|step| matches!(step, Step::ArrangeDescriptors)));
    assert!(opened < at(|step| matches!(step, Step::LoadFilter { .. })));
    assert_eq!(plan.output, Output::Terminal, "whoever asked sits there and looks");
    let environment = |plan: &LaunchPlan| match plan.steps.last().map(|planned| &planned.step) {
        Some(Step::Execute { environment, .. }) => environment.clone(),
        other => panic!("{other:?}"),
    };
    assert!(environment(&plan).contains(&("TERM".to_owned(), "vt102".to_owned())));
    let before = compile(&unit, &facts, Purpose::StartPre(0)).expect("a plan");
    assert!(!before.steps.iter().any(|planned| planned.step == Step::OpenTerminal));
    assert_eq!(before.output, Output::Pipe);
    assert!(environment(&before).iter().all(|(name, _)| name != "TERM"));
}

#[test]
fn passed_variables_stand_between_the_defaults_and_what_the_unit_sets() {
    let unit = with("pass_environment = [\"LANG\", \"A\", \"B\", \"ABSENT\"]\nenvironment = { B = \"unit\" }\n");
    assert!(needs(&unit).variables.contains("ABSENT"));
    let of_caller = [("LANG", "de_DE.UTF-8"), ("A", "caller"), ("B", "caller"), ("OTHER", "caller")];
    let environment = of_caller.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let plan = plan(&unit, &HostFacts { environment, ..host(&unit) });
    let Some(Step::Execute { environment, .. }) = plan.steps.last().map(|planned| &planned.step) else { panic!() };
    let value = |name: &str| environment.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let found = ["LANG", "A", "B", "ABSENT", "OTHER"].map(value);
    assert_eq!(found, [Some("de_DE.UTF-8"), Some("caller"), Some("unit"), None, None]);
}

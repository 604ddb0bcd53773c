//! Rule sets: what is in them, and what old kernels and unfit units get.

use super::*;
use crate::plan::{PathRule, PortRange, Ruleset};

fn ruleset(plan: &LaunchPlan) -> Option<&Ruleset> {
    let sets = plan.steps.iter().filter_map(|planned| match &planned.step {
        Step::MakeRuleset(ruleset) => Some(ruleset.as_ref()),
        _ => None,
    });
    let found: Vec<_> = sets.collect();
    let enforced = position(plan, |step| matches!(step, Step::EnforceRuleset)).is_some();
    assert_eq!(found.len(), usize::from(enforced), "{plan}");
    found.first().copied()
}

fn on(unit: &Unit, abi: Option<u32>) -> HostFacts {
    HostFacts { landlock: abi, ..host(unit) }
}

fn places(ruleset: &Ruleset, wanted: fn(&PathRule) -> bool) -> Vec<String> {
    let rules = &ruleset.files.as_ref().expect("rules about files").rules;
    rules.iter().filter(|rule| wanted(rule)).map(|rule| rule.path.display().to_string()).collect()
}

fn why(plan: &LaunchPlan) -> Vec<&str> {
    plan.degraded.iter().filter(|item| item.key == "security.landlock").map(|item| item.why.as_str()).collect()
}

#[test]
fn what_the_mounts_make_writable_is_writable_and_nothing_else() {
    let unit = with("[directories]\nstate = [\"t\"]");
    let standard = plan(&unit, &host(&unit));
    let set = ruleset(&standard).expect("a rule set");
    let files = set.files.as_ref().expect("rules about files");
    assert_eq!((files.write, files.truncate, files.execute, files.message_queues), (true, true, false, false));
    let making = ["/dev/mqueue", "/dev/shm", "/run", "/tmp", "/var", "/var/tmp"];
    assert_eq!(places(set, |rule| rule.make), making);
    assert_eq!(places(set, |rule| rule.write && !rule.make), ["/dev", "/dev/pts", "/proc"]);
    assert!(set.own_signals && set.own_abstract_sockets && set.bind.is_none());

    let strict = with("user = \"web\"\n[directories]\nstate = [\"t\"]\n[security]\nprofile = \"strict\"");
    let strict = plan(&strict, &host(&strict));
    let set = ruleset(&strict).expect("a rule set");
    assert_eq!(places(set, |rule| rule.make), ["/dev/mqueue", "/dev/shm", "/tmp", "/var/lib/t", "/var/tmp"]);
    assert!(places(set, |rule| rule.execute).contains(&"/usr".to_owned()));
    assert!(!places(set, |rule| rule.execute).contains(&"/var/lib/t".to_owned()));
}

#[test]
fn a_tree_that_is_writable_as_a_whole_has_no_rules_about_files() {
    for body in ["[filesystem]\nprotect_system = \"off\"", "[filesystem]\nprotect_system = \"full\""] {
        let unit = with(body);
        let plan = plan(&unit, &host(&unit));
        let set = ruleset(&plan).expect("scopes");
        assert_eq!(set.files, None, "{body}");
        assert!(set.own_signals && why(&plan).is_empty());
    }
    let unit = with("[security]\nprofile = \"host\"");
    assert_eq!(ruleset(&plan(&unit, &host(&unit))), None);
    let unit = with("[security]\nlandlock = false");
    assert_eq!(ruleset(&plan(&unit, &host(&unit))), None);
}

#[test]
fn an_old_kernel_degrades_the_default_and_refuses_what_is_written() {
    let default = with("");
    let written = with("[security]\nlandlock = true");
    let optional = with("[security]\nlandlock = true\noptional = [\"security.landlock\"]");
    let cases = [
        (None, "has no Landlock"),
        (Some(1), "rules about files"),
        (Some(2), "truncating files"),
        (Some(5), "abstract sockets and signals"),
    ];
    for (abi, words) in cases {
        let plan = plan(&default, &on(&default, abi));
        assert!(why(&plan).len() == 1 && why(&plan)[0].contains(words), "{abi:?}: {:?}", why(&plan));
        let text = refusal(&written, &on(&written, abi));
        assert!(text.contains(words) && text.contains("t.toml:4") && text.contains("security.optional"), "{text}");
        assert!(degraded(&super::plan(&optional, &on(&optional, abi)), "security.landlock"), "{abi:?}");
        let set = ruleset(&plan);
        assert_eq!(set.is_some_and(|set| set.files.is_some()), abi.is_some_and(|abi| abi >= 2), "{abi:?}");
        assert_eq!(set.and_then(|set| set.files.as_ref()).is_some_and(|files| files.truncate), abi == Some(5));
        assert!(!set.is_some_and(|set| set.own_signals || set.own_abstract_sockets), "{abi:?}");
    }
    let plan = plan(&written, &on(&written, Some(6)));
    assert!(why(&plan).is_empty() && ruleset(&plan).is_some());
}

#[test]
fn ports_and_scopes_that_are_written_are_refused_where_they_cannot_be_had() {
    for (body, enough) in [
        ("[network]\nbind_allow = [\"tcp:80\"]", 4),
        ("[network]\nconnect_allow = []", 4),
        ("[network]\nabstract_sockets = false", 6),
        ("[security]\nrestrict_signals = true", 6),
    ] {
        let unit = with(body);
        let text = refusal(&unit, &on(&unit, Some(enough - 1)));
        assert!(text.contains("t.toml:4") && text.contains(&format!("interface {enough}")), "{text}");
        assert!(refusal(&unit, &on(&unit, None)).contains("no Landlock"));
        assert!(ruleset(&plan(&unit, &on(&unit, Some(enough)))).is_some());
    }
}

#[test]
fn a_unit_that_may_mount_has_no_rules_about_files() {
    for body in [
        "[capabilities]\nbounding = [\"SYS_ADMIN\"]",
        "[security]\nrestrict_namespaces = false",
        "[security]\nrestrict_namespaces = [\"mnt\"]",
    ] {
        let unit = with(body);
        let plan = plan(&unit, &host(&unit));
        assert_eq!(why(&plan).len(), 1, "{body}");
        assert!(ruleset(&plan).is_some_and(|set| set.files.is_none() && set.own_signals), "{body}");
    }
    let unit = with("[security]\nlandlock = true\nrestrict_namespaces = false");
    assert!(refusal(&unit, &host(&unit)).contains("security.landlock"));
}

#[test]
fn who_looks_into_processes_of_others_is_left_alone() {
    let shared = with("[namespaces]\npid = \"unit:app\"\n[network]\nmode = \"unit:app\"");
    let sharing = plan(&shared, &host(&shared));
    assert_eq!((ruleset(&sharing), why(&sharing).len()), (None, 1));
    let tracer = with("[namespaces]\npid = \"host\"\n[capabilities]\nbounding = [\"SYS_PTRACE\"]");
    let tracing = plan(&tracer, &host(&tracer));
    assert_eq!((ruleset(&tracing), why(&tracing).len()), (None, 1));
    let network = with("[network]\nmode = \"unit:app\"");
    let network = plan(&network, &host(&network));
    assert!(ruleset(&network).is_some_and(|set| set.own_signals && !set.own_abstract_sockets));
}

#[test]
fn commands_that_join_are_bound_by_ports_alone() {
    let with_reload = |more: &str| with(&format!("exec_reload = [[\"/bin/true\"]]\n{more}"));
    let unit = with_reload("");
    let joined = compile(&unit, &host(&unit), Purpose::Reload(0)).unwrap();
    assert_eq!(ruleset(&joined), None);
    let unit = with_reload("[network]\nbind_allow = [\"tcp:80-81\"]");
    let joined = compile(&unit, &host(&unit), Purpose::Reload(0)).unwrap();
    let bind = Some(vec![PortRange { first: 80, last: 81 }]);
    assert_eq!(ruleset(&joined), Some(&Ruleset { bind, ..Ruleset::default() }));
}

#[test]
fn without_no_new_privileges_it_takes_a_right() {
    // A filter is loaded with CAP_SYS_ADMIN, which is kept until exec: that is enough.
    let unit = with("[security]\nno_new_privileges = false");
    assert!(ruleset(&plan(&unit, &host(&unit))).is_some());
    let bare = "[syscalls]\nmode = \"off\"\n[security]\nprofile = \"host\"\nrestrict_signals = true";
    let unit = with(&format!("[capabilities]\nbounding = []\n{bare}"));
    let text = refusal(&unit, &host(&unit));
    assert!(text.contains("CAP_SYS_ADMIN") && text.contains("security.restrict_signals"), "{text}");
}

#[test]
fn a_wall_that_would_hold_nothing_is_refused_when_written() {
    for (body, words) in [
        ("[filesystem]\nprotect_system = \"full\"\n", "writable as a whole"),
        ("[namespaces]\nmount = \"host\"\n", "needs a mount namespace"),
    ] {
        let unit = with(&format!("{body}[security]\nlandlock = true"));
        assert!(refusal(&unit, &host(&unit)).contains(words), "{body}");
    }
}

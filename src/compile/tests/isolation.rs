//! Peers, images, labels, and commands of other users: what is planned, and where it is refused.

use super::*;
use crate::plan::{PlannedStep, PortRange};

#[test]
fn peers_are_judged_where_the_host_can_and_the_start_is_refused_elsewhere() {
    let text = "[network]\nip_deny = [\"any\"]\nip_allow = [\"localhost\"]\n";
    let strict = with(text);
    for facts in [host(&strict), hybrid(&strict)] {
        let rules = plan(&strict, &facts).cgroup.addresses.expect("rules");
        assert_eq!(rules.to_string(), "deny 0.0.0.0/0, ::/0 but 127.0.0.0/8, ::1");
    }
    let lenient = with(&format!("{text}[security]\noptional = [\"network.ip_deny\"]\n"));
    for (packets, why) in [(PacketPrograms::NoTree, "no cgroup v2 tree"), (PacketPrograms::Refused, "no BPF programs")]
    {
        let mut facts = host(&strict);
        facts.cgroups.packets = packets;
        let said = refusal(&strict, &facts);
        assert!(said.contains("network.ip_deny") && said.contains(why) && said.contains("t.toml:4"), "{said}");
        let plan = plan(&lenient, &facts);
        assert_eq!(plan.cgroup.addresses, None);
        assert!(plan.degraded.iter().any(|item| item.key == "network.ip_deny"), "{:?}", plan.degraded);
    }
    assert!(refusal(&strict, &ordinary(&strict)).contains("network.ip_deny"));
}

#[test]
fn ports_of_udp_are_the_groups_and_those_of_tcp_landlocks() {
    let ranges = |unit: &Unit, facts: &HostFacts| plan(unit, facts).cgroup.udp_ports;
    let ports = |list: &[(u16, u16)]| -> Option<Box<[PortRange]>> {
        Some(list.iter().map(|(first, last)| PortRange { first: *first, last: *last }).collect())
    };
    let text = "[network]\nbind_allow = [\"udp:53\", \"tcp:80\", \"udp:8000-8010\"]\n";
    let strict = with(text);
    for facts in [host(&strict), hybrid(&strict)] {
        assert_eq!(ranges(&strict, &facts), ports(&[(53, 53), (8000, 8010)]));
    }
    for list in ["[\"tcp:80\"]", "[]", "[\"all\"]"] {
        let unit = with(&format!("[network]\nbind_allow = {list}\n"));
        assert_eq!(ranges(&unit, &host(&unit)), None, "{list}");
    }
    let lenient = with(&format!("{text}[security]\noptional = [\"network.bind_allow\"]\n"));
    for (packets, why) in
        [(PacketPrograms::NoTree, "no cgroup v2 tree"), (PacketPrograms::Refused, "programs for ports")]
    {
        let mut facts = host(&strict);
        facts.cgroups.packets = packets;
        let said = refusal(&strict, &facts);
        assert!(said.contains("network.bind_allow") && said.contains(why) && said.contains("t.toml:4"), "{said}");
        let plan = plan(&lenient, &facts);
        assert_eq!(plan.cgroup.udp_ports, None);
        assert!(plan.degraded.iter().any(|item| item.key == "network.bind_allow"), "{:?}", plan.degraded);
    }
    assert!(refusal(&strict, &ordinary(&strict)).contains("network.bind_allow"));
}

#[test]
fn ipc_that_would_stay_behind_is_not_promised_to_be_removed() {
    let ask = |more: &str| with(&format!("[security]\nremove_ipc = true\n{more}"));
    let unit = ask("");
    plan(&unit, &host(&unit));
    for more in ["[namespaces]\nipc = \"host\"\n", "[namespaces]\nipc = \"unit:db\"\n", "[devices]\nprivate = false\n"]
    {
        let unit = ask(more);
        let said = refusal(&unit, &host(&unit));
        assert!(said.contains("security.remove_ipc") && said.contains("t.toml:4"), "{said}");
    }
    let lenient = ask("optional = [\"security.remove_ipc\"]\n[namespaces]\nipc = \"host\"\n");
    assert!(plan(&lenient, &host(&lenient)).degraded.iter().any(|item| item.key == "security.remove_ipc"));
}

#[test]
fn an_image_is_the_daemons_to_mount_and_an_ordinary_users_is_refused() {
    let unit = with("[rootfs]\ntype = \"squashfs\"\npath = \"/srv/r.squashfs\"\n");
    let plan = plan(&unit, &host(&unit));
    let taken = position(&plan, |step| matches!(step, Step::TakeImage { fs_type, .. } if fs_type == "squashfs"));
    let Some(PlannedStep { step: Step::SetAttributes { set, .. }, .. }) = taken.map(|at| &plan.steps[at + 1]) else {
        panic!("{plan}")
    };
    assert!(set.no_suid && set.no_dev, "{plan}");
    let said = refusal(&unit, &ordinary(&unit));
    assert!(said.contains("only root") && said.contains("t.toml:4"), "{said}");
}

#[test]
fn a_label_is_asked_of_the_module_that_is_at_work_and_refused_without_it() {
    use crate::plan::SecurityModule::{AppArmor, SeLinux};
    let text = |key: &str, more: &str| format!("[security]\n{key} = \"system_u:system_r:web_t\"\n{more}");
    for (module, key, code) in [(AppArmor, "apparmor_profile", 231), (SeLinux, "selinux_context", 229)] {
        let unit = with(&text(key, ""));
        let facts = HostFacts { security_modules: vec![module], ..host(&unit) };
        for purpose in [Purpose::Main, Purpose::Ready, Purpose::Errand { terminal: false }] {
            let plan = compile_command(Context::new(&unit, &facts, purpose), &["/bin/x".to_owned()]).expect("compiles");
            let asks = |step: &Step| matches!(step, Step::SetExecLabel { module: found, .. } if *found == module);
            let at = position(&plan, asks).unwrap_or_else(|| panic!("{plan}"));
            // A fork would not hand it down, and later the process may not open its own files.
            assert!(position(&plan, |step| *step == Step::ForkService).is_none_or(|fork| fork < at), "{plan}");
            assert!(position(&plan, |step| matches!(step, Step::SetIds { .. })).is_some_and(|ids| at < ids), "{plan}");
            assert_eq!(plan.steps[at].step.code(), code);
        }
        let other =
            HostFacts { security_modules: vec![if module == AppArmor { SeLinux } else { AppArmor }], ..host(&unit) };
        let said = refusal(&unit, &other);
        assert!(said.contains(module.name()) && said.contains("t.toml:4") && said.contains(key), "{said}");
        let lenient = with(&text(key, &format!("optional = [\"security.{key}\"]\n")));
        assert!(plan(&lenient, &other).degraded.iter().any(|item| item.key == format!("security.{key}")));
    }
}

/// User, group, groups; bounding, permitted and ambient set.
type Rights = (u32, u32, Vec<u32>, u64, u64, u64);

/// Rights of a command by `user` beside the unit.
fn errand(unit: &Unit, user: &UserFact) -> Result<Rights, String> {
    let facts = host(unit);
    let errand = Errand { command: &["/bin/x".to_owned()], terminal: false, user: Some(user) };
    let plan = compile_errand(unit, &facts, errand).map_err(|errors| errors[0].to_string())?;
    let verified = plan.steps.iter().find_map(|planned| match &planned.step {
        Step::VerifyCredentials { uid, gid, groups, bounding, permitted, ambient, .. } => {
            Some((*uid, *gid, groups.clone().expect("groups"), bounding.0, permitted.0, ambient.0))
        }
        _ => None,
    });
    Ok(verified.expect("credentials are verified"))
}

#[test]
fn a_command_of_another_user_has_no_capability_that_the_main_process_has_not() {
    let fact = |name: &str, uid| UserFact {
        name: name.to_owned(),
        uid,
        gid: uid,
        home: format!("/home/{name}"),
        shell: "/bin/sh".to_owned(),
        groups: vec![77],
    };
    let (root, other) = (fact("root", 0), fact("other", 1234));
    let (chown, net_admin) = (1 << 0, 1 << 12);
    // Root inside has the bounding set; somebody else what is ambient.
    let of_root = with("[capabilities]\nbounding = [\"CHOWN\"]\n");
    assert_eq!(errand(&of_root, &root), Ok((0, 0, vec![0, 77], chown, chown, 0)));
    assert_eq!(errand(&of_root, &other), Ok((1234, 1234, vec![77, 1234], chown, 0, 0)));
    // Beside a main process without capabilities root has none, though the bounding set has one.
    let of_web = with("user = \"web\"\n[capabilities]\nbounding = [\"CHOWN\"]\n");
    assert_eq!(errand(&of_web, &root), Ok((0, 0, vec![0, 77], 0, 0, 0)));
    let ambient = with(
        "user = \"web\"\nsupplementary_groups = [\"adm\"]\n[capabilities]\nbounding = [\"CHOWN\"]\nambient = [\"NET_ADMIN\"]\n",
    );
    assert_eq!(errand(&ambient, &root), Ok((0, 0, vec![0, 77], net_admin, net_admin, net_admin)));
    let both = chown | net_admin;
    assert_eq!(errand(&ambient, &other), Ok((1234, 1234, vec![77, 1234], both, net_admin, net_admin)));
    // Whom the user namespace does not know nobody can become.
    let maps = "[namespaces]\nuid_mappings = [{ container_id = 0, host_id = 100000, size = 1000 }]\n\
                gid_mappings = [{ container_id = 0, host_id = 100000, size = 1000 }]\n";
    let said = errand(&with(maps), &other).expect_err("not mapped");
    assert!(said.contains("uid 1234 is not mapped"), "{said}");
    assert!(errand(&with(maps), &root).is_ok());
}

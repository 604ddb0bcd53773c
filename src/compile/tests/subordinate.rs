//! Other ids of an ordinary user: when they are mapped, and what is said where there are none.

use super::*;
use crate::plan::IdMaps;

fn granted(unit: &Unit) -> HostFacts {
    let ids = |first| vec![(first, 65536)];
    HostFacts { subordinate: Subordinate::Granted { uid: ids(100_000), gid: ids(200_000) }, ..ordinary(unit) }
}

fn missing(unit: &Unit) -> HostFacts {
    let (why, remedy) = ("/etc/subuid gives alice no ids".to_owned(), "as root: usermod".to_owned());
    HostFacts { subordinate: Subordinate::Missing { why, remedy }, ..ordinary(unit) }
}

const OWN_ROOT: &str = "[rootfs]\ntype = \"directory\"\npath = \"/srv/app\"\n";

#[test]
fn ids_of_subuid_are_mapped_behind_the_own_one_and_the_tools_write_them() {
    let expected = IdMaps {
        uid: vec![(0, 1000, 1), (1, 100_000, 65536)],
        gid: vec![(0, 1000, 1), (1, 200_000, 65536)],
        writer: MapWriter::Tools,
    };
    for (text, id) in [
        (format!("user = \"33\"\n{OWN_ROOT}"), 33),
        ("user = \"33\"\n[namespaces]\nuser = \"auto\"".to_owned(), 33),
        ("[namespaces]\nuser = \"auto\"".to_owned(), 0),
        // Who runs rsvc is root inside, by any name.
        ("user = \"1000\"\n[namespaces]\nuser = \"auto\"".to_owned(), 0),
    ] {
        let unit = with(&text);
        assert!(needs(&unit).subordinate, "{text}");
        let plan = plan(&unit, &granted(&unit));
        assert_eq!(plan.id_maps.as_ref(), Some(&expected), "{text}");
        assert!(position(&plan, |step| *step == Step::SetIds { uid: id, gid: id }).is_some(), "{text}\n{plan}");
        assert!(position(&plan, |step| *step == Step::SetGroups { groups: vec![id] }).is_some(), "{text}\n{plan}");
        let none = |step: &Step| matches!(step, Step::DropBoundingSet { keep } if keep.is_empty());
        assert!(position(&plan, none).is_some(), "{text}");
        assert!(plan.to_string().contains("by newuidmap and newgidmap"), "{plan}");
    }
    // Who asks for nobody else needs no tools.
    for text in [OWN_ROOT, &format!("user = \"1000\"\n{OWN_ROOT}")] {
        let unit = with(text);
        let maps = plan(&unit, &granted(&unit)).id_maps.expect("a user namespace");
        assert_eq!((maps.uid.len(), maps.writer), (1, MapWriter::DaemonAsUser), "{text}");
    }
}

#[test]
fn what_cannot_be_mapped_or_given_away_is_refused_with_the_cause_and_what_to_do() {
    let auto = "[namespaces]\nuser = \"auto\"\n";
    let own_root = format!("user = \"33\"\n{OWN_ROOT}");
    for text in [auto, &own_root] {
        let unit = with(text);
        let said = refusal(&unit, &missing(&unit));
        assert!(said.contains("/etc/subuid gives alice no ids") && said.contains("usermod"), "{said}");
    }
    let lenient = with(&format!("user = \"1000\"\n{auto}[security]\noptional = [\"namespaces.user\"]\n"));
    let plan_without = plan(&lenient, &missing(&lenient));
    assert!(degraded(&plan_without, "namespaces.user"));
    assert_eq!(plan_without.id_maps.expect("a user namespace").writer, MapWriter::DaemonAsUser);
    for (text, wanted) in [
        // The host's files belong to nobody that is mapped.
        ("user = \"33\"\n".to_owned(), "only as itself on the host's root"),
        (format!("user = \"70000\"\n{OWN_ROOT}"), "uid 70000 is not among the ids of /etc/subuid"),
        (format!("user = \"33\"\nsupplementary_groups = [\"70000\"]\n{OWN_ROOT}"), "gid 70000 is not among"),
        (format!("{own_root}[directories]\nstate = [\"app\"]\n"), "cannot give directories to another id"),
    ] {
        let unit = with(&text);
        let said = refusal(&unit, &granted(&unit));
        assert!(said.contains(wanted), "{text}: {said}");
    }
    let unit = with(&format!("{own_root}[directories]\nconfiguration = [\"app\"]\n"));
    plan(&unit, &granted(&unit));
}

use super::*;
use crate::unit::Unit;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn side(unit: &Unit) -> Side<'_> {
    Side { unit, posture: Posture::of(unit), degraded: BTreeSet::new(), host: BTreeMap::new() }
}

fn unit(text: &str) -> Unit {
    Unit::parse("web", "web.toml", &format!("[service]\nexec = [\"/bin/true\"]\n{text}")).expect("a unit").0
}

fn probe(id: &str) -> &'static Probe {
    all().find(|probe| probe.id == id).unwrap_or_else(|| panic!("no probe {id}"))
}

#[test]
fn ids_are_unique_and_every_door_has_somebody_who_can_promise_it() {
    let ids: BTreeSet<&str> = all().map(|probe| probe.id).collect();
    assert_eq!(ids.len(), all().count());
    assert!(ids.len() >= 50);
    let mut wrong = Vec::new();
    for key in all().flat_map(|probe| probe.keys) {
        if key.name() != "always" && crate::unit::keys::find(key.name()).is_none() {
            wrong.push(key.name());
        }
        if let Key::Calls(calls) = key {
            let known: BTreeSet<&str> = crate::filter::all_call_names().collect();
            wrong.extend(calls.iter().filter(|call| !known.contains(**call)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(all().all(|probe| !probe.keys.is_empty()));
}

#[test]
fn what_is_found_survives_its_line() {
    let all = [
        Found::Done(String::new()),
        Found::Done("/dev/mem".into()),
        Found::Failed(1),
        Found::Nothing("empty".into()),
        Found::Value(String::new()),
        Found::Value("1 2".into()),
        Found::Killed(31),
        Found::Skipped("why".into()),
    ];
    for found in all {
        let line = found.line("mount");
        assert_eq!(Found::parse(line.trim_end_matches('\n')), Some(("mount", found)));
    }
    for line in ["", "mount", "mount\t", "mount\terrno", "mount\terrno x", "mount\tperhaps 1"] {
        assert_eq!(Found::parse(line), None, "{line}");
    }
    assert_eq!(Found::Value("a\nmount\tdone".into()).line("x").lines().count(), 1);
}

#[test]
fn a_door_is_promised_by_the_unit_and_by_nothing_else() {
    let (standard, open) = (unit(""), unit("[security]\nprofile = \"host\"\n"));
    let promised = |unit: &Unit, id: &str| judge(probe(id), None, &side(unit)).keys;
    assert_eq!(promised(&standard, "mount"), ["syscalls.allow", "capabilities.bounding"]);
    assert_eq!(promised(&standard, "user"), [""; 0]);
    assert_eq!(promised(&standard, "write-var"), [""; 0]);
    assert_eq!(promised(&standard, "write-cron"), ["filesystem.protect_system"]);
    let opened = unit("[filesystem]\nread_write_paths = [\"/var/spool\"]\n");
    assert_eq!(promised(&opened, "write-cron"), [""; 0]);
    for probe in all().filter(|probe| !["descriptors", "inheritable", "limits"].contains(&probe.id)) {
        assert_eq!(judge(probe, None, &side(&open)).keys, [""; 0], "{}", probe.id);
    }
}

#[test]
fn what_is_open_is_a_broken_promise_only_where_it_was_promised() {
    let (standard, open) = (unit(""), unit("[security]\nprofile = \"host\"\n"));
    let judged = |unit: &Unit, id: &str, found: Found| {
        let finding = judge(probe(id), Some(found), &side(unit));
        (finding.verdict, finding.is_broken())
    };
    assert_eq!(judged(&standard, "mount", Found::Failed(libc::EPERM)), (Verdict::Closed, false));
    assert_eq!(judged(&standard, "mount", Found::Failed(libc::ENODEV)), (Verdict::Open, true));
    assert_eq!(judged(&standard, "mount", Found::Killed(31)), (Verdict::Closed, false));
    assert_eq!(judged(&standard, "mount", Found::Killed(libc::SIGALRM)), (Verdict::Skipped, false));
    assert_eq!(judged(&open, "mount", Found::Failed(libc::ENODEV)), (Verdict::Open, false));
    assert_eq!(judged(&standard, "fsopen-cgroup", Found::Failed(libc::ENODEV)), (Verdict::Closed, false));
    assert_eq!(judged(&standard, "kcore", Found::Nothing("empty".into())), (Verdict::Closed, false));
    assert_eq!(judged(&standard, "socket-families", Found::Value("1 2 10 16".into())), (Verdict::Closed, false));
    assert_eq!(judged(&standard, "socket-families", Found::Value("1 2 10 16 38".into())), (Verdict::Open, true));
    // A unit that answers otherwise.
    let other = unit("[syscalls]\nerrno = \"ENODEV\"\n");
    assert_eq!(judged(&other, "mount", Found::Failed(libc::ENODEV)), (Verdict::Closed, false));
}

#[test]
fn what_is_degraded_is_no_promise() {
    let standard = unit("");
    let mut side = side(&standard);
    side.degraded.insert("filesystem.protect_system".into());
    let finding = judge(probe("write-usr"), Some(Found::Done(String::new())), &side);
    assert_eq!((finding.keys.len(), finding.degraded.as_slice()), (0, ["filesystem.protect_system"].as_slice()));
    assert!(!finding.is_broken() && finding.verdict == Verdict::Open);
}

#[test]
fn the_unit_that_runs_is_made_again_of_what_is_written_in_it() {
    let mut files: Vec<_> = Vec::new();
    for folder in ["examples", "units", "tests/units"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        files.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "toml")));
    }
    assert!(files.len() > 10);
    for path in files {
        let text = std::fs::read_to_string(&path).expect("text");
        let Ok((unit, _)) = Unit::parse("web", "f", &text) else { continue };
        let values: Vec<_> = unit.effective().into_iter().map(crate::control::ConfiguredValue::from).collect();
        let written = values.iter().filter(|value| value.file.is_some());
        let again = unit_of("web", written.map(|value| (value.key.as_str(), value.value.as_str())));
        let again = again.unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        let plain = |unit: &Unit| {
            let values = unit.effective().into_iter().map(|v| (v.key, v.value));
            values.filter(|(key, _)| !key.starts_with("credentials")).collect::<Vec<_>>()
        };
        assert_eq!(plain(&again), plain(&unit), "{}", path.display());
    }
}

#[test]
fn the_page_has_the_table_as_it_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/verify.md");
    let page = std::fs::read_to_string(&path).expect("the page");
    const MARK: &str = "<!-- the table of doors: RSVC_BLESS=1 cargo test --lib verify -->\n";
    let (before, _) = page.split_once(MARK).expect("the page has a place for the table");
    let wanted = format!("{before}{MARK}{}", table());
    if std::env::var_os("RSVC_BLESS").is_some() {
        std::fs::write(&path, &wanted).expect("the page can be written");
    } else {
        assert_eq!(page, wanted, "docs/verify.md is not as the table: RSVC_BLESS=1 cargo test --lib verify");
    }
}

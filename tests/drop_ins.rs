//! Drop-ins: how texts merge, who is named for a value, and what a daemon makes of them.

mod instance;

use instance::{Instance, is_root, skipped};
use proptest::prelude::*;
use rsvc::unit::{Code, EffectiveValue, ParseOptions, Problem, Profile, Unit, UnitText, ValueOrigin};
use std::fs;
use std::os::unix::fs::symlink;

const BASE: &str = "[service]\nexec = [\"/usr/bin/program\"]\nuser = \"web\"\n";

/// The unit that the texts make, the first being its file.
fn parse_all(texts: &[&str], options: ParseOptions<'_>) -> Result<(Unit, Vec<Problem>), Vec<Problem>> {
    let names: Vec<String> = (0..texts.len()).map(|n| format!("{n}.toml")).collect();
    let texts: Vec<UnitText<'_>> = names.iter().zip(texts).map(|(file, text)| UnitText { file, text }).collect();
    Unit::parse_texts("web", &texts, options)
}

#[track_caller]
fn unit(texts: &[&str]) -> Unit {
    parse_all(texts, ParseOptions::default()).unwrap_or_else(|problems| panic!("{problems:#?}")).0
}

#[track_caller]
fn effective(unit: &Unit, key: &str) -> EffectiveValue {
    unit.effective().into_iter().find(|value| value.key == key).unwrap_or_else(|| panic!("no {key}"))
}

#[track_caller]
fn value(texts: &[&str], key: &str) -> String {
    effective(&unit(texts), key).value
}

/// `file:line` of everything that made a value.
fn makers(value: &EffectiveValue) -> String {
    let base = match &value.origin {
        ValueOrigin::File(place) => format!("{}:{}", place.file, place.line),
        ValueOrigin::Profile(profile) => profile.as_str().to_owned(),
        ValueOrigin::Default => "default".to_owned(),
    };
    let changes = value.changes.iter().map(|place| format!("{}:{}", place.file, place.line));
    std::iter::once(base).chain(changes).collect::<Vec<_>>().join(" ")
}

#[test]
fn values_merge_as_their_types_say() {
    let table: &[(&str, &[&str], &str, &str)] = &[
        ("a scalar is replaced", &["[service]\nnice = 3", "[service]\nnice = 4"], "service.nice", "4"),
        ("a list is replaced", &["[unit]\nafter = [\"a\"]", "[unit]\nafter = [\"b\"]"], "unit.after", "[\"b\"]"),
        ("a list is emptied", &["[unit]\nafter = [\"a\"]", "[unit]\nafter = []"], "unit.after", "[]"),
        (
            "append adds at the end",
            &["[unit]\nafter = [\"a\"]", "[unit]\nafter.append = [\"b\", \"c\"]"],
            "unit.after",
            "[\"a\", \"b\", \"c\"]",
        ),
        (
            "append to what has it already changes nothing",
            &["[unit]\nafter = [\"a\", \"b\"]", "[unit]\nafter.append = [\"a\"]"],
            "unit.after",
            "[\"a\", \"b\"]",
        ),
        (
            "removal comes before addition",
            &["[unit]\nafter = [\"a\", \"b\"]", "[unit]\nafter = { append = [\"a\"], remove = [\"a\"] }"],
            "unit.after",
            "[\"b\", \"a\"]",
        ),
        (
            "a replacement forgets earlier changes",
            &["[unit]\nafter = [\"a\"]", "[unit]\nafter.append = [\"b\"]", "[unit]\nafter = [\"c\"]"],
            "unit.after",
            "[\"c\"]",
        ),
        (
            "arguments repeat",
            &["[service]\nexec = [\"/bin/a\", \"-v\"]", "[service]\nexec.append = [\"-v\"]"],
            "service.exec",
            "[\"/bin/a\", \"-v\", \"-v\"]",
        ),
        (
            "commands are added",
            &["[service]\nexec_start_pre = [\"/bin/a\"]", "[service]\nexec_start_pre.append = [[\"/bin/b\", \"x\"]]"],
            "service.exec_start_pre",
            "[[\"/bin/a\"], [\"/bin/b\", \"x\"]]",
        ),
        (
            "a default list can be changed",
            &["", "[network]\naddress_families = { remove = [\"AF_NETLINK\"], append = [\"AF_VSOCK\"] }"],
            "network.address_families",
            "[\"AF_UNIX\", \"AF_INET\", \"AF_INET6\", \"AF_VSOCK\"]",
        ),
        (
            "ports are added and removed",
            &[
                "[network]\nbind_allow = [\"tcp:80\", \"tcp:443\"]",
                "[network]\nbind_allow = { remove = [\"tcp:80\"], append = [\"tcp:8000-8010\"] }",
            ],
            "network.bind_allow",
            "[\"tcp:443\", \"tcp:8000-8010\"]",
        ),
        (
            "a profile's list can be changed, whichever text chose the profile",
            &["[syscalls]\ndeny.remove = [\"@resources\"]", "[security]\nprofile = \"strict\""],
            "syscalls.deny",
            "[\"@privileged\", \"memfd_create\"]",
        ),
        (
            "what is allowed by name the profile does not deny, also when its list is changed",
            &[
                "[security]\nprofile = \"strict\"\n[syscalls]\nallow.append = [\"memfd_create\"]",
                "[syscalls]\ndeny.append = [\"@debug\"]",
            ],
            "syscalls.deny",
            "[\"@privileged\", \"@resources\", \"@debug\"]",
        ),
        (
            "capabilities are a set",
            &["[capabilities]\nbounding = [\"KILL\", \"CHOWN\"]", "[capabilities]\nbounding.remove = [\"CAP_KILL\"]"],
            "capabilities.bounding",
            "[\"CAP_CHOWN\"]",
        ),
        (
            "exit statuses are a set",
            &[
                "[service]\nsuccess_exit_status = [1, \"SIGHUP\"]",
                "[service]\nsuccess_exit_status = { append = [7], remove = [1] }",
            ],
            "service.success_exit_status",
            "[7, \"SIGHUP\"]",
        ),
        (
            "the environment merges by name",
            &["[service]\nenvironment = { A = \"1\", B = \"2\" }", "[service]\nenvironment = { B = \"3\", C = \"4\" }"],
            "service.environment",
            "{ A = \"1\", B = \"3\", C = \"4\" }",
        ),
        (
            "credentials merge by name, and each keeps its own optional mark",
            &["[credentials]\nload = { a = \"/a\", b = \"-/b\" }", "[credentials]\nload = { b = \"/c\", d = \"-/d\" }"],
            "credentials.load",
            "{ \"a\" = \"/a\", \"b\" = \"/c\", \"d\" = \"-/d\" }",
        ),
        (
            "texts of credentials are shown by their length",
            &["[credentials]\nset = { a = \"first\" }", "[credentials.set]\nb = \"other one\""],
            "credentials.set",
            "{ \"a\" = \"(5 bytes)\", \"b\" = \"(9 bytes)\" }",
        ),
        (
            "resource limits are keys of their own",
            &["[resources.rlimits]\nnofile = 100", "[resources.rlimits]\ncore = 0"],
            "resources.rlimits.nofile",
            "\"100:100\"",
        ),
    ];
    for (what, texts, key, expected) in table {
        let service = if texts.iter().any(|text| text.contains("exec = ")) { "" } else { "exec = \"/bin/a\"\n" };
        let first = match texts[0].split_once("[service]\n") {
            Some((before, after)) => format!("{before}[service]\n{service}user = \"web\"\n{after}"),
            None => format!("{}\n[service]\n{service}user = \"web\"\n", texts[0]),
        };
        let all: Vec<&str> = std::iter::once(first.as_str()).chain(texts[1..].iter().copied()).collect();
        assert_eq!(value(&all, key), *expected, "{what}");
    }
}

#[test]
fn mounts_are_added_and_replace_those_of_the_same_destination() {
    let mount = |to: &str, from: &str| format!("[[mounts]]\ndestination = \"{to}\"\nsource = \"{from}\"\n");
    let first = format!("{BASE}{}{}", mount("/a", "/srv/1"), mount("/b", "/srv/2"));
    let second = mount("/b", "/srv/3") + &mount("/c", "/srv/4");
    let merged = unit(&[&first, &second]);
    let places: Vec<String> = merged.mounts.iter().map(|m| m.destination.display().to_string()).collect();
    assert_eq!(places, ["/a", "/b", "/c"]);
    assert_eq!(effective(&merged, "mounts[1].source").value, "\"/srv/3\"");
    assert_eq!(makers(&effective(&merged, "mounts[1].source")), "1.toml:3");
    let origin = merged.origin("mounts[2]").place.expect("a place");
    assert_eq!((origin.file.as_str(), origin.line), ("1.toml", 4));
    assert_eq!(unit(&[&first, "mounts = []\n"]).mounts, []);
    let twice = format!("{}{}", mount("/z", "/1"), mount("/z", "/2"));
    let problems = parse_all(&[&first, &twice], ParseOptions::default()).expect_err("twice in one file");
    assert_eq!((problems[0].code, problems[0].file.as_str()), (Code::Conflict, "1.toml"));
}

#[test]
fn every_maker_of_a_value_is_named() {
    let unit = unit(&[
        BASE,
        "[security]\nprofile = \"strict\"\n[syscalls]\ndeny.append = [\"@debug\"]\n[service]\nenvironment = { A = \"1\" }\n",
        "[syscalls]\ndeny.append = [\"@mount\"]\n\n[unit]\nafter.append = [\"db\"]\n[service]\numask = \"0027\"\n\
         environment = { B = \"1\" }\n",
    ]);
    let of = |key: &str| makers(&effective(&unit, key));
    assert_eq!(of("syscalls.deny"), "strict 1.toml:4 2.toml:2");
    assert_eq!(of("unit.after"), "default 2.toml:5");
    assert_eq!(of("service.environment"), "1.toml:6 2.toml:8");
    assert_eq!(of("service.umask"), "2.toml:7");
    assert_eq!(of("service.exec"), "0.toml:2");
    assert_eq!(of("service.nice"), "default");
    assert_eq!(unit.origin("syscalls.deny").place.map(|place| place.file), Some("2.toml".to_owned()));
    let place = unit.element_place("syscalls.deny", "@debug").expect("a place");
    assert_eq!((place.file.as_str(), place.line), ("1.toml", 4));
    assert_eq!(unit.drop_ins().collect::<Vec<_>>(), ["1.toml", "2.toml"]);
}

#[test]
fn a_profile_forced_from_outside_opens_changed_lists_too() {
    let open = ParseOptions { profile: Some(Profile::Host), ..ParseOptions::default() };
    let text = "[filesystem]\nread_write_paths.append = [\"/srv\"]\ninaccessible_paths.append = [\"/boot\"]\n";
    let (unit, _) = parse_all(&[BASE, text], open).expect("valid");
    assert_eq!(effective(&unit, "filesystem.inaccessible_paths").value, "[]");
}

fn names() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::btree_set("[a-e]", 0..4).prop_map(|set| set.into_iter().collect())
}

fn list(names: &[String]) -> String {
    format!("{names:?}")
}

proptest! {
    #[test]
    fn an_empty_drop_in_is_nothing(after in names(), empty in "(# [a-z ]*\n|\n|\\[unit\\]\n|\\[x-tool\\]\na = 1\n)") {
        let first = format!("{BASE}[unit]\nafter = {}\n", list(&after));
        prop_assert_eq!(unit(&[&first]).effective(), unit(&[&first, &empty]).effective());
    }

    #[test]
    fn what_is_appended_and_removed_again_leaves_what_was(old in names(), more in names()) {
        let new: Vec<String> = more.into_iter().filter(|name| !old.contains(name)).collect();
        let first = format!("{BASE}[unit]\nafter = {}\n", list(&old));
        let append = format!("[unit]\nafter.append = {}\n", list(&new));
        let remove = format!("[unit]\nafter.remove = {}\n", list(&new));
        let (merged, warnings) = parse_all(&[&first, &append, &remove], ParseOptions::default()).expect("valid");
        prop_assert_eq!(&merged.unit.after, &old);
        prop_assert!(warnings.is_empty(), "{:?}", warnings);
    }

    #[test]
    fn lists_are_sets_in_the_order_of_writing(old in names(), append in names(), remove in names()) {
        let first = format!("{BASE}[unit]\nafter = {}\n", list(&old));
        let change = format!("[unit]\nafter = {{ append = {}, remove = {} }}\n", list(&append), list(&remove));
        let (merged, warnings) = parse_all(&[&first, &change], ParseOptions::default()).expect("valid");
        let mut expected: Vec<String> = old.iter().filter(|name| !remove.contains(name)).cloned().collect();
        for name in &append {
            if !expected.contains(name) {
                expected.push(name.clone());
            }
        }
        prop_assert_eq!(&merged.unit.after, &expected);
        let missing = remove.iter().filter(|name| !old.contains(name)).count();
        prop_assert_eq!(warnings.iter().filter(|w| w.code == Code::NotInList).count(), missing);
    }

    #[test]
    fn one_text_cut_in_two_means_the_same(cut in 0_usize..7) {
        let tables = [
            "[unit]\ndescription = \"d\"\n", BASE, "[resources]\nmemory_max = \"1G\"\n",
            "[filesystem]\nread_write_paths = [\"/srv\"]\n", "[network]\nmode = \"loopback\"\n",
            "[[mounts]]\ndestination = \"/data\"\nsource = \"/srv\"\n",
        ];
        let whole = tables.concat();
        let cut = cut.min(tables.len());
        let (first, second) = (tables[..cut].concat(), tables[cut..].concat());
        let values = |unit: &Unit| unit.effective().into_iter().map(|v| (v.key, v.value)).collect::<Vec<_>>();
        prop_assert_eq!(values(&unit(&[&whole])), values(&unit(&[&first, &second])));
    }
}

/// Writes a drop-in of the test instance.
fn drop_in(instance: &Instance, file: &str, text: &str) {
    let path = instance.file("units").join(file);
    fs::create_dir_all(path.parent().expect("a directory")).expect("directory");
    fs::write(path, text).expect("drop-in");
}

#[test]
fn a_daemon_uses_drop_ins_at_the_next_start_and_shows_them() {
    if !is_root() {
        return skipped("needs root");
    }
    let instance = Instance::start();
    instance.unit("web", "[service]\nexec = [\"/bin/sh\", \"-c\", \"echo I am $WHO; exec sleep 1000\"]\nenvironment = { WHO = \"one\" }\n");
    instance.rsvc(&["start", "web"]).expect(0);
    instance.wait_for_log("web", "I am one");
    assert_eq!(instance.status("web")["drop_ins"], serde_json::json!([]));
    drop_in(&instance, "web.d/50-who.toml", "[service]\nenvironment = { WHO = \"two\" }\n");
    drop_in(&instance, "service.d/90-all.toml", "[unit]\ndescription = \"one of all\"\n");
    assert_eq!(instance.status("web")["changed_on_disk"], true);
    let diff = instance.rsvc(&["diff", "web"]).expect(1).out;
    let told: Vec<&str> = diff.lines().filter(|line| !line.starts_with("---") && !line.starts_with("+++")).collect();
    assert_eq!(told.len(), 3, "{diff}");
    assert!(told[0].starts_with("+ unit.description = \"one of all\"   # "), "{diff}");
    assert!(told[1].starts_with("- service.environment = { WHO = \"one\" }"), "{diff}");
    assert!(told[2].starts_with("+ service.environment = { WHO = \"two\" }"), "{diff}");
    instance.rsvc(&["restart", "web"]).expect(0);
    instance.wait_for_log("web", "I am two");
    let diff = instance.rsvc(&["diff", "web"]).expect(0);
    assert_eq!((diff.out.as_str(), diff.err.as_str()), ("", ""));
    let status = instance.status("web");
    assert_eq!(status["changed_on_disk"], false);
    assert_eq!(status["description"], "one of all");
    assert_eq!(status["drop_ins"].as_array().map(Vec::len), Some(2));
    let page = instance.rsvc(&["status", "web"]).expect(0).out;
    assert!(page.contains("web.d/50-who.toml") && page.contains("service.d/90-all.toml"), "{page}");
    let cat = instance.rsvc(&["cat", "web"]).expect(0).out;
    let headers: Vec<&str> = cat.lines().filter(|line| line.starts_with("# /")).collect();
    assert_eq!(headers.len(), 3, "{cat}");
    assert!(headers[1].ends_with("web.d/50-who.toml") && headers[2].ends_with("service.d/90-all.toml"), "{cat}");
    let shown = instance.rsvc(&["show", "web", "-p", "service.environment", "-o", "json"]).expect(0).out;
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!((&shown["origin"], &shown["changes"][0]["line"]), (&"file".into(), &2.into()));
    let shown = instance.rsvc(&["show", "web", "-p", "unit.description", "-o", "json"]).expect(0).out;
    assert!(shown.contains("\"origin\":\"drop-in\""), "{shown}");

    // A mask takes the drop-in away again; a broken one refuses the start and names itself.
    fs::remove_file(instance.file("units/web.d/50-who.toml")).expect("removed");
    symlink("/dev/null", instance.file("units/web.d/50-who.toml")).expect("link");
    instance.rsvc(&["restart", "web"]).expect(0);
    assert_eq!(instance.status("web")["drop_ins"].as_array().map(Vec::len), Some(1));
    drop_in(&instance, "web.d/60-bad.toml", "[service]\n\nusr = \"nobody\"\n");
    let said = instance.rsvc(&["restart", "web"]).expect(6);
    assert!(said.err.contains("web.d/60-bad.toml:3:1") && said.err.contains("did you mean `user`"), "{}", said.err);
    assert_eq!(instance.status("web")["state"], "active");
    let said = instance.rsvc(&["check", "web"]).expect(1);
    assert!(said.err.contains("usr = \"nobody\""), "{}", said.err);
}

#[test]
fn a_failure_names_the_drop_in_that_set_the_key() {
    if !is_root() {
        return skipped("needs root");
    }
    let instance = Instance::start();
    instance.unit("web", "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n");
    drop_in(&instance, "web.d/10-bind.toml", "[[mounts]]\ndestination = \"/data\"\nsource = \"/nonexistent/data\"\n");
    let said = instance.rsvc(&["start", "web"]);
    assert_ne!(said.code, 0);
    assert!(said.err.contains("web.d/10-bind.toml:1"), "{}", said.err);
    // Of a list that several files made, the one that has the element.
    drop_in(&instance, "web.d/10-bind.toml", "[filesystem]\nread_write_paths.append = [\"/nonexistent/one\"]\n");
    drop_in(&instance, "web.d/20-more.toml", "[filesystem]\nread_write_paths.append = [\"/var\"]\n");
    let said = instance.rsvc(&["start", "web"]);
    assert!(said.err.contains("web.d/10-bind.toml:2"), "{}", said.err);
    drop_in(&instance, "web.d/10-bind.toml", "[service]\nuser = \"no-such-user-here\"\n");
    let said = instance.rsvc(&["start", "web"]);
    assert!(said.err.contains("web.d/10-bind.toml:2"), "{}", said.err);
}

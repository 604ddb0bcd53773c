//! Templates and instances, and the variables of their texts, from the file to the running service.

#[macro_use]
mod instance;

use instance::Instance;
use rsvc::unit::{ParseOptions, Unit, UnitText};
use std::fs;

const TEMPLATE: &str = "\
[unit]
description = \"${template} for ${instance}\"

[service]
exec = [\"/bin/sh\", \"-c\", 'x=me; echo \"I am $0, $WHO, $x, $${x}\"; exec sleep 1000', \"${instance}\"]
environment = { WHO = \"${unit}\" }

[directories]
state = [\"${template}/${instance}\"]
";

fn write(instance: &Instance, file: &str, text: &str) {
    let path = instance.file("units").join(file);
    fs::create_dir_all(path.parent().expect("a directory")).expect("directory");
    fs::write(path, text).expect("unit file");
}

#[test]
fn every_kind_of_text_has_its_variables_replaced() {
    let text = "\
[unit]
description = \"${template}/${instance} on ${host}\"
after = [\"worker@${instance}\"]

[service]
exec = \"/usr/bin/program --name ${instance} $${kept} ${KEPT}\"
exec_start_pre = [{ argv = [\"/bin/echo\", \"${user}\"] }]
user = \"user-${instance}\"
environment = { NAME = \"${unit}\" }
pid_file = \"${runtime_dir}/${template}/${instance}.pid\"
type = \"forking\"

[directories]
runtime = [\"${template}\"]

[[mounts]]
destination = \"/srv/${instance}\"
source = \"/data/${instance}\"

[resources]
memory_max = \"${instance}M\"
";
    let options = ParseOptions { host: Some("box"), ..ParseOptions::default() };
    let texts = [UnitText { file: "web@.toml", text }];
    let (unit, _) = Unit::parse_texts("web@64", &texts, options).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(unit.unit.description.as_deref(), Some("web/64 on box"));
    assert_eq!(unit.unit.after, ["worker@64"]);
    assert_eq!(unit.service.exec, ["/usr/bin/program", "--name", "64", "${kept}", "${KEPT}"]);
    assert_eq!(unit.service.exec_start_pre[0].argv, ["/bin/echo", "user-64"]);
    assert_eq!(unit.service.environment, [("NAME".to_owned(), "web@64".to_owned())]);
    assert_eq!(unit.service.pid_file.as_deref(), Some("/run/web/64.pid".as_ref()));
    assert_eq!(unit.mounts[0].destination, std::path::Path::new("/srv/64"));
    assert_eq!(unit.resources.memory_max, Some(64 << 20));
    assert_eq!(unit.log_identifier(), "web@64");
}

#[test]
fn instances_run_side_by_side_and_know_who_they_are() {
    root_only!();
    let mut instance = Instance::start();
    instance.unit("web@", TEMPLATE);
    instance.rsvc(&["start", "web@blue", "web@green"]).expect(0);
    instance.wait_for_log("web@blue", "I am blue, web@blue, me, me");
    instance.wait_for_log("web@green", "I am green, web@green, me, me");
    let blue = instance.status("web@blue");
    assert_eq!(blue["description"], "web for blue");
    assert!(blue["file"].as_str().is_some_and(|file| file.ends_with("/web@.toml")), "{blue}");
    assert!(blue["cgroup"].as_str().is_some_and(|group| group.ends_with("web@blue")), "{blue}");
    let pid = blue["main_pid"].as_i64().expect("a pid");
    assert!(fs::read_dir(format!("/proc/{pid}/root/var/lib/web/blue")).is_ok(), "the directory is there, inside");
    let listed = instance.rsvc(&["list", "-o", "name"]).expect(0).out;
    assert_eq!(listed.lines().collect::<Vec<_>>(), ["web@blue", "web@green"]);

    // A new daemon knows both again.
    instance.kill_daemon();
    instance.start_daemon();
    let again = instance.wait_for_state("web@blue", "active");
    assert_eq!(again["main_pid"], blue["main_pid"]);
    instance.rsvc(&["stop", "web@blue"]).expect(0);
    assert_eq!(instance.wait_for_state("web@green", "active")["load_state"], "loaded");
    let listed = instance.rsvc(&["list", "--all", "-o", "name"]).expect(0).out;
    assert_eq!(listed.lines().collect::<Vec<_>>(), ["web@green"], "an instance that is down leaves nothing");
}

#[test]
fn an_instance_has_drop_ins_of_its_own_and_of_its_template_or_a_file_of_its_own() {
    root_only!();
    let instance = Instance::start();
    instance.unit("web@", TEMPLATE);
    write(&instance, "web@.d/10-all.toml", "[unit]\ndescription = \"all: ${instance}\"\n[service]\nnice = 3\n");
    write(&instance, "web@blue.d/20-blue.toml", "[service]\nnice = 4\n");
    instance.unit("web@own", "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n");
    let nice = |name: &str| {
        let shown = instance.rsvc(&["show", name, "-p", "service.nice", "-o", "json"]).expect(0).out;
        serde_json::from_str::<serde_json::Value>(&shown).expect("JSON")["value"].clone()
    };
    assert_eq!([nice("web@blue"), nice("web@green"), nice("web@own")], ["4", "3", "3"]);
    instance.rsvc(&["start", "web@blue", "web@own"]).expect(0);
    assert_eq!(instance.status("web@blue")["description"], "all: blue");
    let own = instance.status("web@own");
    assert!(own["file"].as_str().is_some_and(|file| file.ends_with("/web@own.toml")), "{own}");
    let cat = instance.rsvc(&["cat", "web@blue"]).expect(0).out;
    let headers: Vec<&str> = cat.lines().filter_map(|line| line.strip_prefix("# /")?.rsplit('/').next()).collect();
    assert_eq!(headers, ["web@.toml", "10-all.toml", "20-blue.toml"]);
    let cat = instance.rsvc(&["cat", "web@"]).expect(0).out;
    assert_eq!(cat.lines().filter(|line| line.starts_with("# /")).count(), 2, "{cat}");
    instance.rsvc(&["check", "web@"]).expect(0);
    instance.rsvc(&["check", &instance.file("units/web@.toml").display().to_string()]).expect(0);
}

#[test]
fn what_is_no_instance_is_refused_with_a_way_out() {
    root_only!();
    let instance = Instance::start();
    instance.unit("web@", TEMPLATE);
    let said = instance.rsvc(&["start", "web@"]).expect(6);
    assert!(said.err.contains("is a template") && said.err.contains("web@one"), "{}", said.err);
    instance.rsvc(&["start", "web"]).expect(5);
    instance.rsvc(&["start", "other@blue"]).expect(5);
    instance.rsvc(&["status", "other@blue"]).expect(4);
    for name in ["web@a b", "web@-x", "web@a@b", "web@ü"] {
        let said = instance.rsvc(&["start", name]).expect(6);
        assert!(
            said.err.contains("an instance is named with") || said.err.contains("not the name of a unit"),
            "{said:?}"
        );
    }
    instance.rsvc(&["enable", "web@"]).expect(6);
    instance.unit("bad@", "[service]\nexec = [\"/bin/echo\", \"${instanec}\"]\n");
    let said = instance.rsvc(&["start", "bad@x"]).expect(6);
    assert!(said.err.contains("bad@.toml:2:23") && said.err.contains("did you mean `${instance}`?"), "{}", said.err);
}

#[test]
fn instances_are_enabled_one_by_one_and_named_by_others() {
    root_only!();
    let mut instance = Instance::start();
    instance.unit("worker@", TEMPLATE);
    instance.unit(
        "web@",
        "[unit]\nrequires = [\"worker@${instance}\"]\nafter = [\"worker@${instance}\"]\n[service]\nexec = [\"/bin/sleep\", \"1000\"]\n",
    );
    instance.rsvc(&["enable", "web@blue"]).expect(0);
    let link = instance.file("units/default.wants/web@blue.toml");
    assert!(fs::read_link(&link).expect("a link").ends_with("web@.toml"));
    instance.rsvc(&["is-enabled", "web@blue"]).expect(0);
    instance.rsvc(&["is-enabled", "web@green"]).expect(1);
    let listed = instance.rsvc(&["list", "-o", "name"]).expect(0).out;
    assert_eq!(listed.lines().collect::<Vec<_>>(), ["web@blue"], "enabled, though it never ran");

    // The first daemon of a boot starts what is enabled.
    assert!(instance.end_daemon().success());
    fs::remove_file(instance.file("run/booted")).expect("the mark of this boot");
    instance.start_daemon();
    instance.wait_for_state("web@blue", "active");
    assert_eq!(instance.wait_for_state("worker@blue", "active")["description"], "worker for blue");
    instance.rsvc(&["disable", "--now", "web@blue"]).expect(0);
    assert!(fs::symlink_metadata(&link).is_err());
    let said = instance.rsvc(&["check", "--strict", "web@"]);
    assert!(!said.err.contains("there is no unit"), "{}", said.err);
}

//! `rsvc tree` over real unit files, without a daemon and with one.

mod instance;

use instance::{Instance, is_root, skipped};

const SLEEPER: &str = "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n";

/// A shop with a template, a drop-in, an alias, a masked unit and one that is not there.
fn shop(instance: &Instance) {
    let unit = |name: &str, relations: &str| {
        instance.unit(name, &format!("{SLEEPER}[unit]\n{relations}\n"));
    };
    unit("shop", "requires = [\"web@blue\"]\nwants = [\"mailer\"]");
    unit("web@", "requires = [\"db\"]\nwants = [\"cache-${instance}\"]\nafter = [\"log\"]");
    unit("mailer", "requires = [\"sql\"]");
    unit("db", "binds_to = [\"disk\"]");
    unit("log", "");
    let units = instance.file("units");
    std::os::unix::fs::symlink("db.toml", units.join("sql.toml")).expect("an alias");
    std::os::unix::fs::symlink("/dev/null", units.join("disk.toml")).expect("a mask");
    std::fs::create_dir(units.join("mailer.d")).expect("a directory");
    std::fs::write(units.join("mailer.d/more.toml"), "[unit]\nwants.append = [\"log\"]\n").expect("a drop-in");
}

#[test]
fn files_are_enough_and_instances_drop_ins_aliases_and_masks_count() {
    let instance = Instance::prepared();
    shop(&instance);
    let tree = |words: &[&str]| instance.rsvc(&[&["tree"], words].concat()).expect(0).out;
    let expected = "\
shop
├─requires web@blue
│ ├─requires db
│ │ └─binds_to × disk (masked)
│ └─wants × cache-blue (not found)
└─wants mailer
  ├─requires db …
  └─wants log
";
    assert_eq!(tree(&[]), expected);
    assert_eq!(instance.rsvc(&["deps", "shop"]).expect(0).out, expected);
    assert_eq!(
        tree(&["web@green", "--order"]),
        "web@green\n├─requires, after db\n│ └─binds_to, after × disk (masked)\n├─wants × cache-green (not found)\n└─after log\n"
    );
    assert_eq!(
        tree(&["-r", "sql"]),
        "db\n├─required by mailer\n│ └─wanted by shop\n└─required by web@blue\n  └─required by shop\n"
    );
    let ascii = instance.command().args(["tree", "mailer"]).env("LC_ALL", "C").output().expect("rsvc runs");
    assert_eq!(
        String::from_utf8_lossy(&ascii.stdout),
        "mailer\n|-requires db\n| `-binds_to x disk (masked)\n`-wants log\n"
    );
    let objects: Vec<serde_json::Value> =
        tree(&["web@blue", "-o", "json"]).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let named = |name: &str| objects.iter().find(|object| object["name"] == name).unwrap_or_else(|| panic!("{name}"));
    assert_eq!(objects.len(), 4);
    assert_eq!(named("web@blue")["needs"][0], serde_json::json!({ "name": "db", "relations": ["requires"] }));
    assert_eq!(
        (&named("disk")["load_state"], &named("cache-blue")["load_state"]),
        (&"masked".into(), &"not-found".into())
    );
    assert!(named("db")["state"].is_null());
}

#[test]
fn what_cannot_be_shown_is_said_as_everywhere() {
    let instance = Instance::prepared();
    shop(&instance);
    let said = instance.rsvc(&["tree", "nobody"]).expect(5);
    assert!(said.err.contains("nobody: no such unit"), "{said:?}");
    instance.rsvc(&["tree", "disk"]).expect(6);
    instance.rsvc(&["tree", "zz*"]).expect(5);
    instance.unit_as_is("bad", "[service]\nexec = 5\n");
    instance.unit("user", &format!("{SLEEPER}[unit]\nrequires = [\"bad\"]\n"));
    assert!(instance.rsvc(&["tree", "bad"]).expect(6).err.contains("bad.toml:2"));
    assert_eq!(
        instance.rsvc(&["tree", "user"]).expect(0).out,
        "user\n└─requires × bad (not valid, see `rsvc check`)\n"
    );
}

#[test]
fn a_daemon_adds_the_states() {
    if !is_root() {
        return skipped("needs root");
    }
    let instance = Instance::start();
    instance.unit("web", &format!("{SLEEPER}[unit]\nrequires = [\"db\"]\nwants = [\"job\", \"other\"]\n"));
    instance.unit("db", SLEEPER);
    instance.unit("job", "[service]\nexec = [\"/bin/false\"]\n[restart]\npolicy = \"no\"\n");
    instance.unit("other@", SLEEPER);
    instance.unit("other", "[service]\nexec = [\"/bin/true\"]\ntype = \"oneshot\"\n");
    instance.rsvc(&["start", "web", "other@one"]).expect(0);
    instance.wait_for_state("job", "failed");
    instance.wait_for_state("other", "inactive");
    let expected = "\
● other@one active (running)
● web active (running)
├─requires ● db active (running)
├─wants × job failed (failed)
└─wants ○ other inactive (dead)
";
    assert_eq!(instance.rsvc(&["tree"]).expect(0).out, expected);
    let said = instance.rsvc(&["tree", "-r", "db", "-o", "json"]).expect(0);
    let first: serde_json::Value = serde_json::from_str(said.out.lines().next().expect("a line")).expect("JSON");
    assert_eq!((&first["name"], &first["state"]), (&"db".into(), &"active".into()));
    assert_eq!(first["needed_by"][0]["name"], "web");
}

#[test]
fn a_set_has_its_replicas_below_it() {
    let instance = Instance::prepared();
    instance.unit("web@", &format!("{SLEEPER}[unit]\nreplicas = 2\nwants = [\"db\"]\n"));
    instance.unit("db", SLEEPER);
    instance.unit("app", &format!("{SLEEPER}[unit]\nrequires = [\"web\"]\n"));
    let tree = |words: &[&str]| instance.rsvc(&[&["tree"], words].concat()).expect(0).out;
    let set = "web\n├─replica web@1\n│ └─wants db\n└─replica web@2\n  └─wants db\n";
    assert_eq!(tree(&["web"]), set);
    assert_eq!(
        tree(&["app"]),
        "app\n└─requires web\n  ├─replica web@1\n  │ └─wants db\n  └─replica web@2\n    └─wants db\n"
    );
    assert_eq!(tree(&["-r", "web@2"]), "web@2\n└─replica of web\n  └─required by app\n");
}

//! `rsvc security`, and its second number held against the tool whose method it follows.
//!
//! The tool is `systemd-analyze` of PATH, or what `RSVC_SYSTEMD_ANALYZE` names: it reads a file and needs no systemd that
//! runs. Where it is missing the recorded numbers still hold.

mod instance;

#[path = "security_score/plan.rs"]
mod plan;

use instance::{Instance, Said, skipped};
use rsvc::score::{Compatible, Posture, compatible, equivalent, own};
use rsvc::unit::Unit;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Shipped unit; what `systemd-analyze security` of systemd 252 (Debian 12) makes of it: points, weight, tenths; our own
/// points.
const RECORDED: [(&str, u32, u32, u32, u32); 9] = [
    ("chrony", 10765, 56460, 20, 170),
    ("dnsmasq", 7925, 56460, 15, 120),
    ("haproxy", 7735, 56460, 14, 100),
    ("memcached", 5925, 56460, 11, 83),
    ("mosquitto", 5935, 56460, 11, 83),
    ("nginx", 7735, 56460, 14, 100),
    ("postgresql", 6235, 56460, 12, 108),
    ("redis", 5945, 56460, 11, 83),
    ("unbound", 8565, 56460, 16, 120),
];

/// Units that differ in everything that the method looks at.
const OTHERS: [(&str, &str); 8] = [
    ("plain", "service.exec = [\"/bin/true\"]\n"),
    ("host", "service.exec = [\"/bin/true\"]\n[security]\nprofile = \"host\"\n"),
    ("login", "service.exec = [\"/bin/true\", \"%n $X\", \"\"]\n[security]\nprofile = \"login\"\n"),
    (
        "nobody",
        "service.exec = [\"/bin/true\"]\nservice.user = \"nobody\"\nservice.supplementary_groups = [\"adm\"]\n\
         service.umask = \"0000\"\nservice.type = \"notify\"\nservice.notify_access = \"all\"\nresources.delegate = true\n\
         network.address_families = [\"AF_PACKET\", \"AF_VSOCK\", \"AF_INET\"]\ncapabilities.bounding = [\"all\"]\n\
         capabilities.ambient = [\"KILL\", \"CHOWN\"]\nsecurity.protect_clock = false\n\
         security.protect_kernel_modules = false\nsecurity.protect_kernel_logs = false\n\
         security.restrict_namespaces = [\"user\", \"time\"]\nsyscalls.allow = [\"@known\"]\n\
         syscalls.architectures = [\"native\", \"x86\"]\ndevices.allow = [{ path = \"/dev/fuse\" }]\n\
         filesystem.protect_system = \"full\"\nfilesystem.protect_home = \"read-only\"\n",
    ),
    (
        "open",
        "service.exec = [\"/bin/true\"]\nservice.user = \"web\"\nservice.umask = \"0007\"\nnamespaces.mount = \"host\"\n\
         syscalls.mode = \"log\"\ncapabilities.bounding = [\"SETFCAP\", \"AUDIT_READ\", \"MAC_ADMIN\", \"BPF\"]\n\
         devices.policy = \"auto\"\nnetwork.address_families = [\"all\"]\nsecurity.restrict_namespaces = false\n\
         namespaces.ipc = \"host\"\nsecurity.keyring = \"inherit\"\n",
    ),
    (
        "closed",
        "service.exec = [\"/bin/true\"]\nservice.user = \"web\"\nservice.umask = \"0077\"\nnamespaces.user = \"identity\"\n\
         network.mode = \"loopback\"\nnetwork.address_families = []\nnetwork.ip_deny = [\"any\"]\nrootfs.type = \"directory\"\nrootfs.path = \"/srv/root\"\n\
         filesystem.protect_home = \"hidden\"\n[security]\nprofile = \"strict\"\nprotect_clock = false\n",
    ),
    (
        "groups",
        "service.exec = [\"/bin/true\"]\nservice.user = 1234\nservice.umask = \"0022\"\n\
         syscalls.allow = [\"@system-service\", \"@swap\", \"@obsolete\", \"@debug\", \"@raw-io\", \"ptrace\"]\n\
         syscalls.deny = [\"@privileged\", \"swapon\"]\nsecurity.protect_hostname = false\n\
         network.ip_deny = [\"0.0.0.0/0\", \"::/0\"]\nnetwork.ip_allow = [\"localhost\", \"10.0.0.0/8\"]\n\
         devices.allow = [{ type = \"char\", major = 10, minor = 229 }, { type = \"block\", major = 8, minor = \"*\" }]\n",
    ),
    (
        "capabilities",
        "service.exec = [\"/bin/true\"]\ncapabilities.bounding = [\"MKNOD\", \"SYS_NICE\", \"LINUX_IMMUTABLE\", \"LEASE\"]\n\
         network.ip_deny = [\"any\"]\nnetwork.ip_allow = [\"127.0.0.1\", \"::1\"]\n\
         filesystem.protect_proc = \"ptraceable\"\nnamespaces.uts = \"host\"\nsecurity.lock_personality = false\n\
         security.restrict_realtime = false\nsecurity.restrict_suid_sgid = false\nfilesystem.private_tmp = false\n",
    ),
];

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("units").join(format!("{name}.toml"))
}

fn parse(name: &str, text: &str) -> Unit {
    match Unit::parse(name, &format!("{name}.toml"), text) {
        Ok((unit, _)) => unit,
        Err(problems) => panic!("{name}: {problems:?}"),
    }
}

fn shipped_units() -> impl Iterator<Item = (&'static str, Unit)> {
    RECORDED.iter().map(|(name, ..)| (*name, parse(name, &fs::read_to_string(shipped(name)).expect("a unit"))))
}

#[test]
fn shipped_units_have_the_recorded_numbers() {
    let scores = shipped_units().map(|(name, unit)| {
        let posture = Posture::of(&unit);
        let score = compatible(&posture);
        (name, score.open(), score.weight(), score.exposure(), own(&posture).points())
    });
    assert_eq!(scores.collect::<Vec<_>>(), RECORDED);
    let folder = fs::read_dir(shipped("nginx").parent().expect("a folder")).expect("units");
    assert_eq!(folder.count(), RECORDED.len(), "every shipped unit is in the table");
}

#[test]
fn shipped_units_are_as_closed_as_promised() {
    for (name, _, _, tenths, _) in RECORDED {
        let promised = match name {
            "unbound" => 23,
            "chrony" => 20,
            _ => 15,
        };
        assert!(tenths <= promised, "{name}: {tenths} tenths");
    }
}

#[test]
fn the_table_of_the_readme_is_what_is_recorded() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("README.md");
    for (name, _, _, tenths, points) in RECORDED {
        let decimal = |tenths: u32| format!("{}.{}", tenths / 10, tenths % 10);
        let start = format!("| {name} | {} | {} |", decimal(tenths), decimal(points.div_ceil(10)));
        assert!(readme.lines().any(|line| line.starts_with(&start)), "README.md has no `{start}`");
    }
    let plain = parse("plain", OTHERS[0].1);
    let posture = Posture::of(&plain);
    let (ours, theirs) =
        (f64::from(own(&posture).exposure()) / 10.0, f64::from(compatible(&posture).exposure()) / 10.0);
    let words = format!("has {ours:.1} by our own and {theirs:.1} by systemd's method");
    assert!(readme.contains(&words), "README.md does not say `{words}`");
}

/// The tool, and its version as it says it.
fn tool() -> Result<(PathBuf, String), String> {
    let program = std::env::var_os("RSVC_SYSTEMD_ANALYZE").map_or_else(|| "systemd-analyze".into(), PathBuf::from);
    let output = Command::new(&program).arg("--version").output();
    let output = output.map_err(|error| format!("{} cannot be run: {error}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let version: u32 =
        said.split_whitespace().nth(1).and_then(|word| word.split(['.', '~']).next()?.parse().ok()).unwrap_or(0);
    // Before, its JSON does not say what it counted.
    if version < 252 { Err(format!("{said:?} is older than systemd 252")) } else { Ok((program, said)) }
}

/// What the tool counts for each check: weight, badness, range; `None` where it does not apply.
type Counted = BTreeMap<String, Option<(u64, u64, u64)>>;

fn ask(program: &Path, file: &Path) -> (Counted, String) {
    let run = |words: &[&str]| {
        let mut command = Command::new(program);
        command.args(["security", "--offline=yes", "--no-pager"]).args(words).arg(file);
        let output =
            command.env("SYSTEMD_ANALYZE_DEBUG", "1").env("SYSTEMD_LOG_LEVEL", "err").env("LC_ALL", "C").output();
        String::from_utf8_lossy(&output.expect("it runs").stdout).into_owned()
    };
    let rows: Vec<Value> = serde_json::from_str(&run(&["--json=short"])).expect("its JSON");
    let counted = rows.iter().map(|row| {
        let number = |key: &str| row[key].as_u64().unwrap_or_else(|| panic!("{key} in {row}"));
        let applies = !row["set"].is_null();
        let name = row["name"].as_str().expect("a name").to_owned();
        (name, applies.then(|| (number("weight"), number("badness"), number("range"))))
    });
    let page = run(&[]);
    let overall = page.lines().find_map(|line| line.split_once("Overall exposure level for ")?.1.split_once(": "));
    (counted.collect(), overall.map(|(_, rest)| rest.to_owned()).unwrap_or_else(|| panic!("no result in {page}")))
}

fn ours(score: &Compatible) -> Counted {
    let rows = score.rows.iter().zip(&score.badness).map(|(row, badness)| {
        let counted = row.weight.zip(*badness);
        (row.id.to_owned(), counted.map(|(weight, (bad, range))| (weight.into(), bad.into(), range.into())))
    });
    rows.collect()
}

#[test]
fn the_tool_itself_counts_the_same_for_every_check_of_every_unit() {
    let (program, version) = match tool() {
        Ok(found) => found,
        Err(why) => return skipped(&why),
    };
    let directory = tempfile::tempdir().expect("a directory");
    let others = OTHERS.iter().map(|(name, text)| (*name, parse(name, text)));
    for (name, unit) in shipped_units().chain(others) {
        let posture = Posture::of(&unit);
        let score = compatible(&posture);
        let file = directory.path().join(format!("{name}.service"));
        fs::write(&file, equivalent(&posture)).expect("write");
        let (counted, overall) = ask(&program, &file);
        let ours = ours(&score);
        assert_eq!(counted.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>(), "{name}, {version}");
        for (check, theirs) in &counted {
            assert_eq!(&ours[check], theirs, "{name}: {check}: weight, badness, range; {version}");
        }
        let exposure = score.exposure();
        let said = format!("{}.{} {} ", exposure / 10, exposure % 10, score.word());
        assert!(format!("{overall} ").starts_with(&said), "{name}: {said} is not {overall}");
    }
}

fn security(instance: &Instance, words: &[&str]) -> Said {
    let mut all = vec!["security"];
    all.extend(words);
    instance.rsvc(&all)
}

#[test]
fn all_units_are_listed_and_a_limit_is_judged_by_the_method_that_is_asked_for() {
    let instance = Instance::prepared();
    instance.unit("plain", OTHERS[0].1);
    instance.unit("closed", OTHERS[5].1);
    instance.unit("many@", "[service]\nexec = [\"/bin/echo\", \"${instance}\"]\n");
    std::os::unix::fs::symlink("/dev/null", instance.file("units/masked.toml")).expect("a link");
    let said = security(&instance, &[]).expect(0);
    let names: Vec<&str> = said.out.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["UNIT", "closed", "many@", "plain"]);
    let objects: Vec<Value> = security(&instance, &["--json"])
        .expect(0)
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("one object per line"))
        .collect();
    assert_eq!(objects.len(), 3);
    let plain = &objects[2];
    assert_eq!((&plain["v"], &plain["name"]), (&1.into(), &"plain".into()));
    let (own, systemd) =
        (plain["exposure"].as_f64().expect("ours"), plain["systemd"]["exposure"].as_f64().expect("its"));
    assert!(own > systemd, "{own} and {systemd}: the limits below must tell them apart");
    let between = format!("{systemd:.1}");
    let above = security(&instance, &["plain", "closed", "--max", &between]).expect(1);
    assert!(above.err.contains("1 unit is above"), "{}", above.err);
    security(&instance, &["plain", "closed", "--max", &between, "--method", "systemd"]).expect(0);
    security(&instance, &["--max", &format!("{own:.1}")]).expect(0);
    security(&instance, &["--max", "0.2", "--method", "systemd"]).expect(1);
    for wrong in [
        &["--max", "11"][..],
        &["--max", "x"],
        &["-o", "name"],
        &["--as-systemd"],
        &["closed", "--as-systemd", "--json"],
    ] {
        assert_eq!(security(&instance, wrong).code, 2, "{wrong:?}");
    }
}

#[test]
fn a_drop_in_counts_and_what_cannot_be_read_does_not_hide_the_rest() {
    let instance = Instance::prepared();
    instance.unit("plain", OTHERS[0].1);
    let exposure = |instance: &Instance| -> f64 {
        let said = security(instance, &["plain", "--json"]).expect(0);
        serde_json::from_str::<Value>(&said.out).expect("an object")["exposure"].as_f64().expect("a number")
    };
    let before = exposure(&instance);
    let directory = instance.file("units/plain.d");
    fs::create_dir(&directory).expect("a directory");
    fs::write(directory.join("10-own.toml"), "[network]\nmode = \"loopback\"\n").expect("write");
    assert!(exposure(&instance) < before);
    instance.unit("broken", "[service]\nexec = 5\n");
    let said = security(&instance, &[]).expect(6);
    assert!(said.out.contains("plain") && said.err.contains("broken"), "{said:?}");
    security(&instance, &["missing"]).expect(5);
    security(&instance, &["no-such-*"]).expect(5);
    let page = security(&instance, &["plain", "--all"]).expect(0).out;
    assert!(page.contains("closed") && page.lines().count() > 50, "{page}");
}

#[test]
fn the_equivalent_unit_of_a_file_is_printed() {
    let instance = Instance::prepared();
    let said = security(&instance, &[&shipped("nginx").display().to_string(), "--as-systemd"]).expect(0);
    for line in ["[Service]", "User=www-data", "PrivateMounts=yes", "CapabilityBoundingSet=CAP_NET_BIND_SERVICE"] {
        assert!(said.out.lines().any(|said| said == line), "no {line} in {}", said.out);
    }
}

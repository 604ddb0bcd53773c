//! Every key of `[filesystem]`, `[[mounts]]` and `[directories]`.

use crate::lab::{Lab, Seen};
use std::path::Path;

#[test]
fn protect_system_decides_what_is_writable() {
    let Some(lab) = Lab::new() else { return };
    let words = [
        "create:/usr",
        "create:/etc",
        "create:/var",
        "create:/run",
        "create:/tmp",
        "create:/opt",
        "create:/var/lib/dpkg",
    ];
    let with = |word: &str| format!("[filesystem]\nprotect_system = \"{word}\"\n");
    lab.look("strict", &with("strict"), &words).expect(&[
        ("create:/usr", "EROFS"),
        ("create:/etc", "EROFS"),
        ("create:/var", "EROFS"),
        ("create:/run", "EROFS"),
        ("create:/tmp", "ok"),
    ]);
    lab.look("full", &with("full"), &words).expect(&[
        ("create:/usr", "EROFS"),
        ("create:/etc", "EROFS"),
        ("create:/var", "ok"),
        ("create:/opt", "ok"),
    ]);
    // Names that the real tree could have are not tried there: a directory of the test's own stands for it.
    let opt = format!("create:{}", lab.path());
    let seen = lab.look("off", &with("off"), &["create:/usr", "create:/etc", "create:/run", &opt]);
    seen.expect(&[("create:/usr", "ok"), ("create:/etc", "ok"), ("create:/run", "ok"), (&opt, "ok")]);
}

#[test]
fn listed_paths_are_writable_read_only_inaccessible_or_empty_and_the_longest_wins() {
    let Some(lab) = Lab::new() else { return };
    let at = |name: &str| format!("{}/{name}", lab.path());
    for name in ["ro/rw/ro", "closed/inside", "empty"] {
        std::fs::create_dir_all(at(name)).expect("directory");
    }
    for name in ["closed/file", "empty/file", "single"] {
        std::fs::write(at(name), "x").expect("file");
    }
    let rules = |user: &str| {
        format!(
            "{user}[filesystem]\nread_only_paths = [\"{0}/ro\", \"{0}/ro/rw/ro\", \"-/nonexistent/a\"]\nread_write_paths = [\"{0}/ro/rw\", \"-/nonexistent/b\"]\n\
             inaccessible_paths = [\"{0}/closed\", \"{0}/single\", \"-/nonexistent/c\"]\ntemporary_paths = [\"{0}/empty\", \"-/nonexistent/d\"]\n",
            lab.path()
        )
    };
    let questions: Vec<String> = [
        ("create", "ro"),
        ("create", "ro/rw"),
        ("create", "ro/rw/ro"),
        ("list", "closed"),
        ("create", "closed"),
        ("read", "closed/file"),
        ("read", "single"),
        ("openw", "single"),
        ("list", "empty"),
        ("create", "empty"),
        ("mounted", "empty"),
    ]
    .map(|(verb, name)| format!("{verb}:{}", at(name)))
    .to_vec();
    let words: Vec<&str> = questions.iter().map(String::as_str).collect();
    let seen = lab.look("paths", &rules(""), &words);
    let answers: Vec<&str> = words[..3].iter().map(|word| &seen[word]).collect();
    assert_eq!(answers, ["EROFS", "ok", "EROFS"], "the longest path wins");
    // Root may look, and finds nothing.
    let answers: Vec<&str> = words[3..7].iter().map(|word| &seen[word]).collect();
    assert_eq!(answers, ["", "EROFS", "ENOENT", ""]);
    assert_ne!(&seen[words[7]], "ok", "{seen:?}");
    assert_eq!((&seen[words[8]], &seen[words[9]]), ("", "ok"));
    assert!(seen[words[10]].starts_with("tmpfs rw"), "{seen:?}");
    // An ordinary user is told by the kernel that it may not look.
    let seen = lab.look("user", &rules("user = \"54321\"\n"), &words);
    for word in &words[3..8] {
        assert_eq!(&seen[word], "EACCES", "{word}");
    }
    assert_eq!(&seen[words[9]], "ok", "a temporary directory belongs to the service");
    for key in ["read_only_paths", "read_write_paths", "inaccessible_paths", "temporary_paths"] {
        let body = format!("[filesystem]\n{key} = [\"/nonexistent/path\"]\n");
        lab.refused("missing", &body, &["/nonexistent/path", "missing.toml:5"]);
    }
}

#[test]
fn programs_run_only_from_paths_that_allow_it() {
    let Some(lab) = Lab::new() else { return };
    let at = |name: &str| format!("{}/{name}", lab.path());
    std::fs::create_dir_all(at("no/yes")).expect("directory");
    for name in ["no/true", "no/yes/true"] {
        std::fs::copy("/bin/true", at(name)).expect("program");
    }
    let body = format!("[filesystem]\nno_exec_paths = [\"{0}/no\"]\nexec_paths = [\"{0}/no/yes\"]\n", lab.path());
    let (no, yes) = (format!("sh:exec {}", at("no/true")), format!("sh:exec {}", at("no/yes/true")));
    let seen = lab.look("exec", &body, &[&no, &yes]);
    assert!(seen[no.as_str()].contains("ermission denied"), "{seen:?}");
    assert_eq!(&seen[yes.as_str()], "");
    // The service's own program is no exception.
    let body = format!("[filesystem]\nno_exec_paths = [\"{}\"]\n", lab.path());
    lab.unit("own", &body, &["pid"]);
    let said = lab.instance.rsvc(&["start", "own"]).expect(6);
    assert!(said.err.contains("own.toml:3") && said.err.contains("no_exec_paths"), "{said:?}");
}

#[test]
fn homes_can_be_hidden_read_only_or_open_and_tmp_shared() {
    let Some(lab) = Lab::new() else { return };
    let home = tempfile::Builder::new().prefix("rsvc-inside-").tempdir_in("/home").expect("directory");
    let tmp = tempfile::Builder::new().prefix("rsvc-inside-").tempdir_in("/tmp").expect("directory");
    let (home, tmp) = (home.path().display(), tmp.path().display());
    let words = [format!("create:{home}"), format!("list:{home}"), format!("list:{tmp}"), format!("create:{tmp}")];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let look = |name: &str, keys: &str| {
        let seen = lab.look(name, &format!("[filesystem]\n{keys}\n"), &words);
        words.iter().map(|word| seen[word].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(look("hidden", "protect_home = \"hidden\""), ["ENOENT"; 4]);
    assert_eq!(look("readonly", "protect_home = \"read-only\"")[..2], ["EROFS", ""]);
    assert_eq!(look("open", "protect_home = \"off\"")[..2], ["ok", ""]);
    assert_eq!(look("shared", "private_tmp = false")[2..], ["", "ok"]);
}

#[test]
fn proc_hides_or_shows_processes_and_everything_else() {
    let Some(lab) = Lab::new() else { return };
    let words =
        ["open:/proc/1/status", "open:/proc/meminfo", "open:/proc/sys/kernel/hostname", "open:/proc/1", "list:/proc"];
    let with = |keys: &str| format!("user = \"54321\"\n[filesystem]\n{keys}\n");
    let listed = |seen: &Seen| seen["list:/proc"].split(' ').any(|name| name == "1");
    let off = lab.look("off", &with("protect_proc = \"off\""), &words);
    off.expect(&[("open:/proc/1/status", "ok"), ("open:/proc/1", "ok")]);
    assert!(listed(&off), "{off:?}");
    let ptraceable = lab.look("ptraceable", &with("protect_proc = \"ptraceable\""), &words);
    // Not found, or forbidden where the kernel still remembers the name from a look of somebody who may.
    for word in ["open:/proc/1/status", "open:/proc/1"] {
        assert!(["ENOENT", "EPERM"].contains(&&ptraceable[word]), "{word}: {ptraceable:?}");
    }
    assert!(!listed(&ptraceable), "{ptraceable:?}");
    let pid = lab.look("pid", &with("proc_subset = \"pid\""), &words);
    assert!(!listed(&pid), "{pid:?}");
    pid.expect(&[
        ("open:/proc/1/status", "ENOENT"),
        ("open:/proc/1", "ENOENT"),
        ("open:/proc/meminfo", "ENOENT"),
        ("open:/proc/sys/kernel/hostname", "ENOENT"),
    ]);
}

#[test]
fn mounts_appear_with_their_options() {
    let Some(lab) = Lab::new() else { return };
    let at = |name: &str| format!("{}/{name}", lab.path());
    for name in [
        "source/below",
        "ro",
        "rw",
        "noexec",
        "tmp",
        "queue",
        "sys",
        "layers",
        "top",
        "bottom",
        "over/upper",
        "over/work",
        "shallow",
    ] {
        std::fs::create_dir_all(at(name)).expect("directory");
    }
    std::fs::write(at("source/file"), "bound").expect("file");
    std::fs::write(at("bottom/low"), "low").expect("file");
    std::fs::copy("/bin/true", at("source/true")).expect("program");
    let mount = |destination: &str, rest: &str| format!("[[mounts]]\ndestination = \"{}\"\n{rest}\n", at(destination));
    let source = at("source");
    let body = [
        mount("ro", &format!("source = \"{source}\"\noptions = [\"ro\"]")),
        mount("rw", &format!("source = \"{source}\"\noptions = [\"noatime\"]")),
        mount("noexec", &format!("source = \"{source}\"\noptions = [\"noexec\", \"ro\"]")),
        mount("tmp", "type = \"tmpfs\"\noptions = [\"size=1M\", \"mode=0700\", \"noexec\", \"uid=54321\", \"gid=7\"]"),
        mount("queue", "type = \"mqueue\""),
        mount("sys", "type = \"sysfs\"\noptions = [\"ro\"]"),
        mount(
            "layers",
            &format!(
                "type = \"overlay\"\noptions = [\"lowerdir={}:{}\", \"upperdir={}\", \"workdir={}\"]",
                at("top"),
                at("bottom"),
                at("over/upper"),
                at("over/work")
            ),
        ),
        mount("nothing", "source = \"/nonexistent/source\"\noptions = [\"optional\"]"),
        "[[mounts]]\ndestination = \"/proc\"\ntype = \"proc\"\n".to_owned(),
    ]
    .concat();
    let words = [
        format!("read:{}", at("ro/file")),
        format!("create:{}", at("ro")),
        format!("create:{}", at("rw")),
        format!("sh:exec {}", at("noexec/true")),
        format!("sh:exec {}", at("ro/true")),
        format!("stat:{}", at("tmp")),
        format!("size:{}", at("tmp")),
        format!("mounted:{}", at("tmp")),
        format!("mounted:{}", at("queue")),
        format!("mounted:{}", at("sys")),
        format!("read:{}", at("layers/low")),
        format!("put:{}=new", at("layers/new")),
        format!("mounted:{}", at("ro")),
        format!("mounted:{}", at("rw")),
        "open:/proc/1/status".to_owned(),
    ];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let seen = lab.look("mounts", &body, &words);
    let answers: Vec<&str> = words.iter().map(|word| &seen[word]).collect();
    assert_eq!(answers[..3], ["bound", "EROFS", "ok"]);
    assert!(answers[3].contains("ermission denied"), "{answers:?}");
    assert_eq!(answers[4], "");
    assert_eq!(answers[5..7], ["dir 0700 54321:7", "1048576"]);
    assert_eq!(answers[7], "tmpfs rw,nosuid,nodev,noexec");
    assert!(answers[8].starts_with("mqueue rw,nosuid,nodev"), "{answers:?}");
    assert!(answers[9].starts_with("sysfs ro,nosuid,nodev"), "{answers:?}");
    assert_eq!(answers[10..12], ["low", "ok"]);
    assert_eq!(std::fs::read_to_string(at("over/upper/new")).expect("in the upper directory"), "new");
    assert!(answers[12].contains("ro,nosuid,nodev"), "{answers:?}");
    assert!(answers[13].contains("noatime"), "{answers:?}");
    assert_eq!(answers[14], "ok");
    let body = mount("ro", "source = \"/nonexistent/source\"");
    lab.refused("nosource", &body, &["/nonexistent/source", "ENOENT", "nosource.toml:"]);
    let body = format!("[[mounts]]\ndestination = \"/nonexistent/place\"\nsource = \"{source}\"\n");
    lab.refused("noplace", &body, &["/nonexistent/place", "noplace.toml:"]);
    assert!(!Path::new("/nonexistent").exists());
}

#[test]
fn directories_are_made_with_owner_and_mode_writable_and_named_in_the_environment() {
    let Some(lab) = Lab::new() else { return };
    let name = lab.path().rsplit('/').next().expect("name").to_owned();
    let kinds = [
        ("runtime", "/run"),
        ("state", "/var/lib"),
        ("cache", "/var/cache"),
        ("logs", "/var/log"),
        ("configuration", "/etc"),
    ];
    let mut body = "user = \"daemon\"\n[filesystem]\nprotect_system = \"strict\"\n[directories]\n".to_owned();
    for (index, (kind, _)) in kinds.iter().enumerate() {
        body.push_str(&format!("{kind} = [\"{name}-a\", \"{name}-b/deep\"]\n{kind}_mode = \"07{index}0\"\n"));
    }
    let mut words = vec!["env".to_owned()];
    for (_, root) in kinds {
        words.push(format!("stat:{root}/{name}-a"));
        words.push(format!("create:{root}/{name}-b/deep"));
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let seen = lab.look("directories", &body, &words);
    for (index, (kind, root)) in kinds.iter().enumerate() {
        let variable = format!("{}_DIRECTORY={root}/{name}-a:{root}/{name}-b/deep", kind.to_uppercase());
        assert!(seen["env"].split('|').any(|found| found == variable), "{variable}: {seen:?}");
        let owner = if *kind == "configuration" { "0:0" } else { "1:1" };
        assert_eq!(&seen[format!("stat:{root}/{name}-a").as_str()], format!("dir 07{index}0 {owner}"), "{kind}");
        // The service may read its configuration; its administrator writes it.
        let created = &seen[format!("create:{root}/{name}-b/deep").as_str()];
        assert_eq!(created == "ok", *kind != "configuration", "{kind}: {created}");
    }
    for (_, root) in kinds {
        assert!(!Path::new(&format!("{root}/{name}-a")).exists(), "an instance of its own makes nothing in {root}");
    }
}

#[test]
fn runtime_directories_are_kept_as_long_as_the_unit_says() {
    let Some(lab) = Lab::new() else { return };
    let find = |name: &str| {
        let found =
            std::process::Command::new("find").arg(lab.instance.path()).args(["-name", name]).output().expect("find");
        !found.stdout.is_empty()
    };
    for (word, after_restart, after_stop) in [("no", false, false), ("restart", true, false), ("yes", true, true)] {
        let (unit, directory) = (format!("keep-{word}"), format!("kept-{word}"));
        let question = format!("list:/run/{directory}");
        let make = format!("put:/run/{directory}/file=x");
        let exec = lab.exec(&[&question, &make, "hold"]);
        let body = format!(
            "[directories]\nruntime = [\"{directory}\"]\nruntime_preserve = \"{word}\"\n[logging]\ntarget = \"file\"\n"
        );
        lab.instance.unit(&unit, &format!("[service]\n{exec}{body}"));
        lab.instance.rsvc(&["start", &unit]).expect(0);
        lab.instance.wait_for_log(&unit, "@@put");
        lab.instance.rsvc(&["restart", &unit]).expect(0);
        let log = crate::instance::eventually("two runs", || {
            Some(lab.instance.log(&unit)).filter(|log| log.matches("@@put").count() == 2)
        });
        assert_eq!(log.contains(&format!("@@{question}\tfile")), after_restart, "{word}: {log}");
        lab.instance.rsvc(&["stop", &unit]).expect(0);
        assert_eq!(find(&directory), after_stop, "{word}");
    }
}

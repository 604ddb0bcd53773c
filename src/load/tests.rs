use super::*;
use crate::unit::Install;
use std::os::unix::fs::{PermissionsExt, symlink};
use tempfile::TempDir;

pub(super) const UNIT: &str = "[service]\nexec = [\"/bin/true\"]\nuser = \"root\"\n";

/// Three directories, the first wins.
pub(super) fn search_path() -> (TempDir, Vec<PathBuf>) {
    let top = tempfile::tempdir().expect("a temporary directory can be made");
    let paths: Vec<PathBuf> = ["etc", "run", "usr"].iter().map(|d| top.path().join(d)).collect();
    for path in &paths {
        fs::create_dir(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    (top, paths)
}

pub(super) fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let file = directory.join(name);
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    file
}

fn refusal(paths: &[PathBuf], name: &str, trust: Trust) -> Problem {
    match find(paths, name, trust) {
        Err(problem) => *problem,
        Ok(lookup) => panic!("{name} was not refused: {lookup:?}"),
    }
}

pub(super) fn is_root(what: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skipped!("{what} needs root");
    }
    root
}

#[test]
fn the_first_directory_wins_and_missing_directories_have_no_units() {
    let (top, mut paths) = search_path();
    paths.insert(0, top.path().join("absent"));
    let first = write(&paths[1], "web.toml", UNIT);
    write(&paths[3], "web.toml", "never read");
    let Ok(Lookup::Found(found)) = find(&paths, "web", Trust::Any) else { panic!("not found") };
    assert_eq!((found.name.as_str(), found.file, found.bytes), ("web", first, UNIT.as_bytes().to_vec()));
    assert_eq!(find(&paths, "other", Trust::Any), Ok(Lookup::NotFound));
}

#[test]
fn a_link_to_dev_null_masks_what_lies_behind() {
    let (_top, paths) = search_path();
    write(&paths[2], "web.toml", UNIT);
    symlink("/dev/null", paths[0].join("web.toml")).unwrap();
    assert_eq!(find(&paths, "web", Trust::Any), Ok(Lookup::Masked { file: paths[0].join("web.toml") }));
    assert_eq!(list(&paths), ["web"]);
}

#[test]
fn what_is_not_a_regular_file_is_refused_without_hanging() {
    let (_top, paths) = search_path();
    rustix::fs::mknodat(rustix::fs::CWD, paths[0].join("fifo.toml"), rustix::fs::FileType::Fifo, 0o644.into(), 0)
        .unwrap();
    fs::create_dir(paths[0].join("dir.toml")).unwrap();
    symlink("loop.toml", paths[0].join("loop.toml")).unwrap();
    symlink("nowhere.toml", paths[0].join("dangling.toml")).unwrap();
    let expected = [
        ("fifo", Code::NotAFile, "a FIFO"),
        ("dir", Code::NotAFile, "a directory"),
        ("loop", Code::NotAFile, "in a loop"),
        ("dangling", Code::Unreadable, "does not exist"),
    ];
    for (name, code, words) in expected {
        write(&paths[1], &format!("{name}.toml"), UNIT);
        let problem = refusal(&paths, name, Trust::Any);
        assert_eq!(problem.code, code, "{problem}");
        assert!(problem.message.contains(words), "{problem}");
    }
}

#[test]
fn a_file_above_one_mebibyte_is_refused_and_one_of_exactly_that_is_read() {
    let (_top, paths) = search_path();
    write(&paths[0], "fits.toml", &"#".repeat(1 << 20));
    write(&paths[0], "big.toml", &"#".repeat((1 << 20) + 1));
    assert!(matches!(find(&paths, "fits", Trust::Any), Ok(Lookup::Found(_))));
    assert_eq!(refusal(&paths, "big", Trust::Any).code, Code::TooBig);
}

#[test]
fn templates_and_bad_names_are_refused_by_name() {
    let (_top, paths) = search_path();
    write(&paths[0], "web.toml", UNIT);
    let problem = refusal(&paths, "web@", Trust::Any);
    assert_eq!(
        (problem.code, problem.help.as_deref()),
        (Code::BadUnitName, Some("name an instance, such as \"web@one\""))
    );
    for name in [
        "web@a/b",
        "web@a@b",
        "@",
        "@x",
        "web@-x",
        "web@.",
        "web@ü",
        "web@a b",
        "",
        ".",
        "..",
        "a/b",
        "-x",
        "a b",
        "web.toml",
        "cgroup.procs",
        "tasks",
        "memory.max",
        "ü",
        "service",
    ] {
        assert_eq!(refusal(&paths, name, Trust::Any).code, Code::BadUnitName, "{name}");
    }
}

#[test]
fn files_that_others_can_change_are_refused_to_the_system() {
    if !is_root("changing owners") {
        return;
    }
    let (_top, paths) = search_path();
    let file = write(&paths[0], "web.toml", UNIT);
    let found = find(&paths, "web", Trust::RootOnly);
    assert!(matches!(found, Ok(Lookup::Found(_))), "{found:?}");
    for (mode, words) in [(0o666, "everybody"), (0o664, "group")] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let problem = refusal(&paths, "web", Trust::RootOnly);
        assert_eq!(problem.code, Code::Untrusted);
        assert!(problem.message.contains(words), "{problem}");
        assert!(matches!(find(&paths, "web", Trust::Any), Ok(Lookup::Found(_))));
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::chown(&file, Some(1000), None).unwrap();
    assert!(refusal(&paths, "web", Trust::RootOnly).message.contains("uid 1000"));
}

#[test]
fn a_directory_that_others_can_change_is_refused_to_the_system() {
    if !is_root("changing owners") {
        return;
    }
    let (_top, paths) = search_path();
    write(&paths[0], "web.toml", UNIT);
    for mode in [0o777, 0o775, 0o1777] {
        fs::set_permissions(&paths[0], fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(refusal(&paths, "web", Trust::RootOnly).code, Code::Untrusted, "{mode:o}");
    }
}

#[test]
fn a_link_out_of_the_places_of_root_is_refused_to_the_system() {
    if !is_root("changing owners") {
        return;
    }
    let (top, paths) = search_path();
    let home = top.path().join("home");
    fs::create_dir(&home).unwrap();
    let file = write(&home, "web.toml", UNIT);
    std::os::unix::fs::chown(&home, Some(1000), None).unwrap();
    symlink(&file, paths[0].join("web.toml")).unwrap();
    let problem = refusal(&paths, "web", Trust::RootOnly);
    assert_eq!(problem.code, Code::Untrusted);
    assert!(problem.message.contains("home"), "{problem}");
    assert!(matches!(find(&paths, "web", Trust::Any), Ok(Lookup::Found(_))));
}

#[test]
fn enable_and_disable_leave_nothing_behind_but_an_empty_set() {
    let (_top, paths) = search_path();
    let file = write(&paths[2], "web.toml", UNIT);
    let install = Install { wanted_by: vec!["default".into()], alias: vec!["www".into()] };
    assert!(!is_enabled(&paths, "web"));
    let changes = enable(&paths, "web", &file, &install).unwrap();
    assert_eq!(changes.len(), 2);
    assert_eq!(enable(&paths, "web", &file, &install).unwrap(), []);
    assert_eq!(enabled_units(&paths, "default"), ["web"]);
    assert!(is_enabled(&paths, "web"));
    assert_eq!(list(&paths), ["web"], "an alias is not a unit of its own");
    let Ok(Lookup::Found(found)) = find(&paths, "www", Trust::Any) else { panic!("the alias is not found") };
    assert_eq!(found.name, "web");
    assert_eq!(disable(&paths, "web").unwrap().len(), 2);
    assert_eq!(disable(&paths, "web").unwrap(), []);
    assert!(!is_enabled(&paths, "web"));
    assert_eq!(find(&paths, "www", Trust::Any), Ok(Lookup::NotFound));
}

#[test]
fn enable_does_not_replace_what_is_not_its_own() {
    let (_top, paths) = search_path();
    let file = write(&paths[2], "web.toml", UNIT);
    let other = write(&paths[0], "www.toml", UNIT);
    let install = Install { wanted_by: vec![], alias: vec!["www".into()] };
    let error = enable(&paths, "web", &file, &install).unwrap_err();
    assert!(matches!(&error, BootSetError::Occupied { path } if *path == other), "{error}");
    assert_eq!(fs::read_to_string(other).unwrap(), UNIT);
}

#[test]
fn a_set_of_a_package_is_masked_by_a_link_to_dev_null() {
    let (_top, paths) = search_path();
    fs::create_dir(paths[2].join("default.wants")).unwrap();
    symlink("/x/web.toml", paths[2].join("default.wants/web.toml")).unwrap();
    assert_eq!(enabled_units(&paths, "default"), ["web"]);
    fs::create_dir(paths[0].join("default.wants")).unwrap();
    symlink("/dev/null", paths[0].join("default.wants/web.toml")).unwrap();
    assert_eq!(enabled_units(&paths, "default"), Vec::<String>::new());
}

#[test]
fn units_that_are_named_and_missing_are_warned_about_at_their_place() {
    let (_top, paths) = search_path();
    write(&paths[0], "db.toml", UNIT);
    let text = format!("[unit]\nafter = [\"db\", \"nodb\"]\nrequires = [\"nothing\"]\n{UNIT}");
    let (unit, _) = Unit::parse("web", "web.toml", &text).unwrap();
    let problems = missing_units(&paths, &unit, &[UnitText { file: "web.toml", text: &text }]);
    let places: Vec<_> = problems.iter().map(|p| (p.line, p.column, p.message.as_str())).collect();
    assert_eq!(places, [(2, 16, "there is no unit `nodb`"), (3, 13, "there is no unit `nothing`")]);
}

#[test]
fn an_instance_is_its_own_file_or_its_templates_and_can_be_masked() {
    let (_top, paths) = search_path();
    let template = write(&paths[0], "web@.toml", UNIT);
    let own = write(&paths[2], "web@own.toml", UNIT);
    let file = |name: &str| match find(&paths, name, Trust::Any) {
        Ok(Lookup::Found(found)) => (found.name, found.file),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(file("web@blue"), ("web@blue".to_owned(), template));
    assert_eq!(file("web@own"), ("web@own".to_owned(), own));
    assert_eq!(list(&paths), ["web@own"], "a template is no unit, an instance with a file is one");
    assert!(exists(&paths, "web@any") && !exists(&paths, "web"));
    symlink("/dev/null", paths[1].join("web@red.toml")).unwrap();
    assert!(matches!(find(&paths, "web@red", Trust::Any), Ok(Lookup::Masked { .. })));
    symlink("web@.toml", paths[0].join("web@link.toml")).unwrap();
    assert_eq!(file("web@link").0, "web@link");
}

#[test]
fn the_hosts_name_comes_from_the_host() {
    let (_top, paths) = search_path();
    write(&paths[0], "web.toml", &format!("{UNIT}[unit]\ndescription = \"${{host}}\"\n"));
    let Ok(Lookup::Found(found)) = find(&paths, "web", Trust::Any) else { panic!("not found") };
    let (unit, _) = found.parse(ParseOptions::default()).unwrap();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(unit.unit.description.as_deref(), Some(host.trim_end()));
}

use super::super::tests::{UNIT, is_root, search_path, write};
use super::super::{Lookup, find};
use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};

/// Writes a drop-in; its directory is made with the usual rights.
fn drop_in(directory: &Path, owner: &str, name: &str) -> PathBuf {
    let below = directory.join(format!("{owner}.d"));
    fs::create_dir_all(&below).unwrap();
    fs::set_permissions(&below, fs::Permissions::from_mode(0o755)).unwrap();
    write(&below, name, "# nothing\n")
}

#[track_caller]
fn found(paths: &[PathBuf], name: &str) -> Found {
    match find(paths, name, Trust::Any) {
        Ok(Lookup::Found(found)) => found,
        other => panic!("{other:?}"),
    }
}

fn files(found: &Found) -> Vec<&Path> {
    found.drop_ins.iter().map(|drop_in| drop_in.file.as_path()).collect()
}

#[track_caller]
fn refusal(paths: &[PathBuf], trust: Trust) -> Problem {
    *find(paths, "web", trust).expect_err("refused")
}

#[test]
fn drop_ins_apply_by_name_over_all_directories() {
    let (_top, paths) = search_path();
    write(&paths[2], "web.toml", UNIT);
    let late = drop_in(&paths[2], "service", "90-all.toml");
    let middle = drop_in(&paths[0], "web", "50-web.toml");
    let early = drop_in(&paths[1], "web", "10-web.toml");
    drop_in(&paths[0], "other", "20-other.toml");
    assert_eq!(files(&found(&paths, "web")), [&early, &middle, &late]);
}

#[test]
fn of_one_name_the_specific_wins_and_then_the_higher_and_a_null_link_takes_all_away() {
    let (_top, paths) = search_path();
    write(&paths[0], "web.toml", UNIT);
    drop_in(&paths[0], "service", "10.toml");
    let specific = drop_in(&paths[2], "web", "10.toml");
    assert_eq!(files(&found(&paths, "web")), [&specific]);
    let higher = drop_in(&paths[1], "web", "10.toml");
    assert_eq!(files(&found(&paths, "web")), [&higher]);
    fs::create_dir_all(paths[0].join("web.d")).unwrap();
    symlink("/dev/null", paths[0].join("web.d/10.toml")).unwrap();
    assert_eq!(files(&found(&paths, "web")), Vec::<&Path>::new());
}

#[test]
fn files_of_another_name_are_told_of_and_what_editors_leave_is_not() {
    let (_top, paths) = search_path();
    write(&paths[0], "web.toml", UNIT);
    for name in ["a.conf", "a.toml.bak", "a.toml~", ".a.toml.swp", ".hidden.toml"] {
        drop_in(&paths[0], "web", name);
    }
    let found = found(&paths, "web");
    assert_eq!(files(&found), Vec::<&Path>::new());
    let mut told: Vec<&str> = found.warnings.iter().filter_map(|w| w.file.rsplit('/').next()).collect();
    told.sort_unstable();
    assert_eq!(told, ["a.conf", "a.toml.bak"]);
    assert!(found.warnings.iter().all(|w| w.code == Code::NotRead));
}

#[test]
fn what_a_unit_file_must_not_be_a_drop_in_must_not_be() {
    let (_top, paths) = search_path();
    write(&paths[0], "web.toml", UNIT);
    let file = drop_in(&paths[0], "web", "10.toml");
    let code = || refusal(&paths, Trust::Any).code;
    let again = || fs::remove_file(&file).unwrap();
    again();
    rustix::fs::mkfifoat(rustix::fs::CWD, &file, rustix::fs::Mode::RUSR).unwrap();
    assert_eq!(code(), Code::NotAFile);
    again();
    symlink("10.toml", &file).unwrap();
    assert_eq!(code(), Code::NotAFile);
    again();
    symlink("nowhere", &file).unwrap();
    assert_eq!(code(), Code::Unreadable);
    again();
    fs::write(&file, "#".repeat((1 << 20) + 1)).unwrap();
    assert_eq!(code(), Code::TooBig);
    again();
    fs::create_dir(&file).unwrap();
    assert_eq!(code(), Code::NotAFile);
}

#[test]
fn directories_that_are_none_or_wrongly_named_are_refused() {
    let (_top, paths) = search_path();
    write(&paths[0], "web.toml", UNIT);
    let wrong = paths[2].join("web.toml.d");
    fs::create_dir(&wrong).unwrap();
    let problem = refusal(&paths, Trust::Any);
    assert_eq!((problem.code, problem.help.as_deref()), (Code::DropIn, Some("rename the directory to web.d")));
    fs::remove_dir(&wrong).unwrap();
    write(&paths[1], "web.d", "not a directory");
    assert_eq!(refusal(&paths, Trust::Any).code, Code::DropIn);
}

#[test]
fn a_drop_in_is_no_unit() {
    let (_top, paths) = search_path();
    let file = drop_in(&paths[0], "web", "10.toml");
    let problem = super::super::read_file(&file).expect_err("refused");
    assert_eq!((problem.code, problem.help.as_deref()), (Code::DropIn, Some("name the unit instead: web")));
}

#[test]
fn more_drop_ins_than_anybody_has_are_refused() {
    let (_top, paths) = search_path();
    write(&paths[0], "web.toml", UNIT);
    for n in 0..MAX_DROP_INS {
        drop_in(&paths[0], "web", &format!("{n}.toml"));
    }
    assert_eq!(found(&paths, "web").drop_ins.len(), MAX_DROP_INS);
    drop_in(&paths[0], "service", "one-more.toml");
    assert_eq!(refusal(&paths, Trust::Any).code, Code::DropIn);
}

#[test]
fn drop_ins_that_others_can_change_are_refused_to_the_system() {
    if !is_root("changing owners") {
        return;
    }
    let (_top, paths) = search_path();
    write(&paths[0], "web.toml", UNIT);
    let file = drop_in(&paths[1], "web", "10.toml");
    assert!(matches!(find(&paths, "web", Trust::RootOnly), Ok(Lookup::Found(_))));
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(&file, 0o664);
    assert_eq!(refusal(&paths, Trust::RootOnly).code, Code::Untrusted);
    assert!(matches!(find(&paths, "web", Trust::Any), Ok(Lookup::Found(_))));
    mode(&file, 0o644);
    // Also without any drop-in in it: who can write there can take one away.
    let directory = paths[1].join("web.d");
    fs::remove_file(&file).unwrap();
    mode(&directory, 0o777);
    assert_eq!(refusal(&paths, Trust::RootOnly).code, Code::Untrusted);
}

#[test]
fn an_instance_has_its_own_drop_ins_before_its_templates_and_those_of_all() {
    let (_top, paths) = search_path();
    write(&paths[0], "web@.toml", UNIT);
    drop_in(&paths[0], "service", "10.toml");
    let template = drop_in(&paths[2], "web@", "10.toml");
    let own = drop_in(&paths[2], "web@blue", "05.toml");
    drop_in(&paths[0], "web", "20.toml");
    assert_eq!(files(&found(&paths, "web@blue")), [&own, &template]);
    assert_eq!(files(&found(&paths, "web@green")), [&template]);
    fs::create_dir(paths[1].join("web@.toml.d")).unwrap();
    let problem = find(&paths, "web@green", Trust::Any).expect_err("refused");
    assert_eq!(problem.help.as_deref(), Some("rename the directory to web@.d"));
}

use super::*;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};

fn contents(credential: &str, path: &Path) -> Result<Vec<(String, String)>, String> {
    let errno = |errno: Errno| nix::errno::Errno::from_raw(errno.raw_os_error());
    let opened = look_up(path)
        .and_then(|found| files(credential, &found))
        .map_err(|refused| format!("{:?} {}", errno(refused.errno), refused.detail))?;
    let read = |one: Opened| {
        let mut text = String::new();
        std::fs::File::from(one.file).read_to_string(&mut text).unwrap();
        (one.name, text)
    };
    Ok(opened.into_iter().map(read).collect())
}

fn pair(name: &str, text: &str) -> (String, String) {
    (name.to_owned(), text.to_owned())
}

#[test]
fn a_file_is_found_through_links_of_ours_up_and_down_and_absolute() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    std::fs::create_dir_all(at("live/site")).unwrap();
    std::fs::create_dir(at("archive")).unwrap();
    std::fs::write(at("archive/key1"), "one").unwrap();
    symlink("../../archive/key1", at("live/site/key")).unwrap();
    symlink(at("live"), at("absolute")).unwrap();
    for path in ["archive/key1", "live/site/key", "absolute/site/key", "live/../archive/key1"] {
        assert_eq!(contents("key", &at(path)), Ok(vec![pair("key", "one")]), "{path}");
    }
}

#[test]
fn each_regular_file_of_a_directory_has_its_own_name() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    std::fs::create_dir(at("below")).unwrap();
    for (name, text) in [("b", "2"), ("a", "1"), (".hidden", "0"), ("below/c", "3")] {
        std::fs::write(at(name), text).unwrap();
    }
    symlink("a", at("link")).unwrap();
    let found = contents("keys", place.path());
    assert_eq!(found, Ok(vec![pair("keys_a", "1"), pair("keys_b", "2"), pair("keys_link", "1")]));
    symlink("gone", at("dangling")).unwrap();
    assert_eq!(contents("keys", place.path()), Err("ENOENT dangling".to_owned()), "the one that is missing is named");
    std::fs::remove_file(at("dangling")).unwrap();
    std::fs::write(at("bell\u{7}"), "").unwrap();
    assert!(contents("keys", place.path()).unwrap_err().contains("cannot be part of the name"));
}

#[test]
fn a_fifo_is_refused_and_nobody_waits_for_its_writer() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(contents("x", &path).unwrap_err().contains("neither a regular file"));
    // In a directory it is passed over, as every other thing that is no file.
    assert_eq!(contents("x", place.path()), Ok(Vec::new()));
}

#[test]
fn a_link_that_others_could_exchange_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let open = place.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::write(place.path().join("secret"), "s").unwrap();
    symlink("../secret", open.join("link")).unwrap();
    let mode = |bits| std::fs::set_permissions(&open, std::fs::Permissions::from_mode(bits)).unwrap();
    for (bits, good) in [(0o755, true), (0o775, false), (0o757, false), (0o1777, true)] {
        mode(bits);
        let found = contents("x", &open.join("link"));
        assert_eq!(found.is_ok(), good, "{bits:o}: {found:?}");
    }
    if nix::unistd::geteuid().is_root() {
        mode(0o755);
        let nobody = Some(nix::unistd::Uid::from_raw(65534));
        nix::unistd::chown(&open, nobody, None).unwrap();
        assert!(contents("x", &open.join("link")).unwrap_err().contains("somebody else could exchange"));
        // The file itself may lie there.
        std::fs::write(open.join("own"), "o").unwrap();
        assert_eq!(contents("x", &open.join("own")), Ok(vec![pair("x", "o")]));
        // Unless it has a name elsewhere, so that it may be anybody's.
        std::fs::hard_link(place.path().join("secret"), open.join("hard")).unwrap();
        assert!(contents("x", &open.join("hard")).unwrap_err().contains("more names"));
        assert!(contents("x", &place.path().join("secret")).is_ok());
    }
}

#[test]
fn what_is_not_there_and_a_ring_of_links_are_errors() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    assert!(contents("x", &at("missing")).unwrap_err().starts_with("ENOENT"));
    std::fs::write(at("file"), "").unwrap();
    assert!(contents("x", &at("file/below")).unwrap_err().starts_with("ENOTDIR"));
    symlink("ring", at("ring")).unwrap();
    assert!(contents("x", &at("ring")).unwrap_err().starts_with("ELOOP"));
}

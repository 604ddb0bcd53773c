//! What is written and read again, and what is not believed.

use super::*;
use proptest::prelude::*;

fn state() -> SavedState {
    SavedState {
        unit: "web".into(),
        invocation_id: "0123456789abcdef0123456789abcdef".into(),
        main: ProcessIdentity::of(std::process::id() as i32),
        inner_pid: 2,
        ready: true,
        since: 5_000_000,
        log_pipe: Some(7),
        ..SavedState::new()
    }
}

#[test]
fn what_was_written_is_read_again() {
    let runtime = tempfile::tempdir().unwrap();
    assert!(matches!(read(runtime.path(), "web"), Err(StateError::Missing)));
    write(runtime.path(), &state()).unwrap();
    assert_eq!(read(runtime.path(), "web").unwrap(), state());
    let stopping = SavedState { stop_requested: true, ..state() };
    write(runtime.path(), &stopping).unwrap();
    assert_eq!(read(runtime.path(), "web").unwrap(), stopping);
    let directory = directory(runtime.path(), "web");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "no temporary file stays");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
    remove(runtime.path(), "web", None, Moment(0)).unwrap();
    remove(runtime.path(), "web", None, Moment(0)).unwrap();
    assert!(matches!(read(runtime.path(), "web"), Err(StateError::Missing)));
}

#[test]
fn what_the_file_says_already_is_not_written_again() {
    let runtime = tempfile::tempdir().unwrap();
    let mut written = Written::default();
    written.update(runtime.path(), state(), None, Moment(7)).unwrap();
    remove(runtime.path(), "web", None, Moment(0)).unwrap();
    written.update(runtime.path(), state(), None, Moment(7)).unwrap();
    assert!(matches!(read(runtime.path(), "web"), Err(StateError::Missing)));
    let stopping = SavedState { stop_requested: true, ..state() };
    written.update(runtime.path(), stopping.clone(), None, Moment(8)).unwrap();
    let found = read(runtime.path(), "web").unwrap();
    assert_eq!(found, SavedState { written: 8, ..stopping.clone() });
    let mut next = Written::by_others(&found);
    assert_eq!(next, written);
    remove(runtime.path(), "web", None, Moment(0)).unwrap();
    next.forget();
    next.update(runtime.path(), stopping.clone(), None, Moment(9)).unwrap();
    assert_eq!(read(runtime.path(), "web").unwrap(), SavedState { written: 9, ..stopping });
}

#[test]
fn what_cannot_be_believed_is_refused_with_the_reason() {
    let good = String::from_utf8(serde_json::to_vec(&state()).unwrap()).unwrap();
    let why = |text: &str| parse(text.as_bytes(), "web", boot_id()).unwrap_err().to_string();
    assert!(parse(good.as_bytes(), "web", boot_id()).is_ok());
    assert!(parse(good.as_bytes(), "web", "other").unwrap_err().to_string().contains("earlier boot"));
    assert!(why(&good[..good.len() / 2]).contains("damaged"));
    assert!(why("").contains("damaged"));
    assert!(why(&good.replace("\"v\":1", "\"v\":2")).contains("of version 2"));
    assert!(why("{\"v\":9,\"everything\":\"new\"}").contains("of version 9"));
    assert!(why(&good.replace("\"web\"", "\"db\"")).contains("that of `db`"));
    let own = format!("\"pid\":{}", std::process::id());
    assert!(why(&good.replace(&own, "\"pid\":0")).contains("impossible process"));
    assert!(why(&good.replace(&own, "\"pid\":-1")).contains("impossible process"));
}

#[test]
fn fields_of_a_later_version_with_the_same_number_are_passed_over() {
    let text = format!("{{\"v\":1,\"boot_id\":\"{}\",\"unit\":\"web\",\"later\":[1]}}", boot_id());
    let read = parse(text.as_bytes(), "web", boot_id()).unwrap();
    assert_eq!(read, SavedState { unit: "web".into(), ..SavedState::new() });
}

#[test]
fn a_state_that_is_written_over_is_read_again() {
    let runtime = tempfile::tempdir().unwrap();
    write(runtime.path(), &state()).unwrap();
    let path = directory(runtime.path(), "web").join("state");
    let short = SavedState { unit: "web".into(), ..SavedState::new() };
    overwrite(&path, &serde_json::to_vec(&short).unwrap()).unwrap();
    assert_eq!(read(runtime.path(), "web").unwrap(), short);
    let long = SavedState { invocation_id: "0".repeat(1000), ..state() };
    overwrite(&path, &serde_json::to_vec(&long).unwrap()).unwrap();
    assert_eq!(read(runtime.path(), "web").unwrap(), long);
    assert!(overwrite(&path, &[b' '; 5000]).is_err());
    assert_eq!(read(runtime.path(), "web").unwrap(), long);
}

#[test]
fn links_and_large_files_are_not_read() {
    let runtime = tempfile::tempdir().unwrap();
    write(runtime.path(), &state()).unwrap();
    let path = directory(runtime.path(), "web").join("state");
    fs::write(&path, vec![b' '; SIZE_LIMIT as usize + 1]).unwrap();
    assert!(read(runtime.path(), "web").unwrap_err().to_string().contains("larger than"));
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    assert!(matches!(read(runtime.path(), "web"), Err(StateError::Io(..))));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(parse(&bytes, "web", "boot").is_err());
    }
}

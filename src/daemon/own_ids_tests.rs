//! Who gets which ids, with a registry and account files of the tests' own.

use super::*;
use std::os::unix::fs::PermissionsExt;

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { directory: tempfile::tempdir().unwrap() }
    }

    fn instance(&self, name: &str) -> OwnIds {
        let state = self.directory.path().join(name);
        fs::create_dir_all(&state).unwrap();
        OwnIds { registry: self.directory.path().join("registry"), ..OwnIds::new(&state) }
    }

    fn accounts(&self, passwd: &str) -> Accounts {
        fs::write(self.directory.path().join("passwd"), passwd).unwrap();
        Accounts::new(self.directory.path(), &self.directory.path().join("getent"))
    }
}

fn range(ids: &mut OwnIds, unit: &str, accounts: &mut Accounts) -> u32 {
    ids.give(unit, Kind::Range, accounts, 0).unwrap()
}

#[test]
fn ranges_are_aligned_stable_and_everybodys_own() {
    let place = Place::new();
    let mut accounts = place.accounts("");
    let (mut one, mut two) = (place.instance("one"), place.instance("two"));
    one.load(&[]).unwrap();
    two.load(&[]).unwrap();
    let mut all = BTreeSet::new();
    for n in 0..40 {
        let range = range(if n % 2 == 0 { &mut one } else { &mut two }, &format!("unit-{n}"), &mut accounts);
        assert!(is_possible(Kind::Range, range), "{range}");
        assert!(all.insert(range), "{range} was given twice");
    }
    let before = range(&mut one, "unit-0", &mut accounts);
    let mut next = place.instance("one");
    next.load(&[]).unwrap();
    assert_eq!(range(&mut next, "unit-0", &mut accounts), before);
    assert_eq!(fs::metadata(&one.path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_others_have_is_passed_over() {
    let place = Place::new();
    let mut ids = place.instance("one");
    ids.load(&[]).unwrap();
    let (range, user) = (candidates(Kind::Range, "web", &ids.path), candidates(Kind::User, "web", &ids.path));
    let ([first, second], [user, next]) = (first_two(range), first_two(user));
    let mut accounts = place.accounts(&format!("a:x:{}:0::/:/x\nb:x:{user}:{user}::/:/x\n", first + 5));
    let given = ids.give("web", Kind::Range, &mut accounts, 0).unwrap();
    assert!(given != first, "a user has an id of it");
    assert_eq!(given, second);
    assert_eq!(ids.give("web", Kind::User, &mut accounts, 0).unwrap(), next);
}

fn first_two(mut all: impl Iterator<Item = u32>) -> [u32; 2] {
    [all.next().unwrap(), all.next().unwrap()]
}

#[test]
fn a_damaged_file_gives_nothing() {
    let place = Place::new();
    for text in [
        "",
        "{",
        "{\"v\":2,\"units\":{}}",
        "{\"v\":1,\"units\":{\"a\":{\"range\":524288},\"b\":{\"range\":524288}}}",
        "{\"v\":1,\"units\":{\"a\":{\"range\":524289}}}",
        "{\"v\":1,\"units\":{\"a\":{\"range\":0}}}",
        "{\"v\":1,\"units\":{\"a\":{\"user\":0}}}",
        "{\"v\":1,\"units\":{\"a\":{\"user\":61184},\"b\":{\"user\":61184}}}",
        "{\"v\":1,\"units\":{\"a\":{\"other\":1}}}",
    ] {
        let mut ids = place.instance("one");
        fs::write(&ids.path, text).unwrap();
        let why = ids.load(&[]).unwrap_err();
        assert!(why.contains("state") || why.contains("ids"), "{why}");
        assert!(!ids.is_loaded());
        assert!(ids.give("web", Kind::Range, &mut place.accounts(""), 0).is_err());
        // And another instance does not know what it may take.
        let mut other = place.instance("other");
        fs::create_dir_all(&other.registry).unwrap();
        ids.register().unwrap();
        assert!(other.load(&[]).unwrap_err().contains("another instance"), "{text}");
    }
}

#[test]
fn what_runs_counts_whatever_the_file_says() {
    let place = Place::new();
    let mut accounts = place.accounts("");
    let mut ids = place.instance("one");
    let running = |unit: &str, range: u32| (unit.to_owned(), Ids { range: Some(range), user: None });
    ids.load(&[running("web", FIRST_RANGE + RANGE_SIZE)]).unwrap();
    assert_eq!(range(&mut ids, "web", &mut accounts), FIRST_RANGE + RANGE_SIZE);
    assert_ne!(range(&mut ids, "other", &mut accounts), FIRST_RANGE + RANGE_SIZE);
    let mut next = place.instance("one");
    next.load(&[running("new", FIRST_RANGE + RANGE_SIZE)]).unwrap();
    assert_eq!(range(&mut next, "new", &mut accounts), FIRST_RANGE + RANGE_SIZE);
    assert_ne!(range(&mut next, "web", &mut accounts), FIRST_RANGE + RANGE_SIZE);
}

#[test]
fn a_range_that_another_instance_took_meanwhile_is_exchanged_and_a_user_is_not() {
    let place = Place::new();
    let mut accounts = place.accounts("");
    let mut one = place.instance("one");
    one.load(&[]).unwrap();
    let had = (range(&mut one, "web", &mut accounts), one.give("web", Kind::User, &mut accounts, 0).unwrap());
    // After a boot: the other one was there first, and knew nothing of us.
    fs::remove_dir_all(&one.registry).unwrap();
    let mut two = place.instance("two");
    let running = [("db".to_owned(), Ids { range: Some(had.0), user: None })];
    two.load(&running).unwrap();
    range(&mut two, "more", &mut accounts);
    let mut next = place.instance("one");
    next.load(&[]).unwrap();
    assert_ne!(range(&mut next, "web", &mut accounts), had.0);
    assert_eq!(next.known("web").user, Some(had.1));
}

#[test]
fn the_file_of_an_instance_that_is_gone_is_forgotten() {
    let place = Place::new();
    let mut gone = place.instance("gone");
    gone.load(&[]).unwrap();
    range(&mut gone, "web", &mut place.accounts(""));
    fs::remove_dir_all(place.directory.path().join("gone")).unwrap();
    let ids = place.instance("one");
    assert!(ids.others().unwrap().is_empty());
    assert!(!gone.own_link().is_symlink());
}

#[test]
fn a_registry_that_others_can_write_is_not_believed() {
    let place = Place::new();
    let mut ids = place.instance("one");
    fs::create_dir(&ids.registry).unwrap();
    fs::set_permissions(&ids.registry, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(ids.load(&[]).unwrap_err().contains("only root can write"));
}

#[test]
fn a_full_pool_says_so() {
    let place = Place::new();
    let mut ids = place.instance("one");
    let units = USERS.map(|user| (format!("u{user}"), Ids { range: None, user: Some(user) })).collect();
    write(&ids.path, &Table { v: VERSION, units }, Durable::No).unwrap();
    ids.load(&[]).unwrap();
    let why = ids.give("web", Kind::User, &mut place.accounts(""), 0).unwrap_err();
    assert!(why.contains("no user id from 61184 to 65519 is free") && why.contains("ids"), "{why}");
    assert_eq!(candidates(Kind::Range, "x", Path::new("/")).count(), 28_664);
}

#[test]
fn ranges_of_who_does_not_run_come_back_and_users_do_not() {
    let place = Place::new();
    let mut accounts = place.accounts("");
    let mut ids = place.instance("one");
    ids.load(&[]).unwrap();
    let kept = range(&mut ids, "runs", &mut accounts);
    range(&mut ids, "idle", &mut accounts);
    let user = ids.give("idle", Kind::User, &mut accounts, 0).unwrap();
    range(&mut ids, "gone", &mut accounts);
    assert!(ids.take_back_ranges(|unit| unit != "runs"));
    assert!(!ids.take_back_ranges(|unit| unit != "runs"));
    let mut next = place.instance("one");
    next.load(&[]).unwrap();
    assert_eq!(next.known("runs").range, Some(kept));
    assert_eq!(next.known("idle"), Ids { range: None, user: Some(user) });
    assert_eq!(next.table.unwrap().units.len(), 2);
}

#[test]
fn lines_of_maps_and_of_subordinate_ids_are_read() {
    assert_eq!(subordinate("me:100000:65536"), Some((100_000, 65_536)));
    assert_eq!(subordinate("# me"), None);
    assert_eq!(mapped("         0     524288      65536"), Some((524_288, 65_536)));
    assert_eq!(mapped("         0          0 4294967295"), None);
    assert_eq!(unmapped("         0          0 4294967295\n"), []);
    let gaps = unmapped("1000 5 10\n0 100000 500\n");
    assert_eq!(gaps, [(500, 500), (1010, u32::MAX - 1010)]);
    let taken = Taken(vec![(100_000, 500_000)]);
    assert!(taken.has(Kind::Range, 524_288) && !taken.has(Kind::Range, 655_360) && !taken.has(Kind::User, 61_184));
}

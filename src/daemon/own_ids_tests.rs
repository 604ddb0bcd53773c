//! Who gets which ids, with a registry and account files of the tests' own.

use super::super::ids_file::VERSION;
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
    one.load(&[]);
    two.load(&[]);
    let mut all = BTreeSet::new();
    for n in 0..40 {
        let range = range(if n % 2 == 0 { &mut one } else { &mut two }, &format!("unit-{n}"), &mut accounts);
        assert!(is_possible(Kind::Range, range), "{range}");
        assert!(all.insert(range), "{range} was given twice");
    }
    let before = range(&mut one, "unit-0", &mut accounts);
    let mut next = place.instance("one");
    next.load(&[]);
    assert_eq!(range(&mut next, "unit-0", &mut accounts), before);
    assert_eq!(fs::metadata(&one.path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_others_have_is_passed_over() {
    let place = Place::new();
    let mut ids = place.instance("one");
    ids.load(&[]);
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
        ids.load(&[]);
        for kind in [Kind::Range, Kind::User] {
            let why = ids.give("web", kind, &mut place.accounts(""), 0).unwrap_err();
            assert!(why.contains("one/ids") && why.contains("hint: restore it"), "{why}");
        }
        assert!(ids.wants_loading("web", Kind::Range), "it may be restored");
        // And another instance does not know what it may take.
        let mut other = place.instance("other");
        other.load(&[]);
        let why = other.give("web", Kind::Range, &mut place.accounts(""), 0).unwrap_err();
        assert!(why.contains("another instance") && why.contains("hint"), "{text}: {why}");
        assert_eq!(fs::read_to_string(&ids.path).unwrap(), text, "nothing is written over it");
    }
}

#[test]
fn of_a_damaged_file_the_whole_entries_count_and_are_given_again_when_it_is_restored() {
    let place = Place::new();
    let mut accounts = place.accounts("");
    let mut ids = place.instance("one");
    let whole = "\"good\":{\"range\":589824,\"user\":61185}";
    let cases = [
        "\"bad\":{\"range\":524289}",
        "\"bad\":{\"other\":1}",
        "\"bad\":[]",
        "\"bad\":{\"user\":61184},\"worse\":{\"user\":61184}",
    ];
    for spoilt in cases {
        fs::write(&ids.path, format!("{{\"v\":1,\"units\":{{{whole},{spoilt}}}}}")).unwrap();
        ids = place.instance("one");
        ids.load(&[("runs".to_owned(), Ids { range: Some(FIRST_RANGE), user: None })]);
        let mut get = |unit: &str, kind| ids.give(unit, kind, &mut accounts, 0);
        assert_eq!((get("good", Kind::Range), get("good", Kind::User)), (Ok(589_824), Ok(61_185)), "{spoilt}");
        assert_eq!(get("runs", Kind::Range), Ok(FIRST_RANGE), "{spoilt}");
        for unit in ["bad", "other"] {
            let why = get(unit, Kind::User).unwrap_err();
            assert!(why.contains("the entry of bad"), "{why}");
        }
        assert!(!ids.take_back_ranges(|_| true), "the file is left as it is");
    }
    fs::write(&ids.path, format!("{{\"v\":1,\"units\":{{{whole}}}}}")).unwrap();
    assert!(ids.wants_loading("other", Kind::Range) && !ids.wants_loading("runs", Kind::Range));
    ids.load(&[]);
    ids.give("other", Kind::Range, &mut accounts, 0).unwrap();
    assert_eq!(ids.known("runs").range, Some(FIRST_RANGE), "known from when it ran");
}

#[test]
fn while_anothers_file_is_damaged_one_keeps_what_nobody_can_have_taken() {
    let place = Place::new();
    let mut accounts = place.accounts("");
    let mut one = place.instance("one");
    one.load(&[]);
    let had = (range(&mut one, "web", &mut accounts), one.give("web", Kind::User, &mut accounts, 0).unwrap());
    let mut other = place.instance("other");
    other.load(&[]);
    fs::write(&other.path, "{").unwrap();
    let mut next = place.instance("one");
    next.load(&[]);
    assert_eq!(next.known("web"), Ids { range: Some(had.0), user: Some(had.1) });
    assert!(next.give("more", Kind::Range, &mut accounts, 0).unwrap_err().contains("another instance"));
    // After a boot, the other one was there first.
    fs::remove_file(one.own_link()).unwrap();
    fs::remove_file(one.compared_link()).unwrap();
    let mut next = place.instance("one");
    next.load(&[]);
    assert_eq!(next.known("web"), Ids { range: None, user: Some(had.1) });
    assert!(next.give("web", Kind::Range, &mut accounts, 0).unwrap_err().contains("another instance"));
    next.load(&[]);
    assert_eq!(next.known("web").range, None, "being looked into now says nothing of what others had before");
    fs::remove_file(&other.path).unwrap();
    next.load(&[]);
    range(&mut next, "web", &mut accounts);
}

#[test]
fn what_runs_counts_whatever_the_file_says() {
    let place = Place::new();
    let mut accounts = place.accounts("");
    let mut ids = place.instance("one");
    let running = |unit: &str, range: u32| (unit.to_owned(), Ids { range: Some(range), user: None });
    ids.load(&[running("web", FIRST_RANGE + RANGE_SIZE)]);
    assert_eq!(range(&mut ids, "web", &mut accounts), FIRST_RANGE + RANGE_SIZE);
    assert_ne!(range(&mut ids, "other", &mut accounts), FIRST_RANGE + RANGE_SIZE);
    let mut next = place.instance("one");
    next.load(&[running("new", FIRST_RANGE + RANGE_SIZE)]);
    assert_eq!(range(&mut next, "new", &mut accounts), FIRST_RANGE + RANGE_SIZE);
    assert_ne!(range(&mut next, "web", &mut accounts), FIRST_RANGE + RANGE_SIZE);
}

#[test]
fn a_range_that_another_instance_took_meanwhile_is_exchanged_and_a_user_is_not() {
    let place = Place::new();
    let mut accounts = place.accounts("");
    let mut one = place.instance("one");
    one.load(&[]);
    let had = (range(&mut one, "web", &mut accounts), one.give("web", Kind::User, &mut accounts, 0).unwrap());
    // After a boot: the other one was there first, and knew nothing of us.
    fs::remove_dir_all(&one.registry).unwrap();
    let mut two = place.instance("two");
    let running = [("db".to_owned(), Ids { range: Some(had.0), user: None })];
    two.load(&running);
    range(&mut two, "more", &mut accounts);
    let mut next = place.instance("one");
    next.load(&[]);
    assert_ne!(range(&mut next, "web", &mut accounts), had.0);
    assert_eq!(next.known("web").user, Some(had.1));
}

#[test]
fn the_file_of_an_instance_that_is_gone_is_forgotten() {
    let place = Place::new();
    let mut gone = place.instance("gone");
    gone.load(&[]);
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
    ids.load(&[]);
    assert!(ids.give("web", Kind::Range, &mut place.accounts(""), 0).unwrap_err().contains("only root can write"));
}

#[test]
fn a_full_pool_says_so() {
    let place = Place::new();
    let mut ids = place.instance("one");
    let units = USERS.map(|user| (format!("u{user}"), Ids { range: None, user: Some(user) })).collect();
    write(&ids.path, &Table { v: VERSION, units }, Durable::No).unwrap();
    ids.load(&[]);
    let why = ids.give("web", Kind::User, &mut place.accounts(""), 0).unwrap_err();
    assert!(why.contains("no user id from 61184 to 65519 is free") && why.contains("ids"), "{why}");
    assert_eq!(candidates(Kind::Range, "x", Path::new("/")).count(), 28_664);
}

#[test]
fn ranges_of_who_does_not_run_come_back_and_users_do_not() {
    let place = Place::new();
    let mut accounts = place.accounts("");
    let mut ids = place.instance("one");
    ids.load(&[]);
    let kept = range(&mut ids, "runs", &mut accounts);
    range(&mut ids, "idle", &mut accounts);
    let user = ids.give("idle", Kind::User, &mut accounts, 0).unwrap();
    range(&mut ids, "gone", &mut accounts);
    assert!(ids.take_back_ranges(|unit| unit != "runs"));
    assert!(!ids.take_back_ranges(|unit| unit != "runs"));
    let mut next = place.instance("one");
    next.load(&[]);
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

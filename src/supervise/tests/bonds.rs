//! Bonds between units: needed, bound, part of, upheld, in conflict, started on behalf.

use super::super::bonds::{MOST_LINKS, UPHOLD_AFTER};
use super::bench::{Bench, SECOND, adopted, deeds, names, policy, replies, restart_settings, running_since};
use crate::supervise::{Cause, Event, Exit, Policy, Rest, ServiceId, ServiceResult};
use crate::unit::{ReadyKind, RestartPolicy, ServiceType, Unit};

const A: ServiceId = ServiceId(2);
const B: ServiceId = ServiceId(3);
const C: ServiceId = ServiceId(4);

/// A unit whose readiness the test decides.
fn unit(name: &str) -> Policy {
    Policy { kind: ServiceType::Notify, ready: ReadyKind::Notify, ..policy(name) }
}

/// The same, not restarted by its own policy.
fn once(name: &str) -> Policy {
    Policy { restart: restart_settings(RestartPolicy::No), ..unit(name) }
}

/// Services from number 2 on, so that every line names its service.
fn bench(policies: impl IntoIterator<Item = Policy>) -> Bench {
    Bench::new(std::iter::once(policy("unrelated")).chain(policies))
}

fn up(bench: &mut Bench, ids: &[ServiceId]) {
    for id in ids {
        bench.executed(*id);
        bench.ready(*id);
        assert_eq!(bench.state(*id), "active/running");
    }
}

fn policy_of(text: &str) -> Policy {
    let text = format!("[service]\nexec = [\"/bin/true\"]\n{text}");
    let (unit, _) = Unit::parse("web", "web.toml", &text).expect("a valid unit");
    Policy::from(&unit)
}

#[test]
fn what_is_needed_is_ordered_too_unless_told_otherwise() {
    let needs = "[unit]\nrequires = [\"a\"]\nrequisite = [\"b\"]\nbinds_to = [\"c\", \"a\"]\nwants = [\"d\"]\n";
    assert_eq!(policy_of(needs).after, ["a", "b", "c"]);
    assert_eq!(policy_of(&format!("{needs}before = [\"b\"]\n")).after, ["a", "c"], "the other way round was asked for");
    assert_eq!(policy_of(&format!("{needs}default_order = false\n")).after, Vec::<String>::new());
}

#[test]
fn a_requisite_must_be_up_already_and_is_not_started() {
    let mut bench = bench([Policy { requisite: names(&["b"]), after: names(&["b"]), ..unit("a") }, unit("b")]);
    bench.start_as(A, 1);
    assert_eq!(replies(bench.expire()), ["reply 1 failed NotUp { unit: \"b\" }"]);
    assert_eq!((bench.state(A).as_str(), bench.state(B).as_str()), ("failed/failed", "inactive/dead"));
    bench.start(B);
    bench.executed(B);
    assert_eq!(deeds(bench.ready(B)), ["2: launch Main"], "it is wanted still");
}

#[test]
fn a_requisite_that_is_about_to_start_is_waited_for() {
    let mut bench = bench([Policy { requisite: names(&["b"]), after: names(&["b"]), ..unit("a") }, unit("b")]);
    bench.start(A);
    bench.start(B);
    bench.expire();
    bench.executed(B);
    assert_eq!(deeds(bench.ready(B)), ["2: launch Main"]);
}

#[test]
fn a_unit_falls_with_the_one_it_is_bound_to_and_comes_back_with_it() {
    let mut bench = bench([Policy { binds_to: names(&["b"]), after: names(&["b"]), ..unit("a") }, unit("b")]);
    bench.start(A);
    up(&mut bench, &[B, A]);
    assert_eq!(deeds(bench.exited(B, Exit::Exited(1))), ["3: signal all 15", "2: signal all 15"]);
    bench.emptied(B);
    bench.dies(A, Exit::Exited(0));
    assert_eq!(bench.status(A).cause, Some(Cause::Bound { unit: "b".into() }));
    assert_eq!(bench.state(A), "failed/failed");
    assert_eq!(deeds(bench.expire()), ["3: launch Main"]);
    bench.executed(B);
    assert_eq!(deeds(bench.ready(B)), ["2: launch Main"]);
}

#[test]
fn a_oneshot_is_never_up_and_is_not_run_again_and_again_for_what_is_bound_to_it() {
    let b = Policy { kind: ServiceType::Oneshot, ready: ReadyKind::Exited, ..policy("b") };
    let a = Policy { binds_to: names(&["b"]), after: names(&["b"]), ..unit("a") };
    let mut bench = bench([a, b]);
    bench.start_as(A, 1);
    bench.executed(B);
    let end = bench.dies(B, Exit::Exited(0));
    assert_eq!(replies(end), ["reply 1 failed NotUp { unit: \"b\" }"]);
    assert_eq!((bench.state(B).as_str(), bench.until_deadline()), ("inactive/dead", None));
}

#[test]
fn what_falls_slowly_comes_back_although_the_other_was_quicker() {
    let mut bench = bench([Policy { binds_to: names(&["b"]), after: names(&["b"]), ..unit("a") }, unit("b")]);
    bench.start(A);
    up(&mut bench, &[B, A]);
    bench.dies(B, Exit::Exited(1));
    bench.expire();
    up(&mut bench, &[B]);
    assert_eq!(bench.state(A), "deactivating/stop-sigterm");
    assert!(deeds(bench.dies(A, Exit::Exited(0))).contains(&"2: launch Main".to_owned()));
}

#[test]
fn units_that_are_bound_to_each_other_go_down_and_come_back_together() {
    let bound = |name: &str, other: &str| Policy { binds_to: names(&[other]), ..unit(name) };
    let mut bench = bench([bound("a", "b"), bound("b", "c"), bound("c", "a")]);
    bench.start(A);
    up(&mut bench, &[A, B, C]);
    bench.dies(C, Exit::Exited(1));
    bench.expire();
    assert_eq!(bench.state(C), "activating/start", "it is back before the others are gone");
    up(&mut bench, &[C]);
    bench.dies(B, Exit::Exited(0));
    bench.dies(A, Exit::Exited(0));
    up(&mut bench, &[A, B]);
    assert_eq!(bench.state(C), "active/running");
}

#[test]
fn a_stop_by_request_takes_along_what_is_bound_or_part_and_leaves_it_down() {
    let bound = Policy { binds_to: names(&["b"]), after: names(&["b"]), ..unit("a") };
    let part = Policy { part_of: names(&["b"]), ..unit("c") };
    let mut bench = bench([bound, unit("b"), part]);
    bench.start(A);
    bench.start(C);
    up(&mut bench, &[B, A, C]);
    assert_eq!(deeds(bench.stop_as(B, 1)), ["2: signal all 15", "4: signal all 15"]);
    bench.dies(C, Exit::Exited(0));
    bench.dies(A, Exit::Exited(0));
    assert_eq!(replies(bench.dies(B, Exit::Exited(0))), ["reply 1 Done"]);
    for id in [A, B, C] {
        assert_eq!(bench.state(id), "inactive/dead");
    }
    bench.start(B);
    bench.executed(B);
    assert!(deeds(bench.ready(B)).is_empty(), "nobody wants them");
}

#[test]
fn a_restart_takes_along_what_is_part_of_the_unit_if_that_is_up() {
    let part = Policy { part_of: names(&["b"]), after: names(&["b"]), ..unit("a") };
    let mut bench = bench([part, unit("b")]);
    bench.start(B);
    up(&mut bench, &[B]);
    bench.restart_as(B, 1);
    bench.expire();
    bench.dies(B, Exit::Exited(0));
    up(&mut bench, &[B]);
    assert_eq!(bench.state(A), "inactive/dead", "what was down stays down");
    bench.start(A);
    up(&mut bench, &[A]);
    assert_eq!(deeds(bench.restart_as(B, 2)), ["2: signal all 15"]);
    assert_eq!(deeds(bench.dies(A, Exit::Exited(0))), ["2: signal all 15", "2: remove after run", "3: signal all 15"]);
    bench.dies(B, Exit::Exited(0));
    bench.executed(B);
    assert_eq!(deeds(bench.ready(B)), ["reply 2 Done", "2: launch Main"]);
}

#[test]
fn the_unit_that_is_part_of_a_missing_one_is_refused() {
    let mut bench = bench([Policy { part_of: names(&["gone"]), ..unit("a") }]);
    assert_eq!(replies(bench.start_as(A, 1)), ["reply 1 failed MissingDependency { unit: \"gone\" }"]);
}

#[test]
fn what_is_upheld_is_started_along_and_again_after_a_growing_wait() {
    let mut bench = bench([Policy { upholds: names(&["b"]), ..unit("a") }, once("b")]);
    assert_eq!(deeds(bench.start(A)), ["2: launch Main", "3: launch Main"]);
    up(&mut bench, &[A, B]);
    let mut last = UPHOLD_AFTER / 2;
    for end in [Exit::Exited(0), Exit::Exited(1), Exit::Killed(9)] {
        bench.dies(B, end);
        assert_eq!(bench.state(B), "activating/auto-restart");
        let wait = bench.until_deadline().expect("it is tried again");
        assert!(wait >= UPHOLD_AFTER && wait > last, "{wait:?} after {last:?}");
        last = wait;
        assert_eq!(deeds(bench.expire()), ["3: launch Main"]);
        up(&mut bench, &[B]);
    }
}

#[test]
fn what_is_upheld_comes_back_even_after_a_stop_by_request_but_not_without_its_upholder() {
    let mut bench = bench([Policy { upholds: names(&["b"]), ..unit("a") }, once("b")]);
    bench.start(A);
    up(&mut bench, &[A, B]);
    bench.stop_as(B, 1);
    assert_eq!(replies(bench.dies(B, Exit::Exited(0))), ["reply 1 Done"]);
    assert_eq!(bench.state(B), "activating/auto-restart");
    bench.stop(A);
    bench.dies(A, Exit::Exited(0));
    assert_eq!(bench.state(B), "inactive/dead");
    assert_eq!(bench.until_deadline(), None);
}

#[test]
fn what_is_upheld_and_cannot_start_is_no_busy_loop() {
    let b = Policy { requisite: names(&["c"]), after: names(&["c"]), ..once("b") };
    let mut bench = bench([Policy { upholds: names(&["b"]), ..unit("a") }, b, unit("c")]);
    bench.start(A);
    bench.step(Event::DeadlinePassed);
    up(&mut bench, &[A]);
    for _ in 0..10 {
        assert_eq!(bench.state(B), "activating/auto-restart");
        assert!(bench.until_deadline() >= Some(UPHOLD_AFTER));
        assert_eq!(deeds(bench.expire()), ["3: remove at stop"]);
    }
    assert!(bench.until_deadline() > Some(20 * SECOND), "the wait grows");
}

#[test]
fn upholding_ends_with_the_limit_of_the_upheld() {
    let mut b = once("b");
    b.restart.limit_burst = 2;
    let mut bench = bench([Policy { upholds: names(&["b"]), ..unit("a") }, b]);
    bench.start(A);
    up(&mut bench, &[A, B]);
    for _ in 0..2 {
        bench.dies(B, Exit::Exited(0));
        bench.expire();
        up(&mut bench, &[B]);
    }
    bench.dies(B, Exit::Exited(0));
    assert_eq!((bench.state(B).as_str(), bench.until_deadline()), ("failed/failed", None));
    assert_eq!(bench.status(B).cause, Some(Cause::StartLimit));
}

#[test]
fn a_start_stops_what_it_conflicts_with_first_whoever_says_so() {
    for (first, second) in [(A, B), (B, A)] {
        let mut bench = bench([Policy { conflicts: names(&["b"]), ..unit("a") }, unit("b")]);
        bench.start(first);
        up(&mut bench, &[first]);
        assert_eq!(deeds(bench.start_as(second, 1)), [format!("{}: signal all 15", first.0)]);
        assert_eq!(bench.state(second), "activating/waiting");
        let end = deeds(bench.dies(first, Exit::Exited(0)));
        assert!(end.contains(&format!("{}: launch Main", second.0)), "{end:?}");
    }
}

#[test]
fn of_two_rivals_the_last_that_was_asked_for_stays() {
    let mut bench = bench([Policy { conflicts: names(&["b"]), ..unit("a") }, unit("b")]);
    bench.start(A);
    up(&mut bench, &[A]);
    bench.start_as(B, 1);
    let end = bench.start_as(A, 2);
    assert!(replies(end).is_empty(), "a is going down for b");
    let end = bench.dies(A, Exit::Exited(0));
    assert_eq!(replies(end.clone()), ["reply 1 Cancelled"]);
    assert!(deeds(end).contains(&"2: launch Main".to_owned()));
    assert_eq!(bench.state(B), "inactive/dead");
}

#[test]
fn a_start_that_needs_both_rivals_is_refused_and_nobody_is_stopped() {
    let a = Policy { requires: names(&["b", "c"]), ..unit("a") };
    let mut bench = bench([a, Policy { conflicts: names(&["c"]), ..unit("b") }, unit("c")]);
    bench.start(C);
    up(&mut bench, &[C]);
    let end = replies(bench.start_as(A, 1));
    assert_eq!(end, ["reply 1 failed Conflict { unit: \"c\" }"]);
    assert_eq!((bench.state(B).as_str(), bench.state(C).as_str()), ("inactive/dead", "active/running"));
}

#[test]
fn a_rival_that_is_only_wanted_gives_way() {
    let a = Policy { wants: names(&["b"]), conflicts: names(&["b"]), ..unit("a") };
    let mut bench = bench([a, unit("b")]);
    assert_eq!(deeds(bench.start(A)), ["2: launch Main"]);
    assert_eq!(bench.status(B).cause, Some(Cause::Conflict { unit: "a".into() }));
}

#[test]
fn an_automatic_restart_gives_way_to_a_rival_that_is_up() {
    let rest = Rest {
        restarts: 1,
        until: Some(crate::supervise::Moment(1_000_500_000)),
        result: ServiceResult::ExitCode,
        cause: Some(Cause::StartTimeout),
        main_exit: None,
        hook_failure: None,
        wanted: false,
        upheld: false,
        launched: false,
        restart_times: Vec::new(),
    };
    let mut bench = bench([Policy { conflicts: names(&["b"]), ..unit("a") }, unit("b")]);
    let since = bench.now;
    bench.step(Event::Remembered { id: A, rest });
    bench.step(adopted(B, running_since(since)));
    bench.step(Event::Surveyed);
    bench.expire();
    assert_eq!(bench.status(A).cause, Some(Cause::Conflict { unit: "b".into() }));
    assert_eq!(bench.state(B), "active/running");
}

#[test]
fn an_automatic_restart_waits_for_what_it_requires() {
    let a = Policy { requires: names(&["b"]), after: names(&["b"]), ..unit("a") };
    let mut b = unit("b");
    b.restart.delay = 5 * SECOND;
    let mut bench = bench([a, b]);
    bench.start(A);
    up(&mut bench, &[B, A]);
    bench.dies(B, Exit::Exited(1));
    bench.dies(A, Exit::Exited(1));
    assert_eq!(deeds(bench.expire()), ["2: remove at stop"], "b is not back yet");
    assert_eq!(bench.status(A).cause, Some(Cause::Dependency { unit: "b".into() }));
    assert_eq!(deeds(bench.expire()), ["3: launch Main"]);
    bench.executed(B);
    assert_eq!(deeds(bench.ready(B)), ["2: launch Main"]);
}

#[test]
fn an_automatic_restart_brings_back_what_it_requires_and_has_ended_well() {
    let a = Policy { requires: names(&["b"]), after: names(&["b"]), ..unit("a") };
    let mut bench = bench([a, unit("b")]);
    bench.start(A);
    up(&mut bench, &[B, A]);
    bench.dies(B, Exit::Exited(0));
    bench.dies(A, Exit::Exited(1));
    assert_eq!(deeds(bench.expire()), ["3: launch Main"]);
    bench.executed(B);
    assert_eq!(deeds(bench.ready(B)), ["2: launch Main"]);
}

#[test]
fn units_are_started_on_behalf_of_one_that_failed_or_ended_well() {
    let a = Policy { on_failure: names(&["b"]), on_success: names(&["c"]), ..once("a") };
    let mut bench = bench([a, unit("b"), unit("c")]);
    let asks = |lines: Vec<String>| lines.into_iter().filter(|l| l.contains("start unit")).collect::<Vec<_>>();
    for (end, expected) in [(Exit::Exited(1), "2: start unit b (1)"), (Exit::Exited(0), "2: start unit c (1)")] {
        bench.start(A);
        up(&mut bench, &[A]);
        assert_eq!(asks(bench.dies(A, end)), [expected]);
    }
    bench.start(A);
    up(&mut bench, &[A]);
    bench.stop(A);
    assert!(asks(bench.dies(A, Exit::Exited(1))).is_empty(), "people wanted that");
}

#[test]
fn nothing_is_started_on_behalf_of_a_unit_that_is_tried_again() {
    let mut bench = bench([Policy { on_failure: names(&["b"]), ..unit("a") }, unit("b")]);
    bench.start(A);
    up(&mut bench, &[A]);
    assert!(!bench.dies(A, Exit::Exited(1)).iter().any(|line| line.contains("start unit")));
}

#[test]
fn starts_that_follow_from_starts_come_to_an_end() {
    let circle =
        |name: &str, other: &str| Policy { on_failure: names(&[other]), requisite: names(&["c"]), ..once(name) };
    let mut bench = bench([circle("a", "b"), circle("b", "a"), unit("c")]);
    let mut lines = bench.start(A);
    let mut count = 0;
    while let Some(asked) = lines.iter().find(|line| line.contains("start unit")) {
        count += 1;
        assert!(asked.ends_with(&format!("({count})")), "{asked}");
        let id = if asked.contains("unit a") { A } else { B };
        lines = bench.step(Event::Triggered { id, links: count });
    }
    assert_eq!(count, MOST_LINKS);
    assert!(bench.start(A).iter().any(|line| line.ends_with("(1)")), "people's wishes count from the beginning");
}

#[test]
fn what_ended_while_no_daemon_looked_has_its_consequences() {
    let a = Policy { binds_to: names(&["b"]), upholds: names(&["c"]), ..unit("a") };
    let mut bench = bench([a, unit("b"), unit("c")]);
    let since = bench.now;
    bench.step(adopted(A, running_since(since)));
    assert_eq!(bench.state(C), "inactive/dead", "not all has been told");
    assert_eq!(deeds(bench.step(Event::Surveyed)), ["2: signal all 15"]);
    bench.dies(A, Exit::Exited(0));
    assert_eq!(bench.status(A).cause, Some(Cause::Bound { unit: "b".into() }));
}

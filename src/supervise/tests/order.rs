//! Several units: who is pulled in, who goes first, who falls with whom.

use super::super::graph::find_cycle;
use super::bench::{Bench, SECOND, commands, deeds, names, policy, replies, restart_settings};
use crate::supervise::{Cause, Event, Exit, Policy, RequestId, ServiceId};
use crate::unit::{ReadyKind, RestartPolicy, ServiceType};
use std::collections::BTreeMap;
use std::time::Duration;

const A: ServiceId = ServiceId(2);
const B: ServiceId = ServiceId(3);
const C: ServiceId = ServiceId(4);

/// A unit whose readiness the test decides.
fn unit(name: &str) -> Policy {
    Policy { kind: ServiceType::Notify, ready: ReadyKind::Notify, ..policy(name) }
}

/// Services from number 2 on, so that every line names its service.
fn bench(policies: impl IntoIterator<Item = Policy>) -> Bench {
    Bench::new(std::iter::once(policy("unrelated")).chain(policies))
}

fn up(bench: &mut Bench, ids: &[ServiceId]) {
    for id in ids {
        bench.executed(*id);
        bench.ready(*id);
    }
}

#[test]
fn wants_and_requires_are_pulled_in_at_the_same_time_where_no_order_is_given() {
    let a = Policy { wants: names(&["b"]), requires: names(&["c"]), ..unit("a") };
    let mut bench = bench([a, unit("b"), unit("c")]);
    assert_eq!(deeds(bench.start_as(A, 1)), ["2: launch Main", "3: launch Main", "4: launch Main"]);
    up(&mut bench, &[B, C]);
    bench.executed(A);
    assert_eq!(replies(bench.ready(A)), ["reply 1 Done"], "only the one that was asked for answers");
}

#[test]
fn a_unit_waits_until_those_before_it_have_finished_starting() {
    let a = Policy { after: names(&["b", "c"]), wants: names(&["b", "c"]), ..unit("a") };
    let c = Policy { before: names(&["b"]), ..unit("c") };
    let mut bench = bench([a, unit("b"), c]);
    assert_eq!(deeds(bench.start(A)), ["4: launch Main"]);
    assert_eq!(bench.state(A), "activating/waiting");
    bench.executed(C);
    assert_eq!(deeds(bench.ready(C)), ["3: launch Main"]);
    bench.executed(B);
    assert_eq!(deeds(bench.ready(B)), ["2: launch Main"]);
}

#[test]
fn a_unit_that_is_only_ordered_is_not_pulled_in() {
    let a = Policy { after: names(&["b"]), ..unit("a") };
    let mut bench = bench([a, unit("b")]);
    assert!(bench.start(A).is_empty(), "b may be asked for by the next event");
    assert_eq!(bench.until_deadline(), Some(Duration::ZERO));
    assert_eq!(deeds(bench.expire()), ["2: launch Main"], "it was not");
    assert_eq!(bench.state(B), "inactive/dead");
}

#[test]
fn requests_that_arrive_together_are_ordered_in_whatever_order_they_come() {
    let a = Policy { after: names(&["b"]), ..unit("a") };
    let mut bench = bench([a, unit("b")]);
    assert!(bench.start(A).is_empty());
    assert_eq!(deeds(bench.start(B)), ["3: launch Main"]);
    assert!(bench.expire().is_empty());
    bench.executed(B);
    assert_eq!(deeds(bench.ready(B)), ["2: launch Main"]);

    assert_eq!(bench.until_deadline(), Some(90 * SECOND), "and the round leaves nothing behind");
    up(&mut bench, &[A]);
    assert!(bench.stop(B).is_empty(), "a may be asked to stop by the next event");
    assert_eq!(deeds(bench.stop(A)), ["2: signal all 15"]);
    assert!(bench.expire().is_empty());
    assert!(bench.status(B).stop_requested);
    assert_eq!(bench.state(B), "active/running");
    assert_eq!(deeds(bench.dies(A, Exit::Exited(0))), ["2: signal all 15", "2: remove at stop", "3: signal all 15"]);
}

#[test]
fn a_stop_of_one_unit_does_not_wait_for_units_that_stay() {
    let a = Policy { after: names(&["b"]), ..unit("a") };
    let mut bench = bench([a, unit("b")]);
    bench.start(B);
    bench.start(A);
    up(&mut bench, &[B, A]);
    assert!(bench.stop_as(B, 1).is_empty());
    assert_eq!(deeds(bench.expire()), ["3: signal all 15"]);
    assert_eq!(replies(bench.dies(B, Exit::Exited(0))), ["reply 1 Done"]);
    assert_eq!(bench.state(A), "active/running");
}

#[test]
fn a_failure_of_a_unit_that_is_only_wanted_is_no_obstacle() {
    let a = Policy { after: names(&["b"]), wants: names(&["b"]), ..unit("a") };
    let mut bench = bench([a, unit("b")]);
    bench.start(A);
    bench.executed(B);
    assert_eq!(deeds(bench.dies(B, Exit::Exited(1)))[1..], ["3: remove after run", "2: launch Main"]);
}

#[test]
fn a_failure_of_a_required_unit_before_it_fails_the_start() {
    let a = Policy { after: names(&["b"]), requires: names(&["b"]), ..unit("a") };
    let b = Policy { restart: restart_settings(RestartPolicy::No), ..unit("b") };
    let mut bench = bench([a, b]);
    bench.start_as(A, 1);
    bench.executed(B);
    assert_eq!(replies(bench.dies(B, Exit::Exited(1))), ["reply 1 failed Dependency { unit: \"b\" }"]);
    assert_eq!(bench.state(A), "failed/failed");
    assert_eq!(bench.status(A).cause, Some(Cause::Dependency { unit: "b".into() }));
}

#[test]
fn a_failure_goes_all_the_way_up_a_chain() {
    let a = Policy { after: names(&["b"]), requires: names(&["b"]), ..unit("a") };
    let b = Policy { after: names(&["c"]), requires: names(&["c"]), ..unit("b") };
    let mut bench = bench([a, b, unit("c")]);
    bench.start_as(A, 1);
    bench.executed(C);
    let end = replies(bench.dies(C, Exit::Exited(1)));
    assert_eq!(end, ["reply 1 failed Dependency { unit: \"b\" }"]);
    assert_eq!(bench.status(B).cause, Some(Cause::Dependency { unit: "c".into() }));
}

#[test]
fn what_failed_for_want_of_another_is_started_when_that_one_recovers() {
    let a = Policy { after: names(&["b"]), requires: names(&["b"]), ..unit("a") };
    let mut bench = bench([a, unit("b")]);
    bench.start(A);
    bench.executed(B);
    bench.dies(B, Exit::Exited(1));
    assert_eq!(bench.state(A), "failed/failed");
    assert_eq!(deeds(bench.expire()), ["3: launch Main"]);
    bench.executed(B);
    assert_eq!(deeds(bench.ready(B)), ["2: launch Main"]);
}

#[test]
fn what_failed_for_want_of_another_and_was_then_stopped_stays_down() {
    let a = Policy { after: names(&["b"]), requires: names(&["b"]), ..unit("a") };
    let mut bench = bench([a, unit("b")]);
    bench.start(A);
    bench.executed(B);
    bench.dies(B, Exit::Exited(1));
    bench.stop(A);
    bench.expire();
    bench.executed(B);
    assert!(deeds(bench.ready(B)).is_empty());
}

#[test]
fn a_failure_of_a_required_unit_without_order_does_not_touch_the_other() {
    let a = Policy { requires: names(&["b"]), ..unit("a") };
    let mut bench = bench([a, unit("b")]);
    bench.start_as(A, 1);
    bench.executed(B);
    bench.dies(B, Exit::Exited(1));
    bench.executed(A);
    assert_eq!(replies(bench.ready(A)), ["reply 1 Done"]);
}

#[test]
fn a_service_that_fails_again_and_again_at_once_does_not_keep_others_waiting() {
    let a = Policy { after: names(&["b"]), wants: names(&["b"]), ..unit("a") };
    let mut at_once = restart_settings(RestartPolicy::Always);
    at_once.delay = Duration::ZERO;
    let mut bench = bench([a, Policy { restart: at_once, ..unit("b") }]);
    bench.start(A);
    bench.executed(B);
    let end = deeds(bench.dies(B, Exit::Exited(1)));
    assert!(end.contains(&"2: launch Main".to_owned()) && end.contains(&"3: launch Main".to_owned()), "{end:?}");
}

#[test]
fn a_missing_required_unit_refuses_the_start_wherever_it_is_required() {
    let a = Policy { requires: names(&["b"]), ..unit("a") };
    let b = Policy { requires: names(&["gone"]), ..unit("b") };
    let mut bench = bench([a, b]);
    let end = bench.start_as(A, 1);
    assert_eq!(replies(end), ["reply 1 failed MissingDependency { unit: \"gone\" }"]);
    assert_eq!(bench.state(A), "failed/failed");
    assert_eq!(bench.state(B), "inactive/dead", "nothing was begun");
}

#[test]
fn a_missing_unit_that_is_wanted_or_ordered_is_ignored() {
    let a = Policy { after: names(&["gone"]), before: names(&["lost"]), wants: names(&["nowhere"]), ..unit("a") };
    let mut bench = bench([a]);
    assert_eq!(deeds(bench.start(A)), ["2: launch Main"]);
}

#[test]
fn a_wanted_unit_that_needs_a_missing_one_fails_alone() {
    let a = Policy { wants: names(&["b"]), after: names(&["b"]), ..unit("a") };
    let b = Policy { requires: names(&["gone"]), ..unit("b") };
    let mut bench = bench([a, b]);
    assert_eq!(deeds(bench.start(A)).len(), 0, "b is idle, so the round is waited for");
    assert_eq!(deeds(bench.expire()), ["2: launch Main"]);
    assert_eq!(bench.status(B).cause, Some(Cause::MissingDependency { unit: "gone".into() }));
}

#[test]
fn what_a_start_would_need_is_named_before_it_is_asked_for() {
    let a = Policy { requires: names(&["b", "x"]), ..unit("a") };
    let b = Policy { wants: names(&["y", "a"]), after: names(&["z"]), ..unit("b") };
    let bench = bench([a, b]);
    assert_eq!(bench.supervisor.missing_for_start(A), ["x", "y"]);
    assert_eq!(bench.supervisor.missing_for_start(ServiceId(99)), Vec::<String>::new());
}

#[test]
fn a_circle_is_refused_with_its_path() {
    let a = Policy { wants: names(&["b", "c"]), after: names(&["b"]), ..unit("a") };
    let b = Policy { after: names(&["c"]), ..unit("b") };
    let c = Policy { after: names(&["a"]), ..unit("c") };
    let mut bench = bench([a, b, c]);
    let end = replies(bench.start_as(A, 1));
    assert_eq!(end, ["reply 1 failed Cycle { path: [\"a\", \"b\", \"c\", \"a\"] }"]);
    assert_eq!(bench.state(B), "inactive/dead");
}

#[test]
fn a_circle_over_several_requests_is_refused_to_the_one_that_closes_it() {
    let circle = |name: &str, before: &str| Policy { after: names(&[before]), ..unit(name) };
    let mut bench = bench([circle("a", "c"), circle("b", "a"), circle("c", "b")]);
    bench.start_as(A, 1);
    bench.start_as(B, 2);
    let end = replies(bench.start_as(C, 3));
    assert_eq!(end, ["reply 3 failed Cycle { path: [\"c\", \"b\", \"a\", \"c\"] }"]);
    assert_eq!(deeds(bench.expire()), ["2: launch Main"], "the others go on");
}

#[test]
fn units_in_a_circle_that_were_started_one_by_one_can_be_stopped() {
    let circle = |name: &str, before: &str| Policy { after: names(&[before]), ..unit(name) };
    let mut bench = bench([circle("a", "c"), circle("b", "a"), circle("c", "b")]);
    for id in [A, B, C] {
        bench.start(id);
        bench.step(Event::DeadlinePassed);
        up(&mut bench, &[id]);
        assert_eq!(bench.state(id), "active/running");
    }
    for id in [A, B, C] {
        bench.stop(id);
    }
    bench.step(Event::DeadlinePassed);
    for id in [B, A, C, B, A] {
        bench.dies(id, Exit::Exited(0));
    }
    for id in [A, B, C] {
        assert_eq!(bench.state(id), "inactive/dead");
    }
}

#[test]
fn a_unit_ordered_after_itself_means_nothing_by_it() {
    let mut bench = bench([Policy { after: names(&["a"]), requires: names(&["a"]), ..unit("a") }]);
    assert_eq!(deeds(bench.start(A)), ["2: launch Main"]);
    up(&mut bench, &[A]);
    assert_eq!(deeds(bench.stop(A)), ["2: signal all 15"]);
}

#[test]
fn a_stop_takes_along_what_requires_the_unit_and_in_order() {
    let a = Policy { requires: names(&["b"]), after: names(&["b"]), ..unit("a") };
    let b = Policy { requires: names(&["c"]), after: names(&["c"]), ..unit("b") };
    let mut bench = bench([a, b, unit("c")]);
    bench.start(A);
    up(&mut bench, &[C, B, A]);
    assert_eq!(deeds(bench.stop_as(C, 1)), ["2: signal all 15"]);
    assert_eq!(deeds(bench.dies(A, Exit::Exited(0))), ["2: signal all 15", "2: remove at stop", "3: signal all 15"]);
    assert_eq!(deeds(bench.dies(B, Exit::Exited(0))), ["3: signal all 15", "3: remove at stop", "4: signal all 15"]);
    assert_eq!(replies(bench.dies(C, Exit::Exited(0))), ["reply 1 Done"]);
}

#[test]
fn a_unit_that_dies_does_not_take_along_what_requires_it() {
    let a = Policy { requires: names(&["b"]), after: names(&["b"]), ..unit("a") };
    let mut bench = bench([a, unit("b")]);
    bench.start(A);
    up(&mut bench, &[B, A]);
    bench.dies(B, Exit::Exited(1));
    assert_eq!(bench.state(A), "active/running");
}

#[test]
fn a_restart_restarts_what_requires_the_unit_around_it() {
    let a = Policy { requires: names(&["b"]), after: names(&["b"]), ..unit("a") };
    let mut bench = bench([a, unit("b"), Policy { requires: names(&["b"]), ..unit("c") }]);
    bench.start(A);
    up(&mut bench, &[B, A]);
    assert_eq!(deeds(bench.restart_as(B, 1)), ["2: signal all 15"]);
    assert_eq!(deeds(bench.dies(A, Exit::Exited(0))), ["2: signal all 15", "2: remove after run", "3: signal all 15"]);
    assert_eq!(bench.state(A), "activating/waiting");
    assert_eq!(deeds(bench.dies(B, Exit::Exited(0))), ["3: signal all 15", "3: remove after run", "3: launch Main"]);
    bench.executed(B);
    assert_eq!(deeds(bench.ready(B)), ["reply 1 Done", "2: launch Main"]);
    assert_eq!(bench.state(C), "inactive/dead", "what was down stays down");
}

#[test]
fn a_stop_cancels_a_start_that_waits_and_those_that_need_it() {
    let a = Policy { requires: names(&["b"]), after: names(&["b"]), ..unit("a") };
    let b = Policy { wants: names(&["c"]), after: names(&["c"]), ..unit("b") };
    let mut bench = bench([a, b, unit("c")]);
    bench.start_as(A, 1);
    assert_eq!(bench.state(B), "activating/waiting");
    let end = replies(bench.stop_as(B, 2));
    assert_eq!(end, ["reply 1 Cancelled", "reply 2 Done"]);
    up(&mut bench, &[C]);
    assert_eq!((bench.state(A).as_str(), bench.state(B).as_str()), ("inactive/dead", "inactive/dead"));
}

#[test]
fn an_automatic_restart_keeps_order_too() {
    let a = Policy { after: names(&["b"]), wants: names(&["b"]), ..unit("a") };
    let mut bench = bench([a, unit("b")]);
    bench.start(A);
    up(&mut bench, &[B, A]);
    bench.dies(A, Exit::Exited(1));
    bench.step(Event::RestartRequested { id: B, request: Some(RequestId(1)) });
    bench.dies(B, Exit::Exited(0));
    assert_eq!(bench.state(B), "activating/start");
    bench.now = bench.status(A).next_restart_at.expect("it is restarted");
    assert!(bench.step(Event::DeadlinePassed).is_empty());
    assert_eq!(bench.state(A), "activating/waiting");
    bench.executed(B);
    assert_eq!(deeds(bench.ready(B)), ["reply 1 Done", "2: launch Main"]);
}

#[test]
fn automatic_restarts_in_a_circle_do_not_wait_for_each_other_for_ever() {
    let a = Policy { after: names(&["b", "c"]), ..unit("a") };
    let b = Policy { after: names(&["a", "c"]), ..unit("b") };
    let mut bench = bench([a, b, unit("c")]);
    for id in [A, B] {
        bench.start(id);
        bench.step(Event::DeadlinePassed);
        up(&mut bench, &[id]);
        bench.dies(id, Exit::Exited(1));
    }
    bench.start(C);
    bench.wait(2 * SECOND);
    let launched = deeds(bench.step(Event::DeadlinePassed));
    assert_eq!(launched.len(), 1, "the last to join (jitter decides who that is) does not wait: {launched:?}");
    let (first, second) = if launched == ["2: launch Main"] { (A, B) } else { (B, A) };
    assert_eq!(bench.state(second), "activating/waiting");
    up(&mut bench, &[C, first]);
    assert_eq!(bench.state(second), "activating/start");
}

#[test]
fn start_post_counts_as_starting_for_those_after_it() {
    let a = Policy { after: names(&["b"]), wants: names(&["b"]), ..unit("a") };
    let mut bench = bench([a, Policy { start_post: commands(1), ..unit("b") }]);
    bench.start(A);
    bench.executed(B);
    assert_eq!(deeds(bench.ready(B)), ["3: launch StartPost(0)"]);
    let end = bench.ended(B, crate::supervise::Role::StartPost(0), Exit::Exited(0));
    assert_eq!(deeds(end), ["2: launch Main"]);
}

#[test]
fn a_start_pulls_in_nothing_for_what_runs_already() {
    let a = Policy { wants: names(&["b"]), ..unit("a") };
    let mut bench = bench([a, unit("b")]);
    bench.start(A);
    up(&mut bench, &[A, B]);
    bench.stop(B);
    bench.dies(B, Exit::Exited(0));
    assert_eq!(bench.start_as(A, 1), ["reply 1 Done"]);
    assert_eq!(bench.state(B), "inactive/dead");
}

#[test]
fn circles_are_found_wherever_they_are() {
    let edges = |list: &[(u32, u32)]| {
        let mut map: BTreeMap<ServiceId, Vec<ServiceId>> = BTreeMap::new();
        for (from, to) in list {
            map.entry(ServiceId(*from)).or_default().push(ServiceId(*to));
        }
        move |id: ServiceId| map.get(&id).cloned().unwrap_or_default()
    };
    let found = |roots: &[u32], list: &[(u32, u32)]| {
        let cycle = find_cycle(roots.iter().map(|id| ServiceId(*id)), edges(list));
        cycle.map(|ids| ids.into_iter().map(|id| id.0).collect::<Vec<_>>())
    };
    assert_eq!(found(&[1], &[(1, 2), (2, 3), (1, 3)]), None, "two ways to one place are no circle");
    assert_eq!(found(&[1], &[(1, 2), (2, 3), (3, 2)]), Some(vec![2, 3, 2]));
    assert_eq!(found(&[1, 4], &[(1, 2), (4, 5), (5, 4)]), Some(vec![4, 5, 4]));
    assert_eq!(found(&[1], &[(1, 1)]), Some(vec![1, 1]));
    let chain: Vec<_> = (0..100_000).map(|id| (id, id + 1)).collect();
    assert_eq!(found(&[0], &chain), None, "a long chain does not exhaust the stack");
}

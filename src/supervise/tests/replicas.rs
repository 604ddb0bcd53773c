//! Sets of replicas: numbers up and down, what is held and what comes back, rolling restarts.

use super::bench::{Bench, SECOND, adopted, deeds, names, policy, replies, restart_settings, running_since};
use crate::supervise::{
    Event, Exit, KeptRoll, KeptSet, Moment, Policy, RequestId, ServiceId, SetStatus, replica_number,
};
use crate::unit::{ReadyKind, RestartPolicy, ServiceType};

const SET: ServiceId = ServiceId(1);
const APP: ServiceId = ServiceId(7);

fn replica(number: u32) -> ServiceId {
    ServiceId(1 + number)
}

/// The set `web` of `number`, its instances 1 to 5 (units 2 to 6), and `app` (7).
fn bench_with(number: u32, replicas: Policy, app: Policy) -> Bench {
    let set = replicas.clone().into_set("web", number);
    let all = (1..=5).map(|n| Policy { name: format!("web@{n}"), ..replicas.clone() });
    Bench::new(std::iter::once(set).chain(all).chain([app]))
}

fn bench(number: u32) -> Bench {
    bench_with(number, policy("unnamed"), policy("app"))
}

/// Replicas that say when they are ready.
fn notifying() -> Policy {
    Policy { kind: ServiceType::Notify, ready: ReadyKind::Notify, ..policy("unnamed") }
}

fn set_of(bench: &Bench) -> SetStatus {
    bench.supervisor.set_status(SET).expect("it is a set")
}

impl Bench {
    fn scale(&mut self, number: u32, request: u64) -> Vec<String> {
        self.step(Event::ScaleRequested { id: SET, number, request: Some(RequestId(request)) })
    }

    /// Those that were launched get ready.
    fn up(&mut self, numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
        let mut lines = Vec::new();
        for number in numbers {
            lines.extend(self.executed(replica(number)));
            lines.extend(self.ready(replica(number)));
        }
        lines
    }

    /// Numbers of the replicas that are up.
    fn active(&self) -> Vec<u32> {
        (1..=5).filter(|number| self.state(replica(*number)) == "active/running").collect()
    }

    /// A replica that is being stopped ends.
    fn goes(&mut self, number: u32) -> Vec<String> {
        self.dies(replica(number), Exit::Killed(15))
    }
}

#[test]
fn numbers_are_written_in_one_way() {
    let table = [("1", Some(1)), ("1000", Some(1000)), ("0", None), ("01", None), ("1001", None), ("-1", None)];
    for (text, number) in table.into_iter().chain([("+1", None), ("", None), ("blue", None), ("99999999999", None)]) {
        assert_eq!(replica_number(text), number, "{text}");
    }
}

#[test]
fn a_start_is_answered_when_all_are_ready() {
    let mut bench = bench_with(2, notifying(), policy("app"));
    assert_eq!(deeds(bench.start_as(SET, 1)), ["2: launch Main", "3: launch Main"]);
    assert_eq!(bench.state(SET), "activating/start");
    assert_eq!(replies(bench.up([1])), Vec::<String>::new());
    assert_eq!(replies(bench.up([2])), ["reply 1 Done"]);
    assert_eq!((bench.state(SET).as_str(), bench.active()), ("active/running", vec![1, 2]));
    assert_eq!(replies(bench.start_as(SET, 2)), ["reply 2 Done"]);
}

#[test]
fn a_start_that_fails_in_part_names_who_failed_and_tries_it_again() {
    let mut bench = bench_with(2, notifying(), policy("app"));
    bench.start_as(SET, 1);
    bench.up([1]);
    bench.executed(replica(2));
    let said = replies(bench.dies(replica(2), Exit::Exited(3)));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("reply 1 failed Replicas") && said[0].contains("web@2"), "{said:?}");
    assert_eq!(bench.state(replica(2)), "activating/auto-restart");
    assert_eq!(deeds(bench.expire()), ["3: launch Main"]);
    bench.up([2]);
    assert_eq!(bench.state(SET), "active/running");
}

#[test]
fn a_scaling_goes_up_and_down_the_highest_first() {
    let mut bench = bench(1);
    bench.start(SET);
    bench.up([1]);
    assert_eq!(deeds(bench.scale(4, 1)), ["3: launch Main", "4: launch Main", "5: launch Main"]);
    assert_eq!(replies(bench.up([2, 3, 4])), ["reply 1 Done"]);
    let stops: Vec<String> = deeds(bench.scale(1, 2)).into_iter().filter(|line| line.contains("signal")).collect();
    assert_eq!(stops, ["5: signal all 15", "4: signal all 15", "3: signal all 15"]);
    assert_eq!(replies([bench.goes(3), bench.goes(4)].concat()), Vec::<String>::new());
    assert_eq!(replies(bench.goes(2)), ["reply 2 Done"]);
    assert_eq!(bench.active(), [1]);
    assert_eq!(replies(bench.scale(0, 3)), Vec::<String>::new());
    assert_eq!(replies(bench.goes(1)), ["reply 3 Done"]);
    assert_eq!(bench.state(SET), "active/running", "a set of none is up");
}

#[test]
fn a_scaling_starts_a_set_that_is_down_and_its_number_ends_with_a_stop() {
    let mut bench = bench(2);
    bench.scale(3, 1);
    assert_eq!(replies(bench.up([1, 2, 3])), ["reply 1 Done"]);
    bench.stop_as(SET, 2);
    let answered = [bench.goes(1), bench.goes(2), bench.goes(3)].concat();
    assert_eq!(replies(answered), ["reply 2 Done"]);
    assert_eq!((bench.state(SET).as_str(), set_of(&bench).number), ("inactive/dead", 2));
    assert_eq!(deeds(bench.start(SET)), ["2: launch Main", "3: launch Main"]);
}

#[test]
fn a_later_scaling_overtakes_an_earlier_one() {
    let mut bench = bench_with(1, notifying(), policy("app"));
    bench.start(SET);
    bench.up([1]);
    bench.scale(3, 1);
    let said = replies(bench.scale(1, 2));
    assert_eq!(said, ["reply 1 Cancelled"], "those that it started are stopped");
    bench.launch_failed(replica(2));
    bench.emptied(replica(2));
    bench.launch_failed(replica(3));
    assert_eq!(replies(bench.emptied(replica(3))), ["reply 2 Done"]);
}

#[test]
fn only_sets_can_be_scaled() {
    let mut bench = bench(1);
    let event = Event::ScaleRequested { id: APP, number: 3, request: Some(RequestId(1)) };
    assert_eq!(bench.step(event), ["reply 1 NotSupported"]);
    let event = Event::ScaleRequested { id: ServiceId(99), number: 3, request: Some(RequestId(2)) };
    assert_eq!(replies(bench.step(event)).len(), 1);
}

#[test]
fn what_people_stop_stays_down_until_the_next_start_or_scaling() {
    let mut bench = bench(2);
    bench.start(SET);
    bench.up([1, 2]);
    bench.stop(replica(2));
    bench.goes(2);
    assert_eq!(set_of(&bench).kept.expect("it is up").held, [2].into());
    assert_eq!(bench.until_deadline(), None);
    assert_eq!((bench.state(SET).as_str(), set_of(&bench).ready), ("active/running", 1));
    assert_eq!(deeds(bench.start_as(SET, 1)), ["3: launch Main"]);
    assert_eq!(replies(bench.up([2])), ["reply 1 Done"]);
    bench.stop(replica(1));
    bench.goes(1);
    assert_eq!(deeds(bench.start(replica(1))), ["2: launch Main"], "by itself, too");
    bench.up([1]);
    assert_eq!(set_of(&bench).kept.expect("it is up").held, [].into());
}

#[test]
fn what_ends_by_itself_comes_back_whatever_its_policy_says() {
    let one = Policy { restart: restart_settings(RestartPolicy::No), ..policy("unnamed") };
    let mut bench = bench_with(1, one, policy("app"));
    bench.start(SET);
    bench.up([1]);
    bench.dies(replica(1), Exit::Exited(0));
    assert_eq!(bench.state(replica(1)), "activating/auto-restart");
    assert!(bench.until_deadline().is_some_and(|wait| wait >= SECOND));
    assert_eq!(deeds(bench.expire()), ["2: launch Main"]);
}

#[test]
fn a_replica_that_gives_up_leaves_a_set_that_says_so() {
    let mut one = policy("unnamed");
    one.restart.limit_burst = 1;
    let mut bench = bench_with(2, one, policy("app"));
    bench.start(SET);
    bench.up([1, 2]);
    bench.dies(replica(2), Exit::Exited(1));
    bench.expire();
    bench.executed(replica(2));
    bench.dies(replica(2), Exit::Exited(1));
    assert_eq!(bench.state(replica(2)), "failed/failed");
    assert_eq!((bench.state(SET).as_str(), set_of(&bench).ready), ("active/running", 1));
    bench.scale(1, 1);
    assert_eq!(set_of(&bench).ready, 1);
    assert_eq!(bench.state(replica(2)), "failed/failed", "its failure stays to be seen");
}

#[test]
fn who_is_named_after_a_set_waits_for_all_of_it() {
    let app = Policy { requires: names(&["web"]), after: names(&["web"]), ..policy("app") };
    let mut bench = bench_with(2, notifying(), app);
    assert_eq!(deeds(bench.start_as(APP, 1)), ["2: launch Main", "3: launch Main"]);
    bench.up([1]);
    assert_eq!(bench.state(APP), "activating/waiting");
    assert!(deeds(bench.up([2])).contains(&"7: launch Main".to_owned()));
    assert_eq!(replies(bench.executed(APP)), ["reply 1 Done"]);
    // One replica less is no reason to go, neither by scaling nor by hand.
    bench.scale(1, 2);
    bench.goes(2);
    bench.restart_as(SET, 3);
    bench.goes(1);
    bench.up([1]);
    assert_eq!(bench.state(APP), "active/running");
    bench.stop(SET);
    assert_eq!(bench.state(APP), "deactivating/stop-sigterm");
    assert_eq!(bench.state(replica(1)), "active/running", "the set stops after it");
    bench.dies(APP, Exit::Killed(15));
    assert_eq!(bench.state(replica(1)), "deactivating/stop-sigterm");
}

#[test]
fn who_requires_a_set_that_fails_in_part_is_refused_and_started_when_it_is_whole() {
    let app = Policy { requires: names(&["web"]), after: names(&["web"]), ..policy("app") };
    let mut bench = bench_with(2, notifying(), app);
    bench.start_as(APP, 1);
    bench.up([1]);
    bench.executed(replica(2));
    let said = replies(bench.dies(replica(2), Exit::Exited(1)));
    assert_eq!(said, ["reply 1 failed Dependency { unit: \"web\" }"]);
    bench.expire();
    assert!(deeds(bench.up([2])).contains(&"7: launch Main".to_owned()));
}

#[test]
fn a_circle_through_a_set_is_refused_and_named() {
    let app = Policy { requires: names(&["web"]), after: names(&["web"]), ..policy("app") };
    let one = Policy { after: names(&["app"]), ..policy("unnamed") };
    let mut bench = bench_with(1, one, app);
    let said = replies(bench.start_as(APP, 1));
    assert_eq!(said, ["reply 1 failed Dependency { unit: \"web\" }"]);
    let cause = format!("{:?}", bench.status(replica(1)).cause);
    assert!(cause.contains("Cycle") && cause.contains("\"web\"") && cause.contains("\"app\""), "{cause}");
}

#[test]
fn a_restart_takes_one_after_the_other_when_the_one_before_is_ready() {
    let mut bench = bench_with(3, notifying(), policy("app"));
    bench.start(SET);
    bench.up([1, 2, 3]);
    assert_eq!(deeds(bench.restart_as(SET, 1)), ["2: signal all 15"]);
    for number in 1..=3 {
        assert!(deeds(bench.goes(number)).contains(&format!("{}: launch Main", number + 1)));
        let down: Vec<u32> = (1..=3).filter(|other| !bench.active().contains(other)).collect();
        assert_eq!(down, [number]);
        assert_eq!(deeds(bench.executed(replica(number))), Vec::<String>::new(), "executed is not ready");
        let next = deeds(bench.ready(replica(number)));
        match number {
            3 => assert_eq!(next, ["reply 1 Done"]),
            _ => assert_eq!(next, [format!("{}: signal all 15", number + 2)]),
        }
    }
    assert_eq!(bench.active(), [1, 2, 3]);
}

#[test]
fn the_first_failure_ends_the_roll_and_the_rest_stays() {
    let mut bench = bench_with(3, notifying(), policy("app"));
    bench.start(SET);
    bench.up([1, 2, 3]);
    bench.restart_as(SET, 1);
    bench.goes(1);
    bench.up([1]);
    bench.goes(2);
    bench.executed(replica(2));
    let said = replies(bench.dies(replica(2), Exit::Exited(1)));
    let (done, left) = ("done: [\"web@1\"]", "left: [\"web@3\"]");
    assert!(said[0].starts_with("reply 1 failed Roll { replica: \"web@2\""), "{said:?}");
    assert!(said[0].contains(done) && said[0].contains(left), "{said:?}");
    assert_eq!(bench.active(), [1, 3]);
    bench.expire();
    bench.up([2]);
    assert_eq!(bench.active(), [1, 2, 3], "it is tried again, and the roll is over all the same");
    assert_eq!(set_of(&bench).kept.expect("it is up").roll, None);
}

#[test]
fn a_roll_begins_with_what_is_not_up() {
    let mut bench = bench_with(3, notifying(), policy("app"));
    bench.start(SET);
    bench.up([1, 2, 3]);
    bench.dies(replica(3), Exit::Exited(1));
    assert_eq!(deeds(bench.restart_as(SET, 1)), ["4: launch Main"]);
    bench.executed(replica(3));
    let said = replies(bench.dies(replica(3), Exit::Exited(1)));
    assert!(said[0].contains("left: [\"web@1\", \"web@2\"]"), "nothing that was up was touched: {said:?}");
    assert_eq!(bench.active(), [1, 2]);
}

#[test]
fn a_replica_that_dies_after_it_was_ready_ends_the_roll_too() {
    let mut bench = bench_with(3, notifying(), policy("app"));
    bench.start(SET);
    bench.up([1, 2, 3]);
    bench.restart_as(SET, 1);
    bench.goes(1);
    bench.up([1]);
    bench.dies(replica(1), Exit::Exited(1));
    bench.goes(2);
    let said = replies(bench.up([2]));
    assert!(said[0].starts_with("reply 1 failed Roll { replica: \"web@1\""), "{said:?}");
    assert_eq!(bench.active(), [2, 3]);
}

#[test]
fn a_roll_passes_over_what_is_held_and_ends_when_its_replica_is_stopped() {
    let mut bench = bench_with(3, notifying(), policy("app"));
    bench.start(SET);
    bench.up([1, 2, 3]);
    bench.stop(replica(1));
    bench.goes(1);
    assert_eq!(deeds(bench.restart_as(SET, 1)), ["3: signal all 15"]);
    bench.goes(2);
    let said = replies(bench.stop(replica(2)));
    assert!(said[0].starts_with("reply 1 failed Roll { replica: \"web@2\", cause: None"), "{said:?}");
    assert_eq!(bench.active(), [3]);
}

#[test]
fn a_scaling_takes_replicas_out_of_a_roll() {
    let mut bench = bench_with(3, notifying(), policy("app"));
    bench.start(SET);
    bench.up([1, 2, 3]);
    bench.restart_as(SET, 1);
    bench.scale(1, 2);
    bench.goes(3);
    bench.goes(2);
    bench.goes(1);
    assert_eq!(replies(bench.up([1])), ["reply 1 Done", "reply 2 Done"]);
}

#[test]
fn a_stop_ends_roll_and_scaling_and_a_start_after_it_follows() {
    let mut bench = bench_with(2, notifying(), policy("app"));
    bench.start(SET);
    bench.up([1, 2]);
    bench.restart_as(SET, 1);
    bench.scale(3, 2);
    assert_eq!(replies(bench.stop_as(SET, 3)), ["reply 1 Cancelled", "reply 2 Cancelled"]);
    bench.start_as(SET, 4);
    bench.goes(1);
    bench.goes(2);
    bench.launch_failed(replica(3));
    let said = bench.emptied(replica(3));
    assert_eq!(replies(said.clone()), ["reply 3 Done"]);
    assert_eq!(deeds(said).iter().filter(|line| line.contains("launch")).count(), 2);
    assert_eq!(replies(bench.up([1, 2])), ["reply 4 Done"]);
}

#[test]
fn a_reload_reaches_every_replica_that_is_up() {
    let one = Policy { reload_signal: Some(1), ..policy("unnamed") };
    let mut bench = bench_with(2, one, policy("app"));
    assert_eq!(replies(bench.reload_as(SET, 1)), ["reply 1 NotRunning"]);
    bench.start(SET);
    bench.up([1, 2]);
    let said = deeds(bench.reload_as(SET, 2));
    assert_eq!(said, ["2: signal main 1", "3: signal main 1", "reply 2 Done"]);
}

#[test]
fn the_next_daemon_keeps_the_number_and_starts_what_is_missing() {
    let mut bench = bench(1);
    let since = bench.now;
    for number in [1, 2, 5] {
        bench.step(adopted(replica(number), running_since(since)));
    }
    let kept = KeptSet { written: 1, scaled: Some(4), held: [3].into(), ready: true, roll: None };
    bench.step(Event::SetRemembered { id: SET, kept });
    let said = deeds(bench.step(Event::Surveyed));
    assert_eq!(said, ["6: signal all 15", "5: launch Main"], "5 is too much, 3 is held, 4 is missing");
    assert_eq!((set_of(&bench).number, set_of(&bench).ready), (4, 2));
}

#[test]
fn the_next_daemon_goes_on_with_a_roll_and_restarts_nothing_twice() {
    for (begun, restarted_already) in [(0, true), (10, false)] {
        let mut bench = bench_with(3, notifying(), policy("app"));
        let since = bench.now.after(5 * SECOND);
        bench.wait(20 * SECOND);
        (1..=3).for_each(|number| drop(bench.step(adopted(replica(number), running_since(since)))));
        let begun = Moment(1_000_000_000).after(begun * SECOND);
        let roll = KeptRoll { left: vec![3], current: Some((2, begun)), done: vec![1] };
        let kept = KeptSet { written: 3, scaled: None, held: [].into(), ready: true, roll: Some(roll) };
        bench.step(Event::SetRemembered { id: SET, kept });
        let said = deeds(bench.step(Event::Surveyed));
        assert_eq!(said, [if restarted_already { "4: signal all 15" } else { "3: signal all 15" }]);
    }
}

#[test]
fn a_client_that_goes_away_changes_nothing() {
    let mut bench = bench_with(2, notifying(), policy("app"));
    bench.start(SET);
    bench.up([1, 2]);
    bench.restart_as(SET, 1);
    bench.step(Event::RequestAbandoned { request: RequestId(1) });
    bench.goes(1);
    bench.up([1]);
    bench.goes(2);
    assert_eq!(replies(bench.up([2])), Vec::<String>::new());
    assert_eq!(bench.active(), [1, 2]);
}

//! Conditions and asserts: when they are looked at, and what follows.

use super::bench::{Bench, WEB, commands, deeds, names, policy, replies};
use crate::supervise::{Cause, Event, Exit, Policy, ServiceId, Unmet};

const APP: ServiceId = ServiceId(2);

fn conditional(name: &str) -> Policy {
    Policy { conditional: true, ..policy(name) }
}

fn examined(bench: &mut Bench, id: ServiceId, assert: Option<bool>) -> Vec<String> {
    let unmet = assert.map(|assert| Unmet { what: "path_exists = \"/x\"".into(), assert });
    bench.step(Event::Examined { id, unmet })
}

#[test]
fn nothing_is_launched_before_the_conditions_were_looked_at() {
    let mut bench = Bench::new([Policy { start_pre: commands(1), ..conditional("web") }]);
    assert_eq!(bench.start_as(WEB, 1), ["examine"]);
    assert_eq!(bench.state(WEB), "activating/waiting");
    assert_eq!(deeds(examined(&mut bench, WEB, None)), ["launch StartPre(0)"]);
    assert!(examined(&mut bench, WEB, Some(true)).is_empty(), "asked once, answered once");
}

#[test]
fn an_unmet_condition_skips_the_start_without_failure() {
    let mut bench = Bench::new([conditional("web")]);
    bench.start_as(WEB, 1);
    let what = "path_exists = \"/x\"".to_owned();
    let cause = Cause::Condition { what };
    let skipped = replies(examined(&mut bench, WEB, Some(false)));
    assert_eq!(skipped, [format!("reply 1 Skipped({cause:?})")]);
    assert_eq!(bench.state(WEB), "inactive/dead");
    assert_eq!(bench.status(WEB).cause, Some(cause));
    assert_eq!(bench.until_deadline(), None, "it is not tried again");
    assert_eq!(bench.start_as(WEB, 2), ["examine"], "each start looks anew");
}

#[test]
fn an_unmet_assert_fails_the_start() {
    let mut bench = Bench::new([conditional("web")]);
    bench.start_as(WEB, 1);
    let end = replies(examined(&mut bench, WEB, Some(true)));
    assert!(end[0].starts_with("reply 1 failed Assert"), "{end:?}");
    assert_eq!((bench.state(WEB).as_str(), bench.until_deadline()), ("failed/failed", None));
}

#[test]
fn who_requires_a_unit_that_was_skipped_goes_on_and_who_requires_one_that_failed_does_not() {
    for (assert, launched) in [(false, true), (true, false)] {
        let app = Policy { requires: names(&["web"]), after: names(&["web"]), ..policy("app") };
        let mut bench = Bench::new([conditional("web"), app]);
        bench.start_as(APP, 1);
        let end = deeds(examined(&mut bench, WEB, Some(assert)));
        assert_eq!(end.contains(&"2: launch Main".to_owned()), launched, "{end:?}");
    }
}

#[test]
fn conditions_are_looked_at_when_the_turn_has_come_and_not_before() {
    let app = Policy { requires: names(&["web"]), after: names(&["web"]), ..conditional("app") };
    let mut bench = Bench::new([policy("web"), app]);
    assert_eq!(deeds(bench.start(APP)), ["launch Main"]);
    assert!(deeds(bench.executed(WEB)).contains(&"2: examine".to_owned()));
}

#[test]
fn a_stop_ends_an_examination_and_a_late_answer_is_nothing() {
    let mut bench = Bench::new([conditional("web")]);
    bench.start_as(WEB, 1);
    assert_eq!(replies(bench.stop_as(WEB, 2)), ["reply 1 Cancelled", "reply 2 Done"]);
    assert!(examined(&mut bench, WEB, None).is_empty());
    assert_eq!(bench.state(WEB), "inactive/dead");
}

#[test]
fn a_second_start_waits_for_the_same_examination() {
    let mut bench = Bench::new([conditional("web")]);
    assert_eq!(bench.start_as(WEB, 1), ["examine"]);
    assert!(bench.start_as(WEB, 2).is_empty(), "the answer is on its way");
    assert_eq!(deeds(examined(&mut bench, WEB, None)), ["launch Main"]);
    assert_eq!(replies(bench.executed(WEB)), ["reply 1 Done", "reply 2 Done"]);
}

#[test]
fn so_does_a_start_by_hand_of_what_is_started_by_itself() {
    let mut bench = Bench::new([conditional("web")]);
    bench.start(WEB);
    examined(&mut bench, WEB, None);
    bench.executed(WEB);
    bench.dies(WEB, Exit::Exited(1));
    assert_eq!(bench.expire(), ["examine"]);
    assert!(bench.start_as(WEB, 1).is_empty(), "the answer is on its way");
    assert_eq!(deeds(examined(&mut bench, WEB, None)), ["launch Main"]);
}

#[test]
fn a_restart_by_policy_looks_again_too() {
    let mut bench = Bench::new([conditional("web")]);
    bench.start(WEB);
    examined(&mut bench, WEB, None);
    bench.executed(WEB);
    bench.dies(WEB, Exit::Exited(1));
    assert_eq!(bench.expire(), ["examine"]);
    assert_eq!(deeds(examined(&mut bench, WEB, Some(false))), ["remove at stop"]);
    assert_eq!(bench.state(WEB), "inactive/dead");
}

#[test]
fn of_a_unit_on_demand_each_run_is_examined_and_the_next_time_comes_whatever_was_said() {
    let clockwork = Policy { conditional: true, on_demand: true, timers: true, ..policy("web") };
    let mut bench = Bench::new([clockwork]);
    assert_eq!(bench.start_as(WEB, 1), ["listen"], "listening has no conditions");
    bench.step(Event::SocketsOpened { id: WEB });
    for assert in [false, true] {
        assert_eq!(deeds(bench.step(Event::Activated { id: WEB })), ["examine"]);
        assert_eq!(deeds(examined(&mut bench, WEB, Some(assert))), ["remove after run", "listen"]);
        bench.step(Event::SocketsOpened { id: WEB });
        assert_eq!(bench.state(WEB), "active/waiting");
    }
    bench.step(Event::Activated { id: WEB });
    assert_eq!(deeds(examined(&mut bench, WEB, None)), ["launch Main"]);
}

#[test]
fn sockets_of_a_unit_whose_assert_is_not_met_are_closed() {
    let mut bench = Bench::new([Policy { conditional: true, on_demand: true, sockets: true, ..policy("web") }]);
    bench.start_as(WEB, 1);
    bench.step(Event::SocketsOpened { id: WEB });
    bench.step(Event::Activated { id: WEB });
    assert_eq!(deeds(examined(&mut bench, WEB, Some(true))), ["remove at stop"]);
    assert_eq!(bench.state(WEB), "failed/failed");
}

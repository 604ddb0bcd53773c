//! Thousands of services: what one event costs must not grow with how many there are. Wall time is not asserted on;
//! services and relations that are looked at are counted instead.

use super::bench::{Bench, names, policy};
use crate::supervise::{Event, Exit, Policy, ServiceId};

const MANY: u32 = 5000;

/// Services and relations looked at so far.
fn cost(bench: &Bench) -> usize {
    bench.supervisor.lent + bench.supervisor.graph.looked_at.get()
}

fn all() -> impl Iterator<Item = ServiceId> {
    (1..=MANY).map(ServiceId)
}

/// The cost of `work`, shared among all services.
#[track_caller]
fn assert_cost_of_each(bench: &mut Bench, most: usize, work: impl FnOnce(&mut Bench)) {
    let before = cost(bench);
    work(bench);
    let each = (cost(bench) - before) as f64 / f64::from(MANY);
    assert!(each <= most as f64, "{each} looks for each service, allowed are {most}");
}

fn start_and_run(bench: &mut Bench, ids: impl Iterator<Item = ServiceId>) {
    for id in ids {
        bench.start(id);
    }
    bench.step(Event::DeadlinePassed);
}

#[test]
fn unrelated_services_cost_a_few_looks_each() {
    let mut bench = Bench::new(all().map(|id| policy(&format!("unit-{}", id.0))));
    assert_cost_of_each(&mut bench, 5, |bench| start_and_run(bench, all()));
    assert_cost_of_each(&mut bench, 1, |bench| all().for_each(|id| drop(bench.executed(id))));
    assert_cost_of_each(&mut bench, 4, |bench| all().for_each(|id| drop(bench.dies(id, Exit::Exited(1)))));
    assert_cost_of_each(&mut bench, 5, |bench| {
        while bench.until_deadline().is_some_and(|wait| wait.as_secs() < 80) {
            bench.expire();
        }
    });
    assert_cost_of_each(&mut bench, 1, |bench| all().for_each(|id| drop(bench.executed(id))));
    assert_cost_of_each(&mut bench, 4, |bench| all().for_each(|id| drop(bench.stop(id))));
    assert_cost_of_each(&mut bench, 2, |bench| all().for_each(|id| drop(bench.dies(id, Exit::Exited(0)))));
    assert_eq!(bench.supervisor.next_deadline(), None);
}

#[test]
fn a_deadline_looks_only_at_those_that_are_due() {
    let mut bench = Bench::new(all().map(|id| policy(&format!("unit-{}", id.0))));
    all().for_each(|id| drop(bench.start(id)));
    let before = cost(&bench);
    bench.step(Event::DeadlinePassed);
    assert_eq!(cost(&bench), before, "none of five thousand is due");
}

#[test]
fn a_unit_that_thousands_come_after_is_no_hub_of_cost() {
    let hub = policy("network");
    let spokes = all().skip(1).map(|id| Policy { after: names(&["network"]), ..policy(&format!("unit-{}", id.0)) });
    let mut bench = Bench::new(std::iter::once(hub).chain(spokes));
    assert_cost_of_each(&mut bench, 12, |bench| {
        // Everything is asked for before the hub, and ends up behind it.
        start_and_run(bench, (1..=MANY).rev().map(ServiceId));
        all().for_each(|id| drop(bench.executed(id)));
    });
    assert_cost_of_each(&mut bench, 16, |bench| {
        all().for_each(|id| drop(bench.stop(id)));
        bench.step(Event::DeadlinePassed);
        all().skip(1).for_each(|id| drop(bench.dies(id, Exit::Exited(0))));
        bench.dies(ServiceId(1), Exit::Exited(0));
    });
    assert!(all().all(|id| bench.state(id) == "inactive/dead"));
}

#[test]
fn a_unit_that_comes_after_thousands_is_no_hub_of_cost() {
    let target = policy("everything");
    let others = all().skip(1).map(|id| Policy { before: names(&["everything"]), ..policy(&format!("unit-{}", id.0)) });
    let mut bench = Bench::new(std::iter::once(target).chain(others));
    assert_cost_of_each(&mut bench, 16, |bench| {
        start_and_run(bench, all());
        all().skip(1).for_each(|id| drop(bench.executed(id)));
    });
    assert_eq!(bench.state(ServiceId(1)), "activating/start", "the last of them let it go");
}

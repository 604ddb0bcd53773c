//! Whoever asked a former daemon for a start is told what came of it; nothing is begun for his sake.

use super::bench::{Bench, WEB, adopted, policy, running_since};
use crate::supervise::{Adopted, Cause, Event, Exit, Moment, Policy, RequestId, Rest, ServiceResult};
use crate::unit::{ReadyKind, RestartPolicy, ServiceType};

const REJOINED: Event = Event::StartRejoined { id: WEB, request: RequestId(1) };

fn notifying() -> Policy {
    Policy { ready: ReadyKind::Notify, ..policy("web") }
}

fn found(policy: Policy, ready: bool, stopping: bool) -> Bench {
    let mut bench = Bench::new([policy]);
    let since = bench.now;
    bench.step(adopted(WEB, Adopted { ready, stopping, ..running_since(since) }));
    bench
}

fn rest(until: Option<Moment>) -> Event {
    let cause = Some(Cause::Main { exit: Exit::Exited(7), result: ServiceResult::ExitCode });
    let rest = Rest {
        restarts: 0,
        until,
        result: ServiceResult::ExitCode,
        cause,
        main_exit: Some(Exit::Exited(7)),
        hook_failure: None,
        wanted: false,
        upheld: false,
        launched: true,
        restart_times: Vec::new(),
    };
    Event::Remembered { id: WEB, rest }
}

#[test]
fn a_start_under_way_is_waited_for() {
    let mut bench = found(notifying(), false, false);
    assert!(bench.step(REJOINED).is_empty());
    bench.step(Event::Surveyed);
    assert_eq!(bench.step(Event::BecameReady { id: WEB }), ["note Started", "reply 1 Done"]);
}

#[test]
fn a_start_that_came_about_is_done_whatever_followed() {
    assert_eq!(found(notifying(), true, false).step(REJOINED), ["reply 1 Done"]);
    assert_eq!(found(notifying(), true, true).step(REJOINED).len(), 1, "it is on its way down again");
}

#[test]
fn a_start_that_failed_is_told_and_not_made_again() {
    let mut bench =
        found(Policy { restart: super::bench::restart_settings(RestartPolicy::No), ..notifying() }, false, false);
    bench.step(REJOINED);
    bench.step(Event::MainExited { id: WEB, exit: Exit::Exited(7), oom: false });
    let said = bench.step(Event::CgroupEmptied { id: WEB });
    assert!(said.iter().any(|line| line.starts_with("reply 1 failed")), "{said:?}");
    assert!(!said.iter().any(|line| line.starts_with("launch")), "{said:?}");
    for until in [None, Some(Moment(u64::MAX))] {
        let mut bench = Bench::new([notifying()]);
        bench.step(rest(until));
        let said = bench.step(REJOINED);
        assert!(said.len() == 1 && said[0].starts_with("reply 1 failed"), "{said:?}");
    }
}

#[test]
fn a_oneshot_that_ended_well_meanwhile_is_done() {
    let mut bench =
        found(Policy { kind: ServiceType::Oneshot, ready: ReadyKind::Exited, ..policy("web") }, false, false);
    bench.step(REJOINED);
    let said = bench.step(Event::MainExited { id: WEB, exit: Exit::Exited(0), oom: false });
    assert!(said.contains(&"reply 1 Done".to_owned()), "{said:?}");
}

#[test]
fn a_restart_that_was_half_done_is_waited_for() {
    let mut bench = found(policy("web"), true, true);
    bench.step(Event::StartRequested { id: WEB, request: None });
    assert!(bench.step(REJOINED).is_empty());
    bench.step(Event::Surveyed);
    bench.step(Event::MainExited { id: WEB, exit: Exit::Exited(0), oom: false });
    let said = bench.step(Event::CgroupEmptied { id: WEB });
    assert!(said.contains(&"launch Main".to_owned()), "{said:?}");
    assert!(bench.executed(WEB).contains(&"reply 1 Done".to_owned()));
}

#[test]
fn a_client_that_goes_away_is_forgotten() {
    let mut bench = found(notifying(), false, false);
    bench.step(REJOINED);
    bench.step(Event::RequestAbandoned { request: RequestId(1) });
    assert_eq!(bench.step(Event::BecameReady { id: WEB }), ["note Started"]);
    assert!(bench.step(Event::StartRejoined { id: crate::supervise::ServiceId(9), request: RequestId(2) }).len() == 1);
}

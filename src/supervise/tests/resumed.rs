//! What a former daemon had accepted or had heard, and had not finished when it died.

use super::bench::{
    Bench, SECOND, WEB, adopted, commands, deeds, names, policy, replies, restart_settings, running_since,
};
use crate::supervise::{Adopted, Cause, Descent, Event, Exit, Policy, ServiceId, ServiceResult};
use crate::unit::{ReadyKind, RestartPolicy, ServiceType};

fn notify() -> Policy {
    Policy { kind: ServiceType::Notify, ready: ReadyKind::Notify, ..policy("web") }
}

fn adopted_at_start(populated: bool) -> Event {
    Event::AdoptedAtStart { id: WEB, populated, restarts: 2, restart_times: Vec::new() }
}

#[test]
fn a_start_that_a_former_daemon_had_accepted_comes_about_with_its_count() {
    let mut bench = Bench::new([policy("web")]);
    bench.step(adopted_at_start(false));
    assert_eq!(bench.state(WEB), "activating/waiting");
    assert!(bench.status(WEB).starting);
    assert_eq!(deeds(bench.step(Event::Surveyed)), ["launch Main"]);
    bench.executed(WEB);
    assert_eq!((bench.state(WEB).as_str(), bench.status(WEB).restarts), ("active/running", 2));
}

#[test]
fn what_a_former_daemon_had_launched_and_not_named_is_ended_before_the_start_begins_anew() {
    let mut bench = Bench::new([policy("web")]);
    assert_eq!(deeds(bench.step(adopted_at_start(true))), ["kill"]);
    bench.step(Event::Surveyed);
    assert!(bench.status(WEB).starting, "the next daemon is to know it, too");
    assert_eq!(deeds(bench.emptied(WEB)), ["remove after run", "launch Main"]);
    assert_eq!(bench.status(WEB).restarts, 2);
    // A stop that comes in between wins.
    let mut bench = Bench::new([policy("web")]);
    bench.step(adopted_at_start(true));
    bench.step(Event::Surveyed);
    bench.stop_as(WEB, 1);
    let lines = bench.emptied(WEB);
    assert_eq!(replies(lines.clone()), ["reply 1 Done"]);
    assert!(!lines.iter().any(|line| line.starts_with("launch")), "{lines:?}");
}

#[test]
fn what_is_promised_is_told_once_and_again_when_it_is_done_with() {
    let mut bench =
        Bench::new([Policy { after: names(&["db"]), requires: names(&["db"]), ..policy("web") }, policy("db")]);
    let db = ServiceId(2);
    bench.start_as(WEB, 1);
    assert_eq!(bench.supervisor.take_promised(), [WEB, db].into());
    assert_eq!(bench.supervisor.take_promised(), [].into());
    assert!(bench.status(WEB).starting && bench.status(db).starting);
    bench.executed(db);
    assert_eq!(bench.supervisor.take_promised(), [db].into());
    bench.executed(WEB);
    bench.supervisor.take_promised();
    bench.stop_as(WEB, 2);
    assert_eq!(bench.supervisor.take_promised(), [WEB].into());
}

#[test]
fn a_start_that_had_said_ready_goes_on_behind_that() {
    let mut bench = Bench::new([Policy { start_post: commands(1), ..notify() }]);
    assert_eq!(
        deeds(bench.adopt(adopted(WEB, Adopted { ready: false, said_ready: true, ..running_since(bench.now) }))),
        ["launch StartPost(0)"]
    );
}

#[test]
fn the_window_of_the_limit_goes_on_under_the_next_daemon() {
    let mut restart = restart_settings(RestartPolicy::OnFailure);
    (restart.limit_burst, restart.limit_interval) = (2, 100 * SECOND);
    let mut bench = Bench::new([Policy { restart, ..policy("web") }]);
    let times = vec![bench.now, bench.now];
    bench.adopt(adopted(WEB, Adopted { restarts: 2, restart_times: times, ..running_since(bench.now) }));
    bench.dies(WEB, Exit::Exited(1));
    assert_eq!(bench.state(WEB), "failed/failed");
}

#[test]
fn what_a_run_goes_down_for_is_known_to_the_next_daemon() {
    let mut restart = restart_settings(RestartPolicy::OnWatchdog);
    restart.limit_burst = 9;
    let mut bench = Bench::new([Policy { restart, ..policy("web") }]);
    let before = Descent {
        result: ServiceResult::Watchdog,
        cause: Some(Cause::WatchdogTriggered),
        main_exit: None,
        abort: true,
    };
    let going_down = |descent: &Descent| Event::AdoptedGoingDown {
        id: WEB,
        restarts: 1,
        restart_times: Vec::new(),
        stopping: false,
        descent: descent.clone(),
    };
    assert_eq!(deeds(bench.adopt(going_down(&before))), ["signal all 6"]);
    assert_eq!(bench.state(WEB), "deactivating/stop-watchdog");
    assert_eq!(bench.status(WEB).descent.as_ref(), Some(&before), "and to the one after it");
    bench.dies(WEB, Exit::Killed(15));
    bench.emptied(WEB);
    assert_eq!(
        (bench.status(WEB).result, bench.state(WEB).as_str()),
        (ServiceResult::Watchdog, "activating/auto-restart")
    );
    // Its main process had ended already: what is left of it is waited for, and nobody asks how it ended.
    let mut bench = Bench::new([policy("web")]);
    let gone = Descent { result: ServiceResult::ExitCode, cause: None, main_exit: Some(Exit::Exited(7)), abort: false };
    bench.adopt(going_down(&gone));
    assert_eq!(bench.state(WEB), "deactivating/stop-sigterm");
    bench.dies(WEB, Exit::Unknown);
    bench.emptied(WEB);
    assert_eq!(bench.status(WEB).main_exit, Some(Exit::Exited(7)));
}

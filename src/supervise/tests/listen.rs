//! Units that are started on demand: listening, the first connection, back again, and the limit.

use super::bench::{Bench, SECOND, WEB, commands, deeds, launch_failure, names, policy, replies, restart_settings};
use crate::supervise::listen::{TRIGGER_INTERVAL, TRIGGERS};
use crate::supervise::{Event, Exit, Policy, RequestId, Role, ServiceId};
use crate::unit::RestartPolicy;

const DB: ServiceId = ServiceId(2);

fn on_demand() -> Policy {
    Policy { sockets: true, on_demand: true, ..policy("web") }
}

impl Bench {
    fn opened(&mut self, id: ServiceId) -> Vec<String> {
        self.step(Event::SocketsOpened { id })
    }

    fn triggered(&mut self, id: ServiceId) -> Vec<String> {
        self.step(Event::Activated { id })
    }

    /// Listens, and nothing has arrived yet.
    fn listening(policy: Policy) -> Bench {
        let mut bench = Bench::new([policy]);
        bench.start(WEB);
        bench.opened(WEB);
        bench
    }
}

#[test]
fn a_start_listens_and_is_answered_when_the_sockets_are_open() {
    let mut bench = Bench::new([on_demand()]);
    assert_eq!(bench.start_as(WEB, 1), ["listen"]);
    assert_eq!(bench.state(WEB), "activating/listening");
    assert_eq!(bench.start_as(WEB, 2), [""; 0]);
    assert_eq!(bench.opened(WEB), ["note Listening", "reply 1 Done", "reply 2 Done"]);
    assert_eq!(bench.state(WEB), "active/listening");
    assert_eq!(bench.start_as(WEB, 3), ["reply 3 Done"]);
    assert_eq!(bench.until_deadline(), None, "nothing wakes the daemon while nobody connects");
}

#[test]
fn sockets_that_cannot_be_opened_fail_the_start_with_the_cause() {
    let mut bench = Bench::new([on_demand()]);
    bench.start_as(WEB, 1);
    let lines = bench.step(Event::SocketsFailed { id: WEB, failure: launch_failure() });
    assert!(lines[0].starts_with("reply 1 failed Launch"), "{lines:?}");
    assert_eq!(lines[1], "remove at stop");
    assert_eq!(bench.state(WEB), "failed/failed");
}

#[test]
fn the_first_connection_runs_the_service_and_a_good_end_listens_again() {
    let mut bench = Bench::listening(Policy { start_pre: commands(1), ..on_demand() });
    assert_eq!(deeds(bench.triggered(WEB)), ["launch StartPre(0)"]);
    assert_eq!(deeds(bench.triggered(WEB)), [""; 0], "once is enough");
    bench.ended(WEB, Role::StartPre(0), Exit::Exited(0));
    assert_eq!(deeds(bench.emptied(WEB)), ["launch Main"]);
    bench.executed(WEB);
    assert_eq!(bench.state(WEB), "active/running");
    assert_eq!(deeds(bench.dies(WEB, Exit::Exited(0))), ["signal all 15", "remove after run", "listen"]);
    bench.opened(WEB);
    assert_eq!(bench.state(WEB), "active/listening");
}

#[test]
fn a_failure_is_followed_by_restarts_and_the_sockets_stay_open() {
    let mut bench = Bench::listening(on_demand());
    bench.triggered(WEB);
    bench.executed(WEB);
    assert_eq!(deeds(bench.dies(WEB, Exit::Exited(1))), ["signal all 15", "remove after run"]);
    assert_eq!(bench.state(WEB), "activating/auto-restart");
    assert_eq!(deeds(bench.expire()), ["launch Main"], "it runs at once: somebody waits");
}

#[test]
fn a_failure_that_is_not_restarted_closes_the_sockets() {
    let mut bench = Bench::listening(Policy { restart: restart_settings(RestartPolicy::No), ..on_demand() });
    bench.triggered(WEB);
    bench.executed(WEB);
    assert_eq!(deeds(bench.dies(WEB, Exit::Exited(1))), ["signal all 15", "remove at stop"]);
    assert_eq!(bench.state(WEB), "failed/failed");
    assert_eq!(deeds(bench.start_as(WEB, 1)), ["listen"], "a manual start is always possible");
}

#[test]
fn a_program_that_leaves_its_connection_is_not_started_for_ever() {
    let mut bench = Bench::listening(on_demand());
    for _ in 0..TRIGGERS {
        assert_eq!(deeds(bench.triggered(WEB)), ["launch Main"]);
        bench.executed(WEB);
        bench.dies(WEB, Exit::Exited(0));
        bench.opened(WEB);
    }
    let lines = bench.triggered(WEB);
    assert!(lines.contains(&"note Failed(TriggerLimit)".to_owned()), "{lines:?}");
    assert!(lines.contains(&"remove at stop".to_owned()), "{lines:?}");
    assert_eq!(bench.state(WEB), "failed/failed");
}

#[test]
fn connections_at_a_human_pace_never_meet_the_limit() {
    let mut bench = Bench::listening(on_demand());
    for _ in 0..5 * TRIGGERS {
        assert_eq!(deeds(bench.triggered(WEB)), ["launch Main"]);
        bench.executed(WEB);
        bench.dies(WEB, Exit::Exited(0));
        bench.opened(WEB);
        bench.wait(TRIGGER_INTERVAL / 10);
    }
    assert_eq!(bench.state(WEB), "active/listening");
}

#[test]
fn a_stop_closes_and_a_stop_of_the_running_service_does_not_listen_again() {
    let mut bench = Bench::listening(on_demand());
    assert_eq!(bench.stop_as(WEB, 1), ["remove at stop", "note Stopped", "reply 1 Done"]);
    assert_eq!(bench.state(WEB), "inactive/dead");
    assert_eq!(bench.triggered(WEB), [""; 0], "said late");
    bench.start(WEB);
    bench.opened(WEB);
    bench.triggered(WEB);
    bench.executed(WEB);
    bench.stop_as(WEB, 2);
    assert_eq!(deeds(bench.dies(WEB, Exit::Killed(15))), ["signal all 15", "remove at stop", "reply 2 Done"]);
    assert_eq!(bench.state(WEB), "inactive/dead");
}

#[test]
fn a_restart_of_what_listens_listens_anew_and_of_what_runs_runs_again() {
    let mut bench = Bench::listening(on_demand());
    assert_eq!(bench.restart_as(WEB, 1), ["listen"]);
    assert_eq!(replies(bench.opened(WEB)), ["reply 1 Done"]);
    bench.triggered(WEB);
    bench.executed(WEB);
    bench.restart_as(WEB, 2);
    assert_eq!(deeds(bench.dies(WEB, Exit::Killed(15))), ["signal all 15", "remove after run", "launch Main"]);
    assert_eq!(replies(bench.executed(WEB)), ["reply 2 Done"]);
}

#[test]
fn a_restart_takes_a_new_definition_that_is_not_on_demand() {
    let mut bench = Bench::listening(on_demand());
    bench.supervisor.define(WEB, Policy { sockets: true, ..policy("web") });
    assert_eq!(bench.state(WEB), "active/listening");
    assert_eq!(deeds(bench.restart_as(WEB, 1)), ["launch Main"]);
}

#[test]
fn what_it_needs_is_started_by_the_first_connection_and_not_before() {
    let web = Policy { requires: names(&["db"]), after: names(&["db"]), ..on_demand() };
    let mut bench = Bench::new([web, policy("db")]);
    assert_eq!(deeds(bench.start(WEB)), ["listen"]);
    bench.opened(WEB);
    assert_eq!(bench.state(DB), "inactive/dead");
    assert_eq!(deeds(bench.triggered(WEB)), ["2: launch Main"]);
    assert_eq!(bench.state(WEB), "activating/waiting");
    assert_eq!(deeds(bench.executed(DB)), ["launch Main"]);
}

#[test]
fn a_missing_requirement_fails_the_unit_at_the_first_connection_and_closes() {
    let mut bench = Bench::listening(Policy { requires: names(&["nosuch"]), ..on_demand() });
    assert_eq!(deeds(bench.triggered(WEB)), ["remove at stop"]);
    assert_eq!(bench.state(WEB), "failed/failed");
}

#[test]
fn units_that_need_it_go_on_once_it_listens() {
    let db = Policy { sockets: true, on_demand: true, ..policy("db") };
    let web = Policy { requires: names(&["db"]), after: names(&["db"]), ..policy("web") };
    let mut bench = Bench::new([web, db]);
    assert_eq!(deeds(bench.start(WEB)), ["2: listen"]);
    assert_eq!(deeds(bench.opened(DB)), ["launch Main"]);
}

#[test]
fn the_wait_of_a_remembered_unit_ends_in_a_run() {
    use crate::supervise::{Rest, ServiceResult};
    let mut bench = Bench::new([on_demand()]);
    let until = Some(bench.now.after(SECOND));
    let rest = Rest {
        restarts: 2,
        until,
        result: ServiceResult::ExitCode,
        cause: None,
        main_exit: None,
        hook_failure: None,
        wanted: false,
        upheld: false,
        launched: false,
        restart_times: Vec::new(),
    };
    bench.step(Event::Remembered { id: WEB, rest });
    bench.step(Event::Surveyed);
    assert_eq!(deeds(bench.expire()), ["launch Main"]);
}

#[test]
fn a_client_that_went_away_is_not_answered() {
    let mut bench = Bench::new([on_demand()]);
    bench.start_as(WEB, 1);
    bench.step(Event::RequestAbandoned { request: RequestId(1) });
    assert_eq!(bench.opened(WEB), ["note Listening"]);
}

#[test]
fn a_job_with_timers_waits_for_the_next_time_whatever_became_of_this_one() {
    let job = Policy { on_demand: true, timers: true, restart: restart_settings(RestartPolicy::No), ..policy("web") };
    let mut bench = Bench::listening(job);
    assert_eq!(bench.state(WEB), "active/waiting");
    bench.triggered(WEB);
    bench.executed(WEB);
    let lines = bench.dies(WEB, Exit::Exited(1));
    assert!(lines.iter().any(|line| line.starts_with("note Failed")), "{lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some("listen"));
    bench.opened(WEB);
    assert_eq!(bench.state(WEB), "active/waiting");
    assert_eq!(bench.status(WEB).result, crate::supervise::ServiceResult::ExitCode, "the failure stays visible");
    assert_eq!(deeds(bench.triggered(WEB)), ["launch Main"]);
}

#[test]
fn who_serves_a_connection_is_stopped_by_a_restart_and_goes_with_its_listener() {
    let serving = |part_of| Policy {
        of_connection: true,
        part_of: names(&[part_of]),
        after: names(&[part_of]),
        restart: restart_settings(RestartPolicy::No),
        ..policy("web@1")
    };
    for stop in [true, false] {
        let mut bench = Bench::new([policy("web"), serving("web")]);
        bench.start(WEB);
        bench.executed(WEB);
        bench.start(DB);
        bench.executed(DB);
        match stop {
            true => bench.stop_as(WEB, 1),
            false => bench.restart_as(WEB, 1),
        };
        assert_eq!(bench.state(DB), "deactivating/stop-sigterm", "it goes first");
        bench.dies(DB, Exit::Killed(15));
        assert_eq!(bench.state(DB), "inactive/dead", "and does not come again");
        bench.dies(WEB, Exit::Killed(15));
        assert_eq!(bench.state(DB), "inactive/dead");
        assert_eq!(bench.state(WEB), if stop { "inactive/dead" } else { "activating/start" });
    }
    let mut bench = Bench::new([on_demand(), serving("web")]);
    bench.start(WEB);
    bench.opened(WEB);
    bench.start(DB);
    bench.executed(DB);
    bench.stop_as(WEB, 1);
    assert_eq!((bench.state(WEB), bench.state(DB)), ("inactive/dead".into(), "deactivating/stop-sigterm".into()));
}

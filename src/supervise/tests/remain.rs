//! `service.remain_after_exit`: up without a process.

use super::bench::{Bench, SECOND, WEB, commands, deeds, policy, replies};
use crate::supervise::{Event, Exit, Policy, Role, ServiceId, ServiceResult, StopStep};
use crate::unit::{Hook, ReadyKind, RestartPolicy, ServiceType};

const FINE: Exit = Exit::Exited(0);

fn job() -> Policy {
    Policy { kind: ServiceType::Oneshot, ready: ReadyKind::Exited, remains: true, ..policy("web") }
}

/// A unit that has done its work.
fn done(policy: Policy) -> Bench {
    let mut bench = Bench::running(policy);
    bench.dies(WEB, FINE);
    bench
}

#[test]
fn a_job_that_ended_well_stays_up_without_a_process() {
    let mut bench = Bench::new([job()]);
    bench.start_as(WEB, 1);
    bench.executed(WEB);
    assert!(bench.emptied(WEB).is_empty());
    assert_eq!(bench.exited(WEB, FINE), ["note Started", "reply 1 Done"]);
    assert_eq!(bench.state(WEB), "active/exited");
    assert_eq!(bench.until_deadline(), None);
    assert_eq!(replies(bench.start_as(WEB, 2)), ["reply 2 Done"], "it is up already");
    assert_eq!(replies(bench.reload_as(WEB, 3)), ["reply 3 NotRunning"]);
}

#[test]
fn a_job_that_failed_does_not_stay_up() {
    let mut bench = Bench::running(job());
    bench.dies(WEB, Exit::Exited(1));
    assert_eq!(bench.state(WEB), "activating/auto-restart");
}

#[test]
fn what_the_program_left_is_asked_to_end_and_then_killed() {
    let mut bench = Bench::running(Policy { timeout_stop: Some(5 * SECOND), ..job() });
    assert_eq!(deeds(bench.exited(WEB, FINE)), ["signal all 15"]);
    assert_eq!((bench.state(WEB), bench.until_deadline()), ("active/exited".into(), Some(5 * SECOND)));
    assert_eq!(bench.expire(), ["note Killing", "kill"]);
    assert_eq!(bench.expire(), ["note Killing", "kill"], "again, as long as it takes");
    bench.emptied(WEB);
    assert_eq!((bench.state(WEB), bench.until_deadline()), ("active/exited".into(), None));
}

#[test]
fn a_stop_runs_exec_stop_one_after_the_other_in_an_empty_group() {
    let mut bench = done(Policy { stop: commands(2), stop_post: commands(1), hooks: vec![Hook::Exit], ..job() });
    assert_eq!(bench.stop_as(WEB, 1), ["note Stopping", "launch Stop(0)"]);
    assert_eq!(bench.state(WEB), "deactivating/stop");
    assert_eq!(bench.status(WEB).stop_step, Some(StopStep::Command(Role::Stop(0))));
    assert_eq!(bench.ended(WEB, Role::Stop(0), FINE), ["kill"]);
    assert_eq!(bench.emptied(WEB), ["launch Stop(1)"]);
    bench.ended(WEB, Role::Stop(1), FINE);
    assert_eq!(bench.emptied(WEB), ["launch StopPost(0)"]);
    bench.ended(WEB, Role::StopPost(0), FINE);
    assert_eq!(bench.emptied(WEB), ["launch Hook(Exit)"]);
    bench.ended(WEB, Role::Hook(Hook::Exit), FINE);
    assert_eq!(bench.emptied(WEB), ["remove at stop", "note Stopped", "reply 1 Done"]);
    assert_eq!(bench.state(WEB), "inactive/dead");
}

#[test]
fn a_stop_kills_what_the_program_left_before_exec_stop() {
    let mut bench = Bench::running(Policy { stop: commands(1), ..job() });
    bench.exited(WEB, FINE);
    assert_eq!(bench.stop(WEB), ["note Stopping", "kill"]);
    assert_eq!(bench.emptied(WEB), ["launch Stop(0)"]);
}

#[test]
fn a_stop_command_that_fails_ends_them_and_is_a_failure() {
    let mut bench = done(Policy { stop: commands(2), stop_post: commands(1), ..job() });
    bench.stop(WEB);
    bench.ended(WEB, Role::Stop(0), Exit::Exited(1));
    assert_eq!(bench.emptied(WEB), ["launch StopPost(0)"]);
    bench.ended(WEB, Role::StopPost(0), FINE);
    bench.emptied(WEB);
    assert_eq!((bench.state(WEB), bench.status(WEB).result), ("failed/failed".into(), ServiceResult::ExitCode));
}

#[test]
fn stop_commands_have_one_budget() {
    let mut bench = done(Policy { stop: commands(2), timeout_stop: Some(5 * SECOND), ..job() });
    bench.stop(WEB);
    bench.wait(4 * SECOND);
    bench.ended(WEB, Role::Stop(0), FINE);
    bench.emptied(WEB);
    assert_eq!(bench.until_deadline(), Some(SECOND));
    assert_eq!(bench.expire(), ["note Killing", "kill"]);
    assert_eq!(bench.expire(), ["kill"]);
    bench.ended(WEB, Role::Stop(1), Exit::Killed(9));
    bench.emptied(WEB);
    assert_eq!((bench.state(WEB), bench.status(WEB).result), ("failed/failed".into(), ServiceResult::Timeout));
}

#[test]
fn a_restart_stops_and_starts_it() {
    let mut bench = done(Policy { stop: commands(1), ..job() });
    bench.restart_as(WEB, 1);
    bench.ended(WEB, Role::Stop(0), FINE);
    assert_eq!(deeds(bench.emptied(WEB)), ["remove after run", "launch Main"]);
    bench.executed(WEB);
    assert_eq!(replies(bench.dies(WEB, FINE)), ["reply 1 Done"]);
    assert_eq!(bench.state(WEB), "active/exited");
}

#[test]
fn who_needs_it_is_satisfied_and_falls_with_it() {
    let app = ServiceId(2);
    let base = || vec!["web".to_owned()];
    let bound = Policy { requires: base(), binds_to: base(), after: base(), ..policy("app") };
    let mut bench = Bench::new([job(), bound]);
    bench.start(app);
    bench.executed(WEB);
    bench.dies(WEB, FINE);
    bench.executed(app);
    assert_eq!((bench.state(WEB), bench.state(app)), ("active/exited".into(), "active/running".into()));
    bench.stop(WEB);
    assert_eq!((bench.state(WEB), bench.state(app)), ("active/exited".into(), "deactivating/stop-sigterm".into()));
    bench.dies(app, Exit::Killed(15));
    assert_eq!((bench.state(WEB), bench.state(app)), ("inactive/dead".into(), "inactive/dead".into()));
}

#[test]
fn it_is_not_restarted_while_it_stays() {
    let always = super::bench::restart_settings(RestartPolicy::Always);
    let mut bench = done(Policy { restart: always, ..job() });
    assert_eq!((bench.state(WEB), bench.until_deadline()), ("active/exited".into(), None));
    bench.stop(WEB);
    assert_eq!(bench.state(WEB), "inactive/dead");
}

#[test]
fn the_next_daemon_finds_it_up_and_goes_on_with_a_stop() {
    let adopted = |stopping, since| Event::AdoptedExited {
        id: WEB,
        since,
        restarts: 1,
        stopping,
        main_exit: Some(Exit::Exited(0)),
    };
    let mut bench = Bench::new([Policy { stop: commands(1), ..job() }]);
    let since = bench.now;
    bench.adopt(adopted(false, since));
    bench.emptied(WEB);
    let status = bench.status(WEB);
    assert_eq!((bench.state(WEB), bench.until_deadline()), ("active/exited".into(), None));
    assert_eq!((status.main_exit, status.restarts, status.since), (Some(FINE), 1, since));

    let mut bench = Bench::new([Policy { stop: commands(1), ..job() }]);
    assert_eq!(bench.adopt(adopted(true, since)), ["note Adopted", "note Stopping", "kill"]);
    assert_eq!(bench.emptied(WEB), ["launch Stop(0)"]);
}

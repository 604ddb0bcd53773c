//! Every request in every state, and exactly one answer to each. Reload and adoption are here as well.

use super::bench::{Bench, SECOND, WEB, adopted, commands, deeds, policy, replies, restart_settings, running_since};
use crate::supervise::{Adopted, Cause, Event, Exit, Policy, RequestId, Role, ServiceId, ServiceResult};
use crate::unit::{KillMode, ReadyKind, RestartPolicy, ServiceType};

fn notify() -> Policy {
    Policy { kind: ServiceType::Notify, ready: ReadyKind::Notify, ..policy("web") }
}

fn no_restart() -> Policy {
    Policy { restart: restart_settings(RestartPolicy::No), ..policy("web") }
}

#[test]
fn a_start_of_what_runs_is_done_at_once() {
    let mut bench = Bench::running(policy("web"));
    assert_eq!(bench.start_as(WEB, 1), ["reply 1 Done"]);
}

#[test]
fn a_stop_of_what_is_down_is_done_at_once() {
    let mut bench = Bench::new([policy("web")]);
    assert_eq!(bench.stop_as(WEB, 1), ["reply 1 Done"]);
}

#[test]
fn a_second_start_shares_the_outcome_of_the_first() {
    let mut bench = Bench::new([policy("web")]);
    bench.start_as(WEB, 1);
    assert!(bench.start_as(WEB, 2).is_empty());
    assert_eq!(replies(bench.executed(WEB)), ["reply 1 Done", "reply 2 Done"]);
}

#[test]
fn a_second_stop_shares_the_outcome_of_the_first() {
    let mut bench = Bench::running(policy("web"));
    bench.stop_as(WEB, 1);
    assert!(bench.stop_as(WEB, 2).is_empty());
    assert_eq!(replies(bench.dies(WEB, Exit::Exited(0))), ["reply 1 Done", "reply 2 Done"]);
}

#[test]
fn a_start_fails_with_the_first_attempt_although_more_follow() {
    let mut bench = Bench::new([notify()]);
    bench.start_as(WEB, 1);
    bench.executed(WEB);
    let end = replies(bench.dies(WEB, Exit::Exited(1)));
    assert_eq!(end, ["reply 1 failed Main { exit: Exited(1), result: ExitCode }"]);
    assert_eq!(bench.state(WEB), "activating/auto-restart");
}

#[test]
fn a_start_during_back_off_cuts_the_wait_short_and_forgets_the_count() {
    let mut bench = Bench::running(policy("web"));
    bench.dies(WEB, Exit::Exited(1));
    assert_eq!(bench.status(WEB).restarts, 1);
    assert_eq!(bench.start_as(WEB, 1), ["note Starting { restarts: 0 }", "launch Main"]);
    assert_eq!(replies(bench.executed(WEB)), ["reply 1 Done"]);
    assert_eq!(bench.until_deadline(), None, "the wait is over for good");
}

#[test]
fn a_start_during_a_stop_follows_it() {
    let mut bench = Bench::running(policy("web"));
    bench.stop_as(WEB, 1);
    assert!(bench.start_as(WEB, 2).is_empty());
    assert!(!bench.status(WEB).stop_requested, "a daemon that takes over must not leave it down");
    let end = bench.dies(WEB, Exit::Exited(0));
    assert_eq!(
        end,
        [
            "signal all 15",
            "remove after run",
            "note Stopped",
            "reply 1 Done",
            "note Starting { restarts: 0 }",
            "launch Main"
        ]
    );
    assert_eq!(replies(bench.executed(WEB)), ["reply 2 Done"]);
}

#[test]
fn a_stop_after_that_overtakes_the_start() {
    let mut bench = Bench::running(policy("web"));
    bench.stop_as(WEB, 1);
    bench.start_as(WEB, 2);
    assert_eq!(bench.stop_as(WEB, 3), ["reply 2 Cancelled"]);
    assert_eq!(replies(bench.dies(WEB, Exit::Exited(0))), ["reply 1 Done", "reply 3 Done"]);
    assert_eq!(bench.state(WEB), "inactive/dead");
}

#[test]
fn a_stop_cancels_a_start_under_way() {
    let mut bench = Bench::running(notify());
    bench.start_as(WEB, 1);
    assert_eq!(bench.stop_as(WEB, 2), ["reply 1 Cancelled", "note Stopping", "signal all 15"]);
    assert_eq!(replies(bench.dies(WEB, Exit::Exited(0))), ["reply 2 Done"]);
}

#[test]
fn a_start_while_a_failed_attempt_is_cleared_away_begins_after_it() {
    let mut bench = Bench::new([notify()]);
    bench.start_as(WEB, 1);
    bench.executed(WEB);
    bench.exited(WEB, Exit::Exited(1));
    bench.start_as(WEB, 2);
    let end = bench.emptied(WEB);
    assert_eq!(end[0], "reply 1 failed Main { exit: Exited(1), result: ExitCode }");
    assert_eq!(end.last().map(String::as_str), Some("launch Main"));
    bench.executed(WEB);
    assert_eq!(replies(bench.ready(WEB)), ["reply 2 Done"]);
}

#[test]
fn a_restart_stops_and_starts_and_answers_when_it_is_ready() {
    let mut bench = Bench::running(Policy { stop: commands(1), ..policy("web") });
    assert_eq!(deeds(bench.restart_as(WEB, 1)), ["launch Stop(0)"]);
    bench.ended(WEB, Role::Stop(0), Exit::Exited(0));
    assert_eq!(deeds(bench.dies(WEB, Exit::Exited(0))), ["signal all 15", "remove after run", "launch Main"]);
    assert_eq!(replies(bench.executed(WEB)), ["reply 1 Done"]);
}

#[test]
fn a_restart_of_what_is_down_starts_it() {
    let mut bench = Bench::new([policy("web")]);
    assert_eq!(deeds(bench.restart_as(WEB, 1)), ["launch Main"]);
    assert_eq!(replies(bench.executed(WEB)), ["reply 1 Done"]);
}

#[test]
fn a_restart_during_a_start_answers_both_with_the_second_run() {
    let mut bench = Bench::running(notify());
    bench.start_as(WEB, 1);
    assert_eq!(deeds(bench.restart_as(WEB, 2)), ["signal all 15"]);
    bench.dies(WEB, Exit::Exited(0));
    bench.executed(WEB);
    assert_eq!(replies(bench.ready(WEB)), ["reply 2 Done", "reply 1 Done"]);
}

#[test]
fn a_restart_of_what_fails_to_stop_in_order_starts_it_all_the_same() {
    let mut bench = Bench::running(no_restart());
    bench.restart_as(WEB, 1);
    assert_eq!(deeds(bench.dies(WEB, Exit::Dumped(6))), ["signal all 15", "remove after run", "launch Main"]);
}

#[test]
fn an_abandoned_request_is_not_answered_and_the_work_goes_on() {
    let mut bench = Bench::new([policy("web")]);
    bench.start_as(WEB, 1);
    assert!(bench.step(Event::RequestAbandoned { request: RequestId(1) }).is_empty());
    assert_eq!(bench.executed(WEB), ["note Started"]);
    assert!(bench.step(Event::RequestAbandoned { request: RequestId(1) }).is_empty(), "nor is it missed");
}

#[test]
fn a_request_about_an_unknown_label_is_answered() {
    let mut bench = Bench::new([]);
    assert_eq!(bench.start_as(WEB, 1), ["reply 1 Cancelled"]);
    assert_eq!(bench.stop_as(WEB, 2), ["reply 2 Cancelled"]);
    assert_eq!(bench.restart_as(WEB, 3), ["reply 3 Cancelled"]);
    assert_eq!(bench.reload_as(WEB, 4), ["reply 4 Cancelled"]);
}

#[test]
fn reset_failed_forgets_the_failure() {
    let mut bench = Bench::running(no_restart());
    bench.dies(WEB, Exit::Exited(1));
    assert_eq!(bench.state(WEB), "failed/failed");
    let end = bench.step(Event::ResetFailedRequested { id: WEB, request: Some(RequestId(1)) });
    assert_eq!(replies(end), ["reply 1 Done"]);
    let status = bench.status(WEB);
    assert_eq!((bench.state(WEB).as_str(), status.cause, status.main_exit), ("inactive/dead", None, None));
}

#[test]
fn reload_runs_the_commands_and_the_service_runs_on() {
    let mut bench = Bench::running(Policy { reload: commands(2), ..policy("web") });
    assert_eq!(bench.reload_as(WEB, 1), ["note Reloading", "launch Reload(0)"]);
    assert_eq!(bench.state(WEB), "reloading/reload");
    assert_eq!(bench.until_deadline(), Some(90 * SECOND));
    assert_eq!(bench.ended(WEB, Role::Reload(0), Exit::Exited(0)), ["launch Reload(1)"]);
    assert_eq!(bench.ended(WEB, Role::Reload(1), Exit::Exited(0)), ["note Reloaded(None)", "reply 1 Done"]);
    assert_eq!(bench.state(WEB), "active/running");
    assert_eq!(bench.until_deadline(), None);
}

#[test]
fn a_failing_reload_fails_the_reload_alone() {
    let mut bench = Bench::running(Policy { reload: commands(2), ..policy("web") });
    bench.reload_as(WEB, 1);
    let end = replies(bench.ended(WEB, Role::Reload(0), Exit::Exited(1)));
    assert_eq!(end, ["reply 1 failed Command { role: Reload(0), outcome: Exited(Exited(1)) }"]);
    assert_eq!(bench.state(WEB), "active/running");
    assert_eq!(bench.status(WEB).result, ServiceResult::Success);
}

#[test]
fn a_reload_that_hangs_is_killed_alone() {
    let mut bench = Bench::running(Policy { reload: commands(1), ..policy("web") });
    bench.reload_as(WEB, 1);
    assert_eq!(bench.expire(), ["note Killing", "signal control 9"]);
    let end = replies(bench.ended(WEB, Role::Reload(0), Exit::Killed(9)));
    assert_eq!(end, ["reply 1 failed Command { role: Reload(0), outcome: Exited(Killed(9)) }"]);
    assert_eq!(bench.state(WEB), "active/running");
}

#[test]
fn a_reload_asked_for_during_another_is_a_second_one() {
    let mut bench = Bench::running(Policy { reload: commands(1), ..policy("web") });
    bench.reload_as(WEB, 1);
    assert!(bench.reload_as(WEB, 2).is_empty());
    let end = deeds(bench.ended(WEB, Role::Reload(0), Exit::Exited(0)));
    assert_eq!(end, ["reply 1 Done", "launch Reload(0)"], "the first may have read the files too early");
    assert_eq!(replies(bench.ended(WEB, Role::Reload(0), Exit::Exited(0))), ["reply 2 Done"]);
}

#[test]
fn a_stop_interrupts_a_reload() {
    let mut bench = Bench::running(Policy { reload: commands(1), stop: commands(1), ..policy("web") });
    bench.reload_as(WEB, 1);
    assert_eq!(deeds(bench.stop_as(WEB, 2)), ["reply 1 Cancelled", "signal control 9"]);
    assert_eq!(bench.ended(WEB, Role::Reload(0), Exit::Killed(9)), ["launch Stop(0)"]);
    bench.ended(WEB, Role::Stop(0), Exit::Exited(0));
    assert_eq!(replies(bench.dies(WEB, Exit::Exited(0))), ["reply 2 Done"]);
    assert_eq!(bench.state(WEB), "inactive/dead");
}

#[test]
fn a_reload_fails_when_the_service_dies_meanwhile() {
    let mut bench = Bench::running(Policy { reload: commands(1), ..policy("web") });
    bench.reload_as(WEB, 1);
    let end = replies(bench.exited(WEB, Exit::Dumped(11)));
    assert_eq!(end, ["reply 1 failed Main { exit: Dumped(11), result: CoreDump }"]);
}

#[test]
fn a_reload_signal_is_sent_to_the_main_process() {
    let mut bench = Bench::running(Policy { reload_signal: Some(1), kill_mode: KillMode::Mixed, ..policy("web") });
    assert_eq!(deeds(bench.reload_as(WEB, 1)), ["signal main 1", "reply 1 Done"]);
    assert_eq!(bench.state(WEB), "active/running");
}

#[test]
fn a_reload_of_what_does_not_run_or_cannot_says_so() {
    let mut bench = Bench::new([policy("web")]);
    assert_eq!(bench.reload_as(WEB, 1), ["reply 1 NotRunning"]);
    bench.start(WEB);
    assert_eq!(bench.reload_as(WEB, 2), ["reply 2 NotRunning"], "not yet");
    bench.executed(WEB);
    assert_eq!(bench.reload_as(WEB, 3), ["reply 3 NotSupported"]);
    bench.stop(WEB);
    assert_eq!(bench.reload_as(WEB, 4), ["reply 4 NotRunning"]);
}

#[test]
fn a_new_definition_takes_effect_at_the_next_start() {
    let mut bench = Bench::running(policy("web"));
    bench.supervisor.define(WEB, Policy { stop_signal: 3, start_pre: commands(1), ..policy("web") });
    assert_eq!(deeds(bench.restart_as(WEB, 1)), ["signal all 15"], "this run began with the old one");
    assert_eq!(deeds(bench.dies(WEB, Exit::Exited(0))), ["signal all 15", "remove after run", "launch StartPre(0)"]);
}

#[test]
fn only_what_is_down_can_be_forgotten() {
    let mut bench = Bench::running(policy("web"));
    assert!(!bench.supervisor.forget(WEB));
    bench.stop(WEB);
    assert!(!bench.supervisor.forget(WEB));
    bench.dies(WEB, Exit::Exited(0));
    assert!(bench.supervisor.forget(WEB));
    assert_eq!(bench.supervisor.status(WEB), None);
    assert!(!bench.supervisor.forget(WEB), "there is nothing to forget");
}

#[test]
fn an_adopted_service_runs_on_and_keeps_its_count() {
    let mut bench = Bench::new([policy("web")]);
    let since = bench.now;
    bench.wait(10 * SECOND);
    assert_eq!(bench.adopt(adopted(WEB, Adopted { restarts: 4, ..running_since(since) })), ["note Adopted"]);
    let status = bench.status(WEB);
    assert_eq!((status.since, status.restarts), (since, 4));
    assert_eq!(bench.state(WEB), "active/running");
    assert_eq!(bench.start_as(WEB, 1), ["reply 1 Done"], "never a second copy");
    bench.dies(WEB, Exit::Unknown);
    assert_eq!(bench.status(WEB).restarts, 5);
}

#[test]
fn a_stop_that_a_former_daemon_began_goes_on() {
    let mut bench = Bench::new([policy("web")]);
    assert_eq!(
        deeds(bench.adopt(adopted(WEB, Adopted { stopping: true, ..running_since(bench.now) }))),
        ["signal all 15"]
    );
    assert_eq!(bench.until_deadline(), Some(90 * SECOND));
    bench.dies(WEB, Exit::Exited(1));
    assert_eq!(bench.until_deadline(), None, "no crash, so no restart");
}

#[test]
fn an_adopted_start_is_waited_for_with_a_fresh_deadline() {
    let starting = |bench: &Bench| adopted(WEB, Adopted { ready: false, ..running_since(bench.now) });
    let mut bench = Bench::new([notify()]);
    bench.adopt(starting(&bench));
    assert_eq!(bench.state(WEB), "activating/start");
    assert_eq!(bench.until_deadline(), Some(90 * SECOND));
    assert_eq!(bench.ready(WEB), ["note Started"]);

    let mut bench = Bench::new([Policy { ready: ReadyKind::Checked, ..policy("web") }]);
    assert_eq!(deeds(bench.adopt(starting(&bench))), ["watch"]);

    let mut bench = Bench::new([Policy { start_post: commands(1), ..policy("web") }]);
    assert_eq!(deeds(bench.adopt(starting(&bench))), ["launch StartPost(0)"], "it may not have run");

    let forking = Policy { kind: ServiceType::Forking, ready: ReadyKind::PidFile, ..policy("web") };
    let mut bench = Bench::new([forking]);
    assert_eq!(deeds(bench.adopt(starting(&bench))), ["watch"]);
    assert_eq!(bench.ready(WEB), ["note Started"]);
}

#[test]
fn what_this_daemon_started_it_does_not_adopt() {
    let mut bench = Bench::running(policy("web"));
    assert!(
        bench
            .adopt(adopted(WEB, Adopted { ready: false, restarts: 9, stopping: true, ..running_since(bench.now) }))
            .is_empty()
    );
    assert_eq!(bench.status(WEB).restarts, 0);
}

#[test]
fn answers_for_other_services_are_their_own() {
    let mut bench = Bench::new([policy("web"), policy("db")]);
    bench.start_as(WEB, 1);
    bench.start_as(ServiceId(2), 2);
    assert_eq!(replies(bench.executed(ServiceId(2))), ["reply 2 Done"]);
    assert_eq!(bench.status(WEB).cause, None::<Cause>);
}

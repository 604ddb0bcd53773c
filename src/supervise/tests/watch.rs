//! What watches over a service that is up: watchdog, `runtime_max`, health; and what it says about its time.

use super::bench::{Bench, SECOND, WEB, adopted, commands, deeds, policy, replies, restart_settings, running_since};
use crate::supervise::{
    Adopted, Cause, Event, Exit, HealthPolicy, HealthState, Moment, Policy, Role, ServiceResult, StopStep, Word,
};
use crate::unit::{HealthAction, KillMode, ReadyKind, RestartPolicy, ServiceType};
use std::time::Duration;

fn watched() -> Policy {
    Policy { watchdog: Some(10 * SECOND), stop: commands(1), ..policy("web") }
}

fn notify_reload() -> Policy {
    let (kind, ready) = (ServiceType::NotifyReload, ReadyKind::Notify);
    Policy { kind, ready, reload_signal: Some(1), ..policy("web") }
}

fn asked(action: HealthAction) -> Policy {
    let health =
        HealthPolicy { interval: 30 * SECOND, timeout: 5 * SECOND, retries: 3, start_period: 10 * SECOND, action };
    Policy { health: Some(health), stop: commands(1), ..policy("web") }
}

fn say(bench: &mut Bench, word: Word) -> Vec<String> {
    bench.step(Event::Said { id: WEB, word })
}

fn answer(bench: &mut Bench, number: u32, failure: Option<&str>) -> Vec<String> {
    bench.step(Event::Checked { id: WEB, number, failure: failure.map(str::to_owned) })
}

// ── watchdog ──

#[test]
fn a_service_that_says_in_time_that_it_lives_is_left_alone() {
    let mut bench = Bench::running(watched());
    for _ in 0..5 {
        assert_eq!(bench.until_deadline(), Some(10 * SECOND));
        bench.wait(9 * SECOND);
        assert!(say(&mut bench, Word::Alive).is_empty());
    }
    assert_eq!(bench.state(WEB), "active/running");
}

#[test]
fn a_silent_service_gets_sigabrt_without_exec_stop_and_is_killed_when_it_ignores_that() {
    let mut bench = Bench::running(watched());
    let cause = Cause::Watchdog { interval: 10 * SECOND };
    assert_eq!(bench.expire(), [format!("note Ended({cause:?})"), "signal all 6".to_owned()]);
    assert_eq!(bench.state(WEB), "deactivating/stop-watchdog");
    assert_eq!(bench.status(WEB).stop_step, Some(StopStep::Signal(6)));
    assert_eq!(bench.until_deadline(), Some(90 * SECOND), "timeout_stop is all the time it has");
    assert_eq!(deeds(bench.expire()), ["kill"]);
    bench.dies(WEB, Exit::Killed(9));
    let status = bench.status(WEB);
    assert_eq!((status.result, status.cause), (ServiceResult::Watchdog, Some(cause)));
    assert_eq!(bench.state(WEB), "activating/auto-restart");
}

#[test]
fn the_result_stays_watchdog_whatever_it_ends_with() {
    for exit in [Exit::Dumped(6), Exit::Killed(6), Exit::Exited(0), Exit::Exited(1)] {
        let mut bench = Bench::running(watched());
        bench.expire();
        bench.dies(WEB, exit);
        assert_eq!(bench.status(WEB).result, ServiceResult::Watchdog, "{exit:?}");
        assert_eq!(bench.status(WEB).main_exit, Some(exit));
    }
}

#[test]
fn with_kill_mode_mixed_only_the_main_process_is_asked_for_a_core() {
    let mut bench = Bench::running(Policy { kill_mode: KillMode::Mixed, ..watched() });
    assert_eq!(deeds(bench.expire()), ["signal main 6"]);
}

#[test]
fn trigger_is_the_same_as_silence_and_works_without_a_watchdog() {
    for policy in [watched(), policy("web")] {
        let mut bench = Bench::running(policy);
        assert_eq!(deeds(say(&mut bench, Word::Trigger)), ["signal all 6"]);
        bench.dies(WEB, Exit::Dumped(6));
        assert_eq!(bench.status(WEB).cause, Some(Cause::WatchdogTriggered));
    }
}

#[test]
fn the_restart_policy_on_watchdog_restarts_after_silence_and_nothing_else() {
    let settings = restart_settings(RestartPolicy::OnWatchdog);
    let mut bench = Bench::running(Policy { restart: settings.clone(), ..watched() });
    bench.expire();
    bench.dies(WEB, Exit::Dumped(6));
    assert_eq!(bench.state(WEB), "activating/auto-restart");
    let mut bench = Bench::running(Policy { restart: settings, ..watched() });
    bench.dies(WEB, Exit::Dumped(6));
    assert_eq!(bench.state(WEB), "failed/failed");
}

#[test]
fn nothing_is_due_before_the_start_is_complete() {
    let notify = Policy { kind: ServiceType::Notify, ready: ReadyKind::Notify, ..watched() };
    let mut bench = Bench::new([notify]);
    bench.start(WEB);
    bench.executed(WEB);
    assert!(say(&mut bench, Word::Trigger).is_empty());
    assert_eq!(bench.until_deadline(), Some(90 * SECOND));
    bench.wait(60 * SECOND);
    bench.ready(WEB);
    assert_eq!(bench.until_deadline(), Some(10 * SECOND));
}

#[test]
fn the_service_may_change_its_interval_for_this_run() {
    let mut bench = Bench::running(watched());
    say(&mut bench, Word::WatchdogInterval(60 * SECOND));
    assert_eq!(bench.until_deadline(), Some(60 * SECOND));
    assert_eq!(bench.status(WEB).watchdog, Some(60 * SECOND));
    say(&mut bench, Word::WatchdogInterval(Duration::ZERO));
    assert_eq!(bench.until_deadline(), None);
    assert_eq!(bench.status(WEB).watchdog, Some(Duration::ZERO));
    bench.dies(WEB, Exit::Exited(1));
    bench.expire();
    bench.executed(WEB);
    assert_eq!(bench.until_deadline(), Some(10 * SECOND), "the next run begins as the unit says");
}

#[test]
fn an_interval_set_before_readiness_counts() {
    let mut bench = Bench::new([Policy { kind: ServiceType::Notify, ready: ReadyKind::Notify, ..watched() }]);
    bench.start(WEB);
    bench.executed(WEB);
    say(&mut bench, Word::WatchdogInterval(3 * SECOND));
    bench.ready(WEB);
    assert_eq!(bench.until_deadline(), Some(3 * SECOND));
}

#[test]
fn a_new_daemon_gives_a_fresh_interval_the_one_that_the_service_had_set() {
    for (carried, expected) in
        [(None, Some(10 * SECOND)), (Some(40 * SECOND), Some(40 * SECOND)), (Some(Duration::ZERO), None)]
    {
        let mut bench = Bench::new([watched()]);
        let since = Moment(bench.now.0 - 1_000_000);
        bench.adopt(adopted(WEB, Adopted { watchdog: carried, ..running_since(since) }));
        assert_eq!(bench.until_deadline(), expected, "{carried:?}");
    }
}

#[test]
fn the_watchdog_also_looks_after_a_service_that_reloads() {
    let mut bench = Bench::running(Policy { reload: commands(1), ..watched() });
    bench.reload_as(WEB, 1);
    let lines = bench.expire();
    assert!(lines.contains(&"signal all 6".to_owned()), "{lines:?}");
    assert_eq!(replies(lines).len(), 1, "the reload has failed");
}

#[test]
fn a_stop_ends_the_watch() {
    let mut bench = Bench::running(Policy { stop: Vec::new(), ..watched() });
    bench.stop(WEB);
    assert!(say(&mut bench, Word::Trigger).is_empty());
    assert_eq!(bench.until_deadline(), Some(90 * SECOND));
    bench.dies(WEB, Exit::Killed(15));
    assert_eq!(bench.status(WEB).result, ServiceResult::Success);
}

// ── runtime_max ──

#[test]
fn a_service_whose_time_is_over_is_stopped_in_good_order_and_the_policy_decides() {
    let mut bench = Bench::running(Policy { runtime_max: Some(60 * SECOND), stop: commands(1), ..policy("web") });
    assert_eq!(bench.until_deadline(), Some(60 * SECOND));
    assert_eq!(deeds(bench.expire()), ["launch Stop(0)"]);
    assert_eq!(deeds(bench.ended(WEB, Role::Stop(0), Exit::Exited(0))), ["signal all 15"]);
    bench.dies(WEB, Exit::Killed(15));
    let status = bench.status(WEB);
    assert_eq!((status.result, status.cause), (ServiceResult::Timeout, Some(Cause::RuntimeMax)));
    assert_eq!(bench.state(WEB), "activating/auto-restart");
    bench.expire();
    bench.executed(WEB);
    assert_eq!(bench.until_deadline(), Some(60 * SECOND), "each run has as long");
}

#[test]
fn runtime_max_goes_on_under_a_new_daemon() {
    let mut bench = Bench::new([Policy { runtime_max: Some(60 * SECOND), ..policy("web") }]);
    let since = Moment(bench.now.0 - 50_000_000);
    bench.adopt(adopted(WEB, running_since(since)));
    assert_eq!(bench.until_deadline(), Some(10 * SECOND));
}

#[test]
fn a_service_may_ask_for_more_time_but_never_for_less() {
    let mut bench = Bench::running(Policy { runtime_max: Some(60 * SECOND), ..policy("web") });
    say(&mut bench, Word::ExtendTimeout(10 * SECOND));
    assert_eq!(bench.until_deadline(), Some(60 * SECOND));
    bench.wait(55 * SECOND);
    say(&mut bench, Word::ExtendTimeout(10 * SECOND));
    assert_eq!(bench.until_deadline(), Some(10 * SECOND));
    let mut bench = Bench::new([Policy { kind: ServiceType::Notify, ready: ReadyKind::Notify, ..policy("web") }]);
    bench.start(WEB);
    bench.executed(WEB);
    bench.wait(80 * SECOND);
    say(&mut bench, Word::ExtendTimeout(30 * SECOND));
    assert_eq!(bench.until_deadline(), Some(30 * SECOND), "a start");
    bench.ready(WEB);
    bench.stop(WEB);
    bench.wait(80 * SECOND);
    say(&mut bench, Word::ExtendTimeout(30 * SECOND));
    assert_eq!(bench.until_deadline(), Some(30 * SECOND), "a stop");
    bench.expire();
    say(&mut bench, Word::ExtendTimeout(3000 * SECOND));
    assert_eq!(bench.until_deadline(), Some(10 * SECOND), "who is killed gets no more time");
}

#[test]
fn what_has_no_limit_gets_none_by_asking_for_time() {
    let mut bench = Bench::running(policy("web"));
    say(&mut bench, Word::ExtendTimeout(SECOND));
    assert_eq!(bench.until_deadline(), None);
}

// ── STOPPING=1, RESTART_RESET=1 ──

#[test]
fn a_service_that_says_it_stops_has_timeout_stop_to_do_it() {
    let mut bench = Bench::running(watched());
    bench.step(Event::Stopping { id: WEB });
    assert_eq!(bench.state(WEB), "deactivating/stop");
    assert_eq!(bench.status(WEB).stop_step, Some(StopStep::ByItself));
    assert_eq!(bench.until_deadline(), Some(90 * SECOND), "and no watchdog");
    bench.step(Event::Reloading { id: WEB, begun: None });
    assert_eq!(bench.state(WEB), "deactivating/stop", "it is final");
    assert_eq!(deeds(bench.expire()), ["kill"]);
    bench.dies(WEB, Exit::Killed(9));
    assert_eq!(bench.status(WEB).cause, Some(Cause::StopTimeout));
}

#[test]
fn a_service_may_have_its_restarts_forgotten() {
    let mut bench = Bench::running(policy("web"));
    for _ in 0..3 {
        bench.dies(WEB, Exit::Exited(1));
        bench.expire();
        bench.executed(WEB);
    }
    assert_eq!(bench.status(WEB).restarts, 3);
    say(&mut bench, Word::ResetRestarts);
    assert_eq!(bench.status(WEB).restarts, 0);
    bench.dies(WEB, Exit::Exited(1));
    let wait = bench.until_deadline().expect("a restart");
    assert!(wait < 2 * SECOND, "the delay begins anew: {wait:?}");
    say(&mut bench, Word::ResetRestarts);
    assert_eq!(bench.status(WEB).restarts, 1, "nobody is there to say so");
}

// ── notify-reload ──

#[test]
fn a_reload_is_done_when_the_service_says_so_after_the_signal() {
    let mut bench = Bench::new([notify_reload()]);
    bench.start(WEB);
    bench.executed(WEB);
    bench.ready(WEB);
    assert_eq!(deeds(bench.reload_as(WEB, 1)), ["signal main 1"]);
    assert_eq!(bench.state(WEB), "reloading/reload-signal");
    let signalled = bench.now;
    bench.wait(SECOND);
    assert!(bench.ready(WEB).is_empty(), "READY=1 of something earlier");
    let early = Moment(signalled.0 - 1);
    bench.step(Event::Reloading { id: WEB, begun: Some(early) });
    bench.step(Event::Reloading { id: WEB, begun: None });
    assert_eq!(bench.state(WEB), "reloading/reload-signal", "an answer from before the signal");
    bench.step(Event::Reloading { id: WEB, begun: Some(signalled) });
    assert_eq!(bench.state(WEB), "reloading/reload-notify");
    assert_eq!(bench.ready(WEB), ["note Reloaded(None)", "reply 1 Done"]);
    assert_eq!(bench.state(WEB), "active/running");
    assert_eq!(bench.until_deadline(), None);
}

#[test]
fn a_reload_that_is_not_answered_fails_and_the_service_runs_on() {
    let mut bench = Bench::new([notify_reload()]);
    bench.start(WEB);
    bench.executed(WEB);
    bench.ready(WEB);
    bench.reload_as(WEB, 1);
    assert!(replies(bench.reload_as(WEB, 2)).is_empty(), "the next waits for the present one");
    let lines = bench.expire();
    assert_eq!(lines[0], "note Reloaded(Some(ReloadTimeout))");
    assert!(lines.contains(&"reply 1 failed ReloadTimeout".to_owned()), "{lines:?}");
    assert!(lines.contains(&"signal main 1".to_owned()), "and the one asked for meanwhile begins: {lines:?}");
    bench.step(Event::Reloading { id: WEB, begun: Some(bench.now) });
    assert_eq!(replies(bench.ready(WEB)), ["reply 2 Done"]);
}

#[test]
fn a_service_that_dies_in_a_reload_fails_it() {
    let mut bench = Bench::new([notify_reload()]);
    bench.start(WEB);
    bench.executed(WEB);
    bench.ready(WEB);
    bench.reload_as(WEB, 1);
    let lines = replies(bench.exited(WEB, Exit::Exited(1)));
    assert!(lines[0].starts_with("reply 1 failed Main"), "{lines:?}");
}

#[test]
fn nobody_is_asked_to_reload_who_has_said_that_it_stops() {
    let mut bench = Bench::running(Policy { reload_signal: Some(1), ..policy("web") });
    bench.step(Event::Stopping { id: WEB });
    assert_eq!(bench.reload_as(WEB, 1), ["reply 1 NotRunning"]);
}

// ── health ──

#[test]
fn the_first_question_comes_at_once_and_the_next_an_interval_after_the_answer() {
    let mut bench = Bench::running(asked(HealthAction::Restart));
    assert_eq!(bench.status(WEB).health.map(|health| health.state), Some(HealthState::Starting));
    assert_eq!(bench.expire(), ["check 1"]);
    assert_eq!(bench.until_deadline(), Some(5 * SECOND), "the time for an answer");
    bench.wait(SECOND);
    assert_eq!(answer(&mut bench, 1, None), ["note Healthy"]);
    assert_eq!(bench.status(WEB).health.map(|health| health.state), Some(HealthState::Healthy));
    assert_eq!(bench.until_deadline(), Some(30 * SECOND));
    assert_eq!(bench.expire(), ["check 2"]);
    assert!(answer(&mut bench, 2, None).is_empty(), "no news");
}

#[test]
fn failures_in_the_start_period_do_not_count_unless_it_has_been_well() {
    let mut bench = Bench::running(asked(HealthAction::Restart));
    bench.expire();
    assert!(answer(&mut bench, 1, Some("not yet")).is_empty());
    let health = bench.status(WEB).health.expect("health");
    assert_eq!((health.state, health.failures, health.why.as_deref()), (HealthState::Starting, 0, Some("not yet")));
    let mut bench = Bench::running(asked(HealthAction::Restart));
    bench.expire();
    answer(&mut bench, 1, None);
    bench.expire();
    answer(&mut bench, 2, Some("ill"));
    assert_eq!(bench.status(WEB).health.expect("health").failures, 1);
}

/// Three failures in a row after a success; the lines of the last one.
fn falls_ill(bench: &mut Bench) -> Vec<String> {
    bench.expire();
    answer(bench, 1, None);
    for number in 2..=3 {
        bench.expire();
        assert!(answer(bench, number, Some("ill")).is_empty());
    }
    bench.expire();
    answer(bench, 4, Some("ill"))
}

fn unhealthy() -> Cause {
    Cause::Unhealthy { failures: 3, why: "ill".into() }
}

#[test]
fn an_unhealthy_service_is_stopped_in_good_order_and_started_again_whatever_the_policy() {
    for word in [RestartPolicy::No, RestartPolicy::OnSuccess, RestartPolicy::OnFailure] {
        let mut bench = Bench::running(Policy { restart: restart_settings(word), ..asked(HealthAction::Restart) });
        assert_eq!(deeds(falls_ill(&mut bench)), ["launch Stop(0)"]);
        bench.ended(WEB, Role::Stop(0), Exit::Exited(0));
        bench.dies(WEB, Exit::Killed(15));
        assert_eq!(bench.state(WEB), "activating/auto-restart", "{word:?}");
        assert_eq!(bench.status(WEB).cause, Some(unhealthy()));
        assert_eq!(bench.status(WEB).result, ServiceResult::Watchdog);
    }
}

#[test]
fn with_action_stop_it_stays_down_and_is_shown_as_failed() {
    let settings = restart_settings(RestartPolicy::Always);
    let mut bench = Bench::running(Policy { restart: settings, ..asked(HealthAction::Stop) });
    falls_ill(&mut bench);
    bench.ended(WEB, Role::Stop(0), Exit::Exited(0));
    bench.dies(WEB, Exit::Killed(15));
    assert_eq!(bench.state(WEB), "failed/failed");
    assert_eq!(bench.status(WEB).cause, Some(unhealthy()));
}

#[test]
fn with_action_log_it_runs_on_says_so_once_and_may_get_well() {
    let mut bench = Bench::running(asked(HealthAction::Log));
    assert_eq!(falls_ill(&mut bench), [format!("note Unhealthy({:?})", unhealthy())]);
    assert_eq!(bench.state(WEB), "active/running");
    bench.expire();
    assert!(answer(&mut bench, 5, Some("ill")).is_empty());
    let health = bench.status(WEB).health.expect("health");
    assert_eq!((health.state, health.failures), (HealthState::Unhealthy, 4));
    bench.expire();
    assert_eq!(answer(&mut bench, 6, None), ["note Healthy"]);
}

#[test]
fn an_answer_that_does_not_come_is_a_failure_and_coming_late_it_is_none() {
    let mut bench = Bench::running(asked(HealthAction::Log));
    bench.expire();
    answer(&mut bench, 1, None);
    bench.expire();
    assert_eq!(bench.expire(), ["abandon check"]);
    let health = bench.status(WEB).health.expect("health");
    assert_eq!((health.failures, health.why.as_deref()), (1, Some("no answer within 5s")));
    assert!(answer(&mut bench, 2, None).is_empty());
    assert_eq!(bench.status(WEB).health.expect("health").failures, 1);
    assert_eq!(bench.expire(), ["check 3"], "the next has another number");
}

#[test]
fn nobody_is_asked_who_is_on_the_way_down() {
    let mut bench = Bench::running(asked(HealthAction::Restart));
    bench.expire();
    let lines = deeds(bench.stop(WEB));
    assert_eq!(lines, ["abandon check", "launch Stop(0)"]);
    assert!(answer(&mut bench, 1, Some("ill")).is_empty());
    assert_eq!(bench.until_deadline(), Some(90 * SECOND));
    assert_eq!(bench.status(WEB).health, None);
}

// ── [ready] timeout ──

#[test]
fn the_time_for_readiness_begins_with_the_program_and_never_lengthens_the_start() {
    let checked = |timeout| Policy { ready: ReadyKind::Checked, ready_timeout: timeout, ..policy("web") };
    for (timeout, expected) in [(None, 70), (Some(5 * SECOND), 5), (Some(500 * SECOND), 70)] {
        let mut bench = Bench::new([checked(timeout)]);
        bench.start(WEB);
        bench.wait(20 * SECOND);
        assert_eq!(bench.executed(WEB), ["watch"]);
        assert_eq!(bench.until_deadline(), Some(expected * SECOND), "{timeout:?}");
        assert_eq!(deeds(bench.expire()), ["unwatch", "signal all 15"]);
    }
}

// ── what a stop is at ──

#[test]
fn every_step_of_a_stop_is_named_with_its_time() {
    let mut bench = Bench::running(Policy { stop: commands(1), stop_post: commands(1), ..policy("web") });
    let step = |bench: &Bench| (bench.status(WEB).stop_step, bench.status(WEB).step_ends_at.is_some());
    assert_eq!(step(&bench), (None, false));
    bench.stop(WEB);
    assert_eq!(step(&bench), (Some(StopStep::Command(Role::Stop(0))), true));
    bench.ended(WEB, Role::Stop(0), Exit::Exited(0));
    assert_eq!(step(&bench), (Some(StopStep::Signal(15)), true));
    bench.expire();
    assert_eq!(step(&bench), (Some(StopStep::Kill), false));
    bench.dies(WEB, Exit::Killed(9));
    assert_eq!(step(&bench), (Some(StopStep::Command(Role::StopPost(0))), true));
    bench.emptied(WEB);
    bench.ended(WEB, Role::StopPost(0), Exit::Exited(0));
    assert_eq!(step(&bench), (None, false));
}

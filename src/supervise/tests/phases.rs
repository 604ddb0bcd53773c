//! The way up: types, commands before and after, readiness, timeouts.

use super::bench::{Bench, SECOND, WEB, commands, deeds, policy, replies, statuses};
use crate::supervise::{Cause, Command, CommandOutcome, Event, Exit, Policy, Role, ServiceResult};
use crate::unit::{KillMode, ReadyKind, RestartPolicy, ServiceType};

fn notify() -> Policy {
    Policy { kind: ServiceType::Notify, ready: ReadyKind::Notify, ..policy("web") }
}

fn listening() -> Policy {
    Policy { ready: ReadyKind::Checked, ..policy("web") }
}

fn oneshot() -> Policy {
    Policy { kind: ServiceType::Oneshot, ready: ReadyKind::Exited, ..policy("web") }
}

fn forking() -> Policy {
    Policy { kind: ServiceType::Forking, ready: ReadyKind::PidFile, ..policy("web") }
}

#[test]
fn a_plain_start_launches_and_is_done_when_the_program_is_executed() {
    let mut bench = Bench::new([policy("web")]);
    assert_eq!(bench.start_as(WEB, 1), ["note Starting { restarts: 0 }", "launch Main"]);
    assert_eq!(bench.state(WEB), "activating/start");
    assert_eq!(bench.until_deadline(), Some(90 * SECOND));
    assert_eq!(bench.executed(WEB), ["note Started", "reply 1 Done"]);
    assert_eq!(bench.state(WEB), "active/running");
    assert_eq!(bench.until_deadline(), None, "nothing wakes the daemon for a service that runs");
}

#[test]
fn commands_before_run_one_after_the_other_each_in_an_empty_group() {
    let mut bench = Bench::new([Policy { start_pre: commands(2), ..policy("web") }]);
    assert_eq!(deeds(bench.start(WEB)), ["launch StartPre(0)"]);
    assert_eq!(bench.state(WEB), "activating/start-pre");
    assert_eq!(bench.ended(WEB, Role::StartPre(0), Exit::Exited(0)), ["kill"], "what it left is in the way");
    assert_eq!(bench.emptied(WEB), ["launch StartPre(1)"]);
    assert!(bench.emptied(WEB).is_empty(), "empty before the end of the command is known");
    assert_eq!(bench.ended(WEB, Role::StartPre(1), Exit::Exited(0)), ["launch Main"]);
}

#[test]
fn a_failing_command_before_fails_the_start_and_stop_post_runs() {
    let policy = Policy { start_pre: commands(2), stop_post: commands(1), ..policy("web") };
    let mut bench = Bench::new([policy]);
    bench.start_as(WEB, 1);
    let outcome = CommandOutcome::Exited(Exit::Exited(7));
    let cause = Cause::Command { role: Role::StartPre(0), outcome };
    assert_eq!(bench.ended(WEB, Role::StartPre(0), Exit::Exited(7)), [format!("note Ended({cause:?})"), "kill".into()]);
    assert_eq!(bench.emptied(WEB), ["launch StopPost(0)"]);
    assert!(bench.emptied(WEB).is_empty());
    let end = bench.ended(WEB, Role::StopPost(0), Exit::Exited(0));
    assert_eq!(replies(end), [format!("reply 1 failed {cause:?}")]);
    assert_eq!(bench.status(WEB).result, ServiceResult::ExitCode);
    assert_eq!(bench.state(WEB), "activating/auto-restart");
}

#[test]
fn an_ignored_failure_is_none() {
    let ignored = Command { ignore_failure: true };
    let mut bench = Bench::new([Policy { start_pre: vec![ignored], ..policy("web") }]);
    bench.start(WEB);
    bench.emptied(WEB);
    assert_eq!(bench.ended(WEB, Role::StartPre(0), Exit::Killed(9)), ["launch Main"]);
}

#[test]
fn a_launch_that_fails_names_the_step_and_is_retried_like_an_exit_status() {
    let mut bench = Bench::new([policy("web")]);
    bench.start_as(WEB, 1);
    assert_eq!(deeds(bench.launch_failed(WEB)), ["kill"], "what is left of the set-up must be gone first");
    let end = bench.emptied(WEB);
    assert!(end[0].starts_with("reply 1 failed Launch(LaunchFailure { step: \"EXEC\", code: 203"), "{end:?}");
    assert_eq!(bench.status(WEB).main_exit, Some(Exit::Exited(203)));
    assert_eq!(bench.state(WEB), "activating/auto-restart");
}

#[test]
fn notify_is_ready_when_it_says_so() {
    let mut bench = Bench::new([notify()]);
    bench.start_as(WEB, 1);
    assert!(bench.executed(WEB).is_empty());
    assert_eq!(bench.state(WEB), "activating/start");
    assert_eq!(bench.ready(WEB), ["note Started", "reply 1 Done"]);
    assert!(bench.ready(WEB).is_empty(), "said twice");
}

#[test]
fn ready_that_is_read_before_the_report_of_the_exec_counts() {
    let mut bench = Bench::new([notify()]);
    bench.start_as(WEB, 1);
    assert!(bench.ready(WEB).is_empty());
    assert_eq!(bench.executed(WEB), ["note Started", "reply 1 Done"]);
}

#[test]
fn notify_that_ends_well_before_it_was_ready_broke_the_protocol() {
    for policy in [notify(), listening()] {
        let mut bench = Bench::new([policy]);
        bench.start_as(WEB, 1);
        bench.executed(WEB);
        let end = bench.dies(WEB, Exit::Exited(0));
        assert!(end.contains(&"reply 1 failed Protocol".to_owned()), "{end:?}");
        assert_eq!(bench.status(WEB).result, ServiceResult::Protocol);
    }
}

#[test]
fn notify_that_crashes_before_it_was_ready_says_how() {
    let mut bench = Bench::new([notify()]);
    bench.start(WEB);
    bench.executed(WEB);
    bench.dies(WEB, Exit::Dumped(11));
    let status = bench.status(WEB);
    assert_eq!(status.result, ServiceResult::CoreDump);
    assert_eq!(status.cause, Some(Cause::Main { exit: Exit::Dumped(11), result: ServiceResult::CoreDump }));
}

#[test]
fn listening_is_watched_from_the_exec_until_it_is_ready_or_stopped() {
    let mut bench = Bench::new([listening()]);
    bench.start_as(WEB, 1);
    assert_eq!(bench.executed(WEB), ["watch"]);
    assert_eq!(bench.ready(WEB), ["note Started", "reply 1 Done"]);

    let mut bench = Bench::new([listening()]);
    bench.start(WEB);
    bench.executed(WEB);
    assert_eq!(bench.stop(WEB), ["note Stopping", "unwatch", "signal all 15"]);
}

#[test]
fn a_oneshot_is_started_when_it_has_ended_well_and_is_then_down() {
    let mut bench = Bench::new([oneshot()]);
    bench.start_as(WEB, 1);
    assert!(bench.executed(WEB).is_empty());
    bench.emptied(WEB);
    let end = bench.exited(WEB, Exit::Exited(0));
    assert_eq!(end, ["note Started", "reply 1 Done", "remove at stop", "note Stopped"]);
    assert_eq!(bench.state(WEB), "inactive/dead");
    assert_eq!(bench.status(WEB).result, ServiceResult::Success);
}

#[test]
fn a_oneshot_that_leaves_processes_has_them_stopped() {
    let mut bench = Bench::new([oneshot()]);
    bench.start_as(WEB, 1);
    bench.executed(WEB);
    assert_eq!(deeds(bench.exited(WEB, Exit::Exited(0))), ["reply 1 Done", "signal all 15"]);
    assert_eq!(deeds(bench.emptied(WEB)), ["remove at stop"]);
}

#[test]
fn a_oneshot_killed_by_sigterm_has_failed_but_a_daemon_has_not() {
    let mut bench = Bench::new([oneshot()]);
    bench.start(WEB);
    bench.executed(WEB);
    bench.dies(WEB, Exit::Killed(15));
    assert_eq!(bench.status(WEB).result, ServiceResult::Signal);

    let mut bench = Bench::running(policy("web"));
    bench.dies(WEB, Exit::Killed(15));
    assert_eq!(bench.status(WEB).result, ServiceResult::Success);
}

#[test]
fn a_forking_service_is_ready_when_its_pid_file_names_a_process() {
    let mut bench = Bench::new([forking()]);
    bench.start_as(WEB, 1);
    assert!(bench.executed(WEB).is_empty());
    assert_eq!(bench.exited(WEB, Exit::Exited(0)), ["watch"]);
    assert_eq!(bench.ready(WEB), ["note Started", "reply 1 Done"]);
    assert_eq!(bench.status(WEB).main_exit, None, "the launcher was not the main process");
    bench.dies(WEB, Exit::Exited(3));
    assert_eq!(bench.status(WEB).main_exit, Some(Exit::Exited(3)));
}

#[test]
fn a_forking_service_that_leaves_nobody_broke_the_protocol() {
    let mut bench = Bench::new([forking()]);
    bench.start_as(WEB, 1);
    bench.executed(WEB);
    bench.exited(WEB, Exit::Exited(0));
    let end = bench.emptied(WEB);
    assert!(end.contains(&"unwatch".to_owned()) && end.contains(&"reply 1 failed Protocol".to_owned()), "{end:?}");
}

#[test]
fn a_forking_service_whose_launcher_fails_has_failed_even_by_sigterm() {
    let mut bench = Bench::new([forking()]);
    bench.start(WEB);
    bench.executed(WEB);
    bench.dies(WEB, Exit::Killed(15));
    assert_eq!(bench.status(WEB).result, ServiceResult::Signal);
}

#[test]
fn commands_after_belong_to_the_start() {
    let mut bench = Bench::new([Policy { start_post: commands(2), ..policy("web") }]);
    bench.start_as(WEB, 1);
    assert_eq!(bench.executed(WEB), ["launch StartPost(0)"]);
    assert_eq!(bench.state(WEB), "activating/start-post");
    assert_eq!(bench.ended(WEB, Role::StartPost(0), Exit::Exited(0)), ["launch StartPost(1)"]);
    assert_eq!(bench.ended(WEB, Role::StartPost(1), Exit::Exited(0)), ["note Started", "reply 1 Done"]);
}

#[test]
fn a_failing_command_after_stops_the_service_without_exec_stop() {
    let mut bench = Bench::new([Policy { start_post: commands(1), stop: commands(1), ..policy("web") }]);
    bench.start_as(WEB, 1);
    bench.executed(WEB);
    let end = deeds(bench.ended(WEB, Role::StartPost(0), Exit::Exited(1)));
    assert_eq!(end, ["signal all 15"]);
    let end = replies(bench.dies(WEB, Exit::Exited(0)));
    assert!(end[0].starts_with("reply 1 failed Command { role: StartPost(0)"), "{end:?}");
}

#[test]
fn a_main_process_that_ends_before_the_command_after_it_does_fails_the_start() {
    let mut bench = Bench::new([Policy { start_post: commands(1), ..policy("web") }]);
    bench.start_as(WEB, 1);
    bench.executed(WEB);
    bench.dies(WEB, Exit::Exited(0));
    assert_eq!(bench.state(WEB), "deactivating/stop-sigterm", "the command has not been reported");
    let end = replies(bench.ended(WEB, Role::StartPost(0), Exit::Killed(9)));
    assert_eq!(end, ["reply 1 failed Main { exit: Exited(0), result: Success }"]);
    assert_eq!(bench.state(WEB), "inactive/dead");
}

#[test]
fn the_start_timeout_covers_everything_up_to_the_last_command() {
    let mut bench = Bench::new([Policy { start_pre: commands(1), start_post: commands(1), ..notify() }]);
    bench.start_as(WEB, 1);
    bench.wait(30 * SECOND);
    bench.emptied(WEB);
    bench.ended(WEB, Role::StartPre(0), Exit::Exited(0));
    assert_eq!(bench.until_deadline(), Some(60 * SECOND));
    bench.executed(WEB);
    bench.ready(WEB);
    assert_eq!(bench.until_deadline(), Some(60 * SECOND));
    assert_eq!(bench.expire(), ["note Ended(StartTimeout)", "signal all 15"]);
    assert_eq!(bench.until_deadline(), Some(90 * SECOND), "then the stop has its own");
    assert_eq!(bench.expire(), ["note Killing", "kill"]);
    bench.ended(WEB, Role::StartPost(0), Exit::Killed(9));
    let end = bench.dies(WEB, Exit::Killed(9));
    assert!(end.contains(&"reply 1 failed StartTimeout".to_owned()), "the first failure is named: {end:?}");
    assert_eq!(bench.status(WEB).result, ServiceResult::Timeout);
    assert_eq!(bench.state(WEB), "activating/auto-restart");
}

#[test]
fn a_launch_that_hangs_is_killed_at_once_when_its_time_is_up() {
    let mut bench = Bench::new([policy("web")]);
    bench.start_as(WEB, 1);
    assert_eq!(bench.expire(), ["note Ended(StartTimeout)", "note Killing", "kill"]);
    bench.emptied(WEB);
    assert_eq!(bench.state(WEB), "deactivating/stop-sigkill", "the launch has not been reported");
    let end = bench.launch_failed(WEB);
    assert!(end.contains(&"reply 1 failed StartTimeout".to_owned()), "{end:?}");
}

#[test]
fn an_infinite_start_timeout_sets_no_deadline() {
    let mut bench = Bench::new([Policy { timeout_start: None, ..notify() }]);
    bench.start(WEB);
    bench.executed(WEB);
    assert_eq!(bench.until_deadline(), None);
}

#[test]
fn an_end_that_is_seen_before_its_exec_is_kept_until_then() {
    let mut bench = Bench::new([policy("web")]);
    bench.start_as(WEB, 1);
    assert!(bench.dies(WEB, Exit::Exited(1)).is_empty());
    let end = bench.executed(WEB);
    assert_eq!(end[..2], ["note Started", "reply 1 Done"], "it was executed");
    assert_eq!(bench.status(WEB).result, ServiceResult::ExitCode);
    assert_eq!(bench.state(WEB), "activating/auto-restart");
}

#[test]
fn empty_may_be_seen_before_the_end_and_the_other_way_round() {
    for empty_first in [true, false] {
        let mut bench = Bench::running(policy("web"));
        if empty_first {
            bench.emptied(WEB);
            assert_eq!(bench.state(WEB), "active/running", "how it ended is not known yet");
            bench.exited(WEB, Exit::Exited(1));
        } else {
            bench.exited(WEB, Exit::Exited(1));
            assert_eq!(bench.state(WEB), "deactivating/stop-sigterm", "down means empty");
            bench.emptied(WEB);
        }
        assert_eq!(bench.state(WEB), "activating/auto-restart");
    }
}

#[test]
fn an_out_of_memory_kill_is_named() {
    let mut bench = Bench::running(policy("web"));
    bench.step(Event::MainExited { id: WEB, exit: Exit::Killed(9), oom: true });
    assert_eq!(bench.status(WEB).result, ServiceResult::OomKill);
}

#[test]
fn an_end_that_nobody_saw_is_not_success() {
    let mut bench = Bench::running(policy("web"));
    bench.dies(WEB, Exit::Unknown);
    assert_eq!(bench.status(WEB).result, ServiceResult::Resources);
    assert_eq!(bench.state(WEB), "activating/auto-restart");
}

#[test]
fn success_exit_status_adds_to_what_is_clean() {
    let mut bench = Bench::running(Policy { success: statuses(&[143]), ..policy("web") });
    bench.dies(WEB, Exit::Exited(143));
    assert_eq!(bench.state(WEB), "inactive/dead");
}

#[test]
fn what_outlives_the_main_process_is_asked_and_then_killed() {
    let mut bench = Bench::running(policy("web"));
    assert_eq!(deeds(bench.exited(WEB, Exit::Exited(1))), ["signal all 15"]);
    assert_eq!(bench.until_deadline(), Some(90 * SECOND));
    assert_eq!(bench.expire(), ["note Killing", "kill"]);
    assert_eq!(bench.status(WEB).result, ServiceResult::ExitCode, "the first failure wins");
    bench.emptied(WEB);
    assert_eq!(bench.state(WEB), "activating/auto-restart");
}

#[test]
fn in_mixed_mode_what_outlives_the_main_process_is_killed() {
    let mut bench = Bench::running(Policy { kill_mode: KillMode::Mixed, ..policy("web") });
    assert_eq!(deeds(bench.exited(WEB, Exit::Exited(0))), ["kill"]);
    bench.emptied(WEB);
    assert_eq!(bench.state(WEB), "inactive/dead");
}

#[test]
fn the_last_cause_stays_visible_while_the_next_run_goes() {
    let mut bench = Bench::running(policy("web"));
    bench.dies(WEB, Exit::Exited(1));
    bench.expire();
    bench.executed(WEB);
    let status = bench.status(WEB);
    assert_eq!(status.result, ServiceResult::Success);
    assert_eq!(status.cause, Some(Cause::Main { exit: Exit::Exited(1), result: ServiceResult::ExitCode }));
    assert_eq!(status.main_exit, Some(Exit::Exited(1)));
    assert_eq!(status.restarts, 1);
}

#[test]
fn what_a_service_says_of_itself_is_shown() {
    let mut bench = Bench::new([notify()]);
    bench.start(WEB);
    bench.executed(WEB);
    bench.ready(WEB);
    assert_eq!(bench.step(Event::StatusText { id: WEB, text: "3 clients".into() }), ["note StatusText"]);
    assert!(bench.step(Event::StatusText { id: WEB, text: "3 clients".into() }).is_empty(), "nothing new");
    assert_eq!(bench.status(WEB).status_text.as_deref(), Some("3 clients"));
    bench.step(Event::Reloading { id: WEB, begun: None });
    assert_eq!(bench.state(WEB), "reloading/reload");
    assert_eq!(bench.ready(WEB), ["note Reloaded(None)"]);
    assert_eq!(bench.state(WEB), "active/running");
    bench.step(Event::Stopping { id: WEB });
    assert_eq!(bench.state(WEB), "deactivating/stop");
    bench.dies(WEB, Exit::Exited(0));
    assert_eq!(bench.state(WEB), "inactive/dead");
}

#[test]
fn since_is_when_the_active_state_began() {
    let mut bench =
        Bench::running(Policy { restart: super::bench::restart_settings(RestartPolicy::No), ..policy("web") });
    let began = bench.now;
    bench.wait(5 * SECOND);
    bench.step(Event::StatusText { id: WEB, text: "busy".into() });
    assert_eq!(bench.status(WEB).since, began);
    bench.dies(WEB, Exit::Exited(1));
    assert_eq!(bench.status(WEB).since, bench.now);
    assert_eq!(bench.state(WEB), "failed/failed");
}

#[test]
fn reports_for_a_service_that_is_down_are_nothing() {
    let mut bench = Bench::new([policy("web")]);
    for event in [
        Event::Executed { id: WEB, role: Role::Main },
        Event::MainExited { id: WEB, exit: Exit::Exited(1), oom: false },
        Event::CgroupEmptied { id: WEB },
        Event::BecameReady { id: WEB },
        Event::Stopping { id: WEB },
        Event::StatusText { id: WEB, text: "late".into() },
        Event::DeadlinePassed,
    ] {
        assert!(bench.step(event).is_empty());
    }
    assert_eq!(bench.state(WEB), "inactive/dead");
    assert_eq!(bench.status(WEB).status_text, None);
}

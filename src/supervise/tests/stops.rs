//! The way down: commands, signals, one budget, the kill, what comes after.

use super::super::stop::KILL_AGAIN_AFTER;
use super::bench::{Bench, SECOND, WEB, commands, deeds, policy, replies};
use crate::supervise::{Action, Event, Exit, Policy, Role, ServiceResult};
use crate::unit::{KillMode, ReadyKind, ServiceType};

#[test]
fn a_stop_signals_everybody_and_is_done_when_the_group_is_empty() {
    let mut bench = Bench::running(policy("web"));
    assert_eq!(bench.stop_as(WEB, 1), ["note Stopping", "signal all 15"], "noted before the first signal");
    assert_eq!(bench.state(WEB), "deactivating/stop-sigterm");
    assert!(bench.status(WEB).stop_requested);
    assert_eq!(bench.exited(WEB, Exit::Killed(15)), ["signal all 15"], "who was born while it went round");
    assert_eq!(bench.emptied(WEB), ["remove at stop", "note Stopped", "reply 1 Done"]);
    assert_eq!(bench.state(WEB), "inactive/dead");
    assert_eq!(bench.until_deadline(), None);
}

#[test]
fn who_is_left_when_the_main_process_has_ended_is_asked_once_more() {
    let mut bench = Bench::running(Policy { stop: commands(1), ..policy("web") });
    bench.stop_as(WEB, 1);
    assert!(deeds(bench.exited(WEB, Exit::Exited(0))).is_empty(), "a command may still see to it");
    assert_eq!(
        deeds(bench.ended(WEB, Role::Stop(0), Exit::Exited(0))),
        ["signal all 15"],
        "asked after the main process"
    );
    bench.wait(SECOND);
    assert_eq!(replies(bench.emptied(WEB)), ["reply 1 Done"]);
    // A crash leaves only those who are asked at once.
    let mut bench = Bench::running(policy("web"));
    assert_eq!(deeds(bench.exited(WEB, Exit::Exited(1))), ["signal all 15"]);
}

#[test]
fn mixed_asks_the_main_process_and_kills_the_rest_after_it() {
    let mut bench = Bench::running(Policy { kill_mode: KillMode::Mixed, ..policy("web") });
    assert_eq!(deeds(bench.stop(WEB)), ["signal main 15"]);
    assert_eq!(bench.exited(WEB, Exit::Exited(0)), ["kill"]);
    bench.emptied(WEB);
    assert_eq!(bench.status(WEB).result, ServiceResult::Success, "that kill is the normal course");
}

#[test]
fn a_stop_always_wins_over_a_restart() {
    let always = super::bench::restart_settings(crate::unit::RestartPolicy::Always);
    let mut bench = Bench::running(Policy { restart: always, ..policy("web") });
    bench.stop(WEB);
    bench.dies(WEB, Exit::Exited(1));
    assert_eq!(bench.state(WEB), "failed/failed", "a failure stays visible");
    assert_eq!(bench.until_deadline(), None);
}

#[test]
fn a_stop_that_comes_while_the_crash_is_cleared_away_prevents_the_restart() {
    let mut bench = Bench::running(policy("web"));
    bench.exited(WEB, Exit::Exited(1));
    assert_eq!(bench.stop_as(WEB, 1), ["note Stopping"], "already on the way down, but the next daemon must know");
    assert_eq!(replies(bench.emptied(WEB)), ["reply 1 Done"]);
    assert_eq!(bench.state(WEB), "failed/failed");
}

#[test]
fn a_service_stopped_during_back_off_stays_stopped() {
    let mut bench = Bench::running(policy("web"));
    bench.dies(WEB, Exit::Exited(1));
    assert_eq!(bench.state(WEB), "activating/auto-restart");
    assert_eq!(bench.stop_as(WEB, 1), ["remove at stop", "note Stopped", "reply 1 Done"]);
    assert_eq!(bench.state(WEB), "inactive/dead");
    assert_eq!(bench.until_deadline(), None);
}

#[test]
fn death_by_the_stop_signal_is_what_was_asked_for() {
    let mut bench = Bench::running(Policy { stop_signal: 3, ..policy("web") });
    bench.stop(WEB);
    bench.dies(WEB, Exit::Killed(3));
    assert_eq!(bench.status(WEB).result, ServiceResult::Success);

    let mut bench = Bench::running(Policy { stop_signal: 3, ..policy("web") });
    bench.dies(WEB, Exit::Killed(3));
    assert_eq!(bench.status(WEB).result, ServiceResult::Signal, "but only in a stop");
}

#[test]
fn one_budget_covers_the_commands_and_the_signal() {
    let mut bench = Bench::running(Policy { stop: commands(2), ..policy("web") });
    assert_eq!(deeds(bench.stop_as(WEB, 1)), ["launch Stop(0)"]);
    assert_eq!(bench.state(WEB), "deactivating/stop");
    bench.wait(40 * SECOND);
    assert_eq!(bench.ended(WEB, Role::Stop(0), Exit::Exited(0)), ["launch Stop(1)"]);
    bench.wait(40 * SECOND);
    assert_eq!(bench.ended(WEB, Role::Stop(1), Exit::Exited(0)), ["signal all 15"]);
    assert_eq!(bench.until_deadline(), Some(10 * SECOND));
    assert_eq!(bench.expire(), ["note Killing", "kill"]);
    assert_eq!(bench.state(WEB), "deactivating/stop-sigkill");
    assert_eq!(replies(bench.dies(WEB, Exit::Killed(9))), ["reply 1 Done"], "it is stopped");
    assert_eq!(bench.status(WEB).result, ServiceResult::Timeout, "if not in order");
}

#[test]
fn a_stop_command_that_hangs_is_killed_with_the_rest_when_the_budget_ends() {
    let mut bench = Bench::running(Policy { stop: commands(1), ..policy("web") });
    bench.stop_as(WEB, 1);
    assert_eq!(bench.expire(), ["note Killing", "kill"]);
    bench.emptied(WEB);
    bench.exited(WEB, Exit::Killed(9));
    assert_eq!(bench.state(WEB), "deactivating/stop-sigkill", "the command's end has not been reported");
    assert_eq!(replies(bench.ended(WEB, Role::Stop(0), Exit::Killed(9))), ["reply 1 Done"]);
}

#[test]
fn a_failing_stop_command_is_a_failure_and_the_signal_follows() {
    let mut bench = Bench::running(Policy { stop: commands(2), ..policy("web") });
    bench.stop(WEB);
    assert_eq!(bench.ended(WEB, Role::Stop(0), Exit::Exited(1)), ["signal all 15"]);
    bench.dies(WEB, Exit::Exited(0));
    assert_eq!(bench.status(WEB).result, ServiceResult::ExitCode);
}

#[test]
fn stop_commands_that_cannot_join_any_more_are_not_run() {
    let mut bench = Bench::running(Policy { stop: commands(2), ..policy("web") });
    bench.stop(WEB);
    bench.exited(WEB, Exit::Exited(0));
    let end = bench.ended(WEB, Role::Stop(0), Exit::Exited(0));
    assert_eq!(end, ["signal all 15"], "the second has no container to join; what is left is asked to go");

    let mut bench = Bench::running(Policy { stop: commands(1), ..policy("web") });
    assert_eq!(deeds(bench.exited(WEB, Exit::Exited(1))), ["signal all 15"], "nor after a crash");
}

#[test]
fn a_stop_during_the_launch_kills_at_once_and_is_no_failure() {
    for executed in [true, false] {
        let mut bench = Bench::new([policy("web")]);
        bench.start_as(WEB, 1);
        assert_eq!(bench.stop_as(WEB, 2), ["reply 1 Cancelled", "note Stopping", "kill"]);
        bench.emptied(WEB);
        let end = if executed {
            bench.executed(WEB);
            bench.exited(WEB, Exit::Killed(9))
        } else {
            bench.launch_failed(WEB)
        };
        assert_eq!(end, ["remove at stop", "note Stopped", "reply 2 Done"]);
        assert_eq!(bench.state(WEB), "inactive/dead");
    }
}

#[test]
fn a_stop_during_a_command_before_signals_it_and_skips_exec_stop() {
    for (kill_mode, deed) in [(KillMode::ControlGroup, "signal all 15"), (KillMode::Mixed, "signal control 15")] {
        let policy = Policy { kill_mode, start_pre: commands(1), stop: commands(1), ..policy("web") };
        let mut bench = Bench::new([policy]);
        bench.start(WEB);
        assert_eq!(deeds(bench.stop_as(WEB, 1)), [deed]);
        bench.emptied(WEB);
        assert_eq!(replies(bench.ended(WEB, Role::StartPre(0), Exit::Killed(15))), ["reply 1 Done"]);
        assert_eq!(bench.state(WEB), "inactive/dead");
    }
}

#[test]
fn a_stop_before_readiness_skips_exec_stop() {
    let notify = Policy { kind: ServiceType::Notify, ready: ReadyKind::Notify, stop: commands(1), ..policy("web") };
    let mut bench = Bench::running(notify);
    assert_eq!(deeds(bench.stop(WEB)), ["signal all 15"]);
}

#[test]
fn stop_post_runs_after_all_is_gone_with_a_budget_of_its_own() {
    let mut bench = Bench::running(Policy { stop_post: commands(2), ..policy("web") });
    bench.stop_as(WEB, 1);
    bench.wait(80 * SECOND);
    assert_eq!(bench.dies(WEB, Exit::Exited(0)), ["signal all 15", "launch StopPost(0)"]);
    assert_eq!(bench.state(WEB), "deactivating/stop-post");
    assert_eq!(bench.until_deadline(), Some(90 * SECOND));
    assert_eq!(bench.ended(WEB, Role::StopPost(0), Exit::Exited(0)), ["kill"]);
    assert_eq!(bench.state(WEB), "deactivating/final-sigkill");
    assert_eq!(bench.emptied(WEB), ["launch StopPost(1)"]);
    bench.emptied(WEB);
    let end = bench.ended(WEB, Role::StopPost(1), Exit::Exited(0));
    assert_eq!(end, ["remove at stop", "note Stopped", "reply 1 Done"]);
}

#[test]
fn stop_post_is_told_how_the_run_ended() {
    let mut bench = Bench::running(Policy { stop_post: commands(1), ..policy("web") });
    bench.exited(WEB, Exit::Dumped(11));
    let actions = bench.supervisor.step(bench.now, Event::CgroupEmptied { id: WEB });
    let expected = Action::Launch {
        id: WEB,
        role: Role::StopPost(0),
        result: ServiceResult::CoreDump,
        main_exit: Some(Exit::Dumped(11)),
    };
    assert_eq!(actions, [expected]);
}

#[test]
fn a_failing_stop_post_ends_the_commands_and_is_restarted_like_any_failure() {
    let mut bench = Bench::running(Policy { stop_post: commands(2), ..policy("web") });
    bench.dies(WEB, Exit::Exited(0));
    bench.emptied(WEB);
    bench.ended(WEB, Role::StopPost(0), Exit::Exited(1));
    assert_eq!(bench.state(WEB), "activating/auto-restart");
    assert_eq!(bench.status(WEB).result, ServiceResult::ExitCode);
}

#[test]
fn a_stop_post_that_hangs_is_killed_when_its_budget_ends() {
    let mut bench = Bench::running(Policy { stop_post: commands(2), ..policy("web") });
    bench.stop_as(WEB, 1);
    bench.dies(WEB, Exit::Exited(0));
    assert_eq!(bench.expire(), ["note Killing", "kill"]);
    bench.ended(WEB, Role::StopPost(0), Exit::Killed(9));
    let end = bench.emptied(WEB);
    assert_eq!(replies(end), ["reply 1 Done"], "the second is not run");
    assert_eq!(bench.status(WEB).result, ServiceResult::Timeout);
}

#[test]
fn a_group_that_does_not_empty_is_killed_again_and_nothing_is_launched_beside_it() {
    let mut bench = Bench::running(policy("web"));
    bench.stop(WEB);
    bench.expire();
    for _ in 0..5 {
        assert_eq!(bench.until_deadline(), Some(KILL_AGAIN_AFTER));
        assert_eq!(bench.expire(), ["kill"]);
        assert!(bench.start(WEB).is_empty());
    }
    let end = deeds(bench.dies(WEB, Exit::Killed(9)));
    assert_eq!(end, ["remove after run", "launch Main"]);
}

#[test]
fn an_infinite_stop_timeout_waits_for_ever() {
    let mut bench = Bench::running(Policy { timeout_stop: None, ..policy("web") });
    bench.stop(WEB);
    assert_eq!(bench.until_deadline(), None);
}

#[test]
fn an_old_out_of_memory_kill_does_not_spoil_an_orderly_stop() {
    let mut bench = Bench::running(policy("web"));
    bench.stop(WEB);
    bench.step(Event::MainExited { id: WEB, exit: Exit::Exited(0), oom: true });
    bench.emptied(WEB);
    assert_eq!(bench.state(WEB), "inactive/dead");
}

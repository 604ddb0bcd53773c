//! `[hooks]`: which runs when, and that nothing depends on how it ends.

use super::super::stop::KILL_AGAIN_AFTER;
use super::bench::{
    Bench, SECOND, WEB, adopted, commands, deeds, launch_failure, policy, replies, restart_settings, running_since,
};
use crate::supervise::{
    Action, Adopted, Cause, CommandOutcome, Event, Exit, HealthPolicy, Policy, Rest, Role, ServiceResult, StopStep,
    Word,
};
use crate::unit::{HealthAction, Hook, ReadyKind, RestartPolicy, RestartSettings, ServiceType};

const FINE: Exit = Exit::Exited(0);
const BAD: Exit = Exit::Exited(1);

fn hooked() -> Policy {
    Policy { hooks: Hook::ALL.to_vec(), ..policy("web") }
}

fn restarting(word: RestartPolicy) -> Policy {
    Policy { restart: restart_settings(word), ..hooked() }
}

/// Ends the hook that was launched last, whatever it was, and all that it left; says what is launched next.
fn end(bench: &mut Bench, hook: Hook, exit: Exit) -> Vec<String> {
    let mut lines = bench.ended(WEB, Role::Hook(hook), exit);
    lines.extend(bench.emptied(WEB));
    lines
}

/// Ends every hook well and lists them.
fn hooks_that_run(bench: &mut Bench, mut lines: Vec<String>) -> Vec<Hook> {
    let mut seen = Vec::new();
    while let Some(hook) = Hook::ALL.into_iter().find(|hook| lines.contains(&format!("launch Hook({hook:?})"))) {
        seen.push(hook);
        lines = end(bench, hook, FINE);
    }
    seen
}

#[test]
fn each_end_has_its_hooks() {
    use Hook::{Exit as OnExit, GiveUp, Restart};
    type Ending = fn(&mut Bench) -> Vec<String>;
    let table: [(&str, RestartPolicy, Ending, &[Hook], &str); 11] = [
        ("a good end", RestartPolicy::OnFailure, |b| b.dies(WEB, FINE), &[OnExit], "inactive/dead"),
        ("a failure", RestartPolicy::OnFailure, |b| b.dies(WEB, BAD), &[OnExit, Restart], "activating/auto-restart"),
        ("a good end", RestartPolicy::Always, |b| b.dies(WEB, FINE), &[OnExit, Restart], "activating/auto-restart"),
        ("a failure", RestartPolicy::No, |b| b.dies(WEB, BAD), &[OnExit, GiveUp], "failed/failed"),
        ("a good end", RestartPolicy::No, |b| b.dies(WEB, FINE), &[OnExit], "inactive/dead"),
        (
            "a stop",
            RestartPolicy::Always,
            |b| {
                b.stop(WEB);
                b.dies(WEB, Exit::Killed(15))
            },
            &[OnExit],
            "inactive/dead",
        ),
        (
            "a stop that ends badly",
            RestartPolicy::Always,
            |b| {
                b.stop(WEB);
                b.dies(WEB, Exit::Dumped(11))
            },
            &[OnExit, GiveUp],
            "failed/failed",
        ),
        (
            "rsvc restart",
            RestartPolicy::Always,
            |b| {
                b.restart_as(WEB, 1);
                b.dies(WEB, Exit::Killed(15))
            },
            &[OnExit],
            "activating/start",
        ),
        (
            "rsvc restart of what ends badly",
            RestartPolicy::No,
            |b| {
                b.restart_as(WEB, 1);
                b.dies(WEB, BAD)
            },
            &[OnExit],
            "activating/start",
        ),
        (
            "a start while it goes down",
            RestartPolicy::No,
            |b| {
                b.exited(WEB, BAD);
                b.start(WEB);
                b.emptied(WEB)
            },
            &[OnExit],
            "activating/start",
        ),
        (
            "the watchdog",
            RestartPolicy::OnFailure,
            |b| {
                b.step(Event::Said { id: WEB, word: Word::Trigger });
                b.dies(WEB, Exit::Dumped(6))
            },
            &[OnExit, Restart],
            "activating/auto-restart",
        ),
    ];
    for (what, word, ending, hooks, then) in table {
        let mut bench = Bench::running(restarting(word));
        let lines = ending(&mut bench);
        assert_eq!(hooks_that_run(&mut bench, lines), hooks, "{what}, {word:?}");
        assert_eq!(bench.state(WEB), then, "{what}, {word:?}");
    }
}

#[test]
fn a_start_that_fails_has_its_hooks_too() {
    let mut bench = Bench::new([restarting(RestartPolicy::No)]);
    bench.start_as(WEB, 1);
    bench.launch_failed(WEB);
    assert_eq!(deeds(bench.emptied(WEB)), ["launch Hook(Exit)"]);
    assert_eq!(bench.state(WEB), "deactivating/on-exit");
    assert_eq!(deeds(end(&mut bench, Hook::Exit, FINE)), ["kill", "launch Hook(GiveUp)"]);
    assert_eq!(bench.state(WEB), "deactivating/on-give-up");
    let end = deeds(end(&mut bench, Hook::GiveUp, FINE));
    assert_eq!(
        end[..2],
        [
            "kill",
            "reply 1 failed Launch(LaunchFailure { step: \"EXEC\", code: 203, message: \"exec /bin/nothing: no such file (ENOENT)\" })"
        ]
    );
    assert_eq!(bench.state(WEB), "failed/failed");
}

#[test]
fn no_on_exit_without_a_launch_of_the_program() {
    let mut bench = Bench::new([Policy { start_pre: commands(1), ..restarting(RestartPolicy::No) }]);
    bench.start(WEB);
    bench.ended(WEB, Role::StartPre(0), BAD);
    let lines = bench.emptied(WEB);
    assert_eq!(hooks_that_run(&mut bench, lines), [Hook::GiveUp]);
}

#[test]
fn hooks_come_after_exec_stop_post_and_its_failure_counts() {
    let mut bench = Bench::running(Policy { stop_post: commands(1), ..restarting(RestartPolicy::No) });
    assert_eq!(deeds(bench.dies(WEB, FINE)), ["signal all 15", "launch StopPost(0)"]);
    bench.ended(WEB, Role::StopPost(0), BAD);
    let lines = bench.emptied(WEB);
    assert_eq!(hooks_that_run(&mut bench, lines), [Hook::Exit, Hook::GiveUp]);
}

#[test]
fn the_limit_of_restarts_is_told_as_the_result() {
    let restart = RestartSettings { limit_burst: 1, ..restart_settings(RestartPolicy::OnFailure) };
    let mut bench = Bench::running(Policy { restart, ..hooked() });
    let lines = bench.dies(WEB, BAD);
    assert_eq!(hooks_that_run(&mut bench, lines), [Hook::Exit, Hook::Restart]);
    bench.expire();
    bench.executed(WEB);
    bench.dies(WEB, BAD);
    bench.ended(WEB, Role::Hook(Hook::Exit), FINE);
    let actions = bench.supervisor.step(bench.now, Event::CgroupEmptied { id: WEB });
    let expected = Action::Launch {
        id: WEB,
        role: Role::Hook(Hook::GiveUp),
        result: ServiceResult::StartLimitHit,
        main_exit: Some(BAD),
    };
    assert_eq!(actions, [expected]);
    let told = bench.status(WEB).hook.unwrap();
    assert_eq!((told.cause, told.restarts, told.next_start), (Some(Cause::StartLimit), 1, None));
    assert_eq!(bench.status(WEB).result, ServiceResult::ExitCode, "the run's own until it is left");
    end(&mut bench, Hook::GiveUp, FINE);
    assert_eq!(bench.status(WEB).result, ServiceResult::StartLimitHit);
}

#[test]
fn the_wait_counts_from_the_end_of_the_run_and_is_told() {
    let mut bench = Bench::running(hooked());
    let begin = bench.now;
    bench.dies(WEB, BAD);
    let told = bench.status(WEB).hook.unwrap();
    assert_eq!((told.hook, told.restarts, told.next_start), (Hook::Exit, 0, None));
    bench.wait(SECOND / 2);
    end(&mut bench, Hook::Exit, FINE);
    let told = bench.status(WEB).hook.unwrap();
    let at = told.next_start.unwrap();
    assert!(at.since(begin) >= SECOND && at.since(begin) < SECOND * 11 / 10, "a second and its jitter: {at:?}");
    assert_eq!((told.hook, told.restarts), (Hook::Restart, 1));
    assert_eq!(bench.status(WEB).restarts, 0, "until the run is left");
    end(&mut bench, Hook::Restart, FINE);
    assert_eq!((bench.status(WEB).next_restart_at, bench.status(WEB).restarts), (Some(at), 1));
}

#[test]
fn a_hook_that_takes_longer_than_the_wait_delays_the_start_until_the_group_is_empty() {
    let mut bench = Bench::running(Policy { hooks: vec![Hook::Restart], ..policy("web") });
    assert_eq!(deeds(bench.dies(WEB, BAD)), ["signal all 15", "launch Hook(Restart)"]);
    bench.wait(10 * SECOND);
    assert!(bench.step(Event::DeadlinePassed).is_empty());
    assert_eq!(bench.ended(WEB, Role::Hook(Hook::Restart), FINE), ["kill"]);
    assert_eq!(bench.state(WEB), "deactivating/final-sigkill");
    assert_eq!(deeds(bench.emptied(WEB)), ["remove after run", "launch Main"]);
}

#[test]
fn a_stop_during_a_hook_waits_for_it_and_no_restart_follows() {
    for hook in [Hook::Exit, Hook::Restart] {
        let mut bench = Bench::running(Policy { hooks: vec![hook], ..policy("web") });
        bench.dies(WEB, BAD);
        assert_eq!(bench.stop_as(WEB, 1), ["note Stopping"], "noted, so that the next daemon knows");
        let status = bench.status(WEB);
        assert!(status.stop_requested);
        assert_eq!(status.stop_step, Some(StopStep::Command(Role::Hook(hook))));
        let end = end(&mut bench, hook, FINE);
        assert_eq!(replies(end), ["reply 1 Done"]);
        assert_eq!(bench.state(WEB), "failed/failed");
        assert_eq!(bench.until_deadline(), None, "no restart");
    }
}

#[test]
fn a_stop_during_on_exit_leaves_no_turn_to_on_restart() {
    let mut bench = Bench::running(hooked());
    bench.dies(WEB, BAD);
    bench.stop(WEB);
    let end = end(&mut bench, Hook::Exit, FINE);
    assert!(!end.iter().any(|line| line.contains("launch")), "{end:?}");
}

#[test]
fn a_start_during_a_hook_follows_it_and_nothing_is_given_up() {
    let mut bench = Bench::running(restarting(RestartPolicy::No));
    bench.dies(WEB, BAD);
    assert!(bench.start_as(WEB, 1).is_empty());
    assert_eq!(deeds(end(&mut bench, Hook::Exit, FINE)), ["kill", "remove after run", "launch Main"]);
    assert_eq!(replies(bench.executed(WEB)), ["reply 1 Done"]);
    assert_eq!(bench.status(WEB).restarts, 0);
}

#[test]
fn a_hook_that_fails_changes_neither_result_nor_decision_and_is_shown() {
    let mut bench = Bench::running(hooked());
    bench.dies(WEB, BAD);
    let end_of_first = end(&mut bench, Hook::Exit, Exit::Killed(11));
    assert!(end_of_first[0].starts_with("note HookFailed("), "{end_of_first:?}");
    let failure = CommandOutcome::NotLaunched(launch_failure().into());
    bench.step(Event::CommandEnded { id: WEB, role: Role::Hook(Hook::Restart), outcome: failure });
    bench.emptied(WEB);
    let status = bench.status(WEB);
    assert_eq!(bench.state(WEB), "activating/auto-restart");
    assert_eq!(status.cause, Some(Cause::Main { exit: BAD, result: ServiceResult::ExitCode }));
    let first = CommandOutcome::Exited(Exit::Killed(11));
    assert_eq!(status.hook_failure, Some(Cause::Command { role: Role::Hook(Hook::Exit), outcome: first }));
    bench.expire();
    bench.executed(WEB);
    assert!(bench.status(WEB).hook_failure.is_some(), "of the last run that ended");
    let lines = bench.dies(WEB, BAD);
    hooks_that_run(&mut bench, lines);
    assert_eq!(bench.status(WEB).hook_failure, None);
}

#[test]
fn a_hook_that_hangs_is_killed_with_all_that_it_left_and_again_until_nothing_is_there() {
    let mut bench = Bench::running(Policy { hooks: vec![Hook::Restart], ..policy("web") });
    bench.dies(WEB, BAD);
    assert_eq!(bench.until_deadline(), Some(30 * SECOND));
    assert_eq!(bench.status(WEB).step_ends_at, Some(bench.now.after(30 * SECOND)));
    assert_eq!(bench.expire(), ["note HookFailed(HookTimeout { hook: Restart })", "kill"]);
    for _ in 0..3 {
        assert_eq!(bench.until_deadline(), Some(KILL_AGAIN_AFTER));
        assert_eq!(bench.expire(), ["kill"]);
    }
    bench.ended(WEB, Role::Hook(Hook::Restart), Exit::Killed(9));
    assert_eq!(deeds(bench.emptied(WEB)), ["remove after run", "launch Main"], "the wait is long over");
    assert_eq!(bench.status(WEB).hook_failure, Some(Cause::HookTimeout { hook: Hook::Restart }));
}

#[test]
fn the_time_of_a_launch_that_waits_for_its_turn_does_not_pass() {
    let mut bench = Bench::running(Policy { hooks: vec![Hook::Restart], ..policy("web") });
    bench.dies(WEB, BAD);
    bench.wait(10 * SECOND);
    bench.step(Event::LaunchWaits { id: WEB });
    assert_eq!(bench.until_deadline(), None);
    bench.wait(1000 * SECOND);
    assert_eq!(bench.step(Event::DeadlinePassed), [""; 0]);
    bench.step(Event::LaunchBegins { id: WEB });
    assert_eq!(bench.until_deadline(), Some(20 * SECOND), "what was left of the time");
    assert_eq!(bench.expire(), ["note HookFailed(HookTimeout { hook: Restart })", "kill"]);
}

#[test]
fn of_a_stop_all_time_counts_and_what_is_held_does_not_come_back() {
    let commands = Policy { timeout_stop: Some(5 * SECOND), ..policy("web") };
    let mut bench = Bench::running(commands);
    bench.step(Event::LaunchWaits { id: WEB });
    bench.stop(WEB);
    assert_eq!(bench.until_deadline(), Some(5 * SECOND));
    bench.step(Event::LaunchBegins { id: WEB });
    bench.step(Event::LaunchWaits { id: WEB });
    assert_eq!(bench.until_deadline(), Some(5 * SECOND));
}

#[test]
fn an_unhealthy_service_is_restarted_with_on_restart_and_stopped_with_on_give_up() {
    for (action, hook) in [(HealthAction::Restart, Hook::Restart), (HealthAction::Stop, Hook::GiveUp)] {
        let health = HealthPolicy {
            interval: SECOND,
            timeout: SECOND,
            retries: 1,
            start_period: std::time::Duration::ZERO,
            action,
        };
        let mut bench = Bench::running(Policy { health: Some(health), ..restarting(RestartPolicy::No) });
        bench.expire();
        bench.step(Event::Checked { id: WEB, number: 1, failure: Some("ill".into()) });
        let lines = bench.dies(WEB, Exit::Killed(15));
        assert_eq!(hooks_that_run(&mut bench, lines), [Hook::Exit, hook], "{action:?}");
    }
}

#[test]
fn a_job_of_the_clock_that_failed_is_given_up_for_this_time() {
    let job = Policy {
        kind: ServiceType::Oneshot,
        ready: ReadyKind::Exited,
        timers: true,
        on_demand: true,
        ..restarting(RestartPolicy::No)
    };
    let mut bench = Bench::new([job]);
    bench.start(WEB);
    bench.step(Event::SocketsOpened { id: WEB });
    bench.step(Event::Activated { id: WEB });
    bench.executed(WEB);
    let lines = bench.dies(WEB, BAD);
    assert_eq!(hooks_that_run(&mut bench, lines), [Hook::Exit, Hook::GiveUp]);
    bench.step(Event::SocketsOpened { id: WEB });
    assert_eq!(bench.state(WEB), "active/waiting");
}

#[test]
fn what_falls_with_another_unit_is_not_given_up() {
    let bound = Policy { binds_to: vec!["base".into()], after: vec!["base".into()], ..restarting(RestartPolicy::No) };
    let base = crate::supervise::ServiceId(2);
    let mut bench = Bench::new([bound, policy("base")]);
    bench.start(WEB);
    bench.executed(base);
    bench.executed(WEB);
    bench.dies(base, FINE);
    let lines = bench.dies(WEB, BAD);
    assert_eq!(hooks_that_run(&mut bench, lines), [Hook::Exit]);
    assert!(bench.status(WEB).wanted);
}

#[test]
fn a_start_that_is_refused_runs_nothing() {
    let mut bench = Bench::new([Policy { requisite: vec!["base".into()], ..hooked() }, policy("base")]);
    let lines = bench.start_as(WEB, 1);
    assert!(!lines.iter().any(|line| line.contains("launch")), "{lines:?}");
    assert_eq!(bench.state(WEB), "failed/failed");
}

#[test]
fn a_run_that_was_taken_over_has_its_hooks() {
    let mut bench = Bench::new([hooked()]);
    let since = bench.now;
    bench.adopt(adopted(WEB, Adopted { restarts: 3, ..running_since(since) }));
    bench.dies(WEB, Exit::Unknown);
    assert_eq!(bench.status(WEB).hook.unwrap().restarts, 3);
    end(&mut bench, Hook::Exit, FINE);
    assert_eq!(bench.status(WEB).hook.unwrap().restarts, 4);
}

#[test]
fn the_end_of_a_run_that_was_taken_over_is_judged_again_once_nothing_is_left() {
    let end = Rest {
        restarts: 2,
        until: None,
        result: ServiceResult::ExitCode,
        cause: Some(Cause::Main { exit: BAD, result: ServiceResult::ExitCode }),
        main_exit: Some(BAD),
        hook_failure: None,
        wanted: false,
        upheld: false,
        launched: false,
        restart_times: Vec::new(),
    };
    for (stopping, hooks, then) in [
        (false, &[Hook::Exit, Hook::Restart][..], "activating/auto-restart"),
        (true, &[Hook::Exit, Hook::GiveUp], "failed/failed"),
    ] {
        let mut bench = Bench::new([Policy { stop_post: commands(1), ..hooked() }]);
        let adopted = Event::AdoptedAtEnd { id: WEB, stopping, end: end.clone() };
        assert_eq!(bench.adopt(adopted), ["note Adopted", "kill"]);
        assert_eq!(bench.emptied(WEB), ["launch StopPost(0)"]);
        bench.ended(WEB, Role::StopPost(0), FINE);
        let lines = bench.emptied(WEB);
        assert_eq!(hooks_that_run(&mut bench, lines), hooks);
        assert_eq!(bench.state(WEB), then);
        assert_eq!(bench.status(WEB).restarts, if stopping { 2 } else { 3 });
    }
}

#[test]
fn reset_failed_during_a_hook_forgets_the_count_and_keeps_the_date() {
    let mut bench = Bench::running(hooked());
    bench.dies(WEB, BAD);
    end(&mut bench, Hook::Exit, FINE);
    let at = bench.status(WEB).hook.unwrap().next_start;
    bench.step(Event::ResetFailedRequested { id: WEB, request: None });
    end(&mut bench, Hook::Restart, FINE);
    assert_eq!((bench.status(WEB).restarts, bench.status(WEB).next_restart_at), (0, at));
}

#[test]
fn a_failed_hook_is_remembered() {
    let mut bench = Bench::new([hooked()]);
    let rest = Rest {
        restarts: 0,
        until: None,
        result: ServiceResult::ExitCode,
        cause: Some(Cause::StartTimeout),
        main_exit: None,
        hook_failure: Some(Cause::HookTimeout { hook: Hook::GiveUp }),
        wanted: false,
        upheld: false,
        launched: false,
        restart_times: Vec::new(),
    };
    bench.step(Event::Remembered { id: WEB, rest });
    assert_eq!(bench.status(WEB).hook_failure, Some(Cause::HookTimeout { hook: Hook::GiveUp }));
}

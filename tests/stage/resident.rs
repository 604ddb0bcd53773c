//! The resident init: records, signals, its own defence.

use crate::harness::*;
use rsvc::plan::wire::ExitRecord;
use rsvc::plan::{CapabilitySet, Step};
use rsvc::sys::RESIDENT_INIT;
use std::os::fd::AsFd;

/// Record number `index` of the file.
fn record(outcome: &Outcome, index: usize) -> Option<ExitRecord> {
    ExitRecord::from_bytes(&outcome.record.0[index * ExitRecord::SIZE..(index + 1) * ExitRecord::SIZE])
}

#[test]
fn it_is_tiny_and_a_static_program() {
    // Two pages of one memfd, which all inits, keepers and answerers of an instance share.
    assert!(RESIDENT_INIT.len() <= 8192, "{} bytes", RESIDENT_INIT.len());
    assert!(RESIDENT_INIT.starts_with(b"\x7fELF"));
}

#[test]
fn an_exit_status_is_in_the_record_the_pipe_and_its_own_status() {
    let Some(outcome) = Draft::shell("exit 42").run() else { return };
    assert_eq!(outcome.end, (1, 42));
    let main = record(&outcome, 0).unwrap();
    assert_eq!((main.pid, main.code, main.status, main.sequence), (2, 1, 42, 1));
    assert_eq!(outcome.exits, [main]);
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let age = (now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64) - main.boottime;
    assert!(age < 60_000_000_000, "{age} ns");
    assert_eq!(record(&outcome, 1), None);
}

#[test]
fn death_by_a_signal_is_exact_in_the_record_and_128_more_in_the_status() {
    let Some(outcome) = Draft::shell("ulimit -c 0; kill -SEGV $$").run() else { return };
    assert_eq!(outcome.end, (1, 128 + 11));
    let main = record(&outcome, 0).unwrap();
    assert_eq!((main.code, main.status), (2, 11));
}

#[test]
fn orphans_are_reaped_and_the_container_lasts_until_the_last() {
    // Two orphans end after the main process, one after the other: each waits until another was reaped.
    let script = "while kill -0 $$ 2>&-; do sleep 0.02; done; exit 5";
    let script = format!("({script}) & (while kill -0 $! 2>&-; do sleep 0.02; done; exit 6) & exit 1");
    let Some(outcome) = Draft::shell(&script).run() else { return };
    assert_eq!(outcome.end, (1, 1));
    let statuses: Vec<_> = outcome.exits.iter().map(|exit| exit.status).collect();
    assert_eq!(statuses, [1, 5, 6]);
    assert_eq!(record(&outcome, 0).unwrap().status, 1);
    assert_eq!(record(&outcome, 1).unwrap().status, 5);
    assert_eq!(record(&outcome, 2).unwrap().status, 6);
}

#[test]
fn the_ring_keeps_the_main_record_and_the_newest_others() {
    // Each inner shell leaves an orphan that ends after its parent: 130 of them, three more than the ring holds.
    // The main process ends when only it and init are left.
    let script = "i=0; while [ $i -lt 130 ]; do sh -c '(sleep 0.05; exit 9) &'; i=$((i+1)); done
        alone() { set -- /proc/[0-9]*; [ $# -le 2 ]; }
        until alone; do read -t 0.05 _ </dev/null; done; exit 8";
    let Some(outcome) = Draft::shell(script).run() else { return };
    assert_eq!(outcome.end, (1, 8));
    assert_eq!(outcome.exits.len(), 131);
    assert_eq!(record(&outcome, 0).unwrap().status, 8);
    let mut sequences: Vec<_> = (1..128).map(|index| record(&outcome, index).unwrap().sequence).collect();
    sequences.sort_unstable();
    assert_eq!(sequences, (4..=130).collect::<Vec<u64>>());
}

#[test]
fn signals_from_outside_reach_the_main_process_and_those_from_inside_do_not() {
    // Ready when init has taken the inside signal: an outside one of the same number would be merged with it.
    let script = "trap 'echo got TERM; exit 9' TERM; trap 'echo got USR1' USR1
        kill -USR1 1; kill -KILL 1; kill -STOP 1
        while grep -Eq '^(Sig|Shd)Pnd:.*[1-9a-f]' /proc/1/status; do sleep 0.02; done
        echo ready; while :; do sleep 0.05; done";
    let Some(running) = Draft::shell(script).start() else { return };
    running.wait_for("ready");
    running.signal(10);
    running.wait_for("got USR1\n");
    running.signal(15);
    let outcome = running.finish();
    assert_eq!((outcome.output.as_str(), outcome.end), ("got TERM\n", (1, 9)));
}

#[test]
fn a_signal_that_comes_during_set_up_is_not_lost() {
    // Blocked from before the fork, it waits for init; the shell dies of it by default.
    for _ in 0..5 {
        let Some(running) = Draft::shell("echo ready; exec sleep 60").start() else { return };
        running.wait_for("ready");
        running.signal(15);
        let outcome = running.finish();
        assert_eq!(outcome.end, (1, 128 + 15));
    }
}

#[test]
fn the_payload_can_look_into_pid_1_no_more_than_it_must() {
    let script =
        "for f in mem environ maps fd/5 exe root auxv; do head -c1 /proc/1/$f >/dev/null 2>&1 && echo open $f; done
        echo 'x' >/proc/1/oom_score_adj 2>/dev/null && echo oom
        grep -E '^Cap(Prm|Eff|Inh|Amb)' /proc/1/status";
    // What a root service of the standard profile has: no CAP_SYS_PTRACE, CAP_SYS_ADMIN or CAP_SYS_RESOURCE.
    let keep = CapabilitySet(0b1111_1111 & !0b100 | 1 << 10);
    let Some(outcome) = Draft::shell(script).then([Step::DropBoundingSet { keep }]).run() else { return };
    let output = &outcome.output;
    assert!(!output.contains("open "), "{output}");
    for (set, value) in [("Inh", 0), ("Prm", 0x20), ("Eff", 0x20), ("Amb", 0)] {
        assert!(output.contains(&format!("Cap{set}:\t{value:016x}\n")), "{output}");
    }
}

#[test]
fn a_payload_cannot_suppress_its_record_by_limits() {
    // No file may be written by PID 1 any more: the record is a store into a mapping.
    let script = "prlimit --pid 1 --fsize=0 || echo unlimited; exit 6";
    let Some(outcome) = Draft::shell(script).run() else { return };
    if outcome.output.contains("not found") {
        skipped!("there is no prlimit command");
        return;
    }
    assert_eq!(record(&outcome, 0).unwrap().status, 6);
}

#[test]
fn it_costs_a_few_pages() {
    if !is_root() {
        skipped!("the memory of a process that is not dumpable is shown to root only");
        return;
    }
    let Some(running) = Draft::shell("echo ready; exec sleep 60").start() else { return };
    running.wait_for("ready");
    let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", running.pid)).unwrap();
    running.signal(9);
    running.finish();
    let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap();
    let kilobytes: u32 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    // Of its pages those of the image are counted by how many inits run at the moment: less than all of them, beside others.
    assert!(kilobytes <= 24, "{line}");
}

#[test]
fn with_a_group_kill_on_memory_it_asks_to_be_spared() {
    let mut draft = Draft::shell("cat /proc/1/oom_score_adj /proc/self/oom_score_adj");
    draft.oom_group = true;
    let Some(outcome) = draft.run() else { return };
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let scores: Vec<_> = outcome.success().split_whitespace().collect();
    // Without CAP_SYS_RESOURCE the wish is refused and nothing is said.
    assert!(scores[0] == "-1000" || scores[0] == own.trim(), "{scores:?}");
    assert_eq!(scores[1], own.trim());
}

#[test]
fn nobody_reading_the_exits_is_no_problem() {
    let Some(running) = Draft::shell("(exit 3) & wait; sleep 0.2; exit 2").start() else { return };
    let Running { pid, pidfd, report, output, exits, record } = running;
    drop(exits);
    let (exits, _) = rsvc::sys::fd::pipe(rsvc::sys::fd::NonBlocking::Read).unwrap();
    let outcome = Running { pid, pidfd, report, output, exits, record }.finish();
    assert_eq!(outcome.end, (1, 2));
    assert!(outcome.exits.is_empty());
    assert!(outcome.record.0.len() == 4096);
}

#[test]
fn its_pidfd_gives_the_status_even_to_who_is_not_its_parent() {
    let Some(running) = Draft::shell("exit 11").start() else { return };
    let copy = rsvc::sys::fd::duplicate(running.pidfd.as_fd(), 3).unwrap();
    running.finish();
    match rsvc::sys::process::pidfd_exit_status(copy.as_fd()) {
        Ok(status) => assert_eq!(status, Some(11 << 8)),
        Err(error) => skipped!("no PIDFD_GET_INFO here: {error}"),
    }
}

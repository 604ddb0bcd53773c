//! The page of a unit, line by line.

use super::*;
use crate::control::ProcessLine;

fn now() -> SystemTime {
    time::parse("2026-11-21T22:10:00Z").expect("a time")
}

fn running() -> UnitStatus {
    UnitStatus {
        v: 1,
        name: "web".into(),
        description: Some("nginx web server".into()),
        file: Some("/etc/rsvc/units/web.toml".into()),
        load_state: "loaded".into(),
        enabled: true,
        state: "active".into(),
        substate: "running".into(),
        result: "success".into(),
        since: Some("2026-11-21T22:00:00.123456Z".into()),
        ready: Some("listen".into()),
        status_text: Some("serving".into()),
        main_pid: Some(1234),
        main_pid_inner: Some(2),
        restarts: 2,
        cgroup: Some("/rsvc/web".into()),
        profile: Some("strict".into()),
        degraded: vec!["resources.memory_high: only cgroup v2 has it".into()],
        counters: GroupCounters {
            memory_current: Some(12_900_000),
            memory_peak: Some(20 << 20),
            memory_max: Some(512 << 20),
            cpu_usage_usec: Some(1_204_000),
            tasks_current: Some(3),
            tasks_max: Some(128),
            memory_events_max: Some(4),
            ..GroupCounters::default()
        },
        processes: vec![
            ProcessLine { pid: 1233, parent: 1, command: "[rsvc-init]".into() },
            ProcessLine { pid: 1234, parent: 1233, command: "nginx: master process /usr/sbin/nginx".into() },
            ProcessLine { pid: 1240, parent: 1234, command: "nginx: worker process".into() },
        ],
        ..UnitStatus::default()
    }
}

#[test]
fn the_page_of_a_running_unit_has_its_order() {
    let log = vec!["Nov 21 22:00:00 nginx[1234]: ready\u{1b}[2J".to_owned()];
    let expected = "\
● web - nginx web server
     Loaded: loaded (/etc/rsvc/units/web.toml; enabled)
     Active: active (running) since 2026-11-21 22:00:00 UTC; 9 min ago
      Ready: listening
     Status: \"serving\"
   Main PID: 1234 (inside: 2) nginx
      Tasks: 3 of 128
     Memory: 12.3M, peak 20.0M, limit 512.0M
        CPU: 1.204s
   Restarts: 2
    Sandbox: profile strict
   Degraded: resources.memory_high: only cgroup v2 has it
 Limits hit: memory limit 4
     CGroup: /rsvc/web
             └─1233 [rsvc-init]
               └─1234 nginx: master process /usr/sbin/nginx
                 └─1240 nginx: worker process

Nov 21 22:00:00 nginx[1234]: ready\u{fffd}[2J
";
    assert_eq!(status_page(&running(), &log, now(), Look::PLAIN), expected);
}

#[test]
fn the_page_of_a_failed_unit_begins_with_the_reason() {
    let unit = UnitStatus {
        name: "web".into(),
        load_state: "loaded".into(),
        state: "failed".into(),
        substate: "failed".into(),
        result: "exit-code".into(),
        cause: Some("web failed: exit 1 after 40 ms\nhint: see its log".into()),
        exit_code: Some(1),
        ..UnitStatus::default()
    };
    let page = status_page(&unit, &[], now(), Look { unicode: false, ..Look::PLAIN });
    let expected = "\
x web failed: exit 1 after 40 ms
  hint: see its log
  web
     Loaded: loaded (disabled)
     Active: failed (exit-code)
  Last exit: status 1
";
    assert_eq!(page, expected);
}

#[test]
fn a_unit_that_waits_for_its_restart_says_when_and_why() {
    let unit = UnitStatus {
        state: "activating".into(),
        substate: "auto-restart".into(),
        cause: Some("killed by SIGSEGV".into()),
        next_restart_at: Some("2026-11-21T22:10:05Z".into()),
        restarts: 3,
        exit_signal: Some("SIGSEGV".into()),
        ..running()
    };
    let page = status_page(&UnitStatus { main_pid: None, ..unit }, &[], now(), Look::PLAIN);
    assert!(page.starts_with("◐ web - nginx"), "{page}");
    assert!(page.contains("Active: activating (auto-restart) since"), "{page}");
    assert!(page.contains("  Last exit: killed by SIGSEGV\n"), "{page}");
    assert!(page.contains("   Restarts: 3, next in 5 s\n      Cause: killed by SIGSEGV\n"), "{page}");
}

#[test]
fn drift_and_a_bad_file_are_said() {
    let unit = UnitStatus {
        changed_on_disk: true,
        load_state: "bad-setting".into(),
        load_error: Some("error[E0102]\n  line".into()),
        ..running()
    };
    let page = status_page(&unit, &[], now(), Look::PLAIN);
    assert!(page.starts_with("× web"), "{page}");
    assert!(page.contains("             error[E0102]\n               line\n"), "{page}");
    assert!(
        page.contains("unit file changed on disk, the running configuration differs: rsvc diff web; rsvc restart web")
    );
}

#[test]
fn escape_codes_come_only_from_us() {
    let evil = "\u{1b}[31mx";
    let mut unit = running();
    unit.name = evil.into();
    unit.description = Some(evil.into());
    unit.status_text = Some(evil.into());
    unit.cause = Some(evil.into());
    unit.load_error = Some(evil.into());
    unit.degraded = vec![evil.into()];
    for state in ["active", "failed"] {
        let page = status_page(&UnitStatus { state: state.into(), ..unit.clone() }, &[evil.into()], now(), Look::PLAIN);
        assert!(!page.contains('\u{1b}'), "{page:?}");
        let colored = Look { color: true, ..Look::PLAIN };
        assert!(status_page(&unit, &[], now(), colored).contains("\u{1b}["), "and ours do come");
    }
}

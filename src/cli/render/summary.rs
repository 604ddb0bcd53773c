//! `rsvc status` without a name: the instance in a few lines, and every unit that needs attention.

use crate::cli::terminal::{Color, Look, harmless};
use crate::cli::time;
use crate::control::{Description, UnitStatus};
use std::time::SystemTime;

/// The summary, each line ended.
pub fn summary(daemon: &Description, units: &[UnitStatus], now: SystemTime, look: Look) -> String {
    let failed: Vec<&UnitStatus> = units.iter().filter(|u| needs_attention(u)).collect();
    let state = if failed.is_empty() { "active" } else { "failed" };
    let mut text = format!("{} rsvc {} (pid {})\n", look.dot(state), harmless(&daemon.version), daemon.pid);
    let mut line = |label: &str, value: &str| text += &format!("{label:>11}: {}\n", harmless(value));
    if let Some(since) = &daemon.since {
        line("Since", &time::absolute_and_relative(since, now));
    }
    if let Some(upgraded) = &daemon.upgraded {
        line("Upgraded", &time::absolute_and_relative(upgraded, now));
    }
    line("Units", &format!("{} active, {} failed, {} in all", daemon.active, daemon.failed, daemon.units));
    if daemon.outdated > 0 {
        line(
            "Outdated",
            &format!("{} on another rsvc than {}: rsvc restart --outdated", daemon.outdated, daemon.version),
        );
    }
    line("Unit path", &daemon.unit_path.join(":"));
    if let Some(root) = &daemon.cgroup_root {
        line("CGroup", &format!("{root} ({})", daemon.cgroup_layout.as_deref().unwrap_or("unknown")));
    }
    line("Logs", &daemon.log);
    for unit in failed {
        let cause = unit.cause.as_deref().or(unit.load_error.as_deref()).unwrap_or(&unit.result);
        let first = harmless(cause.lines().next().unwrap_or_default());
        let name = look.paint(Color::Bold, &harmless(&unit.name));
        text += &format!("{} {name}: {first}\n", look.dot("failed"));
    }
    text
}

/// Failed, waiting for its timers after a failure or for yet another restart, or with a file that cannot be used.
pub fn needs_attention(unit: &UnitStatus) -> bool {
    let failed_job = !unit.timers.is_empty() && unit.substate == "waiting" && unit.result != "success";
    unit.state == "failed" || failed_job || unit.substate == "auto-restart" || unit.load_state == "bad-setting"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_named_with_its_reason() {
        let daemon = Description {
            v: 1,
            version: "0.1.0".into(),
            pid: 5,
            units: 3,
            active: 1,
            failed: 1,
            unit_path: vec!["/etc/rsvc/units".into()],
            log: "file".into(),
            ..Description::default()
        };
        let unit = |name: &str, state: &str, cause: Option<&str>| UnitStatus {
            name: name.into(),
            state: state.into(),
            cause: cause.map(str::to_owned),
            ..UnitStatus::default()
        };
        let units = [unit("a", "active", None), unit("b", "failed", Some("exit 1\nmore")), unit("c", "inactive", None)];
        let expected = "\
× rsvc 0.1.0 (pid 5)
      Units: 1 active, 1 failed, 3 in all
  Unit path: /etc/rsvc/units
       Logs: file
× b: exit 1
";
        assert_eq!(summary(&daemon, &units, SystemTime::UNIX_EPOCH, Look::PLAIN), expected);
    }
}

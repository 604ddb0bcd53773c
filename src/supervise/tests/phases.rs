//! The way up: types, commands before and after, readiness, timeouts.

use super::bench::{Bench, SECOND, WEB, commands, deeds, policy, replies, statuses};
use crate::supervise::{Cause, Command, CommandOutcome, Event, Exit, Policy, Role, ServiceResult};
use crate::unit::{KillMode, ReadyKind, RestartPolicy, ServiceType};

fn notify() -> Policy {
    Policy { kind: ServiceType::Notify, ready: ReadyKind::Notify, ..policy("web") }
}

fn listening() -> Policy {
    Policy { ready: ReadyKind::Listening, ..policy("web") }
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

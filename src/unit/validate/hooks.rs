//! `[hooks]`: how long they may take. A hook that the restart policy leaves without a turn is no mistake: a drop-in may
//! have changed the policy.

use super::super::decode::Sink;
use super::super::problem::Code;
use super::Checked;
use super::checks::no_effect;
use std::time::Duration;

/// A hook holds up the restart, and everybody who waits for the service.
const LONGEST: Duration = Duration::from_secs(3600);

pub(super) fn all(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let timeout = c.settings.hooks.timeout;
    if timeout.is_zero() || timeout > LONGEST {
        let message = "`hooks.timeout` must be more than 0 and at most 1h".to_owned();
        sink.add(Code::OutOfRange, c.value_place("hooks", "timeout"), "hooks.timeout", message, None);
    }
    if !["on_exit", "on_restart", "on_give_up"].iter().any(|key| c.is_attempted("hooks", key)) {
        no_effect(sink, c, "hooks", "timeout", "there is no hook: give `on_exit`, `on_restart` or `on_give_up`");
    }
}

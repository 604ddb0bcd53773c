//! `[logging]`: rules for messages need messages that pass through rsvc.

use super::super::LogTarget;
use super::super::decode::Sink;
use super::Checked;
use super::checks::no_effect;

/// Keys that choose among messages.
const RULES: [&str; 3] = ["level_max", "rate_limit_burst", "rate_limit_interval"];

pub(super) fn all(sink: &mut Sink<'_>, c: &Checked<'_>) {
    if c.is_broken("logging", "target") {
        return;
    }
    let why = match c.settings.logging.target {
        LogTarget::Null => "`logging.target` is \"null\"",
        LogTarget::Inherit => "with `logging.target` \"inherit\" the output does not pass through rsvc",
        LogTarget::File => return no_effect(sink, c, "logging", "fields", "log files have no fields"),
        LogTarget::Auto | LogTarget::Journald => return,
    };
    for key in RULES.into_iter().chain(["fields"]) {
        no_effect(sink, c, "logging", key, why);
    }
}

//! `[ready]` and `[health]`: what is asked of a service from outside, and of which one it can be asked.

use super::super::ServiceType;
use super::super::decode::Sink;
use super::super::problem::Code;
use super::Checked;
use super::checks::no_effect;

/// Keys of `[health]` besides what is asked.
const HOW: [&str; 5] = ["interval", "timeout", "retries", "start_period", "action"];

pub(super) fn all(sink: &mut Sink<'_>, c: &Checked<'_>) {
    ready(sink, c);
    health(sink, c);
}

fn ready(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let kind = c.settings.service.kind;
    let by_itself = match kind {
        ServiceType::Exec | ServiceType::Forking => None,
        ServiceType::Notify | ServiceType::NotifyReload => Some("it says READY=1 itself"),
        ServiceType::Oneshot => Some("it is ready when it has ended"),
    };
    for key in ["listen", "path", "command", "timeout"] {
        let is_written = c.is_written("ready", key) && !c.is_broken("service", "type");
        if let Some(why) = by_itself.filter(|_| is_written) {
            let message = format!("`ready.{key}` does not go with this `service.type`: {why}");
            let help = Some("drop it, or set type = \"exec\"".to_owned());
            sink.add(Code::Conflict, c.value_place("ready", key), &format!("ready.{key}"), message, help);
        }
    }
    let asked = ["listen", "path", "command"].iter().any(|key| c.is_attempted("ready", key));
    if kind == ServiceType::Exec && !asked {
        no_effect(sink, c, "ready", "timeout", "nothing is waited for: give `listen`, `path` or `command`");
    }
}

fn health(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let asked = ["command", "listen"].iter().any(|key| c.is_attempted("health", key));
    if !asked {
        for key in HOW {
            no_effect(sink, c, "health", key, "nothing is asked: give `command` or `listen`");
        }
        return;
    }
    if c.settings.service.kind == ServiceType::Oneshot {
        for key in ["command", "listen"] {
            no_effect(sink, c, "health", key, "a oneshot service is never up");
        }
    }
    let Some(health) = &c.settings.health else { return };
    for (key, time) in [("interval", health.interval), ("timeout", health.timeout)] {
        if time.is_zero() {
            let message = format!("`health.{key}` of 0 leaves no time for an answer");
            sink.add(Code::OutOfRange, c.value_place("health", key), &format!("health.{key}"), message, None);
        }
    }
}

//! `[syscalls]`: conditions on arguments, and plain entries beside which they mean nothing.

use super::super::decode::Sink;
use super::super::problem::Code;
use super::Checked;
use crate::filter::{self, Rule};

pub(super) fn all(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let syscalls = &c.settings.syscalls;
    for (n, rule) in rules(&syscalls.log) {
        let message = format!("`{rule}` stands in `syscalls.log`, which takes no conditions");
        let help = format!("write \"{}\", or put it into syscalls.allow or syscalls.deny", rule.call());
        sink.add(Code::Conflict, c.item_place("syscalls", "log", n), "syscalls.log", message, Some(help));
    }
    for (n, rule) in rules(&syscalls.deny) {
        let call = rule.call();
        let place = c.item_place("syscalls", "deny", n);
        if filter::is_indispensable(call) {
            let message = format!("`{rule}` denies a call without which no service can be started");
            let help = Some("take it out".to_owned());
            sink.add(Code::Conflict, place, "syscalls.deny", message, help);
        } else if let Some(plain) = covering(&syscalls.deny, call) {
            let message = format!("`{rule}` has no effect: `{plain}` denies `{call}` whatever its arguments");
            let help = format!("take \"{plain}\" out of syscalls.deny, or the condition");
            sink.add(Code::NoEffect, place, "syscalls.deny", message, Some(help));
        }
    }
    for (n, rule) in rules(&syscalls.allow) {
        let call = rule.call();
        let place = c.item_place("syscalls", "allow", n);
        if let Some(plain) = covering(&syscalls.deny, call) {
            let message = format!("`{rule}` has no effect: `{plain}` in `syscalls.deny` denies `{call}`");
            let help = format!("write `deny` without \"{plain}\", or take the condition out");
            sink.add(Code::NoEffect, place, "syscalls.allow", message, Some(help));
        } else if let Some(plain) = covering(syscalls.allow.iter().chain(&syscalls.log), call) {
            let message = format!("`{rule}` has no effect: `{plain}` allows `{call}` whatever its arguments");
            let help = format!(
                "allow `{call}` by nothing but conditions, or say in syscalls.deny what is not allowed: `!=` turns a \
                 condition round"
            );
            sink.add(Code::NoEffect, place, "syscalls.allow", message, Some(help));
        }
    }
}

/// Entries with conditions, and where they stand. Those that cannot be read were refused before.
fn rules(list: &[String]) -> impl Iterator<Item = (usize, Rule)> {
    let rule = |(n, entry): (usize, &String)| Some((n, filter::is_rule(entry).then(|| Rule::parse(entry).ok())??));
    list.iter().enumerate().filter_map(rule)
}

/// The plain entry that is the call or a group with it.
fn covering<'l>(list: impl IntoIterator<Item = &'l String>, call: &str) -> Option<&'l String> {
    list.into_iter().find(|entry| *entry == call || filter::group(entry).is_some_and(|calls| calls.contains(&call)))
}

//! `network.ip_allow` and `network.ip_deny`: how many there may be, and what does not go with them.

use super::super::decode::{Sink, Value};
use super::super::problem::Code;
use super::super::{SocketAddress, value};
use super::{Checked, checks};
use crate::plan::AddressRules;

/// Prefixes that both lists may have together.
const MOST: usize = 256;

/// Both lists, with their words as prefixes; `None` when nothing is denied.
pub(super) fn rules(allow: &[String], deny: &[String]) -> Option<Box<AddressRules>> {
    let list = |texts: &[String]| {
        let read = |text: &String| value::peers(text).expect("the decoder lets only these texts pass");
        texts.iter().flat_map(read).collect()
    };
    (!deny.is_empty()).then(|| Box::new(AddressRules { allow: list(allow), deny: list(deny) }))
}

pub(super) fn all(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let key = "network.ip_deny";
    let Some(rules) = &c.settings.network.peers else {
        let allows = matches!(c.values.get("network", "ip_allow").map(|entry| &entry.value),
            Some(Value::Texts(allow)) if !allow.is_empty());
        if allows && !c.is_broken("network", "ip_deny") {
            checks::no_effect(sink, c, "network", "ip_allow", "`ip_deny` denies nothing, so every peer is allowed");
        }
        return;
    };
    if rules.allow.len() + rules.deny.len() > MOST {
        let message = format!("`ip_allow` and `ip_deny` have more than {MOST} prefixes together");
        let help = "a firewall of the host has tables for such lists".to_owned();
        sink.add(Code::OutOfRange, c.value_place("network", "ip_deny"), key, message, Some(help));
    }
    let passed = c.settings.sockets.iter().find(|socket| is_internet(&socket.listen));
    if let Some(socket) = passed {
        let address = value::print_socket_address(&socket.listen);
        let message =
            format!("`ip_deny` does not reach the socket {address}: rsvc opens it outside of the unit's group");
        let help = "let the service open it itself, or let a firewall judge who may connect".to_owned();
        sink.add(Code::Conflict, c.value_place("network", "ip_deny"), key, message, Some(help));
    }
}

fn is_internet(address: &SocketAddress) -> bool {
    matches!(address, SocketAddress::Tcp(_) | SocketAddress::Udp(_))
}

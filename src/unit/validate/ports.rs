//! `network.bind_allow` and `network.connect_allow`.

use super::super::decode::Sink;
use super::super::problem::Code;
use super::Checked;
use crate::unit::Transport;

/// Every port of TCP is a rule in the kernel's memory, which is charged to the service.
const MOST: usize = 1024;

pub(super) fn all(sink: &mut Sink<'_>, c: &Checked<'_>) {
    let network = &c.settings.network;
    for (key, rules) in [("bind_allow", &network.bind_allow), ("connect_allow", &network.connect_allow)] {
        let Some(rules) = rules else { continue };
        let dotted = format!("network.{key}");
        let count: usize = rules.iter().map(|rule| rule.ports.count()).sum();
        if count > MOST {
            let message = format!("these are {count} ports, and {MOST} can be listed");
            let help = Some("list the ports that are used; [\"all\"] is no restriction".to_owned());
            sink.add(Code::OutOfRange, c.value_place("network", key), &dotted, message, help);
        }
        for (n, rule) in rules.iter().enumerate() {
            if key == "connect_allow" && rule.ports.first == 0 {
                let message = "nothing can be connected to at port 0";
                sink.add(Code::OutOfRange, c.item_place("network", key, n), &dotted, message, None);
            }
            if key == "connect_allow" && rule.transport == Transport::Udp {
                let shown = super::super::value::print_port_rule(rule);
                let message = format!("`{shown}`: what UDP may send to cannot be restricted by port yet");
                let help = "leave UDP out: it stays free; network.ip_deny closes it by address, network.address_families and \
                            network.mode as a whole";
                sink.add(Code::NotSupported, c.item_place("network", key, n), &dotted, message, Some(help.to_owned()));
            }
            if rules[..n].contains(rule) {
                let message = format!("`{}` is listed twice", super::super::value::print_port_rule(rule));
                sink.add(Code::Repeated, c.item_place("network", key, n), &dotted, message, None);
            }
        }
    }
}

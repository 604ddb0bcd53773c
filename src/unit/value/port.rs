//! Ports of transport protocols.

use super::Bad;
use crate::plan::PortRange;
use crate::unit::problem::Code;
use crate::unit::{PortRule, Transport};

/// Reads `tcp:80`, `tcp:8000-8100`, `udp:53`; 0 stands alone, for a port that the kernel chooses.
///
/// # Errors
/// [`Code::UnknownWord`] for another form, [`Code::OutOfRange`] for numbers that are no ports.
pub fn port_rule(text: &str) -> Result<PortRule, Bad> {
    let shown = text.escape_debug();
    let (transport, rest) = match text.split_once(':') {
        Some(("tcp", rest)) => (Transport::Tcp, rest),
        Some(("udp", rest)) => (Transport::Udp, rest),
        _ => {
            return Err(Bad::new(Code::UnknownWord, format!("`{shown}` names no ports"))
                .help("write \"tcp:80\" or \"tcp:8000-8100\""));
        }
    };
    let number = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|_| plain)
    };
    let ports = match rest.split_once('-') {
        None => number(rest).map(|port| PortRange { first: port, last: port }),
        Some((first, last)) => number(first).zip(number(last)).map(|(first, last)| PortRange { first, last }),
    };
    let bad = |why: &str| Err(Bad::new(Code::OutOfRange, format!("`{shown}`: {why}")));
    match ports {
        None => bad("ports are numbers up to 65535"),
        Some(PortRange { first, last }) if first > last => bad("the range ends before it begins"),
        Some(PortRange { first: 0, last }) if last > 0 => {
            bad("0 stands for ports that the kernel chooses, and in no range")
        }
        Some(ports) => Ok(PortRule { transport, ports }),
    }
}

/// Prints what [`port_rule`] reads.
pub fn print_port_rule(rule: &PortRule) -> String {
    let transport = match rule.transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    };
    let PortRange { first, last } = rule.ports;
    if first == last { format!("{transport}:{first}") } else { format!("{transport}:{first}-{last}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_and_printed_back() {
        for text in ["tcp:80", "tcp:8000-8100", "udp:53", "tcp:0", "tcp:1-65535"] {
            assert_eq!(print_port_rule(&port_rule(text).unwrap()), text);
        }
        assert_eq!(print_port_rule(&port_rule("tcp:80-80").unwrap()), "tcp:80");
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for text in ["80", "tcp", "sctp:80", "TCP:80", ":80"] {
            assert_eq!(port_rule(text).unwrap_err().code, Code::UnknownWord, "{text}");
        }
        for text in ["tcp:", "tcp:65536", "tcp:-1", "tcp:+80", "tcp:9-8", "tcp:0-5", "tcp:1-", "tcp:1-2-3", "tcp: 80"] {
            assert_eq!(port_rule(text).unwrap_err().code, Code::OutOfRange, "{text}");
        }
    }
}

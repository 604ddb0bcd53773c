//! Addresses of peers: single ones, prefixes, and systemd's words for some.

use super::{Bad, nearest};
use crate::plan::Prefix;
use crate::unit::problem::Code;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Words and what they stand for. Source: systemd.resource-control(5), `IPAddressAllow=`.
const WORDS: [(&str, [Prefix; 2]); 4] = [
    ("any", [Prefix::ALL_V4, Prefix::ALL_V6]),
    ("localhost", [v4([127, 0, 0, 0], 8), v6(1, 128)]),
    ("link-local", [v4([169, 254, 0, 0], 16), v6(0xfe80 << 112, 64)]),
    ("multicast", [v4([224, 0, 0, 0], 4), v6(0xff00 << 112, 8)]),
];

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> Prefix {
    Prefix { address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), length }
}

const fn v6(bits: u128, length: u8) -> Prefix {
    Prefix { address: IpAddr::V6(Ipv6Addr::from_bits(bits)), length }
}

/// Reads `10.0.0.0/8`, `192.0.2.1`, `2001:db8::/32`, `any`, `localhost`, `link-local`, `multicast`.
///
/// # Errors
/// [`Code::BadAddress`].
pub fn peers(text: &str) -> Result<Vec<Prefix>, Bad> {
    if let Some((_, prefixes)) = WORDS.iter().find(|(word, _)| *word == text) {
        return Ok(prefixes.to_vec());
    }
    let bad = |why: &str| {
        Bad::new(Code::BadAddress, format!("`{}` is neither an address nor a prefix{why}", text.escape_debug()))
    };
    let form = "write \"192.0.2.1\", \"10.0.0.0/8\", \"2001:db8::/32\", \"any\", \"localhost\", \"link-local\" or \
                \"multicast\"";
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let Ok(address) = address.parse::<IpAddr>() else {
        let near = nearest(text, WORDS.iter().map(|(word, _)| *word));
        return Err(bad("").help(near.map_or(form.to_owned(), |near| format!("did you mean \"{near}\"?"))));
    };
    if let IpAddr::V6(six) = address
        && let Some(four) = six.to_ipv4_mapped()
    {
        // On the wire there is only the IPv4 packet.
        return Err(bad(": packets of such addresses are IPv4").help(format!("write \"{four}\"")));
    }
    let width = Prefix::width(address);
    let digits = |length: &&str| !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    let length = match length {
        None => width,
        Some(length) => match Some(length).filter(digits).and_then(|length| length.parse::<u8>().ok()) {
            Some(length) if length <= width => length,
            _ => return Err(bad(&format!(": the length is 0 to {width}")).help(form)),
        },
    };
    let prefix = Prefix { address, length };
    let network = prefix.network();
    if prefix != network {
        let help = format!("write \"{network}\" for the network, or \"{address}\" for the one address");
        return Err(bad(&format!(": bits behind the first {length} are set")).help(help));
    }
    Ok(vec![prefix])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_addresses_and_prefixes_are_read() {
        let read = |text: &str| peers(text).expect(text).iter().map(Prefix::to_string).collect::<Vec<_>>();
        assert_eq!(read("any"), ["0.0.0.0/0", "::/0"]);
        assert_eq!(read("localhost"), ["127.0.0.0/8", "::1"]);
        assert_eq!(read("link-local"), ["169.254.0.0/16", "fe80::/64"]);
        assert_eq!(read("multicast"), ["224.0.0.0/4", "ff00::/8"]);
        for text in ["192.0.2.1", "10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32", "2001:db8::7"] {
            assert_eq!(read(text), [text]);
        }
        assert_eq!(read("2001:0db8:0::0/32"), ["2001:db8::/32"]);
    }

    #[test]
    fn what_is_no_prefix_is_refused_with_what_was_meant() {
        for (text, help) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("fe80::1/64", "fe80::/64"),
            ("10.0.0.0/33", "10.0.0.0/8"),
            ("10.0.0.0/", "10.0.0.0/8"),
            ("10.0.0.0/+8", "10.0.0.0/8"),
            ("10.0.0", "192.0.2.1"),
            ("localhots", "localhost"),
            ("example.org", "192.0.2.1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
        ] {
            let bad = peers(text).expect_err(text);
            assert!(bad.help.as_deref().is_some_and(|words| words.contains(help)), "{text}: {bad:?}");
        }
    }
}

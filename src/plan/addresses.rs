//! Which peers a unit may talk to: prefixes of addresses, and what they come to.
//!
//! Plain data and arithmetic: `cgroup::addresses` makes a program of it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses that begin with the same bits. Source: RFC 4632, RFC 4291 section 2.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Prefix {
    /// The first address.
    pub address: IpAddr,
    /// Bits that count: 0 to 32, or to 128.
    pub length: u8,
}

impl Prefix {
    /// Every IPv4 address.
    pub const ALL_V4: Prefix = Prefix { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), length: 0 };
    /// Every IPv6 address.
    pub const ALL_V6: Prefix = Prefix { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), length: 0 };

    /// Bits of an address of this family.
    pub fn width(address: IpAddr) -> u8 {
        if address.is_ipv4() { 32 } else { 128 }
    }

    /// The same prefix with every bit behind it 0.
    pub fn network(self) -> Prefix {
        let first = self.first();
        let address = match self.address {
            // The upper bits of an IPv4 address are 0.
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(first as u32)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(first)),
        };
        Prefix { address, ..self }
    }

    /// First address as a number.
    fn first(self) -> u128 {
        let bits = match self.address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        bits & !self.rest()
    }

    /// Last address as a number.
    fn last(self) -> u128 {
        self.first() | self.rest()
    }

    /// The bits that do not count, set.
    fn rest(self) -> u128 {
        match u32::from(Prefix::width(self.address) - self.length) {
            128 => u128::MAX,
            free => (1 << free) - 1,
        }
    }
}

/// `10.0.0.0/8`; an address alone without its length.
impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.length == Prefix::width(self.address) {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.length)
        }
    }
}

/// `network.ip_allow` and `network.ip_deny`: what is allowed wins over what is denied, and what neither names is allowed.
/// Source: systemd.resource-control(5), `IPAddressAllow=`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRules {
    /// May be talked to all the same.
    pub allow: Vec<Prefix>,
    /// May not be talked to.
    pub deny: Vec<Prefix>,
}

/// Addresses from `from` on, up to the next range, all judged alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    /// First address as a number.
    pub from: u128,
    /// May be talked to.
    pub allowed: bool,
}

impl AddressRules {
    /// All addresses of one family as ranges: in order, the first from 0, no two neighbours alike.
    pub fn ranges(&self, is_v4: bool) -> Vec<AddressRange> {
        let of = |list: &[Prefix]| -> Vec<(u128, u128)> {
            let list = list.iter().filter(|prefix| prefix.address.is_ipv4() == is_v4);
            list.map(|prefix| (prefix.first(), prefix.last())).collect()
        };
        let (allow, deny) = (of(&self.allow), of(&self.deny));
        let most = if is_v4 { u128::from(u32::MAX) } else { u128::MAX };
        let behind = |last: u128| (last < most).then(|| last + 1);
        let both = || allow.iter().chain(&deny);
        let mut starts: Vec<u128> = std::iter::once(0)
            .chain(both().map(|(first, _)| *first))
            .chain(both().filter_map(|(_, last)| behind(*last)))
            .collect();
        starts.sort_unstable();
        starts.dedup();
        let among =
            |list: &[(u128, u128)], address| list.iter().any(|(first, last)| (*first..=*last).contains(&address));
        let mut ranges: Vec<AddressRange> = Vec::new();
        for from in starts {
            let allowed = among(&allow, from) || !among(&deny, from);
            if ranges.last().is_none_or(|range| range.allowed != allowed) {
                ranges.push(AddressRange { from, allowed });
            }
        }
        ranges
    }
}

/// `deny 10.0.0.0/8 but 10.0.0.1`
impl fmt::Display for AddressRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |list: &[Prefix]| list.iter().map(Prefix::to_string).collect::<Vec<_>>().join(", ");
        write!(f, "deny {}", words(&self.deny))?;
        if !self.allow.is_empty() {
            write!(f, " but {}", words(&self.allow))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(address: &str, length: u8) -> Prefix {
        Prefix { address: address.parse().expect("address"), length }
    }

    fn ranges(allow: &[Prefix], deny: &[Prefix], is_v4: bool) -> Vec<(u128, bool)> {
        let rules = AddressRules { allow: allow.to_vec(), deny: deny.to_vec() };
        rules.ranges(is_v4).into_iter().map(|range| (range.from, range.allowed)).collect()
    }

    #[test]
    fn what_is_allowed_wins_and_what_is_not_named_is_allowed() {
        assert_eq!(ranges(&[], &[], true), [(0, true)]);
        assert_eq!(ranges(&[], &[Prefix::ALL_V4], true), [(0, false)]);
        assert_eq!(ranges(&[], &[Prefix::ALL_V4], false), [(0, true)], "the other family is another list");
        let ten = [(0, true), (0x0a00_0000, false), (0x0a00_0001, true), (0x0a00_0002, false), (0x0b00_0000, true)];
        assert_eq!(ranges(&[prefix("10.0.0.1", 32)], &[prefix("10.0.0.0", 8)], true), ten);
        assert_eq!(ranges(&[prefix("10.0.0.0", 8)], &[prefix("10.0.0.1", 32)], true), [(0, true)]);
    }

    #[test]
    fn the_last_address_ends_no_range() {
        let last = [(0, true), (0xffff_ff00, false)];
        assert_eq!(ranges(&[], &[prefix("255.255.255.0", 24)], true), last);
        assert_eq!(ranges(&[], &[prefix("ff00::", 8)], false), [(0, true), (0xff << 120, false)]);
        assert_eq!(ranges(&[prefix("::1", 128)], &[Prefix::ALL_V6], false), [(0, false), (1, true), (2, false)]);
    }

    #[test]
    fn a_prefix_is_printed_as_it_is_written_and_knows_its_network() {
        assert_eq!(prefix("10.1.2.3", 32).to_string(), "10.1.2.3");
        assert_eq!(prefix("10.1.2.3", 8).network().to_string(), "10.0.0.0/8");
        assert_eq!(prefix("fe80::1", 64).network().to_string(), "fe80::/64");
        assert_eq!(Prefix::ALL_V6.network(), Prefix::ALL_V6);
        let rules = AddressRules { allow: vec![prefix("::1", 128)], deny: vec![Prefix::ALL_V4, Prefix::ALL_V6] };
        assert_eq!(rules.to_string(), "deny 0.0.0.0/0, ::/0 but ::1");
    }
}

//! Peers of a unit: a program that looks at the address of every packet of the group's sockets.
//!
//! It is asked for what arrives (the sender counts) and for what leaves (the receiver counts), beside the programs of
//! groups above and below. A socket belongs to the group in which it was made, whoever has it later. Packets that no
//! socket sent or gets are not asked about, and neither are those of packet sockets, which need a capability and a family.
//!
//! ```text
//! IPv4?  4 bytes, a number      IPv6?  16 bytes, two numbers      else, or too short: 0
//!            └──── a balanced tree over the ranges of the rules ────┘
//!                            0: dropped, 1: passes
//! ```
//!
//! The tree takes as many comparisons as the number of ranges has bits, twice that for IPv6: 256 prefixes cost ten. A map
//! of the kernel (BPF_MAP_TYPE_LPM_TRIE) would be one more object to make, fill and lose.

use super::CgroupError;
use super::programs::{
    self, ANSWER, FROM_NETWORK, JUMP_IF_AT_LEAST, JUMP_IF_NOT_EQUAL, QUESTION, answer, jump, operation, tree,
};
use crate::plan::{AddressRange, AddressRules};
use crate::sys::bpf::{Instruction, Point};
use std::path::Path;

/// Members of `struct __sk_buff`, bytes.
const PROTOCOL: i16 = 16;

/// bpf_skb_load_bytes(), by its number in `enum bpf_func_id`.
const LOAD_BYTES: i32 = 26;

/// Place of the address on the stack, relative to its end.
const PLACE: i16 = -16;

/// Registers by use. The first two outlive a call.
const PACKET: u8 = 6;
const KIND: u8 = 7;
const STACK: u8 = 10;
/// The address: IPv4, or the upper half of IPv6; the lower half.
const HIGH: u8 = 2;
const LOW: u8 = 3;
const BOUND: u8 = 4;

/// Operations: linux/bpf.h and linux/bpf_common.h. Of 64 bits unless said otherwise.
const LOAD_WORD: u8 = 0x61;
const LOAD_DOUBLE: u8 = 0x79;
const SET_DOUBLE: u8 = 0x18;
const SET: u8 = 0xb7;
const SET_FROM: u8 = 0xbf;
const ADD: u8 = 0x07;
const CALL: u8 = 0x85;
/// With a register.
const JUMP_IF_ABOVE_REGISTER: u8 = 0x2d;
const JUMP_IF_AT_LEAST_REGISTER: u8 = 0x3d;
const JUMP_IF_BELOW_REGISTER: u8 = 0xad;

/// Can programs be loaded by this process? Asked with one that is attached nowhere.
pub(super) fn available() -> bool {
    programs::loadable(Point::Egress, &program(&AddressRules::default(), Point::Egress))
}

/// Makes `rules` the group's, in both directions.
pub(super) fn apply(directory: &Path, rules: &AddressRules) -> Result<(), CgroupError> {
    [Point::Ingress, Point::Egress]
        .into_iter()
        .try_for_each(|point| programs::put(directory, point, &program(rules, point)))
}

/// Takes the rules of an earlier configuration away.
pub(super) fn clear(directory: &Path) -> Result<(), CgroupError> {
    [Point::Ingress, Point::Egress].into_iter().try_for_each(|point| programs::clear(directory, point))
}

/// See the module documentation.
fn program(rules: &AddressRules, point: Point) -> Vec<Instruction> {
    // Sender, receiver; RFC 791 section 3.1, RFC 8200 section 3.
    let (at_v4, at_v6) = if point == Point::Ingress { (12, 8) } else { (16, 24) };
    let mut v4 = address(at_v4, 4);
    v4.extend([memory(LOAD_WORD, HIGH, STACK, PLACE), operation(FROM_NETWORK, HIGH, 0, 32)]);
    v4.extend(tree(&halves(rules.ranges(true)), &compare_v4));
    let mut v6 = address(at_v6, 16);
    for (register, place) in [(HIGH, PLACE), (LOW, PLACE + 8)] {
        v6.extend([memory(LOAD_DOUBLE, register, STACK, place), operation(FROM_NETWORK, register, 0, 64)]);
    }
    v6.extend(tree(&halves(rules.ranges(false)), &compare_v6));

    let mut all = vec![operation(SET_FROM, PACKET, QUESTION, 0), memory(LOAD_WORD, KIND, PACKET, PROTOCOL)];
    // ETH_P_IP and ETH_P_IPV6 of linux/if_ether.h, as they are in a packet.
    for (kind, part) in [(0x0800_u16, v4), (0x86dd, v6)] {
        all.push(jump(JUMP_IF_NOT_EQUAL, KIND, i32::from(kind.to_be()), part.len()));
        all.extend(part);
    }
    all.extend(answer(0));
    all
}

/// Copies so many bytes of the packet to the stack; a packet that does not have them is dropped.
fn address(offset: i32, length: i32) -> Vec<Instruction> {
    let mut all = vec![
        operation(SET_FROM, QUESTION, PACKET, 0),
        operation(SET, 2, 0, offset),
        operation(SET_FROM, 3, STACK, 0),
        operation(ADD, 3, 0, i32::from(PLACE)),
        operation(SET, 4, 0, length),
        operation(CALL, 0, 0, LOAD_BYTES),
    ];
    let dropped = answer(0);
    // BPF_JEQ of 32 bits.
    all.push(jump(0x16, ANSWER, 0, dropped.len()));
    all.extend(dropped);
    all
}

/// The ranges as the tree takes them.
fn halves(ranges: Vec<AddressRange>) -> Vec<(u128, bool)> {
    ranges.into_iter().map(|range| (range.from, range.allowed)).collect()
}

fn compare_v4(bound: u128, skip: usize) -> Vec<Instruction> {
    // The comparison is of 32 bits without a sign.
    vec![jump(JUMP_IF_AT_LEAST, HIGH, bound as u32 as i32, skip)]
}

fn compare_v6(bound: u128, skip: usize) -> Vec<Instruction> {
    let (high, low) = ((bound >> 64) as u64, bound as u64);
    let mut all = number(high).to_vec();
    if low == 0 {
        all.push(jump_by(JUMP_IF_AT_LEAST_REGISTER, HIGH, skip));
        return all;
    }
    all.push(jump_by(JUMP_IF_ABOVE_REGISTER, HIGH, skip + 4));
    all.push(jump_by(JUMP_IF_BELOW_REGISTER, HIGH, 3));
    all.extend(number(low));
    all.push(jump_by(JUMP_IF_AT_LEAST_REGISTER, LOW, skip));
    all
}

/// Sets the bound: an instruction of two.
fn number(value: u64) -> [Instruction; 2] {
    let part = |code, register, value: u64| operation(code, register, 0, value as u32 as i32);
    [part(SET_DOUBLE, BOUND, value), part(0, 0, value >> 32)]
}

fn memory(code: u8, register: u8, base: u8, offset: i16) -> Instruction {
    Instruction { code, registers: base << 4 | register, offset, immediate: 0 }
}

/// A jump by comparison with the bound.
fn jump_by(code: u8, register: u8, skip: usize) -> Instruction {
    Instruction { registers: BOUND << 4 | register, ..jump(code, register, 0, skip) }
}

#[cfg(test)]
mod tests {
    use super::super::programs::EXIT;
    use super::*;
    use crate::plan::Prefix;
    use std::net::IpAddr;

    /// Runs a program as the kernel would, on a packet with this peer.
    fn passes(rules: &AddressRules, point: Point, peer: IpAddr) -> bool {
        let (kind, place, bytes) = match (peer, point) {
            (IpAddr::V4(peer), Point::Ingress) => (0x0800_u16, 12, peer.octets().to_vec()),
            (IpAddr::V4(peer), _) => (0x0800, 16, peer.octets().to_vec()),
            (IpAddr::V6(peer), Point::Ingress) => (0x86dd, 8, peer.octets().to_vec()),
            (IpAddr::V6(peer), _) => (0x86dd, 24, peer.octets().to_vec()),
        };
        let mut packet = vec![0; 40];
        packet[place..place + bytes.len()].copy_from_slice(&bytes);
        run(&program(rules, point), kind, &packet) == 1
    }

    fn run(program: &[Instruction], kind: u16, packet: &[u8]) -> u64 {
        let mut registers = [0_u64; 11];
        let mut stack = [0_u8; 16];
        let mut at = 0;
        loop {
            let Instruction { code, registers: pair, offset, immediate } = program[at];
            let (to, from) = (usize::from(pair & 15), usize::from(pair >> 4));
            at += 1;
            let skip = usize::try_from(offset).unwrap_or(0);
            let narrow = |register: u64| register as u32;
            let taken = match code {
                LOAD_WORD if from == usize::from(PACKET) => {
                    assert_eq!(offset, PROTOCOL);
                    registers[to] = u64::from(kind.to_be());
                    false
                }
                LOAD_WORD => {
                    registers[to] = u32::from_ne_bytes(stack[..4].try_into().expect("four")).into();
                    false
                }
                LOAD_DOUBLE => {
                    let place = usize::try_from(offset - PLACE).expect("on the stack");
                    registers[to] = u64::from_ne_bytes(stack[place..place + 8].try_into().expect("eight"));
                    false
                }
                SET_DOUBLE => {
                    let high = program[at].immediate as u32;
                    registers[to] = u64::from(high) << 32 | u64::from(immediate as u32);
                    at += 1;
                    false
                }
                SET | super::super::programs::SET => {
                    registers[to] = immediate as u64;
                    false
                }
                SET_FROM => {
                    registers[to] = registers[from];
                    false
                }
                ADD => false,
                FROM_NETWORK if immediate == 32 => {
                    registers[to] = u32::from_be(narrow(registers[to])).into();
                    false
                }
                FROM_NETWORK => {
                    registers[to] = u64::from_be(registers[to]);
                    false
                }
                CALL => {
                    let (from, length) = (registers[2] as usize, registers[4] as usize);
                    match packet.get(from..from + length) {
                        Some(bytes) => stack[..length].copy_from_slice(bytes),
                        None => registers[0] = u64::MAX,
                    }
                    if packet.len() >= from + length {
                        registers[0] = 0;
                    }
                    false
                }
                JUMP_IF_NOT_EQUAL => narrow(registers[to]) != immediate as u32,
                0x16 => narrow(registers[to]) == immediate as u32,
                JUMP_IF_AT_LEAST => narrow(registers[to]) >= immediate as u32,
                JUMP_IF_ABOVE_REGISTER => registers[to] > registers[from],
                JUMP_IF_AT_LEAST_REGISTER => registers[to] >= registers[from],
                JUMP_IF_BELOW_REGISTER => registers[to] < registers[from],
                EXIT => return registers[0],
                other => panic!("operation {other:#x}"),
            };
            at += if taken { skip } else { 0 };
        }
    }

    fn prefix(text: &str) -> Prefix {
        let (address, length) = text.split_once('/').unwrap_or((text, ""));
        let address: IpAddr = address.parse().expect("address");
        Prefix { address, length: length.parse().unwrap_or_else(|_| Prefix::width(address)) }
    }

    fn rules(allow: &[&str], deny: &[&str]) -> AddressRules {
        let list = |list: &[&str]| list.iter().map(|text| prefix(text)).collect();
        AddressRules { allow: list(allow), deny: list(deny) }
    }

    /// The rules word by word.
    fn meant(rules: &AddressRules, peer: IpAddr) -> bool {
        let among = |list: &[Prefix]| {
            list.iter().any(|prefix| {
                peer.is_ipv4() == prefix.address.is_ipv4() && Prefix { address: peer, ..*prefix }.network() == *prefix
            })
        };
        among(&rules.allow) || !among(&rules.deny)
    }

    #[test]
    fn the_program_answers_as_the_rules_say_for_both_families_and_directions() {
        let all = [
            rules(&[], &[]),
            rules(&[], &["0.0.0.0/0", "::/0"]),
            rules(&["127.0.0.0/8", "::1"], &["0.0.0.0/0", "::/0"]),
            rules(&["10.0.0.1", "fe80::/64"], &["10.0.0.0/8", "fe80::/10", "255.255.255.255"]),
            rules(&["10.0.0.0/8"], &["10.0.0.1"]),
            rules(&["2001:db8:0:1::/64", "2001:db8::7"], &["2001:db8::/32", "ff00::/8"]),
        ];
        let mut peers: Vec<IpAddr> = Vec::new();
        for rules in &all {
            for prefix in rules.allow.iter().chain(&rules.deny) {
                // The edges, and what is beside them.
                match prefix.address {
                    IpAddr::V4(address) => {
                        let first = address.to_bits();
                        let last = first | u32::MAX.checked_shr(prefix.length.into()).unwrap_or(0);
                        let near = [first.wrapping_sub(1), first, last, last.wrapping_add(1)];
                        peers.extend(near.map(|bits| IpAddr::V4(bits.into())));
                    }
                    IpAddr::V6(address) => {
                        let first = address.to_bits();
                        let last = first | u128::MAX.checked_shr(prefix.length.into()).unwrap_or(0);
                        let near = [first.wrapping_sub(1), first, last, last.wrapping_add(1)];
                        peers.extend(near.map(|bits| IpAddr::V6(bits.into())));
                    }
                }
            }
        }
        for rules in &all {
            for peer in &peers {
                for point in [Point::Ingress, Point::Egress] {
                    assert_eq!(passes(rules, point, *peer), meant(rules, *peer), "{rules} {peer} {point:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_packet_of_ip_and_what_is_cut_short_does_not_pass() {
        let nothing_denied = program(&rules(&[], &[]), Point::Egress);
        assert_eq!(run(&nothing_denied, 0x0800, &[0; 20]), 1);
        assert_eq!(run(&nothing_denied, 0x0800, &[0; 19]), 0);
        assert_eq!(run(&nothing_denied, 0x86dd, &[0; 39]), 0);
        assert_eq!(run(&nothing_denied, 0x0806, &[0; 60]), 0, "ARP has no socket of ours");
    }

    #[test]
    fn as_many_prefixes_as_a_unit_may_have_make_a_short_program() {
        let many: Vec<String> = (0..256).map(|n| format!("2001:db8:{n:x}::{n:x}:1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let program = program(&rules(&[], &many), Point::Egress);
        assert!(program.len() < 6000, "{}", program.len());
        assert!(!passes(&rules(&[], &many), Point::Egress, "2001:db8:ff::ff:1".parse().expect("address")));
        assert!(passes(&rules(&[], &many), Point::Egress, "2001:db8:ff::ff:2".parse().expect("address")));
        if !available() {
            return println!("skipped: no program for packets can be loaded here");
        }
        for point in [Point::Ingress, Point::Egress] {
            let few = super::program(&rules(&["127.0.0.0/8"], &["::/0"]), point);
            assert!(programs::loadable(point, &program) && programs::loadable(point, &few));
        }
    }
}

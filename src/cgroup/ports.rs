//! Ports of UDP that a unit may bind: a program that is asked at every bind(2) of the group's sockets.
//!
//! TCP is Landlock's (`compile::landlock`), which knows no UDP. A socket belongs to the group in which it was made, whoever has
//! it later. What never calls bind(2) is not asked about: a socket that only sends gets a port of the kernel's
//! (net.ipv4.ip_local_port_range), as one of TCP does that connects.
//!
//! ```text
//! SOCK_DGRAM? (UDP and UDP-Lite)  no: 1
//!     └── port ── a balanced tree over the ranges of the list ──▶ 0: EPERM, 1: goes on
//! ```
//!
//! An address of IPv4 that a socket of IPv6 binds (`::ffff:127.0.0.1`) is asked about as that of the IPv6 socket.

use super::CgroupError;
use super::programs::{self, FROM_NETWORK, JUMP_IF_AT_LEAST, JUMP_IF_NOT_EQUAL, answer, jump, load, operation, tree};
use crate::plan::PortRange;
use crate::sys::bpf::{Instruction, Point};
use std::path::Path;

/// Both families.
const POINTS: [Point; 2] = [Point::Bind4, Point::Bind6];

/// Members of `struct bpf_sock_addr`, bytes. The port is in the order of the network.
const PORT: i16 = 24;
const TYPE: i16 = 32;

/// Of socket(2).
const DATAGRAMS: i32 = 2;

/// Register of what is looked at.
const VALUE: u8 = 2;

/// Can programs be loaded by this process? Asked with one that is attached nowhere.
pub(super) fn available() -> bool {
    POINTS.into_iter().all(|point| programs::loadable(point, &program(&[])))
}

/// Makes `allowed` the ports that the group's sockets may bind.
pub(super) fn apply(directory: &Path, allowed: &[PortRange]) -> Result<(), CgroupError> {
    let program = program(allowed);
    POINTS.into_iter().try_for_each(|point| programs::put(directory, point, &program))
}

/// Takes the list of an earlier configuration away.
pub(super) fn clear(directory: &Path) -> Result<(), CgroupError> {
    POINTS.into_iter().try_for_each(|point| programs::clear(directory, point))
}

/// See the module documentation.
fn program(allowed: &[PortRange]) -> Vec<Instruction> {
    let passes = answer(1);
    let mut all = vec![load(VALUE, TYPE), jump(JUMP_IF_NOT_EQUAL, VALUE, DATAGRAMS, 0)];
    all.extend([load(VALUE, PORT), operation(FROM_NETWORK, VALUE, 0, 16)]);
    all.extend(tree(&ranges(allowed), &|bound, skip| vec![jump(JUMP_IF_AT_LEAST, VALUE, bound, skip)]));
    all[1] = jump(JUMP_IF_NOT_EQUAL, VALUE, DATAGRAMS, all.len() - 2);
    all.extend(passes);
    all
}

/// All ports as ranges: in order, the first from 0, no two neighbours alike.
fn ranges(allowed: &[PortRange]) -> Vec<(i32, bool)> {
    let is_allowed =
        |port: i32| allowed.iter().any(|range| (i32::from(range.first)..=i32::from(range.last)).contains(&port));
    let edges = allowed.iter().flat_map(|range| [i32::from(range.first), i32::from(range.last) + 1]);
    let mut starts: Vec<i32> = std::iter::once(0).chain(edges).filter(|start| *start <= i32::from(u16::MAX)).collect();
    starts.sort_unstable();
    starts.dedup();
    let mut all: Vec<(i32, bool)> = Vec::new();
    for start in starts {
        if all.last().is_none_or(|(_, last)| *last != is_allowed(start)) {
            all.push((start, is_allowed(start)));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::programs::{ANSWER, EXIT, LOAD_WORD, SET};
    use super::*;

    /// Runs a program as the kernel would.
    fn passes(program: &[Instruction], kind: i32, port: u16) -> bool {
        let mut registers = [0_i64; 11];
        let mut at = 0;
        loop {
            let Instruction { code, registers: pair, offset, immediate } = program[at];
            let to = usize::from(pair & 15);
            at += 1;
            let taken = match (code, offset) {
                (LOAD_WORD, TYPE) => {
                    registers[to] = kind.into();
                    false
                }
                (LOAD_WORD, PORT) => {
                    registers[to] = port.to_be().into();
                    false
                }
                (FROM_NETWORK, _) => {
                    registers[to] = u16::from_be(registers[to] as u16).into();
                    false
                }
                (SET, _) => {
                    registers[to] = immediate.into();
                    false
                }
                (JUMP_IF_NOT_EQUAL, _) => registers[to] != i64::from(immediate),
                (JUMP_IF_AT_LEAST, _) => registers[to] >= i64::from(immediate),
                (EXIT, _) => return registers[usize::from(ANSWER)] == 1,
                other => panic!("operation {other:?}"),
            };
            at += if taken { usize::try_from(offset).expect("forwards") } else { 0 };
        }
    }

    fn list(ports: &[(u16, u16)]) -> Vec<PortRange> {
        ports.iter().map(|(first, last)| PortRange { first: *first, last: *last }).collect()
    }

    #[test]
    fn the_program_answers_as_the_list_says_for_every_port() {
        for ports in [
            list(&[]),
            list(&[(0, 0)]),
            list(&[(53, 53)]),
            list(&[(8000, 8100), (53, 53), (8050, 8200), (8201, 8201)]),
            list(&[(1, 65535)]),
            list(&[(65535, 65535), (0, 0)]),
        ] {
            let program = program(&ports);
            for port in 0..=u16::MAX {
                let listed = ports.iter().any(|range| (range.first..=range.last).contains(&port));
                assert_eq!(passes(&program, DATAGRAMS, port), listed, "{ports:?} {port}");
            }
            assert!([1, 3, 5].into_iter().all(|kind| passes(&program, kind, 7)), "others are not its business");
        }
    }

    #[test]
    fn as_many_ports_as_a_unit_may_list_make_a_program_that_the_kernel_takes() {
        let many: Vec<(u16, u16)> = (0..1024).map(|n| (n * 3 + 1, n * 3 + 1)).collect();
        let program = program(&list(&many));
        assert!(passes(&program, DATAGRAMS, 3070) && !passes(&program, DATAGRAMS, 3071));
        if !available() {
            return println!("skipped: no program for ports can be loaded here");
        }
        assert!(POINTS.into_iter().all(|point| programs::loadable(point, &program)));
    }
}

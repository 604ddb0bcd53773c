//! Device rules in the v2 tree, where they are a program and not a file.
//!
//! The program denies all but the listed, as "devices.deny" and "devices.allow" of v1 do together. It is attached to
//! the unit's group before the first process is born there, asked beside the programs of groups above (all must agree),
//! replaced at once when the rules change, and gone with the group. The kernel keeps it when this process ends.
//!
//! ```text
//! r2 = kind, r3 = access, r4 = major, r5 = minor
//! for each rule:  kind differs? an access that is not allowed? major differs? minor differs?  ─▶ next rule
//!                 return 1
//! return 0
//! ```

use super::CgroupError;
use super::programs::{self, AND, ANSWER, JUMP_IF_NOT_EQUAL, SET_FROM, SHIFT_RIGHT};
use super::programs::{answer, load, operation};
use crate::plan::{DeviceRule, DeviceType};
use crate::sys::bpf::{Instruction, Point};
use std::path::Path;

/// Kinds and accesses in `struct bpf_cgroup_dev_ctx`: BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_DEV_CHAR; BPF_DEVCG_ACC_MKNOD,
/// _READ, _WRITE.
const BLOCK: i32 = 1;
const CHAR: i32 = 2;
const MKNOD: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;

/// Registers by use: the parts of the question.
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// Can programs be loaded by this process? Asked with one that is attached nowhere.
pub(super) fn available() -> bool {
    programs::loadable(Point::Device, &program(&[]))
}

/// Makes `rules` the group's.
pub(super) fn apply(directory: &Path, rules: &[DeviceRule]) -> Result<(), CgroupError> {
    programs::put(directory, Point::Device, &program(rules))
}

/// Takes the rules of an earlier configuration away: every device that groups above allow is allowed.
pub(super) fn clear(directory: &Path) -> Result<(), CgroupError> {
    programs::clear(directory, Point::Device)
}

/// See the module documentation.
fn program(rules: &[DeviceRule]) -> Vec<Instruction> {
    let mut all = vec![
        load(KIND, 0),
        operation(SET_FROM, ACCESS, KIND, 0),
        operation(AND, KIND, 0, 0xffff),
        operation(SHIFT_RIGHT, ACCESS, 0, 16),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    rules.iter().for_each(|rule| all.extend(one(rule)));
    all.extend(answer(0));
    all
}

fn one(rule: &DeviceRule) -> Vec<Instruction> {
    let kind = match rule.kind {
        DeviceType::Block => BLOCK,
        DeviceType::Char => CHAR,
    };
    let bit = |set: bool, bit: i32| if set { bit } else { 0 };
    let allowed = bit(rule.mknod, MKNOD) | bit(rule.read, READ) | bit(rule.write, WRITE);
    // Numbers above 2^31 wrap here, and the comparison is of 32 bits.
    let number = |register: u8, wanted: Option<u32>| wanted.map(|wanted| (register, wanted as i32));
    let mut tests = vec![(KIND, kind)];
    let mut rest = Vec::new();
    if allowed != MKNOD | READ | WRITE {
        rest.push(operation(SET_FROM, ANSWER, ACCESS, 0));
        rest.push(operation(AND, ANSWER, 0, (MKNOD | READ | WRITE) & !allowed));
        tests.push((ANSWER, 0));
    }
    tests.extend(number(MAJOR, rule.major));
    tests.extend(number(MINOR, rule.minor));
    // Each test jumps behind the answer: over the tests after it and the two instructions of the answer.
    let mut left = tests.len();
    let jumps = tests.into_iter().map(|(register, value)| {
        left -= 1;
        Instruction {
            code: JUMP_IF_NOT_EQUAL,
            registers: register,
            // At most four tests.
            offset: left as i16 + 2,
            immediate: value,
        }
    });
    // The access is worked out before the first test, so that no jump has to skip it.
    rest.extend(jumps);
    rest.extend(answer(1));
    rest
}

#[cfg(test)]
mod tests {
    use super::super::programs::{EXIT, LOAD_WORD, SET};
    use super::*;
    use crate::sys::bpf;

    /// Runs a program as the kernel would.
    fn ask(program: &[Instruction], kind: i32, access: i32, major: u32, minor: u32) -> u32 {
        let question = [(access << 16 | kind) as u32, major, minor];
        let mut registers = [0u32; 11];
        let mut at = 0;
        loop {
            let Instruction { code, registers: pair, offset, immediate } = program[at];
            let (to, from) = (usize::from(pair & 15), usize::from(pair >> 4));
            at += 1;
            match code {
                LOAD_WORD => registers[to] = question[usize::try_from(offset).expect("inside") / 4],
                SET => registers[to] = immediate as u32,
                SET_FROM => registers[to] = registers[from],
                AND => registers[to] &= immediate as u32,
                SHIFT_RIGHT => registers[to] >>= immediate,
                JUMP_IF_NOT_EQUAL if registers[to] != immediate as u32 => {
                    at += usize::try_from(offset).expect("forward");
                }
                JUMP_IF_NOT_EQUAL => {}
                EXIT => return registers[0],
                other => panic!("operation {other:#x}"),
            }
        }
    }

    fn rule(kind: DeviceType, major: Option<u32>, minor: Option<u32>, access: &str) -> DeviceRule {
        let has = |letter: char| access.contains(letter);
        DeviceRule { kind, major, minor, read: has('r'), write: has('w'), mknod: has('m') }
    }

    #[test]
    fn without_rules_everything_is_denied() {
        let none = program(&[]);
        assert_eq!((ask(&none, CHAR, READ, 1, 3), ask(&none, BLOCK, MKNOD, 0, 0)), (0, 0));
    }

    #[test]
    fn a_rule_allows_its_device_and_no_more_access_than_it_names() {
        use DeviceType::{Block, Char};
        let rules = [
            rule(Char, Some(1), Some(3), "rwm"),
            rule(Char, Some(136), None, "rw"),
            rule(Block, None, Some(7), "r"),
            rule(Block, None, None, "m"),
            rule(Char, Some(u32::MAX), Some(1 << 31), "w"),
        ];
        let program = program(&rules);
        for kind in [BLOCK, CHAR] {
            for access in 0..8 {
                for (major, minor) in [(1, 3), (1, 4), (136, 0), (136, 99), (2, 7), (2, 8), (u32::MAX, 1 << 31)] {
                    let wanted = rules.iter().any(|rule| {
                        (rule.kind == Block) == (kind == BLOCK)
                            && rule.major.is_none_or(|number| number == major)
                            && rule.minor.is_none_or(|number| number == minor)
                            && (access & MKNOD == 0 || rule.mknod)
                            && (access & READ == 0 || rule.read)
                            && (access & WRITE == 0 || rule.write)
                    });
                    let found = ask(&program, kind, access, major, minor);
                    assert_eq!(found, u32::from(wanted), "kind {kind} access {access} {major}:{minor}");
                }
            }
        }
    }

    #[test]
    fn the_kernel_takes_the_program_where_it_takes_any() {
        if !available() {
            return println!("skipped: no device program can be loaded here");
        }
        let rules = [
            rule(DeviceType::Char, Some(5), None, "r"),
            rule(DeviceType::Block, None, None, "rwm"),
            rule(DeviceType::Char, None, Some(u32::MAX), ""),
        ];
        bpf::load(Point::Device, &program(&rules)).expect("accepted");
        bpf::load(Point::Device, &[]).expect_err("no program");
    }
}

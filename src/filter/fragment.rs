//! Checks of arguments → the instructions that decide one call, behind the tree.
//!
//! seccompiler compiles each test. Its programs begin with a check of the architecture, which kills, and of the number;
//! both are decided by the tree already, so that beginning is cut off. The rest jumps only relatively and can stand
//! anywhere. It ends with one of two answers, in whose place come jumps to the next test, or the answers of the policy:
//! how tests make cases and cases make checks is decided here. The whole is short-circuited: half of its instructions
//! are jumps to jumps and what nothing leads to.

use super::policy::FilterError;
use super::program::{AUDIT_ARCH_X86_64, Answer};
use super::restrict::{Check, Test};
use super::tree::{ARCHITECTURE, Instruction, JUMP, JUMP_EQUAL, LOAD, NUMBER, RETURN};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// BPF_JMP in the lowest three bits of a code; those of loads, arithmetic and returns differ.
const JUMP_CLASS: u16 = 0x05;
/// Reach of a conditional jump.
const REACH: usize = 255;

/// Compiles checks, at least one, to instructions that begin with the first test and end with answers: that of the
/// first check that refuses, or `pass`.
pub(super) fn compile(checks: &[Check], pass: Answer) -> Result<Vec<Instruction>, FilterError> {
    let mut parts = Vec::new();
    for (index, check) in checks.iter().enumerate() {
        let next = parts.len() + check.cases.iter().map(Vec::len).sum::<usize>();
        let passed = if index + 1 < checks.len() { Exit::Part(next) } else { Exit::Answer(pass) };
        let refused = Exit::Answer(check.refusal);
        let (met, unmet) = if check.refused_when_met { (refused, passed) } else { (passed, refused) };
        for (index, case) in check.cases.iter().enumerate() {
            let behind = parts.len() + case.len();
            let otherwise = if index + 1 < check.cases.len() { Exit::Part(behind) } else { unmet };
            for (index, test) in case.iter().enumerate() {
                let holds = if index + 1 < case.len() { Exit::Part(parts.len() + 1) } else { met };
                parts.push(Part { instructions: of_test(test)?, exits: exits(test, holds, otherwise) });
            }
        }
    }
    Ok(short_circuited(&joined(&parts)))
}

/// Where a test leads.
#[derive(Clone, Copy)]
enum Exit {
    /// To the beginning of the part of this index.
    Part(usize),
    Answer(Answer),
}

/// The instructions of a test, which return one of the two marks, and what is done instead.
struct Part {
    instructions: Vec<Instruction>,
    exits: [Exit; 2],
}

/// Stands for "the comparison holds", and for "it does not".
const MARKS: [u32; 2] = [1, 2];

/// seccompiler compares only for equality under a mask: for the contrary the exits change places.
fn exits(test: &Test, holds: Exit, otherwise: Exit) -> [Exit; 2] {
    match test {
        Test::Lower { equal: true, .. } | Test::Whole { equal: true, .. } => [holds, otherwise],
        _ => [otherwise, holds],
    }
}

/// Puts the parts one behind the other and their exits in the place of the marks.
fn joined(parts: &[Part]) -> Vec<Instruction> {
    let starts: Vec<usize> = parts
        .iter()
        .scan(0, |at, part| {
            let start = *at;
            *at += part.instructions.len();
            Some(start)
        })
        .collect();
    let mut program: Vec<Instruction> = Vec::new();
    for part in parts {
        for &instruction in &part.instructions {
            let mark = |value| u32::from(SeccompAction::Errno(value));
            let exit = match instruction {
                (RETURN, 0, 0, value) if value == mark(MARKS[0]) => Some(part.exits[0]),
                (RETURN, 0, 0, value) if value == mark(MARKS[1]) => Some(part.exits[1]),
                _ => None,
            };
            program.push(match exit {
                None => instruction,
                Some(Exit::Answer(answer)) => (RETURN, 0, 0, answer.value()),
                // Parts only lead forward.
                Some(Exit::Part(part)) => (JUMP, 0, 0, (starts[part] - program.len() - 1) as u32),
            });
        }
    }
    program
}

fn of_test(test: &Test) -> Result<Vec<Instruction>, FilterError> {
    let failed = |error: seccompiler::BackendError| FilterError::Rule(error.to_string());
    let condition = condition(test).map_err(failed)?;
    let rules = vec![SeccompRule::new(vec![condition]).map_err(failed)?];
    let [met, unmet] = MARKS.map(SeccompAction::Errno);
    // The number is a placeholder and the architecture as well: the part that asks for them is cut off.
    let filter = SeccompFilter::new([(0, rules)].into(), unmet, met, TargetArch::x86_64).map_err(failed)?;
    let program: BpfProgram = filter.try_into().map_err(failed)?;
    let program: Vec<Instruction> = program.iter().map(|insn| (insn.code, insn.jt, insn.jf, insn.k)).collect();
    without_beginning(&program)
        .map(<[_]>::to_vec)
        .ok_or_else(|| FilterError::Rule("seccompiler begins its programs in an unknown way".to_owned()))
}

/// Cuts off the checks of architecture and number, if they are as known. The answer to other numbers, the last
/// instruction, stays: jumps that are never taken lead to it, and the kernel wants every jump to stay in the program.
fn without_beginning(program: &[Instruction]) -> Option<&[Instruction]> {
    match program {
        [
            (LOAD, 0, 0, ARCHITECTURE),
            (JUMP_EQUAL, 1, 0, AUDIT_ARCH_X86_64),
            (RETURN, 0, 0, _),
            (LOAD, 0, 0, NUMBER),
            (JUMP_EQUAL, 0, 1, 0),
            rest @ ..,
        ] if !rest.is_empty() => Some(rest),
        _ => None,
    }
}

fn condition(test: &Test) -> Result<SeccompCondition, seccompiler::BackendError> {
    let masked = |whole: bool, mask| if whole { SeccompCmpOp::Eq } else { SeccompCmpOp::MaskedEq(mask) };
    match *test {
        Test::Lower { argument, mask, value, .. } => {
            let operator = masked(mask == u32::MAX, mask.into());
            SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value.into())
        }
        Test::Whole { argument, mask, value, .. } => {
            SeccompCondition::new(argument, SeccompCmpArgLen::Qword, masked(mask == u64::MAX, mask), value)
        }
    }
}

/// The same program without jumps to jumps and without what nothing leads to. Order is kept, so distances only shrink.
fn short_circuited(program: &[Instruction]) -> Vec<Instruction> {
    let landing = |mut at: usize| {
        while let (JUMP, _, _, distance) = program[at] {
            at += 1 + distance as usize;
        }
        at
    };
    // A jump that leads farther than a branch reaches stays.
    let near = |at: usize, target: usize| match landing(target) {
        far if far - at - 1 > REACH => target,
        near => near,
    };
    let mut reached = vec![false; program.len()];
    reached[landing(0)] = true;
    for at in 0..program.len() {
        let (code, yes, no, _) = program[at];
        match code {
            _ if !reached[at] => {}
            RETURN => {}
            // One that is fallen into, as branches lead past it.
            JUMP => reached[landing(at)] = true,
            _ if code & 7 == JUMP_CLASS => {
                reached[near(at, at + 1 + usize::from(yes))] = true;
                reached[near(at, at + 1 + usize::from(no))] = true;
            }
            _ => reached[at + 1] = true,
        }
    }
    let between = |at: usize, target: usize| reached[at + 1..target].iter().filter(|reached| **reached).count();
    let kept = (0..program.len()).filter(|at| reached[*at]).map(|at| {
        let (code, yes, no, k) = program[at];
        let distance = |by: u8| u8::try_from(between(at, near(at, at + 1 + usize::from(by)))).expect("within reach");
        match code {
            JUMP => (code, 0, 0, u32::try_from(between(at, landing(at))).expect("not longer than it was")),
            _ if code & 7 == JUMP_CLASS => (code, distance(yes), distance(no), k),
            _ => (code, yes, no, k),
        }
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::super::interpreter::{self, Call};
    use super::*;

    #[test]
    fn short_circuiting_keeps_the_meaning() {
        let program = [
            (JUMP, 0, 0, 1),
            (JUMP, 0, 0, 6),
            (LOAD, 0, 0, 16),
            (JUMP, 0, 0, 1), // Fallen into: must survive.
            (RETURN, 0, 0, 9),
            (JUMP_EQUAL, 0, 1, 5),
            (JUMP, 0, 0, 2),
            (RETURN, 0, 0, 1),
            (RETURN, 0, 0, 9),
            (RETURN, 0, 0, 2),
        ];
        interpreter::check(&program);
        let short = short_circuited(&program);
        interpreter::check(&short);
        assert_eq!(
            short,
            [(LOAD, 0, 0, 16), (JUMP, 0, 0, 0), (JUMP_EQUAL, 1, 0, 5), (RETURN, 0, 0, 1), (RETURN, 0, 0, 2)]
        );
        for (argument, answer) in [(5, 2), (6, 1)] {
            let call = Call { arch: 0, number: 0, arguments: [argument; 6] };
            assert_eq!(interpreter::run(&program, &call).answer, answer);
            assert_eq!(interpreter::run(&short, &call).answer, answer);
        }
    }

    #[test]
    fn a_program_that_begins_otherwise_is_not_cut() {
        let seccompilers = |arch: u32| {
            [
                (LOAD, 0, 0, ARCHITECTURE),
                (JUMP_EQUAL, 1, 0, arch),
                (RETURN, 0, 0, 0x8000_0000),
                (LOAD, 0, 0, NUMBER),
                (JUMP_EQUAL, 0, 1, 0),
                (RETURN, 0, 0, 7),
                (RETURN, 0, 0, 8),
            ]
        };
        assert_eq!(without_beginning(&seccompilers(AUDIT_ARCH_X86_64)).map(<[_]>::len), Some(2));
        assert_eq!(without_beginning(&seccompilers(1)), None);
        assert_eq!(without_beginning(&seccompilers(AUDIT_ARCH_X86_64)[..5]), None);
        assert_eq!(without_beginning(&seccompilers(AUDIT_ARCH_X86_64)[1..]), None);
    }

    #[test]
    fn a_mode_is_judged_by_five_instructions() {
        let cases = vec![vec![Test::masked(1, 0o6000, 0)]];
        let check = Check { cases, refused_when_met: false, refusal: Answer::Errno(1) };
        let program = compile(&[check], Answer::Allow).unwrap();
        assert_eq!(
            program,
            [
                (LOAD, 0, 0, 24),
                (0x54, 0, 0, 0o6000),
                (JUMP_EQUAL, 0, 1, 0),
                (RETURN, 0, 0, Answer::Allow.value()),
                (RETURN, 0, 0, Answer::Errno(1).value()),
            ]
        );
    }
}

//! Argument rules → the instructions that decide one call, behind the tree.
//!
//! seccompiler compiles the rules. Its programs begin with a check of the architecture, which kills, and of the number;
//! both are decided by the tree already, so that beginning is cut off. The rest jumps only relatively and can stand
//! anywhere. It is short-circuited: half of its instructions are jumps to jumps and what nothing leads to.

use super::policy::FilterError;
use super::program::{AUDIT_ARCH_X86_64, Answer};
use super::restrict::{Restriction, Test};
use super::tree::{ARCHITECTURE, Instruction, JUMP, JUMP_EQUAL, LOAD, NUMBER, RETURN};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// BPF_JMP in the lowest three bits of a code; those of loads, arithmetic and returns differ.
const JUMP_CLASS: u16 = 0x05;

/// Compiles the cases of a restriction to instructions that begin with the first test and end with answers.
pub(super) fn compile(
    restriction: &Restriction,
    pass: Answer,
    refuse: impl Fn(u16) -> Answer,
) -> Result<Vec<Instruction>, FilterError> {
    let (cases, when_met, otherwise) = match restriction {
        Restriction::Unless(cases, errno) => (cases, pass, refuse(*errno)),
        Restriction::When(cases, errno) => (cases, refuse(*errno), pass),
        Restriction::Always(_) => unreachable!("needs no arguments"),
    };
    let failed = |error: seccompiler::BackendError| FilterError::Rule(error.to_string());
    let mut rules = Vec::new();
    for case in cases {
        let conditions = case.iter().map(condition).collect::<Result<_, _>>().map_err(failed)?;
        rules.push(SeccompRule::new(conditions).map_err(failed)?);
    }
    // The number is a placeholder and the architecture as well: the part that asks for them is cut off.
    let filter = SeccompFilter::new([(0, rules)].into(), action(otherwise), action(when_met), TargetArch::x86_64)
        .map_err(failed)?;
    let program: BpfProgram = filter.try_into().map_err(failed)?;
    let program: Vec<Instruction> = program.iter().map(|insn| (insn.code, insn.jt, insn.jf, insn.k)).collect();
    without_beginning(&program)
        .map(short_circuited)
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
    let (argument, operator, value) = match *test {
        Test::Equals(argument, value) => (argument, SeccompCmpOp::Eq, value),
        Test::Differs(argument, value) => (argument, SeccompCmpOp::Ne, value),
        Test::Masked(argument, mask, value) => (argument, SeccompCmpOp::MaskedEq(u64::from(mask)), value),
    };
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, u64::from(value))
}

fn action(answer: Answer) -> SeccompAction {
    match answer {
        Answer::Allow => SeccompAction::Allow,
        Answer::Log => SeccompAction::Log,
        Answer::Errno(errno) => SeccompAction::Errno(u32::from(errno)),
        Answer::Kill => SeccompAction::KillProcess,
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
                reached[landing(at + 1 + usize::from(yes))] = true;
                reached[landing(at + 1 + usize::from(no))] = true;
            }
            _ => reached[at + 1] = true,
        }
    }
    let between = |at: usize, target: usize| reached[at + 1..target].iter().filter(|reached| **reached).count();
    let kept = (0..program.len()).filter(|at| reached[*at]).map(|at| {
        let (code, yes, no, k) = program[at];
        let distance =
            |by: u8| u8::try_from(between(at, landing(at + 1 + usize::from(by)))).expect("not longer than it was");
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
        let rule = Restriction::Unless(vec![vec![Test::Masked(1, 0o6000, 0)]], 1);
        let program = compile(&rule, Answer::Allow, Answer::Errno).unwrap();
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

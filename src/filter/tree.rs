//! Call numbers → a balanced tree of classic BPF.
//!
//! The program is written from its end to its beginning, as jumps only go forward: when a jump is written, its targets
//! are known. A label is the distance of an instruction from the end. Conditional jumps reach 255 instructions; for
//! more a JA, whose distance has 32 bits, or a second copy of the answer, is put within reach.

use std::collections::BTreeMap;

/// One instruction: code, jt, jf, k.
pub(super) type Instruction = (u16, u8, u8, u32);

/// BPF_LD | BPF_W | BPF_ABS.
pub(super) const LOAD: u16 = 0x20;
/// BPF_JMP | BPF_JA.
pub(super) const JUMP: u16 = 0x05;
/// BPF_JMP | BPF_JEQ | BPF_K.
pub(super) const JUMP_EQUAL: u16 = 0x15;
/// BPF_JMP | BPF_JGE | BPF_K.
pub(super) const JUMP_AT_LEAST: u16 = 0x35;
/// BPF_RET | BPF_K.
pub(super) const RETURN: u16 = 0x06;

/// Offset of the call number in struct seccomp_data.
pub(super) const NUMBER: u32 = 0;
/// Offset of the architecture in struct seccomp_data.
pub(super) const ARCHITECTURE: u32 = 4;

/// So many exceptions are tested one after the other before another level of the tree is cheaper.
const CHAIN: usize = 3;
/// Reach of a conditional jump.
const REACH: usize = 255;

/// What happens at a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// The program ends with this value (SECCOMP_RET_*).
    Answer(u32),
    /// The argument program of this index decides.
    Fragment(usize),
}

/// Numbers `first` to `last`, both included, have this target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub first: u32,
    pub last: u32,
    pub target: Target,
}

/// Lays the targets of single numbers, ascending, over a line from 0 to `u32::MAX` on which everything else is
/// `otherwise`.
pub(super) fn ranges(numbers: &[(u32, Target)], otherwise: &[(u32, Target)]) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    let mut push = |first: u32, last: u32, target: Target| match ranges.last_mut() {
        Some(range) if range.target == target => range.last = last,
        _ => ranges.push(Range { first, last, target }),
    };
    for (index, &(start, background)) in otherwise.iter().enumerate() {
        let end = otherwise.get(index + 1).map_or(u32::MAX, |(next, _)| next - 1);
        let mut next = Some(start);
        for &(number, target) in numbers.iter().filter(|(number, _)| (start..=end).contains(number)) {
            match next {
                Some(gap) if gap < number => push(gap, number - 1, background),
                _ => {}
            }
            push(number, number, target);
            next = number.checked_add(1);
        }
        match next {
            Some(gap) if gap <= end => push(gap, end, background),
            _ => {}
        }
    }
    ranges
}

/// A place in the program: so many instructions from here to the end, this one included.
pub(super) type Label = usize;

/// Writes a program backwards.
#[derive(Default)]
pub(super) struct Writer {
    reversed: Vec<Instruction>,
    /// Where each target was last written.
    targets: BTreeMap<Target, Label>,
}

impl Writer {
    /// The finished program.
    pub fn finish(mut self) -> Vec<Instruction> {
        self.reversed.reverse();
        self.reversed
    }

    /// Writes an argument program; jumps within it are relative and it ends with answers.
    pub fn fragment(&mut self, index: usize, instructions: &[Instruction]) {
        self.reversed.extend(instructions.iter().rev());
        self.targets.insert(Target::Fragment(index), self.reversed.len());
    }

    /// Writes `load` of the 32-bit word at `offset`, to go on at `next`.
    pub fn load(&mut self, offset: u32, next: Label) -> Label {
        if next != self.reversed.len() {
            self.jump(next);
        }
        self.push((LOAD, 0, 0, offset))
    }

    /// Writes a comparison of the accumulator with `k`.
    pub fn branch(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Label {
        // Bringing `no` near may push `yes` one instruction further away.
        let yes = self.near(yes, REACH - 1);
        let no = self.near(no, REACH);
        let distance = |label: Label| u8::try_from(self.reversed.len() - label).expect("brought within reach");
        self.push((code, distance(yes), distance(no), k))
    }

    /// Writes the tree that decides over `ranges`, which are not empty, ascend and leave no gap.
    pub fn tree(&mut self, ranges: &[Range]) -> Label {
        if let Some((rest, exceptions)) = chain(ranges) {
            let rest = self.target(rest);
            return exceptions.iter().rev().fold(rest, |next, range| {
                let target = self.target(range.target);
                self.branch(JUMP_EQUAL, range.first, target, next)
            });
        }
        let middle = ranges.len() / 2;
        let upper = self.tree(&ranges[middle..]);
        let lower = self.tree(&ranges[..middle]);
        self.branch(JUMP_AT_LEAST, ranges[middle].first, upper, lower)
    }

    /// A place within reach where `target` happens; writes an answer again when the last copy is far away.
    pub fn target(&mut self, target: Target) -> Label {
        match (target, self.targets.get(&target)) {
            (_, Some(&label)) if self.reversed.len() - label < REACH - CHAIN => label,
            (Target::Answer(value), _) => {
                let label = self.push((RETURN, 0, 0, value));
                self.targets.insert(target, label);
                label
            }
            (Target::Fragment(_), Some(&label)) => {
                let label = self.jump(label);
                self.targets.insert(target, label);
                label
            }
            (Target::Fragment(index), None) => unreachable!("argument program {index} was not written"),
        }
    }

    fn near(&mut self, label: Label, reach: usize) -> Label {
        if self.reversed.len() - label <= reach { label } else { self.jump(label) }
    }

    fn jump(&mut self, label: Label) -> Label {
        let distance = u32::try_from(self.reversed.len() - label).expect("programs are short");
        self.push((JUMP, 0, 0, distance))
    }

    fn push(&mut self, instruction: Instruction) -> Label {
        self.reversed.push(instruction);
        self.reversed.len()
    }
}

/// Ranges that are one target but for few single numbers: that target and the exceptions.
fn chain(ranges: &[Range]) -> Option<(Target, Vec<Range>)> {
    if ranges.len() > 2 * CHAIN + 1 {
        return None;
    }
    let wide = ranges.iter().find(|range| range.first != range.last).or(ranges.first())?;
    let exceptions: Vec<Range> = ranges.iter().filter(|range| range.target != wide.target).copied().collect();
    let all_single = exceptions.iter().all(|range| range.first == range.last);
    (all_single && exceptions.len() <= CHAIN).then_some((wide.target, exceptions))
}

#[cfg(test)]
mod tests {
    use super::super::interpreter::{self, Call};
    use super::*;

    fn answer(program: &[Instruction], number: u32) -> u32 {
        interpreter::run(program, &Call { arch: 0, number, arguments: [0; 6] }).answer
    }

    #[test]
    fn a_branch_reaches_both_ends_however_far_they_are() {
        for (first, second) in (245..262).flat_map(|first| (245..262).map(move |second| (first, second))) {
            for swapped in [false, true] {
                let mut writer = Writer::default();
                let far = writer.push((RETURN, 0, 0, 1));
                while writer.reversed.len() < first {
                    writer.push((RETURN, 0, 0, 0));
                }
                let nearer = writer.push((RETURN, 0, 0, 2));
                while writer.reversed.len() < first + second {
                    writer.push((RETURN, 0, 0, 0));
                }
                let (yes, no) = if swapped { (far, nearer) } else { (nearer, far) };
                let branch = writer.branch(JUMP_EQUAL, 7, yes, no);
                writer.load(NUMBER, branch);
                let program = writer.finish();
                interpreter::check(&program);
                let expected = if swapped { (1, 2) } else { (2, 1) };
                assert_eq!((answer(&program, 7), answer(&program, 8)), expected, "{first} {second}");
            }
        }
    }

    #[test]
    fn ranges_join_equal_neighbours_and_leave_no_gap() {
        const A: Target = Target::Answer(1);
        const B: Target = Target::Answer(2);
        let range = |first, last, target| Range { first, last, target };
        assert_eq!(ranges(&[], &[(0, A)]), [range(0, u32::MAX, A)]);
        assert_eq!(
            ranges(&[(0, B), (1, B), (5, A), (6, B), (u32::MAX, B)], &[(0, A), (100, B)]),
            [range(0, 1, B), range(2, 5, A), range(6, 6, B), range(7, 99, A), range(100, u32::MAX, B)]
        );
    }

    #[test]
    fn single_exceptions_cost_one_comparison_each() {
        let numbers = [(3, Target::Answer(2)), (9, Target::Answer(3))];
        let ranges = ranges(&numbers, &[(0, Target::Answer(1))]);
        let mut writer = Writer::default();
        writer.tree(&ranges);
        let program = writer.finish();
        assert_eq!(program.iter().filter(|(code, ..)| *code == JUMP_EQUAL).count(), 2);
        assert!(program.iter().all(|(code, ..)| *code != JUMP_AT_LEAST));
    }
}

//! Runs classic BPF as the kernel does, for tests: what it does not accept, this does not run.

use super::tree::Instruction;

/// What a filter sees of a call (struct seccomp_data).
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub arch: u32,
    pub number: u32,
    pub arguments: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.arch,
            8 | 12 => 0xdead_beef, // The instruction pointer; no program of ours may ask for it.
            16..=60 if offset.is_multiple_of(4) => {
                let argument = self.arguments[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) { argument as u32 } else { (argument >> 32) as u32 }
            }
            _ => panic!("load from offset {offset}"),
        }
    }
}

/// The end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// SECCOMP_RET_* with its data.
    pub answer: u32,
    /// Was an argument loaded? Then the kernel cannot keep the number in its bitmap.
    pub saw_arguments: bool,
    /// Instructions run.
    pub steps: usize,
}

/// Checks what the kernel checks before it takes a program (bpf_check_classic, seccomp_check_filter).
pub(super) fn check(program: &[Instruction]) {
    assert!(!program.is_empty() && program.len() <= 4096, "{} instructions", program.len());
    for (at, &(code, yes, no, k)) in program.iter().enumerate() {
        let last = program.len() - at - 1;
        match code {
            0x20 => assert!(k < 64 && k.is_multiple_of(4), "load at {at}"),
            0x05 => assert!((k as usize) < last, "jump at {at} out of the program"),
            0x15 | 0x25 | 0x35 | 0x45 => {
                assert!((yes as usize) < last && (no as usize) < last, "branch at {at} out of the program");
            }
            0x54 | 0x06 => {}
            _ => panic!("code {code:#x} at {at}"),
        }
    }
    assert_eq!(program[program.len() - 1].0, 0x06, "the last instruction returns");
}

/// Runs `program` on `call`.
pub(super) fn run(program: &[Instruction], call: &Call) -> Outcome {
    let mut accumulator = 0u32;
    let mut at = 0;
    let mut saw_arguments = false;
    for steps in 1.. {
        let (code, yes, no, k) = program[at];
        at += 1;
        let mut branch = |taken: bool| at += usize::from(if taken { yes } else { no });
        match code {
            0x20 => {
                saw_arguments |= k >= 16;
                accumulator = call.word(k);
            }
            0x05 => at += k as usize,
            0x15 => branch(accumulator == k),
            0x25 => branch(accumulator > k),
            0x35 => branch(accumulator >= k),
            0x45 => branch(accumulator & k != 0),
            0x54 => accumulator &= k,
            0x06 => return Outcome { answer: k, saw_arguments, steps },
            _ => panic!("code {code:#x}"),
        }
    }
    unreachable!("jumps only go forward")
}

#[test]
fn it_computes() {
    let program = [(0x20, 0, 0, 16), (0x54, 0, 0, 6), (0x15, 1, 0, 4), (0x06, 0, 0, 1), (0x06, 0, 0, 2)];
    check(&program);
    let call = |first| Call { arch: 0, number: 0, arguments: [first, 0, 0, 0, 0, 0] };
    assert_eq!(run(&program, &call(0xffff_ffff_0000_000c)).answer, 2);
    assert_eq!(run(&program, &call(3)).answer, 1);
    assert_eq!(run(&program, &call(3)), Outcome { answer: 1, saw_arguments: true, steps: 4 });
}

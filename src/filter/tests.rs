//! Compiled programs against the naive model, and what must be true of them whatever the model says.

use super::interpreter::{self, Call, Outcome};
use super::model::{self, AARCH64, I386, Names, X86_64};
use super::*;
use proptest::prelude::*;

fn open() -> FilterPolicy {
    FilterPolicy {
        mode: FilterMode::Enforce,
        allow: None,
        deny: Vec::new(),
        log: Vec::new(),
        errno: 1,
        unknown_errno: 38,
        kill: false,
        foreign: Vec::new(),
        address_families: None,
        deny_namespaces: 0,
        lock_personality: false,
        restrict_realtime: false,
        restrict_suid_sgid: false,
        deny_terminal_injection: false,
    }
}

/// What a unit that says nothing gets.
fn standard() -> FilterPolicy {
    FilterPolicy {
        allow: Some(list(&["@system-service", "@sandbox", "chroot"])),
        address_families: Some(vec![1, 2, 10, 16]),
        deny_namespaces: 0x7e02_0080,
        lock_personality: true,
        restrict_realtime: true,
        restrict_suid_sgid: true,
        deny_terminal_injection: true,
        ..open()
    }
}

fn list(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn call(arch: u32, number: u32, arguments: &[u64]) -> Call {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    Call { arch, number, arguments: all }
}

/// The most severe answer of all programs, and the longest run, as the kernel stacks them.
fn run(programs: &[crate::plan::FilterProgram], call: &Call) -> Outcome {
    let outcomes = programs.iter().map(|program| interpreter::run(&program.0, call));
    let severe = |outcome: &Outcome| (outcome.answer & 0xffff_0000) as i32;
    outcomes.min_by_key(severe).unwrap_or(Outcome { answer: 0x7fff_0000, saw_arguments: false, steps: 0 })
}

/// Every number that can mean something, and the borders between meanings.
fn interesting_numbers() -> impl Iterator<Item = u32> {
    let ends = [600, 1000, 0x3fff_ffff, 0x4000_0600, 0x7fff_ffff, 0x8000_0000, 0x8000_0029, u32::MAX - 1, u32::MAX];
    (0..600).chain(0x4000_0000..0x4000_0000 + 600).chain(ends)
}

fn audit(arch: Arch) -> u32 {
    match arch {
        Arch::X86_64 => X86_64,
        Arch::Aarch64 => AARCH64,
    }
}

/// Every number of every entry with the same arguments.
fn assert_equals_model(policy: &FilterPolicy, arch: Arch, names: &Names, arguments: &[u64]) {
    let programs = compile(policy, arch).unwrap();
    for program in &programs {
        interpreter::check(&program.0);
    }
    for entry in [X86_64, I386, AARCH64, 0x4000_0028] {
        for number in interesting_numbers() {
            let call = call(entry, number, arguments);
            let expected = model::answer(policy, arch, names, &call);
            let outcome = run(&programs, &call);
            assert_eq!(
                outcome.answer,
                expected,
                "{:?} {call:x?}: {:#x} instead of {expected:#x} under {policy:?}",
                names.of(&call),
                outcome.answer
            );
        }
    }
}

#[test]
fn standard_policy_equals_the_model_on_both_architectures() {
    let names = Names::new();
    for arch in [Arch::X86_64, Arch::Aarch64] {
        for arguments in
            [&[0; 6], &[u64::MAX; 6], &[1, 0x5412, 0o4755, 0o4755, 0, 0], &[0x1000_0000, 1, 0o6000, 0, 0, 0]]
        {
            assert_equals_model(&standard(), arch, &names, arguments);
        }
    }
}

#[test]
fn sizes() {
    for (name, policy) in
        [("standard", standard()), ("foreign", FilterPolicy { foreign: list(&["x86", "x32"]), ..standard() })]
    {
        let programs = compile(&policy, Arch::X86_64).unwrap();
        let worst = interesting_numbers().map(|number| run(&programs, &call(X86_64, number, &[0; 6])).steps).max();
        eprintln!("{name}: {} {:?} {worst:?}", programs.len(), programs.iter().map(|p| p.0.len()).collect::<Vec<_>>());
    }
}

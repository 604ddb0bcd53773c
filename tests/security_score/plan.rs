//! What the scores believe, held against the plan that a start would run: a score that drifts from it would lie.

use super::{OTHERS, parse, shipped_units};
use rsvc::compile::{HostFacts, Purpose, compile};
use rsvc::filter;
use rsvc::plan::{FilterProgram, LaunchPlan, Step};
use rsvc::score::{Posture, compatible};
use rsvc::unit::{SyscallMode, Unit};
use std::path::Path;

fn plans() -> impl Iterator<Item = (&'static str, Unit, LaunchPlan)> {
    let others = OTHERS.iter().map(|(name, text)| (*name, parse(name, text)));
    shipped_units().chain(others).map(|(name, unit)| {
        let plan = compile(&unit, &HostFacts::assumed_for(&unit), Purpose::Main);
        let plan = plan.unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
        (name, unit, plan)
    })
}

fn steps(plan: &LaunchPlan) -> impl Iterator<Item = &Step> {
    plan.steps.iter().map(|planned| &planned.step)
}

/// Is there a file system of this type with this option?
fn has_option(plan: &LaunchPlan, kind: &str, option: &str) -> bool {
    steps(plan).any(|step| match step {
        Step::NewFilesystem { fs_type, options, .. } => {
            fs_type == kind && options.iter().any(|(name, _)| name == option)
        }
        _ => false,
    })
}

/// Is an empty tmpfs attached there?
fn has_tmpfs(plan: &LaunchPlan, path: &str) -> bool {
    let at_path = steps(plan).filter_map(|step| match step {
        Step::Attach { slot, at, .. } if at == Path::new(path) => Some(*slot),
        _ => None,
    });
    let slots: Vec<_> = at_path.collect();
    steps(plan).any(
        |step| matches!(step, Step::NewFilesystem { slot, fs_type, .. } if fs_type == "tmpfs" && slots.contains(slot)),
    )
}

fn masks(plan: &LaunchPlan, path: &str) -> bool {
    steps(plan).any(|step| matches!(step, Step::Mask { at, .. } if at == Path::new(path)))
}

#[test]
fn the_plan_does_what_the_checks_believe() {
    for (name, unit, plan) in plans() {
        let rows = compatible(&Posture::of(&unit)).rows;
        let closed = |id: &str| rows.iter().find(|row| row.id == id).expect("a check").open == 0;
        let on_host_root = !closed("RootDirectory=/RootImage=");
        let observed = [
            ("PrivateMounts=", steps(&plan).any(|step| matches!(step, Step::PivotRoot))),
            ("PrivateNetwork=", plan.clone.net),
            ("PrivateUsers=", plan.clone.user),
            ("PrivateTmp=", has_tmpfs(&plan, "/tmp") && has_tmpfs(&plan, "/var/tmp")),
            ("ProtectProc=", has_option(&plan, "proc", "hidepid")),
            ("ProcSubset=", has_option(&plan, "proc", "subset")),
            ("KeyringMode=", steps(&plan).any(|step| matches!(step, Step::NewSessionKeyring))),
            ("MemoryDenyWriteExecute=", steps(&plan).any(|step| matches!(step, Step::DenyWriteExecute))),
        ];
        for (id, done) in observed {
            assert_eq!(closed(id), done, "{name}: {id}");
        }
        if on_host_root {
            assert_eq!(closed("ProtectHome="), masks(&plan, "/home"), "{name}: homes");
        }
    }
}

#[test]
fn the_plan_gives_the_capabilities_that_are_counted() {
    for (name, unit, plan) in plans() {
        let posture = Posture::of(&unit);
        let mut seen = 0;
        for step in steps(&plan) {
            if let Step::VerifyCredentials { bounding, ambient, no_new_privileges, uid, .. } = step {
                assert_eq!((*bounding, *ambient), (posture.bounding, posture.ambient), "{name}");
                assert_eq!(*no_new_privileges, unit.security.no_new_privileges, "{name}");
                assert_eq!(*uid == 0, posture.root, "{name}");
                seen += 1;
            }
        }
        assert_eq!(seen, 1, "{name}");
    }
}

/// What a classic BPF program answers to a call of the native ABI without arguments. Only what such programs have.
fn answer(program: &FilterProgram, number: u32) -> u32 {
    let arch: u32 = if cfg!(target_arch = "aarch64") { 0xc000_00b7 } else { 0xc000_003e };
    let (mut at, mut accumulator) = (0, 0u32);
    loop {
        let (code, yes, no, k) = program.0[at];
        at += 1;
        let jump = |holds: bool| usize::from(if holds { yes } else { no });
        match code {
            0x20 => {
                accumulator = match k {
                    0 => number,
                    4 => arch,
                    _ => 0,
                }
            }
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => at += jump(accumulator == k),
            0x25 => at += jump(accumulator > k),
            0x35 => at += jump(accumulator >= k),
            0x45 => at += jump(accumulator & k != 0),
            0x06 => return k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

#[test]
fn the_filter_lets_through_what_is_counted_as_let_through() {
    const ALLOW: u32 = 0x7fff_0000;
    for (name, unit, plan) in plans().filter(|(_, unit, _)| unit.syscalls.mode == SyscallMode::Enforce) {
        let programs: Vec<&FilterProgram> = steps(&plan)
            .filter_map(|step| match step {
                Step::LoadFilter { program, .. } => Some(program),
                _ => None,
            })
            .collect();
        assert!(!programs.is_empty(), "{name}");
        let rows = compatible(&Posture::of(&unit)).rows;
        let groups = rows.iter().filter_map(|row| Some((row, row.id.strip_prefix("SystemCallFilter=~")?)));
        for (row, group) in groups {
            let passes = |call: &&str| {
                let Ok(number) = call.parse::<syscalls::Sysno>() else { return false };
                programs.iter().all(|program| answer(program, number as u32) == ALLOW)
            };
            let calls = filter::group(group).expect("a group");
            let through: Vec<&str> = calls.into_iter().filter(|call| passes(call)).collect();
            assert_eq!(row.open > 0, !through.is_empty(), "{name}: {group}: {through:?}");
        }
    }
}

#[test]
fn the_second_wall_counts_where_it_stands() {
    for (name, unit, plan) in plans() {
        let rows = rsvc::score::own(&Posture::of(&unit)).rows;
        let closed = rows.iter().find(|row| row.id == "landlock").expect("a check").open == 0;
        let stands = steps(&plan).any(|step| match step {
            Step::MakeRuleset(ruleset) => ruleset.files.as_ref().is_some_and(|files| files.write),
            _ => false,
        });
        assert_eq!(closed, stands, "{name}");
    }
}

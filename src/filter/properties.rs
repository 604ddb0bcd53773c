//! Compiled programs against the naive model: every number of every entry, under policies and arguments at random.

use super::interpreter::{self, Call};
use super::model::{AARCH64, I386, Model, Names, X86_64};
use super::tests::{interesting_numbers, list, open, run, standard};
use super::*;
use proptest::prelude::*;

/// Calls that some restriction looks at the arguments of.
const JUDGED_BY_ARGUMENTS: [&str; 21] = [
    "chmod",
    "clone",
    "creat",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "ioctl",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "open",
    "openat",
    "personality",
    "sched_setscheduler",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "setns",
    "socket",
    "socketpair",
];

/// By a restriction, or by a condition in a list.
fn judged_by_arguments(policy: &FilterPolicy, name: Option<&str>) -> bool {
    let lists = policy.allow.iter().flatten().chain(&policy.deny);
    let mut conditional = lists.filter_map(|entry| entry.split_once('(')).map(|(call, _)| call);
    name.is_some_and(|name| {
        let also = name.strip_suffix('2').or(name.strip_suffix("64")).unwrap_or(name);
        name == "unshare" || JUDGED_BY_ARGUMENTS.contains(&name) || conditional.any(|call| call == name || call == also)
    })
}

const ENTRIES: [u32; 4] = [X86_64, I386, AARCH64, 0x4000_0028];

/// Every number of every entry with the first arguments, the calls with argument rules with all of them.
fn assert_equals_model(policy: &FilterPolicy, arch: Arch, names: &Names, arguments: &[[u64; 6]]) {
    let programs = compile(policy, arch).unwrap();
    for program in &programs {
        interpreter::check(&program.0);
    }
    let model = Model::new(policy, arch);
    for (entry, number) in
        ENTRIES.into_iter().flat_map(|entry| interesting_numbers().map(move |number| (entry, number)))
    {
        for (index, &arguments) in arguments.iter().enumerate() {
            let call = Call { arch: entry, number, arguments };
            let by_arguments = judged_by_arguments(policy, names.of(&call));
            if index > 0 && !by_arguments {
                break;
            }
            let expected = model.answer(names, &call);
            let outcome = run(&programs, &call);
            let name = names.of(&call);
            assert_eq!(outcome.answer, expected, "{name:?} {call:x?} answers {:#x} under {policy:?}", outcome.answer);
            assert!(
                by_arguments || !outcome.saw_arguments,
                "{name:?} is kept out of the kernel's bitmap by {policy:?}"
            );
        }
    }
}

#[test]
fn standard_policy_equals_the_model_on_both_architectures() {
    let names = Names::new();
    let arguments = [[0; 6], [u64::MAX; 6], [1, 0x5412, 0o4755, 0o4755, 0, 0], [0x1000_0000, 1, 0o6000, 0, 0, 0]];
    for arch in [Arch::X86_64, Arch::Aarch64] {
        assert_equals_model(&standard(), arch, &names, &arguments);
        let foreign = FilterPolicy { foreign: list(&["x86", "x32"]), ..standard() };
        assert_equals_model(&foreign, arch, &names, &arguments);
    }
}

/// Entries for lists; `deniable`: without those that a deny list must not have.
fn entries(deniable: bool, up_to: usize) -> impl Strategy<Value = Vec<String>> {
    let indispensable = ["execve", "exit", "exit_group", "rt_sigreturn", "write"];
    let has_one = move |calls: &[&str]| calls.iter().any(|call| indispensable.contains(call));
    let groups = group_names().filter(move |name| !deniable || !has_one(&group(name).unwrap()));
    let calls = all_call_names().filter(move |name| !deniable || !has_one(&[name]));
    let groups: Vec<String> = groups.map(str::to_owned).collect();
    let calls: Vec<String> = calls.map(str::to_owned).collect();
    let judged: Vec<String> =
        JUDGED_BY_ARGUMENTS.iter().chain(&["clone3", "openat2", "unshare"]).map(ToString::to_string).collect();
    let entry = prop_oneof![
        prop::sample::select(groups),
        prop::sample::select(calls),
        prop::sample::select(judged),
        rule(deniable),
    ];
    prop::collection::vec(entry, 0..up_to)
}

/// A call with conditions, as it stands in a list.
fn rule(deniable: bool) -> impl Strategy<Value = String> {
    let calls: Vec<String> =
        all_call_names().filter(|name| !deniable || !is_indispensable(name)).map(str::to_owned).collect();
    let known =
        ["ioctl", "clone", "socket", "openat", "mmap", "mprotect", "prctl", "fcntl", "chmod", "semget", "select"];
    let known: Vec<String> = known.iter().map(ToString::to_string).collect();
    let call = prop_oneof![3 => prop::sample::select(known), 1 => prop::sample::select(calls)];
    let mask = prop_oneof![
        2 => Just(None),
        1 => any::<u32>().prop_map(|mask| Some(u64::from(mask | 1))),
        1 => Just(Some(0o6000)),
        1 => argument().prop_map(|mask| Some(mask | 2)),
    ];
    let condition = (0..6u8, mask, any::<bool>(), argument(), any::<bool>());
    (call, prop::collection::vec(condition, 1..4)).prop_map(|(call, conditions)| {
        let text = |(argument, mask, complement, value, equal): (u8, Option<u64>, bool, u64, bool)| {
            let sign = if equal { "==" } else { "!=" };
            let tilde = if complement { "~" } else { "" };
            let one = |wide: bool| {
                let limit = if wide { u64::MAX } else { u64::from(u32::MAX) };
                let (value, written) = (value & limit, mask.map(|mask| mask & limit));
                let effective = written.map(|mask| if complement { !mask } else { mask }).unwrap_or(u64::MAX);
                match written {
                    None => format!("{argument} {sign} {value:#x}"),
                    Some(mask) => format!("{argument} & {tilde}{mask:#x} {sign} {:#x}", value & effective & limit),
                }
            };
            // What the call's argument is too narrow for is written for 32 bits, or for the 12 of a mode.
            let fits = |text: &String| Rule::parse(&format!("{call}({text})")).is_ok();
            let narrow = format!("{argument} & 0o6000 {sign} 0o4000");
            [one(true), one(false), narrow].into_iter().find(fits).unwrap()
        };
        let texts: Vec<String> = conditions.into_iter().map(text).collect();
        format!("{call}({})", texts.join(", "))
    })
}

prop_compose! {
    fn restrictions()(
        address_families in prop::option::of(prop::collection::vec(0..50u16, 0..6)),
        namespace_bits in prop::option::of(any::<u8>()),
        flags in any::<[bool; 6]>(),
        foreign in prop::sample::subsequence(vec!["x86", "x32"], 0..=2),
    ) -> FilterPolicy {
        let all = [0x80, 0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];
        let bits = namespace_bits.unwrap_or(0);
        FilterPolicy {
            address_families,
            deny_namespaces: all.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0).map(|(_, flag)| flag).sum(),
            lock_personality: flags[0],
            restrict_realtime: flags[1],
            restrict_suid_sgid: flags[2],
            deny_terminal_injection: flags[3],
            plain_tcp: flags[4],
            deny_fast_open: flags[5],
            foreign: list(&foreign),
            ..open()
        }
    }
}

prop_compose! {
    fn policies()(
        restrictions in restrictions(),
        allow in prop::option::weighted(0.8, entries(false, 12)),
        deny in entries(true, 8),
        log in entries(false, 3).prop_map(|list| list.into_iter().filter(|entry| !is_rule(entry)).collect::<Vec<_>>()),
        notify in any::<bool>(),
        errno in 1..4096i32,
        unknown_errno in 1..4096i32,
        kill in any::<bool>(),
        log_only in prop::bool::weighted(0.2),
    ) -> FilterPolicy {
        let mode = if log_only { FilterMode::Log } else { FilterMode::Enforce };
        FilterPolicy { mode, allow, deny, log, errno, unknown_errno, kill, notify, ..restrictions }
    }
}

fn argument() -> impl Strategy<Value = u64> {
    let values = [
        0,
        1,
        2,
        3,
        5,
        6,
        7,
        10,
        16,
        38,
        0o100,
        0o644,
        0o2755,
        0o4755,
        0o6000,
        0o20_200_000,
        0x5412,
        0x541c,
        0x80,
        0x0002_0000,
        0x1000_0011,
        0x4000_0000,
        0x4000_0001,
        0x4000_0003,
        0xffff_ffff,
        0x7c02_0000,
    ];
    let value = prop_oneof![3 => prop::sample::select(values.to_vec()), 1 => any::<u32>().prop_map(u64::from)];
    (value, prop_oneof![Just(0u64), Just(0xffff_ffff), any::<u64>()]).prop_map(|(low, high)| low | high << 32)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_policy_equals_the_model(
        policy in policies().prop_filter("has nothing to judge", |policy| !policy.is_empty()),
        arch in prop_oneof![3 => Just(Arch::X86_64), 1 => Just(Arch::Aarch64)],
        arguments in prop::collection::vec(prop::array::uniform6(argument()), 1..12),
    ) {
        assert_equals_model(&policy, arch, &Names::new(), &arguments);
    }
}

#[test]
fn the_most_ragged_policy_still_fits_and_needs_long_jumps() {
    let names = Names::new();
    let every_other = |abi| calls::table(abi).into_iter().step_by(2).map(|(_, name)| name.to_owned());
    let ragged = FilterPolicy {
        allow: Some(every_other(calls::Abi::X86_64).chain(every_other(calls::Abi::I386)).collect()),
        log: calls::table(calls::Abi::X86_64).into_iter().step_by(3).map(|(_, name)| name.to_owned()).collect(),
        foreign: list(&["x86", "x32"]),
        ..standard()
    };
    let programs = compile(&ragged, Arch::X86_64).unwrap();
    assert!(programs[0].0.iter().any(|(code, ..)| *code == tree::JUMP), "this test lost its point");
    assert_equals_model(&ragged, Arch::X86_64, &names, &[[0; 6], [u64::MAX; 6]]);
}

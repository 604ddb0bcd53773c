//! Policy → program: who may enter, what each number means, and the argument programs behind the tree.
//!
//! ```text
//!   load architecture ── native ──▶ load number ─▶ tree ─▶ answer | argument program
//!          │── i386, when let in ─▶ load number ─▶ tree of its own numbers, the same answers and argument programs
//!          └── else ENOSYS
//! ```
//!
//! All is one program, not one per errno stacked on each other: every further program costs about half of what this
//! one costs to load, and no order among them can be wrong.

use super::calls::{self, Abi, X32_BIT};
use super::fragment;
use super::lists::{Lists, behind_pointer};
use super::policy::{Arch, FilterError, FilterMode, FilterPolicy};
use super::restrict::{self, Check, ENOSYS, Restriction};
use super::tree::{ARCHITECTURE, Instruction, JUMP_EQUAL, NUMBER, Range, Target, Writer};
use crate::plan::FilterProgram;

pub(super) const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
pub(super) const AUDIT_ARCH_I386: u32 = 0x4000_0003;
pub(super) const AUDIT_ARCH_AARCH64: u32 = 0xc000_00b7;

/// SECCOMP_RET_USER_NOTIF
pub(super) const NOTIFY: u32 = 0x7fc0_0000;

/// How a filter answers a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Answer {
    Allow,
    Log,
    Errno(u16),
    Kill,
    /// Whoever holds the filter's listener is asked, and answers this errno. The kernel does not look at these bits of
    /// the value, so the program itself tells the listener what to answer.
    Notify(u16),
}

impl Answer {
    /// SECCOMP_RET_*, see seccomp(2).
    pub const fn value(self) -> u32 {
        match self {
            Answer::Allow => 0x7fff_0000,
            Answer::Log => 0x7ffc_0000,
            Answer::Errno(errno) => 0x0005_0000 | errno as u32,
            Answer::Kill => 0x8000_0000,
            Answer::Notify(errno) => NOTIFY | errno as u32,
        }
    }
}

/// Compiles a policy to the programs that `arch` loads, in this order; none when the policy refuses and logs nothing.
///
/// At present there is at most one. It may refuse seccomp(2), so it has to be the last filter of all.
///
/// # Errors
/// Names that do not exist, numbers out of range, a deny list that forbids the start itself, a program too long for
/// the kernel.
pub fn compile(policy: &FilterPolicy, arch: Arch) -> Result<Vec<FilterProgram>, FilterError> {
    let judge = Judge::new(policy)?;
    if policy.is_empty() {
        return Ok(Vec::new());
    }
    let lets_in = |name: &str| arch == Arch::X86_64 && policy.foreign.iter().any(|foreign| foreign == name);
    let mut fragments = Fragments::default();
    let native = match arch {
        Arch::X86_64 => {
            let x32 = lets_in("x32");
            let beyond = if x32 { judge.unknown() } else { judge.refuse(Answer::Errno(ENOSYS)) };
            let mut numbers = fragments.numbers(&judge, Abi::X86_64)?;
            if x32 {
                numbers.extend(fragments.numbers(&judge, Abi::X32)?);
            }
            line(&numbers, &[(0, judge.unknown()), (X32_BIT, beyond)])
        }
        Arch::Aarch64 => line(&fragments.numbers(&judge, Abi::Aarch64)?, &[(0, judge.unknown())]),
    };
    let i386 =
        if lets_in("x86") { Some(line(&fragments.numbers(&judge, Abi::I386)?, &[(0, judge.unknown())])) } else { None };
    let program = write(arch, &judge, &native, i386.as_deref(), &fragments);
    if program.len() > FilterError::LONGEST {
        return Err(FilterError::TooLong(program.len()));
    }
    Ok(vec![FilterProgram(program)])
}

fn line(numbers: &[(u32, Target)], otherwise: &[(u32, Answer)]) -> Vec<Range> {
    let otherwise: Vec<_> = otherwise.iter().map(|&(first, answer)| (first, Target::Answer(answer.value()))).collect();
    super::tree::ranges(numbers, &otherwise)
}

fn write(
    arch: Arch,
    judge: &Judge,
    native: &[Range],
    i386: Option<&[Range]>,
    fragments: &Fragments,
) -> Vec<Instruction> {
    let mut writer = Writer::default();
    for (index, (_, instructions)) in fragments.0.iter().enumerate() {
        writer.fragment(index, instructions);
    }
    let tree = writer.tree(native);
    let native = writer.load(NUMBER, tree);
    let foreign = match i386 {
        Some(i386) => {
            let tree = writer.tree(i386);
            let i386 = writer.load(NUMBER, tree);
            let other = writer.target(Target::Answer(judge.refuse(Answer::Errno(ENOSYS)).value()));
            writer.branch(JUMP_EQUAL, AUDIT_ARCH_I386, i386, other)
        }
        None => writer.target(Target::Answer(judge.refuse(Answer::Errno(ENOSYS)).value())),
    };
    let audit = match arch {
        Arch::X86_64 => AUDIT_ARCH_X86_64,
        Arch::Aarch64 => AUDIT_ARCH_AARCH64,
    };
    let check = writer.branch(JUMP_EQUAL, audit, native, foreign);
    writer.load(ARCHITECTURE, check);
    writer.finish()
}

/// A policy with its names resolved.
struct Judge<'a> {
    policy: &'a FilterPolicy,
    lists: Lists,
    errno: u16,
    unknown_errno: u16,
}

/// What the policy says of a call.
enum Verdict {
    Answer(Answer),
    /// The checks decide, the first that refuses before the others; calls that pass them get this answer.
    Arguments(Vec<Check>, Answer),
}

impl<'a> Judge<'a> {
    fn new(policy: &'a FilterPolicy) -> Result<Judge<'a>, FilterError> {
        restrict::check(policy)?;
        if let Some(unknown) = policy.foreign.iter().find(|name| !matches!(name.as_str(), "x86" | "x32")) {
            return Err(FilterError::UnknownArchitecture(unknown.clone()));
        }
        let lists = Lists::new(policy)?;
        Ok(Judge { policy, lists, errno: errno(policy.errno)?, unknown_errno: errno(policy.unknown_errno)? })
    }

    fn verdict(&self, abi: Abi, name: &'static str) -> Verdict {
        let refusal = self.refuse(match name {
            "clone3" => Answer::Errno(ENOSYS),
            _ if self.policy.kill => Answer::Kill,
            _ => self.denial(self.errno),
        });
        let listed = self.lists.allows(name);
        let (allow, deny) = self.lists.rules(abi, name);
        if self.lists.denies(name) || !listed && allow.is_empty() {
            return Verdict::Answer(refusal);
        }
        if let Some(members) = behind_pointer(abi, name)
            && self.lists.has_rules(members)
        {
            let answer = if matches!(name, "clone3" | "openat2") { Answer::Errno(ENOSYS) } else { refusal };
            return Verdict::Answer(self.refuse(answer));
        }
        let mut pass = if self.lists.logs(name) { Answer::Log } else { Answer::Allow };
        let mut checks = Vec::new();
        if !deny.is_empty() {
            checks.push(Check { cases: deny, refused_when_met: true, refusal });
        }
        if !listed {
            checks.push(Check { cases: allow, refused_when_met: false, refusal });
        }
        let restricted = |errno: u16| match name {
            "clone3" | "openat2" => self.refuse(Answer::Errno(errno)),
            _ => self.refuse(self.denial(errno)),
        };
        match restrict::restriction(self.policy, abi, name) {
            None => {}
            // Whom the lists refuse is told what the lists say.
            Some(Restriction::Always(errno)) => pass = restricted(errno),
            Some(Restriction::Unless(cases, errno)) => {
                checks.push(Check { cases, refused_when_met: false, refusal: restricted(errno) });
            }
            Some(Restriction::When(cases, errno)) => {
                checks.push(Check { cases, refused_when_met: true, refusal: restricted(errno) });
            }
        }
        checks.retain(|check| check.refusal != pass);
        if checks.is_empty() { Verdict::Answer(pass) } else { Verdict::Arguments(checks, pass) }
    }

    /// The answer to numbers without a name.
    fn unknown(&self) -> Answer {
        match self.lists.everything() {
            false => self.refuse(Answer::Errno(self.unknown_errno)),
            true => Answer::Allow,
        }
    }

    /// The refusal of a known call. That a library is told "not here" and tries the older call is no denial, and not
    /// told to anybody.
    fn denial(&self, errno: u16) -> Answer {
        if self.policy.notify { Answer::Notify(errno) } else { Answer::Errno(errno) }
    }

    /// A refusal, or what stands for it when the filter only logs.
    fn refuse(&self, answer: Answer) -> Answer {
        match self.policy.mode {
            FilterMode::Enforce => answer,
            FilterMode::Log => Answer::Log,
        }
    }
}

/// errno 0 would make a refused call look like one that succeeded; the kernel clamps above 4095 (MAX_ERRNO).
fn errno(errno: i32) -> Result<u16, FilterError> {
    u16::try_from(errno).ok().filter(|errno| (1..=4095).contains(errno)).ok_or(FilterError::Errno(errno))
}

/// Argument programs, each kept once however many calls it judges.
#[derive(Default)]
struct Fragments(Vec<(Question, Vec<Instruction>)>);

/// The checks, and the answer to who passes them.
type Question = (Vec<Check>, Answer);

impl Fragments {
    fn numbers(&mut self, judge: &Judge, abi: Abi) -> Result<Vec<(u32, Target)>, FilterError> {
        let mut numbers = Vec::new();
        for (number, name) in calls::table(abi) {
            let target = match judge.verdict(abi, name) {
                Verdict::Answer(answer) => Target::Answer(answer.value()),
                Verdict::Arguments(checks, pass) => Target::Fragment(self.index(checks, pass)?),
            };
            numbers.push((number, target));
        }
        Ok(numbers)
    }

    fn index(&mut self, checks: Vec<Check>, pass: Answer) -> Result<usize, FilterError> {
        let key = (checks, pass);
        if let Some(index) = self.0.iter().position(|(other, _)| *other == key) {
            return Ok(index);
        }
        let instructions = fragment::compile(&key.0, pass)?;
        self.0.push((key, instructions));
        Ok(self.0.len() - 1)
    }
}

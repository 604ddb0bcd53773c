//! Conditions on the arguments of a call, as `syscalls.allow` and `syscalls.deny` have them:
//!
//! ```text
//! ioctl(1 == TIOCSTI)                     clone(0 & CLONE_NEWUSER|CLONE_NEWNET != 0)
//! mmap(2 & PROT_WRITE|PROT_EXEC == PROT_WRITE|PROT_EXEC)      socket(0 == AF_INET, 1 & 0xf == SOCK_STREAM)
//! ```
//!
//! A text and not a table, so that it is one entry of the list that has the plain names: drop-ins append and remove it,
//! and every place that shows the list shows it.
//!
//! How wide an argument is the kernel alone knows. Where [`constants::is_narrow`] knows it too, 32 bits are compared;
//! of a mode 16. Elsewhere what is denied is what matches by either reading, in 32 or 64 bits, and what is allowed must
//! match by both. A number or mask of more than 32 bits is one for 64.

use super::calls;
use super::constants;
use super::restrict::{Case, Test};
use std::fmt;

/// More conditions in one entry are a mistake; two per argument are a range of bits.
const MOST_CONDITIONS: usize = 12;
const LOWER: u64 = u32::MAX as u64;
/// Bits of `umode_t`.
const MODE: u64 = 0xffff;

/// Calls whose argument is a `umode_t`: of a longer number the kernel drops the rest.
#[rustfmt::skip]
const MODES: [(&str, u8); 11] = [
    ("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("fchmodat2", 2), ("creat", 1), ("mkdir", 1), ("mkdirat", 2),
    ("mknod", 1), ("mknodat", 2), ("open", 2), ("openat", 3),
];

/// A call, and what of its arguments must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub(super) call: &'static str,
    pub(super) conditions: Vec<Condition>,
    text: String,
}

/// The argument under a mask equals a number, or differs from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    /// 0 to 5.
    pub argument: u8,
    pub mask: u64,
    pub value: u64,
    pub equal: bool,
    pub width: Width,
}

/// How much of the argument is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// 32 bits, as the kernel does.
    Lower,
    /// All 64.
    Whole,
    /// Not known.
    Either,
}

/// What the rule does when its conditions hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Polarity {
    Allow,
    Deny,
}

/// Why a text is no rule, and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// One sentence.
    pub message: String,
    /// What to do.
    pub help: String,
    /// A word that nobody knows, and what it could have been.
    pub unknown: Option<(String, Vocabulary)>,
}

/// Where a word of a rule comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// [`super::all_call_names`].
    Calls,
    /// [`constant_names`].
    Constants,
}

impl RuleError {
    fn new(message: impl Into<String>, help: impl Into<String>) -> RuleError {
        RuleError { message: message.into(), help: help.into(), unknown: None }
    }

    fn unknown(self, word: &str, vocabulary: Vocabulary) -> RuleError {
        RuleError { unknown: Some((word.to_owned(), vocabulary)), ..self }
    }
}

/// Names of numbers that rules can have.
pub fn constant_names() -> impl Iterator<Item = &'static str> {
    constants::names()
}

/// Does the entry of a list have conditions?
pub fn is_rule(entry: &str) -> bool {
    entry.contains('(')
}

impl Rule {
    /// Reads an entry with conditions.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Rule, RuleError> {
        let (name, rest) =
            text.split_once('(').ok_or_else(|| RuleError::new(format!("`{text}` has no conditions"), FORM))?;
        let name = name.trim();
        if name.starts_with('@') {
            let message = format!("`{text}` puts a condition on a group");
            return Err(RuleError::new(message, "arguments mean something else in each call: name the calls"));
        }
        let Some(call) = calls::known(name) else {
            let error = RuleError::new(format!("`{name}` is not a system call"), "names are those of syscalls(2)");
            return Err(error.unknown(name, Vocabulary::Calls));
        };
        let Some(inner) = rest.trim_end().strip_suffix(')') else {
            return Err(RuleError::new(format!("`{text}` does not end with `)`"), FORM));
        };
        let read = |part| condition(call, part);
        let parts = inner.split(',').map(read).collect::<Result<Vec<_>, _>>()?;
        if parts.len() > MOST_CONDITIONS {
            let message = format!("`{call}` has {} conditions, {MOST_CONDITIONS} are possible", parts.len());
            return Err(RuleError::new(message, "a mask compares several bits at once: \"0 & A|B == A|B\""));
        }
        let (conditions, texts): (Vec<_>, Vec<String>) = parts.into_iter().unzip();
        Ok(Rule { call, conditions, text: format!("{call}({})", texts.join(", ")) })
    }

    /// The call that it is about.
    pub fn call(&self) -> &'static str {
        self.call
    }

    /// The tests that stand for it in a program.
    pub(super) fn case(&self, polarity: Polarity) -> Case {
        self.conditions.iter().map(|condition| condition.test(polarity)).collect()
    }
}

/// As it is written, with the blanks that we put.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Condition {
    /// The lower half decides where one reading is enough and it is the easier one to meet, or both are needed and it
    /// is the harder one.
    fn test(&self, polarity: Polarity) -> Test {
        let Condition { argument, mask, value, equal, .. } = *self;
        let lower = match self.width {
            Width::Lower => true,
            Width::Whole => false,
            Width::Either => equal == (polarity == Polarity::Deny),
        };
        match lower {
            true => Test::Lower { argument, mask: (mask & LOWER) as u32, value: (value & LOWER) as u32, equal },
            false => Test::Whole { argument, mask, value, equal },
        }
    }
}

const FORM: &str = "write \"CALL(ARGUMENT == NUMBER)\" or \"CALL(ARGUMENT & MASK == NUMBER)\", the arguments from 0 to 5; \
                    `!=` as well, several conditions with commas";

/// One condition, and how it is written.
fn condition(call: &'static str, text: &str) -> Result<(Condition, String), RuleError> {
    let unreadable = || RuleError::new(format!("`{}` is not a condition", text.trim()), FORM);
    let (left, sign, right) = match (text.split_once("=="), text.split_once("!=")) {
        (Some((left, right)), None) => (left, "==", right),
        (None, Some((left, right))) => (left, "!=", right),
        _ => return Err(unreadable()),
    };
    let (index, mask) = match left.split_once('&') {
        Some((index, mask)) => (index, Some(operand(mask)?)),
        None => (left, None),
    };
    let argument = match index.trim().parse::<u8>() {
        Ok(argument) if argument <= 5 && index.trim().len() == 1 => argument,
        Ok(_) => {
            let message = format!("`{call}` has no argument {}", index.trim());
            return Err(RuleError::new(message, "a system call has up to six arguments, 0 to 5"));
        }
        Err(_) => return Err(unreadable()),
    };
    let value = operand(right)?;
    if value.complemented {
        return Err(RuleError::new(format!("`{}` is not a number", right.trim()), "`~` belongs to the mask"));
    }
    let written = match &mask {
        Some(mask) => format!("{argument} & {} {sign} {}", mask.text, value.text),
        None => format!("{argument} {sign} {}", value.text),
    };
    let condition = judged(call, argument, mask.as_ref(), value.number, sign == "==", &written)?;
    Ok((condition, written))
}

/// Finds how wide the comparison is, and refuses what always or never holds.
fn judged(
    call: &str,
    argument: u8,
    mask: Option<&Operand>,
    value: u64,
    equal: bool,
    written: &str,
) -> Result<Condition, RuleError> {
    let wide = value > LOWER || mask.is_some_and(|mask| !mask.complemented && mask.number > LOWER);
    let narrow = constants::is_narrow(call, argument);
    if narrow && wide {
        let message = format!("`{written}`: argument {argument} of `{call}` has 32 bits");
        return Err(RuleError::new(message, "write a number up to 0xffffffff"));
    }
    let width = match (narrow, wide) {
        (true, _) => Width::Lower,
        (false, true) => Width::Whole,
        (false, false) => Width::Either,
    };
    let mut mask = mask.map_or(u64::MAX, |mask| mask.number);
    if MODES.contains(&(call, argument)) {
        mask &= MODE;
    } else if width == Width::Lower {
        mask &= LOWER;
    }
    if value & !mask != 0 {
        let message = format!(
            "`{written}` {} holds: the number has bits that are not compared",
            if equal { "never" } else { "always" }
        );
        return Err(RuleError::new(message, "give the mask all bits of the number"));
    }
    if mask == 0 {
        let message = format!("`{written}` compares nothing: the mask is 0");
        return Err(RuleError::new(message, "give the mask the bits that are to be looked at"));
    }
    Ok(Condition { argument, mask, value, equal, width })
}

struct Operand {
    number: u64,
    complemented: bool,
    text: String,
}

/// `A|B|0x10`, or with `~` in front everything but that.
fn operand(text: &str) -> Result<Operand, RuleError> {
    let text = text.trim();
    let (complemented, terms) = match text.strip_prefix('~') {
        Some(terms) => (true, terms),
        None => (false, text),
    };
    let mut number = 0;
    let mut names = Vec::new();
    for term in terms.split('|').map(str::trim) {
        number |= self::number(term)?;
        names.push(term);
    }
    let sign = if complemented { "~" } else { "" };
    let number = if complemented { !number } else { number };
    Ok(Operand { number, complemented, text: format!("{sign}{}", names.join("|")) })
}

/// Decimal, 0x, 0o, or a name.
fn number(term: &str) -> Result<u64, RuleError> {
    let digits = |text: &str, radix| match text.starts_with(['+', '-']) {
        true => None,
        false => u64::from_str_radix(text, radix).ok(),
    };
    let found = match term.get(..2) {
        Some("0x") => digits(&term[2..], 16),
        Some("0o") => digits(&term[2..], 8),
        // 0755 is octal in C and decimal here: neither is what everybody reads.
        _ if term.len() > 1 && term.starts_with('0') => None,
        _ if term.starts_with(|c: char| c.is_ascii_digit()) => digits(term, 10),
        _ => constants::value(term),
    };
    found.ok_or_else(|| {
        let help = "write a number (10, 0x10, 0o10) or a constant such as TIOCSTI, CLONE_NEWUSER, PROT_EXEC, AF_ALG";
        RuleError::new(format!("`{term}` is not a number and no constant that rsvc knows"), help)
            .unknown(term, Vocabulary::Constants)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Condition {
        let rule = Rule::parse(text).unwrap();
        assert_eq!(rule.conditions.len(), 1, "{text}");
        rule.conditions[0]
    }

    #[test]
    fn a_rule_is_read_and_printed_in_one_form() {
        for (written, printed) in [
            ("ioctl(1==TIOCSTI)", "ioctl(1 == TIOCSTI)"),
            (" ioctl ( 1 == 0x5412 ) ", "ioctl(1 == 0x5412)"),
            ("socket(0 == AF_INET,1&0xf!=SOCK_RAW)", "socket(0 == AF_INET, 1 & 0xf != SOCK_RAW)"),
            ("mmap(2 & PROT_WRITE | PROT_EXEC == 6)", "mmap(2 & PROT_WRITE|PROT_EXEC == 6)"),
            ("personality(0 & ~ADDR_NO_RANDOMIZE == 0)", "personality(0 & ~ADDR_NO_RANDOMIZE == 0)"),
        ] {
            let rule = Rule::parse(written).unwrap();
            assert_eq!(rule.to_string(), printed);
            assert_eq!(Rule::parse(printed).unwrap(), rule);
        }
    }

    #[test]
    fn widths_are_the_kernels_where_they_are_known() {
        let condition = |argument, mask, value, equal, width| Condition { argument, mask, value, equal, width };
        assert_eq!(only("ioctl(1 == TIOCSTI)"), condition(1, LOWER, 0x5412, true, Width::Lower));
        assert_eq!(only("lseek(1 == 7)"), condition(1, u64::MAX, 7, true, Width::Either));
        assert_eq!(only("lseek(1 != 0x100000000)"), condition(1, u64::MAX, 1 << 32, false, Width::Whole));
        assert_eq!(only("lseek(1 & ~1 == 2)"), condition(1, !1, 2, true, Width::Either));
        assert_eq!(only("personality(0 & ~8 == 0)"), condition(0, LOWER & !8, 0, true, Width::Lower));
        assert_eq!(only("chmod(1 == 0o4755)"), condition(1, MODE, 0o4755, true, Width::Lower));
        assert_eq!(only("fchmodat(2 & S_ISUID|S_ISGID != 0)"), condition(2, 0o6000, 0, false, Width::Lower));
    }

    #[test]
    fn what_is_unknown_is_broad_when_denied_and_strict_when_allowed() {
        let lower = |value, equal| Test::Lower { argument: 1, mask: u32::MAX, value, equal };
        let whole = |value, equal| Test::Whole { argument: 1, mask: u64::MAX, value, equal };
        let (equal, differs) = (only("lseek(1 == 7)"), only("lseek(1 != 7)"));
        assert_eq!(equal.test(Polarity::Deny), lower(7, true));
        assert_eq!(equal.test(Polarity::Allow), whole(7, true));
        assert_eq!(differs.test(Polarity::Deny), whole(7, false));
        assert_eq!(differs.test(Polarity::Allow), lower(7, false));
    }

    #[test]
    fn what_is_no_rule_is_refused_with_a_remedy() {
        for (text, message) in [
            ("ioctl(1 == TIOCSTY)", "`TIOCSTY` is not a number"),
            ("ioctl(6 == 1)", "`ioctl` has no argument 6"),
            ("ioctl(-1 == 1)", "is not a condition"),
            ("ioctl(1 = 1)", "is not a condition"),
            ("ioctl(1 == 2 == 3)", "is not a number"),
            ("ioctl()", "is not a condition"),
            ("ioctl(1 == 1", "does not end with"),
            ("ioctl(1 == )", "is not a number"),
            ("ioctl(1 == -1)", "is not a number"),
            ("ioctl(1 == 0755)", "is not a number"),
            ("ioctl(1 == 0x100000000)", "has 32 bits"),
            ("ioctl(1 & 0x100000000 == 0)", "has 32 bits"),
            ("ioctl(1 & 0xff == 0x100)", "never holds"),
            ("ioctl(1 & 0xff != 0x100)", "always holds"),
            ("chmod(1 & 0o6000|0x10000 == 0x10000)", "never holds"),
            ("ioctl(1 & 0 == 0)", "compares nothing"),
            ("iotcl(1 == 1)", "`iotcl` is not a system call"),
            ("@file-system(0 == 1)", "a condition on a group"),
            ("ioctl(1 == ~1)", "is not a number"),
        ] {
            let error = Rule::parse(text).unwrap_err();
            assert!(error.message.contains(message) && !error.help.is_empty(), "{text}: {error:?}");
        }
        let unknown = |text| Rule::parse(text).unwrap_err().unknown.unwrap();
        assert_eq!(unknown("ioctl(1 == TIOCSTY)"), ("TIOCSTY".to_owned(), Vocabulary::Constants));
        assert_eq!(unknown("iotcl(1 == 1)"), ("iotcl".to_owned(), Vocabulary::Calls));
    }
}

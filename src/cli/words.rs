//! Numbers and names as people write and read them: sizes, durations, signals, patterns of unit names.

use std::time::Duration;

/// `12.3M`, as systemctl writes it, in IEC steps: below 1 KiB `512B`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "K", "M", "G", "T", "P", "E"];
    let (mut scaled, mut unit) = (bytes as f64, 0);
    // 1023.95 would be printed as 1024.0.
    while scaled >= 1023.95 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes}B") } else { format!("{scaled:.1}{}", UNITS[unit]) }
}

/// CPU time: `40ms`, `1.204s`, `2min 3.0s`, `5h 12min`.
pub fn cpu_time(usec: u64) -> String {
    let seconds = usec / 1_000_000;
    match seconds {
        0 => format!("{}ms", usec / 1000),
        1..60 => format!("{:.3}s", usec as f64 / 1e6),
        60..3600 => format!("{}min {:.1}s", seconds / 60, (usec % 60_000_000 / 100_000) as f64 / 10.0),
        _ => format!("{}h {}min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Is this a pattern and not a name?
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Does `name` match the pattern: `*` any text, `?` any character, `[a-c]` and `[!a-c]` one of a set? Never
/// exponential: only the last `*` is ever tried again.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p + 1, n));
            p += 1;
        } else if let Some(length) = one(&pattern[p..], name[n]) {
            p += length;
            n += 1;
        } else if let Some((after, from)) = star {
            (p, n, star) = (after, from + 1, Some((after, from + 1)));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Length of the pattern's first element when it matches `c`.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '[' => {
            let negated = matches!(pattern.get(1), Some('!' | '^'));
            let begin = if negated { 2 } else { 1 };
            // A `]` right at the beginning is one of the set.
            let Some(end) = pattern.iter().skip(begin + 1).position(|c| *c == ']').map(|at| at + begin + 1) else {
                return (c == '[').then_some(1);
            };
            (in_set(&pattern[begin..end], c) != negated).then_some(end + 1)
        }
        literal => (*literal == c).then_some(1),
    }
}

fn in_set(set: &[char], c: char) -> bool {
    let mut rest = set;
    while let [first, tail @ ..] = rest {
        match tail {
            ['-', last, after @ ..] => {
                if (*first..=*last).contains(&c) {
                    return true;
                }
                rest = after;
            }
            _ => {
                if *first == c {
                    return true;
                }
                rest = tail;
            }
        }
    }
    false
}

/// For clap: a duration as in unit files, but not `infinity`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_time_span(text: &str) -> Result<Duration, String> {
    match crate::unit::value::time_span(text) {
        Ok(Some(span)) => Ok(span),
        Ok(None) => Err("leave the option away to wait for ever".to_owned()),
        Err(bad) => Err(bad.help.map_or(bad.message.clone(), |help| format!("{}; {help}", bad.message))),
    }
}

/// Words of syslog(3), most urgent first.
const PRIORITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// For clap: a priority of syslog(3) by name or number.
///
/// # Errors
/// What is wrong with it.
pub fn parse_priority(text: &str) -> Result<u8, String> {
    let known =
        |word: &&str| *word == text || (text == "error" && *word == "err") || (text == "warn" && *word == "warning");
    let named = PRIORITIES.iter().position(known).and_then(|number| u8::try_from(number).ok());
    let number = named.or_else(|| text.parse().ok().filter(|number| *number < 8));
    number.ok_or_else(|| format!("write one of {}, or 0 to 7", PRIORITIES.join(", ")))
}

/// For clap: a signal by name, with or without `SIG`, or by number.
///
/// # Errors
/// What is wrong with it.
pub fn parse_signal(text: &str) -> Result<i32, String> {
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err("signals are 1 to 64".to_owned()) };
    }
    crate::unit::value::signal(text)
        .map(crate::unit::SignalName::number)
        .map_err(|bad| bad.help.map_or(bad.message.clone(), |help| format!("{}; {help}", bad.message)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_step_by_1024() {
        let table = [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0K"),
            (1_048_575, "1.0M"),
            (536_870_912, "512.0M"),
            (12_900_000, "12.3M"),
            (u64::MAX, "16.0E"),
        ];
        for (bytes, expected) in table {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn cpu_time_is_exact_when_small() {
        let table = [
            (0, "0ms"),
            (40_500, "40ms"),
            (1_204_000, "1.204s"),
            (123_000_000, "2min 3.0s"),
            (119_990_000, "1min 59.9s"),
            (18_720_000_000, "5h 12min"),
        ];
        for (usec, expected) in table {
            assert_eq!(cpu_time(usec), expected);
        }
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        let table = [
            ("web", "web", true),
            ("web", "webs", false),
            ("web*", "web", true),
            ("*b*", "web@blue", true),
            ("w?b", "web", true),
            ("w?b", "wb", false),
            ("[a-w]eb", "web", true),
            ("[!a-w]eb", "web", false),
            ("[]x]", "]", true),
            ("[x", "[x", true),
            ("*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaa", false),
            ("", "", true),
            ("*", "", true),
            ("?", "", false),
            ("a[-z]", "a-", true),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_of_one_star_matches_by_prefix_and_suffix(a in "[ab]{0,4}", b in "[ab]{0,4}", name in "[ab]{0,9}") {
            let naive = name.len() >= a.len() + b.len() && name.starts_with(&a) && name.ends_with(&b);
            prop_assert_eq!(matches(&format!("{a}*{b}"), &name), naive);
        }

        #[test]
        fn no_pattern_makes_it_panic(pattern in "[\\[\\]!^a-c*?-]{0,12}", name in "[a-c\\]-]{0,12}") {
            let _ = matches(&pattern, &name);
        }
    }
}

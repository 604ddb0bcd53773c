//! Tests of the gate: what passes, byte for byte, and that nothing is dropped uncounted.

use super::*;
use proptest::prelude::*;
use std::time::Duration;

fn gate(level_max: u8, rate: Option<(u64, u64)>) -> Gate {
    let rate = rate.map(|(burst, seconds)| Rate::new(RateLimit { burst, interval: Duration::from_secs(seconds) }));
    Gate { level_max, rate, line: Line::Undecided { held: Vec::new() } }
}

fn at(seconds: u64) -> Moment {
    Moment(seconds * 1_000_000)
}

/// What passed, as a file would have it; a note is `[N]` on a line of its own.
#[derive(Default)]
struct Log(Vec<u8>);

impl Log {
    fn take(&mut self, passed: Passed<'_>) {
        match passed {
            Passed::Begin { prefix, .. } => self.0.extend_from_slice(prefix),
            Passed::Text(text) => self.0.extend_from_slice(text),
            Passed::Split => {}
            Passed::End => self.0.push(b'\n'),
            Passed::Suppressed(count) => self.0.extend_from_slice(format!("[{count}]\n").as_bytes()),
        }
    }
}

fn through(gate: &mut Gate, bytes: &[u8], now: Moment) -> String {
    let mut log = Log::default();
    gate.feed(bytes, now, &mut |passed| log.take(passed));
    String::from_utf8_lossy(&log.0).into_owned()
}

#[test]
fn less_urgent_lines_are_dropped_and_the_default_level_is_info() {
    let text = b"<3>error\n<7>debug\nplain\n<5>notice\n<999>odd\n<8>odd\n<0>\n<\n\n";
    assert_eq!(through(&mut gate(5, None), text, at(0)), "<3>error\n<5>notice\n<0>\n");
    let all = "<3>error\nplain\n<5>notice\n<999>odd\n<8>odd\n<0>\n<\n\n";
    assert_eq!(through(&mut gate(6, None), text, at(0)), all);
}

#[test]
fn a_level_that_comes_in_parts_is_understood_and_part_of_a_line_is_not_held_back() {
    let mut gate = gate(4, None);
    assert_eq!(through(&mut gate, b"<", at(0)), "");
    assert_eq!(through(&mut gate, b"4", at(0)), "");
    assert_eq!(through(&mut gate, b">wait", at(0)), "<4>wait");
    assert_eq!(through(&mut gate, b"ing\n<", at(0)), "ing\n");
    assert_eq!(through(&mut gate, b"7>no\n<3", at(0)), "");
    assert_eq!(through(&mut gate, b"x>", at(0)), "", "`<3x>` says no level");
}

#[test]
fn the_end_of_the_stream_ends_a_line_and_decides_about_what_is_held() {
    let finish = |gate: &mut Gate| {
        let mut log = Log::default();
        gate.finish(at(0), &mut |passed| log.take(passed));
        String::from_utf8(log.0).unwrap()
    };
    let mut open = gate(6, None);
    assert_eq!(through(&mut open, b"one\n<3", at(0)), "one\n");
    assert_eq!(finish(&mut open), "<3\n");
    assert_eq!(finish(&mut open), "");
    assert_eq!(through(&mut open, b"open", at(0)), "open");
    assert_eq!(finish(&mut open), "\n");
}

#[test]
fn a_window_lets_its_burst_pass_and_the_next_one_says_what_is_missing() {
    let mut gate = gate(7, Some((2, 10)));
    assert_eq!(through(&mut gate, b"1\n2\n3\n4\n", at(5)), "1\n2\n");
    assert_eq!((gate.untold(), gate.due()), (2, Some(at(15))));
    assert_eq!(through(&mut gate, b"5\n", at(14)), "");
    assert_eq!(through(&mut gate, b"6\n7\n8\n", at(15)), "[3]\n6\n7\n");
    // Nobody says anything more: the timer does.
    let mut log = Log::default();
    gate.settle(at(24), &mut |passed| log.take(passed));
    assert_eq!(log.0, b"");
    gate.settle(at(25), &mut |passed| log.take(passed));
    assert_eq!(log.0, b"[1]\n");
    assert_eq!((gate.untold(), gate.due()), (0, None));
}

#[test]
fn levels_are_counted_apart_and_a_false_emergency_is_limited_as_well() {
    let mut gate = gate(7, Some((1, 10)));
    let text = b"a\n<7>b\n<3>c\n<3>d\n<4>e\n<5>f\n<0>g\n<0>h\n<1>i\n<999>j\n";
    assert_eq!(through(&mut gate, text, at(0)), "a\n<3>c\n<4>e\n<5>f\n<0>g\n");
    assert_eq!(gate.untold(), 5);
}

#[test]
fn what_is_dropped_for_its_level_uses_up_no_burst_and_is_not_suppressed() {
    let mut gate = gate(4, Some((1, 10)));
    assert_eq!(through(&mut gate, b"a\nb\n<7>c\n<4>d\n", at(0)), "<4>d\n");
    assert_eq!(gate.untold(), 0);
}

#[test]
fn a_line_without_end_is_many_messages() {
    let mut open = gate(7, Some((3, 10)));
    let line = vec![b'x'; 10 * MESSAGE_LENGTH];
    let mut passed = 0;
    for chunk in line.chunks(1000) {
        passed += through(&mut open, chunk, at(0)).len();
    }
    assert_eq!(passed, 3 * MESSAGE_LENGTH + 1, "and the newline of a line that was cut");
    assert_eq!(open.untold(), 7);
    // The burst of the next window is for the next line.
    assert_eq!(through(&mut open, b"rest\nnext\n", at(10)), "[7]\nnext\n");
    assert_eq!(open.untold(), 1, "the rest was a piece of its own");
    let mut free = gate(6, None);
    assert_eq!(through(&mut free, &line, at(0)).len(), line.len());
}

#[test]
fn messages_that_come_another_way_share_the_window() {
    let mut gate = gate(6, Some((2, 10)));
    let none = &mut |_: Passed<'_>| panic!("nothing to tell");
    assert!(gate.admits(6, at(0), none));
    assert!(!gate.admits(7, at(0), none));
    assert_eq!(through(&mut gate, b"1\n2\n", at(0)), "1\n");
    assert!(!gate.admits(6, at(0), none));
    assert!(gate.admits(3, at(0), none));
    assert_eq!(gate.untold(), 2);
}

proptest! {
    /// However the bytes are cut, the same passes; every line passes whole, is counted, or is less urgent.
    #[test]
    fn chunks_do_not_matter_and_nothing_is_dropped_uncounted(
        lines in prop::collection::vec("(<[0-9<>]{0,3}>?)?[a-z\0\x1b]{0,4}", 0..30),
        cuts in prop::collection::vec(1usize..7, 1..20),
        burst in 1u64..6,
        level_max in 0u8..8,
    ) {
        let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        let mut whole = gate(level_max, Some((burst, 10)));
        let expected = through(&mut whole, text.as_bytes(), at(0));
        let mut parts = gate(level_max, Some((burst, 10)));
        let (mut got, mut rest) = (String::new(), text.as_bytes());
        for size in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, more) = rest.split_at(rest.len().min(*size));
            got.push_str(&through(&mut parts, piece, at(0)));
            rest = more;
        }
        prop_assert_eq!(&got, &expected);
        prop_assert_eq!(parts.untold(), whole.untold());
        let level = |line: &str| prefix_of(&line.as_bytes()[..line.len().min(3)]).map_or(INFO, |(level, _)| level);
        let wanted = lines.iter().filter(|line| level(line) <= level_max).count();
        prop_assert_eq!(expected.lines().count() as u64 + whole.untold(), wanted as u64);
        let mut originals = lines.iter();
        for line in expected.lines() {
            prop_assert!(originals.any(|original| original == line), "{}", line);
        }
    }
}
